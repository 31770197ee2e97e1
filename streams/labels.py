"""Delayed labels meet the answers that they are about, whichever comes first, and what comes of each label is counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from inferwatch import Label
from streams.duplicates import keys_of_id
from streams.outcome_store import Classes, OutcomeStore
from streams.owner import NS
from streams.settings import Labels

_AT_ONCE = 1_000
"""Labels, ..."""
_FRESH = 1 << 18
"""... or answers, that wait for a tick no longer."""
_STEP_NS = 60 * NS
"""Time passes by no more at once: after an outage, what is late with it shall not find that its label has given up."""

Fate = Literal["joined", "twice", "unknown", "crowded_out", "not_a_class", "not_followed", "too_many_models", "erased"]
"""What becomes of a label. "unknown": no such event came, or it is forgotten; "crowded_out": it waited for its event, and more came than
may wait; "not_a_class": its truth is none of the model's classes, or no number where its answers are; "not_followed": its event is outside
of ``labels.share``; "erased": its event was to be forgotten."""


class _Waiting(msgspec.Struct, array_like=True):
    key: int
    other: int
    """The key if the id is ``instance:number``; else 0."""
    version: str
    truth: str
    received_ns: int
    number: int
    since_ns: int
    """By the desk's clock."""


class Joined(msgspec.Struct, frozen=True):
    """Labels and the answers that they are about, of one model version and one set of classes.

    Attributes:
        classes: names of the classes; none of a regression.
        at_ns: (n,) time of the event.
        received_ns: (n,) time of the label, the broker's.
        answer: (n,) predicted class.
        truth: (n,) true class; of a regression the bits of the true value, a float64.
        scores: (n, classes), (n, 1) or (n, 0), as in `schemas.outcomes`; of a regression its values, as there.
    """

    classes: Classes
    at_ns: NDArray[np.int64]
    received_ns: NDArray[np.int64]
    answer: NDArray[np.uint16]
    truth: NDArray[np.int64]
    scores: NDArray[np.uint16]
    fields: tuple[str, ...] = ()
    cells: NDArray[np.uint8] | None = None
    """(n, fields): segments of the traffic."""


class LabelDesk:
    """The labels of one model, all its versions: they wait here until the next look, and those without an event for longer.

    received = joined + twice + unknown + crowded_out + not_a_class + not_followed + erased + waiting, always.

    Args:
        settings: how many may wait, and for how long.

    Attributes:
        received: labels in all.
        fates: what became of them.

    Memory: 0.5 KB a waiting label. Cost: 10 us a label, most of it for reading it.
    """

    def __init__(self, settings: Labels) -> None:
        self._settings = settings
        self._followed = min(round(settings.share * 2.0**64), 2**64 - 1)
        self.received = 0
        self.fates: Counter[str] = Counter()
        self._clock_ns = self._now_ns = 0
        self._waiting: dict[tuple[int, str], _Waiting] = {}
        self._new: list[tuple[int, str]] = []
        self._known: dict[Classes, dict[str, int]] = {}

    @property
    def waiting(self) -> int:
        """Labels that wait for their event, or for the next look."""
        return len(self._waiting)

    def take(self, label: Label, received_ns: int) -> None:
        """Takes a label in."""
        self.received += 1
        key, other = keys_of_id(label.event_id)
        if min(key, other or key) > self._followed:
            self.fates["not_followed"] += 1
            return
        place = key, label.version
        if place in self._waiting:
            self.fates["twice"] += 1
            return
        if len(self._waiting) >= self._settings.waiting:
            oldest = next(iter(self._waiting))
            del self._waiting[oldest]
            self.fates["crowded_out"] += 1
        self._waiting[place] = _Waiting(key, other, label.version, text_of(label.truth), received_ns, self.received, self._clock_ns)
        self._new.append(place)

    def forget(self, keys: tuple[int, ...]) -> None:
        """Labels that wait for an event with one of these keys wait no longer."""
        for place in [place for place, one in self._waiting.items() if {one.key, one.other} & set(keys) - {0}]:
            del self._waiting[place]
            self.fates["erased"] += 1

    def is_due(self, stores: Mapping[str, OutcomeStore]) -> bool:
        """Whether so much has come that the next tick is too late."""
        return len(self._new) >= _AT_ONCE or sum(store.fresh for store in stores.values()) >= _FRESH

    def join(self, stores: Mapping[str, OutcomeStore]) -> list[tuple[str, Joined]]:
        """Looks for the events of labels that are new, and of those that wait among events that are new.

        Args:
            stores: by version.

        Returns:
            what was joined, by version and classes.
        """
        fresh = [store.take_fresh() for store in stores.values() if store.fresh]
        looked_for = [self._waiting[place] for place in dict.fromkeys(self._new) if place in self._waiting]
        if fresh and len(self._waiting) > len(looked_for):
            new = set(self._new)
            rest = [one for place, one in self._waiting.items() if place not in new]
            keys, others = _keys(rest)
            hit = np.zeros(len(rest), bool)
            for some in fresh:
                hit |= _inside(some, keys) | _inside(some, others)
            looked_for += [rest[k] for k in np.flatnonzero(hit).tolist()]
        self._new = []
        if not looked_for:
            return []
        looked_for.sort(key=lambda one: one.number)  # as they came, also after a restart, when all of them are new
        joined: list[tuple[str, Joined]] = []
        keys, others = _keys(looked_for)
        left = np.ones(len(looked_for), bool)
        versions = np.array([one.version for one in looked_for], object)
        for version, store in stores.items():
            asked = np.flatnonzero(left & ((versions == "") | (versions == version)))
            if not len(asked) or not len(store):
                continue
            segment, row = store.find(keys[asked])
            as_number = np.flatnonzero((segment < 0) & (others[asked] > 0))
            segment[as_number], row[as_number] = store.find(others[asked][as_number])
            found = segment >= 0
            left[asked[found]] = False
            mine = [looked_for[k] for k in asked[found].tolist()]
            joined += [(version, one) for one in self._in_store(store, segment[found], row[found], mine)]
        for k in np.flatnonzero(~left).tolist():
            del self._waiting[looked_for[k].key, looked_for[k].version]
        return joined

    def tick(self, now_ns: int) -> None:
        """Lets time pass: gives up those that have waited too long, their event is unknown."""
        self._clock_ns += min(max(now_ns - self._now_ns, 0), _STEP_NS)
        self._now_ns = now_ns
        until = self._clock_ns - round(self._settings.wait_s * NS)
        for place, one in list(self._waiting.items()):
            if one.since_ns > until:
                break  # they are in order of arrival
            del self._waiting[place]
            self.fates["unknown"] += 1

    def _in_store(self, store: OutcomeStore, segment: NDArray[np.int32], row: NDArray[np.int64], labels: list[_Waiting]) -> list[Joined]:
        by_classes: dict[tuple[Classes, tuple[str, ...]], list[tuple[int, int, int, int]]] = {}
        for k, at, one in zip(segment.tolist(), row.tolist(), labels, strict=True):
            part = store[k]
            if part.labelled[at]:
                self.fates["twice"] += 1
                continue
            truth = self._class_of(one.truth, part.classes) if part.classes else _bits_of(one.truth)
            if truth is None or (part.classes and truth < 0):
                self.fates["not_a_class"] += 1
                continue
            part.labelled[at] = True
            self.fates["joined"] += 1
            by_classes.setdefault((part.classes, part.fields), []).append((k, at, truth, one.received_ns))
        return [_columns(store, classes, fields, found) for (classes, fields), found in by_classes.items()]

    def _class_of(self, truth: str, classes: Classes) -> int:
        known = self._known.get(classes)
        if known is None:
            if len(self._known) >= 16:
                self._known.clear()
            known = self._known[classes] = spellings(classes)
        return known.get(truth, -1)

    def dump(self) -> dict[str, Any]:
        """For a snapshot."""
        return {
            "received": self.received,
            "fates": dict(sorted(self.fates.items())),
            "clock_ns": self._clock_ns,
            "now_ns": self._now_ns,
            "waiting": msgspec.msgpack.encode(list(self._waiting.values())),
        }

    def load(self, body: dict[str, Any]) -> None:
        """From a snapshot, into a fresh object: all that wait are looked for again, as what came last is not known to be new."""
        self.received, self.fates = int(body["received"]), Counter(body["fates"])
        self._clock_ns, self._now_ns = int(body["clock_ns"]), int(body["now_ns"])
        waiting = msgspec.msgpack.decode(body["waiting"], type=list[_Waiting])
        self._waiting = {(one.key, one.version): one for one in waiting}
        self._new = list(self._waiting)


