"""Events per CPU-second of a whole worker on Apache Kafka: Faust, decode, shards, judges, snapshots, messages, rows into chDB.

    python -m bench.path

The broker is the embedded one. The records lie on the topic before the worker starts, so it reads as fast as it can; what is divided by is
the CPU time of the worker process (all threads) between its first and its last record. Linux only (/proc).
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import numpy as np
from confluent_kafka import Producer

from bench.shard import CLASSES, EVENTS, FEATURES, KEY, RATE, START_NS, records, rows
from inferwatch import CONTENT_TYPE_COLUMNS, EventColumns, encode
from schemas.reference import Feature
from schemas.reference import encode as encode_reference
from streams.build import Rows, build
from streams.embedded.kafka import EmbeddedKafka
from streams.embedded.process import free_ports
from streams.kafka import ensure_topics, publish_reference
from streams.settings import load
from streams.warmup import warm_up

PARTITIONS = 4
_TICKS = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid: int) -> float:
    """User and system time of a process and its threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def judged(port: int) -> float:
    """Events that the worker has taken in."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as page:
            text = page.read().decode()
    except OSError:
        return 0.0
    found = re.search(r'^inferwatch_events_total\{owner="shard",reason=""\} (\S+)$', text, re.MULTILINE)
    return float(found[1]) if found else 0.0


def fill(kafka: EmbeddedKafka, prefix: str, batches: list[EventColumns], version: str) -> None:
    """Puts the batches on the topic, round the partitions."""
    producer = Producer({"bootstrap.servers": kafka.bootstrap_servers, "compression.type": "zstd", "linger.ms": 20})
    for k, batch in enumerate(batches):
        headers: dict[str, str | bytes | None] = {"content-type": CONTENT_TYPE_COLUMNS}
        producer.produce(f"{prefix}.events", encode(batch), partition=k % PARTITIONS, headers=headers)
        producer.poll(0)
    if producer.flush(60):
        raise SystemExit(f"{version}: the broker did not take all records")


def main() -> None:
    """Measures, prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=4_000)
    parser.add_argument("--repeat", type=int, default=3)
    options = parser.parse_args()
    rng = np.random.default_rng(1)
    X, scores = rows(rng, 6_000)
    features = tuple(Feature(name=f"feature_{j}") for j in range(FEATURES))
    classes = tuple(str(c) for c in range(CLASSES))
    y = scores.argmax(1).astype(np.int32)
    owner = Rows(features=features, X=X, scores=scores, classes=classes, y=y, member=np.arange(6_000) < 3_000)
    reference = build("bench", "1", owner, membership_key=KEY, built_at_ns=0).reference
    batches = records(rng, options.records, 10**9 // RATE)
    ahead = time.time_ns() - START_NS - 3_600 * 10**9  # the recording ends within the last hour: a worker refuses a clock that is far off
    for batch in batches:
        batch.at_ns[:] += ahead
    warm_up(load(None, {}))
    events = options.records * EVENTS
    print(f"{options.records} records of {EVENTS} events on {PARTITIONS} partitions, one worker")
    for k in range(options.repeat):
        with tempfile.TemporaryDirectory() as folder, EmbeddedKafka() as kafka:
            (port,) = free_ports(1)
            environ = {
                **os.environ,
                "OMP_NUM_THREADS": "1",
                "INFERWATCH_KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
                "INFERWATCH_KAFKA_PARTITIONS": str(PARTITIONS),
                "INFERWATCH_CLICKHOUSE_DSN": f"chdb://{folder}/chdb?database=inferwatch",
                "INFERWATCH_STATE_FOLDER": f"{folder}/state",
                "INFERWATCH_METRICS_HOST": "127.0.0.1",
                "INFERWATCH_METRICS_PORT": str(port),
                "INFERWATCH_MEMBERSHIP_KEY": KEY.decode(),
            }
            settings = load(None, environ)
            ensure_topics(settings.kafka)
            publish_reference(settings.kafka, "bench", "1", encode_reference(reference))
            fill(kafka, settings.kafka.topic_prefix, batches, "bench")
            with (Path(folder) / "log").open("wb") as log:
                worker = subprocess.Popen([sys.executable, "-m", "streams.cli", "worker"], env=environ, stdout=log, stderr=log)
            try:
                while (began_events := judged(port)) == 0:
                    time.sleep(0.01)
                began_cpu, began = cpu_seconds(worker.pid), time.perf_counter()
                while (done := judged(port)) < events:
                    if worker.poll() is not None:
                        raise SystemExit((Path(folder) / "log").read_text()[-2_000:])
                    time.sleep(0.02)
                cpu, wall = cpu_seconds(worker.pid) - began_cpu, time.perf_counter() - began
                rate = (done - began_events) / cpu
                print(f"run {k + 1}: {rate:,.0f} events/CPU-s, {(done - began_events) / wall:,.0f} events/s", flush=True)
                worker.send_signal(signal.SIGTERM)
                worker.wait(60)
            finally:
                worker.kill()
                worker.wait()


if __name__ == "__main__":
    main()
