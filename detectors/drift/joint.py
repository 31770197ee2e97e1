"""Evidence that features no longer go together as in the reference, though each alone may look the same.

For each pair of `pairs.py`, the share of events apart is a Bernoulli cell like any other: the reference's share with its Clopper-Pearson
limits, widened in quadrature by the client mix and four times the pair's wander, plus the materiality; both sides, odds 1.4 and 2.5; events
of a client group weighed by a correlation of the pair's own, learned from past windows; the loudest groups left out. Counts are first
carried from the share that the margins of this window and the hundred events before would have apart to the reference's. So its e-values
hold under the same assumptions as the cells' (`detector.py`). With random features (`witness.py`) they have a tenth of the mixture, which
costs the others ln(1 / 0.9) = 0.1 nats; three quarters of it are theirs.

Of what a change of correlation tells, the sides keep 39 % from 0 to 0.5 and 47 % from 0.9 to 0.5 (normal law); changes that no pair of
sides sees (three features together, or |x| with |y|) are left to the random features.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from detectors.drift.counts import WindowCounts
from detectors.drift.dependence import BASELINE_DECAY, BASELINE_EVENTS, DECAY, PRIOR_RHO, PRIOR_WEIGHT, Look
from detectors.drift.pairs import share_apart
from detectors.drift.reference import DriftReference
from detectors.groups import GROUPS

SHARE = 0.1
"""Of the mixture's weight, with random features (`witness.py`)."""
GAMMA_SHARE = 0.1
"""Of the reference's error probability."""
ODDS = np.array([1.4, 2.5, 1 / 1.4, 1 / 2.5])
"""More events apart, then fewer."""
_LOG_ODDS = np.log(ODDS)
RECENT_EVENTS = 100.0
"""What the last events before a window are worth beside its own: more would lag behind margins that wander."""
PRIOR_EVENTS = 10.0
"""What the reference's margins are worth beside those seen lately."""
_LEARNED = ("numerator", "denominator", "baseline", "rho", "recent")

Floats = NDArray[np.float64]


class PairDrift(NamedTuple):
    """A pair of features that no longer goes together as in the reference.

    Attributes:
        first, second: names.
        before, after: share of events in which they are apart, expected and in this window.
        log_evidence: ln of the pair's own mixture.
        since: index of the window at which the evidence of its strongest component started to grow.
    """

    first: str
    second: str
    before: float
    after: float
    log_evidence: float
    since: int

    @property
    def correlations(self) -> tuple[float, float]:
        """Before and after, of the normal law split at its medians that is apart as often: sin(pi (1/2 - share))."""
        return math.sin(math.pi * (0.5 - self.before)), math.sin(math.pi * (0.5 - self.after))


_FAST = {"reassoc", "nnan", "nsz"}
"""Sums and maxima in any order; infinities stay what they are."""


@njit(cache=True, nogil=True, error_model="numpy")
def _margins(table, sizes, weights, members, starts, upper, recent, most, prior, usual, hits, rows, phi, i, j, lately, share, kept, more):  # type: ignore[no-untyped-def]  # compiled
    """What an event that is apart, and one that is not, counts as, given the margins of the last events and this window.

    `lately` gets the events above the split and in all per member, `most` of them of before this window: `recent` of the next one;
    `share`, the reference's rows apart, `hits`, as a share.
    """
    above, spread = np.empty(members.size), np.empty(members.size)
    for k in range(members.size):
        v = members[k]
        begin, end = starts[v], starts[v + 1]
        while upper[begin] == 0 and begin < end - 1:
            begin += 1
        while upper[end - 1] == 0 and end > begin + 1:
            end -= 1
        beyond, total, sides = 0.0, 0.0, upper[begin:end]
        for g in range(GROUPS):
            if sizes[g] == 0.0:
                continue
            events, mine = np.int32(0), table[g, begin:end]
            for c in range(sides.size):
                events = np.int32(events + mine[c] * np.int32(sides[c]))
            beyond += weights[g, v] * events
            total += weights[g, v] * sizes[g]
        keep = min(1.0, most / max(recent[k, 1], 1e-12))
        lately[k, 0], lately[k, 1] = keep * recent[k, 0] + beyond, keep * recent[k, 1] + total
        above[k] = (lately[k, 0] + prior * usual[k]) / (lately[k, 1] + prior)
        spread[k] = np.sqrt(above[k] * (1.0 - above[k]))
    for p in range(share.size):
        share[p] = hits[p] / rows
        a, b = above[i[p]], above[j[p]]
        expected = a + b - 2.0 * (a * b + phi[p] * spread[i[p]] * spread[j[p]])
        expected = min(max(expected, 1e-3), 1.0 - 1e-3)
        kept[p] = min(1.0, share[p] / expected)
        more[p] = max(0.0, (share[p] - expected) / (1.0 - expected))


