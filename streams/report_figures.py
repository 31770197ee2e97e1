"""What the monthly report asks the store: each figure with the rows it rests on."""

from __future__ import annotations

from dataclasses import dataclass

from dashboards.budgets import Rows, budgets
from dashboards.heartbeats import DAY_BEFORE, arrived_since
from dashboards.loads import loaded_since
from dashboards.measures import measures
from dashboards.scope import Objectives

__all__ = ["FIGURES", "WINDOW", "Figure", "objectives_figure"]


@dataclass(frozen=True)
class Figure:
    """One question to the store.

    Attributes:
        name: Short, for JSON and for the control mapping.
        title: As on the page.
        about: What is counted, in a sentence.
        table: The table it rests on.
        where: Which of its rows; `@from`, `@to` and `@scope` are filled in.
        sql: The question; `@where` is the filter.
    """

    name: str
    title: str
    about: str
    table: str
    where: str
    sql: str


_OPENED = "state != 'pending' AND opened_at >= @from AND opened_at < @to AND @scope"
WINDOW = "start >= @from AND start < @to AND @scope"
_JUDGED = "SELECT alert_id, opened_at, verdict FROM acknowledgements FINAL"
_EPISODES = """
    SELECT alert_id, opened_at, any(model) AS model, any(version) AS version, any(detector) AS detector, any(client) AS client,
        any(feature) AS feature, if(countIf(severity = 'page') > 0, 'page', 'ticket') AS worst,
        argMax(summary, (severity = 'page', revision)) AS summary, max(resolved_at) AS resolved_at, max(length(clients)) AS members
    FROM (SELECT * FROM alerts FINAL WHERE @where) GROUP BY alert_id, opened_at
"""

