"""In which of up to sixteen cells each value is: four comparisons by value instead of fifteen, and the cells counted 32 events at once.

A value's cell is the number of thresholds it exceeds. Binary search without branches: it is compared with the middle threshold, then with
the middle one of the half it is in, chosen by the bits so far. Those four bits of 32 events are four words, and how many events are in a
cell is the number of bits in which all four words are as the cell's number. Same counts as of comparing with every threshold.

Written for vectors whose comparisons give bits, as AVX-512's: on an Intel Xeon 32 us for 200,000 values, where fifteen comparisons take 85.
With AVX2 only it is the other way round, 137 and 82, so there `WIDE` is false.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import binding, ir
from numba import config, njit
from numba.core import cgutils, types
from numba.extending import intrinsic

from detectors.drift.vectors import FLOAT, INT, data_of, declare, kept, place, splat

CELLS, WORD, MOST_WORDS = 16, 32, 8
"""Cells that are counted, events to a word, and words at once."""

_EVENTS, _PLANES = 16, 4
_HALF = ir.IntType(16)
_ROOM: Any = cgutils.alloca_once
_VALUES, _COUNTS = ir.VectorType(FLOAT, _EVENTS), ir.VectorType(INT, CELLS)


def _is_wide() -> bool:
    """Whether the processor that is compiled for gives comparisons as bits, and counts bits in vectors."""
    given: str | None = config.CPU_FEATURES  # type: ignore[attr-defined]  # read from the environment at run time
    features = binding.get_host_cpu_features()
    return "+avx512vpopcntdq" in given if given is not None else bool(features.get("avx512vpopcntdq"))


WIDE = _is_wide()


def _bits_of(builder: Any, x: Any, limits: list[Any]) -> list[Any]:
    """Of each value's cell, the highest first."""
    bits: list[Any] = []
    for plane in range(_PLANES):
        half = CELLS >> (plane + 1)
        left = limits[half - 1 :: 2 * half]
        for bit in reversed(bits):
            left = [builder.select(bit, high, low) for low, high in zip(left[::2], left[1::2], strict=True)]
        bits.append(builder.fcmp_ordered(">", x, left[0]))
    return bits


def _add_cells(typing, values, index, words, edges, at, out, to):  # type: ignore[no-untyped-def]  # compiled
    """out[to + c] += how many of the 32 `words` values from `index` on exceed c of the thresholds edges[at .. at + 14].

    They ascend, and edges[at + 15] is infinite; NaN exceeds none. `values` and `edges` float32, `out` int32, all contiguous and of one
    dimension; 8 words at most.
    """

    def build(context, builder, signature, args):  # type: ignore[no-untyped-def]
        data, given, table = (data_of(context, builder, signature.args[k], args[k]) for k in (0, 3, 5))
        whole = args[1].type

        def number(value: int) -> Any:
            return ir.Constant(whole, value)

        limits = [splat(builder, builder.load(builder.gep(given, [builder.add(args[4], number(e))])), _VALUES) for e in range(CELLS - 1)]
        # through memory: a bit mask is written, and a word read into every lane, without the units that compare
        room = _ROOM(builder, INT, size=ir.Constant(INT, _PLANES * MOST_WORDS))
        with cgutils.for_range(builder, args[2]) as loop:
            for half in range(WORD // _EVENTS):
                first = builder.add(args[1], builder.add(builder.mul(loop.index, number(WORD)), number(half * _EVENTS)))
                x = builder.load(place(builder, data, first, _VALUES), align=4)
                for plane, bits in enumerate(_bits_of(builder, x, limits)):
                    word = builder.bitcast(builder.gep(room, [builder.add(loop.index, number(plane * MOST_WORDS))]), _HALF.as_pointer())
                    builder.store(builder.bitcast(bits, _HALF), builder.gep(word, [number(half)]))
        to = place(builder, table, args[6], _COUNTS)
        total = kept(builder, builder.load(to, align=4))
        count = declare(builder.module, ir.FunctionType(_COUNTS, [_COUNTS]), f"llvm.ctpop.v{CELLS}i32")
        with cgutils.for_range(builder, args[2]) as loop:
            inside = ir.Constant(_COUNTS, [-1] * CELLS)
            for plane in range(_PLANES):
                word = builder.load(builder.gep(room, [builder.add(loop.index, number(plane * MOST_WORDS))]))
                unlike = ir.Constant(_COUNTS, [0 if cell & (CELLS >> (plane + 1)) else -1 for cell in range(CELLS)])
                inside = builder.and_(inside, builder.xor(splat(builder, word, _COUNTS), unlike))
            builder.store(builder.add(builder.load(total), builder.call(count, [inside])), total)
        builder.store(builder.load(total), to, align=4)
        return context.get_dummy_value()

    whole = types.intp
    return types.void(values, whole, whole, edges, whole, out, whole), build


@njit(cache=True, nogil=True)
def compare(values, index, words, edges, at, out, to):  # type: ignore[no-untyped-def]  # compiled
    """The same by comparing with every threshold: a cell's count is the difference of how many exceed two of them."""
    x, before = values[index : index + words * WORD], np.int32(words * WORD)
    for e in range(0, CELLS, 4):
        e0, e1, e2, e3 = edges[at + e], edges[at + e + 1], edges[at + e + 2], edges[at + e + 3]
        c0, c1, c2, c3 = np.int32(0), np.int32(0), np.int32(0), np.int32(0)
        if e0 < np.inf:  # nothing exceeds the others
            for i in range(x.size):
                c0 = np.int32(c0 + np.int32(x[i] > e0))
                c1 = np.int32(c1 + np.int32(x[i] > e1))
                c2 = np.int32(c2 + np.int32(x[i] > e2))
                c3 = np.int32(c3 + np.int32(x[i] > e3))
        for c, inside in enumerate((before - c0, c0 - c1, c1 - c2, c2 - c3)):
            out[to + e + c] += inside
        before = c3


search: Any = intrinsic(_add_cells)
add_cells: Any = search if WIDE else compare
