"""Extraction: rows made up without looking at the answers, rows chosen by them, and natural rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.services.client import Attack, Client
from bench.services.tables import Rows
from bench.services.world import World

Draw = Callable[[World, np.random.Generator, int], NDArray[Any]]
_BLOCK = 50


def drawn(draw: Draw) -> Attack:
    """Asks block after block of what is drawn."""

    def attack(client: Client, world: World, rng: np.random.Generator) -> None:
        while True:
            client(draw(world, rng, _BLOCK))

    return attack


def _uniform(w: World, rng: np.random.Generator, n: int) -> NDArray[Any]:
    return rng.uniform(w.schema.low, w.schema.high, (n, len(w.spread)))


def _hypercube(w: World, rng: np.random.Generator, n: int) -> NDArray[Any]:
    """Latin hypercube: in each column one value from each n-th of the range."""
    cells = np.stack([rng.permutation(n) for _ in w.spread], axis=1)
    return np.asarray(w.schema.low + (cells + rng.random(cells.shape)) / n * w.schema.span)


def _gauss(w: World, rng: np.random.Generator, n: int) -> NDArray[Any]:
    """Means and covariances of the attacker's rows."""
    centred = (w.own - w.own.mean(axis=0)) / np.sqrt(len(w.own))
    return np.asarray(w.own.mean(axis=0) + rng.normal(size=(n, len(centred))) @ centred)


def _columns(w: World, rng: np.random.Generator, n: int) -> NDArray[Any]:
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


def _crossed(w: World, rng: np.random.Generator, n: int) -> NDArray[Any]:
    """Children of two of the attacker's rows: a third of the fields from the other."""
    a, b = w.pick(rng, n, w.own), w.pick(rng, n, w.own)
    return np.where(rng.random(a.shape) < 1 / 3, b, a)


def _noisy(w: World, rng: np.random.Generator, n: int) -> NDArray[Any]:
    return w.pick(rng, n, w.own) + 0.3 * w.spread * rng.normal(size=(n, len(w.spread)))


def _natural(client: Client, world: World, rng: np.random.Generator) -> None:
    client(rng.permutation(world.own))


def _copy(X: Rows, labels: NDArray[np.int64], world: World) -> Any:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(max_iter=80).fit((X - world.own.mean(axis=0)) / world.spread, labels)


def _jacobian(client: Client, world: World, rng: np.random.Generator) -> None:
    """Jacobian-based augmentation (Papernot et al. 2017) with a logistic copy: each row a step along the sign of its class's weights."""
    X = world.pick(rng, min(60, len(world.own)), world.own)
    Y = client(X).argmax(axis=1)
    step = rng.choice([0.05, 0.1, 0.15]) * (np.quantile(world.own, 0.95, axis=0) - np.quantile(world.own, 0.05, axis=0))
    sign = 1
    while True:
        if len(np.unique(Y)) > 1:
            copy = _copy(X, Y, world)
            weights = copy.coef_ if len(copy.coef_) > 1 else np.concatenate([-copy.coef_, copy.coef_])
            ways = np.sign(weights[np.searchsorted(copy.classes_, Y)])
        else:
            ways = rng.choice([-1, 1], X.shape)
        new = client.space.legal(X + sign * step * ways)
        X, Y, sign = np.concatenate([X, new]), np.concatenate([Y, client(new).argmax(axis=1)]), -sign


def _active(client: Client, world: World, rng: np.random.Generator) -> None:
    """ActiveThief-like (Pal et al. 2020): of 1,000 crossed rows those of which the copy is least sure, and that are far from each other."""
    X = client.space.legal(_crossed(world, rng, 60))
    Y = client(X).argmax(axis=1)
    while True:
        pool = client.space.legal(_crossed(world, rng, 1_000))
        chosen = pool[:_BLOCK]
        if len(np.unique(Y)) > 1:
            scores = np.sort(_copy(X, Y, world).predict_proba((pool - world.own.mean(axis=0)) / world.spread), axis=1)
            unsure = pool[np.argsort(scores[:, -1] - scores[:, -2])[:200]]
            chosen = unsure[rng.choice(len(unsure), _BLOCK, replace=False)]
        X, Y = np.concatenate([X, chosen]), np.concatenate([Y, client(chosen).argmax(axis=1)])


def _knockoff(client: Client, world: World, rng: np.random.Generator) -> None:
    """KnockoffNets, adaptive (Orekondy et al. 2019): a bandit over eight groups of foreign rows, rewarded by certainty and novelty."""
    from sklearn.cluster import KMeans

    pool = client.space.legal(np.concatenate([_columns(world, rng, 1_000), _noisy(world, rng, 1_000)]))
    group = KMeans(8, n_init=1, random_state=int(rng.integers(2**31))).fit_predict(pool / world.spread)
    value, mean = np.zeros(8), np.zeros(len(client.service.classes))
    for k in range(10_000):
        chance = np.exp(value - value.max())
        g = int(rng.choice(8, p=chance / chance.sum()))
        rows = pool[group == g]
        scores = client(world.pick(rng, 4, rows)).mean(axis=0)
        top = np.sort(scores)
        reward = top[-1] - top[-2] + float(np.abs(scores - mean).sum())
        mean += (scores - mean) / (k + 1)
        value[g] += 0.3 * (reward - value[g])


ATTACKS: dict[str, Attack] = {
    "uniform": drawn(_uniform),
    "hypercube": drawn(_hypercube),
    "gauss": drawn(_gauss),
    "columns": drawn(_columns),
    "copula": drawn(_copula),
    "mixup": drawn(_mixup),
    "crossed": drawn(_crossed),
    "noisy": drawn(_noisy),
    "jacobian": _jacobian,
    "active": _active,
    "knockoff": _knockoff,
    "natural": _natural,
}
