"""Whatever happens to the broker or the process: every event is accounted for, nobody waits, closing keeps its budget."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from inferwatch import Client, MemoryTransport
from streams.embedded import MissingPartError
from streams.embedded.kafka import EmbeddedKafka
from tests.parts import unavailable
from tests.sdk.faults import Calls, balanced, hung_broker, kafka_client
from tests.sdk.helpers import client
from tests.sdk.test_sdk_kafka import decoded, read
from tests.sdk.test_sdk_processes import START, run


class Deaf(MemoryTransport):
    """Knows no partitions, so the sender has nothing to do."""

    def partitions(self, topic: str, timeout_s: float) -> int | None:
        return None


SLEPT = 0.01
"""Most calls that may sleep: the interpreter is handed over now and then, a lock would be in nearly all."""


@pytest.fixture
def own_kafka(tmp_path: Path) -> Iterator[EmbeddedKafka]:
    """A node that a test may stop, with its data kept."""
    try:
        with EmbeddedKafka(folder=tmp_path / "kafka") as running:
            create(running)
            yield running
    except MissingPartError as error:
        unavailable("The embedded Kafka", str(error))


def create(kafka: EmbeddedKafka) -> None:
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap_servers})
    for future in admin.create_topics([NewTopic(name, 4, 1) for name in ("iw.events", "iw.labels", "iw.lifecycle")]).values():
        future.result(timeout=20)


def until(fact: Callable[[], bool], timeout_s: float = 60.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not fact():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def all_arrived_once(servers: str, watch: Client, calls: Calls) -> None:
    stats = watch.stats()
    assert calls.broken == 0
    assert stats.accepted == calls.made
    assert stats.sent + sum(stats.dropped.values()) == calls.made
    ids = [one.id_of(row) for one in decoded(read(servers, "iw.events")) for row in range(len(one))]
    assert len(ids) == len(set(ids)) == stats.sent


@pytest.mark.kafka
def test_a_broker_that_comes_after_the_client_gets_every_event(own_kafka: EmbeddedKafka) -> None:
    (node,) = own_kafka.nodes
    node.stop()
    watch = kafka_client(own_kafka.bootstrap_servers, topic_prefix="iw")
    with Calls(watch) as calls:
        time.sleep(1.5)
        assert watch.stats().sent == 0
        node.start()
        until(lambda: watch.stats().sent > 0)
    assert watch.flush(30) == 0
    assert watch.close() == 0
    assert dict(watch.stats().dropped) == {}
    assert calls.waits < SLEPT
    all_arrived_once(own_kafka.bootstrap_servers, watch, calls)


@pytest.mark.alone
@pytest.mark.kafka
@pytest.mark.parametrize(
    ("away_s", "queue"), [(3.0, 50_000), (3.0, 1_000), pytest.param(150.0, 50_000, marks=[pytest.mark.slow, pytest.mark.timeout(600)])]
)
def test_while_the_broker_is_away_events_wait_or_are_counted_and_then_all_arrive_once(
    own_kafka: EmbeddedKafka, away_s: float, queue: int
) -> None:
    (node,) = own_kafka.nodes
    watch = kafka_client(own_kafka.bootstrap_servers, topic_prefix="iw", queue_max_events=queue)
    with Calls(watch) as calls:
        until(lambda: watch.stats().sent > 100)
        node.kill()
        time.sleep(away_s)
        before = watch.stats().sent
        node.start()
        until(lambda: watch.stats().sent > before + 100)
    assert watch.flush(60) == 0
    assert watch.close() == 0
    assert set(watch.stats().dropped) == (set() if away_s * 2_000 < queue else {"queue_full"})
    assert calls.waits < SLEPT
    all_arrived_once(own_kafka.bootstrap_servers, watch, calls)


@pytest.mark.alone
@pytest.mark.parametrize("partitions", [None, 4], ids=["asking", "told"])
@pytest.mark.parametrize("queue", [50_000, 500])
def test_a_broker_that_never_answers_costs_neither_time_nor_the_closing_budget(partitions: int | None, queue: int) -> None:
    with hung_broker() as servers:
        watch = kafka_client(servers, partitions=partitions, queue_max_events=queue)
        with Calls(watch, threads=2) as calls:
            time.sleep(1.5)
        assert watch.stats().sent == 0
        assert watch.label(model="m", event_id="e", truth=1)
        began = time.monotonic()
        left = watch.close(1.0)
        assert time.monotonic() - began < 2.0
    stats = watch.stats()
    assert calls.broken == 0
    assert calls.waits < SLEPT
    assert (stats.accepted, stats.queued, stats.sent) == (calls.made, 0, 0)
    assert left == stats.dropped["closed"] + 1 == min(calls.made, queue) + 1
    assert balanced(watch)


@pytest.mark.kafka
def test_a_storm_of_threads_on_a_broker_that_stops_and_comes_back(own_kafka: EmbeddedKafka) -> None:
    (node,) = own_kafka.nodes
    watch = kafka_client(own_kafka.bootstrap_servers, topic_prefix="iw")
    with Calls(watch, threads=32, per_second=6_000) as calls:
        until(lambda: watch.stats().sent > 100)
        node.stop()
        time.sleep(0.5)
        node.start()
        until(lambda: watch.stats().queued < 2_000)
    assert watch.flush(60) == 0
    watch.close()
    assert threading.active_count() < 32
    all_arrived_once(own_kafka.bootstrap_servers, watch, calls)


@pytest.mark.alone
@pytest.mark.slow
@pytest.mark.kafka
def test_record_keeps_its_50_us_while_the_broker_is_away(own_kafka: EmbeddedKafka) -> None:
    """Needs a core for the sender. Calls that lost theirs are left out, the best of three runs counts, and a machine on which the same
    call is slower than that although its sender has nothing to do (no partitions are known) is no judge.
    """
    (node,) = own_kafka.nodes
    idle, _ = client(Deaf(), strict=False)
    watch = kafka_client(own_kafka.bootstrap_servers, topic_prefix="iw")
    best = quiet = float("inf")
    for _ in range(3):
        with Calls(idle, per_second=5_000) as calls:
            time.sleep(2)
        quiet = min(quiet, calls.p999_us)
        with Calls(watch, per_second=5_000) as calls:
            time.sleep(2)
            node.kill()
            time.sleep(3)
            node.start()
        best = min(best, calls.p999_us)
    watch.close()
    idle.close(0.1)
    if quiet > 50:
        pytest.skip(f"this machine is too busy: {quiet:.0f} us with a sender that does nothing, {best:.0f} us while the broker is away")
    assert best <= 50


def test_an_exit_in_a_thread_ends_the_thread_only() -> None:
    code = """
