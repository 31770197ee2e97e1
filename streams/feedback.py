"""Labels by segment of the traffic at a model's owner: which segment's labels say "wrong" all at once."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detectors.feedback import BINS, SERVICE, FeedbackMonitor, SegmentCodes
from streams import pages
from streams.alerts import AlertBook
from streams.labels import Joined
from streams.references import Loaded
from streams.settings import Settings, false_tickets, windows_in_30d

__all__ = ["Feedback", "group_of_service"]

_SERVICES = 1_000


@lru_cache(maxsize=4_096)
def group_of_service(service: str) -> int:
    """One of 15 groups, the same in every process; the 16th is for none."""
    return hashlib.blake2b(service.encode("utf-8", "surrogateescape"), digest_size=2).digest()[0] % (BINS - 1) if service else BINS - 1


class Feedback:
    """The feedback ticket of a model version.

    Args:
        model: its name.
        version: its version.
        settings: window, budget, labels.
        alerts: where it raises.
    """

    def __init__(self, model: str, version: str, settings: Settings, alerts: AlertBook) -> None:
        self._model, self._version, self._settings, self._alerts = model, version, settings, alerts
        self._law = {"false_tickets": false_tickets(settings.budget), "windows": windows_in_30d(settings.window)}
        self._codes: SegmentCodes | None = None
        self._monitor: FeedbackMonitor | None = None
        self._cells: list[NDArray[np.uint8]] = []
        self._wrong: list[NDArray[np.bool_]] = []
        self._services: dict[int, str] = {}

    def use(self, loaded: Loaded | None) -> None:
        """Goes over to another reference: other segments."""
        self._codes = self._monitor = None
        self._cells, self._wrong = [], []
        if loaded is not None and loaded.cells is not None:
            self._codes = SegmentCodes(loaded.cells, self._settings.labels.segments)

    def service(self, name: str) -> None:
        """A service that is heard of, so that its group has a name."""
        if len(self._services) < _SERVICES:
            self._services.setdefault(group_of_service(name), name)

    def take(self, joined: Joined, wrong: NDArray[np.bool_]) -> None:
        """Takes labels of the window of arrival that is open."""
        codes = self._codes
        if codes is not None and joined.cells is not None and joined.fields == codes.fields:
            self._cells.append(joined.cells)
            self._wrong.append(wrong)

    def close(self, now_ns: int) -> None:
        """Judges the window of arrival."""
        codes, cells, wrong = self._codes, self._cells, self._wrong
        self._cells, self._wrong = [], []
        if codes is None or not cells:
            return
        if self._monitor is None:
            self._monitor = FeedbackMonitor(codes.fields, **self._law)
        report = self._monitor.update(np.concatenate(cells), np.concatenate(wrong))
        segment = codes.describe(report.field, report.cell, self._services)
        self._alerts.raise_(
            "feedback", "", report.rate.severity, now_ns,
            summary=pages.feedback(segment, report, self._model, self._version), log_evidence=report.rate.log_evidence,
            feature=report.field if report.field in codes.fields[2:] else None,
            service=self._services.get(report.cell, "") if report.field == SERVICE else "",
            evidence={"segment": segment, "labels": report.rate.trials, "errors": report.rate.hits,
                      "usual_share": round(report.rate.usual, 4), "share_of_the_others": round(report.others, 4)},
            n_events=report.rate.trials,
        )  # fmt: skip

    def dump(self) -> dict[str, Any]:
        """For a snapshot."""
        return {
            "monitor": b"" if self._monitor is None else self._monitor.snapshot(),
            "cells": np.concatenate(self._cells) if self._cells else np.zeros((0, 0), np.uint8),
            "wrong": np.concatenate(self._wrong) if self._wrong else np.zeros(0, bool),
            "services": sorted(self._services.items()),
        }

    def load(self, body: dict[str, Any]) -> None:
        """From a snapshot, into a fresh object with the same reference."""
        self._services = {int(group): str(name) for group, name in body["services"]}
        monitor = FeedbackMonitor.restored(body["monitor"], **self._law) if body["monitor"] else None
        if self._codes is None or (monitor is not None and monitor.fields != self._codes.fields):
            return
        self._monitor = monitor
        if len(body["wrong"]) and body["cells"].shape[1] == len(self._codes.fields):
            self._cells, self._wrong = [body["cells"]], [body["wrong"]]
