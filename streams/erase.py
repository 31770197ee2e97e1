"""Erasing a client or an event from ClickHouse: counted, changed, and looked for again."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime

import msgspec

from schemas.erasure import ERASED, FREE_TEXT, MIN_IN_TEXT, holders
from schemas.rows import AlertRow
from streams.clickhouse import ClickHouse

__all__ = ["Step", "count", "erase", "open_alerts_of", "steps"]


class Step(msgspec.Struct, frozen=True):
    """What is done to one table.

    Attributes:
        table: its name.
        where: the rows.
        change: what follows ``ALTER TABLE ...``, without the rows.
        verb: what that is, in a word.
    """

    table: str
    where: str
    change: str
    verb: str


def steps(names: Sequence[str], event_id: str = "", model: str = "") -> list[Step]:
    """What is to be done to every table that may hold these clients, or this event.

    Args:
        names: pseudonyms of one client; more than one after a change of keys.
        event_id: instead of a client.
        model: only rows of this model; empty: of all.
    """
    of_model = f" AND model = {_text(model)}" if model else ""
    column, wanted = ("event_id", [event_id]) if event_id else ("client", list(names))
    listed = f"({', '.join(map(_text, wanted))})"
    out = [Step(table.table, f"{column} IN {listed}{of_model}", "DELETE", "deleted") for table in holders(column)]
    if event_id:
        told = _text(f'"event_id":{json.dumps(event_id, ensure_ascii=False)}')  # of what tipped the scale, or of its chain
        said = f"position(evidence, {told}) > 0"
        forget = f'UPDATE evidence = replaceAll(evidence, {told}, \'"event_id":""\')'
        return [*out, Step(AlertRow.table, said + of_model, forget, "redacted")]
    array = f"[{', '.join(map(_text, wanted))}]"
    long = [name for name in wanted if len(name) >= MIN_IN_TEXT]
    for table, texts in FREE_TEXT.items():
        rows = [f"position({text}, {_text(name)}) > 0" for text in texts for name in long]
        changes = {text: _without(text, long) for text in texts if long}
        if table is AlertRow:
            mine = f"client IN {listed}"
            rows = [mine, f"hasAny(clients, {array})", *rows]
            changes = {
                "client": f"if({mine}, '', client)",
                "clients": f"if({mine}, [], arrayFilter(name -> NOT has({array}, name), clients))",
                "summary": f"if({mine}, {_text(ERASED)}, {changes.get('summary', 'summary')})",
                "evidence": f"if({mine}, '{{}}', {changes.get('evidence', 'evidence')})",
            }
        if rows:
            update = ", ".join(f"{name} = {value}" for name, value in changes.items())
            out.append(Step(table.table, f"({' OR '.join(rows)}){of_model}", f"UPDATE {update}", "redacted"))
    return out


def count(clickhouse: ClickHouse, what: Sequence[Step]) -> dict[str, int]:
    """Stored rows by table, older tellings of a row among them."""
    found = {}
    for step in what:
        (row,) = clickhouse.query(f"SELECT count() AS n FROM {step.table} WHERE {step.where}")  # noqa: S608 - quoted by `_text`
        found[step.table] = int(row["n"])
    return found


def open_alerts_of(clickhouse: ClickHouse, names: Sequence[str], model: str = "") -> list[AlertRow]:
    """Last words about alerts of these clients that are open: without them the tables would show such alerts as open for ever."""
    if not names:
        return []
    of_model = f" AND model = {_text(model)}" if model else ""
    rows = clickhouse.query(
        f"SELECT * FROM (SELECT * FROM alerts FINAL WHERE client IN ({', '.join(map(_text, names))}){of_model} "  # noqa: S608
        "ORDER BY at DESC, revision DESC LIMIT 1 BY alert_id, opened_at) WHERE state != 'resolved'"
    )
    return [
        AlertRow(
            **{name: row[name] for name in ("alert_id", "model", "version", "detector", "alertname", "severity", "n_events", "runbook")},
            state="resolved",
            opened_at=_ns(row["opened_at"]),
            at=_ns(row["at"]),
            resolved_at=_ns(row["at"]),
            techniques=tuple(row["techniques"]),
            owasp=tuple(row["owasp"]),
            summary=ERASED,
        )
        for row in rows
    ]


def erase(clickhouse: ClickHouse, what: Sequence[Step], last_words: Sequence[AlertRow], at_ns: int) -> None:
    """Carries the steps out, and waits until the parts on disk are written anew.

    Args:
        clickhouse: as a user with the rights of ``iw_eraser``.
        what: of `steps`.
        last_words: of `open_alerts_of`.
        at_ns: now.
    """
    if last_words:
        rows = [msgspec.structs.replace(row, at=at_ns, resolved_at=at_ns, revision=at_ns) for row in last_words]
        clickhouse.insert(rows, f"erased-{at_ns}")
    for step in what:
        clickhouse.command(f"ALTER TABLE {step.table} {step.change} WHERE {step.where} SETTINGS mutations_sync = 2")


def _without(column: str, names: Sequence[str]) -> str:
    for name in names:
        column = f"replaceAll({column}, {_text(name)}, '')"
    return column


def _text(value: str) -> str:
    """A text in SQL, whatever it holds, which no log of statements shows in the open."""
    return f"unhex('{value.encode('utf-8', 'surrogatepass').hex()}')"


def _ns(at: datetime) -> int:
    return round(at.timestamp() * 1000) * 10**6
