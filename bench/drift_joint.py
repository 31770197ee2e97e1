"""A correlation that changes while every marginal stays: rows until the page, beside the information bound.

20 features with standard normal marginals; the first two have correlation rho before and another after. Bound: ln(8,640 x 190) / KL, what
a detector needs on average that knows the change but not which of the 190 pairs it is in; KL of two normal laws of unit variances.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from bench.delays import windows_to_page
from bench.drift_months import FEATURES, MONTH, NAMES, ROWS, WINDOW
from detectors.drift import DriftDetector, DriftReference, WindowCounts

CHANGES = ((0.0, 0.2), (0.0, 0.3), (0.0, 0.5), (0.0, -0.5), (0.5, 0.0), (0.8, 0.4), (0.9, 0.5))
WARM, LIMIT, SHARED = 15, 150, 10


def rows(rng: np.random.Generator, n: int, rho: float) -> NDArray[np.float32]:
    """Normal rows, the first two columns of correlation rho."""
    X = rng.standard_normal((n, FEATURES), np.float32)
    X[:, 1] = rho * X[:, 0] + math.sqrt(1 - rho**2) * X[:, 1]
    return X


def divergence(before: float, after: float) -> float:
    """KL of the law after from the law before, in nats per row."""
    a, b = (np.array([[1, rho], [rho, 1]]) for rho in (after, before))
    return float(0.5 * (np.trace(np.linalg.solve(b, a)) - 2 + math.log(np.linalg.det(b) / np.linalg.det(a))))


def _delays(before: float, after: float, materiality: float, repetitions: int) -> tuple[NDArray[np.float64], int, int]:
    """Rows to the page of each repetition, pages that named the pair first, and pages before the change."""
    rng, pairs = np.random.default_rng(7), list[bool]()

    def fit() -> DriftDetector:
        reference = DriftReference.fit(rows(rng, ROWS, before), NAMES, ["numeric"] * FEATURES)
        return DriftDetector(reference, false_pages=1, windows=MONTH, materiality=materiality)

    def count(counts: WindowCounts, changed: bool) -> None:
        counts.update(rows(rng, WINDOW, after if changed else before))

    def paged(detector: DriftDetector, counts: WindowCounts) -> None:
        pair = detector.update(counts).pairs[0]
        pairs.append({pair.first, pair.second} == {NAMES[0], NAMES[1]})

    windows, false = windows_to_page(repetitions, SHARED, fit, count, WARM, LIMIT, paged)
    return WINDOW * windows, sum(pairs), false


def joint_table(materialities: list[float], repetitions: int) -> None:
    """Print the table."""
    for materiality in materialities:
        print(f"\none pair of 190 changes, materiality {materiality}, {repetitions} repetitions, independent rows")
        print("| correlation | bound, rows | median delay | of bound | quartiles | paged | the pair is named | false |")
        print("|---|---|---|---|---|---|---|---|")
        for before, after in CHANGES:
            bound = math.log(MONTH * FEATURES * (FEATURES - 1) / 2) / divergence(before, after)
            found, named, false = _delays(before, after, materiality, repetitions)
            low, median, high = np.quantile(found, [0.25, 0.5, 0.75], method="inverted_cdf")
            shown = f"{median:,.0f} | {median / bound:.1f}" if math.isfinite(median) else "not found | -"
            print(
                f"| {before} -> {after} | {bound:,.0f} | {shown} | {low:,.0f}-{high:,.0f} | {np.isfinite(found).mean():.0%} "
                f"| {named / max(np.isfinite(found).sum(), 1):.0%} | {false} |",
                flush=True,
            )
