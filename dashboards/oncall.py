"""The view of whoever was paged: what is open, how bad, since when, who, and whether the telemetry can be trusted."""

from dashboards import promises, sections
from dashboards.panels import Column, Link, Panel, View, row, stat, table
from dashboards.promised import SPENDING
from dashboards.scope import CLIENT, MODEL, SERVICE, SEVERITY, VERSION, Objectives, client_column, sql

__all__ = ["oncall"]

_SINCE = Link(title="Since it opened", view="oncall", values={"model": "model", "client": "client"}, since="opened_ms")


def oncall(objectives: Objectives) -> View:
    """The view, with its lines and budgets at the objectives.

    >>> oncall(Objectives()).panels[0].title
    'Open now'
    """
    return View(
        name="oncall",
        title="inferwatch / On-call",
        description="What is open, how sure, how big, since when, who; then traffic, drift, clients, and whether the telemetry is "
        "complete.",
        asked_by="whoever was paged",
        variables=(MODEL, VERSION, SERVICE, CLIENT, objectives.budget(), objectives.objective()),
        panels=(
            *_open(objectives),
            row("Traffic"),
            *sections.traffic(objectives),
            row("Drift"),
            *sections.drift(objectives),
            row("Clients"),
            *sections.clients(objectives),
            row("Can it be trusted"),
            *sections.trust(objectives),
            promises.loaded((16, 8)),
        ),
    )


def _open(objectives: Objectives) -> list[Panel]:
    return [
        stat(
            "Open now",
            "Alerts firing at the end of the time range. A page is evidence at the budgeted level, a ticket at a hundredth of it.",
            sections.newest("""
                SELECT countIf(severity = 'page') AS Pages, countIf(severity = 'ticket') AS Tickets
                FROM (@newest) WHERE state = 'firing'
            """),
            (6, 5),
            steps=((None, "green"), (1, "red")),
        ),
        promises.pages_against_budget((6, 5)),
        stat(
            "Error budget burn",
            "How many times faster than allowed the availability budget is spent: errors / (answered + errors), over 1 - the model's "
            "objective. Above 14.4 over 1 h or 6 over 6 h it pages, above 1 over 3 d it is a ticket. What pages about security that nobody "
            "judged "
            f"false spent of it in 3 d of the worst version stands beside it ({objectives.incident_share:.0%} of a month's budget each).",
            sql(
                objectives.fill("""
                    WITH (errors + status['ok']) * (1 - @promised_availability / 100) AS allowed
                    SELECT
                        sumIf(errors, start > $__toTime - INTERVAL 1 HOUR)
                            / greatest(sumIf(allowed, start > $__toTime - INTERVAL 1 HOUR), 1e-9) AS `1 h`,
                        sumIf(errors, start > $__toTime - INTERVAL 6 HOUR)
                            / greatest(sumIf(allowed, start > $__toTime - INTERVAL 6 HOUR), 1e-9) AS `6 h`,
                        sum(errors) / greatest(sum(allowed), 1e-9) AS `3 d`,
                        (
                            SELECT @spent_a_page * max(n) FROM (
                                SELECT count() AS n FROM @spending
                                WHERE opened_at > $__toTime - INTERVAL 3 DAY AND opened_at <= $__toTime AND @scope
                                GROUP BY model, version
                            )
                        ) AS `security, 3 d`
                    FROM windows FINAL WHERE start > $__toTime - INTERVAL 3 DAY AND start <= $__toTime AND @scope
                """)
                .replace("@spent_a_page", repr(10.0 * objectives.incident_share))  # of 30 days' budget, in 3
                .replace("@spending", SPENDING)
            ),
            (12, 5),
            steps=((None, "green"), (1, "yellow"), (6, "orange"), (14.4, "red")),
            unit="suffix:x",
            decimals=2,
        ),
        table(
            "Open alerts",
            "One row an alert that is open at the end of the time range, pages first, then surest first. ln evidence is the logarithm of "
            "the betting score against 'nothing is wrong': 7 is a thousand to one. Click the id for the runbook, the summary for the "
            "time since it opened, the client for all that it did.",
            sections.newest("""
                SELECT severity, state, alertname, summary, model, version, client, feature, opened_at AS opened, n_events AS events,
                    log_evidence AS `ln evidence`, evidence, arrayStringConcat(techniques, ', ') AS ATLAS,
                    arrayStringConcat(owasp, ', ') AS OWASP, alert_id, runbook, toUnixTimestamp64Milli(opened_at) AS opened_ms
                FROM (@newest) WHERE state != 'resolved'
                ORDER BY severity = 'page' DESC, log_evidence DESC LIMIT 200
            """),
            (24, 8),
            columns=[
                SEVERITY,
                Column(name="summary", width=360, link=_SINCE),
                client_column(),
                Column(name="ln evidence", decimals=1, width=100),
                Column(name="alert_id", width=130, link=Link(title="Runbook", address="runbook")),
                Column(name="runbook", hidden=True),
                Column(name="opened_ms", hidden=True),
            ],
        ),
    ]
