"""A client that floods: a ticket of its own beside what it was given, over the real path, across restarts."""

from __future__ import annotations

import msgspec
import numpy as np

from inferwatch import EventColumns, Strings
from schemas.windows import Finding
from streams.references import References
from streams.shard import Shard
from tests.streams.events import KEY, events, record, reference, settings
from tests.streams.judging import Feed, alerts, judge

PUBLISHED = reference()


def shard() -> Shard:
    references = References(KEY)
    references.put(PUBLISHED)
    return Shard(0, settings(swarm={"rows_per_slice": 0}), references)


def window(number: int, flood: int = 0) -> EventColumns:
    """Ten clients ask ten times each in five minutes; one of them so many times more."""
    n = 100 + flood
    clients = [f"c{k % 10}" for k in range(100)] + ["c3"] * flood
    order = np.random.default_rng(number).permutation(n)
    asked = Strings.of([clients[k] for k in order.tolist()])
    return events(n, seed=number, number=1_000 * number, start_s=300.0 * number, rate=n / 299, client=asked)


def floods(of: Shard) -> list[Finding]:
    sent = [msgspec.msgpack.decode(out.value, type=Finding) for out in of.outbox if out.to == "findings" and not out.headers]
    return [one for one in sent if one.statistic == "rate"]


def test_a_flood_is_told_by_the_shard_raised_by_the_judge_and_renewed_while_it_lasts() -> None:
    made = shard()
    for number in range(20):
        made.apply(record(window(number, 500 if number >= 15 else 0), number))
        again = shard()
        again.restore(made.snapshot())
        assert again.snapshot() == made.snapshot()
        made = again
    made.finish()
    found = floods(made)
    assert [(one.client, one.family, one.severity, one.renewed) for one in found] == [
        ("c3", "cost", "ticket", k > 0) for k in range(4)
    ]  # from the second window of the flood on
    feed = Feed(judge())
    feed.give(*found)
    (alert,) = alerts(feed.judge)
    assert (alert.detector, alert.severity, alert.client) == ("cost", "ticket", "c3")
    assert alert.summary.startswith("Client c3 asks m 1 far more than it did: 510 requests in a window (usually 10.0)")
    assert alert.evidence["statistic"] == "rate"


def test_a_flood_and_what_the_client_was_given_are_two_alerts() -> None:
    made = shard()
    for number in range(18):
        made.apply(record(window(number, 500 if number >= 15 else 0), number))
    made.finish()
    flood = floods(made)[0]
    given = msgspec.structs.replace(flood, statistic="exposure", evidence={"statistic": "exposure", "distinct_answers": 9})
    feed = Feed(judge())
    feed.give(msgspec.structs.replace(flood, sequence=1), msgspec.structs.replace(given, sequence=2))
    assert len({one.alert_id for one in alerts(feed.judge)}) == 2


def test_a_state_of_a_release_without_rates_is_taken() -> None:
    made = shard()
    made.apply(record(window(0), 0))
    model = made.models["m", "1"].watch
    rows = next(model.all_rows())
    rows["columns"] = {name: column for name, column in rows["columns"].items() if not name.startswith("rate.")}
    fresh = shard()
    fresh.apply(record(window(0), 0))
    assert len(fresh.models["m", "1"].watch.load_rows(rows)) == 10
