"""Rows reach Arrow as they are, or are refused by table, column and row."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.columns import EARLIEST_NS, LATEST_NS, MAX_TEXT
from schemas.rows import TABLES, AlertRow, ClientWindowRow, FeatureWindowRow, RowError, SampledEventRow, WindowRow, columns, to_arrow

START = 1_767_225_600 * 10**9  # 2026-01-01


def client(**fields: Any) -> ClientWindowRow:
    given: dict[str, Any] = {"model": "m", "version": "1", "start": START, "client": "c", "n": 1}
    return ClientWindowRow(**given | fields)


def feature(**fields: Any) -> FeatureWindowRow:
    given: dict[str, Any] = {"model": "m", "version": "1", "start": START, "feature": "f", "kind": "numeric", "n": 1}
    return FeatureWindowRow(**given | fields)


def alert(**fields: Any) -> AlertRow:
    given = {
        "alert_id": "a",
        "model": "m",
        "version": "1",
        "detector": "drift",
        "alertname": "Drift",
        "severity": "page",
        "state": "firing",
    }
    return AlertRow(**given | {"opened_at": START, "at": START} | fields)


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
counts = st.integers(0, 2**64 - 1)
numbers = st.floats(allow_nan=False, allow_infinity=False)


@settings(deadline=None)  # the first conversion imports what pyarrow needs
@given(
    st.lists(
        st.builds(
            ClientWindowRow,
            model=texts,
            version=texts,
            start=st.integers(EARLIEST_NS, LATEST_NS - 1),
            client=texts,
            n=counts,
            ln_evasion=numbers,
            evidence=st.dictionaries(texts, numbers, max_size=3),
            revision=counts,
        ),
        min_size=1,
        max_size=5,
    )
)
def test_what_goes_in_is_what_arrow_holds(rows: list[ClientWindowRow]) -> None:
    table = to_arrow(rows)
    assert table.column_names == list(columns(ClientWindowRow))
    for row, stored in zip(rows, table.to_pylist(), strict=True):
        assert stored["client"] == row.client
        assert stored["n"] == row.n
        assert stored["ln_evasion"] == row.ln_evasion
        assert dict(stored["evidence"]) == row.evidence
    assert table["start"].cast(pa.int64()).to_pylist() == [row.start // 10**6 for row in rows]


def test_the_same_row_gives_the_same_bytes_whatever_the_order_of_its_map() -> None:
    one, other = client(evidence={"a": 1.0, "b": 2.0}), client(evidence={"b": 2.0, "a": 1.0})
    assert to_arrow([one]).equals(to_arrow([other]))


def test_a_measure_not_taken_is_null_and_nan_counts_as_not_taken() -> None:
    assert to_arrow([feature(psi=None), feature(psi=float("nan")), feature(psi=0.5)])["psi"].to_pylist() == [None, None, 0.5]


def test_counts_come_as_arrays_too() -> None:
    assert to_arrow([feature(cells=np.array([1, 2], np.uint64))])["cells"].to_pylist() == [[1, 2]]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (client(n=-1), "client_windows.n"),
        (client(n="many"), "client_windows.n"),
        (client(n=None), "row 1 is None, and UInt64 holds no NULL"),
        (client(ln_evasion=float("inf")), r"client_windows.ln_evasion: row 1 is 'inf', expected finite"),
        (client(ln_evasion=float("nan")), r"client_windows.ln_evasion: row 1 is 'nan', expected finite"),
        (client(evidence={"margin": float("-inf")}), r"client_windows.evidence: row 1"),
        (client(start=START // 10**9), "client_windows.start: row 1 .* UTC nanoseconds from 2000 to 2099"),
        (client(start=LATEST_NS), "UTC nanoseconds from 2000 to 2099"),
        (client(start=None), "client_windows.start"),
        (client(client="\ud800"), "client_windows.client"),
        (client(client="x" * (MAX_TEXT + 1)), "text of at most"),
    ],
)
def test_a_row_that_cannot_be_stored_is_named(row: ClientWindowRow, message: str) -> None:
    with pytest.raises(RowError, match=message):
        to_arrow([client(), row])


@pytest.mark.parametrize("evidence", ["", "[1]", "{", "null"])
def test_evidence_that_is_no_json_object_is_refused(evidence: str) -> None:
    with pytest.raises(RowError, match=r"alerts\.evidence: row 0 .* a JSON object"):
        to_arrow([alert(evidence=evidence)])


def test_an_infinite_effect_size_is_refused_because_null_is_the_way_to_say_unknown() -> None:
    with pytest.raises(RowError, match=r"feature_windows\.psi"):
        to_arrow([feature(psi=float("inf"))])


def test_infinite_scores_are_refused() -> None:
    row = SampledEventRow(model="m", version="1", at=START, event_id="e", scores=(0.1, float("inf")), reason="random")
    with pytest.raises(RowError, match=r"sampled_events\.scores"):
        to_arrow([row])


def test_rows_of_two_tables_are_not_mixed() -> None:
    with pytest.raises(RowError, match="row 1 is a FeatureWindowRow"):
        to_arrow([client(), feature()])
    with pytest.raises(RowError, match="no rows"):
        to_arrow([])


def test_every_key_is_made_of_fields_and_begins_with_none_that_may_be_null() -> None:
    for table in TABLES:
        assert set(table.key) <= set(table.__struct_fields__)
        assert not any(columns(table)[name].sql.startswith("Nullable") for name in table.key)


def test_tables_and_fields_are_told_apart() -> None:
    assert len({table.table for table in TABLES}) == len(TABLES)
    assert WindowRow.table == "windows"
