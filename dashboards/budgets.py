"""Error budgets of what each model promises, as SQL: a row an indicator, of the rows that the store has anyway."""

from collections.abc import Collection
from dataclasses import dataclass
from textwrap import dedent

from dashboards.heartbeats import arrived_since
from dashboards.loads import loaded_since
from dashboards.measures import measures
from dashboards.promised import SPENDING, Promise, choose
from dashboards.scope import Objectives
from schemas import latency

__all__ = ["LOSSES", "QUALITIES", "VIOLATIONS", "Rows", "budgets"]

QUALITIES = ("accuracy", "auc", "f1", "mae", "log_loss")
"""Of answers whose label came."""
LOSSES = ("mae", "log_loss")
"""Promised as the most that they may be on average; the others as a share, of which the rest is allowed."""
VIOLATIONS = ("missing", "wrong_type", "out_of_bounds", "unseen_category", "wrong_width", "non_finite", "unknown_feature")
_NAMES = """
    SELECT '' AS model, '' AS version, '' AS indicator, 0. AS bad, 0. AS total, 0. AS target, 0. AS spent_besides WHERE 0
"""
_WINDOWS = """
    SELECT model, version, one.1, one.2, one.3, one.4, 0. FROM (
        SELECT model, version, arrayJoin([
            ('availability', toFloat64(sum(errors)), toFloat64(sum(status['ok'] + errors)), @availability / 100),
            ('latency', toFloat64(arraySum(arraySlice(sumForEach(latency_bins) AS bins, toInt64(@slow_from) + 1))),
                toFloat64(arraySum(bins)), @latency_share / 100),
            ('drift_free', toFloat64(countIf(drift_severity != '')), toFloat64(countIf(reference != '')), @drift_free / 100),
            ('authorised', toFloat64(sum(denied)), toFloat64(sum(n)), @authorised / 100)
        ]) AS one FROM windows FINAL WHERE @windows GROUP BY model, version
    )
"""
_LABELS = """
    SELECT model, version, one.1, one.2, one.3, one.4, 0. FROM (
        SELECT model, version, arrayJoin([
            ('accuracy', toFloat64(sum(errors)), toFloat64(sum(n)), @accuracy / 100),
            ('mae', sum(abs_error), toFloat64(sum(value_n)), toFloat64(@mae)),
            ('log_loss', sum(log_loss), toFloat64(sum(log_loss_n)), toFloat64(@log_loss))
        ]) AS one FROM accuracy_windows FINAL WHERE @labels GROUP BY model, version
    )
"""
_RANKS = """
    SELECT model, version, one.1, one.2, one.3, one.4, 0. FROM (
        SELECT model, version,
            arrayJoin([('auc', (1 - auc) * n, n, toFloat64(@auc)), ('f1', (1 - f1) * n, n, toFloat64(@f1))]) AS one
        FROM (
            SELECT model, version, ifNull(auc, 1) AS auc, ifNull(f1, 1) AS f1, n FROM (@measures) AS m LEFT JOIN (
                SELECT model, version, toFloat64(sum(n)) AS n FROM accuracy_windows FINAL WHERE @labels GROUP BY model, version
            ) AS l USING (model, version)
        )
    )
"""
_VALID = f"""
    SELECT model, version, 'valid_input', sum(bad), sum(everything), @valid_input / 100, 0. FROM (
        SELECT model, version, toFloat64(n) AS bad, 0. AS everything FROM quality_windows FINAL
        WHERE @windows AND kind IN ({", ".join(f"'{kind}'" for kind in VIOLATIONS)})
        UNION ALL
        SELECT model, version, 0., toFloat64(accepted + arraySum(mapValues(rejected))) FROM windows FINAL WHERE @windows
    ) GROUP BY model, version
"""  # noqa: S608 - ours
_SIGNED = """
    SELECT model, version, 'signed', toFloat64(countIf(NOT valid)), toFloat64(count()), @signed / 100, 0.
    FROM (@artefacts) GROUP BY model, version
"""
_COMPLETE = """
    SELECT model, version, 'completeness', toFloat64(sum(made - got)), toFloat64(sum(made)), @completeness / 100, 0.
    FROM (@arrived) WHERE model != '' GROUP BY model, version
"""
_SPENT = """
    SELECT model, version, 'availability', 0., 0., 0., @incident_share * count() FROM @spending WHERE @opened GROUP BY model, version
"""
_ALL = """
    SELECT model, version, indicator, objective, measured, total, bad, spent, 1 - spent AS left FROM (
        SELECT model, version, indicator, sum(bad) AS bad, sum(total) AS total, max(target) AS target,
            if(indicator IN (@losses), target, 1 - target) AS allowed,
            if(allowed > 1e-9, bad / total / allowed, bad) + sum(spent_besides) AS spent,
            multiIf(indicator IN (@losses), concat('at most ', toString(target)), indicator IN ('auc', 'f1'), toString(target),
                concat(toString(round(100 * target, 4)), ' %')) AS objective,
            multiIf(indicator IN (@losses), toString(round(bad / total, 4)),
                indicator IN ('auc', 'f1'), toString(round(1 - bad / total, 4)),
                concat(toString(round(100 * greatest(1 - bad / total, 0), 3)), ' %')) AS measured
        FROM (@parts) GROUP BY model, version, indicator HAVING total > 0 AND target > 0
    )
"""
_PARTS = (
    (("availability", "latency", "drift_free", "authorised"), _WINDOWS),
    (("accuracy", *LOSSES), _LABELS),
    (("auc", "f1"), _RANKS),
    (("valid_input",), _VALID),
    (("signed",), _SIGNED),
    (("completeness",), _COMPLETE),
)


