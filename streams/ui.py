"""The views of Grafana as a local page: the same SQL, asked of ClickHouse, drawn by Plotly. Reads only, and needs no internet.

Whoever can reach the port can read: there is no login, so it listens on this machine only unless told otherwise. The host that a
browser names must be one of ours, so that no foreign page can read through it (DNS rebinding); names of clients and models are a
stranger's, so they are escaped, and never part of the SQL.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.resources
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import plotly
from aiohttp import web

from dashboards import page
from dashboards.build import views
from dashboards.choice import Choice, ChoiceError, Extent, choose
from dashboards.figures import figure
from dashboards.macros import MacroError, bind
from dashboards.panels import Panel, View
from dashboards.scope import Objectives
from streams.clickhouse import ClickHouse, ClickHouseError

__all__ = ["NoDataError", "Ui", "extent_of", "show"]

MAX_ROWS = 50_000
MAX_SECONDS = 15
"""Of one query."""
_WAITING = 8
"""Pages at a time; more are told to come back."""
_LIMITS = f"\nSETTINGS max_execution_time = {MAX_SECONDS}, max_result_rows = {MAX_ROWS}, result_overflow_mode = 'throw'"
_EXTENT = """
    SELECT min(start) AS oldest, greatest(max(end), (SELECT max(at) FROM alerts)) AS newest,
        argMax(dateDiff('millisecond', start, end), start) AS window_ms, count() AS n
    FROM windows
