"""Changes that ordinary clients make to all of their rows, and that leave each column about where it was.

An instrument has noise of its own, a program fills gaps with the middle, or takes a field of another record. Such rows look made to E12's
trees more often than the reference's do, and how much more depends on the table: noise of a tenth of a standard deviation breaks a tight
law and nothing in a table of codes. So the reference is changed in each of these ways, scored by trees that never saw it, and what the
worst of them does is what a client may do (`detectors.evidence.composed`).

Rounding does it, too, but mostly shows: columns repeat values more than the reference's do, which made rows never do, with the most
frequent value of each column left out (a default, a limit). A habit that shows does not count.
Of n values n (n - 1) S_2 ordered pairs are equal, S_k = sum_i share_i^k, with variance 2 n^2 S_2 + 4 n^3 (S_3 - S_2^2).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from detectors.evidence import constants as c
from detectors.evidence import recent
from detectors.evidence.residual import Floats
from detectors.lean import allocating


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
    return [
        rows,
        np.clip(measured(rows, rng), rows.min(0), rows.max(0)),
        *(np.where(rng.random(rows.shape) < share, middle, rows) for share in c.HABIT_GAPS),
        np.where(rng.random(rows.shape) < c.HABIT_EDITS, other, rows),
        *(np.round(rows / (step * sd)) * step * sd for step in c.HABIT_ROUNDED),
    ]


def measured(rows: Floats, rng: np.random.Generator) -> Floats:
    """``rows`` (n, F) in raw units by an instrument with noise of a tenth of each column's standard deviation."""
    sd = np.maximum(rows.std(0), 1e-9)
    noisy = rows + c.HABIT_NOISE * sd * rng.normal(size=rows.shape)
    out: Floats = np.where((rows == np.round(rows)).all(0), np.round(noisy), noisy)
    return out


def careless(rows: Floats, share: NDArray[np.float32], rng: np.random.Generator) -> list[Floats]:
    """``rows`` (n, F) whose columns of few values are filled by the middle here and there, or hold another row's: nothing shows it there.

    Categories in columns of nought and one add up to one no more.

    Args:
        rows: in any units.
        share: (F, 256) how often each code occurs.
        rng: draws which.
    """
    few = np.array([powers(own, -1)[0] >= c.GENERATED_TIES for own in share])
    gaps, edits = rng.random((2, *rows.shape)) < np.array(c.CARELESS)[:, None, None]
    return [np.where(few & gaps, np.median(rows, axis=0), rows), np.where(few & edits, rows[rng.permutation(len(rows))], rows)]


def shows(code: NDArray[np.uint8], share: NDArray[np.float32], rng: np.random.Generator) -> bool:
    """Whether nearly any `MEMORY` of the rows (codes, (n, F)) are seen to be rounded."""
    held, seen = min(c.MEMORY, len(code)), 0
    for _ in range(c.HABIT_DRAWS):
        memory = np.zeros((code.shape[1], c.MEMORY), np.uint8)
        memory[:, :held] = code[rng.choice(len(code), held, replace=False)].T
        seen += bool(is_coarser(memory.ravel(), held, share))
    return seen >= c.HABIT_SHOWS * c.HABIT_DRAWS


@njit
def powers(share: Any, without: int) -> Any:
    """S_2 and S_3 of shares (256,) of codes; of those but ``without``, taken to sum to 1, unless that is -1."""
    left = 1.0 - (share[without] if without >= 0 else 0.0)
    two = three = 0.0
    for code in range(256):
        if code != without:
            p = share[code] / left
            two += p**2
            three += p**3
    return two, three


@njit
def spread_of_pairs(n: int, two: float, three: float) -> Any:
    """Standard deviation of the number of ordered equal pairs among n values, and one."""
    return np.sqrt(2 * n**2 * two + 4 * float(n) ** 3 * max(three - two**2, 0.0) + 1)


@allocating
def is_coarser(memory: Any, held: int, share: Any) -> bool:
    """Whether a quarter of the remembered columns (codes, field-major, `MEMORY` a field) repeat values far more than the reference's.

    Args:
        memory: the client's codes.
        held: rows in it.
        share: (F, 256) how often the reference has a code.
    """
    times = np.empty(256, np.int64)
    columns = repeated = 0
    for f in range(len(share)):
        mode = recent.tally(memory, held, f, times)
        n, left = held - times[mode], 1.0 - share[f, mode]
        if n < c.LOOK_ROWS or left < c.COARSER_LEFT:
            continue
        two, three = powers(share[f], mode)
        equal = (times * (times - 1)).sum() - times[mode] * (times[mode] - 1)
        columns += 1
        repeated += equal > c.COARSER_TIMES * n * (n - 1) * two + c.COARSER_SIGMAS * spread_of_pairs(n, two, three)
    return bool(columns > 0 and repeated >= max(c.COARSER_COLUMNS * columns, 1))


@allocating
def is_off_grid(memory: Any, held: int, share: Any) -> bool:
    """Whether more than half of the remembered rows hold a value that a column of few values never has: half steps, other codes."""
    off = np.zeros(held, np.int64)
    for f in range(len(share)):
        if powers(share[f], -1)[0] >= c.GENERATED_TIES:
            for i in range(held):
                off[i] += share[f, memory[f * c.MEMORY + i]] == 0
    return bool(2 * np.count_nonzero(off) > held)
