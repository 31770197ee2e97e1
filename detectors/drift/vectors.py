"""What the vectors by hand have in common: places in arrays, one number in all lanes, sums that stay in registers.

LLVM's own words for them; a processor without vectors as wide gets several narrower ones.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import cgutils

FLOAT, DOUBLE, INT = ir.FloatType(), ir.DoubleType(), ir.IntType(32)

kept: Any = cgutils.alloca_once_value
"""A variable with its first value; the compiler keeps it in a register."""
declare: Any = cgutils.get_or_insert_function


def data_of(context: Any, builder: Any, kind: Any, array: Any) -> Any:
    """Pointer to an array's first number."""
    return context.make_array(kind)(context, builder, array).data


def place(builder: Any, data: Any, index: Any, vector: Any) -> Any:
    """Pointer to a vector inside an array."""
    return builder.bitcast(builder.gep(data, [index]), vector.as_pointer())


def splat(builder: Any, value: Any, vector: Any) -> Any:
    """One number in all lanes."""
    undefined = ir.Constant(vector, ir.Undefined)
    one = builder.insert_element(undefined, value, ir.Constant(INT, 0))
    return builder.shuffle_vector(one, undefined, ir.Constant(ir.VectorType(INT, vector.count), [0] * vector.count))
