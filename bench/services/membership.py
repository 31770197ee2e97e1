"""Membership tests: one query a record, copies with noise, and the distance to the boundary. Half of the records were trained on."""

from __future__ import annotations

import numpy as np

from bench.services.client import Attack, Client
from bench.services.tables import Rows
from bench.services.world import World


def _records(world: World, rng: np.random.Generator, n: int) -> list[tuple[Rows, bool]]:
    half = min(n // 2 + 1, len(world.members), len(world.own))
    known = [(row, True) for row in world.pick(rng, half, world.members)]
    both = known + [(row, False) for row in world.pick(rng, half, world.own)]
    return [both[k] for k in rng.permutation(len(both))]


def _once(client: Client, world: World, rng: np.random.Generator) -> None:
    for row, member in _records(world, rng, client.budget):
        client.aim(row, member)
        client(row[None])


def _noise(client: Client, world: World, rng: np.random.Generator) -> None:
    """Label-only (Choquette-Choo et al. 2021): how many of eleven noisy copies keep the class."""
    for row, member in _records(world, rng, client.budget // 12):
        client.aim(row, member)
        copies = row + 0.15 * world.spread * rng.normal(size=(11, len(row)))
        if world.table.image:
            moves = ((0, 0), (1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (-1, 1), (1, -1), (-1, -1), (2, 0), (0, 2))
            copies = np.stack([np.roll(row.reshape(world.table.image), move, (0, 1)).ravel() for move in moves])
        client(np.concatenate([row[None], copies]))


def _distance(client: Client, world: World, rng: np.random.Generator) -> None:
    """Label-only: how far one can go in random directions before the class changes."""
    for row, member in _records(world, rng, client.budget // 40):
        client.aim(row, member)
        label = client.label(row)
        for _ in range(4):
            client.edge(row, label, 2.0 * (rng.normal(size=len(row)) * world.spread), 9)


ATTACKS: dict[str, Attack] = {"mia_blackbox": _once, "label_only_noise": _noise, "label_only_distance": _distance}
