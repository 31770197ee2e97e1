"""Slices of suspect rows at the model's owner: kept until every partition has had its time, then given out in an order of their own.

Which partition's message came first, and over how many partitions the clients are spread, changes nothing: rows are ordered by time, then
by client, and a client's rows come from one partition in order of arrival.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from schemas import suspects
from schemas.suspects import SuspectRows

_MAX_SLICES = 128
_MAX_BYTES = 64 * 1024 * 1024
"""Of messages that wait, of one model version."""


class Slice(msgspec.Struct, frozen=True):
    """Rows of all partitions in one slice of time.

    Attributes:
        end_ns: when it ended.
        clients: distinct, sorted.
        client: (n,) index into them.
        at_s: (n,) event time.
        X: (n, width).
    """

    end_ns: int
    clients: list[str]
    client: NDArray[np.int32]
    at_s: NDArray[np.float64]
    X: NDArray[np.float32]


class _Waiting(msgspec.Struct):
    first_ns: int
    messages: list[SuspectRows]


class SliceQueue:
    """Slices that wait for their partitions. One that comes after its slice was given out goes into the next one.

    Attributes:
        dropped: rows that shards had no room for, in all.
    """

    def __init__(self) -> None:
        self._waiting: dict[int, _Waiting] = {}
        self._done_until_ns = 0
        self._bytes = 0
        self.dropped = 0

    def add(self, message: SuspectRows, now_ns: int) -> None:
        """Takes a partition's rows of a slice.

        Raises:
            ValueError: its columns do not fit each other; nothing of it was taken.
        """
        suspects.columns_of(message)
        self.dropped += message.dropped
        start = max(message.start_ns, self._done_until_ns)
        if start > message.start_ns:
            message = msgspec.structs.replace(message, end_ns=max(message.end_ns, start + message.end_ns - message.start_ns))
        self._waiting.setdefault(start, _Waiting(now_ns, [])).messages.append(message)
        self._bytes += len(message.rows)

    def due(self, now_ns: int, settle_ns: int) -> Iterator[Slice]:
        """The slices whose partitions have had `settle_ns` to come in, and those for which there is no room, oldest first."""
        for start in sorted(self._waiting):
            held = self._waiting[start]
            end_ns = max(message.end_ns for message in held.messages)
            full = len(self._waiting) > _MAX_SLICES or self._bytes > _MAX_BYTES
            if full or now_ns >= max(end_ns, held.first_ns) + settle_ns:
                del self._waiting[start]
                self._bytes -= sum(len(message.rows) for message in held.messages)
                self._done_until_ns = max(self._done_until_ns, end_ns)
                yield from _joined(held.messages, end_ns)

    def forget(self, client: str) -> None:
        """Rows of this client go."""
        for start, held in list(self._waiting.items()):
            held.messages = [left for message in held.messages if (left := suspects.without(message, client)) is not None]
            if not held.messages:
                del self._waiting[start]
        self._bytes = sum(len(message.rows) for held in self._waiting.values() for message in held.messages)

    def clear(self) -> None:
        """Forgets what waits: another reference is in force."""
        self._waiting.clear()
        self._bytes = 0

    def dump(self) -> dict[str, Any]:
        """For a snapshot."""
        return {
            "waiting": msgspec.msgpack.encode(list(self._waiting.items())),
            "done_until_ns": self._done_until_ns,
            "dropped": self.dropped,
        }

    def load(self, body: dict[str, Any]) -> None:
        """From a snapshot."""
        self._waiting = dict(msgspec.msgpack.decode(body["waiting"], type=list[tuple[int, _Waiting]]))
        self._bytes = sum(len(message.rows) for held in self._waiting.values() for message in held.messages)
        self._done_until_ns, self.dropped = int(body["done_until_ns"]), int(body["dropped"])


def _joined(messages: list[SuspectRows], end_ns: int) -> Iterator[Slice]:
    """One slice for each width: of one reference it is one."""
    for width in sorted({message.width for message in messages}):
        parts = [suspects.columns_of(message) for message in messages if message.width == width]
        clients = sorted({name for part in parts for name in part.clients})
        index = {name: k for k, name in enumerate(clients)}
        client = np.concatenate([np.array([index[name] for name in part.clients], np.int32)[part.client] for part in parts])
        at_ns, X = np.concatenate([part.at_ns for part in parts]), np.concatenate([part.X for part in parts])
        order = np.lexsort((client, at_ns))
        yield Slice(end_ns, clients, client[order], at_ns[order] / 1e9, X[order])
