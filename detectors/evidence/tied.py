"""Do the columns of a client's rows tell of each other as much as the reference's do?

Rows that are drawn, shuffled or moved at random have columns that tell less of each other than ordinary columns do. The rows of a
population that the reference has not (another range, another product) are as implausible by the reference's law, but have a law of
their own: from the others, as much of a column can be told, or more.

    share = 1 - mean_f 1 / P_ff,    P the inverse of the Ledoit-Wolf shrunk correlation matrix of the columns that vary,

1 / P_ff the part of column f's variance that no linear function of the others has. Few rows shrink the share towards 0, so it is
compared with that of as many rows of the reference. It misleads near one row: a search's steps along one line hang together as well;
they have statistics of their own.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from detectors.lean import allocating


@allocating
def told_by_others(z: Any) -> float:
    """The share of a column's variance that the other columns tell, for rows z (n, F); 0 where fewer than three columns vary.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> z = rng.normal(size=(96, 2)) @ rng.normal(size=(2, 5)) + .3 * rng.normal(size=(96, 5))
        >>> round(told_by_others(z), 2), round(told_by_others(rng.permuted(z, axis=0)), 2)
        (0.73, 0.0)
    """
    n, fields = z.shape
    y, p = np.empty((n, fields)), 0
    for f in range(fields):
        mean, square = 0.0, 0.0
        for i in range(n):
            mean += z[i, f] / n
        for i in range(n):
            square += (z[i, f] - mean) ** 2 / n
        if square > 1e-12:
            for i in range(n):
                y[i, p] = (z[i, f] - mean) / np.sqrt(square)
            p += 1
    if p < 3:
        return 0.0
    S = np.zeros((p, p))
    fourth = squares = spread = 0.0
    for i in range(n):
        norm = 0.0
        for a in range(p):
            norm += y[i, a] ** 2
            for b in range(p):
                S[a, b] += y[i, a] * y[i, b] / n
        fourth += norm**2
    for a in range(p):
        for b in range(p):
            squares += S[a, b] ** 2
            spread += (S[a, b] - (a == b)) ** 2
    weight = max(min(spread, fourth / n**2 - squares / n) / spread, 0.01) if spread > 0 else 1.0
    for a in range(p):
        for b in range(p):
            if a != b:
                S[a, b] *= 1 - weight
    return float(1 - _unexplained(S))


@allocating
def _unexplained(S: Any) -> float:
    """Mean of one over the diagonal of the inverse of a positive definite matrix, which is swept in place."""
    p = len(S)
    for k in range(p):
        pivot = S[k, k]
        for a in range(p):
            if a != k:
                factor = S[a, k] / pivot
                for b in range(p):
                    if b != k:
                        S[a, b] -= factor * S[k, b]
                S[a, k] = factor
        for b in range(p):
            if b != k:
                S[k, b] /= pivot
        S[k, k] = -1 / pivot
    total = 0.0
    for k in range(p):
        total += -1 / S[k, k]
    return total / p
