"""The shard counts every event once, refuses with a reason, and goes on from a snapshot as if nothing had happened."""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections import Counter
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from detectors.drift import WindowCounts
from inferwatch import CONTENT_TYPE_JSON, EventColumns, Strings
from schemas import windows
from schemas.reference import Reference
from schemas.windows import Finding, WindowPartial
from streams.chains import LINKS
from streams.owner import Record, TooManyDeadLettersError
from streams.references import References
from streams.shard import Shard
from tests.streams.events import KEY, NS, START, events, record, reference, settings


@pytest.fixture(scope="module")
def published() -> Reference:
    return reference()


def shard_with(published: Reference | None, **sections: dict[str, Any]) -> Shard:
    references = References(KEY)
    if published is not None:
        references.put(published)
    return Shard(0, settings(**sections), references, epoch=7)


def partials(shard: Shard) -> list[WindowPartial]:
    return [windows.decode_partial(out.value) for out in shard.outbox if out.to == "windows"]


def findings(shard: Shard) -> list[Finding]:
    return [windows.decode_finding(out.value) for out in shard.outbox if out.to == "findings" and not out.headers]


def unnumbered(batch: EventColumns) -> EventColumns:
    """The same events from a producer that does not count them."""
    return dataclasses.replace(batch, number=np.full(len(batch), -1))


def take(events: EventColumns, rows: Any) -> EventColumns:
    """Some rows of a batch."""
    optional = ("scores", "value")
    return EventColumns(
        **{name: getattr(events, name) for name in ("model", "version", "service", "instance", "names", "score_names")},
        client=events.client.take(rows),
        **{name: getattr(events, name)[rows] for name in ("at_ns", "number", "status", "latency_ms", "numeric")},
        **{name: getattr(events, name)[rows] for name in optional if getattr(events, name) is not None},
    )


def test_a_window_closes_when_events_have_passed_it_and_counts_every_event(published: Reference) -> None:
    shard = shard_with(published)
    shard.apply(record(events(3_000), 0))
    assert partials(shard) == []
    shard.apply(record(events(10, start_s=302, number=3_000), 1))
    (closed,) = partials(shard)
    assert (closed.start_ns, closed.end_ns, closed.n, closed.epoch) == (START, START + 300 * NS, 3_000, 7)
    assert closed.status == {"ok": 3_000}
    assert sum(closed.classes.values()) == 3_000
    assert closed.clients == 5
    assert closed.producers["shop-1"].received == 3_010
    assert published.parts["drift"]
    loaded = shard.models["m", "1"].loaded
    assert loaded is not None
    assert loaded.drift is not None
    assert WindowCounts.from_bytes(closed.counts, loaded.drift).n == 3_000


def test_refusals_are_counted_by_service_up_to_a_cap_and_survive(published: Reference) -> None:
    shard = shard_with(published)
    n = 40
    for k in range(100):
        batch = dataclasses.replace(events(n, seed=k), service=f"s{k}", instance=f"i{k}", at_ns=np.full(n, START))
        refused = dataclasses.replace(batch, status=np.where(np.arange(n) < k % 3, 3, 0).astype(np.uint8))
        shard.apply(record(refused, offset=k))
        if k == 50:
            again = shard_with(published)
            again.restore(shard.snapshot())
            shard = again
    shard.apply(record(events(10, start_s=302), 100))
    (partial,) = partials(shard)
    assert len(partial.services) == 65
    assert {name: sum(by.values()) for name, by in partial.services.items() if name} == {f"s{k}": n for k in range(64)}
    assert partial.services["s2"] == {"ok": n - 2, "forbidden": 2}
    assert sum(partial.services[""].values()) == 36 * n
    assert sum(by.get("forbidden", 0) for by in partial.services.values()) == partial.status["forbidden"]


def test_a_record_applied_twice_counts_once(published: Reference) -> None:
    shard = shard_with(published)
    assert shard.apply(record(events(50), 0)) is True
    assert shard.apply(record(events(50), 0)) is False
    assert shard.received == 50


def test_an_event_sent_twice_in_two_records_is_a_duplicate(published: Reference) -> None:
    shard = shard_with(published)
    shard.apply(record(events(50), 0))
    shard.apply(record(events(50), 1))
    named = events(20, event_id=Strings.of([f"é{k}" for k in range(20)]))
    shard.apply(record(unnumbered(named), 2))
    shard.apply(record(unnumbered(named), 3))
    assert shard.rejected == {"duplicate": 70}
    assert shard.received == 140


