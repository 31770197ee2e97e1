"""How rows are stored: the type of each column, and the checked way from rows to Arrow.

Nothing here knows a table; `schemas.rows` declares them with the column types of this module.
"""

import json
from collections.abc import Callable, Sequence
from functools import cache
from itertools import chain
from typing import Annotated, Any, ClassVar, get_type_hints

import msgspec
import numpy as np
import pyarrow as pa

__all__ = ["Column", "Row", "RowError", "columns", "to_arrow"]

EARLIEST_NS = 946_684_800 * 10**9  # 2000-01-01
LATEST_NS = 4_102_444_800 * 10**9  # 2100-01-01; DateTime64 would go on, the 32-bit DateTime of a TTL stops in 2106
MAX_TEXT = 1 << 18
"""Longest string of a cell, characters."""


class RowError(ValueError):
    """A row cannot be stored as it is. Says the table, column, row and value; sending it again cannot help."""


class Column(msgspec.Struct, frozen=True):
    """How one field is stored: its ClickHouse type and its Arrow type."""

    sql: str
    arrow: Any


_MS = pa.timestamp("ms", "UTC")
Name = Annotated[str, Column("LowCardinality(String)", pa.string())]
Text = Annotated[str, Column("String", pa.string())]
Texts = Annotated[tuple[str, ...], Column("Array(String)", pa.list_(pa.string()))]
Names = Annotated[tuple[str, ...], Column("Array(LowCardinality(String))", pa.list_(pa.string()))]
Time = Annotated[int, Column("DateTime64(3, 'UTC')", _MS)]
MaybeTime = Annotated[int | None, Column("Nullable(DateTime64(3, 'UTC'))", _MS)]
Count = Annotated[int, Column("UInt64", pa.uint64())]
Counts = Annotated[Sequence[int], Column("Array(UInt64)", pa.list_(pa.uint64()))]
CountOf = Annotated[dict[str, int], Column("Map(LowCardinality(String), UInt64)", pa.map_(pa.string(), pa.uint64()))]
Number = Annotated[float, Column("Float64", pa.float64())]
Measure = Annotated[float | None, Column("Nullable(Float64)", pa.float64())]
NumberOf = Annotated[dict[str, float], Column("Map(LowCardinality(String), Float64)", pa.map_(pa.string(), pa.float64()))]
TextOf = Annotated[dict[str, str], Column("Map(LowCardinality(String), String)", pa.map_(pa.string(), pa.string()))]
Shares = Annotated[Sequence[float], Column("Array(Float32)", pa.list_(pa.float32()))]
Scores = Annotated[Sequence[float], Column("Array(Float32)", pa.list_(pa.float32()))]


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """What all rows share.

    Attributes:
        table: Table name, inside the installation's database.
        key: Fields that identify a row, in the table's sorting order.
        revision: Which telling of this row it is: the highest wins, of equals the last inserted. Raise it when a row
            is *changed* (a window judged again), not when it is sent again.
    """

    table: ClassVar[str]
    key: ClassVar[tuple[str, ...]]

    revision: Count = 0


@cache
def columns(table: type[Row]) -> dict[str, Column]:
    """Storage types of a table's columns by name, in the order of `to_arrow`.

    >>> from schemas.rows import QualityWindowRow
    >>> columns(QualityWindowRow)["per_10k"].sql
    'Float64'
    """
    hints = get_type_hints(table, include_extras=True)
    return {name: hints[name].__metadata__[0] for name in table.__struct_fields__}


def to_arrow(rows: Sequence[Row]) -> Any:
    """Turn rows of one table into an Arrow table, checked. About 5 us a row.

    Args:
        rows: At least one row, all of the same class.

    Returns:
        A `pyarrow.Table` with one column a field, in the order of `columns`.

    Raises:
        RowError: Rows of several tables, or a value that the table cannot hold: wrong type, negative count, NaN where
            a number is required, infinity, a time outside 2000-2099, text beyond `MAX_TEXT`, evidence that is no JSON object.

    >>> from schemas.rows import QualityWindowRow
    >>> row = QualityWindowRow(model="m", version="1", start=1_767_225_600 * 10**9, service="s", kind="missing", n=3, per_10k=1.5)
    >>> to_arrow([row, row])["per_10k"].to_pylist()
    [1.5, 1.5]
    """
    if not rows:
        raise RowError("no rows: there is no table to be seen from an empty list")
    table = type(rows[0])
    for i, row in enumerate(rows):
        if type(row) is not table:
            raise RowError(f"row {i} is a {type(row).__name__}, the rows before it are {table.__name__}: insert them apart")
    arrays = [_array(table, name, column, [getattr(row, name) for row in rows]) for name, column in columns(table).items()]
    return pa.table(arrays, names=list(columns(table)))


def _array(table: type[Row], name: str, column: Column, values: list[Any]) -> Any:
    where = f"{table.table}.{name}"
    kind = column.arrow
    nullable = column.sql.startswith("Nullable")
    try:
        if kind == _MS:
            _each(where, values, lambda v: (nullable and v is None) or EARLIEST_NS <= v < LATEST_NS, "UTC nanoseconds from 2000 to 2099")
            return pa.array([None if v is None else v // 1_000_000 for v in values], type=kind)
        if pa.types.is_map(kind):
            values = [sorted(v.items()) for v in values]  # sorted: the same row gives the same bytes
        array = pa.array(values, type=kind, from_pandas=nullable)
    except (pa.ArrowException, TypeError, ValueError, OverflowError, AttributeError) as error:
        if isinstance(error, RowError):
            raise
        raise RowError(f"{where} ({column.sql}): {error}") from error
    if array.null_count and not nullable:
        raise RowError(f"{where}: row {values.index(None)} is None, and {column.sql} holds no NULL")
    _check_leaves(where, array, values)
    if name == "evidence" and column.arrow == pa.string():
        _each(where, values, _is_json_object, "a JSON object")
    return array


def _check_leaves(where: str, array: Any, values: list[Any]) -> None:
    """Refuse what no column may hold, looking at the flat numbers and texts inside arrays and maps too."""
    leaves = [array]
    if pa.types.is_map(array.type):
        leaves = [array.keys, array.items]
    elif pa.types.is_list(array.type):
        leaves = [array.values]
    for leaf in leaves:
        if pa.types.is_floating(leaf.type) and not bool(np.isfinite(leaf.drop_null().to_numpy(zero_copy_only=False)).all()):
            _each(where, values, _is_finite, "finite numbers, or None where the column takes NULL")
        if pa.types.is_string(leaf.type) and leaf.nbytes > MAX_TEXT:
            _each(where, values, _is_short, f"text of at most {MAX_TEXT} characters")


def _each(where: str, values: list[Any], right: Callable[[Any], bool], wanted: str) -> None:
    for i, value in enumerate(values):
        if not right(value):
            raise RowError(f"{where}: row {i} is {str(value)[:80]!r}, expected {wanted}")


def _leaves(value: Any) -> list[Any]:
    """The numbers or texts of a cell; a map's cell is already a list of pairs here."""
    if isinstance(value, list) and value and isinstance(value[0], tuple):
        return list(chain.from_iterable(value))
    return list(value) if isinstance(value, list | tuple | np.ndarray) else [value]


def _is_finite(value: Any) -> bool:
    return all(v is None or isinstance(v, str) or bool(np.isfinite(v)) for v in _leaves(value))


def _is_short(value: Any) -> bool:
    return all(not isinstance(v, str) or len(v) <= MAX_TEXT for v in _leaves(value))


def _is_json_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except ValueError:
        return False
