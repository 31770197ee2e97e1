"""From what a producer sent to the columns that the reference knows: names to positions, categories to codes, and what was wrong.

Nothing is rejected here but a row of the wrong width: a value that makes no sense becomes missing and is counted, so one broken feature
does not hide the others.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detectors.arrays import plain
from inferwatch import EventColumns, Strings
from schemas.reference import Feature
from streams.kernels import odd_rows, top_classes

_Faults = dict[str, NDArray[np.bool_]]
_LOSSES = ("unseen_category", "wrong_type", "unknown_feature", "non_finite")
_PLANS = 256
"""Distinct sets of feature names remembered; a producer who makes up names can't fill the memory."""


class WidthError(ValueError):
    """Features by position, but not as many as the reference has."""


@dataclass(frozen=True, slots=True)
class Aligned:
    """Columns in the reference's order.

    Attributes:
        X: (n, d) float32; categorical columns hold codes, the number of known categories stands for an unseen one; NaN is missing.
        scores: (n, c) float32, or (n, 0) when there are none.
        label: (n,) int32 class index of the answer; -1 when unknown.
        anomalies: events by kind of fault; an event may have several.
        faults: the same, (n,) bool by kind, of those kinds that are an event's own.
    """

    X: NDArray[np.float32]
    scores: NDArray[np.float32]
    label: NDArray[np.int32]
    anomalies: Counter[str] = field(default_factory=Counter)
    faults: _Faults = field(default_factory=dict)

    @property
    def blurred(self) -> NDArray[np.bool_] | None:
        """(n,) rows that lost something on the way, so that two different ones may look the same; None when none has."""
        lost = [self.faults[kind] for kind in _LOSSES if kind in self.faults]
        return np.logical_or.reduce(lost) if lost else None


@dataclass(frozen=True, slots=True)
class _Plan:
    """Where the columns of a set of names go."""

    numeric_from: NDArray[np.intp]
    numeric_to: NDArray[np.intp]
    whole: bool
    """The numeric columns are the reference's, in its order: no copy needed."""
    numeric_to_codes: tuple[tuple[int, int], ...]
    text_to_codes: tuple[tuple[int, int], ...]
    text_to_numbers: tuple[tuple[int, int], ...]
    unknown: int


