"""Compiled single passes over a batch, where a chain of numpy calls would walk it several times.

numba compiles a function anew for read-only or strided arrays, in the middle of the work; callers hand in plain ones (`plain`).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from schemas.latency import BINS, LN_GAMMA


def plain(array: NDArray[Any]) -> NDArray[Any]:
    """The array, or a copy of it, C-contiguous and writable: the one kind for which the kernels are compiled."""
    return np.require(array, requirements=["C", "W"])


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
