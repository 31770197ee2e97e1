"""Compiled sums over client groups: one window's evidence for cells and tilts.

Every function takes tables per group and adds the 16 groups up, without the `left_out` loudest of those that are `loud`. Loops run
over cells and alternatives innermost, so that one instruction takes several of them.
"""

from __future__ import annotations

import numpy as np
from numba import njit

GROUPS = 16
LANES = 8
"""Alternatives are padded to a multiple of it."""

_FAST = {"reassoc", "nnan", "nsz"}
"""Sums and maxima in any order, so that they take several numbers per instruction; infinities stay what they are."""


@njit(cache=True, nogil=True, error_model="numpy")
def cumulate(table, out):  # type: ignore[no-untyped-def]  # compiled
    """Events per group before each cell and in all, float64, shape (16, n_cells + 1)."""
    for g in range(GROUPS):
        total = 0.0
        for c in range(table.shape[1]):
            out[g, c] = total
            total += table[g, c]
        out[g, table.shape[1]] = total


@njit(cache=True, nogil=True, error_model="numpy")
def limits(p, below, above, mix, swing, materiality, odds, out):  # type: ignore[no-untyped-def]  # compiled
    """1 + u (o - 1) of every side and odds, and tested cell, u the edge of its tolerance; inf where that is 0 or 1.

    Args:
        p: the reference's share, shape (K,).
        below: how far its own error may put it lower, shape (K,).
        above: the same higher.
        mix: 3.5 sqrt(rho / clients) of its variable, shape (K,).
        swing: how far it may wander in time, shape (K,).
        materiality: delta.
        odds: three above 1, three below, shape (6,).
        out: where it goes, shape (6, K).
    """
    half = odds.size // 2
    for k in range(p.size):
        spread = mix[k] ** 2 * p[k] * (1.0 - p[k]) + swing[k] ** 2
        upper = p[k] + np.sqrt(above[k] ** 2 + spread) + materiality
        lower = p[k] - np.sqrt(below[k] ** 2 + spread) - materiality
        for s in range(half):
            out[s, k] = 1.0 + upper * (odds[s] - 1.0) if upper < 1.0 else np.inf
            out[half + s, k] = 1.0 + lower * (odds[half + s] - 1.0) if lower > 0.0 else np.inf


@njit(cache=True, nogil=True, fastmath=_FAST, error_model="numpy")
def cells_log_e(cumulated, sizes, weights, low, high, variable, log_odds, log_miss, loud, left_out, out):  # type: ignore[no-untyped-def]  # compiled
    """Logarithm of e of every side and odds, and tested cell; -inf where `log_miss` is infinite.

    Args:
        cumulated: events per group before a cell, float64, shape (16, n_cells + 1).
        sizes: events per group, float64, shape (16,).
        weights: what an event is worth, shape (16, V).
        low: first cell of a tested one, shape (K,).
        high: its end.
        variable: whose it is.
        log_odds: ln o, shape (6,).
        log_miss: ln(1 + u (o - 1)), shape (6, K).
        loud: 0 for groups that are the service, 1 for those that may be left out, float64, shape (16,).
        left_out: 0, 1 or 2.
        out: where it goes, shape (6, K).
    """
    K, kinds = low.size, log_odds.size
    hits, trials, all_hits, all_trials = np.empty(K), np.empty(K), np.zeros(K), np.zeros(K)
    loudest = np.zeros((2, kinds, K))
    for g in range(GROUPS):
        for k in range(K):
            a = weights[g, variable[k]]
            hits[k] = a * (cumulated[g, high[k]] - cumulated[g, low[k]])
            trials[k] = a * sizes[g]
        for k in range(K):
            all_hits[k] += hits[k]
            all_trials[k] += trials[k]
        if left_out == 0 or loud[g] == 0.0:
            continue
        for s in range(kinds):
            hit = log_odds[s]
            miss, first = log_miss[s], loudest[0, s]
            if left_out == 1:
                for k in range(K):
                    each = hits[k] * hit - trials[k] * miss[k]
                    first[k] = max(first[k], each)
            else:
                second = loudest[1, s]
                for k in range(K):
                    each = hits[k] * hit - trials[k] * miss[k]
                    low_one = min(first[k], each)
                    first[k] = max(first[k], each)
                    second[k] = max(second[k], low_one)
    for s in range(kinds):
        for k in range(K):
            if log_miss[s, k] == np.inf:
                out[s, k] = -np.inf
            else:
                out[s, k] = all_hits[k] * log_odds[s] - all_trials[k] * log_miss[s, k] - loudest[0, s, k] - loudest[1, s, k]


@njit(cache=True, nogil=True, fastmath=_FAST, error_model="numpy")
def tilts_log_e(table, weights, variables, starts, log_w, top, slack, spread, mix, active, loud, left_out, out):  # type: ignore[no-untyped-def]  # compiled
    """Logarithm of e of every tilt; -inf where it is not active.

    Args:
        table: events per group and cell, shape (16, n_cells).
        weights: what an event is worth, shape (16, V).
        variables: whose the tilts are, shape (U,).
        starts: first cell of each variable and their number at the end, shape (V + 1,).
        log_w: ln w, shape (U, C, T padded to a multiple of 8).
        top: part of Z = top + hypot(slack, mix spread) - slack, shape (U, T).
        slack: as `top`.
        spread: as `top`.
        mix: 3.5 sqrt(rho / clients), shape (V,).
        active: shape (U, T).
        loud: 0 for groups that are the service, 1 for those that may be left out, float64, shape (16,).
        left_out: 0, 1 or 2.
        out: where it goes, shape (U, T).
    """
    width, tilts = log_w.shape[2] // LANES * LANES, active.shape[1]
    told, total, log_top = np.empty(width), np.empty(width), np.zeros(width)
    first, second = np.empty(width), np.empty(width)
    for u in range(variables.size):
        v = variables[u]
        begin, size = starts[v], starts[v + 1] - starts[v]
        for t in range(tilts):
            own = np.float64(slack[u, t])
            log_top[t] = np.log(np.float64(top[u, t]) + np.sqrt(own**2 + (mix[v] * spread[u, t]) ** 2) - own)
        total[:], first[:], second[:] = 0.0, 0.0, 0.0
        for g in range(GROUPS):
            events = 0.0
            told[:] = 0.0
            for c in range(size):
                hits = float(table[g, begin + c])
                events += hits
                if hits != 0.0:
                    w = log_w[u, c]
                    for t in range(width):
                        told[t] += hits * w[t]
            a = weights[g, v]
            may = left_out > 0 and loud[g] > 0.0
            for t in range(width):
                each = a * (told[t] - events * log_top[t])
                total[t] += each
                if may:
                    low_one = min(first[t], each)
                    first[t] = max(first[t], each)
                    second[t] = max(second[t], low_one)
        for t in range(tilts):
            lost = first[t] + second[t] if left_out == 2 else first[t]
            out[u, t] = total[t] - lost if active[u, t] else -np.inf
