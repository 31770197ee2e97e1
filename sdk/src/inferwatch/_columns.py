"""Events as columns: the form in which they travel, are decoded and are judged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inferwatch._contract import MAX_EVENTS, MAX_FEATURES, MAX_TEXT, DecodeError


@dataclass(frozen=True, slots=True)
class Strings:
    """A dictionary-coded column of text: row i is ``values[codes[i]]``, or none where the code is -1.

    Example:
        >>> Strings.of(["a", None, "a"]).codes.tolist()
        [0, -1, 0]
    """

    values: Sequence[str]
    codes: NDArray[np.int32]

    @classmethod
    def of(cls, rows: Sequence[str | None]) -> Strings:
        """From one text (or none) a row; the first occurrence gives the order."""
        index: dict[str, int] = {}
        codes = [-1 if row is None else index.setdefault(row, len(index)) for row in rows]
        return cls(list(index), np.array(codes, np.int32))

    def __getitem__(self, row: int) -> str | None:
        code = self.codes[row]
        return None if code < 0 else self.values[code]

    def take(self, rows: NDArray[Any] | slice) -> Strings:
        """The given rows (indices, mask or slice); the dictionary is shared."""
        return Strings(self.values, self.codes[rows])

    def compact(self) -> Strings:
        """The same rows with a dictionary of only the values that occur.

        Example:
            >>> Strings(["a", "b", "c"], np.array([2, -1, 2], np.int32)).compact().values
            ['c']
        """
        used, codes = np.unique(self.codes, return_inverse=True)
        none = int(used.size > 0 and used[0] < 0)
        return Strings([self.values[code] for code in used[none:]], (codes - none).astype(np.int32))

    def check(self, what: str, n: int) -> None:
        """Raises DecodeError ``inconsistent`` unless there are n rows and every code is in the dictionary."""
        if len(self.codes) != n or (n and (int(self.codes.max()) >= len(self.values) or int(self.codes.min()) < -1)):
            raise DecodeError("inconsistent", f"{what}: {len(self.codes)} codes of a dictionary of {len(self.values)} for {n} events")
        if max(map(len, self.values), default=0) > MAX_TEXT:
            raise DecodeError("inconsistent", f"{what}: text longer than {MAX_TEXT} characters")


@dataclass(frozen=True, slots=True, kw_only=True)
class EventColumns:
    """Events of one model version from one producer, in the order in which they were sent.

    Optional columns are None where no event has one. All arrays have ``len(self)`` rows.
    """

    model: str
    version: str
    service: str
    instance: str
    client: Strings
    at_ns: NDArray[np.int64]
    """Event time, UTC ns; -1 where the producer gave none."""
    number: NDArray[np.int64]
    """The producer's running number for this model; -1 where it gave none."""
    status: NDArray[np.uint8]
    latency_ms: NDArray[np.float32]
    """NaN where not given."""
    names: tuple[str, ...] = ()
    """Names of the columns of `numeric`; empty with a non-empty `numeric`: by position, in the reference's order."""
    numeric: NDArray[np.float32]
    """(n, d); NaN is missing."""
    category_names: tuple[str, ...] = ()
    categories: tuple[Strings, ...] = ()
    score_names: tuple[str, ...] = ()
    scores: NDArray[np.float32] | None = None
    """(n, c) class probabilities; NaN rows where an event has none."""
    value: NDArray[np.float64] | None = None
    prediction: Strings | None = None
    event_id: Strings | None = None
    trace_id: Strings | None = None
    owner: Strings | None = None
    source: Strings | None = None
    cost: NDArray[np.float32] | None = None
    feature_view: Strings | None = None
    feature_age_s: NDArray[np.float32] | None = None
    """Seconds; NaN where not given."""

    def __len__(self) -> int:
        return len(self.at_ns)

    def take(self, rows: NDArray[Any] | slice) -> EventColumns:
        """The given rows (indices, mask or slice); names and dictionaries are shared."""
        changes: dict[str, Any] = {
            field.name: column[rows] if isinstance(column, np.ndarray) else column.take(rows)
            for field in fields(self)
            if isinstance(column := getattr(self, field.name), (np.ndarray, Strings))
        }
        return replace(self, **changes, categories=tuple(column.take(rows) for column in self.categories))

    def compact(self) -> EventColumns:
        """The same rows with dictionaries of only the values that occur."""
        changes: dict[str, Any] = {
            field.name: column.compact() for field in fields(self) if isinstance(column := getattr(self, field.name), Strings)
        }
        return replace(self, **changes, categories=tuple(column.compact() for column in self.categories))

    def id_of(self, row: int) -> str:
        """The event's id: the one given, else ``instance:number``."""
        given = self.event_id[row] if self.event_id is not None else None
        return given or f"{self.instance}:{self.number[row]}"

    def check(self) -> EventColumns:
        """Itself, when every column agrees with the others and stays within the contract's bounds.

        Raises:
            DecodeError: ``inconsistent``, ``empty`` or ``oversized``, naming the column.
        """
        n = len(self)
        if n == 0:
            raise DecodeError("empty", "a record without events")
        if n > MAX_EVENTS:
            raise DecodeError("oversized", f"{n} events in one record; at most {MAX_EVENTS}")
        width = self.numeric.shape[1] + len(self.category_names)
        if width > MAX_FEATURES or (self.scores is not None and self.scores.shape[1] > MAX_FEATURES):
            raise DecodeError("oversized", f"{width} features; at most {MAX_FEATURES} features and scores")
        if not self.model or not self.version:
            raise DecodeError("inconsistent", "model and version must be named")
        texts = self.model, self.version, self.service, self.instance, *self.names, *self.category_names, *self.score_names
        if max(map(len, texts)) > MAX_TEXT:
            raise DecodeError("inconsistent", f"a name longer than {MAX_TEXT} characters")
        for what, column in (("number", self.number), ("status", self.status), ("latency_ms", self.latency_ms), ("numeric", self.numeric),
                             ("scores", self.scores), ("value", self.value), ("cost", self.cost),
                             ("feature_age_s", self.feature_age_s)):  # fmt: skip
            if column is not None and len(column) != n:
                raise DecodeError("inconsistent", f"{what}: {len(column)} rows for {n} events")
        if self.names and len(self.names) != self.numeric.shape[1]:
            raise DecodeError("inconsistent", f"{len(self.names)} names for {self.numeric.shape[1]} numeric columns")
        if len(self.category_names) != len(self.categories):
            raise DecodeError("inconsistent", f"{len(self.category_names)} names for {len(self.categories)} categorical columns")
        if len(set(self.names) | set(self.category_names)) != len(self.names) + len(self.category_names):
            raise DecodeError("inconsistent", "a feature is named twice")
        if self.scores is not None and self.score_names and len(self.score_names) != self.scores.shape[1]:
            raise DecodeError("inconsistent", f"{len(self.score_names)} names for {self.scores.shape[1]} scores")
        if self.status.max() > 5:
            raise DecodeError("inconsistent", f"status {self.status.max()} is none of 0..5")
        if self.number.min() < -1 or self.at_ns.min() < -1:
            raise DecodeError("inconsistent", "a negative time or running number")
        self.client.check("client", n)
        for what, strings in (("prediction", self.prediction), ("event_id", self.event_id), ("trace_id", self.trace_id),
                              ("owner", self.owner), ("source", self.source), ("feature_view", self.feature_view)):  # fmt: skip
            if strings is not None:
                strings.check(what, n)
        for name, strings in zip(self.category_names, self.categories, strict=True):
            strings.check(f"feature {name}", n)
        return self
