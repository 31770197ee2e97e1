"""Delayed labels: each meets its event once, whichever came first and whatever was stopped between; what meets none is counted."""

from __future__ import annotations

from collections import Counter
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from inferwatch import EventColumns, Label, Strings
from schemas.outcomes import CE_TYPE, MAX_ROWS, Columns, columns_of, decode
from streams.duplicates import keys_of_id
from streams.labels import LabelDesk, spellings, text_of
from streams.outcome_store import OutcomeStore
from streams.settings import Labels
from tests.streams.events import NS, START, events, reference
from tests.streams.labelling import CLASSES, LENGTH, PUBLISHED, Pair, accuracy, answers, label, other, truths

WEEK_S = 7 * 86_400.0

# -- which event a label is about ---------------------------------------------------------------------------------------------------------


def test_a_label_finds_its_event_by_the_producer_and_number_and_by_an_id_of_its_own() -> None:
    pair = Pair()
    ids = Strings.of([f"order-{k}" if k % 2 else None for k in range(10)])
    batch = events(10, event_id=ids)
    pair.events(batch)
    pair.close_windows()
    pair.labels(*(Label(model="m", event_id=batch.id_of(k), truth=answers(batch)[k]) for k in range(10)))
    pair.tick()
    assert pair.fates() == {"joined": 10}


def test_an_id_that_looks_like_an_instance_and_a_number_and_is_given_is_found_too() -> None:
    pair = Pair()
    pair.events(events(1, event_id=Strings.of(["cart:17"])))
    pair.close_windows()
    pair.labels(Label(model="m", event_id="cart:17", truth="yes"))
    pair.tick()
    assert pair.fates() == {"joined": 1}


@pytest.mark.parametrize("odd", ["a:", ":1", "a:01", "a:-1", "a:1e3", "a:²", "a:" + "9" * 30, "é:5", "\x00:3", ":"])
def test_odd_ids_are_ids_like_others(odd: str) -> None:
    pair = Pair()
    pair.events(events(1, event_id=Strings.of([odd])))
    pair.close_windows()
    pair.labels(Label(model="m", event_id=odd, truth="yes"))
    pair.tick()
    assert pair.fates() == {"joined": 1}
    assert keys_of_id(odd)[0] > 0


def test_a_label_without_a_version_is_for_whichever_answered_and_one_with_a_version_for_that_one() -> None:
    pair = Pair(published=None)
    for version in ("1", "2"):
        pair.references.put(msgspec.structs.replace(PUBLISHED, version=version))
    pair.events(events(10))
    pair.events(events(10, number=10, version="2", start_s=1.0))
    pair.close_windows()
    pair.labels(label(3), label(13), label(4, version="2"), label(14, version="2"))
    pair.tick()
    assert pair.fates() == {"joined": 3}
    pair.tick(LENGTH / NS)
    assert sorted(Counter(row["version"] for row in pair.rows("accuracy_windows")).items()) == [("1", 1), ("2", 1)]


def test_only_answers_wait_for_labels() -> None:
    pair = Pair()
    pair.events(events(10, status=np.array([0, 1, 2, 3, 4, 5, 0, 0, 0, 0], np.uint8)))
    pair.close_windows()
    pair.labels(*(label(k) for k in range(10)))
    pair.tick()
    assert pair.fates() == {"joined": 5}


@pytest.mark.parametrize(
    ("classes", "truth", "expected"),
    [(("0", "1"), 1, 1), (("0", "1"), True, 1), (("0", "1"), 0.0, 0), (("0", "1"), "1.0", 1), (("False", "True"), True, 1),
     (("false", "true"), 0, 0), (("no", "yes"), "yes", 1), (("no", "yes"), 1, None), (("1.0", "2.0"), 2, 1), (("1", "true"), True, 1)],
)  # fmt: skip
def test_a_truth_is_a_class_however_it_is_spelt(classes: tuple[str, ...], truth: Any, expected: int | None) -> None:
    assert spellings(classes).get(text_of(truth)) == expected


