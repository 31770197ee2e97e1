"""Forks, exits and storms of threads, in real processes."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

START = """
import json, os, sys, threading
from inferwatch import Client, MemoryTransport
class Told(MemoryTransport):
    "Prints each event it gets, with the process."
    def send(self, record, done):
        before = len(self.events())
        answer = super().send(record, done)
        for event in self.events()[before:]:
            told = {"pid": os.getpid(), "instance": event["instance"], "number": event["number"], "id": event["event_id"]}
            print(json.dumps(told), flush=True)
        return answer
def client(**more):
    return Client(service="s", transport=Told(), pseudonym_key="a key of the tests' own", **{"flush_age_s": 0.01} | more)
"""


NATIVE = """
import os, threading, warnings
warnings.simplefilter("ignore", DeprecationWarning)
def native():
    return len(os.listdir("/proc/self/task")) - threading.active_count()
at_fork = []
os.register_at_fork(before=lambda: at_fork.append(native()))  # registered first, so it runs last
"""


def run(code: str, first: str = "") -> list[dict[str, Any]]:
    done = subprocess.run([sys.executable, "-c", first + START + code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_is_a_new_instance_and_sends_only_its_own_events() -> None:
    events = run(
        """
import warnings
warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 warns of forks beside threads; gunicorn does it nevertheless
watch = client(instance="pod")
watch._transport.reachable = False
for i in range(3):
    watch.record(model="m", version="1", event_id=f"parent {i}")
pid = os.fork()
watch._transport.reachable = True
for i in range(2):
    watch.record(model="m", version="1", event_id=f"{'parent' if pid else 'child'} after {i}")
if pid:
    os.waitpid(pid, 0)
"""
    )
    assert sorted(event["id"] for event in events) == [
        "child after 0",
        "child after 1",
        "parent 0",
        "parent 1",
        "parent 2",
        "parent after 0",
        "parent after 1",
    ]
    child = [event for event in events if event["id"].startswith("child")]
    parent = [event for event in events if event["id"].startswith("parent")]
    assert {event["instance"] for event in parent} == {"pod"}
    assert {event["instance"] for event in child} != {"pod"}
    assert {event["pid"] for event in child}.isdisjoint({event["pid"] for event in parent})
    assert sorted(event["number"] for event in child) == [0, 1]
    assert sorted(event["number"] for event in parent) == [0, 1, 2, 3, 4]


@pytest.mark.alone
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_fork_with_a_live_kafka_producer_ends_quickly_in_both_processes() -> None:
    events = run(
        """
import time, warnings
warnings.simplefilter("ignore", DeprecationWarning)  # as above
watch = Client("127.0.0.1:1", "s", pseudonym_key="a key of the tests' own", partitions=1, close_timeout_s=0.2)
import logging
logging.disable()
watch.record(model="m", version="1")
while watch._transport._producer is None:
    watch.flush(0.05)
pid = os.fork()
if not pid:
    assert watch._transport._producer is None
    assert watch.record(model="m", version="1")
    assert watch.stats().accepted == 1
    sys.exit(0)
assert os.waitpid(pid, 0)[1] == 0
"""
    )
    assert events == []


@pytest.mark.alone
@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="counts threads by /proc")
def test_no_thread_of_the_kafka_library_is_alive_at_a_fork_and_nothing_on_its_way_is_lost() -> None:
    run(
        """
from inferwatch import Verdicts
import logging
logging.disable()
quiet = native()
verdicts = Verdicts("127.0.0.1:1", pseudonym_key="a key of the tests' own")
verdicts.look_up("m", "alice")
watch = Client("127.0.0.1:1", "s", pseudonym_key="a key of the tests' own", partitions=1, close_timeout_s=0.1, flush_age_s=0.01)
for i in range(5):
    watch.record(model="m", version="1")
    while watch._transport._producer is None or verdicts._consumer is None:
        watch.flush(0.01)
    assert native() > quiet
    pid = os.fork()
    if not pid:
        assert watch.record(model="m", version="1") and watch.flush(0.05) == 1 and watch._transport._producer is not None
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
assert max(at_fork) <= quiet, (at_fork, quiet)  # fewer: OpenBLAS ends its own
stats = watch.stats()
assert (stats.accepted, stats.queued, stats.sent, dict(stats.dropped)) == (5, 5, 0, {}), stats
""",
        NATIVE,
    )


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_child_of_a_producer_that_could_not_be_stopped_sends_nothing_rather_than_hang() -> None:
    run(
        """
