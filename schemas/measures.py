"""Measures of answers with delayed labels, from counts that add up: areas under the ROC curve with their error, F1.

Scores are counted by label in bins of their logit: `SCORE_BINS` of a quarter each, so that rare classes, whose probabilities are all near
0, are told apart as well. Two rows in one bin count as a tie, a half; so of P positive and N negative rows with p_b and n_b in bin b

    AUC = sum_b p_b (n_0 + ... + n_(b-1) + n_b / 2) / (P N),   and the exact one is within   sum_b p_b n_b / (2 P N)   of it.

A code is a whole number that says what is counted. Of scores: (2 k + 1) SCORE_BINS + bin for rows whose truth is class k, 2 k SCORE_BINS +
bin for the others, where bin is that of class k's probability; of two classes only k = 1 is counted, the other says the same. Of answers:
truth x classes + answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from schemas.outcomes import MAX_SCORES, P_NONE, P_ONE

__all__ = ["SCORE_BINS", "answer_codes", "auc", "f1", "score_codes"]

_LOGIT, _STEP = 11.0, 0.25
_EDGES = np.arange(-_LOGIT, _LOGIT + _STEP / 2, _STEP)
SCORE_BINS = len(_EDGES) + 1
with np.errstate(divide="ignore"):
    _P = np.arange(P_ONE + 1) / P_ONE
    _BIN = np.searchsorted(_EDGES, np.log(_P) - np.log1p(-_P), side="right")
"""The bin of each of the 65,535 probabilities that travel."""


def answer_codes(truth: NDArray[Any], answer: NDArray[Any], classes: int) -> NDArray[np.int64]:
    """(n,) truth x classes + answer."""
    return np.asarray(truth, np.int64) * classes + np.asarray(answer, np.int64)


def score_codes(truth: NDArray[Any], scores: NDArray[np.uint16], classes: int) -> tuple[NDArray[np.intp], NDArray[np.int64]]:
    """Rows, and the codes of their scores: one a row of two classes, one a class of more; none where not every class's probability came.

    Args:
        truth: (n,) true class.
        scores: (n, classes) as in `schemas.outcomes`.
        classes: how many there are, at most `MAX_SCORES`.
    """
    if scores.shape[1] != classes or not 2 <= classes <= MAX_SCORES:
        return np.empty(0, np.intp), np.empty(0, np.int64)
    given = np.flatnonzero((scores != P_NONE).all(1))
    first = 1 if classes == 2 else 0
    of = np.arange(first, classes)
    codes = (2 * of + (truth[given, None] == of)) * SCORE_BINS + _BIN[scores[given, first:]]
    return np.repeat(given, len(of)), codes.ravel().astype(np.int64)


def auc(counts: Mapping[int, int]) -> tuple[float, float] | None:
    """The area under the ROC curve, mean over the classes that have positive and negative rows, and how far the exact one is at most.

    Example:
        >>> scores = np.array([[60_000, 5_534], [50_000, 15_534], [30_000, 35_534], [5_534, 60_000]], np.uint16)
        >>> rows, codes = score_codes(np.array([0, 1, 0, 1]), scores, 2)
        >>> auc(dict(zip(codes.tolist(), [1] * 4, strict=True)))
        (0.75, 0.0)
    """
    table: dict[int, NDArray[np.int64]] = {}
    for code, n in counts.items():
        k, rest = divmod(code, 2 * SCORE_BINS)
        table.setdefault(k, np.zeros((2, SCORE_BINS), np.int64))[divmod(rest, SCORE_BINS)] += n
    found = []
    for negative, positive in table.values():
        pairs = int(positive.sum()) * int(negative.sum())
        if pairs:
            below = np.cumsum(negative) - negative
            found.append((float(positive @ (below + negative / 2)) / pairs, float(positive @ negative) / 2 / pairs))
    return (float(np.mean([a for a, _ in found])), float(np.mean([e for _, e in found]))) if found else None


def f1(counts: Mapping[int, int], classes: int) -> float | None:
    """F1 = 2 TP / (2 TP + FP + FN): of class 1 where there are two, else the mean over the classes that were true or answered.

    Example:
        >>> f1({0: 50, 1: 10, 2: 5, 3: 35}, 2)
        0.8235294117647058
    """
    table = np.zeros((classes, classes), np.int64)
    for code, n in counts.items():
        table[divmod(code, classes)] += n
    seen = table.sum(0) + table.sum(1)  # 2 TP + FP + FN
    scores = np.divide(2 * np.diag(table), seen, out=np.full(classes, np.nan), where=seen > 0)
    mine = scores[1:] if classes == 2 else scores
    return float(np.nanmean(mine)) if np.isfinite(mine).any() else None
