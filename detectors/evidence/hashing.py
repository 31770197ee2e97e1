"""A value's one-byte hash: equal values have equal hashes, one pair of different ones in 256 has too."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray


@njit
def hashed(bits: Any) -> Any:
    """The upper byte of MurmurHash3's finaliser of a float32's bits."""
    h = np.uint32((bits ^ (bits >> np.uint32(16))) * np.uint32(0x85EBCA6B))  # cut to 32 bits: compiled products have 64
    h = np.uint32((h ^ (h >> np.uint32(13))) * np.uint32(0xC2B2AE35))
    return np.uint8(h >> np.uint32(24))


def occurring(column: NDArray[np.floating]) -> NDArray[np.uint8]:
    """(256,) 1 where a value of the column has that hash.

    Example:
        >>> int(occurring(np.array([1.5, 1.5, 2.0])).sum())
        2
    """
    out = np.zeros(256, np.uint8)
    for bits in np.unique((column + 0.0).astype(np.float32)).view(np.uint32):
        with np.errstate(over="ignore"):
            out[int(hashed.py_func(bits))] = 1
    return out
