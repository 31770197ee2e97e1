"""E7: is a row one more corner of a box, as Square's candidates are, each column at one of two values?

Compiled, as `trials`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from detectors.evidence import constants as c


@njit(inline="always")
def passes(step: Any, limit: Any, least: Any) -> bool:
    """Whether a step of a column goes further than to its next value; of a value that the reference has not, than jitter."""
    return bool(step >= (c.TWO_VALUED_BIG if limit & 2 else least))


@njit
def _begins(code: Any, value: Any, x: Any, m: int, image: bool, newest: int, other: Any) -> tuple[int, int]:
    """How many of the newest rows a box is looked for in, and how many of these are outside of it; (0, 0) if too many are."""
    n, outside = len(x), 0
    for back in range(m):
        k = (newest - back) % c.RING
        beside = between = lone = changed = 0
        for f in range(n):
            mine = code[f * c.RING + k]
            if mine == value[f]:
                continue
            changed += 1
            if mine == code[f * c.RING + int(other[f])]:
                lone += k == other[f]  # nobody since had that value
                continue
            here, there = np.int64(x[f]), np.int64(code[(n + f) * c.RING + int(other[f])])
            if min(here, there) < np.int64(code[(n + f) * c.RING + k]) < max(here, there):
                between += 1
            else:
                beside = 1
                break
        around = outside == 0 and beside == 0 and back >= c.BOX_AROUND and between >= c.BOX_COLUMNS
        if around and (2 * changed >= n if image else c.BOX_LONE * lone <= between):
            return back, 0
        outside += beside + between > 0
        if outside > 0 and (image or (back < c.BOX_LATEST and outside > c.BOX_LATEST - c.BOX_INSIDE)):
            return 0, 0
    return (m, outside) if m >= c.BOX_ROWS else (0, 0)


@njit
def _turns(column: Any, rows: int, newest: int, one: Any, two: Any) -> int:
    """How often a column went from one of two values to the other in the newest rows and the one that has value ``one``."""
    turns, last = 0, one
    for back in range(rows):
        now = column[(newest - back) % c.RING]
        turns += now == (two if last == one else one) and last in (one, two)
        last = now
    return int(turns)


@njit
def corner(
    code: Any, value: Any, x: Any, limit: Any, often: Any, m: int, coarse: Any, least: Any, image: bool, newest: int, other: Any, below: Any
) -> int:  # fmt: skip
    """1 if a new row is one more corner of a box: each column has one of two values that it had before, three or more have both.

    2 if four or more have gone to and fro between them: to compare a few choices three are enough.

    The box is that of the row and of the newest other value of each column. What is in it, of the rows that the ring remembers:

    - those since the row in its middle, where a search begins: `BOX_COLUMNS` of its columns lie between the two values, and nearly all of
      the others have one that was asked again since; of a picture at least half differ. `BOX_AROUND` such rows are enough;
    - or all of them, `BOX_ROWS` at least;
    - or, of tables, `BOX_INSIDE` of the last `BOX_LATEST` (the first of a search are around another row still), if of four columns three
      go to and fro between the two: who compares a few choices leaves the other fields alone.

    In tables columns of few values count where one of the two is none that the reference has (``below``).

    Args:
        code: the client's bytes: the ring's values, field-major, `RING` a field, and then its codes.
        value: (F,) uint8 hashes of the row's values.
        x: (F,) codes of the row.
        limit: (F,) uint8, bit 1 where the reference does not have the value.
        often: (F,) how many of the ring's rows have the row's value.
        m: rows in the ring.
        coarse: (F,) columns of few values.
        least: (F,) code steps from which a column has passed over one of its values.
        image: whether rows are pictures.
        newest: slot of the latest row.
        other: (F,) room.
        below: (F, 257) share of the reference's rows below each code.
    """
    n = len(x)
    for f in range(n):
        if often[f] == 0:
            return 0
    for f in range(n):
        other[f] = -1
        for back in range(m):
            k = (newest - back) % c.RING
            if code[f * c.RING + k] != value[f]:
                other[f] = k
                break
    rows, outside = _begins(code, value, x, m, image, newest, other)
    two = to_and_fro = 0
    for f in range(n):
        if other[f] < 0 or (newest - int(other[f])) % c.RING >= rows:
            continue
        column = code[f * c.RING : (f + 1) * c.RING]
        old = np.int64(code[(n + f) * c.RING + int(other[f])])
        step = abs(np.int64(x[f]) - old)
        if not passes(step, limit[f], least[f]) or (image and step > c.BOX_PICTURE_STEP):
            continue
        if coarse[f] and not limit[f] & 2 and (image or below[f, old + 1] > below[f, old]):
            continue
        turns = _turns(column, min(rows, c.BOX_LATEST), newest, value[f], column[int(other[f])]) >= c.BOX_TURNS
        to_and_fro += turns
        two += outside == 0 or turns
    if two < (c.BOX_COLUMNS if outside == 0 else max(c.BOX_COLUMNS, n - n // 4)):
        return 0
    return 2 if to_and_fro > c.BOX_COLUMNS else 1
