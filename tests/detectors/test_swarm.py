"""Promises of the swarm detector; simulated services are replayed by bench/swarm.py."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from detectors.membership.neighbours import Neighbours, fit_neighbours
from detectors.state import StateError, pack, unpack
from detectors.swarm import Cohort, Swarm, SwarmReference
from detectors.swarm.stream import ODD_RING, RING

D = 10
Rows = NDArray[np.float32]
_RNG = np.random.default_rng(5)
_MIX = _RNG.normal(size=(4, D))


def natural(n: int, seed: int) -> Rows:
    """Rows of four causes and some noise."""
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(n, 4)) @ _MIX + 0.15 * rng.normal(size=(n, D))).astype(np.float32)


REFERENCE = SwarmReference.fit(natural(1500, 0), low=np.full(D, -20.0), high=np.full(D, 20.0))


def swarm(capacity: int = 64) -> Swarm:
    return Swarm(REFERENCE, capacity=capacity)


def send(of: Swarm, rows: Rows, clients: int, *, first: int = 0, start: float = 0.0, pace: float = 1.0) -> list[Cohort]:
    """Deal rows out over `clients` slots in turn."""
    n = len(rows)
    slot = (first + np.arange(n) % clients).astype(np.int32)
    return of.update(slot, start + np.arange(n, dtype=np.float64) * pace, rows, np.zeros(n, np.int32))


def calibrated(of: Swarm) -> Swarm:
    """Two and a half hours of 20 ordinary clients, whom nobody names."""
    assert send(of, natural(1500, 3), 20, start=-9000.0, pace=6.0) == []
    return of


def named(cohorts: list[Cohort]) -> set[int]:
    return {int(m) for c in cohorts for m in c.members}


def shuffled(n: int, seed: int = 1) -> Rows:
    return np.random.default_rng(seed).permuted(natural(n, seed), axis=0)


def searched(n: int, seed: int = 2) -> Rows:
    """Probes close around five targets, as a boundary search sends them."""
    rng = np.random.default_rng(seed)
    noise = 0.02 * natural(500, 9).std(0) * rng.normal(size=(n, D))
    return np.asarray(natural(5, seed)[rng.integers(0, 5, n)] + noise, np.float32)


def test_a_swarm_of_synthetic_rows_is_named_with_its_members_only() -> None:
    of = calibrated(swarm())
    cohorts = send(of, shuffled(400), 20, first=30, start=1200.0)
    assert named(cohorts) <= set(range(30, 50))
    assert len(named(cohorts)) >= 18
    assert {(c.kind, c.family, c.severity) for c in cohorts} == {("synthetic", "extraction", 2)}
    assert cohorts[0].index < 200


def test_who_joins_a_known_swarm_is_named_within_half_a_second_of_its_second_odd_row() -> None:
    of = calibrated(swarm())
    send(of, shuffled(400), 20, first=30, start=1200.0)
    cohorts = send(of, shuffled(20, seed=4), 1, first=55, start=1601.0, pace=0.1)
    assert min(c.at_s for c in cohorts if 55 in c.members) <= 1601.0 + 0.1 + 0.5


def test_a_swarm_that_searches_around_shared_rows_is_named() -> None:
    of = swarm()
    send(of, natural(1200, 3), 20)
    cohorts = [c for c in send(of, searched(500), 20, first=30, start=1200.0) if c.kind == "iterate"]
    assert len(named(cohorts)) >= 16
    assert named(cohorts) <= set(range(30, 50))


def test_a_swarm_that_asks_copies_of_training_rows_is_named_where_members_are_known() -> None:
    members, rng = natural(600, 0), np.random.default_rng(1)
    X, member = np.concatenate([members, natural(400, 12)]), np.arange(1000) < 600
    places, control = (fit_neighbours(X, side, np.full(D, -20.0), np.full(D, 20.0), None, 0) for side in (member, ~member))

    def asks(targets: Rows, held_out: Neighbours | None) -> list[Cohort]:
        of = calibrated(Swarm(REFERENCE, neighbours=places, control=held_out, capacity=64))
        noise = 0.02 * members.std(0) * rng.normal(size=(6, len(targets), D))
        cohorts = send(of, np.asarray((targets + noise).reshape(-1, D), np.float32), 20, first=30, start=1200.0)
        return [c for c in cohorts if c.kind == "copies"]

    copies = asks(np.concatenate([members[:40], natural(40, 11)]), control)
    assert {(c.family, c.severity) for c in copies} == {("membership", 2)}
    assert len(named(copies)) >= 15
    assert named(copies) <= set(range(30, 50))
    assert {c.severity for c in asks(members[:60], None)} == {1}
    assert asks(np.concatenate([members[:40], X[600:640]]), control) == []


def test_before_enough_clients_have_shown_what_is_usual_a_swarm_is_a_ticket() -> None:
    of = swarm()
    send(of, natural(1200, 3), 20)
    assert not of.calibrated
    assert {c.severity for c in send(of, shuffled(400), 20, first=30, start=1200.0)} == {1}
    assert calibrated(swarm()).calibrated


def near_copies(n: int, seed: int) -> Rows:
    """Rows next to those of a few, as of a service whose customers all ask about the same things."""
    rng = np.random.default_rng(seed)
    return np.asarray(natural(12, 50)[rng.integers(0, 12, n)] + 0.02 * rng.normal(size=(n, D)), np.float32)


def test_where_ordinary_clients_ask_about_the_same_things_that_is_no_evidence() -> None:
    """The first ones may be named, as tickets, until enough have shown that it is usual; none of those who come then."""
    of = swarm(200)
    found = [send(of, near_copies(200, wave), 8, first=8 * wave, start=wave * 1500.0, pace=6.0) for wave in range(20)]
    assert of.calibrated
    assert {c.severity for cohorts in found for c in cohorts} <= {1}
    assert named([c for cohorts in found[10:] for c in cohorts]) <= set(range(80))


def test_a_swarm_that_is_most_of_the_traffic_does_not_become_what_is_usual() -> None:
    of = calibrated(swarm(200))
    before = of._null["steps"].copy()
    send(of, searched(2400), 120, first=30, start=1200.0)
    assert of._null["cast"][0] <= 25 + 2400 / 300
    assert np.array_equal(of._null["steps"], before)


def test_a_client_whose_steps_start_from_others_than_the_swarm_is_not_named_with_it() -> None:
    of = calibrated(swarm())
    rng = np.random.default_rng(4)
    one = natural(1, 77) + np.asarray(0.02 * rng.normal(size=(400, D)), np.float32)  # two who edit a record of their own between them
    both = np.empty((800, D), np.float32)
    both[::2], both[1::2] = searched(400), one
    slot = np.empty(800, np.int32)
    slot[::2], slot[1::2] = 30 + np.arange(400) % 20, 52 + np.arange(400) % 2
    cohorts = of.update(slot, 1200.0 + np.arange(800.0), both, np.zeros(800, np.int32))
    found = named([c for c in cohorts if c.kind == "iterate"])
    assert len(found & set(range(30, 50))) >= 12
    assert not found & {52, 53}


def test_waves_of_ordinary_and_of_shifted_customers_are_not_swarms() -> None:
    of = swarm()
    assert send(of, natural(3000, 4), 60) == []
    wave = natural(1200, 5) + np.float32(1.5) * natural(1500, 0).std(0)
    assert send(swarm(), wave.astype(np.float32), 30) == []


def test_newcomers_of_one_origin_are_not_named_with_a_swarm_of_the_same_half_hour() -> None:
    of, n = calibrated(swarm(128)), 1000
    wave = np.asarray(natural(n, 5) + 1.5 * natural(1500, 0).std(0), np.float32)
    both, slot = np.empty((n, D), np.float32), np.empty(n, np.int32)
    both[::2], both[1::2] = shuffled(n // 2), wave[1::2]
    slot[::2], slot[1::2] = 30 + np.arange(n // 2) % 20, 60 + np.arange(n // 2) % 20
    found = named(of.update(slot, 1200.0 + np.arange(n, dtype=np.float64), both, np.zeros(n, np.int32)))
    assert (of.log_evidence(np.arange(60, 80))[:, 1] > 5).sum() >= 15, "each of them is odd"
    assert len(found & set(range(30, 50))) >= 18
    assert not found & set(range(60, 80))


def test_who_only_steps_from_rows_of_its_own_is_not_named_with_a_swarm_of_synthetic_rows() -> None:
    of, rng = calibrated(swarm()), np.random.default_rng(4)
    one = natural(1, 77) + np.asarray(0.02 * rng.normal(size=(400, D)), np.float32)  # two who edit a record of their own between them
    both = np.empty((800, D), np.float32)
    both[::2], both[1::2] = shuffled(400), one
    slot = np.empty(800, np.int32)
    slot[::2], slot[1::2] = 30 + np.arange(400) % 20, 52 + np.arange(400) % 2
    found = named(of.update(slot, 1200.0 + np.arange(800.0), both, np.zeros(800, np.int32)))
    assert (of.log_evidence(np.array([52, 53]))[:, 1] > 5).all(), "steps are flags of synthetic rows, too"
    assert len(found & set(range(30, 50))) >= 18
    assert not found & {52, 53}


def test_two_flags_are_enough_for_who_is_new_and_not_for_who_is_known() -> None:
    def joins(past: int, pace: float = 1.0) -> bool:
        of = calibrated(swarm())
        if past:
            assert send(of, natural(past, 21), 1, first=50, start=300.0) == []
        send(of, shuffled(200), 10, first=30, start=1200.0)
        late = send(of, shuffled(8, 3)[:2], 1, first=50, start=1405.0, pace=pace)
        return 50 in named(late + send(of, shuffled(60, 5), 10, first=30, start=1410.0 + pace))

    assert joins(0)
    assert not joins(40)
    assert not joins(0, pace=4000.0), "two flags more than an hour apart"


def test_newcomers_who_all_ask_the_same_few_rows_do_not_search_around_them() -> None:
    rng = np.random.default_rng(8)
    rows = natural(12, 51) + 1.2 * natural(500, 9).std(0)
    same = np.concatenate([rows, rows + 0.01 * rng.normal(size=rows.shape)]).astype(np.float32)  # some lie next to each other
    asked = same[rng.integers(0, len(same), 800)]
    assert send(calibrated(swarm()), asked, 20, first=30, start=1200.0) == []
    searched_there = asked + 0.01 * rng.normal(size=asked.shape).astype(np.float32)
    assert len(named(send(calibrated(swarm()), searched_there, 20, first=30, start=1200.0))) >= 16


def test_a_wave_that_leaves_fields_at_a_default_is_not_a_swarm() -> None:
    rng = np.random.default_rng(0)
    rows = natural(1500, 6)
    rows[:, 2:5] = np.where(rng.random((1500, 3)) < 0.8, np.float32(4.0), rows[:, 2:5])
    assert [c for c in send(swarm(), rows, 30) if c.kind == "synthetic"] == []


def test_a_client_with_a_default_in_two_rows_is_not_named_with_a_swarm_of_the_same_minutes() -> None:
    of = calibrated(swarm())
    odd = natural(2, 8) + np.float32(6) * np.array([1, -1] * 5, np.float32)
    odd[:, 2:5] = 4.0
    rows = shuffled(402)
    slot = 30 + np.arange(402) % 20
    slot[[200, 220]], rows[[200, 220]] = 60, odd
    found = named(of.update(slot.astype(np.int32), 1200.0 + np.arange(402.0), rows, np.zeros(402, np.int32)))
    assert of.log_evidence(np.array([60]))[0, 1] > 2.5, "or it would not be named anyway"
    assert set(range(30, 50)) <= found
    assert 60 not in found


def test_four_clients_are_too_few_and_slow_arrivals_do_not_chain() -> None:
    assert send(swarm(), shuffled(400), 4) == []
    of, found = swarm(), []
    for client in range(20):
        found += send(of, shuffled(30, client), 1, first=client, start=client * 2000.0)
    assert found == []


def test_members_who_come_later_are_added_to_the_list() -> None:
    of = swarm()
    first = send(of, shuffled(300), 15)
    later = send(of, shuffled(300, 7), 15, first=15, start=600.0)
    assert named(first) <= set(range(15))
    assert named(later) > named(first)


def test_ordinary_traffic_of_old_clients_is_sampled() -> None:
    of = swarm()
    send(of, natural(4000, 8), 4)
    remembered = int((of._ring["client"] >= 0).sum())
    assert remembered <= 4 * 400 + 4 * 600 / 8 + ODD_RING


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(0, 500), max_size=5), st.integers(0, 1000))
def test_batches_and_restarts_change_nothing(cuts: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows = np.concatenate([natural(150, seed), shuffled(200, seed), searched(150, seed)])[rng.permutation(500)]
    rows[rng.random(500) < 0.03] = np.nan
    slot, at, label = rng.integers(0, 12, 500).astype(np.int32), np.cumsum(rng.exponential(5, 500)), np.zeros(500, np.int32)
    whole, parts, found = swarm(12), swarm(12), []
    expected = whole.update(slot, at, rows, label)
    for part in np.split(np.arange(500), sorted(cuts)):
        found += [(int(part[c.index]), c.kind, c.members.tolist()) for c in parts.update(slot[part], at[part], rows[part], label[part])]
        blob, parts = parts.snapshot(), swarm(1)
        parts.restore(blob)
    assert found == [(c.index, c.kind, c.members.tolist()) for c in expected]
    assert parts.snapshot() == whole.snapshot()


def test_rows_are_neither_changed_nor_kept() -> None:
    of, rows = swarm(), shuffled(100)
    copy = rows.copy()
    send(of, rows, 10)
    before = of.snapshot()
    assert np.array_equal(rows, copy)
    rows[:] = 3
    assert of.snapshot() == before


def test_nan_neither_blinds_nor_crashes() -> None:
    of = swarm()
    broken = np.full((200, D), np.nan, np.float32)
    broken[:, 0] = np.arange(200)
    broken[::2, 1] = np.inf
    of.update(np.zeros(200, np.int32), np.full(200, np.nan), broken, np.zeros(200, np.int32))
    assert len(named(send(of, shuffled(400), 20, first=30))) >= 15
    assert np.isfinite(of.log_evidence(np.arange(64))).all()


def test_memory_is_bounded_whatever_is_sent() -> None:
    of = swarm()
    size = len(of.snapshot())
    send(of, np.concatenate([shuffled(4000), natural(4000, 3)]), 60)
    assert abs(len(of.snapshot()) - size) < 200
    assert of.bytes_per_client < 512
    assert len(of._ring["client"]) == len(REFERENCE.cells.centres) * RING + ODD_RING


def test_slots_grow_and_forget() -> None:
    of = swarm(32)
    send(of, shuffled(400), 20)
    of.resize(64)
    assert (of.log_evidence(np.arange(20)) > 0).any()
    of.clear(np.arange(20))
    assert (of.log_evidence(np.arange(64)) == 0).all()
    assert of._book["book"][:, 0].tolist() == [0, 0, 0]
    assert len(named(send(of, shuffled(400, 9), 20, first=40, start=9000.0))) >= 15
    with pytest.raises(ValueError, match="can't shrink"):
        of.resize(3)


def test_wrong_input_is_refused_before_anything_changes() -> None:
    of = swarm(8)
    before, zeros = of.snapshot(), np.zeros(3, np.int32)
    with pytest.raises(ValueError, match=r"expected \(n, 10\)"):
        of.update(zeros, np.zeros(3), np.zeros((3, 7), np.float32), zeros)
    with pytest.raises(ValueError, match="capacity is 8"):
        of.update(zeros + 8, np.zeros(3), np.zeros((3, D), np.float32), zeros)
    with pytest.raises(ValueError, match="must be"):
        of.update(zeros, np.zeros(2), np.zeros((3, D), np.float32), zeros)
    with pytest.raises(ValueError, match="capacity"):
        swarm(0)
    assert of.snapshot() == before
    assert of.update(zeros[:0], np.zeros(0), np.zeros((0, D), np.float32), zeros[:0]) == []


def test_references_and_snapshots_come_back_and_damaged_ones_are_refused() -> None:
    assert SwarmReference.from_bytes(REFERENCE.to_bytes()).identity() == REFERENCE.identity()
    body = unpack(REFERENCE.to_bytes(), "swarm.reference", 1)
    body["cells"]["starts"] = body["cells"]["starts"] + 3
    with pytest.raises(StateError, match="fit each other"):
        SwarmReference.from_bytes(pack("swarm.reference", 1, body))
    del body["limits"]
    with pytest.raises(StateError, match="lacks"):
        SwarmReference.from_bytes(pack("swarm.reference", 1, body))
    other = Swarm(SwarmReference.fit(natural(200, 1), low=np.full(D, -20.0), high=np.full(D, 20.0)))
    with pytest.raises(StateError, match="another swarm reference"):
        swarm().restore(other.snapshot())
    state = unpack(swarm().snapshot(), "swarm.clients", 6)
    state["ring"]["next"][0] = RING
    with pytest.raises(StateError, match="out of range"):
        swarm().restore(pack("swarm.clients", 6, state))


def test_a_picture_moved_by_a_pixel_is_not_strange() -> None:
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:8, :8]

    def blobs(n: int) -> Rows:
        cx, cy, r = rng.uniform(2.5, 4.5, n), rng.uniform(2.5, 4.5, n), rng.uniform(1, 2, n)
        d2 = (x - cx[:, None, None]) ** 2 + (y - cy[:, None, None]) ** 2
        return np.asarray((16 * np.exp(-d2 / r[:, None, None] ** 2)).round().reshape(n, 64), np.float32)

    of = SwarmReference.fit(blobs(600), low=np.zeros(64), high=np.full(64, 16.0), image=(8, 8))
    moved = np.roll(blobs(600).reshape(-1, 8, 8), 1, 2).reshape(-1, 64)
    assert send(Swarm(of), moved, 20) == []
    assert len(named(send(Swarm(of), rng.permuted(blobs(600), axis=1), 20))) >= 15


def test_a_reference_refuses_nonsense() -> None:
    low, high = np.zeros(D), np.ones(D)
    with pytest.raises(ValueError, match="at least 50 rows"):
        SwarmReference.fit(natural(10, 0), low=low, high=high)
    with pytest.raises(ValueError, match="low"):
        SwarmReference.fit(natural(100, 0), low=np.ones(D), high=np.zeros(D))
    with pytest.raises(ValueError, match="pixels"):
        SwarmReference.fit(natural(100, 0), low=low, high=high, image=(3, 3))
