"""How a recorded reference varies in time: its season by the hour of the week, and what it wanders besides."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from detectors.drift.cells import Kind, ranges
from detectors.drift.season import carried_by_the_others, hours_of

PEAK_SHARE, TOGETHER_SHARE = 0.5, 0.5


def seasonal(
    cells: NDArray[np.int64], hour: NDArray[np.int64], size: int, kind: Kind, blocks: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """Shares in each hour of the week, (168, size), and the wander of each tested cell, (K,), with the season taken out.

    Args:
        cells: of the rows, shape (n,).
        hour: hours since the epoch of the rows, shape (n,).
        size: cells of the variable.
        kind: of the variable.
        blocks: equal stretches of time that are compared.

    Returns:
        None for a variable that has no season.
    """
    of, at = np.unique(hour, return_inverse=True)
    table = np.bincount(at * size + cells, minlength=of.size * size).reshape(of.size, size)
    shares = hours_of(table, of, numeric=kind == "numeric")
    if np.ptp(shares, axis=0).max() <= 1e-9:
        return None
    back, plans = carried_by_the_others(table, of, numeric=kind == "numeric")
    # an hour belongs to the stretch of time that its middle is in
    stretch = (of - of.min()) * blocks // (int(np.ptp(of)) + 1)
    return shares, wander_of(_summed(back, stretch, blocks), kind, _summed(_variances(table, plans, kind), stretch, blocks))


def _summed(values: NDArray[np.float64], key: NDArray[np.int64], size: int) -> NDArray[np.float64]:
    out = np.zeros((size, values.shape[1]))
    np.add.at(out, key, values)
    return out


def _variances(table: NDArray[np.int64], plans: NDArray[np.float64], kind: Kind) -> NDArray[np.float64]:
    """Of each tested cell's carried count in each hour, as far as it is sampling: n (sum_c s_c t_ck^2 - (sum_c s_c t_ck)^2)."""
    low, high, _ = ranges(np.array([0, table.shape[1]]), (kind,))
    cumulated = np.concatenate([np.zeros((*plans.shape[:2], 1)), np.cumsum(plans, axis=2)], axis=2)
    t = cumulated[:, :, high] - cumulated[:, :, low]
    n = table.sum(axis=1, keepdims=True)
    share = (table + 0.5) / (n + 0.5 * table.shape[1])
    return np.asarray(n * (np.einsum("hc,hck->hk", share, t**2) - np.einsum("hc,hck->hk", share, t) ** 2), np.float64)


def wander_of(
    blocks: NDArray[np.int64] | NDArray[np.float64], kind: Kind, variances: NDArray[np.float64] | None = None
) -> NDArray[np.float64]:
    """Between-block sd of each tested cell of one variable from its counts per block, sqrt(max(0, variance - sampling variance)).

    Or half of the largest deviation of a block, shrunk by the share of its variance that is no sampling noise, where that is more: the
    outer cells of a variable that swings are empty most of the day. `variances`, the sampling variance of a block's count in a tested cell,
    is binomial when it is not given.
    """
    low, high, _ = ranges(np.array([0, blocks.shape[1]]), (kind,))
    cumulative = np.concatenate([np.zeros((len(blocks), 1)), np.cumsum(blocks, axis=1)], axis=1)
    n: NDArray[np.float64] = np.asarray(blocks.sum(axis=1), np.float64)
    busy = n > 0.5
    hits, n = (cumulative[:, high] - cumulative[:, low])[busy], n[busy]
    return between(hits, n, _binomial(hits, n) if variances is None else variances[busy])


def _binomial(hits: NDArray[np.float64], n: NDArray[np.float64]) -> NDArray[np.float64]:
    """Binomial variances of counts, shape (B, K)."""
    p = hits.sum(axis=0) / n.sum()
    return np.asarray(p * (1.0 - p) * n[:, None], np.float64)


def between(hits: NDArray[np.float64], n: NDArray[np.float64], variances: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sd of shares between blocks of events, with what is sampling taken out, shape (K,).

    Args:
        hits: per block and share, shape (B, K).
        n: events of the blocks, above 0, shape (B,).
        variances: of the hits, as far as they are sampling, shape (B, K).
    """
    p = hits.sum(axis=0) / n.sum()
    deviation = np.abs(hits / n[:, None] - p)
    spread = (n[:, None] * deviation**2).sum(axis=0) / n.sum()
    noise = variances / n[:, None] ** 2
    # of B blocks, the weighted variance has expectation (B - 1) / B times that of a block's own when rows are independent
    beyond = spread - (1.0 - 1.0 / n.size) * (n[:, None] * noise).sum(axis=0) / n.sum()
    # a share's own estimate is noise where it is small; all together know better
    together = max(float(beyond.sum()) / max(float((p * (1.0 - p)).sum()), 1e-300), 0.0) * p * (1.0 - p)
    beyond = np.maximum(beyond, TOGETHER_SHARE**2 * together)
    largest = (deviation * beyond / np.maximum(beyond + noise, 1e-300)).max(axis=0)
    return np.asarray(np.maximum(np.sqrt(beyond), PEAK_SHARE * largest), np.float64)
