"""The one thread that does the work: takes events from the queue, packs them into records, sends them and keeps the books."""

from __future__ import annotations

import functools
import threading
import time
from collections import deque
from typing import Any

from inferwatch._account import MAX_STREAMS, DropReason, Ledger, Stream
from inferwatch._arguments import name_of
from inferwatch._batch import Batch, split
from inferwatch._buffer import Buffer, ColumnBuffer, RowBuffer, Shape
from inferwatch._codec import encode
from inferwatch._columns import EventColumns
from inferwatch._contract import MAX_EVENTS
from inferwatch._envelope import Envelopes, heartbeats
from inferwatch._item import width
from inferwatch._log import RateLimited
from inferwatch._process import Use
from inferwatch._processes import Pause
from inferwatch._pseudonym import Clients
from inferwatch._settings import Settings
from inferwatch._transport import Record, Transport

SLICE = 64
"""Events between two chances for the host's threads to run: the sender holds the interpreter about 0.2 ms at a time."""
BACKLOG = 1_024
"""Events waiting from which slices are eight times as long: a host that never sleeps gives the interpreter back only every 5 ms."""
ROUND_S = 0.05
"""Between two looks at confirmations, buffers' ages and heartbeats: callers who never pause must not starve those."""
MAX_BUFFERS = 2_000
"""Half-filled records; above it all are sent (whoever chooses feature names could open one an event)."""
MAX_SHAPES = 1_000
RECORD_BYTES = 900_000
"""An encoded record above this is cut in two."""
LOOK_UP_EVERY_S = 300.0
LOOK_UP_S = 0.3
"""Patience of one question for the number of partitions; it is asked again at once, and a fork waits for its end."""
FORK_FLUSH_S = 0.2
"""Before a fork the broker has that long to confirm what is on its way; the rest goes out again after it."""


