"""The Kafka topics: who is keyed by what, how long it is kept, how large a record may be.

The table is the contract between the SDK, the worker and every other consumer. Creating the topics is the worker's
business (``streams``); the numbers are here, once.
"""

from typing import Literal

import msgspec

__all__ = ["Topic", "state_partition", "topics"]

Cleanup = Literal["delete", "compact", "compact,delete"]

_HOUR_MS = 3_600_000
_DAY_MS = 24 * _HOUR_MS
_MIB = 1 << 20


class Topic(msgspec.Struct, frozen=True, kw_only=True):
    """One topic and the configuration it must have.

    Attributes:
        name: Full name, prefix included.
        key: What the record key is, in words; the partition follows from it.
        partitions: Number of partitions. Topics that are joined partition by partition have the same number.
        replication: Replication factor.
        cleanup: Kafka's ``cleanup.policy``.
        retention_ms: Kafka's ``retention.ms``; -1 keeps for ever (a compacted topic keeps the last record of a key).
        max_message_bytes: Kafka's ``max.message.bytes``, the largest record batch.
        delete_retention_ms: How long a tombstone stays readable, for compacted topics; ``None`` leaves the broker's.
        segment_bytes: Kafka's ``segment.bytes``; ``None`` leaves the broker's.
        segment_ms: Kafka's ``segment.ms``; ``None`` leaves the broker's.
        broker_time: Records carry the broker's time instead of the producer's: who sends them must not set our clocks.
    """

    name: str
    key: str
    partitions: int
    replication: int
    cleanup: Cleanup
    retention_ms: int
    max_message_bytes: int
    delete_retention_ms: int | None = None
    segment_bytes: int | None = None
    segment_ms: int | None = None
    broker_time: bool = False

    @property
    def config(self) -> dict[str, str]:
        """The topic configuration as Kafka's admin API takes it: strings by name.

        >>> next(t for t in topics() if t.name.endswith(".references")).config["max.message.bytes"]
        '16777216'
        """
        config = {
            "cleanup.policy": self.cleanup,
            "retention.ms": str(self.retention_ms),
            "max.message.bytes": str(self.max_message_bytes),
            "min.insync.replicas": "2" if self.replication >= 3 else "1",
        }
        if self.broker_time:
            config["message.timestamp.type"] = "LogAppendTime"
        if self.delete_retention_ms is not None:
            config["delete.retention.ms"] = str(self.delete_retention_ms)
        if self.segment_bytes is not None:
            config["segment.bytes"] = str(self.segment_bytes)
        if self.segment_ms is not None:
            config["segment.ms"] = str(self.segment_ms)
        return config


def topics(prefix: str = "inferwatch", partitions: int = 12, replication: int = 1) -> tuple[Topic, ...]:
    """Every topic of an installation, in a fixed order.

    Args:
        prefix: What the names begin with. Two installations on one cluster need two prefixes.
        partitions: Partitions of every topic (``state``: twice as many), 1 to 1000 (default 12; the embedded broker uses 4). It cannot
            be lowered later, and raising it moves clients to other partitions, so their evidence starts again.
        replication: Copies of each partition, 1 to 9. With three or more a write needs two copies to be acknowledged.

    Raises:
        ValueError: ``prefix`` is no Kafka name, or a number is out of range.

    >>> [t.name for t in topics("iw", partitions=4)][:2]
    ['iw.events', 'iw.windows']
    """
    if not prefix or len(prefix) > 200 or not all(c.isascii() and (c.isalnum() or c in "._-") for c in prefix):
        raise ValueError(f"topic prefix {prefix!r}: expected 1 to 200 of a-z A-Z 0-9 . _ -")
    if not 1 <= partitions <= 1000:
        raise ValueError(f"partitions = {partitions}: expected 1 to 1000")
    if not 1 <= replication <= 9:
        raise ValueError(f"replication = {replication}: expected 1 to 9")

    def topic(
        name: str, key: str, cleanup: Cleanup, retention_ms: int, max_message_bytes: int = _MIB, *, broker_time: bool = False
    ) -> Topic:
        return Topic(
            name=f"{prefix}.{name}",
            key=key,
            partitions=partitions,
            replication=replication,
            cleanup=cleanup,
            retention_ms=retention_ms,
            max_message_bytes=max_message_bytes,
            delete_retention_ms=_DAY_MS if "compact" in cleanup else None,
            broker_time=broker_time,
        )

    return (
        # A restarted worker replays events from its snapshot, so two days outlast a weekend's outage of the worker.
        topic("events", "model, client", "delete", 2 * _DAY_MS, broker_time=True),
        # Counts of thousands of features take megabytes.
        topic("windows", "model", "delete", 7 * _DAY_MS, 16 * _MIB),
        topic("findings", "model", "delete", 7 * _DAY_MS),
        topic("lifecycle", "model", "delete", 30 * _DAY_MS, broker_time=True),
        # Labels may come weeks after the event.
        topic("labels", "model", "delete", 30 * _DAY_MS, broker_time=True),
        # What people tell the judges: acknowledgements, verdicts of their own.
        topic("operations", "model", "delete", 30 * _DAY_MS, broker_time=True),
        # A reference holds histograms and clients' covariance: the one large record.
        topic("references", "model, version", "compact", -1, 16 * _MIB),
        topic("alerts", "alert id", "compact,delete", 90 * _DAY_MS),
        topic("verdicts", "model, client", "compact", -1),
        # The ends of the audit log's chains, where who can change ClickHouse cannot reach them.
        topic("audit", "chain", "compact", -1),
        topic("dlq", "partition of the source", "delete", 14 * _DAY_MS, 2 * _MIB),
        # Shards' and judges' snapshots, one partition an owner (`state_partition`). Segments are small and closed soon, because
        # compaction leaves the open one alone; a reader goes by offsets, so it needs no tombstone.
        msgspec.structs.replace(
            topic("state", "piece, part", "compact", -1, 4 * _MIB),
            partitions=2 * partitions,
            delete_retention_ms=_HOUR_MS // 6,
            segment_bytes=64 * _MIB,
            segment_ms=_HOUR_MS // 6,
        ),
    )


def state_partition(kind: Literal["shard", "judge"], partition: int) -> int:
    """Where in the topic ``state`` an owner's snapshots are; the same when partitions are added.

    >>> state_partition("shard", 3), state_partition("judge", 3)
    (6, 7)
    """
    return 2 * partition + (kind == "judge")
