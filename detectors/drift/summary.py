"""Compiled parts of a window's description, all variables at once: which component of each is strongest, and medians from cells."""

from __future__ import annotations

import numpy as np
from numba import njit

NEAR = 1.0
"""Nats below the strongest component within which others tell, too, when it began."""
_NOTHING = -45.0
"""Nats: what is lost in a sum of a few hundred float64 beside 1."""


@njit(cache=True, nogil=True, error_model="numpy")
def strongest(weighted, since, firsts, sides, tilt_of, tilts, log_m, began, at):  # type: ignore[no-untyped-def]  # compiled
    """Per variable: ln of the sum of its components, when they began, and its strongest cell.

    Small alternatives wander into their growth early, large ones start anew late: the middle of those that are about as strong.

    Args:
        weighted: ln(w R) of cells, side and odds first, then of tilts, variable first.
        since: when each began, shape as `weighted`.
        firsts: first tested cell of each variable and their number at the end, shape (V + 1,).
        sides: sides times odds of a cell.
        tilt_of: which of the variables with tilts a variable is, or -1, shape (V,).
        tilts: of a variable.
        log_m: where the logarithms go, float64, shape (V,).
        began: where the beginnings go, int64, shape (V,).
        at: where the strongest cells go, int64, shape (V,).
    """
    cells, most = firsts[-1], 0
    for v in range(log_m.size):
        most = max(most, sides * (firsts[v + 1] - firsts[v]) + tilts)
    parts, steps, near = np.empty(most, weighted.dtype), np.empty(most, since.dtype), np.empty(most, since.dtype)
    for v in range(log_m.size):
        size, best = 0, firsts[v]
        for s in range(sides):
            for k in range(firsts[v], firsts[v + 1]):
                parts[size], steps[size] = weighted[s * cells + k], since[s * cells + k]
                size += 1
        if size:
            best += np.argmax(parts[:size]) % (firsts[v + 1] - firsts[v])
        if tilt_of[v] >= 0:
            begin = sides * cells + tilt_of[v] * tilts
            for t in range(begin, begin + tilts):
                parts[size], steps[size] = weighted[t], since[t]
                size += 1
        top = parts[:size].max()
        least, count, total = top - weighted.dtype.type(NEAR), 0, 0.0
        for i in range(size):
            if parts[i] >= least:
                near[count] = steps[i]
                count += 1
            if parts[i] > top + _NOTHING:
                total += np.exp(np.float64(parts[i]) - np.float64(top))
        log_m[v] = top + np.log(total) if np.isfinite(top) else top
        began[v], at[v] = np.sort(near[:count])[(count - 1) // 2], best


@njit(cache=True, nogil=True, error_model="numpy")
def medians(cells, starts, edges, n_edges, numeric, out):  # type: ignore[no-untyped-def]  # compiled
    """Medians of known values from cells, linear inside one; NaN for categories and where there are none.

    Args:
        cells: events or shares, shape (n_cells,).
        starts: first cell of each variable and their number at the end, shape (V + 1,).
        edges: float32, shape (V, 16).
        n_edges: of each variable, shape (V,).
        numeric: whether a variable is, shape (V,).
        out: where they go, float64, shape (V,).
    """
    for v in range(out.size):
        out[v] = np.nan
        begin, last = starts[v], starts[v + 1] - 1
        total = 0.0
        for c in range(begin, last):
            total += cells[c]
        if not numeric[v] or total == 0.0:
            continue
        half, below, c = 0.5 * total, 0.0, begin
        while below + cells[c] < half and c < last - 1:
            below += cells[c]
            c += 1
        left, right = edges[v, max(c - begin - 1, 0)], edges[v, min(c - begin, n_edges[v] - 1)]
        out[v] = left + (half - below) / cells[c] * (np.float64(right) - np.float64(left))
