"""Watches the worker from a thread of its own, over a connection of its own: lag, stalls, and states that are ahead of their topics.

It does not trust the consumer that it watches, and works when the event loop hangs.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable

import structlog
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from streams.kafka import client_config, ends, has_records
from streams.metrics import Metrics
from streams.owner import Role
from streams.settings import Kafka
from streams.watchdog import Watchdog

__all__ = ["Monitor"]

_GRACE_S = 10.0
_REACH_S = 5.0
_JOIN_S = 300.0
"""A rebalance takes the session time-out and what a large state takes to restore, not minutes."""

log = structlog.get_logger(__name__)


class Monitor:
    """Looks several times within ``stall_s``; at a stall asks the loop to stop, and ends the process when it does not.

    Args:
        kafka: Where.
        stall_s: Seconds without movement that are a stall.
        positions: The next offset of each partition that should move.
        is_excused: Whether standing still is right just now.
        joining_s: For how long the group has been giving out partitions; 0 when it has. Standing still is right then, within limits.
        stalled: Called on the loop, with the reason.
        loop: The worker's.
        metrics: Lag goes there.
        ends: Is told where the partitions end, and when that was asked, from this thread.
        exit_code: Of the process, when the worker has not ended within 10 s.
    """

    def __init__(
        self,
        kafka: Kafka,
        stall_s: float,
        *,
        positions: Callable[[], dict[tuple[Role, int], int]],
        is_excused: Callable[[], bool],
        joining_s: Callable[[], float] = lambda: 0.0,
        stalled: Callable[[str], None],
        loop: asyncio.AbstractEventLoop,
        metrics: Metrics,
        exit_code: int,
        ends: Callable[[dict[tuple[Role, int], int], int], None] = lambda _ends, _asked_ns: None,
    ) -> None:
        self._kafka, self._stall_s, self._positions, self._is_excused = kafka, stall_s, positions, is_excused
        self._joining_s = joining_s
        self._stalled, self._loop, self._metrics, self._exit_code = stalled, loop, metrics, exit_code
        self._ends = ends
        self._ahead: dict[tuple[Role, int], str] = {}
        self._is_blind = False
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="monitor", daemon=True)

    def start(self) -> None:
        """Starts watching."""
        self._thread.start()

    def close(self) -> None:
        """Ends it; does not wait for a request that is under way."""
        self._stopped.set()

    def problems(self) -> list[str]:
        """States that are ahead of their topics."""
        return list(self._ahead.values())

    def _run(self) -> None:
        admin = AdminClient(client_config(self._kafka))
        dog: Watchdog[tuple[Role, int]] = Watchdog(self._stall_s, now=time.monotonic())
        while not self._stopped.wait(min(5.0, self._stall_s / 6)):
            try:
                reason = self._look(admin, dog)
            except KafkaException as error:
                log.warning("lag is unknown: Kafka does not answer", error=str(error))
                continue
            finally:
                if self._is_blind:  # seen: after a broker's restart an old client never again got the ends of some partitions
                    admin = AdminClient(client_config(self._kafka))
            if reason is None or self._stopped.is_set():
                continue
            self._loop.call_soon_threadsafe(self._stalled, reason)
            if not self._stopped.wait(_GRACE_S):
                log.critical("the worker does not end in order; ending the process", why=reason)
                os._exit(self._exit_code)

    def _look(self, admin: AdminClient, dog: Watchdog[tuple[Role, int]]) -> str | None:
        positions, asked_ns = self._positions(), time.time_ns()
        latest = ends(admin, [(self._topic(role), partition) for role, partition in positions])
        found = {key: latest[where] for key in positions if (where := (self._topic(key[0]), key[1])) in latest}
        self._is_blind = len(found) < len(positions)
        self._ends(found, asked_ns)
        for (role, partition), end in found.items():
            at = positions[role, partition]
            self._metrics.lag.labels(self._topic(role), str(partition)).set(max(0, end - at))
            self._compare(role, partition, at, end)
        now = time.monotonic()
        if (joining_s := self._joining_s()) > _JOIN_S:
            admin.list_topics(timeout=_REACH_S)  # without brokers nobody can give any
            return f"the consumer group has given no partitions for {joining_s:.0f} s, and the brokers answer"
        stall = dog.observe(positions, found, now=now, excused=joining_s > 0 or self._is_excused())
        if stall is None:
            return None
        if any(has_records(self._kafka, self._topic(role), partition, positions[role, partition]) for role, partition in stall.partitions):
            return str(stall)
        dog.forgive(stall.partitions, now=now)  # only transaction markers, or offsets that compaction emptied
        return None

    def _compare(self, role: Role, partition: int, at: int, end: int) -> None:
        key = role, partition
        if at <= end:
            self._ahead.pop(key, None)
        elif key not in self._ahead:
            self._ahead[key] = (
                f"{self._topic(role)}/{partition} ends at offset {end}, but the state has read up to {at}: the topic was made anew or lost "
                "data, and records are passed over until it gets there. Move the snapshots away to read it from its beginning"
            )
            log.error("the state is ahead of its topic", what=self._ahead[key])

    def _topic(self, role: Role) -> str:
        return f"{self._kafka.topic_prefix}.{role}"
