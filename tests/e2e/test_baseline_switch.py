"""Another reference for drift, chosen while two worker processes on Apache Kafka judge: no event is lost or counted twice."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import numpy as np
import pytest

from inferwatch import Client
from schemas.reference import encode, part_of
from streams.embedded.kafka import EmbeddedKafka
from streams.embedded.process import free_ports
from streams.kafka import ensure_topics, publish_reference
from streams.settings import load
from streams.warmup import warm_up
from tests.e2e.test_path import MODEL, ask, environment, judged, until, workers
from tests.streams.events import NAMES, reference
from tests.topics import Topics

pytestmark = [pytest.mark.kafka, pytest.mark.clickhouse, pytest.mark.slow, pytest.mark.timeout(280)]
_ROWS = """
import json, sys
from streams.clickhouse import ClickHouse
with ClickHouse(sys.argv[1]) as clickhouse:
    out = {table: clickhouse.query(f"SELECT * FROM {table} FINAL") for table in ("windows", "audit", "alerts")}
print(json.dumps(out, default=str))
"""


def test_a_chosen_reference_takes_over_in_running_workers_and_every_event_counts_once(
    kafka: EmbeddedKafka, topics: Topics, tmp_path: Path
) -> None:
    prefix, rng, sent = topics.prefix.rstrip("."), np.random.default_rng(5), 0
    ports = free_ports(2)
    environments = [environment(tmp_path / f"worker{k}", kafka, None, port, prefix) for k, port in enumerate(ports)]
    settings = load(None, environments[0])
    ensure_topics(settings.kafka)
    warm_up(settings)  # here, so that the workers find the kernels compiled
    training = reference(seed=11, model=MODEL)
    month = msgspec.structs.replace(reference(seed=12, model=MODEL), name="month")
    for one in (training, month):
        publish_reference(settings.kafka, MODEL, part_of("1", one.name), encode(one))

    def send(client: Client, seconds: float) -> int:
        end, n = time.monotonic() + seconds, 0
        while time.monotonic() < end:
            for who in rng.integers(0, 20, 5).tolist():
                n += ask(client, f"customer-{who}", rng.normal(size=len(NAMES)))
            time.sleep(0.02)
        return n

    with workers(ports, tmp_path, kafka, None, prefix) as processes:
        logs = [tmp_path / f"worker{k}" / "log" for k in range(2)]
        until(lambda: all(b"owner=judge" in log.read_bytes() for log in logs), "both workers own partitions")
        with Client(kafka.bootstrap_servers, "shop", topic_prefix=prefix, pseudonym_key=b"k" * 32, heartbeat_s=0.5) as client:
            sent += send(client, 9)
            choose = [sys.executable, "-m", "streams.cli", "reference", "use", MODEL, "1", "month"]
            said = subprocess.run(choose, env=environments[0], capture_output=True, text=True, timeout=60, check=True).stdout
            assert f"Drift of {MODEL} 1 is judged by month ({month.id})." in said
            sent += send(client, 9)
            assert client.flush(20) == 0
            assert dict(client.stats().dropped) == {}
        until(lambda: sum(map(judged, ports)) == sent, f"{sent} events are judged")
        for process in processes:
            process.send_signal(signal.SIGTERM)
        assert [process.wait(40) for process in processes] == [0, 0]

    stores = [
        json.loads(subprocess.run([sys.executable, "-c", _ROWS, one["INFERWATCH_CLICKHOUSE_DSN"]], capture_output=True, check=True).stdout)
        for one in environments
    ]
    windows = sorted((row for store in stores for row in store["windows"] if row["model"] == MODEL), key=lambda row: row["start"])
    assert sum(row["accepted"] for row in windows) == sent
    ids = [row["reference"] for row in windows]
    first = ids.index(month.id)
    assert first >= 3
    assert set(ids[: first - 1]) == {training.id}  # at most the window in which it was chosen belongs to neither
    assert set(ids[first:]) == {month.id}
    assert len(ids) - first >= 3
    changes = [json.loads(row["detail"]) for store in stores for row in store["audit"] if row["kind"] == "reference"]
    ours = [one for one in changes if one.get("baseline") == "month"]
    assert [(one["id"], one["before"]) for one in ours] == [(f"{training.id}, drift {month.id}", training.id)]
    assert [row for store in stores for row in store["alerts"] if row["detector"] == "drift" and row["severity"] == "page"] == []
