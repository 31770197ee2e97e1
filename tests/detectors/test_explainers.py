"""An explainer asks what an attack asks, opens a ticket that says so, and pages nobody."""

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.datasets import load_digits

from detectors.evidence import EvidenceReference
from detectors.evidence import layout as at
from detectors.evidence.explain import explain
from tests.detectors.crowd import beside, fitted

Rows = NDArray[np.float64]


@pytest.mark.parametrize("seed", range(3))
def test_an_explainer_that_mixes_one_picture_with_others_opens_a_ticket_and_says_so(seed: int) -> None:
    X = load_digits().data.astype(np.float32)
    reference = EvidenceReference.fit(X[:900], np.empty((900, 0), np.float32), None, low=np.zeros(64), high=np.full(64, 16.0), image=(8, 8))
    rng, others = np.random.default_rng(seed), X[1300:1700]
    mixed, shuffled = np.where(rng.random(others.shape) < 0.5, X[1700 + seed], others), rng.permuted(others, axis=0)
    clients, found = beside(reference, [X[900 + 20 * k : 920 + 20 * k] for k in range(20)], [mixed, shuffled])
    assert max(severity for client, severity, _ in found if client == 0) == 1
    assert max(severity for client, severity, _ in found if client == 1) == 2
    assert clients.mixes_one_row(20)
    assert not clients.mixes_one_row(21)
    count = clients._state.counts[20]
    assert count[at.LOOKED] > count[at.DISTINCT], "the rows were looked through again at the last one"


def population(n: int, columns: int, seed: int) -> Rows:
    """Columns that hang together by three numbers of their own."""
    mix = np.random.default_rng(0).normal(size=(3, columns))
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, 3)) @ mix + 0.5 * rng.normal(size=(n, columns))


def service(columns: int) -> tuple[EvidenceReference, list[Rows]]:
    """Its reference, and the rows of twenty ordinary clients."""
    return fitted(population(3000, columns, 1)), [population(40, columns, 100 + k) for k in range(20)]


def probes(row: Rows, step: float, columns: list[int]) -> Rows:
    """Each of these columns of a row a step up, then down."""
    out = np.repeat(row[None], 2 * len(columns), axis=0)
    out[np.arange(len(out)), np.repeat(columns, 2)] += np.tile([step, -step], len(columns))
    return out


def study(rows: Rows, step: float) -> Rows:
    """Sensitivity, one column at a time, of each of these rows."""
    return np.concatenate([np.concatenate([row[None], probes(row, step, list(range(len(row))))]) for row in rows])


def search(row: Rows, step: float, way: float, rounds: int) -> Rows:
    """A numerical gradient of a row, all columns; the row goes ``way`` along its signs, and again."""
    out = []
    rng = np.random.default_rng(7)
    for _ in range(rounds):
        out.append(probes(row, step, rng.permutation(len(row)).tolist()))
        row = row + way * rng.choice([-1, 1], len(row))
    return np.concatenate(out)


@pytest.mark.parametrize("step", [0.1, 0.5])
@pytest.mark.parametrize("columns", [7, 12, 30])
def test_a_sensitivity_study_opens_a_ticket_and_says_so(columns: int, step: float) -> None:
    clients, found = beside(*service(columns), [study(population(12, columns, 5), step)])
    assert {(client, severity, statistic) for client, severity, statistic in found} == {(0, 1, at.SYMMETRIC)}
    assert clients.turns_one_column(20)


@pytest.mark.parametrize("columns", [7, 12])
def test_a_search_by_the_same_probes_whose_row_moves_is_paged(columns: int) -> None:
    _, found = beside(*service(columns), [search(population(1, columns, 5)[0], 0.2, 0.1, 12)])
    assert max(severity for client, severity, _ in found if client == 0) == 2
    assert {client for client, _, _ in found} == {0}


def test_who_asks_for_derivatives_of_a_row_that_nothing_moves_is_paged() -> None:
    """Of a model whose answers stand still a search by tiny steps (ZOO) never moves; nobody asks what a hundredth of a deviation does."""
    clients, found = beside(*service(12), [study(population(12, 12, 5), 0.01)])
    assert max(severity for client, severity, _ in found if client == 0) == 2
    assert not clients.turns_one_column(20)


@pytest.mark.parametrize("again", [False, True])
def test_the_evidence_of_a_study_names_it_and_who_turns_the_same_columns_again_and_again_is_paged(again: bool) -> None:
    clients, _ = beside(*service(7), [])
    rows = population(8, 7, 5)
    asked = np.concatenate([probes(row, 0.2, list(range(7))) for row in (rows[:1].repeat(8, axis=0) if again else rows)]).astype(np.float32)
    clients.clear(np.array([3], np.int32))
    severities, names = [], []
    for one in asked:  # in a batch the counts are those of its end
        crossings = clients.update(np.array([3], np.int32), one[None], np.empty((1, 0), np.float32), np.array([-1], np.int32))
        severities += crossings.severity.tolist()
        names += [explain(clients, crossings, k).get("looks_like") for k in range(len(crossings))]
    assert severities == ([1, 2] if again else [1])
    assert names[-1] == (None if again else "sensitivity")
