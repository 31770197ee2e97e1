"""The monthly report as one printable page without anything from elsewhere, and as JSON. Pure: a report in, text out."""

from __future__ import annotations

import calendar
import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from html import escape
from importlib.resources import files
from typing import Any

from dashboards.formats import COLORS, shown
from streams.report import Answer, Report
from streams.report_controls import CONTROLS

__all__ = ["html_of", "json_of"]

_OF_CONTROLS = (
    "Which figures are evidence for which control, on how many rows they rest. A mapping for auditors to check, no claim of conformity."
    " A figure without rows is evidence that nothing was recorded, not that nothing happened."
)
_OF_EVIDENCE = "Each figure rests on these rows of the store, read with FINAL. The filter can be given to ClickHouse as it is."
_DAY = 20
_NAMES = {0: "#b7dfc0", 1: COLORS["orange"], 2: COLORS["red"]}


def json_of(report: Report) -> bytes:
    """Everything of the page, and each figure's rows whole."""
    figures = {
        name: {
            "title": one.figure.title, "about": one.figure.about, "rows": list(one.rows),
            "evidence": {"table": one.figure.table, "filter": one.filter, "rows": one.evidence},
        }
        for name, one in report.answers.items()
    }  # fmt: skip
    controls = [{"source": one.source, "id": one.id, "asks": one.asks, "figures": list(one.figures)} for one in CONTROLS]
    tree = {
        "month": str(report.month), "model": report.model or None, "partial": report.partial, "made_at": report.made_at.isoformat(),
        "made_by": report.made_by, "store": report.store, "model_versions": report.versions, "false_pages_allowed": report.budget,
        "availability_promised": report.promised, "figures": figures, "controls": controls,
    }  # fmt: skip
    return (json.dumps(tree, indent=2, default=_plain, ensure_ascii=False, allow_nan=False) + "\n").encode()


def html_of(report: Report) -> str:
    """The page."""
    month = f"{calendar.month_name[report.month.month]} {report.month.year}"
    about = f"model {report.model}" if report.model else f"{report.versions} model version{'s' * (report.versions != 1)}"
    partial = f'<p class="warn">The month is not over: figures until {shown(report.made_at)} UTC.</p>' if report.partial else ""
    get = report.answers
    budget = f"{report.budget:.2g} in this month ({report.versions} model versions)"
    parts = [
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>inferwatch report {report.month}</title>',
        f"<style>{_style()}</style></head><body>",
        f"<h1>Model monitoring report <span>{escape(month)}, {escape(about)}</span></h1>{partial}",
        f'<div class="tiles">{"".join(_tiles(report))}</div>',
        "<h2>Pages against the budget</h2>",
        _about(f"The budget bounds false pages: {budget}. More pages than budget can mean real incidents."),
        '<div class="two"><div>', _titled(get["alerts"], table=False), _alert_bars(get["alerts"].rows), "</div><div>",
        _titled(get["alerts"], heading="Judged by on-call"), "</div></div>",
        "<h2>How fast</h2>", '<div class="two"><div>', _titled(get["detect_clients"]), _titled(get["detect_drift"]), "</div><div>",
        _titled(get["resolve"]), _titled(get["acknowledged"]), "</div></div>",
        "<h2>Incidents</h2>", _titled(get["incidents"]),
        "<h2>Drift</h2>", _titled(get["drift_days"], table=False), _days(report), _titled(get["drift_features"]),
        "<h2>What was promised</h2>", _titled(get["objectives"]),
        "<h2>Service and accuracy</h2>", _titled(get["service"]), _titled(get["accuracy"]),
        "<h2>Exposure</h2>", _titled(get["exposure"]), _titled(get["membership"]),
        "<h2>Can these figures be trusted</h2>", '<div class="two"><div>', _titled(get["completeness"]), _titled(get["signed"]),
        "</div><div>", _titled(get["audit"]), "</div></div>",
        "<h2>Controls</h2>", _about(_OF_CONTROLS), _controls(get),
        "<h2>Evidence</h2>", _about(_OF_EVIDENCE), _evidence(get),
        f"<footer>Made {shown(report.made_at)} UTC by {escape(report.made_by)} from {escape(report.store)}; written into the audit log.",
        "Budget and objectives are those set when the report was made.</footer></body></html>",
    ]  # fmt: skip
    return "\n".join(parts)


def _style() -> str:
    text = (files("dashboards") / "static" / "report.css").read_text(encoding="utf-8")
    for name in ("green", "orange", "red"):
        text = text.replace(name.upper(), COLORS[name])
    return text


def _about(text: str) -> str:
    return f'<p class="about">{escape(text)}</p>'