# -- order, repetition, delay -------------------------------------------------------------------------------------------------------------

Step = tuple[str, int]
STEPS = st.tuples(st.sampled_from(["events", "labels", "labels", "tick", "close"]), st.integers(0, 30))


def in_order(steps: list[Step], **sections: Any) -> Pair:
    """Batches of events and labels as the steps say, and at the end all that is left of both."""
    pair = Pair(2, **sections)
    batches = [events(40, seed=k, start_s=200.0 * k, number=40 * k) for k in range(6)]
    due = list(range(6))
    asked = list(range(250))  # the last 10 are for events that never come
    np.random.default_rng(1).shuffle(asked)

    def give(how_many: int) -> None:
        for number in [asked.pop() for _ in range(min(how_many, len(asked)))]:
            k, row = divmod(number, 40)
            truth = truths(batches[k], k, 0.3)[row] if k < 6 else "no"
            pair.labels(label(number, truth), at_ns=START + 1_500 * NS)

    for kind, n in steps:
        if kind == "events" and due:
            k = due.pop(n % len(due))
            pair.events(batches[k], k % 2)
        elif kind == "labels":
            give(n)
        elif kind == "tick":
            pair.tick(0.5)
        elif kind == "close":
            pair.close_windows()
    for k in due:
        pair.events(batches[k], k % 2)
    give(250)
    pair.close_windows()
    pair.tick()
    pair.tick(LENGTH / NS)
    return pair


@hypothesis_settings(deadline=None, max_examples=15)
@given(steps=st.lists(STEPS, max_size=25))
def test_any_order_of_events_and_labels_gives_the_same_counts(steps: list[Step]) -> None:
    plain, mixed = in_order([]), in_order(steps)
    assert plain.fates() == mixed.fates() == {"joined": 240}

    def sums(pair: Pair) -> dict[Any, Any]:
        out: dict[Any, Counter[str]] = {}
        for row in pair.rows("accuracy_windows"):
            figures = ("n", "errors", "log_loss_n", "log_loss", "expected_n", "expected_errors")
            out.setdefault((row["start"], row["delay"]), Counter()).update({name: round(row[name] * 1e6) for name in figures})
        return out

    # an event that is late enters the window of its own time all the same: accuracy is told by the event's time
    assert sums(plain) == sums(mixed)
    assert sum(one["n"] for one in sums(plain).values()) == 240 * 1_000_000
    for pair in (plain, mixed):
        for _ in range(70):
            pair.tick(60.0)
    assert plain.fates() == mixed.fates() == {"joined": 240, "unknown": 10}


def test_a_label_that_comes_twice_counts_once_before_and_after_its_event() -> None:
    pair = Pair()
    batch = events(10)
    pair.labels(label(1), label(1))
    pair.events(batch)
    pair.close_windows()
    pair.tick()
    pair.labels(label(1), label(1, "yes"), label(2), label(2))
    pair.tick()
    pair.labels(label(2))
    pair.tick()
    assert pair.fates() == {"joined": 2, "twice": 5}


def test_labels_count_in_the_window_of_their_event_by_how_late_they_are() -> None:
    pair = Pair()
    batch = events(8, start_s=310.0, rate=100.0)
    pair.events(batch)
    pair.close_windows()
    late_s = (5.0, 59.0, 61.0, 3_700.0, 86_000.0, 87_000.0, WEEK_S - 60, WEEK_S + 60)
    for number, delay in enumerate(late_s):
        right = answers(batch)[number]
        pair.now = int(batch.at_ns[0]) + round(delay * NS)
        pair.labels(label(number, right if number % 2 else other(right)))
        pair.tick(0.1)
    pair.tick(LENGTH / NS)
    counts = accuracy(pair.rows("accuracy_windows"))
    start = START + LENGTH
    assert counts == {
        (start, "1m"): (2, 1), (start, "1h"): (1, 1), (start, "1d"): (2, 1), (start, "1w"): (2, 1), (start, "more"): (1, 0),
    }  # fmt: skip