@njit(cache=True, nogil=True, error_model="numpy")
def _limits(rho, p, below, above, wander, wander_z, few, materiality, odds, out):  # type: ignore[no-untyped-def]  # compiled
    """1 + u (o - 1) of every odds and pair, u the edge of its tolerance, shape (P, 4); inf where that is 0 or 1."""
    half = odds.size // 2
    for k in range(p.size):
        swing = np.float32(wander_z) * wander[k]
        spread = few * few * rho[k] * p[k] * (1.0 - p[k]) + swing * swing
        upper = p[k] + np.sqrt(above[k] * above[k] + spread) + materiality
        lower = p[k] - np.sqrt(below[k] * below[k] + spread) - materiality
        for s in range(half):
            out[k, s] = 1.0 + upper * (odds[s] - 1.0) if upper < 1.0 else np.inf
            out[k, half + s] = 1.0 + lower * (odds[half + s] - 1.0) if lower > 0.0 else np.inf


@njit(cache=True, nogil=True, error_model="numpy")
def _edges(margins, tolerance, share, kept, more, out):  # type: ignore[no-untyped-def]  # compiled
    """Both of them, in one call."""
    table, sizes, weights, members, starts, upper, recent, most, prior, usual, hits, rows, phi, i, j, lately = margins
    rho, below, above, wander, wander_z, few, materiality, odds = tolerance
    _margins(table, sizes, weights, members, starts, upper, recent, most, prior, usual, hits, rows, phi, i, j, lately, share, kept, more)
    _limits(rho, share, below, above, wander, wander_z, few, materiality, odds, out)


@njit(cache=True, nogil=True, fastmath=_FAST, error_model="numpy")
def _log_e(apart, sizes, repeats, rho, kept, more, log_odds, log_miss, loud, left_out, out):  # type: ignore[no-untyped-def]  # compiled
    """Logarithm of e of every pair and odds, shape (P, 4); -inf where `log_miss` is infinite. Groups are innermost: two vectors."""
    hits, trials, each = np.empty(GROUPS), np.empty(GROUPS), np.empty(GROUPS)
    for k in range(rho.size):
        mine = apart[k]
        per_rho, per_hit, per_other = rho[k], kept[k] - more[k], more[k]
        all_hits, all_trials = 0.0, 0.0
        for g in range(GROUPS):
            a = 1.0 / (1.0 + per_rho * repeats[g])
            hits[g] = a * (per_hit * float(mine[g]) + per_other * sizes[g])
            trials[g] = a * sizes[g]
            all_hits += hits[g]
            all_trials += trials[g]
        for s in range(log_odds.size):
            hit, miss = log_odds[s], log_miss[k, s]
            if miss == np.inf:
                out[k, s] = -np.inf
                continue
            lost = 0.0
            if left_out > 0:
                first, second, equal = 0.0, 0.0, 0.0
                for g in range(GROUPS):
                    each[g] = loud[g] * (hits[g] * hit - trials[g] * miss)
                    first = max(first, each[g])
                if left_out == 2:
                    for g in range(GROUPS):
                        equal += 1.0 if each[g] == first else 0.0
                        second = max(second, each[g] if each[g] < first else 0.0)
                    second = first if equal > 1.0 else second
                lost = first + second
            out[k, s] = all_hits * hit - all_trials * miss - lost


