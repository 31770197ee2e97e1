"""Which clients' odd rows lie on one side of the reference together, and which of those are no newcomers of one origin, but made up."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from detectors.swarm.stream import differences

_ROWS, _FEW = 5, 3
_ASIDE, _TOGETHER, _ALIKE = (0.4, 0.6), 0.28, 0.75
_MOST_SIDES = 4
_PAIRS, _UNLIKE = 40_000, 0.995
_OWN, _MADE, _SURE = 0.15, 0.27, 1.5
_ENDS, _END, _END_ROWS, _END_PAIRS, _END_MARGIN = 64, 0.05, 40, 1000, 2.5


def unlike(rows: NDArray[np.float32]) -> float:
    """The `difference` of two places that one of 200 pairs of reference rows (n, terms) exceed."""
    a, b = np.random.default_rng(0).integers(0, len(rows), (2, _PAIRS))
    return float(np.quantile(differences(rows, a, b)[a != b], _UNLIKE))


def apart_at_ends(rows: NDArray[np.float32], unlike: float) -> float:
    """Share of unlike pairs among the 5 % of reference rows (n, terms) that lie furthest in a direction: the largest of 64 random ones.

    .01 to .1 on most services, .13 to .2 where columns are mostly nought (parts of pictures), .25 where they have long tails; 0 where
    ``unlike`` is not finite, so that no pair counts.
    """
    if not np.isfinite(unlike):
        return 0.0
    rng = np.random.default_rng(0)
    n, most = min(len(rows), max(_END_ROWS, int(_END * len(rows)))), 0.0
    for _ in range(_ENDS):
        end = np.argsort(rows @ rng.normal(size=rows.shape[1]))[-n:]
        a, b = end[rng.integers(0, n, (2, _END_PAIRS))]
        most = max(most, float((differences(rows, a, b)[a != b] > unlike).mean()))
    return most


def made(differ: NDArray[np.int64], spell: NDArray[np.integer[Any]], at_ends: float = 0.0) -> NDArray[np.bool_]:
    """Who of one side is there because its rows are made up, not because it comes from elsewhere.

    What moves all rows of a client alike cancels between two of them: newcomers of one origin differ among themselves as reference rows do,
    or a little more. Of the pairs of such waves up to 20 % were unlike on sixteen services (on one, where columns hang together through
    rounding, 26 %; on parts of pictures 33 to 38 %); of columns drawn between their bounds 31 to 100 % on nine of thirteen. On a service of
    skewed columns all that is drawn evenly lies on one side.

    Args:
        differ: (clients, 2) pairs of successive rows since the onset, and how many of them are unlike (`unlike`).
        spell: (clients, 2) flags since the onset, and rows.
        at_ends: of `apart_at_ends`.

    Returns:
        (clients,) those of whose rows half are flagged and of whose pairs .15 are unlike, if together more than .27 and 2.5 ``at_ends``
        are, by 1.5 standard deviations; else nobody.

    Example:
        >>> spell = np.array([[20, 20]] * 3)
        >>> made(np.array([[20, 12], [20, 11], [20, 1]]), spell).tolist()
        [True, True, False]
        >>> made(np.array([[20, 5], [20, 6], [20, 1]]), spell).tolist()
        [False, False, False]
    """
    out: NDArray[np.bool_] = (2 * spell[:, 0] >= spell[:, 1]) & (differ[:, 0] > 0) & (differ[:, 1] >= _OWN * differ[:, 0])
    pairs, apart = differ[out].sum(0)
    share = min(max(_MADE, _END_MARGIN * at_ends), 1.0)
    if apart <= share * pairs + _SURE * np.sqrt(share * (1 - share) * pairs):
        out[:] = False
    return out


def bias(total: NDArray[Any], n: Any) -> Any:
    """|mean|^2 of unit vectors less what chance adds, from their sum (..., d) and number (...).

    0 all around, 1 all in one direction; NaN for less than two vectors.
    """
    n = np.asarray(n, np.float64)
    square = (np.asarray(total, np.float64) ** 2).sum(-1)
    return np.divide(square - n, n * (n - 1), out=np.full(np.shape(square), np.nan), where=n > 1)


def on_one_side(total: NDArray[Any], n: NDArray[Any]) -> NDArray[np.bool_]:
    """Who lies on one side with others.

    A wave of newcomers (another region, another camera) is odd in one direction, and each of its clients is as far aside as all of them
    together. Clients of a swarm differ from each other, or surround the reference.

    A side: 3 or more clients with at least 5 odd rows, whose means lie beyond .4 along the widest axis of all means, or beyond .6 (of many
    accounts of a swarm of the same minutes some are beyond .4 by chance). Over pairs of them the inner product of the means is .28 or more
    on average, and .75 or more of what it is between rows of one client. Whoever else is as far along the mean of a side belongs to it. At
    most four times sides are looked for.

    Args:
        total: (clients, d) sums of the unit vectors from the reference's middle to the odd rows.
        n: (clients,) how many those are.

    Returns:
        (clients,) bool.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> around, aside = rng.normal(size=(8, 10, 6)), rng.normal(size=(4, 10, 6)) + [2, 0, 0, 0, 0, 0]
        >>> rows = np.concatenate([around, aside])
        >>> rows /= np.linalg.norm(rows, axis=2, keepdims=True)
        >>> on_one_side(rows.sum(1), np.full(12, 10)).astype(int).tolist()
        [0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1]
    """
    total, n = np.asarray(total, np.float64), np.asarray(n, np.float64)
    mean = total / np.maximum(n, 1)[:, None]
    out = np.zeros(len(n), bool)
    for _ in range(_MOST_SIDES):
        known = np.flatnonzero(~out & (n >= _ROWS))
        if len(known) < _FEW:
            break
        axis = np.linalg.eigh(mean[known].T @ mean[known])[1][:, -1]
        along = mean[known] @ axis
        sides = [(known[side * along > least], least) for least in _ASIDE for side in (1, -1)]
        found = [(side, least) for side, least in sides if _are_a_side(total[side], mean[side], n[side])]
        if not found:
            break
        for side, least in found:
            middle = mean[side].mean(0)
            out |= mean @ (middle / np.linalg.norm(middle)) > least
            out[side] = True
    return out


def _are_a_side(total: NDArray[np.float64], mean: NDArray[np.float64], n: NDArray[np.float64]) -> bool:
    k = len(n)
    if k < _FEW:
        return False
    together = mean.sum(0)
    between = (together @ together - (mean**2).sum()) / (k * (k - 1))
    return bool(between >= max(_TOGETHER, _ALIKE * float(np.median(bias(total, n)))))
