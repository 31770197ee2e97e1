"""The same input, another answer: what is compared with what."""

from __future__ import annotations

import numpy as np

from detectors.consistency import AnswerMemory, answers_of

RNG = np.random.default_rng(0)
CODES = RNG.integers(1, 2**63, 400).astype(np.uint64)
YES = np.ones(400, bool)
LABEL = RNG.integers(0, 3, 400).astype(np.int32)
SCORE = RNG.random(400).astype(np.float32)


def seen(window: int, label: np.ndarray = LABEL, score: np.ndarray = SCORE, memory: AnswerMemory | None = None) -> list[list[int]]:
    counts: list[list[int]] = (memory or AnswerMemory()).update(CODES, YES, label, score, window=window).tolist()
    return counts


def test_equal_answers_are_consistent_and_others_are_counted_once_a_window() -> None:
    memory = AnswerMemory()
    assert seen(0, memory=memory) == [[0, 0], [0, 0]]
    same = seen(1, memory=memory)
    assert 60 < same[0][0] < 140  # one row in four
    assert same[0][1] == same[1][1] == 0
    assert seen(1, (LABEL + 1) % 3, memory=memory) == [[0, 0], [0, 0]]  # asked again within the window
    other = seen(2, (LABEL + 1) % 3, memory=memory)
    assert other[0] == [same[0][0]] * 2
    assert other[1] == other[0]  # of another class, the score is of something else


def test_jitter_below_the_tolerance_is_the_same_answer() -> None:
    memory = AnswerMemory()
    seen(0, memory=memory)
    assert seen(1, score=SCORE + np.float32(0.01), memory=memory)[1][1] == 0
    moved = seen(2, score=SCORE + np.float32(0.05), memory=memory)
    assert moved[0][1] == 0
    assert moved[1][1] == moved[1][0] > 0


def test_predicted_numbers_differ_from_one_percent_on() -> None:
    memory, none = AnswerMemory(), np.full(400, -1, np.int32)
    value = (1000 * SCORE).astype(np.float32)
    for window, factor, others in ((0, 1.0, 0), (1, 1.005, 0), (2, 1.02, 1)):
        counts = memory.update(CODES, YES, none, value * np.float32(factor), window=window, value=True)
        assert counts[0].tolist() == [0, 0]
        assert counts[1, 1] == others * counts[1, 0]


def test_rows_asked_once_do_not_push_out_those_that_come_again() -> None:
    memory = AnswerMemory()
    for window in (0, 1):
        seen(window, memory=memory)
    flood = np.random.default_rng(1).integers(1, 2**63, 200_000).astype(np.uint64)
    memory.update(flood, np.ones(len(flood), bool), np.zeros(len(flood), np.int32), np.zeros(len(flood), np.float32), window=2)
    assert seen(3, memory=memory)[0][0] > 60


def test_how_a_batch_is_cut_changes_nothing_nor_does_a_restart() -> None:
    whole, parts = AnswerMemory(), AnswerMemory()
    codes = np.tile(CODES, 3)
    label, score = np.tile(LABEL, 3), np.tile(SCORE, 3)
    one = whole.update(codes, np.ones(1200, bool), label, score, window=5)
    total = np.zeros((2, 2), np.int64)
    for a in range(0, 1200, 70):
        part = slice(a, a + 70)
        total += parts.update(codes[part], np.ones(len(codes[part]), bool), label[part], score[part], window=5)
        again = AnswerMemory()
        again.load(parts.dump())
        parts = again
    assert total.tolist() == one.tolist()
    assert all((parts.dump()[name] == array).all() for name, array in whole.dump().items())


def test_the_answer_is_the_probability_of_its_class_or_the_predicted_number() -> None:
    scores, label = np.array([[0.2, 0.8], [0.6, 0.4]], np.float32), np.array([1, -1], np.int32)
    told = answers_of(scores, label, None)
    assert told[0] == np.float32(0.8)
    assert np.isnan(told[1])
    assert answers_of(scores, label, np.array([3.0, 1e300])).tolist() == [3.0, np.inf]
    assert np.isnan(answers_of(np.empty((2, 0), np.float32), label, None)).all()
