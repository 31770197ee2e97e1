"""Which side of its split each value is on, 32 events to a word, and on how many events two values are on different sides.

Written for vectors: a compiler does not find these by itself, and is six times as slow without.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

WORD = 32
"""Events to a word."""
LANES = 16
"""Words taken at once: rows of words are padded to a multiple of it."""

_INT = ir.IntType(32)
_DECLARE: Any = cgutils.get_or_insert_function


def _at(context: Any, builder: Any, kind: Any, array: Any, index: Any, vector: Any) -> Any:
    """Pointer to a vector inside a one-dimensional array."""
    data = context.make_array(kind)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [index]), vector.as_pointer())


def _splat(builder: Any, value: Any, vector: Any) -> Any:
    undefined = ir.Constant(vector, ir.Undefined)
    one = builder.insert_element(undefined, value, ir.Constant(_INT, 0))
    return builder.shuffle_vector(one, undefined, ir.Constant(ir.VectorType(_INT, vector.count), [0] * vector.count))


def _bits_beyond(typing, values, index, limit):  # type: ignore[no-untyped-def]  # compiled
    """A word: bit i is whether values[index + i] > limit, values float32 and contiguous, at least 32 from `index` on."""

    def build(context, builder, signature, args):  # type: ignore[no-untyped-def]
        vector = ir.VectorType(ir.FloatType(), WORD)
        x = builder.load(_at(context, builder, signature.args[0], args[0], args[1], vector), align=4)
        return builder.bitcast(builder.fcmp_ordered(">", x, _splat(builder, args[2], vector)), _INT)

    return types.uint32(values, types.intp, types.float32), build


def _add_apart(typing, totals, words, index, word):  # type: ignore[no-untyped-def]  # compiled
    """totals[k] += bits in which `word` differs from words[k], for the 16 k from `index` on; int32 and uint32, contiguous."""

    def build(context, builder, signature, args):  # type: ignore[no-untyped-def]
        vector = ir.VectorType(_INT, LANES)
        to, other = (_at(context, builder, signature.args[k], args[k], args[2], vector) for k in range(2))
        differ = builder.xor(_splat(builder, args[3], vector), builder.load(other, align=4))
        count = _DECLARE(builder.module, ir.FunctionType(vector, [vector]), f"llvm.ctpop.v{LANES}i32")
        builder.store(builder.add(builder.load(to, align=4), builder.call(count, [differ])), to, align=4)
        return context.get_dummy_value()

    return types.void(totals, words, types.intp, types.uint32), build


bits_beyond: Any = intrinsic(_bits_beyond)
add_apart: Any = intrinsic(_add_apart)
