"""Where every event is: waiting, delivered, or dropped with a reason."""

from __future__ import annotations

import itertools
import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

DropReason = Literal["queue_full", "invalid", "oversized", "delivery", "closed"]
"""Why an event never arrived: no room, no sense in the arguments, too big for a record, refused by the broker, too late."""

MAX_STREAMS = 10_000
"""Model versions with an account of their own in one process; the rest share one."""


@dataclass(frozen=True, slots=True)
class Account:
    """Numbers of one kind of message. ``accepted == sent + dropped + queued`` at every moment."""

    accepted: int
    """All that were handed in."""
    sent: int
    """Confirmed by the broker."""
    dropped: Mapping[DropReason, int]
    """By reason; reasons that never happened are absent."""
    queued: int
    """Waiting or in flight."""

    @property
    def settled(self) -> int:
        """Sent or dropped: nothing more happens to them."""
        return self.accepted - self.queued


@dataclass(frozen=True, slots=True)
class Stats(Account):
    """The account of the events, and of the signals: labels, loads and unloads."""

    signals: Account


class Tally:
    """A counter that any thread may raise by one without a lock (one C call), and one thread reads."""

    def __init__(self) -> None:
        self._count = itertools.count()
        self._reads = 0
        self.add = self._count.__next__

    def value(self) -> int:
        """The number of calls of `add`. Call it under a lock."""
        value = next(self._count) - self._reads  # reading moves the counter, so the reads are counted too
        self._reads += 1
        return value


@dataclass(slots=True)
class Stream:
    """The account of one model version, kept by the sender thread."""

    model: str
    version: str
    taken: int = 0
    sent: int = 0
    dropped: int = 0


@dataclass(slots=True)
class Ledger:
    """The queue and its books.

    Callers append to `queue` without the lock; only the sender takes from it, under the lock, so that `account` sees one state.
    """

    queue: deque[Any] = field(default_factory=deque)
    lock: Any = field(default_factory=threading.RLock)
    beyond: int = 0
    """Events held but not counted by ``len(queue)``: in the sender's hands, in flight, and the rows of a batch after its first."""
    sent: int = 0
    lost: dict[DropReason, int] = field(default_factory=dict)
    streams: dict[tuple[str, str], Stream] = field(default_factory=dict)
    _door: dict[tuple[str, str, DropReason], Tally] = field(default_factory=dict)
    _door_rows: dict[tuple[str, str, DropReason], int] = field(default_factory=dict)

    @property
    def held(self) -> int:
        """Waiting or in flight."""
        return len(self.queue) + self.beyond

    def refuse(self, model: str, version: str, reason: DropReason, n: int = 1) -> None:
        """Counts events that never entered the queue. Any thread; takes the lock only for batches."""
        key = (model, version, reason)
        tally = self._door.get(key)
        if tally is None:
            if len(self._door) >= MAX_STREAMS:
                key = ("", "", reason)
            tally = self._door.setdefault(key, Tally())
        if n == 1:
            tally.add()
        else:
            with self.lock:
                self._door_rows[key] = self._door_rows.get(key, 0) + n

    def put_batch(self, batch: Any, rows: int) -> None:
        """Appends one item that stands for several events."""
        with self.lock:
            self.queue.append(batch)
            self.beyond += rows - 1

    def take(self, limit: int) -> list[Any]:
        """Up to `limit` items from the front; they stay held until settled."""
        with self.lock:
            popleft = self.queue.popleft
            items = [popleft() for _ in range(min(limit, len(self.queue)))]
            self.beyond += len(items)
        return items

    def stream(self, model: str, version: str) -> Stream:
        """The account of a model version."""
        stream = self.streams.get((model, version))
        if stream is None:
            if len(self.streams) >= MAX_STREAMS or not _writable(model + version):
                model = version = ""
            stream = self.streams.setdefault((model, version), Stream(model, version))
        return stream

    def settle(self, stream: Stream, n: int, reason: DropReason | None) -> None:
        """`n` taken events were delivered, or dropped for `reason`."""
        if n == 0:
            return
        with self.lock:
            self.beyond -= n
            if reason is None:
                self.sent += n
                stream.sent += n
            else:
                self.lost[reason] = self.lost.get(reason, 0) + n
                stream.dropped += n

    def account(self) -> Account:
        """The numbers of this moment."""
        with self.lock:
            queued, sent, dropped = self.held, self.sent, dict(self.lost)
            for (_, _, reason), n in self.refused().items():
                dropped[reason] = dropped.get(reason, 0) + n
        return Account(sent + sum(dropped.values()) + queued, sent, dropped, queued)

    def refused(self) -> dict[tuple[str, str, DropReason], int]:
        """What `refuse` counted so far."""
        with self.lock:
            return {key: n for key, tally in list(self._door.items()) if (n := tally.value() + self._door_rows.get(key, 0))}


def _writable(text: str) -> bool:
    """Half a surrogate pair cannot be written as UTF-8, so it cannot name a heartbeat."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
