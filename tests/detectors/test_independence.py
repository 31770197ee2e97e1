"""Promises of E11: columns drawn one by one are told from ordinary rows where no single row is remarkable."""

import dataclasses

import numpy as np
import pytest
from numpy.typing import NDArray

from detectors.evidence import STATISTICS, EvidenceReference
from detectors.evidence.generated import untaught
from detectors.evidence.independence import fit_bond
from tests.detectors import test_evidence as strong
from tests.detectors.crowd import beside, fitted

Rows = NDArray[np.float32]
D = 10
MIX = np.random.default_rng(2).normal(size=(2, D))
CENTRES = 6 * np.random.default_rng(3).normal(size=(3, 2))
INDEPENDENT = STATISTICS.index("independent")


def counts(n: int, seed: int, kind: int | None = None) -> Rows:
    """Counts that hang together a little, by two causes and three kinds of customers."""
    rng = np.random.default_rng(seed)
    cause = rng.normal(size=(n, 2)) + 0.15 * CENTRES[rng.integers(0, 3, n) if kind is None else np.full(n, kind)]
    X: Rows = rng.poisson(np.exp(0.7 + 0.6 * cause @ MIX / 1.5)).clip(0, 60).astype(np.float32)
    return X


@pytest.fixture(scope="module")
def reference() -> EvidenceReference:
    return fitted(counts(3000, 1))


def crossings(reference: EvidenceReference, asked: list[Rows]) -> list[tuple[int, int, int]]:
    """Slot, severity, statistic, in a service with twenty ordinary clients beside those who ask these rows."""
    return beside(reference, [counts(60, 100 + k) for k in range(20)], asked)[1]


@pytest.mark.parametrize("seed", range(4))
def test_rows_shuffled_by_column_are_paged_although_no_row_is_remarkable(reference: EvidenceReference, seed: int) -> None:
    rng = np.random.default_rng(seed)
    pool = counts(700, 50 + seed)
    none = untaught(D)  # or E12 is sometimes the first
    found = crossings(dataclasses.replace(reference, generated=none), [np.asarray(rng.permuted(pool, axis=0)), pool])
    assert (0, 2, INDEPENDENT) in found
    assert {slot for slot, _, _ in found} == {0}


@pytest.mark.parametrize("seed", range(3))
def test_values_drawn_uniformly_between_the_limits_are_paged(reference: EvidenceReference, seed: int) -> None:
    rng = np.random.default_rng(seed)
    pool = counts(1000, seed)
    uniform = np.rint(rng.uniform(pool.min(0), np.quantile(pool, 0.98, axis=0), (600, D))).astype(np.float32)
    assert {0} == {slot for slot, severity, _ in crossings(reference, [uniform]) if severity == 2}


@pytest.mark.parametrize("kind", range(3))
def test_a_client_of_one_kind_of_customers_is_ordinary(reference: EvidenceReference, kind: int) -> None:
    assert crossings(reference, [counts(1500, 7, kind)]) == []


def test_other_units_in_every_column_are_ordinary(reference: EvidenceReference) -> None:
    rng = np.random.default_rng(5)
    X = counts(600, 6) * rng.uniform(0.8, 1.25, D) + rng.uniform(-0.5, 0.5, D)
    assert not [one for one in crossings(reference, [X.astype(np.float32)]) if one[2] == INDEPENDENT]


def test_fields_filled_by_a_default_now_and_then_are_ordinary(reference: EvidenceReference) -> None:
    rng = np.random.default_rng(8)
    X = counts(600, 9)
    X = np.where(rng.random(X.shape) < 0.25, np.median(X, axis=0), X).astype(np.float32)
    assert not [one for one in crossings(reference, [X]) if one[2] == INDEPENDENT]


@pytest.mark.parametrize("share", [0.1, 0.2, 0.3])
@pytest.mark.parametrize("code", [99, -9])
def test_a_code_for_what_is_missing_is_no_extraction(reference: EvidenceReference, code: int, share: float) -> None:
    X = counts(600, 9)
    X = np.where(np.random.default_rng(8).random(X.shape) < share, code, X).astype(np.float32)
    assert crossings(reference, [X]) == []


def test_rows_that_still_hang_together_hold_it_back_whatever_its_evidence() -> None:
    rng = np.random.default_rng(0)
    X = strong.rows(3000, 1)
    reference = EvidenceReference.fit(X, strong.nothing(3000), None, low=np.full(strong.D, -np.inf), high=np.full(strong.D, np.nan))
    clients = strong.make(reference, capacity=21)
    for k in range(20):
        strong.feed(clients, np.full(60, k, np.int32), strong.rows(60, 100 + k), [])
    X = strong.rows(600, 9)
    gaps = np.where(rng.random(X.shape) < 0.4, np.median(X, 0), X).astype(np.float32)
    assert strong.feed(clients, np.full(600, 20, np.int32), gaps, []) == []
    assert clients.log_evidence(np.array([20]))[0, INDEPENDENT] > strong.LN_PAGE


def test_it_is_off_where_ordinary_columns_do_not_hang_together() -> None:
    X = np.random.default_rng(4).normal(size=(2000, D)).astype(np.float32)
    assert fitted(X).bond.factor == 0


def test_it_is_off_for_pictures_few_columns_and_few_rows() -> None:
    rng = np.random.default_rng(1)
    code = rng.integers(0, 200, (400, 6)).astype(np.uint8)
    parts = [np.zeros(400, np.int64)]
    assert fit_bond(code, np.ones(6), parts, True, rng).factor == 0
    assert fit_bond(code[:, :3], np.ones(3), parts, False, rng).factor == 0
    assert fit_bond(code[:80], np.ones(6), [parts[0][:80]], False, rng).factor == 0
