"""The compiled pieces of the streaming kernel: one function per statistic, each a Bernoulli trial of its recursions.

A statistic is a set of Shiryaev-Roberts recursions ``R <- (R + 1) (q/u if hit else (1 - q)/(1 - u))``, one per alternative q above the
tolerated rate u; their mean is its evidence. ``real``, ``code``, ``word``, ``count`` are one client's rows of `layout.State`.

Nothing here is cached on its own: `core.stream` is, with all of this compiled into it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from detectors.evidence import constants as c
from detectors.evidence import layout as at
from detectors.evidence.box import passes
from detectors.evidence.derive import RESIDUAL_STEPS
from detectors.evidence.middle import WITHIN
from detectors.evidence.recent import nearest_remembered, remember
from detectors.evidence.stride import stride

_DEVIATION_CLIP = int(np.ceil(np.sqrt(2 * c.JOINT_CAP_ENERGY) * RESIDUAL_STEPS))
_ENERGY_CAP = int(2 * c.JOINT_CAP_ENERGY * RESIDUAL_STEPS**2)
_CLIP, _CAP, _OWN_CAP = np.int32(_DEVIATION_CLIP), np.int32(_ENERGY_CAP), np.int32(_ENERGY_CAP // 2)
_ENERGY_UNIT = 2 * RESIDUAL_STEPS**2
_LOG4 = np.log(4.0)
_TWO_STEP = c.TWO_VALUED_STEP / c.QUANTUM


@njit
def trial(real: Any, first: int, number: int, gain: Any, hit: bool) -> None:
    """One Bernoulli trial of the arms first .. first + number - 1."""
    h = 1 if hit else 0
    for a in range(first, first + number):
        real[a] = min((real[a] + np.float32(1)) * gain[a, h], c.SR_CAP)


@njit
def tried(real: Any, statistic: int, gain: Any, times: int) -> None:
    """One trial of all of a statistic's arms: a miss, a hit, or one that counts k times, as rare as the tolerated rate's k-th power."""
    trial(real, at.FIRST_ARM[statistic], at.ARMS[statistic], gain, times > 0)
    for _ in range(1, times):
        trial(real, at.FIRST_ARM[statistic], at.ARMS[statistic], gain, True)


@njit
def mixture(real: Any, statistic: int) -> float:
    """Mean of the statistic's arms."""
    total = 0.0
    first, number = at.FIRST_ARM[statistic], at.ARMS[statistic]
    for a in range(first, first + number):
        total += real[a]
    return total / number


@njit
def quiet_alone(real: Any) -> float:
    """What E8's first limit alone gives to its mean."""
    first = at.FIRST_ARM[at.SMOOTH]
    return float((real[first] + real[first + 1] + real[first + 2]) / at.ARMS[at.SMOOTH])


@njit
def add(bins: Any, k: int) -> None:
    """One more in bin k; all are halved together before it overflows, since the gates ask for shares."""
    bins[k] += 1
    if bins[k] == 255:
        for b in range(len(bins)):
            bins[b] //= 2


@njit
def near_flip(real: Any, count: Any, bins: Any, gain: Any, near: float, flip: bool, edit: bool) -> None:
    """E3 and E4: does the answer differ from the nearest recent row's, at which distance."""
    first = at.FIRST_ARM[at.FLIPS]
    for r in range(3):
        radius = min(c.FLIP_RADII[r], c.FLIP_EDIT_RADIUS) if edit else c.FLIP_RADII[r]
        trial(real, first + 4 * r, 4, gain, flip and near < radius)
    hit = flip and near < (c.FLIP_EDIT_RADIUS if edit else c.FLIP_RADII[0])
    tried(real, at.CLOSING, gain, int(hit))
    if hit:
        count[at.FLIPPED] += 1
        b = min(max(int(-np.log(max(near, 1e-6)) / _LOG4), 0), c.OCTAVES - 1)
        add(bins[: c.OCTAVES], b)


@njit
def _left_often(code: Any, x: Any, limit: Any, coarse: Any, k: int) -> bool:
    """Whether the values that the moved columns left occur three times too: an imputed field moves between one default and anything."""
    n = len(x)
    for f in range(n):
        if x[f] != code[(n + f) * c.RING + k] and (not coarse[f] or limit[f] & 2):
            left, times = code[f * c.RING + k], 0
            for j in range(c.RING):
                times += code[f * c.RING + j] == left
            if times < c.TWO_VALUED_RECUR:
                return False
    return True


