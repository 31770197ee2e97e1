"""Which client has which slot: names to rows of the struct-of-arrays in which the client detectors keep their state.

The number of slots is bounded, because an attacker chooses how many ids we see. When all are taken, a sixteenth is freed at once: first
clients with few events, the longest silent first. A flood of made-up ids so evicts itself, not the established clients; a client under
suspicion goes last.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from schemas.windows import Family
from streams.slot_index import SlotIndex

FAMILIES: tuple[Family, ...] = get_args(Family)
_FEW = 16
"""Events below which a client has no history worth keeping over another's."""


class ClientTable:
    """Slots of the clients of one model on one partition.

    Attributes:
        names: by slot; empty for a free one.
        n: int64, events so far.
        last_ns: int64, time of the last one.
        severity: uint8 (capacity, 4), by family in the order of `FAMILIES`: 0 none, 1 ticket, 2 page.

    Args:
        limit: how many clients are kept at most.
        on_resize: called with the new capacity before a slot beyond the old one is used.
        on_evict: called with the freed slots (int32) before they are used again.
        on_reuse: called with freed slots (int32) before they get another client.
    """

    def __init__(
        self,
        limit: int,
        on_resize: Callable[[int], None],
        on_evict: Callable[[NDArray[np.int32]], None],
        on_reuse: Callable[[NDArray[np.int32]], None] = lambda slots: None,
    ) -> None:
        if limit < 1:
            raise ValueError(f"limit must be at least 1 client, got {limit}")
        self._limit, self._on_resize, self._on_evict, self._on_reuse = limit, on_resize, on_evict, on_reuse
        self.names: list[str] = []
        self._index = SlotIndex()
        self._free: list[int] = []
        self.evicted = 0
        self.n = np.zeros(0, np.int64)
        self.last_ns = np.zeros(0, np.int64)
        self.severity = np.zeros((0, len(FAMILIES)), np.uint8)

    def __len__(self) -> int:
        return len(self.names) - len(self._free)

    @property
    def capacity(self) -> int:
        """Slots for which arrays have room."""
        return len(self.n)

    def slots(self, clients: Sequence[str]) -> NDArray[np.int32]:
        """The slot of each of these clients, at most `limit` different ones; -1 for the client without a name."""
        slots = self._index.find(clients)
        fresh = [k for k in np.flatnonzero(slots < 0).tolist() if clients[k]]
        if fresh:
            names = list(dict.fromkeys(clients[k] for k in fresh))  # a foreign producer's dictionary may name one twice
            self._make_room(len(names), slots[slots >= 0])
            if self._free:
                self._on_reuse(np.array(self._free[-len(names) :], np.int32))
            self._index.add(names, np.array([self._take(name) for name in names], np.int32))
            slots[fresh] = self._index.find([clients[k] for k in fresh])
        return slots

    def find(self, client: str) -> int | None:
        """The client's slot, or None."""
        slot = int(self._index.find([client])[0])
        return slot if slot >= 0 else None

    def _take(self, client: str) -> int:
        if self._free:
            slot = self._free.pop()
            self.names[slot] = client
        else:
            slot = len(self.names)
            self.names.append(client)
        return slot

    def _make_room(self, fresh: int, busy: NDArray[np.int32]) -> None:
        lacking = fresh - len(self._free) - (self._limit - len(self.names))
        if lacking > 0:
            self._evict(max(lacking, self._limit // 16), busy)
        needed = min(len(self.names) + max(fresh - len(self._free), 0), self._limit)
        if needed > self.capacity:
            self._resize(min(max(needed, 2 * self.capacity, 64), self._limit))

    def _resize(self, capacity: int) -> None:
        grow = capacity - self.capacity
        self.n = np.concatenate([self.n, np.zeros(grow, np.int64)])
        self.last_ns = np.concatenate([self.last_ns, np.zeros(grow, np.int64)])
        self.severity = np.concatenate([self.severity, np.zeros((grow, len(FAMILIES)), np.uint8)])
        self._on_resize(capacity)

    def _evict(self, count: int, busy: NDArray[np.int32]) -> None:
        taken = np.setdiff1d(self._taken(), busy)  # sorted, so that a restored table evicts the same clients
        order = np.lexsort((self.last_ns[taken], self.n[taken] >= _FEW, self.severity[taken].max(axis=1)))
        slots = taken[order[:count]]
        self.release(slots)
        self.evicted += len(slots)

    def release(self, slots: NDArray[np.int32]) -> None:
        """Frees these slots; whose they were, is forgotten."""
        self._on_evict(slots)
        for slot in slots.tolist():
            self.names[slot] = ""
        self._free.extend(slots.tolist())
        self._reindex()
        self.n[slots], self.last_ns[slots], self.severity[slots] = 0, 0, 0

    def _taken(self) -> NDArray[np.int32]:
        return np.delete(np.arange(len(self.names), dtype=np.int32), self._free)

    def _reindex(self) -> None:
        taken = self._taken()
        self._index.reset([self.names[slot] for slot in taken.tolist()], taken)

    def rest(self) -> dict[str, Any]:
        """For a snapshot: what is not in `columns` and names."""
        return {"used": len(self.names), "free": self._free, "evicted": self.evicted, "capacity": self.capacity}

    def columns(self) -> dict[str, NDArray[Any]]:
        """The arrays, by name."""
        return {"n": self.n, "last_ns": self.last_ns, "severity": self.severity}

    def load_rest(self, body: dict[str, Any]) -> None:
        """From a snapshot, into an empty table; calls ``on_resize`` once. Names and columns come next, then `loaded`."""
        self.names, self._free, self.evicted = [""] * int(body["used"]), list(body["free"]), int(body["evicted"])
        if body["capacity"]:
            self._resize(int(body["capacity"]))

    def loaded(self) -> None:
        """All names are there."""
        self._reindex()
