"""What owns a partition's state: the contract between the pure middle (shards, judges) and the thin edge that feeds it.

An owner is a plain object. It applies records in offset order, skips what it has applied already, answers to a clock that it is given, and
puts what must leave into its outbox. Nothing leaves before a snapshot that holds it is durable; nothing is forgotten before it was
delivered. So whatever is killed, counts are exact: what is sent twice carries the same identity, and who receives it skips or replaces it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol, runtime_checkable

import msgspec

NS = 1_000_000_000
"""Nanoseconds in a second: times are UTC nanoseconds, lengths and ages in settings are seconds."""
Role = Literal["events", "windows", "findings", "lifecycle", "labels", "operations"]
"""Which topic a record came from, without prefix."""
SET_BACK_NS = 30 * NS
"""A clock that goes back by more was ahead; by less, as time servers correct it, it is waited for."""
Destination = Literal["windows", "findings", "alerts", "verdicts", "audit", "references", "dlq", "rows"]
"""Where a message goes: a topic, without prefix, or the store."""


@dataclass(frozen=True, slots=True)
class Record:
    """One Kafka record."""

    role: Role
    partition: int
    offset: int
    value: bytes
    at_ns: int
    """Kafka's time of the record, UTC ns."""
    key: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


class Out(msgspec.Struct, array_like=True, frozen=True):
    """One message that must leave."""

    id: int
    to: Destination
    key: bytes
    """The Kafka key; for rows, the table's name."""
    value: bytes
    """The Kafka value; for rows, the row as msgpack."""
    headers: dict[str, str] = {}


class Outbox:
    """Messages by increasing id, kept until they are acknowledged.

    Example:
        >>> outbox = Outbox()
        >>> [outbox.add("alerts", b"a", b"1"), outbox.add("alerts", b"b", b"2")]
        [0, 1]
        >>> outbox.ack([0]); [out.id for out in outbox]
        [1]
    """

    def __init__(self) -> None:
        self._next = 0
        self._waiting: dict[int, Out] = {}

    def add(self, to: Destination, key: bytes, value: bytes, headers: dict[str, str] | None = None) -> int:
        """Puts a message in; returns its id."""
        out = Out(self._next, to, key, value, headers or {})
        self._waiting[out.id] = out
        self._next += 1
        return out.id

    def ack(self, ids: Iterable[int]) -> None:
        """Forgets what was delivered; ids that are gone already do no harm."""
        for id_ in ids:
            self._waiting.pop(id_, None)

    def rewrite(self, change: Callable[[Out], Out | None]) -> None:
        """Changes what waits; None takes a message away."""
        changed = {id_: change(out) for id_, out in self._waiting.items()}
        self._waiting = {id_: out for id_, out in changed.items() if out is not None}

    def since(self, id_: int) -> list[Out]:
        """The waiting messages with this id or a later one, in order."""
        return [out for out in self._waiting.values() if out.id >= id_]

    @property
    def next_id(self) -> int:
        """The id that the next message gets."""
        return self._next

    def __iter__(self) -> Iterator[Out]:
        return iter(list(self._waiting.values()))

    def __len__(self) -> int:
        return len(self._waiting)

    def dump(self) -> tuple[int, list[Out]]:
        """For a snapshot."""
        return self._next, list(self._waiting.values())

    def load(self, next_id: int, waiting: Sequence[Out]) -> None:
        """From a snapshot."""
        self._next, self._waiting = next_id, {out.id: out for out in waiting}


class Owner(Protocol):
    """One partition's state. No method blocks, awaits, or asks what time it is."""

    partition: int
    outbox: Outbox
    next: dict[Role, int]
    """By input topic: the offset of the first record that is not in the state."""

    def apply(self, record: Record) -> bool:
        """Takes a record into the state; False when the state holds it already.

        Raises:
            TooManyDeadLettersError: when most of the recent records could not be read.
        """

    def tick(self, now_ns: int) -> None:
        """Lets time pass: closes windows, resolves alerts. ``now_ns`` never goes back."""

    def snapshot(self) -> bytes:
        """The whole state, outbox included."""

    def restore(self, blob: bytes) -> None:
        """Goes on from a snapshot.

        Raises:
            detectors.state.StateError: when it is none of this owner's.
        """


class Copy(Protocol):
    """A copy of an owner's state, of the moment at which it was begun, that is made in small steps."""

    root: bytes
    """The small part of the state, whole."""
    pieces: dict[int, bytes]
    """Pieces that are new with this copy, by ids that were never used before."""
    keep: tuple[int, ...]
    """When all is copied: ids of all pieces, new and saved before, which make up the state with the root, in the order of a restore."""

    def step(self) -> bool:
        """Copies some more, for some milliseconds; False when all is copied. The owner may go on between two steps."""


@runtime_checkable
class Sliced(Owner, Protocol):
    """An owner whose state is too large to copy it at once, or to write it whole each time. It may be restored by `restore`, too."""

    def begin_copy(self) -> Copy:
        """Begins a copy of this moment; one that is not finished is given up."""

    def copy_lost(self, copy: Copy) -> None:
        """This copy was given up, or not saved: its pieces are never asked for."""

    def begin_restore(self, root: bytes) -> None:
        """Goes on from a copy, in a fresh object: the root, then every piece of `Copy.keep` in that order, then `end_restore`.

        Raises:
            detectors.state.StateError: when it is none of this owner's.
        """

    def restore_piece(self, piece: int, blob: bytes) -> None:
        """One piece."""

    def end_restore(self) -> None:
        """All pieces have come."""


class TooManyDeadLettersError(RuntimeError):
    """Most of the last records of a partition could not be read; going on would drain the topic into the dead letters."""
