"""Records come back as they were, or are refused with a reason of the contract; nothing else can happen, whatever the bytes."""

import json
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inferwatch import CONTENT_TYPE_COLUMNS, CONTENT_TYPE_JSON, DecodeError, EventColumns, Strings, decode, encode, rows_of
from inferwatch._contract import RecordReason

FIXTURES = Path(__file__).parent / "records"
REASONS = set(typing.get_args(RecordReason))

_rows = st.integers(1, 6)
_text = st.text(max_size=8)


@st.composite
def columns(draw: st.DrawFn) -> EventColumns:
    n = draw(_rows)

    def strings() -> Strings:
        return Strings.of(draw(st.lists(st.none() | _text, min_size=n, max_size=n)))

    def floats(dtype: Any, width: int | None = None) -> Any:
        size = n if width is None else n * width
        values = np.array(draw(st.lists(st.floats(width=32), min_size=size, max_size=size)), dtype)
        return values if width is None else values.reshape(n, width)

    def integers(high: int, low: int = -1) -> Any:
        return np.array(draw(st.lists(st.integers(low, high), min_size=n, max_size=n)))

    def optional(column: Callable[[], Any]) -> Any:
        return column() if draw(st.booleans()) else None

    names = draw(st.lists(_text, unique=True, max_size=4))
    cut = draw(st.integers(0, len(names)))
    named = draw(st.booleans())
    width = cut if named else draw(st.integers(0, 3))
    score_width = draw(st.none() | st.integers(0, 3))
    return EventColumns(
        model=draw(_text.filter(bool)),
        version=draw(_text.filter(bool)),
        service=draw(_text),
        instance=draw(_text),
        client=strings(),
        at_ns=integers(2**63 - 1),
        number=integers(2**63 - 1),
        status=integers(5, 0).astype(np.uint8),
        latency_ms=floats(np.float32),
        names=tuple(names[:cut]) if named else (),
        numeric=floats(np.float32, width),
        category_names=tuple(names[cut:]),
        categories=tuple(strings() for _ in names[cut:]),
        scores=None if score_width is None else floats(np.float32, score_width),
        value=optional(lambda: floats(np.float64)),
        cost=optional(lambda: floats(np.float32)),
        prediction=optional(strings),
        event_id=optional(strings),
        trace_id=optional(strings),
        owner=optional(strings),
        source=optional(strings),
        feature_view=optional(strings),
        feature_age_s=optional(lambda: floats(np.float32)),
    )


def same(one: EventColumns, other: EventColumns) -> bool:
    return str(rows_of(one)) == str(rows_of(other))  # as text, because a NaN equals none


@settings(max_examples=60, deadline=None)
@given(columns())
def test_any_events_come_back_as_they_were(events: EventColumns) -> None:
    (back,), bad = decode(encode(events), CONTENT_TYPE_COLUMNS)
    assert same(back, events)
    assert not bad


@settings(max_examples=30, deadline=None)
@given(columns(), st.data())
def test_taking_and_compacting_keeps_the_rows(events: EventColumns, data: st.DataObject) -> None:
    rows = np.array(data.draw(st.lists(st.integers(0, len(events) - 1), min_size=1, max_size=8)))
    taken = events.take(rows).compact().check()
    everything = rows_of(events)
    assert str(rows_of(taken)) == str([everything[row] for row in rows])


@pytest.mark.parametrize("content_type", [CONTENT_TYPE_COLUMNS, CONTENT_TYPE_JSON, "", "text/plain"])
@given(payload=st.binary(max_size=200))
def test_arbitrary_bytes_are_decoded_or_refused_with_a_reason(content_type: str, payload: bytes) -> None:
    try:
        decode(payload, content_type)
    except DecodeError as error:
        assert error.reason in REASONS


