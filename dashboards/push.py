"""Put the data source, the folder and the dashboards into a running Grafana. Provisioning files do the same at its start.

Doing it twice changes nothing: what is there already as it should be is left alone.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal, cast
from urllib.parse import urlsplit

import msgspec
from grafana_client.api import GrafanaApi
from grafana_client.client import GrafanaClientError, GrafanaException

from dashboards.build import dashboards
from dashboards.grafana import DATASOURCE
from dashboards.scope import Objectives

__all__ = ["PushError", "Pushed", "Store", "push"]

Action = Literal["created", "updated", "unchanged"]

_HINTS = {
    401: "the token is wrong, expired or of another Grafana",
    403: "the token's service account may not: it needs the role Editor for dashboards and folders, Admin for the data source",
    404: "there is no Grafana API: check the URL, with its path when Grafana is served under one",
    412: "somebody changed it at the same moment, or another dashboard has this title in the folder: push again, or rename that one",
    422: "Grafana does not take this data source: is the plugin grafana-clickhouse-datasource installed?",
}


class PushError(Exception):
    """Grafana could not be reached or refused. Says what was being pushed, and what to do; holds no token."""


class Store(msgspec.Struct, frozen=True, kw_only=True):
    """The ClickHouse that Grafana is to read from, as Grafana sees it.

    Attributes:
        host: Name or address, from Grafana's side.
        port: HTTP port.
        username: A user that may only read, with the right to set ``max_execution_time``.
        password: Its password, "" for none.
        database: Where the tables are.
        secure: HTTPS.
    """

    host: str
    port: int = 8123
    username: str = "grafana"
    password: str = ""
    database: str = "inferwatch"
    secure: bool = False

    def __repr__(self) -> str:
        return f"Store({self.username}@{self.host}:{self.port}/{self.database})"

    @property
    def datasource(self) -> dict[str, Any]:
        """Grafana's data source, without the password."""
        return {
            "name": "inferwatch ClickHouse",
            "uid": DATASOURCE["uid"],
            "type": DATASOURCE["type"],
            "access": "proxy",
            "jsonData": {
                "host": self.host,
                "port": self.port,
                "protocol": "http",
                "secure": self.secure,
                "username": self.username,
                "defaultDatabase": self.database,
                "dialTimeout": "5",
                "queryTimeout": "30",
            },
        }


class Pushed(msgspec.Struct, frozen=True, kw_only=True):
    """What a push did.

    Attributes:
        folder: Whether the folder was created or there.
        datasource: What was done to the data source; ``None`` when no `Store` was given.
        dashboards: What was done to each dashboard, by its name.
        health: "ok", or in words why Grafana cannot query ClickHouse now. The push is done all the same.
    """

    folder: Action
    datasource: Action | None
    dashboards: dict[str, Action]
    health: str


def push(
    url: str,
    token: str,
    *,
    folder: str = "inferwatch",
    store: Store | None = None,
    objectives: Objectives | None = None,
    timeout: float = 10.0,
) -> Pushed:
    """Make Grafana's data source, folder and dashboards what they should be.

    Args:
        url: Of Grafana, with its path when it is served under one.
        token: Of a service account: Editor, and Admin when ``store`` is given.
        folder: Title of the dashboards' folder.
        store: ClickHouse as Grafana reaches it; ``None`` leaves the data source alone, which then must exist.
        objectives: Of the installation, where the dashboards draw their lines; default: those of the default settings.
        timeout: Seconds to wait for each answer.

    Raises:
        ValueError: URL, token or folder make no sense.
        PushError: Grafana could not be reached, or refused.
    """
    api = _api(url, token, timeout)
    folder_uid = re.sub(r"[^a-z0-9]+", "-", folder.lower()).strip("-")[:40]
    if not folder_uid:
        raise ValueError(f"folder {folder!r}: expected a title with a letter or a digit")
    datasource = None
    with _saying(url, token, "the data source"):
        if store is not None:
            datasource = _put_datasource(api, store)
        elif _there(lambda: api.datasource.get_datasource_by_uid(DATASOURCE["uid"])) is None:
            raise PushError(f"Grafana at {url} has no data source {DATASOURCE['uid']}: give a store, or provision it")
    with _saying(url, token, f"the folder {folder}"):
        made = _put_folder(api, folder, folder_uid)
    done: dict[str, Action] = {}
    for name, wanted in dashboards(objectives).items():
        with _saying(url, token, f"the dashboard {name}"):
            done[name] = _put_dashboard(api, wanted, folder_uid)
    return Pushed(folder=made, datasource=datasource, dashboards=done, health=_health(api))


