"""From faulty events to the pager: a service's fault pages, a client's does not, and an episode pages once whatever pauses."""

import numpy as np
import pytest

from detectors.groups import GROUPS
from detectors.quality import KINDS, QualityCounts
from streams.judge import Judge
from streams.references import References
from streams.shard import Shard
from tests.streams.events import KEY, NS, START, events, record, reference, settings
from tests.streams.judging import Feed, alerts, judge
from tests.streams.messages import LENGTH

WINDOW = {"length_s": 60.0}


def paged(broken: range, windows: int = 30) -> list[str]:
    """What is said of quality when these of 40 clients leave out a feature from window 20 on."""
    set_, references = settings(window=WINDOW), References(KEY)
    references.put(reference())
    shard, owner = Shard(0, set_, references), Feed(Judge(0, set_, references))
    for k in range(windows):
        batch = events(300, seed=k, start_s=60.0 * k, clients=40, number=300 * k)
        if k >= 20:
            names = [str(batch.client[i]) for i in range(300)]
            batch.numeric[np.isin(names, [f"c{c}" for c in broken]), 1] = np.nan
        shard.apply(record(batch, k))
    shard.finish()
    for out in shard.outbox:
        if out.to == "windows":
            owner.raw("windows", out.value)
    owner.judge.tick(START + 60 * (windows + 10) * NS)
    return [alert.severity for alert in alerts(owner.judge) if alert.detector == "quality"]


def test_a_fault_of_the_service_pages() -> None:
    assert paged(range(40))[-1] == "page"


@pytest.mark.parametrize("broken", [range(1), range(2)])
def test_a_fault_of_a_client_or_two_does_not(broken: range) -> None:
    assert paged(broken) == []


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
