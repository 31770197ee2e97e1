"""Searches for evasion by the answered class alone: of the Adversarial Robustness Toolbox, and of papers for what it has not on tables."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.services.client import Attack, Client, targets, victims
from bench.services.tables import Rows
from bench.services.toolbox import by_toolbox
from bench.services.world import World


def _hop_skip_jump(service: Any, rng: np.random.Generator) -> Any:
    from art.attacks.evasion import HopSkipJump

    norm = 2 if rng.random() < 0.7 else np.inf
    return HopSkipJump(service, norm=norm, max_iter=6, max_eval=80, init_eval=25, init_size=60, verbose=False)


def _boundary(service: Any, _: np.random.Generator) -> Any:
    from art.attacks.evasion import BoundaryAttack

    return BoundaryAttack(service, targeted=False, max_iter=30, num_trial=8, sample_size=8, init_size=60, verbose=False)


def _sign_opt(client: Client, world: World, rng: np.random.Generator) -> None:
    """Sign-OPT (Cheng et al. 2020): the direction's gradient from the signs of 20 directions beside it."""
    for row, label, other in targets(client, world, rng):
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
    for row, label, other in targets(client, world, rng):
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


def _on_circle(row: Rows, u: NDArray[Any], v: NDArray[Any], length: float, angle: float, spread: Rows) -> NDArray[Any]:
    """Of the circle through the row and, at angle 0, the boundary's point in direction u; u and v span its plane."""
    return np.asarray(row + length * np.cos(angle) * (np.cos(angle) * u + np.sin(angle) * v) * spread)


def _sur_free(client: Client, world: World, rng: np.random.Generator) -> None:
    """SurFree (Maho et al. 2021): circles through the boundary's point and the row, in random planes, by halving the angle."""
    for row, label, other in targets(client, world, rng):
        edge = client.edge(row, label, other - row, 8)
        for _ in range(15):
            way = (edge - row) / world.spread
            length = float(np.linalg.norm(way))
            u = way / max(length, 1e-9)
            v = rng.normal(size=len(row))
            v -= (v @ u) * u
            v /= max(float(np.linalg.norm(v)), 1e-9)

            for start in (0.4, -0.4, 0.2, -0.2):
                if client.label(_on_circle(row, u, v, length, start, world.spread)) != label:
                    low, high = abs(start), np.pi / 2
                    for _ in range(5):
                        middle = (low + high) / 2
                        if client.label(_on_circle(row, u, v, length, np.sign(start) * middle, world.spread)) != label:
                            low = middle
                        else:
                            high = middle
                    edge = _on_circle(row, u, v, length, np.sign(start) * low, world.spread)
                    break


def _rays(client: Client, world: World, rng: np.random.Generator) -> None:
    """RayS (Chen & Gu 2020): one direction of signs, whose halves, quarters, ... are turned while the boundary comes nearer."""
    for row, label in victims(client, world, rng):
        signs, reach = np.ones(len(row)), 1.0
        for level in range(8):
            for block in np.array_split(np.arange(len(row)), min(2**level, len(row))):
                tried = signs.copy()
                tried[block] *= -1
                if client.label(row + reach * tried * world.schema.span) != label:
                    signs, reach = tried, reach * client.share(row, label, reach * tried * world.schema.span, 7)


def _pointwise(client: Client, world: World, rng: np.random.Generator) -> None:
    """Pointwise (Schott et al. 2019): fields of a row of another class are put back one by one, then each by halving."""
    for row, label, other in targets(client, world, rng):
        at = other.astype(np.float64)
        for field in rng.permutation(np.flatnonzero(other != row)):
            tried = at.copy()
            tried[field] = row[field]
            if client.label(tried) != label:
                at = tried
        for field in rng.permutation(np.flatnonzero(at != row)):
            back = at.copy()
            back[field] = row[field]
            at = np.asarray(client.edge(back, label, at - back, 6), np.float64)


def _coordinates(client: Client, world: World, rng: np.random.Generator) -> None:
    """Line searches along the columns (Lowd & Meek 2005): where each one alone changes the class."""
    for row, label in victims(client, world, rng):
        for field in rng.permutation(len(row))[:20]:
            for end in (world.schema.low[field], world.schema.high[field]):
                far = row.astype(np.float64)
                far[field] = end
                if client.label(far) != label:
                    client.edge(row, label, far - row, 8)


def _blended_noise(client: Client, world: World, rng: np.random.Generator) -> None:
    """More and more of uniform noise, until the class changes, as Foolbox's blended noise does; several noises a row."""
    for row, label in victims(client, world, rng):
        for _ in range(4):
            noise = rng.uniform(world.schema.low, world.schema.high)
            for share in np.linspace(0, 1, 21)[1:]:
                if client.label(row + share * (noise - row)) != label:
                    break


def _salt(client: Client, world: World, rng: np.random.Generator) -> None:
    """Salt and pepper: more and more fields at one of their ends, until the class changes."""
    for row, label in victims(client, world, rng):
        for _ in range(3):
            order, ends = rng.permutation(len(row)), np.where(rng.random(len(row)) < 0.5, world.schema.low, world.schema.high)
            for count in np.unique(np.geomspace(1, len(row), 20).astype(int)):
                tried = row.astype(np.float64)
                tried[order[:count]] = ends[order[:count]]
                if client.label(tried) != label:
                    break


ATTACKS: dict[str, Attack] = {
    "hopskipjump": by_toolbox(_hop_skip_jump),
    "boundary": by_toolbox(_boundary),
    "signopt": _sign_opt,
    "geoda": _geo_da,
    "surfree": _sur_free,
    "rays": _rays,
    "pointwise": _pointwise,
    "coordinates": _coordinates,
    "blended": _blended_noise,
    "salt": _salt,
}
