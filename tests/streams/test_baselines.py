"""Several references of a model version: drift by the one that was chosen, all else by the training one; what did not change goes on."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest

from schemas import canaries
from schemas.reference import (
    MAX_NAMES,
    Baseline,
    Feature,
    Reference,
    ReferenceFormatError,
    baseline_part,
    encode,
    part_of,
)
from streams.build import BuildError, Rows, build
from streams.conform import conform
from streams.judge import Judge
from streams.model_judge import ModelJudge
from streams.owner import NS
from streams.page_text import PageText
from streams.references import References
from streams.shard import Shard
from tests.streams.events import KEY, START, events, record, reference, settings
from tests.streams.judging import Feed, alerts, rows
from tests.streams.messages import LENGTH, partial
from tests.streams.test_shard import partials

TRAINING, OTHER = reference(), reference(seed=5)
MONTH = msgspec.structs.replace(reference(seed=7), name="month", built_at_ns=5)


def by(name: str) -> Baseline:
    return Baseline(name=name, since_ns=1, by="ada")


def registry(*published: Reference) -> References:
    references = References(KEY)
    for one in published:
        references.put(one)
    return references


def ids(references: References) -> tuple[str, str]:
    loaded = references.get("m", "1")
    return (loaded.id, loaded.drift_id) if loaded else ("", "")


# -- the registry ------------------------------------------------------------------------------------------------------------------------


def test_a_second_reference_judges_nothing_until_it_is_chosen_and_then_drift_alone() -> None:
    references = registry(TRAINING)
    heard: list[tuple[str, str]] = []
    references.watch(lambda model, version: heard.append((model, version)))
    assert not references.put(MONTH)
    assert heard == []
    assert references.use("m", "1", by("month"))
    loaded = references.get("m", "1")
    assert loaded is not None
    assert (loaded.id, loaded.drift_id) == (TRAINING.id, MONTH.id)
    assert loaded.drift is not None
    assert loaded.drift.to_bytes() == MONTH.parts["drift"]
    assert loaded.cells is not None
    assert loaded.cells.to_bytes() == TRAINING.parts["drift"]
    assert loaded.evidence is not None
    assert loaded.evidence.to_bytes() == TRAINING.parts["evidence"]
    assert not references.use("m", "1", by("month"))
    assert references.use("m", "1", by("training"))
    assert ids(references) == (TRAINING.id, TRAINING.id)
    assert heard == [("m", "1")] * 2


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0), (2, 0, 1)])
def test_the_order_in_which_records_are_read_does_not_matter(order: tuple[int, ...]) -> None:
    """They are in different partitions, so two workers, and one worker twice, read them in different orders."""
    records = [
        ("1", encode(TRAINING)),
        (part_of("1", "month"), encode(MONTH)),
        (baseline_part("1"), msgspec.json.encode(by("month"))),
    ]
    references = References(KEY)
    for k in order:
        references.take("m", *records[k])
    assert ids(references) == (TRAINING.id, MONTH.id)
    for part, _ in records:
        references.take("m", part, None)
    assert ids(references) == ("", "")
    assert len(references) == 0


def test_without_the_training_one_the_newest_judges_all() -> None:
    newer = msgspec.structs.replace(OTHER, name="next", built_at_ns=9)
    references = registry(MONTH, newer)
    assert ids(references) == (newer.id, newer.id)
    references.put(TRAINING)
    assert ids(references) == (TRAINING.id, TRAINING.id)
    references.drop("m", "1")
    references.drop("m", "1", "next")
    assert ids(references) == (MONTH.id, MONTH.id)


def test_a_chosen_one_that_is_withdrawn_or_never_came_leaves_drift_to_the_training_one() -> None:
    references = registry(TRAINING, MONTH)
    references.use("m", "1", by("absent"))
    assert ids(references) == (TRAINING.id, TRAINING.id)
    references.use("m", "1", by("month"))
    references.drop("m", "1", "month")
    assert ids(references) == (TRAINING.id, TRAINING.id)
    again = msgspec.structs.replace(OTHER, name="month")
    assert references.put(again)  # the second of this name, and still the chosen one
    assert ids(references) == (TRAINING.id, again.id)


def test_a_new_training_one_leaves_the_baseline_and_the_other_way_round() -> None:
    references = registry(TRAINING, MONTH)
    references.use("m", "1", by("month"))
    references.put(OTHER)
    assert ids(references) == (OTHER.id, MONTH.id)


def test_a_baseline_with_other_columns_is_not_used_and_a_note_says_so() -> None:
    turned = msgspec.structs.replace(MONTH, features=(*MONTH.features[1:], MONTH.features[0]))
    references = registry(TRAINING, turned)
    assert not references.use("m", "1", by("month"))
    loaded = references.get("m", "1")
    assert loaded is not None
    assert "drift is judged by training: the baseline month has other columns" in loaded.notes[-1]


def test_a_provisional_one_makes_room_and_takes_none() -> None:
    provisional = msgspec.structs.replace(OTHER, source="provisional")
    references = registry(provisional, MONTH)
    assert ids(references) == (MONTH.id, MONTH.id)
    assert not references.put(provisional)
    assert ids(references) == (MONTH.id, MONTH.id)


def test_what_cannot_be_used_is_refused_and_changes_nothing() -> None:
    references = registry(TRAINING, msgspec.structs.replace(MONTH, parts=MONTH.parts | {"drift": b"x"}))
    with pytest.raises(ReferenceFormatError, match="reference month of m 1"):
        references.use("m", "1", by("month"))
    assert ids(references) == (TRAINING.id, TRAINING.id)
    for k in range(MAX_NAMES - 2):
        references.put(msgspec.structs.replace(MONTH, name=f"n{k}"))
    with pytest.raises(ReferenceFormatError, match="are too many"):
        references.put(msgspec.structs.replace(MONTH, name="one-more"))
    with pytest.raises(ReferenceFormatError, match="no baseline"):
        references.take("m", baseline_part("1"), b"{}")
    with pytest.raises(ReferenceFormatError, match="neither a reference"):
        references.take("m", "1\0what", b"")
    with pytest.raises(canaries.CanaryError):
        references.take("m", canaries.part_of("1", "00" * 8), b"{}")


# -- owners ------------------------------------------------------------------------------------------------------------------------------

SMALL: dict[str, Any] = {"window": {"length_s": 60.0}, "budget": {"false_pages_per_30d": 1e4}}


def walker(k: int) -> Any:
    """A batch of somebody who looks for the boundary."""
    rng = np.random.default_rng(k)
    X = (rng.normal(size=(60, 1)) * 1e-3 * 4.0 ** -rng.integers(0, 5, (60, 1)) * np.ones(3)).astype(np.float32)
    p = (X[:, 0] > 0).astype(np.float32)
    return events(60, start_s=20.0 * k, rate=4.0, numeric=X, scores=np.stack([1 - p, p], 1), number=80 * k, clients=1)


def test_a_shard_counts_in_the_new_bins_and_knows_its_clients_as_before() -> None:
    references = registry(TRAINING, MONTH)
    shard = Shard(0, settings(**SMALL), references, epoch=7)
    for k in range(3):
        shard.apply(record(walker(k), k))
    model = shard.models["m", "1"]
    known, answers = model.watch.everybody(), model._windows.answers
    assert max(known[f"ln_{family}"].max() for family in ("extraction", "evasion")) > 5
    references.use("m", "1", by("month"))
    assert {name: list(column) for name, column in model.watch.everybody().items()} == {name: list(c) for name, c in known.items()}
    assert model._windows.answers is answers
    for k in range(3, 9):
        shard.apply(record(walker(k), k))
    shard.finish()
    sent = partials(shard)
    assert [one.reference for one in sent] == [TRAINING.id] + [MONTH.id] * (len(sent) - 1)
    assert {one.rare_reference for one in sent} == {TRAINING.id}
    assert all(one.counts for one in sent)


def test_a_shard_that_was_away_while_the_baseline_changed_knows_its_clients_as_before() -> None:
    references = registry(TRAINING, MONTH)
    before = Shard(0, settings(**SMALL), references, epoch=7)
    for k in range(3):
        before.apply(record(walker(k), k))
    known = before.models["m", "1"].watch.everybody()
    blob = before.snapshot()
    before.close()
    references.use("m", "1", by("month"))
    after = Shard(0, settings(**SMALL), references, epoch=7)
    after.restore(blob)
    model = after.models["m", "1"]
    assert {name: list(column) for name, column in model.watch.everybody().items()} == {name: list(c) for name, c in known.items()}
    assert [(one.reference, one.counts) for one in partials(after)][-1] == (MONTH.id, b"")
    for k in range(3, 9):
        after.apply(record(walker(k), k))
    after.finish()
    assert partials(after)[-1].counts


def model_of(judge: Judge) -> ModelJudge:
    return judge._models["m", "1"]


def give(feed: Feed, published: Reference, *numbers: int) -> None:
    for number in numbers:
        feed.give(partial(published=published, window=number, n=400, rare_reference=TRAINING.id))
        feed.judge.tick(START + (number + 1) * LENGTH + 11 * NS)


def test_a_judge_begins_anew_with_drift_alone_and_with_all_else_alone() -> None:
    references = registry(TRAINING, MONTH)
    feed = Feed(Judge(0, settings(), references))
    give(feed, TRAINING, 0, 1)
    model = model_of(feed.judge)
    drift, triggers, swarm = model._drift.detector, model._behaviour._triggers, model.swarm._watch
    accuracy = model.accuracy._detector
    references.use("m", "1", by("month"))
    assert model._drift.detector is not drift
    assert (model._behaviour._triggers, model.swarm._watch, model.accuracy._detector) == (triggers, swarm, accuracy)
    drift = model._drift.detector
    give(feed, TRAINING, 2)  # counted before its shard heard of it
    give(feed, MONTH, 3, 4)
    assert [row["n_effective"] > 0 for row in rows(feed.judge, "windows")] == [True, True, False, True, True]
    feed.give(partial(published=MONTH, window=5, n=4_000, shift=3.0))
    feed.judge.tick(START + 6 * LENGTH + 11 * NS)
    (drifted,) = [one for one in alerts(feed.judge) if one.detector == "drift"]
    assert "Compared with the reference month, not with training." in PageText(settings()).text(drifted)
    references.put(OTHER)
    assert model._drift.detector is drift
    assert model._behaviour._triggers is not triggers
    assert model.accuracy._detector is not accuracy


@pytest.mark.parametrize(
    ("published", "chosen", "name", "line"),
    [
        ((TRAINING,), "", "training", None),
        ((TRAINING, MONTH), "", "training", None),
        ((TRAINING, MONTH), "month", "month", "Compared with the reference month, not with training."),
        ((MONTH,), "", "month", "Compared with the reference month."),
    ],
)
def test_a_page_says_what_it_looks_like_and_which_reference_it_was_compared_with(
    published: tuple[Reference, ...], chosen: str, name: str, line: str | None
) -> None:
    references = registry(*published)
    if chosen:
        references.use("m", "1", by(chosen))
    feed = Feed(Judge(0, settings(), references))
    in_force = next(one for one in published if one.name == name)
    give(feed, in_force, 0, 1)
    feed.give(partial(published=in_force, window=2, n=4_000, shift=3.0))
    feed.judge.tick(START + 3 * LENGTH + 11 * NS)
    (drifted,) = [one for one in alerts(feed.judge) if one.detector == "drift"]
    assert drifted.evidence["compared_with"] == name
    said = PageText(settings()).text(drifted)
    assert "Looks like" in said
    assert [one for one in said.splitlines() if "Compared with" in one] == ([] if line is None else [line])


def test_the_audit_log_says_who_chose_what() -> None:
    references = registry(TRAINING, MONTH)
    feed = Feed(Judge(0, settings(kafka={"partitions": 1}), references))
    feed.judge.tick(START)
    references.use("m", "1", by("month"))
    feed.judge.tick(START + NS)
    told = [msgspec.json.decode(row["detail"]) for row in rows(feed.judge, "audit") if row["kind"] == "reference"]
    ours = f"{TRAINING.id}, drift {MONTH.id}"
    assert told[-1] == {"id": ours, "before": TRAINING.id, "source": "file", "baseline": "month", "by": "ada"}
    blob = feed.judge.snapshot()
    again = Judge(0, settings(kafka={"partitions": 1}), references)
    again.restore(blob)
    again.tick(START + 2 * NS)
    assert len([row for row in rows(again, "audit") if row["kind"] == "reference"]) == len(told)  # nothing new after a restart


# -- rows of a second one ----------------------------------------------------------------------------------------------------------------

CITY = Feature(name="city", kind="categorical", categories=("Köln", "Porto", "Łódź"))


def test_rows_take_the_columns_categories_and_classes_of_the_first() -> None:
    like = msgspec.structs.replace(TRAINING, features=(CITY, Feature(name="age", low=0.0)), classes=("no", "yes"))
    given = Rows(
        features=(Feature(name="more"), Feature(name="age"), Feature(name="city", kind="categorical", categories=("Porto", "Rome"))),
        X=np.array([[1, 30, 0], [2, 40, 1], [3, np.nan, np.nan], [4, 50, 2]], np.float32),
        scores=np.array([[0.9, 0.1]] * 4, np.float32),
        classes=("yes", "no"),
        y=np.array([0, 1, -1, 0], np.int32),
    )
    rows = conform(given, like)
    assert (rows.features, rows.classes) == (like.features, ("no", "yes"))
    assert np.array_equal(rows.X, np.array([[1, 30], [3, 40], [np.nan, np.nan], [3, 50]], np.float32), equal_nan=True)
    assert rows.scores is not None
    assert np.array_equal(rows.scores[0], np.array([0.1, 0.9], np.float32))
    assert rows.y is not None
    assert rows.y.tolist() == [1, 0, -1, 1]
    with pytest.raises(BuildError, match="the rows have no feature city, which reference training of m 1 has; they have age"):
        conform(Rows(features=(Feature(name="age"),), X=np.ones((3, 1), np.float32)), like)
    with pytest.raises(BuildError, match=r"the rows have the classes \[\], reference training of m 1 has \['no', 'yes'\]"):
        conform(Rows(features=like.features, X=np.ones((3, 2), np.float32)), like)


def test_a_conformed_reference_of_the_same_rows_is_the_same() -> None:
    rng = np.random.default_rng(0)
    X = np.column_stack([rng.normal(size=600), rng.integers(0, 3, 600)]).astype(np.float32)
    rows = Rows(features=(Feature(name="age"), CITY), X=X)
    first = build("m", "1", rows, built_at_ns=0).reference
    second = build("m", "1", conform(rows, first), built_at_ns=0, name="month").reference
    assert (second.name, second.id) == ("month", first.id)
