"""One model version on one partition: what its events do to windows, clients and evidence. No Kafka, no clock, no I/O."""

from __future__ import annotations

import copy
import hashlib
import math
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detectors.evidence import ClientEvidence
from detectors.evidence.explain import explain
from detectors.membership import ClientMembership
from detectors.state import pack, unpack
from inferwatch import EventColumns
from schemas.rows import SampledEventRow
from schemas.windows import ClientLine, Family, Finding, Producer, Severity, WindowPartial
from streams.align import Aligned, Aligner, WidthError
from streams.clients import FAMILIES, ClientTable
from streams.duplicates import RecentEvents, keys_of
from streams.references import Loaded
from streams.sampling import Sampler
from streams.settings import Settings
from streams.window import STATUSES, OpenWindow

NS = 1_000_000_000
_LN_FLOOR = -50.0
_STATISTICS_OF = ([0, 1], [2, 3, 4, 5])
"""Columns of the evidence that mostly speak for extraction and for evasion, for tables; the detector itself decides by more than these."""
LINES_PER_WINDOW = 200
RENEWED_PER_WINDOW = 100
TICKET_RATIO = math.log(100)
"""A ticket needs a hundredth of a page's evidence (DETECTORS 1.1)."""
SEVERITIES: tuple[Severity, ...] = ("none", "ticket", "page")
_KIND, _VERSION = "streams.model_shard", 1
_UNNAMED = Aligner((), ())

Emit = Callable[[WindowPartial | Finding | SampledEventRow], None]


class _Position:
    """Where judged events stand among the accepted ones of a batch, all of which are counted before any is judged."""

    def __init__(self, slot: NDArray[np.int32], judged: NDArray[np.intp]) -> None:
        self._slot, self._judged = slot, judged

    def later(self, index: int) -> int:
        """Events of the same client after this one, in the batch."""
        at = int(self._judged[index])
        return int(np.count_nonzero(self._slot[at + 1 :] == self._slot[at]))