class Sender:
    """Owned by a client; the thread holds it, not the client, so that a forgotten client can be collected."""

    def __init__(self, settings: Settings, transport: Transport, gauges: dict[str, float]) -> None:
        self.settings = settings
        self.events = Ledger()
        self.signals = Ledger()
        self.wake = threading.Event()
        self._pause = Pause(self.wake)
        self._transport = transport
        self._gauges = gauges
        self._use = Use()
        self._thread: threading.Thread | None = None
        self._starting = threading.RLock()  # a signal handler may record while its own thread is here
        self._log = RateLimited()
        self._flush_until = 0.0
        self._deadline: float | None = None
        self._over = False
        self._partitions = settings.partitions
        self._next_look_up = 0.0
        self._clients: Clients | None = None
        self._numbers: dict[str, int] = {}
        self._shapes: dict[Any, Shape] = {}
        self._row_buffers: dict[tuple[Any, ...], RowBuffer] = {}
        self._column_buffers: dict[tuple[Any, ...], ColumnBuffer] = {}
        self._ready: deque[tuple[Record, Ledger, Stream, int]] = deque()
        self._envelopes = Envelopes(settings)
        self._next_beat = time.monotonic() + settings.heartbeat_s

    # Any thread.

    def start(self) -> None:
        """Starts the thread once; a storm of first callers starts one."""
        with self._starting:
            if self._thread is None:
                thread = threading.Thread(target=self._run, name="inferwatch", daemon=True)
                self._thread = thread
                try:
                    thread.start()
                except RuntimeError:  # no more threads, or the interpreter is ending: the next event tries again, `join` does without
                    self._thread = None

    @property
    def started(self) -> bool:
        """There is, or was, a thread."""
        return self._thread is not None

    def flush(self, timeout_s: float) -> int:
        """Sends half-filled records too; waits at most `timeout_s`; returns what was handed in before the call and is not settled yet."""
        deadline = time.monotonic() + timeout_s
        goal = sum(ledger.account().accepted for ledger in (self.events, self.signals))
        pause = 0.001
        while True:
            left = goal - sum(ledger.account().settled for ledger in (self.events, self.signals))
            if left <= 0 or self._over or time.monotonic() >= deadline:
                return max(0, left)
            self._flush_until = time.monotonic() + 0.1
            self.wake.set()
            time.sleep(min(pause, max(0.0, deadline - time.monotonic())))
            pause = min(pause * 2, 0.01)

    def stop(self, timeout_s: float) -> None:
        """Tells the thread to deliver what it can within the time and to end. Returns at once."""
        if self._deadline is None:
            self._deadline = time.monotonic() + timeout_s
            self.wake.set()

    def join(self, timeout_s: float) -> None:
        """Waits for the end; does the work itself where the interpreter would start no thread any more."""
        thread = self._thread
        if thread is None:
            if self.events.held or self.signals.held:
                self._run()
        elif thread is not threading.current_thread():
            thread.join(timeout_s)

    def before_fork(self, timeout_s: float) -> None:
        """Waits until the thread has let go of the connection, at most so long."""
        self._pause.ask(self._thread, timeout_s)

    def after_fork_in_parent(self) -> None:
        """The thread goes on."""
        self._pause.over()

    # The sender's thread.

    def _run(self) -> None:
        try:
            self._work()
        finally:
            self._pause.end()

    def _work(self) -> None:
        while self._deadline is None:
            try:
                pause = self._step()
            except Exception as error:  # noqa: BLE001  # nothing may end the thread: a later event may be better
                self._log.line("step", "%s in the sender; it goes on", type(error).__name__)
                pause = self.settings.flush_age_s
            self.wake.wait(pause)
            self.wake.clear()
        self._finish(self._deadline)

    def _step(self) -> float:
        """One round; returns how long the next one may wait."""
        if self._pause.asked:
            self._transport.rest(FORK_FLUSH_S)
            self._pause.rest()
        now = time.monotonic()
        more = False
        self._look_up(now)
        if self._partitions and self._clients is not None:
            self._take_signals(self._partitions)
            while time.monotonic() < now + ROUND_S:
                slice_ = SLICE if len(self.events.queue) < BACKLOG else 8 * SLICE
                items = self.events.take(slice_) if self._push() else None
                more = bool(items)
                if not items:
                    break
                self._accept(items, self._clients, now)
                time.sleep(0)  # lets a caller who waits for the interpreter go first
            now = time.monotonic()
            self._flush(now)
            self._push()
            if now >= self._next_beat:
                self._next_beat = now + self.settings.heartbeat_s
                self._beat(closing=False)
        self._transport.poll()
        if more:
            return 0.0
        return min(0.025, self.settings.flush_age_s / 4) if self.events.held or self.signals.held else self.settings.flush_age_s

    def _look_up(self, now: float) -> None:
        """The number of partitions: until it is known events wait, and a topic that grows is noticed within minutes."""
        if self.settings.partitions is not None or now < self._next_look_up:
            partitions = self._partitions
        else:
            patience = LOOK_UP_S if self._deadline is None else min(LOOK_UP_S, max(0.05, self._deadline - now))
            partitions = self._transport.partitions(f"{self.settings.topic_prefix}.events", patience) or self._partitions
            self._next_look_up = time.monotonic() + (LOOK_UP_EVERY_S if partitions else 0.25)
        if partitions and (self._clients is None or partitions != self._partitions):
            self._partitions = partitions
            self._clients = Clients(self.settings.key, partitions)

    def _accept(self, items: list[Any], clients: Clients, now: float) -> None:
        """Into the buffers. One loop with few calls: this is most of what the SDK costs a process."""
        streams, buffers, shapes = self.events.streams, self._row_buffers, self._shapes
        for item in items:
            if type(item) is Batch:
                self._accept_batch(item, clients, now)
                self._push()
                self._transport.poll()
                continue
            model, version, features, scores = item.model, item.version, item.features, item.scores
            stream = streams.get((model, version)) or self.events.stream(model, version)
            stream.taken += 1
            try:
                item.client, partition = clients.of(model)[item.client]
                kind: Any = tuple(features) if type(features) is dict else None if features is None else len(features)
                shape = shapes.get(kind) or self._shape(kind)
                score_names: Any = None
                if scores is not None:
                    score_names = tuple(map(name_of, scores)) if type(scores) is dict else width(scores)
                key = (partition, model, version, shape, score_names)
                buffer = buffers.get(key)
                if buffer is None:
                    limits = self.settings.flush_events, self.settings.flush_bytes
                    buffer = buffers[key] = RowBuffer(model, version, shape, score_names, now, *limits)
                item.number = self._number(model, 1)
                buffer.held.append(item)
                if len(buffer.held) >= buffer.full_at:
                    del buffers[key]
                    self._pack(buffer, stream, partition)
            except Exception as error:  # noqa: BLE001  # whatever a caller handed in costs that event only
                self._drop(stream, 1, "invalid", error)

    def _accept_batch(self, batch: Batch, clients: Clients, now: float) -> None:
        settings = self.settings
        stream = self.events.stream(batch.model, batch.version)
        stream.taken += batch.rows
        try:
            number = self._number(batch.model, batch.rows)
            whole, stretches = split(batch, clients.of(batch.model), number, settings.allow, settings.redact)
            shape = whole.shape
        except Exception as error:  # noqa: BLE001  # as above
            self._drop(stream, batch.rows, "invalid", error)
            return
        for partition, start, end in stretches:
            key = (partition, batch.model, batch.version, shape)
            place = start
            while place < end:
                buffer = self._column_buffers.get(key)
                if buffer is None:
                    buffer = self._column_buffers[key] = ColumnBuffer(now)
                stop = min(end, place + settings.flush_events - buffer.rows)
                buffer.add(whole, place, stop)
                place = stop
                if buffer.rows >= settings.flush_events or buffer.bytes >= settings.flush_bytes:
                    del self._column_buffers[key]
                    self._pack(buffer, stream, partition)

    def _shape(self, kind: Any) -> Shape:
        if len(self._shapes) >= MAX_SHAPES:
            self._shapes.clear()
        shape = self._shapes[kind] = Shape(kind, self.settings.allow, self.settings.redact)
        return shape

    def _number(self, model: str, rows: int) -> int:
        """The next running number of this model, in the order of acceptance; -1 beyond MAX_STREAMS models."""
        number = self._numbers.get(model, 0 if len(self._numbers) < MAX_STREAMS else -1)
        if number >= 0:
            self._numbers[model] = number + rows
        return number

    def _flush(self, now: float) -> None:
        """Packs the buffers that are old enough, or all of them."""
        everything = now < self._flush_until or self._deadline is not None
        oldest = now - self.settings.flush_age_s
        kinds: tuple[dict[tuple[Any, ...], Any], ...] = (self._row_buffers, self._column_buffers)
        for buffers in kinds:
            all_of_them = everything or len(buffers) > MAX_BUFFERS
            for key in [key for key, buffer in buffers.items() if all_of_them or buffer.born <= oldest]:
                self._pack(buffers.pop(key), self.events.stream(key[1], key[2]), key[0])

    def _pack(self, buffer: Buffer, stream: Stream, partition: int) -> None:
        try:
            columns = self._columns(buffer, stream)
        except Exception as error:  # noqa: BLE001  # a record that cannot be made is counted; the next may be better
            self._drop(stream, buffer.rows, "invalid", error)
        else:
            self._encode(columns, stream, partition)

    def _columns(self, buffer: Buffer, stream: Stream) -> EventColumns:
        """The buffer's events; one bad value does not cost its event, one bad event not its neighbours."""
        try:
            return buffer.columns(self.settings.service, self.settings.instance)
        except (ValueError, TypeError, OverflowError) as error:
            if not isinstance(buffer, RowBuffer):
                raise
            sound = buffer.sound()
            if not sound.held:
                raise
            wrong = buffer.rows - sound.rows
            buffer.held = sound.held
            if wrong:
                self._drop(stream, wrong, "invalid", error)
            else:
                self._log.line("softened", "events of model %s have values that are no numbers: %s", stream.model, _brief(error))
            return buffer.columns(self.settings.service, self.settings.instance)

    def _encode(self, columns: EventColumns, stream: Stream, partition: int) -> None:
        n = len(columns)
        try:
            payload = encode(columns)
        except Exception as error:  # noqa: BLE001  # as above
            self._drop(stream, n, "invalid", error)
            return
        if len(payload) > RECORD_BYTES:
            if n == 1:
                self._drop(stream, 1, "oversized", None)
                return
            for half in (slice(0, n // 2), slice(n // 2, n)):
                self._encode(columns.take(half).compact(), stream, partition)
            return
        self._ready.append((self._envelopes.events(payload, partition), self.events, stream, n))

    def _take_signals(self, partitions: int) -> None:
        for topic, kind, model, version, payload in self.signals.take(1_000):
            if kind == "lifecycle":
                self.events.stream(model, version)  # a loaded model has heartbeats before its first event
            record = self._envelopes.signal(topic, kind, model, payload, partitions)
            self._ready.append((record, self.signals, self.signals.stream("", ""), 1))

    def _beat(self, *, closing: bool) -> None:
        """A heartbeat for each model version; left out while records wait for the broker, since the next one says the same."""
        if self._ready and not closing:
            return
        gauges = self._use.shares(time.monotonic_ns()) | self._gauges  # what the service says itself is what counts
        for model, payload in heartbeats(self.events, self.settings, gauges, closing=closing):
            record = self._envelopes.signal("lifecycle", "heartbeat", model, payload, self._partitions or 1)
            if not self._transport.send(record, lambda _: None):
                return

    def _push(self) -> bool:
        """Hands packed records to the transport; False when it has no room."""
        while self._ready:
            record, ledger, stream, n = self._ready[0]
            if not self._transport.send(record, functools.partial(self._done, ledger, stream, n)):
                return False
            self._ready.popleft()
        return True

    def _done(self, ledger: Ledger, stream: Stream, n: int, error: str | None) -> None:
        if self._over:
            return  # written off already
        ledger.settle(stream, n, None if error is None else "delivery")
        if error is not None:
            self._log.line("delivery", "a record of %d was not delivered: %s", n, error)

    def _drop(self, stream: Stream, n: int, reason: DropReason, error: Exception | None) -> None:
        self.events.settle(stream, n, reason)
        self._log.line(reason, "%d events of model %s dropped: %s %s", n, stream.model, reason, _brief(error))

    def _finish(self, deadline: float) -> None:
        """Delivers until the deadline, writes off the rest, says goodbye."""
        self._next_look_up = 0.0  # a last try
        reserve = min(0.5, max(0.0, deadline - time.monotonic()) / 4)
        while time.monotonic() < deadline - reserve:
            try:
                self._step()
                if not (self.events.held or self.signals.held):
                    break
            except Exception as error:  # noqa: BLE001  # closing must come to its end
                self._log.line("step", "%s while closing", type(error).__name__)
            time.sleep(0.002)
        self._over = True
        self._write_off()
        try:
            if self._partitions:
                self._beat(closing=True)
            self._transport.close(max(0.0, deadline - time.monotonic()))
        except Exception as error:  # noqa: BLE001  # closing must come to its end
            self._log.line("close", "%s while closing", type(error).__name__)

    def _write_off(self) -> None:
        """What is still held is dropped as ``closed``, each event on its own model's account."""
        while items := self.events.take(MAX_EVENTS):
            for item in items:
                batch = type(item) is Batch
                stream = self.events.stream(item.model, item.version)
                stream.taken += item.rows if batch else 1
        for stream in self.events.streams.values():
            self.events.settle(stream, stream.taken - stream.sent - stream.dropped, "closed")
        self.signals.take(MAX_EVENTS)
        self.signals.settle(self.signals.stream("", ""), self.signals.held, "closed")
        self._row_buffers.clear()
        self._column_buffers.clear()
        self._ready.clear()


def _brief(error: Exception | None) -> str:
    """The kind of error, never its text: that may quote an event."""
    return "" if error is None else type(error).__name__
