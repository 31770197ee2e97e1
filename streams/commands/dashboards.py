"""``inferwatch dashboards push``."""

from __future__ import annotations

import os
from pathlib import Path

import click

from streams.commands.common import Failure, Mistake, settings_from, settings_option


@click.group("dashboards")
def command() -> None:
    """Grafana dashboards, as code."""


@command.command("push")
@click.option("--url", envvar="GRAFANA_URL", required=True, help="Grafana's address.  [env: GRAFANA_URL]")
@click.option("--folder", default="inferwatch", show_default=True, help="Grafana folder for the dashboards.")
@click.option("--clickhouse-host", default="clickhouse", show_default=True, help="ClickHouse as Grafana sees it.")
@click.option("--clickhouse-port", default=8123, show_default=True, type=click.IntRange(1, 65535))
@click.option("--clickhouse-user", default="grafana", show_default=True, help="A user that may only read.")
@click.option("--database", default="inferwatch", show_default=True)
@click.option("--secure", is_flag=True, help="HTTPS to ClickHouse.")
@settings_option
def push_command(
    url: str,
    folder: str,
    clickhouse_host: str,
    clickhouse_port: int,
    clickhouse_user: str,
    database: str,
    secure: bool,
    settings_file: Path | None,
) -> None:
    """Put the data source, a folder and the dashboards into a running Grafana. Doing it twice changes nothing.

    With the workers' settings the dashboards draw their lines where those workers open tickets and pages.

    The service account's token comes from GRAFANA_TOKEN, the ClickHouse password of the reading user from GRAFANA_CLICKHOUSE_PASSWORD.
    """
    from dashboards.push import PushError, Store, push
    from streams.objectives import objectives

    settings = settings_from(settings_file)
    token = os.environ.get("GRAFANA_TOKEN", "")
    if not token:
        raise Mistake("GRAFANA_TOKEN is not set: make a service account with the role Admin in Grafana, and give its token")
    store = Store(
        host=clickhouse_host,
        port=clickhouse_port,
        username=clickhouse_user,
        password=os.environ.get("GRAFANA_CLICKHOUSE_PASSWORD", ""),
        database=database,
        secure=secure,
    )
    try:
        done = push(url, token, store=store, folder=folder, objectives=objectives(settings))
    except ValueError as error:
        raise Mistake(str(error)) from error
    except PushError as error:
        raise Failure(str(error)) from error
    click.echo(f"folder {folder}: {done.folder}\ndata source: {done.datasource}")
    for name, action in done.dashboards.items():
        click.echo(f"dashboard {name}: {action}")
    if done.health != "ok":
        click.echo(f"Grafana cannot query ClickHouse now: {done.health}", err=True)
