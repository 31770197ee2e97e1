"""One model version on one partition: what its events do to windows, clients and evidence. No Kafka, no clock, no I/O."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from detectors.arrays import plain
from detectors.feedback import SegmentCodes
from inferwatch import EventColumns
from schemas.canaries import layout_of
from schemas.forget import Forget
from schemas.outcomes import MAX_CLASSES, Outcomes
from schemas.rows import SampledEventRow
from schemas.suspects import SuspectRows
from schemas.windows import Finding, WindowPartial
from streams.align import Aligned, Aligner, WidthError
from streams.canaries import CanaryBook
from streams.chains import chain, links
from streams.duplicates import RecentEvents, keys_of, keys_of_ids
from streams.feedback import group_of_service
from streams.kernels import admit
from streams.open_windows import Accepted, OpenWindows
from streams.outcomes import OutcomeBuffer
from streams.owner import NS
from streams.producers import Producers
from streams.references import Loaded
from streams.sampling import Sampler
from streams.settings import Settings
from streams.suspects import SuspectBuffer
from streams.watch import ClientWatch

_UNNAMED = Aligner((), ())
Part = Literal["rest", "rows"]
Cut = Callable[[Part, dict[str, Any]], int]
Emit = Callable[[WindowPartial | Finding | SuspectRows | Outcomes | SampledEventRow], None]


class ModelShard:
    """State of one model version on one partition.

    Args:
        model: its name.
        version: its version.
        partition: where it is.
        settings: window length, budget, bounds.
        loaded: the reference in force, if any. Without one, windows and clients are counted but nothing is judged.
        emit: takes what leaves: partials of closed windows, findings, suspect rows, outcomes, sampled events. Sequence numbers are the
            caller's business.
        cut: puts a part of the state into a new piece; returns its id.
        canaries: those in force.
    """

    def __init__(
        self,
        model: str,
        version: str,
        partition: int,
        settings: Settings,
        loaded: Loaded | None,
        emit: Emit,
        cut: Cut = lambda part, body: 0,
        canaries: CanaryBook | None = None,
    ) -> None:
        self.model, self.version, self.partition = model, version, partition
        self._settings, self._emit, self._cut = settings, emit, cut
        self._rest_changed, self._rest_due, self._rest_piece = True, False, -1
        self._length_ns = round(settings.window.length_s * NS)
        self.watermark_ns = 0
        self._other_bins = False
        self._windows = OpenWindows(self._length_ns, settings.drift, lambda: self.watch.capacity)
        self._producers = Producers(settings.limits.instances)
        self._recent = RecentEvents()
        kept = settings.sampling.events_per_window, settings.sampling.features, settings.sampling.allow
        self._sampler, self._suspects_sampler = Sampler(*kept), Sampler(*kept, reason="evidence")
        self.watch = ClientWatch(model, version, partition, settings, self._resized, self._evicted, lambda rows: cut("rows", rows))
        self._canaries = canaries
        self._feedback: SegmentCodes | None = None
        self._layout = ""
        self._known_customers = frozenset(settings.membership.known_customers)
        self.suspects: SuspectBuffer | None = None
        self.outcomes: OutcomeBuffer | None = None
        self._former: dict[str, Any] | None = None
        """Answers in the classes of a reference that was replaced while nobody was here."""
        self._dropped_before = 0
        self.loaded: Loaded | None = None
        self._set_reference(loaded)

    def use(self, loaded: Loaded | None) -> None:
        """Goes over to another reference: open windows close in the old bins; if it is not drift's part alone, all evidence starts anew."""
        if (loaded.ids if loaded else "") == (self.loaded.ids if self.loaded else ""):
            return
        self.touch()
        self.close_until(None)
        if loaded is not None and loaded.id == self.reference_id:
            self.loaded = loaded
            self._windows.use_drift(loaded)
        else:
            self._set_reference(loaded)

    @property
    def reference_id(self) -> str:
        """Of the reference in force; empty without one."""
        return self.loaded.id if self.loaded else ""

    @property
    def drift_id(self) -> str:
        """Of the reference in whose bins windows are counted; empty without one."""
        return self.loaded.drift_id if self.loaded else ""

    def _set_reference(self, loaded: Loaded | None) -> None:
        self.loaded = loaded
        self._aligner = loaded.aligner if loaded else _UNNAMED
        self._layout = layout_of(self._aligner.features)
        settings = self._settings.swarm
        self._dropped_before, self.suspects, self.outcomes = self.suspects_dropped, None, None
        self._feedback = None
        if loaded is not None and loaded.swarm is not None and settings.rows_per_slice:
            self.suspects = SuspectBuffer(settings, loaded.swarm.width, self._pass_on, self._names_of)
        if 0 < len(self._aligner.classes) <= MAX_CLASSES and self._settings.labels.events:
            self._feedback = SegmentCodes(loaded.cells, self._settings.labels.segments) if loaded is not None and loaded.cells else None
            fields = self._feedback.fields if self._feedback is not None else ()
            self.outcomes = OutcomeBuffer(self._aligner.classes, self._settings.labels.share, self._pass_on, fields=fields)
        elif loaded is not None and loaded.cells is not None and loaded.cells.has_value and self._settings.labels.events:
            self.outcomes = OutcomeBuffer((), self._settings.labels.share, self._pass_on)
        self._windows.use(loaded, self._aligner)
        self.watch.use(loaded)

    @property
    def suspects_dropped(self) -> int:
        """Rows that the model's owner was not shown for lack of room, in all."""
        return self._dropped_before + (self.suspects.dropped if self.suspects else 0)

    # -- events -------------------------------------------------------------------------------------------------------------------------

    def apply(self, events: EventColumns, received_ns: int) -> Counter[str]:
        """Takes in a batch, at most `limits.clients` events; returns the refused ones by reason.

        Args:
            events: of this model version, in order of arrival.
            received_ns: Kafka's time of the record; the event time of events without one.
        """
        self.touch()
        keys = keys_of(events)
        try:
            aligned = self._aligner.align(events)
        except WidthError:
            number = events.number
            self._producers.count(events, np.ones(len(events), bool), int(number.min()), int(number.max()), received_ns)
            return self._reject(events, keys, {"wrong_width": np.arange(len(events))}, received_ns)
        n, clock = len(events), self._settings.clock
        at_ns, shown, off = np.empty(n, np.int64), np.empty(n, np.uint64), np.empty(n, np.bool_)
        first = max(received_ns - round(clock.past_s * NS), 0)
        last = min(received_ns + round(clock.future_s * NS), 2**63 - 1)
        given, numbers = plain(events.at_ns), plain(events.number)
        wrong, lowest, highest = admit(given, received_ns, first, last, keys, numbers, at_ns, shown, off)
        twice = self._recent.seen(shown)
        again = int(np.count_nonzero(twice))
        self._producers.count(events, ~twice, lowest, highest, received_ns)
        if wrong + again < n:
            rows = np.flatnonzero(~(off | twice)) if wrong or again else np.arange(n)
            self._accept(events, aligned, at_ns, keys, rows)
        if not wrong and not again:
            return Counter()
        return self._reject(events, keys, {"clock": np.flatnonzero(off), "duplicate": np.flatnonzero(twice)}, received_ns)

    def _accept(
        self, events: EventColumns, aligned: Aligned, at_ns: NDArray[np.int64], keys: NDArray[np.uint64], rows: NDArray[np.intp]
    ) -> None:
        slot = self.watch.slots(events.client)
        ids = keys if self.outcomes is None else keys_of_ids(events, keys)
        status, latency_ms = events.status, events.latency_ms
        X, scores, label = aligned.X, aligned.scores, aligned.label
        value = events.value
        if len(rows) < len(events):
            at_ns, keys, slot, status, latency_ms = at_ns[rows], keys[rows], slot[rows], status[rows], latency_ms[rows]
            X, scores, label, ids = X[rows], scores[rows], label[rows], ids[rows]
            value = None if value is None else value[rows]
        suspect, suspects = self.watch.count(slot, at_ns)
        known, answered = slot >= 0, status == 0
        hashes = np.where(known, self.watch.hashes[slot], keys) if len(self.watch.hashes) else keys
        codes = self.watch.detectors.codes(X)
        counted = answered & ~suspect
        compared = counted & ~aligned.blurred[rows] if aligned.blurred is not None else counted
        earliest, latest = int(at_ns.min()), int(at_ns.max())
        batch = Accepted(
            events=events, aligned=aligned, rows=rows, at_ns=at_ns, earliest_ns=earliest, keys=keys, hashes=hashes, codes=codes, slot=slot,
            status=status, latency_ms=latency_ms, X=X, scores=scores, label=label, value=value, suspect=suspect, suspects=suspects,
            counted=counted, compared=compared,
        )  # fmt: skip
        for start, inside in self._windows.split(at_ns, earliest, latest):
            self._windows.count(start, inside, batch)
            self._sampler.offer(start, events, rows[inside], at_ns[inside], keys[inside])
            if suspects and (mine := suspect[inside]).any():  # what they went on to ask
                self._suspects_sampler.offer(start, events, rows[inside][mine], at_ns[inside][mine], keys[inside][mine])
        # the aligner saw the refused events too; their faults are one count with the accepted ones'
        self._windows.at(self._windows.start_of(int(at_ns[-1]))).anomalies.update(aligned.anomalies)
        self.watermark_ns = max(self.watermark_ns, latest)
        if self.outcomes is not None and not self._aligner.classes:
            if value is not None:
                self.outcomes.add_values(ids, at_ns, answered, value)
        elif self.outcomes is not None:
            cells = None if self._feedback is None else self._feedback.of(X, hashes, group_of_service(events.service))
            self.outcomes.add(ids, at_ns, answered, label, scores, cells)

        self._look_for_canaries(events, rows, at_ns, codes)
        judged = np.flatnonzero(known & answered)
        if len(judged):
            part = slice(None) if len(judged) == len(slot) else judged
            if self.suspects is not None:
                self.suspects.add(slot[part], at_ns[part], X[part], hashes[part], keys[part], self.watch.table.n[slot[part]])
            for rise in self.watch.judge(slot[part], at_ns[part], X[part], scores[part], label[part], codes[part]):
                at = int(judged[rise.index])
                row, when = int(rows[at]), int(at_ns[at])
                later = int(np.count_nonzero(slot[at + 1 :] == rise.slot))  # counted already, but after this event
                linked = links(slot, at) if rise.family != "cost" else np.array([at])
                for i in linked.tolist():
                    self._sampler.keep(events, int(rows[i]), int(at_ns[i]), self._emit)
                asked = chain(events, rows, X, label, self._aligner.classes, linked) if len(linked) > 1 else []
                n_events = int(self.watch.table.n[rise.slot]) - later
                self._emit(self.watch.finding(rise, when, n_events, events.id_of(row), asked))
        while len(self._windows) > self._settings.window.max_open:
            self._close(self._windows.starts[0])

    def forget(self, what: Forget) -> None:
        """Forgets a client, or an event."""
        self.touch()
        if what.event_id:
            self._pass_on_outcomes()  # whoever joins the labels forgets it there
        else:
            self.watch.forget(what.client)
        for sampler in (self._sampler, self._suspects_sampler):
            sampler.forget(what.client, what.event_id)

    def _look_for_canaries(self, events: EventColumns, rows: NDArray[np.intp], at_ns: NDArray[np.int64], codes: NDArray[np.uint64]) -> None:
        """Tells of each client who asked about rows that nobody should have, answered or not."""
        looked_for = self._canaries.of(self.model, self.version, self._layout) if self._canaries is not None else None
        if looked_for is None:
            return
        for asker in looked_for.askers(codes, lambda at: events.client[int(rows[at])] or "", self._known_customers):
            row, when = int(rows[asker.first]), int(at_ns[asker.first])
            self._sampler.keep(events, row, when, self._emit)
            self._emit(
                Finding(
                    model=self.model, version=self.version, partition=self.partition, epoch=0, sequence=0, at_ns=when, family="canary",
                    severity="ticket", client=asker.client, clients=[], n_events=asker.hits, log_evidence=0.0, statistic="canary",
                    evidence={"canaries": asker.names}, event_id=events.id_of(row), renewed=False,
                )
            )  # fmt: skip

    def _reject(
        self, events: EventColumns, keys: NDArray[np.uint64], refused: dict[str, NDArray[np.intp]], received_ns: int
    ) -> Counter[str]:
        """Counts refused events, given their rows by reason, in the window of the record; how many there are by reason."""
        start = self._windows.start_of(received_ns)
        self.watermark_ns = max(self.watermark_ns, min(received_ns, start + self._length_ns))
        return self._windows.reject(start, events, keys, refused)

    # -- windows ------------------------------------------------------------------------------------------------------------------------

    def close_until(self, now_ns: int | None) -> None:
        """Closes the windows and slices that end at or before this time; None closes all."""
        for start in self._windows.starts:
            if now_ns is None or start + self._length_ns <= now_ns:
                self._close(start)
        self._close_slices(now_ns)

    def _close_slices(self, now_ns: int | None) -> None:
        """What a slice says comes before what a window of the same time says, however late both close."""
        if self.suspects is not None and (end_ns := self.suspects.next_end_ns()) is not None and (now_ns is None or end_ns <= now_ns):
            self.touch()
            self.suspects.close_until(now_ns)

    def _names_of(self, slots: list[int]) -> list[str]:
        names = self.watch.table.names
        return [names[slot] for slot in slots]

    def _pass_on(self, message: SuspectRows | Outcomes) -> None:
        message.model, message.version, message.reference = self.model, self.version, message.reference or self.reference_id
        message.partition = self.partition
        self._emit(message)

    def _pass_on_outcomes(self) -> None:
        if self.outcomes is not None:
            self.outcomes.pass_on()

    def _close(self, start_ns: int) -> None:
        self.touch()
        window = self._windows.pop(start_ns)
        end_ns = start_ns + self._length_ns
        self._close_slices(end_ns)
        present = np.flatnonzero(window.client_n[: len(self.watch.table.names)])
        self._emit(
            window.partial(
                self.model, self.version, self.drift_id, self.partition, end_ns,
                rare_reference=self.reference_id, producers=self._producers.told(), lines=self.watch.lines(window, present),
            )
        )  # fmt: skip
        self._pass_on_outcomes()
        for sampler in (self._sampler, self._suspects_sampler):
            sampler.close(start_ns, self._emit)
        for finding in self.watch.floods(window, present, min(end_ns, max(self.watermark_ns, start_ns))):
            self._emit(finding)
        for finding in self.watch.standing(min(end_ns, max(self.watermark_ns, start_ns)), present):
            self._emit(finding)

    def _resized(self, capacity: int) -> None:
        self._windows.resize(capacity)

    def _evicted(self, slots: NDArray[np.int32]) -> None:
        self._close_slices(None)  # while the slots still have their clients' names
        self._windows.forget(slots)

    # -- snapshots ----------------------------------------------------------------------------------------------------------------------

    def touch(self) -> None:
        """What is not in the clients' rows is about to change."""
        self._copy_rest()
        self._rest_changed = True

    def begin_copy(self) -> None:
        """A copy of all that changed since the last one begins, of this moment."""
        self._rest_due |= self._rest_changed
        self._rest_changed = False
        self.watch.journal.begin()

    def copy(self) -> bool:
        """Copies a piece; False when none is left."""
        return self._copy_rest() or self.watch.journal.step()

    def _copy_rest(self) -> bool:
        due, self._rest_due = self._rest_due, False
        if due:
            self._rest_piece = self._cut("rest", self.rest())
        return due

    @property
    def rest_piece(self) -> int:
        """Which piece is the state without the clients' rows, as of the last copy; theirs are `RowJournal.pieces`."""
        return self._rest_piece

    def lost(self, pieces: set[int]) -> None:
        """These pieces were not saved."""
        self._rest_changed |= self._rest_due or self._rest_piece in pieces
        self._rest_due = False
        self.watch.journal.lost(pieces)

    def rest(self) -> dict[str, Any]:
        """The state without the clients' rows."""
        return {
            "reference": self.reference_id,
            "drift_reference": self.drift_id,
            "watermark_ns": self.watermark_ns,
            "closed_until_ns": self._windows.closed_until_ns,
            "recent": self._recent.table,
            "producers": self._producers.dump(),
            "windows": [window.dump() for window in self._windows],
            "segments": None if (segments := self._windows.segments) is None else segments.dump(),
            "sampler": self._sampler.dump(),
            "suspects_sampler": self._suspects_sampler.dump(),
            "answers": self._windows.answers.dump(),
            "suspects": None if self.suspects is None else self.suspects.dump(),
            "suspects_dropped": self._dropped_before,
            "outcomes": None if self.outcomes is None else self.outcomes.dump(),
            "watch": self.watch.rest(),
        }

    def load_rest(self, body: dict[str, Any]) -> None:
        """From a snapshot, into a fresh object. With another reference in force than then, what depends on it starts anew.

        The clients' rows come next, by `load_rows`, then `loaded`.
        """
        same = body["reference"] == self.reference_id
        same_drift = body.get("drift_reference", body["reference"]) == self.drift_id
        self.watermark_ns = body["watermark_ns"]
        self.watch.load_rest(body["watch"], same_reference=same)
        self._recent = RecentEvents(body["recent"])
        self._producers.load(body["producers"])
        self._windows.load(body, same_reference=same, same_drift=same_drift)
        self._sampler.load(body["sampler"])
        self._suspects_sampler.load(body.get("suspects_sampler", {}))
        self._other_bins = not (same and same_drift)
        if not same and body.get("outcomes") is not None:
            self._former = body["outcomes"] | {"reference": body["reference"]}
        self._dropped_before = body.get("suspects_dropped", 0)
        if same and self.suspects is not None and body.get("suspects") is not None:
            self.suspects.load(body["suspects"])
        if same and self.outcomes is not None and body.get("outcomes") is not None:
            self.outcomes.load(body["outcomes"])

    def load_part(self, piece: int, part: Part, body: dict[str, Any]) -> None:
        """From a snapshot: a piece that a store keeps. A negative id: it is in no store, so it counts as changed.

        Raises:
            StateError: it does not fit.
        """
        if part == "rest":
            self.load_rest(body)
            self._rest_piece, self._rest_changed = piece, piece < 0
        else:
            slots = self.watch.load_rows(body)
            if piece < 0:
                self.watch.journal.touch(slots)
            else:
                self.watch.journal.found(piece, slots)

    def loaded_all(self) -> None:
        """All parts are there."""
        self.watch.loaded()
        if self._other_bins:
            self.watch.journal.touch_first(len(self.watch.table.names))
            self.close_until(None)
            if self._former is not None:
                classes, fields = tuple(self._former["classes"]), tuple(self._former.get("fields", ()))
                OutcomeBuffer(classes, 1.0, self._pass_on, self._former["reference"], fields).pass_on_what(self._former)
                self._former = None
