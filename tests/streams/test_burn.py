"""An error budget pages when it is spent fast for long and still is; a handful of requests says nothing."""

import numpy as np
import pytest

from streams.burn import RULES, BurnRates

MINUTE = 60 * 10**9
HOUR = 60 * MINUTE


def rates(share: float, hours: float, *, allowed: float = 0.001, n: int = 10_000, since: int = 0) -> BurnRates:
    made = BurnRates(allowed)
    for k in range(round(hours * 60)):
        made.add(since + k * MINUTE, bad=round(share * n), total=n)
    return made


@pytest.mark.parametrize(
    ("share", "hours", "severity", "long_s"),
    [
        (0.0150, 1, "page", 3_600),
        (0.0140, 6, "page", 6 * 3_600),
        (0.0062, 6, "page", 6 * 3_600),
        (0.0059, 6, "ticket", 3 * 86_400),
        (0.0011, 72, "ticket", 3 * 86_400),
        (0.0009, 72, None, 0),
    ],
)
def test_each_rule_holds_from_its_rate_on(share: float, hours: float, severity: str | None, long_s: int) -> None:
    burn = rates(share, hours).judge(round(hours * HOUR))
    assert (burn and burn.severity, burn.rule.long_s if burn else 0) == (severity, long_s)


def test_what_is_over_does_not_page() -> None:
    made = rates(0.5, 1)
    for k in range(6):
        made.add(HOUR + k * MINUTE, bad=0, total=10_000)
    burn = made.judge(HOUR + 6 * MINUTE)
    assert burn is None or burn.rule != RULES[0]
    made = rates(0.5, 1)
    for k in range(60 * 7):
        made.add(HOUR + k * MINUTE, bad=0, total=10_000)
    assert made.judge(8 * HOUR) is None


def test_nine_failures_say_nothing_and_ten_do() -> None:
    for bad, pages in ((9, False), (10, True)):
        made = BurnRates(0.0001)
        made.add(0, bad=bad, total=20)
        assert bool(made.judge(MINUTE)) == pages


def test_a_rate_below_the_rule_does_not_page_by_chance_whatever_the_traffic() -> None:
    rng = np.random.default_rng(1)
    for n in (50, 200, 1_000):
        for _ in range(60):
            made = BurnRates(0.001)
            pages = 0
            for k in range(120):
                made.add(k * MINUTE, bad=int(rng.binomial(n, 0.004)), total=n)
                burn = made.judge((k + 1) * MINUTE)
                pages += burn is not None and burn.severity == "page"
            assert pages == 0


def test_an_incident_spends_its_share_once_for_three_days_and_survives() -> None:
    made = BurnRates(0.001, 0.25)
    for k in range(360):
        made.add(k * MINUTE, bad=20 if k >= 330 else 0, total=1_000)  # 2 % in the last half hour, of six hours
    before = made.judge(6 * HOUR)
    assert before is not None
    assert before.severity == "ticket"  # 1.7 times as fast as allowed
    for _ in range(3):
        made.incident("a1", HOUR)
    again = BurnRates(0.001, 0.25)
    again.load(made.dump(), made.incidents)
    for one in (made, again):
        burn = one.judge(6 * HOUR)
        assert burn is not None
        assert (burn.severity, burn.rule.long_s, burn.incidents) == ("page", 6 * 3_600, 1)
        assert burn.long == pytest.approx(30 * 20 / 360_000 / 0.001 + 0.25 * 120)
    made.incident("a2", 74 * HOUR)
    assert list(made.incidents) == ["a2"]


def test_after_an_incident_a_rate_below_the_rule_does_not_page_by_chance() -> None:
    rng = np.random.default_rng(2)
    for n in (50, 200, 1_000):
        for _ in range(60):
            made = BurnRates(0.001, 0.25)
            made.incident("a1", 0)
            for k in range(120):
                made.add(k * MINUTE, bad=int(rng.binomial(n, 0.004)), total=n)
                burn = made.judge((k + 1) * MINUTE)
                assert burn is None or burn.severity == "ticket"


def test_three_days_are_kept_and_no_more() -> None:
    made = rates(0.0, 24 * 5)
    assert len(made.dump()) == 3 * 24 * 60 + 1


def test_late_windows_count_where_they_belong_and_a_restart_changes_nothing() -> None:
    made = BurnRates(0.1)
    for at, bad in ((10, 1), (12, 2), (11, 4), (5, 8)):
        made.add(at * MINUTE, bad=bad, total=10)
    assert made.dump() == [[10 * MINUTE, 13, 30], [12 * MINUTE, 2, 10]]
    again = BurnRates(0.1)
    again.load(made.dump())
    assert again.rate(13 * MINUTE, 3_600) == made.rate(13 * MINUTE, 3_600) == (15 / 40 / 0.1, 15, 40)


def test_nothing_is_no_burn_and_nonsense_is_refused() -> None:
    assert BurnRates(0.1).judge(HOUR) is None
    with pytest.raises(ValueError, match="allowed must be between 0 and 1, got 0"):
        BurnRates(0)
