"""Sixteen groups of clients, by a hash: what comes from one client only stands out in one of them, and groups still merge by addition."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

GROUPS = 16


@njit(inline="always")
def bucket_of(client: Any) -> Any:
    """One of 1,024 buckets of a client's 64-bit hash; its group is the bucket modulo 16."""
    # the multiplier of splitmix64: neighbouring ids must not share a group
    return np.int64(((client ^ (client >> np.uint64(32))) * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(54))


@njit(cache=True)
def count_groups(clients: Any, counts: Any) -> None:
    """Adds the clients (n,) uint64 to ``counts`` (16,) int64."""
    for i in range(len(clients)):
        counts[bucket_of(clients[i]) % GROUPS] += 1
