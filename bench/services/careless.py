"""Ordinary clients whose pipelines change what they send, and analysts' tools that change rows on purpose.

Nothing had been built on them before 30 November: each says what a service hears without anybody attacking it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bench.services import pace
from bench.services.benign import Kind, in_order
from bench.services.tables import Rows
from bench.services.world import World


def _numbers(w: World) -> NDArray[np.int64]:
    """Columns that are measured or counted; all of them, where none is."""
    measured = np.flatnonzero(~w.table.codes)
    return measured if len(measured) else np.arange(len(w.spread))


def _blurred(w: World, rng: np.random.Generator) -> Rows:
    """Noise for privacy, of one scale for all columns."""
    rows = w.pick(rng, 200)
    return w.numbers(rows, rows + rng.choice([0.05, 0.1, 0.2]) * w.spread * rng.laplace(size=rows.shape))


def _missing(w: World, rng: np.random.Generator) -> Rows:
    """What is not known is sent as nought, or as a code that no row has."""
    rows = w.pick(rng, 220)
    code = np.where(rng.random() < 0.5, 0, np.rint(w.members.max(axis=0) + rng.choice([1.0, 99.0]) * w.spread + 1))
    return np.asarray(np.where(rng.random(rows.shape) < rng.uniform(0.05, 0.3), code, rows), np.float32)


def _two_sources(w: World, rng: np.random.Generator) -> Rows:
    """Every second row comes from an instrument with a gain and an offset of its own."""
    rows, d = w.pick(rng, 240), len(w.spread)
    other = rows * (1 + 0.15 * rng.normal(size=d)) + 0.3 * w.spread * rng.normal(size=d)
    return np.where(np.arange(240)[:, None] % 2 == 0, rows, w.numbers(rows, other))


def _other_sign(w: World, rng: np.random.Generator) -> Rows:
    """One column runs the other way: mounted backwards, owed for owned."""
    rows, j = w.pick(rng, 200).copy(), int(rng.choice(_numbers(w)))
    rows[:, j] = w.members[:, j].min() + w.members[:, j].max() - rows[:, j]
    return rows


def _trend(w: World, rng: np.random.Generator) -> Rows:
    """Prices rise, parts wear: each column drifts by its own pace while the client asks."""
    rows = w.pick(rng, 300)
    return w.numbers(rows, rows + np.linspace(0, 0.6, 300)[:, None] * w.spread * rng.normal(size=len(w.spread)))


def _swapped(w: World, rng: np.random.Generator) -> Rows:
    """Two columns of about the same size are taken for each other."""
    rows, a = w.pick(rng, 200).copy(), int(rng.choice(_numbers(w)))
    away = np.abs(w.members.mean(axis=0) - w.members[:, a].mean()) / w.spread[a]
    away[a] = np.inf
    b = int(away.argmin())
    rows[:, [a, b]] = rows[:, [b, a]]
    return rows


def _lagged(w: World, rng: np.random.Generator) -> Rows:
    """One column arrives a row late."""
    rows, j = in_order(w, rng).copy(), int(rng.integers(len(w.spread)))
    rows[:, j] = np.roll(rows[:, j], 1)
    return rows


def _clipped(w: World, rng: np.random.Generator) -> Rows:
    """Outliers are cut at quantiles."""
    share = rng.choice([0.05, 0.1, 0.2])
    low, high = np.quantile(w.members, [share, 1 - share], axis=0)
    return np.asarray(np.clip(w.pick(rng, 250), low, high), np.float32)


def _alike(w: World, rng: np.random.Generator) -> Rows:
    """A dozen cases, each with the twenty that are most like it."""
    z = w.benign / w.spread
    return np.concatenate([w.benign[((z - z[case]) ** 2).sum(axis=1).argsort()[:20]] for case in rng.integers(0, len(z), 12)])


def _imputed(w: World, rng: np.random.Generator) -> Rows:
    """Multiple imputation: two fields of fifty rows drawn five times each."""
    rows = np.repeat(w.pick(rng, 50), 5, axis=0)
    for j in rng.choice(rows.shape[1], 2, replace=False):
        rows[:, j] = w.pick(rng, len(rows))[:, j]
    return rows


def _ensemble(w: World, rng: np.random.Generator) -> Rows:
    """A forecast's members: ten of each row, a little apart."""
    rows = np.repeat(w.pick(rng, 25), 10, axis=0)
    return w.numbers(rows, rows + rng.choice([0.03, 0.1, 0.2]) * w.spread * rng.normal(size=rows.shape))


