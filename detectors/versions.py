"""A new version beside the one before it: does it answer otherwise? Classes, confidence, latency and failures, by window."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from detectors.e_process import TICKET_FLOOR, ShiryaevRoberts, log_polya
from detectors.state import StateError, pack, unpack

__all__ = ["CONFIDENCE_BINS", "LATENCY_MS", "Moved", "Profile", "VersionComparison", "VersionReport", "counted"]

CLASSES = 32
"""Class shares that are compared; those beyond are one."""
CONFIDENCE_BINS = 10
LATENCY_MS = tuple(2.0**k for k in range(13))
"""Shares of answers slower than so much are compared."""
RATES = CLASSES + CONFIDENCE_BINS + len(LATENCY_MS) + 1
ODDS = (1.5, 3.0, 1 / 1.5, 1 / 3.0)
LEARNED_WINDOWS, LEARNED_EVENTS = 12, 200
"""Of the version before, from which on there is something to compare with."""
FOLLOWED_WINDOWS = 288
"""Of the new version; a day of windows of 300 s."""
MATERIAL = 0.05
"""Share of the answers that must have moved."""
MOST_ALIKE, PRIOR_RHO, PRIOR_WINDOWS, FADE = 500.0, 1.0 / 51.0, 20.0, 0.99
FEW = 10.0
"""A mean of W windows is itself uncertain: how much windows differ counts 1 + 10 / W times."""
_KIND, _VERSION = "versions.comparison", 1


def counted(
    classes: Mapping[str, int], slots: Mapping[str, int], confidence: Sequence[int], slower: Sequence[int], ok: int, errors: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Hits and trials of a window, (RATES,) each.

    Args:
        classes: answers by class.
        slots: where a class counts; the others into the last.
        confidence: answers by tenths of their confidence, empty without.
        slower: answers slower than each of `LATENCY_MS`, and how many were timed at the end.
        ok: answered requests.
        errors: failed ones.
    """
    hits, trials = np.zeros(RATES), np.zeros(RATES)
    for name, n in classes.items():
        hits[slots.get(name, CLASSES - 1)] += n
    trials[:CLASSES] = hits[:CLASSES].sum()
    if len(confidence) == CONFIDENCE_BINS:
        hits[CLASSES : CLASSES + CONFIDENCE_BINS] = confidence
        trials[CLASSES : CLASSES + CONFIDENCE_BINS] = sum(confidence)
    hits[-1 - len(LATENCY_MS) : -1], trials[-1 - len(LATENCY_MS) : -1] = slower[:-1], slower[-1]
    hits[-1], trials[-1] = errors, ok + errors
    return hits, trials


class Profile:
    """What one version answers, window by window, fading by 1 %.

    Attributes:
        windows: that were learned.
        events: answers in them, not faded.
        last: the newest of them, as the caller numbers them.
    """

    def __init__(self) -> None:
        self.windows = self.events = self.last = 0
        self.sums = np.zeros((5, RATES))
        """Hits, trials, squared deviations, their expectation for independent answers, and pairs of answers."""

    @property
    def ready(self) -> bool:
        """Whether another version can be compared with it."""
        return self.windows >= LEARNED_WINDOWS and self.events >= LEARNED_EVENTS

    def add(self, hits: NDArray[np.float64], trials: NDArray[np.float64], at: int) -> None:
        """Learns a window."""
        m = self.mean()
        variance = trials * m * (1.0 - m)
        deviation = (hits - trials * m) ** 2 if self.windows else np.zeros(RATES)
        pairs = variance * np.maximum(trials - 1.0, 0.0)
        self.sums = FADE * self.sums + np.stack([hits, trials, deviation, variance if self.windows else 0.0 * variance, pairs])
        self.windows, self.events, self.last = self.windows + 1, self.events + int(trials[0]), max(self.last, at)

    def mean(self) -> NDArray[np.float64]:
        """Share by rate, pulled to one half by one answer."""
        return np.asarray((self.sums[0] + 0.5) / (self.sums[1] + 1.0))

    def concentration(self) -> NDArray[np.float64]:
        """Of the beta-binomial law of a window; `detectors.quality` has the formula."""
        windows = min(self.windows, 1.0 / (1.0 - FADE))
        rho = np.maximum(self.sums[2] - self.sums[3], 0.0) / np.maximum(self.sums[4], 1e-9)
        rho = (windows * np.minimum(rho, 1.0) + PRIOR_WINDOWS * PRIOR_RHO) / (windows + PRIOR_WINDOWS)
        rho = np.minimum(rho * (1.0 + FEW / max(windows, 1.0)), 0.9)
        return np.asarray(np.minimum(np.minimum(1.0 / rho - 1.0, MOST_ALIKE), np.maximum(self.sums[1], 1.0)))

    def dump(self) -> dict[str, Any]:
        """For a snapshot."""
        return {"windows": self.windows, "events": self.events, "last": self.last, "sums": self.sums.copy()}

    def load(self, body: Mapping[str, Any]) -> None:
        """From a snapshot.

        Raises:
            StateError: it is none.
        """
        sums = np.asarray(body["sums"], np.float64)
        if sums.shape != self.sums.shape:
            raise StateError(f"a version's profile of shape {sums.shape}, not {self.sums.shape}")
        self.windows, self.events, self.last, self.sums = int(body["windows"]), int(body["events"]), int(body["last"]), sums.copy()


