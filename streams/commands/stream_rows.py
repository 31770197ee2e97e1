"""Options and doings of ``inferwatch reference build --from-stream``."""

from __future__ import annotations

import secrets
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from streams.commands.common import Mistake, kafka_for, moment
from streams.tables import Meta

if TYPE_CHECKING:
    from streams.from_stream import Gathered
    from streams.settings import Settings

_F = TypeVar("_F", bound=Callable[..., Any])
_MADE = "Topics are made by the first worker."


class Wanted(msgspec.Struct, frozen=True):
    """What was typed; None: nothing was."""

    begin: str | None
    end: str | None
    most: int | None
    seed: int | None
    without: str | None

    @property
    def given(self) -> bool:
        """Whether anything was."""
        return any(value is not None for value in msgspec.structs.astuple(self))


def stream_options(function: _F) -> _F:
    """Options that go with ``--from-stream``."""
    for option in reversed(
        [
            click.option("--from-stream", is_flag=True, help="From the events on Kafka, instead of ROWS."),
            click.option(
                "--last", "--from", "begin", metavar="TIME", help="Events since: 12h, 7d, 4w, or a date as 2026-11-01.  [default: 7d]"
            ),
            click.option("--to", "end", metavar="TIME", help="Events before, in the same forms.  [default: now]"),
            click.option("--rows", "most", type=click.IntRange(200, 5_000_000), help="Rows at most, drawn evenly.  [default: 50,000]"),
            click.option(
                "--seed", type=click.IntRange(0, 2**63 - 1), help="Of the drawing; the same one gives the same rows.  [default: random]"
            ),
            click.option(
                "--without-clients",
                "without",
                metavar="LIST",
                help="Pseudonyms, by commas, or @FILE with one a line: their events are left out.",
            ),
        ]
    ):
        function = option(function)
    return function


def stream_rows(settings: Settings, model: str, version: str, wanted: Wanted, names: list[str], meta: Meta) -> Gathered:
    """The rows, and notes about them.

    Raises:
        BuildError: they make no reference.
    """
    from streams.from_stream import Sample
    from streams.gather import gather

    now = datetime.now(UTC)
    first, last = _ns(moment(wanted.begin or "7d", now, "--from")), _ns(moment(wanted.end, now, "--to") if wanted.end else now)
    if first >= last:
        raise Mistake("--from must be before --to")
    notes: list[str] = []
    console = Console(stderr=True)
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("records"), TimeRemainingColumn()
    with kafka_for(settings, _MADE):
        sample = Sample(
            model, version, rows=wanted.most or 50_000, first_ns=first, last_ns=last,
            seed=secrets.randbits(63) if wanted.seed is None else wanted.seed, clock=settings.clock,
            without=_clients(wanted.without or "") | _accused(settings, model, first, last, _ns(now), notes),
        )  # fmt: skip
        with Progress(*columns, console=console, disable=not sys.stderr.isatty(), transient=True) as progress:
            task = progress.add_task("Reading")
            show = lambda topic, done, total: progress.update(task, description=f"Reading {topic}", completed=done, total=total)  # noqa: E731
            cut = gather(settings, sample, first, last, show)
    found = sample.gathered(names, meta)
    if cut:
        notes.append(
            f"{settings.kafka.topic_prefix}.events may have held earlier events of that time, which are gone: its retention.ms says how "
            "long it keeps them"
        )
    return replace(found, notes=(*notes, *found.notes))


def _ns(time: datetime) -> int:
    return round(time.timestamp() * 1e3) * 1_000_000


def _accused(settings: Settings, model: str, first_ns: int, last_ns: int, now_ns: int, notes: list[str]) -> set[str]:
    """Clients that are better left out; a store that does not answer is a note."""
    from streams.accused import named_by_alerts, under_verdict
    from streams.clickhouse import ClickHouse, ClickHouseError

    found = under_verdict(settings.kafka, model, now_ns)
    try:
        with ClickHouse.of(settings.clickhouse) as clickhouse:
            return found | named_by_alerts(clickhouse, model, first_ns, last_ns)
    except (ClickHouseError, ValueError) as error:
        notes.append(f"clients with alerts are in, unless --without-clients names them: {error}")
        return found


def _clients(text: str) -> set[str]:
    if text.startswith("@"):
        try:
            text = ",".join(Path(text[1:]).read_text().splitlines())
        except (OSError, UnicodeDecodeError) as error:
            raise Mistake(f"--without-clients {text}: {error}") from error
    return {name.strip() for name in text.split(",") if name.strip()}
