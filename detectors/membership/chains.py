"""Members around which somebody searches: chains of queries that begin at a training row (label-only tests by distance to the boundary).

A chain is noted when, within 150 queries after an exact member, the client's rows cluster (12 of them) or its second search ends. A search
halves its step twice in a row (pictures: three times), to or fro along one line, in more fields than an edit changes: so a boundary is
looked for, whatever the distance, and nothing else looks like that: on thirteen services none of 1,100 ordinary clients did it once.

Two members ticket and three page; so does one around which 4 or 8 searches followed each other. A rule, not an e-value.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from detectors.tiles import AXES

CHAINS = 8
_WITHIN = 150
_HALF2, _SEARCHES, _TICKET_SEARCHES, _PAGE_SEARCHES = np.float32(0.25**2), 2, 4, 8
# Columns of `tally`.
ROWS, MEMBERS, OTHERS, NEAR, EXACT, LAST_EXACT_ROW, LAST_EXACT, NEXT, CHAINED, LAST_NEAR_ROW, COPIED = range(11)
HALVED, EDITED, SEARCHES, LAST_SEARCH_ROW, CHAIN = range(11, 16)


@njit(inline="always")
def halves(place: Any, last: Any, first: bool) -> bool:
    """Whether the step from the last place is half of the step before, to or fro; ``last`` (place, step) becomes this one's."""
    before, to, fro = np.float32(0), np.float32(0), np.float32(0)
    for k in range(AXES):
        step = np.float32(0) if first else place[k] - last[0, k]
        was = last[1, k]
        before += was * was
        to += (2 * step - was) * (2 * step - was)
        fro += (2 * step + was) * (2 * step + was)
        last[0, k], last[1, k] = place[k], step
    return bool(min(to, fro) < _HALF2 * before and before > 1e-6)


@njit(inline="always")
def searched(t: Any, halves: bool, edited: bool, halvings: int) -> bool:
    """Count a step; True when it ends a search that another one was not far before."""
    t[HALVED] = t[HALVED] + 1 if halves and not t[EDITED] else 0
    t[EDITED] = edited
    if t[HALVED] != halvings:
        return False
    t[SEARCHES] = t[SEARCHES] + 1 if t[ROWS] - t[LAST_SEARCH_ROW] <= _WITHIN else 1
    t[LAST_SEARCH_ROW] = t[ROWS]
    return bool(t[SEARCHES] >= _SEARCHES)


@njit(inline="always")
def chain(t: Any) -> None:
    """Note that the member asked last was searched around, when it was not long ago."""
    if t[EXACT] == 0 or t[ROWS] - t[LAST_EXACT_ROW] > _WITHIN or t[CHAINED] >= CHAINS:
        return
    known = False
    for k in range(t[CHAINED]):
        known |= t[CHAIN + k] == t[LAST_EXACT]
    if not known:
        t[CHAIN + t[CHAINED]] = t[LAST_EXACT]
        t[CHAINED] += 1


@njit(inline="always")
def chains(t: Any, ticket: float, page: float) -> float:
    """What the chains say: nothing, a ticket or a page."""
    if t[CHAINED] >= 3 or (t[CHAINED] and t[SEARCHES] >= _PAGE_SEARCHES):
        return page
    return ticket if t[CHAINED] == 2 or (t[CHAINED] and t[SEARCHES] >= _TICKET_SEARCHES) else 0.0
