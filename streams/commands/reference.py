"""``inferwatch reference build | publish | show``, and the commands of `streams.commands.reference_names`."""

from __future__ import annotations

import re
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec
from rich.console import Console
from rich.table import Table

from detectors.drift import DriftReference
from detectors.evidence import EvidenceReference
from detectors.membership import GaugeReport
from detectors.state import StateError
from schemas.reference import NAME_PATTERN, TRAINING, Reference, ReferenceFormatError, decode, encode, part_of
from streams import tables
from streams.build import BuildError, Built, build
from streams.commands.common import Failure, Mistake, kafka_for, settings_from, settings_option
from streams.commands.reference_names import drop_command, list_command, use_command
from streams.commands.stream_rows import Wanted, stream_options, stream_rows
from streams.conform import conform
from streams.settings import Settings

if TYPE_CHECKING:
    from streams.registry import Registered


@click.group("reference")
def command() -> None:
    """What is ordinary for a model version: its features' distributions, how they hang together, fingerprints of its training rows.

    Build one from rows that the model's owner has, then publish it; workers take it up within a second.
    """


for _one in (list_command, use_command, drop_command):
    command.add_command(_one)


@command.command("build")
@click.argument("rows_file", metavar="[ROWS.parquet]", required=False, type=click.Path(path_type=Path))
@click.option("--model", default="", help="The model's name, as its services send it.  [default, with --mlflow: as registered]")
@click.option("--version", default="", help="The model's version.  [default, with --mlflow: its number]")
@click.option("--mlflow", "registered_uri", default="", metavar="URI", help="models:/NAME/VERSION or models:/NAME@ALIAS, instead of ROWS.")
@click.option("--artifact", default="", metavar="PATH", help="Parquet artifact of the version's run.  [default: the only one]")
@click.option("--features", default="", help="Comma-separated columns, in the model's order.  [default: all that are nothing else]")
@click.option(
    "--meta", "meta_file", type=click.Path(path_type=Path), help="meta.json with names, bounds, image size.  [default: beside ROWS]"
)
@click.option(
    "--time-column", default="", help="Column that says when a row was seen: a timestamp or seconds since 1970.  [default: ts, if any]"
)
@click.option("--out", type=click.Path(path_type=Path), help="File to write.  [default: MODEL-VERSION.iwref, MODEL-VERSION-NAME.iwref]")
@click.option("--name", default=TRAINING, show_default=True, help="Of what it is; with another name it stands beside the training one.")
@click.option(
    "--like",
    "like_file",
    metavar="FILE.iwref",
    type=click.Path(path_type=Path),
    help="With --name: take columns and categories from here.  [default: the published training one]",
)
@click.option("--publish", "publish_it", is_flag=True, help="Publish it at once.")
@stream_options
@settings_option
def build_command(
    rows_file: Path | None,
    model: str,
    version: str,
    registered_uri: str,
    artifact: str,
    features: str,
    meta_file: Path | None,
    time_column: str,
    out: Path | None,
    name: str,
    like_file: Path | None,
    publish_it: bool,
    from_stream: bool,
    settings_file: Path | None,
    **typed: Any,
) -> None:
    r"""Build a reference from a parquet file of rows, or from the events of a stretch of time.

    Either a list column `features`, or one column a feature (numbers, text, booleans). Optional: `probs` (list, or columns
    `prob_CLASS`), `y` (true class), `member` (true: the model was trained on this row), `value`. Give held-out rows too: a model is
    over-confident on its training rows, and they are needed to measure membership risk. 2,000 rows or more of each.

    Rows of recorded traffic should say when they were seen (`--time-column`): from two days on, the reference learns what each hour of the
    day is like, from two weeks on each hour of the week, and how far the population wanders besides. Without times every hour is expected
    to look like the whole.

    With --mlflow the rows are an artifact of the run that made the registered version (`meta.json` beside it counts too); the registry is
    that of MLFLOW_TRACKING_URI. Link, digest and dataset of the version are kept in the reference. Needs the extra `mlflow`.

    With --from-stream the rows are answered events of the model version, drawn evenly from those on Kafka between --from (or --last) and
    --to, with their times, scores, values, latency, and the labels that came for them. Clients that an alert of that time names, unless it
    was judged false or benign-cause, and those with a verdict that holds, are left out.

    With --name NAME it is a second reference of the version, in the columns of the training one, for `inferwatch reference use`: a month
    that somebody approved, say.

    The fingerprints of training rows are keyed with INFERWATCH_MEMBERSHIP_KEY (16 bytes or more); workers need the same key.

    \b
    Examples:
      inferwatch reference build --model fraud --version 7 --features amount,country,age rows.parquet
      inferwatch reference build --mlflow models:/fraud/7 --publish
      inferwatch reference build --from-stream --last 14d --model fraud --version 7
      inferwatch reference build --from-stream --last 30d --model fraud --version 7 --name 2026-11 --publish
    """
    settings, wanted = settings_from(settings_file), Wanted(**typed)
    if (rows_file is not None) + bool(registered_uri) + from_stream != 1:
        raise click.UsageError("give one of a parquet file of rows, --mlflow models:/NAME/VERSION and --from-stream")
    if wanted.given and not from_stream:
        raise click.UsageError("--last, --from, --to, --rows, --seed and --without-clients go with --from-stream")
    if time_column and from_stream:
        raise click.UsageError("events have their times: --time-column goes with a file of rows")
    if like_file is not None and name == TRAINING:
        raise click.UsageError("--like goes with --name")
    if re.fullmatch(NAME_PATTERN, name) is None:
        raise click.UsageError(f"--name {name!r}: 1 to 64 letters, digits, '.', '_', '-'")
    if artifact and not registered_uri:
        raise click.UsageError("--artifact goes with --mlflow")
    if not registered_uri and not (model and version):
        raise click.UsageError("--model and --version are needed, as the model's services send them")
    with tempfile.TemporaryDirectory(prefix="inferwatch-") as folder:
        registered = _registered(registered_uri, artifact, Path(folder)) if registered_uri else None
        if registered is not None:
            rows_file, model, version = registered.rows, model or registered.name, version or registered.version
        like = None if name == TRAINING else _like(like_file, model, version, settings)
        built = _built(rows_file, model, version, features, meta_file, time_column, wanted, settings, name=name, like=like)
    if registered is not None:
        origin = {"registry_url": registered.url, "digest": registered.digest, "dataset": registered.dataset}
        built = Built(msgspec.structs.replace(built.reference, **origin), built.notes)
    path = out or Path("-".join([model, version, name][: 2 + (name != TRAINING)]).replace("/", "_") + ".iwref")
    blob = encode(built.reference)
    try:
        path.write_bytes(blob)
    except OSError as error:
        raise Mistake(f"{path}: {error.strerror}") from error
    click.echo(f"Reference {built.reference.id} of {model} {version}: {built.reference.rows:,} rows, {len(blob) / 1024:.0f} KB, in {path}.")
    if built.reference.origin:
        click.echo(f"From the stream: {built.reference.origin}.")
    drift = DriftReference.from_bytes(built.reference.parts["drift"])
    if drift.certificate is not None:
        click.echo(f"Replay of its own days: {drift.certificate}.")
    for note in built.notes:
        click.echo(f"Note: {note}.")
    if publish_it:
        _publish(built.reference, blob, settings)


