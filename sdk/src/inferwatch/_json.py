"""JSON records to event columns.

A record is read as a whole: with types made for its names where there are any (`inferwatch._shapes`), else as a list of `Event`, and event
by event only when that met an error. In nearly every record the events are alike, and become columns at once; else they are grouped first.
Numbers go from the decoder's floats to the matrix as packed doubles.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from inferwatch._columns import EventColumns
from inferwatch._contract import MAX_EVENTS, MAX_TEXT, DecodeError, Event, Status
from inferwatch._rows import columns_of, matrix_of, nanoseconds
from inferwatch._shapes import RARE, READ_ERRORS, Shape, Shapes

_STATUS = {status.name.lower(): int(status) for status in Status}
_ALIKE = ("model", "version", "service", "instance")
_decode_event = msgspec.json.Decoder(Event).decode
_decode_events = msgspec.json.Decoder(list[Event]).decode
_decode_raw = msgspec.json.Decoder(list[msgspec.Raw]).decode
_astuple: Callable[[Any], tuple[Any, ...]] = msgspec.structs.astuple
_shapes = Shapes()

_Columns = dict[str, tuple[Any, ...]]
"""By field of `Event`, one entry an event."""


def decode_json(payload: bytes, shapes: Shapes | None = _shapes) -> tuple[list[EventColumns], list[DecodeError]]:
    """The events of a JSON record, grouped by model version, producer and feature names, and what was wrong with the rest.

    One bad event does not cost its neighbours: it is reported, they are kept. Names are in the order of the first event of the record that
    has them; the others may have them in any order.

    Args:
        payload: an event or a list of events.
        shapes: types at hand, from record to record; without them the result is the same, and takes longer.

    Raises:
        DecodeError: when the record as a whole can't be read.
    """
    bad: list[DecodeError] = []
    of_shape = None if shapes is None else shapes.read(payload)
    shape, events = of_shape or (None, _read(payload, bad))
    if len(events) > MAX_EVENTS:
        raise DecodeError("oversized", f"{len(events)} events in one record; at most {MAX_EVENTS}")
    columns = _columns(events) if shape and events else {}
    groups = [columns] if columns and _are_alike(columns) else [_columns(alike) for alike in _grouped(events, bad)]
    decoded = []
    for group in groups:
        try:
            decoded.append(_event_columns(group, shape).check())
        except DecodeError as error:
            bad.extend([error] * len(group["model"]))
    return decoded, bad


def _read(payload: bytes, bad: list[DecodeError]) -> list[Event]:
    try:
        return _decode_events(payload) if payload[:100].lstrip()[:1] == b"[" else [_decode_event(payload)]
    except READ_ERRORS:
        return _read_each(payload, bad)


def _read_each(payload: bytes, bad: list[DecodeError]) -> list[Event]:
    """Event by event, after the fast path met an error."""
    try:
        raw = _decode_raw(payload) if payload.lstrip()[:1] == b"[" else [payload]
    except READ_ERRORS as error:
        raise DecodeError("truncated", f"not JSON events: {error}") from error
    if len(raw) > MAX_EVENTS:  # before an error is made for each: half a million of them fit into a record
        raise DecodeError("oversized", f"{len(raw)} events in one record; at most {MAX_EVENTS}")
    events = []
    for position, one in enumerate(raw):
        try:
            events.append(_decode_event(one))
        except msgspec.ValidationError as error:
            bad.append(DecodeError("invalid_event", f"event {position}: {error}"))
        except READ_ERRORS as error:
            if len(raw) == 1:
                raise DecodeError("truncated", f"not a JSON event: {error}") from error
            bad.append(DecodeError("invalid_event", f"event {position}: {error}"))
    return events


def _columns(events: Sequence[Event]) -> _Columns:
    columns = dict(zip(events[0].__struct_fields__, zip(*map(_astuple, events), strict=True), strict=True))
    none = (None,) * len(events)
    return dict.fromkeys(RARE, none) | columns  # a type made for them may lack some


def _are_alike(columns: _Columns) -> bool:
    """Whether events read with a shape make one group as they are. "No" is no error: then each is looked at."""
    n = len(columns["model"])
    return (
        all(columns[field].count(columns[field][0]) == n for field in _ALIKE)
        and _one_form(columns["features"])
        and _one_form(columns["scores"])
        and set(map(type, columns["at"])) <= {int, type(None)}
        and int not in set(map(type, columns["prediction"]))
    )


def _one_form(column: tuple[Any, ...]) -> bool:
    """Of lists, structs (all of one type then) and None."""
    if column[0] is None:
        return column.count(None) == len(column)
    if column.count(None):
        return False
    return not isinstance(column[0], list) or len(set(map(len, column))) == 1


def _grouped(events: Sequence[Event], bad: list[DecodeError]) -> Iterable[list[Event]]:
    """Events that make columns together. Dicts of the same names come out in the same order, that of the first."""
    groups: dict[tuple[Any, ...], list[Event]] = {}
    last: tuple[Any, ...] = ()
    group: list[Event] = []
    features, scores = _Forms(), _Forms()
    for event in events:
        if type(event.features) is dict:
            event.features = features.ordered(event.features)
        if type(event.scores) is dict:
            event.scores = scores.ordered(event.scores)
        if type(event.at) is not int or type(event.prediction) is int:  # the others cannot be beyond their types
            wrong = _beyond_the_types(event)
            if wrong:
                bad.append(DecodeError("invalid_event", wrong))
                continue
        key = (event.model, event.version, event.service, event.instance, features.of(event.features), scores.of(event.scores))
        if key != last:  # neighbours are mostly alike, and comparing is cheaper than hashing
            last, group = key, groups.setdefault(key, [])
        group.append(event)
    return groups.values()


class _Forms:
    """The sets of names met in a record's features or scores, each with the order in which it came first."""

    def __init__(self) -> None:
        self._first: dict[frozenset[str], tuple[str, ...]] = {}
        self._orders: dict[tuple[str, ...], tuple[str, ...]] = {}
        self._last: tuple[str, ...] = ()

    def ordered(self, values: dict[str, Any]) -> dict[str, Any]:
        names = tuple(values)
        if names == self._last:
            return values
        first = self._orders.get(names)
        if first is None:
            first = self._orders[names] = self._first.setdefault(frozenset(names), names)
        self._last = first
        return values if names == first else {name: values[name] for name in first}

    def of(self, values: Any) -> Any:
        """Equal for what makes columns together."""
        if values is None or isinstance(values, list):
            return None if values is None else len(values)
        return self._last if isinstance(values, dict) else type(values)


