"""KServe's payload logger, as its agent sends it: CloudEvents in HTTP's binary mode, joined and recorded."""

from __future__ import annotations

import base64
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import pytest
from aiohttp import web
from confluent_kafka import Consumer, Producer
from hypothesis import example, given
from hypothesis import strategies as st

from inferwatch import Client, MemoryTransport, decode, rows_of
from streams.kserve import REQUEST, RESPONSE, Half, HalfError, Joiner, KserveMetrics, Naming, half_of
from streams.kserve_payload import PayloadError, answers_of, features_of
from streams.kserve_receiver import Receiver
from tests.commands.cli import environment, run
from tests.topics import Topics

IRIS = b'{"instances": [[6.8, 2.8, 4.8, 1.4], [6.0, 3.4, 4.5, 1.6]]}'
IRIS_ANSWER = b'{"predictions": [1, 2]}'


def headers(kind: str, identity: str = "36d1f1a8", **more: str) -> dict[str, str]:
    """As KServe's agent writes them, with Go's capitals."""
    return {
        "Ce-Id": identity,
        "Ce-Specversion": "1.0",
        "Ce-Source": "http://localhost:9081/",
        "Ce-Type": kind,
        "Ce-Time": "2026-11-20T12:00:00.123456789Z",
        "Ce-Inferenceservicename": "sklearn-iris",
        "Ce-Namespace": "kserve-test",
        "Ce-Component": "predictor",
        "Ce-Endpoint": "default",
        "Ce-Metadata": '{"X-Api-Key":["alice"],"Traceparent":["00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"]}',
        "Content-Type": "application/json",
        **more,
    }


class Stage:
    """A joiner, and what it recorded."""

    def __init__(self, naming: Naming | None = None, **settings: Any) -> None:
        self.transport = MemoryTransport()
        self.client = Client(service="kserve", transport=self.transport, pseudonym_key="a key of the tests' own", strict=True)
        self.metrics = KserveMetrics()
        self.joiner = Joiner(self.client, naming or Naming({}, False, "X-Api-Key"), self.metrics, **settings)

    def halves(self, outcome: str) -> float:
        return self.metrics.registry.get_sample_value("inferwatch_kserve_messages_total", {"outcome": outcome}) or 0.0

    def problem(self, problem: str) -> float:
        return self.metrics.registry.get_sample_value("inferwatch_kserve_problems_total", {"problem": problem}) or 0.0

    def events(self) -> list[dict[str, Any]]:
        self.client.flush()
        return sorted(self.transport.events(), key=lambda event: int(event["number"]))

    def pair(self, asked: bytes, answered: bytes, identity: str = "a", **more: str) -> None:
        for kind, body in ((REQUEST, asked), (RESPONSE, answered)):
            self.joiner.add(half(kind, body, identity, **more), 0.0)


def half(kind: str, body: bytes, identity: str = "a", **more: str) -> Half:
    return half_of({name[3:].lower(): value for name, value in headers(kind, identity, **more).items() if name.startswith("Ce-")}, body)


@pytest.fixture
def stage() -> Iterator[Stage]:
    made = Stage()
    yield made
    made.client.close()


@asynccontextmanager
async def listening(stage: Stage, max_body: int = 10_000) -> AsyncIterator[str]:
    runner = web.AppRunner(Receiver(stage.joiner, stage.metrics, max_body).app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}/"
    await runner.cleanup()


async def post(url: str, body: bytes, named: dict[str, str]) -> int:
    async with aiohttp.ClientSession() as session, session.post(url, data=body, headers=named) as response:
        return response.status


async def test_a_request_and_its_answer_become_an_event_an_instance(stage: Stage) -> None:
    async with listening(stage) as url:
        assert await post(url, IRIS, headers(REQUEST)) == 200
        assert await post(url, IRIS_ANSWER, headers(RESPONSE)) == 200
    first, second = stage.events()
    assert (first["model"], first["version"], first["service"], first["status"]) == ("sklearn-iris", "default", "kserve", "ok")
    assert first["features"] == pytest.approx([6.8, 2.8, 4.8, 1.4])
    assert (first["prediction"], second["prediction"]) == ("1", "2")
    assert (first["event_id"], second["event_id"]) == ("36d1f1a8:0", "36d1f1a8:1")
    assert first["client"] == stage.client.pseudonym("alice")
    assert first["trace_id"] == "4bf92f3577b34da6a3ce929d0e0e4736"
    assert first["at_ns"] == 1_795_176_000_123_456_000
    assert stage.halves("joined") == 2


