"""What the drill found: a line a mode, as text, JSON and a page to print."""

from __future__ import annotations

import html
from collections.abc import Sequence

import msgspec

from schemas.alerts import Alert
from streams.drill.modes import Mode

__all__ = ["Fired", "Line", "Report", "line_of", "page"]


class Fired(msgspec.Struct, frozen=True, kw_only=True):
    """The first time that a detector told of a severity."""

    detector: str
    severity: str
    seconds: float
    events: int
    summary: str


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one mode.

    Attributes:
        failure: Its number.
        model: The model that failed so.
        title: What happened.
        expected: `detector severity`, what had to fire; empty: nothing detects it yet.
        missing: What there is no detector for.
        fired: The expected alerts that fired, after seconds and events since the onset.
        late: Expected alerts that did not fire.
        besides: Other alerts, as `detector severity`.
        wrong: Those of them that are pages and have no business here, and whatever fired before the onset.
        paged_s: Seconds until Alertmanager's receiver had a page of it; None when there was none, or no Alertmanager.
        gate: What `inferwatch gate` said at the end.
    """

    failure: str
    model: str
    title: str
    expected: tuple[str, ...]
    missing: str = ""
    fired: tuple[Fired, ...] = ()
    late: tuple[str, ...] = ()
    besides: tuple[str, ...] = ()
    wrong: tuple[str, ...] = ()
    paged_s: float | None = None
    gate: str = ""

    @property
    def passed(self) -> bool:
        """What can be detected was, and nothing else paged."""
        return not self.late and not self.wrong

    @property
    def outcome(self) -> str:
        """In a word or two."""
        if self.wrong:
            return "wrong page"
        if self.late:
            return "missed"
        return "fired" if self.expected else "not detected yet" if self.missing else "quiet"


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """The drill."""

    began: str
    window_s: float
    warm_s: float
    failing_s: float
    rate: float
    lines: tuple[Line, ...]

    @property
    def passed(self) -> bool:
        """Every line passed."""
        return all(line.passed for line in self.lines)


def line_of(mode: Mode, seen: Sequence[tuple[Alert, float, int]], paged_s: float | None, gate: str = "") -> Line:
    """Judges a mode by the alerts of its model: (alert, seconds since the onset, events since the onset), in order.

    Example:
        >>> from streams.drill.modes import CONTROL
        >>> line_of(CONTROL, [], None).outcome
        'quiet'
    """
    first: dict[tuple[str, str], Fired] = {}
    early = []
    for alert, seconds, events in seen:
        if alert.state != "firing":
            continue
        key = alert.detector, alert.severity
        if seconds < 0:
            early.append(f"{alert.detector} {alert.severity} before the onset")
        elif key not in first:
            first[key] = Fired(
                detector=alert.detector, severity=alert.severity, seconds=round(seconds, 1), events=events, summary=alert.summary
            )
    fired, late = [], []
    for expected in mode.expected:
        found = [
            one for (detector, severity), one in first.items() if detector == expected.detector and severity in ("page", expected.severity)
        ]
        if found:
            fired.append(min(found, key=lambda one: one.seconds))
        else:
            late.append(f"{expected.detector} {expected.severity}")
    mine = {expected.detector for expected in mode.expected}
    besides = [key for key in first if key not in {(one.detector, one.severity) for one in fired}]
    wrong = [f"{d} {s}" for d, s in besides if s == "page" and d not in mine | mode.companions]
    return Line(
        failure=mode.failure, model=mode.model, title=mode.title, expected=tuple(f"{e.detector} {e.severity}" for e in mode.expected),
        missing=mode.missing, fired=tuple(fired), late=tuple(late), besides=tuple(f"{d} {s}" for d, s in besides),
        wrong=(*wrong, *(one for one in dict.fromkeys(early) if " page " in one)), paged_s=paged_s, gate=gate,
    )  # fmt: skip


_STYLE = (
    "body{font:15px sans-serif;max-width:75em;margin:2em auto}"
    "td,th{padding:.3em .7em;text-align:left;vertical-align:top;border-bottom:1px solid #ccc}"
)
_COLOURS = {"fired": "#0a7a28", "quiet": "#0a7a28", "not detected yet": "#8a6d00", "missed": "#b00020", "wrong page": "#b00020"}


def page(report: Report) -> str:
    """The report as one page of HTML, with nothing loaded from elsewhere."""
    rows = []
    for line in report.lines:
        told = "<br>".join(
            f"{html.escape(f'{one.detector} {one.severity}')} after {one.seconds:g} s, {one.events:,} events" for one in line.fired
        )
        told += "".join(f"<br><b>not fired: {html.escape(late)}</b>" for late in line.late)
        besides = ", ".join([*line.besides, *(f"WRONG: {one}" for one in line.wrong)]) or "-"
        rows.append(
            f"<tr><td>{html.escape(line.failure)}</td><td>{html.escape(line.title)}</td>"
            f'<td style="color:{_COLOURS[line.outcome]}">{line.outcome}</td><td>{told or html.escape(line.missing) or "-"}</td>'
            f"<td>{'-' if line.paged_s is None else f'{line.paged_s:.1f} s'}</td><td>{html.escape(besides)}</td>"
            f"<td>{html.escape(line.gate)}</td></tr>"
        )
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>Fire drill {html.escape(report.began)}</title><style>{_STYLE}</style>'
        f"<h1>Fire drill, {html.escape(report.began)}: {'passed' if report.passed else 'not passed'}</h1>"
        f"<p>Windows of {report.window_s:g} s, {report.warm_s:.0f} s of ordinary traffic, then {report.failing_s:.0f} s of failures, "
        f"{report.rate:g} requests a second and model, all models at once.</p>"
        "<table><tr><th></th><th>what happened</th><th></th><th>what fired, since the onset</th><th>at the receiver</th><th>besides</th>"
        f"<th>gate at the end</th></tr>{''.join(rows)}</table></html>\n"
    )
