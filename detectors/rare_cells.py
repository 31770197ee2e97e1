"""Rare cells of a model's features: which values are rare, which classes rows with them got, and who sends such rows in a window.

A number has twelve bins, by quantiles of the reference; the two lowest and the two highest are its rare cells. The bins between are
counted too, without classes, because they tell whether the whole feature moved (`detectors.rare_moves`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from detectors.arrays import plain
from detectors.state import StateError, pack, unpack

__all__ = ["BINS", "CELLS", "LOW_EDGES", "MAX_CELLS", "QUANTILES", "SAMPLE", "RareCounts", "TriggerReference"]

CELLS = 5
"""Of a feature: numbers below the 0.5th percentile, up to the 2nd, from the 98th, above the 99.5th, missing. Categories: the three most
frequent of the rare ones, all other rare or unseen ones, missing. Missing counts where it is rare in the reference."""
QUANTILES = (0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.98, 0.995)
BINS = len(QUANTILES) + 1
LOW_EDGES = 6
"""A value that equals an edge lies above it if the edge is one of the first six, else below: an atom at the edge is not rare."""
RARE = 0.02
MIN_ROWS = 200
MAX_CELLS = 12_000
"""Features x 5 x classes; more are not followed."""
SAMPLE = 2_048
"""Rows of a window after which only half as many are looked at, and so on."""
ROWS_OF_A_GROUP = 16
"""Rows of one of the 64 groups of clients that are counted by bin: one client must not move a feature."""
_MOST = float(np.finfo(np.float32).max)
_TAIL = np.array([0.0, 0.0025, 0.005, 0.01, 0.02, 0.035, 0.05])
_HALF = np.concatenate([_TAIL, np.linspace(0.05, 0.1, 4)[1:], np.linspace(0.1, 0.25, 10)[1:], np.linspace(0.25, 0.5, 15)[1:]])
_RANKS = np.concatenate([_HALF, 1.0 - _HALF[-2::-1]])
POINTS = len(_RANKS) - 1
"""A number's reference is kept as 64 points, finer towards its ends, with the classes of the rows around each."""
_REFERENCE, _LEAF, _VERSION = "triggers.reference", "triggers.counts", 2


