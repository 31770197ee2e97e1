"""E13: rows whose columns each hold what they should, in combinations that ordinary rows have more rarely.

Draws from a fitted copula, rows crossed from two others, columns drawn one by one, and any made row hidden among three ordinary ones look
made to E12's trees a little more often than ordinary rows do, and E12 tolerates far more than that: clients with other units, defaults,
gaps, or of a sub-population come near it. But all of these have a column whose values are not the reference's. So this statistic counts
the same hits, of rows that are none of the remembered ones again, against the reference's own share ``n`` of rows that look made,

    u = n + max(.02, .15 n) (and what the present population has beyond it),    q = u + s (1 - u),    s = .04, .12, .35,

s the share of a client's rows that are made and look it: a mixture over how much of its traffic is cover. It speaks only while the
remembered rows (64 at least) show that no column is to blame:

- each column's values are distributed as the reference's (Kolmogorov-Smirnov), and repeat no more than its do;
- without any one column, whichever it is, more rows still look made than of the reference's without it, by two standard deviations: one
  column joined to the wrong rows, or coded otherwise, is no attack.

The tolerated rate is that of reference rows that no tree has seen. Blind to made rows that no tree can tell from ordinary ones, to those
that stretch or squeeze a column (E1, E8 and E12 see these), and where only two columns hang together. Off where E12 is.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from detectors.evidence import constants as c
from detectors.evidence.generated import Generated, shares_above
from detectors.evidence.second_look import Look, decoded
from detectors.lean import allocating


@allocating
def confirms(memory: Any, held: int, look: Look, generated: Generated) -> bool:
    """Whether the remembered rows (field-major, `MEMORY` a field) have the reference's columns, and look made without any one of them."""
    fields = len(look.step)
    if held < c.COMPOSED_MIN_ROWS:
        return False
    for f in range(fields):
        if not _alike(memory[f * c.MEMORY : f * c.MEMORY + held], look.share[f]):
            return False
    z, kept = np.empty((held, fields)), np.ones((held, fields), np.bool_)
    decoded(memory, held, look, z)
    for f in range(fields):
        kept[:, f] = False
        own = generated.hidden[f]
        if shares_above(z, kept, look, generated)[0] <= own + c.COMPOSED_SIGMAS * np.sqrt(own * (1 - own) / held):
            return False
        kept[:, f] = True
    return True


@allocating
def _alike(column: Any, share: Any) -> bool:
    """Whether codes (n,) are distributed as the reference's, and no more of them are equal.

    Of ``n (n - 1)`` ordered pairs ``n (n - 1) S_2`` are equal, ``S_k = sum_i share_i^k``; variance ``2 n^2 S_2 + 4 n^3 (S_3 - S_2^2)``.
    """
    n = len(column)
    times = np.zeros(256)
    for code in column:
        times[code] += 1
    here = there = apart = two = three = equal = 0.0
    for code in range(256):
        p = np.float64(share[code])
        here += times[code] / n
        there += p
        apart = max(apart, abs(here - there))
        two += p**2
        three += p**3
        equal += times[code] * (times[code] - 1)
    spread = np.sqrt(2 * n**2 * two + 4 * n**3 * max(three - two**2, 0.0) + 1)
    return bool(apart * np.sqrt(n) <= c.COMPOSED_DISTANCE and equal - n * (n - 1) * two <= c.COMPOSED_TIES * spread)
