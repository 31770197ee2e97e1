"""Compiled parts of `dependence.py`: what the events of a window are worth, and how far its client groups are from each other."""

from __future__ import annotations

import numpy as np
from numba import njit

from detectors.groups import GROUPS

_FAST = {"reassoc", "nnan", "nsz"}


@njit(cache=True, nogil=True, error_model="numpy")
def volumes_of(volumes, extra):  # type: ignore[no-untyped-def]  # compiled
    """Sum n_c (n_c - 1) per group, chance collisions of the hash taken out, into `extra`, float64, shape (16,)."""
    per_group = volumes.size // GROUPS
    known, squares = np.zeros(GROUPS), np.zeros(GROUPS)
    for b in range(per_group):
        for g in range(GROUPS):
            n = float(volumes[b * GROUPS + g])
            known[g] += n
            squares[g] += n * n
    for g in range(GROUPS):
        chance = known[g] ** 2 / per_group
        # minus what chance gives, plus three of its standard deviations, so that it is never under-estimated by luck
        least = max(squares[g] - chance + 3.0 * np.sqrt(2.0 / per_group) * chance, known[g])
        extra[g] = min(least, squares[g]) - known[g]


@njit(cache=True, nogil=True, error_model="numpy")
def weigh(sizes, extra, rho, out):  # type: ignore[no-untyped-def]  # compiled
    """1 / phi per group and variable, float64 in (0, 1], shape (16, V)."""
    for g in range(GROUPS):
        more = extra[g] / max(sizes[g], 1.0)
        for v in range(rho.size):
            out[g, v] = 1.0 / (1.0 + rho[v] * more)


@njit(cache=True, nogil=True, fastmath=_FAST, error_model="numpy")
def effective(volumes, recent, decay, rho):  # type: ignore[no-untyped-def]  # compiled
    """(sum L)^2 / sum L^2 over `decay` times the recent windows' worth and this one's; 0 while no client is known.

    The chance collisions of the buckets are taken out, 20 times the raw figure at most.
    """
    total, squares = 0.0, 0.0
    for b in range(volumes.size):
        n = float(volumes[b])
        one = decay * recent[b] + n / (1.0 + rho * max(n - 1.0, 0.0))
        total += one
        squares += one * one
    return total**2 / max(squares - total**2 / volumes.size, 0.05 * squares) if total > 0.0 else 0.0


@njit(cache=True, nogil=True, error_model="numpy")
def remember(volumes, rho, usual, usual_decay, recent, recent_decay):  # type: ignore[no-untyped-def]  # compiled
    """Take a window's worth per bucket into the usual and the recent volumes."""
    for b in range(volumes.size):
        n = float(volumes[b])
        worth = n / (1.0 + rho * max(n - 1.0, 0.0))
        usual[b] = usual_decay * usual[b] + worth
        recent[b] = recent_decay * recent[b] + worth


@njit(cache=True, nogil=True, error_model="numpy")
def loud_groups(usual, dominant, out):  # type: ignore[no-untyped-def]  # compiled
    """0 for groups that usually send more than the share `dominant`, 1 for the others, into `out`, float64, shape (16,)."""
    out[:] = 0.0
    total = 0.0
    for b in range(usual.size):
        out[b % GROUPS] += usual[b]
        total += usual[b]
    for g in range(GROUPS):
        out[g] = 1.0 if out[g] <= dominant * total else 0.0


@njit(cache=True, nogil=True, error_model="numpy")
def take_in(told, numerators, denominators, decay, share, baseline, keep):  # type: ignore[no-untyped-def]  # compiled
    """Take what `excess` told of a window into what was learned, and its shares into the slow average."""
    for v in range(told.shape[0]):
        for kind in range(told.shape[1]):
            numerators[v, kind] = numerators[v, kind] * decay + told[v, kind, 0]
            denominators[v, kind] = denominators[v, kind] * decay + told[v, kind, 1]
    for c in range(share.size):
        baseline[c] = baseline[c] * keep + (1.0 - keep) * share[c]


@njit(cache=True, nogil=True, error_model="numpy")
def infer(numerators, denominators, prior, weight, rho, along, largest):  # type: ignore[no-untyped-def]  # compiled
    """Posterior correlations of the cells, of both moments of the normal scores, and the largest of the three.

    Returns the median of the first.
    """
    for v in range(rho.size):
        largest[v] = 0.0
        for kind in range(3):
            one = min(max((numerators[v, kind] + prior * weight) / (denominators[v, kind] + weight), 0.0), 1.0)
            largest[v] = max(largest[v], one)
            if kind:
                along[v, kind - 1] = one
            else:
                rho[v] = one
    return np.median(rho)


