"""Says when a worker that should move does not.

Stream processing on Kafka has ways to stop without an error (a consumer that no longer fetches, a rebalance that never ends). The only cure
that always works is a restart, and it is harmless here because state is exact after any kill. So: while records wait, something must move.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Generic, TypeVar

K = TypeVar("K")


class Watchdog(Generic[K]):
    """Compares what waits with what moves.

    Args:
        stall_s: Seconds without movement, above 0.
        now: Time of making, in the clock of `observe`.

    Raises:
        ValueError: ``stall_s`` is not above 0.

    Example:
        >>> dog = Watchdog(30.0, now=0.0)
        >>> dog.observe({0: 5}, {0: 9}, now=10.0)
        >>> dog.observe({0: 5}, {0: 9}, now=41.0)
        '4 records wait and none has moved for 31 s'
    """

    def __init__(self, stall_s: float, *, now: float) -> None:
        if not stall_s > 0:
            raise ValueError(f"stall_s = {stall_s}: expected seconds above 0")
        self._stall_s = stall_s
        self._since = now
        self._before: dict[K, int] = {}

    def observe(self, positions: Mapping[K, int], ends: Mapping[K, int], *, now: float, excused: bool = False) -> str | None:
        """What is wrong, or None.

        Args:
            positions: By partition of a topic: the next offset to be applied, for those that this worker owns.
            ends: By partition of a topic: the offset that the next produced record will get.
            now: Seconds of a monotonic clock.
            excused: Standing still is right just now: the outbox is full because somebody else is away. Counts as movement.

        Misleads: a worker that owns nothing is never stalled here, even when it should own something; one partition that moves
        excuses the others.
        """
        waiting = sum(max(0, ends[k] - at) for k, at in positions.items() if k in ends)
        moved = any(at != self._before.get(k) for k, at in positions.items()) or len(self._before) != len(positions)
        self._before = dict(positions)
        if excused or moved or not waiting:
            self._since = now
            return None
        still = now - self._since
        if still < self._stall_s:
            return None
        return f"{waiting} records wait and none has moved for {still:.0f} s"
