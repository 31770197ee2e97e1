"""Effect sizes: how far the traffic is from the reference. They are shown; they never decide (the e-value does).

PSI and JS in nats with Jeffreys smoothing (+0.5 in every cell): with no drift, PSI n m / (n + m) is about chi2(B - 1), 8 JS n m / (n + m) too.
The folk rule "PSI > 0.1" fires in 33 % of windows of 200 events without any drift, and is 18 times blind at 10,000.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def smoothed(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """(counts + 0.5) / (n + 0.5 B)."""
    return np.asarray((counts + 0.5) / (counts.sum() + 0.5 * counts.size), np.float64)


def psi(reference: NDArray[np.int64], window: NDArray[np.int64]) -> float:
    """Population stability index, sum (q - p) ln(q / p) over cells, both smoothed by +0.5.

    Example:
        >>> round(psi(np.array([50, 50]), np.array([70, 30])), 3)
        0.166
    """
    p, q = smoothed(reference), smoothed(window)
    return float(((q - p) * np.log(q / p)).sum())


def js(reference: NDArray[np.int64], window: NDArray[np.int64]) -> float:
    """Jensen-Shannon divergence in nats, in [0, ln 2], both smoothed by +0.5.

    Example:
        >>> round(js(np.array([50, 50]), np.array([70, 30])), 4)
        0.0206
    """
    p, q = smoothed(reference), smoothed(window)
    middle = 0.5 * (p + q)
    return float(0.5 * (p * np.log(p / middle)).sum() + 0.5 * (q * np.log(q / middle)).sum())


def ks(reference: NDArray[np.int64], window: NDArray[np.int64]) -> float:
    """Kolmogorov-Smirnov distance max |F - G| at the cell edges: a lower bound of the raw data's, exact where F and G part at an edge."""
    if not reference.sum() or not window.sum():
        return 0.0
    return float(np.abs(np.cumsum(reference / reference.sum() - window / window.sum())).max())


def w1(
    reference: NDArray[np.int64], window: NDArray[np.int64], edges: NDArray[np.float32], sd: float, mean_shift: float
) -> float:
    """Wasserstein-1 distance in reference standard deviations, from the cells.

    integral |F - G| dx over [min, max] of the reference with both CDFs linear inside a cell, and never less than |mean shift| (W1 >= |difference
    of means|), which carries what lies outside [min, max]. Misleads when a window moves *within* a wide cell and its mean does not: the error is
    at most the cell's width times its mass (tested: within 0.05 sd of scipy's on normal, exponential and t3 data with ten bins).

    Args:
        reference, window: counts of below, bins, above (missing left out), shape (m + 1,).
        edges: the m thresholds.
        sd: reference standard deviation, the unit.
        mean_shift: (window mean - reference mean) / sd.
    """
    if not reference.sum() or not window.sum():
        return 0.0
    gap = np.cumsum(reference / reference.sum() - window / window.sum())[:-1]
    width = np.diff(edges.astype(np.float64)) / sd
    left, right = gap[:-1], gap[1:]
    same = left * right >= 0
    area = np.where(same, 0.5 * np.abs(left + right), 0.5 * (left**2 + right**2) / np.maximum(np.abs(left - right), 1e-300))
    return max(float((area * width).sum()), abs(mean_shift))


def median(counts: NDArray[np.int64], edges: NDArray[np.float32]) -> float:
    """Median of a numeric variable from its cells (missing left out), linear inside a cell; NaN without events."""
    total = counts.sum()
    if not total:
        return float("nan")
    below = np.cumsum(counts) - counts
    k = int(np.argmax(below + counts >= total / 2))
    if k == 0:
        return float(edges[0])
    if k >= edges.size:
        return float(edges[-1])
    inside = (total / 2 - below[k]) / max(int(counts[k]), 1)
    return float(edges[k - 1] + inside * (float(edges[k]) - float(edges[k - 1])))


def exact_psi(reference: ArrayLike, window: ArrayLike, bins: int = 10) -> float:
    """PSI of raw finite values in equal-mass bins of the reference, the outer bins open, smoothed by +0.5."""
    reference, window = np.asarray(reference, np.float64), np.asarray(window, np.float64)
    inner = np.unique(np.quantile(reference, np.arange(1, bins) / bins, method="inverted_cdf"))
    counts = [np.bincount(np.searchsorted(inner, x, side="left"), minlength=inner.size + 1) for x in (reference, window)]
    return psi(counts[0], counts[1])


def exact_w1(reference: ArrayLike, window: ArrayLike) -> float:
    """Wasserstein-1 of raw values in reference standard deviations (0 where the reference is constant and equal)."""
    from scipy.stats import wasserstein_distance  # noqa: PLC0415 - scipy.stats takes a second to import, workers do not need it

    sd = float(np.std(np.asarray(reference, np.float64)))
    return float(wasserstein_distance(reference, window)) / (sd if sd > 0 else 1.0)
