"""The demo's last page: events accounted for, causes and alerts, rows in the store."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from schemas.rows import TABLES, WindowRow
from streams.clickhouse import ClickHouse, ClickHouseError
from streams.demo.attack import Outcome
from streams.demo.stage import Paged
from streams.demo.verdict import Causes, Verdict
from streams.settings import Settings


@dataclass(frozen=True)
class Account:
    """Where the events are."""

    sent: int
    lost: int
    accepted: int
    rejected: Mapping[str, int]
    windows: int
    metrics: Mapping[str, float]
    clients: int


def account_lines(account: Account) -> list[str]:
    """Sent = accepted + rejected, or what is missing."""
    rejected = sum(account.rejected.values())
    gap = account.sent - account.accepted - rejected
    reasons = "".join(f" ({n:,} {reason})" for reason, n in account.rejected.items())
    lines = [
        f"Events: {account.sent:,} sent and acknowledged = {account.accepted:,} accepted by the worker + {rejected:,} rejected{reasons}"
        + (f"; {gap:,} NOT ACCOUNTED FOR" if gap else "")
        + (f"; {account.lost:,} lost in the SDK" if account.lost else "")
        + f", in {account.windows} windows."
    ]
    metrics = account.metrics
    if metrics:
        lines.append(
            f"Worker: {metrics.get('inferwatch_records_total/events', 0):,.0f} records, "
            f"{metrics.get('inferwatch_snapshots_total', 0):,.0f} snapshots, "
            f"{metrics.get('inferwatch_sink_inserted_rows', 0):,.0f} rows in ClickHouse, "
            f"{metrics.get('inferwatch_internal_errors_total', 0):,.0f} internal errors."
        )
    return lines


def verdict_lines(
    verdict: Verdict, causes: Causes, outcome: Outcome, who: Callable[[str | None], str], received: Sequence[Paged] | None
) -> list[str]:
    """What was found how soon, and what stayed quiet.

    Args:
        verdict: of `verdict.judge`.
        causes: what was done.
        outcome: what the attacker reached.
        who: a client's name for people.
        received: what the pager got; None without one.
    """
    lines = []
    if verdict.attack is not None and causes.attacked_at is not None:
        alert = verdict.attack.alert
        lines.append(
            f"Attack FOUND: {alert.alertname} paged {verdict.attack.at - causes.attacked_at:.1f} s after the first query, "
            f"at query {alert.n_events} of {outcome.queries}{_at_pager(alert.alert_id, received, causes.attacked_at)}. "
            f"By the end {outcome.fooled} of {outcome.rows} rows were fooled."
        )
    else:
        lines.append(f"Attack NOT FOUND: no page names {who(causes.attacker)} after {outcome.queries} queries.")
    if verdict.drift is not None and causes.drifted_at is not None:
        alert = verdict.drift.alert
        lines.append(
            f"Drift FOUND: {alert.alertname} paged {verdict.drift.at - causes.drifted_at:.1f} s after the shift, names {alert.feature}"
            f"{_at_pager(alert.alert_id, received, causes.drifted_at)}."
        )
    else:
        lines.append(f"Drift NOT FOUND: no page names {causes.feature}.")
    if verdict.false_pages:
        lines += [f"FALSE PAGE: {alert.alertname} {who(alert.client)}: {alert.summary}" for alert in verdict.false_pages]
    else:
        lines.append("Ordinary clients paged: 0. False pages of any kind: 0.")
    if verdict.tickets_on_ordinary:
        kinds = ", ".join(f"{alert.alertname} {who(alert.client)}".strip() for alert in verdict.tickets_on_ordinary)
        lines.append(f"Tickets without a cause (nobody is woken): {kinds}.")
    if verdict.missing_events:
        lines.append(f"{verdict.missing_events:,} events are not accounted for.")
    return lines


def store_lines(dsn: str, home: Path, settings: Settings, *, kept: bool) -> list[str]:
    """Rows by table, read from the stopped worker's ClickHouse folder, and how to see them."""
    try:
        with ClickHouse(dsn) as clickhouse:
            counts = {
                table.table: clickhouse.query(f"SELECT count() AS n FROM {table.table} FINAL")[0]["n"]  # noqa: S608 - our own names
                for table in TABLES
            }
            accepted = clickhouse.query(f"SELECT sum(accepted) AS n FROM {WindowRow.table} FINAL")[0]["n"]  # noqa: S608 - as above
    except ClickHouseError as error:
        return [f"ClickHouse: {error}"]
    lines = [
        "ClickHouse rows: " + ", ".join(f"{name} {n:,}" for name, n in counts.items()) + ".",
        f"The windows in ClickHouse hold {accepted:,} accepted events.",
    ]
    if kept:
        lines.append(f"Everything stays in {home}: `clickhouse` (chDB), `state`, `kafka`, `worker.log`.")
        own = f"INFERWATCH_WINDOW_LENGTH_S={settings.window.length_s:g}"  # the views draw their lines where the worker did
        own += f" INFERWATCH_OBJECTIVES_AVAILABILITY={settings.objectives.availability:g}"
        lines.append(f"To see it: {own} inferwatch ui --dsn '{dsn}'")
    else:
        lines.append(
            "The demo's folder is removed at the end: `inferwatch demo --ui` shows it as dashboards first, `--folder DIR` keeps it."
        )
    lines.append(
        "Next: docs/demo.md; `inferwatch demo --keep` to look around; `inferwatch reference build --help` for a model of your own."
    )
    return lines


def _at_pager(alert_id: str, received: Sequence[Paged] | None, since: float) -> str:
    for paged in received or ():
        if any(alert_id in str(alert) and alert.get("labels", {}).get("severity") == "page" for alert in paged.alerts):
            return f", at the pager after {paged.at - since:.1f} s"
    return "" if received is None else ", NOT AT THE PAGER"
