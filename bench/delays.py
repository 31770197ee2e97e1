"""How long a change takes to be paged: the same change again and again, a reference for some repetitions each."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from detectors.drift import DriftDetector, WindowCounts


def windows_to_page(
    repetitions: int,
    shared: int,
    fit: Callable[[], DriftDetector],
    count: Callable[[WindowCounts, bool], None],
    warm: int,
    limit: int,
    paged: Callable[[DriftDetector, WindowCounts], None],
) -> tuple[NDArray[np.float64], int]:
    """Windows from the change to the page, inf for none, shape (repetitions,); and the pages before the change.

    Args:
        repetitions: each from a detector that has seen nothing.
        shared: of how many one reference is.
        fit: a detector with a reference of its own.
        count: counts a window, after the change or before it.
        warm: windows before the change.
        limit: windows after it.
        paged: called with the window that paged.
    """
    found, false = np.full(repetitions, np.inf), 0
    for r in range(repetitions):
        if r % shared == 0:
            detector = fit()
            fresh, counts = detector.snapshot(), WindowCounts(detector.reference)
        detector.restore(fresh)
        for t in range(-warm, limit):
            counts.clear()
            count(counts, t >= 0)
            opened = detector.step(counts)[1]
            false += opened and t < 0
            if opened and t >= 0:
                found[r] = t + 1
                paged(detector, counts)
                break
    return found, false
