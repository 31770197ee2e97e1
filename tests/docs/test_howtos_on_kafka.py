"""Commands of the how-tos that need a broker or a store, said as they stand in the pages, and what the pages say of them.

One installation for all: Apache Kafka, a worker, ClickHouse's engine behind HTTP, Alertmanager with what stands for the pager. Its settings
are those that the pages show.
"""

from __future__ import annotations

import json
import re
import time
import urllib.request
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from confluent_kafka import Producer

from dashboards.build import VIEWS
from inferwatch import Client
from streams.embedded.alertmanager import EmbeddedAlertmanager
from streams.embedded.kafka import EmbeddedKafka
from streams.embedded.process import free_ports
from streams.settings import load
from streams.warmup import warm_up
from tests.dashboards.grafana import TOKEN, Grafana
from tests.dashboards.grafana import running as grafana_running
from tests.docs.blocks import ROOT, runnable
from tests.docs.day import KEY, Customers, Desk, ask, rows_of_the_owner, until
from tests.faults.store import Store
from tests.pager import Pager
from tests.streams.test_kserve import headers
from tests.topics import Topics

pytestmark = [
    pytest.mark.kafka, pytest.mark.clickhouse, pytest.mark.alertmanager, pytest.mark.slow, pytest.mark.timeout(900)
]  # fmt: skip
PAGES = {
    "howto/run", "howto/managed-clickhouse", "howto/managed-kafka", "howto/references", "howto/json-events", "howto/canaries", "howto/gate",
    "howto/pages", "howto/verdicts", "howto/siem", "howto/kserve", "howto/incident", "howto/report", "howto/ui", "howto/audit",
    "explanation/privacy",
}  # fmt: skip
"""All their commands are said here, but for those that need another server."""
CANARY = (1937.43, 41.0, "NO")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "store") as running:
        yield running


