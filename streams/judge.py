"""The judge: one partition of the topics that are keyed by model, from shards' counts and findings to alerts and rows."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Sequence

import msgspec

from detectors.state import StateError, pack, reading, unpack
from inferwatch import Heartbeat, Label, Lifecycle, Verdict, verdict_key
from schemas import findings, operations, outcomes, windows
from schemas.alerts import Alert
from schemas.forget import Forget
from schemas.outcomes import Outcomes
from schemas.rows import AuditRow, Row, WindowRow
from schemas.suspects import SuspectRows
from schemas.windows import Finding, WindowPartial
from streams.alert_row import alert_row
from streams.audit import Head
from streams.forget import without
from streams.judge_audit import JudgeAudit
from streams.label_desks import LabelDesks
from streams.model_judge import ModelJudge
from streams.owner import NS, SET_BACK_NS, Copy, Out, Outbox, Record, Role
from streams.references import References
from streams.settings import Settings
from streams.verdicts import VerdictBook
from streams.versions import VersionBook

_SOURCES = 8_192
"""Shard states whose sequence numbers are remembered: partitions, times models, times two topics, times restarts without snapshot."""
_KEPT_BYTES = 65_536
_KNOWN_VERSIONS = 1_000
_KIND, _PIECE, _VERSION = "streams.judge", "streams.judge.piece", 1
_HEARTBEAT = "inferwatch.heartbeat.v1"


class Judge:
    """Owner of one partition of ``windows``, ``findings``, ``lifecycle``, ``labels`` and ``operations``.

    See `streams.owner.Owner` for the contract.

    Args:
        partition: its number.
        settings: of the worker.
        references: the registry of the process.

    Attributes:
        repeated: messages that had been taken in already, and were skipped.
        refused: messages that could not be read, by topic.
        counted: lifecycle messages, by kind.
    """

    def __init__(self, partition: int, settings: Settings, references: References) -> None:
        self.partition = partition
        self.outbox = Outbox()
        self.next: dict[Role, int] = {"windows": 0, "findings": 0, "lifecycle": 0, "labels": 0, "operations": 0}
        self.repeated = 0
        self.refused: Counter[str] = Counter()
        self.counted: Counter[str] = Counter()
        self._emitted: Counter[str] = Counter()
        self._settings, self._references = settings, references
        self._settle_ns = round(settings.window.settle_s * NS)
        self._models: dict[tuple[str, str], ModelJudge] = {}
        self._labels = LabelDesks(settings, self._models)
        self._books: dict[str, VersionBook] = {}
        self._seen: OrderedDict[str, int] = OrderedDict()
        self._versions: dict[str, dict[str, int]] = {}
        """By model: its versions that were ever loaded, and when first."""
        self._now_ns = 0
        self.heard_until_ns: int | None = None
        """Until when all signs of life have been read, for as long as somebody says it (`streams.tenure.Listening`); None: until now."""
        self._next_piece = 0
        self._verdicts = VerdictBook(settings.verdicts, self._put_verdict)
        self._audit = JudgeAudit(partition, settings, self._put_audit)
        references.watch(self._reference_changed)

    def close(self) -> None:
        """Lets go of the registry; for an owner that is dropped."""
        self._references.unwatch(self._reference_changed)

    def open_alerts(self) -> Sequence[Alert]:
        """Alerts that fire or are pending: what the pager must be told again after a restart."""
        return [alert for model in self._models.values() for alert in model.alerts.open]

    def counters(self) -> dict[str, int]:
        """Totals for the worker's metrics; names as in `streams.metrics.Metrics.OWNER_COUNTS`."""
        counts = Counter({f"dead_letters.{role}": n for role, n in self.refused.items()} | dict(self._emitted))
        grown = sum(model.alerts.grown for model in self._models.values())
        counts.update({"alerts.firing": -grown, "alerts.grown": grown})
        counts["suspects"] = sum(model.suspects_seen for model in self._models.values())
        counts["outcomes_forgotten"] = sum(model.accuracy.store.forgotten for model in self._models.values())
        counts.update({f"labels.{fate}": n for fate, n in self.fates().items()})
        counts.update({f"verdicts.{what}": n for what, n in self._verdicts.counted.items()})
        return dict(counts)

    def apply(self, record: Record) -> bool:
        """Takes a record in; False when it is in the state already."""
        if record.offset < self.next.get(record.role, 0):
            return False
        self.next[record.role] = record.offset + 1
        try:
            if record.role == "windows":
                partial = windows.decode_partial(record.value)
                if self._fresh("w", partial):
                    self.partial(partial, record.at_ns)
            elif record.role == "findings":
                message = findings.decode(record.value, record.headers)
                if self._fresh("f", message):
                    self.told(message, record.at_ns)
            elif record.role == "labels":
                self.label(msgspec.json.decode(record.value, type=Label), record.at_ns)
            elif record.role == "operations":
                self._verdicts.operate(operations.decode(record.value), record.at_ns)
            elif record.role == "lifecycle" and record.headers.get("ce_type") == _HEARTBEAT:
                self._heartbeat(msgspec.json.decode(record.value, type=Heartbeat), record.at_ns)
            elif record.role == "lifecycle":
                self._lifecycle(msgspec.json.decode(record.value, type=Lifecycle), record.at_ns)
            else:
                self.counted[record.role] += 1
        except (msgspec.DecodeError, StateError, ValueError, RecursionError) as error:
            self.refused[record.role] += 1
            headers = {"reason": "foreign", "error": str(error)[:500], "source": f"{record.role}/{self.partition}/{record.offset}"}
            self.outbox.add("dlq", str(self.partition).encode(), record.value[:_KEPT_BYTES], headers)
        return True

    def partial(self, partial: WindowPartial, now_ns: int) -> None:
        """Takes one partition's share of a window."""
        mine = self._model(partial.model, partial.version)
        mine.partial(partial, now_ns)
        for (model, _), other in self._models.items():
            if model == partial.model and other is not mine:
                other.beside(partial)

    def told(self, message: findings.Message, now_ns: int) -> None:
        """Takes what a shard tells between windows.

        Raises:
            ValueError: its columns are damaged; nothing of it was taken.
        """
        if isinstance(message, SuspectRows):
            self.suspects(message, now_ns)
        elif isinstance(message, Outcomes):
            self.outcomes(message)
        elif isinstance(message, Forget):
            self.forget(message, now_ns)
        else:
            self.finding(message)

    def finding(self, found: Finding) -> None:
        """Takes a finding about a client."""
        self._model(found.model, found.version).finding(found)

    def forget(self, what: Forget, at_ns: int) -> None:
        """Forgets a client, or an event, of one model version, as a shard has."""
        if (one := self._models.get((what.model, what.version))) is not None:
            one.forget(what, at_ns)
        if what.event_id:
            self._labels.forget(what.model, what.event_id)
        if what.client and self._verdicts.forget(what.model, what.client):
            self.outbox.add("verdicts", verdict_key(what.model, what.client), b"")  # the audit log would keep the name
        self.outbox.rewrite(lambda out: without(out, what))

    def suspects(self, rows: SuspectRows, now_ns: int) -> None:
        """Takes one partition's rows of a slice."""
        self._model(rows.model, rows.version).suspects(rows, now_ns)

    def outcomes(self, answers: Outcomes) -> None:
        """Takes one partition's answers.

        Raises:
            ValueError: the columns are damaged; nothing of them was taken.
        """
        columns = outcomes.columns_of(answers)
        self._emitted["outcomes"] += len(columns)
        self._model(answers.model, answers.version).accuracy.answers(columns, tuple(answers.classes))
        self._labels.join_if_due(answers.model, self._now_ns)

    def label(self, label: Label, received_ns: int) -> None:
        """Takes the truth about an event."""
        self._labels.take(label, received_ns, self._now_ns)

    def fates(self) -> Counter[str]:
        """What became of all labels, by `streams.labels.Fate`."""
        return self._labels.fates()

    def tick(self, now_ns: int) -> None:
        """Judges windows that are due; ends alerts that nothing renews.

        A clock that was far ahead and is right again, or another host's, begins anew: what was put off until a time that never was is due.
        """
        if now_ns < self._now_ns - SET_BACK_NS:
            self._now_ns = now_ns
            for model in self._models.values():
                model.set_back(now_ns)
        self._now_ns = max(self._now_ns, now_ns)
        self._labels.tick(self._now_ns)
        for model in self._models.values():
            model.accuracy.store.drop_fresh()
            model.tick(self._now_ns, self._settle_ns, self.heard_until_ns)
        self._verdicts.tick(self._now_ns, self._open_pages)
        self._audit.tick(self._now_ns, self._references)

    def snapshot(self) -> bytes:
        """The whole state, outbox included, the same whatever was copied or stored before."""
        return self._pack(whole=True)

    def _pack(self, *, whole: bool) -> bytes:
        next_id, waiting = self.outbox.dump()
        return pack(
            _KIND,
            _VERSION,
            {
                "partition": self.partition,
                "next": dict(self.next),
                "now_ns": self._now_ns,
                "repeated": self.repeated,
                "refused": dict(self.refused),
                "counted": dict(self.counted),
                "emitted": dict(self._emitted),
                "seen": dict(self._seen),
                **self._labels.dump(),
                "books": [[name, book.dump()] for name, book in self._books.items()],
                "versions": self._versions,
                "verdicts": self._verdicts.dump(),
                "audit": self._audit.dump(),
                "models": [[*key, model.snapshot(whole=whole)] for key, model in self._models.items()],
                "outbox": [next_id, msgspec.msgpack.encode(waiting)],
            },
        )

    @reading(_KIND)
    def restore(self, blob: bytes) -> None:
        """Goes on from a snapshot, in a fresh object.

        Raises:
            StateError: when it is no judge's, or another partition's.
        """
        body = unpack(blob, _KIND, _VERSION)
        if body["partition"] != self.partition:
            raise StateError(f"a state of partition {body['partition']}, not {self.partition}")
        self.next, self._now_ns, self.repeated = body["next"], body["now_ns"], body["repeated"]
        self.refused, self.counted = Counter(body["refused"]), Counter(body["counted"])
        self._emitted = Counter(body["emitted"])
        self._seen = OrderedDict(body["seen"])
        self._labels.load(body)
        self._versions = body.get("versions", {})
        if "verdicts" in body:
            self._verdicts.load(body["verdicts"])
            self._audit.load(body["audit"])
        for name, state in body.get("books", []):
            self._book(name).load(state)
        next_id, waiting = body["outbox"]
        self.outbox.load(next_id, msgspec.msgpack.decode(waiting, type=list[Out]))
        for name, version, state in body["models"]:
            self._model(name, version).restore(state)

    def begin_copy(self) -> JudgeCopy:
        """A copy of this moment; see `streams.owner.Sliced`. The swarms' large states are written anew only from time to time."""
        pieces: dict[int, bytes] = {}
        for key, model in self._models.items():
            state = model.swarm.cut(self._next_piece)
            if state:
                pieces[self._next_piece] = pack(_PIECE, _VERSION, {"model": key[0], "version": key[1], "swarm": state})
                self._next_piece += 1
            for piece, part in model.accuracy.store.cut(self._next_piece).items():
                pieces[piece] = pack(_PIECE, _VERSION, {"model": key[0], "version": key[1], "outcomes": part})
                self._next_piece = piece + 1
        models = self._models.values()
        of_swarms = [model.swarm.piece for model in models if model.swarm.piece >= 0]
        keep = tuple(sorted(of_swarms + [piece for model in models for piece in model.accuracy.store.pieces]))
        return JudgeCopy(self._pack(whole=False), pieces, keep)

    def copy_lost(self, copy: Copy) -> None:
        """What this copy holds was not saved; the next one holds it again."""
        for model in self._models.values():
            model.swarm.lost(set(copy.pieces))
            model.accuracy.store.lost(set(copy.pieces))

    def begin_restore(self, root: bytes) -> None:
        """Goes on from a copy, in a fresh object: first its root, then its pieces, then `end_restore`.

        Raises:
            StateError: when it is no judge's, or another partition's.
        """
        self.restore(root)

    def restore_piece(self, piece: int, blob: bytes) -> None:
        """A piece of the copy.

        Raises:
            StateError: it does not belong here.
        """
        body = unpack(blob, _PIECE, _VERSION)
        model = self._models.get((body["model"], body["version"]))
        if model is None:
            raise StateError(f"piece {piece} is of {body['model']} {body['version']}, which the state does not know")
        if "outcomes" in body:
            model.accuracy.store.load_piece(piece, body["outcomes"])
        else:
            model.swarm.load_piece(piece, body["swarm"])
        self._next_piece = max(self._next_piece, piece + 1)

    def end_restore(self) -> None:
        """All pieces are there."""

    def _model(self, model: str, version: str) -> ModelJudge:
        key = model, version
        if key not in self._models:
            self._models[key] = made = ModelJudge(
                model, version, self._settings, self._references.get(model, version), self._emit, self._book(model)
            )
            made.deploy = max(self._versions.get(model, {}).items(), key=lambda one: one[1], default=None)
        return self._models[key]

    def _book(self, model: str) -> VersionBook:
        book = self._books.get(model)
        if book is None:
            book = self._books[model] = VersionBook(self._settings)
        return book

    def _reference_changed(self, model: str, version: str) -> None:
        self._audit.references_changed = True
        if (model, version) in self._models:
            self._models[model, version].use(self._references.get(model, version))

    def _fresh(self, kind: str, message: WindowPartial | findings.Message) -> bool:
        """Whether this message comes for the first time; a shard's messages come in order of their sequence numbers."""
        source = f"{kind}/{message.partition}/{message.epoch}/{message.model}"
        if message.sequence <= self._seen.get(source, -1):
            self.repeated += 1
            return False
        self._seen[source] = message.sequence
        self._seen.move_to_end(source)
        if len(self._seen) > _SOURCES:
            self._seen.popitem(last=False)
        return True

    def _heartbeat(self, beat: Heartbeat, received_ns: int) -> None:
        self.counted["heartbeats"] += 1
        self._audit.heartbeat(beat, received_ns)
        known = (beat.model, beat.version) in self._models
        if beat.model and beat.version and (known or len(self._models) < self._settings.limits.models):
            self._model(beat.model, beat.version).heartbeat(beat, received_ns)

    def _lifecycle(self, message: Lifecycle, received_ns: int) -> None:
        self.counted["lifecycle"] += 1
        key = message.model, message.version
        if key not in self._models and len(self._models) >= self._settings.limits.models:
            return
        model = self._model(*key)
        known = self._versions.setdefault(message.model, {})
        if message.kind == "loaded" and message.version not in known and len(known) < _KNOWN_VERSIONS:
            known[message.version] = received_ns
            for (name, _), one in self._models.items():
                if name == message.model:
                    one.deploy = message.version, received_ns
        model.service.lifecycle(message, received_ns)

    def _emit(self, message: Alert | Row) -> None:
        if isinstance(message, WindowRow):
            self._emitted.update({"windows": 1, "events": message.accepted})
        if isinstance(message, Alert):
            self._emitted[f"alerts.{message.state}"] += 1
            self.outbox.add("alerts", message.alert_id.encode(), msgspec.json.encode(message))
            self._emit(alert_row(message))
            now_ns = max(self._now_ns, message.at_ns)
            self._audit.alert(message, now_ns)
            self._verdicts.alert(message, now_ns)
        else:
            self.outbox.add("rows", message.table.encode(), msgspec.msgpack.encode(message))

    def _put_verdict(self, model: str, client: str, verdict: Verdict | None, why: str, by: str) -> None:
        self.outbox.add("verdicts", verdict_key(model, client), b"" if verdict is None else msgspec.json.encode(verdict))
        self._audit.verdict(model, client, verdict, why, by, self._now_ns)

    def _put_audit(self, row: AuditRow, head: Head) -> None:
        self._emit(row)
        self.outbox.add("audit", head.chain.encode(), msgspec.json.encode(head))

    def _open_pages(self) -> set[str]:
        return {alert.alert_id for alert in self.open_alerts() if alert.severity == "page" and alert.state == "firing"}


class JudgeCopy:
    """A `streams.owner.Copy` of a judge, made at once."""

    def __init__(self, root: bytes, pieces: dict[int, bytes], keep: tuple[int, ...]) -> None:
        self.root, self.pieces, self.keep = root, pieces, keep

    def step(self) -> bool:
        """Nothing is left to copy."""
        return False
