"""A shift in one of eight regions: windows until the region pages, beside the whole model with drift's whole budget.

Six features; every region has means of its own (sd 0.7 between regions); windows of 800 events, 100 a region. The regions are learned for
two days, then one feature of one region is shifted. Segments have a quarter of the budget, an eighth of it each.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from bench.drift_months import MONTH
from detectors.drift import DriftDetector, DriftReference, WindowCounts
from detectors.drift.segments import Segment

FEATURES, REGIONS, EVENTS, LEARNED, WARM, LIMIT = 6, 8, 100, 577, 15, 120
SHIFTS = (0.25, 0.5, 1.0)


def segments_table(materialities: list[float], repetitions: int) -> None:
    """Print the table."""
    print("\n| materiality | shift in one region | the region: median windows | paged | the whole: median windows | paged | false |")
    print("|---|---|---|---|---|---|---|")
    for materiality in materialities:
        rng = np.random.default_rng(3)
        means = rng.normal(0, 0.7, (REGIONS, FEATURES))

        def rows(region: NDArray[np.int64]) -> NDArray[np.float64]:
            return np.asarray(means[region] + rng.normal(size=(len(region), FEATURES)), np.float64)  # noqa: B023  # used at once

        names = [f"f{j}" for j in range(FEATURES)]
        reference = DriftReference.fit(rows(rng.integers(0, REGIONS, 100_000)), names, ["numeric"] * FEATURES)
        region = Segment(reference, false_pages=0.25 / REGIONS, windows=MONTH, materiality=materiality)
        whole = DriftDetector(reference, false_pages=1, windows=MONTH, materiality=materiality)
        mine, counts = WindowCounts(reference), WindowCounts(reference)
        for t in range(LEARNED):
            mine.clear()
            mine.update(rows(np.zeros(EVENTS, np.int64)))
            region.update(mine, (300.0 * t, 300.0 * t + 300.0))
        learned, fresh = region.state(), whole.snapshot()
        for shift in SHIFTS:
            found, false = np.full((2, repetitions), np.inf), 0
            for r in range(repetitions):
                region.restore(learned)
                whole.restore(fresh)
                for t in range(-WARM, LIMIT):
                    X = rows(np.repeat(np.arange(REGIONS), EVENTS))
                    X[:EVENTS, 0] += shift * (t >= 0)
                    mine.clear()
                    mine.update(X[:EVENTS])
                    counts.clear()
                    counts.update(X)
                    at = 300.0 * (LEARNED + WARM + t)
                    report = region.update(mine, (at, at + 300.0))
                    opened = report is not None and report.opened, whole.step(counts)[1]
                    for k in range(2):
                        false += opened[k] and t < 0
                        if opened[k] and t >= 0:
                            found[k, r] = min(found[k, r], t + 1)
                    if np.isfinite(found[:, r]).all():
                        break
            shown = []
            for one in found:
                median = float(np.quantile(one, 0.5, method="inverted_cdf"))
                shown += [f"{median:.0f}" if math.isfinite(median) else "-", f"{np.isfinite(one).mean():.0%}"]
            print(f"| {materiality} | +{shift} sd | {' | '.join(shown)} | {false} |", flush=True)
