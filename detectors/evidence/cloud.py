"""E11: rows that lie nearer to the middle than ordinary ones, in every direction by about the same (averages of two rows, mixup).

An average ``w a + (1 - w) b`` of two ordinary rows has their mean and, for w from .2 to .8, .56 of their scatter, in *every* direction:
of each column, of their sums, and of what one column leaves of another. A client of one region, segment or season lies elsewhere, or keeps
the scatter of some directions; filled gaps make the narrow directions wider; a camera or sensor keeps to a place. So 16 distinct rows in
a row are one trial: in the K whitened directions of the reference's positions (those of 2 % of the largest variance or more), with v_k
their variance and m_k their mean, they hit if

    .35 v < mean_k v_k < .8 v,   max_k v_k < l,   min_k v_k > .3 s,   sqrt(mean_k m_k^2) < m,

where v is the median of ``mean_k v_k``, l and s the 2 % quantiles of the largest and the smallest v_k, and m the 99.5 % quantile of the
shift, of 1,000 blocks of 16 reference rows. The tolerated rate is that of reference blocks of one cluster or of all, at least .12.

Measured on 21 simulated services: 1,667 ordinary clients hit in .007 of their blocks in the mean, none with 10 blocks or more in more than
.17; mixup in .7 to .9 on three services, .4 on two, .2 on whole numbers.
Blind to: fewer than three directions, pictures (E8 sees them there), averages of many rows or of neighbours, cover traffic between them.
It is not asked while everybody's rows have less scatter than the reference's (`population`).
Source: Zhang et al., "mixup", ICLR 2018, for the rows; the test is ours.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from detectors.evidence import constants as c
from detectors.evidence.residual import Floats, ledoit_wolf


class Cloud(NamedTuple):
    """What the reference gives for it; K whitened directions, 0 where the statistic is off, of P positions."""

    map: NDArray[np.float32]  # (K, P)
    offset: NDArray[np.float32]  # (K,)
    limits: NDArray[np.float32]  # (5,) mean variance from and to, largest, smallest, shift
    rate: float  # tolerated share of blocks


NO_CLOUD = Cloud(np.zeros((0, 0), np.float32), np.zeros(0, np.float32), np.zeros(5, np.float32), 1.0)


def fit_cloud(position: Floats, cluster: NDArray[np.int64], rng: np.random.Generator) -> Cloud:
    """From the positions of the reference's rows.

    Args:
        position: (n, P), as the streaming kernel has them.
        cluster: (n,) parts of the reference, each taken for a client's population.
        rng: draws the blocks.
    """
    mean, covariance = ledoit_wolf(position)
    values, vectors = np.linalg.eigh(covariance)
    kept = values > c.CLOUD_DIRECTION * values[-1]
    if kept.sum() < c.CLOUD_DIRECTIONS:
        return NO_CLOUD
    white = vectors[:, kept] / np.sqrt(values[kept])
    y = (position - mean) @ white
    spread, shift = _blocks(y, rng)
    usual = np.median(spread.mean(1))
    largest, smallest = np.quantile(spread.max(1), c.CLOUD_EXTREME), np.quantile(spread.min(1), c.CLOUD_EXTREME)
    least, most = c.CLOUD_SHRUNK
    limits = np.array([least * usual, most * usual, largest, c.CLOUD_NARROW * smallest, np.quantile(shift, c.CLOUD_SHIFT)])
    shares = [_hits(spread, shift, limits)]
    shares += [_hits(*_blocks(y[cluster == k], rng), limits) for k in np.unique(cluster) if (cluster == k).sum() >= c.RING]
    rate = min(max(c.CLOUD_FLOOR, c.CLOUD_MARGIN * max(shares)), c.CLOUD_CAP)
    return Cloud(np.ascontiguousarray(white.T, np.float32), (-mean @ white).astype(np.float32), limits.astype(np.float32), float(rate))


def _blocks(y: Floats, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Variances (1000, K) of blocks, and their shifts (1000,)."""
    block = y[rng.integers(0, len(y), (1_000, c.RING))]
    return block.var(1), np.sqrt((block.mean(1) ** 2).mean(1))


def _hits(spread: Floats, shift: Floats, limits: Floats) -> float:
    mean = spread.mean(1)
    inside = (mean > limits[0]) & (mean < limits[1]) & (spread.max(1) < limits[2]) & (spread.min(1) > limits[3]) & (shift < limits[4])
    return float(inside.mean())


@njit(inline="always")
def cloud(real: Any, ring: int, white: Any, offset: Any, limits: Any, values: Any) -> bool:
    """Whether the ring's 16 rows hit; ``values`` (16,) float32 is overwritten."""
    directions, positions = white.shape
    total, squared_shift = np.float32(0), np.float32(0)
    largest, smallest = np.float32(0), np.float32(np.inf)
    for t in range(directions):
        for k in range(c.RING):
            values[k] = offset[t]
        for f in range(positions):
            w = white[t, f]
            row = real[ring + f * c.RING : ring + (f + 1) * c.RING]
            for k in range(c.RING):
                values[k] += w * row[k]
        mean, square = np.float32(0), np.float32(0)
        for k in range(c.RING):
            mean += values[k]
        mean /= np.float32(c.RING)
        for k in range(c.RING):
            square += (values[k] - mean) * (values[k] - mean)
        variance = square / np.float32(c.RING)
        total += variance
        squared_shift += mean * mean
        largest, smallest = max(largest, variance), min(smallest, variance)
    spread, shift = total / np.float32(directions), np.sqrt(squared_shift / np.float32(directions))
    return bool(limits[0] < spread < limits[1] and largest < limits[2] and smallest > limits[3] and shift < limits[4])
