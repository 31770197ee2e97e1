"""Drift of a model pages; what one client does, chance and small change do not."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import chi2

from detectors.constant import ConstantDetector
from detectors.drift import DriftDetector, DriftReference, DriftReport, WindowCounts
from detectors.drift.dependence import Look
from detectors.drift.slow import SlowSizes
from detectors.drift.tilts import PER_VARIABLE
from detectors.state import StateError

Rows = NDArray[np.float32]
Window = tuple[Rows, NDArray[np.int64]]
D = 6


def normal_reference(rows: int = 20_000, seed: int = 0) -> DriftReference:
    X = np.random.default_rng(seed).normal(size=(rows, D))
    return DriftReference.fit(X, [f"f{j}" for j in range(D)], ["numeric"] * D)


def detector_for(reference: DriftReference) -> DriftDetector:
    return DriftDetector(reference, false_pages=1, windows=8640)


def run(detector: DriftDetector, windows: int, draw: Callable[[int], Window]) -> list[DriftReport]:
    reports = []
    for t in range(windows):
        X, clients = draw(t)
        counts = WindowCounts(detector.reference)
        counts.update(X, clients=clients)
        reports.append(detector.update(counts))
    return reports


def pages(reports: list[DriftReport]) -> list[int]:
    return [t for t, report in enumerate(reports) if report.opened]


def traffic(rng: np.random.Generator, n: int = 300, clients: int = 200) -> Window:
    return rng.normal(size=(n, D)).astype(np.float32), rng.integers(0, clients, n)


def shifted(window: Window, by: float, feature: int = 2) -> Window:
    window[0][:, feature] += by
    return window


def joined(*windows: Window) -> Window:
    return np.concatenate([w[0] for w in windows]), np.concatenate([w[1] for w in windows])


def test_independent_traffic_stays_quiet() -> None:
    rng = np.random.default_rng(1)
    reports = run(detector_for(normal_reference()), 400, lambda _: traffic(rng))
    assert {report.severity for report in reports} == {"none"}


@pytest.mark.slow
def test_a_simulated_month_of_independent_traffic_stays_quiet() -> None:
    rng = np.random.default_rng(1)
    reports = run(detector_for(normal_reference()), 8_640, lambda _: traffic(rng, clients=5_000))
    assert {report.severity for report in reports} == {"none"}


@pytest.mark.parametrize(("shift", "delay"), [(1.0, 1), (0.5, 4)])
def test_a_shifted_feature_pages_within_a_few_windows_and_is_named(shift: float, delay: int) -> None:
    rng = np.random.default_rng(2)
    reports = run(detector_for(normal_reference()), 50, lambda t: shifted(traffic(rng), shift * (t >= 40)))
    first = pages(reports)[0]
    assert 40 <= first < 40 + delay
    assert reports[first].leading == ("f2",)
    assert 40 <= reports[first].since <= first
    drift = reports[first].variables[2]
    assert (drift.name, drift.direction) == ("f2", "up")
    assert drift.center - drift.reference_center == pytest.approx(shift, abs=0.25)


def test_an_episode_stays_open_while_the_drift_lasts_and_closes_after_it() -> None:
    rng = np.random.default_rng(3)
    reports = run(detector_for(normal_reference()), 80, lambda t: shifted(traffic(rng), 0.8 * (30 <= t < 60)))
    assert len(pages(reports)) == 1
    assert all(report.severity == "page" for report in reports[35:60])
    assert reports[-1].severity == "none"


def test_a_change_below_the_materiality_is_no_news() -> None:
    rng = np.random.default_rng(4)
    detector = DriftDetector(normal_reference(), false_pages=1, windows=8640, materiality=0.1)
    assert not pages(run(detector, 60, lambda _: shifted(traffic(rng), 0.2)))


def test_a_bulk_job_of_one_client_is_no_drift_of_the_model() -> None:
    rng = np.random.default_rng(5)

    def draw(t: int) -> Window:
        job = rng.normal(2.0, 0.3, (3_000, D)).astype(np.float32), np.full(3_000, 77_777)
        return joined(traffic(rng), job) if t >= 40 else traffic(rng)

    reports = run(detector_for(normal_reference()), 100, draw)
    assert {report.severity for report in reports} == {"none"}
    assert reports[-1].variables[0].psi > 1  # it is shown all the same


def test_the_same_rows_from_many_clients_are_drift() -> None:
    rng = np.random.default_rng(5)

    def draw(t: int) -> Window:
        job = rng.normal(2.0, 0.3, (3_000, D)).astype(np.float32), rng.integers(0, 200, 3_000)
        return joined(traffic(rng), job) if t >= 40 else traffic(rng)

    assert pages(run(detector_for(normal_reference()), 42, draw)) == [40]


def test_a_health_check_alone_through_the_night_is_no_drift() -> None:
    rng = np.random.default_rng(6)
    probe = np.zeros((1, D), np.float32), np.array([42])

    def draw(t: int) -> Window:
        return joined(traffic(rng, 50, 40), probe) if t % 288 < 144 else probe

    assert not pages(run(detector_for(normal_reference()), 600, draw))


def test_the_only_client_of_a_gateway_can_drift() -> None:
    rng = np.random.default_rng(7)
    reports = run(detector_for(normal_reference()), 130, lambda t: shifted(traffic(rng, clients=1), t >= 120))
    assert pages(reports)
    assert 120 <= pages(reports)[0] < 124


@pytest.mark.parametrize("seed", range(3))
def test_a_few_dozen_clients_with_habits_of_their_own_do_not_page(seed: int) -> None:
    """Zipf volumes, each client a mix of narrow sub-populations, active in sessions."""
    rng = np.random.default_rng(seed)
    centres, K = rng.normal(size=(8, D)) * 1.2, 40
    habits, volumes = rng.dirichlet(np.full(8, 0.5), K), 1 / np.arange(1, K + 1)

    def rows(kinds: NDArray[np.int64]) -> Rows:
        return np.asarray(centres[kinds] + 0.5 * rng.normal(size=(kinds.size, D)), np.float32)

    weights = habits.mean(axis=0)
    reference = DriftReference.fit(rows(rng.choice(8, 5_000, p=weights)), list("abcdef"), ["numeric"] * D)
    active = rng.random(K) < 0.3

    def draw(_: int) -> Window:
        nonlocal active
        active = np.where(rng.random(K) < 0.1, rng.random(K) < 0.3, active)
        clients = np.repeat(np.arange(K), rng.poisson(100 * volumes * active))
        kinds = (rng.random((clients.size, 1)) > np.cumsum(habits[clients], axis=1)).sum(axis=1)
        return rows(np.minimum(kinds, 7)), clients

    assert not pages(run(detector_for(reference), 300, draw))


def test_a_night_with_a_few_clients_of_many_is_no_drift() -> None:
    rng = np.random.default_rng(14)
    habits = 0.8 * np.random.default_rng(15).normal(size=(60, D))

    def draw(t: int) -> Window:
        clients = rng.integers(0, 60 if t % 100 < 60 else 8, 200)
        return (habits[clients] + 0.6 * rng.normal(size=(200, D))).astype(np.float32), clients

    assert not pages(run(detector_for(normal_reference()), 200, draw))


def test_correlation_within_clients_is_learned_and_independence_too() -> None:
    rng = np.random.default_rng(8)

    def alike(_: int) -> Window:
        clients = rng.integers(0, 30, 300)
        means = np.random.default_rng(99).normal(size=(30, D))
        return (0.8 * means[clients] + 0.6 * rng.normal(size=(300, D))).astype(np.float32), clients

    heavy, light = detector_for(normal_reference()), detector_for(normal_reference())
    run(heavy, 80, alike)
    run(light, 80, lambda _: traffic(rng, clients=30))
    assert np.median(heavy.dependence.rho) > 0.1 > 0.02 > np.median(light.dependence.rho)


def test_a_feature_that_vanishes_a_new_category_and_another_class_mix_page_by_name() -> None:
    rng = np.random.default_rng(9)
    X = np.column_stack([rng.normal(size=5_000), rng.integers(0, 3, 5_000)])
    label = (X[:, 0] > 0).astype(int)
    reference = DriftReference.fit(
        X, ["x", "c"], ["numeric", "categorical"], categories={"c": list("uvw")}, classes=["no", "yes"], label=label
    )
    expected = {"x": "missing", "c": "unseen", "class": "mix"}
    for name, direction in expected.items():
        detector = detector_for(reference)
        for t in range(22):
            now = np.column_stack([rng.normal(size=300), rng.integers(0, 3, 300)])
            classes = (now[:, 0] > 0).astype(int)
            if t >= 20:
                now[:, 0] = np.where(name == "x", np.nan, now[:, 0])
                now[:, 1] = np.where((name == "c") & (rng.random(300) < 0.4), 3, now[:, 1])
                classes = np.where(name == "class", 1, classes)
            counts = WindowCounts(reference)
            counts.update(now, label=classes, clients=rng.integers(0, 200, 300))
            report = detector.update(counts)
        assert report.severity == "page", name
        assert report.leading[0] == name
        assert {v.name: v.direction for v in report.variables}[name] == direction


@pytest.mark.parametrize("rows", [20_000, 150])
def test_without_a_calibrated_reference_or_enough_windows_there_are_only_tickets(rows: int) -> None:
    rng = np.random.default_rng(10)
    reports = run(detector_for(normal_reference(rows)), 10, lambda _: shifted(traffic(rng), 2.0))
    assert reports[-1].severity == "ticket"
    assert not pages(reports)
    assert reports[-1].status == "uncalibrated"
    assert ("150 rows" if rows < 200 else "windows") in reports[-1].reason


def test_a_window_without_events_changes_nothing() -> None:
    rng = np.random.default_rng(11)
    detector = detector_for(normal_reference())
    run(detector, 20, lambda _: traffic(rng))
    before = detector.snapshot()
    report = detector.update(WindowCounts(detector.reference))
    assert detector.snapshot() == before
    assert (report.n, report.severity, report.variables[0].psi) == (0, "none", 0.0)


def _held(thing: object, seen: set[int]) -> int:
    """Bytes of the arrays that an object holds, each once."""
    if id(thing) in seen or isinstance(thing, str | bytes | type):
        return 0
    seen.add(id(thing))
    if isinstance(thing, np.ndarray):
        return _held(thing.base, seen) if isinstance(thing.base, np.ndarray) else int(thing.nbytes)
    if isinstance(thing, dict):
        return sum(_held(value, seen) for value in thing.values())
    if isinstance(thing, list | tuple):
        return sum(_held(value, seen) for value in thing)
    return sum(_held(value, seen) for value in vars(thing).values()) if hasattr(thing, "__dict__") else 0


def test_a_hundred_features_fit_into_a_megabyte() -> None:
    """What the owner of a model has for drift: reference, detector, a day's sizes, constant columns, and the window it is judging."""
    X = np.random.default_rng(12).normal(size=(2_000, 100))
    reference = DriftReference.fit(X, [f"f{j}" for j in range(100)], ["numeric"] * 100)
    detector, counts = detector_for(reference), WindowCounts(reference)
    counts.update(X[:400], clients=np.arange(400))
    slow, constant = SlowSizes(detector.sizer), ConstantDetector(reference, false_pages=1, windows=8640)
    for hour in range(30):
        slow.take(counts, detector.update(counts), (3_600.0 * hour, 3_600.0 * hour + 300))
    constant.update(counts, *detector.ceilings(counts))
    assert len(reference.pairs) == 1_024
    assert 500_000 < _held([reference, detector, counts, slow, constant], set()) < 1_000_000


