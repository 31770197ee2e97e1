"""A small Grafana: the part of its HTTP API that a push uses, with its status codes and its habit of adding fields."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TOKEN = "glsa_0123456789"  # of the fake


class Grafana:
    """State of the fake, and what was asked of it."""

    def __init__(self) -> None:
        self.folders: dict[str, dict[str, Any]] = {}
        self.datasources: dict[str, dict[str, Any]] = {}
        self.dashboards: dict[str, dict[str, Any]] = {}
        self.writes: list[str] = []
        self.health: tuple[int, dict[str, str]] = (200, {"status": "OK", "message": "Data source is working"})
        self.refuse: dict[str, tuple[int, str]] = {}
        self.url = ""

    def answer(self, method: str, path: str, body: dict[str, Any]) -> tuple[int, Any]:
        """Status and JSON of one request."""
        for begin, (status, text) in self.refuse.items():
            if f"{method} {path}".startswith(begin):
                return status, {"message": text}
        if method != "GET":
            self.writes.append(f"{method} {path}")
        kind, _, key = path.removeprefix("/api/").partition("/")
        if kind == "folders":
            return self._folder(method, key, body)
        if kind == "datasources":
            return self._datasource(method, key, body)
        if kind == "dashboards":
            return self._dashboard(method, key, body)
        return 404, {"message": "Not found"}

    def _folder(self, method: str, uid: str, body: dict[str, Any]) -> tuple[int, Any]:
        if method == "POST":
            if body["uid"] in self.folders:
                return 412, {"message": "the folder has been changed by someone else"}
            self.folders[body["uid"]] = body
            return 200, body
        return (200, self.folders[uid]) if uid in self.folders else (404, {"message": "folder not found"})

    def _datasource(self, method: str, key: str, body: dict[str, Any]) -> tuple[int, Any]:
        uid = key.removeprefix("uid/")
        if uid.endswith("/health"):
            return self.health
        if method == "GET":
            return (200, self.datasources[uid]) if uid in self.datasources else (404, {"message": "Data source not found"})
        uid = body["uid"]
        if method == "POST" and uid in self.datasources:
            return 409, {"message": "data source with the same name already exists"}
        secure = body.pop("secureJsonData", {})
        self.datasources[uid] = body | {"id": 1, "version": 1, "readOnly": False, "secureJsonFields": dict.fromkeys(secure, True)}
        self.datasources[uid]["secrets"] = secure
        return 200, {"datasource": body, "message": "Datasource added"}

    def _dashboard(self, method: str, key: str, body: dict[str, Any]) -> tuple[int, Any]:
        if method == "GET":
            uid = key.removeprefix("uid/")
            return (200, self.dashboards[uid]) if uid in self.dashboards else (404, {"message": "Dashboard not found"})
        board, folder = body["dashboard"], body["folderUid"]
        there = self.dashboards.get(board["uid"])
        if there is not None and not body.get("overwrite"):
            return 412, {"message": "The dashboard has been changed by someone else"}
        version = there["dashboard"]["version"] + 1 if there else 1
        self.dashboards[board["uid"]] = {"dashboard": board | {"id": 7, "version": version}, "meta": {"folderUid": folder}}
        return 200, {"uid": board["uid"], "status": "success", "version": version}


@contextmanager
def running(grafana: Grafana, prefix: str = "") -> Iterator[Grafana]:
    """Serve it on a free port of this machine, below ``prefix``."""

    class Handler(BaseHTTPRequestHandler):
        def _reply(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else {}
            if not self.path.startswith(f"{prefix}/api/"):
                self._send(404, b"<html>nothing here</html>", "text/html")
                return
            if self.headers.get("Authorization") != f"Bearer {TOKEN}":
                status, answer = 401, {"message": f"Invalid token {self.headers.get('Authorization')}"}
            else:
                status, answer = grafana.answer(self.command, self.path.removeprefix(prefix), body)
            self._send(status, json.dumps(answer).encode(), "application/json")

        def _send(self, status: int, body: bytes, kind: str) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_PUT = _reply  # noqa: N815  # http.server's names

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        grafana.url = f"http://127.0.0.1:{server.server_address[1]}{prefix}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield grafana
        finally:
            server.shutdown()
            thread.join()
