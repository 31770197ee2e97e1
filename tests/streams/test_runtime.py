"""Records in, time on, snapshots durable, and only then messages out: with stores and topics that fail as a test wants."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from schemas.alerts import Alert
from schemas.rows import QualityWindowRow, RowError
from streams.delivery import Delivery
from streams.lanes import SinkFullError
from streams.lease import Lease
from streams.metrics import Metrics
from streams.owner import NS, Out, Outbox, Record, Role, TooManyDeadLettersError
from streams.runtime import Runtime
from streams.settings import Limits, Settings, State
from streams.snapshots import Kind, Snapshot, SnapshotError, StaleOwnerError
from streams.state_folder import FolderStore
from streams.tenure import Tenure
from tests.streams.counting import CountingJudge, CountingShard, ListSink, Told

GENERATION = 7


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    with capture_logs():
        yield


class MemoryStore:
    def __init__(self) -> None:
        self.snapshots: dict[tuple[Kind, int], Snapshot] = {}
        self.fences: dict[tuple[Kind, int], int] = {}
        self.error: Exception | None = None

    def claim(self, kind: Kind, partition: int) -> tuple[int, Snapshot | None]:
        key = kind, partition
        self.fences[key] = self.fences.get(key, 0) + 1
        return self.fences[key], self.snapshots.get(key)

    def pieces(self, snapshot: Snapshot) -> Iterator[tuple[int, bytes]]:
        yield from ()

    def confirm(self, kind: Kind, partition: int, fence: int) -> None:
        if self.fences[kind, partition] != fence:
            raise StaleOwnerError("replaced")

    def release(self, kind: Kind, partition: int) -> None: ...

    def save(self, snapshot: Snapshot) -> int:
        key = snapshot.kind, snapshot.partition
        if self.error is not None:
            raise self.error
        if self.fences[key] != snapshot.fence:
            raise StaleOwnerError("replaced")
        self.snapshots[key] = snapshot
        return len(snapshot.state)


class Topic:
    """Takes messages; acknowledges them at once, later or never."""

    def __init__(self) -> None:
        self.messages: list[tuple[str, bytes, bytes]] = []
        self.headers: list[Mapping[str, str]] = []
        self.waiting: list[Callable[[str | None, bool], None]] = []
        self.answer: tuple[str | None, bool] | None = (None, False)
        self.room = 10**9

    def send(self, to: str, key: bytes, value: bytes, headers: Mapping[str, str], done: Callable[[str | None, bool], None]) -> bool:
        if self.room <= 0:
            return False
        self.room -= 1
        self.messages.append((to, key, value))
        self.headers.append(headers)
        if self.answer is None:
            self.waiting.append(done)
        else:
            done(*self.answer)
        return True

    @property
    def sequences(self) -> list[int]:
        return [msgspec.msgpack.decode(value, type=Told).sequence for to, _, value in self.messages if to == "windows"]


class PagerList:
    def __init__(self) -> None:
        self.told: list[tuple[str, int, str]] = []

    def adopt(self, owner: int, alerts: Sequence[Alert]) -> None:
        self.told.append(("adopt", owner, ",".join(alert.alert_id for alert in alerts)))

    def offer(self, owner: int, alert: Alert) -> None:
        self.told.append(("offer", owner, alert.alert_id))

    def release(self, owner: int) -> None:
        self.told.append(("release", owner, ""))


class World:
    """A runtime and everything around it."""

    def __init__(self, **limits: int) -> None:
        self.store, self.topic, self.sink, self.pager, self.metrics = MemoryStore(), Topic(), ListSink(), PagerList(), Metrics()
        self.real: FolderStore | None = None
        self.seeks: list[tuple[Role, int, int]] = []
        self.commits: dict[tuple[Role, int], int] = {}
        self.failures: list[str] = []
        self.settings = Settings(limits=Limits(**limits), state=State(snapshot_s=0.01))
        self.shards: dict[int, CountingShard] = {}
        self.make_shard: Callable[[int], CountingShard] = CountingShard
        self.wall_ns: Callable[[], int] = lambda: 1

    def runtime(self) -> Runtime:
        async def seek(role: Role, partition: int, offset: int) -> None:
            self.seeks.append((role, partition, offset))

        async def committed(offsets: dict[tuple[Role, int], int]) -> None:
            self.commits |= offsets

        def shard(partition: int) -> CountingShard:
            self.shards[partition] = self.make_shard(partition)
            return self.shards[partition]

        return Runtime(
            self.settings,
            store=self.real or self.store,
            delivery=Delivery(self.topic, self.sink, self.pager, self.metrics),
            pager=self.pager,
            metrics=self.metrics,
            make_shard=shard,
            make_judge=CountingJudge,
            seek=seek,
            committed=committed,
            fail=self.failures.append,
            wall_ns=self.wall_ns,
        )

    @asynccontextmanager
    async def running(self, shards: Sequence[int] = (0,), judges: Sequence[int] = ()) -> AsyncIterator[Runtime]:
        runtime = self.runtime()
        await runtime.assign(GENERATION, shards, judges)
        task = asyncio.create_task(runtime.run())
        try:
            yield runtime
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            runtime.custody._pool.shutdown()


def event(offset: int, value: int | str = 1, partition: int = 0, role: Role = "events") -> Record:
    return Record(role, partition, offset, str(value).encode(), at_ns=0, key=b"k", headers={"content-type": "text/plain"})


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not holds():  # noqa: ASYNC110  # what is waited for sets no event
            await asyncio.sleep(0.005)


async def test_nothing_leaves_before_the_snapshot_that_holds_it_is_durable() -> None:
    world = World()
    world.store.error = SnapshotError("disk full")
    async with world.running() as runtime:
        for offset in range(3):
            await runtime.feed(event(offset), GENERATION)
        await runtime.save()
        assert world.topic.messages == []
        assert runtime.problems() == ["disk full"]
        world.store.error = None
        await until(lambda: world.topic.sequences == [0, 1, 2])
        assert runtime.problems() == []
    assert world.metrics.registry.get_sample_value("inferwatch_snapshot_failures_total", {"owner": "shard"})


async def test_what_was_delivered_is_forgotten_and_what_was_not_is_sent_again_after_a_restart() -> None:
    world = World()
    world.topic.answer = None
    async with world.running() as runtime:
        for offset in range(3):
            await runtime.feed(event(offset), GENERATION)
        await until(lambda: len(world.topic.waiting) == 3)
        world.topic.waiting[1](None, False)
        await until(lambda: len(world.shards[0].outbox) == 2)
        await runtime.save()
    world.topic = Topic()
    async with world.running():
        await until(lambda: len(world.shards[0].outbox) == 0)
        assert world.topic.sequences == [0, 2]


async def test_a_restart_goes_on_where_the_snapshot_says_and_skips_what_comes_twice() -> None:
    world = World()
    async with world.running() as runtime:
        for offset in range(3):
            await runtime.feed(event(offset, 10), GENERATION)
        await until(lambda: world.commits.get(("events", 0)) == 3)
    async with world.running() as runtime:
        assert runtime.position("events", 0) == 3
        assert runtime.position("events", 1) is None
        for offset in range(5):
            await runtime.feed(event(offset, 10), GENERATION)
        assert world.shards[0].sums["k"] == 50


async def test_a_record_of_an_ended_assignment_is_not_applied() -> None:
    world = World()
    async with world.running() as runtime:
        await runtime.feed(event(0), GENERATION - 1)
        await runtime.feed(event(0, partition=3), GENERATION)
        assert runtime.position("events", 0) == 0


async def test_a_hole_is_read_again_and_passed_over_only_when_the_topic_really_has_it() -> None:
    world = World()
    async with world.running() as runtime:
        await runtime.feed(event(0), GENERATION)
        for offset in (5, 6, 7):  # the consumer dropped 1 to 4
            await runtime.feed(event(offset), GENERATION)
        assert (world.seeks, runtime.position("events", 0)) == ([("events", 0, 1)], 1)
        for offset in (1, 2, 3, 4, 5):
            await runtime.feed(event(offset), GENERATION)
        assert runtime.position("events", 0) == 6
        assert len(world.seeks) == 1
        for offset in (9, 10, 9, 10):  # now retention has taken 6 to 8
            await runtime.feed(event(offset), GENERATION)
        assert runtime.position("events", 0) == 11
        assert world.metrics.registry.get_sample_value("inferwatch_records_lost_total", {"topic": "inferwatch.events"}) == 3


async def test_a_hole_is_asked_for_again_when_the_first_asking_went_unheard() -> None:
    world = World()
    async with world.running() as runtime:
        for offset in range(1, 400):
            await runtime.feed(event(offset), GENERATION)
        assert len(world.seeks) == 2


async def test_a_poisoned_record_goes_to_the_dead_letters_and_the_next_one_is_applied() -> None:
    world = World()
    async with world.running() as runtime:
        for offset, value in enumerate(["1", "no number", "1"]):
            await runtime.feed(event(offset, value), GENERATION)
        await until(lambda: any(to == "dlq" for to, _, _ in world.topic.messages))
        index = [to for to, _, _ in world.topic.messages].index("dlq")
        assert world.topic.messages[index] == ("dlq", b"0", b"no number")
        headers = world.topic.headers[index]
        assert (headers["reason"], headers["source"], headers["original-content-type"]) == ("internal_error", "events/0/1", "text/plain")
        assert world.shards[0].sums["k"] == 2
        assert runtime.problems() == []


async def test_a_partition_where_our_code_fails_at_most_records_stops_loudly() -> None:
    world = World()
    async with world.running([0, 1]) as runtime:
        for offset in range(60):
            await runtime.feed(event(offset, "no number"), GENERATION)
        assert runtime.position("events", 0) == 51
        assert "our own code failed at 51%" in runtime.problems()[0]
        assert ("events", 0) not in runtime.positions()
        await runtime.feed(event(0, partition=1), GENERATION)
        assert runtime.position("events", 1) == 1


async def test_too_many_dead_letters_stop_the_partition_and_nothing_is_drained() -> None:
    class Strict(CountingShard):
        def apply(self, record: Record) -> bool:
            raise TooManyDeadLettersError("51 of the last 100 records could not be read")

    world = World()
    world.make_shard = Strict
    async with world.running() as runtime:
        for offset in range(3):
            await runtime.feed(event(offset), GENERATION)
        assert runtime.position("events", 0) == 0
        assert runtime.problems() == ["shard 0 stopped: 51 of the last 100 records could not be read"]


async def test_a_full_outbox_makes_reading_wait_and_drops_nothing() -> None:
    world = World(outbox=5)
    world.topic.answer = None
    async with world.running() as runtime:
        feeding = asyncio.create_task(_feed_all(runtime, 20))
        await until(lambda: runtime.is_held)
        assert len(world.shards[0].outbox) == 5
        assert "an outbox is full" in runtime.problems()[0]
        await until(lambda: len(world.topic.waiting) == 5)
        world.topic.answer = (None, False)
        for done in world.topic.waiting:
            done(None, False)
        await feeding
        assert runtime.position("events", 0) == 20
        await until(lambda: world.topic.sequences == list(range(20)))
        assert runtime.problems() == []


async def _feed_all(runtime: Runtime, n: int) -> None:
    for offset in range(n):
        await runtime.feed(event(offset), GENERATION)


async def test_giving_up_saves_and_the_next_owner_has_everything() -> None:
    world = World()
    async with world.running(judges=[2]) as runtime:
        await runtime.feed(event(0, 4), GENERATION)
        await runtime.revoke()
        assert runtime.positions() == {}
        assert world.shards[0].sums["k"] == 4
    async with world.running() as runtime:
        assert runtime.position("events", 0) == 1
    assert world.pager.told == [("adopt", 2, ""), ("release", 2, "")]


async def test_an_owner_that_was_replaced_sends_nothing_and_stops_the_worker() -> None:
    world = World()
    async with world.running() as runtime:
        world.store.claim("shard", 0)
        await runtime.feed(event(0), GENERATION)
        await until(lambda: bool(world.failures))
        assert world.topic.messages == []
        assert "another worker has taken over" in world.failures[0]


async def test_an_owner_that_was_replaced_while_giving_up_just_goes() -> None:
    world = World()
    runtime = world.runtime()
    await runtime.assign(GENERATION, [0], [])
    await runtime.feed(event(0), GENERATION)
    world.store.claim("shard", 0)
    await runtime.revoke()
    assert (world.failures, world.topic.messages) == ([], [])


async def test_a_save_under_way_while_the_partition_was_given_up_may_come_too_late(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    runtime = world.runtime()
    await runtime.assign(GENERATION, [0], [])
    await runtime.feed(event(0), GENERATION)

    def too_late(snapshot: Snapshot) -> int:
        for tenure in runtime._tenures.values():
            tenure.end()
        raise StaleOwnerError("replaced")

    monkeypatch.setattr(world.store, "save", too_late)
    await runtime.save()
    assert (world.failures, world.topic.messages) == ([], [])


async def test_an_owner_that_is_dropped_lets_go_of_what_it_holds_once() -> None:
    closed = []

    class Holding(CountingShard):
        def close(self) -> None:
            closed.append(self.partition)

    world = World()
    world.make_shard = Holding
    runtime = world.runtime()
    await runtime.assign(GENERATION, [0, 1], [])
    await runtime.assign(GENERATION + 1, [1], [])
    await runtime.close(0.1)
    assert closed == [0, 1, 1]


async def test_closing_takes_no_more_records_delivers_and_saves_that_it_did() -> None:
    world = World()
    runtime = world.runtime()
    await runtime.assign(GENERATION, [0], [])
    await _feed_all(runtime, 3)
    assert await runtime.close(1.0)
    await runtime.feed(event(3), GENERATION)
    assert world.topic.sequences == [0, 1, 2]
    async with world.running():
        assert len(world.shards[0].outbox) == 0
        assert world.topic.sequences == [0, 1, 2]


@pytest.mark.alone
async def test_closing_does_not_wait_longer_than_its_budget() -> None:
    world = World()
    world.topic.answer = None
    runtime = world.runtime()
    await runtime.assign(GENERATION, [0], [])
    await _feed_all(runtime, 3)
    assert not await runtime.close(0.05)
    async with world.running():
        assert len(world.shards[0].outbox) == 3


async def test_rows_go_to_the_store_by_a_name_that_comes_again_after_a_restart() -> None:
    world = World()
    world.sink.error = SinkFullError("full")
    tokens: list[str] = []
    for _ in range(2):
        async with world.running([], [0]) as runtime:
            if not tokens:
                for offset in range(3):
                    told = msgspec.msgpack.encode(Told(0, offset, 1))
                    await runtime.feed(Record("windows", 0, offset, told, 0), GENERATION)
            await until(lambda: len(world.sink.tokens) > 0)
            tokens.append(world.sink.tokens[0])
        world.sink.tokens.clear()
    assert tokens[0] == tokens[1] == "judge-0-0-3"
    world.sink.error = None
    async with world.running([], [0]) as runtime:
        await until(lambda: len(world.sink.rows) == 3)
        assert isinstance(world.sink.rows[0], QualityWindowRow)


async def test_rows_without_room_are_offered_again() -> None:
    world = World()
    world.sink.error = SinkFullError("full")
    async with world.running([], [0]) as runtime:
        await runtime.feed(Record("windows", 0, 0, msgspec.msgpack.encode(Told(0, 0, 1)), 0), GENERATION)
        await until(lambda: len(world.sink.tokens) > 0)
        world.sink.error = None
        await until(lambda: len(world.sink.rows) == 1)


async def test_one_row_that_cannot_be_stored_does_not_take_the_others_with_it() -> None:
    class Picky(ListSink):
        def put(self, rows, token):  # type: ignore[no-untyped-def]
            self.error = RowError("bad") if any(row.start == 1 for row in rows) else None
            return super().put(rows, token)

    world = World()
    world.sink = Picky()
    async with world.running([], [0]) as runtime:
        for offset in range(3):
            await runtime.feed(Record("windows", 0, offset, msgspec.msgpack.encode(Told(0, offset, 1)), 0), GENERATION)
        await until(lambda: len(world.sink.rows) == 2)
        await until(lambda: world.metrics.registry.get_sample_value("inferwatch_messages_undeliverable_total", {"to": "rows"}) == 1)


async def test_a_message_that_can_never_be_delivered_is_counted_and_the_others_pass() -> None:
    world = World()
    world.topic.answer = ("too large", True)
    async with world.running() as runtime:
        await _feed_all(runtime, 2)
        await until(lambda: len(world.shards[0].outbox) == 0)
    assert world.metrics.registry.get_sample_value("inferwatch_messages_undeliverable_total", {"to": "windows"}) == 2


async def test_messages_without_room_keep_their_order_and_come_later() -> None:
    world = World()
    world.topic.room = 1
    async with world.running() as runtime:
        await _feed_all(runtime, 4)
        await until(lambda: world.topic.sequences == [0])
        world.topic.room = 100
        await until(lambda: world.topic.sequences == [0, 1, 2, 3])


async def test_alerts_reach_the_pager_when_they_are_durable_and_again_after_a_restart() -> None:
    world = World()
    world.store.error = SnapshotError("disk full")
    async with world.running([], [1]) as runtime:
        await runtime.feed(Record("windows", 1, 0, msgspec.msgpack.encode(Told(0, 0, 1)), 0), GENERATION)
        await runtime.save()
        assert world.pager.told == [("adopt", 1, "")]
        world.store.error = None
        await until(lambda: ("offer", 1, "first") in world.pager.told)
    world.pager.told.clear()
    async with world.running([], [1]):
        assert world.pager.told[0] == ("adopt", 1, "first")


async def test_time_passes_for_every_owner_and_a_failing_tick_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streams.runtime.TICK_S", 0.01)

    class Late(CountingShard):
        def tick(self, now_ns: int) -> None:
            super().tick(now_ns)
            if self.partition == 0:
                raise ZeroDivisionError

    world = World()
    world.make_shard = Late
    async with world.running([0, 1]):
        await until(lambda: world.shards[0].ticks > 1 and world.shards[1].ticks > 1)
    assert world.metrics.registry.get_sample_value("inferwatch_internal_errors_total", {"where": "tick"})


async def test_where_the_signs_of_life_end_is_told_to_whoever_reads_them() -> None:
    world = World()
    async with world.running([], [1]) as runtime:
        runtime.note_ends({("lifecycle", 1): 5, ("labels", 1): 2, ("lifecycle", 7): 3}, 9 * NS)
        assert runtime._tenures["judge", 1].end_of_life == (5, 9 * NS)


async def test_time_stands_still_for_a_small_step_back_of_the_clock_and_follows_a_large_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streams.runtime.TICK_S", 0.01)
    world = World()
    seen: list[int] = []

    class Watching(CountingShard):
        def tick(self, now_ns: int) -> None:
            seen.append(now_ns // NS)

    world.make_shard = Watching
    hours = iter([10_000, 9_980, 10_001, 6_401])
    world.wall_ns = lambda: next(hours, 6_402) * NS
    async with world.running([0]):
        await until(lambda: 6_402 in seen)
    assert seen[:5] == [10_000, 10_000, 10_001, 6_401, 6_402]


async def test_what_owners_count_becomes_metrics_without_counting_a_restart_twice() -> None:
    world = World()
    for first in (0, 3):
        runtime = world.runtime()
        await runtime.assign(GENERATION, [0], [])
        for offset in range(first, first + 3):
            await runtime.feed(event(offset), GENERATION)
        runtime._gauge()
        await runtime.close(1.0)
    assert world.metrics.registry.get_sample_value("inferwatch_events_total", {"owner": "shard", "reason": ""}) == 6


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


async def test_after_a_gap_nothing_leaves_before_the_store_has_confirmed_the_owner() -> None:
    world, clock = World(), Clock()
    world.topic.answer = None
    async with world.running() as runtime:
        runtime.custody.lease = Lease(5.0, clock)
        runtime.lease.confirmed(("shard", 0), 0.0)
        await runtime.feed(event(0), GENERATION)
        await until(lambda: len(world.topic.messages) == 1)
        world.store.claim("shard", 0)  # while this process was stopped, another took over
        clock.now += 60.0
        world.topic.waiting[0]("timed out", False)  # so the message is to be sent again
        await asyncio.sleep(0.05)
        runtime._hand_over(next(iter(runtime._tenures.values())))
        assert len(world.topic.messages) == 1
        assert not runtime.lease.holds(("shard", 0))
        await runtime.custody.confirm(next(iter(runtime._tenures.values())), 1.0)
        assert "another worker has taken over" in world.failures[0]
        runtime._hand_over(next(iter(runtime._tenures.values())))
        assert len(world.topic.messages) == 1


async def test_after_a_gap_an_owner_that_is_confirmed_goes_on() -> None:
    world, clock = World(), Clock()
    async with world.running([], [1]) as runtime:
        runtime.custody.lease = Lease(5.0, clock)
        runtime.lease.confirmed(("judge", 1), 0.0)
        clock.now += 60.0
        assert not runtime.lease.holds(("judge", 1))
        await runtime.custody.confirm(next(iter(runtime._tenures.values())), 10.0)
        assert runtime.lease.holds(("judge", 1))
        clock.now += 4.0
        assert runtime.lease.holds(("judge", 1))
        assert world.failures == []


async def test_a_store_that_is_away_is_no_reason_to_stop_paging_but_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()

    def away(kind: Kind, partition: int, fence: int) -> None:
        raise SnapshotError("Kafka is away")

    monkeypatch.setattr(world.store, "confirm", away)
    async with world.running([], [1]) as runtime:
        await runtime.custody.confirm(next(iter(runtime._tenures.values())), -1.0)
        assert runtime.lease.holds(("judge", 1))
        assert runtime.problems() == ["Kafka is away"]
        monkeypatch.undo()
        await runtime.custody.confirm(next(iter(runtime._tenures.values())), -1.0)
        assert runtime.problems() == []


async def test_a_clock_that_is_set_back_is_counted_and_what_time_servers_correct_is_not() -> None:
    world = World()
    runtime = world.runtime()
    runtime._now_ns = 10_000 * 10**9
    assert [runtime._time(seconds * 10**9) for seconds in (9_999, 10_001, 3_000)] == [10_000 * 10**9, 10_001 * 10**9, 3_000 * 10**9]
    assert world.metrics.registry.get_sample_value("inferwatch_clock_set_back_total") == 1
    runtime.custody._pool.shutdown()


async def test_an_idle_judge_that_was_replaced_finds_out_and_its_alerts_are_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    async with world.running([], [1]) as runtime:
        world.store.claim("judge", 1)
        await runtime.custody.confirm(next(iter(runtime._tenures.values())), -1.0)
        assert world.pager.told == [("adopt", 1, ""), ("release", 1, "")]
        assert not runtime.lease.holds(("judge", 1))
        assert len(world.failures) == 1


class SlicedShard(CountingShard):
    """Its records are pieces of a state that is copied one at a time."""

    def __init__(self, partition: int) -> None:
        super().__init__(partition)
        self.kept: dict[int, int] = {}
        self.unsaved: list[int] = []
        self.lost = 0

    def apply(self, record: Record) -> bool:
        self.kept[record.offset] = int(record.value)
        self.unsaved.append(record.offset)
        return super().apply(record)

    def begin_copy(self) -> "SlicedCopy":
        pieces, self.unsaved = self.unsaved, []
        return SlicedCopy(self.snapshot(), {n: b"%d" % self.kept[n] for n in pieces}, tuple(self.kept))

    def copy_lost(self, copy: "SlicedCopy") -> None:
        self.lost += 1
        self.unsaved = [*copy.pieces, *self.unsaved]

    def begin_restore(self, root: bytes) -> None:
        self.restore(root)

    def restore_piece(self, piece: int, blob: bytes) -> None:
        self.kept[piece] = int(blob)

    def end_restore(self) -> None: ...


class SlicedCopy:
    def __init__(self, root: bytes, pieces: dict[int, bytes], keep: tuple[int, ...]) -> None:
        self.root, self.pieces, self.keep = root, pieces, keep
        self.left = 3

    def step(self) -> bool:
        time.sleep(0.011)
        self.left -= 1
        return self.left > 0


@pytest.mark.alone
async def test_a_large_state_is_copied_in_slices_between_which_records_are_applied(tmp_path: Path) -> None:
    world = World()
    world.make_shard = SlicedShard
    world.real = FolderStore(tmp_path)
    async with world.running() as runtime:
        await _feed_all(runtime, 3)
        saving = asyncio.create_task(runtime.save())
        await asyncio.sleep(0.02)
        await runtime.feed(event(3), GENERATION)  # between two slices
        await saving
        await until(lambda: world.commits.get(("events", 0)) == 4)
        held = world.metrics.registry.get_sample_value("inferwatch_snapshot_copy_seconds_sum")
        assert held is not None
        assert 0.01 < held / (world.metrics.registry.get_sample_value("inferwatch_snapshot_copy_seconds_count") or 1) < 0.03
    async with world.running() as runtime:
        assert runtime.position("events", 0) == 4
        assert world.shards[0].kept == dict.fromkeys(range(4), 1)  # type: ignore[attr-defined]
        await runtime.revoke()


async def test_pieces_of_a_snapshot_that_failed_come_with_the_next_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    world.make_shard = SlicedShard
    world.real = store = FolderStore(tmp_path)
    runtime = world.runtime()
    await runtime.assign(GENERATION, [0], [])
    await _feed_all(runtime, 2)

    def full(snapshot: Snapshot) -> int:
        raise SnapshotError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(store, "save", full)
        await runtime.save()
    shard = world.shards[0]
    assert isinstance(shard, SlicedShard)
    assert (shard.lost, world.topic.messages) == (1, [])
    await runtime.save()
    assert world.topic.sequences == [0, 1]
    await runtime.close(0.1)
    async with world.running():
        assert world.shards[0].kept == {0: 1, 1: 1}  # type: ignore[attr-defined]


@pytest.mark.parametrize("told", [True, False], ids=["told by the group", "not told"])
async def test_a_partition_that_goes_to_another_while_its_state_is_read_is_given_up(tmp_path: Path, told: bool) -> None:
    world, loop = World(), asyncio.get_running_loop()
    world.make_shard, world.real = SlicedShard, FolderStore(tmp_path)
    async with world.running() as before:
        await _feed_all(before, 3)
        await before.revoke()
    runtime, read = world.runtime(), world.real.pieces

    def late(snapshot: Snapshot) -> Iterator[tuple[int, bytes]]:
        if told:
            asyncio.run_coroutine_threadsafe(runtime.revoke(), loop).result()
        successor = FolderStore(tmp_path)
        fence, _ = successor.claim("shard", 0)
        successor.save(Snapshot("shard", 0, fence, {"events": 3}, 0, b"root"))  # needs none of the old pieces, and removes them
        yield from read(snapshot)

    world.real.pieces = late  # type: ignore[method-assign]
    if told:
        await runtime.assign(GENERATION, [0], [])
    else:
        with pytest.raises(StaleOwnerError):
            await runtime.assign(GENERATION, [0], [])
    assert (runtime.positions(), world.failures) == ({}, [])


class _Teller:
    """Tells every record's number, once."""

    def __init__(self) -> None:
        self.partition = 0
        self.outbox = Outbox()
        self.next: dict[Role, int] = {"events": 0}
        self.total = 0

    def apply(self, record: Record) -> bool:
        self.next["events"] = record.offset + 1
        self.total += 1
        self.outbox.add("windows", b"", str(record.offset).encode())
        return True

    def tick(self, now_ns: int) -> None: ...

    def snapshot(self) -> bytes:
        return msgspec.msgpack.encode((self.next["events"], self.total, self.outbox.dump()))

    def restore(self, blob: bytes) -> None:
        self.next["events"], self.total, outbox = msgspec.msgpack.decode(blob, type=tuple[int, int, tuple[int, list[Out]]])
        self.outbox.load(*outbox)


