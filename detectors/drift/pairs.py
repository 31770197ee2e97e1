"""Pairs of features: how often two values of an event lie on different sides of their splits, "apart".

A numeric feature is split at the edge nearest to its median, a categorical one into two halves of its categories, as even as a greedy
choice makes them; missing and unseen values are on the lower side. When features are split at their medians, the share of events that
are apart is 1/2 - asin(rho) / pi for a normal law of correlation rho, and the same for every monotone recoding of it. A change of the
dependence moves it; a shift of one feature moves it in second order only.

**Which pairs.** All of up to 45 features. Of more, 1,024 pairs: half are those with the largest |phi| in the reference (where a dependence
can break), half go round all features in turn (where one can come up). Of more than 100 features, 100 spread evenly take part.

**Margins.** Where two features both move, they are apart more or less often without going together otherwise, so pairs are judged given
the shares u above the splits that were seen lately: u_i + u_j - 2 (u_i u_j + phi sqrt(u_i (1 - u_i) u_j (1 - u_j))) are expected to be
apart, phi the reference's within an hour. (With phi = 0 and the same events, E[apart] is that exactly, and the count is less spread than
a binomial one: Hoeffding 1963, Theorem 4.) That takes out seasons and most of what marginals wander; what is left between the reference's
hours is the pair's wander.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from detectors.drift.cells import Kind
from detectors.drift.wander import between

MOST_FEATURES, MOST_PAIRS = 100, 1_024
LEAST_SHARE = 0.05
"""Of the events on the smaller side; a feature that is not split so evenly has no pairs."""
_CHUNK = 65_536

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class PairCounts(NamedTuple):
    """What a reference keeps of its pairs."""

    first: NDArray[np.int32]
    """Variable, shape (P,); pairs are sorted."""
    second: NDArray[np.int32]
    """Variable after the first."""
    apart: Ints
    """Rows of the reference in which they are apart."""
    wander: NDArray[np.floating[Any]]
    """Sd of the share between stretches of time, sampling noise and margins taken out."""
    phi: Floats
    """Correlation of the two sides within an hour."""

    @classmethod
    def none(cls) -> PairCounts:
        """Of a reference without pairs."""
        return cls(np.empty(0, np.int32), np.empty(0, np.int32), np.empty(0, np.int64), np.empty(0), np.empty(0))


def upper_cells(counts: Ints, starts: Ints, kinds: tuple[Kind, ...]) -> tuple[NDArray[np.uint8], Ints]:
    """Whether a cell is above its variable's split, shape (n_cells,), and the last cell below it of numeric variables, shape (V,)."""
    upper, last = np.zeros(int(starts[-1]), np.uint8), np.zeros(len(kinds), np.int64)
    for v, kind in enumerate(kinds):
        begin, end = int(starts[v]), int(starts[v + 1])
        mine = counts[begin:end]
        half = 0.5 * float(mine.sum())
        if kind == "numeric":
            above = np.cumsum(mine[-2::-1])[::-1][1:]  # beyond cell 0, 1, ...; missing is the last cell, and below
            if above.size:
                last[v] = int(np.abs(above - half).argmin())
                upper[begin + last[v] + 1 : end - 1] = 1
            continue
        taken = 0.0
        for cell in np.argsort(-mine[:-2], kind="stable").tolist():
            if abs(taken + mine[cell] - half) < abs(taken - half):
                taken += float(mine[cell])
                upper[begin + cell] = 1
    return upper, last


def share_apart(above: Floats, phi: Floats, i: NDArray[Any], j: NDArray[Any]) -> Floats:
    """Share of events apart, shape (..., P), for shares above the split of shape (..., m) and correlations of the sides, shape (P,)."""
    a, b = above[..., i], above[..., j]
    spread = np.sqrt(np.maximum(a * (1.0 - a) * b * (1.0 - b), 0.0))
    return np.asarray(np.clip(a + b - 2.0 * (a * b + phi * spread), 1e-3, 1.0 - 1e-3), np.float64)


def phi_of(apart: Floats, above: Floats, i: NDArray[Any], j: NDArray[Any]) -> Floats:
    """Correlations of the sides of pairs that are apart with shares `apart`."""
    a, b = above[i], above[j]
    both = 0.5 * (a + b - apart)
    return np.asarray((both - a * b) / np.sqrt(np.maximum(a * (1.0 - a) * b * (1.0 - b), 1e-12)), np.float64)