async def test_the_answer_may_come_first_and_events_may_be_structured(stage: Stage) -> None:
    def structured(kind: str, **data: Any) -> bytes:
        attributes = {name[3:].lower(): value for name, value in headers(kind).items() if name.startswith("Ce-")}
        return json.dumps({**attributes, **data}).encode()

    named = {"Content-Type": "application/cloudevents+json; charset=utf-8"}
    async with listening(stage) as url:
        assert await post(url, structured(RESPONSE, data={"predictions": [1, 2]}), named) == 200
        assert await post(url, structured(REQUEST, data_base64=base64.b64encode(IRIS).decode()), named) == 200
    assert [event["prediction"] for event in stage.events()] == ["1", "2"]


async def test_what_is_none_of_kserves_events_is_refused_and_counted(stage: Stage) -> None:
    async with listening(stage) as url:
        assert await post(url, b"{}", {"Content-Type": "application/json"}) == 400
        assert await post(url, b"{}", headers("another.type")) == 400
        assert await post(url, b"{}", headers(REQUEST, "")) == 400
        assert await post(url, b"{}", headers(REQUEST, "x" * 300)) == 400
        assert await post(url, b"[1]", {"Content-Type": "application/cloudevents+json"}) == 400
        assert await post(url, b"[]", {"Content-Type": "application/cloudevents-batch+json"}) == 415
        assert await post(url, b"x" * 10_001, headers(REQUEST)) == 413
        async with aiohttp.ClientSession() as session, session.get(url + "metrics") as response:
            text = await response.text()
    assert stage.halves("foreign") == 6
    assert stage.halves("oversized") == 1
    assert 'inferwatch_kserve_messages_total{outcome="foreign"} 6.0' in text
    assert stage.events() == []


@pytest.mark.parametrize(
    ("body", "rows", "columns"),
    [
        (
            b'{"instances": [{"a": 1, "c": "NO"}, {"a": null, "c": "SE", "new": true}]}',
            2,
            {"a": [1, None], "c": ["NO", "SE"], "new": [None, True]},
        ),
        (b'{"instances": [1, 2.5]}', 2, {"x": [1, 2.5]}),
        (b'{"instances": ["good", "bad"]}', 2, {"x": ["good", "bad"]}),
        (b'{"instances": [[1, "a"], [2, "b"]]}', 2, {"f0": [1, 2], "f1": ["a", "b"]}),
        (b'{"instances": [[[1, 2], [3, 4]]]}', 1, [[1, 2, 3, 4]]),
        (b'{"inputs": [{"name": "x", "shape": [2, 2], "datatype": "FP64", "data": [1, 2, 3, 4]}]}', 2, [[1, 2], [3, 4]]),
        (b'{"inputs": [{"name": "x", "shape": [2, 2], "datatype": "FP32", "data": [[1, 2], [3, 4]]}]}', 2, [[1, 2], [3, 4]]),
        (
            (
                b'{"inputs": [{"name": "age", "shape": [2, 1], "datatype": "INT64", "data": [5, 6]},'
                b' {"name": "c", "shape": [2], "datatype": "BYTES", "data": ["NO", "SE"]},'
                b' {"name": "e", "shape": [2, 2], "datatype": "FP32", "data": [1, 2, 3, 4]}]}'
            ),
            2,
            {"age": [5, 6], "c": ["NO", "SE"], "e_0": [1, 3], "e_1": [2, 4]},
        ),
    ],
)  # fmt: skip
def test_requests_of_both_protocols_become_columns(body: bytes, rows: int, columns: Any) -> None:
    features = features_of(body)
    assert features.rows == rows

    def plain(values: Any) -> list[Any]:
        return [None if isinstance(value, float) and value != value else value for value in values.tolist()]

    made = {name: plain(column) for name, column in features.columns.items()} if isinstance(columns, dict) else features.columns.tolist()
    assert made == columns


