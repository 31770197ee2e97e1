"""Has this event been seen before? Exactly-once counting is a statistical assumption: a batch counted twice squares its evidence."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from detectors.arrays import plain
from inferwatch import EventColumns

_SLOTS, _WAYS = 1 << 16, 8


class RecentEvents:
    """The ids of the last events of one model on one partition, as 64-bit hashes in 8,192 sets of 8 (512 KB).

    Question: did an event with this id come before? A set forgets its oldest id at the ninth: of the last k others, an id survives
    while fewer than 8 fell into its set, P(Poisson(k / 8,192) < 8): .9999 after 10,000, .95 after 32,000. Two different ids are taken for
    one with probability 2^-51 a pair.
    Events without id and running number can't be told apart, and are never duplicates. 0.02 us an event, 0.7 us with ids of their own.
    """

    def __init__(self, table: NDArray[np.uint64] | None = None) -> None:
        self.table = np.zeros(_SLOTS, np.uint64) if table is None else table

    def seen(self, keys: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """Which of these keys were there already, in this batch or before; all are remembered. Key 0 is never seen."""
        return np.asarray(_seen(self.table, keys), np.bool_)


def keys_of(events: EventColumns) -> NDArray[np.uint64]:
    """A 64-bit key an event: of its id, else of its producer and running number, else 0. The same in every process."""
    keys = _of_producer(events, events.service)
    if events.event_id is not None:
        table = np.array([_hash(value) for value in events.event_id.values] + [0], np.uint64)
        given = table[events.event_id.codes]
        keys = np.where(given != 0, given, keys)
    return keys


def hash_of_client(name: str) -> int:
    """A client's 64-bit hash, never 0; the same in every process."""
    return _hash(name) | 1


def keys_of_ids(events: EventColumns, keys: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """A 64-bit key of each event's id as a label names it: the given one, else ``instance:number``, which says no service; else 0.

    Args:
        events: a batch.
        keys: what `keys_of` says of it.
    """
    if not events.service:
        return keys
    numbered = _of_producer(events, "")
    return numbered if events.event_id is None else np.where(events.event_id.codes >= 0, keys, numbered)


def keys_of_id(event_id: str) -> tuple[int, int]:
    """The keys that an event with this id may have in `keys_of_ids`: as a given id, and as ``instance:number`` (0 when it is none).

    Example:
        >>> keys_of_id("order-17")[1], keys_of_id("web-1:17")[1] == keys_of_id("web-1:18")[1]
        (0, False)
    """
    instance, colon, number = event_id.rpartition(":")
    if not (colon and number.isascii() and number.isdigit() and len(number) < 19) or str(int(number)) != number:
        return _hash(event_id), 0
    return _hash(event_id), int(_numbered(np.uint64(_hash("\0" + instance)), np.array([int(number)]))[0])


def _of_producer(events: EventColumns, service: str) -> NDArray[np.uint64]:
    return np.asarray(_numbered(np.uint64(_hash(service + "\0" + events.instance)), plain(events.number)), np.uint64)


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")


@njit(cache=True)
def _numbered(producer: Any, number: Any) -> Any:
    """splitmix64 of producer + number: neighbouring numbers must not share low bits."""
    keys = np.empty(len(number), np.uint64)
    for i in range(len(number)):
        if number[i] < 0:
            keys[i] = 0
            continue
        z = np.uint64(producer) + np.uint64(number[i]) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        keys[i] = z ^ (z >> np.uint64(31))
    return keys


@njit(cache=True)
def _seen(table: Any, keys: Any) -> Any:
    out = np.zeros(len(keys), np.bool_)
    sets = np.uint64(len(table) // _WAYS - 1)
    for i in range(len(keys)):
        if keys[i] == 0:
            continue
        first = np.int64(keys[i] & sets) * _WAYS
        for k in range(first, first + _WAYS):
            if table[k] == keys[i]:
                out[i] = True
                break
        else:
            for k in range(first + _WAYS - 1, first, -1):
                table[k] = table[k - 1]
            table[first] = keys[i]
    return out