def carried(expected: Floats, whole: Floats) -> tuple[Floats, Floats]:
    """What an event that is apart, and one that is not, counts as, where `expected` are apart now and `whole` in the whole reference.

    As `season.carry` for two cells: the fewest events change, and Jensen's inequality keeps the bound.
    """
    kept = np.minimum(1.0, whole / np.maximum(expected, 1e-12))
    return kept, np.maximum(0.0, (whole - expected) / np.maximum(1.0 - expected, 1e-12))


def fit(cells: list[Ints], counts: list[Ints], kinds: tuple[Kind, ...], block: Ints, blocks: int) -> PairCounts:
    """Choose pairs of features, and count them.

    Args:
        cells: of the rows, one array of shape (n,) per feature.
        counts: rows per cell of each feature.
        kinds: of the features.
        block: equal stretch of time of each row, shape (n,).
        blocks: number of stretches.

    Cost: n m^2 multiplications, twice: 0.1 s for 100,000 rows of 20 features.
    """
    n = len(block)
    starts = np.concatenate([[0], np.cumsum([len(c) for c in counts])]).astype(np.int64)
    upper, _ = upper_cells(np.concatenate([*counts, np.empty(0, np.int64)]).astype(np.int64), starts, kinds)
    sides = [upper[starts[v] : starts[v + 1]] for v in range(len(kinds))]
    share = np.array([float(c @ s) / max(float(c.sum()), 1.0) for c, s in zip(counts, sides, strict=True)])
    members = np.flatnonzero((share >= LEAST_SHARE) & (share <= 1.0 - LEAST_SHARE))
    if members.size > MOST_FEATURES:
        members = members[np.linspace(0, members.size - 1, MOST_FEATURES).astype(np.intp)]
    if members.size < 2:
        return PairCounts.none()
    order = np.argsort(block, kind="stable")
    bits = np.stack([sides[v][cells[v]] for v in members.tolist()], axis=1)[order]
    whole = np.zeros((members.size, members.size))
    for begin in range(0, n, _CHUNK):
        whole += _apart(bits[begin : begin + _CHUNK])
    i, j = _choose(whole / n, share[members])

    hits, sizes, above = np.zeros((blocks, i.size)), np.zeros(blocks), np.full((blocks, members.size), 0.5)
    cuts = np.concatenate([[0], np.flatnonzero(np.diff(block[order])) + 1, [n]])
    for begin, end in zip(cuts[:-1].tolist(), cuts[1:].tolist(), strict=True):
        one = int(block[order[begin]])
        hits[one] = np.sum([_apart(bits[at : min(at + _CHUNK, end)]) for at in range(begin, end, _CHUNK)], axis=0)[i, j]
        sizes[one], above[one] = end - begin, bits[begin:end].mean(axis=0)
    busy = sizes > 0
    phi, wander = within(hits[busy], sizes[busy], above[busy], i, j)
    return PairCounts(members[i].astype(np.int32), members[j].astype(np.int32), np.rint(whole[i, j]).astype(np.int64), wander, phi)


def within(hits: Floats, sizes: Floats, above: Floats, i: NDArray[Any], j: NDArray[Any]) -> tuple[Floats, Floats]:
    """Correlations of the sides within blocks of events, and the wander of the shares apart, given the blocks' margins.

    Args:
        hits: events apart per block and pair, shape (B, P).
        sizes: events of the blocks, above 0, shape (B,).
        above: shares above the splits, shape (B, m).
        i: place of each pair's first, shape (P,).
        j: place of its second.
    """
    p = hits.sum(axis=0) / sizes.sum()
    phi = _phi_within(p, above, sizes / sizes.sum(), i, j)
    expected = share_apart(above, phi, i, j)
    kept, more = carried(expected, p)
    told = kept * hits + more * (sizes[:, None] - hits)
    return phi, between(told, sizes, sizes[:, None] * expected * (1.0 - expected) * (kept - more) ** 2)


def _phi_within(p: Floats, above: Floats, weight: Floats, i: NDArray[Any], j: NDArray[Any]) -> Floats:
    """Correlations with which the mean of `share_apart` over hours of these weights is p."""
    a, b = above[:, i], above[:, j]
    spread = weight @ np.sqrt(a * (1.0 - a) * b * (1.0 - b))
    return np.asarray(np.clip((weight @ (a + b - 2.0 * a * b) - p) / np.maximum(2.0 * spread, 1e-12), -1.0, 1.0), np.float64)


