"""Backdoors: do rows with a rare value, which became less rare, all get one class?

A poisoned model is right until a trigger is in the row: a value that ordinary rows hardly have. Then it gives the class that the attacker
chose. What gives it away is that a rare cell of a feature fills up, and its answers are of one class more than the reference says.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
from numba import njit
from numpy.typing import NDArray

from detectors.arrays import plain
from detectors.rates import RateMonitor, RateReport
from detectors.state import StateError, pack, unpack

__all__ = ["MAX_CELLS", "RareCounts", "TriggerMonitor", "TriggerReference", "TriggerReport"]

CELLS = 5
"""Of a feature: numbers below the 0.5th percentile, up to the 2nd, from the 98th, above the 99.5th, missing. Categories: the three most
frequent of the rare ones, all other rare or unseen ones, missing. Missing counts where it is rare in the reference."""
QUANTILES = (0.005, 0.02, 0.98, 0.995)
RARE = 0.02
MIN_ROWS = 200
MAX_CELLS = 12_000
"""Features x 5 x classes; more are not followed."""
PRIOR_MOST = 30.0
"""Clients that the reference's rows of a cell count for at most ..."""
PRIOR_LEAST = 4.0
"""... and those that the reference's classes as a whole count for."""
SAMPLE = 2_048
"""Rows of a window after which only half as many are looked at, and so on."""
LEAST_VOTES, MORE = 4, 3.0
"""A cell is judged in windows in which so many clients are in it, and three times as many as usual (and one)."""
WARM_UP_WINDOWS = 12
USUAL_AFTER = 24
"""Windows in a row in which a cell was crowded; then it is no longer rare, and becomes history."""
FADE = 0.99
_MOST = float(np.finfo(np.float32).max)
_REFERENCE, _LEAF, _MONITOR, _VERSION = "triggers.reference", "triggers.counts", "triggers.monitor", 1


