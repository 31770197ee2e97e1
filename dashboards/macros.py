"""Expand what Grafana and its ClickHouse plugin replace in a panel's SQL, so that a panel can be run without Grafana.

`expand` writes the variables' values into the text, as Grafana does; `bind` hands them to ClickHouse beside it, as whoever serves
strangers' names must: a value can then not become SQL.

Three steps, in Grafana's order: the plugin's frontend macro ``$__conditionalAll``, then Grafana's variables, then the plugin's
backend macros from the inside out. Written after the behaviour of grafana-clickhouse-datasource 4.20. Macros that rewrite the whole
statement (``$__columns``, ``$__lttb``, ...) are unknown here on purpose: a panel that uses one cannot be tested this way.
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

__all__ = ["ALL", "MacroError", "Value", "bind", "expand"]

ALL = "$__all"
"""Value of a variable set to All."""

_CONDITIONAL = "$__conditionalAll("
_NAME_IN_ARGUMENT = re.compile(r"(?<=\$\{)\w+(?=\})|(?<=\$)\w+")
_VARIABLE = re.compile(r"\$\{(\w+)(?::(\w+))?\}|\$(?!__)(\w+)|\$(__from|__to)\b")
_MACRO = re.compile(r"\$__(\w+)")
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86_400}

Value = str | Sequence[str]


class MacroError(ValueError):
    """The SQL cannot be expanded: an unknown macro or variable, or arguments that do not fit."""


def expand(sql: str, *, start: datetime, end: datetime, interval_ms: int = 60_000, variables: Mapping[str, Value] | None = None) -> str:
    """The SQL that ClickHouse would get.

    Args:
        sql: As written in the panel.
        start: Begin of the dashboard's time range, aware.
        end: End of it, aware.
        interval_ms: The panel's interval: what Grafana computes from range and width, and the panel's minimum.
        variables: Value or values by variable; ``"$__all"`` for All.

    Raises:
        MacroError: An unknown macro or variable, or arguments that do not fit.

    >>> from datetime import UTC
    >>> expand("at > $__fromTime", start=datetime(2026, 1, 1, tzinfo=UTC), end=datetime(2026, 1, 2, tzinfo=UTC))
    'at > toDateTime(1767225600)'
    """
    values: dict[str, Value] = {"__from": str(_ms(start)), "__to": str(_ms(end)), **(variables or {})}
    sql = _VARIABLE.sub(lambda match: _variable(match, values), _conditional_all(sql, values))
    return _backend(sql, _macros(start, end, interval_ms))


def bind(
    sql: str, *, start: datetime, end: datetime, interval_ms: int = 60_000, variables: Mapping[str, Value] | None = None
) -> tuple[str, dict[str, str]]:
    """The SQL with placeholders for the variables' values, and the values by placeholder.

    A variable in the format ``singlequote`` becomes placeholders of type String; in the format ``raw`` it must be a finite number. No
    other format is taken.

    Args:
        sql: As written in the panel.
        start: Begin of the time range, aware.
        end: End of it, aware.
        interval_ms: Of ``$__timeInterval``.
        variables: Value or values by variable; ``"$__all"`` for All.

    Raises:
        MacroError: As `expand`, or a variable that is no number where one is needed.

    >>> from datetime import UTC
    >>> range_ = {"start": datetime(2026, 1, 1, tzinfo=UTC), "end": datetime(2026, 1, 2, tzinfo=UTC)}
    >>> bind("model IN (${model:singlequote})", variables={"model": ["a", "b' OR 1=1"]}, **range_)
    ('model IN ({v0:String},{v1:String})', {'v0': 'a', 'v1': "b' OR 1=1"})
    """
    values: dict[str, Value] = {"__from": str(_ms(start)), "__to": str(_ms(end)), **(variables or {})}
    found: dict[str, str] = {}

    def placeholder(match: re.Match[str]) -> str:
        value, format_ = _named(match, values), match[2]
        several = [value] if isinstance(value, str) else list(value)
        if format_ == "singlequote":
            names = [f"v{len(found) + i}" for i in range(len(several))]
            found.update(zip(names, several, strict=True))
            return ",".join(f"{{{name}:String}}" for name in names)
        if format_ == "raw" and len(several) == 1:
            return repr(_number(several[0], match[0]))
        raise MacroError(f"{match[0]}: only singlequote, and raw of one number, can be bound")

    sql = _VARIABLE.sub(placeholder, _conditional_all(sql, values))
    return _backend(sql, _macros(start, end, interval_ms)), found


def _number(text: str, where: str) -> float:
    try:
        number = float(text)
    except ValueError:
        raise MacroError(f"{where}: {text[:40]!r} is no number") from None
    if not math.isfinite(number):
        raise MacroError(f"{where}: {text[:40]!r} is no finite number")
    return number


def _backend(sql: str, macros: Mapping[str, Callable[..., str]]) -> str:
    while matches := list(_MACRO.finditer(sql)):
        last = matches[-1]  # a macro in another's arguments stands to its right
        macro = macros.get(last[1])
        if macro is None:
            raise MacroError(f"unknown macro {last[0]}: expected one of {', '.join(sorted(macros))}, conditionalAll")
        arguments, stop = _arguments(sql, last.end()) if sql[last.end() : last.end() + 1] == "(" else ([], last.end())
        try:
            text = macro(*(argument for argument in arguments if argument))
        except TypeError:
            raise MacroError(f"{last[0]} does not take {len(arguments)} arguments") from None
        sql = sql[: last.start()] + text + sql[stop:]
    return sql


def _ms(time: datetime) -> int:
    return round(time.timestamp() * 1000)


def _conditional_all(sql: str, values: Mapping[str, Value]) -> str:
    while (at := sql.rfind(_CONDITIONAL)) >= 0:
        arguments, stop = _arguments(sql, at + len(_CONDITIONAL) - 1, quotes="")  # the plugin counts brackets in quotes too
        if len(arguments) != 2:
            raise MacroError(f"$__conditionalAll takes a condition and a variable, got {len(arguments)} arguments")
        condition, reference = arguments
        name = _NAME_IN_ARGUMENT.search(reference)
        if name is None or name[0] not in values:
            raise MacroError(f"$__conditionalAll: no variable {reference}")
        value = values[name[0]]
        everything = (value if isinstance(value, str) else ",".join(value)) in ("", ALL)
        sql = sql[:at] + ("1=1" if everything else condition) + sql[stop:]
    return sql


def _variable(match: re.Match[str], values: Mapping[str, Value]) -> str:
    value, format_ = _named(match, values), match[2]
    if format_ is None:  # the plugin's own format: lists are quoted, not escaped
        return value if isinstance(value, str) else "'" + "','".join(value) + "'"
    several = [value] if isinstance(value, str) else list(value)
    if format_ == "singlequote":
        return ",".join("'" + v.replace("'", "\\'") + "'" for v in several)
    if format_ == "sqlstring":
        return ",".join("'" + v.replace("'", "''") + "'" for v in several)
    if format_ in ("csv", "raw"):
        return ",".join(several)
    raise MacroError(f"unknown format of variable {match[0]}: expected singlequote, sqlstring, csv or raw")


def _named(match: re.Match[str], values: Mapping[str, Value]) -> Value:
    name = match[1] or match[3] or match[4]
    if name not in values:
        raise MacroError(f"unknown variable {match[0]}: the dashboard has {', '.join(sorted(values))}")
    return values[name]


def _arguments(sql: str, at: int, quotes: str = "'\"`") -> tuple[list[str], int]:
    """Arguments of the call whose bracket opens at ``at``, and where the call ends."""
    depth, begin, found, quote = 0, at + 1, list[str](), ""
    i = at
    while i < len(sql):
        c = sql[i]
        if quote:
            if c == "\\":
                i += 1
            elif c == quote:
                quote = ""
        elif c in quotes:
            quote = c
        elif c == "(":
            depth += 1
        elif c == "," and depth == 1:
            found.append(sql[begin:i].strip())
            begin = i + 1
        elif c == ")":
            depth -= 1
            if depth == 0:
                return [*found, sql[begin:i].strip()], i + 1
        i += 1
    raise MacroError(f"brackets do not close after {sql[max(0, at - 30) : at + 1]!r}")


def _macros(start: datetime, end: datetime, interval_ms: int) -> dict[str, Callable[..., str]]:
    def seconds(time: datetime) -> str:
        return f"toDateTime({_ms(time) // 1000})"

    def milliseconds(time: datetime) -> str:
        return f"fromUnixTimestamp64Milli({_ms(time)})"

    def day(time: datetime) -> str:
        return f"toDate('{time:%Y-%m-%d}')"

    def between(column: str, form: Callable[[datetime], str]) -> str:
        return f"{column} >= {form(start)} AND {column} <= {form(end)}"

    def day_and_time(date: str, time: str) -> str:
        return f"({between(date, day)}) AND ({between(time, seconds)})"

    step = max(interval_ms // 1000, 1)
    return {
        "timeFilter": lambda column: between(column, seconds),
        "timeFilter_ms": lambda column: between(column, milliseconds),
        "dateFilter": lambda column: between(column, day),
        "dateTimeFilter": day_and_time,
        "dt": day_and_time,
        "fromTime": lambda: seconds(start),
        "toTime": lambda: seconds(end),
        "fromTime_ms": lambda: milliseconds(start),
        "toTime_ms": lambda: milliseconds(end),
        "timeFrom": lambda column: f"{column} >= {seconds(start)}",
        "timeTo": lambda column: f"{column} <= {seconds(end)}",
        "timeInterval": lambda column: f"toStartOfInterval(toDateTime({column}), INTERVAL {step} second)",
        "timeInterval_ms": lambda column: f"toStartOfInterval(toDateTime64({column}, 3), INTERVAL {max(interval_ms, 1)} millisecond)",
        "timeGroup": lambda column, period: f"toStartOfInterval(toDateTime({column}), INTERVAL {_period(period)} second)",
        "interval_s": lambda: str(step),
    }


def _period(text: str) -> int:
    parts = _DURATION.findall(text.strip("'\" "))
    if not parts:
        raise MacroError(f"$__timeGroup: {text} is no duration like 5m")
    return round(sum(float(number) * _SECONDS[unit] for number, unit in parts))
