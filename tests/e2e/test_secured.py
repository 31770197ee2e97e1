"""A whole run on a Kafka with TLS, passwords and rights: everybody has just the rights that are listed, and no secret is anywhere."""

from __future__ import annotations

import base64
import contextlib
import json
import logging
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec
import numpy as np
import pytest
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka import admin as kafka_admin
from confluent_kafka.admin import AdminClient

from inferwatch import NOTHING, Client, Verdict, Verdicts, pseudonym_of
from schemas.acls import Acl, acls
from schemas.operations import SetVerdict
from schemas.reference import decode, encode
from streams.embedded import MissingPartError
from streams.embedded.kafka import EmbeddedKafka
from streams.embedded.process import free_ports
from streams.embedded.security import Security
from streams.kafka import ensure_topics, publish_reference
from streams.migrate import migrate
from streams.settings import load
from streams.verdict_topic import newest, read_verdicts, tell
from streams.warmup import warm_up
from tests.commands import cli
from tests.e2e.test_path import _ROWS, ask, boundary_walk
from tests.parts import unavailable
from tests.streams.events import KEY, NAMES, reference, settings
from tests.streams.https_clickhouse import serve
from tests.streams.tls import Certificates, certificates, login

_acl: Any = kafka_admin  # public by its docs, not by its annotations
pytestmark = [pytest.mark.kafka, pytest.mark.clickhouse, pytest.mark.timeout(280)]

PASSWORDS = {
    user: f"{user}-pass-{n}f9Qz" for n, user in enumerate(("admin", "service", "worker", "publisher", "oncall", "gateway", "builder"))
}
MODEL = "shop-risk"
SECRETS = {
    "sasl password": PASSWORDS["worker"],
    "service password": PASSWORDS["service"],
    "wrong password": "a-wrong-word-7Hq",
    "membership key": KEY.decode(),
    "pseudonym key": "pseudonym-key-of-this-test-3kV",
    "previous pseudonym key": "previous-key-of-this-test-8mB",
    "clickhouse password": "clickhouse pass/5tR",
    "clickhouse password in its URL": "dsnPass2wX",
    "alertmanager password": "pager pass/6yU",
    "alertmanager token": "tokenInUrl9pL",
    "pagerduty key": "pagerduty-key-1oK",
    "a client's id": "mallory@example.com",
}


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[EmbeddedKafka, Certificates]]:
    made = certificates(tmp_path_factory.mktemp("tls"))
    try:
        with EmbeddedKafka(security=Security(made.keystore, made.ca, PASSWORDS)) as kafka:
            yield kafka, made
    except MissingPartError as error:
        unavailable("The embedded Kafka", str(error))


def admin_of(kafka: EmbeddedKafka, made: Certificates) -> AdminClient:
    return AdminClient(login(made.ca, "admin", PASSWORDS["admin"]) | {"bootstrap.servers": kafka.bootstrap_servers})


def binding(one: Acl) -> Any:
    kinds = {"topic": "TOPIC", "group": "GROUP", "transactional-id": "TRANSACTIONAL_ID"}
    kind = getattr(_acl.ResourceType, kinds[one.resource])
    operation = getattr(_acl.AclOperation, one.operation.upper())
    pattern = _acl.ResourcePatternType.PREFIXED if one.name.endswith("*") else _acl.ResourcePatternType.LITERAL
    return _acl.AclBinding(kind, one.name.rstrip("*"), pattern, f"User:{one.user}", "*", operation, _acl.AclPermissionType.ALLOW)


def allow(admin: AdminClient, rights: list[Acl]) -> None:
    for future in admin.create_acls([binding(one) for one in rights]).values():
        future.result(timeout=20)


def forbid(admin: AdminClient, one: Acl) -> None:
    given = binding(one)
    filter_ = _acl.AclBindingFilter(
        given.restype, given.name, given.resource_pattern_type, given.principal, given.host, given.operation, given.permission_type
    )
    for future in admin.delete_acls([filter_]).values():
        assert len(future.result(timeout=20)) == 1


