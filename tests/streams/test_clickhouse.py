"""The door to ClickHouse: what is inserted is there once, and no message holds a password."""

import asyncio
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from schemas.rows import TABLES, AlertRow, ProducerRow, QualityWindowRow, Row, RowError, columns
from streams.clickhouse import ClickHouse, ClickHouseError
from streams.migrate import migrate

START = 3_786_912_000 * 10**9  # 2090: rows older than their retention vanish at the next merge
SECRET = "hun:ter2/@ä"


def quality(i: int, **fields: Any) -> QualityWindowRow:
    given: dict[str, Any] = {"model": "m", "version": "1", "start": START + i * 10**9, "service": "s", "kind": "missing"}
    return QualityWindowRow(**given | {"n": i, "per_10k": float(i)} | fields)


@pytest.fixture
def migrated(clickhouse: ClickHouse) -> ClickHouse:
    migrate(clickhouse)
    return clickhouse


@pytest.mark.clickhouse
@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.table)
def test_a_row_of_every_table_comes_back_as_it_went(migrated: ClickHouse, table: type[Row]) -> None:
    row = table(**_example(table))
    migrated.insert([row], "one")
    (stored,) = migrated.query(f"SELECT * FROM {table.table} FINAL")
    for name in table.__struct_fields__:
        given = getattr(row, name)
        if isinstance(stored[name], datetime):
            assert stored[name] == datetime.fromtimestamp(given / 10**9, UTC)
        elif isinstance(given, tuple):
            assert stored[name] == pytest.approx(list(given))
        else:
            assert stored[name] == given


def _example(table: type[Row]) -> dict[str, Any]:
    by_type: dict[str, Any] = {
        "LowCardinality(String)": "ä'\\",
        "String": "x\ty\n",
        "UInt64": 2**64 - 1,
        "Float64": -0.5,
        "Nullable(Float64)": None,
        "DateTime64(3, 'UTC')": START + 123 * 10**6,
        "Nullable(DateTime64(3, 'UTC'))": None,
        "Array(UInt64)": (0, 2**64 - 1),
        "Array(String)": ("a", ""),
        "Array(LowCardinality(String))": ("a", "b"),
        "Array(Float32)": (0.25, 0.75),
        "Map(LowCardinality(String), UInt64)": {"a": 1, "b": 2},
        "Map(LowCardinality(String), Float64)": {"a": 1.5},
        "Map(LowCardinality(String), String)": {"a": "b"},
    }
    return {name: by_type[column.sql] for name, column in columns(table).items()} | ({"evidence": '{"a": 1}'} if table is AlertRow else {})


@pytest.mark.clickhouse
def test_the_same_batch_sent_again_is_stored_once_even_before_a_merge(migrated: ClickHouse) -> None:
    rows = [quality(i) for i in range(10)]
    for _ in range(3):
        assert migrated.insert(rows, "p0:0-9") == 10
    assert migrated.query("SELECT count() AS n FROM quality_windows") == [{"n": 10}]


@pytest.mark.clickhouse
def test_a_changed_row_under_a_used_token_replaces_the_old_one(migrated: ClickHouse) -> None:
    migrated.insert([quality(1)], "window 1")
    migrated.insert([quality(1, n=99, revision=1)], "window 1")
    assert migrated.query("SELECT n FROM quality_windows FINAL") == [{"n": 99}]


@pytest.mark.clickhouse
def test_an_older_revision_that_comes_late_does_not_win(migrated: ClickHouse) -> None:
    migrated.insert([quality(1, n=99, revision=1)], "second")
    migrated.insert([quality(1)], "first")
    assert migrated.query("SELECT n FROM quality_windows FINAL") == [{"n": 99}]


@pytest.mark.clickhouse
def test_a_row_that_cannot_be_stored_stores_nothing_of_its_batch(migrated: ClickHouse) -> None:
    with pytest.raises(RowError, match=r"quality_windows\.n"):
        migrated.insert([quality(1), quality(2, n=-1)], "bad")
    assert migrated.query("SELECT count() AS n FROM quality_windows") == [{"n": 0}]


@pytest.mark.clickhouse
def test_a_row_older_than_its_retention_is_not_kept(migrated: ClickHouse) -> None:
    migrated.insert([ProducerRow(service="s", instance="i", at=START - 80 * 365 * 86_400 * 10**9)], "old")
    migrated.command("OPTIMIZE TABLE producers FINAL")  # what ClickHouse does by itself, sooner or later
    assert migrated.query("SELECT count() AS n FROM producers") == [{"n": 0}]


@pytest.mark.clickhouse
def test_a_token_is_needed(migrated: ClickHouse) -> None:
    for token in ("", "x" * 201):
        with pytest.raises(ValueError, match="expected 1 to 200"):
            migrated.insert([quality(1)], token)


@pytest.mark.clickhouse
def test_values_travel_as_parameters(migrated: ClickHouse) -> None:
    hostile = "x' OR 1=1 --"
    assert migrated.query("SELECT {c:String} AS c, {xs:Array(String)} AS xs", {"c": hostile, "xs": [hostile]}) == [
        {"c": hostile, "xs": [hostile]}
    ]


