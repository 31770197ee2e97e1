"""Malformed input is news when it changes; lost telemetry is counted, silence pages."""

import numpy as np
import pytest

from detectors.completeness import Completeness
from detectors.quality import KINDS, QualityCounts, QualityDetector, QualityReport


def run(detector: QualityDetector, rates: list[float], n: int = 500, seed: int = 1) -> list[QualityReport]:
    """One window per rate of missing values."""
    rng = np.random.default_rng(seed)
    reports = []
    for rate in rates:
        counts, hits = QualityCounts(), np.zeros(len(KINDS), np.int64)
        hits[0] = rng.binomial(n, rate)
        counts.update(n, hits)
        reports.append(detector.update(counts))
    return reports


def detector() -> QualityDetector:
    return QualityDetector(false_pages=1, windows=8640)


def test_a_service_that_always_leaves_a_field_empty_is_no_news() -> None:
    assert not any(report.opened for report in run(detector(), [0.3] * 200))


@pytest.mark.parametrize("usual", [0.0, 0.01, 0.2])
def test_a_rate_that_rises_pages_and_names_the_kind(usual: float) -> None:
    reports = run(detector(), [usual] * 50 + [min(1.0, usual * 3 + 0.1)] * 5)
    assert not any(report.opened for report in reports[:50])
    assert any(report.opened for report in reports)
    assert reports[-1].leading == ("missing",)
    assert reports[-1].rates["missing"] > reports[-1].usual["missing"]
    assert reports[-1].since >= 49


def test_a_single_burst_opens_no_page() -> None:
    reports = run(detector(), [0.001] * 50 + [0.9] + [0.001] * 20)
    assert not any(report.opened for report in reports)


def test_a_wandering_rate_stays_within_the_budget() -> None:
    rng = np.random.default_rng(3)
    rates = 0.02 * np.exp(0.25 * rng.normal(size=3_000))
    assert sum(report.opened for report in run(detector(), rates.tolist())) == 0


def test_after_a_reset_the_present_level_is_normal() -> None:
    watch = detector()
    run(watch, [0.01] * 30 + [0.5] * 5)
    watch.reset()
    assert not any(report.severity == "page" for report in run(watch, [0.5] * 30)[5:])


def test_impossible_counts_are_refused() -> None:
    for received, hits in ((5, [6] + [0] * 8), (5, [-1] + [0] * 8), (-1, [0] * 9), (5, [0])):
        with pytest.raises(ValueError, match="must"):
            QualityCounts().update(received, hits)


def test_every_event_that_got_lost_is_counted_whatever_the_order_of_arrival() -> None:
    watch = Completeness(silent_after_s=60)
    for lowest, highest, received in ((501, 1000, 450), (1, 500, 500)):  # two partitions of one instance
        watch.update("a", received=received, lowest=lowest, highest=highest, dropped=20, at_s=10)
    report = watch.close(20)
    assert (report.missing, report.dropped, report.received, report.produced) == (50, 20, 950, 1000)
    assert report.share == pytest.approx(950 / 1020)
    assert report.severity == "ticket"


def test_an_instance_joined_in_mid_stream_owes_nothing_from_before() -> None:
    watch = Completeness()
    watch.update("a", received=100, lowest=9_901, highest=10_000, dropped=7, at_s=0)
    assert (watch.close(1).share, watch.close(1).severity) == (1.0, "none")
    watch.update("a", received=99, lowest=10_001, highest=10_100, dropped=8, at_s=2)
    assert (watch.close(3).missing, watch.close(3).dropped) == (1, 1)


def test_a_silent_instance_is_named_and_a_silent_model_pages() -> None:
    watch = Completeness(silent_after_s=60, forget_after_s=1000)
    for name in ("b", "a"):
        watch.update(name, received=1, lowest=1, highest=1, dropped=0, at_s=0)
    watch.update("a", received=0, lowest=1, highest=1, dropped=0, at_s=50)
    report = watch.close(100)
    assert (report.silent, report.severity) == (("b",), "none")
    assert watch.close(200).severity == "page"
    assert watch.close(2000).silent == ()


def test_an_instance_that_said_goodbye_is_not_silent_but_its_losses_count() -> None:
    watch = Completeness(silent_after_s=60)
    watch.update("a", received=8, lowest=1, highest=10, dropped=0, at_s=0)
    watch.stopped("a")
    report = watch.close(500)
    assert (report.severity, report.missing, report.silent) == ("ticket", 2, ())


def test_instances_beyond_the_cap_are_counted_and_nonsense_is_refused() -> None:
    watch = Completeness(max_instances=1)
    for name in ("a", "b", "c"):
        watch.update(name, received=1, lowest=1, highest=1, dropped=0, at_s=0)
    assert (watch.close(1).instances, watch.close(1).untracked) == (1, 2)
    with pytest.raises(ValueError, match="impossible"):
        watch.update("a", received=1, lowest=5, highest=3, dropped=0, at_s=0)
    with pytest.raises(ValueError, match="silent_after_s"):
        Completeness(silent_after_s=0)
    with pytest.raises(ValueError, match="max_instances"):
        Completeness(max_instances=0)
