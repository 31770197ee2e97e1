"""Changes that no column and no pair of sides shows, rows until the page; and quiet months of such rows.

Three: of normal columns, any two independent, one takes the sign of the product of two others. Sizes: one column is as far from its middle
as another. Direction: an embedding of correlated columns (variances 1 to 1/400) moves by half a sd along one direction of its whitened
space.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from bench.delays import windows_to_page
from bench.drift_months import MONTH, clopper_pearson
from detectors.drift import DriftDetector, DriftReference, WindowCounts
from detectors.drift.witness import COMPONENTS

Draw = Callable[[np.random.Generator, int], NDArray[np.float32]]
WINDOW, WARM, LIMIT, SHARED = 300, 15, 100, 5


def normal(d: int) -> Draw:
    """Independent columns."""
    return lambda rng, n: rng.standard_normal((n, d), np.float32)


def three(d: int) -> Draw:
    """The third has the sign of the product of the first two."""

    def draw(rng: np.random.Generator, n: int) -> NDArray[np.float32]:
        X = rng.standard_normal((n, d), np.float32)
        X[:, 2] = np.abs(X[:, 2]) * np.sign(X[:, 0] * X[:, 1])
        return X

    return draw


def sizes(d: int) -> Draw:
    """The second is the first, on a side of its own."""

    def draw(rng: np.random.Generator, n: int) -> NDArray[np.float32]:
        X = rng.standard_normal((n, d), np.float32)
        X[:, 1] = np.abs(X[:, 0]) * rng.choice([-1, 1], n)
        return X

    return draw


def embedding(d: int, shift: float = 0.0) -> Draw:
    """Correlated columns, moved by `shift` sd along one direction of the whitened space."""
    fixed = np.random.default_rng(99)
    mix = (fixed.normal(size=(d, d)) * np.geomspace(1, 0.05, d)[:, None]).astype(np.float32)
    u = fixed.normal(size=d)
    move = (shift * u / np.linalg.norm(u)).astype(np.float32)
    return lambda rng, n: np.asarray((rng.standard_normal((n, d), np.float32) + move) @ mix, np.float32)


def _reference(draw: Draw, rng: np.random.Generator, rows: int) -> DriftReference:
    X = draw(rng, rows)
    return DriftReference.fit(X, [f"f{j}" for j in range(X.shape[1])], ["numeric"] * X.shape[1])


def _delays(before: Draw, after: Draw, n: int, materiality: float, repetitions: int) -> tuple[NDArray[np.float64], int, int]:
    """Rows to the page of each repetition, pages that named the rows as a whole, and pages before the change."""
    rng, shifts = np.random.default_rng(7), list[bool]()

    def fit() -> DriftDetector:
        return DriftDetector(_reference(before, rng, n), false_pages=1, windows=MONTH, materiality=materiality)

    def count(counts: WindowCounts, changed: bool) -> None:
        counts.update((after if changed else before)(rng, WINDOW), clients=rng.integers(1, 2**62, WINDOW))

    def paged(detector: DriftDetector, counts: WindowCounts) -> None:
        shifts.append(detector.update(counts).shift is not None)

    windows, false = windows_to_page(repetitions, SHARED, fit, count, WARM, LIMIT, paged)
    return WINDOW * windows, sum(shifts), false


def witness_table(materialities: list[float], repetitions: int) -> None:
    """Print the table of delays."""
    cases = [(f"three of {d}", d, 20_000, normal(d), three(d)) for d in (4, 8, 12, 20)]
    cases += [(f"sizes of two of {d}", d, 20_000, normal(d), sizes(d)) for d in (8, 20)]
    cases += [(f"direction of {d}", d, n, embedding(d), embedding(d, 0.5)) for d, n in ((64, 20_000), (256, 20_000), (512, 100_000))]
    for materiality in materialities:
        print(f"\nwindows of {WINDOW} events, materiality {materiality}, {repetitions} repetitions, up to {WINDOW * LIMIT:,} rows")
        print("| change | reference, rows | median delay, rows | quartiles | paged | as a whole | false |")
        print("|---|---|---|---|---|---|---|")
        for name, _, n, before, after in cases:
            found, whole, false = _delays(before, after, n, materiality, repetitions)
            low, median, high = np.quantile(found, [0.25, 0.5, 0.75], method="inverted_cdf")
            shown = f"{median:,.0f}" if math.isfinite(median) else "not found"
            paged = int(np.isfinite(found).sum())
            shares = f"{paged / repetitions:.0%} | {whole / max(paged, 1):.0%}"
            print(
                f"| {name} | {n:,} | {shown} | {low:,.0f}-{high:,.0f} | {shares} | {false} |",
                flush=True,
            )


def quiet_table(months: int) -> None:
    """Print how often months without a change page, and how high the evidence of whole rows came."""
    print(f"\n{months} quiet months of {MONTH:,} windows of {WINDOW} events, reference 20,000 rows, materiality 0, a client an event")
    print("| rows | months that page | 95 % | highest ln evidence of whole rows | CPU |")
    print("|---|---|---|---|---|")
    for name, draw in (("8 normal columns", normal(8)), ("embedding of 64", embedding(64))):
        begun, paged, highest = time.process_time(), 0, -math.inf
        for month in range(months):
            rng = np.random.default_rng(100 + month)
            detector = DriftDetector(_reference(draw, rng, 20_000), false_pages=1, windows=MONTH, materiality=0.0)
            counts, opened = WindowCounts(detector.reference), False
            for _ in range(MONTH):
                counts.clear()
                counts.update(draw(rng, WINDOW), clients=rng.integers(1, 2**62, WINDOW))
                opened |= detector.step(counts)[1]
                highest = max(highest, float(detector.sr.log_r[-COMPONENTS:].max()))
            paged += opened
        low, high = clopper_pearson(paged, months)
        print(f"| {name} | {paged} of {months} | {low:.0%}-{high:.0%} | {highest:.1f} | {time.process_time() - begun:.0f} s |", flush=True)
