"""From faulty events to the pager: a service's fault pages, a client's does not, and an episode pages once whatever pauses."""

from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import pytest

from detectors.groups import GROUPS
from detectors.quality import KINDS, QualityCounts
from inferwatch import EventColumns, Heartbeat
from schemas.alerts import Alert
from schemas.windows import Producer
from streams.judge import Judge
from streams.references import References
from streams.settings import Budget
from streams.shard import Shard
from tests.streams.events import KEY, NAMES, NS, START, events, record, reference, settings
from tests.streams.judging import BEAT, Feed, alerts, judge
from tests.streams.messages import LENGTH

WINDOW = {"length_s": 60.0}


def told(
    spoil: Callable[[EventColumns, list[str]], None], windows: int = 30, first: int = 20, detector: str = "quality", **more: Any
) -> list[Alert]:
    """Alerts when the events of 40 clients are spoilt from a window on; `spoil` gets a window's, and their clients."""
    set_, references = settings(window=WINDOW), References(KEY)
    references.put(reference())
    shard, owner = Shard(0, set_, references), Feed(Judge(0, set_, references))
    for k in range(windows):
        batch = events(300, seed=k, start_s=60.0 * k, clients=40, number=300 * k, **more)
        if k >= first:
            spoil(batch, [str(batch.client[i]) for i in range(300)])
        shard.apply(record(batch, k))
    shard.finish()
    for out in shard.outbox:
        if out.to == "windows":
            owner.raw("windows", out.value)
    owner.judge.tick(START + 60 * (windows + 10) * NS)
    return [alert for alert in alerts(owner.judge) if alert.detector == detector]


def paged(broken: range) -> list[str]:
    """What is said of quality when these of 40 clients leave out a feature from window 20 on."""

    def spoil(batch: EventColumns, names: list[str]) -> None:
        batch.numeric[np.isin(names, [f"c{c}" for c in broken]), 1] = np.nan

    return [alert.severity for alert in told(spoil)]


def test_a_fault_of_the_service_pages() -> None:
    assert paged(range(40))[-1] == "page"


def test_a_feature_that_never_came_is_named_though_it_is_no_change_of_the_services() -> None:
    """Against its own past nothing happened; the reference has the feature, so drift says that it is missing."""

    def spoil(batch: EventColumns, _: list[str]) -> None:
        batch.numeric[:, 1] = np.nan

    assert told(spoil, first=0) == []
    last = told(spoil, first=0, detector="drift")[-1]
    assert last.severity == "page"
    assert last.feature == NAMES[1]
    assert "missing" in last.summary


@pytest.mark.parametrize("broken", [range(1), range(2)])
def test_a_fault_of_a_client_or_two_does_not(broken: range) -> None:
    assert paged(broken) == []


def late_ones(clients: int) -> list[Alert]:
    """Alerts on quality when from window 20 on every third event of 40 clients, or of the first few, comes three windows after its time."""

    def spoil(batch: EventColumns, names: list[str]) -> None:
        mine = np.isin(names, [f"c{c}" for c in range(clients)]) & (np.arange(300) % 3 == 0)
        batch.at_ns[mine] -= 180 * NS

    return told(spoil, rate=5.0)


def test_events_that_come_late_from_everywhere_page_those_of_one_client_do_not() -> None:
    said = late_ones(40)
    assert said[-1].severity == "page"
    assert "late (their window was closed" in said[-1].summary
    assert late_ones(1) == []


def test_a_gap_in_the_running_numbers_that_stays_pages() -> None:
    feed, n = Feed(judge()), 0
    for k in range(45):
        n += 4_096
        kept = round(1_024 * (0.7 if k >= 20 else 1.0))
        blocks = {b: kept if b >= 80 else 1_024 for b in range(max(n // 1_024 - 32, 0), n // 1_024)}
        producer = Producer(service="s", received=n, highest=n - 1, lowest=0, last_at_ns=START + k * LENGTH, blocks=blocks)
        beat = Heartbeat(service="s", instance="i", model="m", version="1", accepted=n, sent=n)
        feed.raw("lifecycle", msgspec.json.encode(beat), START + k * LENGTH, BEAT)
        feed.window(k, producers={"i": producer}, quality=_quiet().to_bytes())
    of_quality = [alert for alert in alerts(feed.judge) if alert.detector == "quality"]
    assert of_quality[-1].severity == "page"
    assert "gap (sent" in of_quality[-1].summary


def test_the_shares_of_the_budget_make_the_whole() -> None:
    budget = Budget()
    shares = [getattr(budget, name) for name in Budget.__struct_fields__ if name.endswith("_share") and name != "ticket_share"]
    assert sum(shares) == pytest.approx(1.0)


def _quiet() -> QualityCounts:
    counts = QualityCounts()
    counts.update(np.full(GROUPS, 20), np.zeros((len(KINDS), GROUPS), np.int64))
    return counts


def test_a_pause_of_the_traffic_makes_no_second_page_of_an_episode() -> None:
    feed = Feed(judge(window=WINDOW))
    quiet, broken = QualityCounts(), QualityCounts()
    quiet.update(np.full(GROUPS, 20), np.zeros((len(KINDS), GROUPS), np.int64))
    broken.update(np.full(GROUPS, 20), np.full((len(KINDS), GROUPS), 10))
    few = QualityCounts()
    few.update(np.full(GROUPS, 1), np.zeros((len(KINDS), GROUPS), np.int64))
    for k in range(30):
        feed.window(k, quality=(quiet if k < 20 else broken).to_bytes())
    feed.judge.tick(START + 500 * LENGTH)
    for k in range(500, 504):
        feed.window(k, quality=few.to_bytes())
    of_quality = [(alert.severity, alert.state) for alert in alerts(feed.judge) if alert.detector == "quality"]
    assert of_quality.count(("page", "firing")) == 1
    assert of_quality[-1][1] == "resolved"
