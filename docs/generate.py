"""Writes the pages of ``docs/reference`` that follow from the code: ``python docs/generate.py``. A test fails when they are stale."""

from __future__ import annotations

import ast
import inspect
import re
import sys
import typing
from pathlib import Path
from typing import Any

import msgspec
from generate_contracts import alerts_page, events_page, metrics_page
from generate_privacy import privacy_page

import streams.settings
from schemas.acls import acls
from schemas.retention import Retention
from schemas.rows import TABLES, Row
from schemas.topics import topics
from streams.settings import PREFIX, SECRETS, Settings

REFERENCE = Path(__file__).parent / "reference"
DEPLOY = Path(__file__).parent.parent / "deploy"

MEANINGS = {
    "kafka.bootstrap_servers": "Brokers, `host:port`, separated by commas.",
    "kafka.topic_prefix": "What the topics' names begin with; the SDK's `topic_prefix` must agree.",
    "kafka.partitions": "Partitions of every topic when the worker makes them: the most workers that can share the work.",
    "kafka.replication": "Copies of each partition when the worker makes the topics. In production: 3.",
    "kafka.group": "Consumer group of the workers.",
    "kafka.session_timeout_s": "A worker that is silent for so long loses its partitions.",
    "kafka.security": "Security protocol.",
    "kafka.ca_file": "PEM file of the authority that signed the brokers' certificates.",
    "kafka.sasl_mechanism": "SASL mechanism.",
    "kafka.sasl_username": "SASL user.",
    "kafka.sasl_password": "SASL password.",
    "clickhouse.dsn": "`http(s)://user@host:port/database` of a server, or `chdb:///folder` for the engine inside the worker.",
    "clickhouse.password": "Password of the DSN's user.",
    "clickhouse.ca_file": "PEM file of the authority that signed the certificate of an `https` server; none: the system's.",
    "clickhouse.verify": "Whether that certificate is checked. `false` gives the password to whoever answers: for trying out only.",
    "clickhouse.flush_s": "How long rows wait for others to share an insert.",
    "alertmanager.urls": "Every URL gets every alert (high-availability peers). Separated by commas in the environment.",
    "alertmanager.resend_s": "Open alerts are posted again so often.",
    "budget.false_pages_per_30d": "**The one number.** False pages that on-call accepts in 30 days for one model version.",
    "budget.drift_share": "Share of the budget that drift may spend.",
    "budget.quality_share": "Share of the budget that input quality may spend, a tenth of it on constant columns.",
    "budget.accuracy_share": "Share of the budget that accuracy by delayed labels may spend.",
    "budget.client_share": "Share of the budget that query patterns (extraction, evasion) may spend.",
    "budget.membership_share": "Share of the budget that membership tests may spend.",
    "budget.access_share": "Share of the budget that refused requests may spend.",
    "budget.ticket_share": "Share of the tickets (a hundred for each page of the budget) that each detector which never pages may open.",
    "window.length_s": "Length of a window.",
    "drift.materiality": "Moves of a bin's share below this (in points of probability, 0.01 is one percentage point) are no news.",
    "drift.latency_materiality": "The same of latency, where it is larger. Latency that drifts is a ticket, never a page.",
    "labels.materiality": "A rise of the error rate below this (0.005 is half a percentage point) is no news.",
    "clock.past_s": "Older events are refused, with reason `clock`.",
    "clock.future_s": "Events further ahead are refused, with reason `clock`.",
    "limits.models": "Model versions. One that was silent for a day makes room for another; else that one's events are refused.",
    "limits.instances": "Producers of one model whose running numbers are followed.",
    "sampling.events_per_window": "Events of each model and partition, and as many of clients with a ticket or page; "
    "what a finding points at is kept beside them.",
    "sampling.features": "Whether kept events keep their feature values.",
    "membership.key": "16 bytes or more.",
    "verdicts.enabled": "Whether verdicts are issued at all.",
    "state.store": "Where snapshots are.",
    "state.folder": "Folder of the snapshots, with `folder`; on one host all workers share it.",
    "state.snapshot_s": "Shortest time between two snapshots of a partition.",
    "metrics.host": "Address to listen on.",
    "metrics.port": "0 picks a free one.",
    "log.format": "`json` lines for machines, `text` for people.",
    "log.level": "What is left out.",
    "retention.windows_months": "Windows of models, features, clients, input quality and accuracy, 1 to 120.",
    "retention.alerts_months": "Alert history, 1 to 120.",
    "retention.audit_months": "The audit log, 1 to 120.",
    "retention.sampled_days": "Sampled events, 1 to 3650. They hold feature values: keep them short.",
    "retention.producers_days": "Heartbeats, 1 to 3650.",
}
"""What the types and the code's own docstrings do not say."""


