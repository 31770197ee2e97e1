"""A whole worker on Apache Kafka: killed at any moment it loses nothing and doubles nothing, and it ends when it is told to."""

import asyncio
import json
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from faust.types import TP

from streams import monitor
from streams.app import _Consumer, _ConsumerThread
from streams.embedded.kafka import EmbeddedKafka
from streams.settings import Metrics
from streams.worker import Exit
from tests.streams.counting import RESOLVE
from tests.streams.process import PARTITIONS, Worker, until
from tests.topics import Topics

pytestmark = pytest.mark.kafka


@pytest.fixture(params=["folder", "kafka"])
def worker(request: pytest.FixtureRequest, kafka: EmbeddedKafka, topics: Topics, tmp_path: Path) -> Iterator[Worker]:
    made = Worker(kafka, topics.prefix.rstrip("."), tmp_path, store=request.param)
    yield made
    made.kill()


def test_three_kills_lose_nothing_and_double_nothing(worker: Worker) -> None:
    worker.start()
    until(worker, lambda: worker.health()[0] == 200)
    producer = Producer({"bootstrap.servers": worker.bootstrap_servers, "linger.ms": 1})
    sent: Counter[tuple[int, str]] = Counter()
    n = 0
    for kill in range(4):
        before = sum(shard.records for shard in worker.shards())
        for _ in range(400):
            key, partition = f"client{n % 7}", n % PARTITIONS
            producer.produce(f"{worker.prefix}.events", str(n).encode(), key, partition)
            sent[partition, key] += n
            n += 1
        producer.flush()
        if kill < 3:
            until(worker, lambda before=before: sum(shard.records for shard in worker.shards()) > before)  # type: ignore[misc]
            assert worker.end(signal.SIGKILL) == -signal.SIGKILL
            worker.start()
    until(worker, lambda: worker.judge().told + worker.judge().holes >= n)
    assert worker.end() == 0
    assert {(shard.partition, key): total for shard in worker.shards() for key, total in shard.sums.items()} == sent
    judge = worker.judge()
    assert (judge.told, judge.total, judge.holes) == (n, sum(sent.values()), 0)
    assert len(judge.outbox) == 0


@pytest.mark.alone
def test_it_ends_within_seconds_when_told_to_and_a_poisoned_record_did_not_end_it(worker: Worker) -> None:
    worker.start()
    until(worker, lambda: worker.health() == (200, "ok\n"))
    producer = Producer({"bootstrap.servers": worker.bootstrap_servers})
    for value in "1", "no number", "2":
        producer.produce(f"{worker.prefix}.events", value, "c", 1, headers={"content-type": "text/plain"})
    producer.flush()
    until(worker, lambda: worker.judge().told == 2)
    began = time.monotonic()
    assert worker.end() == 0
    assert time.monotonic() - began < 5
    assert worker.judge().total == 3
    dead = Consumer({"bootstrap.servers": worker.bootstrap_servers, "group.id": "test", "auto.offset.reset": "earliest"})
    dead.subscribe([f"{worker.prefix}.dlq"])
    letter = dead.poll(20)
    dead.close()
    assert letter is not None
    assert letter.value() == b"no number"
    assert ("reason", b"internal_error") in (letter.headers() or [])


def test_a_worker_that_hangs_ends_itself(kafka: EmbeddedKafka, topics: Topics, tmp_path: Path) -> None:
    worker = Worker(kafka, topics.prefix.rstrip("."), tmp_path, stall_s=1.5)
    worker.start()
    try:
        until(worker, lambda: worker.health()[0] == 200)
        producer = Producer({"bootstrap.servers": worker.bootstrap_servers})
        producer.produce(f"{worker.prefix}.events", "hang", "c", 1)
        producer.flush()
        assert worker.process is not None
        assert worker.process.wait(20) == Exit.STALLED
        assert "1 records wait and none has moved for" in str([line.get("why") for line in worker.lines()])
    finally:
        worker.kill()