def _tiles(report: Report) -> list[str]:
    get = report.answers
    requests = report.total("service", "requests")
    answered = sum(row["answered"] * row["requests"] for row in get["service"].rows) / max(requests, 1)
    pages, false = int(report.total("alerts", "pages")), int(report.total("alerts", "pages_false"))
    unjudged = int(report.total("alerts", "pages_not_judged"))
    resolved = [row for row in get["resolve"].rows if row["severity"] == "page"]
    slowest = max((row["longest_s"] for row in resolved), default=None)
    made, arrived = report.total("completeness", "produced"), report.total("completeness", "arrived")
    loaded, signed = report.total("signed", "loaded"), report.total("signed", "signed")
    drifted = {(row["model"], row["version"]) for row in get["drift_days"].rows if row["worst"] == 2}
    return [
        _tile("Availability", shown(answered, "percentunit", 3), f"promised {shown(report.promised, 'percentunit')}",
              "green" if answered >= report.promised else "red"),
        _tile("Pages", str(pages), f"{false} false, {unjudged} not judged; {report.budget:.2g} false allowed",
              "red" if false > report.budget else "orange" if unjudged else "green"),
        _tile("Longest page", _time(slowest) if slowest is not None else "none", f"{sum(r['resolved'] for r in resolved):,} resolved", ""),
        _tile("Drifted", f"{len(drifted)} of {report.versions}", "model versions with a page-level day", "red" if drifted else "green"),
        _tile("Completeness", shown(arrived / made, "percentunit", 3) if made else "unknown", "of events arrived",
              "" if not made else "green" if arrived / made >= 0.999 else "red"),
        _tile("Signed", f"{int(signed)} of {int(loaded)}" if loaded else "unknown", "artefacts that were loaded",
              "" if not loaded else "green" if signed == loaded else "red"),
    ]  # fmt: skip


def _tile(name: str, value: str, small: str, color: str) -> str:
    return f'<div class="tile {color}"><span class="name">{escape(name)}</span><b>{escape(value)}</b><small>{escape(small)}</small></div>'


def _titled(answer: Answer, *, heading: str = "", table: bool = True) -> str:
    figure = answer.figure
    rows = _rows(answer.rows) if table else ""
    link = f'<p class="src">{answer.evidence:,} rows of <a href="#e-{figure.name}">{escape(figure.table)}</a></p>' if table else ""
    about = "" if heading else f'<p class="about">{escape(figure.about)}</p>'
    return f"<h3>{escape(heading or figure.title)}</h3>{about}{rows}{link}"


_UNITS: dict[str, Callable[[Any], str]] = {
    **dict.fromkeys(("answered", "completeness", "share", "accuracy"), lambda v: shown(v, "percentunit", 3)),
    **dict.fromkeys(
        ("budget_left", "copy_agreement", "found_at_1pct", "generalisation_gap", "balanced_accuracy"), lambda v: shown(v, "percentunit", 1)
    ),
    **dict.fromkeys(("w1", "psi", "log_evidence"), lambda v: f"{v:.2f}"),
    "worst_p95_ms": lambda v: f"{v:,.0f}",
}
_LONG = {"summary", "about", "client", "feature"}


def _rows(rows: Sequence[Mapping[str, Any]]) -> str:
    if not rows:
        return '<p class="none">Nothing in this month.</p>'
    names = list(rows[0])
    numeric = {name for name in names if any(isinstance(row[name], int | float) for row in rows)}
    head = "".join(f"<th{' class=n' if name in numeric else ''}>{escape(_heading(name))}</th>" for name in names)
    body = "".join(f"<tr>{''.join(_cell(name, row[name], name in numeric) for name in names)}</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _heading(name: str) -> str:
    return {"worst_p95_ms": "worst P95, ms", "w1": "W1", "psi": "PSI", "found_at_1pct": "found at 1 % false"}.get(
        name, name.removesuffix("_s").replace("_", " ")
    )


def _cell(name: str, value: Any, numeric: bool) -> str:
    if value is None:
        text = "open" if name == "lasted_s" else ""
    elif name in _UNITS:
        text = _UNITS[name](value)
    elif name.endswith("_s"):
        text = _time(value)
    elif isinstance(value, datetime):
        text = f"{value:%d %b %H:%M}"
    elif name == "client":
        text = shown(value)[:16]
    else:
        text = shown(value)
    kind = ' class="n"' if numeric else "" if name in _LONG else ' class="nowrap"'
    return f"<td{kind}>{escape(text)}</td>"


def _time(seconds: float) -> str:
    """As people say it.

    Example:
        >>> _time(42), _time(900), _time(9_000), _time(300_000)
        ('42 s', '15 min', '2.5 h', '3.5 d')
    """
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.1f}".removesuffix(".0") + f" {unit}"
    return f"{seconds:.0f} s"


