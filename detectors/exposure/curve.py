"""How good a copy of the model so many answers buy: learning curves of copies, fitted on the reference's own rows.

It needs no suspicion: the rows are natural ones, such as an extraction by ordinary queries asks, which no detector can tell from use.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detectors.state import StateError, pack, reading, unpack

_KIND, _VERSION = "exposure.curve", 1
_FIRST = 16
_MIN_ROWS = 96
_TESTED = 1000
_TRAINED, _TRAINED_WIDE, _WIDE = 8192, 2048, 100
_REPEATS = 2
_RANDOM = 512
_STEPS, _STEPPED = 8, 64
_CATEGORIES = 16
_PENALTIES = (1e-3, 1e-1, 10.0)
_P_MIN = 1e-3
_CLIP = 10.0
_FURTHEST = 40
"""log2 of the answers beyond which nothing is reckoned."""


@dataclass(frozen=True)
class CopyCurve:
    """Agreement of a copy with the model, by how many distinct answers it was made from.

    Copies: the nearest answered row, and ridge regressions of the log scores on the features with 512 random rectified ones, and with 8
    steps a feature; the best one counts at each size, mean of two draws. Between sizes it is linear in ln n from the most frequent
    class's share at n = 1; beyond the last size the disagreement falls on as the power of n that its last four sizes show, which is
    reckoned, not measured. An attacker with a better learner, or rows chosen well, needs fewer answers (networks copied by scikit-learn's
    networks agreed 4 points better at 1,024, forests copied by forests 3); with labels only, more.

    Attributes:
        answers: (k,) int64 sizes, powers of two.
        agreement: (k,) float64, share of held-out rows to which copy and model give the same class; never falling.
        chance: share of the model's most frequent class.
        tested: rows on which a copy was judged; one standard error is sqrt(a (1 - a) / tested).

    Example:
        >>> rng = np.random.default_rng(0)
        >>> X = rng.normal(size=(2000, 4)).astype(np.float32)
        >>> p = 1 / (1 + np.exp(-3 * X[:, 0] * X[:, 1]))
        >>> curve = CopyCurve.fit(X, np.c_[1 - p, p])
        >>> curve.at(np.array([1, 1024])).round(1).tolist(), bool(curve.needed(0.9) < curve.needed(0.95) < 1024)
        ([0.5, 1.0], True)
    """

    answers: NDArray[np.int64]
    agreement: NDArray[np.float64]
    chance: float
    tested: int

    @classmethod
    def fit(cls, X: NDArray[Any], scores: NDArray[Any], *, categorical: Sequence[int] = (), seed: int = 0) -> CopyCurve:
        """Copies the model from the reference's rows; a second or two for 4,000 rows.

        Args:
            X: (n, d) rows as the service sees them; NaN is missing. Rows that occur twice are taken once.
            scores: (n, classes) what the model answers to them.
            categorical: columns that hold codes.
            seed: of the draws.

        Raises:
            ValueError: fewer than 96 distinct rows with answers, or one class in all of them.
        """
        good = np.isfinite(scores).all(1) if scores.ndim == 2 and scores.shape[1] > 1 else np.zeros(len(X), bool)
        _, first = np.unique(np.nan_to_num(X[good], nan=1e30), axis=0, return_index=True)
        rows = np.flatnonzero(good)[np.sort(first)]
        if len(rows) < _MIN_ROWS:
            raise ValueError(f"{len(rows)} distinct rows with scores, at least {_MIN_ROWS} are needed")
        rng = np.random.default_rng(seed)
        label = scores[rows].argmax(1)
        chance = float(np.bincount(label).max() / len(label))
        if chance == 1.0:
            raise ValueError("the model gives one class to all rows")
        log_scores = np.log(np.clip(scores[rows].astype(np.float64), _P_MIN, 1.0))
        log_scores -= log_scores.mean(1, keepdims=True)
        views = list(_views(X[rows].astype(np.float64), categorical, rng))
        tested = min(_TESTED, len(rows) * 3 // 10)
        most = min(_TRAINED if X.shape[1] <= _WIDE else _TRAINED_WIDE, len(rows) - tested)
        sizes = 2 ** np.arange(int(np.log2(_FIRST)), int(np.log2(most)) + 1)
        total = np.zeros((len(sizes), 1 + len(views)))
        for _ in range(_REPEATS):
            order = rng.permutation(len(rows))
            test, train = order[:tested], order[tested:]
            total[:, 0] += _nearest(views[0], label, train, test, sizes)
            for v, view in enumerate(views):
                total[:, 1 + v] += _ridge(view, log_scores, label, train, test, sizes)
        best = (total / _REPEATS).max(1)
        return cls(sizes.astype(np.int64), np.maximum.accumulate(np.maximum(best, chance)), chance, tested)

    @property
    def measured_to(self) -> int:
        """The largest size that was tried."""
        return int(self.answers[-1])

    def at(self, answers: NDArray[Any]) -> NDArray[np.float64]:
        """Agreement of the copy that so many distinct answers buy, in [0, 1]."""
        n = np.maximum(np.asarray(answers, np.float64), 1.0)
        inside = np.interp(np.log2(n), np.r_[0.0, np.log2(self.answers)], np.r_[self.chance, self.agreement])
        last = float(self.answers[-1])
        wrong = (1 - self.agreement) + 0.5 / self.tested
        beyond = 1 - wrong[-1] * (np.maximum(n, last) / last) ** -self._power(wrong)
        out: NDArray[np.float64] = np.where(n <= last, inside, np.maximum(beyond, self.agreement[-1]))
        return out

    def _power(self, wrong: NDArray[np.float64]) -> float:
        if len(wrong) < 3:
            return 0.0
        tail = slice(-4, None)
        return float(max(0.0, -np.polyfit(np.log(self.answers[tail]), np.log(wrong[tail]), 1)[0]))

    def needed(self, agreement: float) -> float:
        """Distinct answers from which a copy agrees on such a share of the rows; infinite when 2^40 are not enough."""
        grid = np.linspace(0, _FURTHEST, 64 * _FURTHEST + 1)
        there = np.flatnonzero(self.at(2.0**grid) >= agreement)
        return float(np.ceil(2.0 ** grid[there[0]])) if len(there) else float("inf")

    def to_bytes(self) -> bytes:
        """The curve as bytes, without any row."""
        body = {"answers": self.answers, "agreement": self.agreement, "chance": self.chance, "tested": self.tested}
        return pack(_KIND, _VERSION, body)

    @classmethod
    @reading(_KIND)
    def from_bytes(cls, blob: bytes) -> CopyCurve:
        """The curve of `to_bytes`.

        Raises:
            StateError: when the bytes are no curve.
        """
        body = unpack(blob, _KIND, _VERSION)
        answers: Any = body.get("answers")
        agreement: Any = body.get("agreement")
        chance: Any = body.get("chance")
        tested: Any = body.get("tested")
        sound = (
            isinstance(answers, np.ndarray)
            and isinstance(agreement, np.ndarray)
            and isinstance(chance, float)
            and isinstance(tested, int)
            and answers.ndim == 1
            and answers.shape == agreement.shape
            and (answers.dtype, agreement.dtype) == (np.dtype(np.int64), np.dtype(np.float64))
            and 1 <= len(answers) <= _FURTHEST
            and bool(answers[0] > 1 and np.all(np.diff(answers) > 0))
            and bool(np.all(np.diff(np.r_[chance, agreement, 1.0]) >= 0))
            and chance > 0
            and tested > 0
        )
        if not sound:
            raise StateError("a copy curve lacks a field or has one that makes no sense")
        return cls(answers, agreement, chance, tested)


def _views(X: NDArray[np.float64], categorical: Sequence[int], rng: np.random.Generator) -> Iterator[NDArray[np.float64]]:
    """What copies learn from: scaled columns (codes one-hot) with random rectified ones, and, for narrow tables, with steps."""
    numeric = np.setdiff1d(np.arange(X.shape[1]), categorical)
    values = np.where(np.isfinite(X[:, numeric]), X[:, numeric], np.nan)
    values = np.where(np.isnan(values).all(0), 0.0, values)
    spread = np.nanstd(values, axis=0)
    centre = np.nanmedian(values, axis=0)
    z = np.clip(np.nan_to_num((values - centre) / np.where(spread > 0, spread, 1.0)), -_CLIP, _CLIP)
    hot = [X[:, [j]] == np.unique(X[np.isfinite(X[:, j]), j])[:_CATEGORIES] for j in categorical]
    base = np.concatenate([z, *hot], axis=1).astype(np.float64)
    one = np.ones((len(X), 1))
    turned = base @ (rng.normal(size=(base.shape[1], _RANDOM)) / np.sqrt(max(1, base.shape[1]))) + rng.normal(size=_RANDOM)
    yield np.concatenate([base, np.maximum(turned, 0), one], axis=1)
    if 0 < z.shape[1] <= _STEPPED:
        at = np.quantile(z, np.arange(1, _STEPS + 1) / (_STEPS + 1), axis=0)
        yield np.concatenate([base, (z[:, None, :] > at).reshape(len(z), -1), one], axis=1)


def _nearest(F: NDArray[Any], label: NDArray[Any], train: NDArray[Any], test: NDArray[Any], sizes: NDArray[Any]) -> NDArray[np.float64]:
    """Agreement of the nearest answered row's class, of the first ``sizes`` of ``train``."""
    columns = F[:, : F.shape[1] - _RANDOM - 1].astype(np.float32)
    T, square = columns[test], (columns**2).sum(1)
    closest, which = np.full(len(test), np.inf, np.float32), np.zeros(len(test), np.int64)
    out, done = [], 0
    for n in sizes.tolist():
        new = train[done:n]
        apart = square[new] - 2 * T @ columns[new].T
        least = apart.argmin(1)
        nearer = apart[np.arange(len(test)), least] < closest
        which[nearer], closest[nearer] = new[least[nearer]], apart[nearer, least[nearer]]
        out.append(np.mean(label[which] == label[test]))
        done = n
    return np.array(out)


def _ridge(
    F: NDArray[np.float64], Y: NDArray[np.float64], label: NDArray[Any], train: NDArray[Any], test: NDArray[Any], sizes: NDArray[Any]
) -> NDArray[np.float64]:
    """Agreement of ridge regressions of the log scores, the best penalty at each size."""
    T = F[test]
    gram, cross = np.zeros((F.shape[1], F.shape[1])), np.zeros((F.shape[1], Y.shape[1]))
    out, done = [], 0
    for n in sizes.tolist():
        new = train[done:n]
        gram += F[new].T @ F[new]
        cross += F[new].T @ Y[new]
        done = n
        weights = (np.linalg.solve(gram + penalty * np.eye(len(gram)), cross) for penalty in _PENALTIES)
        out.append(max(float(np.mean((T @ W).argmax(1) == label[test])) for W in weights))
    return np.array(out)
