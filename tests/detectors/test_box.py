"""E7 finds who walks over the corners of a box (Square), and nobody who compares a few choices."""

import numpy as np
import pytest
from numpy.typing import NDArray

from detectors.evidence import STATISTICS, EvidenceReference
from tests.detectors.crowd import beside, fitted

Rows = NDArray[np.float64]
D, E7 = 8, STATISTICS.index("two_valued")
PAGE = (2, E7)
LN_PAGE, LN_TICKET = float(np.log(1e7)), float(np.log(1e5))


def sizes(n: int, seed: int) -> Rows:
    """Eight numbers that hang together."""
    rng = np.random.default_rng(seed)
    return np.asarray(rng.normal(size=(n, 3)) @ np.random.default_rng(5).normal(size=(3, D)) + 0.3 * rng.normal(size=(n, D)))


def flowers(n: int, seed: int) -> Rows:
    """Four lengths to a tenth, which have few values."""
    rng = np.random.default_rng(seed)
    size = rng.normal(size=(n, 1))
    return np.asarray((np.array([5.8, 3.0, 3.7, 1.2]) + size * [0.7, 0.2, 1.6, 0.7] + 0.3 * rng.normal(size=(n, 4))).round(1))


def counts(n: int, seed: int) -> Rows:
    """Twelve whole numbers; a step of a twentieth of their range moves the last four alone."""
    rng = np.random.default_rng(seed)
    size = rng.normal(size=(n, 1))
    few = rng.poisson(np.exp(0.3 * size + rng.normal(0, 0.2, (n, 8))))
    many = rng.poisson(np.exp(3.4 + 0.5 * size + rng.normal(0, 0.4, (n, 4))))
    return np.asarray(np.hstack([few, many]), np.float64)


@pytest.fixture(scope="module")
def reference() -> EvidenceReference:
    return fitted(sizes(800, 1))


def looked_at(reference: EvidenceReference, ordinary: list[Rows], asked: list[Rows]) -> tuple[set[tuple[int, int]], float]:
    """Severity and statistic of everybody who is raised, and the most evidence of E7 that one of those in question ends with."""
    clients, found = beside(reference, ordinary, asked)
    evidence = clients.log_evidence(len(ordinary) + np.arange(len(asked)))[:, E7]
    return {(severity, which) for _, severity, which in found}, float(evidence.max())


def candidates(row: Rows, amount: Rows, n: int, rng: np.random.Generator, few: float = 0.4) -> list[Rows]:
    """What Square asks: the row, and then each column moved up or down by its own amount, a few the other way each time."""
    side, out = rng.choice([-1.0, 1.0], len(row)), [row]
    for _ in range(n - 1):
        tried = np.where(rng.random(len(row)) < few, -side, side)
        out.append(row + amount * tried)
        side = tried if rng.random() < 0.2 else side
    return out


def corners(n: int, seed: int, columns: int = D) -> Rows:
    """Candidates one or two of whose ``columns`` go the other way each time, without the row in their middle."""
    rng = np.random.default_rng(seed)
    base, amount, side, out = sizes(1, seed)[0], 0.3 * np.abs(sizes(1, seed + 1)[0]) + 0.2, rng.choice([-1.0, 1.0], D), []
    for _ in range(n):
        tried = side.copy()
        tried[rng.integers(0, columns, 1 + (rng.random() < 0.5))] *= -1
        out.append(base + amount * tried)
        side = tried if rng.random() < 0.2 else side
    return np.array(out)


def test_a_walk_over_the_corners_of_a_box_is_paged_within_a_hundred_queries(reference: EvidenceReference) -> None:
    raised, evidence = looked_at(reference, [sizes(100, 500 + k) for k in range(20)], [corners(100, 60)])
    assert PAGE in raised
    assert evidence > LN_PAGE


def test_boxes_around_one_record_after_the_other_are_seen_in_four_columns_of_few_values() -> None:
    known, rng, asked = flowers(300, 1), np.random.default_rng(4), []
    for row in flowers(8, 2):
        sides = rng.choice([-1.0, 1.0], (30, 4))
        asked += [row, *np.clip(row + sides * [0.287, 0.326, 0.802, 0.325], known.min(0), known.max(0))]
    raised, evidence = looked_at(fitted(known), [], [np.array(asked)])
    assert PAGE in raised
    assert evidence > LN_PAGE


def test_one_box_of_four_columns_is_enough_though_it_has_sixteen_corners_only() -> None:
    """Most of its rows come again; where values near its own are usual, its rows look rounded but for the one in the middle."""
    amount = np.array([0.287, 0.326, 0.802, 0.325])
    asked = [np.array(candidates(flowers(1, 20 + seed)[0], amount, 150, np.random.default_rng(seed))) for seed in range(12)]
    found = beside(fitted(flowers(300, 1)), [flowers(60, 100 + k) for k in range(20)], asked)[1]
    assert {who for who, _, _ in found} == set(range(12))
    assert len({who for who, severity, which in found if (severity, which) == PAGE}) >= 11


@pytest.mark.parametrize("seed", range(6))
def test_a_box_begins_with_the_row_in_its_middle_whatever_was_asked_before(seed: int) -> None:
    rng, (before, row) = np.random.default_rng(seed), counts(2, 50 + seed)
    amount = np.repeat([0.2, 2.0], [8, 4])
    asked = np.round([*candidates(before, amount, 3, rng), *candidates(row, amount, 150, rng)])
    assert PAGE in looked_at(fitted(counts(3000, 1)), [counts(60, 100 + k) for k in range(20)], [np.clip(asked, 0, None)])[0]


def test_who_compares_two_choices_in_three_fields_walks_over_no_box(reference: EvidenceReference) -> None:
    people = []
    for seed in range(24):
        rng, asked = np.random.default_rng(seed), []
        for base, other in zip(sizes(12, 30 + seed), sizes(12, 90 + seed), strict=True):
            fields = np.isin(np.arange(D), rng.permutation(D)[:3])
            asked += [np.where(fields & (rng.random(D) < 0.5), other, base) for _ in range(20)]
        people.append(np.array(asked))
    raised, evidence = looked_at(reference, [sizes(100, 500 + k) for k in range(20)], people)
    assert raised == set()
    assert evidence < LN_TICKET


def test_two_columns_that_go_to_and_fro_are_no_box(reference: EvidenceReference) -> None:
    assert looked_at(reference, [sizes(100, 500 + k) for k in range(20)], [corners(300, 61, columns=2)])[1] < LN_TICKET


def test_a_form_filled_field_by_field_is_no_box(reference: EvidenceReference) -> None:
    asked = []
    for k in range(12):
        row, wanted = sizes(1, 70 + k)[0], sizes(1, 90 + k)[0]
        for f in range(D):
            row = row.copy()
            row[f] = wanted[f]
            asked.append(row)
    assert looked_at(reference, [sizes(100, 500 + k) for k in range(20)], [np.array(asked)])[1] < LN_TICKET
