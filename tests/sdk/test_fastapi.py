"""`inferwatch.fastapi`: a real FastAPI application behind uvicorn, asked over HTTP."""

import asyncio
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import aiohttp
import pytest
import uvicorn
from fastapi import BackgroundTasks, FastAPI, HTTPException, Request
from fastapi.middleware.gzip import GZipMiddleware
from fastapi.responses import RedirectResponse, StreamingResponse
from opentelemetry.sdk.trace import TracerProvider
from pydantic import BaseModel

from inferwatch import Client, MemoryTransport
from inferwatch.fastapi import RecordPredictions, note
from tests.sdk.helpers import client


class Order(BaseModel):
    amount: float
    country: str = "NO"


@contextmanager
def served(app: Any) -> Iterator[str]:
    """The application's address."""
    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="critical", lifespan="on", ws="none"))
    thread = threading.Thread(target=lambda: asyncio.run(server.serve([listening])))
    thread.start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(10)
        listening.close()


async def ask(url: str, path: str, body: Any = None, method: str = "POST", **headers: str) -> tuple[int, bytes]:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    async with (
        aiohttp.ClientSession() as session,
        session.request(
            method, url + path, data=data, headers={"content-type": "application/json", **named}, allow_redirects=False
        ) as response,
    ):
        return response.status, await response.read()


def service(watch: Client, **settings: Any) -> FastAPI:
    app = FastAPI()

    @app.post("/predict")
    def predict(order: Order) -> dict[str, Any]:
        return {"prediction": "ok", "scores": {"ok": 0.9, "fraud": 0.1}, "event_id": f"e-{order.amount:g}"}

    @app.post("/predict/denied/{code}")
    def denied(code: int) -> None:
        raise HTTPException(code)

    @app.post("/predict/broken")
    def broken() -> None:
        raise RuntimeError("the model is gone")

    @app.post("/predict/noted")
    def noted(request: Request) -> str:
        note(request, features={"x": 1.5}, prediction="b", client="from-inside", owner="o", version="8")
        return "anything"

    @app.post("/predict/later")
    def later(tasks: BackgroundTasks) -> dict[str, float]:
        tasks.add_task(lambda: 1 / 0)
        return {"value": 3.5}

    @app.post("/predict/streamed")
    def streamed() -> StreamingResponse:
        return StreamingResponse((part for part in ('{"val', 'ue": 1', ".25}")), media_type="application/json")

    @app.post("/predict/elsewhere")
    def elsewhere() -> RedirectResponse:
        return RedirectResponse("/predict")

    @app.post("/other")
    def other() -> str:
        return "x"

    app.add_middleware(RecordPredictions, watch=watch, model="m", version="7", paths=["/predict", "/predict/*"], **settings)
    return app


@pytest.fixture
def watching() -> Iterator[tuple[Client, MemoryTransport]]:
    """A client, which the end of the application closes."""
    watch, transport = client()
    with watch:
        yield watch, transport


def events_of(watching: tuple[Client, MemoryTransport]) -> list[dict[str, Any]]:
    watching[0].flush()
    return sorted(watching[1].events(), key=lambda event: int(event["number"]))


async def test_three_lines_record_features_scores_latency_and_who_asked(watching: tuple[Client, MemoryTransport]) -> None:
    with served(service(watching[0])) as url:
        status, body = await ask(url, "/predict", {"amount": 12.5, "country": "SE", "nested": {"left": "out"}}, x_api_key="alice")
    assert status == 200
    assert json.loads(body)["prediction"] == "ok"
    (event,) = events_of(watching)
    assert event["features"] == {"amount": 12.5, "country": "SE"}
    assert event["scores"] == pytest.approx({"ok": 0.9, "fraud": 0.1})
    assert (event["prediction"], event["event_id"], event["status"]) == ("ok", "e-12.5", "ok")
    assert event["client"] == watching[0].pseudonym("alice")
    assert 0 < event["latency_ms"] < 5_000


@pytest.mark.parametrize(
    ("code", "status"),
    [(401, "unauthenticated"), (403, "forbidden"), (429, "rate_limited"), (404, "invalid_input"), (503, "error")],
)
async def test_a_refusal_is_recorded_with_its_status_and_without_features(
    watching: tuple[Client, MemoryTransport], code: int, status: str
) -> None:
    with served(service(watching[0])) as url:
        assert (await ask(url, f"/predict/denied/{code}", {"amount": 1}, x_api_key="mallory"))[0] == code
    (event,) = events_of(watching)
    assert (event["status"], event["features"], event["scores"]) == (status, [], None)
    assert event["client"] == watching[0].pseudonym("mallory")


async def test_a_body_that_validation_refuses_is_invalid_input(watching: tuple[Client, MemoryTransport]) -> None:
    with served(service(watching[0])) as url:
        assert (await ask(url, "/predict", {"amount": "much"}))[0] == 422
        assert (await ask(url, "/predict", b"{"))[0] == 422
    assert [event["status"] for event in events_of(watching)] == ["invalid_input"] * 2


async def test_an_exception_is_an_error_and_reaches_the_server(watching: tuple[Client, MemoryTransport]) -> None:
    with served(service(watching[0])) as url:
        assert (await ask(url, "/predict/broken", {}))[0] == 500
    assert [event["status"] for event in events_of(watching)] == ["error"]


async def test_an_exception_after_the_answer_is_not_the_answers(watching: tuple[Client, MemoryTransport]) -> None:
    with served(service(watching[0])) as url:
        assert (await ask(url, "/predict/later", {"x": 1}))[0] == 200
    (event,) = events_of(watching)
    assert (event["status"], event["value"]) == ("ok", 3.5)