"""
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "[::1]"})
_STATIC = {"page.js": "text/javascript", "page.css": "text/css"}


class NoDataError(Exception):
    """There are no windows to show; says where rows come from."""


async def extent_of(clickhouse: ClickHouse) -> Extent:
    """What the store holds.

    Raises:
        NoDataError: No window yet, or no tables.
        ClickHouseError: The store cannot be asked.
    """
    try:
        (found,) = await clickhouse.fetch(_EXTENT + _LIMITS)
    except ClickHouseError as error:
        if error.code in (60, 81):  # no such table, no such database
            raise NoDataError(
                f"{clickhouse.target} has no tables of inferwatch in the database {clickhouse.database}. Is it the DSN of the workers "
                f"(INFERWATCH_CLICKHOUSE_DSN)? `inferwatch migrate` makes the tables, a worker fills them."
            ) from None
        raise
    if not found["n"]:
        raise NoDataError(
            f"{clickhouse.target} holds no window yet. A worker writes the first one when the first window is over (window.length_s) and "
            f"a reference is there or provisional. `inferwatch demo --folder DIR` makes a store to look at."
        )
    newest = found["newest"] + timedelta(seconds=1)  # the filters are in whole seconds
    return Extent(found["oldest"], newest, timedelta(milliseconds=max(found["window_ms"], 100)))


class Ui:
    """The pages, for one store.

    Args:
        clickhouse: What is read.
        objectives: Where lines and colours stand.
        hosts: Names under which a browser may ask, beside this machine's own.
        clock: Gives the present time.
    """

    def __init__(
        self,
        clickhouse: ClickHouse,
        objectives: Objectives,
        *,
        hosts: Iterable[str] = (),
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._clickhouse, self._views, self._clock = clickhouse, views(objectives), clock
        self._hosts = _LOOPBACK | {host.lower() for host in hosts}
        self._turns, self._waiting = asyncio.Semaphore(1), 0
        self._plotly = Path(plotly.__file__).parent / "package_data" / "plotly.min.js"
        self._scripts = (f"/static/plotly.js?{plotly.__version__}", "/static/page.js")

    def app(self) -> web.Application:
        """For aiohttp."""
        app = web.Application(middlewares=[self._guard], client_max_size=1024)
        app.router.add_get("/", self._home)
        app.router.add_get("/view/{name}", self._view)
        app.router.add_get("/static/{name}", self._static)
        return app

    @web.middleware
    async def _guard(self, request: web.Request, handler: Callable[[web.Request], Any]) -> web.StreamResponse:
        host = request.host.lower()
        name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() and not host.endswith("]") else host
        if name not in self._hosts:
            return _said(
                421,
                "Not under this name",
                f"This page is not served under the name {name[:200]!r}. Start it with --allow-host NAME to add one.",
            )
        try:
            response: web.StreamResponse = await handler(request)
        except web.HTTPException as error:
            if error.status < 400:
                raise
            return _said(
                error.status, error.reason, "There are /view/" + ", /view/".join(self._views) + ". Only reading (GET) is possible."
            )
        return response

    async def _home(self, request: web.Request) -> web.StreamResponse:
        raise web.HTTPFound("/view/executive")

    async def _static(self, request: web.Request) -> web.StreamResponse:
        name = request.match_info["name"]
        if name == "plotly.js":
            headers = _HEADERS | {"Cache-Control": "max-age=604800", "Content-Type": "text/javascript; charset=utf-8"}
            return web.FileResponse(self._plotly, headers=headers)
        if name not in _STATIC:
            raise web.HTTPNotFound
        text = (importlib.resources.files("dashboards") / "static" / name).read_text(encoding="utf-8")
        return web.Response(text=text, content_type=_STATIC[name], headers=_HEADERS)

    async def _view(self, request: web.Request) -> web.StreamResponse:
        view = self._views.get(request.match_info["name"])
        if view is None:
            raise web.HTTPNotFound
        if self._waiting >= _WAITING:
            return _said(503, "Busy", f"{_WAITING} pages are being made already. Try again in a moment.")
        async with self._turn():
            began = time.monotonic()
            try:
                choice = choose(view, list(request.query.items()), await extent_of(self._clickhouse), self._clock())
                options = await self._options(view, choice)
            except ChoiceError as error:
                return _said(400, "This cannot be shown", str(error))
            except NoDataError as error:
                return _said(404, "Nothing to show yet", str(error))
            except ClickHouseError as error:
                return _said(502, "The store does not answer", str(error))
            response = web.StreamResponse(headers=_HEADERS)
            response.content_type, response.charset = "text/html", "utf-8"
            await response.prepare(request)
            with contextlib.suppress(ConnectionResetError):  # the viewer has gone: no more queries for them
                text = page.top(view, list(self._views.values()), choice, options, self._clickhouse.target, self._scripts)
                await response.write(text.encode())
                for number, panel in enumerate(view.panels):
                    await response.write(page.grid(panel, await self._inside(panel, view, choice, number)).encode())
                await response.write(page.bottom(time.monotonic() - began).encode())
                await response.write_eof()
            return response

    @contextlib.asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        self._waiting += 1
        try:
            async with self._turns:
                yield
        finally:
            self._waiting -= 1

    async def _options(self, view: View, choice: Choice) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for variable in view.variables:
            if variable.sql:
                rows = await self._ask(variable.sql, view, choice)
                found[variable.name] = [str(next(iter(row.values()))) for row in rows if next(iter(row.values())) != ""]
        return found

    async def _inside(self, panel: Panel, view: View, choice: Choice, number: int) -> str:
        if panel.kind == "row":
            return ""
        try:
            rows = await self._ask(panel.sql, view, choice)
        except ClickHouseError as error:
            why = {159: f"It took longer than {MAX_SECONDS} s", 396: f"It has more than {MAX_ROWS:,} rows", 241: "It needs too much memory"}
            said = why.get(error.code or 0)
            return page.note(f"{said}: choose one model or a shorter range." if said else str(error), error=True)
        drawn = panel.kind in ("timeseries", "bars", "history") and rows
        made = figure(panel, rows, choice.start, choice.end, choice.step) if drawn else None
        return page.panel_html(panel, rows, choice, number, made)

    async def _ask(self, sql: str, view: View, choice: Choice) -> list[dict[str, Any]]:
        step_ms = round(choice.step.total_seconds() * 1000)
        try:
            text, values = bind(sql, start=choice.start, end=choice.end, interval_ms=step_ms, variables=choice.values(view))
        except MacroError as error:
            raise ClickHouseError(str(error)) from None
        return await self._clickhouse.fetch(text + _LIMITS, values)


async def show(
    clickhouse: ClickHouse, objectives: Objectives, host: str, port: int, told: Callable[[int], None], *, hosts: Iterable[str] = ()
) -> None:
    """Serve until SIGINT or SIGTERM.

    Args:
        clickhouse: What is read.
        objectives: Where lines and colours stand.
        host: Address to listen on.
        port: 0 picks a free one.
        told: Called with the port once it is listened on.
        hosts: Names under which a browser may ask, beside this machine's own and `host`.

    Raises:
        NoDataError: There is nothing to show.
        ClickHouseError: The store cannot be asked.
        OSError: The address cannot be listened on.
    """
    await extent_of(clickhouse)
    app = Ui(clickhouse, objectives, hosts=(host, *hosts)).app()
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port)
        await site.start()
        told(int(runner.addresses[0][1]))
        over = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, over.set)
        await over.wait()
    finally:
        await runner.cleanup()


def _said(status: int, title: str, text: str) -> web.Response:
    return web.Response(status=status, text=page.plain_page(title, text), content_type="text/html", headers=_HEADERS)
