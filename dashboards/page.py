"""The local page's HTML: frame, form, panels. Every text that is not ours goes through `escape`."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from dashboards.choice import SPANS, Choice
from dashboards.figures import Rows
from dashboards.formats import COLORS, color_of, shown
from dashboards.panels import Column, Link, Panel, Variable, View

__all__ = ["bottom", "grid", "note", "panel_html", "plain_page", "top"]

_UNIT_PX = 36
"""Height of one grid unit."""
_CELL, _WIDE = 400, 48
"""Characters of a cell, and those above which it gets several lines."""


def top(view: View, views: Sequence[View], choice: Choice, options: Mapping[str, Sequence[str]], store: str, scripts: Sequence[str]) -> str:
    """The page down to its first panel.

    Args:
        view: The one that is shown.
        views: All, for the links.
        choice: Of the viewer.
        options: Values to choose from, by variable.
        store: What is read, without a password.
        scripts: Addresses of the scripts, in order.
    """
    tags = "".join(f'<script defer src="{escape(script)}"></script>' for script in scripts)
    links = "".join(
        f'<a href="{escape(choice.address(one.name))}"{" aria-current=page" if one.name == view.name else ""}>{escape(_short(one))}</a>'
        for one in views
    )
    fields = "".join(_field(variable, choice, options.get(variable.name, ())) for variable in view.variables)
    kept = {name: values for name, values in choice.given.items() if name not in {variable.name for variable in view.variables}}
    hidden = "".join(f'<input type=hidden name="{escape(name)}" value="{escape(v)}">' for name, values in kept.items() for v in values)
    spans = "".join(_option(span, span == choice.span) for span in (() if choice.span in SPANS else (choice.span,)) + SPANS)
    until = f'<label>Until (UTC)<input name=to value="{escape(choice.to)}" placeholder="newest row"></label>'
    form = f"{fields}<label>Range<select name=span>{spans}</select></label>{until}{hidden}<button>Show</button>"
    said = f"{shown(choice.start)} to {shown(choice.end)} UTC, in steps of {_duration(choice)}, from {store}"
    return (
        f"{_head(view.title, tags)}<header><nav>{links}</nav><h1>{escape(_short(view))}</h1><p>{escape(view.description)}</p>"
        f'<form method=get action="/view/{escape(view.name)}">{form}</form><p class=range>{escape(said)}</p></header><main>'
    )


def bottom(seconds: float) -> str:
    """The end of the page."""
    return f"</main><footer>Read-only. Asked and drawn in {seconds:.1f} s.</footer></body></html>"


def plain_page(title: str, text: str) -> str:
    """A page that only says something, with lines kept."""
    return f"{_head(title, '')}<header><h1>{escape(title)}</h1><pre>{escape(text)}</pre></header></body></html>"


def grid(panel: Panel, inner: str) -> str:
    """The panel in its place; a row is a heading."""
    if panel.kind == "row":
        return f"<h2>{escape(panel.title)}</h2>"
    width, height = panel.span
    size = "max-height" if panel.kind == "table" else "height"
    return (
        f'<section class={panel.kind} style="grid-column:span {width};{size}:{height * _UNIT_PX}px"><h3>{escape(panel.title)}</h3>'
        f"<details><summary>what is this</summary><p>{escape(panel.description)}</p></details><div class=body>{inner}</div></section>"
    )


def note(text: str, *, error: bool = False) -> str:
    """A sentence in a panel's place."""
    return f'<p class="{"error" if error else "note"}">{escape(text)}</p>'


def panel_html(panel: Panel, rows: Rows, choice: Choice, number: int, figure: str | None) -> str:
    """A panel's inside: a plot from its figure's JSON, large numbers, or a table."""
    if not rows:
        return note("Nothing in this time range.")
    if figure is not None:
        data = figure.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
        return f'<div class=plot data-figure="f{number}"></div><script type="application/json" id="f{number}">{data}</script>'
    return _stat(panel, rows[0]) if panel.kind == "stat" else _table(panel, rows, choice)


