"""Whenever a shard or a judge is stopped and restored, what it says afterwards is what it would have said: byte for byte."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from detectors.groups import GROUPS
from detectors.quality import KINDS, QualityCounts
from detectors.state import StateError, unpack
from inferwatch import CONTENT_TYPE_JSON, Heartbeat, Strings
from schemas import forget
from schemas.forget import Forget
from schemas.reference import Baseline
from schemas.windows import Producer
from streams import journal, watch
from streams.judge import Judge
from streams.owner import Copy, Outbox, Record
from streams.references import References
from streams.shard import Shard
from tests.streams.events import KEY, NS, START, events, record, reference, settings
from tests.streams.judging import BEAT, Feed, judge, rows
from tests.streams.messages import LENGTH, finding, partial

A, B = reference(), reference(seed=5)
MONTH = msgspec.structs.replace(reference(seed=7), name="month")
SMALL: dict[str, Any] = {
    "limits": {"clients": 10_000, "models": 3, "provisional_rows": 120, "instances": 3},
    "window": {"length_s": 60.0},
    "sampling": {"events_per_window": 3},
    "budget": {"false_pages_per_30d": 1e4},
}
Step = tuple[str, int]


def said(outbox: Outbox) -> list[bytes]:
    return [msgspec.msgpack.encode(out) for out in outbox]


def flood(step: int, at_s: float) -> Any:
    clients = Strings([f"new{step}-{k}" for k in range(2_000)], np.arange(2_000, dtype=np.int32))
    return events(2_000, seed=step, start_s=at_s, rate=2_000, clients=2_000, client=clients, number=10_000 * step)


def choose(references: References, seed: int) -> None:
    """Publishes or withdraws a second reference, or chooses what drift is judged by."""
    if seed % 5 == 4:
        references.drop("m", "1", "month")
    elif seed % 5 == 3:
        references.use("m", "1", None)
    else:
        references.put(MONTH)
        references.use("m", "1", Baseline(name=("month", "training", "absent")[seed % 5], since_ns=seed, by="ada"))


class Shards:
    """A shard and its registry; `stop` replaces the shard by one that was restored."""

    def __init__(self) -> None:
        self.references = References(KEY)
        self.shard = self._fresh()
        self.at_s = 0.0

    def _fresh(self) -> Shard:
        return Shard(0, settings(**SMALL), self.references, epoch=7)

    def stop(self) -> None:
        blob = self.shard.snapshot()
        self.shard.close()
        self.shard = self._fresh()
        self.shard.restore(blob)
        assert self.shard.snapshot() == blob

    def play(self, offset: int, step: Step) -> None:
        kind, seed = step
        batch: Any = None
        if kind == "events":
            batch = events(80, seed=seed, start_s=self.at_s, rate=4.0, number=80 * offset, instance=f"shop-{seed % 5}")
        elif kind == "odd":
            rng = np.random.default_rng(seed)
            X = rng.choice([0.0, 1.0, np.nan, np.inf, 1e30], (40, 3)).astype(np.float32)
            status = rng.integers(0, 6, 40).astype(np.uint8)
            batch = events(40, seed=seed, start_s=self.at_s - 90.0, rate=1.0, numeric=X, status=status, number=0)
        elif kind == "boundary":
            rng = np.random.default_rng(seed)
            X = (rng.normal(size=(60, 1)) * 1e-3 * 4.0 ** -rng.integers(0, 5, (60, 1)) * np.ones(3)).astype(np.float32)
            p = (X[:, 0] > 0).astype(np.float32)
            batch = events(60, start_s=self.at_s, rate=4.0, numeric=X, scores=np.stack([1 - p, p], 1), number=80 * offset,
                           client=Strings.of(["walker"] * 60))  # fmt: skip
        elif kind == "other model":
            batch = events(30, seed=seed, start_s=self.at_s, model=f"m{seed % 4}", number=80 * offset)
        elif kind == "width":
            batch = events(5, start_s=self.at_s, names=(), numeric=np.zeros((5, 7), np.float32), number=80 * offset)
        elif kind == "flood":
            batch = flood(offset, self.at_s)
        if batch is not None:
            self.shard.apply(record(batch, offset, at_ns=START + round((self.at_s + 25.0) * NS)))
            self.at_s += 20.0
        elif kind == "forget":
            wish = Forget(client=("walker", "c0", "c1", "nobody")[seed % 4]) if seed % 3 else Forget(event_id=f"shop-1:{80 * seed}")
            self.shard.apply(Record("events", 0, offset, forget.encode(wish), START, headers={"ce_type": forget.CE_TYPE}))
        elif kind == "garbage":
            self.shard.apply(Record("events", 0, offset, b'[{"model": 3}]', START, headers={"content-type": CONTENT_TYPE_JSON}))
        elif kind == "reference":
            self.shard.next["events"] = offset + 1
            if seed % 3 == 2:
                self.references.drop("m", "1")
            else:
                self.references.put((A, B)[seed % 3])
        elif kind == "baseline":
            self.shard.next["events"] = offset + 1
            choose(self.references, seed)
        elif kind == "sent":
            self.shard.next["events"] = offset + 1
            self.shard.outbox.ack([out.id for out in self.shard.outbox][: seed % 3])


STEPS = st.tuples(
    st.sampled_from(
        ["events"] * 5
        + ["odd", "boundary", "boundary", "other model", "width", "flood", "garbage", "reference", "baseline", "baseline", "sent", "forget"]
    ),
    st.integers(0, 20),
)


@hypothesis_settings(deadline=None, max_examples=12)
@given(steps=st.lists(STEPS, min_size=3, max_size=14), stops=st.sets(st.integers(0, 13), max_size=5))
def test_a_shard_may_stop_at_any_record_and_nobody_can_tell(steps: list[Step], stops: set[int]) -> None:
    whole, stopped = Shards(), Shards()
    for offset, step in enumerate(steps):
        if offset in stops:
            stopped.stop()
        whole.play(offset, step)
        stopped.play(offset, step)
    whole.shard.finish()
    stopped.shard.finish()
    assert said(whole.shard.outbox) == said(stopped.shard.outbox)
    assert whole.shard.counters() == stopped.shard.counters()
    assert whole.shard.snapshot() == stopped.shard.snapshot()


class Kept:
    """What a store holds of a shard: the last copy that was saved whole."""

    def __init__(self) -> None:
        self.root = b""
        self.pieces: dict[int, bytes] = {}
        self.whole = b""
        self.in_force: Mapping[tuple[str, str], str] = {}

    def save(self, copy: Copy, whole: bytes, in_force: Mapping[tuple[str, str], str] = MappingProxyType({})) -> None:
        held = self.pieces | copy.pieces
        self.root, self.pieces, self.whole = copy.root, {piece: held[piece] for piece in copy.keep}, whole
        self.in_force = in_force

    def restore(self, shard: Shard) -> None:
        shard.begin_restore(self.root)
        for piece, blob in self.pieces.items():
            shard.restore_piece(piece, blob)
        shard.end_restore()


COPYING = st.sampled_from(["", "", "", "begin", "begin", "some", "some", "save", "save", "lose", "crash"])


@hypothesis_settings(deadline=None, max_examples=25)
@given(steps=st.lists(st.tuples(STEPS, COPYING), min_size=4, max_size=24))
def test_a_copy_in_slices_is_of_the_moment_at_which_it_began(steps: list[tuple[Step, str]]) -> None:
    """Whatever happens between two slices, whatever is lost, and whatever was saved before."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(watch, "PIECE_BYTES", 20_000)  # a few clients in each piece
        patch.setattr(journal, "_SPARE", 4)
        patch.setattr(journal, "_SMALL_PIECES", 6)
        shards, kept = Shards(), Kept()
        copy: Copy | None = None
        begun, then = b"", in_force(shards.references)
        for offset, (step, copying) in enumerate([*steps, (("events", 1), "crash"), (("events", 2), "save"), (("events", 3), "crash")]):
            if copying == "begin" or (copying == "save" and copy is None):
                if copy is not None:
                    shards.shard.copy_lost(copy)
                copy, begun, then = shards.shard.begin_copy(), shards.shard.snapshot(), in_force(shards.references)
            if copying == "some" and copy is not None:
                copy.step()
            if copying == "lose" and copy is not None:
                shards.shard.copy_lost(copy)
                copy = None
            shards.play(offset, step)
            if copying == "save" and copy is not None:
                while copy.step():
                    pass
                kept.save(copy, begun, then)
                copy = None
            if copying == "crash" and kept.root:
                shards.shard.close()
                shards.references = copy_of(shards.references)
                shards.shard, copy = shards._fresh(), None
                now = in_force(shards.references)
                kept.restore(shards.shard)
                if all(now.get(key) == kept.in_force.get(key) for key in models_of(kept.whole)):
                    assert shards.shard.snapshot() == kept.whole
                shards.shard.next["events"] = offset + 1  # what came since the copy is lost here, and nobody asks