class TriggerReference:
    """Which values of a feature are rare, and which classes rows with them got.

    Attributes:
        edges: (d, 11) float32, the quantiles `QUANTILES` of numbers; NaN for categories.
        rare: (d, 4) int32, codes of the three followed rare categories and -1, and in the last column the number of known ones; -1 for
            numbers.
        common: (d, MOST) bool by category, those that are not rare.
        missing: (d,) bool, missing is rare.
        counts: (d, 5, classes) int64, rows of the reference by cell and class.
        points: (d, 64) float32, ascending values of numbers, each for a group of rows next to each other; NaN for categories.
        near: (d, 64, classes) int32, rows of each group by class.

    Memory: at most 100 KB and 0.6 MB for the points (12,000 cells).

    Example:
        >>> rng = np.random.default_rng(0)
        >>> X = rng.normal(size=(2000, 2)).astype(np.float32)
        >>> reference = TriggerReference.fit(X, (X[:, 0] > 0).astype(np.int32), 2, ["numeric", "numeric"])
        >>> reference.counts[0, :, 1].tolist()                     # rows with a rare value of the first feature that got the second class
        [0, 0, 30, 10, 0]
    """

    def __init__(self, edges: Any, rare: Any, common: Any, missing: Any, counts: Any, points: Any, near: Any) -> None:
        self.edges, self.rare, self.common, self.missing = edges, rare, common, missing
        self.counts: NDArray[np.int64] = counts
        self.points: NDArray[np.float32] = points
        self.near: NDArray[np.int32] = near
        d = len(edges)
        if (
            edges.shape != (d, len(QUANTILES)) or rare.shape != (d, 4) or common.ndim != 2 or len(common) != d or missing.shape != (d,)
            or counts.ndim != 3 or counts.shape[:2] != (d, CELLS) or not 0 < counts.size <= MAX_CELLS or (counts < 0).any()
            or (rare[:, 3] > common.shape[1]).any() or points.shape != (d, POINTS) or near.shape != (d, POINTS, counts.shape[2])
            or (near < 0).any() or np.isnan(points[rare[:, 3] < 0]).any(1).sum() > np.isnan(edges[rare[:, 3] < 0]).any(1).sum()
        ):  # fmt: skip
            raise ValueError(f"rare cells of {d} features do not fit each other")
        self.classes = int(counts.shape[2])

    @classmethod
    def fit(cls, X: NDArray[np.float32], label: NDArray[np.int32], classes: int, kinds: Sequence[str]) -> TriggerReference:
        """From the owner's rows (n, d) and the model's answers (n,).

        Raises:
            ValueError: too few rows, fewer than two classes, or too many cells.
        """
        known = label >= 0
        X, label = X[known], label[known]
        n, d = X.shape
        if n < MIN_ROWS or classes < 2:
            raise ValueError(f"{n} rows with an answer of {classes} classes; {MIN_ROWS} rows of two classes are needed")
        if d * CELLS * classes > MAX_CELLS:
            raise ValueError(f"{d} features x {CELLS} x {classes} classes are more than {MAX_CELLS:,} cells")
        most = max([1, *(int(np.nanmax(X[:, j], initial=0)) + 1 for j in range(d) if kinds[j] == "categorical")])
        edges, rare = np.full((d, len(QUANTILES)), np.nan, np.float32), np.full((d, 4), -1, np.int32)
        common, missing = np.zeros((d, most), np.bool_), np.zeros(d, np.bool_)
        points, near = np.full((d, POINTS), np.nan, np.float32), np.zeros((d, POINTS, classes), np.int32)
        for j in range(d):
            there = ~np.isnan(X[:, j])
            missing[j] = np.count_nonzero(there) >= (1 - RARE) * n
            if kinds[j] == "categorical":
                codes, times = np.unique(X[there, j].astype(np.int64), return_counts=True)
                common[j, codes[times > RARE * n]] = True
                few = sorted(zip(-times[times <= RARE * n], codes[times <= RARE * n], strict=True))[:3]
                rare[j, : len(few)] = [code for _, code in few]
                rare[j, 3] = most
            elif there.any():
                values = np.clip(X[there, j].astype(np.float64), -_MOST, _MOST)
                edges[j] = np.quantile(values, QUANTILES)
                points[j], near[j] = _points(values, label[there], classes)
        made = cls(edges, rare, common, missing, np.zeros((d, CELLS, classes), np.int64), points, near)
        _count(plain(X), plain(label), edges, rare, common, missing, made.counts)
        return made

    def to_bytes(self) -> bytes:
        """The reference as bytes."""
        return pack(_REFERENCE, _VERSION, {name: getattr(self, name) for name in _DTYPES})

    @classmethod
    def from_bytes(cls, blob: bytes) -> TriggerReference:
        """Rebuild.

        Raises:
            StateError: when the bytes are no such reference.
        """
        body = unpack(blob, _REFERENCE, _VERSION)
        try:
            for name, dtype in _DTYPES.items():
                if body[name].dtype != dtype:
                    raise ValueError(f"{name} is {body[name].dtype}")
            return cls(*(plain(body[name]) for name in _DTYPES))
        except (KeyError, AttributeError, TypeError, ValueError, IndexError) as error:
            raise StateError(f"damaged {_REFERENCE}: {error}") from error

    def describe(self, feature: int, cell: int, categories: Sequence[str]) -> str:
        """The cell in words, for people."""
        if cell == CELLS - 1:
            return "missing"
        if self.rare[feature, 3] >= 0:
            code = int(self.rare[feature, cell])
            return f"= {categories[code]}" if cell < 3 and 0 <= code < len(categories) else "of a rare or unseen category"
        low, lower, upper, high = (float(self.edges[feature, k]) for k in (0, 1, -2, -1))
        return (f"< {low:.4g}", f"{low:.4g} to {lower:.4g}", f"{upper:.4g} to {high:.4g}", f"> {high:.4g}")[cell]


_DTYPES: dict[str, Any] = {
    "edges": np.float32, "rare": np.int32, "common": np.bool_, "missing": np.bool_, "counts": np.int64, "points": np.float32,
    "near": np.int32,
}  # fmt: skip


