"""Promises about spots: rows of many accounts that lie together, and whether members are in the middle."""

import numpy as np
import pytest
from numpy.typing import NDArray

from detectors.membership.neighbours import fit_neighbours
from detectors.state import StateError, pack, unpack
from detectors.swarm import Cohort, Swarm, SwarmReference
from detectors.swarm.cusum import COPIES, ITERATE, RATES, SEED, vote
from detectors.swarm.groups import Groups
from detectors.swarm.spots import ALL, MEMBER, OTHER, TILES
from detectors.tiles import LANES
from tests.detectors.test_swarm import D, Rows, natural

LOW, HIGH = np.full(D, -20.0), np.full(D, 20.0)
MEMBERS, HELD_OUT = natural(600, 0), natural(400, 12)
REFERENCE = SwarmReference.fit(MEMBERS, low=LOW, high=HIGH)
_BOTH = np.concatenate([MEMBERS, HELD_OUT])
PLACES, CONTROL = (fit_neighbours(_BOTH, side, LOW, HIGH, None, 0) for side in (np.arange(1000) < 600, np.arange(1000) >= 600))


def ordinary(capacity: int = 128) -> Swarm:
    """Of a service that 20 ordinary clients have asked for hours."""
    of = Swarm(REFERENCE, neighbours=PLACES, control=CONTROL, capacity=capacity)
    assert send(of, np.arange(1500) % 20, natural(1500, 3), start=-9000.0, pace=6.0) == []
    return of


def send(of: Swarm, slot: NDArray[np.integer], rows: Rows, *, start: float = 1200.0, pace: float = 1.0) -> list[Cohort]:
    n = len(rows)
    return of.update(slot.astype(np.int32), start + np.arange(n, dtype=np.float64) * pace, rows, np.zeros(n, np.int32))


def named(cohorts: list[Cohort], kind: str) -> set[int]:
    return {int(m) for c in cohorts if c.kind == kind for m in c.members}


def copies(targets: Rows, times: int, seed: int) -> Rows:
    """Each target ``times`` times, with noise of 3 % of a standard deviation, one target after the other."""
    noise = 0.03 * MEMBERS.std(0) * np.random.default_rng(seed).normal(size=(len(targets), times, D))
    return np.asarray((targets[:, None] + noise).reshape(-1, D), np.float32)


def targets(members: int, others: int, seed: int = 7) -> Rows:
    rng = np.random.default_rng(seed)
    both = np.concatenate([MEMBERS[rng.permutation(600)[:members]], natural(others, seed + 100)])
    return both[rng.permutation(len(both))]


@pytest.mark.parametrize("order", ["record by record", "round by round"])
def test_a_test_of_members_dealt_out_so_that_nobody_asks_twice_about_one_is_named(order: str) -> None:
    rows = copies(targets(50, 50), 6, 1)
    if order == "round by round":
        rows = rows.reshape(100, 6, D).transpose(1, 0, 2).reshape(-1, D)
    found = send(ordinary(), 30 + np.arange(600) % 60, rows)
    assert len(named(found, "copies")) >= 54
    assert named(found, "copies") <= set(range(30, 90))
    first = next(c for c in found if c.kind == "copies")
    assert (first.family, first.index < 400) == ("membership", True)


def test_a_company_that_measures_records_of_its_own_again_is_no_swarm_not_even_beside_one() -> None:
    company = copies(targets(5, 95, 8), 6, 2)
    assert named(send(ordinary(), 30 + np.arange(600) % 20, company), "copies") == set()
    both, slot = np.empty((1200, D), np.float32), np.empty(1200, np.int64)
    both[::2], slot[::2] = copies(targets(50, 50), 6, 1), 30 + np.arange(600) % 40
    both[1::2], slot[1::2] = company, 80 + np.arange(600) % 20
    found = named(send(ordinary(), slot, both, pace=0.5), "copies")
    assert len(found & set(range(30, 70))) >= 36
    assert not found & set(range(80, 100))


