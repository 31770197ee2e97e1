"""Whoever is to be forgotten is in no state, no snapshot and nothing that waits; everybody else is as before."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from inferwatch import Label, Strings
from schemas import forget
from schemas.forget import Forget
from schemas.rows import TABLES
from schemas.windows import ClientLine
from streams import watch
from streams.judge import Judge
from streams.owner import Record
from streams.references import References
from streams.shard import Shard
from tests.streams.events import KEY, NS, START, events, record, settings
from tests.streams.judging import PUBLISHED, Feed, alerts, judge, letters, rows
from tests.streams.labelling import Pair
from tests.streams.messages import LENGTH, finding, partial
from tests.streams.test_restarts import Kept
from tests.streams.test_swarms import Line, day

ALICE, BOB = "a11ce-a11ce-a11ce", "b0b-b0b-b0b-b0b"
FORGET = {"ce_type": forget.CE_TYPE}


def shard(**sections: dict[str, Any]) -> Shard:
    references = References(KEY)
    references.put(PUBLISHED)
    return Shard(0, settings(**sections), references, epoch=7)


def traffic(offset: int = 0, n: int = 200) -> Record:
    """Events of two clients, taking turns."""
    return record(events(n, client=Strings.of([ALICE, BOB] * (n // 2)), start_s=offset * 20, number=offset * 1_000), offset)


def wish(offset: int, at_ns: int = START, **what: Any) -> Record:
    return Record("events", 0, offset, forget.encode(Forget(**what)), at_ns, headers=FORGET)


def holds(blob: bytes, name: str) -> bool:
    return name.encode() in blob


def test_a_forgotten_client_is_in_no_part_of_a_shards_state_and_the_other_is_as_if_alone() -> None:
    shared, alone = shard(), shard()
    shared.apply(traffic())
    assert holds(shared.snapshot(), ALICE)
    shared.apply(wish(1, client=ALICE))
    shared.outbox.ack([out.id for out in shared.outbox])
    assert not holds(shared.snapshot(), ALICE)
    batch = events(200, client=Strings.of([ALICE, BOB] * 100))
    alone.apply(record(batch.take(np.arange(1, 200, 2)), 0))
    mine, theirs = (of.models["m", "1"].watch.everybody() for of in (shared, alone))
    assert mine["client"] == theirs["client"] == [BOB]
    for name in mine:
        assert np.array_equal(mine[name], theirs[name]), name


def test_a_client_who_comes_back_is_a_new_one() -> None:
    one = shard()
    one.apply(traffic())
    one.apply(wish(1, client=ALICE))
    one.apply(traffic(2, n=10))
    seen = one.models["m", "1"].watch.everybody()
    assert dict(zip(seen["client"], seen["n"].tolist(), strict=True)) == {ALICE: 5, BOB: 105}


def test_no_event_is_uncounted() -> None:
    one = shard(window={"length_s": 60.0})
    one.apply(traffic())
    one.apply(wish(1, client=ALICE))
    one.finish()
    assert one.received == 200
    assert one.rejected.total() == 0
    assert one.counters()["forgotten"] == 1


def test_a_copy_in_pieces_has_nothing_left_of_them_even_in_pieces_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "PIECE_BYTES", 20_000)
    one, kept = shard(), Kept()
    for offset in range(2):
        one.apply(traffic(offset))
        copy, whole = one.begin_copy(), one.snapshot()
        while copy.step():
            pass
        kept.save(copy, whole)
    assert any(holds(piece, ALICE) for piece in kept.pieces.values())
    one.apply(wish(2, client=ALICE))
    one.outbox.ack([out.id for out in one.outbox])
    copy, whole = one.begin_copy(), one.snapshot()
    while copy.step():
        pass
    kept.save(copy, whole)
    assert not any(holds(piece, ALICE) for piece in (kept.root, *kept.pieces.values()))
    assert any(holds(piece, BOB) for piece in kept.pieces.values())


def test_rows_that_wait_for_the_store_leave_without_them() -> None:
    one = shard(sampling={"events_per_window": 20})
    one.apply(traffic())
    one.finish()
    before = [out for out in one.outbox if out.to == "rows"]
    assert sum(ALICE.encode() in out.value for out in before) > 5
    one.apply(wish(1, client=ALICE))
    left = [out for out in one.outbox if out.to == "rows"]
    assert not any(ALICE.encode() in out.value for out in left)
    assert [out for out in before if BOB.encode() in out.value] == left


def test_an_event_is_forgotten_where_it_is_kept_and_where_its_label_is_awaited() -> None:
    pair = Pair(sampling={"events_per_window": 1_000})
    pair.events(events(50, event_id=Strings.of([f"order-{k}" for k in range(50)])))
    pair.events(events(50, number=50, start_s=6.0, event_id=Strings.of([f"later-{k}" for k in range(50)])))
    offsets = itertools.count(2)
    for name in ("order-7", "later-3", "web-1:3"):
        pair.shards[0].apply(wish(next(offsets), event_id=name))
        for out in pair.shards[0].outbox:
            if out.to == "findings":
                pair.raw("findings", out.value, headers=out.headers)
        pair.shards[0].outbox.ack([out.id for out in pair.shards[0].outbox])
    pair.tick()
    assert not any(holds(blob, name) for blob in (pair.shards[0].snapshot(), pair.judge.snapshot()) for name in ("order-7\0", "later-3\0"))
    pair.labels(*(Label(model="m", event_id=f"order-{k}", truth="no") for k in (7, 8)), Label(model="m", event_id="later-3", truth="no"))
    pair.tick()
    assert pair.fates() == {"joined": 1}
    pair.restart()
    pair.raw("findings", forget.encode(Forget(event_id="later-3", model="m", version="1", epoch=7, sequence=10_000)), headers=FORGET)
    assert pair.fates() == {"joined": 1, "erased": 1}


def test_the_models_owner_drops_their_lines_and_their_alert_without_a_word() -> None:
    feed = Feed(judge())
    for name in (ALICE, BOB):
        feed.give(finding(client=name, severity="page", sequence=ord(name[0])))
    line = ClientLine(client=ALICE, n=5, errors=0, denied=0, repeats=0, severity="page", evidence={})
    other = ClientLine(client=BOB, n=5, errors=0, denied=0, repeats=0, severity="page", evidence={})
    feed.give(partial(published=PUBLISHED, n=100, lines=[line, other], sequence=1))
    told = len(alerts(feed.judge))
    at = START + LENGTH + NS
    feed.raw("findings", forget.encode(Forget(client=ALICE, model="m", version="1", epoch=0, sequence=1_000)), at, FORGET)
    # the share of another partition was under way
    feed.give(partial(published=PUBLISHED, n=100, lines=[line], partition=1, sequence=1))
    feed.judge.tick(START + LENGTH + 30 * NS)
    assert [row["client"] for row in rows(feed.judge, "client_windows")] == [BOB]
    assert [alert.client for alert in feed.judge.open_alerts()] == [BOB]
    assert len(alerts(feed.judge)) == told
    assert [(row["client"], row["summary"], row["evidence"]) for row in rows(feed.judge, "alerts") if row["client"] != BOB] == [
        ("", "Erased on request.", "{}")
    ]
    assert letters(feed.judge) == []
    feed.judge.outbox.ack([out.id for out in feed.judge.outbox])
    assert not holds(feed.judge.snapshot(), ALICE)


def test_a_client_who_asks_again_after_that_is_seen_again() -> None:
    feed = Feed(judge())
    feed.raw("findings", forget.encode(Forget(client=ALICE, model="m", version="1", sequence=0)), START, FORGET)
    line = ClientLine(client=ALICE, n=5, errors=0, denied=0, repeats=0, severity="none", evidence={})
    feed.window(0, lines=[line])
    assert [row["client"] for row in rows(feed.judge, "client_windows")] == [ALICE]


def test_a_member_of_a_swarm_is_forgotten_and_the_swarm_is_not() -> None:
    line = Line(1)
    for number, part in enumerate(day()):
        line.take(part, number)
        line.deliver(int(part.at_ns.max()))
    (known,) = [alert for alert in line.judge.open_alerts() if alert.clients]
    gone = known.clients[0]
    line.shards[0].apply(wish(1_000, client=gone))
    line.deliver(START + 400 * NS)
    (left,) = [alert for alert in line.judge.open_alerts() if alert.clients]
    assert left.clients == known.clients[1:]
    copy = line.judge.begin_copy()
    restored = Judge(0, settings(), line.judge._references)
    restored.begin_restore(copy.root)
    for piece in copy.keep:
        restored.restore_piece(piece, copy.pieces[piece])
    restored.end_restore()
    assert restored.snapshot() == line.judge.snapshot()
    line.judge.outbox.ack([out.id for out in line.judge.outbox])
    assert f'"{gone}"'.encode() not in line.judge.snapshot()


@pytest.mark.parametrize(
    "payload", [b"what", b"{}", b'{"client":"\xdd"}', b'{"client":"a","event_id":"b"}', b'{"client":"' + b"a" * 300 + b'"}', b"[]"]
)
def test_a_wish_that_makes_no_sense_is_a_dead_letter_and_forgets_nobody(payload: bytes) -> None:
    one = shard()
    one.apply(traffic())
    before = one.models["m", "1"].watch.everybody()["client"]
    assert one.apply(Record("events", 0, 1, payload, START, headers=FORGET)) is True
    assert one.models["m", "1"].watch.everybody()["client"] == before
    assert one.dead_letters == {"foreign": 1}
    assert one.received == 200


def test_of_one_model_only_forgets_it_there_only() -> None:
    one = shard()
    for offset, model in enumerate(("m", "n")):
        one.apply(record(events(20, model=model, client=Strings.of([ALICE, BOB] * 10)), offset))
    one.apply(wish(2, client=ALICE, model="n"))
    assert {key[0]: of.watch.table.find(ALICE) is None for key, of in one.models.items()} == {"m": False, "n": True}


def test_every_table_that_names_a_client_is_one_whose_rows_go_or_are_redacted() -> None:
    from schemas.erasure import FREE_TEXT, holders

    named = {table for table in TABLES if {"client", "clients", "event_id"} & set(table.__struct_fields__)}
    assert named <= {*holders("client"), *holders("event_id"), *FREE_TEXT}


def test_a_verdict_about_them_is_withdrawn_and_the_audit_log_hears_nothing_new() -> None:
    feed = Feed(judge(verdicts={"enabled": True, "delay_min_s": 0.0, "delay_max_s": 0.0}))
    feed.give(finding(client=ALICE, severity="page", sequence=0))
    put = [out for out in feed.judge.outbox if out.to == "verdicts"]
    assert len(put) == 1
    assert put[0].value
    audited = len(rows(feed.judge, "audit"))
    feed.raw("findings", forget.encode(Forget(client=ALICE, model="m", version="1", sequence=1)), START + NS, FORGET)
    _, withdrawn = [out for out in feed.judge.outbox if out.to == "verdicts"]
    assert (withdrawn.key, withdrawn.value) == (put[0].key, b"")
    assert len(rows(feed.judge, "audit")) == audited
    feed.judge.outbox.ack([out.id for out in feed.judge.outbox])
    assert not holds(feed.judge.snapshot(), ALICE)
