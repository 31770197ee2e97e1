"""The view of leadership: is each model up, within its budgets, drifting, attacked; and can these figures be trusted."""

from dashboards import promises, sections
from dashboards.budgets import Rows, budgets
from dashboards.heartbeats import DAY_BEFORE, arrived_since
from dashboards.panels import Column, Panel, View, bars, history, row, stat, table, timeseries
from dashboards.promised import SPENDING
from dashboards.scope import MODEL, SERVICE, VERSION, Objectives, model_column, sql

__all__ = ["executive"]

_MONTH_AGO = "$__toTime - INTERVAL 30 DAY"
_IN_MONTH = f"{{0}} > {_MONTH_AGO} AND {{0}} <= $__toTime AND @scope"
_MONTH = Rows(
    windows=_IN_MONTH.format("start"), labels=_IN_MONTH.format("start"), opened=_IN_MONTH.format("opened_at"),
    beats=f"at > {DAY_BEFORE.format(_MONTH_AGO)} AND at <= $__toTime AND @scope", loads="at <= $__toTime AND @scope", since=_MONTH_AGO,
)  # fmt: skip
"""An error budget is of 30 days, whatever range is looked at: of six hours' budget one failure would be all."""
_OBJECTIVE = "toFloat64(${objective:raw})"
_OWN_AVAILABILITY = """,
                    sum((status['ok'] + errors) * @promised_availability) / greatest(sum(status['ok'] + errors), 1) / 100 AS objective"""


def executive(objectives: Objectives) -> View:
    """The view, with its lines and budgets at the objectives.

    >>> executive(Objectives()).span
    '30d'
    """
    return View(
        name="executive",
        title="inferwatch / Executive",
        description="By model: availability against its objective, drift, incidents, pages against the budget, completeness of telemetry.",
        asked_by="leadership",
        variables=(MODEL, VERSION, SERVICE, objectives.budget(), objectives.objective()),
        panels=(
            *_state(objectives),
            row("Models"),
            _models(objectives),
            _budgets(objectives),
            promises.signed((6, 8)),
            promises.judged(objectives, (18, 8)),
            row("Over time"),
            *_over_time(),
        ),
        span="30d",
        refresh="5m",
    )


def _state(objectives: Objectives) -> list[Panel]:
    return [
        _availability(objectives),
        promises.pages_against_budget((6, 5)),
        stat(
            "Models with an open page",
            "Models on which a page is open at the end of the time range, beside all models that had traffic in it.",
            sections.newest(
                """
                SELECT (SELECT uniqExact(model) FROM (@newest) WHERE state = 'firing' AND severity = 'page') AS `at risk`,
                    (SELECT uniqExact(model) FROM windows FINAL WHERE $__timeFilter(start) AND @scope) AS watched
                """,
                "@scope",
            ),
            (6, 5),
            steps=((None, "blue"),),
        ),
        stat(
            "Telemetry completeness",
            "Events read / (sent + dropped in the service) of the time range, by the heartbeats of each instance. What did not arrive was "
            "not judged.",
            sql(
                "SELECT sum(got) / greatest(sum(made), 1) AS arrived FROM (@arrived)".replace(
                    "@arrived",
                    arrived_since(f"at >= {DAY_BEFORE.format('$__fromTime')} AND at <= $__toTime AND @beat", "$__fromTime"),
                )
            ),
            (6, 5),
            unit="percentunit",
            decimals=3,
            steps=((None, "blue"),) if objectives.differ("completeness") else ((None, "red"), (objectives.completeness, "green")),
        ),
    ]


