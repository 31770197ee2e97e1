"""A folder that is filled once, however many processes want it at the same time."""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


def cache_root() -> Path:
    """Where downloaded parts are kept: `INFERWATCH_CACHE`, else `~/.cache/inferwatch`."""
    given = os.environ.get("INFERWATCH_CACHE")
    return Path(given).expanduser().resolve() if given else Path.home() / ".cache" / "inferwatch"


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock between processes. The kernel drops it when the holder dies; the empty file stays.

    Args:
        path: the lock file; its folder is made if needed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def filled_once(folder: Path, fill: Callable[[Path], None], is_complete: Callable[[Path], bool]) -> Path:
    """Return `folder`, filling it first if it is not complete.

    Exactly one process fills; the others wait, then find it complete. The content appears by one rename, so a process that
    is killed while filling leaves nothing that looks complete, and its leftovers go with the next filling.

    Args:
        folder: the wanted folder.
        fill: writes the content into the empty folder it is given.
        is_complete: says whether a folder (which may be absent) has everything. Asked before any lock is taken: keep it cheap.

    Returns:
        `folder`, complete.
    """
    if is_complete(folder):
        return folder
    with locked(folder.with_name(f"{folder.name}.lock")):
        if is_complete(folder):  # another process was quicker
            return folder
        for leftover in folder.parent.glob(f".{folder.name}-*"):  # of a killed filler: the lock is ours, so nobody fills now
            shutil.rmtree(leftover, ignore_errors=True)
        with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as staging:
            content = Path(staging) / "content"
            content.mkdir()
            fill(content)
            shutil.rmtree(folder, ignore_errors=True)
            content.rename(folder)
    return folder
