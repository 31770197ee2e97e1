"""``inferwatch replay``."""

from __future__ import annotations

import sys
from pathlib import Path

import click
import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from streams.build import BuildError
from streams.commands.common import Mistake, settings_from, settings_option
from streams.replay import Summary, replay
from streams.settings import SettingsError, check_budget
from streams.tables import TableError


@click.command("replay")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path, file_okay=False), help="Folder for the results; made if absent.")
@click.option("--false-pages-per-30d", type=click.FloatRange(min=1e-6), help="The page budget, instead of the settings'.")
@settings_option
def command(folder: Path, out: Path, false_pages_per_30d: float | None, settings_file: Path | None) -> None:
    r"""Judge the recording in FOLDER with the worker's own shard and judge, without a broker.

    FOLDER holds reference.parquet (features, probs, y, member), events.parquet (ts, client_id, features, probs, label) and perhaps
    meta.json (features, integer_features, bounds, image, classes) and labels.parquet (event, label, ts).

    OUT gets alerts.jsonl (a line when an alert opens or rises; the same input gives the same bytes), clients.parquet (a row a client)
    and summary.json.

    \b
    Example:
      inferwatch replay traces/digits_mlp --out /tmp/digits --false-pages-per-30d 1
    """
    settings = settings_from(settings_file)
    if false_pages_per_30d is not None:
        budget = msgspec.structs.replace(settings.budget, false_pages_per_30d=false_pages_per_30d)
        try:
            settings = check_budget(msgspec.structs.replace(settings, budget=budget))
        except SettingsError as error:
            raise Mistake(str(error)) from error
    if not folder.is_dir():
        raise Mistake(f"{folder}: no such folder")
    console = Console(stderr=True)
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("events"), TimeRemainingColumn()
    with Progress(*columns, console=console, disable=not sys.stderr.isatty(), transient=True) as progress:
        task = progress.add_task(f"Reference of {folder.name}", total=None)

        def show(done: int, total: int) -> None:
            progress.update(task, description=f"Judging {folder.name}", completed=done, total=total)

        try:
            summary = replay(folder, out, settings, show)
        except (TableError, BuildError) as error:
            raise Mistake(str(error)) from error
        except OSError as error:
            raise Mistake(f"{error.filename or out}: {error.strerror}") from error
    _tell(summary, out)


def _tell(summary: Summary, out: Path) -> None:
    alerts = ", ".join(f"{n} {what.replace(':', ' ')}" for what, n in summary.alerts.items()) or "no alerts"
    click.echo(f"{summary.events:,} events of {summary.clients:,} clients over {summary.recorded_seconds / 3600:.1f} h: {alerts}.")
    if summary.rejected:
        click.echo("Rejected: " + ", ".join(f"{n:,} {reason}" for reason, n in summary.rejected.items()) + ".")
    if summary.labels:
        click.echo("Labels: " + ", ".join(f"{n:,} {fate}" for fate, n in summary.labels.items()) + ".")
    for note in summary.notes:
        click.echo(f"Note: {note}.")
    click.echo(
        f"{summary.seconds:.1f} s ({summary.cpu_seconds:.1f} s of CPU, {summary.reference_cpu_seconds:.1f} s of it for the reference), "
        f"{summary.peak_memory_mb:.0f} MB. Results in {out}."
    )
