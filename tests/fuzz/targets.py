"""What reads bytes that others wrote: the public entry points, sound examples of what they read, and the errors that they document."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import random
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cramjam
import msgspec
import numpy as np

from detectors.state import StateError
from inferwatch import (
    CONTENT_TYPE_COLUMNS,
    CONTENT_TYPE_JSON,
    Client,
    DecodeError,
    Heartbeat,
    Label,
    MemoryTransport,
    Strings,
    Verdict,
    decode,
    encode,
)
from schemas import forget, windows
from schemas import reference as references
from schemas.forget import Forget
from schemas.operations import ClearVerdict, SetVerdict
from schemas.outcomes import CE_TYPE
from schemas.reference import Baseline, ReferenceFormatError
from schemas.windows import ClientLine, Producer
from streams.build import BuildError
from streams.from_stream import Sample
from streams.gather import take, take_label
from streams.judge import Judge
from streams.kserve import REQUEST, RESPONSE, HalfError, Joiner, KserveMetrics, Naming, half_of
from streams.kserve_receiver import structured
from streams.owner import Record, TooManyDeadLettersError
from streams.page_text import PageText
from streams.references import References, unpack
from streams.settings import Settings, SettingsError, load
from streams.shard import Shard
from streams.siem_export import UnreadableError, finding_of
from streams.snapshots import Snapshot, SnapshotError
from streams.state_folder import FolderStore
from streams.tables import TableError
from tests.fuzz.mutate import mutated
from tests.streams.events import KEY, START, events, reference, settings
from tests.streams.judging import BEAT, judge
from tests.streams.messages import LENGTH, finding, partial
from tests.streams.test_ocsf import alert


@dataclass(frozen=True)
class Target:
    """One reader of foreign bytes.

    Attributes:
        read: Given damaged bytes; raises nothing but `documented`.
        seeds: Sound inputs.
        inner: Takes a seed apart into what the format protects (a checksum, compression), and puts it together again; damage goes inside
            three times of four.
        share: Of all inputs of a long run.
    """

    name: str
    read: Callable[[bytes], object]
    seeds: tuple[bytes, ...]
    documented: tuple[type[Exception], ...] = ()
    inner: tuple[Callable[[bytes], bytes], Callable[[bytes], bytes]] | None = None
    share: float = 1.0
    mutate: Callable[[random.Random, bytes, tuple[bytes, ...]], bytes] = field(default=mutated)

    def input(self, seed: int, number: int) -> bytes:
        """The damaged input of this number: the same in every run with this seed."""
        draw = random.Random(f"{seed}/{self.name}/{number}")
        blob = draw.choice(self.seeds)
        if self.inner is not None and draw.random() < 0.75:
            apart, together = self.inner
            return together(self.mutate(draw, apart(blob), tuple(map(apart, self.seeds[:3]))))
        return self.mutate(draw, blob, self.seeds)

    def run(self, blob: bytes) -> str:
        """Reads it; "" or the name of the documented error. Anything else is raised."""
        try:
            with np.errstate(all="ignore"):
                self.read(blob)
        except self.documented as error:
            assert str(error), "an error without a message"
            return type(error).__name__
        return ""


def targets() -> dict[str, Target]:
    """All of them by name; building the examples takes some seconds."""
    published = reference()
    return {
        target.name: target
        for target in (
            _columns(), _json(), _shard(published), _judge(), _reference(published), _used(published), _named(published), _stream(),
            *_snapshots(published), _store(), _settings(), _kserve(), _siem(),
        )
    }  # fmt: skip


def _column_records() -> tuple[bytes, ...]:
    mixed = events(
        30,
        category_names=("country",),
        categories=(Strings.of([("NO", None, "SE")[i % 3] for i in range(30)]),),
        value=np.linspace(-1, 1, 30),
        prediction=Strings.of(["yes"] * 30),
        event_id=Strings.of([f"e{i}" for i in range(30)]),
        owner=Strings.of(["o"] * 30),
        cost=np.ones(30, np.float32),
        feature_view=Strings.of(["customers:3"] * 30),
        feature_age_s=np.ones(30, np.float32),
    )
    return encode(events(1)), encode(events(64)), encode(mixed), encode(events(8, scores=None, score_names=(), names=()))


def _json_records() -> tuple[bytes, ...]:
    one = {
        "model": "m", "version": "1", "service": "s", "instance": "i", "client": "c", "at": "2027-01-15T08:00:00Z", "number": 3,
        "features": {"age": 1.0, "income": None, "score": "x", "flag": True}, "scores": [0.25, 0.75], "prediction": "yes", "value": 1.5,
        "latency_ms": 3.5, "status": "ok", "event_id": "e", "trace_id": "t", "owner": "o", "source": "s", "cost": 1,
        "feature_view": "customers:3", "feature_age_s": 2.5,
    }  # fmt: skip
    listed = one | {"features": [1, 2.5, None], "scores": {"no": 0.1, "yes": 0.9}, "at": START, "prediction": 7}
    return tuple(
        msgspec.json.encode(value)
        for value in (one, [one, listed, one | {"model": "other"}], [listed] * 20, {"model": "m", "version": "1"})
    )


def _columns() -> Target:
    def read(blob: bytes) -> None:
        for columns in decode(blob, CONTENT_TYPE_COLUMNS)[0]:
            encode(columns.compact())

    return Target("record: columns", read, _column_records(), (DecodeError,), share=3)


def _json() -> Target:
    def read(blob: bytes) -> None:
        for columns in decode(blob, CONTENT_TYPE_JSON)[0]:
            encode(columns.compact())

    return Target("record: JSON", read, _json_records(), (DecodeError,), share=3, mutate=_json_mutated)


def _json_mutated(draw: random.Random, blob: bytes, others: tuple[bytes, ...]) -> bytes:
    """As msgpack, damaged there, and back; or its text damaged."""
    if draw.random() < 0.6:
        with contextlib.suppress(msgspec.DecodeError, TypeError, ValueError, RecursionError, OverflowError):
            tree = msgspec.msgpack.decode(mutated(draw, msgspec.msgpack.encode(msgspec.json.decode(blob)), [blob]))
            return msgspec.json.encode(tree)
    return mutated(draw, blob, others)


def _shard(published: Any) -> Target:
    """A record into a shard that has a reference: accepted + rejected = received, whatever came."""
    offsets = itertools.count()
    state: dict[str, Any] = {}

    def read(blob: bytes) -> None:
        offset = next(offsets)
        if offset % 500 == 0:
            known = References(KEY)
            known.put(published)
            limits = {"models": 8, "clients": 10_000, "provisional_rows": 200, "dead_letter_share": 1.0}
            state["shard"] = Shard(0, settings(limits=limits), known, epoch=1)
        shard: Shard = state["shard"]
        kind = CONTENT_TYPE_JSON if blob[:1] in b"[{" else CONTENT_TYPE_COLUMNS
        shard.apply(Record("events", 0, offset, blob, START, headers={"content-type": kind}))
        if offset % 500 == 499:
            shard.tick(START + 10 * LENGTH)
            shard.finish()
            partials = [windows.decode_partial(out.value) for out in shard.outbox if out.to == "windows"]
            assert sum(one.n for one in partials) + shard.rejected.total() == shard.received
            shard.snapshot()

    return Target("record: shard", read, _column_records() + _json_records(), (TooManyDeadLettersError,), share=1)


def _outcomes(published: Any) -> bytes:
    """A message of answers, as a shard sends it."""
    known = References(KEY)
    known.put(published)
    shard = Shard(0, settings(), known)
    shard.take(events(20), START)
    shard.finish()
    return next(out.value for out in shard.outbox if out.headers.get("ce_type") == CE_TYPE)


def _judge() -> Target:
    """A message to a judge, by its first byte's role; it never raises."""
    offsets = itertools.count()
    state: dict[str, Judge] = {}
    published = reference()
    producer = Producer(service="s", received=5, highest=4, lowest=0, blocks={0: 5}, last_at_ns=START)
    line = ClientLine(client="c", n=5, errors=0, denied=0, repeats=0, severity="ticket", evidence={"evasion": 3.0})
    share = partial(published=published, n=50, producers={"i": producer}, lines=[line], classes={"yes": 50}, rejected={"duplicate": 1})
    seeds = (
        b"w" + windows.encode(share),
        b"w" + windows.encode(partial(n=5, window=3)),
        b"f" + windows.encode(finding(evidence={"x": 1.0, "rows": [1, 2]}, clients=["a", "b"])),
        b"f" + windows.encode(finding(family="extraction", severity="ticket", renewed=True)),
        b"l" + msgspec.json.encode(Heartbeat(model="m", version="1", instance="i", sent=10, accepted=12, gauges={"g": 1.0})),
        b"o" + _outcomes(published),
        b"t" + msgspec.json.encode(Label(model="m", event_id="shop-1:3", truth="yes")),
        b"t" + msgspec.json.encode(Label(model="m", event_id="shop-1:4", truth=1.0, version="1", source="desk")),
        b"v" + msgspec.json.encode(SetVerdict(verdict=Verdict(model="m", client="c1", action="round", digits=2, expires_ns=2 * START))),
        b"v" + msgspec.json.encode(ClearVerdict(model="m", client="c1")),
    )

    def read(blob: bytes) -> None:
        offset = next(offsets)
        if offset % 200 == 0:
            state["judge"] = judge(published, limits={"models": 8}, verdicts={"enabled": True})
        of = state["judge"]
        role: Any = {b"f": "findings", b"o": "findings", b"l": "lifecycle", b"t": "labels", b"v": "operations"}.get(blob[:1], "windows")
        headers = {"ce_type": CE_TYPE} if blob[:1] == b"o" else BEAT
        of.apply(Record(role, 0, offset, blob[1:], START + offset % 50 * 10**10, headers=headers))
        if offset % 20 == 0:
            of.tick(START + offset % 200 * LENGTH // 20)
        if offset % 200 == 199:
            of.snapshot()

    def mutate(draw: random.Random, blob: bytes, others: tuple[bytes, ...]) -> bytes:
        damage = _json_mutated if blob[:1] in b"ltv" else mutated
        return blob[:1] + damage(draw, blob[1:], tuple(other[1:] for other in others))

    return Target("judge: messages", read, seeds, share=1, mutate=mutate)


def _reference_parts() -> tuple[Callable[[bytes], bytes], Callable[[bytes], bytes]]:
    def apart(blob: bytes) -> bytes:
        return msgspec.msgpack.encode(references.decode(blob))

    def together(body: bytes) -> bytes:
        return b"IWREF1\n" + len(body).to_bytes(8, "little") + bytes(cramjam.zstd.compress(body))

    return apart, together


def _reference(published: Any) -> Target:
    def read(blob: bytes) -> None:
        unpack(references.decode(blob), KEY)

    return Target("reference: load", read, (references.encode(published),), (ReferenceFormatError,), _reference_parts(), share=0.6)


def _used(published: Any) -> Target:
    """A damaged reference that is taken must be good to judge with: it lies on a compacted topic, and would stop every worker for ever."""
    record = encode(events(40))

    def read(blob: bytes) -> None:
        known = References(KEY)
        known.put(references.decode(blob))
        shard = Shard(0, settings(limits={"clients": 10_000}), known, epoch=1)
        shard.apply(Record("events", 0, 0, record, START, headers={"content-type": CONTENT_TYPE_COLUMNS}))
        shard.finish()
        of = Judge(0, settings(), known)
        for offset, out in enumerate(out for out in shard.outbox if out.to == "windows"):
            of.apply(Record("windows", 0, offset, out.value, START))
        of.tick(START + 3 * LENGTH)
        shard.snapshot()
        of.snapshot()

    return Target("reference: use", read, (references.encode(published),), (ReferenceFormatError,), _reference_parts(), share=0.2)


def _named(published: Any) -> Target:
    """The topic `references` with several names of a version and a baseline: a record's kind, its name to a NUL, and its value.

    What is refused changes nothing, and whatever was taken, events are counted on.
    """
    month = msgspec.structs.replace(published, name="2026-11", built_at_ns=published.built_at_ns + 1)
    model, version, offsets, state = published.model, published.version, itertools.count(), dict[str, References]()
    seeds = (
        *(b"b\0" + msgspec.json.encode(Baseline(name=name, since_ns=START, by="ada")) for name in ("2026-11", "training", "gone")),
        *(b"r" + one.name.encode() + b"\0" + references.encode(one) for one in (published, month)),
        b"d2026-11\0",
    )
    record = encode(events(20))

    def read(blob: bytes) -> None:
        offset = next(offsets)
        if offset % 200 == 0:
            state["known"] = References(KEY)
            state["known"].put(published)
            state["known"].put(month)
        known, (name, _, value) = state["known"], blob[1:].partition(b"\0")
        part = references.baseline_part(version) if blob[:1] == b"b" else references.part_of(version, name.decode("utf-8", "replace"))
        before = known.get(model, version)
        try:
            known.take(model, part, value or None)
        except ReferenceFormatError:
            assert known.get(model, version) is before
            raise
        if offset % 50 == 0:
            shard = Shard(0, settings(limits={"clients": 10_000}), known, epoch=1)
            shard.apply(Record("events", 0, 0, record, START, headers={"content-type": CONTENT_TYPE_COLUMNS}))
            shard.finish()

    def mutate(draw: random.Random, blob: bytes, others: tuple[bytes, ...]) -> bytes:
        kind, (name, _, value) = blob[:1], blob[1:].partition(b"\0")
        if kind == b"b":
            return b"b\0" + _json_mutated(draw, value, (value,))
        if kind == b"r" and draw.random() < 0.7:
            apart, together = _reference_parts()
            return b"r" + name + b"\0" + together(mutated(draw, apart(value), (apart(value),)))
        return kind + mutated(draw, blob[1:], tuple(other[1:] for other in others))

    return Target("reference: names", read, seeds, (ReferenceFormatError,), share=0.2, mutate=mutate)


def _stream() -> Target:
    """What a reference from the stream is made of: records of events, erasures and labels; what comes of them is rows or a reason."""
    offsets, state = itertools.count(), dict[str, Sample]()
    seeds = (
        *(b"e" + blob for blob in _column_records()),
        *(b"j" + blob for blob in _json_records()),
        *(b"f" + forget.encode(one) for one in (Forget(client="c1"), Forget(model="m", event_id="e1"))),
        *(b"l" + msgspec.json.encode(Label(model="m", event_id=f"e{k}", truth=truth)) for k, truth in enumerate(("yes", "no"))),
        b"l" + msgspec.json.encode(Label(model="m", event_id="e2", truth=1.0)),
    )

    def read(blob: bytes) -> None:
        offset, kind = next(offsets), blob[:1]
        if offset % 500 == 0:
            state["sample"] = Sample("m", "1", rows=300, first_ns=0, last_ns=2**62, seed=3, clock=Settings().clock)
            for seed in range(10):
                state["sample"].add(events(40, seed=seed), START, 1, seed)
        sample = state["sample"]
        if kind == b"l":
            take_label(sample, blob[1:])
            return
        headers = {"content-type": (CONTENT_TYPE_JSON if kind == b"j" else CONTENT_TYPE_COLUMNS).encode()}
        take(sample, blob[1:], {"ce_type": forget.CE_TYPE.encode()} if kind == b"f" else headers, START, offset % 4, offset)
        if offset % 500 == 499:
            with contextlib.suppress(BuildError, TableError):
                found = sample.gathered()
                assert 0 < len(found.rows.X) <= 300
                assert found.rows.X.shape[1] == len(found.rows.features)

    def mutate(draw: random.Random, blob: bytes, others: tuple[bytes, ...]) -> bytes:
        damage = mutated if blob[:1] == b"e" else _json_mutated
        return blob[:1] + damage(draw, blob[1:], tuple(other[1:] for other in others))

    return Target("reference: stream", read, seeds, share=1, mutate=mutate)


def _snapshots(published: Any) -> tuple[Target, Target]:
    known = References(KEY)
    known.put(published)
    small = settings(limits={"clients": 10_000, "provisional_rows": 100, "instances": 16, "models": 4})
    shard = Shard(3, small, known, epoch=9)
    for offset, batch in enumerate((events(40), events(30, model="new"), events(200, start_s=400, clients=50))):
        shard.apply(Record("events", 3, offset, encode(batch), START, headers={"content-type": CONTENT_TYPE_COLUMNS}))
    shard.apply(Record("events", 3, 7, b"odd", START))
    of = judge(published)
    for window in range(4):
        of.partial(partial(published=published, n=200, window=window, shift=window), START + window * LENGTH)
        of.tick(START + (window + 1) * LENGTH + 11 * 10**9)
    of.finding(finding())
    shard_state, judge_state = shard.snapshot(), of.snapshot()

    def read_shard(blob: bytes) -> None:
        fresh = References(KEY)
        fresh.put(published)
        Shard(3, small, fresh).restore(blob)

    def read_judge(blob: bytes) -> None:
        judge(published).restore(blob)

    return (
        Target("snapshot: shard", read_shard, (shard_state,), (StateError,), share=0.04),
        Target("snapshot: judge", read_judge, (judge_state,), (StateError,), share=0.4),
    )


def _store() -> Target:
    """The files of a folder, damaged on disk; with a checksum that fits, as by another release."""
    folder = Path(tempfile.mkdtemp(prefix="inferwatch-fuzz-"))
    store = FolderStore(folder)
    head = b"IWSNAP2\n"
    store.save(Snapshot("shard", 0, store.claim("shard", 0)[0], {"events": 7}, START, b"state" * 20))
    sound = store.path("shard", 0).read_bytes()

    def read(blob: bytes) -> None:
        store.path("shard", 0).write_bytes(blob)
        store.read("shard", 0)

    def apart(blob: bytes) -> bytes:
        return blob[len(head) + 16 :]

    def together(body: bytes) -> bytes:
        return head + hashlib.blake2b(body, digest_size=16).digest() + body

    return Target("snapshot: file", read, (sound,), (SnapshotError,), (apart, together), share=0.6)


def _settings() -> Target:
    """A TOML file, and after a NUL the environment, a line each."""
    folder = Path(tempfile.mkdtemp(prefix="inferwatch-fuzz-"))
    path = folder / "settings.toml"
    toml = b"""[kafka]
bootstrap_servers = "a:1,b:2"
partitions = 12
session_timeout_s = 10.5
[clickhouse]
dsn = "https://user@host:8443/db"
[alertmanager]
urls = ["http://a:9093", "http://b:9093"]
[budget]
false_pages_per_30d = 1.0
drift_share = 0.3
[window]
length_s = 300
max_open = 4
[log]
level = "debug"
"""
    environment = (
        b"INFERWATCH_BUDGET_FALSE_PAGES_PER_30D=2\nINFERWATCH_ALERTMANAGER_URLS=http://a,http://b\nINFERWATCH_MEMBERSHIP_KEY=0123456789abcdef\n"
        b"INFERWATCH_KAFKA_SASL_PASSWORD_FILE=/dev/null\nINFERWATCH_WINDOW_LENGTH_S=1e3\nINFERWATCH_LOG_FORMAT=text\n"
    )

    def read(blob: bytes) -> None:
        text, _, variables = blob.partition(b"\0")
        path.write_bytes(text)
        pairs = (line.partition("=") for line in variables.decode("utf-8", "replace").splitlines())
        load(path, {name: value for name, _, value in pairs if (name and not value.startswith("/dev/")) or value == "/dev/null"})

    return Target("settings", read, (toml + b"\0" + environment, toml + b"\0", b"\0" + environment), (SettingsError,), share=0.8)


def _kserve() -> Target:
    """Both halves of a request in one input: each a CloudEvent in JSON, a line each."""
    transport = MemoryTransport()
    client = Client(service="fuzz", transport=transport, pseudonym_key="a key of the fuzzers'", strict=True)
    joiner = Joiner(client, Naming({}, False, "X-Api-Key"), KserveMetrics(), max_waiting=100)

    def event(kind: str, data: object) -> bytes:
        attributes = {"id": "a", "type": kind, "inferenceservicename": "m", "namespace": "n", "metadata": '{"X-Api-Key": ["alice"]}'}
        return msgspec.json.encode({**attributes, "time": "2026-11-20T12:00:00Z", "data": data})

    def read(blob: bytes) -> None:
        for line in blob.split(b"\n"):
            joiner.add(half_of(*structured(line)), 0.0)
        if len(transport.records) > 50:
            assert transport.columns  # what is sent can be read
            transport.records.clear()

    tensor = {"name": "x", "shape": [2, 2], "datatype": "FP32", "data": [1, 2, 3, 4]}
    label = {"name": "label", "shape": [2], "datatype": "BYTES", "data": ["a", "b"]}
    pairs = (
        ({"instances": [[6.8, 2.8], [6.0, 3.4]]}, {"predictions": [1, 2]}),
        ({"instances": [{"a": 1, "c": "NO"}]}, {"predictions": [{"label": "a", "probabilities": {"a": 0.9, "b": 0.1}}]}),
        ({"inputs": [tensor, label]}, {"model_version": "7", "outputs": [label, tensor]}),
    )
    seeds = tuple(event(REQUEST, asked) + b"\n" + event(RESPONSE, answered) for asked, answered in pairs)
    return Target("kserve", read, seeds, (HalfError,))


def _siem() -> Target:
    text = PageText(Settings())
    seeds = tuple(
        msgspec.json.encode(one) for one in (alert(), alert("drift", client=None, feature="amount"), alert(client=None, clients=("a", "b")))
    )
    return Target("siem", lambda blob: finding_of(blob, text, (), "0.1.0"), seeds, (UnreadableError,))
