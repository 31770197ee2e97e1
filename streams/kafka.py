"""Kafka without a consumer group: settings for clients, topics made and checked, messages out, ends of partitions.

What is read with a group is read by `streams.app`; what is read without one begins with `ungrouped`.
"""

from __future__ import annotations

import asyncio
import threading
import time
import zlib
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any

import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin import OffsetSpec as _OffsetSpec  # type: ignore[attr-defined]  # public by its docs, not by its annotations
from confluent_kafka.cimpl import NewTopic  # where the package's own annotations say it is

from schemas.reference import key_of
from schemas.topics import Topic, topics
from streams.settings import Kafka

__all__ = [
    "KafkaPublisher",
    "TopicError",
    "client_config",
    "ends",
    "ensure_topics",
    "has_records",
    "partition_for_key",
    "publish_reference",
    "reach",
    "ungrouped",
]

_TIMEOUT_S = 10.0
_REACH_S = 3.0
_MAX_MESSAGE = 16 << 20
# These can't succeed later with the same bytes. Anything else may: it is kept, and sent again.
_PERMANENT = frozenset(
    {KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.INVALID_MSG, KafkaError.INVALID_MSG_SIZE, KafkaError.RECORD_LIST_TOO_LARGE}
)

OffsetSpec: Any = _OffsetSpec  # its methods have no annotations
log = structlog.get_logger(__name__)


class TopicError(RuntimeError):
    """The topics are not what the settings say; the message says which, how, and what to do."""


def partition_for_key(key: bytes, partitions: int) -> int:
    """Where a record with this key goes: CRC-32 modulo the number of partitions, as the SDK and librdkafka's ``consistent`` do it.

    Example:
        >>> partition_for_key(b"fraud", 12)
        10
    """
    return zlib.crc32(key) % partitions


def client_config(kafka: Kafka) -> dict[str, Any]:
    """What every confluent-kafka client of ours is configured with. Holds the password: never log it."""
    config: dict[str, Any] = {
        "bootstrap.servers": kafka.bootstrap_servers,
        "client.id": "inferwatch-worker",
        "security.protocol": kafka.security.upper(),
        "error_cb": _log_error,
        "logger": _Silent(),
        "reconnect.backoff.max.ms": 3000,
    }
    if kafka.ca_file:
        config["ssl.ca.location"] = kafka.ca_file
    if kafka.security.startswith("sasl"):
        config |= {"sasl.mechanism": kafka.sasl_mechanism, "sasl.username": kafka.sasl_username, "sasl.password": kafka.sasl_password}
    return config


def reach(kafka: Kafka) -> str | None:
    """Asks the brokers for their topics, blocking for some seconds at most; what went wrong, or None."""
    errors: list[KafkaError] = []
    admin = AdminClient(client_config(kafka) | {"error_cb": errors.append})
    try:
        admin.list_topics(timeout=_REACH_S)
    except KafkaException as error:
        admin.poll(0)  # the first error says more than the time-out: a wrong password, an unknown authority
        return f"Kafka at {kafka.bootstrap_servers} ({kafka.security}) does not answer: {(errors or [error.args[0]])[0].str()}"
    return None


def told_by(kafka: Kafka, error: Exception) -> str:
    """What Kafka, or a `TopicError`, says is wrong, and where."""
    said = error.args[0].str() if isinstance(error, KafkaException) and error.args else str(error)
    return f"Kafka at {kafka.bootstrap_servers}: {said}"


