"""Sums of z and z^2 of one variable, sixteen events at once, in whole numbers so that addition associates exactly.

Written for vectors, as `planes.py`: sums stay in sixteen lanes, which are added up once for many blocks.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from detectors.drift.vectors import FLOAT, INT, data_of, kept, place, splat

LANES, KINDS = 16, 3
"""Missing values, sums of z, sums of z^2, in sixteen lanes each."""
SCALE, CLIP = 1 << 16, 16.0
MOST_EVENTS = 127 * LANES
"""A lane has room for 127 squares of at most 2^24."""

_FLOATS, _INTS = ir.VectorType(FLOAT, LANES), ir.VectorType(INT, LANES)


def _number(value: float) -> Any:
    return ir.Constant(_FLOATS, [value] * LANES)


def _add_moments(typing, values, index, events, middle, per_sd, sums, at):  # type: ignore[no-untyped-def]  # compiled
    """Add `events` values, a multiple of 16, from `index` on: how many are NaN, z and z^2 in 1 / 65,536, z = (x - middle) per_sd clipped.

    `values` float32 and `sums` int32, 48 from `at` on, both contiguous and of one dimension.
    """

    def build(context, builder, signature, args):  # type: ignore[no-untyped-def]
        data, to = (data_of(context, builder, signature.args[k], args[k]) for k in (0, 5))
        whole = args[1].type
        center, factor = (splat(builder, args[k], _FLOATS) for k in (3, 4))
        places = [place(builder, to, builder.add(args[6], ir.Constant(whole, k * LANES)), _INTS) for k in range(KINDS)]
        totals = [kept(builder, builder.load(one, align=4)) for one in places]
        with cgutils.for_range_slice(builder, args[1], builder.add(args[1], args[2]), ir.Constant(whole, LANES)) as (i, _):
            x = builder.load(place(builder, data, i, _FLOATS), align=4)
            missing = builder.fcmp_unordered("uno", x, x)
            z = builder.select(missing, _number(0.0), builder.fmul(builder.fsub(x, center), factor))
            z = builder.select(builder.fcmp_ordered(">", z, _number(-CLIP)), z, _number(-CLIP))
            z = builder.select(builder.fcmp_ordered("<", z, _number(CLIP)), z, _number(CLIP))
            scaled = builder.fmul(z, _number(float(SCALE)))
            parts = builder.zext(missing, _INTS), builder.fptosi(scaled, _INTS), builder.fptosi(builder.fmul(z, scaled), _INTS)
            for total, part in zip(totals, parts, strict=True):
                builder.store(builder.add(builder.load(total), part), total)
        for total, one in zip(totals, places, strict=True):
            builder.store(builder.load(total), one, align=4)
        return context.get_dummy_value()

    whole = types.intp
    return types.void(values, whole, whole, types.float32, types.float32, sums, whole), build


add_moments: Any = intrinsic(_add_moments)
