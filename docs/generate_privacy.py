"""The table of docs/explanation/privacy.md: where something of a client or an event is kept, how long, and who reads it."""

from __future__ import annotations

import re
from pathlib import Path
from textwrap import fill

from generate_contracts import between

from schemas.erasure import FREE_TEXT, holders
from schemas.retention import Retention
from schemas.rows import TABLES, AuditRow
from schemas.topics import topics

USERS = Path(__file__).parents[1] / "deploy" / "clickhouse" / "users.sql"

TOPICS = {
    "events": ("pseudonyms, event ids, features, answers", "expires"),
    "windows": ("pseudonyms of clients that stand out; counts", "expires"),
    "findings": ("pseudonyms, rows of clients under suspicion, hashes of event ids with answers", "expires"),
    "lifecycle": ("nothing of clients", ""),
    "labels": ("event ids, true classes", "expires"),
    "references": ("distributions; keyed fingerprints of training rows, no rows", ""),
    "alerts": ("pseudonyms, evidence", "expires"),
    "verdicts": ("pseudonyms", "stays until it is withdrawn"),
    "operations": ("pseudonyms of clients that somebody decided about, who decided", "expires"),
    "audit": ("the ends of the audit log's chains, no pseudonyms", ""),
    "dlq": ("unreadable records, whatever is in them, up to 64 KB each", "expires"),
    "state": ("pseudonyms, evidence, kept events, of clients seen", "forgotten by the workers; the pieces before go with compaction"),
}
"""By topic: what of people may be in it, and what `inferwatch delete` does. A new topic must be entered here."""


def privacy_page(page: str) -> str:
    """The page with its table written anew.

    Raises:
        SystemExit: a topic is not entered.
    """
    out = ["| where | what | kept | read by | `inferwatch delete` |", "|---|---|---|---|---|"]
    for topic in topics():
        name = topic.name.partition(".")[2]
        if name not in TOPICS:
            raise SystemExit(f"docs/generate_privacy.py: say in TOPICS what of people the topic {name} may hold")
        what, deleted = TOPICS[name]
        kept = "the newest of a key" if topic.retention_ms < 0 else f"{topic.retention_ms / 86_400_000:g} days"
        out.append(f"| Kafka `{topic.name}` | {what} | {kept} | workers | {deleted} |")
    gone = {*holders("client"), *holders("event_id")}
    nothing = []
    for table in TABLES:
        fields = set(table.__struct_fields__)
        what = ", ".join(
            words
            for words, columns in (
                ("pseudonym", {"client", "clients"}),
                ("event id", {"event_id"}),
                ("feature values (`sampling.features`)", {"features"}),
                ("answers", {"scores"}),
                ("evidence", {"evidence"}),
                ("a note", {"note"}),
            )
            if fields & columns
        )
        if table is AuditRow:
            said = "who did what to which alert; no client"
            out.append(
                f"| ClickHouse `{table.table}` | {said} | {_kept(table.table)} | {_readers(table.table)} | kept; the deletion is entered |"
            )
        elif table in gone or table in FREE_TEXT:
            change = "rows deleted" if table in gone else "rows redacted"
            out.append(f"| ClickHouse `{table.table}` | {what} | {_kept(table.table)} | {_readers(table.table)} | {change} |")
        else:
            nothing.append(f"`{table.table}`")
    rest = f"No client and no event in: {', '.join(nothing)}. Periods are those of the default settings (`[retention]`)."
    out.append("\n" + fill(rest, 139, break_long_words=False, break_on_hyphens=False))
    return between(page, "kept", "\n".join(out))


def _kept(table: str) -> str:
    unit, number = Retention().ttl[table].split("toInterval")[1].rstrip(")").split("(")
    return f"{number} {unit.lower()}s"


def _readers(table: str) -> str:
    """Users who may select it, by users.sql."""
    text = re.sub(r"--.*", "", USERS.read_text())
    users = [
        user for rights, what, user in re.findall(r"GRANT ([^;]+?) ON (\S+) TO (\w+);", text)
        if "SELECT" in rights and what in ("inferwatch.*", f"inferwatch.{table}")
    ]  # fmt: skip
    return ", ".join(f"`{user}`" for user in users)
