"""Whatever a producer sends ends in a count with a reason, never in a crash or a silent loss."""

import dataclasses
import time
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from detectors.state import StateError
from inferwatch import CONTENT_TYPE_COLUMNS, CONTENT_TYPE_JSON, EventColumns, Strings, encode
from schemas import latency, windows
from schemas.windows import WindowPartial
from streams.owner import Record
from streams.references import References
from streams.shard import Shard
from tests.streams.events import KEY, START, events, record, reference, settings

PUBLISHED = reference()


def shard(*, with_reference: bool = True, **sections: dict[str, Any]) -> Shard:
    references = References(KEY)
    if with_reference:
        references.put(PUBLISHED)
    return Shard(0, settings(**sections), references, epoch=7)


def finished(of: Shard) -> list[WindowPartial]:
    of.finish()
    return [windows.decode_partial(out.value) for out in of.outbox if out.to == "windows"]


def accounted(of: Shard) -> None:
    """Accepted + rejected = received."""
    accepted = sum(partial.n for partial in finished(of))
    assert accepted + of.rejected.total() == of.received


@pytest.mark.parametrize(
    "columns",
    [
        {"latency_ms": np.full(8, 3e38, np.float32)},
        {"latency_ms": np.full(8, -1.0, np.float32)},
        {"latency_ms": np.full(8, np.inf, np.float32)},
        {"numeric": np.full((8, 3), 3e38, np.float32)},
        {"numeric": np.full((8, 3), np.nan, np.float32)},
        {"numeric": np.full((8, 3), -np.inf, np.float32)},
        {"numeric": np.empty((8, 0), np.float32), "names": ()},
        {"scores": np.full((8, 2), np.inf, np.float32)},
        {"scores": np.full((8, 2), np.nan, np.float32)},
        {"scores": np.full((8, 2), -7.0, np.float32)},
        {"scores": np.zeros((8, 0), np.float32), "score_names": ()},
        {"scores": np.zeros((8, 900), np.float32), "score_names": ()},
        {"scores": None, "score_names": ()},
        {"client": Strings([], np.full(8, -1, np.int32))},
        {"client": Strings([""], np.zeros(8, np.int32))},
        {"client": Strings(["\U0001f600" * 64], np.zeros(8, np.int32))},
        {"prediction": Strings(["no such class"], np.zeros(8, np.int32))},
        {"value": np.array([np.nan, np.inf, -np.inf, 1e308, -1e308, 0, 1, 2])},
        {"number": np.full(8, 2**62), "service": "", "instance": ""},
        {"status": np.full(8, 5, np.uint8)},
        {"at_ns": np.full(8, -1)},
        {"at_ns": np.full(8, 2**63 - 1)},
        {"at_ns": np.zeros(8, np.int64)},
    ],
    ids=lambda columns: " ".join(f"{name}={str(value)[:20]}" for name, value in columns.items()),
)
@pytest.mark.parametrize("with_reference", [True, False])
def test_odd_columns_are_counted_and_the_next_record_is_fine(columns: dict[str, Any], with_reference: bool) -> None:
    number = columns.pop("number", None)
    odd = events(8, **columns)
    columns |= {} if number is None else {"number": number}
    if number is not None:
        odd = dataclasses.replace(odd, number=number)
    one = shard(with_reference=with_reference)
    one.apply(record(odd, 0, at_ns=START))
    one.apply(record(events(50, seed=2, start_s=5, number=1_000), 1))
    assert one.received == 58
    (after,) = [partial for partial in finished(one) if partial.n >= 50]
    assert after.rejected == {} or set(after.rejected) <= {"clock", "duplicate"}
    accounted(one)


@pytest.mark.parametrize("instance", [f"pod-{k}" for k in range(12)])
def test_producers_of_any_name_are_told_apart_and_counted(instance: str) -> None:
    one = shard()
    for offset in range(2):
        one.apply(record(events(10, instance=instance), offset))
    assert one.rejected == {"duplicate": 10}


def test_more_clients_in_one_record_than_there_are_slots_are_all_counted() -> None:
    one = shard(limits={"clients": 100})
    one.apply(record(events(950, rate=1_000, client=Strings.of([f"c{k}" for k in range(950)])), 0))
    assert len(one.models["m", "1"].watch.table) <= 100
    (window,) = finished(one)
    assert (window.n, window.clients) == (950, 950)


