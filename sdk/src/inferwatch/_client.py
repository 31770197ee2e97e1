"""What a service calls. Every method returns at once and none raises; what could not be kept is counted."""

from __future__ import annotations

import dataclasses
import os
import secrets
import socket
import sys
import time
import weakref
from collections.abc import Collection, Mapping, Sequence
from types import TracebackType
from typing import Any

from inferwatch import _processes
from inferwatch._account import DropReason, Stats
from inferwatch._arguments import (
    STATUS,
    BadArgumentError,
    OversizedError,
    current_trace_id,
    features_of,
    plain,
    scores_of,
    text,
)
from inferwatch._batch import batch_of
from inferwatch._contract import MAX_TEXT, Status, StatusName
from inferwatch._item import Item
from inferwatch._kafka import KafkaTransport
from inferwatch._log import RateLimited
from inferwatch._pseudonym import key_id_of, pseudonym_of
from inferwatch._sender import Sender
from inferwatch._settings import Settings, between, key_of, names_of, previous_key_of
from inferwatch._signals import Signals
from inferwatch._transport import Transport

_ITEM_BYTES = 600


class Client(Signals):
    """Records what a model answers: `record` puts an event into a bounded queue, one daemon thread sends.

    Construction raises on nonsense; afterwards nothing raises into the service, nothing waits without a budget and nothing is lost
    uncounted: see `stats`. Safe to share between threads and to fork.

    Args:
        bootstrap_servers: ``host:port`` of the Kafka cluster; else ``INFERWATCH_BOOTSTRAP_SERVERS`` or ``KAFKA_BOOTSTRAP_SERVERS``.
        service: Name of this service; else ``INFERWATCH_SERVICE`` or ``OTEL_SERVICE_NAME``.
        instance: Names this process among the service's; made from host and process id if not given. A forked child adds its own suffix.
        pseudonym_key: Secret of at least 16 bytes which turns client ids into pseudonyms; else ``INFERWATCH_PSEUDONYM_KEY``. Without
            one a random key is made, and pseudonyms match neither other processes' nor the next start's.
        previous_pseudonym_key: The key before this one, for `pseudonyms` only; else ``INFERWATCH_PSEUDONYM_KEY_PREVIOUS``. Nothing is sent
            under it.
        allow: Names of the features that may leave the process; None for all. Arrays without names are not filtered.
        redact: Names of features that never leave the process.
        partitions: Of the events topic, if it need not be asked of the cluster.
        topic_prefix: Of the topics' names.
        queue_max_events: Events waiting or in flight, at most; beyond it new ones are dropped as ``queue_full``.
        queue_max_bytes: The same in bytes, by an estimate from the number of features.
        flush_age_s: Longest time an event waits for others to share its record.
        flush_events: Events in a record, at most.
        flush_bytes: Size of a record, about.
        heartbeat_s: Time between heartbeats of each model version.
        close_timeout_s: Budget of `close` and of the exit of the interpreter.
        transport: Instead of Kafka: `MemoryTransport` in tests.
        kafka_options: More options of librdkafka (``security.protocol``, ``sasl.*``, ``ssl.*``).
        strict: Raise ValueError on bad arguments of any method, for tests.
        environment: Instead of the process environment.

    Raises:
        ValueError: an argument is missing or out of range; the message says which, and what to do.

    Example:
        >>> from inferwatch import Client, MemoryTransport
        >>> transport = MemoryTransport()
        >>> watch = Client(service="shop", transport=transport, pseudonym_key="an example, not a secret")
        >>> watch.record(model="fraud", version="3", client="alice", features={"amount": 12.5, "country": "NO"}, scores=[0.9, 0.1])
        True
        >>> watch.close()
        0
        >>> transport.events()[0]["features"]
        {'amount': 12.5, 'country': 'NO'}
    """

    def __init__(
        self,
        bootstrap_servers: str | None = None,
        service: str | None = None,
        *,
        instance: str | None = None,
        pseudonym_key: str | bytes | None = None,
        previous_pseudonym_key: str | bytes | None = None,
        allow: Collection[str] | None = None,
        redact: Collection[str] = (),
        partitions: int | None = None,
        topic_prefix: str = "inferwatch",
        queue_max_events: int = 50_000,
        queue_max_bytes: int = 256_000_000,
        flush_age_s: float = 0.1,
        flush_events: int = 500,
        flush_bytes: int = 400_000,
        heartbeat_s: float = 10.0,
        close_timeout_s: float = 5.0,
        transport: Transport | None = None,
        kafka_options: Mapping[str, Any] | None = None,
        strict: bool = False,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        environment = os.environ if environment is None else environment
        service = service or environment.get("INFERWATCH_SERVICE") or environment.get("OTEL_SERVICE_NAME")
        if not service:
            raise ValueError("service is missing: pass service=..., or set INFERWATCH_SERVICE")
        if transport is None:
            servers = bootstrap_servers or environment.get("INFERWATCH_BOOTSTRAP_SERVERS") or environment.get("KAFKA_BOOTSTRAP_SERVERS")
            if not servers:
                raise ValueError("bootstrap_servers is missing: pass 'host:9092', or set INFERWATCH_BOOTSTRAP_SERVERS")
            transport = KafkaTransport(servers, kafka_options)
        elif bootstrap_servers or kafka_options:
            raise ValueError("transport= replaces Kafka: leave out bootstrap_servers and kafka_options, or transport")
        self._log = RateLimited()
        between("queue_max_events", queue_max_events, 1, 100_000_000)
        between("queue_max_bytes", queue_max_bytes, 1_000, 1 << 40)
        between("close_timeout_s", close_timeout_s, 0, 3_600)
        self._base = instance or socket.gethostname()[:200]
        self._settings = Settings(
            service=service,
            instance=instance or _named(self._base),
            key=(key := key_of(pseudonym_key, environment, self._log)),
            key_id=key_id_of(key) if pseudonym_key or environment.get("INFERWATCH_PSEUDONYM_KEY") else "",
            topic_prefix=topic_prefix,
            partitions=partitions,
            allow=None if allow is None else names_of("allow", allow),
            redact=names_of("redact", redact),
            flush_age_s=flush_age_s,
            flush_events=flush_events,
            flush_bytes=flush_bytes,
            heartbeat_s=heartbeat_s,
        )
        self._previous_key = previous_key_of(previous_pseudonym_key, environment, self._settings.key)
        self._max_events = queue_max_events
        self._max_bytes = queue_max_bytes
        self._close_timeout_s = close_timeout_s
        self._transport = transport
        self._strict = strict
        self._gauges: dict[str, float] = {}
        self._closed = False
        self._begin()
        _processes.watch_forks(self)

    def __repr__(self) -> str:
        return f"Client(service={self._settings.service!r}, instance={self._settings.instance!r})"

    def __enter__(self) -> Client:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    @property
    def instance(self) -> str:
        """The name of this process in the stream."""
        return self._settings.instance

    def record(
        self,
        *,
        model: str,
        version: str,
        client: str | int = "",
        features: Any = None,
        scores: Any = None,
        prediction: str | int | bool | float | None = None,
        value: float | None = None,
        latency_ms: float | None = None,
        status: Status | StatusName = "ok",
        event_id: str | None = None,
        at_ns: int | None = None,
        trace_id: str | None = None,
        owner: str | None = None,
        source: str | None = None,
        cost: float | None = None,
        feature_view: str | None = None,
        feature_age_s: float | None = None,
    ) -> bool:
        """One inference. Costs the caller an append: about 2 us for 20 features, whatever the broker does.

        Args:
            model: Name of the model.
            version: Its version: what the reference belongs to.
            client: Who asked. Leaves the process only as a pseudonym. Events without a client share one partition.
            features: A mapping of names to numbers, text, booleans or None (missing), or a one-dimensional array or list of numbers in
                the reference's order (an embedding). A value of another kind counts as missing. Copied.
            scores: Class probabilities: a list or array in the reference's class order, or a mapping. Copied.
            prediction: The class that was answered.
            value: The number that a regression answered.
            latency_ms: Time it took.
            status: How it was answered.
            event_id: Name of the event for later labels; ``instance:number`` if not given.
            at_ns: When it was answered, UTC ns since 1970; now if not given.
            trace_id: Of OpenTelemetry's current span if not given and that library is loaded.
            owner: Whose data the row is.
            source: Where the request came from; links accounts.
            cost: In a unit of your own.
            feature_view: The feature view or service that the features came from, with its version: ``driver_stats:3``.
            feature_age_s: Seconds since the oldest of the features was computed.

        Returns:
            True when the event is in the queue, False when it was dropped (and counted).
        """
        try:
            if not (type(model) is str and type(version) is str and 0 < len(model) <= MAX_TEXT and 0 < len(version) <= MAX_TEXT):
                raise BadArgumentError(f"model and version must be text of 1 to {MAX_TEXT} characters")
            if self._closed:
                return self._refuse(model, version, "closed", 1, None)
            if type(client) is not str:
                client = str(client)
            if features is not None:
                features = features_of(features)
            if scores is not None:
                scores = scores_of(scores)
            if prediction is not None:
                prediction = plain(prediction)
            if trace_id is None:
                if trace := sys.modules.get("opentelemetry.trace"):
                    trace_id = current_trace_id(trace)
            else:
                trace_id = text(trace_id)
            item = Item(
                model, version, client, -1, features, scores, time.time_ns() if at_ns is None else at_ns, STATUS[status], latency_ms, value,
                prediction, None if event_id is None else text(event_id), trace_id, None if owner is None else text(owner),
                None if source is None else text(source), cost,
            )  # fmt: skip
            if feature_view is not None or feature_age_s is not None:
                item.lineage = None if feature_view is None else text(feature_view), feature_age_s
            events = self._sender.events
            held = len(events.queue) + events.beyond
            # An event may enter while fewer than max_bytes / its size are held. Needs no shared counter, so no lock: the k-th of the queue
            # has at most max_bytes / k bytes, and events of equal size fill exactly max_bytes.
            size = _ITEM_BYTES + len(client)
            if features is not None:
                size += 100 * len(features)
            if held >= self._max_events or held * size >= self._max_bytes:
                return self._refuse(model, version, "queue_full", 1, None)
            events.queue.append(item)
            if not self._sender.started:
                self._sender.start()
        except Exception as error:  # noqa: BLE001  # monitoring never breaks the service
            return self._refuse(model, version, "invalid", 1, error)
        return True

    def record_many(
        self,
        *,
        model: str,
        version: str,
        client: Any = "",
        features: Any,
        names: Sequence[str] | None = None,
        scores: Any = None,
        score_names: Sequence[str] | None = None,
        prediction: Any = None,
        value: Any = None,
        latency_ms: Any = None,
        status: Any = "ok",
        event_id: Any = None,
        at_ns: Any = None,
        trace_id: Any = None,
        owner: Any = None,
        source: Any = None,
        cost: Any = None,
        feature_view: Any = None,
        feature_age_s: Any = None,
    ) -> bool:
        """Many inferences of one model version: a scored batch, as columns.

        Args:
            model: As in `record`, one for all.
            version: As in `record`, one for all.
            client: One for all, or n of them.
            features: (n, d) array of numbers, or a mapping of names to n values each (numbers, text or booleans). Copied.
            names: Of the d columns of an array; without them they are in the reference's order.
            scores: (n, c) class probabilities.
            score_names: Names of the c classes.
            prediction: n values or one for all, as is the case for all that follow; see `record`.
            value: Answers of a regression.
            latency_ms: Times taken.
            status: How they were answered.
            event_id: Names for later labels.
            at_ns: When; now if not given.
            trace_id: Traces; of OpenTelemetry's current span if not given and that library is loaded.
            owner: Whose data the rows are.
            source: Where the requests came from.
            cost: In a unit of your own.
            feature_view: Where the features came from.
            feature_age_s: Seconds since the oldest of a row's features was computed.

        Returns:
            True when all n are in the queue, False when all n were dropped (and counted). More than `queue_max_events` never fit.
        """
        rows = 1
        try:
            rows = max(1, _rows(features))
            if not (type(model) is str and type(version) is str and 0 < len(model) <= MAX_TEXT and 0 < len(version) <= MAX_TEXT):
                raise BadArgumentError(f"model and version must be text of 1 to {MAX_TEXT} characters")
            if self._closed:
                return self._refuse(model, version, "closed", rows, None)
            if trace_id is None and (trace := sys.modules.get("opentelemetry.trace")):
                trace_id = current_trace_id(trace)
            events = self._sender.events
            if events.held + rows > self._max_events:
                return self._refuse(model, version, "queue_full", rows, None)
            batch = batch_of(
                model=model, version=version, client=client, features=features, names=names, scores=scores, score_names=score_names,
                latency_ms=latency_ms, value=value, cost=cost, feature_age_s=feature_age_s, status=status, at_ns=at_ns,
                now_ns=time.time_ns(), prediction=prediction, event_id=event_id, trace_id=trace_id, owner=owner, source=source,
                feature_view=feature_view,
            )  # fmt: skip
            if batch.rows == 0:
                return True
            if (events.held + batch.rows) * (batch.bytes // batch.rows) > self._max_bytes:
                return self._refuse(model, version, "queue_full", rows, None)
            events.put_batch(batch, batch.rows)
            if not self._sender.started:
                self._sender.start()
        except Exception as error:  # noqa: BLE001  # monitoring never breaks the service
            return self._refuse(model, version, "invalid", rows, error)
        return True

    def denied(
        self,
        *,
        client: str | int = "",
        status: Status | StatusName,
        model: str,
        version: str,
        source: str | None = None,
        latency_ms: float | None = None,
        trace_id: str | None = None,
        at_ns: int | None = None,
    ) -> bool:
        """A request that was turned away, with the status that says why: an event without features."""
        return self.record(
            model=model, version=version, client=client, status=status, source=source, latency_ms=latency_ms, trace_id=trace_id, at_ns=at_ns
        )

    def pseudonym(self, client: str | int) -> str:
        """What this client is called in the stream, to look it up: the first 128 bits of HMAC-SHA256 with the pseudonym key, in hex."""
        return pseudonym_of(self._settings.key, str(client))

    def pseudonyms(self, client: str | int) -> tuple[str, ...]:
        """As `pseudonym`, newest key first: under the second name, if there is one, look for what was sent before the key was changed.

        Example:
            >>> from inferwatch import Client, MemoryTransport
            >>> keys = {"pseudonym_key": "the new key of this example", "previous_pseudonym_key": "the old key of this example"}
            >>> [name[:8] for name in Client(service="shop", transport=MemoryTransport(), **keys).pseudonyms("alice")]
            ['54cd255f', 'ea76b308']
        """
        keys = (self._settings.key, *([self._previous_key] if self._previous_key else []))
        return tuple(pseudonym_of(key, str(client)) for key in keys)

    def stats(self) -> Stats:
        """The account: ``accepted == sent + dropped + queued`` at every moment."""
        events = self._sender.events.account()
        return Stats(events.accepted, events.sent, events.dropped, events.queued, self._sender.signals.account())

    def flush(self, timeout_s: float = 5.0) -> int:
        """Sends what waits, for at most `timeout_s`; returns how many events and signals are not yet delivered or dropped."""
        return self._sender.flush(timeout_s)

    def close(self, timeout_s: float | None = None) -> int:
        """Delivers for at most `timeout_s` (default `close_timeout_s`), drops the rest as ``closed``; returns how many were dropped so.

        Later events are dropped as ``closed``. Closing twice is fine.
        """
        self._closed = True
        timeout_s = self._close_timeout_s if timeout_s is None else timeout_s
        self._sender.stop(timeout_s)
        self._sender.join(timeout_s + 0.5)
        return sum(ledger.lost.get("closed", 0) + ledger.held for ledger in (self._sender.events, self._sender.signals))

    def _begin(self) -> None:
        """An empty queue and books, and a thread to come."""
        self._sender = Sender(self._settings, self._transport, self._gauges)
        _processes.watch_exit(self._sender, self._close_timeout_s)
        weakref.finalize(self, self._sender.stop, self._close_timeout_s).atexit = False

    def _before_fork(self, timeout_s: float) -> None:
        """Gets the sender to let go of the connection. Where it does not in time, the child sends nothing rather than hang."""
        self._sender.before_fork(timeout_s)

    def _after_fork_in_parent(self) -> None:
        self._sender.after_fork_in_parent()

    def _after_fork(self) -> None:
        """In the child: a new instance with nothing in its queue; the parent sends what was in it."""
        self._transport.after_fork()
        self._settings = dataclasses.replace(self._settings, instance=_named(self._base))
        self._log = RateLimited()
        self._begin()

    def _refuse(self, model: object, version: object, reason: DropReason, rows: int, error: Exception | None) -> bool:
        if isinstance(error, OversizedError):
            reason = "oversized"
        known = type(model) is str and type(version) is str and len(model) <= MAX_TEXT and len(version) <= MAX_TEXT
        self._sender.events.refuse(*((model, version) if known else ("", "")), reason, rows)  # type: ignore[arg-type]  # just checked
        if not (self._sender.started or self._closed):
            self._sender.start()  # so that heartbeats tell of events that were all refused
        self._complain(reason, error)
        return False


def _named(base: str) -> str:
    return f"{base[:200]}-{os.getpid()}-{secrets.token_hex(4)}"


def _rows(features: Any) -> int:
    """Events in a batch, as far as that can be told before anything is checked."""
    if isinstance(features, Mapping):
        features = next(iter(features.values()), ())
    return len(features)
