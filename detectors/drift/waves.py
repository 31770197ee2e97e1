"""Compiled parts of `features.py`: random features of some rows of a batch, in whole 1 / 1,024, added up per client group."""

from __future__ import annotations

import numpy as np
from numba import njit

from detectors.drift.lanes import COLUMNS, LANES, ROWS, add_products, aligned, turn
from detectors.groups import GROUPS, bucket_of

FREQUENCY = 1.3
"""Radians by sd: where sin(w |u|) of a normal law tells most of its sign."""
TAKEN = 384
"""Rows of a window after which a quarter as many are taken."""
CLIP = 4.0
MOST = 8.0
"""Largest feature."""
UNIT = 1_024.0
"""Features are counted in 1 / 1,024, so that sums are exact: of 384 rows also in 32 bits."""


@njit(cache=True, nogil=True, error_model="numpy")
def _standard(X, row, columns, center, per_sd, out):  # type: ignore[no-untyped-def]  # compiled
    """The columns of a row in sd, clipped, 0 where missing."""
    clip = np.float32(CLIP)
    for j in range(columns.size):
        x = X[row, columns[j]]
        z = (x - center[j]) * per_sd[j] if x == x else np.float32(0.0)
        out[j] = min(max(z, -clip), clip)


@njit(inline="always")
def _rounded(value):  # type: ignore[no-untyped-def]  # compiled
    """In whole 1 / 1,024."""
    most, half = np.float32(MOST), np.float32(0.5)
    return np.floor(min(max(value, -most), most) * np.float32(UNIT) + half) * np.float32(1.0 / UNIT)


