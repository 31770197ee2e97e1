"""A recording through the very same shard and judge, without a broker: backtest, debugging, benchmark and test are one path.

The clock is the recording's: windows close when its events have passed them, and nothing written to ``alerts.jsonl`` or ``clients.parquet``
depends on the machine, the time or the batches' cut, so the same input gives the same bytes.
"""

from __future__ import annotations

import json
import math
import resource
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from inferwatch import EventColumns, Label, Strings
from schemas import findings, windows
from schemas.alerts import Alert
from schemas.reference import Reference
from schemas.suspects import SuspectRows
from streams import tables
from streams.build import build
from streams.judge import Judge
from streams.owner import NS
from streams.references import References
from streams.settings import Settings
from streams.shard import Shard
from streams.tables import TableError

BATCH = 500
_READ = 50 * BATCH
_ANY_S = 1e10
_SETTLED_NS = 1
_VERSION = "recorded"
_KEY = b"a recording keeps nothing to itself"
_NEEDED = ("ts", "client_id", "features")


@dataclass(frozen=True)
class Summary:
    """What a replay did; also the content of ``summary.json``."""

    events: int
    accepted: int
    rejected: dict[str, int]
    anomalies: dict[str, int]
    clients: int
    alerts: dict[str, int]
    labels: dict[str, int]
    recorded_seconds: float
    seconds: float
    cpu_seconds: float
    reference_cpu_seconds: float
    peak_memory_mb: float
    notes: tuple[str, ...]