def text_of(truth: str | float | bool) -> str:
    """A truth as the text of a class: what it is in JSON, numbers without needless digits.

    Example:
        >>> text_of(True), text_of(1.0), text_of("1.0"), text_of("cat")
        ('true', '1', '1.0', 'cat')
    """
    if isinstance(truth, bool):
        return "true" if truth else "false"
    if isinstance(truth, (int, float)):
        return str(int(truth)) if float(truth).is_integer() and abs(truth) < 2**63 else str(truth)
    return truth


def _bits_of(truth: str) -> int | None:
    """The bits of the float64 that a text says; None for what is no finite number."""
    try:
        value = np.float64(truth)
    except ValueError:
        return None
    return int(value.view(np.int64)) if np.isfinite(value) else None


def spellings(classes: Classes) -> dict[str, int]:
    """Index of a class by the texts that mean it: its name; true and 1, false and 0 and Python's spellings, where that is no other class.

    Example:
        >>> names = spellings(("0", "1"))
        >>> names["1"], names["true"], names["1.0"], names.get("2")
        (1, 1, 1, None)
    """
    known = {name: k for k, name in enumerate(classes)}
    for k, name in enumerate(classes):
        for same in (("0", "false", "False", "0.0"), ("1", "true", "True", "1.0")):
            if name in same:
                for other in same:
                    known.setdefault(other, k)
        if name.isascii() and name.isdigit():
            known.setdefault(f"{name}.0", k)
        elif name.endswith(".0") and name[:-2].isascii() and name[:-2].isdigit():
            known.setdefault(name[:-2], k)
    return known


def _keys(labels: list[_Waiting]) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    return np.array([one.key for one in labels], np.uint64), np.array([one.other for one in labels], np.uint64)


def _inside(ordered: NDArray[np.uint64], keys: NDArray[np.uint64]) -> NDArray[np.bool_]:
    return np.asarray(ordered[np.minimum(np.searchsorted(ordered, keys), len(ordered) - 1)] == keys)


def _columns(store: OutcomeStore, classes: Classes, fields: tuple[str, ...], found: list[tuple[int, int, int, int]]) -> Joined:
    segments, rows, truth, received = (np.array(column, np.int64) for column in zip(*found, strict=True))
    parts = [(store[k], np.flatnonzero(segments == k)) for k in np.unique(segments).tolist()]
    width = min(part.scores.shape[1] for part, _ in parts)
    order = np.concatenate([mine for _, mine in parts])

    def column(name: str) -> NDArray[Any]:
        return np.concatenate([getattr(part, name)[rows[mine]] for part, mine in parts])

    scores = np.concatenate([part.scores[rows[mine], :width] for part, mine in parts])
    return Joined(classes, column("at_ns"), received[order], column("answer"), truth[order], scores, fields, column("cells"))
