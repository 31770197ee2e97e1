"""How much a window's events are worth, when events of one client resemble each other.

Three facts about live traffic break tests that believe in independent events: one client's batch job fills a window; one sub-population
has a single customer; a service's clients are few, so their mix is never the reference's. The model is survey statistics' random
effects: a client's share of a cell scatters around the population's with variance rho p (1 - p), rho the intra-client correlation.

1. **Tempering per group of clients.** n events with sum n_c^2 = Q are worth n / phi, phi = 1 + rho (Q / n - 1) (Kish's design effect).
   A job of 10,000 events counts 1 / rho of them, and the other clients keep theirs.
2. **Mix tolerance.** With K effective clients the population's share is only known to +- z sqrt(rho p (1 - p) / K): added to the null. K is
   that of the last ten windows and this one, because a mix of active clients persists for about as long as evidence accumulates.
3. **No one or two groups decide** (in `detector.py`): the loudest are left out, unless one usually is the service.

rho is learned per variable from past windows only, so every e-value stays conditionally valid (the tempering is predictable): from the
spread of the client groups around *each other* inside a window, which a drift of the whole model leaves alone; a service with one client is
compared with its own slow average instead, and learns that its rho is near 0. Prior 0.1, worth about three windows of large clients.
Clients whose habits differ in their mean or their spread resemble themselves more along a tilt of the whole histogram than cell by cell, so
tilts have a rho of their own: the largest of the cells', that of the normal scores and that of their squares.

Measured at 0.35 pages per 30 days in 5-minute windows. Four recorded services (200-300 clients, Zipf volumes, focused clients, a bulk
job, health checks, retries; 4-19 benign events in the median window, 3,743 windows): no page, no ticket; one feature of everybody shifted
by 1 sd pages after 220-520 events. Simulated services of 12, 40 and 200 clients with narrow habits and sessions (32 runs of 1,500 windows
of 20 or 150 events): no page; with item 1 alone: 1 to 20 in each run of 12 or 40 clients at 150 events. One or two bulk clients of one
sub-population for four hours: no page; four at once: a page, for then most of the traffic did change. Independent events, a simulated
year: none.

The price is delay where clients are few and differ much: 40 clients of strong habits, one feature shifted by 0.5 sd: often not within 60
windows; 1 sd: 1-19 windows; 2 sd: 1-2.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from detectors.drift.counts import BUCKETS, GROUPS, WindowCounts
from detectors.drift.judging import excess
from detectors.drift.reference import DriftReference

PRIOR_RHO = 0.1
PRIOR_WEIGHT = 300.0
DECAY = 0.999
USUAL_DECAY = 0.995
RECENT_DECAY = 0.9
MIX_Z = 3.5
BASELINE_DECAY = 0.9
BASELINE_EVENTS = 30.0

_STATE = ("numerator", "denominator", "baseline", "usual", "recent", "rho", "numerator_along", "denominator_along", "rho_along")


class Dependence:
    """Intra-client correlation per variable, and how many clients the service really has; learned from closed windows.

    Attributes:
        rho: float64, shape (V,), used for the *next* window.
        rho_along: the same for the mean and the square of the normal scores, shape (V, 2).
    """

    def __init__(self, reference: DriftReference) -> None:
        V = len(reference.variables)
        self._starts, self._tenths, self._tenth_starts = reference.starts, reference.tenths, reference.tenth_starts
        self._rows = np.add.reduceat(reference.counts, reference.starts[:-1])
        self._variable = np.repeat(np.arange(V), np.diff(reference.starts))
        self.numerator, self.denominator = np.zeros(V), np.zeros(V)
        self.baseline = (reference.counts + 0.5) / (self._rows + 0.5 * np.diff(reference.starts))[self._variable]
        self.usual, self.recent = np.zeros(BUCKETS), np.zeros(BUCKETS)
        self.rho = np.full(V, PRIOR_RHO)
        self._scores = _scores(reference)
        self.numerator_along, self.denominator_along = np.zeros((V, 2)), np.zeros((V, 2))
        self.rho_along = np.full((V, 2), PRIOR_RHO)

    @property
    def rho_tilts(self) -> NDArray[np.float64]:
        """What tilts of the whole histogram are judged with, shape (V,)."""
        return np.asarray(np.maximum(self.rho, self.rho_along.max(axis=1)), np.float64)

    def clients(self, counts: WindowCounts) -> float:
        """K, the effective number of clients over about the last ten windows and this one, (sum L)^2 / sum L^2; 0 while none is known."""
        return _effective(RECENT_DECAY * self.recent + self._worth(counts))

    def _worth(self, counts: WindowCounts) -> NDArray[np.float64]:
        volumes = counts.volumes.astype(np.float64)
        return np.asarray(volumes / (1.0 + float(np.median(self.rho)) * np.maximum(volumes - 1.0, 0.0)), np.float64)

    @property
    def shares(self) -> NDArray[np.float64]:
        """Usual share of the traffic per client group, shape (16,)."""
        groups = self.usual.reshape(-1, GROUPS).sum(axis=0)
        total = float(groups.sum())
        return groups / total if total > 0 else np.full(GROUPS, 1.0 / GROUPS)

    def weights(self, counts: WindowCounts, rho: NDArray[np.float64] | None = None) -> NDArray[np.float64]:
        """1 / phi per variable and group, float64 in (0, 1], shape (V, 16); `rho` is the cells' when it is not given."""
        n, extra = _volumes(counts)
        return 1.0 / (1.0 + (self.rho if rho is None else rho)[:, None] * (extra / np.maximum(n, 1.0))[None, :])

    def learn(self, counts: WindowCounts) -> None:
        """Take a window that has been judged into account for the next ones."""
        n, extra = _volumes(counts)
        told, share = np.empty((len(self.rho), 3, 2)), np.empty_like(self.baseline)
        tables = counts.table, n, extra, self.weights(counts), self.baseline
        excess(*tables, self._starts, self._tenths, self._tenth_starts, self._scores, BASELINE_EVENTS, PRIOR_RHO, share, told)
        self.numerator = DECAY * self.numerator + told[:, 0, 0]
        self.denominator = DECAY * self.denominator + told[:, 0, 1]
        self.numerator_along = DECAY * self.numerator_along + told[:, 1:, 0]
        self.denominator_along = DECAY * self.denominator_along + told[:, 1:, 1]
        self.rho = _posterior(self.numerator, self.denominator)
        self.rho_along = _posterior(self.numerator_along, self.denominator_along)
        if counts.n:
            self.baseline = BASELINE_DECAY * self.baseline + (1.0 - BASELINE_DECAY) * share
        worth = self._worth(counts)
        self.usual, self.recent = USUAL_DECAY * self.usual + worth, RECENT_DECAY * self.recent + worth

    def state(self) -> dict[str, object]:
        """What `restore` needs, for `detectors.state.pack`."""
        return {name: getattr(self, name).copy() for name in _STATE}

    def restore(self, state: dict[str, object]) -> None:
        """Continue from `state` bit for bit.

        Raises:
            ValueError: when it was learned against another reference.
        """
        arrays = {name: np.asarray(state[name], np.float64) for name in _STATE}
        for name, array in arrays.items():
            if array.shape != getattr(self, name).shape:
                raise ValueError(f"{name} has shape {array.shape}, not {getattr(self, name).shape}: another reference")
        for name, array in arrays.items():
            setattr(self, name, array.copy())


