"""Promises about moved pictures that many accounts ask: whose copies they are is seen also where a move cuts off an eighth of a picture."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.datasets import load_digits

from detectors.membership.moved import MOVES, fit_limit, moved_apart, moved_by
from detectors.membership.neighbours import describe_all, fit_neighbours
from detectors.swarm import Cohort, Swarm, SwarmReference
from detectors.swarm.cohort import KINDS
from detectors.swarm.cusum import LN_SEED
from tests.detectors.test_swarm_spots import named, send

IMAGE = (8, 8)
_ALL = load_digits().data[np.random.default_rng(0).permutation(1797)].astype(np.float32)
_BOTH, MEMBERS, OTHERS = _ALL[:900], _ALL[:500], _ALL[900:]
LOW, HIGH = np.zeros(64), np.full(64, 16.0)
PLACES, CONTROL = (fit_neighbours(_BOTH, side, LOW, HIGH, IMAGE, 0) for side in (np.arange(900) < 500, np.arange(900) >= 500))
REFERENCE = SwarmReference.fit(_BOTH, low=LOW, high=HIGH, image=IMAGE)


def ordinary() -> Swarm:
    of = Swarm(REFERENCE, neighbours=PLACES, control=CONTROL, capacity=128)
    assert send(of, np.arange(597) % 20, OTHERS[300:], start=-9000.0, pace=12.0) == []
    return of


def copies(asked: NDArray[np.float32], original: bool) -> NDArray[np.float32]:
    """Each picture and four moved copies of it, one picture after the other."""
    four = [moved_by(asked, IMAGE, *move) for move in ((1, 0), (-1, 0), (0, 1), (0, -1))]
    return np.stack([asked, *four] if original else four, 1).reshape(-1, 64)


def deal(of: Swarm, rows: NDArray[np.float32], accounts: int, first: int = 30, seed: int = 1) -> list[Cohort]:
    return send(of, first + np.random.default_rng(seed).integers(0, accounts, len(rows)), rows)


def targets(members: int, others: int) -> NDArray[np.float32]:
    both = np.concatenate([MEMBERS[:members], OTHERS[:others]])
    return both[np.random.default_rng(3).permutation(len(both))]


@pytest.mark.parametrize("original", [True, False])
def test_moved_copies_of_small_pictures_dealt_out_to_many_accounts_are_named(original: bool) -> None:
    found = named(deal(ordinary(), copies(targets(60, 60), original), 40), "copies")
    assert len(found) >= 32
    assert found <= set(range(30, 70))


def test_a_company_that_moves_pictures_of_its_own_is_not_named_not_even_beside_such_a_swarm() -> None:
    assert named(deal(ordinary(), copies(targets(6, 150), True), 20), "copies") == set()
    swarm, company = copies(targets(60, 60), True), copies(OTHERS[150:270], True)
    both, slot = np.empty((1200, 64), np.float32), np.empty(1200, np.int64)
    rng = np.random.default_rng(5)
    both[::2], slot[::2] = swarm, rng.integers(30, 70, 600)
    both[1::2], slot[1::2] = company, rng.integers(80, 100, 600)
    found = named(send(ordinary(), slot, both, pace=0.5), "copies")
    assert len(found & set(range(30, 70))) >= 32
    assert not found & set(range(80, 100))


def test_what_a_move_cuts_off_makes_no_picture_odd() -> None:
    """Twenty accounts in turn, five rows a picture: each always has one move, eight of them one that cuts most off."""
    of, synthetic = ordinary(), KINDS.index("synthetic")
    send(of, 30 + np.arange(750) % 20, copies(OTHERS[150:300], True), pace=0.5)
    assert (of.log_evidence(np.arange(30, 50))[:, synthetic] >= LN_SEED).sum() <= 2


@given(st.integers(0, 896), st.sampled_from(MOVES), st.sampled_from(MOVES))
@settings(max_examples=40, deadline=None)
def test_two_moved_copies_of_a_picture_are_one_and_two_pictures_are_not(which: int, a: tuple[int, int], b: tuple[int, int]) -> None:
    assert PLACES is not None
    one = PLACES.radii[3]
    levels = [np.round(moved_by(OTHERS[which : which + 1], IMAGE, *move)[0]).astype(np.int8) for move in (a, b)]
    assert moved_apart(levels[0], levels[1], 8, 8, 1e9) == moved_apart(levels[1], levels[0], 8, 8, 1e9) == 0
    assert 0 < one < moved_apart(levels[0], np.round(MEMBERS[which % 500]).astype(np.int8), 8, 8, 1e9)


def test_pictures_of_a_line_have_nothing_in_common_once_moved_off() -> None:
    a, b = np.array([[9, 0, 0]], np.int8), np.array([[0, 0, 9]], np.int8)
    assert moved_apart(a[0], b[0], 1, 3, 20.0) == 0.0, "the first one, two to the right, is the second"
    assert moved_apart(a[0, :1], b[0, :1], 1, 1, 200.0) == 81.0


def test_where_many_pictures_are_nearly_alike_none_are_taken_for_one() -> None:
    flat = np.repeat(OTHERS[:30], 20, axis=0) + np.arange(600, dtype=np.float32)[:, None] % 20 * 1e-4
    places = fit_neighbours(flat, np.ones(600, bool), LOW, HIGH, IMAGE, 0)
    assert places is not None
    assert fit_limit(flat, describe_all(flat, places[:6]), places.inverse, IMAGE) == 0
