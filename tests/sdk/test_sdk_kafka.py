"""The Kafka transport: delivered once, counted when not, and silent towards the service while there is no broker."""

import logging
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition

from inferwatch import Client, EventColumns, KafkaTransport, decode, partition_of, rows_of
from inferwatch._transport import Record
from tests.sdk.helpers import KEY
from tests.topics import Topics

CREATING = {"allow.auto.create.topics": True}


@pytest.fixture
def mock_broker() -> Iterator[str]:
    """librdkafka's own in-process cluster: four partitions, topics on first use if the client may create them (`CREATING`)."""
    owner = Producer({"test.mock.num.brokers": 1, "log_level": 0})
    yield ",".join(f"{broker.host}:{broker.port}" for broker in owner.list_topics(timeout=10).brokers.values())
    del owner


def client(servers: str, **settings: Any) -> Client:
    defaults: dict[str, Any] = {"service": "svc", "pseudonym_key": KEY, "flush_age_s": 0.01}
    return Client(servers, **defaults | settings)


def read(servers: str, *topics: str) -> list[Any]:
    """All records of the topics' four partitions, each to its end."""
    consumer = Consumer({"bootstrap.servers": servers, "group.id": "g", "log_level": 0, "enable.partition.eof": True})
    consumer.assign([TopicPartition(topic, partition, 0) for topic in topics for partition in range(4)])
    messages: list[Any] = []
    ended: set[tuple[Any, Any]] = set()
    deadline = time.monotonic() + 20
    while len(ended) < 4 * len(topics):
        assert time.monotonic() < deadline
        for message in consumer.consume(100, timeout=0.2):
            error = message.error()
            if error is None:
                messages.append(message)
            elif (
                error.code() == KafkaError._PARTITION_EOF
            ):  # others pass: a topic made a moment ago may be unknown to the broker's metadata
                ended.add((message.topic(), message.partition()))
    consumer.close()
    return messages


def decoded(messages: list[Any]) -> list[EventColumns]:
    return [one for message in messages for one in decode(message.value(), dict(message.headers())["content-type"].decode())[0]]


def test_records_reach_a_broker_and_are_confirmed(mock_broker: str) -> None:
    with client(mock_broker, kafka_options=CREATING) as watch:
        for i in range(1_000):
            assert watch.record(model="m", version="1", client=f"c{i % 20}", features={"x": float(i)})
        assert watch.flush(20) == 0
        assert watch.stats().sent == 1_000
    records = decoded(read(mock_broker, "inferwatch.events"))
    assert sorted(row["number"] for one in records for row in rows_of(one)) == list(range(1_000))


