"""Tables of rows: two layouts, all columns beside the features optional; what is wrong is told by file and column."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from streams.tables import Meta, TableError, matrix, read_meta, read_reference, read_table, texts
from tests.streams.recordings import lists, reference_columns


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "reference.parquet"


def write(file: Path, **columns: Any) -> Path:
    pq.write_table(pa.table(columns), file)
    return file


def test_a_list_column_of_features_gets_names_bounds_and_kinds_from_the_meta_file(file: Path) -> None:
    meta = Meta(features=["a", "b"], integer_features=[True, False], bounds={"lo": [0, None], "hi": [9, float("inf")]}, classes=["n", "y"])
    rows = read_reference(write(file, features=lists([[1, 2], [3, 4]]), probs=lists([[0.1, 0.9]] * 2), y=[0, 1]), meta)
    assert [(f.name, f.low, f.high, f.integer) for f in rows.features] == [("a", 0, 9, True), ("b", None, None, False)]
    assert (rows.classes, rows.X.dtype.name, rows.X.tolist()) == (("n", "y"), "float32", [[1, 2], [3, 4]])


def test_latency_is_the_answers_and_no_feature_unless_it_is_named_as_one(file: Path) -> None:
    write(file, a=[1.0, 2.0], latency_ms=[12.5, None])
    rows = read_reference(file, Meta())
    assert [f.name for f in rows.features] == ["a"]
    assert np.array_equal(rows.latency_ms, [12.5, np.nan], equal_nan=True)  # type: ignore[arg-type]
    named = read_reference(file, Meta(), names=["a", "latency_ms"])
    assert named.latency_ms is None
    assert named.X[:, 1].tolist()[0] == 12.5


def test_without_a_meta_file_columns_and_classes_are_numbered(file: Path) -> None:
    rows = read_reference(write(file, **reference_columns(20)), Meta())
    assert [f.name for f in rows.features] == ["f0", "f1", "f2"]
    assert rows.classes == ("0", "1")
    assert rows.member is not None
    assert rows.member.sum() == 10


def test_one_column_a_feature_with_text_and_booleans_as_categories(file: Path) -> None:
    rows = read_reference(
        write(file, age=[40, 41, None], city=["Köln", None, "Aachen"], new=[True, False, None], prob_no=[0.1, 0.2, 0.3],
              prob_yes=[0.9, 0.8, 0.7], y=["yes", None, "no"], value=[1.5, 2.5, None]),
        Meta(),
    )  # fmt: skip
    assert [(f.name, f.kind, f.categories, f.integer) for f in rows.features] == [
        ("age", "numeric", (), True), ("city", "categorical", ("Aachen", "Köln"), False), ("new", "categorical", ("false", "true"), False),
    ]  # fmt: skip
    assert np.array_equal(rows.X, np.array([[40, 1, 1], [41, np.nan, 0], [np.nan, 0, np.nan]], np.float32), equal_nan=True)
    assert rows.y is not None
    assert rows.y.tolist() == [1, -1, 0]
    assert rows.classes == ("no", "yes")


def test_chosen_columns_come_in_the_order_given(file: Path) -> None:
    rows = read_reference(write(file, a=[1.0], b=[2.0], id=["x"]), Meta(), names=["b", "a"])
    assert [f.name for f in rows.features] == ["b", "a"]
    assert rows.X.tolist() == [[2.0, 1.0]]


def test_true_classes_without_probabilities_are_no_use_and_no_error(file: Path) -> None:
    assert read_reference(write(file, features=lists([[1.0]]), y=["spam"]), Meta()).y is None
    assert read_reference(write(file, features=lists([[1.0]]), y=[3]), Meta()).y is None


def test_large_whole_numbers_are_numbers(file: Path) -> None:
    big = 1_700_000_000_123_456_789
    assert read_reference(write(file, features=[[16_777_217]], value=[big]), Meta()).X[0, 0] == np.float32(16_777_217)
    assert read_reference(write(file, stamp=[big]), Meta()).X[0, 0] == np.float32(big)


def test_numbers_beyond_float32_become_infinite_and_are_counted_later(file: Path) -> None:
    assert np.isinf(read_reference(write(file, features=[[1e300]]), Meta()).X[0, 0])


@pytest.mark.parametrize(
    ("columns", "told"),
    [
        ({"features": lists(np.empty((0, 3)))}, "the reference has no rows"),
        ({"features": [[1.0], [1.0, 2.0]]}, "features: row 1 has 2 values, row 0 has 1"),
        ({"features": [[1.0], None]}, "features: row 1 is null"),
        ({"features": [["a"]]}, "column features is string, not numbers"),
        ({"features": [[{"a": 1}]]}, "not numbers"),
        ({"features": [[1.0]], "probs": [[0.5], [0.5]][:1], "y": ["x"]}, r"y says \['x'\], which is none of the classes \['0'\]"),
        ({"features": [[1.0]], "member": ["maybe"]}, "column member is string, not true or false"),
        ({"features": [[1.0]], "value": ["dear"]}, "column value is string, not numbers"),
        ({"a": [[[1.0]]]}, "column a is list"),
        ({"when": pa.array([1], pa.timestamp("ns"))}, r"column when is timestamp\[ns\], not numbers"),
        ({"y": [1]}, "no feature columns; it has y"),
        ({"id": [f"customer {k}" for k in range(5_000)]}, "column id has 5000 categories"),
        ({"empty": pa.array([None], pa.string())}, "column empty has 0 categories"),
    ],
)
def test_what_is_wrong_is_told_by_file_and_column(columns: dict[str, Any], told: str, file: Path) -> None:
    with pytest.raises(TableError, match=told) as caught:
        read_reference(write(file, **columns), Meta())
    assert str(file) in str(caught.value)


@pytest.mark.parametrize(
    ("meta", "told"),
    [
        (Meta(features=["a"]), "features has 3 columns, but 1 names are given"),
        (Meta(integer_features=[True]), "integer_features has 1 entries for 3 features"),
        (Meta(bounds={"lo": [0.0]}), "bounds.lo has 1 entries for 3 features"),
    ],
)
def test_a_meta_file_of_another_model_is_told(meta: Meta, told: str, file: Path) -> None:
    with pytest.raises(TableError, match=told):
        read_reference(write(file, **reference_columns(5)), meta)


def test_a_column_that_is_not_there_is_told_beside_those_that_are(file: Path) -> None:
    with pytest.raises(TableError, match="no column agee; it has age, y"):
        read_reference(write(file, age=[1], y=[0]), Meta(), names=["agee"])


def test_two_columns_of_one_name_are_told(file: Path) -> None:
    pq.write_table(pa.table([[1.0], [2.0]], names=["a", "a"]), file)
    with pytest.raises(TableError, match="two columns are named a"):
        read_reference(file, Meta())


def test_what_is_no_parquet_file_is_told(tmp_path: Path) -> None:
    text = tmp_path / "rows.parquet"
    text.write_text("a,b\n1,2\n")
    with pytest.raises(TableError, match=r"rows\.parquet: not a parquet file"):
        read_table(text)
    with pytest.raises(TableError, match=r"absent\.parquet: no such file"):
        read_table(tmp_path / "absent.parquet")


def test_a_meta_file_is_optional_tolerant_of_more_and_told_when_broken(tmp_path: Path) -> None:
    path = tmp_path / "meta.json"
    assert read_meta(path) == Meta()
    path.write_text('{"features": ["a"], "bounds": {"lo": [NaN], "hi": [Infinity]}, "victim": {"accuracy": NaN}}')
    assert read_meta(path).bounds == {"lo": [None], "hi": [None]}
    for broken in ("{", "[1]", '{"features": 3}', "\ud800".encode("utf-8", "surrogatepass")):
        path.write_bytes(broken if isinstance(broken, bytes) else broken.encode())
        with pytest.raises(TableError, match=r"meta\.json"):
            read_meta(path)


def test_every_kind_of_list_is_a_matrix(file: Path) -> None:
    flat = np.arange(6, dtype=np.float64).reshape(3, 2)
    for kind in (pa.list_(pa.float64()), pa.large_list(pa.float32()), pa.list_(pa.float32(), 2), pa.list_(pa.int64())):
        column = pa.chunked_array([pa.array(flat[:2].astype(int).tolist(), kind), pa.array(flat[2:].astype(int).tolist(), kind)])
        assert matrix(file, column, "x").tolist() == flat.tolist()
    with pytest.raises(TableError, match="column x is double, not lists of numbers"):
        matrix(file, pa.chunked_array([[1.0]]), "x")


def test_anything_that_can_be_written_is_text(file: Path) -> None:
    assert texts(file, pa.chunked_array([[7, None, 7]]), "client_id").codes.tolist() == [0, -1, 0]
    assert list(texts(file, pa.chunked_array([["é", "é"]]), "client_id").values) == ["é"]
    with pytest.raises(TableError, match="column client_id is list"):
        texts(file, pa.chunked_array([[[1]]]), "client_id")


def test_the_traces_own_meta_files_can_be_read() -> None:
    for path in Path("tests/traces").glob("*/meta.json"):
        assert json.loads(path.read_text())["features"] == read_meta(path).features


def test_the_time_of_a_row_is_a_timestamp_or_seconds_and_no_feature(file: Path) -> None:
    day = pa.array([86_400_000_000, 86_401_500_000], pa.timestamp("us", tz="Europe/Berlin"))
    rows = read_reference(write(file, age=[1.0, 2.0], seen=day), Meta(), time_column="seen")
    assert ([f.name for f in rows.features], list(rows.at_s if rows.at_s is not None else ())) == (["age"], [86_400.0, 86_401.5])
    rows = read_reference(write(file, features=lists([[1.0], [2.0]]), ts=[5, 6]), Meta())
    assert list(rows.at_s if rows.at_s is not None else ()) == [5.0, 6.0]
    assert read_reference(write(file, age=[1.0], day=[1]), Meta()).at_s is None
    assert read_reference(write(file, ts=[1.0], age=[1]), Meta(), names=["ts", "age"]).at_s is None


@pytest.mark.parametrize(
    ("seen", "column", "names", "message"),
    [
        ([1.0, None], "seen", [], "column seen, row 1: nan is no time in seconds since 1970"),
        ([1.7e12, 1.0], "seen", [], "column seen, row 0: 1.7e[+]12 is no time"),
        (["a", "b"], "seen", [], "column seen is string, not numbers"),
        ([1.0, 2.0], "sene", [], "no column sene; it has age, seen"),
        ([1.0, 2.0], "seen", ["seen", "age"], "column seen can be a feature or the rows' time, not both"),
    ],
)
def test_a_time_that_is_none_is_told_by_column_and_row(file: Path, seen: list[object], column: str, names: list[str], message: str) -> None:
    with pytest.raises(TableError, match=message):
        read_reference(write(file, age=[1.0, 2.0], seen=seen), Meta(), names=names, time_column=column)
