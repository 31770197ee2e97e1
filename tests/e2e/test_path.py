"""The whole path on the real parts: SDK -> Apache Kafka -> two worker processes -> ClickHouse rows and a page at the pager."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from inferwatch import Client
from schemas.reference import encode
from streams.embedded.alertmanager import EmbeddedAlertmanager
from streams.embedded.kafka import EmbeddedKafka
from streams.embedded.process import free_ports
from streams.kafka import ensure_topics, publish_reference
from streams.settings import load
from streams.warmup import warm_up
from tests.pager import Pager
from tests.streams.events import KEY, NAMES, reference

pytestmark = [pytest.mark.kafka, pytest.mark.clickhouse, pytest.mark.alertmanager, pytest.mark.timeout(240)]
MODEL = "shop-risk"
_ROWS = """
import json, sys
from streams.clickhouse import ClickHouse
out = {}
with ClickHouse(sys.argv[1]) as clickhouse:
    for table in ("windows", "feature_windows", "client_windows", "sampled_events", "alerts", "producers", "accuracy_windows",
                  "accuracy_estimates", "workers"):
        out[table] = clickhouse.query(f"SELECT * FROM {table} FINAL")
print(json.dumps(out, default=str))
"""


def environment(
    folder: Path, kafka: EmbeddedKafka, alertmanager: EmbeddedAlertmanager | None, port: int = 0, prefix: str = "e2e"
) -> dict[str, str]:
    pager = {} if alertmanager is None else {"INFERWATCH_ALERTMANAGER_URLS": alertmanager.url, "INFERWATCH_ALERTMANAGER_RESEND_S": "1"}
    return {
        **os.environ,
        "INFERWATCH_KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
        "INFERWATCH_KAFKA_TOPIC_PREFIX": prefix,
        "INFERWATCH_KAFKA_GROUP": f"{prefix}-worker",
        "INFERWATCH_KAFKA_PARTITIONS": "4",
        "INFERWATCH_CLICKHOUSE_DSN": f"chdb://{folder}/chdb?database=inferwatch",
        "INFERWATCH_STATE_FOLDER": str(folder.parent / "state"),
        "INFERWATCH_WINDOW_LENGTH_S": "2",
        "INFERWATCH_WINDOW_SETTLE_S": "1",
        "INFERWATCH_METRICS_HOST": "127.0.0.1",
        "INFERWATCH_METRICS_PORT": str(port),
        "INFERWATCH_MEMBERSHIP_KEY": KEY.decode(),
        "INFERWATCH_LOG_FORMAT": "text",
        **pager,
    }


@contextmanager
def workers(
    ports: list[int], folder: Path, kafka: EmbeddedKafka, alertmanager: EmbeddedAlertmanager | None, prefix: str = "e2e"
) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Worker processes, each with a store of its own, as one process a chDB folder is the rule; they share the folder of snapshots."""
    running = []
    try:
        for k, port in enumerate(ports):
            home = folder / f"worker{k}"
            home.mkdir()
            with (home / "log").open("wb") as log:
                command = [sys.executable, "-m", "streams.cli", "worker"]
                running.append(subprocess.Popen(command, env=environment(home, kafka, alertmanager, port, prefix), stdout=log, stderr=log))
        yield running
    finally:
        for process in running:
            process.kill()
            process.wait()


def until(fact: Callable[[], bool], what: str, timeout_s: float = 60.0) -> None:
    end = time.monotonic() + timeout_s
    while not fact():
        assert time.monotonic() < end, f"not within {timeout_s:.0f} s: {what}"
        time.sleep(0.05)


def judged(port: int) -> float:
    """Events in the windows that a worker has judged, by its own metrics."""
    return total(port, "events", "")


