"""Rows are written when they changed, and what is stored stays in proportion to what is in use."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams import journal
from streams.journal import WASTE, RowJournal

ROWS = 40


class Table:
    """Rows, a journal of them, and what a store would hold."""

    def __init__(self, rows: int, rows_per_piece: int) -> None:
        self.rows = np.zeros(rows, np.int64)
        self.cut: dict[int, dict[int, int]] = {}
        self.stored: dict[int, dict[int, int]] = {}
        self.next = 0
        self.journal = RowJournal(self._cut, lambda: rows_per_piece)
        self.journal.resize(rows)

    def _cut(self, slots: "np.ndarray[tuple[int], np.dtype[np.int64]]") -> int:
        self.cut[self.next] = dict(zip(slots.tolist(), self.rows[slots].tolist(), strict=True))
        self.next += 1
        return self.next - 1

    def change(self, slots: list[int]) -> None:
        at = np.array(slots, np.int64)
        self.journal.touch(at)
        self.rows[at] += 1

    def save(self, changed_meanwhile: list[list[int]], *, lose: bool = False) -> None:
        self.cut = {}
        self.journal.begin()
        expected = self.rows.copy()
        for slots in changed_meanwhile:
            self.journal.step()
            self.change(slots)
        while self.journal.step():
            pass
        if lose:
            self.journal.lost(set(self.cut))
            return
        held = self.stored | self.cut
        self.stored = {piece: held[piece] for piece in self.journal.pieces}
        assert self.restored().tolist() == expected.tolist()

    def restored(self) -> "np.ndarray[tuple[int], np.dtype[np.int64]]":
        rows = np.zeros(len(self.rows), np.int64)
        for _, piece in sorted(self.stored.items()):
            rows[list(piece)] = list(piece.values())
        return rows


SLOTS = st.lists(st.integers(0, ROWS - 1), max_size=8)


@given(rounds=st.lists(st.tuples(SLOTS, st.lists(SLOTS, max_size=3), st.booleans()), max_size=30))
def test_what_is_stored_is_what_was_there_when_the_copy_began(rounds: list[tuple[list[int], list[list[int]], bool]]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(journal, "_SPARE", 2)
        patch.setattr(journal, "_SMALL_PIECES", 3)
        table = Table(ROWS, 4)
        for before, meanwhile, lose in rounds:
            table.change(before)
            table.save(meanwhile, lose=lose)
        table.save([])
        assert table.restored().tolist() == table.rows.tolist()


@pytest.mark.parametrize("share", [0.001, 0.02, 0.3, 1.0])
def test_what_is_stored_stays_in_proportion_and_is_not_written_again_and_again(share: float) -> None:
    n, rng = 20_000, np.random.default_rng(1)
    table = Table(n, 160)
    table.change(list(range(n)))
    table.save([])
    written = changed = 0
    for _ in range(150):
        slots = rng.choice(n, round(share * n), replace=False).tolist()
        table.change(slots)
        table.save([])
        changed += len(slots)
        written += sum(len(piece) for piece in table.cut.values())
        assert sum(len(piece) for piece in table.stored.values()) <= (WASTE + 1) * n + 4_096
        assert len(table.stored) <= 4 * n // 160 + 64
    assert written < 5 * changed


def test_a_table_that_grows_keeps_what_it_has() -> None:
    table = Table(4, 2)
    table.change([0, 1, 2, 3])
    table.save([])
    table.journal.resize(8)
    table.rows = np.concatenate([table.rows, np.zeros(4, np.int64)])
    table.change([6])
    table.save([])
    assert table.restored().tolist() == [1, 1, 1, 1, 0, 0, 1, 0]
    assert sum(map(len, table.cut.values())) == 1
