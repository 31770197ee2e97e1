"""E8's second limit: rows nearer to the middle than ordinary ones, in every direction by about the same: averages of two rows, mixup.

An average ``w a + (1 - w) b`` of two ordinary rows keeps their mean and, for w from .2 to .8, .56 of their scatter, in *every* direction:
of each column, of their sums, and of what one column leaves of another. Each sampled value is taken for the normal score of its rank in
the reference (so that one heavy tail does not hide the rest), and the row's distance from the middle is

    D^2 = (v - m)' Omega (v - m) = |y|^2,

Omega the inverse of the shrunk covariance of the scores, y their whitened deviation. A hit is ``D^2`` below the 25 % quantile of the
reference's own rows, each judged by the other folds. On twenty services .4 to .8 of averages hit where columns have many values (.3 where
they have two or three), of ordinary clients from everywhere .15 to .3 (.42 of 48 rows), of fields filled with the middle .3 to .5.

A client of one segment may lie near the middle, too; but it is off it in one direction, and keeps the scatter of others. So before it
speaks the remembered rows, without what a default has filled, must lie around the reference's middle, in no order, and with less scatter
than its rows have in nearly every direction (`confirms`); and the tolerated rate is that of the parts of the reference of which nearly the
same is true, at least .32.

Blind to: averages of neighbours, averages sent in an order, tables of two- and three-valued columns, cover traffic between the averages.
It misleads where a client sends averages by trade, or only rows that were chosen for being typical in every column.
Source: Zhang et al., "mixup", ICLR 2018, for the rows; the test is ours.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy.special import ndtri

from detectors.evidence import constants as c
from detectors.evidence.calibrate import share_of_part
from detectors.evidence.compiled import FINGERPRINT, STALE
from detectors.evidence.residual import Floats, ledoit_wolf
from detectors.evidence.sampled import parts, shares_of
from detectors.evidence.second_look import Look, complete, filled
from detectors.lean import allocating

Bytes = NDArray[np.uint8]
_NOMINAL = c.SMOOTH_QUANTILES[1]


class Middle(NamedTuple):
    """Where the reference's middle is, and how ordinary rows lie around it; F sampled columns."""

    score: NDArray[np.float32]  # (F, 256) normal score of each code, less its mean
    white: NDArray[np.float32]  # (F, F) y = score @ white, of unit variance
    limit: float  # a quarter of the reference's rows have less D^2
    rate: float  # tolerated share of rows below it


def fit_middle(code: Bytes, clusterings: list[NDArray[np.int64]], image: bool, rng: np.random.Generator) -> Middle:
    """From the reference's rows as a client's memory would hold them.

    Args:
        code: (n, F) sampled values in code steps.
        clusterings: (n,) each, which cluster a row belongs to.
        image: dimmed pictures lie nearer to the middle, too: off.
        rng: draws the folds.
    """
    n, fields = code.shape
    fold, every = rng.integers(0, 5, n), np.arange(fields)
    score = _scores(code)
    v, square = score[every, code], np.zeros(n)
    for k in range(5):
        out = fold == k
        if out.any() and (~out).any():
            mean, white = _whitened(v[~out])
            square[out] = (((v[out] - mean) @ white) ** 2).sum(1)
    limit = float(np.quantile(square, _NOMINAL))
    mean, white = _whitened(v)

    least = max(c.INDEPENDENT_PART_ROWS, c.INDEPENDENT_PART * n)
    found = [_NOMINAL]
    for part in parts(code, clusterings):
        if least <= part.sum() <= n / 2:
            y = (v[part] - mean) @ white
            if _is_shrunk(y.mean(0), y.var(0), len(y), 1.0, c.MIDDLE_NEARLY):
                found.append(share_of_part((y**2).sum(1) < limit, _NOMINAL))
    rate = float(np.clip(c.MIDDLE_MARGIN * max(found), c.MIDDLE_FLOOR, c.MIDDLE_CAP))
    return Middle((score - mean[:, None]).astype(np.float32), white.astype(np.float32), limit, 1.0 if image else rate)


