"""Evidence that rows as a whole changed: a direction of the random features, learned from past windows, along which they moved.

Let y be a row's whitened random features (`features.py`), of mean 0 and covariance 1 in the reference. The windows so far say in which
direction v the traffic's mean lies from the reference's; along it the next window is judged. As v is fixed before the window, that is a
bet: of a row, e = exp(s (v.y - eps) - 1.1 psi(s)), psi the cumulant of v.y by 256 of the reference's rows. E[e] <= 1 for every law whose
mean is within eps of the reference's, whichever direction, and that is no wider along v. Three memories of the windows before (the last few
to the last hundred) and three s are in the mixture with equal weights.

eps is the square root of the sum of squares of three lengths, plus materiality: the reference's sampling error (the 1 - gamma quantile of
chi-squared by its rows), how far its mean moves from hour to hour, and the client mix, sqrt(sum rho_k / K) + 3.5 sqrt(max rho_k / K).
Materiality delta is 2.5 delta sd along any direction: as much as moves a share of .5 by delta in a normal law.

Client groups weigh as elsewhere (`dependence.py`), by a correlation of each feature's own; the loudest one or two are left out.

Misleads: a dependence that no product of waves has (of four columns, or of three among many) is not found; nor is traffic that is wider
in all directions with the mean where it was. That the reference's rows along one direction have the law of the null is an approximation:
this part of the budget is simulated, where the cells' is proven.
Source: Shekhar and Ramdas, "Nonparametric two-sample testing by betting", IEEE Trans. Inf. Theory 2024 (a witness learned from the past).
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy.special import chdtri

from detectors.drift.counts import WindowCounts
from detectors.drift.dependence import BASELINE_DECAY, BASELINE_EVENTS, DECAY, MIX_Z, PRIOR_RHO, PRIOR_WEIGHT, Look
from detectors.drift.eights import weighted
from detectors.drift.features import SAMPLE_UNIT, Features
from detectors.e_process import log_mean_exp
from detectors.groups import GROUPS

WITNESS_SHARE = 0.25
"""Of what pairs and features have together."""
GAMMA_SHARE = 0.01
"""Of the reference's error probability."""
MEMORIES = np.array([0.7, 0.93, 0.99])
"""Of a window's worth, in the next."""
STRENGTHS = np.array([0.1, 0.2, 0.4])
"""Each twice the one before."""
COMPONENTS = MEMORIES.size * STRENGTHS.size
SLACK = 1.1
"""Times the cumulant of the reference's rows."""
PER_POINT = math.sqrt(2.0 * math.pi)
"""Sd by which a normal law moves for a point of probability at its median."""
MOST_NAMED = 5
_LEARNED = ("numerator", "denominator", "baseline", "past", "rho")

Floats = NDArray[np.float64]


class JointShift(NamedTuple):
    """Columns that together moved from the reference.

    Attributes:
        names: columns with the largest weight in the direction, the largest first.
        size: how far the mean of this window lies along it, in sd.
        log_evidence: ln of the features' own mixture.
        since: index of the window at which the evidence of its strongest component started to grow.
    """

    names: tuple[str, ...]
    size: float
    log_evidence: float
    since: int


_FAST = {"reassoc", "nnan", "nsz"}


@njit(inline="always")
def _exp(x):  # type: ignore[no-untyped-def]  # compiled
    """Exponential by eight terms at x / 64, squared six times, of which a compiler takes several at once; off by 1e-14, 1e-9 at 16."""
    x *= 1 / 64
    power = 1 / 2 + x * (1 / 6 + x * (1 / 24 + x * (1 / 120 + x * (1 / 720 + x * (1 / 5_040 + x * (1 / 40_320))))))
    power = 1.0 + x * (1.0 + x * power)
    power *= power
    power *= power
    power *= power
    power *= power
    power *= power
    return power * power


@njit(cache=True, nogil=True, error_model="numpy")
def _tolerated(clients, rho, alive, sampling, wander, mix_z, taken, looked, looked_repeats, sizes, repeats):  # type: ignore[no-untyped-def]  # compiled
    """Tolerance without materiality; and what the groups' taken rows count, and how often a row of theirs repeats its client."""
    total, most, mix = 0.0, 0.0, 0.0
    for k in range(rho.size):
        total += rho[k] if alive[k] else 0.0
        most = max(most, rho[k])
    if clients > 0.0:
        mix = np.sqrt(total / clients) + mix_z * np.sqrt(most / clients)
    for g in range(GROUPS):
        sizes[g] = taken[g]
        repeats[g] = looked_repeats[g] * (taken[g] / max(looked[g], 1.0))
    return np.sqrt(sampling + wander**2 + mix**2)


