"""What is erased of a client or an event, table by table, and what is kept of an alert about them.

A table with a column ``client`` or ``event_id`` loses the rows. An alert loses everything about whom it was, and stays: how many pages
there were, of what kind, and how they were judged is what the promise is measured by. An alert whose rows were gone would look as if
nobody had been woken. What the organisation has to keep about a person is not for this table.
"""

from __future__ import annotations

import json
from collections.abc import Callable

import msgspec

from schemas.forget import Forget
from schemas.rows import TABLES, AckRow, AlertRow, Row

__all__ = ["ERASED", "FREE_TEXT", "MIN_IN_TEXT", "REDACTED", "holders", "redacted"]

ERASED = "Erased on request."
"""What stands where an alert's sentence was."""
MIN_IN_TEXT = 8
"""Characters of an id that is looked for inside free text, too: a shorter one is in every second word. The SDK's pseudonyms have 32."""
FREE_TEXT: dict[type[Row], tuple[str, ...]] = {AlertRow: ("summary", "evidence"), AckRow: ("note",)}
"""Columns whose text may name somebody."""
REDACTED: frozenset[type[Row]] = frozenset(FREE_TEXT)
"""Tables whose rows stay."""


def holders(column: str) -> list[type[Row]]:
    """The tables that lose the rows of a client (``client``) or an event (``event_id``).

    Example:
        >>> [table.table for table in holders("event_id")]
        ['sampled_events']
    """
    return [table for table in TABLES if column in table.__struct_fields__ and table not in REDACTED]


def redacted(row: AlertRow, what: Forget) -> AlertRow:
    """A row of an alert's history as it may stay; the row itself when it says nothing about them.

    Example:
        >>> row = AlertRow(alert_id="a", model="m", version="1", detector="evasion", alertname="E", severity="page", state="firing",
        ...                opened_at=0, at=0, client="c0ffee", summary="Client c0ffee searches ...")
        >>> redacted(row, Forget(client="c0ffee")).summary
        'Erased on request.'
    """
    if what.event_id:
        said = f'"event_id":{json.dumps(what.event_id, ensure_ascii=False)}'
        return _with(row, evidence=row.evidence.replace(said, '"event_id":""'))
    if row.client == what.client:
        return _with(row, client="", clients=(), summary=ERASED, evidence="{}")
    gone: Callable[[str], str] = lambda text: text.replace(what.client, "") if len(what.client) >= MIN_IN_TEXT else text  # noqa: E731
    members = tuple(name for name in row.clients if name != what.client)
    return _with(row, clients=members, summary=gone(row.summary), evidence=gone(row.evidence))


def _with(row: AlertRow, **changes: object) -> AlertRow:
    changed = msgspec.structs.replace(row, **changes)
    return row if changed == row else changed
