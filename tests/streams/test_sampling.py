"""A few events of each window are kept, whatever the batches, and those that tipped a scale; their size is bounded."""

import dataclasses
import itertools

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inferwatch import EventColumns, Strings
from schemas.rows import SampledEventRow
from streams.clickhouse import ClickHouse
from streams.duplicates import keys_of
from streams.migrate import migrate
from streams.sampling import MAX_FEATURES, Sampler
from tests.streams.events import START, events


def offer(sampler: Sampler, batch: EventColumns, rows: "range | None" = None, start_ns: int = START) -> None:
    at = np.array(list(rows if rows is not None else range(len(batch))), np.intp)
    sampler.offer(start_ns, batch, at, batch.at_ns[at], keys_of(batch)[at])


def closed(sampler: Sampler, start_ns: int = START) -> list[SampledEventRow]:
    rows: list[SampledEventRow] = []
    sampler.close(start_ns, rows.append)
    return rows


@settings(deadline=None)
@given(cuts=st.lists(st.integers(1, 199), max_size=5, unique=True))
def test_the_sample_does_not_depend_on_how_events_were_cut_into_batches(cuts: list[int]) -> None:
    batch = events(200)
    whole, parts = Sampler(10, True), Sampler(10, True)
    offer(whole, batch)
    edges = [0, *sorted(cuts), 200]
    for a, b in itertools.pairwise(edges):
        offer(parts, batch, range(a, b))
    assert closed(whole) == closed(parts)


def test_every_event_has_the_same_chance() -> None:
    kept = []
    for run in range(60):
        sampler = Sampler(20, False)
        offer(sampler, events(500, instance=f"shop-{run}"))
        kept += [row.at for row in closed(sampler)]
    assert len(kept) == 1_200
    early = np.mean(np.array(kept) < START + 25 * 10**9)  # the first half of 50 s
    assert abs(early - 0.5) < 0.06


def test_events_without_identity_do_not_crowd_out_the_others() -> None:
    sampler = Sampler(50, False)
    offer(sampler, events(500, instance="numbered"))
    offer(sampler, dataclasses.replace(events(500, instance="nameless"), number=np.full(500, -1)))
    instances = [row.instance for row in closed(sampler)]
    assert 10 < instances.count("numbered") < 40


def test_windows_have_samples_of_their_own_and_close_once() -> None:
    sampler = Sampler(3, True)
    offer(sampler, events(10))
    offer(sampler, events(10, number=10), start_ns=START + 1)
    assert len(closed(sampler)) == 3
    assert closed(sampler) == []
    assert len(closed(sampler, START + 1)) == 3


def test_a_size_of_none_keeps_none_not_even_evidence() -> None:
    sampler, rows = Sampler(0, True), list[SampledEventRow]()
    offer(sampler, events(10))
    sampler.keep(events(1), 0, START, rows.append)
    assert closed(sampler) == rows == []


@pytest.mark.clickhouse
def test_evidence_that_was_drawn_at_random_too_stays_evidence(clickhouse: ClickHouse) -> None:
    migrate(clickhouse)
    sampler, batch = Sampler(32, True), events(20)
    out: list[SampledEventRow] = []
    sampler.keep(batch, 3, int(batch.at_ns[3]), out.append)
    offer(sampler, batch)
    out += closed(sampler)
    for k, row in enumerate(out):  # the random one comes later, when the window closes
        clickhouse.insert([row], f"row {k}")
    found = clickhouse.query("SELECT event_id, reason FROM sampled_events FINAL WHERE reason = 'evidence'")
    assert found == [{"event_id": out[0].event_id, "reason": "evidence"}]
    assert clickhouse.query("SELECT count() AS n FROM sampled_events FINAL") == [{"n": 20}]


def test_a_kept_event_says_what_was_asked_and_answered() -> None:
    rows: list[SampledEventRow] = []
    batch = events(
        1, names=("age", "income"), numeric=np.array([[41.0, np.nan]], np.float32), category_names=("city", "job"),
        categories=(Strings.of(["Köln"]), Strings.of([None])), scores=np.array([[0.25, np.inf]], np.float32),
        prediction=Strings.of(["no"]), event_id=Strings.of(["é1"]), trace_id=Strings.of(["t"]),
    )  # fmt: skip
    Sampler(1, True).keep(batch, 0, START, rows.append)
    (row,) = rows
    assert (row.features, row.categories, row.scores) == ({"age": 41.0}, {"city": "Köln"}, [0.25, 0.0])
    assert (row.event_id, row.trace_id, row.prediction, row.reason, row.status) == ("é1", "t", "no", "evidence", "ok")
    assert msgspec.json.encode(row)


def test_features_stay_at_home_when_the_settings_say_so() -> None:
    rows: list[SampledEventRow] = []
    Sampler(1, False).keep(events(1), 0, START, rows.append)
    assert (rows[0].features, rows[0].categories) == ({}, {})


def test_a_picture_of_thousands_of_pixels_is_cut() -> None:
    rows: list[SampledEventRow] = []
    Sampler(1, True).keep(events(1, names=(), numeric=np.zeros((1, 4_000), np.float32)), 0, START, rows.append)
    assert len(rows[0].features) == MAX_FEATURES


def test_a_restored_sampler_goes_on_as_if_nothing_had_happened() -> None:
    whole, first, second = Sampler(5, True), Sampler(5, True), Sampler(5, True)
    for one in (whole, first):
        offer(one, events(20))
    second.load(first.dump())
    for one in (whole, second):
        offer(one, events(20, number=20))
    assert closed(whole) == closed(second)


def test_only_allowed_features_are_kept_whatever_their_kind_and_place() -> None:
    rows: list[SampledEventRow] = []
    batch = events(1, category_names=("city", "email"), categories=(Strings.of(["Oslo"]), Strings.of(["a@example.com"])))
    Sampler(1, True, ("income", "city", "unknown")).keep(batch, 0, START, rows.append)
    Sampler(1, True).keep(batch, 0, START, rows.append)
    allowed, everything = rows
    assert set(allowed.features) == {"income"}
    assert allowed.features["income"] == everything.features["income"]
    assert allowed.categories == {"city": "Oslo"}
    assert set(everything.categories) == {"city", "email"}


def test_an_allowed_feature_beyond_the_bound_is_kept() -> None:
    rows: list[SampledEventRow] = []
    wide = events(1, names=(), numeric=np.arange(4_000, dtype=np.float32)[None])
    Sampler(1, True, ("3999", "7")).keep(wide, 0, START, rows.append)
    assert rows[0].features == {"7": 7.0, "3999": 3999.0}


def test_a_kept_event_says_where_its_features_came_from_and_how_old_they_were() -> None:
    batch = dataclasses.replace(
        events(4), feature_view=Strings.of(["customers:3", None, "customers:3", "x"]),
        feature_age_s=np.array([60.0, np.nan, np.inf, -1.0], np.float32),
    )  # fmt: skip
    sampler = Sampler(10, False)
    offer(sampler, batch)
    again = Sampler(10, False)
    again.load(sampler.dump())
    kept = sorted(closed(again), key=lambda row: row.at)
    assert [(row.feature_view, row.feature_age_s) for row in kept] == [
        ("customers:3", 60.0),
        ("", None),
        ("customers:3", None),
        ("x", -1.0),
    ]
    plain = Sampler(1, False)
    offer(plain, events(1))
    assert [(row.feature_view, row.feature_age_s) for row in closed(plain)] == [("", None)]
