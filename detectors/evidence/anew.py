"""Before E7 speaks: are the values that recur combined anew, as corners of a box are?

Who goes through a grid of two columns for one customer after the other meets each value again, too; but a customer's own columns change
once, with the customer. A column has come back where it had more runs of one value than values, in the ring's rows by time: of a search
three or more have. In pictures it is not asked: marks that are put here and there do not count for E7 there.

Nor may the rows be rounded ones, unless the newest lie around an earlier one: coarse rounding leaves two values a column, none between.

A gate, not evidence, as `rounding`: it can only keep an alert back. Runs at a crossing only.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from detectors.evidence import constants as c
from detectors.evidence.rounding import is_rounded
from detectors.lean import allocating


@allocating
def combines_anew(codes: Any, m: int, newest: int, share: Any, rows: int, image: bool) -> bool:
    """Whether the ring's rows are changes of several columns that come back, and not rounded ones.

    Args:
        codes: of the ring, field-major, `RING` a field.
        m: rows in it.
        newest: slot of the latest.
        share: (F, 256) of each code, of the reference.
        rows: of the client so far.
        image: whether rows are pictures.
    """
    by_time, back = (newest - np.arange(m)) % c.RING, 0
    for f in range(len(share)):
        column = codes[f * c.RING : (f + 1) * c.RING][by_time]
        back += (column[1:] != column[:-1]).sum() >= len(np.unique(column))
    if not image and back < c.TWO_VALUED_FIELDS:
        return False
    return _is_around_a_row(codes, by_time, len(share)) or not is_rounded(codes, m, share, rows)


@allocating
def _is_around_a_row(codes: Any, by_time: Any, fields: int) -> bool:
    """Whether `BOX_COLUMNS` columns of one of the ring's rows lie between the two values that all newer rows have there."""
    low, high = np.full(fields, 255), np.zeros(fields, np.int64)
    for back in range(len(by_time)):
        between, inside = 0, True
        for f in range(fields):
            now = np.int64(codes[f * c.RING + by_time[back]])
            between += low[f] < now < high[f]
            inside = inside and (low[f] >= high[f] or now in (low[f], high[f]))
            low[f], high[f] = min(low[f], now), max(high[f], now)
        if between >= c.BOX_COLUMNS and back >= c.BOX_ROWS - 1:
            return True
        if not inside:
            return False
    return False
