"""The time in which this worker owns one partition: its owner, and how far that is applied, durable, sent and delivered.

No thread, no I/O, no clock: what is slow is done by `streams.custody` with what this hands out.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, Protocol, runtime_checkable

import msgspec
import structlog

from schemas.alerts import Alert
from streams.owner import Out, Owner, Record, Role, Sliced, TooManyDeadLettersError
from streams.snapshots import Kind, Snapshot

__all__ = ["ROLES", "Closing", "JudgeOwner", "Taken", "Taking", "Tenure"]

ROLES: dict[Kind, tuple[Role, ...]] = {"shard": ("events",), "judge": ("windows", "findings", "lifecycle", "labels", "operations")}
"""Which topics each kind of owner reads."""

Taken = Literal["applied", "skipped", "gap", "failed", "stopped"]
"""What became of a record. "gap": records before it are missing, so it was not applied; read again from the owner's next."""

_PATIENCE = 256  # records after a gap, before reading again from where it begins is asked for once more
_BEHIND_TICKS = 60  # without any record, after which what was to wait in the topics is taken for gone
_UNHEARD_TICKS = 1_200  # without any sign of life, after which the end of their topic is taken for a transaction's markers
_RECENT = 100  # records over which our own failures are counted

log = structlog.get_logger(__name__)


class JudgeOwner(Owner, Protocol):
    """An owner that has alerts."""

    def open_alerts(self) -> Sequence[Alert]:
        """Those that are firing now, so that they go on firing at Alertmanager after a restart."""


@runtime_checkable
class Listening(Protocol):
    """An owner that takes silence for a sign, and so has to know how far it has listened."""

    heard_until_ns: int | None
    """Until when, by Kafka's clock or this machine's, all signs of life have been read."""


@runtime_checkable
class Closing(Protocol):
    """An owner that holds on to something outside of itself."""

    def close(self) -> None:
        """Lets go of it."""


