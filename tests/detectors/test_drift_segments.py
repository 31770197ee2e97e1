"""A segment of the traffic is compared with its own past, and what happens in it alone is found."""

import numpy as np
import pytest
from numpy.typing import NDArray

from detectors.drift import DriftDetector, DriftReference, DriftReport, WindowCounts
from detectors.drift.segments import Segment

F, REGIONS = 6, 8
NAMES = [f"f{j}" for j in range(F)]
MEANS = np.random.default_rng(0).normal(0, 0.7, (REGIONS, F))
"""Each region has habits of its own."""


def rows(rng: np.random.Generator, regions: NDArray[np.int64], shift: float = 0.0, hour: float = 0.0) -> NDArray[np.float64]:
    X = MEANS[regions] + rng.normal(size=(len(regions), F)) + 0.3 * np.sin(2 * np.pi * hour / 24)
    X[regions == 3, 2] += shift
    return np.asarray(X, np.float64)


@pytest.fixture(scope="module")
def reference() -> DriftReference:
    rng = np.random.default_rng(1)
    hours = np.sort(rng.uniform(0, 24 * 14, 60_000))
    X = np.concatenate([rows(rng, rng.integers(0, REGIONS, 1), hour=h) for h in hours])
    return DriftReference.fit(X, NAMES, ["numeric"] * F, at_s=3600 * hours)


def segment_of(reference: DriftReference) -> Segment:
    return Segment(reference, false_pages=1 / 32, windows=8640, materiality=0.01)


def run(reference: DriftReference, windows: int, change: int, shift: float) -> tuple[list[DriftReport], list[list[DriftReport | None]]]:
    """The whole and every region, windows of five minutes of 800 events of many clients."""
    rng = np.random.default_rng(2)
    whole = DriftDetector(reference, false_pages=0.75, windows=8640)
    segments = [segment_of(reference) for _ in range(REGIONS)]
    of_whole, of_segments = [], []
    for t in range(windows):
        span = (300.0 * t, 300.0 * t + 300.0)
        regions = rng.integers(0, REGIONS, 800)
        X, clients = rows(rng, regions, shift * (t >= change), t / 12), rng.integers(0, 2_000, 800)
        counts = WindowCounts(reference)
        parts = [WindowCounts(reference) for _ in range(REGIONS)]
        for region, part in enumerate(parts):
            part.update(X[regions == region], clients=clients[regions == region])
            counts.merge(part)
        of_whole.append(whole.update(counts, span))
        of_segments.append([segment.update(part, span) for segment, part in zip(segments, parts, strict=True)])
    return of_whole, of_segments


def test_a_shift_in_one_region_of_eight_that_the_whole_dilutes_is_found_there_and_nowhere_else(reference: DriftReference) -> None:
    change = 590
    whole, segments = run(reference, 615, change, 0.5)
    assert all(report is None for report in segments[575])  # two days are learned
    assert all(report is not None for report in segments[577])
    opened = {
        region: [t for t, reports in enumerate(segments) if (report := reports[region]) and report.opened] for region in range(REGIONS)
    }
    assert {region for region, at in opened.items() if at} == {3}
    assert change <= opened[3][0] < change + 20
    report = segments[opened[3][0]][3]
    assert report is not None
    assert report.leading[0] == "f2"
    assert report.variables[2].direction == "up"
    assert report.variables[2].mean_shift > 0.2
    of_whole = [t for t, one in enumerate(whole) if one.opened]
    assert not of_whole or of_whole[0] > opened[3][0]


def test_a_segment_goes_through_a_snapshot_bit_for_bit_while_learned_and_while_judged(reference: DriftReference) -> None:
    rng = np.random.default_rng(3)
    one = segment_of(reference)

    def window(t: int) -> tuple[WindowCounts, tuple[float, float]]:
        counts = WindowCounts(reference)
        regions = np.full(100, 5)
        counts.update(rows(rng, regions, hour=t / 12), clients=rng.integers(0, 50, 100))
        return counts, (300.0 * t, 300.0 * t + 300.0)

    for t in range(610):
        given = window(t)
        if t in (5, 20, 590, 609):
            other = segment_of(reference)
            other.restore(one.state())
            assert repr(one.update(*given)) == repr(other.update(*given))
            assert repr(one.state()) == repr(other.state())
        else:
            one.update(*given)
    assert one.judged
