"""The JSON Schemas say what the decoder does, and are those of today's types."""

import json
from typing import Any

import jsonschema
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inferwatch import Event
from schemas.json_schema import DIRECTORY, json_schemas, text_of
from tests.sdk.helpers import client

SCHEMAS = json_schemas()
EXAMPLES: dict[str, list[Any]] = {
    "events.v1": [
        {"model": "fraud", "version": "3"},
        {"model": "fraud", "version": "3", "client": "c0ffee", "at": "2026-11-23T08:00:00Z", "features": {"amount": 12.5, "country": "NO"}},
        [{"model": "faces", "version": "1", "features": [0.5, None], "scores": {"yes": 0.9, "no": 0.1}, "prediction": 1, "status": "ok"}],
        {"model": "m", "version": "1", "a_field_of_the_future": 1},
    ],
    "label.v1": [{"model": "fraud", "event_id": "e1", "truth": "fraud"}, {"model": "price", "event_id": "e2", "truth": 2.5, "at": 7}],
    "lifecycle.v1": [{"kind": "loaded", "model": "fraud", "version": "3", "digest": "sha256:00", "signature": "valid"}],
    "heartbeat.v1": [{"model": "fraud", "version": "3", "accepted": 3, "sent": 2, "dropped": 1, "gauges": {"gpu_bytes": 1.0}}],
}
REFUSED: dict[str, list[Any]] = {
    "events.v1": [{"model": "m"}, {"model": "", "version": "1"}, {"model": "m", "version": "1", "status": "?"}, [3], "text"],
    "label.v1": [{"model": "m", "event_id": "e"}, {"model": "m", "event_id": "e", "truth": None}],
    "lifecycle.v1": [{"kind": "lost", "model": "m", "version": "1"}],
    "heartbeat.v1": [{"accepted": -1}],
}


def valid(name: str, message: Any) -> bool:
    return bool(jsonschema.Draft202012Validator(SCHEMAS[name]).is_valid(message))


@pytest.mark.parametrize("name", SCHEMAS)
def test_the_committed_schemas_are_those_of_todays_types(name: str) -> None:
    assert (DIRECTORY / f"{name}.json").read_bytes() == text_of(SCHEMAS[name]), "run: python -m schemas.json_schema"


def test_no_other_schema_is_committed() -> None:
    assert {path.stem for path in DIRECTORY.glob("*.json")} == set(SCHEMAS)


@pytest.mark.parametrize("name", SCHEMAS)
def test_each_is_a_schema_that_accepts_the_examples_and_refuses_the_others(name: str) -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMAS[name])
    assert [message for message in EXAMPLES[name] if not valid(name, message)] == []
    assert [message for message in REFUSED[name] if valid(name, message)] == []


def test_what_the_sdk_sends_as_json_is_valid() -> None:
    watch, transport = client()
    with watch:
        watch.record(model="m", version="1")
        watch.label(model="m", event_id="e", truth=True)
        watch.loaded(model="m", version="1", signature="valid")
    kinds = set()
    for record in transport.records:
        kind = dict(record.headers)["ce_type"].decode().removeprefix("inferwatch.")
        if kind != "events.v1":
            assert valid(kind, json.loads(record.value))
            kinds.add(kind)
    assert kinds == set(SCHEMAS) - {"events.v1"}


_value = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(-1e9, 1e9).filter(lambda x: not x.is_integer())
    | st.text(max_size=4)
)
_any = _value | st.lists(_value, max_size=3) | st.dictionaries(st.sampled_from(["x", "é", ""]), _value, max_size=3)
_fields = (
    "model",
    "version",
    "client",
    "event_id",
    "service",
    "number",
    "features",
    "scores",
    "value",
    "prediction",
    "latency_ms",
    "status",
)


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(st.sampled_from(_fields), _any, max_size=4).map(lambda fields: {"model": "m", "version": "1"} | fields))
def test_schema_and_decoder_agree_about_any_event(event: dict[str, Any]) -> None:
    try:
        msgspec.json.decode(json.dumps(event).encode(), type=Event)
    except msgspec.ValidationError:
        assert not valid("events.v1", event)
    else:
        assert valid("events.v1", event)
