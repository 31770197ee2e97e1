"""Sums and maxima of eight numbers at once, float64.

Written for vectors, as `lanes.py`: loops over a variable's cells are so short that a compiler's checks, whether arrays overlap and what is
left of a multiple of sixteen, take longer than the loops.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import njit
from numba.core import cgutils, types
from numba.extending import intrinsic

from detectors.drift.vectors import DOUBLE, data_of, kept, place, splat
from detectors.groups import GROUPS

LANES = 8
"""Numbers at once; rows are padded to a multiple of it."""

_EIGHT = ir.VectorType(DOUBLE, LANES)
_FOUR = 4
_BYTES = {"double": 8, "float": 4, "i32": 4, "i8": 1}


def _all(builder: Any, value: Any) -> Any:
    return splat(builder, value, _EIGHT)


def _eight(builder: Any, data: Any, index: Any) -> Any:
    return place(builder, data, index, _EIGHT)


def _greater(builder: Any, a: Any, b: Any, *, low: bool = False) -> Any:
    return builder.select(builder.fcmp_ordered("<" if low else ">", a, b), a, b)


def _double(builder: Any, value: Any, kind: Any) -> Any:
    """As float64."""
    if value.type == kind:
        return value
    element = value.type.element if isinstance(value.type, ir.VectorType) else value.type
    return builder.sitofp(value, kind) if isinstance(element, ir.IntType) else builder.fpext(value, kind)


def _sums(eights: int) -> Any:
    def _of(typing, factors, first, rows, begin, width, count, out, at):  # type: ignore[no-untyped-def]  # compiled
        """out[at + i] = sum over c < count of factors[first + c] rows[begin + c width + i], i of 8; four c at a time, in a fixed order.

        All contiguous and of one dimension; `factors` and `rows` of any kind of number, `out` float64. Several eights that follow each
        other need each factor once.
        """

        def build(context, builder, signature, args):  # type: ignore[no-untyped-def]
            factor, data, to = (data_of(context, builder, signature.args[k], args[k]) for k in (0, 2, 6))
            whole = args[1].type
            totals = [kept(builder, ir.Constant(_EIGHT, None)) for _ in range(eights)]

            def products(c: Any) -> list[Any]:
                one = _all(builder, _double(builder, builder.load(builder.gep(factor, [builder.add(args[1], c)])), DOUBLE))
                start, each = builder.add(args[3], builder.mul(c, args[4])), []
                for k in range(eights):
                    eight = builder.gep(data, [builder.add(start, ir.Constant(whole, k * LANES))])
                    kind = eight.type.pointee
                    row = builder.load(builder.bitcast(eight, ir.VectorType(kind, LANES).as_pointer()), align=_BYTES[str(kind)])
                    each.append(builder.fmul(one, _double(builder, row, _EIGHT)))
                return each

            def add(total: Any, some: Any) -> None:
                builder.store(builder.fadd(builder.load(total), some), total)

            fours = builder.and_(args[5], ir.Constant(whole, -_FOUR))
            with cgutils.for_range_slice(builder, ir.Constant(whole, 0), fours, ir.Constant(whole, _FOUR)) as (c, _):
                four = [products(builder.add(c, ir.Constant(whole, k))) for k in range(_FOUR)]
                for total, (a, b, d, e) in zip(totals, zip(*four, strict=True), strict=True):
                    add(total, builder.fadd(builder.fadd(a, b), builder.fadd(d, e)))
            with cgutils.for_range_slice(builder, fours, args[5], ir.Constant(whole, 1)) as (c, _):
                for total, one in zip(totals, products(c), strict=True):
                    add(total, one)
            for k, total in enumerate(totals):
                place_of = builder.add(args[7], ir.Constant(whole, k * LANES))
                builder.store(builder.load(total), _eight(builder, to, place_of), align=8)
            return context.get_dummy_value()

        whole = types.intp
        return types.void(factors, whole, rows, whole, whole, whole, out, whole), build

    return _of


def _loudest(two: bool) -> Any:
    def _of(typing, hits, trials, count, width, hit, miss, at, out):  # type: ignore[no-untyped-def]  # compiled
        """out[at + i] = the largest of 0 and hits[g width + at + i] hit - trials[g] miss[at + i], g < count, i of 8.

        Or the sum of the two largest. All float64, contiguous and of one dimension.
        """

        def build(context, builder, signature, args):  # type: ignore[no-untyped-def]
            data, events, log_miss, to = (data_of(context, builder, signature.args[k], args[k]) for k in (0, 1, 5, 7))
            first, second = (kept(builder, ir.Constant(_EIGHT, None)) for _ in range(2))
            per_hit, per_trial = _all(builder, args[4]), builder.load(_eight(builder, log_miss, args[6]), align=8)
            with cgutils.for_range(builder, args[2]) as loop:
                row = builder.load(_eight(builder, data, builder.add(builder.mul(loop.index, args[3]), args[6])), align=8)
                one = _all(builder, builder.load(builder.gep(events, [loop.index])))
                each = builder.fsub(builder.fmul(row, per_hit), builder.fmul(one, per_trial))
                most = builder.load(first)
                builder.store(_greater(builder, each, most), first)
                if two:
                    builder.store(_greater(builder, _greater(builder, each, most, low=True), builder.load(second)), second)
            lost = builder.fadd(builder.load(first), builder.load(second)) if two else builder.load(first)
            builder.store(lost, _eight(builder, to, args[6]), align=8)
            return context.get_dummy_value()

        whole = types.intp
        return types.void(hits, trials, whole, whole, types.float64, miss, whole, out), build

    return _of


def _differences(single: bool) -> Any:
    def _of(typing, before, width, low, high, weights, places, out, totals, at):  # type: ignore[no-untyped-def]  # compiled
        """out[places[g] + at + i] = weights[g] (before[g width + high + i] - before[g width + low + i]), i of 8.

        Their sum over g is in `totals`. `low` stays where it is unless it is for single cells. All float64, but int64 `places`, contiguous
        and of one dimension.
        """

        def build(context, builder, signature, args):  # type: ignore[no-untyped-def]
            arrays = (data_of(context, builder, signature.args[k], args[k]) for k in (0, 4, 5, 6, 7))
            data, weight, first_of, to, whole_to = arrays
            total = kept(builder, ir.Constant(_EIGHT, None))
            with cgutils.for_range(builder, ir.Constant(args[1].type, GROUPS)) as loop:
                row = builder.mul(loop.index, args[1])
                low, high = builder.add(row, args[2]), builder.add(row, args[3])
                less = (
                    builder.load(_eight(builder, data, low), align=8) if single else _all(builder, builder.load(builder.gep(data, [low])))
                )
                events = builder.fsub(builder.load(_eight(builder, data, high), align=8), less)
                worth = builder.fmul(_all(builder, builder.load(builder.gep(weight, [loop.index]))), events)
                first = builder.add(builder.load(builder.gep(first_of, [loop.index])), args[8])
                builder.store(worth, _eight(builder, to, first), align=8)
                builder.store(builder.fadd(builder.load(total), worth), total)
            builder.store(builder.load(total), _eight(builder, whole_to, args[8]), align=8)
            return context.get_dummy_value()

        whole = types.intp
        return types.void(before, whole, whole, whole, weights, places, out, totals, whole), build

    return _of


sum_rows: Any = intrinsic(_sums(1))
sum_pairs: Any = intrinsic(_sums(2))
sum_threes: Any = intrinsic(_sums(3))
loudest: Any = intrinsic(_loudest(False))
loudest_two: Any = intrinsic(_loudest(True))
singles: Any = intrinsic(_differences(True))
cumulated: Any = intrinsic(_differences(False))


@njit(cache=True, nogil=True, error_model="numpy")
def weighted(factors, first, rows, width, count, out, at):  # type: ignore[no-untyped-def]  # compiled
    """out[at + i] = sum over c < count of factors[first + c] rows[c width + i], i < width: `sum_rows`, and one by one behind the eights."""
    eights, pairs = width // LANES * LANES, width // (2 * LANES) * (2 * LANES)
    for i in range(0, pairs, 2 * LANES):
        sum_pairs(factors, first, rows, i, width, count, out, at + i)
    for i in range(pairs, eights, LANES):
        sum_rows(factors, first, rows, i, width, count, out, at + i)
    for i in range(eights, width):
        total = 0.0
        for c in range(count):
            total += factors[first + c] * rows[c * width + i]
        out[at + i] = total
