"""Panels on what was promised: pages against the budget and how they turned out, and artefacts that are what was signed."""

from dashboards.panels import Column, Panel, stat, table
from dashboards.scope import SEVERITY, Objectives, sql

__all__ = ["judged", "loaded", "pages_against_budget", "signed"]


_BUDGET = """
    toFloat64(${budget:raw}) * (
        SELECT greatest(uniqExact(model, version), 1) FROM windows
        WHERE start > $__toTime - INTERVAL 30 DAY AND start <= $__toTime AND @model
    )
"""
"""False pages that are allowed of all model versions with traffic in the 30 days."""


def pages_against_budget(span: tuple[int, int]) -> Panel:
    """Pages of the last 30 days beside the false pages that were allowed."""
    return stat(
        "Pages against the budget, 30 days",
        "Pages opened in the 30 days before the end of the time range, how many of them on-call judged false (`inferwatch alert ack`), and "
        "the false pages that were allowed: the budget of each model version with traffic in them. It bounds false pages only: more pages "
        "than budget can mean real incidents.",
        sql(
            """
            SELECT count() AS Pages, countIf(verdict = 'false') AS False, @budget AS Budget
            FROM (
                SELECT DISTINCT alert_id, opened_at FROM alerts WHERE severity = 'page' AND state != 'pending'
                    AND opened_at > $__toTime - INTERVAL 30 DAY AND opened_at <= $__toTime AND @model
            ) AS paged
            LEFT JOIN (SELECT alert_id, opened_at, verdict FROM acknowledgements FINAL) AS judged USING (alert_id, opened_at)
        """.replace("@budget", _BUDGET.strip())
        ),
        span,
        steps=((None, "blue"),),
    )


def judged(objectives: Objectives, span: tuple[int, int]) -> Panel:
    """How pages and tickets of the last 30 days turned out, by detector."""
    return table(
        "How alerts turned out, 30 days",
        "Alerts opened in the 30 days before the end of the time range, by detector and severity, and how on-call judged them "
        "(`inferwatch alert ack ID --verdict true|false|benign-cause`). What nobody judged counts neither way. Beside pages the false ones "
        "that the detector's share of the budget allows (extraction and evasion have one share together); rules have none.",
        sql(
            """
            SELECT detector, severity, count() AS alerts, countIf(verdict = 'true') AS `true`, countIf(verdict = 'false') AS `false`,
                countIf(verdict = 'benign-cause') AS `benign cause`, countIf(verdict = '') AS `not judged`,
                if(severity = 'page', nullIf(transform(detector, @detectors, @shares, 0.) * @budget, 0), NULL) AS `false allowed`
            FROM (
                SELECT alert_id, opened_at, any(detector) AS detector, if(max(severity = 'page'), 'page', 'ticket') AS severity
                FROM alerts WHERE state != 'pending'
                    AND opened_at > $__toTime - INTERVAL 30 DAY AND opened_at <= $__toTime AND @model
                GROUP BY alert_id, opened_at
            ) AS opened
            LEFT JOIN (SELECT alert_id, opened_at, verdict FROM acknowledgements FINAL) AS judged USING (alert_id, opened_at)
            GROUP BY detector, severity ORDER BY severity, alerts DESC, detector
        """.replace("@detectors", str(list(objectives.page_shares)))
            .replace("@shares", str([float(share) for share in objectives.page_shares.values()]))
            .replace("@budget", _BUDGET.strip())
        ),
        span,
        columns=[SEVERITY, Column(name="false allowed", decimals=2)],
    )


_LOADED = """
    SELECT model, version, service, instance, maxIf(at, kind = 'loaded') AS since, if(argMax(kind, at) = 'loaded', NULL, max(at)) AS ended,
        argMaxIf(signature, at, kind = 'loaded') AS signed, argMaxIf(key_id, at, kind = 'loaded') AS key,
        argMaxIf(digest, at, kind = 'loaded') AS artefact, argMaxIf(problem, at, kind = 'loaded') AS wrong
    FROM loads FINAL WHERE at <= $__toTime AND @scope AND @service GROUP BY model, version, service, instance
    HAVING countIf(kind = 'loaded') > 0 AND (isNull(ended) OR max(at) >= $__fromTime)
"""


def signed(span: tuple[int, int]) -> Panel:
    """How many of what is loaded has a valid signature."""
    return stat(
        "Signed artefacts",
        "Instances whose last load told a valid signature and nothing wrong, of all that had a version loaded in the time range. An "
        "instance that was killed counts for an hour more, if it had heartbeats; what a service does not tell is not here.",
        sql(
            "SELECT countIf(signed = 'valid' AND wrong = '') / count() AS signed FROM (@loaded) HAVING count() > 0".replace(
                "@loaded", _LOADED
            )
        ),
        span,
        unit="percentunit",
        decimals=1,
        steps=((None, "red"), (0.999, "green")),
    )


def loaded(span: tuple[int, int]) -> Panel:
    """Who has loaded which artefact."""
    return table(
        "What is loaded",
        "The newest load of each instance that had the version loaded in the time range: artefact, signature, since when, when it ended "
        "(unloaded, said goodbye, or was silent for an hour), and what is wrong with it, which comes first.",
        sql(
            "SELECT model, version, service, instance, since, ended, signed AS signature, key, artefact AS digest, wrong AS problem "
            "FROM (@loaded) ORDER BY wrong = '' OR ended IS NOT NULL, ended IS NOT NULL, signed = 'valid', since DESC LIMIT 200".replace(
                "@loaded", _LOADED
            )
        ),
        span,
        columns=[Column(name="signature", width=90, words={"invalid": "red", "missing": "orange", "valid": "green"})],
    )
