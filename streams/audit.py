"""The audit log's chains: each row carries the hash of the one before, so that what was changed, taken out or moved can be found.

One writer, one chain, numbered from 0. ``hash = SHA-256(previous hash || canonical bytes)``; the canonical bytes are the row's columns as a
JSON array (see `canonical`), times in milliseconds, as they are stored. Each row also carries when the row before was, so that a beginning
that has expired can be told from one that was cut away.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

import msgspec

from schemas.columns import EARLIEST_NS, LATEST_NS
from schemas.rows import AuditRow

__all__ = ["GENESIS", "Chain", "Head", "Kind", "Problem", "canonical", "hash_of", "verify"]

Kind = Literal["alert", "verdict", "acknowledgement", "reference", "settings", "key", "export", "report", "deletion"]
GENESIS = "0" * 64
"""What a chain's first row follows."""
_MS = 1_000_000
_DETAIL = 16_384
_TEXT = 1_024


class Head(msgspec.Struct, frozen=True, kw_only=True):
    """The end of a chain, as it is kept outside of the store: on the topic ``audit``, key the chain."""

    chain: str
    number: int
    hash: str
    at_ms: int


@dataclass(frozen=True)
class Problem:
    """Something that a chain's rows cannot have come to by themselves."""

    chain: str
    number: int
    at_ms: int
    what: Literal["changed", "missing", "doubled", "reordered", "cut"]
    text: str

    def __str__(self) -> str:
        when = f" ({datetime.fromtimestamp(self.at_ms / 1000, UTC):%Y-%m-%d %H:%M:%S}Z)" if self.at_ms else ""
        return f"{self.chain}, row {self.number}{when}: {self.text}"


