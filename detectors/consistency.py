"""The same input, another answer: repeats of a row are compared with what was answered to it first, in bounded memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from detectors.arrays import plain
from detectors.state import StateError

__all__ = ["KINDS", "AnswerMemory", "answers_of", "count_tenths"]

KINDS = ("class", "score")
"""What of an answer is compared."""
_BUCKETS = 1024
_EVERY = 4
"""Of the rows one in four is followed, by its hash."""
SCORE_MOVES, VALUE_MOVES = 0.02, 0.01
"""A probability differs from 0.02 on; a number that is predicted, from one percent on."""
_LAYOUT: dict[str, Any] = {"rows": np.uint64, "label": np.int32, "score": np.float32, "window": np.int64}


@njit(cache=True)
def _compare(
    codes: Any, usable: Any, label: Any, score: Any, floor: float, moves: float, window: int, rows: Any, labels: Any, scores: Any,
    windows: Any, counts: Any,
) -> None:  # fmt: skip
    for i in range(len(codes)):
        h = codes[i]
        if (h >> np.uint64(40)) & np.uint64(_EVERY - 1) or not usable[i] or h == 0 or (label[i] < 0 and not abs(score[i]) < np.inf):
            continue
        b = np.int64(h & np.uint64(_BUCKETS - 1))
        way = 0 if rows[b, 0] == h else 1 if rows[b, 1] == h else -1
        if way < 0:
            rows[b, 0], labels[b, 0], scores[b, 0], windows[b, 0] = h, label[i], score[i], window
            continue
        if windows[b, way] != window:
            windows[b, way] = window
            if label[i] >= 0 and labels[b, way] >= 0:
                counts[0, 0] += 1
                counts[0, 1] += label[i] != labels[b, way]
            a, z = np.float64(score[i]), np.float64(scores[b, way])
            if abs(a) < np.inf and abs(z) < np.inf:
                other = label[i] != labels[b, way]
                counts[1, 0] += 1
                counts[1, 1] += other or abs(a - z) > moves * max(floor, abs(a), abs(z))
        if way == 0:  # a row that comes again is kept from those that come once
            rows[b, 0], rows[b, 1] = rows[b, 1], rows[b, 0]
            labels[b, 0], labels[b, 1] = labels[b, 1], labels[b, 0]
            scores[b, 0], scores[b, 1] = scores[b, 1], scores[b, 0]
            windows[b, 0], windows[b, 1] = windows[b, 1], windows[b, 0]


class AnswerMemory:
    """What was answered first to 2,048 rows of a model version on a partition: one row in four, by hash, is followed.

    A bucket has two places: newcomers take the first, a row that came again the second, so that rows asked once do not push out those
    asked often. A row is compared once a window, however often it is asked: nobody can outvote the others with one row. It is compared
    with the *first* answer that is remembered, so a change for good is seen in every window until other rows have taken the places.

    Misleads: a model that answers by more than the row (the hour, the account, chance) differs by itself: how often is for the judge to
    learn. A row of which something was lost on the way (an unseen category, a value of the wrong type, a feature the reference does not
    know) is not compared: two different ones would look the same.

    Memory: 48 KB. Cost: 5 ns an event.

    Example:
        >>> memory, codes = AnswerMemory(), np.arange(4, dtype=np.uint64) + np.uint64(1)
        >>> yes, sure = np.ones(4, bool), np.full(4, 0.9, np.float32)
        >>> memory.update(codes, yes, np.zeros(4, np.int32), sure, window=0).tolist()
        [[0, 0], [0, 0]]
        >>> memory.update(codes, yes, np.array([0, 0, 1, 0], np.int32), sure, window=1).tolist()
        [[4, 1], [4, 1]]
    """

    def __init__(self) -> None:
        self._arrays: dict[str, NDArray[Any]] = {name: np.zeros((_BUCKETS, 2), dtype) for name, dtype in _LAYOUT.items()}

    def update(
        self, codes: NDArray[np.uint64], usable: NDArray[np.bool_], label: NDArray[np.int32], score: NDArray[np.float32], *,
        window: int, value: bool = False,
    ) -> NDArray[np.int64]:  # fmt: skip
        """Compares and remembers a batch of one window, in order; how it is cut changes nothing.

        Args:
            codes: (n,) keyed hashes of the rows.
            usable: (n,) which rows are to be looked at.
            label: (n,) class of the answer, negative for none.
            score: (n,) its probability, or the number that was predicted; NaN for none.
            window: which one it is.
            value: the scores are numbers that were predicted.

        Returns:
            (2, 2), by `KINDS`: how many rows were compared, and how many of them were answered otherwise.
        """
        counts = np.zeros((2, 2), np.int64)
        floor, moves = (0.0, VALUE_MOVES) if value else (1.0, SCORE_MOVES)
        rows, labels, scores, windows = self._arrays.values()
        _compare(
            plain(codes), plain(usable), plain(label), plain(score), floor, moves, window, rows, labels, scores, windows, counts
        )  # fmt: skip
        return counts

    def dump(self) -> dict[str, NDArray[Any]]:
        """For a snapshot."""
        return {name: array.copy() for name, array in self._arrays.items()}

    def load(self, body: Mapping[str, Any]) -> None:
        """From a snapshot.

        Raises:
            StateError: it is none of such a memory.
        """
        for name, array in self._arrays.items():
            saved = body.get(name)
            if not isinstance(saved, np.ndarray) or saved.dtype != array.dtype or saved.shape != array.shape:
                raise StateError(f"answers' memory: {name} is no {array.dtype} {array.shape}")
            array[:] = saved


def answers_of(scores: NDArray[np.float32], label: NDArray[np.int32], value: NDArray[np.float64] | None) -> NDArray[np.float32]:
    """The one number that is compared, shape (n,): what was predicted, else the probability of the answered class, else NaN.

    Args:
        scores: (n, classes), or (n, 0) for none.
        label: (n,) answered class, negative for none.
        value: (n,) predicted number, None for none.
    """
    if value is not None:
        with np.errstate(over="ignore"):
            return np.asarray(value, np.float32)
    told = np.full(len(label), np.nan, np.float32)
    if scores.shape[1]:
        _pick(plain(scores), plain(label), told)
    return told


@njit(cache=True)
def _pick(scores: Any, label: Any, out: Any) -> None:
    for i in range(len(label)):
        k = label[i] if scores.shape[1] > 1 else 0
        if 0 <= k < scores.shape[1]:
            out[i] = scores[i, k]


@njit(cache=True)
def count_tenths(told: Any, out: Any) -> None:
    """Adds answers' probabilities (n,) to counts (10,) by tenths; what is no probability is left out."""
    for i in range(len(told)):
        if 0 <= told[i] <= 1:
            out[min(np.int64(told[i] * np.float32(10)), 9)] += 1
