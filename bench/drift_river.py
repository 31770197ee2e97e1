"""Drift on river's generators: abrupt, gradual and incremental changes, and a concept that changes while the inputs stay.

Of each stream the first 10,000 rows are the reference; windows of 100 rows follow, the change begins after another 10,000 and 20,000 rows
follow it. From then on a row is of the second generator with probability 1 / (1 + exp(-4 (t / width - 1))), t rows after the change's
beginning, as in river's `ConceptDriftStream`. Features are tracked, and the true class as if it were the model's answer. ADWIN (river, its
default delta) watches every feature and the class's number beside it, on the same rows.

A pure concept change (`Hyperplane`: the labels turn, the inputs do not) shows in no marginal: that needs delayed labels.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from river.datasets import synth
from river.drift import ADWIN

from detectors.drift import DriftDetector, DriftReference, WindowCounts

REFERENCE, QUIET, AFTER, WINDOW, MONTH = 10_000, 10_000, 20_000, 100, 8_640
CHANGE = REFERENCE + QUIET


class Stream(NamedTuple):
    """Two generators, by seed, and over how many rows the second takes the first one's place."""

    name: str
    before: Callable[[int], Any]
    after: Callable[[int], Any]
    width: int


def _rbf(model: int, speed: float = 0.0) -> Callable[[int], Any]:
    def make(seed: int) -> Any:
        options = {"seed_model": 10 * seed + model, "seed_sample": seed, "n_features": 10, "n_classes": 4, "n_centroids": 20}
        return synth.RandomRBFDrift(**options, change_speed=speed, n_drift_centroids=20) if speed else synth.RandomRBF(**options)

    return make


def _agrawal(function: int) -> Callable[[int], Any]:
    return lambda seed: synth.Agrawal(classification_function=function, seed=seed)


def _hyperplane(change: float) -> Callable[[int], Any]:
    return lambda seed: synth.Hyperplane(seed=seed, n_features=10, n_drift_features=10, mag_change=change)


STREAMS = (
    Stream("RBF, no change", _rbf(1), _rbf(1), 1),
    Stream("RBF to other centres, abrupt", _rbf(1), _rbf(2), 1),
    Stream("RBF to other centres, gradual over 5,000 rows", _rbf(1), _rbf(2), 5_000),
    Stream("RBF, centres wander (incremental)", _rbf(1), _rbf(1, speed=0.0005), 1),
    Stream("Agrawal function 0 to 3, abrupt (class mix)", _agrawal(0), _agrawal(3), 1),
    Stream("Hyperplane turns (concept only)", _hyperplane(0.0), _hyperplane(0.01), 1),
)


def rows_of(stream: Stream, seed: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Features and classes of a whole stream."""
    n = CHANGE + AFTER
    since = np.arange(n) - CHANGE
    second = np.random.default_rng(seed).random(n) < 1 / (1 + np.exp(-np.clip(4.0 * (since / stream.width - 1.0), -50, 50)))
    second &= since >= 0
    taken: list[Iterator[Any]] = [itertools.islice(make(seed).take(n), k) for make, k in ((stream.before, n), (stream.after, n))]
    X, y = [], []
    for late in second.tolist():
        x, label = next(taken[late])
        X.append(list(x.values()))
        y.append(int(label))
    return np.array(X, np.float32), np.array(y, np.int64)


class Found(NamedTuple):
    """Alarms before the change, and rows from it to the first one after; inf for none."""

    false: int
    delay: float


def ours(X: NDArray[np.float32], y: NDArray[np.int64], materiality: float) -> Found:
    """Page episodes of the drift detector, one page a month of 8,640 windows."""
    classes = [str(k) for k in range(int(y.max()) + 1)]
    names = [f"f{j}" for j in range(X.shape[1])]
    reference = DriftReference.fit(X[:REFERENCE], names, ["numeric"] * len(names), classes=classes, label=y[:REFERENCE])
    detector = DriftDetector(reference, false_pages=1, windows=MONTH, materiality=materiality)
    false = 0
    for begin in range(REFERENCE, len(X), WINDOW):
        counts = WindowCounts(reference)
        counts.update(X[begin : begin + WINDOW], label=y[begin : begin + WINDOW])
        if detector.step(counts)[1]:
            if begin >= CHANGE:
                return Found(false, begin + WINDOW - CHANGE)
            false += 1
    return Found(false, np.inf)


def adwin(X: NDArray[np.float32], y: NDArray[np.int64]) -> Found:
    """Alarms of ADWIN on any column."""
    watches: list[Any] = [ADWIN() for _ in range(X.shape[1] + 1)]  # type: ignore[no-untyped-call]  # river has no types here
    false = 0
    for t, row in enumerate(np.column_stack([X, y]).astype(float).tolist()):
        for watch, value in zip(watches, row, strict=True):
            watch.update(value)
        if any(watch.drift_detected for watch in watches) and t >= REFERENCE:
            if t >= CHANGE:
                return Found(false, t + 1 - CHANGE)
            false += 1
    return Found(false, np.inf)


def river_table(repetitions: int) -> None:
    """Print the table."""
    print(f"\nriver's generators, {repetitions} repetitions: median delay in rows (found); alarms before the change")
    print("| stream | materiality 0 | materiality 0.01 | ADWIN on every column |")
    print("|---|---|---|---|")
    for stream in STREAMS:
        data = [rows_of(stream, seed) for seed in range(1, repetitions + 1)]
        columns = [
            [ours(X, y, 0.0) for X, y in data],
            [ours(X, y, 0.01) for X, y in data],
            [adwin(X, y) for X, y in data],
        ]
        print(f"| {stream.name} | {' | '.join(_said(found) for found in columns)} |", flush=True)


def _said(found: list[Found]) -> str:
    hits = [one.delay for one in found if np.isfinite(one.delay)]
    median = f"{np.median(hits):,.0f} " if hits else ""
    return f"{median}({len(hits)} of {len(found)}); {sum(one.false for one in found)}"
