"""The versions of a model side by side at its judge: which one came before which, and what changed with the new one."""

from __future__ import annotations

from typing import Any

import numpy as np

from detectors.versions import CLASSES, CONFIDENCE_BINS, LATENCY_MS, Profile, VersionComparison, VersionReport, counted
from schemas import latency
from schemas.windows import WindowPartial
from streams.settings import Settings, false_tickets, windows_in_30d

__all__ = ["VersionBook", "name_of"]

_VERSIONS = 8
"""Of a model that are remembered; the one that was asked longest ago goes."""
_SLOWER = tuple(latency.bin_above_ms(ms) for ms in LATENCY_MS)


class VersionBook:
    """What the versions of one model answer, by window.

    Args:
        settings: window, budget.

    Memory: 2.3 KB a version, and 5 KB for one that is new.
    """

    def __init__(self, settings: Settings) -> None:
        self._false_tickets, self._windows = false_tickets(settings.budget), windows_in_30d(settings.window)
        self._slots: dict[str, int] = {}
        self._profiles: dict[str, Profile] = {}
        self._new: dict[str, tuple[str, VersionComparison]] = {}
        """New versions, with the one before."""

    @property
    def classes(self) -> list[str]:
        """By slot."""
        return list(self._slots)

    def window(self, version: str, window: WindowPartial) -> tuple[str, VersionReport] | None:
        """Takes a judged window; the version before and the verdict, for a version that is new."""
        for name in window.classes:
            if len(self._slots) < CLASSES - 1:
                self._slots.setdefault(name, len(self._slots))
        bins = np.frombuffer(window.latency, np.int64)
        slower = [*(int(bins[k:].sum()) for k in _SLOWER), int(bins.sum())]
        ok, errors = window.status.get("ok", 0), window.status.get("error", 0)
        if not ok + errors:
            return None
        hits, trials = counted(window.classes, self._slots, window.confidence, slower, ok, errors)
        profile = self._profiles.get(version)
        if profile is None:
            self._begin(version)
            profile = self._profiles[version]
        profile.add(hits, trials, window.end_ns)
        known = self._new.get(version)
        if known is None or known[0] not in self._profiles:
            return None
        return known[0], known[1].update(hits, trials, self._profiles[known[0]])

    def _begin(self, version: str) -> None:
        ready = [(one.last, one.events, name) for name, one in self._profiles.items() if one.ready]
        if ready:
            comparison = VersionComparison(false_tickets=self._false_tickets, windows=self._windows)
            self._new[version] = max(ready)[2], comparison
        self._profiles[version] = Profile()
        if len(self._profiles) > _VERSIONS:
            oldest = min((one.last, name) for name, one in self._profiles.items() if name != version)[1]
            del self._profiles[oldest]
            self._new = {name: known for name, known in self._new.items() if oldest not in (name, known[0])}

    def dump(self) -> dict[str, Any]:
        """For a snapshot."""
        return {
            "slots": list(self._slots),
            "profiles": [[version, profile.dump()] for version, profile in self._profiles.items()],
            "new": [[version, before, comparison.snapshot()] for version, (before, comparison) in self._new.items()],
        }

    def load(self, body: dict[str, Any]) -> None:
        """From a snapshot, into a fresh object."""
        self._slots = {name: k for k, name in enumerate(body["slots"])}
        for version, state in body["profiles"]:
            self._profiles[version] = Profile()
            self._profiles[version].load(state)
        for version, before, state in body["new"]:
            comparison = VersionComparison(false_tickets=self._false_tickets, windows=self._windows)
            comparison.restore(state)
            self._new[version] = before, comparison


def name_of(rate: int, classes: list[str]) -> str:
    """A share in words.

    Example:
        >>> name_of(1, ["no", "yes"]), name_of(41, []), name_of(42, []), name_of(55, [])
        ('class yes', 'confidence 0.9 to 1.0', 'slower than 1 ms', 'failed requests')
    """
    if rate < CLASSES:
        return f"class {classes[rate]}" if rate < len(classes) else "other classes"
    if rate < CLASSES + CONFIDENCE_BINS:
        k = rate - CLASSES
        return f"confidence {k / CONFIDENCE_BINS:.1f} to {(k + 1) / CONFIDENCE_BINS:.1f}"
    k = rate - CLASSES - CONFIDENCE_BINS
    return f"slower than {LATENCY_MS[k]:g} ms" if k < len(LATENCY_MS) else "failed requests"
