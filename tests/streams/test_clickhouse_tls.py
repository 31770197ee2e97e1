"""ClickHouse over TLS: rows arrive, and nobody but the server whose certificate our authority signed ever sees the password."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from streams.clickhouse import ClickHouseError
from streams.migrate import migrate
from tests.dashboards.rows import rows
from tests.streams.https_clickhouse import Server, serve
from tests.streams.tls import certificates

PASSWORD = "open sesame/9%"
pytestmark = pytest.mark.clickhouse


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    made = certificates(tmp_path)
    with serve(tmp_path / "data", made, PASSWORD) as running:
        yield running


def test_tables_are_made_and_rows_arrive_once_over_tls(server: Server) -> None:
    batch = [row for row in rows() if row.table == "alerts"]
    with server.connect(ca_file=str(server.ca)) as clickhouse:
        migrate(clickhouse)
        for _ in range(2):
            assert clickhouse.insert(batch, "a batch") == len(batch)
        assert clickhouse.query("SELECT count() AS n FROM alerts") == [{"n": len(batch)}]


@pytest.mark.parametrize(("host", "own_ca"), [("127.0.0.1", False), ("localhost", True)], ids=["another authority", "another name"])
def test_a_server_that_is_not_vouched_for_gets_no_password(server: Server, host: str, own_ca: bool) -> None:
    with server.connect(host=host, ca_file=str(server.ca) if own_ca else "") as clickhouse:
        with pytest.raises(ClickHouseError, match=r"(?i)certificate") as caught:
            clickhouse.query("SELECT 1 AS one")
        assert PASSWORD not in str(caught.value)
    assert server.end().count("request") == 0


@pytest.mark.filterwarnings("ignore:Unverified HTTPS request")
def test_a_certificate_is_not_asked_for_where_the_owner_says_so(server: Server) -> None:
    with server.connect(verify=False) as clickhouse:
        clickhouse.create_database()
        assert clickhouse.query("SELECT 1 AS one") == [{"one": 1}]


def test_a_wrong_password_is_told_without_it(server: Server) -> None:
    with server.connect(ca_file=str(server.ca), password="wrong-one") as clickhouse:
        with pytest.raises(ClickHouseError, match="Authentication failed") as caught:
            clickhouse.query("SELECT 1 AS one")
        assert "wrong-one" not in str(caught.value)


def test_plain_http_to_a_tls_port_is_an_error_that_ends(server: Server) -> None:
    with server.connect(scheme="http") as clickhouse, pytest.raises(ClickHouseError):
        clickhouse.query("SELECT 1 AS one")
    assert server.end().count("request") == 0
