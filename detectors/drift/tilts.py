"""Alternatives that tilt a numeric variable's whole histogram, each against the worst law of the tolerance.

A single cumulated cell keeps at most 64 % of what a shift of the mean tells (2 / pi for a normal law), and no cell tells much of a change
of scale. So alternatives are whole histograms Q: the reference's own law moved, stretched, split in two or with heavier tails. What is
compared with them is not the reference but the law in the tolerance that is hardest to tell from Q.

**Tolerance.** S holds every law that differs by at most the materiality delta in total variation (delta of the events elsewhere) from a law
whose cumulated shares F_j lie in [lo_j, hi_j] at all cell borders j: the reference's F_j, give or take its simultaneous Clopper-Pearson
limits with the reference's wander in quadrature.

**The hardest law.** P* in S should have the least KL(Q || P*). In the tube between lo and hi it is the shortest path as a function of Q's
cumulated mass, the taut string, since KL is the integral of a convex function of its slope and the string minimises every such integral;
then delta of its mass is moved to where q / p is largest, away from where it is least (Huber, 1965).

**E-value.** Per event in cell c, w_c = q_c / p*_c, divided by

    Z = w_C + sum_j max(lo_j (w_j - w_j+1), hi_j (w_j - w_j+1)) + delta (max w - min w)  >=  sup over S of E[w],

computed from lo, hi and delta themselves, so that E[w / Z] <= 1 under every law in S does not rest on P* being right (in all cases looked
at, Z = 1: it is). Events that are independent given the past, each with its law in S, therefore give an e-value prod w / Z, and its
growth under Q, KL(Q || P*), is the largest that any e-value against S can have (Grünwald, de Heide, Koolen, "Safe testing", JRSSB 2024:
the reverse information projection).

**Few clients.** The mix of K clients moves E[w] by a random effect of variance rho Var(w) / K (`dependence.py`). Z grows by
hypot(g, m) - g, m = 3.5 sqrt(rho Var(w) / K), g the part of Z that is for the reference's own error: random effects add in quadrature, as
for single cells.

Everything depends on sums per cell only, so counts still merge by addition. An alternative that the tolerance holds, or nearly (growth
below 1e-4 nats a row), is left out: its e-value would be 1 for ever, and R would grow with time alone.

Cost: at 20 features about 0.012 ms a window. Memory: 4 bytes a cell and alternative.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from detectors.drift.eights import LANES
from detectors.drift.reference import DriftReference
from detectors.drift.tolerance import Ball, Tube, clipped

Floats = NDArray[np.float64]

SHIFTS = (0.1, 0.25, 0.5, 1.0)
"""In standard deviations, up and down, of the values and of their normal scores."""
SCALES = (0.8, 1.25)
"""About the median, of the values and of their normal scores."""
MODES = 0.8
"""Two modes at -a and a in normal scores, each of variance 1 - a^2: mean and variance stay."""
TAILS = 0.05
"""Share of the events that move into the outer bins."""
OWN = 0.02
"""Share of the reference's law in every alternative: a stray value where Q has nothing costs ln 50 at most."""
LEAST_GROWTH = 1e-4
"""Nats per row."""
_RAW = np.array([*np.tile(np.repeat([4.0, 2.0, 1.0, 0.5], 2), 2), *np.full(2 * len(SCALES) + 2, 2.0), 1.0])
WEIGHTS = _RAW / _RAW.sum()
"""Of the alternatives, in the order of `moved`: a shift of 0.1 sd, which takes thousands of rows, has four times that of a large one."""
PER_VARIABLE = WEIGHTS.size


def moved(reference: DriftReference, v: int) -> Floats:
    """Alternatives to variable v's histogram, shape (PER_VARIABLE, cells).

    Between two edges the normal score of a value is taken as linear in it, which is exact for a normal law and close for a smooth one.
    """
    begin, end, m = int(reference.starts[v]), int(reference.starts[v + 1]), int(reference.n_edges[v])
    counts = reference.counts[begin:end].astype(np.float64)
    shares = (counts + 0.5) / (counts + 0.5).sum()
    known = counts[:-1].sum()
    edges = reference.edges[v, :m].astype(np.float64)
    score = ndtri((np.cumsum(counts[:-1])[:-1] + 0.5) / (known + 1.0))
    first, last = ((score[b] - score[a]) / (edges[b] - edges[a]) for a, b in ((0, 1), (m - 2, m - 1)))

    def scores(x: Floats) -> Floats:
        inside = np.interp(x, edges, score)
        return np.asarray(inside + first * np.minimum(x - edges[0], 0.0) + last * np.maximum(x - edges[-1], 0.0), np.float64)

    middle, sd = float(np.interp(0.0, score, edges)), float(reference.sd[v])
    sides = [side * shift for shift in SHIFTS for side in (1.0, -1.0)]
    cumulated = [ndtr(scores(edges - shift * sd)) for shift in sides]
    cumulated += [ndtr(score - shift) for shift in sides]
    cumulated += [ndtr(scores(middle + (edges - middle) / scale)) for scale in SCALES]
    cumulated += [ndtr(score / scale) for scale in SCALES]
    mean, narrow = float(reference.mean[v]), np.sqrt(1.0 - MODES**2)
    cumulated.append(0.5 * (ndtr((score - MODES) / narrow) + ndtr((score + MODES) / narrow)))
    cumulated.append(0.5 * sum(ndtr(scores(mean + (edges - mean - side * MODES * sd) / narrow)) for side in (1.0, -1.0)))
    table = np.column_stack([np.zeros(len(cumulated)), *np.array(cumulated).T, np.ones(len(cumulated))])
    out = np.diff(table, axis=1) * (1.0 - shares[-1])
    outer = np.zeros(end - begin)
    outer[[1, m - 1]] = shares[[1, m - 1]]
    out = np.vstack([np.column_stack([out, np.full(len(out), shares[-1])]), (1.0 - TAILS) * shares + TAILS * outer / outer.sum()])
    out = (1.0 - OWN) * np.maximum(out, 0.0) + OWN * shares
    return np.asarray(out / out.sum(axis=1, keepdims=True), np.float64)


