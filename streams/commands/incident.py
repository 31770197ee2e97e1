"""``inferwatch incident export | verify``."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import click

from streams.commands.alert import current_user, store
from streams.commands.common import Failure, Mistake, settings_from, settings_option


@click.group("incident")
def command() -> None:
    """Put all that is known of an alert into one archive, and check such an archive."""


@command.command("export")
@click.argument("alert_id")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="File to write.  [default: incident-ALERT_ID.zip]")
@click.option("--events/--no-events", default=True, show_default=True, help="With the sampled events, which hold feature values.")
@click.option("--references/--no-references", default=True, show_default=True, help="With the references in force, which are on Kafka.")
@settings_option
def export_command(alert_id: str, out: Path | None, events: bool, references: bool, settings_file: Path | None) -> None:
    r"""Write what the store knows of an alert, from an hour before it opened to an hour after it ended, with hashes.

    Its history and verdict, the page's text, the windows, features, clients, loads and heartbeats of its model, kept events of its clients,
    what the audit log has on it, verdicts on its clients, the references it was judged against, as far as Kafka still has them (the
    manifest says which, and why one is missing), and the settings in force now without their secrets. At most 10,000 rows a table.
    Prints the hash of the manifest: write it down where the archive is not, and `inferwatch incident verify` can tell later whether
    anything was changed. The audit log says who exported.

    Exit codes: 0 written; 1 no such alert, the file is there already, or the store cannot be reached; 2 the options make no sense.

    \b
    Example:
      inferwatch incident export d78e9e8d8cfb
    """
    from streams.acknowledge import UnknownAlertError
    from streams.audit_log import record
    from streams.incident import export, verify
    from streams.incident_references import published

    settings = settings_from(settings_file)
    file = out or Path(f"incident-{Path(alert_id).name[:64] or 'unknown'}.zip")
    try:
        with store(settings_file) as clickhouse:
            detail = {"what": "incident", "file": file.name, "events": events, "references": references}
            head = record(clickhouse, "export", time.time_ns(), actor=current_user(), subject=alert_id[:64], detail=detail)
            manifest = export(
                clickhouse, alert_id, file, settings, datetime.now(UTC), by=current_user(), events=events,
                topic=partial(published, settings.kafka) if references else None,
            )  # fmt: skip
    except UnknownAlertError as error:
        raise Failure(str(error)) from error
    except FileExistsError as error:
        raise Failure(f"{file} is there already; give another with --out") from error
    except OSError as error:
        raise Failure(f"{error.filename or file}: {error.strerror}") from error
    click.echo(f"{file}: {', '.join(f'{name} {n:,}' for name, n in manifest['rows'].items())} rows.")
    for one, where in manifest["references"].items():
        click.echo(f"Reference {one}: {where}")
    click.echo(f"Manifest sha256 {verify(file)}")
    click.echo(f"Audit log: {head.chain}, row {head.number}")


@command.command("verify")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--sha256", default="", help="Of the manifest, as it was printed at the export.")
def verify_command(file: Path, sha256: str) -> None:
    """Say whether a file of an archive was changed, is missing or was put in; with --sha256 also whether its manifest is the one exported.

    Exit codes: 0 all is as it was; 1 it is not; 2 there is no such file.
    """
    from streams.incident import BundleError, verify

    if not file.is_file():
        raise Mistake(f"{file}: no such file")
    try:
        found = verify(file)
    except BundleError as error:
        raise Failure(str(error)) from error
    if sha256 and sha256.lower() != found:
        raise Failure(f"{file}: the files agree with the manifest, but it is another one: its sha256 is {found}")
    click.echo(f"{file}: as its manifest says. Manifest sha256 {found}")
