"""Which rows go to ClickHouse next, and when: queues by table, batches, waits after failures. No thread, no clock."""

import hashlib
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress

import msgspec
import numpy as np

from schemas.rows import Row

__all__ = ["Batch", "Lanes", "SinkCounts", "SinkFullError"]


class SinkFullError(Exception):
    """The queue is full, because ClickHouse is slower than the rows or away. The rows were dropped, and counted."""


class SinkCounts(msgspec.Struct, frozen=True, kw_only=True):
    """Rows by what became of them: every row taken is pending, inserted, refused or abandoned.

    Attributes:
        pending: Waiting, or on their way.
        inserted: Acknowledged by ClickHouse.
        refused: Not storable (`RowError`, or a permanent error of ClickHouse).
        dropped: Not taken, as the queue was full.
        abandoned: Still waiting when the sink was closed.
        retried: Batches sent again.
        last_error: The last failure in words, "" since the last success of its table.
    """

    pending: int
    inserted: int
    refused: int
    dropped: int
    abandoned: int
    retried: int
    last_error: str


class _Part:
    """The rows of one table of one `put`."""

    __slots__ = ("at", "parcel", "rows", "token")

    def __init__(self, rows: Sequence[Row], token: str, at: float, parcel: "_Parcel") -> None:
        self.rows, self.token, self.at, self.parcel = rows, token, at, parcel


class _Parcel:
    """One `put`: its future is done when all its parts are."""

    __slots__ = ("future", "left")

    def __init__(self, left: int) -> None:
        self.future: Future[None] = Future()
        self.left = left

    def settle(self, error: Exception | None) -> None:
        self.left -= 1
        if error is None and self.left:
            return
        with suppress(InvalidStateError):  # the caller cancelled it, or an earlier part has failed
            if error is None:
                self.future.set_result(None)
            else:
                self.future.set_exception(error)


class Batch(msgspec.Struct, frozen=True):
    """What is sent in one insert. It stays as it is until it is in, so its token does too."""

    table: str
    parts: tuple[_Part, ...]

    @property
    def rows(self) -> list[Row]:
        """All rows, in the order they came."""
        return [row for part in self.parts for row in part.rows]

    @property
    def token(self) -> str:
        """The caller's token, or a digest of several."""
        if len(self.parts) == 1:
            return self.parts[0].token
        return hashlib.blake2b("\0".join(part.token for part in self.parts).encode(), digest_size=16).hexdigest()


class _Lane:
    __slots__ = ("attempts", "batch", "error", "n", "not_before", "waiting")

    def __init__(self) -> None:
        self.waiting: deque[_Part] = deque()
        self.n = 0  # rows in waiting
        self.batch: Batch | None = None
        self.attempts = 0
        self.not_before = 0.0
        self.error = ""


