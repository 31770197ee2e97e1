"""Label-only membership tests: changed copies of members, asked around each of them (Choquette-Choo et al. 2021; Li and Zhang 2021).

The attacker asks noisy or shifted copies of a record, or searches the class boundary around it, and reads membership from how firm the
label is. What shows is that the rows around which a client's queries cluster are training rows more often than chance allows (recipe 2):

- *copies*: a cluster is 4 rows around one of the client's 16 latest own centres. Its centre is a member when one of its rows is one, or
  when one row lies near one, or two vote for it, and the mean of the four does not lie elsewhere: within .6 of the rows' spread about it
  (rows around a record that lies near a member are near it, too). Pictures need no such mean. Outside of clusters, in any order: a member
  asked and a changed copy of it within 9 to 26 minutes, or 3 changed copies within 6 hours (2 where rows are pictures: a shift that cuts
  lines off is no copy). With k member centres among T:
  L = k ln(.5/u) + (T - k) ln(.5/(1 - u)), u of `MembershipReference.u_copies`, from k = 4 for a ticket and k = 6 for a page. It is
  taken of the clusters alone, and of all centres, where T is reckoned from the rows sent (by at most 16 versions a record, so that rows
  in plenty among dense members prove nothing) and no less than the members asked; the larger counts.
- *chains*: `detectors.membership.chains`; a cluster of 12 rows soon after an exact member is one.

*Near* a member: within a radius that natural rows seldom reach, and nearer than .7 of the second nearest member. Edits (at most a fifth
of the fields changed against one of the last two rows, the cluster's first row or the member) count nowhere, so that forms do not look
like attacks.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from detectors.lean import lean
from detectors.membership.cells import FAR, room_to_search, two_nearest
from detectors.membership.chains import (
    CHAIN,
    CHAINS,
    COPIED,
    EXACT,
    LAST_EXACT,
    LAST_EXACT_ROW,
    LAST_NEAR_ROW,
    MEMBERS,
    NEAR,
    NEXT,
    OTHERS,
    ROWS,
    chain,
    chains,
    halves,
    searched,
)
from detectors.membership.hits import HIT, REPEAT
from detectors.membership.neighbours import RATIO2, SAME, describe, edit_limit, field_code, in_middle, is_edit
from detectors.membership.slots import Layout
from detectors.prefetch import prefetch_row
from detectors.tiles import AXES, LANES, squares

LEADERS, COPIES = LANES, 128
_VOTE = np.float32(0.72)
_CLUSTER, _CHAIN, _FULL = 4, 12, 16
_MOST_VERSIONS = 16.0
_TICK_S, _WINDOW_TICKS, _SOON_TICKS = 512.0, 42, 2  # 6 hours; 9 to 26 minutes
_COUNTED, _ASKED = 255, 254
_NOT_INDEXED = 1 << 20
_YOUNG, _SPARSE, _ALERT = 16, 12, 16
Q = 0.5
TICKET_FROM, PAGE_FROM = 4, 6
# Columns of a leader in `lead` and `lead_real`.
SIZE, MEMBER, VOTE, VOTES = 0, 1, 2, 3
_SURE = -1


def layout(fields: int) -> Layout:
    """State of a client, about 2.5 KB."""
    return {
        "tally": ("int32", (CHAIN + CHAINS,), 0),
        "likelihood": ("float64", (), 0.0),
        "recent": ("uint8", (2, fields), 0),
        "last": ("float32", (2, AXES), 0),
        "lead": ("int32", (LEADERS, 4), 0),
        "lead_mean": ("float32", (AXES, LEADERS), float(FAR)),
        "lead_spread": ("float32", (LEADERS,), 0),
        "lead_codes": ("uint8", (LEADERS, fields), 0),
        "copy_member": ("uint16", (COPIES,), 0),
        "copy_count": ("uint8", (COPIES,), 0),
        "copy_tick": ("uint16", (COPIES,), 0),
    }


@njit(inline="always")
def _tick(at_s: float) -> Any:
    return np.uint16(np.int64(at_s / _TICK_S) & 0xFFFF) if np.isfinite(at_s) else np.uint16(0)


@njit(cache=True)
def _count_copy(member: int, tick: Any, ids: Any, counts: Any, ticks: Any, needed: int) -> bool:
    """Count a changed copy of a member; True when it is the ``needed``-th within 6 hours and the member was not counted before."""
    at = member % COPIES
    if ids[at] != member or counts[at] == 0:
        ids[at], counts[at], ticks[at] = member, 1, tick
        return False
    if counts[at] == _COUNTED:
        return False
    if np.uint16(tick - ticks[at]) > _WINDOW_TICKS:
        counts[at], ticks[at] = 1, tick
        return False
    asked = counts[at] == _ASKED
    soon = np.uint16(tick - ticks[at]) <= _SOON_TICKS
    if asked and not soon:
        counts[at], ticks[at] = 1, tick
        return False
    counts[at] += 1
    if asked or counts[at] >= needed:
        counts[at] = _COUNTED
        return True
    return False


@njit(inline="always")
def _asked(member: int, tick: Any, ids: Any, counts: Any, ticks: Any) -> None:
    """Note that a member itself was asked."""
    at = member % COPIES
    if ids[at] != member or counts[at] != _COUNTED:
        ids[at], counts[at], ticks[at] = member, _ASKED, tick


@njit(inline="always")
def _asked_soon_before(member: int, tick: Any, ids: Any, counts: Any, ticks: Any) -> bool:
    at = member % COPIES
    return bool(ids[at] == member and counts[at] >= _ASKED and np.uint16(tick - ticks[at]) <= _SOON_TICKS)


@njit(cache=True)
def _mark(member: int, tick: Any, ids: Any, counts: Any, ticks: Any) -> bool:
    """Count a member centre; False when the member was counted before."""
    if member >= _NOT_INDEXED:
        return True
    at = member % COPIES
    if ids[at] == member and counts[at] == _COUNTED:
        return False
    ids[at], counts[at], ticks[at] = member, _COUNTED, tick
    return True


@njit(cache=True)
def _likelihood(t: Any, u: float, page: float) -> Any:
    """The larger L of the clusters alone and of all member centres; below the page while they are fewer than 6, 0 while fewer than 4."""
    k, value = t[MEMBERS], 0.0
    if k >= TICKET_FROM:
        # Asked round by round: the clusters of the other rows are never seen, so they are reckoned from the rows sent, by as many as there
        # are versions of a member, within what attacks ask. A member asked without copies is a record too.
        versions = min(max(2.0, (t[NEAR] + t[EXACT]) / k), _MOST_VERSIONS)
        value = _ratio(k, max(float(k + t[OTHERS]), t[ROWS] / versions, float(t[EXACT])), u, page)
    own = k - t[COPIED]
    if own >= TICKET_FROM:
        clusters = _ratio(own, float(own + t[OTHERS]), u, page)
        value = clusters if k < TICKET_FROM else max(value, clusters)
    return value


@njit(inline="always")
def _ratio(k: Any, trials: float, u: float, page: float) -> Any:
    value = k * math.log(Q / u) + (trials - k) * math.log((1 - Q) / (1 - u))
    return value if k >= PAGE_FROM else min(value, page - 1e-6)


def room(width: int, terms: int, fields: int) -> tuple[NDArray[Any], ...]:
    """What one row is worked out in: scaled, described, placed, coded, distances to the leaders, a leader's place; then the search's."""
    own = np.zeros(width, np.float32), np.zeros(terms, np.float32), np.zeros(AXES, np.float32), np.zeros(fields, np.uint8)
    return *own, np.zeros(LEADERS, np.float32), np.zeros(AXES, np.float32), *room_to_search()


@lean
def update_copies(
    rows: Any,
    bits: Any,
    slot: Any,
    at_s: Any,
    row_hash: Any,
    flags: Any,
    geometry: Any,
    index: Any,
    fields: Any,
    radii: Any,
    rule: Any,
    arrays: Any,
    work: Any,
    evidence: Any,
) -> None:
    """One pass over a batch in its order; fills ``evidence[:, 2:4]`` (copies, chains).

    Args:
        rows: (n, d) float32.
        bits: the same as uint32.
        slot: (n,) client of each row.
        at_s: (n,) event time, s.
        row_hash: (n,) uint64.
        flags: (n,) of `detectors.membership.hits.update_hits`.
        geometry: first six fields of `Neighbours`.
        index: of `neighbours.index_of`.
        fields: (f,) columns compared.
        radii: (3,) of `Neighbours`.
        rule: (u, ticket, page, whether the index holds every member).
        arrays: of `layout`, changed in place.
        work: of `room`, overwritten.
        evidence: (n, 4), out.
    """
    tally, likelihood, recent, last, lead, lead_mean, lead_spread, lead_codes, copy_member, copy_count, copy_tick = arrays
    cells, member_codes = index
    u, ticket, page, every = rule
    f = fields.shape[0]
    limit = edit_limit(f)
    needed, halvings = (3, 2) if f else (2, 3)
    z, terms, place, codes, apart, middle = work[0], work[1], work[2], work[3], work[4], work[5]
    search = work[6:]
    near2, repeated2, own2 = np.float32(radii[0] ** 2), np.float32(radii[1] ** 2), np.float32(radii[2] ** 2)
    for i in range(rows.shape[0]):
        s = slot[i]
        if i + 1 < rows.shape[0]:
            prefetch_row(tally, slot[i + 1])
            prefetch_row(recent, slot[i + 1])
            prefetch_row(lead, slot[i + 1])
            prefetch_row(lead_mean, slot[i + 1])
            prefetch_row(lead_spread, slot[i + 1])
            prefetch_row(likelihood, slot[i + 1])
        t = tally[s]
        if not flags[i] & REPEAT:
            describe(rows[i], geometry, z, terms, place)
            for k in range(f):
                codes[k] = field_code(bits[i, fields[k]])
            edited = t[ROWS] > 0 and is_edit(codes, recent[s, 0], limit)
            edit = edited or (t[ROWS] > 1 and is_edit(codes, recent[s, 1], limit))
            for k in range(f):
                recent[s, 1, k], recent[s, 0, k] = recent[s, 0, k], codes[k]
            t[ROWS] += 1
            ended = searched(t, halves(place, last[s], t[ROWS] == 1), edited, halvings)
            tick = _tick(at_s[i])
            ids, counts, ticks = copy_member[s], copy_count[s], copy_tick[s]

            own: Any = -1
            closest = own2
            squares(place, lead_mean[s], apart)
            for k in range(LEADERS):
                if apart[k] < closest:
                    own, closest = k, apart[k]

            exact = flags[i] == HIT
            hit = exact
            member: Any = -1
            distance = np.float32(0)
            # A search is the dear part. Who copies members lands near one every few rows, so an old client who does not is looked at
            # every twelfth row until he does.
            alert = t[ROWS] - max(t[LAST_NEAR_ROW], t[LAST_EXACT_ROW]) < _ALERT
            look = own >= 0 or t[ROWS] <= _YOUNG or t[ROWS] % _SPARSE == 0 or likelihood[s] > 0 or alert
            if exact or (look and not edit):
                cap = max(repeated2, own2) if f and t[EXACT] > 0 else repeated2
                if own >= 0 and lead[s, own, SIZE] < _FULL:
                    cap = max(cap, _VOTE * closest)
                member, distance, second = two_nearest(place, cells, cap / RATIO2, -1, search)
                if member >= 0 and distance > RATIO2 * second:
                    member = -1
                copy = member >= 0 and not exact and not is_edit(codes, member_codes[member], limit)
                hit = exact or (copy and distance <= near2)
                if exact and (member < 0 or distance > SAME):
                    # All members are in the index: the filter was wrong, as it is of one row in a million; an evasion attack's many
                    # searches after that would be a page of membership.
                    if every:
                        exact, hit, member = False, False, -1
                    else:
                        member = _NOT_INDEXED + np.int64(row_hash[i] & np.uint64(0xFFFFF))
                if exact:
                    t[EXACT] += 1
                    t[LAST_EXACT_ROW], t[LAST_EXACT] = t[ROWS], member
                    if member < _NOT_INDEXED:
                        _asked(member, tick, ids, counts, ticks)
                elif copy and (distance <= repeated2 or (f and distance <= own2 and _asked_soon_before(member, tick, ids, counts, ticks))):
                    t[NEAR] += 1
                    t[LAST_NEAR_ROW] = t[ROWS]
                    if (own < 0 or not f) and _count_copy(member, tick, ids, counts, ticks, needed):
                        t[MEMBERS] += 1
                        t[COPIED] += own < 0
                        likelihood[s] = _likelihood(t, u, page)

            if own < 0:
                own = t[NEXT]
                t[NEXT] = (own + 1) % LEADERS
                lead[s, own, SIZE], lead[s, own, VOTE], lead[s, own, VOTES] = 1, -1, 0
                lead[s, own, MEMBER] = member if hit else -1
                if exact:
                    lead[s, own, VOTES] = _SURE
                for k in range(AXES):
                    lead_mean[s, k, own] = place[k]
                lead_spread[s, own] = 0
                for k in range(f):
                    lead_codes[s, own, k] = codes[k]
            elif not edit and not is_edit(codes, lead_codes[s, own], limit):
                one = lead[s, own]
                one[SIZE] += 1
                for k in range(AXES):
                    step = place[k] - lead_mean[s, k, own]
                    lead_mean[s, k, own] += step / np.float32(one[SIZE])
                    lead_spread[s, own] += step * (place[k] - lead_mean[s, k, own])
                if exact or (one[MEMBER] < 0 and hit):
                    one[MEMBER] = member
                    one[VOTES] = _SURE if exact else one[VOTES]
                elif one[MEMBER] < 0 and member >= 0 and distance < _VOTE * closest:
                    if one[VOTE] == member:
                        one[VOTES] += 1
                    elif one[VOTES] <= 1:
                        one[VOTE], one[VOTES] = member, 1
                    if one[VOTES] >= 2:
                        one[MEMBER] = one[VOTE]
                if one[SIZE] == _CLUSTER:
                    if one[VOTES] != _SURE:
                        for k in range(AXES):
                            middle[k] = lead_mean[s, k, own]
                        centre = in_middle(middle, lead_spread[s, own], _CLUSTER, cells, search)
                        if centre >= 0:
                            one[MEMBER] = centre
                        elif f:
                            one[MEMBER] = -1
                    if one[MEMBER] < 0:
                        t[OTHERS] += 1
                    elif _mark(one[MEMBER], tick, ids, counts, ticks):
                        t[MEMBERS] += 1
                    likelihood[s] = _likelihood(t, u, page)
                if one[SIZE] == _CHAIN:  # once: a sensor that hangs in one place meets several members there
                    chain(t)
            if ended:
                chain(t)
        evidence[i, 2] = likelihood[s]
        evidence[i, 3] = chains(t, ticket, page)
