"""The view of security on all attacks: which families, which techniques, which groups, and who has been given how much."""

from dashboards import sections
from dashboards.panels import Column, Link, Panel, View, row, stat, table, timeseries
from dashboards.scope import CLIENT, MODEL, SERVICE, SEVERITY, VERSION, Objectives, client_column, model_column, of_clients, sql
from schemas.techniques import ATLAS, OWASP

__all__ = ["attacks"]

_FAMILIES = ("extraction", "evasion", "membership", "cost")
_OF_FAMILIES = f"detector IN ({', '.join(repr(family) for family in _FAMILIES)})"


def attacks(objectives: Objectives) -> View:
    """The view, with its lines at the objectives.

    >>> attacks(Objectives()).title
    'inferwatch / Attack overview'
    """
    return View(
        name="attacks",
        title="inferwatch / Attack overview",
        description="Evidence and alerts by family, MITRE ATLAS techniques seen, swarms with their members, what each client was given.",
        asked_by="security",
        variables=(MODEL, VERSION, SERVICE, CLIENT),
        panels=(
            *_families(objectives),
            row("What was seen"),
            *_seen(),
            row("Who"),
            *_who(objectives),
            _refused_by_service(),
            _leaks(),
        ),
        span="24h",
        refresh="1m",
    )


def _families(objectives: Objectives) -> list[Panel]:
    counts = ", ".join(f"countIf(detector = '{family}') / any(million) AS {family}" for family in _FAMILIES)
    return [
        stat(
            "Attack alerts per million requests",
            "Alerts (tickets and pages) opened in the time range by family, over the requests of the same range. A model under no attack "
            "has less than its page budget here.",
            sql(f"""
                WITH (SELECT greatest(sum(n), 1) / 1e6 FROM windows FINAL WHERE $__timeFilter(start) AND @scope) AS million
                SELECT {counts} FROM (
                    SELECT DISTINCT detector, alert_id, opened_at FROM alerts FINAL
                    WHERE $__timeFilter(opened_at) AND @scope AND @about_client AND {_OF_FAMILIES} AND state != 'pending'
                )
            """),  # noqa: S608 - names of ours
            (24, 4),
            steps=((None, "green"), (1, "orange"), (100, "red")),
            decimals=1,
        ),
        timeseries(
            "Evidence by family",
            "ln of the strongest betting score of any client, by family. The dashed lines are ticket and page.",
            sql("""
                SELECT $__timeInterval(start) AS time, max(ln_extraction) AS extraction, max(ln_evasion) AS evasion,
                    max(ln_membership) AS membership
                FROM client_windows FINAL WHERE $__timeFilter(start) AND @scope AND @client
                GROUP BY time ORDER BY time
            """),
            (12, 9),
            minimum=None,
            steps=objectives.client_steps(),
        ),
        timeseries(
            "Clients under suspicion",
            "Clients with a ticket or a page against them, the most in any window of each interval.",
            sql("""
                SELECT $__timeInterval(start) AS time, max(tickets) AS ticket, max(pages) AS page FROM (
                    SELECT start, uniqExactIf(client, severity = 'ticket') AS tickets, uniqExactIf(client, severity = 'page') AS pages
                    FROM client_windows WHERE $__timeFilter(start) AND @scope AND @client GROUP BY start
                )
                GROUP BY time ORDER BY time
            """),
            (12, 9),
            stacked=True,
        ),
    ]


def _seen() -> list[Panel]:
    by_family = ", ".join(f"uniqExactIf((alert_id, opened_at), detector = '{family}') AS {family}" for family in _FAMILIES)
    return [
        table(
            "MITRE ATLAS and OWASP",
            "Techniques that the alerts of the time range name, by family of detector: how many alerts, on which models, when last. ATLAS "
            "ids of the content version that the alerts carry; OWASP is the Machine Learning Top 10 of 2023.",
            sql(f"""
                SELECT technique, transform(technique, {list(ATLAS | OWASP)}, {list((ATLAS | OWASP).values())}, '') AS name, {by_family},
                    uniqExactIf(client, client != '') AS clients, arrayStringConcat(groupUniqArray(5)(model), ', ') AS models,
                    max(at) AS newest
                FROM (
                    SELECT arrayJoin(arrayConcat(techniques, owasp)) AS technique, detector, alert_id, opened_at, client, model, at
                    FROM alerts FINAL WHERE $__timeFilter(at) AND @scope AND @about_client AND state != 'pending'
                )
                GROUP BY technique ORDER BY technique LIMIT 200
            """),  # noqa: S608 - names of ours
            (12, 10),
            columns=[Column(name=family, steps=((None, "transparent"), (1, "orange"))) for family in _FAMILIES],
        ),
        table(
            "Swarms",
            "Alerts on groups: one attack by several accounts, in which each alone does little. A swarm is a ticket unless its evidence is "
            "overwhelming, since ordinary clients of one product can move in step too.",
            sections.newest("""
                SELECT severity, state, model, detector, length(clients) AS members,
                    arrayStringConcat(arraySlice(clients, 1, 50), ', ') AS names,
                    log_evidence AS `ln evidence`, opened_at AS opened, summary, evidence, alert_id
                FROM (@newest) WHERE notEmpty(clients) AND $__timeFilter(at)
                ORDER BY opened DESC, alert_id LIMIT 100
            """),
            (12, 10),
            columns=[SEVERITY, model_column(), Column(name="names", width=300), Column(name="ln evidence", decimals=1)],
        ),
        table(
            "Attack alerts",
            "Alerts of the attack families in the time range, each in its newest state, the newest first.",
            sections.newest(f"""
                SELECT at, severity, state, alertname, summary, model, version, client, n_events AS events, log_evidence AS `ln evidence`,
                    arrayStringConcat(techniques, ', ') AS ATLAS, alert_id, runbook
                FROM (@newest) WHERE {_OF_FAMILIES} AND $__timeFilter(at)
                ORDER BY at DESC, alert_id LIMIT 200
            """),  # noqa: S608 - names of ours
            (24, 9),
            columns=[
                SEVERITY,
                Column(name="summary", width=420),
                model_column("attacks"),
                client_column(),
                Column(name="ln evidence", decimals=1),
                Column(name="alert_id", link=Link(title="Runbook", address="runbook")),
                Column(name="runbook", hidden=True),
            ],
        ),
    ]


