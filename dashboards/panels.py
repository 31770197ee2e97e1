"""Panels as plain dicts, in the JSON that Grafana reads. No library in between: what is written is what is provisioned."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

__all__ = ["DATASOURCE", "TAG", "Panel", "column", "dashboard", "query_variable", "row", "stat", "table", "text_variable", "timeseries"]

Panel = dict[str, Any]
Span = tuple[int, int]
"""Width (of 24) and height in grid units."""

TAG = "inferwatch"
DATASOURCE = {"type": "grafana-clickhouse-datasource", "uid": "inferwatch-clickhouse"}

_PLUGIN_VERSION = "4.20.0"
_SCHEMA_VERSION = 39  # Grafana 11; newer versions migrate it when they load it


def timeseries(
    title: str,
    description: str,
    sql: str,
    span: Span,
    *,
    name: str = "",
    unit: str = "short",
    bars: bool = False,
    minimum: float | None = 0.0,
    maximum: float | None = None,
    interval: str = "1m",
) -> Panel:
    """Lines over time, one for each label of ``time, label, value`` (or each further column).

    Args:
        title: Heading.
        description: What it shows, and when it misleads.
        sql: Ordered by a column named ``time``.
        span: Width and height.
        name: Name of a line, with Grafana's placeholders (``${__field.labels.model}``); "" for Grafana's own.
        unit: Grafana's unit id.
        bars: Stacked bars instead of lines.
        minimum: Lower end of the axis, ``None`` for automatic.
        maximum: Upper end of the axis, ``None`` for automatic.
        interval: Shortest ``$__interval``: not below a window's length, or the bars have gaps.
    """
    custom = {
        "drawStyle": "bars" if bars else "line",
        "fillOpacity": 60 if bars else 8,
        "lineWidth": 1,
        "showPoints": "auto",
        "spanNulls": False,
        "stacking": {"group": "A", "mode": "normal" if bars else "none"},
    }
    defaults: dict[str, Any] = {"custom": custom, "unit": unit}
    given = {"displayName": name or None, "min": minimum, "max": maximum}
    defaults |= {key: value for key, value in given.items() if value is not None}
    options = {
        "legend": {"calcs": ["lastNotNull", "max"], "displayMode": "table", "placement": "bottom", "showLegend": True},
        "tooltip": {"mode": "multi", "sort": "desc"},
    }
    return _panel("timeseries", title, description, sql, span, defaults, options) | {"interval": interval}


def stat(
    title: str,
    description: str,
    sql: str,
    span: Span,
    *,
    steps: Sequence[tuple[float | None, str]],
    unit: str = "short",
    decimals: int | None = None,
    links: Sequence[Mapping[str, Any]] = (),
) -> Panel:
    """One large number for each value column, coloured by ``steps`` (from, colour), the first from ``None``."""
    defaults: dict[str, Any] = {
        "unit": unit,
        "links": list(links),
        "thresholds": {"mode": "absolute", "steps": [{"color": color, "value": value} for value, color in steps]},
    }
    if decimals is not None:
        defaults["decimals"] = decimals
    options = {
        "colorMode": "background",
        "graphMode": "none",
        "justifyMode": "auto",
        "orientation": "auto",
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        "textMode": "value_and_name",
    }
    return _panel("stat", title, description, sql, span, defaults, options, format_="table")


def table(title: str, description: str, sql: str, span: Span, *, columns: Sequence[dict[str, Any]] = ()) -> Panel:
    """Rows as they come; ``columns`` (see `column`) say how some are shown."""
    options = {"cellHeight": "sm", "showHeader": True}
    panel = _panel("table", title, description, sql, span, {"custom": {"align": "auto", "filterable": True}}, options, format_="table")
    panel["fieldConfig"]["overrides"] = list(columns)
    return panel


def column(
    name: str,
    *,
    unit: str | None = None,
    decimals: int | None = None,
    width: int | None = None,
    link: tuple[str, str] | None = None,
    steps: Sequence[tuple[float | None, str]] = (),
    words: Mapping[str, str] | None = None,
    hidden: bool = False,
) -> dict[str, Any]:
    """How the table column ``name`` is shown: unit, link (title, address), colours by threshold or by word."""
    properties: list[tuple[str, Any]] = []
    if unit is not None:
        properties.append(("unit", unit))
    if decimals is not None:
        properties.append(("decimals", decimals))
    if width is not None:
        properties.append(("custom.width", width))
    if link is not None:
        properties.append(("links", [{"title": link[0], "url": link[1], "targetBlank": False}]))
    if steps:
        properties.append(("thresholds", {"mode": "absolute", "steps": [{"color": color, "value": value} for value, color in steps]}))
    if words:
        options = {word: {"color": color, "index": i} for i, (word, color) in enumerate(words.items())}
        properties.append(("mappings", [{"type": "value", "options": options}]))
    if steps or words:
        properties.append(("custom.cellOptions", {"type": "color-background", "mode": "basic"}))
    if hidden:
        properties.append(("custom.hidden", True))
    return {"matcher": {"id": "byName", "options": name}, "properties": [{"id": id_, "value": value} for id_, value in properties]}


def row(title: str) -> Panel:
    """A heading across the dashboard."""
    return {"type": "row", "title": title, "collapsed": False, "panels": [], "gridPos": {"h": 1, "w": 24, "x": 0, "y": 0}}


def query_variable(name: str, label: str, description: str, sql: str) -> dict[str, Any]:
    """A variable with the values of ``sql``'s first column, several at a time, All by default."""
    return {
        "type": "query",
        "name": name,
        "label": label,
        "description": description,
        "datasource": DATASOURCE,
        "definition": sql,
        "query": {"refId": f"variable-{name}", "queryType": "sql", "editorType": "sql", "rawSql": sql},
        "current": {"selected": True, "text": ["All"], "value": ["$__all"]},
        "includeAll": True,
        "multi": True,
        "refresh": 2,  # when the time range changes
        "sort": 1,
        "hide": 0,
        "options": [],
        "regex": "",
        "skipUrlSync": False,
    }


