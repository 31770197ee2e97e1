"""What this worker owns is durable, and its own: claims and restores, snapshots in slices, and the question who owns it now.

All that asks the store of snapshots is here, and runs in threads; for one owner never two at once.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import structlog

from streams.lease import Lease
from streams.metrics import Metrics
from streams.owner import Owner, Sliced
from streams.snapshots import Kind, Snapshot, SnapshotStore, StaleOwnerError
from streams.tenure import Taking, Tenure

__all__ = ["Custody", "save_and_free"]

_SLICE_S = 0.01  # a snapshot holds the loop up for little more than this at once
_AHEAD_BYTES = 8 << 20  # read ahead of what is restored
_AT_ONCE = 4  # snapshots in memory and on their way to the disk

_T = TypeVar("_T")

log = structlog.get_logger(__name__)


class Custody:
    """Tenures on the one side, the store of their snapshots on the other.

    Args:
        store: Of snapshots.
        metrics: Counts.
        patience_s: Of the lease: a gap is longer than this.
        saved: Called when what a tenure may send is durable.
        replaced: Called when another worker has taken over, with whether this one had given up the tenure, which has ended, itself.
        wall_ns: UTC ns.

    Attributes:
        lease: Of what is this worker's.
        saved_at: By owner: the last time, on the monotonic clock, at which all was durable.
    """

    def __init__(
        self,
        store: SnapshotStore,
        metrics: Metrics,
        patience_s: float,
        *,
        saved: Callable[[Tenure], None],
        replaced: Callable[[Tenure, StaleOwnerError, bool], None],
        wall_ns: Callable[[], int],
    ) -> None:
        self._store, self._metrics, self._saved, self._replaced_by, self._wall_ns = store, metrics, saved, replaced, wall_ns
        self.lease: Lease[tuple[Kind, int]] = Lease(patience_s)
        self.saved_at: dict[tuple[Kind, int], float] = {}
        self._pool = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="snapshots")
        self._saving: dict[tuple[Kind, int], asyncio.Lock] = {}
        self._slots = asyncio.Semaphore(_AT_ONCE)
        self._trouble: dict[str, str] = {}

    def problems(self) -> list[str]:
        """What the store refuses, or does not answer."""
        return list(self._trouble.values())

    def close(self) -> None:
        """Takes no more work for its threads; does not wait for what is under way."""
        self._pool.shutdown(wait=False)

    async def in_thread(self, work: Callable[..., _T], *arguments: object) -> _T:
        """Calls what may block."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, work, *arguments)

    async def claim(self, wanted: Sequence[tuple[Kind, int]]) -> tuple[float, list[tuple[int, Snapshot | None]]]:
        """Becomes the owner of all of these: when that was asked, by the lease's clock, and what `SnapshotStore.claim` says of each."""
        asked_at = self.lease.now()
        return asked_at, await asyncio.gather(*(self.in_thread(self._store.claim, *one) for one in wanted))

    def begin(self, key: tuple[Kind, int], asked_at: float) -> None:
        """An owner that was claimed then is restored, and goes on."""
        self.lease.confirmed(key, asked_at)
        self.saved_at[key] = time.monotonic()

    async def restore(self, owner: Owner, snapshot: Snapshot) -> None:
        """Brings a fresh owner to a snapshot: pieces are read in a thread, some ahead, and put in on the loop, one at a time."""
        if not isinstance(owner, Sliced):
            owner.restore(snapshot.state)
            return
        began = time.monotonic()
        owner.begin_restore(snapshot.state)
        loop = asyncio.get_running_loop()
        pieces = self._store.pieces(snapshot)
        coming = loop.run_in_executor(self._pool, _some, pieces)
        while some := await coming:
            coming = loop.run_in_executor(self._pool, _some, pieces)
            for piece, blob in some:
                owner.restore_piece(piece, blob)
                await asyncio.sleep(0)
        owner.end_restore()
        took = round(time.monotonic() - began, 3)
        log.info("restored", owner=snapshot.kind, partition=snapshot.partition, pieces=len(snapshot.keep), seconds=took)

    async def save(self, tenure: Tenure, *, handing_over: bool = False) -> float:
        """Makes one tenure durable, then sends what that allows; returns the seconds for which the loop was held up in all."""
        key = tenure.kind, tenure.partition
        copied = 0.0
        async with self._saving.setdefault(key, asyncio.Lock()), self._slots:
            if tenure.is_dirty and not tenure.ended:
                began = time.perf_counter()
                taking: Taking | None = None
                try:
                    taking = tenure.begin_snapshot(self._wall_ns())
                    copied, longest = await self._copy(taking, began)
                    snapshot, asked_at = taking.snapshot, self.lease.now()
                    size = await self.in_thread(save_and_free, self._store, snapshot)
                except StaleOwnerError as error:
                    self._replaced(tenure, error, handing_over=handing_over)
                    return copied
                except Exception as error:  # noqa: BLE001  # a full disk today may be empty tomorrow, and nothing leaves meanwhile
                    tenure.save_failed(taking)
                    self._metrics.snapshot_failures.labels(tenure.kind).inc()
                    self._note(f"snapshot {tenure.kind} {tenure.partition}", error, "no snapshot, so nothing leaves")
                    return copied
                except BaseException:  # cancelled: whether it was saved nobody waits to hear
                    tenure.save_failed(taking)
                    raise
                self._trouble.pop(f"snapshot {tenure.kind} {tenure.partition}", None)
                tenure.saved(snapshot, taking.below)
                self.lease.confirmed(key, asked_at)
                self.saved_at[key] = time.monotonic()
                self._measure(tenure, snapshot, size, longest, time.perf_counter() - began)
            self._saved(tenure)
        return copied

    async def _copy(self, taking: Taking, began: float) -> tuple[float, float]:
        """Makes a snapshot whole, in slices; for how long the loop was held up in all, and at once."""
        held = longest = 0.0
        more = True
        while more:
            more = taking.step()
            now = time.perf_counter()
            if more and now - began > _SLICE_S:
                held, longest = held + now - began, max(longest, now - began)
                await asyncio.sleep(0)
                began = time.perf_counter()
        now = time.perf_counter()
        return held + now - began, max(longest, now - began)

    async def confirm(self, tenure: Tenure, within_s: float) -> None:
        """Asks the store whether this worker still owns it, unless it was confirmed within this time."""
        key = tenure.kind, tenure.partition
        if tenure.ended or (self.lease.holds(key) and self.lease.age_s(key) < within_s):
            return
        async with self._saving.setdefault(key, asyncio.Lock()), self._slots:
            await self._ask(tenure)

    async def _ask(self, tenure: Tenure) -> None:
        if tenure.ended:
            return
        key, asked_at, name = (tenure.kind, tenure.partition), self.lease.now(), f"ownership {tenure.kind} {tenure.partition}"
        try:
            await self.in_thread(self._store.confirm, *key, tenure.fence)
        except StaleOwnerError as error:
            self._replaced(tenure, error)
        except Exception as error:  # noqa: BLE001  # the store is away
            self._note(name, error, "whether this worker still owns the partition cannot be asked")
        else:
            self._trouble.pop(name, None)
            self.lease.confirmed(key, asked_at)

    async def release(self, kind: Kind, partition: int) -> None:
        """Lets go of what the store holds for an owner, behind a save or a question that is under way."""
        async with self._saving.setdefault((kind, partition), asyncio.Lock()):
            await self.in_thread(self._store.release, kind, partition)

    def _replaced(self, tenure: Tenure, error: StaleOwnerError, *, handing_over: bool = False) -> None:
        given_up = handing_over or tenure.ended  # this save may have begun before the giving up and ended after it
        tenure.end()
        self.lease.lost((tenure.kind, tenure.partition))
        self._replaced_by(tenure, error, given_up)

    def _note(self, name: str, error: Exception, what: str) -> None:
        if self._trouble.get(name) != str(error):
            log.exception(what, where=name)
        self._trouble[name] = str(error)

    def _measure(self, tenure: Tenure, snapshot: Snapshot, size: int, copied: float, took: float) -> None:
        self._metrics.snapshots.labels(tenure.kind).inc()
        self._metrics.snapshot_bytes.labels(tenure.kind, str(snapshot.partition)).set(size)
        self._metrics.snapshot_copy_seconds.observe(copied)
        self._metrics.snapshot_seconds.observe(took)


def save_and_free(store: SnapshotStore, snapshot: Snapshot) -> int:
    """Saves, then lets go of the pieces one by one: to free hundreds of MB at once would hold up the loop, whichever thread does it."""
    size = store.save(snapshot)
    while snapshot.pieces:
        snapshot.pieces.popitem()
    return size


def _some(pieces: Iterator[tuple[int, bytes]]) -> list[tuple[int, bytes]]:
    some, size = [], 0
    for piece in pieces:
        some.append(piece)
        size += len(piece[1])
        if size >= _AHEAD_BYTES:
            break
    return some
