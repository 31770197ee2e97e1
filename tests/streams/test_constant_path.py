"""A column at one value is one page, whichever of drift and input quality sees it first, and the page names the column and the value."""

from __future__ import annotations

import numpy as np
import pytest

from detectors.drift import DriftReference, WindowCounts
from schemas.alerts import Alert
from tests.streams.judging import PUBLISHED, Feed, alerts, judge

REFERENCE = DriftReference.from_bytes(PUBLISHED.parts["drift"])


def window(feed: Feed, number: int, *, stuck: float = 0.0, moved: float = 0.0) -> None:
    """A window in which `age` is 0.25 in the last part of the events, and `income` moved."""
    rng = np.random.default_rng([7, number])
    X = rng.normal(size=(400, 3))
    X[round(400 * (1 - stuck)) :, 0] = 0.25
    X[:, 1] += moved
    p = 1 / (1 + np.exp(-X[:, 0] - 0.5 * X[:, 1]))
    leaf = WindowCounts(REFERENCE)
    leaf.update(X, np.stack([1 - p, p], 1), (p > 0.5).astype(int), clients=rng.integers(1, 2**62, 400))
    feed.window(number, counts=leaf.to_bytes(), reference=PUBLISHED.id)


def pages(feed: Feed) -> list[Alert]:
    return [one for one in alerts(feed.judge) if one.severity == "page" and one.state == "firing"]


def of_constant(feed: Feed) -> list[Alert]:
    return [one for one in alerts(feed.judge) if one.detector == "quality" and one.part == "constant"]


def play(*stuck: float, moved: float = 0.0) -> Feed:
    feed = Feed(judge())
    for k, share in enumerate([0.0] * 30 + list(stuck)):
        window(feed, k, stuck=share, moved=moved if share else 0.0)
    return feed


def test_it_pages_as_a_fault_of_the_data_that_names_column_and_value_and_drift_does_not_page_too() -> None:
    feed = play(*[1.0] * 20, *[0.0] * 30)
    assert [(one.detector, one.part, one.feature) for one in pages(feed)] == [("quality", "constant", "age")]
    assert pages(feed)[0].summary.startswith("age of m 1 is constant: 0.25 in all of 400 events")
    drift = [one for one in alerts(feed.judge) if one.detector == "drift"]
    assert {one.severity for one in drift} == {"ticket"}
    assert drift[0].evidence["looks_like"] == "data fault"
    assert drift[0].evidence["stuck"] == {"age": "0.25"}
    assert of_constant(feed)[-1].state == "resolved"


@pytest.mark.parametrize("first", [0.3, 0.6, 0.9])
def test_where_it_begins_in_the_middle_of_a_window_drift_pages_and_the_column_at_one_value_is_a_ticket(first: float) -> None:
    feed = play(first, *[1.0] * 20)
    assert [one.detector for one in pages(feed)] == ["drift"]
    assert [(one.severity, one.feature, one.evidence["stuck"]) for one in of_constant(feed)] == [("ticket", "age", {"age": "0.25"})]


def test_another_feature_that_moves_with_it_is_a_cause_of_its_own() -> None:
    feed = play(*[1.0] * 10, moved=1.5)
    assert sorted(one.detector for one in pages(feed)) == ["drift", "quality"]
    drift = next(one for one in pages(feed) if one.detector == "drift")
    assert "income" in [variable["name"] for variable in drift.evidence["variables"]]


def test_a_judge_that_goes_on_from_a_snapshot_says_nothing_twice() -> None:
    feed = play(*[1.0] * 5)
    again = Feed(judge())
    again.judge.restore(feed.judge.snapshot())
    again._offsets = feed._offsets
    before = len(alerts(again.judge))
    for k in range(35, 50):
        window(again, k, stuck=1.0)
    assert len(alerts(again.judge)) == before
