"""A season is learned by the hour of the week, counts are carried back from their hour, and neither costs the budget."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats
from scipy.special import ndtr

from bench.drift_laws import LAWS, STEP, Law
from detectors.drift import DriftDetector, DriftReference, WindowCounts
from detectors.drift.season import carry, hours_of
from detectors.drift.tilts import PER_VARIABLE, Tilts
from detectors.state import StateError, pack, unpack

Floats = NDArray[np.float64]
HOUR, DAY = 3600.0, 86_400.0
lawful = hypothesis_settings(deadline=None, max_examples=60)
masses = st.lists(st.sampled_from([0.0, 0.0, 1e-6, 0.01, 0.3, 1.0, 5.0]), min_size=4, max_size=12)


def shares(law: Law, edges: NDArray[np.float32], means: Floats) -> Floats:
    """Probability of each cell of a numeric variable (below, bins, above, missing), shape (windows, cells)."""
    x = edges.astype(np.float64)
    if law.tied:
        latent = STEP * (np.floor(x / STEP) + 0.5)
    else:
        # a float32 value is at most an edge when the number it was rounded from is at most half a step above it
        x = 0.5 * (x + np.nextafter(edges, np.float32(np.inf)).astype(np.float64))
        latent = np.log(np.maximum(x, 1e-300)) if law.skewed else x
    z = latent[None, :] - law.width * means[:, None]
    below = stats.t.cdf(z, 3) if law.name == "heavy tails" else ndtr(z)
    full = np.column_stack([np.zeros(len(means)), below, np.ones(len(means)), np.ones(len(means))])
    return np.asarray(np.maximum(np.diff(full, axis=1), 0.0), np.float64)


def swinging(rng: np.random.Generator, at_s: Floats, width: int = 3, size: float = 0.7) -> NDArray[np.float32]:
    """Rows of which the last column swings by the day."""
    X = rng.normal(size=(at_s.size, width))
    X[:, -1] += size * np.sin(2 * np.pi * at_s / DAY)
    return X.astype(np.float32)


def recorded(days: float, n: int = 20_000, seed: int = 1, size: float = 0.7, width: int = 3) -> DriftReference:
    rng = np.random.default_rng(seed)
    at = np.sort(rng.uniform(0, days * DAY, n))
    return DriftReference.fit(swinging(rng, at, width, size), [f"f{j}" for j in range(width)], ["numeric"] * width, at_s=at)


def carried(now: Floats, whole: Floats, *, numeric: bool) -> Floats:
    size, out = now.size, np.empty((now.size, now.size))
    carry(np.eye(size), now, whole, np.array([0, size]), np.array([numeric]), np.ones(1, bool), out)
    return out


@lawful
@given(masses, st.randoms(use_true_random=False), st.booleans())
def test_a_plan_carries_an_hours_law_to_the_whole_references_and_no_event_is_lost(mass: list[float], rnd: object, numeric: bool) -> None:
    rng = np.random.default_rng(rnd.getrandbits(32))  # type: ignore[attr-defined]
    whole = np.array([*mass, 1.0])
    now = np.where(whole > 0, whole * rng.exponential(size=whole.size) + 1e-9, 0.0)
    whole, now = whole / whole.sum(), now / now.sum()
    plan = carried(now, whole, numeric=numeric)
    assert plan.min() >= 0
    assert plan.sum(axis=1) == pytest.approx(np.ones(now.size))
    assert now @ plan == pytest.approx(whole, abs=1e-9)
    if numeric:  # known values keep their order
        of_known = np.cumsum(plan[:-1, :-1] / np.maximum(plan[:-1, :-1].sum(axis=1, keepdims=True), 1e-300), axis=1)[now[:-1] > 0]
        assert (np.diff(of_known, axis=0) <= 1e-9).all()


def test_what_the_reference_never_saw_stays_what_it_is() -> None:
    whole, now = np.array([0.0, 0.5, 0.5, 0.0, 0.0]), np.array([0.0, 0.9, 0.1, 0.0, 0.0])
    for numeric in (True, False):
        plan = carried(now, whole, numeric=numeric)
        assert plan[[0, 3, 4], [0, 3, 4]].tolist() == [1.0, 1.0, 1.0]


def test_an_hours_own_law_makes_no_e_value_larger_than_one() -> None:
    reference = recorded(14, size=1.0)
    season = reference.season
    assert season is not None
    detector = DriftDetector(reference, false_pages=1, windows=8640, materiality=0.0)
    tilts = detector.tilts
    assert isinstance(tilts, Tilts)
    u = tilts.variables.tolist().index(2)
    begin, end = int(reference.starts[2]), int(reference.starts[3])
    top = tilts.log_top(np.zeros(3))[u]
    for hour in range(24):
        expected = season.expected((hour * HOUR, hour * HOUR + 300))
        unit = np.zeros((end - begin, reference.n_cells))
        unit[:, begin:end] = np.eye(end - begin)
        log_e = season.carry(unit.astype(np.int32), expected)[:, begin:end] @ tilts.log_w[u, : end - begin, :PER_VARIABLE] - top
        assert (expected[begin:end] @ np.exp(log_e)).max() <= 1 + 1e-9


@pytest.mark.parametrize("days", [2, 14])
def test_the_hours_of_a_swing_are_learned_close_to_the_truth(days: int) -> None:
    reference = recorded(days)
    season = reference.season
    assert season is not None
    assert season.active.tolist() == [False, False, True]
    s = slice(int(reference.starts[2]), int(reference.starts[3]))
    for hour in range(24):
        mean = 0.7 * np.sin(2 * np.pi * (hour + 0.5) / 24)
        truth = shares(LAWS[0], reference.edges[2, : reference.n_edges[2]], np.array([mean]))[0]
        learned = season.expected((hour * HOUR, (hour + 1) * HOUR))[s]
        assert np.abs(np.cumsum(learned - truth)).max() < 0.07


def test_rows_without_a_season_or_times_have_none_and_a_week_needs_two() -> None:
    assert recorded(14, size=0.0).season is None
    rng = np.random.default_rng(2)
    names, kinds = ["f0"], ["numeric"]
    assert DriftReference.fit(rng.normal(size=(500, 1)), names, kinds).season is None  # type: ignore[arg-type]
    counts = rng.multinomial(300, [0.3, 0.3, 0.4], size=336)
    counts[24 * 5 : 24 * 7] = counts[24 * 12 : 24 * 14] = [10, 10, 280]
    hours = hours_of(counts, np.arange(336), numeric=False)
    assert hours[24 * 5 + 3, 2] == pytest.approx(280 / 300, abs=0.03)
    assert hours[24 * 2 + 3, 2] == pytest.approx(0.4, abs=0.03)
    assert np.ptp(hours_of(counts[:168], np.arange(168), numeric=False)[[15, 24 * 5 + 15], 2]) < 0.01


def watched(reference: DriftReference, hour_of: dict[int, float], windows: int) -> int:
    """First window that pages, or -1; `hour_of` says from which window on the traffic is that of another hour."""
    rng = np.random.default_rng(3)
    detector = DriftDetector(reference, false_pages=1, windows=8640)
    for t in range(windows):
        start = 14 * DAY + 300.0 * t
        shift = next((h for begin, h in sorted(hour_of.items(), reverse=True) if t >= begin), 0.0)
        counts = WindowCounts(reference)
        counts.update(swinging(rng, np.full(200, start + shift * HOUR)))
        if detector.step(counts, (start, start + 300.0))[1]:
            return t
    return -1


def test_night_traffic_at_noon_pages_though_every_night_looks_like_it() -> None:
    reference = recorded(14)
    assert watched(reference, {}, 600) == -1
    assert 288 <= watched(reference, {288: 12.0}, 600) < 310


def test_a_season_needs_the_windows_time() -> None:
    reference = recorded(3)
    counts = WindowCounts(reference)
    counts.update(np.zeros((50, 3)))
    with pytest.raises(ValueError, match="give the window's beginning and end"):
        DriftDetector(reference, false_pages=1, windows=8640).step(counts)


def test_effect_sizes_are_of_what_is_beyond_the_season() -> None:
    reference, rng = recorded(14), np.random.default_rng(4)
    detector = DriftDetector(reference, false_pages=1, windows=8640)
    counts = WindowCounts(reference)
    counts.update(swinging(rng, np.full(20_000, 6 * HOUR)))  # 0.7 above its mean, as always at six
    swung = detector.update(counts, (5.9 * HOUR, 6.1 * HOUR)).variables[2]
    missed = detector.update(counts, (17.9 * HOUR, 18.1 * HOUR)).variables[2]
    assert swung.psi < 0.02
    assert abs(swung.mean_shift) < 0.1
    assert swung.center == pytest.approx(swung.reference_center, abs=0.1)
    assert missed.psi > 0.5
    assert missed.mean_shift == pytest.approx(1.4 / reference.sd[2], abs=0.15)


def test_a_reference_keeps_its_season_and_one_of_before_seasons_is_read() -> None:
    reference = recorded(3)
    again = DriftReference.from_bytes(reference.to_bytes())
    span = (3.2 * HOUR, 3.3 * HOUR)
    assert again.season is not None
    assert reference.season is not None
    assert (again.season.expected(span) == reference.season.expected(span)).all()
    body = unpack(reference.to_bytes(), "drift.reference", 2)
    old = {k: v for k, v in body.items() if k not in ("span_s", "has_season", "hours")}
    assert DriftReference.from_bytes(pack("drift.reference", 1, old)).season is None
    for damage in ({"hours": body["hours"][:, 1:]}, {"span_s": float("nan")}, {"hours": body["hours"].astype(np.float64)}):
        with pytest.raises(StateError):
            DriftReference.from_bytes(pack("drift.reference", 2, body | damage))


def test_a_recording_of_less_than_two_days_opens_tickets_only() -> None:
    short = recorded(1.5)
    assert (short.status, short.season) == ("uncalibrated", None)
    assert "span 36.0 hours" in short.reason
    assert recorded(2).status == "calibrated"


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.name)
def test_simulated_counts_have_the_law_of_counted_rows(law: Law) -> None:
    rng = np.random.default_rng(5)
    reference = DriftReference.fit(law.sample(rng, (5_000, 1)), ["x"], ["numeric"])
    counts = WindowCounts(reference)
    n = 400_000
    counts.update(law.sample(rng, (n, 1), means=0.3))
    p = shares(law, reference.edges[0, : reference.n_edges[0]], np.array([0.3]))[0]
    assert p.sum() == pytest.approx(1)
    assert (np.abs(counts.cells - n * p) <= 4.5 * np.sqrt(n * p * (1 - p)) + 1e-6).all()
