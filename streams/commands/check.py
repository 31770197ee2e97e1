"""``inferwatch check``."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from pathlib import Path

import click
import msgspec

from streams.commands.common import settings_from, settings_option
from streams.settings import Settings, mask_url, masked, windows_in_30d


@click.command("check")
@click.option("--connect/--no-connect", default=True, help="Also try to reach Kafka, ClickHouse and Alertmanager.", show_default=True)
@settings_option
def command(connect: bool, settings_file: Path | None) -> None:
    """Check the settings, say what they mean in thresholds, and try what they name. Exit code 1 when something can't be reached."""
    settings = settings_from(settings_file)
    click.echo(msgspec.json.format(msgspec.json.encode(masked(settings))).decode())
    click.echo(_meaning(settings))
    if not connect:
        return
    failed = False
    for what, attempt in _attempts(settings):
        problem = attempt()
        failed |= problem is not None
        click.echo(f"{'ok    ' if problem is None else 'FAILED'} {what}{'' if problem is None else ': ' + problem}")
    if failed:
        raise SystemExit(1)


def _meaning(settings: Settings) -> str:
    budget, windows = settings.budget, windows_in_30d(settings.window)
    drift = windows / (budget.false_pages_per_30d * budget.drift_share)
    clients = budget.client_events_per_30d / (budget.false_pages_per_30d * budget.client_share)
    return (
        f"{budget.false_pages_per_30d:g} false pages a model in 30 days: "
        f"drift pages at evidence {drift:,.0f} to 1 (ln {math.log(drift):.1f}), "
        f"a client at {clients:,.0f} to 1 (ln {math.log(clients):.1f}); tickets at a hundredth."
    )


def _attempts(settings: Settings) -> list[tuple[str, Callable[[], str | None]]]:
    attempts: list[tuple[str, Callable[[], str | None]]] = [
        (f"Kafka {settings.kafka.bootstrap_servers}", lambda: _kafka(settings)),
        (f"ClickHouse {mask_url(settings.clickhouse.dsn)}", lambda: _clickhouse(settings)),
    ]
    attempts += [(f"Alertmanager {mask_url(url)}", lambda url=url: asyncio.run(_alertmanager(url))) for url in settings.alertmanager.urls]  # type: ignore[misc]
    if base := settings.routing.runbooks_url:
        attempts.append((f"Runbooks {mask_url(base)}", lambda: asyncio.run(_runbooks(base))))
    return attempts


async def _runbooks(base: str) -> str | None:
    """Whether the page of each alert is there; one that asks who we are is."""
    import aiohttp

    from schemas.alerts import ALERTNAMES

    missing = []
    try:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=20)) as session:
            for name in sorted(set(ALERTNAMES.values())):
                async with session.get(f"{base.rstrip('/')}/{name}.md", allow_redirects=False) as answer:
                    if answer.status in (404, 410):
                        missing.append(name)
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        return mask_url(str(error)) or type(error).__name__
    return f"no page {', '.join(f'{name}.md' for name in missing)}: alerts link there; routing.runbooks_url" if missing else None


def _kafka(settings: Settings) -> str | None:
    from streams.kafka import reach

    return reach(settings.kafka)


def _clickhouse(settings: Settings) -> str | None:
    from streams.clickhouse import ClickHouse, ClickHouseError

    try:
        with ClickHouse.of(settings.clickhouse) as clickhouse:
            clickhouse.query("SELECT 1 AS one")
    except ClickHouseError as error:
        return mask_url(str(error)) if error.code != 81 else f"there is no database {clickhouse.database} yet: run `inferwatch migrate`"
    except ValueError as error:
        return mask_url(str(error))
    return None


async def _alertmanager(url: str) -> str | None:
    import aiohttp

    timeout = aiohttp.ClientTimeout(total=5)
    try:
        async with aiohttp.ClientSession(timeout=timeout) as session, session.get(f"{url.rstrip('/')}/-/ready") as answer:
            return None if answer.status == 200 else f"answered {answer.status}"
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        return mask_url(str(error)) or type(error).__name__
