"""Promises of the gates that tell a population of its own from made rows, and a sensor's flips from a search's."""

import numpy as np
import pytest
from numpy.typing import NDArray

from detectors.evidence import EvidenceReference
from detectors.evidence import constants as c
from detectors.evidence import layout as at
from detectors.evidence.consecutive import in_order
from detectors.evidence.place import displaced, is_elsewhere, is_one_place
from detectors.evidence.second_look import decoded
from tests.detectors.crowd import beside, fitted, remembered
from tests.detectors.test_lookalikes import Rows, engine


@pytest.fixture(scope="module")
def engines() -> EvidenceReference:
    return fitted(engine(3000, 1))


def elsewhere(X: Rows, reference: EvidenceReference, either: bool = False) -> bool:
    return bool(is_elsewhere(remembered(reference, X), len(X), reference.look, either))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("rows", [40, c.MEMORY])
def test_another_range_or_unit_is_a_place_of_its_own_and_what_is_drawn_is_not(engines: EvidenceReference, seed: int, rows: int) -> None:
    rng, X = np.random.default_rng(seed), engine(rows, 30 + seed)
    beyond = engine(rows, 40 + seed, (0.9, 1.5))
    pounds = X * np.where(np.arange(6) < 2, 2.2, 1.0)
    for ordinary in (beyond, pounds):
        assert elsewhere(ordinary, engines)
        assert elsewhere(ordinary, engines, True)
    low, high = engine(3000, 1).min(0), engine(3000, 1).max(0)
    skewed = low + (high - low) * np.sqrt(rng.random((rows, 6)))
    cloud = beyond[0] + 0.05 * X.std(0) * rng.normal(size=(rows, 6))
    for made in (X, rng.permuted(X, axis=0), skewed, cloud, (X + X[rng.permutation(rows)]) / 2):
        assert not elsewhere(made, engines)
        assert not elsewhere(made, engines, True)


def test_the_measure_is_0_for_rows_from_everywhere_and_1_for_one_row(engines: EvidenceReference) -> None:
    def apart(X: Rows) -> float:
        z = np.empty(X.shape)
        decoded(remembered(engines, X), len(X), engines.look, z)
        return float(displaced(z, engines.look)[0])

    assert apart(engine(c.MEMORY, 7)) < 0.05
    assert apart(np.repeat(engine(1, 8, (0.9, 1.0)), c.MEMORY, axis=0)) > 0.95


def test_a_client_of_a_range_that_the_reference_has_not_is_not_named(engines: EvidenceReference) -> None:
    asked = [engine(300, 50 + k, (0.9, 1.5)) for k in range(4)]
    _, found = beside(engines, [engine(60, 100 + k) for k in range(20)], asked)
    assert found == []


@pytest.mark.parametrize("seed", range(3))
def test_draws_around_the_middle_are_no_instrument_that_hangs_still(seed: int) -> None:
    """Averages of four and draws from a narrow law are as near to each other."""
    reference, crowd = fitted(gauges(3000, 1)), [gauges(60, 100 + k) for k in range(20)]
    drawn = gauges(3000, 1).mean(0) + 0.5 * gauges(3000, 1).std(0) * np.random.default_rng(seed).normal(size=(400, 7))
    _, found = beside(reference, crowd, [drawn])
    assert (0, 2) in {(client, severity) for client, severity, _ in found}
    codes = remembered(reference, np.mean([gauges(c.MEMORY, 10 * seed + k) for k in range(4)], axis=0))
    assert not is_one_place(codes, c.MEMORY, reference.look)
    assert is_one_place(remembered(reference, gauges(1, 70) + 0.3 * gauges(c.MEMORY, seed)), c.MEMORY, reference.look)


def of_octaves(octaves: NDArray[np.int64], sigmas: float = c.FLIP_ORDER) -> bool:
    """What is said of flips at these distances, one after the other."""
    bins, count = np.zeros(2 * c.OCTAVES, np.uint8), np.zeros(at.INT_COUNT, np.int32)
    last = 0
    for k, octave in enumerate(octaves.tolist()):
        bins[c.OCTAVES + octave] += 1
        like = (count[at.IN_ORDER] >> 8) + int(k > 0 and abs(octave - last) <= 1)
        count[at.IN_ORDER], last = (like << 8) | octave, octave
    return bool(in_order(count, bins, sigmas))


@pytest.mark.parametrize("seed", range(20))
def test_flips_of_a_search_are_in_order_and_those_of_noise_are_not(seed: int) -> None:
    rng = np.random.default_rng(seed)
    search = np.concatenate([np.arange(2, 10) for _ in range(6)])
    assert of_octaves(search)
    assert not of_octaves(search[: c.FLIP_ORDER_LEAST - 1])
    noise = rng.choice(12, 60, p=[0, 0, 0, 0, 0, 0.05, 0.1, 0.25, 0.4, 0.1, 0.06, 0.04])
    assert of_octaves(search[:24], min(sigmas for _, sigmas in c.LATTICE_ORDER))
    assert not of_octaves(noise, min(sigmas for _, sigmas in c.LATTICE_ORDER))


def test_one_absurd_row_does_not_hide_a_place_of_its_own(engines: EvidenceReference) -> None:
    rows = engine(40, 60, (0.9, 1.5))
    rows[7] = engine(1, 61)[0] - 12.0
    assert elsewhere(rows, engines)


def gauges(n: int, seed: int) -> Rows:
    """Readings of one machine, most of which follow from two."""
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=(2, n))
    readings = np.stack([a, b, a + b, a - b, 2 * a + b, rng.normal(size=n), rng.normal(size=n) + a], axis=1)
    return np.asarray(readings + 0.02 * rng.normal(size=readings.shape))


@pytest.mark.parametrize("noise", [0.05, 0.1, 0.2, 0.3, 0.5])
def test_an_instrument_that_hangs_still_may_be_noisy(noise: float) -> None:
    """Its noise breaks the columns' law in every row, as rows that are made do; but made ones come from more than one place."""
    reference, crowd = fitted(gauges(3000, 1)), [gauges(60, 100 + k) for k in range(20)]
    jitter = noise * gauges(3000, 1).std(0) * np.random.default_rng(0).normal(size=(6, 400, 7))
    _, found = beside(reference, crowd, [gauges(1, 70 + k) + jitter[k] for k in range(6)])
    assert found == []
    _, found = beside(reference, crowd, [gauges(400, 90) + jitter[0]])
    assert noise < 0.2 or (0, 2) in {(client, severity) for client, severity, _ in found}
