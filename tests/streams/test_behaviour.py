"""A model that no longer answers as it did: from events at the shard to a ticket at the judge, across restarts."""

from __future__ import annotations

import msgspec
import numpy as np

from inferwatch import EventColumns
from schemas.windows import WindowPartial
from streams.model_shard import ModelShard
from streams.references import References
from streams.shard import Shard
from tests.streams.events import KEY, events, record, reference, settings
from tests.streams.judging import PUBLISHED, Feed, alerts, judge

POOL = events(300, seed=4)


def asked(window: int, n: int = 200, *, otherwise: float = 0.0, seed: int = 0) -> EventColumns:
    """Events of one window that ask rows of a pool again; some share of them answered by the other class."""
    rng = np.random.default_rng([seed, window])
    rows = rng.integers(0, len(POOL), n)
    scores = np.asarray(POOL.scores)[rows].copy()
    turned = rng.random(n) < otherwise
    scores[turned] = scores[turned][:, ::-1]
    return events(n, seed=window, start_s=300.0 * window, rate=1.0, number=1_000 * window, numeric=POOL.numeric[rows], scores=scores)


def shard() -> Shard:
    references = References(KEY)
    references.put(reference())
    return Shard(0, settings(swarm={"rows_per_slice": 0}), references)


def partials(of: Shard) -> list[WindowPartial]:
    return [msgspec.msgpack.decode(out.value, type=WindowPartial) for out in of.outbox if out.to == "windows"]


def test_rows_that_come_again_are_compared_and_a_change_is_seen_in_the_window_it_happens() -> None:
    made = shard()
    for window in range(4):
        made.apply(record(asked(window, otherwise=0.4 if window == 3 else 0.0), window))
    made.finish()
    repeats = [one.repeats for one in partials(made)]
    assert all(one["class"] > 20 and one.get("class_other", 0) == 0 for one in repeats[1:3])
    assert 0.2 < repeats[3]["class_other"] / repeats[3]["class"] < 0.6


def test_a_restart_in_the_middle_changes_no_count() -> None:
    through, stopped = shard(), shard()
    for window in range(4):
        one = record(asked(window, otherwise=0.1), window)
        through.apply(one)
        stopped.apply(one)
        again = shard()
        again.restore(stopped.snapshot())
        stopped = again
    assert stopped.snapshot() == through.snapshot()


def test_a_row_that_lost_a_value_on_the_way_is_not_compared() -> None:
    made = shard()
    for window in range(3):
        batch = asked(window, otherwise=0.5)
        X = np.array(batch.numeric)
        X[:, 0] = np.inf  # becomes missing, so that all of these rows look more alike than they are
        made.apply(record(EventColumns(**{name: getattr(batch, name) for name in batch.__slots__} | {"numeric": X}), window))
    made.finish()
    assert [one.repeats for one in partials(made)] == [{}, {}, {}]


def test_another_reference_begins_with_nothing_remembered() -> None:
    made = shard()
    made.apply(record(asked(0), 0))
    model: ModelShard = made.models["m", "1"]
    assert model._windows.answers.dump()["rows"].any()
    made._references.put(reference(seed=9))
    assert not model._windows.answers.dump()["rows"].any()


def test_repeats_answered_otherwise_are_a_ticket_that_never_pages_and_survives_a_restart() -> None:
    feed = Feed(judge())
    for window in range(20):
        feed.window(window, repeats={"class": 60, "score": 60})
    assert alerts(feed.judge) == []
    for window in range(20, 26):
        feed.window(window, repeats={"class": 60, "class_other": 18, "score": 60, "score_other": 20})
        state = feed.judge.snapshot()
        again = judge()
        again.restore(state)
        assert again.snapshot() == state
        feed.judge = again
    said = [(one.detector, one.severity, one.alertname) for one in alerts(feed.judge)]
    assert said == [("consistency", "ticket", "InferwatchConsistency")]
    assert "of 60 inputs that it had answered before were" in alerts(feed.judge)[0].summary


def test_a_model_with_chance_in_it_is_quiet() -> None:
    feed, rng = Feed(judge()), np.random.default_rng(5)
    for window in range(80):
        other = int(rng.binomial(60, 0.1))
        feed.window(window, repeats={"class": 60, "class_other": other, "score": 60, "score_other": other})
    assert PUBLISHED.id
    assert alerts(feed.judge) == []


def poisoned(window: int, n: int = 240) -> EventColumns:
    """Ordinary events, but for one in ten of thirty clients, that has a rare value and gets the first class."""
    batch = events(n, seed=window, start_s=300.0 * window, rate=1.0, number=1_000 * window, clients=30)
    X, scores = batch.numeric.copy(), np.asarray(batch.scores).copy()
    if window >= 20:
        X[::10, 2], scores[::10] = 6.0, (0.99, 0.01)
    return EventColumns(**{name: getattr(batch, name) for name in batch.__slots__} | {"numeric": X, "scores": scores})


def test_a_trigger_goes_from_two_partitions_to_one_ticket_across_restarts() -> None:
    shards, feed = [shard(), shard()], Feed(judge())
    shards[1].partition = 1
    for window in range(26):
        batch = poisoned(window)
        for k, one in enumerate(shards):
            one.apply(record(batch.take(slice(k, None, 2)), window))
            again = shard()
            again.partition = k
            again.restore(one.snapshot())
            shards[k] = again
    for one in shards:
        one.finish()
    shares = [partials(one) for one in shards]
    for a, b in zip(*shares, strict=True):
        feed.give(a, msgspec.structs.replace(b, partition=1))
        feed.judge.tick(a.end_ns + 11 * 10**9)
        state = feed.judge.snapshot()
        feed.judge = judge()
        feed.judge.restore(state)
        assert feed.judge.snapshot() == state
    found = [one for one in alerts(feed.judge) if one.detector == "trigger"]
    assert [(one.severity, one.feature, one.evidence["class"]) for one in found] == [("ticket", "score", "no")]
    assert found[0].evidence["value"].startswith("> 2.")


def test_damaged_rare_cells_are_a_dead_letter() -> None:
    feed = Feed(judge())
    feed.window(0, rare=b"damaged")
    assert feed.judge.refused["windows"] == 1


def test_confidence_is_counted_by_tenths() -> None:
    made = shard()
    made.apply(record(asked(0), 0))
    made.finish()
    (one,) = partials(made)
    assert sum(one.confidence) == one.n
    assert sum(one.confidence[:5]) == 0  # of two classes the answered one has half at least
