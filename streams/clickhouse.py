"""The only door to ClickHouse: a server over HTTP, or the engine in this process, by the DSN alone.

`ClickHouse` inserts and queries, blocking, in one thread of its own. `streams.sink.Sink` puts a bounded, retrying queue in
front of it, which is what the worker uses.
"""

import asyncio
import hashlib
import re
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, ParamSpec, TypeVar
from urllib.parse import parse_qsl, quote, unquote, urlsplit

import clickhouse_connect
import msgspec
from clickhouse_connect.driver.exceptions import ClickHouseError as DriverError
from clickhouse_connect.driver.httputil import all_managers, check_env_proxy, get_pool_manager

from schemas.rows import Row, to_arrow
from streams.settings import ClickHouse as ClickHouseSettings

__all__ = ["ClickHouse", "ClickHouseError"]

# Codes for which the same bytes cannot succeed later: they do not parse, or do not fit the column.
_PERMANENT = frozenset({6, 27, 33, 36, 53, 70, 72, 117, 349})
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
_AWAY = re.compile(  # within what urllib3 says of a connection that it could not make
    r"Failed to establish a new connection: \[Errno -?\d+\] ([^'\")]+)|(Failed to resolve '[^']*')|(Connection to \S+ timed out)"
)
_DSN = "expected http(s)://user:password@host:port/database or chdb:///absolute/path?database=name"

P = ParamSpec("P")
T = TypeVar("T")


