"""Asking for memory before it is needed.

A client's state is a hundred cache lines that nobody touched for a while; fetched one after the other, they cost more than the
arithmetic on them. The kernels know whose row comes next, so they ask for its state while they work on this one.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

LINE = 64
"""Bytes of a cache line."""


@intrinsic
def _touch(context: Any, address: Any) -> Any:
    """The processor's prefetch of one line, for writing."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        byte, number = ir.IntType(8).as_pointer(), ir.IntType(32)
        function = builder.module.declare_intrinsic("llvm.prefetch", [byte], ir.FunctionType(ir.VoidType(), [byte, number, number, number]))
        builder.call(function, [builder.inttoptr(arguments[0], byte), number(1), number(3), number(1)])

    return types.void(types.intp), generate


@njit(inline="always")
def prefetch_row(table: Any, row: int) -> None:
    """Asks for one row of a C-contiguous table (rows, ...); returns at once."""
    size = table.strides[0]
    begin = table.ctypes.data + row * size
    for at in range(begin, begin + size, LINE):
        _touch(at)  # type: ignore[call-arg]  # numba passes the typing context itself
