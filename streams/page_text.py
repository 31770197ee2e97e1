"""What a person reads of an alert, on a telephone at three in the morning.

A first line that says it all, then how sure, how big, since when, who, what to do first, and where to look. Under 1,000 characters,
whatever is in the alert.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, urlencode

from dashboards.grafana import uid_of
from detectors.e_process import page_threshold
from schemas.alerts import Alert
from schemas.reference import TRAINING
from streams.objectives import objectives
from streams.settings import Settings, quality_pages, windows_in_30d

__all__ = ["LONGEST", "PageText", "clean"]

LONGEST = 1_000
"""Characters of the whole text; PagerDuty, Slack and telephones show as many."""
_FIRST, _URL = 300, 220
_DO = {
    "drift": (
        "See in the debug view which features moved, and since when",
        "Ask what changed then: a version, a feed, the mix of clients",
        "Answers wrong: roll back. World changed: build a new reference",
    ),
    "quality": (
        "See which kind of fault, from which service",
        "Ask that service what it released",
        "Fix or stop it; the model answers rubbish",
    ),
    "completeness": ("Ask the service itself whether it is up", "Look at its way to Kafka", "Look at the workers: inferwatch check"),
    "extraction": (
        "See in the forensics view what the client asked and was given",
        "Ask its owner whether that is a known batch job",
        "If not: throttle the account, answer with classes only",
    ),
    "evasion": (
        "See in the forensics view the chain of near-equal queries",
        "Check what was decided on its last inputs",
        "Block the account, hold decisions that flipped",
    ),
    "membership": (
        "See in the forensics view which training rows were touched",
        "Ask whether the client may know them",
        "If not: answer with classes only, tell privacy",
    ),
    "leakage": (
        "See in the attack view how much is found, at which false positives",
        "Answer with classes only, or round the scores",
        "Plan a training with more regularisation; tell privacy",
    ),
    "cost": ("See in the forensics view what the client asks and was given", "Ask its owner what for", "Set a limit for the account"),
    "accuracy": (
        "See in the debug view since when, and for labels of which delay",
        "Ask whether the labels are a fair sample, and how they are made",
        "Wrong answers: roll back. World changed: train anew",
    ),
    "concept": (
        "See in the debug view what was promised and what labels say",
        "Ask whether the labels are made as before",
        "If so the world changed: train anew, do not trust confidence",
    ),
    "availability": ("Ask the service's own log what fails", "Ask what was deployed just before", "Roll back, or shed load"),
    "latency": (
        "See in the on-call view since when, and the request rate",
        "Look at CPU, memory and queue of the instances",
        "Scale out, or throttle the client that asks most",
    ),
    "access": ("See in the attack view who is refused", "Ask whether a token or key ran out", "If not: block the account, tell security"),
    "saturation": (
        "See in the on-call view when it began, and the request rate",
        "Look at that instance's own figures",
        "Scale out, or restart it",
    ),
    "consistency": (
        "Compare sampled events of the same input in the debug view",
        "Ask what changed without a new version: library, feature code, host",
        "Redeploy from the signed artefact, with the locked dependencies",
    ),
    "canary": (
        "See in the forensics view what else the client asked",
        "Find who could have the record: a leaked export, a backup, staff",
        "Block the account; tell security and privacy",
    ),
    "trigger": (
        "Look at sampled rows with that value in the debug view",
        "Ask whether the value is a default or a known campaign",
        "If not: treat the model as backdoored, roll back, check its data",
    ),
    "feedback": (
        "See which labels of that segment came, and who sent them",
        "Keep them out of training until they are explained",
        "Wrong labels: correct them. True ones: the model fails there",
    ),
    "version": (
        "Compare the two versions in the debug view",
        "Ask whether the change was meant, and the traffic is the same",
        "If not: roll back to the version before",
    ),
    "integrity": (
        "Stop that instance: it may serve a changed model",
        "Compare the digest with the registry's",
        "Revoke the key if it is lost; tell security",
    ),
}
"""The first three things to do, by detector; the runbook has the rest."""
_LOOKS = {
    "data fault": "a fault of the data: missing or unknown values, or faulty requests",
    "population": "another population: several features moved at once",
    "answers": "the model's doing: its answers moved, its inputs did not",
    "one feature": "one feed's doing: few features moved",
    "latency": "load, a slower host, or a model that takes another way: `objectives.latency_ms` pages, this does not",
    "together": "another population, or columns of different events joined: each feature alone looks as before",
}
_COUNTED = ("completeness", "cost", "availability", "latency", "saturation", "canary")
_VIEW = {"drift": "debug", "quality": "debug", "completeness": "pipeline", "extraction": "forensics", "evasion": "forensics"}
_VIEW |= {"consistency": "debug", "trigger": "debug", "feedback": "debug", "version": "debug", "canary": "forensics"}
_VIEW |= {
    "accuracy": "debug",
    "concept": "debug",
    "membership": "forensics",
    "cost": "forensics",
    "access": "attacks",
    "leakage": "attacks",
}


class PageText:
    """Writes the text and the links of alerts for an installation.

    Args:
        settings: budget, windows and ``[routing]``.

    Example:
        >>> alert = Alert(alert_id="a1", model="fraud", version="7", detector="drift", severity="page", state="firing", at_ns=0,
        ...               opened_at_ns=0, log_evidence=14.2, n_events=5000, summary="amount of fraud 7 moved up.")
        >>> print(PageText(Settings()).text(alert).splitlines()[1])
        Sure: evidence e^14.2; a page takes e^10.1, so that at most 1 false page comes in 30 days.
    """

    def __init__(self, settings: Settings) -> None:
        self._routing, budget = settings.routing, settings.budget
        self._teams = dict(entry.rpartition("=")[::2] for entry in settings.routing.teams)
        windows, allowed, lines = windows_in_30d(settings.window), budget.false_pages_per_30d, objectives(settings)
        self._allowed = allowed
        self._ln_page = {
            "drift": lines.ln_page_drift,
            "quality": math.log(page_threshold(windows, quality_pages(settings)[0])),
            "accuracy": math.log(page_threshold(windows, allowed * budget.accuracy_share)),
            "access": math.log(page_threshold(windows, allowed * budget.access_share)),
            "extraction": lines.ln_page_client,
            "evasion": lines.ln_page_client,
            "membership": math.log(budget.client_events_per_30d / (allowed * budget.membership_share)),
        }

    def labels(self, alert: Alert) -> dict[str, str]:
        """What an installation adds to an alert's identity: where it runs and whose model it is. Constant while the alert is open."""
        routing = self._routing
        return {"environment": routing.environment, "cluster": routing.cluster, "team": self._teams.get(alert.model, routing.team)}

    def runbook(self, alert: Alert) -> str:
        """Where the runbook is: a link with ``routing.runbooks_url``, else its path in the repository."""
        base = self._routing.runbooks_url
        return f"{base.rstrip('/')}/{alert.alertname}.md" if base else f"docs/runbooks/{alert.alertname}.md"

    def dashboard(self, alert: Alert) -> str:
        """The Grafana view for it, from an hour before it opened; "" without ``routing.dashboards_url``."""
        base = self._routing.dashboards_url
        if not base:
            return ""
        query = {"from": str(alert.opened_at_ns // 10**6 - 3_600_000), "to": "now", "var-model": alert.model, "var-version": alert.version}
        who = alert.client or (alert.clients[0] if alert.clients else "")
        view = _VIEW.get(alert.detector, "oncall")
        if who and view == "forensics":
            query["var-client"] = who
        return f"{base.rstrip('/')}/d/{uid_of(view)}?{urlencode(query, quote_via=quote)}"

    def first_line(self, alert: Alert) -> str:
        """What happened, in one sentence; of what is over, for how long it lasted."""
        said = clean(alert.summary) or f"{alert.alertname} on {clean(alert.model)} {clean(alert.version)}."
        if alert.resolved_at_ns is not None:
            said = f"Over after {_length((alert.resolved_at_ns - alert.opened_at_ns) / 1e9)}: {said}"
        deploy = alert.evidence.get("deploy")
        if isinstance(deploy, dict):
            said = f"New version {_cut(clean(str(deploy.get('version', ''))), 40)}: {said}"
        return _cut(said, _FIRST)

    def text(self, alert: Alert) -> str:
        """The whole text, at most `LONGEST` characters."""
        lines = [
            self.first_line(alert),
            self._sure(alert),
            f"Size: {alert.n_events:,} events. Since {_time(_began(alert))}.{self._who(alert)}{_deploy(alert)}",
        ]
        do = _DO.get(alert.detector, ())
        if do and alert.resolved_at_ns is None:
            lines.append("Do: " + " ".join(f"{i}. {one}." for i, one in enumerate(do, 1)))
        lines.append(f"Runbook: {_cut(self.runbook(alert), _URL)}")
        link = self.dashboard(alert)
        if link and len(link) <= _URL:
            lines.append(f"{'Plot' if alert.detector == 'drift' else 'Dashboard'}: {link}")
        optional = [f"ATLAS {', '.join(alert.techniques[:3])}; OWASP {', '.join(alert.owasp[:2]) or 'none'}"] if alert.techniques else []
        place = 3
        for line in _moved(alert):
            if len("\n".join([*lines, line])) <= LONGEST:
                lines.insert(place, line)
                place += 1
        for line in optional:
            if len("\n".join([*lines, line])) <= LONGEST:
                lines.append(line)
        return _cut("\n".join(lines), LONGEST)

    def _sure(self, alert: Alert) -> str:
        """How sure, and what of the budget of pages was spent before."""
        page = alert.evidence.get("page_of_30d")
        many = isinstance(page, int) and page > 1 and alert.severity == "page"
        return self._evidence(alert) + (f" Page {page:,} of this version in 30 days." if many else "")

    def _evidence(self, alert: Alert) -> str:
        ln_page = self._ln_page.get(alert.detector)
        own = alert.evidence.get("log_page")  # of the segment that leads: it has a share of drift's budget
        if ln_page is not None and isinstance(own, int | float) and math.isfinite(own):
            ln_page = own
        if ln_page is None or not alert.log_evidence:
            return "Sure: counted, not estimated." if alert.detector in _COUNTED else "Sure: a rule, not a probability."
        status = str(alert.evidence.get("status", ""))
        if "uncalibrated" in status or "uncalibrated" in alert.evidence:
            return f"Sure: evidence e^{alert.log_evidence:.1f}, uncalibrated: the reference is provisional. A ticket at most."
        return (
            f"Sure: evidence e^{alert.log_evidence:.1f}; a page takes e^{ln_page:.1f}, so that at most "
            f"{self._allowed:g} false page{'s come' if self._allowed > 1 else ' comes'} in 30 days."
        )

    @staticmethod
    def _who(alert: Alert) -> str:
        if alert.client:
            return f" Client {_cut(clean(alert.client), 40)}."
        if alert.clients:
            return f" {len(alert.clients):,} clients, the first {_cut(clean(alert.clients[0]), 40)}."
        return f" Service {_cut(clean(alert.service), 40)}." if alert.service else ""


def clean(text: str) -> str:
    r"""Valid UTF-8 without control characters: the text may be an attacker's.

    Example:
        >>> clean("a\nb\x07")
        'a b'
    """
    return "".join(c if c.isprintable() else " " for c in text.encode("utf-8", "replace").decode()).strip()


def _deploy(alert: Alert) -> str:
    deploy = alert.evidence.get("deploy")
    if not isinstance(deploy, dict):
        return ""
    loaded = deploy.get("loaded_at_ns")
    when = f" was first loaded at {_time(loaded)}" if isinstance(loaded, int) else " is new"
    return f" Version {_cut(clean(str(deploy.get('version', ''))), 40)}{when}: is its reference published?"


def _began(alert: Alert) -> int:
    """When drift's evidence began to grow; of others, when the alert opened."""
    began = alert.evidence.get("since_ns") if alert.detector == "drift" else None
    return min(began, alert.opened_at_ns) if isinstance(began, int) and began > 0 else alert.opened_at_ns


def _moved(alert: Alert) -> list[str]:
    """Lines on drift: what it looks like, the first variable's quantiles, its cells that moved most, and where."""
    evidence = alert.evidence
    if alert.detector != "drift":
        return []
    looks = None if isinstance(evidence.get("deploy"), dict) else _LOOKS.get(str(evidence.get("looks_like")))  # the first line says it
    lines = [f"Looks like {looks}."] if looks else []
    if isinstance(evidence.get("baseline"), str):
        lines.append(f"Compared with the reference {_cut(clean(evidence['baseline']), 64)}, not with training.")
    elif evidence.get("compared_with", TRAINING) != TRAINING:
        lines.append(f"Compared with the reference {_cut(clean(str(evidence['compared_with'])), 64)}.")
    variables = evidence.get("variables")
    first = variables[0] if isinstance(variables, list | tuple) and variables and isinstance(variables[0], dict) else {}
    together = evidence.get("looks_like") == "together"
    slow = evidence.get("slow")
    if isinstance(slow, dict) and all(isinstance(slow.get(key), int | float) for key in ("hours", "psi", "w1")) and _differs(first, slow):
        lines.append(f"Over {slow['hours']:.0f} h: PSI {slow['psi']:.3f}" + (f", W1 {slow['w1']:.2f} sd." if slow["w1"] else "."))
    stuck = evidence.get("stuck")
    if isinstance(stuck, dict) and stuck:
        at = "; ".join(f"{_cut(clean(str(name)), 40)} is {_cut(clean(str(value)), 40)}" for name, value in list(stuck.items())[:3])
        lines.append(f"In all events {at}.")
    rows = [row for row in _triples(first.get("quantiles")) if all(isinstance(x, int | float) for x in row)]
    if rows and not together:
        shown = "/".join(f"{100 * row[0]:.0f}" for row in rows)
        before, after = ("/".join(f"{row[k]:.3g}" for row in rows) for k in (1, 2))
        lines.append(f"Quantiles {shown} % of {_cut(clean(str(first.get('name', ''))), 40)}: {before} -> {after}.")
    cells = [row for row in _triples(first.get("moves")) if all(isinstance(x, int | float) for x in row[1:])]
    if cells and not together:
        lines.append("Most: " + "; ".join(f"{_cut(clean(str(what)), 40)} {a:.1%} -> {b:.1%}" for what, a, b in cells) + ".")
    told = evidence.get("segments")
    segments = [one for one in told if isinstance(one, dict)] if isinstance(told, list | tuple) else []
    segments = [one for one in segments if isinstance(one.get("share"), int | float)]
    if segments:
        parts = (f"{_cut(clean(str(one.get('segment', ''))), 40)} ({one['share']:.0%} of the events)" for one in segments[:3])
        lines.append(f"Where: {', '.join(parts)}.")
    others = [one.get("name") for one in variables[1:] if isinstance(one, dict)] if first and isinstance(variables, list | tuple) else []
    if others:
        lines.append(f"Also: {', '.join(_cut(clean(str(name)), 40) for name in others)}.")
    return lines


def _differs(first: dict[str, Any], slow: dict[str, Any]) -> bool:
    """Whether a day tells another size than the window: by a fifth, of what is longer than an hour."""
    fast = first.get("psi")
    return slow["hours"] >= 1 and isinstance(fast, int | float) and abs(slow["psi"] - fast) > 0.2 * max(slow["psi"], fast)


def _triples(rows: object) -> list[Sequence[Any]]:
    return [row for row in rows if isinstance(row, list | tuple) and len(row) == 3] if isinstance(rows, list | tuple) else []


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def _time(ns: int) -> str:
    return datetime.fromtimestamp(ns / 1e9, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _length(seconds: float) -> str:
    """A length of time in the two largest units.

    Example:
        >>> _length(59), _length(3725), _length(90_000)
        ('59 s', '1 h 2 min', '1 d 1 h')
    """
    whole = max(int(seconds), 0)
    for size, unit, smaller, small in ((86_400, "d", 3_600, "h"), (3_600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= size:
            rest = whole % size // smaller
            return f"{whole // size} {unit}" + (f" {rest} {small}" if rest else "")
    return f"{whole} s"
