"""The compiled passes count what numpy counts, whatever a producer sends."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from detectors.arrays import plain
from schemas import latency
from streams.kernels import admit, count_clients, count_events, odd_rows, top_classes, used_codes, without_hash

_FLOATS = st.floats(width=32) | st.sampled_from([0.0, -1.0, np.inf, -np.inf, np.nan, 1e-30, 3.4e38])


@given(st.lists(st.tuples(st.integers(-1, 3), st.integers(0, 5), _FLOATS), max_size=50))
def test_a_window_counts_every_event_once(events: list[tuple[int, int, float]]) -> None:
    slot = np.array([e[0] for e in events], np.int32)
    status, ms = np.array([e[1] for e in events], np.uint8), np.array([e[2] for e in events], np.float32)
    statuses, bins = np.zeros(6, np.int64), np.zeros(latency.BINS, np.int64)
    clients, errors, denied = np.zeros(4, np.int32), np.zeros(4, np.int32), np.zeros(4, np.int32)
    count_events(slot, status, ms, statuses, bins, clients, errors, denied)
    assert statuses.tolist() == [int((status == k).sum()) for k in range(6)]
    assert np.array_equal(bins, latency.counts_of(ms[status == 0]))
    assert clients.tolist() == [int((slot == k).sum()) for k in range(4)]
    assert errors.tolist() == [int(((slot == k) & (status == 1)).sum()) for k in range(4)]
    assert denied.tolist() == [int(((slot == k) & ((status == 2) | (status == 3))).sum()) for k in range(4)]


@given(arrays(np.float32, st.tuples(st.integers(0, 20), st.integers(1, 5)), elements=_FLOATS))
def test_a_row_is_odd_for_what_is_in_it(X: "np.ndarray[tuple[int, int], np.dtype[np.float32]]") -> None:
    low, high = np.full(X.shape[1], -np.inf, np.float32), np.full(X.shape[1], np.inf, np.float32)
    low[0], high[0] = -1, 1
    flags = odd_rows(X, low, high)
    assert np.array_equal(flags & 1 > 0, np.isnan(X).any(1))
    assert np.array_equal(flags & 2 > 0, np.isinf(X).any(1))
    with np.errstate(invalid="ignore"):
        outside = (X[:, 0] < -1) | (X[:, 0] > 1)
    assert np.array_equal(flags & 4 > 0, outside & np.isfinite(X[:, 0]))


@given(arrays(np.float32, st.tuples(st.integers(0, 20), st.integers(1, 5)), elements=_FLOATS))
def test_the_largest_score_is_the_answer_where_none_was_given(scores: "np.ndarray[tuple[int, int], np.dtype[np.float32]]") -> None:
    label = np.full(len(scores), -1, np.int32)
    label[::3] = 2
    top_classes(scores, label)
    sound = np.isfinite(scores).all(1)
    expected = np.where(sound, scores.argmax(1), -1)
    expected[::3] = 2
    assert np.array_equal(label, expected)


@given(st.lists(st.tuples(st.integers(-1, 100), st.integers(1, 2**64 - 1), st.integers(-1, 2**63 - 1)), min_size=1, max_size=40))
def test_an_event_is_admitted_whose_time_is_near_the_records(events: list[tuple[int, int, int]]) -> None:
    given, keys = np.array([e[0] for e in events], np.int64), np.array([e[1] for e in events], np.uint64)
    number = np.array([e[2] for e in events], np.int64)
    at, shown, off = np.empty(len(events), np.int64), np.empty(len(events), np.uint64), np.empty(len(events), np.bool_)
    wrong, lowest, highest = admit(given, 50, 40, 70, keys, number, at, shown, off)
    assert np.array_equal(at, np.where(given < 0, 50, given))
    assert np.array_equal(off, (at < 40) | (at > 70))
    assert np.array_equal(shown, np.where(off, 0, keys))
    assert (wrong, lowest, highest) == (off.sum(), number.min(), number.max())


@given(st.lists(st.tuples(st.integers(-1, 3), st.integers(0, 9)), max_size=40))
def test_a_client_is_counted_and_a_suspect_marked(events: list[tuple[int, int]]) -> None:
    slot, at = np.array([e[0] for e in events], np.int32), np.array([e[1] for e in events], np.int64)
    severity = np.zeros((4, 4), np.uint8)
    severity[1, 3], severity[3] = 2, 1
    n, last, suspect = np.zeros(4, np.int64), np.zeros(4, np.int64), np.ones(len(events), np.bool_)
    found = count_clients(slot, at, severity, n, last, suspect)
    assert n.tolist() == [int((slot == s).sum()) for s in range(4)]
    assert last.tolist() == [int(at[slot == s].max(initial=0)) for s in range(4)]
    assert np.array_equal(suspect, (slot == 1) | (slot == 3))
    assert found == suspect.sum()


@given(arrays(np.int32, st.integers(0, 30), elements=st.integers(-1, 8)))
def test_only_names_that_occur_are_looked_up(codes: "np.ndarray[tuple[int], np.dtype[np.int32]]") -> None:
    assert used_codes(codes, 9).tolist() == sorted(set(codes.tolist()) - {-1})


@given(arrays(np.int32, st.integers(0, 30), elements=st.integers(-1, 3)))
def test_a_slot_without_a_hash_is_found_wherever_it_stands(slots: "np.ndarray[tuple[int], np.dtype[np.int32]]") -> None:
    assert np.array_equal(without_hash(slots, np.array([0, 5, 0, 7], np.uint64)), np.flatnonzero((slots == 0) | (slots == 2)))


def test_a_read_only_or_strided_array_becomes_a_plain_one() -> None:
    strided = np.arange(12.0, dtype=np.float32).reshape(3, 4)[:, ::2]
    frozen = np.arange(3.0)
    frozen.flags.writeable = False
    for array in (strided, frozen):
        made = plain(array)
        assert made.flags.c_contiguous
        assert made.flags.writeable
        assert np.array_equal(made, array)
    already = np.zeros(3)
    assert plain(already) is already
