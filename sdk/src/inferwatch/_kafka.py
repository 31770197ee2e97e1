"""Kafka, by confluent-kafka (librdkafka). The library is imported when the first record is sent."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any

from inferwatch._log import RateLimited
from inferwatch._processes import Library
from inferwatch._transport import Done, Record


class KafkaTransport:
    """An idempotent producer: every record is acknowledged by all in-sync replicas, once and in order, or counted as failed.

    An absent broker costs the service nothing: records wait in a bounded buffer, then in the client's bounded queue.

    Args:
        bootstrap_servers: ``host:port[,host:port]``.
        options: More of librdkafka's options (SASL, TLS, message.timeout.ms). They win over the defaults here.

    Raises:
        ValueError: librdkafka refuses an option; the message says which.
    """

    def __init__(self, bootstrap_servers: str, options: Mapping[str, Any] | None = None) -> None:
        self._config: dict[str, Any] = {
            "bootstrap.servers": bootstrap_servers,
            "enable.idempotence": True,
            "acks": "all",
            "compression.type": "zstd",
            "linger.ms": 5,
            "message.max.bytes": 1_000_000,
            "batch.size": 1_000_000,
            "queue.buffering.max.messages": 100_000,
            "queue.buffering.max.kbytes": 65_536,
            "socket.keepalive.enable": True,
            "reconnect.backoff.max.ms": 3_000,  # not 10 s: a broker that is back should be used
            "allow.auto.create.topics": False,  # a topic made by accident would have the broker's number of partitions
            "log_level": 0,  # librdkafka writes to stderr by itself; errors come through error_cb
            **(options or {}),
        }
        self._producer: Any = None
        self._library = Library()
        self._resting = False
        self._again: deque[tuple[Record, Done]] = deque()
        """On their way when the process forked."""
        self._broken = ""
        self._log = RateLimited()
        if options:
            self._make()  # a misspelt option should be an error here, not a silence later
            self._library.running = False  # it is gone already

    def __repr__(self) -> str:
        return f"KafkaTransport({self._config['bootstrap.servers']!r})"

    def partitions(self, topic: str, timeout_s: float) -> int | None:
        """Asks the cluster. Asking does not create the topic, whatever the broker allows."""
        from confluent_kafka import KafkaError, KafkaException

        if self._refuses():
            return None
        try:
            found = self._ready().list_topics(topic, timeout=timeout_s).topics.get(topic)
        except KafkaException as error:
            self._log.line("metadata", "no answer from the brokers about topic %s: %s", topic, _brief(error))
            return None
        if found is not None and found.error is not None and found.error.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED:
            self._log.line("rights", "this Kafka user may not write to topic %s; events wait. Allow it the operation Write.", topic)
            return None
        if found is None or found.error is not None or not found.partitions:
            self._log.line("topic", "topic %s does not exist yet; events wait. The inferwatch worker creates it.", topic)
            return None
        return len(found.partitions)

    def send(self, record: Record, done: Done) -> bool:
        """Hands the record to librdkafka's queue."""
        if self._refuses():
            done("forked")
            return True
        return self._catch_up() and self._produce(record, done)

    def _produce(self, record: Record, done: Done) -> bool:
        from confluent_kafka import KafkaException

        try:
            self._ready().produce(
                record.topic,
                record.value,
                record.key,
                record.partition,
                on_delivery=lambda error, _: self._delivered(record, done, error),
                headers=record.headers,
            )
        except BufferError:
            return False
        except KafkaException as error:
            done(_brief(error))
        return True

    def poll(self) -> None:
        """Delivery reports."""
        self._catch_up()
        if self._producer is not None:
            self._producer.poll(0)

    def rest(self, timeout_s: float) -> None:
        """Ends the producer and its threads. What the broker has not confirmed within the time is kept for the next one."""
        if self._producer is not None:
            self._producer.flush(max(0.0, timeout_s))
            self._resting = True
            self._discard()
            self._resting = False
        self._library.running = False

    def close(self, timeout_s: float) -> None:
        """Waits for the broker at most `timeout_s`, then reports the rest as failed."""
        self._catch_up()
        if self._producer is not None:
            self._producer.flush(max(0.0, timeout_s))
            self._discard()
        self._library.running = False
        while self._again:
            self._again.popleft()[1]("closed")

    def after_fork(self) -> None:
        """A producer that did not end in time is left alone, and so is its library: using it here could stop the process for ever."""
        self._library.after_fork(self._producer)
        self._producer, self._resting = None, False
        self._again.clear()  # the parent's
        self._broken = ""

    def _refuses(self) -> bool:
        if self._library.unusable:
            self._log.line(
                "fork", "this process was forked while the Kafka producer ran: it sends nothing. Make the client after the fork."
            )
        return self._library.unusable

    def _catch_up(self) -> bool:
        """Sends again what a fork interrupted; False while there is no room for it."""
        while self._again:
            if not self._produce(*self._again[0]):
                return False
            self._again.popleft()
        return True

    def _delivered(self, record: Record, done: Done, error: Any) -> None:
        if error is not None and self._resting and error.name() in ("_PURGE_QUEUE", "_PURGE_INFLIGHT"):
            self._again.append((record, done))
        else:
            done(None if error is None else error.name())

    def _ready(self) -> Any:
        if self._broken:
            self._log.line("fatal", "the producer failed for good (%s); a new one takes over", self._broken)
            self._discard()
        if self._producer is None:
            self._producer = self._make()
        return self._producer

    def _make(self) -> Any:
        from confluent_kafka import KafkaException, Producer

        self._library.running = True
        try:
            return Producer({**self._config, "error_cb": self._on_error})
        except KafkaException as error:
            raise ValueError(f"Kafka options refused: {error.args[0].str()}. See kafka_options and librdkafka's CONFIGURATION.md") from None

    def _discard(self) -> None:
        producer, self._producer, self._broken = self._producer, None, ""
        if producer is not None:
            producer.purge()
            producer.flush(1.0)  # runs the reports of what was purged; waits for nothing else

    def _on_error(self, error: Any) -> None:
        if error.fatal():
            self._broken = error.name()
        self._log.line(error.name(), "Kafka: %s", error.str())


def _brief(error: Exception) -> str:
    cause = error.args[0] if error.args else None
    return str(cause.name()) if cause is not None and hasattr(cause, "name") else type(error).__name__
