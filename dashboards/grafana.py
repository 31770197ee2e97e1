"""A view as Grafana's JSON. No library in between: what is written is what is provisioned."""

from typing import Any

from dashboards.panels import Column, Link, Panel, Steps, Variable, View

__all__ = ["DATASOURCE", "TAG", "dashboard", "uid_of"]

TAG = "inferwatch"
DATASOURCE = {"type": "grafana-clickhouse-datasource", "uid": "inferwatch-clickhouse"}

_PLUGIN_VERSION = "4.20.0"
_SCHEMA_VERSION = 39  # Grafana 11; newer versions migrate it when they load it
_TYPES = {"timeseries": "timeseries", "stat": "stat", "table": "table", "bars": "barchart", "history": "status-history"}
_OVER_TIME = ("timeseries", "history")


def uid_of(name: str) -> str:
    """Grafana's uid of a view.

    >>> uid_of("oncall")
    'inferwatch-oncall'
    """
    return f"inferwatch-{name}"


def dashboard(view: View) -> dict[str, Any]:
    """Put it together: panels fill rows of 24 from left to right, in the order given, and are numbered from 1."""
    x = y = line = 0
    placed = []
    for number, panel in enumerate(view.panels, 1):
        w, h = panel.span
        if x + w > 24:
            x, y, line = 0, y + line, 0
        placed.append(_panel(panel, view) | {"id": number, "gridPos": {"x": x, "y": y, "w": w, "h": h}})
        x, line = x + w, max(line, h)
    return {
        "uid": uid_of(view.name),
        "title": view.title,
        "description": view.description,
        "tags": [TAG],
        "schemaVersion": _SCHEMA_VERSION,
        "editable": False,
        "graphTooltip": 1,
        "refresh": view.refresh,
        "time": {"from": f"now-{view.span}", "to": "now"},
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
        "templating": {"list": [_variable(variable) for variable in view.variables]},
        "panels": placed,
    }


def _panel(panel: Panel, view: View) -> dict[str, Any]:
    if panel.kind == "row":
        return {"type": "row", "title": panel.title, "collapsed": False, "panels": []}
    over_time = panel.kind in _OVER_TIME
    target = {
        "refId": "A",
        "datasource": DATASOURCE,
        "pluginVersion": _PLUGIN_VERSION,
        "editorType": "sql",
        "queryType": "timeseries" if over_time else "table",
        "format": 0 if over_time else 1,
        "rawSql": panel.sql,
    }
    shown: dict[str, Any] = {
        "type": _TYPES[panel.kind],
        "title": panel.title,
        "description": panel.description,
        "datasource": DATASOURCE,
        "fieldConfig": {"defaults": _defaults(panel), "overrides": [_override(column, view) for column in panel.columns]},
        "options": _OPTIONS[panel.kind],
        "targets": [target],
    }
    return shown | ({"interval": panel.interval} if over_time else {})


_LEGEND = {"calcs": ["lastNotNull", "max"], "displayMode": "table", "placement": "bottom", "showLegend": True}
_OPTIONS: dict[str, dict[str, Any]] = {
    "timeseries": {"legend": _LEGEND, "tooltip": {"mode": "multi", "sort": "desc"}},
    "history": {"rowHeight": 0.9, "colWidth": 0.9, "showValue": "never", "legend": {"showLegend": False}, "tooltip": {"mode": "single"}},
    "bars": {
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
        "tooltip": {"mode": "multi"},
        "stacking": "none",
        "xTickLabelRotation": -45,
        "xTickLabelMaxLength": 40,
    },
    "table": {"cellHeight": "sm", "showHeader": True},
    "stat": {
        "colorMode": "background",
        "graphMode": "none",
        "justifyMode": "auto",
        "orientation": "auto",
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        "textMode": "value_and_name",
    },
}


