"""`inferwatch migrate`: creates, repeats harmlessly, prints instead of doing, and says when the store isn't there."""

import pytest

from streams import kafka
from tests.commands.cli import NOWHERE, run


def test_a_store_that_is_not_there_is_exit_code_1_with_its_address_and_no_password() -> None:
    said = run("migrate", **(NOWHERE | {"INFERWATCH_CLICKHOUSE_PASSWORD": "hunter2"}))
    assert said.exit_code == 1
    assert said.stderr.startswith("Error: ")
    assert "127.0.0.1:1" in said.stderr
    assert "hunter2" not in said.output


def test_a_dsn_that_is_none_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kafka, "_REACH_S", 0.5)
    said = run("migrate", INFERWATCH_CLICKHOUSE_DSN="postgres://somewhere/else")
    assert said.exit_code == 2
    assert said.stderr.startswith("Error: ClickHouse DSN: the scheme is neither http, https nor chdb")
    checked = run("check", **(NOWHERE | {"INFERWATCH_CLICKHOUSE_DSN": "postgres://w:hunter2@somewhere/else"}))
    assert checked.exit_code == 1
    assert "FAILED ClickHouse postgres://w:***@somewhere/else: ClickHouse DSN" in checked.output


@pytest.mark.clickhouse
def test_it_creates_the_tables_once_and_prints_them_when_dry(clickhouse_dsn: str) -> None:
    settings = {"INFERWATCH_CLICKHOUSE_DSN": clickhouse_dsn}
    dry = run("migrate", "--dry-run", **settings)
    assert dry.exit_code == 0, dry.output
    assert "CREATE TABLE" in dry.output
    done = run("migrate", **settings)
    assert (done.exit_code, "applied 0001" in done.output) == (0, True), done.output
    again = run("migrate", **settings)
    assert (again.exit_code, again.output) == (0, "up to date\n")
