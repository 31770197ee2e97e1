"""Vectors by hand do what plain loops do."""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from detectors.drift.features import _by_sum
from detectors.drift.lanes import COLUMNS, LANES, ROWS, add_products, turn


@njit
def _turned(values, rows, out, at, step):  # type: ignore[no-untyped-def]  # compiled
    r = rows
    turn(values, r[0], r[1], r[2], r[3], r[4], r[5], r[6], r[7], out, at, step)


@njit
def _summed(waves, products, begin, end, out, at):  # type: ignore[no-untyped-def]  # compiled
    add_products(waves, products, begin, end, out, at)


def _plainly(wave: NDArray[np.float32], products: NDArray[np.int16], sums: int) -> NDArray[np.float32]:
    """In the order of the products, as they were drawn."""
    out = np.zeros((sums, LANES), np.float32)
    for a, b, c, to in products.tolist():
        product = wave[a] * wave[b] * (np.float32(1.0) if c < 0 else wave[c])
        if to >= 0:
            out[to] += product
        else:
            out[-1 - to] -= product
    return out


def test_eight_rows_become_columns_and_nothing_beside_them_is_touched() -> None:
    values = np.arange(400, dtype=np.float32)
    rows = np.array([3, 250, 17, 90, 333, 5, 61, 128])
    out = np.full(200, -1, np.float32)
    _turned(values, rows, out, 7, 40)
    expected = np.full(200, -1, np.float32)
    for c in range(COLUMNS):
        expected[7 + 40 * c : 7 + 40 * c + ROWS] = values[rows + c]
    assert out.tolist() == expected.tolist()


def test_sums_of_products_are_those_of_a_plain_loop_to_the_last_bit() -> None:
    rng = np.random.default_rng(3)
    m, sums, Q = 6, 9, 100
    products = np.column_stack([rng.integers(0, 2 * m, (Q, 3)), rng.integers(-sums, sums, Q)]).astype(np.int16)
    products[rng.random(Q) < 0.4, 2] = -1
    wave = rng.normal(size=(2 * m, LANES)).astype(np.float32)
    table, starts = _by_sum(products, m, sums)
    whole = np.concatenate([wave, np.ones((1, LANES), np.float32), -wave]).ravel()
    out = np.full((sums, LANES), np.nan, np.float32)
    for k in range(sums):
        _summed(whole, table, starts[k], starts[k + 1], out.ravel(), k * LANES)
    assert out.tobytes() == _plainly(wave, products, sums).tobytes()