def test_every_command_for_a_broker_or_a_store_does_what_its_page_says(
    kafka: EmbeddedKafka, topics: Topics, alertmanager: EmbeddedAlertmanager, pager: Pager, store: Store, tmp_path: Path
) -> None:
    prefix = topics.prefix.rstrip(".")
    (port,) = free_ports(1)
    (tmp_path / "pseudonym-key").write_text(f"{KEY}\n")
    settings = [block.text for block in runnable("toml") if block.document.stem in ("gate", "pages", "verdicts")]
    (tmp_path / "inferwatch.toml").write_text("\n".join(settings))
    own = {
        "INFERWATCH_SETTINGS": str(tmp_path / "inferwatch.toml"),
        "INFERWATCH_KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
        "INFERWATCH_KAFKA_TOPIC_PREFIX": prefix,
        "INFERWATCH_KAFKA_PARTITIONS": "3",
        "INFERWATCH_CLICKHOUSE_DSN": store.dsn("inferwatch"),
        "INFERWATCH_ALERTMANAGER_URLS": alertmanager.url,
        "INFERWATCH_ALERTMANAGER_RESEND_S": "1",
        "INFERWATCH_ROUTING_RUNBOOKS_URL": "",  # nobody of that name answers `check`
        "INFERWATCH_WINDOW_LENGTH_S": "2",
        "INFERWATCH_WINDOW_SETTLE_S": "1",
        "INFERWATCH_SAMPLING_EVENTS_PER_WINDOW": "1000",
        "INFERWATCH_MEMBERSHIP_KEY": "m" * 32,
        "INFERWATCH_PSEUDONYM_KEY": KEY,
        "INFERWATCH_STATE_FOLDER": str(tmp_path / "state"),
        "INFERWATCH_METRICS_HOST": "127.0.0.1",
        "INFERWATCH_METRICS_PORT": str(port),
        "XDG_STATE_HOME": str(tmp_path / "home"),
    }
    instead = {
        "localhost:29092": kafka.bootstrap_servers,
        "-t inferwatch.events": f"-t {prefix}.events",
        "INFERWATCH_MEMBERSHIP_KEY=...": f"INFERWATCH_MEMBERSHIP_KEY={'m' * 32}",
        "https://siem.example/ocsf": f"{pager.url}/siem",
        "kafka:security.findings": f"kafka:{topics.create('security.findings', 1)}",
        "--month 2026-11": f"--month {datetime.now(UTC):%Y-%m}",
        "/run/secrets/pseudonym-key": str(tmp_path / "pseudonym-key"),
        "https://iw_migrator@abc123.example.com:8443/inferwatch": store.dsn("inferwatch"),
        "https://iw_writer@abc123.example.com:8443/inferwatch": store.dsn("inferwatch"),
        "/run/secrets/clickhouse-migrator": str(tmp_path / "pseudonym-key"),
        "/run/secrets/clickhouse": str(tmp_path / "pseudonym-key"),
        "'chdb:///var/lib/inferwatch/clickhouse'": f"'chdb://{tmp_path}/store/chdb'",
        "http://grafana@clickhouse:8123/inferwatch": store.dsn("inferwatch"),
    }
    desk = Desk(tmp_path, own, instead)
    rows_of_the_owner(tmp_path / "rows.parquet")
    warm_up(load(None, {}))  # here, so that the worker finds the kernels compiled
    starts = _run(desk)
    with Client(kafka.bootstrap_servers, "shop", topic_prefix=prefix, pseudonym_key=KEY, heartbeat_s=1.0) as watch:
        customers = Customers(watch)
        with desk.running(starts, "worker.log") as log:
            try:
                until(lambda: "judge" in log(), "the worker owns partitions", 200)
                customers.start()
                _references(desk)
                _json_events(desk, kafka, prefix)
                customers.attack.set()
                _canaries(desk, watch)
                mallory = watch.pseudonym("mallory")
                evasion = until(lambda: desk.rows(_page("evasion")), "mallory is paged")[0]["alert_id"]
                customers.attack.clear()
                _gate(desk, kafka, prefix)
                _pages(desk)
                _verdicts(desk, mallory)
                _siem(desk, pager, topics, mallory)
                _kserve(desk)
                _incident(desk, evasion)
                _report(desk)
                _ui(desk)
                _audit(desk, evasion)
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz") as answer:
                    assert answer.read().strip() == b"ok"
                customers.over.set()
                customers.join(10)
                _privacy(desk, watch, evasion)
                _rotate_keys(desk, log)
            finally:
                customers.over.set()
    store.kill()
    _ui_of_a_folder(desk)


def _page(detector: str) -> str:
    return f"SELECT DISTINCT alert_id FROM alerts FINAL WHERE detector = '{detector}' AND severity = 'page' AND version = '7'"


def _run(desk: Desk) -> str:
    """Settings are checked and tables made; what starts the worker."""
    bare, push = desk.page("howto/run")
    migrate, check, worker = (line for line in bare.splitlines() if line.startswith(".venv"))
    desk.run(check, code=1)
    desk.run(migrate)
    said = desk.run(check)
    for page in ("howto/managed-clickhouse", "howto/managed-kafka"):
        assert "ok     ClickHouse" in "".join(desk.run(text) for text in desk.page(page))
    assert len(re.findall("^ok ", said, re.MULTILINE)) == 3
    assert "***" in said
    assert "m" * 32 not in said
    with grafana_running(Grafana()) as grafana:
        push = push.replace("https://grafana.example.com", grafana.url).replace("GRAFANA_TOKEN=...", f"GRAFANA_TOKEN={TOKEN}")
        first, second = desk.run(push), desk.run(push)
    assert len(re.findall("dashboard .*: created", first)) == 6
    assert len(re.findall("dashboard .*: unchanged", second)) == 6
    return worker


def _references(desk: Desk) -> None:
    build, *more = (text for text in desk.page("howto/references") if "--mlflow" not in text)
    until(lambda: desk.rows("SELECT 1 AS n FROM windows WHERE model = 'fraud' AND version = '7' LIMIT 1"), "windows are judged")
    desk.run(build)
    said = "".join(desk.run(text) for text in more)
    assert re.search(r"[\d,]+ of [\d,]+ events", said)
    assert re.search(r"fraud +7 +2026-11 .* drift since", said)
    assert "membership" in desk.run(build)  # the owner's again: what follows needs it
    desk.run("inferwatch reference use fraud 7 training")


