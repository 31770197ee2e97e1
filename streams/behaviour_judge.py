"""Does a model version answer as it did? Repeats answered otherwise, judged against its own history."""

from __future__ import annotations

from typing import Any

from detectors.consistency import KINDS
from detectors.rates import RateMonitor
from schemas.windows import WindowPartial
from streams import pages
from streams.alerts import AlertBook
from streams.settings import Settings, false_tickets

__all__ = ["BehaviourJudge"]

_MONTH_S = 30 * 86_400


class BehaviourJudge:
    """Consistency of a model version's answers.

    Args:
        model: its name.
        version: its version.
        settings: window, budget.
        alerts: where it raises.
    """

    def __init__(self, model: str, version: str, settings: Settings, alerts: AlertBook) -> None:
        self._model, self._version, self._alerts = model, version, alerts
        windows = _MONTH_S / settings.window.length_s
        self._repeats = RateMonitor(len(KINDS), false_tickets=false_tickets(settings.budget), windows=windows)

    def window(self, window: WindowPartial, now_ns: int) -> None:
        """Judges a window whose partitions are all in."""
        trials = [window.repeats.get(kind, 0) for kind in KINDS]
        others = [min(window.repeats.get(f"{kind}_other", 0), n) for kind, n in zip(KINDS, trials, strict=True)]
        report = self._repeats.update(others, trials)
        self._alerts.raise_(
            "consistency", "", report.severity, max(window.end_ns, now_ns),
            summary=pages.consistency(KINDS[report.leading], report, self._model, self._version), log_evidence=report.log_evidence,
            evidence={"compared": dict(zip(KINDS, trials, strict=True)), "answered_otherwise": dict(zip(KINDS, others, strict=True)),
                      "usual_share": round(report.usual, 6)},
            n_events=sum(window.status.values()),
        )  # fmt: skip

    def dump(self) -> dict[str, Any]:
        """For a snapshot."""
        return {"repeats": self._repeats.snapshot()}

    def load(self, body: dict[str, Any]) -> None:
        """From a snapshot."""
        self._repeats.restore(body["repeats"])