@njit(cache=True, nogil=True, fastmath=_FAST, error_model="numpy")
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
        weights: what an event is worth, shape (16, V).
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
    # of one array: where two may overlap, a compiler looks before each loop
    a, per, share, hits, here, mean, square, fourth, told, told_square = np.empty((10, GROUPS))
    deviation, spread = np.empty((3, GROUPS)), np.empty((3, GROUPS))
    for v in range(starts.size - 1):
        pooled_n = 0.0
        for g in range(GROUPS):
            a[g] = weights[g, v]
            pooled_n += a[g] * sizes[g]
        for g in range(GROUPS):
            per[g] = 1.0 / (pooled_n - a[g] * sizes[g] + prior_events)
            mean[g], square[g], fourth[g], told[g], told_square[g] = 0.0, 0.0, 0.0, 0.0, 0.0
            deviation[0, g], spread[0, g] = 0.0, 0.0
        for b in range(tenth_starts[v], tenth_starts[v + 1]):
            stop = tenths[b + 1] if b + 1 < tenth_starts[v + 1] else starts[v + 1]
            share[:], hits[:] = 0.0, 0.0
            for c in range(tenths[b], stop):
                pooled = 0.0
                for g in range(GROUPS):
                    here[g] = table[g, c]
                    pooled += a[g] * here[g]
                share_out[c] = pooled / max(pooled_n, 1e-12)
                pooled += prior_events * baseline[c]
                s = scores[c]
                for g in range(GROUPS):
                    n = here[g]
                    p = (pooled - a[g] * n) * per[g]
                    share[g] += p
                    hits[g] += n
                    mean[g] += p * s
                    square[g] += p * (s * s)
                    fourth[g] += p * (s * s * s * s)
                    told[g] += n * s
                    told_square[g] += n * (s * s)
            for g in range(GROUPS):
                deviation[0, g] += (hits[g] - sizes[g] * share[g]) ** 2
                spread[0, g] += share[g] * (1.0 - share[g])
        for g in range(GROUPS):
            deviation[1, g], spread[1, g] = (told[g] - sizes[g] * mean[g]) ** 2, square[g] - mean[g] * mean[g]
            deviation[2, g], spread[2, g] = (told_square[g] - sizes[g] * square[g]) ** 2, fourth[g] - square[g] * square[g]
        for kind in range(3):
            out[v, kind, 0], out[v, kind, 1] = 0.0, 0.0
            for g in range(GROUPS):
                if extra[g] > 0.0 and spread[kind, g] > 1e-9:
                    w = (extra[g] / (max(sizes[g], 1.0) + prior_rho * extra[g])) ** 2
                    r = (deviation[kind, g] - sizes[g] * spread[kind, g]) / (extra[g] * spread[kind, g])
                    out[v, kind, 0] += w * min(max(r, -1.0), 1.0)
                    out[v, kind, 1] += w


@njit(cache=True, nogil=True, error_model="numpy")
def looked_at(table, cells, volumes, recent, decay, middle, rho, rho_tilts, sizes, extra, repeats, weights, of_tilts):  # type: ignore[no-untyped-def]  # compiled
    """What the events of a window are worth, as of `dependence.Look`; returns the effective number of clients.

    Args:
        table: events per group and cell, shape (16, n_cells).
        cells: of the first variable, of which every event has one.
        volumes: events per hashed client.
        recent: their worth of the windows before.
        decay: of it.
        middle: median rho.
        rho: of single cells, shape (V,).
        rho_tilts: of tilts, shape (V,).
        sizes: where the events per group go, as the others float64, shape (16,).
        extra: where sum n_c (n_c - 1) goes, shape (16,).
        repeats: where that by event goes, shape (16,).
        weights: where 1 / phi of single cells goes, shape (16, V).
        of_tilts: where that of tilts goes, shape (16, V).
    """
    for g in range(GROUPS):
        total = 0
        for c in range(cells):
            total += table[g, c]
        sizes[g] = total
    volumes_of(volumes, extra)
    for g in range(GROUPS):
        repeats[g] = extra[g] / max(sizes[g], 1.0)
    weigh(sizes, extra, rho, weights)
    weigh(sizes, extra, rho_tilts, of_tilts)
    return effective(volumes, recent, decay, middle)


@njit(cache=True, nogil=True, error_model="numpy")
def learned_from(tables, shape, before, numerators, denominators, decays, volumes, usual, recent, dominant, rhos, loud):  # type: ignore[no-untyped-def]  # compiled
    """Take a window into account for the next ones; returns the median of the new correlations.

    Args:
        tables: table, sizes, extra, weights and baseline, as of `excess`.
        shape: starts, tenths, tenth_starts and scores, as there.
        before: what the baseline is worth in events, the prior rho, and what that is worth.
        numerators: learned so far, shape (V, 3).
        denominators: the same.
        decays: of what was learned, of the baseline, of the usual and of the recent volumes.
        volumes: events per hashed client of this window.
        usual: their worth in the long run.
        recent: the same lately.
        dominant: share above which a group is the service.
        rhos: of single cells, along the scores, and of tilts; where they go.
        loud: where it goes which groups may be left out, shape (16,).
    """
    table, sizes, extra, weights, baseline = tables
    prior_events, prior_rho, prior_weight = before
    keep, keep_baseline, keep_usual, keep_recent = decays
    rho, along, largest = rhos
    told, share = np.empty((rho.size, 3, 2)), np.empty(baseline.size)
    starts, tenths, tenth_starts, scores = shape
    excess(table, sizes, extra, weights, baseline, starts, tenths, tenth_starts, scores, prior_events, prior_rho, share, told)
    take_in(told, numerators, denominators, keep, share, baseline, keep_baseline)
    middle = infer(numerators, denominators, prior_rho, prior_weight, rho, along, largest)
    remember(volumes, middle, usual, keep_usual, recent, keep_recent)
    loud_groups(usual, dominant, loud)
    return middle
