"""What the viewer of the local page chose, from the address: time range and variables, within bounds."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from urllib.parse import urlencode

from dashboards.macros import ALL, Value
from dashboards.panels import View

__all__ = ["SPANS", "VARIABLES", "Choice", "ChoiceError", "Extent", "choose"]

SPANS = ("1h", "6h", "24h", "7d", "30d", "90d")
VARIABLES = ("model", "version", "service", "client", "feature", "budget", "objective", "slow")
"""That any view has; an address keeps them all, so that a view without one passes it on."""
_BOUNDS = {"budget": (0.001, 1000.0), "objective": (1.0, 99.9999), "slow": (0.1, 2_160.0)}
"""Of variables that are numbers."""
_SECONDS = {"m": 60, "h": 3_600, "d": 86_400}
_LONGEST = timedelta(days=400)
_MANY, _LONG = 50, 1_024
_STEPS = (1, 2, 5, 10, 30, 60, 120, 300, 600, 1_800, 3_600, 10_800, 21_600, 43_200, 86_400)
_POINTS = 240
"""Points of a line: more than fit a panel."""


class ChoiceError(ValueError):
    """The address asks for something that makes no sense; says what is expected."""


@dataclass(frozen=True)
class Extent:
    """What the store holds: the newest row, the oldest window not long before it, and how long a window is."""

    oldest: datetime
    newest: datetime
    window: timedelta


@dataclass(frozen=True)
class Choice:
    """A time range and the variables' values.

    Attributes:
        start: Begin of the range.
        end: End of it.
        step: Interval of the points.
        span: The length chosen.
        to: The end as it was given; "" for the newest row.
        given: Values by variable, as in the address; a variable without any is All.
    """

    start: datetime
    end: datetime
    step: timedelta
    span: str
    to: str
    given: Mapping[str, tuple[str, ...]]

    def values(self, view: View) -> dict[str, Value]:
        """Of every variable of the view."""
        return {variable.name: self._value(variable.name, variable.value) for variable in view.variables}

    def _value(self, name: str, default: str) -> Value:
        chosen = self.given.get(name, ())
        if default:
            return chosen[0] if chosen else default
        return list(chosen) or ALL

    def address(self, view: str, changed: Mapping[str, str] | None = None, since_ms: int | None = None) -> str:
        """Of another view, with this range and these values but for what changed; or from a time on, up to the end."""
        pairs: list[tuple[str, str]] = []
        if since_ms is not None:
            pairs += [("from", str(since_ms)), ("to", self.to)]
        else:
            pairs += [("span", self.span), ("to", self.to)]
        given = {**self.given, **{name: (value,) if value else () for name, value in (changed or {}).items()}}
        pairs += [(name, value) for name, values in given.items() for value in values]
        return f"/view/{view}?{urlencode([pair for pair in pairs if pair[1]])}"


def choose(view: View, query: Sequence[tuple[str, str]], extent: Extent, now: datetime) -> Choice:
    """The choice that an address makes.

    ``span`` is a length like ``6h``; ``to`` the end: nothing for the newest row, ``now``, a time (``2026-11-27T10:00``, UTC) or
    milliseconds since 1970; ``from`` (milliseconds) takes the place of ``span``. The other names are variables, each as often as it has
    values; nothing or an empty value is All.

    Raises:
        ChoiceError: What cannot be understood, or is out of bounds.
    """
    given: dict[str, tuple[str, ...]] = {}
    plain: dict[str, str] = {}
    for name, value in query:
        if len(value) > _LONG:
            raise ChoiceError(f"{name}: {len(value)} characters, at most {_LONG} are taken")
        if name in VARIABLES:
            if value and value not in given.get(name, ()):
                given[name] = (*given.get(name, ()), value)
        elif name in ("span", "to", "from"):
            plain[name] = value
        else:
            raise ChoiceError(f"{name[:60]!r} is nothing to choose: expected span, to, from, {', '.join(VARIABLES)}")
    many = [name for name, values in given.items() if len(values) > _MANY]
    if many:
        raise ChoiceError(f"{many[0]}: {len(given[many[0]])} values, at most {_MANY} are taken")
    for name in _BOUNDS:
        _check_number(name, given.get(name, ()))
    end = _end(plain.get("to", ""), extent, now)
    span = plain.get("span") or view.span
    length = _length(span)
    start = end - length
    if plain.get("from"):
        start = _time("from", plain["from"])
    elif not plain.get("to"):
        start = max(start, min(extent.oldest, end - extent.window))
    if not timedelta(0) < end - start <= _LONGEST:
        raise ChoiceError(f"the time range {start:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M} is empty or longer than {_LONGEST.days} days")
    return Choice(start, end, _step(end - start, extent.window), span, plain.get("to", ""), given)


def _check_number(name: str, values: Sequence[str]) -> None:
    for value in values:
        low, high = _BOUNDS[name]
        try:
            fits = low <= float(value) <= high
        except ValueError:
            fits = False
        if not fits:
            raise ChoiceError(f"{name}: {value[:40]!r} is no number from {low:g} to {high:g}")


def _length(span: str) -> timedelta:
    match = re.fullmatch(r"([1-9]\d{0,4})([mhd])", span)
    if not match:
        raise ChoiceError(f"span: {span[:40]!r} is no length like 30m, 6h or 7d")
    length = timedelta(seconds=int(match[1]) * _SECONDS[match[2]])
    if length > _LONGEST:
        raise ChoiceError(f"span: {span} is longer than {_LONGEST.days} days")
    return length


def _end(to: str, extent: Extent, now: datetime) -> datetime:
    if not to:
        return extent.newest
    return now if to == "now" else _time("to", to)


def _time(name: str, text: str) -> datetime:
    try:
        if text.isascii() and text.isdigit():
            return datetime.fromtimestamp(int(text) / 1000, UTC)
        time = datetime.fromisoformat(text)
    except (ValueError, OverflowError, OSError):
        raise ChoiceError(f"{name}: {text[:40]!r} is no time like 2026-11-27T10:00 (UTC) or milliseconds since 1970") from None
    time = time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    if not 1971 <= time.year <= 2100:
        raise ChoiceError(f"{name}: the year {time.year} is outside of 1971 to 2100")
    return time


def _step(length: timedelta, window: timedelta) -> timedelta:
    wanted = max(length / _POINTS, window)
    return next((timedelta(seconds=s) for s in _STEPS if timedelta(seconds=s) >= wanted), timedelta(days=1))
