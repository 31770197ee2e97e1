"""Whole-histogram alternatives: no law in the tolerance makes their e-values larger than 1 on average, and they are as quick as can be."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.optimize import minimize

from bench.drift_laws import LAWS, Change, Law
from detectors.drift import DriftDetector, DriftReference, WindowCounts
from detectors.drift.detector import BALL_SHARE
from detectors.drift.reference import GAMMA
from detectors.drift.tilts import PER_VARIABLE, Tilts
from detectors.drift.tolerance import Ball, Tube, clipped, taut_string
from detectors.e_process import ODDS
from detectors.state import pack, unpack

each_law = pytest.mark.parametrize("law", LAWS, ids=lambda law: law.name)


def reference_of(law: Law, rows: int = 5_000, missing: float = 0.0) -> DriftReference:
    rng = np.random.default_rng(3)
    X = law.sample(rng, (rows, 1))
    X[rng.random(rows) < missing] = np.nan
    return DriftReference.fit(X, ["x"], ["numeric"])


def tilts_of(reference: DriftReference, materiality: float) -> tuple[Tilts, DriftDetector]:
    detector = DriftDetector(reference, false_pages=1, windows=8640, materiality=materiality)
    return detector.tilts, detector


def entropy(ball: Ball, law: NDArray[np.float64], center: NDArray[np.float64], toward: float) -> float:
    known = (center + toward * (law - center))[:-1]
    known = known / known.sum()
    seen = ball.share > 0
    return float((ball.share[seen] * np.log(ball.share[seen] / np.maximum(known[seen], 1e-300))).sum())


@each_law
@pytest.mark.parametrize("materiality", [0.0, 0.01, 0.05])
@pytest.mark.parametrize("missing", [0.0, 0.1])
def test_no_tolerated_law_makes_an_e_value_larger_than_one(law: Law, materiality: float, missing: float) -> None:
    """Laws within the limits of every cumulated share, then a part of their mass moved; the worst of many and random ones."""
    reference = reference_of(law, missing=missing)
    tilts, detector = tilts_of(reference, materiality)
    rng = np.random.default_rng(4)
    size = reference.n_cells
    e = np.exp(tilts.log_w[0, :, :PER_VARIABLE] - tilts.log_top(np.zeros(1))[0])  # of one event in each cell
    at = {(int(low), int(high)): k for k, (low, high) in enumerate(zip(reference.low, reference.high, strict=True))}
    borders, tail = [at[0, k] for k in range(1, size - 2)], [at[size - 2, size - 1], at[size - 1, size]]
    lower, upper = detector.p - detector._below, detector.p + detector._above
    missed = size - 1
    # the tube's and the ball's share of the reference's error, as the detector splits it
    limits = float(lower[tail[1]]), float(upper[tail[1]])
    ball = Ball(reference.counts, limits, BALL_SHARE * GAMMA)
    center = np.append((1 - detector.p[tail[1]]) * ball.share, detector.p[tail[1]])
    worst = np.zeros(e.shape[1])
    for trial in range(400):
        share = rng.random(len(borders)) if trial % 2 else (rng.random(len(borders)) < rng.random()).astype(float)
        F = np.maximum.accumulate(lower[borders] + share * (upper - lower)[borders])
        # neither "above" nor "missing" leaves its own limits
        last = lower[tail] + rng.random(2) * (upper - lower)[tail]
        law_shares = np.diff([0.0, *np.minimum(F, 1 - last.sum()), 1 - last.sum(), 1 - last[1], 1.0])
        assert law_shares[missed] == pytest.approx(last[1])
        toward = 1.0
        while entropy(ball, law_shares, center, toward) > ball.radius:
            toward *= 0.99
        law_shares = center + toward * (law_shares - center)
        moved, to = min(materiality, 1.0), int(rng.integers(size))
        away = np.zeros(size)
        source = rng.permutation(size)
        for c in source:
            away[c] = min(law_shares[c], moved - away.sum())
        shares = law_shares - away
        shares[to] += away.sum()
        worst = np.maximum(worst, shares @ e)
    assert tilts.active.any() or materiality
    assert worst.max() <= 1 + 1e-9
    if tilts.active.any() and not materiality:
        assert worst[tilts.active[0]].max() > 0.9  # the bound is no empty one


@given(st.integers(0, 10_000))
def test_the_taut_string_is_what_a_solver_finds(seed: int) -> None:
    rng = np.random.default_rng(seed)
    q = rng.dirichlet(np.full(6, 2.0))
    F, width = np.cumsum(rng.dirichlet(np.full(6, 2.0)))[:-1], rng.uniform(0.01, 0.1)
    low = np.maximum.accumulate(np.clip(F - width, 0, 1))
    high = np.minimum.accumulate(np.clip(F + width, 0, 1)[::-1])[::-1]
    times = np.concatenate([[0], np.cumsum(q)])
    p = q * taut_string(times.tolist(), [0.0, *low, 1.0], [0.0, *high, 1.0])
    cumulated = np.cumsum(p)[:-1]
    assert (cumulated > low - 1e-9).all()
    assert (cumulated < high + 1e-9).all()

    def divergence(inner: NDArray[np.float64]) -> float:
        return float((q * np.log(q / np.maximum(np.diff([0.0, *inner, 1.0]), 1e-9))).sum())

    found = minimize(divergence, (low + high) / 2, bounds=list(zip(low, high, strict=True)), method="L-BFGS-B")
    if (np.diff([0.0, *found.x, 1.0]) > 0).all():  # the solver knows no order: now and then it ends where there is no law
        assert divergence(cumulated) <= found.fun + 1e-6


def test_a_cell_that_a_strong_tilt_leaves_next_to_nothing_is_still_a_cell() -> None:
    hardest = Tube(np.array([0.2, 0.6]), np.array([0.4, 0.8])).hardest(np.array([[0.5, 0.5 - 1e-30, 1e-30], [1.0, 1e-20, 1e-20]]))
    assert np.isfinite(hardest).all()
    assert (hardest > 0).all()
    assert hardest.sum(1) == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("ties", [False, True])
def test_a_ball_holds_the_true_law_as_often_as_it_says(*, ties: bool) -> None:
    """Quantile bins of a continuous law, and fixed cells of a tied one; 5 % outside at most, and the radius is not much too large."""
    rng = np.random.default_rng(10)
    outside, runs, n = 0, 400, 2_000
    entropies = []
    for _ in range(runs):
        x = rng.random(n) if not ties else rng.integers(0, 8, n)
        reference = DriftReference.fit(x[:, None], ["x"], ["numeric"])
        edges = reference.edges[0, : reference.n_edges[0]].astype(float)
        cumulated = np.clip(edges, 0, 1) if not ties else (np.floor(edges) + 1) / 8
        true = np.diff([0.0, *np.maximum(cumulated, 0), 1.0])
        ball = Ball(reference.counts, (0.0, 0.01), 0.05)
        seen = ball.share > 0
        entropies.append(float((ball.share[seen] * np.log(ball.share[seen] / true[seen])).sum()))
        outside += entropies[-1] > ball.radius
    assert outside / runs <= 0.05
    assert ball.radius < 2.7 * np.quantile(entropies, 0.95)


@given(st.integers(0, 10_000))
@example(9796)
def test_the_largest_expectation_in_a_ball_is_what_a_solver_finds(seed: int) -> None:
    rng = np.random.default_rng(seed)
    counts = rng.integers(0, 400, 6) * np.array([1, 1, 1, 1, 1, 0])
    counts[0] = 50
    ball = Ball(counts, (0.0, 0.0), 0.01)
    w = rng.uniform(0.1, 3.0, (1, 6))

    def law(free: NDArray[np.float64]) -> NDArray[np.float64]:
        e = np.exp(free - free.max())
        return np.asarray(e / e.sum())

    def left(free: NDArray[np.float64]) -> float:
        seen = ball.share > 0
        return ball.radius - float((ball.share[seen] * np.log(ball.share[seen] / law(free)[seen])).sum())

    solved = []
    for least in (1e-6, 1e-2, 0.1):  # from an empty class that is nearly nothing the solver may not see that mass belongs there
        found = minimize(
            lambda free: -float(law(free) @ w[0, :-1]),
            np.log(np.maximum(ball.share, least)),
            constraints=[{"type": "ineq", "fun": left}],
            method="SLSQP",
            options={"maxiter": 500},
        )
        if found.success and left(found.x) > -1e-6:
            solved.append(-found.fun)
    largest = float(ball.largest(w)[0])
    assert largest <= w[0, :-1].max() + 1e-9
    if solved:
        assert largest == pytest.approx(max(solved), rel=2e-3)
        assert largest >= max(solved) - 1e-4


def test_moving_a_part_of_the_mass_ends_where_the_ratio_is_level() -> None:
    q, p = np.array([0.1, 0.2, 0.3, 0.4]), np.array([0.4, 0.3, 0.2, 0.1])
    w = clipped(q, p, 0.05)
    nearest = q / w
    assert nearest.sum() == pytest.approx(1)
    assert 0.5 * np.abs(nearest - p).sum() == pytest.approx(0.05)
    assert clipped(q, p, 0.5).tolist() == [1, 1, 1, 1]


@each_law
@pytest.mark.parametrize(
    "change", [Change("narrower", scale=0.7), Change("two modes", modes=True), Change("up", shift=0.3)], ids=lambda c: c.name
)
def test_changes_of_scale_shape_and_place_page_within_a_thousand_rows(law: Law, change: Change) -> None:
    rng = np.random.default_rng(5)
    reference = reference_of(law, 50_000)
    detector = DriftDetector(reference, false_pages=1, windows=8640, materiality=0.0)
    for t in range(30):
        counts = WindowCounts(reference)
        counts.update(law.sample(rng, (100, 1), change if t >= 20 else Change("none")))
        report = detector.update(counts)
        assert t >= 20 or report.severity == "none"
    assert report.severity == "page"
    assert 19 <= report.variables[0].since <= 24


def test_a_tolerance_that_holds_every_alternative_leaves_none() -> None:
    """Their e-values would be 1 for ever, and the recursion would count windows up to a page."""
    reference = reference_of(LAWS[0])
    detector = DriftDetector(reference, false_pages=1, windows=100, materiality=0.49)
    rng = np.random.default_rng(6)
    assert not detector.tilts.active.any()
    for _ in range(300):
        counts = WindowCounts(reference)
        counts.update(LAWS[0].sample(rng, (20, 1)))
        assert detector.step(counts) == ("none", False)


def test_a_snapshot_from_before_there_were_tilts_goes_on() -> None:
    reference = reference_of(LAWS[0])
    detector = DriftDetector(reference, false_pages=1, windows=8640)
    rng = np.random.default_rng(7)

    def step(one: DriftDetector, seed: int) -> None:
        counts = WindowCounts(reference)
        counts.update(LAWS[0].sample(np.random.default_rng(seed), (100, 1)), clients=rng.integers(0, 50, 100))
        one.step(counts)

    for t in range(20):
        step(detector, t)
    body = unpack(detector.snapshot(), "drift.detector", 2)
    cells = 2 * len(ODDS) * detector.p.size
    sr = {name: value[:cells] if isinstance(value, np.ndarray) else value for name, value in body["sr"].items()}
    dependence = {name: value for name, value in body["dependence"].items() if not name.endswith("_along")}
    old = pack("drift.detector", 1, {"sr": sr, "dependence": dependence, "cells": body["cells"]})
    again = DriftDetector(reference, false_pages=1, windows=8640)
    again.restore(old)
    assert again.sr.steps == 20
    assert again.sr.log_r[:cells].tolist() == detector.sr.log_r[:cells].tolist()
    assert np.isneginf(again.sr.log_r[cells:]).all()
    step(again, 21)
    assert np.isfinite(again.sr.log_mixture)


def test_tilts_have_a_correlation_of_their_own_that_is_never_less_than_the_cells() -> None:
    rng = np.random.default_rng(8)
    reference = reference_of(LAWS[0], 20_000)
    detector = DriftDetector(reference, false_pages=1, windows=8640)
    means = np.random.default_rng(9).normal(size=(30, 1))
    for _ in range(80):
        clients = rng.integers(0, 30, 300)
        counts = WindowCounts(reference)
        counts.update((0.8 * means[clients] + 0.6 * rng.normal(size=(300, 1))).astype(np.float32), clients=clients)
        detector.step(counts)
    assert detector.dependence.rho_tilts[0] > 2 * detector.dependence.rho[0]
    assert detector.dependence.rho_along[0, 0] > 0.3