@njit(cache=True, nogil=True, fastmath=_FAST, error_model="numpy")
def _learn(apart, sizes, extra, repeats, rho, baseline, numerator, denominator, prior_rho, prior_weight, prior_events, decay, keep):  # type: ignore[no-untyped-def]  # compiled
    """How far the groups are from each other beyond chance, as `design_effect.excess`, and the slow average.

    In 32 bits: sixteen groups are one vector, and what is learned is clipped at 1 anyway.
    """
    one, least, prior = np.float32(1.0), np.float32(1e-9), np.float32(prior_events)
    weight, per_extra, n, more = np.zeros((4, GROUPS), np.float32)
    total = 0.0
    for g in range(GROUPS):
        n[g], more[g] = sizes[g], repeats[g]
        if extra[g] > 0.0:
            weight[g] = (extra[g] / (max(sizes[g], 1.0) + prior_rho * extra[g])) ** 2
            per_extra[g] = 1.0 / extra[g]
        total += weight[g]
    for k in range(rho.size):
        mine, per_rho, before = apart[k], np.float32(rho[k]), np.float32(prior_events * baseline[k])
        pooled, pooled_n, excess = np.float32(0.0), np.float32(0.0), np.float32(0.0)
        for g in range(GROUPS):  # nothing is stored, so that no array is looked at for whether it overlaps another
            worth = one / (one + per_rho * more[g])
            pooled += worth * np.float32(mine[g])
            pooled_n += worth * n[g]
        for g in range(GROUPS):
            worth, events = one / (one + per_rho * more[g]), np.float32(mine[g])
            p = (pooled - worth * events + before) / (pooled_n - worth * n[g] + prior)
            spread = max(p * (one - p), least)
            away = events - n[g] * p
            r = (away * away - n[g] * spread) * per_extra[g] / spread
            excess += weight[g] * min(max(r, -one), one)
        numerator[k] = decay * numerator[k] + excess
        denominator[k] = decay * denominator[k] + total
        rho[k] = min(max((numerator[k] + prior_rho * prior_weight) / (denominator[k] + prior_weight), 0.0), 1.0)
        baseline[k] = keep * baseline[k] + (1.0 - keep) * pooled / max(pooled_n, least)


