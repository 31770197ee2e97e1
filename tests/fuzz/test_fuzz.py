"""The short form of ``make fuzz``: some thousand damaged inputs a target, in seconds; and what the long form found, by name."""

from __future__ import annotations

import random
import time
import tracemalloc
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, target
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from detectors.drift import DriftReference
from detectors.evidence import EvidenceReference
from detectors.state import StateError, pack, unpack
from inferwatch import CONTENT_TYPE_JSON, DecodeError
from inferwatch import decode as read_record
from schemas import windows
from schemas.reference import ReferenceFormatError, decode
from streams.judge import Judge
from streams.references import References
from streams.settings import SettingsError, load
from streams.snapshots import Snapshot, SnapshotError
from streams.state_folder import FolderStore
from tests.fuzz.__main__ import fuzz
from tests.fuzz.mutate import in_tree, mutated
from tests.fuzz.targets import Target, targets
from tests.streams.events import KEY, START, reference
from tests.streams.judging import PUBLISHED, Feed, judge, letters
from tests.streams.messages import LENGTH, partial

NAMES = ("record: columns", "record: JSON", "record: shard", "judge: messages", "reference: load", "reference: use", "reference: names",
         "reference: stream", "snapshot: shard", "snapshot: judge", "snapshot: file", "settings", "kserve", "siem")  # fmt: skip
INPUTS = 20_000


@pytest.fixture(scope="module")
def known() -> dict[str, Target]:
    return targets()


def test_every_target_is_run(known: dict[str, Target]) -> None:
    assert set(known) == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_damaged_bytes_end_in_a_documented_error_in_bounded_time_and_memory(known: dict[str, Target], name: str) -> None:
    """In this process, each input on its own; the long form has a process a target, with a limit of address space."""
    one = known[name]
    for number in range(round(INPUTS * one.share / sum(each.share for each in known.values()))):
        blob = one.input(7, number)
        began = time.process_time()
        one.run(blob)
        assert time.process_time() - began < 10, f"input {number} of seed 7"


@pytest.mark.parametrize("name", ["record: columns", "record: JSON", "reference: load", "snapshot: file"])
def test_a_small_input_allocates_no_large_memory(known: dict[str, Target], name: str) -> None:
    one = known[name]
    tracemalloc.start()
    try:
        for number in range(150):
            blob = one.input(8, number)
            tracemalloc.reset_peak()
            before = tracemalloc.get_traced_memory()[0]
            one.run(blob)
            assert tracemalloc.get_traced_memory()[1] - before < 100_000_000 + 200 * len(blob), f"input {number} of seed 8"
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", ["record: columns", "judge: messages", "reference: load"])
def test_hypothesis_looks_for_inputs_that_get_far(known: dict[str, Target], name: str) -> None:
    """Guided towards inputs that were read in spite of their damage; what fails is made small."""
    one = known[name]

    @hypothesis_settings(max_examples=150, deadline=None, database=None, derandomize=True)
    @given(st.integers(0, 2**32), st.integers(1, 6))
    def run(seed: int, times: int) -> None:
        draw = random.Random(seed)
        blob = draw.choice(one.seeds)
        for _ in range(times):
            blob = one.mutate(draw, blob, one.seeds)
        target(float(one.run(blob) == "") * times)

    run()


def test_the_mutator_changes_single_fields_and_not_only_bytes() -> None:
    sound = windows.encode(partial(n=5))
    fields = set()
    for seed in range(2_000):
        try:
            tree = msgspec.msgpack.decode(in_tree(random.Random(seed), sound))
        except (msgspec.DecodeError, ValueError):
            continue
        before = msgspec.msgpack.decode(sound)
        if isinstance(tree, dict) and len(tree) == len(before):
            changed = [name for name in before if tree.get(name) != before[name]]
            fields |= set(changed) if len(changed) == 1 else set()
    assert fields >= {"n", "late", "model", "counts", "latency", "status", "epoch"}