def copy_of(references: References) -> References:
    """What another process reads from the topic."""
    fresh = References(KEY)
    for named in references._named.values():
        for one in named.values():
            fresh.put(one)
    for key, baseline in references._baselines.items():
        fresh.use(*key, baseline)
    return fresh


def in_force(references: References) -> dict[tuple[str, str], str]:
    return {(loaded.reference.model, loaded.reference.version): loaded.ids for loaded in references}


def models_of(whole: bytes) -> list[tuple[str, str]]:
    return [(name, version) for name, version, _ in unpack(whole, "streams.shard", 3)["root"]["models"]]


def test_a_copy_writes_only_what_changed() -> None:
    shards = Shards()
    shards.references.put(A)
    kept = Kept()
    sizes = []
    for offset, step in enumerate([("flood", 0), ("events", 1), ("events", 2)]):
        shards.play(offset, step)
        copy, whole = shards.shard.begin_copy(), shards.shard.snapshot()
        while copy.step():
            pass
        kept.save(copy, whole)
        sizes.append(sum(len(blob) for key, blob in copy.pieces.items() if b"rows" in blob[:60]))
    assert sizes[1] < sizes[0] / 10
    assert sizes[2] < sizes[0] / 10
    idle = shards.shard.begin_copy()
    assert not idle.step()
    assert not idle.pieces
    restored = shards._fresh()
    kept.restore(restored)
    assert restored.snapshot() == shards.shard.snapshot()


