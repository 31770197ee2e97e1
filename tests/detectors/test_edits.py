"""Promises about rows that share what the client never changes: defaults and one customer's many offers are no search on codes (E6)."""

import numpy as np
import pytest
from numpy.typing import NDArray

from detectors.evidence.constants import RING
from detectors.evidence.derive import derive
from detectors.evidence.edits import are_edits
from tests.detectors.crowd import beside, fitted

Rows = NDArray[np.float64]
FIELDS = 10
WAY = np.random.default_rng(4).normal(size=(3, FIELDS))


def table(n: int, seed: int) -> Rows:
    """Ten numbers that hang together loosely."""
    rng = np.random.default_rng(seed)
    return np.asarray(rng.normal(size=(n, 3)) @ WAY + rng.normal(size=(n, FIELDS)))


def steep(X: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Answers that no two neighbours need share."""
    return np.asarray(np.sin(X @ np.arange(1, FIELDS + 1)) > 0)


def with_defaults(n: int, seed: int, part: float = 0.5) -> Rows:
    rng, X = np.random.default_rng(seed), table(n, 200 + seed)
    X[:, rng.choice(FIELDS, int(part * FIELDS), replace=False)] = 0
    return X


def by_customer(n: int, seed: int) -> Rows:
    """Half of the fields are the customer's, fifty rows each."""
    rng, X = np.random.default_rng(seed), table(n, 200 + seed)
    own = rng.choice(FIELDS, FIELDS // 2, replace=False)
    X[:, own] = table(n, 300 + seed)[np.arange(n) // 50 * 50][:, own]
    return X


def walk(n: int, seed: int) -> Rows:
    """A search on codes: a few fields of a row are set anew, and it goes on from there."""
    rng, X = np.random.default_rng(seed), table(n, 200 + seed)
    for k in range(1, n):
        keep = rng.permuted(np.arange(FIELDS)) >= 3
        X[k, keep] = X[k - 1, keep]
    return X


def behind_cover(n: int, seed: int) -> Rows:
    X = table(n, 500 + seed)
    X[::4] = walk(n, seed)[: len(X[::4])]
    return X


@pytest.mark.parametrize("sparse", [with_defaults, by_customer])
def test_clients_that_share_half_of_every_row_are_no_search(sparse: object) -> None:
    asked = [sparse(400, seed) for seed in range(12)]  # type: ignore[operator]
    _, found = beside(fitted(table(3000, 1)), [table(60, 100 + k) for k in range(20)], asked, steep)
    assert found == []


@pytest.mark.parametrize("seed", range(20))
def test_the_ring_tells_which(seed: int) -> None:
    reference = fitted(table(3000, 1))

    def edits(rows: Rows) -> bool:
        values = derive(reference, rows[:RING].astype(np.float32)).value.T.ravel()
        return bool(are_edits(values, min(len(rows), RING), min(len(rows), RING) - 1, reference.look.share))

    assert edits(walk(RING, seed))
    assert edits(behind_cover(RING, seed))
    assert not edits(table(RING, seed))
    assert not edits(by_customer(90, seed)[40:56])
    for part in (0.3, 0.5, 0.8):
        assert not edits(with_defaults(RING, seed, part))
