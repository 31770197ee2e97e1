"""Compiled code that counts no references.

numba counts references to arrays, with an atomic instruction for every slice that is taken: in a kernel that takes fifty slices of a
client's state a row, an eighth of its time. Without the counting nothing in the function may allocate, not even hidden in an assignment
between slices of one array; numba refuses to compile it then. Room to work in comes from the caller.
"""

from __future__ import annotations

from typing import Any

from numba import njit


def lean(function: Any) -> Any:
    """`numba.njit` with a cache and without reference counts."""
    return njit(cache=True, _nrt=False)(function)  # type: ignore[call-overload]
