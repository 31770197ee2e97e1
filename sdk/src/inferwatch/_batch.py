"""Many events at once, as columns: copied by the caller, split by partition in the sender thread."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inferwatch._arguments import STATUS, BadArgumentError, OversizedError, text
from inferwatch._columns import EventColumns, Strings
from inferwatch._contract import MAX_FEATURES
from inferwatch._pseudonym import Clients
from inferwatch._rows import text_of

TEXTS = ("prediction", "event_id", "trace_id", "owner", "source")


@dataclass(frozen=True, slots=True)
class Batch:
    """The caller's columns, ours to keep. `numeric` is (n, d), `scores` (n, c); text columns are lists, None where missing."""

    model: str
    version: str
    rows: int
    clients: list[Any]
    at_ns: NDArray[np.int64]
    status: NDArray[np.uint8]
    names: tuple[str, ...]
    numeric: NDArray[np.float32]
    categories: dict[str, list[Any]]
    score_names: tuple[str, ...]
    scores: NDArray[np.float32] | None
    latency_ms: NDArray[np.float32]
    value: NDArray[np.float64] | None
    cost: NDArray[np.float32] | None
    texts: dict[str, list[Any]]

    @property
    def bytes(self) -> int:
        """What it holds, roughly."""
        width: int = self.numeric.shape[1] + (0 if self.scores is None else self.scores.shape[1])
        return self.rows * (100 + 4 * width + 60 * (1 + len(self.categories) + len(self.texts)))


def batch_of(
    *, model: str, version: str, client: Any, features: Any, names: Sequence[str] | None, scores: Any, score_names: Sequence[str] | None,
    latency_ms: Any, value: Any, cost: Any, status: Any, at_ns: Any, now_ns: int, **texts: Any,
) -> Batch:  # fmt: skip
    """Copies and checks the shapes.

    Raises:
        BadArgumentError: columns of unequal length, or not the number of dimensions that is needed.
        OversizedError: more than MAX_FEATURES columns.
    """
    categories: dict[str, list[Any]] = {}
    if isinstance(features, Mapping):
        if names is not None:
            raise BadArgumentError("names= goes with a 2-D array; a mapping has its own")
        rows = len(next(iter(features.values()), ()))
        numbers: dict[str, Any] = {}
        for name, column in features.items():
            array = np.asarray(column)
            if array.shape != (rows,):
                raise BadArgumentError(f"feature {text(name)}: shape {array.shape}, expected ({rows},)")
            if array.dtype.kind in "iuf":
                numbers[text(name)] = array
            else:
                categories[text(name)] = array.tolist()
        matrix = np.empty((rows, len(numbers)), np.float32)
        with np.errstate(over="ignore"):
            for i, column in enumerate(numbers.values()):
                matrix[:, i] = column
        names = tuple(numbers)
    else:
        with np.errstate(over="ignore"):
            matrix = np.array(features, np.float32)
        if matrix.ndim != 2:
            raise BadArgumentError(f"features must be a mapping of columns or a 2-D array, got shape {matrix.shape}")
        names = () if names is None else tuple(text(name) for name in names)
        if names and len(names) != matrix.shape[1]:
            raise BadArgumentError(f"{len(names)} names for {matrix.shape[1]} columns of features")
    rows = len(matrix)
    if matrix.shape[1] + len(categories) > MAX_FEATURES:
        raise OversizedError(f"{matrix.shape[1] + len(categories)} features; at most {MAX_FEATURES}")
    return Batch(
        model=model,
        version=version,
        rows=rows,
        clients=_list(client, rows, "client"),
        at_ns=_array(now_ns if at_ns is None else at_ns, rows, np.int64, "at_ns"),
        status=np.array([STATUS[one] for one in _list(status, rows, "status")], np.uint8)
        if isinstance(status, (list, tuple, np.ndarray))
        else np.full(rows, STATUS[status], np.uint8),
        names=names,
        numeric=matrix,
        categories=categories,
        score_names=() if score_names is None else tuple(text(name) for name in score_names),
        scores=_scores(scores, score_names, rows),
        latency_ms=_array(np.nan if latency_ms is None else latency_ms, rows, np.float32, "latency_ms"),
        value=None if value is None else _array(value, rows, np.float64, "value"),
        cost=None if cost is None else _array(cost, rows, np.float32, "cost"),
        texts={name: _list(column, rows, name) for name, column in texts.items() if column is not None},
    )


