"""One client's flood: what is found, and what an ordinary job may do."""

from __future__ import annotations

import numpy as np
import pytest

from detectors.client_rate import ClientRates

SLOTS = np.arange(20)


def rates(**more: float) -> ClientRates:
    return ClientRates(ln_level=more.get("ln_level", 14.7), capacity=20)


def learned(rng: np.random.Generator, windows: int = 30, mean: float = 10.0) -> ClientRates:
    made = rates()
    for _ in range(windows):
        assert made.update(SLOTS, 1 + rng.poisson(mean, 20)) == []
    return made


def window(rng: np.random.Generator, first: int, mean: float = 10.0) -> np.ndarray:
    counts = 1 + rng.poisson(mean, 20)
    counts[0] = first
    return counts


def test_fifty_times_its_rate_is_found_in_the_second_window_and_names_the_client() -> None:
    rng = np.random.default_rng(0)
    made = learned(rng)
    found = [made.update(SLOTS, window(rng, 550)) for _ in range(3)]
    assert [[(one.slot, one.fresh) for one in some] for some in found] == [[], [(0, True)], [(0, False)]]
    assert found[1][0].events == 550
    assert 9 < found[1][0].usual < 13


def test_what_all_clients_do_more_is_no_clients_own() -> None:
    rng = np.random.default_rng(1)
    made = learned(rng)
    for _ in range(10):
        assert made.update(SLOTS, 1 + rng.poisson(100, 20)) == []


def test_a_nightly_job_is_told_of_once_or_twice_and_then_is_usual() -> None:
    rng, nights = np.random.default_rng(2), []
    made = learned(rng)
    for _ in range(20):
        fresh = [one for _ in range(4) for one in made.update(SLOTS, window(rng, 800)) if one.fresh]
        nights.append(len(fresh))
        for _ in range(40):
            made.update(SLOTS, window(rng, 10))
    assert nights[0] == 1
    assert sum(nights) <= 2


def test_a_client_without_a_history_and_one_that_is_small_beside_the_others_are_not_judged() -> None:
    rng = np.random.default_rng(3)
    made = rates()
    for _ in range(8):
        assert made.update(np.array([0]), np.array([5_000])) == []
    made = learned(rng, mean=10.0)
    big = np.arange(1, 20)
    for _ in range(5):
        assert all(one.slot != 0 for one in made.update(np.r_[0, big], np.r_[200, np.full(19, 400)]))


@pytest.mark.parametrize("cv", [0.5, 1.0, 1.7])
def test_bursty_clients_keep_the_bound(cv: float) -> None:
    """Rates that differ from window to window by a gamma law: the level promises one ticket in 2.4 million windows of clients."""
    rng, made, told = np.random.default_rng(4), rates(), 0
    for _ in range(1_500):
        counts = rng.poisson(20 * rng.gamma(1 / cv**2, cv**2, 20))
        there = np.flatnonzero(counts)
        told += sum(one.fresh for one in made.update(there, counts[there]))
    assert told <= 1


def test_a_forgotten_client_begins_anew_and_state_moves_with_its_rows() -> None:
    rng = np.random.default_rng(5)
    made, other = learned(rng), rates()
    other.resize(40)
    for name, array in made.arrays().items():
        other.arrays()[name][:20] = array
    flood = window(rng, 700)
    assert [made.update(SLOTS, flood) == other.update(SLOTS, flood) for _ in range(3)] == [True] * 3
    assert other.over(SLOTS).tolist() == [True] + [False] * 19
    other.clear(np.array([0]))
    assert other.update(SLOTS, flood) == []
    assert other.bytes_per_client <= 80
