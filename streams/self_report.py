"""The worker's measures of itself as rows: so that the view of the pipeline, which reads the store, shows what /metrics shows."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable
from concurrent.futures import Future

import structlog

from schemas.rows import WorkerRow
from streams.delivery import RowSink
from streams.metrics import Metrics
from streams.owner import NS, Record

__all__ = ["EVERY_S", "SelfReport"]

EVERY_S = 30.0
_GAUGES: dict[str, tuple[str, str]] = {
    "inferwatch_lag_records": ("lag", "topic"),
    "inferwatch_owned_partitions": ("partitions", "owner"),
    "inferwatch_snapshot_age_seconds": ("snapshot_age_s", ""),
    "inferwatch_snapshot_bytes": ("snapshot_bytes", "owner"),
    "inferwatch_evictions_total": ("evicted", "reason"),
    "inferwatch_dead_letters_total": ("dead_letters", "reason"),
    "inferwatch_labels_total": ("labels", "reason"),
    "inferwatch_clock_set_back_total": ("clock_set_back", ""),
    "inferwatch_alerts_refused_total": ("alerts_refused", ""),
    "inferwatch_records_total": ("records", "topic"),
    "inferwatch_rebalances_total": ("rebalances", ""),
    "inferwatch_internal_errors_total": ("errors", "where"),
    "inferwatch_sink_pending_rows": ("sink_pending", ""),
}
"""Measure, its name in the row, and the label that is told apart there; over others it is summed. Each has few values, all of the code."""
log = structlog.get_logger(__name__)


class SelfReport:
    """A row of `WorkerRow` every `EVERY_S` seconds, straight to the sink: one that cannot be stored is gone, as the next says more.

    Args:
        metrics: what is told.
        sink: where to.
        worker: who we are; default: this host's name, with the port of /metrics where there is one.
        refresh: brings the measures up to date.
        wall_ns: UTC ns.

    The clocks of worker and Kafka cannot be told apart from the way between them: ``least_delay_s`` is the shortest time from the broker's
    stamp on a record of events to our reading it, since the last row. Below 0 our clock is behind; far above 0 it is ahead, or all wait.
    """

    def __init__(
        self,
        metrics: Metrics,
        sink: RowSink,
        worker: str = "",
        refresh: Callable[[], None] = lambda: None,
        wall_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._metrics, self._sink, self._refresh, self._wall_ns = metrics, sink, refresh, wall_ns
        self.worker = worker or socket.gethostname()
        self._started_ns = wall_ns()
        self._least_ns: int | None = None

    def read(self, record: Record) -> None:
        """A record was read."""
        if record.role == "events":  # on whose topic the stamp is the broker's
            delay = self._wall_ns() - record.at_ns
            self._least_ns = delay if self._least_ns is None else min(self._least_ns, delay)

    def row(self) -> WorkerRow:
        """What is to be told now."""
        self._refresh()
        told: dict[str, float] = {}
        for family in self._metrics.registry.collect():
            for sample in family.samples:
                if sample.name in _GAUGES:
                    name, label = _GAUGES[sample.name]
                    key = f"{name}:{sample.labels[label]}" if label else name
                    told[key] = told.get(key, 0.0) + sample.value
        if self._least_ns is not None:
            told["least_delay_s"], self._least_ns = self._least_ns / NS, None
        return WorkerRow(worker=self.worker, at=self._wall_ns(), started_at=self._started_ns, gauges=told)

    def tell(self) -> None:
        """Tells it."""
        row = self.row()
        self._sink.put([row], f"worker-{row.worker}-{row.at}"[:200]).add_done_callback(_complain)

    async def run(self) -> None:
        """Tells until cancelled."""
        while True:
            self.tell()
            await asyncio.sleep(EVERY_S)


def _complain(stored: Future[None]) -> None:
    if not stored.cancelled() and (error := stored.exception()) is not None:
        log.warning("what the worker says of itself was not stored; the next row says more", error=f"{type(error).__name__}: {error}")
