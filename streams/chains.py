"""The questions that led to a finding about a client, so that people see them and not their number alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inferwatch import EventColumns

__all__ = ["LINKS", "chain", "links"]

LINKS = 8
"""Questions of a chain at most, the one that tipped the scale among them."""


def links(slot: NDArray[np.int32], at: int) -> NDArray[np.intp]:
    """The last rows of a batch, up to row ``at``, that are of its client.

    Only the record in which the scale tipped is looked at: ids of earlier questions are in no client's memory. Whoever searches asks so
    fast that a record has many; of a slow one it may have one.

    Example:
        >>> links(np.array([1, 2, 1, 1, 2]), 3).tolist()
        [0, 2, 3]
    """
    return np.flatnonzero(slot[: at + 1] == slot[at])[-LINKS:]


def chain(
    events: EventColumns, rows: NDArray[np.intp], X: NDArray[np.float32], label: NDArray[np.int32], classes: Sequence[str],
    linked: NDArray[np.intp],
) -> list[dict[str, Any]]:  # fmt: skip
    """The linked questions, oldest first: event id, answer, and in how many features each differs from the one before it."""
    out: list[dict[str, Any]] = []
    for k, i in enumerate(linked.tolist()):
        answer = int(label[i])
        one: dict[str, Any] = {"event_id": events.id_of(int(rows[i])), "answer": classes[answer] if 0 <= answer < len(classes) else ""}
        if k:
            before, now = X[linked[k - 1]], X[i]
            one["changed"] = int(np.count_nonzero((before != now) & ~(np.isnan(before) & np.isnan(now))))
        out.append(one)
    return out
