"""Ordinary clients: some dozens, with the habits that real ones have, and that a monitor must not mistake for an attack.

Pure: time goes in, requests come out. The rows are real; all have been sent once before one is sent again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from inferwatch import Status

Habit = Literal["regular", "sessions", "retry", "health_check", "form_edit"]

CLIENTS = 60
_ZIPF = 0.7
"""The k-th client sends in proportion to 1 / (k + 1) ** _ZIPF: the busiest one 8 % of all, or twice that in a session."""
_SESSION_S = 8.0
_ERRORS = {Status.ERROR: 0.004, Status.INVALID_INPUT: 0.001, Status.RATE_LIMITED: 0.001}
_AWKWARD: dict[Habit, int] = {"retry": 2, "health_check": 1, "form_edit": 2}
"""How many of the clients, and never the busiest."""
_AWKWARD_RATE = 3.0
"""Requests a second of each of them."""


@dataclass(frozen=True)
class Request:
    """One question to the model, and how the service took it."""

    client: str
    row: NDArray[np.float32]
    status: Status
    latency_ms: float


class Traffic:
    """Sixty clients of one service.

    Args:
        rows: (n, d) float32, what they ask about.
        rate: requests a second of all together, on average.
        seed: of every choice.

    Attributes:
        shift: (d,) float32, added to every row from now on: the world has changed, for all clients alike.

    Example:
        >>> rows = np.random.default_rng(0).normal(size=(1000, 3)).astype(np.float32)
        >>> requests = Traffic(rows, rate=200, seed=1).until(2.0)
        >>> 300 < len(requests) < 500, len({request.client for request in requests}) > 30
        (True, True)
    """

    def __init__(self, rows: NDArray[np.float32], rate: float, seed: int) -> None:
        if not 50 <= rate <= 5_000:
            raise ValueError(f"rate must be 50 to 5000 requests a second, got {rate:g}")
        self.shift = np.zeros(rows.shape[1], np.float32)
        self._rng = np.random.default_rng(seed)
        self._rows, self._used = rows, 0
        self._now = 0.0
        self.habits = _habits(self._rng)
        awkward = [habit in _AWKWARD for habit in self.habits.values()]
        weights = 1.0 / np.arange(1, CLIENTS + 1) ** _ZIPF
        weights[awkward] = 0.0
        self._rates = np.where(awkward, _AWKWARD_RATE, weights / weights.sum() * (rate - _AWKWARD_RATE * sum(awkward)))
        self._busy = self._rng.random(CLIENTS) < 0.5
        self._held = {client: self._fresh() for client, habit in self.habits.items() if habit in _AWKWARD}

    @property
    def clients(self) -> tuple[str, ...]:
        """Their names, busiest first."""
        return tuple(self.habits)

    def until(self, now: float) -> list[Request]:
        """What they ask from the last call's time to this one, in seconds since the start; in no particular order of clients."""
        passed, self._now = max(now - self._now, 0.0), max(now, self._now)
        in_sessions = np.array([habit == "sessions" for habit in self.habits.values()])
        self._busy ^= self._rng.random(CLIENTS) < -np.expm1(-passed / _SESSION_S)
        rates = np.where(in_sessions, 2.0 * self._rates * self._busy, self._rates)
        counts = self._rng.poisson(rates * passed)
        asked = [client for client, n in zip(self.habits, counts.tolist(), strict=True) for _ in range(n)]
        self._rng.shuffle(asked)
        statuses = self._rng.choice([Status.OK, *_ERRORS], len(asked), p=[1 - sum(_ERRORS.values()), *_ERRORS.values()])
        latencies = self._rng.lognormal(np.log(9.0), 0.45, len(asked))
        return [
            Request(client, self._next(client) + self.shift, Status(int(status)), float(latency))
            for client, status, latency in zip(asked, statuses, latencies, strict=True)
        ]

    def _next(self, client: str) -> NDArray[np.float32]:
        habit = self.habits[client]
        if habit == "retry" and self._rng.random() < 0.2:
            self._held[client] = self._fresh()
        elif habit == "form_edit":
            self._held[client] = self._edited(self._held[client])
        return self._held[client] if habit in _AWKWARD else self._fresh()

    def _edited(self, row: NDArray[np.float32]) -> NDArray[np.float32]:
        """A person changes one field of the form; after a while they begin another."""
        if self._rng.random() < 0.1:
            return self._fresh()
        column = int(self._rng.integers(len(row)))
        edited = row.copy()
        edited[column] = self._rows[self._rng.integers(len(self._rows)), column]
        return edited

    def _fresh(self) -> NDArray[np.float32]:
        row: NDArray[np.float32] = self._rows[self._used % len(self._rows)]
        self._used += 1
        return row


def _habits(rng: np.random.Generator) -> dict[str, Habit]:
    """By name, busiest first."""
    habits: list[Habit] = ["sessions" if rng.random() < 0.5 else "regular" for _ in range(CLIENTS)]
    places = rng.choice(np.arange(CLIENTS // 3, CLIENTS), sum(_AWKWARD.values()), replace=False)
    awkward = [habit for habit, n in _AWKWARD.items() for _ in range(n)]
    for place, habit in zip(places.tolist(), awkward, strict=True):
        habits[place] = habit
    return {
        f"{habit.replace('_', '-') if habit in _AWKWARD else 'client'}-{number:02d}": habit
        for number, habit in zip(rng.permutation(CLIENTS).tolist(), habits, strict=True)
    }