@njit(cache=True, nogil=True, fastmath=_FAST, error_model="numpy")
def _log_e(sums, sizes, mean, whiten, sample, unit, past, rho, repeats, eps, strengths, slack, loud, left_out, z, out):  # type: ignore[no-untyped-def]  # compiled
    """Whitened sums less their expectation into `z`, shape (16, M), and ln e of every memory and strength into `out`."""
    M, R, kinds = mean.size, sample.shape[1], strengths.size
    flat, rows = whiten.reshape(-1), sample.reshape(-1)
    away, whitened = np.zeros(M * GROUPS), np.empty(M * GROUPS)
    for g in range(GROUPS):
        for k in range(M if sizes[g] > 0.0 else 0):
            away[k * GROUPS + g] = sums[g, k] - sizes[g] * mean[k]
    for j in range(whiten.shape[0]):
        weighted(flat, j * M, away, GROUPS, M, whitened, j * GROUPS)
    if not whiten.size:
        whitened = away
    for k in range(M):
        for g in range(GROUPS):
            z[g, k] = whitened[k * GROUPS + g]
    v, part, back, along = np.empty(M), np.empty(M), np.empty(M), np.empty(R)
    powers, told, first, second = np.empty(kinds), np.empty(kinds), np.empty(kinds), np.empty(kinds)
    for m in range(past.shape[0]):
        length, spread = 0.0, 0.0
        for k in range(M):
            length += past[m, k] ** 2
        length = np.sqrt(length)
        if length <= 0.0:
            for s in range(kinds):
                out[m * kinds + s] = 0.0
            continue
        for k in range(M):
            v[k] = past[m, k] / length
            part[k] = v[k] / unit
            spread += v[k] * v[k] * rho[k]
        if whiten.size:
            weighted(part, 0, flat, M, M, back, 0)
        weighted(back if whiten.size else part, 0, rows, R, M, along, 0)
        middle = 0.0
        for r in range(R):
            middle += along[r]
        middle /= R
        for r in range(R):
            along[r] = _exp(strengths[0] * (along[r] - middle))
        for s in range(kinds):
            total = 0.0
            for r in range(R):
                total += along[r]
                along[r] *= along[r]
            powers[s] = total
        for s in range(kinds):
            powers[s] = strengths[s] * eps + slack * np.log(powers[s] / R)
        told[:], first[:], second[:] = 0.0, 0.0, 0.0
        for g in range(GROUPS):
            moved = 0.0
            for k in range(M):
                moved += z[g, k] * v[k]
            worth = 1.0 / (1.0 + repeats[g] * spread)
            for s in range(kinds):
                each = worth * (strengths[s] * moved - sizes[g] * powers[s])
                told[s] += each
                if left_out > 0 and loud[g] > 0.0:
                    low = min(first[s], each)
                    first[s] = max(first[s], each)
                    second[s] = max(second[s], low)
        for s in range(kinds):
            out[m * kinds + s] = told[s] - first[s] - (second[s] if left_out == 2 else 0.0)


@njit(cache=True, nogil=True, fastmath=_FAST, error_model="numpy")
def _learn(z, sizes, repeats, rho, memories, past, baseline, numerator, denominator, prior_rho, prior_weight, prior_events, decay, keep):  # type: ignore[no-untyped-def]  # compiled
    """The directions, and how far the groups are from each other beyond chance, as `design_effect.excess`."""
    M, usual = rho.size, 0.0
    for k in range(M):
        usual += rho[k] / M
    worth, weight, pooled, excess = np.empty(GROUPS), np.zeros(GROUPS), np.zeros(M), np.zeros(M)
    pooled_n, total = 0.0, 0.0
    for g in range(GROUPS):
        worth[g] = 1.0 / (1.0 + repeats[g] * usual)
        extra = repeats[g] * sizes[g]
        if extra > 1e-9:
            weight[g] = (extra / (max(sizes[g], 1.0) + prior_rho * extra)) ** 2
        total += weight[g]
        pooled_n += worth[g] * sizes[g]
        for k in range(M):
            pooled[k] += worth[g] * z[g, k]
    for m in range(memories.size):
        for k in range(M):
            past[m, k] = memories[m] * past[m, k] + pooled[k]
    if pooled_n <= 0.0:
        return
    for g in range(GROUPS):
        if weight[g] == 0.0:
            continue
        n, extra, rest = sizes[g], repeats[g] * sizes[g], pooled_n - worth[g] * sizes[g] + prior_events
        for k in range(M):
            away = z[g, k] - n * (pooled[k] - worth[g] * z[g, k] + prior_events * baseline[k]) / rest
            excess[k] += weight[g] * min(max((away * away - n) / extra, -1.0), 1.0)
    denominator[0] = decay * denominator[0] + total
    for k in range(M):
        numerator[k] = decay * numerator[k] + excess[k]
        rho[k] = min(max((numerator[k] + prior_rho * prior_weight) / (denominator[0] + prior_weight), 0.0), 1.0)
        baseline[k] = keep * baseline[k] + (1.0 - keep) * pooled[k] / pooled_n


