import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from detectors.membership.gauge import MembershipGauge, clopper_pearson
from detectors.state import StateError

Rows = tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.bool_]]


def service(members: int, others: int, *, leak: float, seed: int = 0) -> Rows:
    """Two classes; members are `leak` log-odds more confident in the true one."""
    rng = np.random.default_rng(seed)
    member = np.arange(members + others) < members
    p = 1 / (1 + np.exp(-(1 + leak * member + rng.logistic(size=len(member)))))
    y = rng.integers(0, 2, len(member))
    return np.where(y[:, None] == [0, 1], p[:, None], 1 - p[:, None]), y, member


def test_the_rates_are_those_of_the_attack_on_the_rows_themselves() -> None:
    scores, y, member = service(20_000, 20_000, leak=2.0)
    report = MembershipGauge.fit(scores, y, member).report()
    s = scores[np.arange(len(y)), y]
    threshold = np.quantile(s[~member], 0.99)
    assert report.at_1pct.true_positive_rate is not None
    assert report.at_01pct.true_positive_rate is not None
    assert report.at_1pct.true_positive_rate.value == pytest.approx((s[member] > threshold).mean(), abs=0.02)
    best = max(((s[member] >= t).mean() + (s[~member] < t).mean()) / 2 for t in np.quantile(s, np.linspace(0, 1, 200)))
    assert report.balanced_accuracy is not None
    assert report.balanced_accuracy.value == pytest.approx(best, abs=0.01)
    assert report.balanced_accuracy.low < best < report.balanced_accuracy.high
    assert report.tnr is not None
    assert report.tnr.value == pytest.approx((s[~member] < np.quantile(s[member], 0.01)).mean(), abs=0.02)
    right = scores.argmax(1) == y
    assert report.generalisation_gap == pytest.approx(right[member].mean() - right[~member].mean())


def test_a_model_that_leaks_nothing_stays_at_chance() -> None:
    shares = [MembershipGauge.fit(*service(300, 300, leak=0.0, seed=k)).report().balanced_accuracy for k in range(40)]
    values = [share.value for share in shares if share]
    assert abs(np.mean(values) - 0.5) < 0.01
    assert sum(share.low <= 0.5 <= share.high for share in shares if share) >= 36


def test_too_few_non_members_are_said_not_guessed() -> None:
    report = MembershipGauge.fit(*service(5000, 90, leak=2.0)).report()
    assert report.at_1pct.true_positive_rate is None
    assert report.at_1pct.reason == "1.0% needs 100 non-members and there are 90"
    assert "not measurable" in report.text()
    none = MembershipGauge.fit(*service(5000, 10, leak=2.0)).report()
    assert none.balanced_accuracy is None
    assert none.reason == "10 non-members, at least 50 are needed"
    assert MembershipGauge().report().text().startswith("Membership leakage is not measurable")


@pytest.mark.parametrize("others", [1000, 20_000])
def test_the_interval_at_a_low_rate_knows_that_the_threshold_is_estimated_too(others: int) -> None:
    # leak 2: members above the threshold that exactly 1 (0.1) % of all non-members pass; the logistic law says which share that is
    held, wide = {0.01: 0, 0.001: 0}, {0.01: 0.0, 0.001: 0.0}
    for seed in range(40):
        report = MembershipGauge.fit(*service(4000, others, leak=2.0, seed=seed)).report()
        for at in (report.at_1pct, report.at_01pct):
            rate, share = at.false_positive_rate, at.true_positive_rate
            assert share is not None
            truth = 1 / (1 + np.exp(np.log((1 - rate) / rate) - 2.0))
            coarser = 1 / (1 + np.exp(np.log((1 - rate) / rate) - 2.0 + 0.44))  # a whole bin up
            held[rate] += share.low <= truth and share.high >= coarser
            wide[rate] += (share.high - share.low) / 40
    assert held[0.01] >= 37
    assert held[0.001] >= 37
    assert wide[0.001] / 0.0073 > wide[0.01] / 0.069  # the rarer, the less is known of it


def test_the_text_calls_itself_a_lower_bound_and_never_safe() -> None:
    text = MembershipGauge.fit(*service(5000, 5000, leak=0.0)).report().text()
    assert text.startswith("A lower bound")
    assert "safe" not in text


def test_saturated_confidence_is_no_measurement() -> None:
    scores, y, member = service(2000, 2000, leak=1.0)
    scores[::10] = np.eye(2)[y[::10]]
    at = MembershipGauge.fit(scores, y, member).report().at_1pct
    assert at.true_positive_rate is None
    assert at.reason == "10.0% of the non-members have the highest confidence there is"


@given(st.integers(0, 300), st.integers(0, 2**32))
def test_merged_gauges_count_every_row_once(cut: int, seed: int) -> None:
    scores, y, member = service(150, 150, leak=1.0, seed=seed)
    whole, first, second = MembershipGauge.fit(scores, y, member), MembershipGauge(), MembershipGauge()
    first.add(scores[:cut], y[:cut], member[:cut])
    second.add(scores[cut:], y[cut:], member[cut:])
    first.merge(second)
    assert np.array_equal(first.counts.sum(1), whole.counts.sum(1))
    assert np.array_equal(first.correct, whole.correct)


@given(st.lists(st.integers(0, 300), max_size=4), st.integers(0, 2**32))
def test_how_rows_are_cut_into_batches_changes_nothing(cuts: list[int], seed: int) -> None:
    scores, y, member = service(150, 150, leak=1.0, seed=seed)
    gauge = MembershipGauge()
    for part in np.split(np.arange(300), sorted(cuts)):
        gauge.add(scores[part], y[part], member[part])
    assert gauge.to_bytes() == MembershipGauge.fit(scores, y, member).to_bytes()


def test_unusable_rows_are_counted() -> None:
    scores = np.array([[0.2, np.nan], [0.5, 0.5], [2.0, 0.1], [0.1, 0.9]])
    gauge = MembershipGauge.fit(scores, np.array([1, 7, 0, 1]), np.array([True, True, False, False]))
    assert gauge.ignored == 3
    assert gauge.counts.sum() == 1


def test_bytes_come_back_and_foreign_ones_are_refused() -> None:
    gauge = MembershipGauge.fit(*service(100, 100, leak=1.0))
    assert MembershipGauge.from_bytes(gauge.to_bytes()).report() == gauge.report()
    with pytest.raises(StateError):
        MembershipGauge.from_bytes(b"\x93junk")


def test_shapes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="must be"):
        MembershipGauge.fit(np.ones((3, 2)), np.zeros(2, int), np.ones(3, bool))
    with pytest.raises(ValueError, match="no share"):
        clopper_pearson(3, 2)


def test_clopper_pearson_agrees_with_the_textbook() -> None:
    assert clopper_pearson(8, 10) == pytest.approx((0.4439, 0.9748), abs=1e-4)
