"""What only whole rows show is found, quiet months stay quiet, and a few clients are no drift."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from detectors.drift import DriftDetector, DriftReference, DriftReport, WindowCounts
from detectors.drift.features import FEATURES, PRODUCTS, FeatureSums
from detectors.drift.waves import TAKEN
from detectors.drift.witness import COMPONENTS
from detectors.e_process import log_mean_exp
from detectors.state import StateError, pack, unpack

Rows = NDArray[np.float64]
Draw = Callable[[np.random.Generator, int], Rows]
WINDOW, WARM = 300, 15


def normal(d: int) -> Draw:
    return lambda rng, n: rng.normal(size=(n, d))


def parity(d: int) -> Draw:
    """Normal columns, any two of them independent; the third has the sign of the first two's product."""

    def draw(rng: np.random.Generator, n: int) -> Rows:
        X = rng.normal(size=(n, d))
        X[:, 2] = np.abs(X[:, 2]) * np.sign(X[:, 0] * X[:, 1])
        return X

    return draw


def sizes_alike(d: int) -> Draw:
    """The second column is as far from its middle as the first, on either side."""

    def draw(rng: np.random.Generator, n: int) -> Rows:
        X = rng.normal(size=(n, d))
        X[:, 1] = np.abs(X[:, 0]) * rng.choice([-1, 1], n)
        return X

    return draw


def embedding(d: int, shift: float = 0.0) -> Draw:
    """Correlated columns with variances from 1 to 1/400, moved by some sd along one direction of the whitened space."""
    fixed = np.random.default_rng(99)
    mix = fixed.normal(size=(d, d)) * np.geomspace(1, 0.05, d)[:, None]
    u = fixed.normal(size=d)
    u *= shift / np.linalg.norm(u)
    return lambda rng, n: (rng.normal(size=(n, d)) + u) @ mix


def lognormal(d: int) -> Draw:
    return lambda rng, n: np.exp(rng.normal(size=(n, d)))


def reference_of(draw: Draw, rows: int = 20_000, seed: int = 1) -> DriftReference:
    X = draw(np.random.default_rng(seed), rows)
    return DriftReference.fit(X, [f"f{j}" for j in range(X.shape[1])], ["numeric"] * X.shape[1])


def windows(reference: DriftReference, draw: Draw, rng: np.random.Generator) -> WindowCounts:
    counts = WindowCounts(reference)
    counts.update(draw(rng, WINDOW), clients=rng.integers(1, 2**62, WINDOW))
    return counts


def until_paged(before: Draw, after: Draw, seed: int, most: int = 60) -> tuple[int, DriftReport]:
    """Windows from the change to the page."""
    reference, rng = reference_of(before), np.random.default_rng(seed)
    detector = DriftDetector(reference, false_pages=1, windows=8640)
    for t in range(WARM + most):
        report = detector.update(windows(reference, before if t < WARM else after, rng))
        if report.opened:
            return t - WARM + 1, report
    raise AssertionError(f"no page within {most} windows")


def of_witness(detector: DriftDetector) -> float:
    return log_mean_exp(detector.sr.log_r[-COMPONENTS:].astype(np.float64))


@pytest.mark.parametrize(("d", "most"), [(3, 4), (8, 8), (12, 45)])
def test_a_dependence_of_three_that_no_column_and_no_pair_shows_is_found(d: int, most: int) -> None:
    delays = []
    for seed in range(3):
        delay, report = until_paged(normal(d), parity(d), seed)
        delays.append(delay)
        assert report.shift is not None
        assert report.looks_like == "together"
        assert {"f0", "f1", "f2"} & set(report.leading)
        assert report.since >= WARM - 2
    assert 0 < np.median(delays) <= most, delays


def test_where_the_columns_are_few_those_that_changed_are_named() -> None:
    shift = until_paged(normal(5), parity(5), 0)[1].shift
    assert shift is not None
    assert set(shift.names[:3]) == {"f0", "f1", "f2"}
    assert shift.size > 0.3


def test_sizes_that_go_together_are_found() -> None:
    assert np.median([until_paged(normal(8), sizes_alike(8), seed)[0] for seed in range(3)]) <= 8


