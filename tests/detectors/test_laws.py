"""What every detector promises, checked for each that registers.

To register, add one line: a `Leaf` to LEAVES (adds columns, merges) or an `Owner` to OWNERS (keeps state from one update to the next).
"""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.access import AccessDetector
from detectors.accuracy import BINS, DELAYS, AccuracyCounts, AccuracyDetector, AccuracyReference
from detectors.drift import DriftDetector, DriftReference, WindowCounts
from detectors.drift.cells import Kind
from detectors.groups import GROUPS
from detectors.quality import KINDS, QualityCounts, QualityDetector
from detectors.rates import RateMonitor
from detectors.state import StateError

Columns = dict[str, Any]


@dataclass(frozen=True)
class Leaf:
    """A mergeable state. `columns(rng, n)` draws a batch of n events for ``update(**columns)``; arrays are cut along their first axis."""

    name: str
    make: Callable[[], Any]
    columns: Callable[[np.random.Generator, int], Columns]
    restore: Callable[[bytes], Any]
    spoil: Callable[[Columns], Columns] | None = None
    """Puts a NaN into the first event of a batch; None for leaves that take no floats."""
    cut: Callable[[Columns, int], tuple[Columns, Columns]] | None = None
    """For batches that are totals and not columns."""


@dataclass(frozen=True)
class Owner:
    """A recursion. `windows(rng)` draws what one ``update`` takes, as positional arguments."""

    name: str
    make: Callable[[], Any]
    windows: Callable[[np.random.Generator], tuple[Any, ...]]


def _reference() -> DriftReference:
    rng = np.random.default_rng(3)
    X = np.column_stack([rng.normal(size=500), rng.integers(0, 4, 500)])
    scores = rng.dirichlet([1, 1, 1], 500)
    kinds: tuple[Kind, ...] = ("numeric", "categorical")
    return DriftReference.fit(
        X, ["a", "b"], kinds, categories={"b": list("wxyz")}, scores=scores, classes=list("pqr"), label=scores.argmax(1), value=X[:, 0]
    )


REFERENCE = _reference()


def _drift_columns(rng: np.random.Generator, n: int) -> Columns:
    X = np.column_stack([rng.normal(size=n), rng.integers(-1, 6, n)]).astype(np.float32)
    scores = rng.dirichlet([1, 1, 1], n).astype(np.float32)
    clients = rng.integers(0, 2**63, n).astype(np.uint64)
    return {"X": X, "scores": scores, "label": scores.argmax(1), "value": X[:, 0].copy(), "clients": clients}


def _drift_spoil(columns: Columns) -> Columns:
    columns["X"][0], columns["scores"][0], columns["value"][0] = np.nan, np.nan, np.nan
    return columns


def _drift_window(rng: np.random.Generator) -> tuple[WindowCounts]:
    window = WindowCounts(REFERENCE)
    window.update(**_drift_columns(rng, 80))
    return (window,)


def _quality_columns(rng: np.random.Generator, n: int) -> Columns:
    received = rng.multinomial(n, np.full(GROUPS, 1 / GROUPS))
    return {"received": received, "hits": rng.binomial(received, 0.02, (len(KINDS), GROUPS))}


def _quality_cut(columns: Columns, at: int) -> tuple[Columns, Columns]:
    received, hits = columns["received"], columns["hits"]
    first = np.clip(at - np.cumsum(received) + received, 0, received)
    left = np.minimum(hits, first)
    return {"received": first, "hits": left}, {"received": received - first, "hits": hits - left}


def _access_window(rng: np.random.Generator) -> tuple[int, int]:
    return 200, int(rng.binomial(200, 0.02))


def _rates_window(rng: np.random.Generator) -> tuple[Any, ...]:
    trials = rng.integers(0, 60, 3)
    return rng.binomial(trials, [0.01, 0.2, 0.5]), trials


def _quality_window(rng: np.random.Generator) -> tuple[QualityCounts]:
    window = QualityCounts()
    window.update(**_quality_columns(rng, 200))
    return (window,)


def _accuracy_columns(rng: np.random.Generator, n: int) -> Columns:
    return {"delay": rng.integers(0, len(DELAYS), n), "wrong": rng.random(n) < 0.2, "bins": rng.integers(-1, BINS, n)}


