"""The shard: one partition of the event stream, from bytes to counts, findings and rows."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence
from functools import partial
from typing import Any

import msgspec

from detectors.state import StateError, pack, reading, unpack
from inferwatch import CONTENT_TYPE_JSON, DecodeError, EventColumns, decode
from schemas import forget, reference
from streams.emitter import Emitter
from streams.forget import without
from streams.model_shard import ModelShard, Part
from streams.owner import NS, SET_BACK_NS, Copy, Out, Record, Role, TooManyDeadLettersError
from streams.provisional import Provisional
from streams.references import References
from streams.settings import Settings

_GRACE_NS = NS
"""How long after its end a window stays open for the events of other producers."""
_IDLE_NS = 2 * NS
"""A partition without records for so long has none on their way, and closes its windows by the clock."""
_SILENT_NS = 86_400 * NS
"""Silence after which a model version may be forgotten for another: versions come and go with deploys."""
_RECENT_RECORDS = 1_000
_MIN_RECORDS = 50
_KIND, _PIECE, _VERSION = "streams.shard", "streams.shard.piece", 3


class Shard:
    """Owner of one partition of ``inferwatch.events``; see `streams.owner.Owner` for the contract.

    Args:
        partition: its number.
        settings: of the worker.
        references: the registry of the process.
        epoch: distinguishes this state from one that began before or after it (its creation time); a snapshot brings its own.

    Attributes:
        received: events in all.
        rejected: events refused in all, by reason. Accepted + rejected = received, always.
        dead_letters: records that could not be read, by reason.
    """

    def __init__(self, partition: int, settings: Settings, references: References, epoch: int = 0) -> None:
        self.partition = partition
        self._emitter = Emitter(epoch)
        self.outbox = self._emitter.outbox
        self.next: dict[Role, int] = {"events": 0}
        self.received = 0
        self.rejected: Counter[str] = Counter()
        self.dead_letters: Counter[str] = Counter()
        self._settings, self._references = settings, references
        self._models: dict[tuple[str, str], ModelShard] = {}
        self._provisional: dict[tuple[str, str], Provisional] = {}
        self._readable: deque[bool] = deque(maxlen=_RECENT_RECORDS)
        self._active = False
        self._active_ns = 0
        self._pieces: dict[int, bytes] = {}
        self._next_piece = 0
        self._waiting: list[tuple[str, str]] | None = None
        references.watch(self._reference_changed)

    def close(self) -> None:
        """Lets go of the registry; for an owner that is dropped."""
        self._references.unwatch(self._reference_changed)

    @property
    def models(self) -> dict[tuple[str, str], ModelShard]:
        """State by model version."""
        return self._models

    @property
    def evicted(self) -> int:
        """Clients forgotten for lack of room, in all."""
        return sum(model.watch.table.evicted for model in self._models.values())

    def counters(self) -> dict[str, int]:
        """Totals for the worker's metrics; names as in `streams.metrics.Metrics.OWNER_COUNTS`."""
        counts = {"events": self.received - self.rejected.total(), "evicted.client": self.evicted}
        counts["suspects_dropped"] = sum(model.suspects_dropped for model in self._models.values())
        counts |= {f"rejected.{reason}": n for reason, n in self.rejected.items()}
        counts |= {f"dead_letters.{reason}": n for reason, n in self.dead_letters.items()}
        return counts | dict(self._emitter.counts)

    def apply(self, record: Record) -> bool:
        """Takes a record in; False when it is in the state already.

        Raises:
            TooManyDeadLettersError: more than `limits.dead_letter_share` of the recent records could not be read.
        """
        if record.offset < self.next["events"]:
            return False
        if record.headers.get("ce_type") == forget.CE_TYPE:
            self._forget(record)
            self.next["events"] = record.offset + 1
            return True
        content_type = record.headers.get("content-type", CONTENT_TYPE_JSON)
        try:
            batches, bad = decode(record.value, content_type)
        except DecodeError as error:
            batches, bad = [], [error]
        for batch in batches:
            self.take(batch, record.at_ns)
        if bad:
            self._dead_letter(record, bad[0], len(bad))
        self.next["events"] = record.offset + 1
        self._active = True
        self._readable.append(bool(batches) or not bad)
        if bad:
            self._stop_if_most_are_unreadable(bad[0])
        return True

    def take(self, events: EventColumns, received_ns: int) -> None:
        """Takes in decoded events of one model version."""
        self.received += len(events)
        key = events.model, events.version
        model = self._models.get(key)
        if model is None:
            if len(self._models) >= self._settings.limits.models and not self._forget_a_silent_model(received_ns):
                self.rejected["too_many_models"] += len(events)
                return
            model = self._models[key] = self._new(*key)
        if model.loaded is None:
            model.touch()
            self._gather(key, events)
        most = max(self._settings.limits.clients // 2, 1)
        for a in range(0, len(events), most):  # newcomers of one record must not need the slots of the established
            self.rejected.update(model.apply(events if len(events) <= most else events.take(slice(a, a + most)), received_ns))
        if model.watermark_ns:
            model.close_until(model.watermark_ns - _GRACE_NS)

    def _forget(self, record: Record) -> None:
        """Forgets whom or what a record names, and tells the owners of the models."""
        try:
            what = forget.decode(record.value)
        except msgspec.DecodeError as error:
            self._dead_letter(record, DecodeError("foreign", str(error)), 0)
            return
        for (model, version), one in self._models.items():
            if what.model in ("", model):
                one.forget(what)
                self._emitter.emit(msgspec.structs.replace(what, model=model, version=version, partition=self.partition))
        self.outbox.rewrite(lambda out: without(out, what))
        self._emitter.counts["forgotten"] += 1

    def tick(self, now_ns: int) -> None:
        """Closes windows by the clock where no records come any more."""
        if self._active or now_ns < self._active_ns - SET_BACK_NS:
            self._active, self._active_ns = False, now_ns
        if now_ns - self._active_ns >= _IDLE_NS:
            for model in self._models.values():
                model.close_until(now_ns - _GRACE_NS)

    def finish(self) -> None:
        """Closes all windows, at the end of a recording."""
        for model in self._models.values():
            model.close_until(None)

    def snapshot(self) -> bytes:
        """The whole state, outbox included, the same whatever was copied or stored before. For some MB; `begin_copy` is for more."""
        pieces: list[bytes] = []
        for key, model in self._models.items():
            pieces.append(_piece(key, "rest", self._rest(key, model)))
            pieces += [_piece(key, "rows", rows) for rows in model.watch.all_rows()]
        return pack(_KIND, _VERSION, {"root": self._root(), "pieces": pieces})

    @reading(_KIND)
    def restore(self, blob: bytes) -> None:
        """Goes on from a snapshot, in a fresh object.

        Raises:
            StateError: when it is no shard's, or another partition's.
        """
        body = unpack(blob, _KIND, _VERSION)
        self._begin_restore(body["root"])
        for piece in body["pieces"]:
            self.restore_piece(-1, piece)
        self.end_restore()

    def begin_copy(self) -> ShardCopy:
        """Begins a copy of what changed since the last one, of this moment; see `streams.owner.Sliced`."""
        self._pieces = {}
        return ShardCopy(self._root(), list(self._models.values()), self._pieces)

    def copy_lost(self, copy: Copy) -> None:
        """What this copy holds was not saved; the next one holds it again."""
        for model in self._models.values():
            model.lost(set(copy.pieces))

    def begin_restore(self, root: bytes) -> None:
        """Goes on from a copy, in a fresh object: first its root, then all its pieces as `ShardCopy.keep` has them, then `end_restore`.

        Raises:
            StateError: when it is no shard's, or another partition's.
        """
        self._begin_restore(unpack(root, _KIND, _VERSION)["root"])

    def restore_piece(self, piece: int, blob: bytes) -> None:
        """A piece of the copy; a negative id: it is in no store.

        Raises:
            StateError: it does not belong here.
        """
        body = unpack(blob, _PIECE, _VERSION)
        model = self._models.get((body["model"], body["version"]))
        if model is None:
            raise StateError(f"piece {piece} is of {body['model']} {body['version']}, which the state does not know")
        model.load_part(piece, body["part"], body["body"])
        if (provisional := body["body"].get("provisional")) is not None:
            self._provisional[body["model"], body["version"]] = Provisional.restore(provisional)
        self._next_piece = max(self._next_piece, piece + 1)

    def end_restore(self) -> None:
        """All pieces are there."""
        for model in self._models.values():
            model.loaded_all()
        changed, self._waiting = self._waiting or [], None
        for model_version in changed:  # a reference came while the pieces did
            self._reference_changed(*model_version)

    def _root(self) -> dict[str, Any]:
        next_id, waiting = self.outbox.dump()
        return {
            "partition": self.partition,
            "next": self.next["events"],
            "epoch": self._emitter.epoch,
            "sequence": self._emitter.sequence,
            "received": self.received,
            "rejected": dict(self.rejected),
            "dead_letters": dict(self.dead_letters),
            "emitted": dict(self._emitter.counts),
            "models": [[*key, model.reference_id] for key, model in self._models.items()],
            "outbox": [next_id, msgspec.msgpack.encode(waiting)],
        }

    def _begin_restore(self, root: dict[str, Any]) -> None:
        if root["partition"] != self.partition:
            raise StateError(f"a state of partition {root['partition']}, not {self.partition}")
        self.next["events"], self.received = root["next"], root["received"]
        self._emitter.epoch, self._emitter.sequence = root["epoch"], root["sequence"]
        self.rejected, self.dead_letters = Counter(root["rejected"]), Counter(root["dead_letters"])
        self._emitter.counts = Counter(root["emitted"])
        next_id, waiting = root["outbox"]
        self.outbox.load(next_id, msgspec.msgpack.decode(waiting, type=list[Out]))
        self._active = True  # what came while nobody listened is on its way: no window closes by the clock before it is there
        self._waiting = []
        unpublished = {made.id: made for made in (reference.decode(out.value) for out in self.outbox if out.to == "references")}
        for name, version, reference_id in root["models"]:
            if reference_id in unpublished:  # made here, in force then, and perhaps not on its topic yet
                self._references.put(unpublished[reference_id])
            self._models[name, version] = self._new(name, version)

    def _rest(self, key: tuple[str, str], model: ModelShard) -> dict[str, Any]:
        gathered = self._provisional.get(key)
        return model.rest() | {"provisional": None if gathered is None else gathered.snapshot()}

    def _cut(self, key: tuple[str, str], part: Part, body: dict[str, Any]) -> int:
        if part == "rest" and (gathered := self._provisional.get(key)) is not None:
            body["provisional"] = gathered.snapshot()
        piece, self._next_piece = self._next_piece, self._next_piece + 1
        self._pieces[piece] = _piece(key, part, body)
        return piece

    def _new(self, model: str, version: str) -> ModelShard:
        loaded, cut = self._references.get(model, version), partial(self._cut, (model, version))
        return ModelShard(model, version, self.partition, self._settings, loaded, self._emitter.emit, cut, self._references.canaries)

    def _forget_a_silent_model(self, now_ns: int) -> bool:
        """Makes room by dropping the model version that has been silent longest, when that is a day; its windows have long closed."""
        key = min(self._models, key=lambda key: self._models[key].watermark_ns)
        if now_ns - self._models[key].watermark_ns < _SILENT_NS:
            return False
        model = self._models.pop(key)
        model.touch()
        model.close_until(None)
        self._provisional.pop(key, None)
        self._emitter.counts["evicted.model"] += 1
        return True

    def _reference_changed(self, model: str, version: str) -> None:
        if self._waiting is not None:
            self._waiting.append((model, version))
            return
        if (model, version) in self._models:
            self._models[model, version].touch()
            self._models[model, version].use(self._references.get(model, version))
        self._provisional.pop((model, version), None)

    def _gather(self, key: tuple[str, str], events: EventColumns) -> None:
        """Keeps the first rows of a model without a reference, and makes a provisional one of them when there are enough."""
        gathered = self._provisional.get(key)
        if gathered is None:
            gathered = self._provisional[key] = Provisional(self._settings.limits.provisional_rows)
        gathered.add(events)
        if gathered.full:
            made = gathered.build(*key)
            if made is not None:
                self._emitter.publish(made)
                self._references.put(made)

    def _dead_letter(self, record: Record, error: DecodeError, events: int) -> None:
        self.received += events
        self.rejected[error.reason] += events
        self.dead_letters[error.reason] += 1
        self._emitter.dead_letter(record, error)

    def _stop_if_most_are_unreadable(self, error: DecodeError) -> None:
        lost = self._readable.count(False)
        if len(self._readable) >= _MIN_RECORDS and lost > self._settings.limits.dead_letter_share * len(self._readable):
            raise TooManyDeadLettersError(
                f"partition {self.partition}: {lost} of the last {len(self._readable)} records could not be read (last: {error}). "
                "Look at the dead letters, stop the producer that sends them, then restart the worker; "
                "to let them pass raise limits.dead_letter_share."
            )


class ShardCopy:
    """A `streams.owner.Copy` of a shard: what changed in each model since the last one."""

    def __init__(self, root: dict[str, Any], models: Sequence[ModelShard], pieces: dict[int, bytes]) -> None:
        self.pieces = pieces
        self.keep: tuple[int, ...] = ()
        self.root = pack(_KIND, _VERSION, {"root": root})
        self._models, self._at = models, 0
        for model in models:
            model.begin_copy()

    def step(self) -> bool:
        """Copies a piece; False when nothing is left."""
        while self._at < len(self._models):
            if self._models[self._at].copy():
                return True
            self._at += 1
        self.keep = (
            *(model.rest_piece for model in self._models),
            *sorted(n for model in self._models for n in model.watch.journal.pieces),
        )
        return False


def _piece(key: tuple[str, str], part: Part, body: dict[str, Any]) -> bytes:
    return pack(_PIECE, _VERSION, {"model": key[0], "version": key[1], "part": part, "body": body})