def replay(folder: Path, out: Path, settings: Settings, progress: Callable[[int, int], None] | None = None) -> Summary:
    """Judges the events of a folder against its reference.

    Args:
        folder: holds ``reference.parquet``, ``events.parquet`` and perhaps ``meta.json``, and ``labels.parquet``: ``event`` (the number of
            the event's row, from 0), ``label`` (class index or name) and ``ts`` (when it came).
        out: gets ``alerts.jsonl``, ``clients.parquet`` and ``summary.json``; made if it isn't there, older ones are replaced.
        settings: budget, window, bounds. The clock's are put aside: a recording is as old as it is.
        progress: called with events done and events in all.

    Raises:
        TableError: a file is missing or unreadable, naming column and row.
        BuildError: the reference rows make no reference.
    """
    began, cpu_began = time.perf_counter(), time.process_time()
    meta = tables.read_meta(folder / "meta.json")
    rows = tables.read_reference(folder / "reference.parquet", meta)
    model = folder.resolve().name
    built = build(model, _VERSION, rows, membership_key=_KEY, built_at_ns=0)
    cpu_reference = time.process_time() - cpu_began
    names = tuple(feature.name for feature in rows.features)
    labels = _read_labels(folder / "labels.parquet", rows.classes)
    run = _Run(settings, built.reference, labels)
    total = 0
    for events, all_events in _batches(folder / "events.parquet", model, names, rows.classes, run.rejected):
        run.take(events)
        total += len(events)
        if progress is not None:
            progress(min(total, all_events), all_events)
    run.finish()
    out.mkdir(parents=True, exist_ok=True)
    lines = run.lines()
    (out / "alerts.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    clients = _write_clients(out / "clients.parquet", run.shard)
    rejected = run.shard.rejected + run.rejected
    summary = Summary(
        events=run.shard.received + sum(run.rejected.values()),
        accepted=run.shard.received - sum(run.shard.rejected.values()),
        rejected=dict(sorted(rejected.items())),
        anomalies=dict(sorted(run.anomalies.items())),
        clients=clients,
        labels=run.fates(),
        alerts=dict(sorted(Counter(f"{line['detector']}:{line['severity']}" for line in lines).items())),
        recorded_seconds=run.span_s,
        seconds=time.perf_counter() - began,
        cpu_seconds=time.process_time() - cpu_began,
        reference_cpu_seconds=cpu_reference,
        peak_memory_mb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        notes=built.notes,
    )
    (out / "summary.json").write_bytes(msgspec.json.format(msgspec.json.encode(summary)) + b"\n")
    return summary


def line_of(alert: Alert) -> dict[str, Any]:
    """An alert as a line of ``alerts.jsonl``."""
    return {
        "at": alert.at_ns / NS,
        "detector": alert.detector,
        "severity": alert.severity,
        "model": alert.model,
        "client": alert.client,
        "clients": list(alert.clients),
        "feature": alert.feature,
        "n_events": alert.n_events,
        "log_evidence": round(alert.log_evidence, 6),
        "evidence": _plain(alert.evidence),
        "techniques": list(alert.techniques),
        "summary": alert.summary,
    }


class _Run:
    """Shard and judge wired to each other, and what came out."""

    def __init__(self, settings: Settings, reference: Reference, labels: list[tuple[int, str, int]]) -> None:
        clock = msgspec.structs.replace(settings.clock, past_s=_ANY_S, future_s=_ANY_S)
        sampling = msgspec.structs.replace(settings.sampling, events_per_window=0)
        settings = msgspec.structs.replace(settings, clock=clock, sampling=sampling)
        settings = msgspec.structs.replace(settings, window=msgspec.structs.replace(settings.window, settle_s=_SETTLED_NS / NS))
        if not labels:
            settings = msgspec.structs.replace(settings, labels=msgspec.structs.replace(settings.labels, events=0))
        self._labels, self._labelled = labels, 0
        references = References(_KEY)
        references.put(reference)
        self._model, self._length_ns = reference.model, round(settings.window.length_s * NS)
        self.shard, self.judge = Shard(0, settings, references), Judge(0, settings, references)
        self.rejected: Counter[str] = Counter()
        self.anomalies: Counter[str] = Counter()
        self.span_s = 0.0
        self._first_ns = self._last_ns = -1
        self._lines: list[dict[str, Any]] = []

    def take(self, events: EventColumns) -> None:
        last = int(events.at_ns.max())
        self._first_ns = int(events.at_ns.min()) if self._first_ns < 0 else self._first_ns
        self._last_ns = max(self._last_ns, last)
        self.shard.take(events, last)
        self._pass_on(self._last_ns)

    def finish(self) -> None:
        self.shard.finish()
        self._pass_on(self._last_ns)
        if self._labels:
            last = max(self._last_ns, self._labels[-1][0])
            self._pass_on(last)
            self._pass_on(last + self._length_ns)
        self.span_s = (self._last_ns - self._first_ns) / NS

    def fates(self) -> dict[str, int]:
        """What became of all labels; at a recording's end, those that wait for their event wait for nothing."""
        fates = self.judge.fates()
        fates["unknown"] += self._labelled - fates.total()
        return {fate: n for fate, n in sorted(fates.items()) if n}

    def _pass_on(self, now_ns: int) -> None:
        while self._labelled < len(self._labels) and self._labels[self._labelled][0] <= now_ns:
            at_ns, truth, event = self._labels[self._labelled]
            self.judge.label(Label(model=self._model, event_id=f"recording:{event}", truth=truth), at_ns)
            self._labelled += 1
        for out in self.shard.outbox:
            if out.to == "windows":
                partial = windows.decode_partial(out.value)
                self.anomalies.update(partial.anomalies)
                self.judge.partial(partial, partial.end_ns)
                self.judge.tick(partial.end_ns + _SETTLED_NS)  # as a worker would, at the window's end and not at the batch's
            elif out.to == "findings":
                message = findings.decode(out.value, out.headers)
                if isinstance(message, SuspectRows):
                    self.judge.suspects(message, message.end_ns)
                    self.judge.tick(message.end_ns + _SETTLED_NS)
                else:
                    self.judge.told(message, now_ns)
        self.shard.outbox.ack([out.id for out in self.shard.outbox])
        self.judge.tick(now_ns)
        for out in self.judge.outbox:
            if out.to == "alerts":
                alert = msgspec.json.decode(out.value, type=Alert)
                if alert.state == "firing":
                    self._lines.append(line_of(alert))
        self.judge.outbox.ack([out.id for out in self.judge.outbox])

    def lines(self) -> list[dict[str, Any]]:
        """In order of time; alerts of one moment in the order in which they were raised."""
        return sorted(self._lines, key=lambda line: float(line["at"]))


def _batches(
    path: Path, model: str, names: tuple[str, ...], classes: tuple[str, ...], rejected: Counter[str]
) -> Iterator[tuple[EventColumns, int]]:
    """Batches of events as a producer would send them, and how many events the file has."""
    try:
        file = pq.ParquetFile(path)
    except FileNotFoundError as error:
        raise TableError(f"{path}: no such file") from error
    except (pa.ArrowInvalid, OSError) as error:
        raise TableError(f"{path}: not a parquet file ({str(error).splitlines()[0]})") from error
    with file:
        present = file.schema_arrow.names
        absent = [name for name in _NEEDED if name not in present]
        if absent:
            raise TableError(f"{path}: no column {', '.join(absent)}; it has {', '.join(present)}")
        columns = [name for name in (*_NEEDED, "probs", "label", "latency_ms") if name in present]
        number = 0
        for part in file.iter_batches(_READ, columns=columns):
            table = pa.Table.from_batches([part])
            ts = tables.numbers(path, table["ts"], "ts")
            X = tables.matrix(path, table["features"], "features")
            scores = tables.matrix(path, table["probs"], "probs") if "probs" in columns else None
            label = _labels(path, table["label"], classes) if "label" in columns else None
            latency = tables.numbers(path, table["latency_ms"], "latency_ms") if "latency_ms" in columns else np.full(len(ts), np.nan)
            client = tables.texts(path, table["client_id"], "client_id")
            good = np.isfinite(ts) & (ts >= 0) & (ts < 9e9)
            if not good.all():
                rejected["clock"] += int(np.count_nonzero(~good))
            keep = np.flatnonzero(good)
            for a in range(0, len(keep), BATCH):
                rows = keep[a : a + BATCH]
                yield _columns(model, names, ts, X, scores, label, latency, client, rows, number + rows), file.metadata.num_rows
            number += len(ts)


def _read_labels(path: Path, classes: tuple[str, ...]) -> list[tuple[int, str, int]]:
    """When a label came, what it says and of which event, in order of time; empty without the file.

    Raises:
        TableError: a column is missing or of another kind.
    """
    if not path.exists():
        return []
    table = tables.read_table(path)
    absent = [name for name in ("event", "label", "ts") if name not in table.column_names]
    if absent:
        raise TableError(f"{path}: no column {', '.join(absent)}; it has {', '.join(table.column_names)}")
    ts, event = tables.numbers(path, table["ts"], "ts"), tables.numbers(path, table["event"], "event")
    truth = _labels(path, table["label"], classes)
    for what, column, most in (("ts", ts, 9e9), ("event", event, 2.0**53)):
        bad = np.flatnonzero(~((column >= 0) & (column < most)))
        if len(bad):
            raise TableError(f"{path}: {what}: row {int(bad[0])} is {column[bad[0]]}")
    order = np.argsort(ts, kind="stable").tolist()
    return [(math.ceil(ts[k] * NS), truth[k] or "", int(event[k])) for k in order]


def _columns(
    model: str,
    names: tuple[str, ...],
    ts: NDArray[np.float64],
    X: NDArray[np.float32],
    scores: NDArray[np.float32] | None,
    label: Strings | None,
    latency_ms: NDArray[np.float64],
    client: Strings,
    rows: NDArray[np.intp],
    number: NDArray[np.intp],
) -> EventColumns:
    n = len(rows)
    return EventColumns(
        model=model,
        version=_VERSION,
        service="",
        instance="recording",
        client=client.take(rows).compact(),
        # rounded up from the next float: an alert is never before the event that raised it, also when its time is a float again
        at_ns=np.ceil(np.nextafter(ts[rows], np.inf) * NS).astype(np.int64),
        number=number.astype(np.int64),
        status=np.zeros(n, np.uint8),
        latency_ms=latency_ms[rows].astype(np.float32),
        names=names if X.shape[1] == len(names) else (),
        numeric=X[rows],
        scores=None if scores is None else scores[rows],
        prediction=None if label is None else label.take(rows).compact(),
    )


def _labels(path: Path, column: pa.ChunkedArray, classes: tuple[str, ...]) -> Strings:
    """Predictions by class name; numbers are indices into the classes, negative or null is none."""
    if not (pa.types.is_integer(column.type) or pa.types.is_floating(column.type)):
        return tables.texts(path, column, "label")
    index = np.nan_to_num(tables.numbers(path, column, "label"), nan=-1.0)
    distinct, codes = np.unique(index, return_inverse=True)
    names = [classes[int(v)] if v in range(len(classes)) else f"{v:.0f}" for v in distinct.tolist()]
    return Strings(names, np.where(index < 0, -1, codes).astype(np.int32))


def _write_clients(path: Path, shard: Shard) -> int:
    parts = []
    for model in shard.models.values():
        rows = model.watch.everybody()
        parts.append(pa.table({name: pa.array(values) for name, values in rows.items()}))
    table = pa.concat_tables(parts, promote_options="default") if parts else pa.table({"client": pa.array([], pa.string())})
    pq.write_table(table.sort_by("client"), path)
    return len(table)


def _plain(value: Any) -> Any:
    """JSON has no infinities; floats to nine digits, so that the last bit of a sum is no difference."""
    if isinstance(value, float):
        return float(f"{value:.9g}") if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    return value