class ClickHouseError(Exception):
    """ClickHouse refused, or could not be reached. The message never holds a password.

    Attributes:
        code: ClickHouse's error code, ``None`` when there was no answer.
        permanent: Sending the same again cannot succeed.
    """

    def __init__(self, message: str, code: int | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.permanent = code in _PERMANENT


class ClickHouse:
    """A connection to one database, opened at the first call.

    Every call runs in one worker thread, one after the other, because neither the HTTP session nor the engine's
    connection is made for several: any thread may call, and a long query delays the inserts behind it.

    Args:
        dsn: ``http://user:password@host:8123/inferwatch``, ``https://...``, or ``chdb:///var/lib/inferwatch`` for the engine in
            this process (one directory a process, one process a directory). Without a database it is ``inferwatch``.
        password: The password, where the DSN holds none; "" for none.
        ca_file: PEM of the authority that signed an ``https`` server's certificate; "" for the system's.
        verify: Whether that certificate is checked. Without, the password goes to whoever answers.
        connect_timeout: Seconds to wait for a connection, 1 to 600.
        timeout: Seconds to wait for an answer, 1 to 3600.

    Raises:
        ValueError: The DSN or a time-out makes no sense. Does not connect, so a server that is down is no error here.

    >>> ClickHouse("http://worker:hunter2@clickhouse:8123/inferwatch")
    ClickHouse('http://worker:***@clickhouse:8123/inferwatch')
    """

    def __init__(
        self, dsn: str, *, password: str = "", ca_file: str = "", verify: bool = True, connect_timeout: int = 5, timeout: int = 30
    ) -> None:
        if not 1 <= connect_timeout <= 600:
            raise ValueError(f"connect_timeout = {connect_timeout}: expected 1 to 600 seconds")
        if not 1 <= timeout <= 3600:
            raise ValueError(f"timeout = {timeout}: expected 1 to 3600 seconds")
        target = _parse(dsn, password)
        self.database, self.target, self._secrets = target.database, target.printable, target.secrets
        self._options: dict[str, Any] = target.options | {"tz_mode": "aware"}
        self._pool: Any = None
        if target.options["interface"] != "chdb":
            self._options |= {"connect_timeout": connect_timeout, "send_receive_timeout": timeout, "autogenerate_session_id": False}
        if target.options["interface"] == "https":
            if ca_file and not Path(ca_file).is_file():
                raise ValueError(
                    f"ClickHouse: there is no file {ca_file}; clickhouse.ca_file is the PEM of the authority that signed the server's"
                )
            self._pool = _pool_of(self._options, ca_file, verify)
            self._options["pool_mgr"] = self._pool
        self._client: Any = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="clickhouse")

    @classmethod
    def of(cls, settings: ClickHouseSettings) -> "ClickHouse":
        """The connection that the settings describe."""
        return cls(settings.dsn, password=settings.password, ca_file=settings.ca_file, verify=settings.verify)

    def __repr__(self) -> str:
        return f"ClickHouse({self.target!r})"

    def insert(self, rows: Sequence[Row], token: str) -> int:
        """Insert rows of one table; wait until ClickHouse has them.

        The rows are checked first (`schemas.columns.to_arrow`), because a body that breaks off half-way confuses the server. The same
        token with the same content, sent again within the last 1000 inserts, is dropped by ClickHouse; with other content it
        is inserted, and replaces by key. So a changed row is never lost to a token that was used before.

        Args:
            rows: At least one row.
            token: Name of the batch, 1 to 200 characters, the same when the batch is sent again.

        Returns:
            Number of rows sent.

        Raises:
            schemas.columns.RowError: A row cannot be stored.
            ClickHouseError: ClickHouse refused or could not be reached. Whether the rows are in is unknown: insert again.
        """
        if not 1 <= len(token) <= 200:
            raise ValueError(f"token of {len(token)} characters: expected 1 to 200")
        return self._run(self._insert, rows, token)

    def query(self, sql: str, parameters: dict[str, Any] | None = None) -> list[dict[str, Any]]:
        """Run a query and wait. Values go through ``parameters`` (``{name:String}`` in the SQL), never into the text.

        Returns:
            Rows as dicts; times are aware datetimes in UTC.

        Raises:
            ClickHouseError: ClickHouse refused or could not be reached.
        """
        return self._run(self._query, sql, parameters)

    async def fetch(self, sql: str, parameters: dict[str, Any] | None = None) -> list[dict[str, Any]]:
        """`query` for a running event loop, which goes on meanwhile."""
        return await asyncio.wrap_future(self._submit(self._query, sql, parameters))

    def command(self, sql: str) -> None:
        """Run a statement that returns nothing (DDL, ``DELETE``, ``OPTIMIZE``) and wait.

        Raises:
            ClickHouseError: ClickHouse refused or could not be reached.
        """
        self._run(self._command, sql)

    def create_database(self) -> None:
        """Create the DSN's database where it is missing.

        Raises:
            ClickHouseError: No right to, or no connection.
        """
        self._run(self._create_database)

    def close(self) -> None:
        """Finish the calls under way and let go of the connection. Closing twice is fine; other calls then fail."""
        if self._client is not None:
            self._thread.submit(self._client.close).result()
            self._client = None
        self._thread.shutdown()
        if self._pool is not None:
            self._pool.clear()
            all_managers.pop(self._pool, None)

    def __enter__(self) -> "ClickHouse":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return self._submit(function, *args, **kwargs).result()

    def _submit(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> "Future[T]":
        def guarded() -> T:
            try:
                return function(*args, **kwargs)
            except DriverError as error:
                raise ClickHouseError(self._masked(error), getattr(error, "code", None)) from None
            except OSError as error:
                raise ClickHouseError(self._masked(error)) from None

        try:
            return self._thread.submit(guarded)
        except RuntimeError:
            raise ClickHouseError(f"{self.target}: the connection was closed") from None

    def _masked(self, error: Exception) -> str:
        text = str(error)
        if (away := _AWAY.search(text)) is not None:
            text = f"it does not answer: {away[away.lastindex or 0]}. Is clickhouse.dsn right, and does a server run there?"
        if "EmbeddedServer" in text:
            text += "; one directory belongs to one process, and a process has one directory: stop the other, or give each its own"
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return f"{self.target}: {text[:2000]}"

    def _connected(self) -> Any:
        if self._client is None:
            client = clickhouse_connect.get_client(**self._options)
            client.database = self.database  # set after connecting: the database may not be there yet
            self._client = client
        return self._client

    def _insert(self, rows: Sequence[Row], token: str) -> int:
        arrow = to_arrow(rows)
        digest = hashlib.blake2b(digest_size=12)
        for batch in arrow.to_batches():
            digest.update(batch.serialize())
        settings = {
            "insert_deduplication_token": f"{token}:{digest.hexdigest()}",
            "deduplicate_blocks_in_dependent_materialized_views": 1,
            "async_insert": 0,
        }
        self._connected().insert_arrow(rows[0].table, arrow, settings=settings)
        return len(rows)

    def _query(self, sql: str, parameters: dict[str, Any] | None) -> list[dict[str, Any]]:
        return list(self._connected().query(sql, parameters=parameters).named_results())

    def _command(self, sql: str) -> None:
        self._connected().command(sql)

    def _create_database(self) -> None:
        self._connected().command(f"CREATE DATABASE IF NOT EXISTS {self.database}", use_database=False)


def _pool_of(options: dict[str, Any], ca_file: str, verify: bool) -> Any:
    """TLS connections of our own.

    Those that clickhouse-connect makes cannot be closed where urllib3-future, which comes with
    grafana-client, stands in for urllib3.
    """
    proxy = check_env_proxy("https", options["host"], options["port"])
    return get_pool_manager(ca_cert=ca_file or None, verify=verify, https_proxy=proxy)


class _Target(msgspec.Struct, frozen=True):
    """What a DSN says."""

    options: dict[str, Any]
    database: str
    printable: str
    secrets: tuple[str, ...] = ()


def _parse(dsn: str, given: str) -> _Target:
    """Take a DSN apart. Errors do not repeat it: it may hold a password."""
    url = urlsplit(dsn)
    query = dict(parse_qsl(url.query))
    path = unquote(url.path)
    if url.scheme == "chdb":
        if url.netloc or not path.strip("/"):
            raise ValueError(f"ClickHouse DSN: chdb needs an absolute path and no host; {_DSN}")
        target = _Target({"interface": "chdb", "path": path}, query.get("database", "inferwatch"), f"chdb://{path}")
    elif url.scheme in ("http", "https"):
        try:
            port = url.port or (8443 if url.scheme == "https" else 8123)
        except ValueError:
            raise ValueError(f"ClickHouse DSN: the port is no number from 0 to 65535; {_DSN}") from None
        if not url.hostname:
            raise ValueError(f"ClickHouse DSN: no host; {_DSN}")
        if given and url.password:
            raise ValueError("ClickHouse DSN: it holds a password and one is given beside it; leave one of them out")
        user, password = unquote(url.username or "default"), given or unquote(url.password or "")
        database = query.get("database") or path.strip("/") or "inferwatch"
        target = _Target(
            {"interface": url.scheme, "host": url.hostname, "port": port, "username": user, "password": password},
            database,
            f"{url.scheme}://{user}{':***' if password else ''}@{url.hostname}:{port}/{database}",
            tuple({password, url.password or "", quote(password, safe="")} - {""}),
        )
    else:
        raise ValueError(f"ClickHouse DSN: the scheme is neither http, https nor chdb; {_DSN}")
    if not _NAME.fullmatch(target.database):
        raise ValueError(f"ClickHouse DSN: the database name must match {_NAME.pattern}; {_DSN}")
    return target
