"""Every event is sent, dropped with a reason, or waiting; at every moment, whatever happens."""

import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inferwatch import MemoryTransport, Record
from inferwatch._account import Ledger, Tally
from tests.sdk.helpers import client


class Slow(MemoryTransport):
    """Confirms records only when told to."""

    def __init__(self) -> None:
        super().__init__()
        self.waiting: list[Callable[[str | None], None]] = []
        self.confirming = False

    def send(self, record: Record, done: Callable[[str | None], None]) -> bool:
        self.records.append(record)
        self.waiting.append(done)
        return True

    def poll(self) -> None:
        while self.confirming and self.waiting:
            self.waiting.pop(0)(None)


def holds(stats: Any) -> bool:
    return bool(stats.accepted == stats.sent + sum(stats.dropped.values()) + stats.queued)


def until(fact: Callable[[], bool], timeout_s: float = 10.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not fact():
        assert time.monotonic() < deadline
        time.sleep(0.001)


_step = st.one_of(
    st.tuples(st.just("record"), st.integers(1, 30)),
    st.tuples(st.just("many"), st.integers(1, 30)),
    st.tuples(st.just("bad"), st.integers(1, 3)),
    st.tuples(st.just("bad many"), st.integers(2, 9)),
    st.tuples(st.just("reachable"), st.booleans()),
    st.tuples(st.just("failing"), st.sampled_from(["", "boom"])),
    st.tuples(st.just("flush"), st.just(0)),
)


@settings(max_examples=40, deadline=None)
@given(st.lists(_step, max_size=15))
def test_accepted_is_sent_plus_dropped_plus_queued(steps: list[tuple[str, Any]]) -> None:
    watch, transport = client(strict=False, queue_max_events=60, flush_events=7)
    handed, kept = 0, 0
    for what, n in steps:
        if what == "record":
            handed += n
            kept += sum(watch.record(model="m", version="1", client=f"c{i}", features={"x": 1.0}) for i in range(n))
        elif what == "many":
            handed += n
            kept += n * watch.record_many(model="m", version="2", client="c", features=np.ones((n, 2)))
        elif what == "bad":
            handed += n
            assert not any(watch.record(model="m", version="", features={}) for _ in range(n))
        elif what == "bad many":
            handed += n
            assert not watch.record_many(model="m", version="2", client=["c"], features=np.ones((n, 2)))
        elif what == "flush":
            watch.flush(0.02)
        else:
            setattr(transport, what, n)
        stats = watch.stats()
        assert holds(stats)
        assert stats.accepted == handed
        assert stats.queued <= 60
    transport.reachable = True
    transport.failing = ""
    assert watch.close() == 0
    stats = watch.stats()
    assert holds(stats)
    assert (stats.accepted, stats.queued) == (handed, 0)
    assert stats.sent == len(transport.events())
    assert stats.sent + stats.dropped.get("delivery", 0) == kept
    final = [heartbeat for heartbeat in transport.heartbeats if heartbeat.closing]
    assert all(one.accepted == one.sent + one.dropped + one.queued for one in transport.heartbeats)
    assert sum(one.accepted for one in final) == handed
    assert sum(one.sent for one in final) == stats.sent
    assert sum(one.dropped for one in final) == sum(stats.dropped.values())


def test_the_law_holds_while_many_threads_record() -> None:
    watch, transport = client(strict=False, queue_max_events=500, flush_events=50)
    go, over, broken = threading.Event(), threading.Event(), []

    def caller(name: str) -> None:
        go.wait()
        for i in range(500):
            watch.record(model=name, version="1", client=str(i), features={"x": 1.0})
            if i % 50 == 0:
                watch.record_many(model=name, version="1", client=[str(i), "a"], features=np.ones((2, 2)))

    def observer() -> None:
        while not over.is_set():
            if not holds(watch.stats()):
                broken.append(watch.stats())

    threads = [threading.Thread(target=caller, args=(f"m{i % 3}",)) for i in range(8)]
    observing = threading.Thread(target=observer)
    for thread in (*threads, observing):
        thread.start()
    go.set()
    for thread in threads:
        thread.join()
    watch.close()
    over.set()
    observing.join()
    assert not broken
    stats = watch.stats()
    assert stats.accepted == 8 * (500 + 20)
    assert stats.sent == len(transport.events()) == len({(event["model"], event["number"]) for event in transport.events()})
    sender = watch._sender._thread
    assert sender is not None
    assert not sender.is_alive()


def test_a_full_queue_drops_counts_and_never_waits() -> None:
    watch, transport = client(queue_max_events=100)
    transport.reachable = False
    assert [watch.record(model="m", version="1") for _ in range(103)] == [True] * 100 + [False] * 3
    assert not watch.record_many(model="m", version="1", features=np.ones((5, 2)))
    stats = watch.stats()
    assert (stats.accepted, stats.queued, dict(stats.dropped)) == (108, 100, {"queue_full": 8})
    transport.reachable = True
    watch.close()
    (closing,) = transport.heartbeats
    assert (closing.accepted, closing.sent, closing.dropped, closing.queued) == (108, 100, 8, 0)


def test_what_is_in_flight_counts_as_queued_and_fills_the_queue() -> None:
    transport = Slow()
    watch, _ = client(transport, queue_max_events=10)
    assert all(watch.record(model="m", version="1") for _ in range(10))
    assert watch.flush(0.5) == 10
    assert len(transport.events()) == 10
    assert watch.stats().queued == 10
    assert not watch.record(model="m", version="1")
    transport.confirming = True
    assert watch.flush(10) == 0
    assert watch.record(model="m", version="1")
    watch.close()
    assert (watch.stats().sent, dict(watch.stats().dropped)) == (11, {"queue_full": 1})


def test_a_confirmation_after_closing_changes_no_account() -> None:
    transport = Slow()
    watch, _ = client(transport)
    assert watch.record(model="m", version="1")
    assert watch.close(0.2) == 1
    before = watch.stats()
    transport.confirming = True
    transport.poll()
    assert watch.stats() == before
    assert (before.queued, dict(before.dropped)) == (0, {"closed": 1})


def test_large_events_fill_the_queue_by_their_bytes() -> None:
    watch, transport = client(queue_max_bytes=1_000_000)
    transport.reachable = False
    wide = dict.fromkeys(map(str, range(1_000)), 1.0)
    accepted = sum(watch.record(model="m", version="1", features=wide) for _ in range(100))
    assert accepted == 10
    long = sum(watch.record(model="m", version="1", client="c" * 90_000) for _ in range(100))
    assert long <= 2
    transport.reachable = True
    watch.close()


def test_after_closing_events_are_dropped_as_closed_and_closing_twice_is_fine() -> None:
    watch, transport = client()
    watch.record(model="m", version="1")
    assert watch.close() == 0
    assert not watch.record(model="m", version="1")
    assert not watch.record_many(model="m", version="1", features=np.ones((3, 1)))
    assert watch.close() == 0
    assert watch.flush(1) == 0
    stats = watch.stats()
    assert (stats.sent, dict(stats.dropped), stats.queued) == (1, {"closed": 4}, 0)
    assert len(transport.events()) == 1


@pytest.mark.alone
def test_closing_without_a_broker_keeps_its_budget_and_counts_the_rest() -> None:
    watch, transport = client()
    transport.reachable = False
    for _ in range(5):
        watch.record(model="m", version="1")
    watch.label(model="m", event_id="e", truth=1)
    began = time.monotonic()
    assert watch.flush(0.05) == 6
    assert watch.close(0.2) == 6
    assert time.monotonic() - began < 2
    stats = watch.stats()
    assert (stats.accepted, dict(stats.dropped), dict(stats.signals.dropped)) == (5, {"closed": 5}, {"closed": 1})


def test_records_that_fail_are_dropped_as_delivery() -> None:
    watch, transport = client()
    transport.failing = "_MSG_TIMED_OUT"
    for _ in range(5):
        watch.record(model="m", version="1")
    assert watch.flush(10) == 0
    assert dict(watch.stats().dropped) == {"delivery": 5}
    transport.failing = ""
    watch.close()
    (closing,) = transport.heartbeats
    assert (closing.accepted, closing.sent, closing.dropped) == (5, 0, 5)


def test_a_transport_that_raises_loses_nothing_and_does_not_end_the_sender() -> None:
    class Moody(MemoryTransport):
        bad = True

        def send(self, record: Record, done: Callable[[str | None], None]) -> bool:
            if self.bad:
                raise OSError("no")
            return super().send(record, done)

    transport = Moody()
    watch, _ = client(transport)
    watch.record(model="m", version="1")
    assert watch.flush(0.1) == 1
    transport.bad = False
    assert watch.flush(10) == 0
    watch.close()
    assert len(transport.events()) == 1


def test_a_forgotten_client_ends_its_thread_and_sends_what_it_has() -> None:
    watch, transport = client()
    watch.record(model="m", version="1")
    thread = watch._sender._thread
    assert thread is not None
    del watch
    until(lambda: not thread.is_alive())
    assert len(transport.events()) == 1


def test_reading_a_tally_does_not_change_it() -> None:
    tally = Tally()
    tally.add()
    tally.add()
    assert [tally.value(), tally.value()] == [2, 2]
    tally.add()
    assert tally.value() == 3


@pytest.mark.parametrize("model", ["m" * 3, "\ud800"])
def test_accounts_are_bounded_and_always_writable(model: str) -> None:
    ledger = Ledger()
    assert ledger.stream(model, "1").model in {"mmm", ""}


@pytest.mark.alone
def test_callers_who_never_pause_starve_neither_confirmations_nor_heartbeats() -> None:
    transport = Slow()
    transport.confirming = True
    watch, _ = client(transport, queue_max_events=20_000, heartbeat_s=0.01, flush_events=50)
    deadline = time.monotonic() + 20
    beats = 0
    while watch.stats().sent < 5_000 or not beats:
        beats = sum(dict(record.headers)["ce_type"] == b"inferwatch.heartbeat.v1" for record in transport.records)
        assert time.monotonic() < deadline
        for _ in range(500):
            watch.record(model="m", version="1", client="c")
    watch.close()
