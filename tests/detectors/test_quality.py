"""Malformed, late and lost input is news when it changes; lost telemetry is counted, silence pages."""

from collections.abc import Iterator

import numpy as np
import pytest

from detectors.completeness import Completeness
from detectors.groups import GROUPS
from detectors.quality import ALL_KINDS, KINDS, QualityCounts, QualityDetector, QualityReport
from detectors.state import pack, unpack


def run(detector: QualityDetector, rates: list[float], n: int = 500, seed: int = 1) -> list[QualityReport]:
    """One window per rate of missing values."""
    rng = np.random.default_rng(seed)
    reports = []
    for rate in rates:
        counts, clients = QualityCounts(), rng.integers(0, 2**63, n).astype(np.uint64)
        counts.see(clients)
        counts.fault("missing", clients[: rng.binomial(n, rate)])
        reports.append(detector.update(counts))
    return reports


def detector() -> QualityDetector:
    return QualityDetector(false_pages=1, windows=8640)


def test_a_service_that_always_leaves_a_field_empty_is_no_news() -> None:
    assert not any(report.opened for report in run(detector(), [0.3] * 200))


@pytest.mark.parametrize("usual", [0.0003, 0.001, 0.003])
@pytest.mark.parametrize("n", [2_000, 20_000])
def test_a_small_rate_that_stands_still_is_no_ticket(usual: float, n: int) -> None:
    assert {report.severity for report in run(detector(), [usual] * 100, n=n)} == {"none"}


@pytest.mark.parametrize("usual", [0.0, 0.01, 0.2])
def test_a_rate_that_rises_pages_and_names_the_kind(usual: float) -> None:
    reports = run(detector(), [usual] * 50 + [min(1.0, usual * 3 + 0.1)] * 5)
    assert not any(report.opened for report in reports[:50])
    assert any(report.opened for report in reports)
    assert reports[-1].leading == ("missing",)
    assert reports[-1].rates["missing"] > reports[-1].usual["missing"]
    assert reports[-1].since >= 49


def test_a_small_rise_is_a_ticket_however_sure() -> None:
    reports = run(detector(), [0.01] * 50 + [0.05] * 40, n=2_000)
    assert reports[-1].severity == "ticket"
    assert not any(report.opened for report in reports)
    assert reports[-1].log_evidence > detector().sr.log_page


def test_a_rise_that_becomes_large_pages_once() -> None:
    reports = run(detector(), [0.01] * 50 + [0.05] * 20 + [0.5] * 20, n=2_000)
    assert [k for k, report in enumerate(reports) if report.opened] == [70]
    assert reports[-1].severity == "page"


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


def windows(rng: np.random.Generator, shares: list[float], broken: list[int], number: int) -> Iterator[QualityCounts]:
    """Traffic of clients with these shares, 1 % of it with a missing value, and half of that of the broken ones."""
    for _ in range(number):
        counts, client = QualityCounts(), rng.choice(len(shares), 400, p=shares)
        missing = rng.random(400) < np.where(np.isin(client, broken), 0.5, 0.01)
        hashes = rng_hashes[client]
        counts.see(hashes)
        counts.fault("missing", hashes[missing])
        yield counts


rng_hashes = np.random.default_rng(9).integers(1, 2**63, 64).astype(np.uint64)


@pytest.mark.parametrize(("broken", "expected"), [([0], "none"), ([3, 17], "none"), (list(range(20)), "page")])
def test_one_clients_broken_requests_are_no_news_about_the_service_those_of_many_are(broken: list[int], expected: str) -> None:
    watch, rng = detector(), np.random.default_rng(5)
    shares = [1 / 64] * 64
    for counts in windows(rng, shares, [], 40):
        assert watch.update(counts).severity == "none"
    assert [watch.update(counts).severity for counts in windows(rng, shares, broken, 8)][-1] == expected


def test_a_client_who_is_most_of_the_service_is_not_left_out() -> None:
    watch, rng = detector(), np.random.default_rng(5)
    shares = [0.7, 0.1, 0.1, 0.1]
    for counts in windows(rng, shares, [], 40):
        assert watch.update(counts).severity == "none"
    assert [watch.update(counts).severity for counts in windows(rng, shares, [0], 8)][-1] == "page"


def gaps(lost: list[int], sent: int = 2_048, seed: int = 1) -> list[QualityReport]:
    """One window for each number of lost events, its requests without a fault."""
    watch, rng, reports = detector(), np.random.default_rng(seed), []
    for n in lost:
        counts = QualityCounts()
        counts.see(rng.integers(0, 2**63, 500).astype(np.uint64))
        reports.append(watch.update(counts, lost=n, sent=sent if n >= 0 else 0))
    return reports