def _scenario(w: World, rng: np.random.Generator) -> Rows:
    """Stress tests: forty rows as they are, then with some columns a tenth or a fifth up or down, five times."""
    out, numbers = [w.pick(rng, 40)], _numbers(w)
    for _ in range(5):
        changed = out[0].copy()
        for j in rng.choice(numbers, min(len(numbers), int(rng.integers(1, 5))), replace=False):
            changed[:, j] *= rng.choice([0.8, 0.9, 1.1, 1.2])
        out.append(changed)
    return np.concatenate(out)


def _offers(w: World, rng: np.random.Generator) -> Rows:
    """Which price and term suit a customer best: a grid over two columns, for each of eight."""
    a, b = rng.choice(len(w.spread), 2, replace=False)
    rows = np.repeat(w.pick(rng, 8)[:, None], 30, axis=1)
    rows[:, :, a] = np.repeat(np.quantile(w.members[:, a], np.linspace(0.1, 0.9, 5)), 6)
    rows[:, :, b] = np.tile(np.quantile(w.members[:, b], np.linspace(0.1, 0.9, 6)), 5)
    return rows.reshape(240, -1)


def _audit(w: World, rng: np.random.Generator) -> Rows:
    """Fairness: each row, then the same with one field of few values another."""
    few = [j for j in range(len(w.spread)) if 1 < len(np.unique(w.members[:, j])) <= 12]
    rows, j = np.repeat(w.pick(rng, 80), 2, axis=0), int(rng.choice(few or np.arange(len(w.spread))))
    rows[1::2, j] = rng.choice(np.unique(w.members[:, j]), 80)
    return rows


def _importance(w: World, rng: np.random.Generator) -> Rows:
    """Permutation importance: forty rows, one column after the other permuted among them."""
    out = []
    for j in rng.permutation(len(w.spread))[:8]:
        rows = w.pick(rng, 40).copy()
        rows[:, j] = rng.permutation(rows[:, j])
        out.append(rows)
    return np.concatenate(out)


def _sensitivity(w: World, rng: np.random.Generator) -> Rows:
    """One at a time: each of up to ten columns of fifteen rows a little up, then down."""
    out, step = [], rng.choice([0.05, 0.1, 0.5]) * w.spread
    step = np.where(w.schema.integer, np.maximum(1, np.round(step)), step)
    for row in w.pick(rng, 15):
        out.append(row)
        for j in rng.permutation(len(row))[:10]:
            for sign in (1, -1):
                out.append(row.copy())
                out[-1][j] += sign * step[j]
    return np.array(out)


KINDS = (
    Kind("blurred", 2, _blurred, pace.sessions, pictures=False),
    Kind("missing", 3, _missing, pace.sessions, pictures=False),
    Kind("two_sources", 2, _two_sources, pace.sessions, pictures=False),
    Kind("other_sign", 2, _other_sign, pace.sessions, pictures=False),
    Kind("trend", 2, _trend, pace.sessions, pictures=False),
    Kind("swapped", 1, _swapped, pace.sessions, pictures=False),
    Kind("lagged", 1, _lagged, pace.batch, pictures=False),
    Kind("clipped", 2, _clipped, pace.sessions, pictures=False),
    Kind("alike", 2, _alike, pace.sessions),
    Kind("imputed", 1, _imputed, pace.batch, pictures=False),
    Kind("ensemble", 2, _ensemble, pace.batch, pictures=False),
    Kind("scenario", 2, _scenario, pace.batch, pictures=False),
    Kind("offers", 2, _offers, pace.batch, pictures=False),
    Kind("audit", 2, _audit, pace.batch, pictures=False),
    Kind("explainer_importance", 1, _importance, pace.batch, pictures=False),
    Kind("explainer_sensitivity", 1, _sensitivity, pace.batch, pictures=False),
)
