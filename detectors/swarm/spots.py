"""Spots: places where rows of any clients lie closer together than rows do there, and whether a member is in their middle.

Who tests membership by labels asks changed copies of records, of which one was trained on and the next was not (recipe 2). Dealt out to
many accounts, nobody asks enough of them; together their rows lie in spots, and members are in the middle of more spots than chance
allows: 29 to 57 % on fifteen simulated services, 0 to 17 % where clients measured again or natural rows met. A boundary search dealt out
lies in spots, too, of a dozen rows and more.

A row belongs to the spot whose middle is nearer than half of what rows are apart there: the distance from the spot's first row to the
nearest member, or to the second nearest where the nearest is nearer than .7 of it (the row is a copy of that one). With its second row a
spot is judged: a member is in its middle when one of its rows is one, or when the mean of the rows lies within .6 of their spread of one
and nearer than .7 of the second nearest; up to its sixth row it may still become one. Edits and rows that the spot has count nowhere.

Small pictures lie far from their moved copies, since a move cuts pixels off. One belongs to a spot, too, when it is the spot's first
picture moved (`detectors.membership.moved`), and a member is in the middle when one of the pictures is a member moved by a pixel.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from detectors.membership.cells import FAR, MOST_CELLS, Cells, room_to_search, tiled, two_nearest
from detectors.membership.moved import moved_apart, to_levels
from detectors.membership.neighbours import RATIO2, SAME, Neighbours, describe, in_middle, index_of, is_edit, moved_index_of
from detectors.swarm.cusum import COPIES, Evidence, credit
from detectors.tiles import AXES, LANES, squares

TILES, PARTNERS = 128, 8
_ROWS = 6
_JUDGED, _MANY, _SEARCHED = 2, 3, 12
_PROBED, _CANDIDATES = 3, 16
_WITHIN2 = np.float32(0.5**2)
WINDOW_S = 6 * 3600.0
_U, _Q = 0.1, 0.5
# What `spotted` says of a row.
ALONE, COPY, SEARCH = range(3)
# Of `asked`, by client: spots of its rows with a member in the middle, with none, with a held-out row in the middle. First of all spots;
# then, but for held-out rows, of those of three rows and more: in cover traffic rows meet by two.
ALL, OF_THREE = range(2)
MEMBER, OTHER, HELD_OUT = range(3)
# States of a spot.
_OPEN, _NONE, _FOUND = range(3)


class Places(NamedTuple):
    """Where members and held-out rows lie: what `Neighbours` say, for the kernel.

    Attributes:
        known: whether members are known at all; else nothing is looked for.
        geometry: first six fields of `Neighbours`.
        members: what to search.
        control: the same of held-out rows, or one place that is far from everything.
        moved: members moved by a pixel, or one place that is far from everything.
        one: `moved_apart` below which two pictures are one.
    """

    known: bool
    geometry: Any
    members: Cells
    control: Cells
    moved: Cells
    one: float


def places(neighbours: Neighbours | None, control: Neighbours | None) -> Places:
    """Of a reference's members and held-out rows."""
    nowhere = tiled(np.full((1, AXES), FAR, np.float32), np.array([0, 1]), np.full((1, AXES), FAR, np.float32))
    if neighbours is None:
        none, flat = np.zeros(0, np.float32), np.zeros((0, 0), np.float32)
        geometry = (np.zeros((2, 0, 5), np.float32), np.zeros((2, 0, 9), np.float32), none, none, none, flat)
        return Places(False, geometry, nowhere, nowhere, nowhere, 0.0)
    held_out = index_of(control)[0] if control else nowhere
    moved = moved_index_of(neighbours) if len(neighbours.moved) else nowhere
    return Places(True, neighbours[:6], index_of(neighbours)[0], held_out, moved, float(neighbours.radii[3]))