@settings(max_examples=150, deadline=None)
@given(columns(), st.data())
def test_damaged_bytes_are_decoded_or_refused_with_a_reason(events: EventColumns, data: st.DataObject) -> None:
    payload = bytearray(encode(events))
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(payload) - 1))
        match data.draw(st.sampled_from(["flip", "cut", "insert"])):
            case "flip":
                payload[place] = data.draw(st.integers(0, 255))
            case "cut":
                del payload[place : place + data.draw(st.integers(1, 20))]
            case _:
                payload[place:place] = data.draw(st.binary(max_size=9))
        if not payload:
            break
    try:
        for decoded in decode(bytes(payload), CONTENT_TYPE_COLUMNS)[0]:
            decoded.check()
            rows_of(decoded)
    except DecodeError as error:
        assert error.reason in REASONS


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["x", "y", "é", ""]), inner, max_size=3),
    max_leaves=5,
)
_FIELDS = ("model", "client", "at", "number", "features", "scores", "prediction", "value", "status", "latency_ms", "cost", "owner")
_event = st.dictionaries(st.sampled_from(_FIELDS), _json, max_size=4).map(lambda fields: {"model": "m", "version": "1"} | fields)


@settings(max_examples=150, deadline=None)
@given(st.lists(_event, min_size=1, max_size=5))
def test_a_bad_json_event_costs_none_of_its_neighbours(events: list[dict[str, Any]]) -> None:
    good: dict[str, Any] = {"model": "good", "version": "1", "client": "c", "features": {"x": 1.5, "y": "é"}, "scores": [0.5, 0.5]}
    batch = [good, *events, good]
    decoded, bad = decode(json.dumps(batch).encode(), CONTENT_TYPE_JSON)
    assert sum(map(len, decoded)) + len(bad) == len(batch)
    kept = [row for one in decoded for row in rows_of(one) if row["model"] == "good"]
    assert [(row["features"], row["scores"]) for row in kept] == [({"x": 1.5, "y": "é"}, [0.5, 0.5])] * 2
    assert all(error.reason in REASONS for error in bad)


@pytest.mark.parametrize(
    "bad",
    [
        {"at": "9999-01-01T00:00:00Z"},
        {"prediction": 10**300},
        {"at": 2**63},
        {"number": -1},
        {"features": {"x": "v" * 257}},
        {"status": "?"},
        3,
    ],
    ids=range(7),
)
def test_a_bad_json_event_of_the_same_shape_costs_none_of_its_neighbours(bad: Any) -> None:
    good: dict[str, Any] = {"model": "m", "version": "1", "features": {"x": 1.5}}
    decoded, errors = decode(json.dumps([good, good | bad if isinstance(bad, dict) else bad, good]).encode(), CONTENT_TYPE_JSON)
    assert sum(map(len, decoded)) == 2
    assert [error.reason for error in errors] == ["invalid_event"]


def test_json_times_may_be_numbers_or_text() -> None:
    events = [
        {"model": "m", "version": "1", "at": at} for at in (0, 5, "1970-01-01T00:00:00.000002Z", "1970-01-01T02:00:00.000003+02:00", None)
    ]
    (decoded,), _ = decode(json.dumps(events).encode(), CONTENT_TYPE_JSON + "; charset=utf-8")
    assert decoded.at_ns.tolist() == [0, 5, 2_000, 3_000, -1]


def test_half_a_surrogate_pair_is_replaced_and_its_neighbours_travel() -> None:
    n = 2
    events = EventColumns(
        model="m",
        version="1",
        service="",
        instance="",
        client=Strings.of(["a\ud800", "é"]),
        at_ns=np.zeros(n, np.int64),
        number=np.zeros(n, np.int64),
        status=np.zeros(n, np.uint8),
        latency_ms=np.zeros(n, np.float32),
        numeric=np.zeros((n, 0), np.float32),
    )
    (back,), _ = decode(encode(events), CONTENT_TYPE_COLUMNS)
    assert [back.client[0], back.client[1]] == ["a?", "é"]


@pytest.mark.parametrize("path", sorted(FIXTURES.glob("*.v1.*")), ids=lambda path: path.name)
def test_records_of_producers_in_the_field_are_still_read(path: Path) -> None:
    """The bytes are those that released versions wrote: never regenerate them, add new ones."""
    content_type = CONTENT_TYPE_JSON if path.suffix == ".json" else CONTENT_TYPE_COLUMNS
    decoded, bad = decode(path.read_bytes(), content_type)
    assert not bad
    expected = msgspec.json.decode((FIXTURES / "expected.json").read_bytes())
    assert json.loads(json.dumps([row for one in decoded for row in rows_of(one)])) == expected


def test_there_are_records_of_the_field() -> None:
    assert {path.name for path in FIXTURES.iterdir()} >= {"events.v1.msgpack", "events.v1.json", "expected.json"}
