"""Promises of E12: rows made from other rows are told from ordinary ones, and from those that ordinary clients changed."""

import numpy as np
import pytest
from numpy.typing import NDArray

from detectors.evidence import STATISTICS, ClientEvidence, EvidenceReference
from detectors.evidence import constants as c
from detectors.evidence import layout as at
from detectors.evidence.boosting import fit_trees, scores
from detectors.evidence.derive import derive
from detectors.evidence.examples import made, met
from detectors.evidence.generated import confirms
from detectors.evidence.judge import judge
from detectors.evidence.sampled import Sampled
from detectors.evidence.untied import repeat_less
from detectors.evidence.yardsticks import yardsticks
from tests.detectors.crowd import beside, fitted, remembered

Rows = NDArray[np.float32]
GENERATED = STATISTICS.index("generated")
MADE = GENERATED, STATISTICS.index("composed")
D = 9
PRICES = np.array([0, 5, 12, 12, 20, 35, 50, 99, 150, 240.0])


def orders(n: int, seed: int) -> Rows:
    """A shop's table: codes, counts and prices of a list, with causes in common; nothing in it has a formula."""
    rng = np.random.default_rng(seed)
    size, rich = rng.poisson(2.0, n), rng.random(n)
    article = np.minimum((rich * 10 + rng.integers(0, 3, n)).astype(int), 9)
    child = rng.random(n) < 0.2 + 0.4 * (size > 2)
    out = np.stack(
        [
            size + 1,
            PRICES[article],
            article,
            child,
            np.where(child, rng.integers(1, 6, n), 0),
            rng.choice([12, 24, 36], n, p=[0.6, 0.3, 0.1]) * (1 + (rich > 0.5)),
            (2 + 8 * rich).astype(int) * 500,
            rng.integers(0, 7, n),
            rng.poisson(3 + 4 * rich),
        ],
        axis=1,
    )
    return out.astype(np.float32)


@pytest.fixture(scope="module")
def reference() -> EvidenceReference:
    return fitted(orders(3000, 1))


def ordinary() -> list[Rows]:
    return [orders(60, 100 + k) for k in range(20)]


def named(reference: EvidenceReference, asked: Rows) -> list[tuple[int, int]]:
    """Severity and statistic of what is raised against the last of 21 clients; the others are ordinary."""
    _, found = beside(reference, ordinary(), [asked])
    assert {client for client, _, _ in found} <= {0}, "no ordinary client is named"
    return [(severity, statistic) for _, severity, statistic in found]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("how", ["averages", "noise", "gaussian", "one in four uniform"])
