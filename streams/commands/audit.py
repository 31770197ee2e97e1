"""``inferwatch audit verify | list``."""

from __future__ import annotations

import re
import time
from collections import defaultdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from streams.commands.alert import store
from streams.commands.common import Failure, Mistake, kafka_for, moment, settings_from, settings_option

if TYPE_CHECKING:
    from streams.audit import Head
    from streams.settings import Settings

_SHOWN = 100
_KINDS = ("alert", "verdict", "acknowledgement", "reference", "settings", "key", "export", "report", "deletion")


@click.group("audit")
def command() -> None:
    """Check the audit log, and read it."""


@command.command("verify")
@click.option("--heads/--no-heads", default=True, show_default=True, help="Compare with the chains' ends on the topic audit.")
@click.option("--head", "given", multiple=True, metavar="CHAIN#NUMBER#HASH", help="An end that was written down; can be repeated.")
@click.option("--grace", default=60.0, show_default=True, type=click.FloatRange(0, 86_400), help="Seconds that rows may be on their way.")
@settings_option
def verify_command(heads: bool, given: tuple[str, ...], grace: float, settings_file: Path | None) -> None:
    r"""Follow every chain of the audit log from its first row, and say what was changed, taken out, moved or put in.

    A chain's end that was cut off is found where the end is known from elsewhere: judges keep theirs on the topic audit, commands in this
    user's state folder, and --head gives one that was written down. Prints the ends, to be written down.

    Exit codes: 0 nothing is wrong; 1 something is, or store or Kafka cannot be read; 2 the options make no sense.

    \b
    Examples:
      inferwatch audit verify
      inferwatch audit verify --no-heads
    """
    from streams.audit import verify
    from streams.audit_log import chain_names, chain_of, local_heads

    settings = settings_from(settings_file)
    now_ms = time.time_ns() // 10**6
    known = [_head(text, now_ms) for text in given]
    if heads:
        known += _from_kafka(settings)
    problems: list[str] = []
    rows = 0
    ends: list[str] = []
    with store(settings_file) as clickhouse:
        known += local_heads(clickhouse)
        by_chain: defaultdict[str, list[Head]] = defaultdict(list)
        for head in known:
            by_chain[head.chain].append(head)
        kept_from_ms = now_ms - 28 * settings.retention.audit_months * 86_400_000  # months of 28 days: none of these has expired
        names = chain_names(clickhouse)
        for name in sorted({*names, *by_chain}):
            seen: list[str] = []

            def counted(name: str = name, seen: list[str] = seen) -> object:
                for row in chain_of(clickhouse, name):
                    seen[:] = [f"{row.chain}#{row.number}#{row.hash}"]
                    nonlocal rows
                    rows += 1
                    yield row

            found = verify(counted(), kept_from_ms=kept_from_ms, heads=by_chain.get(name, []), settled_ms=now_ms - round(grace * 1000))  # type: ignore[arg-type]
            for problem in found:
                problems.append(str(problem))
                if len(problems) >= _SHOWN:
                    break
            ends += seen
    for text in problems:
        click.echo(text, err=True)
    if problems:
        more = "" if len(problems) < _SHOWN else " or more; no more are looked for in that chain"
        places = "1 place" if len(problems) == 1 else f"{len(problems)} places"
        raise Failure(f"{places}{more}: the audit log is not what was written. Keep it as it is, and tell security.")
    anchored = len(by_chain.keys() & set(names))
    click.echo(
        f"{rows:,} rows in {len(names)} chains: none was changed, is missing, doubled or moved. {anchored} ends are known from elsewhere."
    )
    for end in ends:
        click.echo(f"  {end}")


@command.command("list")
@click.option("--since", default="7d", show_default=True, help="How far back: 30m, 12h, 7d, 4w, or a date as 2026-11-01.")
@click.option("--kind", default="", type=click.Choice(["", *_KINDS]), help="Of this kind only.")
@click.option("--model", default="", help="About this model only.")
@click.option("--limit", default=200, show_default=True, type=click.IntRange(1, 100_000), help="At most so many rows.")
@settings_option
def list_command(since: str, kind: str, model: str, limit: int, settings_file: Path | None) -> None:
    """Show what was done and said, newest first."""
    from streams.audit_log import newest

    begin = moment(since, datetime.now(UTC), "--since")
    with store(settings_file) as clickhouse:
        rows = newest(clickhouse, begin, kind=kind, model=model, limit=limit + 1)
    for row in rows[:limit]:
        about = " ".join(part for part in (row["model"], row["version"], row["subject"]) if part)
        click.echo(f"{row['at']:%Y-%m-%d %H:%M:%S}Z  {row['kind']:15}  {about}  by {row['actor']}  {row['detail'][:300]}")
    if not rows:
        click.echo(f"Nothing since {begin:%Y-%m-%d %H:%M}Z.")
    if len(rows) > limit:
        click.echo("... and more; raise --limit, or name a --kind or --model.")


def _head(text: str, now_ms: int) -> Head:
    from streams.audit import Head

    found = re.fullmatch(r"(.{1,300})#(\d{1,18})#([0-9a-f]{64})", text)
    if found is None:
        raise Mistake(f"--head {text[:80]!r}: expected CHAIN#NUMBER#HASH, as `inferwatch audit verify` prints it")
    return Head(chain=found[1], number=int(found[2]), hash=found[3], at_ms=now_ms - 86_400_000)


def _from_kafka(settings: Settings) -> list[Head]:
    import msgspec

    from streams.audit import Head
    from streams.verdict_topic import newest

    prefix = settings.kafka.topic_prefix
    with kafka_for(settings, "Without the ends kept there a cut cannot be seen; --no-heads goes on."):
        found = newest(settings.kafka, f"{prefix}.audit", f"{prefix}-audit")
    heads = []
    for key, value in found.items():
        try:
            heads.append(msgspec.json.decode(value, type=Head))
        except msgspec.DecodeError as error:
            raise Failure(f"{prefix}.audit, key {key.decode('utf-8', 'replace')[:100]!r}: no end of a chain ({error})") from error
    return heads
