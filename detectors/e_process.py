"""E-values and the Shiryaev-Roberts recursion: how a budget of false pages becomes a threshold, with a proof.

Let e_t >= 0 with E[e_t | past] <= 1 as long as nothing is wrong. Then R_t = (R_{t-1} + 1) e_t, R_0 = 0, makes R_t - t a supermartingale, so
paging when R_t >= A and starting again gives **at most T / A expected false pages in any T windows**, whatever the dependence. A mixture
sum_k w_k R^(k) with sum w_k = 1 has the same bound, so features, sides and effect sizes share one threshold and cost only ln K of evidence.

Everything works on logarithms: a strong drift overflows a float64 within two windows.

Source: Shin, Ramdas, Rinaldo, "E-detectors: a nonparametric framework for sequential change detection", NEJSDS 2023, arXiv 2203.03532.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray
from scipy.special import betaln

Severity = Literal["none", "ticket", "page"]

TICKET_FRACTION = 0.01
"""A ticket is opened at A / 100: a ticket budget of a hundred times the page budget, from the same state."""

TICKET_FLOOR = 20.0
"""... but never below 20 (or A / 2): with a generous budget every twentieth window would otherwise be a ticket."""

ODDS = (1.3, 1.8, 3.0)
"""Alternatives to the null's edge, as odds ratios: a small, a middling and a large change."""


def page_threshold(windows: float, false_pages: float) -> float:
    """A = T / b, the level of R at which `false_pages` are expected in `windows` windows at most.

    "At most a 5 % chance of any false page" is ``false_pages=0.05``: three nats more evidence than one page.

    Args:
        windows: T, number of updates the budget covers (5-minute windows: 8,640 in 30 days), above 0.
        false_pages: b, false pages allowed in those windows, the detector's share already taken, above 0 and below T.

    Raises:
        ValueError: when either is out of its range.

    Example:
        >>> page_threshold(8640, 1)
        8640.0
    """
    if not (math.isfinite(windows) and windows > 0):
        raise ValueError(f"windows must be finite and greater than 0, got {windows}")
    if not 0 < false_pages < windows:
        raise ValueError(f"false_pages must be greater than 0 and less than windows ({windows}), got {false_pages}")
    return windows / false_pages


def shift_odds(p: ArrayLike, odds: ArrayLike) -> NDArray[np.float64]:
    """The probability whose odds are `odds` times those of p: o p / (1 - p + o p).

    Example:
        >>> shift_odds(0.5, 3.0).item()
        0.75
    """
    p, odds = np.asarray(p, np.float64), np.asarray(odds, np.float64)
    return np.asarray(odds * p / (1.0 - p + odds * p), np.float64)


def log_bernoulli(hits: ArrayLike, trials: ArrayLike, u: ArrayLike, q: ArrayLike) -> NDArray[np.float64]:
    """Natural logarithm of of the likelihood ratio S ln(q/u) + (n-S) ln((1-q)/(1-u)).

    E[e] <= 1 for every true rate on u's side of q: each factor is linear in the rate and equals 1 at u. It depends only on sums, so counts
    of many partitions are added first and it is computed once. Effective (fractional, smaller) counts keep the bound, by Jensen.

    Args:
        hits: S, events in the cell.
        trials: n, events in all; broadcast with `hits`, `u`, `q`.
        u: edge of the null, strictly between 0 and 1.
        q: the alternative, strictly between 0 and 1; above u tests for an increase, below u for a decrease.

    Example:
        >>> log_bernoulli(30, 100, 0.1, 0.3).round(2).item()
        15.37
    """
    hits, trials = np.asarray(hits, np.float64), np.asarray(trials, np.float64)
    u, q = np.asarray(u, np.float64), np.asarray(q, np.float64)
    return np.asarray(hits * np.log(q / u) + (trials - hits) * np.log1p((u - q) / (1.0 - u)), np.float64)


