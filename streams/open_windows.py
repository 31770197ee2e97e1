"""The open windows of one model version on one partition: what the events of a batch add to them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from detectors.consistency import KINDS, AnswerMemory, answers_of, count_tenths
from inferwatch import EventColumns
from streams.align import Aligned, Aligner
from streams.duplicates import hash_of_client
from streams.references import Loaded
from streams.segments import SegmentCounter, most_of
from streams.settings import Drift
from streams.window import OpenWindow

__all__ = ["Accepted", "Inside", "OpenWindows"]

Inside = NDArray[np.bool_] | slice
"""Which of the accepted events are in a window."""


class Accepted(NamedTuple):
    """The n accepted events of a batch, in order of arrival; all columns but the first two are of these."""

    events: EventColumns
    """The whole batch, ..."""
    aligned: Aligned
    """... the same in the reference's columns, ..."""
    rows: NDArray[np.intp]
    """... and which of its rows were accepted."""
    at_ns: NDArray[np.int64]
    earliest_ns: int
    """The least of them."""
    keys: NDArray[np.uint64]
    hashes: NDArray[np.uint64]
    """Of the clients; of an event without one, its key."""
    codes: NDArray[np.uint64]
    """Keyed hashes of X's rows."""
    slot: NDArray[np.int32]
    status: NDArray[np.uint8]
    latency_ms: NDArray[np.float32]
    X: NDArray[np.float32]
    scores: NDArray[np.float32]
    label: NDArray[np.int32]
    value: NDArray[np.float64] | None
    suspect: NDArray[np.bool_]
    """Of a client under suspicion."""
    suspects: int
    """How many of them there are."""
    counted: NDArray[np.bool_]
    """Answered, and of nobody under suspicion."""
    compared: NDArray[np.bool_]
    """Of these, those whose row is what the client sent."""


