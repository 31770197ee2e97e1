"""Promises of E13: combinations that no ordinary habit makes are found; habits, places of one's own and one wrong column are not."""

import dataclasses
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from detectors.evidence import STATISTICS, EvidenceReference
from detectors.evidence import constants as c
from detectors.evidence import layout as at
from detectors.evidence.composed import confirms, over_all
from detectors.evidence.derive import derive
from detectors.evidence.habits import habits, is_coarser, is_off_grid
from tests.detectors.crowd import beside, fitted, remembered
from tests.detectors.test_generated import Rows

COMPOSED = STATISTICS.index("composed")
D = 12


def survey(n: int, seed: int, mood: float | None = None) -> Rows:
    """Twelve yes-or-no answers by two moods; nothing in them has a formula."""
    rng = np.random.default_rng(seed)
    moods = rng.normal(size=(n, 2)) if mood is None else mood + 0.4 * rng.normal(size=(n, 2))
    asks = np.repeat(np.eye(2), D // 2, axis=1) * np.where(np.arange(D) % 3 == 0, -1.5, 1.5)
    return (moods @ asks + 0.5 * rng.normal(size=(n, D)) > np.linspace(-1, 1, D)).astype(np.float32)


def crossed(n: int, seed: int, share: float = 1 / 3) -> Rows:
    """Children of two rows, a third of the answers from the other."""
    rng = np.random.default_rng(seed)
    return np.where(rng.random((n, D)) < share, survey(n, 70 + seed), survey(n, 80 + seed))


@pytest.fixture(scope="module")
def reference() -> EvidenceReference:
    return fitted(survey(3000, 1))


def named(reference: EvidenceReference, asked: list[Rows]) -> tuple[list[float], set[tuple[int, int]]]:
    """Log evidence of E13 of each, beside twenty ordinary clients that nothing may name; and who was named by it, how severely."""
    clients, found = beside(reference, [survey(60, 100 + k) for k in range(20)], asked)
    assert all(client >= 0 for client, _, _ in found), "no ordinary client is named"
    evidence = clients.log_evidence(np.arange(20, 20 + len(asked)))[:, COMPOSED]
    return evidence.tolist(), {(client, severity) for client, severity, statistic in found if statistic == COMPOSED}


@pytest.mark.parametrize("seed", range(3))
def test_rows_crossed_from_two_are_paged_by_it_alone(reference: EvidenceReference, seed: int) -> None:
    alone = dataclasses.replace(reference, generated=reference.generated._replace(rates=np.ones(3)))  # or E12 is sometimes the first
    evidence, found = named(alone, [crossed(900, seed)])
    assert evidence[0] > np.log(1e7)
    assert (0, 2) in found


@pytest.mark.parametrize("seed", range(3))
def test_ordinary_rows_and_those_of_any_habit_are_not_named(reference: EvidenceReference, seed: int) -> None:
    own = habits(survey(900, 20 + seed).astype(float), np.random.default_rng(seed))
    assert len(own) == 3 + len(c.HABIT_GAPS) + len(c.HABIT_ROUNDED)
    evidence, found = named(reference, [some.astype(np.float32) for some in own])
    assert found == set()
    assert max(evidence) < np.log(1e5)


def test_one_segment_other_codes_defaults_and_one_wrong_column_are_not_named(reference: EvidenceReference) -> None:
    rows = survey(600, 31)
    column = np.arange(D)
    joined = np.where(column == 5, survey(600, 33), rows)
    others = [survey(600, 32, mood=1.2), np.where(column == 4, 1 - rows, rows), np.where(np.isin(column, [2, 7, 9]), 0, rows), joined]
    assert named(reference, [some.astype(np.float32) for some in others])[1] == set()


def looked(reference: EvidenceReference, rows: Rows) -> bool:
    return bool(confirms(remembered(reference, rows), len(rows), reference.look, reference.generated))


@pytest.mark.parametrize("seed", range(4))
def test_the_look_wants_rows_from_everywhere_that_look_made_without_any_one_column(reference: EvidenceReference, seed: int) -> None:
    rows = survey(c.MEMORY, 40 + seed)
    assert looked(reference, crossed(c.MEMORY, 3 + seed, 0.5))
    assert not looked(reference, crossed(c.COMPOSED_MIN_ROWS - 1, 3 + seed, 0.5))
    assert not looked(reference, rows)
    elsewhere = crossed(c.MEMORY, 3 + seed, 0.5)
    elsewhere[:, :4] = 1
    assert not looked(reference, elsewhere), "rows off the middle in one direction"


def test_the_evidence_is_the_mixture_of_likelihood_ratios_at_what_the_population_does_now() -> None:
    count, rates = np.zeros(at.INT_COUNT, np.int32), np.array([0.2, 0.1, 0.05])
    count[at.GENERATED_TRIALS], count[at.MADE_1 : at.MADE_3 + 1] = 100, (50, 20, 4)
    usual = np.zeros(9)

    def ratio(h: int, u: float) -> float:
        q = u + np.array(c.COMPOSED_SHARES) * (1 - u)
        return float(((q / u) ** h * ((1 - q) / (1 - u)) ** (100 - h)).sum())

    assert np.isclose(over_all(count, rates, usual), (ratio(50, 0.2) + ratio(20, 0.1)) / 9), "the third is below its rate"
    usual[-3:] = 0.05
    assert np.isclose(over_all(count, rates, usual), (ratio(50, 0.25) + ratio(20, 0.15)) / 9)


def test_its_rates_are_those_of_the_worst_habit_and_off_where_nothing_is_learnt(reference: EvidenceReference) -> None:
    assert (reference.generated.composed >= reference.generated.nominal + c.COMPOSED_LUCK[0]).all()
    assert reference.generated.hidden.shape == (D, 3)
    off = fitted(survey(c.GENERATED_ROWS - 1, 1))
    assert (off.generated.composed == 1).all()
    assert over_all(np.full(at.INT_COUNT, 50, np.int32), off.generated.composed, np.zeros(9)) == 0


@pytest.mark.parametrize("seed", range(4))
def test_rounding_is_seen_by_values_that_repeat_and_made_rows_repeat_no_more_than_the_references(seed: int) -> None:
    rng = np.random.default_rng(seed)
    X = (rng.gamma(2.0, size=(3000, 3)) @ rng.normal(size=(3, 6)) + rng.normal(size=(3000, 6))).astype(np.float32)
    measures = fitted(X)

    def memory(rows: NDArray[Any]) -> NDArray[np.uint8]:
        return remembered(measures, rows)

    own, sd = X[: c.MEMORY], X.std(0)
    for step in (0.2, 0.5):
        assert is_coarser(memory(np.round(own / (step * sd)) * step * sd), c.MEMORY, measures.look.share)
    gauss = rng.multivariate_normal(X.mean(0), np.cov(X.T), c.MEMORY)
    for rows in (own, (own + X[-c.MEMORY :]) / 2, rng.permuted(own, axis=0), np.clip(gauss, X.min(0), X.max(0))):
        assert not is_coarser(memory(rows), c.MEMORY, measures.look.share)


def test_rows_of_values_that_do_not_occur_are_a_habit_when_most_have_one(reference: EvidenceReference) -> None:
    def off(share: float) -> bool:
        rows = survey(c.MEMORY, 50)
        rows[: int(share * c.MEMORY), 3] = 0.5
        return bool(is_off_grid(np.ascontiguousarray(derive(reference, rows).code.T).ravel(), c.MEMORY, reference.look.share))

    assert not off(0.0)
    assert not off(0.4)
    assert off(0.6)
