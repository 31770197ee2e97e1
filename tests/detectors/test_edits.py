"""Promises about rows that share what the client never changes: defaults and one customer's many offers are no search on codes (E6)."""

import numpy as np
import pytest
from numpy.typing import NDArray

from detectors.evidence import ClientEvidence, layout
from detectors.evidence.constants import MEMORY, RING
from detectors.evidence.core import gains
from detectors.evidence.derive import derive
from detectors.evidence.edits import are_edits
from detectors.evidence.trials import flat_step
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
        seen = derive(reference, rows.astype(np.float32))
        return bool(are_edits(seen.value.T.ravel(), seen.code.T.ravel(), RING, RING - 1, reference.look.share))

    assert edits(walk(RING, seed))
    assert edits(behind_cover(RING, seed))
    near = np.where(np.arange(FIELDS) < 4, table(1, seed) + 0.2 * (table(RING, seed) - table(1, seed)), table(1, seed))
    assert edits(near), "noise on few fields, the others stay"
    assert not edits(table(RING, seed))
    assert not edits(by_customer(90, seed)[40:56])
    for part in (0.3, 0.5, 0.8):
        assert not edits(with_defaults(RING, seed, part))


@pytest.mark.parametrize(("moved", "flat"), [(3, 0), (4, 1), (6, 1)])
def test_three_of_six_fields_are_too_few_for_a_step_of_equal_amounts(moved: int, flat: int) -> None:
    """Where a client leaves the others at a default, three amounts are equal by chance (E2)."""
    reference = fitted(np.random.default_rng(7).normal(size=(2000, 6)))
    state = ClientEvidence(reference, ln_page=1.0, ln_ticket=1.0, capacity=1)._state
    memory, x = np.full(6 * MEMORY, 100, np.uint8), np.where(np.arange(6) < moved, 110, 100).astype(np.uint8)
    limit, square = np.where(np.arange(6) < moved, 0, 1).astype(np.uint8), 100 * moved
    flat_step(state.reals[0], state.counts[0], memory, gains(reference), x, limit, False, 0, square)
    assert state.counts[0][[layout.STEPS, layout.FLAT_STEPS]].tolist() == [1, flat]
