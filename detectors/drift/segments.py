"""A part of a model's traffic (a region, a service) as its own past: what it looks like, learned from its windows' counts.

A segment differs from the whole model for good, so the model's reference is not its reference. Its windows are counted in the model's cells
and pairs, carried by the model's season, weighed by what its events are worth, and added until there are enough: two days and 2,000 rows'
worth. Then they are frozen, with how much they moved from hour to hour, and judged against by a detector of the segment's own.

Misleads: what goes wrong while a segment is learned is what it is expected to be. A season of the segment's own that differs from the
model's counts as wander, which is tolerated four times over.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from detectors.drift.counts import WindowCounts
from detectors.drift.dependence import Dependence
from detectors.drift.detector import DriftDetector
from detectors.drift.moments import SCALE
from detectors.drift.pairs import PairCounts, share_apart
from detectors.drift.reference import DriftReference
from detectors.drift.report import DriftReport
from detectors.drift.season import HOUR_S
from detectors.drift.wander import TOGETHER_SHARE
from detectors.state import reading

LEAST_ROWS = 2_000.0
"""What a segment's events must be worth before it is judged."""
LEAST_SPAN_S = 48 * HOUR_S
LARGEST = 1.25
"""Times the sd of hours: half of the largest of 48, as `wander.between` has it of recorded rows."""

Floats = NDArray[np.float64]


