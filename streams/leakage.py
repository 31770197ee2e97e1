"""How far confidence gives training rows away, on live traffic: the reference's members against labelled answers of today."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from detectors.membership.gauge import GaugeReport, MembershipGauge, Share
from schemas.outcomes import P_NONE, P_ONE
from schemas.rows import MembershipGaugeRow, Row
from streams.labels import Joined
from streams.references import Loaded

DAY_NS = 86_400 * 10**9


class Leakage:
    """The membership gauge of a model version, as its reference measured it and with its non-members refreshed from delayed labels.

    Told once a day while labels come. It misleads when live rows were trained on (customers who ask for themselves): then the model seems
    to leak less than it does.

    Args:
        model: its name.
        version: its version.
        emit: takes rows.
    """

    def __init__(self, model: str, version: str, emit: Callable[[Row], None]) -> None:
        self._key: dict[str, Any] = {"model": model, "version": version}
        self._emit = emit
        self._loaded: Loaded | None = None
        self._live = MembershipGauge()
        self._day = -1

    def use(self, loaded: Loaded | None) -> None:
        """Goes over to another reference: other members, and nothing is known of today's rows."""
        self._loaded, self._live, self._day = loaded, MembershipGauge(), -1

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
        self._day = day
        fitted = loaded.membership.gauge
        live = MembershipGauge()
        live.counts[1], live.correct[1] = fitted.counts[1], fitted.correct[1]
        live.merge(self._live)
        for source, gauge in (("reference", fitted), ("live", live)):
            report = gauge.report()
            if not report.reason:
                self._emit(self._row(day * DAY_NS, source, loaded.id, report))

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
        return {"live": self._live.to_bytes(), "day": self._day}

    def load(self, body: dict[str, Any]) -> None:
        """From a snapshot, into a fresh object with the same reference."""
        self._live, self._day = MembershipGauge.from_bytes(body["live"]), int(body["day"])


def _share(share: Share | None, name: str) -> dict[str, Any]:
    if share is None:
        return {name: None, f"{name}_low": None, f"{name}_high": None}
    return {name: share.value, f"{name}_low": share.low, f"{name}_high": share.high}
