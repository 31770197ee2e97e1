"""Rows that a shard passes on to the model's owner, where swarms are looked for: all of them while there is room, then a fair part.

When a slice of time has more rows than may leave, clients with a long past keep every 8th row (the swarm detector looks at no more of
theirs); if that is not enough, whole clients are left out, by a hash of their id, so that who is in has all rows in. The share halves
until the rest fits, and whoever is in at a smaller share is in at a larger one: the same clients stay in.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detectors.arrays import plain
from detectors.swarm.cusum import YOUNG
from detectors.swarm.stream import SPARSE
from schemas.suspects import MAX_BYTES, SuspectRows
from streams.kernels import number_clients
from streams.owner import NS
from streams.settings import Swarm

_ROW_BYTES = 12
"""Of a row's client and time."""
_MOST_HALVINGS = 40
_OPEN_SLICES = 8
"""Room for so many slices is kept at once."""
Chunk = tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.float32], NDArray[np.uint64], NDArray[np.bool_]]
"""Slots, times, rows, hashes of the clients, and which rows can be spared first."""


class SuspectBuffer:
    """Rows of open slices, bounded.

    Args:
        settings: length of a slice, rows in it.
        width: values in a row.
        emit: takes `SuspectRows` without model, version and numbers.
        names_of: the clients in some slots, while they are there.

    Attributes:
        dropped: rows that were not passed on for lack of room, in all.
    """

    def __init__(
        self, settings: Swarm, width: int, emit: Callable[[SuspectRows], None], names_of: Callable[[list[int]], list[str]]
    ) -> None:
        self._length_ns = round(settings.slice_s * NS)
        self._room = max(1, min(settings.rows_per_slice, MAX_BYTES // (4 * width + _ROW_BYTES)))
        self._width, self._emit, self._names_of = width, emit, names_of
        self._chunks: list[Chunk] = []
        self._held = 0
        self._earliest_ns = 0  # among the held
        self._halvings = 0
        self._closed_until_ns = 0
        self._lost = 0  # of open slices
        self._place = np.full(64, -1, np.int32)
        self.dropped = 0

    def add(
        self,
        slot: NDArray[np.int32],
        at_ns: NDArray[np.int64],
        X: NDArray[np.float32],
        hashes: NDArray[np.uint64],
        keys: NDArray[np.uint64],
        n: NDArray[np.int64],
    ) -> None:
        """Takes answered rows of known clients, in order of arrival; nobody may change the arrays afterwards.

        Args:
            slot: (rows,) of their clients.
            at_ns: (rows,) event time.
            X: (rows, width).
            hashes: (rows,) hash of the client's id.
            keys: (rows,) hash of the event's.
            n: (rows,) events of the client so far.
        """
        if self._halvings:
            kept = np.flatnonzero(_inside(hashes, self._halvings))
            self._lose(len(slot) - len(kept))
            if not len(kept):
                return
            slot, at_ns, X, hashes, keys, n = slot[kept], at_ns[kept], X[kept], hashes[kept], keys[kept], n[kept]
        earliest = int(at_ns.min())
        self._earliest_ns = min(self._earliest_ns, earliest) if self._held else earliest
        spare = (n > YOUNG) & (keys % np.uint64(SPARSE) != 0)
        self._chunks.append((plain(slot, np.int32), plain(at_ns, np.int64), plain(X, np.float32), hashes, spare))
        self._held += len(slot)
        if self._held > 2 * self._room:
            self._thin()

    def close_until(self, now_ns: int | None) -> None:
        """Passes on the slices that end at or before this time; None: all."""
        end_ns = self.next_end_ns()
        if end_ns is None or (now_ns is not None and end_ns > now_ns):
            return
        whole, start = self._by_slice()
        closing = len(start) if now_ns is None else int(np.searchsorted(start, now_ns - self._length_ns, side="right"))
        edges = [0, *(np.flatnonzero(np.diff(start[:closing])) + 1).tolist(), closing]
        for a, b in pairwise(edges):
            part, halvings = self._thinned(_rows(whole, slice(a, b)), 0)
            begin = int(start[a])
            self._closed_until_ns = begin + self._length_ns
            self._pass_on(begin, part)
            self._halvings = max(0, max(halvings, self._halvings) - 1)
        rest = _rows(whole, slice(closing, None))
        self._held = len(rest[0])
        self._chunks = [rest] if self._held else []
        self._earliest_ns = int(rest[1].min()) if self._held else 0

    def next_end_ns(self) -> int | None:
        """When the first open slice ends; None without rows."""
        if not self._held:
            return None
        return max(self._earliest_ns // self._length_ns * self._length_ns, self._closed_until_ns) + self._length_ns

    def _by_slice(self) -> tuple[Chunk, NDArray[np.int64]]:
        """The held rows, those of one slice together in order of arrival, and when the slices begin."""
        whole = self._whole()
        start = np.maximum(whole[1] // self._length_ns * self._length_ns, self._closed_until_ns)
        if (start[1:] < start[:-1]).any():
            order = np.argsort(start, kind="stable")
            whole, start = _rows(whole, order), start[order]
        return whole, start

    def _thin(self) -> None:
        """Brings each open slice to its room, and all of them to that of some: times are the producers', and may make many slices."""
        (whole, start), before = self._by_slice(), self._halvings
        parts = []
        for a, b in pairwise([0, *(np.flatnonzero(np.diff(start)) + 1).tolist(), len(start)]):
            part, halvings = self._thinned(_rows(whole, slice(a, b)), before)
            self._halvings = max(self._halvings, halvings)
            parts.append(part)
        self._chunks, self._held = parts, sum(len(part[0]) for part in parts)
        if self._held > _OPEN_SLICES * self._room:
            part, self._halvings = self._thinned(self._whole(), self._halvings)
            self._chunks, self._held = [part], len(part[0])

    def _thinned(self, held: Chunk, halvings: int) -> tuple[Chunk, int]:
        """As many of these rows as there is room for, and how often the share of clients was halved."""
        before = len(held[0])
        if before > self._room:
            held = _rows(held, np.flatnonzero(~held[4]))
        while len(held[0]) > self._room and halvings < _MOST_HALVINGS:
            halvings += 1
            held = _rows(held, np.flatnonzero(_inside(held[3], halvings)))
        held = _rows(held, slice(self._room))  # one client alone may be too many
        self._lose(before - len(held[0]))
        return held, halvings

    def _lose(self, n: int) -> None:
        self._lost += n
        self.dropped += n

    def _whole(self) -> Chunk:
        if len(self._chunks) == 1:
            return self._chunks[0]
        slot, at, X, hashes, spare = (np.concatenate(parts) for parts in zip(*self._chunks, strict=True))
        return slot, at, X, hashes, spare

    def _pass_on(self, start_ns: int, part: Chunk) -> None:
        lost, self._lost = self._lost, 0
        if not len(part[0]):
            return
        slots, client = self._numbered(plain(part[0]))
        self._emit(
            SuspectRows(
                model="",
                version="",
                reference="",
                partition=0,
                epoch=0,
                sequence=0,
                start_ns=start_ns,
                end_ns=start_ns + self._length_ns,
                width=self._width,
                clients=self._names_of(slots.tolist()),
                client=client.astype("<i4", copy=False).tobytes(),
                at_ns=part[1].astype("<i8", copy=False).tobytes(),
                rows=part[2].astype("<f4", copy=False).tobytes(),
                dropped=lost,
            )
        )

    def _numbered(self, slot: NDArray[np.int32]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """The different slots, and of each row which one of them."""
        if (beyond := int(slot.max()) + 1 - len(self._place)) > 0:
            self._place = np.full(len(self._place) + max(beyond, len(self._place)), -1, np.int32)
        client, distinct = np.empty(len(slot), np.int32), np.empty(len(slot), np.int32)
        found = number_clients(slot, self._place, client, distinct)
        return distinct[:found], client

    # -- snapshots ----------------------------------------------------------------------------------------------------------------------

    def dump(self) -> dict[str, Any]:
        """For a snapshot."""
        whole = self._whole() if self._chunks else None
        return {
            "held": None if whole is None else list(whole),
            "halvings": self._halvings,
            "closed_until_ns": self._closed_until_ns,
            "lost": self._lost,
            "dropped": self.dropped,
        }

    def load(self, body: dict[str, Any]) -> None:
        """From a snapshot, into a fresh buffer of the same width."""
        held = body["held"]
        self._chunks = [] if held is None else [tuple(held)]
        self._held = 0 if held is None else len(held[0])
        self._earliest_ns = int(held[1].min()) if self._held else 0
        self._halvings, self._closed_until_ns = int(body["halvings"]), int(body["closed_until_ns"])
        self._lost, self.dropped = int(body["lost"]), int(body["dropped"])


def _inside(hashes: NDArray[np.uint64], halvings: int) -> NDArray[np.bool_]:
    """Whose hash is in the share 2^-halvings. The lowest bit of a hash is always set."""
    mask = np.uint64((1 << halvings) - 1)
    return np.asarray((hashes >> np.uint64(8)) & mask == 0)


def _rows(chunk: Chunk, rows: NDArray[np.intp] | slice) -> Chunk:
    slot, at, X, hashes, spare = chunk
    return slot[rows], at[rows], X[rows], hashes[rows], spare[rows]
