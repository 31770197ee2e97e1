"""E12 also names rows drawn from ranges where the reference is mostly noughts, which lie elsewhere; no other population and no trend."""

import numpy as np
import pytest
from numpy.typing import NDArray

from detectors.evidence import EvidenceReference
from tests.detectors.crowd import beside, fitted

Rows = NDArray[np.float64]
D = 40


def words(n: int, seed: int, more: float = 1.0) -> Rows:
    """How often each of forty words occurs in a hundred: mostly not at all, and each by itself, but for long texts."""
    rng = np.random.default_rng(seed)
    rate = np.random.default_rng(8).gamma(0.5, size=D)
    return np.asarray(rng.poisson(0.5 * more * rate * rng.gamma(4, 0.25, (n, 1))) * rng.uniform(0.8, 1.2, (n, 1)))


@pytest.fixture(scope="module")
def reference() -> EvidenceReference:
    return fitted(words(2000, 1))


def paged(reference: EvidenceReference, asked: list[Rows]) -> set[int]:
    _, raised = beside(reference, [words(80, 300 + k) for k in range(24)], asked)
    return {who for who, severity, _ in raised if severity == 2}


def test_uniform_rows_are_paged_where_most_values_are_nought(reference: EvidenceReference) -> None:
    high = words(2000, 1).max(0)
    assert paged(reference, [np.random.default_rng(k).uniform(0, high, (140, D)) for k in range(6)]) == set(range(6))


def test_longer_texts_and_counts_with_a_trend_are_not(reference: EvidenceReference) -> None:
    longer = [words(140, 50 + k, more=3.0) for k in range(4)]
    trending = [words(140, 60 + k) + np.linspace(0, 0.1, 140)[:, None] * np.random.default_rng(k).uniform(0.5, 1.5, D) for k in range(4)]
    assert paged(reference, longer + trending) == set()
