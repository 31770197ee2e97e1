"""A client and an event are erased: SDK -> Apache Kafka -> a worker process -> ClickHouse's engine, and nothing is left of them."""

from __future__ import annotations

import hashlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from inferwatch import Client
from schemas.reference import encode
from schemas.rows import TABLES, AuditRow
from streams.clickhouse import ClickHouse
from streams.embedded.kafka import EmbeddedKafka
from streams.embedded.process import free_ports
from streams.kafka import ensure_topics, publish_reference
from streams.migrate import migrate
from streams.settings import load
from streams.warmup import warm_up
from tests.e2e.test_path import MODEL, answer, boundary_walk
from tests.streams.events import KEY, NAMES, reference
from tests.streams.https_clickhouse import Server, serve
from tests.streams.tls import certificates

pytestmark = [pytest.mark.kafka, pytest.mark.clickhouse, pytest.mark.timeout(500)]
SECRET = "the key of the services, 32 bytes"
PASSWORD = "open sesame"


def ask(client: Client, who: str, x: np.ndarray[Any, Any], order: int | None = None) -> bool:
    """One request, with more about the person than the store shall see."""
    scores = answer(x)
    features: dict[str, Any] = dict(zip(NAMES, map(float, x), strict=True))
    features |= {"city": "Trondheim", "street": "Munkegata", "email": "someone@example.com"}
    return client.record(
        model=MODEL, version="1", client=who, features=features, scores=scores, event_id=None if order is None else f"order-{order}"
    )


class Stage:
    """A worker, a store and the command, with the same settings."""

    def __init__(self, kafka: EmbeddedKafka, store: Server, folder: Path) -> None:
        (port,) = free_ports(1)
        self.folder, self.store, self.port = folder, store, port
        self.worker: subprocess.Popen[bytes] | None = None
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("INFERWATCH_") or name == "INFERWATCH_CACHE"},
            "INFERWATCH_KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
            "INFERWATCH_KAFKA_TOPIC_PREFIX": "erase",
            "INFERWATCH_KAFKA_GROUP": "erase-worker",
            "INFERWATCH_KAFKA_PARTITIONS": "3",
            "INFERWATCH_CLICKHOUSE_DSN": f"https://writer@127.0.0.1:{store.port}/inferwatch",
            "INFERWATCH_CLICKHOUSE_PASSWORD": PASSWORD,
            "INFERWATCH_CLICKHOUSE_CA_FILE": str(store.ca),
            "INFERWATCH_STATE_FOLDER": str(folder / "state"),
            "INFERWATCH_WINDOW_LENGTH_S": "2",
            "INFERWATCH_WINDOW_SETTLE_S": "1",
            "INFERWATCH_METRICS_HOST": "127.0.0.1",
            "INFERWATCH_METRICS_PORT": str(port),
            "INFERWATCH_MEMBERSHIP_KEY": KEY.decode(),
            "XDG_STATE_HOME": str(folder / "home"),
            "INFERWATCH_SAMPLING_ALLOW": "age,income,city",
        }

    def start(self) -> None:
        with (self.folder / "log").open("ab") as log:
            self.worker = subprocess.Popen([sys.executable, "-m", "streams.cli", "worker"], env=self.environment, stdout=log, stderr=log)

    def stop(self, how: signal.Signals) -> None:
        if self.worker is not None:
            self.worker.send_signal(how)
            self.worker.wait(40)
            self.worker = None

    def delete(self, *arguments: str, say: str = "") -> subprocess.CompletedProcess[str]:
        keys = {"INFERWATCH_PSEUDONYM_KEY": "a new key that nothing was sent under", "INFERWATCH_PSEUDONYM_KEY_PREVIOUS": SECRET}
        command = [sys.executable, "-m", "streams.cli", "delete", *arguments]
        return subprocess.run(command, env=self.environment | keys, input=say, capture_output=True, text=True, timeout=120)

    def state(self) -> bytes:
        return b"".join(file.read_bytes() for file in (self.folder / "state").rglob("*") if file.is_file())


@contextmanager
def stage(kafka: EmbeddedKafka, folder: Path) -> Iterator[tuple[Stage, ClickHouse]]:
    with serve(folder / "store", certificates(folder), PASSWORD) as store, store.connect(ca_file=str(store.ca)) as clickhouse:
        one = Stage(kafka, store, folder)
        migrate(clickhouse)
        try:
            yield one, clickhouse
        finally:
            if one.worker is not None:
                one.worker.kill()
                one.worker.wait()


def until(fact: Callable[[], object], what: str, stage: Stage, timeout_s: float = 60.0) -> None:
    end = time.monotonic() + timeout_s
    while not fact():
        assert time.monotonic() < end, f"not within {timeout_s:.0f} s: {what}\n{(stage.folder / 'log').read_text()[-3000:]}"
        time.sleep(0.2)


def everything(clickhouse: ClickHouse, final: str = "") -> str:
    """Every column of every stored row, older tellings among them, of every table but the audit log, which is told of exports meanwhile.

    In a fixed order: without one the engine answers the same question in another order each time.
    """
    stored = [table.table for table in TABLES if table is not AuditRow]
    return "\n".join(str(row) for table in stored for row in clickhouse.query(f"SELECT * FROM {table} {final} ORDER BY ALL"))


def settled(clickhouse: ClickHouse) -> str:
    """`everything`, when nothing has come for some windows."""
    before, now = "", everything(clickhouse)
    while now != before:
        time.sleep(6.0)
        before, now = now, everything(clickhouse)
    return now