def _like(like_file: Path | None, model: str, version: str, settings: Settings) -> Reference:
    """The reference in whose columns a second one is."""
    from streams.reference_topic import references_of

    if like_file is not None:
        return read(like_file)[0]
    with kafka_for(settings, "Or give the training reference with --like FILE.iwref."):
        found = references_of(settings.kafka, model).get(version)
    if found is None or TRAINING not in found.named or found.named[TRAINING].source == "provisional":
        raise Mistake(f"no training reference of {model} {version} is published: publish one first, or give it with --like FILE.iwref")
    return found.named[TRAINING]


def _built(
    rows_file: Path | None, model: str, version: str, features: str, meta_file: Path | None, time_column: str, wanted: Wanted,
    settings: Settings, *, name: str, like: Reference | None,
) -> Built:  # fmt: skip
    """The reference of a file's rows, or without a file of the stream's."""
    if meta_file is not None and not meta_file.is_file():
        raise Mistake(f"{meta_file}: no such file")
    names = [name.strip() for name in features.split(",") if name.strip()]
    if like is not None:
        names = names or [feature.name for feature in like.features]
    origin, notes = "", tuple[str, ...]()
    try:
        if rows_file is not None:
            meta = tables.read_meta(meta_file or rows_file.parent / "meta.json")
            rows = tables.read_reference(rows_file, meta, names=names, time_column=time_column)
        else:
            meta = tables.read_meta(meta_file) if meta_file is not None else tables.Meta()
            gathered = stream_rows(settings, model, version, wanted, names, meta)
            rows, origin, notes = gathered.rows, gathered.origin, gathered.notes
        rows = rows if like is None else conform(rows, like)
        with Console(stderr=True).status(f"Fitting {len(rows.X):,} rows of {len(rows.features)} features"):
            built = build(
                model,
                version,
                rows,
                membership_key=settings.membership.key.encode(),
                built_at_ns=time.time_ns(),
                name=name,
                source="stream" if rows_file is None else "file",
                drift_pages=settings.budget.false_pages_per_30d * settings.budget.drift_share,
                materiality=settings.drift.materiality,
            )
    except (tables.TableError, BuildError) as error:
        raise Mistake(str(error)) from error
    return Built(msgspec.structs.replace(built.reference, origin=origin), (*notes, *built.notes))