def _head(title: str, scripts: str) -> str:
    return (
        f'<!doctype html><html lang=en><head><meta charset=utf-8><meta name=viewport content="width=device-width"><title>{escape(title)}'
        f'</title><link rel=icon href="data:,"><link rel=stylesheet href="/static/page.css">{scripts}</head><body>'
    )


def _short(view: View) -> str:
    return view.title.removeprefix("inferwatch / ")


def _duration(choice: Choice) -> str:
    seconds = choice.step.total_seconds()
    return f"{seconds:g} s" if seconds < 60 else f"{seconds / 60:g} min" if seconds < 3600 else f"{seconds / 3600:g} h"


def _field(variable: Variable, choice: Choice, options: Sequence[str]) -> str:
    label, name, title = escape(variable.label), escape(variable.name), escape(variable.description)
    chosen = choice.given.get(variable.name, ())
    if variable.value:
        value = escape(chosen[0] if chosen else variable.value)
        return f'<label title="{title}">{label}<input name="{name}" value="{value}" size=6></label>'
    others = [option for option in options if option not in chosen]
    first = _option("", not chosen, "All")
    several = len(chosen) > 1
    boxes = "".join(_option(one, True) for one in chosen) + "".join(_option(one, False) for one in others)
    return f'<label title="{title}">{label}<select name="{name}"{" multiple size=3" if several else ""}>{first}{boxes}</select></label>'


def _option(value: str, chosen: bool, text: str = "") -> str:
    return f'<option value="{escape(value)}"{" selected" if chosen else ""}>{escape(_cut(text or value, 60))}</option>'


def _stat(panel: Panel, row: Mapping[str, Any]) -> str:
    return f"<div class=stats>{''.join(_number(name, value, panel) for name, value in row.items())}</div>"


def _number(name: str, value: Any, panel: Panel) -> str:
    color = color_of(value, panel.steps) or COLORS["blue"]
    text = shown(value, panel.unit, panel.decimals) or "-"
    return f'<div style="background:{color}"><b>{escape(text)}</b><span>{escape(name)}</span></div>'


def _table(panel: Panel, rows: Rows, choice: Choice) -> str:
    dress = {column.name: column for column in panel.columns}
    names = [name for name in rows[0] if not (name in dress and dress[name].hidden)]
    numeric = {name for name in names if all(_is_number(row[name]) for row in rows)}
    head = "".join(f"<th{' class=n' if name in numeric else ''}>{escape(name)}</th>" for name in names)
    body = "".join(f"<tr>{''.join(_cell(row, name, dress.get(name), name in numeric, choice) for name in names)}</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _is_number(value: Any) -> bool:
    return value is None or isinstance(value, int | float)


def _cell(row: Mapping[str, Any], name: str, column: Column | None, numeric: bool, choice: Choice) -> str:
    value = row[name]
    text = shown(value, column.unit if column else "", column.decimals if column else None)
    inner = escape(_cut(text, _CELL))
    style = ""
    if column and text:
        color = color_of(value, column.steps) or COLORS.get(column.words.get(text, ""), "")
        style += f"background:{color};color:#fff" if color and color != COLORS["green"] else ""
        target = _target(column.link, row, choice) if column.link else ""
        if target:
            inner = f'<a href="{escape(target)}" title="{escape(column.link.title if column.link else "")}">{inner}</a>'
    if len(text) > _WIDE:
        inner = f"<div>{inner}</div>"
    kind = " class=n" if numeric else ""
    return f"<td{kind}{f' style={_quoted(style)}' if style else ''}>{inner}</td>"


def _quoted(text: str) -> str:
    return f'"{escape(text)}"'


def _target(link: Link, row: Mapping[str, Any], choice: Choice) -> str:
    if link.address:
        address = str(row[link.address])
        return address if address.startswith(("https://", "http://")) else ""
    changed = {variable: str(row[column]) for variable, column in link.values.items()}
    return choice.address(link.view, changed, int(row[link.since]) if link.since else None)


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"