def _alert_bars(rows: Sequence[Mapping[str, Any]]) -> str:
    """Pages by judgement and tickets, by family: stacked bars."""
    if not rows:
        return '<p class="none">No alert opened in this month.</p>'
    kinds = (
        ("pages_true", "true page", COLORS["red"]), ("pages_not_judged", "page, not judged", "#f1a3a0"),
        ("pages_benign", "benign cause", "#b197fc"), ("pages_false", "false page", "#495057"), ("tickets", "ticket", COLORS["orange"]),
    )  # fmt: skip
    most = max(sum(row[column] for column, _, _ in kinds) for row in rows)
    step, left, width = 24, 96, 330
    out = []
    for k, row in enumerate(rows):
        x = float(left)
        out.append(f'<text x="{left - 8}" y="{k * step + 15}" text-anchor="end">{escape(str(row["family"])[:16])}</text>')
        for column, name, color in kinds:
            size = width * row[column] / most
            if size:
                out.append(
                    f'<rect x="{x:.1f}" y="{k * step + 3}" width="{size:.1f}" height="{step - 8}" fill="{color}">'
                    f"<title>{escape(f'{row[column]:,} {name}')}</title></rect>"
                )
            x += size
        total = sum(row[column] for column, _, _ in kinds)
        out.append(f'<text x="{x + 6:.1f}" y="{k * step + 15}">{total:,}</text>')
    key = "".join(f'<span><i style="background:{color}"></i>{escape(name)}</span>' for _, name, color in kinds)
    size = f"{left + width + 50} {len(rows) * step + 4}"
    return f'<svg viewBox="0 0 {size}" width="{left + width + 50}" role="img">{"".join(out)}</svg><p class="key about">{key}</p>'


def _days(report: Report) -> str:
    """A square for each day of each model version."""
    rows = report.answers["drift_days"].rows
    names = sorted({(row["model"], row["version"]) for row in rows})[:40]
    worst = {(row["model"], row["version"], row["day"]): row["worst"] for row in rows}
    left = 190
    out = [f'<text x="{left + (d - 1) * _DAY + 9}" y="11" text-anchor="middle">{d}</text>' for d in range(1, report.month.days + 1)]
    for k, (model, version) in enumerate(names):
        y = 17 + k * _DAY
        out.append(f'<text x="{left - 8}" y="{y + 13}" text-anchor="end">{escape(f"{model} {version}"[:28])}</text>')
        for d in range(1, report.month.days + 1):
            level = worst.get((model, version, d))
            color = "#f1f3f5" if level is None else _NAMES[level]
            out.append(f'<rect x="{left + (d - 1) * _DAY}" y="{y}" width="{_DAY - 2}" height="{_DAY - 2}" rx="2" fill="{color}"/>')
    colors = {"within tolerance": _NAMES[0], "ticket": _NAMES[1], "page": _NAMES[2], "no traffic": "#f1f3f5"}
    key = "".join(f'<span><i style="background:{color}"></i>{name}</span>' for name, color in colors.items())
    width, height = left + report.month.days * _DAY, 20 + len(names) * _DAY
    evidence = report.answers["drift_days"]
    link = f'<p class="src">{evidence.evidence:,} rows of <a href="#e-drift_days">windows</a></p>'
    return f'<svg viewBox="0 0 {width} {height}" width="{width}" role="img">{"".join(out)}</svg><p class="key about">{key}</p>{link}'


def _controls(answers: Mapping[str, Answer]) -> str:
    body = ""
    for one in CONTROLS:
        rests = "; ".join(
            f'<a href="#e-{name}">{escape(answers[name].figure.title)}</a> ({answers[name].evidence:,} rows)' for name in one.figures
        )
        first = f'<td class="nowrap">{escape(one.source)}</td><td class="nowrap">{escape(one.id)}</td>'
        body += f"<tr>{first}<td>{escape(one.asks)}</td><td>{rests}</td></tr>"
    return f"<table><thead><tr><th>source</th><th>control</th><th>asks for</th><th>figures</th></tr></thead><tbody>{body}</tbody></table>"


def _evidence(answers: Mapping[str, Answer]) -> str:
    body = "".join(
        f'<tr id="e-{name}"><td>{escape(one.figure.title)}</td><td class="nowrap">{escape(one.figure.table)}</td>'
        f'<td><code>{escape(one.filter)}</code></td><td class="n">{one.evidence:,}</td></tr>'
        for name, one in answers.items()
    )
    return (
        f'<table><thead><tr><th>figure</th><th>table</th><th>filter</th><th class="n">rows</th></tr></thead><tbody>{body}</tbody></table>'
    )


def _plain(value: Any) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)
