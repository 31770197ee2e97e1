"""The view of a model's engineer: which feature moved, how, since when; what the model answers; what came in broken."""

from dashboards.accuracy import accuracy
from dashboards.effects import CURRENT, effects, of_features
from dashboards.lineage import lineage
from dashboards.panels import Column, Panel, Steps, View, bars, row, table, timeseries
from dashboards.scope import FEATURE, MODEL, PSI, SERVICE, SEVERITY, SLOW, VERSION, Objectives, client_column, sql

__all__ = ["debug"]

_BY_FEATURE = "${__field.labels.series}"
_SLOW_S = "toUInt32(greatest(toFloat64(${slow:raw}), 0.01) * 3600)"
_STEPS = 6
_STEP_S = f"greatest(intDiv({_SLOW_S}, {_STEPS}), 1)"
_LATELY = f"start >= $__toTime - toIntervalSecond({_SLOW_S}) AND start <= $__toTime"
_SLIDING = f"start >= $__fromTime - toIntervalSecond({_SLOW_S}) AND start <= $__toTime"
_MOVED = """
    (model, version, feature) IN (
        SELECT model, version, feature FROM feature_windows WHERE $__timeFilter(start) AND @scope AND @feature
        GROUP BY model, version, feature ORDER BY max(log_evidence) DESC, feature LIMIT @top
    )
"""


def debug(objectives: Objectives) -> View:
    """The view, with its lines at the objectives.

    >>> [variable.name for variable in debug(Objectives()).variables]
    ['model', 'version', 'service', 'feature', 'slow']
    """
    return View(
        name="debug",
        title="inferwatch / Debug",
        description="Each feature of a model: its distribution, how far and how surely it moved, what is missing; answers, accuracy, "
        "versions, events and where their features came from.",
        asked_by="a model's engineer",
        variables=(MODEL, VERSION, SERVICE, FEATURE, SLOW),
        panels=(
            row("Features"),
            *_features(objectives),
            row("Answers"),
            *_answers(),
            row("Right or wrong"),
            *accuracy(),
            row("Versions and bad input"),
            *_versions(),
            row("Events, and where their features came from"),
            *lineage(),
            _events(),
        ),
        span="24h",
        refresh="1m",
    )


def _moved(text: str, top: int) -> str:
    return sql(text.replace("@moved", _MOVED.replace("@top", str(top))))


def _features(objectives: Objectives) -> list[Panel]:
    def over_time(
        title: str, description: str, measure: str, *, unit: str = "short", minimum: float | None = 0.0, steps: Steps = ()
    ) -> Panel:
        text = f"""
            SELECT $__timeInterval(start) AS time, concat(model, ' ', version, ' ', feature) AS series, max({measure}) AS value
            FROM feature_windows FINAL WHERE $__timeFilter(start) AND @scope AND @moved
            GROUP BY time, series ORDER BY time, series
        """  # noqa: S608 - a column's name, from below
        return timeseries(title, description, _moved(text, 10), (8, 9), name=_BY_FEATURE, unit=unit, minimum=minimum, steps=steps)

    return [
        table(
            "What moved",
            "Features of the time range, the surest first. 'now' is the newest window with events. PSI and W1 (in the reference's "
            "standard deviations) say how far, ln evidence how sure; 'slow' is of all windows of the last hours (Slow window, above) "
            "together. 'since' is the first window of the range in which the feature led a ticket or a page.",
            _moved(
                """
                SELECT severity, model, version, feature, kind, `PSI now`, `PSI worst`, psi AS `PSI slow`, `W1 now`, w1 AS `W1 slow`,
                    `ln evidence now`, `ln evidence most`, total AS events, missing, unseen, below, above, since
                FROM (
                    SELECT argMaxIf(severity, start, n > 0) AS severity, model, version, feature, any(kind) AS kind,
                        argMaxIf(psi, start, n > 0) AS `PSI now`, max(psi) AS `PSI worst`, argMaxIf(w1, start, n > 0) AS `W1 now`,
                        argMaxIf(log_evidence, start, n > 0) AS `ln evidence now`,
                        max(log_evidence) AS `ln evidence most`, sum(n) AS total, sum(missing) AS missing, sum(unseen) AS unseen,
                        sum(below) AS below, sum(above) AS above, nullIf(minIf(start, feature_windows.severity != ''), toDateTime64(0, 3,
                            'UTC')) AS since
                    FROM feature_windows FINAL WHERE $__timeFilter(start) AND @scope AND @moved
                    GROUP BY model, version, feature
                ) AS fast LEFT JOIN (@slow) AS slow USING (model, version, feature)
                ORDER BY `ln evidence most` DESC, feature
                """.replace("@slow", effects(f"{_LATELY} AND @scope AND @moved", _LATELY)),
                100,
            ),
            (24, 9),
            columns=[
                SEVERITY,
                *(Column(name=name, decimals=3, steps=PSI) for name in ("PSI now", "PSI worst", "PSI slow")),
                *(Column(name=name, decimals=3) for name in ("W1 now", "W1 slow")),
                *(Column(name=f"ln evidence {when}", decimals=1, steps=objectives.drift_steps()) for when in ("now", "most")),
            ],
        ),
        _distribution(),
        over_time(
            "PSI",
            "Population stability index of the ten surest features chosen, the largest of each interval. Small windows have large PSI.",
            "psi",
            steps=PSI,
        ),
        over_time(
            "W1",
            "Wasserstein-1 distance from the reference, in its standard deviations, of the ten surest features, the largest of each "
            "interval.",
            "w1",
        ),
        *(_slowly(title, measure, steps) for title, measure, steps in (("PSI", "psi", PSI), ("W1", "w1", ()), ("KS", "ks", ()))),
        over_time(
            "Evidence by feature",
            "ln of each feature's own score. The dashed lines are ticket and page; the model pages on all its features together.",
            "log_evidence",
            minimum=None,
            steps=objectives.drift_steps(),
        ),
        over_time(
            "Missing",
            "Share of events that came without the feature, the most of each interval.",
            "missing / greatest(n + missing, 1)",
            unit="percentunit",
        ),
        over_time(
            "Unseen",
            "Share of events with a value that the reference does not know (of a category), the most of each interval.",
            "unseen / greatest(n, 1)",
            unit="percentunit",
        ),
        over_time(
            "Out of range",
            "Share of events below or above all values of the reference, the most of each interval.",
            "(below + above) / greatest(n, 1)",
            unit="percentunit",
        ),
    ]


