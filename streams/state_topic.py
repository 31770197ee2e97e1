"""Snapshots in the compacted topic ``state``: for workers of any number of hosts.

Each owner has one partition of the topic and writes to it with a transactional producer of its own. A successor's first act, `claim`,
makes Kafka refuse whatever that producer of the owner before still wants to commit: Kafka's coordinator is the fence.

One save is one transaction: new pieces, then the root with the places of all pieces, then the manifest, which says where the root is.
Places are offsets, so a restore reads what it needs and jumps over the rest. Pieces that are no longer needed get tombstones.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress

import msgspec
import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition

from schemas.topics import state_partition
from streams.kafka import client_config, ungrouped
from streams.log_reader import TIMEOUT_S, extent, kafka_error, patiently, records
from streams.settings import Kafka
from streams.snapshots import DIGEST_BYTES, Kind, Snapshot, SnapshotError, StaleOwnerError, digest, stale

__all__ = ["TopicStore"]

RECORD_BYTES = 512 << 10
"""Longest value of a record; the topic takes 4 MiB."""
_MAGIC = b"IWSTATE1"
_MANIFEST = b"manifest"
_ALIVE = b"alive"
_TRANSACTION_S = 120.0  # a killed owner's transaction is ended by its successor; this is for when there is none
_SKIP = 32  # records that are read in vain rather than jumped over: a jump costs a round trip and what was read ahead
_LOOK_BACK = 64  # records from the end in which the manifest nearly always is
_REPLACED = frozenset(
    {KafkaError.INVALID_PRODUCER_EPOCH, KafkaError.PRODUCER_FENCED, KafkaError.INVALID_PRODUCER_ID_MAPPING, KafkaError._FENCED}
)
_REMEDY = "to start this partition again from the beginning of its topics, delete the topic's records (kafka-delete-records.sh)"

log = structlog.get_logger(__name__)


class _Place(msgspec.Struct, frozen=True, array_like=True):
    offsets: list[int]
    length: int
    digest: bytes


class _Root(msgspec.Struct, frozen=True, array_like=True):
    snapshot: Snapshot
    places: dict[int, _Place]


class _Manifest(msgspec.Struct, frozen=True, array_like=True):
    kind: Kind
    partition: int
    fence: int
    next: dict[str, int]
    root: _Place


class _Owner:
    """What this process holds for a partition that it has claimed."""

    def __init__(self, producer: Producer, fence: int, places: dict[int, _Place], root_records: int) -> None:
        self.producer, self.fence, self.places, self.root_records = producer, fence, places, root_records
        self.must_abort = False
        self.replaced = ""


class TopicStore:
    """A `streams.snapshots.SnapshotStore` in Kafka.

    Args:
        kafka: Where; the topic is there.

    Cost: on one broker of this machine a save of little takes about 20 ms, of 100 MB about 1 s. One producer for each claimed partition.
    """

    def __init__(self, kafka: Kafka) -> None:
        self._kafka = kafka
        self._topic = f"{kafka.topic_prefix}.state"
        self._owners: dict[tuple[Kind, int], _Owner] = {}

    def claim(self, kind: Kind, partition: int) -> tuple[int, Snapshot | None]:
        """See `SnapshotStore.claim`."""
        self.release(kind, partition)
        config = {
            "transactional.id": f"{self._topic}.{self._kafka.group}.{kind}-{partition}",
            "transaction.timeout.ms": int(_TRANSACTION_S * 1000),
            "message.timeout.ms": int(TIMEOUT_S * 1000),
            "message.max.bytes": 4 * RECORD_BYTES,
            "queue.buffering.max.kbytes": 65_536,
            "linger.ms": 5,
            "compression.type": "lz4",
        }
        producer = Producer(client_config(self._kafka) | config)
        what = f"{self._topic}: {kind} {partition}"
        try:
            patiently(producer.init_transactions)
            manifest = self._manifest(kind, partition)
        except KafkaException as error:
            raise SnapshotError(f"{what} cannot be claimed: {error.args[0].str()}") from error
        if manifest is None:
            self._owners[kind, partition] = _Owner(producer, 1, {}, 0)
            return 1, None
        with self._reader(kind, partition) as reader:
            content = b"".join(self._read(reader, kind, partition, manifest.root.offsets))
        if digest(content) != manifest.root.digest:
            raise SnapshotError(f"{what} is damaged: its root does not match its checksum; {_REMEDY}")
        try:
            root = msgspec.msgpack.decode(content, type=_Root)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise SnapshotError(f"{what} cannot be read: {error}; {_REMEDY}") from error
        fence = manifest.fence + 1
        self._owners[kind, partition] = _Owner(producer, fence, root.places, len(manifest.root.offsets))
        return fence, root.snapshot

    def pieces(self, snapshot: Snapshot) -> Iterator[tuple[int, bytes]]:
        """See `SnapshotStore.pieces`."""
        kind, partition, places = snapshot.kind, snapshot.partition, self._owners[snapshot.kind, snapshot.partition].places
        if not snapshot.keep:
            return
        total, done, said = sum(places[piece].length for piece in snapshot.keep), 0, time.monotonic()
        with self._reader(kind, partition) as reader:
            records = self._read(reader, kind, partition, [at for piece in snapshot.keep for at in places[piece].offsets])
            for piece in snapshot.keep:
                content = b"".join(next(records) for _ in places[piece].offsets)
                if digest(content) != places[piece].digest:
                    raise SnapshotError(f"{self._topic}: piece {piece} of {kind} {partition} is damaged; {_REMEDY}")
                done += len(content)
                if time.monotonic() - said > 2.0:
                    said = time.monotonic()
                    log.info("reading a snapshot", owner=kind, partition=partition, bytes=done, of=total)
                yield piece, content

    def save(self, snapshot: Snapshot) -> int:
        """See `SnapshotStore.save`."""
        kind, partition = snapshot.kind, snapshot.partition
        owner = self._owner(kind, partition, snapshot.fence)
        keep = set(snapshot.keep)
        with self._transaction(owner, kind, partition):
            new = self._write(owner, partition, kind, {piece: (b"%d" % piece, content) for piece, content in snapshot.pieces.items()})
            places = {piece: new[piece] if piece in new else owner.places[piece] for piece in snapshot.keep}
            root = msgspec.msgpack.encode(_Root(msgspec.structs.replace(snapshot, pieces={}), places))
            place = self._write(owner, partition, kind, {-1: (b"root", root)})[-1]
            manifest = _Manifest(kind, partition, snapshot.fence, snapshot.next, place)
            gone = [b"%d/%d" % (piece, k) for piece, old in owner.places.items() if piece not in keep for k in range(len(old.offsets))]
            gone += [b"root/%d" % k for k in range(len(place.offsets), owner.root_records)]
            body = msgspec.msgpack.encode(manifest)
            self._produce(owner, partition, kind, [*((key, None) for key in gone), (_MANIFEST, _MAGIC + digest(body) + body)])
        owner.places, owner.root_records = places, len(place.offsets)
        return len(root) + len(body) + sum(map(len, snapshot.pieces.values()))

    def confirm(self, kind: Kind, partition: int, fence: int) -> None:
        """See `SnapshotStore.confirm`."""
        owner = self._owner(kind, partition, fence)
        with self._transaction(owner, kind, partition):
            self._produce(owner, partition, kind, [(_ALIVE, b"%d" % fence)])

    def release(self, kind: Kind, partition: int) -> None:
        """See `SnapshotStore.release`."""
        owner = self._owners.pop((kind, partition), None)
        if owner is not None:
            owner.producer.purge()
            with suppress(KafkaException, SystemError):
                owner.producer.close()

    def read(self, kind: Kind, partition: int) -> Snapshot | None:
        """The newest snapshot without its pieces, to look at it without becoming the owner.

        Raises:
            SnapshotError: it is there, and cannot be read; perhaps because a newer one took its place meanwhile.
        """
        manifest = self._manifest(kind, partition)
        if manifest is None:
            return None
        with self._reader(kind, partition) as reader:
            content = b"".join(self._read(reader, kind, partition, manifest.root.offsets))
        return msgspec.msgpack.decode(content, type=_Root).snapshot

    # -- writing ------------------------------------------------------------------------------------------------------------------------

    def _owner(self, kind: Kind, partition: int, fence: int) -> _Owner:
        owner = self._owners.get((kind, partition))
        if owner is None or owner.fence != fence:
            raise stale(kind, partition, fence, 0 if owner is None else owner.fence)
        if owner.replaced:
            raise StaleOwnerError(owner.replaced)
        return owner

    @contextmanager
    def _transaction(self, owner: _Owner, kind: Kind, partition: int) -> Iterator[None]:
        what = f"{self._topic}: {kind} {partition}"
        try:
            if owner.must_abort:
                patiently(owner.producer.abort_transaction)
                owner.must_abort = False
            owner.producer.begin_transaction()
            owner.must_abort = True
            yield
            try:
                patiently(owner.producer.commit_transaction)
            except KafkaException as error:
                if not error.args[0].txn_requires_abort():  # Kafka may have committed, or may do so yet
                    owner.replaced = f"{what}: whether the snapshot was written is unknown: {error.args[0].str()}"
                raise
            owner.must_abort = False
        except (KafkaException, SystemError) as error:  # SystemError is what a KafkaException becomes inside a callback
            said = kafka_error(error)
            if said is not None and (said.code() in _REPLACED or said.fatal()):
                owner.replaced = f"{what}: another owner has claimed it since: {said.str()}"
            if owner.replaced:
                raise StaleOwnerError(owner.replaced) from error
            why = str(error) if said is None else said.str()
            raise SnapshotError(f"{what}: cannot write the snapshot: {why}; nothing leaves the worker until it can") from error

    def _write(self, owner: _Owner, partition: int, kind: Kind, contents: dict[int, tuple[bytes, bytes]]) -> dict[int, _Place]:
        """Writes contents by their keys, cut into records; where they are."""
        counts = {name: range(0, max(1, len(content)), RECORD_BYTES) for name, (_, content) in contents.items()}
        records = (
            (b"%b/%d" % (key, k), memoryview(content)[a : a + RECORD_BYTES])
            for name, (key, content) in contents.items()
            for k, a in enumerate(counts[name])
        )
        offsets = iter(self._produce(owner, partition, kind, records))
        return {
            name: _Place([next(offsets) for _ in counts[name]], len(content), digest(content)) for name, (_, content) in contents.items()
        }

    def _produce(self, owner: _Owner, partition: int, kind: Kind, records: Iterable[tuple[bytes, memoryview | bytes | None]]) -> list[int]:
        """Sends records and waits until they are there; their offsets.

        Raises:
            KafkaException: they are not.
        """
        producer, offsets, failed = owner.producer, [], []
        deadline = time.monotonic() + TIMEOUT_S

        def delivered(error: KafkaError | None, message: Message) -> None:
            if error is not None:
                failed.append(error)
            else:
                offsets.append(message.offset() or 0)

        for key, value in records:
            while True:
                try:
                    producer.produce(
                        self._topic,
                        key=key,
                        value=value if value is None else bytes(value),
                        partition=state_partition(kind, partition),
                        on_delivery=delivered,
                    )
                    break
                except BufferError:
                    producer.poll(0.1)
                    if failed:
                        break
                    if time.monotonic() > deadline:
                        raise KafkaException(KafkaError(KafkaError._TIMED_OUT)) from None
            producer.poll(0)
            if failed:
                break
        while producer.flush(1.0) and not failed and time.monotonic() < deadline:
            continue
        if failed:
            raise KafkaException(failed[0])
        if len(producer):
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT))
        return offsets

    # -- reading ------------------------------------------------------------------------------------------------------------------------

    @contextmanager
    def _reader(self, kind: Kind, partition: int) -> Iterator[Consumer]:
        config = {
            "isolation.level": "read_committed",
            "auto.offset.reset": "earliest",
            "fetch.wait.max.ms": 50,
            "fetch.message.max.bytes": 8 << 20,
            "queued.max.messages.kbytes": 64 << 10,
            "fetch.queue.backoff.ms": 5,  # the default waits a second whenever it has read far enough ahead
            "check.crcs": True,
        }
        with closing(ungrouped(self._kafka, f"{self._kafka.group}-state", config)) as reader:
            yield reader

    def _manifest(self, kind: Kind, partition: int) -> _Manifest | None:
        """The newest one: it lies near the end, behind nothing but what was not committed."""
        with self._reader(kind, partition) as reader:
            at = TopicPartition(self._topic, state_partition(kind, partition))
            low, high = extent(reader, at)
            back = _LOOK_BACK
            while True:
                start = max(low, high - back)
                found: bytes | None = None
                reader.assign([TopicPartition(self._topic, at.partition, start)])
                for message in records(reader, f"{self._topic}: {kind} {partition}"):
                    if message is None:
                        break
                    if message.key() == _MANIFEST:
                        found = message.value()
                if found is not None:
                    return self._check(kind, partition, found)
                if start <= low:
                    return None
                back *= 16

    def _check(self, kind: Kind, partition: int, value: bytes) -> _Manifest:
        what = f"{self._topic}: the manifest of {kind} {partition}"
        head, body = value[: len(_MAGIC)], value[len(_MAGIC) + DIGEST_BYTES :]
        if head != _MAGIC:
            raise SnapshotError(f"{what} is not of this release; {_REMEDY}")
        try:
            manifest = msgspec.msgpack.decode(body, type=_Manifest)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise SnapshotError(f"{what} cannot be read: {error}; {_REMEDY}") from error
        if digest(body) != value[len(_MAGIC) : len(_MAGIC) + DIGEST_BYTES] or (manifest.kind, manifest.partition) != (kind, partition):
            raise SnapshotError(f"{what} is damaged; {_REMEDY}")
        return manifest

    def _read(self, reader: Consumer, kind: Kind, partition: int, offsets: Sequence[int]) -> Iterator[bytes]:
        """The values of the records at these offsets; quick where they increase."""
        what = f"{self._topic}: {kind} {partition}"
        messages: Iterator[Message | None] = iter(())
        position = -1
        for offset in offsets:
            if position < 0 or not 0 <= offset - position <= _SKIP:
                reader.assign([TopicPartition(self._topic, state_partition(kind, partition), offset)])
                messages = records(reader, what)
            for message in messages:
                position = -1 if message is None else (message.offset() or 0) + 1
                if message is not None and position <= offset:
                    continue
                if message is None or position != offset + 1:
                    raise SnapshotError(f"{what}: the record at offset {offset} is gone; {_REMEDY}")
                yield message.value() or b""
                break
