"""``inferwatch alert test | list | ack``."""

from __future__ import annotations

import asyncio
import getpass
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import click

from schemas.alerts import ALERTNAMES
from streams.commands.common import Failure, Mistake, kafka_for, settings_from, settings_option

if TYPE_CHECKING:
    from schemas.rows import AckRow
    from streams.clickhouse import ClickHouse
    from streams.settings import Settings

_TEST = "InferwatchTest"


@click.group("alert")
def command() -> None:
    """Try the pager, see what fires, and say how an alert turned out."""


@command.command("test")
@click.option("--severity", type=click.Choice(["page", "ticket"]), default="page", show_default=True, help="page wakes somebody: say so.")
@click.option(
    "--alertname", type=click.Choice([_TEST, *sorted(ALERTNAMES.values())]), default=_TEST, show_default=True,
    help="Be routed as this alert is: proves the routes of security and data science.",
)  # fmt: skip
@click.option("--model", default="inferwatch-test", show_default=True, help="Be routed as alerts of this model are (its team).")
@click.option("--timeout", default=90.0, show_default=True, type=click.FloatRange(1, 600), help="Seconds; longer than group_wait.")
@settings_option
def test_command(severity: str, alertname: str, model: str, timeout: float, settings_file: Path | None) -> None:
    r"""Send one alert through Alertmanager to everybody whom such an alert reaches, and wait until their providers took it.

    Delivered means that PagerDuty, Slack or the web hook answered with success. Whether a telephone rang, only its owner can say: the text
    has an id to ask for. The alert ends by itself; the end follows within Alertmanager's group_interval.

    Exit code 0: every receiver was reached; 1: one was not, or nobody is told; 2: no Alertmanager is set.

    \b
    Examples:
      inferwatch alert test
      inferwatch alert test --severity ticket --alertname InferwatchDrift --model fraud
    """
    from streams.pager_test import PagerError, try_pager

    settings = settings_from(settings_file)
    if not settings.alertmanager.urls:
        raise Mistake("alertmanager.urls is empty: set it, or INFERWATCH_ALERTMANAGER_URLS, to where Alertmanager listens")
    identity = f"T-{secrets.token_hex(4)}"
    click.echo(f"Sending test {identity} as {severity} {alertname} of {model}; up to {timeout:g} s.")
    try:
        report = asyncio.run(try_pager(settings, alertname, severity, identity, timeout, model=model, who=current_user()))
    except PagerError as error:
        raise Failure(str(error)) from error
    for one in report.deliveries:
        told = "tells nobody" if not one.kind else "delivered" if one.delivered else "NOT DELIVERED"
        failures = f", {one.failures} attempts failed: see Alertmanager's log" if one.failures else ""
        click.echo(f"{one.receiver} ({one.kind or 'no integration'}): {told}{failures}")
    if report.muted:
        raise Failure(f"Alertmanager tells nobody of it: {report.muted}. End the silence, or choose another --alertname or --model.")
    if not report.passed:
        nobody = not any(one.kind for one in report.deliveries)
        raise Failure("No receiver is set up for such an alert." if nobody else f"Not every receiver was reached in {timeout:g} s.")
    click.echo(f"Every receiver took it after {report.seconds:.1f} s. Ask on-call for {identity}.")


@command.command("list")
@click.option("--model", default="", help="Of this model only.")
@settings_option
def list_command(model: str, settings_file: Path | None) -> None:
    """Show the alerts that fire now, with the ids that `inferwatch alert ack` takes. Reads ClickHouse."""
    from streams.acknowledge import known_models, open_alerts

    with store(settings_file) as clickhouse:
        rows = open_alerts(clickhouse, model)
        others = known_models(clickhouse) if model and not rows else [model]
    for row in rows:
        click.echo(f"{row['alert_id']}  {row['severity']:6}  {row['opened_at']:%Y-%m-%d %H:%M:%S}  {row['summary'][:300]}")
    if not rows:
        click.echo(f"No alert of {model} fires." if model else "No alert fires.")
    if model not in others:
        click.echo(f"The store knows no model {model!r}; it has {', '.join(others) or 'none at all'}.", err=True)


@command.command("ack")
@click.argument("alert_id")
@click.option("--verdict", required=True, type=click.Choice(["true", "false", "benign-cause"]), help="How it turned out.")
@click.option("--note", default="", help="Why, in a sentence.")
@click.option("--by", "who", default="", help="Who says so.  [default: the user of this machine]")
@settings_option
def ack_command(alert_id: str, verdict: str, note: str, who: str, settings_file: Path | None) -> None:
    r"""Record how an alert turned out. It is shown beside the budget of false pages.

    true: it was what it said. false: there was nothing. benign-cause: there was something, and it was harmless (a batch job, a planned
    change). Said again, the later verdict counts. It neither silences nor ends the alert.

    With verdicts.enabled, false also takes back every verdict that rests on the alert; this needs Kafka.

    Needs a ClickHouse user that may read `alerts` and `audit`, and add to `acknowledgements` and `audit` (iw_oncall in
    deploy/clickhouse/users.sql).
    Exit code 1: there is no such alert, or the store cannot be reached.

    \b
    Example:
      inferwatch alert ack d78e9e8d8cfb --verdict benign-cause --note "nightly scoring of all customers"
    """
    from streams.acknowledge import UnknownAlertError, Verdict, acknowledge
    from streams.audit_log import record

    assert verdict in get_args(Verdict)  # noqa: S101 - click has checked it
    try:
        with store(settings_file) as clickhouse:
            row = acknowledge(clickhouse, alert_id, verdict, time.time_ns(), by=who or current_user(), note=note)  # type: ignore[arg-type]
            detail = {name: getattr(row, name) for name in ("verdict", "severity", "detector", "judged_by")}
            record(
                clickhouse, "acknowledgement", row.at, actor=current_user(), subject=row.alert_id, model=row.model, version=row.version,
                detail=detail,
            )  # fmt: skip
    except UnknownAlertError as error:
        raise Failure(str(error)) from error
    click.echo(f"{row.alert_id} ({row.severity}, {row.detector} on {row.model} {row.version}): {row.verdict}, says {row.judged_by}.")
    if verdict == "false" and (settings := settings_from(settings_file)).verdicts.enabled:
        _take_back(settings, row)


def _take_back(settings: Settings, row: AckRow) -> None:
    """Tells the judge that its verdicts rest on nothing."""
    from schemas.operations import Acknowledged
    from streams.verdict_topic import tell

    with kafka_for(settings, "The judgement is recorded, but verdicts that rest on the alert stand: say it again."):
        tell(settings.kafka, Acknowledged(model=row.model, alert_id=row.alert_id, verdict="false", by=row.judged_by, at_ns=row.at))
    click.echo("Verdicts that rest on it are taken back.")


@contextmanager
def store(settings_file: Path | None) -> Iterator[ClickHouse]:
    """The store of the settings; what it refuses, and what makes no sense, is told as a command tells it."""
    from streams.clickhouse import ClickHouse, ClickHouseError

    try:
        with ClickHouse.of(settings_from(settings_file).clickhouse) as clickhouse:
            yield clickhouse
    except ClickHouseError as error:
        raise Failure(f"{error}" + (" Run `inferwatch migrate` first." if error.code in (60, 81) else "")) from error
    except ValueError as error:
        raise Mistake(str(error)) from error


def current_user() -> str:
    """Who runs this."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        return "unknown"
