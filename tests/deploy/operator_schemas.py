"""What the Prometheus operator takes of its kinds, of the fields that the manifests use: anything else is a mistake there.

After the operator's own definitions (monitoring.coreos.com/v1, 0.80 to 0.95), which would be 800 KB here.
"""

from typing import Any

_TEXT = {"type": "string", "minLength": 1}
_TIME = {"type": "string", "pattern": r"^(0|(([0-9]+)y)?(([0-9]+)w)?(([0-9]+)d)?(([0-9]+)h)?(([0-9]+)m)?(([0-9]+)s)?(([0-9]+)ms)?)$"}
_TEXTS = {"type": "object", "additionalProperties": {"type": "string"}}


def _of(required: str, **properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": required.split(), "additionalProperties": False}


def _list(of: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": of, "minItems": 1}


_ENDPOINTS = _list(
    _of("port", port=_TEXT, interval=_TIME, relabelings=_list(_of("targetLabel replacement", targetLabel=_TEXT, replacement=_TEXT)))
)
_SELECTOR = _of("matchLabels", matchLabels=_TEXTS)
_RULE = _of("expr", record=_TEXT, alert=_TEXT, expr=_TEXT, labels=_TEXTS, annotations=_TEXTS, **{"for": _TIME, "keep_firing_for": _TIME})
_SPECS = {
    "ServiceMonitor": _of("selector endpoints", selector=_SELECTOR, endpoints=_ENDPOINTS),
    "PodMonitor": _of("selector podMetricsEndpoints", selector=_SELECTOR, podMetricsEndpoints=_ENDPOINTS),
    "PrometheusRule": _of("groups", groups=_list(_of("name rules", name=_TEXT, interval=_TIME, rules=_list(_RULE)))),
}
SCHEMAS: dict[str, dict[str, Any]] = {
    kind: _of(
        "apiVersion kind metadata spec",
        apiVersion={"const": "monitoring.coreos.com/v1"},
        kind={"const": kind},
        metadata=_of("name namespace", name=_TEXT, namespace={"const": "inferwatch"}, labels=_TEXTS),
        spec=spec,
    )
    for kind, spec in _SPECS.items()
}
