"""Events of one partition and one shape, until they fill a record."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from inferwatch._columns import EventColumns, Strings
from inferwatch._rows import columns_of

EVENT_BYTES = 140
"""Of an event without features and scores in a record, roughly: client, times, numbers, prediction, trace."""


class Shape:
    """Which features travel, and how many bytes an event of that shape has, roughly."""

    def __init__(self, names: Sequence[Any] | int | None, allow: frozenset[str] | None, redact: frozenset[str]) -> None:
        self.names: tuple[str, ...] | None = None
        self.kept: tuple[Any, ...] | None = None
        """Keys to pick, when not all of them travel."""
        width = 0
        if isinstance(names, int):
            width = names
        elif names is not None:
            kept = tuple(name for name in names if str(name) not in redact and (allow is None or str(name) in allow))
            self.names = tuple(str(name)[:256] for name in kept)
            self.kept = kept if len(kept) < len(names) else None
            width = len(kept)
        self.width = width
        self.bytes = EVENT_BYTES + 6 * width

    def values(self, features: Any) -> Sequence[Any]:
        """The features that travel."""
        if features is None:
            return ()
        if self.names is None:
            return features  # type: ignore[no-any-return]  # a tuple or an array
        return tuple(features.values()) if self.kept is None else [features[name] for name in self.kept]


class RowBuffer:
    """Single events of one model version."""

    def __init__(self, model: str, version: str, shape: Shape, score_names: tuple[str, ...] | int | None, born: float) -> None:
        self.model, self.version, self.shape, self.score_names, self.born = model, version, shape, score_names, born
        self.held: list[tuple[Any, ...]] = []
        """(client, at, number, status, latency, features, scores, value, prediction, event id, trace, owner, source, cost)."""
        width = 0 if score_names is None else score_names if isinstance(score_names, int) else len(score_names)
        self._row_bytes = shape.bytes + 4 * width

    @property
    def rows(self) -> int:
        """Events held."""
        return len(self.held)

    @property
    def bytes(self) -> int:
        """Of the record, roughly."""
        return len(self.held) * self._row_bytes

    def columns(self, service: str, instance: str) -> EventColumns:
        """All that was added, checked."""
        client, at_ns, number, status, latency_ms, features, scores, value, prediction, event_id, trace_id, owner, source, cost = zip(
            *self.held, strict=True
        )
        return columns_of(
            model=self.model,
            version=self.version,
            service=service,
            instance=instance,
            names=self.shape.names,
            features=features,
            score_names=self.score_names if isinstance(self.score_names, tuple) else (),
            scores=None if self.score_names is None else scores,
            client=client,
            at_ns=at_ns,
            number=number,
            status=status,
            latency_ms=latency_ms,
            value=value,
            prediction=prediction,
            event_id=event_id,
            trace_id=trace_id,
            owner=owner,
            source=source,
            cost=cost,
        ).check()

    def sound(self) -> RowBuffer:
        """Without the rows that make `columns` fail."""
        rest = RowBuffer(self.model, self.version, self.shape, self.score_names, self.born)
        for row in self.held:
            one = RowBuffer(self.model, self.version, self.shape, self.score_names, self.born)
            one.held = [row]
            try:
                one.columns("", "")
            except (ValueError, TypeError, OverflowError):
                continue
            rest.held.append(row)
        return rest


class ColumnBuffer:
    """Slices of batches that agree in their names and in which columns they have."""

    def __init__(self, born: float) -> None:
        self.born = born
        self.rows = 0
        self.bytes = 0
        self._parts: list[EventColumns] = []

    def add(self, part: EventColumns) -> None:
        """Appends a slice."""
        self._parts.append(part)
        self.rows += len(part)
        width = part.numeric.shape[1] + (0 if part.scores is None else part.scores.shape[1])
        self.bytes += len(part) * (EVENT_BYTES + 4 * width + 12 * len(part.categories))

    def columns(self, service: str, instance: str) -> EventColumns:
        """All that was added, checked."""
        return _joined(self._parts, service, instance).check()


Buffer = RowBuffer | ColumnBuffer


def _joined(parts: Sequence[EventColumns], service: str, instance: str) -> EventColumns:
    first = parts[0]

    def arrays(name: str) -> Any:
        columns = [getattr(part, name) for part in parts]
        return None if columns[0] is None else np.concatenate(columns)

    def strings(name: str) -> Any:
        columns = [getattr(part, name) for part in parts]
        return None if columns[0] is None else _joined_strings(columns)

    return EventColumns(
        model=first.model,
        version=first.version,
        service=service,
        instance=instance,
        names=first.names,
        category_names=first.category_names,
        score_names=first.score_names,
        categories=tuple(_joined_strings([part.categories[i] for part in parts]) for i in range(len(first.categories))),
        **{name: arrays(name) for name in ("at_ns", "number", "status", "latency_ms", "numeric", "scores", "value", "cost")},
        **{name: strings(name) for name in ("client", "prediction", "event_id", "trace_id", "owner", "source")},
    )


def _joined_strings(columns: Sequence[Strings]) -> Strings:
    """One dictionary for all; work by distinct value, not by row."""
    if len(columns) == 1:
        return columns[0].compact()
    index: dict[str, int] = {}
    codes = []
    for column in columns:
        small = column.compact()
        place = np.array([*(index.setdefault(value, len(index)) for value in small.values), -1], np.int32)
        codes.append(place[small.codes])  # code -1 reads the last place, which is -1
    return Strings(list(index), np.concatenate(codes))
