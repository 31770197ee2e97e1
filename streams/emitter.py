"""What leaves a shard: every message gets its number, its destination and its count."""

from __future__ import annotations

from collections import Counter

import msgspec

from inferwatch import DecodeError
from schemas import forget, outcomes, reference, suspects, windows
from schemas.forget import Forget
from schemas.outcomes import Outcomes
from schemas.reference import Reference
from schemas.rows import Row
from schemas.suspects import SuspectRows
from schemas.windows import Finding, WindowPartial
from streams.owner import Destination, Outbox, Record

__all__ = ["Emitter"]

_KEPT_BYTES = 65_536
"""Bytes of an unreadable record that go to the dead letters."""


class Emitter:
    """Puts messages into an outbox.

    Args:
        epoch: of the state that they come from.

    Attributes:
        outbox: where they wait.
        epoch: with ``sequence`` the identity of a message, by which who receives it twice takes it once.
        sequence: of the next message.
        counts: of messages and of what is in them; names as in `streams.metrics.Metrics.OWNER_COUNTS`.
    """

    def __init__(self, epoch: int) -> None:
        self.outbox = Outbox()
        self.epoch, self.sequence = epoch, 0
        self.counts: Counter[str] = Counter()

    def emit(self, message: WindowPartial | Finding | SuspectRows | Outcomes | Forget | Row) -> None:
        """To the judge of a model, or a row to the store."""
        if isinstance(message, Row):
            self.outbox.add("rows", message.table.encode(), msgspec.msgpack.encode(message))
            return
        message.epoch, message.sequence, self.sequence = self.epoch, self.sequence, self.sequence + 1
        to: Destination = "findings"
        headers: dict[str, str] | None = None
        if isinstance(message, SuspectRows):
            self.counts["suspects"] += len(message.at_ns) // 8
            value, headers = suspects.encode(message), {"ce_type": suspects.CE_TYPE}
        elif isinstance(message, Outcomes):
            self.counts["outcomes"] += len(message.keys) // 8
            value, headers = outcomes.encode(message), {"ce_type": outcomes.CE_TYPE}
        elif isinstance(message, Forget):
            value, headers = forget.encode(message), {"ce_type": forget.CE_TYPE}
        elif isinstance(message, WindowPartial):
            self.counts["windows"] += 1
            self.counts["late"] += message.late
            self.counts.update({f"anomalies.{kind}": n for kind, n in message.anomalies.items()})
            to, value = "windows", windows.encode(message)
        else:
            self.counts[f"findings.{message.family}"] += 1
            value = windows.encode(message)
        self.outbox.add(to, message.model.encode(), value, headers)

    def publish(self, made: Reference) -> None:
        """A reference that was made here, to everybody."""
        self.outbox.add("references", reference.key_of(made.model, made.version), reference.encode(made))

    def dead_letter(self, record: Record, error: DecodeError) -> None:
        """A record that could not be read, whole or in part."""
        headers = {"reason": error.reason, "error": str(error)[:500], "source": f"{record.role}/{record.partition}/{record.offset}"}
        self.outbox.add("dlq", str(record.partition).encode(), record.value[:_KEPT_BYTES], headers | _printable(record.headers))


def _printable(headers: dict[str, str]) -> dict[str, str]:
    return {f"original-{name[:100]}": value[:200] for name, value in list(headers.items())[:16]}
