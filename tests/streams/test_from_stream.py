"""Rows from the stream: those that a file would have given, drawn evenly, the same however they come; what is left out is said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from inferwatch import EventColumns, Label, Strings
from schemas.forget import Forget
from streams.build import BuildError, build
from streams.from_stream import Gathered, Sample
from streams.settings import Clock
from streams.tables import Meta, TableError, read_reference
from tests.streams.events import NS, START, events

DAY = 86_400.0


def sample(*batches: EventColumns, rows: int = 100_000, seed: int = 0, first_s: float = 0, last_s: float = 30 * DAY, **more: Any) -> Sample:
    one = Sample(
        "m", "1", rows=rows, first_ns=START + round(first_s * NS), last_ns=START + round(last_s * NS), seed=seed, clock=Clock(), **more
    )
    for offset, batch in enumerate(batches):
        one.add(batch, int(batch.at_ns.max()), offset % 4, offset)
    return one


def mixed(n: int, *, seed: int = 1, start_s: float = 0.0, rate: float = 10.0, number: int = 0, **more: Any) -> EventColumns:
    """Events with a category, as a service sends them."""
    cities = Strings.of([("Köln", "Porto", None, "Łódź")[k % 4] for k in np.random.default_rng(seed).integers(0, 4, n)])
    return events(n, seed=seed, start_s=start_s, rate=rate, number=number, **{"category_names": ("city",), "categories": (cities,)} | more)


def same(one: Gathered, other: Gathered) -> bool:
    return all(
        np.array_equal(getattr(one.rows, name), getattr(other.rows, name), equal_nan=True) for name in ("X", "scores", "at_s", "latency_ms")
    ) and one.rows.features == other.rows.features  # fmt: skip


def test_a_reference_from_the_stream_is_the_one_from_a_file_of_the_same_rows_part_by_part(tmp_path: Path) -> None:
    n = 4_800  # six days, so that there is a certificate
    whole = mixed(n, rate=n / (6 * DAY), latency_ms=np.random.default_rng(7).gamma(3, 2, n).astype(np.float32))
    truth = np.where(np.random.default_rng(9).random(n) < whole.scores[:, 1], "yes", "no")  # type: ignore[index]
    one = sample(*(whole.take(slice(a, a + 500)) for a in range(0, n, 500)))
    for k in range(0, n, 2):
        one.label(Label(model="m", event_id=whole.id_of(k), truth=str(truth[k])))
    assert whole.scores is not None
    table = {name: whole.numeric[:, j] for j, name in enumerate(whole.names)} | {
        "city": pa.array([whole.categories[0][k] for k in range(n)]),
        "prob_no": whole.scores[:, 0],
        "prob_yes": whole.scores[:, 1],
        "y": pa.array([str(truth[k]) if k % 2 == 0 else None for k in range(n)]),
        "latency_ms": whole.latency_ms,
        "ts": whole.at_ns / NS,
    }
    pq.write_table(pa.table(table), tmp_path / "rows.parquet")
    read = read_reference(tmp_path / "rows.parquet", Meta())
    gathered = one.gathered()
    from_file = build("m", "1", read, built_at_ns=0, drift_pages=0.35)
    from_stream = build("m", "1", gathered.rows, built_at_ns=0, drift_pages=0.35, source="stream")
    assert set(from_stream.reference.parts) == {"accuracy", "drift", "evidence", "exposure", "swarm", "triggers"}
    for name, part in from_file.reference.parts.items():
        assert from_stream.reference.parts[name] == part, name
    assert from_stream.reference.id == from_file.reference.id
    assert from_stream.notes == from_file.notes
    assert gathered.origin == "4,800 of 4,800 events from 2027-01-15 08:00Z to 2027-01-21 07:58Z, seed 0"
    assert f"{n // 2:,} of the rows have a label" in gathered.notes


def test_values_of_a_regression_come_too() -> None:
    value = np.random.default_rng(2).normal(size=300)
    rows = sample(events(300, scores=None, score_names=(), value=value)).gathered().rows
    assert (rows.scores, rows.classes, rows.y) == (None, (), None)
    assert np.array_equal(rows.value, value)  # type: ignore[arg-type]


def test_the_sample_is_the_same_in_whatever_order_and_however_often_events_come() -> None:
    batches = [mixed(500, seed=k, start_s=50 * k, number=500 * k) for k in range(40)]
    first = sample(*batches, rows=1_000, seed=5).gathered()
    assert len(first.rows.X) == 1_000
    assert same(first, sample(*reversed(batches), rows=1_000, seed=5).gathered())
    again = sample(*batches, *batches[:20], rows=1_000, seed=5).gathered()
    assert same(first, again)
    other = sample(*batches, rows=1_000, seed=6).gathered()
    assert len(np.intersect1d(np.asarray(first.rows.at_s), np.asarray(other.rows.at_s))) < 100  # 50 of 20,000 are in both by chance


def test_the_sample_is_even_over_time() -> None:
    batches = [events(500, seed=k, start_s=50 * k, number=500 * k) for k in range(100)]
    at_s = sample(*batches, rows=5_000).gathered().rows.at_s
    tenths = np.histogram(np.asarray(at_s) - START / NS, bins=10, range=(0, 5_000))[0]
    assert len(np.asarray(at_s)) == 5_000
    assert tenths.min() > 400  # 500 expected, sd 20


def test_memory_is_bounded_by_the_rows_that_are_kept() -> None:
    one = sample(rows=300)
    for k in range(200):
        one.add(mixed(100, seed=k, start_s=10 * k, number=100 * k), START + NS * 10 * (k + 1))
        assert one._n <= 2 * 300 + 100
    assert sum(len(c["rank"]) for chunks in one._held.values() for c in chunks) <= 700


def test_a_producer_that_makes_features_up_does_not_fill_the_memory() -> None:
    one = sample(*(events(10, number=10 * k) for k in range(4_000)))
    for k in range(400):
        one.add(events(5, number=10**6 + 5 * k, names=("age", "income", f"made-up-{k}")), START + 9 * NS)
    assert len(one._held) == 256
    notes = one.gathered().notes
    assert "1,275 of 41,275 rows have other features or scores" in notes[0]
    assert "725 more have features or scores of their own; 256 such sets are looked at" in notes


def test_events_without_an_id_are_told_apart() -> None:
    batch = events(300, number=0)
    nameless = EventColumns(**{f: getattr(batch, f) for f in batch.__slots__} | {"number": np.full(300, -1)})
    assert len(sample(nameless, nameless).gathered().rows.X) == 600


def test_only_answered_events_of_that_time_and_of_clocks_that_are_right_count() -> None:
    refused = events(300, status=np.full(300, 3, np.uint8))
    early, late = events(300, start_s=0), events(300, start_s=5_000, number=300)
    inside = events(300, start_s=1_000, number=600)
    wrong = events(300, start_s=1_000, number=900)
    one = sample(refused, early, inside, late, first_s=1_000, last_s=2_000)
    one.add(wrong, START)  # Kafka took it a quarter of an hour before it happened
    gathered = one.gathered()
    assert len(gathered.rows.X) == 300
    assert np.asarray(gathered.rows.at_s).min() == START / NS + 1_000
    timeless = events(300, at_ns=np.full(300, -1))
    one = sample()
    one.add(timeless, START + 7 * NS)
    assert set(np.asarray(one.gathered().rows.at_s)) == {START / NS + 7}


def test_events_of_clients_that_are_left_out_do_not_become_the_reference() -> None:
    batch = events(2_000, clients=5)
    attacker = np.array([batch.client[k] == "c3" for k in range(2_000)])
    spoiled = EventColumns(
        **{f: getattr(batch, f) for f in batch.__slots__} | {"numeric": np.where(attacker[:, None], np.float32(9), batch.numeric)}
    )
    assert (sample(spoiled).gathered().rows.X == 9).any()
    gathered = sample(spoiled, without={"c3", "nobody"}).gathered()
    assert not (gathered.rows.X == 9).any()
    assert len(gathered.rows.X) == 2_000 - attacker.sum()
    assert f"{attacker.sum():,} events of clients that were named, or have alerts or verdicts, are left out" in gathered.notes


def test_who_was_erased_after_delivery_is_in_no_reference() -> None:
    batch = events(2_000, clients=5)
    mine = sum(batch.client[k] == "c3" for k in range(2_000))
    one = sample(batch)
    one.forget(Forget(client="c3", model="another"))
    assert len(one.gathered().rows.X) == 2_000
    one.forget(Forget(client="c3"))
    first = next(k for k in range(2_000) if batch.client[k] != "c3")
    one.forget(Forget(event_id=batch.id_of(first)))
    assert len(one.gathered().rows.X) == 2_000 - mine - 1


def test_the_first_label_of_an_event_counts_and_strange_ones_are_said() -> None:
    batch = events(300)
    one = sample(batch)
    for k, truths in enumerate((("yes", "no"), ("maybe",), (True,))):
        for truth in truths:
            one.label(Label(model="m", event_id=batch.id_of(k), truth=truth))
    one.label(Label(model="m", event_id=batch.id_of(5), truth="yes", version="2"))
    one.label(Label(model="other", event_id=batch.id_of(6), truth="yes"))
    one.label(Label(model="m", event_id="shop-1:99999", truth="yes"))
    gathered = one.gathered()
    assert gathered.rows.y is not None
    assert gathered.rows.y[:7].tolist() == [1, -1, -1, -1, -1, -1, -1]
    assert "1 of the rows have a label, 2 one that is none of the classes" in gathered.notes


def test_a_few_events_of_another_schema_are_left_out_and_named() -> None:
    odd = events(20, number=900, names=("age", "income", "shoe"))
    gathered = sample(events(300), odd).gathered()
    assert [feature.name for feature in gathered.rows.features] == ["age", "income", "score"]
    assert len(gathered.rows.X) == 300
    (note,) = gathered.notes
    assert "20 of 320 rows have other features or scores and are left out" in note
    assert "6.2%: without score, with shoe; scores: no, yes" in note


def test_many_of_another_schema_are_refused_until_the_features_are_named() -> None:
    more = mixed(300, number=900)
    one = sample(events(300), more)
    with pytest.raises(BuildError, match=r"(?s)different features.*50.0%: 3 features \(age, income, score\).*with city.*--features"):
        one.gathered()
    named = one.gathered(["income", "age"])
    assert [feature.name for feature in named.rows.features] == ["income", "age"]
    assert len(named.rows.X) == 600
    with_city = one.gathered(["city", "age"])
    assert len(with_city.rows.X) == 300
    assert "300 of 600 rows have other features" in with_city.notes[0]
    assert with_city.rows.features[0].categories == ("Köln", "Porto", "Łódź")
    with pytest.raises(BuildError, match=r"(?s)no event of m 1 has all of age, shoe. They came as.*3 features"):
        one.gathered(["age", "shoe"])


def test_the_order_and_kind_in_which_features_come_do_not_matter() -> None:
    batch = mixed(300)
    turned = mixed(200, seed=2, number=300, names=("score", "age", "income"))
    sent_as_text = mixed(20, seed=3, number=600)
    text = EventColumns(
        **{f: getattr(sent_as_text, f) for f in batch.__slots__}
        | {
            "names": ("income", "score"),
            "numeric": sent_as_text.numeric[:, 1:],
            "category_names": ("age", "city"),
            "categories": (Strings.of([f"{v:g}" for v in sent_as_text.numeric[:, 0]]), *sent_as_text.categories),
        }
    )
    rows = sample(batch, turned, text).gathered().rows
    assert [(feature.name, feature.kind) for feature in rows.features] == [
        ("age", "numeric"), ("income", "numeric"), ("score", "numeric"), ("city", "categorical"),
    ]  # fmt: skip
    assert len(rows.X) == 520
    assert any(np.allclose(row[:3], np.append(turned.numeric[0, 1:], turned.numeric[0, 0])) for row in rows.X)
    assert any(np.allclose(row[:3], sent_as_text.numeric[4], rtol=1e-4) for row in rows.X)


def test_the_commonest_categories_are_known_and_the_rest_is_unseen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streams.from_stream.MAX_CATEGORIES", 2)
    cities = Strings.of([("a", "b", "b", "c", "c", None)[k % 6] for k in range(600)])
    gathered = sample(events(600, category_names=("city",), categories=(cities,))).gathered()
    assert gathered.rows.features[3].categories == ("b", "c")
    assert np.nanmax(gathered.rows.X[:, 3]) == 2  # unseen
    assert "city has 3 values; the commonest 2 are known, others count as unseen" in gathered.notes


def test_features_by_position_take_names_and_facts_from_the_meta() -> None:
    batch = events(300, names=())
    assert [feature.name for feature in sample(batch).gathered().rows.features] == ["f0", "f1", "f2"]
    meta = Meta(features=["x", "y", "z"], bounds={"lo": [0, None, 1], "hi": [None, 2, 3]}, image=[1, 3])
    rows = sample(batch).gathered(meta=meta).rows
    assert [(feature.name, feature.low, feature.high) for feature in rows.features] == [("x", 0, None), ("y", None, 2), ("z", 1, 3)]
    assert rows.image == (1, 3)
    with pytest.raises(TableError, match=r"bounds.lo has 2 entries for 3 features"):
        sample(batch).gathered(meta=Meta(bounds={"lo": [0, 1]}))


def test_rows_without_scores_are_left_out_where_most_have_them() -> None:
    scores = np.asarray(events(300).scores).copy()
    scores[:7] = np.nan
    gathered = sample(events(300, scores=scores)).gathered()
    assert len(gathered.rows.X) == 293
    assert "7 rows have no scores and are left out" in gathered.notes


def test_what_is_missing_is_said_with_what_was_seen() -> None:
    with pytest.raises(BuildError, match=r"no answered event of m 1 .* between .*\. Seen: shop 1 \(300 events\)"):
        sample(events(300, model="shop")).gathered()
    with pytest.raises(BuildError, match=r"Seen: none of any model"):
        sample().gathered()
    with pytest.raises(BuildError, match=r"150 answered events .* \(and \d+ of clients that are left out\): too few, 200 are the least"):
        sample(events(150), events(100, number=200, clients=1, client=Strings.of(["x"] * 100)), without={"x"}).gathered()
