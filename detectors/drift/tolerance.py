"""Laws of one variable that its reference does not rule out, the one that is hardest to tell from an alternative, and the worst case of w.

Two sets hold the true law of the cells, each with its share of the reference's error probability, so the tolerance is what both hold:

- `Tube`: every cumulated share is within limits of its own. Good against shifts, whose weights rise or fall all the way.
- `Ball`: the relative entropy n KL(reference || law) is at most x. Good against changes of scale and shape, whose weights go up and
  down, where a tube allows every step its own error.

**x.** Where the borders are order statistics of a continuous variable (no ties: cells hold as many rows as their quantiles say), the masses
P of the cells, of n rows, are Dirichlet(k) whatever the law: k = rows between two borders, 1 below the minimum and above the maximum. So
E exp(s n KL(k/n || P)) = prod (k/n)^(s k) G(n) / G(n (1 - s)) prod G(k (1 - s)) / G(k) =: M(s) exactly, G the gamma function, and
x = min over s of (ln M(s) + ln 1/gamma) / s (Chernoff). With ties the cells count as fixed ones, and x solves
x - (C - 1) ln(e x / (C - 1)) = ln 1/gamma (Agrawal, "Finite-sample concentration of the multinomial in relative entropy", IEEE Trans. IT
2020). At 16 cells, 100,000 rows and gamma = 5e-5: x = 27 and 40.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import gammaln

from detectors.drift.bins import QUANTILES

Floats = NDArray[np.float64]
_LEAST = 1e-10


def taut_string(times: list[float], low: list[float], high: list[float]) -> list[float]:
    """Slopes of the shortest path through a tube; low = high at both ends.

    Args:
        times: of the knots, rising strictly, shape (m + 1,).
        low: the tube's lower side at the knots, shape (m + 1,).
        high: its upper side.

    Returns:
        The slope before each knot but the first, shape (m,).

    Example:
        >>> taut_string([0.0, 1.0, 2.0], [0.0, 1.5, 2.0], [0.0, 1.8, 2.0])
        [1.5, 0.5]
    """
    slopes: list[float] = []
    at, value, last = 0, low[0], len(times) - 1
    while at < last:
        least, most, at_least, at_most = -math.inf, math.inf, at, at
        bend = (last, low[last])
        for j in range(at + 1, last + 1):
            span = times[j] - times[at]
            down, up = (low[j] - value) / span, (high[j] - value) / span
            if down > most:
                bend = (at_most, high[at_most])
                break
            if up < least:
                bend = (at_least, low[at_least])
                break
            if down >= least:
                least, at_least = down, j
            if up <= most:
                most, at_most = up, j
        slopes += [(bend[1] - value) / (times[bend[0]] - times[at])] * (bend[0] - at)
        at, value = bend
    return slopes


def clipped(q: Floats, p: Floats, delta: float) -> Floats:
    """Ratio q / p* to the law within total variation delta of p that is hardest to tell from q: q / p clipped to [a, b] (Huber, 1965).

    b = max over sets A of Q(A) / (P(A) + delta) and a = min of Q(A) / (P(A) - delta), attained on cells with the largest and the least
    q / p. All ones when q itself is within delta.

    Example:
        >>> clipped(np.array([0.5, 0.5]), np.array([0.25, 0.75]), 0.05).round(3)
        array([1.667, 0.714])
    """
    order = np.argsort(-q / p, kind="stable")
    Q, P = np.cumsum(q[order]), np.cumsum(p[order])
    most = float((Q / (P + delta)).max())
    left = P[-1] - np.concatenate([[0.0], P[:-1]]) - delta
    rest = np.concatenate([[1.0], 1.0 - Q[:-1]])
    least = float((np.maximum(rest, 0.0) / np.where(left > 0, left, np.nan))[left > 0].min(initial=np.inf))
    return np.clip(q / p, least, most) if least < most else np.ones_like(q)


class Tube:
    """Laws with cumulated shares between `low` and `high` at the inner borders, shape (C - 1,)."""

    def __init__(self, low: Floats, high: Floats) -> None:
        # a cumulated share is at least every one before it
        self.low = np.maximum.accumulate(np.clip(low, 0.0, 1.0))
        self.high = np.minimum.accumulate(np.clip(high, 0.0, 1.0)[::-1])[::-1]

    def hardest(self, q: Floats) -> Floats:
        """The law with the least KL(q || p), for each row of `q`, shape (T, C).

        As a function of q's cumulated mass it is the shortest path through the tube: KL is the integral of a convex function of the slope,
        and the taut string minimises every such integral.
        """
        low, high = [0.0, *self.low.tolist(), 1.0], [0.0, *self.high.tolist(), 1.0]
        q = np.maximum(q, _LEAST)  # so that every cell is a step ahead, though a strong tilt leaves it next to nothing
        slopes = [taut_string([0.0, *np.cumsum(row).tolist()], low, high) for row in q]
        return np.asarray(np.maximum(slopes, 1e-6) * q, np.float64)

    def largest(self, w: Floats) -> Floats:
        """The largest expectation of w, or more, shape (T,): w_C + sum_j max(lo_j (w_j - w_j+1), hi_j (w_j - w_j+1))."""
        step = w[:, :-1] - w[:, 1:]
        return np.asarray(w[:, -1] + np.maximum(self.low * step, self.high * step).sum(axis=1), np.float64)


class Ball:
    """Laws whose relative entropy from the reference is at most x / n, among the known values; the missing ones have limits of their own.

    Args:
        counts: reference rows per cell, missing last, shape (C,).
        missing: limits of the missing share.
        gamma: probability that the true law is outside.
    """

    def __init__(self, counts: NDArray[np.int64], missing: tuple[float, float], gamma: float) -> None:
        known = counts[:-1].astype(np.float64)
        n = float(known.sum())
        self.missing = missing
        ranks = np.cumsum(known)[1:-2]
        if known[0] == 0 == known[-1] and known.size > 3 and np.isin(ranks, np.ceil(n * QUANTILES - 1e-6)).all() and known[1] > 1:
            known[0], known[1], known[-1] = 1.0, known[1] - 1.0, 1.0
            n += 1.0
            s = np.linspace(0.02, 0.98, 97)[:, None]
            log_m = (s * known * np.log(known / n) + gammaln(known * (1.0 - s)) - gammaln(known)).sum(axis=1)
            log_m += gammaln(n) - gammaln(n * (1.0 - s[:, 0]))
            x = float(((log_m - math.log(gamma)) / s[:, 0]).min())
        else:
            free = known.size - 1.0
            x = brentq(lambda y: y - free * math.log(math.e * y / free) + math.log(gamma), free, 10.0 * free - 10.0 * math.log(gamma))
        self.share, self.radius = known / n, x / n

    def hardest(self, q: Floats) -> Floats:
        """The law with the least KL(q || p), for each row: (1 - t) reference + t q with the largest t inside the ball."""
        known = q[:, :-1] / q[:, :-1].sum(axis=1, keepdims=True)
        low, high = np.zeros((len(q), 1)), np.ones((len(q), 1))
        seen = self.share > 0
        for _ in range(50):
            t = 0.5 * (low + high)
            mixed = (1.0 - t) * self.share + t * known
            inside = (self.share * np.log(np.where(seen, self.share / np.maximum(mixed, 1e-300), 1.0))).sum(axis=1) <= self.radius
            low, high = np.where(inside[:, None], t, low), np.where(inside[:, None], high, t)
        missing = np.clip(q[:, -1:], *self.missing)
        return np.hstack([(1.0 - missing) * ((1.0 - low) * self.share + low * known), np.maximum(missing, 1e-12)])

    def largest(self, w: Floats) -> Floats:
        """The largest expectation of w, or more, shape (T,).

        The law that attains it has masses in proportion to share / (l - w), l > max w falling as the radius grows; where that never
        reaches the radius, because the cell with the largest w is empty, the rest buys mass there.
        """
        inner, top = w[:, :-1], w[:, :-1].max(axis=1, keepdims=True)
        low, high = np.full((len(w), 1), -25.0), np.full((len(w), 1), 25.0)
        for _ in range(60):
            middle = 0.5 * (low + high)
            outside = self._entropy(inner, top + np.exp(middle))[0] > self.radius
            low, high = np.where(outside[:, None], middle, low), np.where(outside[:, None], high, middle)
        entropy, mean = self._entropy(inner, top + np.exp(low))
        more = 1.0 - np.exp(-np.maximum(self.radius - entropy, 0.0))
        known = (1.0 - more) * mean + more * top[:, 0]
        ends = [(1.0 - share) * known + share * w[:, -1] for share in self.missing]
        return np.asarray(np.maximum(*ends), np.float64)

    def _entropy(self, w: Floats, level: Floats) -> tuple[Floats, Floats]:
        """KL(reference || p) and the mean of w for p in proportion to share / (level - w)."""
        mass = self.share / (level - w)
        total = mass.sum(axis=1)
        return (self.share * np.log(level - w)).sum(axis=1) + np.log(total), (mass * w).sum(axis=1) / total
