"""``inferwatch gameday``."""

from __future__ import annotations

import sys
from pathlib import Path

import click
import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table

from streams import tables
from streams.build import BuildError, Rows
from streams.commands.common import Mistake, settings_from, settings_option
from streams.gameday import GamedayError
from streams.gameday.attacks import SUITE
from streams.gameday.card import Card, cell
from streams.gameday.day import Plan, hold
from streams.gameday.service import Service, load_model, service_of

_TRIED = 64


@click.command("gameday")
@click.option("--reference", "rows_file", required=True, metavar="ROWS.parquet", type=click.Path(path_type=Path), help="The owner's rows.")
@click.option("--model", "spec", required=True, metavar="FILE.joblib|module:attribute", help="The model: predict_proba, or a function.")
@click.option("--trust-model", is_flag=True, help="Load the model from a file, which runs whatever code is in it.")
@click.option("--out", required=True, type=click.Path(path_type=Path, file_okay=False), help="Folder for recording, replay, card.json.")
@click.option("--attacks", "names", default="", help=f"Comma-separated, of {', '.join(kind.name for kind in SUITE)}.  [default: all]")
@click.option("--ids", default=Plan.ids, show_default=True, type=click.IntRange(1, 50), help="Clients an attack.")
@click.option(
    "--queries", default=Plan.queries, show_default=True, type=click.IntRange(64, 100_000), help="Queries of each of them, at most."
)
@click.option("--clients", default=Plan.clients, show_default=True, type=click.IntRange(10, 5_000), help="Ordinary clients.")
@click.option("--hours", default=Plan.hours, show_default=True, type=click.FloatRange(1, 720), help="Length of the recording.")
@click.option("--pace", default=Plan.pace, show_default=True, type=click.FloatRange(1e-4, 1e4), help="Attack queries a second.")
@click.option("--cover", default=Plan.cover, show_default=True, type=click.FloatRange(0, 20), help="Ordinary rows sent with each of them.")
@click.option("--seed", default=Plan.seed, show_default=True, type=click.IntRange(0, 2**31), help="Of all draws.")
@click.option("--meta", "meta_file", type=click.Path(path_type=Path), help="meta.json.  [default: beside ROWS]")
@settings_option
def command(
    rows_file: Path, spec: str, trust_model: bool, out: Path, names: str, meta_file: Path | None, settings_file: Path | None, **plan: float
) -> None:
    r"""Attack your own model offline, and see which attacks are found, after how many queries, at which cost in false pages.

    ROWS.parquet is what `inferwatch reference build` takes (numbers only; a column `member` lets membership be tested). Ordinary clients
    are simulated from its rows. Everything then goes through the worker's own shard and judge. Nothing leaves the machine, and nothing is
    sent to a service: the model is called here.

    Exit code 0: every attack that can be found was paged and no ordinary client was; 1: not so; 2: what was given makes no sense.

    \b
    Example:
      inferwatch gameday --reference rows.parquet --model model.joblib --trust-model --out gameday
    """
    settings = settings_from(settings_file)
    if meta_file is not None and not meta_file.is_file():
        raise Mistake(f"{meta_file}: no such file")
    if rows_file.suffix == ".iwref":
        raise Mistake(f"{rows_file}: a built reference keeps no rows; give the parquet file that it was built from")
    console = Console(stderr=True)
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()
    try:
        meta = tables.read_meta(meta_file or rows_file.parent / "meta.json")
        rows = tables.read_reference(rows_file, meta)
        model = load_model(spec, trust_file=trust_model)
        service = service_of(model, rows.X[:_TRIED], rows.classes)
        rows = _with_truth(rows, rows_file, service)
        with Progress(*columns, console=console, disable=not sys.stderr.isatty(), transient=True) as progress:
            task = progress.add_task("Ordinary traffic", total=None)

            def show(what: str, done: int, of: int) -> None:
                progress.update(task, description=what, completed=done, total=of)

            chosen = [name.strip() for name in names.split(",") if name.strip()]
            card = hold(rows_file.stem, rows, service, out, settings, Plan(**plan), chosen, show)  # type: ignore[arg-type]
    except (tables.TableError, BuildError, GamedayError) as error:
        raise Mistake(str(error)) from error
    except OSError as error:
        raise Mistake(f"{error.filename or out}: {error.strerror}") from error
    _tell(card, out)
    sys.exit(0 if card.passed else 1)


def _with_truth(rows: Rows, path: Path, service: Service) -> Rows:
    """The rows with true classes also where the file has no probabilities to name them by."""
    table = tables.read_table(path)
    if rows.y is not None or "y" not in table.column_names:
        return rows
    index = {name: k for k, name in enumerate(service.classes)}
    y = np.array([index.get(str(value), -1) for value in table["y"].to_pylist()], np.int32)
    return Rows(**{f: getattr(rows, f) for f in Rows.__dataclass_fields__} | {"y": y, "classes": service.classes})


def _tell(card: Card, out: Path) -> None:
    ordinary, allowed = card.ordinary, card.settings["false_pages_per_30d"]
    console = Console()
    console.print(
        f"{ordinary['clients']} ordinary clients, {ordinary['events']:,} events over {card.settings['hours']:g} h: "
        f"{ordinary['paged']} paged, {ordinary['ticketed']} ticketed. Budget: {allowed:g} false pages in 30 days.",
        highlight=False,
    )
    table = Table("attack", "family", "paged", "paged or ticketed", "copy", box=None)
    for line in card.lines:
        known = [one.exposure for one in line.ids if one.exposure is not None]
        name = line.attack if line.expected else f"{line.attack} *"
        table.add_row(name, line.family, cell(line, "paged"), cell(line, "alerted"), f"{max(known):.0%}" if known else "-")
    console.print(table)
    console.print("Clients reached, after how many queries (share of the attack), medians.", highlight=False)
    console.print("Copy: how often a copy made from the answers agrees with the model.", highlight=False)
    console.print("* Looks like ordinary use; no monitor can find it.", highlight=False)
    for client, detectors in list(ordinary["named"].items())[:10]:
        console.print(f"False: {client}, {', '.join(detectors)}.", highlight=False)
    for name, why in card.skipped.items():
        console.print(f"Not run: {name}, {why}.", highlight=False)
    for note in card.notes:
        console.print(f"Note: {note}.", highlight=False)
    missed = [line.attack for line in card.lines if line.missed]
    verdict = "All that can be found was paged." if not missed else f"Not paged for every client: {', '.join(missed)}."
    console.print(f"{verdict} Card in {out / 'card.json'}.", highlight=False)
