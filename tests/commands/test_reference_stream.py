"""`inferwatch reference build --from-stream`, against Apache Kafka and a store: the rows are those of a file, but for an attacker's."""

from __future__ import annotations

import re
import time
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from confluent_kafka import Producer

from detectors.drift import DriftReference
from inferwatch import CONTENT_TYPE_COLUMNS, EventColumns, Label, Verdict, encode
from schemas import forget
from schemas.forget import Forget
from schemas.reference import Reference, decode
from schemas.rows import AckRow, AlertRow
from streams import kafka
from streams.accused import named_by_alerts
from streams.clickhouse import ClickHouse
from streams.kafka import ensure_topics, partition_for_key
from streams.migrate import migrate
from streams.settings import Kafka
from tests.commands.cli import NOWHERE, run
from tests.streams.events import NS, events
from tests.topics import Topics

pytestmark = pytest.mark.kafka
DAY = 86_400.0
N = 4_000


class Installation:
    """Topics with six days of events that Kafka took just now, as they are after an outage of the network."""

    def __init__(self, topics: Topics, dsn: str) -> None:
        self.kafka = Kafka(bootstrap_servers=topics.bootstrap_servers, topic_prefix=topics.prefix.rstrip("."), partitions=3)
        self.environment = NOWHERE | {
            "INFERWATCH_KAFKA_BOOTSTRAP_SERVERS": self.kafka.bootstrap_servers,
            "INFERWATCH_KAFKA_TOPIC_PREFIX": self.kafka.topic_prefix,
            "INFERWATCH_KAFKA_PARTITIONS": "3",
            **({"INFERWATCH_CLICKHOUSE_DSN": dsn} if dsn else {}),
        }
        ensure_topics(self.kafka)
        self.now_ns = time.time_ns()
        self._producer = Producer({"bootstrap.servers": self.kafka.bootstrap_servers})
        batch = events(N, clients=12, rate=N / (6 * DAY))
        self.events = EventColumns(
            **{f: getattr(batch, f) for f in batch.__slots__} | {"at_ns": batch.at_ns - batch.at_ns[-1] + self.now_ns - NS}
        )
        clients = [batch.client[k] or "" for k in range(N)]
        for client in sorted(set(clients)):
            mine = self.events.take(np.flatnonzero([one == client for one in clients]))
            for a in range(0, len(mine), 100):
                self.send("events", client, encode(mine.take(slice(a, a + 100)).compact()), headers={"content-type": CONTENT_TYPE_COLUMNS})
        self.send("events", "c1", b"\x00 what nobody can read", headers={"content-type": CONTENT_TYPE_COLUMNS})

    def send(self, topic: str, key: str, *values: bytes, headers: dict[str, str | bytes | None] | None = None) -> None:
        for value in values:
            place = partition_for_key(key.encode(), 3)
            self._producer.produce(f"{self.kafka.topic_prefix}.{topic}", value, key, place, headers=headers or {})
        assert self._producer.flush(20) == 0

    def build(self, out: Path, *more: object, code: int = 0) -> tuple[Reference | None, str]:
        said = run("reference", "build", "--from-stream", "--model", "m", "--version", "1", "--out", out, *more, **self.environment)
        assert said.exit_code == code, said.output
        return (decode(out.read_bytes()) if out.exists() else None), " ".join(said.output.split())

    def of_file(self, folder: Path, without: set[str], y: list[str | None] | None = None) -> Reference:
        """The reference of the same rows in a file."""
        rows = [k for k in range(N) if self.events.client[k] not in without]
        some = self.events.take(np.array(rows))
        assert some.scores is not None
        columns: dict[str, object] = {name: some.numeric[:, j] for j, name in enumerate(some.names)}
        columns |= {"prob_no": some.scores[:, 0], "prob_yes": some.scores[:, 1], "latency_ms": some.latency_ms, "ts": some.at_ns / NS}
        pq.write_table(pa.table(columns | ({"y": pa.array([y[k] for k in rows])} if y else {})), folder / "rows.parquet")
        said = run("reference", "build", folder / "rows.parquet", "--model", "m", "--version", "1", "--out", folder / "file.iwref")
        assert said.exit_code == 0, said.output
        return decode((folder / "file.iwref").read_bytes())


@pytest.fixture
def there(topics: Topics) -> Installation:
    return Installation(topics, "")


def alert(name: str, opened_ns: int, client: str = "", clients: tuple[str, ...] = (), state: str = "firing") -> AlertRow:
    return AlertRow(
        alert_id=name, model="m", version="1", detector="extraction", alertname="InferwatchExtraction", severity="ticket", state=state,
        opened_at=opened_ns, at=opened_ns + 60 * NS, client=client, clients=clients, revision=opened_ns,
    )  # fmt: skip