def _slowly(title: str, measure: str, steps: Steps) -> Panel:
    """A measure over slow windows."""
    rows = effects(f"{_SLIDING} AND @scope AND @moved", _SLIDING, step_s=_STEP_S, steps=_STEPS)
    return timeseries(
        f"{title}, slow window",
        f"{title} of the ten surest features over all windows of a slow window (above: its hours) together: counts are added up first, so "
        "the noise of small windows is gone, and a slow drift shows. A point stands where the last sixth of its slow window begins (the "
        "first one at the begin of the range), which may not be over at the end of the range.",
        _moved(
            f"SELECT greatest(at, $__fromTime) AS time, concat(model, ' ', version, ' ', feature) AS series, {measure} AS value "  # noqa: S608 - a column's name, from above
            f"FROM ({rows}) WHERE at > $__fromTime - toIntervalSecond({_STEP_S}) AND at <= $__toTime ORDER BY time, series",
            10,
        ),
        (8, 9),
        name=_BY_FEATURE,
        minimum=0.0,
        steps=steps,
    )


def _distribution() -> Panel:
    return bars(
        "Reference against current",
        "Share of the events in each bin of the two features that moved most: what the reference expects at these hours, and what came, in "
        "the last tenth of the time range and in all of it. Windows of an earlier reference, with other bins, are left out. A bin's upper "
        "end belongs to it. Choose a feature above to see it alone.",
        _moved(
            """
            WITH $__toTime - toIntervalSecond(intDiv(toUnixTimestamp($__toTime) - toUnixTimestamp($__fromTime), 10)) AS recently
            SELECT concat(if(models > 1, concat(model, ' ', version, ' '), ''), feature, ': ', if(name = '', toString(cell), name)) AS bin,
                if(due_in_all > 0, due / due_in_all, NULL) AS reference,
                if(now_in_all > 0, now / now_in_all, NULL) AS newest_tenth, ever / greatest(ever_in_all, 1) AS whole_range
            FROM (
                SELECT model, version, feature, sumForEach(cells) AS ever, sumForEachIf(cells, start >= recently) AS now,
                    sumForEachIf(arrayMap(x -> x * n, expected), start >= recently) AS due_now,
                    if(empty(due_now), sumForEach(arrayMap(x -> x * n, expected)), due_now) AS due, argMax(cell_names, start) AS names,
                    arraySum(ever) AS ever_in_all, arraySum(now) AS now_in_all, arraySum(due) AS due_in_all,
                    uniq(model, version) OVER () AS models
                FROM @rows
                GROUP BY model, version, feature
            )
            ARRAY JOIN ever AS ever, arrayResize(now, length(ever)) AS now, arrayResize(due, length(ever)) AS due,
                arrayResize(names, length(ever)) AS name, arrayEnumerate(ever) AS cell
            ORDER BY model, version, feature, cell LIMIT 400
            """.replace("@rows", of_features(f"$__timeFilter(start) AND @scope AND @moved AND {CURRENT}")).replace(
                "@when", "$__timeFilter(start)"
            ),
            2,
        ),
        (24, 9),
        unit="percentunit",
    )


