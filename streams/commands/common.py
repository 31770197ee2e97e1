"""What commands share: the settings option, and how a mistake is told."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import click

from streams.settings import Settings, SettingsError, load

_F = TypeVar("_F", bound=Callable[..., Any])

_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}

CHECK = "Is kafka.bootstrap_servers right, and does a broker run there? `inferwatch check` tries every address."


class Mistake(click.ClickException):
    """What was given makes no sense: exit code 2, the message alone."""

    exit_code = 2


class Failure(click.ClickException):
    """It was tried and failed: exit code 1."""

    exit_code = 1


def settings_option(function: _F) -> _F:
    """``--settings FILE``."""
    return click.option(
        "--settings",
        "settings_file",
        type=click.Path(path_type=Path),
        envvar="INFERWATCH_SETTINGS",
        help="TOML file; every setting can also be given as INFERWATCH_SECTION_NAME, secrets only so.  [default: built-in settings]",
    )(function)


def settings_from(path: Path | None) -> Settings:
    """The settings, or a `Mistake` that names the path of what is wrong."""
    try:
        return load(path)
    except SettingsError as error:
        raise Mistake(str(error)) from error


def moment(text: str, now: datetime, option: str) -> datetime:
    """A time that somebody typed: how long ago, or a date.

    Example:
        >>> moment("12h", datetime(2026, 11, 2, tzinfo=UTC), "--since").isoformat()
        '2026-11-01T12:00:00+00:00'
    """
    if found := re.fullmatch(r"(\d{1,5})([mhdw])", text):
        return now - timedelta(**{_UNITS[found[2]]: int(found[1])})
    try:
        given = datetime.fromisoformat(text)
    except ValueError:
        raise Mistake(f"{option} {text[:40]!r}: expected 30m, 12h, 7d, 4w, or a date as 2026-11-01") from None
    return given if given.tzinfo else given.replace(tzinfo=UTC)


@contextmanager
def kafka_for(settings: Settings, more: str = "") -> Iterator[None]:
    """Kafka for what a command does within; that nobody answers (asked first), and what Kafka refuses, is a `Failure` in one sentence.

    Args:
        settings: Where.
        more: What the person can do about it, or what was done already.
    """
    from confluent_kafka import KafkaException

    from streams.kafka import TopicError, reach, told_by

    more = more and f" {more}"
    if (trouble := reach(settings.kafka)) is not None:
        raise Failure(f"{trouble}. {CHECK}{more}")
    try:
        yield
    except (KafkaException, TopicError) as error:
        raise Failure(f"{told_by(settings.kafka, error)}.{more}") from error
