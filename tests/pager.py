"""A local stand-in for PagerDuty, Slack and a webhook: a real HTTP server that remembers every notification."""

import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self


@dataclass(frozen=True)
class Notification:
    """One request that was answered with success.

    Attributes:
        receiver: `webhook`, `pagerduty` or `slack`: the first part of the path.
        body: the JSON it carried.
        at: time.monotonic() of its arrival.
    """

    receiver: str
    body: dict[str, Any]
    at: float

    @property
    def is_resolved(self) -> bool:
        """Whether it says that the trouble is over."""
        if self.receiver == "pagerduty":
            return bool(self.body["event_action"] == "resolve")
        if self.receiver == "slack":
            return "resolved" in json.dumps(self.body)
        return bool(self.body["status"] == "resolved")

    def mentions(self, text: str) -> bool:
        """Whether the text is anywhere in the body."""
        return text in json.dumps(self.body, ensure_ascii=False)


class Pager:
    """`with Pager() as pager:` then send to its URLs, and ask `wait_for` or `about`."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._received: list[Notification] = []
        self._failures = 0
        handler = type("Handler", (_Handler,), {"pager": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, name="pager", daemon=True)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self.webhook_url = f"{self.url}/webhook"
        self.pagerduty_url = f"{self.url}/pagerduty/v2/enqueue"
        self.slack_url = f"{self.url}/slack/services/T/B/x"

    @property
    def notifications(self) -> list[Notification]:
        """Everything that has arrived, oldest first."""
        with self._changed:
            return list(self._received)

    def about(self, text: str, receiver: str | None = None) -> list[Notification]:
        """What has arrived that mentions the text, at one receiver or at all."""
        return [n for n in self.notifications if n.mentions(text) and receiver in (None, n.receiver)]

    def wait_for(self, wanted: Callable[[Notification], bool], *, count: int = 1, timeout: float = 15.0) -> list[Notification]:
        """Return the notifications that are wanted as soon as there are `count`; an AssertionError lists what came instead."""

        def matching() -> list[Notification]:
            return [n for n in self._received if wanted(n)]

        with self._changed:
            if self._changed.wait_for(lambda: len(matching()) >= count, timeout):
                return matching()
            came = "\n".join(f"  {n.receiver}: {json.dumps(n.body)[:500]}" for n in self._received)
            raise AssertionError(f"{len(matching())} of {count} wanted notifications within {timeout:g} s; all that came:\n{came}")

    def fail_next(self, count: int) -> None:
        """Answer the next requests with 503 and forget them, as a provider that is down."""
        with self._changed:
            self._failures = count

    def receive(self, path: str, body: dict[str, Any]) -> int:
        """Take one request; returns the HTTP status to answer with."""
        receiver = path.strip("/").split("/", 1)[0]
        with self._changed:
            if self._failures:
                self._failures -= 1
                return 503
            self._received.append(Notification(receiver, body, time.monotonic()))
            self._changed.notify_all()
        return 202 if receiver == "pagerduty" else 200

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Handler(BaseHTTPRequestHandler):
    pager: Pager

    def do_POST(self) -> None:
        content = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        try:
            body = json.loads(content)
        except ValueError:
            status = 400
        else:
            status = self.pager.receive(self.path, body)
        # The words each provider answers with; Alertmanager reads PagerDuty's and Slack's.
        answer = b'{"status": "success"}' if "/v2/enqueue" in self.path else b"ok"
        self.send_response(status)
        self.send_header("Content-Type", "application/json" if "/v2/enqueue" in self.path else "text/plain")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it so
        pass
