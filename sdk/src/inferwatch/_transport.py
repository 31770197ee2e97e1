"""What carries records out of the process: the interface, for Kafka, for tests, for whoever brings another."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

Done = Callable[[str | None], None]
"""Told once what became of a record: None when the broker has it, else what went wrong."""


class Record(NamedTuple):
    """One Kafka record with an explicit partition."""

    topic: str
    partition: int
    key: bytes | None
    value: bytes
    headers: list[tuple[str, bytes]]


class Transport(Protocol):
    """Called by the sender thread only, except for `after_fork`. No method raises because a broker is absent."""

    def partitions(self, topic: str, timeout_s: float) -> int | None:
        """The topic's number of partitions; None while the cluster does not answer or has no such topic."""

    def send(self, record: Record, done: Done) -> bool:
        """Takes the record, or returns False when there is no room now.

        `done` is called once, here or in a later `poll` or `close`: with None when the broker has the record, else with what went wrong.
        """

    def poll(self) -> None:
        """Runs the `done` of what has been delivered or has failed; waits for nothing."""

    def rest(self, timeout_s: float) -> None:
        """Before a fork: lets go of whatever has threads or locks of its own, having delivered what it can within the time.

        What is on its way then is kept, and sent again at the next call; consumers know an event that comes twice by its number.
        """

    def close(self, timeout_s: float) -> None:
        """Delivers what it can within the time and gives up the rest."""

    def after_fork(self) -> None:
        """In a forked child: forget everything of the parent's, whose own threads will send it."""
