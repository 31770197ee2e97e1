"""Before E8 speaks: are the remembered rows averages of ordinary rows, or a calm part of them?

Averages lie nearer to the middle than ordinary rows do; so do the rows of a client who has none of the unusual ones: whose outliers are
cut, whose customers are the typical ones, or all of a kind. Scatter and distance from the middle do not tell the two apart. But an average
of two keeps what selecting rows does not: the long tails (of two heavy ones, a heavy one), the same scatter in every direction, no value
that comes more often than before. How much of it shows depends on the table, so it is learnt from the reference: windows of 64 and of 96
rows, of its averages (weights .2 to .8, one half, any; from all rows or a pool of 30 or 60) and of its calm parts (`_calm`), twelve numbers
of each (`describe`), and a logistic regression. The limit lies above every calm window that the yardsticks of `middle.confirms` let
through; where these go as far as averages do, E8 is silent.

It misleads where all columns are drawn towards their middles by one factor (regularised or averaged by trade), which is what averages do.
Blind to averages behind cover traffic. A gate, not evidence; runs at a crossing only, 30 us.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from detectors.evidence import constants as c
from detectors.evidence import recent
from detectors.evidence.middle import Middle, averages, squares
from detectors.evidence.residual import Floats
from detectors.evidence.sampled import Sampled
from detectors.evidence.second_look import Look, decoded
from detectors.lean import allocating

NUMBERS = 12
_ROWS = np.array(c.CALM_ROWS, np.float64)
_OF_EACH, _EXTREME, _TIED = 5, 10, 11  # numbers of scores and of values; places of the last two


class Calm(NamedTuple):
    """What tells averages from calm rows; F sampled columns."""

    white: NDArray[np.float64]  # (F, F) that whitens standardised values
    weight: NDArray[np.float64]  # (12,) of the numbers
    limit: NDArray[np.float64]  # (2,) averages are above it; of `CALM_ROWS` rows


def no_calm(fields: int) -> Calm:
    """Of pictures, where other yardsticks hold (`detectors.evidence.averaged`)."""
    return Calm(np.eye(fields), np.zeros(NUMBERS), np.zeros(len(c.CALM_ROWS)))


def fit_calm(rows: Floats, z: Floats, columns: Sampled, middle: Middle, look: Look, rng: np.random.Generator) -> Calm:
    """From the reference's rows (n, F), sampled columns in raw units; .1 s.

    Args:
        rows: of the reference.
        z: (n, d) the same rows, all columns, standardised: which are near each other.
        columns: what is known of them.
        middle: where ordinary rows lie.
        look: their standardised values.
        rng: draws the windows.
    """
    white = np.asarray(np.linalg.cholesky(look.precision), np.float64)

    def numbers(window: Floats) -> Floats:
        memory = np.zeros((window.shape[1], c.MEMORY), np.uint8)
        memory[:, : len(window)] = columns.coded(window).T
        out = np.empty(NUMBERS)
        describe(memory.ravel(), len(window), look, middle, white, out)
        return out

    made = [np.array([numbers(window) for window in _averages(rows, columns, held, rng)]) for held in c.CALM_ROWS]
    met = [np.array([numbers(window) for window in _calm(rows, z, columns, middle, held, rng)]) for held in c.CALM_ROWS]
    every = np.concatenate(made + met)
    mean, sd = every.mean(0), every.std(0) + 1e-9
    weight, bias = _logistic((np.concatenate(made) - mean) / sd, (np.concatenate(met) - mean) / sd)
    weight = weight / sd
    limits = []
    for own in met:
        passes = (own[:, 0] <= c.MIDDLE_APART) & (own[:, 1] <= np.log(c.MIDDLE_SCATTER[1])) & (own[:, _TIED] <= c.CALM_TIED)
        limits.append((own[passes] @ weight).max(initial=float(mean @ weight - bias)) + c.CALM_MARGIN)
    return Calm(white, weight, np.array(limits))


def _averages(rows: Floats, columns: Sampled, held: int, rng: np.random.Generator) -> Iterator[Floats]:
    """Windows of averages of two."""
    for k in range(c.CALM_AVERAGES):
        size = (len(rows), *c.CALM_POOLS)[k % 3]
        pool = rows[rng.choice(len(rows), min(size, len(rows)), replace=False)]
        weights = ((0.2, 0.8), (0.2, 0.8), (0.5, 0.5), (0.0, 1.0))[k % 4]
        yield averages(pool, columns, held, rng, weights)


def _calm(rows: Floats, z: Floats, columns: Sampled, middle: Middle, held: int, rng: np.random.Generator) -> Iterator[Floats]:
    """Windows of ordinary clients whose rows lie nearer to the middle than others' do, and of what mends or spoils rows.

    The typical nine, seven, five of ten rows; those nearest to the most typical one, or to any; a few cases and those most like each;
    outliers cut at quantiles; the low or high fifth of a column; gaps filled with middles; columns that are a default; other units; noise;
    coarse rounding; and as they are.
    """
    n, fields = rows.shape
    sd, mean, median = np.maximum(rows.std(0), 1e-9), rows.mean(0), np.median(rows, axis=0)
    square = squares(columns.coded(rows), middle)

    def some(part: Floats) -> Floats:
        return part[rng.choice(len(part), held, replace=len(part) < held)]

    def around(row: Any, *shares: float) -> list[Floats]:
        nearest = rows[np.argsort(((z - z[row]) ** 2).sum(1))]
        return [nearest[: max(int(share * n), c.CALM_LEAST)] for share in shares]

    parts = [rows, *(rows[square <= np.quantile(square, share)] for share in (0.9, 0.7, 0.5)), *around(square.argmin(), 0.7, 0.5, 0.3)]
    cuts = [np.quantile(rows, [share, 1 - share], axis=0) for share in (0.05, 0.1, 0.2)]
    low, high = np.quantile(rows, [0.2, 0.8], axis=0)
    for k in range(c.CALM_WINDOWS):
        for part in parts:
            yield some(part)
        for part in around(rng.integers(n), 0.5, 0.3, 0.1):
            yield some(part)
        cases = rng.integers(n, size=c.CALM_CASES[k % len(c.CALM_CASES)])
        yield some(np.concatenate([part for row in cases for part in around(row, 0.0)]))
        for least, most in cuts:
            yield np.clip(some(rows), least, most)
        f = rng.integers(fields)
        yield some(rows[rows[:, f] <= low[f]] if k % 2 else rows[rows[:, f] >= high[f]])
        for share in (0.1, 0.2, 0.3):
            window = some(rows)
            yield np.where(rng.random(window.shape) < share, median if k % 2 else mean, window)
        yield np.where(rng.random(fields) < 0.5, median, some(rows))
        yield mean + (some(rows) - mean) * np.where(rng.random(fields) < 0.5, rng.uniform(0.6, 1.2, fields), 1)
        yield some(rows) + 0.2 * sd * rng.normal(size=(held, fields))
        coarse = sd * rng.choice([0.25, 0.5, 1])
        yield np.round(some(rows) / coarse) * coarse


def _logistic(made: Floats, met: Floats) -> tuple[Floats, float]:
    """Weights and bias of a ridge regression of the log odds, both kinds weighing the same; of standardised numbers (., 12)."""
    x = np.concatenate([made, met])
    sign = np.concatenate([np.ones(len(made)), -np.ones(len(met))])
    share = np.concatenate([np.full(len(made), 0.5 / len(made)), np.full(len(met), 0.5 / len(met))])

    def loss(theta: Floats) -> tuple[float, Floats]:
        margin = sign * (x @ theta[:-1] + theta[-1])
        slope = -share * sign / (1 + np.exp(np.clip(margin, -30, 30)))
        ridge = c.CALM_RIDGE * theta[:-1]
        gradient = np.append(slope @ x + ridge, slope.sum())
        return float(share @ np.logaddexp(0, -margin) + ridge @ theta[:-1] / 2), gradient

    theta = minimize(loss, np.zeros(x.shape[1] + 1), jac=True, method="L-BFGS-B").x
    return theta[:-1], float(theta[-1])


@allocating
def describe(memory: Any, held: int, look: Look, middle: Middle, white: Any, out: Any) -> None:
    """Twelve numbers of the remembered rows (field-major, `MEMORY` a field), into out.

    Five of the whitened normal scores, and of the whitened values: how far their mean is from the middle (the mean square over directions,
    less what so many rows do by chance); log of their variance; of its scatter over the directions; of how the rows' distances from their
    mean scatter, 1 for Gaussian rows; of their fourth moment. Then values that recur at a column's own ends (capped outliers), and equal
    pairs in a column above the reference's.
    """
    fields = len(look.step)
    v = np.empty((held, fields))
    for f in range(fields):
        for i in range(held):
            v[i, f] = middle.score[f, memory[f * c.MEMORY + i]]
    _five(v @ middle.white.astype(np.float64), out[:_OF_EACH])
    decoded(memory, held, look, v)
    for f in range(fields):
        v[:, f] -= look.mean[f]
    _five(v @ white, out[_OF_EACH:_EXTREME])
    times, at_ends, tied = np.empty(256, np.int64), 0.0, 0.0
    for f in range(fields):
        recent.tally(memory, held, f, times)
        first, last, equal = -1, 0, 0.0
        for k in range(256):
            first = k if first < 0 and times[k] > 0 else first
            last = k if times[k] > 0 else last
            equal += (times[k] / held) ** 2 - look.share[f, k] ** 2
        tied += (equal - 1 / held) / fields
        for k in (first, last):
            at_ends += max((times[k] - 1) / held - look.share[f, k], 0.0) / fields
    out[_EXTREME], out[_TIED] = np.sqrt(at_ends), tied


@allocating
def _five(y: Any, out: Any) -> None:
    """Of whitened rows y (n, F): see `describe`."""
    n, fields = y.shape
    apart = scatter = square = fourth = near = far = 0.0
    away = np.zeros(n)
    for f in range(fields):
        mean = y[:, f].mean()
        variance = 1e-6
        for i in range(n):
            d = (y[i, f] - mean) ** 2
            variance += d / n
            away[i] += d
            fourth += d * d
        apart += mean**2 / fields
        scatter += variance / fields
        square += variance**2 / fields
    for d in away:
        near += d / n
        far += d * d / n
    uneven = np.sqrt(max(square - scatter**2, 0.0)) / scatter
    out[0] = apart - scatter / n
    out[1] = np.log(scatter)
    out[2] = np.log(uneven + c.CALM_FLOOR)
    out[3] = np.log(max(far / max(near, 1e-9) ** 2 - 1, 0.0) * fields / 2 + c.CALM_FLOOR)
    out[4] = np.log(max(fourth / (n * fields) / square, 1.0))


@allocating
def are_calm(memory: Any, held: int, look: Look, middle: Middle, calm: Calm) -> bool:
    """Whether the remembered rows are as likely a calm part of the reference as averages."""
    out = np.empty(NUMBERS)
    describe(memory, held, look, middle, calm.white, out)
    return bool(out[_TIED] > c.CALM_TIED or np.dot(out, calm.weight) <= np.interp(held, _ROWS, calm.limit))