@pytest.mark.clickhouse
@pytest.mark.timeout(240)
def test_it_is_the_reference_of_a_file_of_the_same_rows_without_those_whom_alerts_or_verdicts_name(
    topics: Topics, clickhouse: ClickHouse, clickhouse_dsn: str, tmp_path: Path
) -> None:
    migrate(clickhouse)
    there = Installation(topics, clickhouse_dsn)
    day_ns, now_ns = round(DAY * NS), there.now_ns
    clickhouse.insert(
        [
            alert("a1", now_ns - day_ns, client="c1"),
            alert("a2", now_ns - 3 * day_ns, clients=("c2", "c3"), state="resolved"),
            alert("a3", now_ns - day_ns, client="c4"),  # false
            alert("a4", now_ns - 20 * day_ns, client="c5", state="resolved"),  # long over
            alert("a5", now_ns - 20 * day_ns, client="c6"),  # for long, and still
            msgspec.structs.replace(alert("a6", now_ns - day_ns, client="c7"), model="another"),
        ],
        "alerts",
    )  # fmt: skip
    ack = AckRow(
        alert_id="a3", opened_at=now_ns - day_ns, model="m", version="1", detector="extraction", severity="ticket", verdict="false",
        at=now_ns, revision=now_ns,
    )  # fmt: skip
    clickhouse.insert([ack], "acks")
    first_ns = now_ns - 7 * day_ns
    assert named_by_alerts(clickhouse, "m", first_ns, now_ns) == {"c1", "c2", "c3", "c6"}
    verdict = Verdict(model="m", client="c8", action="block", reason="person", issued_ns=now_ns - day_ns, expires_ns=now_ns + day_ns)
    there.send("verdicts", verdict.key.decode(), msgspec.json.encode(verdict))
    truths: list[str | None] = [("yes" if k % 3 else "no") if k % 2 else None for k in range(N)]
    labels = [Label(model="m", event_id=there.events.id_of(k), truth=truth) for k, truth in enumerate(truths) if truth is not None]
    there.send("labels", "m", *map(msgspec.json.encode, labels))
    built, said = there.build(tmp_path / "stream.iwref", "--last", "7d", "--without-clients", "c9,nobody")
    assert built is not None
    out = {"c1", "c2", "c3", "c6", "c8", "c9"}
    expected = there.of_file(tmp_path, out, truths)
    assert (built.source, built.rows) == ("stream", expected.rows)
    assert built.parts.keys() == expected.parts.keys()
    for name, part in expected.parts.items():
        assert built.parts[name] == part, name
    drift = DriftReference.from_bytes(built.parts["drift"])
    assert drift.certificate is not None
    assert "Replay of its own days" in said
    assert f"{N - expected.rows:,} events of clients that were named, or have alerts or verdicts, are left out" in said
    assert re.search(rf"From the stream: {expected.rows:,} of {expected.rows:,} events from 20\S+ \S+Z to 20\S+ \S+Z, seed \d+\.", said)
    assert f"from the stream: {built.origin}" in " ".join(run("reference", "show", tmp_path / "stream.iwref").output.split())


@pytest.mark.timeout(240)
def test_a_seed_gives_the_same_rows_and_a_silent_store_is_a_note(there: Installation, tmp_path: Path) -> None:
    one, said = there.build(tmp_path / "one.iwref", "--rows", 500, "--seed", 3)
    other, _ = there.build(tmp_path / "other.iwref", "--rows", 500, "--seed", 3)
    third, _ = there.build(tmp_path / "third.iwref", "--rows", 500, "--seed", 4)
    assert one is not None
    assert other is not None
    assert third is not None
    assert one.rows == 500
    assert one.id == other.id != third.id
    assert "clients with alerts are in, unless --without-clients names them:" in said
    there.send("events", "c1", forget.encode(Forget(client="c1")), headers={"ce_type": forget.CE_TYPE})
    (tmp_path / "names").write_text("c2\nc3\n")
    rest, _ = there.build(tmp_path / "rest.iwref", "--without-clients", f"@{tmp_path / 'names'}", "--publish")
    assert rest is not None
    assert rest.rows == sum(there.events.client[k] not in ("c1", "c2", "c3") for k in range(N))
    month, said = there.build(tmp_path / "month.iwref", "--name", "month", "--last", "3d")
    assert month is not None
    assert (month.name, month.source, month.features, month.classes) == ("month", "stream", rest.features, rest.classes)
    assert month.rows < rest.rows


@pytest.mark.timeout(240)
def test_what_cannot_be_built_is_said_with_what_to_do(there: Installation, tmp_path: Path) -> None:
    there.environment["INFERWATCH_KAFKA_TOPIC_PREFIX"] = there.kafka.topic_prefix
    _, said = there.build(tmp_path / "x.iwref", "--version", "2", code=2)
    assert "no answered event of m 2 is on the topic between 20" in said
    assert f"Seen: m 1 ({N:,} events)" in said
    _, said = there.build(tmp_path / "x.iwref", "--from", "60m", code=2)
    assert "too few, 200 are the least, 2,000 are better. Give a longer time" in said
    for more, told in (
        (["--from", "1d", "--to", "2d"], "--from must be before --to"),
        (["--from", "yesterday"], "--from 'yesterday': expected 30m, 12h, 7d, 4w, or a date"),
        (["--time-column", "ts"], "events have their times"),
        (["rows.parquet"], "give one of a parquet file of rows"),
        (["--without-clients", "@/no/such/file"], "--without-clients @/no/such/file"),
        (["--meta", "no.json"], "no.json: no such file"),
    ):
        assert told in there.build(tmp_path / "x.iwref", *more, code=2)[1]
    there.environment["INFERWATCH_KAFKA_TOPIC_PREFIX"] = "absent"
    assert "Topics are made by the first worker" in there.build(tmp_path / "x.iwref", code=1)[1]


def test_options_of_the_stream_need_it_and_without_a_broker_it_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kafka, "_REACH_S", 0.5)
    said = run("reference", "build", "rows.parquet", "--model", "m", "--version", "1", "--last", "7d")
    assert said.exit_code == 2
    assert "go with --from-stream" in said.stderr
    said = run("reference", "build", "--from-stream", "--model", "m", "--version", "1", **NOWHERE)
    assert said.exit_code == 1
    assert "127.0.0.1:1" in said.stderr
