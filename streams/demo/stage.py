"""What the demo runs on: a folder, Kafka, Alertmanager with a pager behind it, and one worker, each started and stopped in order.

Everything listens on free ports of 127.0.0.1 and lives in a folder of this run, so that two demos at once do not meet. All children die
with this process, however it dies.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from schemas import reference
from schemas.reference import Reference
from streams.demo import DemoError
from streams.embedded import MissingPartError
from streams.embedded.alertmanager import EmbeddedAlertmanager, find_alertmanager, render_config
from streams.embedded.kafka import EmbeddedKafka
from streams.embedded.process import Child, StartError, free_ports
from streams.kafka import ensure_topics, publish_reference
from streams.settings import PREFIX, Settings, load

PARTITIONS = 4
SETTLE_S = 0.5
_PROGRAM = ("-m", "streams.cli", "worker")
_SLOW_S, _READY_S = 8.0, 600.0
"""On a machine's first run the worker compiles its detectors: two to three minutes, more where others want the processors too."""
_direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@dataclass(frozen=True)
class Paged:
    """One notification that reached the pager."""

    at: float
    """time.monotonic() of its arrival."""
    status: str
    alerts: tuple[dict[str, Any], ...]


class PagerSink:
    """Stands for PagerDuty: a web server that keeps what Alertmanager tells it.

    Attributes:
        url: where it listens.
        received: notifications, oldest first.
    """

    def __init__(self) -> None:
        self.received: list[Paged] = []
        sink = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                try:
                    body = json.loads(self.rfile.read(int(self.headers.get("Content-Length", "0"))))
                    sink.received.append(Paged(time.monotonic(), str(body["status"]), tuple(body["alerts"])))
                    self.send_response(200)
                except (ValueError, KeyError, TypeError):
                    self.send_response(400)
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it so
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, name="pager", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stops listening."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class Stage:
    """``with Stage(folder, window_s) as stage``: everything is started; then `publish` and `wait_for_worker`.

    Args:
        folder: under which this run gets a folder of its own, which stays; None: a temporary one, which goes.
        window_s: length of the worker's windows.
        say: told what happens.
        environment: more of the worker's settings, as `SECTION_NAME`.

    Attributes:
        home: this run's folder.
        settings: of the worker.
        pager: what the pager got; None without Alertmanager.

    Raises:
        DemoError: from `start` and the others, when a part is missing or does not start.
    """

    def __init__(
        self, folder: Path | None, window_s: float, say: Callable[[str], None], environment: Mapping[str, str] | None = None
    ) -> None:
        self._folder, self._window_s, self._say, self._more = folder, window_s, say, dict(environment or {})
        self._ends = contextlib.ExitStack()
        self._worker: Child | None = None
        self._environment: dict[str, str] = {}
        self.home = Path()
        self.pager: PagerSink | None = None
        self.alertmanager_url = self.metrics_url = ""
        self.settings = Settings()

    @property
    def kept(self) -> bool:
        """Whether the folder outlives the demo."""
        return self._folder is not None

    @property
    def store(self) -> str:
        """The DSN of the worker's ClickHouse engine; one process at a time may open it."""
        return f"chdb://{self.home / 'clickhouse'}?database=inferwatch"

    def start(self) -> Self:
        """Kafka, Alertmanager where there is one, a worker; returns before the worker is ready."""
        try:
            self._start()
        except (MissingPartError, StartError) as error:
            self.stop()
            raise DemoError(str(error)) from error
        except BaseException:
            self.stop()
            raise
        return self

    def _start(self) -> None:
        if self._folder is None:
            self.home = Path(tempfile.mkdtemp(prefix="inferwatch-demo-"))
            self._ends.callback(shutil.rmtree, self.home, ignore_errors=True)
        else:
            self._folder.mkdir(parents=True, exist_ok=True)
            self.home = Path(tempfile.mkdtemp(prefix=time.strftime("%Y%m%d-%H%M%S-"), dir=self._folder.resolve()))
        kafka = EmbeddedKafka(folder=self.home / "kafka" if self.kept else None, progress=self._progress)
        self._ends.callback(kafka.stop)
        self._say("starting Apache Kafka (embedded, one node)")
        kafka.start()
        self._say(f"Kafka serves at {kafka.bootstrap_servers}")
        urls = self._start_alertmanager()
        (port,) = free_ports(1)
        self.metrics_url = f"http://127.0.0.1:{port}"
        secret = self.home / "membership.key"
        secret.touch(mode=0o600)
        secret.write_text(secrets.token_hex(32))
        self._environment = {
            "KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
            "KAFKA_PARTITIONS": str(PARTITIONS),
            "CLICKHOUSE_DSN": self.store,
            "ALERTMANAGER_URLS": ",".join(urls),
            "WINDOW_LENGTH_S": f"{self._window_s:g}",
            "WINDOW_SETTLE_S": f"{SETTLE_S:g}",
            "MEMBERSHIP_KEY_FILE": str(secret),
            "STATE_FOLDER": str(self.home / "state"),
            "STATE_SNAPSHOT_S": "0.5",
            "METRICS_HOST": "127.0.0.1",
            "METRICS_PORT": str(port),
            "OBJECTIVES_AVAILABILITY": "99",  # four of a thousand ordinary requests fail, which 99.9 % would not allow
            **self._more,
        }
        self.settings = load(None, {PREFIX + name: value for name, value in self._environment.items()})
        ensure_topics(self.settings.kafka)
        self._say("starting a worker, with ClickHouse's engine inside (chDB)")
        self._worker = self._child()
        self._ends.callback(self.stop_worker)

    def publish(self, published: Reference) -> None:
        """Puts the reference on its topic."""
        publish_reference(self.settings.kafka, published.model, published.version, reference.encode(published))

    def wait_for_worker(self) -> None:
        """Waits until the worker has its partitions and the reference that was published."""
        assert self._worker is not None  # noqa: S101 - for the type checker; `start` has made it
        told, end = False, time.monotonic() + _SLOW_S

        def ready() -> bool:
            nonlocal told
            if not told and time.monotonic() > end:
                told = True
                self._say("the worker compiles its detectors, on this machine's first run: two to three minutes")
            return _answers(f"{self.metrics_url}/healthz") and self._has_reference()

        try:
            self._worker.wait_until(ready, _READY_S)
        except StartError as error:
            raise DemoError(str(error)) from error

    def _has_reference(self) -> bool:
        return 'inferwatch_references_total{outcome="taken"}' in fetch(f"{self.metrics_url}/metrics")

    def check(self) -> None:
        """Raises `DemoError` when the worker has ended by itself."""
        if self._worker is not None and self._worker.returncode is not None:
            raise DemoError(f"the worker ended with code {self._worker.returncode}:\n{self._worker.said()[-2000:]}")

    def stop_worker(self) -> None:
        """Lets the worker save and deliver, and end; its ClickHouse folder is free then."""
        if self._worker is not None:
            self._worker.stop(timeout=30.0)
        self._worker = None

    def stop(self) -> None:
        """Stops all and removes what is temporary. Safe to call twice."""
        self._ends.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    def _start_alertmanager(self) -> list[str]:
        if find_alertmanager() is None:
            self._say("no Alertmanager here (`make tools` installs it): alerts are shown on this console only")
            return []
        self.pager = PagerSink()
        self._ends.callback(self.pager.close)
        config = render_config(webhook=self.pager.url, group_wait=0.1, group_interval=1.0)
        alertmanager = EmbeddedAlertmanager(config, folder=self.home / "alertmanager")
        self._ends.callback(alertmanager.stop)
        alertmanager.start()
        self.alertmanager_url = alertmanager.url
        self._say(f"Alertmanager serves at {alertmanager.url}, its pager is a web hook of this demo")
        return [alertmanager.url]

    def _child(self) -> Child:
        """`inferwatch worker` with this run's settings and none of the user's."""
        theirs = [part for name in os.environ if name.startswith(PREFIX) for part in ("-u", name)]
        ours = [f"{PREFIX}{name}={value}" for name, value in self._environment.items()]
        # One thread a library: the machine is shared with Kafka, the model and the clients.
        threads = ["OMP_NUM_THREADS=1", "NUMBA_NUM_THREADS=1"]
        argv = ["env", *theirs, *ours, *threads, sys.executable, *_PROGRAM]
        return Child("inferwatch worker", argv, self.home / "worker.log", temporary=None if self.kept else self.home)

    def _progress(self, done: int, total: int) -> None:
        if done == 0 or done == total:
            self._say(f"fetching Apache Kafka, once: {done / 1e6:.0f} of {total / 1e6:.0f} MB")


def _answers(url: str) -> bool:
    try:
        with _direct.open(url, timeout=2) as answer:
            return bool(answer.status == 200)
    except urllib.error.HTTPError as error:
        error.close()
        return False
    except OSError:
        return False


def fetch(url: str) -> str:
    """The text at an address of this machine; empty when it does not answer."""
    try:
        with _direct.open(url, timeout=2) as answer:
            return str(answer.read().decode())
    except OSError:
        return ""
