"""One client's flood: does it ask far more than it ever did, and a large part of all that is asked?"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detectors.membership.slots import Layout, Slots

__all__ = ["ClientRates", "Flood"]

FACTORS = (4.0, 16.0, 64.0)
"""Alternatives: so many times the usual rate."""
WARM_UP_WINDOWS = 12
"""Active windows of a client before it is judged."""
PRIOR_CV2, PRIOR_WINDOWS = 1.0, 5.0
SHAPES = (0.02, 4.0)
"""Of the gamma law of a client's rate between windows, at least and at most."""
MATERIAL = 8.0
"""A flood is at least so many times the client's own mean, ..."""
SHARE = 0.1
"""... and at least this share of the events of the window (of its partition) ..."""
LEAST = 50
"""... and so many events."""
COMMON_CLIENTS = 8
"""Others with a history from which on what all do more is no client's own."""
LEARN_AFTER = 12
"""Windows of a flood after which, or at whose end, it becomes history: a nightly job is news in its first night."""
FADE = 0.99
_LAYOUT: Layout = {
    "history": ("float64", (3,), 0.0),
    "pending": ("float64", (3,), 0.0),
    "log_r": ("float64", (len(FACTORS),), -np.inf),
    "over": ("bool", (), False),
}


@dataclass(frozen=True)
class Flood:
    """A client over the level.

    Attributes:
        slot: whose.
        events: of it in the window.
        usual: in its active windows before, on average.
        share: of the window's events.
        ln_evidence: nats.
        fresh: it was not over the level in its window before.
    """

    slot: int
    events: int
    usual: float
    share: float
    ln_evidence: float
    fresh: bool