def settings_page() -> str:
    """Every setting: type and limits, default, environment variable, meaning."""
    out = [_HEAD.format(title="Settings"), _ABOUT_SETTINGS]
    said = _docstrings(Path(inspect.getfile(streams.settings)))
    for section in msgspec.structs.fields(Settings):
        defaults = section.default
        words = "How long ClickHouse keeps rows." if section.type is Retention else inspect.getdoc(section.type) or ""
        out.append(
            f"\n## [{section.name}]\n\n{_prose(words)}\n\n| setting | type | default | environment | meaning |\n|---|---|---|---|---|"
        )
        hints = typing.get_type_hints(section.type, include_extras=True)
        for field in msgspec.structs.fields(section.type):
            path = f"{section.name}.{field.name}"
            meaning = " ".join(filter(None, (MEANINGS.get(path), _prose(said.get((section.type.__name__, field.name), "")))))
            secret = "**Secret.** " if (section.name, field.name) in SECRETS else ""
            variable = f"{PREFIX}{section.name}_{field.name}".upper()
            default = _value(getattr(defaults, field.name))
            out.append(f"| `{field.name}` | {_type(hints[field.name])} | {default} | `{variable}` | {secret}{meaning} |")
    return "\n".join(out) + "\n"


def tables_page() -> str:
    """The topics and tables of an installation with default settings."""
    out = [_HEAD.format(title="Topics and tables"), _ABOUT_TOPICS]
    for topic in topics():
        kept = "for ever" if topic.retention_ms < 0 else f"{topic.retention_ms / 86_400_000:g} days"
        largest, time = f"{topic.max_message_bytes / (1 << 20):g} MiB", "broker's" if topic.broker_time else "producer's"
        out.append(f"| `{topic.name}` | {topic.key} | {topic.cleanup} | {kept} | {largest} | {time} |")
    out += [_ABOUT_RIGHTS, *(f"| {one.user} | {one.resource} | `{one.name}` | {one.operation} | {one.why} |" for one in acls())]
    out += [_ABOUT_TABLES, *(_table(table) for table in TABLES)]
    return "\n".join(out) + "\n"


def pages() -> dict[Path, str]:
    """Every generated page."""
    alerts, privacy = REFERENCE / "alerts.md", REFERENCE.parent / "explanation" / "privacy.md"
    return {
        REFERENCE / "settings.md": settings_page(),
        REFERENCE / "topics-and-tables.md": tables_page(),
        REFERENCE / "events.md": events_page(),
        REFERENCE / "metrics.md": metrics_page(),
        alerts: alerts_page(alerts.read_text()),
        privacy: privacy_page(privacy.read_text()),
        DEPLOY / "kubernetes" / "optional" / "prometheusrule.yaml": rules_object((DEPLOY / "prometheus" / "rules.yml").read_text()),
    }


def rules_object(rules: str) -> str:
    """The rules that watch the workers as the Prometheus operator takes them."""
    groups = rules[rules.index("groups:") :]
    body = "".join(f"  {line}" if line.strip() else line for line in groups.splitlines(keepends=True))
    return _RULES_HEAD + body


_RULES_HEAD = """\
# For the Prometheus operator. Written by docs/generate.py from deploy/prometheus/rules.yml; change it there.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: inferwatch
  namespace: inferwatch
spec:
"""

_HEAD = "# {title}\n\n<!-- Written by docs/generate.py from the code; change it there. -->\n"

_HEADINGS = "| setting | type | default | environment | meaning |\n|---|---|---|---|---|"