@njit
def two_valued(
    real: Any, count: Any, code: Any, gain: Any, x: Any, limit: Any, often: Any, m: int, coarse: Any, least: Any, image: bool, k: int,
    cornered: int, walks: bool,
) -> None:  # fmt: skip
    """E7: the step from the nearest recent row moves several columns by the same amount, or to values that recur.

    By the same amount, some up and some down; or each moved column goes from one value to another that both recur, while three or more
    columns vary and the recent rows share many values; or the row is one more corner of a box (``cornered``).
    A search tries changes of the best row it has; who turns one field after the other by steps goes on from the last row (``walks``), and
    meets values again, too: no trial of recurring values. In pictures these are trials that miss: marks put here and there have them, too.
    Columns of few values are left out unless the reference does not have this one.
    Every step is at least ``least`` (F,) codes: to the next value of its column a sensor's reading flickers, too.
    """
    n = len(x)
    total: Any = 0
    squares: Any = 0
    moved = signs = recurring = varied = 0
    big: Any = 0
    shared: Any = 0
    fine = 0
    for f in range(n):
        if not coarse[f] or limit[f] & 2:
            shared += often[f]
            fine += 1
        v = np.int64(x[f]) - np.int64(code[(n + f) * c.RING + k])
        varied += 4 * often[f] < 3 * m
        if v != 0 and (not coarse[f] or limit[f] & 2):
            total += abs(v)
            squares += v * v
            moved += 1
            signs += 1 if v > 0 else -1
            big += passes(abs(v), limit[f], least[f])
            recurring += often[f] >= c.TWO_VALUED_RECUR
    flat_trial = moved >= c.TWO_VALUED_FIELDS and abs(signs) < moved
    anew = not walks and big >= 1 and varied >= c.TWO_VALUED_FIELDS and shared >= c.TWO_VALUED_SHARED * m * fine
    if anew or flat_trial or cornered > 0:
        mean = total / max(moved, 1)
        hit = cornered > 0 or (flat_trial and big == moved and mean > _TWO_STEP and mean > c.TWO_VALUED_FLAT * np.sqrt(squares / moved))
        hit = hit or (anew and not image and big == moved and recurring == moved and _left_often(code, x, limit, coarse, k))
        tried(real, at.TWO_VALUED, gain, max(cornered, 1 if hit else 0))
        count[at.TWO_TRIALS] += 1
        count[at.TWO_HITS] += hit


