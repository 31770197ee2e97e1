"""Looking verdicts up: what holds is found in microseconds; whatever is wrong with the feed, the answer is "observe", and counted."""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from confluent_kafka import Producer

from inferwatch import NOTHING, Verdict, Verdicts, partition_of, pseudonym_of, read_verdict
from inferwatch._verdicts import _Book
from tests.topics import Topics

pytestmark = pytest.mark.kafka
KEY = b"a key of the tests own, 16 bytes"
OLD = b"the key before this one, 0123456"
HOUR = 3_600 * 10**9


def verdict(client: str = "", model: str = "fraud", action: str = "block", hours: float = 1.0, begins: float = 0.0, **more: Any) -> Verdict:
    now = time.time_ns()
    fields = {"issued_ns": now, "not_before_ns": now + round(begins * HOUR), "expires_ns": now + round((begins + hours) * HOUR)}
    return msgspec.convert({"model": model, "client": client, "action": action, **fields, **more}, Verdict)


class Feed:
    """Writes to the topic as a worker does."""

    def __init__(self, topics: Topics) -> None:
        self.topic = topics.create("verdicts", cleanup_policy="compact")
        self._producer = Producer({"bootstrap.servers": topics.bootstrap_servers})

    def put(self, *verdicts: Verdict) -> None:
        for one in verdicts:
            self.raw(one.model, one.client, msgspec.json.encode(one))

    def withdraw(self, model: str, client: str) -> None:
        self.raw(model, client, None)

    def raw(self, model: str, client: str, value: bytes | None) -> None:
        self._producer.produce(self.topic, value, f"{model}\0{client}".encode(), partition_of(model, client, 4))
        assert self._producer.flush(20) == 0


@pytest.fixture
def feed(topics: Topics) -> Feed:
    return Feed(topics)


@pytest.fixture
def look(topics: Topics) -> Iterator[Callable[..., Verdicts]]:
    made: list[Verdicts] = []

    def make(**given: Any) -> Verdicts:
        options: dict[str, Any] = {"pseudonym_key": KEY, "topic_prefix": topics.prefix.rstrip("."), "stale_s": 4.0, "environment": {}}
        made.append(Verdicts(topics.bootstrap_servers, **options | given))
        return made[-1]

    yield make
    for one in made:
        one.close()


def until(fact: Callable[[], bool], timeout_s: float = 20.0) -> None:
    end = time.monotonic() + timeout_s
    while not fact():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_verdict_is_found_under_the_raw_id_and_only_there(feed: Feed, look: Callable[..., Verdicts]) -> None:
    feed.put(verdict(pseudonym_of(KEY, "alice"), action="throttle", rate=10.0), verdict(pseudonym_of(KEY, "7"), action="round", digits=2))
    verdicts = look()
    assert verdicts.wait(20)
    assert verdicts.look_up("fraud", "alice").text == "throttle(10)"
    assert verdicts.look_up("fraud", 7).digits == 2
    for model, client in (("fraud", "bob"), ("fraud", ""), ("other", "alice"), ("fraud", pseudonym_of(KEY, "alice"))):
        assert verdicts.look_up(model, client) is NOTHING
    assert (verdicts.stats().found, verdicts.stats().none, verdicts.stats().held) == (2, 4, 2)


def test_changes_reach_a_running_gateway_and_withdrawals_too(feed: Feed, look: Callable[..., Verdicts]) -> None:
    verdicts = look()
    assert verdicts.wait(20)
    feed.put(verdict(pseudonym_of(KEY, "alice")))
    until(lambda: verdicts.look_up("fraud", "alice").action == "block")
    feed.put(verdict(pseudonym_of(KEY, "alice"), action="observe"))
    until(lambda: verdicts.look_up("fraud", "alice").action == "observe")
    assert verdicts.look_up("fraud", "alice") is not NOTHING
    feed.withdraw("fraud", pseudonym_of(KEY, "alice"))
    until(lambda: verdicts.look_up("fraud", "alice") is NOTHING)
    assert verdicts.stats().held == 0


def test_an_expired_verdict_is_never_served_nor_one_whose_time_has_not_come(feed: Feed, look: Callable[..., Verdicts]) -> None:
    short = verdict(pseudonym_of(KEY, "short"), hours=3 / 3_600)
    feed.put(short, verdict(pseudonym_of(KEY, "late"), begins=1.0), verdict(pseudonym_of(KEY, "over"), hours=0.0))
    verdicts = look()
    assert verdicts.wait(20)
    assert verdicts.look_up("fraud", "late") is NOTHING
    assert verdicts.look_up("fraud", "over") is NOTHING
    until(lambda: time.time_ns() >= short.expires_ns)
    assert verdicts.look_up("fraud", "short") is NOTHING