class SegmentHistory:
    """What a segment has looked like since it was first seen.

    Args:
        reference: the model's, whose cells and pairs are counted.

    Memory: 16 bytes a cell, 8 a tested cell and 56 a pair: 0.1 MB at 100 variables.
    """

    def __init__(self, reference: DriftReference) -> None:
        self.reference = reference
        self._dependence = Dependence(reference)
        K, P, V = reference.low.size, len(reference.pairs), len(reference.variables)
        self._of_cell = np.repeat(np.arange(V), np.diff(reference.starts))
        self._arrays = {
            "cells": np.zeros(reference.n_cells),
            "apart": np.zeros(P),
            "of_pairs": np.zeros(1),
            "squares": np.zeros(K),
            "alone": np.zeros(P),  # events apart if the two did not go together, and by how much less if they did fully
            "together": np.zeros(P),
            "products": np.zeros((3, P)),
            "block_cells": np.zeros(reference.n_cells),
            "block_apart": np.zeros(P),
            "block_above": np.zeros(reference.pairs.members.size),
            "block_of_pairs": np.zeros(1),
            "blocks": np.zeros(1),
            "moments": np.zeros(V),
            "known": np.zeros(V),
            "span": np.full(2, np.nan),
            "block_begin": np.full(1, np.nan),
        }

    @property
    def rows(self) -> float:
        """What its events are worth, of the variable of which they are worth least."""
        cells = self._arrays["cells"] + self._arrays["block_cells"]
        return float(np.add.reduceat(cells, self.reference.starts[:-1]).min())

    @property
    def ready(self) -> bool:
        """Whether there is enough of it."""
        span = self._arrays["span"]
        return bool(self.rows >= LEAST_ROWS and span[1] - span[0] >= LEAST_SPAN_S)

    def add(self, counts: WindowCounts, span_s: tuple[float, float]) -> None:
        """Take a window of the segment.

        Args:
            counts: in the model's cells.
            span_s: when it began and ended, in seconds since the epoch.
        """
        if not counts.n:
            return
        reference, held = self.reference, self._arrays
        if span_s[0] - held["block_begin"][0] >= HOUR_S:
            self._close_block()
        if np.isnan(held["block_begin"][0]):
            held["block_begin"][0] = span_s[0]
        held["span"][:] = np.fmin(held["span"][0], span_s[0]), np.fmax(held["span"][1], span_s[1])
        look = self._dependence.look(counts)
        table = counts.table.astype(np.float64)
        if reference.season is not None:
            table = reference.season.carry(counts.table, reference.season.expected(span_s))
        held["block_cells"] += (look.weights[:, self._of_cell] * table).sum(axis=0)
        least = look.weights.min(axis=1)  # of a pair's two, or less
        held["block_apart"] += counts.apart @ least
        held["block_of_pairs"] += look.sizes @ least
        beyond = np.add.reduceat(counts.table * reference.pairs.upper, reference.starts[:-1], axis=1)[:, reference.pairs.members]
        held["block_above"] += least @ beyond
        numeric_known = np.add.reduceat(counts.cells, reference.starts[:-1]) - counts.cells[reference.starts[1:] - 1]
        held["moments"] += counts.moments[:, 0] / SCALE
        held["known"] += numeric_known
        self._dependence.learn(counts, look)

    def _close_block(self) -> None:
        held, reference = self._arrays, self.reference
        cells, pairs = held["block_cells"], float(held["block_of_pairs"][0])
        sizes = np.add.reduceat(cells, reference.starts[:-1])
        if sizes.min() > 0.5:
            cumulated = np.concatenate([[0.0], np.cumsum(cells)])
            held["squares"] += (cumulated[reference.high] - cumulated[reference.low]) ** 2 / sizes[reference.variable]
            above, kept = held["block_above"] / max(pairs, 1e-300), reference.pairs
            none = np.zeros(len(kept))
            alone = pairs * share_apart(above, none, kept.i, kept.j)
            together = alone - pairs * share_apart(above, none + 1.0, kept.i, kept.j)
            beyond = held["block_apart"] - alone
            held["products"] += np.array([beyond**2, beyond * together, together**2]) / max(pairs, 1e-300)
            held["alone"] += alone
            held["together"] += together
            held["blocks"] += 1.0
            held["cells"] += cells
            held["apart"] += held["block_apart"]
            held["of_pairs"] += pairs
            for name in ("block_cells", "block_apart", "block_above", "block_of_pairs"):
                held[name][:] = 0.0
        held["block_begin"][0] = np.nan  # too few for an hour: they stay, and the next hour has them

    def freeze(self) -> tuple[DriftReference, Floats]:
        """The segment's reference, in the model's cells, and the mean of z of each variable.

        Raises:
            ValueError: when there is not enough of it.
        """
        if not self.ready:
            raise ValueError(f"{self.rows:,.0f} rows' worth of a segment, at least {LEAST_ROWS:,.0f} over two days are needed")
        self._close_block()
        held, base = self._arrays, self.reference
        cells, blocks = held["cells"], max(float(held["blocks"][0]), 1.0)
        sizes = np.add.reduceat(cells, base.starts[:-1])
        cumulated = np.concatenate([[0.0], np.cumsum(cells)])
        n = sizes[base.variable]
        wander = np.empty(base.low.size)
        hits = cumulated[base.high] - cumulated[base.low]
        for v in range(len(base.variables)):
            mine = base.variable == v
            wander[mine] = _wander(hits[mine], held["squares"][mine], n[mine], blocks)
        rows, of_pairs = int(sizes.min()), float(held["of_pairs"][0])
        pairs = base.pairs.kept
        if len(base.pairs):
            phi = np.clip((held["alone"] - held["apart"]) / np.maximum(held["together"], 1e-300), -1.0, 1.0)
            xx, xy, yy = held["products"]
            share = np.clip(held["apart"] / max(of_pairs, 1e-300), 0.0, 1.0)
            moved = _sd((xx + 2.0 * phi * xy + phi**2 * yy) / max(of_pairs, 1e-300), share, np.full(share.size, of_pairs), blocks)
            # what the events are worth is the least of the variables'
            pairs = PairCounts(pairs.first, pairs.second, np.rint(share * rows).astype(np.int64), moved, phi)
        z = held["moments"] / np.maximum(held["known"], 1.0)
        counts = np.rint(cells).astype(np.int64)
        span = float(held["span"][1] - held["span"][0])
        return base.derived(counts, rows, wander, pairs, base.mean + z * base.sd, span), z

    def state(self) -> dict[str, Any]:
        """What `restore` needs, for `detectors.state.pack`."""
        return {"arrays": {name: array.copy() for name, array in self._arrays.items()}, "dependence": self._dependence.state()}

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from `state` bit for bit.

        Raises:
            ValueError: when it was learned in other cells.
        """
        for name, array in self._arrays.items():
            given = np.asarray(state["arrays"][name], np.float64)
            if given.shape != array.shape:
                raise ValueError(f"{name} of a segment has shape {given.shape}, not {array.shape}: another reference")
            array[:] = given
        self._dependence.restore(state["dependence"])


def _wander(hits: Floats, squares: Floats, n: Floats, blocks: float) -> Floats:
    """As `wander.between`, from sums: of the hits of all blocks, of their squares by the block's events, and the events of all."""
    p = hits / n
    return _sd(squares / n - p**2, p, n, blocks)