def test_a_gap_that_stays_pages_one_of_a_window_or_a_small_one_does_not() -> None:
    usual = np.random.default_rng(4).poisson(2, 60).tolist()
    assert not any(report.severity == "page" for report in gaps([*usual, 1_500, *usual]))
    small = gaps(usual + [60] * 40)
    assert (small[-1].severity, small[-1].leading) == ("ticket", ("gap",))
    reports = gaps(usual + [400] * 10)
    (opened,) = (k for k, report in enumerate(reports) if report.opened)
    assert 61 < opened < 67
    assert reports[-1].leading == ("gap",)
    assert reports[-1].rates["gap"] == pytest.approx(1e4 * 400 / 2_048)


def test_windows_in_which_no_gap_could_be_known_leave_its_evidence_as_it_was() -> None:
    watch = detector()
    counts = QualityCounts()
    counts.see(rng_hashes)
    for _ in range(20):
        watch.update(counts, lost=0, sent=1_024)
    watch.update(counts, lost=300, sent=1_024)
    before = watch.sr.log_r.reshape(3, -1)[:, -1].copy()
    watch.update(counts)
    np.testing.assert_allclose(watch.sr.log_r.reshape(3, -1)[:, -1], before)
    with pytest.raises(ValueError, match="lost"):
        watch.update(counts, lost=3, sent=2)


def test_what_was_kept_before_there_were_late_events_and_gaps_goes_on() -> None:
    watch = detector()
    run(watch, [0.01] * 30 + [0.05] * 3)
    body = unpack(watch.snapshot(), "quality.detector", 2)
    old = body | {name: body[name][:9] for name in ("hits", "misses", "squares", "alone", "pairs")}
    old["sr"] = body["sr"] | {name: body["sr"][name].reshape(3, -1)[:, :9].ravel() for name in ("log_r", "cusum", "since")}
    again = detector()
    again.restore(pack("quality.detector", 2, old))
    np.testing.assert_array_equal(watch.sr.log_r.reshape(3, -1)[:, :9], again.sr.log_r.reshape(3, -1)[:, :9])
    a, b = (one.update(counts) for one in (watch, again) for counts in [QualityCounts()])
    assert a.usual["missing"] == b.usual["missing"]
    leaf = unpack(QualityCounts().to_bytes(), "quality.counts", 2)
    assert QualityCounts.from_bytes(pack("quality.counts", 2, leaf | {"hits": leaf["hits"][:9]})).hits.shape == (len(KINDS), GROUPS)


def test_all_kinds_together_keep_the_budget_of_one_detector() -> None:
    assert np.exp(detector().sr.log_weights).sum() == pytest.approx(1.0)
    assert len(detector().sr.log_weights) == 3 * len(ALL_KINDS)


def test_impossible_counts_are_refused() -> None:
    hits = np.zeros((len(KINDS), GROUPS), np.int64)
    more, less = hits.copy(), hits.copy()
    more[0, 3], less[0, 3] = 6, -1
    received = np.full(GROUPS, 5)
    for wrong in ((received, more), (received, less), (-received, hits), (received, hits[:, :3]), (5, hits)):
        with pytest.raises(ValueError, match="must"):
            QualityCounts().update(*wrong)


def test_a_kind_that_is_not_judged_is_not_counted() -> None:
    counts = QualityCounts()
    counts.fault("wrong_scores", rng_hashes)
    assert not counts.hits.any()


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


@pytest.mark.parametrize(("events", "rate"), [(5, 0.03), (5, 0.1), (20, 0.0)])
def test_small_services_that_always_were_so_are_quiet_for_a_month_also_where_producers_give_no_running_numbers(
    events: int, rate: float
) -> None:
    """What has nothing to judge (nobody says how many were sent) gains no evidence by time alone: it was a ticket after a fortnight."""
    watch, rng = detector(), np.random.default_rng(6)
    clients = rng.integers(1, 2**63, 4_000).astype(np.uint64)
    said = []
    for _ in range(8_640):
        counts, hashes = QualityCounts(), clients[rng.integers(0, 4_000, events)]
        counts.see(hashes)
        counts.fault("missing", hashes[rng.random(events) < rate])
        said.append(watch.update(counts).severity)
    assert said.count("page") == 0
    assert said.count("ticket") < 100  # a hundred tickets a month are allowed here
