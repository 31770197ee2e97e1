"""KServe's payload logger: two CloudEvents a request, joined by their id, and recorded as the SDK would."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal, NamedTuple

import msgspec
import numpy as np
from prometheus_client import CollectorRegistry, Counter, Gauge

from inferwatch import Client
from streams.kserve_payload import Answers, Features, PayloadError, answers_of, features_of

__all__ = ["Half", "HalfError", "Joiner", "KserveMetrics", "Naming", "half_of"]

REQUEST, RESPONSE = "org.kubeflow.serving.inference.request", "org.kubeflow.serving.inference.response"
MAX_ATTRIBUTE = 1_024
_TRACEPARENT = re.compile(r"^[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")


class HalfError(ValueError):
    """A CloudEvent that is none of KServe's."""


class Half(NamedTuple):
    """A request or a response."""

    is_request: bool
    key: tuple[str, ...]
    """Namespace, service, component, endpoint, id: whose halves belong together."""
    at_ns: int | None
    metadata: Mapping[str, str]
    """The request's headers that the logger was told to keep, names in lower case."""
    body: bytes

    @property
    def bytes(self) -> int:
        """What it holds, about."""
        return len(self.body) + 500


class Naming(NamedTuple):
    """What the events are called.

    Attributes:
        versions: by inference service. Not there: what a version-2 answer says, else the endpoint (``default``, ``canary``).
        namespaced: models are ``namespace.service``, for clusters where two namespaces have one of the same name.
        client_header: the header that says who asked, of those that the logger keeps (``metadataHeaders``); empty: nobody.
    """

    versions: Mapping[str, str]
    namespaced: bool
    client_header: str


