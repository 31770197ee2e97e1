"""Reference pages of what leaves or enters a process: events, metrics, alerts. Called by ``docs/generate.py``."""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path
from textwrap import fill
from typing import Any

from prometheus_client.metrics import MetricWrapperBase

from inferwatch import Event
from schemas.alerts import ALERTNAMES
from schemas.json_schema import json_schemas
from schemas.techniques import ATLAS, BY_DETECTOR, OWASP
from streams.metrics import Metrics

WRITTEN = "<!-- Written by docs/generate.py from the code; change it there. -->"

FIELDS = {
    "model": "Name of the model.",
    "version": "Of the model.",
    "service": "Who answers; the SDK's `service`.",
    "instance": "Which process of it.",
    "prediction": "The class answered: its name, or its index in the reference.",
    "latency_ms": "Time to answer, milliseconds.",
    "status": "How the service answered. Only `ok` says something about the model.",
    "trace_id": "Of the request, in the service's own tracing.",
    "cost": "What the answer cost, in the owner's unit.",
    "truth": "The true class, by name or index, or the true value.",
    "Label.event_id": "Of the event: as sent, or `instance:number`.",
    "Label.version": "Of the model that answered; empty: whichever has the event.",
    "Label.at": "When it became known.",
    "Label.source": "Who says so.",
    "kind": "What happened.",
    "Lifecycle.at": "When. The record's Kafka time is what counts.",
    "digest": "Of the artefact that was loaded.",
    "signature": "What the check of its signature said.",
    "key_id": "Of the key that signed it.",
    "registry_url": "Where the artefact comes from.",
    "Heartbeat.at": "When it was sent.",
    "Heartbeat.model": "One heartbeat for each that the instance serves.",
    "accepted": "Events that `record` took, since the start.",
    "sent": "Of these, delivered to Kafka.",
    "dropped": "Of these, thrown away.",
    "queued": "Of these, waiting.",
    "rss_bytes": "Memory of the process.",
    "cpu_seconds": "CPU time of the process since its start.",
}
"""What the contract's own docstrings do not say: by field, or by message and field."""

ALERTS = {
    "drift": ("model version; latency; what moves while another page is open", "evidence ≥ A, latency never", "A / 100"),
    "quality": ("model version", "evidence ≥ A", "A / 100; burns `objectives.valid_input`"),
    "accuracy": ("model version", "evidence ≥ A", "A / 100, or a reference without true classes; burns `objectives.accuracy`"),
    "concept": ("model version", "", "A / 100: labels disagree with the confidence"),
    "completeness": (
        "model version: gap, silent",
        "all instances silent for 60 s",
        "below `objectives.completeness` (99.9 %) arrived, twice",
    ),
    "extraction": ("client", "evidence ≥ A", "A / 100"),
    "evasion": ("client", "evidence ≥ A", "A / 100"),
    "membership": ("client", "copies, chains", "order, copies, chains"),
    "leakage": (
        "model version",
        "the gauge at `membership.act_advantage` or `membership.act_tpr_1pct` (off by default)",
        "at `membership.warn_advantage` or `membership.warn_tpr_1pct` (off by default)",
    ),
    "canary": ("client", "a second question about canary records", "the first"),
    "cost": (
        "client: flood, answers",
        "",
        "evidence ≥ A: a flood; answers that buy a copy over `exposure.agreement_limit` (off by default)",
    ),
    "availability": (
        "model version",
        "failures burn the budget 14.4 times over 1 h and 5 min, or 6 times over 6 h and 30 min",
        "once over 3 days and 6 h",
    ),
    "latency": ("model version", "the same for slow answers", "the same"),
    "access": ("model version", "evidence ≥ A", "A / 100; the first refusal in `objectives.quiet_days`; burns `objectives.authorised`"),
    "integrity": (
        "service and what is wrong",
        "invalid signature, unknown key, unknown or changed digest",
        "no signature where one is required",
    ),
    "consistency": ("model version", "", "evidence ≥ A: inputs that come again are answered otherwise"),
    "trigger": ("model version", "", "evidence ≥ A: a rare value came into use, and gets one class"),
    "version": ("new version, and the one before", "", "evidence ≥ A, and a share moved by 0.05"),
    "feedback": ("model version", "", 'evidence ≥ A: labels of one segment say "wrong", the others\' do not'),
    "saturation": (
        "service and gauge",
        "",
        "memory, CPU or a gauge `..._share` at `objectives.saturation_share` for `objectives.saturation_s` (CPU: `saturation_cpu_s`)",
    ),
}
"""By detector: of what there is one alert, and what opens a page and a ticket. The code has these as conditions, not as words."""


def events_page() -> str:
    """Every field of the four messages that anything can send."""
    said = _said()
    out = [f"# Events\n\n{WRITTEN}\n", _ABOUT_EVENTS]
    for name, schema in json_schemas().items():
        for message, definition in schema["$defs"].items():
            about = f"{_prose(definition.get('description', ''))} Schema: [{name}](../../schemas/json/{name}.json)."
            out.append(f"\n## {message}\n\n{fill(about, 139, break_long_words=False, break_on_hyphens=False)}\n")
            out.append("| field | type | default | meaning |\n|---|---|---|---|")
            for field, kind in definition["properties"].items():
                needed = field in definition.get("required", [])
                default = "**needed**" if needed else _default(kind.get("default"))
                out.append(f"| `{field}` | {_kind(kind)} | {default} | {_meaning(message, field, said)} |")
    return "\n".join(out) + "\n"


