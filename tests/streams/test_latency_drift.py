"""Latency that drifts: built into a reference, counted by the shard, judged by the model's owner, told as a ticket of its own."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from detectors.drift import DriftReference, WindowCounts
from schemas import windows
from schemas.reference import Feature, Reference
from streams.alertmanager import labels_of
from streams.build import Rows, build
from streams.page_text import PageText
from streams.references import References
from streams.settings import Settings
from streams.shard import Shard
from tests.streams.events import KEY, NAMES, START, events, settings
from tests.streams.judging import Feed, alerts, judge, rows


def latency(rng: np.random.Generator, n: int, slower: float = 1.0) -> Any:
    return slower * 20.0 * np.exp(0.5 * rng.normal(size=n))


@cache
def published(**changes: Any) -> Reference:
    rng = np.random.default_rng(3)
    X = rng.normal(size=(4_000, 3)).astype(np.float32)
    features = tuple(Feature(name=name, low=-10.0, high=10.0) for name in NAMES)
    return build("m", "1", Rows(**({"features": features, "X": X, "latency_ms": latency(rng, 4_000)} | changes)), built_at_ns=0).reference


def counts(window: int, *, slower: float = 1.0, shift: float = 0.0, n: int = 400) -> bytes:
    rng = np.random.default_rng([5, window])
    leaf = WindowCounts(DriftReference.from_bytes(published().parts["drift"]))
    leaf.update(rng.normal(shift, 1.0, (n, 3)), clients=rng.integers(1, 2**62, n), latency=latency(rng, n, slower))
    return leaf.to_bytes()


def fed(number: int, **how: Any) -> Feed:
    feed = Feed(judge(published()))
    for window in range(number):
        moved = how if window >= 15 else {}
        feed.window(window, counts=counts(window, **moved), reference=published().id)
    return feed


def test_a_reference_of_rows_with_latency_compares_it_and_says_when_it_cannot() -> None:
    assert DriftReference.from_bytes(published().parts["drift"]).variables == (*NAMES, "latency")
    rng = np.random.default_rng(4)
    X = rng.normal(size=(300, 1)).astype(np.float32)
    for name, given in (("latency", np.ones(300)), ("x", np.full(300, np.nan))):
        built = build("m", "1", Rows(features=(Feature(name=name),), X=X, latency_ms=given), built_at_ns=0)
        assert DriftReference.from_bytes(built.reference.parts["drift"]).variables == (name,)
        assert any("latency is not compared" in note for note in built.notes)


def test_a_shard_counts_the_latency_of_what_was_answered() -> None:
    references = References(KEY)
    references.put(published())
    shard = Shard(0, settings(), references)
    given = np.linspace(1, 60, 200).astype(np.float32)
    status = np.zeros(200, np.uint8)
    status[:50] = 1
    shard.take(events(200, latency_ms=given, status=status, scores=None, score_names=()), START)
    shard.finish()
    found = [windows.decode_partial(out.value) for out in shard.outbox if out.to == "windows"]
    reference = DriftReference.from_bytes(published().parts["drift"])
    mine = WindowCounts.from_bytes(found[0].counts, reference).cells[reference.starts[3] :]
    edges = reference.edges[3, : reference.n_edges[3]]
    assert mine.tolist() == np.bincount(np.searchsorted(edges, given[50:], side="left"), minlength=mine.size).tolist()


def test_slow_answers_are_one_ticket_that_says_latency_and_rows_say_it_too() -> None:
    feed = fed(60, slower=3.0)
    told = alerts(feed.judge)
    assert [(one.detector, one.severity, one.feature, one.part) for one in told] == [("drift", "ticket", "latency", "latency")]
    assert told[0].summary.startswith("Latency of m 1 moved up")
    assert ("part", "latency") in labels_of(told[0])
    text = PageText(Settings()).text(told[0])
    assert "Quantiles" in text
    assert "load" in text
    written = [row for row in rows(feed.judge, "feature_windows") if row["feature"] == "latency"]
    assert {row["kind"] for row in written} == {"latency"}
    assert [row["severity"] for row in written[:15]] == [""] * 15
    assert written[-1]["severity"] == "ticket"
    assert sum(written[-1]["cells"]) == 400
    assert {row["drift_severity"] for row in rows(feed.judge, "windows")} == {""}


def test_features_page_beside_it_as_if_it_were_not_there() -> None:
    feed = Feed(judge(published()))
    for window in range(60):
        blob = counts(window, slower=3.0 if window >= 15 else 1.0, shift=1.0 if window >= 30 else 0.0)
        feed.window(window, counts=blob, reference=published().id)
    told = [(one.severity, one.part, one.state) for one in alerts(feed.judge)]
    assert ("ticket", "latency", "firing") in told
    assert ("page", "", "firing") in told
    assert len({dict(labels_of(one)).get("part", "") for one in alerts(feed.judge)}) == 2  # the pager tells them apart


def test_events_without_latency_against_a_reference_with_it_are_a_ticket_too() -> None:
    feed = Feed(judge(published()))
    for window in range(40):
        rng = np.random.default_rng([5, window])
        leaf = WindowCounts(DriftReference.from_bytes(published().parts["drift"]))
        leaf.update(rng.normal(size=(400, 3)), clients=rng.integers(1, 2**62, 400), latency=latency(rng, 400) if window < 15 else None)
        feed.window(window, counts=leaf.to_bytes(), reference=published().id)
    assert [one.severity for one in alerts(feed.judge)] == ["ticket"]
    assert "how often it is missing" in alerts(feed.judge)[0].summary
