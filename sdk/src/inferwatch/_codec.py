"""Bytes of a Kafka record to and from event columns.

Two encodings, told apart by the ``content-type`` header: columnar msgpack (numbers as little-endian bytes, text dictionary-coded; 25 M
events/s to read) and JSON (one event or a list; for curl, Go and KServe).
"""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from inferwatch._columns import EventColumns, Strings
from inferwatch._contract import (
    CONTENT_TYPE_COLUMNS,
    CONTENT_TYPE_JSON,
    MAX_FEATURES,
    MAX_RECORD_BYTES,
    DecodeError,
)
from inferwatch._json import decode_json

VERSION = 1


class _WireStrings(msgspec.Struct, array_like=True):
    values: list[str]
    codes: bytes


class _Wire(msgspec.Struct, omit_defaults=True, kw_only=True):
    """The columnar record. Codes int32, times and numbers int64, floats float32 (``value`` float64), all little-endian."""

    v: int
    model: str
    version: str
    service: str = ""
    instance: str = ""
    client: _WireStrings
    at_ns: bytes
    number: bytes
    status: bytes
    latency_ms: bytes
    names: list[str] = []
    width: int = 0
    numeric: bytes = b""
    category_names: list[str] = []
    categories: list[_WireStrings] = []
    score_names: list[str] = []
    score_width: int = 0
    scores: bytes | None = None
    value: bytes | None = None
    prediction: _WireStrings | None = None
    event_id: _WireStrings | None = None
    trace_id: _WireStrings | None = None
    owner: _WireStrings | None = None
    source: _WireStrings | None = None
    cost: bytes | None = None
    feature_view: _WireStrings | None = None
    feature_age_s: bytes | None = None


_decode_wire = msgspec.msgpack.Decoder(_Wire).decode
_encode_wire = msgspec.msgpack.Encoder().encode


def encode(events: EventColumns) -> bytes:
    """The columnar record of these events.

    Example:
        >>> import numpy as np
        >>> two = EventColumns(
        ...     model="m", version="1", service="s", instance="i", client=Strings.of(["a", "b"]), at_ns=np.array([1, 2]),
        ...     number=np.array([0, 1]), status=np.zeros(2, np.uint8), latency_ms=np.ones(2, np.float32),
        ...     names=("x",), numeric=np.array([[0.5], [np.nan]], np.float32))
        >>> decode_columns(encode(two)).numeric.tolist()
        [[0.5], [nan]]
    """
    return _pack(
        _Wire(
            v=VERSION,
            model=events.model,
            version=events.version,
            service=events.service,
            instance=events.instance,
            client=_strings_out(events.client),
            at_ns=_bytes(events.at_ns, "<i8"),
            number=_bytes(events.number, "<i8"),
            status=_bytes(events.status, "u1"),
            latency_ms=_bytes(events.latency_ms, "<f4"),
            names=list(events.names),
            width=events.numeric.shape[1],
            numeric=_bytes(events.numeric, "<f4"),
            category_names=list(events.category_names),
            categories=[_strings_out(column) for column in events.categories],
            score_names=list(events.score_names),
            score_width=0 if events.scores is None else events.scores.shape[1],
            scores=None if events.scores is None else _bytes(events.scores, "<f4"),
            value=None if events.value is None else _bytes(events.value, "<f8"),
            prediction=_optional_out(events.prediction),
            event_id=_optional_out(events.event_id),
            trace_id=_optional_out(events.trace_id),
            owner=_optional_out(events.owner),
            source=_optional_out(events.source),
            cost=None if events.cost is None else _bytes(events.cost, "<f4"),
            feature_view=_optional_out(events.feature_view),
            feature_age_s=None if events.feature_age_s is None else _bytes(events.feature_age_s, "<f4"),
        )
    )


def _pack(wire: _Wire) -> bytes:
    try:
        return _encode_wire(wire)
    except UnicodeEncodeError:  # half a surrogate pair, as Python's json makes of "\\ud800": replaced, so that its neighbours travel
        return _encode_wire(_scrubbed(msgspec.to_builtins(wire, builtin_types=(bytes,))))