def _registered(uri: str, artifact: str, into: Path) -> Registered:
    from streams.registry import RegistryError, fetch

    try:
        with Console(stderr=True).status(f"Fetching the rows of {uri}"):
            found = fetch(uri, artifact, into)
    except ValueError as error:
        raise Mistake(f"--mlflow {error}") from error
    except ModuleNotFoundError as error:
        raise Failure(f"--mlflow needs the package {error.name}: install inferwatch-server with the extra `mlflow`.") from error
    except RegistryError as error:
        raise Failure(str(error)) from error
    click.echo(f"Rows of {found.url}: artifact {found.artifact}{f', trained on {found.dataset}' if found.dataset else ''}.")
    if found.digest:
        click.echo(f"Digest of the stored model: {found.digest}")
    return found


@command.command("publish")
@click.argument("reference_file", metavar="FILE.iwref", type=click.Path(path_type=Path))
@settings_option
def publish_command(reference_file: Path, settings_file: Path | None) -> None:
    """Publish a built reference to the workers, by the references topic. The newest for a model version and name counts."""
    settings = settings_from(settings_file)
    reference, blob = read(reference_file)
    _publish(reference, blob, settings)


@command.command("show")
@click.argument("reference_file", metavar="FILE.iwref", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="For machines.")
def show_command(reference_file: Path, as_json: bool) -> None:
    """Show what a reference holds: schema, parts, membership gauge."""
    reference, blob = read(reference_file)
    if as_json:
        body = msgspec.to_builtins(reference)
        body["parts"] = {name: len(part) for name, part in reference.parts.items()}
        click.echo(msgspec.json.format(msgspec.json.encode(body | {"id": reference.id})).decode())
        return
    console = Console()
    console.print(
        f"[bold]{reference.model} {reference.version} {reference.name}[/bold]  reference {reference.id}, {len(blob) / 1024:.0f} KB"
    )
    rows = f"{reference.rows:,} rows ({reference.members:,} trained on)"
    console.print(f"{rows}, {len(reference.features)} features, classes: {_list(reference.classes)}")
    for what, said in (
        ("from the stream", reference.origin),
        ("registry", reference.registry_url),
        ("digest", reference.digest),
        ("trained on", reference.dataset),
    ):
        if said:
            console.print(f"{what}: {said}", highlight=False, soft_wrap=True)
    try:
        drift = DriftReference.from_bytes(reference.parts["drift"]) if "drift" in reference.parts else None
        if drift is not None:
            console.print(f"drift: {len(drift.variables)} variables in {drift.n_cells} cells, {drift.status} {drift.reason}")
            console.print(f"seasons: {_seasons(drift)}")
            console.print(f"replay of its own days: {drift.certificate or 'none'}", highlight=False)
        if "evidence" in reference.parts:
            EvidenceReference.from_bytes(reference.parts["evidence"])
            console.print(f"query patterns: {len(reference.parts['evidence']) / 1024:.0f} KB")
    except StateError as error:
        raise Failure(f"{reference_file}: {error}") from error
    if "membership" in reference.parts:
        console.print(f"member fingerprints: {len(reference.parts['membership']) / 1024:.0f} KB, locked by their key")
    if reference.gauge:
        console.print("membership gauge (loss attack, 95 % intervals):")
        for line in _gauge(reference_file, reference):
            console.print(f"  {line}", highlight=False)
    table = Table("feature", "kind", "low", "high", "categories", box=None)
    for feature in reference.features[:50]:
        table.add_row(feature.name, feature.kind, _number(feature.low), _number(feature.high), _list(feature.categories))
    console.print(table)
    if len(reference.features) > 50:
        console.print(f"... and {len(reference.features) - 50} more")


