"""Evasion, by decisions and by scores: of the Adversarial Robustness Toolbox, and for what it has not on tables, from the papers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray

from bench.services.client import Attack, Client
from bench.services.tables import Rows
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


def _hop_skip_jump(service: Any, rng: np.random.Generator) -> Any:
    from art.attacks.evasion import HopSkipJump

    norm = 2 if rng.random() < 0.7 else np.inf
    return HopSkipJump(service, norm=norm, max_iter=6, max_eval=80, init_eval=25, init_size=60, verbose=False)


def _boundary(service: Any, _: np.random.Generator) -> Any:
    from art.attacks.evasion import BoundaryAttack

    return BoundaryAttack(service, targeted=False, max_iter=30, num_trial=8, sample_size=8, init_size=60, verbose=False)


def _zoo(service: Any, _: np.random.Generator) -> Any:
    from art.attacks.evasion import ZooAttack

    return ZooAttack(
        service, max_iter=40, binary_search_steps=1, use_resize=False, use_importance=False, nb_parallel=1, batch_size=1, verbose=False
    )


def _targets(client: Client, world: World, rng: np.random.Generator) -> Iterator[tuple[Rows, int, NDArray[np.floating]]]:
    """Targets, their class, and a row of another class, as long as the client may ask."""
    while True:
        row = world.pick(rng, 1, world.own)[0]
        client.aim(row)
        label = client.label(row)
        for other in world.pick(rng, 25, world.own):
            if client.label(other) != label:
                yield row, label, other
                break


def _sign_opt(client: Client, world: World, rng: np.random.Generator) -> None:
    """Sign-OPT (Cheng et al. 2020): the direction's gradient from the signs of 20 directions beside it."""
    for row, label, other in _targets(client, world, rng):
        far: NDArray[np.floating] = other
        for _ in range(8):
            edge = client.edge(row, label, far - row, 8)
            way = (edge - row) / world.spread
            length = float(np.linalg.norm(way))
            U = rng.normal(size=(20, len(row)))
            U /= np.linalg.norm(U, axis=1, keepdims=True)
            beside = way / max(length, 1e-9) + 0.05 * U
            beside *= length / np.linalg.norm(beside, axis=1, keepdims=True)
            closer = client(row + beside * world.spread).argmax(axis=1) != label
            turned = way / max(length, 1e-9) + 0.3 * np.where(closer[:, None], U, -U).mean(axis=0)
            tried = row + 1.05 * length * turned / np.linalg.norm(turned) * world.spread
            far = tried if client.label(tried) != label else edge


def _geo_da(client: Client, world: World, rng: np.random.Generator) -> None:
    """GeoDA (Rahmati et al. 2020): the boundary is taken for a plane, whose normal 60 points around one of its points tell."""
    for row, label, other in _targets(client, world, rng):
        far: NDArray[np.floating] = other
        for _ in range(4):
            edge = client.edge(row, label, far - row, 9)
            size = 0.1 * float(np.linalg.norm((edge - row) / world.spread)) / np.sqrt(len(row)) + 1e-3
            U = rng.normal(size=(60, len(row)))
            over = client(edge + size * U * world.spread).argmax(axis=1) != label
            normal = np.where(over[:, None], U, -U).mean(axis=0)
            normal *= float(np.linalg.norm((edge - row) / world.spread)) / max(float(np.linalg.norm(normal)), 1e-9)
            for reach in (1.0, 1.5, 2.5):
                if client.label(row + reach * normal * world.spread) != label:
                    far = row + reach * normal * world.spread
                    break


def _square(radius: float) -> Attack:
    """Square (Andriushchenko et al. 2020): random blocks of fields to one of two ends, kept when the class loses."""

    def attack(client: Client, world: World, rng: np.random.Generator) -> None:
        image, reach = world.table.image, radius * world.schema.span
        while True:
            row = world.pick(rng, 1, world.own)[0]
            client.aim(row)
            label = int((best := client(row[None])[0]).argmax())
            least, at = float(best[label]), row + reach * rng.choice([-1, 1], len(row))
            for k in range(150):
                share, tried = max(0.3 * 0.985**k, 1.5 / len(row)), at.copy()
                where = rng.random(len(row)) < share
                where[rng.integers(len(row))] = True
                sign: NDArray[Any] = rng.choice([-1, 1], len(row))
                if image:
                    side = max(1, int(np.sqrt(share) * image[0]))
                    i, j = rng.integers(0, image[0] - side + 1), rng.integers(0, image[1] - side + 1)
                    block = np.zeros(image, bool)
                    block[i : i + side, j : j + side] = True
                    where, sign = block.ravel(), np.full(len(row), rng.choice([-1, 1]))
                tried[where] = (row + reach * sign)[where]
                scores = client(tried[None])[0]
                if scores[label] < least:
                    at, least = tried, float(scores[label])
                if int(scores.argmax()) != label:
                    break

    return attack


def _sim_ba(client: Client, world: World, rng: np.random.Generator) -> None:
    """SimBA (Guo et al. 2019): one field after another a step up or down, kept when the class loses."""
    while True:
        at = world.pick(rng, 1, world.own)[0].astype(np.float64)
        client.aim(at.astype(np.float32))
        scores = client(at[None])[0]
        label = int(scores.argmax())
        for j in np.tile(rng.permutation(len(at)), 4)[:200]:
            step = max(0.4 * world.spread[j], world.schema.step[j])
            for sign in (1, -1):
                tried = at.copy()
                tried[j] = np.clip(tried[j] + sign * step, world.schema.low[j], world.schema.high[j])
                new = client(tried[None])[0]
                if new[label] < scores[label]:
                    at, scores = tried, new
                    break
            if int(scores.argmax()) != label:
                break


def _nes(client: Client, world: World, rng: np.random.Generator) -> None:
    """NES (Ilyas et al. 2018): the gradient of the score from 15 pairs of opposite steps."""
    while True:
        at = world.pick(rng, 1, world.own)[0].astype(np.float64)
        client.aim(at.astype(np.float32))
        label = client.label(at)
        for _ in range(20):
            U = rng.normal(size=(15, len(at)))
            scores = client(np.concatenate([at + 0.1 * U * world.spread, at - 0.1 * U * world.spread]))[:, label]
            at = at - 0.15 * np.sign(((scores[:15] - scores[15:])[:, None] * U).sum(axis=0)) * world.spread
            if client.label(at) != label:
                break


ATTACKS: dict[str, Attack] = {
    "hopskipjump": by_toolbox(_hop_skip_jump),
    "boundary": by_toolbox(_boundary),
    "zoo": by_toolbox(_zoo),
    "signopt": _sign_opt,
    "geoda": _geo_da,
    "square.1": _square(0.1),
    "square.3": _square(0.3),
    "simba": _sim_ba,
    "nes": _nes,
}
