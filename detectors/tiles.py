"""Sixteen places at a time: squared distances of one row to a tile of sixteen, stored axis by axis."""

from __future__ import annotations

from typing import Any

from numba import njit

LANES = 16
AXES = 16


@njit(inline="always")
def squares(p: Any, tile: Any, out: Any) -> None:
    """Squared distances (16,) of a place (16,) to the sixteen of a tile (axes, lanes), all float32; 17 ns.

    Written out, since a loop over the axes would keep its sums in memory.
    """
    p0, p1, p2, p3, p4, p5, p6, p7 = p[0], p[1], p[2], p[3], p[4], p[5], p[6], p[7]
    p8, p9, p10, p11, p12, p13, p14, p15 = p[8], p[9], p[10], p[11], p[12], p[13], p[14], p[15]
    for j in range(LANES):
        t0, t1, t2, t3 = p0 - tile[0, j], p1 - tile[1, j], p2 - tile[2, j], p3 - tile[3, j]
        t4, t5, t6, t7 = p4 - tile[4, j], p5 - tile[5, j], p6 - tile[6, j], p7 - tile[7, j]
        t8, t9, t10, t11 = p8 - tile[8, j], p9 - tile[9, j], p10 - tile[10, j], p11 - tile[11, j]
        t12, t13, t14, t15 = p12 - tile[12, j], p13 - tile[13, j], p14 - tile[14, j], p15 - tile[15, j]
        a = ((t0 * t0 + t1 * t1) + (t2 * t2 + t3 * t3)) + ((t4 * t4 + t5 * t5) + (t6 * t6 + t7 * t7))
        b = ((t8 * t8 + t9 * t9) + (t10 * t10 + t11 * t11)) + ((t12 * t12 + t13 * t13) + (t14 * t14 + t15 * t15))
        out[j] = a + b