def _apart(bits: NDArray[np.uint8]) -> Floats:
    """Rows in which two columns differ, shape (m, m)."""
    b = bits.astype(np.float32)
    ones = b.sum(axis=0)
    return np.asarray(ones[:, None] + ones[None, :] - 2.0 * (b.T @ b), np.float64)


def _choose(apart: Floats, above: Floats) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Positions of the pairs, sorted."""
    m = above.size
    i, j = np.triu_indices(m, 1)
    if i.size <= MOST_PAIRS:
        return i, j
    strength = np.abs(phi_of(apart[i, j], above, i, j))
    chosen = np.zeros((m, m), bool)
    best = np.argsort(-strength, kind="stable")[: MOST_PAIRS // 2]
    chosen[i[best], j[best]] = True
    for step in range(1, m):
        for k in range(m):
            a, b = min(k, (k + step) % m), max(k, (k + step) % m)
            if a != b and not chosen[a, b]:
                chosen[a, b] = True
                if chosen.sum() == MOST_PAIRS:
                    break
        else:
            continue
        break
    i, j = np.nonzero(chosen)
    return i, j


class Pairs:
    """The pairs of a reference, ready to be counted and judged.

    Args:
        kept: what the reference keeps.
        counts: of its cells, shape (n_cells,).
        starts: first cell of each variable, shape (V + 1,).
        kinds: of the variables.
        edges: thresholds, shape (V, 16).
        n_features: F; only features have pairs.
        rows: of the reference.
        whole: whose splits these pairs have, when they are of a part of the traffic.

    Attributes:
        members: variables that take part, int64, shape (m,).
        member: place of a variable among them or -1, int64, shape (V,).
        i, j: places of each pair's two, uint8, shape (P,).
        split: what a value of a member must exceed to be above, float32, shape (m,).
        upper: whether a cell is above, uint8, shape (n_cells,).
        above: the reference's share above the split of each member, shape (m,).
        rows: of the reference, 1 at least.

    Raises:
        ValueError: pairs of something else than two different features, or counts beyond the rows.
    """

    def __init__(
        self,
        kept: PairCounts,
        counts: Ints,
        starts: Ints,
        kinds: tuple[Kind, ...],
        edges: NDArray[np.float32],
        n_features: int,
        rows: int,
        whole: Pairs | None = None,
    ) -> None:
        with np.errstate(over="ignore"):  # infinite, and refused as such
            self.kept = kept = kept._replace(wander=kept.wander.astype(np.float32))
        first, second, apart, wander, phi = kept
        if not first.shape == second.shape == apart.shape == wander.shape == phi.shape or first.size > MOST_PAIRS:
            raise ValueError(f"{first.size} pairs of features, at most {MOST_PAIRS}")
        if first.size and not (first.min() >= 0 and (first < second).all() and second.max() < n_features):
            raise ValueError("a pair is of two different features, the first one first")
        if first.size and not (apart.min() >= 0 and apart.max() <= rows and np.isfinite(wander).all() and wander.min() >= 0):
            raise ValueError("a pair that is apart in more rows than there are")
        if not (np.isfinite(phi).all() and np.abs(phi).max(initial=0.0) <= 1.0):
            raise ValueError("a correlation beyond 1")
        self.members = np.unique(np.concatenate([first, second])).astype(np.int64)
        if self.members.size > MOST_FEATURES:
            raise ValueError(f"pairs of {self.members.size} features, at most {MOST_FEATURES}")
        self.member = np.full(len(kinds), -1, np.int64)
        self.member[self.members] = np.arange(self.members.size)
        self.i, self.j = self.member[first].astype(np.uint8), self.member[second].astype(np.uint8)
        if whole is None:
            self.upper, last = upper_cells(counts, starts, kinds)
            self.split = np.ascontiguousarray(edges[self.members, last[self.members]])
        else:
            self.upper, self.split = whole.upper, whole.split
        self.rows = max(rows, 1)
        self.above = np.add.reduceat(counts * self.upper, starts[:-1])[self.members] / max(rows, 1)

    @property
    def share(self) -> Floats:
        """Rows apart by rows, shape (P,)."""
        return np.asarray(self.kept.apart / self.rows, np.float64)

    def __len__(self) -> int:
        return int(self.kept.first.size)

    @property
    def tables(self) -> tuple[Ints, NDArray[np.float32], NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint8]]:
        """What counting needs."""
        return self.member, self.split, self.upper, self.i, self.j
