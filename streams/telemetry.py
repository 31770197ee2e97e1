"""Did everything arrive that the services sent, and who has fallen silent? Kept by a model's judge."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from detectors.completeness import Completeness, CompletenessReport
from inferwatch import Heartbeat
from schemas.rows import ProducerRow
from schemas.windows import Producer
from streams.owner import NS

SILENT_AFTER_S = 60.0
"""Six of the SDK's heartbeats."""
FORGET_NS = 86_400 * NS
"""Silence after which an instance is gone for good: every restart of a service is a new one."""


class Telemetry:
    """Producers' running numbers against what the partitions received.

    Partitions report at different moments, so what is judged is the highest number of *one period ago* against all that came since: an
    event counts as missing when it is not there a whole period later. Producers without heartbeats are shown, not judged.

    Args:
        period_ns: how often it is judged.
        max_instances: cap; others are not tracked.
    """

    def __init__(self, period_ns: int, max_instances: int) -> None:
        self._period_ns, self._max = period_ns, max_instances
        self._heartbeats: dict[str, Heartbeat] = {}
        self._heard_ns: dict[str, int] = {}
        self._parts: dict[str, dict[int, Producer]] = {}
        self._judged: dict[str, tuple[int, int]] = {}
        """By instance: received in all and highest number, at the last judgement."""
        self._next_ns = 0
        self._completeness = Completeness(silent_after_s=SILENT_AFTER_S, max_instances=max_instances)

    def partial(self, partition: int, producers: Mapping[str, Producer]) -> None:
        """Takes a partition's cumulative counts."""
        newest = max((producer.last_at_ns for producer in producers.values()), default=0)
        for instance, producer in producers.items():
            if newest - producer.last_at_ns > FORGET_NS:
                continue
            if instance in self._parts or len(self._parts) < self._max:
                self._parts.setdefault(instance, {})[partition] = producer
                self._heard_ns[instance] = max(self._heard_ns.get(instance, 0), producer.last_at_ns)

    def heartbeat(self, beat: Heartbeat, received_ns: int) -> None:
        """Takes a sign of life; a closing one says that silence afterwards is no gap."""
        if beat.closing:
            self._completeness.stopped(beat.instance)
            self._heartbeats.pop(beat.instance, None)
            return
        if beat.instance in self._heartbeats or len(self._heartbeats) < self._max:
            self._heartbeats[beat.instance] = beat
            self._heard_ns[beat.instance] = max(self._heard_ns.get(beat.instance, 0), received_ns)

    def judge(self, now_ns: int) -> CompletenessReport | None:
        """The verdict on the period that ended, once a period and once there are heartbeats."""
        if now_ns < self._next_ns:
            return None
        self._forget(now_ns)
        if not self._heartbeats:
            return None
        self._next_ns = now_ns + self._period_ns
        for instance, beat in self._heartbeats.items():
            received, highest, lowest = self._totals(instance)
            before, settled = self._judged.get(instance, (0, 0))
            heard_s = self._heard_ns.get(instance, now_ns) / NS
            self._completeness.update(
                instance,
                received=max(received - before, 0),  # a shard that lost its state counts from 0 again
                lowest=min(lowest + 1, settled + 1),
                highest=settled,
                dropped=beat.dropped,
                at_s=heard_s,
            )
            self._judged[instance] = received, max(highest + 1, settled)
        return self._completeness.close(now_ns / NS)

    def _forget(self, now_ns: int) -> None:
        for instance in [name for name, heard_ns in self._heard_ns.items() if now_ns - heard_ns > FORGET_NS]:
            for known in (self._heartbeats, self._heard_ns, self._parts, self._judged):
                known.pop(instance, None)

    def rows(self, model: str, version: str, at_ns: int) -> Iterator[ProducerRow]:
        """One row an instance: what it says it sent, beside what arrived."""
        for instance, parts in self._parts.items():
            beat = self._heartbeats.get(instance, Heartbeat())
            received, highest, _ = self._totals(instance)
            produced = beat.sent + beat.dropped
            yield ProducerRow(
                service=next(iter(parts.values())).service,
                instance=instance,
                model=model,
                version=version,
                at=at_ns,
                accepted=beat.accepted,
                sent=beat.sent,
                dropped=beat.dropped,
                received=received,
                highest_number=max(highest, 0),
                rss_bytes=beat.rss_bytes,
                cpu_seconds=beat.cpu_seconds,
                completeness=min(received / produced, 1.0) if produced else None,
            )

    def _totals(self, instance: str) -> tuple[int, int, int]:
        parts = self._parts.get(instance, {}).values()
        received = sum(part.received for part in parts)
        highest = max((part.highest for part in parts), default=-1)
        lowest = min((part.lowest for part in parts if part.lowest >= 0), default=0)
        return received, highest, lowest

    def dump(self) -> dict[str, Any]:
        """For a snapshot."""
        state = self._heartbeats, self._heard_ns, self._parts, self._judged, self._next_ns
        return {"telemetry": msgspec.msgpack.encode(state), "completeness": self._completeness.snapshot()}

    def load(self, body: dict[str, Any]) -> None:
        """From a snapshot."""
        kind = tuple[dict[str, Heartbeat], dict[str, int], dict[str, dict[int, Producer]], dict[str, tuple[int, int]], int]
        self._heartbeats, self._heard_ns, self._parts, self._judged, self._next_ns = msgspec.msgpack.decode(body["telemetry"], type=kind)
        self._completeness.restore(body["completeness"])
