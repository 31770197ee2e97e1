"""One event in, the same event out; what must not leave the process does not."""

import logging
import math
import sys
import types
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inferwatch import Client, MemoryTransport, Status, decode, partition_of, pseudonym_of
from inferwatch._pseudonym import Clients
from tests.sdk.helpers import client


def recorded(given: dict[str, Any], **options: Any) -> dict[str, Any]:
    watch, transport = client(**options)
    with watch:
        assert watch.record(**({"model": "m", "version": "1"} | given))
    (event,) = transport.events()
    return event  # type: ignore[no-any-return]  # a dictionary


def test_what_is_recorded_arrives() -> None:
    event = recorded(
        {
            "client": "alice", "features": {"a": 1, "b": None, "c": "é", "d": True}, "scores": {"yes": 0.25, "no": 0.75},
            "prediction": "no", "value": 2.5, "latency_ms": 7.5, "status": "rate_limited", "event_id": "e", "at_ns": 12,
            "trace_id": "t", "owner": "o",
            "source": "s", "cost": 0.5, "feature_view": "customers:3", "feature_age_s": 61.5,
        }
    )  # fmt: skip
    assert math.isnan(event["features"].pop("b"))
    instance, pseudonym = event.pop("instance"), event.pop("client")
    assert instance
    assert len(pseudonym) == 32
    assert event == {
        "model": "m", "version": "1", "service": "svc", "features": {"a": 1.0, "c": "é", "d": "true"}, "scores": {"yes": 0.25, "no": 0.75},
        "prediction": "no", "value": 2.5, "latency_ms": 7.5, "status": "rate_limited", "event_id": "e", "at_ns": 12, "number": 0,
        "trace_id": "t", "owner": "o", "source": "s", "cost": 0.5, "feature_view": "customers:3", "feature_age_s": 61.5,
    }  # fmt: skip


def test_lineage_is_told_by_the_events_that_have_some() -> None:
    watch, transport = client()
    with watch:
        told: list[dict[str, Any]] = [{}, {"feature_view": "v:1"}, {"feature_age_s": 3}, {"feature_view": 7, "feature_age_s": "old"}]
        for k, given in enumerate(told):
            assert watch.record(model="m", version="1", client="a", features={"a": k}, event_id=str(k), **given)
    events = sorted(transport.events(), key=lambda event: str(event["event_id"]))
    assert [event["feature_view"] for event in events] == [None, "v:1", None, "7"]
    ages = [event["feature_age_s"] for event in events]
    assert ages[2] == 3.0
    assert all(math.isnan(age) for age in (ages[0], ages[1], ages[3]))  # what is no number costs the event nothing but its age
    watch, transport = client()
    with watch:
        watch.record(model="m", version="1", features={"a": 1})
    (columns,) = transport.columns
    assert columns.feature_view is None
    assert columns.feature_age_s is None


@pytest.mark.parametrize("features", [[1.0, 2.0], (1, 2), np.array([1.0, 2.0]), np.array([1, 2]), np.array([1, 2], np.float16)])
def test_a_list_or_an_array_is_an_embedding(features: Any) -> None:
    assert recorded({"features": features})["features"] == [1.0, 2.0]


@pytest.mark.parametrize(
    ("value", "arrives"),
    [
        (np.float32(0.5), 0.5),
        (np.int64(3), 3.0),
        (np.bool_(True), "true"),
        (np.str_("x"), "x"),
        (Decimal("1.5"), 1.5),
        ("y" * 300, "y" * 256),
    ],
)
def test_values_of_other_libraries_are_understood(value: Any, arrives: Any) -> None:
    assert recorded({"features": {"x": value, "z": 0.0}})["features"]["x"] == arrives


@pytest.mark.parametrize("value", [[1, 2], {"a": 1}, object(), b"bytes", 10**400], ids=range(5))
def test_one_odd_value_does_not_cost_the_event(value: Any) -> None:
    features = recorded({"features": {"odd": value, "x": 1.0}}, strict=False)["features"]
    assert features["x"] == 1.0
    assert not math.isfinite(features["odd"])