class ClientRates:
    """Shiryaev-Roberts a client over negative binomial e-values: its events in a window at 4, 16 and 64 times its own rate.

    Null: the events of a window in which the client asks at all are negative binomial: mean m, its own mean so far (fading by 1 % a
    window), shape a = 1 / cv^2 by moments beyond Poisson (prior cv^2 = 1 for 5 windows; 0.02 to 4). ln e = n ln(f (a + m) / (a + f m)) -
    a ln((a + f m) / (a + m)), mixed over f, capped so that two windows make a ticket. What eight or more others ask more in the same
    window, by their median and at most tenfold, is no client's own: m is multiplied by it. The level is ln A = ln(T / b), T events of
    clients in 30 days, at least as many as windows of clients, so false tickets of all clients together are at most b under the null.

    Gates, which only take tickets away: eight times its mean, a tenth of the partition's events in that window, 50 events.

    A flood is held back from history until it ends or has lasted twelve windows. Then it is usual: a nightly job is told once or twice.

    Misleads: a client in its first twelve active windows has no rate of its own and is not judged; many accounts that flood together are
    what all do. A partition with one client has no others.

    Args:
        ln_level: ln A.
        capacity: client slots to begin with.

    Memory: 73 bytes a client. Cost: nothing an event, 1 us a client that was there at the end of a window.

    Example:
        >>> rates, rng = ClientRates(ln_level=14.7, capacity=16), np.random.default_rng(0)
        >>> slots = np.arange(16)
        >>> for _ in range(30):
        ...     found = rates.update(slots, rng.poisson(20, 16))
        >>> found, [[(one.slot, one.fresh) for one in rates.update(slots, np.r_[1000, np.full(15, 20)])] for _ in range(3)]
        ([], [[], [(0, True)], [(0, False)]])
    """

    def __init__(self, *, ln_level: float, capacity: int = 1024) -> None:
        if not 0 < ln_level < 600:
            raise ValueError(f"ln_level must be above 0 and below 600, got {ln_level}")
        self._level = ln_level
        self._cap = 0.5 * (ln_level + math.log(len(FACTORS))) + 0.1
        self._slots = Slots(_LAYOUT, capacity)

    @property
    def bytes_per_client(self) -> int:
        """Memory of one slot."""
        return self._slots.bytes_per_row

    def update(self, slots: NDArray[np.integer[Any]], events: NDArray[np.integer[Any]]) -> list[Flood]:
        """Judges a closed window; who is over the level, in the order given.

        Args:
            slots: (n,) different clients that were there.
            events: (n,) of each, above 0.
        """
        columns = self._slots.arrays
        history, pending, log_r = columns["history"][slots], columns["pending"][slots], columns["log_r"][slots]
        n = np.asarray(events, np.float64)
        windows = np.maximum(history[:, 0], 1e-9)
        mean = np.maximum(history[:, 1] / windows, 1e-3)
        judged = history[:, 0] >= WARM_UP_WINDOWS * 0.9  # twelve, faded
        usual = mean * self._common(n, mean, judged)
        beyond = np.maximum(history[:, 2] / windows - mean**2 - mean, 0.0) / mean**2
        cv2 = (history[:, 0] * beyond + PRIOR_WINDOWS * PRIOR_CV2) / (history[:, 0] + PRIOR_WINDOWS)
        a = np.clip(1.0 / cv2, *SHAPES)[:, None]
        m, f = usual[:, None], np.array(FACTORS)
        log_e = n[:, None] * np.log(f * (a + m) / (a + f * m)) - a * np.log((a + f * m) / (a + m))
        stepped = np.maximum(log_r, 0.0) + np.log1p(np.exp(-np.abs(log_r))) + np.minimum(log_e, self._cap)
        log_r = np.where(judged[:, None], np.minimum(stepped, self._level + 3.0), -np.inf)
        evidence = np.logaddexp.reduce(log_r, axis=1) - math.log(len(FACTORS))
        share = n / max(n.sum(), 1.0)
        large = (n >= MATERIAL * usual) & (share >= SHARE) & (n >= LEAST)
        over = (evidence >= self._level) & large
        self._learn(history, pending, n, judged & (n >= MATERIAL * usual))
        found = [
            Flood(int(slots[k]), int(n[k]), float(mean[k]), float(share[k]), float(evidence[k]), not columns["over"][slots[k]])
            for k in np.flatnonzero(over).tolist()
        ]
        columns["history"][slots], columns["pending"][slots], columns["log_r"][slots] = history, pending, log_r
        columns["over"][slots] = over
        return found

    @staticmethod
    def _common(n: NDArray[np.float64], mean: NDArray[np.float64], judged: NDArray[np.bool_]) -> float:
        """How much more than usual the others ask, 1 to 10."""
        if int(judged.sum()) < COMMON_CLIENTS:
            return 1.0
        return float(np.clip(np.median(n[judged] / mean[judged]), 1.0, 10.0))

    @staticmethod
    def _learn(history: NDArray[Any], pending: NDArray[Any], n: NDArray[np.float64], held: NDArray[np.bool_]) -> None:
        """Adds a window to the clients' history, or to what waits to become it."""
        now = np.stack([np.ones(len(n)), n, n * n], axis=1)
        pending[held] += now[held]
        done = (pending[:, 0] > 0) & (~held | (pending[:, 0] >= LEARN_AFTER))
        history[~held] = FADE * history[~held] + now[~held]
        history[done] += pending[done]
        pending[done] = 0.0

    def over(self, slots: NDArray[np.integer[Any]]) -> NDArray[np.bool_]:
        """Which of these clients were over the level in the window in which they were seen last."""
        return np.asarray(self._slots.arrays["over"][slots])

    def resize(self, capacity: int) -> None:
        """More or fewer client slots; the first ones keep what they hold."""
        self._slots.resize(capacity)

    def clear(self, slots: NDArray[np.integer[Any]]) -> None:
        """Forget these clients."""
        self._slots.clear(slots)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The state of the slots, by name: row = slot. To copy rows from, and to put them back; good until the next `resize`."""
        return self._slots.arrays
