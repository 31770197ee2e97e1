"""A transport that keeps what it gets, for tests of services that use inferwatch."""

from __future__ import annotations

from typing import Any

import msgspec

from inferwatch._codec import decode
from inferwatch._columns import EventColumns
from inferwatch._contract import Heartbeat, Label, Lifecycle, Status
from inferwatch._transport import Done, Record


class MemoryTransport:
    """Keeps every record in `records`, and shows them decoded.

    Args:
        partitions: Of each topic, at least 1.

    Example:
        >>> from inferwatch import Client
        >>> transport = MemoryTransport()
        >>> with Client(service="shop", transport=transport, pseudonym_key="not a secret, just an example") as watch:
        ...     watch.record(model="fraud", version="3", client="alice", features={"amount": 12.5}, prediction="ok")
        True
        >>> [(event["model"], event["features"], event["prediction"]) for event in transport.events()]
        [('fraud', {'amount': 12.5}, 'ok')]
    """

    def __init__(self, partitions: int = 4) -> None:
        if partitions < 1:
            raise ValueError(f"partitions must be at least 1, got {partitions}")
        self.records: list[Record] = []
        self.reachable = True
        """False: the broker is away; nothing is taken, partitions are unknown."""
        self.failing = ""
        """Not empty: every record fails with this text."""
        self._partitions = partitions

    @property
    def columns(self) -> list[EventColumns]:
        """The event records, decoded."""
        return [
            columns
            for record in self._of("events", "inferwatch.events.v1")
            for columns in decode(record.value, _header(record, "content-type"))[0]
        ]

    def events(self) -> list[dict[str, Any]]:
        """One dictionary an event, in the order of records; missing things are None, features without names a list."""
        return [row for columns in self.columns for row in rows_of(columns)]

    @property
    def heartbeats(self) -> list[Heartbeat]:
        """In the order sent."""
        return [msgspec.json.decode(record.value, type=Heartbeat) for record in self._of("lifecycle", "inferwatch.heartbeat.v1")]

    @property
    def lifecycle(self) -> list[Lifecycle]:
        """Loads and unloads, in the order sent."""
        return [msgspec.json.decode(record.value, type=Lifecycle) for record in self._of("lifecycle", "inferwatch.lifecycle.v1")]

    @property
    def labels(self) -> list[Label]:
        """In the order sent."""
        return [msgspec.json.decode(record.value, type=Label) for record in self._of("labels", "inferwatch.label.v1")]

    def partitions(self, topic: str, timeout_s: float) -> int | None:
        """As constructed, or None while not `reachable`."""
        return self._partitions if self.reachable else None

    def send(self, record: Record, done: Done) -> bool:
        """Keeps the record, unless told to be away or to fail."""
        if not self.reachable:
            return False
        if not self.failing:
            self.records.append(record)
        done(self.failing or None)
        return True

    def poll(self) -> None:
        """Nothing is ever in flight."""

    def rest(self, timeout_s: float) -> None:
        """Nothing to let go of."""

    def close(self, timeout_s: float) -> None:
        """What was kept stays readable."""

    def after_fork(self) -> None:
        """The child starts empty."""
        self.records = []

    def _of(self, topic: str, kind: str) -> list[Record]:
        return [record for record in list(self.records) if record.topic.endswith(f".{topic}") and _header(record, "ce_type") == kind]


def rows_of(columns: EventColumns) -> list[dict[str, Any]]:
    """One dictionary an event: for people, tests and logs, never for a hot path."""
    rows = []
    for i in range(len(columns)):
        features: Any = columns.numeric[i].tolist()
        if columns.names or columns.category_names:
            names = columns.names or map(str, range(len(features)))
            features = dict(zip(names, features, strict=True))
            features |= {name: column[i] for name, column in zip(columns.category_names, columns.categories, strict=True)}
        scores: Any = None if columns.scores is None else columns.scores[i].tolist()
        if scores is not None and columns.score_names:
            scores = dict(zip(columns.score_names, scores, strict=True))
        optional = {
            name: None if column is None else column[i]
            for name, column in (
                ("prediction", columns.prediction),
                ("trace_id", columns.trace_id),
                ("owner", columns.owner),
                ("source", columns.source),
            )
        }
        rows.append(
            {
                "model": columns.model,
                "version": columns.version,
                "service": columns.service,
                "instance": columns.instance,
                "event_id": columns.id_of(i),
                "client": columns.client[i],
                "at_ns": int(columns.at_ns[i]),
                "number": int(columns.number[i]),
                "status": Status(columns.status[i]).name.lower(),
                "latency_ms": float(columns.latency_ms[i]),
                "features": features,
                "scores": scores,
                "value": None if columns.value is None else float(columns.value[i]),
                "cost": None if columns.cost is None else float(columns.cost[i]),
                **optional,
            }
        )
        if columns.feature_view is not None:  # named only where there is some: who compares rows has not heard of it
            rows[-1]["feature_view"] = columns.feature_view[i]
        if columns.feature_age_s is not None:
            rows[-1]["feature_age_s"] = float(columns.feature_age_s[i])
    return rows


def _header(record: Record, name: str) -> str:
    return next((value.decode() for key, value in record.headers if key == name), "")
