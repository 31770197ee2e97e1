"""E11: rows whose columns have nothing to do with each other, although an ordinary client's have.

Random, shuffled and generated rows draw each column by itself. Where the reference's columns hang together only a little (counts,
codes, tables of business data) no single row of that kind is remarkable, so E1 stays silent; a hundred of them are. Of two consecutive
fresh rows of a client with difference ``D`` (standardised, sampled columns)

    a = D' M D / 2,    b = sum_f M_ff D_f^2 / 2,    M = Omega diag(Omega)^-1 Omega / F,

Omega the inverse of the reference's shrunk covariance. In expectation ``a = b`` for independent columns, whatever their units, and
``a < b`` where they hang together as the reference's do. A hit is ``a > factor b`` and ``a`` above the reference's median, so that a
client of one segment (no dependence within it, but little scatter either) does not hit. The tolerated rate is that of the worst part of
the reference: the tails of each column, and clusters.

Before it speaks, the mean of ``b - a`` is asked: it is 0 for independent columns, and the forgetting sum over the root of the squares' sum
(times 1.5, since neighbouring pairs share a row) is about standard normal. For ordinary rows, wrong units, gaps filled by a default, and
behind cover traffic it is many standard deviations above 0; below, for a range with another law than the reference's, whose columns tell of
each other. And the columns that vary must be ones that hang together: where a client fills the half of each such pair with a default,
nothing is left that could. Nor may they hang together once some one column is left out: it was joined to the wrong rows. Where two columns
alone hold the reference together nobody can tell the two apart, and E11 is off.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from detectors.evidence import constants as c
from detectors.evidence.place import told_of_each_other
from detectors.evidence.residual import Floats, ledoit_wolf
from detectors.evidence.sampled import parts
from detectors.evidence.second_look import Look, decoded, filled
from detectors.lean import allocating


class Bond(NamedTuple):
    """How the sampled columns of the reference hang together; F of them."""

    weights: NDArray[np.float32]  # (F, F) from code steps to residuals: column t is what target t is made of
    own: NDArray[np.float32]  # (F,) M_ff per squared code step
    factor: float  # of a to b above which a pair of rows hits; 0: the statistic is off
    least: float  # the reference's median of a
    rate: float  # tolerated rate


def fit_bond(code: NDArray[np.uint8], step: Floats, clusterings: list[NDArray[np.int64]], image: bool, rng: np.random.Generator) -> Bond:
    """From the reference's rows as a client's memory would hold them.

    Args:
        code: (n, F) sampled values in code steps.
        step: (F,) standardised value of a code step.
        clusterings: (n,) each, which cluster a row belongs to.
        image: pictures have neighbours that always hang together: off.
        rng: draws the pairs.
    """
    n, fields = code.shape
    z = code * step
    omega = np.linalg.inv(ledoit_wolf(z)[1])
    W = step[:, None] * omega / np.sqrt(np.diag(omega)) / np.sqrt(fields)
    M = W @ W.T
    weights, own = W.astype(np.float32), np.diag(M).astype(np.float32)
    off = Bond(weights, own, 0.0, 0.0, 1.0)
    if image or fields < c.INDEPENDENT_FIELDS or n < c.INDEPENDENT_ROWS:
        return off
    rows = code.astype(np.float64)

    def of_pairs(rows: Floats) -> tuple[Floats, Floats]:
        d = np.concatenate([rows - rows[rng.permutation(len(rows))] for _ in range(4)])
        d = d[(d != 0).any(1)]
        return ((d @ W) ** 2).sum(1) / 2, (d**2 @ np.diag(M)) / 2

    a, b = of_pairs(rows)
    mixed_a, mixed_b = of_pairs(np.asarray(rng.permuted(rows, axis=0)))
    least = float(np.median(a))
    ordinary, mixed = np.where(a > least, a / b, 0), np.where(mixed_a > least, mixed_a / mixed_b, 0)
    factors = np.quantile(np.concatenate([a / b, mixed_a / mixed_b]), np.linspace(0.05, 0.95, 61))
    factor = float(factors[np.argmax([(mixed > f).mean() - (ordinary > f).mean() for f in factors])])

    found = []
    for population in parts(code, clusterings):
        if max(c.INDEPENDENT_PART_ROWS, c.INDEPENDENT_PART * n) <= population.sum() <= 0.5 * n:
            part_a, part_b = of_pairs(rows[population])
            hits = (part_a > factor * part_b) & (part_a > least)
            found.append(hits.sum() / max(len(hits), 1))  # a part may hold one row many times
    own_rate = float((ordinary > factor).mean())
    rate = max([own_rate, *found]) * c.INDEPENDENT_MARGIN
    strength = float((b - a).mean() / np.sqrt(1.5 * ((b - a) ** 2).mean() / c.MEMORY))
    together = np.tril(-M * np.cov(rows.T), -1)
    left = together.sum() - together.sum(0) - together.sum(1)  # without each column
    by_more_than_a_pair = bool(left.min() >= c.INDEPENDENT_PAIR * together.sum())
    usable = strength >= c.INDEPENDENT_STRENGTH and float((mixed > factor).mean()) > rate and by_more_than_a_pair
    return Bond(weights, own, factor if usable else 0.0, least, float(np.clip(rate, c.INDEPENDENT_FLOOR, 1.0)))


@allocating
def has_its_own_law(memory: Any, held: int, look: Look) -> bool:
    """Whether the columns of the remembered rows tell of each other, and more than the reference's do: not drawn one by one.

    A range that the reference has not may hang together quite otherwise; then ``a`` is above ``b``, as no independent columns' is.
    """
    z = np.empty((held, len(look.step)))
    decoded(memory, held, look, z)
    told, usual = told_of_each_other(z, look)
    return bool(told > max(usual, c.LOOK_TIED_LEAST))


@allocating
def _pairs(look: Look, bond: Bond) -> tuple[Any, Any]:
    """Of pairs of columns (F, F), below the diagonal: weights per squared code step, and what each gives to the reference's ``b - a``."""
    fields = len(look.step)
    covariance = np.linalg.inv(look.precision)
    weight, together = np.zeros((fields, fields)), np.zeros((fields, fields))
    for f in range(fields):
        for g in range(f):
            for t in range(fields):
                weight[f, g] += bond.weights[f, t] * bond.weights[g, t]
            together[f, g] = -weight[f, g] * covariance[f, g] / (look.step[f] * look.step[g])
    return weight, together


