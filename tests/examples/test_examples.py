"""The examples run against a real Kafka, and their events arrive."""

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from inferwatch import EventColumns, decode, rows_of
from streams.embedded.kafka import EmbeddedKafka
from streams.embedded.process import free_ports

ROOT = Path(__file__).parents[2]
pytestmark = [pytest.mark.kafka, pytest.mark.timeout(120)]


class Run:
    """An example's surroundings: a service name of its own, and what arrived under it."""

    def __init__(self, kafka: EmbeddedKafka) -> None:
        self.service = f"example-{uuid.uuid4().hex[:8]}"
        self.environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "sdk/src")]),
            "INFERWATCH_SERVICE": self.service,
            "INFERWATCH_BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
            "INFERWATCH_PSEUDONYM_KEY": "a key of the tests' own",
        }
        self.reader = Consumer({"bootstrap.servers": kafka.bootstrap_servers, "group.id": self.service, "auto.offset.reset": "earliest"})
        self.reader.subscribe(["inferwatch.events"])

    def events(self, at_least: int) -> list[dict[str, object]]:
        """The events of this service; waits for so many."""
        found: list[dict[str, object]] = []
        deadline = time.monotonic() + 30
        while len(found) < at_least and time.monotonic() < deadline:
            message = self.reader.poll(0.2)
            if message is None or message.error():
                continue
            headers: Any = message.headers()
            kind = dict(headers)["content-type"].decode()
            columns: list[EventColumns] = decode(message.value() or b"", kind)[0]
            found += [row for one in columns if one.service == self.service for row in rows_of(one)]
        return found


@pytest.fixture
def run(kafka: EmbeddedKafka) -> Iterator[Run]:
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap_servers})
    for future in admin.create_topics([NewTopic(f"inferwatch.{name}", 4, 1) for name in ("events", "lifecycle", "labels")]).values():
        try:
            future.result(timeout=20)
        except KafkaException as error:
            assert error.args[0].name() == "TOPIC_ALREADY_EXISTS"
    made = Run(kafka)
    yield made
    made.reader.close()


def test_the_fastapi_service_sends_its_predictions_and_refusals(run: Run) -> None:
    (port,) = free_ports(1)
    url = f"http://127.0.0.1:{port}/predict"
    process = subprocess.Popen(
        [sys.executable, "-m", "uvicorn", "examples.fastapi_service:app", "--port", str(port), "--log-level", "warning"],
        env=run.environment, cwd=ROOT,
    )  # fmt: skip
    try:

        def ask(headers: dict[str, str]) -> int:
            data = json.dumps({"amount": 950, "age_days": 2, "password": "of the client's"}).encode()
            request = urllib.request.Request(url, data, {"content-type": "application/json", **headers})
            try:
                with urllib.request.urlopen(request, timeout=10) as response:
                    assert json.load(response)["prediction"] == "fraud"
                    return int(response.status)
            except urllib.error.HTTPError as error:
                return error.code

        deadline = time.monotonic() + 60
        while True:
            try:
                assert ask({"x-api-key": "alice"}) == 200
                break
            except urllib.error.URLError:
                assert process.poll() is None, "the service has ended"
                assert time.monotonic() < deadline
                time.sleep(0.1)
        assert ask({}) == 401
    finally:
        process.terminate()
        assert process.wait(20) is not None
    ok, denied = sorted(run.events(2), key=lambda event: str(event["number"]))
    assert (ok["model"], ok["version"], ok["prediction"], ok["status"]) == ("fraud", "7", "fraud", "ok")
    assert ok["features"] == {"amount": 950.0, "age_days": 2.0}
    assert denied["status"] == "unauthenticated"


def test_the_nightly_job_sends_every_row(run: Run) -> None:
    done = subprocess.run(
        [sys.executable, "examples/sklearn_batch.py"], env=run.environment, cwd=ROOT, capture_output=True, text=True, timeout=90
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "500 rows scored, 500 events sent\n"
    events = run.events(500)
    assert len(events) == 500
    assert len({event["client"] for event in events}) == 500
    assert set(events[0]["features"]) == {"amount", "country"}  # type: ignore[call-overload]
