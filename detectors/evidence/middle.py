"""E8's second limit: rows nearer to the middle than ordinary ones, in every direction by about the same: averages of two rows, mixup.

An average ``w a + (1 - w) b`` of two ordinary rows keeps their mean and, for w from .2 to .8, .56 of their scatter, in *every* direction:
of each column, of their sums, and of what one column leaves of another. Each sampled value is taken for the normal score of its rank in
the reference (so that one heavy tail does not hide the rest), and the row's distance from the middle is

    D^2 = (v - m)' Omega (v - m) = |y|^2,

Omega the inverse of the shrunk covariance of the scores, y their whitened deviation. The reference's own rows (each judged by the other
folds) and averages made of them tell how often a row lies between two of eleven quantiles of ``D^2``; a row's factor is the likelihood
ratio of averages over the law by which .26 of the rows are within the 25 % quantile (`set_factors`). On six services that gains .27 to .86
nats a row of mixup, where that quantile alone gave .25 to .61.

A client of one segment may lie near the middle, too, and so do defaults, gaps, sensors and calm customers. So before it speaks the
remembered rows, without what a default has filled, must lie around the reference's middle, in no order, with .2 to .85 of the scatter
(`confirms`), and be no calm part of it (`detectors.evidence.calm`; of pictures `detectors.evidence.averaged`).

Blind to: averages of neighbours, averages sent in an order, tables of two- and three-valued columns, cover traffic between the averages.
It misleads where a client sends averages by trade.
Source: Zhang et al., "mixup", ICLR 2018, for the rows; the test is ours.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy.special import ndtri

from detectors.evidence import constants as c
from detectors.evidence.compiled import FINGERPRINT, STALE
from detectors.evidence.residual import Floats, ledoit_wolf
from detectors.evidence.sampled import Sampled, sendable, shares_of
from detectors.evidence.second_look import Look, complete, filled
from detectors.lean import allocating

Bytes = NDArray[np.uint8]
_NOMINAL = c.SMOOTH_QUANTILES[1]
WITHIN = c.MIDDLE_QUANTILES.index(_NOMINAL)
"""A row with no more limits below it than this is within the 25 % quantile."""


class Middle(NamedTuple):
    """Where the reference's middle is, and how ordinary rows lie around it; F sampled columns."""

    score: NDArray[np.float32]  # (F, 256) normal score of each code, less its mean
    white: NDArray[np.float32]  # (F, F) y = score @ white, of unit variance
    limits: NDArray[np.float64]  # (11,) quantiles `MIDDLE_QUANTILES` of the reference's D^2
    ordinary: NDArray[np.float64]  # (12,) share of the reference's rows between them
    excess: NDArray[np.float64]  # (12,) log of the share of averages over that


def fit_middle(code: Bytes, averaged: Bytes, rng: np.random.Generator) -> Middle:
    """From the reference's rows as a client's memory would hold them.

    Args:
        code: (n, F) sampled values in code steps.
        averaged: (m, F) of averages of two of them.
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
    limits: Floats = np.quantile(square, c.MIDDLE_QUANTILES)
    mean, white = _whitened(v)
    ordinary = _shares(square, limits)
    middle = Middle((score - mean[:, None]).astype(np.float32), white.astype(np.float32), limits, ordinary, np.zeros_like(ordinary))
    return middle._replace(excess=np.log(_shares(squares(averaged, middle), limits) / ordinary))


def averages(
    rows: Floats, columns: Sampled, k: int, rng: np.random.Generator, weights: tuple[float, float] = (0.2, 0.8)
) -> Floats:  # fmt: skip
    """Averages (k, F) of two of the rows (n, F) in raw units, as a caller sends them; the first one's weight between two."""
    weight = rng.uniform(*weights, (k, 1))
    one, other = rows[rng.integers(0, len(rows), (2, k))]
    return sendable(weight * one + (1 - weight) * other, rows, columns, rng)


def squares(code: Bytes, middle: Middle) -> Floats:
    """D^2 (n,) of codes (n, F)."""
    v = middle.score[np.arange(code.shape[1]), code].astype(np.float64)
    y = np.dot(v, middle.white.astype(np.float64))
    out: Floats = np.einsum("nf,nf->n", y, y)
    return out


def _shares(square: Floats, limits: Floats) -> Floats:
    """Share of the rows' D^2 (n,) between the limits, half a row added to each."""
    own = np.bincount(np.searchsorted(limits, square, side="right"), minlength=len(limits) + 1).astype(np.float64) + 0.5
    return np.asarray(own / own.sum(), np.float64)


@njit
def set_factors(out: Any, middle: Middle, rate: float) -> None:
    """The factors (12, 3) of a row between two limits, for each of `MIDDLE_WAYS`.

    On the way t from ordinary rows to averages the law is ``p_t = p exp(t excess)`` over its sum; tolerated is that by which so many rows
    are within the 25 % quantile. Each factor is the likelihood ratio of one further on over it; all are 0 where averages do no more.
    """
    low, high = 0.0, 1.0
    for _ in range(30):
        way = (low + high) / 2
        below = total = 0.0
        for k in range(len(middle.ordinary)):
            p = middle.ordinary[k] * np.exp(way * middle.excess[k])
            total += p
            below += p if k <= WITHIN else 0.0
        low, high = (way, high) if below < rate * total else (low, way)
    for a, way in enumerate(c.MIDDLE_WAYS):
        further = way * (1 - low)
        tolerated = total = 0.0
        for k in range(len(middle.ordinary)):
            p = middle.ordinary[k] * np.exp(low * middle.excess[k])
            tolerated += p
            total += p * np.exp(further * middle.excess[k])
        for k in range(len(middle.ordinary)):
            out[k, a] = np.exp(further * middle.excess[k]) * tolerated / total if low < c.MIDDLE_FAR else 0.0


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


@njit(cache=True, fastmath={"contract", "nsz"})
def from_middle(code: Any, middle: Middle, away: Any, fingerprint: int) -> int:
    """How many of the limits rows of codes (n, F) are at or beyond, away (n,) uint8."""
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
        beyond = 0
        for limit in middle.limits:
            beyond += total >= limit
        away[i] = beyond
    return len(code)


@allocating
def confirms(memory: Any, held: int, look: Look, middle: Middle, quiet: bool) -> bool:
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
    if together / judged - np.dot(mean, mean) > c.MIDDLE_ORDER * variance.sum():
        return False
    scatter, left = variance.mean(), known / (judged * fields)
    apart = np.dot(mean, mean) / fields - scatter / judged
    if quiet:
        return bool(apart <= c.MIDDLE_QUIET and scatter >= c.MIDDLE_SCATTER[0] * left)
    return bool(apart <= c.MIDDLE_APART and c.MIDDLE_SCATTER[0] * left <= scatter <= c.MIDDLE_SCATTER[1] * left)
