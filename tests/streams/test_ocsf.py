"""Findings are what OCSF's Detection Finding says, by a library's models of it, and reach the SIEM at least once."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp import web
from confluent_kafka import Consumer, Producer
from py_ocsf_models.events.findings.detection_finding import DetectionFinding
from py_ocsf_models.events.findings.severity_id import SeverityID
from py_ocsf_models.events.findings.status_id import StatusID

from schemas.alerts import ALERTNAMES, Alert
from schemas.techniques import ATLAS, BY_DETECTOR, OF_SEVERAL
from streams.ocsf import MAX_CLIENTS, detection_finding
from streams.page_text import PageText
from streams.settings import Routing, Settings
from streams.siem import File, Http, RefusedError, UnavailableError
from streams.siem_export import UnreadableError, finding_of
from tests.commands.cli import environment, run
from tests.topics import Topics

LINKED = Settings(routing=Routing(environment="prod", team="ml", runbooks_url="https://docs.example/r", dashboards_url="https://g.example"))
SECOND = 10**9


def alert(detector: Any = "evasion", **said: Any) -> Alert:
    """An alert that has just opened."""
    defaults: dict[str, Any] = {
        "alert_id": "d78e9e8d8cfb", "model": "fraud", "version": "7", "severity": "page", "state": "firing",
        "at_ns": 1_790_000_000 * SECOND, "opened_at_ns": 1_790_000_000 * SECOND, "client": "c0ffee", "n_events": 240, "log_evidence": 18.0,
        "summary": "Client c0ffee searches.", "evidence": {"chain": 12, "margin": float("nan"), "status": "calibrated"},
        "techniques": BY_DETECTOR[detector][0], "owasp": BY_DETECTOR[detector][1],
    }  # fmt: skip
    return Alert(detector=detector, **defaults | said)


def finding(one: Alert, settings: Settings = LINKED) -> dict[str, Any]:
    """As it is sent."""
    sent: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(detection_finding(one, PageText(settings), "0.1.0")))
    return sent


def as_the_library_reads_it(sent: dict[str, Any]) -> dict[str, Any]:
    """Parsed by its models and written again: what they do not know is gone."""
    read: dict[str, Any] = DetectionFinding.model_validate(sent).model_dump(mode="json", exclude_unset=True)
    return read


@pytest.mark.parametrize("detector", sorted(ALERTNAMES))
@pytest.mark.parametrize("settings", [LINKED, Settings()], ids=["linked", "plain"])
def test_every_alert_is_a_detection_finding_without_a_field_that_the_library_does_not_know(detector: str, settings: Settings) -> None:
    sent = finding(alert(detector, service="checkout", feature="amount"), settings)
    for evidence in sent["evidences"]:
        evidence.pop("actor", None)  # OCSF 1.5.0 has it; the library says "to do"
    assert as_the_library_reads_it(sent) == sent
    assert (sent["class_uid"], sent["category_uid"], sent["type_uid"]) == (2004, 2, 200401)


@pytest.mark.parametrize(
    ("said", "activity", "status"),
    [
        ({}, 1, "New"),
        ({"at_ns": 1_790_000_060 * SECOND}, 2, "In Progress"),
        ({"at_ns": 1_790_000_600 * SECOND, "state": "resolved", "resolved_at_ns": 1_790_000_600 * SECOND}, 3, "Resolved"),
    ],
)
def test_one_alert_is_one_finding_that_is_created_updated_and_closed(said: dict[str, Any], activity: int, status: str) -> None:
    sent = finding(alert(**said))
    assert (sent["activity_id"], sent["type_uid"], sent["status"]) == (activity, 200400 + activity, status)
    assert StatusID(sent["status_id"]).name == status.replace(" ", "")
    assert SeverityID(sent["severity_id"]).name == sent["severity"]
    assert sent["finding_info"]["uid"] == "d78e9e8d8cfb"
    assert sent["finding_info"]["first_seen_time"] == 1_790_000_000_000
    assert sent["finding_info"]["last_seen_time"] == said.get("at_ns", 1_790_000_000 * SECOND) // 10**6


def test_the_same_state_has_the_same_uid_and_another_state_another() -> None:
    first, again, later = finding(alert()), finding(alert()), finding(alert(at_ns=1_790_000_001 * SECOND))
    assert first == again
    assert first["metadata"]["uid"] != later["metadata"]["uid"]


def test_severity_techniques_resources_and_pseudonyms_are_where_a_siem_looks_for_them() -> None:
    sent = finding(alert(service="checkout"))
    assert (sent["severity_id"], finding(alert(severity="ticket"))["severity_id"]) == (4, 3)
    first = sent["finding_info"]["attacks"][0]
    assert first["technique"] == {"uid": "AML.T0043", "name": "Craft Adversarial Data"}
    assert first["sub_technique"] == {"uid": "AML.T0043.001", "name": "Black-Box Optimization"}
    assert sent["finding_info"]["attacks"][1] == {"version": "5.6.0", "technique": {"uid": "AML.T0015", "name": "Evade AI Model"}}
    assert [one["type"] for one in sent["resources"]] == ["ML model", "Service"]
    assert sent["evidences"][1]["actor"]["user"]["uid"] == sent["observables"][0]["value"] == "c0ffee"
    assert sent["evidences"][0]["data"]["chain"] == 12
    assert sent["evidences"][0]["data"]["margin"] is None  # JSON knows no NaN
    assert sent["remediation"]["references"] == ["https://docs.example/r/InferwatchEvasion.md"]
    assert sent["finding_info"]["src_url"].startswith("https://g.example/d/")


def test_every_technique_that_an_alert_may_name_has_a_name_at_both_levels() -> None:
    for technique in {*ATLAS, *OF_SEVERAL}:
        attack = finding(alert(techniques=(technique,)))["finding_info"]["attacks"][0]
        assert attack["technique"]["name"] != attack["technique"]["uid"]
        assert ATLAS[technique] in {part["name"] for part in attack.values() if isinstance(part, dict)}


def test_a_swarm_of_any_size_is_bounded_and_counted() -> None:
    sent = finding(alert(client=None, clients=tuple(f"c{i}" for i in range(5_000))))
    assert len(sent["observables"]) == MAX_CLIENTS
    assert sent["unmapped"]["clients"] == 5_000


def test_pending_alerts_and_other_detectors_are_left_out_and_nonsense_is_an_error() -> None:
    text = PageText(Settings())
    assert finding_of(msgspec.json.encode(alert(state="pending")), text, (), "0") is None
    assert finding_of(msgspec.json.encode(alert()), text, ("drift",), "0") is None
    made = finding_of(msgspec.json.encode(alert()), text, ("evasion",), "0")
    assert made is not None
    assert made[0] == "d78e9e8d8cfb"
    for nonsense in (b'{"alert_id": 5}', b"[" * 100_000, msgspec.json.encode(alert(opened_at_ns=10**30)), b"\xff"):
        with pytest.raises(UnreadableError):
            finding_of(nonsense, text, (), "0")


# -- destinations -----------------------------------------------------------------------------------------------------------------------


async def test_a_line_that_a_crash_cut_stays_alone(tmp_path: Path) -> None:
    path = tmp_path / "findings.jsonl"
    path.write_bytes(b'{"whole": 1}\n{"cut": ')
    await File(path).put("a", b'{"next": 2}')
    assert path.read_bytes().splitlines() == [b'{"whole": 1}', b'{"cut": ', b'{"next": 2}']


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has /dev/full")
async def test_a_full_disk_leaves_no_part_of_a_line(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match="No space left"):
        await File(Path("/dev/full")).put("a", b"{}")
    with pytest.raises(UnavailableError, match="No such file"):
        await File(tmp_path / "missing" / "x").put("a", b"{}")


class Endpoint:
    """A SIEM's HTTP endpoint, that can be told what to answer."""

    def __init__(self) -> None:
        self.answers: list[int] = []
        self.taken: list[dict[str, Any]] = []
        self.asked: list[tuple[str, str]] = []

    async def handle(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.asked.append((request.headers.get("Authorization", ""), request.headers["Content-Type"]))
        status = self.answers.pop(0) if self.answers else 200
        if status == 200:
            self.taken.append(body)
        return web.Response(status=status, headers={"Location": "/elsewhere"} if status == 302 else {})


@contextmanager
def listening(endpoint: Endpoint) -> Iterator[str]:
    """Its URL; served by a thread with a loop of its own."""
    held = socket.create_server(("127.0.0.1", 0))
    loop = asyncio.new_event_loop()
    over = asyncio.Event()

    async def serve() -> None:
        app = web.Application()
        app.add_routes([web.post("/ocsf", endpoint.handle)])
        runner = web.AppRunner(app)
        await runner.setup()
        await web.SockSite(runner, held).start()
        await over.wait()
        await runner.cleanup()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    try:
        yield f"http://127.0.0.1:{held.getsockname()[1]}/ocsf"
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join()
        loop.close()


@pytest.mark.parametrize(
    ("status", "error"),
    [(400, RefusedError), (413, RefusedError), (503, UnavailableError), (401, UnavailableError), (302, UnavailableError)],
)
async def test_what_an_endpoint_answers_says_whether_to_try_again(status: int, error: type[Exception]) -> None:
    endpoint = Endpoint()
    with listening(endpoint) as url:
        there = Http(url + "?token=abcd", "Bearer k")
        endpoint.answers = [status]
        with pytest.raises(error, match=f"HTTP {status}") as raised:
            await there.put("a", b"{}")
        assert "abcd" not in str(raised.value)
        await there.put("a", b"{}")
        await there.close()
    assert endpoint.asked == [("Bearer k", "application/json")] * 2


async def test_nobody_there_is_no_reason_to_give_up() -> None:
    there = Http("http://127.0.0.1:1/x", "")
    with pytest.raises(UnavailableError):
        await there.put("a", b"{}")
    await there.close()


# -- the command ------------------------------------------------------------------------------------------------------------------------


class Exporting:
    """`inferwatch ocsf` in a process of its own, on topics of the test's own."""

    def __init__(self, topics: Topics, log: Path) -> None:
        topics.create("alerts", partitions=1)
        self.prefix, self.log = topics.prefix.removesuffix("."), log
        self.environment = environment(
            INFERWATCH_KAFKA_BOOTSTRAP_SERVERS=topics.bootstrap_servers,
            INFERWATCH_KAFKA_TOPIC_PREFIX=self.prefix,
            INFERWATCH_OCSF_AUTHORIZATION="Bearer very-secret",
            PYTHONPATH=os.pathsep.join(sys.path),
        )
        self.producer = Producer({"bootstrap.servers": topics.bootstrap_servers})
        self.process: subprocess.Popen[bytes] | None = None

    def publish(self, *values: bytes | None) -> None:
        for value in values:
            self.producer.produce(f"{self.prefix}.alerts", key=b"k", value=value)
        assert self.producer.flush(20) == 0

    def start(self, to: str, *more: str) -> None:
        with self.log.open("ab") as log:
            command = [sys.executable, "-m", "streams.cli", "ocsf", "--to", to, "--group", self.prefix, *more]
            self.process = subprocess.Popen(command, env=self.environment, stdout=log, stderr=log)

    def end(self, number: int = signal.SIGTERM) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(30)

    def until(self, done: Callable[[], bool], seconds: float = 40) -> None:
        assert self.process is not None
        deadline = time.monotonic() + seconds
        while not done():
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.05)