def _json_events(desk: Desk, kafka: EmbeddedKafka, prefix: str) -> None:
    page = ROOT / "docs/howto/json-events.md"
    (shell,) = (block.text for block in runnable("sh") if block.document == page)
    (code,) = (block.text for block in runnable("python") if block.document == page)
    desk.run(desk.put_in(shell))
    names: dict[str, Any] = {}
    exec(code, names)
    _, partition = names["key_and_partition"]("fraud", "a1b2c3", 3)
    producer = Producer({"bootstrap.servers": kafka.bootstrap_servers})
    producer.produce(f"{prefix}.events", key=names["key"], value=names["value"].replace(b"e-1", b"e-2"), partition=partition)
    assert producer.flush(20) == 0
    found = until(
        lambda: (rows := desk.rows("SELECT event_id, client FROM sampled_events FINAL WHERE event_id IN ('e-1', 'e-2')"))[1:] and rows,
        "both events are kept",
    )
    assert {(row["event_id"], row["client"]) for row in found} == {("e-1", "a1b2c3"), ("e-2", "a1b2c3")}
    sent = desk.records(f"{prefix}.events", lambda records: sum(record.key() == names["key"] for record in records) == 2)
    assert {record.partition() for record in sent if record.key() == names["key"]} == {partition}, "by kcat and by the program"


def _canaries(desk: Desk, watch: Client) -> None:
    text = (ROOT / "docs/howto/canaries.md").read_text()
    list_them, remove = re.findall(r"`(inferwatch canary [^`]+)`", text)
    amount, age, country = CANARY
    pq.write_table(pa.table({"amount": [amount], "age": [age], "country": [country]}), desk.folder / "canaries.parquet")
    (add,) = desk.page("howto/canaries")
    assert "1 canary records of fraud 7 are looked for." in desk.run(add)
    assert "export-november-1" in desk.run(list_them)
    severities = "SELECT max(severity = 'page') AS page, count() AS n FROM alerts FINAL WHERE detector = 'canary'"
    ask(watch, "thief", *CANARY)
    until(lambda: desk.rows(severities)[0]["n"], "one question is a ticket")
    assert not desk.rows(severities)[0]["page"]
    ask(watch, "thief", *CANARY)
    until(lambda: desk.rows(severities)[0]["page"], "two are a page")
    desk.run(remove)
    assert "0 canary records" in desk.run(list_them)


def _gate(desk: Desk, kafka: EmbeddedKafka, prefix: str) -> None:
    (code,) = (block.text for block in runnable("python") if block.document == ROOT / "docs/howto/gate.md")

    def client(transport: object, **given: Any) -> Client:
        return Client(kafka.bootstrap_servers, topic_prefix=prefix, **given)

    names: dict[str, Any] = {}
    exec(code.replace("from inferwatch import Client, MemoryTransport", ""), {"Client": client, "MemoryTransport": object}, names)
    until(lambda: desk.rows("SELECT 1 AS n FROM loads WHERE version = '8'"), "the load is known")
    (gate,) = desk.page("howto/gate")
    said = desk.run(gate)
    assert "fraud 8: may be promoted" in said
    assert json.loads(said.splitlines()[1])["passed"] is True
    refused = desk.run("inferwatch gate --model fraud --version 7", code=1)
    assert "A page is open" in refused
    assert "No instance of the last hour has told that it loaded it" in refused
    desk.run("inferwatch gate --model fraud", code=2)
    desk.run(gate.splitlines()[0], code=3, INFERWATCH_CLICKHOUSE_DSN="http://default@127.0.0.1:1/inferwatch")


