"""One Alertmanager node: what groups, inhibits, silences and delivers the pages.

`python -m streams.embedded.alertmanager` is quiet when there is a binary, else it ends with 1 and says how to get one.
"""

import json
import os
import shutil
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from streams.embedded import MissingPartError
from streams.embedded.cache import cache_root
from streams.embedded.process import Child, StartError, free_ports, is_free

HOW_TO_GET_ALERTMANAGER = (
    "`make tools` installs it (with Go, from Debian, or from the URL in INFERWATCH_ALERTMANAGER_URL), "
    "or set INFERWATCH_ALERTMANAGER to the path of a binary"
)


def find_alertmanager() -> Path | None:
    """Find the Alertmanager binary.

    Looks at `INFERWATCH_ALERTMANAGER`, then for `alertmanager` and `prometheus-alertmanager` (Debian's name) on PATH, then in
    `$GOBIN`, `$GOPATH/bin`, `~/go/bin` and the cache's `bin` folder.

    Returns:
        Its path, None when there is none.

    Raises:
        MissingPartError: if `INFERWATCH_ALERTMANAGER` names something that is not an executable file.
    """
    if given := os.environ.get("INFERWATCH_ALERTMANAGER"):
        path = Path(given).expanduser()
        if not (path.is_file() and os.access(path, os.X_OK)):
            raise MissingPartError(f"INFERWATCH_ALERTMANAGER={given}: not an executable file. Correct it, or unset it to search.")
        return path.resolve()
    go_paths = [Path(folder) / "bin" for folder in os.environ.get("GOPATH", "").split(os.pathsep) if folder]
    folders = [os.environ.get("GOBIN", ""), *go_paths, Path.home() / "go" / "bin", cache_root() / "bin"]
    places = os.pathsep.join([os.environ.get("PATH", os.defpath), *(str(folder) for folder in folders if str(folder))])
    found = shutil.which("alertmanager", path=places) or shutil.which("prometheus-alertmanager", path=places)
    return Path(found) if found else None


GROUP_BY = ("model", "version", "service", "cluster", "environment")
"""What makes one incident of many alerts, as in `deploy/alertmanager/alertmanager.yml`: a model version in one deployment."""


def render_config(
    *,
    webhook: str | None = None,
    pagerduty: str | None = None,
    pagerduty_key: str = "inferwatch",
    slack: str | None = None,
    group_wait: float = 1.0,
    group_interval: float = 2.0,
    repeat_interval: float = 4 * 3600.0,
    resolve_timeout: float = 300.0,
    group_by: Sequence[str] = GROUP_BY,
) -> str:
    """Write an Alertmanager configuration for one machine.

    Alerts are grouped by model version and deployment: an incident is one notification. Severity `page` goes to PagerDuty, `page` and
    `ticket` to Slack, and everything to the webhook. Resolutions are sent too. A part that is None is left out.

    Args:
        webhook: URL that gets Alertmanager's own JSON.
        pagerduty: Events API v2 URL (`.../v2/enqueue`).
        pagerduty_key: its routing key.
        slack: incoming-webhook URL.
        group_wait: seconds to collect a new group before the first notification; production: 30.
        group_interval: seconds between notifications of a changed group; production: 60 or more.
        repeat_interval: seconds after which a notification that still holds is said again.
        resolve_timeout: seconds after which an alert sent without an end counts as over.
        group_by: labels that alerts of one notification share.

    Returns:
        The configuration as JSON, which is YAML as well. It holds the routing key: keep the file private.

    Raises:
        ValueError: if a time is not above zero, or a URL is not http(s).

    Examples:
        >>> config = json.loads(render_config(webhook="http://127.0.0.1:9000/", group_wait=0.5))
        >>> config["route"]["group_wait"], [receiver["name"] for receiver in config["receivers"]]
        ('500ms', ['nobody', 'webhook'])
    """
    for name, url in (("webhook", webhook), ("pagerduty", pagerduty), ("slack", slack)):
        if url is not None and not url.startswith(("http://", "https://")):
            raise ValueError(f"{name} must be an http(s) URL, got {url!r}")
    summary = r'{{ range .Alerts }}{{ .Annotations.summary }}{{ "\n" }}{{ end }}'  # raw: Alertmanager reads the backslash
    first = "{{ with index .Alerts 0 }}{{ .Labels.alertname }} {{ .Labels.model }} {{ .Labels.client }}{{ end }}"
    title = first + "{{ if gt (len .Alerts) 1 }} (and {{ len .Alerts }} in all){{ end }}"
    receivers: list[dict[str, Any]] = [{"name": "nobody"}]
    routes: list[dict[str, Any]] = []

    def add(name: str, matchers: list[str], settings: dict[str, Any]) -> None:
        receivers.append({"name": name, f"{name}_configs": [settings | {"send_resolved": True}]})
        routes.append({"receiver": name, "matchers": matchers, "continue": True})

    if pagerduty:
        settings = {"url": pagerduty, "routing_key": pagerduty_key, "severity": "critical", "description": title}
        add("pagerduty", ['severity="page"'], settings | {"details": {"summary": summary}})
    if slack:
        settings = {"api_url": slack, "channel": "#ml-monitoring", "title": "[{{ .Status }}] " + title, "text": summary}
        add("slack", ['severity=~"page|ticket"'], settings)
    if webhook:
        add("webhook", [], {"url": webhook})
    route = {
        "receiver": "nobody",
        "group_by": list(group_by),
        "group_wait": _duration("group_wait", group_wait),
        "group_interval": _duration("group_interval", group_interval),
        "repeat_interval": _duration("repeat_interval", repeat_interval),
        "routes": routes,
    }
    settings = {"resolve_timeout": _duration("resolve_timeout", resolve_timeout)}
    return json.dumps({"global": settings, "route": route, "receivers": receivers}, indent=2)


