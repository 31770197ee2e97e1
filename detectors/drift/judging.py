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
        variable: whose it is; cells of one variable follow each other.
        log_odds: ln o, shape (6,).
        log_miss: ln(1 + u (o - 1)), shape (6, K).
        loud: 0 for groups that are the service, 1 for those that may be left out, float64, shape (16,).
        left_out: 0, 1 or 2.
        out: where it goes, shape (6, K).
    """
    kinds, begin = log_odds.size, 0
    while begin < low.size:
        v, end = variable[begin], begin + 1
        while end < low.size and variable[end] == v:
            end += 1
        size = end - begin
        hits, trials, all_hits, all_trials = np.empty((GROUPS, size)), np.empty(GROUPS), np.zeros(size), 0.0
        for g in range(GROUPS):
            a, mine = weights[g, v], hits[g]
            trials[g] = a * sizes[g]
            all_trials += trials[g]
            for k in range(size):
                mine[k] = a * (cumulated[g, high[begin + k]] - cumulated[g, low[begin + k]])
                all_hits[k] += mine[k]
        first, second = np.empty(size), np.empty(size)
        for s in range(kinds):
            hit, miss, mine = log_odds[s], log_miss[s, begin:end], out[s, begin:end]
            first[:], second[:] = 0.0, 0.0
            for g in range(GROUPS if left_out > 0 else 0):
                if loud[g] == 0.0:
                    continue
                theirs, of_trials = hits[g], trials[g]
                if left_out == 1:
                    for k in range(size):
                        first[k] = max(first[k], theirs[k] * hit - of_trials * miss[k])
                else:
                    for k in range(size):
                        each = theirs[k] * hit - of_trials * miss[k]
                        low_one = min(first[k], each)
                        first[k] = max(first[k], each)
                        second[k] = max(second[k], low_one)
            for k in range(size):
                value = all_hits[k] * hit - all_trials * miss[k] - first[k] - second[k]
                mine[k] = -np.inf if miss[k] == np.inf else value
        begin = end


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
                events += float(table[g, begin + c])
            for c in range(0, size // 4 * 4, 4):
                h0, h1 = float(table[g, begin + c]), float(table[g, begin + c + 1])
                h2, h3 = float(table[g, begin + c + 2]), float(table[g, begin + c + 3])
                w0, w1, w2, w3 = log_w[u, c], log_w[u, c + 1], log_w[u, c + 2], log_w[u, c + 3]
                for t in range(width):
                    told[t] += h0 * w0[t] + h1 * w1[t] + (h2 * w2[t] + h3 * w3[t])
            for c in range(size // 4 * 4, size):
                hits, w = float(table[g, begin + c]), log_w[u, c]
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
