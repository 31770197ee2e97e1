"""``inferwatch verdict list | set | clear``."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from streams.commands.alert import current_user
from streams.commands.common import Failure, Mistake, kafka_for, settings_from, settings_option

if TYPE_CHECKING:
    from inferwatch import Verdict
    from streams.settings import Kafka, Settings

_F = TypeVar("_F", bound=Callable[..., object])
_SHOWN = 1_000
_MADE = "Topics are made by the first worker."
_LONGEST_H = 400 * 24.0
_NAMED = 20
"""Models that a warning names."""


@click.group("verdict")
def command() -> None:
    """See and decide what gateways are asked to do about clients."""


def _whom(function: _F) -> _F:
    """Options that name a model's client, or the model."""
    for option in reversed(
        [
            click.option("--model", required=True, help="Name of the model."),
            click.option(
                "--client", "raw", default="", help="The client's raw id; needs INFERWATCH_PSEUDONYM_KEY, as the services have it."
            ),
            click.option("--pseudonym", default="", help="The client's pseudonym, as alerts name it."),
            click.option("--whole-model", is_flag=True, help="Whoever asks: the circuit breaker."),
        ]
    ):
        function = option(function)
    return function


@command.command("list")
@click.option("--model", default="", help="Of this model only.")
@settings_option
def list_command(model: str, settings_file: Path | None) -> None:
    """Show the verdicts that hold or will hold, newest first. Reads the topic `verdicts`."""
    from streams.verdict_topic import read_verdicts

    settings = settings_from(settings_file)
    with kafka_for(settings, _MADE):
        found, bad = read_verdicts(settings.kafka)
    now_ns = time.time_ns()
    mine = sorted((one for one in found if one.expires_ns > now_ns and model in ("", one.model)), key=lambda one: -one.issued_ns)
    for one in mine[:_SHOWN]:
        when = f"until {_time(one.expires_ns)}" if one.holds(now_ns) else f"from {_time(one.not_before_ns)} until {_time(one.expires_ns)}"
        why = ", ".join(f"{name} {value}" for name, value in one.evidence.items())
        click.echo(f"{one.model}  {one.client or 'whole model'}  {one.text}  {when}  {one.reason}" + (f"  ({why})" if why else ""))
    if not mine:
        click.echo(f"No verdict on {model} holds." if model else "No verdict holds.")
    if len(mine) > _SHOWN:
        click.echo(f"... and {len(mine) - _SHOWN} more; name a --model.")
    if bad:
        click.echo(f"{bad} records on the topic are no verdicts; gateways drop them.", err=True)


@command.command("set")
@click.argument("action")
@_whom
@click.option("--hours", default=24.0, show_default=True, type=click.FloatRange(1 / 60, _LONGEST_H), help="How long it holds.")
@click.option("--delay", default=0.0, show_default=True, type=click.FloatRange(0, 720), help="Hours until it begins.")
@click.option("--note", default="", help="Why, in a sentence.")
@click.option("--timeout", default=15.0, show_default=True, type=click.FloatRange(0, 600), help="Seconds to wait until it is issued.")
@settings_option
def set_command(
    action: str, model: str, raw: str, pseudonym: str, whole_model: bool, hours: float, delay: float, note: str, timeout: float,
    settings_file: Path | None,
) -> None:  # fmt: skip
    r"""Ask gateways for ACTION: observe, round(DIGITS), throttle(REQUESTS A MINUTE) or block.

    The model's judge issues it, so a worker must run. It stands until it expires or is cleared, whatever the judge finds meanwhile.
    Exit code 1: Kafka cannot be reached, or no worker issued it in time (it is issued when one runs).

    \b
    Examples:
      inferwatch verdict set "throttle(10)" --model fraud --pseudonym 54cd255fa23c1c4c --note "scrapes prices"
      inferwatch verdict set block --model fraud --whole-model --hours 2
    """
    import msgspec

    from inferwatch import Verdict
    from schemas.operations import SetVerdict
    from streams.verdict_topic import tell
    from streams.verdicts import PERSON, parse_action

    settings = _switched_on(settings_file)
    client, now_ns = _client(raw, pseudonym, whole_model), time.time_ns()
    starts_ns = now_ns + round(delay * 3_600e9)
    try:
        verdict = msgspec.convert(
            {
                "model": model, "client": client, **parse_action(action), "reason": PERSON,
                "evidence": {"by": current_user()[:100]} | ({"note": note[:256]} if note else {}),
                "issued_ns": now_ns, "not_before_ns": starts_ns, "expires_ns": starts_ns + round(hours * 3_600e9),
            },
            Verdict,
        )  # fmt: skip
    except (ValueError, msgspec.ValidationError) as error:
        raise Mistake(str(error)) from error
    with kafka_for(settings, _MADE):
        _warn_of_a_stranger(settings.kafka, model)
        tell(settings.kafka, SetVerdict(verdict=verdict))
        issued = _until(lambda: _at(settings.kafka, model, client) == verdict, timeout)
    what = f"{verdict.text} for {client or 'everybody'} on {model}"
    if not issued:
        raise Failure(
            f"{what}: told, but not issued within {timeout:g} s. Does a worker run, with verdicts.enabled, and has its book room?"
        )
    click.echo(f"{what}, from {_time(starts_ns)} until {_time(verdict.expires_ns)}.")


