"""Whether what this worker owns is still its own, for all that it can know.

A process may be stopped at any instruction, for minutes, and does not notice. When it goes on, its partitions may be another's, who may
have closed the alerts that it still holds open. So after any gap in which others could have taken over, nothing leaves before the store of
snapshots has confirmed the ownership.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

__all__ = ["Lease", "clock_s"]

K = TypeVar("K", bound=Hashable)


def clock_s() -> float:
    """Seconds that go on while the process is stopped and, where the system has such a clock, while the machine sleeps."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


class Lease(Generic[K]):
    """Finds gaps, and remembers who was confirmed since.

    Being unable to ask the store is no gap: while Kafka is away nobody can take over, and what fires must go on firing.

    Args:
        patience_s: A gap is longer than this; others need longer to take over.
        clock: Seconds.

    Misleads: a virtual machine that was paused may not see it on any clock; and between a look here and the bytes on the wire the
        process may be stopped again.

    Example:
        >>> now = [0.0]
        >>> lease = Lease(5.0, lambda: now[0])
        >>> lease.confirmed("judge", lease.now()); lease.holds("judge")
        True
        >>> now[0] = 60.0                  # stopped for a minute
        >>> lease.holds("judge")
        False
        >>> lease.confirmed("judge", lease.now()); lease.holds("judge")
        True
    """

    def __init__(self, patience_s: float, clock: Callable[[], float] = clock_s) -> None:
        self._patience_s, self._clock = patience_s, clock
        self._pulse = self._gap_until = clock()
        self._confirmed: dict[K, float] = {}
        self._lost: set[K] = set()

    def now(self) -> float:
        """The clock; to be read before the store is asked. Call something of this class at least twice in `patience_s`."""
        now = self._clock()
        if now - self._pulse > self._patience_s:
            self._gap_until = now
        self._pulse = now
        return now

    def confirmed(self, key: K, asked_at: float) -> None:
        """The store has confirmed the ownership when asked at this time (of `now`)."""
        self._confirmed[key] = asked_at
        self._lost.discard(key)

    def lost(self, key: K) -> None:
        """It is another's."""
        self._lost.add(key)

    def holds(self, key: K) -> bool:
        """Whether nobody else can have taken it over, for all we know. What was given up in order holds until the next gap."""
        self.now()
        return key not in self._lost and self._confirmed.get(key, -float("inf")) >= self._gap_until

    def age_s(self, key: K) -> float:
        """Seconds since it was confirmed."""
        return self.now() - self._confirmed.get(key, -float("inf"))
