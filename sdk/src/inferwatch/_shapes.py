"""Types made at run time for the JSON events of one kind of producer, because a known set of names is read several times faster.

Read as `Event`, the features of an event are a dict: twenty keys are hashed and twenty unions decided, for each event. But the events of a
record are alike. So the first ones are looked at, a subclass of `Event` is made whose features and scores are structs of just those names,
and the record is read as a list of it. The look is only a guess: the struct refuses a name too many, a name too few and a value of another
type, and then the record is read as `Event`. What both can read, both read alike. Of the fields that few send (`RARE`) it has those that
the first events have; when another comes, it is made once more with all of them.

Names are chosen by who sends, and a type costs about 35 us a name to make, so it is made only after `_BYTES_A_NAME` bytes for each of its
names have been read without it: that bounds the time to a fraction of that of reading them. A limited number of types of at most `_NAMES`
names is kept, those used last.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec

from inferwatch._contract import MAX_TEXT, Event, Text

_WAITING = 256
_NAMES = 1_024
_BYTES_A_NAME = 8_192
_LOOK_BYTES = 65_536
_LOOK_EVENTS = 4
"""Events looked at for one with features and scores: an answer that is an error has none."""

_list = re.compile(r"\s*\[\s*")
_comma = re.compile(r"\s*,\s*")
_scan = json.JSONDecoder().raw_decode
READ_ERRORS = (msgspec.DecodeError, ValueError, RecursionError)

Names = tuple[str, ...]
Form = Names | type[list[Any]] | None
"""Of features or scores: their names in order, `list` for a list, None for nothing."""


RARE = frozenset({"trace_id", "owner", "source", "cost", "feature_view", "feature_age_s"})
"""Fields that most producers never send: a type has those that were seen, and the others cost nothing until one comes."""
_FIELDS = {field.name: (field.type, field.default) for field in msgspec.structs.fields(Event)}


class Look(NamedTuple):
    """What the first events of a record have."""

    features: Form
    scores: Form
    text: frozenset[str]
    """Features with text or a boolean."""
    rare: frozenset[str]
    """Which of `RARE` they have; all of it where they have fields that `Event` does not know."""


class Shape:
    """Reads lists of events with features and scores of these forms.

    Attributes:
        names: of the features, in the order of the first event with any; empty where they are no dict.
        score_names: likewise.
        text: features that may be text or boolean; the others are numbers or null.
        rare: fields of `Event` that few send and these may have; the others are None. With all of them it reads what `Event` would.
    """

    def __init__(self, look: Look) -> None:
        self.names = look.features if isinstance(look.features, tuple) else ()
        self.score_names = look.scores if isinstance(look.scores, tuple) else ()
        self.text, self.rare = look.text, look.rare
        number, any_value = float | None, float | bool | Text | None
        features = _field(look.features, list[number], [any_value if name in look.text else number for name in self.names])  # type: ignore[valid-type]
        scores = _field(look.scores, list[float], [float] * len(self.score_names))
        fields: list[Any] = [("features", features, None), ("scores", scores, None)]
        whole = look.rare == RARE
        if not whole:  # refuses what it leaves out, and whatever else `Event` would pass over
            fields += [
                (name, kind) if default is msgspec.NODEFAULT else (name, kind, default)
                for name, (kind, default) in _FIELDS.items()
                if name not in ("features", "scores") and (name in look.rare or name not in RARE)
            ]
        bases: tuple[type, ...] = (Event,) if whole else (msgspec.Struct,)
        event: Any = msgspec.defstruct("EventOfShape", fields, bases=bases, kw_only=True, gc=False, forbid_unknown_fields=not whole)
        self._decode: Callable[[bytes], list[Event]] = msgspec.json.Decoder(list[event]).decode

    def read(self, payload: bytes) -> list[Event] | None:
        """The events, with structs for dicts; None when any of them is of another shape, or wrong."""
        try:
            return self._decode(payload)
        except READ_ERRORS:
            return None


class OfShape(NamedTuple):
    """The events of a record, read with a type."""

    shape: Shape
    events: list[Event]


class Shapes:
    """The types at hand.

    Args:
        room: types kept, at most.
        smallest: bytes of a record below which looking at it costs more than it saves.
        bytes_a_name: to be read without a type, for each name in it, before it is made.

    Attributes:
        counts: records read with a type (``fast``), records that turned out to be of another shape (``other``), types made (``made``),
            made again with more text or fields (``widened``), given up for room (``dropped``) and sets of names that make no type
            (``unfit``).

    Example:
        >>> shapes = Shapes()
        >>> event = b'{"model": "m", "version": "1", "features": {"x": 1.5, "y": null}}'
        >>> record = b"[" + b",".join([event] * 500) + b"]"
        >>> events = [shapes.read(record) for _ in range(3)][-1]
        >>> events.shape.names, len(events.events), shapes.counts["fast"]
        (('x', 'y'), 500, 3)
    """

    def __init__(self, room: int = 64, smallest: int = 8_192, bytes_a_name: int = _BYTES_A_NAME) -> None:
        self.counts: Counter[str] = Counter()
        self._room, self._smallest, self._bytes_a_name = room, smallest, bytes_a_name
        self._shapes: dict[tuple[Form, Form], Shape | None] = {}
        self._waiting: dict[tuple[Form, Form], int] = {}

    def __len__(self) -> int:
        return len(self._shapes)

    def read(self, payload: bytes) -> OfShape | None:
        """The events of a record with a type made for them; None when there is none, or they are not all of its shape."""
        look = look_at(payload) if len(payload) >= self._smallest else None
        shape = self._shape(look, len(payload)) if look else None
        if shape is None:
            return None
        events = shape.read(payload)
        if look and events is None and shape.rare != RARE:  # perhaps for a field that it leaves out: once, then it has them all
            shape = self._widened(look, shape)
            events = shape.read(payload)
        self.counts["other" if events is None else "fast"] += 1
        return None if events is None else OfShape(shape, events)

    def _shape(self, look: Look, read: int) -> Shape | None:
        """The type for what was seen, made if it is worth it. Only single operations on the dicts: threads may share them."""
        key = look.features, look.scores
        shape = self._shapes.pop(key, None)
        if shape is not None:
            self._shapes[key] = shape  # the last is the one used last
            if look.text <= shape.text and look.rare <= shape.rare:
                return shape
        names = sum(len(form) for form in key if isinstance(form, tuple))
        if names > _NAMES or not self._worth(key, names, read):
            return None
        self.counts["made" if shape is None else "widened"] += 1
        try:
            shape = Shape(look if shape is None else look._replace(text=look.text | shape.text, rare=look.rare | shape.rare))
        except (ValueError, TypeError):  # names that JSON must escape
            self.counts["unfit"] += 1
            return None
        self._shapes[key] = shape
        for old in list(self._shapes)[: -self._room]:
            self._shapes.pop(old, None)
            self.counts["dropped"] += 1
        return shape

    def _widened(self, look: Look, shape: Shape) -> Shape:
        """The same with every field of `Event`, from now on. At most once a type, so it costs what that did."""
        whole = Shape(look._replace(text=look.text | shape.text, rare=RARE))
        self.counts["widened"] += 1
        self._shapes[look.features, look.scores] = whole
        return whole

    def _worth(self, key: tuple[Form, Form], names: int, read: int) -> bool:
        """Whether as much has been read without the type as making it costs; then the count begins anew."""
        waited = self._waiting.pop(key, 0) + read
        if waited >= names * self._bytes_a_name:
            return True
        self._waiting[key] = waited
        for old in list(self._waiting)[:-_WAITING]:
            self._waiting.pop(old, None)
        return False


def look_at(payload: bytes) -> Look | None:
    """What the first events of a list have; None when that can't be told, or no type can be made of it. Checks nothing."""
    start = payload[: min(_LOOK_BYTES, len(payload) // 4)].decode("utf-8", "replace")
    begin = _list.match(start)
    features = scores = None
    fields: set[str] = set()
    at = begin.end() if begin else len(start)
    try:
        for _ in range(_LOOK_EVENTS):
            event, at = _scan(start, at)
            features = features or event.get("features")
            scores = scores or event.get("scores")
            fields.update(event)  # an object: the others have no `get`
            comma = _comma.match(start, at)
            if comma is None or (features and scores):
                break
            at = comma.end()
        forms = _form(features), _form(scores)
    except (ValueError, RecursionError, AttributeError):
        return None
    values = features if isinstance(features, dict) else {}
    text = frozenset(name for name, value in values.items() if isinstance(value, (str, bool)))
    return Look(*forms, text, RARE & fields if fields <= _FIELDS.keys() else RARE)


def _form(value: Any) -> Form:
    if isinstance(value, dict):
        if not all(0 < len(name) <= MAX_TEXT for name in value):
            raise ValueError("a name that no event may have")
        return tuple(value)
    return list if isinstance(value, list) else None


def _field(form: Form, of_list: Any, of_names: list[Any]) -> Any:
    if isinstance(form, tuple):
        fields = [f"f{j}" for j in range(len(form))]
        rename = dict(zip(fields, form, strict=True))
        values = list(zip(fields, of_names, strict=True))
        return msgspec.defstruct("NamesOfShape", values, rename=rename, forbid_unknown_fields=True, gc=False) | None
    return None if form is None else of_list | None
