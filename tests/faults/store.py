"""ClickHouse's engine behind HTTP, in a process of its own, so that several workers share it and it can be killed and started again.

``python -m tests.faults.store FOLDER PORT`` serves chDB: as much of ClickHouse's HTTP interface as `streams.clickhouse` uses. One statement
at a time, no sessions, no users, loopback only.
"""

from __future__ import annotations

import asyncio
import gzip
import os
import re
import sys
import tempfile
import urllib.request
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cramjam
from aiohttp import web

from streams.embedded.process import Child, free_ports

REPOSITORY = Path(__file__).parents[2]

_NOT_SETTINGS = frozenset(
    {
        "query", "database", "default_format", "user", "password", "session_id", "session_timeout", "session_check", "compress",
        "decompress", "query_id", "role", "quota_key", "enable_http_compression", "wait_end_of_query", "buffer_size",
        "client_protocol_version",
        "send_progress_in_http_headers", "http_headers_progress_interval_ms", "cancel_http_readonly_queries_on_client_close",
    }
)  # fmt: skip
_FORMAT = re.compile(rb"\bFORMAT\s+(\w+)\s*;?\s*$", re.IGNORECASE)
_INSERT = re.compile(rb"^\s*(INSERT\s+INTO\s+.*?)\s+FORMAT\s+(\w+)[ \t]*(?:\r?\n|\s|$)", re.IGNORECASE | re.DOTALL)
_SILENT = re.compile(rb"^\s*(CREATE|DROP|ALTER|INSERT|SET|OPTIMIZE|TRUNCATE|RENAME|SYSTEM|DELETE)\b", re.IGNORECASE)
_CODE = re.compile(r"Code: (\d+)")


def python(**environment: str) -> list[str]:
    """The command for this Python with this checkout, wherever it is started, and with these variables."""
    path = os.pathsep.join([str(REPOSITORY), str(REPOSITORY / "sdk" / "src")])
    return ["env", f"PYTHONPATH={path}", *(f"{name}={value}" for name, value in environment.items()), sys.executable]


class Store:
    """`with Store(folder) as store:` then `store.dsn`; `kill`, `start` again: same data, same port."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        (self.port,) = free_ports(1)
        self._child: Child | None = None

    def dsn(self, database: str) -> str:
        """For `streams.clickhouse.ClickHouse` and the workers."""
        return f"http://default@127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        """Starts it and waits until it answers."""
        self.kill()
        self._folder.mkdir(parents=True, exist_ok=True)
        command = [*python(), "-m", "tests.faults.store", str(self._folder / "chdb"), str(self.port)]
        self._child = Child("the store", command, self._folder / "store.log")
        self._child.wait_until(self._answers, 60)

    def kill(self) -> None:
        """Ends it as a power failure would."""
        if self._child is not None:
            self._child.stop(kill=True)
        self._child = None

    def __enter__(self) -> Store:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/ping", timeout=2) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False


class _Engine:
    """The one connection of this process, used by one thread."""

    def __init__(self, path: str) -> None:
        import chdb

        connect: Any = chdb.connect  # typed in some installations only
        self._connection = connect(path)
        self._set: dict[str, str] = {}
        names = self._connection.query("SELECT name FROM system.settings", "TabSeparated").bytes().decode()
        self._known = set(names.split())

    def run(self, sql: bytes, data: bytes, fmt: str, database: str, settings: dict[str, str], parameters: dict[str, str]) -> bytes:
        self._connection.query(f"USE `{database}`")
        settings = {name: value for name, value in settings.items() if name in self._known}
        insert = _INSERT.match(sql)
        if insert and (data or len(sql) > insert.end()):
            with tempfile.NamedTemporaryFile() as file:
                file.write(sql[insert.end() :] + data)
                file.flush()
                clause = (" SETTINGS " + ", ".join(f"{k}={_quoted(v)}" for k, v in settings.items())) if settings else ""
                into = f"{insert[1].decode()} FROM INFILE {_quoted(file.name)}{clause} FORMAT {insert[2].decode()}"
                self._connection.query(into)
            return b""
        for name in [name for name in self._set if name not in settings]:
            self._connection.query(f"SET {name}=DEFAULT")
            del self._set[name]
        for name, value in settings.items():
            if self._set.get(name) != value:
                self._connection.query(f"SET {name}={_quoted(value)}")
                self._set[name] = value
        named = _FORMAT.search(sql)
        wanted = named[1].decode() if named else fmt
        text = (sql + b" " + data if data else sql).decode()
        answer = self._connection.query(text, wanted, params=parameters) if parameters else self._connection.query(text, wanted)
        return b"" if _SILENT.match(sql) else bytes(answer.bytes())


class _Handler:
    def __init__(self, path: str) -> None:
        self._thread = ThreadPoolExecutor(1)
        self._engine = self._thread.submit(_Engine, path).result()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        query = request.query.get("query", "").encode()
        body = _decoded(await request.read(), request.headers.get("Content-Encoding", ""))
        sql, data = (query, body) if query else (body, b"")
        if request.path == "/ping" or not sql:
            return web.Response(text="Ok.\n")
        parameters = {name[6:]: value for name, value in request.query.items() if name.startswith("param_")}
        settings = {k: v for k, v in request.query.items() if not k.startswith("param_") and k not in _NOT_SETTINGS}
        fmt = request.query.get("default_format") or request.headers.get("X-ClickHouse-Format") or "TabSeparated"
        database = request.query.get("database") or request.headers.get("X-ClickHouse-Database") or "default"
        head = {"X-ClickHouse-Format": fmt, "X-ClickHouse-Timezone": "UTC"}
        loop = asyncio.get_running_loop()
        try:
            out = await loop.run_in_executor(self._thread, self._engine.run, sql, data, fmt, database, settings, parameters)
        except Exception as error:  # noqa: BLE001  # the client gets it, as from a server
            code = found[1] if (found := _CODE.search(str(error))) else "1002"
            return web.Response(status=500, text=str(error), headers=head | {"X-ClickHouse-Exception-Code": code})
        return web.Response(body=out, headers=head)


def _decoded(body: bytes, coding: str) -> bytes:
    if not coding or not body:
        return body
    if coding == "gzip":
        return gzip.decompress(body)
    if coding == "deflate":
        return zlib.decompress(body)
    coder: Any = {"lz4": cramjam.lz4, "zstd": cramjam.zstd, "br": cramjam.brotli}[coding]
    return bytes(coder.decompress(body))


def _quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def main(path: str, port: str) -> None:
    """Serves until it is killed."""
    app = web.Application(client_max_size=1 << 30)
    app.router.add_route("*", "/{tail:.*}", _Handler(path).handle)
    web.run_app(app, host="127.0.0.1", port=int(port), print=None)


if __name__ == "__main__":
    main(*sys.argv[1:])
