"""Many events at once, as columns: copied by the caller, split by partition in the sender thread."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inferwatch._arguments import STATUS, BadArgumentError, OversizedError, name_of, text
from inferwatch._columns import EventColumns, Strings
from inferwatch._contract import MAX_FEATURES, MAX_TEXT
from inferwatch._pseudonym import Known
from inferwatch._rows import text_of


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
    feature_age_s: NDArray[np.float32] | None
    texts: dict[str, list[Any]]

    @property
    def bytes(self) -> int:
        """What it holds, roughly."""
        width: int = self.numeric.shape[1] + (0 if self.scores is None else self.scores.shape[1])
        return self.rows * (100 + 4 * width + 60 * (1 + len(self.categories) + len(self.texts)))


def batch_of(
    *, model: str, version: str, client: Any, features: Any, names: Sequence[str] | None, scores: Any, score_names: Sequence[str] | None,
    latency_ms: Any, value: Any, cost: Any, feature_age_s: Any, status: Any, at_ns: Any, now_ns: int, **texts: Any,
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
                numbers[name_of(name)] = array
            else:
                categories[name_of(name)] = array.tolist()
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
        names = () if names is None else tuple(map(name_of, names))
        if names and len(names) != matrix.shape[1]:
            raise BadArgumentError(f"{len(names)} names for {matrix.shape[1]} columns of features")
        if len(set(names)) < len(names):
            raise BadArgumentError("two columns have one name")
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
        score_names=() if score_names is None else tuple(map(name_of, score_names)),
        scores=_scores(scores, score_names, rows),
        latency_ms=_array(np.nan if latency_ms is None else latency_ms, rows, np.float32, "latency_ms"),
        value=None if value is None else _array(value, rows, np.float64, "value"),
        cost=None if cost is None else _array(cost, rows, np.float32, "cost"),
        feature_age_s=None if feature_age_s is None else _array(feature_age_s, rows, np.float32, "feature_age_s"),
        texts={name: _list(column, rows, name) for name, column in texts.items() if column is not None},
    )


@dataclass(frozen=True, slots=True)
class Sorted:
    """A batch in the order of its partitions: `numbers` are arrays, `texts` arrays of objects (str or None), all with a row an event."""

    model: str
    version: str
    names: tuple[str, ...]
    category_names: tuple[str, ...]
    score_names: tuple[str, ...]
    numbers: dict[str, NDArray[Any]]
    texts: dict[str, NDArray[Any]]
    categories: tuple[NDArray[Any], ...]

    @property
    def shape(self) -> tuple[Any, ...]:
        """What batches must have in common to share a record."""
        widths = self.numbers["numeric"].shape[1], self.numbers["scores"].shape[1] if "scores" in self.numbers else -1
        return self.names, self.category_names, self.score_names, widths, tuple(self.numbers), tuple(self.texts)


def split(
    batch: Batch, clients: Known, number: int, allow: frozenset[str] | None, redact: frozenset[str]
) -> tuple[Sorted, list[tuple[int, int, int]]]:
    """The batch with pseudonyms, numbered from `number` (-1: not numbered), and its stretches: (partition, first row, end)."""
    names, places = zip(*map(clients.__getitem__, map(str, batch.clients)), strict=True)
    partition = np.array(places, np.int32)
    order = np.argsort(partition, kind="stable")

    def travels(name: str) -> bool:
        return name not in redact and (allow is None or name in allow)

    kept = [i for i, name in enumerate(batch.names) if travels(name)]
    filtered = len(kept) < len(batch.names)
    numbers: dict[str, Any] = {
        "at_ns": batch.at_ns,
        "number": np.arange(number, number + batch.rows) if number >= 0 else np.full(batch.rows, -1, np.int64),
        "status": batch.status,
        "latency_ms": batch.latency_ms,
        "numeric": batch.numeric[:, kept] if filtered else batch.numeric,
        "scores": batch.scores,
        "value": batch.value,
        "cost": batch.cost,
        "feature_age_s": batch.feature_age_s,
    }
    categories = {name: column for name, column in batch.categories.items() if travels(name)}
    sorted_batch = Sorted(
        model=batch.model,
        version=batch.version,
        names=tuple(batch.names[i] for i in kept) if filtered else batch.names,
        category_names=tuple(categories),
        score_names=batch.score_names,
        numbers={name: column[order] for name, column in numbers.items() if column is not None},
        texts={"client": _objects(names)[order], **{name: _texts(column)[order] for name, column in batch.texts.items()}},
        categories=tuple(_texts(column)[order] for column in categories.values()),
    )
    found, starts = np.unique(partition[order], return_index=True)
    ends = [*starts[1:].tolist(), batch.rows]
    return sorted_batch, list(zip(found.tolist(), starts.tolist(), ends, strict=True))


def joined(parts: Sequence[tuple[Sorted, int, int]], service: str, instance: str) -> EventColumns:
    """One record's columns from stretches of batches of one shape."""
    first = parts[0][0]
    numbers: dict[str, Any] = {
        name: np.concatenate([whole.numbers[name][start:end] for whole, start, end in parts]) for name in first.numbers
    }
    texts: dict[str, Any] = {name: _strings([whole.texts[name][start:end] for whole, start, end in parts]) for name in first.texts}
    return EventColumns(
        model=first.model,
        version=first.version,
        service=service,
        instance=instance,
        names=first.names,
        category_names=first.category_names,
        categories=tuple(
            _strings([whole.categories[i][start:end] for whole, start, end in parts]) for i in range(len(first.category_names))
        ),
        score_names=first.score_names,
        **numbers,
        **texts,
    )


class _Index(dict[Any, int]):
    """Numbers keys as they come; None is -1."""

    def __missing__(self, key: Any) -> int:
        code = self[key] = len(self) - 1
        return code


def _strings(columns: Sequence[NDArray[Any]]) -> Strings:
    """Dictionary-coded at C speed: 40 ns a row."""
    index = _Index()
    index[None] = -1
    rows = np.concatenate(columns).tolist()
    codes = np.fromiter(map(index.__getitem__, rows), np.int32, len(rows))
    return Strings(list(index)[1:], codes)


def _texts(column: list[Any]) -> NDArray[Any]:
    """As an array of texts of contract length, and None."""
    if set(map(type, column)) != {str} or max(map(len, column)) > MAX_TEXT:
        known: dict[Any, str | None] = {value: None if value is None else text(text_of(value)) for value in set(column)}
        column = [known[value] for value in column]
    return _objects(column)


def _objects(column: Sequence[Any]) -> NDArray[Any]:
    array = np.empty(len(column), object)
    array[:] = column
    return array


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