def total(port: int, name: str, reason: str) -> float:
    """A judge's count, by the worker's metrics."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as page:
        text = page.read().decode()
    found = re.search(rf'^inferwatch_{name}_total\{{owner="judge",reason="{reason}"\}} (\S+)$', text, re.MULTILINE)
    return float(found[1]) if found else 0.0


def answer(x: np.ndarray[Any, Any]) -> list[float]:
    p = float(1 / (1 + np.exp(-x[0] - 0.5 * x[1])))
    return [1 - p, p]


def tell(client: Client, order: int, x: np.ndarray[Any, Any]) -> bool:
    """The truth about an order: the answer was right, but for every fifth."""
    right = answer(x)[1] > 0.5
    return client.label(model=MODEL, event_id=f"order-{order}", truth="yes" if right == (order % 5 > 0) else "no")


def ask(client: Client, who: str, x: np.ndarray[Any, Any], order: int | None = None) -> bool:
    scores = answer(x)
    features = dict(zip(NAMES, map(float, x), strict=True))
    label = "yes" if scores[1] > 0.5 else "no"
    return client.record(model=MODEL, version="1", client=who, features=features, scores=scores, prediction=label, latency_ms=4.0,
                         event_id=None if order is None else f"order-{order}")  # fmt: skip


def boundary_walk(rng: np.random.Generator) -> Iterator[np.ndarray[Any, Any]]:
    """What HopSkipJump asks: bisections between the classes, then probes around the boundary."""
    while True:
        low, high = np.array([-2.0, -2.0, 0.0]) + rng.normal(scale=0.01, size=3), np.array([2.0, 2.0, 0.0])
        for _ in range(14):
            middle = (low + high) / 2
            yield middle
            low, high = (low, middle) if answer(middle)[1] > 0.5 else (middle, high)
        for _ in range(10):
            yield high + rng.normal(scale=0.02, size=3)


def findings(settings: dict[str, str], path: Path, client: str) -> list[dict[str, Any]]:
    """What `inferwatch ocsf` makes of the alerts on this client: it reads until the page is there."""

    def about() -> list[dict[str, Any]]:
        made = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
        return [one for one in made if client in {each["value"] for each in one["observables"]}]

    process = subprocess.Popen([sys.executable, "-m", "streams.cli", "ocsf", "--to", str(path), "--group", "e2e-ocsf"], env=settings)
    try:
        until(lambda: any(one["severity"] == "High" for one in about()), "the page is a finding")
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()
    return about()


def test_events_become_rows_and_an_attack_becomes_a_page(
    kafka: EmbeddedKafka, alertmanager: EmbeddedAlertmanager, pager: Pager, tmp_path: Path
) -> None:
    settings = load(None, environment(tmp_path / "none", kafka, alertmanager))
    ensure_topics(settings.kafka)
    warm_up(settings)  # here, so that the workers find the kernels compiled
    publish_reference(settings.kafka, MODEL, "1", encode(reference(seed=11, model=MODEL)))
    rng = np.random.default_rng(5)
    sent = 0
    ports = free_ports(2)
    with workers(ports, tmp_path, kafka, alertmanager) as processes:
        logs = [tmp_path / f"worker{k}" / "log" for k in range(2)]
        until(lambda: all(b"owner=judge" in log.read_bytes() for log in logs), "both workers own partitions")
        with Client(
            bootstrap_servers=kafka.bootstrap_servers, service="shop", topic_prefix="e2e", pseudonym_key=b"k" * 32, heartbeat_s=0.5
        ) as client:
            walk = boundary_walk(rng)
            mallory = client.pseudonym("mallory")
            orders: list[np.ndarray[Any, Any]] = []
            labels = 0
            for tick in range(400):
                for who in rng.integers(0, 20, 5):
                    orders.append(rng.normal(size=3))
                    if len(orders) % 7 == 0:  # known before the event is on its way
                        labels += tell(client, len(orders) - 1, orders[-1])
                    sent += ask(client, f"customer-{who}", orders[-1], len(orders) - 1)
                if tick == 300:
                    labels += sum(tell(client, order, x) for order, x in enumerate(orders) if (order + 1) % 7)
                if 50 <= tick < 250:
                    sent += ask(client, "mallory", next(walk))
                time.sleep(0.02)
            assert client.flush(10.0) == 0
            assert client.stats().sent == sent
        pages = pager.wait_for(lambda n: n.receiver == "pagerduty" and n.mentions(mallory), timeout=30)
        assert all("InferwatchEvasion" in str(page.body) for page in pages)
        assert all(MODEL in str(page.body) for page in pages)
        until(lambda: all(process.poll() is None for process in processes), "workers alive", 1)
        until(lambda: sum(judged(port) for port in ports) == sent, "every event is in a judged window")
        until(lambda: sum(total(port, "labels", "joined") for port in ports) == labels > 1_000, "every label has found its event")
        over = time.monotonic() + 5.0  # the window in which the last labels came is over, by the clock
        until(lambda: time.monotonic() > over, "two windows later")
        for process in processes:
            process.send_signal(signal.SIGTERM)
        assert [process.wait(30) for process in processes] == [0, 0], logs[0].read_text()[-3000:] + logs[1].read_text()[-3000:]

    found = findings(environment(tmp_path / "none", kafka, alertmanager), tmp_path / "findings.jsonl", mallory)
    assert {one["status"] for one in found} >= {"New"}
    assert {one["finding_info"]["types"][0] for one in found} == {"evasion"}
    assert "High" in {one["severity"] for one in found}

    rows: dict[str, list[dict[str, Any]]] = {}
    for k in range(2):
        dsn = environment(tmp_path / f"worker{k}", kafka, alertmanager)["INFERWATCH_CLICKHOUSE_DSN"]
        done = subprocess.run([sys.executable, "-c", _ROWS, dsn], capture_output=True, check=True)
        for table, found in json.loads(done.stdout).items():
            rows.setdefault(table, []).extend(found)
    windows = {row["start"]: row for row in rows["windows"]}
    assert sum(row["accepted"] for row in windows.values()) == sent
    assert {row["feature"] for row in rows["feature_windows"]} >= set(NAMES)
    attackers = {row["client"] for row in rows["alerts"] if row["severity"] == "page" and row["client"]}
    assert attackers == {mallory}, "no ordinary client is paged"
    assert {row["detector"] for row in rows["alerts"] if row["client"] == mallory} == {"evasion"}
    assert any(row["client"] == mallory and row["ln_evasion"] > 16 for row in rows["client_windows"])
    assert any(row["reason"] == "evidence" and row["client"] == mallory for row in rows["sampled_events"])
    assert max(row["received"] for row in rows["producers"]) == sent
    last = [max((row for row in rows["workers"] if row["worker"] == name), key=lambda row: row["at"]) for name in
            {row["worker"] for row in rows["workers"]}]  # fmt: skip
    assert len({row["started_at"] for row in last}) == len(last) == 2
    assert all(row["gauges"]["snapshot_bytes:shard"] > 0 for row in last)
    assert any(row["gauges"]["lag:e2e.events"] == 0 and -1 < row["gauges"].get("least_delay_s", 0.0) < 60 for row in last)
    told = rows["accuracy_windows"]
    assert sum(row["n"] for row in told) == labels
    labelled = {order for order in range(1_505) if (order + 1) % 7} | {order for order in range(2_000) if (order + 1) % 7 == 0}
    assert len(labelled) == labels
    assert sum(row["errors"] for row in told) == sum(order % 5 == 0 for order in labelled)
    assert {row["start"] for row in told} <= set(windows)
    assert sum(row["n"] for row in rows["accuracy_estimates"]) == sent
