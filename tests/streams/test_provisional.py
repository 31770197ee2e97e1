"""A model without a reference gets one from its first events, whatever their form; odd batches neither spoil nor stop it."""

import msgspec
import numpy as np
import pytest

from detectors.drift import DriftReference
from inferwatch import EventColumns, Strings
from schemas.reference import decode, encode
from streams.provisional import Provisional
from streams.references import unpack
from tests.streams.events import events


def gathered(*batches: EventColumns, rows: int = 200) -> Provisional:
    one = Provisional(rows)
    for batch in batches:
        one.add(batch)
    return one


@pytest.mark.parametrize("names", [("age", "income", "score"), ()])
def test_enough_rows_make_a_reference_by_name_or_by_position(names: tuple[str, ...]) -> None:
    one = gathered(events(150, names=names), events(150, names=names, seed=2))
    assert one.full
    made = one.build("m", "1")
    assert made is not None
    assert (made.source, made.rows, made.classes) == ("provisional", 200, ("no", "yes"))
    assert [feature.name for feature in made.features] == list(names or ("0", "1", "2"))
    assert unpack(decode(encode(made)), b"").provisional
    assert "membership" not in made.parts


def test_categories_seen_become_categories() -> None:
    cities = Strings.of([("Köln", "Porto", None)[k % 3] for k in range(200)])
    made = gathered(events(200, category_names=("city",), categories=(cities,))).build("m", "1")
    assert made is not None
    assert (made.features[-1].name, made.features[-1].categories) == ("city", ("Köln", "Porto"))


def test_latency_is_compared_where_events_tell_it() -> None:
    slow, silent = (gathered(events(200, latency_ms=np.full(200, ms, np.float32))) for ms in (7.0, np.nan))
    known, unknown = (one.build("m", "1") for one in (slow, silent))
    assert known is not None
    assert unknown is not None
    assert DriftReference.from_bytes(known.parts["drift"]).has_latency
    assert not DriftReference.from_bytes(unknown.parts["drift"]).has_latency
    rows, schema, *others = msgspec.msgpack.decode(gathered(events(90)).snapshot())
    before = Provisional.restore(msgspec.msgpack.encode([rows, schema, *others[:3]]))  # of before latency was gathered
    before.add(events(110, latency_ms=np.full(110, 7.0, np.float32)))
    made = before.build("m", "1")
    assert made is not None
    assert DriftReference.from_bytes(made.parts["drift"]).has_latency


def test_only_answered_events_are_gathered() -> None:
    assert not gathered(events(300, status=np.full(300, 3, np.uint8))).full


def test_batches_of_another_schema_are_passed_over() -> None:
    one = gathered(events(150), events(500, names=("a", "b", "c")), events(150, seed=2))
    made = one.build("m", "1")
    assert made is not None
    assert made.features[0].name == "age"


def test_a_feature_without_a_name_is_gathered_by_nobody() -> None:
    one = gathered(events(300, names=("", "b", "c")))
    assert not one.full
    assert one.build("m", "1") is None


@pytest.mark.parametrize("value", [np.nan, np.inf, 0.0])
def test_rows_that_make_no_reference_are_let_go_and_the_gathering_begins_again(value: float) -> None:
    one = gathered(events(300, numeric=np.full((300, 3), value, np.float32), scores=np.full((300, 2), np.nan, np.float32)))
    one.build("m", "1")
    assert not one.full
    one.add(events(300))
    assert one.full


def test_text_without_any_value_leaves_the_other_features() -> None:
    made = gathered(events(200, category_names=("city",), categories=(Strings.of([None] * 200),))).build("m", "1")
    assert made is not None
    assert len(made.features) == 3


def test_a_wide_model_needs_fewer_rows_so_that_memory_stays_in_bounds() -> None:
    batch = events(
        300, names=(), numeric=np.random.default_rng(0).normal(size=(300, 4_000)).astype(np.float32), scores=None, score_names=()
    )
    one = gathered(batch, rows=10**6)
    assert one.full
    assert len(one.snapshot()) < 16_000_000


def test_a_restored_gathering_makes_the_same_reference() -> None:
    cities = Strings.of(["é", None] * 50)
    first = gathered(events(100, category_names=("city",), categories=(cities,)))
    second = Provisional.restore(first.snapshot())
    more = events(100, seed=3, category_names=("city",), categories=(cities,))
    made = []
    for one in (first, second):
        one.add(more)
        made.append(one.build("m", "1"))
    assert made[0] is not None
    assert made[0] == made[1]


def test_thousands_of_features_hold_up_nobody() -> None:
    """The worker builds it between two records; a minute of that, and it is taken for dead, and again after the restart."""
    wide = events(60, names=(), numeric=np.random.default_rng(0).normal(size=(60, 1_001)).astype(np.float32))
    made = gathered(wide, rows=60).build("m", "1")
    assert made is not None
    assert set(made.parts) == {"drift"}
    narrow = gathered(events(60), rows=60).build("m", "1")
    assert narrow is not None
    assert set(narrow.parts) == {"drift", "evidence", "swarm"}
