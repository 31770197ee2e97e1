"""`/metrics` for Prometheus and `/healthz` for whoever restarts the worker or sends it traffic."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

from aiohttp import web

from streams.metrics import Metrics

__all__ = ["HealthServer"]


class HealthServer:
    """``async with HealthServer(...) as server``: serves while the block runs, on the loop that does the work.

    That is meant: when the loop hangs, so does ``/healthz``, and the supervisor sees it.

    Args:
        host: Address to listen on.
        port: Port, 0 for a free one.
        metrics: What ``/metrics`` shows.
        problems: What is wrong now; empty: ready. One sentence each, shown to whoever asks, so without secrets.
        refresh: Called before ``/metrics`` answers, to bring gauges up to date.

    Raises:
        OSError: the port is taken.
    """

    def __init__(
        self, host: str, port: int, metrics: Metrics, problems: Callable[[], Sequence[str]], refresh: Callable[[], None] = lambda: None
    ) -> None:
        self._host, self._asked_port, self._metrics, self._problems, self._refresh = host, port, metrics, problems, refresh
        app = web.Application()
        app.add_routes([web.get("/metrics", self._show_metrics), web.get("/healthz", self._show_health)])
        self._runner = web.AppRunner(app, access_log=None)

    @property
    def port(self) -> int:
        """The port that is served."""
        return int(self._runner.addresses[0][1])

    async def __aenter__(self) -> Self:
        await self._runner.setup()
        await web.TCPSite(self._runner, self._host, self._asked_port).start()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self._runner.cleanup()

    async def _show_metrics(self, request: web.Request) -> web.Response:
        self._metrics.ready.set(not self._problems())
        self._refresh()
        return web.Response(body=self._metrics.text(), headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})

    async def _show_health(self, request: web.Request) -> web.Response:
        problems = self._problems()
        if problems:
            return web.Response(status=503, text="".join(f"{problem}\n" for problem in problems))
        return web.Response(text="ok\n")
