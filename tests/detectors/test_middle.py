"""Promises of E8's second limit: averages of rows are told from ordinary rows by their scatter, where no law between columns is broken."""

import numpy as np
import pytest
from numpy.typing import NDArray

from detectors.evidence import STATISTICS, EvidenceReference, gates
from detectors.evidence import constants as c
from detectors.evidence import layout as at
from detectors.evidence.calibrate import flip_rates
from detectors.evidence.derive import derive
from detectors.evidence.sampled import shares_of
from detectors.evidence.yardsticks import yardsticks
from tests.detectors.crowd import beside, fitted

Rows = NDArray[np.float64]
D = 8
MIX = np.random.default_rng(2).normal(size=(3, D))
KINDS = 0.8 * np.random.default_rng(3).normal(size=(4, 3))
SMOOTH = STATISTICS.index("smooth")


def rows(n: int, seed: int, kind: int | None = None) -> Rows:
    """Positive columns that hang together loosely, of four kinds of customers."""
    rng = np.random.default_rng(seed)
    cause = rng.normal(size=(n, 3)) + KINDS[rng.integers(0, 4, n) if kind is None else np.full(n, kind)]
    return np.asarray(np.exp(0.1 * cause @ MIX + 0.2 * rng.normal(size=(n, D))))


@pytest.fixture(scope="module")
def reference() -> EvidenceReference:
    return fitted(rows(300, 1))  # too few for E12


def averages(n: int, seed: int) -> Rows:
    """Mixup of a pool of the attacker's own."""
    rng = np.random.default_rng(seed)
    pool, w = rows(150, 500 + seed), rng.uniform(0.2, 0.8, (n, 1))
    return np.asarray(w * pool[rng.integers(0, 150, n)] + (1 - w) * pool[rng.integers(0, 150, n)])


def crossings(reference: EvidenceReference, asked: list[Rows], ordinary: int = 20) -> list[tuple[int, int, int]]:
    return beside(reference, [rows(60, 100 + k) for k in range(ordinary)], asked)[1]


@pytest.mark.parametrize("seed", range(5))
def test_averages_of_two_rows_are_paged(reference: EvidenceReference, seed: int) -> None:
    found = crossings(reference, [averages(500, seed)])
    assert (0, 2, SMOOTH) in found
    assert {slot for slot, _, _ in found} == {0}


def filled(X: Rows, rng: np.random.Generator) -> Rows:
    columns = rng.choice(D, 2, replace=False)
    X[:, columns] = np.median(rows(300, 1), axis=0)[columns]
    return X


def in_order(X: Rows) -> Rows:
    """Each row followed by the nearest that was not asked yet."""
    z, left, order = np.log(X), np.ones(len(X), np.bool_), [0]
    for _ in range(len(X) - 1):
        left[order[-1]] = False
        order.append(int(np.where(left, ((z - z[order[-1]]) ** 2).sum(1), np.inf).argmin()))
    return X[order]


def without_extremes(X: Rows) -> Rows:
    z = np.log(X)
    return np.asarray(X[(np.abs(z - z.mean(0)) < 2 * z.std(0)).all(1)])


@pytest.mark.parametrize("seed", range(3))
def test_ordinary_clients_near_the_middle_are_left_alone(reference: EvidenceReference, seed: int) -> None:
    rng = np.random.default_rng(seed)
    asked = [rows(600, 20 + seed, kind) for kind in range(4)]  # segments
    asked += [filled(rows(600, 30 + seed), rng), in_order(rows(400, 40 + seed)), without_extremes(rows(900, 50 + seed))]
    asked += [np.where(rng.random((600, D)) < 0.2, np.median(rows(300, 1), axis=0), rows(600, 60 + seed))]  # gaps
    for noise in (0.03, 0.05, 0.08):  # sensors that hang in the very middle
        asked += [np.median(rows(300, 1), axis=0) * np.exp(noise * rng.normal(size=(2000, D)))]
    assert [found for found in crossings(reference, asked) if found[2] == SMOOTH] == []


def test_while_few_clients_are_known_only_many_averages_are_paged(reference: EvidenceReference) -> None:
    assert crossings(reference, [averages(90, 1)], ordinary=1) == []
    assert (0, 2, SMOOTH) in crossings(reference, [averages(600, 1)], ordinary=1)


def test_averages_behind_a_benign_past_are_paged(reference: EvidenceReference) -> None:
    assert (0, 2, SMOOTH) in crossings(reference, [np.concatenate([rows(400, 7), averages(500, 7)])])


def test_codes_of_a_reference_are_those_of_the_stream() -> None:
    """A column with a tail below once had its bulk between two codes, so that what occurs most did not occur in the reference; the last
    column has every second value exactly between two: its range is 250, a step is 3."""
    rng = np.random.default_rng(1)
    X = rng.normal(size=(400, 5))
    X[:, 0] = np.where(rng.random(400) < 0.04, -rng.integers(5, 40, 400), rng.choice([0.0, 1.0], 400, p=[0.6, 0.4]))
    X[:, 4] = np.concatenate([np.zeros(30), np.full(30, 250.0), 1.5 * rng.integers(1, 160, 340)])
    reference = fitted(X)
    code = derive(reference, X.astype(np.float32)).code
    assert reference.sampled_range[4] == 250
    assert np.array_equal(reference.look.share, shares_of(code))


def test_projections_that_meet_by_chance_do_not_say_how_often_neighbours_are_answered_differently() -> None:
    rng = np.random.default_rng(0)
    Z = rng.normal(size=(4000, 100))
    G, scores = Z @ rng.normal(size=(100, 2)) / 2**0.5, rng.random((4000, 4)).astype(np.float32)
    assert flip_rates(G, Z, scores, 5.0).tolist() == list(c.FLIP_U)
    assert flip_rates(G, G, scores, 5.0)[0] > 0.8, "near rows that are answered at random"


@pytest.mark.parametrize("statistic", [SMOOTH, STATISTICS.index("independent"), STATISTICS.index("two_valued")])
def test_remembered_rows_are_not_looked_through_at_every_repeat(
    reference: EvidenceReference, statistic: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    clients = beside(reference, [rows(60, 100 + k) for k in range(20)], [rows(256, 1)])[0]
    looks: list[int] = []

    def look(*_: object) -> bool:
        looks.append(1)
        return False

    for name in ("lies_in_the_middle", "could_be_bound", "combines_anew"):
        monkeypatch.setattr(gates, name, look)
    for name in ("_in_the_middle", "_smooth", "_independent", "_two_valued"):
        monkeypatch.setattr(gates, name, getattr(gates, name).py_func)
    real, code, _, count = (array[20].copy() for array in clients._state)
    real[at.FIRST_ARM[statistic] : at.FIRST_ARM[statistic] + at.ARMS[statistic]] = 1e30
    real[at.BOUND], real[at.BOUND_SQUARES], real[at.NEAR_SHARE] = 0, 1, 0
    y, family = yardsticks(reference, 16.1, 11.5), int(statistic == STATISTICS.index("two_valued"))

    def asked(distinct: bool) -> int:
        looks.clear()
        gates.allowed.py_func(statistic, 1e30, 0, real, count, code, code[at.bins_at(D) :], family, False, 20, distinct, y)
        return len(looks)

    assert count[at.DISTINCT] == 256
    assert (asked(True), asked(False)) == (1, 0)
    count[at.DISTINCT] += 1
    assert asked(True) == (family == 1), "of 96 rows not at the next one, either"
