"""How far a client's rows lie from each other: instruments behind one account send each of a few rows again, give or take their noise."""

from __future__ import annotations

from typing import Any

import numpy as np

from detectors.lean import allocating

_OTHERS = 4
"""With the nearest one only, who sends every row twice would seem to be an instrument; so he must send it five times."""


@allocating
def to_neighbours(z: Any) -> float:
    """The median, over rows z (n, F), of the squared distance to the fourth-nearest other; 0 where there are fewer than five.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> rows, places = rng.normal(size=(96, 8)), rng.normal(size=(3, 8))
        >>> round(to_neighbours(rows), 1), round(to_neighbours(places[rng.integers(0, 3, 96)] + .1 * rows), 2)
        (5.6, 0.08)
    """
    n = len(z)
    if n <= _OTHERS:
        return 0.0
    out, square = np.empty(n), np.empty(n)
    for i in range(n):
        for k in range(n):
            square[k] = 0.0
            for f in range(z.shape[1]):
                square[k] += (z[i, f] - z[k, f]) ** 2
        out[i] = np.sort(square)[_OTHERS]  # the nearest is the row itself
    return float(np.median(out))