def _scores(code: Bytes) -> Floats:
    """Normal scores (F, 256) of codes (n, F): of the middle of a code's ranks; of one that does not occur, between its neighbours'."""
    share = shares_of(code).astype(np.float64)
    score: Floats = ndtri(share.cumsum(1) - share / 2)
    for f in range(len(share)):
        met = np.flatnonzero(share[f])
        score[f] = np.interp(np.arange(256), met, score[f, met])
    return score


def _whitened(v: Floats) -> tuple[Floats, Floats]:
    """Mean (F,) and the matrix (F, F) that whitens deviations from it."""
    mean, covariance = ledoit_wolf(v)
    values, vectors = np.linalg.eigh(covariance)
    return mean, vectors / np.sqrt(np.maximum(values, 1e-6))


@njit
def _is_shrunk(mean: Any, variance: Any, n: int, left: float, limits: Any) -> bool:
    """Whether n rows with this mean and variance (F,) of y lie around the middle, and have less scatter in nearly every direction.

    Args:
        mean: squared, over the directions, it is how far from the middle they lie, with what n rows do by chance.
        variance: 1 in every direction for the reference.
        n: rows.
        left: share of the fields that were judged; the others add no scatter.
        limits: of apart; of the mean variance, from and to; a direction is no narrower above; share of such directions; how much the
            variances scatter, over their mean.
    """
    apart = scatter = square = wide = 0.0
    for f in range(len(mean)):
        apart += mean[f] ** 2 / len(mean)
        scatter += variance[f] / len(mean)
        square += variance[f] ** 2 / len(mean)
        wide += (variance[f] > limits[3]) / len(mean)
    apart -= scatter / n
    even = square - scatter**2 <= (limits[5] * scatter) ** 2
    return bool(even and apart <= limits[0] and limits[1] * left <= scatter <= limits[2] * left and wide <= limits[4])


@njit(cache=True, fastmath={"contract", "nsz"})
def near_middle(code: Any, middle: Middle, inside: Any, fingerprint: int) -> int:
    """Which rows (n,) uint8 of codes (n, F) are nearer to the middle than the limit."""
    if fingerprint != FINGERPRINT:
        return STALE
    fields = code.shape[1]
    y = np.empty(fields, np.float32)
    for i in range(len(code)):
        y[:] = 0
        for t in range(fields):
            v = middle.score[t, code[i, t]]
            for f in range(fields):
                y[f] += v * middle.white[t, f]
        total = np.float32(0)
        for f in range(fields):
            total += y[f] * y[f]
        inside[i] = total < middle.limit
    return len(code)


@allocating
def confirms(memory: Any, held: int, look: Look, middle: Middle, limits: Any) -> bool:
    """Whether the remembered rows (field-major, `MEMORY` a field) lie around the middle, with as little scatter as the limits say.

    Fields that a default has filled are set to what the others suggest, and the scatter is counted for as many directions as are left. Rows
    in an order, each near the one before, pass through the middle and are no averages.
    """
    fields = len(look.step)
    z, kept = np.empty((held, fields)), np.ones((held, fields), np.bool_)
    filled(memory, held, look, z, kept)
    white = middle.white.astype(np.float64)
    precision, centre = white @ white.T, np.zeros(fields)
    own, v, r = np.empty(fields), np.empty(fields), np.empty(fields)
    y, last = np.zeros(fields), np.zeros(fields)
    mean, square, together = np.zeros(fields), np.zeros(fields), 0.0
    judged, known = 0, 0
    for i in range(held):
        if 2 * kept[i].sum() < fields:
            continue
        for f in range(fields):
            own[f] = middle.score[f, memory[f * c.MEMORY + i]]
        complete(own, kept[i], centre, precision, v, r)
        last[:] = y
        y[:] = v @ white
        mean += y
        square += y * y
        together += np.dot(y, last)
        judged += 1
        known += kept[i].sum()
    if judged < c.SMOOTH_MIN_ROWS:
        return False
    mean /= judged
    variance = square / judged - mean**2
    in_order = together / judged - np.dot(mean, mean) > c.MIDDLE_ORDER * variance.sum()
    return bool(not in_order and _is_shrunk(mean, variance, judged, known / (judged * fields), limits))
