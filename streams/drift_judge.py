"""Drift of one model version at its owner: the whole, its segments, latency, and constant columns; what they say becomes alerts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from detectors.constant import ConstantDetector, ConstantReport
from detectors.drift import DriftDetector, DriftReference, DriftReport, WindowCounts
from detectors.drift.reference import LATENCY
from detectors.drift.report import VariableDrift
from detectors.drift.slow import SlowSizes
from detectors.drift.told import QUIET_DAYS
from detectors.state import StateError
from schemas.windows import Severity, WindowPartial
from streams import pages
from streams.alerts import AlertBook
from streams.owner import NS
from streams.references import Loaded
from streams.segment_judge import Part, SegmentJudge
from streams.settings import Settings, drift_pages, quality_pages, windows_in_30d

CONSTANT = "constant"
"""What of input quality an alert about columns at one value is."""
_PATIENCE_NS = round(QUIET_DAYS * 86_400) * NS
"""Without renewal, after which a ticket of what comes and goes is over."""


class DriftJudge:
    """Judges merged windows against the reference in force.

    Args:
        model: its name.
        version: its version.
        settings: budget, window length, materiality, segments.
        alerts: where they are raised.
    """

    def __init__(self, model: str, version: str, settings: Settings, alerts: AlertBook) -> None:
        self.model, self.version = model, version
        self._settings, self._alerts = settings, alerts
        self._loaded: Loaded | None = None
        self.detector: DriftDetector | None = None
        self._segments: SegmentJudge | None = None
        self._constant: ConstantDetector | None = None
        self._slow: SlowSizes | None = None

    @property
    def reference(self) -> DriftReference | None:
        """In whose bins windows are judged."""
        return self.detector.reference if self.detector is not None else None

    def use(self, loaded: Loaded | None) -> None:
        """Goes over to another reference: the recursions begin anew."""
        settings = self._settings
        self._loaded, self.detector, self._segments, self._constant, self._slow = loaded, None, None, None, None
        if loaded is not None and loaded.drift is not None:
            self._segments = SegmentJudge(settings, loaded.drift) if settings.drift.segments else None
            self.detector = DriftDetector(
                loaded.drift,
                false_pages=drift_pages(settings)[0],
                windows=windows_in_30d(settings.window),
                materiality=settings.drift.materiality,
                latency_materiality=settings.drift.latency_materiality,
            )
            self._slow = SlowSizes(self.detector.sizer)
            if loaded.drift.n_features:
                pages_of_constant, windows = quality_pages(settings)[1], windows_in_30d(settings.window)
                self._constant = ConstantDetector(loaded.drift, false_pages=pages_of_constant, windows=windows)

    def window(self, window: WindowPartial, now_ns: int, mark: dict[str, Any]) -> DriftReport | None:
        """Judges a window; None where it was counted by another reference, or by none.

        Args:
            window: its partitions' counts, merged.
            now_ns: when it is judged.
            mark: what alerts say besides.
        """
        detector, constant, loaded = self.detector, self._constant, self._loaded
        if detector is None or loaded is None or not window.counts or window.reference != loaded.drift_id:
            return None
        try:
            counts = WindowCounts.from_bytes(window.counts, detector.reference)
        except StateError:  # only when the reference came after the counts, which could not be looked at until now
            window.anomalies["damaged_counts"] = window.n
            return None
        span_s, at_ns = (window.start_ns / NS, window.end_ns / NS), max(window.end_ns, now_ns)
        before = detector.ceilings(counts, span_s)
        report = detector.update(counts, span_s)
        if self._slow is not None and counts.n:
            self._slow.take(counts, report, span_s)
        may_page = report.status == "calibrated" and not self._provisional
        stuck = None if constant is None else constant.update(counts, *before, may_page=may_page)
        parts = [] if self._segments is None else [part for part in self._segments.judge(window) if part.report.severity != "none"]
        mark = mark | {"compared_with": loaded.drift_name}
        if loaded.drift_id != loaded.id:
            mark = mark | {"baseline": loaded.drift_name}
        if stuck is not None and stuck.stuck:
            self._alert_constant(window, stuck, at_ns, mark)
        self._alert(window, report, parts, at_ns, mark)
        self._alert_latency(window, report, at_ns, mark)
        return report

    def _alert(self, window: WindowPartial, whole: DriftReport, parts: list[Part], at_ns: int, mark: dict[str, Any]) -> None:
        """One alert for the model and its segments: a segment leads where it alone shows so much."""
        alone = bool(parts) and (whole.severity == "none" or (whole.severity, parts[0].report.severity) == ("ticket", "page"))
        report = parts[0].report if alone else whole
        severity: Severity = "ticket" if report.severity == "page" and self._provisional else report.severity
        if severity == "none":
            return
        leading = pages.leading_variables(report)
        stuck = {} if alone else self._stuck
        if severity == "page" and self._is_told(report, leading, set(stuck)):
            severity = "ticket"
        cause = "" if alone else self._cause(report, leading, at_ns)
        self._alerts.raise_(
            "drift",
            cause,
            severity,
            at_ns,
            summary=pages.drift(report, self.model, self.version, parts[0] if alone else None),
            log_evidence=report.log_evidence,
            evidence={
                "since_window": report.since,
                "since_ns": _began(window, report, report.since),
                "again": report.again,
                "looks_like": "data fault" if self._alerts.is_open("quality") else report.looks_like,
                "n_effective": round(report.n_effective, 1),
                "log_page": round(report.log_page, 2),
                "status": self._status(report),
                "variables": [msgspec.to_builtins(variable) for variable in leading[:5]],
                "slow": {} if alone or not leading else self._slow_of(leading[0].name),
                "stuck": {one.name: stuck[one.name] for one in leading[:5] if one.name in stuck},
                "pairs": [pair._asdict() for pair in report.pairs],
                "together": None if report.shift is None else report.shift._asdict(),
                "segments": [
                    {
                        "segment": part.name,
                        "share": round(part.share, 4),
                        "log_evidence": round(part.report.log_evidence, 2),
                        "features": list(part.report.leading[:3]),
                    }
                    for part in parts[:5]
                ],
            }
            | mark,
            feature=leading[0].name if leading else None,
            n_events=report.n if alone else window.n,
            continues=report.severity == "page" and not report.opened,
            part=cause,
            patience_ns=_PATIENCE_NS if report.again else 0,
        )

    def _cause(self, report: DriftReport, leading: Sequence[VariableDrift], at_ns: int) -> str:
        """Which alert a window of the whole is for: the model's, or one of its own for what moved while that is a page already.

        Those of its own are renewed as long as their variable moves.
        """
        told = self._alerts.of("drift")
        for cause in told.keys() - {"", LATENCY}:
            if cause in report.leading or dict(zip(self._names, report.beyond, strict=True)).get(cause):
                self._alerts.renew("drift", cause, at_ns, report.log_evidence)
        held = told.get("")
        if not report.opened or held is None or held.severity != "page" or not leading or leading[0].name == held.feature:
            return ""
        return leading[0].name

    def _alert_constant(self, window: WindowPartial, report: ConstantReport, at_ns: int, mark: dict[str, Any]) -> None:
        """Columns at one value; a ticket where drift has paged about all of them already: it began in the middle of a window."""
        names, held = [one.feature for one in report.stuck], self._alerts.of("quality").get(CONSTANT)
        told = self._paged_variables.issuperset(names) and (held is None or held.severity != "page")
        severity: Severity = "ticket" if told else report.severity
        known = {} if held is None else held.evidence["stuck"]
        self._alerts.raise_(
            "quality",
            CONSTANT,
            severity,
            at_ns,
            summary=pages.constant(report, window.n, self.model, self.version),
            log_evidence=report.log_evidence,
            evidence={
                "stuck": known | {one.feature: one.value for one in report.stuck},
                "usual": {one.feature: round(one.usual, 4) for one in report.stuck},
                "since_window": report.stuck[0].since,
                "log_page": round(report.log_page, 2),
            }
            | mark,
            feature=names[0],
            n_events=window.n,
            grown=held is not None and not known.keys() >= set(names),
            continues=report.severity == "page" and not report.opened,
            part=CONSTANT,
        )

    def _slow_of(self, name: str) -> dict[str, float]:
        """How far a variable is from the reference over the last day or less."""
        seconds, sizes = self._slow.sizes() if self._slow is not None else (0.0, {})
        if name not in sizes:
            return {}
        psi, w1 = sizes[name]
        return {"hours": round(seconds / 3600, 1), "psi": round(psi, 4), "w1": round(w1, 3)}

    @property
    def _stuck(self) -> dict[str, str]:
        """Columns at one value that on-call knows of, and the value."""
        held = self._alerts.of("quality").get(CONSTANT)
        return {} if held is None else dict(held.evidence["stuck"])

    def _is_told(self, report: DriftReport, leading: Sequence[VariableDrift], stuck: set[str]) -> bool:
        """Whether on-call was paged about columns at one value that explain it: what else leads are answers, or what goes with them."""
        held = self._alerts.of("quality").get(CONSTANT)
        if held is None or report.shift is not None or self.reference is None:
            return False
        if held.severity != "page" and not stuck <= self._paged_variables:
            return False
        features = set(self.reference.variables[: self.reference.n_features])
        beyond = {one.name for one, far in zip(report.variables, report.beyond, strict=True) if far}
        others = any(one.name in features and one.name in beyond and one.name not in stuck for one in leading)
        apart = any(not stuck & {pair.first, pair.second} for pair in report.pairs)
        return not others and not apart and (held.severity == "page" or leading[0].name not in stuck)

    @property
    def _paged_variables(self) -> set[str]:
        """What open pages about drift are of."""
        open_pages = (alert for alert in self._alerts.of("drift").values() if alert.severity == "page")
        return {variable["name"] for alert in open_pages for variable in alert.evidence.get("variables", [])}

    def _alert_latency(self, window: WindowPartial, report: DriftReport, at_ns: int, mark: dict[str, Any]) -> None:
        """Latency's ticket, beside what else moved."""
        if report.latency == "none":
            return
        moved = report.variables[-1]
        self._alerts.raise_(
            "drift",
            LATENCY,
            report.latency,
            at_ns,
            summary=pages.drift_of_latency(moved, self.model, self.version),
            log_evidence=moved.log_evidence,
            evidence={
                "since_window": moved.since,
                "since_ns": _began(window, report, moved.since),
                "looks_like": LATENCY,
                "status": self._status(report),
                "variables": [msgspec.to_builtins(moved)],
            }
            | mark,
            feature=LATENCY,
            n_events=window.n,
            part=LATENCY,
            patience_ns=_PATIENCE_NS if self._alerts.was_told("drift", LATENCY) else 0,
        )

    @property
    def _names(self) -> tuple[str, ...]:
        return self.reference.variables if self.reference is not None else ()

    @property
    def _provisional(self) -> bool:
        return self._loaded is not None and self._loaded.provisional

    def _status(self, report: DriftReport) -> str:
        return "uncalibrated: provisional reference" if self._provisional else report.status

    def dump(self) -> dict[str, Any]:
        """For a snapshot."""
        return {
            "drift": b"" if self.detector is None else self.detector.snapshot(),
            "segments": None if self._segments is None else self._segments.dump(),
            "slow": None if self._slow is None else self._slow.dump(),
            "constant": b"" if self._constant is None else self._constant.snapshot(),
        }

    def load(self, body: dict[str, Any]) -> None:
        """From a snapshot taken with the same reference."""
        if self.detector is not None and body["drift"]:
            self.detector.restore(body["drift"])
            if self._segments is not None and body.get("segments") is not None:
                self._segments.load(body["segments"])
            if self._slow is not None and body.get("slow") is not None:
                self._slow.load(body["slow"])
            if self._constant is not None and body.get("constant"):
                self._constant.restore(body["constant"])


def _began(window: WindowPartial, report: DriftReport, since: int) -> int:
    """When the window with number `since` of the detector's began, as if all were as long as this one."""
    return max(window.start_ns - (report.window - 1 - since) * (window.end_ns - window.start_ns), 0)
