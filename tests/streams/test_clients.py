"""Slots are bounded: a flood of made-up ids evicts itself, not the established clients nor those under suspicion."""

import itertools
import resource
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.clients import ClientTable


class Tracked:
    """A table that checks what its detectors would rely on."""

    def __init__(self, limit: int) -> None:
        self.capacity = 0
        self.table = ClientTable(limit, self._resized, self._evicted)

    def _resized(self, capacity: int) -> None:
        assert capacity > self.capacity
        self.capacity = capacity

    def _evicted(self, slots: "np.ndarray[tuple[int], np.dtype[np.int32]]") -> None:
        assert len(set(slots.tolist())) == len(slots)
        assert all(self.table.names[slot] for slot in slots.tolist()), "told before they are freed"

    def see(self, clients: list[str], at_ns: int = 0, times: int = 1) -> "np.ndarray[tuple[int], np.dtype[np.int32]]":
        slots = self.table.slots(clients)
        known = slots >= 0
        self.table.n[slots[known]] += times
        self.table.last_ns[slots[known]] = at_ns
        return slots


def test_a_client_keeps_its_slot_and_no_two_share_one() -> None:
    one = Tracked(100)
    first = one.see(["a", "b", "", "ü"])
    assert first[2] == -1
    assert len({*first.tolist()}) == 4
    assert one.see(["ü", "a"]).tolist() == [first[3], first[0]]
    assert one.table.find("b") == first[1]
    assert one.table.find("nobody") is None
    assert one.table.find("") is None


def test_a_dictionary_that_names_a_client_twice_means_one_client() -> None:
    one = Tracked(4)
    slots = one.see(["a", "b", "a"])
    assert slots[0] == slots[2] != slots[1]
    assert (len(one.table), one.see(["a"]).tolist()) == (2, [slots[0]])


@settings(deadline=None)
@given(batches=st.lists(st.lists(st.integers(0, 60).map(str), max_size=12, unique=True), max_size=30))
def test_the_table_never_outgrows_its_limit_and_stays_consistent(batches: list[list[str]]) -> None:
    one = Tracked(12)
    for at, batch in enumerate(batches):
        slots = one.see(batch, at)
        assert len(set(slots.tolist())) == len(batch)
        assert [one.table.names[slot] for slot in slots.tolist()] == batch
        assert len(one.table) <= 12
        assert one.table.capacity == one.capacity <= 12
        assert slots.max(initial=-1) < one.capacity


def test_the_silent_newcomers_go_first_then_the_silent_established_then_the_suspects() -> None:
    one = Tracked(16)
    one.see(["suspect"], at_ns=0, times=1)
    one.table.severity[one.table.find("suspect"), 1] = 2
    one.see([f"old{k}" for k in range(5)], at_ns=1, times=1_000)
    one.see([f"new{k}" for k in range(10)], at_ns=2)
    one.see([f"flood{k}" for k in range(10)], at_ns=3)
    assert one.table.find("new0") is None
    assert all(one.table.find(f"old{k}") is not None for k in range(5))
    one.see([f"again{k}" for k in range(15)], at_ns=4)
    assert one.table.find("old0") is None
    assert one.table.find("suspect") is not None


def test_the_clients_of_the_present_batch_are_never_evicted_for_each_other() -> None:
    one = Tracked(10)
    one.see(["a", "b"])
    slots = one.see(["a", "b", *map(str, range(8))])
    assert [one.table.names[slot] for slot in slots.tolist()] == ["a", "b", *map(str, range(8))]


def test_a_freed_slot_forgets_who_had_it() -> None:
    one = Tracked(4)
    one.see(list("abcd"), times=3)
    one.table.severity[:] = 1
    slots = one.table.slots(["e"])
    assert (one.table.n[slots[0]], one.table.last_ns[slots[0]], one.table.severity[slots[0]].any()) == (0, 0, False)
    assert one.table.evicted == 1


def test_a_million_made_up_ids_stay_in_bounds_of_memory_and_time() -> None:
    one = Tracked(20_000)
    one.see([f"steady{k}" for k in range(100)], times=500)
    suspects = one.see([f"suspect{k}" for k in range(10)])
    one.table.severity[suspects, 0] = 1
    before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    for batch in itertools.batched(range(1_000_000), 10_000) if hasattr(itertools, "batched") else _batches(1_000_000, 10_000):
        one.see([f"flood{k}" for k in batch], at_ns=batch[0])
    assert time.process_time() - began < 20
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000, "KB"
    assert len(one.table) <= 20_000
    assert one.table.evicted >= 980_000
    assert len(one.table.names) <= 20_000
    assert all(one.table.find(f"steady{k}") is not None for k in range(100))
    assert all(one.table.find(f"suspect{k}") is not None for k in range(10))


def _batches(n: int, size: int) -> "list[range]":
    return [range(a, a + size) for a in range(0, n, size)]


@given(batches=st.lists(st.lists(st.integers(0, 40).map(str), max_size=8, unique=True), max_size=12), cut=st.integers(0, 12))
def test_a_restored_table_goes_on_as_if_nothing_had_happened(batches: list[list[str]], cut: int) -> None:
    whole, first = Tracked(10), Tracked(10)
    for at, batch in enumerate(batches):
        if at == cut:
            second = Tracked(10)
            second.table.load(first.table.dump())
            first = second
        assert whole.see(batch, at).tolist() == first.see(batch, at).tolist()


def test_a_smaller_limit_after_a_restart_is_respected_by_the_next_newcomers() -> None:
    large, small = Tracked(100), Tracked(20)
    large.see([str(k) for k in range(80)])
    small.table.load(large.table.dump())
    small.see(["fresh"])
    assert len(small.table) <= 20


def test_a_limit_of_no_client_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1 client, got 0"):
        Tracked(0)