@pytest.mark.parametrize(("given", "arrives"), [(1, "1"), (1.0, "1"), (True, "true"), (np.int64(1), "1"), (np.float32(1), "1"), ("é", "é")])
def test_a_prediction_is_the_same_text_however_it_was_computed(given: Any, arrives: str) -> None:
    assert recorded({"prediction": given})["prediction"] == arrives


def test_what_the_caller_changes_afterwards_changes_nothing() -> None:
    watch, transport = client()
    transport.reachable = False
    features, embedding, scores = {"x": 1.0}, np.ones(3), [0.5, 0.5]
    watch.record(model="m", version="1", features=features, scores=scores)
    watch.record(model="m", version="1", features=embedding, scores=scores)
    features["x"] = 9.0
    embedding[:] = 9.0
    scores[0] = 9.0
    transport.reachable = True
    watch.close()
    assert sorted(str(event["features"]) for event in transport.events()) == ["[1.0, 1.0, 1.0]", "{'x': 1.0}"]
    assert all(event["scores"] == [0.5, 0.5] for event in transport.events())


def test_the_raw_client_id_never_leaves() -> None:
    watch, transport = client()
    with watch:
        for name in ("alice@example.org", "alice@example.org", 1234567, "a" * 1000):
            watch.record(model="m", version="1", client=name, features={"x": 1.0})
    assert not any(raw in record.value for record in transport.records for raw in (b"alice", b"1234567", b"aaaa"))
    one, two, number, long = sorted(transport.events(), key=lambda event: event["number"])
    assert one["client"] == two["client"] == watch.pseudonym("alice@example.org")
    assert number["client"] == watch.pseudonym(1234567)
    assert long["client"] == watch.pseudonym("a" * 1000)


def test_pseudonyms_are_the_same_in_another_process_with_the_same_key_and_others_with_another() -> None:
    a, _ = client()
    b, _ = client()
    c, _ = client(pseudonym_key="another key of tests")
    assert a.pseudonym("x") == b.pseudonym("x") != c.pseudonym("x")


def test_remembered_clients_are_few_and_long_ids_are_not_kept() -> None:
    clients = Clients(b"k" * 16, partitions=4, cap=10, models=2)
    for i in range(1_000):
        known = clients.of(f"m{i % 3}")
        name, partition = known[f"c{i % 40}"]
        assert (name, partition) == (pseudonym_of(b"k" * 16, f"c{i % 40}"), partition_of(f"m{i % 3}", name, 4))
        assert len(known) + len(known.old) <= 20
    before = len(known)
    assert known["c" * 300][0] == pseudonym_of(b"k" * 16, "c" * 300)
    assert len(known) == before