def test_a_reference_that_comes_while_pieces_are_read_is_in_force_at_their_end() -> None:
    shards, kept = Shards(), Kept()
    shards.references.put(A)
    shards.play(0, ("events", 1))
    copy, whole = shards.shard.begin_copy(), shards.shard.snapshot()
    while copy.step():
        pass
    kept.save(copy, whole)
    restored, expected = shards._fresh(), shards._fresh()
    restored.begin_restore(kept.root)
    for n, (piece, blob) in enumerate(kept.pieces.items()):
        if n == 1:
            shards.references.put(B)
        restored.restore_piece(piece, blob)
    restored.end_restore()
    shards.references.put(A)
    assert restored.models["m", "1"].reference_id == A.id
    expected.restore(whole)
    shards.references.put(B)
    expected.close()
    restored.finish()
    expected.finish()
    assert said(restored.outbox)[:1] == said(expected.outbox)[:1]


def test_a_piece_that_is_none_of_this_shard_is_refused() -> None:
    shards = Shards()
    shards.references.put(A)
    shards.play(0, ("events", 1))
    copy = shards.shard.begin_copy()
    while copy.step():
        pass
    other = shards._fresh()
    with pytest.raises(StateError, match="piece 0 is of m 1, which the state does not know"):
        other.restore_piece(0, copy.pieces[0])
    with pytest.raises(StateError):
        other.restore_piece(0, b"what")
    with pytest.raises(StateError):
        other.begin_restore(b"what")


