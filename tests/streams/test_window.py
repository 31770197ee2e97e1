"""A window only adds: order and cut change nothing, evicted clients stay counted, a loaded one goes on."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.latency import percentile_ms
from streams.window import STATUSES, OpenWindow

_rows = st.lists(st.tuples(st.integers(-1, 7), st.integers(0, 5), st.floats(0, 1e4, width=32)), max_size=40)


def add(window: OpenWindow, rows: list[tuple[int, int, float]]) -> None:
    slot, status, latency = (list(column) for column in zip(*rows, strict=True)) if rows else ([], [], [])
    window.add(np.array(slot, np.int32), np.array(status, np.uint8), np.array(latency, np.float32))


def same(a: OpenWindow, b: OpenWindow) -> bool:
    one, other = a.dump(), b.dump()
    return all(np.array_equal(one[name], other[name]) for name in one)


@given(rows=_rows, cut=st.integers(0, 40))
def test_order_and_cut_change_no_count(rows: list[tuple[int, int, float]], cut: int) -> None:
    whole, parts = OpenWindow(0, None, 8), OpenWindow(0, None, 8)
    add(whole, rows)
    backwards = rows[::-1]
    add(parts, backwards[:cut])
    add(parts, backwards[cut:])
    assert same(whole, parts)
    assert whole.n == len(rows) == whole.status.sum()


def test_latency_is_that_of_answers_and_clients_errors_are_their_own() -> None:
    window = OpenWindow(0, None, 4)
    add(window, [(0, 0, 10.0), (0, 1, 5_000.0), (0, 3, 1.0), (1, 2, 1.0), (-1, 1, 1.0), (1, 0, float("nan"))])
    assert percentile_ms(window.latency, 0.99) == pytest.approx(10.0, rel=0.02)
    assert (window.client_n.tolist(), window.client_errors.tolist(), window.client_denied.tolist()) == (
        [3, 2, 0, 0],
        [1, 0, 0, 0],
        [1, 1, 0, 0],
    )
    assert dict(zip(STATUSES, window.status.tolist(), strict=True))["error"] == 2


def test_a_client_that_was_evicted_was_there_all_the_same() -> None:
    window = OpenWindow(0, None, 4)
    add(window, [(0, 0, 1.0), (1, 0, 1.0)])
    window.forget(np.array([0, 3], np.int32))
    assert window.clients == 2
    add(window, [(0, 0, 1.0)])
    assert window.clients == 3
    assert window.client_n.tolist() == [1, 1, 0, 0]


@given(rows=_rows)
def test_a_loaded_window_is_the_one_that_was_dumped_and_may_grow(rows: list[tuple[int, int, float]]) -> None:
    window = OpenWindow(7, None, 8)
    add(window, rows)
    window.rejected["clock"] += 2
    loaded = OpenWindow.load(window.dump(), None, 8)
    assert same(window, loaded)
    loaded.resize(20)
    add(loaded, [(19, 0, 1.0)])
    assert loaded.clients == window.clients + 1
