"""The ClickHouse engine behind HTTPS and a password: as much of the server's HTTP interface as clickhouse-connect uses for our calls.

``python -m tests.streams.https_clickhouse FOLDER KEYSTORE`` in a process of its own, for the engine has one folder a process. The only user
is ``writer``; the password comes in ``TEST_PASSWORD``. Prints its port, then a line for each request that got through the TLS handshake.
"""

from __future__ import annotations

import base64
import contextlib
import gzip
import hmac
import os
import re
import ssl
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import lz4.frame  # type: ignore[import-untyped]  # clickhouse-connect's
from chdb.session import Session

from streams.clickhouse import ClickHouse
from tests.streams.tls import Certificates

_INSERT = re.compile(rb"\s*INSERT\s+INTO\s+(.*?)\s+FORMAT\s+(\w+)\s*", re.IGNORECASE | re.DOTALL)
_FORMAT = re.compile(rb"\sFORMAT\s+(\w+)\s*$", re.IGNORECASE)
_PROTOCOL = {"query", "database", "default_format", "session_id", "query_id", "compress", "decompress", "enable_http_compression"}
_PROTOCOL |= {"wait_end_of_query", "send_progress_in_http_headers", "http_headers_progress_interval_ms", "client_protocol_version"}
_UNPACK = {"gzip": gzip.decompress, "lz4": lz4.frame.decompress, "": bytes}


@dataclass
class Server:
    """A running one."""

    port: int
    password: str
    ca: Path
    process: subprocess.Popen[str]

    def connect(self, *, host: str = "127.0.0.1", scheme: str = "https", password: str | None = None, **options: Any) -> ClickHouse:
        """Its user's connection."""
        given = self.password if password is None else password
        return ClickHouse(f"{scheme}://writer@{host}:{self.port}/inferwatch", password=given, **options)

    def end(self) -> str:
        """Ends it; what it printed."""
        self.process.terminate()
        assert self.process.stdout is not None
        return self.process.stdout.read()


@contextlib.contextmanager
def serve(folder: Path, made: Certificates, password: str) -> Iterator[Server]:
    """Runs one."""
    command = [sys.executable, "-m", "tests.streams.https_clickhouse", str(folder), str(made.keystore)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | {"TEST_PASSWORD": password})
    assert process.stdout is not None
    try:
        yield Server(int(process.stdout.readline()), password, made.ca, process)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


class Engine:
    """One statement at a time."""

    def __init__(self, folder: Path) -> None:
        session: Any = Session
        self._session, self._lock = session(str(folder)), threading.Lock()

    def run(self, sql: bytes, data: bytes, options: dict[str, str]) -> bytes:
        """What the statement gives, in the format that it or the caller names."""
        wanted = {k: v for k, v in options.items() if k not in _PROTOCOL and not k.startswith("param_")}
        clause = ", ".join(f"{name} = '{value}'" for name, value in wanted.items())
        with self._lock:
            if database := options.get("database"):
                self._session.query(f"USE `{database}`")
            if insert := _INSERT.fullmatch(sql):
                with tempfile.NamedTemporaryFile() as file:
                    file.write(data)
                    file.flush()
                    into, form = insert[1].decode(), insert[2].decode()
                    settings = f" SETTINGS {clause}" if clause else ""
                    self._session.query(f"INSERT INTO {into} FROM INFILE '{file.name}'{settings} FORMAT {form}")
                return b""
            named = _FORMAT.search(sql)
            text = (sql + data).decode()
            values = {name.removeprefix("param_"): value for name, value in options.items() if name.startswith("param_")}
            answer = self._session.query(text, named[1].decode() if named else options.get("default_format", "TabSeparated"), params=values)
            return bytes(answer.bytes())


def handler(engine: Engine, authorization: str) -> type[BaseHTTPRequestHandler]:
    """Checks who asks, then asks the engine."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if "chunked" in self.headers.get("Transfer-Encoding", ""):
                while size := int(self.rfile.readline(), 16):
                    body += self.rfile.read(size)
                    self.rfile.readline()
                self.rfile.readline()
            print("request", flush=True)  # noqa: T201
            if not hmac.compare_digest(self.headers.get("Authorization", ""), authorization):
                return self._answer(403, b"Code: 516. DB::Exception: writer: Authentication failed", "516")
            options = dict(parse_qsl(urlsplit(self.path).query))
            body = _UNPACK[self.headers.get("Content-Encoding", "")](body)
            try:
                return self._answer(200, engine.run(options.get("query", "").encode(), body, options), "")
            except RuntimeError as error:
                code = re.search(r"Code: (\d+)", str(error))
                return self._answer(500, str(error).encode(), code[1] if code else "1002")

        do_GET = do_POST  # noqa: N815  # the name is http.server's

        def _answer(self, status: int, body: bytes, code: str) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("X-ClickHouse-Timezone", "UTC")
            if code:
                self.send_header("X-ClickHouse-Exception-Code", code)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None: ...

    return Handler


def main() -> None:
    """Serves until it is killed."""
    folder, keystore = sys.argv[1:]
    login = base64.b64encode(f"writer:{os.environ['TEST_PASSWORD']}".encode()).decode()
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler(Engine(Path(folder)), f"Basic {login}"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(keystore)
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    print(server.server_address[1], flush=True)  # noqa: T201
    server.serve_forever()


if __name__ == "__main__":
    main()
