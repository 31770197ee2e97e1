"""E9: rows halfway between two recent ones, whole or in one field after the other: what searches for a boundary begin with.

Compiled, as `trials`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from detectors.evidence import constants as c
from detectors.evidence import layout as at
from detectors.evidence.trials import tried


@njit(inline="always")
def _on_line(g: Any, real: Any, ring: int, a: int, b: int, times: float) -> float:
    """Square of the distance between the row's difference to b and so many times that to a, the other way."""
    off = np.float32(0)
    for f in range(len(g)):
        t = (real[ring + f * c.RING + b] - g[f]) + np.float32(times) * (real[ring + f * c.RING + a] - g[f])
        off += t * t
    return float(off)


@njit
def _halved_before(real: Any, g: Any, ring: int, distance: Any, m: int, a: int, b: int) -> bool:
    """Whether one of two rows at the same distance on both sides was halfway between the other and a third, as halvings leave it."""
    for k in range(m):
        ratio = distance[k] / (9 * distance[a])
        if abs(ratio - 1) < 2 * c.BISECTION_CENTRE:
            least = min(_on_line(g, real, ring, a, k, -3.0), _on_line(g, real, ring, b, k, -3.0))
            if least <= c.BISECTION_CENTRE**2 * distance[k]:
                return True
    return False


@njit
def _has_few(values: Any, value: Any, m: int, a: int) -> bool:
    """Whether the one field in which a row differs from the ring's row a has had few values in the m rows."""
    for f in range(len(value)):
        if value[f] != values[f * c.RING + a]:
            kinds = 0
            for k in range(m):
                first = 1
                for j in range(k):
                    if values[f * c.RING + j] == values[f * c.RING + k]:
                        first = 0
                kinds += first
            return bool(kinds <= c.BISECTION_KINDS)
    return True


@njit
def bisection(
    real: Any, count: Any, gain: Any, g: Any, ring: int, distance: Any, m: int, a: int, edit: bool, values: Any, value: Any, before: int,
    moved: int,
) -> None:  # fmt: skip
    """E9: is the row halfway between the nearest of the m recent ones, a, and another at the same distance (``distance`` is squared).

    Of an ``edit`` it must be the second halving at least: who turns a field to and fro meets the middle of two of its values, too.
    Where one field ``moved`` alone and is no edit, since rows share nearly all fields anyway, one of the two must be the row ``before``,
    or the field have few values: among sixteen readings of whole numbers there are middles by chance.
    """
    hit = False
    limit = np.float32(1 + c.BISECTION_EQUAL) * distance[a]
    close = np.int32(0)
    for k in range(c.RING):
        close += np.int32(distance[k] <= limit)
    b = -1
    if close > 1:
        for k in range(m):
            if k != a and distance[k] <= limit:
                b = k
    one = edit or moved <= 1
    if b >= 0:
        hit = _on_line(g, real, ring, a, b, 1.0) <= np.float32(c.BISECTION_CENTRE**2) * distance[a]
        if hit and edit:
            hit = _halved_before(real, g, ring, distance, m, a, b)
        elif hit and one:
            hit = before in (a, b) or _has_few(values, value, m, a)
    tried(real, at.BISECTION, gain, int(hit))
    if hit:
        count[at.BISECTIONS] += 1
        octave = int(np.floor(0.5 * np.log2(distance[a])))  # of the distance itself
        count[at.BISECTED] |= 1 << (octave & 15)
        for f in range(len(value)):
            if not one or value[f] != values[f * c.RING + a]:
                count[at.BISECTED] |= 1 << (16 + min(f, 14))
