"""Log lines that never flood the host's log."""

from __future__ import annotations

import logging
import time

logger = logging.getLogger("inferwatch")


class RateLimited:
    """At most one line of each kind a minute, with the number of those left out.

    Lines carry names, sizes and types, never the content of an event.
    """

    def __init__(self, every_s: float = 60.0) -> None:
        self._every_s = every_s
        self._last: dict[str, tuple[float, int]] = {}

    def line(self, kind: str, message: str, *args: object) -> None:
        """Logs, or counts, a line of this kind."""
        now = time.monotonic()
        last, left_out = self._last.get(kind, (-self._every_s, 0))
        if now - last < self._every_s:
            self._last[kind] = last, left_out + 1
            return
        self._last[kind] = now, 0
        suffix = f" ({left_out} more like it in the last minute)" if left_out else ""
        logger.warning("inferwatch: " + message + suffix, *args)  # noqa: G003  # the format stays the caller's; the suffix has no % in it
