"""A model that nobody published a reference for gets one from its first events: good for tickets, and it says so."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np

from inferwatch import EventColumns, Strings
from schemas.reference import Feature, Reference
from streams.align import Aligner
from streams.build import BuildError, Rows, build

_MAX_BYTES = 8_000_000
_MAX_CATEGORIES = 200


class Provisional:
    """Gathers the first events of a model on one partition.

    The first batch with features fixes the schema; batches of another schema are passed over.

    Args:
        rows: how many make a reference.
    """

    def __init__(self, rows: int) -> None:
        self._rows = rows
        self._schema: tuple[Any, ...] | None = None
        self._numeric: list[list[float]] = []
        self._text: list[list[str | None]] = []
        self._scores: list[list[float]] = []
        self._latency: list[float] = []

    @property
    def full(self) -> bool:
        """Whether there are enough rows."""
        return len(self._numeric) >= self._rows

    def add(self, events: EventColumns) -> None:
        """Takes what is missing from a batch."""
        width = events.numeric.shape[1]
        if self.full or width + len(events.category_names) == 0 or "" in (*events.names, *events.category_names):
            return  # a nameless feature has no place in a reference
        scores = events.scores
        schema = (events.names, width, events.category_names, events.score_names, 0 if scores is None else scores.shape[1])
        if self._schema is None:
            self._schema = schema
            self._rows = max(min(self._rows, _MAX_BYTES // (8 * (width + len(events.category_names)))), 50)
        if schema != self._schema:
            return
        rows = np.flatnonzero(events.status == 0)[: self._rows - len(self._numeric)]
        self._numeric += events.numeric[rows].tolist()
        if events.category_names:
            self._text += [[column[i] for column in events.categories] for i in rows.tolist()]
        if scores is not None:
            self._scores += scores[rows].tolist()
        self._latency += events.latency_ms[rows].tolist()

    def build(self, model: str, version: str) -> Reference | None:
        """The reference of the rows so far; None when they make none, and the gathering starts again."""
        if self._schema is None:
            return None
        names, width, category_names, score_names, n_scores = self._schema
        numeric = np.array(self._numeric, np.float32)
        numeric[~np.isfinite(numeric)] = np.nan
        features = [Feature(name=name) for name in (names or [str(j) for j in range(width)])]
        columns = [numeric]
        for j, name in enumerate(category_names):
            values = [row[j] for row in self._text]
            known = sorted({v for v in values if v is not None})[:_MAX_CATEGORIES]
            if not known:
                continue
            features.append(Feature(name=name, kind="categorical", categories=tuple(known)))
            aligned = Aligner((features[-1],), ()).align(_one_column(name, values))
            columns.append(aligned.X)
        classes = tuple(score_names) or tuple(str(k) for k in range(n_scores))
        scores = np.array(self._scores, np.float32) if n_scores else None
        rows = Rows(
            features=tuple(features),
            X=np.concatenate(columns, axis=1),
            scores=scores,
            classes=classes,
            latency_ms=np.array(self._latency, np.float64),
        )
        self._numeric, self._text, self._scores, self._latency, self._schema = [], [], [], [], None
        try:
            return build(model, version, rows, built_at_ns=0, source="provisional").reference
        except (BuildError, ValueError):
            return None

    def snapshot(self) -> bytes:
        """The rows so far."""
        return msgspec.msgpack.encode([self._rows, self._schema, self._numeric, self._text, self._scores, self._latency])

    @classmethod
    def restore(cls, blob: bytes) -> Provisional:
        """From `snapshot`."""
        rows, schema, numeric, text, scores, *latency = msgspec.msgpack.decode(blob)  # of before there was latency: none
        one = cls(rows)
        if schema is not None:
            names, width, category_names, score_names, n_scores = schema
            one._schema = (tuple(names), width, tuple(category_names), tuple(score_names), n_scores)
        one._numeric, one._text, one._scores = numeric, text, scores
        one._latency = latency[0] if latency else [float("nan")] * len(numeric)
        return one


def _one_column(name: str, values: list[str | None]) -> EventColumns:
    n = len(values)
    return EventColumns(
        model="-",
        version="-",
        service="",
        instance="",
        client=Strings.of([""] * n),
        at_ns=np.zeros(n, np.int64),
        number=np.full(n, -1),
        status=np.zeros(n, np.uint8),
        latency_ms=np.full(n, np.nan, np.float32),
        numeric=np.empty((n, 0), np.float32),
        category_names=(name,),
        categories=(Strings.of(values),),
    )
