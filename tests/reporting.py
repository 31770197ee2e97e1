"""Rows of a month in the life of three model versions: ordinary days, an extraction, a drift, a false page."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np

from schemas.rows import (
    AccuracyWindowRow,
    AckRow,
    AlertRow,
    ClientWindowRow,
    FeatureWindowRow,
    LoadRow,
    MembershipGaugeRow,
    ProducerRow,
    Row,
    WindowRow,
)
from streams.audit import Chain

BEGIN_NS = int(datetime(2026, 10, 1, tzinfo=UTC).timestamp()) * 10**9
NS = 10**9
HOUR = 3_600 * NS
VERSIONS = (("fraud", "7"), ("churn", "3"), ("prices", "12"))
ATTACKER = "9f2c4be07a1d53e8c6b0f4a27d91e385"


def _drift(model: str, day: int) -> tuple[str, float]:
    if model == "prices" and day >= 16:
        return ("ticket", 9.0) if day == 16 else ("page", 24.0) if day < 23 else ("", 0.2)
    return "", 0.3


def month_of_rows() -> list[Row]:
    """Everything of October 2026."""
    rng = np.random.default_rng(3)
    found: list[Row] = []
    for model, version in VERSIONS:
        for hour in range(31 * 24):
            if model == "churn" and hour // 24 in (3, 10, 17, 24):
                continue  # a batch model rests on Sundays
            start, (severity, evidence) = BEGIN_NS + hour * HOUR, _drift(model, hour // 24)
            n, failed = int(rng.poisson(4_000)), int(rng.poisson(2.0))
            found.append(
                WindowRow(
                    model=model, version=version, start=start, end=start + HOUR, reference="r1", n=n, accepted=n, errors=failed,
                    status={"ok": n - failed, "error": failed}, latency_p95=float(rng.normal(90, 8)), drift_severity=severity,
                    drift_log_evidence=evidence, judged_at=start + HOUR,
                )
            )  # fmt: skip
            if hour % 24 == 0:
                w1 = 0.6 if severity else 0.02
                found.append(
                    FeatureWindowRow(model=model, version=version, start=start, feature="basket_value", kind="numeric", n=n, psi=w1 / 3,
                                     w1=w1, log_evidence=evidence, severity=severity)
                )  # fmt: skip
                found.append(
                    ProducerRow(service="shop", instance=f"{model}-0", model=model, version=version, at=start, sent=n * (hour + 1),
                                dropped=3, received=n * (hour + 1) - 40)
                )  # fmt: skip
                found.append(
                    AccuracyWindowRow(model=model, version=version, start=start, delay="1d", part=0, known_at=start + 24 * HOUR, n=900,
                                      errors=int(rng.poisson(60)))
                )  # fmt: skip
        found.append(
            LoadRow(model=model, version=version, service="shop", instance=f"{model}-0", at=BEGIN_NS - HOUR, kind="loaded",
                    signature="missing" if model == "churn" else "valid", digest="sha256:1")
        )  # fmt: skip
        found.append(
            MembershipGaugeRow(model=model, version=version, at=BEGIN_NS + 9 * 24 * HOUR, source="reference", reference="r1", members=9_000,
                               non_members=9_000, balanced_accuracy=0.53, tpr_1pct=0.014, generalisation_gap=0.02)
        )  # fmt: skip
    found += [
        ClientWindowRow(model="fraud", version="7", start=BEGIN_NS + (200 + k) * HOUR, client=ATTACKER, n=800, ln_extraction=5.0 * k,
                        severity="page" if k > 3 else "", evidence={"copy_agreement": 0.5 + 0.07 * k, "members_touched": 3.0})
        for k in range(6)
    ]  # fmt: skip
    return found + _alerts() + _log()


def _alert(
    alert_id: str, family: str, about: tuple[str, str], opened_h: float, lasted_h: float | None, severity: str, **more: str
) -> list[Row]:
    opened = BEGIN_NS + round(opened_h * HOUR)
    fields = {"alert_id": alert_id, "model": about[0], "version": about[1], "detector": family, "alertname": family} | more
    rows: list[Row] = [
        AlertRow(severity=severity, state="firing", opened_at=opened, at=opened, **fields)  # type: ignore[arg-type]
    ]
    if lasted_h is not None:
        over = opened + round(lasted_h * HOUR)
        rows.append(AlertRow(severity=severity, state="resolved", opened_at=opened, at=over, resolved_at=over, **fields))  # type: ignore[arg-type]
    return rows


def _alerts() -> list[Row]:
    found = [
        *_alert("a1", "extraction", VERSIONS[0], 204.2, 7.5, "page", client=ATTACKER, summary="One client asks as if it copied fraud 7."),
        *_alert(
            "a2", "drift", VERSIONS[2], 17 * 24.0 + 1, 150.0, "page", feature="basket_value", summary="basket_value has moved by 0.6 sd."
        ),
        *_alert("a3", "availability", VERSIONS[0], 500.0, 0.6, "page", summary="Failures spend the budget 15 times too fast."),
        *_alert("a4", "evasion", VERSIONS[0], 610.0, 1.0, "page", client="c0ffee", summary="One client searches along the boundary."),
        *_alert("a5", "drift", VERSIONS[1], 300.0, 30.0, "ticket", feature="tenure", summary="tenure moves slowly."),
        *_alert("a6", "completeness", VERSIONS[1], 400.0, 0.4, "ticket", summary="40 events are missing."),
        *_alert("a7", "quality", VERSIONS[2], 410.0, None, "ticket", summary="More missing values than usual."),
    ]
    for alert_id, (model, version), family, hour, verdict in (
        ("a1", VERSIONS[0], "extraction", 204.2, "true"), ("a2", VERSIONS[2], "drift", 409.0, "true"),
        ("a4", VERSIONS[0], "evasion", 610.0, "benign-cause"),
    ):  # fmt: skip
        opened = BEGIN_NS + round(hour * HOUR)
        found.append(
            AckRow(alert_id=alert_id, opened_at=opened, model=model, version=version, detector=family, severity="page", verdict=verdict,
                   at=opened + HOUR // 2, judged_by="ada")
        )  # fmt: skip
    return found


def _log() -> list[Row]:
    chain = Chain(prefix="judge-0")
    first = chain.add("settings", BEGIN_NS, actor="judge 0", detail={"first": True})
    return [first, *(chain.add("alert", BEGIN_NS + k * HOUR, model="fraud", version="7", actor="judge 0") for k in range(12))]
