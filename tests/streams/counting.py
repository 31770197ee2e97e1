"""Owners that count, to see whether anything is lost or doubled; and a worker made of them.

``python -m tests.streams.counting SETTINGS.toml`` runs it.
"""

import gc
import os
import sys
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path

import aiokafka
import msgspec

from schemas.alerts import Alert
from schemas.rows import QualityWindowRow, Row
from streams import monitor
from streams.lanes import SinkCounts, SinkFullError
from streams.owner import Out, Outbox, Record, Role
from streams.settings import load
from streams.worker import run_worker

FRAUD = b"fraud"
RESOLVE = 1_000_000
"""A number that ends the alert."""


class Told(msgspec.Struct):
    """What a counting shard tells the judge about each record."""

    partition: int
    sequence: int
    value: int


class CountingShard:
    """Adds up the numbers in the records, by key, and tells each to the judge. Text makes it fail; "hang" and "deaf" stop it."""

    def __init__(self, partition: int) -> None:
        self.partition = partition
        self.outbox = Outbox()
        self.next: dict[Role, int] = {}
        self.sums: Counter[str] = Counter()
        self.records = self.sequence = self.ticks = 0

    def apply(self, record: Record) -> bool:
        if record.offset < self.next.get(record.role, 0):
            return False
        if record.value == b"hang":
            time.sleep(3600)
        if record.value == b"deaf" and os.environ.get("TEST_DEAF"):
            _stop_fetching()
        value = 0 if record.value == b"deaf" else int(record.value)
        self.sums[record.key.decode()] += value
        self.records += 1
        self.outbox.add("windows", FRAUD, msgspec.msgpack.encode(Told(self.partition, self.sequence, value)))
        self.sequence += 1
        self.next[record.role] = record.offset + 1
        return True

    def tick(self, now_ns: int) -> None:
        self.ticks += 1

    def snapshot(self) -> bytes:
        return msgspec.msgpack.encode((self.next, dict(self.sums), self.records, self.sequence, self.outbox.dump()))

    def restore(self, blob: bytes) -> None:
        kind = tuple[dict[Role, int], dict[str, int], int, int, tuple[int, list[Out]]]
        self.next, sums, self.records, self.sequence, outbox = msgspec.msgpack.decode(blob, type=kind)
        self.sums = Counter(sums)
        self.outbox.load(*outbox)

    def counters(self) -> dict[str, int]:
        return {"events": self.records}


def _stop_fetching() -> None:
    """The consumer's fetcher asks for nothing any more, while the loop, the heartbeats and everything else go on."""
    for thing in gc.get_objects():
        if isinstance(thing, aiokafka.AIOKafkaConsumer):
            thing.pause(*thing.assignment())


class CountingJudge:
    """Adds up what the shards tell, each sequence number once; says so by a row, and by an alert at the first, which `RESOLVE` ends."""

    def __init__(self, partition: int) -> None:
        self.partition = partition
        self.outbox = Outbox()
        self.next: dict[Role, int] = {}
        self.seen: dict[int, int] = {}
        self.total = self.told = self.twice = self.holes = 0
        self.alerts: list[Alert] = []
        self.opened = False

    def apply(self, record: Record) -> bool:
        if record.offset < self.next.get(record.role, 0):
            return False
        self.next[record.role] = record.offset + 1
        if record.role != "windows":
            return True
        told = msgspec.msgpack.decode(record.value, type=Told)
        expected = self.seen.get(told.partition, 0)
        if told.sequence < expected:
            self.twice += 1
            return True
        self.holes += told.sequence - expected
        self.seen[told.partition] = told.sequence + 1
        self.total += told.value
        self.told += 1
        row = QualityWindowRow(model="fraud", version="1", start=record.offset, service="s", kind="k", n=1, per_10k=1.0)
        self.outbox.add("rows", b"quality_windows", msgspec.msgpack.encode(row))
        if told.value == RESOLVE:
            for alert in self.alerts:
                over = msgspec.structs.replace(alert, state="resolved", resolved_at_ns=time.time_ns())
                self.outbox.add("alerts", alert.alert_id.encode(), msgspec.json.encode(over))
            self.alerts = []
        elif not self.opened:
            self.open("first")
        return True

    def open(self, alert_id: str) -> None:
        self.opened = True
        alert = Alert(
            alert_id=alert_id, model="fraud", version="1", detector="drift", severity="page", state="firing", at_ns=1, opened_at_ns=1
        )
        self.alerts.append(alert)
        self.outbox.add("alerts", alert_id.encode(), msgspec.json.encode(alert))

    def tick(self, now_ns: int) -> None: ...

    def snapshot(self) -> bytes:
        numbers = (self.total, self.told, self.twice, self.holes)
        return msgspec.msgpack.encode((self.next, self.seen, numbers, self.alerts, self.opened, self.outbox.dump()))

    def restore(self, blob: bytes) -> None:
        kind = tuple[dict[Role, int], dict[int, int], tuple[int, int, int, int], list[Alert], bool, tuple[int, list[Out]]]
        self.next, self.seen, numbers, self.alerts, self.opened, outbox = msgspec.msgpack.decode(blob, type=kind)
        self.total, self.told, self.twice, self.holes = numbers
        self.outbox.load(*outbox)

    def open_alerts(self) -> Sequence[Alert]:
        return self.alerts


class ListSink:
    """A store that keeps rows in a list; `error` makes it refuse them."""

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.tokens: list[str] = []
        self.error: Exception | None = None

    def put(self, rows: Sequence[Row], token: str) -> Future[None]:
        self.tokens.append(token)
        future: Future[None] = Future()
        if (path := os.environ.get("TEST_SINK_AWAY")) and Path(path).exists():
            future.set_exception(SinkFullError("away"))
        elif self.error is None:
            self.rows += rows
            if path := os.environ.get("TEST_ROWS"):
                lines = [f"{time.time()} {row.start} {row.revision}\n" for row in rows if isinstance(row, QualityWindowRow)]
                with Path(path).open("a") as file:
                    file.writelines(lines)
            future.set_result(None)
        else:
            future.set_exception(self.error)
        return future

    @property
    def counts(self) -> SinkCounts:
        return SinkCounts(
            pending=0, inserted=len(self.rows), refused=0, dropped=0, abandoned=0, retried=0, last_error=str(self.error or "")
        )


if __name__ == "__main__":
    monitor._GRACE_S = float(os.environ.get("TEST_GRACE", "1"))  # most tests do not wait as long as an operator
    sys.exit(
        run_worker(
            load(Path(sys.argv[1])),
            make_shard=CountingShard,
            make_judge=CountingJudge,
            on_reference=lambda model, version, blob: None,
            sink=ListSink(),
            broker_patience_s=float(os.environ.get("TEST_BROKER_PATIENCE", "inf")),
        )
    )