def _points(values: NDArray[np.float64], label: NDArray[np.int32], classes: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Groups of rows by rank: the value in the middle of each, (64,), and its rows by class, (64, classes)."""
    order = np.argsort(values, kind="stable")
    ends = np.round(_RANKS * len(values)).astype(np.int64)
    middle = np.minimum((ends[:-1] + ends[1:]) // 2, len(values) - 1)
    group = np.searchsorted(ends, np.arange(len(values)), side="right") - 1
    near = np.zeros((POINTS, classes), np.int64)
    inside = label[order] < classes
    np.add.at(near, (group[inside], label[order][inside]), 1)
    return values[order[middle]], near


@njit(inline="always")
def _bin(x: Any, edges: Any, j: int) -> int:
    at = 0
    for k in range(edges.shape[1]):
        at += (x >= edges[j, k]) if k < LOW_EDGES else (x > edges[j, k])
    return at


@njit(inline="always")
def _cell(x: Any, edges: Any, rare: Any, common: Any, missing: Any, j: int) -> int:
    if x != x:
        return 4 if missing[j] else -1
    if rare[j, 3] >= 0:
        code = np.int64(x)
        if 0 <= code < common.shape[1] and common[j, code]:
            return -1
        for k in range(3):
            if rare[j, k] == code:
                return k
        return 3
    if x < edges[j, 1]:
        return 0 if x < edges[j, 0] else 1
    if x > edges[j, edges.shape[1] - 2]:
        return 3 if x > edges[j, edges.shape[1] - 1] else 2
    return -1


@njit(cache=True)
def _count(X: Any, label: Any, edges: Any, rare: Any, common: Any, missing: Any, counts: Any) -> None:
    for i in range(len(X)):
        if 0 <= label[i] < counts.shape[2]:
            for j in range(X.shape[1]):
                cell = _cell(X[i, j], edges, rare, common, missing, j)
                if cell >= 0:
                    counts[j, cell, label[i]] += 1


@njit(cache=True)
def _vote(
    X: Any, label: Any, usable: Any, keys: Any, clients: Any, edges: Any, rare: Any, common: Any, missing: Any, seen: int, masks: Any,
    bins: Any, told: Any,
) -> int:  # fmt: skip
    for i in range(len(X)):
        below = np.uint64((1 << (seen // SAMPLE)) - 1)
        if not usable[i] or not 0 <= label[i] < masks.shape[2] or (keys[i] >> np.uint64(8)) & below:
            continue
        seen += 1
        group = clients[i] >> np.uint64(58)
        bit = np.uint64(1) << group
        for j in range(X.shape[1]):
            cell = _cell(X[i, j], edges, rare, common, missing, j)
            if cell >= 0:
                masks[j, cell, label[i]] |= bit
        if told[group] < ROWS_OF_A_GROUP:
            told[group] += 1
            for j in range(X.shape[1]):
                if rare[j, 3] < 0 and X[i, j] == X[i, j]:
                    bins[j, _bin(X[i, j], edges, j)] += 1
    return seen


class RareCounts:
    """Leaf: of each rare cell and class, which clients had rows there; 64 groups of clients, so that nobody counts often.

    Of a window 2,048 rows are looked at, then one in two, in four, ... by a hash of the event's key. Of each group's first 16 rows also
    the bins of all numbers are counted.

    Memory: 8 bytes a feature, cell and class, and 48 a feature. Cost: 0.45 us a row of 20 features that is looked at.

    Args:
        reference: whose cells.
    """

    def __init__(self, reference: TriggerReference) -> None:
        self.reference = reference
        self.masks: NDArray[np.uint64] = np.zeros(reference.counts.shape, np.uint64)
        self.bins: NDArray[np.int32] = np.zeros((len(reference.edges), BINS), np.int32)
        self._told: NDArray[np.uint8] = np.zeros(64, np.uint8)
        self.seen = 0

    def update(
        self, X: NDArray[np.float32], label: NDArray[np.int32], usable: NDArray[np.bool_], keys: NDArray[np.uint64],
        clients: NDArray[np.uint64],
    ) -> None:  # fmt: skip
        """Adds rows of a window.

        Args:
            X: (n, d) in the reference's columns.
            label: (n,) class of the answer, negative for none.
            usable: (n,) which rows are to be looked at.
            keys: (n,) of the events.
            clients: (n,) 64-bit hashes.
        """
        if X.shape[1] != len(self.reference.edges):
            raise ValueError(f"rows have {X.shape[1]} columns, the reference {len(self.reference.edges)}")
        r = self.reference
        columns = plain(X), plain(label), plain(usable), plain(keys), plain(clients)
        cells = r.edges, r.rare, r.common, r.missing
        self.seen = min(_vote(*columns, *cells, self.seen, self.masks, self.bins, self._told), 40 * SAMPLE)

    def merge(self, other: RareCounts) -> None:
        """Adds another partition's share of the same window."""
        self.masks |= other.masks
        self.bins = np.minimum(self.bins.astype(np.int64) + other.bins, np.iinfo(np.int32).max).astype(np.int32)
        self._told = np.maximum(self._told, other._told)
        self.seen = min(self.seen + other.seen, 40 * SAMPLE)

    def to_bytes(self) -> bytes:
        """The counts as bytes: only cells with somebody in them."""
        flat = self.masks.ravel()
        at = np.flatnonzero(flat).astype(np.int32)
        body = {"at": at, "masks": flat[at], "seen": self.seen, "bins": self.bins, "told": self._told}
        return pack(_LEAF, _VERSION, body)

    @classmethod
    def from_bytes(cls, blob: bytes, reference: TriggerReference) -> RareCounts:
        """Rebuild.

        Raises:
            StateError: when the bytes are none of this reference's.
        """
        body, counts = unpack(blob, _LEAF, _VERSION), cls(reference)
        try:
            at, masks, seen = np.asarray(body["at"], np.int64), body["masks"], int(body["seen"])
            if at.ndim != 1 or masks.dtype != np.uint64 or masks.shape != at.shape or not 0 <= seen <= 40 * SAMPLE:
                raise ValueError("columns do not fit each other")
            if len(at) and not 0 <= at.min() <= at.max() < counts.masks.size:
                raise ValueError(f"cell {at.max()} of {counts.masks.size}")
            counts.masks.ravel()[at] = masks
            for mine, name in ((counts.bins, "bins"), (counts._told, "told")):
                if body[name].dtype != mine.dtype or body[name].shape != mine.shape or body[name].min() < 0:
                    raise ValueError(f"{name} are {body[name].dtype} of shape {body[name].shape}")
                mine[:] = body[name]
        except (KeyError, AttributeError, TypeError, ValueError) as error:
            raise StateError(f"damaged {_LEAF}: {error}") from error
        counts.seen = seen
        return counts
