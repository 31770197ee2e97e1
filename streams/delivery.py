"""Hands durable messages out: to Kafka topics, to the store, to the pager; and back to their owner what did not arrive."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from typing import Protocol

import msgspec
import structlog

from schemas.alerts import Alert
from schemas.rows import TABLES, Row
from streams.lanes import SinkCounts
from streams.metrics import Metrics
from streams.owner import Destination, Out
from streams.tenure import Tenure

__all__ = ["Delivery", "Pager", "Publisher", "RowSink"]

_ROWS_AT_ONCE = 1_000
_TABLES: dict[str, type[Row]] = {table.table: table for table in TABLES}

log = structlog.get_logger(__name__)


class Publisher(Protocol):
    """The way to Kafka; `streams.kafka.KafkaPublisher` is one."""

    def send(self, to: str, key: bytes, value: bytes, headers: Mapping[str, str], done: Callable[[str | None, bool], None]) -> bool:
        """Takes a message; False when there is no room now. ``done(error, permanent)`` is called once, on the loop; error None: arrived."""


class RowSink(Protocol):
    """The way to the store; `streams.sink.Sink` is one."""

    def put(self, rows: Sequence[Row], token: str) -> Future[None]:
        """Takes rows; the future says that they are in, or why not."""

    @property
    def counts(self) -> SinkCounts:
        """What became of the rows so far."""


class Pager(Protocol):
    """The way to on-call; `streams.alertmanager.AlertmanagerClient` is one."""

    def adopt(self, owner: int, alerts: Sequence[Alert]) -> None:
        """A judge was taken over, with these alerts open."""

    def offer(self, owner: int, alert: Alert) -> None:
        """An alert changed its state."""

    def release(self, owner: int) -> None:
        """A judge was given up; its alerts are another worker's business now."""


class Delivery:
    """Sends what a tenure has due. Everything runs on one event loop.

    Args:
        publisher: For all destinations that are topics.
        sink: For rows.
        pager: For alerts, besides their topic.
        metrics: Counts.
    """

    def __init__(self, publisher: Publisher, sink: RowSink, pager: Pager, metrics: Metrics) -> None:
        self._publisher, self._sink, self._pager, self._metrics = publisher, sink, pager, metrics
        self._trouble: dict[Destination, str] = {}

    def problems(self) -> list[str]:
        """What is sent again and again in vain, by destination."""
        return [f"not delivered, trying again: {why}" for why in self._trouble.values()]

    def hand_over(self, tenure: Tenure) -> None:
        """Hands out all that is due; what finds no room stays due."""
        due = tenure.due()
        rows = [out for out in due if out.to == "rows"]
        for i in range(0, len(rows), _ROWS_AT_ONCE):
            self._put(tenure, rows[i : i + _ROWS_AT_ONCE])
        messages = [out for out in due if out.to != "rows"]
        for i, out in enumerate(messages):
            if out.to == "alerts":
                self._page(tenure, out)
            if not self._publisher.send(out.to, out.key, out.value, out.headers, self._settler(tenure, [out])):
                tenure.retry(left.id for left in messages[i:])
                return

    def _page(self, tenure: Tenure, out: Out) -> None:
        try:
            alert = msgspec.json.decode(out.value, type=Alert)
        except msgspec.DecodeError:
            self._metrics.internal_errors.labels("alert").inc()
            log.exception("an alert cannot be read, so the pager does not get it", partition=tenure.partition)
        else:
            self._pager.offer(tenure.partition, alert)

    def _put(self, tenure: Tenure, outs: Sequence[Out]) -> None:
        rows, taken = [], []
        for out in outs:
            try:
                rows.append(msgspec.msgpack.decode(out.value, type=_TABLES[out.key.decode("utf-8", "replace")]))
                taken.append(out)
            except (msgspec.DecodeError, KeyError) as error:
                self._settle(tenure, [out], f"no row of table {out.key!r}: {error}", True)
        if not rows:
            return
        # Deterministic, and another for other rows, so that the store can tell a repetition. The fence is not in it on purpose.
        token = f"{tenure.kind}-{tenure.partition}-{taken[0].id}-{taken[-1].id}"
        loop = asyncio.get_running_loop()

        def settled(future: Future[None]) -> None:
            with suppress(RuntimeError):  # the worker has ended; its next start sends the rows again, and the store replaces them
                loop.call_soon_threadsafe(self._rows_settled, tenure, taken, future)

        self._sink.put(rows, token).add_done_callback(settled)

    def _rows_settled(self, tenure: Tenure, outs: Sequence[Out], future: Future[None]) -> None:
        error = None if future.cancelled() else future.exception()
        if future.cancelled():
            self._settle(tenure, outs, "cancelled", False)
        elif error is None:
            self._settle(tenure, outs, None, False)
        elif not is_permanent(error):
            self._settle(tenure, outs, str(error), False)
        elif len(outs) == 1:
            self._settle(tenure, outs, str(error), True)
        else:  # one bad row must not take the others with it
            for out in outs:
                if not tenure.ended:
                    self._put(tenure, [out])

    def _settler(self, tenure: Tenure, outs: Sequence[Out]) -> Callable[[str | None, bool], None]:
        return lambda error, permanent: self._settle(tenure, outs, error, permanent)

    def _settle(self, tenure: Tenure, outs: Sequence[Out], error: str | None, permanent: bool) -> None:
        to: Destination = outs[0].to
        ids = [out.id for out in outs]
        if error is None:
            self._metrics.sent.labels(to).inc(len(ids))
            self._trouble.pop(to, None)
            tenure.delivered(ids)
        elif permanent:
            self._metrics.undeliverable.labels(to).inc(len(ids))
            log.error("given up: this can never be delivered", to=to, key=outs[0].key.decode("utf-8", "replace")[:200], why=error)
            tenure.delivered(ids)
        else:
            self._metrics.retried.labels(to).inc(len(ids))
            if self._trouble.get(to) != error:
                log.warning("not delivered; trying again", to=to, why=error)
            self._trouble[to] = str(error)
            tenure.retry(ids)


def is_permanent(error: BaseException) -> bool:
    """Whether sending the same rows again cannot help."""
    permanent = getattr(error, "permanent", None)
    return isinstance(error, ValueError) if permanent is None else bool(permanent)
