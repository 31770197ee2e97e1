"""Where KServe's CloudEvents come in: over HTTP, as its payload logger sends them, or from a Kafka topic that a broker or sink fills."""

from __future__ import annotations

import asyncio
import base64
import binascii
import time
from collections.abc import Mapping
from typing import Any

import msgspec
import structlog
from aiohttp import web
from confluent_kafka import Consumer, KafkaException
from prometheus_client import generate_latest

from streams.kafka import client_config
from streams.kserve import HalfError, Joiner, KserveMetrics, half_of
from streams.settings import Kafka

__all__ = ["Receiver", "follow_topic"]

_STRUCTURED = "application/cloudevents+json"

log = structlog.get_logger(__name__)


class Receiver:
    """An HTTP server: POST takes one CloudEvent, binary or structured; ``/metrics`` and ``/healthz`` are for the platform.

    Answers 200 as soon as the event is held: KServe's logger takes anything else for a failure, and asks nobody twice. 400 for what is no
    CloudEvent of KServe's, 413 for what is longer than `max_body`, 415 for batches of CloudEvents.
    """

    def __init__(self, joiner: Joiner, metrics: KserveMetrics, max_body: int) -> None:
        self._joiner, self._metrics = joiner, metrics
        self.app = web.Application(client_max_size=max_body)
        self.app.add_routes([web.get("/metrics", self._show), web.get("/healthz", self._healthy), web.post("/{path:.*}", self._take)])

    async def _take(self, request: web.Request) -> web.Response:
        try:
            body = await request.read()
        except web.HTTPRequestEntityTooLarge:
            self._metrics.halves.labels("oversized").inc()
            return web.Response(status=413, text="larger than --max-body\n")
        if request.content_type == "application/cloudevents-batch+json":
            self._metrics.halves.labels("foreign").inc()
            return web.Response(status=415, text="batches are not taken: send one CloudEvent a request\n")
        try:
            if request.content_type == _STRUCTURED:
                attributes, body = structured(body)
            else:
                attributes = {name[3:].lower(): value for name, value in request.headers.items() if name[:3].lower() == "ce-"}
            self._joiner.add(half_of(attributes, body), time.monotonic())
        except HalfError as error:
            self._metrics.halves.labels("foreign").inc()
            return web.Response(status=400, text=f"{error}\n")
        return web.Response(text="")

    async def _show(self, request: web.Request) -> web.Response:
        return web.Response(
            body=generate_latest(self._metrics.registry), headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"}
        )

    async def _healthy(self, request: web.Request) -> web.Response:
        return web.Response(text="ok\n")


def structured(body: bytes) -> tuple[dict[str, str], bytes]:
    """Attributes and data of a CloudEvent in JSON.

    Raises:
        HalfError: it is none.
    """
    try:
        tree = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
        encoded = tree.pop("data_base64", None)
        data = bytes(tree.pop("data", msgspec.Raw(b"")))
        if encoded is not None:
            data = base64.b64decode(msgspec.json.decode(encoded, type=str), validate=True)
        values = {name: msgspec.json.decode(raw) for name, raw in tree.items()}
    except (msgspec.DecodeError, RecursionError, binascii.Error, ValueError) as error:
        raise HalfError("no CloudEvent in JSON") from error
    return {name.lower(): value for name, value in values.items() if isinstance(value, str)}, data


async def follow_topic(
    kafka: Kafka, topic: str, group: str, joiner: Joiner, metrics: KserveMetrics, max_body: int, over: asyncio.Event
) -> None:
    """Reads CloudEvents in Kafka's binary mode (headers ``ce_...``) or in JSON, until `over` is set.

    Offsets are committed as it goes: halves that wait in memory when the process dies are lost, and their other halves counted.

    Raises:
        KafkaException: the consumer cannot go on.
    """
    own = {"group.id": group, "auto.offset.reset": "latest", "session.timeout.ms": round(kafka.session_timeout_s * 1e3)}
    consumer = Consumer(client_config(kafka) | own)
    consumer.subscribe([topic])
    try:
        while not over.is_set():
            for message in await asyncio.to_thread(consumer.consume, 500, 0.2):
                if error := message.error():
                    if error.fatal() or not error.retriable():
                        raise KafkaException(error)
                    log.warning("kafka", error=error.str())
                    continue
                _from_record(message.headers(), message.value(), joiner, metrics, max_body)
    finally:
        await asyncio.to_thread(consumer.close)


def _from_record(headers: Any, value: Any, joiner: Joiner, metrics: KserveMetrics, max_body: int) -> None:
    body = bytes(value or b"")
    if len(body) > max_body:
        metrics.halves.labels("oversized").inc()
        return
    named: Mapping[str, str] = {name.lower(): (text or b"").decode("utf-8", "replace") for name, text in headers or ()}
    try:
        if named.get("content-type", "").startswith(_STRUCTURED):
            attributes, body = structured(body)
        else:
            attributes = {name[3:]: text for name, text in named.items() if name.startswith("ce_")}
        joiner.add(half_of(attributes, body), time.monotonic())
    except HalfError:
        metrics.halves.labels("foreign").inc()
