"""How on-call judged an alert: looked up by its id, recorded once, changed by saying it again."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Literal, get_args

from schemas.rows import AckRow
from streams.clickhouse import ClickHouse
from streams.page_text import clean

__all__ = ["VERDICTS", "UnknownAlertError", "Verdict", "acknowledge", "open_alerts"]

Verdict = Literal["true", "false", "benign-cause"]
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)
"""It was what it said; there was nothing; there was something, and it was harmless (a batch job, a planned change)."""
_NOTE, _NAME = 2_000, 100
_NEWEST = """
SELECT alert_id, model, version, detector, alertname, severity, state, opened_at, at, summary
FROM alerts FINAL WHERE {where} ORDER BY at DESC, revision DESC LIMIT 1 BY alert_id
"""


class UnknownAlertError(LookupError):
    """No alert has this id; the message names the newest ones."""


def acknowledge(clickhouse: ClickHouse, alert_id: str, verdict: Verdict, at_ns: int, *, by: str, note: str = "") -> AckRow:
    """Records a verdict on the newest opening of an alert; a later one replaces it.

    Raises:
        UnknownAlertError: the store has no such alert.
        ClickHouseError: the store refused, or could not be reached.
    """
    found = clickhouse.query(_NEWEST.format(where="alert_id = {id:String} AND state != 'pending'"), {"id": alert_id})
    if not found:
        newest = clickhouse.query(f"{_NEWEST.format(where='state != {pending:String}')} LIMIT 5", {"pending": "pending"})
        known = "; ".join(f"{row['alert_id']} ({row['severity']}, {row['alertname']} on {row['model']})" for row in newest)
        raise UnknownAlertError(f"no alert {alert_id[:64]!r} is in the store. {f'The newest: {known}' if known else 'It has none at all'}.")
    alert = found[0]
    row = AckRow(
        revision=at_ns,
        alert_id=alert["alert_id"],
        opened_at=_ns(alert["opened_at"]),
        model=alert["model"],
        version=alert["version"],
        detector=alert["detector"],
        severity=alert["severity"],
        verdict=verdict,
        at=at_ns,
        judged_by=clean(by)[:_NAME],
        note=clean(note)[:_NOTE],
    )
    clickhouse.insert([row], f"ack-{row.alert_id}-{row.opened_at}-{at_ns}")
    return row


def open_alerts(clickhouse: ClickHouse, model: str = "") -> list[dict[str, Any]]:
    """The alerts that fire now, pages first, newest first; at most 200."""
    text = f"""
        SELECT * FROM ({_NEWEST.format(where="({model:String} = '' OR model = {model:String})")}) WHERE state = 'firing'
        ORDER BY severity = 'page' DESC, opened_at DESC LIMIT 200
    """  # noqa: S608 - our own text; values are parameters
    return clickhouse.query(text, {"model": model})


def known_models(clickhouse: ClickHouse) -> list[str]:
    """Names of the models that have windows in the store; at most 50."""
    return [row["model"] for row in clickhouse.query("SELECT DISTINCT model FROM windows ORDER BY model LIMIT 50")]


def _ns(time: datetime) -> int:
    return round(time.astimezone(UTC).timestamp() * 1000) * 10**6