def ensure_topics(kafka: Kafka) -> list[str]:
    """Creates the topics that are missing and checks the others. Blocks.

    Any number of workers may do so at once.

    Returns:
        Names of those created.

    Raises:
        TopicError: a topic has another number of partitions than the settings, or can't be created; all such topics are named.
        KafkaException: the brokers do not answer.
    """
    admin = AdminClient(client_config(kafka))
    wanted = topics(kafka.topic_prefix, kafka.partitions, kafka.replication)
    there = admin.list_topics(timeout=_TIMEOUT_S).topics
    wrong: list[str] = []
    created: list[str] = []
    missing = [topic for topic in wanted if topic.name not in there]
    if missing:
        for name, future in admin.create_topics([_new(topic) for topic in missing]).items():
            try:
                future.result(timeout=60.0)
                created.append(name)
            except KafkaException as error:
                if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                    wrong.append(f"{name} cannot be created: {error.args[0].str()}")
        refused = {sentence.partition(" ")[0] for sentence in wrong}
        deadline = time.monotonic() + _TIMEOUT_S
        while time.monotonic() < deadline:  # brokers hear of a new topic a moment after it was made
            there = admin.list_topics(timeout=_TIMEOUT_S).topics
            if all(topic.name in there or topic.name in refused for topic in wanted):
                break
            time.sleep(0.1)
        wrong += [f"{topic.name} was made and is not seen" for topic in wanted if topic.name not in there and topic.name not in refused]
    for topic in wanted:
        has = len(there[topic.name].partitions) if topic.name in there else topic.partitions
        if has != topic.partitions:
            wrong.append(_misfit(topic, has, kafka.partitions))
    if wrong:
        raise TopicError("; ".join(wrong))
    return created


def ends(admin: AdminClient, partitions: Iterable[tuple[str, int]]) -> dict[tuple[str, int], int]:
    """By (topic, partition): the offset that the next record will get. Blocks.

    Partitions that can't be asked for are left out; one that does not exist takes the others with it.
    """
    asked = {TopicPartition(topic, partition): OffsetSpec.latest() for topic, partition in partitions}
    found: dict[tuple[str, int], int] = {}
    if not asked:
        return found
    for partition, future in admin.list_offsets(asked, request_timeout=_TIMEOUT_S).items():
        try:
            end = future.result(timeout=_TIMEOUT_S + 1).offset
        except (KafkaException, TimeoutError):
            continue
        if end >= 0:  # -1001, without an error, is what a client says that asked a broker which has just died
            found[partition.topic, partition.partition] = end
    return found


def ungrouped(kafka: Kafka, name: str, config: Mapping[str, Any] = MappingProxyType({})) -> Consumer:
    """A consumer for partitions that it is told to read: it joins no group, commits nothing, and says where a partition ends.

    Args:
        kafka: Where.
        name: For ``group.id``, which Kafka's client requires, and by which rights may be given.
        config: What else the client is configured with.
    """
    own = {"group.id": name, "enable.auto.commit": False, "enable.partition.eof": True}
    return Consumer(client_config(kafka) | own | dict(config))


def has_records(kafka: Kafka, topic: str, partition: int, offset: int, timeout_s: float = 5.0) -> bool:
    """Whether there is a record at or after this offset. Blocks.

    The end of a partition does not tell: the markers of a producer's transaction take offsets too, and compaction leaves holes.
    """
    reader = ungrouped(kafka, f"{kafka.group}-probe")
    try:
        reader.assign([TopicPartition(topic, partition, offset)])
        message = reader.poll(timeout_s)
        return message is not None and message.error() is None
    finally:
        reader.close()


