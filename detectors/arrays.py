"""The one kind of array for which kernels are compiled.

numba compiles a function anew for read-only, strided or other arrays, in the middle of the work; callers hand in plain ones.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def plain(array: NDArray[Any], dtype: type[np.generic] | None = None) -> NDArray[Any]:
    """The array if it is C-contiguous, writable and of this dtype (None: of any), else a copy of it that is. 0.1 us when nothing is to do.

    Example:
        >>> rows = np.zeros((2, 3), np.float32)
        >>> plain(rows, np.float32) is rows, plain(rows.T).flags.c_contiguous, plain(rows, np.float64).dtype
        (True, True, dtype('float64'))
    """
    flags = array.flags
    if flags.c_contiguous and flags.writeable and (dtype is None or array.dtype == dtype):
        return array
    return np.array(array, dtype, order="C")