FIGURES: tuple[Figure, ...] = (
    Figure(
        "service", "Service",
        "Requests of judged windows; answered / (answered + failed); the worst window's 95th percentile of latency, and share of features "
        "beyond materiality.",
        "windows", WINDOW,
        """
        SELECT model, version, sum(n) AS requests, sum(status['ok']) / greatest(sum(status['ok'] + errors), 1) AS answered,
            sum(denied) AS refused, max(latency_p95) AS worst_p95_ms,
            max(features_beyond / greatest(features, 1)) AS worst_features_beyond, count() AS windows
        FROM windows FINAL WHERE @where GROUP BY model, version ORDER BY requests DESC, model, version LIMIT 100
        """,
    ),
    Figure(
        "alerts", "How alerts turned out", "Alerts opened in the month by what found them, and how on-call judged them.",
        "alerts", _OPENED,
        f"""
        SELECT detector AS family, countIf(worst = 'page') AS pages, countIf(worst = 'ticket') AS tickets,
            countIf(worst = 'page' AND verdict = 'true') AS pages_true, countIf(worst = 'page' AND verdict = 'false') AS pages_false,
            countIf(worst = 'page' AND verdict = 'benign-cause') AS pages_benign,
            countIf(worst = 'page' AND verdict = '') AS pages_not_judged
        FROM ({_EPISODES}) AS opened LEFT JOIN ({_JUDGED}) AS judged USING (alert_id, opened_at)
        GROUP BY family ORDER BY pages DESC, tickets DESC, family
        """,  # noqa: S608 - our own text; values are parameters
    ),
    Figure(
        "resolve", "Time to resolve", "From an alert's opening to its end, of those that ended; nothing renewed them any more.",
        "alerts", f"{_OPENED} AND state = 'resolved'",
        """
        SELECT detector AS family, severity, uniqExact(alert_id, opened_at) AS resolved,
            quantileExact(0.5)(toFloat64(toUnixTimestamp64Milli(assumeNotNull(resolved_at)) - toUnixTimestamp64Milli(opened_at)) / 1000)
                AS median_s,
            max(toFloat64(toUnixTimestamp64Milli(assumeNotNull(resolved_at)) - toUnixTimestamp64Milli(opened_at)) / 1000) AS longest_s
        FROM alerts FINAL WHERE @where AND resolved_at IS NOT NULL GROUP BY family, severity ORDER BY family, severity
        """,
    ),
    Figure(
        "detect_clients", "Time to detect: clients",
        "From the first judged window in which the client was seen, at most 30 days before, to the alert's opening: an upper bound.",
        "alerts", f"{_OPENED} AND client != ''",
        """
        SELECT a.detector AS family, count() AS alerts, quantileExact(0.5)(greatest(seconds, 0)) AS median_s,
            max(greatest(seconds, 0)) AS longest_s
        FROM (
            SELECT o.detector AS detector, o.alert_id, o.opened_at,
                toFloat64(toUnixTimestamp64Milli(o.opened_at) - toUnixTimestamp64Milli(min(c.start))) / 1000 AS seconds
            FROM (SELECT DISTINCT alert_id, opened_at, detector, model, version, client FROM alerts FINAL WHERE @where) AS o
            INNER JOIN (
                SELECT model, version, client, start FROM client_windows
                WHERE start >= @from - INTERVAL 30 DAY AND start < @to AND client IN (SELECT client FROM alerts WHERE @where)
            ) AS c ON o.model = c.model AND o.version = c.version AND o.client = c.client
            WHERE c.start <= o.opened_at AND c.start > o.opened_at - INTERVAL 30 DAY GROUP BY o.detector, o.alert_id, o.opened_at
        ) AS a GROUP BY family ORDER BY family
        """,
    ),
    Figure(
        "detect_drift", "Time to detect: drift",
        "From the last window before the alert in which there was no evidence (below 1 nat) to its opening.",
        "alerts", f"{_OPENED} AND detector = 'drift'",
        """
        SELECT 'drift' AS family, count() AS alerts, quantileExact(0.5)(greatest(seconds, 0)) AS median_s,
            max(greatest(seconds, 0)) AS longest_s
        FROM (
            SELECT o.alert_id, o.opened_at,
                toFloat64(toUnixTimestamp64Milli(o.opened_at) - toUnixTimestamp64Milli(max(w.end))) / 1000 AS seconds
            FROM (SELECT DISTINCT alert_id, opened_at, model, version FROM alerts FINAL WHERE @where) AS o
            INNER JOIN (
                SELECT model, version, end FROM windows FINAL
                WHERE start >= @from - INTERVAL 30 DAY AND start < @to AND drift_log_evidence < 1
            ) AS w ON o.model = w.model AND o.version = w.version
            WHERE w.end <= o.opened_at GROUP BY o.alert_id, o.opened_at
        ) HAVING alerts > 0
        """,
    ),
    Figure(
        "drift_days", "Drift by day", "The worst window of each day and model version: within tolerance, ticket, page.",
        "windows", WINDOW,
        """
        SELECT model, version, toDayOfMonth(start) AS day,
            max(multiIf(drift_severity = 'page', 2, drift_severity = 'ticket', 1, 0)) AS worst
        FROM windows FINAL WHERE @where GROUP BY model, version, day ORDER BY model, version, day LIMIT 3100
        """,
    ),
    Figure(
        "drift_features", "Features that moved", "The largest distance from the reference in a window (its standard deviations), and PSI.",
        "feature_windows", WINDOW,
        """
        SELECT model, version, feature, max(w1) AS w1, max(psi) AS psi, countIf(severity = 'page') AS windows_page,
            countIf(severity = 'ticket') AS windows_ticket, count() AS windows
        FROM feature_windows FINAL WHERE @where GROUP BY model, version, feature HAVING windows_page + windows_ticket > 0
        ORDER BY windows_page DESC, windows_ticket DESC, w1 DESC, feature LIMIT 10
        """,
    ),
    Figure(
        "incidents", "Pages", "Every page that opened, newest first.", "alerts", f"{_OPENED} AND severity = 'page'",
        f"""
        SELECT opened_at AS opened, model, version, detector AS family, multiIf(client != '', client, members > 0,
                concat(toString(members), ' clients'), feature) AS about, summary,
            if(resolved_at IS NULL, NULL,
                toFloat64(toUnixTimestamp64Milli(assumeNotNull(resolved_at)) - toUnixTimestamp64Milli(opened_at)) / 1000) AS lasted_s,
            verdict, alert_id
        FROM ({_EPISODES.replace("@where", _OPENED)}) AS opened LEFT JOIN ({_JUDGED}) AS judged USING (alert_id, opened_at)
        WHERE worst = 'page' ORDER BY opened DESC LIMIT 50
        """,  # noqa: S608 - our own text; values are parameters
    ),
    Figure(
        "exposure", "Clients",
        "Clients to whom most was given away: how good a copy of the model their answers buy, training rows touched.",
        "client_windows", WINDOW,
        """
        SELECT model, version, client, sum(n) AS requests, max(evidence['copy_agreement']) AS copy_agreement,
            max(evidence['members_touched']) AS members_touched, max(greatest(ln_extraction, ln_evasion, ln_membership)) AS log_evidence
        FROM client_windows FINAL WHERE @where AND client != '' GROUP BY model, version, client
        ORDER BY copy_agreement DESC, members_touched DESC, requests DESC, client LIMIT 10
        """,
    ),
    Figure(
        "membership", "Membership gauge", "How well confidence alone tells training rows from others (0.5 is chance): the month's newest.",
        "membership_gauge", "at >= @from AND at < @to AND @scope",
        """
        SELECT model, version, source, argMax(balanced_accuracy, at) AS balanced_accuracy, argMax(tpr_1pct, at) AS found_at_1pct,
            argMax(generalisation_gap, at) AS generalisation_gap
        FROM membership_gauge FINAL WHERE @where GROUP BY model, version, source ORDER BY model, version, source LIMIT 50
        """,
    ),
    Figure(
        "completeness", "Telemetry completeness",
        "Events read / (sent + dropped in the service) of the month, by each instance's heartbeats. What did not arrive was not judged.",
        "producers", f"at >= {DAY_BEFORE.format('@from')} AND at < @to AND model != '' AND @scope",
        """
        SELECT model, uniqExact(service, instance) AS instances, sum(made) AS produced, sum(got) AS arrived, sum(lost) AS lost_in_service,
            arrived / greatest(produced, 1) AS completeness
        FROM (@arrived) GROUP BY model ORDER BY completeness, model LIMIT 100
        """.replace("@arrived", arrived_since("@where", "@from")),
    ),
    Figure(
        "signed", "Signed artefacts",
        "Artefacts that an instance had loaded at some time of the month, whatever came after: of how many each load told a valid "
        "signature and nothing wrong; which did not (digests), and how many are still loaded at its end.",
        "loads", "at < @to AND @scope",
        """
        SELECT model, version, countIf(valid) AS signed, count() AS loaded, signed / loaded AS share, countIf(still) AS at_the_end,
            arrayStringConcat(arraySlice(arraySort(groupUniqArrayIf(if(artefact = '', 'none named', left(artefact, 19)), NOT valid)), 1, 3),
                ', ') AS not_signed
        FROM (@loaded) GROUP BY model, version ORDER BY share, model, version LIMIT 100
        """.replace("@loaded", loaded_since("@where", "@from")),
    ),
    Figure(
        "accuracy", "Accuracy by labels",
        "Over the labels that came for events of the month, whenever they came. AUC of the scores, within auc_error; F1 of the answers.",
        "accuracy_windows", WINDOW,
        """
        SELECT model, version, labels, errors, accuracy, auc, auc_error, f1, mean_abs_error FROM (
            SELECT model, version, sum(n + value_n) AS labels, sum(errors) AS errors, if(sum(n) > 0, 1 - errors / sum(n), NULL) AS accuracy,
                if(sum(value_n) > 0, sum(abs_error) / sum(value_n), NULL) AS mean_abs_error
            FROM accuracy_windows FINAL WHERE @where GROUP BY model, version
        ) AS w LEFT JOIN (@measures) AS m USING (model, version) ORDER BY model, version LIMIT 100
        """.replace("@measures", measures({"model": "model", "version": "version"}, WINDOW)),
    ),
    Figure(
        "acknowledged", "Judged by on-call", "Acknowledgements of the month's alerts, and how long after the opening they came.",
        "acknowledgements", "opened_at >= @from AND opened_at < @to AND @scope",
        """
        SELECT severity, count() AS judged,
            quantileExact(0.5)(toFloat64(toUnixTimestamp64Milli(at) - toUnixTimestamp64Milli(opened_at)) / 1000) AS median_s
        FROM acknowledgements FINAL WHERE @where GROUP BY severity ORDER BY severity
        """,
    ),
    Figure(
        "audit", "Audit log", "Rows of the month by kind; inferwatch audit verify checks them.",
        "audit", "at >= @from AND at < @to AND ({model:String} = '' OR model IN ('', {model:String}))",
        "SELECT kind, count() AS rows, uniqExact(actor) AS actors FROM audit FINAL WHERE @where GROUP BY kind ORDER BY rows DESC, kind",
    ),
)  # fmt: skip


def objectives_figure(objectives: Objectives) -> Figure:
    """What was promised and what was kept, by indicator: the one figure whose question depends on the settings."""
    rows = Rows(
        windows=WINDOW, labels=WINDOW, opened="opened_at >= @from AND opened_at < @to AND @scope",
        beats=f"at >= {DAY_BEFORE.format('@from')} AND at < @to AND @scope", loads="at < @to AND @scope", since="@from",
    )  # fmt: skip
    return Figure(
        "objectives", "Objectives and error budgets",
        "Each indicator that has an objective: what was promised, what was measured, of how many, and what is left of its budget "
        "(negative: overspent). Each page about security that nobody judged false spent of the budget of availability.",
        "windows", WINDOW,
        "SELECT model, version, indicator, objective, measured, toUInt64(total) AS counted, left AS budget_left "  # noqa: S608 - ours
        f"FROM ({budgets(objectives, rows)}) ORDER BY left, model, version, indicator LIMIT 300",
    )  # fmt: skip
