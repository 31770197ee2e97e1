"""Rows nearer to the middle than ordinary ones in every direction: averages of two rows each, and what only looks like them."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from detectors.evidence import ClientEvidence, EvidenceReference, explain

D, OTHERS = 8, 14
LN_PAGE, LN_TICKET = float(np.log(1e7)), float(np.log(1e5))
Rows = NDArray[np.float32]


def rows(n: int, seed: int) -> Rows:
    """Four ordinary columns, and four that are curves over them: what lies between two rows is off the curve."""
    rng = np.random.default_rng(seed)
    a = rng.normal(size=(n, D // 2))
    b = np.sin(2 * a) + 0.2 * rng.normal(size=a.shape)
    X: Rows = np.c_[a, b].astype(np.float32)
    return X


def averages(n: int, seed: int) -> Rows:
    """What mixup asks."""
    rng = np.random.default_rng(seed)
    w = rng.uniform(0.2, 0.8, (n, 1)).astype(np.float32)
    return rows(n, seed + 1) * w + rows(n, seed + 2) * (1 - w)


@pytest.fixture(scope="module")
def reference() -> EvidenceReference:
    return EvidenceReference.fit(rows(1_500, 1), np.empty((1_500, 0), np.float32), None, low=np.full(D, -np.inf), high=np.full(D, np.inf))


def asked(X: Rows, reference: EvidenceReference, others: NDArray[np.float32] | None = None) -> tuple[ClientEvidence, list[str]]:
    """Client 0 among fourteen that ask ordinary rows, or ``others``; and which statistics rose for it."""
    clients = ClientEvidence(reference, ln_page=LN_PAGE, ln_ticket=LN_TICKET, capacity=1 + OTHERS)
    rng, risen = np.random.default_rng(7), []
    known = rows(100 * OTHERS, 8) if others is None else others
    slot = np.r_[np.repeat(np.arange(1, 1 + OTHERS), 100), np.zeros(len(X), int)].astype(np.int32)
    every = np.concatenate([known, X]).astype(np.float32)
    label = rng.integers(0, 2, len(every)).astype(np.int32)
    for a in range(0, len(every), 100):
        part = slice(a, a + 100)
        found = clients.update(slot[part], every[part], np.empty((len(every[part]), 0), np.float32), label[part])
        risen += [str(explain(clients, found, k)["statistic"]) for k in range(len(found)) if found.slot[k] == 0]
    return clients, risen


def severity(X: Rows, reference: EvidenceReference) -> int:
    return int(asked(X, reference)[0].severity(np.arange(1))[0, 0])


def test_averages_of_two_rows_are_paged_although_they_lie_off_the_curve(reference: EvidenceReference) -> None:
    clients, risen = asked(averages(400, 20), reference)
    assert clients.severity(np.arange(1))[0, 0] == 2
    assert set(risen) == {"cloud"}
    counts = clients.counts(np.arange(1))
    assert counts["clouds"][0] >= 0.7 * counts["clouds_scored"][0] == 0.7 * 25


def test_ordinary_rows_are_not(reference: EvidenceReference) -> None:
    assert severity(rows(3_000, 30), reference) == 0


@pytest.mark.parametrize("column", range(2))
def test_rows_of_a_part_of_the_population_are_not(reference: EvidenceReference, column: int) -> None:
    X = rows(4_000, 40)
    for low, high in ((-9.0, -0.5), (-0.5, 0.5), (0.5, 9.0)):
        assert severity(X[(X[:, column] > low) & (X[:, column] < high)][:600], reference) == 0


def test_rows_with_gaps_filled_by_the_middle_are_not(reference: EvidenceReference) -> None:
    X, middle = rows(600, 50), np.median(rows(1_500, 1), axis=0)
    assert severity(np.where(np.random.default_rng(51).random(X.shape) < 0.25, middle, X).astype(np.float32), reference) == 0


def test_where_everybody_has_less_scatter_than_the_reference_nobody_is_named(reference: EvidenceReference) -> None:
    narrow, others = (0.7 * rows(n, seed) for n, seed in ((600, 60), (100 * OTHERS, 61)))
    assert asked(narrow.astype(np.float32), reference, others.astype(np.float32))[0].severity(np.arange(1))[0, 0] == 0


def test_a_service_of_two_columns_is_not_judged(reference: EvidenceReference) -> None:
    X = rows(500, 70)[:, :2]
    small = EvidenceReference.fit(X, np.empty((500, 0), np.float32), None, low=np.full(2, -np.inf), high=np.full(2, np.inf))
    assert len(small.cloud.offset) == 0
    assert len(EvidenceReference.from_bytes(small.to_bytes()).cloud.offset) == 0