def test_without_a_key_there_is_one_warning_and_still_a_pseudonym(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        watch = Client(service="s", transport=MemoryTransport(), environment={})
    assert [record.getMessage().startswith("inferwatch: no pseudonym key") for record in caplog.records] == [True]
    assert len(watch.pseudonym("x")) == 32


@pytest.mark.parametrize("features", [{"a": 1.0, "b": 2.0, "c": "x"}, {"c": "x", "b": 2.0, "a": 1.0}])
def test_only_allowed_features_leave_and_redacted_ones_never_do(features: dict[str, Any]) -> None:
    assert recorded({"features": features}, allow=["a", "c"])["features"] == {"a": 1.0, "c": "x"}
    assert recorded({"features": features}, redact=["c"])["features"] == {"a": 1.0, "b": 2.0}
    assert recorded({"features": features}, allow=["a", "c"], redact=["c"])["features"] == {"a": 1.0}


def test_one_client_of_one_model_is_on_one_partition() -> None:
    watch, transport = client(MemoryTransport(partitions=7))
    with watch:
        for i in range(100):
            watch.record(model="m", version="1", client=f"c{i % 10}", features={"x": float(i)})
    for record in transport.records:
        if record.topic == "inferwatch.events":
            for columns in decode(record.value, dict(record.headers)["content-type"].decode())[0]:
                assert {partition_of("m", name, 7) for name in columns.client.values} == {record.partition}


def test_running_numbers_have_no_gap_and_follow_the_order_of_acceptance() -> None:
    watch, transport = client()
    with watch:
        for i in range(1_200):
            watch.record(model=f"m{i % 2}", version=str(i % 3), client=f"c{i}", event_id=str(i))
    for model in (0, 1):
        mine = sorted((event for event in transport.events() if event["model"] == f"m{model}"), key=lambda event: event["number"])
        assert [event["number"] for event in mine] == list(range(600))
        assert [int(event["event_id"]) for event in mine] == list(range(model, 1_200, 2))


def test_the_trace_of_opentelemetrys_current_span_is_taken_when_that_library_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    context = types.SimpleNamespace(trace_id=0xABC, is_valid=True)
    span = types.SimpleNamespace(get_span_context=lambda: context)
    monkeypatch.setitem(sys.modules, "opentelemetry.trace", types.SimpleNamespace(get_current_span=lambda: span))
    assert recorded({})["trace_id"] == f"{0xABC:032x}"
    assert recorded({"trace_id": "given"})["trace_id"] == "given"
    context.is_valid = False
    assert recorded({})["trace_id"] is None


def test_a_denial_is_an_event_with_that_status_and_no_features() -> None:
    watch, transport = client()
    with watch:
        assert watch.denied(client="x", status=Status.FORBIDDEN, model="m", version="1", source="10.0.0.0/8")
    (event,) = transport.events()
    assert (event["status"], event["features"], event["source"]) == ("forbidden", [], "10.0.0.0/8")


@pytest.mark.parametrize(
    "bad",
    [
        {"model": ""}, {"model": 3}, {"version": None}, {"model": "m" * 257}, {"status": "fine"}, {"features": 3.0},
        {"features": np.ones((2, 2))}, {"features": "text"}, {"scores": np.ones((2, 2))},
        {"features": {str(i): 0.0 for i in range(5_000)}}, {"features": [0.0] * 5_000},
    ],
)  # fmt: skip
def test_bad_arguments_are_counted_and_never_raise_unless_strict(bad: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    arguments = {"model": "m", "version": "1"} | bad
    watch, _ = client(strict=False)
    with caplog.at_level(logging.WARNING):
        assert not watch.record(**arguments)
        assert not watch.record(**arguments)
    assert len(caplog.records) == 1
    watch.close()
    stats = watch.stats()
    assert (stats.accepted, sum(stats.dropped.values()), stats.sent) == (2, 2, 0)
    strict, _ = client()
    with pytest.raises(ValueError, match=r"invalid|oversized"):
        strict.record(**arguments)


@pytest.mark.parametrize(
    "bad", [{"latency_ms": "slow"}, {"at_ns": -5}, {"at_ns": 2**70}, {"scores": ["a", 1]}, {"features": ["a", 10**400]}], ids=range(5)
)
def test_a_value_that_is_no_number_is_missing_and_costs_neither_its_event_nor_a_neighbour(bad: dict[str, Any]) -> None:
    watch, transport = client(strict=False)
    good: dict[str, Any] = {"model": "m", "version": "1", "client": "c", "features": [1.0, 2.0], "scores": [0.5, 0.5], "latency_ms": 1.0}
    with watch:
        for one in (good, good | bad, good):
            assert watch.record(**one)
    first, middle, last = transport.events()
    assert first["features"] == last["features"] == [1.0, 2.0]
    for name in bad:
        assert not np.isfinite(middle[name]).all() or middle[name] == -1
    assert watch.stats().sent == 3


def test_an_event_that_cannot_be_put_into_columns_costs_no_neighbour() -> None:
    watch, transport = client(strict=False)
    with watch:
        assert watch.record(model="m", version="1", features={"x": 1.0})
        assert watch.record(model="m", version="1", features={"x": 9.0}, prediction=10**5000)  # Python writes no number that long
        assert watch.record(model="m", version="1", features={"x": 2.0})
    assert [event["features"] for event in transport.events()] == [{"x": 1.0}, {"x": 2.0}]
    assert dict(watch.stats().dropped) == {"invalid": 1}


def test_a_feature_that_was_text_stays_a_category_where_all_of_it_is_missing() -> None:
    watch, transport = client()
    for country in ("NO", None, 3):
        assert watch.record(model="m", version="1", features={"country": country})
        assert watch.flush(20) == 0
    watch.close()
    assert [event["features"] for event in transport.events()] == [{"country": "NO"}, {"country": None}, {"country": "3"}]


def test_of_two_keys_that_are_one_name_the_first_counts() -> None:
    assert recorded({"features": {"1": 1.0, 1: 2.0}})["features"] == {"1": 1.0}


def test_a_log_line_never_quotes_an_event(caplog: pytest.LogCaptureFixture) -> None:
    watch, _ = client(strict=False)
    with caplog.at_level(logging.DEBUG), watch:
        watch.record(model="m", version="1", latency_ms="SECRET")  # type: ignore[arg-type]  # wrong on purpose
        watch.record(model="m", version="1", features=["SECRET"])
        watch.record(model="m", version="1", status="SECRET")  # type: ignore[arg-type]  # wrong on purpose
        watch.record(model="m", version="1", features="SECRET")
        watch.record_many(model="m", version="1", features={"a": ["SECRET"]}, latency_ms=["SECRET", 2])
    assert len(caplog.records) >= 1
    assert "SECRET" not in caplog.text


_text = st.text(max_size=20) | st.text(alphabet=st.characters(min_codepoint=0xD800, max_codepoint=0xDFFF), min_size=1, max_size=2)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.fixed_dictionaries(
            {"model": st.text(min_size=1, max_size=9) | _text.filter(bool), "version": st.text(min_size=1, max_size=9), "client": _text},
            optional={
                "features": st.dictionaries(_text, st.none() | st.booleans() | st.integers() | st.floats() | _text, max_size=4)
                | st.lists(st.floats(), max_size=4),
                "scores": st.none() | st.lists(st.floats(), max_size=3) | st.dictionaries(_text, st.floats(), max_size=3),
                "prediction": st.none() | _text | st.integers() | st.booleans() | st.floats(),
                "event_id": _text,
                "owner": st.none() | _text,
            },
        ),
        max_size=12,
    )
)
def test_whatever_is_recorded_arrives_once_or_is_counted(events: list[dict[str, Any]]) -> None:
    watch, transport = client(strict=False)
    for event in events:
        assert watch.record(**event)
    assert watch.close() == 0
    stats = watch.stats()
    arrived = transport.events()
    assert (stats.accepted, stats.queued) == (len(events), 0)
    assert len(arrived) == stats.sent == len(events) - sum(stats.dropped.values())
    if all(str(event).isascii() for event in events):
        assert stats.sent == len(events)


def test_the_trace_of_the_real_opentelemetrys_span_is_taken_and_the_one_given_wins() -> None:
    from opentelemetry.sdk.trace import TracerProvider

    tracer = TracerProvider().get_tracer("tests")
    with tracer.start_as_current_span("request") as span:
        expected = f"{span.get_span_context().trace_id:032x}"
        assert recorded({})["trace_id"] == expected
        assert recorded({"trace_id": "given"})["trace_id"] == "given"
    assert recorded({})["trace_id"] is None


def test_a_batch_is_of_the_current_span_too() -> None:
    from opentelemetry.sdk.trace import TracerProvider

    watch, transport = client()
    with watch, TracerProvider().get_tracer("tests").start_as_current_span("batch") as span:
        watch.record_many(model="m", version="1", features=[[1.0], [2.0]])
        watch.record_many(model="m", version="1", features=[[3.0]], trace_id=["given"])
    expected = f"{span.get_span_context().trace_id:032x}"
    assert sorted(str(event["trace_id"]) for event in transport.events()) == sorted([expected, expected, "given"])
