"""E9 finds halvings of whole numbers, too, and lets flips beside them say what they are; nobody whose rows lie between others by chance."""

import numpy as np
import pytest
from numpy.typing import NDArray

from detectors.evidence import STATISTICS, EvidenceReference
from tests.detectors.crowd import beside, fitted

Rows = NDArray[np.float64]
D, E9 = 9, STATISTICS.index("bisection")
PAGE = (2, E9)


def counts(n: int, seed: int) -> Rows:
    """Nine whole numbers up to some hundreds, that hang together."""
    rng = np.random.default_rng(seed)
    own = rng.normal(size=(n, 2)) @ np.random.default_rng(3).normal(size=(2, D)) + 0.5 * rng.normal(size=(n, D))
    return np.asarray(np.round(150 + 40 * own).clip(0))


def above(X: NDArray[np.float32]) -> NDArray[np.bool_]:
    return np.asarray(X[:, 0] + X[:, 1] > 300)


@pytest.fixture(scope="module")
def reference() -> EvidenceReference:
    return fitted(counts(1500, 1))


def ends(seed: int) -> tuple[Rows, Rows]:
    """Two rows that are answered otherwise."""
    X = counts(60, seed)
    y = above(X.astype(np.float32))
    return X[~y][0], X[y][0]


def halved(low: Rows, high: Rows, times: int) -> tuple[list[Rows], Rows]:
    """The rounded rows of a search for the boundary between two rows, and the last one."""
    out = []
    for _ in range(times):
        middle = (low + high) / 2
        out.append(np.round(middle))
        low, high = (low, middle) if above(np.round(middle)[None].astype(np.float32))[0] else (middle, high)
    return out, out[-1]


def test_halvings_of_whole_numbers_are_paged_within_two_searches(reference: EvidenceReference) -> None:
    asked = []
    for seed in range(8):
        found: list[Rows] = []
        for k in range(2):
            low, high = ends(100 + 10 * seed + k)
            found += [low, high, *halved(low, high, 8)[0]]
        asked.append(np.array(found))
    _, raised = beside(reference, [counts(60, 200 + k) for k in range(20)], asked)
    assert len({who for who, severity, which in raised if (severity, which) == PAGE}) >= 7
    assert min(who for who, _, _ in raised) >= 0


def test_probes_of_one_size_around_a_halved_row_are_a_search(reference: EvidenceReference) -> None:
    """Probes around one row alone look like a sensor's noise at a boundary; after halvings they are paged."""
    rng, low, high = np.random.default_rng(0), *ends(7)
    steps, edge = halved(low, high, 8)
    probes = np.round(edge + 4 * rng.normal(size=(60, D)))
    ordinary = [counts(60, 200 + k) for k in range(20)]
    _, alone = beside(reference, ordinary, [np.array([*np.round(edge + 4 * rng.normal(size=(10, D))), *probes])], above)
    _, search = beside(reference, ordinary, [np.array([low, high, *steps, *probes])], above)
    assert max((severity for who, severity, _ in alone if who == 0), default=0) == 0
    assert max((severity for who, severity, _ in search if who == 0), default=0) == 2


def test_ordinary_clients_of_whole_numbers_have_hardly_a_middle(reference: EvidenceReference) -> None:
    asked = [counts(600, 300 + k) for k in range(20)]
    asked += [
        np.round(counts(1, 400 + k) + 15 * np.cumsum(np.random.default_rng(k).normal(size=(400, D)) * 0.3, axis=0)) for k in range(10)
    ]
    clients, raised = beside(reference, [], asked)
    assert E9 not in {which for _, _, which in raised}
    assert clients.counts(np.arange(20))["bisections"].sum() <= 2


def test_readings_between_two_neighbours_are_no_halvings(reference: EvidenceReference) -> None:
    """A series in steps of one size, whose every third reading was lost and filled by the middle once both sides were there."""
    rng = np.random.default_rng(6)
    walk = counts(1, 9) + np.round(np.cumsum(rng.choice([-14, 14], (200, D)) * (rng.random((200, D)) < 0.9), axis=0)).clip(-120, 250)
    filled = np.concatenate([np.stack([a, b, np.round((a + b) / 2)]) for a, b in zip(walk[:-1:2], walk[1::2], strict=True)])
    _, raised = beside(reference, [counts(60, 200 + k) for k in range(20)], [filled])
    assert PAGE not in {(severity, which) for _, severity, which in raised}
