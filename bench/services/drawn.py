"""Tables that are drawn: shapes which no data set at hand has, and on which detectors that were tried on real tables only went wrong.

Amounts over four orders of magnitude, of which two are always the same; categories as columns of nought and one; weights of words, most of
them nought; shares that add up to one; windows of a series that overlap; hours and what follows from them; embeddings on a sphere; numbers
in very small units; two dozen classes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.services.tables import Table

_N = 5_000
Floats = NDArray[np.float64]


def _causes(number: int, seed: int) -> tuple[np.random.Generator, Floats]:
    rng = np.random.default_rng(seed)
    return rng, rng.normal(size=(_N, number))


def _table(X: NDArray[Any], y: NDArray[Any], *, step: float | Floats = 0.0, codes: NDArray[np.bool_] | None = None) -> Table:
    d = X.shape[1]
    return Table(
        np.asarray(X, np.float32), np.asarray(y, np.int64), tuple(f"x{j}" for j in range(d)), np.broadcast_to(step, d).astype(np.float64),
        np.zeros(d, bool) if codes is None else codes,
    )  # fmt: skip


def amounts() -> Table:
    """Twelve amounts in cents with long tails, the last two the same."""
    rng, own = _causes(4, 1)
    X = np.exp(own @ rng.normal(size=(4, 11)) + 0.7 * rng.normal(size=(_N, 11))).round(2)
    return _table(np.column_stack([X, X[:, 10]]), own[:, 0] + 0.4 * rng.normal(size=_N) > 0, step=0.01)


def options() -> Table:
    """Five categories of 3 to 12 values, a column for each value, an age and an amount."""
    rng, own = _causes(5, 2)
    chosen = [np.eye(k)[np.argmax(own @ rng.normal(size=(5, k)) + rng.gumbel(size=(_N, k)), axis=1)] for k in (3, 4, 6, 8, 12)]
    X = np.column_stack([*chosen, np.round(40 + 12 * own[:, 0]), np.exp(7 + 0.8 * own[:, 1] + 0.3 * rng.normal(size=_N)).round(2)])
    codes = np.arange(X.shape[1]) < X.shape[1] - 2
    return _table(
        X,
        own[:, 0] + own[:, 2] + 0.7 * rng.normal(size=_N) > 0.3,
        step=np.where(np.arange(len(codes)) < len(codes) - 1, 1, 0.01),
        codes=codes,
    )


def words() -> Table:
    """Weights of 150 words in short texts on five subjects, of length one; nine of ten are nought."""
    rng = np.random.default_rng(3)
    subject, common = rng.integers(0, 5, _N), rng.dirichlet(np.full(150, 0.3))
    law = np.stack([0.5 * common + 0.5 * rng.dirichlet(np.full(150, 0.05)) for _ in range(5)])
    counts = np.stack([rng.multinomial(rng.integers(8, 30), law[k]) for k in subject])
    X = np.log1p(counts) * -np.log((counts > 0).mean(0).clip(1e-3))
    return _table(X / np.maximum(np.linalg.norm(X, axis=1, keepdims=True), 1e-9), subject)


def shares() -> Table:
    """Ten shares of a whole."""
    rng, own = _causes(6, 4)
    X = np.exp(0.6 * own @ rng.normal(size=(6, 10)) + 0.3 * rng.normal(size=(_N, 10)))
    return _table(X / X.sum(1, keepdims=True), own[:, :3].argmax(1))


def lags() -> Table:
    """Windows of 24 readings of sixty series, one after the other; does the next one rise?"""
    rng, t = np.random.default_rng(5), np.arange(114)
    windows = []
    for _ in range(60):
        wave = rng.uniform(0.5, 2) * np.sin(2 * np.pi * t / rng.uniform(10, 40) + rng.uniform(0, 6))
        series = wave + 0.1 * rng.normal(size=len(t)).cumsum() + 0.1 * rng.normal(size=len(t))
        windows.append(np.lib.stride_tricks.sliding_window_view(series, 25))
    X = np.concatenate(windows)
    return _table(X[:, :24], X[:, 24] > X[:, 23])


def hours() -> Table:
    """Hour, weekday, weather and two meters that read the same but for noise."""
    rng = np.random.default_rng(6)
    hour, day = rng.integers(0, 24, _N), rng.integers(0, 7, _N)
    warm = 20 + 8 * np.sin(2 * np.pi * (hour - 9) / 24) + 3 * rng.normal(size=_N)
    damp = np.clip(60 - 15 * np.sin(2 * np.pi * (hour - 9) / 24) + 10 * rng.normal(size=_N), 5, 100)
    work = (hour > 6) & (hour < 20) & (day < 5)
    load = 100 + 60 * work + 2 * warm + 15 * rng.normal(size=_N)
    X = np.column_stack(
        [
            hour,
            day,
            warm.round(1),
            damp.round(),
            5 * rng.weibull(2, _N).round(1),
            work,
            load.round(),
            (load - 2 + rng.normal(size=_N)).round(),
        ]
    )
    return _table(
        X,
        (load > 170).astype(int) + (warm > 24),
        step=np.array([1, 1, 0.1, 1, 0.5, 1, 1, 1]),
        codes=np.array([0, 1, 0, 0, 0, 1, 0, 0], bool),
    )


def sphere() -> Table:
    """Embeddings of 128 numbers and length one, in eight loose clusters."""
    rng = np.random.default_rng(7)
    subject = rng.integers(0, 8, _N)
    X = (1.5 * rng.normal(size=(8, 20))[subject] + rng.normal(size=(_N, 20))) @ rng.normal(size=(20, 128)) + rng.normal(size=(_N, 128))
    return _table(X / np.linalg.norm(X, axis=1, keepdims=True), subject)


def tiny() -> Table:
    """Nine readings of some 1e-8."""
    rng, own = _causes(4, 8)
    return _table(1e-8 * (own @ rng.normal(size=(4, 9)) + 0.5 * rng.normal(size=(_N, 9))), own[:, :3].argmax(1))


def kinds() -> Table:
    """Sixteen numbers, twenty-five classes."""
    rng = np.random.default_rng(9)
    kind = rng.integers(0, 25, _N)
    return _table(1.5 * rng.normal(size=(25, 16))[kind] + rng.normal(size=(_N, 16)), kind)
