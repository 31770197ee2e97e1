"""Which side of its split each value is on, 32 events to a word, and on how many events two values are on different sides.

Written for vectors: a compiler does not find these by itself, and is six times as slow without.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from detectors.drift.vectors import FLOAT, INT, data_of, declare, kept, place, splat

WORD = 32
"""Events to a word."""
LANES = 16
"""Words taken at once: rows of words are padded to a multiple of it."""


def _bits_beyond(typing, values, index, limit):  # type: ignore[no-untyped-def]  # compiled
    """A word: bit i is whether values[index + i] > limit, values float32 and contiguous, at least 32 from `index` on."""

    def build(context, builder, signature, args):  # type: ignore[no-untyped-def]
        vector = ir.VectorType(FLOAT, WORD)
        x = builder.load(place(builder, data_of(context, builder, signature.args[0], args[0]), args[1], vector), align=4)
        return builder.bitcast(builder.fcmp_ordered(">", x, splat(builder, args[2], vector)), INT)

    return types.uint32(values, types.intp, types.float32), build


def _add_apart(typing, totals, words, rows, width, member, first):  # type: ignore[no-untyped-def]  # compiled
    """totals[first + k] += bits in which words[r width + member] differs from words[r width + first + k], over r < rows, k of 16.

    `totals` int32 and `words` uint32, contiguous and of one dimension; the sum stays in registers until it is complete.
    """

    def build(context, builder, signature, args):  # type: ignore[no-untyped-def]
        vector = ir.VectorType(INT, LANES)
        table, words = (data_of(context, builder, signature.args[k], args[k]) for k in range(2))
        count = declare(builder.module, ir.FunctionType(vector, [vector]), f"llvm.ctpop.v{LANES}i32")
        to = place(builder, table, args[5], vector)
        total = kept(builder, builder.load(to, align=4))
        with cgutils.for_range(builder, args[2]) as loop:
            row = builder.mul(loop.index, args[3])
            word = builder.load(builder.gep(words, [builder.add(row, args[4])]))
            others = builder.load(place(builder, words, builder.add(row, args[5]), vector), align=4)
            differ = builder.xor(splat(builder, word, vector), others)
            builder.store(builder.add(builder.load(total), builder.call(count, [differ])), total)
        builder.store(builder.load(total), to, align=4)
        return context.get_dummy_value()

    whole = types.intp
    return types.void(totals, words, whole, whole, whole, whole), build


bits_beyond: Any = intrinsic(_bits_beyond)
add_apart: Any = intrinsic(_add_apart)
