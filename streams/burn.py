"""How fast an error budget is spent: bad requests over what the objective allows, in several windows of time at once.

A page needs the same rate over a long window (so that it matters) and a short one (so that it is still going on). Source: the multiwindow,
multi-burn-rate alerts of The Site Reliability Workbook, chapter 5 (Google, 2018).
"""

from __future__ import annotations

import math
from collections import deque
from typing import Any, NamedTuple

from schemas.windows import Severity

__all__ = ["RULES", "Burn", "BurnRates", "Rule"]

BUCKET_NS = 60 * 10**9
LEAST_BAD = 10
"""Bad requests that a rule needs in its short window: of a handful of requests one that fails says nothing about a rate."""
SURE = 3.0
"""Standard deviations by which the count of the long window must be above what the rule's rate gives: little traffic makes wide swings."""
_LONGEST = 3 * 86_400


class Rule(NamedTuple):
    """Burning ``rate`` times as fast as allowed over both windows is of this severity."""

    rate: float
    long_s: int
    short_s: int
    severity: Severity


RULES = (
    Rule(14.4, 3_600, 300, "page"),
    Rule(6.0, 6 * 3_600, 1_800, "page"),
    Rule(1.0, _LONGEST, 6 * 3_600, "ticket"),
)
"""2 % of a month's budget in an hour, 5 % in six hours: page; 10 % in three days: ticket."""


class Burn(NamedTuple):
    """The rule that holds, and how fast the budget is spent in its two windows."""

    severity: Severity
    rule: Rule
    long: float
    short: float
    bad: int
    total: int
    """Of the long window, as the bad ones."""


class BurnRates:
    """Good and bad requests of the last three days, a minute a bucket.

    Args:
        allowed: Share of requests that may be bad, above 0 and below 1.

    Memory: at most 4,321 buckets of three numbers.

    A rule holds when k bad requests of n in its long window are surely too many, k - 3 sqrt(k) >= rate x allowed x n (a Poisson count's
    standard deviation), and those of its short window too many at all.

    Misleads: while there is less history than a rule's window, the rule goes by what there is. Requests that never reached the service
    are in no count.

    Example:
        >>> rates = BurnRates(0.001)
        >>> rates.add(0, bad=60, total=1000)
        >>> burn = rates.judge(60 * 10**9)
        >>> burn.severity, round(burn.long), burn.rule.long_s
        ('page', 60, 3600)
    """

    def __init__(self, allowed: float) -> None:
        if not 0 < allowed < 1:
            raise ValueError(f"allowed must be between 0 and 1, got {allowed}")
        self.allowed = allowed
        self._buckets: deque[list[int]] = deque()

    def add(self, at_ns: int, *, bad: int, total: int) -> None:
        """Counts the requests of a window that begins at ``at_ns``; an old one counts into the oldest bucket that is kept after it."""
        start = at_ns - at_ns % BUCKET_NS
        if not self._buckets or self._buckets[-1][0] < start:
            self._buckets.append([start, 0, 0])
        bucket = next((one for one in reversed(self._buckets) if one[0] <= start), self._buckets[0])
        bucket[1] += min(bad, total)
        bucket[2] += total
        while self._buckets[0][0] < self._buckets[-1][0] - _LONGEST * 10**9:
            self._buckets.popleft()

    def rate(self, now_ns: int, seconds: float) -> tuple[float, int, int]:
        """How many times faster than allowed the budget was spent in the seconds before now; bad requests, and all."""
        since = now_ns - round(seconds * 1e9)
        bad = total = 0
        for at, b, n in reversed(self._buckets):
            if at + BUCKET_NS <= since:
                break
            bad, total = bad + b, total + n
        return (bad / total / self.allowed if total else 0.0), bad, total

    def judge(self, now_ns: int) -> Burn | None:
        """The first of `RULES` that holds, None when the budget is spent no faster than they allow."""
        for rule in RULES:
            long, bad, total = self.rate(now_ns, rule.long_s)
            short, bad_now, _ = self.rate(now_ns, rule.short_s)
            at_least = bad - SURE * math.sqrt(bad)
            if at_least >= rule.rate * self.allowed * total and short >= rule.rate and bad_now >= LEAST_BAD:
                return Burn(rule.severity, rule, long, short, bad, total)
        return None

    def dump(self) -> list[list[int]]:
        """For a snapshot."""
        return [list(bucket) for bucket in self._buckets]

    def load(self, state: list[Any]) -> None:
        """From a snapshot."""
        self._buckets = deque([int(at), int(bad), int(total)] for at, bad, total in state)
