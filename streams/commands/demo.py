"""``inferwatch demo``."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

import click
from rich.console import Console

from streams.commands.common import Failure, Mistake, settings_from

if TYPE_CHECKING:
    from streams.demo.stage import Stage

_INTERRUPTED = 130


@click.command("demo")
@click.option("--quick", is_flag=True, help="The short form: shorter windows, within a minute. For CI.")
@click.option("--keep", is_flag=True, help="Leave everything running at the end, with ordinary traffic, until Ctrl-C.")
@click.option("--seed", type=click.IntRange(min=0, max=2**31), default=1, show_default=True, help="Of data, training, traffic and attack.")
@click.option(
    "--folder",
    type=click.Path(path_type=Path, file_okay=False),
    help="Keep this run's data in a new folder below.  [default: none is kept]",
)
@click.option("--bootstrap-servers", metavar="HOST:PORT", help="Send the traffic to this Kafka; needs --no-worker.")
@click.option("--worker/--no-worker", default=True, help="Start Kafka and a worker, or use an installation that runs.", show_default=True)
@click.option("--ui", is_flag=True, help="At the end, show the six views of this run on a page of this machine, until Ctrl-C.")
@click.option("--plain", is_flag=True, help="Plain lines, also in a terminal.")
def command(
    quick: bool, keep: bool, seed: int, folder: Path | None, bootstrap_servers: str | None, worker: bool, ui: bool, plain: bool
) -> None:
    r"""See it work: real Kafka, a real model, ordinary clients, then a real attack and a drift. About two minutes.

    Starts an embedded Apache Kafka, a worker with ClickHouse's engine inside, and Alertmanager if its binary is there. Trains a model on
    real data, publishes its reference, and sends the traffic of sixty ordinary clients through the SDK. Then one client runs
    HopSkipJump (Adversarial Robustness Toolbox) against the model, and later one feature drifts for all clients.

    Exit codes: 0 the attack and the drift were paged and nobody else was; 1 not so, or something failed; 2 the options make no sense;
    130 interrupted.

    \b
    An installation that runs (window length and keys from its INFERWATCH_ environment):
      inferwatch demo --no-worker --bootstrap-servers kafka:9092
    """
    if bool(bootstrap_servers) == worker:
        raise Mistake("--bootstrap-servers and --no-worker go together: the demo either starts everything or uses what runs.")
    if folder is not None and not worker:
        raise Mistake("--folder is for the parts that the demo starts; with --no-worker it starts none.")
    if ui and (keep or not worker):
        raise Mistake(
            "--ui shows the store of a worker that this demo started and has stopped: it goes neither with --keep nor --no-worker."
        )
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        good = _run(quick, keep, seed, folder, bootstrap_servers, ui, plain)
    except KeyboardInterrupt:
        click.echo("Interrupted; everything was stopped.", err=True)
        sys.exit(_INTERRUPTED)
    sys.exit(0 if good else 1)


def _run(quick: bool, keep: bool, seed: int, folder: Path | None, bootstrap_servers: str | None, ui: bool, plain: bool) -> bool:
    import structlog
    from confluent_kafka import KafkaException

    from streams.demo import DemoError
    from streams.demo.model import VERSION
    from streams.demo.outside import Outside
    from streams.demo.stage import Stage
    from streams.demo.story import Plan, Story
    from streams.demo.view import View

    # The story is told by `View`; what libraries log of brokers that come and go would break into its table.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    console = Console()
    with View(console, live=console.is_terminal and not plain) as view:
        stage: Stage | Outside
        if bootstrap_servers:
            stage, version = Outside(settings_from(None), bootstrap_servers, view.say), time.strftime("demo-%Y%m%d-%H%M%S")
        else:
            stage, version = Stage(folder, 1.0 if quick else 2.0, view.say), VERSION
        plan = Plan.of(stage.settings.window.length_s if bootstrap_servers else 1.0 if quick else 2.0, quick=quick)
        try:
            good = Story(stage, view, plan, version=version, seed=seed, keep=keep).run()
            if ui and isinstance(stage, Stage):
                _show(stage, view.say)
            return good
        except (DemoError, KafkaException) as error:
            view.still()
            raise Failure(str(error)) from error
        finally:
            stage.stop()


def _show(stage: Stage, say: Callable[[str], None]) -> None:
    """The views of what the demo left in its store, until Ctrl-C."""
    from streams.clickhouse import ClickHouse, ClickHouseError
    from streams.objectives import objectives

    try:
        from streams.ui import NoDataError, show
    except ModuleNotFoundError as error:
        say(f"the views need the package {error.name}: install inferwatch-server with the extra `ui`")
        return

    def told(port: int) -> None:
        say(f"The six views of this run: http://127.0.0.1:{port}/   (Ctrl-C ends; docs/howto/ui.md)")

    try:
        with ClickHouse(stage.store) as clickhouse:
            asyncio.run(show(clickhouse, objectives(stage.settings), "127.0.0.1", 0, told))
    except (ClickHouseError, NoDataError, OSError) as error:
        say(f"the views cannot be shown: {error}")


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
