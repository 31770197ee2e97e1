"""One event between the caller and its record."""

from __future__ import annotations

import struct
from typing import Any

import msgspec

_MAX_PACKED = 32
_NUMBERS = [struct.Struct(f"{n}d") for n in range(_MAX_PACKED + 1)]


class Item(msgspec.Struct, gc=False):
    """What `Client.record` hands over; the sender fills in pseudonym and number.

    The garbage collector does not follow it: an event that waits would count towards the host's next collection, which then happens
    inside some call of `record` (0.4 ms were measured, in one call of 600). Nothing in it can refer back to it.
    """

    model: str
    version: str
    client: str
    number: int
    features: Any
    scores: Any
    at_ns: Any
    status: int
    latency_ms: Any
    value: Any
    prediction: Any
    event_id: Any
    trace_id: Any
    owner: Any
    source: Any
    cost: Any
    lineage: Any = None
    """(feature view, age in seconds), or None for neither: most events have none, and pay for none."""


def packed(numbers: Any) -> Any:
    """A few numbers as bytes, for the same reason; a tuple where they are many, or no numbers.

    Example:
        >>> unpacked(packed([0.5, 2])), packed([0.5, None])
        ((0.5, 2.0), (0.5, None))
    """
    n = len(numbers)
    if 0 < n <= _MAX_PACKED:
        try:
            return _NUMBERS[n].pack(*numbers)
        except (struct.error, TypeError, ValueError, OverflowError):
            pass
    return tuple(numbers)


def width(of: Any) -> int:
    """How many numbers these are, packed or not."""
    return len(of) // 8 if type(of) is bytes else len(of)


def unpacked(of: Any) -> Any:
    """The numbers of `packed`; the values of a mapping; anything else as it is."""
    kind = type(of)
    if kind is bytes:
        return _NUMBERS[len(of) // 8].unpack(of)
    return tuple(of.values()) if kind is dict else of
