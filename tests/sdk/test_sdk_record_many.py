"""A batch of columns arrives as the same events would one by one."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inferwatch import MemoryTransport, partition_of
from tests.sdk.helpers import client


def arrived(transport: MemoryTransport) -> list[dict[str, Any]]:
    return sorted(transport.events(), key=lambda event: event["number"])


def test_a_batch_is_the_same_as_its_events_one_by_one() -> None:
    rng = np.random.default_rng(3)
    n = 1_000
    matrix = rng.normal(size=(n, 2)).astype(np.float32)
    clients = [f"c{i}" for i in rng.integers(0, 50, n)]
    columns: dict[str, Any] = {
        "prediction": rng.integers(0, 3, n),
        "value": rng.normal(size=n),
        "latency_ms": rng.random(n).astype(np.float32),
        "event_id": [f"e{i}" for i in range(n)],
        "owner": [None if i % 3 else "o" for i in range(n)],
        "cost": rng.random(n).astype(np.float32),
        "feature_view": [None if i % 5 else "customers:3" for i in range(n)],
        "feature_age_s": rng.random(n).astype(np.float32),
        "status": [["ok", "error"][i % 2] for i in range(n)],
        "at_ns": np.arange(n),
    }
    scores = rng.random((n, 3)).astype(np.float32)
    country = [["NO", "SE", None][i % 3] for i in range(n)]
    batch, batched = client(instance="i", flush_events=100, flush_age_s=30)
    single, singly = client(instance="i", flush_events=100, flush_age_s=30)
    with batch, single:
        features = {"a": matrix[:, 0], "country": country, "b": matrix[:, 1]}
        assert batch.record_many(model="m", version="1", client=clients, features=features, scores=scores, **columns)
        for i in range(n):
            row = {name: column[i] for name, column in columns.items()}
            named = {"a": matrix[i, 0], "country": country[i], "b": matrix[i, 1]}
            assert single.record(
                model="m", version="1", client=clients[i], features=named, scores=scores[i], **row | {"at_ns": int(row["at_ns"])}
            )
    assert arrived(batched) == arrived(singly)
    for record in batched.records:
        assert len(record.value) < 500_000
    for columns_ in batched.columns:
        assert len(columns_) <= 100
        assert columns_.number.tolist() == sorted(columns_.number.tolist())
        assert len({partition_of("m", name, 4) for name in columns_.client.values}) == 1


@settings(max_examples=30, deadline=None)
@given(
    st.integers(1, 4),
    st.lists(st.lists(st.tuples(st.sampled_from("abcdé"), st.none() | st.text(max_size=3)), min_size=1, max_size=20), max_size=4),
)
def test_batches_share_records_and_no_row_is_lost_doubled_or_moved(partitions: int, batches: list[list[tuple[str, str | None]]]) -> None:
    watch, transport = client(MemoryTransport(partitions), flush_events=8)
    expected = []
    with watch:
        for batch in batches:
            names, owners = [name for name, _ in batch], [owner for _, owner in batch]
            expected += [(watch.pseudonym(name), owner) for name, owner in batch]
            assert watch.record_many(model="m", version="1", client=names, features=np.zeros((len(batch), 1)), owner=owners)
    assert [(event["client"], event["owner"]) for event in arrived(transport)] == expected
    assert [event["number"] for event in arrived(transport)] == list(range(len(expected)))


def test_what_the_caller_changes_afterwards_changes_nothing() -> None:
    watch, transport = client()
    transport.reachable = False
    matrix, clients, latency = np.ones((3, 2)), ["a", "b", "c"], np.ones(3, np.float32)
    column = np.ones(3, np.float32)
    watch.record_many(model="m", version="1", client=clients, features=matrix, latency_ms=latency)
    watch.record_many(model="m", version="1", client=clients, features={"x": column}, scores=np.ones((3, 1)))
    matrix[:] = latency[:] = column[:] = 9
    clients[0] = "z"
    transport.reachable = True
    watch.close()
    assert all(
        set(event["features"] if isinstance(event["features"], list) else event["features"].values()) == {1.0}
        for event in transport.events()
    )
    assert {event["client"] for event in transport.events()} == {watch.pseudonym(name) for name in "abc"}


def test_allow_and_redact_hold_for_batches() -> None:
    watch, transport = client(allow=["a", "c"], redact=["c"])
    with watch:
        watch.record_many(model="m", version="1", features=np.array([[1.0, 2.0]]), names=["a", "b"])
        watch.record_many(model="m", version="1", features={"a": [1.0], "b": [2.0], "c": ["x"], "d": ["y"]})
    assert [event["features"] for event in transport.events()] == [{"a": 1.0}, {"a": 1.0}]


def test_an_empty_batch_is_no_event() -> None:
    watch, transport = client()
    with watch:
        assert watch.record_many(model="m", version="1", features=np.empty((0, 3)))
    assert watch.stats().accepted == 0
    assert not transport.events()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"features": np.ones(3)}, "2-D"),
        ({"features": np.ones((3, 2)), "names": ["a"]}, "1 names for 2 columns"),
        ({"features": {"a": [1.0, 2.0], "b": [1.0]}}, r"feature b: shape \(1,\), expected \(2,\)"),
        ({"features": {"a": [1.0]}, "names": ["a"]}, "a mapping has its own"),
        ({"features": np.ones((3, 2)), "names": ["a", "a"]}, "two columns have one name"),
        ({"features": np.ones((3, 2)), "client": ["a"]}, "client: 1 values for 3 events"),
        ({"features": np.ones((3, 2)), "latency_ms": [1.0]}, r"latency_ms: shape \(1,\), expected \(3,\)"),
        ({"features": np.ones((3, 2)), "scores": np.ones((2, 2))}, "for 3 events"),
        ({"features": np.ones((1, 5_000))}, "at most 4096"),
        ({"features": np.ones((3, 2)), "status": "fine"}, "fine"),
        ({"features": np.ones((3, 2)), "model": ""}, "model and version"),
    ],
)
def test_a_batch_that_makes_no_sense_is_refused_whole_and_says_why(arguments: dict[str, Any], message: str) -> None:
    strict, _ = client()
    with pytest.raises(ValueError, match=message):
        strict.record_many(**{"model": "m", "version": "1"} | arguments)
    watch, transport = client(strict=False)
    assert not watch.record_many(**{"model": "m", "version": "1"} | arguments)
    watch.close()
    assert not transport.events()
    features = arguments["features"]
    assert sum(watch.stats().dropped.values()) == (len(features) if isinstance(features, np.ndarray) else len(features["a"]))


def test_records_stay_below_the_limit_however_long_the_text() -> None:
    watch, transport = client(flush_events=10_000, queue_max_events=100_000)
    with watch:
        texts = {f"f{i}": [f"{i} {j} ".ljust(250, "é") for j in range(300)] for i in range(20)}
        assert watch.record_many(model="m", version="1", features=texts)
    assert len(transport.events()) == 300
    assert len(transport.records) > 2
    assert max(len(record.value) for record in transport.records) <= 900_000


def test_one_event_too_large_for_any_record_is_dropped_as_oversized() -> None:
    watch, transport = client()
    with watch:
        assert watch.record(model="m", version="1", features={f"{i} ".ljust(250, "é"): "v" * 256 for i in range(4_000)})
        assert watch.record(model="m", version="1", features={"x": 1.0})
    assert dict(watch.stats().dropped) == {"oversized": 1}
    assert len(transport.events()) == 1
