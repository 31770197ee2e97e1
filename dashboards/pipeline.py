"""The view of the platform's engineer: does everything arrive, is it judged and stored in time, and are the instances well."""

from dashboards import sections
from dashboards.panels import Column, Panel, View, row, stat, table, timeseries
from dashboards.scope import MODEL, SERVICE, VERSION, Objectives, sql

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
        "What the workers say of themselves comes twice a minute; their /metrics have more, and Prometheus' rules watch them.",
        asked_by="the platform's engineer",
        variables=(MODEL, VERSION, SERVICE),
        panels=(
            row("Through the worker"),
            *_worker(),
            row("The workers themselves"),
            *_workers(),
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
        sections.rejected((16, 8)),
        timeseries(
            "Dead letters",
            "Records that could not be read, since the worker's start, by reason; for judges by topic. The topic `dlq` "
            "has their first 64 KiB, with reason and place in headers. Whatever the model.",
            sql(_by_gauge("dead_letters")),
            (8, 8),
            name="${__field.labels.series}",
        ),
    ]


def _by_gauge(name: str, value: str = "max(value)") -> str:
    """SQL of a gauge that is told apart, as series of worker and what."""
    return f"""
        SELECT $__timeInterval(at) AS time, concat(worker, ' ', splitByChar(':', gauge)[2]) AS series, {value} AS value
        FROM workers FINAL ARRAY JOIN mapKeys(gauges) AS gauge, mapValues(gauges) AS value
        WHERE $__timeFilter(at) AND startsWith(gauge, '{name}:') GROUP BY time, series ORDER BY time, series
    """  # noqa: S608 - names of ours


def _workers() -> list[Panel]:
    return [
        table(
            "Workers",
            "Each worker by its newest word, whatever the model: partitions of events, records that wait for it, its oldest unsaved state, "
            "how often it started again in the time range, and how long it has been quiet. One that is gone stays until it is out of the "
            "range.",
            sql("""
                SELECT worker, argMax(gauges['partitions:shard'], at) AS partitions,
                    argMax(arraySum(mapValues(mapFilter((k, v) -> startsWith(k, 'lag:'), gauges))), at) AS lag,
                    argMax(gauges['snapshot_age_s'], at) AS `snapshot age`,
                    argMax(arraySum(mapValues(mapFilter((k, v) -> startsWith(k, 'snapshot_bytes:'), gauges))), at) AS `snapshot size`,
                    uniqExact(started_at) - 1 AS restarts, max(started_at) AS started,
                    dateDiff('second', max(at), toDateTime64($__toTime, 3)) AS quiet
                FROM workers FINAL WHERE $__timeFilter(at) GROUP BY worker ORDER BY quiet, worker LIMIT 200
            """),
            (24, 6),
            columns=[
                Column(name="snapshot age", unit="s", decimals=1, steps=((None, "green"), (60, "orange"), (300, "red"))),
                Column(name="snapshot size", unit="bytes", decimals=1),
                Column(name="restarts", steps=((None, "transparent"), (1, "orange"), (5, "red"))),
                Column(name="quiet", unit="s", steps=((None, "green"), (60, "orange"))),
            ],
        ),
        timeseries(
            "Kafka lag",
            "Records that wait in the topics, by worker and topic, the most in each interval: behind what the worker's state holds.",
            sql(_by_gauge("lag")),
            (8, 8),
            name="${__field.labels.series}",
        ),
        timeseries(
            "Snapshot age",
            "Age of a worker's oldest snapshot among partitions with something new to save, the most of each interval. After a crash so "
            "much is read again.",
            sql("""
                SELECT $__timeInterval(at) AS time, worker, max(gauges['snapshot_age_s']) AS age
                FROM workers FINAL WHERE $__timeFilter(at) GROUP BY time, worker ORDER BY time, worker
            """),
            (8, 8),
            name="${__field.labels.worker}",
            unit="s",
        ),
        timeseries(
            "Snapshot size",
            "Bytes of a worker's last snapshots, all partitions together, by owner: shards keep clients, judges models.",
            sql(_by_gauge("snapshot_bytes")),
            (8, 8),
            name="${__field.labels.series}",
            unit="bytes",
        ),
        timeseries(
            "Evictions",
            "State that was given up since the worker's start to stay within a bound, by what it was. A steep line: more clients, models "
            "or instances than `limits` has room for, or somebody who makes them up.",
            sql(_by_gauge("evicted")),
            (8, 8),
            name="${__field.labels.series}",
        ),
        timeseries(
            "Labels",
            "Labels since the worker's start, by what became of them. Many `unknown`: their ids are not those of the events, or they come "
            "later than `labels.wait_s` and `labels.events` allow for.",
            sql(_by_gauge("labels")),
            (8, 8),
            name="${__field.labels.series}",
        ),
        timeseries(
            "Clocks",
            "The shortest time in each interval from the broker's stamp on a record to the worker, and from the worker to the store: what "
            "the way takes, and what the clocks differ by. Below zero the worker's is behind the broker's, or ahead of the store's.",
            sql("""
                SELECT $__timeInterval(at) AS time, worker,
                    min(if(mapContains(gauges, 'least_delay_s'), gauges['least_delay_s'], NULL)) AS broker,
                    min(dateDiff('millisecond', at, inserted_at)) / 1000 AS store
                FROM workers FINAL WHERE $__timeFilter(at) GROUP BY time, worker ORDER BY time, worker
            """),
            (8, 8),
            name="${__field.name} ${__field.labels.worker}",
            unit="s",
            minimum=None,
        ),
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
