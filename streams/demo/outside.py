"""The demo's traffic for an installation that runs already: its Kafka, its workers, its pager."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import msgspec
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from schemas import reference
from schemas.reference import Reference
from streams.demo import DemoError
from streams.kafka import client_config, publish_reference
from streams.settings import Settings

_TOPICS_S = 60.0
_TAKEN_UP_S = 5.0


class Outside:
    """Stands where `stage.Stage` stands, but starts nothing.

    Args:
        settings: as the workers have them (window length, membership key, security), from the environment.
        bootstrap_servers: of their Kafka.
        say: told what happens.

    Raises:
        DemoError: from `start`, when Kafka does not answer or no worker has made its topics.
    """

    kept = True
    pager = None
    store = alertmanager_url = metrics_url = ""
    home = Path()

    def __init__(self, settings: Settings, bootstrap_servers: str, say: Callable[[str], None]) -> None:
        self.settings = _with(settings, bootstrap_servers, settings.kafka.partitions)
        self._say = say

    def start(self) -> Outside:
        """Waits for the topics, which the workers make, and counts their partitions."""
        kafka = self.settings.kafka
        topic = f"{kafka.topic_prefix}.references"
        self._say(f"looking for {topic} at {kafka.bootstrap_servers}")
        end = time.monotonic() + _TOPICS_S
        why = ""
        while time.monotonic() < end:
            try:
                found = AdminClient(client_config(kafka)).list_topics(timeout=5.0).topics.get(topic)
                if found is not None and found.partitions:
                    self.settings = _with(self.settings, kafka.bootstrap_servers, len(found.partitions))
                    return self
                why = "it has no such topic: is a worker running there?"
            except KafkaException as error:
                why = str(error.args[0].str())
            time.sleep(1.0)
        raise DemoError(f"Kafka at {kafka.bootstrap_servers} ({kafka.security}): {why}")

    def publish(self, published: Reference) -> None:
        """Puts the reference on its topic."""
        publish_reference(self.settings.kafka, published.model, published.version, reference.encode(published))

    def wait_for_worker(self) -> None:
        """Gives the workers time to take the reference up; whether they have can't be asked."""
        time.sleep(_TAKEN_UP_S)

    def check(self) -> None:
        """Nothing of ours runs there."""

    def stop_worker(self) -> None:
        """Nothing of ours runs there."""

    def stop(self) -> None:
        """Nothing of ours runs there."""


def _with(settings: Settings, bootstrap_servers: str, partitions: int) -> Settings:
    kafka = msgspec.structs.replace(settings.kafka, bootstrap_servers=bootstrap_servers, partitions=partitions)
    return msgspec.structs.replace(settings, kafka=kafka)
