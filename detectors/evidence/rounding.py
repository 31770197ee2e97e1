"""Before E7 speaks: are the few values of each column what ordinary rows become when they are rounded coarsely?

Rows rounded to half a standard deviation have few values a column too, and in tables with heavy tails two or three. But the values come
as often as the reference's do, each taken for the nearest of them; the corners of a box do not. With ``n_k`` of the ring's ``m`` rows at
the k-th of a column's values and ``p_k`` the share of the reference that is nearest to it, a column's divergence is

    sum_k n_k ln(n_k / (m p_k)) / m - (K - 1) / (2 m),

about 0 for ordinary rows of K values. Its sum over the columns of two to eight values must be small.

A gate, not evidence: it can only keep an alert back. Runs at a crossing only.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from detectors.evidence import constants as c


@njit
def is_rounded(codes: Any, m: int, share: Any) -> bool:
    """Whether the ring (codes, field-major, `RING` a field, m rows) holds rounded ordinary rows; share (F, 256) is the reference's."""
    columns, total = 0, 0.0
    for f in range(len(share)):
        column = codes[f * c.RING : f * c.RING + m]
        own, values = _divergence(column, m, share[f])
        if 2 <= values <= c.ROUNDED_VALUES:
            columns += 1
            total += own
    return columns > 0 and total <= c.ROUNDED_ALIKE[0] * columns + c.ROUNDED_ALIKE[1]


@njit
def _divergence(column: Any, m: int, share: Any) -> Any:
    """A column's divergence, and how many values it has."""
    total, values = 0.0, 0
    for i in range(m):
        times, first = 0, True
        for k in range(m):
            times += column[k] == column[i]
            first = first and bool(k >= i or column[k] != column[i])
        if not first:
            continue
        values += 1
        near = 0.0
        for code in range(256):
            best = abs(code - np.int64(column[i]))
            mine = True
            for k in range(m):
                mine = mine and bool(abs(code - np.int64(column[k])) >= best)
            near += share[code] if mine else 0.0
        total += times / m * np.log(times / (m * max(near, c.ROUNDED_LEAST)))
    return total - (values - 1) / (2 * m), values
