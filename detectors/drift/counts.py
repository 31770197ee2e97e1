"""The mergeable leaf of the drift detector: one window's counts, of which a shard only adds.

Counts are kept in 16 groups of clients (a hash decides) beside a table of 1,024 hashed client volumes. Events of one client resemble each
other, so the judge must know how much of a change comes from how many clients; groups tell, and still merge by addition.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray

from detectors.drift.features import FeatureSums
from detectors.drift.lanes import COLUMNS, ROWS, aligned, turn
from detectors.drift.moments import KINDS, MOST_EVENTS, add_moments
from detectors.drift.moments import LANES as LANES_OF_MOMENTS
from detectors.drift.planes import CELLS, add_cells
from detectors.drift.reference import DriftReference
from detectors.drift.sides import LANES, WORD, add_apart, bits_beyond
from detectors.groups import GROUPS, bucket_of
from detectors.state import StateError, pack, unpack

BUCKETS = 1024
_BLOCK = 224
"""Events taken at once, a multiple of 32; 256 at most."""
_SUMS = CELLS + KINDS * LANES_OF_MOMENTS
"""Whole numbers that are summed of a numeric variable's blocks: events per cell, and moments."""
_LANES = 32
"""A block is filled up to a multiple of them with missing values, so that no event is left to be compared alone."""
_WIDTH = 32
"""Variables taken at once, so that a block stays in the first-level cache."""
_NEAR, _LINE = 1 << 16, 16
"""Values of a batch that are at hand anyway, just decoded, and of a line of the cache. Rows are taken by group, so in no order."""

_KIND, _VERSION = "drift.counts", 1


@njit(cache=True, nogil=True)
def _by_group(hashes, volumes, order, ends):  # type: ignore[no-untyped-def]  # compiled
    """Order the events by client group, group g before ends[g]; `volumes` is counted when it is not empty."""
    groups = np.empty(hashes.size, np.uint8)
    ends[:] = 0
    for i in range(hashes.size):
        bucket = bucket_of(hashes[i])
        groups[i] = bucket % GROUPS
        ends[groups[i]] += 1
        if volumes.size:
            volumes[bucket] += 1
    at = np.empty(GROUPS, np.int64)
    total = 0
    for g in range(GROUPS):
        at[g] = total
        total += ends[g]
        ends[g] = total
    for i in range(hashes.size):
        order[at[groups[i]]] = i
        at[groups[i]] += 1


@njit(cache=True, nogil=True)
def _fetch(values):  # type: ignore[no-untyped-def]  # compiled
    """Have a table in the cache: one number of each of its lines is read, in the order in which a processor reads ahead."""
    flat, most = values.reshape(-1), np.float32(0.0)
    for i in range(0, flat.size, _LINE):
        most = max(most, flat[i])
    return most


