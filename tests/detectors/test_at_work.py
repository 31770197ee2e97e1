"""Promises about ordinary ways of working that look like made rows or a search: instruments, profiles, fields turned by steps."""

import numpy as np
import pytest

from detectors.evidence import STATISTICS, EvidenceReference
from detectors.evidence import constants as c
from detectors.evidence.apart import to_neighbours
from detectors.evidence.independence import bound_without_one
from detectors.evidence.place import in_few_places, is_one_place
from tests.detectors.crowd import beside, fitted, remembered
from tests.detectors.test_lookalikes import Rows

WAY = np.random.default_rng(4).normal(size=(4, 12))


def amounts(n: int, seed: int) -> Rows:
    """Twelve amounts over four orders of magnitude, the last two the same; in cents."""
    rng = np.random.default_rng(seed)
    out = np.exp(rng.normal(size=(n, 4)) @ WAY + 0.7 * rng.normal(size=(n, 12)))
    return np.asarray(np.column_stack([out[:, :11], out[:, 10]]).round(2))


def petals(n: int, seed: int) -> Rows:
    """Four lengths of one flower, to a tenth: any two rows share a value or two."""
    rng = np.random.default_rng(seed)
    own = rng.normal(size=(n, 1)) @ np.array([[0.2, 0.2, -0.2, 0.2]]) + 0.05 * rng.normal(size=(n, 4))
    return np.asarray(np.round(np.array([5.0, 3.4, 4.5, 2.3]) + own, 1))


def options(n: int, seed: int) -> Rows:
    """Five categories, a column of nought and one for each of their values; an age and an amount."""
    rng, law = np.random.default_rng(seed), np.random.default_rng(2)
    own = rng.normal(size=(n, 5))
    chosen = [np.eye(k)[np.argmax(own @ law.normal(size=(5, k)) + rng.gumbel(size=(n, k)), axis=1)] for k in (3, 4, 6, 8, 12)]
    amount = np.exp(7 + 0.8 * own[:, 1] + 0.3 * rng.normal(size=n)).round(2)
    return np.asarray(np.column_stack([*chosen, np.round(40 + 12 * own[:, 0]), amount]))


def plant(n: int, seed: int) -> Rows:
    """Ten numbers that four causes hold together."""
    rng = np.random.default_rng(seed)
    return np.asarray(rng.normal(size=(n, 4)) @ WAY[:, :10] + 0.3 * rng.normal(size=(n, 10)))


def trips(n: int, seed: int) -> Rows:
    """Nine numbers of a flight, of which distance and time in the air alone hang together."""
    rng = np.random.default_rng(seed)
    far = np.exp(rng.normal(6, 0.6, n)).round()
    when = [rng.integers(1, 13, n), rng.integers(1, 29, n), rng.integers(5, 24, n)]
    who = [rng.integers(0, 12, n), rng.integers(0, 3, n), rng.integers(0, 80, n), rng.exponential(20, n).round()]
    return np.column_stack([*when, *who, (far / 8 * np.exp(0.08 * rng.normal(size=n)) + 18).round(), far])


@pytest.fixture(scope="module")
def reference() -> EvidenceReference:
    return fitted(plant(3000, 1))


@pytest.fixture(scope="module")
def crowd() -> list[Rows]:
    return [plant(60, 100 + k) for k in range(20)]


def severities(reference: EvidenceReference, crowd: list[Rows], asked: list[Rows]) -> list[tuple[int, str]]:
    """What is raised against those asked about; no ordinary client is."""
    _, found = beside(reference, crowd, asked)
    assert min((client for client, _, _ in found), default=0) >= 0
    return [(severity, STATISTICS[statistic]) for _, severity, statistic in found]


