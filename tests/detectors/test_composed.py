"""Promises of E13: rows of ordinary columns in unusual combinations are found, one column that does not belong is no attack."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from detectors.evidence import STATISTICS, EvidenceReference
from detectors.evidence import constants as c
from detectors.evidence.composed import confirms
from detectors.evidence.derive import derive
from tests.detectors.crowd import beside
from tests.detectors.test_generated import Rows, fitted, orders

COMPOSED = STATISTICS.index("composed")


@pytest.fixture(scope="module")
def reference() -> EvidenceReference:
    return fitted(orders(3000, 1))


def copula(n: int, seed: int) -> Rows:
    """Draws with each column's own values and the ranks' correlations."""
    rng, own = np.random.default_rng(seed), orders(1500, 60 + seed)
    ranks = np.argsort(np.argsort(own + 1e-6 * rng.normal(size=own.shape), axis=0), axis=0)
    normal = ndtri((ranks + 0.5) / len(ranks))
    share = ndtr(rng.normal(size=(n, len(ranks))) @ normal / np.sqrt(len(ranks)))
    return np.asarray(np.take_along_axis(np.sort(own, axis=0), (share * len(ranks)).astype(int), axis=0))


def crossed(n: int, seed: int) -> Rows:
    """Children of two rows, a third of the fields from the other."""
    rng = np.random.default_rng(seed)
    return np.where(rng.random((n, 9)) < 1 / 3, orders(n, 70 + seed), orders(n, 80 + seed)).astype(np.float32)


def found(reference: EvidenceReference, asked: list[Rows]) -> tuple[NDArray[np.float32], set[int], set[int]]:
    """Log evidence of E13 of each, beside twenty ordinary clients that nothing may name; who was paged, and whom E13 named."""
    clients, named = beside(reference, [orders(60, 100 + k) for k in range(20)], asked)
    assert all(client >= 0 for client, _, _ in named)
    evidence = clients.log_evidence(np.arange(20, 20 + len(asked)))[:, COMPOSED]
    paged = {client for client, severity, _ in named if severity == 2}
    return evidence, paged, {client for client, _, statistic in named if statistic == COMPOSED}


@pytest.mark.parametrize("seed", range(3))
def test_draws_of_a_copula_and_rows_crossed_from_two_are_paged(reference: EvidenceReference, seed: int) -> None:
    evidence, paged, named = found(reference, [copula(400, seed), crossed(400, seed)])
    assert paged == {0, 1}
    assert named
    assert (evidence > np.log(1e7)).all()


@pytest.mark.parametrize("seed", range(3))
def test_one_crossed_row_in_four_is_paged(reference: EvidenceReference, seed: int) -> None:
    behind = np.where(np.arange(2000)[:, None] % 4 == 0, crossed(2000, seed), orders(2000, 30 + seed)).astype(np.float32)
    evidence, paged, _ = found(reference, [behind])
    assert paged == {0}
    assert evidence[0] > np.log(1e7)


@pytest.mark.parametrize("seed", range(4))
def test_ordinary_rows_are_not_named(reference: EvidenceReference, seed: int) -> None:
    rng = np.random.default_rng(seed)
    X = orders(1200, 20 + seed)
    units = X * np.where(np.arange(9) == rng.integers(9), 1.3, 1)
    gaps = np.where(rng.random(X.shape) < 0.2, np.median(X, axis=0), X)
    evidence, paged, named = found(reference, [X, np.rint(units), gaps])
    assert paged == named == set()
    assert evidence[0] < np.log(1e5)


def test_one_column_of_other_rows_is_a_wrong_join_and_no_attack(reference: EvidenceReference) -> None:
    """Its evidence has crossed the line by far; without the column nothing is left."""
    rows = orders(400, 23)
    rows[:, 6] = np.random.default_rng(0).permutation(rows[:, 6])
    evidence, _, named = found(reference, [rows])
    assert evidence[0] > np.log(1e7)
    assert named == set()


def test_rows_that_are_asked_again_every_day_count_once(reference: EvidenceReference) -> None:
    """A portfolio with a few odd rows, asked thirty times, is as odd as on the first day."""
    portfolio = np.concatenate([orders(40, 9), crossed(5, 1)])
    evidence, _, named = found(reference, [np.tile(portfolio, (30, 1))])
    assert named == set()
    assert evidence[0] < np.log(1e5)


def test_the_second_look_wants_columns_as_the_reference_has_them(reference: EvidenceReference) -> None:
    held = c.MEMORY

    def looked(rows: Rows, held: int = held) -> bool:
        memory = np.ascontiguousarray(derive(reference, rows).code.T).ravel()
        return bool(confirms(memory, held, reference.look, reference.generated))

    rows = crossed(held, 3)
    odd = np.random.default_rng(0).random(rows.shape) < 0.4
    assert looked(rows)
    assert not looked(rows, c.COMPOSED_MIN_ROWS - 1)
    assert not looked(orders(held, 3))
    assert not looked(np.where(np.arange(9) == 1, 1.5 * rows, rows).astype(np.float32)), "a column in another unit"
    assert not looked(np.where((np.arange(9) == 6) & odd, 4000, rows).astype(np.float32)), "a default"