class Chain:
    """One writer's end of its chain.

    Args:
        name: Of the chain; empty: made from ``prefix`` and the time of the first row.
        prefix: Who writes.

    Example:
        >>> chain = Chain(prefix="judge-3")
        >>> first = chain.add("key", 1_800_000_000_000_000_000, subject="shop", detail={"key_id": "54cd"})
        >>> second = chain.add("key", 1_800_000_001_000_000_000, subject="shop", detail={"key_id": "ea76"})
        >>> first.chain, second.number, second.previous == first.hash
        ('judge-3-1800000000000', 1, True)
    """

    def __init__(self, *, name: str = "", prefix: str = "") -> None:
        self.name, self._prefix = name, prefix
        self.next, self.hash, self.at_ms = 0, GENESIS, 0

    @property
    def head(self) -> Head:
        """Its last row. There must be one."""
        return Head(chain=self.name, number=self.next - 1, hash=self.hash, at_ms=self.at_ms)

    def add(
        self,
        kind: Kind,
        at_ns: int,
        *,
        model: str = "",
        version: str = "",
        subject: str = "",
        actor: str = "",
        detail: Mapping[str, Any] | None = None,
    ) -> AuditRow:
        """The next row. Times never go back within a chain; what is too long is cut, so that every row can be stored."""
        at_ms = max(min(max(at_ns, EARLIEST_NS), LATEST_NS - 1) // _MS, self.at_ms)
        self.name = self.name or f"{self._prefix}-{at_ms}"
        text = msgspec.json.encode(detail or {}).decode()
        if len(text) > _DETAIL:
            text = msgspec.json.encode({"cut": True, "sha256": hashlib.sha256(text.encode()).hexdigest(), "head": text[:2_000]}).decode()
        row = AuditRow(
            chain=self.name,
            number=self.next,
            at=at_ms * _MS,
            previous_at=(self.at_ms if self.next else at_ms) * _MS,
            kind=kind,
            model=_plain(model),
            version=_plain(version),
            subject=_plain(subject),
            actor=_plain(actor),
            detail=text,
            previous=self.hash,
        )
        row = msgspec.structs.replace(row, hash=hash_of(row))
        self.next, self.hash, self.at_ms = self.next + 1, row.hash, at_ms
        return row

    def dump(self) -> tuple[str, int, str, int]:
        """For a snapshot."""
        return self.name, self.next, self.hash, self.at_ms

    def load(self, state: Iterable[Any]) -> None:
        """From a snapshot, or from the chain's last row."""
        self.name, self.next, self.hash, self.at_ms = state


def canonical(row: AuditRow) -> bytes:
    """What is hashed of a row, beside the hash before: chain, number, time, time before, kind, model, version, subject, actor, detail."""
    at, before = row.at // _MS, row.previous_at // _MS
    return msgspec.json.encode([row.chain, row.number, at, before, row.kind, row.model, row.version, row.subject, row.actor, row.detail])


def hash_of(row: AuditRow) -> str:
    """SHA-256 of the hash before (32 bytes) and the canonical bytes, in hexadecimal digits."""
    try:
        previous = bytes.fromhex(row.previous)
    except ValueError:
        previous = row.previous.encode()
    return hashlib.sha256(previous + canonical(row)).hexdigest()


def verify(
    rows: Iterable[AuditRow], *, kept_from_ms: int = 0, heads: Iterable[Head] = (), settled_ms: int | None = None
) -> Iterator[Problem]:
    """Everything that is wrong with one chain.

    Args:
        rows: Of one chain, by number; a row that is stored twice, alike, comes once.
        kept_from_ms: Rows older than this may have expired.
        heads: Ends of this chain that are known from elsewhere.
        settled_ms: Heads after this time may be of rows that are still on their way to the store; None: none are.
    """
    before: AuditRow | None = None
    sound = True  # the row before is what its hash says
    hashes: dict[int, str] = {}
    numbers: dict[str, int] = {}
    chain = ""
    for row in rows:
        chain = row.chain
        hashes.setdefault(row.number, row.hash)
        follows = numbers.get(row.previous)
        numbers.setdefault(row.hash, row.number)
        at_ms = row.at // _MS
        if before is not None and row.number == before.number:
            yield Problem(chain, row.number, at_ms, "doubled", f"is there twice, with other contents: {row.kind} {row.subject}")
            continue
        was_sound, sound = sound, hash_of(row) == row.hash
        if not sound:
            was = _moved(row)
            if was is not None:
                yield Problem(chain, row.number, at_ms, "reordered", f"was row {was}: {row.kind} {row.subject}")
            else:
                yield Problem(chain, row.number, at_ms, "changed", f"was changed: {row.kind} {row.subject}")
        if before is None:
            if row.number and row.previous_at // _MS >= kept_from_ms:
                which = "row 0 is" if row.number == 1 else f"rows 0 to {row.number - 1} are"
                yield Problem(chain, 0, row.previous_at // _MS, "missing", f"{which} missing, and not old enough to have expired")
            elif not row.number and row.previous != GENESIS:
                yield Problem(chain, 0, at_ms, "changed", "does not begin the chain, although it is its first")
        elif row.number != before.number + 1:
            last = row.number - 1
            which = f"row {last} is" if last == before.number + 1 else f"rows {before.number + 1} to {last} are"
            yield Problem(chain, before.number + 1, before.at // _MS, "missing", f"{which} missing")
        elif row.previous != before.hash and sound and was_sound:
            if follows is not None and follows != before.number:
                yield Problem(chain, row.number, at_ms, "reordered", f"follows row {follows} by its hash, not row {before.number}")
            else:
                text = f"does not follow row {before.number}: one of them was changed, with its hash"
                yield Problem(chain, row.number, at_ms, "changed", text)
        before = row
    for head in sorted(heads, key=lambda one: one.number):
        last = -1 if before is None else before.number
        if head.number in hashes:
            if hashes[head.number] != head.hash:
                yield Problem(head.chain, head.number, head.at_ms, "changed", "has another hash than the one kept outside of the store")
        elif head.number > last and head.at_ms >= kept_from_ms and (settled_ms is None or head.at_ms <= settled_ms):
            which = f"row {head.number} is" if head.number == last + 1 else f"rows {last + 1} to {head.number} are"
            yield Problem(head.chain, head.number, head.at_ms, "cut", f"{which} missing at the end, says what is kept outside")


def _moved(row: AuditRow) -> int | None:
    """The number that this row had, when only its number was changed, within some thousand of where it is."""
    for number in range(max(0, row.number - 2_000), row.number + 2_001):
        if number != row.number and hash_of(msgspec.structs.replace(row, number=number)) == row.hash:
            return number
    return None


def _plain(text: str) -> str:
    """What ClickHouse gives back as it got it."""
    return text[:_TEXT].encode("utf-8", "replace").decode()