def test_the_log_loss_is_that_of_the_true_classs_probability() -> None:
    pair = Pair()
    batch = events(100)
    pair.events(batch)
    pair.close_windows()
    pair.labels(*(label(k, truth) for k, truth in enumerate(truths(batch, 3, 0.4))))
    pair.tick()
    pair.tick(LENGTH / NS)
    (row,) = pair.rows("accuracy_windows")
    assert batch.scores is not None
    p = np.array([batch.scores[k, CLASSES.index(truth)] for k, truth in enumerate(truths(batch, 3, 0.4))], float)
    assert row["log_loss_n"] == 100
    assert row["log_loss"] == pytest.approx(-np.log(p).sum(), rel=1e-4)


def test_an_answer_without_probabilities_has_an_accuracy_and_no_loss() -> None:
    pair = Pair()
    pair.events(events(10, scores=None, score_names=(), prediction=Strings.of(["no"] * 10)))
    pair.close_windows()
    pair.labels(*(label(k, "no" if k else "yes") for k in range(10)))
    pair.tick()
    pair.tick(LENGTH / NS)
    (row,) = pair.rows("accuracy_windows")
    assert (row["n"], row["errors"], row["log_loss_n"], row["log_loss"], row["expected_n"]) == (10, 1, 0, 0.0, 0)


# -- what meets nothing -------------------------------------------------------------------------------------------------------------------


def test_every_label_is_accounted_for() -> None:
    pair = Pair(labels={"waiting": 5, "wait_s": 120.0})
    pair.events(events(10))
    pair.close_windows()
    pair.labels(label(0), label(0), label(1, "maybe"), label(2, float("1e300")), *(label(100 + k) for k in range(9)))
    pair.tick()
    assert pair.fates() == {"twice": 1, "crowded_out": 7}  # the waiting were all looked for at once, at the tick
    pair.labels(label(0), label(1, "maybe"), label(3))
    pair.tick()
    assert pair.fates()["not_a_class"] == 1
    for _ in range(5):
        pair.tick(60.0)
    fates = pair.fates()
    assert sum(fates.values()) == 13 + 3
    assert fates == {"joined": 2, "twice": 1, "not_a_class": 1, "crowded_out": fates["crowded_out"], "unknown": fates["unknown"]}


def test_a_label_that_is_no_class_leaves_its_event_open_for_the_right_one() -> None:
    pair = Pair()
    pair.events(events(1))
    pair.close_windows()
    pair.labels(label(0, "maybe"))
    pair.tick()
    pair.labels(label(0, "yes"))
    pair.tick()
    assert pair.fates() == {"not_a_class": 1, "joined": 1}


@pytest.mark.parametrize("bad", [b"", b"{", b"[]", b'{"model": "m"}', b'{"model": "m", "event_id": "", "truth": 1}', b"\xff\xfe",
                                 b'{"model": "m", "event_id": "a", "truth": null}', b'{"model": "m", "event_id": "a", "truth": [1]}',
                                 b'{"model": "m", "event_id": "' + b"x" * 300 + b'", "truth": 1}', b"[" * 100_000])  # fmt: skip
def test_a_label_that_cannot_be_read_is_a_dead_letter(bad: bytes) -> None:
    pair = Pair()
    pair.raw("labels", bad)
    assert pair.judge.refused == {"labels": 1}
    assert [out.headers["reason"] for out in pair.judge.outbox if out.to == "dlq"] == ["foreign"]
    assert pair.fates() == {}


def test_labels_of_made_up_models_make_room_for_those_of_real_ones() -> None:
    pair = Pair(limits={"models": 3})
    pair.events(events(10))
    pair.close_windows()
    for k in range(50):
        pair.labels(Label(model=f"made-up-{k}", event_id="x", truth=1))
    pair.labels(label(1))
    pair.tick()
    assert pair.fates() == {"joined": 1, "unknown": 48}
    pair.restart()
    assert pair.fates() == {"joined": 1, "unknown": 48}


