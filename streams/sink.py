"""A bounded queue in front of ClickHouse: rows are taken at once, inserted in batches, and retried until they are in.

What goes next and when is decided by `streams.lanes.Lanes`; here is the thread that does it.
"""

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future

from schemas.rows import Row, RowError
from streams.clickhouse import ClickHouse, ClickHouseError
from streams.lanes import Batch, Lanes, SinkCounts

__all__ = ["Sink"]


class Sink:
    """Takes rows without blocking and gets them into ClickHouse, in a thread.

    Args:
        clickhouse: Where to. The caller closes it, after the sink.
        lanes: Queues and their limits.
        clock: Monotonic seconds.

    >>> import numpy as np
    >>> sink = Sink(ClickHouse("http://127.0.0.1:9/x"), Lanes(np.random.default_rng(1)))
    >>> sink.counts.pending
    0
    >>> sink.close(0.0)
    """

    def __init__(self, clickhouse: ClickHouse, lanes: Lanes, clock: Callable[[], float] = time.monotonic) -> None:
        self._clickhouse, self._lanes, self._clock = clickhouse, lanes, clock
        self._changed = threading.Condition()
        self._flushing = self._stopped = False
        self._thread = threading.Thread(target=self._work, name="clickhouse-sink", daemon=True)
        self._thread.start()

    @property
    def counts(self) -> SinkCounts:
        """What became of the rows so far."""
        with self._changed:
            return self._lanes.counts

    def put(self, rows: Sequence[Row], token: str) -> Future[None]:
        """Take rows of any tables; never blocks, never raises for their sake.

        Args:
            rows: May be empty. Not to be changed afterwards.
            token: Deterministic name of these rows, 1 to 200 characters (see `ClickHouse.insert`).

        Returns:
            Done when all rows are in. Fails with `SinkFullError`, `RowError`, or `ClickHouseError` (permanent, or closed
            before they were in). For ``await``: `asyncio.wrap_future`.
        """
        with self._changed:
            if self._stopped:
                future: Future[None] = Future()
                future.set_exception(ClickHouseError("the sink was closed"))
                return future
            future = self._lanes.put(rows, token, self._clock())
            self._changed.notify_all()
        return future

    def flush(self, timeout: float) -> bool:
        """Send what waits without regard to size and age; wait at most ``timeout`` seconds. Whether all of it is settled."""
        with self._changed:
            self._flushing = True
            self._changed.notify_all()
            settled = self._changed.wait_for(lambda: self._lanes.counts.pending == 0, timeout)
            self._flushing = False
        return settled

    def close(self, timeout: float = 10.0) -> None:
        """`flush`, then stop and fail what is left. Returns within ``timeout`` and the insert under way."""
        self.flush(timeout)
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        self._thread.join()

    def _work(self) -> None:
        while (batch := self._next()) is not None:
            error = self._send(batch)
            with self._changed:
                if error is None:
                    self._lanes.done(batch)
                elif isinstance(error, ClickHouseError) and not error.permanent:
                    self._lanes.failed(batch, error, self._clock())
                elif len(batch.parts) > 1:
                    self._lanes.split(batch)
                else:
                    self._lanes.done(batch, error)
                self._changed.notify_all()

    def _next(self) -> Batch | None:
        with self._changed:
            while not self._stopped:
                now = self._clock()
                if (batch := self._lanes.take(now, flush=self._flushing)) is not None:
                    return batch
                self._changed.wait(self._lanes.wait(now))
            self._lanes.abandon(ClickHouseError("the sink was closed before these rows were in; they come again after a restart"))
            return None

    def _send(self, batch: Batch) -> Exception | None:
        try:
            self._clickhouse.insert(batch.rows, batch.token)
        except (ClickHouseError, RowError) as error:
            return error
        except Exception as error:  # noqa: BLE001  # whatever it is, the thread must live: the rows fail, and say why
            return RowError(f"{type(error).__name__}: {error}")
        return None
