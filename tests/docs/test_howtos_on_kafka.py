"""Commands of the how-tos that need a broker, said as they stand in the pages: on Apache Kafka with events of the model that they name.

Only what a page takes from the reader's day is put in: dates that lie around today.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from inferwatch import Client
from streams.embedded.kafka import EmbeddedKafka
from streams.kafka import ensure_topics
from streams.settings import load
from tests.commands import cli
from tests.docs.blocks import ROOT, runnable
from tests.topics import Topics

pytestmark = [pytest.mark.kafka, pytest.mark.clickhouse, pytest.mark.slow, pytest.mark.timeout(580)]
PAGES = ("references", "verdicts", "audit")
LEFT_OUT = ("--mlflow",)
"""What needs another server than a broker and a store: other tests run it."""


def script_of(text: str) -> str:
    """With days around today for those of the page."""
    today = datetime.now(UTC)
    days = sorted(set(re.findall(r"\d{4}-\d\d-\d\d", text)))
    for k, day in enumerate(days):
        text = text.replace(day, f"{today + timedelta(days=-10 if k == 0 else k):%Y-%m-%d}")
    return text


def test_every_command_for_a_broker_does_what_its_page_says(kafka: EmbeddedKafka, topics: Topics, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    command = tmp_path / "bin/inferwatch"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m streams.cli "$@"\n')
    command.chmod(0o755)
    own = {
        "INFERWATCH_KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
        "INFERWATCH_KAFKA_TOPIC_PREFIX": topics.prefix.rstrip("."),
        "INFERWATCH_KAFKA_PARTITIONS": "3",
        "INFERWATCH_CLICKHOUSE_DSN": f"chdb://{tmp_path}/store?database=inferwatch",
        "INFERWATCH_VERDICTS_ENABLED": "true",
        "INFERWATCH_MEMBERSHIP_KEY": "m" * 32,
        "INFERWATCH_PSEUDONYM_KEY": "k" * 32,
    }
    environment = cli.environment(**own) | {
        "PATH": f"{tmp_path}/bin:{os.environ['PATH']}",
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "sdk/src")]),
    }

    def say(script: str, where: object) -> str:
        arguments = ["bash", "-euo", "pipefail", "-c", script]
        done = subprocess.run(arguments, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, f"{where}\n{script}\n{done.stdout[-1500:]}\n{done.stderr[-3000:]}"
        return done.stdout + done.stderr

    ensure_topics(load(None, own).kafka)
    say("inferwatch migrate", "the store")
    rng, n = np.random.default_rng(1), 3_000
    amount, age, country = rng.lognormal(size=n), rng.normal(40, 10, n), rng.choice(["NO", "SE", "DK"], n)
    p = 1 / (1 + np.exp(-amount + 1))
    rows = {"amount": amount, "country": country, "age": age, "prob_no": 1 - p, "prob_yes": p}
    pq.write_table(pa.table(rows), tmp_path / "rows.parquet")
    with Client(kafka.bootstrap_servers, "shop", topic_prefix=topics.prefix.rstrip("."), pseudonym_key=b"k" * 32) as watch:
        for k in range(1_000):
            features = {"amount": float(amount[k]), "country": str(country[k]), "age": float(age[k])}
            watch.record(model="fraud", version="7", client=f"c{k % 50}", features=features, scores={"no": 1 - p[k], "yes": p[k]},
                         prediction="yes" if p[k] > 0.5 else "no")  # fmt: skip
        assert watch.flush(20) == 0

    said: dict[str, str] = dict.fromkeys(PAGES, "")
    # with a store of its own, since one process a folder is the rule
    of_worker = {"INFERWATCH_CLICKHOUSE_DSN": f"chdb://{tmp_path}/workers?database=inferwatch", "INFERWATCH_METRICS_PORT": "0",
                 "INFERWATCH_STATE_FOLDER": str(tmp_path / "state"), "INFERWATCH_METRICS_HOST": "127.0.0.1"}  # fmt: skip
    log = tmp_path / "worker.log"
    with log.open("wb") as to:
        worker = subprocess.Popen([command, "worker"], cwd=tmp_path, env=environment | of_worker, stdout=to, stderr=to)
    try:
        end = time.monotonic() + 120
        while b"judge" not in log.read_bytes():
            assert time.monotonic() < end, log.read_text()[-3000:]
            time.sleep(0.2)
        for page in PAGES:
            for block in runnable("sh"):
                mine = block.document == ROOT / f"docs/howto/{page}.md" and "inferwatch " in block.text
                if mine and not any(what in block.text for what in LEFT_OUT):
                    said[page] += say(script_of(block.text), block)
    finally:
        worker.send_signal(signal.SIGTERM)
        try:
            worker.wait(40)
        finally:
            worker.kill()
    assert "1,000 of 1,000 events" in said["references"]
    assert re.search(r"fraud +7 +2026-11 .* drift since", said["references"])
    assert (tmp_path / "fraud-7.iwref").exists()
    assert "No verdict on fraud holds." in said["verdicts"]
    assert "throttle(10)" in said["verdicts"]
    assert said["audit"]