def test_events_without_id_and_number_are_never_duplicates(published: Reference) -> None:
    shard = shard_with(published)
    for offset in range(2):
        shard.apply(record(unnumbered(events(20)), offset))
    assert not shard.rejected


@hypothesis_settings(deadline=None, max_examples=15)
@given(cuts=st.lists(st.integers(1, 1_499), max_size=6, unique=True))
def test_how_events_are_cut_into_records_changes_no_count(cuts: list[int]) -> None:
    published = _PUBLISHED
    whole, parts = shard_with(published), shard_with(published)
    batch = events(1_500, rate=4.0)
    whole.apply(record(batch, 0))
    edges = [0, *sorted(cuts), 1_500]
    for offset, (a, b) in enumerate(itertools.pairwise(edges)):
        parts.apply(record(take(batch, np.arange(a, b)), offset, at_ns=int(batch.at_ns.max())))
    whole.finish()
    parts.finish()
    for one, other in zip(partials(whole), partials(parts), strict=True):
        for name in ("start_ns", "n", "clients", "counts", "status", "latency", "classes", "anomalies"):
            if name != "anomalies":
                assert getattr(one, name) == getattr(other, name), name


_PUBLISHED = reference()


def test_a_restored_shard_goes_on_as_if_nothing_had_happened(published: Reference) -> None:
    batches = [events(400, seed=s, start_s=90.0 * s, rate=4, number=400 * s) for s in range(8)]
    whole = shard_with(published)
    first = shard_with(published)
    for offset, batch in enumerate(batches):
        whole.apply(record(batch, offset))
        if offset == 4:
            blob = first.snapshot()
            first = shard_with(published)
            first.restore(blob)
        assert first.apply(record(batch, offset))
    whole.finish()
    first.finish()
    assert [msgspec.msgpack.encode(out) for out in whole.outbox] == [msgspec.msgpack.encode(out) for out in first.outbox]
    assert first.next == whole.next


def test_windows_close_by_the_clock_also_after_it_was_an_hour_ahead(published: Reference) -> None:
    shard = shard_with(published)
    shard.tick(START + 3_600 * NS)
    shard.apply(record(events(10), 0))
    shard.tick(START + 3_600 * NS)
    for second in range(0, 700, 10):
        shard.tick(START + second * NS)
    assert [one.n for one in partials(shard)] == [10]


def test_a_late_event_enters_the_oldest_window_still_open(published: Reference) -> None:
    shard = shard_with(published)
    shard.apply(record(events(10), 0))
    shard.apply(record(events(10, start_s=310, number=10), 1))
    shard.apply(record(events(10, start_s=20, number=20), 2))
    shard.finish()
    late = partials(shard)[-1]
    assert (late.n, late.late) == (20, 10)


def test_clocks_far_off_are_refused_and_counted(published: Reference) -> None:
    shard = shard_with(published)
    wild = events(4, at_ns=np.array([START, START + 10**6 * NS, START - 10**7 * NS, 2**62]))
    shard.apply(record(wild, 0, at_ns=START))
    assert shard.rejected == {"clock": 3}
    assert shard.received == 4
    shard.finish()
    assert sum(p.n for p in partials(shard)) == 1
    assert sum(p.rejected.get("clock", 0) for p in partials(shard)) == 3


def test_nan_and_infinity_are_counted_and_blind_nobody(published: Reference) -> None:
    shard = shard_with(published)
    batch = events(100)
    X = batch.numeric.copy()
    X[0, 0], X[1, 1], X[2] = np.nan, np.inf, -np.inf
    shard.apply(record(events(100, numeric=X), 0))
    shard.apply(record(events(100, seed=2, start_s=20, number=100), 1))
    shard.finish()
    (closed,) = partials(shard)
    assert closed.n == 200
    assert closed.anomalies == {"missing": 1, "non_finite": 2}


def test_a_wrong_width_is_refused_and_the_next_record_is_fine(published: Reference) -> None:
    shard = shard_with(published)
    shard.apply(record(events(10, names=(), numeric=np.zeros((10, 4), np.float32)), 0))
    shard.apply(record(events(10, number=10, names=(), numeric=np.zeros((10, 3), np.float32)), 1))
    assert shard.rejected == {"wrong_width": 10}
    assert shard.received == 20


