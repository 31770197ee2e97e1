"""Amounts of its own per column, from parent to child, with other signs: Jacobian augmentation, and what only looks like it."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from detectors.evidence import STATISTICS, ClientEvidence, EvidenceReference
from detectors.evidence.constants import MEMORY
from detectors.evidence.stride import stride, width

D = 10
LN_PAGE, LN_TICKET = float(np.log(1e7)), float(np.log(1e5))
MIX = np.random.default_rng(0).normal(size=(3, D))
UNITS = 10.0 ** np.arange(-2, D - 2)
"""Columns whose ranges differ by ten orders of magnitude: no common scale."""
Rows = NDArray[np.float32]


def rows(n: int, seed: int) -> Rows:
    rng = np.random.default_rng(seed)
    X: Rows = ((rng.normal(size=(n, 3)) @ MIX + 0.3 * rng.normal(size=(n, D))) * UNITS).astype(np.float32)
    return X


@pytest.fixture(scope="module")
def reference() -> EvidenceReference:
    return EvidenceReference.fit(rows(1_000, 1), np.empty((1_000, 0), np.float32), None, low=np.full(D, -np.inf), high=np.full(D, np.inf))


def asked(X: Rows, reference: EvidenceReference) -> ClientEvidence:
    clients = ClientEvidence(reference, ln_page=LN_PAGE, ln_ticket=LN_TICKET, capacity=1)
    clients.update(np.zeros(len(X), np.int32), X.astype(np.float32), np.empty((len(X), 0), np.float32), np.zeros(len(X), np.int32))
    return clients


def evidence(clients: ClientEvidence) -> float:
    return float(clients.log_evidence(np.arange(1))[0, STATISTICS.index("stride")])


def augmented(seeds: Rows, amounts: NDArray[np.float64], seed: int) -> Rows:
    """Papernot's augmentation: every row once more, moved by the amounts with the signs of a substitute's gradient there."""
    w = np.random.default_rng(seed).normal(size=(D, D))
    signs = np.sign(np.tanh(seeds / UNITS @ w) @ w.T)
    return (seeds + amounts * signs).astype(np.float32)


def test_augmentation_that_scales_every_column_in_its_own_way_is_found_within_thirty_synthetic_rows(reference: EvidenceReference) -> None:
    seeds = rows(60, 2)
    amounts = UNITS * np.random.default_rng(3).uniform(0.2, 1.5, D)
    found = asked(np.concatenate([seeds, augmented(seeds, amounts, 4)[:30]]), reference)
    assert evidence(found) > LN_PAGE
    assert found.severity(np.arange(1))[0, 0] == 2


def test_ten_columns_that_match_are_enough_after_eight_synthetic_rows(reference: EvidenceReference) -> None:
    """Of twenty-four records and their children: a fifth of three rounds of augmentation, where a table is small."""
    seeds = rows(24, 2)
    children = augmented(seeds, UNITS * np.random.default_rng(3).uniform(0.2, 1.5, D), 4)
    assert evidence(asked(np.concatenate([seeds, children[:8]]), reference)) > LN_PAGE


def test_ordinary_rows_alone_reach_nothing(reference: EvidenceReference) -> None:
    assert evidence(asked(rows(2_000, 5), reference)) < LN_TICKET


def test_a_series_that_moves_evenly_is_no_augmentation(reference: EvidenceReference) -> None:
    there = rows(1, 6) + np.arange(60)[:, None] * 0.1 * UNITS * np.random.default_rng(7).uniform(0.5, 1.5, D)
    assert evidence(asked(np.concatenate([there, there[::-1], there]), reference)) < LN_TICKET


def test_steps_along_one_line_to_and_fro_are_no_augmentation(reference: EvidenceReference) -> None:
    step = 0.5 * UNITS * np.random.default_rng(8).normal(size=D)
    seeds = rows(80, 9)
    assert evidence(asked(np.concatenate([seeds, seeds + step, seeds - step]), reference)) < LN_TICKET


def test_a_step_within_rounding_is_no_step(reference: EvidenceReference) -> None:
    rng = np.random.default_rng(10)
    seeds = rows(80, 11)
    jitter = 0.01 * UNITS * rng.choice([-1, 1], (80, D))
    assert evidence(asked(np.concatenate([seeds, seeds + jitter]), reference)) < LN_TICKET


def test_a_service_of_yes_and_no_columns_is_not_judged_by_strides() -> None:
    X = np.random.default_rng(12).integers(0, 2, (500, 12)).astype(np.float32)
    reference = EvidenceReference.fit(X, np.empty((500, 0), np.float32), None, low=np.zeros(12), high=np.ones(12))
    other = np.random.default_rng(13).integers(0, 2, (800, 12)).astype(np.float32)
    assert evidence(asked(other, reference)) < LN_TICKET


@pytest.mark.parametrize(("turning", "image", "hit"), [(False, True, False), (True, True, True), (False, False, True)])
def test_even_parts_of_photographs_match_together_or_not_at_all_and_are_no_augmentation(turning: bool, image: bool, hit: bool) -> None:
    """Sky over ground by day, and the same by night: every pixel moves by the same amount, up above the skyline and down below it."""
    rng, fields = np.random.default_rng(14), 48
    memory = rng.integers(0, 256, (fields, MEMORY)).astype(np.uint8)
    up = rng.permuted(np.arange(fields) < 24) if turning else np.arange(fields) < 24
    memory[:, 7] = np.where(up, 40, 200)
    x = np.where(up, 200, 40).astype(np.uint8)
    kept = np.full(width(fields), 160, np.uint8)
    kept[fields] = 1
    room = np.zeros((2, MEMORY), np.uint8)
    assert stride(memory.ravel(), MEMORY, MEMORY - 1, 7, kept, x, np.zeros(fields, np.uint8), image, room[0], room[1]) == 2 * hit
