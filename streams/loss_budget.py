"""How far a mean loss lies above the most that its owner promised, over the two windows of time of each rule of `streams.burn`."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from streams.burn import BUCKET_NS, LEAST_BAD, RULES, SURE, Rule

__all__ = ["LEAST_LABELS", "Excess", "LossRates"]

LEAST_LABELS = 100
"""Below, a mean and its spread say nothing."""
_MOST = 100.0
"""Times the promise that one label counts at most: a single row far off is no mean, and the limit errs to the quiet side."""
_MICRO = 10**6
_KEPT_NS = max(rule.long_s for rule in RULES) * 10**9


class Excess(NamedTuple):
    """The rule that holds, the mean loss over the promise in its two windows, and the labels of the long one."""

    rule: Rule
    long: float
    short: float
    n: int


class LossRates:
    """Losses of the last three days, by the time at which their labels came, a minute a bucket.

    A rule of rate r holds when the mean x of n labels over its long window is surely above r times the promise,
    x - 3 s / sqrt(n) >= r with the losses' own standard deviation s, all in units of the promise, and that of its short window is above it
    at all. Sums are whole numbers (of millionths), so that no order changes them.

    Args:
        most: What was promised: the mean loss at most, above 0.
        rules: The fastest first.

    Misleads: while there is less history than a rule's window, the rule goes by what there is. Losses that depend on one another, as of
    one customer's rows, spread more than s says.

    Example:
        >>> rates = LossRates(2.0)
        >>> rates.take(np.full(200, 3.0))
        >>> rates.close(0)
        >>> excess = rates.judge(60 * 10**9)
        >>> excess.long, excess.n, excess.rule.long_s
        (1.5, 200, 259200)
    """

    def __init__(self, most: float, rules: Sequence[Rule] = RULES) -> None:
        if not most > 0:
            raise ValueError(f"most must be above 0, got {most}")
        self.most = most
        self._rules = tuple(rules)
        self._open = [0, 0, 0]
        self._buckets: deque[list[int]] = deque()

    def take(self, losses: NDArray[np.float64]) -> None:
        """Counts labels that have come; those without a loss are NaN."""
        known = losses[~np.isnan(losses)]
        parts = np.rint(np.minimum(known / self.most, _MOST) * _MICRO).astype(np.int64).tolist()
        for k, more in enumerate((len(parts), sum(parts), sum(part * part for part in parts))):
            self._open[k] += more

    def close(self, at_ns: int) -> None:
        """What was taken since the last time came at ``at_ns``."""
        start = at_ns - at_ns % BUCKET_NS
        if self._open[0]:
            if not self._buckets or self._buckets[-1][0] < start:
                self._buckets.append([start, 0, 0, 0])
            for k, more in enumerate(self._open, 1):
                self._buckets[-1][k] += more
        self._open = [0, 0, 0]
        while self._buckets and self._buckets[0][0] < start - _KEPT_NS:
            self._buckets.popleft()

    def judge(self, now_ns: int) -> Excess | None:
        """The first of the rules that holds."""
        for rule in self._rules:
            n_short, short, _ = self._mean(now_ns, rule.short_s)
            n, long, spread = self._mean(now_ns, rule.long_s)
            if n_short >= LEAST_BAD and short >= rule.rate and n >= LEAST_LABELS and long - SURE * spread / math.sqrt(n) >= rule.rate:
                return Excess(rule, long, short, n)
        return None

    def _mean(self, now_ns: int, seconds: int) -> tuple[int, float, float]:
        """Labels, mean and standard deviation of the seconds before now."""
        some = [bucket for bucket in self._buckets if bucket[0] + BUCKET_NS > now_ns - seconds * 10**9]
        n, total, squares = (sum(bucket[k] for bucket in some) for k in (1, 2, 3))
        if not n:
            return 0, 0.0, 0.0
        return n, total / n / _MICRO, math.sqrt(max(n * squares - total * total, 0)) / n / _MICRO

    def dump(self) -> list[Any]:
        """For a snapshot; sums of squares may have more than 64 bits."""
        return [[str(part) for part in bucket] for bucket in ([0, *self._open], *self._buckets)]

    def load(self, state: list[Any]) -> None:
        """From a snapshot."""
        (_, *self._open), *buckets = ([int(part) for part in bucket] for bucket in state)
        self._buckets = deque(buckets)