def _posterior(numerator: NDArray[np.float64], denominator: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.clip((numerator + PRIOR_RHO * PRIOR_WEIGHT) / (denominator + PRIOR_WEIGHT), 0.0, 1.0)


def _scores(reference: DriftReference) -> NDArray[np.float64]:
    """Normal score of the middle of each cell by its share, 0 for categories and missing, shape (n_cells,)."""
    out = np.zeros(reference.n_cells)
    for v, kind in enumerate(reference.kinds):
        if kind == "numeric":
            known = slice(int(reference.starts[v]), int(reference.starts[v + 1]) - 1)
            counts = reference.counts[known] + 0.5
            out[known] = ndtri((np.cumsum(counts) - 0.5 * counts) / counts.sum())
    return out


def _volumes(counts: WindowCounts) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Events n and sum n_c (n_c - 1) per group, chance collisions of the hash taken out."""
    volumes = counts.volumes.astype(np.float64).reshape(-1, GROUPS)
    n = counts.group_sizes.astype(np.float64)
    per_group = BUCKETS // GROUPS
    known = volumes.sum(axis=0)
    chance = known**2 / per_group
    # minus what chance gives, plus three of its standard deviations, so that it is never under-estimated by luck
    squares = np.maximum((volumes**2).sum(axis=0) - chance + 3.0 * np.sqrt(2.0 / per_group) * chance, known)
    return n, np.minimum(squares, (volumes**2).sum(axis=0)) - known


def _effective(volumes: NDArray[np.float64]) -> float:
    """(sum L)^2 / sum L^2 with the chance collisions of 1,024 buckets taken out, 20 times the raw figure at most."""
    total, squares = float(volumes.sum()), float((volumes**2).sum())
    return total**2 / max(squares - total**2 / BUCKETS, 0.05 * squares) if total > 0 else 0.0