def test_counts_snapshots_and_settings_that_do_not_fit_are_refused() -> None:
    detector = detector_for(normal_reference())
    other = DriftReference.fit(np.zeros((300, 1)), ["x"], ["numeric"])
    with pytest.raises(ValueError, match="the reference has"):
        detector.update(WindowCounts(other))
    with pytest.raises(StateError, match="the reference has"):
        detector.restore(detector_for(other).snapshot())
    with pytest.raises(ValueError, match="materiality"):
        DriftDetector(other, false_pages=1, windows=8640, materiality=0.5)


@pytest.mark.parametrize("with_times", [True, False])
def test_a_daily_swing_that_the_reference_knows_does_not_page(*, with_times: bool) -> None:
    rng = np.random.default_rng(13)

    def at(hours: NDArray[np.float64]) -> Rows:
        X = rng.normal(size=(hours.size, D))
        X[:, 2] += 0.7 * np.sin(2 * np.pi * hours / 24)
        return X.astype(np.float32)

    hours = np.sort(rng.uniform(0, 48, 10_000))
    reference = DriftReference.fit(at(hours), [f"f{j}" for j in range(D)], ["numeric"] * D, at_s=3600 * hours if with_times else None)
    detector, reports = detector_for(reference), []
    for t in range(300):
        counts = WindowCounts(reference)
        counts.update(at(np.full(100, t / 12)), clients=rng.integers(0, 200, 100))
        reports.append(detector.update(counts, (300.0 * t, 300.0 * t + 300.0)))
    assert bool(pages(reports)) is not with_times