async def test_the_service_can_say_it_from_inside(watching: tuple[Client, MemoryTransport]) -> None:
    with served(service(watching[0])) as url:
        await ask(url, "/predict/noted", b"no JSON at all", x_api_key="outside")
    (event,) = events_of(watching)
    assert (event["features"], event["prediction"], event["owner"], event["version"]) == ({"x": 1.5}, "b", "o", "8")
    assert event["client"] == watching[0].pseudonym("from-inside")


async def test_streamed_answers_are_put_together_and_redirects_and_other_paths_left_alone(
    watching: tuple[Client, MemoryTransport],
) -> None:
    with served(service(watching[0])) as url:
        assert (await ask(url, "/predict/streamed", {"x": 2}))[1] == b'{"value": 1.25}'
        assert (await ask(url, "/predict/elsewhere", {"x": 2}))[0] == 307
        assert (await ask(url, "/other", {"x": 2}))[0] == 200
        assert (await ask(url, "/predict", method="GET"))[0] == 405
    assert [event["value"] for event in events_of(watching)] == [1.25]


async def test_a_long_body_is_counted_and_their_event_kept(watching: tuple[Client, MemoryTransport]) -> None:
    app = service(watching[0], max_body=100)
    with served(app) as url:
        assert (await ask(url, "/predict", {"amount": 1, "country": "x" * 200}))[0] == 200
    (event,) = events_of(watching)
    assert (event["features"], event["prediction"]) == ([], "ok")
    assert watching[0]._gauges == {"unread_bodies": 1.0}


async def test_a_compressed_answer_is_counted_and_its_event_kept(watching: tuple[Client, MemoryTransport]) -> None:
    inner = service(watching[0])
    inner.user_middleware.reverse()
    inner.add_middleware(GZipMiddleware, minimum_size=1)
    inner.user_middleware.reverse()  # innermost: the recorder sees what is compressed
    with served(inner) as url:
        await ask(url, "/predict", {"amount": 1}, accept_encoding="gzip")
    (event,) = events_of(watching)
    assert (event["features"], event["prediction"]) == ({"amount": 1.0}, None)


async def test_functions_read_other_shapes_and_one_that_fails_costs_its_part_only() -> None:
    watch, transport = client(strict=False)
    app = service(
        watch,
        features=lambda body: {"twice": 2 * body["amount"]},
        answer=lambda body: {"prediction": body["prediction"].upper()},
        client=lambda scope: scope["client"][0],
        source=lambda scope: 1 / 0,
    )
    with watch, served(app) as url:
        await ask(url, "/predict", {"amount": 4})
        await ask(url, "/predict", {"amount": 4, "country": "SE"})
    assert [(event["features"], event["prediction"], event["source"]) for event in transport.events()] == [({"twice": 8.0}, "OK", None)] * 2
    assert transport.events()[0]["client"] == watch.pseudonym("127.0.0.1")


async def test_a_client_who_leaves_before_the_answer_is_no_event(watching: tuple[Client, MemoryTransport]) -> None:
    async def never(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.sleep(60)

    app = RecordPredictions(never, watch=watching[0], model="m", version="7")
    scope = {"type": "http", "method": "POST", "path": "/predict", "headers": []}
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(app(scope, never, never), 0.05)  # type: ignore[arg-type]
    assert events_of(watching) == []


async def test_requests_side_by_side_keep_their_own_bodies(watching: tuple[Client, MemoryTransport]) -> None:
    with served(service(watching[0])) as url:
        await asyncio.gather(*(ask(url, "/predict", {"amount": i}, x_api_key=f"c{i}") for i in range(60)))
    events = events_of(watching)
    assert len(events) == 60
    assert all(event["event_id"] == f"e-{event['features']['amount']:g}" for event in events)
    assert {event["client"] for event in events} == {watching[0].pseudonym(f"c{i}") for i in range(60)}


async def test_the_event_belongs_to_the_trace_around_the_middleware(watching: tuple[Client, MemoryTransport]) -> None:
    tracer = TracerProvider().get_tracer("tests")
    traces = []

    class Traced:
        def __init__(self, app: Any) -> None:
            self.app = app

        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            with tracer.start_as_current_span("request") as span:
                traces.append(f"{span.get_span_context().trace_id:032x}")
                await self.app(scope, receive, send)

    app = service(watching[0])
    app.add_middleware(Traced)
    with served(app) as url:
        await ask(url, "/predict", {"amount": 1})
    assert [event["trace_id"] for event in events_of(watching)] == traces[-1:]


def test_what_waits_is_sent_when_the_application_ends() -> None:
    watch, transport = client(flush_age_s=60)
    app = service(watch)
    with served(app) as url:
        asyncio.run(ask(url, "/predict", {"amount": 1}))
        assert transport.events() == []
    assert len(transport.events()) == 1
    assert transport.heartbeats[-1].closing


@pytest.mark.parametrize(
    ("wrong", "said"), [({"paths": "/predict"}, "paths"), ({"version": ""}, "version"), ({"max_body": -1}, "max_body")]
)
def test_nonsense_is_refused_when_the_service_starts(wrong: dict[str, Any], said: str) -> None:
    watch, _ = client()
    with watch, pytest.raises(ValueError, match=said):
        RecordPredictions(FastAPI(), watch=watch, **{"model": "m", "version": "7", **wrong})


def test_a_note_outside_of_a_watched_path_is_no_harm() -> None:
    note({"type": "http"}, prediction="x")
