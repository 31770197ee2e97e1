"""E5 finds blocks of rows that come nearer to one point together (Boundary) and ZOO as libraries ask it; nobody who scales or repeats."""

import numpy as np
import pytest
from numpy.typing import NDArray

from detectors.evidence import STATISTICS, EvidenceReference
from tests.detectors.crowd import beside, fitted

Rows = NDArray[np.float64]
D, E5 = 10, STATISTICS.index("symmetric")
PAGE = (2, E5)
LN_TICKET = float(np.log(1e5))


def sizes(n: int, seed: int) -> Rows:
    """Ten numbers that hang together."""
    rng = np.random.default_rng(seed)
    return np.asarray(5 + rng.normal(size=(n, 3)) @ np.random.default_rng(5).normal(size=(3, D)) + 0.3 * rng.normal(size=(n, D)))


@pytest.fixture(scope="module")
def reference() -> EvidenceReference:
    return fitted(sizes(800, 1))


def boundary(block: int, share: float, n: int, seed: int, digits: int = 9) -> Rows:
    """What Boundary asks: a block around the best row, as far from the victim as that, and then all of it a share nearer to the victim."""
    rng, (victim, at) = np.random.default_rng(seed), sizes(2, seed)
    out: list[Rows] = []
    while len(out) < n:
        away = float(np.linalg.norm(at - victim))
        around = at + 0.02 * away * rng.normal(size=(block, D)) / np.sqrt(D)
        around = victim + (around - victim) * away / np.linalg.norm(around - victim, axis=1, keepdims=True)
        nearer = around + share * (victim - around)
        out += [*around, *nearer]
        at = nearer[rng.integers(block)]
    return np.asarray(np.round(np.array(out[:n]), digits))


def evidence(reference: EvidenceReference, asked: list[Rows]) -> tuple[set[tuple[int, int]], float]:
    """Severity and statistic of everybody who is raised, and the most evidence of E5 that one of those in question ends with."""
    clients, found = beside(reference, [sizes(60, 200 + k) for k in range(20)], asked)
    most = clients.log_evidence(20 + np.arange(len(asked)))[:, E5].max()
    return {(severity, which) for _, severity, which in found}, float(most)


@pytest.mark.parametrize(("block", "share"), [(8, 0.01), (20, 0.05), (30, 0.3)])
def test_rows_that_all_go_the_same_share_to_a_victim_are_paged_by_the_third_block(
    reference: EvidenceReference, block: int, share: float
) -> None:
    _, raised = beside(reference, [], [boundary(block, share, 6 * block, seed) for seed in range(6)])
    assert {who for who, severity, which in raised if (severity, which) == PAGE} == set(range(6))


def test_rows_that_are_rounded_to_a_thousandth_are_found_as_well(reference: EvidenceReference) -> None:
    _, raised = beside(reference, [], [boundary(8, 0.1, 200, seed, 3) for seed in range(6)])
    assert len({who for who, severity, which in raised if (severity, which) == PAGE}) >= 4


@pytest.mark.parametrize("factor", [0.98, 0.9])
def test_a_list_whose_prices_all_fall_by_the_same_share_is_no_search(reference: EvidenceReference, factor: float) -> None:
    """Ten variants of one row, then all of them cheaper, again and again: the point they go to is nought."""
    variants = sizes(1, 3) + 0.15 * np.random.default_rng(0).normal(size=(10, D))
    found, most = evidence(reference, [np.concatenate([variants * factor**k for k in range(12)])])
    assert (found, most < LN_TICKET) == (set(), True)


def test_a_round_that_comes_again_with_other_noise_is_no_search(reference: EvidenceReference) -> None:
    """A sensor's day: the same steps every twelve readings, each as large as yesterday's, give or take its noise."""
    rng = np.random.default_rng(2)
    day = sizes(1, 4) + 0.4 * np.sin(np.arange(12)[:, None] * 2 * np.pi / 12 + rng.uniform(0, 6, D))
    found, most = evidence(
        reference, [np.concatenate([day + noise * rng.normal(size=(12, D)) for _ in range(25)]) for noise in (0.01, 0.05)]
    )
    assert (found, most < LN_TICKET) == (set(), True)


def probes(n: int, seed: int, columns: int = D) -> Rows:
    """ZOO as the Adversarial Robustness Toolbox asks it: x, x + h and x - h in one of so many columns, then x again."""
    rng, x = np.random.default_rng(seed), sizes(1, seed)[0]
    out: list[Rows] = []
    while len(out) < n:
        step = np.where(np.arange(D) == rng.integers(columns), 1e-3, 0.0)
        out += [x, x + step, x - step]
    return np.array(out[:n])


def test_a_probe_to_each_side_of_a_row_and_the_row_again_is_paged_within_sixty_queries(reference: EvidenceReference) -> None:
    _, raised = beside(reference, [], [probes(60, seed) for seed in range(6)])
    assert {who for who, severity, which in raised if (severity, which) == PAGE} == set(range(6))


def test_one_column_that_trembles_around_a_row_is_no_probe(reference: EvidenceReference) -> None:
    """The same rows, of one column alone, mostly repeat; with a new amount each time they are new, and still one column's."""
    rng, x = np.random.default_rng(5), sizes(1, 9)[0]
    steps = np.repeat(1e-3 * rng.normal(size=40), 3) * np.tile([0.0, 1.0, -1.0], 40)
    trembling = x + np.where(np.arange(D) == 4, steps[:, None], 0.0)
    found, _ = evidence(reference, [probes(60, 11, columns=1), trembling])
    assert PAGE not in found
