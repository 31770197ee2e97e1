"""PSI, JS, KS and W1 of a window are those of its raw values, by scipy or written out: ties, missing values and empty windows included."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from detectors.drift import DriftReference, WindowCounts
from detectors.drift.effect import EffectSizer, exact_w1
from tests.detectors.definitions import Values, measures, raw_ks, raw_w1

SMOOTH = st.floats(-50, 50, width=32)
TIED = st.integers(-3, 4).map(float)


def values(least: int, most: int, elements: Any) -> st.SearchStrategy[Values]:
    with_missing = st.one_of(elements, elements, elements, st.just(float("nan")))
    return arrays(np.float32, st.integers(least, most), elements=with_missing)


PAIRS = st.sampled_from([SMOOTH, TIED]).flatmap(
    lambda elements: st.tuples(values(30, 200, elements).filter(lambda x: not np.isnan(x).all()), values(0, 200, elements))
)


def sized(past: Values, *parts: Values) -> tuple[DriftReference, dict[str, float]]:
    """The reference of these values, and the sizes of the parts together."""
    reference = DriftReference.fit(past[:, None], ["x"], ["numeric"])
    counts = WindowCounts(reference)
    for part in parts:
        counts.update(part[:, None])
    sizes = EffectSizer(reference)(counts)
    return reference, {name: float(getattr(sizes, name)[0]) for name in ("psi", "js", "ks", "w1")}


def in_units(scale: float) -> tuple[Values, Values]:
    """Thirty values, one of them another, and a window without it."""
    return np.array([scale] + 29 * [0], np.float32), np.zeros(1, np.float32)


@settings(max_examples=60, deadline=None)
@given(PAIRS, st.integers(0, 200))
@example(in_units(1e-15), 0)  # farads, where picofarads were meant
@example(in_units(5e-40), 0)  # nothing, in float32
def test_a_windows_sizes_are_those_of_its_raw_values(pair: tuple[Values, Values], cut: int) -> None:
    past, now = pair
    reference, got = sized(past, now[:cut], now[cut:])
    expected = measures(reference, 0, past, now)
    for name in ("psi", "js", "ks"):
        assert got[name] == pytest.approx(expected[name], abs=1e-9), name
    assert got["w1"] == pytest.approx(expected["w1"], abs=2e-4)  # z is kept in 1 / 65,536, and widths in float32


@settings(max_examples=60, deadline=None)
@given(PAIRS)
def test_from_the_raw_distances_they_differ_by_what_is_inside_a_cell_at_most(pair: tuple[Values, Values]) -> None:
    past, now = pair
    now = np.clip(now, np.nanmin(past), np.nanmax(past))  # what lies outside is in one cell, as wide as the world
    if np.isnan(now).all():
        return
    reference, got = sized(past, now)
    edges = reference.edges[0, : int(reference.n_edges[0])]
    x, y = (one[~np.isnan(one)] for one in (past, now))
    p, q = (np.bincount(np.searchsorted(edges, one), minlength=edges.size + 1)[1:-1] / one.size for one in (x, y))
    within = float(((p + q) * np.diff(edges.astype(np.float64))).sum()) / (float(x.astype(np.float64).std()) or 1.0)
    assert abs(got["w1"] - raw_w1(past, now)) <= within + 1e-3
    ks = raw_ks(past, now)
    assert got["ks"] <= ks + 1e-9
    assert ks <= got["ks"] + float(np.maximum(p, q).max()) + 1e-9
    if np.isin(y, x).all() and np.unique(x).size <= edges.size - 1 and np.isin(np.unique(x), edges).all():
        assert got["ks"] == pytest.approx(ks, abs=1e-9)  # a cell for each value


@settings(max_examples=100, deadline=None)
@given(PAIRS)
def test_w1_of_raw_values_is_scipys(pair: tuple[Values, Values]) -> None:
    x, y = (one[~np.isnan(one)] for one in pair)
    if y.size:
        assert exact_w1(x, y) == pytest.approx(raw_w1(x, y), rel=1e-9, abs=1e-9)


def test_a_window_without_events_or_values_has_no_size_but_what_is_missing() -> None:
    past = np.random.default_rng(0).normal(size=500).astype(np.float32)
    assert set(sized(past)[1].values()) == {0.0}
    reference, got = sized(past, np.full(50, np.nan, np.float32))
    assert (got["ks"], got["w1"]) == (0.0, 0.0)
    assert got["psi"] == pytest.approx(measures(reference, 0, past, np.full(50, np.nan, np.float32))["psi"]) != 0.0