def _scrubbed(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, list):
        return [_scrubbed(one) for one in value]
    return {key: _scrubbed(one) for key, one in value.items()} if isinstance(value, dict) else value


def decode_columns(payload: bytes) -> EventColumns:
    """The events of a columnar record; number columns are read-only views of the payload.

    Raises:
        DecodeError: with a reason of the contract. Nothing else, whatever the bytes.
    """
    try:
        wire = _decode_wire(payload)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise DecodeError("truncated", f"not a columnar record: {error}") from error
    if wire.v != VERSION:
        raise DecodeError("unsupported_version", f"record version {wire.v}; this server reads {VERSION}")
    try:
        at_ns = np.frombuffer(wire.at_ns, "<i8")
        n = len(at_ns)
        if not (0 <= wire.width <= MAX_FEATURES and 0 <= wire.score_width <= MAX_FEATURES):
            raise DecodeError("oversized", f"{wire.width} features and {wire.score_width} scores; at most {MAX_FEATURES}")
        return EventColumns(
            model=wire.model,
            version=wire.version,
            service=wire.service,
            instance=wire.instance,
            client=_strings_in(wire.client),
            at_ns=at_ns,
            number=np.frombuffer(wire.number, "<i8"),
            status=np.frombuffer(wire.status, "u1"),
            latency_ms=np.frombuffer(wire.latency_ms, "<f4"),
            names=tuple(wire.names),
            numeric=np.frombuffer(wire.numeric, "<f4").reshape(n, wire.width),
            category_names=tuple(wire.category_names),
            categories=tuple(_strings_in(column) for column in wire.categories),
            score_names=tuple(wire.score_names),
            scores=None if wire.scores is None else np.frombuffer(wire.scores, "<f4").reshape(n, wire.score_width),
            value=None if wire.value is None else np.frombuffer(wire.value, "<f8"),
            prediction=_optional_in(wire.prediction),
            event_id=_optional_in(wire.event_id),
            trace_id=_optional_in(wire.trace_id),
            owner=_optional_in(wire.owner),
            source=_optional_in(wire.source),
            cost=None if wire.cost is None else np.frombuffer(wire.cost, "<f4"),
            feature_view=_optional_in(wire.feature_view),
            feature_age_s=None if wire.feature_age_s is None else np.frombuffer(wire.feature_age_s, "<f4"),
        ).check()
    except ValueError as error:
        if isinstance(error, DecodeError):
            raise
        raise DecodeError("inconsistent", str(error)) from error


def decode(payload: bytes, content_type: str) -> tuple[list[EventColumns], list[DecodeError]]:
    """The events of a record by its content type, and the JSON events that were refused.

    Raises:
        DecodeError: when the record as a whole can't be read.
    """
    if len(payload) > MAX_RECORD_BYTES:
        raise DecodeError("oversized", f"{len(payload)} bytes; at most {MAX_RECORD_BYTES}")
    kind = content_type.split(";", 1)[0].strip().lower()
    if kind == CONTENT_TYPE_COLUMNS:
        return [decode_columns(payload)], []
    if kind == CONTENT_TYPE_JSON:
        return decode_json(payload)
    raise DecodeError("foreign", f"content type {content_type[:80]!r}; this server reads {CONTENT_TYPE_COLUMNS} and {CONTENT_TYPE_JSON}")


def _bytes(array: NDArray[Any], dtype: str) -> bytes:
    return np.ascontiguousarray(array, dtype).tobytes()


def _strings_out(column: Strings) -> _WireStrings:
    return _WireStrings(list(column.values), _bytes(column.codes, "<i4"))


def _strings_in(wire: _WireStrings) -> Strings:
    return Strings(wire.values, np.frombuffer(wire.codes, "<i4"))


def _optional_out(column: Strings | None) -> _WireStrings | None:
    return None if column is None else _strings_out(column)


def _optional_in(wire: _WireStrings | None) -> Strings | None:
    return None if wire is None else _strings_in(wire)
