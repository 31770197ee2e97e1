"""Promises about rows that share most of their values: defaults, offers to one customer, and forms are no search on codes (E6)."""

from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from detectors.evidence import ClientEvidence
from detectors.evidence import layout as at
from detectors.evidence.consecutive import adjusts
from detectors.evidence.constants import MEMORY, RING
from detectors.evidence.trials import flat_step
from detectors.evidence.yardsticks import gains
from tests.detectors.crowd import beside, fitted

Rows = NDArray[np.float64]
FIELDS = 10
WAY = np.random.default_rng(4).normal(size=(3, FIELDS))


def table(n: int, seed: int) -> Rows:
    """Ten numbers that hang together loosely."""
    rng = np.random.default_rng(seed)
    return np.asarray(rng.normal(size=(n, 3)) @ WAY + rng.normal(size=(n, FIELDS)))


def steep(X: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Answers that no two neighbours need share."""
    return np.asarray(np.sin(X @ np.arange(1, FIELDS + 1)) > 0)


def with_defaults(n: int, seed: int, part: float = 0.5) -> Rows:
    rng, X = np.random.default_rng(seed), table(n, 200 + seed)
    X[:, rng.choice(FIELDS, int(part * FIELDS), replace=False)] = 0
    return X


def by_customer(n: int, seed: int) -> Rows:
    """Half of the fields are the customer's, fifty rows each."""
    rng, X = np.random.default_rng(seed), table(n, 200 + seed)
    own = rng.choice(FIELDS, FIELDS // 2, replace=False)
    X[:, own] = table(n, 300 + seed)[np.arange(n) // 50 * 50][:, own]
    return X


def tried(n: int, seed: int, fields: int, back: bool) -> Rows:
    """A person at a form: one to three fields are given another value, forty times a row; the old values ``back`` in between, or not."""
    rng, X, other = np.random.default_rng(seed), np.repeat(table(n // 40, 200 + seed), 40, axis=0), table(n, 300 + seed)
    for k in range(n):
        if k % 2 or not back:
            own = rng.choice(FIELDS, fields, replace=False)
            X[k, own] = other[k, own]
    return X


def one_noisy_column(n: int, seed: int) -> Rows:
    """A sensor of which one number is as noisy as ordinary rows are apart, and nine stand still."""
    X = np.repeat(table(1, 200 + seed), n, axis=0)
    X[:, seed % FIELDS] += np.random.default_rng(seed).normal(size=n)
    return X


def search(n: int, seed: int) -> Rows:
    """From a row halfway to one that is answered otherwise, again and again; then one step in one field at the boundary; and the next."""
    rng = np.random.default_rng(seed)
    out: list[Rows] = []
    while len(out) < n:
        near, far = whole(2, int(rng.integers(1 << 30)))
        while upper(near[None])[0] == upper(far[None])[0]:
            far = whole(1, int(rng.integers(1 << 30)))[0]
        for _ in range(8):
            middle = np.rint((near + far) / 2)
            near, far = (middle, far) if upper(middle[None])[0] == upper(near[None])[0] else (near, middle)
            out.append(middle)
        turned = np.arange(FIELDS) == rng.integers(0, FIELDS, (12, 1))
        out += list(far + turned * rng.choice([-1, 1], (12, 1)))
    return np.array(out[:n])


def whole(n: int, seed: int) -> Rows:
    return np.rint(6 * table(n, seed))


def upper(X: Rows | NDArray[np.float32]) -> NDArray[np.bool_]:
    return np.asarray(X.sum(1) > 0)


@pytest.mark.parametrize("sparse", [with_defaults, by_customer])
def test_clients_that_share_half_of_every_row_are_no_search(sparse: object) -> None:
    asked = [sparse(400, seed) for seed in range(12)]  # type: ignore[operator]
    _, found = beside(fitted(table(3000, 1)), [table(60, 100 + k) for k in range(20)], asked, steep)
    assert found == []


@pytest.mark.parametrize("back", [False, True])
@pytest.mark.parametrize("fields", [1, 2, 3])
def test_who_tries_other_values_in_a_form_is_no_search(fields: int, back: bool) -> None:
    """Though every second answer is another: the values are as far apart as anybody's."""
    asked = [tried(400, seed, fields, back) for seed in range(12)]
    _, found = beside(fitted(table(3000, 1)), [table(60, 100 + k) for k in range(20)], asked, steep)
    assert at.LATTICE not in {statistic for _, _, statistic in found}


@pytest.mark.parametrize(
    ("values", "old", "new", "small"),
    [
        (range(0, 100, 10), 0, 10, True),  # one of nine other values is as near
        (range(0, 100, 10), 0, 40, False),  # four of nine
        (range(0, 100, 10), 50, 40, True),  # two of nine
        (range(0, 100, 10), 50, 30, False),  # four of nine
        (range(0, 100, 10), 5, 6, True),  # a value that the reference has not, to another one
        (range(0, 100, 10), 50, 50, True),
        ((0, 90), 0, 90, False),  # two values have no near one
        ((0, 200, 254), 254, 200, False),
    ],
)
def test_a_step_is_small_if_few_other_values_are_as_near(values: Sequence[int], old: int, new: int, small: bool) -> None:
    share, code = np.zeros((1, 257), np.float32), np.full(2 * RING, old, np.uint8)
    share[0, 1 + np.array(values)] = 1 / len(values)
    assert adjusts(code, np.array([new], np.uint8), 3, share.cumsum(1)) == small


def test_one_noisy_column_at_a_boundary_is_no_search() -> None:
    asked = [one_noisy_column(400, seed) for seed in range(10)]
    _, found = beside(fitted(table(3000, 1)), [table(60, 100 + k) for k in range(20)], asked, steep)
    assert found == []


def test_a_search_on_whole_numbers_is_found() -> None:
    asked = [search(400, seed) for seed in range(8)]
    clients, found = beside(fitted(whole(3000, 1)), [whole(60, 100 + k) for k in range(20)], asked, upper)
    assert len({client for client, severity, _ in found if severity == 2}) >= 7
    assert min(client for client, _, _ in found) >= 0
    evidence = clients.log_evidence(20 + np.arange(8))[:, at.LATTICE]
    assert (evidence > np.log(1e7)).sum() >= 7  # halvings and flips at many distances (E9, E4) may be sooner


def houses(n: int, seed: int) -> Rows:
    """An area in whole numbers, and ten properties of which nearly all rows share nearly all."""
    rng = np.random.default_rng(seed)
    return np.column_stack([np.rint(rng.normal(5000, 1500, n)), rng.random((n, 10)) < 0.05])


def flickering(n: int, seed: int, sd: float) -> Rows:
    """An instrument of which only the whole number moves."""
    X = np.repeat(houses(1, 200 + seed), n, axis=0)
    X[:, 0] = np.rint(X[:, 0] + np.random.default_rng(seed).normal(0, sd, n))
    return X


def halved(seed: int) -> Rows:
    """Halfway between two houses, one of which has a property more, then between the middle and one of both; of one pair after another."""
    rng, out = np.random.default_rng(seed), []
    for house in houses(20, 300 + seed):
        near, far = house, house.copy()
        far[0] += rng.choice([-1, 1]) * rng.integers(800, 1200)
        far[1 + rng.integers(10)] += 1
        out += [near, far]
        for _ in range(8):
            middle = np.rint((near + far) / 2 - 0.25)
            near, far = (middle, far) if rng.random() < 0.5 else (near, middle)
            out.append(middle)
    return np.array(out)


@pytest.mark.parametrize("sd", [3, 10, 30])
def test_one_column_of_whole_numbers_that_flickers_has_middles_by_chance_and_is_no_bisection(sd: float) -> None:
    asked = [flickering(400, seed, sd) for seed in range(8)]
    clients, found = beside(fitted(houses(600, 1)), [houses(60, 100 + k) for k in range(20)], asked)
    assert found == []
    assert clients.counts(np.arange(20, 28))["bisections"].max() <= 0.05 * 400


def test_halvings_of_that_column_are_counted_where_they_follow_each_other() -> None:
    clients, _ = beside(fitted(houses(600, 1)), [houses(60, 100 + k) for k in range(20)], [halved(seed) for seed in range(4)])
    assert clients.counts(np.arange(20, 24))["bisections"].min() >= 40


def seasons(n: int, seed: int) -> Rows:
    """Eleven counts that hang together; a third of the rows has hardly any, as pitchers have hardly any hits."""
    rng = np.random.default_rng(seed)
    way = np.random.default_rng(2).uniform(0.2, 2.5, 11)
    size = np.where(rng.random(n) < 1 / 3, 0.02, rng.gamma(2.0, 20.0, n))
    return rng.poisson(size[:, None] * way).astype(np.float64)


def filled_in(n: int, seed: int) -> Rows:
    """A person at a form: one to three fields of a row get another row's values, then one to three more; nine times a row."""
    rng, other = np.random.default_rng(seed), seasons(n, 300 + seed)
    X = np.repeat(seasons(n // 9 + 1, 200 + seed), 9, axis=0)[:n]
    for k in range(n):
        if k % 9:
            X[k] = X[k - 1]
            own = rng.choice(11, rng.integers(1, 4), replace=False)
            X[k, own] = other[k, own]
    return X


def test_who_fills_in_a_form_is_not_taken_for_made_rows_where_many_rows_share_most_values() -> None:
    """There the number of equal fields does not tell an edit; that the rare values stay does."""
    reference = fitted(seasons(3000, 1))
    assert reference.edit_share > 0.8
    _, found = beside(reference, [seasons(60, 100 + k) for k in range(20)], [filled_in(240, seed) for seed in range(12)])
    assert found == []


def journeys(n: int, seed: int) -> Rows:
    """Prices in round numbers, times, changes and classes of two trains."""
    rng = np.random.default_rng(seed)
    way = np.rint(rng.gamma(6, 20, (n, 1)) / 5) * 5
    time = np.clip(np.rint((way + rng.normal(0, 15, (n, 2))) / 5) * 5, 20, None)
    price = np.rint(way * rng.uniform(20, 40, (n, 2)) / 75) * 75
    return np.column_stack([price, time, rng.binomial(2, 0.3, (n, 2)), rng.integers(0, 3, (n, 2))])


def offered(seed: int, a: int, b: int) -> Rows:
    """Which values of two columns suit best: a grid of five by six, for each of eight customers."""
    X, grid = np.repeat(journeys(8, 200 + seed), 30, axis=0), journeys(500, 300)
    X[:, a] = np.tile(np.repeat(np.quantile(grid[:, a], np.linspace(0.1, 0.9, 5), method="nearest"), 6), 8)
    X[:, b] = np.tile(np.quantile(grid[:, b], np.linspace(0.1, 0.9, 6), method="nearest"), 40)
    return X


def test_a_grid_over_two_columns_for_one_customer_after_the_other_combines_nothing_anew() -> None:
    """The customer's columns change once, and never come back (E7)."""
    asked = [offered(seed, a, b) for seed, (a, b) in enumerate([(0, 1), (0, 2), (2, 3), (2, 4), (3, 5), (1, 3), (2, 5), (0, 4)] * 2)]
    _, found = beside(fitted(journeys(2000, 1)), [journeys(60, 100 + k) for k in range(20)], asked)
    assert at.TWO_VALUED not in {statistic for _, _, statistic in found}


@pytest.mark.parametrize(("moved", "flat"), [(3, 0), (4, 1), (6, 1)])
def test_three_of_six_fields_are_too_few_for_a_step_of_equal_amounts(moved: int, flat: int) -> None:
    """Where a client leaves the others at a default, three amounts are equal by chance (E2)."""
    reference = fitted(np.random.default_rng(7).normal(size=(2000, 6)))
    state = ClientEvidence(reference, ln_page=1.0, ln_ticket=1.0, capacity=1)._state
    memory, x = np.full(6 * MEMORY, 100, np.uint8), np.where(np.arange(6) < moved, 110, 100).astype(np.uint8)
    limit, square = np.where(np.arange(6) < moved, 0, 1).astype(np.uint8), 100 * moved
    flat_step(state.reals[0], state.counts[0], memory, gains(reference), x, limit, False, 0, square)
    assert state.counts[0][[at.STEPS, at.FLAT_STEPS]].tolist() == [1, flat]
