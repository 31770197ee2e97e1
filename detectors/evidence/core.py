"""The streaming kernel: rows in arrival order, one client's state touched per row, fourteen statistics updated, families judged."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from detectors.evidence import constants as c
from detectors.evidence import layout as at
from detectors.evidence import recent, trials
from detectors.evidence.bisection import bisection
from detectors.evidence.box import corner
from detectors.evidence.compiled import FINGERPRINT, STALE
from detectors.evidence.composed import over_all
from detectors.evidence.consecutive import consecutive
from detectors.evidence.derive import Columns
from detectors.evidence.judge import judge
from detectors.evidence.population import EPOCH, KNOWN, MOVING, Population, knows_made, reconsider, report
from detectors.evidence.stopping import stopping
from detectors.evidence.yardsticks import Yardsticks
from detectors.lean import lean
from detectors.prefetch import prefetch_row

_COUNT_LIMIT = 1 << 30


@njit
def _halve(count: Any) -> None:
    """Counts near overflow: halved together, so that rates stay right; places in the rings are kept."""
    for k in range(at.MISSING + 1):
        if k != at.DISTINCT:
            count[k] //= 2
    count[at.DISTINCT] -= count[at.DISTINCT] // (2 * c.RING) * c.RING
    count[at.GENERATED_TRIALS] //= 2
    count[at.LOOKED] = count[at.GENERATED_LOOKED] = count[at.COMPOSED_LOOKED] = 0


@njit
def _loud(real: Any, ticket: Any) -> bool:
    """A mean above the ticket has a part above it."""
    loud = 0
    for k in range(at.ARM_COUNT):
        loud += real[k] > ticket
    return loud > 0


@njit
def _raise(
    i: int,
    slot: int,
    real: Any,
    count: Any,
    code: Any,
    bins: Any,
    population: Population,
    y: Yardsticks,
    composed: float,
    distinct: bool,
    crossings: int,
    out: Any,
    out_evidence: Any,
) -> int:
    """Writes the families that rise at this row; returns how many crossings there are now."""
    for family in range(2):
        severity, which, evidence = judge(real, count, code, bins, family, population.clock[KNOWN], composed, distinct, y)
        if severity > (count[at.SEVERITY] >> (2 * family)) & 3:
            count[at.SEVERITY] = (count[at.SEVERITY] & ~(3 << (2 * family))) | (severity << (2 * family))
            out[crossings, 0], out[crossings, 1], out[crossings, 2] = i, slot, family
            out[crossings, 3], out[crossings, 4], out[crossings, 5] = severity, which, count[at.QUERIES]
            out_evidence[crossings] = evidence
            crossings += 1
    return crossings


class Room(NamedTuple):
    """What one row is worked out in."""

    distance: NDArray[np.float32]
    equal: NDArray[np.int32]
    away: NDArray[np.int32]
    step: NDArray[np.float32]
    sorted_rates: NDArray[np.float64]
    often: NDArray[np.int32]
    plus: NDArray[np.uint8]
    minus: NDArray[np.uint8]
    bond: NDArray[np.float32]


def room() -> Room:
    """For one call of `stream` at a time."""
    return Room(
        np.zeros(c.RING, np.float32), np.zeros(c.RING, np.int32), np.zeros(c.MEMORY, np.int32), np.zeros((2, 16), np.float32),
        np.zeros(c.POPULATION + MOVING), np.zeros(c.COORDINATES, np.int32), np.zeros(c.MEMORY, np.uint8), np.zeros(c.MEMORY, np.uint8),
        np.zeros(c.COORDINATES, np.float32),
    )  # fmt: skip


@lean
def stream(
    slot: Any, columns: Columns, label: Any, state: at.State, population: Population, y: Yardsticks, room: Room, out: Any,
    out_evidence: Any, fingerprint: int,
) -> int:  # fmt: skip
    """Applies rows in order; writes crossings into out (2 n, 6) int64 and out_evidence (2 n,), returns how many there are."""
    if fingerprint != FINGERPRINT:
        return STALE
    # Numbers of one type from the start: for each constant numba would compile what it is given to once more, with all the gates.
    none: Any = np.int64(-1)
    crossings: Any = np.int64(0)
    gain, ticket = population.gain, np.float32(y.ticket)
    positions, fields, targets = columns.position.shape[1], columns.code.shape[1], columns.residual.shape[1]
    ring = at.STEP_1 + 2 * positions
    memory_at, stride_at, bins_at = 2 * c.RING * fields, (2 * c.RING + c.MEMORY) * fields, state.codes.shape[1] - 2 * c.OCTAVES
    answers_at = bins_at - c.RING
    distance, equal, away, step, sorted_rates, all_often, plus, minus, bond = room
    often = all_often[:fields]
    for i in range(len(slot)):
        if i + 1 < len(slot):
            prefetch_row(state.reals, slot[i + 1])
            prefetch_row(state.codes, slot[i + 1])
            prefetch_row(state.words, slot[i + 1])
            prefetch_row(state.counts, slot[i + 1])
        real, code, word, count = state.reals[slot[i]], state.codes[slot[i]], state.words[slot[i]], state.counts[slot[i]]
        bins, answers = code[bins_at:], code[answers_at:bins_at]
        g, x, limit, residual = columns.position[i], columns.code[i], columns.limit[i], columns.residual[i]
        count[at.QUERIES] += 1
        count[at.MISSING] += columns.missing[i]
        if max(count[at.QUERIES], count[at.MISSING]) >= _COUNT_LIMIT:
            _halve(count)
        if count[at.EPOCH] != population.clock[EPOCH]:
            reconsider(real, count, population)
        m = min(count[at.DISTINCT], c.RING)
        recent.distances(real, ring, g, distance)
        repeated = recent.equal_fields(code[: c.RING * fields].view(np.uint64), columns.value[i], limit, m, equal, often)
        best, nearest, exact = np.float32(np.inf), none, none
        for k in range(m - 1, -1, -1):
            if distance[k] == 0:
                exact = k
            elif distance[k] <= best:
                best = distance[k]
                nearest = k
        answer = 1 + label[i] % c.ANSWERS if label[i] >= 0 else 0
        last = count[at.LAST] & c.SLOT
        before = recent.before(count, distance, equal, m, best, y.near2, c.LOCAL_STEP**2 * y.far2, y.like * fields)
        if before >= 0:
            other = count[at.LAST] >> c.ANSWER_SHIFT if before == last else answers[before]
            flip = bool(answer > 0 and other > 0 and answer != other)
            consecutive(
                real, count, bins, gain, g, ring, before, distance[before], best, flip, equal[before] / fields,
                fields - equal[before], exact >= 0, step, y.equal_share, y.far2, before != last, y.covered, code, x, y.below, y.image,
            )  # fmt: skip
        count[at.LAST] = count[at.LAST] & (1 << c.ANSWER_SHIFT) - 1 | answer << c.ANSWER_SHIFT
        if exact >= 0:
            count[at.EXACT] += 1
            count[at.LAST] = count[at.LAST] >> c.COVER_SHIFT << c.COVER_SHIFT | exact
            drifts = count[at.NEAR] > c.TWO_VALUED_NEAR * count[at.DISTINCT]
            if drifts and count[at.EXACT] > c.TWO_VALUED_REPEATS * count[at.DISTINCT]:  # a sensor's reading: nothing is combined anew
                trials.tried(real, at.TWO_VALUED, gain, 0)
            if _loud(real, ticket):
                crossings = _raise(i, slot[i], real, count, code, bins, population, y, 0.0, exact < 0, crossings, out, out_evidence)
            continue

        newest = (count[at.DISTINCT] - 1) % c.RING
        near = np.sqrt(best) / y.nearest if nearest >= 0 else 1e9
        most = 0
        for k in range(m):
            most = max(most, equal[k])
        edit = m > 0 and most / fields >= y.edit_share
        close = near < (c.FLIP_EDIT_RADIUS if edit else c.FLIP_RADII[0])
        count[at.NEAR] += close
        count[at.EDITS] += edit
        if m >= 8 and not y.image:
            rate = max(0.05, 1.0 / (count[at.DISTINCT] - 4))
            real[at.REPEATED] += rate * (repeated / fields - y.repeated_share - real[at.REPEATED])
        if m > 0:
            flip = bool(answer > 0 and answers[nearest] > 0 and answer != answers[nearest])
            trials.near_flip(real, count, bins, gain, near, flip, edit)
            turned = not y.image and equal[newest] >= fields - 1  # one field, from the last row
            cornered: Any = np.int64(0)
            if m > c.BOX_AROUND and most < fields and not turned:
                cornered = corner(code, columns.value[i], x, limit, often, m, y.coarse, y.least, y.image, newest, bond, y.below)
                cornered = min(cornered, 1) if close else cornered  # a sensor's readings flicker between two values a column, too
            if close or edit or cornered > 0:
                walks = turned or (not y.image and nearest == newest)
                trials.two_valued(real, count, code, gain, x, limit, often, m, y.coarse, y.least, y.image, nearest, cornered, walks)

        if m >= 2 and positions >= c.BISECTION_DIMENSIONS:
            moved = fields if y.image else fields - equal[nearest]  # pictures are not edited field by field
            bisection(
                real, count, gain, g, ring, distance, m, nearest, edit, code, columns.value[i], before, moved, x, y.least, y.image,
            )  # fmt: skip

        stays = m > 0 and (distance[newest] < c.LOCAL_STEP**2 * y.far2 or equal[newest] >= min(y.like, y.edit_share) * fields)
        stopping(real, count, code, newest, fields, stays, answer)

        composed = 0.0
        apart = fresh = not edit and not close
        if fresh and columns.remarkable[i] >= 1 and (count[at.EDGED] < c.JOINT_EDGE_ROWS or columns.remarkable[i] >= c.JOINT_DEFAULT):
            count[at.EDGED] += 1
            fresh = False
        template = fresh and not y.image and equal[newest] / fields > y.equal_share + c.TEMPLATE_EXCESS
        if y.keeps and fresh and m > 0:
            template = template or recent.keeps_what_is_rare(code, columns.value[i], newest, y.below)
        if fresh and not template and m > 0 and y.bond.factor > 0:
            trials.independent(real, count, code, gain, x, newest, y.bond, bond[:fields])
        if (fresh or (close and not edit)) and not template and count[at.BLOCK] & 1:
            if trials.joint(real, count, word, gain, residual, y.energy, y.quiet, columns.away[i], population.factors, fresh):
                known = knows_made(population.usual)
                trials.generated(real, count, gain, columns.level[i], known)
                if known and columns.level[i] > 0 and count[at.GENERATED_TRIALS] % c.COMPOSED_EVERY == 0:
                    composed = over_all(count, y.generated.composed, population.usual)
            if count[at.SCORED] % (c.POPULATION_ROWS[0] if count[at.SCORED] <= c.POPULATION_ROWS[1] else c.POPULATION_ROWS[1]) == 0:
                report(population, slot[i], count, y.ordinary, sorted_rates)
        if m > 0:
            here = edit or close or distance[newest] < c.LOCAL_STEP**2 * y.far2
            real[at.NEAR_SHARE] += c.LOCAL_MEMORY * ((1.0 if here else 0.0) - real[at.NEAR_SHARE])
        if fresh or close:
            count[at.BLOCK] |= 1
            for t in range(targets):
                word[t] = residual[t]
        if apart and fields >= 3:
            trials.steps(
                real, count, code[memory_at:stride_at], code[stride_at:answers_at], gain, x, limit, y.image, fresh, away, plus, minus
            )

        k = count[at.DISTINCT] % c.RING
        count[at.DISTINCT] += 1
        count[at.LAST] = count[at.LAST] >> c.COVER_SHIFT << c.COVER_SHIFT | (c.STRANGER if apart else 0) | k
        answers[k] = answer
        for f in range(positions):
            real[ring + f * c.RING + k] = g[f]
        for f in range(fields):
            code[f * c.RING + k] = columns.value[i, f]
            code[(fields + f) * c.RING + k] = x[f]

        if composed > y.ticket or _loud(real, ticket):  # not asked of every row: passing the yardsticks on costs more than the question
            crossings = _raise(i, slot[i], real, count, code, bins, population, y, composed, exact < 0, crossings, out, out_evidence)
    return int(crossings)
