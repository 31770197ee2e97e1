"""May this model version be promoted now? Asked of the store by delivery pipelines, just before they do it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np

from dashboards.budgets import LOSSES, QUALITIES, Rows, budgets
from dashboards.promised import SPENDING
from schemas import latency
from streams.burn import LEAST_BAD, SURE, incident_rate
from streams.clickhouse import ClickHouse
from streams.objectives import objectives
from streams.settings import Settings
from streams.slo import objectives_for

__all__ = ["BURN_LIMIT", "Answer", "Facts", "Spent", "decide", "facts"]

BURN_LIMIT = 2.0
"""Times as fast as the objective allows: the error budget may not be spent faster at a promotion."""
INCIDENT_S = 3 * 86_400
"""For so long a page about security counts: one that spends a quarter of a month's budget makes 2.5 times as fast as allowed."""
LABELS_S = 30 * 86_400
"""Of the requests of so long the labels count, which come late; so their budget is a month's, and may be spent, but not twice."""
LEAST_LABELS = 100
"""Below, a mean error or log loss says nothing."""
SLOWER = (*QUALITIES, "drift_free", "authorised", "valid_input")
"""Indicators that are asked for over three days, or by labels."""


class Spent(msgspec.Struct, frozen=True, kw_only=True):
    """An indicator with an objective: what was promised and measured, of how many, and how many times the budget was spent."""

    indicator: str
    objective: str
    measured: str
    total: float
    bad: float
    spent: float

    @property
    def limit(self) -> float:
        """How many times as fast as allowed its budget may be spent."""
        return 1.0 if self.indicator in QUALITIES else BURN_LIMIT

    @property
    def over(self) -> bool:
        """Surely more than that was spent: by three standard deviations of a Poisson count, but for losses, whose spread is not known."""
        if self.indicator in LOSSES:
            return self.total >= LEAST_LABELS and self.spent > self.limit
        surely = (self.bad - SURE * math.sqrt(self.bad)) / self.bad if self.bad else 0.0
        return self.bad >= LEAST_BAD and surely * self.spent > self.limit

    def said(self) -> str:
        """As a reason."""
        of = "labels of 30 days" if self.indicator in QUALITIES else "windows of three days" if self.indicator == "drift_free" else (
            "events of three days" if self.indicator == "valid_input" else "requests of three days"
        )  # fmt: skip
        return (
            f"{self.indicator} is {self.measured} over {self.total:,.0f} {of}, promised is {self.objective}: the budget is spent "
            f"{self.spent:.1f} times as fast as allowed (limit {self.limit:g})."
        )


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What the store knows of a model version.

    Attributes:
        model: Its name: it may have objectives of its own.
        version: Its version.
        requests: Answered or failed in the last hour.
        failed: Of these.
        timed: Answers with a latency.
        slow: Of these, over ``objectives.latency_ms``.
        slower: What was spent of the budgets of `SLOWER`, where there is an objective.
        incidents: Pages about security opened in the last three days that nobody judged false.
        pages: Ids and summaries of its open pages.
        loads: Newest signature by (service, instance): `valid`, `invalid` or `missing`, of those that have it loaded; where none has, of
            those that had until less than an hour ago, as a trial in the pipeline itself.
        problems: What is wrong with the loads of those that have it loaded.
        others: Where the store knows nothing of this version, some that it knows.
    """

    model: str = ""
    version: str = ""
    requests: int = 0
    failed: int = 0
    timed: int = 0
    slow: int = 0
    slower: tuple[Spent, ...] = ()
    incidents: int = 0
    pages: tuple[tuple[str, str], ...] = ()
    loads: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    others: tuple[str, ...] = ()


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """Yes or no, and why not.

    Attributes:
        passed: It may be promoted.
        reasons: Why not, a sentence each.
        burns: How fast each error budget is spent; 1 is as fast as allowed. By requests over the last hour, by incidents and windows over
            three days, by labels over the requests of thirty.
    """

    passed: bool
    reasons: tuple[str, ...]
    burns: dict[str, float]


def decide(known: Facts, settings: Settings, *, unsigned_ok: bool = False, quiet_ok: bool = False) -> Answer:
    """The answer to these facts.

    Args:
        known: What the store knows.
        settings: Objectives.
        unsigned_ok: A version that is not signed, or was never loaded, is no reason.
        quiet_ok: A version without traffic in the last hour is no reason.

    Example:
        >>> decide(Facts(requests=1000, failed=5, loads=("valid",)), Settings()).reasons
        ('5 of 1,000 requests failed in the last hour: the budget of 99.9 % availability is spent 5.0 times as fast as allowed (limit 2).',)
    """
    objectives = objectives_for(settings.objectives, known.model, known.version)
    incidents = incident_rate(objectives.incident_share, known.incidents, INCIDENT_S)
    burns = {
        "availability": known.failed / max(known.requests, 1) / (1 - objectives.availability / 100) + incidents,
        "latency": known.slow / max(known.timed, 1) / (1 - objectives.latency_share / 100),
        **{one.indicator: one.spent for one in known.slower},
    }
    reasons = []
    if not known.requests and not quiet_ok:
        reasons.append(
            "It had no request in the last hour, so nothing is known of it. Send it some traffic first (or --no-traffic-ok)."
            + (f" The store has never seen it, but {', '.join(known.others)}: is the name right?" if known.others else "")
        )
    if burns["availability"] > BURN_LIMIT:
        reasons.append(
            f"{known.failed:,} of {known.requests:,} requests failed in the last hour: the budget of {objectives.availability:g} % "
            f"availability is spent {burns['availability']:.1f} times as fast as allowed (limit {BURN_LIMIT:g})"
            + (f", {incidents:.1f} of it by {known.incidents} page(s) about security in three days." if incidents else ".")
        )
    if burns["latency"] > BURN_LIMIT:
        reasons.append(
            f"{known.slow:,} of {known.timed:,} answers took longer than {objectives.latency_ms:g} ms in the last hour: that budget is "
            f"spent {burns['latency']:.1f} times as fast as allowed (limit {BURN_LIMIT:g})."
        )
    reasons += [one.said() for one in known.slower if one.over]
    reasons += [f"A page is open: {summary} ({alert_id})" for alert_id, summary in known.pages]
    reasons += [f"An instance has it loaded, and {problem}." for problem in known.problems]
    unsigned = sum(signature != "valid" for signature in known.loads)
    if not unsigned_ok and not known.problems:
        if not known.loads:
            reasons.append(
                "No instance of the last hour has told that it loaded it, so nothing is known of its signature (or --unsigned-ok)."
            )
        elif unsigned:
            reasons.append(f"It is not signed: {unsigned} of {len(known.loads)} instances loaded it without a valid signature.")
    return Answer(passed=not reasons, reasons=tuple(reasons), burns={name: round(rate, 3) for name, rate in burns.items()})


def facts(clickhouse: ClickHouse, model: str, version: str, settings: Settings) -> Facts:
    """What the store knows now.

    Raises:
        ClickHouseError: it refused, or could not be reached.
    """
    about = {"model": model, "version": version}
    (window,) = clickhouse.query(
        """
        SELECT sum(status['ok'] + errors) AS requests, sum(errors) AS failed, sumForEach(latency_bins) AS bins
        FROM windows FINAL WHERE model = {model:String} AND version = {version:String} AND end > now() - INTERVAL 1 HOUR
        """,
        about,
    )
    bins = np.zeros(latency.BINS, np.int64)
    given = np.asarray(window["bins"], np.int64)[: latency.BINS]
    bins[: len(given)] = given
    (spent,) = clickhouse.query(
        f"""
        SELECT count() AS incidents FROM {SPENDING}
        WHERE model = {{model:String}} AND version = {{version:String}} AND opened_at > now() - INTERVAL {INCIDENT_S} SECOND
        """,  # noqa: S608 - ours
        about,
    )
    pages = clickhouse.query(
        """
        SELECT alert_id, summary FROM (
            SELECT * FROM alerts FINAL WHERE model = {model:String} AND version = {version:String}
            ORDER BY at DESC, revision DESC LIMIT 1 BY alert_id
        ) WHERE state = 'firing' AND severity = 'page' ORDER BY opened_at LIMIT 20
        """,
        about,
    )
    loads: Sequence[dict[str, Any]] = clickhouse.query(
        """
        SELECT argMax(kind, at) = 'loaded' AS live, argMaxIf(signature, at, kind = 'loaded') AS told, argMax(problem, at) AS wrong
        FROM loads FINAL WHERE model = {model:String} AND version = {version:String} GROUP BY service, instance
        HAVING (live OR max(at) > now() - INTERVAL 1 HOUR) AND countIf(kind = 'loaded') > 0
        """,
        about,
    )
    live = [row for row in loads if row["live"]]
    mine = "model = {model:String} AND version = {version:String}"
    recent = f"{mine} AND start > now() - INTERVAL {INCIDENT_S} SECOND"
    rows = Rows(windows=recent, labels=f"{mine} AND start > now() - INTERVAL {LABELS_S} SECOND", beats=mine, loads=mine, opened=mine)
    slower = clickhouse.query(budgets(objectives(settings), rows, only=SLOWER), about)
    others: Sequence[dict[str, Any]] = ()
    if not loads and not window["requests"]:
        others = clickhouse.query(
            """
            SELECT model, version FROM windows GROUP BY model, version
            HAVING (SELECT count() FROM windows WHERE model = {model:String} AND version = {version:String}) = 0
            ORDER BY model != {model:String}, max(end) DESC LIMIT 5
            """,
            about,
        )
    return Facts(
        model=model,
        version=version,
        requests=int(window["requests"]),
        failed=int(window["failed"]),
        timed=int(bins.sum()),
        slow=int(bins[latency.bin_above_ms(objectives_for(settings.objectives, model, version).latency_ms) :].sum()),
        slower=tuple(msgspec.convert(row, Spent) for row in slower),
        incidents=int(spent["incidents"]),
        pages=tuple((row["alert_id"], row["summary"]) for row in pages),
        loads=tuple(row["told"] for row in live or loads),
        problems=tuple(sorted({row["wrong"] for row in live if row["wrong"]})),
        others=tuple(f"{row['model']} {row['version']}" for row in others),
    )
