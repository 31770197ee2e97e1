"""Where snapshots are kept: written whole or not at all, never by an owner that was replaced, never read when damaged.

A partition's owner first *claims* it, which shuts out every owner before: their saves are refused from then on. So a worker that stalled,
lost its partitions and wakes up cannot overwrite what its successor wrote, in whatever order the two get there. Kafka's group generation
alone would not do: it begins again at 0 when the broker loses the group.

A snapshot is a root and pieces. Pieces never change: a save adds some, names those that it keeps, and the others go.
`streams.state_folder` keeps them in files of one host, `streams.state_topic` in Kafka.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Literal, Protocol

import msgspec

__all__ = ["DIGEST_BYTES", "Kind", "Snapshot", "SnapshotError", "SnapshotStore", "StaleOwnerError", "digest"]

Kind = Literal["shard", "judge"]
"""Whose state it is."""

DIGEST_BYTES = 16


class SnapshotError(RuntimeError):
    """A snapshot cannot be read or written; the message says which, why, and what to do."""


class StaleOwnerError(RuntimeError):
    """Another owner has claimed the partition since; what the old one holds must not be written, nor sent."""


class Snapshot(msgspec.Struct, frozen=True, array_like=True):
    """One partition's state at one moment."""

    kind: Kind
    partition: int
    fence: int
    """Who wrote it: a number above that of every owner before."""
    next: dict[str, int]
    """By role: the first offset that is not in the state."""
    at_ns: int
    """When it was taken, UTC ns."""
    state: bytes
    """`streams.owner.Owner.snapshot`, or `streams.owner.Copy.root`."""
    pieces: dict[int, bytes] = {}
    """To save: the new pieces by id. A store gives them back by `SnapshotStore.pieces` only: together they may be large."""
    keep: tuple[int, ...] = ()
    """Ids of all pieces that belong to the state, in the order in which a restore wants them."""


class SnapshotStore(Protocol):
    """What the worker needs of a store. All methods block: call them in a thread, and not two at once for one partition."""

    def claim(self, kind: Kind, partition: int) -> tuple[int, Snapshot | None]:
        """Becomes the owner: a fence above all before, and the newest snapshot, if there is one, without its pieces.

        Raises:
            SnapshotError: it is there, and cannot be read; or the store cannot be reached.
        """

    def pieces(self, snapshot: Snapshot) -> Iterator[tuple[int, bytes]]:
        """All pieces of a snapshot that `claim` gave, in the order of `Snapshot.keep`, each read when it is asked for.

        Raises:
            StaleOwnerError: one is missing, since the partition was claimed again and its next owner has removed it.
            SnapshotError: one is missing or damaged.
        """

    def save(self, snapshot: Snapshot) -> int:
        """Makes the snapshot durable; returns the bytes written.

        Raises:
            StaleOwnerError: the partition was claimed after this snapshot's owner, or may have been.
            SnapshotError: it could not be written; the one before stays.
        """

    def confirm(self, kind: Kind, partition: int, fence: int) -> None:
        """Makes sure that this is still the owner; quicker than a save.

        Raises:
            StaleOwnerError: it is not, or may not be.
            SnapshotError: the store cannot be reached.
        """

    def release(self, kind: Kind, partition: int) -> None:
        """Lets go of what is held for an owner; it saves no more."""


def digest(content: bytes | memoryview) -> bytes:
    """What tells damaged content: BLAKE2b of 16 bytes, about 1 GB/s."""
    return hashlib.blake2b(content, digest_size=DIGEST_BYTES).digest()


def stale(kind: Kind, partition: int, fence: int, claimed: int) -> StaleOwnerError:
    """The error for a fence below the last claim's."""
    return StaleOwnerError(f"{kind} {partition}: this owner has fence {fence}, the partition was claimed again with fence {claimed}")
