"""Numbers, times and colours for people, as Grafana would show them."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from dashboards.panels import Steps

__all__ = ["COLORS", "axis", "color_of", "shown"]

COLORS = {
    "green": "#2f9e44",
    "yellow": "#c98a00",
    "orange": "#e8590c",
    "red": "#c92a2a",
    "blue": "#1c6fb8",
    "transparent": "",
}
"""By Grafana's names."""


def shown(value: Any, unit: str = "", decimals: int | None = None) -> str:
    """The value as text, unescaped.

    >>> shown(0.9987, "percentunit", 2), shown(1234567), shown(0.25, "s"), shown(2_500_000_000, "bytes")
    ('99.87 %', '1,234,567', '0.25 s', '2.33 GiB')
    """
    if value is None:
        return ""
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S}"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, str):
        return value
    if isinstance(value, Sequence):
        return ", ".join(shown(one) for one in value)
    if not isinstance(value, int | float):
        return str(value)
    if value != value:
        return ""
    if unit == "percentunit":
        return f"{_digits(value * 100, decimals)} %"
    if unit == "bytes":
        return _bytes(value)
    suffix = {"s": " s", "ms": " ms", "reqps": " /s"}.get(unit, "")
    if unit.startswith("suffix:"):
        suffix = f" {unit.removeprefix('suffix:')}"
    return f"{_digits(value, decimals)}{suffix}"


def _digits(value: float, decimals: int | None) -> str:
    if decimals is not None:
        return f"{value:,.{decimals}f}"
    if value == int(value) if abs(value) < 1e15 else False:
        return f"{int(value):,}"
    return f"{value:,.4g}" if abs(value) < 1000 else f"{value:,.0f}"


def _bytes(value: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(value) < 1024 or unit == "GiB":
            return f"{value:,.3g} {unit}" if abs(value) < 1000 else f"{value:,.0f} {unit}"
        value /= 1024
    raise AssertionError


def axis(unit: str) -> dict[str, str]:
    """Plotly's settings of an axis in this unit."""
    if unit == "percentunit":
        return {"tickformat": ".3~%"}
    if unit == "bytes":
        return {"tickformat": ".3~s", "ticksuffix": "B"}
    suffix = {"s": " s", "ms": " ms", "reqps": " /s"}.get(unit, "")
    return {"ticksuffix": suffix} if suffix else {}


def color_of(value: Any, steps: Steps) -> str:
    """The colour of the last step that the value has reached; "" for none.

    >>> color_of(3, ((None, "green"), (1, "red")))
    '#c92a2a'
    """
    if not isinstance(value, int | float) or isinstance(value, bool) or value != value:
        return ""
    reached = [name for at, name in steps if at is None or value >= at]
    return COLORS.get(reached[-1], "") if reached else ""
