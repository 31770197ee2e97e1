"""Lag, stalls and states ahead of their topics, seen over a connection of the monitor's own."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from confluent_kafka import Producer

from streams.embedded.kafka import EmbeddedKafka
from streams.kafka import client_config
from streams.metrics import Metrics
from streams.monitor import Monitor
from streams.owner import Role
from streams.settings import Kafka
from tests.topics import Topics

pytestmark = pytest.mark.kafka
POSITIONS: dict[tuple[Role, int], int] = {("events", 0): 0, ("events", 1): 0}


@pytest.fixture
def settings(kafka: EmbeddedKafka, topics: Topics) -> Kafka:
    topics.create("events", partitions=2)
    return Kafka(bootstrap_servers=kafka.bootstrap_servers, topic_prefix=topics.prefix.rstrip("."), partitions=2)


class Watched:
    def __init__(self, settings: Kafka, positions: dict[tuple[Role, int], int], *, excused: bool = False, joining_s: float = 0.0) -> None:
        self.metrics, self.reasons, self.looks = Metrics(), list[str](), 0
        self.ends: dict[tuple[Role, int], int] = {}
        self.asked_ns = 0
        self.topic = f"{settings.topic_prefix}.events"

        def told() -> dict[tuple[Role, int], int]:
            self.looks += 1
            return dict(positions)

        self.monitor = Monitor(
            settings,
            0.3,
            positions=told,
            is_excused=lambda: excused,
            joining_s=lambda: joining_s,
            stalled=self.stalled,
            loop=asyncio.get_running_loop(),
            metrics=self.metrics,
            exit_code=3,
            ends=self.told_ends,
        )

    def told_ends(self, ends: dict[tuple[Role, int], int], asked_ns: int) -> None:
        self.ends |= ends
        self.asked_ns = asked_ns

    def stalled(self, reason: str) -> None:
        self.reasons.append(reason)
        self.monitor.close()

    def lag(self, partition: int) -> float | None:
        return self.metrics.registry.get_sample_value("inferwatch_lag_records", {"topic": self.topic, "partition": str(partition)})

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(20):
            while not holds():  # noqa: ASYNC110  # what is waited for sets no event
                await asyncio.sleep(0.02)


@asynccontextmanager
async def watched(
    settings: Kafka, positions: dict[tuple[Role, int], int], *, excused: bool = False, joining_s: float = 0.0
) -> AsyncIterator[Watched]:
    made = Watched(settings, positions, excused=excused, joining_s=joining_s)
    made.monitor.start()
    try:
        yield made
    finally:
        made.monitor.close()
        await asyncio.to_thread(made.monitor._thread.join)


def produce(settings: Kafka, n: int, **config: str) -> None:
    producer = Producer(client_config(settings) | config)
    if config:
        producer.init_transactions(20)
        producer.begin_transaction()
    for _ in range(n):
        producer.produce(f"{settings.topic_prefix}.events", b"x", partition=1)
    if config:
        producer.commit_transaction(20)
    producer.flush(20)


async def test_records_that_wait_and_do_not_move_are_a_stall(settings: Kafka) -> None:
    await asyncio.to_thread(produce, settings, 3)
    async with watched(settings, POSITIONS) as seen:
        await seen.until(lambda: len(seen.reasons) > 0)
        assert seen.reasons[0].startswith("3 records wait and none has moved for ")
        assert (seen.lag(0), seen.lag(1)) == (0, 3)
        assert (seen.ends["events", 0], seen.ends["events", 1]) == (0, 3)
        assert 0 < time.time_ns() - seen.asked_ns < 60e9


async def test_an_excuse_and_the_marks_of_a_transaction_are_no_stall(settings: Kafka) -> None:
    await asyncio.to_thread(produce, settings, 2, **{"transactional.id": settings.topic_prefix})
    async with watched(settings, POSITIONS, excused=True) as excused, watched(settings, POSITIONS | {("events", 1): 2}) as at_marks:
        await at_marks.until(lambda: at_marks.looks > 15 and excused.looks > 15)
        assert (at_marks.lag(1), excused.lag(1)) == (1, 3)
        assert excused.reasons == at_marks.reasons == []


async def test_a_state_ahead_of_its_topic_is_called_a_problem(settings: Kafka) -> None:
    async with watched(settings, POSITIONS | {("events", 1): 50}) as seen:
        await seen.until(lambda: len(seen.monitor.problems()) > 0)
        assert "events/1 ends at offset 0, but the state has read up to 50" in seen.monitor.problems()[0]
        await asyncio.to_thread(produce, settings, 50)
        await seen.until(lambda: seen.monitor.problems() == [])


async def test_a_group_that_gives_no_partitions_for_minutes_is_a_stall_though_nothing_waits(settings: Kafka) -> None:
    async with watched(settings, {}, joining_s=301.0) as too_long, watched(settings, {}, joining_s=299.0) as patient:
        await too_long.until(lambda: len(too_long.reasons) > 0)
        assert "no partitions for 301 s" in too_long.reasons[0]
        await patient.until(lambda: patient.looks > 5)
        assert patient.reasons == []
