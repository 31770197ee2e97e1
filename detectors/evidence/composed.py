"""E13: E12's hits over all of a client's rows, against what a client of any ordinary habit does.

E12 tolerates what the worst part of the reference does, and more than most tables need, since a client may ask one part only, in other
units. Made rows that hide among ordinary ones, averages and fitted draws of codes, draws of a copula stay below that. But a client of one
part, or with units or a default of its own, is *elsewhere*: its rows are off the reference's middle in one direction, time and again. Made
rows come from everywhere, and so do rows with an instrument's noise, gaps, edits and rounding. How much made those look is measured on the
reference itself (`habits.py`), so the tolerated rates are

    u = max(1.15 worst habit + .01,  own + 3 standard deviations of 96 rows),

the second since somebody may ask the same hundred rows every day, and by luck they look a little more made. Evidence is the mixture of
likelihood ratios of all rows since the client was first seen,

    (q / u)^h ((1 - q) / (1 - u))^(n - h),    q = u + s (1 - u),    s = .04, .12, .35,

n rows judged and h of them above one of E12's three limits: it needs the counts that E12 keeps, and no state. It speaks only when the
remembered rows (64 at least) are not elsewhere (`place.py`, within .05), are neither rounded nor mostly of values that do not occur (E12's
own business), and look made whichever column is left out: one column joined to the wrong rows, or coded otherwise, is no attack.

It misleads after a long ordinary past, which dilutes the count (E12 forgets), and where a client's noise is beyond a tenth of a standard
deviation in all columns. Off where E12 is.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from detectors.evidence import constants as c
from detectors.evidence import layout as at
from detectors.evidence.generated import Generated, without_any_column
from detectors.evidence.habits import is_coarser, is_off_grid
from detectors.evidence.place import displaced
from detectors.evidence.population import MADE_RATES
from detectors.evidence.second_look import Look, decoded, filled
from detectors.lean import allocating


@njit
def over_all(count: Any, rates: Any, usual: Any) -> float:
    """The evidence of a client's counts; ``usual`` is by how much the present population exceeds the reference (`population.py`)."""
    n, total = count[at.GENERATED_TRIALS], 0.0
    for k in range(3):
        u = min(rates[k] + usual[MADE_RATES + k], 1.0)
        h = count[at.MADE_1 + k]
        if h > u * n:
            for s in c.COMPOSED_SHARES:
                q = u + s * (1 - u)
                total += np.exp(min(h * np.log(q / u) + (n - h) * np.log((1 - q) / (1 - u)), 80.0))
    return total / (3 * len(c.COMPOSED_SHARES))


@allocating
def confirms(memory: Any, held: int, look: Look, generated: Generated) -> bool:
    """Whether the remembered rows (field-major, `MEMORY` a field) come from everywhere, and look made without any one column."""
    fields = len(look.step)
    if held < c.COMPOSED_MIN_ROWS:
        return False
    z, kept = np.empty((held, fields)), np.ones((held, fields), np.bool_)
    decoded(memory, held, look, z)
    if displaced(z, look)[0] > c.COMPOSED_ELSEWHERE or is_coarser(memory, held, look.share) or is_off_grid(memory, held, look.share):
        return False
    filled(memory, held, look, z, kept)
    return bool(without_any_column(z, kept, look, generated))
