"""``inferwatch worker``."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import click
import structlog

from streams import log as logs
from streams.commands.common import Failure, settings_from, settings_option
from streams.settings import Settings

log = structlog.get_logger(__name__)


@click.command("worker")
@click.option(
    "--migrate/--no-migrate",
    "migrate_first",
    default=None,
    help="Create or update the tables first.  [default: yes for chdb://, which only the worker can open; no for a server]",
)
@settings_option
def command(migrate_first: bool | None, settings_file: Path | None) -> None:
    """Run a worker: read events, judge them, write rows, page. Run as many as there are partitions; they share the work.

    It waits for Kafka, ClickHouse and Alertmanager to be there, serves /metrics and /healthz, and stops in order on SIGTERM: state is
    saved, what was decided is delivered, the group is left. After any other end a supervisor should start it again; it goes on exactly
    where its last snapshot was.

    Exit codes: 0 told to stop; 1 crashed; 2 the settings don't fit; 3 stalled; 4 no broker; 5 another worker has taken over.
    """
    sys.exit(run(settings_from(settings_file), migrate_first))


def run(settings: Settings, migrate_first: bool | None) -> int:
    """A worker with the real shards, judges and store."""
    import numpy as np

    from schemas import canaries
    from streams.clickhouse import ClickHouse, ClickHouseError
    from streams.judge import Judge
    from streams.lanes import Lanes
    from streams.migrate import MigrationError, migrate
    from streams.references import References
    from streams.shard import Shard
    from streams.sink import Sink
    from streams.warmup import settle_memory, warm_up
    from streams.worker import run_worker

    logs.configure(settings)
    log.info("compiling kernels; this takes half a minute after an installation, and a second afterwards")
    warm_up(settings)
    references = References(settings.membership.key.encode())

    def on_reference(model: str, part: str, blob: bytes | None) -> None:
        references.take(model, part, blob)
        version = part.partition("\0")[0]
        loaded = references.get(model, version) if canaries.is_canary(part) is None else None
        for note in loaded.notes if loaded else ():
            log.warning("a part of a reference is not used", model=model, version=version, why=note)

    try:
        clickhouse = ClickHouse.of(settings.clickhouse)
    except (ClickHouseError, ValueError) as error:
        raise Failure(str(error)) from error
    with clickhouse:
        if settings.clickhouse.dsn.startswith("chdb:") if migrate_first is None else migrate_first:
            try:
                migrate(clickhouse, retention=settings.retention)
            except (ClickHouseError, MigrationError) as error:
                raise Failure(str(error)) from error
        sink = Sink(clickhouse, Lanes(np.random.default_rng()))
        settle_memory()
        try:
            return run_worker(
                settings,
                make_shard=lambda partition: Shard(partition, settings, references, epoch=time.time_ns()),
                make_judge=lambda partition: Judge(partition, settings, references),
                on_reference=on_reference,
                sink=sink,
            )
        finally:
            sink.close()
