"""Extraction by rows that are chosen by the answers to earlier ones, and by differences."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.services.client import Attack, Client
from bench.services.extraction_drawn import BLOCK, columns, crossed, noisy, uniform
from bench.services.tables import Rows
from bench.services.world import World


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
    X = client.space.legal(crossed(world, rng, 60))
    Y = client(X).argmax(axis=1)
    while True:
        pool = client.space.legal(crossed(world, rng, 1_000))
        chosen = pool[:BLOCK]
        if len(np.unique(Y)) > 1:
            scores = np.sort(_copy(X, Y, world).predict_proba((pool - world.own.mean(axis=0)) / world.spread), axis=1)
            unsure = pool[np.argsort(scores[:, -1] - scores[:, -2])[:200]]
            chosen = unsure[rng.choice(len(unsure), BLOCK, replace=False)]
        X, Y = np.concatenate([X, chosen]), np.concatenate([Y, client(chosen).argmax(axis=1)])


def _knockoff(client: Client, world: World, rng: np.random.Generator) -> None:
    """KnockoffNets, adaptive (Orekondy et al. 2019): a bandit over eight groups of foreign rows, rewarded by certainty and novelty."""
    from sklearn.cluster import KMeans

    pool = client.space.legal(np.concatenate([columns(world, rng, 1_000), noisy(world, rng, 1_000)]))
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


def _paths(client: Client, world: World, rng: np.random.Generator) -> None:
    """Path finding (Tramer et al. 2016): a row's columns one after the other, each cut in halves where the answer changes; for trees."""

    def cuts(row: NDArray[Any], field: int, low: float, high: float, ends: tuple[Any, Any], depth: int) -> None:
        if depth == 0 or np.array_equal(*ends):
            return
        tried = row.copy()
        tried[field] = middle = (low + high) / 2
        answer = client(tried[None])[0]
        cuts(row, field, low, middle, (ends[0], answer), depth - 1)
        cuts(row, field, middle, high, (answer, ends[1]), depth - 1)

    while True:
        row = rng.uniform(world.schema.low, world.schema.high)
        client(row[None])
        for field in rng.permutation(len(row))[:30]:
            ends = np.repeat(row[None], 2, axis=0)
            ends[:, field] = world.schema.low[field], world.schema.high[field]
            first, last = client(ends)
            cuts(row, int(field), float(world.schema.low[field]), float(world.schema.high[field]), (first, last), 6)


def _lines(client: Client, world: World, rng: np.random.Generator) -> None:
    """Critical points (Jagielski et al. 2020): lines between two drawn rows, cut in halves where the answers are furthest from straight."""
    while True:
        a, b = uniform(world, rng, 2)
        shares = np.linspace(0, 1, 5)
        scores = client(a + shares[:, None] * (b - a))
        for _ in range(10):
            order = np.argsort(shares)
            shares, scores = shares[order], scores[order]
            bend = np.abs(scores[2:] - 2 * scores[1:-1] + scores[:-2]).sum(axis=1) * (shares[2:] - shares[:-2])
            k = 1 + int(bend.argmax())
            cut = (shares[k] + shares[k + 1 if shares[k + 1] - shares[k] > shares[k] - shares[k - 1] else k - 1]) / 2
            shares = np.append(shares, cut)
            scores = np.concatenate([scores, client((a + cut * (b - a))[None])])


def _differences(client: Client, world: World, rng: np.random.Generator) -> None:
    """Data-free (Truong et al. 2021; Kariyappa et al. 2021): rows of a generator, and each with small steps beside it for the gradient."""
    weights = rng.normal(size=(8, len(world.spread)))
    while True:
        hidden = np.tanh(rng.normal(size=(20, 8)) @ weights / np.sqrt(8))
        rows = world.schema.low + (0.5 + 0.45 * hidden) * world.schema.span
        client(rows)
        beside = rng.normal(size=(2, *rows.shape))
        beside /= np.linalg.norm(beside, axis=2, keepdims=True)
        client((rows + 0.05 * np.sqrt(len(world.spread)) * beside * world.spread).reshape(-1, len(world.spread)))
        weights += 0.1 * rng.normal(size=weights.shape)


def _beside_the_copy(client: Client, world: World, rng: np.random.Generator) -> None:
    """Adaptive retraining (Tramer et al. 2016): drawn rows, then those between two of them at which the copy's class changes."""
    X = client.space.legal(uniform(world, rng, 100))
    Y = client(X).argmax(axis=1)
    while True:
        new = client.space.legal(uniform(world, rng, BLOCK))
        if len(np.unique(Y)) > 1:
            copy = _copy(X, Y, world)

            def at(rows: NDArray[Any], copy: Any = copy) -> NDArray[Any]:
                return np.asarray(copy.predict((rows - world.own.mean(axis=0)) / world.spread))

            a, b = (world.pick(rng, 200, X).astype(np.float64) for _ in range(2))
            apart = at(a) != at(b)
            a, b = a[apart][:50], b[apart][:50]
            if len(a):
                first = at(a)
                for _ in range(10):
                    middle = (a + b) / 2
                    same = (at(middle) == first)[:, None]
                    a, b = np.where(same, middle, a), np.where(same, b, middle)
                new = client.space.legal((a + b) / 2)
        X, Y = np.concatenate([X, new]), np.concatenate([Y, client(new).argmax(axis=1)])


ATTACKS: dict[str, Attack] = {
    "jacobian": _jacobian,
    "active": _active,
    "knockoff": _knockoff,
    "paths": _paths,
    "lines": _lines,
    "differences": _differences,
    "adaptive": _beside_the_copy,
}