class OpenWindows:
    """Windows by their start, and what lives as long as the reference they are counted by: remembered answers, followed segments.

    Args:
        length_ns: of a window.
        drift: which segments are counted.
        capacity: client slots for which there is room now.

    Attributes:
        closed_until_ns: what is earlier counts for the first window from here on.
        answers: rows that were asked before.
        segments: those that are followed; None without a reference.
    """

    def __init__(self, length_ns: int, drift: Drift, capacity: Callable[[], int]) -> None:
        self.closed_until_ns = 0
        self.answers = AnswerMemory()
        self.segments: SegmentCounter | None = None
        self._length_ns, self._drift, self._capacity = length_ns, drift, capacity
        self._windows: dict[int, OpenWindow] = {}
        self._loaded: Loaded | None = None
        self._aligner = Aligner((), ())

    def use(self, loaded: Loaded | None, aligner: Aligner) -> None:
        """Goes over to another reference; no window is open."""
        self._aligner, self.answers = aligner, AnswerMemory()
        self.use_drift(loaded)

    def use_drift(self, loaded: Loaded | None) -> None:
        """Goes over to another drift part of the same reference; no window is open."""
        self._loaded, self.segments = loaded, None
        if self._drift.segments and loaded is not None and loaded.drift is not None:
            self.segments = SegmentCounter(self._drift.segments, most_of(self._drift.segments_most, len(loaded.drift.variables)))

    def __len__(self) -> int:
        return len(self._windows)

    def __iter__(self) -> Iterator[OpenWindow]:
        return iter(self._windows.values())

    @property
    def starts(self) -> list[int]:
        """Of the open windows, increasing."""
        return sorted(self._windows)

    def start_of(self, at_ns: int) -> int:
        """Of the window in which an event of this time counts."""
        return max(at_ns // self._length_ns * self._length_ns, self.closed_until_ns)

    def at(self, start_ns: int) -> OpenWindow:
        """The window that begins here."""
        window = self._windows.get(start_ns)
        if window is None:
            drift, triggers = (self._loaded.drift, self._loaded.triggers) if self._loaded else (None, None)
            window = self._windows[start_ns] = OpenWindow(start_ns, drift, self._capacity(), triggers)
        return window

    def pop(self, start_ns: int) -> OpenWindow:
        """The window that begins here, no longer open; nothing counts for it from now on."""
        window = self._windows.pop(start_ns)
        self.closed_until_ns = max(self.closed_until_ns, start_ns + self._length_ns)
        if self.segments is not None:
            self.segments.close()
        return window

    # -- events -------------------------------------------------------------------------------------------------------------------------

    def split(self, at_ns: NDArray[np.int64], earliest_ns: int, latest_ns: int) -> Iterator[tuple[int, Inside]]:
        """By window, which of the events are in it; mostly all are in one."""
        first, last = self.start_of(earliest_ns), self.start_of(latest_ns)
        if first == last:
            yield first, slice(None)
            return
        starts = np.maximum(at_ns // self._length_ns * self._length_ns, self.closed_until_ns)
        for start in np.unique(starts).tolist():
            yield start, starts == start

    def count(self, start_ns: int, inside: Inside, batch: Accepted) -> None:
        """Counts the events of a batch that are in one window."""
        window, suspect, hashes, value = self.at(start_ns), batch.suspect, batch.hashes, batch.value
        window.add(batch.slot[inside], batch.status[inside], batch.latency_ms[inside], batch.events.service)
        late = batch.at_ns < start_ns if batch.earliest_ns < start_ns else None
        window.late += 0 if late is None else int(np.count_nonzero(late[inside]))
        window.suspect += int(np.count_nonzero(suspect[inside])) if batch.suspects else 0
        self._count_classes(window, batch.label[inside])
        if batch.X.shape[1]:
            self._compare(window, inside, batch)
        trusted = inside if not batch.suspects else ~suspect if isinstance(inside, slice) else inside & ~suspect
        window.quality.see(hashes[trusted])
        for kind, marked in batch.aligned.faults.items():
            window.quality.fault(kind, hashes[trusted][marked[batch.rows][trusted]])
        if late is not None:
            window.quality.fault("late", hashes[trusted][late[trusted]])
        counted = batch.counted if isinstance(inside, slice) else batch.counted & inside
        if window.drift is not None and counted.any():
            part = slice(None) if counted.all() else counted
            drift = window.drift.reference
            columns = (
                batch.X[part],
                batch.scores[part] if drift.n_scores and batch.scores.shape[1] == drift.n_scores else None,
                batch.label[part] if drift.has_class else None,
                value[part] if drift.has_value and value is not None else None,
                hashes[part],
                batch.latency_ms[part] if drift.has_latency else None,
            )
            window.drift.update(*columns)
            if self.segments is not None:
                self.segments.count(window, batch.events, batch.aligned, self._aligner, batch.rows[part], columns)
            if window.rare is not None:
                window.rare.update(batch.X[part], batch.label[part], counted[part], batch.keys[part], hashes[part])

    def _count_classes(self, window: OpenWindow, label: NDArray[np.int32]) -> None:
        if self._aligner.classes:
            counts = np.bincount(label + 1, minlength=len(self._aligner.classes) + 1)[1:]  # the first is that of no class, -1
            window.classes.update({self._aligner.classes[k]: int(counts[k]) for k in np.flatnonzero(counts).tolist()})

    def _compare(self, window: OpenWindow, inside: Inside, batch: Accepted) -> None:
        """Answers of rows that were asked before, against what was answered then."""
        label, scores, value = batch.label[inside], batch.scores[inside], None if batch.value is None else batch.value[inside]
        told = answers_of(scores, label, value)
        if value is None and scores.shape[1]:
            count_tenths(told, window.confidence)
        codes, compared = batch.codes[inside], batch.compared[inside]
        counts = self.answers.update(codes, compared, label, told, window=window.start_ns, value=value is not None)
        for kind, (n, other) in zip(KINDS, counts.tolist(), strict=True):
            if n:
                window.repeats.update({kind: n, f"{kind}_other": other})

    def reject(self, start_ns: int, events: EventColumns, keys: NDArray[np.uint64], refused: dict[str, NDArray[np.intp]]) -> Counter[str]:
        """Counts refused events, given their rows by reason, in one window; how many there are by reason."""
        window = self.at(start_ns)
        rejected = Counter({reason: len(rows) for reason, rows in refused.items() if len(rows)})
        for reason in rejected:
            rows = refused[reason]
            names = events.client.take(rows).compact()  # of the refused only: one row in a record must not cost a hash of every name
            hashes = np.array([*map(hash_of_client, names.values), 0], np.uint64)[names.codes]
            clients = np.where(hashes != 0, hashes, keys[rows])
            window.quality.see(clients)
            window.quality.fault(reason, clients)
        window.rejected.update(rejected)
        return rejected

    # -- clients' slots, snapshots ------------------------------------------------------------------------------------------------------

    def resize(self, capacity: int) -> None:
        """Room for more client slots."""
        for window in self._windows.values():
            window.resize(capacity)

    def forget(self, slots: NDArray[np.int32]) -> None:
        """Frees the slots of evicted clients."""
        for window in self._windows.values():
            window.forget(slots)

    def load(self, body: dict[str, Any], *, same_reference: bool, same_drift: bool) -> None:
        """From a snapshot of the model shard; what was counted by another reference than the one in force starts anew."""
        self.closed_until_ns = body["closed_until_ns"]
        drift = self._loaded.drift if self._loaded and same_drift else None
        triggers = self._loaded.triggers if self._loaded and same_reference else None
        for one in body["windows"]:
            self._windows[one["start_ns"]] = OpenWindow.load(one, drift, self._capacity(), triggers)
        if same_drift and self.segments is not None and body.get("segments") is not None:
            self.segments.load(body["segments"])
        if same_reference and "answers" in body:
            self.answers.load(body["answers"])