@pytest.mark.parametrize(
    ("body", "columns"),
    [
        (b'{"predictions": [1, 0]}', {"prediction": [1, 0]}),
        (b'{"predictions": ["a", "b"]}', {"prediction": ["a", "b"]}),
        (b'{"predictions": [1.5, 2]}', {"value": [1.5, 2]}),
        (b'{"predictions": [[1.5], [2.5]]}', {"value": [1.5, 2.5]}),
        (b'{"predictions": [[0.25, 0.75], [1, 0]]}', {"scores": [[0.25, 0.75], [1, 0]]}),
        (b'{"predictions": [[3.0, 4.0]]}', {}),
        (
            b'{"predictions": [{"label": "a", "probabilities": {"a": 0.9, "b": 0.1}}]}',
            {"prediction": ["a"], "scores": [[0.9, 0.1]], "score_names": ["a", "b"]},
        ),
        (b'{"predictions": [{"value": 3}]}', {"value": [3]}),
        (b'{"predictions": []}', {}),
        (b'{"outputs": [{"name": "predict", "shape": [2], "datatype": "INT64", "data": [1, 0]}]}', {"prediction": [1, 0]}),
        (b'{"outputs": [{"name": "y", "shape": [2, 1], "datatype": "FP32", "data": [1, 0]}]}', {"value": [1, 0]}),
        (b'{"outputs": [{"name": "label", "shape": [2], "datatype": "BYTES", "data": ["a", [1]]}]}', {"prediction": ["a", None]}),
        (
            (
                b'{"outputs": [{"name": "label", "shape": [1], "datatype": "BYTES", "data": ["a"]},'
                b' {"name": "probabilities", "shape": [1, 2], "datatype": "FP32", "data": [0.5, 0.5]}]}'
            ),
            {"prediction": ["a"], "scores": [[0.5, 0.5]]},
        ),
    ],
)  # fmt: skip
def test_answers_of_both_protocols_become_classes_values_or_scores(body: bytes, columns: dict[str, Any]) -> None:
    made = {name: np.asarray(value).tolist() for name, value in answers_of(body).columns.items()}
    assert made == columns


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"\x00binary", "foreign"),
        (b"[]", "foreign"),
        (b"{}", "foreign"),
        (b'{"instances": [[1, 2], [3]]}', "ragged"),
        (b'{"instances": [[1, {"a": 2}]]}', "ragged"),
        (b'{"inputs": [{"name": "x", "shape": [2, 2], "datatype": "FP32", "data": [1]}]}', "ragged"),
        (b'{"inputs": [{"name": "x", "shape": [-1], "datatype": "FP32", "data": [1]}]}', "foreign"),
        (b'{"inputs": [{"name": "x", "shape": [1, 999999, 999999], "datatype": "FP32", "data": [1]}]}', "oversized"),
        (b'{"instances": [' + b"1," * 10_000 + b"1]}", "oversized"),
        (b'{"instances": [{' + b",".join(b'"%d": 1' % i for i in range(5_000)) + b"}]}", "oversized"),
        (b'{"instances": [{"' + b"n" * 300 + b'": 1}]}', "oversized"),
        (b'{"instances": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "foreign"),
        (b'{"instances": [[1' + b"0" * 400 + b"]]}", "ragged"),
    ],
)
def test_a_request_that_cannot_be_used_says_why(body: bytes, why: str) -> None:
    with pytest.raises(PayloadError) as raised:
        features_of(body)
    assert raised.value.why == why


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**30), 10**30) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["a", "scores", "label", "value"]), inner, max_size=3),
    max_leaves=12,
)


@example(asked=[None] * 4, answered=[{"label": None}, None, None, {"label": []}], second=True)
@given(asked=_JSON, answered=_JSON, second=st.booleans())
def test_whatever_json_comes_is_recorded_or_counted(asked: Any, answered: Any, second: bool) -> None:
    stage = Stage()
    names = [("inputs", "outputs"), ("instances", "predictions")][second]
    stage.pair(json.dumps({names[0]: asked}).encode(), json.dumps({names[1]: answered}).encode())
    assert stage.halves("joined") == 2
    problems = sum(
        sample.value for metric in stage.metrics.problems.collect() for sample in metric.samples if sample.name.endswith("_total")
    )
    assert stage.events() or problems
    stage.client.close()


