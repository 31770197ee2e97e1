"""Compiled sums over client groups: one window's evidence for cells and tilts.

Every function takes tables per group and adds the 16 groups up, without the `left_out` loudest of those that are `loud`. Loops run
over cells and alternatives innermost, eight of them per instruction (`eights.py`).
"""

from __future__ import annotations

import numpy as np
from numba import njit

from detectors.drift.eights import LANES, cumulated, loudest, loudest_two, singles, sum_rows, sum_threes
from detectors.groups import GROUPS


@njit(cache=True, nogil=True, error_model="numpy")
def limits(p, below, above, few, rho, variable, wander, wander_z, materiality, odds, out):  # type: ignore[no-untyped-def]  # compiled
    """1 + u (o - 1) of every side and odds, and tested cell, u the edge of its tolerance; infinite where that is 0 or 1.

    Args:
        p: the reference's share, float32, shape (K,).
        below: how far its own error may put it lower, float32, shape (K,).
        above: the same higher.
        few: 3.5 / sqrt(clients).
        rho: shape (V,).
        variable: whose a tested cell is, shape (K,).
        wander: its own over time, float32, shape (K,).
        wander_z: times that it may wander.
        materiality: delta, shape (V,).
        odds: three above 1, three below, shape (6,).
        out: where it goes, shape (6, K).
    """
    half, times = odds.size // 2, np.float32(wander_z)
    mix, upper, lower, spread, delta = np.empty(rho.size), np.empty(p.size), np.empty(p.size), np.empty(p.size), np.empty(p.size)
    for v in range(rho.size):
        mix[v] = (few * np.sqrt(rho[v])) ** 2
    for k in range(p.size):
        spread[k], delta[k] = mix[variable[k]], materiality[variable[k]]
    for k in range(p.size):
        swing = times * wander[k]
        spread[k] = spread[k] * p[k] * (1.0 - p[k]) + swing * swing
    for k in range(p.size):
        edge = p[k] + np.sqrt(above[k] * above[k] + spread[k]) + delta[k]
        upper[k] = edge if edge < 1.0 else np.inf
    for k in range(p.size):
        edge = p[k] - np.sqrt(below[k] * below[k] + spread[k]) - delta[k]
        lower[k] = edge if edge > 0.0 else -np.inf
    for s in range(half):
        more, less, higher, smaller = odds[s] - 1.0, odds[half + s] - 1.0, out[s], out[half + s]
        for k in range(p.size):
            higher[k] = 1.0 + upper[k] * more
        for k in range(p.size):
            smaller[k] = 1.0 + lower[k] * less


@njit(cache=True, nogil=True, error_model="numpy")
def tops(top, slack, spread, few, rho, variables, out):  # type: ignore[no-untyped-def]  # compiled
    """Z = top + hypot(slack, mix spread) - slack of every tilt, mix = 3.5 sqrt(rho / clients) of its variable.

    Args:
        top: float32, shape (U, T), as the next two.
        slack: part of Z that is for the reference's own error.
        spread: sd of w.
        few: 3.5 / sqrt(clients).
        rho: shape (V,).
        variables: whose the tilts are, shape (U,).
        out: where it goes, shape (U, T).
    """
    for u in range(variables.size):
        mix = few * np.sqrt(rho[variables[u]])
        for t in range(top.shape[1]):
            own = np.float64(slack[u, t])
            out[u, t] = np.float64(top[u, t]) + np.sqrt(own**2 + (mix * spread[u, t]) ** 2) - own


@njit(cache=True, nogil=True, error_model="numpy")
def _loud_first(loud, width):  # type: ignore[no-untyped-def]  # compiled
    """Where each group's row of `width` begins, of those that may be left out first, and how many they are."""
    places, heard, quiet = np.empty(GROUPS, np.int64), 0, 0
    for g in range(GROUPS):
        if loud[g] > 0.0:
            places[g] = heard * width
            heard += 1
        else:
            quiet += 1
            places[g] = (GROUPS - quiet) * width
    return places, heard


