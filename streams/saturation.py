"""Which instances have had a resource nearly used up for some time, by the gauges that their heartbeats carry."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec

from inferwatch import Heartbeat

__all__ = ["Full", "Saturation", "kept"]

_SUFFIX = "_share"
_CPU = "cpu_share"
_QUIET_NS = 60 * 10**9
"""A gauge that is told no more, or as no number, says nothing."""
_PER_INSTANCE = 8


def kept(gauges: dict[str, float]) -> dict[str, float]:
    """The gauges of a heartbeat that are stored and followed: eight that are numbers, by name, those that saturation is told of first.

    Example:
        >>> kept({"queue": 3.0, "gpu_share": 0.4, "lost": float("nan")})
        {'gpu_share': 0.4, 'queue': 3.0}
    """
    names = sorted((name for name, value in gauges.items() if math.isfinite(value)), key=lambda name: (not name.endswith(_SUFFIX), name))
    return {name: gauges[name] for name in names[:_PER_INSTANCE]}


class Full(NamedTuple):
    """A resource of an instance that is nearly used up."""

    service: str
    instance: str
    gauge: str
    share: float
    since_ns: int


class _Gauge(msgspec.Struct):
    service: str
    instance: str
    name: str
    share: float
    since_ns: int
    heard_ns: int


class Saturation:
    """The gauges named ``..._share`` (0 to 1) of one model version's instances.

    ``memory_share`` and ``cpu_share`` the SDK tells by itself; ``queue_share`` or ``gpu_memory_share`` where a service calls ``gauge`` with
    a limit, or by that name.

    Args:
        share: From which on a resource is nearly used up.
        seconds: For how long without a break until it is told.
        cpu_seconds: The same of ``cpu_share``.
        most: Instances that are followed, eight gauges of each.

    Example:
        >>> watch, ns = Saturation(0.9, 60, 600, 10), 10**9
        >>> for second in range(0, 80, 10):
        ...     watch.heartbeat(Heartbeat(service="shop", instance="a", gauges={"memory_share": 0.95}), second * ns)
        >>> [(one.gauge, one.share) for one in watch.full(70 * ns)]
        [('memory_share', 0.95)]
    """

    def __init__(self, share: float, seconds: float, cpu_seconds: float, most: int) -> None:
        self._share, self._most = share, most * _PER_INSTANCE
        self._for_ns, self._cpu_for_ns = round(seconds * 1e9), round(cpu_seconds * 1e9)
        self._gauges: dict[str, _Gauge] = {}

    def heartbeat(self, beat: Heartbeat, at_ns: int) -> None:
        """Takes the gauges of a heartbeat; a closing one has none."""
        for name, share in kept(beat.gauges).items():
            if not name.endswith(_SUFFIX):
                continue
            key = f"{beat.service}\0{beat.instance}\0{name}"
            held = self._gauges.get(key)
            if beat.closing or share < self._share:
                self._gauges.pop(key, None)
            elif held is None or at_ns - held.heard_ns > _QUIET_NS:
                if held is not None or len(self._gauges) < self._most:
                    self._gauges[key] = _Gauge(beat.service, beat.instance, name, share, at_ns, at_ns)
            else:
                held.share, held.heard_ns = share, max(held.heard_ns, at_ns)

    def full(self, now_ns: int) -> Iterator[Full]:
        """What is nearly used up now, and has been for long enough."""
        for key in [key for key, one in self._gauges.items() if now_ns - one.heard_ns > _QUIET_NS]:
            del self._gauges[key]
        for one in self._gauges.values():
            if one.heard_ns - one.since_ns >= (self._cpu_for_ns if one.name == _CPU else self._for_ns):
                yield Full(one.service, one.instance, one.name, one.share, one.since_ns)

    def dump(self) -> bytes:
        """For a snapshot."""
        return msgspec.msgpack.encode(self._gauges)

    def load(self, state: Any) -> None:
        """From a snapshot."""
        self._gauges = msgspec.msgpack.decode(state, type=dict[str, _Gauge])
