"""Which figures of the monthly report are evidence for which control. A mapping for auditors to check, no claim of conformity."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["CONTROLS", "Control"]


@dataclass(frozen=True)
class Control:
    """One requirement, and the figures that speak to it."""

    source: str
    id: str
    asks: str
    figures: tuple[str, ...]


CONTROLS: tuple[Control, ...] = (
    Control(
        "NIST AI RMF 1.0", "MEASURE 2.4", "Functionality and behaviour of the system are monitored in production.",
        ("service", "drift_days", "drift_features", "accuracy"),
    ),
    Control("NIST AI RMF 1.0", "MEASURE 2.6", "Safety: response times and reliability of the system are watched.", ("service", "resolve")),
    Control(
        "NIST AI RMF 1.0", "MEASURE 2.7", "Security and resilience are evaluated and documented.",
        ("incidents", "detect_clients", "signed", "exposure"),
    ),
    Control("NIST AI RMF 1.0", "MEASURE 2.10", "Privacy risk is examined and documented.", ("membership", "exposure")),
    Control("NIST AI RMF 1.0", "MEASURE 3.1", "Existing, unexpected and emergent risks are tracked over time.", ("alerts", "incidents")),
    Control("NIST AI RMF 1.0", "MEASURE 4.2", "Measurements are checked by those who know the context.", ("acknowledged", "alerts")),
    Control("NIST AI RMF 1.0", "MANAGE 2.3", "Risks, once identified, are responded to and recovered from.", ("resolve", "incidents")),
    Control("NIST AI RMF 1.0", "MANAGE 4.1", "Monitoring after deployment is implemented.", ("service", "completeness", "alerts")),
    Control("NIST AI RMF 1.0", "MANAGE 4.3", "Incidents and errors are tracked, responded to and documented.", ("incidents", "audit")),
    Control("ISO/IEC 27001:2022", "A.5.25", "Security events are assessed and decided on.", ("acknowledged", "alerts")),
    Control("ISO/IEC 27001:2022", "A.5.28", "Evidence of security events is collected and preserved.", ("incidents", "audit")),
    Control("ISO/IEC 27001:2022", "A.8.15", "Activities, faults and events are logged; logs are protected.", ("audit", "completeness")),
    Control(
        "ISO/IEC 27001:2022", "A.8.16", "Systems are monitored for anomalous behaviour, and actions taken.",
        ("alerts", "detect_clients", "detect_drift", "resolve"),
    ),
    Control(
        "EU AI Act", "Article 72(2)", "Data on performance over the system's lifetime is systematically collected and analysed.",
        ("service", "accuracy", "drift_days", "completeness"),
    ),
    Control("EU AI Act", "Article 72(1)", "A documented monitoring system, in proportion to nature and risks.", ("alerts", "audit")),
)  # fmt: skip