@allocating
def could_be_bound(memory: Any, held: int, look: Look, bond: Bond) -> bool:
    """Whether the remembered rows (field-major, `MEMORY` a field) vary in columns that hang together in the reference.

    The expected ``b - a`` of reference rows, each column's scatter cut to the client's, must be `INDEPENDENT_LEFT` of the uncut one.
    """
    fields = len(look.step)
    covariance = np.linalg.inv(look.precision)
    cut = np.empty(fields)
    for f in range(fields):
        total, squares = 0.0, 0.0
        for i in range(held):
            value = memory[f * c.MEMORY + i] * look.step[f]
            total += value
            squares += value**2
        cut[f] = np.sqrt(min(max(squares - total**2 / held, 0.0) / held / covariance[f, f], 1.0))
    _, together = _pairs(look, bond)
    whole = left = 0.0
    for f in range(fields):
        for g in range(f):
            whole += together[f, g]
            left += together[f, g] * cut[f] * cut[g]
    return bool(left >= c.INDEPENDENT_LEFT * whole)


@allocating
def bound_without_one(memory: Any, held: int, look: Look, bond: Bond) -> bool:
    """Whether the remembered rows hang together as the reference's once some one column is left out: it was joined to the wrong rows.

    Filled values are left out, too. Of ``b - a`` in expectation without it, `INDEPENDENT_WITHOUT` of the reference's, and by more than
    independent columns have by chance.
    """
    fields = len(look.step)
    weight, usual = _pairs(look, bond)
    z, kept, x = np.empty((held, fields)), np.ones((held, fields), np.bool_), np.zeros((held, fields))
    filled(memory, held, look, z, kept)
    for f in range(fields):
        known = mean = 0.0
        for i in range(held):
            known += kept[i, f]
            mean += memory[f * c.MEMORY + i] if kept[i, f] else 0.0
        for i in range(held):
            x[i, f] = memory[f * c.MEMORY + i] - mean / max(known, 1.0) if kept[i, f] else 0.0
    own, chance = np.zeros((fields, fields)), np.zeros((fields, fields))
    for f in range(fields):
        for g in range(f):
            together = square = both = 0.0
            for i in range(held):
                both += kept[i, f] and kept[i, g]
                together += x[i, f] * x[i, g]
                square += (x[i, f] * x[i, g]) ** 2
            if both >= c.LOOK_ROWS:
                own[f, g] = -weight[f, g] * together / both
                chance[f, g] = weight[f, g] ** 2 * square / both**2
    for j in range(fields):
        left = usual.sum() - usual[j].sum() - usual[:, j].sum()
        found = own.sum() - own[j].sum() - own[:, j].sum()
        noise = np.sqrt(max(chance.sum() - chance[j].sum() - chance[:, j].sum(), 0.0))
        if found > c.INDEPENDENT_WITHOUT[0] * left and found > c.INDEPENDENT_WITHOUT[1] * noise and left > 0:
            return True
    return False