def _defaults(panel: Panel) -> dict[str, Any]:
    if panel.kind == "table":
        return {"custom": {"align": "auto", "filterable": True}}
    given: dict[str, Any] = {"unit": panel.unit, "decimals": panel.decimals, "displayName": panel.name or None}
    if panel.kind == "timeseries":
        stacking = {"group": "A", "mode": "normal" if panel.stacked else "none"}
        custom: dict[str, Any] = {
            "drawStyle": "bars" if panel.stacked else "line",
            "fillOpacity": 60 if panel.stacked else 8,
            "lineWidth": 1,
            "showPoints": "auto",
            "spanNulls": False,
            "stacking": stacking,
        }
        if panel.steps:
            custom["thresholdsStyle"] = {"mode": "dashed"}
        given |= {"custom": custom, "min": panel.minimum, "max": panel.maximum}
    if panel.kind == "history":
        given |= {"custom": {"fillOpacity": 90, "lineWidth": 0}, "color": {"mode": "thresholds"}}
    if panel.kind == "bars":
        given |= {"custom": {"fillOpacity": 80, "lineWidth": 0}}
    if panel.steps:
        given["thresholds"] = _thresholds(panel.steps)
    return {key: value for key, value in given.items() if value is not None}


def _thresholds(steps: Steps) -> dict[str, Any]:
    return {"mode": "absolute", "steps": [{"color": color, "value": value} for value, color in steps]}


def _override(column: Column, view: View) -> dict[str, Any]:
    properties: list[tuple[str, Any]] = []
    if column.unit:
        properties.append(("unit", column.unit))
    if column.decimals is not None:
        properties.append(("decimals", column.decimals))
    if column.width is not None:
        properties.append(("custom.width", column.width))
    if column.link is not None:
        properties.append(("links", [{"title": column.link.title, "url": _address(column.link, view), "targetBlank": False}]))
    if column.steps:
        properties.append(("thresholds", _thresholds(column.steps)))
    if column.words:
        options = {word: {"color": color, "index": i} for i, (word, color) in enumerate(column.words.items())}
        properties.append(("mappings", [{"type": "value", "options": options}]))
    if column.steps or column.words:
        properties.append(("custom.cellOptions", {"type": "color-background", "mode": "basic"}))
    if column.hidden:
        properties.append(("custom.hidden", True))
    return {"matcher": {"id": "byName", "options": column.name}, "properties": [{"id": id_, "value": value} for id_, value in properties]}


def _address(link: Link, view: View) -> str:
    if link.address:
        return _field(link.address)
    range_ = f"from=${{__data.fields.{link.since}.numeric}}&to=now" if link.since else "${__url_time_range}"
    kept = [v.name for v in view.variables if v.name not in link.values]
    parts = [range_, *(f"${{{name}:queryparam}}" for name in kept)]
    parts += [f"var-{name}={_field(column, ':percentencode')}" for name, column in link.values.items()]
    return f"/d/{uid_of(link.view)}?{'&'.join(parts)}"


def _field(column: str, format_: str = "") -> str:
    return f"${{__data.fields.{column}{format_}}}"


def _variable(variable: Variable) -> dict[str, Any]:
    common = {"name": variable.name, "label": variable.label, "description": variable.description, "hide": 0, "skipUrlSync": False}
    if not variable.sql:
        chosen = {"selected": True, "text": variable.value, "value": variable.value}
        return common | {"type": "textbox", "query": variable.value, "current": chosen, "options": [chosen]}
    return common | {
        "type": "query",
        "datasource": DATASOURCE,
        "definition": variable.sql,
        "query": {"refId": f"variable-{variable.name}", "queryType": "sql", "editorType": "sql", "rawSql": variable.sql},
        "current": {"selected": True, "text": ["All"], "value": ["$__all"]},
        "includeAll": True,
        "multi": True,
        "refresh": 2,  # when the time range changes
        "sort": 1,
        "options": [],
        "regex": "",
    }
