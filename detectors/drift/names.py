"""What the cells of a variable are called on a chart."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

LONGEST = 40
"""Characters of a cell's name; categories may be longer."""
_DIGITS = range(4, 10)


def smallest(edges: NDArray[np.float32]) -> float:
    """The smallest value that a numeric variable has in the reference: its first edge is the float just below it."""
    return float(np.nextafter(edges[0], np.float32(np.inf))) + 0.0  # no -0


def numeric_names(edges: NDArray[np.float32]) -> tuple[str, ...]:
    """A name for each cell; its upper end belongs to a bin, its lower one does not.

    Ends have four digits, or as many more as tell them apart (nine do for any two float32). A bin that holds one value only, as a tied
    column has it at its minimum, is called by it.

    Args:
        edges: of the variable, without padding.

    Cost: 60 us.

    Example:
        >>> from detectors.drift.bins import numeric_edges
        >>> numeric_names(numeric_edges(np.float32([1, 1, 2, 4])))
        ('below 1', '1', '1 to 2', '2 to 4', 'above 4', 'missing')
    """
    if edges.size < 2:  # the reference had no values
        return ("low", "high", "missing")
    at = [smallest(edges), *(edges[1:] + np.float32(0)).tolist()]
    texts = ([f"{edge:.{digits}g}" for edge in at] for digits in _DIGITS)
    told = next((one for one in texts if len(set(one)) == len(set(at))), [f"{edge:.9g}" for edge in at])
    bins = [low if low == high else f"{low} to {high}" for low, high in pairwise(told)]
    return (f"below {told[0]}", *bins, f"above {told[-1]}", "missing")


def category_names(cell_of: NDArray[np.int32], categories: Sequence[str]) -> tuple[str, ...]:
    """A name for each cell.

    Args:
        cell_of: of each category, as `bins.category_cells` has them.
        categories: names.

    Example:
        >>> category_names(np.int32([0, 1]), ["x", "y"])
        ('x', 'y', 'unseen', 'missing')
    """
    size = int(cell_of.max(initial=-1)) + 1
    names = ["other"] * size
    for category, cell in zip(categories, cell_of.tolist(), strict=False):
        names[cell] = category if len(category) <= LONGEST else f"{category[: LONGEST - 1]}…"
    if len(cell_of) > size:  # the last has all the others
        names[-1] = "other"
    return (*names, "unseen", "missing")