class Tenure:
    """One owner and where it stands.

    An exception out of ``owner.apply`` other than `TooManyDeadLettersError` is a fault of our code. The record goes to the dead letters
    (reason ``internal_error``) and the owner goes on behind it, perhaps with half of that record in its state: better than a worker which
    dies at the same record again and again. When it happens at more than ``failure_share`` of the recent records, the partition stops.

    Args:
        kind: Shard or judge.
        owner: Fresh, or restored.
        fence: From `SnapshotStore.claim`.
        generation: Of the consumer group, at the assignment.
        restored: The owner goes on from a snapshot: what its outbox holds is durable.
        failure_share: Share of records, of the last 100, at which our own code may fail before the partition stops, above 0 to 1.
        waiting: By role: where the topic ended at the takeover. Until that is read no time passes for the owner, or it would close windows
            and judge them by the clock before it knows what came while nobody listened.
    """

    def __init__(
        self,
        kind: Kind,
        owner: Owner,
        *,
        fence: int,
        generation: int,
        restored: bool,
        failure_share: float,
        waiting: Mapping[Role, int] | None = None,
    ) -> None:
        self.kind, self.owner, self.fence, self.generation = kind, owner, fence, generation
        self.partition = owner.partition
        self.stopped = ""
        """Why no more records are taken; "" when they are."""
        self.ended = False
        self.end_of_life: tuple[int, int] = (0, 0)
        """Where the topic of the signs of life ended when somebody looked last, and when that was (`Runtime.note_ends`)."""
        self._heard_ns = self._ticks_unheard = 0
        self.lost = 0
        """Offsets that were missing in the topics."""
        self._failure_share = failure_share
        self._failures: deque[bool] = deque(maxlen=_RECENT)
        self._gaps: dict[Role, tuple[int, int, int]] = {}
        self._changed = self._paused = False
        self._durable_below = self._sent_below = 0
        self._again: set[int] = set()
        self._waiting = dict(waiting or {})
        self._ticks_behind = 0
        if restored:
            self._durable_below = owner.outbox.next_id
        self.saved_next: dict[Role, int] = dict(owner.next)

    def position(self, role: Role) -> int:
        """The offset to read next."""
        return self.owner.next.get(role, 0)

    def take(self, record: Record) -> Taken:
        """Applies a record, when it is its turn."""
        if self.stopped or self.ended or self._paused:
            return "stopped"
        role, at = record.role, self.position(record.role)
        if record.offset < at:
            return "skipped"
        if record.offset > at and not self._is_real_gap(role, at, record.offset):
            return "gap"
        self._gaps.pop(role, None)
        try:
            applied = self.owner.apply(record)
        except TooManyDeadLettersError as error:
            self._stop(f"{error}")
            return "stopped"
        except Exception as error:
            log.exception("internal error at a record; it goes to the dead letters", **self._where(record))
            return self._set_aside(record, error)
        self._failures.append(False)
        self._changed = True
        self._ticks_behind = 0
        if role == "lifecycle":
            self._heard_ns, self._ticks_unheard = max(self._heard_ns, record.at_ns), 0
        return "applied" if applied else "skipped"

    def tick(self, now_ns: int) -> bool:
        """Passes the time on; False when the owner failed."""
        if self.stopped or self.ended or self._paused or self._is_behind():
            return True
        before = self.owner.outbox.next_id
        if isinstance(self.owner, Listening):
            self.owner.heard_until_ns = self._heard_until()
        try:
            self.owner.tick(now_ns)
        except Exception as error:
            log.exception("internal error at a tick", owner=self.kind, partition=self.partition)
            self._count_failure(error)
            return False
        self._changed |= self.owner.outbox.next_id != before
        return True

    def _heard_until(self) -> int:
        """Until when the signs of life have been read: the newest record's time; or when the end was looked for that has been reached."""
        end, at_ns = self.end_of_life
        self._ticks_unheard += 1
        if self.position("lifecycle") >= end or self._ticks_unheard > _UNHEARD_TICKS:
            self._heard_ns = max(self._heard_ns, at_ns)
        return self._heard_ns

    def _is_behind(self) -> bool:
        """Whether records of before the takeover are still to be read."""
        self._waiting = {role: end for role, end in self._waiting.items() if self.position(role) < end}
        self._ticks_behind += 1
        if self._waiting and self._ticks_behind > _BEHIND_TICKS:  # expired meanwhile, or a transaction's markers
            log.warning("what waited in the topics does not come", owner=self.kind, partition=self.partition, ends=self._waiting)
            self._waiting.clear()
        return bool(self._waiting)

    @property
    def is_dirty(self) -> bool:
        """Something is in the state (or gone from the outbox) that the last snapshot does not say."""
        return self._changed

    def begin_snapshot(self, now_ns: int) -> Taking:
        """Begins a snapshot of this moment; step it until it is whole."""
        taking = Taking(self, now_ns)
        self._changed = False
        return taking

    def saved(self, snapshot: Snapshot, below: int) -> None:
        """The snapshot is durable: what its outbox held may leave."""
        self._durable_below = max(self._durable_below, below)
        self.saved_next = {role: snapshot.next[role] for role in ROLES[self.kind]}

    def save_failed(self, taking: Taking | None) -> None:
        """The snapshot got lost: it must be taken again."""
        self._changed = True
        if taking is not None and taking.copy is not None and isinstance(self.owner, Sliced):
            self.owner.copy_lost(taking.copy)

    def due(self) -> list[Out]:
        """Messages that may leave and have not been handed out (or came back by `retry`), in order; they count as handed out."""
        if not self._again and self._sent_below >= self._durable_below:
            return []
        first = min(self._again, default=self._sent_below)
        outs = [
            out
            for out in self.owner.outbox.since(min(first, self._sent_below))
            if out.id < self._durable_below and (out.id >= self._sent_below or out.id in self._again)
        ]
        self._again.clear()
        self._sent_below = max(self._sent_below, self._durable_below)
        return outs

    def delivered(self, ids: Iterable[int]) -> None:
        """Messages have arrived: the owner may forget them."""
        self.owner.outbox.ack(ids)
        self._changed = True

    def retry(self, ids: Iterable[int]) -> None:
        """Messages did not arrive: hand them out again."""
        self._again.update(ids)

    def pause(self) -> None:
        """No more records and ticks; what is there is still saved and sent."""
        self._paused = True

    def end(self) -> None:
        """The partition is somebody else's from now on."""
        if not self.ended and isinstance(self.owner, Closing):
            self.owner.close()
        self.ended = True

    def _is_real_gap(self, role: Role, at: int, offset: int) -> bool:
        """Whether the records between are gone from the topic: only when reading from ``at`` on gives ``offset`` first, twice.

        Otherwise the gap is of our making: a record of an ended assignment, or one that the consumer dropped.
        """
        from_, first, seen = self._gaps.get(role, (-1, -1, 0))
        if (from_, first) == (at, offset):
            self.lost += offset - at
            log.warning(
                "the topic no longer has these records", owner=self.kind, partition=self.partition, role=role, first=at, until=offset
            )
            return True
        if from_ != at or seen >= _PATIENCE:
            self._gaps[role] = (at, offset, 0)
        else:
            self._gaps[role] = (from_, first, seen + 1)
        return False

    def wants_seek(self, role: Role) -> bool:
        """Whether the gap was just found, so that the consumer has to be sent back."""
        return role in self._gaps and self._gaps[role][2] == 0

    def _set_aside(self, record: Record, error: Exception) -> Taken:
        source = f"{record.role}/{self.partition}/{record.offset}"
        headers = {"reason": "internal_error", "error": f"{type(error).__name__}: {error}"[:500], "source": source}
        original = {f"original-{name[:100]}": value[:200] for name, value in list(record.headers.items())[:16]}
        self.owner.outbox.add("dlq", str(self.partition).encode(), record.value, headers | original)
        self.owner.next[record.role] = record.offset + 1
        self._changed = True
        self._count_failure(error)
        return "failed"

    def _count_failure(self, error: Exception) -> None:
        self._failures.append(True)
        share = sum(self._failures) / _RECENT
        if share > self._failure_share:
            self._stop(f"our own code failed at {share:.0%} of the last {_RECENT} records, at last with {type(error).__name__}: {error}")

    def _stop(self, why: str) -> None:
        self.stopped = why
        log.error("this partition stops: nothing more is read from it", owner=self.kind, partition=self.partition, why=why)

    def _where(self, record: Record) -> dict[str, object]:
        return {"owner": self.kind, "partition": self.partition, "role": record.role, "offset": record.offset, "bytes": len(record.value)}


class Taking:
    """A snapshot that is being taken.

    Attributes:
        below: messages with lower ids lie in it; for `Tenure.saved`.
    """

    def __init__(self, tenure: Tenure, now_ns: int) -> None:
        owner = tenure.owner
        self.below = owner.outbox.next_id
        self.copy = owner.begin_copy() if isinstance(owner, Sliced) else None
        positions: dict[str, int] = {role: tenure.position(role) for role in ROLES[tenure.kind]}
        state = owner.snapshot() if self.copy is None else self.copy.root
        self._root = Snapshot(tenure.kind, tenure.partition, tenure.fence, positions, now_ns, state)

    def step(self) -> bool:
        """Copies some more; False when it is whole."""
        return self.copy is not None and self.copy.step()

    @property
    def snapshot(self) -> Snapshot:
        """The whole."""
        if self.copy is None:
            return self._root
        return msgspec.structs.replace(self._root, pieces=self.copy.pieces, keep=self.copy.keep)