class Spots(NamedTuple):
    """The latest spots of each of the members' cells, at least 2,048 in all; about .5 MB. Of a spot's rows the first six are kept.

    Attributes:
        middle: (tiles, 16, 16) float32 mean of the rows, tiles cell by cell.
        within2: (spots,) float32 squared distance within which a row belongs to it.
        spread: (spots,) float32 sum of squares about the mean.
        size: (spots,) int64 rows.
        state: (spots,) int64: not judged; nobody in the middle, or a member.
        held_out: (spots,) bool: a held-out row is in the middle.
        odd: (spots,) bool: the first row is odd.
        told: (spots,) bool: its rows are copies.
        shared: (spots,) bool: rows of several clients.
        hash: (spots, 6) uint64 of the rows.
        client: (spots, 6) int64 slots.
        member: (spots, 6) bool: the row is a member.
        at: (spots, 6) float64 event time, s.
        codes: (spots, f) uint8 fields of the first row.
        levels: (spots, pixels) int8 of the first row, if it is a picture.
        next: (cells,) int64 which one gives way next.
    """

    middle: NDArray[np.float32]
    within2: NDArray[np.float32]
    spread: NDArray[np.float32]
    size: NDArray[np.int64]
    state: NDArray[np.int64]
    held_out: NDArray[np.bool_]
    odd: NDArray[np.bool_]
    told: NDArray[np.bool_]
    shared: NDArray[np.bool_]
    hash: NDArray[np.uint64]
    client: NDArray[np.int64]
    member: NDArray[np.bool_]
    at: NDArray[np.float64]
    codes: NDArray[np.uint8]
    levels: NDArray[np.int8]
    next: NDArray[np.int64]


