"""The streaming kernel: rows in arrival order, one client's state touched per row, six statistics updated, families judged.

Each statistic is a set of Bernoulli Shiryaev-Roberts recursions ``R <- (R + 1) (q/u if hit else (1 - q)/(1 - u))``, one per alternative
q above the tolerated rate u, and their mean is the evidence. Everything here is compiled; `State` and `Columns` describe the arrays.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from detectors.evidence import constants as c
from detectors.evidence.derive import RESIDUAL_STEPS, Columns
from detectors.evidence.layout import (
    ABOVE_1, ABOVE_2, ABOVE_3, ARM_COUNT, ARMS, DISTINCT, EDGED, EDITS, EXACT, FIRST_ARM, FLAT, FLAT_STEPS, FLIPPED, FLIPS,
    HAS_RESIDUAL, JOINT, LABEL, LAST, LATTICE, LATTICE_FLIPS, LATTICE_TRIALS, MISSING, NEAR, NEAR_SHARE, PAIR_HITS, PAIRS, QUERIES, REMEMBERED,
    REPEATED, SCORED, SEVERITY, STEP_1, STEPS, SYMMETRIC, TWO_HITS, TWO_TRIALS, TWO_VALUED, State,
)  # fmt: skip
from detectors.evidence.reference import EvidenceReference

_K, _M, _B = c.RING, c.MEMORY, c.OCTAVES
_COUNT_LIMIT = 1 << 30
_DEVIATION_CLIP = int(np.ceil(np.sqrt(2 * c.JOINT_CAP_ENERGY) * RESIDUAL_STEPS))
_ENERGY_CAP = int(2 * c.JOINT_CAP_ENERGY * RESIDUAL_STEPS**2)
_ENERGY_UNIT = 2 * RESIDUAL_STEPS**2
_LOG2, _LOG4 = np.log(2.0), np.log(4.0)
_FLIP_RADII = np.array(c.FLIP_RADII)
_FLATNESS = np.array(c.FLATNESS)
_ARMS, _FIRST_ARM = np.array(ARMS), np.array(FIRST_ARM)
_CAP = c.SR_CAP
# numba folds module globals, not attributes of a module
_RADIUS, _EDIT_RADIUS = c.FLIP_RADII[0], c.FLIP_EDIT_RADIUS
_CENTRE2, _COSINE, _TURN = c.SYMMETRIC_CENTRE**2, c.SYMMETRIC_COSINE, c.SYMMETRIC_TURN
_LATTICE_EQUAL, _LATTICE_EXCESS = c.LATTICE_EQUAL, c.LATTICE_EXCESS
_TWO_FIELDS, _TWO_FLAT, _TWO_STEP = c.TWO_VALUED_FIELDS, c.TWO_VALUED_FLAT, c.TWO_VALUED_STEP / c.QUANTUM
_EDGE_ROWS, _DEFAULT, _TEMPLATE, _MIXED = c.JOINT_EDGE_ROWS, c.JOINT_DEFAULT, c.TEMPLATE_EXCESS, c.FLAT_MIXED
_LOCAL2, _LOCAL_MEMORY, _LOCAL_SHARE = c.LOCAL_STEP**2, c.LOCAL_MEMORY, c.LOCAL_SHARE
_IMPUTED_REPEATS, _IMPUTED, _MIN_ROWS = c.IMPUTED_REPEATS, c.IMPUTED_EXCESS, c.JOINT_MIN_ROWS
_BINS, _BIN_MIN, _BIN_SHARE = c.FLIP_BINS, c.FLIP_BIN_MIN, c.FLIP_BIN_SHARE
_LAG_MIN, _LAG_TICKET, _LAG_PAGE = c.LAG_BIN_MIN, c.LAG_TICKET, c.LAG_PAGE


class Yardsticks(NamedTuple):
    """What the kernel needs of the reference and of the budget."""

    image: bool
    nearest: float
    far2: float  # square of the median random-pair distance
    equal_share: float
    edit_share: float
    repeated_share: float
    energy: NDArray[np.float64]  # (3,) limits of the mean capped square
    coarse: NDArray[np.bool_]
    page: float  # thresholds of the evidence itself, not of its logarithm
    ticket: float


def yardsticks(reference: EvidenceReference, ln_page: float, ln_ticket: float) -> Yardsticks:
    """Plain numbers for the kernel."""
    r = reference
    return Yardsticks(
        r.image, r.nearest, r.far**2, r.equal_share, r.edit_share, r.repeated_share, np.exp(r.joint_limits) - 1e-4, r.coarse,
        float(np.exp(ln_page)), float(np.exp(ln_ticket)),
    )  # fmt: skip


def gains(reference: EvidenceReference) -> NDArray[np.float32]:
    """Factors of every arm (39, 2): on a miss, on a hit. Both 0 where the alternative has no power: such an arm stays at 0."""
    out = np.zeros((ARM_COUNT, 2), np.float32)

    def arms(first: int, u: float, qs: tuple[float, ...]) -> None:
        for k, q in enumerate(qs):
            if q > c.ARM_MARGIN * u:
                out[first + k] = (1 - q) / (1 - u), q / u

    for k in range(3):
        arms(FIRST_ARM[JOINT] + 3 * k, float(reference.joint_rates[k]), c.JOINT_Q)
        if reference.flat_rates[k] < c.FLAT_OFF:
            arms(FIRST_ARM[FLAT] + 3 * k, float(reference.flat_rates[k]), c.FLAT_Q)
        arms(FIRST_ARM[FLIPS] + 4 * k, c.FLIP_U[k], c.FLIP_Q)
    arms(FIRST_ARM[SYMMETRIC], c.SYMMETRIC_U, c.SYMMETRIC_Q)
    if not reference.image:
        arms(FIRST_ARM[LATTICE], c.LATTICE_U, c.LATTICE_Q)
    arms(FIRST_ARM[TWO_VALUED], c.TWO_VALUED_U, c.TWO_VALUED_Q)
    return out


@njit(cache=True)
def _sr(real: Any, first: int, number: int, gain: Any, hit: bool) -> None:
    """One Bernoulli trial of the arms first .. first + number - 1."""
    h = 1 if hit else 0
    for a in range(first, first + number):
        real[a] = min((real[a] + np.float32(1)) * gain[a, h], _CAP)


@njit(cache=True)
def _evidence(real: Any, statistic: int) -> float:
    """Mean of the statistic's arms."""
    total = 0.0
    first, number = _FIRST_ARM[statistic], _ARMS[statistic]
    for a in range(first, first + number):
        total += real[a]
    return total / number