def log_sr_step(log_r: NDArray[np.float64], log_e: NDArray[np.float64]) -> NDArray[np.float64]:
    """One step of R <- (R + 1) e in logarithms; R = 0 is -inf. Returns a new array.

    Example:
        >>> log_sr_step(np.array([-np.inf]), np.array([2.0])).item()
        2.0
    """
    # as logaddexp(log_r, 0), but exp and log of whole arrays take several numbers per instruction
    return np.asarray(np.maximum(log_r, 0.0) + np.log(1.0 + np.exp(-np.abs(log_r))) + log_e, np.float64)


def log_mean_exp(values: NDArray[np.float64], log_weights: ArrayLike | None = None) -> float:
    """Natural logarithm of sum_k w_k exp(v_k), uniform weights by default: the mixture of several recursions. -inf for no evidence at all.

    Example:
        >>> round(log_mean_exp(np.log([1.0, 3.0])), 6)
        0.693147
    """
    if not values.size:
        return -math.inf
    weighted = values + (-math.log(values.size) if log_weights is None else np.asarray(log_weights, np.float64))
    top = float(weighted.max())
    if not math.isfinite(top):
        return top
    return top + math.log(float(np.exp(weighted - top).sum()))


def log_polya(hits: ArrayLike, trials: ArrayLike, a: ArrayLike, b: ArrayLike, odds: float) -> NDArray[np.float64]:
    """Natural logarithm of e of a window against the beta-binomial predictive of a rate with its own history.

    Question: did *this* rate change? Null: the window's hits are beta-binomial(n, a, b), where (a, b) are the prior plus what was seen
    before, so a source that always was odd stays quiet. Alternative: the same with the odds of the mean multiplied by `odds`, at equal
    a + b. The ratio of two probability mass functions has expectation exactly 1 under the first.

    Args:
        hits: S, in 0..n.
        trials: n.
        a: prior and past hits, above 0.
        b: prior and past misses, above 0.
        odds: above 1 tests for an increase.

    Example:
        >>> log_polya(9, 10, 1.0, 9.0, 3.0).item() > log_polya(1, 10, 1.0, 9.0, 3.0).item()
        True
    """
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    hits, trials = np.asarray(hits, np.float64), np.asarray(trials, np.float64)
    mean = shift_odds(a / (a + b), odds)
    a1, b1 = mean * (a + b), (1.0 - mean) * (a + b)
    misses = trials - hits
    return np.asarray(betaln(hits + a1, misses + b1) - betaln(a1, b1) - betaln(hits + a, misses + b) + betaln(a, b), np.float64)


def least_log_polya(hits: ArrayLike, trials: ArrayLike, usual: ArrayLike, sizes: Sequence[ArrayLike], odds: float) -> NDArray[np.float64]:
    """Logarithm of e of `log_polya`, whichever of these concentrations a + b the null has: the least of several is one under each of them.

    A small rate that stands still is not what windows that differ much would have, whose null alone would call it news for ever.

    Args:
        hits: S, in 0..n.
        trials: n.
        usual: mean a / (a + b) of the null, above 0 and below 1.
        sizes: concentrations a + b: of windows that differ, and of a rate that never did (all past events).
        odds: as there.

    Example:
        >>> both = least_log_polya(9, 10, 0.1, (10.0, 1000.0), 3.0)
        >>> bool(both == min(log_polya(9, 10, 1.0, 9.0, 3.0), log_polya(9, 10, 100.0, 900.0, 3.0)))
        True
    """
    mean = np.asarray(usual, np.float64)
    of = [log_polya(hits, trials, mean * np.asarray(size), (1.0 - mean) * np.asarray(size), odds) for size in sizes]
    return np.asarray(np.minimum.reduce(of), np.float64)


