"""Sixteen distances at once are sixteen distances; asking for memory ahead changes nothing in it."""

from typing import Any

import numpy as np
from numba import njit

from detectors.prefetch import prefetch_row
from detectors.tiles import AXES, LANES, squares


@njit
def _squares(point: Any, tile: Any, out: Any) -> None:
    squares(point, tile, out)


@njit
def _sum_with_prefetch(table: Any) -> Any:
    total = 0.0
    for i in range(len(table)):
        prefetch_row(table, min(i + 1, len(table) - 1))
        total += table[i].sum()
    return total


def test_sixteen_distances_at_once_are_those_of_numpy() -> None:
    rng = np.random.default_rng(0)
    point, members = rng.normal(size=AXES).astype(np.float32), rng.normal(size=(LANES, AXES)).astype(np.float32)
    members[3] = point
    out = np.empty(LANES, np.float32)
    _squares(point, np.ascontiguousarray(members.T), out)
    assert out[3] == 0
    np.testing.assert_allclose(out, ((members - point) ** 2).sum(1), rtol=1e-5)


def test_asking_for_the_next_row_ahead_changes_nothing() -> None:
    table = np.random.default_rng(1).normal(size=(50, 333)).astype(np.float32)
    before = table.copy()
    assert np.isclose(_sum_with_prefetch(table), table.astype(np.float64).sum(), atol=1e-2)
    assert np.array_equal(table, before)
