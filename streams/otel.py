"""The worker's measures over OTLP, for whoever collects with OpenTelemetry and not with Prometheus. The extra `otel` of inferwatch-server.

Where to, and how, is OpenTelemetry's own configuration (`OTEL_EXPORTER_OTLP_ENDPOINT` and the like): without an endpoint nothing is sent,
and nothing of it is imported. What is sent is what /metrics shows, under the same names: counters as sums, gauges as gauges; of a histogram
its count and its sum, without the buckets.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import structlog
from prometheus_client import CollectorRegistry

if TYPE_CHECKING:
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import MetricReader

__all__ = ["export_of", "wanted"]

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
log = structlog.get_logger(__name__)


def wanted(environ: Mapping[str, str] | None = None) -> bool:
    """Whether the environment names a collector.

    Example:
        >>> wanted({}), wanted({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}), wanted({"OTEL_EXPORTER_OTLP_ENDPOINT": ""})
        (False, True, False)
    """
    given = os.environ if environ is None else environ
    return any(given.get(name) for name in _ENDPOINTS) and given.get("OTEL_SDK_DISABLED", "").lower() != "true"


def export_of(registry: CollectorRegistry, worker: str, reader: MetricReader | None = None) -> MeterProvider | None:
    """Sends the registry's measures until the provider's ``shutdown``; None, with a word in the log, without the extra.

    Args:
        registry: what is told.
        worker: who we are (``service.instance.id``).
        reader: collects; default: one that sends over OTLP/HTTP every `OTEL_METRIC_EXPORT_INTERVAL` ms, of the environment.
    """
    try:
        from opentelemetry.sdk.metrics import MeterProvider
        from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
        from opentelemetry.sdk.resources import Resource

        if reader is None:
            from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter

            reader = PeriodicExportingMetricReader(OTLPMetricExporter())
    except ImportError as error:
        log.error("no measures are sent over OTLP: install inferwatch-server with the extra otel", why=str(error))
        return None
    resource = Resource.create({"service.name": os.environ.get("OTEL_SERVICE_NAME", "inferwatch-worker"), "service.instance.id": worker})
    provider = MeterProvider([reader], resource, shutdown_on_exit=False)
    meter = provider.get_meter("inferwatch")
    for family in registry.collect():
        if family.type == "gauge":
            meter.create_observable_gauge(family.name, [_observe(registry, family.name)], description=family.documentation)
        elif family.type == "counter":
            observe = _observe(registry, f"{family.name}_total")
            meter.create_observable_counter(family.name, [observe], description=family.documentation)
        elif family.type == "histogram":
            for part in ("count", "sum"):
                name = f"{family.name}_{part}"
                meter.create_observable_counter(name, [_observe(registry, name)], description=family.documentation)
    return provider


def _observe(registry: CollectorRegistry, sample: str) -> Callable[[Any], Iterable[Any]]:
    from opentelemetry.metrics import Observation

    def observe(options: Any) -> Iterable[Any]:
        for family in registry.restricted_registry([sample]).collect():  # that one measure's samples, not all of them for each
            yield from (Observation(told.value, dict(told.labels)) for told in family.samples)

    return observe
