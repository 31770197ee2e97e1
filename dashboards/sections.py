"""Groups of panels that answer one question each: traffic, drift, clients, and whether the telemetry can be trusted."""

from dashboards.panels import Panel, column, table, timeseries
from dashboards.scope import client_link, severities, sql

__all__ = ["clients", "drift", "traffic", "trust"]

_PSI = ((None, "green"), (0.1, "yellow"), (0.25, "red"))
"""The usual reading of PSI: below 0.1 stable, above 0.25 changed."""


def traffic() -> list[Panel]:
    """How much, how fast, how well."""
    return [
        timeseries(
            "Request rate",
            "Events a second by model, from the judged windows: the line ends where the last judged window does.",
            sql("""
                SELECT time, model, sum(events) / sum(seconds) AS rate
                FROM (
                    SELECT $__timeInterval(start) AS time, start, model, sum(n) AS events,
                        max(dateDiff('millisecond', start, end)) / 1000 AS seconds
                    FROM windows FINAL WHERE $__timeFilter(start) AND @scope
                    GROUP BY time, start, model
                )
                GROUP BY time, model ORDER BY time
            """),
            (8, 8),
            name="${__field.labels.model}",
            unit="reqps",
        ),
        timeseries(
            "Latency",
            "P50, P95 and P99 of answered requests, the worst window of each interval (percentiles of windows do not average). "
            "From log-spaced bins, so exact to 2 %.",
            sql("""
                SELECT $__timeInterval(start) AS time, model,
                    max(latency_p50) AS P50, max(latency_p95) AS P95, max(latency_p99) AS P99
                FROM windows FINAL WHERE $__timeFilter(start) AND @scope
                GROUP BY time, model ORDER BY time
            """),
            (8, 8),
            name="${__field.name} ${__field.labels.model}",
            unit="ms",
        ),
        timeseries(
            "Errors and denials",
            "Share of requests that failed, and share that was unauthenticated or forbidden.",
            sql("""
                SELECT $__timeInterval(start) AS time, model,
                    sum(errors) / greatest(sum(n), 1) AS failed, sum(denied) / greatest(sum(n), 1) AS refused
                FROM windows FINAL WHERE $__timeFilter(start) AND @scope
                GROUP BY time, model ORDER BY time
            """),
            (8, 8),
            name="${__field.name} ${__field.labels.model}",
            unit="percentunit",
        ),
    ]


def drift() -> list[Panel]:
    """What moved, how far, how surely, since when."""
    return [
        table(
            "Drift now",
            "The newest window of each model version, surest feature first. PSI and W1 (in reference standard deviations) say how far, "
            "ln evidence how sure: a large PSI of a small window is noise, a small one with much evidence is a small, real shift.",
            sql("""
                SELECT severity, model, version, feature, kind, psi AS PSI, w1 AS W1, log_evidence AS `ln evidence`,
                    n AS events, missing, unseen, below + above AS outside, start AS window
                FROM feature_windows FINAL WHERE $__timeFilter(start) AND @scope AND (model, version, start) IN (
                    SELECT model, version, max(start) FROM feature_windows WHERE $__timeFilter(start) AND @scope GROUP BY model, version
                )
                ORDER BY log_evidence DESC, psi DESC LIMIT 100
            """),
            (12, 10),
            columns=[
                column("severity", width=80, words=severities),
                column("PSI", decimals=3, steps=_PSI),
                column("W1", decimals=3),
                column("ln evidence", decimals=1),
            ],
        ),
        timeseries(
            "Drift over time",
            "PSI of the ten features that moved most in the time range, the largest of each interval.",
            sql("""
                SELECT $__timeInterval(start) AS time, concat(model, ' ', feature) AS series, max(psi) AS PSI
                FROM feature_windows FINAL WHERE $__timeFilter(start) AND @scope AND (model, feature) IN (
                    SELECT model, feature FROM feature_windows WHERE $__timeFilter(start) AND @scope
                    GROUP BY model, feature ORDER BY max(psi) DESC LIMIT 10
                )
                GROUP BY time, series ORDER BY time
            """),
            (12, 10),
            name="${__field.labels.series}",
        ),
        timeseries(
            "Drift evidence",
            "ln of the score by model, over all its features. It hovers near 0 while nothing is wrong and climbs steadily when something "
            "is; it pages where the budget says, and is a ticket 4.6 (a factor 100) below.",
            sql("""
                SELECT $__timeInterval(start) AS time, model, max(drift_log_evidence) AS evidence
                FROM windows FINAL WHERE $__timeFilter(start) AND @scope
                GROUP BY time, model ORDER BY time
            """),
            (12, 8),
            name="${__field.labels.model}",
            minimum=None,
        ),
        timeseries(
            "Bad input",
            "Missing, wrong type, out of bounds, unseen category, wrong width: events per 10,000 by service and kind, the worst window "
            "of each interval. Compare with its own past, not with zero.",
            sql("""
                SELECT $__timeInterval(start) AS time, concat(service, ' ', kind) AS series, max(per_10k) AS bad
                FROM quality_windows FINAL WHERE $__timeFilter(start) AND @scope
                GROUP BY time, series ORDER BY time
            """),
            (12, 8),
            name="${__field.labels.series}",
        ),
    ]


