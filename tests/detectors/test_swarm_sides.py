"""Promises about clients whose odd rows lie on one side: newcomers of one origin are no swarm, made-up rows of a skewed service are."""

import numpy as np
from numpy.typing import NDArray

from detectors.swarm import Cohort, Swarm, SwarmReference
from detectors.swarm.cusum import SYNTHETIC
from detectors.swarm.sides import made, on_one_side
from detectors.swarm.stream import ODD

D = 8
Rows = NDArray[np.float32]
_MIX = np.random.default_rng(5).normal(size=(3, D))


def skewed(n: int, seed: int) -> Rows:
    """Columns with a long upper tail that hang together: amounts, durations, counts."""
    rng = np.random.default_rng(seed)
    return np.exp(0.35 * (rng.normal(size=(n, 3)) @ _MIX + 0.3 * rng.normal(size=(n, D)))).astype(np.float32)


RANGE = np.quantile(skewed(1500, 0), 0.995, axis=0)
REFERENCE = SwarmReference.fit(skewed(1500, 0), low=np.zeros(D), high=np.full(D, 1e4))


def dealt(rows: Rows, clients: int) -> tuple[Swarm, list[Cohort]]:
    """To ``clients`` slots in turn, after 20 ordinary clients."""
    of = Swarm(REFERENCE, capacity=100)
    before = skewed(1500, 3)
    assert (
        of.update(
            (np.arange(1500) % 20).astype(np.int32), np.asarray(np.arange(1500) * 6.0 - 9000, np.float64), before, np.zeros(1500, np.int32)
        )
        == []
    )
    slot = (30 + np.arange(len(rows)) % clients).astype(np.int32)
    return of, of.update(slot, np.asarray(1200.0 + np.arange(len(rows)), np.float64), rows, np.zeros(len(rows), np.int32))


def test_columns_drawn_evenly_between_their_bounds_are_a_swarm_also_where_they_all_lie_on_one_side() -> None:
    even = np.asarray(np.random.default_rng(1).uniform(0, RANGE, (600, D)), np.float32)
    of, cohorts = dealt(even, 12)
    columns = of._clients.arrays
    assert on_one_side(columns["mean"][30:42], columns["whole"][30:42, 1]).sum() >= 10, "else this shows nothing"
    found = {int(m) for c in cohorts for m in c.members}
    assert found <= set(range(30, 42))
    assert len(found) >= 10
    assert {(c.kind, c.severity) for c in cohorts} == {("synthetic", 1)}, "of one-sided rows a ticket"


def test_rows_are_made_up_only_of_who_sends_mostly_odd_ones_not_of_who_measures_again() -> None:
    of, _ = dealt(np.asarray(np.random.default_rng(1).uniform(0, RANGE, (60, D)), np.float32), 12)
    columns, members = of._clients.arrays, np.arange(30, 42)
    columns["differ"][members], columns["spell"][members, SYNTHETIC], columns["whole"][members, ODD] = [5, 3], 5, 5
    assert of._groups._made(columns, members).all()
    columns["whole"][members, ODD] = 2
    assert not of._groups._made(columns, members).any(), "most of its flags are steps"


def test_newcomers_whose_amounts_are_all_higher_are_no_swarm_of_a_skewed_service() -> None:
    of, cohorts = dealt(skewed(600, 7) + np.float32(0.8) * RANGE.astype(np.float32), 12)
    assert (of.log_evidence(np.arange(30, 42))[:, 1] > 5).all(), "each of them is odd"
    assert cohorts == []


def test_made_up_rows_are_told_from_moved_ones_by_how_far_they_are_from_each_other() -> None:
    flagged = np.array([[40, 40]] * 12)
    assert made(np.array([[40, 22], [40, 26]]), flagged[:2]).tolist() == [True, True]
    differ = np.array([[40, 22], [40, 26], [40, 3], [40, 30]])
    assert made(differ, np.array([[40, 40]] * 3 + [[12, 40]])).tolist() == [True, True, False, False], (
        "who is ordinary in part is kept apart"
    )
    assert not made(np.array([[400, 104]] * 12), flagged).any(), "a wave of newcomers had 26 %"
    assert not made(np.array([[40, 14]] * 10), flagged[:10], 0.15).any(), "and one at the end of a service of mostly noughts 35 %"
    assert not made(np.array([[4, 2], [4, 2]]), flagged[:2]).any(), "half of eight pairs may be chance"
    assert not made(np.zeros((3, 2), np.int64), flagged[:3]).any()
    assert made(np.zeros((0, 2), np.int64), flagged[:0]).shape == (0,)


def directions(clients: int, rows: int, towards: NDArray[np.float64], seed: int) -> NDArray[np.float64]:
    """Sums of unit vectors by client."""
    y = np.random.default_rng(seed).normal(size=(clients, rows, len(towards))) + towards
    return np.asarray((y / np.linalg.norm(y, axis=2, keepdims=True)).sum(1))


def test_sides_are_found_beside_clients_that_surround_the_reference_also_when_opposite() -> None:
    axis = np.eye(16)[0]
    total = np.concatenate([directions(40, 8, 0 * axis, 0), directions(12, 8, 5 * axis, 1), directions(9, 2, -5 * axis, 2)])
    total = np.concatenate([total, directions(9, 8, -5 * axis, 3)])
    n = np.repeat([8, 8, 2, 8], [40, 12, 9, 9])
    found = on_one_side(total, n)
    assert found[40:].all(), "clients with few rows belong to the side of others"
    assert found[:40].sum() <= 2


def test_clients_that_are_each_in_a_place_of_their_own_are_no_side() -> None:
    places = np.random.default_rng(5).normal(size=(40, 16))
    total = np.concatenate([directions(1, 12, 20 * at / np.linalg.norm(at), k) for k, at in enumerate(places)])
    assert not on_one_side(total, np.full(40, 12)).any()
    assert not on_one_side(total[:0], np.zeros(0)).any()
    assert not on_one_side(total, np.zeros(40)).any()