class Tilts:
    """The alternatives of every numeric variable with at least two bins, in one table.

    Args:
        reference: what is normal.
        below: how far a tested cell's true share may lie below the reference's, by the reference's own error, shape (K,).
        above: the same above.
        swing: how far it may wander in time, shape (K,).
        materiality: delta of each variable, shape (V,).
        gamma: probability, over all variables, that a true law is outside its ball.

    Attributes:
        variables: whose they are, int64, shape (U,).
        log_w: ln w, 0 in cells that a variable does not have, shape (U, C, PER_VARIABLE and some zeros).
        top, slack, spread: parts of Z, see `log_top`, float32, the first rounded up, shape (U, PER_VARIABLE).
        active: whether an alternative is far enough from the tolerance, shape (U, PER_VARIABLE).
    """

    def __init__(self, reference: DriftReference, below: Floats, above: Floats, swing: Floats, materiality: Floats, gamma: float) -> None:
        starts = reference.starts
        self.variables = np.array([v for v, kind in enumerate(reference.kinds) if kind == "numeric" and reference.n_edges[v] > 2], np.int64)
        U, C = self.variables.size, int(np.diff(starts)[self.variables].max(initial=1))
        self.log_w = np.zeros((U, C, -(-PER_VARIABLE // LANES) * LANES), np.float32)
        self.top, self.slack, self.spread = np.ones((3, U, PER_VARIABLE), np.float32)
        self.active = np.zeros((U, PER_VARIABLE), bool)
        index = {(int(a), int(b)): k for k, (a, b) in enumerate(zip(reference.low, reference.high, strict=True))}
        rows = np.arange(PER_VARIABLE)
        for u, v in enumerate(self.variables.tolist()):
            begin, end = int(starts[v]), int(starts[v + 1])
            size = end - begin
            cumulated = [index[begin, k] for k in range(begin + 1, end - 2)]
            tail, missing = index[end - 2, end - 1], index[end - 1, end]

            def borders(inner: Floats, outer: Floats) -> Floats:
                """Of the cumulated cells, then of x <= maximum and of known: what is left of the last two cells."""
                return np.array([*inner[cumulated], outer[tail] + outer[missing], outer[missing]])  # noqa: B023  # used at once

            counts = reference.counts[begin:end]
            share = counts / max(int(counts.sum()), 1)
            F, wander = np.cumsum(share)[:-1], borders(swing, swing)
            tube = Tube(F - np.hypot(borders(below, above), wander), F + np.hypot(borders(above, below), wander))
            ball = Ball(counts, (float(share[-1] - below[missing]), float(share[-1] + above[missing])), gamma / U)
            q = moved(reference, v)
            delta = float(materiality[v])
            w = np.array([[clipped(a, b, delta) for a, b in zip(q, set_.hardest(q), strict=True)] for set_ in (tube, ball)])
            w = np.exp(np.log(w).astype(np.float32).astype(np.float64))  # as it is kept
            flat = w.reshape(-1, size)
            turns, range_ = np.abs(np.diff(flat, axis=1)), delta * np.ptp(flat, axis=1)
            worst = np.minimum(tube.largest(flat), ball.largest(flat) + turns @ wander) + range_
            growth = (q * np.log(w)).sum(axis=2) - np.log(worst).reshape(2, -1)
            best = growth.argmax(axis=0)
            chosen, at = w[best, rows], best * PER_VARIABLE + rows
            mean = chosen @ share
            self.log_w[u, :size, :PER_VARIABLE] = np.log(chosen).T
            self.top[u], self.active[u] = np.nextafter(worst[at].astype(np.float32), np.float32(np.inf)), growth[best, rows] >= LEAST_GROWTH
            self.slack[u] = np.maximum(worst[at] - mean - range_[at], 0.0)
            self.spread[u] = np.sqrt(np.maximum(chosen**2 @ share - mean**2, 0.0))

    def log_top(self, mix: Floats) -> Floats:
        """Natural logarithm of Z, shape (U, PER_VARIABLE).

        Args:
            mix: 3.5 sqrt(rho / K) per variable, shape (V,).
        """
        return np.asarray(
            np.log(self.top.astype(np.float64) + np.hypot(self.slack, mix[self.variables, None] * self.spread) - self.slack), np.float64
        )
