"""Every value lands in one cell, and effect sizes agree with a second source."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from scipy.stats import chi2, ks_2samp, wasserstein_distance

from detectors.drift import DriftReference, WindowCounts
from detectors.drift.effect import EffectSizer, EffectSizes, exact_psi, exact_w1, js, psi
from detectors.state import StateError

floats32 = st.floats(width=32, allow_nan=True, allow_infinity=True)


def numeric(values: NDArray[np.float32]) -> DriftReference:
    return DriftReference.fit(values[:, None], ["x"], ["numeric"])


def column(*values: float) -> NDArray[np.float32]:
    return np.array(values, np.float32)[:, None]


def counted(reference: DriftReference, X: NDArray[np.float32]) -> WindowCounts:
    window = WindowCounts(reference)
    window.update(X)
    return window


def sizes(reference: NDArray[np.float32], window: NDArray[np.float32]) -> EffectSizes:
    frozen = numeric(reference)
    return EffectSizer(frozen)(counted(frozen, window[:, None]))


@settings(deadline=None)
@given(
    hnp.arrays(np.float32, st.integers(1, 80), elements=st.floats(-4, 4, width=32) | st.integers(0, 3).map(float)),
    hnp.arrays(np.float32, st.integers(0, 80), elements=floats32),
)
def test_the_compiled_pass_counts_what_numpy_counts(past: NDArray[np.float32], now: NDArray[np.float32]) -> None:
    reference = numeric(past)
    edges = reference.edges[0, : reference.n_edges[0]]
    missing = np.isnan(now)
    expected = np.bincount(np.searchsorted(edges, now[~missing], side="left"), minlength=edges.size + 1)
    cells = counted(reference, now[:, None]).cells
    np.testing.assert_array_equal(cells, [*expected, missing.sum()])
    assert cells.sum() == now.size


def test_large_batches_of_many_groups_are_counted_to_the_unit() -> None:
    """Blocks of 224 events, their rests, and padded lanes: table, moments and volumes as plain numpy has them."""
    rng = np.random.default_rng(8)
    X = rng.normal(size=(7_001, 35)).astype(np.float32)
    X[rng.random(X.shape) < 0.05] = np.nan
    X[rng.random(X.shape) < 0.01] = np.inf
    reference = DriftReference.fit(X[:500], [f"f{j}" for j in range(35)], ["numeric"] * 35)
    clients = rng.integers(0, 2**63, 40)[rng.integers(0, 40, len(X))].astype(np.uint64)
    window = WindowCounts(reference)
    window.update(X, clients=clients)
    bucket = ((clients ^ (clients >> np.uint64(32))) * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(54)
    np.testing.assert_array_equal(window.volumes, np.bincount(bucket.astype(int), minlength=1024))
    expected, moments = np.zeros_like(window.table), np.zeros_like(window.moments)
    for v in range(35):
        edges, known = reference.edges[v, : reference.n_edges[v]], ~np.isnan(X[:, v])
        at = np.where(known, np.searchsorted(edges, X[:, v], side="left"), edges.size + 1)
        np.add.at(expected, ((bucket % np.uint64(16)).astype(int), int(reference.starts[v]) + at), 1)
        mean, scale = np.float32(reference.mean[v]), np.float32(1.0 / reference.sd[v])
        z = np.clip(np.where(known, (X[:, v] - mean) * scale, np.float32(0)), np.float32(-16), np.float32(16))
        moments[v] = (z * np.float32(65536)).astype(np.int64).sum(), (z * z * np.float32(65536)).astype(np.int64).sum()
    np.testing.assert_array_equal(window.table, expected)
    np.testing.assert_array_equal(window.moments, moments)


def test_a_client_that_sends_thousands_of_extremes_at_once_overflows_no_sum() -> None:
    """Squares are at their limit, and of one group: lanes of 32 bits must be emptied on the way."""
    reference = numeric(np.arange(1_000, dtype=np.float32))
    window = WindowCounts(reference)
    X = np.full((9_000, 1), np.float32(1e30))
    X[::10] = np.nan
    window.update(X, clients=np.full(len(X), 7, np.uint64))
    assert window.cells[-2:].tolist() == [8_100, 900]
    assert window.cells[:-2].sum() == 0
    assert window.moments.tolist() == [[8_100 * 16 * 65_536, 8_100 * 256 * 65_536]]


def test_a_value_on_an_edge_belongs_to_the_left_bin_and_the_minimum_is_not_below() -> None:
    reference = numeric(np.arange(1, 101, dtype=np.float32))
    cells = counted(reference, column(1, 10, 10.5, 100, 0.5, 101, np.nan, np.inf, -np.inf)).cells
    # below 1; (0, 1], (1, 4], (4, 10], ..., (90, 96], (96, 99], (99, 100]; above; missing
    assert cells.tolist() == [2, 1, 0, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 1]


def test_ties_constants_and_columns_without_values_have_their_cells() -> None:
    X = np.column_stack([np.repeat([0, 0, 0, 0, 1], 100), np.full(500, 7.0), np.full(500, np.nan)])
    reference = DriftReference.fit(X, ["ties", "constant", "empty"], ["numeric"] * 3)
    window = WindowCounts(reference)
    window.update(np.array([[0, 7, 1], [1, 8, np.nan]], np.float32))
    assert window.cells.sum() == 6
    assert np.diff(reference.starts).tolist() == [5, 4, 3]  # below, 0, 1, above, missing; below, 7, above, missing
    assert np.isfinite(EffectSizer(reference)(window).psi).all()


def test_rare_categories_share_a_cell_and_unknown_ones_have_their_own() -> None:
    codes = np.concatenate([np.repeat(np.arange(40), 10), np.repeat(np.arange(30), 90)])
    reference = DriftReference.fit(codes[:, None], ["c"], ["categorical"], categories={"c": [f"k{i}" for i in range(40)]})
    assert reference.n_cells == 33
    cells = counted(reference, column(0, 35, 39, 40, -1, 1e9, np.nan)).cells
    assert (cells[0], cells[30], cells[31], cells[32]) == (1, 2, 3, 1)


def test_scores_of_training_rows_are_left_out_of_the_reference() -> None:
    scores = np.repeat([[1.0, 0.0], [0.6, 0.4]], 300, axis=0)
    reference = DriftReference.fit(
        np.zeros((600, 1)), ["x"], ["numeric"], scores=scores, classes=["a", "b"], label=np.zeros(600), held_out=np.arange(600) >= 300
    )
    assert reference.variables == ("x", "score:a", "score:b", "class")
    assert np.add.reduceat(reference.counts, reference.starts[:-1]).tolist() == [600, 300, 300, 300]
    assert reference.mean[1] == pytest.approx(0.6)


def test_outputs_that_are_not_given_count_as_missing() -> None:
    reference = DriftReference.fit(
        np.zeros((300, 1)), ["x"], ["numeric"], scores=np.ones((300, 1)), classes=["a"], label=np.zeros(300), value=np.ones(300)
    )
    window = counted(reference, np.zeros((5, 1), np.float32))
    assert window.cells[reference.starts[1:] - 1].tolist() == [0, 5, 5, 5]


@pytest.mark.parametrize("law", ["normal", "exponential", "t3"])
@pytest.mark.parametrize("shift", [0.25, 0.5, 1.0])
def test_w1_from_cells_is_close_to_scipy_on_the_raw_data(law: str, shift: float) -> None:
    rng = np.random.default_rng(4)
    both = {"normal": rng.normal(size=25_000), "exponential": rng.exponential(size=25_000), "t3": rng.standard_t(3, 25_000)}[law]
    past = both[:20_000].astype(np.float32)
    now = (both[20_000:] + shift * past.std()).astype(np.float32)
    raw = wasserstein_distance(past, now) / past.std()
    assert exact_w1(past, now) == pytest.approx(raw, rel=1e-4)
    assert sizes(past, now).w1[0] == pytest.approx(raw, abs=0.05)


def test_ks_psi_and_medians_agree_with_the_raw_data() -> None:
    rng = np.random.default_rng(5)
    past, now = rng.normal(size=20_000).astype(np.float32), rng.normal(0.5, 1, 5_000).astype(np.float32)
    found = sizes(past, now)
    assert found.ks[0] == pytest.approx(ks_2samp(past, now).statistic, abs=0.01)
    assert found.ks[0] <= ks_2samp(past, now).statistic + 1e-6
    assert found.psi[0] == pytest.approx(exact_psi(past, now), abs=0.002)
    assert found.psi[0] == pytest.approx(0.25, abs=0.04)  # (q - p) ln (q / p) of half a standard deviation
    assert found.center[0] == pytest.approx(0.5, abs=0.05)
    assert found.shift[0] == pytest.approx(0.5, abs=0.05)


def test_a_shift_beyond_all_edges_still_has_its_size() -> None:
    past = np.random.default_rng(5).normal(size=2_000).astype(np.float32)
    found = sizes(past, past + 12)
    assert found.w1[0] == pytest.approx(12, rel=0.02)
    assert found.above[0] == 1


def test_psi_and_js_without_drift_follow_their_null_distribution() -> None:
    rng = np.random.default_rng(6)
    n, m, B = 300, 1000, 10
    pairs = [(rng.multinomial(m, [1 / B] * B), rng.multinomial(n, [1 / B] * B)) for _ in range(2_000)]
    worth = n * m / (n + m)
    for statistic in (np.array([psi(a, b)[0] for a, b in pairs]) * worth, np.array([js(a, b)[0] for a, b in pairs]) * 8 * worth):
        assert 0.03 < (statistic > chi2.ppf(0.95, B - 1)).mean() < 0.07


def test_a_reference_comes_back_from_its_bytes_and_damaged_ones_are_refused() -> None:
    X = np.column_stack([np.random.default_rng(1).normal(size=300), np.arange(300) % 3])
    reference = DriftReference.fit(X, ["größe", "c"], ["numeric", "categorical"], categories={"c": ["x", "y", "é"]})
    blob = reference.to_bytes()
    back = DriftReference.from_bytes(blob)
    assert back.to_bytes() == blob
    assert back.variables == reference.variables
    for damaged in (b"", blob[:-1], blob.replace(b"rows", b"rowz"), counted(reference, X.astype(np.float32)).to_bytes()):
        with pytest.raises(StateError):
            DriftReference.from_bytes(damaged)
    with pytest.raises(StateError, match="reference has 4"):
        WindowCounts.from_bytes(WindowCounts(reference).to_bytes(), numeric(np.zeros(3, np.float32) + 1))


def test_a_small_reference_says_that_it_is_not_calibrated() -> None:
    assert numeric(np.zeros(199, np.float32)).status == "uncalibrated"
    assert "199 rows" in numeric(np.zeros(199, np.float32)).reason


def test_references_and_batches_of_the_wrong_shape_are_refused() -> None:
    X = np.zeros((5, 2))
    with pytest.raises(ValueError, match="at least one row"):
        DriftReference.fit(np.zeros((0, 2)), ["a", "b"], ["numeric"] * 2)
    with pytest.raises(ValueError, match="2 columns"):
        DriftReference.fit(X, ["a"], ["numeric"])
    with pytest.raises(ValueError, match="distinct"):
        DriftReference.fit(X, ["a", "a"], ["numeric"] * 2)
    with pytest.raises(ValueError, match="categories"):
        DriftReference.fit(X, ["a", "b"], ["numeric", "categorical"])
    with pytest.raises(ValueError, match="scores must"):
        DriftReference.fit(X, ["a", "b"], ["numeric"] * 2, scores=np.zeros((5, 3)), classes=["x"])
    window = WindowCounts(DriftReference.fit(X, ["a", "b"], ["numeric"] * 2))
    with pytest.raises(ValueError, match="X must"):
        window.update(np.zeros((3, 3)))
    with pytest.raises(ValueError, match="clients must"):
        window.update(X, clients=[1])