@pytest.mark.alone
def test_without_a_broker_nothing_raises_and_one_line_a_minute_says_so(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    with caplog.at_level(logging.DEBUG):
        watch = client("127.0.0.1:1", close_timeout_s=0.3)
        assert watch.record(model="m", version="1")
        assert watch.flush(0.5) == 1
        began = time.monotonic()
        assert watch.close() == 1
        assert time.monotonic() - began < 3
    assert dict(watch.stats().dropped) == {"closed": 1}
    lines = [record.getMessage() for record in caplog.records]
    assert any("no answer from the brokers" in line for line in lines)
    assert len(lines) <= 4
    assert capfd.readouterr().err == ""


def test_records_that_time_out_are_dropped_as_delivery() -> None:
    watch = client("127.0.0.1:1", partitions=4, close_timeout_s=0.3, kafka_options={"message.timeout.ms": 200, "linger.ms": 0})
    assert watch.record(model="m", version="1")
    assert watch.flush(20) == 0
    assert dict(watch.stats().dropped) == {"delivery": 1}
    watch.close()


def test_a_full_librdkafka_queue_is_backpressure_not_loss() -> None:
    transport = KafkaTransport("127.0.0.1:1", {"queue.buffering.max.messages": 1})
    watch = Client(service="s", transport=transport, pseudonym_key=KEY, partitions=1, flush_events=1, close_timeout_s=0.3)
    for _ in range(3):
        assert watch.record(model="m", version="1")
    assert watch.flush(0.3) == 3
    assert watch.stats().queued == 3
    watch.close()
    assert dict(watch.stats().dropped) == {"closed": 3}


def test_after_a_fatal_error_a_new_producer_takes_over(mock_broker: str) -> None:
    transport = KafkaTransport(mock_broker, CREATING)
    watch = Client(service="s", transport=transport, pseudonym_key=KEY, partitions=4, flush_age_s=0.01)
    assert watch.record(model="m", version="1")
    assert watch.flush(20) == 0
    first = transport._producer
    transport._broken = "CLUSTER_AUTHORIZATION_FAILED"
    assert watch.record(model="m", version="1")
    assert watch.flush(20) == 0
    assert transport._producer is not first
    assert watch.stats().sent == 2
    watch.close()


def test_what_a_fork_interrupts_is_sent_by_the_next_producer(mock_broker: str) -> None:
    transport, answers = KafkaTransport(mock_broker, CREATING), list[str | None]()
    record = Record("inferwatch.events", 0, None, b"payload", [])
    assert transport.send(record, answers.append)
    transport.rest(0.0)
    assert answers == []
    assert transport._producer is None
    deadline = time.monotonic() + 10
    while not answers and time.monotonic() < deadline:
        transport.poll()
        time.sleep(0.01)
    assert answers == [None]
    transport.send(record, answers.append)
    transport.rest(5.0)
    assert answers == [None, None]  # confirmed in time
    transport.send(record, answers.append)
    transport.rest(0.0)
    transport.after_fork()  # in the child: they are the parent's
    transport.close(1.0)
    assert answers == [None, None]


@pytest.mark.kafka
def test_everything_arrives_at_a_real_kafka_once_in_order_and_on_its_partition(topics: Topics) -> None:
    prefix = f"{topics.prefix}iw"
    watch = client(topics.bootstrap_servers, topic_prefix=prefix)
    for i in range(300):  # before the topics are there: they wait
        assert watch.record(model="m", version="1", client=f"c{i % 9}", features={"x": float(i)}, event_id=str(i))
    assert watch.flush(0.5) == 300
    for name in ("iw.events", "iw.labels", "iw.lifecycle"):
        topics.create(name)
    assert watch.record_many(
        model="m", version="1", client=[f"c{i % 9}" for i in range(3_000)], features=np.ones((3_000, 2)), names=["x", "y"]
    )
    assert watch.label(model="m", event_id="7", truth="yes")
    assert watch.loaded(model="m", version="1", signature="valid")
    assert watch.flush(20) == 0
    assert watch.close() == 0
    assert watch.stats().sent == 3_300
    messages = read(topics.bootstrap_servers, f"{prefix}.events")
    for message, one in zip(messages, decoded(messages), strict=True):
        assert one.number.tolist() == sorted(one.number.tolist())
        assert {partition_of("m", name, 4) for name in one.client.values} == {message.partition()}
    assert sorted(number for one in decoded(messages) for number in one.number.tolist()) == list(range(3_300))
    signals = read(topics.bootstrap_servers, f"{prefix}.labels", f"{prefix}.lifecycle")
    kinds = {dict(message.headers())["ce_type"].decode() for message in signals}
    assert kinds == {"inferwatch.label.v1", "inferwatch.lifecycle.v1", "inferwatch.heartbeat.v1"}


@pytest.mark.kafka
def test_asking_for_a_topic_does_not_create_it(topics: Topics) -> None:
    transport = KafkaTransport(topics.bootstrap_servers)
    assert transport.partitions(f"{topics.prefix}none", 10.0) is None
    assert transport.partitions(f"{topics.prefix}none", 10.0) is None
    topics.create("some", partitions=3)
    deadline = time.monotonic() + 10
    while (found := transport.partitions(f"{topics.prefix}some", 10.0)) is None:
        assert time.monotonic() < deadline
    assert found == 3
    transport.close(1.0)