def _refused_by_service() -> Panel:
    return timeseries(
        "Refused by service",
        "Requests that each service refused (unauthenticated or forbidden) per 10,000, by reason. One service alone: its keys, or somebody "
        "at its door; all of them: the gateway, or an attack on the model.",
        sql("""
            SELECT $__timeInterval(start) AS time, concat(service, ' ', model) AS series,
                1e4 * sum(status['unauthenticated']) / greatest(sum(n), 1) AS unauthenticated,
                1e4 * sum(status['forbidden']) / greatest(sum(n), 1) AS forbidden
            FROM service_windows FINAL WHERE $__timeFilter(start) AND @scope AND @service
            GROUP BY time, series ORDER BY time, series
        """),
        (24, 7),
        name="${__field.name} ${__field.labels.series}",
    )


_TOLD = "ifNull(toString(round({}, 4)), 'too few rows')"


def _leaks() -> Panel:
    return table(
        "What the model gives away",
        "How well confidence alone tells training rows from others, the newest word on each version: true less false positives (0 is "
        "chance), beside it the 95 % interval; then training rows found at 1 % and 0.1 % false positives. reference: the owner's rows; "
        "live: against labelled answers. A lower bound: better attacks find more. Levels of its own make it an alert.",
        sql(
            """
            SELECT model, version, source, 2 * balanced_accuracy - 1 AS advantage, 2 * balanced_accuracy_low - 1 AS low,
                2 * balanced_accuracy_high - 1 AS high,
                @1 AS `TPR at 1 %`, @01 AS `TPR at 0.1 %`, generalisation_gap AS gap, members, non_members AS others, at
            FROM (SELECT * FROM membership_gauge FINAL WHERE at <= $__toTime AND @scope ORDER BY at DESC LIMIT 1 BY model, version, source)
            ORDER BY advantage DESC, model, version, source LIMIT 100
        """.replace("@01", _TOLD.format("tpr_01pct")).replace("@1", _TOLD.format("tpr_1pct"))
        ),
        (24, 6),
        columns=[
            model_column("attacks"),
            Column(name="advantage", decimals=3, steps=((None, "transparent"), (0.1, "orange"), (0.4, "red"))),
            *(Column(name=name, decimals=3) for name in ("low", "high", "gap")),
        ],
    )


def _who(objectives: Objectives) -> list[Panel]:
    return [
        sections.riskiest(objectives, (12, 10)),
        table(
            "Exposure",
            "What each client was given so far, most first: answers to different questions, the agreement of the copy that they buy, "
            "training rows touched, answers of the classes that the owner flags. It counts harmless clients too: a limit belongs here, not "
            "an accusation.",
            sql("""
                SELECT client, model, max(evidence['copy_agreement']) AS `copy agreement`, max(evidence['distinct_answers']) AS answers,
                    max(evidence['members_touched']) AS `members touched`, max(evidence['flagged_answers']) AS flagged, max(start) AS seen
                FROM client_windows WHERE @days AND @scope AND @client
                GROUP BY client, model ORDER BY answers DESC, `members touched` DESC, client LIMIT 100 @as_projected
            """),
            (12, 10),
            columns=[client_column(width=220), model_column("attacks"), Column(name="copy agreement", unit="percentunit", decimals=1)],
        ),
        table(
            "Members and canaries asked for",
            "Clients that asked for rows the model was trained on, most rows first, beside the evidence that they test for membership.",
            of_clients(
                """
                SELECT client, model, max(evidence['members_touched']) AS `members touched`, max(ln_membership) AS `ln membership`,
                    argMax(severity, start) AS severity, sum(n) AS requests, max(start) AS seen
                FROM @rows WHERE evidence['members_touched'] > 0
                GROUP BY client, model ORDER BY `members touched` DESC, client LIMIT 50
                """,
                100,
                "max(evidence['members_touched']) DESC",
            ),
            (12, 9),
            columns=[client_column(width=220), SEVERITY, Column(name="ln membership", decimals=1, steps=objectives.client_steps())],
        ),
        table(
            "Refused",
            "Clients that were refused (unauthenticated or forbidden), most first, of the 200 with the most refusals in one window. "
            "Some may "
            "be left out of a window's list by others that stand out more; the totals by model are on the executive view.",
            of_clients(
                """
                SELECT client, model, sum(denied) AS refused, sum(n) AS requests, sum(denied) / greatest(sum(n), 1) AS share,
                    max(start) AS seen
                FROM @rows GROUP BY client, model HAVING refused > 0 ORDER BY refused DESC, client LIMIT 50
                """,
                200,
                "max(denied) DESC",
            ),
            (12, 9),
            columns=[client_column(width=220), Column(name="share", unit="percentunit", decimals=1)],
        ),
    ]