@pytest.mark.clickhouse
async def test_a_loop_goes_on_while_it_waits(migrated: ClickHouse) -> None:
    slow = asyncio.create_task(migrated.fetch("SELECT sleep(0.2) AS s"))
    await asyncio.sleep(0)
    assert not slow.done()
    assert await slow == [{"s": 0}]


@pytest.mark.clickhouse
def test_many_threads_share_one_connection(migrated: ClickHouse) -> None:
    def insert(i: int) -> None:
        migrated.insert([ProducerRow(service="s", instance=str(i), at=START)], f"heartbeat {i}")

    threads = [threading.Thread(target=insert, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert migrated.query("SELECT uniqExact(instance) AS n FROM producers") == [{"n": 8}]


@pytest.mark.clickhouse
def test_an_unknown_table_is_an_error_with_its_code_that_may_pass(clickhouse: ClickHouse) -> None:
    clickhouse.create_database()
    with pytest.raises(ClickHouseError, match="nowhere") as caught:
        clickhouse.query("SELECT * FROM nowhere")
    assert caught.value.code == 60
    assert not caught.value.permanent


@pytest.mark.clickhouse
def test_a_type_that_does_not_fit_is_permanent(clickhouse: ClickHouse) -> None:
    clickhouse.create_database()
    with pytest.raises(ClickHouseError) as caught:
        clickhouse.query("SELECT toUInt8('x')")
    assert caught.value.permanent


@pytest.mark.clickhouse
def test_a_closed_connection_says_so_and_closes_twice(clickhouse: ClickHouse) -> None:
    clickhouse.create_database()
    clickhouse.close()
    clickhouse.close()
    with pytest.raises(ClickHouseError, match="was closed"):
        clickhouse.query("SELECT 1")


class _Refuses(BaseHTTPRequestHandler):
    """Answers everything with an error that repeats the caller's credentials, as a proxy's debug page might."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = f"Code: 516. DB::Exception: worker:{SECRET} Authentication failed".encode()
        self.send_response(403)
        self.send_header("X-ClickHouse-Exception-Code", "516")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST  # noqa: N815  # the name is http.server's

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def refusing() -> Iterator[int]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Refuses) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


def test_a_servers_refusal_is_told_without_the_password(refusing: int) -> None:
    with ClickHouse(f"http://worker:hun%3Ater2%2F%40%C3%A4@127.0.0.1:{refusing}/iw") as connection:
        with pytest.raises(ClickHouseError, match="Authentication failed") as caught:
            connection.query("SELECT 1")
        assert caught.value.code == 516
        assert SECRET not in str(caught.value)
        assert SECRET not in repr(connection)
        assert caught.value.__cause__ is None
        assert caught.value.__suppress_context__


def test_a_password_given_apart_is_kept_as_secret(refusing: int) -> None:
    with ClickHouse(f"http://worker@127.0.0.1:{refusing}/iw", password=SECRET) as connection:
        assert repr(connection) == f"ClickHouse('http://worker:***@127.0.0.1:{refusing}/iw')"
        with pytest.raises(ClickHouseError) as caught:
            connection.query("SELECT 1")
        assert SECRET not in str(caught.value)
    with pytest.raises(ValueError, match="leave one of them out"):
        ClickHouse("http://worker:one@h/iw", password="two")


def test_a_server_that_is_away_is_an_error_only_when_it_is_needed() -> None:
    with ClickHouse("http://worker:hunter2@127.0.0.1:9/iw", connect_timeout=1) as connection:
        with pytest.raises(ClickHouseError, match=r"http://worker:\*\*\*@127.0.0.1:9/iw") as caught:
            connection.query("SELECT 1")
        assert "hunter2" not in str(caught.value)
        assert not caught.value.permanent


@pytest.mark.parametrize(
    ("dsn", "message"),
    [
        ("clickhouse://a:hunter2@h/d", "neither http, https nor chdb"),
        ("http:///d", "no host"),
        ("http://a:hunter2@h:99999/d", "port is no number"),
        ("http://a:hunter2@h:1/d-b", "database name must match"),
        ("chdb://relative/path", "absolute path"),
        ("chdb:///", "absolute path"),
        ("", "neither http"),
    ],
)
def test_a_dsn_that_makes_no_sense_is_refused_without_repeating_it(dsn: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        ClickHouse(dsn)
    assert "hunter2" not in str(caught.value)


def test_timeouts_have_a_range() -> None:
    with pytest.raises(ValueError, match="timeout = 0: expected 1 to 3600 seconds"):
        ClickHouse("http://h", timeout=0)
    with pytest.raises(ValueError, match="connect_timeout = 601"):
        ClickHouse("http://h", connect_timeout=601)


def test_defaults_of_a_short_dsn_are_told() -> None:
    assert repr(ClickHouse("http://h")) == "ClickHouse('http://default@h:8123/inferwatch')"
    assert repr(ClickHouse("https://u:p@h/db")) == "ClickHouse('https://u:***@h:8443/db')"
    assert ClickHouse("chdb:///var/lib/x").database == "inferwatch"