def test_a_share_of_the_events_is_the_same_one_everywhere() -> None:
    pair = Pair(labels={"share": 0.25})
    batch = events(2_000, rate=100.0)
    pair.events(batch)
    pair.close_windows()
    pair.labels(*(label(k) for k in range(2_000)))
    pair.tick()
    fates = pair.fates()
    assert 420 < fates["joined"] < 580
    assert fates["joined"] + fates["not_followed"] + len(pair.judge._labels._desks["m"]._waiting) == 2_000


# -- bounds -------------------------------------------------------------------------------------------------------------------------------


def columns(keys: np.ndarray, at_s: float = 0.0) -> Columns:
    n = len(keys)
    return Columns(keys.astype(np.uint64), np.full(n, START + round(at_s * NS)), np.zeros(n, np.uint16), np.zeros((n, 2), np.uint16))


def test_the_store_keeps_the_newest_answers_that_there_is_room_for_and_finds_each() -> None:
    store = OutcomeStore(Labels(events=50_000))
    rng = np.random.default_rng(0)
    keys = rng.permutation(200_000).astype(np.uint64) + np.uint64(1)
    edges = np.sort(rng.choice(200_000, 300, replace=False))
    for part in np.split(keys, edges):
        if len(part):
            store.add(columns(part), CLASSES)
    assert 50_000 - 8**5 <= len(store) <= 50_000
    assert store.forgotten == 200_000 - len(store)
    segment, row = store.find(keys)
    found = np.flatnonzero(segment >= 0)
    assert len(found) == len(store)
    assert found.min() == 200_000 - len(store)
    assert all(store[int(segment[k])].keys[row[k]] == keys[k] for k in found[::97])
    assert len(store._segments) < 8 * 6


def test_what_is_older_than_the_horizon_is_forgotten_and_its_labels_are_unknown() -> None:
    pair = Pair(labels={"horizon_s": 3_600.0, "wait_s": 60.0})
    pair.events(events(10))
    pair.close_windows()
    pair.tick(3_500.0)
    pair.labels(label(0))
    pair.tick(1.0)
    assert pair.fates() == {"joined": 1}
    pair.tick(200.0)
    pair.labels(label(1))
    for _ in range(3):
        pair.tick(60.0)
    assert pair.fates() == {"joined": 1, "unknown": 1}
    assert pair.judge.counters()["outcomes_forgotten"] == 9


def test_answers_of_a_model_that_never_sees_a_label_do_not_pile_up_between_ticks() -> None:
    pair = Pair()
    pair.events(events(5_000, rate=1_000.0))
    pair.close_windows()
    (store,) = pair.judge._labels._stores("m").values()
    pair.tick()
    assert store.fresh == 0
    assert store._fresh == []


def test_a_full_buffer_leaves_at_once_and_loses_nothing() -> None:
    pair = Pair()
    shard = pair.shards[0]
    for k in range(5):
        shard.take(events(3_000, rate=1e4, number=3_000 * k, start_s=0.3 * k), START)
    sent = [decode(out.value) for out in shard.outbox if out.headers.get("ce_type") == CE_TYPE]
    assert [len(columns_of(message)) for message in sent] == [MAX_ROWS] * 3
    shard.finish()
    sent = [decode(out.value) for out in shard.outbox if out.headers.get("ce_type") == CE_TYPE]
    keys = np.concatenate([columns_of(message).keys for message in sent])
    assert len(np.unique(keys)) == 15_000