@pytest.mark.parametrize("seed", range(4))
def test_an_instrument_with_noise_where_amounts_have_long_tails_or_two_columns_are_the_same(seed: int) -> None:
    crowd, X = [amounts(60, 100 + k) for k in range(20)], amounts(3000, 1)
    noisy = amounts(200, 20 + seed) + 0.1 * X.std(0) * np.random.default_rng(seed).normal(size=(200, 12))
    assert severities(fitted(X), crowd, [noisy]) == []


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("instruments", [2, 4, 8])
def test_several_instruments_with_a_fifth_of_noise_behind_one_account(
    reference: EvidenceReference, crowd: list[Rows], instruments: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    at_one = plant(instruments, 70 + seed)[rng.integers(0, instruments, 400)]
    asked = at_one + 0.2 * plant(3000, 1).std(0) * rng.normal(size=at_one.shape)
    assert 2 not in {severity for severity, _ in severities(reference, crowd, [asked])}
    codes = remembered(reference, asked[: c.MEMORY])
    assert in_few_places(codes, c.MEMORY, reference.look) or is_one_place(codes, c.MEMORY, reference.look)


@pytest.mark.parametrize("seed", range(3))
def test_rows_that_are_made_from_everywhere_are_in_no_few_places(reference: EvidenceReference, seed: int) -> None:
    rng, X = np.random.default_rng(seed), plant(c.MEMORY, 30 + seed)
    other = plant(c.MEMORY, 60 + seed)
    for made in (X, (X + other) / 2, rng.permuted(X, axis=0), X + 0.3 * rng.normal(size=X.shape), X[rng.permutation(c.MEMORY)] * 1.2):
        assert not in_few_places(remembered(reference, made), c.MEMORY, reference.look)
    narrow = plant(3000, 1).mean(0) + 0.1 * rng.normal(size=X.shape)
    assert not in_few_places(remembered(reference, narrow), c.MEMORY, reference.look), "draws around the middle are no instrument"


@pytest.mark.parametrize("copies", [1, 2, 4])
def test_who_sends_each_row_up_to_four_times_is_no_instrument(reference: EvidenceReference, copies: int) -> None:
    rng = np.random.default_rng(copies)
    made = rng.permuted(plant(c.MEMORY // copies, 30), axis=0)
    asked = np.repeat(made, copies, axis=0) + 0.02 * rng.normal(size=(len(made) * copies, 10))
    assert not in_few_places(remembered(reference, asked), len(asked), reference.look)


@pytest.mark.parametrize("rows", [0, 1, 4, 5])
def test_few_rows_have_no_neighbours(rows: int) -> None:
    assert (to_neighbours(np.arange(rows * 2, dtype=float).reshape(rows, 2)) > 0) == (rows > 4)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("sessions", [False, True], ids=["any order", "one after the other"])
def test_a_few_profiles_to_which_other_fields_are_put(reference: EvidenceReference, crowd: list[Rows], sessions: bool, seed: int) -> None:
    rng = np.random.default_rng(seed)
    asked = plant(300, 30 + seed)
    whose = rng.integers(0, 6, 300)
    profile = rng.permutation(10)[:5]
    asked[:, profile] = plant(6, 60 + seed)[np.sort(whose) if sessions else whose][:, profile]
    assert 2 not in {severity for severity, _ in severities(reference, crowd, [asked])}


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("turned", [0.1, 0.3])
def test_fields_turned_up_and_down_by_steps_one_after_the_other(
    reference: EvidenceReference, crowd: list[Rows], turned: float, seed: int
) -> None:
    rng, sd = np.random.default_rng(seed), plant(3000, 1).std(0)
    steps = turned * sd * rng.choice([-1, 1], (480, 1)) * np.eye(10)[rng.integers(0, 10, 480)]
    assert severities(reference, crowd, [plant(1, 70 + seed) + steps.cumsum(0)]) == []


@pytest.mark.parametrize("seed", range(3))
def test_shuffled_rows_are_found_where_ordinary_ones_share_values_by_chance(seed: int) -> None:
    """Most of them seem to be edits of each other there, ordinary ones too; where those do not, such a client fills a form."""
    reference, others = fitted(petals(300, 1)), [petals(60, 100 + k) for k in range(20)]
    assert reference.fresh_share < 0.4
    assert fitted(plant(300, 1)).fresh_share == 1
    shuffled: Rows = np.random.default_rng(seed).permuted(petals(600, 30 + seed), axis=0)
    asked = np.concatenate([petals(200, 60 + seed), shuffled])
    assert 2 in {severity for severity, _ in severities(reference, others, [asked])}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("how", ["gaps", "edits", "defaults"])
def test_categories_in_columns_of_nought_and_one_of_which_none_or_two_are_chosen(how: str, seed: int) -> None:
    rng, X = np.random.default_rng(seed), options(3000, 1)
    rows, middle = options(225, 30 + seed), np.median(X, axis=0)
    if how == "gaps":
        rows = np.where(rng.random(rows.shape) < rng.uniform(0.08, 0.3), middle, rows)
    elif how == "defaults":
        rows = np.where(np.arange(rows.shape[1]) % 4 == seed, middle, rows)
    else:
        for k in range(0, 225, 9):  # a case, and eight times one or two of its fields as somebody else has them
            for i in range(k + 1, k + 9):
                rows[i] = rows[i - 1]
                own = rng.choice(rows.shape[1], int(rng.integers(1, 3)), replace=False)
                rows[i, own] = X[rng.integers(3000, size=len(own)), own]
    found = severities(fitted(X), [options(60, 100 + k) for k in range(20)], [rows])
    assert 2 not in {severity for severity, _ in found}


@pytest.mark.parametrize("column", range(10))
def test_one_column_joined_to_the_wrong_rows(reference: EvidenceReference, crowd: list[Rows], column: int) -> None:
    rows = plant(300, 70 + column)
    rows[:, column] = np.random.default_rng(column).permutation(rows[:, column])
    assert 2 not in {severity for severity, _ in severities(reference, crowd, [rows])}
    codes = remembered(reference, rows[: c.MEMORY])
    assert bound_without_one(codes, c.MEMORY, reference.look, reference.bond)
    shuffled = np.random.default_rng(column).permuted(rows[: c.MEMORY], axis=0)
    assert not bound_without_one(remembered(reference, shuffled), c.MEMORY, reference.look, reference.bond)


def test_where_a_pair_alone_hangs_together_nobody_can_tell_one_column_from_all(reference: EvidenceReference) -> None:
    assert fitted(trips(3000, 1)).bond.factor == 0
    assert reference.bond.factor > 0
