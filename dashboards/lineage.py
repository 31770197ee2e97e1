"""Panels of the debug view: which feature views a model's features come from, and how old they are when they are used."""

from dashboards.panels import Column, Panel, table, timeseries
from dashboards.scope import sql

__all__ = ["lineage"]


def lineage() -> list[Panel]:
    """By feature view: its share of the traffic, and the age of its features."""
    return [
        table(
            "Where the features came from",
            "By feature view: the share of the sampled events that name it, and the age of their features when they were used, as the "
            "service says. Empty names are events that say nothing of it. Of the random sample only, so shares are of the traffic.",
            sql("""
                SELECT model, version, feature_view, count() AS events, count() / sum(count()) OVER (PARTITION BY model, version) AS share,
                    quantile(0.5)(feature_age_s) AS `age P50`, quantile(0.95)(feature_age_s) AS `age P95`, max(feature_age_s) AS oldest,
                    max(at) AS newest
                FROM sampled_events FINAL WHERE $__timeFilter(at) AND @scope AND reason = 'random'
                GROUP BY model, version, feature_view ORDER BY model, version, events DESC LIMIT 200
            """),
            (12, 8),
            columns=[
                Column(name="share", unit="percentunit", decimals=1),
                *(Column(name=name, unit="s", decimals=0) for name in ("age P50", "age P95", "oldest")),
            ],
        ),
        timeseries(
            "Age of the features",
            "95th percentile of the seconds since the oldest feature of a sampled event was computed, by feature view. A line that climbs "
            "is a feature store that is no longer filled: drift that no customer makes. Empty: no service says it.",
            sql("""
                SELECT $__timeInterval(at) AS time, concat(model, ' ', feature_view) AS series, quantile(0.95)(feature_age_s) AS age
                FROM sampled_events FINAL WHERE $__timeFilter(at) AND @scope AND reason = 'random' AND feature_age_s IS NOT NULL
                    AND (model, feature_view) IN (
                        SELECT model, feature_view FROM sampled_events
                        WHERE $__timeFilter(at) AND @scope AND reason = 'random' AND feature_age_s IS NOT NULL
                        GROUP BY model, feature_view ORDER BY max(feature_age_s) DESC, model, feature_view LIMIT 20
                    )
                GROUP BY time, series ORDER BY time
            """),
            (12, 8),
            name="${__field.labels.series}",
            unit="s",
            interval="5m",
        ),
    ]
