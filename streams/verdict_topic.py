"""What commands do with Kafka: read a compacted topic to its end, and tell a model's judge something."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import msgspec
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition

from inferwatch import Verdict, read_verdict
from schemas.operations import Operation
from streams.kafka import client_config, partition_for_key, ungrouped
from streams.log_reader import extent, partitions_of, stretch
from streams.settings import Kafka

__all__ = ["newest", "read_verdicts", "tell"]


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
    partitions = partitions_of(producer, topic)
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


def _all(reader: Consumer, topic: str) -> Iterator[tuple[bytes, bytes | None]]:
    """Every record from the beginning to where the topic ends now."""
    places = [TopicPartition(topic, p) for p in range(partitions_of(reader, topic))]
    for message in stretch(reader, topic, {place.partition: extent(reader, place) for place in places}):
        yield message.key() or b"", message.value()