def _seasons(drift: DriftReference) -> str:
    if not drift.span_s:
        return "the rows have no times, so every hour is expected to look like the whole reference"
    days = f"{drift.span_s / 86_400:.1f} days of rows"
    if drift.season is None:
        return f"{days}, no hour differs from the others"
    names = [name for name, seasonal in zip(drift.variables, drift.season.active, strict=True) if seasonal]
    return f"{days}, of {len(names)} variables: {_list(tuple(names))}"


def _gauge(path: Path, reference: Reference) -> list[str]:
    try:
        return msgspec.convert(reference.gauge, GaugeReport).lines()
    except msgspec.ValidationError as error:
        raise Failure(f"{path}: the membership gauge makes no sense: {error}") from error


def _publish(reference: Reference, blob: bytes, settings: Settings) -> None:
    from schemas.topics import topics
    from streams.kafka import ensure_topics, publish_reference

    bound = next(topic.max_message_bytes for topic in topics() if topic.name.endswith(".references"))
    if len(blob) > bound:
        raise Mistake(f"the reference has {len(blob):,} bytes; the topic takes {bound:,}. Build it from fewer training rows.")
    with kafka_for(settings):
        ensure_topics(settings.kafka)
        publish_reference(settings.kafka, reference.model, part_of(reference.version, reference.name), blob)
    click.echo(f"Published {reference.id} for {reference.model} {reference.version} to {settings.kafka.topic_prefix}.references.")
    if reference.name != TRAINING:
        click.echo(f"Drift is judged by it after `inferwatch reference use {reference.model} {reference.version} {reference.name}`.")


def read(path: Path) -> tuple[Reference, bytes]:
    """The reference of a file, and its bytes, or a `Mistake`."""
    try:
        blob = path.read_bytes()
        return decode(blob), blob
    except OSError as error:
        raise Mistake(f"{path}: {error.strerror}") from error
    except ReferenceFormatError as error:
        raise Mistake(f"{path}: {error}") from error


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:g}"


def _list(values: tuple[str, ...]) -> str:
    return ", ".join(values[:8]) + (f", ... ({len(values)})" if len(values) > 8 else "")
