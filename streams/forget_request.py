"""Telling every worker to forget a client or an event, and waiting until they have."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from schemas import forget
from schemas.forget import Forget
from streams.kafka import client_config, ends
from streams.settings import Settings

__all__ = ["RequestError", "tell", "wait"]

_SEND_MS = 20_000
_POLL_S = 0.25


class RequestError(Exception):
    """The workers could not be told. Says why."""


def tell(settings: Settings, wishes: Sequence[Forget]) -> dict[tuple[str, int], int]:
    """Puts the wishes into every partition of ``events``, since an evicted client's traces may be in any. Blocks.

    Returns:
        by topic and partition: the offset after the last of them.

    Raises:
        RequestError: a partition did not take them; nothing says which others did, so tell them again.
    """
    topic = f"{settings.kafka.topic_prefix}.events"
    errors: list[str] = []
    offsets: dict[tuple[str, int], int] = {}

    def delivered(error: KafkaError | None, message: Message) -> None:
        if error is not None:
            errors.append(error.str())
        else:
            partition, offset = message.partition(), message.offset()
            assert partition is not None  # noqa: S101 - of a message that was delivered
            assert offset is not None  # noqa: S101
            offsets[topic, partition] = offset + 1

    producer = Producer(client_config(settings.kafka) | {"enable.idempotence": True, "message.timeout.ms": _SEND_MS})
    headers: list[tuple[str, str | bytes | None]] = [("content-type", b"application/json"), ("ce_type", forget.CE_TYPE.encode())]
    try:
        for partition in range(settings.kafka.partitions):
            for wish in wishes:
                producer.produce(topic, forget.encode(wish), partition=partition, headers=headers, on_delivery=delivered)
        left = producer.flush(_SEND_MS / 1000 + 5)
    except KafkaException as error:
        raise RequestError(f"{topic}: {error.args[0].str()}") from error
    if errors or left:
        raise RequestError(f"{topic}: {errors[0] if errors else f'{left} records were not acknowledged'}")
    return offsets


def wait(
    settings: Settings, offsets: dict[tuple[str, int], int], timeout_s: float, sleep: Callable[[float], None] = time.sleep
) -> list[tuple[str, int]]:
    """Waits until the workers' state holds the wishes: first the shards', then what these told the models' owners. Blocks.

    Returns:
        the partitions that had not got so far in time.
    """
    end = time.monotonic() + timeout_s
    reader = Consumer(client_config(settings.kafka) | {"group.id": settings.kafka.group, "enable.auto.commit": False})
    try:
        late = _until(reader, offsets, end, sleep)
        if not late:
            sleep(1.0)  # what a shard says leaves it right after its state was saved
            told = ends(
                AdminClient(client_config(settings.kafka)),
                [(f"{settings.kafka.topic_prefix}.findings", partition) for partition in range(settings.kafka.partitions)],
            )
            late = _until(reader, told, end, sleep)
        return late
    finally:
        reader.close()


def _until(reader: Consumer, offsets: dict[tuple[str, int], int], end: float, sleep: Callable[[float], None]) -> list[tuple[str, int]]:
    left = {place for place, offset in offsets.items() if offset > 0}
    while left:
        try:
            found = reader.committed([TopicPartition(*place) for place in sorted(left)], timeout=5.0)
        except KafkaException:
            found = []
        left -= {(one.topic, one.partition) for one in found if one.offset >= offsets[one.topic, one.partition]}
        if not left or time.monotonic() > end:
            break
        sleep(_POLL_S)
    return sorted(left)