def test_rows_made_from_other_rows_are_paged(reference: EvidenceReference, how: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    pool = orders(1600, 50 + seed)
    other = orders(1600, 80 + seed)
    rows = {
        "averages": (pool + other) / 2,
        "noise": pool + 0.3 * pool.std(0) * rng.normal(size=pool.shape),
        "gaussian": rng.multivariate_normal(pool.mean(0), np.cov(pool.T), len(pool)),
        "one in four uniform": np.where(np.arange(len(pool))[:, None] % 4 == 0, rng.uniform(pool.min(0), pool.max(0), pool.shape), pool),
    }[how]
    assert 2 in {severity for severity, _ in named(reference, np.rint(rows)[: 1600 if "four" in how else 400])}


def test_rows_that_look_made_by_little_alone_are_a_ticket(reference: EvidenceReference) -> None:
    """As an account's do whose columns are in other units of its own while a season moves everybody's."""
    clients = beside(reference, ordinary(), [np.rint((orders(400, 50) + orders(400, 80)) / 2)])[0]
    real, code, _, count = (array[len(ordinary())].copy() for array in clients._state)
    y, bins = yardsticks(reference, 16.1, 11.5), code[at.bins_at(len(reference.sampled)) :]

    def severity(first: float, second: float, third: float) -> int:
        count[[at.MADE_1, at.MADE_2, at.MADE_3]] = np.rint(count[at.GENERATED_TRIALS] * np.array([first, second, third]))
        count[[at.SEVERITY, at.GENERATED_LOOKED]] = 0
        found, statistic, _ = judge.py_func(real, count, code, bins, 0, 20, 0.0, True, y)
        assert statistic == at.GENERATED
        return int(found)

    assert [severity(*shares) for shares in ((0.8, 0.2, 0), (0.6, 0.4, 0), (0.6, 0.2, 0.1), (0.6, 0.2, 0.02))] == [2, 2, 2, 1]


@pytest.mark.parametrize("seed", range(4))
def test_ordinary_rows_in_other_units_with_defaults_or_rounded_are_not_named(reference: EvidenceReference, seed: int) -> None:
    rng = np.random.default_rng(seed)
    X = orders(400, 20 + seed)
    units = np.rint(X * rng.uniform(1.0, 1.4, D) + rng.uniform(-0.4, 0.4, D) * X.std(0))
    filled = np.where(rng.random(X.shape) < 0.2, np.median(X, axis=0), X)
    some = np.isin(np.arange(D), rng.choice(D, 2, replace=False))
    for rows in (X, units, filled, np.where(some, 0, X)):
        assert named(reference, rows) == []


@pytest.mark.parametrize("seed", range(4))
def test_a_client_whose_noise_hides_that_values_recur_is_not_named(reference: EvidenceReference, seed: int) -> None:
    """Numbers blurred for privacy are whole still, and repeat less; what is made looks made by more."""
    rng, X = np.random.default_rng(seed), orders(300, 50 + seed)
    assert named(reference, np.round(X + 0.15 * X.std(0) * rng.laplace(size=X.shape))) == []
    assert 2 in {severity for severity, _ in named(reference, np.round(rng.uniform(X.min(0), X.max(0), X.shape)))}


def service(reference: EvidenceReference, asked: list[Rows]) -> tuple[ClientEvidence, set[tuple[int, int]]]:
    """Twenty ordinary clients, then these; who of them was named by E12, and how severely."""
    clients, found = beside(reference, ordinary(), asked)
    return clients, {(client, severity) for client, severity, statistic in found if statistic == GENERATED}


def visits(n: int, seed: int, rare: bool) -> Rows:
    """Counts of visits to doctors, mostly small, with one cause in common; rare diagnoses or common ones."""
    rng = np.random.default_rng(seed)
    ill = rng.gamma(0.7, 1.0, n)
    means = (2 * ill, 0.4 * ill, 0.2 * ill * rng.gamma(0.5, 2.0, n), 0.5 + ill, 0.1 * ill, 0.3 * ill)
    flags = [np.full(n, 0.02)] * 5 if rare else [0.2 + 0.2 * (ill > 1), np.full(n, 0.5)]
    out = [*(rng.poisson(mean) for mean in means), rng.integers(20, 90, n), *(1 * (rng.random(n) < chance) for chance in flags)]
    return np.stack(out, axis=1).astype(np.float32)


@pytest.mark.parametrize("rare", [False, True])
def test_an_account_of_88_uniform_draws_is_paged(rare: bool) -> None:
    """Of skewed columns, where all of them lie on one side; with rare diagnoses, where 64 of them are taken for an integrator's limits."""
    X = visits(3000, 1, rare)
    reference, crowd = fitted(X), [visits(60, 100 + k, rare) for k in range(20)]
    for seed in range(6):
        rng = np.random.default_rng(seed)
        asked = np.rint(rng.uniform(X.min(0), X.max(0), (88, X.shape[1])))
        _, found = beside(reference, crowd, [asked])
        assert (0, 2, GENERATED) in found
        assert {client for client, _, _ in found} == {0}


def test_units_alone_are_why_it_holds_back(reference: EvidenceReference) -> None:
    """Its evidence has crossed the line by far; the second look explains it."""
    rng = np.random.default_rng(3)
    clients, named = service(reference, [np.rint(orders(400, 23) * rng.uniform(1.1, 1.4, D))])
    assert clients.log_evidence(np.array([20]))[0, GENERATED] > np.log(1e7)
    assert named == set()


def test_many_accounts_that_make_rows_do_not_make_that_ordinary(reference: EvidenceReference) -> None:
    """Of twenty-six clients known, twelve send averages: half of all make their rows, but the others' tell what is usual."""
    averages = [np.rint((orders(60, 500 + k) + orders(60, 600 + k)) / 2) for k in range(12)]
    asked = np.rint((orders(400, 50) + orders(400, 80)) / 2)
    _, found = beside(reference, [*ordinary()[:12], *averages], [asked])
    assert (0, 2, GENERATED) in found
    assert {client for client, _, _ in found} <= {*range(-12, 1)}, "no ordinary client is named"


@pytest.mark.parametrize(("rows", "worst"), [(90, 0), (290, 1), (600, 2)])
def test_before_there_are_clients_to_compare_with_it_takes_more_rows(reference: EvidenceReference, rows: int, worst: int) -> None:
    averages = np.rint((orders(rows, 5) + orders(rows, 6)) / 2)
    _, found = beside(reference, [], [averages])
    assert max((severity for _, severity, statistic in found if statistic in MADE), default=0) == worst
    assert beside(reference, [], [orders(rows, 7)])[1] == []


def test_where_everybody_looks_made_from_the_beginning_nobody_is_named(reference: EvidenceReference) -> None:
    """Prices in a currency with cents, say: the trees know none of the values."""
    everybody = [orders(n, 200 + k) + 0.4 * np.random.default_rng(k).random(D) for k, n in enumerate([60] * 20 + [600])]
    clients, found = beside(reference, [], everybody)
    assert found == []
    assert (clients.log_evidence(np.arange(21))[:, GENERATED] < np.log(1e5)).all()


def walked(starts: Rows, seed: int) -> Rows:
    """Nine rows after each, with one or two columns a little off: a walk along the border on codes, or a form that is edited."""
    rng, rows = np.random.default_rng(seed), np.repeat(starts, 10, axis=0)
    for k in range(len(rows)):
        some = rng.choice(D, rng.integers(1, 3), replace=False)
        rows[k, some] += (k % 10 > 0) * rng.integers(-2, 3, len(some))
    return rows


@pytest.mark.parametrize("seed", range(4))
def test_walks_from_made_rows_are_paged_by_the_few_that_are_no_edits_and_forms_are_not(reference: EvidenceReference, seed: int) -> None:
    rng, X = np.random.default_rng(seed), orders(3000, 1)
    made_rows = np.rint(rng.uniform(X.min(0), X.max(0), (60, D))).astype(np.float32)
    assert 2 in {severity for severity, _ in named(reference, walked(made_rows, seed))}
    assert named(reference, walked(orders(60, 400 + seed), seed)) == []


@pytest.mark.parametrize("change", ["units", "noise", "a column of zeros", "a column joined wrongly"])
def test_a_change_of_everybodys_rows_at_once_names_nobody(reference: EvidenceReference, change: str) -> None:
    """As when an upstream table changes: forty clients, whose rows are ordinary, then not, then ordinary again."""
    rng = np.random.default_rng(1)
    X = np.stack([orders(600, 200 + k) for k in range(40)], axis=1)  # by time, client
    spread, changed = X.std((0, 1)), X[100:250].copy()
    if change == "units":
        changed = np.rint(changed * rng.uniform(1.1, 1.4, D))
    elif change == "noise":
        changed = np.rint(changed + 0.3 * spread * rng.normal(size=changed.shape))
    elif change == "a column of zeros":
        changed[:, :, 1] = 0
    else:
        changed[:, :, 6] = rng.permuted(changed[:, :, 6].ravel()).reshape(changed.shape[:2])
    X[100:250] = changed
    slot, n = np.tile(np.arange(40, dtype=np.int32), 600), 600 * 40
    clients = ClientEvidence(reference, ln_page=float(np.log(1e7)), ln_ticket=float(np.log(1e5)), capacity=41)
    found = clients.update(slot, X.reshape(n, D), np.empty((n, 0), np.float32), np.full(n, -1, np.int32))
    assert GENERATED not in found.statistic[found.severity == 2]
    assert (found.statistic == GENERATED).sum() <= 1
    averages = np.rint((orders(400, 5) + orders(400, 6)) / 2).astype(np.float32)
    found = clients.update(np.full(400, 40, np.int32), averages, np.empty((400, 0), np.float32), np.full(400, -1, np.int32))
    assert 2 in found.severity[found.statistic == GENERATED], "it is back"


def test_a_row_with_gaps_is_judged_by_what_is_there(reference: EvidenceReference) -> None:
    X = orders(600, 9)
    gaps = np.where(np.random.default_rng(0).random(X.shape) < 0.3, np.nan, X).astype(np.float32)
    assert (derive(reference, gaps).level > 0).mean() < 0.1
    assert (derive(reference, np.full((4, D), np.nan, np.float32)).level <= 3).all()


def test_the_batch_scores_rows_as_they_were_learnt(reference: EvidenceReference) -> None:
    """The pass's own residuals and the one by one agree; a row's score does not depend on where in the batch it stands."""
    X = orders(500, 4) + 0.4 * np.random.default_rng(0).normal(size=(500, D)).astype(np.float32)
    level = derive(reference, X).level
    assert np.array_equal(derive(reference, X[37:]).level, level[37:])
    assert (level > 0).mean() > 0.2
    alone = np.concatenate([derive(reference, X[k : k + 1]).level for k in range(100)])
    assert np.array_equal(alone, level[:100])


def test_it_is_off_for_pictures_few_columns_and_few_rows(reference: EvidenceReference) -> None:
    X = orders(3000, 1)
    for other in (fitted(X[: c.GENERATED_ROWS - 1]), fitted(X[:, :3])):
        assert len(other.generated.trees.feature) == 0
        assert (derive(other, X[:20, : other.width]).level == 0).all()
    picture = np.clip(np.random.default_rng(0).normal(100, 40, (700, 16)), 0, 255).astype(np.float32)
    low, high = np.zeros(16), np.full(16, 255.0)
    pictures = EvidenceReference.fit(picture, np.empty((700, 0), np.float32), None, low=low, high=high, image=(4, 4))
    assert len(pictures.generated.trees.feature) == 0
    assert len(reference.generated.trees.feature) == c.GENERATED_TREES


def test_it_stays_silent_where_made_rows_are_like_ordinary_ones() -> None:
    X = np.random.default_rng(0).normal(size=(2000, 6)).astype(np.float32)
    reference = fitted(X)
    asked = np.random.default_rng(1).normal(size=(900, 6)).astype(np.float32)
    clients = ClientEvidence(reference, ln_page=float(np.log(1e7)), ln_ticket=float(np.log(1e5)), capacity=1)
    found = clients.update(np.zeros(900, np.int32), asked, np.empty((900, 0), np.float32), np.full(900, -1, np.int32))
    assert len(found) == 0


def test_made_and_met_rows_keep_to_the_schema() -> None:
    rng = np.random.default_rng(0)
    X = orders(900, 3).astype(np.float64)
    least, most = X.min(0), X.max(0) + 1
    columns = Sampled(X.min(0), np.ptp(X, axis=0), least, most, np.ones(D), np.zeros(D))
    for rows in (made(X, columns, 800, rng), met(X, columns, 800, rng)):
        assert rows.shape == (800, D)
        assert (rows >= least).all()
        assert (rows <= most).all()
        assert 0.6 < (rows == np.round(rows)).all(1).mean() < 0.99
        assert columns.coded(rows).dtype == np.uint8


def test_trees_learn_what_two_bytes_say_together_and_nothing_from_noise() -> None:
    rng = np.random.default_rng(0)
    X = rng.integers(0, 256, (4000, 5)).astype(np.uint8)
    y = (X[:, 1] > 90) != (X[:, 3] > 130)
    trees = fit_trees(X[:2000], y[:2000], trees=30, depth=3, rate=0.3, l2=8.0)
    assert ((scores(X[2000:], trees) > 0) == y[2000:]).mean() > 0.95
    noise = fit_trees(X[:2000], rng.random(2000) < 0.5, trees=30, depth=3, rate=0.3, l2=8.0)
    assert abs(((scores(X[2000:], noise) > 0) == y[2000:]).mean() - 0.5) < 0.08
    assert scores(X[:70], trees).tolist() == [float(scores(X[k : k + 1], trees)[0]) for k in range(70)]
    assert len(scores(X[:0], trees)) == 0


def untied(reference: EvidenceReference, X: Rows) -> bool:
    return bool(repeat_less(remembered(reference, X), len(X), reference.look, np.ones((len(X), D), np.bool_)))


def test_a_few_dozen_rows_that_repeat_values_less_by_chance_are_not_taken_for_made_ones(reference: EvidenceReference) -> None:
    rng = np.random.default_rng(0)
    pool = orders(3000, 9)
    assert sum(untied(reference, pool[rng.choice(len(pool), 26)]) for _ in range(400)) <= 4
    a, b = orders(400 * 26, 10), orders(400 * 26, 11)
    averages = ((a + b) / 2).astype(np.float32).reshape(400, 26, D)
    assert sum(untied(reference, some) for some in averages) >= 300


def curves(n: int, seed: int) -> Rows:
    """An instrument's readings, most of them a curve over others."""
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=(2, n))
    wave, noise = np.sin(rng.uniform(0, 6, n)), 0.05 * rng.normal(size=(4, n))
    return np.stack([a, wave + noise[0], a * b + noise[1], a**2 + 2 * noise[2], b, np.exp(0.5 * a) + noise[3]], axis=1).astype(np.float32)


def test_a_few_rows_of_an_instrument_in_other_units_are_seldom_taken_for_made_ones_and_shuffled_ones_always_are() -> None:
    reference, pool, rng = fitted(curves(3000, 1)), curves(3000, 7), np.random.default_rng(0)

    def look_made(rows: NDArray[np.floating]) -> bool:
        return bool(confirms(remembered(reference, rows.astype(float)), len(rows), reference.look, reference.generated))

    def some(n: int) -> Rows:
        return np.asarray(pool[rng.choice(len(pool), n)])

    sizes, sd = np.repeat([27, 36, 45], 100), pool.std(0)
    units = [look_made(some(n) * rng.normal(1, 0.15, 6) + 0.5 * sd * rng.normal(size=6)) for n in sizes]
    assert sum(units) <= 6
    assert all(look_made(rng.permuted(some(n), axis=0)) for n in sizes[::10])
