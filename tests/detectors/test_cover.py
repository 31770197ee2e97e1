"""Searches behind cover traffic: what judges steps compares a row with the one that it continues."""

import numpy as np
import pytest
from numpy.typing import NDArray

from detectors.evidence import STATISTICS, ClientEvidence, EvidenceReference

Rows = NDArray[np.float32]
LN_PAGE, LN_TICKET = float(np.log(1e7)), float(np.log(1e5))
D = 8
MIX = np.random.default_rng(5).normal(size=(3, D))
ONE = np.zeros(1, np.int64)


def rows(n: int, seed: int) -> Rows:
    rng = np.random.default_rng(seed)
    X: Rows = (rng.normal(size=(n, 3)) @ MIX + 0.3 * rng.normal(size=(n, D))).astype(np.float32)
    return X


@pytest.fixture(scope="module")
def reference() -> EvidenceReference:
    X = rows(800, 1)
    return EvidenceReference.fit(X, np.empty((800, 0), np.float32), None, low=np.full(D, -np.inf), high=np.full(D, np.nan))


def pairs(n: int, seed: int) -> Rows:
    """Antithetic probes of one row after another: eight of x + u, x - u each."""
    rng = np.random.default_rng(seed)
    base = np.repeat(rows(n // 16 + 1, seed), 16, axis=0)[:n]
    u = np.repeat(0.02 * rng.normal(size=(n // 2, D)), 2, axis=0)
    u[1::2] *= -1
    return (base + u).astype(np.float32)


def walk(n: int, seed: int) -> Rows:
    """Steps over the boundary in one column, halved time and again, from one row."""
    X = np.repeat(rows(1, seed), n, axis=0)
    k = np.arange(n)
    X[:, 0] = np.where(k % 2 == 0, 1, -1) * 0.2 * 0.5 ** (k // 4 % 8) * (1 + k / 1e4)
    return X


def behind(attack: Rows, share: int, seed: int) -> Rows:
    """Each attack row after ``share`` ordinary ones."""
    X = rows((share + 1) * len(attack), seed)
    X[share :: share + 1] = attack
    return X


def judged(reference: EvidenceReference, X: Rows, label: NDArray[np.int32]) -> tuple[ClientEvidence, set[str]]:
    clients = ClientEvidence(reference, ln_page=LN_PAGE, ln_ticket=LN_TICKET, capacity=1)
    found = clients.update(np.zeros(len(X), np.int32), X, np.empty((len(X), 0), np.float32), label)
    return clients, {STATISTICS[s] for s in found.statistic[found.severity == 2]}


def unknown(X: Rows) -> NDArray[np.int32]:
    return np.full(len(X), -1, np.int32)


def answer(X: Rows) -> NDArray[np.int32]:
    return (X[:, 0] > 0).astype(np.int32)


@pytest.mark.parametrize("share", [0, 1, 3, 8])
def test_probes_in_pairs_are_found_behind_cover(reference: EvidenceReference, share: int) -> None:
    X = behind(pairs(200, 3), share, 4)
    clients, found = judged(reference, X, unknown(X))
    assert found == {"symmetric"}
    assert clients.counts(ONE)["symmetric_pairs"][0] > 60


@pytest.mark.parametrize("share", [0, 1, 3, 8])
def test_a_walk_over_the_boundary_is_found_behind_cover(reference: EvidenceReference, share: int) -> None:
    X = behind(walk(200, 3), share, 4)
    clients, _ = judged(reference, X, answer(X))
    counts = clients.counts(ONE)
    assert counts["consecutive_edit_flips"][0] > 150
    assert clients.log_evidence(ONE)[0, STATISTICS.index("lattice")] > LN_PAGE


def test_ordinary_rows_are_compared_with_the_previous_one(reference: EvidenceReference) -> None:
    X = rows(1_000, 6)
    clients, found = judged(reference, X, answer(X))
    assert found == set()
    assert clients.counts(ONE)["consecutive"][0] == 999


def test_edits_among_other_rows_that_flip_now_and_then_are_no_search(reference: EvidenceReference) -> None:
    """One row in four is an edit of an earlier one, and one edit in eight is answered otherwise."""
    rng = np.random.default_rng(0)
    X = rows(4_000, 7)
    label = answer(X)
    for k in range(7, len(X), 4):
        X[k] = X[k - 4]
        X[k, rng.integers(D)] += 0.05 * rng.normal()
        label[k] = label[k - 4] ^ (rng.random() < 0.125)
    clients, found = judged(reference, X, label)
    assert found == set()
    assert clients.counts(ONE)["consecutive"][0] < 2_500  # what continues none is no trial


def test_covered_clients_go_on_from_a_snapshot(reference: EvidenceReference) -> None:
    X = behind(pairs(100, 3), 3, 4)
    whole, _ = judged(reference, X, unknown(X))
    first, _ = judged(reference, X[:101], unknown(X[:101]))
    second = ClientEvidence(reference, ln_page=LN_PAGE, ln_ticket=LN_TICKET, capacity=1)
    second.restore(first.snapshot())
    n = len(X) - 101
    second.update(np.zeros(n, np.int32), X[101:], np.empty((n, 0), np.float32), unknown(X[101:]))
    assert second.snapshot() == whole.snapshot()