@dataclass(frozen=True, kw_only=True)
class Rows:
    """SQL conditions: which rows of the store count.

    Attributes:
        windows: Over ``start``.
        labels: The same, of the windows whose labels count.
        beats: Over ``at``, of heartbeats, from a day before the begin of the time on.
        loads: Over ``at``, of loads until the end of the time.
        since: SQL of its begin: what was loaded at some time since then counts, however long ago the load was, and what was sent
            since then.
        opened: Over ``opened_at``, of pages about security.
    """

    windows: str
    labels: str
    beats: str
    loads: str
    opened: str
    since: str = "toDateTime(0)"


def budgets(objectives: Objectives, rows: Rows, *, only: Collection[str] = (), availability: str = "") -> str:
    """SQL with a row for each model version and indicator that has an objective.

    Columns: ``model, version, indicator, objective, measured`` (texts), ``total`` (requests, labels, windows, artefacts), ``bad``,
    ``spent`` (bad / total / allowed; 1 is the whole budget. Without any allowed, each bad one spends it), ``left`` = 1 - ``spent``.

    Args:
        objectives: What is promised.
        rows: What counts.
        only: These indicators; empty: all.
        availability: SQL of what is promised to models without an availability of their own; "": what the objectives say.
    """
    promises = [_with_bins(promise) for promise in objectives.by_model]
    promised = dict(objectives.promised) | {"slow_from": float(latency.bin_above_ms(objectives.latency_p95_ms))}
    parts = [_NAMES]
    parts += [text for names, text in _PARTS if any(_asked(objectives, name) and (not only or name in only) for name in names)]
    if not only or "availability" in only:
        parts.append(_SPENT)
    names, conditions = (
        ("model", "version"),
        {
            "@windows": rows.windows,
            "@labels": rows.labels,
            "@arrived": arrived_since(rows.beats, rows.since),
            "@artefacts": loaded_since(rows.loads, rows.since),
        },
    )
    text = _ALL.replace("@parts", " UNION ALL ".join(parts)).replace("@losses", ", ".join(f"'{name}'" for name in LOSSES))
    text = text.replace("@measures", measures({name: name for name in names}, rows.labels)).replace("@opened", rows.opened)
    text = text.replace("@incident_share", repr(float(objectives.incident_share))).replace("@spending", SPENDING)
    for name, condition in conditions.items():
        text = text.replace(name, condition)
    otherwise = {name: repr(float(value)) for name, value in promised.items()}
    otherwise["availability"] = availability or repr(float(objectives.availability))
    otherwise["completeness"] = repr(round(100 * objectives.completeness, 6))
    for name in sorted(otherwise, reverse=True):
        text = text.replace(f"@{name}", choose(promises, name, otherwise[name]))
    if only:
        wanted = ", ".join(f"'{name}'" for name in only)
        text = f"SELECT * FROM ({text}) WHERE indicator IN ({wanted})"  # noqa: S608 - ours
    return dedent(text).strip()


def _asked(objectives: Objectives, name: str) -> bool:
    return objectives.promised.get(name, 1.0) > 0 or objectives.differ(name)


def _with_bins(promise: Promise) -> Promise:
    """Beside a latency the first bin above it."""
    bins = [("slow_from", float(latency.bin_above_ms(value))) for name, value in promise.values if name == "latency_ms"]
    return Promise(model=promise.model, version=promise.version, values=(*promise.values, *bins))
