"""The budget arithmetic holds, on paper and in simulation."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import betabinom, binom

from detectors.e_process import (
    ODDS,
    ShiryaevRoberts,
    e_bh,
    log_bernoulli,
    log_mean_exp,
    log_polya,
    log_sr_step,
    page_threshold,
    shift_odds,
)

probabilities = st.floats(0.01, 0.99)


@given(p=probabilities, u=probabilities, odds=st.sampled_from(ODDS), n=st.integers(1, 60), weight=st.floats(0.05, 1))
def test_the_expected_e_value_is_at_most_one_for_every_rate_on_the_null_side(
    p: float, u: float, odds: float, n: int, weight: float
) -> None:
    hits = np.arange(n + 1)
    for edge_odds, inside in ((odds, min(p, u)), (1 / odds, max(p, u))):
        e = np.exp(log_bernoulli(weight * hits, weight * n, u, shift_odds(u, edge_odds)))
        assert float((binom.pmf(hits, n, inside) * e).sum()) <= 1 + 1e-9


@given(p=probabilities, size=st.floats(1, 500), odds=st.sampled_from((2.0, 5.0, 20.0)), n=st.integers(1, 60))
def test_the_expected_polya_e_value_is_one_under_its_null(p: float, size: float, odds: float, n: int) -> None:
    hits = np.arange(n + 1)
    a, b = p * size, (1 - p) * size
    assert float((betabinom.pmf(hits, n, a, b) * np.exp(log_polya(hits, n, a, b, odds))).sum()) == pytest.approx(1, rel=1e-6)


@given(st.lists(st.floats(-80, 80), min_size=1, max_size=8))
def test_the_recursion_in_logarithms_equals_the_plain_one(values: list[float]) -> None:
    log_r, r = np.array([-np.inf]), 0.0
    for value in values:
        log_r = log_sr_step(log_r, np.array([value]))
        r = (r + 1) * math.exp(value)
    if 1e-300 < r < math.inf:
        assert log_r[0] == pytest.approx(math.log(r), rel=1e-9, abs=1e-9)
    assert not np.isnan(log_r[0])


@pytest.mark.parametrize("components", [1, 31, 100])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_mixture_of_many_is_what_its_definition_says(components: int, dtype: type[np.float32 | np.float64]) -> None:
    """Also where most components are far from everything: what is skipped there must change nothing."""
    rng = np.random.default_rng(components)
    weights = rng.choice(np.array([1.0, 2.0, 7.0]), components)
    weights /= weights.sum()
    sr, log_a = ShiryaevRoberts(np.log(weights), 8640.0, dtype), math.log(8640.0)
    log_r, began, cusum, is_open, seen = np.full(components, -np.inf), np.zeros(components, int), np.zeros(components), False, set()
    quiet = np.sort(rng.choice([-40.0, -6.0, -0.1], components))
    for t in range(400):
        moved = (np.arange(components) >= int(0.9 * components)) & (t // 40 % 3 == 1)
        log_e = rng.normal(np.where(moved, 0.9, quiet), 0.3).astype(np.float32).astype(np.float64)
        may_page = t % 50 > 5
        severity, opened = sr.update(log_e.astype(dtype), may_page=may_page)
        began[cusum <= 0] = t
        cusum = np.minimum(np.maximum(cusum + log_e, 0.0), log_a - np.log(weights))
        cap = log_a - np.log(weights) + 1e-3 if may_page else log_a - math.log(2.0)
        log_r = np.minimum(log_sr_step(log_r, log_e), cap)
        level = log_mean_exp(log_r, np.log(weights))
        opens = may_page and not is_open and level >= log_a
        is_open = is_open or opens
        if is_open and level < sr.log_ticket:
            log_r[:], cusum[:], began[:], is_open = -np.inf, 0.0, t, False
        else:
            assert severity == ("page" if is_open else "ticket" if level >= sr.log_ticket else "none")
            assert sr.log_r == pytest.approx(log_r, rel=1e-5, abs=1e-4)
            assert np.array_equal(sr.since, began)
        assert opened == opens
        seen.add(severity)
    assert seen == {"none", "ticket", "page"}


def test_false_pages_stay_within_the_budget() -> None:
    rng = np.random.default_rng(1)
    A, windows, streams = 50.0, 400, 200
    pages = 0
    u = 0.1
    q = np.array([shift_odds(u, odds) for odds in ODDS])
    for _ in range(streams):
        sr = ShiryaevRoberts(np.full(len(ODDS), -math.log(len(ODDS))), A)
        for hits in rng.binomial(100, u, windows):
            pages += sr.update(log_bernoulli(hits, 100, u, q))[1]
    assert pages <= streams * windows / A
    assert pages > 0  # the bound is not kept by being deaf


def test_an_episode_opens_once_and_closes_when_the_cause_is_gone() -> None:
    sr = ShiryaevRoberts(np.log([0.5, 0.5]), 1000.0)
    verdicts = [sr.update(np.array([3.0, -1.0])) for _ in range(8)] + [sr.update(np.array([-3.0, -3.0])) for _ in range(6)]
    assert sum(opened for _, opened in verdicts) == 1
    severities = [severity for severity, _ in verdicts]
    assert severities[:2] == ["none", "ticket"]
    assert severities[3] == severities[7] == "page"
    assert severities[-1] == "none"
    assert not sr.open


def test_long_evidence_does_not_delay_the_end_of_an_episode() -> None:
    short, long = (ShiryaevRoberts(np.zeros(1), 1e4) for _ in range(2))
    for sr, windows in ((short, 10), (long, 1000)):
        for _ in range(windows):
            sr.update(np.array([50.0]))
    steps = [next(k for k in range(99) if sr.update(np.array([-1.0]))[0] == "none") for sr in (short, long)]
    assert steps[0] == steps[1] < 10


def test_a_quiet_stretch_moves_the_start_of_the_evidence() -> None:
    sr = ShiryaevRoberts(np.zeros(1), 1e6)
    for value in [-2.0] * 5 + [1.0] * 3:
        sr.update(np.array([value]))
    assert sr.since[0] == 5


def test_what_was_seen_before_pages_were_allowed_opens_no_page_by_itself() -> None:
    sr = ShiryaevRoberts(np.zeros(1), 100.0)
    assert [sr.update(np.array([9.0]), may_page=False)[0] for _ in range(3)] == ["ticket"] * 3
    assert sr.update(np.array([-0.1])) == ("ticket", False)


def test_a_mixture_ignores_what_has_no_evidence_and_survives_overflow() -> None:
    assert log_mean_exp(np.array([-np.inf, 2000.0])) == pytest.approx(2000 - math.log(2))
    assert log_mean_exp(np.array([-np.inf])) == -math.inf


def test_e_bh_names_all_streams_with_overwhelming_evidence_and_none_without() -> None:
    assert e_bh(np.full(5, 100.0), 0.05).size == 5
    assert e_bh(np.zeros(5), 0.05).size == 0
    assert e_bh(np.array([]), 0.05).size == 0


@pytest.mark.parametrize(("windows", "pages"), [(0, 1), (math.inf, 1), (100, 0), (100, 100), (100, -1), (math.nan, 1)])
def test_a_nonsense_budget_is_refused(windows: float, pages: float) -> None:
    with pytest.raises(ValueError, match="must be"):
        page_threshold(windows, pages)


def test_states_of_another_size_are_refused() -> None:
    with pytest.raises(ValueError, match="components"):
        ShiryaevRoberts(np.log([0.5, 0.5]), 10.0).restore(ShiryaevRoberts(np.zeros(1), 10.0).state())
    with pytest.raises(ValueError, match="sum to 1"):
        ShiryaevRoberts(np.zeros(2), 10.0)
    with pytest.raises(ValueError, match="alpha"):
        e_bh(np.zeros(2), 0.0)
