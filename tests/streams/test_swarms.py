"""A swarm is told as one alert whose members grow, the same whatever the partitions, the order of messages and the restarts."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from detectors.state import StateError
from inferwatch import EventColumns, Strings
from schemas import suspects
from schemas.alerts import Alert
from schemas.reference import Feature, Reference
from schemas.suspects import SuspectRows
from streams import pools, swarm_state
from streams.build import Rows, build
from streams.judge import Judge
from streams.owner import Copy, Record, Sliced
from streams.references import References
from streams.shard import Shard
from tests.streams.events import KEY, NS, START, events, record, settings
from tests.streams.judging import alerts, letters

D = 8
NAMES = tuple(f"x{j}" for j in range(D))
_MIX = np.random.default_rng(5).normal(size=(3, D))
WORKERS = {f"w{k}" for k in range(20)}


def natural(n: int, seed: int) -> NDArray[np.float32]:
    """Rows of three causes and some noise."""
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(n, 3)) @ _MIX + 0.15 * rng.normal(size=(n, D))).astype(np.float32)


def published(seed: int = 0) -> Reference:
    features = tuple(Feature(name=name, low=-20.0, high=20.0) for name in NAMES)
    return build("m", "1", Rows(features=features, X=natural(1_500, seed)), membership_key=KEY, built_at_ns=0).reference


PUBLISHED = published()


def batch(X: NDArray[np.float32], clients: list[str], start_s: float, rate: float) -> EventColumns:
    return events(len(X), start_s=start_s, rate=rate, names=NAMES, numeric=X, client=Strings.of(clients), number=round(start_s * 1_000))


def day(shuffled: int = 600) -> list[EventColumns]:
    """100 s of 12 ordinary clients, then rows of columns shuffled against each other, dealt out over 20 more."""
    quiet = natural(600, 3)
    out = [batch(quiet[a : a + 60], [f"c{k % 12}" for k in range(60)], a / 6, 6.0) for a in range(0, 600, 60)]
    odd = np.random.default_rng(1).permuted(natural(shuffled, 1), axis=0)
    out += [batch(odd[a : a + 60], [f"w{k % 20}" for k in range(a, a + 60)], 100.0 + a / 6, 6.0) for a in range(0, shuffled, 60)]
    return out


def judge(reference: Reference = PUBLISHED) -> Judge:
    references = References(KEY)
    references.put(reference)
    return Judge(0, settings(), references)


class Line:
    """Shards and a judge, records in between."""

    def __init__(self, partitions: int, reference: Reference = PUBLISHED) -> None:
        references = References(KEY)
        references.put(reference)
        self.shards = [Shard(p, settings(), references, epoch=7) for p in range(partitions)]
        self.judge = judge(reference)
        self.offset = 0

    def take(self, events_: EventColumns, number: int) -> None:
        at_ns = int(events_.at_ns.max())
        codes = events_.client.codes
        for p, shard in enumerate(self.shards):
            rows = np.flatnonzero([int(events_.client.values[c][1:]) % len(self.shards) == p for c in codes.tolist()])
            if len(rows):
                shard.apply(record(events_.take(rows), number, at_ns=at_ns))
            shard.tick(at_ns + 5 * NS)

    def deliver(self, now_ns: int, order: int = 1) -> None:
        for shard in self.shards[::order]:
            for out in shard.outbox:
                if out.to == "findings":
                    self.judge.apply(Record("findings", 0, self.offset, out.value, now_ns, headers=out.headers))
                    self.offset += 1
            shard.outbox.ack([out.id for out in shard.outbox])
        self.judge.tick(now_ns)

    def run(self, of: list[EventColumns], order: int = 1) -> list[Alert]:
        for number, part in enumerate(of):
            self.take(part, number)
            self.deliver(int(part.at_ns.max()), order)
        for shard in self.shards:
            shard.finish()
        for at_s in (300, 600, 7_200):
            self.deliver(START + at_s * NS, order)
        return swarms(self.judge)


def swarms(of: Judge) -> list[Alert]:
    return [alert for alert in alerts(of) if alert.clients]


@pytest.fixture(scope="module")
def told() -> list[Alert]:
    return Line(1).run(day())


def test_a_swarm_opens_one_alert_that_names_its_members_and_grows_without_paging_anew(told: list[Alert]) -> None:
    fired = [alert for alert in told if alert.state == "firing"]
    assert len({alert.alert_id for alert in fired}) == 1
    assert len(fired) > 1
    assert {alert.detector for alert in fired} == {"extraction"}
    sizes = [len(alert.clients) for alert in fired]
    assert sizes == sorted(set(sizes))
    assert set(fired[-1].clients) <= WORKERS
    assert len(fired[-1].clients) >= 16
    assert fired[0].at_ns < START + 150 * NS
    assert [alert.at_ns for alert in fired] == sorted(alert.at_ns for alert in fired)
    assert "AML.T0021" in fired[0].techniques
    assert fired[0].summary.startswith(f"{sizes[0]} clients together ask the model the way one copying program does")
    assert {"statistic", "members", "seeds", "first_onset_s", "last_onset_s"} <= fired[0].evidence.keys()


def test_it_is_over_once_when_its_members_are_silent(told: list[Alert]) -> None:
    assert [alert.state for alert in told if alert.alert_id == told[0].alert_id].count("resolved") == 1


@pytest.mark.parametrize("partitions", [2, 3])
@pytest.mark.parametrize("order", [1, -1])
def test_spread_over_partitions_and_in_any_order_the_same_is_told(partitions: int, order: int, told: list[Alert]) -> None:
    assert Line(partitions).run(day(), order) == told


def test_messages_that_come_twice_and_what_was_told_before_a_restart_change_nothing(told: list[Alert]) -> None:
    line = Line(2)
    deliver = line.deliver

    def twice(now_ns: int, order: int = 1) -> None:
        waiting = [out for shard in line.shards for out in shard.outbox if out.to == "findings"]
        deliver(now_ns, order)
        for out in waiting:
            line.judge.apply(Record("findings", 0, line.offset, out.value, now_ns, headers=out.headers))
            line.offset += 1

    line.deliver = twice  # type: ignore[method-assign]
    assert line.run(day()) == told
    assert line.judge.repeated > 0


@hypothesis_settings(deadline=None, max_examples=6)
@given(stops=st.sets(st.integers(0, 19), max_size=6))
def test_a_judge_and_its_shards_may_stop_at_any_record_and_nobody_can_tell(stops: set[int]) -> None:
    whole, stopped = Line(2), Line(2)
    for number, part in enumerate(day()):
        if number in stops:
            blob = stopped.judge.snapshot()
            stopped.judge = judge()
            stopped.judge.restore(blob)
            assert stopped.judge.snapshot() == blob
            for p, old in enumerate(stopped.shards):
                state = old.snapshot()
                fresh = Shard(p, settings(), old._references, epoch=9)
                fresh.restore(state)
                assert fresh.snapshot() == state
                stopped.shards[p] = fresh
        for line in (whole, stopped):
            line.take(part, number)
            line.deliver(int(part.at_ns.max()))
    assert whole.judge.snapshot() == stopped.judge.snapshot()
    assert alerts(whole.judge) == alerts(stopped.judge)
    assert swarms(whole.judge)


class Kept:
    """What a store holds of a judge: the last copy that was saved whole."""

    def __init__(self) -> None:
        self.root = b""
        self.pieces: dict[int, bytes] = {}
        self.written = 0

    def save(self, copy: Copy) -> None:
        while copy.step():
            pass
        held = self.pieces | copy.pieces
        self.written += len(copy.pieces)
        self.root, self.pieces = copy.root, {piece: held[piece] for piece in copy.keep}

    def restored(self) -> Judge:
        fresh = judge()
        fresh.begin_restore(self.root)
        for piece, blob in self.pieces.items():
            fresh.restore_piece(piece, blob)
        fresh.end_restore()
        return fresh


@hypothesis_settings(deadline=None, max_examples=8)
@given(what=st.lists(st.sampled_from(["", "save", "save", "lose", "crash"]), min_size=20, max_size=20), most=st.integers(1, 20))
def test_a_judge_that_is_saved_in_pieces_goes_on_from_the_last_copy_as_if_nothing_had_happened(what: list[str], most: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(swarm_state, "MAX_LOG_SLICES", most)
        line, kept = Line(2), Kept()
        kept.save(line.judge.begin_copy())
        for number, (part, then) in enumerate(zip(day(), what, strict=True)):
            line.take(part, number)
            line.deliver(int(part.at_ns.max()))
            if then == "lose":
                line.judge.copy_lost(line.judge.begin_copy())
            elif then:
                kept.save(line.judge.begin_copy())
            if then == "crash":
                whole = line.judge.snapshot()
                line.judge = kept.restored()
                assert line.judge.snapshot() == whole


def test_the_large_part_of_the_state_is_not_written_each_time() -> None:
    line, kept = Line(1), Kept()
    for number, part in enumerate(day()):
        line.take(part, number)
        line.deliver(int(part.at_ns.max()))
        kept.save(line.judge.begin_copy())
    assert kept.written <= 2
    assert len(kept.root) < max(len(piece) for piece in kept.pieces.values())
    assert isinstance(line.judge, Sliced)


def test_a_piece_that_is_another_models_is_refused() -> None:
    line = Line(1)
    line.run(day())
    (piece,) = line.judge.begin_copy().pieces.values()
    with pytest.raises(StateError, match="does not know"):
        judge().restore_piece(0, piece)


def test_under_a_provisional_reference_a_swarm_is_a_ticket_and_says_why() -> None:
    first = msgspec.structs.replace(PUBLISHED, source="provisional")
    fired = Line(1, first).run(day())
    assert {alert.severity for alert in fired} == {"ticket"}
    assert "provisional" in fired[0].evidence["uncalibrated"]


def test_ordinary_traffic_names_nobody() -> None:
    assert Line(2).run(day(0)) == []


def message(of: Judge, **changes: object) -> SuspectRows:
    plain = SuspectRows(
        model="m", version="1", reference=PUBLISHED.id, partition=0, epoch=0, sequence=0, start_ns=START, end_ns=START + 5 * NS, width=D,
        clients=["a"], client=np.zeros(2, "<i4").tobytes(), at_ns=np.full(2, START, "<i8").tobytes(),
        rows=np.zeros((2, D), "<f4").tobytes(), dropped=0,
    )  # fmt: skip
    return msgspec.structs.replace(plain, **changes)


def give(to: Judge, value: bytes, offset: int = 0) -> None:
    to.apply(Record("findings", 0, offset, value, START, headers={"ce_type": suspects.CE_TYPE}))


@pytest.mark.parametrize(
    "changes",
    [{"rows": b"\0"}, {"width": D + 1, "rows": bytes(8 * (D + 1))}, {"clients": []}, {"client": np.full(2, 7, "<i4").tobytes()}],
)
def test_damaged_rows_are_dead_letters_and_nothing_of_them_is_taken(changes: dict[str, object]) -> None:
    one = judge()
    give(one, suspects.encode(message(one, **changes)))
    (letter,) = letters(one)
    assert letter.headers["reason"] == "foreign"
    one.tick(START + 60 * NS)
    assert one.counters()["suspects"] == 0


def test_bytes_that_are_no_message_are_dead_letters() -> None:
    one = judge()
    for offset, value in enumerate([b"", b"\xc1", b"x" * 100, suspects.encode(message(one, width=0))]):
        give(one, value, offset)
    assert len(letters(one)) == 4


def test_rows_of_another_reference_or_of_a_model_without_one_are_of_no_use() -> None:
    one = judge()
    give(one, suspects.encode(message(one, reference="another")), 0)
    give(one, suspects.encode(message(one, model="unknown")), 1)
    one.tick(START + 60 * NS)
    assert letters(one) == []
    assert one.counters()["suspects"] == 0


def test_rows_that_come_after_their_slice_was_judged_are_looked_at_with_the_next_one() -> None:
    one = judge()
    give(one, suspects.encode(message(one)), 0)
    one.tick(START + 15 * NS)
    assert one.counters()["suspects"] == 2
    give(one, suspects.encode(message(one, partition=1)), 1)
    one.tick(START + 19 * NS)
    assert one.counters()["suspects"] == 2
    one.tick(START + 60 * NS)
    assert one.counters()["suspects"] == 4


def test_slices_that_nobody_judges_do_not_pile_up() -> None:
    one = judge()
    for k in range(200):
        give(one, suspects.encode(message(one, sequence=k, start_ns=START + 5 * k * NS, end_ns=START + 5 * (k + 1) * NS)), k)
        one.tick(START)
    assert one.counters()["suspects"] == 2 * (200 - 128)


def test_whatever_floats_rows_hold_they_are_looked_at() -> None:
    one = judge()
    odd = np.array([[np.nan] * D, [np.inf, -np.inf, 3e38, -3e38, 1e-44, 0, -0.0, 1]], "<f4")
    give(one, suspects.encode(message(one, rows=odd.tobytes(), at_ns=np.array([0, 2**62], "<i8").tobytes())))
    one.tick(START + 60 * NS)
    assert one.counters()["suspects"] == 2
    assert letters(one) == []


def test_a_huge_swarm_is_named_up_to_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pools, "MAX_MEMBERS", 10)
    fired = Line(1).run(day())
    assert max(len(alert.clients) for alert in fired) == 10
