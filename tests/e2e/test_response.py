"""The response on the real parts: a page becomes a verdict that a gateway sees, people overrule it, and the audit log holds all of it.

The worker is killed in between: the verdict is there once, and the judge's chain is neither broken nor forked.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from inferwatch import NOTHING, Client, Verdicts, key_id_of
from schemas.operations import Acknowledged
from schemas.reference import encode
from streams.audit import token_of
from streams.embedded.alertmanager import EmbeddedAlertmanager
from streams.embedded.kafka import EmbeddedKafka
from streams.embedded.process import free_ports
from streams.kafka import ensure_topics, publish_reference
from streams.settings import load
from streams.verdict_topic import read_verdicts, tell
from streams.warmup import warm_up
from tests.e2e.test_path import MODEL, ask, boundary_walk, environment, until
from tests.streams.events import NAMES, reference

pytestmark = [pytest.mark.kafka, pytest.mark.clickhouse, pytest.mark.alertmanager, pytest.mark.timeout(480)]
KEY = b"k" * 32


class Worker:
    """One worker process with a store of its own, which can be killed and started again."""

    def __init__(self, env: dict[str, str], home: Path) -> None:
        self.env, self.home = env, home
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with (self.home / "log").open("ab") as log:
            self.process = subprocess.Popen([sys.executable, "-m", "streams.cli", "worker"], env=self.env, stdout=log, stderr=log)

    def end(self, how: str = "kill") -> None:
        if self.process is not None:
            getattr(self.process, how)()
            self.process.wait(40)

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "streams.cli", *arguments]
        return subprocess.run(command, env=self.env, capture_output=True, text=True, timeout=120, cwd=self.home)


class Traffic(threading.Thread):
    """Customers, and one who walks along the boundary, until told to stop."""

    def __init__(self, client: Client) -> None:
        super().__init__(daemon=True)
        self._client, self.over = client, threading.Event()

    def run(self) -> None:
        rng, walk = np.random.default_rng(5), boundary_walk(np.random.default_rng(6))
        while not self.over.is_set():
            for who in rng.integers(0, 20, 5):
                ask(self._client, f"customer-{who}", rng.normal(size=len(NAMES)))
            ask(self._client, "mallory", next(walk))
            time.sleep(0.02)


def test_a_page_becomes_a_verdict_people_overrule_it_and_the_audit_log_holds_it_all(
    kafka: EmbeddedKafka, alertmanager: EmbeddedAlertmanager, tmp_path: Path
) -> None:
    home = tmp_path / "worker"
    home.mkdir()
    (port,) = free_ports(1)
    env = environment(home, kafka, alertmanager, port) | {
        "INFERWATCH_KAFKA_TOPIC_PREFIX": "response",
        "INFERWATCH_KAFKA_GROUP": "response-worker",
        "INFERWATCH_KAFKA_SESSION_TIMEOUT_S": "6",
        "INFERWATCH_VERDICTS_ENABLED": "true",
        "INFERWATCH_VERDICTS_ACTIONS": "evasion=throttle(10)",
        "INFERWATCH_VERDICTS_DELAY_MIN_S": "1",
        "INFERWATCH_VERDICTS_DELAY_MAX_S": "2",
        "INFERWATCH_PSEUDONYM_KEY": KEY.decode(),
        "XDG_STATE_HOME": str(tmp_path / "state-home"),
    }
    settings = load(None, {name: value for name, value in env.items() if name.startswith("INFERWATCH_")})
    ensure_topics(settings.kafka)
    warm_up(settings)  # here, so that the workers find the kernels compiled
    publish_reference(settings.kafka, MODEL, "1", encode(reference(seed=11, model=MODEL)))
    worker = Worker(env, home)
    worker.start()
    gateway = Verdicts(kafka.bootstrap_servers, topic_prefix="response", pseudonym_key=KEY, stale_s=20.0)
    client = Client(kafka.bootstrap_servers, "shop", topic_prefix="response", pseudonym_key=KEY, heartbeat_s=0.5)
    traffic = Traffic(client)
    try:
        assert gateway.wait(30)
        traffic.start()
        until(lambda: gateway.look_up(MODEL, "mallory").text == "throttle(10)", "the attacker's verdict reaches the gateway", 90)
        verdict = gateway.look_up(MODEL, "mallory")
        assert 1.0 <= (verdict.not_before_ns - verdict.issued_ns) / 1e9 <= 2.0
        assert all(gateway.look_up(MODEL, f"customer-{k}") is NOTHING for k in range(20))

        worker.end("kill")
        assert gateway.look_up(MODEL, "mallory").text == "throttle(10)", "a verdict needs no worker"
        worker.start()
        done = worker.run(
            "verdict", "set", "block", "--model", MODEL, "--whole-model", "--hours", "1", "--note", "drill", "--timeout", "60"
        )
        assert done.returncode == 0, done.stdout + done.stderr
        until(lambda: gateway.look_up(MODEL, "customer-1").action == "block", "the circuit breaker")
        assert gateway.look_up(MODEL, "mallory").action == "block", "the stronger one"
        listed = worker.run("verdict", "list").stdout
        assert "whole model  block" in listed
        assert client.pseudonym("mallory") in listed
        cleared = worker.run("verdict", "clear", "--model", MODEL, "--whole-model")
        assert (cleared.returncode, "reference" in cleared.stderr) == (0, False)
        misspelt = worker.run("verdict", "clear", "--model", f"{MODEL}s", "--whole-model")
        assert misspelt.returncode == 0
        assert f"No reference of a model '{MODEL}s' is published; there are {MODEL}. Is the name right?" in misspelt.stderr
        until(lambda: gateway.look_up(MODEL, "customer-1") is NOTHING, "cleared")

        tell(settings.kafka, Acknowledged(model=MODEL, alert_id=verdict.reason, verdict="false", by="ada"))
        until(lambda: gateway.look_up(MODEL, "mallory") is NOTHING, "taken back, as its page was false")
        assert read_verdicts(settings.kafka) == ([], 0)
        traffic.over.set()
        traffic.join(10)
        client.close()
        gone = time.monotonic() + 4.0
        until(lambda: time.monotonic() > gone, "the last rows are written")
        worker.end("terminate")
        _check_the_log(worker, verdict.reason, client.pseudonym("mallory"))
    finally:
        traffic.over.set()
        gateway.close()
        client.close(0.0)
        worker.end("kill")


def _check_the_log(worker: Worker, alert_id: str, mallory: str) -> None:
    done = worker.run("audit", "verify", "--grace", "0")
    assert done.returncode == 0, done.stdout + done.stderr
    rows = _rows(worker, "SELECT * FROM audit FINAL ORDER BY chain, number")
    assert "ends are known from elsewhere" in done.stdout
    assert "0 ends" not in done.stdout

    def told(kind: str, fact: Callable[[dict[str, Any]], bool]) -> int:
        return sum(row["kind"] == kind and fact(row | {"detail": json.loads(row["detail"])}) for row in rows)

    assert told("alert", lambda row: row["subject"] == alert_id and row["detail"]["severity"] == "page") >= 1
    assert told("verdict", lambda row: row["subject"] == token_of(mallory) and row["detail"].get("action") == "throttle(10)") == 1
    assert (
        told("verdict", lambda row: row["subject"] == token_of(mallory) and row["detail"]["what"] == "withdrawn" and row["actor"] == "ada")
        == 1
    )
    assert told("verdict", lambda row: row["subject"] == "whole model") == 3  # issued, withdrawn, and the order for the misspelt model
    assert told("reference", lambda row: row["model"] == MODEL) == 1
    assert told("key", lambda row: row["subject"] == key_id_of(KEY)) == 1
    assert told("settings", lambda row: row["detail"]["first"]) == 4, "each judge says once under which settings it judges"
    assert len({row["chain"] for row in rows if row["actor"].startswith("judge")}) == 4, "no judge began again"

    assert worker.run("alert", "ack", alert_id, "--verdict", "benign-cause").returncode == 0
    exported = worker.run("incident", "export", alert_id, "--out", "incident.zip")
    assert exported.returncode == 0, exported.stderr
    assert worker.run("audit", "verify", "--grace", "0").returncode == 0
    assert len(_rows(worker, "SELECT number FROM audit FINAL WHERE startsWith(chain, 'command:')")) == 2


def _rows(worker: Worker, sql: str) -> list[dict[str, Any]]:
    code = (
        "import json, sys\nfrom streams.clickhouse import ClickHouse\n"
        "with ClickHouse(sys.argv[1]) as c: print(json.dumps(c.query(sys.argv[2]), default=str))"
    )
    dsn = worker.env["INFERWATCH_CLICKHOUSE_DSN"]
    done = subprocess.run([sys.executable, "-c", code, dsn, sql], env=worker.env, capture_output=True, check=True, timeout=60)
    return msgspec.json.decode(done.stdout, type=list[dict[str, Any]])
