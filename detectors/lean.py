"""Compiled code that counts no references.

numba counts references to arrays, with an atomic instruction for every slice that is taken: in a kernel that takes fifty slices of a
client's state a row, an eighth of its time. Without the counting nothing in the function may allocate, not even hidden in an assignment
between slices of one array; numba refuses to compile it then. Room to work in comes from the caller.
"""

from __future__ import annotations

from typing import Any

from numba import njit


def lean(function: Any) -> Any:
    """`numba.njit` with a cache and without reference counts; what it calls is compiled the same way, but for `allocating`."""
    return njit(cache=True, _nrt=False)(function)  # type: ignore[call-overload]


def allocating(function: Any) -> Any:
    """`numba.njit` for what a `lean` function calls now and then and what needs memory of its own."""
    return njit(cache=True, _nrt=True)(function)  # type: ignore[call-overload]
