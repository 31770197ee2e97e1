"""Random features of whole rows: what changes in them is a change of how the columns go together, whatever each does alone.

Up to 32 numeric columns: products of waves (random Fourier features of a product kernel). Each column has an odd and an even wave,
sin(1.3 u) and cos(1.3 u), of mean 0 and variance 1 in the reference; odd x odd x odd of three columns, even x even and odd x even of two
are what means and correlations do not tell. All of them up to twelve columns, 512 at random of more, are added with random signs in 64
sums, about as many in each: a dependence that moves one product by r sd moves its sum by r / sqrt(products / 64).

More columns, as of an embedding: random orthogonal directions in the whitened space, 64 at most, which keep a share 64 / d of the square
of any shift, whatever its direction.

u are the values less the reference's mean by its sd, clipped at 4 sd; missing ones are 0.

**Leaf.** Sums per client group over a part of a window's rows: every row at first; whenever 384 have been taken, those so far count a
quarter, and a quarter as many of those to come are taken. So all times of a window weigh alike, and a window of n costs
384 + 144 log2(n / 384) rows. Parts of several partitions are brought to the coarsest of their strides, and added.

Cost of a row taken: 0.04 us for 8 columns, 0.06 for 20, 0.28 for 64, 2.4 for 512; of an event in windows of 10,000: 0.004, 0.007, 0.03 and
0.27 us (one core with AVX-512, the lowest of thirty runs).

**Reference.** Means and covariance of the features over all its rows, with which they are whitened once more; how far the mean moves from
hour to hour (one number, for all directions); and 256 of its rows as features, from which the judge knows their law along any direction.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from detectors.drift.cells import Kind
from detectors.drift.lanes import LANES
from detectors.drift.waves import CLIP, FREQUENCY, MOST, along, products_of, take_rows
from detectors.groups import GROUPS

FEATURES = 64
MOST_COLUMNS = 1_024
WAVES_TO = 32
"""Columns up to which the features are products of waves."""
PRODUCTS = 512
SAMPLE, SAMPLE_UNIT = 256, 15.0
FLOOR, COLUMN_FLOOR = 0.02, 1e-3
"""Of the mean variance of features, and of columns: directions with less are left out."""
_SEED, _CHUNK, _MIN_ROWS = 2_026, 8_192, 1_000

Floats = NDArray[np.float64]


class KeptFeatures(NamedTuple):
    """What a reference keeps of its random features."""

    columns: NDArray[np.int32]
    """Numeric features that take part, shape (m,)."""
    directions: NDArray[np.float32]
    """Shape (m, M), or (m, 0) for products of waves."""
    waves: NDArray[np.float32]
    """Mean and 1 / sd of the odd and the even wave of each column, shape (2 m, 2); (0, 2) for directions."""
    products: NDArray[np.int16]
    """The waves of each, the third -1 for none, and the sum it goes to with its sign (k or -1 - k), shape (Q, 4); (0, 4) for directions."""
    scale: NDArray[np.float32]
    """What each sum is multiplied with, shape (M,)."""
    mean: Floats
    """Of the features, shape (M,)."""
    whiten: NDArray[np.float32]
    """What makes their covariance the identity, shape (M, M); (0, 0) for directions, which have that already."""
    sample: NDArray[np.int8]
    """Of rows in 1 / 15, shape (R, M)."""
    wander: float
    """How far the whitened mean is from the whole's in an hour, sampling taken out."""
    rows: int
    """Of the reference."""