def _api(url: str, token: str, timeout: float) -> Any:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("Grafana URL: expected http(s)://host:port, with its path when Grafana is served under one")
    if parts.username or parts.password:
        raise ValueError("Grafana URL: no user or password in it, give a service account's token")
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise ValueError("Grafana token: expected the token of a service account, printable and without spaces")
    prefix = parts.path.strip("/")
    return cast("Any", GrafanaApi)(
        token, protocol=parts.scheme, host=parts.hostname, port=parts.port, url_path_prefix=f"{prefix}/" if prefix else "", timeout=timeout
    )


@contextmanager
def _saying(url: str, token: str, what: str) -> Iterator[None]:
    """Turn the client's errors into ones that say what was being pushed and what to do."""
    try:
        yield
    except GrafanaException as error:
        hint = _HINTS.get(error.status_code)
        text = f"{error.message}; {hint}" if hint else str(error.message)
    except (OSError, ValueError) as error:  # no connection, or an answer that is no JSON
        text = f"{type(error).__name__}: {error}"
    else:
        return
    raise PushError(f"Grafana at {url}, {what}: {text[:1000]}".replace(token, "***")) from None


def _there(get: Callable[[], Any]) -> Any:
    """What ``get`` finds, or ``None`` where Grafana has none."""
    try:
        return get()
    except GrafanaClientError as error:
        if error.status_code == 404 and isinstance(error.response, dict):  # a JSON 404: Grafana's own, not a wrong URL's
            return None
        raise


def _put_datasource(api: Any, store: Store) -> Action:
    wanted = store.datasource
    there = _there(lambda: api.datasource.get_datasource_by_uid(wanted["uid"]))
    secrets = {"secureJsonData": {"password": store.password}} if store.password else {}
    if there is None:
        api.datasource.create_datasource(wanted | secrets)
        return "created"
    # Grafana does not tell the password, so with one given there is no knowing whether it is the same: set it.
    same = all(there.get(key) == value for key, value in wanted.items())
    if same and not store.password:
        return "unchanged"
    api.datasource.update_datasource_by_uid(wanted["uid"], wanted | secrets)
    return "unchanged" if same else "updated"


def _put_folder(api: Any, title: str, uid: str) -> Action:
    if _there(lambda: api.folder.get_folder(uid)) is not None:
        return "unchanged"
    try:
        api.folder.create_folder(title, uid)
    except GrafanaClientError as error:
        if error.status_code not in (409, 412):  # somebody else was quicker
            raise
        return "unchanged"
    return "created"


def _put_dashboard(api: Any, wanted: dict[str, Any], folder_uid: str) -> Action:
    there = _there(lambda: api.dashboard.get_dashboard(wanted["uid"]))
    if there is not None:
        stored = {key: value for key, value in there["dashboard"].items() if key not in ("id", "version")}
        if stored == wanted and there.get("meta", {}).get("folderUid") == folder_uid:
            return "unchanged"
    message = "inferwatch dashboards push"
    api.dashboard.update_dashboard({"dashboard": wanted | {"id": None}, "folderUid": folder_uid, "overwrite": True, "message": message})
    return "created" if there is None else "updated"


def _health(api: Any) -> str:
    try:
        answer = api.datasource.health(DATASOURCE["uid"])
    except (GrafanaException, OSError, ValueError) as error:
        return str(error)[:500] or type(error).__name__
    return "ok" if str(answer.get("status", "")).upper() == "OK" else str(answer.get("message", answer))[:500]
