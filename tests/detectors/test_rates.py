"""Rates against their own history: what promises a ticket, and what a quiet year costs."""

from __future__ import annotations

import numpy as np
import pytest

from detectors.rates import LATE_WINDOWS, WARM_UP_WINDOWS, RateMonitor
from detectors.state import StateError


def monitor(size: int = 2, false_tickets: float = 1.0) -> RateMonitor:
    return RateMonitor(size, false_tickets=false_tickets, windows=8640)


def test_a_rate_that_jumps_is_a_ticket_within_three_windows_and_is_named() -> None:
    made, rng = monitor(), np.random.default_rng(0)
    for _ in range(40):
        assert made.update(rng.binomial(200, [0.02, 0.3]), [200, 200]).severity == "none"
    said = [made.update(rng.binomial(200, [0.2, 0.3]), [200, 200]) for _ in range(3)]
    assert (said[0].severity, said[2].severity) == ("none", "ticket")
    assert (said[-1].leading, said[-1].usual < 0.05) == (0, True)


@pytest.mark.parametrize("trials", [3.0, 6.0])
def test_a_rise_of_few_trials_a_window_is_told_before_it_is_usual(trials: float) -> None:
    """Ten seconds of repeated rows are a handful. 10 of 60 such rises were missed while each window became history at once."""
    told = 0
    for seed in range(30):
        made, rng = monitor(false_tickets=4.0), np.random.default_rng(seed)
        for _ in range(24):
            made.update([0, 0], [rng.poisson(trials), 0])
        few = rng.poisson(trials, 12)
        told += any(made.update([rng.binomial(n, 0.3), 0], [n, 0]).severity == "ticket" for n in few)
    assert told == 30


def test_what_waits_when_a_ticket_opens_is_never_history() -> None:
    made, rng = monitor(), np.random.default_rng(5)
    for _ in range(60):
        made.update(rng.binomial(200, [0.02, 0.3]), [200, 200])
    usual = made.usual()[0]
    while made.update([40, 60], [200, 200]).severity == "none":
        pass
    for _ in range(500):
        if made.update(rng.binomial(200, [0.02, 0.3]), [200, 200]).severity == "none":
            break
    for _ in range(20):
        made.update(rng.binomial(200, [0.02, 0.3]), [200, 200])
    assert made.usual()[0] == pytest.approx(usual, abs=0.004)


@pytest.mark.parametrize("seed", range(10))
def test_a_rise_that_is_over_is_told_so_within_sixty_windows(seed: int) -> None:
    """Twenty windows of ten trials tell little of what is usual: by its evidence alone the ticket stays for hundreds of windows."""
    made, rng = monitor(false_tickets=4.0), np.random.default_rng(seed)
    for rate, windows in ((0.02, 20), (0.5, 12)):
        for _ in range(windows):
            made.update([rng.binomial(10, rate), 0], [10, 0])
    assert made.sr.open
    assert "none" in [made.update([rng.binomial(10, 0.02), 0], [10, 0]).severity for _ in range(60)]


def test_a_rise_that_goes_on_stays_told() -> None:
    made, rng = monitor(false_tickets=4.0), np.random.default_rng(6)
    for rate, windows in ((0.02, 20), (0.5, 12)):
        for _ in range(windows):
            made.update([rng.binomial(10, rate), 0], [10, 0])
    assert {made.update([rng.binomial(10, 0.5), 0], [10, 0]).severity for _ in range(2_000)} == {"ticket"}


def test_a_window_is_history_eight_windows_with_trials_later() -> None:
    made = monitor()
    for _ in range(WARM_UP_WINDOWS):
        made.update([0, 0], [100, 100])
    usual = made.usual().copy()
    made.update([1, 0], [100, 0])
    for _ in range(LATE_WINDOWS - 1):
        made.update([0, 0], [100, 50])
    made.update([0, 0], [0, 50])
    assert (made.usual() == usual)[0]
    made.update([0, 0], [100, 50])
    assert made.usual()[0] > usual[0]


def test_what_was_so_from_the_beginning_is_usual() -> None:
    made, rng = monitor(), np.random.default_rng(1)
    assert {made.update(rng.binomial(100, [0.4, 0.0]), [100, 100]).severity for _ in range(300)} == {"none"}


def test_a_rate_that_is_seen_late_has_its_own_first_windows() -> None:
    made, rng = monitor(), np.random.default_rng(2)
    for _ in range(60):
        made.update([0, 0], [50, 0])
    said = [made.update([0, rng.binomial(50, 0.5)], [50, 50]).severity for _ in range(60)]
    assert set(said) == {"none"}


def test_windows_without_trials_leave_the_evidence_as_it_is() -> None:
    made = monitor()
    for _ in range(WARM_UP_WINDOWS + 8):
        made.update([0, 0], [100, 100])
    made.update([9, 0], [100, 100])
    before = made.sr.log_r[0]
    for _ in range(5_000):
        made.update([0, 0], [0, 1])
    assert made.sr.log_r[0] == pytest.approx(before, abs=1e-6)


@pytest.mark.parametrize("spread", [0.0, 0.3])
def test_a_quiet_time_has_no_more_tickets_than_allowed(spread: float) -> None:
    """One is allowed in 8,640 windows; rates that wander from window to window included."""
    made, rng, opened, before = monitor(4), np.random.default_rng(3), 0, "none"
    for _ in range(8_640):
        rate = np.array([0.001, 0.01, 0.1, 0.3]) * np.exp(spread * rng.normal(size=4) - spread**2)
        said = made.update(rng.binomial(80, np.minimum(rate, 1.0)), [80] * 4).severity
        opened += said == "ticket" and before == "none"
        before = said
    assert opened <= 1


@pytest.mark.parametrize("waited", [-1.0, np.nan, np.inf])
def test_a_snapshot_with_no_number_of_windows_that_wait_is_refused(waited: float) -> None:
    made = monitor()
    made.waited[1] = waited
    with pytest.raises(StateError, match="windows that waited"):
        monitor().restore(made.snapshot())


def test_nonsense_is_refused() -> None:
    with pytest.raises(ValueError, match="between 0 and their trials"):
        monitor().update([2, 0], [1, 1])
    with pytest.raises(ValueError, match="at least 1"):
        monitor(0)


@pytest.mark.parametrize("rate", [0.0005, 0.002])
def test_a_small_rate_that_stands_still_is_no_ticket(rate: float) -> None:
    """Its windows differ less than those of the null that allows for windows that differ: that alone would tell of it for ever."""
    made, rng = monitor(), np.random.default_rng(4)
    assert {made.update(rng.binomial(1_000, rate, 2), [1_000] * 2).severity for _ in range(3_000)} == {"none"}
