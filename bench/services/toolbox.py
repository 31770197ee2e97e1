"""Attacks of the Adversarial Robustness Toolbox as clients of a service."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from unittest.mock import patch

import numpy as np

from bench.services.client import Attack, Client
from bench.services.world import World
from streams.gameday.attacks import Material, evade


def by_toolbox(make: Callable[[Any, np.random.Generator], Any]) -> Attack:
    """An attack of the toolbox, against one of the attacker's rows after another."""

    def attack(client: Client, world: World, rng: np.random.Generator) -> None:
        seeded = np.random.RandomState
        # It looks for a first point with a generator of its own, which it gives no seed.
        with patch.object(np.random, "RandomState", lambda: seeded(int(rng.integers(2**32)))):
            for row in rng.permutation(world.own):
                client.aim(row)
                evade(lambda service: make(service, rng), client, Material(row[None], world.members, world.spread), rng)

    return attack
