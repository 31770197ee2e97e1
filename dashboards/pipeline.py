"""The view of the platform's engineer: does everything arrive, is it judged and stored in time, and are the instances well."""

from dashboards import sections
from dashboards.panels import Panel, View, row, stat, table, timeseries
from dashboards.scope import MODEL, VERSION, Objectives, sql

__all__ = ["pipeline"]

_TABLES = (
    ("windows", "start", "@scope"),
    ("feature_windows", "start", "@scope"),
    ("client_windows", "start", "@scope"),
    ("quality_windows", "start", "@scope"),
    ("service_windows", "start", "@scope"),
    ("alerts", "at", "@scope"),
    ("sampled_events", "at", "@scope"),
    ("producers", "at", "@beat"),
)


def pipeline(objectives: Objectives) -> View:
    """The view, with its lines at the objectives.

    >>> pipeline(Objectives()).variables[0].name
    'model'
    """
    return View(
        name="pipeline",
        title="inferwatch / Pipeline health",
        description="Throughput, delay, what was refused or late, what reached the store when, completeness and health of the instances. "
        "The worker's own counters (Kafka lag, snapshots, evictions) are on its /metrics.",
        asked_by="the platform's engineer",
        variables=(MODEL, VERSION),
        panels=(
            row("Through the worker"),
            *_worker(),
            row("Into the store"),
            *_store(),
            row("From the services"),
            *_services(objectives),
        ),
    )


def _worker() -> list[Panel]:
    return [
        stat(
            "Events in the time range",
            "Accepted by the worker, refused with a reason, and late: of a window that was judged already, counted into the next one.",
            sql("""
                SELECT sum(accepted) AS accepted, sum(arraySum(mapValues(rejected))) AS refused, sum(late) AS late
                FROM windows FINAL WHERE $__timeFilter(start) AND @scope
            """),
            (24, 4),
            steps=((None, "blue"),),
        ),
        sections.request_rate((8, 8)),
        sections.time_to_judge((8, 8)),
        timeseries(
            "Late events",
            "Share of events whose window was judged before they came, by model. Many: `window.settle_s` is too short for these services.",
            sql("""
                SELECT $__timeInterval(start) AS time, model, sum(late) / greatest(sum(n), 1) AS late
                FROM windows FINAL WHERE $__timeFilter(start) AND @scope
                GROUP BY time, model ORDER BY time
            """),
            (8, 8),
            name="${__field.labels.model}",
            unit="percentunit",
        ),
        sections.rejected((24, 8)),
    ]


def _store() -> list[Panel]:
    each = " UNION ALL ".join(
        f"SELECT '{name}' AS table, count() AS rows, max({at}) AS newest, max(inserted_at) AS stored FROM {name} "  # noqa: S608 - ours
        f"WHERE $__timeFilter({at}) AND {scope}"
        for name, at, scope in _TABLES
    )
    return [
        table(
            "Tables",
            "Rows of the time range as they are stored, so one that was sent twice counts twice until the next merge; the newest row's own "
            "time, and when the last one came in.",
            sql(f"SELECT table, rows, newest, stored FROM ({each}) WHERE rows > 0 ORDER BY table"),  # noqa: S608 - ours
            (12, 9),
        ),
        timeseries(
            "Time to store",
            "From a window's judgement to its row in ClickHouse, the slowest of each interval. A row that was sent again after a restart "
            "shows when it came last. Below zero, the clocks of worker and store differ.",
            sql("""
                SELECT $__timeInterval(start) AS time, model, max(dateDiff('millisecond', judged_at, inserted_at)) / 1000 AS delay
                FROM windows FINAL WHERE $__timeFilter(start) AND @scope
                GROUP BY time, model ORDER BY time
            """),
            (12, 9),
            name="${__field.labels.model}",
            unit="s",
            minimum=None,
        ),
    ]


def _services(objectives: Objectives) -> list[Panel]:
    return [
        sections.completeness(objectives, (24, 8)),
        timeseries(
            "Completeness by service",
            "Events read / (sent + dropped), the worst instance of each service and interval.",
            sql("""
                SELECT $__timeInterval(at) AS time, service, min(completeness) AS arrived
                FROM producers FINAL WHERE $__timeFilter(at) AND @beat AND completeness IS NOT NULL
                GROUP BY time, service ORDER BY time
            """),
            (8, 8),
            name="${__field.labels.service}",
            unit="percentunit",
            minimum=None,
            maximum=1.0,
        ),
        timeseries(
            "Instances",
            "Instances with a heartbeat, by service. An instance that restarts has another name: a step up without a step down before is a "
            "new instance, a saw is one that keeps dying.",
            sql("""
                SELECT $__timeInterval(at) AS time, service, uniqExact(instance) AS instances
                FROM producers FINAL WHERE $__timeFilter(at) AND @beat
                GROUP BY time, service ORDER BY time
            """),
            (8, 8),
            name="${__field.labels.service}",
        ),
        timeseries(
            "Dropped in the services",
            "Events that a service threw away since its start because its buffer was full, by instance: Kafka was slow or away for it.",
            sql("""
                SELECT $__timeInterval(at) AS time, concat(service, ' ', instance) AS series, max(dropped) AS dropped
                FROM producers FINAL WHERE $__timeFilter(at) AND @beat
                GROUP BY time, series ORDER BY time
            """),
            (8, 8),
            name="${__field.labels.series}",
        ),
        *sections.resources(),
    ]