class ModelShard:
    """State of one model version on one partition.

    Args:
        model: its name.
        version: its version.
        partition: where it is.
        settings: window length, budget, bounds.
        loaded: the reference in force, if any. Without one, windows and clients are counted but nothing is judged.
        emit: takes what leaves: partials of closed windows, findings, sampled events. Sequence numbers are the caller's business.
    """

    def __init__(self, model: str, version: str, partition: int, settings: Settings, loaded: Loaded | None, emit: Emit) -> None:
        self.model, self.version, self.partition = model, version, partition
        self._settings, self._emit = settings, emit
        self._length_ns = round(settings.window.length_s * NS)
        self.watermark_ns = 0
        self._closed_until_ns = 0
        self._windows: dict[int, OpenWindow] = {}
        self._producers: dict[str, Producer] = {}
        self._recent = RecentEvents()
        self._sampler = Sampler(settings.sampling.events_per_window, settings.sampling.features)
        self.loaded: Loaded | None = None
        self.table = ClientTable(settings.limits.clients, self._resize, self._evict)
        self._hashes = np.zeros(0, np.uint64)
        self._evidence: ClientEvidence | None = None
        self._membership: ClientMembership | None = None
        self._set_reference(loaded)

    # -- the reference ------------------------------------------------------------------------------------------------------------------

    def use(self, loaded: Loaded | None) -> None:
        """Goes over to another reference: open windows close in the old bins, the clients' evidence starts anew."""
        if (loaded.id if loaded else "") != self.reference_id:
            self.close_until(None)
            self._set_reference(loaded)

    @property
    def reference_id(self) -> str:
        """Of the reference in force; empty without one."""
        return self.loaded.id if self.loaded else ""

    def _set_reference(self, loaded: Loaded | None) -> None:
        self.loaded = loaded
        self._aligner = loaded.aligner if loaded else _UNNAMED
        budget = self._settings.budget
        capacity = max(self.table.capacity, 1)
        self._evidence = self._membership = None
        if loaded is not None and loaded.evidence is not None:
            ln_page = math.log(budget.client_events_per_30d / (budget.false_pages_per_30d * budget.client_share))
            self._evidence = ClientEvidence(loaded.evidence, ln_page=ln_page, ln_ticket=ln_page - TICKET_RATIO, capacity=capacity)
        if loaded is not None and loaded.membership is not None:
            ln_page = math.log(budget.client_events_per_30d / (budget.false_pages_per_30d * budget.membership_share))
            self._membership = ClientMembership(loaded.membership, ln_page=ln_page, ln_ticket=ln_page - TICKET_RATIO, capacity=capacity)
        self.table.severity[:] = 0

    # -- events -------------------------------------------------------------------------------------------------------------------------

    def apply(self, events: EventColumns, received_ns: int) -> Counter[str]:
        """Takes in a batch, at most `limits.clients` events of it new clients; returns the refused events by reason.

        Args:
            events: of this model version, in order of arrival.
            received_ns: Kafka's time of the record; the event time of events without one.
        """
        rejected: Counter[str] = Counter()
        self._count_producer(events, received_ns)
        try:
            aligned = self._aligner.align(events)
        except WidthError:
            rejected["wrong_width"] += len(events)
            self._reject(rejected, received_ns)
            return rejected
        at_ns = np.where(events.at_ns < 0, received_ns, events.at_ns)
        clock = self._settings.clock
        off = (at_ns > received_ns + round(clock.future_s * NS)) | (at_ns < received_ns - round(clock.past_s * NS))
        keys = keys_of(events)
        twice = self._recent.seen(np.where(off, np.uint64(0), keys))
        refused = off | twice
        slot = self._slots(events)
        if refused.any():
            rejected.update({reason: int(mask.sum()) for reason, mask in (("clock", off), ("duplicate", twice & ~off)) if mask.any()})
            rows = np.flatnonzero(~refused)
        else:
            rows = np.arange(len(events))
        if len(rows):
            self._accept(events, aligned, at_ns, slot, keys, rows)
        if rejected:
            self._reject(rejected, received_ns)
        return rejected

    def _accept(
        self,
        events: EventColumns,
        aligned: Aligned,
        at_ns: NDArray[np.int64],
        slot: NDArray[np.int32],
        keys: NDArray[np.uint64],
        rows: NDArray[np.intp],
    ) -> None:
        if len(rows) < len(events):
            at_ns, slot, keys = at_ns[rows], slot[rows], keys[rows]
            status, latency_ms = events.status[rows], events.latency_ms[rows]
            X, scores, label = aligned.X[rows], aligned.scores[rows], aligned.label[rows]
        else:
            status, latency_ms = events.status, events.latency_ms
            X, scores, label = aligned.X, aligned.scores, aligned.label
        known = slot >= 0
        suspect = known & self.table.severity[slot].any(axis=1)
        np.add.at(self.table.n, slot[known], 1)
        np.maximum.at(self.table.last_ns, slot[known], at_ns[known])

        starts = np.maximum(at_ns // self._length_ns * self._length_ns, self._closed_until_ns)
        judged = status == 0
        counted = judged & ~suspect
        hashes = np.where(known, self._hashes[slot], keys) if len(self._hashes) else keys
        for start in np.unique(starts).tolist():
            window = self._window(start)
            inside = starts == start
            whole = bool(inside.all())
            window.add(*((slot, status, latency_ms) if whole else (slot[inside], status[inside], latency_ms[inside])))
            window.late += int(np.count_nonzero(at_ns[inside] < start))
            window.suspect += int(np.count_nonzero(suspect & inside))
            self._count_classes(window, label[inside])
            taken = counted & inside
            if window.drift is not None and taken.any():
                part = slice(None) if taken.all() else taken
                drift = window.drift.reference
                window.drift.update(
                    X[part],
                    scores[part] if drift.n_scores and scores.shape[1] == drift.n_scores else None,
                    label[part] if drift.has_class else None,
                    events.value[rows][part] if drift.has_value and events.value is not None else None,
                    hashes[part],
                )
            self._sampler.offer(start, events, aligned, rows[inside], at_ns[inside], keys[inside])
        # the aligner saw the refused events too; their faults are one count with the accepted ones'
        self._windows[int(starts[-1])].anomalies.update(aligned.anomalies)
        self.watermark_ns = max(self.watermark_ns, int(at_ns.max()))

        known &= judged
        if known.any():
            part = slice(None) if known.all() else known
            after = _Position(slot, np.flatnonzero(known))
            self._judge_clients(events, rows[part], after, at_ns[part], slot[part], X[part], scores[part], label[part])
        while len(self._windows) > self._settings.window.max_open:
            self._close(min(self._windows))

    def _judge_clients(
        self,
        events: EventColumns,
        rows: NDArray[np.intp],
        position: _Position,
        at_ns: NDArray[np.int64],
        slot: NDArray[np.int32],
        X: NDArray[np.float32],
        scores: NDArray[np.float32],
        label: NDArray[np.int32],
    ) -> None:
        findings: list[tuple[int, Family, int, float, dict[str, Any]]] = []
        if self._evidence is not None:
            found = self._evidence.update(slot, X, scores, label)
            for k in range(len(found.index)):
                family = FAMILIES[found.family[k]]
                why = explain(self._evidence, found, k)
                findings.append((int(found.index[k]), family, int(found.severity[k]), float(found.ln_evidence[k]), why))
        if self._membership is not None:
            hits = self._membership.update(slot, at_ns / NS, X, label)
            for k in range(len(hits.index)):
                why = self._membership.explain(int(hits.slot[k]))
                findings.append((int(hits.index[k]), "membership", int(hits.severity[k]), float(hits.ln_evidence[k]), why))
        for index, family, severity, ln_evidence, why in sorted(findings, key=lambda f: f[:3]):
            n_events = int(self.table.n[slot[index]]) - position.later(index)
            self._find(events, int(rows[index]), int(at_ns[index]), int(slot[index]), n_events, family, severity, ln_evidence, why)

    def _find(
        self,
        events: EventColumns,
        row: int,
        at_ns: int,
        slot: int,
        n_events: int,
        family: Family,
        severity: int,
        ln_evidence: float,
        why: dict[str, Any],
    ) -> None:
        if self.loaded is not None and self.loaded.provisional:
            severity = min(severity, 1)
            why = {**why, "uncalibrated": "the reference is provisional: made from the first events, tickets only"}
        column = FAMILIES.index(family)
        if severity <= self.table.severity[slot, column]:
            return
        self.table.severity[slot, column] = severity
        self._sampler.keep(events, row, at_ns, self._emit)
        self._emit(self._finding(at_ns, slot, n_events, family, severity, ln_evidence, why, events.id_of(row), renewed=False))

    def _finding(
        self,
        at_ns: int,
        slot: int,
        n_events: int,
        family: Family,
        severity: int,
        ln_evidence: float,
        why: dict[str, Any],
        event_id: str,
        *,
        renewed: bool,
    ) -> Finding:
        return Finding(
            model=self.model,
            version=self.version,
            partition=self.partition,
            epoch=0,
            sequence=0,
            at_ns=at_ns,
            family=family,
            severity=SEVERITIES[severity],
            client=self.table.names[slot],
            clients=[],
            n_events=n_events,
            log_evidence=ln_evidence,
            statistic=str(why.get("statistic", "")),
            evidence=why,
            event_id=event_id,
            renewed=renewed,
        )

    def _slots(self, events: EventColumns) -> NDArray[np.int32]:
        used, inverse = np.unique(events.client.codes, return_inverse=True)
        names = [events.client.values[code] if code >= 0 else "" for code in used.tolist()]
        slots = self.table.slots(names)
        for name, slot in zip(names, slots.tolist(), strict=True):
            if slot >= 0 and self._hashes[slot] == 0:
                self._hashes[slot] = (
                    int.from_bytes(hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little") | 1
                )
        return slots[inverse]

    def _count_classes(self, window: OpenWindow, label: NDArray[np.int32]) -> None:
        if self._aligner.classes:
            counts = np.bincount(label[label >= 0], minlength=len(self._aligner.classes))
            window.classes.update({self._aligner.classes[k]: int(counts[k]) for k in np.flatnonzero(counts).tolist()})

    def _count_producer(self, events: EventColumns, received_ns: int) -> None:
        producer = self._producers.get(events.instance)
        if producer is None:
            if len(self._producers) >= self._settings.limits.instances:
                silent = min(self._producers, key=lambda name: self._producers[name].last_at_ns)
                del self._producers[silent]
            producer = self._producers[events.instance] = Producer(service=events.service, received=0, highest=-1, lowest=-1, last_at_ns=0)
        producer.received += len(events)
        producer.highest = max(producer.highest, int(events.number.max()))
        lowest = int(events.number.min())
        producer.lowest = lowest if producer.lowest < 0 else min(producer.lowest, max(lowest, 0))
        producer.last_at_ns = max(producer.last_at_ns, received_ns)

    def _reject(self, rejected: Counter[str], received_ns: int) -> None:
        start = max(received_ns // self._length_ns * self._length_ns, self._closed_until_ns)
        self._window(start).rejected.update(rejected)
        self.watermark_ns = max(self.watermark_ns, min(received_ns, start + self._length_ns))

    # -- windows ------------------------------------------------------------------------------------------------------------------------

    def _window(self, start_ns: int) -> OpenWindow:
        window = self._windows.get(start_ns)
        if window is None:
            drift = self.loaded.drift if self.loaded else None
            window = self._windows[start_ns] = OpenWindow(start_ns, drift, max(self.table.capacity, 1))
        return window

    def close_until(self, now_ns: int | None) -> None:
        """Closes the windows that end at or before this time; None closes all."""
        for start in sorted(self._windows):
            if now_ns is None or start + self._length_ns <= now_ns:
                self._close(start)

    def _close(self, start_ns: int) -> None:
        window = self._windows.pop(start_ns)
        end_ns = start_ns + self._length_ns
        self._closed_until_ns = max(self._closed_until_ns, end_ns)
        present = np.flatnonzero(window.client_n[: len(self.table.names)])
        evidence = self._ln_evidence(present)
        self._emit(
            WindowPartial(
                model=self.model,
                version=self.version,
                reference=self.reference_id,
                start_ns=start_ns,
                end_ns=end_ns,
                partition=self.partition,
                epoch=0,
                sequence=0,
                n=window.n,
                late=window.late,
                suspect=window.suspect,
                clients=window.clients,
                counts=b"" if window.drift is None else window.drift.to_bytes(),
                rejected=dict(window.rejected),
                anomalies=dict(window.anomalies),
                status={name: int(n) for name, n in zip(STATUSES, window.status.tolist(), strict=True) if n},
                latency=window.latency.tobytes(),
                classes=dict(window.classes),
                producers=copy.deepcopy(self._producers),
                lines=self._lines(window, present, evidence),
            )
        )
        self._sampler.close(start_ns, self._emit)
        self._renew(min(end_ns, max(self.watermark_ns, start_ns)), present, evidence)

    def _ln_evidence(self, slots: NDArray[np.intp]) -> dict[Family, NDArray[np.float64]]:
        """Evidence of these clients by family, ln in nats, at least `_LN_FLOOR` (a client that nothing is known of)."""
        out: dict[Family, NDArray[np.float64]] = {}
        if self._evidence is not None and len(slots):
            by_statistic = np.maximum(self._evidence.log_evidence(slots), _LN_FLOOR)
            out["extraction"], out["evasion"] = (by_statistic[:, columns].max(axis=1) for columns in _STATISTICS_OF)
        if self._membership is not None and len(slots):
            out["membership"] = np.maximum(self._membership.log_evidence(slots).max(axis=1), _LN_FLOOR)
        return out

    def _lines(self, window: OpenWindow, present: NDArray[np.intp], evidence: dict[Family, NDArray[np.float64]]) -> list[ClientLine]:
        """The clients that stand out: under suspicion first, then by evidence, then by volume."""
        if not len(present):
            return []
        top = np.max([*evidence.values(), np.zeros(len(present))], axis=0)
        order = np.lexsort((-window.client_n[present], -np.round(top, 1), -self.table.severity[present].max(axis=1).astype(int)))[
            :LINES_PER_WINDOW
        ]
        repeats = self._evidence.counts(present)["exact_repeats"] if self._evidence is not None else np.zeros(len(present), np.int64)
        return [
            ClientLine(
                client=self.table.names[present[k]],
                n=int(window.client_n[present[k]]),
                errors=int(window.client_errors[present[k]]),
                denied=int(window.client_denied[present[k]]),
                repeats=int(repeats[k]),
                severity=SEVERITIES[self.table.severity[present[k]].max()],
                evidence={family: round(float(values[k]), 4) for family, values in evidence.items()},
            )
            for k in order.tolist()
        ]

    def _renew(self, at_ns: int, present: NDArray[np.intp], evidence: dict[Family, NDArray[np.float64]]) -> None:
        """Says of clients under suspicion who went on in this window that their evidence still stands."""
        standing = np.flatnonzero(self.table.severity[present].any(axis=1))[:RENEWED_PER_WINDOW]
        for k in standing.tolist():
            slot = int(present[k])
            for family, values in evidence.items():
                severity = int(self.table.severity[slot, FAMILIES.index(family)])
                if severity:
                    self._emit(
                        self._finding(at_ns, slot, int(self.table.n[slot]), family, severity, float(values[k]), {}, "", renewed=True)
                    )

    # -- clients ------------------------------------------------------------------------------------------------------------------------

    def _resize(self, capacity: int) -> None:
        self._hashes = np.concatenate([self._hashes, np.zeros(capacity - len(self._hashes), np.uint64)])
        for window in self._windows.values():
            window.resize(capacity)
        if self._evidence is not None:
            self._evidence.resize(capacity)
        if self._membership is not None:
            self._membership.resize(capacity)

    def _evict(self, slots: NDArray[np.int32]) -> None:
        self._hashes[slots] = 0
        for window in self._windows.values():
            window.forget(slots)
        if self._evidence is not None:
            self._evidence.clear(slots)
        if self._membership is not None:
            self._membership.clear(slots)

    def client_rows(self) -> dict[str, Any]:
        """All clients at this moment, as columns: client, n, ln evidence by family, severity."""
        slots = np.array([slot for slot, name in enumerate(self.table.names) if name], np.intp)
        rows: dict[str, Any] = {
            "client": [self.table.names[s] for s in slots],
            "n": self.table.n[slots],
            "severity": self.table.severity[slots].max(axis=1),
        }
        for family, values in self._ln_evidence(slots).items():
            rows[f"ln_{family}"] = values
        return rows

    # -- snapshots ----------------------------------------------------------------------------------------------------------------------

    def snapshot(self) -> bytes:
        """The whole state."""
        return pack(
            _KIND,
            _VERSION,
            {
                "reference": self.reference_id,
                "watermark_ns": self.watermark_ns,
                "closed_until_ns": self._closed_until_ns,
                "table": self.table.dump(),
                "hashes": self._hashes,
                "recent": self._recent.table,
                "producers": {k: [p.service, p.received, p.highest, p.lowest, p.last_at_ns] for k, p in self._producers.items()},
                "windows": [window.dump() for window in self._windows.values()],
                "sampler": self._sampler.dump(),
                "evidence": b"" if self._evidence is None else self._evidence.snapshot(),
                "membership": b"" if self._membership is None else self._membership.snapshot(),
            },
        )

    def restore(self, blob: bytes) -> None:
        """Goes on from a snapshot, in a fresh object. With another reference in force than then, what depends on it starts anew."""
        body = unpack(blob, _KIND, _VERSION)
        self.watermark_ns, self._closed_until_ns = body["watermark_ns"], body["closed_until_ns"]
        self.table.load(body["table"])
        self._hashes = body["hashes"]
        self._recent = RecentEvents(body["recent"])
        self._producers = {
            k: Producer(service=service, received=received, highest=highest, lowest=lowest, last_at_ns=last)
            for k, (service, received, highest, lowest, last) in body["producers"].items()
        }
        same = body["reference"] == self.reference_id
        drift = self.loaded.drift if self.loaded and same else None
        for one in body["windows"]:
            self._windows[one["start_ns"]] = OpenWindow.load(one, drift, max(self.table.capacity, 1))
        self._sampler.load(body["sampler"])
        if same and self._evidence is not None:
            self._evidence.restore(body["evidence"])
        if same and self._membership is not None:
            self._membership.restore(body["membership"])
        if not same:
            self.close_until(None)
            self.table.severity[:] = 0