@pytest.mark.parametrize("bad", ["raises", "hangs", "grows"])
def test_the_long_form_finds_what_it_is_made_to_find(bad: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.fuzz.__main__.PATIENCE_S", 0.3)

    def read(blob: bytes) -> None:
        if blob[:1] != b"\x93":
            if bad == "raises":
                raise KeyError("x")
            if bad == "hangs":
                while True:
                    pass
            if bad == "grows":
                np.zeros(2_000_000_000, np.uint8)

    report = fuzz(Target("bad", read, (msgspec.msgpack.encode([1, 2, 3]),), (StateError,)), seed=1, inputs=8)
    expected = {"raises": "KeyError", "hangs": "HangError", "grows": "MemoryError"}[bad]
    assert any(expected in kind for kind in report["found"])


# What the long form found, and what was found while it was made.


def changed(part: bytes, **fields: Any) -> bytes:
    """A state with some fields replaced."""
    kind, version = msgspec.msgpack.decode(part)[:2]
    return pack(kind, version, unpack(part, kind, version) | fields)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"residual_weights": np.zeros((3, 2), np.float32)}, "residual_weights"),
        ({"sampled": np.array([0, 1, 2**40])}, "points outside"),
        ({"sampled": np.array([0, 1, -1])}, "points outside"),
        ({"projection": np.zeros((2**20, 0), np.float32)}, "projection"),
        ({"width": 2**40}, "width"),
        ({"centre": np.zeros(3, np.float32)}, "centre"),
        ({"sampled_range": np.zeros(3)}, "range or rate"),
        ({"flat_rates": np.zeros(3)}, "range or rate"),
        ({"nearest": float("nan")}, "nearest"),
        ({"unknown": 1}, "unexpected keyword"),
    ],
)
def test_an_evidence_reference_whose_arrays_do_not_fit_is_refused_before_a_kernel_sees_it(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(StateError, match=said):
        EvidenceReference.from_bytes(changed(PUBLISHED.parts["evidence"], **fields))


@pytest.mark.parametrize(
    "fields",
    [
        {"edges": np.zeros((6, 16))},
        {"sd": np.zeros(6)},
        {"mean": np.full(6, np.nan)},
        {"n_features": 2**40},
        {"n_edges": "text"},
        {"variables": [1, 2, 3, 4, 5, 6]},
        {"lookup": np.zeros((2, 1), np.int32)},
    ],
)
def test_a_drift_reference_whose_fields_do_not_fit_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(StateError, match=r"drift\.reference"):
        DriftReference.from_bytes(changed(PUBLISHED.parts["drift"], **fields))


def test_a_membership_part_with_nonsense_in_it_is_a_note_and_not_a_crash() -> None:
    damaged = msgspec.structs.replace(
        PUBLISHED, parts=PUBLISHED.parts | {"membership": changed(PUBLISHED.parts["membership"], members="many")}
    )
    known = References(KEY)
    assert known.put(damaged)
    loaded = known.get("m", "1")
    assert loaded is not None
    assert loaded.membership is None
    assert "damaged" in loaded.notes[0]


@pytest.mark.parametrize("missing", ["next", "seen", "outbox", "models", "emitted"])
def test_a_snapshot_without_a_field_is_a_state_error(missing: str) -> None:
    state = judge().snapshot()
    kind, version = msgspec.msgpack.decode(state)[:2]
    body = unpack(state, kind, version)
    del body[missing]
    with pytest.raises(StateError, match=missing):
        Judge(0, judge()._settings, References(KEY)).restore(pack(kind, version, body))


@pytest.mark.parametrize("body", [b"\x91" * 5_000, b"\x96\xa5sh\xdbrd"], ids=["brackets", "no UTF-8"])
def test_a_snapshot_file_with_a_right_checksum_and_wrong_content_is_named(tmp_path: Path, body: bytes) -> None:
    import hashlib

    store = FolderStore(tmp_path)
    store.save(Snapshot("shard", 0, store.claim("shard", 0)[0], {}, START, b""))
    store.path("shard", 0).write_bytes(b"IWSNAP2\n" + hashlib.blake2b(body, digest_size=16).digest() + body)
    with pytest.raises(SnapshotError, match=r"shard-0\.snapshot"):
        store.read("shard", 0)


@pytest.mark.parametrize("text", ["x = " + "[" * 5_000, "x = " + "1" * 5_000, "[kafka]\npartitions = " + "9" * 5_000])
def test_a_settings_file_that_the_parser_chokes_on_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "odd.toml").write_text(text)
    with pytest.raises(SettingsError, match=r"odd\.toml"):
        load(tmp_path / "odd.toml", {})


def test_a_secrets_file_with_an_impossible_name_is_told() -> None:
    with pytest.raises(SettingsError, match="INFERWATCH_MEMBERSHIP_KEY_FILE"):
        load(None, {"INFERWATCH_MEMBERSHIP_KEY_FILE": "a\0b"})


def test_counts_that_would_overflow_the_sum_over_partitions_are_a_dead_letter() -> None:
    feed = Feed(judge())
    for part in range(3):
        feed.give(msgspec.structs.replace(partial(published=PUBLISHED, partition=part), n=2**62, anomalies={"not_finite": 2**62}))
    feed.give(partial(published=PUBLISHED, n=5, partition=4))
    feed.judge.tick(START + 3 * LENGTH)
    assert len(letters(feed.judge)) == 3


def test_half_a_million_things_that_are_no_events_cost_one_error_and_not_one_each() -> None:
    began = time.process_time()
    with pytest.raises(DecodeError, match="oversized: 450000 events in one record"):
        read_record(b"[" + b",".join([b"0"] * 450_000) + b"]", CONTENT_TYPE_JSON)
    assert time.process_time() - began < 0.5


def test_a_reference_that_claims_gigabytes_is_refused_before_they_are_there() -> None:
    with pytest.raises(ReferenceFormatError, match="at most"):
        decode(b"IWREF1\n" + (2**40).to_bytes(8, "little") + b"\0" * 10)


def test_inputs_are_the_same_in_every_run() -> None:
    one = Target("t", lambda blob: None, (b"\x93\1\2\3",))
    assert [one.input(1, n) for n in range(20)] == [one.input(1, n) for n in range(20)]
    assert len({one.input(1, n) for n in range(20)}) > 10
    assert mutated(random.Random(1), b"", [b""]) == mutated(random.Random(1), b"", [b""])
    assert reference().id == PUBLISHED.id
