"""Accuracy from delayed labels: quiet where nothing is wrong, soon where something is; the estimate without labels says what it may."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from bench.accuracy import counts_of, coverage, delay, quiet, world
from detectors.accuracy import BINS, DELAYS, AccuracyCounts, AccuracyDetector, AccuracyReference, began, bins_of
from detectors.accuracy.reference import MIN_ROWS
from detectors.state import StateError


def test_a_quiet_fortnight_opens_nothing() -> None:
    pages, tickets, concepts = quiet(np.random.default_rng(5), 1, 100, "iid", 0.005)
    assert (pages, tickets, concepts) == (0, 0, 0)


def test_labels_that_come_ten_times_each_page_no_sooner_than_fresh_ones() -> None:
    pages, tickets, _ = quiet(np.random.default_rng(5), 1, 100, "repeats", 0.005)
    assert pages == 0
    assert tickets <= 2


@pytest.mark.parametrize(("rate", "most"), [(0.15, 4_000), (0.2, 900), (0.3, 400)])
def test_a_rise_of_the_errors_is_paged(rate: float, most: int) -> None:
    found = [delay(np.random.default_rng(k), rate, 100_000, 50, 0.005) for k in range(8)]
    assert max(found) <= most


def test_the_interval_holds_what_labels_say_also_when_the_inputs_move_and_not_when_the_truth_does() -> None:
    held, bias, tickets = coverage(np.random.default_rng(1), 15, 1.0, 0.0)
    assert held >= 0.9
    assert abs(bias) < 0.006
    assert tickets == 0
    held, bias, tickets = coverage(np.random.default_rng(1), 5, 0.0, np.pi / 6)
    assert held < 0.1
    assert bias > 0.04
    assert tickets == 1


def test_a_model_that_became_better_than_it_promises_disagrees_too_and_is_no_loss_of_accuracy() -> None:
    rng = np.random.default_rng(2)
    watch = AccuracyDetector(AccuracyReference.fit(*world(rng, 5_000)), false_pages=0.1, windows=8640)
    for _ in range(10):
        scores, _ = world(rng, 1_000)
        report = watch.update(counts_of(scores, scores.argmax(1)))
    assert (report.severity, report.concept, report.direction) == ("none", "ticket", "better")


def test_early_labels_of_another_kind_speak_for_their_own_delay() -> None:
    watch = AccuracyDetector(AccuracyReference.fit(*world(np.random.default_rng(0), 5_000)), false_pages=0.1, windows=8640)
    counts = AccuracyCounts()
    counts.n[:], counts.errors[:] = [40, 0, 400, 0, 0], [40, 0, 40, 0, 0]
    for _ in range(3):
        report = watch.update(counts)
    assert (report.severity, report.delay) == ("page", DELAYS[0])


def test_one_burst_opens_no_page_and_tickets_stay_tickets_while_uncalibrated() -> None:
    reference = AccuracyReference.fit(*world(np.random.default_rng(0), 5_000))
    burst = AccuracyCounts()
    burst.n[2] = burst.errors[2] = 10_000
    one = AccuracyDetector(reference, false_pages=0.1, windows=8640)
    assert [one.update(burst).severity for _ in range(2)] == ["ticket", "page"]
    held = AccuracyDetector(reference, false_pages=0.1, windows=8640, may_page=False)
    assert {held.update(burst).severity for _ in range(20)} == {"ticket"}


def test_a_window_without_labels_changes_nothing() -> None:
    watch = AccuracyDetector(AccuracyReference.fit(*world(np.random.default_rng(0), 5_000)), false_pages=0.1, windows=8640)
    before = watch.snapshot()
    assert watch.update(AccuracyCounts()).labels == 0
    assert watch.snapshot() == before


# -- the reference ------------------------------------------------------------------------------------------------------------------------


@hypothesis_settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 2**32 - 1), rows=st.integers(MIN_ROWS, 5_000))
def test_errors_by_confidence_fall_and_are_rates(seed: int, rows: int) -> None:
    rng = np.random.default_rng(seed)
    n = rng.multinomial(rows, rng.dirichlet(np.full(BINS, 0.2)))
    reference = AccuracyReference(n, rng.binomial(n, rng.random(BINS)))
    assert (np.diff(reference.by_bin) <= 1e-12).all()
    assert ((reference.by_bin > 0) & (reference.by_bin < 1)).all()
    assert reference.rate <= reference.highest_rate <= 1
    estimate = reference.estimate(n)
    assert estimate is not None
    assert 0 <= estimate.low <= estimate.accuracy <= estimate.high <= 1
    again = AccuracyReference.from_bytes(reference.to_bytes())
    assert again.to_bytes() == reference.to_bytes()
    assert again.by_bin.tolist() == reference.by_bin.tolist()


def test_the_reference_forgets_rows_without_a_class_or_with_scores_that_are_none() -> None:
    rng = np.random.default_rng(0)
    scores, y = world(rng, 1_000)
    scores[:100] = np.nan
    y[100:200] = -1
    assert AccuracyReference.fit(scores, y).rows == 800


def test_margins_are_no_confidence_but_count_for_the_error_rate() -> None:
    scores, y = world(np.random.default_rng(0), 1_000)
    reference = AccuracyReference.fit(np.log(scores) * -3 + 2, y)
    assert reference.rows == 1_000
    assert reference.n.sum() < 1_000


@pytest.mark.parametrize("rows", [0, 1, MIN_ROWS - 1])
def test_too_few_rows_make_no_reference(rows: int) -> None:
    with pytest.raises(ValueError, match="at least 200"):
        AccuracyReference.fit(*world(np.random.default_rng(0), rows))


def test_damaged_references_are_refused() -> None:
    blob = AccuracyReference(np.full(BINS, 50), np.full(BINS, 9)).to_bytes()
    with pytest.raises(StateError):
        AccuracyReference.from_bytes(blob[:-3])
    with pytest.raises(StateError, match=r"expected accuracy\.reference"):
        AccuracyReference.from_bytes(AccuracyCounts().to_bytes())
    wrong = AccuracyReference(np.full(BINS, 50), np.full(BINS, 9))
    wrong.errors = wrong.n + 1
    with pytest.raises(StateError):
        AccuracyReference.from_bytes(wrong.to_bytes())


def test_confidences_outside_of_their_range_are_in_no_bin() -> None:
    assert bins_of(np.array([-0.1, 0.0, 0.999, 1.0, 1.1, np.nan, np.inf])).tolist() == [-1, 0, 31, 31, -1, -1, -1]


# -- when it began ------------------------------------------------------------------------------------------------------------------------


def test_the_beginning_is_located_within_some_windows() -> None:
    off = []
    for seed in range(10):
        rng = np.random.default_rng(seed)
        windows = [(k, 50, int(rng.binomial(50, 0.1 if k < 100 else 0.3))) for k in range(120)]
        found = began(windows)
        assert found is not None
        off.append(abs(found - 100))
    assert np.median(off) <= 1
    assert max(off) <= 6


@pytest.mark.parametrize("windows", [[], [(0, 0, 0)], [(0, 1, 1)], [(k, 30, 3) for k in range(50)], [(k, 10**6, 10**5) for k in range(9)],
                                     [(k, 50, 15 if k < 60 else 5) for k in range(120)]])  # fmt: skip
def test_where_nothing_rose_nothing_is_located(windows: list[tuple[int, int, int]]) -> None:
    assert began(windows) is None
