"""What each producer of a model sent to one partition: how much arrived, and between which running numbers."""

from __future__ import annotations

import copy

import msgspec
import numpy as np
from numpy.typing import NDArray

from inferwatch import EventColumns
from schemas.windows import NUMBERS_PER_BLOCK, Producer

_BLOCKS = 32
"""Blocks of running numbers remembered for an instance beyond the last window: what is older has arrived, or never will."""
_MOST_BLOCKS = 2_048
"""Of a window; 6,990 events a second of an instance where windows are 300 s long."""


class Producers:
    """Counts by instance, those silent longest forgotten first.

    Args:
        limit: instances kept.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._by_instance: dict[str, Producer] = {}

    def count(self, events: EventColumns, once: NDArray[np.bool_], lowest: int, highest: int, received_ns: int) -> None:
        """Counts what arrived from an instance, repetitions left out, in all and by blocks of its running numbers.

        Args:
            events: of one instance.
            once: (n,) which of them were not there before.
            lowest: of their running numbers.
            highest: of them.
            received_ns: Kafka's time of the record.
        """
        producer = self._by_instance.get(events.instance)
        if producer is None:
            if len(self._by_instance) >= self._limit:
                del self._by_instance[min(self._by_instance, key=lambda name: self._by_instance[name].last_at_ns)]
            producer = Producer(service=events.service, received=0, highest=-1, lowest=lowest, last_at_ns=0, blocks={})
            self._by_instance[events.instance] = producer
        new = int(np.count_nonzero(once))
        producer.received += new
        if lowest >= 0 and lowest // NUMBERS_PER_BLOCK == highest // NUMBERS_PER_BLOCK:
            blocks = [(lowest // NUMBERS_PER_BLOCK, new)] if new else []
        else:
            numbered = events.number[once & (events.number >= 0)]
            blocks = list(zip(*np.unique(numbered // NUMBERS_PER_BLOCK, return_counts=True), strict=True))
        for block, n in blocks:
            producer.blocks[int(block)] = producer.blocks.get(int(block), 0) + int(n)
        _keep_newest(producer.blocks, _MOST_BLOCKS)
        producer.highest, producer.lowest = max(producer.highest, highest), min(producer.lowest, lowest)
        producer.last_at_ns = max(producer.last_at_ns, received_ns)

    def told(self) -> dict[str, Producer]:
        """A copy of the counts, by instance; of blocks that nobody has been told of, all, and from now on the newest only."""
        out = copy.deepcopy(self._by_instance)
        for producer in self._by_instance.values():
            _keep_newest(producer.blocks, _BLOCKS)
        return out

    def dump(self) -> bytes:
        """For a snapshot."""
        return msgspec.msgpack.encode(self._by_instance)

    def load(self, blob: bytes) -> None:
        """From a snapshot."""
        self._by_instance = msgspec.msgpack.decode(blob, type=dict[str, Producer])


def _keep_newest(blocks: dict[int, int], most: int) -> None:
    for block in sorted(blocks)[:-most] if len(blocks) > most else ():
        del blocks[block]
