"""Feeds owners: records in, time on, snapshots durable, and only then messages out. Knows nothing of Kafka's client or of Faust.

Everything runs on one event loop; only `SnapshotStore` works in threads. As nobody touches an owner between two awaits, a snapshot is
consistent without locks.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Mapping

import structlog

from streams.custody import Custody
from streams.delivery import Delivery, Pager
from streams.lease import Lease
from streams.metrics import Counting, Metrics
from streams.owner import NS, SET_BACK_NS, Owner, Record, Role
from streams.settings import Settings
from streams.snapshots import Kind, SnapshotStore, StaleOwnerError
from streams.tenure import ROLES, Closing, JudgeOwner, Tenure

__all__ = ["Runtime"]

TICK_S = 0.5
SNAPSHOT_COST = 20.0
"""Copying for snapshots holds the loop up for at most one part in so many of the time, ..."""
WRITE_COST = 2.0
"""... writing them keeps the disk busy for at most one in so many, ..."""
LONGEST_PAUSE_S = 5.0
"""... but a page, which leaves with a snapshot, never waits longer than this."""
_PAUSE_S = 0.05

log = structlog.get_logger(__name__)
_KIND_OF: dict[Role, Kind] = {role: kind for kind, roles in ROLES.items() for role in roles}


class Runtime:
    """All that this worker owns.

    Args:
        settings: Limits and the interval of snapshots.
        store: Of snapshots.
        delivery: Of messages.
        pager: Is told which alerts are open.
        metrics: Counts.
        make_shard: Makes the owner of a partition of the events.
        make_judge: Makes the owner of a partition of windows, findings, lifecycle and labels.
        seek: Sends the consumer back: ``seek(role, partition, offset)``.
        committed: Told which offsets became durable, for Kafka's lag display.
        fail: Called when this worker must not go on, with the reason.
        ends: Where the topics end now, of these partitions; those that cannot be asked for are left out. May block.
        wall_ns: UTC ns.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        store: SnapshotStore,
        delivery: Delivery,
        pager: Pager,
        metrics: Metrics,
        make_shard: Callable[[int], Owner],
        make_judge: Callable[[int], JudgeOwner],
        seek: Callable[[Role, int, int], Awaitable[None]],
        committed: Callable[[dict[tuple[Role, int], int]], Awaitable[None]],
        fail: Callable[[str], None],
        ends: Callable[[Collection[tuple[Role, int]]], dict[tuple[Role, int], int]] = lambda _: {},
        wall_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._settings, self._delivery, self._pager, self._metrics = settings, delivery, pager, metrics
        self._make_shard, self._make_judge = make_shard, make_judge
        self._seek, self._committed, self._fail, self._wall_ns = seek, committed, fail, wall_ns
        self._ends = ends
        self._tenures: dict[tuple[Kind, int], Tenure] = {}
        self._hurry = asyncio.Event()
        self._now_ns = 0
        self._counts: dict[tuple[Kind, int], dict[str, int]] = {}
        self._held = 0
        self._closing = False
        self._turn = 0
        patience_s = settings.kafka.session_timeout_s / 2
        self.custody = Custody(store, metrics, patience_s, saved=self._hand_over, replaced=self._replaced, wall_ns=wall_ns)

    @property
    def lease(self) -> Lease[tuple[Kind, int]]:
        """Of what is this worker's."""
        return self.custody.lease

    async def assign(self, generation: int, shards: Collection[int], judges: Collection[int]) -> None:
        """Takes over partitions: claims them, restores their owners. What was owned before must have been revoked.

        Raises:
            StaleOwnerError: another has claimed one meanwhile, so this worker is out of its group.
            SnapshotError: a snapshot cannot be read.
            detectors.state.StateError: a snapshot is another release's.
        """
        if self._closing:
            return
        if self._tenures:  # no revocation came before
            await self.revoke()
        turn = self._turn
        try:
            await self._take_over(turn, generation, shards, judges)
        except Exception as error:
            if turn == self._turn:
                raise
            # Its next owner has claimed the partition, saved, and removed what was being read here.
            log.info("the partitions were given to others while they were read", why=f"{type(error).__name__}: {error}")

    async def _take_over(self, turn: int, generation: int, shards: Collection[int], judges: Collection[int]) -> None:
        wanted: list[tuple[Kind, int]] = [("shard", p) for p in sorted(shards)] + [("judge", p) for p in sorted(judges)]
        asked_at, claims = await self.custody.claim(wanted)
        # After the claims: nobody else writes from now on what these owners have to know.
        waiting = await self.custody.in_thread(self._ends, [(role, p) for kind, p in wanted for role in ROLES[kind]])
        for key, (fence, snapshot) in zip(wanted, claims, strict=True):
            kind, partition = key
            owner: Owner
            judge: JudgeOwner | None = None
            if kind == "shard":
                owner = self._make_shard(partition)
            else:
                owner = judge = self._make_judge(partition)
            if snapshot is not None:
                await self.custody.restore(owner, snapshot)
            if self._closing or turn != self._turn:  # revoked while it was read; who comes next claims anew
                if isinstance(owner, Closing):
                    owner.close()
                return
            share = self._settings.limits.dead_letter_share
            behind = {role: waiting[role, partition] for role in ROLES[kind] if (role, partition) in waiting}
            restored = snapshot is not None
            tenure = Tenure(kind, owner, fence=fence, generation=generation, restored=restored, failure_share=share, waiting=behind)
            self._tenures[key] = tenure
            self.custody.begin(key, asked_at)
            self._counts[key] = dict(owner.counters()) if isinstance(owner, Counting) else {}
            if judge is not None:
                self._pager.adopt(partition, judge.open_alerts())
            self._hand_over(tenure)  # what a predecessor could not deliver any more
            log.info("owns", owner=kind, partition=partition, next=dict(owner.next), fence=fence, outbox=len(owner.outbox))
            await asyncio.sleep(0)  # a large restore must not hold up the others' heartbeats and health
        self._gauge()

    async def revoke(self) -> None:
        """Gives everything up, saved as far as it can be."""
        self._turn += 1
        for tenure in self._tenures.values():
            tenure.pause()
        await asyncio.gather(*(self.custody.save(tenure, handing_over=True) for tenure in self._tenures.values()))
        for (kind, partition), tenure in self._tenures.items():
            tenure.end()
            if kind == "judge":
                self._pager.release(partition)
            topics = tuple(f"{self._settings.kafka.topic_prefix}.{role}" for role in ROLES[kind])
            self._metrics.forget_partition(kind, partition, topics)
        await asyncio.gather(*(self.custody.release(*key) for key in self._tenures))
        self._tenures.clear()
        self._gauge()

    def position(self, role: Role, partition: int) -> int | None:
        """The offset to read next; None for what this worker does not own."""
        tenure = self._tenures.get((_KIND_OF[role], partition))
        return None if tenure is None else tenure.position(role)

    def positions(self) -> dict[tuple[Role, int], int]:
        """Offsets to read next, of all partitions that have not stopped. Safe to call from another thread."""
        return {(role, t.partition): t.position(role) for t in list(self._tenures.values()) if not t.stopped for role in ROLES[t.kind]}

    def note_ends(self, ends: Mapping[tuple[Role, int], int], asked_ns: int) -> None:
        """Where the topics ended, and when that was asked. Safe to call from another thread."""
        for (role, partition), end in ends.items():
            if role == "lifecycle" and (tenure := self._tenures.get(("judge", partition))) is not None:
                tenure.end_of_life = (end, asked_ns)

    @property
    def is_held(self) -> bool:
        """Reading waits for room in an outbox."""
        return self._held > 0

    def problems(self) -> list[str]:
        """What on-call should know; empty when all is well."""
        found = [f"{t.kind} {t.partition} stopped: {t.stopped}" for t in self._tenures.values() if t.stopped]
        if self._held:
            found.append("reading waits: an outbox is full, because Kafka, ClickHouse or the snapshots' disk do not take what it holds")
        return found + self.custody.problems() + self._delivery.problems()

    async def feed(self, record: Record, generation: int) -> None:
        """Gives a record to its owner, waiting while that owner's outbox is full."""
        kind = _KIND_OF[record.role]
        tenure = self._tenures.get((kind, record.partition))
        topic = f"{self._settings.kafka.topic_prefix}.{record.role}"
        if tenure is None or generation != tenure.generation:
            self._metrics.records_skipped.labels(topic).inc()
            return
        if len(tenure.owner.outbox) >= self._settings.limits.outbox:
            await self._room(tenure)
        lost = tenure.lost
        began = time.perf_counter()
        taken = tenure.take(record)
        self._metrics.apply_seconds.labels(kind).observe(time.perf_counter() - began)
        if taken == "applied":
            self._metrics.records.labels(topic).inc()
            self._metrics.record_bytes.labels(topic).inc(len(record.value))
        elif taken == "failed":
            self._metrics.internal_errors.labels("record").inc()
        else:
            self._metrics.records_skipped.labels(topic).inc()
        if taken == "gap" and tenure.wants_seek(record.role):
            await self._seek(record.role, record.partition, tenure.position(record.role))
        self._metrics.records_lost.labels(topic).inc(tenure.lost - lost)

    async def run(self) -> None:
        """Ticks, snapshots and deliveries, until cancelled."""
        await asyncio.gather(self._tick_for_ever(), self._save_for_ever(), self._confirm_for_ever())

    async def close(self, budget_s: float) -> bool:
        """Takes no more records, saves, delivers what it can in the time given, saves again. Whether all was delivered."""
        self._closing = True
        for tenure in self._tenures.values():
            tenure.pause()
        deadline = time.monotonic() + budget_s
        await self.save()
        while any(len(t.owner.outbox) for t in self._tenures.values()) and time.monotonic() < deadline:
            await asyncio.sleep(_PAUSE_S / 2)
            for tenure in self._tenures.values():
                self._hand_over(tenure)
        done = not any(len(t.owner.outbox) for t in self._tenures.values())
        await self.revoke()
        self.custody.close()
        return done

    async def save(self) -> float:
        """One round of snapshots of all that changed, and of deliveries; returns how long to wait until the next, beyond the settings."""
        self._hurry.clear()
        began = time.monotonic()
        copies = await asyncio.gather(*(self.custody.save(tenure) for tenure in list(self._tenures.values())))
        took = time.monotonic() - began if any(copies) else 0.0
        offsets = {(role, t.partition): at for t in self._tenures.values() for role, at in t.saved_next.items() if at}
        await self._committed(offsets)
        return pause_after(sum(copies), took)

    def _replaced(self, tenure: Tenure, error: StaleOwnerError, given_up: bool) -> None:
        if tenure.kind == "judge":
            self._pager.release(tenure.partition)
        if not given_up:
            self._fail(f"{error}; another worker has taken over")

    def _hand_over(self, tenure: Tenure) -> None:
        if self.lease.holds((tenure.kind, tenure.partition)):
            self._delivery.hand_over(tenure)

    async def _confirm_for_ever(self) -> None:
        """Asks the store from time to time, and after a gap, whether what we own is ours: an idle owner saves nothing that would tell."""
        session_s = self._settings.kafka.session_timeout_s
        while True:
            await asyncio.sleep(session_s / 10)
            await asyncio.gather(*(self.custody.confirm(tenure, session_s) for tenure in list(self._tenures.values())))

    async def _save_for_ever(self) -> None:
        least = self._settings.state.snapshot_s
        while True:
            slow = await self.save()
            for key, tenure in self._tenures.items():
                if not tenure.is_dirty:
                    self.custody.saved_at[key] = time.monotonic()
            pause = max(least, slow)
            try:
                await asyncio.wait_for(self._hurry.wait(), pause)
            except TimeoutError:
                continue
            await asyncio.sleep(min(pause, slow + _PAUSE_S))  # hurried, but not without any rest

    async def _tick_for_ever(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            self.lease.now()
            self._now_ns = self._time(self._wall_ns())
            for tenure in list(self._tenures.values()):
                began = time.perf_counter()
                if not tenure.tick(self._now_ns):
                    self._metrics.internal_errors.labels("tick").inc()
                self._metrics.tick_seconds.labels(tenure.kind).observe(time.perf_counter() - began)
                self._hand_over(tenure)  # what came back
                await asyncio.sleep(0)
            self._gauge()

    def _time(self, wall_ns: int) -> int:
        """The clock's time, but not for a small step back: then it stands still until the clock is there again."""
        if wall_ns >= self._now_ns - SET_BACK_NS:
            return max(self._now_ns, wall_ns)
        self._metrics.clock_set_back.inc()
        log.warning("this machine's clock was set back", by_s=round((self._now_ns - wall_ns) / NS))
        return wall_ns

    async def _room(self, tenure: Tenure) -> None:
        self._held += 1
        began = time.monotonic()
        log.warning("reading waits: the outbox is full", owner=tenure.kind, partition=tenure.partition, messages=len(tenure.owner.outbox))
        try:
            while len(tenure.owner.outbox) >= self._settings.limits.outbox and not (tenure.ended or self._closing):
                self._hurry.set()
                await asyncio.sleep(_PAUSE_S)
        finally:
            self._held -= 1
            self._metrics.held.inc(time.monotonic() - began)

    def _gauge(self) -> None:
        now = time.monotonic()
        for kind in ROLES:
            mine = [t for t in self._tenures.values() if t.kind == kind]
            self._metrics.owned.labels(kind).set(len(mine))
            self._metrics.stopped.labels(kind).set(sum(bool(t.stopped) for t in mine))
            self._metrics.outbox.labels(kind).set(max((len(t.owner.outbox) for t in mine), default=0))
        dirty = [now - self.custody.saved_at[key] for key, t in self._tenures.items() if t.is_dirty]
        self._metrics.snapshot_age.set(max(dirty, default=0.0))
        for key, tenure in self._tenures.items():
            if isinstance(tenure.owner, Counting):
                counts = dict(tenure.owner.counters())
                before = self._counts.get(key, {})
                self._metrics.count_owner(tenure.kind, {name: n - before.get(name, 0) for name, n in counts.items()})
                self._counts[key] = counts


def pause_after(held_s: float, took_s: float) -> float:
    """How long to wait at least after a round of snapshots that held the loop up for so long and took so long in all.

    Example:
        >>> pause_after(0.01, 0.3), pause_after(0.1, 0.3), pause_after(2.0, 4.0)
        (0.6, 2.0, 5.0)
    """
    return min(max(SNAPSHOT_COST * held_s, WRITE_COST * took_s), LONGEST_PAUSE_S)