def _beyond_the_types(event: Event) -> str:
    """What is wrong with an event although its types are right: it would cost its neighbours their column."""
    if isinstance(event.at, datetime.datetime) and event.at.year > 2261:
        return f"at {event.at.isoformat()} is beyond 2261, the end of 64-bit nanoseconds"
    if type(event.prediction) is int and not -(10**MAX_TEXT) < event.prediction < 10**MAX_TEXT:
        return f"prediction of more than {MAX_TEXT} digits"
    return ""


def _event_columns(columns: _Columns, shape: Shape | None) -> EventColumns:
    """Of events that share model version, producer and the names (or the number) of features and scores."""
    n = len(columns["model"])
    features, scores = columns["features"], columns["scores"]
    names, rows = _names_and_rows(features, shape.names if shape else ())
    score_names, score_rows = _names_and_rows(scores, shape.score_names if shape else ())
    only_numbers = shape is not None and not shape.text and rows is not None
    return columns_of(
        model=columns["model"][0],
        version=columns["version"][0],
        service=columns["service"][0],
        instance=columns["instance"][0],
        names=names,
        features=[()] * n if rows is None else matrix_of(rows) if only_numbers else rows,
        score_names=score_names or (),
        scores=score_rows,
        client=columns["client"],
        at_ns=columns["at"] if set(map(type, columns["at"])) == {int} else [nanoseconds(at) for at in columns["at"]],
        number=[-1 if number is None else number for number in columns["number"]] if None in columns["number"] else columns["number"],
        status=_statuses(columns["status"]),
        latency_ms=columns["latency_ms"],
        value=columns["value"],
        prediction=columns["prediction"],
        event_id=[one or None for one in columns["event_id"]],
        trace_id=columns["trace_id"],
        owner=columns["owner"],
        source=columns["source"],
        cost=columns["cost"],
        feature_view=columns["feature_view"],
        feature_age_s=columns["feature_age_s"],
    )


def _names_and_rows(column: tuple[Any, ...], names: tuple[str, ...]) -> tuple[tuple[str, ...] | None, Sequence[Sequence[Any]] | None]:
    """The names, None for none, and the values of each event, None where there are none."""
    first = column[0]
    if first is None:
        return None, None
    if isinstance(first, list):
        return None, column
    if isinstance(first, dict):
        return tuple(first), [tuple(one.values()) for one in column]
    return names, list(map(_astuple, column))


def _statuses(column: tuple[str, ...]) -> Sequence[int] | NDArray[np.uint8]:
    if column.count("ok") == len(column):
        return np.zeros(len(column), np.uint8)
    return [_STATUS[one] for one in column]
