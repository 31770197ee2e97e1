"""The view of security on one client: what it asked, how that differs from ordinary clients, what it was given, who goes with it."""

from dashboards.panels import Column, Link, Panel, View, bars, row, stat, table, timeseries
from dashboards.scope import CLIENT, MODEL, SERVICE, SEVERITY, VERSION, Objectives, client_column, of_clients, sql

__all__ = ["forensics"]

_MOST = 200
"""Clients looked at together where none is chosen; a plot has the first ten."""
_CLASS = "if(prediction != '', prediction, toString(indexOf(scores, arrayMax(scores)) - 1))"


def forensics(objectives: Objectives) -> View:
    """The view, with its lines at the objectives.

    >>> forensics(Objectives()).asked_by
    'security'
    """
    return View(
        name="forensics",
        title="inferwatch / Client forensics",
        description="Choose one client: its requests, the evidence against it, what it was given, its kept queries, alerts and companions.",
        asked_by="security",
        variables=(MODEL, VERSION, SERVICE, CLIENT),
        panels=(
            *_what_it_did(objectives),
            row("What it asked, beside ordinary clients"),
            *_beside_others(),
            row("How alike its questions were"),
            *_alike(),
            row("What it was given"),
            *_given(),
            row("Alerts, companions, kept queries"),
            *_record(),
        ),
        span="24h",
        refresh="1m",
    )


def _what_it_did(objectives: Objectives) -> list[Panel]:
    evidence = """
        SELECT $__timeInterval(start) AS time, max(ln_extraction) AS extraction, max(ln_evasion) AS evasion,
            max(ln_membership) AS membership
        FROM client_windows FINAL WHERE $__timeFilter(start) AND @scope AND @client
        GROUP BY time ORDER BY time
    """
    return [
        stat(
            "In the time range",
            "Of the clients chosen (of all, the 200 with the most evidence): requests, those that failed or were refused, and exact "
            "repeats of an earlier input. A client has a row "
            "only in windows in which it stood out (the 200 first by evidence and volume of each partition).",
            of_clients(
                """
                SELECT sum(n) AS requests, sum(errors) AS failed, sum(denied) AS refused, max(repeats) AS repeats,
                    uniqExact(client) AS clients
                FROM @rows
                """,
                _MOST,
            ),
            (10, 5),
            steps=((None, "blue"),),
        ),
        stat(
            "Strongest evidence",
            "The largest ln of the betting scores in the time range, for copying the model, searching for adversarial input, and asking "
            "about training rows. Coloured as the settings' budget makes a ticket and a page.",
            of_clients(
                "SELECT max(ln_extraction) AS extraction, max(ln_evasion) AS evasion, max(ln_membership) AS membership FROM @rows", _MOST
            ),
            (14, 5),
            steps=objectives.client_steps(),
            decimals=1,
        ),
        timeseries(
            "Requests by client",
            "Requests a second, of the ten clients with the most evidence among those chosen.",
            of_clients(
                """
                SELECT $__timeInterval(start) AS time, client, sum(n) / $__interval_s AS rate FROM @rows
                GROUP BY time, client ORDER BY time, client
                """,
                10,
            ),
            (12, 9),
            name="${__field.labels.client}",
            unit="reqps",
            interval="5m",
        ),
        timeseries(
            "Evidence by family",
            "ln of the betting score, the strongest of the clients chosen. The dashed lines are ticket and page. A score that only climbs "
            "while the client is active is what evidence looks like.",
            of_clients(evidence, _MOST),
            (12, 9),
            minimum=None,
            steps=objectives.client_steps(),
        ),
    ]


