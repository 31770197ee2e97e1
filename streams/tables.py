"""Parquet files of rows and events, read with care: what is missing, misnamed or of the wrong type is said by file and column."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from inferwatch import EventColumns, Strings
from schemas.reference import Feature, Reference
from streams.align import Aligner, WidthError
from streams.build import Rows

MAX_CATEGORIES = 4_096


class TableError(ValueError):
    """A file can't be read as what it should be; the message names file and column."""


class Meta(msgspec.Struct, kw_only=True):
    """What ``meta.json`` beside the rows may say; all of it optional, anything else in it is ignored."""

    features: list[str] | None = None
    integer_features: list[bool] | None = None
    quantum: list[float] | float | None = None
    image: list[int] | None = None
    bounds: dict[str, list[float | None]] | None = None
    classes: list[str | int | float] | int | None = None


def read_meta(path: Path) -> Meta:
    """The meta file, or an empty one where there is none.

    Raises:
        TableError: it is no JSON, or a field has another type.
    """
    if not path.exists():
        return Meta()
    try:
        return msgspec.convert(_without_nan(json.loads(path.read_text())), Meta)
    except (json.JSONDecodeError, UnicodeDecodeError, msgspec.ValidationError) as error:
        raise TableError(f"{path}: {error}") from error


def read_table(path: Path) -> pa.Table:
    """A parquet file.

    Raises:
        TableError: it does not exist, or is no parquet file.
    """
    try:
        with pq.ParquetFile(path) as file:
            return file.read()
    except FileNotFoundError as error:
        raise TableError(f"{path}: no such file") from error
    except (pa.ArrowInvalid, OSError) as error:
        raise TableError(f"{path}: not a parquet file ({str(error).splitlines()[0]})") from error


def read_reference(path: Path, meta: Meta, *, names: Sequence[str] = (), time_column: str = "") -> Rows:
    """The owner's rows.

    Two layouts: a list column ``features`` (with names from ``names``, the meta file, or f0, f1, ...), or one column a feature. Beside
    them, all optional: ``probs`` (list; or columns ``prob_CLASS``), ``y`` (class index or class name), ``member`` (bool), ``value``,
    ``latency_ms`` (how long the answer took), and ``ts``: when the row was seen (a timestamp, or seconds since 1970).

    Args:
        path: the parquet file.
        meta: what is known of the columns.
        names: which columns are features, in the model's order; empty: all that are nothing else.
        time_column: says when a row was seen; empty: ``ts``, if there is one and it is no feature.

    Raises:
        TableError: naming the column.
    """
    table = read_table(path)
    twice = sorted({name for name in table.column_names if table.column_names.count(name) > 1})
    if twice:
        raise TableError(f"{path}: two columns are named {', '.join(twice)}")
    columns: dict[str, pa.ChunkedArray] = {name: table[name] for name in table.column_names}
    if len(table) == 0:
        raise TableError(f"{path}: the reference has no rows; give it a sample of training and held-out data, 2,000 rows or more")
    if time_column and time_column not in columns:
        raise TableError(f"{path}: no column {time_column}; it has {', '.join(columns)}")
    if time_column and time_column in names:
        raise TableError(f"{path}: column {time_column} can be a feature or the rows' time, not both")
    clock = time_column or ("ts" if "ts" in columns and "ts" not in names else "")
    at_s = seconds(path, columns[clock], clock) if clock else None
    if time_column:
        del columns[time_column]
    probs, prob_names = _probs(path, columns)
    if "features" in columns and _is_list(columns["features"]):
        X = matrix(path, columns["features"], "features")
        features = named(path, meta, X.shape[1], names)
    else:
        X, features = _plain(path, columns, names, meta)
    classes = classes_of(meta, prob_names, 0 if probs is None else probs.shape[1])
    y = _labels(path, columns["y"], classes) if "y" in columns and classes else None
    return Rows(
        features=features,
        X=X,
        scores=probs,
        classes=classes,
        y=y,
        member=_booleans(path, columns["member"]) if "member" in columns else None,
        value=numbers(path, columns["value"], "value") if "value" in columns else None,
        latency_ms=numbers(path, columns["latency_ms"], "latency_ms") if "latency_ms" in columns and "latency_ms" not in names else None,
        image=tuple(meta.image) if meta.image else None,
        at_s=at_s,
    )


