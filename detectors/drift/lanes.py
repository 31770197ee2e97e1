"""Eight rows turned to columns, and sums of products of 32 events at once.

Written for vectors, as `sides.py`: a compiler reads and writes one value after the other here, and is two to four times as slow.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit
from numba.core import cgutils, types
from numba.extending import intrinsic

from detectors.drift.vectors import FLOAT, INT, data_of, kept, place

ROWS, COLUMNS = 8, 4
"""What `turn` takes at once."""
LANES = 32
"""Events that `add_products` takes at once."""

_LINE = 64
"""Bytes of a line of the cache: a vector that crosses one is read twice."""

_LOW, _HIGH = [0, 8, 1, 9, 4, 12, 5, 13], [2, 10, 3, 11, 6, 14, 7, 15]
_EVEN, _ODD = [0, 1, 8, 9, 4, 5, 12, 13], [2, 3, 10, 11, 6, 7, 14, 15]


def _vector(builder: Any, data: Any, index: Any, size: int) -> Any:
    return place(builder, data, index, ir.VectorType(FLOAT, size))


def _mixed(builder: Any, a: Any, b: Any, places: list[int]) -> Any:
    return builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(INT, len(places)), places))


def _turn(typing, values, r0, r1, r2, r3, r4, r5, r6, r7, out, at, step):  # type: ignore[no-untyped-def]  # compiled
    """out[at + c step + r] = values[r_r + c], c of 4, r of 8; both float32, contiguous and of one dimension."""

    def build(context, builder, signature, args):  # type: ignore[no-untyped-def]
        data, to = (data_of(context, builder, signature.args[k], args[k]) for k in (0, 9))
        rows = [builder.load(_vector(builder, data, args[1 + r], COLUMNS), align=4) for r in range(ROWS)]
        both = [_mixed(builder, rows[k], rows[k + 4], list(range(ROWS))) for k in range(4)]
        index = args[10]
        for places in (_LOW, _HIGH):
            a, b = _mixed(builder, both[0], both[1], places), _mixed(builder, both[2], both[3], places)
            for half in (_EVEN, _ODD):
                builder.store(_mixed(builder, a, b, half), _vector(builder, to, index, ROWS), align=4)
                index = builder.add(index, args[11])
        return context.get_dummy_value()

    whole = types.intp
    return types.void(values, *([whole] * ROWS), out, whole, whole), build


def _add_products(typing, waves, products, begin, end, out, at):  # type: ignore[no-untyped-def]  # compiled
    """out[at + i] = sum over q in begin..end of waves[a_q + i] waves[b_q + i] waves[c_q + i], i of 32, added in the order of q.

    `waves` and `out` float32, `products` int32 with a, b, c of each one after the other; all contiguous and of one dimension.
    """

    def build(context, builder, signature, args):  # type: ignore[no-untyped-def]
        data, table, to = (data_of(context, builder, signature.args[k], args[k]) for k in (0, 1, 4))
        kind = ir.VectorType(FLOAT, LANES)
        total = kept(builder, ir.Constant(kind, None))
        with cgutils.for_range_slice(builder, args[2], args[3], ir.Constant(args[2].type, 1)) as (q, _):
            first = builder.mul(q, ir.Constant(q.type, 3))
            parts = []
            for k in range(3):
                offset = builder.load(builder.gep(table, [builder.add(first, ir.Constant(q.type, k))]))
                parts.append(builder.load(_vector(builder, data, builder.sext(offset, q.type), LANES), align=4))
            product = builder.fmul(builder.fmul(parts[0], parts[1]), parts[2])
            builder.store(builder.fadd(builder.load(total), product), total)
        builder.store(builder.load(total), _vector(builder, to, args[5], LANES), align=4)
        return context.get_dummy_value()

    return types.void(waves, products, types.intp, types.intp, out, types.intp), build


turn: Any = intrinsic(_turn)
add_products: Any = intrinsic(_add_products)


@njit(cache=True, nogil=True)
def aligned(size):  # type: ignore[no-untyped-def]  # compiled
    """Room for float32 that begins with a line of the cache, not filled."""
    room = np.empty(size + _LINE // 4, np.float32)
    first = -np.int64(room.ctypes.data) % _LINE // 4
    return room[first : first + size]
