"""``inferwatch migrate``."""

from __future__ import annotations

from pathlib import Path

import click

from streams.commands.common import Failure, Mistake, settings_from, settings_option


@click.command("migrate")
@click.option("--dry-run", is_flag=True, help="Print the SQL; change nothing.")
@settings_option
def command(dry_run: bool, settings_file: Path | None) -> None:
    """Create or update the tables in ClickHouse. Safe to run twice, and before every new version of the worker."""
    from streams.clickhouse import ClickHouse, ClickHouseError
    from streams.migrate import MigrationError, migrate

    settings = settings_from(settings_file)
    try:
        with ClickHouse.of(settings.clickhouse) as clickhouse:
            done = migrate(clickhouse, retention=settings.retention, dry_run=dry_run)
    except (ClickHouseError, MigrationError) as error:
        raise Failure(str(error)) from error
    except ValueError as error:  # a DSN that is none
        raise Mistake(str(error)) from error
    for step in done:
        if dry_run:
            click.echo("\n".join(f"{statement.rstrip()};" for statement in step.statements))
        else:
            click.echo(f"applied {step.number:04d}_{step.name}" if step.number else f"set {step.name}")
    if not done:
        click.echo("up to date")
