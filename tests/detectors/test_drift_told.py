"""One cause is one page, however often it comes and goes; what is new, or much larger, is a page of its own."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import numpy as np

from detectors.drift import DriftDetector, DriftReference, WindowCounts
from detectors.drift.report import DriftReport
from detectors.drift.told import ONSET, QUIET_DAYS

NAMES = ["a", "b", "c", "d"]
WINDOWS = 720
"""Of an hour, in 30 days."""
DAY, WEEK = 24, round(QUIET_DAYS * 24)


class Moved(NamedTuple):
    """What an hour's traffic is like: shift of each feature in sd, and the correlation of the last two."""

    a: float = 0.0
    b: float = 0.0
    c: float = 0.0
    together: float = 0.0


@cache
def fitted() -> DriftReference:
    return DriftReference.fit(np.random.default_rng(1).normal(size=(20_000, 4)), NAMES, ["numeric"] * 4)


def detector() -> DriftDetector:
    return DriftDetector(fitted(), false_pages=0.35, windows=WINDOWS, materiality=0.0)


def judged(hours: int, how: Callable[[int], Moved], *, on: DriftDetector | None = None, first: int = 0) -> list[DriftReport]:
    on = on or detector()
    reports = []
    for hour in range(first, first + hours):
        rng, moved = np.random.default_rng([2, hour]), how(hour)
        X = rng.normal(size=(300, 4))
        X[:, 3] = moved.together * X[:, 2] + np.sqrt(1 - moved.together**2) * X[:, 3]
        counts = WindowCounts(fitted())
        counts.update(X + np.array([moved.a, moved.b, moved.c, 0.0]), clients=rng.integers(0, 2**62, 300))
        reports.append(on.update(counts))
    return reports


def pages(reports: list[DriftReport]) -> list[tuple[int, str]]:
    return [(hour, report.leading[0]) for hour, report in enumerate(reports) if report.opened]


def at_noon(size: float, begin: int = DAY) -> Callable[[int], Moved]:
    """Some hours of every day."""
    return lambda hour: Moved(a=size if hour >= begin and 9 <= hour % DAY < 14 else 0.0)


def test_a_cause_of_some_hours_of_each_day_is_one_page_and_tickets() -> None:
    reports = judged(12 * DAY, at_noon(0.5))
    assert [name for _, name in pages(reports)] == ["a"]
    later = reports[2 * DAY :]
    assert {report.severity for report in later} == {"none", "ticket"}  # the episode ended each night
    assert all(report.again for report in later if report.severity == "ticket")
    assert sum(report.again for report in later) > 10


def test_after_a_week_without_it_it_is_news() -> None:
    def how(hour: int) -> Moved:
        return at_noon(0.5)(hour) if hour < 3 * DAY or hour >= 2 * DAY + WEEK + 2 * DAY else Moved()

    assert [name for _, name in pages(judged(14 * DAY, how))] == ["a", "a"]
    assert [name for _, name in pages(judged(8 * DAY, lambda hour: how(hour) if hour < 3 * DAY or hour > 6 * DAY else Moved()))] == ["a"]


def test_another_feature_pages_while_the_first_stays_moved_and_is_named_first() -> None:
    reports = judged(6 * DAY, lambda hour: Moved(a=1.0 if hour >= 20 else 0.0, b=0.5 if hour >= 3 * DAY else 0.0))
    told = pages(reports)
    assert [name for _, name in told] == ["a", "b"]
    assert 3 * DAY <= told[1][0] <= 3 * DAY + 6
    assert reports[told[1][0]].since >= 3 * DAY - 4
    assert {report.severity for report in reports[25:]} == {"page"}


def test_a_pair_pages_beside_a_feature_and_a_feature_beside_a_pair() -> None:
    told = pages(judged(5 * DAY, lambda hour: Moved(a=1.0 if hour >= 20 else 0.0, together=0.8 if hour >= 3 * DAY else 0.0)))
    assert [name for _, name in told] == ["a", "c"]
    told = pages(judged(5 * DAY, lambda hour: Moved(a=1.0 if hour >= 3 * DAY else 0.0, together=0.8 if hour >= 20 else 0.0)))
    assert [name in ("a", "c") for _, name in told] == [True, True]
    assert [name for _, name in told][1] == "a"


def test_another_feature_pages_when_the_first_comes_and_goes() -> None:
    def how(hour: int) -> Moved:
        return at_noon(0.5)(hour)._replace(b=0.5 if hour >= 6 * DAY else 0.0)

    assert [name for _, name in pages(judged(9 * DAY, how))] == ["a", "b"]


def test_what_moves_at_once_is_one_page_though_some_of_it_shows_later() -> None:
    reports = judged(4 * DAY, lambda hour: Moved(a=1.0, b=0.3, c=0.25) if hour >= 20 else Moved())
    assert len(pages(reports)) == 1
    assert set(reports[20 + ONSET + 10].leading) >= {"a", "b", "c"}


def test_much_more_of_it_pages_again_and_a_little_more_does_not() -> None:
    def grown(size: float) -> list[tuple[int, str]]:
        return pages(judged(6 * DAY, lambda hour: at_noon(0.5 if hour < 4 * DAY else size)(hour)))

    more, little = grown(2.5), grown(0.7)
    assert [name for _, name in more] == ["a", "a"]
    assert more[1][0] // DAY == 4
    assert [name for _, name in little] == ["a"]


def test_a_ramp_is_one_page() -> None:
    assert len(pages(judged(10 * DAY, lambda hour: Moved(a=max(hour - 30, 0) / 40)))) == 1


def test_a_snapshot_goes_on_with_what_was_told() -> None:
    one, other = detector(), detector()
    judged(3 * DAY, at_noon(0.5), on=one)
    other.restore(one.snapshot())
    assert judged(4 * DAY, at_noon(0.5), on=one, first=3 * DAY) == judged(4 * DAY, at_noon(0.5), on=other, first=3 * DAY)
    assert not pages(judged(DAY, at_noon(0.5), on=other, first=7 * DAY))
