"""Reading with a consumer group, by Faust: the one module that imports it.

Faust's commits, acknowledgements and tables are not used: who owns a partition says where reading goes on, whatever Kafka's commit
says, and the commit is a display of lag only. So none of the ways in which Faust commits too early or too late can cost or double a record.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Collection, Mapping
from itertools import islice
from typing import Any, Protocol, cast

import aiokafka
import faust
import structlog
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from aiokafka.errors import IllegalStateError
from faust.auth import SASLCredentials, SSLCredentials
from faust.transport.drivers import aiokafka as driver
from faust.types import TP

from streams.owner import Record, Role
from streams.settings import Kafka
from streams.tenure import ROLES

__all__ = ["Handler", "KafkaFeed"]

_MAX_HEADERS = 64
_MAX_HEADER = 1_024
_BUFFER = 64  # records between the consumer and an agent; a record may have 1 MB

log = structlog.get_logger(__name__)


class Handler(Protocol):
    """What the feed asks and tells. Called on the loop; no method may raise."""

    async def assigned(self, generation: int, shards: Collection[int], judges: Collection[int]) -> None:
        """These partitions are ours; reading begins when this returns."""

    async def revoked(self) -> None:
        """No partition is ours any more; somebody else reads on when this returns."""

    async def feed(self, record: Record, generation: int) -> None:
        """A record of a partition, in its turn."""

    def position(self, role: Role, partition: int) -> int | None:
        """Where reading must go on; None: not ours."""


class _ConsumerThread(driver.AIOKafkaConsumerThread):
    def _create_worker_consumer(self, transport: Any) -> Any:
        """Faust's own, but with the range assignor: partition p of every topic must come to the same worker."""
        conf = self.app.conf
        return aiokafka.AIOKafkaConsumer(
            client_id=conf.broker_client_id,
            group_id=conf.id,
            bootstrap_servers=driver.server_list(transport.url, transport.default_port),
            partition_assignment_strategy=[RangePartitionAssignor],
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            max_poll_records=conf.broker_max_poll_records,
            max_poll_interval_ms=int(conf.broker_max_poll_interval * 1000),
            max_partition_fetch_bytes=conf.consumer_max_fetch_size,
            fetch_max_wait_ms=500,
            request_timeout_ms=int(conf.broker_request_timeout * 1000),
            session_timeout_ms=int(conf.broker_session_timeout * 1000),
            rebalance_timeout_ms=int(conf.broker_rebalance_timeout * 1000),
            heartbeat_interval_ms=int(conf.broker_heartbeat_interval * 1000),
            metadata_max_age_ms=conf.consumer_metadata_max_age_ms,
            connections_max_idle_ms=conf.consumer_connections_max_idle_ms,
            **driver.credentials_to_aiokafka_auth(conf.broker_credentials, conf.ssl_context),
        )


class _Consumer(driver.Consumer):
    def _new_consumer_thread(self) -> _ConsumerThread:
        return _ConsumerThread(self, loop=self.loop, beacon=self.beacon)

    async def seek_to_committed(self) -> Mapping[TP, int]:
        """Faust calls this right before reading goes on. Not to what is committed, but to what the owners need."""
        wanted = {tp: at for tp in self.assignment() if (at := cast(_App, self.app).feed.wanted(tp)) is not None}
        try:
            await self.seek_wait(wanted)
        except IllegalStateError:
            log.warning("partitions were taken away again while reading was to go on")
        return wanted

    async def _seek(self, partition: TP, offset: int) -> None:
        """In the thread that hands records out: Faust's own does it in this one, and may take away what is handed out: a KeyError."""
        await self._thread.call_thread(self._thread._ensure_consumer().seek, partition, offset)

    async def show_commit(self, offsets: Mapping[TP, int]) -> None:
        """Commits, for people who look at the group's lag."""
        mine = self.assignment()
        if wanted := {tp: at for tp, at in offsets.items() if tp in mine}:
            await self._commit(wanted)


class _Transport(driver.Transport):
    Consumer = _Consumer


class _App(faust.App):
    feed: KafkaFeed

    def _new_transport(self) -> _Transport:
        return _Transport(self.conf.broker_consumer, self)


