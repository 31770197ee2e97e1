"""The log: the worker's, one line an event, as JSON for machines or as text for people, with no secret in it; and the commands'."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable, MutableMapping
from typing import Any, TextIO

import structlog

from streams.settings import MASK, Settings, secrets_of

# Among them streams.app: Faust's services log by the name of the module that subclasses them.
_NOISY = ("streams.app", "faust", "mode", "aiokafka", "kafka", "aiohttp", "asyncio", "urllib3", "niquests", "clickhouse_connect")


class Redact:
    """Replaces every known secret in every text of a log entry, wherever a message or a library puts it.

    Secrets shorter than 4 characters are left alone: replacing "a" everywhere would say more than it hides.

    Example:
        >>> Redact(["hunter2"])(None, "info", {"event": "login as u:hunter2 failed", "why": ["hunter2"]})
        {'event': 'login as u:*** failed', 'why': ['***']}
    """

    def __init__(self, secrets: Iterable[str]) -> None:
        self._secrets = sorted({secret for secret in secrets if len(secret) >= 4}, key=len, reverse=True)

    def __call__(self, logger: Any, method: str, entry: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        """A structlog processor."""
        for key, value in entry.items():
            entry[key] = self._clean(value)
        return entry

    def _clean(self, value: Any) -> Any:
        if isinstance(value, str):
            for secret in self._secrets:
                value = value.replace(secret, MASK)
        elif isinstance(value, (list, tuple, set)):
            value = [self._clean(each) for each in value]
        elif isinstance(value, dict):
            value = {key: self._clean(each) for key, each in value.items()}
        elif isinstance(value, (Exception, bytes)):
            value = self._clean(str(value))
        return value


def quiet() -> None:
    """For a command, whose standard output is its answer: of our log, errors alone are said, on standard error.

    What a command could not do, it says in a sentence of its own; the warnings on the way there would only repeat it.
    """
    logging.getLogger("clickhouse_connect").setLevel(logging.CRITICAL)  # else it announces what it raises
    structlog.configure(
        processors=[_errors_only, structlog.processors.add_log_level, structlog.dev.ConsoleRenderer(colors=False)],
        logger_factory=lambda *_: structlog.PrintLogger(sys.stderr),
        cache_logger_on_first_use=False,
    )


def _errors_only(logger: Any, method: str, entry: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    if method not in ("error", "exception", "critical"):
        raise structlog.DropEvent
    return entry


def configure(settings: Settings, stream: TextIO | None = None) -> None:
    """Sends the log of our code and of the libraries to one stream (stderr), in the form that ``settings.log`` asks for.

    Libraries speak from WARNING on, unless the level is debug.
    """
    level = getattr(logging, settings.log.level.upper())
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    exceptions: structlog.typing.Processor = structlog.processors.format_exc_info
    renderer: structlog.typing.Processor
    if settings.log.format == "json":
        renderer = structlog.processors.JSONRenderer(default=str)
    else:
        renderer = structlog.dev.ConsoleRenderer(colors=False)
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[*shared, structlog.stdlib.ExtraAdder()],
        # Redaction comes after the traceback became text, and before that text is rendered.
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, exceptions, Redact(secrets_of(settings)), renderer],
    )
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name in _NOISY:
        logging.getLogger(name).setLevel(level if level == logging.DEBUG else max(level, logging.WARNING))
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