def of_client(clickhouse: ClickHouse, client: str) -> dict[str, list[dict[str, Any]]]:
    tables = [table for table in TABLES if "client" in table.__struct_fields__]
    query = "SELECT * FROM {table} FINAL WHERE client = {{client:String}} ORDER BY ALL"
    return {table.table: clickhouse.query(query.format(table=table.table), {"client": client}) for table in tables}


def test_a_deleted_client_is_in_no_table_and_no_state_and_the_others_are_untouched(kafka: EmbeddedKafka, tmp_path: Path) -> None:
    with stage(kafka, tmp_path) as (one, clickhouse):
        settings = load(None, one.environment)
        ensure_topics(settings.kafka)
        warm_up(settings)
        publish_reference(settings.kafka, MODEL, "1", encode(reference(seed=11, model=MODEL)))
        one.start()
        until(lambda: '"owner": "judge"' in (one.folder / "log").read_text(), "it owns partitions", one, 180)
        rng, walk = np.random.default_rng(5), boundary_walk(np.random.default_rng(6))
        with Client(kafka.bootstrap_servers, "shop", topic_prefix="erase", pseudonym_key=SECRET, redact=["email"]) as client:
            mallory, alice = client.pseudonym("mallory"), client.pseudonym("alice")
            for tick in range(300):
                for order, who in enumerate(("alice", "bob", "carol"), start=3 * tick):
                    ask(client, who, rng.normal(size=3), order)
                if tick > 30:
                    ask(client, "mallory", next(walk))
                time.sleep(0.02)
            assert client.flush(10.0) == 0
        until(lambda: of_client(clickhouse, mallory)["alerts"], "a page about mallory", one, 120)
        stored = settled(clickhouse)
        assert mallory in stored
        assert "Trondheim" in stored
        assert "Munkegata" not in stored, "sampling.allow does not name it"
        assert "someone@example" not in stored, "the SDK's redact keeps it in the service"
        assert {name for row in clickhouse.query("SELECT mapKeys(features) AS names FROM sampled_events") for name in row["names"]} == {
            "age",
            "income",
        }
        assert mallory.encode() in one.state()

        # Nothing in the store leads from a pseudonym to the id: it is made with a key that is nowhere in it.
        for secret in ("mallory", "alice", SECRET, SECRET.encode().hex()):
            assert secret not in stored
        for name in ("md5", "sha1", "sha256", "blake2b"):
            assert hashlib.new(name, b"mallory").hexdigest()[:16] not in stored

        present = everything(clickhouse, "FINAL").count(mallory)  # the engine may merge older tellings away meanwhile
        counted = one.delete("--client", mallory, "--dry-run")
        assert counted.returncode == 0, counted.stderr
        assert everything(clickhouse, "FINAL").count(mallory) == present > 0
        before = of_client(clickhouse, alice)
        n_alerts = clickhouse.query("SELECT uniqExact(alert_id) AS n FROM alerts")

        done = one.delete("--client-id", "-", say="mallory\n")
        assert done.returncode == 0, done.stdout + done.stderr
        said = {table: int(n.replace(",", "")) for table, n in re.findall(r"^(\w+): ([\d,]+) rows", done.stdout, re.MULTILINE)}
        assert min(said["client_windows"], said["sampled_events"], said["alerts"]) > 0
        assert said["acknowledgements"] == 0
        assert mallory not in everything(clickhouse)
        assert mallory[:12] not in everything(clickhouse)
        assert mallory.encode() not in one.state()
        assert of_client(clickhouse, alice) == before
        assert all(before[table] for table in ("client_windows", "sampled_events"))
        assert clickhouse.query("SELECT uniqExact(alert_id) AS n FROM alerts") == n_alerts, "how many alerts there were is still known"
        erased = clickhouse.query("SELECT * FROM alerts FINAL WHERE summary = 'Erased on request.' ORDER BY at")
        assert {row["state"] for row in erased} >= {"firing", "resolved"}
        assert {(row["client"], row["evidence"]) for row in erased} == {("", "{}")}

        (entry,) = clickhouse.query("SELECT subject, detail FROM audit FINAL WHERE kind = 'deletion'")
        assert mallory not in str(entry)
        assert mallory not in str(clickhouse.query("SELECT * FROM audit")), "no row of the audit log names anybody"
        assert '"client_windows"' in entry["detail"]
        chains = subprocess.run(
            [sys.executable, "-m", "streams.cli", "audit", "verify"], env=one.environment, capture_output=True, text=True, timeout=60
        )
        assert chains.returncode == 0, chains.stdout + chains.stderr

        one.stop(signal.SIGKILL)
        one.start()
        again = one.delete("--client", mallory)
        assert again.returncode == 1, again.stdout + again.stderr
        assert "No table knows client" in again.stderr
        time.sleep(5.0)
        assert mallory not in everything(clickhouse)
        assert mallory.encode() not in one.state()

        (kept,) = clickhouse.query("SELECT event_id FROM sampled_events WHERE client = {client:String} LIMIT 1", {"client": alice})
        n = clickhouse.query("SELECT count() AS n FROM sampled_events FINAL")[0]["n"]
        assert one.delete("--event", kept["event_id"]).returncode == 0
        assert f"'{kept['event_id']}'" not in everything(clickhouse)
        assert clickhouse.query("SELECT count() AS n FROM sampled_events FINAL")[0]["n"] == n - 1

        one.stop(signal.SIGTERM)
        late = one.delete("--client", alice, "--timeout", "1")
        assert late.returncode == 4, late.stdout + late.stderr
        assert "have not confirmed" in late.stderr
        assert alice not in everything(clickhouse)
