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

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from detectors.drift.counts import BUCKETS, WindowCounts
from detectors.drift.design_effect import infer, learned_from, looked_at, loud_groups
from detectors.drift.reference import DriftReference
from detectors.groups import GROUPS

PRIOR_RHO = 0.1
PRIOR_WEIGHT = 300.0
DECAY = 0.999
USUAL_DECAY = 0.995
RECENT_DECAY = 0.9
MIX_Z = 3.5
BASELINE_DECAY = 0.9
BASELINE_EVENTS = 30.0
DOMINANT = 0.5
"""Usual share above which a client group is the service, so that its evidence is not left out."""


class Look(NamedTuple):
    """What the events of one window are worth."""

    clients: float
    """K, the effective number of clients over about the last ten windows and this one; 0 while none is known."""
    sizes: NDArray[np.float64]
    """Events per client group, shape (16,)."""
    extra: NDArray[np.float64]
    """sum n_c (n_c - 1) per group, shape (16,)."""
    repeats: NDArray[np.float64]
    """The same by event: the other events of its client that an event sees, shape (16,)."""
    weights: NDArray[np.float64]
    """1 / phi for single cells, shape (16, V)."""
    of_tilts: NDArray[np.float64]
    """1 / phi for tilts, shape (16, V)."""


class Dependence:
    """Intra-client correlation per variable, and how many clients the service really has; learned from closed windows.

    Attributes:
        rho: float64, shape (V,), used for the *next* window.
        rho_along: the same for the mean and the square of the normal scores, shape (V, 2).
        rho_tilts: what tilts of the whole histogram are judged with, the largest of the three, shape (V,).
        loud: 0 for client groups that usually are the service, 1 for those whose evidence may be left out, float64, shape (16,).
    """

    def __init__(self, reference: DriftReference) -> None:
        V = len(reference.variables)
        self._starts, self._tenths, self._tenth_starts = reference.starts, reference.tenths, reference.tenth_starts
        sizes = np.diff(reference.starts)
        self._cells_of_first = int(reference.starts[1])
        rows = np.add.reduceat(reference.counts, reference.starts[:-1])
        # of the cells, of the normal scores, of their squares
        self._numerators, self._denominators = np.zeros((2, V, 3))
        self.baseline = (reference.counts + 0.5) / (rows + 0.5 * sizes).repeat(sizes)
        self.usual, self.recent = np.zeros(BUCKETS), np.zeros(BUCKETS)
        self._scores = _scores(reference)
        self.rho, self.rho_along, self.rho_tilts, self.loud = np.empty(V), np.empty((V, 2)), np.empty(V), np.ones(GROUPS)
        self._infer()

    def look(self, counts: WindowCounts) -> Look:
        """What the events of a window are worth, by what was learned before it."""
        sizes, extra, repeats = np.empty((3, GROUPS))
        weights, of_tilts = np.empty((2, GROUPS, self.rho.size))
        cells, lately, out = self._cells_of_first, (self.recent, RECENT_DECAY, self._rho), (sizes, extra, repeats, weights, of_tilts)
        clients = looked_at(counts.table, cells, counts.volumes, *lately, self.rho, self.rho_tilts, *out)
        return Look(clients, *out)

    def learn(self, counts: WindowCounts, look: Look) -> None:
        """Take a window that has been judged into account for the next ones."""
        tables = counts.table, look.sizes, look.extra, look.weights, self.baseline
        shape = self._starts, self._tenths, self._tenth_starts, self._scores
        prior = BASELINE_EVENTS, PRIOR_RHO, PRIOR_WEIGHT
        decays = DECAY, BASELINE_DECAY if counts.n else 1.0, USUAL_DECAY, RECENT_DECAY
        learned = self._numerators, self._denominators, decays, counts.volumes, self.usual, self.recent
        rhos = self.rho, self.rho_along, self.rho_tilts
        self._rho = float(learned_from(tables, shape, prior, *learned, DOMINANT, rhos, self.loud))

    def _infer(self) -> None:
        learned = self._numerators, self._denominators, PRIOR_RHO, PRIOR_WEIGHT
        self._rho = float(infer(*learned, self.rho, self.rho_along, self.rho_tilts))

    def state(self) -> dict[str, object]:
        """What `restore` needs, for `detectors.state.pack`."""
        return {name: array.copy() for name, array in self._arrays().items()}

    def restore(self, state: dict[str, object]) -> None:
        """Continue from `state` bit for bit.

        Raises:
            ValueError: when it was learned against another reference.
        """
        ours = self._arrays()
        arrays = {name: np.asarray(state[name], np.float64) for name in ours}
        for name, array in arrays.items():
            if array.shape != ours[name].shape:
                raise ValueError(f"{name} has shape {array.shape}, not {ours[name].shape}: another reference")
        for name, array in arrays.items():
            ours[name][:] = array
        self._infer()
        loud_groups(self.usual, DOMINANT, self.loud)

    def _arrays(self) -> dict[str, NDArray[np.float64]]:
        return {
            "numerator": self._numerators[:, 0],
            "denominator": self._denominators[:, 0],
            "numerator_along": self._numerators[:, 1:],
            "denominator_along": self._denominators[:, 1:],
            "baseline": self.baseline,
            "usual": self.usual,
            "recent": self.recent,
        }


def _scores(reference: DriftReference) -> NDArray[np.float32]:
    """Normal score of the middle of each cell by its share, 0 for categories and missing, shape (n_cells,)."""
    out = np.zeros(reference.n_cells, np.float32)
    for v, kind in enumerate(reference.kinds):
        if kind == "numeric":
            known = slice(int(reference.starts[v]), int(reference.starts[v + 1]) - 1)
            counts = reference.counts[known] + 0.5
            out[known] = ndtri((np.cumsum(counts) - 0.5 * counts) / counts.sum())
    return out
