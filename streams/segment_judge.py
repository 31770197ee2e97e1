"""The segments of one model version at its owner: learned, judged, and no more of them than there is room for."""

from __future__ import annotations

from typing import Any

import msgspec

from detectors.drift import DriftReference, DriftReport, WindowCounts
from detectors.drift.segments import Segment
from schemas.windows import WindowPartial
from streams.alerts import RANK
from streams.owner import NS
from streams.segments import DECAY, most_of
from streams.settings import Settings, drift_pages, windows_in_30d


class Part(msgspec.Struct, frozen=True):
    """What one segment showed in a window."""

    name: str
    """``field=value``."""
    share: float
    """Of the window's events."""
    report: DriftReport


class SegmentJudge:
    """Judges the segments of a model version, each against its own past.

    Args:
        settings: which fields, how many values, budget, window length, materiality.
        reference: the model's.
    """

    def __init__(self, settings: Settings, reference: DriftReference) -> None:
        drift = settings.drift
        self._reference = reference
        self._most = most_of(drift.segments_most, len(reference.variables)) * len(drift.segments)
        self._windows = windows_in_30d(settings.window)
        self._false_pages = drift_pages(settings)[1] / max(self._most, 1)
        self._materiality = drift.materiality
        self._segments: dict[str, Segment] = {}
        self._traffic: dict[str, float] = {}
        self.ignored = 0
        """Events of segments that found no room here: partitions follow different values."""

    def judge(self, window: WindowPartial) -> list[Part]:
        """The segments of a merged window that have been learned, those with the most severe and strongest evidence first.

        Raises:
            StateError: damaged counts.
        """
        parts = []
        for name in self._traffic:
            self._traffic[name] *= DECAY
        for name, blob in sorted(window.segments.items()):
            counts = WindowCounts.from_bytes(blob, self._reference)
            segment = self._of(name, counts.n)
            report = segment.update(counts, (window.start_ns / NS, window.end_ns / NS)) if segment is not None else None
            if report is not None:
                parts.append(Part(name, counts.n / max(window.n, 1), report))
        return sorted(parts, key=lambda part: (-RANK[part.report.severity], -part.report.log_evidence, part.name))

    def _of(self, name: str, n: int) -> Segment | None:
        traffic = self._traffic
        if name not in self._segments:
            if len(self._segments) >= self._most:
                least = min(traffic, key=traffic.__getitem__)
                if traffic[least] >= 0.5 * n:
                    self.ignored += n
                    return None
                del self._segments[least], traffic[least]
            self._segments[name] = self._new()
        traffic[name] = traffic.get(name, 0.0) + n
        return self._segments[name]

    def _new(self) -> Segment:
        return Segment(self._reference, false_pages=self._false_pages, windows=self._windows, materiality=self._materiality)

    def dump(self) -> dict[str, Any]:
        """For a snapshot."""
        segments = {name: segment.state() for name, segment in self._segments.items()}
        return {"segments": segments, "traffic": dict(self._traffic), "ignored": self.ignored}

    def load(self, body: dict[str, Any]) -> None:
        """From a snapshot taken with the same reference; of the fields and as many values as are followed now.

        Raises:
            StateError: it is damaged.
        """
        self.ignored = int(body["ignored"])
        for name, state in list(body["segments"].items())[: self._most]:
            segment = self._new()
            segment.restore(state)
            self._segments[name], self._traffic[name] = segment, float(body["traffic"][name])


def merged(a: WindowPartial, b: WindowPartial, reference: DriftReference | None, ours: str) -> dict[str, bytes]:
    """The segments of two partitions' shares of a window; those counted in another reference's cells are left out."""
    if reference is None:
        return {}
    out: dict[str, bytes] = {}
    for share in (a, b):
        for name, blob in share.segments.items() if share.reference == ours else ():
            if name not in out:
                out[name] = blob
                continue
            counts = WindowCounts.from_bytes(out[name], reference)
            counts.merge(WindowCounts.from_bytes(blob, reference))
            out[name] = counts.to_bytes(dense=True)
    return out
