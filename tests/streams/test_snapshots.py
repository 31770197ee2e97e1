"""Snapshots are whole or absent, and only their owner writes them."""

import fcntl
import os
from pathlib import Path

import pytest

from streams import state_folder
from streams.snapshots import Snapshot, SnapshotError, StaleOwnerError
from streams.state_folder import FolderStore


def snapshot(fence: int, offset: int = 1, partition: int = 0, state: bytes = b"state" * 100) -> Snapshot:
    return Snapshot("shard", partition, fence, {"events": offset}, 0, state)


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path / "new" / "folder")


def test_a_first_owner_finds_nothing(store: FolderStore) -> None:
    assert store.claim("shard", 0) == (1, None)


def test_the_next_owner_finds_what_the_last_one_saved(store: FolderStore) -> None:
    fence, _ = store.claim("shard", 0)
    saved = snapshot(fence, 7)
    assert store.save(saved) == store.path("shard", 0).stat().st_size
    assert store.claim("shard", 0) == (fence + 1, saved)
    assert store.claim("judge", 0) == (1, None)
    assert store.claim("shard", 1) == (1, None)


def test_an_owner_that_was_replaced_cannot_save_whatever_it_has_read(store: FolderStore) -> None:
    old, _ = store.claim("shard", 0)
    new, _ = store.claim("shard", 0)
    store.save(snapshot(new, 5))
    with pytest.raises(StaleOwnerError, match="shard 0: this owner has fence 1, the partition was claimed again with fence 2"):
        store.save(snapshot(old, 900))
    found = store.read("shard", 0)
    assert found is not None
    assert (found.fence, found.next) == (new, {"events": 5})


def test_pieces_that_the_next_owner_removed_say_that_there_is_one(store: FolderStore) -> None:
    def with_piece(fence: int, piece: int) -> Snapshot:
        return Snapshot("shard", 0, fence, {"events": piece}, 0, b"root", {piece: b"piece"}, (piece,))

    first, _ = store.claim("shard", 0)
    store.save(with_piece(first, 1))
    _, found = store.claim("shard", 0)
    assert found is not None
    other = FolderStore(store.path("shard", 0).parent)
    last, _ = other.claim("shard", 0)
    other.save(with_piece(last, 2))
    with pytest.raises(StaleOwnerError, match="claimed again with fence 3"):
        list(store.pieces(found))


def test_a_claim_in_the_middle_of_a_save_wins(store: FolderStore, monkeypatch: pytest.MonkeyPatch) -> None:
    old, _ = store.claim("shard", 0)
    sync = os.fsync

    def claim_first(file: int) -> None:
        monkeypatch.setattr(os, "fsync", sync)
        FolderStore(store.path("shard", 0).parent).claim("shard", 0)
        sync(file)

    monkeypatch.setattr(os, "fsync", claim_first)
    with pytest.raises(StaleOwnerError):
        store.save(snapshot(old))
    assert store.read("shard", 0) is None


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda content: content[:-1], "damaged, .* do not match their checksum"),
        (lambda content: content[:60] + bytes([content[60] ^ 1]) + content[61:], "damaged"),
        (lambda content: content[:4], "not a snapshot of this release"),
        (lambda content: b"", "not a snapshot of this release"),
        (lambda content: b"IWSNAP9\n" + content[8:], "not a snapshot of this release"),
    ],
)
def test_a_damaged_file_is_refused_with_its_name_and_a_remedy(store: FolderStore, damage, words: str) -> None:  # type: ignore[no-untyped-def]
    fence, _ = store.claim("shard", 3)
    store.save(snapshot(fence, partition=3))
    path = store.path("shard", 3)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(SnapshotError, match=f"shard-3.snapshot: {words}.*put back a copy, or move it away"):
        store.claim("shard", 3)


def test_the_snapshot_of_another_partition_is_refused(store: FolderStore) -> None:
    fence, _ = store.claim("shard", 0)
    store.save(snapshot(fence))
    store.path("shard", 0).rename(store.path("shard", 1))
    with pytest.raises(SnapshotError, match="holds shard 0, renamed"):
        store.claim("shard", 1)


def test_a_full_disk_leaves_the_last_snapshot(store: FolderStore, monkeypatch: pytest.MonkeyPatch) -> None:
    fence, _ = store.claim("shard", 0)
    store.save(snapshot(fence, 1))

    def full(file: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(SnapshotError, match=r"cannot write the snapshot: No space left on device"):
        store.save(snapshot(fence, 2))
    found = store.read("shard", 0)
    assert found is not None
    assert found.next == {"events": 1}
    assert not list(store.path("shard", 0).parent.glob("*.tmp"))


def test_who_reads_during_a_save_sees_the_old_or_the_new_and_never_a_mixture(store: FolderStore) -> None:
    fence, _ = store.claim("shard", 0)
    store.save(snapshot(fence, 1))
    with store.path("shard", 0).open("rb") as reader:
        before = reader.read(10)
        store.save(snapshot(fence, 2, state=b"new" * 1000))
        assert b"new" not in before + reader.read()


def test_what_a_killed_owner_left_half_written_is_cleared_away(store: FolderStore) -> None:
    left = store.path("shard", 0).with_name("shard-0.snapshot.0.tmp")
    left.write_bytes(b"half")
    store.claim("shard", 0)
    assert not left.exists()


def test_a_stopped_process_that_holds_the_lock_is_not_waited_for_for_ever(store: FolderStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state_folder, "_LOCK_WAIT_S", 0.05)
    store.claim("shard", 0)
    with store.path("shard", 0).with_suffix(".fence").open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(SnapshotError, match="locked by another process"):
            store.claim("shard", 0)


def test_a_folder_that_cannot_be_made_names_the_setting(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SnapshotError, match=r"set state.folder"):
        FolderStore(tmp_path / "file" / "folder")
