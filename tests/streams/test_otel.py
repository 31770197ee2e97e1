"""A worker's measures over OTLP are those of /metrics, by the names and labels there; without the extra it says what to install."""

from __future__ import annotations

import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from opentelemetry.sdk.metrics.export import InMemoryMetricReader, NumberDataPoint
from structlog.testing import capture_logs

from streams.metrics import Metrics
from streams.otel import export_of


def measures() -> Metrics:
    metrics = Metrics()
    metrics.lag.labels("iw.events", "0").set(7)
    metrics.count_owner("shard", {"evicted.clients": 3})
    metrics.apply_seconds.labels("shard").observe(0.25)
    return metrics


def told(reader: InMemoryMetricReader) -> dict[tuple[str, Any], float]:
    data = reader.get_metrics_data()
    assert data is not None
    (resource,) = data.resource_metrics
    assert resource.resource.attributes["service.instance.id"] == "host:9464"
    return {
        (metric.name, tuple(sorted((point.attributes or {}).items()))): point.value
        for scope in resource.scope_metrics
        for metric in scope.metrics
        for point in metric.data.data_points
        if isinstance(point, NumberDataPoint)
    }


def test_what_is_sent_is_what_metrics_shows_now() -> None:
    metrics, reader = measures(), InMemoryMetricReader()
    provider = export_of(metrics.registry, "host:9464", reader)
    assert provider is not None
    first = told(reader)
    assert first["inferwatch_lag_records", (("partition", "0"), ("topic", "iw.events"))] == 7
    assert first["inferwatch_evictions", (("owner", "shard"), ("reason", "clients"))] == 3
    assert first["inferwatch_apply_seconds_count", (("owner", "shard"),)] == 1
    assert first["inferwatch_apply_seconds_sum", (("owner", "shard"),)] == 0.25
    metrics.lag.labels("iw.events", "0").set(0)
    metrics.lag.labels("iw.events", "1").set(5)
    metrics.count_owner("shard", {"evicted.clients": 1})
    later = told(reader)
    assert later["inferwatch_lag_records", (("partition", "1"), ("topic", "iw.events"))] == 5
    assert later["inferwatch_evictions", (("owner", "shard"), ("reason", "clients"))] == 4
    provider.shutdown()
    sent = {name for name, _ in later}
    shown = {family.name for family in metrics.registry.collect() if family.samples and family.type in ("gauge", "counter")}
    assert shown <= sent


def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.metric_exporter", None)
    with capture_logs() as said:
        assert export_of(Metrics().registry, "w") is None
    assert "with the extra otel" in said[0]["event"]


def test_a_collector_gets_them(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("opentelemetry.exporter.otlp.proto.http", reason="needs the extra otel")
    from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

    bodies: list[tuple[str, bytes]] = []

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            bodies.append((self.path, self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it so
            pass

    server = HTTPServer(("127.0.0.1", 0), Collector)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "none")
    provider = export_of(measures().registry, "host:9464")
    assert provider is not None
    provider.shutdown()  # sends what there is
    server.shutdown()
    server.server_close()
    path, body = bodies[-1]
    assert path == "/v1/metrics"
    names = {m.name for r in ExportMetricsServiceRequest.FromString(body).resource_metrics for s in r.scope_metrics for m in s.metrics}
    assert {"inferwatch_lag_records", "inferwatch_evictions"} <= names