def _beside_others() -> list[Panel]:
    return [
        table(
            "Beside ordinary clients",
            "Figures of the chosen clients (the largest) beside percentiles over the clients that had neither ticket nor page, on the "
            "whole days of the time range; where there are thousands, over one in so many, drawn by name. 'Near its 99th percentile' is "
            "unusual, not guilty: one ordinary client in a hundred is there. Choose a client to see it here.",
            sql("""
                SELECT figure, maxIf(value, chosen) AS chosen_client, quantileIf(0.5)(value, ordinary) AS P50,
                    quantileIf(0.95)(value, ordinary) AS P95, quantileIf(0.99)(value, ordinary) AS P99,
                    countIf(ordinary) AS ordinary_clients
                FROM (
                    WITH (SELECT max(n_clients) FROM windows FINAL WHERE $__timeFilter(start) AND @scope) AS many,
                        cityHash64(client) % greatest(1, intDiv(many, 1000)) = 0 AS drawn
                    SELECT @one_of AS chosen, drawn AND max(severity) = '' AS ordinary, arrayJoin([
                        ('requests in one window', toFloat64(max(n))), ('failed in one window', toFloat64(max(errors))),
                        ('refused in one window', toFloat64(max(denied))), ('exact repeats so far', toFloat64(max(repeats))),
                        ('distinct answers so far', max(evidence['distinct_answers'])),
                        ('members touched so far', max(evidence['members_touched'])),
                        ('flagged answers so far', max(evidence['flagged_answers'])), ('copy agreement', max(evidence['copy_agreement']))
                    ]) AS pair, pair.1 AS figure, pair.2 AS value
                    FROM client_windows WHERE @days AND @scope AND (drawn OR @one_of) GROUP BY client @as_projected
                )
                GROUP BY figure ORDER BY figure
            """),
            (12, 10),
            columns=[Column(name=name, decimals=2) for name in ("chosen_client", "P50", "P95", "P99")],
        ),
        bars(
            "Answers by class",
            "Share of each predicted class among the kept events of the chosen clients, beside all events that were kept at random. Few "
            "events of one client are kept: read it with their number in mind.",
            sql(f"""
                SELECT class, countIf(chosen) / any(of_chosen) AS `chosen clients`, countIf(reason = 'random') / any(of_all) AS everybody
                FROM (
                    SELECT {_CLASS} AS class, @client AS chosen, reason, greatest(countIf(chosen) OVER (), 1) AS of_chosen,
                        greatest(countIf(reason = 'random') OVER (), 1) AS of_all
                    FROM sampled_events FINAL WHERE $__timeFilter(at) AND @scope AND (prediction != '' OR notEmpty(scores))
                )
                GROUP BY class ORDER BY everybody DESC, class LIMIT 30
            """),  # noqa: S608 - an expression of ours
            (6, 10),
            unit="percentunit",
        ),
        bars(
            "Margins",
            "How far the two largest scores lay apart, in steps of 0.1: near 0 is the decision boundary, where adversarial search goes. Of "
            "kept events, as beside.",
            sql("""
                SELECT toString(least(floor(margin * 10 + 1e-4), 9) / 10) AS margin_from,
                    countIf(chosen) / any(of_chosen) AS `chosen clients`, countIf(reason = 'random') / any(of_all) AS everybody
                FROM (
                    SELECT arrayReverseSort(scores) AS sorted, sorted[1] - sorted[2] AS margin, @client AS chosen, reason,
                        greatest(countIf(chosen) OVER (), 1) AS of_chosen, greatest(countIf(reason = 'random') OVER (), 1) AS of_all
                    FROM sampled_events FINAL WHERE $__timeFilter(at) AND @scope AND length(scores) > 1
                )
                GROUP BY margin_from ORDER BY toFloat64(margin_from)
            """),
            (6, 10),
            unit="percentunit",
        ),
    ]


def _alike() -> list[Panel]:
    return [
        timeseries(
            "Near rows",
            "Share of a client's different questions that lie next to one of its earlier questions, so far: an adversarial search takes "
            "small steps, whoever edits a form too. Of the ten clients with the most evidence.",
            of_clients(
                """
                SELECT $__timeInterval(start) AS time, client, max(evidence['near_rows']) / max(evidence['distinct_rows']) AS share
                FROM @rows WHERE evidence['distinct_rows'] > 0 GROUP BY time, client ORDER BY time, client
                """,
                10,
            ),
            (8, 8),
            name="${__field.labels.client}",
            unit="percentunit",
        ),
        table(
            "Repeats and near rows",
            "By client, so far: different questions, exact repeats of one that was just asked, those near an earlier one, those that share "
            "most fields with it, and how often the answer flipped between near ones.",
            of_clients(
                """
                SELECT client, max(evidence['distinct_rows']) AS different, max(repeats) AS repeats, max(evidence['near_rows']) AS near,
                    max(evidence['edited_rows']) AS edited, max(evidence['near_flips']) AS flips
                FROM @rows GROUP BY client ORDER BY near DESC, repeats DESC, client LIMIT 200
                """,
                _MOST,
            ),
            (16, 8),
            columns=[client_column(), *(Column(name=name, decimals=0) for name in ("different", "repeats", "near", "edited", "flips"))],
        ),
        table(
            "Chains that alerts rest on",
            "What an alert counted: hits among the questions that could be judged, beside near rows and repeats at that "
            "moment, the event that tipped the scale, and the client's last questions in the same record, oldest first, eight at most: "
            "event id, answer, features changed since the one before. Where the record had no other, the kept ones nearest in time.",
            sql(f"""
                WITH alerts_here AS (
                    SELECT * FROM alerts FINAL WHERE $__timeFilter(at) AND @scope AND @about_client AND JSONHas(evidence, 'near_rows')
                    ORDER BY at DESC, alert_id LIMIT 200
                )
                SELECT at, client, detector, severity, JSONExtractString(evidence, 'statistic') AS statistic,
                    JSONExtractUInt(evidence, 'hits') AS hits, JSONExtractUInt(evidence, 'judged') AS judged,
                    JSONExtractUInt(evidence, 'near_rows') AS near, JSONExtractUInt(evidence, 'exact_repeats') AS repeats,
                    arrayStringConcat(if(JSONHas(evidence, 'chain'),
                        arrayMap(one -> concat(JSONExtractString(one, 'event_id'), ' ', JSONExtractString(one, 'answer'),
                            if(JSONHas(one, 'changed'), concat(' (', JSONExtractRaw(one, 'changed'), ')'), '')),
                            JSONExtractArrayRaw(evidence, 'chain')),
                        arrayMap(one -> concat(one.2, ' ', one.3), arraySort(one -> one.1,
                            arraySlice(arraySort(one -> abs(one.1 - toUnixTimestamp64Milli(at)), kept), 1, 8)))), ' > ') AS chain,
                    JSONExtractString(evidence, 'seen') AS seen, JSONExtractString(evidence, 'event_id') AS event_id, alert_id
                FROM alerts_here LEFT JOIN (
                    SELECT client, groupUniqArray(10000)((toUnixTimestamp64Milli(at), event_id, {_CLASS})) AS kept FROM sampled_events
                    WHERE $__timeFilter(at) AND @scope AND reason = 'evidence'
                        AND client IN (SELECT client FROM alerts_here WHERE client != '')
                    GROUP BY client
                ) AS asked USING (client)
                ORDER BY at DESC, alert_id
            """),  # noqa: S608 - an expression of ours
            (24, 7),
            columns=[SEVERITY, client_column(), Column(name="chain", width=440), Column(name="seen", width=360)],
        ),
    ]