class Lanes:
    """One queue a table, so that a table in trouble does not hold up the others. Not thread-safe; asks no clock.

    A batch that failed k times waits uniformly between half and all of min(``longest``, ``shortest`` 2^(k-1)) seconds.

    Args:
        rng: For the jitter of the waits.
        max_rows: Rows of all tables that may wait, 1 to 10^7.
        flush_rows: A batch is sent at this many rows, 1 to ``max_rows``; one `put` is never split.
        flush_seconds: or when its oldest row is this old, 0 to 3600.
        shortest: First wait after a failure, seconds, above 0.
        longest: Longest wait, seconds, at least ``shortest``.

    Raises:
        ValueError: A setting is out of range.
    """

    def __init__(
        self,
        rng: np.random.Generator,
        *,
        max_rows: int = 200_000,
        flush_rows: int = 10_000,
        flush_seconds: float = 1.0,
        shortest: float = 0.2,
        longest: float = 30.0,
    ) -> None:
        if not 1 <= max_rows <= 10_000_000:
            raise ValueError(f"max_rows = {max_rows}: expected 1 to 10,000,000")
        if not 1 <= flush_rows <= max_rows:
            raise ValueError(f"flush_rows = {flush_rows}: expected 1 to max_rows = {max_rows}")
        if not 0 <= flush_seconds <= 3600:
            raise ValueError(f"flush_seconds = {flush_seconds}: expected 0 to 3600")
        if not 0 < shortest <= longest <= 3600:
            raise ValueError(f"waits of {shortest} to {longest} s: expected 0 < shortest <= longest <= 3600")
        self._rng = rng
        self._max_rows, self._flush_rows, self._flush_seconds = max_rows, flush_rows, flush_seconds
        self._shortest, self._longest = shortest, longest
        self._lanes: dict[str, _Lane] = {}
        self._pending = self._inserted = self._refused = self._dropped = self._abandoned = self._retried = 0

    @property
    def counts(self) -> SinkCounts:
        """What became of the rows so far."""
        return SinkCounts(
            pending=self._pending,
            inserted=self._inserted,
            refused=self._refused,
            dropped=self._dropped,
            abandoned=self._abandoned,
            retried=self._retried,
            last_error=next((lane.error for lane in self._lanes.values() if lane.error), ""),
        )

    def put(self, rows: Sequence[Row], token: str, now: float) -> Future[None]:
        """Take rows, of any tables, or drop them all when there is no room."""
        tables: dict[str, list[Row]] = {}
        for row in rows:
            tables.setdefault(row.table, []).append(row)
        parcel = _Parcel(len(tables))
        if not tables:
            parcel.future.set_result(None)
        elif self._pending + len(rows) > self._max_rows:
            self._dropped += len(rows)
            parcel.future.set_exception(
                SinkFullError(f"{len(rows)} rows of {token} dropped: {self._pending} of at most {self._max_rows} rows wait for ClickHouse")
            )
        else:
            self._pending += len(rows)
            for table, part in tables.items():
                lane = self._lanes.setdefault(table, _Lane())
                lane.waiting.append(_Part(part, token, now, parcel))
                lane.n += len(part)
        return parcel.future

    def take(self, now: float, *, flush: bool = False) -> Batch | None:
        """The batch to send now, if any; the same one again after a failure. ``flush`` ignores size and age, not waits."""
        for table, lane in self._lanes.items():
            if lane.batch is not None:
                if now >= lane.not_before:
                    return lane.batch
            elif lane.waiting and (flush or self._due(lane, now) <= now):
                parts = [lane.waiting.popleft()]
                n = len(parts[0].rows)
                while lane.waiting and n + len(lane.waiting[0].rows) <= self._flush_rows:
                    parts.append(lane.waiting.popleft())
                    n += len(parts[-1].rows)
                lane.n -= n
                lane.batch = Batch(table, tuple(parts))
                lane.not_before = now
                return lane.batch
        return None

    def done(self, batch: Batch, error: Exception | None = None) -> None:
        """The batch is in, or with ``error`` never will be."""
        lane = self._lanes[batch.table]
        n = len(batch.rows)
        self._pending -= n
        if error is None:
            self._inserted += n
            lane.error = ""
        else:
            self._refused += n
            lane.error = str(error)
        lane.batch, lane.attempts = None, 0
        for part in batch.parts:
            part.parcel.settle(error)

    def failed(self, batch: Batch, error: Exception, now: float) -> None:
        """The batch is to be sent again, later."""
        lane = self._lanes[batch.table]
        wait = min(self._longest, self._shortest * 2.0 ** min(lane.attempts, 60))
        lane.attempts += 1
        lane.not_before = now + wait * self._rng.uniform(0.5, 1.0)
        lane.error = str(error)
        self._retried += 1

    def split(self, batch: Batch) -> None:
        """Send the parts of a refused batch one by one, so that one bad `put` costs only itself."""
        lane = self._lanes[batch.table]
        lane.waiting.extendleft(reversed(batch.parts[1:]))
        lane.n += sum(len(part.rows) for part in batch.parts[1:])
        lane.batch = Batch(batch.table, batch.parts[:1])

    def abandon(self, error: Exception) -> None:
        """Give up what is left."""
        for lane in self._lanes.values():
            parts = [*(lane.batch.parts if lane.batch else ()), *lane.waiting]
            lane.batch = None
            lane.waiting.clear()
            lane.n = 0
            for part in parts:
                self._pending -= len(part.rows)
                self._abandoned += len(part.rows)
                part.parcel.settle(error)

    def wait(self, now: float) -> float | None:
        """Seconds until `take` may have something; ``None`` when nothing waits."""
        times = [lane.not_before if lane.batch else self._due(lane, now) for lane in self._lanes.values() if lane.batch or lane.waiting]
        return max(0.0, min(times) - now) if times else None

    def _due(self, lane: _Lane, now: float) -> float:
        return now if lane.n >= self._flush_rows else lane.waiting[0].at + self._flush_seconds
