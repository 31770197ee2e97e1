"""E10: each column moves from parent to child by an amount of its own, and these amounts recur with other signs (Jacobian augmentation).

A substitute's augmentation asks for ``x + lambda_f sign(dF/dx_f)``. Where lambda is one number on the columns' common scale, E2 sees
it. Where the attacker scales each column in a way of its own, or limits clip some of them, the amounts still are the same from row to row,
while the signs change with the parent. So the client's last step is remembered as A (whole code steps, .012 of a range each). A column of a
later row x is usable if ``|A_f|`` is at least 4 and x is not at the column's limit, and it matches a remembered row r if
``|x_f - r_f| = |A_f| +- 1``. With n usable columns, m_r matches of row r and p the share of matches among all other remembered rows, x hits
if for some r, not the last row,

    m_r >= .7 n,    n KL(m_r / n, p) >= 9.5 nats,    two matches or more with A's sign and two or more with the other sign.

The second is Chernoff's bound of so many matches by chance: 4.6 nats (ln 96) for the choice of r, and 4.9. p comes from the client's own
rows, so it holds whatever the values are like: whole numbers, few values, a population that has left the reference. From 14 nats on a hit
counts twice: five of 3,012 ordinary clients have one at all. The signs must be mixed, for a series that moves evenly repeats its step, or
the opposite of it. In a picture they must also turn on the way over it (in a twentieth of its columns): the sky and the ground of a
photograph are even, so their pixels match together or not at all, which is no trial each. A is kept while it is matched and is replaced
by the step from the nearest remembered row when its credit is out (2 for a match, at most 8, -1 for a miss).

Measured: of 1,027 ordinary clients of 11 services none hit in more than .03 of its rows (with 4 hits or more), also against references
that were moved, scaled or made noisy; Jacobian augmentation hits in .07 to .7, from its first synthetic row.
Blind to: two classes and a linear substitute, whose signs are all the same or all opposite (E2 sees these where the scale is common);
fewer than four columns.
Source: Papernot et al., "Practical black-box attacks against machine learning", ASIA CCS 2017 (the augmentation); Hoeffding, "Probability
inequalities for sums of bounded random variables", 1963, theorem 1 (unequal columns only make the tail lighter).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from detectors.evidence import constants as c

_ONE, _TWO = np.uint8(1), np.uint8(2)
_SIDE = np.uint8(c.STRIDE_SIDE)
_STEP, _STEP_DOWN = np.uint8(c.STRIDE_STEP), np.uint8(256 - c.STRIDE_STEP)


def width(fields: int) -> int:
    """Bytes of a client's A and its credit, in whole words."""
    return (fields + 1 + 7) // 8 * 8


@njit(inline="always")
def _is_usable(amount: Any, limit: Any) -> bool:
    """Whether a column's amount in A is a move, and the row is not at the column's limit."""
    return bool(not limit & 1 and _STEP <= amount <= _STEP_DOWN)


@njit(inline="always")
def _matches(memory: Any, held: int, last: int, kept: Any, x: Any, limit: Any, image: bool, plus: Any, minus: Any) -> int:
    usable: Any = np.int64(0)
    for f in range(len(x)):
        usable += _is_usable(kept[f], limit[f])
    if usable < c.STRIDE_COLUMNS:
        return 0
    plus[:] = 0
    minus[:] = 0
    early, seen = (5 * usable + 7) // 8, 0
    for f in range(len(x)):
        if not _is_usable(kept[f], limit[f]):
            continue
        same = np.uint8(np.uint8(x[f] - kept[f]) + _ONE)  # modulo 256: steps of more than 128 might be taken for others, which is rare
        other = np.uint8(np.uint8(x[f] + kept[f]) + _ONE)
        row = memory[f * c.MEMORY : (f + 1) * c.MEMORY]
        for k in range(c.MEMORY):  # cut to a byte at every turn, for 32 lanes
            plus[k] = np.uint8(plus[k] + np.uint8(np.uint8(same - row[k]) <= _TWO))
            minus[k] = np.uint8(minus[k] + np.uint8(np.uint8(other - row[k]) <= _TWO))
        seen += 1
        if seen == early:  # most rows are told apart by then: no row can still come to the share
            best: Any = np.uint8(0)
            for k in range(c.MEMORY):
                best = np.uint8(max(best, np.uint8(plus[k] + minus[k])))
            if best + (usable - early) < c.STRIDE_SHARE * usable:
                return 0
    plus[held:] = 0
    minus[held:] = 0
    total: Any = np.int32(0)
    for k in range(c.MEMORY):
        total = np.int32(total + np.int32(np.int32(plus[k]) + np.int32(minus[k])))
    plus[last] = 0
    most: Any = np.uint8(0)
    for k in range(c.MEMORY):
        matched = np.uint8(plus[k] + minus[k])
        most = max(most, matched if (plus[k] >= _SIDE) & (minus[k] >= _SIDE) else np.uint8(0))
    most = np.int64(most)
    if most < c.STRIDE_SHARE * usable:
        return 0
    p = (total - most + usable) / (held * usable)
    s = most / usable
    if s <= p:
        return 0
    nats = usable * (s * np.log(s / p) + ((1 - s) * np.log((1 - s) / (1 - p)) if s < 1 else 0.0))
    if nats < c.STRIDE_NATS:
        return 0
    if image and not _turns(memory, held, last, kept, x, limit, plus, minus, most, usable):
        return 0
    return 2 if nats >= c.STRIDE_SURE else 1


@njit
def _turns(memory: Any, held: int, last: int, kept: Any, x: Any, limit: Any, plus: Any, minus: Any, most: Any, usable: Any) -> bool:
    """Whether the step from the row that matches most changes its sign often on its way over the picture."""
    for k in range(held):
        if k != last and plus[k] + minus[k] == most and plus[k] >= _SIDE and minus[k] >= _SIDE:
            turns, rises, first = 0, False, True
            for f in range(len(x)):
                if not _is_usable(kept[f], limit[f]):
                    continue
                before = rises
                rises = x[f] > memory[f * c.MEMORY + k]
                turns += not first and rises != before
                first = False
            if turns >= c.STRIDE_TURNS * usable:
                return True
    return False


@njit(inline="always")
def stride(
    memory: Any, held: int, last: int, parent: int, kept: Any, x: Any, limit: Any, image: bool, plus: Any, minus: Any
) -> int:  # fmt: skip
    """Whether a row hits (1, or 2 where that is sure); A and its credit, which are ``kept``, follow it.

    Args:
        memory: remembered rows, field by field, `MEMORY` each.
        held: how many there are, at least one.
        last: which is the newest.
        parent: which is the nearest.
        kept: (fields + 1,) uint8, A modulo 256 and its credit.
        x: (fields,) uint8 codes of the row.
        limit: (fields,) uint8, bit 0 where it is at the column's limit.
        image: whether its fields are a picture's pixels, in its order.
        plus: (MEMORY,) uint8, room.
        minus: (MEMORY,) uint8, room.
    """
    n = len(x)
    hit: Any = np.int64(0)
    if kept[n] > 0 and held >= c.STRIDE_HELD:
        hit = _matches(memory, held, last, kept, x, limit, image, plus, minus)
    credit: Any = np.int64(kept[n])
    credit = min(credit + 2, c.STRIDE_CREDIT) if hit > 0 else max(credit - 1, 0)
    if credit == 0:
        for f in range(n):
            step: Any = np.int64(x[f]) - np.int64(memory[f * c.MEMORY + parent])
            kept[f] = np.uint8(min(max(step, -127), 127))
        credit = 1
    kept[n] = credit
    return int(hit)
