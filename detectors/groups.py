"""Sixteen groups of clients, by a hash: what comes from one client only stands out in one of them, and groups still merge by addition."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

GROUPS = 16


@njit(inline="always")
def group_of(client: Any) -> Any:
    """The group, 0 to 15, of a client's 64-bit hash; the same as that of its drift counts."""
    # the multiplier of splitmix64: neighbouring ids must not share a group
    bucket = np.int64(((client ^ (client >> np.uint64(32))) * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(54))
    return bucket % GROUPS


@njit(cache=True)
def count_groups(clients: Any, counts: Any) -> None:
    """Adds the clients (n,) uint64 to ``counts`` (16,) int64."""
    for i in range(len(clients)):
        counts[group_of(clients[i])] += 1