def test_a_part_that_cannot_be_read_costs_that_part_only(stage: Stage) -> None:
    stage.pair(b"binary", b'{"predictions": [1, 2]}', "a")
    stage.pair(b'{"instances": [[1]]}', b"binary", "b")
    stage.pair(b'{"instances": [[1]]}', b'{"predictions": [1, 2, 3]}', "c")
    stage.pair(b"binary", b"binary", "d")
    stage.pair(b'{"instances": []}', b'{"predictions": []}', "e")
    events = stage.events()
    assert [(event["prediction"], event["features"]) for event in events] == [
        ("1", []),
        ("2", []),
        (None, [1.0]),
        (None, [1.0]),
        (None, []),
    ]
    assert [stage.problem(name) for name in ("request_foreign", "response_foreign", "unequal", "empty")] == [2, 2, 1, 1]


def test_the_version_is_given_or_the_answers_or_the_endpoint(stage: Stage) -> None:
    tensor = b'[{"name": "y", "shape": [1], "datatype": "INT64", "data": [1]}]'
    asked, answered = b'{"inputs": ' + tensor + b"}", b'{"model_version": "7", "outputs": ' + tensor + b"}"
    stage.pair(asked, answered, "a")
    stage.pair(IRIS, IRIS_ANSWER, "b", **{"Ce-Endpoint": "canary"})
    named = Stage(Naming({"sklearn-iris": "9"}, True, ""))
    named.pair(asked, answered)
    assert [event["version"] for event in stage.events()] == ["7", "canary", "canary"]
    (event,) = named.events()
    assert (event["model"], event["version"], event["client"]) == ("kserve-test.sklearn-iris", "9", "")
    named.client.close()


def test_an_id_that_is_used_again_names_no_second_event(stage: Stage) -> None:
    """A caller chooses the id: under one that never changes, all their queries would be taken for one."""
    for _ in range(3):
        stage.pair(b'{"instances": [[1]]}', b'{"predictions": [1]}', "same")
    ids = [event["event_id"] for event in stage.events()]
    assert len(set(ids)) == 3
    assert ids[0] == "same"
    assert stage.problem("id_used_again") == 2


def test_services_with_the_same_id_are_not_mixed_up(stage: Stage) -> None:
    stage.joiner.add(half(REQUEST, IRIS, "a"), 0.0)
    stage.joiner.add(half(RESPONSE, IRIS_ANSWER, "a", **{"Ce-Namespace": "other"}), 0.0)
    assert stage.events() == []
    assert stage.joiner.waiting == 2


@pytest.mark.parametrize("is_error", [False, True])
def test_a_request_without_answer_is_counted_or_an_error(is_error: bool) -> None:
    stage = Stage(unanswered_is_error=is_error, patience_s=10)
    stage.joiner.add(half(REQUEST, IRIS, "a"), 0.0)
    stage.joiner.add(half(RESPONSE, IRIS_ANSWER, "b"), 5.0)
    stage.joiner.settle(9.9)
    assert stage.joiner.waiting == 2
    stage.joiner.settle(10.0)
    stage.joiner.settle(15.0)
    assert (stage.halves("unanswered"), stage.halves("unasked"), stage.joiner.waiting) == (1, 1, 0)
    assert [event["status"] for event in stage.events()] == ["error", "error"] * is_error
    stage.client.close()


def test_what_waits_is_bounded_in_number_and_in_bytes() -> None:
    many, large = Stage(max_waiting=5), Stage(max_bytes=5_000)
    for i in range(20):
        many.joiner.add(half(REQUEST, b"x", str(i)), 0.0)
        large.joiner.add(half(REQUEST, b"x" * 2_000, str(i)), 0.0)
    assert (many.joiner.waiting, many.halves("evicted")) == (5, 15)
    assert (large.joiner.waiting, large.halves("evicted")) == (2, 18)
    for i in range(15, 20):
        many.joiner.add(half(RESPONSE, IRIS_ANSWER, str(i)), 0.0)
    assert many.halves("joined") == 10
    for stage in (many, large):
        stage.client.close()


def test_a_request_seen_twice_waits_once(stage: Stage) -> None:
    for _ in range(2):
        stage.joiner.add(half(REQUEST, IRIS), 0.0)
    stage.joiner.add(half(RESPONSE, IRIS_ANSWER), 0.0)
    assert len(stage.events()) == 2
    assert stage.halves("repeated") == 1


