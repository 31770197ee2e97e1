"""An attacking client: it asks through the schema until its budget is spent, and says whom it is after."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from bench.services.tables import Rows
from bench.services.world import World
from streams.gameday.oracle import Oracle


@dataclass
class Client(Oracle):
    """An oracle that remembers its targets.

    Attributes:
        targets: of each target, the query with which it begins, the row, and whether it was trained on.
    """

    targets: list[tuple[int, Rows, bool]] = field(default_factory=list)

    def aim(self, row: Rows, member: bool = False) -> None:
        """The next queries are about this row."""
        self.targets.append((self.count, row, member))

    def label(self, row: NDArray[np.floating]) -> int:
        """The answered class of one row."""
        return int(self(row[None])[0].argmax())

    def edge(self, row: NDArray[np.floating], label: int, way: NDArray[np.floating], times: int) -> NDArray[np.floating]:
        """The point from the row along the way, at its end of another class, where the class is just another one."""
        return row + self.share(row, label, way, times) * way

    def share(self, row: NDArray[np.floating], label: int, way: NDArray[np.floating], times: int) -> float:
        """How much of the way that is; by halving."""
        low, high = 0.0, 1.0
        for _ in range(times):
            middle = (low + high) / 2
            low, high = (low, middle) if self.label(row + middle * way) != label else (middle, high)
        return high


def victims(client: Client, world: World, rng: np.random.Generator) -> Iterator[tuple[Rows, int]]:
    """Rows whose class is to be changed, and that class, as long as the client may ask."""
    while True:
        row = world.pick(rng, 1, world.own)[0]
        client.aim(row)
        yield row, client.label(row)


def targets(client: Client, world: World, rng: np.random.Generator) -> Iterator[tuple[Rows, int, NDArray[np.floating]]]:
    """The same, each with a row of another class."""
    for row, label in victims(client, world, rng):
        for other in world.pick(rng, 25, world.own):
            if client.label(other) != label:
                yield row, label, other
                break


Attack = Callable[[Client, World, np.random.Generator], None]
"""Asks until `EnoughError` ends it, or until it is done."""
