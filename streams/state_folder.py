"""Snapshots as files of one folder: for workers of one host, or of a shared file system with locks."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from streams.snapshots import DIGEST_BYTES, Kind, Snapshot, SnapshotError, digest, stale

__all__ = ["FolderStore"]

_MAGIC = b"IWSNAP2\n"
_LOCK_WAIT_S = 10.0
_FILE_BYTES = 32 << 20  # pieces in one file: it stays until the last of them goes
_REMEDY = "put back a copy, or move it away to start this partition again from the beginning of its topics"


class _Place(msgspec.Struct, frozen=True, array_like=True):
    file: str
    offset: int
    length: int
    digest: bytes


class _Body(msgspec.Struct, frozen=True, array_like=True):
    snapshot: Snapshot
    places: dict[int, _Place]


class FolderStore:
    """A `streams.snapshots.SnapshotStore` in one folder.

    A save writes and syncs its new pieces into files of their own, then a file with the root and the places of all pieces, which it renames
    over the last one, under a lock that also guards the fence. Nearly all of it happens outside the lock.

    Args:
        folder: Made when it is missing.

    Raises:
        SnapshotError: The folder cannot be made.

    Example:
        >>> import tempfile
        >>> store = FolderStore(Path(tempfile.mkdtemp()))
        >>> old, nothing = store.claim("shard", 0)
        >>> _ = store.save(Snapshot("shard", 0, old, {"events": 7}, 0, b"state", {4: b"piece"}, (4,)))
        >>> new, found = store.claim("shard", 0)
        >>> found.next, found.state, list(store.pieces(found))
        ({'events': 7}, b'state', [(4, b'piece')])
        >>> store.save(Snapshot("shard", 0, old, {"events": 8}, 0, b"late"))
        Traceback (most recent call last):
        streams.snapshots.StaleOwnerError: shard 0: this owner has fence 1, the partition was claimed again with fence 2
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._places: dict[tuple[Kind, int], dict[int, _Place]] = {}
        self._fences: dict[tuple[Kind, int], int] = {}
        self._saves = 0
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SnapshotError(f"{folder}: cannot make the folder for snapshots: {error.strerror}; set state.folder") from error

    def path(self, kind: Kind, partition: int) -> Path:
        """The file of a partition's root."""
        return self._folder / f"{kind}-{partition}.snapshot"

    def claim(self, kind: Kind, partition: int) -> tuple[int, Snapshot | None]:
        """See `SnapshotStore.claim`."""
        path = self.path(kind, partition)
        with self._locked(path) as fence_file:
            fence = _read_fence(fence_file, path) + 1
            os.pwrite(fence_file, b"%020d" % fence, 0)
            os.fsync(fence_file)
        body = self._read(kind, partition)
        self._places[kind, partition] = {} if body is None else body.places
        self._fences[kind, partition] = fence
        self._clear(kind, partition, fence)
        return fence, None if body is None else body.snapshot

    def pieces(self, snapshot: Snapshot) -> Iterator[tuple[int, bytes]]:
        """See `SnapshotStore.pieces`."""
        key = snapshot.kind, snapshot.partition
        path, places, fence = self.path(*key), self._places[key], self._fences[key]
        for piece in snapshot.keep:
            place = places[piece]
            try:
                with (self._folder / place.file).open("rb") as file:
                    file.seek(place.offset)
                    content = file.read(place.length)
            except OSError as error:
                self.confirm(*key, fence)  # a successor has saved and removed it
                raise SnapshotError(f"{path}: cannot read its piece {piece} in {place.file}: {error.strerror}; {_REMEDY}") from error
            if digest(content) != place.digest:
                raise SnapshotError(f"{path}: its piece {piece} in {place.file} is damaged; {_REMEDY}")
            yield piece, content

    def save(self, snapshot: Snapshot) -> int:
        """See `SnapshotStore.save`."""
        key = snapshot.kind, snapshot.partition
        path = self.path(*key)
        before = self._places.get(key, {})
        self._saves += 1
        temporary = path.with_name(f"{path.name}.{snapshot.fence}.tmp")
        made: list[Path] = []
        try:
            new = self._write_pieces(path, snapshot, made)
            places = {piece: new[piece] if piece in new else before[piece] for piece in snapshot.keep}
            root = msgspec.structs.replace(snapshot, pieces={})
            body = msgspec.msgpack.encode(_Body(root, places))
            with temporary.open("wb") as file:
                file.write(_MAGIC + digest(body))
                file.write(body)
                file.flush()
                os.fsync(file.fileno())
            with self._locked(path) as fence_file:
                claimed = _read_fence(fence_file, path)
                if snapshot.fence != claimed:
                    raise stale(*key, snapshot.fence, claimed)
                temporary.replace(path)
                made.clear()
                self._places[key] = places
                self._sync_folder()
        except FileNotFoundError as error:  # a successor's claim has cleared our file away
            self.confirm(*key, snapshot.fence)
            raise SnapshotError(f"{path}: somebody removed {error.filename}; the snapshot is written again") from error
        except OSError as error:
            raise SnapshotError(f"{path}: cannot write the snapshot: {error.strerror}; nothing leaves the worker until it can") from error
        finally:
            temporary.unlink(missing_ok=True)
            for file_path in made:
                file_path.unlink(missing_ok=True)
        for name in {place.file for place in before.values()} - {place.file for place in places.values()}:
            (self._folder / name).unlink(missing_ok=True)
        return len(_MAGIC) + DIGEST_BYTES + len(body) + sum(map(len, snapshot.pieces.values()))

    def confirm(self, kind: Kind, partition: int, fence: int) -> None:
        """See `SnapshotStore.confirm`."""
        path = self.path(kind, partition)
        with self._locked(path) as fence_file:
            claimed = _read_fence(fence_file, path)
        if claimed != fence:
            raise stale(kind, partition, fence, claimed)

    def release(self, kind: Kind, partition: int) -> None:
        """See `SnapshotStore.release`."""
        self._places.pop((kind, partition), None)
        self._fences.pop((kind, partition), None)

    def read(self, kind: Kind, partition: int) -> Snapshot | None:
        """The newest snapshot without its pieces, to look at it without becoming the owner.

        Raises:
            SnapshotError: it is there, and cannot be read.
        """
        body = self._read(kind, partition)
        return None if body is None else body.snapshot

    def _read(self, kind: Kind, partition: int) -> _Body | None:
        path = self.path(kind, partition)
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise SnapshotError(f"{path}: cannot read the snapshot: {error.strerror}") from error
        head = len(_MAGIC) + DIGEST_BYTES
        if not content.startswith(_MAGIC):
            raise SnapshotError(f"{path}: not a snapshot of this release; {_REMEDY}")
        body = memoryview(content)[head:]
        if digest(body) != content[len(_MAGIC) : head]:
            raise SnapshotError(f"{path}: damaged, {len(content)} bytes do not match their checksum; {_REMEDY}")
        try:
            found = msgspec.msgpack.decode(body, type=_Body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise SnapshotError(f"{path}: {error}; {_REMEDY}") from error
        snapshot = found.snapshot
        if (snapshot.kind, snapshot.partition) != (kind, partition):
            raise SnapshotError(f"{path}: holds {snapshot.kind} {snapshot.partition}, renamed by somebody; {_REMEDY}")
        return found

    def _write_pieces(self, path: Path, snapshot: Snapshot, made: list[Path]) -> dict[int, _Place]:
        places: dict[int, _Place] = {}
        left = list(snapshot.pieces)
        while left:
            name = f"{path.stem}.{snapshot.fence}.{self._saves}.{len(made)}.pieces"
            made.append(path.with_name(name))
            with made[-1].open("wb") as file:
                offset = 0
                while left and offset < _FILE_BYTES:
                    piece = left.pop(0)
                    content = snapshot.pieces[piece]
                    file.write(content)
                    places[piece] = _Place(name, offset, len(content), digest(content))
                    offset += len(content)
                file.flush()
                os.fsync(file.fileno())
        return places

    def _clear(self, kind: Kind, partition: int, fence: int) -> None:
        """Removes what owners before left half-written, or did not come to remove; never what one after us wrote."""
        path = self.path(kind, partition)
        used = {place.file for place in self._places[kind, partition].values()}
        for left in (*self._folder.glob(f"{path.name}.*.tmp"), *self._folder.glob(f"{path.stem}.*.pieces")):
            writer = left.name.removeprefix(path.name if left.suffix == ".tmp" else path.stem).split(".")[1]
            if left.name not in used and writer.isdecimal() and int(writer) < fence:
                left.unlink(missing_ok=True)

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


def _read_fence(fence_file: int, path: Path) -> int:
    digits = os.pread(fence_file, 32, 0)
    try:
        return int(digits or b"0")
    except ValueError:
        raise SnapshotError(f"{path.with_suffix('.fence')}: expected a number, found {digits[:20]!r}; {_REMEDY}") from None
