"""`python -m streams.embedded`: fetch Apache Kafka and record its start now, so that no later start has to."""

import sys

import click

from streams.embedded import MissingPartError
from streams.embedded.jars import kafka_jars
from streams.embedded.kafka import record_startup


def main() -> None:
    """Prepare the cache; quiet when that is done already."""
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
