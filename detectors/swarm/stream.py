"""One pass over a model's events: who sends synthetic rows, who sends rows that were stepped from somebody's earlier rows."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit

from detectors.bloom import hash_row
from detectors.membership.neighbours import edit_limit, field_code, is_edit
from detectors.swarm.cusum import (
    CALIBRATED,
    COPIES,
    HURRY,
    ITERATE,
    MIN_SEEDS,
    PATIENCE,
    RAISED,
    SEED,
    SEEDS,
    SYNTHETIC,
    VOTE_EVERY_S,
    VOTE_ROWS,
    VOTES_EVERY_S,
    WAITING,
    YOUNG,
    Evidence,
    cusum,
    vote,
)
from detectors.swarm.reference import PROBES, apart, place, probe, to_reference
from detectors.swarm.spots import ALONE, COPY, SEARCH, WINDOW_S, spotted

SPARSE, FLUSH_S = 8, 0.25
RING, ODD_RING = 96, 1024
LINKS = 8
_LINK, _TIGHT2, _CROWD = 1.0, np.float32(0.04), 5
_TIGHT_RATIO = 0.2
# Columns of `whole`, one row a client.
ROWS, ODD, EQUAL_PAIRS, LINKED = range(4)
# Columns of `differ`, one row a client.
PAIRS, APART = range(2)


@njit(cache=True)
def _even(a: Any, b: Any, limit: float) -> bool:
    """Whether the changed coordinates (at least 4) all changed by about the same: coefficient of variation below ``limit``."""
    n, total, squares = 0, 0.0, 0.0
    for k in range(a.shape[0]):
        step = abs(a[k] - b[k])
        if step > 1e-3:
            n += 1
            total += step
            squares += step * step
    if n < 4:
        return False
    mean = total / n
    return math.sqrt(max(squares / n - mean * mean, 0.0)) < limit * mean


@njit(cache=True)
def difference(a: Any, b: Any) -> Any:
    """How unlike two places are: mean over the terms of half of the squared difference, of each term at most 9."""
    total = np.float32(0)
    for k in range(a.shape[0]):
        total += min(np.float32(0.5) * (a[k] - b[k]) * (a[k] - b[k]), np.float32(9))
    return total / np.float32(max(1, a.shape[0]))


@njit(cache=True)
def differences(rows: Any, a: Any, b: Any) -> Any:
    """`difference` of rows (n, terms) a[i] and b[i], shape (len(a),)."""
    out = np.empty(len(a), np.float32)
    for i in range(len(a)):
        out[i] = difference(rows[a[i]], rows[b[i]])
    return out


@njit(cache=True)
def _unmoved(row: Any, best: Any, enough: Any, maps: Any, cells: Any, scratch: Any) -> Any:
    """Smallest squared distance to the reference over the nine shifts of a picture by at most one pixel, or the first within ``enough``."""
    center, inverse, whiten, picture = maps
    centres, starts, rows = cells
    z, y, near, away = scratch
    h, w = picture
    moved = np.empty_like(row)
    for dy in range(-1, 2):
        for dx in range(-1, 2):
            if (dx == 0 and dy == 0) or best <= enough:
                continue
            for r in range(h):
                for c in range(w):
                    inside = 0 <= r - dy < h and 0 <= c - dx < w
                    moved[r * w + c] = row[(r - dy) * w + c - dx] if inside else np.float32(0)
            place(moved, center, inverse, whiten, z, y)
            best = min(best, to_reference(y, near, min(2, probe(y, centres, near, away)), starts, rows, -1, enough))
    return best


@njit(cache=True)
def stream(
    start: int,
    rows: Any,
    slot: Any,
    at_s: Any,
    maps: Any,
    cells: Any,
    limits: Any,
    unlike: float,
    steps: Any,
    cast: Any,
    votes: Any,
    clients: Any,
    ring: Any,
    where: Any,
    spots: Any,
    scratch: Any,
    book: Any,
    last: Any,
) -> Any:
    """Take events from ``start`` until a cohort is due; returns the next event's position and a bit mask of the kinds that are due.

    Args:
        start: first event to take.
        rows: (n, d) float32.
        slot: (n,) int64 client of each event.
        at_s: (n,) float64 event time, s.
        maps: fields of `Map`.
        cells: fields of `Cells`.
        limits: of `SwarmReference`.
        unlike: `difference` that few pairs of reference rows reach; not finite: none counts.
        steps: (3, 2) float64 ln likelihood ratio of a hit and of a miss by kind, changed in place.
        cast: (2,) float64 votes so far and the time of the last one, changed in place.
        votes: (3, 64) float64 the latest votes, changed in place.
        clients: arrays by client, changed in place, in the order of `detectors.swarm.swarm.client_layout`.
        ring: (place, step, codes, client, at, hash, next) of remembered rows, changed in place.
        where: `detectors.swarm.spots.Places`.
        spots: `detectors.swarm.spots.Spots`, changed in place.
        scratch: of `detectors.swarm.spots.room`, overwritten.
        book: (3, 4) int64 of `Evidence`, changed in place.
        last: (3,) float64 time of the last look by kind.
    """
    center, inverse, whiten, picture, sampled, fields, mixing, seed = maps
    centres, starts, reference = cells
    (
        whole,
        hashes,
        recent,
        odd_codes,
        equal,
        mean,
        link_ratio,
        partner,
        copy_partner,
        asked,
        seen_at,
        last_spot,
        ln,
        onset,
        spell,
        level,
        named,
        poll,
        polled,
        before,
        differ,
    ) = clients
    of = Evidence(steps, ln, onset, spell, level, named, book)
    ring_place, ring_step, ring_codes, ring_client, ring_at, ring_hash, ring_next = ring
    d, terms, f = rows.shape[1], whiten.shape[1], fields.shape[0]
    z, y, step, codes = np.empty(d, np.float32), np.empty(terms, np.float32), np.empty(sampled.shape[0], np.float32), np.empty(f, np.uint8)
    near, away, spare = np.empty(PROBES, np.int64), np.empty(PROBES, np.float32), np.empty(terms, np.float32)
    spare_z, spare_near, spare_away = np.empty(d, np.float32), np.empty(PROBES, np.int64), np.empty(PROBES, np.float32)
    mixed = np.empty(mixing.shape[1], np.float32)
    bits = rows.view(np.uint32)
    limit, first_odd = edit_limit(f), centres.shape[0] * RING
    q99, q90, q05 = np.float32(limits[0] ** 2), np.float32(limits[1] ** 2), np.float32(limits[2] ** 2)
    for i in range(start, rows.shape[0]):
        s, at = slot[i], at_s[i]
        code = hash_row(bits[i], seed)
        repeat = False
        for k in range(hashes.shape[1]):
            repeat |= hashes[s, k] == code
        if repeat:
            continue
        w = whole[s]
        hashes[s, w[ROWS] % hashes.shape[1]] = code
        seen_at[s] = at
        w[ROWS] += 1
        watched = False
        for kind in range(3):
            watched |= ln[s, kind] > 0 and spell[s, kind, 1] <= YOUNG and not named[s, kind]
        if w[ROWS] % SPARSE and not watched and (w[ROWS] > YOUNG or named[s].any()):
            continue
        place(rows[i], center, inverse, whiten, z, y)
        for k in range(sampled.shape[0]):
            step[k] = z[sampled[k]]
        for k in range(f):
            codes[k] = field_code(bits[i, fields[k]])
        edit = w[ROWS] > 1 and (is_edit(codes, recent[s, 0], limit) or (w[ROWS] > 2 and is_edit(codes, recent[s, 1], limit)))
        recent[s, 1] = recent[s, 0]
        recent[s, 0] = codes
        number = probe(y, centres, near, away)
        distance = to_reference(y, near, number, starts, reference, -1, np.float32(0))
        plain = distance
        if picture[0] > 0 and distance > q90 and level[s, SYNTHETIC] != SEED:
            maps, rows_of = (center, inverse, whiten, picture), (centres, starts, reference)
            plain = _unmoved(rows[i], distance, q99, maps, rows_of, (spare_z, spare, spare_near, spare_away))
        odd = plain > q99

        stepped, repeated = False, False
        if not edit:
            reach = np.float32(_LINK * _LINK) * distance
            crowd_reach = min(_TIGHT2 * distance, q05)
            theirs, mine, theirs2, mine2, crowd = -1, -1, reach, reach, 0
            for k in range(number + (1 if odd else 0)):
                begin = near[k] * RING if k < number else first_odd
                for j in range(begin, begin + (RING if k < number else ODD_RING)):
                    if ring_client[j] == -1:
                        break
                    if ring_hash[j] == code:
                        repeated = True
                        continue
                    own = ring_client[j] == s
                    away2 = apart(y, ring_place[j], max(mine2 if own else theirs2, crowd_reach))
                    if away2 <= 1e-9:
                        continue
                    crowd += away2 < crowd_reach
                    if away2 < (mine2 if own else theirs2) and not is_edit(codes, ring_codes[j], limit):
                        if own:
                            mine, mine2 = j, away2
                        elif abs(at - ring_at[j]) <= WINDOW_S:
                            theirs, theirs2 = j, away2
            ratio = math.sqrt(theirs2 / max(distance, np.float32(1e-12)))
            if theirs >= 0:
                stepped = _even(step, ring_step[theirs], limits[3]) or (ratio < _TIGHT_RATIO and crowd >= _CROWD and not repeated)
            if mine >= 0 and not stepped:
                stepped = _even(step, ring_step[mine], limits[3])
            if stepped and theirs >= 0:
                link_ratio[s, w[LINKED] % LINKS] = ratio
                partner[s, w[LINKED] % LINKS] = ring_client[theirs]
                w[LINKED] += 1
        seen, excused = ALONE, False
        if where.known and not edit:
            about = code, codes, limit, repeated, odd, s, at
            seen, excused = spotted(rows[i], *about, where, spots, scratch, asked, copy_partner, last_spot, of)
            cusum(s, COPIES, seen == COPY, at, of)
            stepped |= seen == SEARCH
        # Both rings forget their oldest; whoever sends much fills them no faster than the sparse share.
        if w[ROWS] <= YOUNG or w[ROWS] % 4 == 0:
            for which in range(2 if odd else 1):
                cell = centres.shape[0] if which else near[0]
                size = ODD_RING if which else RING
                j = (first_odd if which else cell * RING) + ring_next[cell]
                ring_next[cell] = (ring_next[cell] + 1) % size
                ring_place[j], ring_step[j], ring_codes[j] = y, step, codes
                ring_client[j], ring_at[j], ring_hash[j] = s, at, code

        strange = odd and not edit and not excused  # a move cuts off what no move of the reference brings back
        if strange:
            w[ODD] += 1
            if w[ODD] > 1 and f:
                same = 0
                for k in range(f):
                    same += codes[k] == odd_codes[s, k]
                equal[s] += same / f
                w[EQUAL_PAIRS] += 1
            odd_codes[s] = codes
            size2 = np.float32(0)
            for p in range(mixing.shape[1]):
                value = np.float32(0)
                for k in range(terms):
                    value += y[k] * mixing[k, p]
                mixed[p] = value
                size2 += value * value
            size = np.float32(1) / np.sqrt(max(size2, np.float32(1e-12)))
            for p in range(mixing.shape[1]):
                mean[s, p] += mixed[p] * size
        poll[s, 0] += 1
        poll[s, 1] += stepped
        poll[s, 2] += strange or stepped
        poll[s, 3] += seen == COPY
        cusum(s, ITERATE, stepped, at, of)
        cusum(s, SYNTHETIC, strange or stepped, at, of)
        if spell[s, SYNTHETIC, 1] == 1:
            differ[s] = 0
        if w[ROWS] > 1 and not edit:
            differ[s, PAIRS] += 1
            differ[s, APART] += difference(y, before[s]) > unlike
        before[s] = y
        if poll[s, 0] >= VOTE_ROWS:
            due_to_vote = abs(at - polled[s]) >= VOTE_EVERY_S and abs(at - cast[1]) >= VOTES_EVERY_S
            due_to_vote = due_to_vote and (cast[0] < CALIBRATED or not named[s].any())
            if due_to_vote:
                polled[s] = at
                vote(poll[s], at, cast, votes, steps)
            if due_to_vote or poll[s, 0] >= 4 * VOTE_ROWS:
                poll[s] = 0
        due = 0
        for kind in range(3):
            waited = (book[kind, RAISED] > 0 or book[kind, WAITING] >= book[kind, PATIENCE]) and abs(at - last[kind]) >= FLUSH_S
            if book[kind, SEEDS] >= MIN_SEEDS and (book[kind, RAISED] >= HURRY or waited):
                due |= 1 << kind
        if due:
            return i + 1, due
    return rows.shape[0], 0
