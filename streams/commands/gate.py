"""``inferwatch gate``."""

from __future__ import annotations

import sys
from pathlib import Path

import click
import msgspec

from streams.commands.common import Mistake, settings_from, settings_option

UNREACHED = 3


@click.command("gate")
@click.option("--model", required=True, help="Its name, as the service gives it.")
@click.option("--version", required=True, help="The version that is to be promoted.")
@click.option("--unsigned-ok", is_flag=True, help="Let a version pass that is not signed, or was never loaded.")
@click.option("--no-traffic-ok", is_flag=True, help="Let a version pass that had no request in the last hour.")
@click.option("--json", "as_json", is_flag=True, help="Print the answer as JSON.")
@settings_option
def command(model: str, version: str, unsigned_ok: bool, no_traffic_ok: bool, as_json: bool, settings_file: Path | None) -> None:
    r"""Say whether a model version may be promoted now: a step of a delivery pipeline. Reads ClickHouse.

    It may not while an error budget is spent more than twice as fast as allowed (availability, latency over the last hour; drift, refusals,
    violations over three days), when labels of 30 days are worse than was promised, while a page on it is open, when it is not signed, or
    when nothing is known of it.

    Exit code 0: it may; 1: it may not, for the reasons given; 2: the options make no sense; 3: the store could not be asked.

    \b
    Example:
      inferwatch gate --model fraud --version 8 && ./promote fraud 8
    """
    from streams.clickhouse import ClickHouse, ClickHouseError
    from streams.gate import decide, facts

    settings = settings_from(settings_file)
    try:
        with ClickHouse.of(settings.clickhouse) as clickhouse:
            answer = decide(facts(clickhouse, model, version, settings), settings, unsigned_ok=unsigned_ok, quiet_ok=no_traffic_ok)
    except ClickHouseError as error:
        click.echo(f"The store could not be asked, so nothing speaks for {model} {version}: {error}", err=True)
        sys.exit(UNREACHED)
    except ValueError as error:
        raise Mistake(str(error)) from error
    if as_json:
        click.echo(msgspec.json.encode(answer).decode())
    else:
        spent = ", ".join(f"{name} {rate:.2f}" for name, rate in answer.burns.items())
        click.echo(
            f"{model} {version}: {'may' if answer.passed else 'may not'} be promoted. Error budgets spent, times as allowed: {spent}."
        )
        for reason in answer.reasons:
            click.echo(f"- {reason}")
    sys.exit(0 if answer.passed else 1)
