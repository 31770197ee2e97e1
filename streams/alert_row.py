"""An alert as a row of its history in the store."""

from __future__ import annotations

from typing import Any

import msgspec

from schemas.alerts import Alert
from schemas.rows import AlertRow


def alert_row(alert: Alert) -> AlertRow:
    """An alert's state as a row of its history."""
    return AlertRow(
        revision=max(alert.at_ns, 0),  # told again with news under the same key; whatever comes late, the last news stays
        alert_id=alert.alert_id,
        model=alert.model,
        version=alert.version,
        detector=alert.detector,
        alertname=alert.alertname,
        severity=alert.severity,
        state=alert.state,
        opened_at=alert.opened_at_ns,
        at=alert.at_ns,
        resolved_at=alert.resolved_at_ns,
        client=alert.client or "",
        clients=alert.clients,
        feature=alert.feature or "",
        n_events=alert.n_events,
        log_evidence=_finite(alert.log_evidence),
        summary=alert.summary,
        evidence=msgspec.json.encode(alert.evidence).decode(),
        techniques=alert.techniques,
        owasp=alert.owasp,
        runbook=f"docs/runbooks/{alert.alertname}.md",
    )


def _finite(value: Any) -> float:
    return float(min(max(value, -1e300), 1e300))
