"""Topics as the table says, messages that arrive, references that every worker sees: on Apache Kafka itself."""

import asyncio
import queue
import random
import time

import pytest
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaException, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin import ConfigResource as _ConfigResource  # type: ignore[attr-defined]  # public by its docs

from inferwatch import partition_of_key
from schemas.topics import topics as wanted_topics
from streams.embedded.kafka import EmbeddedKafka
from streams.kafka import (
    KafkaPublisher,
    TopicError,
    client_config,
    ends,
    ensure_topics,
    has_records,
    partition_for_key,
    publish_reference,
    reach,
)
from streams.reference_topic import ReferenceReader
from streams.settings import Kafka
from tests.topics import Topics

pytestmark = pytest.mark.kafka


@pytest.fixture
def settings(kafka: EmbeddedKafka, topics: Topics) -> Kafka:
    return Kafka(bootstrap_servers=kafka.bootstrap_servers, topic_prefix=topics.prefix.rstrip("."), partitions=3)


@pytest.fixture
def admin(settings: Kafka) -> AdminClient:
    return AdminClient(client_config(settings))


def read(settings: Kafka, topic: str, n: int) -> list[Message]:
    consumer = Consumer(client_config(settings) | {"group.id": "test", "enable.auto.commit": False})
    consumer.assign([TopicPartition(f"{settings.topic_prefix}.{topic}", p, OFFSET_BEGINNING) for p in range(settings.partitions)])
    try:
        return [message for _ in range(n) if (message := consumer.poll(10.0)) is not None]
    finally:
        consumer.close()


def test_missing_topics_are_made_as_the_table_says_and_the_second_time_nothing_is(settings: Kafka, admin: AdminClient) -> None:
    wanted = {topic.name: topic for topic in wanted_topics(settings.topic_prefix, 3, 1)}
    assert set(ensure_topics(settings)) == set(wanted)
    assert ensure_topics(settings) == []
    there = admin.list_topics(timeout=10).topics
    assert {name: len(there[name].partitions) for name in wanted} == {name: topic.partitions for name, topic in wanted.items()}
    name = f"{settings.topic_prefix}.references"
    (future,) = admin.describe_configs([_ConfigResource(_ConfigResource.Type.TOPIC, name)]).values()
    config = {entry.name: entry.value for entry in future.result(timeout=10).values()}
    assert {key: config[key] for key in wanted[name].config} == wanted[name].config


def test_a_topic_with_other_partitions_is_named_with_what_to_do(settings: Kafka, topics: Topics) -> None:
    topics.create("events", partitions=2)
    topics.create("windows", partitions=5)
    with pytest.raises(TopicError) as error:
        ensure_topics(settings)
    assert f"{topics.prefix}events has 2 partitions, kafka.partitions is 3: add partitions to it, or set kafka.partitions = 2" in str(
        error.value
    )
    assert f"{topics.prefix}windows has 5 partitions, kafka.partitions is 3: set kafka.partitions = 5" in str(error.value)


def test_a_topic_that_cannot_be_made_is_named(kafka: EmbeddedKafka, topics: Topics) -> None:
    too_many = Kafka(bootstrap_servers=kafka.bootstrap_servers, topic_prefix=topics.prefix.rstrip("."), partitions=1, replication=3)
    with pytest.raises(TopicError, match=r"\.events cannot be created: "):
        ensure_topics(too_many)


def test_a_broker_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streams.kafka._REACH_S", 0.3)
    assert "Kafka at 127.0.0.1:1 (plaintext) does not answer" in str(reach(Kafka(bootstrap_servers="127.0.0.1:1")))


@pytest.mark.parametrize("key", ["fraud", "", "größe", "m" * 256])
def test_keys_go_where_the_sdk_puts_them(key: str) -> None:
    assert partition_for_key(key.encode(), 12) == partition_of_key(key, 12)


async def test_messages_arrive_on_the_partition_of_their_key_with_their_headers(settings: Kafka) -> None:
    ensure_topics(settings)
    outcomes: asyncio.Queue[tuple[str | None, bool]] = asyncio.Queue()
    failures: list[str] = []
    publisher = KafkaPublisher(settings, asyncio.get_running_loop(), failures.append)
    try:
        for i in range(10):
            assert publisher.send("windows", b"fraud", str(i).encode(), {"reason": "größe"}, lambda *outcome: outcomes.put_nowait(outcome))
        assert {await asyncio.wait_for(outcomes.get(), 15) for _ in range(10)} == {(None, False)}
        publisher.send("findings", b"fraud", random.Random(1).randbytes(2_000_000), {}, lambda *outcome: outcomes.put_nowait(outcome))
        error, permanent = await asyncio.wait_for(outcomes.get(), 15)
        assert permanent
        assert "findings" in str(error)
        publisher.send("windows", b"fraud", b"x" * 20_000_000, {}, lambda *outcome: outcomes.put_nowait(outcome))
        assert (await asyncio.wait_for(outcomes.get(), 15))[1]
    finally:
        await asyncio.to_thread(publisher.close, 5.0)
    messages = await asyncio.to_thread(read, settings, "windows", 10)
    assert [message.value() for message in messages] == [str(i).encode() for i in range(10)]
    assert {message.partition() for message in messages} == {partition_of_key("fraud", 3)}
    assert messages[0].headers() == [("reason", "größe".encode())]
    assert failures == []


def test_references_that_are_there_come_first_and_later_ones_follow(settings: Kafka) -> None:
    ensure_topics(settings)
    publish_reference(settings, "fraud", "1", b"old")
    publish_reference(settings, "fraud", "1", b"x" * 5_000_000)
    publish_reference(settings, "spam", "2", b"two")
    Producer(client_config(settings)).produce(f"{settings.topic_prefix}.references", b"junk", b"no version", 0)
    told: queue.Queue[object] = queue.Queue()
    reader = ReferenceReader(settings, lambda *reference: told.put(reference), lambda: told.put("caught up"))
    reader.start()
    try:
        first = []
        while (each := told.get(timeout=20)) != "caught up":
            first.append(each)
        assert first.index(("fraud", "1", b"old")) < first.index(("fraud", "1", b"x" * 5_000_000))
        assert ("spam", "2", b"two") in first
        publish_reference(settings, "fraud", "1", None)
        assert told.get(timeout=20) == ("fraud", "1", None)
        assert told.empty()
    finally:
        reader.close()


def test_a_reference_that_does_not_arrive_is_an_error(settings: Kafka) -> None:
    ensure_topics(settings)
    with pytest.raises(KafkaException):
        publish_reference(settings, "fraud", "1", b"x" * 17_000_000)


def test_an_end_without_records_is_told_from_records_that_wait(settings: Kafka, admin: AdminClient) -> None:
    ensure_topics(settings)
    topic = f"{settings.topic_prefix}.events"
    producer = Producer(client_config(settings) | {"transactional.id": topic})
    producer.init_transactions(20)
    producer.begin_transaction()
    producer.produce(topic, b"x", partition=1)
    producer.commit_transaction(20)
    partitions = [(topic, 0), (topic, 1)]
    end = time.monotonic() + 20
    while (found := ends(admin, partitions)) != {(topic, 0): 0, (topic, 1): 2}:  # the mark of the end is written after the commit
        assert time.monotonic() < end, found
        time.sleep(0.05)
    assert has_records(settings, topic, 1, 0)
    assert not has_records(settings, topic, 1, 1)  # what is left is the mark of the transaction's end
