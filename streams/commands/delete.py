"""``inferwatch delete``."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from streams.commands.alert import current_user, store
from streams.commands.common import Failure, Mistake, kafka_for, settings_from, settings_option
from streams.settings import Settings, SettingsError, secret_of

if TYPE_CHECKING:
    from schemas.forget import Forget

_KEYS = ("INFERWATCH_PSEUDONYM_KEY", "INFERWATCH_PSEUDONYM_KEY_PREVIOUS")


@click.command("delete")
@click.option("--client", default="", help="Pseudonym, as rows and alerts have it.")
@click.option("--client-id", default="", help="The service's own id; `-` reads it from standard input. Pseudonyms are made here.")
@click.option("--event", default="", help="Event id, or instance:number.")
@click.option("--model", default="", help="In this model only.  [default: in all]")
@click.option("--dry-run", is_flag=True, help="Only count.")
@click.option("--workers/--no-workers", default=True, show_default=True, help="Let the workers forget, too.")
@click.option("--timeout", default=60.0, show_default=True, type=click.FloatRange(0, 3600), help="Seconds to wait for the workers.")
@settings_option
def command(
    client: str,
    client_id: str,
    event: str,
    model: str,
    dry_run: bool,
    workers: bool,
    timeout: float,
    settings_file: Path | None,
) -> None:
    r"""Erase a client or an event: from ClickHouse, and from what the workers know.

    Give one of --client, --client-id and --event. --client-id needs INFERWATCH_PSEUDONYM_KEY or INFERWATCH_PSEUDONYM_KEY_FILE (and
    INFERWATCH_PSEUDONYM_KEY_PREVIOUS while rows of the key before exist); the id itself goes nowhere.

    Rows are deleted; alerts are kept without saying about whom they were. The workers forget first, so that nothing comes after; Kafka's
    topics keep their records until they expire. The audit log says that something was deleted, not whose it was. Stop sending the client's
    events before, or it is a new client at once.

    Exit codes: 0 done; 1 no table knows them, or the store or Kafka cannot be reached; 2 the options make no sense; 4 the tables are
    clean, but not all workers have confirmed: run it again.

    \b
    Examples:
      inferwatch delete --client fdbf8b1cacd3d578e062d0e41104357d --dry-run
      inferwatch delete --client-id - --model fraud < id.txt
      inferwatch delete --event order-17
    """
    from schemas.forget import Forget
    from streams.audit_log import record
    from streams.erase import count, erase, open_alerts_of, steps

    if sum(map(bool, (client, client_id, event))) != 1:
        raise Mistake("give one of --client, --client-id and --event")
    names = [client] if client else _pseudonyms(client_id) if client_id else []
    settings = settings_from(settings_file)
    if any(len(name) > 256 for name in (*names, event, model)):
        raise Mistake("no client, event or model has a name of more than 256 characters")
    who = f"event {event!r}" if event else f"client {' = '.join(names)}"
    where = f" of model {model}" if model else ""
    what = steps(names, event, model)
    with store(settings_file) as clickhouse:
        before = count(clickhouse, what)
        if dry_run:
            _report(before, {step.table: f"would be {step.verb}" for step in what})
        else:
            wishes = [Forget(event_id=event, model=model)] if event else [Forget(client=name, model=model) for name in names]
            late = _tell(settings, wishes, timeout) if workers else []
            before = count(clickhouse, what)  # with what came meanwhile
            detail = {"rows": before, "workers": workers, "late": len(late)}
            subject = "event" if event else "client"  # not which: that is to be forgotten
            record(clickhouse, "deletion", time.time_ns(), actor=current_user(), subject=subject, model=model, detail=detail)
            if any(before.values()):
                erase(clickhouse, what, open_alerts_of(clickhouse, names, model), time.time_ns())
            _report(before, {step.table: step.verb for step in what})
            left = {table: n for table, n in count(clickhouse, what).items() if n}
            if left:
                raise Failure(f"rows came meanwhile: {left}. Does the service still send them? Run it again.")
            if late:
                click.echo(
                    f"{len(late)} partitions have not confirmed within {timeout:g} s ({late[0][0]} {late[0][1]} first). "
                    "Is a worker running? The request waits on Kafka. Run this again afterwards.",
                    err=True,
                )
                sys.exit(4)
    if not any(before.values()):
        told = "" if dry_run or not workers else " The workers were told to forget it all the same."
        raise Failure(f"No table knows {who}{where}.{told} Is the name right, and the key the services' own?")


def _pseudonyms(client_id: str) -> list[str]:
    """Under the key in force, and under the one before."""
    from inferwatch import pseudonym_of

    given = sys.stdin.readline().rstrip("\n") if client_id == "-" else client_id
    try:
        keys = [key for name in _KEYS if (key := secret_of(name, os.environ))]
    except SettingsError as error:
        raise Mistake(str(error)) from error
    if not keys:
        raise Mistake(f"--client-id needs the services' key in {_KEYS[0]} or {_KEYS[0]}_FILE; or give the pseudonym with --client")
    if not given:
        raise Mistake("--client-id is empty")
    return list(dict.fromkeys(pseudonym_of(key.encode(), given) for key in keys))


def _tell(settings: Settings, wishes: list[Forget], timeout: float) -> list[tuple[str, int]]:
    from streams.forget_request import RequestError, tell, wait

    more = "The workers could not be told, and nothing was deleted; --no-workers deletes from the tables alone."
    try:
        with kafka_for(settings, more):
            late = wait(settings, tell(settings, wishes), timeout)
    except RequestError as error:
        raise Failure(f"Kafka at {settings.kafka.bootstrap_servers}: {error}. {more}") from error
    if not late:
        time.sleep(settings.clickhouse.flush_s + 1.0)  # rows that had left them are in the store
    return late


def _report(rows: dict[str, int], verbs: dict[str, str]) -> None:
    for table, n in rows.items():
        click.echo(f"{table}: {n:,} rows {verbs[table]}")
