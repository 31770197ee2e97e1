"""Sizes over a day are those of one window with all its counts, whatever season, and go on from a snapshot."""

from __future__ import annotations

import numpy as np
import pytest

from detectors.drift import DriftDetector, DriftReference, WindowCounts
from detectors.drift.effect import EffectSizer
from detectors.drift.slow import SlowSizes

T0 = 1_800_000_000.0 // 86_400 * 86_400


def reference() -> DriftReference:
    rng = np.random.default_rng(1)
    return DriftReference.fit(np.stack([rng.normal(size=4_000), rng.integers(0, 3, 4_000)], 1), ["x", "tied"], ["numeric", "numeric"])


def filled(hours: int, shift: float) -> tuple[DriftReference, SlowSizes, list[WindowCounts]]:
    made, parts = reference(), []
    detector = DriftDetector(made, false_pages=1, windows=8_640)
    slow = SlowSizes(detector.sizer)
    for k in range(hours):
        rng = np.random.default_rng([2, k])
        counts, span = WindowCounts(made), (T0 + 3_600 * k, T0 + 3_600 * (k + 1))
        X = np.stack([rng.normal(shift * (k % 2), 1.0, 60), rng.integers(0, 3, 60)], 1)
        X[rng.random((60, 2)) < 0.1] = np.nan
        counts.update(X)
        slow.take(counts, detector.update(counts), span)
        parts.append(counts)
    return made, slow, parts


def test_they_are_those_of_one_window_with_all_the_counts() -> None:
    made, slow, parts = filled(20, 1.0)
    whole = WindowCounts(made)
    for part in parts:
        whole.merge(part)
    seconds, sizes = slow.sizes()
    assert seconds == 20 * 3_600
    one = EffectSizer(made)(whole)
    for v, name in enumerate(made.variables):
        assert sizes[name] == pytest.approx((one.psi[v], one.w1[v]), rel=1e-9)
    assert sizes["x"][1] == pytest.approx(0.5, abs=0.1)


def test_what_is_older_than_a_day_is_gone_and_a_snapshot_goes_on() -> None:
    made, slow, parts = filled(60, 0.0)
    assert 20 * 3_600 <= slow.sizes()[0] <= 24 * 3_600
    again = SlowSizes(EffectSizer(made))
    again.load(slow.dump())
    assert again.sizes() == slow.sizes()
    detector = DriftDetector(made, false_pages=1, windows=8_640)
    for one in (slow, again):
        one.take(parts[0], detector.update(parts[0]), (T0 + 3_600 * 60, T0 + 3_600 * 61))
    assert again.sizes() == slow.sizes()


def test_a_snapshot_of_before_in_stretches_of_three_hours_goes_on() -> None:
    made, slow, parts = filled(24, 0.5)
    stretches, size = [], made.n_cells + len(made.variables)
    detector = DriftDetector(made, false_pages=1, windows=8_640)
    for begin in range(0, 24, 3):
        one = SlowSizes(detector.sizer)
        for k in range(begin, begin + 3):
            one.take(parts[k], detector.update(parts[k]), (T0 + 3_600 * k, T0 + 3_600 * (k + 1)))
        sums = np.sum([sums for _, _, sums in one.dump()["stretches"]], axis=0)
        assert sums.shape == (size,)
        stretches.append([int((T0 + 3_600 * begin) // (3 * 3_600)), T0 + 3_600 * begin, sums.astype(np.float64)])
    again = SlowSizes(detector.sizer)
    again.load({"until": T0 + 3_600 * 24, "stretches": stretches})
    assert again.sizes() == slow.sizes()
    again.take(parts[0], detector.update(parts[0]), (T0 + 3_600 * 24, T0 + 3_600 * 25))
    assert again.sizes()[0] == 19 * 3_600  # from six on: what began at three is in the stretch of before four, which is gone


def test_without_windows_there_are_none_and_of_another_shape_nothing_is_taken() -> None:
    made, slow, _ = filled(3, 0.0)
    other = SlowSizes(EffectSizer(DriftReference.fit(np.random.default_rng(0).normal(size=(300, 1)), ["x"], ["numeric"])))
    other.load(slow.dump())
    assert other.sizes() == SlowSizes(EffectSizer(made)).sizes() == (0.0, {})
