"""Every panel shows something after recorded traffic has gone the whole way: SDK, shards, judges, rows, the real engine."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow.parquet as pq
import pytest

from dashboards.macros import expand
from inferwatch import Client, MemoryTransport
from inferwatch._codec import decode_columns
from schemas import findings, windows
from schemas.rows import TABLES, Row
from schemas.suspects import SuspectRows
from schemas.windows import Finding
from streams.build import build
from streams.clickhouse import ClickHouse
from streams.judge import Judge
from streams.metrics import Metrics
from streams.migrate import migrate
from streams.owner import NS, Outbox, Record, Role
from streams.references import References
from streams.self_report import SelfReport
from streams.shard import Shard
from streams.tables import Meta, matrix, read_meta, read_reference
from tests.dashboards.rows import END, END_NS
from tests.dashboards.test_dashboards import ALL, CASES, is_empty, panel_of
from tests.streams.events import KEY, settings

TRACE = Path(__file__).parents[1] / "traces" / "breast_cancer_rf"
HOURS, PARTITIONS = 5, 3
BEGIN_NS = END_NS - HOURS * 3600 * NS
_TOPICS: dict[str, Role] = {"events": "events", "labels": "labels", "lifecycle": "lifecycle"}
_ROWS = {table.table: table for table in TABLES}


def recorded() -> tuple[list[Any], int]:
    """The trace through the SDK: what it would send to Kafka, and how many events that are.

    Some requests fail, some are denied, some get a label, and one attack (random rows, to copy the model) is dealt out to twenty accounts.
    """
    table = pq.read_table(TRACE / "events.parquet")
    X, P = matrix(TRACE, table["features"], "features"), matrix(TRACE, table["probs"], "probs")
    names = read_meta(TRACE / "meta.json").features or []
    at = table["ts"].to_numpy()
    at_ns = BEGIN_NS + np.round((at - at[0]) / (at[-1] - at[0]) * (HOURS * 3600 - 700)).astype(np.int64) * NS
    alone, shared = table["client_id"].to_pylist(), table["truth"].to_pylist()
    clients = [f"account-{i % 20}" if shared[i] == "attack:extraction:knockoff_random" else client for i, client in enumerate(alone)]
    rng = np.random.default_rng(0)
    latency = rng.gamma(4.0, 5.0, len(table))
    transport, sent = MemoryTransport(PARTITIONS), 0
    with Client(service="clinic", instance="last-night", transport=transport, pseudonym_key=b"k" * 32, strict=True) as ended:
        assert ended.loaded(model="tumour", version="1", digest="sha256:1", signature="valid", key_id="k1")
    with Client(service="clinic", transport=transport, pseudonym_key=b"k" * 32, heartbeat_s=0.05, strict=True) as client:
        client.gauge("gpu_share", 0.6)
        for i in range(len(table)):
            features: dict[str, Any] = dict(zip(names, X[i].tolist(), strict=True))
            if i > 9_000 and i % 3 == 0:
                features[names[0]] = None
            sent += client.record(
                model="tumour", version="1", client=clients[i], features=features, scores=P[i].tolist(), latency_ms=float(latency[i]),
                status="error" if i % 211 == 0 else "ok", at_ns=int(at_ns[i]), event_id=f"visit-{i}",
                feature_view="visits:2" if i % 3 else None, feature_age_s=float(i % 600) if i % 3 else None,
            )  # fmt: skip
            if i % 2 == 0:
                truth = int(P[i].argmax()) ^ int(i % 40 == 0)
                assert client.label(model="tumour", event_id=f"visit-{i}", truth=truth)
            if i % 500 == 0:
                sent += client.denied(model="tumour", version="1", client="nobody", status="forbidden", at_ns=int(at_ns[i]))
                assert client.flush(30.0) == 0  # labels among events, as in service: how busy this machine is does not order them
        assert client.loaded(model="tumour", version="1", digest="sha256:1", signature="valid", key_id="k1")
        assert client.flush(30.0) == 0
    return transport.records, sent


class Wired:
    """Shards and judges wired together, as a worker and Kafka do it; rows are kept."""

    def __init__(self, references: References) -> None:
        given = settings(window={"length_s": 300.0}, clock={"past_s": 1e10, "future_s": 1e10})
        self.shards = [Shard(p, given, references) for p in range(PARTITIONS)]
        self.judge = Judge(0, given, references)
        self.rows: list[Row] = []
        self._offsets: Counter[tuple[Role, int]] = Counter()

    def take(self, role: Role, partition: int, value: bytes, headers: dict[str, str], at_ns: int) -> None:
        offset = self._offsets[role, partition]
        self._offsets[role, partition] += 1
        owner = self.shards[partition] if role == "events" else self.judge
        owner.apply(Record(role, partition, offset, value, at_ns, headers=headers))
        self._pass_on(owner.outbox)

    def finish(self) -> None:
        for shard in self.shards:
            shard.finish()
            self._pass_on(shard.outbox)
        self.judge.tick(END_NS)
        self._pass_on(self.judge.outbox)

    def _pass_on(self, outbox: Outbox) -> None:
        outs = list(outbox)
        outbox.ack(out.id for out in outs)
        for out in outs:
            if out.to == "rows":
                self.rows.append(msgspec.msgpack.decode(out.value, type=_ROWS[out.key.decode()]))
            elif out.to == "windows":
                end_ns = windows.decode_partial(out.value).end_ns
                self.take("windows", 0, out.value, {}, end_ns)
                self.judge.tick(end_ns)
            elif out.to == "findings":
                message = findings.decode(out.value, out.headers)
                at_ns = message.end_ns if isinstance(message, SuspectRows) else message.at_ns if isinstance(message, Finding) else END_NS
                self.take("findings", 0, out.value, out.headers, at_ns)


def workers(path: Wired) -> list[Row]:
    """What the worker that had these shards and this judge would say of itself."""
    metrics, now = Metrics(), END_NS - 600 * NS
    owners: list[tuple[str, Shard | Judge]] = [*(("shard", shard) for shard in path.shards), ("judge", path.judge)]
    for kind, owner in owners:
        metrics.count_owner(kind, {"evicted.clients": 1} | dict(owner.counters()))
        metrics.snapshot_bytes.labels(kind, "0").set(len(owner.snapshot()))
        metrics.lag.labels("inferwatch.events", "0").set(0)
    report = SelfReport(metrics, None, "host:9464", wall_ns=lambda: now)  # type: ignore[arg-type]  # its rows are taken here
    report.read(Record("events", 0, 0, b"", now - NS))
    return [report.row()]


@pytest.fixture(scope="module")
def store(chdb_directory: Path) -> Iterator[ClickHouse]:
    meta = msgspec.structs.replace(read_meta(TRACE / "meta.json"), classes=None)
    assert isinstance(meta, Meta)
    rows = read_reference(TRACE / "reference.parquet", meta)
    references = References(KEY)
    references.put(build("tumour", "1", rows, membership_key=KEY, built_at_ns=0).reference)
    path = Wired(references)
    records, sent = recorded()
    goodbye = [record for record in records if record.topic.endswith("lifecycle")][-1]
    first = next(record for record in records if record.topic.endswith("events"))
    twice = len(decode_columns(first.value))
    loaded_first = next(record for record in records if record.topic.endswith("lifecycle"))  # by an instance that has ended since
    for record in [first, *(record for record in records if record is not goodbye)]:  # the service goes on; one record comes twice
        role: Role = _TOPICS[record.topic.rpartition(".")[2]]
        headers = {name: value.decode() for name, value in record.headers}
        at_ns = END_NS - (660 if record is loaded_first else 600) * NS
        path.take(role, record.partition if role == "events" else 0, record.value, headers, at_ns)
    path.take("events", 0, b"no record at all", {}, END_NS - 600 * NS)  # which becomes a dead letter
    path.finish()
    path.rows += workers(path)
    assert sum(shard.received for shard in path.shards) == sent + twice + 1
    assert sum((shard.rejected for shard in path.shards), Counter()) == {"duplicate": twice, "truncated": 1}
    with ClickHouse(f"chdb://{chdb_directory}?database=replayed") as clickhouse:
        migrate(clickhouse)
        for table in TABLES:
            part = [row for row in path.rows if isinstance(row, table)]
            assert part or table.table in ("quality_windows", "acknowledgements"), f"nothing for {table.table}"
            if part:
                clickhouse.insert(part, f"rows of {table.table}")
        assert clickhouse.query("SELECT sum(accepted) AS n FROM windows FINAL") == [{"n": sent}]
        yield clickhouse


@pytest.mark.clickhouse
@pytest.mark.parametrize(("name", "title"), CASES)
def test_a_panel_shows_something_of_what_was_replayed(store: ClickHouse, name: str, title: str) -> None:
    found = store.query(expand(panel_of(name, title).sql, start=END - timedelta(hours=6), end=END, variables=ALL))
    assert not is_empty(found), "an empty panel tells on-call that nothing is wrong"


@pytest.mark.clickhouse
def test_the_attackers_lead_the_riskiest_clients(store: ClickHouse) -> None:
    found = store.query("SELECT client, max(ln_evasion) AS ln FROM client_windows FINAL GROUP BY client ORDER BY ln DESC LIMIT 1")
    paged = store.query("SELECT DISTINCT client FROM alerts FINAL WHERE severity = 'page' AND client != ''")
    assert found[0]["client"] in {row["client"] for row in paged}
