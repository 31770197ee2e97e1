"""Latency in log-spaced bins: counts merge over partitions and windows, percentiles come out with a stated error.

Bin k holds (G^(k-1), G^k] microseconds with G = (1 + a) / (1 - a), a = 0.02: the bin's middle is within 2 % of every value in it
(Masson et al., DDSketch, VLDB 2019, section 2). 1 us to 1 hour is 551 bins; what lies outside goes into the first or last one.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

RELATIVE_ERROR = 0.02
_GAMMA = (1 + RELATIVE_ERROR) / (1 - RELATIVE_ERROR)
LN_GAMMA = math.log(_GAMMA)
BINS = math.ceil(math.log(3_600_000_000) / LN_GAMMA) + 1


def counts_of(latency_ms: NDArray[Any]) -> NDArray[np.int64]:
    """Counts by bin, int64 (BINS,); NaN, infinite and negative latencies are left out.

    Example:
        >>> int(counts_of(np.array([1.0, 1.0, np.nan])).sum())
        2
    """
    latency = latency_ms[np.isfinite(latency_ms) & (latency_ms >= 0)].astype(np.float64)
    bins = np.ceil(np.log(np.maximum(latency * 1000.0, 1.0)) / LN_GAMMA).astype(np.int64)
    return np.bincount(np.minimum(bins, BINS - 1), minlength=BINS).astype(np.int64)


def percentile_ms(counts: NDArray[np.int64], share: float) -> float:
    """The latency that this share of requests stays at or below, within `RELATIVE_ERROR`; NaN without requests.

    Example:
        >>> abs(percentile_ms(counts_of(np.arange(1.0, 1001.0)), 0.95) / 950 - 1) <= RELATIVE_ERROR
        True
    """
    total = int(counts.sum())
    if total == 0:
        return math.nan
    rank = max(math.ceil(share * total), 1)
    bin_ = int(np.searchsorted(np.cumsum(counts), rank))
    return float(2 * _GAMMA**bin_ / (_GAMMA + 1)) / 1000.0


def bin_above_ms(limit_ms: float) -> int:
    """The first bin whose values are above a limit, within `RELATIVE_ERROR`.

    Example:
        >>> slow = counts_of(np.array([150.0, 199.0, 230.0, 500.0]))[bin_above_ms(200.0) :]
        >>> int(slow.sum())
        2
    """
    return min(max(math.ceil(math.log(max(limit_ms * 1000.0, 1.0)) / LN_GAMMA) + 1, 0), BINS - 1)