@pytest.mark.parametrize("clients", [0, 3, 30, 3_000])
def test_the_compiled_evidence_is_what_the_formulas_say(clients: int) -> None:
    """Group by group in plain numpy, with the one or two loudest left out."""
    rng = np.random.default_rng(14)
    detector = detector_for(normal_reference())
    lately = np.zeros(D), np.zeros(D)
    for _ in range(3):  # the second and third with learned correlations
        counts = WindowCounts(detector.reference)
        rows = (rng.normal(size=(900, D)) + 0.2).astype(np.float32)
        rows[rng.random(rows.shape) < 0.02] = np.nan
        counts.update(rows, clients=rng.integers(0, clients, 900) if clients else None)
        dependence, tilts = detector.dependence, detector.tilts
        look = dependence.look(counts)
        few = 3.5 / np.sqrt(look.clients) if clients else 0.0
        left_out = 0 if not clients else 1 if look.clients >= 50 else 2
        hits = np.array([[counts.table[g, a:b].sum() for a, b in zip(detector.low, detector.high, strict=True)] for g in range(16)])
        weight = look.weights[:, detector.variable]
        mix = few * np.sqrt(dependence.rho[detector.variable] * detector.p * (1 - detector.p))
        expected = []
        for odds in (1.3, 1.8, 3.0, 1 / 1.3, 1 / 1.8, 1 / 3.0):
            side = np.sign(odds - 1)
            own = detector._above if side > 0 else detector._below
            u = detector.p + side * (np.hypot(own, mix) + detector.materiality)
            inside = (u > 0) & (u < 1)
            miss = np.log(1 + np.where(inside, u, 0.5) * (odds - 1))
            groups = weight * (hits * np.log(odds) - look.sizes[:, None] * miss)
            expected.append(np.where(inside, groups.sum(axis=0) - loudest(groups, dependence.loud, left_out), -np.inf))
        top = tilts.log_top(few * np.sqrt(dependence.rho_tilts))
        for u, v in enumerate(tilts.variables.tolist()):
            cells = counts.table[:, detector.reference.starts[v] : detector.reference.starts[v + 1]]
            told = cells @ tilts.log_w[u, : cells.shape[1], :PER_VARIABLE].astype(np.float64) - look.sizes[:, None] * top[u]
            groups = look.of_tilts[:, v, None] * told
            expected.append(np.where(tilts.active[u], groups.sum(axis=0) - loudest(groups, dependence.loud, left_out), -np.inf))
        joint, of_pairs = detector.joint, []
        pairs = joint.pairs
        beyond = np.add.reduceat(counts.table * pairs.upper, detector.reference.starts[:-1], axis=1)
        above = (look.weights * beyond).sum(axis=0), (look.weights * look.sizes[:, None]).sum(axis=0)
        fewer = np.minimum(1, 100 / np.maximum(lately[1], 1e-12))
        lately = fewer * lately[0] + above[0], fewer * lately[1] + above[1]
        margins = (lately[0] + 10 * pairs.above) / (lately[1] + 10)
        a, b = margins[pairs.i], margins[pairs.j]
        apart = a + b - 2 * (a * b + pairs.kept.phi * np.sqrt(a * (1 - a) * b * (1 - b)))
        kept, more = np.minimum(1, pairs.share / apart), np.maximum(0, (pairs.share - apart) / (1 - apart))
        carried = kept * counts.apart.T + more * (look.sizes[:, None] - counts.apart.T)
        share, swing = joint.pairs.share, detector.reference.pairs.kept.wander * 4.0
        scatter = few * few * joint.rho * share * (1 - share) + swing**2
        for odds in (1.4, 2.5, 1 / 1.4, 1 / 2.5):
            own = joint._above if odds > 1 else joint._below
            u = share + np.sign(odds - 1) * (np.sqrt(own**2 + scatter) + detector.materiality)
            told = carried * np.log(odds) - look.sizes[:, None] * np.log(1 + u * (odds - 1))
            groups = told / (1 + joint.rho * look.repeats[:, None])
            of_pairs.append(groups.sum(axis=0) - loudest(groups, dependence.loud, left_out))
        expected.append(np.array(of_pairs).T.ravel())
        expected.append(of_witness(detector, counts, look, left_out))
        found = np.asarray(detector._log_e(counts, look, None), np.float64)
        np.testing.assert_allclose(found, np.concatenate(expected), rtol=1e-6, atol=1e-5)
        detector.step(counts)