def test_answers_go_in_the_classes_of_the_reference_that_they_were_counted_with() -> None:
    pair = Pair()
    pair.events(events(10))
    swapped = msgspec.structs.replace(PUBLISHED, classes=("yes", "no"))
    pair.references.put(swapped)
    pair.flush(0)
    batch = events(10, number=10, start_s=2.0)
    pair.events(batch)
    pair.close_windows()
    pair.labels(*(label(10 + k, answer) for k, answer in enumerate(answers(batch))))
    pair.labels(*(label(k, answer) for k, answer in enumerate(answers(events(10)))))
    pair.tick()
    pair.tick(LENGTH / NS)
    assert pair.fates() == {"joined": 20}
    assert sum(row["errors"] for row in pair.rows("accuracy_windows")) == 0


# -- restarts and clocks ------------------------------------------------------------------------------------------------------------------

PLAY = st.tuples(
    st.sampled_from(["events"] * 3 + ["labels"] * 3 + ["strange", "tick", "tick", "close", "window", "reference"]), st.integers(0, 20)
)


class Played:
    def __init__(self) -> None:
        small = {"events": 2_000, "waiting": 30, "wait_s": 600.0}
        self.pair = Pair(2, labels=small, window={"length_s": 60.0}, budget={"false_pages_per_30d": 1e4})
        self.number = 0
        self.batches: list[EventColumns] = []

    def play(self, step: Step) -> None:
        kind, seed = step
        pair = self.pair
        if kind == "events":
            at_s = (pair.now - START) / NS
            batch = events(30, seed=seed, start_s=at_s, number=self.number, instance=f"i{seed % 3}")
            self.batches.append(batch)
            self.number += 30
            pair.events(batch, seed % 2)
        elif kind == "labels" and self.batches:
            batch = self.batches[seed % len(self.batches)]
            told = truths(batch, seed, 0.5)
            pair.labels(*(label(int(batch.number[k]), told[k], instance=batch.instance) for k in range(seed % 7, 30, 3)))
        elif kind == "strange":
            pair.labels(label(10**6 + seed), label(seed, "maybe"), Label(model=f"m{seed}", event_id="x", truth=True))
            pair.raw("labels", b"what")
        elif kind == "tick":
            pair.tick(0.5 * seed)
        elif kind == "close":
            pair.close_windows()
        elif kind == "window":
            pair.tick(61.0)
        elif kind == "reference":
            pair.references.put((PUBLISHED, OTHER)[seed % 2])


OTHER = reference(seed=5)


@hypothesis_settings(deadline=None, max_examples=25)
@given(steps=st.lists(PLAY, min_size=4, max_size=40), stops=st.sets(st.integers(0, 39), max_size=6))
def test_shards_and_judge_may_stop_at_any_time_and_no_count_tells(steps: list[Step], stops: set[int]) -> None:
    whole, stopped = Played(), Played()
    for n, step in enumerate(steps):
        if n in stops:
            stopped.pair.restart()
        whole.play(step)
        stopped.play(step)
    for one in (whole, stopped):
        one.pair.close_windows()
        one.pair.tick(1.0)
        one.pair.tick(61.0)
    assert whole.pair.fates() == stopped.pair.fates()
    assert [msgspec.msgpack.encode(out) for out in whole.pair.judge.outbox] == [
        msgspec.msgpack.encode(out) for out in stopped.pair.judge.outbox
    ]
    assert whole.pair.judge.snapshot() == stopped.pair.judge.snapshot()
    assert [shard.snapshot() for shard in whole.pair.shards] == [shard.snapshot() for shard in stopped.pair.shards]