def no_spots(where: Places, fields: int) -> Spots:
    """None yet."""
    cells = len(where.members.reach) if where.known else 0
    tiles = -(-TILES // max(1, cells)) * cells
    n = tiles * LANES
    return Spots(
        middle=np.full((tiles, AXES, LANES), FAR, np.float32),
        within2=np.zeros(n, np.float32),
        spread=np.zeros(n, np.float32),
        size=np.zeros(n, np.int64),
        state=np.zeros(n, np.int64),
        held_out=np.zeros(n, np.bool_),
        odd=np.zeros(n, np.bool_),
        told=np.zeros(n, np.bool_),
        shared=np.zeros(n, np.bool_),
        hash=np.zeros((n, _ROWS), np.uint64),
        client=np.full((n, _ROWS), -1, np.int64),
        member=np.zeros((n, _ROWS), np.bool_),
        at=np.zeros((n, _ROWS)),
        codes=np.zeros((n, fields), np.uint8),
        levels=np.zeros((n, where.geometry[0].shape[1] * where.geometry[1].shape[1] if where.one else 0), np.int8),
        next=np.zeros(cells, np.int64),
    )


def in_range(spots: Spots, capacity: int) -> bool:
    """Whether what the kernel indexes with is in range: it checks nothing."""
    lanes = len(spots.size) // max(1, len(spots.next))
    return bool(np.all((spots.next >= 0) & (spots.next < lanes)) and np.all(spots.client < capacity) and np.all(spots.size >= 0))


def room(width: int, where: Places) -> tuple[Any, ...]:
    """What `spotted` works in: scaled row, its terms, its place, distances, a middle, distances to the cells; then the search's."""
    own = np.zeros(width, np.float32), np.zeros(len(where.geometry[4]), np.float32), np.zeros(AXES, np.float32)
    search = np.zeros(MOST_CELLS, np.float32), room_to_search()
    pictures = np.zeros(width, np.int8), np.zeros(_CANDIDATES, np.int64), np.zeros(_CANDIDATES, np.float32)
    return *own, np.zeros(LANES, np.float32), np.zeros(AXES, np.float32), *search, pictures


@njit(cache=True)
def _count(client: Any, column: int, times: int, of: int, asked: Any) -> None:
    """Count a spot to those whose first two rows it has, half to each of two."""
    for k in range(_JUDGED):
        if client[k] >= 0:
            asked[client[k], of, column] += np.float32(times) / np.float32(_JUDGED)


@njit(cache=True)
def _size(where: Places) -> tuple[int, int]:
    """Height and width of the pictures."""
    return where.geometry[1].shape[1], where.geometry[0].shape[1]


@njit(cache=True)
def _nearest_spot(here: Any, at: float, spots: Spots, where: Places, out: Any, to_cells: Any, pictures: Any) -> Any:
    """The spot that a place belongs to, or -1; and the cell of the members that it lies in.

    A picture in none of them may be the first row of one of the 16 nearest spots, moved.
    """
    members, (levels, candidate, away) = where.members, pictures
    away[:] = FAR
    cells = spots.next.shape[0]
    lanes = spots.size.shape[0] // cells
    for g in range(len(members.centres)):
        squares(here, members.centres[g], out)
        to_cells[g * LANES : (g + 1) * LANES] = out
    own, spot, best = -1, -1, FAR
    for probe in range(min(_PROBED, cells)):
        cell = to_cells[:cells].argmin()
        own = cell if probe == 0 else own
        to_cells[cell] = np.inf
        for first in range(cell * lanes, (cell + 1) * lanes, LANES):
            squares(here, spots.middle[first // LANES], out)
            for j in range(LANES):
                if out[j] < best and out[j] < spots.within2[first + j] and abs(at - spots.at[first + j, 0]) <= WINDOW_S:
                    spot, best = first + j, out[j]
                if where.one > 0 and out[j] < away[-1]:
                    k = _CANDIDATES - 1
                    while k > 0 and away[k - 1] > out[j]:
                        candidate[k], away[k] = candidate[k - 1], away[k - 1]
                        k -= 1
                    candidate[k], away[k] = first + j, out[j]
    if where.one > 0 and spot < 0:
        height, width = _size(where)
        for k in range(_CANDIDATES):
            now = away[k] < FAR and abs(at - spots.at[candidate[k], 0]) <= WINDOW_S
            if now and moved_apart(levels, spots.levels[candidate[k]], height, width, where.one) < where.one:
                return candidate[k], own, True
    return spot, own, False


@njit(cache=True)
def _link(a: Any, b: Any, partner: Any) -> None:
    for k in range(PARTNERS - 1, 0, -1):
        partner[a, k] = partner[a, k - 1]
    partner[a, 0] = b


@njit(cache=True)
def spotted(
    row: Any, code: Any, codes: Any, limit: int, known: bool, odd: bool, s: int, at: float,
    where: Places, spots: Spots, scratch: Any, asked: Any, partner: Any, last: Any, of: Evidence,
) -> tuple[int, bool]:  # fmt: skip
    """Put a row to its spot. When that comes to be one of copies, its earlier rows are made flags, too.

    Args:
        row: (d,) float32.
        code: its hash.
        codes: (f,) of its fields.
        limit: fields that an edit changes at most.
        known: whether somebody asked this very row before.
        odd: whether it is far from the reference.
        s: whose it is.
        at: event time, s.
        where: where members lie.
        spots: changed in place.
        scratch: of `room`, overwritten.
        asked: (capacity, 2, 3) float32 of `ALL` and `MEMBER` and following, changed in place.
        partner: (capacity, 8) slots in whose spots a client's rows lay last, changed in place.
        last: (capacity,) int64 the spot of a client's last row, changed in place.
        of: changed in place.

    Returns:
        `COPY` for a row in a spot of three rows or more, or of a member and a copy, that is no member itself; `SEARCH` for one in a spot
        of more than 12 rows of several clients, where the client's last row was, too; else `ALONE`. And whether it is the first picture of
        its spot, which is not odd, moved.
    """
    z, terms, here, out, mean, to_cells, search, pictures = scratch
    describe(row, where.geometry, z, terms, here)
    if where.one > 0:
        to_levels(z, pictures[0])
    index, away, second = two_nearest(here, where.members, FAR, -1, search)
    is_member = index >= 0 and away <= SAME
    within2 = _WITHIN2 * (second if away < RATIO2 * second else away)
    held_out = two_nearest(here, where.control, SAME, -1, search)[0] >= 0
    k, cell, moved = _nearest_spot(here, at, spots, where, out, to_cells, pictures)
    if k < 0:
        lanes = spots.size.shape[0] // spots.next.shape[0]
        k = cell * lanes + spots.next[cell]
        spots.next[cell] = (spots.next[cell] + 1) % lanes
        last[s] = k
        spots.middle[k // LANES, :, k % LANES] = here
        spots.within2[k] = within2
        spots.spread[k], spots.size[k], spots.state[k], spots.told[k], spots.shared[k] = 0, 1, _OPEN, False, False
        spots.member[k], spots.held_out[k], spots.odd[k] = False, held_out, odd
        if where.one > 0:
            spots.levels[k] = pictures[0]
        spots.hash[k, 0], spots.client[k, 0], spots.member[k, 0], spots.at[k, 0], spots.codes[k] = code, s, is_member, at, codes
        return ALONE, False
    n = min(spots.size[k], _ROWS)
    for j in range(n):
        if spots.hash[k, j] == code:
            return ALONE, False
    if is_edit(codes, spots.codes[k], limit) or (known and n == _ROWS):
        return ALONE, False
    height, width = _size(where)
    excused = moved and not spots.odd[k] and moved_apart(pictures[0], spots.levels[k], height, width, where.one, 0) >= where.one
    stays = last[s] == k
    last[s] = k
    spots.size[k] += 1
    spots.shared[k] |= spots.client[k, 0] != s
    for p in range(AXES):
        mean[p] = spots.middle[k // LANES, p, k % LANES]
        if not moved:  # moved copies lie anywhere
            step = here[p] - mean[p]
            mean[p] += step / np.float32(spots.size[k])
            spots.middle[k // LANES, p, k % LANES] = mean[p]
            spots.spread[k] += step * (here[p] - mean[p])
    if n < _ROWS:
        spots.hash[k, n], spots.client[k, n], spots.member[k, n], spots.at[k, n] = code, s, is_member, at
    before = spots.client[k, n - 1]
    if before >= 0 and before != s:
        _link(s, before, partner)
        _link(before, s, partner)
    has_member = spots.member[k].any()
    if spots.state[k] != _FOUND and spots.size[k] <= _ROWS:
        found = has_member or in_middle(mean, spots.spread[k], spots.size[k], where.members, search) >= 0
        found = found or two_nearest(here, where.moved, SAME, -1, search)[0] >= 0
        if spots.state[k] == _OPEN:
            _count(spots.client[k], MEMBER if found else OTHER, 1, ALL, asked)
        elif found:
            for of_rows in range(ALL, OF_THREE + 1 if spots.size[k] > _MANY else OF_THREE):
                _count(spots.client[k], MEMBER, 1, of_rows, asked)
                _count(spots.client[k], OTHER, -1, of_rows, asked)
        spots.state[k] = _FOUND if found else _NONE
    if spots.size[k] == _MANY:
        _count(spots.client[k], MEMBER if spots.state[k] == _FOUND else OTHER, 1, OF_THREE, asked)
    if spots.size[k] <= _ROWS:
        counted = spots.held_out[k] and spots.size[k] > _JUDGED
        spots.held_out[k] |= held_out or in_middle(mean, spots.spread[k], spots.size[k], where.control, search) >= 0
        if spots.held_out[k] and not counted:
            _count(spots.client[k], HELD_OUT, 1, ALL, asked)
    if spots.size[k] < _MANY and not has_member:
        return ALONE, excused
    if not spots.told[k]:
        spots.told[k] = True
        for j in range(n):
            c = spots.client[k, j]
            if c >= 0 and not spots.member[k, j]:
                credit(c, COPIES, spots.at[k, j], of)
    if spots.size[k] > _SEARCHED:
        return SEARCH if spots.shared[k] and stays else ALONE, excused
    return ALONE if is_member else COPY, excused


def ln_members(asked: NDArray[np.float32]) -> NDArray[np.float64]:
    """Evidence (ln) of counts (..., 2, 3) that half of the spots have a member in the middle, against one in ten.

    Where spots of three rows speak for it, theirs or that of all spots, whichever is more: cover traffic adds spots of two.

    Example:
        >>> alone, covered = [[1, 0, 0], [0, 0, 0]], [[8, 20, 9], [8, 8, 1]]
        >>> ln_members(np.array([alone, covered], np.float32)).round(1).tolist()
        [1.6, 8.2]
    """
    of_all, of_three = np.moveaxis(asked[..., MEMBER] * np.log(_Q / _U) + asked[..., OTHER] * np.log((1 - _Q) / (1 - _U)), -1, 0)
    return np.asarray(np.where(of_three > 0, np.maximum(of_all, of_three), of_all), np.float64)
