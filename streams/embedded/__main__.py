"""`python -m streams.embedded`: fetch Apache Kafka and record its start now, so that no later start has to; `--run FOLDER` starts one."""

import signal
import sys
import threading
from pathlib import Path

import click

from streams.embedded import MissingPartError
from streams.embedded.jars import kafka_jars
from streams.embedded.kafka import EmbeddedKafka, record_startup
from streams.embedded.process import StartError


@click.command()
@click.option(
    "--run", "folder", type=click.Path(path_type=Path, file_okay=False), help="Run a broker on this folder until it is told to stop."
)
def main(folder: Path | None) -> None:
    """Prepare the cache, quietly when that is done already; with --run start one broker on 127.0.0.1, for trying out."""
    prepare()
    if folder is None:
        return
    ended = threading.Event()
    for one in (signal.SIGINT, signal.SIGTERM):
        signal.signal(one, lambda *_: ended.set())
    try:
        with EmbeddedKafka(folder=folder) as kafka:
            click.echo(f"export INFERWATCH_KAFKA_BOOTSTRAP_SERVERS={kafka.bootstrap_servers}")
            ended.wait()
    except (MissingPartError, StartError, ValueError) as error:
        sys.exit(str(error))


def prepare() -> None:
    """Fill the cache."""
    shown = -1

    def progress(done: int, total: int) -> None:
        nonlocal shown
        percent = 100 * done // total
        if percent // 20 > shown:
            shown = percent // 20
            click.echo(f"  fetching Apache Kafka, once: {percent} % of {total / 1e6:.0f} MB", err=True)

    try:
        kafka_jars(progress)
        record_startup()
    except MissingPartError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