@hypothesis_settings(deadline=None, max_examples=25)
@given(steps=st.lists(st.tuples(PLAY, st.sampled_from(["", "", "save", "lose", "crash"])), min_size=4, max_size=30))
def test_a_copy_of_the_judge_holds_every_answer_and_writes_each_segment_once(steps: list[tuple[Step, str]]) -> None:
    played = Played()
    kept: dict[int, bytes] = {}
    root = whole = b""
    then: set[str] = set()
    for step, copying in [*steps, (("events", 1), ""), (("close", 0), "save"), (("labels", 1), "crash")]:
        played.play(step)
        judge = played.pair.judge
        if copying in ("save", "lose"):
            copy, now = judge.begin_copy(), judge.snapshot()
            if copying == "lose":
                judge.copy_lost(copy)
            else:
                assert not set(copy.pieces) & set(kept), "written twice"
                held = kept | copy.pieces
                kept, root, whole = {piece: held[piece] for piece in copy.keep}, copy.root, now
                then = {loaded.id for loaded in played.pair.references}
        if copying == "crash" and root:
            again = played.pair._judge()
            again.begin_restore(root)
            for piece, blob in kept.items():
                again.restore_piece(piece, blob)
            again.end_restore()
            if then == {loaded.id for loaded in played.pair.references}:
                assert again.snapshot() == whole
            again.close()


def test_what_a_lost_copy_held_is_in_the_next_one_and_what_a_saved_one_held_is_not() -> None:
    pair = Pair()
    for k in range(3):
        pair.events(events(20, number=20 * k, start_s=300.0 * k))
        pair.close_windows()
    lost = pair.judge.begin_copy()
    assert len(lost.pieces) == 3
    pair.judge.copy_lost(lost)
    saved = pair.judge.begin_copy()
    assert len(saved.pieces) == 3
    pair.labels(label(5), label(25))
    pair.tick()
    later = pair.judge.begin_copy()
    assert (later.pieces, later.keep) == ({}, saved.keep)
    again = pair._judge()
    again.begin_restore(later.root)
    for piece in later.keep:
        again.restore_piece(piece, saved.pieces[piece])
    again.end_restore()
    assert again.snapshot() == pair.judge.snapshot()


def test_a_label_that_waits_finds_an_event_that_came_just_before_the_restart() -> None:
    pair = Pair()
    pair.labels(label(1))
    pair.tick()
    pair.events(events(10))
    pair.close_windows()
    pair.restart()
    pair.tick()
    assert pair.fates() == {"joined": 1}


def test_a_reference_that_came_while_nobody_was_here_costs_no_answer() -> None:
    pair = Pair()
    batch = events(10)
    pair.events(batch)
    blob = pair.shards[0].snapshot()
    pair.shards[0].close()
    pair.references.put(msgspec.structs.replace(PUBLISHED, classes=("yes", "no")))
    pair.shards[0] = pair._shard(0)
    pair.shards[0].restore(blob)
    pair.flush(0)
    pair.labels(*(label(k, answer) for k, answer in enumerate(answers(batch))))
    pair.tick()
    pair.tick(LENGTH / NS)
    assert pair.fates() == {"joined": 10}
    assert sum(row["errors"] for row in pair.rows("accuracy_windows")) == 0


def test_labels_that_waited_out_an_outage_are_not_given_up_before_their_late_events_come() -> None:
    pair = Pair(labels={"wait_s": 600.0})
    pair.tick()
    pair.labels(*(label(k) for k in range(10)))
    pair.tick()
    pair.restart()
    pair.tick(7_200.0)  # two hours later
    pair.events(events(10))
    pair.close_windows()
    pair.tick()
    assert pair.fates() == {"joined": 10}


def test_a_clock_that_is_set_back_loses_no_label_and_ends_the_window_of_arrival() -> None:
    pair = Pair()
    pair.tick(36_000.0)  # somebody set it
    pair.events(events(10))
    pair.close_windows()
    pair.labels(*(label(k) for k in range(5)))
    pair.tick()
    pair.now = START + 100 * NS
    pair.tick()
    pair.labels(*(label(k) for k in range(5, 10)))
    pair.tick()
    pair.tick(LENGTH / NS)
    assert pair.fates() == {"joined": 10}
    assert sum(row["n"] for row in pair.rows("accuracy_windows")) == 10


def test_a_desk_counts_what_it_was_given() -> None:
    desk = LabelDesk(Labels(waiting=3))
    for k in range(10):
        desk.take(label(k), START)
    assert desk.received == 10 == desk.fates.total() + desk.waiting