def test_a_million_made_up_clients_stay_in_bounds_of_time_and_memory() -> None:
    one = shard(limits={"clients": 5_000})
    one.apply(record(events(400, clients=4), 0))
    began = time.process_time()
    for offset in range(1, 101):
        flood = Strings([f"flood{offset}-{k}" for k in range(10_000)], np.arange(10_000, dtype=np.int32))
        one.apply(record(events(10_000, seed=0, start_s=offset, rate=10_000, number=10_000 * offset, client=flood), offset))
        one.outbox.ack([out.id for out in one.outbox if out.to == "findings"])  # as a worker does; answers of a million events are 23 MB
    assert time.process_time() - began < 30
    assert all(one.models["m", "1"].watch.table.find(f"c{k}") is not None for k in range(4))
    assert one.evicted >= 990_000
    assert len(one.snapshot()) < 30_000_000
    accounted(one)


def test_without_a_reference_features_by_position_are_gathered_and_nothing_is_at_fault() -> None:
    one = shard(with_reference=False, limits={"provisional_rows": 300})
    for offset in range(4):
        batch = events(100, seed=offset, names=(), start_s=10.0 * offset, number=100 * offset)
        one.apply(record(batch, offset))
    loaded = one.models["m", "1"].loaded
    assert loaded is not None
    assert loaded.provisional
    assert one.rejected == {}
    assert all(partial.anomalies == {} for partial in finished(one))


def test_a_provisional_reference_without_names_knows_its_width() -> None:
    one = shard(with_reference=False, limits={"provisional_rows": 100})
    one.apply(record(events(200, names=()), 0))
    one.apply(record(events(20, names=(), numeric=np.zeros((20, 7), np.float32), number=200), 1))
    assert one.rejected == {"wrong_width": 20}
    accounted(one)


def test_absurd_latencies_fill_the_last_bin_only() -> None:
    one = shard()
    one.apply(record(events(8, latency_ms=np.full(8, 3e38, np.float32)), 0))
    (window,) = finished(one)
    assert np.flatnonzero(np.frombuffer(window.latency, np.int64)).tolist() == [latency.BINS - 1]


@hypothesis_settings(deadline=None, max_examples=80)
@given(data=st.data(), content_type=st.sampled_from([CONTENT_TYPE_COLUMNS, CONTENT_TYPE_JSON, "", "text/html; charset=utf-8"]))
def test_no_bytes_crash_the_shard_or_go_uncounted(data: st.DataObject, content_type: str) -> None:
    sound = encode(events(5))
    damaged = bytearray(sound)
    for at in data.draw(st.lists(st.integers(0, len(sound) - 1), max_size=5)):
        damaged[at] = data.draw(st.integers(0, 255))
    payload = data.draw(st.sampled_from([bytes(damaged), bytes(damaged[: len(sound) // 3])]) | st.binary(max_size=100))
    one = shard(with_reference=False)
    one.apply(Record("events", 0, 0, payload, START, headers={"content-type": content_type}))
    one.apply(record(events(50, number=1_000, seed=3), 1))
    accounted(one)
    letters = [out for out in one.outbox if out.to == "dlq"]
    assert len(letters) == one.dead_letters.total() <= 1
    msgspec.msgpack.decode(one.snapshot(), type=msgspec.Raw)


def test_a_state_of_another_partition_is_refused() -> None:
    with pytest.raises(StateError, match="partition 0, not 1"):
        Shard(1, settings(), References()).restore(shard().snapshot())


def test_events_of_one_batch_in_many_windows_are_all_counted() -> None:
    wide = events(100, at_ns=START + np.arange(100) * 60_000_000_000)
    one = shard(clock={"future_s": 1e5}, window={"max_open": 2})
    one.apply(record(wide, 0))
    assert sum(partial.n for partial in finished(one)) == 100


def test_the_columns_that_came_are_not_written_to() -> None:
    batch: EventColumns = events(20)
    batch.numeric[3] = np.inf
    before = {name: getattr(batch, name).copy() for name in ("numeric", "scores", "at_ns", "number", "status", "latency_ms")}
    shard().take(batch, START)
    for name, column in before.items():
        assert np.array_equal(getattr(batch, name), column, equal_nan=True)
