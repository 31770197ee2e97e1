"""``inferwatch ui``."""

from __future__ import annotations

import asyncio
from pathlib import Path
from urllib.parse import urlsplit

import click

from streams.commands.common import Failure, Mistake, settings_from, settings_option


@click.command("ui")
@click.option("--dsn", help="ClickHouse: http(s)://user@host:port/database, or chdb:///folder.  [default: clickhouse.dsn of the settings]")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on. There is no login.")
@click.option("--port", default=8990, show_default=True, type=click.IntRange(0, 65535), help="0 picks a free one.")
@click.option("--allow-host", multiple=True, metavar="NAME", help="A name under which a browser may ask, beside localhost. Repeatable.")
@settings_option
def command(dsn: str | None, host: str, port: int, allow_host: tuple[str, ...], settings_file: Path | None) -> None:
    r"""Show the six dashboards as a page on this machine, without Grafana. Reads only.

    The same SQL as Grafana's dashboards, drawn by Plotly; no internet is needed. The password comes from INFERWATCH_CLICKHOUSE_PASSWORD or
    INFERWATCH_CLICKHOUSE_PASSWORD_FILE. A chdb:/// folder belongs to one process: stop the worker or demo that has it open first.

    Ends with Ctrl-C. Exit codes: 0 ended; 1 the store or the address cannot be opened; 2 the options make no sense.

    \b
    Examples:
      inferwatch ui --dsn http://grafana@clickhouse:8123/inferwatch
      inferwatch demo --folder /tmp/demo   # prints the line that opens what it kept
    """
    try:
        from streams.ui import NoDataError, show
    except ModuleNotFoundError as error:
        raise Failure(f"inferwatch ui needs the package {error.name}: install inferwatch-server with the extra `ui`.") from error
    from streams.clickhouse import ClickHouse, ClickHouseError
    from streams.objectives import objectives

    settings = settings_from(settings_file)
    given = dsn if dsn is not None else settings.clickhouse.dsn
    _check_folder(given)
    try:
        clickhouse = ClickHouse(
            given, password=settings.clickhouse.password, ca_file=settings.clickhouse.ca_file, verify=settings.clickhouse.verify
        )
    except ValueError as error:
        raise Mistake(str(error)) from error

    def told(listening: int) -> None:
        shown = f"[{host}]" if ":" in host else host
        click.echo(f"The six views of {clickhouse.target}: http://{shown}:{listening}/   (Ctrl-C ends)")
        if host not in ("127.0.0.1", "::1", "localhost"):
            click.echo("There is no login: whoever reaches this address reads clients, alerts and sampled events.", err=True)

    try:
        with clickhouse:
            asyncio.run(show(clickhouse, objectives(settings), host, port, told, hosts=allow_host))
    except (ClickHouseError, NoDataError) as error:
        raise Failure(_explained(str(error))) from error
    except OSError as error:
        raise Failure(f"{host}:{port} cannot be listened on ({error.strerror or error}); give another with --port, 0 for any") from error


def _check_folder(dsn: str) -> None:
    """The engine would make a folder that is not there, and show it empty."""
    url = urlsplit(dsn)
    if url.scheme == "chdb" and not (Path(url.path) / "metadata").is_dir():
        raise Mistake(
            f"{url.path}: no ClickHouse folder is there; a worker with clickhouse.dsn = chdb://... makes one, and demo --folder DIR"
        )


def _explained(text: str) -> str:
    if "EmbeddedServer" not in text:
        return text
    return (
        f"{text.partition(':')[0]}:{text.partition(':')[2].split(': ')[0]} is open in another process, most likely the worker or demo that "
        "fills it: a folder of ClickHouse's engine belongs to one process. Stop that one and try again; or let the workers write to a "
        "ClickHouse server (clickhouse.dsn = http://...), which any number may read at once."
    )
