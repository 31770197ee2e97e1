"""Feedback by segment: flipped labels of one cell are found and named; a model that is wrong everywhere is not its business."""

from __future__ import annotations

import numpy as np
import pytest

from detectors.drift import DriftReference
from detectors.feedback import BINS, FeedbackMonitor, SegmentCodes
from detectors.state import StateError

FIELDS = ("client", "service", "age", "city")


def reference() -> DriftReference:
    rng = np.random.default_rng(0)
    X = np.column_stack([rng.normal(40, 10, 2_000), rng.integers(0, 3, 2_000), rng.integers(0, 40, 2_000)]).astype(np.float32)
    return DriftReference.fit(
        X, ["age", "city", "code"], ["numeric", "categorical", "categorical"],
        categories={"city": ["Köln", "Porto", "Rome"], "code": [f"k{k}" for k in range(40)]},
    )  # fmt: skip


def labels(rng: np.random.Generator, n: int = 200, flipped: int | None = None, wrong: float = 0.05) -> tuple[np.ndarray, np.ndarray]:
    cells = np.column_stack([rng.integers(0, 16, n), np.full(n, 3), rng.integers(0, 4, n), rng.integers(0, 3, n)]).astype(np.uint8)
    return cells, (rng.random(n) < wrong) ^ ((cells[:, 2] == flipped) if flipped is not None else False)


def monitor() -> FeedbackMonitor:
    return FeedbackMonitor(FIELDS, false_tickets=1, windows=8640)


def test_flipped_labels_of_one_cell_are_found_within_four_windows_and_named() -> None:
    rng, made = np.random.default_rng(1), monitor()
    for _ in range(20):
        assert made.update(*labels(rng)).rate.severity == "none"
    reports = [made.update(*labels(rng, flipped=2)) for _ in range(4)]
    assert (reports[0].rate.severity, reports[-1].rate.severity) == ("none", "ticket")
    assert (reports[-1].field, reports[-1].cell) == ("age", 2)
    assert reports[-1].others < 0.1 < 0.8 < reports[-1].rate.rate


def test_a_model_that_gets_worse_everywhere_is_no_segment() -> None:
    rng, made = np.random.default_rng(2), monitor()
    for window in range(60):
        assert made.update(*labels(rng, wrong=0.05 if window < 20 else 0.4)).rate.severity == "none"


def test_ordinary_labels_of_segments_that_differ_are_quiet() -> None:
    rng, made = np.random.default_rng(3), monitor()
    for _ in range(1_000):
        cells, wrong = labels(rng)
        wrong |= (cells[:, 3] == 1) & (rng.random(len(wrong)) < 0.3)  # a city in which the model was always bad
        assert made.update(cells, wrong).rate.severity == "none"


def test_cells_are_quarters_categories_and_missing_values_and_are_described() -> None:
    codes = SegmentCodes(reference())
    assert codes.fields == ("client", "service", "city", "age")  # `code` has too many categories to be followed
    X = np.array([[20, 0, 5], [37, 1, 5], [43, 2, 5], [60, np.nan, 5], [np.nan, 9, 5]], np.float32)
    cells = codes.of(X, np.array([0, 1 << 60, 15 << 60, 0, 0], np.uint64), 4)
    assert cells[:, 0].tolist() == [0, 1, 15, 0, 0]
    assert cells[:, 1].tolist() == [4] * 5
    assert cells[:, 2].tolist() == [0, 1, 2, 15, 9]
    assert cells[:, 3].tolist() == [0, 1, 2, 3, 15]
    said = [codes.describe(field, cell, {4: "shop"}) for field, cell in
            (("client", 0), ("service", 4), ("service", 5), ("city", 1), ("city", 9), ("age", 15))]  # fmt: skip
    assert said == [
        "group 1 of 16 of clients",
        "service shop",
        "service group 6",
        "city = Porto",
        "city of an unseen category",
        "age missing",
    ]
    assert codes.describe("age", 0, {}).startswith("age up to 3")
    assert codes.describe("age", 3, {}).endswith("to inf")
    assert SegmentCodes(reference(), ["age"]).fields == ("client", "service", "age")


def test_state_survives_bit_for_bit_and_damage_is_refused() -> None:
    rng, made = np.random.default_rng(4), monitor()
    for window in range(25):
        made.update(*labels(rng, flipped=1 if window > 20 else None))
    again = FeedbackMonitor.restored(made.snapshot(), false_tickets=1, windows=8640)
    cells, wrong = labels(rng, flipped=1)
    assert made.update(cells, wrong) == again.update(cells, wrong)
    assert made.snapshot() == again.snapshot()
    assert cells.max() < BINS
    with pytest.raises(StateError):
        FeedbackMonitor.restored(made.snapshot()[:-4], false_tickets=1, windows=8640)