def split(
    batch: Batch, clients: Clients, number: int, allow: frozenset[str] | None, redact: frozenset[str]
) -> list[tuple[int, EventColumns]]:
    """The batch by partition, in order within each, with pseudonyms, and numbered from `number` (-1: not numbered)."""
    raw = _factorised(batch.clients, str)
    known = [clients.of(batch.model, client) for client in raw.values]
    partition = np.array([place for _, place in known], np.int32)[raw.codes]
    names, numeric = batch.names, batch.numeric
    kept = [i for i, name in enumerate(names) if name not in redact and (allow is None or name in allow)]
    if len(kept) < len(names):
        names, numeric = tuple(names[i] for i in kept), numeric[:, kept]
    categories = {
        name: _factorised(column, text_of)
        for name, column in batch.categories.items()
        if name not in redact and (allow is None or name in allow)
    }
    texts = {name: _factorised(column, text_of) for name, column in batch.texts.items()}
    order = np.argsort(partition, kind="stable")
    sorted_rows = EventColumns(
        model=batch.model,
        version=batch.version,
        service="",
        instance="",
        client=Strings([name for name, _ in known], raw.codes),
        at_ns=batch.at_ns,
        number=np.arange(number, number + batch.rows) if number >= 0 else np.full(batch.rows, -1, np.int64),
        status=batch.status,
        latency_ms=batch.latency_ms,
        names=names,
        numeric=numeric,
        category_names=tuple(categories),
        categories=tuple(categories.values()),
        score_names=batch.score_names,
        scores=batch.scores,
        value=batch.value,
        cost=batch.cost,
        **texts,
    ).take(order)
    places, starts = np.unique(partition[order], return_index=True)
    ends = [*starts[1:].tolist(), batch.rows]
    return [(place, sorted_rows.take(slice(start, end))) for place, start, end in zip(places.tolist(), starts.tolist(), ends, strict=True)]


class _Index(dict[Any, int]):
    """Numbers keys as they come; None is -1."""

    def __missing__(self, key: Any) -> int:
        code = self[key] = len(self) - 1
        return code


def _factorised(column: list[Any], as_text: Any) -> Strings:
    """Codes at C speed (40 ns a row), text once a distinct value."""
    index = _Index()
    index[None] = -1
    codes = np.fromiter(map(index.__getitem__, column), np.int32, len(column))
    values = [as_text(value) for value in index][1:]
    return Strings(values if as_text is str else [text(value) for value in values], codes)


def _list(column: Any, rows: int, what: str) -> list[Any]:
    if column is None or isinstance(column, (str, int, float)):
        column = [column] * rows
    column = column.tolist() if isinstance(column, np.ndarray) else list(column)
    if len(column) != rows:
        raise BadArgumentError(f"{what}: {len(column)} values for {rows} events")
    return column  # type: ignore[no-any-return]  # a list by now


def _array(column: Any, rows: int, dtype: Any, what: str) -> NDArray[Any]:
    with np.errstate(over="ignore"):
        array = np.array(column, dtype)
    if array.ndim == 0:
        return np.full(rows, array, dtype)
    if array.shape != (rows,):
        raise BadArgumentError(f"{what}: shape {array.shape}, expected ({rows},)")
    return array


def _scores(scores: Any, names: Sequence[str] | None, rows: int) -> NDArray[np.float32] | None:
    if scores is None:
        return None
    matrix = np.array(scores, np.float32)
    if matrix.ndim != 2 or len(matrix) != rows or (names is not None and len(names) != matrix.shape[1]):
        raise BadArgumentError(f"scores: shape {matrix.shape} for {rows} events and {names and len(names)} names")
    return matrix