def test_a_thousand_new_feature_names_cost_a_count_and_no_memory(published: Reference) -> None:
    shard = shard_with(published)
    for offset in range(30):
        names = tuple(f"new{offset}_{k}" for k in range(1_000))
        shard.apply(record(events(2, number=2 * offset, names=names, numeric=np.zeros((2, 1_000), np.float32)), offset))
    shard.finish()
    (closed,) = partials(shard)
    assert closed.anomalies == {"unknown_feature": 60, "missing": 60}
    assert len(shard.snapshot()) < 3_000_000


def test_a_flood_of_client_ids_stays_in_bounds_and_spares_the_established(published: Reference) -> None:
    shard = shard_with(published, limits={"clients": 10_000})
    steady = events(400, clients=4)
    shard.apply(record(steady, 0))
    for offset in range(1, 8):
        flood = Strings([f"flood{offset}-{k}" for k in range(5_000)], np.arange(5_000, dtype=np.int32))
        shard.apply(record(events(5_000, start_s=offset, rate=5_000, number=5_000 * offset, client=flood), offset))
    model = shard.models["m", "1"]
    assert len(model.watch.table) <= 10_000
    assert shard.evicted > 20_000
    assert all(model.watch.table.find(f"c{k}") is not None for k in range(4))
    shard.finish()
    assert sum(p.n for p in partials(shard)) == shard.received
    assert sum(p.clients for p in partials(shard)) == 4 + 7 * 5_000


def test_more_models_than_allowed_are_refused(published: Reference) -> None:
    shard = shard_with(published, limits={"models": 3})
    for offset in range(6):
        shard.apply(record(events(10, model=f"m{offset}"), offset))
    assert shard.rejected == {"too_many_models": 30}
    assert len(shard.models) == 3


def test_a_version_silent_for_a_day_makes_room_for_a_new_one(published: Reference) -> None:
    shard = shard_with(published, limits={"models": 2})
    shard.apply(record(events(10, model="old"), 0))
    shard.apply(record(events(10, model="current", start_s=90_000), 1))
    shard.apply(record(events(10, model="new", start_s=90_001), 2))
    assert not shard.rejected
    assert {model for model, _ in shard.models} == {"current", "new"}
    assert shard.counters()["evicted.model"] == 1
    shard.finish()
    assert sum(p.n for p in partials(shard)) == 30


@pytest.mark.parametrize(
    ("payload", "content_type", "reason"),
    [
        (b"\x81\xa1v", "application/vnd.inferwatch.events.v1+msgpack", "truncated"),
        (b"hello", "text/plain", "foreign"),
        (b"[" * 1_100_000, CONTENT_TYPE_JSON, "oversized"),
        (b"[" * 100_000, CONTENT_TYPE_JSON, "truncated"),
        (b"", CONTENT_TYPE_JSON, "truncated"),
        (b"[]", CONTENT_TYPE_JSON, ""),
    ],
)
def test_an_unreadable_record_becomes_a_dead_letter_with_a_reason(
    payload: bytes, content_type: str, reason: str, published: Reference
) -> None:
    shard = shard_with(published)
    assert shard.apply(Record("events", 0, 0, payload, START, headers={"content-type": content_type}))
    letters = [out for out in shard.outbox if out.to == "dlq"]
    if not reason:
        assert letters == []
        return
    (letter,) = letters
    assert letter.headers["reason"] == reason
    assert letter.headers["source"] == "events/0/0"
    assert payload.startswith(letter.value)
    assert shard.dead_letters == {reason: 1}


def test_one_bad_json_event_does_not_cost_its_neighbours(published: Reference) -> None:
    shard = shard_with(published)
    good = {
        "model": "m",
        "version": "1",
        "client": "c",
        "at": START,
        "features": {"age": 1.0, "income": 2, "score": None},
        "scores": [0.4, 0.6],
    }
    body = json.dumps([good, {"model": 3}, good | {"features": {"age": "x"}}]).encode()
    shard.apply(Record("events", 0, 0, body, START, headers={"content-type": CONTENT_TYPE_JSON}))
    assert (shard.received, shard.rejected) == (3, Counter({"invalid_event": 1}))
    shard.finish()
    assert partials(shard)[0].anomalies == {"missing": 2, "wrong_type": 1}


