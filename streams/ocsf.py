"""An alert as the Open Cybersecurity Schema Framework writes it: Detection Finding, class 2004, of OCSF 1.5.0."""

from __future__ import annotations

from typing import Any

from schemas.alerts import Alert, Detector
from schemas.techniques import ATLAS, ATLAS_VERSION
from streams.page_text import PageText, clean

__all__ = ["OCSF_VERSION", "detection_finding"]

OCSF_VERSION = "1.5.0"
MAX_CLIENTS = 100
"""Pseudonyms in one finding; `unmapped.clients` has how many there are."""
_CLASS = 2004
_ACTIVITIES = {1: "Create", 2: "Update", 3: "Close"}
_STATUSES = {1: "New", 2: "In Progress", 4: "Resolved"}
_SEVERITIES = {"page": (4, "High"), "ticket": (3, "Medium"), "none": (1, "Informational")}
_RULES: frozenset[Detector] = frozenset({"completeness", "cost", "integrity", "saturation", "availability", "latency"})
"""Detectors that compare a count or share with a limit. The others weigh evidence."""
_PARENTS = {
    "AML.T0005": "Create Proxy AI Model",
    "AML.T0024": "Exfiltration via AI Inference API",
    "AML.T0034": "Cost Harvesting",
    "AML.T0043": "Craft Adversarial Data",
    "AML.T0048": "External Harms",
}
"""Names of the techniques of which `schemas.techniques` has sub-techniques, ATLAS 5.6.0."""


def detection_finding(alert: Alert, text: PageText, product_version: str) -> dict[str, Any]:
    """The finding, ready for JSON.

    One alert is one finding: ``finding_info.uid`` is its alert id in every state, so a SIEM that reads a record twice, or reads Create,
    Update and Close, keeps one. ``metadata.uid`` is the same for the same state of an alert, whoever sends it and how often.

    ==============================  ====================================================
    alert                           finding
    ==============================  ====================================================
    opened; risen or grown; over    activity and status 1, 1 New; 2, 2 In Progress; 3, 4 Resolved
    page; ticket                    severity 4 High; 3 Medium
    techniques                      ``finding_info.attacks``, with ATLAS' version
    model and version, service      ``resources``
    client, clients (pseudonyms)    ``evidences[].actor.user.uid`` and ``observables``
    evidence, feature               ``evidences[].data``
    log_evidence, owasp             ``unmapped``
    ==============================  ====================================================

    Args:
        alert: firing or resolved. One that waited as pending begins with Update, as its first telling is not its opening.
        text: of the installation: links to runbooks and dashboards.
        product_version: of inferwatch.

    Example:
        >>> from streams.settings import Settings
        >>> alert = Alert(alert_id="a1", model="fraud", version="7", detector="evasion", severity="page", state="firing", at_ns=10**18,
        ...               opened_at_ns=10**18, client="c0ffee", summary="Client c0ffee searches.", techniques=("AML.T0043.001",))
        >>> finding = detection_finding(alert, PageText(Settings()), "0.1.0")
        >>> finding["type_uid"], finding["status"], finding["severity"], finding["finding_info"]["attacks"][0]["sub_technique"]["uid"]
        (200401, 'New', 'High', 'AML.T0043.001')
    """
    over = alert.state == "resolved"
    activity = 3 if over else 1 if alert.at_ns == alert.opened_at_ns else 2
    status = 4 if over else activity
    severity_id, severity = _SEVERITIES[alert.severity]
    said = text.first_line(alert)
    at, opened = alert.at_ns // 10**6, alert.opened_at_ns // 10**6
    clients = ([alert.client] if alert.client else list(alert.clients))[:MAX_CLIENTS]
    links = [link for link in (text.dashboard(alert),) if link]
    return {
        "activity_id": activity,
        "activity_name": _ACTIVITIES[activity],
        "category_uid": 2,
        "category_name": "Findings",
        "class_uid": _CLASS,
        "class_name": "Detection Finding",
        "type_uid": 100 * _CLASS + activity,
        "type_name": f"Detection Finding: {_ACTIVITIES[activity]}",
        "time": at,
        "start_time": opened,
        "end_time": at,
        "severity_id": severity_id,
        "severity": severity,
        "status_id": status,
        "status": _STATUSES[status],
        "message": said,
        "count": max(alert.n_events, 1),
        "metadata": {
            "version": OCSF_VERSION,
            "uid": f"{alert.alert_id}-{alert.state}-{alert.at_ns}",
            "correlation_uid": alert.alert_id,
            "event_code": alert.alertname,
            "product": {"name": "inferwatch", "vendor_name": "inferwatch", "version": product_version},
            "labels": [f"{name}:{value}" for name, value in text.labels(alert).items() if value],
        },
        "finding_info": {
            "uid": alert.alert_id,
            "title": f"{alert.alertname}: {clean(alert.model)} {clean(alert.version)}",
            "desc": text.text(alert),
            "types": [alert.detector],
            "created_time": opened,
            "first_seen_time": opened,
            "last_seen_time": at,
            "modified_time": at,
            "attacks": [_attack(technique) for technique in alert.techniques],
            "analytic": {"uid": alert.alertname, "name": alert.detector, **_kind(alert.detector)},
            **({"src_url": links[0]} if links else {}),
        },
        "remediation": {"desc": f"Runbook {alert.alertname}", "references": [text.runbook(alert)]},
        "resources": [
            {"type": "ML model", "uid": f"{alert.model}/{alert.version}", "name": alert.model, "version": alert.version},
            *([{"type": "Service", "uid": alert.service, "name": alert.service}] if alert.service else []),
        ],
        "evidences": [
            {"data": {**({"feature": alert.feature} if alert.feature else {}), "n_events": alert.n_events, **alert.evidence}},
            *({"actor": {"user": _user(client)}, "data": {"client": client}} for client in clients),
        ],
        "observables": [
            {"name": f"evidences[{number}].actor.user.uid", "type_id": 99, "type": "Client pseudonym", "value": client}
            for number, client in enumerate(clients, 1)
        ],
        "unmapped": {"log_evidence": alert.log_evidence, "owasp": list(alert.owasp), "clients": len(alert.clients) or len(clients)},
    }


def _attack(technique: str) -> dict[str, Any]:
    parent, dot, _ = technique.rpartition(".") if technique.count(".") > 1 else (technique, "", "")
    attack: dict[str, Any] = {
        "version": ATLAS_VERSION,
        "technique": {"uid": parent, "name": _PARENTS.get(parent) or ATLAS.get(parent, parent)},
    }
    if dot:
        attack["sub_technique"] = {"uid": technique, "name": ATLAS.get(technique, technique)}
    return attack


def _kind(detector: Detector) -> dict[str, Any]:
    return {"type_id": 1, "type": "Rule"} if detector in _RULES else {"type_id": 3, "type": "Statistical"}


def _user(client: str) -> dict[str, Any]:
    """A pseudonym: only who has the key can say whose."""
    return {"uid": client, "name": client, "type_id": 99, "type": "Pseudonym"}
