"""Reads the compacted references topic from its beginning, in a thread, without a group: every worker sees every reference."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

import structlog
from confluent_kafka import OFFSET_BEGINNING, KafkaError, KafkaException, TopicPartition

from schemas.reference import Baseline, Reference, ReferenceFormatError, decode, decode_baseline, is_baseline, name_in
from streams.kafka import ungrouped
from streams.settings import Kafka
from streams.verdict_topic import newest

__all__ = ["OfVersion", "ReferenceReader", "known_models", "published", "references_of"]

log = structlog.get_logger(__name__)


def published(kafka: Kafka, model: str) -> dict[str, bytes]:
    """What the topic has of a model now, by the rest of the key: references, baselines and canaries. Blocks, for a second or two.

    Raises:
        KafkaException: the brokers do not answer.
    """
    start = f"{model}\0".encode()
    records = newest(kafka, f"{kafka.topic_prefix}.references", f"{kafka.group}-references", start=start)
    return {key.removeprefix(start).decode("utf-8", "replace"): blob for key, blob in records.items()}


@dataclass
class OfVersion:
    """What the topic has of one model version.

    Attributes:
        named: its references, by name.
        baseline: which of them drift is to be judged by.
        bad: records that are neither, and why.
    """

    named: dict[str, Reference] = field(default_factory=dict)
    baseline: Baseline | None = None
    bad: list[str] = field(default_factory=list)


def references_of(kafka: Kafka, model: str) -> dict[str, OfVersion]:
    """The references of a model, by version. Blocks, for a second or two.

    Raises:
        KafkaException: the brokers do not answer.
    """
    found: dict[str, OfVersion] = {}
    for part, blob in published(kafka, model).items():
        place, of = name_in(part), is_baseline(part)
        try:
            if place is not None:
                found.setdefault(place[0], OfVersion()).named[place[1]] = decode(blob)
            elif of is not None:
                found.setdefault(of, OfVersion()).baseline = decode_baseline(blob)
        except ReferenceFormatError as error:
            found.setdefault(part.partition("\0")[0], OfVersion()).bad.append(str(error))
    for one in found.values():
        if len(one.named) > 1:  # a provisional one counts where it is alone
            one.named = {name: reference for name, reference in one.named.items() if reference.source != "provisional"}
    return found


def known_models(kafka: Kafka) -> list[str]:
    """Models that a reference is published for. Blocks, for a second or two.

    Raises:
        KafkaException: the brokers do not answer.
    """
    keys = newest(kafka, f"{kafka.topic_prefix}.references", f"{kafka.group}-references")
    return sorted({key.partition(b"\0")[0].decode("utf-8", "replace") for key in keys})


class ReferenceReader:
    """Tells each reference to a callback, those that are there first.

    Args:
        kafka: Where.
        on_reference: ``(model, rest of the key, bytes or None for withdrawn)``, called in the reader's thread.
        on_caught_up: Called once, in the reader's thread, when all that was on the topic at the start has been told.

    Of two records with one key both may be told; the later one comes later.
    """

    def __init__(self, kafka: Kafka, on_reference: Callable[[str, str, bytes | None], None], on_caught_up: Callable[[], None]) -> None:
        self._kafka, self._on_reference, self._on_caught_up = kafka, on_reference, on_caught_up
        self._topic = f"{kafka.topic_prefix}.references"
        self._caught_up = False
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="references", daemon=True)

    def start(self) -> None:
        """Starts reading."""
        self._thread.start()

    def close(self) -> None:
        """Stops; blocks for a second at most."""
        self._stopped.set()
        if self._thread.ident is not None:
            self._thread.join(timeout=5.0)

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                self._read()
            except KafkaException as error:
                log.warning("references cannot be read now; beginning again", error=str(error))
                self._stopped.wait(1.0)

    def _read(self) -> None:
        consumer = ungrouped(
            self._kafka,
            f"{self._kafka.group}-references",
            {
                "auto.offset.reset": "earliest",  # where records are lost, the rest is told again; told twice does nothing
                "fetch.wait.max.ms": 100,  # the start waits for the end of every partition
                "fetch.message.max.bytes": 16 << 20,
                "allow.auto.create.topics": True,  # of any use with brokers that have no CreateTopics only
            },
        )
        partitions = range(self._kafka.partitions)
        behind = set(partitions)
        consumer.assign([TopicPartition(self._topic, p, OFFSET_BEGINNING) for p in partitions])
        try:
            while not self._stopped.is_set():
                message = consumer.poll(0.2)
                if message is None:
                    continue
                error = message.error()
                if error is None:
                    self._tell(message.key(), message.value())
                elif error.code() == KafkaError._PARTITION_EOF:
                    behind.discard(message.partition() or 0)
                    if not behind and not self._caught_up:
                        self._caught_up = True
                        self._on_caught_up()
                else:
                    log.warning("references cannot be read now", error=error.str())
                    self._stopped.wait(0.5)
        finally:
            consumer.close()

    def _tell(self, key: bytes | None, value: bytes | None) -> None:
        model, found, version = (key or b"").decode("utf-8", "replace").partition("\0")
        if not found or not model or not version:
            log.error("a record on the references topic has no `model NUL version` as its key; passed over", key=repr(key)[:200])
            return
        self._on_reference(model, version, value)
