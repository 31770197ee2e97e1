"""An alert: one cause, one identity, from the ticket that opened it to the message that it is over."""

from __future__ import annotations

import hashlib
from typing import Any, Literal

import msgspec

from schemas.windows import Severity

Detector = Literal[
    "drift",
    "quality",
    "completeness",
    "extraction",
    "evasion",
    "membership",
    "leakage",
    "cost",
    "accuracy",
    "concept",
    "availability",
    "latency",
    "access",
    "integrity",
    "saturation",
    "consistency",
    "canary",
    "trigger",
    "feedback",
    "version",
]
State = Literal["pending", "firing", "resolved"]

ALERTNAMES: dict[str, str] = {
    "drift": "InferwatchDrift",
    "quality": "InferwatchDataQuality",
    "completeness": "InferwatchTelemetryGap",
    "extraction": "InferwatchExtraction",
    "evasion": "InferwatchEvasion",
    "membership": "InferwatchMembership",
    "leakage": "InferwatchLeakage",
    "cost": "InferwatchCost",
    "accuracy": "InferwatchAccuracy",
    "concept": "InferwatchConceptShift",
    "availability": "InferwatchAvailability",
    "latency": "InferwatchLatency",
    "access": "InferwatchAccess",
    "integrity": "InferwatchIntegrity",
    "saturation": "InferwatchSaturation",
    "consistency": "InferwatchConsistency",
    "canary": "InferwatchCanary",
    "trigger": "InferwatchTrigger",
    "feedback": "InferwatchFeedback",
    "version": "InferwatchVersion",
}
"""Alertmanager's ``alertname`` by detector."""

SECURITY: tuple[Detector, ...] = ("extraction", "evasion", "membership", "canary", "access", "integrity")
"""Detectors whose pages spend the model's error budget: each one `objectives.incident_share` of it."""


class Alert(msgspec.Struct, kw_only=True, frozen=True):
    """One state of an alert, as it goes to the alerts topic (key `alert_id`), to ClickHouse and to Alertmanager."""

    alert_id: str
    model: str
    version: str
    detector: Detector
    severity: Severity
    state: State
    at_ns: int
    """When this state began."""
    opened_at_ns: int
    resolved_at_ns: int | None = None
    client: str | None = None
    clients: tuple[str, ...] = ()
    feature: str | None = None
    part: str = ""
    """What of the model it is about, where its detector may have several alerts open that name no client."""
    service: str = ""
    """Whose instances it is about, where only they are meant."""
    served_by: str = ""
    """The one service that served the version when the alert opened; "" where several did, or none is known."""
    n_events: int = 0
    log_evidence: float = 0.0
    summary: str = ""
    evidence: dict[str, Any] = {}
    techniques: tuple[str, ...] = ()
    owasp: tuple[str, ...] = ()

    @property
    def alertname(self) -> str:
        """Its name for Alertmanager and the runbook."""
        return ALERTNAMES[self.detector]


def alert_id(model: str, version: str, detector: str, cause: str, opened_at_ns: int) -> str:
    """The identity of an alert: the same cause at the same time gives the same id, in every worker and after every restart.

    Example:
        >>> alert_id("fraud", "7", "drift", "", 0)
        'd78e9e8d8cfb'
    """
    return hashlib.blake2b("\0".join((model, version, detector, cause, str(opened_at_ns))).encode(), digest_size=6).hexdigest()
