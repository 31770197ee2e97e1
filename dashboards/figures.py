"""A panel's rows as a Plotly figure. Pure: rows in, the figure's JSON out.

Names come from strangers (clients, models): Plotly reads a little HTML in its texts, so they are escaped here.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from html import escape
from typing import Any

import plotly.graph_objects as go

from dashboards.formats import COLORS, axis, shown
from dashboards.panels import Panel

__all__ = ["MAX_SERIES", "figure"]

_OF_SEVERITY = {"page": COLORS["red"], "pages": COLORS["red"], "ticket": COLORS["orange"], "tickets": COLORS["orange"]}

Rows = Sequence[Mapping[str, Any]]

MAX_SERIES = 60
"""Lines of one plot; more could not be told apart."""
_NAME, _PSEUDONYM = 60, 12
_LABEL = re.compile(r"\$\{__field\.labels\.(\w+)\}")
_PALETTE = (
    "#1c6fb8", "#e8590c", "#2f9e44", "#862e9c", "#c92a2a", "#0b7285", "#f0b429", "#5f3dc4", "#a61e4d", "#5c940d", "#495057", "#d9480f",
)  # fmt: skip


def figure(panel: Panel, rows: Rows, start: datetime, end: datetime, step: timedelta) -> str:
    """The figure's JSON, for ``Plotly.newPlot``.

    Args:
        panel: Of kind timeseries, bars or history.
        rows: Its answer; at least one.
        start: Begin of the axis of time.
        end: End of it.
        step: Interval of the points: a longer pause breaks a line.

    >>> from datetime import UTC
    >>> from dashboards.panels import bars
    >>> at = datetime(2026, 1, 1, tzinfo=UTC)
    >>> '"x":["a"]' in figure(bars("t", "d", "", (6, 6)), [{"k": "a", "n": 2}], at, at, timedelta(1))
    True
    """
    made = {"timeseries": _timeseries, "bars": _bars, "history": _history}[panel.kind](panel, rows, step)
    made.update_layout(
        template="none",
        font={"family": "system-ui, sans-serif", "size": 11, "color": "#343a40"},
        margin={"l": 48, "r": 12, "t": 8, "b": 32},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        colorway=_PALETTE,
        hovermode="closest" if panel.kind == "history" else "x",
        hoverlabel={"namelength": _NAME, "font": {"size": 11}},
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0, "font": {"size": 10}, "itemwidth": 30, "maxheight": 0.4},
        showlegend=panel.kind != "history" and not (panel.kind == "bars" and len(made.data) == 1),
    )
    made.update_xaxes(gridcolor="#eef0f2", linecolor="#ced4da", automargin=True)
    made.update_yaxes(gridcolor="#eef0f2", zerolinecolor="#ced4da", automargin=True, **axis(panel.unit))
    if panel.kind == "timeseries":
        made.update_xaxes(range=[start, end], type="date")
    return str(made.to_json())


def _timeseries(panel: Panel, rows: Rows, step: timedelta) -> go.Figure:
    labels, values = _split(rows, skip="time")
    series: dict[tuple[str, ...], list[tuple[datetime, float | None]]] = {}
    for row in rows:
        for column in values:
            series.setdefault((column, *(str(row[k]) for k in labels)), []).append((row["time"], row[column]))
    keys = list(series)[:MAX_SERIES]
    names = _without_common([_name(panel.name, dict(zip(labels, key[1:], strict=True)), key[0]) for key in keys])
    made = go.Figure()
    for key, name in zip(keys, names, strict=True):
        points = series[key]
        if panel.stacked:
            made.add_bar(name=name, marker={"color": _OF_SEVERITY.get(name)}, x=[at for at, _ in points], y=[value for _, value in points])
        else:
            parts = _broken(points, step * 3)
            xs, ys = [at for at, _ in parts], [value for _, value in parts]
            mode = "lines+markers" if len(parts) < 40 or len(parts) > 1.2 * len(points) else "lines"  # a lone point has no line
            made.add_scatter(name=name, x=xs, y=ys, mode=mode, line={"width": 1.5}, marker={"size": 4})
    if len(series) > MAX_SERIES:
        made.add_annotation(text=f"{MAX_SERIES} of {len(series)} lines", x=1, y=0, xref="paper", yref="paper", showarrow=False)
    made.update_layout(barmode="stack", bargap=0.05)
    numbers = [value for points in series.values() for _, value in points if value is not None]
    if panel.steps and numbers:
        _thresholds(made, panel, min(numbers), max(numbers))
    elif panel.maximum is not None and numbers:
        least = min([*numbers, 0.99 * panel.maximum])
        made.update_yaxes(range=[least, panel.maximum + 0.05 * (panel.maximum - least)])
    elif panel.minimum is not None and numbers:
        made.update_yaxes(rangemode="tozero")
        if max(numbers) == 0:
            made.update_yaxes(range=[0, 1])
        _whole_ticks(made, numbers)
    return made


def _whole_ticks(made: go.Figure, numbers: Sequence[float | None]) -> None:
    """No tenths of an alert on the axis of a few."""
    if numbers and all(isinstance(value, int) for value in numbers) and max(filter(None, numbers), default=0) <= 5:
        made.update_yaxes(dtick=1)


def _thresholds(made: go.Figure, panel: Panel, low: float, high: float) -> None:
    lines = [(at, COLORS.get(color) or "#adb5bd") for at, color in panel.steps if at is not None]
    for at, color in lines:
        made.add_hline(y=at, line={"color": color, "width": 1, "dash": "dash"})
    next_line = next((at for at, _ in lines if at > high), lines[-1][0])
    top = max(high, next_line) if panel.unit != "ms" else high
    bottom = min(low, 0.0) if panel.minimum is None else panel.minimum
    made.update_yaxes(range=[bottom - 0.03 * (top - bottom) * (bottom < 0), top + 0.08 * (top - bottom)])


def _bars(panel: Panel, rows: Rows, step: timedelta) -> go.Figure:
    first, *others = rows[0]
    made = go.Figure()
    for column in others:
        made.add_bar(
            name=_safe(column.replace("_", " ")),
            marker={"color": _OF_SEVERITY.get(column)},
            x=[_ends(shown(row[first])) for row in rows],
            y=[row[column] for row in rows],
        )
    made.update_layout(barmode="stack" if panel.stacked else "group", bargap=0.2)
    made.update_xaxes(type="category")
    _whole_ticks(made, [row[column] for row in rows for column in others])
    return made


def _history(panel: Panel, rows: Rows, step: timedelta) -> go.Figure:
    labels, (column, *_) = _split(rows, skip="time")
    lines = {(row["time"], _name(panel.name, {k: str(row[k]) for k in labels}, column)): row[column] for row in rows}
    days, names = sorted({at for at, _ in lines}), sorted({name for _, name in lines}, reverse=True)
    colors = [COLORS.get(color) or "#ffffff" for _, color in panel.steps]
    scale = [(edge, color) for i, color in enumerate(colors) for edge in (i / len(colors), (i + 1) / len(colors))]
    boxes = [[_box(lines.get((day, name)), panel) for day in days] for name in names]
    made = go.Figure(
        go.Heatmap(
            x=[f"{day:%Y-%m-%d}" for day in days],
            y=names,
            z=boxes,
            zmin=-0.5,
            zmax=len(colors) - 0.5,
            colorscale=scale,
            showscale=False,
            xgap=3,
            ygap=3,
            hovertemplate="%{y}<br>%{x}<extra></extra>",
        )
    )
    # A single box would fill the panel: room for a week and for eight lines at least.
    made.update_xaxes(type="category", range=[-0.5, max(len(days), 7) - 0.5])
    made.update_yaxes(type="category", range=[min(len(names) - 8, 0) - 0.5, len(names) - 0.5])
    return made


def _box(value: float | None, panel: Panel) -> int | None:
    if value is None:
        return None
    return max((i for i, (at, _) in enumerate(panel.steps) if at is None or value >= at), default=None)


def _split(rows: Rows, skip: str) -> tuple[list[str], list[str]]:
    """Columns of names and of numbers."""
    names = [name for name in rows[0] if name != skip and any(isinstance(row[name], str) for row in rows)]
    return names, [name for name in rows[0] if name != skip and name not in names]


def _broken(points: list[tuple[datetime, float | None]], pause: timedelta) -> list[tuple[datetime, float | None]]:
    out: list[tuple[datetime, float | None]] = []
    for at, value in points:
        if out and at - out[-1][0] > pause:
            out.append((out[-1][0] + pause / 3, None))
        out.append((at, value))
    return out


def _without_common(names: Sequence[str]) -> list[str]:
    """The names without the words that all begin with: the one model's, the one version's."""
    words = [name.split(" ") for name in names]
    common = 0
    while len(names) > 1 and all(len(one) > common + 1 and one[common] == words[0][common] for one in words):
        common += 1
    return [" ".join(one[common:]) for one in words]


def _name(template: str, labels: Mapping[str, str], column: str) -> str:
    labels = {key: f"{text[:_PSEUDONYM]}…" if key == "client" and len(text) > _PSEUDONYM else text for key, text in labels.items()}
    if not template:
        return _safe(" ".join([column, *labels.values()]) if labels else column)
    return _safe(_LABEL.sub(lambda match: labels.get(match[1], ""), template.replace("${__field.name}", column)))


def _ends(text: str) -> str:
    """As `_safe`, but what is too long keeps both ends: places on an axis that begin alike stay apart."""
    return _safe(text if len(text) <= _NAME else f"{text[: _NAME // 2]}…{text[1 - _NAME // 2 :]}")


def _safe(text: str) -> str:
    """Escaped for Plotly, and not longer than a legend bears."""
    return escape(text if len(text) <= _NAME else f"{text[: _NAME - 1]}…", quote=False)