def text_variable(name: str, label: str, description: str, value: str) -> dict[str, Any]:
    """A variable typed by the viewer."""
    chosen = {"selected": True, "text": value, "value": value}
    common = {"type": "textbox", "name": name, "label": label, "description": description, "query": value}
    return common | {"current": chosen, "options": [chosen], "hide": 0, "skipUrlSync": False}


def dashboard(uid: str, title: str, description: str, variables: Sequence[dict[str, Any]], panels: Sequence[Panel]) -> dict[str, Any]:
    """Put it together: panels fill rows of 24 from left to right, in the order given, and are numbered from 1."""
    x = y = line = 0
    placed = []
    for number, panel in enumerate(panels, 1):
        w, h = panel["gridPos"]["w"], panel["gridPos"]["h"]
        if x + w > 24:
            x, y, line = 0, y + line, 0
        placed.append(panel | {"id": number, "gridPos": {"x": x, "y": y, "w": w, "h": h}})
        x, line = x + w, max(line, h)
    return {
        "uid": uid,
        "title": title,
        "description": description,
        "tags": [TAG],
        "schemaVersion": _SCHEMA_VERSION,
        "editable": False,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "timezone": "browser",
        "links": [
            {
                "type": "dashboards",
                "title": "inferwatch",
                "tags": [TAG],
                "asDropdown": True,
                "includeVars": True,
                "keepTime": True,
                "targetBlank": False,
                "icon": "external link",
                "tooltip": "The other dashboards, with these variables and this time range",
                "url": "",
            }
        ],
        "annotations": {"list": []},
        "templating": {"list": list(variables)},
        "panels": placed,
    }


def _panel(
    type_: str,
    title: str,
    description: str,
    sql: str,
    span: Span,
    defaults: dict[str, Any],
    options: dict[str, Any],
    format_: Literal["timeseries", "table"] = "timeseries",
) -> Panel:
    target = {
        "refId": "A",
        "datasource": DATASOURCE,
        "pluginVersion": _PLUGIN_VERSION,
        "editorType": "sql",
        "queryType": format_,
        "format": 1 if format_ == "table" else 0,
        "rawSql": sql,
    }
    return {
        "type": type_,
        "title": title,
        "description": description,
        "datasource": DATASOURCE,
        "gridPos": {"w": span[0], "h": span[1], "x": 0, "y": 0},
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": options,
        "targets": [target],
    }
