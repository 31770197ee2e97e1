"""The view of security on all attacks: which families, which techniques, which groups, and who has been given how much."""

from dashboards import sections
from dashboards.panels import Column, Link, Panel, View, row, table, timeseries
from dashboards.scope import CLIENT, MODEL, SERVICE, SEVERITY, VERSION, Objectives, client_column, model_column, of_clients, sql
from schemas.techniques import ATLAS, OWASP

__all__ = ["attacks"]

FAMILIES = {
    "extraction": ("extraction",), "evasion": ("evasion",), "membership": ("membership", "leakage"), "canary": ("canary",),
    "poisoning": ("trigger", "feedback"), "access": ("access",), "supply chain": ("integrity", "consistency"), "cost": ("cost",),
}  # fmt: skip
"""What an adversary does, and the detectors that tell of it."""
_DETECTORS = [detector for detectors in FAMILIES.values() for detector in detectors]
_OF_FAMILIES = f"detector IN ({', '.join(repr(detector) for detector in _DETECTORS)})"
_FAMILY = f"transform(detector, {_DETECTORS}, {[family for family, detectors in FAMILIES.items() for _ in detectors]}, '')"


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
    return [
        table(
            "Attack alerts per million requests",
            "Alerts opened in the time range by family, and per million requests of the same range; one that rose from a ticket to a page "
            "is a page. Of a model under no attack the pages are within its budget. Membership has what a model gives away, poisoning "
            "triggers and flipped feedback, supply chain artefacts and answers that changed without a version.",
            sql(f"""
                WITH (SELECT sum(n) / 1e6 FROM windows FINAL WHERE $__timeFilter(start) AND @scope) AS million
                SELECT family, sum(page) AS pages, sum(ticket) AS tickets, pages / million AS `pages / M`,
                    tickets / million AS `tickets / M`
                FROM (
                    SELECT arrayJoin({list(FAMILIES)}) AS family, 0 AS page, 0 AS ticket
                    UNION ALL
                    SELECT {_FAMILY} AS family, max(severity = 'page') AS page, 1 - page AS ticket FROM alerts FINAL
                    WHERE $__timeFilter(opened_at) AND @scope AND @about_client AND {_OF_FAMILIES} AND state != 'pending'
                    GROUP BY detector, alert_id, opened_at
                )
                GROUP BY family HAVING million > 0 ORDER BY pages DESC, tickets DESC, family
            """),  # noqa: S608 - names of ours
            (8, 9),
            columns=[
                *(
                    Column(name=name, steps=((None, "transparent"), (1, color)))
                    for name, color in (("pages", "red"), ("tickets", "orange"))
                ),
                *(Column(name=f"{name} / M", decimals=1) for name in ("pages", "tickets")),
            ],
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
            (8, 9),
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
            (8, 9),
            stacked=True,
        ),
    ]


def _seen() -> list[Panel]:
    by_family = ", ".join(f"uniqExactIf((alert_id, opened_at), {_FAMILY} = '{family}') AS `{family}`" for family in FAMILIES)
    return [
        table(
            "MITRE ATLAS and OWASP",
            "Techniques that the alerts of the time range name, by family: how many alerts, on which models, when last. ATLAS "
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
            (24, 10),
            columns=[Column(name=family, steps=((None, "transparent"), (1, "orange"))) for family in FAMILIES],
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
            (24, 8),
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


_TOLD = (
    "ifNull(concat(toString(round({0}, 4)), ' (', toString(round({0}_low, 4)), ' to ', toString(round({0}_high, 4)), ')'), 'too few rows')"
)


def _leaks() -> Panel:
    return table(
        "What the model gives away",
        "How well confidence alone tells training rows from others, the newest word on each version: true less false positives (0 is "
        "chance), beside it the 95 % interval; then training rows found at 1 % and 0.1 % false positives, with theirs. reference: the "
        "owner's rows; live: against labelled answers. A lower bound: better attacks find more. Levels of its own make it an alert.",
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
            "Clients that asked for rows the model was trained on, beside the evidence that they test for membership; first those who "
            "asked about a canary record: one such question is a ticket, two are a page.",
            of_clients(
                """
                SELECT client, model, max(canary) AS `canaries asked`, max(touched) AS `members touched`, max(ln) AS `ln membership`,
                    if(max(worst = 'page'), 'page', max(worst)) AS severity, sum(asked) AS requests, max(last) AS seen
                FROM (
                    SELECT client, model, 0 AS canary, max(evidence['members_touched']) AS touched, toNullable(max(ln_membership)) AS ln,
                        argMax(severity, start) AS worst, sum(n) AS asked, max(start) AS last
                    FROM @rows WHERE evidence['members_touched'] > 0 GROUP BY client, model
                    UNION ALL
                    SELECT client, model, max(n_events) AS canary, 0. AS touched, NULL AS ln,
                        if(max(alerts.severity = 'page'), 'page', 'ticket') AS worst, 0 AS asked, max(at) AS last
                    FROM alerts FINAL WHERE $__timeFilter(at) AND @scope AND @client AND detector = 'canary' AND state != 'pending'
                    GROUP BY client, model
                )
                GROUP BY client, model ORDER BY `canaries asked` DESC, `members touched` DESC, client LIMIT 50
                """,
                100,
                "max(evidence['members_touched']) DESC",
            ),
            (12, 9),
            columns=[
                client_column(width=220),
                Column(name="canaries asked", steps=((None, "transparent"), (1, "orange"), (2, "red"))),
                SEVERITY,
                Column(name="ln membership", decimals=1, steps=objectives.client_steps()),
            ],
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