@njit
def joint(
    real: Any, count: Any, word: Any, gain: Any, r: Any, limits: Any, low: float, away: Any, factors: Any, fresh: bool
) -> bool:  # fmt: skip
    """E1: energy of the joint residual's difference to the client's last judged row. E8: too little of the row's own; near the middle.

    Returns:
        Whether a fresh row is no continuation of the last one: the step between them has energy, measured by the row's own.
    """
    total = np.int32(0)  # at most 48 times 3.3 million; 32 bits at every turn, for sixteen lanes
    own = np.int32(0)
    for t in range(len(r)):
        v = np.int32(min(np.int32(abs(np.int32(np.int32(r[t]) - np.int32(word[t])))), _CLIP))
        total = np.int32(total + np.int32(min(np.int32(v * v), _CAP)))
        w = np.int32(min(np.int32(abs(np.int32(r[t]))), _CLIP))
        own = np.int32(own + np.int32(min(np.int32(w * w), _OWN_CAP)))
    e = total / (_ENERGY_UNIT * len(r))
    own_energy = own / (_ENERGY_UNIT // 2 * len(r))
    moved = fresh and (e > c.SMOOTH_MOVED * own_energy or e > limits[c.MOVED_LIMIT])
    first = at.FIRST_ARM[at.SMOOTH]
    if fresh:  # rows around one place are as quiet as that place is
        quiet = moved and own_energy < low
        trial(real, first, 3, gain, quiet)
        for a in range(3):
            real[first + 3 + a] = min((real[first + 3 + a] + np.float32(1)) * factors[away, a], c.SR_CAP)
        count[at.BELOW_1] += quiet
        count[at.BELOW_1 + 1] += away <= WITHIN
    first = at.FIRST_ARM[at.JOINT]
    for k in range(4):
        trial(real, first + 3 * k, 3, gain, e > limits[k])
        count[at.ABOVE_1 + k] += e > limits[k]
    count[at.SCORED] += 1
    return bool(moved)


@njit(fastmath={"contract", "nsz"})
def independent(real: Any, count: Any, code: Any, gain: Any, x: Any, newest: int, bond: Any, r: Any) -> None:
    """E11: does the step from the client's last distinct row look as if its columns had been drawn one by one; ``r`` is overwritten."""
    n = len(x)
    r[:] = 0
    apart = np.float32(0)
    for f in range(n):
        d = np.float32(x[f]) - np.float32(code[(n + f) * c.RING + newest])
        apart += bond.own[f] * d * d
        row = bond.weights[f]
        for t in range(n):
            r[t] += d * row[t]
    together = np.float32(0)
    for t in range(n):
        together += r[t] * r[t]
    excess = apart - together
    real[at.BOUND] = c.INDEPENDENT_FORGET * real[at.BOUND] + excess
    real[at.BOUND_SQUARES] = c.INDEPENDENT_FORGET**2 * real[at.BOUND_SQUARES] + excess * excess
    hit = together > bond.factor * apart and together > 2 * bond.least
    tried(real, at.INDEPENDENT, gain, int(hit))
    count[at.INDEPENDENT_TRIALS] += 1
    count[at.INDEPENDENT_HITS] += hit


@njit
def generated(real: Any, count: Any, gain: Any, level: int, known: bool) -> None:
    """E12: does the row look made; ``level`` is how many limits it is above. Evidence begins anew while the population is not ``known``."""
    first = at.FIRST_ARM[at.GENERATED]
    for k in range(3):
        if known:
            trial(real, first + 3 * k, 3, gain, level > k)
        else:
            real[first + 3 * k : first + 3 * k + 3] = 0
        count[at.MADE_1 + k] += level > k
    count[at.GENERATED_TRIALS] += 1


@njit(inline="always")
def flat_step(real: Any, count: Any, memory: Any, gain: Any, x: Any, limit: Any, image: bool, parent: int, distance2: Any) -> None:
    """E2: did all columns move by the same amount from the nearest remembered row."""
    n = len(x)
    total: Any = 0
    moved = signs = 0
    bound = 1  # a column stuck at its limit could not move, unless others go beyond theirs
    for f in range(n):
        bound &= limit[f] & 4 == 0
    for f in range(n):
        t: Any = np.int64(x[f]) - np.int64(memory[f * c.MEMORY + parent])
        total += abs(t)
        moved += t != 0 or limit[f] & bound == 0
        signs += 1 if t > 0 else (-1 if t < 0 else 0)
    usable = moved >= max(n // 2 + (n < c.FLAT_FEW), 3) and not (image and abs(signs) > c.FLAT_MIXED * moved)
    flatness = total / np.sqrt(np.float64(distance2) * moved) if usable else 0.0
    first = at.FIRST_ARM[at.FLAT]
    for k in range(3):
        trial(real, first + 3 * k, 3, gain, flatness > c.FLATNESS[k])
    count[at.STEPS] += 1
    count[at.FLAT_STEPS] += flatness > c.FLATNESS[1]


@njit
def steps(
    real: Any, count: Any, memory: Any, kept: Any, gain: Any, x: Any, limit: Any, image: bool, fresh: bool, away: Any,
    plus: Any, minus: Any,
) -> None:  # fmt: skip
    """E2 and E10 of a row that is neither near to a recent one nor an edit of it; then it is remembered, if it is fresh."""
    held = min(count[at.REMEMBERED], c.MEMORY)
    parent = nearest_remembered(memory, held, x, away)
    if parent >= 0:
        if fresh and held >= c.FLAT_LEAST:
            flat_step(real, count, memory, gain, x, limit, image, parent, away[parent])
        last = (count[at.REMEMBERED] - 1) % c.MEMORY
        hit = stride(memory, held, last, parent, kept, x, limit, image, plus, minus)
        tried(real, at.STRIDE, gain, hit)
        count[at.STRIDE_TRIALS] += 1
        count[at.STRIDES] += hit > 0
    if fresh:
        remember(count, memory, x)