class KserveMetrics:
    """What became of the CloudEvents, for Prometheus."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.halves = Counter(
            "inferwatch_kserve_messages", "CloudEvents received, by what became of them.", ("outcome",), registry=self.registry
        )
        self.events = Counter("inferwatch_kserve_events", "Inference events recorded, by status.", ("status",), registry=self.registry)
        self.problems = Counter(
            "inferwatch_kserve_problems", "What was wrong with payloads of requests that were joined.", ("problem",), registry=self.registry
        )
        self.waiting = Gauge("inferwatch_kserve_waiting", "Halves that wait for the other.", registry=self.registry)
        for outcome in ("joined", "foreign", "oversized", "repeated", "unanswered", "unasked", "evicted"):
            self.halves.labels(outcome)


def half_of(attributes: Mapping[str, str], body: bytes) -> Half:
    """A half, of the attributes of a CloudEvent (names without ``ce-``) and its data.

    Raises:
        HalfError: it is none of KServe's; the message says what it lacks.

    Example:
        >>> half = half_of({"id": "7", "type": REQUEST, "inferenceservicename": "fraud", "namespace": "shop"}, b"{}")
        >>> half.is_request, half.key
        (True, ('shop', 'fraud', '', '', '7'))
    """
    if any(len(value) > 64 * MAX_ATTRIBUTE for value in attributes.values()):
        raise HalfError("an attribute of more than 64 KiB")
    kind = attributes.get("type", "")
    if kind not in (REQUEST, RESPONSE):
        raise HalfError(f"type {kind[:80]!r}: expected {REQUEST} or {RESPONSE}")
    key = tuple(attributes.get(name, "") for name in ("namespace", "inferenceservicename", "component", "endpoint", "id"))
    if not key[1] or not key[4]:
        raise HalfError("ce-inferenceservicename and ce-id are needed")
    if any(len(part) > 256 for part in key):
        raise HalfError("a name or id of more than 256 characters")
    return Half(kind == REQUEST, key, _time(attributes.get("time", "")), _metadata(attributes.get("metadata", "")), body)


class Joiner:
    """Keeps halves until the other comes, in whatever order, and records what is whole.

    Bounded: at most `max_waiting` halves and `max_bytes`; the oldest go, counted. Halves that wait longer than `patience_s` are over: a
    request is recorded as an error if that was asked for, else counted, as KServe logs no answer but those with status 200.

    An id names the event for labels, when it comes for the first time among the last 65,536. Callers choose it (header ``Ce-Id``): under
    an id that is used again the event is recorded without it, as the workers would take it for a repetition and not look at it.

    Args:
        client: where events go.
        naming: what they are called.
        unanswered_is_error: record requests without an answer.
        patience_s: how long a half waits.
        max_waiting: halves.
        max_bytes: of their payloads.
    """

    def __init__(
        self,
        client: Client,
        naming: Naming,
        metrics: KserveMetrics,
        *,
        unanswered_is_error: bool = False,
        patience_s: float = 60.0,
        max_waiting: int = 10_000,
        max_bytes: int = 256 << 20,
    ) -> None:
        self._client, self._naming, self._metrics = client, naming, metrics
        self._unanswered_is_error, self._patience_s = unanswered_is_error, patience_s
        self._max_waiting, self._max_bytes = max_waiting, max_bytes
        self._waiting: OrderedDict[tuple[str, ...], tuple[Half, float]] = OrderedDict()
        self._bytes = 0
        self._ids: OrderedDict[tuple[str, ...], None] = OrderedDict()

    @property
    def waiting(self) -> int:
        """Halves that wait for the other."""
        return len(self._waiting)

    def add(self, half: Half, now_s: float) -> None:
        """Takes a half; `now_s` is a clock that never goes back."""
        held = self._waiting.get(half.key)
        if held is None:
            self._hold(half, now_s)
            return
        other = held[0]
        self._drop(half.key)
        if other.is_request == half.is_request:  # an id used again before it was answered: the later one may still be
            self._count("repeated", 1)
            self._hold(half, now_s)
            return
        self._count("joined", 2)
        asked, answered = (half, other) if half.is_request else (other, half)
        self._record(asked, answered)

    def settle(self, now_s: float) -> None:
        """Gives up what has waited too long. Call it every second or so."""
        while self._waiting:
            key, (half, since) = next(iter(self._waiting.items()))
            if now_s - since < self._patience_s:
                break
            self._drop(key)
            self._count("unanswered" if half.is_request else "unasked", 1)
            if half.is_request and self._unanswered_is_error:
                self._record(half, None)
        self._metrics.waiting.set(len(self._waiting))

    def _hold(self, half: Half, now_s: float) -> None:
        self._waiting[half.key] = half, now_s
        self._bytes += half.bytes
        while len(self._waiting) > self._max_waiting or self._bytes > self._max_bytes:
            self._drop(next(iter(self._waiting)))
            self._count("evicted", 1)

    def _drop(self, key: tuple[str, ...]) -> None:
        half, _ = self._waiting.pop(key)
        self._bytes -= half.bytes

    def _count(self, outcome: Literal["joined", "repeated", "unanswered", "unasked", "evicted"], n: int) -> None:
        self._metrics.halves.labels(outcome).inc(n)

    def _record(self, asked: Half, answered: Half | None) -> None:
        namespace, service, _, endpoint, identity = asked.key
        features, answers = self._features(asked), None if answered is None else self._answers(answered)
        rows = features.rows if features else answers.rows if answers else 1
        if answers and answers.rows != rows:
            self._metrics.problems.labels("unequal").inc()
            answers = Answers(rows, {}, answers.version)
        if not rows:
            self._metrics.problems.labels("empty").inc()
            return
        said = (answered or asked).at_ns
        trace = _TRACEPARENT.match(asked.metadata.get("traceparent", ""))
        status = "error" if answered is None else "ok"
        taken = self._client.record_many(
            model=f"{namespace}.{service}" if self._naming.namespaced else service,
            version=self._naming.versions.get(service) or (answers.version if answers else "") or endpoint or "default",
            client=asked.metadata.get(self._naming.client_header.lower(), "")[:MAX_ATTRIBUTE] if self._naming.client_header else "",
            features=features.columns if features and len(features.columns) else np.empty((rows, 0)),
            status=status,
            at_ns=said,
            trace_id=trace[1] if trace else None,
            event_id=self._event_ids(asked.key, identity, rows),
            **(answers.columns if answers else {}),
        )
        self._metrics.events.labels(status if taken else "dropped").inc(rows)

    def _event_ids(self, key: tuple[str, ...], identity: str, rows: int) -> list[str] | None:
        if key in self._ids:
            self._metrics.problems.labels("id_used_again").inc()
            return None
        self._ids[key] = None
        if len(self._ids) > 65_536:
            self._ids.popitem(last=False)
        return [identity] if rows == 1 else [f"{identity[:240]}:{i}" for i in range(rows)]

    def _features(self, half: Half) -> Features | None:
        try:
            return features_of(half.body)
        except PayloadError as error:
            self._metrics.problems.labels(f"request_{error.why}").inc()
            return None

    def _answers(self, half: Half) -> Answers | None:
        try:
            return answers_of(half.body)
        except PayloadError as error:
            self._metrics.problems.labels(f"response_{error.why}").inc()
            return None


def _time(text: str) -> int | None:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return None
    # Beyond these years the event would cost those that share its record.
    return None if at.tzinfo is None or not 1971 <= at.year <= 2261 else int(at.timestamp() * 1e6) * 1_000


def _metadata(text: str) -> dict[str, str]:
    """Go's headers: a list of values by name."""
    try:
        headers: Any = msgspec.json.decode(text) if text else {}
    except (msgspec.DecodeError, RecursionError):
        return {}
    if not isinstance(headers, dict):
        return {}
    return {
        str(name).lower(): values[0]
        for name, values in headers.items()
        if isinstance(values, list) and values and isinstance(values[0], str)
    }
