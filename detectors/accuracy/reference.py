"""How often the model was wrong on rows that it was not trained on, by its confidence: what delayed labels are compared with.

Source of the estimate without labels: confidence-based performance estimation (CBPE), Kivimäki et al., arXiv 2505.05295. It needs a
histogram of confidence only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaincinv

from detectors.state import StateError, pack, reading, unpack

BINS = 32
"""Of the confidence, equally wide."""
MIN_ROWS = 200
"""Labelled rows that make a reference."""
_PRIOR = 2.0
"""Rows that a bin's own claim, 1 - confidence, counts for."""
GAMMA = 0.005
"""How likely the bound of the error rate is to be wrong, once for a reference."""
_Z = 1.959963984540054
_KIND, _VERSION = "accuracy.reference", 1


@dataclass(frozen=True)
class Estimate:
    """Accuracy without labels: a 95 % interval of what labels would say, if confidence means what it meant."""

    accuracy: float
    low: float
    high: float


def bins_of(confidence: NDArray[Any]) -> NDArray[np.int64]:
    """Bin of a confidence in [0, 1]; -1 for what is none.

    Example:
        >>> bins_of(np.array([0.0, 0.5, 1.0, np.nan]))
        array([ 0, 16, 31, -1])
    """
    good = (confidence >= 0) & (confidence <= 1)
    return np.where(good, np.minimum(np.where(good, confidence, 0.0) * BINS, BINS - 1), -1).astype(np.int64)


class AccuracyReference:
    """Errors of the reference's held-out rows, in all and by confidence.

    Question: how often is an answer of this confidence wrong? e_b = (S_b + 2 (1 - c_b)) / (n_b + 2) for S_b errors among the n_b rows of a
    bin around c_b, made monotone (isotonic regression, weights n_b + 2): an empty bin says what the model claims.

    Misleads: where the relation of confidence and truth changes (concept shift), the estimate stays where it was. That the labels then
    disagree with it is a detector of its own (`AccuracyDetector`).

    Attributes:
        by_bin: e_b, shape (32,).
        variance: of the reference's e_b: e_b (1 - e_b) / (n_b + 3).

    Args:
        n: rows by bin, shape (32,).
        errors: wrong ones among them.
        unscored: rows and errors without a confidence.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> p = rng.uniform(0.5, 1, 20_000)
        >>> y = (rng.random(20_000) < p).astype(int)
        >>> reference = AccuracyReference.fit(np.c_[1 - p, p], y)
        >>> round(reference.rate, 2), round(reference.estimate(reference.n).accuracy, 2)
        (0.25, 0.75)
    """

    def __init__(self, n: NDArray[np.int64], errors: NDArray[np.int64], unscored: tuple[int, int] = (0, 0)) -> None:
        self.n, self.errors, self.unscored = n.astype(np.int64), errors.astype(np.int64), unscored
        self.rows, self.wrong = int(n.sum()) + unscored[0], int(errors.sum()) + unscored[1]
        if n.shape != (BINS,) or errors.shape != (BINS,) or n.min() < 0 or (errors < 0).any() or (errors > n).any():
            raise ValueError(f"rows and errors must be counts of {BINS} bins, no more errors than rows")
        if not 0 <= unscored[1] <= unscored[0]:
            raise ValueError(f"{unscored[1]} errors among {unscored[0]} rows")
        if self.rows < MIN_ROWS:
            raise ValueError(f"{self.rows} labelled rows that were not trained on; at least {MIN_ROWS} say how often the model is wrong")
        claim = 1.0 - (np.arange(BINS) + 0.5) / BINS
        self.by_bin = _falling((self.errors + _PRIOR * claim) / (self.n + _PRIOR), self.n + _PRIOR)
        self.variance = self.by_bin * (1 - self.by_bin) / (self.n + _PRIOR + 1)

    @classmethod
    def fit(cls, scores: NDArray[Any], y: NDArray[Any]) -> AccuracyReference:
        """From rows that were not trained on.

        Args:
            scores: (n, classes) probabilities.
            y: (n,) true class, negative where unknown.

        Raises:
            ValueError: fewer than 200 labelled rows.
        """
        known = (y >= 0) & np.isfinite(scores).all(1)
        scores, y = scores[known], y[known]
        answer = scores.argmax(1) if len(y) else np.zeros(0, np.int64)
        bins, wrong = bins_of(scores.max(1, initial=0.0)), answer != y
        scored = bins >= 0
        n = np.bincount(bins[scored], minlength=BINS)
        errors = np.bincount(bins[scored & wrong], minlength=BINS)
        return cls(n, errors, (int(np.sum(~scored)), int(np.sum(~scored & wrong))))

    @property
    def rate(self) -> float:
        """Error rate."""
        return self.wrong / self.rows

    @property
    def highest_rate(self) -> float:
        """Upper bound of the error rate: Clopper-Pearson at 99.5 %, one-sided."""
        if self.wrong == self.rows:
            return 1.0
        return float(betaincinv(self.wrong + 1.0, self.rows - self.wrong, 1.0 - GAMMA))

    def estimate(self, n: NDArray[np.int64]) -> Estimate | None:
        """Accuracy of answers whose confidences have this histogram; None for none.

        sum n_b e_b / n; variance sum n_b e_b (1 - e_b) / n^2 (of the labels) + sum (n_b / n)^2 var e_b (of the reference).
        """
        total = int(n.sum())
        if not total:
            return None
        share = n / total
        accuracy = 1.0 - float(share @ self.by_bin)
        sd = float(np.sqrt(share @ (self.by_bin * (1 - self.by_bin)) / total + share**2 @ self.variance))
        return Estimate(accuracy, max(accuracy - _Z * sd, 0.0), min(accuracy + _Z * sd, 1.0))

    def to_bytes(self) -> bytes:
        """For a reference's part."""
        return pack(_KIND, _VERSION, {"n": self.n, "errors": self.errors, "unscored": list(self.unscored)})

    @classmethod
    @reading(_KIND)
    def from_bytes(cls, blob: bytes) -> AccuracyReference:
        """From a reference's part.

        Raises:
            StateError: when it is damaged.
        """
        body = unpack(blob, _KIND, _VERSION)
        rows, wrong = body["unscored"]
        if not (isinstance(body["n"], np.ndarray) and isinstance(body["errors"], np.ndarray)):
            raise StateError(f"damaged {_KIND}: no counts")
        return cls(body["n"], body["errors"], (int(rows), int(wrong)))


def _falling(rate: NDArray[Any], weight: NDArray[Any]) -> NDArray[np.float64]:
    """Isotonic regression, falling, by pooling adjacent violators."""
    blocks: list[tuple[float, float, int]] = []
    for value, w in zip(rate.tolist(), weight.tolist(), strict=True):
        blocks.append((value, w, 1))
        while len(blocks) > 1 and blocks[-2][0] < blocks[-1][0]:
            (a, wa, ka), (b, wb, kb) = blocks[-2:]
            blocks[-2:] = [((a * wa + b * wb) / (wa + wb), wa + wb, ka + kb)]
    return np.repeat([value for value, _, _ in blocks], [k for _, _, k in blocks])
