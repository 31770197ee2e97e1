"""The drift benchmark's laws and bounds are what it says they are."""

import numpy as np
import pytest

from bench.drift import delays
from bench.drift_laws import CHANGES, LAWS, NONE, Change, Law
from bench.drift_months import clopper_pearson

NORMAL = LAWS[0]


@pytest.mark.parametrize(
    ("change", "nats"),
    [(Change("", shift=0.1), 0.005), (Change("", shift=0.5), 0.125), (Change("", scale=1.25), 0.5 * (1.25**2 - 1) - np.log(1.25))],
)
def test_the_divergence_of_a_normal_law_is_the_textbook_one(change: Change, nats: float) -> None:
    assert NORMAL.divergence(change) == pytest.approx(nats, rel=1e-6)


def test_two_modes_cost_315_rows_and_leave_mean_and_variance_alone() -> None:
    modes = CHANGES[-1]
    assert np.log(8640 * 20) / NORMAL.divergence(modes) == pytest.approx(315, abs=0.5)
    rows = NORMAL.sample(np.random.default_rng(1), (400_000,), modes)
    assert (rows.mean(), rows.std()) == pytest.approx((0, 1), abs=0.005)


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.name)
def test_no_change_carries_no_information_and_every_change_some(law: Law) -> None:
    assert law.divergence(NONE) == pytest.approx(0, abs=1e-9)
    assert all(law.divergence(change) > 1e-3 for change in CHANGES)


def test_the_divergence_is_what_samples_say() -> None:
    """By a second way: the log likelihood ratio of the changed t law, averaged over its samples."""
    law, change = LAWS[2], CHANGES[1]
    x = law.sample(np.random.default_rng(2), (400_000,), change).astype(float)
    ratio = law.log_density(x - change.shift * law.sd) - law.log_density(x)
    assert law.divergence(change) == pytest.approx(ratio.mean(), rel=0.02)


def test_limits_of_a_share_are_clopper_and_pearsons() -> None:
    assert clopper_pearson(0, 12) == pytest.approx((0, 1 - 0.025 ** (1 / 12)))
    assert clopper_pearson(12, 12) == pytest.approx((0.025 ** (1 / 12), 1))


def test_a_large_change_is_found_in_the_first_window_and_none_before() -> None:
    found = delays(NORMAL, Change("+2 sd", shift=2.0), 0.0, 2, clients=0, seed=1)
    assert found.page.tolist() == [100, 100]
    assert found.false == 0
