"""One worker process from start to stop: connects the parts, waits for what is absent, ends in order."""

from __future__ import annotations

import asyncio
import enum
import signal
import time
from collections.abc import Callable, Collection, Coroutine
from pathlib import Path
from typing import Any, TypeVar

import structlog
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from streams import log as logging_setup
from streams import otel
from streams.alertmanager import AlertmanagerClient
from streams.app import KafkaFeed
from streams.delivery import Delivery, RowSink
from streams.health import HealthServer
from streams.kafka import KafkaPublisher, TopicError, client_config, ends, ensure_topics, reach
from streams.metrics import Metrics
from streams.monitor import Monitor
from streams.owner import Owner, Record, Role
from streams.reference_topic import ReferenceReader
from streams.runtime import Runtime
from streams.self_report import SelfReport
from streams.settings import Settings
from streams.snapshots import SnapshotError, SnapshotStore, StaleOwnerError
from streams.state_folder import FolderStore
from streams.state_topic import TopicStore
from streams.tenure import JudgeOwner

__all__ = ["Exit", "OnReference", "open_store", "run_worker"]

OnReference = Callable[[str, str, bytes | None], None]
"""``(model, version, bytes)``; None instead of bytes: withdrawn. Called on the event loop, between records."""

_POLL_S = 0.1
_LEAVE_S = 10.0

T = TypeVar("T")
log = structlog.get_logger(__name__)


class Exit(enum.IntEnum):
    """How a worker ended. A supervisor restarts it after all but the first; `MISCONFIGURED` comes back until somebody acts."""

    OK = 0
    CRASHED = 1
    MISCONFIGURED = 2
    STALLED = 3
    NO_BROKER = 4
    REPLACED = 5


def run_worker(
    settings: Settings,
    *,
    make_shard: Callable[[int], Owner],
    make_judge: Callable[[int], JudgeOwner],
    on_reference: OnReference,
    sink: RowSink,
    store: SnapshotStore | None = None,
    metrics: Metrics | None = None,
    shutdown_s: float = 8.0,
    broker_patience_s: float = float("inf"),
) -> int:
    """Runs a worker until SIGTERM or SIGINT, or until it must not go on; returns an `Exit`. Call it in the main thread.

    Before the first record the topics are there and every reference on its topic was given to ``on_reference``. When it returns, what
    was applied is saved, what was durable is delivered as far as ``shutdown_s`` allowed (the rest is sent after the next start), and the
    group was left. The caller closes the sink.

    Args:
        settings: Everything that users set.
        make_shard: Makes a fresh owner for a partition of the events.
        make_judge: Makes a fresh owner for a partition of windows, findings, lifecycle and labels.
        on_reference: Takes references as they come. An exception out of it is logged and counted.
        sink: Takes the rows.
        store: Of snapshots; default: what ``settings.state`` says.
        metrics: Where to count; default: fresh.
        shutdown_s: Seconds that delivery may take at the end.
        broker_patience_s: Seconds to wait for Kafka at the start before giving up with `Exit.NO_BROKER`.
    """
    logging_setup.configure(settings)
    try:
        snapshots = store or open_store(settings)
    except SnapshotError as error:
        log.critical("no place for snapshots", why=str(error))
        return Exit.MISCONFIGURED
    worker = _Worker(settings, snapshots, metrics or Metrics(), sink, on_reference, shutdown_s, broker_patience_s)
    return asyncio.run(worker.run(make_shard, make_judge))


def open_store(settings: Settings) -> SnapshotStore:
    """Where the settings want snapshots to be.

    Raises:
        SnapshotError: there is no place for them.
    """
    return TopicStore(settings.kafka) if settings.state.store == "kafka" else FolderStore(Path(settings.state.folder))


