"""Where compiled kernels are kept: in a folder named after the sources, so that no kernel outlives the code it was made of.

numba keys its cache on the time stamp of the one file that holds a function. What was inlined from another file, or a record type that was
renamed, it does not notice: after an upgrade it would run old code, or fail to read its index at all.
"""

from __future__ import annotations

import os
import shutil
import zlib
from pathlib import Path

from numba import config

KEPT = 4
"""Folders of former sources that stay, for who goes back and forth between versions."""


def digest(sources: Path) -> str:
    """Of all Python files under a folder; changes with any byte of them.

    Example:
        >>> len(digest(Path(__file__).parent))
        8
    """
    crc = 0
    for path in sorted(sources.rglob("*.py")):
        crc = zlib.crc32(path.read_bytes(), crc)
    return f"{crc:08x}"


def keep_in(root: Path, sources: Path) -> Path | None:
    """The folder for the kernels of these sources, made if needed; None where nothing can be written."""
    folder = root / digest(sources)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        folder.touch()  # the newest stay
        for former in sorted((one for one in root.iterdir() if one != folder), key=lambda one: one.stat().st_mtime)[:-KEPT]:
            shutil.rmtree(former, ignore_errors=True)
    except OSError:
        return None
    return folder if os.access(folder, os.W_OK) else None


def use_cache() -> None:
    """Tells numba, before the first kernel is defined.

    ``NUMBA_CACHE_DIR`` is the user's choice; where nothing can be written numba looks for a place of its own.
    """
    if getattr(config, "CACHE_DIR", ""):
        return
    given = os.environ.get("INFERWATCH_CACHE")
    root = (Path(given).expanduser() if given else Path.home() / ".cache" / "inferwatch") / "kernels"
    folder = keep_in(root, Path(__file__).parent)
    if folder is not None:
        config.CACHE_DIR = str(folder)  # type: ignore[attr-defined]  # set by numba at run time
