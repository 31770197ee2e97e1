"""Panels that several views show, in groups that answer one question each."""

from dashboards.panels import Column, Link, Panel, table, timeseries
from dashboards.scope import PSI, SEVERITY, Objectives, client_column, model_column, of_clients, sql

__all__ = [
    "clients", "completeness", "drift", "newest", "rejected", "request_rate", "resources",
    "riskiest", "time_to_judge", "traffic", "trust",
]  # fmt: skip

# The newest transition of each alert, as far as the end of the time range: so an old range shows what was open then.
_NEWEST = """
    SELECT * FROM alerts FINAL WHERE at <= $__toTime AND @about
    ORDER BY at DESC, revision DESC LIMIT 1 BY alert_id
"""


def newest(text: str, about: str = "@scope AND @about_client") -> str:
    """Panel SQL with the newest word on each alert as ``@newest``."""
    return sql(text.replace("@newest", _NEWEST.replace("@about", about, 1)))


def request_rate(span: tuple[int, int]) -> Panel:
    """How much."""
    return timeseries(
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
        span,
        name="${__field.labels.model}",
        unit="reqps",
    )


def traffic(objectives: Objectives) -> list[Panel]:
    """How much, how fast, how well."""
    own = objectives.differ("latency_ms")
    return [
        request_rate((8, 8)),
        timeseries(
            "Latency",
            "P50, P95 and P99 of answered requests, the worst window of each interval (percentiles of windows do not average). "
            f"From log-spaced bins, so exact to 2 %. {'A line each' if own else 'The dashed line'} is the objective for P95.",
            sql(
                objectives.fill(
                    """
                    SELECT $__timeInterval(start) AS time, model,
                        max(latency_p50) AS P50, max(latency_p95) AS P95, max(latency_p99) AS P99 @own
                    FROM windows FINAL WHERE $__timeFilter(start) AND @scope
                    GROUP BY time, model ORDER BY time
                    """.replace(" @own", ", min(@promised_latency) AS objective" if own else "")
                )
            ),
            (8, 8),
            name="${__field.name} ${__field.labels.model}",
            unit="ms",
            steps=() if own else ((None, "green"), (objectives.latency_p95_ms, "orange")),
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


def drift(objectives: Objectives) -> list[Panel]:
    """What moved, how far, how surely, since when."""
    return [
        table(
            "Drift now",
            "The newest window with events of each model version, surest feature first. PSI and W1 (in reference standard deviations) "
            "say how far, ln evidence how sure: a large PSI of a small window is noise, a small one with much evidence is a small, real "
            "shift.",
            sql("""
                SELECT severity, model, version, feature, kind, psi AS PSI, w1 AS W1, log_evidence AS `ln evidence`,
                    n AS events, missing, unseen, below + above AS outside, start AS window
                FROM feature_windows FINAL WHERE $__timeFilter(start) AND @scope AND (model, version, start) IN (
                    SELECT model, version, max(start) FROM feature_windows WHERE $__timeFilter(start) AND @scope AND n > 0
                    GROUP BY model, version
                )
                ORDER BY log_evidence DESC, psi DESC LIMIT 100
            """),
            (12, 10),
            columns=[
                SEVERITY,
                model_column(),
                Column(name="feature", link=Link(title="This feature", view="debug", values={"model": "model", "feature": "feature"})),
                Column(name="PSI", decimals=3, steps=PSI),
                Column(name="W1", decimals=3),
                Column(name="ln evidence", decimals=1),
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
            "is. The dashed lines are the ticket and, a factor 100 above, the page of the settings' budget.",
            sql("""
                SELECT $__timeInterval(start) AS time, model, max(drift_log_evidence) AS evidence
                FROM windows FINAL WHERE $__timeFilter(start) AND @scope
                GROUP BY time, model ORDER BY time
            """),
            (8, 8),
            name="${__field.labels.model}",
            minimum=None,
            steps=objectives.drift_steps(),
        ),
        timeseries(
            "Features beyond materiality",
            "Share of a model's features that lie beyond `drift.materiality` for sure: each with evidence enough for a ticket by itself. "
            "The largest of each interval.",
            sql("""
                SELECT $__timeInterval(start) AS time, model, max(features_beyond / features) AS beyond
                FROM windows FINAL WHERE $__timeFilter(start) AND @scope AND features > 0
                GROUP BY time, model ORDER BY time
            """),
            (8, 8),
            name="${__field.labels.model}",
            unit="percentunit",
        ),
        timeseries(
            "Bad input",
            "Missing, wrong type, out of bounds, unseen category, wrong width: events per 10,000 by service and kind, the worst window "
            "of each interval. Compare with its own past, not with zero.",
            sql("""
                SELECT $__timeInterval(start) AS time, concat(service, ' ', kind) AS series, max(per_10k) AS bad
                FROM quality_windows FINAL WHERE $__timeFilter(start) AND @scope AND @service
                GROUP BY time, series ORDER BY time
            """),
            (8, 8),
            name="${__field.labels.series}",
        ),
    ]


def riskiest(objectives: Objectives, span: tuple[int, int]) -> Panel:
    """Who is it."""
    return table(
        "Riskiest clients",
        "Clients with the most evidence in the time range: ln of the betting score for copying the model (extraction), searching "
        "for adversarial input (evasion) and asking about training rows (membership). Click a client for all that it did.",
        of_clients(
            """
            SELECT client, model, argMax(severity, start) AS severity, max(ln_extraction) AS extraction, max(ln_evasion) AS evasion,
                max(ln_membership) AS membership, sum(n) AS requests, max(repeats) AS repeated, sum(denied) AS refused, max(start) AS seen
            FROM @rows GROUP BY client, model ORDER BY greatest(extraction, evasion, membership) DESC, client LIMIT 50
            """,
            200,
        ),
        span,
        columns=[
            client_column(width=220),
            SEVERITY,
            *(Column(name=name, decimals=1, steps=objectives.client_steps()) for name in ("extraction", "evasion", "membership")),
        ],
    )


def clients(objectives: Objectives) -> list[Panel]:
    """Who is it, and since when."""
    return [
        riskiest(objectives, (14, 9)),
        timeseries(
            "Evidence of the riskiest",
            "The strongest of the three scores of the ten riskiest clients. The dashed lines are the ticket and the page of the "
            "settings' budget.",
            of_clients(
                """
                SELECT $__timeInterval(start) AS time, client, max(@strongest) AS evidence FROM @rows GROUP BY time, client
                ORDER BY time, client
                """,
                10,
            ),
            (10, 9),
            name="${__field.labels.client}",
            minimum=None,
            steps=objectives.client_steps(),
        ),
    ]


def completeness(objectives: Objectives, span: tuple[int, int]) -> Panel:
    """Whether all events arrive."""
    return table(
        "Completeness by instance",
        "Events read / (sent + dropped), as each instance counts them. Below the model's objective is a ticket: detectors see less than "
        "the model. 'quiet' is the time since its last heartbeat; they come every 10 s.",
        sql(
            objectives.fill("""
                SELECT service, instance, model, version, completeness, @promised_completeness AS objective,
                    multiIf(completeness IS NULL, '', completeness < objective, 'no', 'yes') AS enough, sent, dropped, received,
                    dateDiff('second', at, toDateTime64($__toTime, 3)) AS quiet
                FROM producers FINAL WHERE $__timeFilter(at) AND @beat AND (service, instance, model, version, at) IN (
                    SELECT service, instance, model, version, max(at) FROM producers WHERE $__timeFilter(at) AND @beat
                    GROUP BY service, instance, model, version
                )
                ORDER BY completeness, quiet DESC LIMIT 200
            """)
        ),
        span,
        columns=[
            Column(name="completeness", unit="percentunit", decimals=3),
            Column(name="objective", unit="percentunit", decimals=3),
            Column(name="enough", words={"no": "red", "yes": "green"}),
            Column(name="quiet", unit="s", steps=((None, "green"), (60, "orange"), (600, "red"))),
        ],
    )


def rejected(span: tuple[int, int]) -> Panel:
    """What was refused."""
    return timeseries(
        "Rejected by reason",
        "Events that were refused, by reason; the originals are on the dead-letter topic. Accepted and rejected add up to received.",
        sql("""
            SELECT $__timeInterval(start) AS time, reason, sum(refused) AS events
            FROM windows FINAL ARRAY JOIN mapKeys(rejected) AS reason, mapValues(rejected) AS refused
            WHERE $__timeFilter(start) AND @scope
            GROUP BY time, reason ORDER BY time
        """),
        span,
        name="${__field.labels.reason}",
        stacked=True,
    )


def time_to_judge(span: tuple[int, int]) -> Panel:
    """How old what one sees is."""
    return timeseries(
        "Time to judge",
        "From the end of a window to its judgement, the slowest of each interval: how old what you see is. "
        "It grows when the worker lags behind Kafka.",
        sql("""
            SELECT $__timeInterval(start) AS time, model, max(dateDiff('millisecond', end, judged_at)) / 1000 AS delay
            FROM windows FINAL WHERE $__timeFilter(start) AND @scope
            GROUP BY time, model ORDER BY time
        """),
        span,
        name="${__field.labels.model}",
        unit="s",
    )


def trust(objectives: Objectives) -> list[Panel]:
    """Whether all of it arrives, in time, and whether the instances are well."""
    return [
        completeness(objectives, (12, 8)),
        rejected((12, 8)),
        time_to_judge((8, 8)),
        *resources(),
    ]


def resources() -> list[Panel]:
    """What the instances use."""
    return [
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
        timeseries(
            "Saturation by instance",
            "Memory and CPU (mean of a minute) as shares of the container's limit, or of the machine where it has none; GPU, queue and "
            'what else a service tells with `gauge("queue", 40, limit=50)`. Orange from 0.8 on, `objectives.saturation_share` by default: '
            "so much without a break is a ticket.",
            sql("""
                SELECT $__timeInterval(at) AS time, concat(service, ' ', instance, ' ', gauge) AS series, max(value) AS share
                FROM producers FINAL ARRAY JOIN mapKeys(gauges) AS gauge, mapValues(gauges) AS value
                WHERE $__timeFilter(at) AND endsWith(gauge, '_share') AND @beat
                GROUP BY time, series ORDER BY time
            """),
            (8, 8),
            name="${__field.labels.series}",
            unit="percentunit",
            steps=((None, "green"), (0.8, "orange")),
        ),
    ]
