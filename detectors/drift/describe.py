"""A window in numbers and words, for rows, pages and dashboards."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from detectors.drift.effect import EffectSizes
from detectors.drift.reference import DriftReference
from detectors.drift.report import VariableDrift

SHIFTED_SD = 0.1
"""Mean shift in reference sd from which a drift has a direction."""


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
        what, direction = _cell(reference, v, best.low - begin, best.high - begin)
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


def _cell(reference: DriftReference, v: int, low: int, high: int) -> tuple[str, str]:
    """Name of the cells [low, high) of variable v, and the direction of a move there ("shape": ask the mean)."""
    name = reference.variables[v]
    size = int(reference.starts[v + 1] - reference.starts[v])
    if low == size - 1:
        return f"{name} missing", "missing"
    if reference.kinds[v] == "categorical":
        if low == size - 2:
            return f"{name} unseen", "unseen"
        members = np.flatnonzero(reference.lookup[reference.lookup_starts[v] : reference.lookup_starts[v + 1]] == low)
        return f"{name} = {reference.categories[v][members[0]] if members.size == 1 else 'other'}", "mix"
    edges, last = reference.edges[v], int(reference.n_edges[v])
    if high - low > 1:
        return f"{name} <= {edges[high - 1]:.4g}", "shape"
    if low == 0:
        return f"{name} below {edges[1]:.4g}" if last > 1 else f"{name} low", "shape"
    if low == last:
        return f"{name} above {edges[last - 1]:.4g}", "shape"
    return f"{edges[low - 1]:.4g} < {name} <= {edges[low]:.4g}", "shape"
