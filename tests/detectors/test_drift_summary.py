"""What a window's description says of each variable is what its definition says, one variable at a time."""

from collections.abc import Callable

import numpy as np
import pytest

from detectors.drift.summary import medians, strongest
from detectors.drift.witness import _exp
from detectors.e_process import log_mean_exp

SIDES, TILTS = 6, 5


def test_the_strongest_component_of_each_variable_is_found() -> None:
    rng = np.random.default_rng(1)
    firsts, tilt_of = np.array([0, 7, 9, 12]), np.array([0, -1, 1])
    cells, V = int(firsts[-1]), 3
    for trial in range(50):
        weighted = rng.normal(-5.0, [0.3, 8.0, 80.0][trial % 3], SIDES * cells + 2 * TILTS + 4).astype(np.float32)
        if trial % 5 == 0:
            weighted[: SIDES * cells].reshape(SIDES, cells)[:, 7:9] = -np.inf
        since = rng.integers(0, 100, weighted.size).astype(np.int32)
        log_m, began, at = np.empty(V), np.empty(V, np.int64), np.empty(V, np.int64)
        strongest(weighted, since, firsts, SIDES, tilt_of, TILTS, log_m, began, at)
        for v in range(V):
            block = weighted[: SIDES * cells].reshape(SIDES, cells)[:, firsts[v] : firsts[v + 1]]
            mine = np.arange(SIDES * cells).reshape(SIDES, cells)[:, firsts[v] : firsts[v + 1]].ravel()
            if tilt_of[v] >= 0:
                mine = np.concatenate([mine, SIDES * cells + tilt_of[v] * TILTS + np.arange(TILTS)])
            parts = weighted[mine]
            assert log_m[v] == pytest.approx(log_mean_exp(parts.astype(float), 0.0), rel=1e-12)
            assert began[v] == np.quantile(since[mine[parts >= parts.max() - 1.0]], 0.5, method="inverted_cdf")
            assert at[v] == firsts[v] + int(block.argmax()) % block.shape[1]


def test_medians_are_read_off_the_cells() -> None:
    rng = np.random.default_rng(2)
    edges = np.sort(rng.normal(size=(3, 16)).astype(np.float32), axis=1)
    starts, n_edges, numeric = np.array([0, 6, 10, 13]), np.array([4, 2, 1]), np.array([True, False, True])
    for trial in range(30):
        cells, out = rng.integers(0, [3, 40][trial % 2], 13), np.empty(3)
        medians(cells, starts, edges, n_edges, numeric, out)
        assert np.isnan(out[1])
        for v in (0, 2):
            mine = cells[starts[v] : starts[v + 1] - 1]
            if not mine.sum():
                assert np.isnan(out[v])
                continue
            ends = edges[v, [max(k, 0) for k in range(-1, n_edges[v])]], edges[v, [min(k, n_edges[v] - 1) for k in range(n_edges[v] + 1)]]
            k = int(np.searchsorted(np.cumsum(mine), mine.sum() / 2))
            share = (mine.sum() / 2 - mine[:k].sum()) / mine[k]
            assert out[v] == pytest.approx(ends[0][k] + share * (float(ends[1][k]) - float(ends[0][k])), rel=1e-9)


def test_the_exponential_of_a_bet_is_one() -> None:
    x = np.linspace(-8.0, 8.0, 501)
    exp: Callable[[float], float] = _exp.py_func
    assert [exp(one) for one in x.tolist()] == pytest.approx(np.exp(x), rel=1e-11)
    assert exp(16.0) == pytest.approx(np.exp(16.0), rel=2e-9)