def of_witness(detector: DriftDetector, counts: WindowCounts, look: Look, left_out: int) -> NDArray[np.float64]:
    """ln e of the random features, memory first."""
    witness = detector.witness
    assert witness is not None
    kept, taken, rho = witness.features.kept, counts.together, witness.rho
    whiten = kept.whiten.astype(np.float64)
    z = (taken.sums - taken.sizes[:, None] * kept.mean) @ whiten.T
    rows = (kept.sample / 15.0) @ whiten.T
    rows -= rows.mean(axis=0)
    live = np.abs(whiten).max(axis=1) > 0
    mix = np.sqrt(rho[live].sum() / look.clients) + 3.5 * np.sqrt(rho.max() / look.clients) if look.clients else 0.0
    sampling = np.sqrt(chi2.isf(0.01 * 0.005, live.sum()) / kept.rows)
    eps = np.sqrt(sampling**2 + kept.wander**2 + mix**2) + np.sqrt(2 * np.pi) * detector.materiality
    out = []
    for past in witness._past:
        if not past.any():
            out.append(np.zeros(3))
            continue
        v = past / np.linalg.norm(past)
        worth = 1 / (1 + look.repeats * taken.sizes / np.maximum(look.sizes, 1) * (v**2 @ rho))
        s = np.array([0.1, 0.2, 0.4])
        psi = 1.1 * np.log(np.exp(s * (rows @ v)[:, None]).mean(axis=0))
        groups = worth[:, None] * ((z @ v)[:, None] * s - taken.sizes[:, None] * (s * eps + psi))
        out.append(groups.sum(axis=0) - loudest(groups, detector.dependence.loud, left_out))
    return np.concatenate(out)


def loudest(groups: NDArray[np.float64], loud: NDArray[np.float64], left_out: int) -> NDArray[np.float64]:
    """Sum of the `left_out` largest positive ones."""
    return np.asarray(np.sort(np.maximum(groups * loud[:, None], 0.0), axis=0)[::-1][:left_out].sum(axis=0), np.float64)
