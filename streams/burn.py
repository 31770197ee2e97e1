"""How fast an error budget is spent: bad requests over what the objective allows, in several windows of time at once.

A page needs the same rate over a long window (so that it matters) and a short one (so that it is still going on). Source: the multiwindow,
multi-burn-rate alerts of The Site Reliability Workbook, chapter 5 (Google, 2018).

A page about security spends of the same budget (`objectives.incident_share`). It is told already, so by itself it opens no second alert;
but with less budget left, requests that fail after it page after the short window, without waiting for the long one.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from typing import Any, NamedTuple

from schemas.windows import Severity

__all__ = ["BUDGET_S", "RULES", "Burn", "BurnRates", "Rule", "incident_rate"]

BUCKET_NS = 60 * 10**9
LEAST_BAD = 10
"""Bad requests that a rule needs in its short window: of a handful of requests one that fails says nothing about a rate."""
SURE = 3.0
"""Standard deviations by which the count of the long window must be above what the rule's rate gives: little traffic makes wide swings."""
_LONGEST = 3 * 86_400
BUDGET_S = 30 * 86_400
"""For how long a budget is."""
_MOST_INCIDENTS = 1_000


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
    incidents: int = 0
    """Pages about security in the long window: their share of the budget is in `long`."""


def incident_rate(share: float, incidents: int, seconds: float) -> float:
    """How many times faster than allowed these incidents within so many seconds spend a month's budget: share x incidents x 30 d / seconds.

    Example:
        >>> incident_rate(0.25, 1, 3 * 86_400)
        2.5
    """
    return share * incidents * BUDGET_S / seconds


class BurnRates:
    """Good and bad requests of the last three days, a minute a bucket.

    Args:
        allowed: Share of requests that may be bad, above 0 and below 1.
        incident_share: Share of the budget of 30 days that an incident spends, at once.
        rules: The fastest first.

    Memory: at most 4,321 buckets of three numbers, and 1,000 incidents.

    A rule holds when k bad requests of n in its long window are surely too many, k - 3 sqrt(k) >= rate x allowed x n (a Poisson count's
    standard deviation), and those of its short window too many at all. Where incidents fell into the long window, it also holds when what
    they spent makes up for what is missing there, and the bad requests of the short window are surely too many.

    Misleads: while there is less history than a rule's window, the rule goes by what there is. Requests that never reached the service
    are in no count.

    Example:
        >>> rates = BurnRates(0.001)
        >>> rates.add(0, bad=60, total=1000)
        >>> burn = rates.judge(60 * 10**9)
        >>> burn.severity, round(burn.long), burn.rule.long_s
        ('page', 60, 3600)
    """

    def __init__(self, allowed: float, incident_share: float = 0.0, rules: Sequence[Rule] = RULES) -> None:
        if not 0 < allowed < 1:
            raise ValueError(f"allowed must be between 0 and 1, got {allowed}")
        self.allowed, self.incident_share = allowed, incident_share
        self._rules = tuple(rules)
        self._buckets: deque[list[int]] = deque()
        self._incidents: dict[str, int] = {}

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

    def incident(self, identity: str, at_ns: int) -> None:
        """Counts a page about security, once however often it is told; beyond 1,000 in three days the oldest are forgotten."""
        self._incidents.setdefault(identity, at_ns)
        kept = [(one, at) for one, at in self._incidents.items() if at > at_ns - _LONGEST * 10**9]
        self._incidents = dict(kept[-_MOST_INCIDENTS:])

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
        """The first of the rules that holds, None when the budget is spent no faster than they allow."""
        for rule in self._rules:
            long, bad, total = self.rate(now_ns, rule.long_s)
            short, bad_now, total_now = self.rate(now_ns, rule.short_s)
            if short < rule.rate or bad_now < LEAST_BAD:
                continue
            incidents = sum(at > now_ns - rule.long_s * 10**9 for at in self._incidents.values())
            spent = incident_rate(self.incident_share, incidents, rule.long_s)
            if self._surely(bad, total, rule.rate) or (
                self._surely(bad, total, rule.rate - spent) and self._surely(bad_now, total_now, rule.rate)
            ):
                return Burn(rule.severity, rule, long + spent, short, bad, total, incidents)
        return None

    def _surely(self, bad: int, total: int, rate: float) -> bool:
        return bad - SURE * math.sqrt(bad) >= rate * self.allowed * total

    def dump(self) -> list[list[int]]:
        """For a snapshot: the requests."""
        return [list(bucket) for bucket in self._buckets]

    def load(self, state: list[Any], incidents: dict[str, int] | None = None) -> None:
        """From a snapshot."""
        self._buckets = deque([int(at), int(bad), int(total)] for at, bad, total in state)
        self._incidents = dict(incidents or {})

    @property
    def incidents(self) -> dict[str, int]:
        """For a snapshot: when each incident began, by its identity."""
        return dict(self._incidents)
