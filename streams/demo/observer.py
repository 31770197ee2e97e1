"""What can be seen from outside: the demo reads the worker's topics as any consumer may, and `/metrics`.

Drift scores leave the worker only as rows for ClickHouse; the observer makes the same rows itself, by the worker's own judge over the
windows topic.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Any

import msgspec
from confluent_kafka import Consumer, KafkaException, TopicPartition
from prometheus_client.parser import text_string_to_metric_families

from schemas import findings, windows
from schemas.alerts import Alert
from schemas.reference import Reference
from schemas.rows import ClientWindowRow, FeatureWindowRow, Row, WindowRow
from streams.demo import DemoError
from streams.demo.stage import fetch
from streams.kafka import client_config
from streams.model_judge import ModelJudge
from streams.references import unpack
from streams.settings import Settings

_TOPICS = ("windows", "findings", "alerts")
_UNREAD = {name.encode() for name in findings.TYPES}
"""What else is on them, for the worker alone."""


@dataclass(frozen=True)
class Seen:
    """An alert's state, and when it was on the topic: time.monotonic()."""

    alert: Alert
    at: float


@dataclass
class Picture:
    """Everything seen so far."""

    accepted: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    judged: int = 0
    """Of these, events in windows that were judged."""
    windows: int = 0
    drift_ln: float = 0.0
    features: dict[str, FeatureWindowRow] = field(default_factory=dict)
    clients: dict[str, ClientWindowRow] = field(default_factory=dict)
    findings: int = 0
    alerts: list[Seen] = field(default_factory=list)
    metrics: dict[str, float] = field(default_factory=dict)

    @property
    def counted(self) -> int:
        """Events that a worker has taken in or refused, and said so."""
        return self.accepted + sum(self.rejected.values())


class Observer:
    """Reads in a thread of its own, from the topics' present ends on.

    Args:
        settings: of the worker.
        published: the reference in force.
        metrics_url: of the worker; empty: not asked.

    Attributes:
        picture: kept up to date; hold `lock` to read more than one thing of it.

    Raises:
        DemoError: the broker does not answer.
    """

    def __init__(self, settings: Settings, published: Reference, metrics_url: str) -> None:
        self.picture, self.lock = Picture(), threading.Lock()
        self._settings, self._published, self._metrics_url = settings, published, metrics_url
        self._settle_ns = round(settings.window.settle_s * 1e9)
        loaded = unpack(published, settings.membership.key.encode())
        self._judge = ModelJudge(published.model, published.version, settings, loaded, self._row)
        self._taken: set[tuple[int, int, int]] = set()
        self._stopped = threading.Event()
        prefix = settings.kafka.topic_prefix
        self._consumer = Consumer(client_config(settings.kafka) | {"group.id": "inferwatch-demo", "enable.auto.commit": False})
        try:
            places = [TopicPartition(f"{prefix}.{name}", p) for name in _TOPICS for p in range(settings.kafka.partitions)]
            for place in places:
                place.offset = self._consumer.get_watermark_offsets(place, timeout=10.0)[1]
            self._consumer.assign(places)
        except KafkaException as error:
            self._consumer.close()
            raise DemoError(f"the topics at {settings.kafka.bootstrap_servers} cannot be read: {error}") from error
        self._thread = threading.Thread(target=self._run, name="observer", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stops reading."""
        self._stopped.set()
        self._thread.join()
        self._consumer.close()

    def _run(self) -> None:
        asked = 0.0
        while not self._stopped.is_set():
            messages = self._consumer.consume(200, timeout=0.1)
            with self.lock:
                for message in messages:
                    if message.error() is None:
                        headers = dict(message.headers() or ())
                        if headers.get("ce_type") not in _UNREAD:
                            self._take(str(message.topic()).rpartition(".")[2], message.value() or b"")
                self._judge.tick(time.time_ns(), self._settle_ns)
            if self._metrics_url and time.monotonic() - asked > 1.0:
                asked = time.monotonic()
                self.picture.metrics = totals(fetch(f"{self._metrics_url}/metrics"))

    def _take(self, topic: str, value: bytes) -> None:
        try:
            if topic == "alerts":
                alert = msgspec.json.decode(value, type=Alert)
                if self._ours(alert):
                    self.picture.alerts.append(Seen(alert, time.monotonic()))
            elif topic == "findings":
                self.picture.findings += self._ours(windows.decode_finding(value))
            else:
                partial = windows.decode_partial(value)
                key = partial.partition, partial.epoch, partial.sequence
                if self._ours(partial) and key not in self._taken:  # a message may be sent twice
                    self._taken.add(key)
                    self.picture.accepted += partial.n
                    self.picture.rejected.update(partial.rejected)
                    self._judge.partial(partial, time.time_ns())
        except msgspec.DecodeError:
            return  # another release's worker; its numbers will be missing from the account

    def _ours(self, message: Any) -> bool:
        return bool(message.model == self._published.model and message.version == self._published.version)

    def _row(self, row: Alert | Row) -> None:
        if isinstance(row, WindowRow):
            self.picture.windows += 1
            self.picture.judged += row.accepted + sum(row.rejected.values())
            self.picture.drift_ln = row.drift_log_evidence
        elif isinstance(row, FeatureWindowRow):
            self.picture.features[row.feature] = row
        elif isinstance(row, ClientWindowRow):
            self.picture.clients[row.client] = row


def totals(text: str) -> dict[str, float]:
    r"""Prometheus' text as one sum by sample name, with the partition and reason labels added up; the topic or destination stays.

    Example:
        >>> totals('# TYPE a counter\na_total{topic="x.events",partition="0"} 2\na_total{topic="x.events",partition="1"} 3\n')
        {'a_total/events': 5.0}
    """
    sums: defaultdict[str, float] = defaultdict(float)
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            what = sample.labels.get("topic", "").rpartition(".")[2] or sample.labels.get("to", "")
            sums[f"{sample.name}/{what}" if what else sample.name] += sample.value
    return dict(sums)
