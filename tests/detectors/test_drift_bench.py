"""The drift benchmark's laws and bounds are what it says they are."""

import zipfile
from pathlib import Path

import numpy as np
import pytest

from bench.drift import delays
from bench.drift_flights import read
from bench.drift_laws import CHANGES, LAWS, NONE, Change, Law
from bench.drift_months import clopper_pearson
from bench.drift_river import AFTER, CHANGE, STREAMS, rows_of

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


def test_flights_are_read_in_order_of_departure_with_missing_values_and_categories(tmp_path: Path) -> None:
    columns = "year,month,day,dep_time,sched_dep_time,dep_delay,arr_time,sched_arr_time,arr_delay,carrier,flight,tailnum,origin,dest,"
    columns += "air_time,distance,hour,minute,time_hour"
    lines = [
        "2013,3,1,517,515,2,830,819,11,UA,1545,N14228,EWR,IAH,227,1400,5,15,x",
        "2013,1,1,NA,600,NA,NA,700,NA,AA,1,NA,JFK,MIA,NA,1089,6,0,x",
    ]
    path = tmp_path / "flights.csv.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("flights.csv", "\n".join([columns, *lines]))
    flights = read(path)
    assert flights.at_s.astype("datetime64[s]").astype(str).tolist() == ["2013-01-01T06:00:00", "2013-03-01T05:15:00"]
    assert np.isnan(flights.X[0, :3]).all()
    assert flights.X[1, :4].tolist() == [2, 11, 227, 1400]
    assert [flights.categories["dest"][int(code)] for code in flights.X[:, -1]] == ["MIA", "IAH"]


def test_a_generated_stream_changes_where_it_says() -> None:
    abrupt, gradual = STREAMS[1], STREAMS[2]
    X, y = rows_of(abrupt, 3)
    assert (X.shape, y.shape) == ((CHANGE + AFTER, 10), (CHANGE + AFTER,))
    before = abrupt.before(3).take(CHANGE)
    assert np.array_equal(X[:CHANGE], np.array([list(x.values()) for x, _ in before], np.float32))
    slow, _ = rows_of(gradual, 3)
    assert np.array_equal(slow[:CHANGE], X[:CHANGE])
    old, new = X[:CHANGE].mean(axis=0), X[CHANGE:].mean(axis=0)
    early, late = slow[CHANGE : CHANGE + 1_000].mean(axis=0), slow[-5_000:].mean(axis=0)
    assert np.abs(early - old).max() < 0.05 < np.abs(new - old).max()
    assert np.abs(late - new).max() < 0.05
