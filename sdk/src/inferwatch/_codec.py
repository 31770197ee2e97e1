"""Bytes of a Kafka record to and from event columns.

Two encodings, told apart by the ``content-type`` header: columnar msgpack (numbers as little-endian bytes, text dictionary-coded; 25 M
events/s to read) and JSON (one event or a list; for curl, Go and KServe).
"""

from __future__ import annotations

import datetime
import itertools
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from inferwatch._columns import EventColumns, Strings
from inferwatch._contract import (
    CONTENT_TYPE_COLUMNS,
    CONTENT_TYPE_JSON,
    MAX_EVENTS,
    MAX_FEATURES,
    MAX_RECORD_BYTES,
    DecodeError,
    Event,
    Status,
)

VERSION = 1
_STATUS = {status.name.lower(): int(status) for status in Status}


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


_decode_wire = msgspec.msgpack.Decoder(_Wire).decode
_encode_wire = msgspec.msgpack.Encoder().encode
_decode_event = msgspec.json.Decoder(Event).decode
_decode_events = msgspec.json.Decoder(list[Event]).decode
_decode_raw = msgspec.json.Decoder(list[msgspec.Raw]).decode


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
    return _encode_wire(
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
        )
    )


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
        ).check()
    except ValueError as error:
        if isinstance(error, DecodeError):
            raise
        raise DecodeError("inconsistent", str(error)) from error


def decode_json(payload: bytes) -> tuple[list[EventColumns], list[DecodeError]]:
    """The events of a JSON record, grouped by model version, producer and feature names, and what was wrong with the rest.

    One bad event does not cost its neighbours: it is reported, they are kept.
    """
    bad: list[DecodeError] = []
    try:
        events = _decode_events(payload) if payload.lstrip()[:1] == b"[" else [_decode_event(payload)]
    except (msgspec.DecodeError, ValueError, RecursionError):
        events = _decode_each(payload, bad)
    if len(events) > MAX_EVENTS:
        raise DecodeError("oversized", f"{len(events)} events in one record; at most {MAX_EVENTS}")
    groups: dict[tuple[Any, ...], list[Event]] = {}
    for event in events:
        features, scores = event.features, event.scores
        key = (
            event.model,
            event.version,
            event.service,
            event.instance,
            tuple(features) if type(features) is dict else len(features) if features is not None else None,
            tuple(scores) if type(scores) is dict else len(scores) if scores is not None else None,
        )
        groups.setdefault(key, []).append(event)
    columns = []
    for group in groups.values():
        try:
            columns.append(_columns(group).check())
        except DecodeError as error:
            bad.extend([error] * len(group))
    return columns, bad


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


def _decode_each(payload: bytes, bad: list[DecodeError]) -> list[Event]:
    """Event by event, after the fast path met an error."""
    try:
        raw = _decode_raw(payload) if payload.lstrip()[:1] == b"[" else [payload]
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise DecodeError("truncated", f"not JSON events: {error}") from error
    events = []
    for position, one in enumerate(raw):
        try:
            events.append(_decode_event(one))
        except msgspec.ValidationError as error:
            bad.append(DecodeError("invalid_event", f"event {position}: {error}"))
        except (msgspec.DecodeError, ValueError, RecursionError) as error:
            if len(raw) == 1:
                raise DecodeError("truncated", f"not a JSON event: {error}") from error
            bad.append(DecodeError("invalid_event", f"event {position}: {error}"))
    return events


def _columns(events: Sequence[Event]) -> EventColumns:
    """Columns of events that share model version, producer and the names of features and scores."""
    first = events[0]
    names, numeric, category_names, categories = _features(events)
    score_names: tuple[str, ...] = ()
    scores = None
    if first.scores is not None:
        rows = [list(e.scores.values()) if isinstance(e.scores, dict) else e.scores or [] for e in events]
        scores = np.array(rows, np.float32).reshape(len(events), len(first.scores))
        score_names = tuple(first.scores) if isinstance(first.scores, dict) else ()
    return EventColumns(
        model=first.model,
        version=first.version,
        service=first.service,
        instance=first.instance,
        client=Strings.of([e.client for e in events]),
        at_ns=np.array([_at_ns(e.at) for e in events], np.int64),
        number=np.array([-1 if e.number is None else e.number for e in events], np.int64),
        status=np.array([_STATUS[e.status] for e in events], np.uint8),
        latency_ms=_floats([e.latency_ms for e in events]),
        names=names,
        numeric=numeric,
        category_names=category_names,
        categories=categories,
        score_names=score_names,
        scores=scores,
        value=_optional_floats([e.value for e in events], np.float64),
        prediction=_optional_strings([None if e.prediction is None else _text(e.prediction) for e in events]),
        event_id=_optional_strings([e.event_id or None for e in events]),
        trace_id=_optional_strings([e.trace_id for e in events]),
        owner=_optional_strings([e.owner for e in events]),
        source=_optional_strings([e.source for e in events]),
        cost=_optional_floats([e.cost for e in events], np.float32),
    )


def _features(events: Sequence[Event]) -> tuple[tuple[str, ...], NDArray[np.float32], tuple[str, ...], tuple[Strings, ...]]:
    first = events[0].features
    if first is None:
        return (), np.empty((len(events), 0), np.float32), (), ()
    if isinstance(first, list):
        flat = itertools.chain.from_iterable(e.features for e in events if isinstance(e.features, list))
        return (), _floats(list(flat)).reshape(len(events), len(first)), (), ()
    names = tuple(first)
    rows = [list(e.features.values()) for e in events if isinstance(e.features, dict)]
    if set(map(type, itertools.chain.from_iterable(rows))) <= {float, int}:  # the common case: one pass
        with np.errstate(over="ignore"):
            numbers = np.fromiter(itertools.chain.from_iterable(rows), np.float64, len(rows) * len(names)).astype(np.float32)  # type: ignore[arg-type]
        return names, numbers.reshape(len(rows), len(names)), (), ()
    columns = list(zip(*rows, strict=True))
    text = [any(isinstance(value, (str, bool)) for value in column) for column in columns]
    numeric = [_floats(column) for column, is_text in zip(columns, text, strict=True) if not is_text]
    return (
        tuple(name for name, is_text in zip(names, text, strict=True) if not is_text),
        np.stack(numeric, 1) if numeric else np.empty((len(rows), 0), np.float32),
        tuple(name for name, is_text in zip(names, text, strict=True) if is_text),
        tuple(
            Strings.of([None if v is None else _text(v) for v in column]) for column, is_text in zip(columns, text, strict=True) if is_text
        ),
    )


def _text(value: object) -> str:
    """Text of a category or a prediction; ``True`` and 1.0 as every language writes them in JSON."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def _at_ns(at: int | datetime.datetime | None) -> int:
    if at is None:
        return -1
    if isinstance(at, int):
        return at
    aware = at if at.tzinfo else at.replace(tzinfo=datetime.UTC)
    return max(-1, int(aware.timestamp()) * 1_000_000_000 + aware.microsecond * 1000)


def _floats(values: Sequence[float | None]) -> NDArray[np.float32]:
    with np.errstate(over="ignore"):  # a number beyond float32 becomes infinite, and is counted as such
        return np.array([np.nan if v is None else v for v in values], np.float64).astype(np.float32)


def _optional_floats(values: Sequence[float | None], dtype: Any) -> NDArray[Any] | None:
    if all(v is None for v in values):
        return None
    return np.array([np.nan if v is None else v for v in values], dtype)


def _optional_strings(values: Sequence[str | None]) -> Strings | None:
    return None if all(v is None for v in values) else Strings.of(values)


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
