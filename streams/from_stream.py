"""Rows for a reference out of what the stream delivered: a sample of one model version's answered events, in bounded memory.

The sample is the k events whose ids' hashes with a seed are lowest (a bottom-k sketch). It is uniform over the events whatever their
number, the same in whatever order the partitions are read, and an event that was delivered twice is in it once. Without the seed nobody
can choose ids that get in.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from sys import intern
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inferwatch import EventColumns, Label, Strings
from schemas.forget import Forget
from schemas.reference import Feature
from streams.align import Aligner
from streams.build import BuildError, Rows
from streams.duplicates import keys_of, keys_of_id, keys_of_ids
from streams.labels import spellings, text_of
from streams.owner import NS
from streams.settings import Clock
from streams.tables import MAX_CATEGORIES, Meta, classes_of, named

LEAST = 200
_AGREE = 0.9
"""Share of the events that must have the commonest features, where nobody says which features are meant."""
_SHOWN = 8
_MOST_CHUNKS, _MOST_MODELS, _MOST_SCHEMAS = 1_000, 1_000, 256
_Schema = tuple[tuple[str, ...], int, tuple[str, ...], tuple[str, ...], int]
"""Names of numbers (none: by position), how many, names of categories, names of scores, how many."""
_Columns = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Gathered:
    """Rows as `streams.build.build` takes them, in order of time; where they are from; and what was left out."""

    rows: Rows
    origin: str
    notes: tuple[str, ...]


class Sample:
    """Takes events as they are read, and keeps at most so many.

    Args:
        model: its name.
        version: its version.
        rows: how many are kept at most; up to twice as many are held meanwhile.
        first_ns: events from this time on, ...
        last_ns: ... and before this one.
        seed: chooses the sample.
        clock: how far an event's time may be from Kafka's.
        without: clients (pseudonyms) whose events are passed over.

    Attributes:
        events: answered events of the model version in that time, of clients that count.
        left_out: those of clients that do not.
        odd: those passed over because too many others had other features or scores, each of its own.
        seen: events of other model versions, by model and version.
    """

    def __init__(
        self, model: str, version: str, *, rows: int, first_ns: int, last_ns: int, seed: int, clock: Clock, without: Collection[str] = ()
    ) -> None:
        self.events = self.left_out = self.odd = 0
        self.seen: Counter[tuple[str, str]] = Counter()
        self._model, self._version, self._rows = model, version, rows
        self._first_ns, self._last_ns, self._clock = first_ns, last_ns, clock
        self._seed, self._without = np.uint64(seed % 2**64), frozenset(without)
        self._highest = np.uint64(2**64 - 1)
        self._held: dict[_Schema, list[_Columns]] = {}
        self._n = self._chunks = 0
        self._ids: frozenset[int] | None = None
        self._truths: dict[int, str] = {}

    def add(self, events: EventColumns, received_ns: int, partition: int = 0, offset: int = 0) -> None:
        """Takes events of one model version, of a record.

        Args:
            events: a batch.
            received_ns: Kafka's time of the record, and the event's where it has none.
            partition: the record's, and ...
            offset: ... its place there; they tell events apart that have no id.
        """
        at_ns = np.where(events.at_ns < 0, received_ns, events.at_ns)
        low = max(self._first_ns, received_ns - round(self._clock.past_s * NS))
        high = min(self._last_ns - 1, received_ns + round(self._clock.future_s * NS))
        counts = (at_ns >= low) & (at_ns <= high) & (events.status == 0)
        if (events.model, events.version) != (self._model, self._version):
            if (events.model, events.version) in self.seen or len(self.seen) < _MOST_MODELS:
                self.seen[events.model, events.version] += int(counts.sum())
            return
        listed = np.array([name in self._without for name in events.client.values] + [False])[events.client.codes]
        self.left_out += int((counts & listed).sum())
        counts &= ~listed
        self.events += int(counts.sum())
        keys = keys_of(events)
        own = np.uint64((partition << 52) + (offset << 16)) + np.arange(len(events), dtype=np.uint64)
        rank = _mixed(np.where(keys == 0, _mixed(own), keys) ^ self._seed)
        rows = np.flatnonzero(counts & (rank <= self._highest))
        width = events.numeric.shape[1] + len(events.category_names)
        if not len(rows) or not width or "" in (*events.names, *events.category_names):
            return  # a nameless feature has no place in a reference
        some, n = events.take(rows), len(rows)
        scores = np.empty((n, 0), np.float32) if some.scores is None else some.scores
        schema = some.names, some.numeric.shape[1], some.category_names, some.score_names, scores.shape[1]
        if schema not in self._held and len(self._held) >= _MOST_SCHEMAS:
            self.odd += n
            return
        text = np.empty((n, len(some.categories)), object)
        for j, column in enumerate(some.categories):
            text[:, j] = _objects(column)
        columns = {
            "rank": rank[rows], "id": keys_of_ids(some, keys[rows]), "at_ns": at_ns[rows], "client": _objects(some.client),
            "numeric": some.numeric, "text": text, "scores": scores, "latency_ms": some.latency_ms.astype(np.float64),
            "value": np.full(n, np.nan) if some.value is None else some.value,
        }  # fmt: skip
        self._held.setdefault(schema, []).append(columns)
        self._n += n
        self._chunks += 1
        if self._n > 2 * self._rows or self._chunks > _MOST_CHUNKS:
            self._settle()

    def forget(self, what: Forget) -> None:
        """A client or an event that was erased after it was delivered."""
        if what.model not in ("", self._model):
            return
        self._settle()
        keys = np.array(keys_of_id(what.event_id), np.uint64)
        for schema, (columns,) in self._held.items():
            gone = columns["client"] == what.client if what.client else np.isin(columns["id"], keys[keys != 0])
            self._held[schema] = [_at(columns, ~gone)]

    def label(self, label: Label) -> None:
        """A label; the first of an event counts. After the last event."""
        if self._ids is None:
            self._settle()
            self._ids = frozenset(np.concatenate([c["id"] for (c,) in self._held.values()] or [np.empty(0, np.uint64)]).tolist()) - {0}
        if label.model == self._model and label.version in ("", self._version):
            for key in self._ids.intersection(keys_of_id(label.event_id)):
                self._truths.setdefault(key, text_of(label.truth))

    def gathered(self, names: Sequence[str] = (), meta: Meta | None = None) -> Gathered:
        """The rows.

        Args:
            names: the features, in the model's order; events that have them all are taken. Of features by position: their names. Empty:
                the meta's, or those that most events have, in the order that is commonest.
            meta: what is known of them.

        Raises:
            BuildError: too few events, or no features that nine in ten have.
            TableError: the names, or the meta's facts, are not as many as the features.
        """
        meta = meta or Meta()
        names = tuple(names or meta.features or ())
        self._settle()
        size = {schema: len(columns["rank"]) for schema, (columns,) in self._held.items()}
        if sum(size.values()) < LEAST:
            raise BuildError(self._too_few(sum(size.values())))
        chosen, notes = self._chosen(size, names)
        held = {schema: self._held[schema][0] for schema in chosen}
        leading = max(chosen, key=lambda schema: (size[schema], schema))
        order = names or (*leading[0], *leading[2])
        facts = meta if not order or meta.features == list(order) else Meta()
        features = named("the stream", facts, len(order) or leading[1], order)
        features = tuple(_kind_of(feature, held, notes) for feature in features)
        classes = classes_of(meta, leading[3], leading[4])
        aligner = Aligner(features, classes)
        parts = [aligner.align(_events(self._model, self._version, schema, columns)) for schema, columns in held.items()]
        X, scores = np.concatenate([part.X for part in parts]), np.concatenate([part.scores for part in parts])
        columns = {
            name: np.concatenate([one[name] for one in held.values()]) for name in ("rank", "id", "at_ns", "value", "latency_ms")
        } | {"X": X, "scores": scores}  # fmt: skip
        if classes and (silent := np.isnan(scores).all(axis=1)).any():
            notes.append(f"{int(silent.sum()):,} rows have no scores and are left out")
            columns = _at(columns, ~silent)
        columns = _at(columns, np.lexsort((columns["rank"], columns["at_ns"])))
        n, at_ns = len(columns["at_ns"]), columns["at_ns"]
        if n < LEAST:
            raise BuildError(self._too_few(n))
        y = self._labelled(columns["id"], classes, notes)
        if self.odd:
            notes.append(f"{self.odd:,} more have features or scores of their own; {_MOST_SCHEMAS} such sets are looked at")
        if self.left_out:
            notes.append(f"{self.left_out:,} events of clients that were named, or have alerts or verdicts, are left out")
        rows = Rows(
            features=features, X=columns["X"], scores=columns["scores"] if classes else None, classes=classes, y=y,
            value=_any(columns["value"]), latency_ms=_any(columns["latency_ms"]), image=tuple(meta.image) if meta.image else None,
            at_s=at_ns / NS,
        )  # fmt: skip
        origin = f"{n:,} of {self.events:,} events from {_time(int(at_ns[0]))} to {_time(int(at_ns[-1]))}, seed {self._seed}"
        return Gathered(rows, origin, tuple(notes))

    def _settle(self) -> None:
        """Joins what was added, and lets all but the lowest ranks go."""
        self._chunks = 0
        for schema, chunks in self._held.items():
            whole = {name: np.concatenate([chunk[name] for chunk in chunks]) for name in chunks[0]}
            self._held[schema] = [_at(whole, np.unique(whole["rank"], return_index=True)[1])]
        ranks = np.concatenate([columns["rank"] for (columns,) in self._held.values()] or [np.empty(0, np.uint64)])
        if len(ranks) > self._rows:
            self._highest = np.partition(ranks, self._rows - 1)[self._rows - 1]
            self._held = {schema: [_at(columns, columns["rank"] <= self._highest)] for schema, (columns,) in self._held.items()}
        self._held = {schema: [columns] for schema, (columns,) in self._held.items() if len(columns["rank"])}
        self._n = min(len(ranks), self._rows)

    def _chosen(self, size: dict[_Schema, int], names: tuple[str, ...]) -> tuple[list[_Schema], list[str]]:
        """Schemas whose events are taken, and a note of the others."""
        total, kinds = sum(size.values()), Counter[tuple[frozenset[str], frozenset[str]]]()
        kind_of = {
            schema: (frozenset[str]() if names else _features(schema), _scores(schema)) for schema in size
            if set(names) <= _features(schema) or (not (schema[0] or schema[2]) and len(names) == schema[1])
        }  # fmt: skip
        for schema, kind in kind_of.items():
            kinds[kind] += size[schema]
        if not kinds:
            raise BuildError(f"no event of {self._model} {self._version} has all of {', '.join(names)}. They came as{self._told(size)}")
        commonest = max(kinds, key=lambda kind: (kinds[kind], sorted(kind[0]), sorted(kind[1])))
        n = kinds[commonest]
        if n < _AGREE * total and not names:
            raise BuildError(
                f"events of {self._model} {self._version} come with different features or scores:{self._told(size)}\n"
                "Name the features that count with --features: events that have them all are taken"
            )
        left = f"{total - n:,} of {total:,} rows have other features or scores and are left out. They came as{self._told(size)}"
        return [schema for schema, kind in kind_of.items() if kind == commonest], [left] if n < total else []

    def _told(self, size: dict[_Schema, int]) -> str:
        """What came how often, a line each."""
        found = Counter[tuple[frozenset[str], frozenset[str]]]()
        for schema, n in size.items():
            found[_features(schema), _scores(schema)] += n
        (first, _), total = max(found, key=lambda one: (found[one], sorted(one[0]), sorted(one[1]))), sum(size.values())
        lines = []
        for (features, scores), n in found.most_common(_SHOWN):
            less, more = sorted(first - features), sorted(features - first)
            what = f"{len(features)} features ({_few(sorted(features))})" if features == first else ""
            what += f"without {_few(less)}" * bool(less) + ", " * bool(less and more) + f"with {_few(more)}" * bool(more)
            lines.append(f"\n  {n / total:.1%}: {what}; scores: {_few(sorted(scores)) or 'none'}")
        return "".join(lines)

    def _too_few(self, n: int) -> str:
        span = f"between {_time(self._first_ns)} and {_time(self._last_ns)}"
        if self.events or self.left_out:
            out = f" (and {self.left_out:,} of clients that are left out)" if self.left_out else ""
            return (
                f"{n:,} answered events with features of {self._model} {self._version} are on the topic {span}{out}: too few, {LEAST} are "
                "the least, 2,000 are better. Give a longer time"
            )
        others = _few([f"{model} {version} ({n:,} events)" for (model, version), n in self.seen.most_common()])
        return f"no answered event of {self._model} {self._version} is on the topic {span}. Seen: {others or 'none of any model'}"

    def _labelled(self, ids: NDArray[np.uint64], classes: tuple[str, ...], notes: list[str]) -> NDArray[np.int32] | None:
        known = spellings(classes)
        truths = [self._truths.get(key) for key in ids.tolist()]
        y = np.array([-1 if truth is None else known.get(truth, -1) for truth in truths], np.int32)
        n, strange = int((y >= 0).sum()), len(ids) - truths.count(None) - int((y >= 0).sum())
        if classes and n + strange:
            notes.append(f"{n:,} of the rows have a label" + f", {strange:,} one that is none of the classes" * bool(strange))
        return y if classes and n else None


def _features(schema: _Schema) -> frozenset[str]:
    """Names, whatever their order and kind; of features by position, their number."""
    return frozenset((*schema[0], *schema[2])) or frozenset((f"\0{schema[1]} by position",))


def _scores(schema: _Schema) -> frozenset[str]:
    return frozenset(schema[3] or ([f"{schema[4]} without names"] if schema[4] else []))


def _kind_of(feature: Feature, held: dict[_Schema, _Columns], notes: list[str]) -> Feature:
    """A category, if text came at least as often as numbers; with the commonest values, in order."""
    values: Counter[Any] = Counter()
    numbers = 0
    for (names, _, category_names, _, _), columns in held.items():
        if feature.name in names:
            numbers += int(np.isfinite(columns["numeric"][:, names.index(feature.name)]).sum())
        elif feature.name in category_names:
            values.update(columns["text"][:, category_names.index(feature.name)].tolist())
    del values[None]  # missing
    if not values or values.total() < numbers:
        return feature
    if len(values) > MAX_CATEGORIES:
        notes.append(f"{feature.name} has {len(values):,} values; the commonest {MAX_CATEGORIES:,} are known, others count as unseen")
    commonest = sorted(values, key=lambda value: (-values[value], value))[:MAX_CATEGORIES]
    return Feature(name=feature.name, kind="categorical", categories=tuple(sorted(commonest)))


def _events(model: str, version: str, schema: _Schema, columns: _Columns) -> EventColumns:
    names, _, category_names, score_names, n_scores = schema
    n = len(columns["rank"])
    return EventColumns(
        model=model, version=version, service="", instance="", client=Strings([], np.full(n, -1, np.int32)), at_ns=columns["at_ns"],
        number=np.full(n, -1), status=np.zeros(n, np.uint8), latency_ms=columns["latency_ms"].astype(np.float32), names=names,
        numeric=columns["numeric"], category_names=category_names,
        categories=tuple(Strings.of(columns["text"][:, j].tolist()) for j in range(len(category_names))), score_names=score_names,
        scores=columns["scores"] if n_scores else None,
    )  # fmt: skip


def _mixed(keys: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """splitmix64's finaliser: a bijection, so different ids have different ranks."""
    z = keys + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(z ^ (z >> np.uint64(31)), np.uint64)


def _objects(column: Strings) -> NDArray[Any]:
    return np.array([*map(intern, column.values), None], object)[column.codes]


def _at(columns: _Columns, rows: NDArray[Any]) -> _Columns:
    return {name: column[rows] for name, column in columns.items()}


def _any(column: NDArray[np.float64]) -> NDArray[np.float64] | None:
    return column if np.isfinite(column).any() else None


def _few(names: Sequence[str]) -> str:
    names = [name.removeprefix("\0") for name in names]
    return ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")


def _time(ns: int) -> str:
    return f"{datetime.fromtimestamp(ns / NS, UTC):%Y-%m-%d %H:%M}Z"
