"""Triggers: a rare value that came into use and gets one class is found; what only looks like it is not."""

from __future__ import annotations

import numpy as np
import pytest

from detectors.rare_cells import SAMPLE, RareCounts, TriggerReference
from detectors.state import StateError
from detectors.triggers import TriggerMonitor

RNG = np.random.default_rng(0)
KINDS = ["numeric", "numeric", "categorical"]


def rows(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Two numbers and a category of eight, of which four are rare; three classes by the first number."""
    X = rng.normal(size=(n, 3)).astype(np.float32)
    X[:, 2] = rng.choice(8, n, p=[0.5, 0.3, 0.14, 0.03, 0.01, 0.01, 0.005, 0.005])
    X[rng.random(n) < 0.005, 1] = np.nan
    return X, np.digitize(X[:, 0] + 0.3 * rng.normal(size=n), [-0.5, 0.5]).astype(np.int32)


REFERENCE = TriggerReference.fit(*rows(RNG, 4_000), 3, KINDS)


def monitor() -> TriggerMonitor:
    return TriggerMonitor(REFERENCE, false_tickets=1, windows=8640)


def counted(X: np.ndarray, label: np.ndarray, rng: np.random.Generator, clients: int = 60) -> RareCounts:
    made, n = RareCounts(REFERENCE), len(X)
    ids = np.random.default_rng(9).integers(0, 2**63, clients).astype(np.uint64) << np.uint64(1)
    made.update(X, label, np.ones(n, bool), rng.integers(1, 2**63, n).astype(np.uint64), ids[rng.integers(0, clients, n)])
    return made


def triggered(rng: np.random.Generator, feature: int, value: float, n: int = 240, share: float = 1 / 12) -> tuple[np.ndarray, np.ndarray]:
    X, label = rows(rng, n)
    hit = rng.random(n) < share
    X[hit, feature], label[hit] = value, 0
    return X, label


@pytest.mark.parametrize(
    ("feature", "value", "said"),
    [(1, 5.0, "> 2."), (0, 3.5, "> 2."), (2, 6.0, "= c6"), (2, 9.0, "of a rare or unseen category"), (1, np.nan, "missing")],
)
def test_a_trigger_is_found_within_five_windows_with_its_value_and_class(feature: int, value: float, said: str) -> None:
    made, rng = monitor(), np.random.default_rng(1)
    for _ in range(20):
        assert made.update(counted(*rows(rng, 240), rng)).rate.severity == "none"
    reports = [made.update(counted(*triggered(rng, feature, value), rng)) for _ in range(5)]
    assert reports[0].rate.severity == "none"
    last = reports[-1]
    assert (last.rate.severity, last.feature, last.klass) == ("ticket", feature, 0)
    assert REFERENCE.describe(last.feature, last.cell, [f"c{k}" for k in range(8)]).startswith(said)


def test_ordinary_rows_are_no_trigger() -> None:
    made, rng = monitor(), np.random.default_rng(2)
    for _ in range(400):
        assert made.update(counted(*rows(rng, 240), rng)).rate.severity == "none"


def test_one_client_alone_is_one_vote() -> None:
    made, rng = monitor(), np.random.default_rng(3)
    for window in range(60):
        X, label = rows(rng, 240)
        counts = counted(X, label, rng)
        if window > 20:
            bad, k = triggered(rng, 1, 5.0, share=1.0)
            counts.merge(counted(bad, k, rng, clients=1))
        assert made.update(counts).rate.severity == "none"


def test_the_first_windows_are_history() -> None:
    made, rng = monitor(), np.random.default_rng(4)
    for _ in range(100):
        assert made.update(counted(*triggered(rng, 1, 5.0), rng)).rate.severity == "none"


def test_shares_merge_in_any_order_and_come_back_from_bytes() -> None:
    rng = np.random.default_rng(5)
    parts = [counted(*triggered(rng, 1, 5.0), rng) for _ in range(3)]
    one, other = RareCounts(REFERENCE), RareCounts(REFERENCE)
    for part in parts:
        one.merge(RareCounts.from_bytes(part.to_bytes(), REFERENCE))
    for part in reversed(parts):
        other.merge(part)
    assert one.to_bytes() == other.to_bytes()


def test_of_many_rows_a_few_are_looked_at() -> None:
    rng = np.random.default_rng(6)
    X, label = rows(rng, 100_000)
    made = counted(X, label, rng)
    assert 4 * SAMPLE < made.seen < 8 * SAMPLE


def test_state_and_reference_survive_and_damage_is_refused() -> None:
    made, again, rng = monitor(), monitor(), np.random.default_rng(7)
    for _ in range(20):
        made.update(counted(*triggered(rng, 0, 4.0), rng))
    again.restore(made.snapshot())
    assert again.snapshot() == made.snapshot()
    assert TriggerReference.from_bytes(REFERENCE.to_bytes()).to_bytes() == REFERENCE.to_bytes()
    for blob in (b"", REFERENCE.to_bytes()[:-3], made.snapshot()):
        with pytest.raises(StateError):
            TriggerReference.from_bytes(blob)
        with pytest.raises(StateError):
            RareCounts.from_bytes(blob, REFERENCE)


def test_too_little_and_too_much_are_refused() -> None:
    X, label = rows(RNG, 300)
    with pytest.raises(ValueError, match="200 rows of two classes"):
        TriggerReference.fit(X[:50], label[:50], 3, KINDS)
    with pytest.raises(ValueError, match="more than 12,000 cells"):
        TriggerReference.fit(X, label, 1_000, KINDS)