def _availability(objectives: Objectives) -> Panel:
    promised, own = objectives.availability / 100, objectives.differ("availability")
    return stat(
        "Availability",
        "Answered / (answered + failed) in the time range, all models chosen together"
        + (", beside what is promised for them, weighted by their requests." if own else ". The objective is set above."),
        sql(
            objectives.fill(
                """
                SELECT sum(status['ok']) / greatest(sum(status['ok'] + errors), 1) AS answered @own
                FROM windows FINAL WHERE $__timeFilter(start) AND @scope
                """.replace(" @own", _OWN_AVAILABILITY if own else "")
            )
        ),
        (6, 5),
        unit="percentunit",
        decimals=3,
        steps=((None, "blue"),) if own else ((None, "red"), (1 - 2 * (1 - promised), "orange"), (promised, "green")),
    )


def _models(objectives: Objectives) -> Panel:
    return table(
        "Models at risk",
        "One row a model version: open pages and tickets first, then what is left of its error budget of the 30 days before the end of the "
        f"range (negative: overspent); each page about security that nobody judged false spends {objectives.incident_share:.0%} of it. "
        "Objectives are the model's own, where the settings have some. Drift and clients are ln evidence, the strongest of the range, "
        "beside the largest share of features beyond materiality; the colours turn where the settings' budget makes a ticket and a page. "
        "Click a model for its details.",
        sections.newest(
            objectives.fill("""
            SELECT w.model AS model, w.version AS version, countIf(a.severity = 'page') AS pages, countIf(a.severity = 'ticket') AS tickets,
                any(w.requests) AS requests, any(w.answered) AS availability, any(w.promised) AS objective,
                any(b.left) AS `budget left`,
                any(s.incidents) AS `security pages`,
                any(w.p95) AS `worst P95`, any(w.promised_p95) AS `P95 objective`, any(w.drift) AS drift,
                any(w.beyond) AS `features beyond`, any(c.client) AS clients
            FROM (
                SELECT model, version, sum(n) AS requests, sum(status['ok']) / greatest(sum(status['ok'] + errors), 1) AS answered,
                    max(latency_p95) AS p95, max(drift_log_evidence) AS drift,
                    max(features_beyond / greatest(features, 1)) AS beyond,
                    @promised_availability / 100 AS promised, @promised_latency AS promised_p95
                FROM windows FINAL WHERE $__timeFilter(start) AND @scope GROUP BY model, version
            ) AS w
            LEFT JOIN (
                SELECT model, version, @surest AS client FROM client_windows WHERE @days AND @scope GROUP BY model, version
            ) AS c ON w.model = c.model AND w.version = c.version
            LEFT JOIN (
                SELECT model, version, count() AS incidents FROM @spending WHERE @opened GROUP BY model, version
            ) AS s ON w.model = s.model AND w.version = s.version
            LEFT JOIN (@budgets) AS b ON w.model = b.model AND w.version = b.version
            LEFT JOIN (SELECT model, version, severity FROM (@newest) WHERE state = 'firing') AS a
                ON w.model = a.model AND w.version = a.version
            GROUP BY w.model, w.version ORDER BY pages DESC, tickets DESC, `budget left`, model LIMIT 200
            """)
            .replace("@spending", SPENDING)
            .replace("@opened", _MONTH.opened)
            .replace("@budgets", budgets(objectives, _MONTH, only=("availability",), availability=_OBJECTIVE)),
            "@scope",
        ),
        (24, 8),
        columns=[
            model_column(),
            Column(name="pages", steps=((None, "green"), (1, "red"))),
            Column(name="tickets", steps=((None, "green"), (1, "orange"))),
            Column(name="availability", unit="percentunit", decimals=3),
            Column(name="objective", unit="percentunit", decimals=3),
            Column(name="budget left", unit="percentunit", decimals=1, steps=((None, "red"), (0, "orange"), (0.5, "green"))),
            Column(name="worst P95", unit="ms", decimals=0),
            Column(name="P95 objective", unit="ms", decimals=0),
            Column(name="drift", decimals=1, steps=objectives.drift_steps()),
            Column(name="features beyond", unit="percentunit", decimals=0),
            Column(name="clients", decimals=1, steps=objectives.client_steps()),
        ],
    )


