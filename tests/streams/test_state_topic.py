"""Snapshots in Kafka: whole or absent, only their owner writes them, and a restore reads what it needs."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition

from schemas.topics import state_partition
from streams.embedded.kafka import EmbeddedKafka
from streams.settings import Kafka
from streams.snapshots import Snapshot, SnapshotError, SnapshotStore, StaleOwnerError
from streams.state_folder import FolderStore
from streams.state_topic import RECORD_BYTES, TopicStore
from tests.topics import Topics

pytestmark = pytest.mark.kafka

Made = Callable[[], SnapshotStore]


@pytest.fixture
def settings(kafka: EmbeddedKafka, topics: Topics) -> Kafka:
    topics.create("state", 8, cleanup_policy="compact", segment_ms="100", min_cleanable_dirty_ratio="0.01", delete_retention_ms="100",
                  max_message_bytes=str(4 << 20))  # fmt: skip
    return Kafka(bootstrap_servers=kafka.bootstrap_servers, topic_prefix=topics.prefix.rstrip("."), partitions=4)


@pytest.fixture(params=["folder", "kafka"])
def make(request: pytest.FixtureRequest, settings: Kafka, tmp_path: Path) -> Iterator[Made]:
    """Makes stores in the same place, as processes of their own would."""
    made: list[TopicStore] = []

    def one() -> SnapshotStore:
        if request.param == "folder":
            return FolderStore(tmp_path)
        made.append(TopicStore(settings))
        return made[-1]

    yield one
    for store in made:
        for key in list(store._owners):
            store.release(*key)


def snapshot(
    fence: int, offset: int, pieces: dict[int, bytes] | None = None, keep: tuple[int, ...] = (), state: bytes = b"root"
) -> Snapshot:
    return Snapshot("shard", 3, fence, {"events": offset}, 0, state, pieces or {}, keep)


def test_what_is_saved_in_parts_is_found_whole(make: Made) -> None:
    store = make()
    fence, nothing = store.claim("shard", 3)
    assert nothing is None
    large = bytes(range(256)) * 6_000  # three records
    store.save(snapshot(fence, 1, {0: b"a", 1: large}, (0, 1)))
    store.save(snapshot(fence, 2, {2: b"c", 5: b""}, (1, 2, 5)))
    store.save(snapshot(fence, 3, {}, (2, 5, 1), state=large + b"root"))
    later, found = make_claim(other := make())
    assert later > fence
    assert found is not None
    assert (found.next, found.state, found.keep, found.pieces) == ({"events": 3}, large + b"root", (2, 5, 1), {})
    assert list(other.pieces(found)) == [(2, b"c"), (5, b""), (1, large)]
    assert other.claim("judge", 3) == (1, None)
    assert other.claim("shard", 1) == (1, None)


def make_claim(store: SnapshotStore) -> tuple[int, Snapshot | None]:
    return store.claim("shard", 3)


def test_an_owner_that_was_replaced_neither_saves_nor_is_confirmed(make: Made) -> None:
    old, new = make(), make()
    first, _ = old.claim("shard", 3)
    old.save(snapshot(first, 1, {0: b"a"}, (0,)))
    old.confirm("shard", 3, first)
    second, found = new.claim("shard", 3)
    with pytest.raises(StaleOwnerError):
        old.save(snapshot(first, 900, {1: b"b"}, (1,)))
    with pytest.raises(StaleOwnerError):
        old.confirm("shard", 3, first)
    with pytest.raises(StaleOwnerError):
        old.save(snapshot(first, 901))
    new.confirm("shard", 3, second)
    new.save(snapshot(second, 2, {1: b"c"}, (0, 1)))
    third = make()
    _, found = third.claim("shard", 3)
    assert found is not None
    assert (found.fence, found.next) == (second, {"events": 2})
    assert list(third.pieces(found)) == [(0, b"a"), (1, b"c")]


def test_an_owner_that_did_not_claim_cannot_save(make: Made) -> None:
    with pytest.raises(StaleOwnerError):
        make().save(snapshot(1, 1))


def test_two_kinds_and_partitions_do_not_meet(make: Made) -> None:
    store = make()
    fence, _ = store.claim("shard", 3)
    store.save(snapshot(fence, 1, {0: b"a"}, (0,)))
    judge, _ = store.claim("judge", 3)
    store.save(Snapshot("judge", 3, judge, {"windows": 4}, 0, b"judged"))
    store.save(snapshot(fence, 2, {1: b"b"}, (0, 1)))
    again = make()
    _, found = again.claim("judge", 3)
    assert found is not None
    assert found.state == b"judged"
    _, found = again.claim("shard", 3)
    assert found is not None
    assert list(again.pieces(found)) == [(0, b"a"), (1, b"b")]


def test_what_a_killed_owner_left_in_an_open_transaction_is_never_seen(settings: Kafka) -> None:
    store = TopicStore(settings)
    fence, _ = store.claim("shard", 3)
    store.save(snapshot(fence, 1, {0: b"a"}, (0,)))
    owner = store._owners["shard", 3]
    owner.producer.begin_transaction()
    store._produce(owner, 3, "shard", [(b"0/0", b"half"), (b"manifest", b"half")] * 50)  # sent and there, never committed
    successor = TopicStore(settings)
    _, found = successor.claim("shard", 3)
    assert found is not None
    assert list(successor.pieces(found)) == [(0, b"a")]
    with pytest.raises((KafkaException, SystemError)):
        owner.producer.commit_transaction(10)


def test_the_topic_does_not_grow_without_bound_and_restores_after_compaction(settings: Kafka) -> None:
    store = TopicStore(settings)
    fence, _ = store.claim("shard", 3)
    content = [bytes([k]) * RECORD_BYTES for k in range(4)]
    store.save(snapshot(fence, 0, dict(enumerate(content)), (0, 1, 2, 3)))
    for n in range(1, 60):  # pieces 0 and 3 stay, the others are replaced
        store.save(snapshot(fence, n, {3 + n: b"%d" % n * 10_000}, (0, 3, 3 + n)))
        time.sleep(0.02)
    deadline = time.monotonic() + 30
    while (left := keys(settings)) > 15 and time.monotonic() < deadline:
        store.confirm("shard", 3, fence)
        time.sleep(0.3)
    assert left <= 15
    again = TopicStore(settings)
    _, found = again.claim("shard", 3)
    assert found is not None
    assert list(again.pieces(found)) == [(0, content[0]), (3, content[3]), (62, b"59" * 10_000)]


def keys(settings: Kafka) -> int:
    reader = Consumer(
        {"bootstrap.servers": settings.bootstrap_servers, "group.id": "keys", "enable.partition.eof": True, "auto.offset.reset": "earliest"}
    )
    reader.assign([TopicPartition(f"{settings.topic_prefix}.state", state_partition("shard", 3), 0)])
    n = 0
    while (message := reader.poll(10)) is not None and message.error() is None:
        n += 1
    reader.close()
    return n


def test_a_manifest_far_from_the_end_is_found(settings: Kafka) -> None:
    store = TopicStore(settings)
    fence, _ = store.claim("shard", 3)
    store.save(snapshot(fence, 1))
    owner = store._owners["shard", 3]

    def fail() -> None:
        with store._transaction(owner, "shard", 3):
            store._produce(owner, 3, "shard", [(b"9/0", b"lost")] * 3_000)
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT))

    with pytest.raises(SnapshotError, match="nothing leaves the worker until it can"):
        fail()
    assert TopicStore(settings).read("shard", 3) is not None
    store.save(snapshot(fence, 2))  # the broken transaction was given up
    found = TopicStore(settings).read("shard", 3)
    assert found is not None
    assert found.next == {"events": 2}


def test_damage_is_refused_with_a_remedy(settings: Kafka) -> None:
    store = TopicStore(settings)
    fence, _ = store.claim("shard", 3)
    store.save(snapshot(fence, 1, {0: b"a"}, (0,)))
    place = store._owners["shard", 3].places[0]
    place.offsets[0] += 1  # another record
    with pytest.raises(SnapshotError, match=r"piece 0 of shard 3 is damaged; to start this partition again"):
        list(store.pieces(snapshot(fence, 1, {}, (0,))))
    place.offsets[0] += 1_000
    with pytest.raises(SnapshotError, match=r"the record at offset \d+ is gone"):
        list(store.pieces(snapshot(fence, 1, {}, (0,))))
    stranger = Producer({"bootstrap.servers": settings.bootstrap_servers})
    stranger.produce(f"{settings.topic_prefix}.state", b"what", b"manifest", state_partition("shard", 3))
    stranger.flush()
    with pytest.raises(SnapshotError, match="the manifest of shard 3 is not of this release"):
        TopicStore(settings).claim("shard", 3)
