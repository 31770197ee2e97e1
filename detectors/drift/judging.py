"""Compiled sums over client groups: one window's evidence for cells and tilts, and how far its groups are from each other.

Every function takes tables per group and adds the 16 groups up, without the `left_out` loudest of those that are not `spared`.
"""

from __future__ import annotations

import numpy as np
from numba import njit

GROUPS = 16


_FAST = {"reassoc", "nnan", "nsz"}
"""Sums and maxima in any order, so that they take several numbers per instruction; infinities stay what they are."""


@njit(cache=True, nogil=True, fastmath=_FAST)
def _loudest(each, left_out):  # type: ignore[no-untyped-def]  # compiled
    """Sum of the one or two largest positive of `each`, shape (16,)."""
    most = 0.0
    for g in range(GROUPS):
        most = max(most, each[g])
    if left_out < 2 or most <= 0.0:
        return most if left_out else 0.0
    first, second = 0.0, 0.0
    for g in range(GROUPS):
        if each[g] > first:
            first, second = each[g], first
        elif each[g] > second:
            second = each[g]
    return first + second


@njit(cache=True, nogil=True, fastmath=_FAST)
def cells_log_e(cumulated, sizes, weights, low, high, variable, log_odds, log_miss, valid, spared, left_out, out):  # type: ignore[no-untyped-def]  # compiled
    """Logarithm of e of every side and odds, and tested cell; -inf where it is not valid.

    Args:
        cumulated: events per group before a cell, float64, shape (16, n_cells + 1).
        sizes: events per group, float64, shape (16,).
        weights: what an event is worth, shape (V, 16).
        low: first cell of a tested one, shape (K,).
        high: its end.
        variable: whose it is.
        log_odds: ln o, shape (6,).
        log_miss: ln(1 + u (o - 1)), shape (6, K).
        valid: shape (6, K).
        spared: 1 for groups that are the service, float64, shape (16,).
        left_out: 0, 1 or 2.
        out: where it goes, shape (6, K).
    """
    each, hits, trials = np.empty(GROUPS), np.empty(GROUPS), np.empty(GROUPS)
    for k in range(low.size):
        all_hits, all_trials = 0.0, 0.0
        for g in range(GROUPS):
            a = weights[variable[k], g]
            hits[g] = a * (cumulated[g, high[k]] - cumulated[g, low[k]])
            trials[g] = a * sizes[g]
            all_hits += hits[g]
            all_trials += trials[g]
            hits[g] *= 1.0 - spared[g]
            trials[g] *= 1.0 - spared[g]
        for s in range(log_odds.size):
            if not valid[s, k]:
                out[s, k] = -np.inf
                continue
            hit, miss = log_odds[s], log_miss[s, k]
            total = all_hits * hit - all_trials * miss
            if left_out:
                for g in range(GROUPS):
                    each[g] = hits[g] * hit - trials[g] * miss
                total -= _loudest(each, left_out)
            out[s, k] = total


@njit(cache=True, nogil=True, fastmath=_FAST)
def tilts_log_e(cumulated, weights, variables, starts, log_w, log_top, active, spared, left_out, out):  # type: ignore[no-untyped-def]  # compiled
    """Logarithm of e of every tilt; -inf where it is not active.

    Args:
        cumulated: events per group before a cell, float64, shape (16, n_cells + 1).
        weights: what an event is worth, shape (V, 16).
        variables: whose the tilts are, shape (U,).
        starts: first cell of each variable and their number at the end, shape (V + 1,).
        log_w: ln w, shape (U, C, T).
        log_top: ln Z, shape (U, T).
        active: shape (U, T).
        spared: 1 for groups that are the service, float64, shape (16,).
        left_out: 0, 1 or 2.
        out: where it goes, shape (U, T).
    """
    tilts = log_top.shape[1]
    told = np.empty((GROUPS, tilts))
    each = np.empty(GROUPS)
    for u in range(variables.size):
        v = variables[u]
        for g in range(GROUPS):
            a = weights[v, g]
            trials = a * (cumulated[g, starts[v + 1]] - cumulated[g, starts[v]])
            for t in range(tilts):
                told[g, t] = -trials * log_top[u, t]
            for c in range(starts[v + 1] - starts[v]):
                hits = a * (cumulated[g, starts[v] + c + 1] - cumulated[g, starts[v] + c])
                if hits != 0.0:
                    for t in range(tilts):
                        told[g, t] += hits * log_w[u, c, t]
        for t in range(tilts):
            if not active[u, t]:
                out[u, t] = -np.inf
                continue
            total = 0.0
            for g in range(GROUPS):
                total += told[g, t]
                each[g] = told[g, t] * (1.0 - spared[g])
            out[u, t] = total - _loudest(each, left_out)