watch = client(flush_age_s=30)
def work():
    watch.record(model="m", version="1", event_id="before")
    sys.exit(3)
thread = threading.Thread(target=work); thread.start(); thread.join()
assert watch.record(model="m", version="1", event_id="after")
"""
    assert [event["id"] for event in run(code)] == ["before", "after"]


def test_what_a_daemon_thread_records_while_the_interpreter_ends_does_no_harm() -> None:
    code = """
watch = client()
def work():
    while True: watch.record(model="m", version="1"); time.sleep(0.0001)
import time
threading.Thread(target=work, daemon=True).start()
time.sleep(0.2)
"""
    assert run(code)


def ended_by(code: str, how: int | None = None) -> tuple[int, list[str]]:
    """Exit code and events of a process that ends by itself, or by a signal after it said ``ready``."""
    process = subprocess.Popen([sys.executable, "-c", START + code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    first = process.stdout.readline()
    assert first == "ready\n"
    if how is not None:
        process.send_signal(how)
    output, errors = process.communicate(timeout=30)
    assert errors == ""
    return process.returncode, output.splitlines()


WAITING = """
watch = client(flush_age_s=30)
for i in range(5): watch.record(model="m", version="1")
import signal, time
"""


def test_sigterm_as_python_has_it_ends_the_process_at_once_and_what_waited_is_lost() -> None:
    """No exit handler runs: this is what `sdk/README.md` says, and why it asks for a handler."""
    assert ended_by(WAITING + "print('ready', flush=True); time.sleep(30)", signal.SIGTERM) == (-signal.SIGTERM, [])


def test_sigterm_with_a_handler_that_exits_sends_what_waited() -> None:
    code = WAITING + "signal.signal(signal.SIGTERM, lambda *_: sys.exit(0)); print('ready', flush=True); time.sleep(30)"
    status, events = ended_by(code, signal.SIGTERM)
    assert (status, len(events)) == (0, 5)


@pytest.mark.parametrize(("last", "sent"), [("", 0), ("watch.close(); ", 5)])
def test_os_exit_sends_what_close_sent_and_nothing_else(last: str, sent: int) -> None:
    status, events = ended_by(WAITING + f"print('ready', flush=True); {last}import os; os._exit(0)")
    assert (status, len(events)) == (0, sent)


GUNICORN = """
import os
from inferwatch import Client
watch = Client({servers!r}, "web", pseudonym_key="a key of the tests' own", topic_prefix={prefix!r}, flush_age_s=0.01)
assert watch.record(model="m", version="1", event_id=f"master {{os.getpid()}}")
assert watch.flush(20) == 0  # used, with a live producer and a sender's thread, before any worker is there

def app(environ, start_response):
    ok = watch.record(model="m", version="1", client="c", event_id=f"worker {{os.getpid()}} {{environ['QUERY_STRING']}}")
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"{{ok}} {{os.getpid()}}".encode()]
"""


@pytest.mark.kafka
def test_gunicorn_with_preload_loses_no_event_and_its_workers_are_instances_of_their_own(topics: Any, tmp_path: Path) -> None:
    pytest.importorskip("gunicorn", reason="gunicorn is not installed (dependency group dev)")
    import socket
    import urllib.request

    for name in ("iw.events", "iw.labels", "iw.lifecycle"):
        topics.create(name)
    prefix = f"{topics.prefix}iw"
    (tmp_path / "shop.py").write_text(GUNICORN.format(servers=topics.bootstrap_servers, prefix=prefix))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        sys.executable,
        "-W",
        "ignore::DeprecationWarning",
        "-m",
        "gunicorn",
        "--preload",
        "-w",
        "3",
        "-b",
        f"127.0.0.1:{port}",
        "shop:app",
    ]
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(command, cwd=tmp_path, stdout=log, stderr=log)
    try:
        asked, pids, deadline = 0, set(), time.monotonic() + 40
        while asked < 60:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/?{asked}", timeout=5) as answer:
                    ok, pid = answer.read().decode().split()
            except OSError:
                assert time.monotonic() < deadline, (tmp_path / "log").read_text()
                assert process.poll() is None, (tmp_path / "log").read_text()
                time.sleep(0.1)
                continue
            assert ok == "True"
            pids.add(pid)
            asked += 1
        process.terminate()
        assert process.wait(20) == 0
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    batches = decoded(read(topics.bootstrap_servers, f"{prefix}.events"))
    ids = {one.id_of(row): one.instance for one in batches for row in range(len(one))}
    assert sorted(id_ for id_ in ids if id_.startswith("master")) == [f"master {process.pid}"]
    assert {id_.split()[-1] for id_ in ids if id_.startswith("worker")} == set(map(str, range(60)))
    assert len({instance for id_, instance in ids.items() if id_.startswith("worker")}) == len(pids)
