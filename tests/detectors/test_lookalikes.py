"""Ordinary clients that look like attackers at first sight are not paged: each of these was, on a recorded service."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from detectors.evidence import EvidenceReference
from detectors.evidence import layout as at
from detectors.evidence.constants import FLIP_U, MEMORY, RING, ROUNDED_VALUES
from detectors.evidence.derive import derive
from detectors.evidence.independence import could_be_bound, has_its_own_law
from detectors.evidence.place import is_another_population
from detectors.evidence.rounding import is_rounded
from detectors.evidence.second_look import Look, confirms
from tests.detectors.crowd import beside, fitted, remembered

Rows = NDArray[np.float64]
Answer = Callable[[Rows], NDArray[np.bool_]]
Table = Callable[[int, int], Rows]
INCOME = 8
"""Of a patient; the only column of `visits` that is not whole."""


def budget(n: int, seed: int) -> Rows:
    """Households: total spent, age, people, size of the town, sex of the head; whole numbers, the first of a heavy tail."""
    rng = np.random.default_rng(seed)
    people, town = 1 + rng.poisson(2.2, n), rng.integers(1, 6, n)
    age = np.clip(rng.normal(48, 15, n), 18, 95)
    spent = np.exp(12.4 + 0.12 * people + 0.08 * town + 0.5 * rng.normal(size=n))
    return np.stack([spent, age, people, town, (rng.random(n) < 0.15)], axis=1).round()


def visits(n: int, seed: int) -> Rows:
    """Patients: counts of visits that are mostly 0, some yes-or-no answers, an age in years and an income."""
    rng = np.random.default_rng(seed)
    ill = rng.gamma(0.7, 1.0, n)
    counts = [np.round(rng.negative_binomial(0.6, 0.6 / (0.6 + m * ill + 0.05))) for m in (4.0, 1.5, 3.0, 1.5, 1.2, 1.0)]
    answers = [rng.random(n) < p for p in (0.2, 0.4, 0.5, 0.1, 0.6, 0.8)]
    many = np.round(rng.poisson(0.3 + ill) + 40 * (rng.random(n) < 0.05) * rng.random(n))
    return np.stack([*counts, many, np.round(rng.normal(74, 6, n)), np.round(rng.lognormal(0.7, 0.7, n), 2), *answers], axis=1).astype(
        float
    )


def stones(n: int, seed: int) -> Rows:
    """Stones of one kind: weight by the three lengths within a hundredth, cut, colour and clearness, a price."""
    rng = np.random.default_rng(seed)
    size = rng.lognormal(1.7, 0.25, n)
    sides = size[:, None] * (1 + 0.01 * rng.normal(size=(n, 3)))
    weight = 0.006 * sides.prod(1) * (1 + 0.01 * rng.normal(size=n))
    grades = rng.integers(0, 7, (n, 3))
    return np.column_stack([weight, sides, 3000 * weight**1.6 * np.exp(0.05 * grades.sum(1) + 0.08 * rng.normal(size=n)), grades])


def balances(n: int, seed: int) -> Rows:
    """Readings in whole numbers: three temperatures of heavy tails, their differences, three controls that are mostly nought."""
    rng = np.random.default_rng(seed)
    a = 48 + np.round(8 * rng.standard_t(3, n))
    b, e = 80 + rng.integers(-6, 7, n) + np.round(2 * rng.standard_t(2, n)), 30 + np.round(12 * rng.standard_t(2, n))
    controls = [np.round(rng.standard_t(1.2, n) * (rng.random(n) < 0.3)) for _ in range(3)]
    return np.stack([a, controls[0], b, controls[1], e, controls[2], b - a, b - e, a - e], axis=1).clip(-3000, 3000)


def films(n: int, seed: int) -> Rows:
    """Films: year, minutes and votes, whole numbers, the last of a heavy tail, and four answers of yes or no."""
    rng = np.random.default_rng(seed)
    votes = np.round(np.exp(3.2 + 1.8 * rng.normal(size=n)))
    year, minutes = 2005 - np.round(rng.gamma(1.5, 15, n)), np.round(rng.normal(90, 25, n)).clip(1)
    return np.column_stack([year, minutes, votes, *(rng.random(n) < p for p in (0.2, 0.3, 0.4, 0.1))]).astype(float)


def thirds(n: int, seed: int) -> Rows:
    """Eight codes of three values, 0, .5 and 1."""
    rng = np.random.default_rng(seed)
    own = rng.normal(size=(n, 2)) @ np.random.default_rng(3).normal(size=(2, 8)) + 0.8 * rng.normal(size=(n, 8))
    return np.digitize(own, [-0.5, 0.5]) / 2


def drifting(table: Table, seed: int, noise: Rows) -> Rows:
    """A sensor on its way from one row to another, 400 readings."""
    rng = np.random.default_rng(seed)
    a, b = table(2, 50 + seed)
    way = np.clip(np.cumsum(rng.normal(0.0025, 0.01, 400)), 0, 1)[:, None]
    return np.asarray(a * (1 - way) + b * way + noise * rng.normal(size=(400, len(a))))


def severity(table: Table, asked: Rows, answer: Answer, rows: int = 3000) -> int:
    """The highest against the last of 21 clients; the others are ordinary."""
    _, found = beside(fitted(table(rows, 1)), [table(60, 100 + k) for k in range(20)], [asked], lambda Q: answer(Q.astype(float)))
    assert {client for client, _, _ in found} <= {0}, "no ordinary client is named"
    return max((severity for _, severity, _ in found), default=0)


def first(X: Rows) -> NDArray[np.bool_]:
    return X[:, 0] > np.median(X[:, 0])


@pytest.mark.parametrize("seed", range(3))
def test_a_sorted_export_of_few_columns(seed: int) -> None:
    X = budget(3000, 20 + seed)
    order = np.argsort((X / X.std(0)) @ np.random.default_rng(seed).normal(size=X.shape[1]))
    assert severity(budget, X[order][:800], first) == 0


@pytest.mark.parametrize("seed", range(4))
def test_one_noisy_field_at_the_boundary_where_the_others_stay(seed: int) -> None:
    rng = np.random.default_rng(seed)
    row, sd = visits(1, 60 + seed)[0], visits(3000, 1).std(0)
    asked = row + 0.03 * sd * rng.normal(size=(400, row.size))
    asked = np.where(np.arange(row.size) == INCOME, asked.round(4), asked.round())
    assert severity(visits, asked, lambda X: X[:, INCOME] > row[INCOME]) < 2


@pytest.mark.parametrize("seed", range(3))
def test_forms_of_counts_that_are_mostly_nought_edited_two_fields_at_a_time(seed: int) -> None:
    rng, pool = np.random.default_rng(seed), visits(3000, 30 + seed)
    asked: list[Rows] = []
    while len(asked) < 400:
        row = pool[rng.integers(len(pool))].copy()
        for _ in range(8):
            fields = rng.choice(row.size, 2, replace=False)
            row = row.copy()
            row[fields] = pool[rng.integers(len(pool)), fields]
            asked.append(row)
    assert severity(visits, np.array(asked), first) == 0


@pytest.mark.parametrize("seed", range(4))
def test_an_instrument_with_noise_of_its_own_where_the_reference_obeys_a_tight_law(seed: int) -> None:
    rng, X = np.random.default_rng(seed), stones(400, 40 + seed)
    noisy = X + 0.1 * X.std(0) * rng.normal(size=X.shape)
    noisy[:, 5:] = noisy[:, 5:].round()
    assert severity(stones, noisy, first) == 0
    assert severity(stones, rng.permuted(X, axis=0), first) == 2


def test_a_sensor_where_a_number_of_the_embedding_is_dead() -> None:
    rng = np.random.default_rng(0)

    def embedding(n: int, seed: int) -> Rows:
        own = np.random.default_rng(seed)
        X = own.normal(size=(n, 6)) @ np.random.default_rng(1).normal(size=(6, 40)) + 0.3 * own.normal(size=(n, 40))
        X[:, 7], X[:, 9] = 1e-33 * own.normal(size=(2, n))
        return X

    asked = embedding(1, 5) + 0.02 * rng.normal(size=(300, 40))
    assert severity(embedding, asked, first) == 0


def test_one_absurd_reading_in_the_reference_does_not_blind_the_memory() -> None:
    X = balances(3000, 1)
    reference = fitted(X)
    seen = derive(reference, balances(500, 2).astype(np.float32)).code
    assert all(len(np.unique(column)) >= 20 for column in seen[:, [0, 2, 4, 6, 7, 8]].T)
    assert reference.look.shuffled > 0.9
    asked = np.random.default_rng(3).permuted(balances(300, 4), axis=0)
    assert severity(balances, asked, first) == 2


@pytest.mark.parametrize("seed", range(3))
def test_rows_with_one_wrong_field_each_are_not_called_implausible_where_columns_add_up(seed: int) -> None:
    X = balances(3000, 1)
    reference = fitted(X)
    rng, rows = np.random.default_rng(seed), balances(MEMORY, 30 + seed)
    field, wrong = rng.choice([0, 2, 4], MEMORY), rng.random(MEMORY) < 0.8
    asked = np.where((np.arange(9) == field[:, None]) & wrong[:, None], balances(MEMORY, 60 + seed), rows)

    def implausible(X: Rows) -> bool:
        return bool(confirms(remembered(reference, X), MEMORY, reference.look))

    assert not implausible(rows)
    assert not implausible(asked)
    assert implausible(rng.permuted(rows, axis=0))


def engine(n: int, seed: int, load: tuple[float, float] = (0.0, 1.0)) -> Rows:
    """Readings that follow the load, none of them in proportion, and a wear of their own."""
    rng = np.random.default_rng(seed)
    t = rng.uniform(*load, n)
    readings = np.stack([t, t**2, np.exp(t), np.sin(3 * t), 1 / (1 + t), t * rng.uniform(0.8, 1.2, n)], axis=1)
    return np.asarray(readings + 0.05 * rng.normal(size=readings.shape))


@pytest.mark.parametrize("seed", range(3))
def test_a_range_that_the_reference_has_not_is_not_called_implausible_while_its_columns_tell_of_each_other(seed: int) -> None:
    X = engine(3000, 1)
    reference = fitted(X)
    rows = engine(MEMORY, 30 + seed, (0.8, 1.6))

    def implausible(X: Rows, look: Look) -> bool:
        memory = remembered(reference, X)
        return bool(confirms(memory, MEMORY, look) and not is_another_population(memory, MEMORY, look))

    assert not implausible(rows, reference.look)
    assert implausible(np.random.default_rng(seed).permuted(rows, axis=0), reference.look)
    assert implausible(rows, reference.look._replace(tied=np.full_like(reference.look.tied, 2.0))), "only this held it back"


@pytest.mark.parametrize("seed", range(3))
def test_what_a_generator_makes_of_a_few_numbers_has_a_law_of_its_own_and_lies_all_around(seed: int) -> None:
    reference = fitted(engine(3000, 1))
    rng = np.random.default_rng(seed)
    hidden = np.tanh(rng.normal(size=(MEMORY, 3)) @ rng.normal(size=(3, 6)))
    low, high = engine(3000, 1).min(axis=0), engine(3000, 1).max(axis=0)
    memory = remembered(reference, (low + high) / 2 + 0.45 * (high - low) * hidden)
    assert confirms(memory, MEMORY, reference.look)
    assert not is_another_population(memory, MEMORY, reference.look)


def twins(n: int, seed: int) -> Rows:
    """Two causes, each read twice, and their sum."""
    rng = np.random.default_rng(seed)
    u, v, *noise = rng.normal(size=(6, n))
    return np.stack([u, u + 0.3 * noise[0], v, v + 0.3 * noise[1], u + v + 0.3 * noise[2], noise[3]], axis=1)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("column", [1, 3])
def test_a_column_of_the_other_sign_is_no_extraction_and_shuffled_ones_are(column: int, seed: int) -> None:
    asked = twins(300, 60 + seed)
    asked[:, column] *= -1
    assert severity(twins, asked, first) == 0
    assert severity(twins, np.random.default_rng(seed).permuted(asked, axis=0), first) == 2


def journeys(n: int, seed: int) -> Rows:
    """Leaving as planned and in fact, duration and distance, day, month, carrier: two pairs that hang together, three columns alone."""
    rng = np.random.default_rng(seed)
    leaves, far = rng.normal(14, 4, n), rng.gamma(2.0, 500, n) + 80
    return np.column_stack([leaves, leaves + rng.exponential(0.5, n), far, far / 700 + 0.1 * rng.normal(size=n), rng.normal(size=(n, 3))])


def test_where_one_of_every_two_columns_that_hang_together_is_a_default_independence_says_nothing() -> None:
    X = journeys(3000, 1)
    reference = fitted(X)

    def bound(X: Rows) -> bool:
        return bool(could_be_bound(remembered(reference, X), MEMORY, reference.look, reference.bond))

    asked = journeys(MEMORY, 2)
    shuffled = np.random.default_rng(3).permuted(asked, axis=0)
    assert bound(asked)
    assert bound(shuffled)
    shuffled[:, [0, 2]] = np.median(X, axis=0)[[0, 2]]
    assert not bound(shuffled)


def ring(reference: EvidenceReference, X: Rows) -> NDArray[np.uint8]:
    """The latest `RING` rows as codes, field-major."""
    return derive(reference, X.astype(np.float32)).code.T.ravel()


@pytest.mark.parametrize("seed", range(5))
def test_coarsely_rounded_rows_come_as_often_as_in_the_reference_and_corners_of_a_box_do_not(seed: int) -> None:
    rng, X = np.random.default_rng(seed), balances(3000, 1)
    reference = fitted(X)
    step = 2.0 * X.std(0)
    rounded, centre = np.round(balances(RING, 50 + seed) / step) * step, X[rng.integers(len(X))]
    corners = centre + 0.15 * (X.max(0) - X.min(0)) * rng.choice([-1, 1], (RING, X.shape[1]))
    assert is_rounded(ring(reference, rounded), RING, reference.look.share, RING)
    assert not is_rounded(ring(reference, corners), RING, reference.look.share, RING)


def test_a_client_that_rounds_coarsely_for_long_is_left_alone() -> None:
    """Some sixteen of its rows look less ordinary than others by chance, and each row asks: ten of these 24 were paged."""
    reference, step = fitted(balances(3000, 1)), balances(3000, 1).std(0)
    asked = [np.round(balances(1000, 80 + k) / step) * step for k in range(24)]
    found = beside(reference, [balances(60, 100 + k) for k in range(20)], asked)[1]
    assert {who for who, severity, _ in found if severity == 2} == set()


@pytest.mark.parametrize("seed", range(5))
def test_rows_on_a_fine_grid_are_rounded_ones_and_rows_on_none_are_not(seed: int) -> None:
    """More than eight values a column, so that none was asked about; and each step between two close rows is flat."""
    rng = np.random.default_rng(seed)
    X = rng.uniform(-2, 2, (3000, 8))
    reference = fitted(X)
    own, apart = rng.uniform(-2, 2, (RING, 8)), rng.permuted(np.tile(np.linspace(-2, 2, RING)[:, None], (1, 8)), axis=0)
    on_grid = ring(reference, np.round(apart / 0.18) * 0.18)
    assert min(len(np.unique(column)) for column in on_grid.reshape(8, RING)) > ROUNDED_VALUES
    assert is_rounded(on_grid, RING, reference.look.share, RING)
    assert not is_rounded(ring(reference, own), RING, reference.look.share, RING)


@pytest.mark.parametrize("seed", range(4))
def test_sensors_of_a_service_that_answers_any_two_neighbours_differently_are_no_search(seed: int) -> None:
    def by_heart(X: Rows) -> NDArray[np.int64]:
        return np.asarray((X[:, :3].astype(np.int64) @ [7919, 104729, 15485863]) % 1009 % 3)

    X = films(4000, 1)
    unknown, whole = np.full(7, np.nan), np.arange(7) < 3
    scores = np.eye(3, dtype=np.float32)[by_heart(X)]
    reference = EvidenceReference.fit(X.astype(np.float32), scores, None, low=unknown, high=unknown)
    own = films(1, 60 + seed)
    way = np.where(whole, np.round(drifting(films, seed, 0.01 * X.std(0))), own)
    still = np.where(whole, np.round(own + 0.04 * X.std(0) * np.random.default_rng(seed).normal(size=(300, 7))), own)
    others = [films(60, 100 + k) for k in range(20)]
    assert beside(reference, others, [way, still], lambda Q: by_heart(Q.astype(float)))[1] == []


@pytest.mark.parametrize("seed", [1, 3, 7, 8])
def test_a_sensor_that_flickers_between_two_readings_a_column_is_no_box(seed: int) -> None:
    asked = np.round(10 * drifting(thirds, seed, 0.01 * thirds(2000, 1).std(0))) / 10
    assert severity(thirds, asked, first, 2000) == 0


@pytest.mark.parametrize("whole", [1, 2, 8])
def test_a_sensor_whose_whole_numbers_flicker_to_the_next_and_back_is_no_box(whole: int) -> None:
    """Halfway between two rows all of them do, between two values each; the corners of a box lie further apart."""

    def answers(n: int, seed: int) -> Rows:
        """Marks of six values, and some numbers of about forty."""
        rng, marks = np.random.default_rng(seed), 25 if whole == 1 else 6
        own = rng.normal(size=(n, 2)) @ (0.6 * np.random.default_rng(3).normal(size=(2, marks))) + rng.normal(size=(n, marks))
        return np.column_stack([np.digitize(own, [-1.5, -0.7, 0, 0.7, 1.5]), np.round(rng.normal(40, 6, (n, whole)))])

    X = answers(2000, 1)
    asked = [np.round(drifting(answers, seed, 0.01 * X.std(0))) for seed in range(60)]
    assert beside(fitted(X), [answers(60, 100 + k) for k in range(20)], asked)[1] == []


@pytest.mark.parametrize("seed", range(3))
def test_a_health_check_that_goes_round_a_few_rows_shows_in_each_round_what_it_showed_in_the_first(seed: int) -> None:
    def plain(n: int, seed: int) -> Rows:
        return np.random.default_rng(seed).normal(size=(n, 6))

    (a, b), (u, w) = plain(2, 70 + seed), plain(2, 80 + seed)
    asked = np.array([a, a + u, a - u, b, b + w, b - w])  # by chance two steps of the six are opposite
    assert severity(plain, np.tile(asked, (60, 1)), first) == 0


@pytest.mark.parametrize("seed", range(5))
def test_a_population_whose_columns_hang_together_otherwise_has_not_drawn_them_one_by_one(seed: int) -> None:
    def sentences(n: int, seed: int, turned: int = 0) -> Rows:
        """Embeddings of twelve numbers; a part of them hangs together the other way in another field of knowledge."""
        rng = np.random.default_rng(seed)
        way = np.random.default_rng(4).normal(size=(3, 12))
        way[:, :turned] *= -1
        return rng.normal(size=(n, 3)) @ way + rng.normal(size=(n, 12))

    X = sentences(3000, 1)
    reference = fitted(X)

    def law(rows: Rows) -> bool:
        return bool(has_its_own_law(remembered(reference, rows), MEMORY, reference.look))

    other = sentences(MEMORY, 20 + seed, 6) * 1.3
    assert law(np.column_stack([other[:, :6], other[:, 6:] + 0.5 * other[:, :6]]))
    assert not law(np.random.default_rng(seed).permuted(other, axis=0))


@pytest.mark.parametrize("seed", range(3))
def test_a_form_filled_where_ordinary_edits_change_the_answer_is_no_search(seed: int) -> None:
    def eighths(n: int, seed: int) -> Rows:
        rng = np.random.default_rng(seed)
        own = rng.normal(size=(n, 2)) @ np.random.default_rng(3).normal(size=(2, 10)) + 0.8 * rng.normal(size=(n, 10))
        return np.digitize(own, np.linspace(-1.4, 1.4, 7)).astype(float)

    def jumps(X: Rows) -> NDArray[np.int64]:
        return np.asarray((X.astype(np.int64) @ (np.arange(10) * 7919 + 104729)) % 1009 % 2)

    X, unknown = eighths(3000, 1), np.full(10, np.nan)
    reference = EvidenceReference.fit(X.astype(np.float32), np.eye(2, dtype=np.float32)[jumps(X)], None, low=unknown, high=unknown)
    smooth = replace(reference, flip_rates=np.array(FLIP_U))  # as if its nearest neighbours were answered alike
    rng = np.random.default_rng(seed)

    def form(by_steps: bool) -> Rows:
        """Two of ten fields are put anew, or turned by one, eight times a case."""
        out = []
        for case in eighths(60, 70 + seed):
            for _ in range(8):
                out.append(case.copy())
                own = rng.choice(10, 2, replace=False)
                case[own] = case[own] + rng.choice([-1, 1], 2) if by_steps else rng.integers(0, 8, 2)
        return np.array(out)

    put, turned = form(False), form(True)
    others = [eighths(60, 100 + k) for k in range(20)]

    clients, found = beside(smooth, others, [put, turned], lambda Q: jumps(Q.astype(float)))
    assert found == []
    assert clients.log_evidence(np.array([21]))[0, at.LATTICE] > np.log(1e7), "only the order of its flips held it back"


def weather(n: int, seed: int) -> Rows:
    """Twelve numbers that hang together loosely."""
    rng, way = np.random.default_rng(seed), np.random.default_rng(4).normal(size=(3, 12))
    return np.asarray(rng.normal(size=(n, 3)) @ way + rng.normal(size=(n, 12)))


@pytest.mark.parametrize("noise", [0.03, 0.1])
@pytest.mark.parametrize("instruments", [2, 4])
def test_several_instruments_behind_one_account_are_no_pairs_of_opposite_steps(instruments: int, noise: float) -> None:
    """From one to the other and back is the same step, the other way; but it ends where an earlier row was."""
    rng, crowd = np.random.default_rng(0), [weather(60, 100 + k) for k in range(20)]
    reference, asked = fitted(weather(3000, 1)), []
    for k in range(4):
        at_one = weather(instruments, 70 + k)[rng.integers(0, instruments, 400)]
        asked.append(at_one + noise * rng.normal(size=at_one.shape))
    assert beside(reference, crowd, asked)[1] == []


@pytest.mark.parametrize("together", [False, True])
def test_a_daily_round_is_no_pair_of_opposite_steps(together: bool) -> None:
    """Half a round later every step is the opposite one, but each goes on from the last."""
    rng, crowd = np.random.default_rng(1), [weather(60, 100 + k) for k in range(20)]
    reference, asked = fitted(weather(3000, 1)), []
    for period in (20, 37, 60, 110):
        phase = 0 if together else rng.uniform(0, 6, 12)
        asked.append(weather(1, period) + 0.5 * np.sin(2 * np.pi * np.arange(500)[:, None] / period + phase))
    assert beside(reference, crowd, asked)[1] == []


@pytest.mark.parametrize("code", [2.0, 9.0])
def test_a_code_for_what_is_missing_in_a_table_of_yes_and_no_is_no_step_of_equal_amounts(code: float) -> None:
    """Fields go to the code and back by the same amount each; the others are at one of their limits, where nothing else can move."""

    def answers(n: int, seed: int) -> Rows:
        rng = np.random.default_rng(seed)
        kind = rng.integers(0, 20, n)
        likely = np.random.default_rng(0).choice([0.05, 0.95], (20, 12))
        return (rng.random((n, 12)) < likely[kind]).astype(float)

    asked = []
    for seed in range(6):
        rows = answers(220, 50 + seed)
        asked.append(np.where(np.random.default_rng(seed).random(rows.shape) < 0.3, code, rows))
    _, found = beside(fitted(answers(3000, 1)), [answers(60, 100 + k) for k in range(20)], asked)
    assert {who for who, severity, _ in found if severity == 2} == set()