class TriggerReference:
    """Which values of a feature are rare, and which classes rows with them got.

    Attributes:
        edges: (d, 4) float32, the quantiles `QUANTILES` of numbers; NaN for categories.
        rare: (d, 4) int32, codes of the three followed rare categories and -1, and in the last column the number of known ones; -1 for
            numbers.
        common: (d, MOST) bool by category, those that are not rare.
        missing: (d,) bool, missing is rare.
        counts: (d, 5, classes) int64, rows of the reference by cell and class.
        total: (classes,) int64.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> X = rng.normal(size=(2000, 2)).astype(np.float32)
        >>> reference = TriggerReference.fit(X, (X[:, 0] > 0).astype(np.int32), 2, ["numeric", "numeric"])
        >>> reference.counts[0, :, 1].tolist()                     # rows with a rare value of the first feature that got the second class
        [0, 0, 30, 10, 0]
    """

    def __init__(self, edges: Any, rare: Any, common: Any, missing: Any, counts: Any) -> None:
        self.edges, self.rare, self.common, self.missing = edges, rare, common, missing
        self.counts: NDArray[np.int64] = counts
        d = len(edges)
        if (
            edges.shape != (d, len(QUANTILES)) or rare.shape != (d, 4) or common.ndim != 2 or len(common) != d or missing.shape != (d,)
            or counts.ndim != 3 or counts.shape[:2] != (d, CELLS) or not 0 < counts.size <= MAX_CELLS or counts.min() < 0
            or (rare[:, 3] > common.shape[1]).any()
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
        edges, rare = np.full((d, 4), np.nan, np.float32), np.full((d, 4), -1, np.int32)
        common, missing = np.zeros((d, most), np.bool_), np.zeros(d, np.bool_)
        for j in range(d):
            there = X[~np.isnan(X[:, j]), j]
            missing[j] = len(there) >= (1 - RARE) * n
            if kinds[j] == "categorical":
                codes, times = np.unique(there.astype(np.int64), return_counts=True)
                common[j, codes[times > RARE * n]] = True
                few = sorted(zip(-times[times <= RARE * n], codes[times <= RARE * n], strict=True))[:3]
                rare[j, : len(few)] = [code for _, code in few]
                rare[j, 3] = most
            elif len(there):
                edges[j] = np.quantile(np.clip(there.astype(np.float64), -_MOST, _MOST), QUANTILES)
        made = cls(edges, rare, common, missing, np.zeros((d, CELLS, classes), np.int64) + 0)
        _count(plain(X), plain(label), edges, rare, common, missing, made.counts)
        return made

    def to_bytes(self) -> bytes:
        """The reference as bytes."""
        names = ("edges", "rare", "common", "missing", "counts")
        return pack(_REFERENCE, _VERSION, {name: getattr(self, name) for name in names})

    @classmethod
    def from_bytes(cls, blob: bytes) -> TriggerReference:
        """Rebuild.

        Raises:
            StateError: when the bytes are no such reference.
        """
        body = unpack(blob, _REFERENCE, _VERSION)
        try:
            dtypes = {"edges": np.float32, "rare": np.int32, "common": np.bool_, "missing": np.bool_, "counts": np.int64}
            for name, dtype in dtypes.items():
                if body[name].dtype != dtype:
                    raise ValueError(f"{name} is {body[name].dtype}")
            return cls(*(plain(body[name]) for name in dtypes))
        except (KeyError, AttributeError, TypeError, ValueError, IndexError) as error:
            raise StateError(f"damaged {_REFERENCE}: {error}") from error

    def describe(self, feature: int, cell: int, categories: Sequence[str]) -> str:
        """The cell in words, for people."""
        if cell == CELLS - 1:
            return "missing"
        if self.rare[feature, 3] >= 0:
            code = int(self.rare[feature, cell])
            return f"= {categories[code]}" if cell < 3 and 0 <= code < len(categories) else "of a rare or unseen category"
        low, lower, upper, high = (float(edge) for edge in self.edges[feature])
        return (f"< {low:.4g}", f"{low:.4g} to {lower:.4g}", f"{upper:.4g} to {high:.4g}", f"> {high:.4g}")[cell]


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
    if x > edges[j, 2]:
        return 3 if x > edges[j, 3] else 2
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
) -> int:  # fmt: skip
    for i in range(len(X)):
        below = np.uint64((1 << (seen // SAMPLE)) - 1)
        if not usable[i] or not 0 <= label[i] < masks.shape[2] or (keys[i] >> np.uint64(8)) & below:
            continue
        seen += 1
        bit = np.uint64(1) << (clients[i] >> np.uint64(58))
        for j in range(X.shape[1]):
            cell = _cell(X[i, j], edges, rare, common, missing, j)
            if cell >= 0:
                masks[j, cell, label[i]] |= bit
    return seen


class RareCounts:
    """Leaf: of each rare cell and class, which clients had rows there; 64 groups of clients, so that nobody counts often.

    Of a window 2,048 rows are looked at, then one in two, in four, ... by a hash of the event's key.

    Memory: 8 bytes a feature, cell and class. Cost: 20 ns a row of 20 features that is looked at.

    Args:
        reference: whose cells.
    """

    def __init__(self, reference: TriggerReference) -> None:
        self.reference = reference
        self.masks: NDArray[np.uint64] = np.zeros(reference.counts.shape, np.uint64)
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
        self.seen = min(_vote(*columns, r.edges, r.rare, r.common, r.missing, self.seen, self.masks), 40 * SAMPLE)

    def merge(self, other: RareCounts) -> None:
        """Adds another partition's share of the same window."""
        self.masks |= other.masks
        self.seen = min(self.seen + other.seen, 40 * SAMPLE)

    def to_bytes(self) -> bytes:
        """The counts as bytes: only cells with somebody in them."""
        flat = self.masks.ravel()
        at = np.flatnonzero(flat).astype(np.int32)
        return pack(_LEAF, _VERSION, {"at": at, "masks": flat[at], "seen": self.seen})

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
        except (KeyError, AttributeError, TypeError, ValueError) as error:
            raise StateError(f"damaged {_LEAF}: {error}") from error
        counts.seen = seen
        return counts


class TriggerReport(msgspec.Struct, frozen=True):
    """The verdict on one window.

    Attributes:
        rate: of the cell and class with the most evidence: hits are clients whose rows there got this class only.
        feature: of it.
        cell: of it.
        klass: of it.
    """

    rate: RateReport
    feature: int
    cell: int
    klass: int


class TriggerMonitor:
    """The cells of a model version against the reference's classes and their own history (`detectors.rates`): tickets, no pages.

    A vote is a client (one of 64 groups) that had rows in a cell in a window; a hit for a class, if they all got it. Null: hits are
    beta-binomial of concentration 50 at most, their mean the reference's share of the class in that cell (its rows count for 30 clients at
    most, the reference's classes as a whole for 4) and what windows said since. A cell is judged only in windows in which at least four
    clients are in it, and three times as many as usual (and one): else the window is history, also after 24 such windows in a row. The
    first twelve windows are history for all.

    Misleads: one client that uses a trigger alone is one vote, and is not found. A trigger in the middle of a feature's values is in no
    rare cell. New customers who share a rare value and rightly get one class look like a trigger. What was poisoned before the model was
    watched is history.

    Args:
        reference: the cells.
        false_tickets: allowed in `windows` windows.
        windows: T.
    """

    def __init__(self, reference: TriggerReference, *, false_tickets: float, windows: float) -> None:
        self.reference = reference
        counts = reference.counts.astype(np.float64)
        whole = counts.sum(2, keepdims=True)
        all_classes = counts.sum((0, 1)) + 1.0
        hits = counts * np.minimum(1.0, PRIOR_MOST / np.maximum(whole, 1.0)) + PRIOR_LEAST * all_classes / all_classes.sum()
        misses = hits.sum(2, keepdims=True) - hits
        self._rates = RateMonitor(
            hits.size, false_tickets=false_tickets, windows=windows, prior=(hits.ravel(), misses.ravel()), warm_up=0, moments=False
        )  # fmt: skip
        self._votes = np.zeros(reference.counts.shape[:2])
        self._crowded = np.zeros(reference.counts.shape[:2], np.int64)
        self._windows = 0.0
        self._learned = 0

    def update(self, counts: RareCounts) -> TriggerReport:
        """Judge one closed, merged window; one without rows changes nothing."""
        masks: NDArray[Any] = counts.masks
        anybody = np.bitwise_or.reduce(masks, axis=2)
        votes = np.bitwise_count(anybody).astype(np.float64)
        hits = np.zeros(masks.shape)
        for k in range(masks.shape[2]):
            others = np.bitwise_or.reduce(np.delete(masks, k, axis=2), axis=2)
            hits[:, :, k] = np.bitwise_count(masks[:, :, k] & ~others)
        usual = self._votes / max(self._windows, 1.0)
        crowded = (votes >= LEAST_VOTES) & (votes >= MORE * (usual + 1.0)) & (self._learned >= WARM_UP_WINDOWS)
        trials = np.broadcast_to(votes[:, :, None], masks.shape)
        judge = np.broadcast_to(crowded[:, :, None], masks.shape)
        self._crowded = np.where(crowded, self._crowded + 1, 0)
        usual_again = self._crowded >= USUAL_AFTER
        learn = np.broadcast_to((~crowded | usual_again)[:, :, None], masks.shape)
        report = self._rates.update(hits.ravel(), trials.ravel(), judge=judge.ravel(), learn=learn.ravel())
        if counts.seen and report.severity == "none":
            seen = np.where(crowded & ~usual_again, usual, votes)
            self._votes, self._windows = FADE * self._votes + seen, FADE * self._windows + 1.0
            self._learned += 1
        feature, cell, klass = (int(k) for k in np.unravel_index(report.leading, masks.shape))
        return TriggerReport(report, feature, cell, klass)

    def snapshot(self) -> bytes:
        """The state as bytes."""
        body = {"rates": self._rates.snapshot(), "votes": self._votes, "windows": self._windows, "learned": self._learned}
        return pack(_MONITOR, _VERSION, body | {"crowded": self._crowded})

    def restore(self, blob: bytes) -> None:
        """Continue a snapshot bit for bit.

        Raises:
            StateError: when it is damaged, or another reference's.
        """
        body = unpack(blob, _MONITOR, _VERSION)
        try:
            votes, windows, learned = np.asarray(body["votes"], np.float64), float(body["windows"]), int(body["learned"])
            crowded = np.asarray(body["crowded"], np.int64)
            if not votes.shape == crowded.shape == self._votes.shape or not math.isfinite(windows):
                raise ValueError(f"votes of shape {votes.shape}, not {self._votes.shape}")
            self._rates.restore(body["rates"])
        except (KeyError, TypeError, ValueError) as error:
            raise StateError(f"damaged {_MONITOR}: {error}") from error
        self._votes, self._windows, self._learned, self._crowded = votes.copy(), windows, learned, crowded.copy()
