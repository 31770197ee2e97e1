"""A worker that stands still while records wait is found; one that has nothing to do is left alone."""

import pytest

from streams.watchdog import ALONE, Watchdog


def test_waiting_records_without_movement_are_a_stall_after_the_time_given() -> None:
    dog = Watchdog[int](10.0, now=0.0)
    assert dog.observe({0: 5, 1: 7}, {0: 8, 1: 7}, now=1.0) is None
    assert dog.observe({0: 5, 1: 7}, {0: 9, 1: 7}, now=10.9) is None
    assert str(dog.observe({0: 5, 1: 7}, {0: 9, 1: 7}, now=11.0)) == "4 records wait and none has moved for 10 s"


def test_an_idle_worker_is_not_stalled_and_its_time_begins_with_the_first_waiting_record() -> None:
    dog = Watchdog[int](10.0, now=0.0)
    for now in range(1, 100):
        assert dog.observe({0: 5}, {0: 5}, now=now) is None
    assert dog.observe({0: 5}, {0: 6}, now=100.0) is None
    assert dog.observe({0: 5}, {0: 6}, now=109.0) is not None


def test_movement_of_any_partition_begins_the_time_again() -> None:
    dog = Watchdog[int](10.0, now=0.0)
    dog.observe({0: 5, 1: 0}, {0: 9, 1: 9}, now=1.0)
    assert dog.observe({0: 5, 1: 1}, {0: 9, 1: 9}, now=10.5) is None
    assert dog.observe({0: 5, 1: 1}, {0: 9, 1: 9}, now=20.0) is None
    assert dog.observe({0: 5, 1: 1}, {0: 9, 1: 9}, now=20.5) is not None


def test_a_partition_that_stands_still_alone_is_a_stall_after_a_longer_time() -> None:
    dog = Watchdog[tuple[str, int]](10.0, now=0.0)
    stalls = [dog.observe({("events", 0): 5, ("events", 1): k}, {("events", 0): 9, ("events", 1): k + 1}, now=k) for k in range(1, 82)]
    assert stalls[: 10 * ALONE] == [None] * 10 * ALONE
    assert str(stalls[-1]) == "4 records wait and none has moved for 80 s in events/0, while other partitions move"


def test_a_partition_that_is_forgiven_begins_anew() -> None:
    dog = Watchdog[int](10.0, now=0.0)
    dog.observe({0: 5}, {0: 9}, now=1.0)
    stall = dog.observe({0: 5}, {0: 9}, now=12.0)
    assert stall is not None
    dog.forgive(stall.partitions, now=12.0)
    assert dog.observe({0: 5}, {0: 9}, now=21.0) is None
    assert dog.observe({0: 5}, {0: 9}, now=22.0) is not None


def test_a_new_assignment_counts_as_movement() -> None:
    dog = Watchdog[int](10.0, now=0.0)
    dog.observe({0: 5, 1: 0}, {0: 9, 1: 9}, now=1.0)
    assert dog.observe({0: 5}, {0: 9}, now=11.5) is None


def test_an_excuse_counts_as_movement() -> None:
    dog = Watchdog[int](10.0, now=0.0)
    dog.observe({0: 5}, {0: 9}, now=1.0)
    assert dog.observe({0: 5}, {0: 9}, now=12.0, excused=True) is None
    assert dog.observe({0: 5}, {0: 9}, now=21.0) is None


def test_a_partition_whose_end_is_unknown_is_no_reason() -> None:
    dog = Watchdog[int](10.0, now=0.0)
    for now in (1.0, 50.0):
        assert dog.observe({0: 5}, {}, now=now) is None


@pytest.mark.parametrize("stall_s", [0.0, -1.0, float("nan")])
def test_a_time_that_makes_no_sense_is_refused(stall_s: float) -> None:
    with pytest.raises(ValueError, match="expected seconds above 0"):
        Watchdog[int](stall_s, now=0.0)
