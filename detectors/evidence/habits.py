"""Changes that ordinary clients make to all of their rows, and that leave each column about where it was.

An instrument has noise of its own, a program fills gaps with the middle, rounds, or takes a field of another record. Such rows look made to
E12's trees more often than the reference's do, and how much more depends on the table: noise of a tenth of a standard deviation breaks a
tight law and nothing in a table of codes. So the reference is changed in each of these ways, scored by trees that never saw it, and what
the worst of them does is what a client may do (`detectors.evidence.composed`).
"""

from __future__ import annotations

import numpy as np

from detectors.evidence import constants as c
from detectors.evidence.residual import Floats


def habits(rows: Floats, rng: np.random.Generator) -> list[Floats]:
    """``rows`` (n, F) in raw units as clients of one habit each would send them, the first as they are.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> rows = rng.normal(size=(50, 4))
        >>> changed = habits(rows, rng)
        >>> len(changed), all(some.shape == rows.shape for some in changed), bool((changed[0] == rows).all())
        (7, True, True)
    """
    sd, middle, other = np.maximum(rows.std(0), 1e-9), np.median(rows, axis=0), rows[rng.permutation(len(rows))]
    whole = (rows == np.round(rows)).all(0)
    measured = np.clip(rows + c.HABIT_NOISE * sd * rng.normal(size=rows.shape), rows.min(0), rows.max(0))
    return [
        rows,
        np.where(whole, np.round(measured), measured),
        *(np.where(rng.random(rows.shape) < share, middle, rows) for share in c.HABIT_GAPS),
        np.where(rng.random(rows.shape) < c.HABIT_EDITS, other, rows),
        *(np.round(rows / (step * sd)) * step * sd for step in c.HABIT_ROUNDED),
    ]