@command.command("clear")
@_whom
@click.option("--timeout", default=15.0, show_default=True, type=click.FloatRange(0, 600), help="Seconds to wait until it is withdrawn.")
@settings_option
def clear_command(model: str, raw: str, pseudonym: str, whole_model: bool, timeout: float, settings_file: Path | None) -> None:
    r"""Take a verdict back. The page behind it issues none for this client again; a new page may.

    \b
    Example:
      inferwatch verdict clear --model fraud --pseudonym 54cd255fa23c1c4c
    """
    from schemas.operations import ClearVerdict
    from streams.verdict_topic import tell

    settings = _switched_on(settings_file)
    client = _client(raw, pseudonym, whole_model)
    with kafka_for(settings, _MADE):
        _warn_of_a_stranger(settings.kafka, model)
        before = _at(settings.kafka, model, client)
        tell(settings.kafka, ClearVerdict(model=model, client=client, by=current_user()[:100], at_ns=time.time_ns()))
        gone = before is None or _until(lambda: _at(settings.kafka, model, client) is None, timeout)
    if not gone:
        raise Failure(f"told, but not withdrawn within {timeout:g} s. Does a worker run?")
    click.echo(f"Nothing holds for {client or 'the whole model'} on {model}" + (f"; it was {before.text}." if before else ", as before."))


def _switched_on(settings_file: Path | None) -> Settings:
    settings = settings_from(settings_file)
    if not settings.verdicts.enabled:
        raise Mistake("verdicts.enabled is false: set it here and for the workers")
    return settings


def _client(raw: str, pseudonym: str, whole_model: bool) -> str:
    """The pseudonym that is meant; "" for the whole model."""
    from inferwatch import pseudonym_of

    if bool(raw) + bool(pseudonym) + whole_model != 1:
        raise Mistake("name one of --client, --pseudonym and --whole-model")
    if raw:
        key = os.environ.get("INFERWATCH_PSEUDONYM_KEY", "")
        if len(key.encode()) < 16:
            raise Mistake("--client needs INFERWATCH_PSEUDONYM_KEY (16 bytes or more), as the services have it; or give --pseudonym")
        return pseudonym_of(key.encode(), raw)
    return pseudonym


def _warn_of_a_stranger(kafka: Kafka, model: str) -> None:
    """A misspelt model's verdict would be issued, and nobody would look it up. One without a reference may be meant all the same."""
    from streams.reference_topic import known_models

    known = known_models(kafka)
    if model not in known:
        shown = ", ".join(known[:_NAMED]) + (f" and {len(known) - _NAMED} more" if len(known) > _NAMED else "")
        click.echo(f"No reference of a model {model!r} is published; there are {shown or 'none at all'}. Is the name right?", err=True)


def _at(kafka: Kafka, model: str, client: str) -> Verdict | None:
    """The verdict that the topic holds for them now."""
    from streams.verdict_topic import read_verdicts

    return next((one for one in read_verdicts(kafka)[0] if (one.model, one.client) == (model, client)), None)


def _until(fact: Callable[[], bool], timeout_s: float) -> bool:
    deadline = time.monotonic() + timeout_s
    while not fact():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.3)
    return True


def _time(ns: int) -> str:
    return f"{datetime.fromtimestamp(ns / 1e9, UTC):%Y-%m-%d %H:%M:%S}Z"
