"""What the attacker talks to: the model behind its schema, which counts, remembers and at some point is enough."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from streams.gameday.service import Service

Rows = NDArray[np.float32]


class EnoughError(Exception):
    """The attacker has asked as much as it may."""


@dataclass(frozen=True)
class Space:
    """The schema as the attacker knows it: bounds, whole numbers, pictures."""

    low: Rows
    high: Rows
    integer: NDArray[np.bool_]
    image: tuple[int, ...] | None

    @property
    def span(self) -> Rows:
        """Width of each feature's range, never zero."""
        return np.asarray(np.maximum(self.high - self.low, np.float32(1e-6)), np.float32)

    def legal(self, X: NDArray[np.floating]) -> Rows:
        """The rows as a service would take them: in bounds, whole where they have to be."""
        X = np.clip(X, self.low, self.high).astype(np.float32)
        X[:, self.integer] = np.round(X[:, self.integer])
        return X

    def unit(self, X: Rows) -> Rows:
        """Rows to [0, 1]."""
        return np.asarray(np.clip((X - self.low) / self.span, 0, 1), np.float32)


@dataclass
class Oracle:
    """One attacking client's access.

    Attributes:
        asked: what was sent, batch by batch.
    """

    service: Service
    space: Space
    budget: int
    asked: list[Rows] = field(default_factory=list)
    count: int = 0

    def __call__(self, X: NDArray[np.floating]) -> Rows:
        """Answers to rows.

        Raises:
            EnoughError: the budget is spent; as many rows as it allowed were sent.
        """
        rows = self.space.legal(np.atleast_2d(X))[: max(0, self.budget - self.count)]
        self.count += len(rows)
        if len(rows):
            self.asked.append(rows)
        if len(rows) < len(X):
            raise EnoughError
        return self.service.answer(rows)

    def unit(self, X: NDArray[np.floating]) -> Rows:
        """The same for rows in [0, 1], of any shape."""
        return self(self.space.low + X.reshape(len(X), -1) * self.space.span)

    @property
    def rows(self) -> Rows:
        """All that was sent, in order."""
        return np.concatenate(self.asked) if self.asked else np.empty((0, len(self.space.low)), np.float32)
