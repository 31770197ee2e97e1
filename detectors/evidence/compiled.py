"""Calls of cached compiled code that notice when the cache is of another version.

numba keys its cache on the time stamp of the one file that holds a function, not on the constants and functions that it imports. After an
upgrade (wheels carry fixed time stamps) code compiled for the old layout could then write into arrays of the new one. So every cached
function compares the fingerprint compiled into it with the caller's before it touches anything, and is compiled anew if they differ.
"""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

STALE = -1
FINGERPRINT = zlib.crc32(b"".join(path.read_bytes() for path in sorted(Path(__file__).parent.glob("*.py"))))


def call(function: Any, *arguments: Any) -> int:
    """``function(*arguments, fingerprint)`` by code of this version; it must return `STALE` for a foreign fingerprint."""
    result = int(function(*arguments, FINGERPRINT))
    if result == STALE:
        function.recompile()
        result = int(function(*arguments, FINGERPRINT))
    return result