def _accuracy_window(rng: np.random.Generator) -> tuple[AccuracyCounts]:
    window = AccuracyCounts()
    window.update(**_accuracy_columns(rng, 80))
    return (window,)


LABELLED = AccuracyReference(np.full(BINS, 50), np.full(BINS, 9))

LEAVES = [
    Leaf(
        "drift", lambda: WindowCounts(REFERENCE), _drift_columns, lambda blob: WindowCounts.from_bytes(blob, REFERENCE), spoil=_drift_spoil
    ),
    Leaf("accuracy", AccuracyCounts, _accuracy_columns, AccuracyCounts.from_bytes),
    Leaf("quality", QualityCounts, _quality_columns, QualityCounts.from_bytes, cut=_quality_cut),
]
OWNERS = [
    Owner("drift", lambda: DriftDetector(REFERENCE, false_pages=1, windows=8640), _drift_window),
    Owner("accuracy", lambda: AccuracyDetector(LABELLED, false_pages=1, windows=8640), _accuracy_window),
    Owner("access", lambda: AccessDetector(false_pages=1, windows=8640), _access_window),
    Owner("rates", lambda: RateMonitor(3, false_tickets=1, windows=8640), _rates_window),
    Owner("quality", lambda: QualityDetector(false_pages=1, windows=8640), _quality_window),
]

each_leaf = pytest.mark.parametrize("leaf", LEAVES, ids=lambda case: case.name)
each_owner = pytest.mark.parametrize("owner", OWNERS, ids=lambda case: case.name)
seeds = st.integers(0, 2**32 - 1)
lawful = settings(deadline=None, max_examples=40)  # the first call compiles


def _cut(leaf: Leaf, columns: Columns, at: int) -> tuple[Columns, Columns]:
    if leaf.cut:
        return leaf.cut(columns, at)
    return {k: v[:at] for k, v in columns.items()}, {k: v[at:] for k, v in columns.items()}


def _filled(leaf: Leaf, seed: int, n: int = 30) -> Any:
    state = leaf.make()
    state.update(**leaf.columns(np.random.default_rng(seed), n))
    return state


@each_leaf
@lawful
@given(seed=seeds, n=st.integers(2, 60), share=st.floats(0, 1))
def test_cutting_a_batch_changes_nothing(leaf: Leaf, seed: int, n: int, share: float) -> None:
    columns = leaf.columns(np.random.default_rng(seed), n)
    whole, halves = leaf.make(), leaf.make()
    whole.update(**columns)
    for part in _cut(leaf, columns, int(share * n)):
        halves.update(**part)
    assert halves.to_bytes() == whole.to_bytes()


@each_leaf
@lawful
@given(seeds=st.tuples(seeds, seeds, seeds))
def test_merging_commutes_and_associates(leaf: Leaf, seeds: tuple[int, int, int]) -> None:
    def merged(order: tuple[int, ...], *, right_first: bool) -> bytes:
        a, b, c = (_filled(leaf, seeds[k]) for k in order)
        if right_first:
            b.merge(c)
            a.merge(b)
        else:
            a.merge(b)
            a.merge(c)
        return bytes(a.to_bytes())

    results = {merged(order, right_first=right) for order in ((0, 1, 2), (2, 0, 1), (1, 0, 2)) for right in (False, True)}
    assert len(results) == 1


@each_leaf
def test_merging_leaves_its_argument_alone_and_keeps_nothing_of_it(leaf: Leaf) -> None:
    one, other = _filled(leaf, 1), _filled(leaf, 2)
    before = other.to_bytes()
    one.merge(other)
    assert other.to_bytes() == before
    after = one.to_bytes()
    other.update(**leaf.columns(np.random.default_rng(3), 10))
    assert one.to_bytes() == after


@each_leaf
def test_merging_equals_counting_together(leaf: Leaf) -> None:
    left, right, both = _filled(leaf, 1), _filled(leaf, 2), _filled(leaf, 1)
    both.update(**leaf.columns(np.random.default_rng(2), 30))
    left.merge(right)
    assert left.to_bytes() == both.to_bytes()


@each_leaf
def test_the_input_is_neither_changed_nor_kept(leaf: Leaf) -> None:
    columns = leaf.columns(np.random.default_rng(5), 40)
    before = deepcopy(columns)
    state = leaf.make()
    state.update(**columns)
    counted = state.to_bytes()
    for name, value in columns.items():
        np.testing.assert_array_equal(value, before[name])
        if isinstance(value, np.ndarray):
            value[:] = 0
    assert state.to_bytes() == counted


