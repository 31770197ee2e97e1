"""Where snapshots are kept: written whole or not at all, never by an owner that was replaced, never read when damaged.

A partition's owner first *claims* it, which gives a fence: a number above that of every owner before. A save with a lower fence than the
last claim is refused. So a worker that stalled, lost its partitions and wakes up cannot overwrite what its successor wrote, in whatever
order the two get the disk. Kafka's group generation alone would not do: it begins again at 0 when the broker loses the group.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, Protocol

import msgspec

__all__ = ["FolderStore", "Kind", "Snapshot", "SnapshotError", "SnapshotStore", "StaleOwnerError"]

Kind = Literal["shard", "judge"]
"""Whose state it is."""

_MAGIC = b"IWSNAP1\n"
_DIGEST = 16
_LOCK_WAIT_S = 10.0


class SnapshotError(RuntimeError):
    """A snapshot cannot be read or written; the message says which, why, and what to do."""


class StaleOwnerError(RuntimeError):
    """Another owner has claimed the partition since; what the old one holds must not be written, nor sent."""


class Snapshot(msgspec.Struct, frozen=True, array_like=True):
    """One partition's state at one moment."""

    kind: Kind
    partition: int
    fence: int
    """Who wrote it."""
    next: dict[str, int]
    """By role: the first offset that is not in the state."""
    at_ns: int
    """When it was taken, UTC ns."""
    state: bytes
    """`streams.owner.Owner.snapshot`."""


class SnapshotStore(Protocol):
    """What the worker needs of a store. Both methods block: call them in a thread."""

    def claim(self, kind: Kind, partition: int) -> tuple[int, Snapshot | None]:
        """Becomes the owner: a fence above all before, and the newest snapshot, if there is one.

        Raises:
            SnapshotError: it is there, and cannot be read.
        """

    def save(self, snapshot: Snapshot) -> int:
        """Makes the snapshot durable; returns its size in bytes.

        Raises:
            StaleOwnerError: the partition was claimed after this snapshot's owner.
            SnapshotError: it could not be written; the one before stays.
        """


