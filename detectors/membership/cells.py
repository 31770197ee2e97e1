"""Which members are nearest to a row: in the cells around it, sixteen at a time.

Rows that spread evenly over many axes leave no bound to prune by, so an exact search costs a look at every member. Here members lie in
about sqrt(m) cells (Lloyd's k-means) and the `PROBES` cells whose centres are nearest are searched, exactly where there are no more cells
than that. A changed copy lies next to its member and finds it: 99 % of copies moved by a third of the members' spacing, where rows fill
all sixteen axes evenly, and more elsewhere (.996 to 1 on five services at the radii that count as near). For a row of its own the nearest
member found may be a little further than the true one, which is why the radii are measured with this very search.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from detectors.tiles import AXES, LANES, squares

PROBES = 6
MOST_CELLS = 128
FAR = np.float32(1e15)
"""Coordinates of an empty lane: its squared distance, 1.6e31, is a float32 still, and beyond every radius."""
_ROUNDS = 8
_CELL, _HIGH, _HIGHEST = np.int32(MOST_CELLS - 1), np.int32(-MOST_CELLS), np.int32(2**31 - 1)


class Cells(NamedTuple):
    """The index that `two_nearest` searches, made by `tiled`."""

    centres: NDArray[np.float32]  # (centre tiles, 16, 16)
    reach: NDArray[np.float32]  # (cells,) distance from a cell's centre to its furthest member
    starts: NDArray[np.int64]  # (cells + 1,) first tile of each cell
    tiles: NDArray[np.float32]  # (tiles, 16, 16)
    ids: NDArray[np.int32]  # (16 tiles,) position of each lane's member; -1 for an empty lane


def group(places: NDArray[np.float32], rng: np.random.Generator) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    """Cells of places (m, axes): the order that puts them cell by cell, first of each cell (cells + 1,), centres (cells, axes)."""
    m = len(places)
    centres = places[rng.choice(m, min(max(1, round(np.sqrt(m))), MOST_CELLS), replace=False)].astype(np.float64)
    P = places.astype(np.float64)
    for _ in range(_ROUNDS):
        cell = (-2 * P @ centres.T + (centres**2).sum(1)).argmin(1)
        size = np.bincount(cell, minlength=len(centres))
        sums = np.stack([np.bincount(cell, weights=column, minlength=len(centres)) for column in P.T], axis=1)
        centres = sums[size > 0] / size[size > 0, None]  # a cell that lost all its members is gone
    cell = (-2 * P @ centres.T + (centres**2).sum(1)).argmin(1)
    starts = np.concatenate([[0], np.cumsum(np.bincount(cell, minlength=len(centres)))])
    return np.argsort(cell, kind="stable"), starts.astype(np.int64), centres.astype(np.float32)


def tiled(places: NDArray[np.float32], starts: NDArray[np.int64], centres: NDArray[np.float32]) -> Cells:
    """The index of places (m, axes) that lie cell by cell."""
    sizes = np.diff(starts)
    first = np.concatenate([[0], np.cumsum(-(-sizes // LANES))]).astype(np.int64)
    lane = np.repeat(first[:-1] * LANES - starts[:-1], sizes) + np.arange(len(places))
    ids = np.full(first[-1] * LANES, -1, np.int32)
    ids[lane] = np.arange(len(places))
    away = np.sqrt(((places - np.repeat(centres, sizes, axis=0)) ** 2).sum(1))
    reach = np.zeros(len(centres), np.float32)
    np.maximum.at(reach, np.repeat(np.arange(len(centres)), sizes), away * np.float32(1.0001))
    at = np.arange(len(centres))
    return Cells(_tiles(centres, at, -(-len(centres) // LANES)), reach, first, _tiles(places, lane, int(first[-1])), ids)


def _tiles(places: NDArray[np.float32], lane: NDArray[np.int64], count: int) -> NDArray[np.float32]:
    out = np.full((count * LANES, AXES), FAR, np.float32)
    out[lane] = 0
    out[lane, : places.shape[1]] = places
    return np.ascontiguousarray(out.reshape(count, LANES, AXES).transpose(0, 2, 1))


@njit(cache=True)
def room_to_search() -> Any:
    """What `two_nearest` works in: distances of a tile, order of the cells, and the former's bits."""
    out = np.empty(LANES, np.float32)
    return out, np.empty(MOST_CELLS, np.int32), out.view(np.int32)


@njit(cache=True, fastmath={"contract", "nsz"})
def two_nearest(point: Any, cells: Cells, cap: Any, skip: int, room: Any) -> Any:
    """Position of the nearest member found (-1: none within), its squared distance and the second one's, both looked for below ``cap``.

    Args:
        point: (16,) float32, zero beyond the axes in use.
        cells: of `tiled`.
        cap: float32, squared distance.
        skip: a position that does not count; -1 for none.
        room: of `room_to_search`, overwritten.
    """
    best, second, index = cap, cap, -1
    count = len(cells.reach)
    probes = min(PROBES, count)
    out, order, bits = room
    # A positive float32 is ordered as its bits are; its lowest seven give way to the cell's number, so that a minimum says whose it is.
    for g in range(len(cells.centres)):
        squares(point, cells.centres[g], out)
        for j in range(LANES):
            order[g * LANES + j] = (bits[j] & _HIGH) | np.int32(g * LANES + j)
    lanes = len(cells.centres) * LANES
    for _ in range(probes):
        least = order[0]
        for j in range(1, lanes):
            least = min(least, order[j])
        c = least & _CELL
        order[c] = _HIGHEST
        out[0] = 0  # `bits` are those of `out`
        bits[0] = least & _HIGH
        gap = np.sqrt(out[0]) - cells.reach[c]
        if c >= count or (gap > 0 and gap * gap > second):
            continue
        for g in range(cells.starts[c], cells.starts[c + 1]):
            squares(point, cells.tiles[g], out)
            nearer = 0  # a count, since a minimum of floats is not vectorised
            for j in range(LANES):
                nearer += out[j] < second
            if nearer:
                for j in range(LANES):
                    s = out[j]
                    if s < second and cells.ids[g * LANES + j] != skip:
                        if s < best:
                            second, best, index = best, s, cells.ids[g * LANES + j]
                        else:
                            second = s
    return index, best, second
