"""Features that stop going together page, though each alone looks as before; and what goes together as before does not."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from detectors.drift import DriftDetector, DriftReference, DriftReport, WindowCounts
from detectors.drift.cells import Kind
from detectors.drift.pairs import MOST_FEATURES, MOST_PAIRS, PairCounts
from detectors.state import StateError, pack, unpack

F, WINDOW = 8, 100
NAMES = [f"f{j}" for j in range(F)]
Rows = NDArray[np.float64]


def copula(rng: np.random.Generator, n: int, rho: float) -> Rows:
    """Normal columns, the first two of correlation rho."""
    X = rng.normal(size=(n, F))
    X[:, 1] = rho * X[:, 0] + math.sqrt(1 - rho**2) * X[:, 1]
    return X


def reference_of(rho: float, rows: int = 50_000) -> DriftReference:
    return DriftReference.fit(copula(np.random.default_rng(1), rows, rho), NAMES, ["numeric"] * F)


def until_paged(reference: DriftReference, before: float, after: float, seed: int) -> tuple[int, DriftReport]:
    """Rows from the change to the page."""
    rng = np.random.default_rng(seed)
    detector = DriftDetector(reference, false_pages=1, windows=8640)
    for t in range(60):
        counts = WindowCounts(reference)
        counts.update(copula(rng, WINDOW, before if t < 15 else after))
        report = detector.update(counts)
        if report.opened:
            return WINDOW * (t - 14), report
    raise AssertionError("no page within 4,500 rows")


@pytest.mark.parametrize(("before", "after", "most"), [(0.0, 0.5, 700), (0.9, 0.5, 400), (0.0, -0.5, 700)])
def test_a_changed_correlation_that_no_marginal_shows_pages_and_is_named(before: float, after: float, most: int) -> None:
    reference = reference_of(before)
    found = [until_paged(reference, before, after, seed) for seed in range(5)]
    delays = [delay for delay, _ in found]
    assert 0 < np.median(delays) <= most, delays
    report = found[0][1]
    assert set(report.leading) == {"f0", "f1"}
    pair = report.pairs[0]
    assert (pair.first, pair.second, pair.since >= 14) == ("f0", "f1", True)
    assert pair.correlations[0] == pytest.approx(before, abs=0.03)
    assert pair.correlations[1] == pytest.approx(after, abs=0.35)  # of one window of 100 rows


def test_without_pairs_the_same_change_is_never_seen() -> None:
    reference = reference_of(0.0)
    body = unpack(reference.to_bytes(), "drift.reference", 2)
    del body["pairs"]  # as of before there were pairs
    old = DriftReference.from_bytes(pack("drift.reference", 2, body))
    assert len(old.pairs) == 0
    with pytest.raises(AssertionError, match="no page"):
        until_paged(old, 0.0, 0.5, 0)


def test_a_monotone_recoding_of_a_feature_changes_nothing() -> None:
    """Of the reference and the traffic: what is counted of the pairs is the same."""
    recodings = (np.exp, np.arctan, lambda x: x**3, lambda x: 7 * x - 2)

    def recoded(X: Rows) -> Rows:
        return np.column_stack([recodings[j % 4](X[:, j]) for j in range(F)])

    rng = np.random.default_rng(3)
    past, now = copula(rng, 20_000, 0.4).astype(np.float32).astype(float), copula(rng, 3_000, 0.4).astype(np.float32).astype(float)
    plain, other = (DriftReference.fit(f(past), NAMES, ["numeric"] * F) for f in (lambda x: x, recoded))
    np.testing.assert_array_equal(plain.pairs.kept.apart, other.pairs.kept.apart)
    counts, recounted = WindowCounts(plain), WindowCounts(other)
    counts.update(now)
    recounted.update(recoded(now))
    assert np.abs(counts.apart - recounted.apart).max() <= 1  # a value may round to the other side of a float32 split


def test_pairs_are_counted_as_written_down_whatever_the_batches_and_kinds() -> None:
    rng = np.random.default_rng(4)
    X = np.column_stack([rng.normal(size=(3_000, 17)), rng.integers(0, 5, 3_000), rng.integers(0, 60, 3_000)])
    X[rng.random(X.shape) < 0.05] = np.nan
    categories = {"f17": list("abcde"), "f18": [str(k) for k in range(60)]}
    names = [f"f{j}" for j in range(19)]
    kinds: list[Kind] = ["numeric" if j < 17 else "categorical" for j in range(19)]
    reference = DriftReference.fit(X, names, kinds, categories=categories)
    pairs = reference.pairs
    assert len(pairs) == 19 * 18 // 2
    clients = rng.integers(0, 50, 3_000)
    whole, *parts = (WindowCounts(reference, together=False) for _ in range(4))
    whole.update(X, clients=clients)
    for k, begin in enumerate(range(0, 3_000, 77)):
        parts[k % 3].update(X[begin : begin + 77], clients=clients[begin : begin + 77])
    for part in parts[1:]:
        parts[0].merge(part)
    assert parts[0].to_bytes() == whole.to_bytes()
    np.testing.assert_array_equal(WindowCounts.from_bytes(whole.to_bytes(), reference).apart, whole.apart)
    np.testing.assert_array_equal(whole.apart.sum(axis=1), pairs.kept.apart)  # the same rows as the reference's
    with np.errstate(invalid="ignore"):
        above = X.astype(np.float32)[:, pairs.members[:17]] > pairs.split[:17]
    for pair in np.flatnonzero((pairs.i < 17) & (pairs.j < 17)):
        assert pairs.kept.apart[pair] == (above[:, pairs.i[pair]] != above[:, pairs.j[pair]]).sum()
    assert np.all((pairs.share > 0.35) & (pairs.share < 0.65))  # halves of independent columns


def test_one_client_whose_features_go_together_otherwise_is_no_drift_and_many_are() -> None:
    reference = reference_of(0.0)

    def run(clients: int) -> bool:
        rng = np.random.default_rng(5)
        detector, opened = DriftDetector(reference, false_pages=1, windows=8640), False
        for t in range(60):
            counts = WindowCounts(reference)
            counts.update(copula(rng, 300, 0.0), clients=rng.integers(0, 200, 300))
            if t >= 20:
                counts.update(copula(rng, 1_000, 0.9), clients=10_000 + rng.integers(0, clients, 1_000))
            opened |= detector.step(counts)[1]
        return opened

    assert not run(1)
    assert run(200)


def test_the_state_of_the_pairs_goes_through_a_snapshot_bit_for_bit() -> None:
    rng = np.random.default_rng(6)
    reference = reference_of(0.3, 5_000)
    one, other = (DriftDetector(reference, false_pages=1, windows=8640) for _ in range(2))

    def window() -> WindowCounts:
        counts = WindowCounts(reference)
        counts.update(copula(rng, 200, 0.3), clients=rng.integers(0, 20, 200))
        return counts

    for _ in range(5):
        one.update(window())
    assert np.ptp(one.joint.rho) > 0
    other.restore(one.snapshot())
    for _ in range(3):
        counts = window()
        assert repr(one.update(counts)) == repr(other.update(counts))
    assert one.snapshot() == other.snapshot()
    with pytest.raises(StateError):
        DriftDetector(reference_of(0.3, 300), false_pages=1, windows=8640).restore(
            DriftDetector(
                DriftReference.fit(rng.normal(size=(300, 3)), list("abc"), ["numeric"] * 3), false_pages=1, windows=8640
            ).snapshot()
        )


def test_wide_rows_have_as_many_pairs_as_there_is_room_for_and_the_strongest_are_among_them() -> None:
    rng = np.random.default_rng(7)
    X = rng.normal(size=(2_000, 150))
    X[:, 149] = X[:, 0] + 0.1 * rng.normal(size=2_000)  # the ends take part whatever is left out
    reference = DriftReference.fit(X, [f"f{j}" for j in range(150)], ["numeric"] * 150)
    pairs = reference.pairs
    assert (len(pairs), pairs.members.size) == (MOST_PAIRS, MOST_FEATURES)
    assert (0, 149) in set(zip(pairs.kept.first.tolist(), pairs.kept.second.tolist(), strict=True))
    assert np.bincount(np.concatenate([pairs.i, pairs.j])).min() >= 5


def test_margins_that_move_together_are_no_change_of_the_pairs() -> None:
    """A mean shift of all features is drift, of each alone: no pair is named for it."""
    rng = np.random.default_rng(9)
    reference = reference_of(0.0)
    detector = DriftDetector(reference, false_pages=1, windows=8640)
    for t in range(60):
        counts = WindowCounts(reference)
        counts.update(copula(rng, 300, 0.0) + (t >= 15))
        report = detector.update(counts)
    assert report.severity == "page"
    assert not report.jointly
    assert len(report.leading) == F
    assert report.pairs == ()


def test_a_season_in_the_margins_is_no_change_of_the_pairs_but_a_real_one_is_found() -> None:
    """All means swing together by the day, so pairs are less often apart at noon and midnight than in between."""
    rng = np.random.default_rng(8)

    def at(hours: NDArray[np.float64], rho: float = 0.0) -> Rows:
        return copula(rng, len(hours), rho) + 0.8 * np.sin(2 * np.pi * hours / 24)[:, None]

    hours = np.sort(rng.uniform(0, 24 * 14, 60_000))
    reference = DriftReference.fit(at(hours), NAMES, ["numeric"] * F, at_s=3600 * hours)
    assert reference.season is not None
    assert reference.pairs.kept.wander.max() < 0.02
    assert reference.pairs.share.max() < 0.47  # of independent features at any one hour: a half
    assert np.abs(reference.pairs.kept.phi).max() < 0.02
    detector = DriftDetector(reference, false_pages=1, windows=8640)
    opened = []
    for t in range(400):
        counts = WindowCounts(reference)
        counts.update(at(np.full(100, t / 12), 0.7 if t >= 350 else 0.0))
        if detector.step(counts, (300.0 * t, 300.0 * t + 300.0))[1]:
            opened.append(t)
    assert len(opened) == 1
    assert 350 <= opened[0] < 375


def _kept(first: int = 0, second: int = 1, apart: int = 5, wander: float = 0.0, phi: float = 0.0) -> PairCounts:
    return PairCounts(np.array([first], np.int32), np.array([second], np.int32), np.array([apart]), np.array([wander]), np.array([phi]))


@pytest.mark.parametrize("kept", [_kept(1, 0), _kept(0, 99), _kept(apart=10**9), _kept(wander=math.nan), _kept(phi=2.0)])
def test_pairs_that_cannot_be_are_refused(kept: PairCounts) -> None:
    body = unpack(reference_of(0.0, 300).to_bytes(), "drift.reference", 2)
    with pytest.raises(StateError):
        DriftReference.from_bytes(pack("drift.reference", 2, body | {"pairs": list(kept)}))
    DriftReference.from_bytes(pack("drift.reference", 2, body | {"pairs": list(_kept())}))