def test_mostly_unreadable_records_stop_the_partition_loudly(published: Reference) -> None:
    shard = shard_with(published)
    for offset in range(49):
        shard.apply(Record("events", 0, offset, b"nonsense", START))
    with pytest.raises(TooManyDeadLettersError, match="could not be read"):
        shard.apply(Record("events", 0, 49, b"nonsense", START))


def test_a_model_without_reference_gets_a_provisional_one_for_tickets_only() -> None:
    shard = shard_with(None, limits={"provisional_rows": 500})
    for k in range(3):
        shard.apply(record(events(300, seed=k, start_s=30 * k, number=300 * k), k))
    model = shard.models["m", "1"]
    assert model.loaded is not None
    assert model.loaded.provisional
    assert any(out.to == "references" for out in shard.outbox)
    shard.finish()
    assert sum(p.n for p in partials(shard)) == 900


def test_a_new_reference_closes_the_windows_of_the_old_one(published: Reference) -> None:
    references = References(KEY)
    references.put(published)
    shard = Shard(0, settings(), references)
    shard.apply(record(events(50), 0))
    references.put(reference(seed=5))
    shard.apply(record(events(50, start_s=6, number=50), 1))
    shard.finish()
    before, after = partials(shard)
    assert before.reference == published.id
    assert after.reference == reference(seed=5).id
    assert before.n + after.n == 100


def test_a_boundary_walk_by_one_client_is_found_and_named(published: Reference) -> None:
    """A crude HopSkipJump: bisection between two classes, then small steps around the boundary."""
    shard = shard_with(published)
    shard.apply(record(events(600), 0))
    rng = np.random.default_rng(3)
    a, b = np.array([2.0, 2.0, 0.0]), np.array([-2.0, -2.0, 0.0])
    rows: list[np.ndarray[Any, Any]] = []
    while len(rows) < 400:
        lo, hi = a, b + rng.normal(scale=0.01, size=3)
        for _ in range(14):
            middle = (lo + hi) / 2
            rows.append(middle)
            lo, hi = (middle, hi) if middle[0] + 0.5 * middle[1] > 0 else (lo, middle)
        rows += list(hi + rng.normal(scale=0.02, size=(10, 3)))
    X = np.array(rows[:400], np.float32)
    p = 1 / (1 + np.exp(-X[:, 0] - 0.5 * X[:, 1]))
    walk = events(400, start_s=70, number=600, numeric=X, scores=np.stack([1 - p, p], 1).astype(np.float32))
    shard.apply(record(dataclasses.replace(walk, client=Strings.of(["mallory"] * 400)), 1))
    found = findings(shard)
    assert {f.client for f in found} == {"mallory"}
    assert "page" in {f.severity for f in found}
    assert min(f.n_events for f in found if f.severity == "page") < 200
    assert all(f.event_id == f"shop-1:{600 + f.n_events - 1}" for f in found)
    for one in found:  # the questions that led there, whose events are kept whole
        asked = [link["event_id"] for link in one.evidence["chain"]]
        which = range(max(one.n_events - LINKS, 0), one.n_events)
        assert asked == [f"shop-1:{600 + k}" for k in which]
        assert [link.get("changed") for link in one.evidence["chain"]] == [None, *[3] * (len(which) - 1)]
        answers = ["no" if p[k] < 0.5 else "yes" for k in which]
        assert [link["answer"] for link in one.evidence["chain"]] == answers
        sampled = [msgspec.msgpack.decode(out.value) for out in shard.outbox if out.to == "rows" and out.key == b"sampled_events"]
        kept = {row["event_id"] for row in sampled if row["reason"] == "evidence"}
        assert set(asked) <= kept
    shard.apply(record(dataclasses.replace(walk, client=Strings.of(["mallory"] * 400), number=walk.number + 400), 2))
    shard.finish()
    sampled = [msgspec.msgpack.decode(out.value) for out in shard.outbox if out.to == "rows" and out.key == b"sampled_events"]
    after = {row["event_id"] for row in sampled if row["reason"] == "evidence"} - kept
    assert len(after) == settings().sampling.events_per_window, "what it went on to ask, a sample of each window"
    assert all(1_000 <= int(name.removeprefix("shop-1:")) < 1_400 for name in after)
    line = partials(shard)[0].lines[0]
    assert line.client == "mallory"
    alike = line.evidence
    assert 300 < alike["distinct_rows"] <= 800
    assert alike["near_rows"] > alike["distinct_rows"] / 2
    assert alike["near_flips"] > 20
