"""Forgetting on request: what waits to leave is changed, and what is still on its way is caught at the model's owner."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from schemas.erasure import redacted
from schemas.forget import Forget
from schemas.rows import TABLES, AlertRow
from schemas.windows import ClientLine
from streams.duplicates import hash_of_client
from streams.owner import Out

_TYPES = {table.table: table for table in TABLES}
_MAX = 1_000


def without(out: Out, what: Forget) -> Out | None:
    """A message that waits, as it may leave; None when it may not. Only rows are looked at: topics keep what they have until it expires."""
    table = _TYPES.get(out.key.decode()) if out.to == "rows" else None
    if table is None:
        return out
    row = msgspec.msgpack.decode(out.value, type=table)
    if what.model not in ("", getattr(row, "model", "")):
        return out
    if isinstance(row, AlertRow):
        changed = redacted(row, what)
        return out if changed is row else msgspec.structs.replace(out, value=msgspec.msgpack.encode(changed))
    mine = what.client and getattr(row, "client", "") == what.client
    return None if mine or (what.event_id and getattr(row, "event_id", "") == what.event_id) else out


class Forgotten:
    """Clients that were forgotten a short while ago: shares of windows that closed before may still be on their way, on another topic.

    Kept as 64-bit hashes, at most a thousand, until the last such share must have come.

    Example:
        >>> forgotten = Forgotten()
        >>> forgotten.add("c0ffee", at_ns=100)
        >>> line = ClientLine(client="c0ffee", n=1, errors=0, denied=0, repeats=0, severity="none", evidence={})
        >>> forgotten.filter([line], end_ns=90), len(forgotten.filter([line], end_ns=110))
        ([], 1)
    """

    def __init__(self) -> None:
        self._at_ns: dict[int, int] = {}

    def add(self, client: str, at_ns: int) -> None:
        """This client was forgotten at this time."""
        self._at_ns.pop(hash_of_client(client), None)
        self._at_ns[hash_of_client(client)] = at_ns
        if len(self._at_ns) > _MAX:
            del self._at_ns[next(iter(self._at_ns))]

    def filter(self, lines: Sequence[ClientLine], end_ns: int) -> list[ClientLine]:
        """Of a window that ended then: without the lines of clients that were forgotten later."""
        if not self._at_ns:
            return list(lines)
        return [line for line in lines if self._at_ns.get(hash_of_client(line.client), -1) < end_ns]

    def expire(self, before_ns: int) -> None:
        """What was forgotten before is no longer watched for."""
        for key in [key for key, at_ns in self._at_ns.items() if at_ns < before_ns]:
            del self._at_ns[key]

    def dump(self) -> list[list[int]]:
        """For a snapshot."""
        return [[key, at_ns] for key, at_ns in self._at_ns.items()]

    def load(self, body: Any) -> None:
        """From a snapshot."""
        self._at_ns = dict(body)