def read_canaries(path: Path, reference: Reference) -> NDArray[np.float32]:
    """Rows (n, d) in the reference's columns, as a shard sees them: by the same aligner.

    Args:
        path: a parquet file with one column a feature, or with a list column ``features``.
        reference: of the model version.

    Raises:
        TableError: no rows, a feature that is missing, a value that the reference does not know: an event with it would not be recognised.
    """
    table = read_table(path)
    columns: dict[str, pa.ChunkedArray] = {name: table[name] for name in table.column_names}
    n = len(table)
    if n == 0:
        raise TableError(f"{path}: no rows")
    numeric, categories = np.zeros((n, 0), np.float32), []
    names: tuple[str, ...] = ()
    category_names: tuple[str, ...] = ()
    if "features" in columns and _is_list(columns["features"]):
        numeric = matrix(path, columns["features"], "features")
    else:
        absent = [one.name for one in reference.features if one.name not in columns]
        if absent:
            raise TableError(f"{path}: no column {', '.join(absent)}; it has {', '.join(columns)}")
        text = [one.name for one in reference.features if one.kind == "categorical"]
        names = tuple(one.name for one in reference.features if one.kind != "categorical")
        category_names = tuple(text)
        categories = [texts(path, columns[name], name) for name in text]
        with np.errstate(over="ignore"):
            plain = [numbers(path, columns[name], name).astype(np.float32) for name in names]
        numeric = np.stack(plain, axis=1) if plain else numeric
    rows = EventColumns(
        model=reference.model, version=reference.version, service="", instance="", client=Strings([], np.full(n, -1, np.int32)),
        at_ns=np.zeros(n, np.int64), number=np.arange(n), status=np.zeros(n, np.uint8), latency_ms=np.zeros(n, np.float32), names=names,
        numeric=numeric, category_names=category_names, categories=tuple(categories),
    )  # fmt: skip
    try:
        aligned = Aligner(reference.features, ()).align(rows)
    except WidthError as error:
        raise TableError(f"{path}: {error}") from error
    for kind, wrong in aligned.faults.items():
        if kind != "out_of_bounds":
            raise TableError(f"{path}: row {int(np.flatnonzero(wrong)[0])} has a fault ({kind}); an event with it is not recognised")
    return aligned.X


def matrix(path: Path, column: pa.ChunkedArray, name: str) -> NDArray[np.float32]:
    """A list column of equal lengths as (rows, width) float32; null is NaN.

    Raises:
        TableError: other contents, no list at all, a row without one, or rows of different lengths.
    """
    if not _is_list(column):
        raise TableError(f"{path}: column {name} is {column.type}, not lists of numbers")
    rows = column.combine_chunks()
    if rows.null_count:
        raise TableError(f"{path}: {name}: row {int(np.flatnonzero(np.asarray(rows.is_null()))[0])} is null")
    lengths = np.asarray(pc.list_value_length(rows))
    if len(lengths) and (lengths != lengths[0]).any():
        odd = int(np.flatnonzero(lengths != lengths[0])[0])
        raise TableError(f"{path}: {name}: row {odd} has {lengths[odd]} values, row 0 has {lengths[0]}")
    with np.errstate(over="ignore"):  # beyond float32 is infinite, and counted so
        flat = numbers(path, rows.flatten(), name).astype(np.float32)
    return flat.reshape(len(rows), int(lengths[0]) if len(lengths) else 0)


def _is_list(column: pa.ChunkedArray) -> bool:
    return bool(pa.types.is_list(column.type) or pa.types.is_large_list(column.type) or pa.types.is_fixed_size_list(column.type))


def _probs(path: Path, columns: dict[str, pa.ChunkedArray]) -> tuple[NDArray[np.float32] | None, tuple[str, ...]]:
    if "probs" in columns and _is_list(columns["probs"]):
        return matrix(path, columns["probs"], "probs"), ()
    named = [name for name in columns if name.startswith("prob_")]
    if not named:
        return None, ()
    probs = np.stack([numbers(path, columns[name], name) for name in named], axis=1).astype(np.float32)
    return probs, tuple(name.removeprefix("prob_") for name in named)


def classes_of(meta: Meta, prob_names: tuple[str, ...], width: int) -> tuple[str, ...]:
    """Names of so many classes: those given, the meta file's, or their numbers."""
    if prob_names:
        return prob_names
    if isinstance(meta.classes, list) and len(meta.classes) == width:
        return tuple(str(name) for name in meta.classes)
    return tuple(str(k) for k in range(width))


def named(path: Path | str, meta: Meta, d: int, names: Sequence[str]) -> tuple[Feature, ...]:
    """So many features that come by position: named by `names`, by the meta file, or f0, f1, ...

    Raises:
        TableError: so many names, or facts, are not given.
    """
    given = list(names or meta.features or [f"f{j}" for j in range(d)])
    if len(given) != d:
        raise TableError(f"{path}: features has {d} columns, but {len(given)} names are given")
    low, high = _bounds(path, meta, given)
    integer = meta.integer_features or [False] * d
    if len(integer) != d:
        raise TableError(f"{path}: integer_features has {len(integer)} entries for {d} features")
    return tuple(Feature(name=n, low=a, high=b, integer=whole) for n, a, b, whole in zip(given, low, high, integer, strict=True))


def _bounds(path: Path | str, meta: Meta, names: Sequence[str]) -> tuple[list[float | None], list[float | None]]:
    if meta.bounds is None:
        return [None] * len(names), [None] * len(names)
    sides = []
    for side in ("lo", "hi"):
        values = meta.bounds.get(side, [None] * len(names))
        if len(values) != len(names):
            raise TableError(f"{path}: bounds.{side} has {len(values)} entries for {len(names)} features")
        sides.append([None if v is None or not np.isfinite(v) else float(v) for v in values])
    return sides[0], sides[1]


