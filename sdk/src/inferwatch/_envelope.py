"""Messages into Kafka records: key, partition and the CloudEvents headers."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator

import msgspec

from inferwatch._account import Ledger
from inferwatch._contract import CONTENT_TYPE_COLUMNS, CONTENT_TYPE_JSON, Heartbeat
from inferwatch._partition import partition_of_key
from inferwatch._process import cpu_seconds, rss_bytes
from inferwatch._settings import Settings
from inferwatch._transport import Record


class Envelopes:
    """Makes the records of one instance."""

    def __init__(self, settings: Settings) -> None:
        self._prefix = settings.topic_prefix
        self._source = f"/{settings.service}/{settings.instance}"
        self._instance = settings.instance
        self._numbers = itertools.count()

    def events(self, payload: bytes, partition: int) -> Record:
        """A columnar record. It has no key: it holds many clients of one partition."""
        return self._record("events", "events", CONTENT_TYPE_COLUMNS, partition, None, payload)

    def signal(self, topic: str, kind: str, model: str, payload: bytes, partitions: int) -> Record:
        """A JSON message about a model; its key is the model."""
        return self._record(topic, kind, CONTENT_TYPE_JSON, partition_of_key(model, partitions), model, payload)

    def _record(self, topic: str, kind: str, content_type: str, partition: int, key: str | None, payload: bytes) -> Record:
        headers = {
            "content-type": content_type,
            "ce_specversion": "1.0",
            "ce_type": f"inferwatch.{kind}.v1",
            "ce_source": self._source,
            "ce_id": f"{self._instance}:{next(self._numbers)}",
        }
        encoded = [(name, value.encode("utf-8", "replace")) for name, value in headers.items()]
        return Record(f"{self._prefix}.{topic}", partition, None if key is None else key.encode("utf-8", "replace"), payload, encoded)


def heartbeats(events: Ledger, settings: Settings, gauges: dict[str, float], *, closing: bool) -> Iterator[tuple[str, bytes]]:
    """Model and JSON of the heartbeat of each model version.

    An event counts from when the sender took it from the queue, and one that was refused from that moment, so each account adds up.
    """
    refused: dict[tuple[str, str], int] = {}
    for (model, version, _), n in events.refused().items():
        events.stream(model, version)
        refused[model, version] = refused.get((model, version), 0) + n
    for (model, version), stream in list(events.streams.items()):
        lost = refused.get((model, version), 0)
        heartbeat = Heartbeat(
            model=model,
            version=version,
            service=settings.service,
            instance=settings.instance,
            at=time.time_ns(),
            accepted=stream.taken + lost,
            sent=stream.sent,
            dropped=stream.dropped + lost,
            queued=stream.taken - stream.sent - stream.dropped,
            rss_bytes=rss_bytes(),
            cpu_seconds=cpu_seconds(),
            closing=closing,
            pseudonym_key_id=settings.key_id,
            gauges=gauges,
        )
        yield model, msgspec.json.encode(heartbeat)
