"""Reads the events of a stretch of time, and the labels that came for them, into a sample. Blocks; no group, nothing is committed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from typing import Any

import msgspec
from confluent_kafka import Consumer, Message

from inferwatch import CONTENT_TYPE_JSON, DecodeError, Label, decode
from schemas import forget
from streams.from_stream import Sample
from streams.kafka import ungrouped
from streams.log_reader import offsets_between, stretch
from streams.owner import NS
from streams.settings import Settings

Progress = Callable[[str, int, int], None]
"""``progress(topic, records done, records in all)``."""
_EVER, _STEP = 2**62, 100


def gather(settings: Settings, sample: Sample, first_ns: int, last_ns: int, progress: Progress) -> bool:
    """Fills the sample with events of a stretch of time, however late within `clock.past_s` they came, and with labels until now.

    Returns:
        Whether the topic no longer has what came before.

    Raises:
        KafkaException: the brokers do not answer, or a topic is not there.
    """
    kafka, clock = settings.kafka, settings.clock
    first, last = first_ns - round(clock.future_s * NS), last_ns + round(clock.past_s * NS)
    with closing(ungrouped(kafka, f"{kafka.group}-references", {"auto.offset.reset": "earliest"})) as reader:
        messages, cut = _read(reader, f"{kafka.topic_prefix}.events", first, last, progress)
        for message in messages:
            headers: dict[str, Any] = dict(message.headers() or [])
            place = message.partition() or 0, message.offset() or 0
            take(sample, message.value() or b"", headers, message.timestamp()[1] * 1_000_000, *place)
        for message in _read(reader, f"{kafka.topic_prefix}.labels", first, _EVER, progress)[0]:
            take_label(sample, message.value() or b"")
    return cut


def take_label(sample: Sample, value: bytes) -> None:
    """A record of `labels`; what cannot be read is passed over."""
    try:
        sample.label(msgspec.json.decode(value, type=Label))
    except (msgspec.DecodeError, ValueError, RecursionError):
        return  # the workers say so


def take(sample: Sample, value: bytes, headers: Mapping[str, bytes], received_ns: int, partition: int, offset: int) -> None:
    """A record of `events`; what cannot be read is passed over: the workers put it into the dead letters."""
    try:
        if headers.get("ce_type") == forget.CE_TYPE.encode():
            sample.forget(forget.decode(value))
            return
        batches, _ = decode(value, (headers.get("content-type") or CONTENT_TYPE_JSON.encode()).decode("utf-8", "replace"))
    except (DecodeError, msgspec.DecodeError):
        return
    for batch in batches:
        sample.add(batch, received_ns, partition, offset)


def _read(reader: Consumer, topic: str, first_ns: int, last_ns: int, progress: Progress) -> tuple[Iterator[Message], bool]:
    offsets, cut = offsets_between(reader, topic, first_ns, last_ns)
    total = sum(max(end - first, 0) for first, end in offsets.values())

    def told() -> Iterator[Message]:
        progress(topic, 0, total)
        for done, message in enumerate(stretch(reader, topic, offsets), 1):
            yield message
            if done % _STEP == 0:
                progress(topic, done, total)
        progress(topic, total, total)

    return told(), cut
