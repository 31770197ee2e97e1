"""Before E7 speaks: are the few values of each column what ordinary rows become when they are rounded coarsely?

Rows rounded to half a standard deviation have few values a column too, and in tables with heavy tails two or three. But the values come
as often as the reference's do, each taken for the nearest of them; the corners of a box do not. With ``n_k`` of the ring's ``m`` rows at
the k-th of a column's values and ``p_k`` the share of the reference that is nearest to it, a column's divergence is

    sum_k n_k ln(n_k / (m p_k)) / m - (K - 1) / (2 m),

about 0 for ordinary rows of K values. Its sum over the columns of two to eight values must be small; how small is less strict the longer
the client sends, since the question comes with each of its rows. Or most columns have five values and more, and all of these lie on a
grid: two neighbours are one code apart, since a code is rounded itself, or three and more. Rows that are not rounded nearly always have two
values that are two codes apart, and the corners of a box have two or three values a column.

A gate, not evidence: it can only keep an alert back. Runs at a crossing only.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from detectors.evidence import constants as c
from detectors.lean import allocating


@allocating
def is_rounded(codes: Any, m: int, share: Any, rows: int) -> bool:
    """Whether the ring holds rounded ordinary rows.

    Args:
        codes: of the ring, field-major, `RING` a field.
        m: rows in it.
        share: (F, 256) of each code, of the reference.
        rows: of the client so far: as often this was asked.
    """
    few, many, on_grid = 0, 0, True
    columns, total = 0, 0.0
    for f in range(len(share)):
        column = codes[f * c.RING : f * c.RING + m]
        values = np.unique(column)
        if len(values) >= c.ROUNDED_GRID:
            many += 1
            for k in range(1, len(values)):
                on_grid = on_grid and np.int64(values[k]) - np.int64(values[k - 1]) != c.ROUNDED_OFF
        elif len(values) >= 2:
            few += 1
        if 2 <= len(values) <= c.ROUNDED_VALUES:
            columns += 1
            total += _divergence(column, values, share[f])
    if many > few and on_grid:
        return True
    few_rows, each = c.ROUNDED_LUCK
    luck = each * np.log2(max(rows, few_rows) / few_rows)
    return columns > 0 and total <= c.ROUNDED_ALIKE[0] * columns + c.ROUNDED_ALIKE[1] + luck


@allocating
def _divergence(column: Any, values: Any, share: Any) -> Any:
    """Of a column with these values. A code of the reference as near to two of them counts for both."""
    m, near, total = len(column), np.zeros(len(values)), 0.0
    for code in range(256):
        nearest = 256
        for value in values:
            nearest = min(nearest, int(abs(code - np.int64(value))))
        for k in range(len(values)):
            near[k] += share[code] if abs(code - np.int64(values[k])) == nearest else 0.0
    for k in range(len(values)):
        times = (column == values[k]).sum()
        total += times / m * np.log(times / (m * max(near[k], c.ROUNDED_LEAST)))
    return total - (len(values) - 1) / (2 * m)
