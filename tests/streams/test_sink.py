"""Rows are taken at once and get in once, whatever ClickHouse does meanwhile; none disappears uncounted."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, Future
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.rows import ProducerRow, QualityWindowRow, Row, RowError
from streams.clickhouse import ClickHouse, ClickHouseError
from streams.lanes import Lanes, SinkFullError
from streams.migrate import migrate
from streams.sink import Sink

START = 3_786_912_000 * 10**9  # 2090


def rows(n: int) -> list[QualityWindowRow]:
    return [QualityWindowRow(model="m", version="1", start=START + i * 10**9, service="s", kind="k", n=i, per_10k=1.0) for i in range(n)]


def beat(i: int = 0) -> ProducerRow:
    return ProducerRow(service="s", instance=str(i), at=START)


def lanes(**settings: Any) -> Lanes:
    return Lanes(np.random.default_rng(1), **settings)


class Fake:
    """Stands for ClickHouse where it has to misbehave on cue: fails as told, else remembers."""

    def __init__(self, fail: Callable[[int, Sequence[Row]], Exception | None] = lambda _n, _rows: None) -> None:
        self.calls: list[tuple[str, str, int]] = []
        self.stored: list[Row] = []
        self._fail = fail

    def insert(self, rows: Sequence[Row], token: str) -> int:
        self.calls.append((rows[0].table, token, len(rows)))
        if (error := self._fail(len(self.calls), rows)) is not None:
            raise error
        self.stored += rows
        return len(rows)


def sink(fake: Fake, **settings: Any) -> Sink:
    return Sink(cast("ClickHouse", fake), lanes(**{"flush_seconds": 0.0, "shortest": 1e-3, "longest": 2e-3} | settings))


AWAY = ClickHouseError("away")
UNFIT = ClickHouseError("does not fit", 53)


def test_a_batch_goes_when_it_is_large_enough_or_old_enough() -> None:
    queue = lanes(flush_rows=10, flush_seconds=1.0)
    queue.put(rows(4), "a", 0.0)
    assert queue.take(0.5) is None
    assert queue.wait(0.5) == 0.5
    queue.put(rows(6), "b", 0.6)
    batch = queue.take(0.6)
    assert batch is not None
    assert len(batch.rows) == 10
    queue.done(batch)
    queue.put(rows(1), "c", 1.0)
    assert queue.take(1.9) is None
    assert queue.take(2.0) is not None


def test_a_failed_batch_comes_again_as_it_was_after_a_growing_wait() -> None:
    queue = lanes(flush_seconds=0.0, shortest=0.2, longest=1.0)
    queue.put(rows(2), "a", 0.0)
    batch = queue.take(0.0)
    assert batch is not None
    now, waits = 0.0, []
    for _ in range(6):
        queue.failed(batch, AWAY, now)
        queue.put(rows(1), "later", now)
        wait = queue.wait(now)
        assert wait is not None
        assert queue.take(now + wait - 1e-9) is None
        now += wait
        waits.append(wait)
        assert queue.take(now) is batch
    for wait, longest in zip(waits, [0.2, 0.4, 0.8, 1.0, 1.0, 1.0], strict=True):
        assert longest / 2 <= wait <= longest
    assert len(set(waits)) == len(waits)  # jitter: many workers do not come back at once
    assert queue.counts.retried == 6
    assert queue.counts.last_error == "away"
    queue.done(batch)
    assert queue.counts.last_error == ""


def test_a_table_in_trouble_does_not_hold_up_another() -> None:
    queue = lanes(flush_seconds=0.0)
    queue.put([*rows(1), beat()], "a", 0.0)
    first = queue.take(0.0)
    assert first is not None
    queue.failed(first, AWAY, 0.0)
    second = queue.take(0.0)
    assert second is not None
    assert second.table != first.table


def test_a_full_queue_drops_the_newcomer_whole_and_counts_it() -> None:
    queue = lanes(max_rows=5, flush_rows=5)
    kept, dropped = queue.put(rows(4), "a", 0.0), queue.put(rows(2), "b", 0.0)
    assert not kept.done()
    with pytest.raises(SinkFullError, match="2 rows of b dropped: 4 of at most 5 rows wait for ClickHouse"):
        dropped.result(0)
    assert (queue.counts.pending, queue.counts.dropped) == (4, 2)


def test_a_parcel_of_two_tables_is_done_when_both_are_in() -> None:
    queue = lanes(flush_seconds=0.0)
    future = queue.put([*rows(1), beat()], "a", 0.0)
    for last in (False, True):
        batch = queue.take(0.0)
        assert batch is not None
        queue.done(batch)
        assert future.done() is last


@given(st.lists(st.tuples(st.sampled_from(["put", "ok", "fail", "refuse", "split", "tick"]), st.integers(0, 6)), max_size=60))
def test_every_row_taken_is_pending_inserted_refused_or_abandoned(steps: list[tuple[str, int]]) -> None:
    queue = lanes(max_rows=12, flush_rows=5, flush_seconds=1.0)
    now, taken, futures = 0.0, 0, list[Future[None]]()
    for step, n in steps:
        if step == "put":
            before = queue.counts.dropped
            futures.append(queue.put([*rows(n), beat()][: n + n % 2], f"{len(futures)}", now))
            taken += 0 if queue.counts.dropped > before else n + n % 2
        elif step == "tick":
            now += n
        elif (batch := queue.take(now)) is not None:
            if step == "ok":
                queue.done(batch)
            elif step == "fail":
                queue.failed(batch, AWAY, now)
            elif step == "split":
                queue.split(batch)
            else:
                queue.done(batch, UNFIT)
        counts = queue.counts
        assert counts.pending + counts.inserted + counts.refused == taken
        assert 0 <= counts.pending <= 12
        assert (queue.wait(now) is None) == (counts.pending == 0)
    queue.abandon(AWAY)
    assert queue.counts.pending == 0
    assert queue.counts.inserted + queue.counts.refused + queue.counts.abandoned == taken
    assert all(future.done() for future in futures)


def test_the_token_of_several_parcels_follows_from_theirs() -> None:
    def token(*tokens: str) -> str:
        queue = lanes(flush_seconds=0.0)
        for name in tokens:
            queue.put(rows(1), name, 0.0)
        batch = queue.take(0.0)
        assert batch is not None
        return batch.token

    assert token("a") == "a"
    assert token("a", "b") == token("a", "b")
    assert token("a", "b") != token("b", "a")
    assert token("a", "b") != token("ab", "")


@pytest.mark.parametrize(
    "settings", [{"max_rows": 0}, {"flush_rows": 0}, {"flush_rows": 300_000}, {"flush_seconds": -1.0}, {"shortest": 0.0}, {"longest": 0.1}]
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="expected"):
        lanes(**settings)


def test_rows_get_in_after_an_outage_in_their_order() -> None:
    fake = Fake(lambda n, _rows: AWAY if n <= 3 else None)
    running = sink(fake)
    future = running.put(rows(5), "a")
    future.result(10)
    running.close()
    assert fake.stored == rows(5)
    assert {call[1] for call in fake.calls} == {"a"}
    counts = running.counts
    assert (counts.inserted, counts.retried, counts.pending) == (5, 3, 0)


def test_one_bad_parcel_costs_only_itself() -> None:
    held = threading.Event()

    def fail(n: int, batch: Sequence[Row]) -> Exception | None:
        if n == 1:
            held.wait(10)  # so that the next three parcels go together
        return RowError("bad") if any(cast("QualityWindowRow", row).kind == "bad" for row in batch) else None

    fake = Fake(fail)
    running = sink(fake)
    futures = [running.put(rows(1), "first")]
    bad = [QualityWindowRow(model="m", version="1", start=START, service="s", kind="bad", n=1, per_10k=1.0)]
    futures += [running.put(batch, name) for name, batch in (("a", rows(2)), ("bad", bad), ("b", rows(3)))]
    held.set()
    running.close()
    assert [future.exception(0) is None for future in futures] == [True, True, False, True]
    assert (running.counts.inserted, running.counts.refused) == (6, 1)


def test_what_never_fits_is_not_tried_again() -> None:
    fake = Fake(lambda _n, _rows: UNFIT)
    running = sink(fake)
    with pytest.raises(ClickHouseError, match="does not fit"):
        running.put(rows(1), "a").result(10)
    running.close()
    assert len(fake.calls) == 1


def test_a_surprise_fails_the_rows_and_not_the_thread() -> None:
    running = sink(Fake(lambda n, _rows: KeyError("surprise") if n == 1 else None))
    with pytest.raises(RowError, match="KeyError: 'surprise'"):
        running.put(rows(1), "a").result(10)
    running.put(rows(1), "b").result(10)
    running.close()


def test_closing_while_clickhouse_is_away_fails_what_is_left_in_time() -> None:
    running = sink(Fake(lambda _n, _rows: AWAY))
    future = running.put(rows(3), "a")
    running.close(0.05)
    with pytest.raises(ClickHouseError, match="closed before these rows were in"):
        future.result(0)
    with pytest.raises(ClickHouseError, match="was closed"):
        running.put(rows(1), "b").result(0)
    assert running.counts.abandoned == 3


def test_nothing_to_store_is_done_at_once_and_a_cancelled_wait_harms_nobody() -> None:
    held = threading.Event()
    running = sink(Fake(lambda _n, _rows: None if held.wait(10) else AWAY))
    assert running.put([], "nothing").done()
    future = running.put(rows(1), "a")
    assert future.cancel()
    held.set()
    running.close()
    with pytest.raises(CancelledError):
        future.result(0)
    assert running.counts.inserted == 1


@pytest.mark.clickhouse
def test_rows_of_several_tables_reach_the_real_engine(clickhouse: ClickHouse) -> None:
    migrate(clickhouse)
    running = Sink(clickhouse, lanes(flush_seconds=0.01))
    futures = [running.put([*rows(50), beat(i)], f"batch {i % 5}") for i in range(10)]
    assert running.flush(30)
    running.close()
    assert all(future.exception(0) is None for future in futures)
    assert clickhouse.query("SELECT count() AS n FROM quality_windows FINAL") == [{"n": 50}]
    assert clickhouse.query("SELECT uniqExact(instance) AS n FROM producers FINAL") == [{"n": 10}]
