"""Cells, moments, sums and maxima by vectors are those of plain loops; where a loop says in which order, to the last bit."""

from typing import Any

import numpy as np
import pytest
from numba import njit
from numpy.typing import NDArray

from detectors.drift.eights import LANES, cumulated, loudest, loudest_two, singles, weighted
from detectors.drift.moments import CLIP, KINDS, SCALE, add_moments
from detectors.drift.moments import LANES as EVENTS
from detectors.drift.planes import CELLS, MOST_WORDS, WORD, compare, search
from detectors.drift.sides import add_apart
from detectors.groups import GROUPS

Floats = NDArray[np.float64]


@njit
def _searched(values, index, words, edges, at, out, to):  # type: ignore[no-untyped-def]  # compiled
    search(values, index, words, edges, at, out, to)


@njit
def _moved(values, index, events, middle, per_sd, sums, at):  # type: ignore[no-untyped-def]  # compiled
    add_moments(values, index, events, middle, per_sd, sums, at)


@njit
def _apart(totals, words, rows, width, member, first):  # type: ignore[no-untyped-def]  # compiled
    add_apart(totals, words, rows, width, member, first)


@njit
def _lost(two, hits, trials, count, width, hit, miss, at, out):  # type: ignore[no-untyped-def]  # compiled
    if two:
        loudest_two(hits, trials, count, width, hit, miss, at, out)
    else:
        loudest(hits, trials, count, width, hit, miss, at, out)


@njit
def _hits(single, before, width, low, high, weights, places, out, totals, at):  # type: ignore[no-untyped-def]  # compiled
    if single:
        singles(before, width, low, high, weights, places, out, totals, at)
    else:
        cumulated(before, width, low, high, weights, places, out, totals, at)


@pytest.mark.parametrize("edges_of", [0, 1, 2, 3, 4, 8, 14, 15])
@pytest.mark.parametrize("count", [_searched, compare])
def test_a_values_cell_is_the_number_of_thresholds_it_exceeds(edges_of: int, count: object) -> None:
    rng = np.random.default_rng(edges_of)
    edges = np.full(3 * CELLS, np.inf, np.float32)
    edges[CELLS : CELLS + edges_of] = np.sort(rng.integers(-6, 7, edges_of))  # ties among them, and values on them
    x = rng.integers(-7, 8, 7 + MOST_WORDS * WORD).astype(np.float32)
    x[rng.random(x.size) < 0.1] = np.nan
    x[rng.random(x.size) < 0.05] = np.inf
    x[rng.random(x.size) < 0.05] = -np.inf
    for words in (1, MOST_WORDS):
        out = np.full(3 * CELLS, 5, np.int32)
        count(x, 7, words, edges, CELLS, out, CELLS)  # type: ignore[operator]  # compiled
        beyond = (x[7 : 7 + words * WORD, None] > edges[CELLS : CELLS + edges_of]).sum(axis=1)
        assert out[CELLS : 2 * CELLS].tolist() == (5 + np.bincount(beyond, minlength=CELLS)).tolist()
        assert set(out[:CELLS].tolist() + out[2 * CELLS :].tolist()) == {5}


def test_moments_are_whole_numbers_cut_off_towards_nought() -> None:
    rng = np.random.default_rng(4)
    x = (100 * rng.normal(size=10 * EVENTS + 3)).astype(np.float32)
    x[::7], x[5], x[6] = np.nan, np.inf, -np.inf
    sums = np.full(KINDS * EVENTS + 2, 3, np.int32)
    _moved(x, 3, 10 * EVENTS, np.float32(1.5), np.float32(0.1), sums, 1)
    z = np.clip(np.where(np.isnan(x), np.float32(1.5), x) - np.float32(1.5), -1e6, 1e6).astype(np.float32) * np.float32(0.1)
    z = np.clip(z, -CLIP, CLIP).astype(np.float32)[3:]
    expected = np.isnan(x[3:]), (z * np.float32(SCALE)).astype(np.int64), (z * z * np.float32(SCALE)).astype(np.int64)
    for k, of in enumerate(expected):
        mine = sums[1 + k * EVENTS : 1 + (k + 1) * EVENTS]
        assert mine.tolist() == (3 + of.reshape(-1, EVENTS).sum(axis=0)).tolist()
    assert sums[[0, -1]].tolist() == [3, 3]