@pytest.mark.parametrize(("d", "most"), [(64, 8), (128, 20)])
def test_an_embedding_that_moves_by_half_a_sd_along_one_direction_is_found(d: int, most: int) -> None:
    found = [until_paged(embedding(d), embedding(d, 0.5), seed) for seed in range(3)]
    assert 0 < np.median([delay for delay, _ in found]) <= most
    assert all(report.shift is not None for _, report in found)  # each column alone moves by 0.06 sd


def test_without_random_features_the_same_changes_are_not_seen() -> None:
    reference = reference_of(normal(8))
    body = unpack(reference.to_bytes(), "drift.reference", 2)
    del body["together"]  # as of before there were any
    old = DriftReference.from_bytes(pack("drift.reference", 2, body))
    assert old.together is None
    detector, rng = DriftDetector(old, false_pages=1, windows=8640), np.random.default_rng(0)
    for t in range(60):
        assert not detector.step(windows(old, normal(8) if t < WARM else parity(8), rng))[1]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("draw", "rows"),
    [(normal(8), 20_000), (normal(8), 2_000), (lognormal(12), 20_000), (embedding(64), 20_000), (embedding(64), 2_000)],
    ids=["normal", "normal, short reference", "lognormal", "embedding", "embedding, short reference"],
)
def test_two_hundred_quiet_windows_stay_quiet_twenty_times(draw: Draw, rows: int) -> None:
    highest = []
    for seed in range(20):
        reference, rng = reference_of(draw, rows, seed), np.random.default_rng(100 + seed)
        detector, most = DriftDetector(reference, false_pages=1, windows=8640, materiality=0.0), -np.inf
        for _ in range(200):
            detector.step(windows(reference, draw, rng))
            most = max(most, of_witness(detector))
        highest.append(most)
    # that of 20 runs of 200 windows one passes 20 x 200 by itself has a probability of 1 in 20 each
    assert sum(one >= np.log(4_000) for one in highest) <= 3, highest
    assert max(highest) < np.log(8_640), highest


def test_what_one_client_does_is_no_drift_and_what_all_do_is() -> None:
    reference = reference_of(normal(4))

    def paged(clients: int) -> bool:
        rng, detector = np.random.default_rng(3), DriftDetector(reference, false_pages=1, windows=8640)
        for t in range(40):
            counts = WindowCounts(reference)
            counts.update(normal(4)(rng, WINDOW), clients=rng.integers(0, 200, WINDOW))
            if t >= WARM:
                counts.update(parity(4)(rng, WINDOW), clients=1_000 + rng.integers(0, clients, WINDOW))
            if detector.step(counts)[1]:
                return True
        return False

    assert not paged(1)
    assert paged(200)


