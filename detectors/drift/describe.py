"""A window in numbers and words, for rows, pages and dashboards."""

from __future__ import annotations

import msgspec
import numpy as np
from numpy.typing import NDArray

from detectors.drift.effect import EffectSizes
from detectors.drift.moves import cell_name, moves, quantiles
from detectors.drift.reference import DriftReference
from detectors.drift.report import VariableDrift

SHIFTED_SD = 0.1
"""Mean shift in reference sd from which a drift has a direction."""

TABLES = 5
"""Leading variables that are shown in detail."""


class Strongest:
    """The strongest component of a variable: ln M of the variable, when it began, and its cells."""

    __slots__ = ("high", "log_evidence", "low", "since")

    def __init__(self, log_evidence: float, since: int, low: int, high: int) -> None:
        self.log_evidence, self.since, self.low, self.high = log_evidence, since, low, high


def describe(
    reference: DriftReference, sizes: EffectSizes, cells: NDArray[np.int64], strongest: list[Strongest], rho: NDArray[np.float64]
) -> tuple[VariableDrift, ...]:
    """One entry per variable, in the reference's order; `cells` are the window's counts."""
    entries = []
    for v, best in enumerate(strongest):
        begin = int(reference.starts[v])
        before = float(sizes.expected[best.low : best.high].sum())
        after = float(cells[best.low : best.high].sum() / max(int(sizes.n[v]), 1))
        what, direction = cell_name(reference, v, best.low - begin, best.high - begin), _direction(reference, v, best.low - begin)
        numeric = reference.kinds[v] == "numeric"
        shift = float(sizes.shift[v])
        if direction == "shape" and abs(shift) >= SHIFTED_SD:
            direction = "up" if shift > 0 else "down"
        entries.append(
            VariableDrift(
                name=reference.variables[v],
                n=int(sizes.n[v]),
                psi=float(sizes.psi[v]),
                w1=float(sizes.w1[v]),
                js=float(sizes.js[v]),
                ks=float(sizes.ks[v]),
                missing=float(sizes.missing[v]),
                unseen=float(sizes.unseen[v]),
                below=float(sizes.below[v]),
                above=float(sizes.above[v]),
                log_evidence=best.log_evidence,
                since=best.since,
                direction=direction,
                mean_shift=shift,
                reference_center=float(sizes.reference_center[v]) if numeric else before,
                center=float(sizes.center[v]) if numeric else after,
                detail=f"share of {what}: {before:.3f} -> {after:.3f}",
                rho=float(rho[v]),
            )
        )
    return tuple(entries)


def with_tables(
    reference: DriftReference, sizes: EffectSizes, cells: NDArray[np.int64], entries: tuple[VariableDrift, ...], shown: tuple[str, ...]
) -> tuple[VariableDrift, ...]:
    """The entries, those of the variables to show with their quantiles and the cells that moved most."""
    out = list(entries)
    after = cells.astype(np.float64)
    for v, entry in enumerate(entries):
        if entry.name in shown:
            table = quantiles(reference, v, sizes.expected, after), moves(reference, v, sizes.expected, after)
            out[v] = msgspec.structs.replace(entry, quantiles=table[0], moves=table[1])
    return tuple(out)


def _direction(reference: DriftReference, v: int, low: int) -> str:
    """Of a move of the cells of variable v from `low` on ("shape": ask the mean)."""
    size = int(reference.starts[v + 1] - reference.starts[v])
    if low == size - 1:
        return "missing"
    if reference.kinds[v] == "categorical":
        return "unseen" if low == size - 2 else "mix"
    return "shape"
