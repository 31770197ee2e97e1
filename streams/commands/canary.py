"""``inferwatch canary add | list | remove``."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path

import click
import msgspec

from schemas.canaries import Canary
from streams.commands.common import Mistake, kafka_for, settings_from, settings_option
from streams.settings import Settings


@click.group("canary")
def command() -> None:
    """Canary records: rows that are in the training data and nowhere else, so that whoever asks about one has seen that data.

    A client's first question about one is a ticket, the second a page. What is published is the rows' keyed hash, not the rows; workers
    take it up within a second.
    """


@command.command("add")
@click.argument("rows_file", metavar="ROWS.parquet", type=click.Path(path_type=Path))
@click.option(
    "--reference", "reference_file", required=True, type=click.Path(path_type=Path), help="The model version's reference, FILE.iwref."
)
@click.option("--name", default="canary", show_default=True, help="What alerts call them; the row's number is added.")
@settings_option
def add_command(rows_file: Path, reference_file: Path, name: str, settings_file: Path | None) -> None:
    r"""Look for these rows from now on.

    ROWS has the features as the services send them: one column a feature, or a list column `features` in the reference's order. Make rows
    up that nobody could have: plausible, but no real person's. Put them into the training data, into nothing else.

    \b
    Example:
      inferwatch canary add canaries.parquet --reference fraud-7.iwref --name export-november
    """
    from schemas.canaries import encode, layout_of, part_of
    from streams import tables
    from streams.canaries import codes_of, key_tag
    from streams.commands.reference import read
    from streams.kafka import ensure_topics, publish_reference

    settings = settings_from(settings_file)
    key = _key(settings)
    reference, _ = read(reference_file)
    try:
        X = tables.read_canaries(rows_file, reference)
    except tables.TableError as error:
        raise Mistake(str(error)) from error
    codes = codes_of(key, reference.model, reference.version, X)
    now, layout = time.time_ns(), layout_of(reference.features)
    with kafka_for(settings):
        ensure_topics(settings.kafka)
        for k, code in enumerate(codes, 1):
            one = Canary(name=f"{name}-{k}"[:200], code=code, layout=layout, key_tag=key_tag(key), added_at_ns=now)
            publish_reference(settings.kafka, reference.model, part_of(reference.version, code), encode(one))
            click.echo(f"{one.name}  {code}")
    click.echo(f"{len(set(codes))} canary records of {reference.model} {reference.version} are looked for.")


@command.command("list")
@click.option("--model", required=True, help="Its name, as the service gives it.")
@click.option("--version", default="", help="One version only.")
@click.option("--json", "as_json", is_flag=True, help="For machines.")
@settings_option
def list_command(model: str, version: str, as_json: bool, settings_file: Path | None) -> None:
    """Show which canary records are looked for. It reads the topic; the rows themselves are not there."""
    found = _published(settings_from(settings_file), model, version)
    if as_json:
        body = [{"model": model, "version": of} | msgspec.to_builtins(one) for of, one in found]
        click.echo(msgspec.json.format(msgspec.json.encode(body)).decode())
        return
    for of, one in found:
        added = datetime.fromtimestamp(one.added_at_ns / 1e9, UTC)
        click.echo(f"{model} {of}  {one.name}  {one.code}  {added:%Y-%m-%d %H:%M} UTC")
    click.echo(f"{len(found)} canary records.", err=True)


@command.command("remove")
@click.argument("names", metavar="NAME_OR_CODE...", nargs=-1, required=True)
@click.option("--model", required=True, help="Its name, as the service gives it.")
@click.option("--version", default="", help="Of this version only.")
@settings_option
def remove_command(names: tuple[str, ...], model: str, version: str, settings_file: Path | None) -> None:
    """Look for these no longer: by name, or by code as `list` shows it."""
    from schemas.canaries import part_of
    from streams.kafka import publish_reference

    settings = settings_from(settings_file)
    found = _published(settings, model, version)
    known = {text for _, one in found for text in (one.name, one.code)}
    absent = [name for name in names if name not in known]
    if absent:
        raise Mistake(f"no canary of {model} is called {', '.join(absent)}; `inferwatch canary list --model {model}` shows them")
    chosen = [(of, one) for of, one in found if one.name in names or one.code in names]
    with kafka_for(settings):
        for of, one in chosen:
            publish_reference(settings.kafka, model, part_of(of, one.code), None)
    click.echo(f"{len(chosen)} canary records of {model} are looked for no longer.")


def _key(settings: Settings) -> str:
    if len(settings.membership.key.encode()) < 16:
        raise Mistake(
            "INFERWATCH_MEMBERSHIP_KEY is not set, or shorter than 16 bytes: the rows' hashes on the topic could be guessed. Give the key "
            "that the workers have."
        )
    return settings.membership.key


def _published(settings: Settings, model: str, version: str) -> list[tuple[str, Canary]]:
    """Those on the topic at this moment, with their version, in order of addition."""
    from schemas.canaries import decode, is_canary
    from streams.reference_topic import published

    with kafka_for(settings, "Workers and `inferwatch canary add` make the topic."):
        blobs = published(settings.kafka, model)
    found = []
    for part, blob in blobs.items():
        one = is_canary(part)
        if one is not None and version in ("", one[0]):
            found.append((one[0], decode(blob)))
    return sorted(found, key=lambda item: (item[1].added_at_ns, item[1].name))