def test_sides_that_differ_are_added() -> None:
    rng = np.random.default_rng(5)
    words, totals = rng.integers(0, 2**32, (5, 40), dtype=np.uint32), np.arange(40, dtype=np.int32)
    expected = totals.copy()
    expected[20:36] += np.bitwise_count(words[:, 20:36] ^ words[:, 9:10]).sum(axis=0).astype(np.int32)
    _apart(totals, words.ravel(), 5, 40, 9, 20)
    assert totals.tolist() == expected.tolist()


@pytest.mark.parametrize("kinds", [(np.float64, np.float64), (np.float32, np.float64), (np.float64, np.int8), (np.float64, np.float32)])
@pytest.mark.parametrize(("width", "count"), [(8, 4), (16, 64), (21, 7), (3, 2)])
def test_weighted_rows_are_added_four_at_a_time(kinds: tuple[type, type], width: int, count: int) -> None:
    rng = np.random.default_rng(6)
    factors: NDArray[Any] = (100 * rng.normal(size=2 + count)).astype(kinds[0])
    rows: NDArray[Any] = (50 * rng.normal(size=(count, width))).astype(kinds[1])
    out = np.full(width + 2, np.nan)
    weighted(factors, 2, rows.ravel(), width, count, out, 1)
    parts, whole = factors[2:].astype(np.float64)[:, None] * rows.astype(np.float64), np.zeros(width)
    for c in range(0, count // 4 * 4, 4):
        whole += (parts[c] + parts[c + 1]) + (parts[c + 2] + parts[c + 3])
    for c in range(count // 4 * 4, count):
        whole += parts[c]
    eights = width // LANES * LANES
    assert out[1 : 1 + eights].tobytes() == whole[:eights].tobytes()
    assert out[1 : 1 + width] == pytest.approx(parts.sum(axis=0))
    assert np.isnan(out[[0, -1]]).all()


@pytest.mark.parametrize("two", [False, True])
def test_the_loudest_are_those_of_a_sorted_column(two: bool) -> None:
    rng = np.random.default_rng(7)
    width, count = 3 * LANES, 11
    hits, trials, miss = rng.normal(size=(GROUPS, width)), rng.random(GROUPS), rng.random(width)
    hits[:, 9] = -5.0  # none speaks for it
    hits[3:5, 10] = 7.0, 7.0
    out = np.full(width, -1.0)
    _lost(two, hits.ravel(), trials, count, width, 0.7, miss, LANES, out)
    each = np.sort(np.maximum(hits * 0.7 - trials[:, None] * miss, 0.0)[:count], axis=0)
    expected = each[-1] + (each[-2] if two else 0.0)
    assert out[LANES : 2 * LANES].tolist() == expected[LANES : 2 * LANES].tolist()
    assert set(out[:LANES].tolist() + out[2 * LANES :].tolist()) == {-1.0}


@pytest.mark.parametrize("single", [False, True])
def test_what_a_cell_has_is_the_difference_of_what_is_before_its_borders(single: bool) -> None:
    rng = np.random.default_rng(8)
    before, weights = np.cumsum(rng.integers(0, 9, (GROUPS, 30)), axis=1).astype(np.float64), rng.random(GROUPS)
    width, order = 20, rng.permutation(GROUPS)
    out, totals = np.full(GROUPS * width, np.nan), np.full(width, np.nan)
    _hits(single, before.ravel(), 30, 4, 6, weights, order * width, out, totals, 2)
    low = before[:, 4:12] if single else before[:, 4:5]
    expected = weights[:, None] * (before[:, 6:14] - low)
    assert out.reshape(GROUPS, width)[order, 2:10].tolist() == expected.tolist()
    assert np.isnan(out).sum() == GROUPS * (width - LANES)
    whole = np.zeros(LANES)
    for one in expected:
        whole += one
    assert totals[2:10].tobytes() == whole.tobytes()
