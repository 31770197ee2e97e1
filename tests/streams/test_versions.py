"""Versions of a model at its judge: a new one is compared with the one before it, and a redeploy of the same says nothing."""

from __future__ import annotations

from typing import Any

import numpy as np

from schemas import latency
from schemas.windows import WindowPartial
from streams.judge import Judge
from streams.owner import NS
from streams.settings import Settings
from streams.versions import VersionBook
from tests.streams.events import START
from tests.streams.judging import Feed, alerts, judge
from tests.streams.messages import LENGTH, partial


def share(rng: np.random.Generator, version: str, number: int, yes: float = 0.3, **more: Any) -> WindowPartial:
    n = 400
    hits = int(rng.binomial(n, yes))
    bins = latency.counts_of(rng.gamma(4, 2.5, n)).tobytes()
    return partial(window=number, n=n, version=version, classes={"no": n - hits, "yes": hits}, latency=bins, **more)


def course(made: Judge, *, after: float, together: int = 0, restart: bool = False) -> Judge:
    """Twenty windows of version 1, then twelve of version 2; of so many of them version 1 is asked, too."""
    rng, feed, sequence = np.random.default_rng(0), Feed(made), 0
    for number in range(32):
        shares = [share(rng, "1", number)] if number < 20 + together else []
        shares += [share(rng, "2", number, after)] if number >= 20 else []
        for one in shares:
            one.sequence = sequence
            sequence += 1
            feed.give(one)
        feed.judge.tick(START + (number + 1) * LENGTH + 11 * NS)
        if restart:
            state = feed.judge.snapshot()
            feed.judge = judge(None)
            feed.judge.restore(state)
            assert feed.judge.snapshot() == state
    return feed.judge


def test_a_version_that_answers_otherwise_is_one_ticket_that_says_what_moved() -> None:
    for together, restart in ((0, False), (6, False), (0, True)):
        (alert,) = alerts(course(judge(None), after=0.6, together=together, restart=restart))
        assert (alert.detector, alert.severity, alert.version, alert.evidence["before"]) == ("version", "ticket", "2", "1")
        assert set(alert.evidence["moved"]) == {"class no", "class yes"}
        assert alert.summary.startswith("Version 2 of m answers otherwise than version 1 before it: class ")


def test_a_redeploy_of_the_same_says_nothing() -> None:
    assert alerts(course(judge(None), after=0.3)) == []
    assert alerts(course(judge(None), after=0.3, together=12)) == []


def test_confidence_of_two_partitions_adds_up() -> None:
    feed = Feed(judge(None))
    rng = np.random.default_rng(1)
    tenths = [0] * 9 + [400]
    for number in range(40):
        moved = tenths[::-1] if number >= 20 else tenths
        for k in range(2):
            one = share(rng, "2" if number >= 20 else "1", number, partition=k, confidence=moved)
            one.sequence = number
            feed.give(one)
        feed.judge.tick(START + (number + 1) * LENGTH + 11 * NS)
    (alert,) = alerts(feed.judge)
    assert set(alert.evidence["moved"]) == {"confidence 0.0 to 0.1", "confidence 0.9 to 1.0"}


def test_of_many_versions_and_classes_a_few_are_remembered() -> None:
    book, rng = VersionBook(Settings()), np.random.default_rng(2)
    for k in range(30):
        one = share(rng, f"{k}", k)
        one.classes = {f"class {k} {j}": 10 for j in range(10)}
        book.window(f"{k}", one)
    assert len(book.dump()["profiles"]) == 8
    assert len(book.classes) == 31