def test_the_circuit_breaker_holds_for_everybody_and_the_strongest_wins(feed: Feed, look: Callable[..., Verdicts]) -> None:
    feed.put(verdict(action="round", digits=1), verdict(pseudonym_of(KEY, "alice")), verdict(pseudonym_of(KEY, "bob"), action="observe"))
    verdicts = look()
    assert verdicts.wait(20)
    assert [verdicts.look_up("fraud", who).action for who in ("", "eve", "alice", "bob")] == ["round", "round", "block", "round"]


def test_after_a_change_of_keys_verdicts_on_the_old_name_go_on(feed: Feed, look: Callable[..., Verdicts]) -> None:
    feed.put(verdict(pseudonym_of(OLD, "alice")), verdict(pseudonym_of(KEY, "bob")))
    both, new = look(previous_pseudonym_key=OLD), look()
    assert both.wait(20)
    assert new.wait(20)
    assert [both.look_up("fraud", who).action for who in ("alice", "bob")] == ["block", "block"]
    assert [new.look_up("fraud", who).action for who in ("alice", "bob")] == ["observe", "block"]


BAD: list[bytes] = [
    b"", b"{}", b"[]", b"null", b"\xff", b'{"model": "fraud"', b'{"model": "fraud", "client": "x", "action": "kill"}',
    b'{"model": "fraud", "client": "x", "action": "throttle"}', b'{"model": "fraud", "client": "x", "expires_ns": -5}',
    b'{"model": "fraud", "client": "x", "rate": 1}', b'{"model": "fraud", "client": "other"}', b"[" * 5_000,
    msgspec.json.encode(verdict("x")) + b" " * 10_000,
]  # fmt: skip


@pytest.mark.parametrize("value", BAD, ids=range(len(BAD)))
def test_a_record_that_is_no_verdict_is_refused(value: bytes) -> None:
    with pytest.raises((ValueError, RecursionError)):
        read_verdict(b"fraud\0x", value)


def test_bad_records_are_dropped_and_counted_and_the_good_ones_behind_them_read(feed: Feed, look: Callable[..., Verdicts]) -> None:
    for value in BAD[1:]:
        feed.raw("fraud", "x", value)
    feed.raw("no zero byte", "", b"{}")
    feed.put(verdict(pseudonym_of(KEY, "alice")))
    verdicts = look()
    assert verdicts.wait(20)
    assert verdicts.look_up("fraud", "alice").action == "block"
    assert verdicts.stats().bad == len(BAD)


def test_what_finds_no_room_is_counted_and_what_expires_makes_room(feed: Feed, look: Callable[..., Verdicts]) -> None:
    feed.put(*(verdict(f"c{k}") for k in range(10)))
    verdicts = look(max_verdicts=4)
    assert verdicts.wait(20)
    assert (verdicts.stats().held, verdicts.stats().full) == (4, 6)
    book, now = _Book(2), time.time_ns()
    short, long, new = verdict("a", hours=1), verdict("b", hours=3), verdict("c", hours=9)
    assert [book.put(one, now) for one in (short, long, new)] == [True, True, False]
    assert book.put(new, now + 2 * HOUR)
    assert sorted(book.by_model["fraud"]) == ["b", "c"]
    assert book.held == 2


@pytest.mark.alone
def test_without_a_broker_or_a_topic_every_answer_is_observe_at_once_and_counted(topics: Topics, look: Callable[..., Verdicts]) -> None:
    nobody = Verdicts("127.0.0.1:1", pseudonym_key=KEY, environment={})
    for verdicts in (nobody, look()):
        began = time.monotonic()
        for _ in range(1_000):
            assert verdicts.look_up("fraud", "alice") is NOTHING
        assert time.monotonic() - began < 1.0
        assert not verdicts.wait(0.2)
        assert verdicts.stats().stale == 1_000
    nobody.close()


def test_a_topic_that_comes_later_is_found(topics: Topics, look: Callable[..., Verdicts]) -> None:
    verdicts = look()
    assert not verdicts.wait(0.5)
    Feed(topics).put(verdict(pseudonym_of(KEY, "alice")))
    until(lambda: verdicts.look_up("fraud", "alice").action == "block")


