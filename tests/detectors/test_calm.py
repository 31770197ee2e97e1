"""Promises about calm clients: whose rows lie nearer to the middle than others', and are no averages."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from detectors.evidence import STATISTICS, EvidenceReference
from detectors.evidence import calm as calmness
from detectors.evidence import constants as c
from detectors.evidence.middle import Middle, set_factors
from tests.detectors.crowd import beside, fitted, remembered

Rows = NDArray[np.float64]
SMOOTH = STATISTICS.index("smooth")
LOADS = np.random.default_rng(2).normal(size=(3, 8))


def purses(n: int, seed: int) -> Rows:
    """Positive columns with long tails, that hang together."""
    rng = np.random.default_rng(seed)
    return np.asarray(np.exp(0.3 * rng.normal(size=(n, 3)) @ LOADS + 0.4 * rng.normal(size=(n, 8))))


def flowers(n: int, seed: int) -> Rows:
    """Three kinds in four columns, rounded to tenths."""
    rng = np.random.default_rng(seed)
    kind = rng.integers(0, 3, n)
    middle = np.array([[5, 3.4, 1.5, 0.3], [5.9, 2.8, 4.3, 1.3], [6.6, 3, 5.6, 2]])[kind]
    size = rng.normal(size=(n, 1)) * [0.3, 0.2, 0.3, 0.1]
    return np.round(middle + size + rng.normal(size=(n, 4)) * [0.25, 0.2, 0.2, 0.1], 1)


def instruments(n: int, seed: int) -> Rows:
    """Six readings of two causes."""
    rng = np.random.default_rng(seed)
    return np.asarray(rng.standard_t(6, (n, 2)) @ np.random.default_rng(7).normal(size=(2, 6)) + 0.5 * rng.normal(size=(n, 6)))


TABLES: dict[str, Callable[[int, int], Rows]] = {"purses": purses, "flowers": flowers, "instruments": instruments}


@pytest.fixture(scope="module", params=TABLES)
def table(request: pytest.FixtureRequest) -> tuple[Callable[[int, int], Rows], EvidenceReference]:
    draw = TABLES[request.param]
    return draw, fitted(draw(450, 1))  # too few for E12


def paged(table: tuple[Callable[[int, int], Rows], EvidenceReference], asked: list[Rows]) -> set[int]:
    draw, reference = table
    found = beside(reference, [draw(60, 100 + k) for k in range(20)], asked)[1]
    return {who for who, severity, statistic in found if severity == 2 and statistic == SMOOTH}


def nearest(X: Rows, row: Rows, share: float) -> Rows:
    away = (((X - row) / X.std(0)) ** 2).sum(1)
    return np.asarray(X[away <= np.quantile(away, share)])


def calm(X: Rows) -> dict[str, Rows]:
    """Of many rows (n, d): customers of some kinds, and what pipelines do."""
    z = (X - X.mean(0)) @ np.linalg.cholesky(np.linalg.inv(np.cov(X.T)))
    usual = (z**2).sum(1)
    within = ((np.quantile(X, 0.05, axis=0) <= X) & (np.quantile(X, 0.95, axis=0) >= X)).all(1)
    bands = np.quantile(X, [0.2, 0.4, 0.6, 0.8], axis=0)
    centres = np.quantile(X, [0.1, 0.3, 0.5, 0.7, 0.9], axis=0)
    band = (X[:, None] > bands).sum(1)
    return {
        "the typical nine of ten": X[usual <= np.quantile(usual, 0.9)],
        "the typical half": X[usual <= np.quantile(usual, 0.5)],
        "the half around the most typical one": nearest(X, X[usual.argmin()], 0.5),
        "a third around another": nearest(X, X[0], 0.3),
        "a dozen cases, and those most like each": np.concatenate([nearest(X, X[100 * k], 20 / len(X)) for k in range(12)]),
        "none with an outlier in any column": X[within],
        "outliers cut at a twentieth": np.clip(X, *np.quantile(X, [0.05, 0.95], axis=0)),
        "outliers cut at a tenth": np.clip(X, *np.quantile(X, [0.1, 0.9], axis=0)),
        "fifths of each column, by their middles": centres[band, np.arange(X.shape[1])],
    }


@pytest.mark.parametrize("seed", range(3))
def test_calm_clients_are_left_alone(table: tuple[Callable[[int, int], Rows], EvidenceReference], seed: int) -> None:
    asked = calm(table[0](4000, 10 + seed))
    found = paged(table, [X[:800] for X in asked.values()])
    assert [name for k, name in enumerate(asked) if k in found] == []


@pytest.mark.parametrize("seed", range(3))
def test_averages_are_paged(table: tuple[Callable[[int, int], Rows], EvidenceReference], seed: int) -> None:
    rng = np.random.default_rng(seed)
    pool, weight = table[0](150, 50 + seed), rng.uniform(0.2, 0.8, (600, 1))
    one, other = pool[rng.integers(0, 150, (2, 600))]
    assert paged(table, [weight * one + (1 - weight) * other]) == {0}


def test_it_is_the_limit_that_tells_calm_rows(table: tuple[Callable[[int, int], Rows], EvidenceReference]) -> None:
    draw, reference = table
    memory = remembered(reference, nearest(draw(4000, 1), np.median(draw(4000, 1), axis=0), 0.5)[:96])
    assert calmness.are_calm(memory, 96, reference.look, reference.middle, reference.calm)
    careless = reference.calm._replace(limit=np.full(2, -np.inf))
    assert not calmness.are_calm(memory, 96, reference.look, reference.middle, careless)


def test_where_calm_rows_go_as_far_as_averages_nothing_is_said() -> None:
    rng = np.random.default_rng(0)
    coins = (rng.random((600, 8)) < rng.random((600, 1))).astype(float)
    reference = fitted(coins)
    made = np.round(0.5 * coins[rng.integers(0, 600, 96)] + 0.5 * coins[rng.integers(0, 600, 96)])
    assert calmness.are_calm(remembered(reference, made), 96, reference.look, reference.middle, reference.calm)


def test_the_numbers_of_gaussian_rows_are_those_of_the_reference_itself() -> None:
    X = np.random.default_rng(3).normal(size=(2000, 6))
    reference, out = fitted(X), np.empty(calmness.NUMBERS)
    calmness.describe(remembered(reference, X[:96]), 96, reference.look, reference.middle, reference.calm.white, out)
    assert np.abs(out[[0, 5]]).max() < 0.05, "around the middle"
    assert np.abs(out[[1, 6]]).max() < 0.15, "as wide as ever"
    assert np.abs(out[[3, 8]]).max() < 0.5, "distances of Gaussian rows"
    assert np.abs(out[[4, 9]] - np.log(3)).max() < 0.2, "fourth moments of Gaussian rows"
    assert out[11] < 0.01, "no value comes more often"


def test_one_row_over_and_over_breaks_nothing() -> None:
    X = np.random.default_rng(3).normal(size=(300, 4))
    reference = fitted(X)
    memory = remembered(reference, np.repeat(X[:1], 96, axis=0))
    assert calmness.are_calm(memory, 96, reference.look, reference.middle, reference.calm)


SHARES = arrays(np.float64, 12, elements=st.floats(0.01, 1))


@given(SHARES, SHARES, st.floats(0.05, 0.95))
def test_a_row_of_the_tolerated_law_multiplies_by_one_and_of_a_calmer_one_by_less(a: Rows, b: Rows, rate: float) -> None:
    none, excess = np.empty((0, 0), np.float32), np.sort(np.log(b))[::-1]
    middle = Middle(none, none, np.zeros(11), a / a.sum(), np.ascontiguousarray(excess))
    factors = np.empty((12, len(c.MIDDLE_WAYS)))
    set_factors(factors, middle, rate)
    tilted = middle.ordinary * np.exp(np.multiply.outer(np.linspace(0, 1, 400), middle.excess))
    tilted /= tilted.sum(1, keepdims=True)
    tolerated = tilted[tilted[:, : c.MIDDLE_QUANTILES.index(0.25) + 1].sum(1) <= rate]
    assert (tolerated @ factors).max(initial=0) <= 1 + 1e-6
    assert (factors >= 0).all()
    assert np.isfinite(factors).all()
