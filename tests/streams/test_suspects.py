"""What a shard passes on to where swarms are looked for: every answered row while there is room, then whole clients, the same ones."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from inferwatch import Strings
from schemas import suspects
from schemas.suspects import Columns, SuspectRows
from streams.owner import Outbox
from streams.references import References
from streams.settings import Swarm
from streams.shard import Shard
from streams.suspects import SuspectBuffer
from tests.streams.events import KEY, NS, START, events, record, reference, settings

PUBLISHED = reference()
SLICE = 5 * NS


def shard(**sections: object) -> Shard:
    references = References(KEY)
    references.put(PUBLISHED)
    return Shard(0, settings(**{"swarm": {"slice_s": 5.0}} | sections), references, epoch=7)  # type: ignore[arg-type]


def passed_on(outbox: Outbox) -> list[SuspectRows]:
    return [suspects.decode(out.value) for out in outbox if out.headers.get("ce_type") == suspects.CE_TYPE]


class Passed:
    """A buffer of one-column rows, and what left it."""

    def __init__(self, room: int) -> None:
        self.messages: list[SuspectRows] = []
        self.buffer = SuspectBuffer(
            Swarm(slice_s=5.0, rows_per_slice=room), 1, self.messages.append, lambda slots: [f"c{slot}" for slot in slots]
        )

    def add(self, slot: np.ndarray, at_s: np.ndarray, n: int = 1) -> None:
        hashes = np.random.default_rng(0).integers(0, 2**62, 100_000).astype(np.uint64)
        at_ns = START + (at_s * NS).astype(np.int64)
        keys = np.arange(len(slot), dtype=np.uint64)
        self.buffer.add(slot.astype(np.int32), at_ns, at_s.astype(np.float32)[:, None], hashes[slot], keys, np.full(len(slot), n))

    def columns(self) -> list[Columns]:
        return [suspects.columns_of(message) for message in self.messages]


def test_every_answered_row_of_a_known_client_is_passed_on_in_its_slice_and_no_other() -> None:
    one = shard()
    batch = events(100, rate=10, status=np.where(np.arange(100) % 4, 0, 1).astype(np.uint8))
    one.apply(record(batch, 0))
    one.finish()
    messages = passed_on(one.outbox)
    assert [(m.start_ns, m.end_ns) for m in messages] == [(START, START + SLICE), (START + SLICE, START + 2 * SLICE)]
    assert [(m.model, m.version, m.reference, m.partition, m.epoch) for m in messages] == [("m", "1", PUBLISHED.id, 0, 7)] * 2
    parts = [suspects.columns_of(message) for message in messages]
    answered = np.flatnonzero(batch.status == 0)
    assert batch.numeric is not None
    assert np.concatenate([part.X for part in parts]).tolist() == batch.numeric[answered].tolist()
    names = [part.clients[c] for part in parts for c in part.client.tolist()]
    assert names == [batch.client.values[c] for c in batch.client.codes[answered].tolist()]
    assert one.counters()["suspects"] == len(answered)
    assert one.counters()["suspects_dropped"] == 0


def test_a_slice_leaves_when_events_have_passed_it_by_a_second() -> None:
    one = shard()
    one.apply(record(events(56, rate=10), 0))  # until 5.5 s
    assert passed_on(one.outbox) == []
    one.apply(record(events(10, start_s=5.6, number=56), 1))
    assert [m.start_ns for m in passed_on(one.outbox)] == [START]


def test_a_row_that_comes_after_its_slice_enters_the_next_one() -> None:
    of = Passed(100)
    of.add(np.array([1, 2]), np.array([1.0, 6.5]))
    of.buffer.close_until(START + SLICE)
    of.add(np.array([3]), np.array([2.0]))
    of.buffer.close_until(None)
    assert [(m.start_ns - START, m.clients) for m in of.messages] == [(0, ["c1"]), (SLICE, ["c2", "c3"])]


def test_without_a_part_for_it_or_with_no_room_nothing_is_passed_on() -> None:
    old = msgspec.structs.replace(PUBLISHED, parts={name: part for name, part in PUBLISHED.parts.items() if name != "swarm"})
    references = References(KEY)
    references.put(old)
    loaded = references.get("m", "1")
    assert loaded is not None
    assert any("no swarm detection" in note for note in loaded.notes)
    for one in Shard(0, settings(), references, epoch=7), shard(swarm={"rows_per_slice": 0}):
        one.apply(record(events(100), 0))
        one.finish()
        assert passed_on(one.outbox) == []


@hypothesis_settings(deadline=None, max_examples=30)
@given(clients=st.integers(1, 300), rows=st.integers(1, 3_000), batch=st.integers(1, 500), seed=st.integers(0, 9))
def test_too_many_rows_leave_whole_clients_out_and_count_what_is_lost(clients: int, rows: int, batch: int, seed: int) -> None:
    of, room = Passed(200), 200
    slot, at = np.random.default_rng(seed).integers(0, clients, rows), np.linspace(0, 4.9, rows)
    for a in range(0, rows, batch):
        of.add(slot[a : a + batch], at[a : a + batch])
    of.buffer.close_until(None)
    sent = sum(len(part.client) for part in of.columns())
    assert sent <= room
    assert sent + of.buffer.dropped == rows
    if rows <= room:
        assert sent == rows
    if sent < room:  # else one client's own rows may have been cut
        for part in of.columns():
            for k, name in enumerate(part.clients):
                assert np.count_nonzero(part.client == k) == np.count_nonzero(slot == int(name[1:]))


def test_the_same_clients_stay_in_from_slice_to_slice_whatever_the_load() -> None:
    of = Passed(200)
    for k, load in enumerate([400, 3_000, 1_000, 3_000, 400]):
        slot = np.arange(load) % 100
        of.add(slot, 5.0 * k + np.linspace(0, 4.9, load))
        of.buffer.close_until(START + (k + 1) * SLICE)
    sets = [set(message.clients) for message in of.messages]
    assert len(sets) == 5
    for a in sets:
        assert all(a <= b or b <= a for b in sets)
    assert sets[1]


def test_clients_with_a_past_give_way_first() -> None:
    of = Passed(200)
    of.add(np.zeros(600, int), np.linspace(0, 2.0, 600), n=5_000)
    of.add(1 + np.arange(100) % 10, np.linspace(2.0, 4.9, 100))
    of.buffer.close_until(None)
    (part,) = of.columns()
    counts = {name: int(np.count_nonzero(part.client == k)) for k, name in enumerate(part.clients)}
    assert counts == {"c0": 75} | {f"c{k}": 10 for k in range(1, 11)}


def test_rows_of_hundreds_of_values_stay_within_a_message() -> None:
    messages: list[SuspectRows] = []
    buffer = SuspectBuffer(Swarm(rows_per_slice=20_000), 4_096, messages.append, lambda slots: [str(slot) for slot in slots])
    for k in range(40):
        at = np.full(10, START + k, np.int64)
        hashes = np.arange(10, dtype=np.uint64) << np.uint64(8)
        buffer.add(np.arange(10, dtype=np.int32), at, np.zeros((10, 4_096), np.float32), hashes, hashes, np.ones(10, np.int64))
    buffer.close_until(None)
    assert [len(suspects.encode(message)) < 2**20 for message in messages] == [True]
    assert buffer.dropped == 400 - len(messages[0].at_ns) // 8


def test_a_client_whose_slot_is_given_to_another_keeps_its_rows_under_its_name() -> None:
    one = shard(limits={"clients": 10_000})
    for k in range(3):
        names = Strings([f"new{k}-{c}" for c in range(5_000)], np.arange(5_000, dtype=np.int32))
        one.apply(record(events(5_000, rate=5_000, start_s=float(k), clients=5_000, client=names, number=5_000 * k), k))
    one.finish()
    assert one.evicted > 0
    names_sent = [name for message in passed_on(one.outbox) for name in message.clients]
    assert all(name.startswith("new") for name in names_sent)
    assert sum(len(m.at_ns) // 8 for m in passed_on(one.outbox)) + one.counters()["suspects_dropped"] == 15_000


@pytest.mark.parametrize(
    "changes",
    [
        {"rows": b"\0" * 7}, {"client": b""}, {"at_ns": b"\0" * 9}, {"at_ns": b"", "client": b"", "rows": b""},
        {"client": np.array([0, 5], "<i4").tobytes()}, {"client": np.array([-1, 0], "<i4").tobytes()},
        {"clients": ["a", "a"]}, {"clients": ["a", ""]}, {"clients": ["a", "b", "c"]},
        {"at_ns": np.array([-5, 0], "<i8").tobytes()}, {"end_ns": START},
    ],
)  # fmt: skip
def test_columns_that_do_not_fit_each_other_are_refused(changes: dict[str, object]) -> None:
    of = Passed(10)
    of.add(np.array([1, 2]), np.array([1.0, 1.5]))
    of.buffer.close_until(None)
    (good,) = of.messages
    assert len(suspects.columns_of(good).client) == 2
    with pytest.raises(ValueError, match="suspect rows"):
        suspects.columns_of(msgspec.structs.replace(good, **changes))
