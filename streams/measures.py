"""Counts behind AUC and F1 by window and delay, until they are told: only what occurred takes room."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from schemas.measures import answer_codes, score_codes
from streams.labels import Joined

__all__ = ["MeasureCounts"]

_Key = tuple[int, int, int]


class MeasureCounts:
    """Truths with answers, and with scores, as codes of `schemas.measures`, by cell: start of the window, delay, number of classes.

    Attributes:
        held: entries, at most two a label of two classes, and one more a class of up to sixteen.

    Memory: 100 bytes an entry.
    """

    def __init__(self) -> None:
        self._answers: dict[_Key, dict[int, int]] = {}
        self._scores: dict[_Key, dict[int, int]] = {}
        self.held = 0

    def take(self, joined: Joined, cells: NDArray[np.int64], index: NDArray[np.intp]) -> None:
        """Counts labels.

        Args:
            joined: with their answers.
            cells: (m, 2) starts and delays.
            index: (n,) which of them each label is in.
        """
        classes = len(joined.classes)
        self._add(self._answers, cells, index, answer_codes(joined.truth, joined.answer, classes), classes)
        rows, codes = score_codes(joined.truth, joined.scores, classes)
        self._add(self._scores, cells, index[rows], codes, classes)

    def _add(
        self, into: dict[_Key, dict[int, int]], cells: NDArray[np.int64], index: NDArray[np.intp], codes: NDArray[np.int64], classes: int
    ) -> None:
        found, counts = np.unique(np.stack([index, codes], 1), axis=0, return_counts=True)
        for (cell, code), n in zip(found.tolist(), counts.tolist(), strict=True):
            start, delay = cells[cell].tolist()
            held = into.setdefault((start, delay, classes), {})
            self.held += code not in held
            held[code] = held.get(code, 0) + n

    def columns(self, cell: _Key) -> dict[str, list[int]]:
        """The columns of a row of ``accuracy_windows``."""
        answers, scores = (sorted(of.get(cell, {}).items()) for of in (self._answers, self._scores))
        return {
            "answer_codes": [code for code, _ in answers], "answer_counts": [n for _, n in answers],
            "score_codes": [code for code, _ in scores], "score_counts": [n for _, n in scores],
        }  # fmt: skip

    def dump(self) -> list[Any]:
        """For a snapshot."""
        cells = sorted(self._answers.keys() | self._scores.keys())
        return [[*cell, *self.columns(cell).values()] for cell in cells]

    def load(self, body: list[Any]) -> None:
        """From a snapshot, into a fresh object."""
        for start, delay, classes, codes, counts, score_codes_, score_counts in body:
            cell = int(start), int(delay), int(classes)
            self._answers[cell] = dict(zip(codes, counts, strict=True))
            if score_codes_:
                self._scores[cell] = dict(zip(score_codes_, score_counts, strict=True))
            self.held += len(codes) + len(score_codes_)
