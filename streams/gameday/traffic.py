"""Ordinary clients, simulated from the reference's rows: each has a taste of its own, comes in sittings, and some poll or send in bulk."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_MEDIAN, _SPREAD, _LEAST, _MOST = 90, 0.8, 20, 1_500
_SITTINGS = 5
_GAP_S = 6.0
_BULK = 800


@dataclass(frozen=True)
class Sent:
    """What one client sent."""

    client: str
    truth: str
    at_s: NDArray[np.float64]
    X: NDArray[np.float32]


def ordinary(X: NDArray[np.float32], clients: int, span_s: float, rng: np.random.Generator) -> Iterator[Sent]:
    """Clients who use the service as it is meant.

    Nine of ten ask rows near a point of their own, the nearer the likelier, with a reach between a twentieth of all rows and all of them;
    of the rest half polls a handful of rows and half sends a bulk in one go. Volumes are log-normal (median 90).

    Args:
        X: (n, d) the reference's rows, resampled with replacement.
        clients: how many.
        span_s: length of the recording, s.
        rng: draws everything.
    """
    scale = np.where(np.nanstd(X, axis=0) > 0, np.nanstd(X, axis=0), 1.0)
    z = np.nan_to_num(X / scale)
    for k in range(clients):
        n = int(np.clip(_MEDIAN * np.exp(rng.normal() * _SPREAD), _LEAST, _MOST))
        kind = "ordinary" if k % 10 else ("bulk" if k % 20 else "poller")
        if kind == "bulk":
            n = min(_BULK, len(X))
            rows, at = rng.permutation(len(X))[:n], rng.uniform(0.1, 0.8) * span_s + np.cumsum(rng.exponential(0.3, n))
        elif kind == "poller":
            rows, at = rng.choice(len(X), 5)[np.arange(n) % 5], np.sort(rng.uniform(0, span_s, n))
        else:
            apart = ((z - z[rng.integers(len(X))]) ** 2).sum(1)
            reach = rng.uniform(0.05, 1) * len(X)
            weight = np.exp(-np.argsort(np.argsort(apart)) / reach)
            rows, at = rng.choice(len(X), n, p=weight / weight.sum()), sittings(n, span_s, rng)
        yield Sent(f"client-{k:03d}", f"benign:{kind}", at, X[rows])


def sittings(n: int, span_s: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Times of ``n`` events in some sittings."""
    begins = np.sort(rng.uniform(0.02, 0.9, _SITTINGS)) * span_s
    each = -(-n // _SITTINGS)
    return np.sort(np.concatenate([begin + np.cumsum(rng.exponential(_GAP_S, each)) for begin in begins])[:n])
