"""What a service sent and what arrived are compared to the unit, however late and uneven the partitions report."""

from __future__ import annotations

import dataclasses
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.completeness import CompletenessReport
from inferwatch import Heartbeat
from schemas.alerts import Alert
from schemas.windows import NUMBERS_PER_BLOCK, Producer
from streams.owner import NS
from streams.producers import Producers
from streams.telemetry import Telemetry
from tests.streams.events import START, events
from tests.streams.judging import BEAT, Feed, alerts, judge
from tests.streams.messages import partial

ONE = events(1)
RATE, PARTITIONS, WINDOW_S = 300, 4, 10


def test_what_a_service_says_of_its_gpu_and_queue_is_in_its_rows_bounded_and_without_what_is_no_number() -> None:
    telemetry = Telemetry(WINDOW_S * NS, 100)
    many = {f"g{k:02d}": float(k) for k in range(20)}
    gauges = many | {"gpu_share": 0.7, "queue_share": 0.1, "broken_share": float("nan")}
    telemetry.partial(0, {"i": Producer(service="s", received=1, highest=0, lowest=0, last_at_ns=0, blocks={0: 1})})
    telemetry.heartbeat(Heartbeat(instance="i", accepted=1, sent=1, gauges=gauges), NS)
    (row,) = telemetry.rows("m", "1", NS)
    assert list(row.gauges) == ["gpu_share", "queue_share", *(f"g{k:02d}" for k in range(6))]
    assert row.gauges["gpu_share"] == 0.7


