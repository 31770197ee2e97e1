"""An event that comes twice is seen; different events are not taken for each other; every process gives the same keys."""

import subprocess
import sys

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from inferwatch import Strings
from streams.duplicates import RecentEvents, keys_of
from tests.streams.events import events


def test_an_event_is_seen_in_its_own_batch_and_in_later_ones() -> None:
    recent, keys = RecentEvents(), keys_of(events(100))
    assert not recent.seen(keys).any()
    assert recent.seen(keys).all()
    fresh = keys_of(events(2, number=1_000))
    assert recent.seen(np.concatenate([fresh, fresh])).tolist() == [False, False, True, True]


def test_events_without_id_and_number_are_never_duplicates() -> None:
    keys = keys_of(events(10, number=0, event_id=Strings.of([None] * 10)))
    assert (keys != 0).all()
    recent = RecentEvents()
    nameless = np.zeros(10, np.uint64)
    assert not recent.seen(nameless).any()
    assert not recent.seen(nameless).any()


@given(ids=st.lists(st.text(min_size=1, max_size=30), min_size=1, max_size=50, unique=True))
def test_an_id_of_its_own_counts_more_than_the_running_number(ids: list[str]) -> None:
    named = keys_of(events(len(ids), event_id=Strings.of(ids)))
    elsewhere = keys_of(events(len(ids), number=10**6, instance="other", event_id=Strings.of(ids)))
    assert np.array_equal(named, elsewhere)
    assert len(set(named.tolist())) == len(ids)


def test_the_same_number_of_another_instance_or_service_is_another_event() -> None:
    keys = [keys_of(events(1, instance=i, service=s))[0] for i, s in (("a", "s"), ("b", "s"), ("a", "t"), ("", "as"))]
    assert len(set(keys)) == 4


def test_a_hundred_thousand_numbered_events_are_all_told_apart() -> None:
    recent = RecentEvents()
    assert sum(int(recent.seen(keys_of(events(10_000, number=a))).sum()) for a in range(0, 100_000, 10_000)) == 0


def test_what_is_remembered_lasts_as_long_as_promised() -> None:
    recent = RecentEvents()
    early = keys_of(events(2_000))
    recent.seen(early)
    recent.seen(keys_of(events(10_000, number=10_000)))
    assert recent.seen(early).mean() > 0.998
    recent.seen(keys_of(events(200_000, number=100_000)))
    assert recent.seen(early).mean() < 0.01


def test_a_restored_memory_remembers() -> None:
    recent, keys = RecentEvents(), keys_of(events(50))
    recent.seen(keys)
    assert RecentEvents(recent.table.copy()).seen(keys).all()


def test_keys_are_the_same_in_another_process() -> None:
    code = "from tests.streams.events import events; from streams.duplicates import keys_of; print(keys_of(events(3)).tolist())"
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert other.stdout.strip() == str(keys_of(events(3)).tolist())