def _budgets(objectives: Objectives) -> Panel:
    asked = budgets(objectives, _MONTH, availability=_OBJECTIVE)
    return table(
        "Objectives and error budgets, 30 days",
        "What is promised (`objectives` of the settings, the model's own where it has some), what was measured in the 30 days before the "
        "end of the time range, of how many requests, answers, labels, windows, events or loaded artefacts, and what is left of the error "
        "budget (negative: overspent): 1 - (what went wrong) / (what was allowed to). Where an objective is 100 %, each that went wrong "
        "spends a whole budget. Of AUC and F1 what is missing to 1 is spent, of MAE and log loss what they are. What is not measured, or "
        "has no objective, has no row. "
        "Pages have a budget of their own, above.",
        sql(f"SELECT model, version, indicator, objective, measured, total AS `of`, left AS `budget left` FROM ({asked}) "  # noqa: S608 - ours
            "ORDER BY left, model, version, indicator LIMIT 300"),
        (24, 8),
        columns=[
            model_column(),
            Column(name="of", decimals=0),
            Column(name="budget left", unit="percentunit", decimals=1, steps=((None, "red"), (0, "orange"), (0.5, "green"))),
        ],
    )  # fmt: skip


def _over_time() -> list[Panel]:
    return [
        history(
            "Drift by model and day",
            "The worst window of each day: green is within tolerance, orange a ticket, red a page; a gap is a day without traffic.",
            sql("""
                SELECT toStartOfDay(start) AS time, concat(model, ' ', version) AS series,
                    max(multiIf(drift_severity = 'page', 2, drift_severity = 'ticket', 1, 0)) AS drift
                FROM windows FINAL WHERE $__timeFilter(start) AND @scope AND (model, version) IN (
                    SELECT model, version FROM windows WHERE $__timeFilter(start) AND @scope
                    GROUP BY model, version ORDER BY max(drift_log_evidence) DESC, model, version LIMIT 40
                )
                GROUP BY time, series ORDER BY time, series
            """),
            (12, 9),
            name="${__field.labels.series}",
            steps=((None, "green"), (1, "orange"), (2, "red")),
        ),
        bars(
            "Incidents in 90 days by family",
            "Alerts opened in the 90 days before the end of the time range, by what found them; an alert that rose to a page is a page.",
            sql("""
                SELECT detector, countIf(worst = 'page') AS pages, countIf(worst = 'ticket') AS tickets FROM (
                    SELECT detector, alert_id, opened_at, if(countIf(severity = 'page') > 0, 'page', 'ticket') AS worst FROM alerts FINAL
                    WHERE opened_at > $__toTime - INTERVAL 90 DAY AND opened_at <= $__toTime AND state != 'pending' AND @scope
                    GROUP BY detector, alert_id, opened_at
                )
                GROUP BY detector ORDER BY pages DESC, tickets DESC, detector
            """),
            (12, 9),
            stacked=True,
        ),
        timeseries(
            "Requests",
            "Requests by model and interval, from the judged windows.",
            sql("""
                SELECT $__timeInterval(start) AS time, model, sum(n) AS requests
                FROM windows FINAL WHERE $__timeFilter(start) AND @scope
                GROUP BY time, model ORDER BY time
            """),
            (12, 8),
            name="${__field.labels.model}",
            stacked=True,
            interval="5m",
        ),
        timeseries(
            "Refused",
            "Requests without valid credentials (unauthenticated) or rights (forbidden), by model and interval.",
            sql("""
                SELECT $__timeInterval(start) AS time, model, sum(status['unauthenticated']) AS unauthenticated,
                    sum(status['forbidden']) AS forbidden
                FROM windows FINAL WHERE $__timeFilter(start) AND @scope
                GROUP BY time, model ORDER BY time
            """),
            (12, 8),
            name="${__field.name} ${__field.labels.model}",
            interval="5m",
        ),
    ]
