"""The dashboard of whoever was paged: what is open, how bad, since when, who, and whether the telemetry can be trusted."""

from typing import Any

from dashboards import sections
from dashboards.panels import Panel, column, dashboard, query_variable, row, stat, table, text_variable
from dashboards.scope import client_link, severities, sql

__all__ = ["UID", "oncall"]

UID = "inferwatch-oncall"

_SINCE = (
    "Since it opened",
    f"/d/{UID}?from=${{__data.fields.opened_ms.numeric}}&to=now&var-model=${{__data.fields.model}}&var-client=${{__data.fields.client}}",
)
# The newest transition of each alert, as far as the end of the time range: so an old range shows what was open then.
_NEWEST = """
    SELECT * FROM alerts FINAL WHERE at <= $__toTime AND @scope AND @about_client
    ORDER BY at DESC, revision DESC LIMIT 1 BY alert_id
"""


def oncall(false_pages_per_30d: float = 1.0) -> dict[str, Any]:
    """The dashboard as Grafana's JSON model.

    Args:
        false_pages_per_30d: The budget that the worker runs with, shown beside the pages; 0.001 to 1000.

    Raises:
        ValueError: The budget is out of range.

    >>> oncall()["uid"]
    'inferwatch-oncall'
    """
    if not 0.001 <= false_pages_per_30d <= 1000:
        raise ValueError(f"false_pages_per_30d = {false_pages_per_30d}: expected 0.001 to 1000")
    return dashboard(
        UID,
        "inferwatch / On-call",
        "What is open, how sure, how big, since when, who; then traffic, drift, clients, and whether the telemetry is complete.",
        _variables(false_pages_per_30d),
        [
            *_open(),
            row("Traffic"),
            *sections.traffic(),
            row("Drift"),
            *sections.drift(),
            row("Clients"),
            *sections.clients(UID),
            row("Can it be trusted"),
            *sections.trust(),
        ],
    )


def _variables(budget: float) -> list[dict[str, Any]]:
    return [
        query_variable(
            "model",
            "Model",
            "Models with traffic in the time range",
            "SELECT DISTINCT model FROM windows WHERE $__timeFilter(start) ORDER BY model LIMIT 500",
        ),
        query_variable(
            "version",
            "Version",
            "Versions of these models with traffic in the time range",
            sql("SELECT DISTINCT version FROM windows WHERE $__timeFilter(start) AND @model ORDER BY version LIMIT 500"),
        ),
        query_variable(
            "client",
            "Client",
            "The 200 clients with the most evidence in the time range",
            sql("""
                SELECT client FROM client_windows WHERE $__timeFilter(start) AND @scope GROUP BY client
                ORDER BY max(greatest(ln_extraction, ln_evasion, ln_membership)) DESC, client LIMIT 200
            """),
        ),
        text_variable("budget", "False pages per 30 d", "The worker's setting false_pages_per_30d", f"{budget:g}"),
        text_variable("objective", "Availability, %", "Objective for answered requests, for the burn rates", "99.9"),
    ]


def _open() -> list[Panel]:
    newest = sql(_NEWEST)
    return [
        stat(
            "Open now",
            "Alerts firing at the end of the time range. A page is evidence at the budgeted level, a ticket at a hundredth of it.",
            sql("""
                SELECT countIf(severity = 'page') AS Pages, countIf(severity = 'ticket') AS Tickets
                FROM (@newest) WHERE state = 'firing'
            """).replace("@newest", newest),
            (6, 5),
            steps=((None, "green"), (1, "red")),
        ),
        stat(
            "Pages against the budget, 30 days",
            "Pages opened in the 30 days before the end of the time range, beside the false pages that were allowed. The budget bounds "
            "false pages only: more pages than budget can mean real incidents. How they were judged is in their acknowledgements.",
            sql("""
                SELECT uniqExact(alert_id, opened_at) AS Pages, toFloat64(${budget:raw}) AS Budget
                FROM alerts WHERE severity = 'page' AND state != 'pending'
                    AND opened_at > $__toTime - INTERVAL 30 DAY AND opened_at <= $__toTime AND @model
            """),
            (6, 5),
            steps=((None, "blue"),),
        ),
        stat(
            "Error budget burn",
            "How many times faster than allowed the availability budget is spent: errors / (answered + errors), over 1 - objective. "
            "Above 14.4 over 1 h or 6 over 6 h it pages, above 1 over 3 d it is a ticket.",
            sql("""
                WITH 1 - toFloat64(${objective:raw}) / 100 AS allowed, errors + status['ok'] AS asked
                SELECT
                    sumIf(errors, start > $__toTime - INTERVAL 1 HOUR)
                        / greatest(sumIf(asked, start > $__toTime - INTERVAL 1 HOUR), 1) / allowed AS `1 h`,
                    sumIf(errors, start > $__toTime - INTERVAL 6 HOUR)
                        / greatest(sumIf(asked, start > $__toTime - INTERVAL 6 HOUR), 1) / allowed AS `6 h`,
                    sum(errors) / greatest(sum(asked), 1) / allowed AS `3 d`
                FROM windows FINAL WHERE start > $__toTime - INTERVAL 3 DAY AND start <= $__toTime AND @scope
            """),
            (12, 5),
            steps=((None, "green"), (1, "yellow"), (6, "orange"), (14.4, "red")),
            unit="suffix:x",
            decimals=2,
        ),
        table(
            "Open alerts",
            "One row an alert that is open at the end of the time range, pages first, then surest first. ln evidence is the logarithm of "
            "the betting score against 'nothing is wrong': 7 is a thousand to one. Click the id for the runbook, the summary for the "
            "time since it opened, the client to see only it.",
            sql("""
                SELECT severity, state, alertname, summary, model, version, client, feature, opened_at AS opened, n_events AS events,
                    log_evidence AS `ln evidence`, evidence, arrayStringConcat(techniques, ', ') AS ATLAS,
                    arrayStringConcat(owasp, ', ') AS OWASP, alert_id, runbook, toUnixTimestamp64Milli(opened_at) AS opened_ms
                FROM (@newest) WHERE state != 'resolved'
                ORDER BY severity = 'page' DESC, log_evidence DESC LIMIT 200
            """).replace("@newest", newest),
            (24, 8),
            columns=[
                column("severity", width=80, words=severities),
                column("summary", width=360, link=_SINCE),
                column("client", link=client_link(UID)),
                column("ln evidence", decimals=1, width=100),
                column("alert_id", width=130, link=("Runbook", "${__data.fields.runbook}")),
                column("runbook", hidden=True),
                column("opened_ms", hidden=True),
            ],
        ),
    ]