_ABOUT_SETTINGS = """\
One TOML file (`--settings FILE`, or `INFERWATCH_SETTINGS`) holds one table a section. Every setting can be given by the environment
instead: as the variable below, or as that variable with `_FILE` appended and the path of a file that holds the value. The environment
wins. Unknown names are refused with their path. `inferwatch check` shows what is in force, secrets masked, and what the budget means in
evidence.

Secrets are refused in the file: they come by the environment or by `_FILE` only. There are no alarm thresholds: they follow from
`budget.false_pages_per_30d` ([how](../explanation/page-budget.md))."""

_ABOUT_TOPICS = """\
## Kafka topics

The worker makes them, with these settings; `kafka.topic_prefix`, `kafka.partitions` and `kafka.replication` change name, number and
copies. Keys are UTF-8; `model, client` is the model's name, a NUL byte, and the client; `model, version` likewise. A
verdict on the whole model has an empty client. `state` has twice as many partitions: shard p's snapshots are in partition 2p, judge p's in
2p + 1; it is used with `state.store = "kafka"`.

| topic | key | clean-up | kept | largest record batch | time of a record |
|---|---|---|---|---|---|"""

_ABOUT_RIGHTS = """
## Rights on Kafka

What each user needs where the cluster denies by default; the names follow `kafka.topic_prefix` and `kafka.group`. `service` is a service
with the SDK, `publisher` whoever publishes references,
`builder` whoever builds them from the stream, `oncall` whoever acknowledges alerts and decides verdicts, `gateway` whoever looks
verdicts up. A test runs SDK and worker with exactly these.

| user | resource | name | operation | for |
|---|---|---|---|---|"""

_ABOUT_TABLES = """
## ClickHouse tables

Each is a `ReplacingMergeTree(revision)` ordered by its key: a row sent again replaces itself. Read with `FINAL`, or take the newest
`revision` of a key. Times are UTC with milliseconds. Every table also has `revision` and `inserted_at`. `inferwatch migrate` makes and
updates them."""


def _table(table: type[Row]) -> str:
    text = inspect.getdoc(table) or ""
    first = text.split("\n\n")[0].replace("\n", " ")
    said = dict(re.findall(r"^    (\w+): (.+(?:\n        .+)*)", text, re.MULTILINE))
    ttl = Retention().ttl[table.table].split("toInterval")[1].rstrip(")")
    unit, number = ttl.split("(")
    rows = "\n".join(
        f"| `{field.name}` | {_prose(said.get(field.name, ''))} |" for field in msgspec.structs.fields(table) if field.name != "revision"
    )
    key = ", ".join(f"`{name}`" for name in table.key)
    return f"\n### {table.table}\n\n{first}\n\nKey: {key}. Kept {number} {unit.lower()}s.\n\n| column | |\n|---|---|\n{rows}"


def _docstrings(path: Path) -> dict[tuple[str, str], str]:
    """The strings below the fields of a module's classes."""
    found: dict[tuple[str, str], str] = {}
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.ClassDef):
            for field, text in zip(node.body, node.body[1:], strict=False):
                if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant):
                    found[node.name, ast.unparse(field.target)] = str(text.value.value)
    return found


def _prose(text: str) -> str:
    return " ".join(text.replace("``", "`").split())


def _value(value: Any) -> str:
    if value == "" or value == ():
        return "none"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _type(hint: Any) -> str:
    if typing.get_origin(hint) is typing.Literal:
        return ", ".join(f"`{value}`" for value in typing.get_args(hint))
    if typing.get_origin(hint) is tuple:
        return "list of text"
    limits = ""
    if typing.get_origin(hint) is typing.Annotated:
        hint, *metas = typing.get_args(hint)
        signs = {"gt": "above", "ge": "at least", "lt": "below", "le": "at most"}
        limits = ", ".join(
            f"{word} {getattr(meta, sign):g}" for meta in metas for sign, word in signs.items() if getattr(meta, sign, None) is not None
        )
        if any(meta.pattern and "http" in meta.pattern for meta in metas):
            limits = "`http(s)://...`"
        elif any(meta.pattern for meta in metas):
            limits = "letters, digits, `.` `_` `-`"
    name = {float: "number", int: "whole number", str: "text", bool: "true or false"}[hint]
    return f"{name}, {limits}" if limits else name


def main() -> None:
    """Write them."""
    for path, text in pages().items():
        path.write_text(text)
        sys.stdout.write(f"{path.name}\n")


if __name__ == "__main__":
    main()