def metrics_page() -> str:
    """Every series of a worker."""
    metrics = Metrics()
    collectors = [one for one in vars(metrics).values() if isinstance(one, MetricWrapperBase)]
    collectors += metrics._owner_counts.values()
    rows = []
    for one in collectors:
        for family in one.describe():
            name = f"{family.name}_total" if family.type == "counter" else family.name
            labels = ", ".join(f"`{label}`" for label in one._labelnames)
            rows.append(f"| `{name}` | {family.type} | {labels} | {family.documentation} |")
    return "\n".join([f"# Metrics\n\n{WRITTEN}\n", _ABOUT_METRICS, *sorted(rows)]) + "\n"


def alerts_page(page: str) -> str:
    """The page with its tables written anew; the prose around them is the page's own."""
    strange = sorted(set(ALERTNAMES) ^ set(ALERTS))
    if strange:
        raise SystemExit(f"docs/generate_contracts.py: say in ALERTS what opens an alert of {', '.join(strange)}, as schemas.alerts has it")
    alerts = ["| alertname | detector | cause (one alert each) | page | ticket | runbook |", "|---|---|---|---|---|---|"]
    for detector, (cause, page_at, ticket_at) in ALERTS.items():
        name = ALERTNAMES[detector]
        alerts.append(f"| `{name}` | {detector} | {cause} | {page_at} | {ticket_at} | [runbook](../runbooks/{name}.md) |")
    techniques = ["| detector | MITRE ATLAS | OWASP |", "|---|---|---|"]
    none = [detector for detector in ALERTS if not any(BY_DETECTOR[detector])]
    for detector in [detector for detector in ALERTS if detector not in none]:
        ids, owasp = BY_DETECTOR[detector]
        of_atlas = ", ".join(f"{one} {ATLAS[one]}" for one in ids)
        techniques.append(f"| {detector} | {of_atlas} | {', '.join(f'{one} {OWASP[one]}' for one in owasp)} |")
    techniques.append(f"\nNo adversary, and so no technique: {', '.join(none)}.")
    for name, lines in (("alerts", alerts), ("techniques", techniques)):
        page = between(page, name, "\n".join(lines))
    return page


def between(page: str, name: str, text: str) -> str:
    """The page with the part that is between the two comments of this name replaced.

    Raises:
        SystemExit: the page has no such comments.
    """
    begin, end = f"<!-- begin {name}: written by docs/generate.py -->", f"<!-- end {name} -->"
    if page.count(begin) != 1 or page.count(end) != 1:
        raise SystemExit(f"no part {name}: the page needs the lines {begin} and {end}, once each")
    return page[: page.index(begin)] + f"{begin}\n\n{text}\n\n" + page[page.index(end) :]


_ABOUT_EVENTS = """\
What a service tells. With the SDK nobody writes these by hand; from other languages they are [JSON](../howto/json-events.md). Times are
UTC: nanoseconds since 1970, or RFC 3339 text. Unknown fields are ignored, so that new producers and old workers understand each other."""

_ABOUT_METRICS = """\
What `/metrics` of a worker shows (`metrics.host`, `metrics.port`), in Prometheus' text format. Counters begin at 0 with each start. No
client, feature or alert is ever a label, since whoever sends events would choose how many series there are; `reason` is one of the code's
own words, at most 64 of them. What to look at first: [Run it](../howto/run.md#who-watches-the-watcher).

| metric | type | labels | |
|---|---|---|---|"""


def _said() -> dict[tuple[str, str], str]:
    """The strings below the fields of the contract."""
    found: dict[tuple[str, str], str] = {}
    for node in ast.parse(Path(inspect.getfile(Event)).read_text()).body:
        if isinstance(node, ast.ClassDef):
            for field, text in zip(node.body, node.body[1:], strict=False):
                if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant):
                    found[node.name, ast.unparse(field.target)] = str(text.value.value)
    return found


def _meaning(message: str, field: str, said: dict[tuple[str, str], str]) -> str:
    text = FIELDS.get(f"{message}.{field}") or said.get((message, field)) or FIELDS.get(field)
    if text is None:
        raise SystemExit(f"docs/generate_contracts.py: say in FIELDS what {message}.{field} means, or below the field itself")
    return _prose(text)


def _kind(kind: dict[str, Any]) -> str:
    """A JSON Schema in words."""
    if "anyOf" in kind:
        return " or ".join(dict.fromkeys(_kind(one) for one in kind["anyOf"]))
    if "enum" in kind:
        return ", ".join(f"`{value}`" for value in kind["enum"])
    name = kind.get("type")
    if name == "array":
        return f"list of ({_kind(kind['items'])})"
    if name == "object":
        return f"({_kind(kind['additionalProperties'])}) by name"
    if name == "string" and kind.get("format") == "date-time":
        return "time as text"
    if name == "string":
        return f"text up to {kind['maxLength']}" if "maxLength" in kind else "text"
    return {"integer": "whole number", "number": "number", "boolean": "true or false", "null": "null"}[str(name)]


def _default(value: Any) -> str:
    return "" if value in (None, "", {}) else f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _prose(text: str) -> str:
    return re.sub(r"\s+", " ", text.replace("``", "`")).strip()
