"""Did everything arrive that the services sent, and who has fallen silent? Kept by a model's judge."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from detectors.completeness import Completeness, CompletenessReport
from inferwatch import Heartbeat
from schemas.rows import ProducerRow
from schemas.windows import NUMBERS_PER_BLOCK, Producer
from streams.owner import NS
from streams.saturation import kept

SILENT_AFTER_S = 60.0
"""Six of the SDK's heartbeats."""
GRACE_NS = 30 * NS
WAITED_NS = 120 * NS
"""For so long a partition is waited for that has told nothing newer: its shard is behind, or nothing came to it."""
_MAX_BLOCKS = 8_192
"""Of an instance: four windows of the most that a partition tells of one."""
_IDLE_BLOCKS = 1_024
"""The same of one whose version is asked no more, while another is."""
_MAX_SEEN = 64
FORGET_NS = 86_400 * NS
"""Silence after which an instance is gone for good: every restart of a service is a new one."""


_State = tuple[
    dict[str, Heartbeat],
    dict[str, int],
    dict[str, dict[int, Producer]],
    dict[str, dict[int, dict[int | str, int]]],
    dict[str, int],
    dict[str, list[tuple[int, int]]],
    int,
]


class Telemetry:
    """Producers' running numbers against what the partitions received.

    An instance numbers its events of a model from 0, whatever the partition. The partitions count them in blocks of numbers; a block that
    the instance had left behind a window and half a minute ago is settled: what is not there by then is missing, to the unit. "Ago" is
    by Kafka's time of what the partitions have read, the slowest of the instance's (at most two minutes behind the clock): an event that
    waits in a topic is not missing. An instance first heard in mid-stream is counted from its next block on. Producers without heartbeats
    are shown, not judged. The numbers of an instance that serves several versions of a model run through all of them: what another version
    has of a block fills it up, and what is missing in it is told of each.

    Args:
        period_ns: length of a window, and how often it is judged.
        max_instances: cap; others are not tracked.
        completeness: percent that must arrive.
    """

    def __init__(self, period_ns: int, max_instances: int, completeness: float = 99.9) -> None:
        self._period_ns, self._max = period_ns, max_instances
        self._heartbeats: dict[str, Heartbeat] = {}
        self._heard_ns: dict[str, int] = {}
        self._parts: dict[str, dict[int, Producer]] = {}
        self._blocks: dict[str, dict[int, dict[int | str, int]]] = {}
        """By instance, block and partition (of another version, with its name): events that arrived."""
        self._settled: dict[str, int] = {}
        """By instance: the last block that was judged."""
        self._highest: dict[str, list[tuple[int, int]]] = {}
        """By instance: its highest number at earlier judgements, with Kafka's times of the newest that had been read."""
        self._next_ns = 0
        self._completeness = Completeness(silent_after_s=SILENT_AFTER_S, max_instances=max_instances, ticket_below=completeness / 100)

    def partial(self, partition: int, producers: Mapping[str, Producer]) -> None:
        """Takes a partition's cumulative counts."""
        newest = max((producer.last_at_ns for producer in producers.values()), default=0)
        for instance, producer in producers.items():
            if newest - producer.last_at_ns > FORGET_NS:
                continue
            if instance in self._parts or len(self._parts) < self._max:
                self._parts.setdefault(instance, {})[partition] = producer
                self._heard_ns[instance] = max(self._heard_ns.get(instance, 0), producer.last_at_ns)
                self._take_blocks(instance, partition, producer)

    def _take_blocks(self, instance: str, partition: int, producer: Producer) -> None:
        if instance not in self._settled:
            self._settled[instance] = -1 if 0 <= producer.lowest < NUMBERS_PER_BLOCK else producer.highest // NUMBERS_PER_BLOCK
            if self._settled[instance] >= 0:  # a heartbeat may have come first, and said nothing of where its numbers begin
                self._completeness.stopped(instance)
            blocks = self._blocks.get(instance, {})
            for block in [block for block in blocks if block <= self._settled[instance]]:
                del blocks[block]
        self._hold(instance, partition, producer)

    def beside(self, version: str, partition: int, producers: Mapping[str, Producer]) -> None:
        """Takes a partition's cumulative counts of another version of the model."""
        for instance, producer in producers.items():
            if instance in self._parts or instance in self._heartbeats:
                self._hold(instance, f"{version}\0{partition}", producer)

    def _hold(self, instance: str, source: int | str, producer: Producer) -> None:
        blocks, settled = self._blocks.setdefault(instance, {}), self._settled.get(instance, -1)
        for block, n in producer.blocks.items():
            if block > settled:
                blocks.setdefault(block, {})[source] = n
        if instance not in self._settled:  # loaded and not asked yet: where its numbers will begin is not behind what others tell last
            oldest = min(producer.blocks, default=0)
            for block in [block for block in blocks if block < oldest]:
                del blocks[block]
        if len(blocks) > _MAX_BLOCKS:  # no room to wait for them: nothing of them is judged
            self._keep_newest(instance, _MAX_BLOCKS)
        elif len(blocks) > _IDLE_BLOCKS and min(blocks) >= self._totals(instance)[1] // NUMBERS_PER_BLOCK:  # all came after its last event
            self._keep_newest(instance, _IDLE_BLOCKS // 2)

    def _keep_newest(self, instance: str, most: int) -> None:
        blocks = self._blocks[instance]
        for block in sorted(blocks)[:-most]:
            del blocks[block]
        if instance in self._settled:
            self._settled[instance] = max(self._settled[instance], min(blocks) - 1)
            self._completeness.stopped(instance)

    def heartbeat(self, beat: Heartbeat, received_ns: int) -> None:
        """Takes a sign of life; a closing one says that silence afterwards is no gap."""
        if beat.closing:
            self._completeness.stopped(beat.instance)
            self._heartbeats.pop(beat.instance, None)
            return
        if beat.instance in self._heartbeats or len(self._heartbeats) < self._max:
            self._heartbeats[beat.instance] = beat
            self._heard_ns[beat.instance] = max(self._heard_ns.get(beat.instance, 0), received_ns)

    def service(self) -> str:
        """The one service whose instances were heard within a day; "" when there are several, or none."""
        names = {part.service for parts in self._parts.values() for part in parts.values()}
        names |= {beat.service for beat in self._heartbeats.values()}
        return names.pop() if len(names) == 1 else ""

    def judge(self, now_ns: int, heard_until_ns: int | None = None) -> CompletenessReport | None:
        """The verdict on the period that ended, once a period and once there are heartbeats.

        Args:
            now_ns: the time.
            heard_until_ns: until when all signs of life have been read; None: until now. Silence after it is no silence: who reads late
                would else take everybody for silent.
        """
        if now_ns < self._next_ns:
            return None
        self._forget(now_ns)
        if not self._heartbeats:
            return None
        self._next_ns = now_ns + self._period_ns
        read_ns: dict[int, int] = {}
        for parts in self._parts.values():
            for partition, part in parts.items():
                read_ns[partition] = max(read_ns.get(partition, 0), part.last_at_ns)
        for instance, beat in self._heartbeats.items():
            mine = [read_ns[partition] for partition in self._parts.get(instance, ())]
            newest, slowest = (max(mine), min(mine)) if mine else (now_ns, now_ns)
            self._judge_blocks(instance, beat, min(newest, now_ns), min(max(slowest, now_ns - WAITED_NS), now_ns), now_ns)
        return self._completeness.close((now_ns if heard_until_ns is None else min(heard_until_ns, now_ns)) / NS)

    @property
    def last(self) -> tuple[int, int]:
        """Of the period that was judged last: events lost on the way or dropped in the services, and events produced or dropped."""
        return self._completeness.last

    def set_back(self, now_ns: int) -> None:
        """The clock was ahead: no time that is kept lies beyond now."""
        self._next_ns = min(self._next_ns, now_ns)
        self._highest = {instance: [(min(at_ns, now_ns), n) for at_ns, n in seen] for instance, seen in self._highest.items()}

    def _judge_blocks(self, instance: str, beat: Heartbeat, newest_ns: int, read_ns: int, now_ns: int) -> None:
        """Settles the blocks that were left behind long enough before ``read_ns``; the instance's highest number came at ``newest_ns``."""
        _, highest, _ = self._totals(instance)
        seen = self._highest.setdefault(instance, [])
        if not seen or seen[-1][1] < highest:
            seen.append((newest_ns, highest))
        while len(seen) > 1 and read_ns - seen[1][0] >= self._period_ns + GRACE_NS:
            seen.pop(0)
        del seen[:-_MAX_SEEN]
        passed = seen[0][1] if read_ns - seen[0][0] >= self._period_ns + GRACE_NS else -1
        last = (passed + 1) // NUMBERS_PER_BLOCK - 1
        first = self._settled.get(instance, last) + 1
        if last - first > _MAX_BLOCKS:  # numbers that leap are not a service's own
            first = last + 1
        heard_s = self._heard_ns.get(instance, now_ns) / NS
        if instance not in self._settled:  # heartbeats, and no event yet: it lives, and nothing can be missing
            self._completeness.update(instance, received=0, lowest=0, highest=0, dropped=beat.dropped, at_s=heard_s)
            return
        for block in range(first, last + 1):
            received = sum(self._blocks.get(instance, {}).pop(block, {}).values())
            begin, end = block * NUMBERS_PER_BLOCK, (block + 1) * NUMBERS_PER_BLOCK
            self._completeness.update(instance, received=received, lowest=begin + 1, highest=end, dropped=beat.dropped, at_s=heard_s)
        self._settled[instance] = max(last, self._settled[instance])
        settled = (self._settled[instance] + 1) * NUMBERS_PER_BLOCK
        self._completeness.update(instance, received=0, lowest=settled, highest=settled, dropped=beat.dropped, at_s=heard_s)

    def _forget(self, now_ns: int) -> None:
        for instance in [name for name, heard_ns in self._heard_ns.items() if now_ns - heard_ns > FORGET_NS]:
            for known in (self._heartbeats, self._heard_ns, self._parts, self._blocks, self._settled, self._highest):
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
                gauges=kept(beat.gauges),
            )

    def _totals(self, instance: str) -> tuple[int, int, int]:
        parts = self._parts.get(instance, {}).values()
        received = sum(part.received for part in parts)
        highest = max((part.highest for part in parts), default=-1)
        lowest = min((part.lowest for part in parts if part.lowest >= 0), default=0)
        return received, highest, lowest

    def dump(self) -> dict[str, Any]:
        """For a snapshot."""
        state = self._heartbeats, self._heard_ns, self._parts, self._blocks, self._settled, self._highest, self._next_ns
        return {"telemetry": msgspec.msgpack.encode(state), "completeness": self._completeness.snapshot()}

    def load(self, body: dict[str, Any]) -> None:
        """From a snapshot."""
        state = msgspec.msgpack.decode(body["telemetry"], type=_State)
        self._heartbeats, self._heard_ns, self._parts, self._blocks, self._settled, self._highest, self._next_ns = state
        self._completeness.restore(body["completeness"])
