"""A shard's answers on their way to the model's owner, where delayed labels are joined: gathered by thousands, as a record costs 100 us."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from detectors.arrays import plain
from schemas.outcomes import MAX_CELL, MAX_ROWS, MAX_SCORES, P_NONE, P_ONE, VALUE_WIDTH, Outcomes


class OutcomeBuffer:
    """Answers of one model version on one partition that were not passed on yet: at most 4,096.

    Args:
        classes: of the reference in force, in its order; more than 65,535 are refused. None: a regression, whose values are kept.
        share: of the events, by their key, that are followed: the same ones everywhere.
        emit: takes a message; who it is from is the caller's business.
        reference: whose classes they are; empty: the caller says it.
        fields: names of the segments that go with each answer.

    Memory: 18 bytes an event, 2 a class and 1 a field.
    Cost: 0.1 us an event with ten classes, most of it for memory that is not in the cache.
    """

    def __init__(
        self,
        classes: tuple[str, ...],
        share: float,
        emit: Callable[[Outcomes], None],
        reference: str = "",
        fields: tuple[str, ...] = (),
    ) -> None:
        self._classes, self._emit, self._reference = list(classes), emit, reference
        self._below = np.uint64(min(round(share * 2.0**64), 2**64 - 1))
        self.width = VALUE_WIDTH if not classes else len(classes) if len(classes) <= MAX_SCORES else 1
        self._keys, self._at_ns = np.empty(MAX_ROWS, np.uint64), np.empty(MAX_ROWS, np.int64)
        self._answer, self._scores = np.empty(MAX_ROWS, np.uint16), np.empty((MAX_ROWS, self.width), np.uint16)
        self._held, self._fields = 0, list(fields)
        self._cells = np.empty((MAX_ROWS, len(fields)), np.uint8)
        self._no_cells = np.empty((0, 0), np.uint8)

    def add(
        self,
        keys: NDArray[np.uint64],
        at_ns: NDArray[np.int64],
        answered: NDArray[np.bool_],
        answer: NDArray[np.int32],
        scores: NDArray[np.float32],
        cells: NDArray[np.uint8] | None = None,
    ) -> None:
        """Takes accepted events: those that were answered, by a class of the reference, and have a name, are kept.

        Args:
            keys: (n,) of their ids, 0 for none.
            at_ns: (n,) event time.
            answered: (n,).
            answer: (n,) predicted class, negative for none.
            scores: (n, classes) or (n, 0).
            cells: (n, fields) of the segments; None where there are no fields.
        """
        given = self._no_cells if cells is None else plain(cells)
        columns = plain(keys), plain(at_ns), plain(answered), plain(answer), plain(scores), given
        into = self._keys, self._at_ns, self._answer, self._scores, self._cells
        row = 0
        while row < len(keys):
            row, self._held = _gather(*columns, row, self._below, *into, self._held)
            if self._held == MAX_ROWS:
                self.pass_on()

    def add_values(
        self, keys: NDArray[np.uint64], at_ns: NDArray[np.int64], answered: NDArray[np.bool_], value: NDArray[np.float64]
    ) -> None:
        """Takes accepted events of a regression: those that were answered by a finite value, and have a name, are kept."""
        rows = np.flatnonzero(answered & np.isfinite(value) & (keys > 0) & (keys <= self._below))
        while len(rows):
            now, rows = rows[: MAX_ROWS - self._held], rows[MAX_ROWS - self._held :]
            part = slice(self._held, self._held + len(now))
            self._keys[part], self._at_ns[part], self._answer[part] = keys[now], at_ns[now], 0
            self._scores[part] = np.ascontiguousarray(value[now], "<f8").view("<u2").reshape(len(now), VALUE_WIDTH)
            self._held += len(now)
            if self._held == MAX_ROWS:
                self.pass_on()

    def pass_on(self) -> None:
        """Sends what is held."""
        n, self._held = self._held, 0
        if n:
            self._emit(
                Outcomes(
                    model="",
                    version="",
                    reference=self._reference,
                    partition=0,
                    epoch=0,
                    sequence=0,
                    classes=self._classes,
                    keys=self._keys[:n].astype("<u8", copy=False).tobytes(),
                    at_ns=self._at_ns[:n].astype("<i8", copy=False).tobytes(),
                    answer=self._answer[:n].astype("<u2", copy=False).tobytes(),
                    width=self.width,
                    scores=self._scores[:n].astype("<u2", copy=False).tobytes(),
                    fields=self._fields,
                    cells=self._cells[:n].tobytes(),
                )
            )

    def dump(self) -> dict[str, Any]:
        """For a snapshot."""
        n = self._held
        return {
            "classes": self._classes,
            "keys": self._keys[:n].copy(),
            "at_ns": self._at_ns[:n].copy(),
            "answer": self._answer[:n].copy(),
            "scores": self._scores[:n].copy(),
            "fields": self._fields,
            "cells": self._cells[:n].copy(),
        }

    def pass_on_what(self, body: dict[str, Any]) -> None:
        """Sends what a snapshot held, in these classes."""
        self.load(body)
        self.pass_on()

    def load(self, body: dict[str, Any]) -> None:
        """From a snapshot, into a fresh buffer for the same classes; of one without the same fields only what leaves next has none."""
        n = len(body["keys"])
        if body.get("fields", []) == self._fields:
            self._cells[:n] = body.get("cells", self._cells[:n])
        else:
            self._cells[:n] = MAX_CELL
        self._keys[:n], self._at_ns[:n], self._answer[:n], self._scores[:n] = body["keys"], body["at_ns"], body["answer"], body["scores"]
        self._held = n


@njit(cache=True)
def _gather(
    keys: Any,
    at_ns: Any,
    answered: Any,
    answer: Any,
    scores: Any,
    cells: Any,
    row: int,
    below: Any,
    out_keys: Any,
    out_at: Any,
    out_answer: Any,
    out_scores: Any,
    out_cells: Any,
    held: int,
) -> tuple[int, int]:
    """Copies rows from ``row`` on until the room is used up; returns the row reached and how many are held then."""
    width = out_scores.shape[1]
    while row < len(keys) and held < len(out_keys):
        if answered[row] and answer[row] >= 0 and 0 < keys[row] <= below:
            out_keys[held], out_at[held], out_answer[held] = keys[row], at_ns[row], answer[row]
            for k in range(width):
                column = k if width > 1 or scores.shape[1] == 1 else answer[row]
                p = scores[row, column] if column < scores.shape[1] else np.float32(np.nan)
                out_scores[held, k] = np.uint16(p * np.float32(P_ONE) + np.float32(0.5)) if 0 <= p <= 1 else np.uint16(P_NONE)
            for k in range(out_cells.shape[1]):
                out_cells[held, k] = cells[row, k]
            held += 1
        row += 1
    return row, held
