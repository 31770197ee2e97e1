"""Says when a worker that should move does not.

Stream processing on Kafka has ways to stop without an error (a consumer that no longer fetches, a rebalance that never ends). The only cure
that always works is a restart, and it is harmless here because state is exact after any kill. So: while records wait, something must move.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

K = TypeVar("K")

ALONE = 8
"""Times ``stall_s`` for which one partition may stand still while others move: a consumer with a long backlog takes turns."""


@dataclass(frozen=True)
class Stall(Generic[K]):
    """What stands still.

    Attributes:
        partitions: in which records wait and do not move.
        waiting: how many.
        still_s: for how long, seconds.
        alone: other partitions move.
    """

    partitions: tuple[K, ...]
    waiting: int
    still_s: float
    alone: bool

    def __str__(self) -> str:
        name = self.partitions[0] if self.alone else None
        others = f" in {'/'.join(map(str, name)) if isinstance(name, tuple) else name}, while other partitions move" if self.alone else ""
        return f"{self.waiting} records wait and none has moved for {self.still_s:.0f} s{others}"


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
        >>> print(dog.observe({0: 5}, {0: 9}, now=41.0))
        4 records wait and none has moved for 31 s
    """

    def __init__(self, stall_s: float, *, now: float) -> None:
        if not stall_s > 0:
            raise ValueError(f"stall_s = {stall_s}: expected seconds above 0")
        self._stall_s = stall_s
        self._moved = now
        self._before: dict[K, int] = {}
        self._since: dict[K, float] = {}

    def observe(self, positions: Mapping[K, int], ends: Mapping[K, int], *, now: float, excused: bool = False) -> Stall[K] | None:
        """What is wrong, or None.

        Args:
            positions: By partition of a topic: the next offset to be applied, for those that this worker owns.
            ends: By partition of a topic: the offset that the next produced record will get.
            now: Seconds of a monotonic clock.
            excused: Standing still is right just now: the outbox is full because somebody else is away. Counts as movement.

        Misleads: a worker that owns nothing is never stalled here, even when it should own something.
        """
        waiting = {k: ends[k] - at for k, at in positions.items() if ends.get(k, 0) > at}
        moved = any(at != self._before.get(k) for k, at in positions.items()) or len(self._before) != len(positions)
        self._since = {
            k: self._since[k] if k in self._since and not excused and positions[k] == self._before.get(k) else now for k in waiting
        }
        self._before = dict(positions)
        if excused or moved or not waiting:
            self._moved = now
        elif now - self._moved >= self._stall_s:
            return Stall(tuple(waiting), sum(waiting.values()), now - self._moved, alone=False)
        for k, since in self._since.items():
            if now - since >= ALONE * self._stall_s:
                return Stall((k,), waiting[k], now - since, alone=True)
        return None

    def forgive(self, partitions: Iterable[K], *, now: float) -> None:
        """These have nothing to read after all; their time begins anew."""
        self._since |= dict.fromkeys(partitions, now)
        self._moved = now