@njit(cache=True, nogil=True)
def excess(table, sizes, extra, weights, baseline, starts, tenths, tenth_starts, scores, prior_events, prior_rho, share_out, out):  # type: ignore[no-untyped-def]  # compiled
    """How far the groups of a window are from each other beyond chance, in units of what rho = 1 would give.

    For the cells (tenths of the reference), the scores and their squares: sum of w r and of w over the groups, r the excess of the squared
    deviation over the binomial one, relative to sum n_c (n_c - 1) times the variance, clipped at +-1. A group's centre is the other
    groups in the same window, so that a drift of the whole model is no heterogeneity, and a slow average of past windows where there
    are none.

    Args:
        table: events per group and cell, shape (16, n_cells).
        sizes: events per group, float64, shape (16,).
        extra: sum n_c (n_c - 1) per group, shape (16,).
        weights: what an event is worth, shape (V, 16).
        baseline: slow average of the shares, shape (n_cells,).
        starts: first cell of each variable and their number at the end, shape (V + 1,).
        tenths: first cell of each bin of a tenth.
        tenth_starts: first of those of each variable and their number at the end, shape (V + 1,).
        scores: of the cells, shape (n_cells,).
        prior_events: what the baseline is worth.
        prior_rho: for the weights w of the groups.
        share_out: where the window's own shares go, shape (n_cells,).
        out: where it goes, shape (V, 3, 2).
    """
    out[:] = 0.0
    for v in range(starts.size - 1):
        begin, end = starts[v], starts[v + 1]
        pooled = np.zeros(end - begin)
        pooled_n = 0.0
        for g in range(GROUPS):
            pooled_n += weights[v, g] * sizes[g]
            for c in range(begin, end):
                pooled[c - begin] += weights[v, g] * table[g, c]
        for c in range(begin, end):
            share_out[c] = pooled[c - begin] / max(pooled_n, 1e-12)
        share = np.empty(end - begin)
        for g in range(GROUPS):
            if extra[g] <= 0.0:
                continue
            a, n = weights[v, g], sizes[g]
            mean, square, fourth, told, told_square = 0.0, 0.0, 0.0, 0.0, 0.0
            for c in range(begin, end):
                s, hits = scores[c], float(table[g, c])
                p = (pooled[c - begin] - a * hits + prior_events * baseline[c]) / (pooled_n - a * n + prior_events)
                share[c - begin] = p
                mean += p * s
                square += p * s * s
                fourth += p * s * s * s * s
                told += hits * s
                told_square += hits * s * s
            deviation, spread = 0.0, 0.0
            for b in range(tenth_starts[v], tenth_starts[v + 1]):
                stop = tenths[b + 1] if b + 1 < tenth_starts[v + 1] else end
                p, hits = 0.0, 0.0
                for c in range(tenths[b], stop):
                    p += share[c - begin]
                    hits += table[g, c]
                deviation += (hits - n * p) ** 2
                spread += p * (1.0 - p)
            w = (extra[g] / (max(n, 1.0) + prior_rho * extra[g])) ** 2
            for kind in range(3):
                if kind == 1:
                    deviation, spread = (told - n * mean) ** 2, square - mean * mean
                elif kind == 2:
                    deviation, spread = (told_square - n * square) ** 2, fourth - square * square
                if spread > 1e-9:
                    out[v, kind, 0] += w * min(max((deviation - n * spread) / (extra[g] * spread), -1.0), 1.0)
                    out[v, kind, 1] += w
