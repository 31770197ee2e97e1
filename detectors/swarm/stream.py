"""One pass over a model's events: who sends synthetic rows, who sends rows that were stepped from somebody's earlier rows."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit

from detectors.bloom import hash_row
from detectors.swarm.reference import PROBES, apart, place, probe, to_reference

ITERATE, SYNTHETIC, COPIES = 0, 1, 2
CANDIDATE, SEED = 1, 2
LN_SEED, LN_JOIN, MIN_FLAGS = 5.0, 2.5, 2
MIN_SEEDS, HURRY, FLUSH_S = 5, 8, 1.0
YOUNG, SPARSE = 400, 8
RING, ODD_RING = 96, 1024
LINKS = HOT_MEMBERS = 8
ASKED, ASKED_BY = 2048, 12
_COPIES_MIN = 3
_WINDOW_S = 6 * 3600.0
_LINK, _TIGHT2, _CROWD = 1.0, np.float32(0.04), 5
_TIGHT_RATIO = 0.2
# Null rate and attack rate of the flags, as the steps of ln likelihood ratio for a hit and a miss.
RATES = np.array([[0.08, 0.45], [0.10, 0.70], [0.03, 0.30]])
# The null follows the population: the rate of a flag among 16 to 64 rows of a client is a vote, and the latest 64 votes count. A client
# has one an hour, and all have one in 5 minutes: a swarm that is most of the traffic for two hours must not become what is usual.
# Who was named has none, but before there are 8: where ordinary clients look like a swarm, the first ones are named.
VOTES, CALIBRATED, VOTE_ROWS, _VOTE_EVERY_S, _VOTES_EVERY_S = 64, 8, 16, 3600.0, 300.0
_OVER, _NULL_MOST, _ATTACK_MOST = 2.5, 0.6, 0.95
# Columns of `whole`, one row a client.
ROWS, ODD, EQUAL_PAIRS, LINKED, HOT, NEAR_MEMBER, NEAR_CONTROL = range(7)
# Columns of `differ`, one row a client.
PAIRS, APART = range(2)
# Columns of `book`, one row a kind of cohort.
SEEDS, RAISED, WAITING = 0, 1, 2


@njit(cache=True)
def _vote(of: Any, at: float, cast: Any, votes: Any, steps: Any) -> None:
    """A client's share of flagged rows enters the population's, and the null rates are 2.5 times its median, at least `RATES`.

    Above .6 the flag says nothing about anybody.
    """
    number = int(cast[0])
    for kind in range(3):
        votes[kind, number % VOTES] = of[kind + 1] / of[0]
    cast[0], cast[1] = number + 1, at
    n = min(number + 1, VOTES)
    for kind in range(3):
        ordered = np.sort(votes[kind, :n])
        u = max(RATES[kind, 0], _OVER * ordered[n // 2])
        if u > _NULL_MOST:
            steps[kind, 0], steps[kind, 1] = 0.0, -1.0
        else:
            q = max(RATES[kind, 1], min(_ATTACK_MOST, _OVER * u))
            steps[kind, 0], steps[kind, 1] = math.log(q / u), math.log((1 - q) / (1 - u))


@njit(inline="always")
def _edit(a: Any, b: Any, limit: int) -> bool:
    """Whether at most ``limit`` fields differ; never for pictures, which have no fields."""
    if a.shape[0] == 0:
        return False
    changed = 0
    for k in range(a.shape[0]):
        changed += a[k] != b[k]
    return changed <= limit


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
def _judge(s: int, kind: int, level: Any, ln: Any, spell: Any, named: Any, book: Any) -> None:
    """Candidate, seed or neither, and the books of how many wait to be looked at."""
    was = level[s, kind]
    if spell[s, kind, 1] > YOUNG:
        now = 0
    elif spell[s, kind, 0] < MIN_FLAGS:
        now = was
    elif was == SEED or ln[s, kind] >= LN_SEED:
        now = SEED
    else:
        now = CANDIDATE if ln[s, kind] >= LN_JOIN else 0
    level[s, kind] = now
    book[kind, SEEDS] += (now == SEED) - (was == SEED)
    if now and not named[s, kind]:
        book[kind, WAITING] += 1
        if now > was:
            book[kind, RAISED] = HURRY if now == SEED and book[kind, SEEDS] == MIN_SEEDS else book[kind, RAISED] + 1


@njit(cache=True)
def _cusum(
    s: int, kind: int, flag: bool, at: float, steps: Any, level: Any, ln: Any, onset: Any, spell: Any, named: Any, book: Any
) -> None:
    """CUSUM of one flag: ln evidence since its onset; who passes becomes candidate and seed until 400 events later or evidence gone."""
    if ln[s, kind] <= 0:
        ln[s, kind] = 0.0
        # Who was a seed once stays one for the spell: steps come in rounds, with other rows between.
        if level[s, kind] != SEED:
            level[s, kind] = 0
            if not flag:
                return
            onset[s, kind], spell[s, kind] = at, 0
    ln[s, kind] += steps[kind, 0] if flag else steps[kind, 1]
    spell[s, kind, 0] += flag
    spell[s, kind, 1] += 1
    _judge(s, kind, level, ln, spell, named, book)


@njit(cache=True)
def _asked(
    member: int, s: int, at: float, asked: Any, steps: Any, level: Any, ln: Any, onset: Any, spell: Any, named: Any, book: Any
) -> bool:
    """Note a copy of a member by a client; True when it had 3 in 6 hours from anybody. Who asked before that is credited then."""
    ids, times, clients, count, hot_at = asked
    e = member % ASKED
    if ids[e] != member:
        ids[e], count[e], hot_at[e] = member, 0, -np.inf
    kept = 0
    for k in range(min(count[e], ASKED_BY)):
        if abs(at - times[e, k]) <= _WINDOW_S:
            times[e, kept], clients[e, kept] = times[e, k], clients[e, k]
            kept += 1
    if kept == ASKED_BY:
        for k in range(1, ASKED_BY):
            times[e, k - 1], clients[e, k - 1] = times[e, k], clients[e, k]
        kept -= 1
    times[e, kept], clients[e, kept] = at, s
    count[e] = kept + 1
    if count[e] < _COPIES_MIN:
        return False
    if abs(at - hot_at[e]) > _WINDOW_S:
        for k in range(kept):
            c = clients[e, k]
            if c >= 0 and c != s:
                if ln[c, COPIES] <= 0:
                    ln[c, COPIES] = 0.0
                    if level[c, COPIES] != SEED:
                        onset[c, COPIES], spell[c, COPIES] = times[e, k], 0
                    ln[c, COPIES] += steps[COPIES, 0]
                else:
                    ln[c, COPIES] += steps[COPIES, 0] - steps[COPIES, 1]
                spell[c, COPIES, 0] += 1
                _judge(c, COPIES, level, ln, spell, named, book)
    hot_at[e] = at
    return True


@njit(cache=True)
def stream(
    start: int,
    rows: Any,
    slot: Any,
    at_s: Any,
    copied: Any,
    control: Any,
    maps: Any,
    cells: Any,
    limits: Any,
    unlike: float,
    steps: Any,
    cast: Any,
    votes: Any,
    clients: Any,
    ring: Any,
    asked: Any,
    book: Any,
    last: Any,
) -> Any:
    """Take events from ``start`` until a cohort is due; returns the next event's position and a bit mask of the kinds that are due.

    Args:
        start: first event to take.
        rows: (n, d) float32.
        slot: (n,) int64 client of each event.
        at_s: (n,) float64 event time, s.
        copied: (n,) int64 member that the row is a changed copy of, or -1.
        control: (n,) int64 held-out row that the row is a changed copy of, or -1.
        maps: fields of `Map`.
        cells: fields of `Cells`.
        limits: of `SwarmReference`.
        unlike: `difference` that few pairs of reference rows reach; not finite: none counts.
        steps: (3, 2) float64 ln likelihood ratio of a hit and of a miss by kind, changed in place.
        cast: (2,) float64 votes so far and the time of the last one, changed in place.
        votes: (3, 64) float64 the latest votes, changed in place.
        clients: arrays by client, changed in place, in the order of `detectors.swarm.swarm.CLIENT_LAYOUT`.
        ring: (place, step, codes, client, at, hash, next) of remembered rows, changed in place.
        asked: (member, times, clients, count, hot_at) of copies of members, changed in place; no rows where members are not known.
        book: (3, 3) int64 seeds, raised and waiting clients by kind, changed in place.
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
        hot_members,
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
    ring_place, ring_step, ring_codes, ring_client, ring_at, ring_hash, ring_next = ring
    d, terms, f = rows.shape[1], whiten.shape[1], fields.shape[0]
    z, y, step, codes = np.empty(d, np.float32), np.empty(terms, np.float32), np.empty(sampled.shape[0], np.float32), np.empty(f, np.uint8)
    near, away, spare = np.empty(PROBES, np.int64), np.empty(PROBES, np.float32), np.empty(terms, np.float32)
    spare_z, spare_near, spare_away = np.empty(d, np.float32), np.empty(PROBES, np.int64), np.empty(PROBES, np.float32)
    mixed = np.empty(mixing.shape[1], np.float32)
    bits = rows.view(np.uint32)
    limit, first_odd = max(2, f // 5), centres.shape[0] * RING
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
            codes[k] = np.uint8((bits[i, fields[k]] * np.uint32(2654435761)) >> np.uint32(24))
        edit = w[ROWS] > 1 and (_edit(codes, recent[s, 0], limit) or (w[ROWS] > 2 and _edit(codes, recent[s, 1], limit)))
        recent[s, 1] = recent[s, 0]
        recent[s, 0] = codes
        number = probe(y, centres, near, away)
        distance = to_reference(y, near, number, starts, reference, -1, np.float32(0))
        plain = distance
        if picture[0] > 0 and distance > q90 and level[s, SYNTHETIC] != SEED:
            maps, rows_of = (center, inverse, whiten, picture), (centres, starts, reference)
            plain = _unmoved(rows[i], distance, q99, maps, rows_of, (spare_z, spare, spare_near, spare_away))
        odd = plain > q99

        stepped = False
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
                        continue
                    own = ring_client[j] == s
                    away2 = apart(y, ring_place[j], max(mine2 if own else theirs2, crowd_reach))
                    if away2 <= 1e-9:
                        continue
                    crowd += away2 < crowd_reach
                    if away2 < (mine2 if own else theirs2) and not _edit(codes, ring_codes[j], limit):
                        if own:
                            mine, mine2 = j, away2
                        elif abs(at - ring_at[j]) <= _WINDOW_S:
                            theirs, theirs2 = j, away2
            ratio = math.sqrt(theirs2 / max(distance, np.float32(1e-12)))
            if theirs >= 0:
                stepped = _even(step, ring_step[theirs], limits[3]) or (ratio < _TIGHT_RATIO and crowd >= _CROWD)
            if mine >= 0 and not stepped:
                stepped = _even(step, ring_step[mine], limits[3])
            if stepped and theirs >= 0:
                link_ratio[s, w[LINKED] % LINKS] = ratio
                partner[s, w[LINKED] % LINKS] = ring_client[theirs]
                w[LINKED] += 1
        # Both rings forget their oldest; whoever sends much fills them no faster than the sparse share.
        if w[ROWS] <= YOUNG or w[ROWS] % 4 == 0:
            for which in range(2 if odd else 1):
                cell = centres.shape[0] if which else near[0]
                size = ODD_RING if which else RING
                j = (first_odd if which else cell * RING) + ring_next[cell]
                ring_next[cell] = (ring_next[cell] + 1) % size
                ring_place[j], ring_step[j], ring_codes[j] = y, step, codes
                ring_client[j], ring_at[j], ring_hash[j] = s, at, code

        strange = odd and not edit
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
        _cusum(s, ITERATE, stepped, at, steps, level, ln, onset, spell, named, book)
        _cusum(s, SYNTHETIC, strange or stepped, at, steps, level, ln, onset, spell, named, book)
        if spell[s, SYNTHETIC, 1] == 1:
            differ[s] = 0
        if w[ROWS] > 1 and not edit:
            differ[s, PAIRS] += 1
            differ[s, APART] += difference(y, before[s]) > unlike
        before[s] = y
        if asked[0].shape[0]:
            w[NEAR_MEMBER] += copied[i] >= 0 and not edit
            w[NEAR_CONTROL] += control[i] >= 0 and not edit
            hot = copied[i] >= 0 and not edit and _asked(copied[i], s, at, asked, steps, level, ln, onset, spell, named, book)
            poll[s, 3] += hot
            if hot:
                hot_members[s, w[HOT] % HOT_MEMBERS] = copied[i]
                w[HOT] += 1
            _cusum(s, COPIES, hot, at, steps, level, ln, onset, spell, named, book)
        if poll[s, 0] >= VOTE_ROWS:
            due_to_vote = abs(at - polled[s]) >= _VOTE_EVERY_S and abs(at - cast[1]) >= _VOTES_EVERY_S
            due_to_vote = due_to_vote and (cast[0] < CALIBRATED or not named[s].any())
            if due_to_vote:
                polled[s] = at
                _vote(poll[s], at, cast, votes, steps)
            if due_to_vote or poll[s, 0] >= 4 * VOTE_ROWS:
                poll[s] = 0
        due = 0
        for kind in range(3):
            waited = book[kind, WAITING] > 0 and abs(at - last[kind]) >= FLUSH_S
            if book[kind, SEEDS] >= MIN_SEEDS and (book[kind, RAISED] >= HURRY or waited):
                due |= 1 << kind
        if due:
            return i + 1, due
    return rows.shape[0], 0
