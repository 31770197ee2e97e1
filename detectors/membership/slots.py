"""Columns over client slots: arrays of one row a client, that grow, forget and travel together."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from detectors.state import StateError

Layout = dict[str, tuple[DTypeLike, tuple[int, ...], float]]


class Slots:
    """Named arrays with the same number of rows; a row is one client.

    Args:
        layout: by name, the dtype, the shape of a row and the value of an empty one.
        capacity: rows, at least 1.

    Raises:
        ValueError: for a capacity below 1.

    Example:
        >>> slots = Slots({"n": ("int64", (), 0), "last": ("float64", (2,), -1)}, 3)
        >>> slots.arrays["n"] += 5
        >>> slots.clear(np.array([1]))
        >>> slots.arrays["n"].tolist(), slots.bytes_per_row
        ([5, 0, 5], 24)
    """

    def __init__(self, layout: Layout, capacity: int) -> None:
        if capacity < 1:
            raise ValueError(f"capacity is {capacity}; it must be at least 1")
        self._layout = layout
        self.capacity = capacity
        self.arrays: dict[str, NDArray[Any]] = {name: self._empty(name, capacity) for name in layout}

    def _empty(self, name: str, rows: int) -> NDArray[Any]:
        dtype, shape, fill = self._layout[name]
        return np.full((rows, *shape), fill, dtype)

    @property
    def bytes_per_row(self) -> int:
        """Memory of one client."""
        return sum(array.nbytes for array in self.arrays.values()) // self.capacity

    def resize(self, capacity: int) -> None:
        """More or fewer rows; the first ones stay, new ones are empty.

        Raises:
            ValueError: for a capacity below 1.
        """
        if capacity < 1:
            raise ValueError(f"capacity is {capacity}; it must be at least 1")
        keep = min(capacity, self.capacity)
        for name, array in self.arrays.items():
            fresh = self._empty(name, capacity)
            fresh[:keep] = array[:keep]
            self.arrays[name] = fresh
        self.capacity = capacity

    def clear(self, slots: NDArray[np.integer[Any]]) -> None:
        """Forget these rows, such as of evicted clients."""
        for name, array in self.arrays.items():
            array[slots] = self._layout[name][2]

    def load(self, arrays: Any) -> None:
        """Take over copies of arrays of the same layout, with any number of rows.

        Raises:
            StateError: when names, dtypes or shapes differ; nothing has changed then.
        """
        if not isinstance(arrays, dict) or arrays.keys() != self._layout.keys():
            raise StateError(f"expected the columns {sorted(self._layout)}")
        rows = {len(a) if isinstance(a, np.ndarray) and a.ndim else 0 for a in arrays.values()}
        if len(rows) != 1 or min(rows) < 1:
            raise StateError(f"columns have different or no rows: {sorted(rows)}")
        for name, (dtype, shape, _) in self._layout.items():
            if arrays[name].dtype != np.dtype(dtype) or arrays[name].shape[1:] != shape:
                raise StateError(f"column {name} is {arrays[name].dtype} {arrays[name].shape}")
        self.arrays = {name: arrays[name].copy() for name in self._layout}
        self.capacity = rows.pop()
