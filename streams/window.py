"""An open window of one model version on one partition: everything that is counted until it closes."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detectors.arrays import plain
from detectors.drift import DriftReference, WindowCounts
from detectors.quality import QualityCounts
from detectors.rare_cells import RareCounts, TriggerReference
from schemas import latency
from schemas.windows import SERVICES, ClientLine, Producer, WindowPartial
from streams.kernels import count_events

STATUSES = ("ok", "error", "unauthenticated", "forbidden", "rate_limited", "invalid_input")

_SEGMENTS_BYTES = 512 * 1024
"""Of a window's message, which may have a megabyte."""


class OpenWindow:
    """Counts of one window. It only adds; nothing in it depends on the order of events.

    Args:
        start_ns: where it begins, event time.
        drift: the reference whose bins are counted; None without one.
        capacity: client slots.
        triggers: the reference whose rare cells are counted; None without one.
    """

    def __init__(self, start_ns: int, drift: DriftReference | None, capacity: int, triggers: TriggerReference | None = None) -> None:
        self.start_ns = start_ns
        self.drift = None if drift is None else WindowCounts(drift)
        self.rare = None if triggers is None else RareCounts(triggers)
        self.segments: dict[str, WindowCounts] = {}
        self.segments_other: Counter[str] = Counter()
        self.quality = QualityCounts()
        self.n = self.late = self.suspect = self.clients_gone = 0
        self.rejected: Counter[str] = Counter()
        self.anomalies: Counter[str] = Counter()
        self.status = np.zeros(len(STATUSES), np.int64)
        self.services: dict[str, NDArray[np.int64]] = {}
        self.latency = np.zeros(latency.BINS, np.int64)
        self.classes: Counter[str] = Counter()
        self.repeats: Counter[str] = Counter()
        self.confidence = np.zeros(10, np.int64)
        self.client_n = np.zeros(capacity, np.int32)
        self.client_errors = np.zeros(capacity, np.int32)
        self.client_denied = np.zeros(capacity, np.int32)

    @property
    def clients(self) -> int:
        """Distinct clients seen, the evicted ones included."""
        return int(np.count_nonzero(self.client_n)) + self.clients_gone

    def add(self, slot: NDArray[np.int32], status: NDArray[np.uint8], latency_ms: NDArray[np.float32], service: str = "") -> None:
        """Counts events by status, latency of answers, client, and the service they are all of."""
        self.n += len(slot)
        if service not in self.services and len(self.services) >= SERVICES:
            service = ""
        before = self.status.copy()
        status, latency_ms = plain(status), plain(latency_ms)
        count_events(slot, status, latency_ms, self.status, self.latency, self.client_n, self.client_errors, self.client_denied)
        self.services[service] = self.services.get(service, 0) + (self.status - before)

    def segments_bytes(self) -> dict[str, bytes]:
        """Counts of the segments, those with the most events first, as many as there is room for in a message; the rest is counted."""
        out: dict[str, bytes] = {}
        room = _SEGMENTS_BYTES
        for name, counts in sorted(self.segments.items(), key=lambda one: -one[1].n):
            blob = counts.to_bytes(dense=True)
            if len(blob) <= room:
                out[name], room = blob, room - len(blob)
            else:
                self.segments_other[name.partition("=")[0]] += counts.n
        return out

    def resize(self, capacity: int) -> None:
        """Room for more client slots."""
        for name in ("client_n", "client_errors", "client_denied"):
            before = getattr(self, name)
            setattr(self, name, np.concatenate([before, np.zeros(capacity - len(before), np.int32)]))

    def forget(self, slots: NDArray[np.int32]) -> None:
        """Frees the slots of evicted clients; that they were there stays counted."""
        self.clients_gone += int(np.count_nonzero(self.client_n[slots]))
        self.client_n[slots] = self.client_errors[slots] = self.client_denied[slots] = 0

    def partial(
        self,
        model: str,
        version: str,
        reference: str,
        partition: int,
        end_ns: int,
        *,
        producers: dict[str, Producer],
        lines: list[ClientLine],
        rare_reference: str,
    ) -> WindowPartial:
        """What the judge is told when the window closes; the sequence number is the caller's business.

        Args:
            model: whose window it is.
            version: of it.
            reference: id of the one whose bins were counted; empty without one.
            partition: of the events.
            end_ns: of the window.
            producers: who sent how many events so far.
            lines: of the clients that stand out.
            rare_reference: id of the one whose rare cells were counted.
        """
        return WindowPartial(
            model=model,
            version=version,
            reference=reference,
            start_ns=self.start_ns,
            end_ns=end_ns,
            partition=partition,
            epoch=0,
            sequence=0,
            n=self.n,
            late=self.late,
            suspect=self.suspect,
            clients=self.clients,
            counts=b"" if self.drift is None else self.drift.to_bytes(),
            segments=self.segments_bytes(),
            segments_other=dict(self.segments_other),
            rejected=dict(self.rejected),
            anomalies=dict(self.anomalies),
            quality=self.quality.to_bytes(),
            status=_by_name(self.status),
            services={service: _by_name(status) for service, status in self.services.items()},
            latency=self.latency.tobytes(),
            classes=dict(self.classes),
            rare=b"" if self.rare is None else self.rare.to_bytes(),
            rare_reference=rare_reference,
            confidence=self.confidence.tolist() if self.confidence.any() else [],
            repeats=dict(self.repeats),
            producers=producers,
            lines=lines,
        )

    def dump(self) -> dict[str, Any]:
        """For a snapshot."""
        used = np.flatnonzero(self.client_n).astype(np.int32)
        return {
            "start_ns": self.start_ns,
            "drift": None if self.drift is None else self.drift.to_bytes(),
            "rare": None if self.rare is None else self.rare.to_bytes(),
            "segments": {name: counts.to_bytes(dense=True) for name, counts in self.segments.items()},
            "segments_other": dict(self.segments_other),
            "quality": self.quality.to_bytes(),
            "n": self.n,
            "late": self.late,
            "suspect": self.suspect,
            "clients_gone": self.clients_gone,
            "rejected": dict(self.rejected),
            "anomalies": dict(self.anomalies),
            "status": self.status,
            "services": {service: status.tolist() for service, status in self.services.items()},
            "latency": self.latency,
            "classes": dict(self.classes),
            "repeats": dict(self.repeats),
            "confidence": self.confidence,
            "used": used,
            "client_n": self.client_n[used],
            "client_errors": self.client_errors[used],
            "client_denied": self.client_denied[used],
        }

    @classmethod
    def load(
        cls, body: dict[str, Any], drift: DriftReference | None, capacity: int, triggers: TriggerReference | None = None
    ) -> OpenWindow:
        """From a snapshot taken with the same reference and capacity."""
        window = cls(body["start_ns"], drift, capacity, triggers)
        if triggers is not None and body.get("rare") is not None:
            window.rare = RareCounts.from_bytes(body["rare"], triggers)
        if drift is not None and body["drift"] is not None:
            window.drift = WindowCounts.from_bytes(body["drift"], drift)
            window.segments = {
                name: WindowCounts.from_bytes(blob, drift, together=False) for name, blob in body.get("segments", {}).items()
            }
        window.segments_other = Counter(body.get("segments_other", {}))
        window.quality = QualityCounts.from_bytes(body["quality"])
        window.n, window.late, window.suspect = body["n"], body["late"], body["suspect"]
        window.clients_gone = body["clients_gone"]
        window.rejected, window.anomalies = Counter(body["rejected"]), Counter(body["anomalies"])
        window.classes, window.repeats = Counter(body["classes"]), Counter(body.get("repeats", {}))
        window.confidence = body.get("confidence", window.confidence)
        window.status, window.latency = body["status"], body["latency"]
        window.services = {service: np.array(status, np.int64) for service, status in body.get("services", {}).items()}
        for name in ("client_n", "client_errors", "client_denied"):
            getattr(window, name)[body["used"]] = body[name]
        return window


def _by_name(status: NDArray[np.int64]) -> dict[str, int]:
    return {name: int(n) for name, n in zip(STATUSES, status.tolist(), strict=True) if n}