def _by_sum(products: NDArray[np.int16], columns: int, sums: int) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Where the three waves of each product are in a table of 32 a wave, sum after sum, and the first product of each sum.

    The waves are odd and even of each column, 1, and the odd and the even ones negative, so that a product that is taken away is added.
    """
    to = products[:, 3].astype(np.int64)
    of = np.where(to >= 0, to, -1 - to)
    order = np.argsort(of, kind="stable")
    waves = products[order, :3].astype(np.int32)
    waves[waves[:, 2] < 0, 2] = 2 * columns
    waves[to[order] < 0, 0] += 2 * columns + 1
    return (waves * LANES).ravel(), np.concatenate([[0], np.cumsum(np.bincount(of, minlength=sums))]).astype(np.int64)


class Features:
    """The random features of a reference, ready to be counted and judged.

    Args:
        kept: what the reference keeps.
        mean: of all variables, shape (V,).
        sd: the same.
        n_features: of the model.

    Raises:
        ValueError: tables that do not fit each other.
    """

    def __init__(self, kept: KeptFeatures, mean: Floats, sd: Floats, n_features: int) -> None:
        self.kept = kept = kept._replace(sample=np.asfortranarray(kept.sample))  # as the judge reads it
        m, M, Q = kept.columns.size, kept.scale.size, len(kept.products)
        linear = kept.directions.size > 0
        W = 0 if linear else M
        wanted = (m, M - W), (0 if linear else 2 * m, 2), (0 if linear else Q, 4), (M,), (W, W), (M,)
        parts = kept.directions, kept.waves, kept.products, kept.mean, kept.whiten, kept.sample[0]
        shapes = tuple(part.shape for part in parts)
        if shapes != wanted or not (0 < M <= FEATURES and 1 < m <= MOST_COLUMNS and Q <= PRODUCTS) or not 0 < len(kept.sample) <= SAMPLE:
            raise ValueError(f"random features of shapes {shapes}")
        if kept.columns.min() < 0 or kept.columns.max() >= n_features or kept.rows < 1:
            raise ValueError("random features of columns that there are not, or of no rows")
        if Q and not (
            kept.products[:, :2].min() >= 0
            and kept.products[:, 2].min() >= -1
            and kept.products[:, :3].max() < 2 * m
            and kept.products[:, 3].min() >= -M
            and kept.products[:, 3].max() < M
        ):
            raise ValueError("products of waves that there are not")
        finite = (*parts[:2], kept.scale, kept.mean, kept.whiten)
        if not all(np.isfinite(part).all() for part in finite) or not 0 <= kept.wander < np.inf:
            raise ValueError("random features that are not finite")
        center, per_sd = mean[kept.columns].astype(np.float32), (1.0 / sd[kept.columns]).astype(np.float32)
        self._law = kept.columns, center, per_sd, kept.directions, kept.waves, *_by_sum(kept.products, m, M), kept.scale

    def __len__(self) -> int:
        return self.kept.scale.size

    def of(self, X: NDArray[np.float32], rows: NDArray[np.int64] | None = None) -> NDArray[np.float32]:
        """Features of some rows, all by default, shape (n, M)."""
        rows = np.arange(len(X)) if rows is None else rows
        X, out = np.ascontiguousarray(X), np.empty((len(rows), len(self)), np.float32)
        columns, center, per_sd, directions, waves, products, starts, scale = self._law
        if directions.size:
            along(X, rows, columns, center, per_sd, directions, scale, out)
        else:
            products_of(X, rows, columns, center, per_sd, waves, products, starts, scale, out)
        return out

    def take(self, X: NDArray[np.float32], hashes: NDArray[np.uint64], seen: int, sums: FeatureSums) -> None:
        """Add the rows of a batch whose turn it is.

        Args:
            X: shape (n, d), contiguous.
            hashes: of the clients, shape (n,).
            seen: rows of the window before these.
            sums: to which they are added.
        """
        sums.stride, sums.taken = take_rows(X, hashes, seen, sums.stride, sums.taken, sums.sizes, sums.sums, *self._law)

    def columns_of(self, weights: Floats) -> Floats:
        """How much each column has to do with a weighted sum of the features, shape (m,); `weights` of shape (M,)."""
        kept = self.kept
        if kept.directions.size:
            return np.abs(kept.directions @ weights)
        out = np.zeros(kept.columns.size)
        to = kept.products[:, 3].astype(np.int64)
        share = (weights * kept.scale)[np.where(to >= 0, to, -1 - to)] ** 2
        for wave in range(3):
            used = kept.products[:, wave] >= 0
            np.add.at(out, kept.products[used, wave] // 2, share[used])
        return out


class FeatureSums:
    """Sums of random features over a part of a window's rows.

    Attributes:
        stride: of how many rows one is taken, a power of two.
        taken: what the rows taken count.
        sizes: the same per client group, shape (16,).
        sums: of the features, shape (16, M).
    """

    def __init__(self, features: int) -> None:
        self.stride, self.taken, self.sizes, self.sums = 1, 0.0, np.zeros(GROUPS), np.zeros((GROUPS, features))

    def merge(self, other: FeatureSums) -> None:
        """Add another part of the window, both as if taken with the coarser of their strides."""
        stride = max(self.stride, other.stride)
        a, b = self.stride / stride, other.stride / stride
        self.sizes = a * self.sizes + b * other.sizes
        self.sums = a * self.sums + b * other.sums
        self.taken, self.stride = a * self.taken + b * other.taken, stride

    def clear(self) -> None:
        """Start the next window."""
        self.stride, self.taken = 1, 0.0
        self.sizes[:], self.sums[:] = 0.0, 0.0

    def to_state(self) -> dict[str, Any]:
        """What `load` needs, for `detectors.state.pack`."""
        return {"stride": self.stride, "sizes": self.sizes.copy(), "sums": self.sums.copy()}

    def load(self, state: dict[str, Any]) -> None:
        """Read what was written.

        Raises:
            ValueError: when it is damaged, or of other features.
        """
        stride, sizes, sums = state["stride"], np.asarray(state["sizes"], np.float64), np.asarray(state["sums"], np.float64)
        if sizes.shape != self.sizes.shape or sums.shape != self.sums.shape:
            raise ValueError(f"sums of {sums.shape} random features, the reference has {self.sums.shape}")
        if not (type(stride) is int and 1 <= stride < 2**40 and stride & (stride - 1) == 0):
            raise ValueError(f"a stride of {stride}")
        most = MOST * sizes[:, None]
        if not (np.isfinite(sizes).all() and sizes.min() >= 0 and np.isfinite(sums).all() and (np.abs(sums) <= most + 1e-3).all()):
            raise ValueError("sums of random features that no rows have")
        self.stride, self.sizes, self.sums, self.taken = stride, sizes, sums, float(sizes.sum())


def fit(
    X: NDArray[np.float32], kinds: tuple[Kind, ...], mean: Floats, sd: Floats, block: NDArray[np.int64], blocks: int
) -> KeptFeatures | None:
    """Choose features, and learn what is normal of them; None for fewer than two numeric columns that vary, or fewer than 1,000 rows.

    Args:
        X: shape (n, d).
        kinds: of the d columns.
        mean: of the columns, shape (d,).
        sd: the same.
        block: equal stretch of time of each row, shape (n,).
        blocks: number of stretches.

    Cost: n m (m + 64) multiplications: 0.1 s for 100,000 rows of 20 columns, 3 s of 512.
    """
    columns = np.array([j for j, kind in enumerate(kinds) if kind == "numeric"], np.int32)
    if len(X) < _MIN_ROWS or columns.size < 2:
        return None
    center, scale_of = mean[columns].astype(np.float32), (1.0 / sd[columns]).astype(np.float32)
    spread = _moments(X, columns, center, scale_of)
    varies = np.diag(spread) > 0.05
    if varies.sum() > MOST_COLUMNS:
        some = np.flatnonzero(varies)
        varies[np.setdiff1d(some, some[np.linspace(0, some.size - 1, MOST_COLUMNS).astype(np.intp)])] = False
    columns, spread = columns[varies], spread[np.ix_(varies, varies)]
    if columns.size < 2:
        return None
    rng = np.random.default_rng(_SEED)
    m = columns.size
    directions, waves = np.empty((m, 0), np.float32), np.empty((0, 2), np.float32)
    products = np.empty((0, 4), np.int16)
    if m <= WAVES_TO:
        products, scale = _products(m, rng)
        waves = _waves(X, columns, center[varies], scale_of[varies])
    else:
        directions = _directions(spread, rng)
        scale = np.ones(directions.shape[1], np.float32)
    M = scale.size
    whiten, sample = np.eye(0 if directions.size else M, dtype=np.float32), np.zeros((1, M), np.int8)
    blank = KeptFeatures(columns, directions, waves, products, scale, np.zeros(M), whiten, sample, 0.0, len(X))
    features = Features(blank, mean, sd, len(kinds))
    total, squares = np.zeros(M), np.zeros((M, M))
    by_block, sizes = np.zeros((blocks, M)), np.bincount(block, minlength=blocks).astype(np.float64)
    for begin in range(0, len(X), _CHUNK):
        y = features.of(X[begin : begin + _CHUNK]).astype(np.float64)
        total += y.sum(axis=0)
        squares += y.T @ y
        np.add.at(by_block, block[begin : begin + _CHUNK], y)
    of = total / len(X)
    busy = sizes > 0
    moved, live = by_block[busy] / sizes[busy, None] - of, M
    if not directions.size:
        value, vector = np.linalg.eigh(squares / len(X) - np.outer(of, of))
        keep = value > FLOOR * value.mean()
        live = int(keep.sum())
        whiten = np.ascontiguousarray((vector * np.where(keep, 1.0 / np.sqrt(np.where(keep, value, 1.0)), 0.0)).T, np.float32)
        moved = moved @ whiten.T
    if not live:
        return None
    chosen = np.sort(rng.choice(len(X), min(SAMPLE, len(X)), replace=False))
    sample = np.rint(features.of(X, chosen) * SAMPLE_UNIT).astype(np.int8)
    wander = _wander(np.linalg.norm(moved, axis=1), sizes[busy], live)
    return blank._replace(mean=of, whiten=whiten, sample=sample, wander=wander)


def _chunks(
    X: NDArray[np.float32], columns: NDArray[np.int32], center: NDArray[np.float32], per_sd: NDArray[np.float32]
) -> Iterator[NDArray[np.float32]]:
    """The columns in sd, clipped, 0 where missing, some thousand rows at a time."""
    for begin in range(0, len(X), _CHUNK):
        u = np.clip((X[begin : begin + _CHUNK][:, columns] - center) * per_sd, -CLIP, CLIP)
        u[np.isnan(u)] = 0.0
        yield u


def _moments(X: NDArray[np.float32], columns: NDArray[np.int32], center: NDArray[np.float32], scale: NDArray[np.float32]) -> Floats:
    """Covariance of the clipped values in sd, shape (m, m)."""
    total, first = np.zeros((columns.size, columns.size)), np.zeros(columns.size)
    for u in _chunks(X, columns, center, scale):
        total += u.T @ u
        first += u.sum(axis=0, dtype=np.float64)
    return np.asarray(total / len(X) - np.outer(first, first) / len(X) ** 2, np.float64)


def _waves(
    X: NDArray[np.float32], columns: NDArray[np.int32], center: NDArray[np.float32], per_sd: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Mean and 1 / sd of the odd and the even wave of each column; 0 for one that does not vary."""
    total, squares = np.zeros((2, 2 * columns.size))
    for u in _chunks(X, columns, center, per_sd):
        turns = np.repeat(u * np.float32(FREQUENCY / (2 * np.pi)), 2, axis=1)
        turns[:, 1::2] += np.float32(0.25)
        turns -= np.floor(turns + np.float32(0.5))
        wave = 8.0 * turns * (1.0 - 2.0 * np.abs(turns))
        total += wave.sum(axis=0, dtype=np.float64)
        squares += (wave.astype(np.float64) ** 2).sum(axis=0)
    of = total / len(X)
    variance = squares / len(X) - of**2
    return np.column_stack([of, np.where(variance > 1e-2, 1.0 / np.sqrt(np.maximum(variance, 1e-2)), 0.0)]).astype(np.float32)


