"""What commands do with Kafka: read a compacted topic to its end, and tell a model's judge something."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing

import msgspec
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition

from inferwatch import Verdict, read_verdict
from schemas.operations import Operation
from streams.kafka import client_config, partition_for_key, ungrouped
from streams.log_reader import TIMEOUT_S, extent
from streams.settings import Kafka

__all__ = ["newest", "read_verdicts", "tell"]

_REACH_S = 10.0


def newest(kafka: Kafka, topic: str, group: str, *, start: bytes = b"") -> dict[bytes, bytes]:
    """The newest value of each key (that begins so) of a compacted topic, without those withdrawn. Blocks, for a second or two.

    Raises:
        KafkaException: the brokers do not answer, or the topic is not there.
    """
    found: dict[bytes, bytes] = {}
    with closing(ungrouped(kafka, group, {"auto.offset.reset": "earliest"})) as reader:
        for key, value in _all(reader, topic):
            found.pop(key, None)
            if value and key.startswith(start):
                found[key] = value
    return found


def read_verdicts(kafka: Kafka) -> tuple[list[Verdict], int]:
    """Every verdict on the topic, also those that have expired; and how many records are none.

    Raises:
        KafkaException: the brokers do not answer, or the topic is not there.
    """
    verdicts, bad = [], 0
    for key, value in newest(kafka, f"{kafka.topic_prefix}.verdicts", f"{kafka.topic_prefix}-verdicts").items():
        try:
            verdicts.append(read_verdict(key, value))
        except (ValueError, RecursionError):
            bad += 1
    return verdicts, bad


def tell(kafka: Kafka, operation: Operation) -> None:
    """Tells the judge of the operation's model; returns when Kafka has it. Blocks.

    Raises:
        KafkaException: it did not arrive within 30 seconds.
    """
    topic, errors = f"{kafka.topic_prefix}.operations", list[KafkaError | None]()
    producer = Producer(client_config(kafka) | {"enable.idempotence": True, "message.timeout.ms": 30_000})
    key = operation.model.encode()
    partitions = _partitions(producer, topic)
    producer.produce(
        topic,
        value=msgspec.json.encode(operation),
        key=key,
        partition=partition_for_key(key, partitions),  # as many as there are: another judge would not know the model
        on_delivery=lambda error, _: errors.append(error),
    )
    producer.flush(35.0)
    if not errors or errors[0] is not None:
        raise KafkaException(errors[0] if errors else KafkaError(KafkaError._TIMED_OUT))


def _partitions(client: Producer | Consumer, topic: str) -> int:
    found = client.list_topics(topic, timeout=_REACH_S).topics[topic]
    if found.error is not None:
        raise KafkaException(KafkaError(found.error.code(), f"topic {topic}: {found.error.str()}"))
    return len(found.partitions)


def _all(reader: Consumer, topic: str) -> Iterator[tuple[bytes, bytes | None]]:
    """Every record from the beginning to where the topic ends now."""
    places = [TopicPartition(topic, p) for p in range(_partitions(reader, topic))]
    open_ends = {place.partition: extent(reader, place) for place in places}
    left = {p for p, (low, high) in open_ends.items() if low < high}
    reader.assign([TopicPartition(topic, p, open_ends[p][0]) for p in left])
    deadline = time.monotonic() + TIMEOUT_S
    while left:
        if time.monotonic() > deadline:
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT))
        for message in reader.consume(500, 0.2):
            error, partition = message.error(), message.partition() or 0
            if error is None:
                deadline = time.monotonic() + TIMEOUT_S
                yield message.key() or b"", message.value()
            if (error is not None and error.code() == KafkaError._PARTITION_EOF) or (message.offset() or 0) + 1 >= open_ends[partition][1]:
                left.discard(partition)