class KafkaFeed:
    """One member of the consumer group. Make it on the running loop.

    Args:
        kafka: Where and as whom.
        handler: Gets the records.
        partitions: As `kafka.ensure_topics` has verified.
    """

    def __init__(self, kafka: Kafka, handler: Handler) -> None:
        self._kafka, self._handler = kafka, handler
        self._role: dict[str, Role] = {f"{kafka.topic_prefix}.{role}": role for roles in ROLES.values() for role in roles}
        self._topic = {role: topic for topic, role in self._role.items()}
        self._committed: dict[TP, int] = {}
        self._app = app = _App(
            kafka.group,
            broker=";".join(f"kafka://{server.strip()}" for server in kafka.bootstrap_servers.split(",")),
            broker_credentials=_credentials(kafka),
            broker_client_id="inferwatch-worker",
            broker_session_timeout=kafka.session_timeout_s,
            broker_rebalance_timeout=max(60.0, kafka.session_timeout_s),
            broker_heartbeat_interval=kafka.session_timeout_s / 6,
            broker_request_timeout=max(40.0, kafka.session_timeout_s + 5.0),
            broker_max_poll_records=500,
            consumer_max_fetch_size=2 << 20,
            store="memory://",
            key_serializer="raw",
            value_serializer="raw",
            topic_partitions=kafka.partitions,
            topic_allow_declare=False,
            topic_disable_leader=True,
            table_standby_replicas=0,
            stream_wait_empty=False,  # with it a rebalance waits for acknowledgements that never come
            stream_buffer_maxsize=_BUFFER,
            web_enabled=False,
        )
        app.feed = self
        app.on_partitions_revoked.connect(self._on_revoked)
        app.on_rebalance_complete.connect(self._on_assigned)
        for topic, role in self._role.items():
            source = app.topic(topic, key_serializer="raw", value_serializer="raw", partitions=kafka.partitions, acks=False)
            app.agent(source, name=f"inferwatch.{role}")(self._reader(role))

    async def start(self) -> None:
        """Joins the group; returns before partitions are assigned.

        Raises:
            aiokafka.errors.KafkaError: the brokers do not answer.
        """
        await self._app.start()

    async def stop(self) -> None:
        """Leaves the group."""
        await self._app.stop()

    @property
    def crashed(self) -> str | None:
        """Why reading ended by itself; Faust does not raise it."""
        if not self._app.should_stop:
            return None
        reason = self._app.crash_reason
        return f"{type(reason).__name__}: {reason}" if reason is not None else "Faust stopped"

    async def seek(self, role: Role, partition: int, offset: int) -> None:
        """Reads a partition again from this offset on."""
        tp = TP(self._topic[role], partition)
        try:
            await self._app.consumer.seek(tp, offset)
        except IllegalStateError:
            log.warning("a partition was taken away before it could be read again", topic=tp.topic, partition=partition)

    async def show_commit(self, offsets: Mapping[tuple[Role, int], int]) -> None:
        """Commits what is durable, so that Kafka's own tools show the lag. Nothing depends on it."""
        wanted = {TP(self._topic[role], partition): offset for (role, partition), offset in offsets.items()}
        changed = {tp: offset for tp, offset in wanted.items() if self._committed.get(tp) != offset}
        if not changed or self._app.rebalancing or self._app.should_stop:
            return
        try:
            await asyncio.wait_for(cast(_Consumer, self._app.consumer).show_commit(changed), 5.0)
        except Exception as error:  # noqa: BLE001  # a display must not stop the work
            log.debug("commit failed", error=f"{type(error).__name__}: {error}")
        else:
            self._committed |= changed

    def wanted(self, tp: TP) -> int | None:
        """Where reading of a partition goes on."""
        role = self._role.get(tp.topic)
        return None if role is None else self._handler.position(role, tp.partition)

    def _reader(self, role: Role) -> Any:
        feed = self._handler.feed

        async def read(stream: Any) -> None:
            async for event in stream.noack().events():
                message = event.message
                record = Record(
                    role=role,
                    partition=message.partition,
                    offset=message.offset,
                    value=message.value or b"",
                    at_ns=round(message.timestamp * 1000) * 1_000_000,
                    key=message.key or b"",
                    headers=_headers(message.headers),
                )
                await feed(record, message.generation_id)

        read.__name__ = read.__qualname__ = f"read_{role}"
        return read

    async def _on_revoked(self, *_: Any, **__: Any) -> None:
        self._committed.clear()
        await self._handler.revoked()

    async def _on_assigned(self, *_: Any, **__: Any) -> None:
        mine: dict[Role, set[int]] = {role: set() for role in self._topic}
        for tp in self._app.consumer.assignment():
            if tp.topic in self._role:
                mine[self._role[tp.topic]].add(tp.partition)
        judges = set.intersection(*(mine[role] for role in ROLES["judge"]))
        await self._handler.assigned(self._app.consumer_generation_id, mine["events"], judges)


def _headers(given: Any) -> dict[str, str]:
    """At most 64 headers of at most 1,024 bytes, as text: who sends them is not trusted."""
    pairs = islice(given.items() if isinstance(given, Mapping) else given or (), _MAX_HEADERS)
    return {str(name): (value or b"")[:_MAX_HEADER].decode("utf-8", "replace") for name, value in pairs}


def _credentials(kafka: Kafka) -> Any:
    if kafka.security == "plaintext":
        return None
    context = None if kafka.security == "sasl_plaintext" else ssl.create_default_context(cafile=kafka.ca_file or None)
    if kafka.security == "ssl":
        return SSLCredentials(context)
    return SASLCredentials(username=kafka.sasl_username, password=kafka.sasl_password, ssl_context=context, mechanism=kafka.sasl_mechanism)
