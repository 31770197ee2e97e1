"""Searches for evasion by scores: of the Adversarial Robustness Toolbox, and for what it has not on tables, from the papers."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.services.client import Attack, Client, victims
from bench.services.toolbox import by_toolbox
from bench.services.world import World


def _zoo(service: Any, _: np.random.Generator) -> Any:
    from art.attacks.evasion import ZooAttack

    return ZooAttack(
        service, max_iter=40, binary_search_steps=1, use_resize=False, use_importance=False, nb_parallel=1, batch_size=1, verbose=False
    )


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
    for row, label in victims(client, world, rng):
        at = row.astype(np.float64)
        for _ in range(20):
            U = rng.normal(size=(15, len(at)))
            scores = client(np.concatenate([at + 0.1 * U * world.spread, at - 0.1 * U * world.spread]))[:, label]
            at = at - 0.15 * np.sign(((scores[:15] - scores[15:])[:, None] * U).sum(axis=0)) * world.spread
            if client.label(at) != label:
                break


def _bandits(client: Client, world: World, rng: np.random.Generator) -> None:
    """Bandits (Ilyas et al. 2019): a remembered direction, bettered by pairs of answers beside it."""
    for row, label in victims(client, world, rng):
        at, prior = row.astype(np.float64), np.zeros(len(row))
        for _ in range(60):
            u = rng.normal(size=len(row)) / np.sqrt(len(row))
            first, second = client(np.stack([at + 0.1 * (prior + s * u) * world.spread for s in (1, -1)]))[:, label]
            prior = prior + (1.0 if first < second else -1.0) * u
            at = at + 0.1 * np.sign(prior) * world.spread
            if client.label(at) != label:
                break


def _genetic(client: Client, world: World, rng: np.random.Generator) -> None:
    """GenAttack (Alzantot et al. 2019): eight rows within a fifth of the range, the better ones crossed and mutated."""
    for row, label in victims(client, world, rng):
        reach = 0.2 * world.schema.span
        moves = reach * rng.uniform(-1, 1, (8, len(row)))
        for _ in range(12):
            scores = client(row + moves)
            if (scores.argmax(axis=1) != label).any():
                break
            fit = np.exp(-(scores[:, label] - scores[:, label].min()) / 0.1)
            a, b = (moves[rng.choice(8, 7, p=fit / fit.sum())] for _ in range(2))
            child = np.where(rng.random(a.shape) < 0.5, a, b)
            child = np.where(rng.random(a.shape) < 0.1, child + reach * rng.uniform(-0.5, 0.5, a.shape), child)
            moves = np.concatenate([moves[[int(fit.argmax())]], np.clip(child, -reach, reach)])


def _few_fields(client: Client, world: World, rng: np.random.Generator) -> None:
    """One pixel (Su et al. 2019): differential evolution of which three fields get which values; twenty rows a generation."""
    for row, label in victims(client, world, rng):
        fields = min(3, len(row))

        def put(genes: NDArray[Any], row: NDArray[Any] = row, fields: int = fields) -> NDArray[Any]:
            out = np.repeat(row[None].astype(np.float64), len(genes), axis=0)
            where = np.clip((genes[:, :fields] * len(row)).astype(int), 0, len(row) - 1)
            values = world.schema.low[where] + np.clip(genes[:, fields:], 0, 1) * world.schema.span[where]
            np.put_along_axis(out, where, values, axis=1)
            return out

        genes = rng.random((20, 2 * fields))
        fit = client(put(genes))[:, label]
        for _ in range(6):
            a, b, c = (genes[rng.permutation(20)] for _ in range(3))
            tried = np.clip(a + 0.5 * (b - c), 0, 1)
            scores = client(put(tried))
            better = scores[:, label] < fit
            genes, fit = np.where(better[:, None], tried, genes), np.where(better, scores[:, label], fit)
            if (scores.argmax(axis=1) != label).any():
                break


def _climb(client: Client, world: World, rng: np.random.Generator) -> None:
    """The simplest search by scores: a little noise on all fields, kept when the class loses."""
    for row, label in victims(client, world, rng):
        at, least = row.astype(np.float64), 2.0
        for _ in range(100):
            tried = at + 0.15 * world.spread * rng.normal(size=len(row))
            scores = client(tried[None])[0]
            if scores[label] < least:
                at, least = tried, float(scores[label])
            if int(scores.argmax()) != label:
                break


ATTACKS: dict[str, Attack] = {
    "zoo": by_toolbox(_zoo),
    "square.1": _square(0.1),
    "square.3": _square(0.3),
    "simba": _sim_ba,
    "nes": _nes,
    "bandits": _bandits,
    "genetic": _genetic,
    "fewfields": _few_fields,
    "climb": _climb,
}
