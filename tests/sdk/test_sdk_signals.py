"""Labels, loads and heartbeats: right topic, right key, right type, and refused when the reader would refuse them."""

from typing import Any

import pytest

from inferwatch import MemoryTransport, partition_of_key
from tests.sdk.helpers import client


def headers(record: Any) -> dict[str, str]:
    return {name: value.decode() for name, value in record.headers}


def test_each_message_has_its_topic_key_partition_and_type() -> None:
    watch, transport = client(MemoryTransport(partitions=5), topic_prefix="team.iw")
    with watch:
        watch.record(model="m", version="1", client="c")
        watch.label(model="m", event_id="e", truth="yes")
        watch.loaded(model="m", version="1")
    found = {headers(record)["ce_type"]: record for record in transport.records}
    assert {kind: record.topic for kind, record in found.items()} == {
        "inferwatch.events.v1": "team.iw.events",
        "inferwatch.label.v1": "team.iw.labels",
        "inferwatch.lifecycle.v1": "team.iw.lifecycle",
        "inferwatch.heartbeat.v1": "team.iw.lifecycle",
    }
    for kind, record in found.items():
        assert headers(record)["ce_specversion"] == "1.0"
        assert headers(record)["ce_source"] == f"/svc/{watch.instance}"
        if kind != "inferwatch.events.v1":
            assert headers(record)["content-type"] == "application/json"
            assert (record.key, record.partition) == (b"m", partition_of_key("m", 5))
    assert len({headers(record)["ce_id"] for record in transport.records}) == len(transport.records)


@pytest.mark.parametrize("truth", ["yes", 1.5, True, 3])
def test_a_label_arrives_with_its_truth(truth: Any) -> None:
    watch, transport = client()
    with watch:
        assert watch.label(model="m", version="1", event_id="e", truth=truth, at_ns=7, source="review")
    (label,) = transport.labels
    assert (label.truth, label.event_id, label.at, label.source) == (truth, "e", 7, "review")


def test_a_load_arrives_with_its_signature_and_has_heartbeats_before_the_first_event() -> None:
    watch, transport = client()
    with watch:
        assert watch.loaded(model="m", version="2", digest="sha256:00", signature="valid", key_id="k", registry_url="https://r.example/m")
        assert watch.unloaded(model="m", version="1")
    loaded, unloaded = transport.lifecycle
    assert (loaded.kind, loaded.signature, loaded.instance, loaded.service) == ("loaded", "valid", watch.instance, "svc")
    assert (unloaded.kind, unloaded.version) == ("unloaded", "1")
    assert {(beat.model, beat.version, beat.accepted) for beat in transport.heartbeats} == {("m", "2", 0), ("m", "1", 0)}


@pytest.mark.parametrize(
    ("call", "arguments"),
    [
        ("label", {"model": "", "event_id": "e", "truth": 1}),
        ("label", {"model": "m", "event_id": "", "truth": 1}),
        ("label", {"model": "m", "event_id": "e", "truth": [1]}),
        ("label", {"model": "m", "event_id": "e", "truth": 1, "at_ns": -1}),
        ("loaded", {"model": "m", "version": "1", "signature": "perhaps"}),
        ("loaded", {"model": "m", "version": "v" * 300}),
        ("unloaded", {"model": "m", "version": 3}),
    ],
)
def test_what_the_reader_would_refuse_is_refused_and_counted_here(call: str, arguments: dict[str, Any]) -> None:
    watch, transport = client(strict=False)
    assert getattr(watch, call)(**arguments) is False
    watch.close()
    assert dict(watch.stats().signals.dropped) == {"invalid": 1}
    assert not transport.records
    strict, _ = client()
    with pytest.raises(ValueError, match="invalid"):
        getattr(strict, call)(**arguments)


def test_signals_wait_for_the_broker_in_a_bounded_queue() -> None:
    watch, transport = client()
    transport.reachable = False
    accepted = sum(watch.label(model="m", event_id=str(i), truth=1) for i in range(10_010))
    assert accepted == 10_000
    assert watch.stats().signals.queued == 10_000
    transport.reachable = True
    assert watch.close() == 0
    assert len(transport.labels) == 10_000


def test_heartbeats_come_by_themselves_and_the_last_says_goodbye() -> None:
    watch, transport = client(heartbeat_s=0.01)
    watch.record(model="m", version="1")
    watch.gauge("gpu_bytes", 5e9)
    while sum(beat.sent for beat in transport.heartbeats) < 1:
        watch.flush(0.05)
    watch.close()
    *_, last = transport.heartbeats
    assert last.closing
    assert not any(beat.closing for beat in transport.heartbeats[:-1])
    assert (last.accepted, last.sent, last.dropped, last.queued) == (1, 1, 0, 0)
    assert last.rss_bytes > 1_000_000
    assert last.cpu_seconds > 0
    assert last.gauges["gpu_bytes"] == 5e9
    assert 0 < last.gauges["memory_share"] < 1
    assert 0 <= last.gauges["cpu_share"] <= 1
    assert last.instance == watch.instance


def test_gauges_are_finite_and_few() -> None:
    watch, transport = client(strict=False)
    watch.gauge("bad", float("nan"))
    for i in range(100):
        watch.gauge(f"g{i}", i)
    watch.gauge("g0", -1.0)
    watch.gauge("g1", 1.0, limit=2.0)
    watch.record(model="m", version="1")
    watch.close()
    gauges = transport.heartbeats[-1].gauges
    assert set(gauges) - {"cpu_share", "memory_share"} == {f"g{i}" for i in range(64)}
    assert (gauges["g0"], gauges["g1"]) == (-1.0, 1.0)  # the second would have been two


def test_a_gauge_with_a_limit_is_a_share_too_and_the_services_own_word_counts() -> None:
    watch, transport = client(strict=False)
    watch.gauge("queue", 40, limit=50)
    watch.gauge("q" * 300, 1, limit=4)
    watch.gauge("memory", 95, limit=100)
    for limit in (0, -1, float("nan"), "much"):
        watch.gauge("none", 1, limit=limit)  # type: ignore[arg-type]  # that is the point
    watch.gauge("none", 1, limit=1e-320)  # a share without end
    watch.record(model="m", version="1")
    watch.close()
    gauges = {name: value for name, value in transport.heartbeats[-1].gauges.items() if name != "cpu_share"}
    assert gauges == {
        "queue": 40, "queue_share": 0.8, "q" * 256: 1, "q" * 250 + "_share": 0.25, "memory": 95, "memory_share": 0.95,
    }  # fmt: skip
