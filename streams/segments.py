"""Which parts of a model's traffic a shard counts on their own: the values of a field that have the most of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detectors.drift import WindowCounts
from inferwatch import EventColumns
from streams.align import Aligned, Aligner
from streams.window import OpenWindow

DECAY = 0.995
"""Of a value's traffic at a window's end: half of it counts after 138 windows, so that a night does not change places."""
_TRACKED = 4
"""Times the values that are followed: others that may take their place."""
_LONGEST = 256
_MOST_VARIABLES = 400
"""Of all followed values of a field together: a detector of one variable takes 6 KB."""


def most_of(segments_most: int, variables: int) -> int:
    """Values of a field that are followed, with so many variables.

    Example:
        >>> most_of(8, 20), most_of(8, 100), most_of(8, 1_000)
        (8, 4, 1)
    """
    return max(min(segments_most, _MOST_VARIABLES // max(variables, 1)), 1)


class SegmentCounter:
    """Counts the events of the values with the most traffic, field by field.

    A value is followed at once while there is room; later it takes the place of one that has less than half of its traffic. So somebody
    who makes up values fills places for a while only, and a value with real traffic gets one.

    Args:
        fields: ``service``, ``source`` or names of categorical columns.
        most: values of a field that are followed.
    """

    def __init__(self, fields: Sequence[str], most: int) -> None:
        self.fields, self._most = tuple(fields), most
        self._traffic: dict[str, dict[str, float]] = {field: {} for field in fields}
        self._followed: dict[str, list[str]] = {field: [] for field in fields}

    def count(
        self, window: OpenWindow, events: EventColumns, aligned: Aligned, aligner: Aligner, rows: NDArray[np.intp], columns: tuple[Any, ...]
    ) -> None:
        """Count events of a window in their segments.

        Args:
            window: where they are counted.
            events: a batch.
            aligned: the same in the reference's columns.
            aligner: that made them.
            rows: of the batch, which are counted, shape (n,).
            columns: what `WindowCounts.update` takes of these rows, each None or of length n.
        """
        reference = window.drift.reference if window.drift is not None else None
        if reference is None:
            return
        for field in self.fields:
            codes, values = _column(field, events, aligned, aligner, rows)
            place = self._places(field, codes, values)
            for k in np.unique(place).tolist():
                mine: NDArray[np.bool_] | slice = place == k if (place != k).any() else slice(None)
                if k < 0:
                    window.segments_other[field] += int(np.count_nonzero(place < 0))
                    continue
                name = f"{field}={self._followed[field][k]}"
                if name not in window.segments:
                    window.segments[name] = WindowCounts(reference, together=False)
                X, *others = columns
                window.segments[name].update(X[mine], *(None if column is None else column[mine] for column in others))

    def _places(self, field: str, codes: NDArray[np.int64], values: Sequence[str]) -> NDArray[np.int64]:
        """Which followed value each event has, -1 for the others."""
        traffic, followed = self._traffic[field], self._followed[field]
        n = np.bincount(codes + 1, minlength=len(values) + 1)[1:]
        table = np.full(len(values) + 1, -1, np.int64)
        # of a batch, the values with the most events: a producer who makes up a value an event costs no more than this
        for code in np.argsort(-n, kind="stable")[: _TRACKED * self._most].tolist():
            value = values[code][:_LONGEST]
            if not n[code] or not value:
                continue
            if value not in traffic and len(traffic) >= _TRACKED * self._most:
                least = min((v for v in traffic if v not in followed), key=traffic.__getitem__)
                traffic[value] = traffic.pop(least)  # space saving: at most this much too high
            traffic[value] = traffic.get(value, 0.0) + float(n[code])
            if value not in followed and len(followed) < self._most:
                followed.append(value)
            if value in followed:
                table[code] = followed.index(value)
        return table[codes]

    def close(self) -> None:
        """A window has ended."""
        for field, traffic in self._traffic.items():
            for value in traffic:
                traffic[value] *= DECAY
            followed = self._followed[field]
            others = [value for value in traffic if value not in followed]
            if others and followed:
                first, last = max(others, key=traffic.__getitem__), min(followed, key=traffic.__getitem__)
                if traffic[last] < 0.5 * traffic[first]:
                    followed[followed.index(last)] = first

    def dump(self) -> dict[str, Any]:
        """For a snapshot."""
        return {"traffic": self._traffic, "followed": self._followed}

    def load(self, body: dict[str, Any]) -> None:
        """From a snapshot; of the fields that are followed now."""
        for field in self.fields:
            self._traffic[field] = {str(v): float(n) for v, n in body["traffic"].get(field, {}).items()}
            self._followed[field] = [str(v) for v in body["followed"].get(field, [])][: self._most]


def _column(
    field: str, events: EventColumns, aligned: Aligned, aligner: Aligner, rows: NDArray[np.intp]
) -> tuple[NDArray[np.int64], Sequence[str]]:
    """Codes of the rows and the values they mean; -1 for none."""
    if field == "service":
        return np.zeros(len(rows), np.int64), [events.service]
    if field == "source" and events.source is not None:
        return events.source.codes[rows].astype(np.int64), events.source.values
    for j, feature in enumerate(aligner.features):
        if feature.name == field and feature.kind == "categorical":
            codes = aligned.X[rows, j]
            known = (codes >= 0) & (codes < len(feature.categories))  # NaN is neither
            return np.where(known, codes, -1).astype(np.int64), feature.categories
    if field in events.category_names:
        column = events.categories[events.category_names.index(field)]
        return column.codes[rows].astype(np.int64), column.values
    return np.full(len(rows), -1, np.int64), []