@pytest.fixture
def exporting(topics: Topics, tmp_path: Path) -> Iterator[Exporting]:
    made = Exporting(topics, tmp_path / "log")
    yield made
    if made.process is not None and made.process.poll() is None:
        made.process.kill()
        made.process.wait()


def numbered(first: int, n: int) -> list[bytes]:
    return [msgspec.json.encode(alert(alert_id=f"a{i}")) for i in range(first, first + n)]


@pytest.mark.kafka
def test_alerts_reach_an_endpoint_that_was_broken_once_it_is_well_and_go_on_after_a_restart(exporting: Exporting, tmp_path: Path) -> None:
    endpoint = Endpoint()
    endpoint.answers = [503, 200, 422]
    (port,) = _free()
    with listening(endpoint) as url:
        exporting.publish(*numbered(0, 2), None, b"no alert", *numbered(2, 1))
        exporting.start(url, "--metrics-port", str(port))
        exporting.until(lambda: len(endpoint.taken) == 2)
        exporting.until(lambda: _sample(port, "delivered") == 2)
        assert (_sample(port, "retried"), _sample(port, "refused"), _sample(port, "unreadable")) == (1, 1, 1)
        assert exporting.end() == 0
        exporting.publish(*numbered(3, 2))
        exporting.start(url)
        exporting.until(lambda: len(endpoint.taken) == 4)
        assert exporting.end() == 0
    assert [one["finding_info"]["uid"] for one in endpoint.taken] == ["a0", "a2", "a3", "a4"]
    assert all(as_the_library_reads_it(one) for one in endpoint.taken)
    assert {key for key, _ in endpoint.asked} == {"Bearer very-secret"}
    said = exporting.log.read_text()
    assert "very-secret" not in said
    assert "a finding was not taken; trying again" in said
    assert "a finding is refused and given up" in said