def e_bh(log_e: NDArray[np.float64], alpha: float) -> NDArray[np.intp]:
    """Which of K streams to name: e-BH, false discovery rate <= alpha under arbitrary dependence, strongest first.

    The largest k with e_(k) >= K / (alpha k). A strong stream lowers the bar for the weak ones ("piggybacking"), so what follows the first
    is a list to look at, never a reason to page. Source: Wang and Ramdas, "False discovery rate control with e-values", JRSSB 2022.

    Example:
        >>> e_bh(np.log([5000.0, 0.5, 300.0]), 0.05)
        array([0, 2])
    """
    if not 0 < alpha < 1:
        raise ValueError(f"alpha must be between 0 and 1, got {alpha}")
    order = np.argsort(-log_e, kind="stable")
    ranks = np.arange(1, log_e.size + 1)
    passing = np.flatnonzero(log_e[order] >= math.log(log_e.size / alpha) - np.log(ranks)) if log_e.size else ranks
    return order[: passing[-1] + 1] if passing.size else order[:0]


ROOM = 1e-3
"""Nats by which a held component stays above its level: rounding must not keep it below."""

OLDEST = 65_535
"""Steps that `since` can look back."""

LEAST = -87.0
"""Its exponential is lost when added to 1, and the last that is not subnormal in float32, which takes ten times as long."""

_MARGIN = 0.01
"""Nats, for weights that sum to 1 but for rounding."""

_MAXIMA = {"nnan", "nsz"}
"""Largest of several at once; sums stay in their order."""
_AT_ONCE = 32


@njit(cache=True, nogil=True)
def _any_above(values, level):  # type: ignore[no-untyped-def]  # compiled
    """Whether any is; they are counted, which takes several at once."""
    count = 0
    for k in range(values.size):
        count += values[k] > level
    return count > 0


@njit(cache=True, nogil=True, fastmath=_MAXIMA)
def _begin(log_r, cusum, age, log_e, log_weights, of, log_page, least, blocks, out):  # type: ignore[no-untyped-def]  # compiled
    """One step of the CUSUMs; -|ln R|, or `LEAST`, of the blocks of 32 in which that is above `least`, one after the other into `out`.

    In the others ln(1 + R) is ln R or 0 to the last bit. Where the blocks begin goes into `blocks`; returns how many they are. What is
    left of a multiple of 32 is a block, too. Several loops, since each alone takes several at once; caps are looked for where one is near.
    """
    for k in range(log_r.size):
        older = np.uint16(age[k] + np.uint16(age[k] < OLDEST))
        age[k] = older if cusum[k] > 0.0 else np.uint16(0)
    for k in range(log_r.size):
        cusum[k] = max(cusum[k] + log_e[k], 0.0)
    if _any_above(cusum, log_page - log_weights[-1]):
        for k in range(log_r.size):
            cusum[k] = min(cusum[k], log_page - log_weights[of[k]])
    for k in range(log_r.size):
        out[k] = max(-abs(log_r[k]), LEAST)
    near, whole = 0, log_r.size // _AT_ONCE * _AT_ONCE
    for first in range(0, whole if _any_above(out, least) else 0, _AT_ONCE):
        most = out[first]
        for i in range(_AT_ONCE):
            most = max(most, out[first + i])
        if most > least:
            blocks[near] = first
            for i in range(_AT_ONCE):
                out[near * _AT_ONCE + i] = out[first + i]
            near += 1
    for k in range(whole, log_r.size):
        out[near * _AT_ONCE + k - whole] = out[k]
    blocks[near] = whole
    return near + 1


@njit(cache=True, nogil=True, fastmath=_MAXIMA)
def _finish(log_r, log_e, log_weights, of, log_page, may_page, blocks, near, room):  # type: ignore[no-untyped-def]  # compiled
    """Let ln R <- ln(R + 1) + ln e, at most at its cap, `room` holding ln(1 + exp(-|ln R|)) of the blocks; it is 0 in the others."""
    for b in range(near):
        first, at = blocks[b], b * _AT_ONCE
        for i in range(min(_AT_ONCE, log_r.size - first)):
            room[at + i] = max(log_r[first + i], 0.0) + room[at + i] + log_e[first + i]
    for k in range(log_r.size):
        log_r[k] = max(log_r[k], 0.0) + log_e[k]
    for b in range(near):
        first, at = blocks[b], b * _AT_ONCE
        for i in range(min(_AT_ONCE, log_r.size - first)):
            log_r[first + i] = room[at + i]
    if not may_page:
        for k in range(log_r.size):
            log_r[k] = min(log_r[k], log_page - np.log(2.0))
    elif _any_above(log_r, log_page - log_weights[-1]):
        for k in range(log_r.size):
            log_r[k] = min(log_r[k], log_page - log_weights[of[k]] + ROOM)


