"""Telemetry completeness: of what the instances produced, how much did we receive, and who fell silent?"""

from __future__ import annotations

from collections import deque
from typing import Any, Literal

import msgspec

from detectors.state import StateError, pack, unpack

TICKET_BELOW = 0.999
PERIODS = 12
_MOST = 2**46
"""Numbers above are cut to it: nobody counts so far, and sums over all instances and periods stay below 2^63."""
_KIND, _VERSION = "completeness", 1


class CompletenessReport(msgspec.Struct, frozen=True):
    """Completeness of one model over the last twelve periods.

    Attributes:
        share: received / (produced + dropped by the SDK), at most 1; 1 when nothing was produced.
        received, produced, dropped: events.
        missing: produced - received, lost on the way, at least 0.
        silent: instances not heard for `silent_after_s`, sorted, at most 100.
        instances: instances known.
        untracked: updates of instances beyond the cap; they are not in any other figure.
        severity: "page" when all known instances are silent, "ticket" when share < 99.9 %.
    """

    share: float
    received: int
    produced: int
    dropped: int
    missing: int
    silent: tuple[str, ...]
    instances: int
    untracked: int
    severity: Literal["none", "ticket", "page"]


class _Instance(msgspec.Struct):
    base: int
    highest: int
    dropped_base: int
    dropped: int
    heard_s: float
    fresh: bool = True


class Completeness:
    """Counts per instance by the producers' running numbers; time is an argument.

    A running number starts at 1 and counts events that the instance handed to the network; `dropped` counts those it had to throw away.
    An instance first heard in mid-stream is counted from the lowest number seen of it.

    Args:
        silent_after_s: seconds without a sign of life until an instance is silent, above 0.
        forget_after_s: seconds until a silent instance is forgotten (scaled in, replaced), more than `silent_after_s`.
        max_instances: cap; later ones are counted in `untracked`.

    Misleads: events still on the way at a period's end count as missing until the next period; the twelve-period sum smooths that.

    Example:
        >>> watch = Completeness(silent_after_s=60)
        >>> watch.update("a", received=990, lowest=1, highest=1000, dropped=0, at_s=10)
        >>> watch.close(20).share, watch.close(20).missing, watch.close(500).severity
        (0.99, 10, 'page')
    """

    def __init__(
        self,
        *,
        silent_after_s: float = 120.0,
        forget_after_s: float = 86_400.0,
        max_instances: int = 10_000,
        ticket_below: float = TICKET_BELOW,
    ) -> None:
        if not 0 < ticket_below < 1:
            raise ValueError(f"ticket_below must be between 0 and 1, got {ticket_below}")
        self._ticket_below = ticket_below
        if not 0 < silent_after_s < forget_after_s:
            raise ValueError(f"need 0 < silent_after_s < forget_after_s, got {silent_after_s} and {forget_after_s}")
        if max_instances < 1:
            raise ValueError(f"max_instances must be at least 1, got {max_instances}")
        self.silent_after_s, self.forget_after_s, self.max_instances = silent_after_s, forget_after_s, max_instances
        self._instances: dict[str, _Instance] = {}
        self._periods: deque[tuple[int, int, int]] = deque(maxlen=PERIODS)
        self._received = self._retired = self._retired_dropped = self._untracked = 0

    def update(self, instance: str, *, received: int, lowest: int, highest: int, dropped: int, at_s: float) -> None:
        """Take what arrived from one instance, in any order; a heartbeat has received 0 and repeats the highest number.

        Raises:
            ValueError: when received, highest or dropped is negative, or lowest is above highest + 1.
        """
        if received < 0 or highest < 0 or dropped < 0 or not 0 <= lowest <= highest + 1:
            raise ValueError(f"impossible numbers of {instance!r}: received={received} lowest={lowest} highest={highest} dropped={dropped}")
        lowest, highest, dropped, received = min(lowest, _MOST), min(highest, _MOST), min(dropped, _MOST), min(received, _MOST)
        known = self._instances.get(instance)
        if known is None:
            if len(self._instances) >= self.max_instances:
                self._untracked += 1
                return
            start = max(lowest - 1, 0) if received else highest
            self._instances[instance] = _Instance(start, highest, dropped, dropped, at_s)
        else:
            if known.fresh:
                known.base = min(known.base, max(lowest - 1, 0)) if received else known.base
                known.dropped_base = min(known.dropped_base, dropped)
            known.highest, known.dropped = max(known.highest, highest), max(known.dropped, dropped)
            known.heard_s = max(known.heard_s, at_s)
        self._received += received

    def close(self, now_s: float) -> CompletenessReport:
        """End a period and report on the last twelve."""
        produced, dropped = self._retired, self._retired_dropped
        silent = []
        for name, one in list(self._instances.items()):
            made, lost = _settle(one)
            produced, dropped = produced + made, dropped + lost
            if now_s - one.heard_s > self.forget_after_s:
                del self._instances[name]
            elif now_s - one.heard_s > self.silent_after_s:
                silent.append(name)
        self._periods.append((self._received, produced, dropped))
        self._received = self._retired = self._retired_dropped = 0
        got, made, lost = (sum(column) for column in zip(*self._periods, strict=True))
        share = min(1.0, got / (made + lost)) if made + lost else 1.0
        everyone = bool(self._instances) and len(silent) == len(self._instances)
        return CompletenessReport(
            share=share,
            received=got,
            produced=made,
            dropped=lost,
            missing=max(made - got, 0),
            silent=tuple(sorted(silent)[:100]),
            instances=len(self._instances),
            untracked=self._untracked,
            severity="page" if everyone else "ticket" if share < self._ticket_below else "none",
        )

    @property
    def last(self) -> tuple[int, int]:
        """Of the period that ended last: events lost on the way or dropped in the services, and events produced or dropped."""
        got, made, dropped = self._periods[-1] if self._periods else (0, 0, 0)
        return min(max(made - got, 0) + dropped, made + dropped), made + dropped

    def stopped(self, instance: str) -> None:
        """An instance said goodbye: what it produced still counts, its silence does not."""
        gone = self._instances.pop(instance, None)
        if gone is not None:
            made, lost = _settle(gone)
            self._retired, self._retired_dropped = self._retired + made, self._retired_dropped + lost

    def snapshot(self) -> bytes:
        """The state as bytes."""
        body: dict[str, Any] = {
            "instances": msgspec.to_builtins(self._instances),
            "periods": [list(period) for period in self._periods],
            "open": [self._received, self._retired, self._retired_dropped, self._untracked],
        }
        return pack(_KIND, _VERSION, body)

    def restore(self, blob: bytes) -> None:
        """Continue a snapshot exactly.

        Raises:
            StateError: when it is damaged.
        """
        body = unpack(blob, _KIND, _VERSION)
        try:
            instances = msgspec.convert(body["instances"], dict[str, _Instance])
            periods = msgspec.convert(body["periods"], list[tuple[int, int, int]])
            self._received, self._retired, self._retired_dropped, self._untracked = body["open"]
        except (KeyError, TypeError, ValueError, msgspec.ValidationError) as error:
            raise StateError(f"damaged {_KIND}: {error}") from error
        self._instances, self._periods = instances, deque(periods, maxlen=PERIODS)


def _settle(one: _Instance) -> tuple[int, int]:
    """Events produced and dropped since the last time, and the next period begins."""
    # drops of before our time are not ours: only an instance heard from its first event counts them all
    dropped_base = 0 if one.fresh and one.base == 0 else one.dropped_base
    made, lost = one.highest - one.base, one.dropped - dropped_base
    one.base, one.dropped_base, one.fresh = one.highest, one.dropped, False
    return made, lost
