"""``inferwatch drill``."""

from __future__ import annotations

import logging
import signal
import sys
from dataclasses import replace
from pathlib import Path
from types import FrameType

import click
import msgspec
from rich.console import Console
from rich.table import Table

from streams.commands.common import Failure, Mistake
from streams.drill.report import Report, page

_INTERRUPTED = 130


@click.command("drill")
@click.option("--only", default="", metavar="F1,F8", help="Failure modes to make, by number or key.  [default: all]")
@click.option("--short", is_flag=True, help="One of each of the ten, with less traffic: for CI.  [default: all]")
@click.option("--seconds", type=click.FloatRange(10, 3_600), help="Of failures, at most.  [default: 150; 300 with --short]")
@click.option("--window", default=3.0, show_default=True, type=click.FloatRange(1, 300), help="Seconds of the worker's windows.")
@click.option("--rate", type=click.FloatRange(50, 1_000), help="Requests a second and model.  [default: 80; 50 with --short]")
@click.option("--seed", default=1, show_default=True, type=click.IntRange(0, 2**31), help="Of data, training and traffic.")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), help="Folder for drill.json and drill.html.  [default: none]")
def command(only: str, short: bool, seconds: float | None, window: float, rate: float | None, seed: int, out: Path | None) -> None:
    r"""Make each failure mode happen on the real path, and see which alerts fire, after how long, and what else fires.

    Starts an embedded Apache Kafka, a worker with ClickHouse's engine inside, and Alertmanager if its binary is there; trains a model on
    real data, and serves it under one name a failure mode, beside a quiet control. After a time of ordinary traffic everything fails at
    once. Ends when all that can be detected has fired, or after --seconds. About four minutes on two processors, with --short three.

    Exit codes: 0 all that can be detected was, and nothing else paged; 1 not so, or something failed; 2 the options make no sense;
    130 interrupted.

    \b
    Examples:
      inferwatch drill --out drill
      inferwatch drill --short
      inferwatch drill --only F8,F10 --seconds 120
    """
    import structlog
    from confluent_kafka import KafkaException

    from streams.demo import DemoError
    from streams.demo.stage import Stage
    from streams.drill.course import ENVIRONMENT, Plan, hold
    from streams.drill.modes import MODES, SHORT

    wanted = {name.strip().lower() for name in only.split(",") if name.strip()}
    if short and wanted:
        raise Mistake("--short and --only both say which failures to make; give one of them")
    if short:
        wanted = set(SHORT)
    modes = [mode for mode in MODES if not wanted or mode.key in wanted or mode.failure.lower() in wanted]
    known = {name for mode in MODES for name in (mode.key, mode.failure.lower())}
    if wanted - known:
        raise Mistake(f"--only: no failure mode {', '.join(sorted(wanted - known))}; known: {', '.join(mode.key for mode in MODES)}")
    usual = Plan(warm_windows=24, failing_s=300.0, rate=50.0) if short else Plan()
    plan = replace(usual, failing_s=seconds or usual.failing_s, rate=rate or usual.rate, seed=seed)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    signal.signal(signal.SIGTERM, _interrupt)
    console = Console(stderr=True)

    def say(text: str) -> None:
        console.print(text, highlight=False, style="dim")

    stage = Stage(None, window, say, ENVIRONMENT)
    try:
        stage.start()
        report = hold(stage, modes, plan, say)
    except (DemoError, KafkaException) as error:
        raise Failure(str(error)) from error
    except KeyboardInterrupt:
        click.echo("Interrupted; everything was stopped.", err=True)
        sys.exit(_INTERRUPTED)
    finally:
        stage.stop()
    _tell(report)
    if out is not None:
        try:
            out.mkdir(parents=True, exist_ok=True)
            (out / "drill.json").write_bytes(msgspec.json.format(msgspec.json.encode(report)))
            (out / "drill.html").write_text(page(report))
        except OSError as error:
            raise Failure(f"{error.filename or out}: {error.strerror}") from error
        click.echo(f"Report in {out / 'drill.html'} and drill.json.")
    sys.exit(0 if report.passed else 1)


def _tell(report: Report) -> None:
    table = Table("", "what happened", "outcome", "fired, since the onset", "besides", box=None, show_lines=False)
    for line in report.lines:
        told = [f"{one.detector} {one.severity} {one.seconds:g} s, {one.events:,} events" for one in line.fired]
        told += [f"NOT FIRED: {late}" for late in line.late]
        besides = [*line.besides, *(f"WRONG: {wrong}" for wrong in line.wrong)]
        table.add_row(line.failure, line.title, line.outcome, "\n".join(told) or line.missing or "-", ", ".join(besides) or "-")
    console = Console(width=160)
    console.print(table)
    console.print("Gate at the end:", highlight=False)
    for line in report.lines:
        console.print(f"  {line.model}: {line.gate or 'not asked'}", highlight=False)
    console.print("Passed." if report.passed else "Not passed.", highlight=False)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
