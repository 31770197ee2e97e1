"""How far confidence gives training rows away, on live traffic: the reference's members against labelled answers of today.

The owner may set levels from which on it is an alert (`membership.warn_advantage` and its like): a ticket, or a page, of the model. The low
end of the 95 % interval is compared, so that chance opens none.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from detectors.membership.gauge import GaugeReport, MembershipGauge, Share
from schemas.outcomes import P_NONE, P_ONE
from schemas.rows import MembershipGaugeRow, Row
from schemas.windows import Severity
from streams import pages
from streams.alerts import AlertBook
from streams.labels import Joined
from streams.references import Loaded
from streams.settings import Membership

DAY_NS = 86_400 * 10**9


class Leakage:
    """The membership gauge of a model version, as its reference measured it and with its non-members refreshed from delayed labels.

    Told once a day while labels come. It misleads when live rows were trained on (customers who ask for themselves): then the model seems
    to leak less than it does.

    Args:
        model: its name.
        version: its version.
        emit: takes rows.
        levels: the owner's.
        alerts: takes what is above them.
    """

    def __init__(self, model: str, version: str, emit: Callable[[Row], None], levels: Membership, alerts: AlertBook) -> None:
        self._key: dict[str, Any] = {"model": model, "version": version}
        self._emit, self._levels, self._alerts = emit, levels, alerts
        self._stands = False
        self._loaded: Loaded | None = None
        self._live = MembershipGauge()
        self._day = -1

    def use(self, loaded: Loaded | None) -> None:
        """Goes over to another reference: other members, and nothing is known of today's rows."""
        self._loaded, self._live, self._day, self._stands = loaded, MembershipGauge(), -1, False

    def take(self, joined: Joined) -> None:
        """Takes labelled answers that came with a probability of every class of the reference."""
        loaded = self._loaded
        if (
            loaded is None
            or loaded.membership is None
            or joined.scores.shape[1] != len(joined.classes)
            or joined.classes != loaded.aligner.classes
        ):
            return
        scores = np.where(joined.scores == P_NONE, np.nan, joined.scores / P_ONE)
        self._live.add(scores, joined.truth, np.zeros(len(joined.truth), bool))

    def tell(self, now_ns: int) -> None:
        """The day's rows, once."""
        loaded, day = self._loaded, now_ns // DAY_NS
        if loaded is None or loaded.membership is None or day == self._day or not self._live.counts.any():
            return
        self._day, self._stands = day, False
        fitted = loaded.membership.gauge
        live = MembershipGauge()
        live.counts[1], live.correct[1] = fitted.counts[1], fitted.correct[1]
        live.merge(self._live)
        for source, gauge in (("reference", fitted), ("live", live)):
            report = gauge.report()
            if not report.reason:
                self._emit(self._row(day * DAY_NS, source, loaded.id, report))
                self._judge(source, report, now_ns)

    def renew(self, now_ns: int) -> None:
        """What was above a level today still is; two days after the last labels nobody knows."""
        if self._stands and now_ns // DAY_NS <= self._day + 1:
            self._alerts.renew("leakage", "", now_ns, 0.0)

    def _judge(self, source: str, report: GaugeReport, at_ns: int) -> None:
        levels, b, tpr = self._levels, report.balanced_accuracy, report.at_1pct.true_positive_rate
        advantage = None if b is None else Share(2 * b.value - 1, 2 * b.low - 1, 2 * b.high - 1)
        measures = (
            ("the membership advantage", advantage, levels.act_advantage, levels.warn_advantage),
            ("the share of them found at 1 % false positives", tpr, levels.act_tpr_1pct, levels.warn_tpr_1pct),
        )
        for what, share, act, warn in measures:
            if share is None:
                continue
            severity: Severity = "page" if act and share.low >= act else "ticket" if warn and share.low >= warn else "none"
            if severity == "none":
                continue
            self._stands = True
            level = act if severity == "page" else warn
            self._alerts.raise_(
                "leakage", "", severity, at_ns,
                summary=pages.leakage(what, share, level, severity, source, self._key["model"], self._key["version"]),
                evidence={"measure": what, "value": round(share.value, 4), "low": round(share.low, 4), "high": round(share.high, 4),
                          "level": level, "source": source, "members": report.members, "non_members": report.non_members},
                n_events=report.non_members,
            )  # fmt: skip

    def _row(self, at_ns: int, source: str, reference: str, report: GaugeReport) -> MembershipGaugeRow:
        measures = (
            _share(report.balanced_accuracy, "balanced_accuracy")
            | _share(report.at_1pct.true_positive_rate, "tpr_1pct")
            | _share(report.at_01pct.true_positive_rate, "tpr_01pct")
        )
        return MembershipGaugeRow(
            **self._key,
            at=at_ns,
            source=source,
            reference=reference,
            members=report.members,
            non_members=report.non_members,
            tnr=None if report.tnr is None else report.tnr.value,
            generalisation_gap=report.generalisation_gap,
            **measures,
        )

    def dump(self) -> dict[str, Any]:
        """For a snapshot."""
        return {"live": self._live.to_bytes(), "day": self._day, "stands": self._stands}

    def load(self, body: dict[str, Any]) -> None:
        """From a snapshot, into a fresh object with the same reference."""
        self._live, self._day = MembershipGauge.from_bytes(body["live"]), int(body["day"])
        self._stands = bool(body.get("stands", False))


def _share(share: Share | None, name: str) -> dict[str, Any]:
    if share is None:
        return {name: None, f"{name}_low": None, f"{name}_high": None}
    return {name: share.value, f"{name}_low": share.low, f"{name}_high": share.high}