@pytest.mark.kafka
def test_a_kill_loses_nothing_and_repeats_under_the_same_uid(exporting: Exporting, tmp_path: Path) -> None:
    path = tmp_path / "findings.jsonl"

    def lines() -> list[str]:
        return path.read_text().splitlines() if path.exists() else []

    exporting.publish(*numbered(0, 400))
    exporting.start(str(path))
    exporting.until(lambda: len(lines()) >= 20)
    exporting.end(signal.SIGKILL)
    exporting.start(str(path))
    exporting.until(lambda: len({json.loads(line)["metadata"]["uid"] for line in lines()}) == 400)
    assert exporting.end() == 0
    assert len(lines()) <= 402


@pytest.mark.kafka
def test_findings_go_to_a_topic_of_the_cluster(exporting: Exporting, topics: Topics) -> None:
    there = topics.create("security.findings", partitions=1)
    exporting.publish(*numbered(0, 3))
    exporting.start(f"kafka:{there}")
    reader = Consumer({"bootstrap.servers": topics.bootstrap_servers, "group.id": f"{there}-test", "auto.offset.reset": "earliest"})
    reader.subscribe([there])
    found: list[Any] = []

    def three() -> bool:
        message = reader.poll(0.2)
        if message is not None and message.error() is None:
            found.append((message.key(), json.loads(message.value() or b"")))
        return len(found) == 3

    exporting.until(three)
    reader.close()
    assert exporting.end() == 0
    assert [key for key, _ in found] == [b"a0", b"a1", b"a2"]
    assert found[0][1]["class_uid"] == 2004