def test_of_a_cohort_only_parts_that_ask_members_themselves_are_told() -> None:
    of = ordinary()
    send(of, 30 + np.arange(600) % 60, copies(targets(50, 50), 6, 1))
    columns, members = of._clients.arrays, np.arange(30, 90)
    groups = Groups(equal=0.0, members=600, held_out=400)

    def told() -> set[int]:
        return set(groups.of(columns, COPIES, members, members[:0], 0.0, 9000.0)[0].tolist())

    assert len(told()) >= 54
    partner, few = columns["copy_partner"], np.arange(40, 46)
    partner[np.isin(partner, few)] = -1
    columns["asked"][few], partner[few] = [[0, 1, 0], [0, 0, 0]], 40 + (few[:, None] + 1) % 6
    assert not told() & set(range(40, 46)), "who shares spots of others than members rides along with nobody"
    columns["asked"][few, ALL, OTHER], columns["asked"][40, ALL, MEMBER] = 5, 60
    assert not told() & set(range(40, 46)), "nor is a company told for one attacker beside it"
    columns["asked"][50] = [[0, 4, 0], [0, 0, 0]]
    assert 50 not in told(), "nor who asks none but others"


def test_a_test_of_members_is_named_behind_cover_where_ordinary_rows_meet_by_two() -> None:
    rng, mix = np.random.default_rng(7), np.random.default_rng(9).normal(size=(2, D))

    def dense(n: int, seed: int) -> Rows:
        of = np.random.default_rng(seed)
        return np.asarray(of.normal(size=(n, 2)) @ mix + 0.03 * of.normal(size=(n, D)), np.float32)

    members, member = dense(2000, 0), np.arange(3000) < 2000
    both = np.concatenate([members, dense(1000, 12)])
    places, control = (fit_neighbours(both, side, LOW, HIGH, None, 0) for side in (member, ~member))
    of = Swarm(SwarmReference.fit(members, low=LOW, high=HIGH), neighbours=places, control=control, capacity=128)
    send(of, np.arange(1500) % 20, dense(1500, 3), start=-9000.0, pace=6.0)
    asked = np.concatenate([members[rng.permutation(2000)[:50]], dense(50, 107)])[rng.permutation(100)]
    rows = np.asarray((asked[:, None] + 0.01 * members.std(0) * rng.normal(size=(100, 6, D))).reshape(-1, D), np.float32)
    at = np.concatenate([np.arange(600.0), rng.uniform(0, 600, 900)])
    slot, order = 30 + np.concatenate([np.arange(600) % 60, rng.integers(0, 60, 900)]), np.argsort(at, kind="stable")
    every = np.concatenate([rows, dense(900, 200)])
    found = of.update(slot[order].astype(np.int32), 1200 + at[order], every[order], np.zeros(1500, np.int32))
    assert len(named(found, "copies")) >= 45
    assert named(found, "copies") <= set(range(30, 90))


def test_rows_that_are_asked_again_and_edits_are_no_copies() -> None:
    of, few = ordinary(), targets(20, 20)
    send(of, 30 + np.arange(240) % 24, np.repeat(few, 6, axis=0))
    edited = np.repeat(few, 6, axis=0)
    edited[np.arange(240), np.arange(240) % 2] += np.linspace(0.01, 0.4, 240, dtype=np.float32)
    send(of, 60 + np.arange(240) % 24, edited, start=2000.0)
    assert (of.log_evidence(np.arange(30, 84))[:, 2] < 5).all()


def search(points: int, seed: int) -> Rows:
    """50 probes around each of several points, of which each is a step from the last one."""
    rng = np.random.default_rng(seed)
    walk = np.cumsum(0.2 * MEMBERS.std(0) * rng.normal(size=(points, D)), axis=0)
    noise = 0.05 * MEMBERS.std(0) * rng.normal(size=(points, 50, D))
    return np.asarray((natural(1, seed + 50) + walk[:, None] + noise).reshape(-1, D), np.float32)


