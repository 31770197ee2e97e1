"""Which client rows changed since they were last written, and which piece of the state holds the newest version of each.

A snapshot of 100,000 clients is 600 MB: too much to copy at once, and too much to write each second. So rows are written in *pieces*: bytes
that never change, each with some rows. A snapshot adds pieces with the rows that changed, and forgets pieces of which no row is the newest.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

__all__ = ["RowJournal"]

WASTE = 2.0
"""Rows in all pieces may be at most so many times the rows in use; beyond that the emptiest pieces are written anew."""
_SPARE = 4_096  # rows and ...
_SMALL_PIECES = 64  # ... pieces that are allowed besides

Slots = NDArray[np.int64]


class RowJournal:
    """Book-keeping for one table of rows. It holds no rows: ``cut`` copies them.

    While a copy is under way (from `begin` until `step` returns False), whoever changes rows says so *before*, by `touch`: rows that are
    still to be copied are copied then, as they were at `begin`.

    Args:
        cut: Copies these rows as they are now into a new piece; returns its id. Ids only grow.
        rows_per_piece: How many rows go into a piece now.

    Example:
        >>> rows, pieces = np.zeros(4, int), []
        >>> def cut(slots):
        ...     pieces.append(dict(zip(slots.tolist(), rows[slots].tolist())))
        ...     return len(pieces) - 1
        >>> journal = RowJournal(cut, lambda: 2)
        >>> journal.resize(4)
        >>> journal.touch(np.array([0, 1, 3])); rows[[0, 1, 3]] = 5
        >>> journal.begin()
        >>> journal.touch(np.array([3])); rows[3] = 9         # is copied first: the copy is of the moment of `begin`
        >>> while journal.step(): pass
        >>> pieces, journal.pieces
        ([{3: 5}, {0: 5, 1: 5}], (0, 1))
    """

    def __init__(self, cut: Callable[[Slots], int], rows_per_piece: Callable[[], int]) -> None:
        self._cut, self._rows_per_piece = cut, rows_per_piece
        self._changed = np.zeros(0, np.bool_)
        self._due = np.zeros(0, np.bool_)
        self._home = np.zeros(0, np.int64)  # the piece of a row's newest written version; -1: none
        self._queue = np.zeros(0, np.int64)
        self._at = 0
        self._size: dict[int, int] = {}
        self._live: dict[int, int] = {}

    @property
    def pieces(self) -> tuple[int, ...]:
        """Ids of the pieces that hold a newest version, increasing."""
        return tuple(sorted(self._live))

    @property
    def under_way(self) -> bool:
        """Whether rows are still to be copied."""
        return self._at < len(self._queue)

    def resize(self, rows: int) -> None:
        """Room for more rows; the new ones are empty, and nobody needs to write them."""
        more = rows - len(self._home)
        self._changed = np.concatenate([self._changed, np.zeros(more, np.bool_)])
        self._due = np.concatenate([self._due, np.zeros(more, np.bool_)])
        self._home = np.concatenate([self._home, np.full(more, -1, np.int64)])

    def touch(self, slots: NDArray[np.integer]) -> None:
        """These rows are about to change; negative numbers are nobody's."""
        if not len(self._home):
            return
        slots = slots[slots >= 0]
        if self.under_way:
            due = slots[self._due[slots]]
            if len(due):
                self._write(np.unique(due).astype(np.int64))
        self._changed[slots] = True

    def touch_first(self, rows: int) -> None:
        """All of the first so many rows are about to change."""
        while self.step():
            pass
        self._changed[:rows] = True

    def begin(self) -> None:
        """A copy of all that changed begins, of this moment."""
        self._abandon()
        wanted = self._changed.copy()
        if sparse := self._too_empty(wanted):
            wanted |= np.isin(self._home, sparse)
        self._queue, self._at = np.flatnonzero(wanted), 0
        self._due[self._queue] = True
        self._changed[self._queue] = False

    def step(self) -> bool:
        """Copies one piece's rows; False when none are left."""
        most = self._rows_per_piece()
        while self.under_way:
            part = self._queue[self._at : self._at + most]
            self._at += len(part)
            part = part[self._due[part]]
            if len(part):
                self._write(part)
                return True
        self._queue, self._at = self._queue[:0], 0
        return False

    def lost(self, pieces: set[int]) -> None:
        """These pieces were not saved: what they hold has to be written again."""
        self._abandon()
        self._changed |= np.isin(self._home, list(pieces))

    def found(self, piece: int, slots: Slots) -> None:
        """A piece was read back; pieces come by increasing id."""
        self._settle(piece, slots)

    def _abandon(self) -> None:
        left = self._queue[self._at :]
        left = left[self._due[left]]
        self._changed[left] = True
        self._due[left] = False
        self._queue, self._at = self._queue[:0], 0

    def _write(self, slots: Slots) -> None:
        self._due[slots] = False
        self._settle(self._cut(slots), slots)

    def _settle(self, piece: int, slots: Slots) -> None:
        before, counts = np.unique(self._home[slots], return_counts=True)
        for old, n in zip(before.tolist(), counts.tolist(), strict=True):
            if old < 0:
                continue
            self._live[old] -= n
            if not self._live[old]:
                del self._live[old], self._size[old]
        self._home[slots] = piece
        self._live[piece] = self._size[piece] = len(slots)

    def _too_empty(self, wanted: NDArray[np.bool_]) -> list[int]:
        """Pieces to write anew, those first that cost the fewest rows for what they free."""
        used = int(np.count_nonzero(self._home >= 0))
        rows = sum(self._size.values())
        most_rows = WASTE * used + _SPARE
        most_pieces = 2 * used // self._rows_per_piece() + _SMALL_PIECES
        if rows <= most_rows and len(self._size) <= most_pieces:
            return []
        live = dict(zip(*(a.tolist() for a in np.unique(self._home[(self._home >= 0) & ~wanted], return_counts=True)), strict=True))
        chosen: list[int] = []
        if rows > most_rows:
            for piece in sorted(self._size, key=lambda piece: live.get(piece, 0) / self._size[piece]):
                if rows <= (1 + WASTE) / 2 * used:
                    break
                chosen.append(piece)
                rows -= self._size[piece] - live.get(piece, 0)
        left = len(self._size) - len(chosen)
        if left > most_pieces:
            small = sorted(set(self._size) - set(chosen), key=lambda piece: live.get(piece, 0))
            chosen += small[: left - most_pieces // 2]
        return chosen