class WitnessEvidence:
    """The owner's part for random features.

    Args:
        features: of the reference.
        gamma: the reference's error probability.
        materiality: delta, in points of probability.

    Attributes:
        rho: intra-client correlation of each whitened feature, used for the next window, shape (M,).

    Cost: 18 us a window. Memory: 11 KB, besides 35 to 60 KB of the reference's.
    """

    def __init__(self, features: Features, gamma: float, materiality: float) -> None:
        self.features = features
        M = len(features)
        self._numerator, self._denominator = np.zeros(M), np.zeros(1)
        self._baseline, self._past = np.zeros(M), np.zeros((MEMORIES.size, M))
        self.rho = np.full(M, PRIOR_RHO)
        self._z, self._sizes, self._repeats = np.zeros((GROUPS, M)), np.zeros(GROUPS), np.zeros(GROUPS)
        kept = features.kept
        self._alive = np.abs(kept.whiten).max(axis=1) > 0 if kept.whiten.size else np.ones(M, bool)
        self._sampling = float(chdtri(int(self._alive.sum()), GAMMA_SHARE * gamma)) / kept.rows
        self._materiality = PER_POINT * materiality

    def log_e(self, counts: WindowCounts, look: Look, loud: Floats, left_out: int, out: NDArray[np.float32]) -> None:
        """Logarithm of e of every component into `out`, shape (9,), memory first.

        Args:
            counts: the window's.
            look: what its events are worth.
            loud: 1 for client groups that may be left out, shape (16,).
            left_out: how many are.
            out: where it goes.
        """
        sums, kept = counts.together, self.features.kept
        widths = look.clients, self.rho, self._alive, self._sampling, kept.wander, MIX_Z
        eps = _tolerated(*widths, sums.sizes, look.sizes, look.repeats, self._sizes, self._repeats) + self._materiality
        law = kept.mean, kept.whiten, kept.sample.T, SAMPLE_UNIT
        ours = self._past, self.rho, self._repeats, eps, STRENGTHS, SLACK
        _log_e(sums.sums, self._sizes, *law, *ours, loud, left_out, self._z, out)

    def learn(self) -> None:
        """Take the window that `log_e` was asked of into account for the next ones."""
        learned = self._past, self._baseline, self._numerator, self._denominator
        prior = PRIOR_RHO, PRIOR_WEIGHT, BASELINE_EVENTS
        _learn(self._z, self._sizes, self._repeats, self.rho, MEMORIES, *learned, *prior, DECAY, BASELINE_DECAY)

    def strongest(self, names: tuple[str, ...], log_r: NDArray[Any], since: NDArray[np.int32]) -> JointShift:
        """The columns that moved together, as of the last window.

        Args:
            names: of the model's features.
            log_r: of the components, shape (9,).
            since: when they began, shape (9,).
        """
        kept, best = self.features.kept, int(log_r.argmax())
        past = self._past[best // STRENGTHS.size]
        v = past / max(float(np.linalg.norm(past)), 1e-300)
        by_column = self.features.columns_of(v @ kept.whiten if kept.whiten.size else v)
        order = np.argsort(-by_column, kind="stable")[:MOST_NAMED]
        size = float((self._z @ v).sum() / max(float(self._sizes.sum()), 1e-9))
        named = tuple(names[int(kept.columns[j])] for j in order)
        return JointShift(named, size, log_mean_exp(log_r), int(since[best]))

    def state(self) -> dict[str, object]:
        """What `restore` needs, for `detectors.state.pack`."""
        return {name: array.copy() for name, array in zip(_LEARNED, self._learned(), strict=True)}

    def _learned(self) -> tuple[Floats, ...]:
        return self._numerator, self._denominator, self._baseline, self._past, self.rho

    def restore(self, state: dict[str, object]) -> None:
        """Continue from `state` bit for bit.

        Raises:
            ValueError: when it was learned of other features.
        """
        arrays = [np.asarray(state[name], np.float64) for name in _LEARNED]
        if any(array.shape != mine.shape or not np.isfinite(array).all() for array, mine in zip(arrays, self._learned(), strict=True)):
            raise ValueError(f"learned of {arrays[0].size} random features, the reference has {len(self.features)}")
        for array, mine in zip(arrays, self._learned(), strict=True):
            mine[:] = array
