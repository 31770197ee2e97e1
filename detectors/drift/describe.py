"""One variable of a window in numbers and words, for rows, pages and dashboards."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from detectors.drift import effect
from detectors.drift.counts import MOMENT_SCALE, WindowCounts
from detectors.drift.reference import DriftReference
from detectors.drift.report import VariableDrift


def describe(
    reference: DriftReference, counts: WindowCounts, cells: NDArray[np.int64], v: int, evidence: tuple[float, int, int, int, int], rho: float
) -> VariableDrift:
    """The entry of variable v.

    Args:
        reference: what is normal.
        counts: of the window.
        cells: ``counts.cells``, computed once for all variables.
        v: index of the variable.
        evidence: ln M of the variable; of its strongest component: since, side (0 up, 1 down), first cell, last cell + 1.
        rho: intra-client correlation.
    """
    log_evidence, since, side, low, high = evidence
    begin, end = int(reference.starts[v]), int(reference.starts[v + 1])
    past, now = reference.counts[begin:end], cells[begin:end]
    m, n = max(int(past.sum()), 1), max(int(now.sum()), 1)
    numeric = reference.kinds[v] == "numeric"
    before, after = float(reference.counts[low:high].sum()) / m, float(cells[low:high].sum()) / n
    cell = (low - begin, high - begin)
    name, direction = _cell(reference, v, cell, side, end - begin)
    if numeric:
        edges = reference.edges[v, : reference.n_edges[v]]
        finite = max(n - int(now[-1]), 1)
        shift = float(counts.moments[v, 0]) / MOMENT_SCALE / finite
        folded = [np.concatenate([[c[0] + c[1]], c[2:-3], [c[-3] + c[-2]], c[-1:]]) if c.size >= 5 else c for c in (past, now)]
        distances = (
            effect.psi(*folded),
            effect.w1(past[:-1], now[:-1], edges, float(reference.sd[v]), shift),
            effect.js(*folded),
            effect.ks(past[:-1], now[:-1]),
        )
        centers = effect.median(past[:-1], edges), effect.median(now[:-1], edges)
    else:
        distances = effect.psi(past, now), 0.0, effect.js(past, now), float(0.5 * np.abs(past / m - now / n).sum())
        centers = before, after
    return VariableDrift(
        name=reference.variables[v],
        n=int(now.sum()),
        psi=distances[0],
        w1=distances[1],
        js=distances[2],
        ks=distances[3],
        missing=float(now[-1]) / n,
        unseen=0.0 if numeric else float(now[-2]) / n,
        below=float(now[0]) / n if numeric else 0.0,
        above=float(now[-2]) / n if numeric else 0.0,
        log_evidence=log_evidence,
        since=since,
        direction=direction,
        reference_center=centers[0],
        center=centers[1],
        detail=f"share of {name}: {before:.3f} -> {after:.3f}",
        rho=rho,
    )


def _cell(reference: DriftReference, v: int, cell: tuple[int, int], side: int, size: int) -> tuple[str, str]:
    """Name of the cells [low, high) of variable v, and the direction that a move of them means."""
    low, high = cell
    name = reference.variables[v]
    if high == size and low == size - 1:
        return f"{name} missing", "missing"
    if reference.kinds[v] == "categorical":
        if low == size - 2:
            return f"{name} unseen", "unseen"
        codes = reference.lookup[reference.lookup_starts[v] : reference.lookup_starts[v + 1]]
        members = np.flatnonzero(codes == low)
        return f"{name} = {reference.categories[v][members[0]] if members.size == 1 else 'other'}", "mix"
    edges = reference.edges[v]
    last = int(reference.n_edges[v])
    if high - low > 1:
        return f"{name} <= {edges[high - 1]:.4g}", "down" if side == 0 else "up"
    if low == 0:
        return f"{name} below {edges[0]:.4g}", "down" if side == 0 else "up"
    if low == last:
        return f"{name} above {edges[last - 1]:.4g}", "up" if side == 0 else "down"
    return f"{edges[low - 1]:.4g} < {name} <= {edges[low]:.4g}", "shape"
