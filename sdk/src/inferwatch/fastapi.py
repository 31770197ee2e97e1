"""Records the predictions of a FastAPI, Starlette or other ASGI service: ``app.add_middleware(RecordPredictions, ...)``."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, MutableMapping
from typing import Any

import msgspec

from inferwatch._client import Client
from inferwatch._contract import StatusName

__all__ = ["RecordPredictions", "note"]

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
WhoAsks = str | Callable[[Scope], str]
"""A header's name, or a function of the ASGI scope (after the service has handled it, so ``user`` and ``state`` are set)."""

_KEY = "inferwatch"
_ANSWERS = ("scores", "prediction", "value", "event_id")
_REFUSALS: dict[int, StatusName] = {401: "unauthenticated", 403: "forbidden", 429: "rate_limited"}


def note(request: Any, **said: Any) -> None:
    """What the service knows better than the bodies say: arguments of `Client.record`, for the request that is being handled.

    Args:
        request: Starlette's or FastAPI's request, or the ASGI scope.
        **said: ``features``, ``scores``, ``prediction``, ``value``, ``event_id``, ``version``, ``client``, ``owner``, ``source``,
            ``cost``, ``trace_id``, ``feature_view``, ``feature_age_s``. A later call adds to an earlier one's. ``features`` and an answer
            said here save reading the bodies.
    """
    scope = request if isinstance(request, Mapping) else request.scope
    if _KEY in scope:  # else no middleware looks at this path
        scope[_KEY].update(said)


