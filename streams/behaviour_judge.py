"""Does a model version answer as it did? Repeats answered otherwise, and rare values that all get one class."""

from __future__ import annotations

from typing import Any

from detectors.consistency import KINDS
from detectors.rates import RateMonitor
from detectors.state import StateError
from detectors.triggers import RareCounts, TriggerMonitor
from schemas.windows import WindowPartial
from streams import pages
from streams.alerts import AlertBook
from streams.references import Loaded
from streams.settings import Settings, false_tickets, windows_in_30d

__all__ = ["BehaviourJudge"]


class BehaviourJudge:
    """Consistency of a model version's answers, and triggers.

    Args:
        model: its name.
        version: its version.
        settings: window, budget.
        alerts: where it raises.
    """

    def __init__(self, model: str, version: str, settings: Settings, alerts: AlertBook) -> None:
        self._model, self._version, self._alerts = model, version, alerts
        self._false_tickets, self._windows = false_tickets(settings.budget), windows_in_30d(settings.window)
        self._repeats = RateMonitor(len(KINDS), false_tickets=self._false_tickets, windows=self._windows)
        self._loaded: Loaded | None = None
        self._triggers: TriggerMonitor | None = None

    def use(self, loaded: Loaded | None) -> None:
        """Goes over to another reference: other cells."""
        self._loaded, self._triggers = loaded, None
        if loaded is not None and loaded.triggers is not None:
            self._triggers = TriggerMonitor(loaded.triggers, false_tickets=self._false_tickets, windows=self._windows)

    def check(self, partial: WindowPartial) -> None:
        """Looks at one partition's share before it is taken.

        Raises:
            StateError: its counts are damaged.
        """
        if partial.rare and self._triggers is not None and self._loaded is not None and _cells(partial) == self._loaded.id:
            RareCounts.from_bytes(partial.rare, self._triggers.reference)

    def merged(self, a: WindowPartial, b: WindowPartial) -> bytes:
        """The rare cells of two shares of a window, of those that are in the cells of the reference in force."""
        if self._triggers is None or self._loaded is None:
            return b""
        mine = [share.rare for share in (a, b) if share.rare and _cells(share) == self._loaded.id]
        if len(mine) < 2:
            return mine[0] if mine else b""
        whole = RareCounts.from_bytes(mine[0], self._triggers.reference)
        whole.merge(RareCounts.from_bytes(mine[1], self._triggers.reference))
        return whole.to_bytes()

    def window(self, window: WindowPartial, now_ns: int) -> None:
        """Judges a window whose partitions are all in."""
        at_ns = max(window.end_ns, now_ns)
        self._judge_repeats(window, at_ns)
        self._judge_triggers(window, at_ns)

    def _judge_repeats(self, window: WindowPartial, at_ns: int) -> None:
        trials = [window.repeats.get(kind, 0) for kind in KINDS]
        others = [min(window.repeats.get(f"{kind}_other", 0), n) for kind, n in zip(KINDS, trials, strict=True)]
        report = self._repeats.update(others, trials)
        self._alerts.raise_(
            "consistency", "", report.severity, at_ns,
            summary=pages.consistency(KINDS[report.leading], report, self._model, self._version), log_evidence=report.log_evidence,
            evidence={"compared": dict(zip(KINDS, trials, strict=True)), "answered_otherwise": dict(zip(KINDS, others, strict=True)),
                      "usual_share": round(report.usual, 6)},
            n_events=sum(window.status.values()),
        )  # fmt: skip

    def _judge_triggers(self, window: WindowPartial, at_ns: int) -> None:
        loaded, monitor = self._loaded, self._triggers
        if loaded is None or monitor is None or not window.rare or _cells(window) != loaded.id:
            return
        try:
            counts = RareCounts.from_bytes(window.rare, monitor.reference)
        except StateError:  # only when the reference came after the counts, which could not be looked at until now
            window.anomalies["damaged_counts"] = window.n
            return
        report = monitor.update(counts)
        if report.rate.severity == "none":
            return
        feature = loaded.aligner.features[report.feature]
        value = monitor.reference.describe(report.feature, report.cell, feature.categories)
        klass = loaded.aligner.classes[report.klass]
        self._alerts.raise_(
            "trigger", "", report.rate.severity, at_ns,
            summary=pages.trigger(feature.name, value, klass, report.rate, self._model, self._version),
            log_evidence=report.rate.log_evidence, feature=feature.name,
            evidence={"value": value, "class": klass, "clients": report.rate.trials, "clients_of_the_class": report.rate.hits,
                      "usual_share": round(report.rate.usual, 4)},
            n_events=sum(window.status.values()),
        )  # fmt: skip

    def dump(self) -> dict[str, Any]:
        """For a snapshot."""
        return {"repeats": self._repeats.snapshot(), "triggers": b"" if self._triggers is None else self._triggers.snapshot()}

    def load(self, body: dict[str, Any], *, same_reference: bool) -> None:
        """From a snapshot; with another reference than then the search for triggers begins anew."""
        self._repeats.restore(body["repeats"])
        if same_reference and self._triggers is not None and body["triggers"]:
            self._triggers.restore(body["triggers"])


def _cells(share: WindowPartial) -> str:
    return share.rare_reference or share.reference
