"""``python -m tests.faults [--short] [WORD ...]``: strikes with every fault whose name holds one of the words; prints the table."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path

import click

from tests.faults.run import Outcome, table
from tests.faults.theatre import Theatre


@click.command()
@click.option("--short", is_flag=True, help="All faults but the three brokers' in one run, few of each.")
@click.option("--seed", default=1, show_default=True)
@click.option("--store", type=click.Choice(["folder", "kafka"]), default="folder", show_default=True, help="Where the snapshots are.")
@click.argument("words", nargs=-1)
def main(short: bool, seed: int, store: str, words: tuple[str, ...]) -> None:
    outcomes: list[Outcome] = []
    with (
        tempfile.TemporaryDirectory(prefix="inferwatch-faults-") as folder,
        Theatre(Path(folder), store, lambda line: click.echo(line, err=True)) as theatre,
    ):
        for outcome in [theatre.short(seed)] if short else theatre.long(seed, words):
            outcomes.append(outcome)
            click.echo(table([outcome]).splitlines()[-1], err=True)
            for wrong in outcome.comparison.wrong[:20]:
                click.echo(f"  WRONG: {wrong}", err=True)
    click.echo(f"{time.strftime('%Y-%m-%d')}, {os.cpu_count()} cores, seed {seed}, snapshots in: {store}\n")
    click.echo(table(outcomes))
    sys.exit(any(outcome.comparison.wrong for outcome in outcomes))


if __name__ == "__main__":
    main()
