"""Compiled single passes over a batch, where a chain of numpy calls would walk it several times.

Callers hand in plain arrays (`detectors.arrays`).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from schemas.latency import BINS, LN_GAMMA


@njit(cache=True)
def admit(at_ns: Any, received_ns: int, first_ns: int, last_ns: int, keys: Any, number: Any, at: Any, shown: Any, off: Any) -> Any:
    """Event times and clocks of a batch in one pass.

    Args:
        at_ns: (n,) int64 as sent; negative for none.
        received_ns: Kafka's time of the record, taken by events without one.
        first_ns: the earliest time that is right.
        last_ns: the latest.
        keys: (n,) uint64, what each event is known by.
        number: (n,) int64 running numbers.
        at: (n,) int64, the event times, out.
        shown: (n,) uint64, keys of the events whose clock is right, 0 for the others, out.
        off: (n,) bool, whose clock is wrong, out.

    Returns:
        How many are off, the lowest and the highest number.
    """
    wrong, lowest, highest = 0, number[0], number[0]
    for i in range(len(at_ns)):
        when = received_ns if at_ns[i] < 0 else at_ns[i]
        bad = when < first_ns or when > last_ns
        at[i], off[i], shown[i] = when, bad, np.uint64(0) if bad else keys[i]
        wrong += bad
        lowest, highest = min(lowest, number[i]), max(highest, number[i])
    return wrong, lowest, highest


@njit(cache=True)
def count_clients(slot: Any, at_ns: Any, severity: Any, n: Any, last_ns: Any, suspect: Any) -> int:
    """Counts events of clients, and marks the rows of those under suspicion; returns how many rows are.

    Args:
        slot: (rows,) int32, -1 for no client.
        at_ns: (rows,) event time.
        severity: (slots, families) uint8.
        n: (slots,) int64, events, added to.
        last_ns: (slots,) int64, the latest time, raised.
        suspect: (rows,) bool, out.
    """
    found = 0
    for i in range(len(slot)):
        s = slot[i]
        suspect[i] = False
        if s >= 0:
            n[s] += 1
            last_ns[s] = max(last_ns[s], at_ns[i])
            for k in range(severity.shape[1]):
                suspect[i] |= severity[s, k] != 0
            found += suspect[i]
    return found


@njit(cache=True)
def count_events(slot: Any, status: Any, latency_ms: Any, statuses: Any, latency: Any, clients: Any, errors: Any, denied: Any) -> None:
    """Adds events to a window: by status, latency of answers (`schemas.latency`), and client. 12 ns an event.

    Args:
        slot: (n,) int32, -1 for none.
        status: (n,) uint8 below 6.
        latency_ms: (n,) float32; what is no latency is left out.
        statuses: (6,) int64, added to, as all that follow.
        latency: (BINS,) int64.
        clients: int32 by slot.
        errors: int32 by slot, status 1.
        denied: int32 by slot, status 2 and 3.
    """
    for i in range(len(slot)):
        kind = status[i]
        statuses[kind] += 1
        if kind == 0:
            ms = np.float64(latency_ms[i])
            if 0 <= ms < np.inf:
                latency[min(int(np.ceil(np.log(max(ms * 1000.0, 1.0)) / LN_GAMMA)), BINS - 1)] += 1
        if slot[i] >= 0:
            clients[slot[i]] += 1
            if kind == 1:
                errors[slot[i]] += 1
            elif kind == 2 or kind == 3:
                denied[slot[i]] += 1


@njit(cache=True)
def odd_rows(X: Any, low: Any, high: Any) -> Any:
    """Flags (n,) uint8 of rows (n, d): 1 a value is missing, 2 one is infinite, 4 one lies outside ``low`` to ``high`` (d,)."""
    flags = np.zeros(len(X), np.uint8)
    for i in range(len(X)):
        odd = 0
        for j in range(X.shape[1]):
            odd += not (low[j] <= X[i, j] <= high[j] and abs(X[i, j]) < np.inf)
        if odd:
            for j in range(X.shape[1]):
                x = X[i, j]
                if x != x:
                    flags[i] |= 1
                elif abs(x) == np.inf:
                    flags[i] |= 2
                elif not low[j] <= x <= high[j]:
                    flags[i] |= 4
    return flags


@njit(cache=True)
def top_classes(scores: Any, label: Any) -> None:
    """The largest of the scores (n, c) as the ``label`` (n,) of rows that have none; the first of several; none where one is not finite."""
    for i in range(len(scores)):
        if label[i] < 0:
            best, sound = 0, True
            for j in range(scores.shape[1]):
                sound &= abs(scores[i, j]) < np.inf
                if scores[i, j] > scores[i, best]:
                    best = j
            if sound:
                label[i] = best


@njit(cache=True)
def number_clients(slot: Any, place: Any, client: Any, distinct: Any) -> int:
    """Numbers the slots (n,) in order of appearance; returns how many different ones there are.

    Args:
        slot: (n,) int32.
        place: int32, longer than the largest slot, all -1; it is so again afterwards.
        client: (n,) int32, the number of each row's slot, out.
        distinct: (n,) int32, the slots by number, out.
    """
    found = 0
    for i in range(len(slot)):
        s = slot[i]
        if place[s] < 0:
            place[s], distinct[found] = found, s
            found += 1
        client[i] = place[s]
    for k in range(found):
        place[distinct[k]] = -1
    return found


@njit(cache=True)
def used_codes(codes: Any, values: int) -> Any:
    """Which of so many values of a dictionary occur among the codes (n,) int32, increasing; negative codes are none."""
    seen = np.zeros(values, np.bool_)
    found = 0
    for code in codes:
        if code >= 0 and not seen[code]:
            seen[code] = True
            found += 1
    out = np.empty(found, np.int64)
    found = 0
    for code in range(values):
        if seen[code]:
            out[found] = code
            found += 1
    return out


@njit(cache=True)
def without_hash(slots: Any, hashes: Any) -> Any:
    """Places in ``slots`` (n,) int32 of those, not negative, whose entry of ``hashes`` (capacity,) uint64 is 0."""
    out = np.empty(len(slots), np.int64)
    found = 0
    for k in range(len(slots)):
        if slots[k] >= 0 and hashes[slots[k]] == 0:
            out[found] = k
            found += 1
    return out[:found]
