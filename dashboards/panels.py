"""Panels and views, said once: what is asked of the store, and how the answer is shown.

Two things are made from them: Grafana's JSON (`dashboards.grafana`) and the local page of ``inferwatch ui`` (`dashboards.figures`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

__all__ = ["Column", "Kind", "Link", "Panel", "Steps", "Variable", "View", "bars", "history", "row", "stat", "table", "timeseries"]

Kind = Literal["row", "timeseries", "stat", "table", "bars", "history"]
Span = tuple[int, int]
"""Width (of 24) and height in grid units."""
Steps = Sequence[tuple[float | None, str]]
"""(from, colour), ascending, the first from ``None``."""


@dataclass(frozen=True, kw_only=True)
class Link:
    """Where a click on a cell goes.

    Attributes:
        title: What the viewer reads.
        view: Name of the view, or "" when `address` is given.
        values: By variable of that view: the column whose value it takes. The variables not named keep theirs.
        since: The column with the time (ms) at which the view's range begins, up to now; "": the range stays.
        address: The column that holds a whole address.
    """

    title: str
    view: str = ""
    values: Mapping[str, str] = field(default_factory=dict)
    since: str = ""
    address: str = ""


@dataclass(frozen=True, kw_only=True)
class Column:
    """How a table's column is shown: unit, decimals, width in pixels, link, colours by threshold or by word; or not at all."""

    name: str
    unit: str = ""
    decimals: int | None = None
    width: int | None = None
    link: Link | None = None
    steps: Steps = ()
    words: Mapping[str, str] = field(default_factory=dict)
    hidden: bool = False


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One question to the store and the form of its answer; made by `timeseries`, `stat`, `table`, `bars`, `history` and `row`.

    Attributes:
        title: Heading.
        description: What it shows, and when it misleads.
        sql: With the macros of `dashboards.macros`.
        span: Width and height.
        name: Name of a line, with Grafana's placeholders (``${__field.labels.model}``); "" for the column's.
        unit: Grafana's unit id.
        stacked: Stacked bars instead of lines.
        minimum: Lower end of the axis, ``None`` for automatic.
        maximum: Upper end of the axis, ``None`` for automatic.
        interval: Shortest ``$__interval``: not below a window's length, or the bars have gaps.
        steps: Colours by threshold; over time, lines at the thresholds.
        columns: How some columns of a table are shown.
    """

    kind: Kind
    title: str
    description: str = ""
    sql: str = ""
    span: Span = (24, 1)
    name: str = ""
    unit: str = "short"
    decimals: int | None = None
    stacked: bool = False
    minimum: float | None = 0.0
    maximum: float | None = None
    interval: str = "1m"
    steps: Steps = ()
    columns: tuple[Column, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Variable:
    """What the viewer chooses: values of ``sql``'s first column, several at a time, All by default; without SQL, a number to type.

    Attributes:
        value: The number at first.
    """

    name: str
    label: str
    description: str
    sql: str = ""
    value: str = ""


@dataclass(frozen=True, kw_only=True)
class View:
    """One dashboard.

    Attributes:
        name: Also the file's name and, with a prefix, Grafana's uid.
        asked_by: Whose question it answers.
        span: The time range at first, up to now, as ``6h``.
        refresh: How often Grafana asks again.
    """

    name: str
    title: str
    description: str
    asked_by: str
    variables: tuple[Variable, ...]
    panels: tuple[Panel, ...]
    span: str = "6h"
    refresh: str = "30s"

    def panel(self, title: str) -> Panel:
        """The panel with this heading."""
        return next(panel for panel in self.panels if panel.title == title)


def timeseries(
    title: str,
    description: str,
    sql: str,
    span: Span,
    *,
    name: str = "",
    unit: str = "short",
    stacked: bool = False,
    minimum: float | None = 0.0,
    maximum: float | None = None,
    interval: str = "1m",
    steps: Steps = (),
) -> Panel:
    """Lines over time, one for each label of ``time, label, value`` (or each further column). The SQL is ordered by ``time``."""
    return Panel(
        kind="timeseries", title=title, description=description, sql=sql, span=span, name=name, unit=unit, stacked=stacked,
        minimum=minimum, maximum=maximum, interval=interval, steps=steps,
    )  # fmt: skip


def history(title: str, description: str, sql: str, span: Span, *, name: str, steps: Steps, interval: str = "1d") -> Panel:
    """A row of boxes for each label of ``time, label, value``, coloured by ``steps``."""
    return Panel(kind="history", title=title, description=description, sql=sql, span=span, name=name, steps=steps, interval=interval)


def bars(title: str, description: str, sql: str, span: Span, *, unit: str = "short", stacked: bool = False) -> Panel:
    """Bars for each row: the first column names the place on the axis, each further column is a set of bars."""
    return Panel(kind="bars", title=title, description=description, sql=sql, span=span, unit=unit, stacked=stacked)


def stat(title: str, description: str, sql: str, span: Span, *, steps: Steps, unit: str = "short", decimals: int | None = None) -> Panel:
    """One large number for each value column, coloured by ``steps``."""
    return Panel(kind="stat", title=title, description=description, sql=sql, span=span, steps=steps, unit=unit, decimals=decimals)


def table(title: str, description: str, sql: str, span: Span, *, columns: Sequence[Column] = ()) -> Panel:
    """Rows as they come; ``columns`` say how some are shown."""
    return Panel(kind="table", title=title, description=description, sql=sql, span=span, columns=tuple(columns))


def row(title: str) -> Panel:
    """A heading across the view."""
    return Panel(kind="row", title=title)