def _given() -> list[Panel]:
    def over_time(title: str, description: str, figure: str, unit: str = "short") -> Panel:
        text = f"""
            SELECT $__timeInterval(start) AS time, client, max(evidence['{figure}']) AS value
            FROM @rows WHERE mapContains(evidence, '{figure}') GROUP BY time, client ORDER BY time, client
        """  # noqa: S608 - a figure's name, from below
        return timeseries(title, description, of_clients(text, 10), (8, 8), name="${__field.labels.client}", unit=unit)

    return [
        over_time(
            "Distinct answers",
            "Answers to different questions that the client was given so far: what a copy of the model could be trained on. Of the ten "
            "clients with the most evidence.",
            "distinct_answers",
        ),
        over_time(
            "Copy it could make",
            "Share of rows on which a copy trained on that many answers would agree with the model, from the reference's learning curve. "
            "It says what was bought, not that it was used.",
            "copy_agreement",
            "percentunit",
        ),
        over_time(
            "Training rows touched",
            "Different training rows that the client asked for, by the keyed fingerprints of the reference. A customer whose own records "
            "were trained on touches some.",
            "members_touched",
        ),
    ]


def _record() -> list[Panel]:
    return [
        table(
            "Alert history",
            "Every transition of every alert about the chosen clients, or about a group with one of them, the newest first.",
            sql("""
                SELECT at, severity, state, alertname, summary, model, version, client, length(clients) AS members, n_events AS events,
                    log_evidence AS `ln evidence`, arrayStringConcat(techniques, ', ') AS ATLAS, alert_id, evidence, runbook
                FROM alerts FINAL WHERE $__timeFilter(at) AND @scope AND @about_client AND (client != '' OR notEmpty(clients))
                ORDER BY at DESC, alert_id LIMIT 200
            """),
            (24, 8),
            columns=[
                SEVERITY,
                Column(name="summary", width=360),
                client_column(),
                Column(name="ln evidence", decimals=1),
                Column(name="alert_id", link=Link(title="Runbook", address="runbook")),
                Column(name="runbook", hidden=True),
            ],
        ),
        table(
            "Linked clients",
            "Members of the groups (swarms) that a chosen client was named in: who asked in step with it. Click one to see it.",
            sql("""
                SELECT member AS client, count() AS alerts, argMax(detector, at) AS `newest alert`, argMax(summary, at) AS summary,
                    max(log_evidence) AS `ln evidence`, max(at) AS seen
                FROM (
                    SELECT alert_id, detector, summary, log_evidence, at, arrayJoin(clients) AS member FROM alerts FINAL
                    WHERE $__timeFilter(at) AND @scope AND @about_client AND notEmpty(clients)
                )
                GROUP BY member ORDER BY alerts DESC, client LIMIT 200
            """),
            (24, 8),
            columns=[client_column(), Column(name="ln evidence", decimals=1), Column(name="summary", width=360)],
        ),
        table(
            "Kept queries",
            "The newest events of the chosen clients that were kept whole: at random, or because they tipped a scale. Values are shown "
            "shortened.",
            sql("""
                SELECT at, model, version, client, event_id, trace_id, prediction, arrayMax(scores) AS score, latency_ms AS latency, status,
                    reason, substring(toString(features), 1, 300) AS features, substring(toString(categories), 1, 200) AS categories
                FROM sampled_events FINAL WHERE $__timeFilter(at) AND @scope AND (model, version, at, event_id) IN (
                    SELECT model, version, at, event_id FROM sampled_events
                    WHERE $__timeFilter(at) AND @scope AND @service AND @client AND client != ''
                    ORDER BY at DESC LIMIT 200
                )
                ORDER BY at DESC, event_id LIMIT 200
            """),
            (24, 10),
            columns=[client_column(), Column(name="latency", unit="ms", decimals=1), Column(name="score", decimals=3)],
        ),
    ]