class KafkaPublisher:
    """Sends messages with acknowledgement, idempotent, in order per partition, and retries until they arrive.

    Args:
        kafka: Where, and how many partitions its topics have.
        loop: On which ``done`` is called.
        fatal: Called on the loop when the producer can send nothing any more, with the reason.
    """

    def __init__(self, kafka: Kafka, loop: asyncio.AbstractEventLoop, fatal: Callable[[str], None]) -> None:
        self._kafka, self._loop, self._fatal = kafka, loop, fatal
        self._producer = Producer(
            client_config(kafka)
            | {
                "enable.idempotence": True,
                "message.timeout.ms": 0,  # for ever: the outbox is the bound, and the snapshot holds it
                "message.max.bytes": _MAX_MESSAGE,
                "queue.buffering.max.messages": 100_000,
                "queue.buffering.max.kbytes": 262_144,
                "linger.ms": 5,
                "compression.type": "lz4",
            }
        )
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._poll, name="kafka-publisher", daemon=True)
        self._thread.start()

    def send(self, to: str, key: bytes, value: bytes, headers: Mapping[str, str], done: Callable[[str | None, bool], None]) -> bool:
        """See `streams.delivery.Publisher.send`."""

        def delivered(error: KafkaError | None, message: Message) -> None:
            text = None if error is None else f"{message.topic()}: {error.str()}"
            permanent = error is not None and error.code() in _PERMANENT
            if not self._loop.is_closed():
                self._loop.call_soon_threadsafe(done, text, permanent)

        try:
            self._producer.produce(
                f"{self._kafka.topic_prefix}.{to}",
                value=None if to == "verdicts" and not value else value,  # withdrawn: a tombstone
                key=key,
                partition=partition_for_key(key, self._kafka.partitions),
                headers={name: text.encode() for name, text in headers.items()},
                on_delivery=delivered,
            )
        except BufferError:
            return False
        except KafkaException as error:
            reason: KafkaError = error.args[0]
            if reason.fatal():
                self._fatal(f"the producer cannot go on: {reason.str()}")
                return False
            self._loop.call_soon(done, reason.str(), reason.code() in _PERMANENT)
        return True

    def close(self, timeout_s: float) -> None:
        """Waits so long for what is under way, then gives up the rest. Blocks."""
        self._producer.flush(timeout_s)
        self._producer.purge()
        self._stopped.set()
        self._thread.join(timeout=5.0)

    def _poll(self) -> None:
        while not self._stopped.is_set():
            try:
                self._producer.poll(0.1)
            except (KafkaException, SystemError) as error:  # SystemError is what a KafkaException becomes inside a callback
                self._stopped.set()
                if not self._loop.is_closed():
                    self._loop.call_soon_threadsafe(self._fatal, f"the producer cannot go on: {error.__cause__ or error}")


def publish_reference(kafka: Kafka, model: str, part: str, blob: bytes | None) -> None:
    """Puts a record (None: withdraws it) with the key ``model NUL part`` on the topic of references, and waits until it is there. Blocks.

    Raises:
        KafkaException: it did not arrive within 30 seconds.
    """
    errors: list[KafkaError | None] = []
    config = {"enable.idempotence": True, "message.timeout.ms": 30_000, "message.max.bytes": _MAX_MESSAGE}
    producer = Producer(client_config(kafka) | config)
    key = key_of(model, part)
    producer.produce(
        f"{kafka.topic_prefix}.references",
        value=blob,
        key=key,
        partition=partition_for_key(key, kafka.partitions),
        on_delivery=lambda error, _: errors.append(error),
    )
    producer.flush(35.0)
    if not errors or errors[0] is not None:
        raise KafkaException(errors[0] if errors else KafkaError(KafkaError._TIMED_OUT))


def _misfit(topic: Topic, has: int, partitions: int) -> str:
    if topic.partitions != partitions:
        return f"{topic.name} has {has} partitions and needs {topic.partitions}: add partitions to it, or delete it while no worker runs"
    how = "add partitions to it, or set" if has < topic.partitions else "set"
    return f"{topic.name} has {has} partitions, kafka.partitions is {topic.partitions}: {how} kafka.partitions = {has}"


def _new(topic: Topic) -> NewTopic:
    return NewTopic(topic.name, topic.partitions, topic.replication, config=topic.config)


def _log_error(error: KafkaError) -> None:
    log.warning("kafka", error=error.str(), code=error.name(), fatal=error.fatal())


class _Silent:
    """librdkafka's own lines repeat what `_log_error` is told."""

    def log(self, level: int, message: str, *args: object) -> None:
        log.debug("librdkafka", line=message % args if args else message)
