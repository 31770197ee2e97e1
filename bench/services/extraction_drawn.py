"""Extraction by rows that are made up without looking at the answers, and by natural ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.services.client import Attack, Client
from bench.services.world import World

Draw = Callable[[World, np.random.Generator, int], NDArray[Any]]
BLOCK = 50


def drawn(draw: Draw) -> Attack:
    """Asks block after block of what is drawn."""

    def attack(client: Client, world: World, rng: np.random.Generator) -> None:
        while True:
            client(draw(world, rng, BLOCK))

    return attack


def uniform(w: World, rng: np.random.Generator, n: int) -> NDArray[Any]:
    """Each column anywhere in its range."""
    return rng.uniform(w.schema.low, w.schema.high, (n, len(w.spread)))


def _hypercube(w: World, rng: np.random.Generator, n: int) -> NDArray[Any]:
    """Latin hypercube: in each column one value from each n-th of the range."""
    cells = np.stack([rng.permutation(n) for _ in w.spread], axis=1)
    return np.asarray(w.schema.low + (cells + rng.random(cells.shape)) / n * w.schema.span)


def _grid(w: World, rng: np.random.Generator, n: int) -> NDArray[Any]:
    """Each column at one of five of its quantiles."""
    levels = np.quantile(w.own, [0.05, 0.25, 0.5, 0.75, 0.95], axis=0)
    return np.take_along_axis(levels, rng.integers(5, size=(n, len(w.spread))), axis=0)


def _gauss(w: World, rng: np.random.Generator, n: int) -> NDArray[Any]:
    """Means and covariances of the attacker's rows."""
    centred = (w.own - w.own.mean(axis=0)) / np.sqrt(len(w.own))
    return np.asarray(w.own.mean(axis=0) + rng.normal(size=(n, len(centred))) @ centred)


def columns(w: World, rng: np.random.Generator, n: int) -> NDArray[Any]:
    """Each column's own values, drawn one by one."""
    return np.stack([rng.choice(column, n) for column in w.own.T], axis=1)


def _copula(w: World, rng: np.random.Generator, n: int) -> NDArray[Any]:
    """Gaussian copula: the ranks' correlations and each column's own values."""
    ranks = np.argsort(np.argsort(w.own + 1e-6 * w.spread * rng.normal(size=w.own.shape), axis=0), axis=0)
    from scipy.special import ndtr, ndtri

    normal = ndtri((ranks + 0.5) / len(ranks))
    u = ndtr(rng.normal(size=(n, len(ranks))) @ normal / np.sqrt(len(ranks)))
    place = np.clip((u * len(ranks)).astype(int), 0, len(ranks) - 1)
    return np.take_along_axis(np.sort(w.own, axis=0), place, axis=0)


def _mixup(w: World, rng: np.random.Generator, n: int) -> NDArray[Any]:
    share = rng.uniform(0.2, 0.8, (n, 1))
    return w.pick(rng, n, w.own) * share + w.pick(rng, n, w.own) * (1 - share)


def _neighbours(w: World, rng: np.random.Generator, n: int) -> NDArray[Any]:
    """SMOTE (Chawla et al. 2002): between a row and one of its five nearest ones."""
    rows = w.pick(rng, min(400, len(w.own)), w.own) / w.spread
    at = rng.integers(len(rows), size=n)
    apart = ((rows[at][:, None] - rows[None]) ** 2).sum(axis=2)
    near = np.argsort(apart, axis=1)[:, 1:6]
    other = rows[near[np.arange(n), rng.integers(near.shape[1], size=n)]]
    return np.asarray((rows[at] + rng.random((n, 1)) * (other - rows[at])) * w.spread)


def crossed(w: World, rng: np.random.Generator, n: int) -> NDArray[Any]:
    """Children of two of the attacker's rows: a third of the fields from the other."""
    a, b = w.pick(rng, n, w.own), w.pick(rng, n, w.own)
    return np.where(rng.random(a.shape) < 1 / 3, b, a)


def noisy(w: World, rng: np.random.Generator, n: int) -> NDArray[Any]:
    """The attacker's rows with noise of .3 standard deviations."""
    return w.pick(rng, n, w.own) + 0.3 * w.spread * rng.normal(size=(n, len(w.spread)))


def _random_signs(client: Client, world: World, rng: np.random.Generator) -> None:
    """T-RND (Juuti et al. 2019): each known row a step of random signs, of growing length."""
    rows = world.pick(rng, min(40, len(world.own)), world.own).astype(np.float64)
    client(rows)
    while True:
        step = rng.choice([0.05, 0.1, 0.2]) * (np.quantile(world.own, 0.95, axis=0) - np.quantile(world.own, 0.05, axis=0))
        new = client.space.legal(rows + step * rng.choice([-1, 1], rows.shape))
        client(new)
        rows = np.concatenate([rows, new])[-400:]


def _natural(client: Client, world: World, rng: np.random.Generator) -> None:
    client(rng.permutation(world.own))


ATTACKS: dict[str, Attack] = {
    "uniform": drawn(uniform),
    "hypercube": drawn(_hypercube),
    "grid": drawn(_grid),
    "gauss": drawn(_gauss),
    "columns": drawn(columns),
    "copula": drawn(_copula),
    "mixup": drawn(_mixup),
    "smote": drawn(_neighbours),
    "crossed": drawn(crossed),
    "noisy": drawn(noisy),
    "signs": _random_signs,
    "natural": _natural,
}