def _pages(desk: Desk) -> None:
    proof, judge = desk.page("howto/pages")
    said = desk.run(proof)
    assert said.count("Every receiver took it") == 2
    assert "pagerduty" in said.partition("Every receiver")[0]
    assert "pagerduty" not in said.partition("Every receiver")[2]
    (canary,) = (row["alert_id"] for row in desk.rows(_page("canary")))
    said = desk.run(judge.replace("d78e9e8d8cfb", canary))
    assert f"{canary}  page" in said
    assert f"{canary} (page, canary on fraud 7): benign-cause" in said
    assert canary in desk.run("inferwatch alert list"), "an acknowledgement does not end it"


def _verdicts(desk: Desk, mallory: str) -> None:
    (text,) = desk.page("howto/verdicts")
    said = desk.run(text)
    (judged,) = (line for line in said.splitlines() if mallory in line)
    assert "throttle(10)" in judged
    assert "54cd255fa23c1c4c" not in said.partition("\n")[0]
    listed = desk.run("inferwatch verdict list --model fraud")
    assert re.search(r"54cd255fa23c1c4c.*throttle\(10\)", listed)
    assert "whole model" not in listed


def _siem(desk: Desk, pager: Pager, topics: Topics, mallory: str) -> None:
    (text,) = desk.page("howto/siem")
    http, topic, file = (f"{line} --group {k}" for k, line in enumerate(text.strip().splitlines()))
    with desk.running(http, "http.log", INFERWATCH_OCSF_AUTHORIZATION="Bearer x"):
        posted = pager.wait_for(lambda n: n.receiver == "siem" and n.mentions(mallory), timeout=60)
    with desk.running(topic, "topic.log"):
        sent = [
            json.loads(record.value())
            for record in desk.records(f"{topics.prefix}security.findings", lambda some: any(b"anary" in record.value() for record in some))
        ]
    with desk.running(file, "file.log"):
        lines = until(lambda: (p := desk.folder / "findings.jsonl").exists() and p.read_text().splitlines(), "findings are in the file")
    written = [json.loads(line) for line in lines]
    assert {one["class_uid"] for one in (*(n.body for n in posted), *sent, *written)} == {2004}
    assert not any("anary" in json.dumps(one) for one in written), "another detector's"


