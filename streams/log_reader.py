"""Reading a Kafka log from known offsets, with patience for a broker that is not ready yet."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import TypeVar

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition

from streams.snapshots import SnapshotError

TIMEOUT_S = 60.0
_STEP_S, _PAUSE_S = 10.0, 0.1
_UNSETTLED = frozenset(
    {
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError._UNKNOWN_PARTITION,
        KafkaError._UNKNOWN_TOPIC,
        KafkaError._TRANSPORT,
        KafkaError._ALL_BROKERS_DOWN,
        KafkaError._TIMED_OUT,
    }
)
"""What a broker says for a moment after a topic was made, after a leader changed, or while it starts."""

_T = TypeVar("_T")


def patiently(step: Callable[[float], _T], timeout_s: float = TIMEOUT_S) -> _T:
    """Does a step, again while Kafka says that it may be done again or that it is not ready.

    Args:
        step: takes the seconds that it may last.
        timeout_s: after so long the last error is final.

    Raises:
        KafkaException: the step's.

    Example:
        >>> tries = iter([KafkaException(KafkaError(KafkaError.NOT_LEADER_FOR_PARTITION)), None])
        >>> def step(seconds):
        ...     error = next(tries)
        ...     if error:
        ...         raise error
        ...     return "done"
        >>> patiently(step)
        'done'
    """
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            return step(_STEP_S)
        except KafkaException as error:
            again = error.args[0].retriable() or error.args[0].code() in _UNSETTLED
            if not again or time.monotonic() > deadline:
                raise
            time.sleep(_PAUSE_S)


def extent(reader: Consumer, at: TopicPartition) -> tuple[int, int]:
    """First and next offset of a partition.

    Raises:
        KafkaException: the broker does not say, for a minute.
    """

    def step(seconds: float) -> tuple[int, int]:
        try:
            low, high = reader.get_watermark_offsets(at, timeout=seconds)
        except KafkaException:
            reader.list_topics(at.topic, timeout=seconds)  # else it goes on asking the leader of before, for minutes
            raise
        return int(low), int(high)

    return patiently(step)


def partitions_of(client: Producer | Consumer, topic: str) -> int:
    """How many partitions a topic has.

    Raises:
        KafkaException: the brokers do not answer, or the topic is not there.
    """
    found = client.list_topics(topic, timeout=_STEP_S).topics[topic]
    if found.error is not None:
        raise KafkaException(KafkaError(found.error.code(), f"topic {topic}: {found.error.str()}"))
    return len(found.partitions)


def offsets_between(reader: Consumer, topic: str, first_ns: int, last_ns: int) -> tuple[dict[int, tuple[int, int]], bool]:
    """Where the records of a stretch of time are, by the time that Kafka gave them.

    Returns:
        By partition, the offset of the first of them and that after the last; and whether what came before is there no more.

    Raises:
        KafkaException: the brokers do not answer, or the topic is not there.
    """
    partitions = range(partitions_of(reader, topic))

    def at(when_ns: int) -> list[TopicPartition]:
        asked = [TopicPartition(topic, p, max(when_ns, 0) // 1_000_000) for p in partitions]
        return patiently(lambda seconds: reader.offsets_for_times(asked, timeout=seconds))

    found, cut = {}, False
    for first, last in zip(at(first_ns), at(last_ns), strict=True):
        low, end = extent(reader, TopicPartition(topic, first.partition))
        begin = end if first.offset < 0 else first.offset  # negative: none is so late
        found[first.partition] = begin, end if last.offset < 0 else last.offset
        cut |= 0 < low == begin < end
    return found, cut


def stretch(reader: Consumer, topic: str, offsets: Mapping[int, tuple[int, int]]) -> Iterator[Message]:
    """Every record of some partitions from one offset to before another, as far as it is there, in the order of each partition.

    Raises:
        KafkaException: the broker gives none, for a minute.
    """
    left = {p for p, (first, end) in offsets.items() if first < end}
    reader.assign([TopicPartition(topic, p, offsets[p][0]) for p in left])
    deadline = time.monotonic() + TIMEOUT_S
    while left:
        if time.monotonic() > deadline:
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT))
        for message in reader.consume(500, 0.2):
            error, partition, offset = message.error(), message.partition() or 0, message.offset() or 0
            if error is not None:
                if error.code() == KafkaError._PARTITION_EOF:
                    left.discard(partition)
                continue
            deadline = time.monotonic() + TIMEOUT_S
            if offset < offsets[partition][1]:
                yield message
            if offset + 1 >= offsets[partition][1]:
                left.discard(partition)


def records(reader: Consumer, what: str) -> Iterator[Message | None]:
    """Records from where the reader is; None at the end.

    Raises:
        SnapshotError: the broker does not give them.
    """
    deadline = time.monotonic() + TIMEOUT_S
    while True:
        message = reader.poll(0.2)
        error = None if message is None else message.error()
        if message is not None and error is None:
            deadline = time.monotonic() + TIMEOUT_S
            yield message
        elif error is not None and error.code() == KafkaError._PARTITION_EOF:
            yield None
        elif error is not None and (error.fatal() or not (error.retriable() or error.code() in _UNSETTLED)):
            raise SnapshotError(f"{what} cannot be read: {error.str()}")
        elif time.monotonic() > deadline:
            raise SnapshotError(f"{what} cannot be read: Kafka gives no records for {TIMEOUT_S:g} s")


def kafka_error(error: BaseException) -> KafkaError | None:
    """What Kafka said, if it did, behind an exception."""
    for one in (error, error.__cause__, error.__context__):
        if isinstance(one, KafkaException) and one.args and isinstance(one.args[0], KafkaError):
            return one.args[0]
    return None