def _duration(name: str, seconds: float) -> str:
    if not 0.001 <= seconds < 1e9:
        raise ValueError(f"{name} must be 0.001 to 1e9 seconds, got {seconds}")
    return f"{round(seconds * 1000)}ms"


class EmbeddedAlertmanager:
    """An Alertmanager of this process: `with EmbeddedAlertmanager(render_config(webhook=url)) as alertmanager: ...`.

    A child process on 127.0.0.1 that dies with this Python, however it dies. Alerts live in its memory only; silences and the
    log of notifications in the folder.

    Args:
        config: the configuration, or the path of one. See `render_config`.
        folder: where silences and the log of notifications are kept. None: a temporary folder, removed at the end.

    Raises:
        MissingPartError: from `start`, when there is no binary; says how to get one.
        StartError: from `start`, when it does not come up, as with a wrong configuration; ends with its log.

    Cost: start 0.1-0.3 s, 40 MB of memory.

    Attributes:
        url: its address, `http://127.0.0.1:PORT`; empty before `start`.
    """

    def __init__(self, config: str | Path, *, folder: Path | None = None) -> None:
        self._config, self._folder = config, folder
        self._home: Path | None = None
        self._child: Child | None = None
        self._port = 0
        self.url = ""

    def start(self) -> Self:
        """Start it and wait until it is ready; again after `stop`, on the same port when that is free. Does nothing when it runs."""
        if self._child is not None:
            return self
        binary = find_alertmanager()
        if binary is None:
            raise MissingPartError(f"No Alertmanager binary was found: {HOW_TO_GET_ALERTMANAGER}.")
        text = self._config.read_text() if isinstance(self._config, Path) else self._config
        try:
            try:
                self._start(binary, text)
            except StartError as error:
                if "address already in use" not in str(error):
                    raise
                self.stop()  # somebody took the port just now
                self._start(binary, text)
        except BaseException:
            self.stop()
            raise
        return self

    def _start(self, binary: Path, config: str) -> None:
        home = self._folder.expanduser().resolve() if self._folder else Path(tempfile.mkdtemp(prefix="inferwatch-alertmanager-"))
        self._home = home
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = home / "alertmanager.yml"
        file.touch(mode=0o600)  # it may hold a routing key
        file.write_text(config)
        # the port of the last start, so that whoever posts to it finds it again
        self._port = port = self._port if self._port and is_free(self._port) else free_ports(1)[0]
        command = [
            str(binary),
            f"--config.file={file}",
            f"--storage.path={home / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
            "--cluster.listen-address=",  # one node
        ]
        temporary = None if self._folder else home
        self._child = child = Child("Alertmanager", command, home / "alertmanager.log", temporary=temporary)
        self.url = f"http://127.0.0.1:{port}"
        child.wait_until(lambda: _answers(f"{self.url}/-/ready"), timeout=20)

    def stop(self) -> None:
        """Stop it, and remove a temporary folder. Safe to call twice."""
        if self._child is not None:
            self._child.stop()
        self._child, self.url = None, ""
        if self._home is not None and self._folder is None:
            shutil.rmtree(self._home, ignore_errors=True)
        self._home = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()


def _answers(url: str) -> bool:
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=2) as answer:
            return bool(answer.status == 200)
    except urllib.error.HTTPError as error:
        error.close()
        return False
    except OSError:
        return False


if __name__ == "__main__":
    where = find_alertmanager()
    sys.exit(f"No Alertmanager binary was found: {HOW_TO_GET_ALERTMANAGER}." if where is None else None)
