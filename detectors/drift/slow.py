"""How far variables are from the reference over about a day: counts of windows add up, in stretches of four hours, the newest six."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from detectors.drift.counts import WindowCounts
from detectors.drift.effect import EffectSizer
from detectors.drift.report import DriftReport

STRETCH_S, STRETCHES = 4 * 3600.0, 6


class SlowSizes:
    """PSI and W1 of the last 20 to 24 hours together, as `dashboards.effects` has them of any length.

    Counts are float32, exact up to 16.7 million events of a cell in a stretch, and off by millionths beyond; the windows' own, of which the
    views are, are exact. Memory: six times 4 bytes a cell and variable: at 100 features 43 KB.

    Args:
        sizer: of the reference that windows are judged by.
    """

    def __init__(self, sizer: EffectSizer) -> None:
        self._reference, self._sizer = sizer.reference, sizer
        self._from: dict[int, float] = {}
        """By stretch: when its first window began, seconds since the epoch."""
        self._sums: dict[int, NDArray[np.float32]] = {}
        """By stretch: carried counts of all cells, and of each variable the sum of its known values' distance from the mean, in sd."""
        self._until = 0.0

    def take(self, counts: WindowCounts, report: DriftReport, span_s: tuple[float, float]) -> None:
        """Adds a window that was judged."""
        reference = self._reference
        expected = None if reference.season is None else reference.expected(span_s)
        cells = counts.cells
        known = np.add.reduceat(cells, reference.starts[:-1]) - cells[reference.starts[1:] - 1]
        moved = known * np.array([one.mean_shift for one in report.variables])
        self._add(span_s[0], np.concatenate([self._sizer.carried(counts, expected), moved]))
        self._until = max(self._until, span_s[1])

    def _add(self, begin: float, sums: NDArray[np.floating[Any]]) -> None:
        at = int(begin // STRETCH_S)
        self._from[at] = min(self._from.get(at, begin), begin)
        self._sums[at] = (self._sums.get(at, 0.0) + sums).astype(np.float32)
        for old in [key for key in self._sums if key <= max(self._sums) - STRETCHES]:
            del self._sums[old], self._from[old]

    def sizes(self) -> tuple[float, dict[str, tuple[float, float]]]:
        """How many seconds they are of, and PSI and W1 by variable."""
        if not self._sums:
            return 0.0, {}
        reference, total = self._reference, np.stack(list(self._sums.values())).sum(axis=0, dtype=np.float64)
        cells, moved = total[: reference.n_cells], total[reference.n_cells :]
        n = np.add.reduceat(cells, reference.starts[:-1])
        found = self._sizer.of_cells(cells, moved / np.maximum(n - cells[reference.starts[1:] - 1], 1.0), n)
        by_name = dict(zip(reference.variables, zip(found.psi.tolist(), found.w1.tolist(), strict=True), strict=True))
        return self._until - min(self._from.values()), by_name

    def dump(self) -> dict[str, Any]:
        """For a snapshot."""
        return {"until": self._until, "stretches": [[key, self._from[key], sums] for key, sums in self._sums.items()]}

    def load(self, body: dict[str, Any]) -> None:
        """From a snapshot taken with the same reference; of another shape nothing is taken."""
        size = self._reference.n_cells + len(self._reference.variables)
        # their keys are not asked: of before, they are numbers of other stretches
        stretches = [(float(begin), np.asarray(sums, np.float32)) for _, begin, sums in body["stretches"]]
        if all(sums.shape == (size,) for _, sums in stretches):
            self._until = float(body["until"])
            self._from, self._sums = {}, {}
            for begin, sums in stretches:
                self._add(begin, sums)