@pytest.mark.kafka
def test_a_topic_that_is_not_there_ends_the_command_with_what_to_do(topics: Topics) -> None:
    result = run(
        "ocsf", "--to", "x.jsonl", "--group", topics.prefix,
        INFERWATCH_KAFKA_BOOTSTRAP_SERVERS=topics.bootstrap_servers, INFERWATCH_KAFKA_TOPIC_PREFIX=f"{topics.prefix}none",
    )  # fmt: skip
    assert result.exit_code == 1
    assert "Workers make the topic" in result.output


@pytest.mark.parametrize("target", ["", "ftp://siem", "kafka:", "kafka:a b", "https://"])
def test_a_destination_that_is_none_is_refused(target: str) -> None:
    result = run("ocsf", "--to", target, INFERWATCH_KAFKA_BOOTSTRAP_SERVERS="127.0.0.1:1")
    assert result.exit_code == 2, result.output
    assert "expected" in result.output or "no host" in result.output


def test_a_key_file_that_is_not_there_is_named() -> None:
    result = run("ocsf", "--to", "x", INFERWATCH_OCSF_AUTHORIZATION_FILE="/nowhere/key")
    assert result.exit_code == 2
    assert "INFERWATCH_OCSF_AUTHORIZATION_FILE: /nowhere/key: No such file" in result.output


def _free() -> tuple[int]:
    with socket.create_server(("127.0.0.1", 0)) as one:
        return (int(one.getsockname()[1]),)


def _sample(port: int, outcome: str) -> float:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
        text = answer.read().decode()
    (line,) = [line for line in text.splitlines() if line.startswith(f'inferwatch_siem_findings_total{{outcome="{outcome}"}}')]
    return float(line.rpartition(" ")[2])