def _products(m: int, rng: np.random.Generator) -> tuple[NDArray[np.int16], NDArray[np.float32]]:
    """Products of waves with the sum each goes to, and what the sums are multiplied with."""
    threes = [(2 * i, 2 * j, 2 * k) for i, j, k in combinations(range(m), 3)]
    twos = [(2 * i + a, 2 * j + b, -1) for i, j in combinations(range(m), 2) for a, b in ((1, 1), (0, 1), (1, 0))]
    parts = [np.array(part, np.int16).reshape(-1, 3)[rng.permutation(len(part))] for part in (threes, twos)]
    room = max(PRODUCTS // 2, PRODUCTS - len(twos)), max(PRODUCTS // 2, PRODUCTS - len(threes))
    waves = np.concatenate([part[:most] for part, most in zip(parts, room, strict=True)])
    waves = waves[rng.permutation(len(waves))]
    M = min(FEATURES, len(waves))
    to = np.arange(len(waves)) % M
    signed = np.where(rng.random(len(waves)) < 0.5, to, -1 - to).astype(np.int16)
    return np.column_stack([waves, signed]).astype(np.int16), (1.0 / np.sqrt(np.bincount(to, minlength=M))).astype(np.float32)


def _directions(spread: Floats, rng: np.random.Generator) -> NDArray[np.float32]:
    value, vector = np.linalg.eigh(spread)
    keep = value > COLUMN_FLOOR * value.mean()
    M = min(FEATURES, int(keep.sum()))
    turned, _ = np.linalg.qr(rng.normal(size=(int(keep.sum()), M)))
    return np.asarray((vector[:, keep] / np.sqrt(value[keep])) @ turned, np.float32)


def _wander(moved: Floats, sizes: Floats, dimensions: int) -> float:
    """Twice the root mean square, or the largest as far as it is no sampling, of what the mean moves between blocks."""
    if sizes.size < 2:
        return 0.0
    noise = dimensions / sizes
    beyond = max(float((sizes * (moved**2 - (1.0 - 1.0 / sizes.size) * noise)).sum() / sizes.sum()), 0.0)
    largest = float((moved**2 * beyond / (beyond + noise)).max()) if beyond else 0.0
    return float(np.sqrt(max(4.0 * beyond, largest)))
