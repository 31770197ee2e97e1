"""When a client asks: seconds from its first query, by what kind of caller it is."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Times = NDArray[np.float64]
Pace = Callable[[np.random.Generator, int], Times]
HOUR, DAY = 3600.0, 86_400.0
SPAN = 5 * DAY
"""Length of a recording in seconds."""


def sessions(rng: np.random.Generator, n: int) -> Times:
    """People: a dozen queries some seconds apart, then nothing for hours."""
    gaps = rng.exponential(8.0, n)
    gaps[rng.random(n) < 1 / 12] += rng.exponential(2 * HOUR)
    return np.cumsum(gaps)


def batch(rng: np.random.Generator, n: int) -> Times:
    """A job: 20 queries a second."""
    return np.cumsum(rng.exponential(0.05, n))


def sitting(rng: np.random.Generator, n: int) -> Times:
    """One query every second or two."""
    return np.cumsum(rng.exponential(1.5, n))


def bursts(rng: np.random.Generator, n: int) -> Times:
    """Blocks of 30 within two seconds, a quarter of an hour apart."""
    return 900.0 * (np.arange(n) // 30) + 2.0 * (np.arange(n) % 30 + rng.random(n)) / 30


def clockwork(every: float) -> Pace:
    """A machine: one query each so many seconds, give or take a hundredth."""

    def times(rng: np.random.Generator, n: int) -> Times:
        return every * (np.arange(n) + rng.uniform(0, 0.01, n))

    return times


def spread_over(seconds: float) -> Pace:
    """Patience: as many as there are, at random over so many seconds."""

    def times(rng: np.random.Generator, n: int) -> Times:
        return np.sort(rng.uniform(0, seconds, n))

    return times


def placed(pace: Pace, rng: np.random.Generator, n: int, start: float | None = None) -> Times:
    """A client's times within the recording.

    Args:
        pace: how it asks.
        rng: draws.
        n: queries, 1 or more.
        start: of its first query; none: anywhere that lets it end within the recording. What would be longer than that is pressed.

    Example:
        >>> at = placed(clockwork(60.0), np.random.default_rng(1), 100_000)
        >>> bool(at[0] >= 0 and at[-1] <= SPAN and (np.diff(at) > 0).all())
        True
    """
    at = pace(rng, n)
    begin = rng.uniform(0, max(1.0, SPAN - at[-1])) if start is None else start
    room = SPAN - begin
    return begin + (at if at[-1] <= room else at * (room / at[-1]))