class _Worker:
    """The parts and what holds them together. A `streams.app.Handler`."""

    def __init__(
        self,
        settings: Settings,
        store: SnapshotStore,
        metrics: Metrics,
        sink: RowSink,
        on_reference: OnReference,
        shutdown_s: float,
        broker_patience_s: float,
    ) -> None:
        self._settings, self._store, self._metrics, self._sink = settings, store, metrics, sink
        self._on_reference, self._shutdown_s, self._broker_patience_s = on_reference, shutdown_s, broker_patience_s
        self._stop = asyncio.Event()
        self._exit = Exit.OK
        self._phase = "starting"
        self._references_there = asyncio.Event()
        self._joining_since: float | None = None
        self._runtime: Runtime | None = None
        self._monitor: Monitor | None = None
        self._pager = AlertmanagerClient(settings, metrics, may_post=self._may_post)
        self._report = SelfReport(metrics, sink, refresh=self._refresh)

    async def run(self, make_shard: Callable[[int], Owner], make_judge: Callable[[int], JudgeOwner]) -> int:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        self._metrics.start_time.set(time.time())
        where = self._settings.metrics
        try:
            async with HealthServer(where.host, where.port, self._metrics, self._problems, self._refresh) as health:
                log.info("health and metrics are served", host=where.host, port=health.port)
                self._report.worker += f":{health.port}"
                told = otel.export_of(self._metrics.registry, self._report.worker) if otel.wanted() else None
                try:
                    if await self._topics_are_right():
                        await self._with_kafka(make_shard, make_judge)
                finally:
                    if told is not None:
                        await asyncio.to_thread(told.shutdown, 2_000)
        except OSError as error:
            log.critical("cannot serve health and metrics", host=where.host, port=where.port, why=str(error))
            return Exit.MISCONFIGURED
        log.info("ended", code=int(self._exit), name=self._exit.name)
        return self._exit

    async def _topics_are_right(self) -> bool:
        kafka = self._settings.kafka
        began = time.monotonic()
        while not self._stop.is_set():
            try:
                trouble = await asyncio.to_thread(reach, kafka)
                if trouble is None:
                    created = await asyncio.to_thread(ensure_topics, kafka)
                    log.info("topics are right", created=created, partitions=kafka.partitions)
                    return True
            except TopicError as error:
                self._fail(Exit.MISCONFIGURED, f"the topics do not fit the settings: {error}")
                return False
            except KafkaException as error:
                trouble = str(error)
            self._phase = trouble
            waited = time.monotonic() - began
            if waited > self._broker_patience_s:
                self._fail(Exit.NO_BROKER, f"{trouble}; given up after {waited:.0f} s")
                return False
            log.warning("waiting for Kafka", why=trouble, waited_s=round(waited))
            await self._unless_stopped(asyncio.sleep(1.0))
        return False

    async def _with_kafka(self, make_shard: Callable[[int], Owner], make_judge: Callable[[int], JudgeOwner]) -> None:
        settings, kafka, loop = self._settings, self._settings.kafka, asyncio.get_running_loop()
        publisher = KafkaPublisher(kafka, loop, lambda why: self._fail(Exit.CRASHED, why))
        references = ReferenceReader(
            kafka,
            lambda *reference: _on_loop(loop, self._reference, *reference),
            lambda: _on_loop(loop, self._references_there.set),
        )
        feed = KafkaFeed(kafka, self)
        self._runtime = runtime = Runtime(
            settings,
            store=self._store,
            delivery=Delivery(publisher, self._sink, self._pager, self._metrics),
            pager=self._pager,
            metrics=self._metrics,
            make_shard=make_shard,
            make_judge=make_judge,
            seek=feed.seek,
            committed=feed.show_commit,
            fail=lambda why: self._fail(Exit.REPLACED, why),
            ends=self._ends,
        )
        self._monitor = monitor = Monitor(
            kafka,
            settings.metrics.stall_s,
            positions=runtime.positions,
            is_excused=lambda: runtime.is_held,
            joining_s=self._joining_s,
            stalled=lambda why: self._fail(Exit.STALLED, why),
            loop=loop,
            metrics=self._metrics,
            exit_code=Exit.STALLED,
            ends=runtime.note_ends,
        )
        tasks: list[asyncio.Task[None]] = []
        joined = False
        try:
            self._phase = "reading the references"
            references.start()
            await self._unless_stopped(self._references_there.wait())
            if self._stop.is_set():
                return
            self._phase = "joining the consumer group"
            joined, self._joining_since = True, time.monotonic()
            await feed.start()
            monitor.start()
            tasks = [asyncio.create_task(runtime.run(), name="runtime"), asyncio.create_task(self._pager.run(), name="pager")]
            tasks.append(asyncio.create_task(self._report.run(), name="self-report"))
            while not self._stop.is_set():
                await self._unless_stopped(asyncio.sleep(_POLL_S))
                if (why := feed.crashed or _ended(tasks)) is not None:
                    self._fail(Exit.CRASHED, why)
        except Exception as error:
            log.exception("the worker cannot go on")
            self._fail(Exit.CRASHED, f"{type(error).__name__}: {error}")
        finally:
            self._phase = "stopping"
            log.info("stopping: saving and delivering")
            self._report.tell()  # while the partitions are still ours
            if not await runtime.close(self._shutdown_s):
                log.warning("not all was delivered in time; the rest is sent after the next start", budget_s=self._shutdown_s)
            if tasks and not await self._pager.drain(1.0):
                log.warning("Alertmanager has not taken the last changes; it gets them after the next start")
            try:
                if joined:
                    await asyncio.wait_for(feed.stop(), _LEAVE_S)
            except TimeoutError:
                log.warning("leaving the group took too long; the group finds out by itself", budget_s=_LEAVE_S)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            monitor.close()
            await asyncio.to_thread(references.close)
            await asyncio.to_thread(publisher.close, 1.0)

    # streams.app.Handler

    async def assigned(self, generation: int, shards: Collection[int], judges: Collection[int]) -> None:
        """Takes the partitions over."""
        self._metrics.rebalances.inc()
        self._joining_since = self._joining_since or time.monotonic()  # a large state takes seconds to restore
        assert self._runtime is not None  # noqa: S101 - for the type checker; the feed is started after the runtime was made
        try:
            await self._runtime.assign(generation, shards, judges)
        except StaleOwnerError as error:
            self._fail(Exit.REPLACED, f"another worker has taken over what this one was about to: {error}")
        except Exception as error:  # a snapshot that can't be read; whatever it is, going on would count wrongly
            log.exception("partitions cannot be taken over")
            self._fail(Exit.CRASHED, f"partitions cannot be taken over: {error}")
        self._joining_since = None
        self._phase = ""

    async def revoked(self) -> None:
        """Gives all partitions up."""
        self._joining_since = self._joining_since or time.monotonic()
        self._phase = "waiting for partitions"
        if self._runtime is not None:
            await self._runtime.revoke()

    async def feed(self, record: Record, generation: int) -> None:
        """Passes a record on."""
        self._report.read(record)
        assert self._runtime is not None  # noqa: S101 - for the type checker; the feed is started after the runtime was made
        await self._runtime.feed(record, generation)

    def position(self, role: Role, partition: int) -> int | None:
        """Where reading goes on."""
        return None if self._runtime is None else self._runtime.position(role, partition)

    def _ends(self, partitions: Collection[tuple[Role, int]]) -> dict[tuple[Role, int], int]:
        kafka = self._settings.kafka
        by_topic = {(f"{kafka.topic_prefix}.{role}", partition): (role, partition) for role, partition in partitions}
        return {by_topic[key]: end for key, end in ends(AdminClient(client_config(kafka)), by_topic).items()}

    def _reference(self, model: str, version: str, blob: bytes | None) -> None:
        try:
            self._on_reference(model, version, blob)
        except Exception as error:  # noqa: BLE001  # one bad reference must not stop the others, and the one before stays in force
            self._metrics.references.labels("refused").inc()
            log.error("a reference cannot be used", model=model, version=version, why=f"{type(error).__name__}: {error}")
        else:
            self._metrics.references.labels("withdrawn" if blob is None else "taken").inc()
            log.info("reference", model=model, version=version, bytes=len(blob or b""), withdrawn=blob is None)

    def _may_post(self, judge: int) -> bool:
        return self._runtime is None or self._runtime.lease.holds(("judge", judge))

    def _fail(self, code: Exit, why: str) -> None:
        if not self._stop.is_set():
            log.critical("the worker stops", why=why, code=int(code), name=code.name)
            self._exit = code
            self._stop.set()

    def _problems(self) -> list[str]:
        found = [self._phase] if self._phase else []
        if error := self._sink.counts.last_error:
            found.append(f"ClickHouse: {error}")
        for part in (self._runtime, self._monitor, self._pager):
            found += part.problems() if part is not None else []
        return found

    def _joining_s(self) -> float:
        return 0.0 if self._joining_since is None else time.monotonic() - self._joining_since

    def _refresh(self) -> None:
        counts = self._sink.counts
        self._metrics.sink_pending.set(counts.pending)
        self._metrics.sink_inserted.set(counts.inserted)
        self._metrics.sink_refused.set(counts.refused)
        self._metrics.sink_retried.set(counts.retried)

    async def _unless_stopped(self, wanted: Coroutine[Any, Any, T]) -> None:
        tasks: list[asyncio.Task[Any]] = [asyncio.create_task(wanted), asyncio.create_task(self._stop.wait())]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _on_loop(loop: asyncio.AbstractEventLoop, callback: Callable[..., object], *args: object) -> None:
    if not loop.is_closed():
        loop.call_soon_threadsafe(callback, *args)


def _ended(tasks: list[asyncio.Task[None]]) -> str | None:
    for task in tasks:
        if task.done() and not task.cancelled():
            error = task.exception()
            return f"{task.get_name()} ended: {type(error).__name__}: {error}"
    return None
