"""E14: sittings around one place that end as soon as the answer has changed: what a search does with each row that it attacks.

Compiled, as `trials`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from detectors.evidence import constants as c
from detectors.evidence import layout as at

_BITS, _MOST = 7, 127


@njit
def _touched(values: Any, newest: int, rows: int, fields: int) -> int:
    """In how many fields the last ``rows`` rows of the ring have more than one value."""
    out = 0
    for f in range(fields):
        for back in range(1, rows):
            if values[f * c.RING + (newest - back) % c.RING] != values[f * c.RING + newest]:
                out += 1
                break
    return out


@njit
def stopping(real: Any, count: Any, values: Any, newest: int, fields: int, here: bool, answer: int) -> None:
    """E14: does a sitting end with the last distinct row, and did its answer first change there.

    A sitting begins with a row that is not in the place of the one before; m rows follow it. If the answer of the k-th of them is the first
    that is not the beginning's, the sitting is a trial, and k = m a hit. In any order of rows that knows nothing of answers the first
    change is the last row in 1/m of the sittings at most; that, and `STOPPING_U` at least, is tolerated. No trials:

    - sittings of fewer than `STOPPING_LEAST` rows, or of 127 and more;
    - hits as long as the sitting before: a sweep (of brightness, of an input) changes it at its end, too, always after as many steps;
    - hits in which few fields had more than one value: who fills a form tries a few until the answer is another one.

    Args:
        real: arms of the client.
        count: of the client; `layout.SITTING` holds m, k and the m before (seven bits each), then the answer at the beginning.
        values: the ring's hashed values, field-major, `RING` a field.
        newest: slot of the last distinct row.
        fields: sampled fields.
        here: whether this row is in the place of the last one.
        answer: to this row, 1 to `ANSWERS`; 0 where it is not known.
    """
    sitting = count[at.SITTING]
    m, k, last, known = sitting & _MOST, (sitting >> _BITS) & _MOST, (sitting >> 2 * _BITS) & _MOST, sitting >> 3 * _BITS
    if here:
        m = min(m + 1, _MOST)
        if k == 0 and known > 0 and answer > 0 and answer != known:
            k = m
    else:
        if c.STOPPING_LEAST <= m < _MOST and k > 0:
            hit = k == m
            wide = hit and m != last and _touched(values, newest, min(m + 1, c.RING), fields) >= min(c.STOPPING_FIELDS, fields // 2 + 1)
            if wide or not hit:
                u = max(1 / m, c.STOPPING_U)
                for a in range(at.ARMS[at.STOPPING]):
                    arm, q = at.FIRST_ARM[at.STOPPING] + a, c.STOPPING_Q[a]
                    real[arm] = min((real[arm] + np.float32(1)) * np.float32(q / u if hit else (1 - q) / (1 - u)), c.SR_CAP)
                count[at.SITTINGS] += 1
                count[at.STOPPED] += hit
        last = m if m >= c.STOPPING_LEAST else last
        m, k, known = 0, 0, answer
    count[at.SITTING] = known << 3 * _BITS | last << 2 * _BITS | k << _BITS | m
