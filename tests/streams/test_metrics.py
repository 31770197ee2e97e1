"""What the worker says about itself: bounded series, honest health, no secret."""

import io
import json
import logging

import aiohttp
import structlog
from prometheus_client.parser import text_string_to_metric_families

from streams import log
from streams.health import HealthServer
from streams.metrics import MAX_REASONS, Metrics
from streams.settings import ClickHouse, Kafka, Log, Membership, Settings


def test_reasons_beyond_the_cap_are_counted_together() -> None:
    metrics = Metrics()
    for i in range(MAX_REASONS + 10):
        metrics.count_owner("shard", {f"rejected.r{i}": 1})
    metrics.count_owner("shard", {"rejected.r0": 5, "no such": 1, "late": -3})
    families = {family.name: family for family in text_string_to_metric_families(metrics.text().decode())}
    samples = {s.labels["reason"]: s.value for s in families["inferwatch_events_rejected"].samples if s.name.endswith("_total")}
    assert (len(samples), samples["other"], samples["r0"]) == (MAX_REASONS + 1, 10, 6)
    assert sum(samples.values()) == MAX_REASONS + 15


def test_no_label_is_chosen_by_who_sends_events() -> None:
    allowed = {"owner", "reason", "topic", "partition", "to", "where", "outcome", "target", "le"}
    metrics = Metrics()
    for collector in list(metrics.registry._collector_to_names):
        assert set(getattr(collector, "_labelnames", ())) <= allowed


def test_a_partition_that_went_away_leaves_no_series_behind() -> None:
    metrics = Metrics()
    for partition in "0", "1":
        metrics.lag.labels("iw.events", partition).set(3)
        metrics.snapshot_bytes.labels("shard", partition).set(3)
    metrics.forget_partition("shard", 0, ("iw.events",))
    metrics.forget_partition("shard", 9, ("iw.events",))
    text = metrics.text().decode()
    assert 'partition="0"' not in text
    assert text.count('partition="1"') == 2


async def test_health_says_why_the_worker_is_not_ready() -> None:
    problems = ["reading the references"]
    refreshed = []
    metrics = Metrics()
    async with (
        HealthServer("127.0.0.1", 0, metrics, lambda: problems, lambda: refreshed.append(1)) as server,
        aiohttp.ClientSession(f"http://127.0.0.1:{server.port}") as client,
    ):
        async with client.get("/healthz") as answer:
            assert (answer.status, await answer.text()) == (503, "reading the references\n")
        async with client.get("/metrics") as answer:
            assert "inferwatch_ready 0.0" in await answer.text()
        problems.clear()
        async with client.get("/healthz") as answer:
            assert (answer.status, await answer.text()) == (200, "ok\n")
        async with client.get("/metrics") as answer:
            assert answer.content_type == "text/plain"
            assert "inferwatch_ready 1.0" in await answer.text()
    assert refreshed == [1, 1]


def test_nothing_secret_reaches_the_log_by_any_way() -> None:
    settings = Settings(
        kafka=Kafka(sasl_password="kafka-secret"),
        clickhouse=ClickHouse(password="click-secret"),
        membership=Membership(key="member-secret"),
        log=Log(format="json", level="info"),
    )
    stream = io.StringIO()
    root = logging.getLogger()
    before = root.handlers[:], root.level
    try:
        log.configure(settings, stream)
        ours = structlog.get_logger("streams.test")
        ours.info("connects with kafka-secret", why=["click-secret", {"x": "member-secret"}], error=ValueError("click-secret"))
        logging.getLogger("aiokafka").error("SASL failed for %s", "kafka-secret")
        logging.getLogger("aiokafka").info("chatter")
        try:
            raise RuntimeError("kafka-secret")
        except RuntimeError:
            ours.exception("failed")
    finally:
        root.handlers[:], level = before
        root.setLevel(level)
        structlog.reset_defaults()
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [line["event"] for line in lines] == ["connects with ***", "SASL failed for ***", "failed"]
    assert "RuntimeError: ***" in lines[2]["exception"]
    assert not any(f"{name}-secret" in stream.getvalue() for name in ("kafka", "click", "member"))


def test_text_lines_are_for_people() -> None:
    stream = io.StringIO()
    root = logging.getLogger()
    before = root.handlers[:], root.level
    try:
        log.configure(Settings(log=Log(format="text", level="warning")), stream)
        structlog.get_logger("streams.test").info("unheard")
        structlog.get_logger("streams.test").warning("heard", n=1)
    finally:
        root.handlers[:], level = before
        root.setLevel(level)
        structlog.reset_defaults()
    assert "heard" in stream.getvalue()
    assert "unheard" not in stream.getvalue()