def _plain(
    path: Path, columns: Mapping[str, pa.ChunkedArray], names: Sequence[str], meta: Meta
) -> tuple[NDArray[np.float32], tuple[Feature, ...]]:
    other = {"probs", "y", "member", "value", "latency_ms", "label", "ts", "client_id", "truth"}
    chosen = list(names) or [name for name in columns if name not in other and not name.startswith("prob_")]
    absent = [name for name in chosen if name not in columns]
    if absent:
        raise TableError(f"{path}: no column {', '.join(absent)}; it has {', '.join(columns)}")
    if not chosen:
        raise TableError(f"{path}: no feature columns; it has {', '.join(columns)}")
    low, high = _bounds(path, meta, chosen) if meta.features == chosen else ([None] * len(chosen), [None] * len(chosen))
    features, values = [], []
    for name, a, b in zip(chosen, low, high, strict=True):
        column = columns[name].combine_chunks()
        if pa.types.is_dictionary(column.type):
            column = column.dictionary_decode()
        if pa.types.is_boolean(column.type):
            column = column.cast(pa.string())
        if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
            encoded = column.dictionary_encode()
            known = [str(v) for v in encoded.dictionary.to_pylist()]
            order = np.argsort(known)
            if not known or len(known) > MAX_CATEGORIES:
                raise TableError(f"{path}: column {name} has {len(known)} categories; between 1 and {MAX_CATEGORIES} can be watched")
            rank = np.empty(len(known))
            rank[order] = np.arange(len(known))
            codes = np.asarray(encoded.indices.cast(pa.float64()).to_numpy(zero_copy_only=False))
            values.append(np.where(np.isnan(codes), np.nan, rank[np.nan_to_num(codes).astype(int)]).astype(np.float32))
            features.append(Feature(name=name, kind="categorical", categories=tuple(known[k] for k in order)))
        else:
            values.append(numbers(path, columns[name], name).astype(np.float32))
            features.append(Feature(name=name, low=a, high=b, integer=bool(pa.types.is_integer(column.type))))
    return np.stack(values, axis=1), tuple(features)


def _labels(path: Path, column: pa.ChunkedArray, classes: Sequence[str]) -> NDArray[np.int32]:
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type) or pa.types.is_dictionary(column.type):
        index = {name: k for k, name in enumerate(classes)}
        values = column.to_pylist()
        unknown = sorted({v for v in values if v is not None and v not in index})
        if unknown:
            raise TableError(f"{path}: y says {unknown[:5]}, which is none of the classes {list(classes)[:20]}")
        return np.array([-1 if v is None else index[v] for v in values], np.int32)
    return np.nan_to_num(numbers(path, column, "y"), nan=-1).astype(np.int32)


def numbers(path: Path, column: pa.ChunkedArray | pa.Array, name: str) -> NDArray[np.float64]:
    """A column as float64; null is NaN.

    Raises:
        TableError: it holds something else.
    """
    try:
        plain = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
        return np.asarray(plain.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False), np.float64)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise TableError(f"{path}: column {name} is {column.type}, not numbers") from error


def seconds(path: Path, column: pa.ChunkedArray, name: str) -> NDArray[np.float64]:
    """A column of timestamps, dates or numbers as seconds since 1970.

    Raises:
        TableError: it holds something else, nothing, or a time outside the years 1970 to 2255.
    """
    if pa.types.is_temporal(column.type) and not pa.types.is_time(column.type) and not pa.types.is_duration(column.type):
        whole = column.combine_chunks().cast(pa.timestamp("us"), safe=False)
        at = numbers(path, whole.cast(pa.int64()), name) / 1e6
    else:
        at = numbers(path, column, name)
    bad = np.flatnonzero(~((at >= 0) & (at < 9e9)))
    if bad.size:
        raise TableError(f"{path}: column {name}, row {int(bad[0])}: {at[bad[0]]:g} is no time in seconds since 1970")
    return at


def texts(path: Path, column: pa.ChunkedArray, name: str) -> Strings:
    """A column as text, dictionary-coded; null is none.

    Raises:
        TableError: it holds what can't be written as text, such as lists.
    """
    try:
        encoded = column.combine_chunks().cast(pa.string()).dictionary_encode()
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise TableError(f"{path}: column {name} is {column.type}, not text") from error
    return Strings([str(v) for v in encoded.dictionary.to_pylist()], np.asarray(encoded.indices.fill_null(-1), np.int32))


def _booleans(path: Path, column: pa.ChunkedArray) -> NDArray[np.bool_]:
    try:
        return np.asarray(column.combine_chunks().cast(pa.bool_()).fill_null(False).to_numpy(zero_copy_only=False))
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise TableError(f"{path}: column member is {column.type}, not true or false") from error


def _without_nan(value: Any) -> Any:
    """JSON as Python writes it may hold NaN and Infinity; here they mean: unknown."""
    if isinstance(value, float):
        return value if np.isfinite(value) else None
    if isinstance(value, list):
        return [_without_nan(v) for v in value]
    if isinstance(value, dict):
        return {k: _without_nan(v) for k, v in value.items()}
    return value