def clients(uid: str) -> list[Panel]:
    """Who is it. ``uid`` is the dashboard that a click on a client opens."""
    return [
        table(
            "Riskiest clients",
            "Clients with the most evidence in the time range: ln of the betting score for copying the model (extraction), searching "
            "for adversarial input (evasion) and asking about training rows (membership). Click a client to see only it.",
            sql("""
                SELECT client, model, argMax(severity, start) AS severity, max(ln_extraction) AS extraction, max(ln_evasion) AS evasion,
                    max(ln_membership) AS membership, sum(n) AS requests, sum(repeats) AS repeated, sum(denied) AS refused,
                    max(start) AS seen
                FROM client_windows FINAL WHERE $__timeFilter(start) AND @scope AND @client
                GROUP BY client, model ORDER BY greatest(extraction, evasion, membership) DESC, client LIMIT 50
            """),
            (14, 9),
            columns=[
                column("client", width=220, link=client_link(uid)),
                column("severity", width=80, words=severities),
                *(column(name, decimals=1) for name in ("extraction", "evasion", "membership")),
            ],
        ),
        timeseries(
            "Evidence of the riskiest",
            "The strongest of the three scores of the ten riskiest clients.",
            sql("""
                SELECT $__timeInterval(start) AS time, client, max(greatest(ln_extraction, ln_evasion, ln_membership)) AS evidence
                FROM client_windows FINAL WHERE $__timeFilter(start) AND @scope AND client IN (
                    SELECT client FROM client_windows WHERE $__timeFilter(start) AND @scope AND @client
                    GROUP BY client ORDER BY max(greatest(ln_extraction, ln_evasion, ln_membership)) DESC LIMIT 10
                )
                GROUP BY time, client ORDER BY time
            """),
            (10, 9),
            name="${__field.labels.client}",
            minimum=None,
        ),
    ]


def trust() -> list[Panel]:
    """Whether all of it arrives, in time, and whether the instances are well."""
    return [
        table(
            "Completeness by instance",
            "Events read / (sent + dropped), as each instance counts them. Below 99.9 % is a ticket: detectors see less than the model. "
            "'quiet' is the time since its last heartbeat; they come every 10 s.",
            sql("""
                SELECT service, instance, model, version, completeness, sent, dropped, received,
                    dateDiff('second', at, toDateTime64($__toTime, 3)) AS quiet
                FROM producers FINAL WHERE $__timeFilter(at) AND @beat AND (service, instance, model, version, at) IN (
                    SELECT service, instance, model, version, max(at) FROM producers WHERE $__timeFilter(at) AND @beat
                    GROUP BY service, instance, model, version
                )
                ORDER BY completeness, quiet DESC LIMIT 200
            """),
            (12, 8),
            columns=[
                column("completeness", unit="percentunit", decimals=3, steps=((None, "red"), (0.999, "green"))),
                column("quiet", unit="s", steps=((None, "green"), (60, "orange"), (600, "red"))),
            ],
        ),
        timeseries(
            "Rejected by reason",
            "Events that were refused, by reason; the originals are on the dead-letter topic. Accepted and rejected add up to received.",
            sql("""
                SELECT $__timeInterval(start) AS time, reason, sum(refused) AS events
                FROM windows FINAL ARRAY JOIN mapKeys(rejected) AS reason, mapValues(rejected) AS refused
                WHERE $__timeFilter(start) AND @scope
                GROUP BY time, reason ORDER BY time
            """),
            (12, 8),
            name="${__field.labels.reason}",
            bars=True,
        ),
        timeseries(
            "Time to judge",
            "From the end of a window to its judgement, the slowest of each interval: how old what you see is. "
            "It grows when the worker lags behind Kafka.",
            sql("""
                SELECT $__timeInterval(start) AS time, model, max(dateDiff('millisecond', end, judged_at)) / 1000 AS delay
                FROM windows FINAL WHERE $__timeFilter(start) AND @scope
                GROUP BY time, model ORDER BY time
            """),
            (8, 8),
            name="${__field.labels.model}",
            unit="s",
        ),
        timeseries(
            "Memory by instance",
            "Resident memory, from the heartbeats.",
            sql("""
                SELECT $__timeInterval(at) AS time, concat(service, ' ', instance) AS series, max(rss_bytes) AS memory
                FROM producers FINAL WHERE $__timeFilter(at) AND @beat
                GROUP BY time, series ORDER BY time
            """),
            (8, 8),
            name="${__field.labels.series}",
            unit="bytes",
        ),
        timeseries(
            "CPU by instance",
            "Cores in use, from the CPU seconds of the heartbeats since the row before.",
            sql("""
                SELECT $__timeInterval(at) AS time, series, avg(used) AS cores FROM (
                    SELECT at, concat(service, ' ', instance) AS series, row_number() OVER w AS nth,
                        (cpu_seconds - lagInFrame(cpu_seconds) OVER w)
                            / (dateDiff('millisecond', lagInFrame(at) OVER w, at) / 1000) AS used
                    FROM producers FINAL WHERE $__timeFilter(at) AND cpu_seconds > 0 AND @beat
                    WINDOW w AS (
                        PARTITION BY service, instance, model, version ORDER BY at ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
                    )
                ) WHERE nth > 1 AND isFinite(used) AND used >= 0 GROUP BY time, series ORDER BY time
            """),
            (8, 8),
            name="${__field.labels.series}",
        ),
    ]
