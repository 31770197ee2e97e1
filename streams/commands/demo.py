"""``inferwatch demo``."""

from __future__ import annotations

import logging
import signal
import sys
import time
from pathlib import Path
from types import FrameType

import click
from rich.console import Console

from streams.commands.common import Failure, Mistake, settings_from

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
@click.option("--plain", is_flag=True, help="Plain lines, also in a terminal.")
def command(quick: bool, keep: bool, seed: int, folder: Path | None, bootstrap_servers: str | None, worker: bool, plain: bool) -> None:
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
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        good = _run(quick, keep, seed, folder, bootstrap_servers, plain)
    except KeyboardInterrupt:
        click.echo("Interrupted; everything was stopped.", err=True)
        sys.exit(_INTERRUPTED)
    sys.exit(0 if good else 1)


def _run(quick: bool, keep: bool, seed: int, folder: Path | None, bootstrap_servers: str | None, plain: bool) -> bool:
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
            return Story(stage, view, plan, version=version, seed=seed, keep=keep).run()
        except (DemoError, KafkaException) as error:
            view.still()
            raise Failure(str(error)) from error
        finally:
            stage.stop()


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