@njit(cache=True, fastmath={"contract", "nsz"})
def _distances(real: Any, ring: int, g: Any, out: Any) -> None:
    """Squared distances of a position to all rows of the ring."""
    out[:] = 0
    for f in range(len(g)):
        x = g[f]
        row = real[ring + f * _K : ring + (f + 1) * _K]
        for k in range(_K):
            t = x - row[k]
            out[k] += t * t


@njit(cache=True)
def _equal_fields(code: Any, value: Any, limit: Any, m: int, out: Any) -> int:
    """Fields equal to each of the ring's rows (out), and how many inner values occur in three or more of them."""
    out[:] = 0
    repeated = 0
    for f in range(len(value)):
        h = value[f]
        row = code[f * _K : (f + 1) * _K]
        times = 0
        for k in range(_K):
            e = row[k] == h
            out[k] += e
            times += e & (k < m)
        repeated += (times >= _IMPUTED_REPEATS) & (limit[f] == 0)
    return repeated


@njit(cache=True)
def _consecutive(real: Any, count: Any, bins: Any, gain: Any, g: Any, ring: int, d2: float, flip: bool, equal: float, y: Yardsticks) -> None:
    """E5 and E6: what the step from the previous row, at squared distance d2, says."""
    n = len(g)
    one, two = STEP_1, STEP_1 + n
    v2 = n2 = vd = dd = dn = 0.0
    for f in range(n):
        step = g[f] - real[ring + f * _K + count[LAST]]
        before, earlier = real[one + f], real[two + f]
        v = before + 0.5 * step
        v2 += v * v
        n2 += earlier * earlier
        vd += v * earlier
        dd += step * earlier
        dn += before * before
        real[two + f] = before
        real[one + f] = step
    if n2 > 0 and dn > 0:
        hit = v2 < _CENTRE2 * d2 or (abs(vd) > _COSINE * np.sqrt(v2 * n2) and abs(dd) < _TURN * np.sqrt(n2 * d2))
        _sr(real, _FIRST_ARM[SYMMETRIC], _ARMS[SYMMETRIC], gain, hit)
        count[PAIRS] += 1
        count[PAIR_HITS] += hit
    hit = flip and equal >= _LATTICE_EQUAL and equal > y.equal_share + _LATTICE_EXCESS
    _sr(real, _FIRST_ARM[LATTICE], _ARMS[LATTICE], gain, hit)
    count[LATTICE_TRIALS] += 1
    count[LATTICE_FLIPS] += hit
    if flip:
        octave = min(int(np.log(max(2 * np.sqrt(y.far2 / d2), 1.0)) / _LOG2), _B - 1)
        bins[_B + octave] = min(bins[_B + octave] + 1, 255)


