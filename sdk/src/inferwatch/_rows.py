"""Rows, as Python code and JSON hand them in, into event columns."""

from __future__ import annotations

import datetime
import itertools
import struct
from collections.abc import Collection, Sequence

import numpy as np
from numpy.typing import NDArray

from inferwatch._columns import EventColumns, Strings

Value = float | bool | str | None


def columns_of(
    *,
    model: str,
    version: str,
    service: str,
    instance: str,
    names: tuple[str, ...] | None,
    features: Sequence[Sequence[Value]] | NDArray[np.float32],
    score_names: tuple[str, ...],
    scores: Sequence[Sequence[float]] | None,
    client: Sequence[str],
    at_ns: Sequence[int],
    number: Sequence[int],
    status: Sequence[int] | NDArray[np.uint8],
    latency_ms: Sequence[float | None],
    value: Sequence[float | None],
    prediction: Sequence[object],
    event_id: Sequence[str | None],
    trace_id: Sequence[str | None],
    owner: Sequence[str | None],
    source: Sequence[str | None],
    cost: Sequence[float | None],
    feature_view: Sequence[str | None],
    feature_age_s: Sequence[float | None],
    categorical: Collection[str] = (),
) -> EventColumns:
    """Columns of events that share model version, producer and the names (or the number) of features and scores.

    `names` None: all features are numbers in the reference's order. `features` and `scores` have one sequence an event, of equal length; a
    column of features with any text or boolean in it, or named in `categorical`, is a category. A matrix is taken as it is.

    Raises:
        ValueError, TypeError, OverflowError: a value is no number where one is needed, or the rows have unequal lengths.
    """
    n = len(client)
    numeric_names, numeric, category_names, categories = _split(names, features, categorical)
    return EventColumns(
        model=model,
        version=version,
        service=service,
        instance=instance,
        client=Strings.of(client),
        at_ns=np.array(at_ns, np.int64),
        number=np.array(number, np.int64),
        status=np.array(status, np.uint8),
        latency_ms=_narrow(latency_ms),
        names=numeric_names,
        numeric=numeric if numeric.size else np.empty((n, numeric.shape[1] if numeric.ndim == 2 else 0), np.float32),
        category_names=category_names,
        categories=categories,
        score_names=score_names,
        scores=None if scores is None else matrix_of(scores),
        value=None if _none(value) else np.array(value, np.float64),
        prediction=None if _none(prediction) else Strings.of(_texts(prediction)),
        event_id=_strings(event_id),
        trace_id=_strings(trace_id),
        owner=_strings(owner),
        source=_strings(source),
        cost=None if _none(cost) else _narrow(cost),
        feature_view=_strings(feature_view),
        feature_age_s=None if _none(feature_age_s) else _narrow(feature_age_s),
    )


def text_of(value: object) -> str:
    """Text of a category or a prediction; ``True`` and 1.0 as every language writes them in JSON.

    Example:
        >>> text_of(True), text_of(1.0), text_of("é")
        ('true', '1', 'é')
    """
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def nanoseconds(at: int | datetime.datetime | None) -> int:
    """UTC ns since 1970; -1 for none and for times before 1970."""
    if at is None:
        return -1
    if isinstance(at, int):
        return at
    aware = at if at.tzinfo else at.replace(tzinfo=datetime.UTC)
    return max(-1, int(aware.timestamp()) * 1_000_000_000 + aware.microsecond * 1000)


def matrix_of(rows: Sequence[Sequence[Value]]) -> NDArray[np.float32]:
    """Rows of equal length as a matrix; None becomes NaN, and a number beyond float32 infinite, which is counted as such."""
    with np.errstate(over="ignore"):
        try:
            pack = struct.Struct(f"{len(rows[0])}d").pack
            flat = np.frombuffer(b"".join(itertools.starmap(pack, rows)), np.float64)  # three times as fast as an array of lists
        except struct.error:  # a None, or rows that are no matrix
            return np.array(rows, np.float64).astype(np.float32)
        return flat.astype(np.float32).reshape(len(rows), len(rows[0]))


def _none(column: Sequence[object]) -> bool:
    return column[0] is None and column.count(None) == len(column)


def _strings(column: Sequence[str | None]) -> Strings | None:
    return None if _none(column) else Strings.of(column)


def _texts(column: Sequence[object]) -> list[str | None]:
    return [None if value is None else text_of(value) for value in column]


def _narrow(column: Sequence[float | None]) -> NDArray[np.float32]:
    with np.errstate(over="ignore"):  # a number beyond float32 becomes infinite, and is counted as such
        return np.array(column, np.float64).astype(np.float32)  # None becomes NaN


def _split(
    names: tuple[str, ...] | None, rows: Sequence[Sequence[Value]] | NDArray[np.float32], categorical: Collection[str]
) -> tuple[tuple[str, ...], NDArray[np.float32], tuple[str, ...], tuple[Strings, ...]]:
    """Names and matrix of the numbers, names and columns of the categories."""
    if isinstance(rows, np.ndarray):
        return names or (), rows, (), ()
    if names is None:
        return (), matrix_of(rows), (), ()
    if not categorical and set(map(type, itertools.chain.from_iterable(rows))) <= {float, int, type(None)}:  # the common case: one pass
        return names, matrix_of(rows), (), ()
    columns = list(zip(*rows, strict=True))
    text = [
        name in categorical or any(issubclass(kind, (str, bool)) for kind in set(map(type, column)))
        for name, column in zip(names, columns, strict=True)
    ]
    numeric = [_narrow(column) for column, is_text in zip(columns, text, strict=True) if not is_text]
    return (
        tuple(name for name, is_text in zip(names, text, strict=True) if not is_text),
        np.stack(numeric, 1) if numeric else np.empty((len(rows), 0), np.float32),
        tuple(name for name, is_text in zip(names, text, strict=True) if is_text),
        tuple(Strings.of(_texts(column)) for column, is_text in zip(columns, text, strict=True) if is_text),
    )
