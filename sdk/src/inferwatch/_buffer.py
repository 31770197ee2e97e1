"""Events of one partition and one shape, until they fill a record."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from msgspec.structs import astuple, replace

from inferwatch._arguments import name_of
from inferwatch._batch import Sorted, joined
from inferwatch._columns import EventColumns
from inferwatch._item import Item, unpacked
from inferwatch._rows import columns_of

EVENT_BYTES = 140
"""Of an event without features and scores in a record, roughly: client, times, numbers, prediction, trace."""


class Shape:
    """Which features travel, and how many bytes an event of that shape has, roughly."""

    def __init__(self, names: Sequence[Any] | int | None, allow: frozenset[str] | None, redact: frozenset[str]) -> None:
        self.names: tuple[str, ...] | None = None
        self.kept: tuple[Any, ...] | None = None
        """Keys to pick, when not all of them travel."""
        self.categorical: set[str] = set()
        """Names that have been text: they stay categories in a record where all of them are missing, too."""
        width = 0
        if isinstance(names, int):
            width = names
        elif names is not None:
            kept: dict[str, Any] = {}
            for name in names:
                if str(name) not in redact and (allow is None or str(name) in allow):
                    kept.setdefault(name_of(name), name)  # of two keys of one name the first counts
            self.names = tuple(kept)
            self.kept = tuple(kept.values()) if len(kept) < len(names) else None
            width = len(kept)
        self.width = width
        self.bytes = EVENT_BYTES + 6 * width

    def values(self, features: Any) -> Sequence[Any]:
        """The features that travel."""
        if features is None:
            return ()
        if type(features) is not dict:
            return features  # type: ignore[no-any-return]  # a tuple or an array
        return tuple(features.values()) if self.kept is None else [features[name] for name in self.kept]


class RowBuffer:
    """Single events of one model version."""

    def __init__(
        self,
        model: str,
        version: str,
        shape: Shape,
        score_names: tuple[str, ...] | int | None,
        born: float,
        max_rows: int = 1,
        max_bytes: int = 1,
    ) -> None:
        self.model, self.version, self.shape, self.score_names, self.born = model, version, shape, score_names, born
        self.held: list[Item] = []
        """With pseudonyms in place of clients."""
        width = 0 if score_names is None else score_names if isinstance(score_names, int) else len(score_names)
        self.full_at = max(1, min(max_rows, max_bytes // (shape.bytes + 4 * width)))
        """Events at which it is to be packed."""

    @property
    def rows(self) -> int:
        """Events held."""
        return len(self.held)

    def columns(self, service: str, instance: str) -> EventColumns:
        """All that was added, checked."""
        (
            _, _, client, number, features, scores, at_ns, status, latency_ms, value, prediction, event_id, trace_id, owner, source, cost,
            lineage,
        ) = zip(*map(astuple, self.held), strict=True)  # fmt: skip
        views = ages = lineage
        if lineage.count(None) < len(lineage):
            views, ages = zip(*(one or (None, None) for one in lineage), strict=True)
        columns = columns_of(
            model=self.model,
            version=self.version,
            service=service,
            instance=instance,
            names=self.shape.names,
            features=[self.shape.values(one) for one in features],
            score_names=self.score_names if isinstance(self.score_names, tuple) else (),
            scores=None if self.score_names is None else [unpacked(one) for one in scores],
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
            feature_view=views,
            feature_age_s=ages,
            categorical=self.shape.categorical,
        ).check()
        self.shape.categorical.update(columns.category_names)
        return columns

    def sound(self) -> RowBuffer:
        """The rows that make sense: what is no number where one belongs becomes missing, rows that are still wrong are left out."""
        rest = RowBuffer(self.model, self.version, self.shape, self.score_names, self.born)
        for row in self.held:
            one = RowBuffer(self.model, self.version, self.shape, self.score_names, self.born)
            for candidate in (row, _softened(row, self.shape)):
                one.held = [candidate]
                try:
                    one.columns("", "")
                except (ValueError, TypeError, OverflowError):
                    continue
                rest.held.append(candidate)
                break
        return rest


def _softened(row: Item, shape: Shape) -> Item:
    named = shape.names is not None
    return replace(
        row,
        features=tuple(one if named and isinstance(one, (str, bool)) else _number(one) for one in shape.values(row.features)),
        scores=None if row.scores is None else tuple(map(_number, unpacked(row.scores))),
        at_ns=row.at_ns if isinstance(row.at_ns, int) and 0 <= row.at_ns < 2**63 else -1,
        latency_ms=_number(row.latency_ms),
        value=_number(row.value),
        cost=_number(row.cost),
        lineage=None if row.lineage is None else (row.lineage[0], _number(row.lineage[1])),
    )


def _number(value: Any) -> float | None:
    """As a float; an integer beyond all floats is infinite, what is no number is missing."""
    if isinstance(value, str) or value is None:
        return None
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf
    except (TypeError, ValueError):
        return None


class ColumnBuffer:
    """Stretches of batches of one shape."""

    def __init__(self, born: float) -> None:
        self.born = born
        self.rows = 0
        self.bytes = 0
        self._parts: list[tuple[Sorted, int, int]] = []

    def add(self, whole: Sorted, start: int, end: int) -> None:
        """Appends rows of a batch."""
        self._parts.append((whole, start, end))
        self.rows += end - start
        width = whole.numbers["numeric"].shape[1] + (whole.numbers["scores"].shape[1] if "scores" in whole.numbers else 0)
        self.bytes += (end - start) * (EVENT_BYTES + 4 * width + 12 * len(whole.categories))

    def columns(self, service: str, instance: str) -> EventColumns:
        """All that was added, checked."""
        return joined(self._parts, service, instance).check()


Buffer = RowBuffer | ColumnBuffer