@given(
    st.lists(
        st.sampled_from(["record", "stale", "save", "save, record meanwhile", "save, then crash", "send", "arrive", "fail", "crash"]),
        max_size=60,
    )
)
def test_whenever_it_crashes_counts_are_exact_and_every_message_arrives(steps: list[str]) -> None:
    saved: Snapshot | None = None
    arrived: list[bytes] = []
    under_way: list[Out] = []

    def born() -> Tenure:
        owner = _Teller()
        if saved is not None:
            owner.restore(saved.state)
        return Tenure("shard", owner, fence=1, generation=1, restored=saved is not None, failure_share=0.5)

    def receive(outs: list[Out]) -> None:
        arrived.extend(out.value for out in outs)

    tenure = born()
    ahead = 1
    for step in [*steps, "crash", "record", "save", "send", "arrive"]:
        if step == "record":
            while tenure.take(event(tenure.position("events"))) != "applied":
                pass
        elif step == "stale":
            tenure.take(event(max(0, tenure.position("events") - 1)))
            ahead += 1  # what is left of an ended assignment has rising offsets
            tenure.take(event(tenure.position("events") + ahead))
        elif step.startswith("save"):
            taking = tenure.begin_snapshot(0)
            snapshot = saved = taking.snapshot
            if step == "save, record meanwhile":
                tenure.take(event(tenure.position("events")))
            if step == "save, then crash":
                tenure, under_way = born(), []
            else:
                tenure.saved(snapshot, taking.below)
        elif step == "send":
            due = tenure.due()
            assert all(saved is not None and int(out.value) < saved.next["events"] for out in due)
            under_way += due
        elif step == "arrive":
            receive(under_way)
            tenure.delivered([out.id for out in under_way])
            under_way = []
        elif step == "fail":
            tenure.retry([out.id for out in under_way])
            under_way = []
        elif step == "crash":
            receive(under_way[::2])  # some of it was on its way
            tenure, under_way = born(), []
    owner = tenure.owner
    assert isinstance(owner, _Teller)
    assert owner.total == owner.next["events"]
    durable = saved.next["events"] if saved is not None else 0
    assert {int(value) for value in arrived} >= set(range(durable)) - {int(out.value) for out in owner.outbox}
    receive(tenure.due())
    assert {int(value) for value in arrived} == set(range(durable))
