"""A row against a client's earlier ones: the ring has the last distinct rows, the memory those that were far from all recent ones.

Compiled, as `trials`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from detectors.evidence import constants as c
from detectors.evidence import layout as at
from detectors.tiles import AXES, squares

_BIT, _ONES, _SEVENS = np.uint64(1), np.uint64(0x0101010101010101), np.uint64(0x7F7F7F7F7F7F7F7F)
_NONE = np.int32(2**31 - 1)


@njit(fastmath={"contract", "nsz"})
def distances(real: Any, ring: int, g: Any, out: Any) -> None:
    """Squared distances of a position to all rows of the ring."""
    if len(g) == AXES:
        squares(g, real[ring : ring + AXES * c.RING].reshape(AXES, c.RING), out)
        return
    out[:] = 0
    for f in range(len(g)):
        x = g[f]
        row = real[ring + f * c.RING : ring + (f + 1) * c.RING]
        for k in range(c.RING):
            t = x - row[k]
            out[k] += t * t


@njit
def equal_fields(ring: Any, value: Any, limit: Any, m: int, out: Any, often: Any) -> int:
    """Fields equal to each of the ring's rows (out), and how many inner values occur in three or more of its m rows.

    ``often`` becomes in how many of them each field's value occurs.

    ``ring`` is the bytes of a field's sixteen rows as two words; eight bytes are compared at once (Lamport 1975).
    """
    valid_a = _ONES if m >= 8 else (_BIT << np.uint64(8 * m)) - _BIT & _ONES
    valid_b = _ONES if m >= 16 else ((_BIT << np.uint64(8 * (m - 8))) - _BIT & _ONES if m > 8 else _BIT - _BIT)
    a = b = _BIT - _BIT
    repeated = 0
    for f in range(len(value)):
        h = np.uint64(value[f]) * _ONES
        x, y = ring[2 * f] ^ h, ring[2 * f + 1] ^ h
        x = ~(((x & _SEVENS) + _SEVENS) | x | _SEVENS) >> np.uint64(7)  # 1 in the bytes that were equal
        y = ~(((y & _SEVENS) + _SEVENS) | y | _SEVENS) >> np.uint64(7)
        a += x
        b += y
        times = ((x & valid_a) * _ONES >> np.uint64(56)) + ((y & valid_b) * _ONES >> np.uint64(56))
        often[f] = times
        repeated += (times >= c.IMPUTED_REPEATS) & ((limit[f] & 1) == 0)
    for k in range(8):
        out[k] = np.int32(a >> np.uint64(8 * k) & np.uint64(255))
        out[8 + k] = np.int32(b >> np.uint64(8 * k) & np.uint64(255))
    return repeated


@njit
def keeps_what_is_rare(code: Any, value: Any, k: int, below: Any) -> bool:
    """Whether a row is an edit of the ring's row k: it keeps most of its rare values or, where that has hardly any, most of its fields.

    Where some rows are noughts but for a field or two (the hits of a pitcher), two of these share more fields than an edit leaves.

    Args:
        code: the client's bytes; the ring's codes follow its values, field-major, `RING` a field.
        value: (F,) hashes of the row's values.
        k: slot of the row before.
        below: (F, 257) share of the reference's rows below each code.
    """
    n = len(value)
    rare = kept = alike = 0
    for f in range(n):
        old = np.int64(code[(n + f) * c.RING + k])
        same = value[f] == code[f * c.RING + k]
        alike += same
        if below[f, old + 1] - below[f, old] < c.KEPT_RARE:
            rare += 1
            kept += same
    return bool(kept >= c.KEPT_SHARE * rare) if rare >= c.KEPT_LEAST else bool(alike >= c.KEPT_SHARE * n)


@njit
def before(count: Any, distance: Any, equal: Any, m: int, best: float, near2: float, here2: float, like: float) -> int:
    """Slot of the row that a row continues: the previous one or, behind cover, the newest near one; -1 where it continues none.

    Among ordinary rows (cover) the previous row says nothing about a search. A client counts as covered once two of its rows, with
    `COVER_ROWS` between them at most, had a neighbour in the ring while the row before each was a stranger: neither near any earlier
    one nor an edit. Then a row continues its newest neighbour, and one that has none is no trial of what judges steps, or these would
    hide the search. A row in the place of the previous one continues that, whatever else it is near; so do all rows of other clients.

    Args:
        count: of the client; `layout.LAST` holds the previous row's slot, whether it was a stranger, and how covered the client is.
        distance: (RING,) squared distances to the rows of the ring.
        equal: (RING,) numbers of equal fields.
        m: rows in the ring.
        best: the least squared distance above 0, infinite where there is none.
        near2: squared distance of neighbours.
        here2: squared distance of one place.
        like: number of equal fields of edits.
    """
    last = count[at.LAST] & c.SLOT
    if m == 0 or distance[last] == 0:
        return -1
    stranger, cover = count[at.LAST] & c.STRANGER != 0, count[at.LAST] >> c.COVER_SHIFT & c.COVER_MOST
    here = distance[last] < here2 or equal[last] >= like
    found, skip = last, False
    covered = cover > c.COVER_ROWS
    cover = max(cover - 1, 0)
    if not here and (stranger or covered):
        if best < near2:
            if stranger:
                cover = min(cover + c.COVER_ROWS + 1, 2 * c.COVER_ROWS)
            if cover > c.COVER_ROWS:
                newest = (count[at.DISTINCT] - 1) % c.RING
                for j in range(m):
                    k = (newest - j) % c.RING
                    if 0 < distance[k] < near2:
                        found = k
                        break
        else:
            skip = covered
    count[at.LAST] = count[at.LAST] & ~(c.COVER_MOST << c.COVER_SHIFT) | cover << c.COVER_SHIFT
    return -1 if skip else found


@njit(inline="always")
def nearest_remembered(memory: Any, held: int, x: Any, away: Any) -> int:
    """The remembered row at the least distance above 0, or -1; ``away`` holds the squares of all distances."""
    away[:held] = 0
    for f in range(len(x)):
        v = np.int32(x[f])
        row = memory[f * c.MEMORY : f * c.MEMORY + held]
        for k in range(held):
            step: Any = v - np.int32(row[k])
            away[k] += step * step
    best: Any = _NONE
    for k in range(held):
        best = min(best, away[k] if away[k] > 0 else _NONE)
    if best == _NONE:
        return -1
    parent = 0
    while away[parent] != best:
        parent += 1
    return parent


@njit(inline="always")
def remember(count: Any, memory: Any, x: Any) -> None:
    """Puts a row in the place of the oldest remembered one."""
    k = count[at.REMEMBERED] % c.MEMORY
    count[at.REMEMBERED] += 1
    for f in range(len(x)):
        memory[f * c.MEMORY + k] = x[f]


@njit
def remembered(code: Any, count: Any, fields: int) -> Any:
    """A client's memory (codes, field-major, `MEMORY` a field), and how many rows are in it.

    From Python by its `py_func`: compiled for a `lean` caller it counts no references, which what it returns would need there.
    """
    return code[2 * c.RING * fields :], min(count[at.REMEMBERED], c.MEMORY)


@njit
def latest(code: Any, count: Any, fields: int) -> Any:
    """The codes of the ring's rows (field-major, `RING` a field), and how many rows are in it."""
    return code[c.RING * fields : 2 * c.RING * fields], min(count[at.DISTINCT], c.RING)


@njit
def tally(memory: Any, held: int, f: int, times: Any) -> int:
    """Counts how often each code is in column f of the remembered rows, into times (256,); returns the most frequent one."""
    times[:] = 0
    for i in range(held):
        times[memory[f * c.MEMORY + i]] += 1
    return int(times.argmax())
