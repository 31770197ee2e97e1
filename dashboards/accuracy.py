"""Panels on how right a model is: by delayed labels, by its own confidence, and where the two disagree."""

from dashboards.measures import measures
from dashboards.panels import Column, Panel, table, timeseries
from dashboards.scope import sql

__all__ = ["accuracy"]


def accuracy() -> list[Panel]:
    """Measured and estimated accuracy over time, labels by delay, and model versions side by side.

    >>> [panel.title for panel in accuracy()]
    ['Accuracy', 'Labels', 'AUC and F1', 'Right and promised']
    """
    return [
        timeseries(
            "Accuracy",
            "Share of right answers by the time of the request. 'measured' is of the answers with a label so far; it fills up while labels "
            "come. 'estimated' needs none: it is what the model's confidence let expect, between 'low' and 'high' with 95 %, as long as "
            "confidence means what it meant on the reference's rows.",
            sql("""
                SELECT time, series, value FROM (
                    SELECT $__timeInterval(start) AS time, concat(model, ' ', version, ' measured') AS series,
                        1 - sum(errors) / sum(n) AS value
                    FROM accuracy_windows FINAL WHERE $__timeFilter(start) AND @scope AND n > 0 GROUP BY time, series
                    UNION ALL
                    SELECT $__timeInterval(start) AS time, concat(model, ' ', version, ' ', figure.1) AS series,
                        sum(figure.2 * (n - unscored)) / greatest(sum(n - unscored), 1) AS value
                    FROM (
                        SELECT model, version, start, n, unscored,
                            arrayJoin([('estimated', accuracy), ('low', low), ('high', high)]) AS figure
                        FROM accuracy_estimates FINAL WHERE $__timeFilter(start) AND @scope
                    ) GROUP BY time, series
                )
                ORDER BY time, series
            """),
            (12, 9),
            name="${__field.labels.series}",
            unit="percentunit",
            minimum=None,
            maximum=1.0,
            interval="5m",
        ),
        timeseries(
            "Labels",
            "Labels by the time of their request, by how long after it they came: up to a minute, an hour, a day, a week, more.",
            sql("""
                SELECT $__timeInterval(start) AS time, delay, sum(n + value_n) AS labels
                FROM accuracy_windows FINAL WHERE $__timeFilter(start) AND @scope
                GROUP BY time, delay ORDER BY time, delay
            """),
            (12, 9),
            name="${__field.labels.delay}",
            stacked=True,
            interval="5m",
        ),
        timeseries(
            "AUC and F1",
            "Over the labels that came so far, by the time of the request: how well scores put the true class first (0.5 is chance), and "
            "how answers fare where classes are rare. Few labels in an interval make both jump.",
            sql(
                "SELECT time, concat(model, ' ', version) AS series, auc AS AUC, f1 AS F1 FROM (@measures) ORDER BY time, series".replace(
                    "@measures",
                    measures({"time": "$__timeInterval(start)", "model": "model", "version": "version"}, "$__timeFilter(start) AND @scope"),
                )
            ),
            (24, 8),
            name="${__field.name} ${__field.labels.series}",
            unit="none",
            minimum=None,
            maximum=1.0,
            interval="5m",
        ),
        table(
            "Right and promised",
            "Model versions by the delay of their labels, the newest first. 'promised' is the accuracy that the confidence of the same "
            "labelled answers let expect; a gap to 'accuracy' is a concept shift, or labels that are no fair sample. AUC is of the scores, "
            "the exact one within +-; F1 of the answers: of the second class where there are two, else the mean over classes. MAE is of a "
            "regression: what its answers are off on average, in its own unit.",
            sql(
                """
                SELECT model, version, delay, labels, accuracy, promised, `log loss`, auc AS AUC, auc_error AS `AUC +-`, f1 AS F1,
                    MAE, newest
                FROM (
                    SELECT model, version, delay, sum(n + value_n) AS labels,
                        if(sum(n) > 0, 1 - sum(errors) / sum(n), NULL) AS accuracy,
                        if(sum(value_n) > 0, toString(round(sum(abs_error) / sum(value_n), 6)), '') AS MAE,
                        if(sum(expected_n) > 0, 1 - sum(expected_errors) / sum(expected_n), NULL) AS promised,
                        if(sum(log_loss_n) > 0, sum(log_loss) / sum(log_loss_n), NULL) AS `log loss`, max(known_at) AS newest
                    FROM accuracy_windows FINAL WHERE $__timeFilter(start) AND @scope GROUP BY model, version, delay
                ) AS w LEFT JOIN (@measures) AS m USING (model, version, delay)
                ORDER BY newest DESC, model, version, delay LIMIT 200
            """.replace("@measures", measures({name: name for name in ("model", "version", "delay")}, "$__timeFilter(start) AND @scope"))
            ),
            (24, 7),
            columns=[
                *(Column(name=name, unit="percentunit", decimals=2) for name in ("accuracy", "promised")),
                *(Column(name=name, decimals=3) for name in ("log loss", "AUC", "F1")),
                Column(name="AUC +-", decimals=4),
            ],
        ),
    ]
