"""What must come out, twice: by the worker's own shards and judges without any fault, and by plain arithmetic on the producers' account."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np

from schemas import findings, outcomes, windows
from schemas.alerts import Alert
from schemas.forget import Forget
from schemas.outcomes import Outcomes
from schemas.reference import Reference
from schemas.rows import TABLES, Row
from schemas.suspects import SuspectRows
from schemas.windows import WindowPartial
from streams.judge import Judge
from streams.kafka import partition_for_key
from streams.owner import NS, Record
from streams.references import References
from streams.settings import Settings
from streams.shard import Shard
from tests.faults.workload import Account
from tests.streams.events import KEY

_ROW = {table.table: table for table in TABLES}


@dataclass
class Expected:
    """What a run without faults gives for the same records."""

    rows: dict[str, list[Row]] = field(default_factory=dict)
    alerts: list[Alert] = field(default_factory=list)
    partials: int = 0
    received: int = 0
    rejected: Counter[str] = field(default_factory=Counter)

    @property
    def pages(self) -> set[tuple[str, str, str]]:
        """Alert name, model and client of the alerts that must page."""
        return {(a.alertname, a.model, a.client or "") for a in self.alerts if a.state == "firing" and a.severity == "page"}


def replay(settings: Settings, references: list[Reference], partitions: list[list[Any]]) -> Expected:
    """Runs the records of the events' partitions, in order of offsets, through fresh owners; nothing is restarted, nothing repeated."""
    registry = References(KEY)
    for reference in references:
        registry.put(reference)
    out = Expected()
    partials: list[WindowPartial] = []
    told: list[tuple[str, bytes, int, dict[str, str]]] = []
    for number, messages in enumerate(partitions):
        shard = Shard(number, settings, registry)
        for message in messages:
            headers = {name: value.decode() for name, value in message.headers()}
            shard.apply(Record("events", number, message.offset(), message.value(), message.timestamp()[1] * 1_000_000, headers=headers))
        shard.finish()
        partials += [windows.decode_partial(sent.value) for sent in shard.outbox if sent.to == "windows"]
        for sent in shard.outbox:
            if sent.to == "findings":
                message = findings.decode(sent.value, sent.headers)
                told.append((message.model, sent.value, _time_of(message), sent.headers))
        out.received += shard.received
        out.rejected += shard.rejected
    out.partials = len(partials)
    judges = [Judge(p, settings, registry) for p in range(len(partitions))]
    offsets: Counter[tuple[str, int]] = Counter()

    def give(role: Any, model: str, value: bytes, at_ns: int, headers: dict[str, str] | None = None) -> Judge:
        partition = partition_for_key(model.encode(), len(judges))
        judges[partition].apply(Record(role, partition, offsets[role, partition], value, at_ns, headers=headers or {}))
        offsets[role, partition] += 1
        return judges[partition]

    for partial in sorted(partials, key=lambda p: (p.start_ns, p.partition, p.sequence)):
        give("windows", partial.model, windows.encode(partial), partial.end_ns)
    for finding in told:
        give("findings", *finding)
    last_ns = max((partial.end_ns for partial in partials), default=0)
    for judge in judges:
        judge.tick(last_ns + round((settings.window.settle_s + 1) * NS))
        for sent in judge.outbox:
            if sent.to == "rows":
                table = sent.key.decode()
                out.rows.setdefault(table, []).append(msgspec.msgpack.decode(sent.value, type=_ROW[table]))
            elif sent.to == "alerts":
                out.alerts.append(msgspec.json.decode(sent.value, type=Alert))
    return out


@dataclass
class Arithmetic:
    """Counts from the producers' account alone, by model and start of the window."""

    windows: Mapping[tuple[str, int], int]
    clients: Mapping[tuple[str, int, str], int]
    bins: Mapping[tuple[str, int, str], list[int]]
    """Of the model "calm": by feature, answered events below the range, in each bin, above it, missing."""
    instances: Mapping[str, int]
    labels: Mapping[tuple[str, int], tuple[int, int]]
    """Labels and errors, by model and start of the event's window."""


def _time_of(message: findings.Message) -> int:
    if isinstance(message, SuspectRows):
        return message.end_ns
    if isinstance(message, Forget):
        return 0
    return int(outcomes.columns_of(message).at_ns.max()) if isinstance(message, Outcomes) else message.at_ns


def arithmetic(account: Account, calm: Reference) -> Arithmetic:
    """Counts what was sent, with nothing of the product but the reference's edges."""
    from detectors.drift import DriftReference

    drift = DriftReference.from_bytes(calm.parts["drift"])
    keys = list(zip(account.model, account.start_ns, strict=True))
    bins: dict[tuple[str, int, str], list[int]] = {}
    X, start, picked = np.array(account.features), np.array(account.start_ns), np.array(account.model) == calm.model
    picked &= np.array(account.ok)
    for window in np.unique(start[picked]).tolist():
        rows = X[picked & (start == window)]
        for v, name in enumerate(drift.variables[: drift.n_features]):
            edges = drift.edges[v, : drift.n_edges[v]]
            cell = np.searchsorted(edges, rows[:, v], side="left")  # a value on an edge belongs to the bin on its left
            bins[calm.model, window, name] = np.bincount(cell, minlength=len(edges) + 2).tolist()
    return Arithmetic(
        windows=Counter(keys),
        clients=Counter((*key, client) for key, client in zip(keys, account.client, strict=True)),
        bins=bins,
        instances=Counter(account.instance) + account.astray,
        labels={window: (n, account.errors[window]) for window, n in account.labels.items()},
    )
