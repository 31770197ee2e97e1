"""Standard output is a command's answer alone; a broker or store that is away is one message: what, where, what to do."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.commands.cli import NOWHERE, environment, run
from tests.topics import Topics

KAFKA = "Error: Kafka at 127.0.0.1:1 (plaintext) does not answer: "
STORE = "Error: http://default@127.0.0.1:1/inferwatch: it does not answer: "


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ("audit verify", (KAFKA, "kafka.bootstrap_servers", "--no-heads")),
        ("verdict list", (KAFKA, "kafka.bootstrap_servers", "made by the first worker")),
        ("verdict set block --model m --whole-model", (KAFKA, "kafka.bootstrap_servers")),
        ("canary list --model m", (KAFKA, "kafka.bootstrap_servers")),
        ("canary remove c-1 --model m", (KAFKA, "kafka.bootstrap_servers")),
        ("audit list", (STORE, "Connection refused", "clickhouse.dsn")),
        ("alert ack a1 --verdict true", (STORE, "Connection refused", "clickhouse.dsn")),
    ],
)
def test_what_is_away_is_one_message_on_standard_error(arguments: str, says: tuple[str, ...]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "streams.cli", *arguments.split()],
        env=environment(**NOWHERE, INFERWATCH_VERDICTS_ENABLED="true"),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert done.stderr.startswith(says[0])
    assert all(part in done.stderr for part in says)


@pytest.mark.kafka
@pytest.mark.parametrize(
    ("arguments", "topic"), [("audit verify", "audit"), ("verdict list", "verdicts"), ("canary list --model m", "references")]
)
def test_a_topic_that_is_not_there_is_named(arguments: str, topic: str, topics: Topics) -> None:
    prefix = topics.prefix.rstrip(".")
    there = {"INFERWATCH_KAFKA_BOOTSTRAP_SERVERS": topics.bootstrap_servers, "INFERWATCH_KAFKA_TOPIC_PREFIX": prefix}
    done = run(*arguments.split(), **there)
    assert done.exit_code == 1
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert f"topic {prefix}.{topic}: Broker: Unknown topic" in line