def _kserve(desk: Desk) -> None:
    (text,) = desk.page("howto/kserve")
    (port,) = free_ports(1)
    about = {"identity": "k-1", "Ce-Inferenceservicename": "fraud", "Ce-Time": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"}
    halves = [
        ("org.kubeflow.serving.inference.request", {"instances": [{"amount": 1.5, "age": 40.0, "country": "NO"}]}),
        ("org.kubeflow.serving.inference.response", {"predictions": ["yes"]}),
    ]
    with desk.running(f"{text.strip()} --port {port}", "kserve.log") as log:
        until(lambda: "payload logger" in log(), "it listens")
        for kind, body in halves:
            request = urllib.request.Request(f"http://127.0.0.1:{port}/", json.dumps(body).encode(), headers(kind, **about))
            urllib.request.urlopen(request).close()
        (row,) = until(lambda: desk.rows("SELECT * FROM sampled_events FINAL WHERE startsWith(event_id, 'k-1')"), "the event is kept")
    assert (row["model"], row["version"], row["prediction"]) == ("fraud", "7", "yes")
    assert row["client"] not in ("", "alice")


def _incident(desk: Desk, alert_id: str) -> None:
    (text,) = desk.page("howto/incident")
    export, verify = text.replace("d78e9e8d8cfb", alert_id).strip().splitlines()
    (said,) = re.findall(r"^Manifest sha256 ([0-9a-f]{64})$", desk.run(export), re.MULTILINE)
    desk.run(verify.replace("9f86d081884c7d65", said))
    desk.run(verify, code=1)
    files = set(zipfile.ZipFile(desk.folder / f"incident-{alert_id}.zip").namelist())
    table = re.findall(r"^\| (`.*`) \|", (ROOT / "docs/howto/incident.md").read_text(), re.MULTILINE)
    named = {name for cell in table for name in re.findall(r"`([^`]+)`", cell)}
    assert {re.sub(r"references/.*\.iwref", "references/ID.iwref", name) for name in files} == named


def _report(desk: Desk) -> None:
    (text,) = desk.page("howto/report")
    desk.run(text)
    for name in (f"inferwatch-{datetime.now(UTC):%Y-%m}", "fraud-november"):
        page = (desk.folder / f"{name}.html").read_text()
        figures = json.loads((desk.folder / f"{name}.json").read_bytes())
        assert page.rstrip().endswith("</html>")
        assert "is not over" in page
        assert figures


def _views(address: str) -> None:
    for name in VIEWS:
        with urllib.request.urlopen(f"{address}view/{name}") as answer:
            text = answer.read().decode()
        assert 'class="error"' not in text, name
        assert "fraud" in text, name


def _ui(desk: Desk) -> None:
    (text,) = desk.page("howto/ui")
    server, folder = (re.sub(r" +#.*", "", line) for line in text.strip().splitlines())
    with desk.running(f"{server} --port 0", "ui.log") as log:
        _views(until(lambda: re.findall(r"http://127\.0\.0\.1:\d+/", log()), "it serves")[-1])
    assert "is open in another process" in desk.run(folder, code=1)


def _ui_of_a_folder(desk: Desk) -> None:
    (text,) = desk.page("howto/ui")
    folder = re.sub(r" +#.*", "", text.strip().splitlines()[1])
    with desk.running(f"{folder} --port 0", "ui-folder.log") as log:
        _views(until(lambda: re.findall(r"http://127\.0\.0\.1:\d+/", log()), "it serves")[-1])


def _audit(desk: Desk, alert_id: str) -> None:
    (text,) = desk.page("howto/audit")
    said = desk.run(text)
    for kind in ("alert", "verdict", "reference", "settings", "key", "acknowledgement", "export", "report"):
        assert re.search(rf"\b{kind}\b", said), kind
    assert alert_id in said


def _privacy(desk: Desk, watch: Client, evasion: str) -> None:
    """Mallory by the id, another by the pseudonym, and one event: nothing of them is left, and the alert stays without a name."""
    (text,) = desk.page("explanation/privacy")
    ask(watch, "somebody", 1.5, 40.0, "NO", event_id="order-17")
    assert watch.flush(20) == 0
    other = watch.pseudonym("customer-1")
    until(lambda: desk.rows("SELECT 1 AS n FROM sampled_events WHERE event_id = 'order-17'"), "the order is kept")
    time.sleep(5)  # what the last windows say is in the store, too
    (desk.folder / "id.txt").write_text("mallory\n")
    export, dry_run, *delete = text.strip().replace("fdbf8b1cacd3d578e062d0e41104357d", other).splitlines()
    said = desk.run(f"{export}\n{dry_run}")
    assert re.search(r"sampled_events: [1-9]\d* rows would be deleted", said)
    desk.run("\n".join([export, *delete]))
    names = f"('{other}', '{watch.pseudonym('mallory')}')"
    for table in ("sampled_events", "client_windows", "alerts"):
        assert desk.rows(f"SELECT count() AS n FROM {table} FINAL WHERE client IN {names}") == [{"n": 0}], table
    assert desk.rows("SELECT count() AS n FROM sampled_events WHERE event_id = 'order-17'") == [{"n": 0}]
    assert evasion in {row["alert_id"] for row in desk.rows(_page("evasion"))}


def _rotate_keys(desk: Desk, log: Any) -> None:
    build, _, publish = desk.page("howto/references")[0].strip().splitlines()
    desk.run(f"{build}\n{publish}", INFERWATCH_MEMBERSHIP_KEY="n" * 32)
    (quoted,) = re.findall(r"the log says `([^`]+)`", (ROOT / "docs/howto/rotate-keys.md").read_text().replace("\n   ", " "))
    first, last = quoted.split(" ... ")
    until(lambda: any(first in line and last in line for line in log().splitlines()), f"the worker says {quoted}")
