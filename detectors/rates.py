"""Rates against their own history: did one of several yes/no rates of a model rise, more than its windows ever differed?"""

from __future__ import annotations

import math
from typing import Any, Literal

import msgspec
import numpy as np
from numpy.typing import ArrayLike, NDArray

from detectors.e_process import TICKET_FLOOR, ShiryaevRoberts, least_log_polya
from detectors.state import StateError, arrays_like, pack, unpack

__all__ = ["RateMonitor", "RateReport"]

RATE_ODDS = (3.0, 10.0, 50.0)
MOST_ALIKE = 500.0
"""Concentration of the beta-binomial at most: however alike windows were, the next may differ."""
PRIOR_RHO, PRIOR_WINDOWS = 1.0 / 51.0, 20.0
MOST_SURPRISING = 30.0
"""Times the expected variance that one window's deviation may say about how much windows differ: one burst must not make a rate deaf."""
FADE = 0.99
WARM_UP_WINDOWS = 12
LATE_WINDOWS = 8
"""Windows with trials that a window waits for before it is history: a rise of few trials a window takes so many to be told, and must not be
usual by then."""
_HISTORY = ("hits", "misses", "squares", "alone", "pairs", "learned")
_WAITING = ("waiting", "waited")
_KIND, _VERSION = "rates.monitor", 2


class RateReport(msgspec.Struct, frozen=True):
    """The verdict on one window.

    Attributes:
        severity: "ticket" while an episode is open.
        log_evidence: ln of the mixture.
        leading: the rate with the most evidence.
        rate: of it, in this window.
        usual: of it, in the windows before.
        hits: of it, in this window.
        trials: of it, in this window.
    """

    severity: Literal["none", "ticket"]
    log_evidence: float
    leading: int
    rate: float
    usual: float
    hits: int
    trials: int


