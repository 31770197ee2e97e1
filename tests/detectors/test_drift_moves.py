"""What a page shows of a variable: its quantiles and the cells that moved most are those of the rows."""

from __future__ import annotations

import numpy as np
import pytest

from detectors.drift import DriftDetector, DriftReference, DriftReport, WindowCounts
from detectors.drift.cells import Kind
from detectors.drift.moves import PROBABILITIES, likeness, moves, quantiles

CATEGORIES = {"c": list("uvw")}


def reference_of(rows: int = 20_000) -> DriftReference:
    rng = np.random.default_rng(1)
    X = np.column_stack([rng.normal(size=(rows, 3)), rng.choice(3, rows, p=[0.5, 0.3, 0.2])])
    label = rng.integers(0, 2, rows)
    kinds: list[Kind] = ["numeric", "numeric", "numeric", "categorical"]
    return DriftReference.fit(X, ["x", "y", "z", "c"], kinds, categories=CATEGORIES, classes=["no", "yes"], label=label)


REFERENCE = reference_of()


def test_quantiles_before_and_after_are_the_rows_own_within_a_bin() -> None:
    rng = np.random.default_rng(2)
    counts = WindowCounts(REFERENCE)
    X = np.column_stack([rng.normal(0.5, 1, (20_000, 3)), np.zeros(20_000)])
    counts.update(X)
    whole = REFERENCE.counts / REFERENCE.rows
    found = quantiles(REFERENCE, 0, whole, counts.cells.astype(float))
    assert [q.probability for q in found] == list(PROBABILITIES)
    assert [q.before for q in found] == pytest.approx([-1.645, -0.674, 0, 0.674, 1.645], abs=0.1)
    assert [q.after for q in found] == pytest.approx(np.quantile(X[:, 0], PROBABILITIES).tolist(), abs=0.1)
    assert quantiles(REFERENCE, 3, whole, counts.cells.astype(float)) == ()
    assert quantiles(REFERENCE, 0, whole, np.zeros(REFERENCE.n_cells)) == ()


def test_the_cells_that_moved_most_are_named_with_their_shares() -> None:
    rng = np.random.default_rng(3)
    counts = WindowCounts(REFERENCE)
    counts.update(np.column_stack([rng.normal(size=(10_000, 3)), rng.choice([0, 1, 2, 3], 10_000, p=[0.1, 0.3, 0.2, 0.4])]))
    found = moves(REFERENCE, 3, REFERENCE.counts / REFERENCE.rows, counts.cells.astype(float))
    assert {one.what for one in found[:2]} == {"c = u", "c unseen"}
    by_name = {one.what: (one.before, one.after) for one in found}
    assert by_name["c = u"] == pytest.approx((0.5, 0.1), abs=0.02)
    assert by_name["c unseen"] == pytest.approx((0.0, 0.4), abs=0.02)
    assert moves(REFERENCE, 3, REFERENCE.counts / REFERENCE.rows, REFERENCE.counts.astype(float))[:1] == ()


def paged(change: str) -> DriftReport:
    rng = np.random.default_rng(4)
    detector = DriftDetector(REFERENCE, false_pages=1, windows=8640)
    for t in range(40):
        X = np.column_stack([rng.normal(size=(500, 3)), rng.choice(3, 500, p=[0.5, 0.3, 0.2])])
        label = rng.integers(0, 2, 500)
        if t >= 15:
            X[:, :3] += 1.0 * (change == "population")
            X[:, 0] += 1.0 * (change == "one feature")
            X[:, 1] = np.where(change == "together", X[:, 0], X[:, 1])
            X[:, 2] = np.where((change == "data fault") & (rng.random(500) < 0.3), np.nan, X[:, 2])
            label = np.where(change == "answers", 1, label)
        counts = WindowCounts(REFERENCE)
        counts.update(X, label=label, clients=rng.integers(0, 400, 500))
        report = detector.update(counts)
        if report.opened:
            return report
    raise AssertionError("no page")


@pytest.mark.parametrize("change", ["data fault", "population", "answers", "one feature", "together"])
def test_a_page_says_what_it_looks_like_and_shows_its_first_variables(change: str) -> None:
    report = paged(change)
    assert report.looks_like == change
    first = {one.name: one for one in report.variables}[report.leading[0]]
    assert 1 <= len(first.moves) <= 3
    assert bool(first.quantiles) == (change != "answers")
    quiet = {one.name: one for one in report.variables if one.name not in report.leading}
    assert all(one.quantiles == () == one.moves for one in quiet.values())


def test_likeness_of_a_mixed_page_is_of_what_leads() -> None:
    directions = {"x": "up", "y": "up", "z": "missing", "class": "mix"}
    assert likeness(REFERENCE, ("z", "x", "y"), directions, jointly=False) == "data fault"
    assert likeness(REFERENCE, ("class", "x"), directions, jointly=False) == "one feature"