@each_leaf
def test_an_empty_batch_changes_nothing(leaf: Leaf) -> None:
    state = _filled(leaf, 1)
    before = state.to_bytes()
    state.update(**leaf.columns(np.random.default_rng(5), 0))
    assert state.to_bytes() == before


@each_leaf
def test_a_leaf_comes_back_from_its_bytes(leaf: Leaf) -> None:
    state = _filled(leaf, 1)
    back = leaf.restore(state.to_bytes())
    for one in (state, back):
        one.update(**leaf.columns(np.random.default_rng(6), 20))
    assert back.to_bytes() == state.to_bytes()


@each_leaf
def test_clearing_equals_a_new_leaf(leaf: Leaf) -> None:
    state = _filled(leaf, 1)
    state.clear()
    assert state.to_bytes() == leaf.make().to_bytes()


@pytest.mark.parametrize("leaf", [case for case in LEAVES if case.spoil], ids=lambda case: case.name)
def test_one_nan_does_not_blind(leaf: Leaf) -> None:
    assert leaf.spoil
    rng = np.random.default_rng(7)
    spoiled, clean = leaf.make(), leaf.make()
    bad = leaf.spoil(leaf.columns(rng, 1))
    spoiled.update(**bad)
    alone = leaf.make()
    alone.update(**bad)
    good = leaf.columns(rng, 50)
    spoiled.update(**good)
    clean.update(**good)
    assert clean.to_bytes() != leaf.make().to_bytes()
    alone.merge(clean)
    assert spoiled.to_bytes() == alone.to_bytes()


@each_leaf
@lawful
@given(blob=st.binary(max_size=60), at=st.integers(0, 200))
def test_damaged_bytes_of_a_leaf_are_refused(leaf: Leaf, blob: bytes, at: int) -> None:
    good = _filled(leaf, 1).to_bytes()
    for bytes_ in (blob, good[: min(at, len(good) - 1)]):
        with pytest.raises(StateError):
            leaf.restore(bytes_)


@each_owner
@lawful
@given(seed=seeds, before=st.integers(0, 6))
def test_a_restored_owner_goes_on_bit_for_bit(owner: Owner, seed: int, before: int) -> None:
    rng = np.random.default_rng(seed)
    one, other = owner.make(), owner.make()
    for _ in range(before):
        one.update(*owner.windows(rng))
    other.restore(one.snapshot())
    for _ in range(3):
        window = owner.windows(rng)
        assert repr(one.update(*window)) == repr(other.update(*window))  # repr: NaN equals itself, floats differ in the last bit
    assert one.snapshot() == other.snapshot()


@each_owner
def test_an_owner_neither_changes_nor_keeps_its_window(owner: Owner) -> None:
    rng = np.random.default_rng(1)
    detector = owner.make()
    window = owner.windows(rng)
    blobs = [part.to_bytes() for part in window if hasattr(part, "to_bytes")]
    detector.update(*window)
    assert [part.to_bytes() for part in window if hasattr(part, "to_bytes")] == blobs
    state = detector.snapshot()
    for part in window:
        if hasattr(part, "clear"):
            part.clear()
    assert detector.snapshot() == state


@each_owner
def test_an_owner_reports_what_it_returned(owner: Owner) -> None:
    detector = owner.make()
    assert detector.report() is None
    returned = detector.update(*owner.windows(np.random.default_rng(1)))
    assert detector.report() is returned


@each_owner
def test_the_state_of_an_owner_does_not_grow(owner: Owner) -> None:
    rng = np.random.default_rng(1)
    detector, sizes = owner.make(), []
    for windows in (5, 50):
        for _ in range(windows):
            detector.update(*owner.windows(rng))
        sizes.append(len(detector.snapshot()))
    assert sizes[1] <= sizes[0] + 64  # msgpack writes large integers longer


@each_owner
def test_bytes_of_another_kind_are_refused_by_an_owner(owner: Owner) -> None:
    for blob in (b"", b"\x93\xa1x\x01\x80", owner.make().snapshot()[:-3]):
        with pytest.raises(StateError):
            owner.make().restore(blob)