@njit(cache=True, nogil=True)
def _settle(sums, g, first, filled, starts, n_edges, numeric, table, moments):  # type: ignore[no-untyped-def]  # compiled
    """Add what was summed of one group's blocks, of which `filled` values were put there as missing, and begin anew."""
    for j in range(sums.size // _SUMS):
        v, mine = first + j, sums[j * _SUMS : (j + 1) * _SUMS]
        if numeric[v]:
            missing, total, squares = np.int64(0), np.int64(0), np.int64(0)
            for k in range(CELLS, CELLS + LANES_OF_MOMENTS):
                missing += mine[k]
                total += mine[k + LANES_OF_MOMENTS]
                squares += mine[k + 2 * LANES_OF_MOMENTS]
            mine[0] -= missing  # which exceed nothing
            here = table[g, starts[v] : starts[v + 1]]
            for c in range(n_edges[v] + 1):
                here[c] += mine[c]
            here[n_edges[v] + 1] += missing - filled
            moments[v, 0] += total
            moments[v, 1] += squares
    sums[:] = 0


@njit(cache=True, nogil=True)
def _count(columns, first, order, ends, starts, edges, n_edges, numeric, lookup, lookup_starts, mean, scale, table, moments, pairs, apart):  # type: ignore[no-untyped-def]  # compiled
    """Add `columns` (n, m) as variables first..first+m-1.

    Blocks of 224 events of one group, turned to columns first; then sixteen events per instruction are sorted into cells (`planes.py`).
    (`np.int32(a + np.int32(b))` keeps the compiler from summing in 64 bits, which halves the events per instruction.)

    Of pairs (none when `apart` has no rows): which side of its split a value is on is a bit, and two features are apart in as many
    events of a block as their words have different bits.
    """
    m = columns.shape[1]
    room = _BLOCK
    turned, values, at = aligned(_WIDTH * room), columns.reshape(-1), np.empty(ROWS, np.int64)
    block = turned.reshape((_WIDTH, room))
    thresholds, sums, filled, taken = edges.reshape(-1), np.zeros(m * _SUMS, np.int32), 0, 0
    member, split, upper, pair_i, pair_j = pairs
    paired, members = apart.shape[0] > 0, split.size
    lanes = (members + LANES - 1) // LANES * LANES if paired else 0
    words, totals = np.zeros((_BLOCK // WORD, lanes), np.uint32), np.zeros((members, lanes), np.int32)
    all_words = words.reshape(-1)
    begin = 0
    for g in range(GROUPS):
        totals[:] = 0
        while begin < ends[g]:
            size = min(_BLOCK, ends[g] - begin)
            padded = (size + _LANES - 1) // _LANES * _LANES
            for left in range(0, m, _WIDTH):
                width = min(_WIDTH, m - left)
                fours = width // COLUMNS * COLUMNS
                for i in range(0, size if fours else 0, ROWS):
                    for k in range(ROWS):  # behind the last event the last one again
                        at[k] = np.int64(order[begin + min(i + k, size - 1)]) * m + left
                    for j in range(0, fours, COLUMNS):
                        turn(
                            values,
                            at[0] + j,
                            at[1] + j,
                            at[2] + j,
                            at[3] + j,
                            at[4] + j,
                            at[5] + j,
                            at[6] + j,
                            at[7] + j,
                            turned,
                            j * room + i,
                            room,
                        )
                for j in range(fours, width):
                    for i in range(size):
                        block[j, i] = columns[order[begin + i], left + j]
                for j in range(width):
                    v = first + left + j
                    base = starts[v]
                    x = block[j]
                    for i in range(size, padded):
                        x[i] = np.nan
                    k_member = member[v] if paired else np.int64(-1)
                    if k_member >= 0:
                        if numeric[v]:
                            for w in range(padded // WORD):
                                words[w, k_member] = bits_beyond(x, w * WORD, split[k_member])
                        else:
                            words[:, k_member] = 0
                    if numeric[v]:
                        mine = (left + j) * _SUMS
                        add_cells(turned, j * room, padded // WORD, thresholds, v * edges.shape[1], sums, mine)
                        add_moments(turned, j * room, padded, mean[v], scale[v], sums, mine + CELLS)
                    else:
                        known_codes = lookup_starts[v + 1] - lookup_starts[v]
                        unseen = starts[v + 1] - base - 2
                        for i in range(size):
                            if x[i] != x[i]:
                                k = unseen + 1
                            elif x[i] >= 0 and x[i] < known_codes:
                                k = int(lookup[lookup_starts[v] + np.int64(x[i])])
                            else:
                                k = unseen
                            table[g, base + k] += 1
                            if k_member >= 0:
                                words[i // WORD, k_member] |= np.uint32(upper[base + k]) << np.uint32(i % WORD)
            for a in range(members if paired else 0):
                for b in range((a + 1) // LANES * LANES, lanes, LANES):
                    add_apart(totals[a], all_words, padded // WORD, lanes, a, b)
            begin += size
            filled += padded - size
            taken += padded
            if begin == ends[g] or taken + _BLOCK > MOST_EVENTS:
                _settle(sums, g, first, filled, starts, n_edges, numeric, table, moments)
                filled, taken = 0, 0
        for p in range(apart.shape[0]):
            apart[p, g] += totals[pair_i[p], pair_j[p]]


class WindowCounts:
    """Counts of one window of one model; merging is addition, in any order and grouping.

    Attributes:
        n: events.
        table: int32, shape (16, n_cells), events per client group and cell.
        volumes: int32, shape (1024,), events per hashed client, of events whose client is known; the group of bucket b is b mod 16.
        moments: int64, shape (V, 2), sums of z and z^2 in 1/65,536, z = (x - reference mean) / reference sd clipped at +-16; fixed point,
            so that addition associates exactly.
        apart: int32, shape (P, 16), events in which a pair of features is apart, per client group (`pairs.py`).
        together: sums of random features of some of the events (`features.py`).

    Args:
        reference: whose cells they are.
        together: whether random features are summed.

    Cost: 0.025 us per event of 20 features in windows of 10,000, 0.03 where rows are not in the cache, 0.13 with 10 scores and the class in
    batches of 500 (bench/drift_counts.py); of it random features 0.007 in windows of 10,000, 0.013 in batches of 500, and 0.08 in windows
    of 300.
    Memory: 64 bytes a cell and a pair, and 12 KB (20 features, 10 scores: 51 KB).
    """

    def __init__(self, reference: DriftReference, *, together: bool = True) -> None:
        self.reference = reference
        self.together = FeatureSums(len(reference.together) if together and reference.together is not None else 0)
        self.n = 0
        self.table = np.zeros((GROUPS, reference.n_cells), np.int32)
        self.volumes = np.zeros(BUCKETS, np.int32)
        self.moments = np.zeros((len(reference.variables), 2), np.int64)
        self.apart = np.zeros((len(reference.pairs), GROUPS), np.int32)
        self._no_pairs = np.empty((0, GROUPS), np.int32)
        self._numeric = np.array([kind == "numeric" for kind in reference.kinds])
        self._mean, self._scale = reference.mean.astype(np.float32), (1.0 / reference.sd).astype(np.float32)
        self._no_volumes = np.empty(0, np.int32)

    @property
    def cells(self) -> NDArray[np.int64]:
        """Events per cell over all groups, int64, shape (n_cells,)."""
        return np.asarray(self.table.sum(axis=0, dtype=np.int64))

    def update(
        self,
        X: ArrayLike,
        scores: ArrayLike | None = None,
        label: ArrayLike | None = None,
        value: ArrayLike | None = None,
        clients: ArrayLike | None = None,
        latency: ArrayLike | None = None,
    ) -> None:
        """Count a batch in one compiled pass; the arrays are not kept.

        Args:
            X: features, shape (n, d), float32; categorical columns hold codes, NaN = missing, K or anything else = unseen.
            scores: shape (n, C); NaN (or None) = missing.
            label: predicted class codes, shape (n,); negative (or None) = missing.
            value: shape (n,); NaN (or None) = missing.
            clients: 64-bit hashes of the clients, shape (n,). None: events count as independent and are dealt to the groups in turn; with
                real traffic that breaks the budget.
            latency: ms, shape (n,); NaN (or None) = missing.

        Raises:
            ValueError: on other widths or lengths than the reference's.
        """
        reference = self.reference
        X = np.ascontiguousarray(X, np.float32)
        if X.ndim != 2 or X.shape[1] != reference.n_features:
            raise ValueError(f"X must have shape (events, {reference.n_features}), got {X.shape}")
        n = X.shape[0]
        hashes = np.arange(self.n, self.n + n, dtype=np.uint64) if clients is None else np.asarray(clients).astype(np.uint64, copy=False)
        blocks = [X, self._column(scores, (n, reference.n_scores), "scores")]
        if reference.has_class:
            codes = self._column(label, (n,), "label")
            blocks.append(np.where(codes < 0, np.float32(np.nan), codes)[:, None])
        if reference.has_value:
            blocks.append(self._column(value, (n,), "value")[:, None])
        if reference.has_latency:
            blocks.append(self._column(latency, (n,), "latency")[:, None])
        if hashes.shape != (n,):
            raise ValueError(f"clients must have shape ({n},), got {hashes.shape}")
        order, ends = np.empty(n, np.uint32), np.empty(GROUPS, np.int64)
        _by_group(hashes, self._no_volumes if clients is None else self.volumes, order, ends)
        first, pairs = 0, reference.pairs.tables
        if X.size > _NEAR:
            _fetch(X)
        for block in blocks:
            if not block.shape[1]:
                continue
            _count(
                block,
                first,
                order,
                ends,
                reference.starts,
                reference.edges,
                reference.n_edges,
                self._numeric,
                reference.lookup,
                reference.lookup_starts,
                self._mean,
                self._scale,
                self.table,
                self.moments,
                pairs,
                self._no_pairs if first else self.apart,
            )
            first += block.shape[1]
        if reference.together is not None and self.together.sums.size:
            reference.together.take(X, hashes, self.n, self.together)
        self.n += n

    @staticmethod
    def _column(values: ArrayLike | None, shape: tuple[int, ...], name: str) -> NDArray[np.float32]:
        if values is None:
            return np.full(shape, np.nan, np.float32)
        with np.errstate(over="ignore"):  # beyond float32 is infinite: above or below everything
            column = np.ascontiguousarray(values, np.float32)
        if column.shape != shape:
            raise ValueError(f"{name} must have shape {shape}, got {column.shape}")
        return column

    def merge(self, other: WindowCounts) -> None:
        """Add another partition's counts of the same window and reference; `other` is left alone.

        Raises:
            ValueError: when the cells differ.
        """
        if other.table.shape != self.table.shape or other.moments.shape != self.moments.shape or other.apart.shape != self.apart.shape:
            raise ValueError(f"counts of {other.table.shape[1]} cells cannot be added to {self.table.shape[1]}: another reference")
        self.n += other.n
        self.table += other.table
        self.volumes += other.volumes
        self.moments += other.moments
        self.apart += other.apart
        if self.together.sums.shape == other.together.sums.shape:
            self.together.merge(other.together)

    def clear(self) -> None:
        """Start the next window."""
        self.n = 0
        for array in (self.table, self.volumes, self.moments, self.apart):
            array[:] = 0
        self.together.clear()

    def to_bytes(self, *, dense: bool = False) -> bytes:
        """The counts as bytes, zeros left out (a quiet window of 400 cells is a few KB).

        Args:
            dense: write all cells in as few bytes each as will do, which is less where most are busy.
        """
        at = np.flatnonzero(self.table).astype(np.int32)
        busy = np.flatnonzero(self.volumes).astype(np.int32)
        body: dict[str, Any] = {"n": self.n, "cells": self.reference.n_cells}
        body |= {"table": _narrow(self.table)} if dense else {"at": at, "counts": self.table.ravel()[at]}
        if self.apart.size:
            body["apart"] = _narrow(self.apart)
        if self.together.taken:
            body["together"] = self.together.to_state()
        return pack(_KIND, _VERSION, body | {"buckets": busy, "volumes": self.volumes[busy], "moments": self.moments})

    @classmethod
    def from_bytes(cls, blob: bytes, reference: DriftReference, *, together: bool = True) -> WindowCounts:
        """Rebuild against the same reference; arguments as of the constructor.

        Raises:
            StateError: when the bytes are damaged or were counted against another reference.
        """
        body = unpack(blob, _KIND, _VERSION)
        counts = cls(reference, together=together)
        try:
            if body["n"] < 0:
                raise ValueError(f"{body['n']} events")
            if body["cells"] != reference.n_cells or body["moments"].shape != counts.moments.shape:
                raise ValueError(f"counted in {body['cells']} cells, the reference has {reference.n_cells}")
            parts = [(counts.volumes, body["buckets"], body["volumes"])]
            if "table" not in body:
                parts.append((counts.table.ravel(), body["at"], body["counts"]))
            elif body["table"].shape != counts.table.shape or body["table"].min() < 0:
                raise ValueError("a table of another shape, or a negative count")
            else:
                counts.table[:] = body["table"]
            for array, at, values in parts:
                if at.size and (at.min() < 0 or at.max() >= array.size or values.min() < 0):
                    raise ValueError("a cell outside the table, or a negative count")
                array[at] = values
            if counts.apart.size:
                if body["apart"].shape != counts.apart.shape or body["apart"].min() < 0:
                    raise ValueError(f"pairs of shape {body['apart'].shape}, the reference has {counts.apart.shape}")
                counts.apart[:] = body["apart"]
            if "together" in body and counts.together.sums.size:
                counts.together.load(body["together"])
            counts.n, counts.moments = int(body["n"]), np.asarray(body["moments"], np.int64)
        except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
            raise StateError(f"damaged {_KIND}: {error}") from error
        return counts


def _narrow(counts: NDArray[np.int32]) -> NDArray[Any]:
    """The same in one or two bytes each, where they fit."""
    most = int(counts.max(initial=0))
    return counts.astype(np.uint8 if most < 1 << 8 else np.uint16) if most < 1 << 16 else counts
