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

_OCTAVES, _FIELDS, _TIMES_AT = 16, 13, 29  # of `layout.BISECTED`: bits of lengths, bits of fields behind them, where the number begins
_SURE = np.int32(-1 << 31)


@njit
def bisects(count: Any) -> bool:
    """Whether E9's hits were of several lengths (fewer are enough beside a sure rounded middle) and in several fields."""
    lengths = fields = 0
    for k in range(_OCTAVES):
        lengths += (count[at.BISECTED] >> k) & 1
    for k in range(_FIELDS):
        fields += (count[at.BISECTED] >> (_OCTAVES + k)) & 1
    least = c.HALFWAY_OCTAVES if count[at.BISECTED] & _SURE else c.BISECTION_OCTAVES
    return bool(lengths >= least and fields >= c.BISECTION_FIELDS)


@njit(inline="always")
def _times_halfway(count: Any) -> Any:
    """How many rows were rounded middles as hardly any is by chance, three at most."""
    return (count[at.BISECTED] >> _TIMES_AT) & 3


@njit(inline="always")
def halves(count: Any, rough: bool) -> bool:
    """Whether a row was halfway between two others as hardly any is: flips of the answer beside that are a search's, at whatever scales.

    Where ordinary neighbours are answered differently, too (``rough``), many flip; there several must have been so among few rows.
    """
    times = _times_halfway(count)
    return bool(c.HALFWAY_OFTEN * times >= count[at.DISTINCT] and times > 1 if rough else times > 0)


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
def _halfway(code: Any, x: Any, least: Any, m: int, a: int) -> float:
    """The chance that a row lies as it does, rounded, in the middle of the ring's row a and another of m; 1 where it does not.

    Each column is within the ``least`` codes that tell two of its values apart, and would be by chance in (least + 1) / (gap + 1) of the
    cases: many columns that are far apart leave little, a few of few values leave all.
    """
    n = len(x)
    best = 1.0
    for b in range(m):
        p = 1.0 if b != a else 2.0
        for f in range(n):
            if p > 1.0:
                break
            first, second = np.int64(code[(n + f) * c.RING + a]), np.int64(code[(n + f) * c.RING + b])
            if abs(2 * np.int64(x[f]) - first - second) > least[f]:
                p = 2.0
            else:
                p *= min(1.0, (least[f] + 1.0) / (abs(first - second) + 1.0))
        best = min(best, p)
    return best


@njit
def bisection(
    real: Any, count: Any, gain: Any, g: Any, ring: int, distance: Any, m: int, a: int, edit: bool, code: Any, value: Any, before: int,
    moved: int, x: Any, least: Any, image: bool,
) -> None:  # fmt: skip
    """E9: is the row halfway between the nearest of the m recent ones, a, and another at the same distance (``distance`` is squared).

    Rounded rows never are exactly; of them (no ``image``), and of all others, one that would hardly be so by chance counts more than once.

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
            hit = before in (a, b) or _has_few(code, value, m, a)
    times = int(hit)
    chance = 1.0 if image else _halfway(code, x, least, m, a)
    if chance < c.HALFWAY[0]:
        times = 2
        count[at.BISECTED] += (_times_halfway(count) < 3) << _TIMES_AT
        if chance < c.HALFWAY[1]:
            times = 3
            count[at.BISECTED] |= _SURE
    tried(real, at.BISECTION, gain, times)
    if times > 0:
        count[at.BISECTIONS] += 1
        octave = int(np.floor(0.5 * np.log2(distance[a])))  # of the distance itself
        count[at.BISECTED] |= 1 << octave % _OCTAVES
        for f in range(len(value)):
            if not one or value[f] != code[f * c.RING + a]:
                count[at.BISECTED] |= 1 << (_OCTAVES + f % _FIELDS)