class Judges:
    """A judge and its registry, fed by two partitions."""

    def __init__(self) -> None:
        self.references = References(KEY)
        self.references.put(A)
        self.feed = Feed(self._fresh())
        self.sequence = itertools.count()
        self.window = 0

    def _fresh(self) -> Judge:
        return Judge(0, settings(limits={"instances": 3}), self.references)

    def stop(self) -> None:
        blob = self.feed.judge.snapshot()
        self.feed.judge.close()
        self.feed.judge = self._fresh()
        self.feed.judge.restore(blob)
        assert self.feed.judge.snapshot() == blob

    def play(self, step: Step) -> None:
        kind, seed = step
        now = START + self.window * LENGTH + 30 * NS
        if kind == "window":
            for partition in (0, 1):
                self._share(partition, seed, self.window)
            self.window += 1
        elif kind == "late":
            self._share(2, seed, max(self.window - 2, 0))
        elif kind == "half":
            self._share(seed % 2, seed, self.window)
        elif kind == "finding":
            about = finding(client=f"c{seed % 3}", severity=("ticket", "page")[seed % 2], renewed=seed % 5 == 0, at_ns=now,
                            log_evidence=5.0 + seed, sequence=next(self.sequence))  # fmt: skip
            self.feed.give(about)
        elif kind == "heartbeat":
            beat = Heartbeat(model="m", version="1", service="shop", instance=f"i{seed % 5}", accepted=self.window * 450 + seed,
                             sent=self.window * 450, dropped=seed, closing=seed == 7)  # fmt: skip
            self.feed.raw("lifecycle", msgspec.json.encode(beat), now, BEAT)
        elif kind == "forget":
            wish = Forget(client=f"c{seed % 3}", model="m", version="1", epoch=3, sequence=next(self.sequence))
            self.feed.raw("findings", forget.encode(wish), now, {"ce_type": forget.CE_TYPE})
        elif kind == "garbage":
            self.feed.raw("windows", b"what", now)
        elif kind == "reference":
            if seed % 4 == 3:
                self.references.drop("m", "1")
            else:
                self.references.put((A, B)[seed % 2])
        elif kind == "baseline":
            choose(self.references, seed)
        elif kind == "pause":
            self.window += 14
        self.feed.judge.tick(START + self.window * LENGTH + 11 * NS)

    def _share(self, partition: int, seed: int, window: int) -> None:
        quality = QualityCounts()
        quality.update(np.full(GROUPS, 12), np.full((len(KINDS), GROUPS), 6 * (seed % 3 == 0)))
        producer = Producer(service="shop", received=window * 200, highest=window * 450, lowest=1, last_at_ns=START + window * LENGTH)
        self.feed.give(
            partial(
                published=MONTH if seed % 5 == 1 else (A, B)[seed % 7 == 0],
                window=window,
                seed=seed,
                shift=0.8 * (seed % 4 == 0),
                n=200,
                partition=partition,
                sequence=next(self.sequence),
                quality=quality.to_bytes(),
                rejected={"clock": seed},
                producers={f"i{seed % 5}": producer},
            )
        )


JUDGE_STEPS = st.tuples(
    st.sampled_from(
        ["window"] * 6
        + ["late", "half", "finding", "finding", "heartbeat", "heartbeat", "garbage", "reference", "baseline", "pause", "forget"]
    ),
    st.integers(0, 20),
)