class RateMonitor:
    """Shiryaev-Roberts over beta-binomial e-values, one per rate and odds in {3, 10, 50}; it opens tickets, no pages.

    Null: a window's hits are beta-binomial(n, m c, (1 - m) c): m the mean of past windows (fading by 1 % a window, with a prior), c the
    concentration, 1 / rho - 1 but at most 500, and rho the correlation of two trials of a window by moments (`detectors.quality` has the
    formula; prior 1/51 for 20 windows). The e-value is the least of this one and that of a rate that never differed (c = all past trials):
    by the first alone a rate of 0.05 % that stood still was a ticket for months. The ticket level is A = T / b, but 20 at least. The log
    e-value of a window is capped so that two windows make a ticket and one does not. A rate's first twelve windows with trials are history
    only; a window without trials of a rate leaves it as it was (its e-value is R / (R + 1), at most 1). After them a window becomes history
    eight windows later, so that few trials a window can add up before a rise looks usual. Nothing is learned while a ticket is open, nor of
    the windows that still waited when it opened. A ticket closes when its evidence is gone, or when the last eight windows with trials
    of each rate that it is about, taken together, are no evidence of a rise (e <= 1).

    Misleads: what was so in the first twelve windows is usual. Whoever raises a rate slowly enough becomes usual too.

    Args:
        size: how many rates, K. The evidence that a ticket takes grows by ln K.
        false_tickets: allowed in `windows` windows, b.
        windows: T.
        prior: hits and misses that are known before any window, broadcast to (K,), above 0.
        warm_up: windows with trials of a rate that are history only.
        late: windows with trials after which a window is history.
        moments: False: how much windows differ is not learned; the concentration is that of the prior and what was seen, 50 at most.

    Memory: 110 bytes a rate, and 24 for each window that waits. Cost: 0.2 ms, and 2 us a rate.

    Source: the Polya predictive as exact null of a rate with random effects; `e_process.least_log_polya`.

    Example:
        >>> monitor = RateMonitor(2, false_tickets=1, windows=8640)
        >>> [monitor.update([0, 1], [100, 100]).severity for _ in range(20)][-1]
        'none'
        >>> [monitor.update([30, 1], [100, 100]).severity for _ in range(2)], monitor.report().leading
        (['none', 'ticket'], 0)
    """

    def __init__(
        self,
        size: int,
        *,
        false_tickets: float,
        windows: float,
        prior: tuple[ArrayLike, ArrayLike] = (0.5, 10.0),
        warm_up: int = WARM_UP_WINDOWS,
        late: int = LATE_WINDOWS,
        moments: bool = True,
    ) -> None:
        if size < 1:
            raise ValueError(f"size must be at least 1, got {size}")
        if not (false_tickets > 0 and math.isfinite(windows) and windows > 0):
            raise ValueError(f"false_tickets and windows must be greater than 0, got {false_tickets} and {windows}")
        if late < 0:
            raise ValueError(f"late must be at least 0, got {late}")
        self.size, self._warm_up, self._late, self._moments = size, warm_up, late, moments
        self._prior = tuple(np.broadcast_to(np.asarray(part, np.float64), (size,)) for part in prior)
        if any(not (part > 0).all() for part in self._prior):
            raise ValueError("the prior's hits and misses must be greater than 0")
        components = size * len(RATE_ODDS)
        self.sr = ShiryaevRoberts(np.full(components, -math.log(components)), max(windows / false_tickets, TICKET_FLOOR))
        self._cap = 0.5 * (self.sr.log_page + math.log(components)) + 0.1
        for name in _HISTORY:
            setattr(self, name, np.zeros(size))
        self.waiting = np.zeros((late, 3, size))
        """Hits, trials and what was usual of the windows that are not history yet; the next place of a rate is `waited` modulo `late`."""
        self.waited = np.zeros(size)
        self._report: RateReport | None = None

    hits: NDArray[np.float64]
    misses: NDArray[np.float64]
    squares: NDArray[np.float64]
    alone: NDArray[np.float64]
    pairs: NDArray[np.float64]
    learned: NDArray[np.float64]

    def update(
        self, hits: ArrayLike, trials: ArrayLike, *, judge: ArrayLike = True, learn: ArrayLike = True, at_least: ArrayLike = 0.0
    ) -> RateReport:
        """Judge one closed, merged window.

        Args:
            hits: (K,) S, between 0 and `trials`.
            trials: (K,) n.
            judge: (K,) or one; False: this rate's window is no evidence, whatever it says.
            learn: (K,) or one; False: this rate's window is not history.
            at_least: (K,) or one, below 1; what else is known of the window says that the rate may be so high without a fault.

        Raises:
            ValueError: of another shape, or hits beyond 0 to trials.
        """
        hits, trials = np.asarray(hits, np.float64), np.asarray(trials, np.float64)
        if hits.shape != (self.size,) or trials.shape != (self.size,) or not ((hits >= 0) & (hits <= trials)).all():
            raise ValueError(f"need {self.size} hits between 0 and their trials, got shapes {hits.shape} and {trials.shape}")
        before = self._prior[0] + self.hits, self._prior[1] + self.misses
        past = before[0] + before[1]
        usual = np.maximum(before[0] / past, np.asarray(at_least, np.float64))
        there, was_open = trials > 0, self.sr.open
        if there.any():
            sizes = np.minimum(past, self._concentration()), past
            log_e = np.stack([least_log_polya(hits, trials, usual, sizes, odds) for odds in RATE_ODDS])
            log_e = np.minimum(log_e, self._cap)
            idle = ~(there & (self.learned >= self._warm_up) & np.broadcast_to(np.asarray(judge, bool), (self.size,)))
            self.sr.update(np.where(np.tile(idle, len(RATE_ODDS)), self.sr.idle, log_e.ravel()))
            told = there & np.broadcast_to(np.asarray(learn, bool), (self.size,))
            if self.sr.open != was_open:  # what waited until now is of the episode, or of its beginning: no history, and not of its end
                self.waited[:] = 0.0
            if self.sr.open:
                self._over(hits, trials, usual, sizes, told)
            else:
                self._take(hits, trials, usual, told)
        by_rate = np.logaddexp.reduce(self.sr.log_r.reshape(len(RATE_ODDS), self.size), axis=0)
        k = int(by_rate.argmax())
        n, s = int(trials[k]), int(hits[k])
        severity: Literal["none", "ticket"] = "ticket" if self.sr.open else "none"
        self._report = RateReport(severity, self.sr.log_mixture, k, s / max(n, 1), float(usual[k]), s, n)
        return self._report

    def _over(
        self,
        hits: NDArray[np.float64],
        trials: NDArray[np.float64],
        usual: NDArray[np.float64],
        sizes: tuple[NDArray[np.float64], NDArray[np.float64]],
        there: NDArray[np.bool_],
    ) -> None:
        """Forgets the evidence of rates whose last eight windows with trials, taken together, speak of no rise.

        Of few trials a window, or against a usual that few windows told, it would take for ever to go by itself.
        """
        if not self._late:
            return
        self._wait(hits, trials, usual, there)
        all_hits, all_trials = self.waiting[:, 0].sum(0), self.waiting[:, 1].sum(0)
        log_e = np.logaddexp.reduce([least_log_polya(all_hits, all_trials, usual, sizes, odds) for odds in RATE_ODDS], axis=0)
        over = (self.waited >= self._late) & (log_e <= math.log(len(RATE_ODDS)))
        if over.any():
            self.sr.forget(np.tile(over, len(RATE_ODDS)))
            self.waited[over] = 0.0

    def _wait(self, hits: NDArray[np.float64], trials: NDArray[np.float64], usual: NDArray[np.float64], waits: NDArray[np.bool_]) -> None:
        """A window takes the place of the oldest one that waits."""
        place = (self.waited[waits] % self._late).astype(np.intp)
        self.waiting[place, :, np.flatnonzero(waits)] = np.stack([hits, trials, usual]).T[waits]
        self.waited = self.waited + waits

    def _take(self, hits: NDArray[np.float64], trials: NDArray[np.float64], usual: NDArray[np.float64], there: NDArray[np.bool_]) -> None:
        """A window comes to wait, and the one whose place it takes becomes history; the first twelve, and all where none waits, at once."""
        if not self._late:
            self._learn(hits, trials, usual, there)
            return
        waits = there & (self.learned >= self._warm_up)
        full = waits & (self.waited >= self._late)
        oldest = self.waiting[(self.waited % self._late).astype(np.intp), :, np.arange(self.size)].T
        self._wait(hits, trials, usual, waits)
        hits, trials, usual = np.where(waits, oldest, np.stack([hits, trials, usual]))
        self._learn(hits, trials, usual, np.where(waits, full, there))

    def _learn(self, hits: NDArray[np.float64], trials: NDArray[np.float64], usual: NDArray[np.float64], there: NDArray[np.bool_]) -> None:
        fade = np.where(there, FADE, 1.0)
        hits, trials = np.where(there, hits, 0.0), np.where(there, trials, 0.0)
        variance = usual * (1.0 - usual) * trials
        rho = 1.0 / (self._concentration() + 1.0)
        most = MOST_SURPRISING * variance * (1.0 + np.maximum(trials - 1.0, 0.0) * rho)
        self.hits, self.misses = fade * self.hits + hits, fade * self.misses + trials - hits
        self.squares, self.alone = fade * self.squares + np.minimum((hits - trials * usual) ** 2, most), fade * self.alone + variance
        self.pairs = fade * self.pairs + variance * np.maximum(trials - 1.0, 0.0)
        self.learned = self.learned + there

    def _concentration(self) -> NDArray[np.float64]:
        if not self._moments:
            return np.full(self.size, 1.0 / PRIOR_RHO - 1.0)
        windows = np.minimum(self.learned, 1.0 / (1.0 - FADE))
        rho = np.maximum(self.squares - self.alone, 0.0) / np.maximum(self.pairs, 1e-9)
        rho = (windows * np.minimum(rho, 1.0) + PRIOR_WINDOWS * PRIOR_RHO) / (windows + PRIOR_WINDOWS)
        return np.asarray(np.minimum(1.0 / rho - 1.0, MOST_ALIKE))

    def evidence(self) -> NDArray[np.float64]:
        """Natural logarithm of the mean over odds of each rate's evidence, (K,)."""
        return np.asarray(np.logaddexp.reduce(self.sr.log_r.reshape(len(RATE_ODDS), self.size), axis=0) - math.log(len(RATE_ODDS)))

    def usual(self) -> NDArray[np.float64]:
        """Mean rates so far, (K,)."""
        return np.asarray((self._prior[0] + self.hits) / (self._prior[0] + self.hits + self._prior[1] + self.misses))

    def report(self) -> RateReport | None:
        """The verdict of the last window."""
        return self._report

    def snapshot(self) -> bytes:
        """The state as bytes."""
        return pack(_KIND, _VERSION, {"sr": self.sr.state()} | {name: getattr(self, name) for name in (*_HISTORY, *_WAITING)})

    def restore(self, blob: bytes) -> None:
        """Continue a snapshot bit for bit.

        Raises:
            StateError: when it is damaged.
        """
        body: dict[str, Any] = unpack(blob, _KIND, _VERSION)
        try:
            history = arrays_like(self, (*_HISTORY, *_WAITING), body)
            if not (np.isfinite(history["waited"]) & (history["waited"] >= 0)).all():
                raise ValueError("a number of windows that waited is none")
            self.sr.restore(body["sr"])
        except (KeyError, TypeError, ValueError) as error:
            raise StateError(f"damaged {_KIND}: {error}") from error
        for name, values in history.items():
            setattr(self, name, values.copy())
        self._report = None