class FolderStore:
    """Snapshots as files of one folder, for workers of one host (or a shared file system with locks).

    A save writes and syncs a file of its own, then renames it over the last one, under a lock that also guards the fence. 20 MB take about
    0.1 s on a local SSD, nearly all of it outside the lock.

    Args:
        folder: Made when it is missing.

    Raises:
        SnapshotError: The folder cannot be made.

    Example:
        >>> import tempfile
        >>> store = FolderStore(Path(tempfile.mkdtemp()))
        >>> old, nothing = store.claim("shard", 0)
        >>> _ = store.save(Snapshot("shard", 0, old, {"events": 7}, 0, b"state"))
        >>> new, found = store.claim("shard", 0)
        >>> found.next, found.state
        ({'events': 7}, b'state')
        >>> store.save(Snapshot("shard", 0, old, {"events": 8}, 0, b"late"))
        Traceback (most recent call last):
        streams.snapshots.StaleOwnerError: shard 0: this owner has fence 1, the partition was claimed again with fence 2
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SnapshotError(f"{folder}: cannot make the folder for snapshots: {error.strerror}; set state.folder") from error

    def path(self, kind: Kind, partition: int) -> Path:
        """The file of a partition's snapshot."""
        return self._folder / f"{kind}-{partition}.snapshot"

    def claim(self, kind: Kind, partition: int) -> tuple[int, Snapshot | None]:
        """See `SnapshotStore.claim`."""
        path = self.path(kind, partition)
        with self._locked(path) as fence_file:
            fence = _read_fence(fence_file, path) + 1
            os.pwrite(fence_file, b"%020d" % fence, 0)
            os.fsync(fence_file)
        for left in self._folder.glob(f"{path.name}.*.tmp"):  # a killed owner's half-written file
            left.unlink(missing_ok=True)
        return fence, self.read(kind, partition)

    def save(self, snapshot: Snapshot) -> int:
        """See `SnapshotStore.save`."""
        path = self.path(snapshot.kind, snapshot.partition)
        body = msgspec.msgpack.encode(snapshot)
        temporary = path.with_name(f"{path.name}.{snapshot.fence}.tmp")
        try:
            with temporary.open("wb") as file:
                file.write(_MAGIC + hashlib.blake2b(body, digest_size=_DIGEST).digest())
                file.write(body)
                file.flush()
                os.fsync(file.fileno())
            with self._locked(path) as fence_file:
                claimed = _read_fence(fence_file, path)
                if snapshot.fence != claimed:
                    raise _stale(snapshot, claimed)
                temporary.replace(path)
                self._sync_folder()
        except FileNotFoundError as error:  # a successor's claim has cleared our file away
            with self._locked(path) as fence_file:
                raise _stale(snapshot, _read_fence(fence_file, path)) from error
        except OSError as error:
            raise SnapshotError(f"{path}: cannot write the snapshot: {error.strerror}; nothing leaves the worker until it can") from error
        finally:
            temporary.unlink(missing_ok=True)
        return len(_MAGIC) + _DIGEST + len(body)

    def read(self, kind: Kind, partition: int) -> Snapshot | None:
        """The newest snapshot, to look at it without becoming the owner.

        Raises:
            SnapshotError: it is there, and cannot be read.
        """
        path = self.path(kind, partition)
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise SnapshotError(f"{path}: cannot read the snapshot: {error.strerror}") from error
        head = len(_MAGIC) + _DIGEST
        if not content.startswith(_MAGIC):
            raise SnapshotError(f"{path}: not a snapshot of this release; {_REMEDY}")
        body = memoryview(content)[head:]
        if hashlib.blake2b(body, digest_size=_DIGEST).digest() != content[len(_MAGIC) : head]:
            raise SnapshotError(f"{path}: damaged, {len(content)} bytes do not match their checksum; {_REMEDY}")
        try:
            snapshot = msgspec.msgpack.decode(body, type=Snapshot)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise SnapshotError(f"{path}: {error}; {_REMEDY}") from error
        if (snapshot.kind, snapshot.partition) != (kind, partition):
            raise SnapshotError(f"{path}: holds {snapshot.kind} {snapshot.partition}, renamed by somebody; {_REMEDY}")
        return snapshot

    @contextmanager
    def _locked(self, path: Path) -> Iterator[int]:
        """The fence's file, locked. The lock dies with its process; a stopped process may hold it, so the wait is bounded."""
        try:
            fence_file = os.open(path.with_suffix(".fence"), os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise SnapshotError(f"{path}: cannot open its fence: {error.strerror}") from error
        try:
            deadline = time.monotonic() + _LOCK_WAIT_S
            while True:
                try:
                    fcntl.flock(fence_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except OSError:
                    if time.monotonic() > deadline:
                        raise SnapshotError(f"{path}: locked by another process for {_LOCK_WAIT_S:g} s; is a worker stopped?") from None
                    time.sleep(0.01)
            yield fence_file
        finally:
            os.close(fence_file)

    def _sync_folder(self) -> None:
        folder = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


_REMEDY = "put back a copy, or move it away to start this partition again from the beginning of its topics"


def _read_fence(fence_file: int, path: Path) -> int:
    digits = os.pread(fence_file, 32, 0)
    try:
        return int(digits or b"0")
    except ValueError:
        raise SnapshotError(f"{path.with_suffix('.fence')}: expected a number, found {digits[:20]!r}; {_REMEDY}") from None


def _stale(snapshot: Snapshot, claimed: int) -> StaleOwnerError:
    return StaleOwnerError(
        f"{snapshot.kind} {snapshot.partition}: this owner has fence {snapshot.fence}, the partition was claimed again with fence {claimed}"
    )