class JointEvidence:
    """The owner's part for pairs of features.

    Args:
        reference: what is normal.
        materiality: delta, in points of probability.
        wander_z: times a pair's own wander that is tolerated.

    Attributes:
        rho: intra-client correlation of each pair, used for the next window, shape (P,).

    Cost: 25 us a window of 190 pairs. Memory: 24 bytes a pair, besides the recursion's four components.
    """

    def __init__(self, reference: DriftReference, materiality: float, wander_z: float) -> None:
        pairs = reference.pairs
        self.pairs, self._materiality, self._reference = pairs, materiality, reference
        P = len(pairs)
        lower, upper = reference.bounds(pairs.kept.apart, np.full(P, reference.rows), math.ceil(P / GAMMA_SHARE))
        p, self._wander_z = pairs.share, wander_z
        self._below, self._above = (p - lower).astype(np.float32), (upper - p).astype(np.float32)
        self._recent, self._lately = np.zeros((2, pairs.members.size, 2))
        self._numerator, self._denominator = np.zeros((2, P), np.float32)
        self._baseline, self.rho = p.astype(np.float32), np.full(P, PRIOR_RHO, np.float32)

    def __len__(self) -> int:
        return len(self.pairs)

    def log_weights(self, share: float) -> Floats:
        """Of its components, shape (4 P,), pair first; all together `share`."""
        return np.full(ODDS.size * len(self), math.log(share / (ODDS.size * len(self))) if len(self) else 0.0)

    def log_e(self, counts: WindowCounts, look: Look, few: float, loud: Floats, left_out: int, out: NDArray[np.float32]) -> None:
        """Logarithm of e of every component into `out`, shape (4 P,).

        Args:
            counts: the window's.
            look: what its events are worth.
            few: 3.5 / sqrt(clients), 0 while none is known.
            loud: 1 for client groups that may be left out, shape (16,).
            left_out: how many are.
            out: where it goes.
        """
        pairs, kept = self.pairs, self.pairs.kept
        own, lately = (pairs.members, self._reference.starts, pairs.upper), (self._recent, RECENT_EVENTS, PRIOR_EVENTS)
        usual = pairs.above, kept.apart, pairs.rows, kept.phi, pairs.i, pairs.j
        margins = counts.table, look.sizes, look.weights, *own, *lately, *usual, self._lately
        tolerance = self.rho, self._below, self._above, kept.wander, self._wander_z, few, self._materiality, ODDS
        share, as_one, as_none = np.empty((3, len(self)))
        log_miss = np.empty((len(self), ODDS.size))
        _edges(margins, tolerance, share, as_one, as_none, log_miss)
        np.log(log_miss, out=log_miss)
        groups = counts.apart, look.sizes, look.repeats, self.rho
        _log_e(*groups, as_one, as_none, _LOG_ODDS, log_miss, loud, left_out, out.reshape(log_miss.shape))

    def learn(self, counts: WindowCounts, look: Look) -> None:
        """Take the window that `log_e` was asked of into account for the next ones."""
        self._recent, self._lately = self._lately, self._recent
        learned = self.rho, self._baseline, self._numerator, self._denominator
        prior = PRIOR_RHO, PRIOR_WEIGHT, BASELINE_EVENTS
        _learn(counts.apart, look.sizes, look.extra, look.repeats, *learned, *prior, DECAY, BASELINE_DECAY)

    def strongest(self, counts: WindowCounts, log_r: NDArray[Any], since: NDArray[np.int32]) -> tuple[PairDrift, ...]:
        """Every pair as it is now, in the reference's order.

        Args:
            counts: the window's.
            log_r: of the components, shape (4 P,).
            since: when they began, shape (4 P,).
        """
        P = len(self)
        of = log_r.reshape(P, ODDS.size)
        top = of.max(axis=1)
        safe = np.where(np.isfinite(top), top, 0.0)
        with np.errstate(divide="ignore"):
            log_m = safe + np.log(np.exp(of - safe[:, None]).mean(axis=1))
        began = since.reshape(P, ODDS.size)[np.arange(P), of.argmax(axis=1)]
        before = share_apart(self._margins_lately(), self.pairs.kept.phi, self.pairs.i, self.pairs.j)
        after = counts.apart.sum(axis=1, dtype=np.int64) / max(counts.n, 1)
        names, kept = counts.reference.variables, self.pairs.kept
        columns = kept.first.tolist(), kept.second.tolist(), before.tolist(), after.tolist(), log_m.tolist(), began.tolist()
        return tuple(PairDrift(names[i], names[j], b, a, e, s) for i, j, b, a, e, s in zip(*columns, strict=True))

    def _margins_lately(self) -> Floats:
        """Shares above the splits lately, shape (m,)."""
        return np.asarray((self._recent[:, 0] + PRIOR_EVENTS * self.pairs.above) / (self._recent[:, 1] + PRIOR_EVENTS), np.float64)

    def state(self) -> dict[str, object]:
        """What `restore` needs, for `detectors.state.pack`."""
        return {name: array.copy() for name, array in zip(_LEARNED, self._learned(), strict=True)}

    def _learned(self) -> tuple[NDArray[Any], ...]:
        return self._numerator, self._denominator, self._baseline, self.rho, self._recent

    def restore(self, state: dict[str, object]) -> None:
        """Continue from `state` bit for bit.

        Raises:
            ValueError: when it was learned of other pairs.
        """
        arrays = [np.asarray(state[name], mine.dtype) for name, mine in zip(_LEARNED, self._learned(), strict=True)]
        if any(array.shape != mine.shape for array, mine in zip(arrays, self._learned(), strict=True)):
            raise ValueError(f"learned of {arrays[0].size} pairs, the reference has {len(self)}")
        self._numerator, self._denominator, self._baseline = (array.copy() for array in arrays[:3])
        self.rho, self._recent = arrays[3].copy(), arrays[4].copy()