@pytest.mark.parametrize("committed", [0, 150])
def test_reading_goes_on_where_the_state_says_whatever_kafka_says_was_committed(worker: Worker, committed: int) -> None:
    topic = f"{worker.prefix}.events"
    producer = Producer({"bootstrap.servers": worker.bootstrap_servers, "linger.ms": 1})

    def produce(n: int) -> None:
        for _ in range(n):
            producer.produce(topic, "1", "c", 1)
        producer.flush()

    worker.start()
    until(worker, lambda: worker.health()[0] == 200)
    produce(100)
    until(worker, lambda: worker.judge().told == 100)
    assert worker.end() == 0
    produce(100)
    admin = AdminClient({"bootstrap.servers": worker.bootstrap_servers})
    offsets = ConsumerGroupTopicPartitions(worker.prefix, [TopicPartition(topic, 1, committed)])
    for future in admin.alter_consumer_group_offsets([offsets]).values():
        future.result(timeout=20)
    worker.start()
    until(worker, lambda: worker.judge().told == 200)
    label = f'{{topic="{topic}"}}'
    assert worker.metric(f"inferwatch_records_total{label}") == 100
    assert worker.metric(f"inferwatch_records_skipped_total{label}") == 0  # neither read again nor jumped over and come back to
    assert worker.metric(f"inferwatch_records_lost_total{label}") == 0
    assert worker.end() == 0
    assert worker.judge().total == 200


async def test_reading_is_sent_back_in_the_thread_that_hands_records_out() -> None:
    where: list[object] = []

    class Thread(_ConsumerThread):
        def __init__(self) -> None: ...

        def _ensure_consumer(self) -> Any:
            return self

        def seek(self, partition: Any, offset: int) -> None:
            where.append((threading.current_thread().name, partition, offset))

        async def call_thread(self, fun: Any, *args: Any, **_: Any) -> None:
            await asyncio.get_running_loop().run_in_executor(pool, fun, *args)

    with ThreadPoolExecutor(1, thread_name_prefix="consumer") as pool:
        consumer = object.__new__(_Consumer)
        consumer._thread = Thread()
        await consumer._seek(TP("events", 1), 7)
    assert where == [("consumer_0", TP("events", 1), 7)]


@pytest.mark.alone
@pytest.mark.slow
@pytest.mark.parametrize("value", ["deaf", "hang"])
def test_a_worker_that_stands_still_is_gone_within_thirty_seconds_and_the_next_one_counts_on(
    kafka: EmbeddedKafka, topics: Topics, tmp_path: Path, value: str
) -> None:
    """With the settings that everybody has."""
    worker = Worker(kafka, topics.prefix.rstrip("."), tmp_path, store="kafka", stall_s=Metrics().stall_s)
    worker.environment = {"TEST_DEAF": "1", "TEST_GRACE": str(monitor._GRACE_S)}
    worker.start()
    try:
        until(worker, lambda: worker.health()[0] == 200)
        producer = Producer({"bootstrap.servers": worker.bootstrap_servers})
        for one in "1", "1":
            producer.produce(f"{worker.prefix}.events", one, "c", 1)
        producer.flush()
        until(worker, lambda: sum(shard.records for shard in worker.shards()) == 2)
        began = time.monotonic()
        producer.produce(f"{worker.prefix}.events", value, "c", 1)
        producer.flush()
        if value == "deaf":
            until(worker, lambda: sum(shard.records for shard in worker.shards()) == 3)
            assert worker.health()[0] == 200
            began = time.monotonic()
        for _ in range(5):
            producer.produce(f"{worker.prefix}.events", "1", "c", 1)
        producer.flush()
        assert worker.process is not None
        assert worker.process.wait(60) == Exit.STALLED
        assert time.monotonic() - began < 30
        if value == "deaf":  # the other one would hang again, rightly
            worker.environment = {}
            worker.start()
            until(worker, lambda: worker.judge().told == 8)
            assert worker.end() == 0
            assert worker.judge().total == 7
    finally:
        worker.kill()


def test_topics_that_do_not_fit_end_it_with_a_clear_word(worker: Worker, topics: Topics) -> None:
    topics.create("events", partitions=7)
    worker.start()
    assert worker.process is not None
    assert worker.process.wait(20) == Exit.MISCONFIGURED
    assert f"{topics.prefix}events has 7 partitions" in worker.log.read_text()


