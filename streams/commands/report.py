"""``inferwatch report``."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path

import click

from streams.commands.alert import current_user, store
from streams.commands.common import Failure, Mistake, settings_from, settings_option


@click.command("report")
@click.option("--month", "month_text", required=True, metavar="YYYY-MM", help="As 2026-11, in UTC; one that is not over is marked so.")
@click.option("--model", default="", help="Of this model only.  [default: all]")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="HTML file.  [default: inferwatch-YYYY-MM.html]")
@settings_option
def command(month_text: str, model: str, out: Path | None, settings_file: Path | None) -> None:
    r"""Write a month's report: one printable page, and the same as JSON beside it. Reads ClickHouse.

    Pages against the budget and how they were judged, time to detect and to resolve, incidents, drift, exposure, completeness, signed
    artefacts, and which controls these are evidence for, each figure with the table, filter and number of rows it rests on. Files that are
    there are replaced. The audit log says who asked.

    Exit codes: 0 written; 1 nothing is known of the month or model, or the store cannot be reached; 2 the options make no sense.

    \b
    Examples:
      inferwatch report --month 2026-11
      inferwatch report --month 2026-11 --model fraud --out fraud-november.html
    """
    from streams.audit_log import record
    from streams.report import Month, NoDataError, make
    from streams.report_page import html_of, json_of

    now = datetime.now(UTC)
    try:
        month = Month.parse(month_text)
    except ValueError as error:
        raise Mistake(f"--month {error}") from error
    if month.start > now:
        raise Mistake(f"--month {month}: it has not begun")
    file = out or Path(f"inferwatch-{month}.html")
    beside = file.with_suffix(".json")
    if beside == file:
        raise Mistake(f"--out {file}: it is the page's name; the JSON goes beside it as {beside.name}")
    settings, who = settings_from(settings_file), current_user()
    try:
        with store(settings_file) as clickhouse:
            detail = {"month": str(month), "file": file.name}
            record(clickhouse, "report", time.time_ns(), actor=who, subject=str(month), model=model, detail=detail)
            report = make(clickhouse, month, settings, now, model=model, by=who)
    except NoDataError as error:
        raise Failure(str(error)) from error
    try:
        file.write_text(html_of(report), encoding="utf-8")
        beside.write_bytes(json_of(report))
    except OSError as error:
        raise Failure(f"{error.filename or file}: {error.strerror}") from error
    click.echo(f"{file} and {beside.name}: {month}, {model or 'all models'}, {report.versions} model versions with traffic.")