@njit(cache=True, nogil=True, fastmath=_MAXIMA)
def _largest(values):  # type: ignore[no-untyped-def]  # compiled
    """Of all, 32 at once, which a compiler does not find in a single maximum."""
    some = np.full(_AT_ONCE, -np.inf, values.dtype)
    whole = values.size // _AT_ONCE * _AT_ONCE
    for k in range(0, whole, _AT_ONCE):
        part = values[k : k + _AT_ONCE]
        for i in range(_AT_ONCE):
            some[i] = max(some[i], part[i])
    for k in range(whole, values.size):
        some[0] = max(some[0], values[k])
    top = some[0]
    for i in range(_AT_ONCE):
        top = max(top, some[i])
    return top


@njit(cache=True, nogil=True, fastmath=_MAXIMA)
def _weigh(log_r, log_weights, of, room):  # type: ignore[no-untyped-def]  # compiled
    """The largest ln(w R); the others' distance from it, or `LEAST`, is left in `room`."""
    for k in range(log_r.size):
        room[k] = log_r[k] + log_weights[of[k]]
    top = _largest(room)
    if top > -np.inf:
        for k in range(log_r.size):
            room[k] = max(room[k] - top, LEAST)
    return top


class ShiryaevRoberts:
    """A mixture of Shiryaev-Roberts recursions with one page threshold, and an episode that closes by itself.

    Guarantee: expected false page *episodes* in T updates <= T / A. A page opens when M = sum w_k R^(k) >= A. While it is open, each R^(k)
    is held at A / w_k at most, so that it can come down when the cause is gone; when M falls below A / 100 the episode closes and all start
    at 0. (R + A * pages - t stays a supermartingale: capping and restarting only lower R.)

    Args:
        log_weights: ln w_k, shape (K,), sum w_k = 1.
        threshold: A, above 1.
        dtype: of ln R. float32 is off by a millionth of a nat and takes half the time, for mixtures of thousands.

    Memory: 12 bytes a component in float32, 16 in float64.
    """

    def __init__(self, log_weights: NDArray[np.float64], threshold: float, dtype: type[np.float32 | np.float64] = np.float64) -> None:
        if not threshold > 1:
            raise ValueError(f"threshold must be greater than 1, got {threshold}")
        if abs(log_mean_exp(np.zeros_like(log_weights), log_weights)) > 1e-6:
            raise ValueError("log_weights must be the logarithms of weights that sum to 1")
        distinct, of = np.unique(log_weights.astype(dtype), return_inverse=True)
        self._weights: NDArray[Any] = distinct
        self._of = of.astype(np.uint8 if distinct.size <= 1 << 8 else np.uint16 if distinct.size <= 1 << 16 else np.uint32)
        self.log_page = math.log(threshold)
        self.log_ticket = math.log(max(threshold * TICKET_FRACTION, min(threshold / 2.0, TICKET_FLOOR)))
        self.log_r: NDArray[Any] = np.full(log_weights.shape, -np.inf, dtype)
        self.cusum = np.zeros(log_weights.shape, np.float32)
        self._age = np.zeros(log_weights.shape, np.uint16)
        self._least = math.log(float(np.finfo(dtype).eps) / 4.0)  # its exponential added to 1 is 1
        self.steps = 0
        self.open = False

    @property
    def log_weights(self) -> NDArray[Any]:
        """Natural logarithms of w_k, shape (K,)."""
        return np.asarray(self._weights[self._of])

    @property
    def since(self) -> NDArray[np.int32]:
        """The step at which a component's evidence began to grow, shape (K,): the last time the CUSUM max(0, W + ln e) was 0.

        65,535 steps back at most.
        """
        return np.maximum(self.steps - 1 - self._age.astype(np.int32), 0)

    @property
    def idle(self) -> NDArray[Any]:
        """Natural logarithm of R / (R + 1), shape (K,): e of what had nothing to judge, which leaves R as it is (1 would add to it)."""
        return np.asarray(-np.logaddexp(0.0, -self.log_r))

    @property
    def log_mixture(self) -> float:
        """Natural logarithm of M of now."""
        return log_mean_exp(self.log_r, self.log_weights)

    def update(self, log_e: NDArray[Any], *, may_page: bool = True) -> tuple[Severity, bool]:
        """Take one window's ln e of every component.

        Args:
            log_e: shape (K,).
            may_page: False holds M below A (its cap is A / 2), so that what happened while uncalibrated cannot page later at once.

        Returns:
            severity ("none", "ticket", "page") and whether a page episode opened just now.
        """
        room, blocks = np.empty_like(self.log_r), np.empty(self.log_r.size // _AT_ONCE + 1, np.int32)
        law = log_e, self._weights, self._of, self.log_page
        near = _begin(self.log_r, self.cusum, self._age, *law, self._least, blocks, room)
        some = room[: near * _AT_ONCE]
        np.exp(some, out=some)
        some += 1.0
        np.log(some, out=some)
        _finish(self.log_r, *law, may_page, blocks, near, room)
        self.steps += 1
        level = self._level(room)
        opened = may_page and not self.open and level >= self.log_page
        self.open = self.open or opened
        if self.open and level < self.log_ticket:
            self.reset()
            return "none", False
        if self.open:
            return "page", opened
        return ("ticket" if level >= self.log_ticket else "none"), False

    def _level(self, room: NDArray[Any]) -> float:
        """Natural logarithm of M, or -inf where no single R is near a ticket: M is a mean of them. `room` is to write in."""
        if not _any_above(self.log_r, self.log_ticket - _MARGIN):
            return -math.inf
        top = _weigh(self.log_r, self._weights, self._of, room)
        return float(top + math.log(float(np.exp(room, out=room).sum()))) if math.isfinite(top) else float(top)

    def reset(self) -> None:
        """Forget all evidence (a new model version, a new reference); the number of steps goes on."""
        self.log_r[:], self.cusum[:] = -np.inf, 0.0
        self._age[:] = 0
        self.open = False

    def forget(self, components: NDArray[Any]) -> None:
        """Forget the evidence of some components, (K,) bool: what they told of is over. Less R is no more than was allowed."""
        self.log_r[components], self.cusum[components] = -np.inf, 0.0
        self._age[components] = 0

    def state(self) -> dict[str, object]:
        """What `restore` needs, for `detectors.state.pack`."""
        return {"log_r": self.log_r.copy(), "cusum": self.cusum.copy(), "since": self.since, "steps": self.steps, "open": self.open}

    def restore(self, state: dict[str, object]) -> None:
        """Continue from `state` bit for bit.

        Raises:
            ValueError: when it was taken from a mixture of another size.
        """
        log_r, cusum = np.asarray(state["log_r"], self.log_r.dtype), np.asarray(state["cusum"], np.float32)
        since = np.asarray(state["since"], np.int32)
        if not log_r.shape == cusum.shape == since.shape == self._of.shape:
            raise ValueError(f"state of {log_r.size} components cannot continue a mixture of {self._of.size}")
        self.steps, self.open = int(str(state["steps"])), bool(state["open"])
        self.log_r, self.cusum = log_r.copy(), cusum.copy()
        self._age = np.clip(self.steps - 1 - since.astype(np.int64), 0, OLDEST).astype(np.uint16)