@njit(cache=True, nogil=True, error_model="numpy")
def along(X, rows, columns, center, per_sd, directions, scale, out):  # type: ignore[no-untyped-def]  # compiled
    """Some rows along the directions, scaled and in whole 1 / 1,024, into `out`, float32, shape (rows, M).

    Four columns at once, in an order of additions that is fixed.
    """
    m, M = directions.shape
    u = np.zeros((m + 3) // 4 * 4, np.float32)
    padded = np.zeros((u.size, M), np.float32)
    padded[:m] = directions
    for r in range(rows.size):
        _standard(X, rows[r], columns, center, per_sd, u)
        mine = out[r]
        mine[:] = 0.0
        for j in range(0, m, 4):
            u0, u1, u2, u3 = u[j], u[j + 1], u[j + 2], u[j + 3]
            d0, d1, d2, d3 = padded[j], padded[j + 1], padded[j + 2], padded[j + 3]
            for k in range(M):
                mine[k] += u0 * d0[k] + u1 * d1[k] + (u2 * d2[k] + u3 * d3[k])
        for k in range(M):
            mine[k] = _rounded(mine[k] * scale[k])


@njit(cache=True, nogil=True, error_model="numpy")
def _columns_of(X, at, columns, out):  # type: ignore[no-untyped-def]  # compiled
    """32 rows, which begin at `at` in the flat X, column after column into the flat `out`; four at once where they are neighbours."""
    j, m = 0, columns.size
    while j < m:
        first = np.int64(columns[j])
        if j + COLUMNS <= m and columns[j + 1] == first + 1 and columns[j + 2] == first + 2 and columns[j + 3] == first + 3:
            for i in range(0, LANES, ROWS):
                turn(
                    X,
                    at[i] + first,
                    at[i + 1] + first,
                    at[i + 2] + first,
                    at[i + 3] + first,
                    at[i + 4] + first,
                    at[i + 5] + first,
                    at[i + 6] + first,
                    at[i + 7] + first,
                    out,
                    j * LANES + i,
                    LANES,
                )
            j += COLUMNS
        else:
            for i in range(LANES):
                out[j * LANES + i] = X[at[i] + first]
            j += 1


@njit(cache=True, nogil=True, error_model="numpy")
def products_of(X, rows, columns, center, per_sd, waves, products, starts, scale, out):  # type: ignore[no-untyped-def]  # compiled
    """The sums of products of some rows, scaled and in whole 1 / 1,024, into `out`, float32, shape (rows, M); 32 rows at once.

    `products` and `starts` as of `features._by_sum`: a sum stays in registers until it is complete.
    """
    m, M = columns.size, out.shape[1]
    padded = (M + ROWS - 1) // ROWS * ROWS
    flat_X, at = X.reshape(-1), np.empty(LANES, np.int64)
    u, sums, to = aligned(m * LANES), aligned(padded * LANES), aligned(padded * LANES)
    flat = aligned((4 * m + 1) * LANES)  # odd and even of each column, 1 for a product of two, and the first ones negative
    sums[:], flat[:] = 0.0, 1.0
    wave, values, turned = flat.reshape((4 * m + 1, LANES)), u.reshape((m, LANES)), to.reshape((LANES, padded))
    clip, one, none = np.float32(CLIP), np.float32(1.0), np.float32(0.0)
    half, two, eight, cycle = np.float32(0.5), np.float32(2.0), np.float32(8.0), np.float32(FREQUENCY / (2.0 * np.pi))
    for begin in range(0, rows.size, LANES):
        size = min(LANES, rows.size - begin)
        for i in range(LANES):  # behind the last row the last one again
            at[i] = rows[begin + min(i, size - 1)] * X.shape[1]
        _columns_of(flat_X, at, columns, u)
        for j in range(m):
            middle, factor, x = center[j], per_sd[j], values[j]
            for i in range(LANES):
                known = x[i] == x[i]
                z = (x[i] - middle) * factor if known else none
                x[i] = min(max(z, -clip), clip)
            for odd in range(2):
                middle, factor, shift = waves[2 * j + odd, 0], waves[2 * j + odd, 1], np.float32(0.25 * odd)
                mine, minus = wave[2 * j + odd], wave[2 * m + 1 + 2 * j + odd]
                for i in range(LANES):
                    turns = x[i] * cycle + shift
                    turns -= np.floor(turns + half)
                    y = (eight * turns * (one - two * abs(turns)) - middle) * factor  # a sine within 6 %
                    mine[i] = y
                    minus[i] = -y
        for k in range(M):
            add_products(flat, products, starts[k], starts[k + 1], sums, k * LANES)
            factor = scale[k]
            for i in range(LANES):
                sums[k * LANES + i] = _rounded(sums[k * LANES + i] * factor)
        for k in range(0, padded, ROWS):
            a = k * LANES
            for i in range(0, LANES, COLUMNS):
                b = a + i
                turn(
                    sums,
                    b,
                    b + LANES,
                    b + 2 * LANES,
                    b + 3 * LANES,
                    b + 4 * LANES,
                    b + 5 * LANES,
                    b + 6 * LANES,
                    b + 7 * LANES,
                    to,
                    i * padded + k,
                    padded,
                )
        for i in range(size):
            for k in range(M):
                out[begin + i, k] = turned[i, k]


@njit(cache=True, nogil=True, error_model="numpy")
def take_rows(X, hashes, seen, stride, taken, sizes, sums, columns, center, per_sd, directions, waves, products, starts, scale):  # type: ignore[no-untyped-def]  # compiled
    """Add the rows of a batch whose turn it is to `sizes` and `sums` per client group; the stride and the rows taken after them.

    When 384 are taken, those so far count a quarter from then on, and a quarter as many are taken.

    Args:
        X: shape (n, d).
        hashes: of the clients, shape (n,).
        seen: rows of the window before these.
        stride: of how many rows one is taken.
        taken: what those taken so far count.
        sizes: the same per client group, shape (16,).
        sums: of the features, shape (16, M).
        columns: of `KeptFeatures`, as the next ones.
        center: the columns' means.
        per_sd: 1 / sd.
        directions: of `KeptFeatures`.
        waves: of `KeptFeatures`.
        products: as of `features._by_sum`.
        starts: the same.
        scale: of `KeptFeatures`.
    """
    M, at = scale.size, -seen % stride
    most = min(TAKEN, X.shape[0])
    chosen, out, mine = np.empty(most, np.int64), np.empty((most, M), np.float32), np.empty((GROUPS, M), np.float32)
    while at < X.shape[0]:
        count = max(min((X.shape[0] - at + stride - 1) // stride, int(np.ceil(TAKEN - taken))), 0)
        rows, some = chosen[:count], out[:count]
        for i in range(count):
            rows[i] = at + i * stride
        if directions.size:
            along(X, rows, columns, center, per_sd, directions, scale, some)
        else:
            products_of(X, rows, columns, center, per_sd, waves, products, starts, scale, some)
        mine[:] = 0.0
        for i in range(rows.size):
            g = bucket_of(hashes[rows[i]]) % GROUPS
            sizes[g] += 1.0
            to, row = mine[g], some[i]
            for k in range(M):
                to[k] += row[k]
        for g in range(GROUPS):
            for k in range(M):
                sums[g, k] += mine[g, k]
        taken += rows.size
        at += count * stride
        if taken >= TAKEN:
            for g in range(GROUPS):
                sizes[g] *= 0.25
                for k in range(M):
                    sums[g, k] *= 0.25
            taken *= 0.25
            stride *= 4
            at += -(seen + at) % stride
    return stride, taken
