"""What a worker says of itself: the measures that /metrics shows, in rows that the store takes; lost ones cost nothing."""

from __future__ import annotations

import asyncio
import contextlib
from concurrent.futures import Future
from typing import Any

import pytest

from schemas.rows import Row, WorkerRow
from streams.clickhouse import ClickHouse, ClickHouseError
from streams.lanes import SinkCounts
from streams.metrics import Metrics
from streams.migrate import migrate
from streams.owner import NS, Record
from streams.self_report import SelfReport

NOW = 1_800_000_000 * NS


class Kept:
    """A sink that keeps what it is given, or refuses it."""

    def __init__(self, error: Exception | None = None) -> None:
        self.rows: list[Row] = []
        self._error = error

    def put(self, rows: Any, token: str) -> Future[None]:
        self.rows += rows
        future: Future[None] = Future()
        future.set_result(None) if self._error is None else future.set_exception(self._error)
        return future

    @property
    def counts(self) -> SinkCounts:
        raise NotImplementedError


def told_by(metrics: Metrics) -> dict[str, float]:
    return dict(SelfReport(metrics, Kept(), "w:1", wall_ns=lambda: NOW).row().gauges)


def test_its_measures_are_summed_over_partitions_and_told_apart_by_what_they_are_of() -> None:
    metrics = Metrics()
    for partition, lag in enumerate((3, 4)):
        metrics.lag.labels("iw.events", str(partition)).set(lag)
        metrics.snapshot_bytes.labels("shard", str(partition)).set(1_000)
    metrics.lag.labels("iw.labels", "0").set(9)
    metrics.snapshot_age.set(2.5)
    metrics.count_owner("shard", {"evicted.clients": 7})
    metrics.count_owner("judge", {"evicted.clients": 1, "evicted.models": 2})
    metrics.count_owner("judge", {"labels.unknown": 3})
    told = told_by(metrics)
    assert told["labels:unknown"] == 3
    assert {name: told[name] for name in told if name.split(":")[0] in ("lag", "snapshot_bytes", "snapshot_age_s", "evicted")} == {
        "lag:iw.events": 7, "lag:iw.labels": 9, "snapshot_bytes:shard": 2_000, "snapshot_age_s": 2.5, "evicted:clients": 8,
        "evicted:models": 2,
    }  # fmt: skip
    assert "least_delay_s" not in told


def test_the_shortest_way_from_the_broker_tells_the_clocks_apart_and_begins_anew() -> None:
    report = SelfReport(Metrics(), Kept(), "w:1", wall_ns=lambda: NOW)
    for role, at_ns in (("events", NOW - 2 * NS), ("events", NOW + NS), ("events", NOW - NS), ("windows", NOW + 100 * NS)):
        report.read(Record(role, 0, 0, b"", at_ns))  # type: ignore[arg-type]  # a role
    assert report.row().gauges["least_delay_s"] == -1
    assert "least_delay_s" not in report.row().gauges


@pytest.mark.clickhouse
async def test_rows_reach_the_store_and_one_that_does_not_ends_nothing(clickhouse: ClickHouse) -> None:
    migrate(clickhouse)
    refusing = Kept(ClickHouseError("away"))
    report = SelfReport(Metrics(), refusing, "w:1", wall_ns=lambda: NOW)
    task = asyncio.create_task(report.run())
    await asyncio.sleep(0.05)
    assert not task.done()
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    (row,) = refusing.rows
    assert isinstance(row, WorkerRow)
    clickhouse.insert([row], "w")
    assert clickhouse.query("SELECT worker, gauges['snapshot_age_s'] AS age FROM workers FINAL") == [{"worker": "w:1", "age": 0.0}]