class Aligner:
    """Aligns batches of one model version to its reference's schema.

    Args:
        features: the reference's columns, in order; none without a reference, then nothing is aligned or at fault.
        classes: the reference's classes, in the order of its scores; empty for a regression.
    """

    def __init__(self, features: Sequence[Feature], classes: Sequence[str]) -> None:
        self.features = tuple(features)
        self.classes = tuple(classes)
        self._position = {feature.name: j for j, feature in enumerate(features)}
        self._codes = {j: {c: k for k, c in enumerate(f.categories)} for j, f in enumerate(features) if f.kind == "categorical"}
        self._class = {name: k for k, name in enumerate(classes)}
        self._low = np.array([-np.inf if f.low is None else f.low for f in features], np.float32)
        self._high = np.array([np.inf if f.high is None else f.high for f in features], np.float32)
        for j in self._codes:
            self._low[j], self._high[j] = -np.inf, np.inf
        self._plans: dict[tuple[tuple[str, ...], tuple[str, ...]], _Plan] = {}

    def align(self, events: EventColumns) -> Aligned:
        """The events in the reference's columns.

        Raises:
            WidthError: features by position of another width than the reference's.
        """
        n, d = len(events), len(self.features)
        if not d:
            return Aligned(np.empty((n, 0), np.float32), np.empty((n, 0), np.float32), np.full(n, -1, np.int32))
        faults: _Faults = {}
        if not events.names and events.numeric.shape[1]:
            if events.numeric.shape[1] != d or events.category_names:
                raise WidthError(f"{events.numeric.shape[1]} features by position; the reference of {events.model} has {d}")
            X = events.numeric
        else:
            X = self._by_name(events, faults)
        X = plain(X)
        odd = odd_rows(X, self._low, self._high)
        if odd.any():
            _mark(faults, "missing", (odd & 1 > 0) & (events.status == 0))
            _mark(faults, "non_finite", odd & 2 > 0)
            _mark(faults, "out_of_bounds", odd & 4 > 0)
            if (odd & 2).any():
                X = np.where(np.isinf(X), np.float32(np.nan), X)
        faults = {kind: rows for kind, rows in faults.items() if rows.any()}
        anomalies = Counter({kind: int(rows.sum()) for kind, rows in faults.items()})
        scores = self._scores(events, anomalies)
        return Aligned(X, scores, self._label(events, scores, anomalies), anomalies, faults)

    def _by_name(self, events: EventColumns, faults: _Faults) -> NDArray[np.float32]:
        n = len(events)
        plan = self._plan(events)
        if plan.unknown:
            faults["unknown_feature"] = np.ones(n, bool)
        if plan.whole:
            return events.numeric
        X = np.full((n, len(self.features)), np.nan, np.float32)
        X[:, plan.numeric_to] = events.numeric[:, plan.numeric_from]
        for source, j in plan.text_to_codes:
            X[:, j] = self._text_codes(events.categories[source], j, faults)
        for source, j in plan.numeric_to_codes:
            X[:, j] = self._number_codes(events.numeric[:, source], j, faults)
        for source, j in plan.text_to_numbers:
            X[:, j] = _numbers(events.categories[source], faults)
        return X

    def _plan(self, events: EventColumns) -> _Plan:
        key = (events.names, events.category_names)
        plan = self._plans.get(key)
        if plan is None:
            numeric = [(k, self._position[name]) for k, name in enumerate(events.names) if name in self._position]
            text = [(k, self._position[name]) for k, name in enumerate(events.category_names) if name in self._position]
            plain = [(k, j) for k, j in numeric if j not in self._codes]
            plan = _Plan(
                numeric_from=np.array([k for k, _ in plain], np.intp),
                numeric_to=np.array([j for _, j in plain], np.intp),
                whole=not text and [j for _, j in plain] == list(range(len(self.features))) and len(plain) == len(events.names),
                numeric_to_codes=tuple((k, j) for k, j in numeric if j in self._codes),
                text_to_codes=tuple((k, j) for k, j in text if j in self._codes),
                text_to_numbers=tuple((k, j) for k, j in text if j not in self._codes),
                unknown=len(events.names) + len(events.category_names) - len(numeric) - len(text),
            )
            if len(self._plans) >= _PLANS:
                self._plans.clear()
            self._plans[key] = plan
        return plan

    def _text_codes(self, column: Strings, j: int, faults: _Faults) -> NDArray[np.float32]:
        known = self._codes[j]
        table = np.array([known.get(value, len(known)) for value in column.values] + [np.nan], np.float32)
        codes = table[column.codes]  # -1, missing, takes the last entry
        self._count_unseen(codes, j, faults)
        return codes

    def _number_codes(self, values: NDArray[np.float32], j: int, faults: _Faults) -> NDArray[np.float32]:
        """A category that a producer sends as a number: 3 means "3"."""
        known = self._codes[j]
        distinct, inverse = np.unique(values, return_inverse=True)
        names = [str(int(v)) if np.isfinite(v) and float(v).is_integer() else str(v) for v in distinct]
        codes = np.array([known.get(name, len(known)) for name in names], np.float32)[inverse]
        codes[np.isnan(values)] = np.nan
        self._count_unseen(codes, j, faults)
        return codes

    def _count_unseen(self, codes: NDArray[np.float32], j: int, faults: _Faults) -> None:
        _mark(faults, "unseen_category", codes == len(self._codes[j]))

    def _scores(self, events: EventColumns, anomalies: Counter[str]) -> NDArray[np.float32]:
        scores, n, c = events.scores, len(events), len(self.classes)
        if scores is None or c == 0:
            return np.empty((n, 0), np.float32)
        if events.score_names and events.score_names != self.classes:
            if set(events.score_names) != set(self.classes):
                anomalies["wrong_scores"] += n
                return np.empty((n, 0), np.float32)
            scores = scores[:, [events.score_names.index(name) for name in self.classes]]
        if scores.shape[1] != c:
            anomalies["wrong_scores"] += n
            return np.empty((n, 0), np.float32)
        return plain(scores)

    def _label(self, events: EventColumns, scores: NDArray[np.float32], anomalies: Counter[str]) -> NDArray[np.int32]:
        n = len(events)
        label = np.full(n, -1, np.int32)
        if events.prediction is not None:
            table = np.array([self._class.get(value, -2) for value in events.prediction.values] + [-1], np.int32)
            label = table[events.prediction.codes]
            unknown = int(np.count_nonzero(label == -2))
            if unknown:
                if self.classes:
                    anomalies["unknown_class"] += unknown
                label = np.maximum(label, -1)
        if scores.shape[1]:
            top_classes(scores, label)
        return label


def _numbers(column: Strings, faults: _Faults) -> NDArray[np.float32]:
    """Numbers that a producer sends as text; what is none becomes missing."""
    table = np.full(len(column.values) + 1, np.nan)
    wrong = np.zeros(len(column.values) + 1, bool)
    for k, value in enumerate(column.values):
        try:
            table[k] = float(value)
        except ValueError:
            wrong[k] = True
    _mark(faults, "wrong_type", wrong[column.codes])
    with np.errstate(over="ignore"):  # beyond float32 is infinite, and counted so
        return table.astype(np.float32)[column.codes]


def _mark(faults: _Faults, kind: str, rows: Any) -> None:
    faults[kind] = faults[kind] | rows if kind in faults else rows