@pytest.mark.parametrize("d", [8, 40])
def test_sums_do_not_depend_on_batches_and_weigh_all_times_of_a_window_alike(d: int) -> None:
    reference, rng = reference_of(normal(d), 2_000), np.random.default_rng(4)
    n = 20 * TAKEN
    X, clients = rng.normal(size=(n, d)).astype(np.float32), rng.integers(0, 500, n)
    X[: n // 2] += 1.0  # the first half of the window differs
    whole, parts = WindowCounts(reference), WindowCounts(reference)
    whole.update(X, clients=clients)
    for begin in range(0, n, 77):
        parts.update(X[begin : begin + 77], clients=clients[begin : begin + 77])
    np.testing.assert_array_equal(whole.together.sums, parts.together.sums)
    np.testing.assert_array_equal(whole.together.sizes, parts.together.sizes)
    assert whole.together.stride == 64
    assert n / 64 == pytest.approx(whole.together.taken, rel=0.02)
    assert reference.together is not None
    truth, found = reference.together.of(X).mean(axis=0), whole.together.sums.sum(axis=0) / whole.together.taken
    sd = reference.together.of(X).std(axis=0)
    assert np.abs((found - truth) / sd).max() < 5 / np.sqrt(whole.together.taken)


def test_partitions_of_different_size_add_up_in_any_order() -> None:
    reference, rng = reference_of(normal(6), 2_000), np.random.default_rng(5)
    shares = []
    for n in (100, 10 * TAKEN, 900):
        share = WindowCounts(reference)
        share.update(rng.normal(size=(n, 6)), clients=rng.integers(0, 50, n))
        shares.append(share.to_bytes())

    def added(order: list[int]) -> FeatureSums:
        out = WindowCounts(reference)
        for k in order:
            out.merge(WindowCounts.from_bytes(shares[k], reference))
        return out.together

    one, other = added([0, 1, 2]), added([2, 1, 0])
    np.testing.assert_array_equal(one.sums, other.sums)
    assert (one.stride, one.taken) == (other.stride, other.taken)
    assert one.taken * one.stride == pytest.approx(100 + 10 * TAKEN + 900, rel=0.05)


def test_missing_constant_and_odd_columns_do_no_harm() -> None:
    rng = np.random.default_rng(6)
    X = np.column_stack([rng.normal(size=(3_000, 3)), np.full(3_000, 7.0), np.full(3_000, np.nan), rng.choice([-1.0, 1.0], 3_000)])
    X[rng.random(3_000) < 0.3, 0] = np.nan
    names = [f"f{j}" for j in range(6)]
    reference = DriftReference.fit(X, names, ["numeric"] * 6)
    assert reference.together is not None
    assert reference.together.kept.columns.tolist() == [0, 1, 2, 5]
    detector, counts = DriftDetector(reference, false_pages=1, windows=8640), WindowCounts(reference)
    X[:5] = [np.inf, -np.inf, 3e38, -3e38, np.nan, 0]
    counts.update(X[:300])
    assert np.isfinite(counts.together.sums).all()
    for _ in range(3):
        detector.step(counts)
    assert np.isfinite(detector.sr.log_r[-COMPONENTS:]).all()
    empty = WindowCounts(reference)
    assert detector.step(empty)[0] == "none"
    for few in (X[:, :1], X[:, 3:5], X[:500]):  # one column, none that varies, few rows
        some = DriftReference.fit(few, names[: few.shape[1]], ["numeric"] * few.shape[1])
        assert some.together is None


def test_a_detector_continues_bit_for_bit_and_a_reference_reads_back() -> None:
    for d in (5, 40):
        reference, rng = reference_of(normal(d), 3_000), np.random.default_rng(7)
        again = DriftReference.from_bytes(reference.to_bytes())
        assert again.to_bytes() == reference.to_bytes()
        first = DriftDetector(reference, false_pages=1, windows=8640)
        given = [windows(reference, normal(d), rng) for _ in range(8)]
        for counts in given[:4]:
            first.step(counts)
        second = DriftDetector(again, false_pages=1, windows=8640)
        second.restore(first.snapshot())
        for counts in given[4:]:
            first.step(counts)
            second.step(WindowCounts.from_bytes(counts.to_bytes(), again))
        assert first.snapshot() == second.snapshot()


def test_damaged_features_and_sums_are_refused() -> None:
    reference = reference_of(normal(4), 2_000)
    body = unpack(reference.to_bytes(), "drift.reference", 2)
    kept = list(body["together"])
    assert len(kept[3]) <= PRODUCTS
    assert len(kept[4]) == min(FEATURES, len(kept[3]))
    columns, products = np.array([0, 1, 2, 9], np.int32), (kept[3] + 100).astype(np.int16)
    for part, value in ((0, columns), (3, products), (5, kept[5] * np.nan), (6, kept[6][:3]), (8, -1.0)):
        damaged = [value if k == part else one for k, one in enumerate(kept)]
        with pytest.raises(StateError):
            DriftReference.from_bytes(pack("drift.reference", 2, body | {"together": damaged}))
    counts = windows(reference, normal(4), np.random.default_rng(8))
    sums = unpack(counts.to_bytes(), "drift.counts", 1)
    for name, value in (("stride", 3), ("stride", True), ("sizes", -sums["together"]["sizes"]), ("sums", sums["together"]["sums"] + 1e9)):
        with pytest.raises(StateError):
            WindowCounts.from_bytes(pack("drift.counts", 1, sums | {"together": sums["together"] | {name: value}}), reference)
