"""Kafka topics that one test has for itself."""

import uuid

from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic  # where the package's own annotations say it is

from streams.embedded.kafka import EmbeddedKafka


class Topics:
    """Topics of one test: every name begins with a prefix that no other test has."""

    def __init__(self, kafka: EmbeddedKafka) -> None:
        self.prefix = f"t{uuid.uuid4().hex[:12]}."
        self.bootstrap_servers = kafka.bootstrap_servers
        self._admin = AdminClient({"bootstrap.servers": kafka.bootstrap_servers})

    def create(self, name: str, partitions: int = 4, **config: str) -> str:
        """Create a topic (dots of settings as underscores: `cleanup_policy="compact"`); returns its whole name."""
        topic = NewTopic(
            self.prefix + name, partitions, replication_factor=1, config={key.replace("_", "."): value for key, value in config.items()}
        )
        for future in self._admin.create_topics([topic]).values():
            future.result(timeout=20)
        return self.prefix + name

    def delete_all(self) -> None:
        """Delete every topic with the prefix, also those that the tested code made."""
        if mine := [name for name in self._admin.list_topics(timeout=20).topics if name.startswith(self.prefix)]:
            for future in self._admin.delete_topics(mine).values():
                future.result(timeout=20)
