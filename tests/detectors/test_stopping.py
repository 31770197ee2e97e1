"""Promises of E14, whose sittings end as soon as the answer has changed, and of E9 where one field after the other is halved."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from detectors.evidence import STATISTICS, EvidenceReference
from tests.detectors.crowd import beside, fitted

Rows = NDArray[np.float64]
D = 8
MIX = np.random.default_rng(5).normal(size=(3, D))
WEIGHTS = np.random.default_rng(6).normal(size=D)


def rows(n: int, seed: int) -> Rows:
    rng = np.random.default_rng(seed)
    return np.asarray(rng.normal(size=(n, 3)) @ MIX + 0.3 * rng.normal(size=(n, D)))


def score(X: Rows) -> Rows:
    return np.asarray(X @ WEIGHTS)


def answer(X: NDArray[np.float32]) -> NDArray[np.int64]:
    return (X.astype(np.float64) @ WEIGHTS > 0).astype(np.int64)


@pytest.fixture(scope="module")
def reference() -> EvidenceReference:
    return fitted(rows(800, 1))


def raised(reference: EvidenceReference, asked: list[Rows]) -> list[dict[str, int]]:
    """Of each client in question, the severity that each statistic gave it; no ordinary client is raised."""
    _, found = beside(reference, [rows(100, 500 + k) for k in range(20)], [X.astype(np.float32) for X in asked], answer)
    assert all(who >= 0 for who, _, _ in found)
    out: list[dict[str, int]] = [{} for _ in asked]
    for who, severity, statistic in found:
        out[who][STATISTICS[statistic]] = severity
    return out


Step = Callable[[Rows, Rows, np.random.Generator], Rows]


def until_it_changes(step: Step, seed: int, cases: int = 30, most: int = 40) -> list[Rows]:
    """One case after another, each changed until its answer is another one; what has been tried is kept where it came nearer."""
    rng, spread, out = np.random.default_rng(seed), rows(800, 1).std(axis=0), []
    for case in rows(cases, 900 + seed):
        at, sitting = case, [case]
        sign = np.sign(score(case))
        for _ in range(most):
            tried = at + step(case, spread, rng)
            sitting.append(tried)
            if sign * score(tried) < sign * score(at):
                at = tried
            if np.sign(score(tried)) != sign:
                break
        out.append(np.array(sitting))
    return out


def noise(_: Rows, spread: Rows, rng: np.random.Generator) -> Rows:
    return np.asarray(0.15 * spread * rng.normal(size=D))


def one_field(_: Rows, spread: Rows, rng: np.random.Generator) -> Rows:
    return np.asarray(np.eye(D)[rng.integers(2)] * spread * rng.normal())


def one_of_all(_: Rows, spread: Rows, rng: np.random.Generator) -> Rows:
    return np.asarray(np.eye(D)[rng.integers(D)] * 1.5 * spread * rng.normal())


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("step", [noise, one_of_all])
def test_who_works_on_one_case_after_another_until_the_answer_changes_is_a_ticket_and_no_page(
    reference: EvidenceReference, step: Step, seed: int
) -> None:
    found = raised(reference, [np.concatenate(until_it_changes(step, seed, cases=60))])[0]
    assert found["stopping"] == 1
    assert max(found.values()) == 1


@pytest.mark.parametrize("seed", range(3))
def test_the_same_rows_in_an_order_that_knows_nothing_of_the_answers_say_nothing(reference: EvidenceReference, seed: int) -> None:
    rng = np.random.default_rng(seed)
    sittings = [rng.permutation(s) for s in until_it_changes(noise, seed, cases=60)]
    assert "stopping" not in raised(reference, [np.concatenate(sittings)])[0]


def test_who_tries_one_field_or_another_until_the_answer_changes_fills_a_form(reference: EvidenceReference) -> None:
    assert "stopping" not in raised(reference, [np.concatenate(until_it_changes(one_field, 1, cases=60))])[0]


def test_sweeps_whose_answer_changes_at_their_end_have_as_many_steps_each(reference: EvidenceReference) -> None:
    """All inputs are moved step by step, in so many steps that the last one changes the answer."""
    cases = [case for case in rows(400, 7) if abs(score(case)) < 2 * np.linalg.norm(WEIGHTS)]
    steps = np.linspace(0, 1.05, 9)
    sweeps = [case - s * score(case) / (WEIGHTS @ WEIGHTS) * WEIGHTS for case in cases for s in steps]
    assert "stopping" not in raised(reference, [np.array(sweeps)])[0]


def test_a_search_that_probes_both_sides_and_stops_is_paged_before_the_pairs_alone_tell(reference: EvidenceReference) -> None:
    """Every third step that did not help is tried the other way, too: too few pairs for E5 alone."""
    rng, spread = np.random.default_rng(3), rows(800, 1).std(axis=0)
    asked = []
    for case in rows(60, 77):
        at, sign = case, np.sign(score(case))
        sitting = [case]
        for k in range(40):
            step = 0.4 * spread * np.eye(D)[rng.integers(D)]
            for tried in (at + step, at - step) if k % 3 == 0 else (at + step,):
                sitting.append(tried)
                if sign * score(tried) < sign * score(at):
                    at = tried
                    break
            if np.sign(score(at)) != sign:
                break
        asked.append(np.array(sitting))
    found = raised(reference, [np.concatenate(asked)])[0]
    assert found == {"stopping": 2}


def halved(fields: list[int], seed: int) -> Rows:
    """For one row after another: in which value of a field the answer changes, by eight halvings; then the next field."""
    rng, out = np.random.default_rng(seed), []
    for case in rows(40, 40 + seed):
        for f in rng.permutation(fields):
            near, far = case.copy(), case.copy()
            far[f] = case[f] - 2 * score(case) / WEIGHTS[f]
            out += [near, far]
            for _ in range(8):
                middle = (near + far) / 2
                out.append(middle)
                near, far = (near, middle) if np.sign(score(middle)) != np.sign(score(case)) else (middle, far)
    return np.array(out)


def test_line_searches_along_several_columns_are_paged_and_the_highest_loan_for_each_of_many_is_not(reference: EvidenceReference) -> None:
    several, one = raised(reference, [halved([0, 2, 3, 5], 1), halved([3], 2)])
    assert several["bisection"] == 2
    assert "bisection" not in one


def test_who_turns_fields_to_and_fro_meets_middles_of_values_too(reference: EvidenceReference) -> None:
    rng, out = np.random.default_rng(4), []
    for case in rows(30, 50):
        at = case.copy()
        for _ in range(25):
            at = at.copy()
            at[rng.integers(3)] += 0.25 * rng.choice([-2, -1, 1, 2])
            out.append(at)
    assert "bisection" not in raised(reference, [np.array(out)])[0]