class Moved(msgspec.Struct, frozen=True):
    """A share that differs between the versions.

    Attributes:
        rate: which: a class's slot, then tenths of confidence, latencies, failures.
        before: of the version before.
        after: of the new one, over the windows that were compared.
    """

    rate: int
    before: float
    after: float


class VersionReport(msgspec.Struct, frozen=True):
    """The verdict on one window of a new version.

    Attributes:
        moved: the shares that moved most, at most five, when severity is not "none".
        windows: that were compared.
    """

    severity: Literal["none", "ticket"]
    log_evidence: float
    moved: tuple[Moved, ...]
    windows: int


class VersionComparison:
    """Shiryaev-Roberts over beta-binomial e-values of every share, at odds 1.5, 3 and their inverses: tickets, no pages.

    Null: a window's hits of the new version are beta-binomial with the mean that the version before has, and the concentration that its
    windows have between them (prior rho 1/51 for 20 windows, times 1 + 10 / windows; 500 at most): as if it were another window of the old
    one. The old version goes on learning while it is still asked. The log e-value of a window is capped so that two windows make a ticket.
    A ticket also needs a share that moved by 0.05. The new version's first window is left out: it starts cold. It is compared for 288
    windows.

    Misleads: a version that is shown to other clients first, or at another hour than the old one's windows, meets other traffic.

    Args:
        false_tickets: allowed in `windows` windows.
        windows: T.

    Example:
        >>> rng, old = np.random.default_rng(0), Profile()
        >>> def window(p):
        ...     yes = int(rng.binomial(300, p))
        ...     return counted({"a": yes, "b": 300 - yes}, {"a": 0, "b": 1}, (), [0] * 14, 300, 0)
        >>> for k in range(20):
        ...     old.add(*window(0.3), k)
        >>> same, other = VersionComparison(false_tickets=1, windows=8640), VersionComparison(false_tickets=1, windows=8640)
        >>> {same.update(*window(0.3), old).severity for _ in range(50)}, [other.update(*window(0.6), old).severity for _ in range(4)][-1]
        ({'none'}, 'ticket')
    """

    def __init__(self, *, false_tickets: float, windows: float) -> None:
        components = RATES * len(ODDS)
        self.sr = ShiryaevRoberts(np.full(components, -math.log(components)), max(windows / false_tickets, TICKET_FLOOR))
        self._cap = 0.5 * (self.sr.log_page + math.log(components)) + 0.1
        self.windows = 0
        self.sums = np.zeros((2, RATES))

    def update(self, hits: NDArray[np.float64], trials: NDArray[np.float64], before: Profile) -> VersionReport:
        """Judges a window of the new version."""
        self.windows += 1
        if self.windows == 1 or self.windows > FOLLOWED_WINDOWS or not before.ready:
            return VersionReport("none", self.sr.log_mixture, (), self.windows)
        m, c = before.mean(), before.concentration()
        there = (trials > 0) & (before.sums[1] >= LEARNED_EVENTS * 0.5)
        log_e = np.stack([np.minimum(log_polya(hits, trials, m * c, (1.0 - m) * c, odds), self._cap) for odds in ODDS])
        held = self.sr.log_r.reshape(len(ODDS), RATES)[:, ~there]
        log_e[:, ~there] = -np.logaddexp(0.0, -held)
        self.sr.update(log_e.ravel())
        self.sums += np.stack([hits, trials])
        after = self.sums[0] / np.maximum(self.sums[1], 1.0)
        size = np.where(there, np.abs(after - m), 0.0)
        evidence = np.logaddexp.reduce(self.sr.log_r.reshape(len(ODDS), RATES), axis=0)
        told = np.flatnonzero((size >= MATERIAL) & (evidence >= self.sr.log_ticket))
        if not self.sr.open or not len(told):
            return VersionReport("none", self.sr.log_mixture, (), self.windows)
        order = told[np.argsort(-size[told], kind="stable")][:5]
        moved = tuple(Moved(int(k), float(m[k]), float(after[k])) for k in order)
        return VersionReport("ticket", self.sr.log_mixture, moved, self.windows)

    def snapshot(self) -> bytes:
        """The state as bytes."""
        return pack(_KIND, _VERSION, {"sr": self.sr.state(), "windows": self.windows, "sums": self.sums})

    def restore(self, blob: bytes) -> None:
        """Continue a snapshot bit for bit.

        Raises:
            StateError: when it is damaged.
        """
        body = unpack(blob, _KIND, _VERSION)
        try:
            sums = np.asarray(body["sums"], np.float64)
            if sums.shape != self.sums.shape:
                raise ValueError(f"sums of shape {sums.shape}")
            self.sr.restore(body["sr"])
            self.windows, self.sums = int(body["windows"]), sums.copy()
        except (KeyError, TypeError, ValueError) as error:
            raise StateError(f"damaged {_KIND}: {error}") from error