def test_a_feed_that_was_not_read_lately_is_not_believed(feed: Feed, look: Callable[..., Verdicts]) -> None:
    feed.put(verdict(pseudonym_of(KEY, "alice")))
    verdicts = look(stale_s=1.0)
    assert verdicts.wait(20)
    assert verdicts.look_up("fraud", "alice").action == "block"
    verdicts._ends = lambda admin, partitions: {}  # type: ignore[method-assign]  # the leaders do not answer any more
    until(lambda: verdicts.look_up("fraud", "alice") is NOTHING, 5.0)
    assert verdicts.stats().stale >= 1
    del verdicts._ends
    until(lambda: verdicts.look_up("fraud", "alice").action == "block", 5.0)


def test_a_closed_one_says_observe_and_its_thread_has_ended(feed: Feed, look: Callable[..., Verdicts]) -> None:
    feed.put(verdict(pseudonym_of(KEY, "alice")))
    verdicts = look()
    assert verdicts.wait(20)
    verdicts.close()
    verdicts.close()
    assert verdicts.look_up("fraud", "alice") is NOTHING
    assert not any(thread.name == "inferwatch-verdicts" and thread is verdicts._thread for thread in threading.enumerate())


def test_what_cannot_be_looked_up_is_observe_and_counted(feed: Feed, look: Callable[..., Verdicts]) -> None:
    class Odd:
        def __str__(self) -> str:
            raise RuntimeError

    feed.put(verdict(pseudonym_of(KEY, "alice")))
    verdicts = look()
    assert verdicts.wait(20)
    assert verdicts.look_up("fraud", Odd()) is NOTHING  # type: ignore[arg-type]  # wrong on purpose
    assert verdicts.look_up(["fraud"], "alice") is NOTHING  # type: ignore[arg-type]  # wrong on purpose
    assert verdicts.stats().failed == 2


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork.*:DeprecationWarning")
def test_a_forked_child_reads_for_itself(feed: Feed, look: Callable[..., Verdicts]) -> None:
    feed.put(verdict(pseudonym_of(KEY, "alice")))
    verdicts = look()
    assert verdicts.wait(20)
    child = os.fork()
    if child == 0:
        first = verdicts.look_up("fraud", "alice") is NOTHING
        os._exit(0 if first and verdicts.wait(20) and verdicts.look_up("fraud", "alice").action == "block" else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert verdicts.look_up("fraud", "alice").action == "block"


def test_nonsense_is_refused_when_it_is_made() -> None:
    for given, message in (
        ({"environment": {}}, "bootstrap_servers is missing"),
        ({"bootstrap_servers": "x:1", "environment": {}}, "pseudonym_key is missing"),
        ({"bootstrap_servers": "x:1", "pseudonym_key": KEY, "stale_s": 0}, "stale_s must be 1 to 3600"),
        ({"bootstrap_servers": "x:1", "pseudonym_key": KEY, "max_verdicts": 0}, "max_verdicts must be"),
    ):
        with pytest.raises(ValueError, match=message):
            Verdicts(**given)


def test_the_gateway_of_the_documents_does_what_verdicts_ask(feed: Feed, topics: Topics) -> None:
    text = (Path(__file__).parents[2] / "docs/howto/verdicts.md").read_text()
    block = text.split("```python\n")[1].split("```")[0]
    given = f"Verdicts({topics.bootstrap_servers!r}, topic_prefix={topics.prefix.rstrip('.')!r}, pseudonym_key={KEY!r})"
    block = re.sub(r"Verdicts\(\"127.*\)", lambda _: given, block)
    feed.put(verdict(pseudonym_of(KEY, "alice")), verdict(pseudonym_of(KEY, "bob"), action="throttle", rate=10.0))
    feed.put(verdict(pseudonym_of(KEY, "eve"), action="round", digits=2))
    names: dict[str, Any] = {}
    exec(compile(block, "verdicts.md", "exec"), names)
    with names["verdicts"] as verdicts:
        assert verdicts.wait(20)
        admit = names["admit"]
        asked = [("alice", 0), ("bob", 9), ("bob", 10), ("eve", 99), ("dan", 99)]
        assert [admit("fraud", *one) for one in asked] == [(False, None), (True, None), (False, None), (True, 2), (True, None)]
