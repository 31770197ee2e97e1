"""Reading a Kafka log from known offsets, with patience for a broker that is not ready yet."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

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