def test_it_waits_for_a_broker_as_long_as_it_may_says_so_and_can_be_stopped_meanwhile(
    kafka: EmbeddedKafka, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = Worker(kafka, "t-absent", tmp_path)
    file = tmp_path / "settings.toml"
    file.write_text(file.read_text().replace(kafka.bootstrap_servers, "127.0.0.1:1"))
    worker.start()
    until(worker, lambda: worker.health()[1].startswith("Kafka at 127.0.0.1:1 (plaintext) does not answer: "))
    assert worker.health()[0] == 503
    assert worker.end() == 0
    monkeypatch.setenv("TEST_BROKER_PATIENCE", "0.1")
    worker.start()
    assert worker.process is not None
    assert worker.process.wait(20) == Exit.NO_BROKER


@pytest.mark.slow
def test_a_broker_that_dies_and_comes_back_costs_nothing(tmp_path: Path) -> None:
    with EmbeddedKafka() as own:
        worker = Worker(own, "reborn", tmp_path)
        worker.start()
        try:
            sent = 0
            producer = Producer({"bootstrap.servers": own.bootstrap_servers, "linger.ms": 1, "enable.idempotence": True})
            until(worker, lambda: worker.health()[0] == 200)
            for _ in range(3):
                for _ in range(400):
                    producer.produce("reborn.events", "1", "c", sent % PARTITIONS)
                    sent += 1
                producer.flush(30)
                own.nodes[0].kill()
                own.nodes[0].start()
            until(worker, lambda: worker.judge().told >= sent, 90)
            judge = worker.judge()
            assert (judge.told, judge.total, judge.holes) == (sent, sent, 0)
            assert worker.end() == 0
        finally:
            worker.kill()


@pytest.mark.slow
def test_a_worker_that_slept_through_its_replacement_changes_nothing(worker: Worker) -> None:
    other = worker.another()
    producer = Producer({"bootstrap.servers": worker.bootstrap_servers, "linger.ms": 1})
    sent = 0

    def produce(n: int) -> None:
        nonlocal sent
        for _ in range(n):
            producer.produce(f"{worker.prefix}.events", "1", "c", sent % PARTITIONS)
            sent += 1
        producer.flush()

    try:
        worker.start()
        until(worker, lambda: worker.health()[0] == 200)
        produce(400)
        until(worker, lambda: sum(shard.records for shard in worker.shards()) > 0)
        assert worker.process is not None
        worker.process.send_signal(signal.SIGSTOP)  # with records read that no snapshot holds, and messages not yet sent
        other.start()
        until(other, lambda: other.health()[0] == 200)
        produce(400)
        until(other, lambda: other.judge().told > 400)
        worker.process.send_signal(signal.SIGCONT)
        produce(400)
        until(other, lambda: other.judge().told >= sent)
        until(worker, lambda: worker.process.poll() is not None or worker.health()[0] == 200)  # type: ignore[union-attr]
        assert worker.end() in (0, Exit.REPLACED)
        assert other.end() == 0
        judge = other.judge()
        assert (judge.told, judge.total, judge.holes) == (sent, sent, 0)
        assert sum(shard.records for shard in other.shards()) == sent
    finally:
        other.kill()


class Posts:
    """An Alertmanager that takes everything and remembers when each worker (by its path) told it what."""

    def __init__(self) -> None:
        self.all: list[tuple[str, float, dict[str, str], bool]] = []
        posts = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                now = datetime.now(UTC)
                for alert in body:
                    firing = datetime.fromisoformat(alert["endsAt"]) > now
                    posts.all.append((self.path.split("/")[1], time.time(), alert["labels"], firing))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *args: object) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def of(self, who: str, since: float = 0.0, *, firing: bool) -> int:
        return sum(name == who and at >= since and is_firing == firing for name, at, _, is_firing in self.all)

    def environment(self, who: str) -> dict[str, str]:
        url = f"http://127.0.0.1:{self.server.server_address[1]}/{who}"
        return {"INFERWATCH_ALERTMANAGER_URLS": url, "INFERWATCH_ALERTMANAGER_RESEND_S": "0.5"}