@hypothesis_settings(deadline=None, max_examples=40)
@example(steps=[("window", 0)] * 5 + [("window", 4), ("late", 4)], stops={6})
@given(steps=st.lists(JUDGE_STEPS, min_size=5, max_size=40), stops=st.sets(st.integers(0, 39), max_size=6))
def test_a_judge_may_stop_at_any_message_and_nobody_can_tell(steps: list[Step], stops: set[int]) -> None:
    whole, stopped = Judges(), Judges()
    for n, step in enumerate(steps):
        if n in stops:
            stopped.stop()
        whole.play(step)
        stopped.play(step)
    for judges in (whole, stopped):
        judges.feed.judge.tick(START + 1_000 * LENGTH)
    assert said(whole.feed.judge.outbox) == said(stopped.feed.judge.outbox)
    assert as_sent(whole) == as_sent(stopped)
    assert whole.feed.judge.snapshot() == stopped.feed.judge.snapshot()


def as_sent(judges: Judges) -> list[bytes]:
    """The open alerts; a tuple in their evidence is a list once it was read back."""
    return [msgspec.json.encode(alert) for alert in judges.feed.judge.open_alerts()]


def test_a_provisional_reference_that_was_not_yet_published_is_in_force_again_after_a_restart() -> None:
    def fresh() -> Shard:
        return Shard(0, settings(**SMALL), References(KEY), epoch=7)

    whole, first, second = fresh(), fresh(), fresh()
    for shard in (whole, first):
        for k in range(3):
            shard.apply(record(events(80, seed=k, start_s=20.0 * k, number=80 * k), k))
    assert whole.models["m", "1"].reference_id
    second.restore(first.snapshot())
    for shard in (whole, second):
        shard.apply(record(events(80, seed=3, start_s=60.0, number=240), 3))
        shard.finish()
    assert said(whole.outbox) == said(second.outbox)


def test_a_restart_closes_no_window_before_what_came_meanwhile_is_read() -> None:
    first, second = Shards(), Shards()
    first.references.put(A)
    second.references.put(A)
    first.play(0, ("events", 0))
    second.shard.restore(first.shard.snapshot())
    second.shard.tick(START + 3_600 * NS)
    second.play(1, ("events", 1))
    (window,) = second.shard.models["m", "1"]._windows
    assert (window.n, window.late) == (160, 0)
    for s in (3_600, 3_603):
        second.shard.tick(START + s * NS)
    assert not second.shard.models["m", "1"]._windows


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_counts_are_never_read_in_the_bins_of_another_reference(order: tuple[int, int]) -> None:
    """A shard that was restored under another reference has no counts, yet names it; its neighbour still counts by the old one."""
    feed = Feed(judge(A, budget={"false_pages_per_30d": 1e4}))
    shares = [
        partial(published=A, n=400, partition=0, counts=b""),
        partial(published=B, n=400, shift=3.0, partition=1),
    ]
    feed.give(*(shares[k] for k in order))
    feed.judge.tick(START + LENGTH + 11 * NS)
    (window,) = rows(feed.judge, "windows")
    assert (window["n"], window["n_effective"]) == (800, 0.0)
    assert rows(feed.judge, "feature_windows") == []


def test_instances_of_former_deploys_are_forgotten_after_a_day() -> None:
    feed = Feed(judge(limits={"instances": 3}))
    day = 86_400 // 300

    def deploy(number: int, window: int) -> None:
        at = START + window * LENGTH
        seen = {f"pod-{n}": Producer(service="shop", received=5, highest=4, lowest=0, last_at_ns=START + n * 2 * day * LENGTH)
                for n in range(number + 1)}  # fmt: skip
        feed.give(partial(window=window, n=10, sequence=window, producers=seen))
        beat = Heartbeat(model="m", version="1", service="shop", instance=f"pod-{number}", accepted=5, sent=5)
        feed.raw("lifecycle", msgspec.json.encode(beat), at, BEAT)
        feed.judge.tick(at + 2 * LENGTH)

    for number in range(6):
        deploy(number, 2 * day * number)
    deploy(5, 10 * day + 1)
    last = [row["instance"] for row in rows(feed.judge, "producers") if row["at"] == START + (10 * day + 2) * LENGTH]
    assert last == ["pod-5"]
