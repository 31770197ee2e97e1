"""On-call gets one page a cause of drift: what comes and goes is a ticket that stays, what is new is an alert of its own."""

from __future__ import annotations

from typing import Any

import numpy as np

from detectors.drift import DriftReference, WindowCounts
from detectors.drift.told import QUIET_DAYS
from schemas.alerts import Alert
from streams.alertmanager import labels_of
from streams.owner import NS
from tests.streams.events import START
from tests.streams.judging import PUBLISHED, Feed, alerts, judge
from tests.streams.messages import LENGTH

REFERENCE = DriftReference.from_bytes(PUBLISHED.parts["drift"])
AGE, INCOME, SCORE = np.eye(3)


def counts(window: int, shift: Any) -> bytes:
    rng = np.random.default_rng([5, window])
    X = rng.normal(size=(400, 3)) + shift
    p = 1 / (1 + np.exp(-X[:, 0] + shift[0] - 0.5 * X[:, 1]))  # what is answered stays
    leaf = WindowCounts(REFERENCE)
    leaf.update(X, np.stack([1 - p, p], 1), (p > 0.5).astype(int), clients=rng.integers(1, 2**62, 400))
    return leaf.to_bytes()


def play(feed: Feed, windows: range, shift: Any) -> None:
    for window in windows:
        feed.window(window, counts=counts(window, shift), reference=PUBLISHED.id)


def said(feed: Feed) -> list[tuple[str, str, str]]:
    return [(one.severity, one.state, one.part) for one in alerts(feed.judge) if one.detector == "drift"]


def of(feed: Feed, part: str) -> list[Alert]:
    return [one for one in alerts(feed.judge) if one.detector == "drift" and one.part == part]


def test_what_comes_back_after_its_page_is_over_is_one_ticket_until_it_is_quiet_for_a_week() -> None:
    feed, at = Feed(judge()), 0
    for _ in range(5):
        play(feed, range(at, at + 40), 0 * SCORE)
        play(feed, range(at + 40, at + 55), 1.0 * SCORE)
        at += 55
    told = said(feed)
    assert [one for one in told if one[0] == "page"] == [("page", "firing", ""), ("page", "resolved", "")]
    assert [one for one in told if one[1] == "firing"][-1][0] == "ticket"
    assert len([one for one in told if one[0] == "ticket" and one[1] == "firing"]) <= 2  # one on the way to the page, one since
    assert of(feed, "")[-1].evidence["again"] or of(feed, "")[-1].state == "firing"
    feed.judge.tick(START + at * LENGTH + round((QUIET_DAYS - 0.1) * 86_400 * NS))
    assert said(feed) == told
    feed.judge.tick(START + at * LENGTH + round((QUIET_DAYS + 0.1) * 86_400 * NS))
    assert said(feed)[-1] == ("ticket", "resolved", "")


def test_what_moves_while_another_page_is_open_has_an_alert_of_its_own_that_ends_by_itself() -> None:
    feed = Feed(judge())
    play(feed, range(30), 0 * SCORE)
    play(feed, range(30, 70), 1.0 * SCORE)
    play(feed, range(70, 100), 1.0 * SCORE + 1.0 * INCOME)
    first, second = of(feed, ""), of(feed, "income")
    assert [one.severity for one in first][-1] == "page"
    assert [(one.severity, one.state, one.feature) for one in second] == [("page", "firing", "income")]
    assert second[0].summary.startswith("income")
    assert labels_of(first[-1]) != labels_of(second[0])
    assert first[-1].alert_id != second[0].alert_id
    play(feed, range(100, 150), 1.0 * SCORE)
    assert of(feed, "income")[-1].state == "resolved"
    assert {one.state for one in of(feed, "")} == {"firing"}


def test_a_judge_that_goes_on_from_a_snapshot_says_nothing_twice() -> None:
    feed = Feed(judge())
    play(feed, range(30), 0 * SCORE)
    play(feed, range(30, 60), 1.0 * SCORE)
    again = Feed(judge())
    again.judge.restore(feed.judge.snapshot())
    again._offsets = feed._offsets
    before = len(said(again))
    play(again, range(60, 90), 1.0 * SCORE)
    assert len(said(again)) == before
