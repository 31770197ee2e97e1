"""Where the tested cells and the tenths of a reference lie in its table of cells."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from detectors.drift.bins import BINS

Kind = Literal["numeric", "categorical"]


def ranges(starts: NDArray[np.int64], kinds: tuple[Kind, ...]) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32]]:
    """First and last + 1 of every tested cell, and whose it is: each single cell, and the CDF cells x <= q of numeric variables."""
    low, high, variable = [], [], []
    for v, kind in enumerate(kinds):
        begin, end = int(starts[v]), int(starts[v + 1])
        inner = range(begin + 2, end - 2) if kind == "numeric" else range(0)
        low += [*range(begin, end), *(begin for _ in inner)]
        high += [*range(begin + 1, end + 1), *inner]
        variable += [v] * (end - begin + len(inner))
    return np.array(low, np.int32), np.array(high, np.int32), np.array(variable, np.int32)


def tenths(starts: NDArray[np.int64], kinds: tuple[Kind, ...], counts: NDArray[np.int64]) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """First cell of every bin of about a tenth, and the first of those of each variable with their number at the end."""
    firsts: list[int] = []
    of = [0]
    for v, kind in enumerate(kinds):
        begin, end = int(starts[v]), int(starts[v + 1])
        cells, last = np.arange(end - begin), end - begin - 2
        if kind == "numeric" and last:
            cumulated = np.cumsum(counts[begin : end - 1])
            low, high = (int(np.searchsorted(BINS * cumulated, part * cumulated[-1])) for part in (1, BINS - 1))
            low = min(max(low, 1), last - 1) if last > 1 else 1
            high = max(min(high + 1, last - 1), low + 1)
            cells = cells[(cells == 0) | ((cells > low) & (cells <= high)) | (cells > last)]
        firsts += (begin + cells).tolist()
        of.append(len(firsts))
    return np.array(firsts, np.int32), np.array(of, np.int64)