@njit(cache=True)
def _flip(real: Any, count: Any, bins: Any, gain: Any, near: float, flip: bool, edit: bool) -> None:
    """E3: does the answer differ from the nearest recent row's, at which distance."""
    first = _FIRST_ARM[FLIPS]
    for r in range(3):
        radius = min(_FLIP_RADII[r], _EDIT_RADIUS) if edit else _FLIP_RADII[r]
        _sr(real, first + 4 * r, 4, gain, flip and near < radius)
    if flip and near < (_EDIT_RADIUS if edit else _RADIUS):
        count[FLIPPED] += 1
        b = min(max(int(-np.log(max(near, 1e-6)) / _LOG4), 0), _B - 1)
        bins[b] += 1
        if bins[b] == 255:  # halve together: the gate asks for shares
            for k in range(_B):
                bins[k] = max(min(bins[k], 2), bins[k] // 2)


@njit(cache=True)
def _two_valued(real: Any, count: Any, code: Any, gain: Any, x: Any, coarse: Any, k: int) -> None:
    """E7: the step from the nearest recent row moves several columns by the same amount, some up and some down."""
    n = len(x)
    total = squares = moved = signs = 0
    for f in range(n):
        v = np.int64(x[f]) - np.int64(code[(n + f) * _K + k])
        if v != 0 and not coarse[f]:
            total += abs(v)
            squares += v * v
            moved += 1
            signs += 1 if v > 0 else -1
    if moved >= _TWO_FIELDS and abs(signs) < moved:
        mean = total / moved
        hit = mean > _TWO_STEP and mean > _TWO_FLAT * np.sqrt(squares / moved)
        _sr(real, _FIRST_ARM[TWO_VALUED], _ARMS[TWO_VALUED], gain, hit)
        count[TWO_TRIALS] += 1
        count[TWO_HITS] += hit


@njit(cache=True)
def _joint(real: Any, count: Any, word: Any, gain: Any, r: Any, limits: Any) -> None:
    """E1: energy of the joint residual's difference to the client's last judged row."""
    total = 0
    for t in range(len(r)):
        v = min(abs(np.int32(r[t]) - np.int32(word[t])), _DEVIATION_CLIP)
        total += min(v * v, _ENERGY_CAP)
    e = total / (_ENERGY_UNIT * len(r))
    first = _FIRST_ARM[JOINT]
    for k in range(3):
        _sr(real, first + 3 * k, 3, gain, e > limits[k])
    count[SCORED] += 1
    count[ABOVE_1] += e > limits[0]
    count[ABOVE_2] += e > limits[1]
    count[ABOVE_3] += e > limits[2]


@njit(cache=True)
def _flat(real: Any, count: Any, memory: Any, gain: Any, x: Any, limit: Any, image: bool, squares: Any) -> None:
    """E2: did all columns move by the same amount from the nearest remembered row; then remember this one."""
    n = len(x)
    held = min(count[REMEMBERED], _M)
    squares[:held] = 0
    for f in range(n):
        v = np.int32(x[f])
        row = memory[f * _M : f * _M + held]
        for k in range(held):
            t = v - np.int32(row[k])
            squares[k] += t * t
    best, parent = np.int32(2**31 - 1), -1
    for k in range(held):
        if 0 < squares[k] < best:
            best = squares[k]
            parent = k
    if parent >= 0:
        total = moved = signs = 0
        for f in range(n):
            t = np.int64(x[f]) - np.int64(memory[f * _M + parent])
            total += abs(t)
            moved += t != 0 or limit[f] == 0  # a column stuck at its limit could not move
            signs += 1 if t > 0 else (-1 if t < 0 else 0)
        usable = moved >= (3 if n < 8 else n // 2) and not (image and abs(signs) > _MIXED * moved)
        flatness = total / np.sqrt(np.float64(best) * moved) if usable else 0.0
        first = _FIRST_ARM[FLAT]
        for k in range(3):
            _sr(real, first + 3 * k, 3, gain, flatness > _FLATNESS[k])
        count[STEPS] += 1
        count[FLAT_STEPS] += flatness > _FLATNESS[1]
    k = count[REMEMBERED] % _M
    count[REMEMBERED] += 1
    for f in range(n):
        memory[f * _M + k] = x[f]


@njit(cache=True)
def _judge(real: Any, count: Any, bins: Any, family: int, y: Yardsticks) -> tuple[int, int, float]:
    """The family's severity (0, 1 ticket, 2 page) by its strongest statistic that passes its gate."""
    severity, which, evidence = 0, -1, 0.0
    for statistic in range(6):
        local = statistic >= FLIPS or real[NEAR_SHARE] > 1 - _LOCAL_SHARE
        if local != (family == 1):
            continue
        e = _evidence(real, statistic)
        if e <= y.ticket:
            continue
        s = 2 if e > y.page else 1
        if statistic == JOINT:
            if count[DISTINCT] < _MIN_ROWS:
                s = 0
            elif real[REPEATED] > _IMPUTED:
                s = 1
        elif statistic == FLIPS or statistic == LATTICE:
            filled = total = largest = octaves = 0
            for k in range(_B):
                filled += bins[k] >= _BIN_MIN
                total += bins[k]
                largest = max(largest, bins[k])
                octaves += bins[_B + k] >= _LAG_MIN
            if statistic == LATTICE or filled < _BINS or largest > _BIN_SHARE * total:
                s = 0 if octaves < _LAG_TICKET else (min(s, 1) if octaves < _LAG_PAGE else s)
        if s > severity:
            severity, which, evidence = s, statistic, e
    return severity, which, evidence


@njit(cache=True)
def _halve(count: Any) -> None:
    """Counts near overflow: halved together, so that rates stay right; places in the rings are kept."""
    for k in range(MISSING + 1):
        if k != DISTINCT:
            count[k] //= 2
    count[DISTINCT] -= count[DISTINCT] // (2 * _K) * _K


@njit(cache=True)
def stream(slot: Any, columns: Columns, label: Any, state: State, gain: Any, y: Yardsticks, out: Any, out_evidence: Any) -> int:
    """Applies rows in order; writes crossings into out (2 n, 6) int64 and out_evidence (2 n,), returns how many there are."""
    crossings = 0
    positions, fields, targets = columns.position.shape[1], columns.code.shape[1], columns.residual.shape[1]
    ring = STEP_1 + 2 * positions
    memory_at, bins_at = 2 * _K * fields, (2 * _K + _M) * fields
    distance = np.empty(_K, np.float32)
    equal = np.empty(_K, np.int32)
    squares = np.empty(_M, np.int32)
    for i in range(len(slot)):
        real, code, word, count = state.reals[slot[i]], state.codes[slot[i]], state.words[slot[i]], state.counts[slot[i]]
        bins = code[bins_at:]
        g, x, limit, residual = columns.position[i], columns.code[i], columns.limit[i], columns.residual[i]
        count[QUERIES] += 1
        count[MISSING] += columns.missing[i]
        if max(count[QUERIES], count[MISSING]) >= _COUNT_LIMIT:
            _halve(count)
        m = min(count[DISTINCT], _K)
        _distances(real, ring, g, distance)
        repeated = _equal_fields(code, columns.value[i], limit, m, equal)
        best, nearest, exact = np.float32(np.inf), -1, -1
        for k in range(m - 1, -1, -1):
            if distance[k] == 0:
                exact = k
            elif distance[k] <= best:
                best = distance[k]
                nearest = k
        folded = np.int16(label[i] & 0x7FFF) if label[i] >= 0 else np.int16(-1)
        last = count[LAST]
        if m > 0 and distance[last] > 0:
            flip = folded >= 0 and count[LABEL] >= 0 and folded != count[LABEL]
            _consecutive(real, count, bins, gain, g, ring, distance[last], flip, equal[last] / fields, y)
        count[LABEL] = folded
        if exact >= 0:
            count[EXACT] += 1
            count[LAST] = exact
            continue

        newest = (count[DISTINCT] - 1) % _K
        near = np.sqrt(best) / y.nearest if nearest >= 0 else 1e9
        most = 0
        for k in range(m):
            most = max(most, equal[k])
        edit = m > 0 and most / fields >= y.edit_share
        close = near < (_EDIT_RADIUS if edit else _RADIUS)
        count[NEAR] += close
        count[EDITS] += edit
        if m >= 8 and not y.image:
            rate = max(0.05, 1.0 / (count[DISTINCT] - 4))
            real[REPEATED] += rate * (repeated / fields - y.repeated_share - real[REPEATED])
        if m > 0:
            other = word[targets + nearest]
            _flip(real, count, bins, gain, near, folded >= 0 and other >= 0 and folded != other, edit)
            if close or edit:
                _two_valued(real, count, code, gain, x, y.coarse, nearest)

        fresh = not edit and not close
        if fresh and columns.remarkable[i] >= 1 and (count[EDGED] < _EDGE_ROWS or columns.remarkable[i] >= _DEFAULT):
            count[EDGED] += 1
            fresh = False
        template = fresh and not y.image and equal[newest] / fields > y.equal_share + _TEMPLATE
        if (fresh or (close and not edit)) and not template and count[HAS_RESIDUAL] == 1:
            _joint(real, count, word, gain, residual, y.energy)
        if m > 0:
            here = edit or close or distance[newest] < _LOCAL2 * y.far2
            real[NEAR_SHARE] += _LOCAL_MEMORY * ((1.0 if here else 0.0) - real[NEAR_SHARE])
        if fresh or close:
            count[HAS_RESIDUAL] = 1
            for t in range(targets):
                word[t] = residual[t]
        if fresh and fields >= 3:
            _flat(real, count, code[memory_at:bins_at], gain, x, limit, y.image, squares)

        k = count[DISTINCT] % _K
        count[DISTINCT] += 1
        count[LAST] = k
        word[targets + k] = folded
        for f in range(positions):
            real[ring + f * _K + k] = g[f]
        for f in range(fields):
            code[f * _K + k] = columns.value[i, f]
            code[(fields + f) * _K + k] = x[f]

        for family in range(2):
            severity, which, evidence = _judge(real, count, bins, family, y)
            if severity > (count[SEVERITY] >> (2 * family)) & 3:
                count[SEVERITY] = (count[SEVERITY] & ~(3 << (2 * family))) | (severity << (2 * family))
                out[crossings, 0], out[crossings, 1], out[crossings, 2] = i, slot[i], family
                out[crossings, 3], out[crossings, 4], out[crossings, 5] = severity, which, count[QUERIES]
                out_evidence[crossings] = evidence
                crossings += 1
    return crossings