class RecordPredictions:
    """ASGI middleware: one event for each request to a prediction's path, recorded when the last byte of its answer has been passed on.

    Out of JSON bodies: the request's top-level fields are the features; of the answer ``scores`` (or ``probabilities``), ``prediction``,
    ``value`` and ``event_id`` are taken. `features` and `answer` read other shapes; `note` says it from inside the service.

    When the application ends (its lifespan), the watch is closed: what waits is sent, within its `close_timeout_s`.

    Nothing waits and nothing is changed in between. Bodies are kept up to `max_body` bytes; a longer, compressed or foreign one is not
    read, and counted in the gauge ``unread_bodies`` of the heartbeats. Reading takes the event loop below a millisecond for 256 KiB.

    ====================  =======================
    status code           status of the event
    ====================  =======================
    2xx                   ok
    401, 403, 429         unauthenticated, forbidden, rate_limited: `Client.denied`
    other 4xx             invalid_input
    5xx, an exception     error
    ====================  =======================

    Redirects, other methods, and requests whose client left before an answer began are no answers, and not recorded. Features and scores
    are recorded of ok answers only.

    Args:
        app: The next application.
        watch: Where events go.
        model: Name of the model.
        version: Its version.
        client: Who asks: see `WhoAsks`. Leaves the process only as a pseudonym.
        paths: Paths of predictions, as the server sees them; one that ends with ``*`` takes what begins so.
        methods: HTTP methods of predictions.
        features: Makes features of the parsed request.
        answer: Makes a mapping with ``scores``, ``prediction``, ``value``, ``event_id`` of the parsed answer.
        source: Where the request came from, as `client`; not recorded if not given.
        max_body: Bytes of a body that is read, at most.

    Raises:
        ValueError: an argument is out of range; the message says which.

    Example:
        >>> import asyncio
        >>> from inferwatch import Client, MemoryTransport
        >>> async def service(scope, receive, send):
        ...     await receive()
        ...     await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
        ...     await send({"type": "http.response.body", "body": b'{"prediction": "ok"}'})
        >>> async def ask(app):
        ...     async def receive():
        ...         return {"type": "http.request", "body": b'{"amount": 12.5}'}
        ...     async def send(message):
        ...         pass
        ...     await app({"type": "http", "method": "POST", "path": "/predict", "headers": [(b"x-api-key", b"k1")]}, receive, send)
        >>> transport = MemoryTransport()
        >>> with Client(service="shop", transport=transport, pseudonym_key="an example, not a secret") as watch:
        ...     asyncio.run(ask(RecordPredictions(service, watch=watch, model="fraud", version="7")))
        >>> [(event["features"], event["prediction"], event["status"]) for event in transport.events()]
        [({'amount': 12.5}, 'ok', 'ok')]
    """

    def __init__(
        self,
        app: App,
        *,
        watch: Client,
        model: str,
        version: str,
        client: WhoAsks = "x-api-key",
        paths: Collection[str] = ("/predict",),
        methods: Collection[str] = ("POST",),
        features: Callable[[Any], Any] | None = None,
        answer: Callable[[Any], Mapping[str, Any]] | None = None,
        source: WhoAsks | None = None,
        max_body: int = 262_144,
    ) -> None:
        if isinstance(paths, str) or not all(path.startswith("/") for path in paths):
            raise ValueError(f"paths = {paths!r}: expected a list of paths that begin with /")
        if not model or not version:
            raise ValueError("model and version must not be empty")
        if not 0 <= max_body <= 64 << 20:
            raise ValueError(f"max_body = {max_body}: expected 0 to 64 MiB")
        self._app, self._watch, self._model, self._version = app, watch, model, version
        self._client, self._source = client, source
        self._exact = frozenset(path for path in paths if not path.endswith("*"))
        self._prefixes = tuple(path[:-1] for path in paths if path.endswith("*"))
        self._methods = frozenset(method.upper() for method in methods)
        self._features, self._answer = features or _fields, answer or _named
        self._max_body = max_body
        self._unread = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles one connection, or the application's lifespan."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, self._closing(send))
            return
        if scope["type"] != "http" or scope["method"] not in self._methods or not self._is_prediction(scope["path"]):
            await self._app(scope, receive, send)
            return
        scope[_KEY] = {}
        asked, answered = _Body(self._max_body), _Body(self._max_body)
        begun = time.perf_counter()
        code = 0
        over = False

        async def received() -> Message:
            message = await receive()
            if message["type"] == "http.request":
                asked.add(message)
            return message

        async def sent(message: Message) -> None:
            nonlocal code, over
            if message["type"] == "http.response.start":
                code = message["status"]
                answered.compressed = any(name.lower() == b"content-encoding" for name, _ in message.get("headers", ()))
            elif message["type"] == "http.response.body":
                answered.add(message)
            await send(message)
            if message["type"] == "http.response.body" and not message.get("more_body", False) and not over:
                over = True
                self._record(scope, code, asked, answered, (time.perf_counter() - begun) * 1e3)

        try:
            await self._app(scope, received, sent)
        except Exception:
            if not over:  # afterwards it is a background task's
                over = True
                self._record(scope, 500, asked, answered, (time.perf_counter() - begun) * 1e3)
            raise

    def _closing(self, send: Send) -> Send:
        async def sent(message: Message) -> None:
            if message["type"].startswith("lifespan.shutdown."):
                await asyncio.to_thread(self._watch.close)  # uvicorn then ends by its signal, past every handler of exit
            await send(message)

        return sent

    def _is_prediction(self, path: str) -> bool:
        return path in self._exact or path.startswith(self._prefixes)

    def _record(self, scope: Scope, code: int, asked: _Body, answered: _Body, latency_ms: float) -> None:
        try:
            if 300 <= code < 400:
                return
            said = dict(scope[_KEY])
            self._ask(said, "client", self._client, scope)
            self._ask(said, "source", self._source, scope)
            said = {"model": self._model, "version": self._version, "latency_ms": latency_ms, **said}
            if code < 300:
                self._read(said, asked, answered)
                self._watch.record(**said)
            elif code in _REFUSALS:
                kept = ("model", "version", "latency_ms", "client", "source", "trace_id")
                self._watch.denied(status=_REFUSALS[code], **{name: said[name] for name in kept if name in said})
            else:
                status: StatusName = "error" if code >= 500 else "invalid_input"
                dropped = ("features", "scores", "prediction", "value")
                self._watch.record(status=status, **{name: value for name, value in said.items() if name not in dropped})
        except Exception as error:  # noqa: BLE001  # monitoring never breaks the service
            self._watch._refuse(self._model, self._version, "invalid", 1, error)

    def _ask(self, said: dict[str, Any], name: str, who: WhoAsks | None, scope: Scope) -> None:
        if who is None or name in said:
            return
        try:
            said[name] = _header(scope, who) if isinstance(who, str) else who(scope)
        except Exception as error:  # noqa: BLE001  # the caller's function; an event without it is better than none
            self._watch._complain(name, error)

    def _read(self, said: dict[str, Any], asked: _Body, answered: _Body) -> None:
        if "features" not in said:
            features = self._parsed(asked, self._features)
            if features is not None:
                said["features"] = features
        if not said.keys() & {"scores", "prediction", "value"}:
            answer = self._parsed(answered, self._answer)
            said.update({name: value for name, value in (answer or {}).items() if value is not None and name not in said})

    def _parsed(self, body: _Body, read: Callable[[Any], Any]) -> Any:
        try:
            return read(msgspec.json.decode(body.whole()))
        except Exception as error:  # noqa: BLE001  # a foreign body, or the caller's function
            self._unread += 1
            self._watch.gauge("unread_bodies", self._unread)
            self._watch._log.line("body", "a body was not read: %s", type(error).__name__)
            return None


class _Body:
    """What goes by, up to a bound."""

    def __init__(self, bound: int) -> None:
        self.compressed = False
        self._bound, self._size = bound, 0
        self._parts: list[bytes] = []

    def add(self, message: Message) -> None:
        part = message.get("body", b"")
        self._size += len(part)
        if self._size > self._bound:
            self._parts.clear()
        elif part:
            self._parts.append(bytes(part))

    def whole(self) -> bytes:
        if self._size > self._bound or self.compressed:
            raise ValueError("too long, or compressed")
        return b"".join(self._parts)


def _header(scope: Scope, name: str) -> str:
    wanted = name.lower().encode("latin-1")
    return next((value.decode("latin-1") for key, value in scope["headers"] if key.lower() == wanted), "")


def _fields(body: Any) -> Any:
    """The top-level fields of an object that are numbers, text, booleans or null; a list of numbers as it is."""
    if isinstance(body, dict):
        return {name: value for name, value in body.items() if value is None or isinstance(value, (str, int, float))}
    if isinstance(body, list):
        return body
    raise ValueError("neither an object nor a list")


def _named(body: Any) -> dict[str, Any]:
    """What is named as `Client.record` names it."""
    if not isinstance(body, dict):
        raise ValueError("no object")
    said = {name: body.get(name) for name in _ANSWERS}
    said["scores"] = body.get("probabilities") if said["scores"] is None else said["scores"]
    return said