class Run:
    """A worker process with a folder, a prefix and a port of its own; what it says is kept over restarts."""

    def __init__(self, kafka: EmbeddedKafka, made: Certificates, folder: Path, prefix: str) -> None:
        (self.port,) = free_ports(1)
        self.log, self.folder, self.said = folder / "log", folder, b""
        self.process: subprocess.Popen[bytes] | None = None
        self.environment = {
            **cli.environment(),
            "INFERWATCH_KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
            "INFERWATCH_KAFKA_TOPIC_PREFIX": prefix,
            "INFERWATCH_KAFKA_GROUP": f"{prefix}-worker",
            "INFERWATCH_KAFKA_PARTITIONS": "2",
            "INFERWATCH_KAFKA_SESSION_TIMEOUT_S": "6",
            "INFERWATCH_KAFKA_SECURITY": "sasl_ssl",
            "INFERWATCH_KAFKA_CA_FILE": str(made.ca),
            "INFERWATCH_KAFKA_SASL_USERNAME": "worker",
            "INFERWATCH_KAFKA_SASL_PASSWORD": PASSWORDS["worker"],
            "INFERWATCH_CLICKHOUSE_DSN": f"chdb://{folder}/chdb?database=inferwatch",
            "INFERWATCH_STATE_STORE": "kafka",
            "INFERWATCH_WINDOW_LENGTH_S": "2",
            "INFERWATCH_WINDOW_SETTLE_S": "1",
            "INFERWATCH_METRICS_HOST": "127.0.0.1",
            "INFERWATCH_METRICS_PORT": str(self.port),
            "INFERWATCH_MEMBERSHIP_KEY": SECRETS["membership key"],
            "INFERWATCH_LOG_LEVEL": "debug",
            "PAGERDUTY_KEY": SECRETS["pagerduty key"],
        }

    def start(self, **more: str) -> None:
        with self.log.open("ab") as log:
            command = [sys.executable, "-m", "streams.cli", "worker"]
            self.process = subprocess.Popen(command, env=self.environment | more, stdout=log, stderr=log)

    def end(self) -> int:
        assert self.process is not None
        self.look()
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(40)

    def kill(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def get(self, path: str) -> tuple[int, str]:
        with contextlib.suppress(OSError):
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/{path}", timeout=5) as answer:
                    status, text = answer.status, answer.read().decode()
            except urllib.error.HTTPError as error:
                status, text = error.code, error.read().decode()
            self.said += text.encode()
            return status, text
        return 0, ""

    def look(self) -> None:
        self.get("healthz")
        self.get("metrics")

    def until(self, fact: Callable[[], bool], what: str, timeout_s: float = 60.0) -> None:
        end = time.monotonic() + timeout_s
        while not fact():
            assert time.monotonic() < end, f"not within {timeout_s:.0f} s: {what}; {self.get('healthz')}\n{self.log.read_text()[-4000:]}"
            time.sleep(0.1)

    def until_said(self, pattern: str, timeout_s: float = 60.0) -> None:
        self.until(lambda: re.search(pattern, self.log.read_text() + self.get("healthz")[1]) is not None, pattern, timeout_s)


@pytest.fixture
def run(secured: tuple[EmbeddedKafka, Certificates], tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Run]:
    one = Run(*secured, tmp_path, f"run{abs(hash(request.node.name)) % 10**8}")
    warm_up(settings())  # here, so that the workers find the kernels compiled
    yield one
    one.kill()


def service(run: Run, made: Certificates, **more: Any) -> Client:
    return Client(
        run.environment["INFERWATCH_KAFKA_BOOTSTRAP_SERVERS"],
        "shop",
        topic_prefix=run.environment["INFERWATCH_KAFKA_TOPIC_PREFIX"],
        pseudonym_key=SECRETS["pseudonym key"],
        previous_pseudonym_key=SECRETS["previous pseudonym key"],
        kafka_options=login(made.ca, "service", PASSWORDS["service"]),
        heartbeat_s=0.5,
        **more,
    )


def rights_of(run: Run) -> list[Acl]:
    return list(acls(run.environment["INFERWATCH_KAFKA_TOPIC_PREFIX"], run.environment["INFERWATCH_KAFKA_GROUP"]))


def everything_on_kafka(kafka: EmbeddedKafka, made: Certificates, prefix: str) -> dict[str, bytes]:
    """Keys, values and headers of every record, by topic without its prefix."""
    options = login(made.ca, "admin", PASSWORDS["admin"]) | {"bootstrap.servers": kafka.bootstrap_servers}
    reader = Consumer(options | {"group.id": "reader", "enable.partition.eof": True, "auto.offset.reset": "earliest"})
    topics = {name: topic for name, topic in reader.list_topics(timeout=20).topics.items() if name.startswith(prefix)}
    places = [TopicPartition(name, partition, 0) for name, topic in topics.items() for partition in topic.partitions]
    reader.assign(places)
    heaps: dict[str, list[bytes]] = {name: [] for name in topics}
    ended = 0
    while ended < len(places):
        for message in reader.consume(200, timeout=5):
            if message.error() is not None:
                ended += 1
            else:
                heaps[message.topic() or ""] += [message.key() or b"", message.value() or b"", repr(message.headers()).encode()]
    reader.close()
    assert len(topics) == 12
    return {name.removeprefix(f"{prefix}."): b"\n".join(heap) for name, heap in heaps.items()}


def forms(secret: str) -> set[bytes]:
    """As it is, quoted, and in base64 at each of its three alignments."""
    raw = secret.encode()
    found = {raw, quote(secret, safe="").encode(), repr(secret)[1:-1].encode()}
    for skip in range(3):
        encoded = base64.b64encode(b"\0" * skip + raw)
        found.add(encoded[-(-skip * 8 // 6) + (1 if skip else 0) : len(encoded) - 4])
    return {form for form in found if len(form) >= 6}


@pytest.fixture
def stack() -> Iterator[contextlib.ExitStack]:
    with contextlib.ExitStack() as one:
        yield one


@pytest.mark.slow
def test_a_whole_run_with_failures_leaves_no_secret_anywhere(
    run: Run, secured: tuple[EmbeddedKafka, Certificates], caplog: pytest.LogCaptureFixture, stack: contextlib.ExitStack
) -> None:
    kafka, made = secured
    caplog.set_level(logging.DEBUG)
    allow(admin_of(kafka, made), rights_of(run))
    prefix, embedded = run.environment["INFERWATCH_KAFKA_TOPIC_PREFIX"], run.environment["INFERWATCH_CLICKHOUSE_DSN"]
    clickhouse = stack.enter_context(serve(run.folder / "chdb", made, SECRETS["clickhouse password"]))
    with clickhouse.connect(ca_file=str(made.ca)) as connection:
        migrate(connection)
    run.environment["INFERWATCH_CLICKHOUSE_DSN"] = f"https://writer@127.0.0.1:{clickhouse.port}/inferwatch"
    run.environment["INFERWATCH_CLICKHOUSE_CA_FILE"] = str(made.ca)
    run.environment["INFERWATCH_CLICKHOUSE_PASSWORD"] = SECRETS["clickhouse password"]

    run.start(INFERWATCH_KAFKA_SASL_PASSWORD=SECRETS["wrong password"])
    run.until_said("uthentication failed")
    run.end()
    away, refusing = free_ports(2)
    password, token = quote(SECRETS["alertmanager password"], safe=""), SECRETS["alertmanager token"]
    pagers = f"http://pager:{password}@127.0.0.1:{away},http://127.0.0.1:{refusing}?token={token}"
    run.start(INFERWATCH_ALERTMANAGER_URLS=pagers)
    run.until_said("Alertmanager is away")
    run.until(lambda: "owner" in run.log.read_text() and run.get("metrics")[0] == 200, "it owns partitions")

    publisher = msgspec.structs.replace(
        load(None, {name: value for name, value in run.environment.items() if name.startswith("INFERWATCH_")}).kafka,
        sasl_username="publisher", sasl_password=PASSWORDS["publisher"],
    )  # fmt: skip
    publish_reference(publisher, MODEL, "1", encode(reference(seed=11, model=MODEL)))
    publish_reference(publisher, "damaged", "1", b"IWREF1\nno reference")
    run.until_said("a reference cannot be used")
    odd = Producer(login(made.ca, "service", PASSWORDS["service"]) | {"bootstrap.servers": kafka.bootstrap_servers})
    for kind in ("application/json", "text/plain"):
        odd.produce(f"{prefix}.events", b'{"model": ', partition=0, headers={"content-type": kind})
    odd.flush(20)
    rng, walk = np.random.default_rng(5), boundary_walk(np.random.default_rng(6))
    with service(run, made) as watch:
        for tick in range(300):
            for who in rng.integers(0, 20, 5):
                ask(watch, f"customer-{who}", rng.normal(size=len(NAMES)))
            if tick >= 50:
                ask(watch, SECRETS["a client's id"], next(walk))
            time.sleep(0.01)
        assert watch.flush(20) == 0
        assert dict(watch.stats().dropped) == {}
        said_by_sdk = repr(watch) + repr(watch._transport) + repr(watch._settings)
    run.until(lambda: "inferwatch_dead_letters_total" in run.get("metrics")[1], "dead letters are counted")
    time.sleep(4)
    run.look()
    assert run.end() == 0

    for dsn, password in (
        (f"http://writer:{SECRETS['clickhouse password in its URL']}@127.0.0.1:{away}/inferwatch", ""),
        (f"http://writer@127.0.0.1:{away}/inferwatch", SECRETS["clickhouse password"]),
    ):
        run.start(INFERWATCH_CLICKHOUSE_DSN=dsn, INFERWATCH_CLICKHOUSE_PASSWORD=password)
        with service(run, made) as watch:
            for _ in range(20):
                ask(watch, "customer-1", rng.normal(size=len(NAMES)))
                time.sleep(0.3)
        run.until_said("ClickHouse|clickhouse")
        run.look()
        run.end()

    assert "request" in clickhouse.end()
    clickhouse.process.wait(20)
    done = subprocess.run([sys.executable, "-c", _ROWS, embedded], capture_output=True, check=True)
    assert json.loads(done.stdout)["windows"], "no rows: nothing was looked through"
    topics = everything_on_kafka(kafka, made, prefix)
    heaps = {
        "the log": run.log.read_bytes(),
        "/healthz and /metrics": run.said,
        "rows": done.stdout,
        "snapshots": topics.pop("state"),
        "topics": b"\n".join(topics.values()),
        "what the SDK says": (caplog.text + said_by_sdk).encode(),
    }
    assert all(len(heap) > 100 for heap in heaps.values())
    leaks = [
        f"{name} in {where}"
        for where, heap in heaps.items()
        for name, secret in SECRETS.items()
        if any(form in heap for form in forms(secret))
    ]
    assert leaks == []


@pytest.mark.slow
def test_service_and_worker_need_no_right_beyond_those_listed_and_a_missing_one_is_named(
    run: Run, secured: tuple[EmbeddedKafka, Certificates], caplog: pytest.LogCaptureFixture
) -> None:
    kafka, made = secured
    admin, prefix = admin_of(kafka, made), run.environment["INFERWATCH_KAFKA_TOPIC_PREFIX"]
    rights = rights_of(run)
    missing_create = next(one for one in rights if one.operation == "create" and one.name.endswith(".alerts"))
    missing_group = next(one for one in rights if one.user == "worker" and one.name == f"{prefix}-worker")
    missing_write = next(one for one in rights if one.user == "worker" and one.operation == "write" and one.name.endswith(".windows"))
    service_write = next(one for one in rights if one.user == "service" and one.name.endswith(".events"))
    absent = (missing_create, missing_group, missing_write, service_write)
    allow(admin, [one for one in rights if one not in absent])

    run.start()
    run.until_said(rf"{prefix}\.alerts cannot be created: .*uthorization")
    allow(admin, [missing_create])
    with contextlib.suppress(subprocess.TimeoutExpired):
        assert run.process is not None
        run.process.wait(5)
    if run.process is None or run.process.poll() is not None:
        run.start()
    run.until_said("(?i)group.{0,40}authorization")
    allow(admin, [missing_group])
    run.kill()
    run.start()
    run.until(lambda: "owner" in run.log.read_text(), "it owns partitions")

    with service(run, made, close_timeout_s=1) as watch:
        assert watch.record(model=MODEL, version="1", client="c", features={"age": 1.0})
        assert watch.flush(3) == 1
        assert f"may not write to topic {prefix}.events" in caplog.text
        allow(admin, [service_write])
        assert watch.flush(20) == 0
        for _ in range(20):
            watch.record(model=MODEL, version="1", client="c", features={"age": 1.0})
            time.sleep(0.2)
        assert watch.flush(20) == 0
    run.until_said(rf"{prefix}\.windows: .*uthorization")
    assert run.get("healthz")[0] == 503
    allow(admin, [missing_write])
    run.until(lambda: re.search(r'owner="judge",reason=""\} [1-9]', run.get("metrics")[1]) is not None, "the counts arrive")
    forbid(admin, service_write)
    reader = Consumer(login(made.ca, "service", PASSWORDS["service"]) | {"bootstrap.servers": kafka.bootstrap_servers, "group.id": "spy"})
    reader.assign([TopicPartition(f"{prefix}.lifecycle", 0, 0)])
    message = reader.poll(10)
    reader.close()
    assert message is None or "uthorization" in str(message.error()), "a service reads what others wrote"
    assert run.end() == 0


def test_a_gateway_reads_verdicts_and_on_call_decides_them_with_the_rights_that_are_listed_and_no_others(
    secured: tuple[EmbeddedKafka, Certificates], caplog: pytest.LogCaptureFixture
) -> None:
    kafka, made = secured
    admin = admin_of(kafka, made)
    prefix = "rights-of-the-gateway"
    plain = settings(kafka={"bootstrap_servers": kafka.bootstrap_servers, "topic_prefix": prefix, "partitions": 2}).kafka
    users = {
        user: msgspec.structs.replace(
            plain,
            security="sasl_ssl",
            ca_file=str(made.ca),
            sasl_username=user,
            sasl_password=PASSWORDS[user],
            sasl_mechanism="SCRAM-SHA-512",
        )
        for user in ("worker", "oncall")
    }
    rights = [one for one in acls(prefix) if one.user in ("oncall", "gateway")]
    allow(admin, [one for one in acls(prefix) if one.user == "worker"])
    ensure_topics(users["worker"])

    def gateway() -> Verdicts:
        options = login(made.ca, "gateway", PASSWORDS["gateway"])
        return Verdicts(kafka.bootstrap_servers, topic_prefix=prefix, pseudonym_key=b"k" * 16, kafka_options=options, environment={})

    verdict = Verdict(model="m", client=pseudonym_of(b"k" * 16, "alice"), action="block", expires_ns=2**62)
    order = SetVerdict(verdict=verdict)
    with gateway() as blind:
        assert not blind.wait(4)
        assert blind.look_up("m", "alice") is NOTHING
    with pytest.raises(KafkaException, match=r"(?i)authori"):
        tell(users["oncall"], order)
    with pytest.raises(KafkaException, match=r"(?i)authori"):
        read_verdicts(users["oncall"])
    allow(admin, rights)
    tell(users["oncall"], order)
    assert read_verdicts(users["oncall"]) == ([], 0)
    assert newest(users["oncall"], f"{prefix}.audit", f"{prefix}-audit") == {}
    sender = Producer(login(made.ca, "worker", PASSWORDS["worker"]) | {"bootstrap.servers": kafka.bootstrap_servers})
    sender.produce(f"{prefix}.verdicts", msgspec.json.encode(verdict), verdict.key, 0)
    assert sender.flush(20) == 0
    with gateway() as seeing:
        assert seeing.wait(20), caplog.text
        assert seeing.look_up("m", "alice").action == "block"
    for user, topic in (("gateway", "events"), ("gateway", "alerts"), ("oncall", "events"), ("gateway", "operations")):
        reader = AdminClient(login(made.ca, user, PASSWORDS[user]) | {"bootstrap.servers": kafka.bootstrap_servers})
        error = reader.list_topics(f"{prefix}.{topic}", timeout=20).topics[f"{prefix}.{topic}"].error
        assert "uthorization" in str(error), f"{user} sees {topic}"
    forger = Producer(
        login(made.ca, "oncall", PASSWORDS["oncall"]) | {"bootstrap.servers": kafka.bootstrap_servers, "message.timeout.ms": 5_000}
    )
    refused: list[Any] = []
    forger.produce(f"{prefix}.verdicts", b"{}", b"m", 0, on_delivery=lambda error, _: refused.append(error))
    forger.flush(15)
    assert refused[0] is not None, "on-call writes past the judge"


@pytest.mark.slow
def test_a_builder_reads_the_stream_with_the_rights_that_are_listed_and_publishes_nothing(
    secured: tuple[EmbeddedKafka, Certificates], tmp_path: Path
) -> None:
    """`reference build --from-stream` on a cluster that denies by default; without one of them it says which topic it may not read."""
    kafka, made = secured
    admin, prefix, group = admin_of(kafka, made), "rights-of-the-builder", "builders-worker"
    worker = settings(kafka={"bootstrap_servers": kafka.bootstrap_servers, "topic_prefix": prefix, "partitions": 2, "security": "sasl_ssl",
                             "ca_file": str(made.ca), "sasl_mechanism": "SCRAM-SHA-512", "sasl_username": "worker",
                             "sasl_password": PASSWORDS["worker"]}).kafka  # fmt: skip
    rights = acls(prefix, group)
    allow(admin, [one for one in rights if one.user in ("worker", "service")])
    ensure_topics(worker)
    rng, options = np.random.default_rng(3), login(made.ca, "service", PASSWORDS["service"])
    with Client(kafka.bootstrap_servers, "shop", topic_prefix=prefix, pseudonym_key=b"k" * 16, kafka_options=options) as watch:
        for k in range(600):
            ask(watch, f"customer-{k % 40}", rng.normal(size=len(NAMES)))
        assert watch.flush(20) == 0

    out = tmp_path / "made.iwref"
    environment = {
        **cli.environment(),
        "INFERWATCH_KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
        "INFERWATCH_KAFKA_TOPIC_PREFIX": prefix,
        "INFERWATCH_KAFKA_GROUP": group,
        "INFERWATCH_KAFKA_SECURITY": "sasl_ssl",
        "INFERWATCH_KAFKA_CA_FILE": str(made.ca),
        "INFERWATCH_KAFKA_SASL_USERNAME": "builder",
        "INFERWATCH_KAFKA_SASL_PASSWORD": PASSWORDS["builder"],
        "INFERWATCH_CLICKHOUSE_DSN": "http://nobody@127.0.0.1:1/inferwatch",
    }

    def build(*more: str) -> tuple[int, str]:
        command = [sys.executable, "-m", "streams.cli", "reference", "build", "--from-stream", "--last", "1h", "--model", MODEL]
        done = subprocess.run(
            [*command, "--version", "1", *more], env=environment, capture_output=True, text=True, timeout=120, check=False
        )
        return done.returncode, done.stdout + done.stderr

    mine = [one for one in rights if one.user == "builder"]
    assert {one.name for one in mine} == {f"{prefix}.{topic}" for topic in ("events", "labels", "verdicts")}
    allow(admin, mine)
    code, said = build("--out", str(out))
    assert code == 0, said
    assert decode(out.read_bytes()).model == MODEL
    for one in mine:
        forbid(admin, one)
        code, said = build("--out", str(tmp_path / "none.iwref"))
        assert code != 0, f"not needed: {one}"
        assert one.name in said, said
        assert "Traceback" not in said
        allow(admin, [one])
    assert not (tmp_path / "none.iwref").exists()
    code, said = build("--name", "month", "--out", str(tmp_path / "none.iwref"))
    assert code != 0
    assert f"{prefix}.references" in said, said
    code, said = build("--name", "month", "--like", str(out), "--out", str(tmp_path / "month.iwref"))
    assert code == 0, said
    code, said = build("--out", str(tmp_path / "none.iwref"), "--publish")
    assert code != 0
    assert f"{prefix}.references" in said, said
