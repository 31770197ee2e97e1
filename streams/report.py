"""The month in figures: what was promised, what happened, and behind each figure the table, filter and number of rows it rests on."""

from __future__ import annotations

import calendar
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from streams.acknowledge import known_models
from streams.clickhouse import ClickHouse
from streams.objectives import objectives
from streams.report_figures import FIGURES, WINDOW, Figure, objectives_figure
from streams.settings import Settings

__all__ = ["Answer", "Month", "NoDataError", "Report", "make"]

_SCOPE = "({model:String} = '' OR model = {model:String})"


class NoDataError(LookupError):
    """The store has nothing for this report; the message says what it has."""


@dataclass(frozen=True)
class Month:
    """A calendar month in UTC.

    Example:
        >>> Month.parse("2026-11").days, str(Month.parse("2026-11"))
        (30, '2026-11')
    """

    year: int
    month: int

    @classmethod
    def parse(cls, text: str) -> Month:
        """The month of ``2026-11``.

        Raises:
            ValueError: it is none, or outside the years 2000 to 2098.
        """
        found = re.fullmatch(r"(\d{4})-(\d{2})", text)
        if found is None or not (2000 <= int(found[1]) <= 2098 and 1 <= int(found[2]) <= 12):
            raise ValueError(f"{text[:20]!r} is no month: expected one as 2026-11")
        return cls(int(found[1]), int(found[2]))

    def __str__(self) -> str:
        return f"{self.year:04d}-{self.month:02d}"

    @property
    def days(self) -> int:
        """Its length."""
        return calendar.monthrange(self.year, self.month)[1]

    @property
    def start(self) -> datetime:
        """Its begin."""
        return datetime(self.year, self.month, 1, tzinfo=UTC)

    @property
    def end(self) -> datetime:
        """The begin of the next."""
        return datetime(self.year + self.month // 12, self.month % 12 + 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Answer:
    """A figure's rows, and what they rest on."""

    figure: Figure
    rows: Sequence[dict[str, Any]]
    filter: str
    """As it can be given to ClickHouse again."""
    evidence: int
    """Rows of the table that the filter takes."""


@dataclass(frozen=True)
class Report:
    """Everything on the page."""

    month: Month
    model: str
    made_at: datetime
    made_by: str
    store: str
    partial: bool
    """The month is not over."""
    budget: float
    """False pages that were allowed: settings' budget x model versions x days / 30."""
    versions: int
    """Model versions with traffic."""
    promised: float
    """Availability that was promised, a share."""
    answers: dict[str, Answer] = field(default_factory=dict)

    def total(self, name: str, column: str) -> float:
        """A column's sum."""
        return float(sum(row[column] or 0 for row in self.answers[name].rows))


def make(clickhouse: ClickHouse, month: Month, settings: Settings, now: datetime, *, model: str = "", by: str = "") -> Report:
    """Asks the store for everything.

    Args:
        clickhouse: Where to ask.
        month: Which.
        settings: In force now: the budget and the objectives that the month is held against.
        now: For the page.
        model: Only of this model; empty: of all.
        by: Who asks.

    Raises:
        NoDataError: nothing is there for this month, or of this model.
        ClickHouseError: the store refused, or could not be reached.
    """
    _refuse_empty(clickhouse, month, model)
    answers = {figure.name: _ask(clickhouse, figure, month, model) for figure in (objectives_figure(objectives(settings)), *FIGURES)}
    versions = len(answers["service"].rows)
    until = min(now, month.end)
    days = max((until - month.start).total_seconds() / 86_400, 0.0)
    return Report(
        month=month,
        model=model,
        made_at=now,
        made_by=by,
        store=str(clickhouse.target),
        partial=now < month.end,
        budget=settings.budget.false_pages_per_30d * versions * days / 30,
        versions=versions,
        promised=settings.objectives.availability / 100,
        answers=answers,
    )


def _ask(clickhouse: ClickHouse, figure: Figure, month: Month, model: str) -> Answer:
    where = _filled(figure.where, month)
    rows = clickhouse.query(_filled(figure.sql.replace("@where", figure.where), month), {"model": model})
    count = clickhouse.query(f"SELECT count() AS n FROM {figure.table} FINAL WHERE {where}", {"model": model})  # noqa: S608 - our own text
    quoted = "'" + model.replace("\\", "\\\\").replace("'", "\\'") + "'"
    shown = where.replace(f" AND {_SCOPE}", f" AND model = {quoted}" if model else "").replace("{model:String}", quoted)
    return Answer(figure, rows, shown, count[0]["n"])


def _filled(text: str, month: Month) -> str:
    begin, end = (f"toDateTime('{at:%Y-%m-%d %H:%M:%S}', 'UTC')" for at in (month.start, month.end))
    return text.replace("@from", begin).replace("@to", end).replace("@scope", _SCOPE)


def _refuse_empty(clickhouse: ClickHouse, month: Month, model: str) -> None:
    """Nothing would be a report of zeros, which reads like a good month."""
    here = f"SELECT count() AS n FROM windows WHERE {_filled(WINDOW, month)}"  # noqa: S608 - our own text; values are parameters
    if clickhouse.query(here, {"model": model})[0]["n"]:
        return
    known = known_models(clickhouse)
    if model and model not in known:
        raise NoDataError(f"the store knows no model {model[:100]!r}; it has {', '.join(known) if known else 'none at all'}")
    held = clickhouse.query(
        f"SELECT min(start) AS first, max(start) AS last, count() AS n FROM windows WHERE {_SCOPE}",  # noqa: S608 - our own text
        {"model": model},
    )[0]
    of = f" of {model}" if model else ""
    if not held["n"]:
        raise NoDataError(f"the store has no judged window{of} at all")
    raise NoDataError(f"nothing{of} was judged in {month}: the store has {held['first']:%Y-%m-%d} to {held['last']:%Y-%m-%d}")