def run(
    lost: set[int],
    seconds: int,
    *,
    skew_s: float = 0.0,
    seed: int = 1,
    restart_at: int | None = None,
    behind_s: int = 0,
    ends_at: int = 10_000,
) -> list[CompletenessReport]:
    """A service of `RATE` events a second whose numbers ``lost`` never arrive; partitions report ``skew_s`` apart. Its reports.

    From 100 s on the last partition is read late, up to ``behind_s``, and from ``ends_at`` on nothing comes of it.
    """
    rng = np.random.default_rng(seed)
    partition = rng.integers(0, PARTITIONS, RATE * seconds)
    numbers = np.arange(RATE * seconds)
    arrived = ~np.isin(numbers, list(lost))
    telemetry, reports = Telemetry(WINDOW_S * NS, 100), []
    for second in range(seconds):
        now_ns = second * NS
        telemetry.heartbeat(Heartbeat(instance="i", accepted=RATE * second, sent=RATE * second), now_ns)
        for p in range(PARTITIONS):
            if second % WINDOW_S == p % 3:
                read = min(max(second - behind_s, 100), ends_at, second) if behind_s and p == PARTITIONS - 1 else second
                mine = numbers[(partition == p) & arrived & (numbers < RATE * max(read - p * skew_s, 0))]
                if len(mine):
                    blocks, n = np.unique(mine // NUMBERS_PER_BLOCK, return_counts=True)
                    counts = dict(zip(blocks.tolist(), n.tolist(), strict=True))
                    producer = Producer(
                        service="s",
                        received=len(mine),
                        highest=int(mine.max()),
                        lowest=int(mine.min()),
                        last_at_ns=read * NS,
                        blocks=counts,
                    )
                    telemetry.partial(p, {"i": producer})
        if second == restart_at:
            body, telemetry = telemetry.dump(), Telemetry(WINDOW_S * NS, 100)
            telemetry.load(body)
        report = telemetry.judge(now_ns)
        if report is not None:
            reports.append(report)
    return reports


def test_nothing_is_missing_where_nothing_was_lost_however_uneven_the_partitions_report() -> None:
    reports = run(set(), 400, skew_s=2.0)
    assert {report.severity for report in reports} == {"none"}
    assert max(report.missing for report in reports) == 0
    assert reports[-1].produced > 20_000


@given(st.sets(st.integers(0, 40_000), max_size=200), st.one_of(st.none(), st.integers(10, 140)))
def test_what_was_lost_is_counted_to_the_unit(lost: set[int], restart_at: int | None) -> None:
    report = run(lost, 150, restart_at=restart_at)[-1]  # its twelve periods hold everything from the start
    assert report.produced >= 25 * NUMBERS_PER_BLOCK
    assert report.missing == sum(n < report.produced for n in lost)


def test_what_waits_in_a_partition_whose_worker_is_behind_is_not_missing() -> None:
    reports = run(set(), 400, behind_s=70)
    assert {report.severity for report in reports} == {"none"}
    assert max(report.missing for report in reports) == 0
    assert reports[-1].produced > 20_000
    lost = run(set(range(0, 90_000, 5)), 300, behind_s=70)
    assert lost[-1].severity == "ticket"
    assert 0.78 < lost[-1].share < 0.82


def test_a_partition_that_tells_nothing_more_holds_nothing_up() -> None:
    assert run(set(range(0, 90_000, 5)), 400, behind_s=70, ends_at=120)[-1].severity == "ticket"


def last_of(rate: float, window_s: float, windows: int, every: int = 0) -> CompletenessReport:
    """What is said of an instance of this rate, of whose events every so-manieth was lost; partitions tell at the end of each window."""
    partitions, telemetry = [Producers(10) for _ in range(PARTITIONS)], Telemetry(round(window_s * NS), 100)
    report, per_window = None, round(rate * window_s)
    for window in range(windows):
        numbers = np.arange(window * per_window, (window + 1) * per_window)
        for p, producers in enumerate(partitions):
            mine = numbers[(numbers % PARTITIONS == p) & ((numbers % every != 0) if every else True)]
            at_ns = START + round(window * window_s * NS)
            producers.count(dataclasses.replace(ONE, number=mine), np.ones(len(mine), bool), int(mine[0]), int(mine[-1]), at_ns)
        now_ns = START + round((window + 1) * window_s * NS)
        for p, producers in enumerate(partitions):
            telemetry.partial(p, producers.told())
        telemetry.heartbeat(Heartbeat(service="shop", instance="shop-1", sent=len(numbers) * (window + 1)), now_ns)
        report = telemetry.judge(now_ns) or report
    assert report is not None
    return report


def test_an_instance_of_a_thousand_events_a_second_loses_nothing_in_windows_of_five_minutes() -> None:
    report = last_of(1_000, 300, 6)
    assert report.produced > 800_000
    assert (report.missing, report.severity) == (0, "none")
    assert last_of(1_000, 300, 6, every=100).share == pytest.approx(0.99, abs=1e-4)


def test_blocks_beyond_what_there_is_room_for_are_not_judged() -> None:
    telemetry = Telemetry(WINDOW_S * NS, 100)
    for k in range(3):
        blocks = dict.fromkeys(range(6000 * k, 6000 * (k + 1)), NUMBERS_PER_BLOCK)
        highest = 6_000 * (k + 1) * NUMBERS_PER_BLOCK - 1
        telemetry.partial(0, {"i": Producer(service="s", received=highest + 1, highest=highest, lowest=0, last_at_ns=0, blocks=blocks)})
        telemetry.heartbeat(Heartbeat(instance="i", sent=highest + 1), NS)
    for second in range(1, 200, 10):
        report = telemetry.judge(second * NS)
        assert report is None or report.missing == 0


def test_losing_one_event_in_a_hundred_is_a_ticket() -> None:
    reports = run(set(range(0, 90_000, 100)), 300)
    assert reports[-1].severity == "ticket"
    assert 0.985 < reports[-1].share < 0.995


def test_a_service_that_goes_silent_pages_and_one_that_says_goodbye_does_not() -> None:
    for closing, severity in ((False, "page"), (True, None)):
        telemetry = Telemetry(WINDOW_S * NS, 100)
        telemetry.heartbeat(Heartbeat(instance="i"), 0)
        assert telemetry.judge(0) is not None
        if closing:
            telemetry.heartbeat(Heartbeat(instance="i", closing=True), NS)
        report = telemetry.judge(200 * NS)
        assert (report.severity if report else None) == severity


def test_a_version_that_takes_over_in_mid_stream_has_lost_nothing_though_its_heartbeat_comes_first() -> None:
    telemetry, begin = Telemetry(WINDOW_S * NS, 100), 5 * NUMBERS_PER_BLOCK + 300  # numbers go on where the version before ended
    reports = []
    for second in range(0, 200, 5):
        telemetry.heartbeat(Heartbeat(instance="i", accepted=RATE * second, sent=RATE * second), second * NS)
        if second >= 20:
            blocks, n = np.unique(np.arange(begin, begin + RATE * second) // NUMBERS_PER_BLOCK, return_counts=True)
            counts = dict(zip(blocks.tolist(), n.tolist(), strict=True))
            highest = begin + RATE * second - 1
            part = Producer(service="s", received=RATE * second, highest=highest, lowest=begin, last_at_ns=second * NS, blocks=counts)
            telemetry.partial(0, {"i": part})
        reports.append(telemetry.judge(second * NS))
    told = [report for report in reports if report is not None]
    assert {(report.severity, report.missing) for report in told} == {("none", 0)}
    assert told[-1].produced > 20 * NUMBERS_PER_BLOCK


def told_of_two_versions(rare: int, lost: int = 0) -> list[Alert]:
    """Of one instance that gives every so-manieth request to version 2, and ``lost`` events of version 1 that never arrived."""
    judging = judge(None, window={"length_s": 10.0})
    feed, shards = Feed(judging), {version: Producers(10) for version in ("1", "2")}
    for second in range(0, 600, 10):
        now_ns = START + second * NS
        for version, producers in shards.items():
            numbers = np.arange(RATE * second, RATE * (second + 10))
            mine = numbers[(numbers % rare == 0) == (version == "2")][lost if version == "1" and second == 20 else 0 :]
            beat = Heartbeat(model="m", version=version, service="shop", instance="shop-1", sent=len(mine) * (second // 10 + 1))
            feed.raw("lifecycle", msgspec.json.encode(beat), now_ns, BEAT)
            producers.count(dataclasses.replace(ONE, number=mine), np.ones(len(mine), bool), int(mine[0]), int(mine[-1]), now_ns)
            share: dict[str, Any] = {"version": version, "start_ns": now_ns, "end_ns": now_ns + 10 * NS, "n": len(mine)}
            feed.give(partial(window=second // 10, epoch=int(version), producers=producers.told(), **share))
        judging.tick(now_ns + 10 * NS)
    return [alert for alert in alerts(judging) if alert.detector in ("completeness", "quality")]


@pytest.mark.parametrize("rare", [4, 100])
def test_two_versions_that_one_instance_serves_share_its_numbers_and_nothing_is_missing_of_either(rare: int) -> None:
    assert told_of_two_versions(rare) == []


def test_a_version_that_is_loaded_and_not_asked_keeps_little_of_what_another_one_answers() -> None:
    telemetry = Telemetry(WINDOW_S * NS, 100)
    telemetry.heartbeat(Heartbeat(instance="i"), 0)
    for k in range(300):
        blocks = dict.fromkeys(range(max(0, 10 * k - 32), 10 * (k + 1)), NUMBERS_PER_BLOCK)
        highest = 10 * (k + 1) * NUMBERS_PER_BLOCK - 1
        told = {"i": Producer(service="s", received=highest + 1, highest=highest, lowest=0, last_at_ns=k * NS, blocks=blocks)}
        telemetry.beside("2", 0, told | {"another": told["i"]})
    assert len(telemetry.dump()["telemetry"]) < 2_000


def test_a_version_that_is_asked_no_more_keeps_little_and_has_lost_nothing_when_it_is_asked_again() -> None:
    telemetry, reports, sizes = Telemetry(WINDOW_S * NS, 100), [], []
    for k in range(400):
        now_ns, begin = k * 10 * NS, 10 * k * NUMBERS_PER_BLOCK
        asked = k < 20 or k >= 300  # every other event is of this version, then none, then every other again
        blocks = dict.fromkeys(range(10 * k, 10 * (k + 1)), NUMBERS_PER_BLOCK // (2 if asked else 1))
        part = Producer(service="s", received=begin, highest=begin + 10 * NUMBERS_PER_BLOCK - 1, lowest=0, last_at_ns=now_ns, blocks=blocks)
        telemetry.heartbeat(Heartbeat(instance="i", sent=begin), now_ns)
        telemetry.beside("2", 0, {"i": part})
        if asked:
            telemetry.partial(0, {"i": part})
        reports.append(telemetry.judge(now_ns))
        sizes.append(len(telemetry.dump()["telemetry"]))
    told = [report for report in reports if report is not None]
    assert {(report.severity, report.missing) for report in told} == {("none", 0)}
    assert told[-1].produced > 100 * NUMBERS_PER_BLOCK
    assert max(sizes) < 20_000


def test_what_one_of_two_versions_lost_is_told() -> None:
    told = told_of_two_versions(4, lost=1_000)
    assert {alert.detector for alert in told} >= {"completeness"}
    assert {alert.evidence["missing"] for alert in told if alert.detector == "completeness"} == {1_000}


def test_numbers_that_leap_to_the_end_of_the_world_cost_nothing() -> None:
    telemetry = Telemetry(WINDOW_S * NS, 100)
    telemetry.heartbeat(Heartbeat(instance="i"), 0)
    leap = Producer(service="s", received=2, highest=2**62, lowest=0, last_at_ns=0, blocks={0: 1, 2**62 // NUMBERS_PER_BLOCK: 1})
    telemetry.partial(0, {"i": leap})
    for second in range(0, 300, 10):
        report = telemetry.judge(second * NS)
    assert report is not None
    assert report.produced < 10_000


def test_after_a_clock_that_was_an_hour_ahead_the_periods_go_on() -> None:
    telemetry, start = Telemetry(WINDOW_S * NS, 100), 1_000 * NS
    telemetry.heartbeat(Heartbeat(instance="i"), start)
    assert telemetry.judge(start + 3_600 * NS) is not None
    assert telemetry.judge(start + NS) is None
    telemetry.set_back(start + NS)
    reports = [telemetry.judge(start + second * NS) for second in range(1, 31)]
    assert [second for second, report in enumerate(reports, 1) if report is not None] == [1, 11, 21]
    assert not any(report.silent for report in reports if report is not None)