@pytest.fixture
def posts() -> Iterator[Posts]:
    made = Posts()
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.mark.slow
def test_a_worker_that_slept_pages_nobody_again_and_stores_no_row_again(worker: Worker, posts: Posts) -> None:
    other = worker.another()
    worker.environment, other.environment = posts.environment("one"), posts.environment("other")
    producer = Producer({"bootstrap.servers": worker.bootstrap_servers, "linger.ms": 1})
    sent = 0

    def produce(*values: int) -> None:
        nonlocal sent
        for value in values:
            producer.produce(f"{worker.prefix}.events", str(value), "c", sent % PARTITIONS)
            sent += 1
        producer.flush()

    try:
        worker.start()
        until(worker, lambda: worker.health()[0] == 200)
        produce(1)
        until(worker, lambda: posts.of("one", firing=True) > 0)
        worker.sink_away.touch()
        produce(*[1] * 20)
        until(worker, lambda: len(worker.judge().outbox) >= 20)  # durable, and not stored yet
        assert worker.process is not None
        worker.process.send_signal(signal.SIGSTOP)
        other.start()
        until(other, lambda: posts.of("other", firing=True) > 0)
        produce(RESOLVE)
        until(other, lambda: posts.of("other", firing=False) > 0)
        until(other, lambda: len(other.rows()) >= sent - 1)
        stored = {start for _, start, _ in other.rows()}
        assert len(stored) >= 21
        worker.sink_away.unlink()
        woken = time.time()
        worker.process.send_signal(signal.SIGCONT)
        produce(*[1] * 20)
        until(other, lambda: other.judge().told >= sent)
        until(worker, lambda: worker.process.poll() is not None or worker.health()[0] == 200)  # type: ignore[union-attr]
        produce(*[1] * 20)
        until(other, lambda: other.judge().told >= sent)
        assert posts.of("one", woken, firing=True) == 0
        assert not stored & {start for at, start, _ in worker.rows() if at >= woken}
        worker.end()
        assert other.end() == 0
        judge = other.judge()
        assert (judge.told, judge.holes, judge.alerts) == (sent, 0, [])
        assert len({start for _, start, _ in worker.rows() + other.rows()}) == sent
    finally:
        other.kill()


@pytest.mark.slow
def test_an_alert_goes_on_firing_through_a_kill_and_a_takeover_and_ends_once(worker: Worker, posts: Posts) -> None:
    other = worker.another()
    worker.environment, other.environment = posts.environment("one"), posts.environment("other")
    producer = Producer({"bootstrap.servers": worker.bootstrap_servers, "linger.ms": 1})

    def produce(value: int) -> None:
        producer.produce(f"{worker.prefix}.events", str(value), "c", 0)
        producer.flush()

    try:
        worker.start()
        until(worker, lambda: worker.health()[0] == 200)
        produce(1)
        until(worker, lambda: posts.of("one", firing=True) > 0)
        for _ in range(2):
            worker.end(signal.SIGKILL)
            killed = time.time()
            worker.start()
            until(worker, lambda killed=killed: posts.of("one", killed, firing=True) > 0)  # type: ignore[misc]
        other.start()
        worker.end(signal.SIGKILL)
        until(other, lambda: posts.of("other", firing=True) > 0)
        assert posts.of("one", firing=False) == posts.of("other", firing=False) == 0
        assert {tuple(labels.items()) for _, _, labels, _ in posts.all} == {tuple(posts.all[0][2].items())}
        produce(RESOLVE)
        until(other, lambda: posts.of("other", firing=False) > 0)
        ended = next(at for _, at, _, firing in posts.all if not firing)
        other.end(signal.SIGKILL)
        other.start()
        until(other, lambda: other.health()[0] == 200)
        produce(1)
        until(other, lambda: other.judge().told == 3)
        assert posts.of("other", ended + 0.1, firing=True) == 0
    finally:
        other.kill()


@pytest.mark.slow
def test_two_workers_share_the_partitions_and_either_takes_over(worker: Worker) -> None:
    other = worker.another()
    worker.start()
    other.start()
    producer = Producer({"bootstrap.servers": worker.bootstrap_servers, "linger.ms": 1})
    sent = 0
    try:
        for turn in range(8):
            for _ in range(500):
                producer.produce(f"{worker.prefix}.events", "1", "c", sent % PARTITIONS)
                sent += 1
            producer.flush()
            until(worker, lambda: worker.health()[0] == 200 and other.health()[0] == 200, 60)
            victim = (worker, other)[turn % 2]
            if turn % 4 == 3:
                assert victim.end() == 0
            else:
                victim.end(signal.SIGKILL)
            victim.start()
        until(worker, lambda: worker.judge().told >= sent, 90)
        judge = worker.judge()
        assert (judge.told, judge.total, judge.holes) == (sent, sent, 0)
        assert sum(shard.records for shard in worker.shards()) == sent
    finally:
        other.kill()