import logging, time, warnings
from inferwatch import KafkaTransport, _processes
warnings.simplefilter("ignore", DeprecationWarning)
logging.disable()
_processes.FORK_WAIT_S = 0.2
class Stuck(KafkaTransport):
    def rest(self, timeout_s):
        time.sleep(0.6)
        super().rest(timeout_s)
watch = Client(service="s", transport=Stuck("127.0.0.1:1"), pseudonym_key="a key of the tests' own", partitions=1, close_timeout_s=0.1)
watch.record(model="m", version="1")
while watch._transport._producer is None:
    watch.flush(0.01)
began = time.monotonic()
pid = os.fork()
if not pid:
    assert watch.record(model="m", version="1") and watch.flush(10) == 0
    assert watch._transport._producer is None and dict(watch.stats().dropped) == {"delivery": 1}
    os._exit(0)
assert time.monotonic() - began < 0.5
assert os.waitpid(pid, 0)[1] == 0
time.sleep(0.5)
watch.record(model="m", version="1")
watch.flush(0.05)
assert watch._transport._producer is not None and watch.stats().queued == 2  # the parent goes on
""",
    )


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_threads_that_fork_at_once_take_turns_and_a_fork_may_fork() -> None:
    run(
        """
import logging, warnings
warnings.simplefilter("ignore", DeprecationWarning)
logging.disable()
watch = Client("127.0.0.1:1", "s", pseudonym_key="a key of the tests' own", partitions=1, close_timeout_s=0.1)
watch.record(model="m", version="1")
bad = []
def fork(depth=1):
    pid = os.fork()
    if not pid:
        if depth:
            watch.record(model="m", version="1")
            fork(depth - 1)
        os._exit(watch._transport._library.unusable)
    bad.append(os.waitpid(pid, 0)[1])
threads = [threading.Thread(target=fork) for _ in range(4)]
for thread in threads: thread.start()
for thread in threads: thread.join()
assert bad == [0, 0, 0, 0], bad
"""
    )


def test_what_waits_at_exit_is_sent() -> None:
    assert len(run("watch = client(flush_age_s=30)\nfor i in range(5): watch.record(model='m', version='1')")) == 5


def test_an_event_of_an_exit_handler_is_sent_although_no_thread_may_start_any_more() -> None:
    code = "import atexit\nwatch = client()\natexit.register(lambda: watch.record(model='m', version='1'))"
    assert len(run(code)) == 1


@pytest.mark.alone
def test_an_exit_without_a_broker_keeps_the_budget() -> None:
    run(
        "import time, atexit\nstart = time.monotonic()\natexit.register(lambda: os._exit(time.monotonic() - start > 5))\n"
        "watch = client(close_timeout_s=0.3)\nwatch._transport.reachable = False\nwatch.record(model='m', version='1')\n"
        "import logging\nlogging.disable()"
    )


def test_a_storm_of_threads_starts_one_sender_and_loses_nothing() -> None:
    code = """
watch = client(flush_age_s=1)
go = threading.Barrier(50)
def caller():
    go.wait()
    for _ in range(20):
        watch.record(model="m", version="1")
threads = [threading.Thread(target=caller) for _ in range(50)]
for thread in threads: thread.start()
for thread in threads: thread.join()
assert [thread.name for thread in threading.enumerate()].count("inferwatch") == 1
"""
    assert sorted(event["number"] for event in run(code)) == list(range(1_000))
