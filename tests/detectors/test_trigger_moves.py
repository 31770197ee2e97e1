"""A feature that moves takes its classes into cells that were rare, and that is no trigger; a trigger in a feature that moved is one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
import pytest

from detectors.rare_cells import BINS, RareCounts, TriggerReference
from detectors.rare_moves import MOVES, moved_shares, plausible_rows
from detectors.triggers import TriggerMonitor, TriggerReport
from streams.demo import model as demo
from streams.drill.modes import DRIFTING

SEEDS = range(5)
MOVED = [(0.1, 1.0), (-0.1, 1.0), (0.25, 1.0), (-0.25, 1.0), (0.5, 1.0), (-0.5, 1.0), (0.0, 1.25)]
"""By how many sd, and by what factor around the mean."""


@dataclass(frozen=True)
class World:
    """A model: what it is asked, what it answers; one of its features moves."""

    draw: Callable[[np.random.Generator, int], np.ndarray]
    answer: Callable[[np.ndarray], np.ndarray]
    known: np.ndarray
    classes: int
    feature: int

    def reference(self) -> TriggerReference:
        return TriggerReference.fit(self.known, self.answer(self.known), self.classes, ["numeric"] * self.known.shape[1])


def _draw(rng: np.random.Generator, n: int) -> np.ndarray:
    """Normal, log-normal, exponential, and two that go with the first."""
    z = rng.normal(size=(n, 4))
    X = np.stack([z[:, 0], np.exp(z[:, 1]), rng.exponential(size=n), 0.8 * z[:, 0] + 0.6 * z[:, 2], z[:, 3] - z[:, 0]], axis=1)
    return X.astype(np.float32)


@cache
def decided_by(feature: int) -> World:
    """Three classes, by that feature's 30th and 70th percentile."""
    known = _draw(np.random.default_rng(100), 3_000)
    cuts = np.quantile(known[:, feature], [0.3, 0.7])
    return World(_draw, lambda X: np.digitize(X[:, feature], cuts).astype(np.int32), known, 3, feature)


@cache
def drilled() -> World:
    """The fire drill's: a network on photographs' readings, the feature that its first mode shifts."""
    data = demo.load(1)
    served, held = demo.train(data, 1), data.traffic.X
    known = np.concatenate([data.train.X, data.held_out.X])
    return World(
        lambda rng, n: held[rng.integers(len(held), size=n)], lambda X: served.answer(X).argmax(1).astype(np.int32), known,
        len(data.classes), data.names.index(DRIFTING),
    )  # fmt: skip


def watched(
    world: World, seed: int, shift: float, stretch: float, *, trigger: tuple[int, float, int] | None = None, windows: int = 40
) -> tuple[int, TriggerReport] | None:
    """After 20 windows all rows move; the window after the onset in which a ticket opened, and the report."""
    reference = world.reference()
    monitor, rng = TriggerMonitor(reference, false_tickets=1, windows=8640), np.random.default_rng(seed)
    ids = rng.integers(0, 2**63, 60).astype(np.uint64) << np.uint64(1)
    column = world.known[:, world.feature].astype(np.float64)
    sd, mean = float(column.std()), float(column.mean())
    for window in range(-20, windows):
        X = world.draw(rng, 240).copy()
        if window >= 0:
            X[:, world.feature] = (X[:, world.feature] - mean) * stretch + mean + shift * sd
        label = world.answer(X)
        if window >= 0 and trigger is not None:
            hit = rng.random(len(X)) < 1 / 12
            X[hit, trigger[0]], label[hit] = trigger[1:]
        counts = RareCounts(reference)
        counts.update(X, label, np.ones(240, bool), rng.integers(1, 2**63, 240).astype(np.uint64), ids[rng.integers(0, 60, 240)])
        report = monitor.update(counts)
        if report.rate.severity != "none":
            return window + 1, report
    return None


@pytest.mark.parametrize("world", [lambda: decided_by(0), lambda: decided_by(1), lambda: decided_by(2), drilled])
@pytest.mark.parametrize(("shift", "stretch"), MOVED)
def test_a_move_of_the_feature_that_decides_the_class_is_no_trigger(world: Callable[[], World], shift: float, stretch: float) -> None:
    for seed in SEEDS:
        assert watched(world(), seed, shift, stretch) is None, seed


@pytest.mark.parametrize("shift", [0.0, 0.25, -0.25])
def test_a_trigger_in_the_feature_that_decides_the_class_is_found_though_the_feature_moves_too(shift: float) -> None:
    for seed in SEEDS:
        found = watched(decided_by(0), seed, shift, 1.0, trigger=(0, 6.0, 0))
        assert found is not None, seed
        assert found[0] <= 5
        assert (found[1].feature, found[1].cell, found[1].klass) == (0, 3, 0)


def test_a_trigger_whose_class_the_cell_has_anyway_is_not_found() -> None:
    assert watched(decided_by(0), 1, 0.0, 1.0, trigger=(0, 6.0, 2)) is None  # high values are of the third class, trigger or not


def test_rows_with_a_trigger_do_not_look_like_a_move_and_few_rows_rule_nothing_out() -> None:
    world = decided_by(0)
    reference = world.reference()
    low, high = np.concatenate([[-np.inf], reference.edges[0]]), np.concatenate([reference.edges[0], [np.inf]])

    def bins(X: np.ndarray) -> np.ndarray:
        return np.asarray(((X[:, None] >= low) & (X[:, None] < high)).sum(0))

    X = world.known[:1_000, 0].copy()
    still = plausible_rows(reference, 0, bins(X))
    X[:300] = 9.0
    assert len(plausible_rows(reference, 0, bins(X))) >= len(still)  # fewer rows, the same shape
    assert len(plausible_rows(reference, 0, bins(world.known[:1_000, 0] + 0.5))) < len(MOVES) / 4
    assert len(plausible_rows(reference, 0, np.zeros(BINS, np.int64))) == len(MOVES)


def test_a_value_that_most_rows_have_moves_as_a_whole() -> None:
    rng = np.random.default_rng(3)
    X = np.where(rng.random((2_000, 1)) < 0.9, 0.0, rng.integers(1, 4, (2_000, 1))).astype(np.float32)
    reference = TriggerReference.fit(X, (X[:, 0] > 0).astype(np.int32), 2, ["numeric"])
    shares, _ = moved_shares(reference, 0)
    assert shares.sum(1) == pytest.approx(1.0)
    up = int(np.flatnonzero((MOVES[:, 0] > 0) & (MOVES[:, 1] == 1.0))[0])
    assert np.flatnonzero(shares[0] > 0.5).tolist() == [6]  # at the edge of nearly all bins, and in a middle one
    assert np.flatnonzero(shares[up] > 0.5).tolist() == [7]  # all of it moves on


def test_one_client_does_not_move_a_feature() -> None:
    world, rng = decided_by(0), np.random.default_rng(4)
    reference = world.reference()
    counts = RareCounts(reference)
    X = np.full((5_000, 5), 0.7, np.float32)
    keys, one = rng.integers(1, 2**63, 5_000).astype(np.uint64), np.full(5_000, 2**60, np.uint64)
    counts.update(X, np.zeros(5_000, np.int32), np.ones(5_000, bool), keys, one)
    assert counts.bins.sum(1).tolist() == [16] * 5