@njit(cache=True, nogil=True, error_model="numpy")
def cells_log_e(table, sizes, weights, starts, low, high, variable, log_odds, log_miss, loud, left_out, out):  # type: ignore[no-untyped-def]  # compiled
    """Logarithm of e of every side and odds, and tested cell; -inf where `log_miss` is infinite.

    Args:
        table: events per group and cell, shape (16, n_cells).
        sizes: events per group, float64, shape (16,).
        weights: what an event is worth, shape (16, V).
        starts: first cell of each variable and their number at the end, shape (V + 1,).
        low: first cell of a tested one, shape (K,).
        high: its end.
        variable: whose it is; cells of one variable follow each other.
        log_odds: ln o, shape (6,).
        log_miss: ln(1 + u (o - 1)), shape (6, K).
        loud: 0 for groups that are the service, 1 for those that may be left out, float64, shape (16,).
        left_out: 0, 1 or 2.
        out: where it goes, shape (6, K).
    """
    first, most, a, trials = 0, 0, np.empty(GROUPS), np.empty(GROUPS)
    for v in range(starts.size - 1):
        most = max(most, starts[v + 1] - starts[v])
    room, width = most + LANES + 1, 2 * (most + LANES)  # eights that begin inside may end behind
    places, heard = _loud_first(loud, width)
    before, hits = np.zeros(GROUPS * room), np.zeros(GROUPS * width)
    all_hits, lost, miss = np.zeros(width), np.zeros(width), np.zeros(width)
    while first < low.size:
        v, end = variable[first], first + 1
        while end < low.size and variable[end] == v:
            end += 1
        size, cells, all_trials = end - first, starts[v + 1] - starts[v], 0.0
        for g in range(GROUPS):
            total, mine = 0.0, table[g, starts[v] : starts[v + 1]]
            for c in range(cells):
                total += mine[c]
                before[g * room + c + 1] = total
            a[g] = weights[g, v]
            trials[places[g] // width] = a[g] * sizes[g]
            all_trials += a[g] * sizes[g]
        k = first
        while k < end:
            # single cells, or cumulated ones, that follow each other
            stop, step = k + 1, np.int64(low[k + 1] - low[k]) if k + 1 < end else 1
            while stop < end and 0 <= step <= 1 and high[stop] == high[stop - 1] + 1 and low[stop] == low[stop - 1] + step:
                stop += 1
            for i in range(k, stop, LANES):
                if step == 0:
                    cumulated(before, room, low[k] - starts[v], high[i] - starts[v], a, places, hits, all_hits, i - first)
                else:
                    singles(before, room, low[i] - starts[v], high[i] - starts[v], a, places, hits, all_hits, i - first)
            k = stop
        for s in range(log_odds.size):
            hit, mine = log_odds[s], out[s, first:end]
            for i in range(size):
                miss[i] = log_miss[s, first + i]
            for i in range(0, size, LANES):
                if left_out == 1:
                    loudest(hits, trials, heard, width, hit, miss, i, lost)
                elif left_out == 2:
                    loudest_two(hits, trials, heard, width, hit, miss, i, lost)
            for i in range(size):
                value = all_hits[i] * hit - all_trials * miss[i] - lost[i]
                mine[i] = -np.inf if miss[i] == np.inf else value
        first = end


@njit(cache=True, nogil=True, fastmath={"reassoc"}, error_model="numpy")
def tilts_log_e(table, weights, variables, starts, log_w, log_top, active, loud, left_out, out):  # type: ignore[no-untyped-def]  # compiled
    """Logarithm of e of every tilt; -inf where it is not active.

    Args:
        table: events per group and cell, shape (16, n_cells).
        weights: what an event is worth, shape (16, V).
        variables: whose the tilts are, shape (U,).
        starts: first cell of each variable and their number at the end, shape (V + 1,).
        log_w: ln w, shape (U, C, T padded to a multiple of 8).
        log_top: ln Z, shape (U, T).
        active: shape (U, T).
        loud: 0 for groups that are the service, 1 for those that may be left out, float64, shape (16,).
        left_out: 0, 1 or 2.
        out: where it goes, shape (U, T).
    """
    cells, width, tilts = log_w.shape[1], log_w.shape[2], active.shape[1]
    w, hits, each = np.zeros((cells + 1) * width), np.empty(cells + 1), np.empty(GROUPS * width)
    total, lost, none, no_trials, ones = np.empty(width), np.zeros(width), np.zeros(width), np.zeros(GROUPS), np.ones(GROUPS)
    places, heard = _loud_first(loud, width)
    for u in range(variables.size):
        v = variables[u]
        begin, size = starts[v], starts[v + 1] - starts[v]
        for c in range(size):
            for t in range(width):
                w[c * width + t] = log_w[u, c, t]
        for t in range(tilts):
            w[size * width + t] = log_top[u, t]
        for g in range(GROUPS):
            mine, events, a = table[g, begin : begin + size], 0.0, weights[g, v]
            for c in range(size):
                hits[c] = a * mine[c]
                events += mine[c]
            hits[size] = -a * events
            threes = width // (3 * LANES) * (3 * LANES)
            for t in range(0, threes, 3 * LANES):
                sum_threes(hits, 0, w, t, width, size + 1, each, places[g] + t)
            for t in range(threes, width, LANES):
                sum_rows(hits, 0, w, t, width, size + 1, each, places[g] + t)
        for t in range(0, width, LANES):
            sum_rows(ones, 0, each, t, width, GROUPS, total, t)
            if left_out == 1:
                loudest(each, no_trials, heard, width, 1.0, none, t, lost)
            elif left_out == 2:
                loudest_two(each, no_trials, heard, width, 1.0, none, t, lost)
        for t in range(tilts):
            out[u, t] = total[t] - lost[t] if active[u, t] else -np.inf


@njit(cache=True, nogil=True, error_model="numpy")
def edges(of_cells, of_tilts, few, rho, rho_tilts, out):  # type: ignore[no-untyped-def]  # compiled
    """What `log_miss` and `log_top` are the logarithms of, one after the other.

    Args:
        of_cells: p, below, above, variable, wander, wander_z, materiality and odds of `limits`.
        of_tilts: top, slack, spread and variables of `tops`.
        few: 3.5 / sqrt(clients).
        rho: of single cells, shape (V,).
        rho_tilts: of tilts, shape (V,).
        out: where it goes, of one dimension.
    """
    p, below, above, variable, wander, wander_z, materiality, odds = of_cells
    top, slack, spread, variables = of_tilts
    in_cells = odds.size * p.size
    to_cells, to_tilts = out[:in_cells].reshape((odds.size, p.size)), out[in_cells:].reshape(top.shape)
    limits(p, below, above, few, rho, variable, wander, wander_z, materiality, odds, to_cells)
    tops(top, slack, spread, few, rho_tilts, variables, to_tilts)


@njit(cache=True, nogil=True, error_model="numpy")
def log_e(table, sizes, weights, weights_of_tilts, of_cells, of_tilts, starts, logs, loud, left_out, out):  # type: ignore[no-untyped-def]  # compiled
    """Logarithms of e of cells and tilts, one after the other.

    Args:
        table: as of `cells_log_e`, as the next two.
        sizes: events per group.
        weights: what an event is worth to single cells.
        weights_of_tilts: what it is worth to tilts.
        of_cells: low, high, variable and log_odds of `cells_log_e`.
        of_tilts: variables, log_w and active of `tilts_log_e`.
        starts: first cell of each variable.
        logs: of what `edges` gave.
        loud: as there, as the next.
        left_out: 0, 1 or 2.
        out: where they go, of one dimension, and as long at least.
    """
    low, high, variable, log_odds = of_cells
    variables, log_w, active = of_tilts
    in_cells, end = log_odds.size * low.size, logs.size
    log_miss, log_top = logs[:in_cells].reshape((log_odds.size, low.size)), logs[in_cells:].reshape(active.shape)
    to_cells, to_tilts = out[:in_cells].reshape(log_miss.shape), out[in_cells:end].reshape(active.shape)
    cells_log_e(table, sizes, weights, starts, low, high, variable, log_odds, log_miss, loud, left_out, to_cells)
    tilts_log_e(table, weights_of_tilts, variables, starts, log_w, log_top, active, loud, left_out, to_tilts)