def test_accounts_that_work_off_blocks_of_one_search_are_named_also_those_who_share_no_row_with_others() -> None:
    found = named(send(ordinary(), 30 + np.arange(800) // 20, search(16, 4)), "iterate")
    assert len(found) >= 32
    assert found <= set(range(30, 70))


def test_rows_in_a_spot_of_a_dozen_that_another_account_began_are_steps() -> None:
    def evidence(of: Swarm) -> float:
        send(of, np.arange(1500) % 20, natural(1500, 3), start=-9000.0, pace=6.0)
        rows = natural(1, 9) + 0.1 * MEMBERS.std(0) * np.random.default_rng(2).normal(size=(40, D))
        send(of, np.where(np.arange(40) < 4, 30, 31), np.asarray(rows, np.float32))
        return float(of.log_evidence(np.array([31]))[0, ITERATE])

    assert evidence(Swarm(REFERENCE, capacity=64)) < 5
    assert evidence(Swarm(REFERENCE, neighbours=PLACES, control=CONTROL, capacity=64)) > 5


def test_evidence_of_its_own_names_an_account_only_beside_such_as_work_in_turn() -> None:
    columns = Swarm(REFERENCE, capacity=8)._clients.arrays
    columns["level"][:, ITERATE], columns["ln"][:, ITERATE], columns["spell"][:, ITERATE], columns["whole"][:, 0] = SEED, 12, 20, 20
    columns["partner"][:5] = (np.arange(5)[:, None] + 1) % 5
    columns["ln"][6, ITERATE], columns["whole"][7, 0] = 4, 60
    groups, everybody = Groups(equal=0.0, members=0, held_out=0), np.arange(8)
    columns["onset"][:, ITERATE], columns["seen"][:] = 60.0 * np.arange(8), 60.0 * np.arange(8) + 50
    assert [g.tolist() for g in groups.of(columns, ITERATE, everybody, everybody[:0], 0.0, 500.0)] == [[0, 1, 2, 3, 4, 5]], (
        "6 is not sure, 7 has ordinary rows, too"
    )
    columns["onset"][:, ITERATE], columns["seen"][:] = 0, 500
    assert [g.tolist() for g in groups.of(columns, ITERATE, everybody, everybody[:0], 0.0, 500.0)] == [[0, 1, 2, 3, 4]]


def test_clients_who_vote_before_anybody_else_do_not_say_what_is_usual() -> None:
    cast, votes, steps = np.array([0.0, -np.inf]), np.zeros((3, 64)), np.ones((3, 2))
    for voters in range(1, 5):
        vote(np.array([16, 16, 16, 16]), 300.0 * voters, cast, votes, steps)
        usual = np.log(RATES[:, 1] / RATES[:, 0])
        assert np.allclose(steps[:, 0], usual if voters <= 2 else 0), voters


def test_spots_take_room_for_two_thousand_and_no_more() -> None:
    of = ordinary()
    size = len(of.snapshot())
    send(of, 30 + np.arange(6000) % 60, natural(6000, 21))
    assert len(of._spots.size) >= TILES * LANES
    assert abs(len(of.snapshot()) - size) < 200


def test_forgotten_clients_are_nobody_in_the_spots_either() -> None:
    of = ordinary()
    send(of, 30 + np.arange(240) % 24, copies(targets(20, 20), 6, 1))
    assert np.isin(of._spots.client, np.arange(30, 54)).any()
    of.clear(np.arange(30, 54))
    assert not np.isin(of._spots.client, np.arange(30, 54)).any()
    send(of, 30 + np.arange(240) % 24, copies(targets(20, 20), 6, 3), start=1500.0)
    assert (of.log_evidence(np.arange(30, 54)) >= 0).all()


@pytest.mark.parametrize(("field", "value"), [("next", 10_000), ("client", 500), ("size", -1)])
def test_a_snapshot_whose_spots_point_elsewhere_is_refused(field: str, value: int) -> None:
    of = ordinary()
    state = unpack(of.snapshot(), "swarm.clients", 6)
    state["spots"][field].flat[0] = value
    before = of.snapshot()
    with pytest.raises(StateError, match="spots out of range"):
        of.restore(pack("swarm.clients", 6, state))
    assert of.snapshot() == before
