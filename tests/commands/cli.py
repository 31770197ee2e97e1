"""Runs the command line in this process, with an environment of the test's own."""

import os

from click.testing import CliRunner, Result

from streams.cli import main

NOWHERE = {
    "INFERWATCH_KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1",
    "INFERWATCH_CLICKHOUSE_DSN": "http://default@127.0.0.1:1/inferwatch",
    "INFERWATCH_ALERTMANAGER_URLS": "http://127.0.0.1:1",
}
"""Nobody listens on port 1."""


def run(*arguments: object, **environ: str) -> Result:
    """The exit code and what was said."""
    plain: dict[str, str | None] = {name: None for name in os.environ if name.startswith("INFERWATCH_")}
    result = CliRunner().invoke(main, [str(argument) for argument in arguments], env=plain | dict(environ))
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def environment(**more: str) -> dict[str, str]:
    """For a process: this one's environment without our settings, and some of its own."""
    return {name: value for name, value in os.environ.items() if not name.startswith("INFERWATCH_")} | more
