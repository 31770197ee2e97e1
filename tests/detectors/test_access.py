"""Refused requests against their own history: small steady rates are no news, a burst is, whatever the service's size."""

from __future__ import annotations

import numpy as np
import pytest

from detectors.access import AccessDetector

MONTH = 8_640


def detector() -> AccessDetector:
    return AccessDetector(false_pages=0.1, windows=MONTH)


@pytest.mark.parametrize(
    ("requests", "rate"), [(5, 0.01), (20, 0.002), (20, 0.03), (20, 0.1), (100, 0.0005), (1_000, 0.0005), (1_000, 0.002)]
)
def test_a_service_that_always_refused_as_many_is_quiet(requests: int, rate: float) -> None:
    """A month: no page, no more tickets than the ten that a hundredth of the evidence allows, and none that stays."""
    made, rng, before, opened, told = detector(), np.random.default_rng(1), "none", 0, 0
    for denied in rng.binomial(requests, rate, MONTH).tolist():
        said = made.update(requests, denied).severity
        assert said != "page"
        opened, told, before = opened + (said != before == "none"), told + (said != "none"), said
    assert opened <= 10
    assert told < 100


@pytest.mark.parametrize(("requests", "usual", "burst"), [(20, 0.0, 0.3), (100, 0.01, 0.1), (1_000, 0.001, 0.01), (10_000, 0.0005, 0.002)])
def test_a_rise_is_a_page_within_ten_windows(requests: int, usual: float, burst: float) -> None:
    made, rng = detector(), np.random.default_rng(2)
    for denied in rng.binomial(requests, usual, 100).tolist():
        assert made.update(requests, denied).severity == "none"
    said = [made.update(requests, denied).severity for denied in rng.binomial(requests, burst, 10).tolist()]
    assert said[-1] == "page"
