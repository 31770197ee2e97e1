"""``inferwatch reference list | use | drop``: the references of a model version beside each other."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from schemas.reference import TRAINING, Baseline, baseline_part, part_of
from streams.commands.common import Mistake, kafka_for, settings_from, settings_option

if TYPE_CHECKING:
    from streams.reference_topic import OfVersion
    from streams.settings import Settings

_MADE = "Workers and `inferwatch reference publish` make the topic."


@click.command("list")
@click.argument("model")
@click.option("--version", default="", help="Of this version only.")
@settings_option
def list_command(model: str, version: str, settings_file: Path | None) -> None:
    """Show a model's published references, and which one drift is judged by, since when. Reads the topic `references`."""
    from streams.references import judging_drift

    everything = _published(settings_from(settings_file), model)
    found = {of: one for of, one in everything.items() if one.named or one.bad}
    for of, one in sorted(found.items()):
        if version not in ("", of):
            continue
        in_force = judging_drift(one.named, one.baseline).name if one.named else ""
        for name, reference in sorted(one.named.items(), key=lambda item: item[1].built_at_ns):
            mark = ""
            if name == in_force and one.baseline is not None and one.baseline.name == name:
                mark = f"  drift since {_time(one.baseline.since_ns)}, by {one.baseline.by}"
            elif name == in_force:
                mark = "  drift"
            what = f"{reference.rows:,} rows ({reference.source}), built {_time(reference.built_at_ns)}"
            click.echo(f"{model} {of}  {name}  {reference.id}  {what}{mark}")
        if one.baseline is not None and one.baseline.name != in_force:
            click.echo(f"The baseline {one.baseline.name} of {of} is not published, or has other columns: {in_force} counts.", err=True)
        for why in one.bad:
            click.echo(f"A record of {of} can't be used: {why}", err=True)
    if version not in ("", *found) or not found:
        click.echo(f"No reference of {model} {version}".rstrip() + " is published.")


@click.command("use")
@click.argument("model")
@click.argument("version")
@click.argument("name")
@settings_option
def use_command(model: str, version: str, name: str, settings_file: Path | None) -> None:
    r"""Judge drift by the published reference NAME from now on; `training` for the one that judges all else.

    Workers take it up within a second, and the audit log says who chose it. What drift has gathered begins anew, what the other detectors
    know stays.

    \b
    Example:
      inferwatch reference use fraud 7 2026-11
    """
    from streams.commands.alert import current_user
    from streams.kafka import publish_reference
    from streams.references import leading, same_columns

    settings = settings_from(settings_file)
    named = _with(settings, model, version, name).named
    first, chosen = leading(named), named[name]
    if not same_columns(first, chosen):
        raise Mistake(
            f"{name} has other columns, categories or classes than {first.name}: build it again, with --name {name}, "
            f"now that {first.name} is published"
        )
    baseline = Baseline(name=name, since_ns=time.time_ns(), by=current_user()[:100])
    with kafka_for(settings, _MADE):
        publish_reference(settings.kafka, model, baseline_part(version), msgspec.json.encode(baseline))
    click.echo(f"Drift of {model} {version} is judged by {name} ({chosen.id}).")


@click.command("drop")
@click.argument("model")
@click.argument("version")
@click.option("--name", default=TRAINING, show_default=True, help="Which one.")
@settings_option
def drop_command(model: str, version: str, name: str, settings_file: Path | None) -> None:
    """Withdraw a published reference, and the choice of it: drift that was judged by it is judged by the training one again.

    Without the training one the newest of the others judges all; without any, the next events make a provisional one.
    """
    from streams.kafka import publish_reference

    settings = settings_from(settings_file)
    one = _with(settings, model, version, name)
    left = sorted(one.named.keys() - {name})
    with kafka_for(settings, _MADE):
        if one.baseline is not None and one.baseline.name == name:
            publish_reference(settings.kafka, model, baseline_part(version), None)
        publish_reference(settings.kafka, model, part_of(version, name), None)
    click.echo(f"{name} of {model} {version} is withdrawn. Left: {', '.join(left) or 'none'}.")


def _published(settings: Settings, model: str) -> dict[str, OfVersion]:
    from streams.reference_topic import references_of

    with kafka_for(settings, _MADE):
        return references_of(settings.kafka, model)


def _with(settings: Settings, model: str, version: str, name: str) -> OfVersion:
    """What is published of a model version, with this reference among it, or a `Mistake`."""
    found = _published(settings, model)
    if version not in found or name not in found[version].named:
        has = "; ".join(f"{of}: {', '.join(one.named)}" for of, one in sorted(found.items()) if one.named)
        raise Mistake(f"no reference {name} of {model} {version} is published; there are {has or 'none'}")
    return found[version]


def _time(ns: int) -> str:
    return f"{datetime.fromtimestamp(ns / 1e9, UTC):%Y-%m-%d %H:%M}Z"