@pytest.mark.parametrize("text", ["", "yesterday", "2026-11-20T12:00:00", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "x" * 5_000])
def test_a_time_that_no_clock_shows_is_none(text: str) -> None:
    assert half(REQUEST, b"", **{"Ce-Time": text}).at_ns is None


def test_metadata_that_is_nonsense_names_nobody() -> None:
    for text in ("", "[", "[]", '{"X-Api-Key": "alice"}', '{"X-Api-Key": []}', "[" * 50_000):
        assert half(REQUEST, b"", **{"Ce-Metadata": text}).metadata == {}
    with pytest.raises(HalfError, match="64 KiB"):
        half(REQUEST, b"", **{"Ce-Metadata": "x" * 70_000})


# -- the command ------------------------------------------------------------------------------------------------------------------------


def _post(port: int, body: bytes, named: dict[str, str]) -> int:
    request = urllib.request.Request(f"http://127.0.0.1:{port}/", body, named)
    with urllib.request.urlopen(request, timeout=10) as response:
        return int(response.status)


@pytest.mark.kafka
@pytest.mark.timeout(120)
def test_the_command_takes_http_and_a_topic_and_its_events_reach_kafka(topics: Topics, tmp_path: Path) -> None:
    for name in ("events", "lifecycle"):
        topics.create(name)
    source = topics.create("knative", partitions=1)
    log = tmp_path / "log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "streams.cli", "kserve", "--port", "0", "--topic", source, "--group", source],
            env=environment(
                INFERWATCH_KAFKA_BOOTSTRAP_SERVERS=topics.bootstrap_servers,
                INFERWATCH_KAFKA_TOPIC_PREFIX=topics.prefix.removesuffix("."),
                INFERWATCH_PSEUDONYM_KEY="a key of the tests' own",
                PYTHONPATH=os.pathsep.join(sys.path),
                PYTHONUNBUFFERED="1",
            ),
            stdout=out, stderr=out,
        )  # fmt: skip
    try:
        deadline = time.monotonic() + 40
        while "http://" not in log.read_text():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        port = int(log.read_text().partition("http://127.0.0.1:")[2].partition("/")[0])
        assert _post(port, IRIS, headers(REQUEST)) == 200
        assert _post(port, IRIS_ANSWER, headers(RESPONSE)) == 200
        producer = Producer({"bootstrap.servers": topics.bootstrap_servers})
        reader = Consumer({"bootstrap.servers": topics.bootstrap_servers, "group.id": f"{source}-test", "auto.offset.reset": "earliest"})
        reader.subscribe([f"{topics.prefix}events"])
        events: list[dict[str, Any]] = []
        n = 0
        while len({event["event_id"] for event in events}) < 3:  # the consumer begins at the end: send until it is there
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline + 40, log.read_text()
            n += 1
            for kind, body in ((REQUEST, b'{"instances": [[1]]}'), (RESPONSE, b'{"predictions": [1]}')):
                named = {name.lower().replace("ce-", "ce_"): value.encode() for name, value in headers(kind, f"k{n}").items()}
                producer.produce(source, body, headers=list(named.items()))
            producer.flush(10)
            message = reader.poll(0.5)
            if message is not None and message.error() is None:
                read: Any = message.headers()
                columns, _ = decode(message.value() or b"", dict(read)["content-type"].decode())
                events += [row for one in columns for row in rows_of(one)]
        reader.close()
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.wait(10)
    assert {event["model"] for event in events} == {"sklearn-iris"}
    assert {"36d1f1a8:0", "36d1f1a8:1"} < {event["event_id"] for event in events}


@pytest.mark.parametrize("version", ["fraud", "=7", "fraud="])
def test_a_version_of_nothing_is_refused(version: str) -> None:
    result = run("kserve", "--version", version)
    assert result.exit_code == 2
    assert "expected NAME=VERSION" in result.output


def test_an_address_that_is_taken_is_said() -> None:
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
        result = run(
            "kserve", "--port", port, INFERWATCH_PSEUDONYM_KEY="a key of the tests' own", INFERWATCH_KAFKA_BOOTSTRAP_SERVERS="127.0.0.1:1"
        )
    assert result.exit_code == 1
    assert f"127.0.0.1:{port} cannot be listened on" in result.output