def _answers() -> list[Panel]:
    return [
        timeseries(
            "Classes",
            "Share of each predicted class, by model version and interval; the twenty most frequent.",
            sql("""
                SELECT $__timeInterval(start) AS time, concat(model, ' ', version, ' ', class) AS series,
                    sum(k) / any(total) AS share
                FROM (
                    SELECT start, model, version, class, k, sum(k) OVER (PARTITION BY model, version, $__timeInterval(start)) AS total
                    FROM windows FINAL ARRAY JOIN mapKeys(classes) AS class, mapValues(classes) AS k
                    WHERE $__timeFilter(start) AND @scope
                )
                WHERE class IN (
                    SELECT class FROM windows ARRAY JOIN mapKeys(classes) AS class, mapValues(classes) AS k
                    WHERE $__timeFilter(start) AND @scope GROUP BY class ORDER BY sum(k) DESC, class LIMIT 20
                )
                GROUP BY time, series ORDER BY time, series
            """),
            (12, 9),
            name="${__field.labels.series}",
            unit="percentunit",
            stacked=True,
            interval="5m",
        ),
        bars(
            "Scores",
            "How sure the model was: largest score of the events that were sampled at random, in steps of 0.05. A shift to the left is a "
            "model that has become unsure. Only services that send scores appear.",
            sql("""
                SELECT toString(round(least(floor(arrayMax(scores) * 20 + 1e-4), 19) / 20, 2)) AS score,
                    count() / any(total) AS share
                FROM (
                    SELECT scores, count() OVER () AS total FROM sampled_events FINAL
                    WHERE $__timeFilter(at) AND @scope AND reason = 'random' AND notEmpty(scores)
                )
                GROUP BY score ORDER BY toFloat64(score)
            """),
            (12, 9),
            unit="percentunit",
        ),
    ]


def _versions() -> list[Panel]:
    return [
        table(
            "Versions",
            "One row a model version in the time range, the newest first: what it was asked, how it answered, how far its traffic is from "
            "its reference. P95 is the median of the windows' P95.",
            sql("""
                SELECT model, version, min(start) AS first, max(start) AS last, sum(n) AS requests, sum(errors) / greatest(sum(n),
                    1) AS failed,
                    sum(denied) / greatest(sum(n), 1) AS refused, quantile(0.5)(latency_p95) AS P95, max(drift_log_evidence) AS drift,
                    argMax(reference, start) AS reference, sum(n_effective) / greatest(sum(n), 1) AS effective
                FROM windows FINAL WHERE $__timeFilter(start) AND @scope
                GROUP BY model, version ORDER BY last DESC, model, version LIMIT 200
            """),
            (12, 8),
            columns=[
                *(Column(name=name, unit="percentunit", decimals=2) for name in ("failed", "refused", "effective")),
                Column(name="P95", unit="ms", decimals=1),
                Column(name="drift", decimals=1),
            ],
        ),
        timeseries(
            "Validation failures",
            "Events refused or marked by the checks (missing, wrong type, out of bounds, unseen category, wrong width, duplicate, ...), by "
            "kind and interval.",
            sql("""
                SELECT $__timeInterval(start) AS time, kind, sum(n) AS events
                FROM quality_windows FINAL WHERE $__timeFilter(start) AND @scope AND @service
                GROUP BY time, kind ORDER BY time, kind
            """),
            (12, 8),
            name="${__field.labels.kind}",
            stacked=True,
            interval="5m",
        ),
    ]


def _events() -> Panel:
    return table(
        "Sampled events",
        "The hundred newest events that were kept whole: a few of each window at random, and those that tipped a scale (evidence). The "
        "trace "
        "id leads to the request in your tracing system. Values are shown shortened.",
        sql("""
            SELECT at, model, version, event_id, trace_id, client, prediction, arrayMax(scores) AS score, latency_ms AS latency, status,
                reason, feature_view, feature_age_s AS age,
                substring(toString(features), 1, 300) AS features, substring(toString(categories), 1, 200) AS categories
            FROM sampled_events FINAL WHERE $__timeFilter(at) AND @scope AND (model, version, at, event_id) IN (
                SELECT model, version, at, event_id FROM sampled_events WHERE $__timeFilter(at) AND @scope AND @service
                ORDER BY at DESC LIMIT 100
            )
            ORDER BY at DESC, event_id LIMIT 100
        """),
        (24, 10),
        columns=[
            client_column(),
            Column(name="latency", unit="ms", decimals=1),
            Column(name="score", decimals=3),
            Column(name="age", unit="s", decimals=0),
        ],
    )