def _sd(spread: Floats, p: Floats, n: Floats, blocks: float) -> Floats:
    beyond = spread - p * (1.0 - p) * (blocks - 1.0) / n
    together = max(float(beyond.sum()) / max(float((p * (1.0 - p)).sum()), 1e-300), 0.0) * p * (1.0 - p)
    return np.asarray(LARGEST * np.sqrt(np.maximum(beyond, TOGETHER_SHARE**2 * together)), np.float64)


class Segment:
    """A segment at its owner: learned first, then judged.

    Args:
        reference: the model's.
        false_pages: allowed in `windows` windows, the segment's share already taken.
        windows: T.
        materiality: delta.
    """

    def __init__(self, reference: DriftReference, *, false_pages: float, windows: float, materiality: float) -> None:
        self._budget = {"false_pages": false_pages, "windows": windows, "materiality": materiality}
        self._reference = reference
        self._history = SegmentHistory(reference)
        self._detector: DriftDetector | None = None
        self._z = np.zeros(len(reference.variables))

    @property
    def judged(self) -> bool:
        """Whether it has been learned."""
        return self._detector is not None

    def update(self, counts: WindowCounts, span_s: tuple[float, float]) -> DriftReport | None:
        """Take a window; its verdict, or None while the segment is being learned. `counts` is not kept.

        Args:
            counts: in the model's cells.
            span_s: when it began and ended, in seconds since the epoch.
        """
        detector = self._detector
        if detector is None:
            self._history.add(counts, span_s)
            if self._history.ready:
                self._begin(*self._history.freeze())
            return None
        mine = WindowCounts(detector.reference)
        mine.merge(counts)
        starts = self._reference.starts
        known = np.add.reduceat(mine.cells, starts[:-1]) - mine.cells[starts[1:] - 1]
        mine.moments[:, 0] -= np.rint(self._z * known * SCALE).astype(np.int64)  # from the segment's own mean
        return detector.update(mine, span_s)

    def _begin(self, reference: DriftReference, z: Floats) -> DriftDetector:
        self._detector, self._history, self._z = DriftDetector(reference, **self._budget), SegmentHistory(self._reference), z
        return self._detector

    def state(self) -> dict[str, Any]:
        """What `restore` needs, for `detectors.state.pack`."""
        if self._detector is None:
            return {"history": self._history.state()}
        part = self._detector.reference
        frozen = {"counts": part.counts, "rows": part.rows, "wander": part.wander, "pairs": list(part.pairs.kept), "span_s": part.span_s}
        return {"frozen": frozen | {"z": self._z}, "detector": self._detector.snapshot()}

    @reading("drift.segment")
    def restore(self, state: dict[str, Any]) -> None:
        """Continue from `state` bit for bit.

        Raises:
            StateError: when it is damaged or of another reference.
        """
        if "history" in state:
            self._history = SegmentHistory(self._reference)
            self._history.restore(state["history"])
            return
        held, base = state["frozen"], self._reference
        z = np.asarray(held["z"], np.float64)
        tables = held["counts"], int(held["rows"]), held["wander"], PairCounts(*held["pairs"]), base.mean + z * base.sd
        self._begin(base.derived(*tables, float(held["span_s"])), z).restore(state["detector"])
