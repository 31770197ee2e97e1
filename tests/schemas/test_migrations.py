"""The migrations make the tables that the rows describe, on the real engine, once, and say when history was changed."""

import re
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import schemas
from schemas.retention import Retention
from schemas.rows import TABLES, Row, columns
from streams.clickhouse import ClickHouse, ClickHouseError
from streams.migrate import MigrationError, migrate

MIGRATIONS = Path(schemas.__file__).parent / "migrations"

pytestmark = pytest.mark.clickhouse


def tables_of(clickhouse: ClickHouse) -> set[str]:
    return {row["name"] for row in clickhouse.query("SELECT name FROM system.tables WHERE database = currentDatabase()")}


def copy(directory: Path) -> Path:
    for file in MIGRATIONS.glob("*.sql"):
        (directory / file.name).write_text(file.read_text())
    return directory


@pytest.fixture(scope="module")
def migrated(chdb_directory: Path) -> Iterator[ClickHouse]:
    """To look at."""
    with ClickHouse(f"chdb://{chdb_directory}?database=migrated") as connection:
        migrate(connection)
        yield connection
        connection.command("DROP DATABASE migrated SYNC")


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.table)
def test_a_table_has_the_columns_types_and_key_of_its_row(migrated: ClickHouse, table: type[Row]) -> None:
    found = migrated.query(
        "SELECT name, type FROM system.columns WHERE database = currentDatabase() AND table = {table:String} ORDER BY position",
        {"table": table.table},
    )
    stored = {row["name"]: row["type"] for row in found}
    stored.pop("inserted_at")
    assert stored == {name: column.sql for name, column in columns(table).items()}
    (ddl,) = migrated.query(
        "SELECT engine_full, sorting_key, partition_key FROM system.tables WHERE database = currentDatabase() AND name = {table:String}",
        {"table": table.table},
    )
    assert ddl["sorting_key"] == ", ".join(table.key)
    assert ddl["engine_full"].startswith("ReplacingMergeTree(revision)")
    assert ddl["partition_key"].startswith("toYYYYMM(")
    assert "non_replicated_deduplication_window = 1000" in ddl["engine_full"]
    assert f"TTL {Retention().ttl[table.table]} " in ddl["engine_full"]


def test_the_second_run_does_nothing(clickhouse: ClickHouse) -> None:
    first = migrate(clickhouse)
    assert [step.number for step in first] == list(range(1, len(list(MIGRATIONS.glob("*.sql"))) + 1))
    assert migrate(clickhouse) == []
    assert tables_of(clickhouse) == {table.table for table in TABLES} | {"migrations"}


def test_two_at_once_end_in_the_same_tables(clickhouse: ClickHouse, chdb_directory: Path) -> None:
    failures: list[Exception] = []

    def run() -> None:
        try:
            with ClickHouse(f"chdb://{chdb_directory}?database={clickhouse.database}") as other:
                migrate(other)
        except (ClickHouseError, MigrationError) as error:
            failures.append(error)

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert migrate(clickhouse) == []
    assert clickhouse.query("SELECT count() AS n FROM migrations FINAL WHERE number = 1") == [{"n": 1}]


def test_a_dry_run_tells_and_changes_nothing(clickhouse: ClickHouse, chdb_directory: Path) -> None:
    steps = migrate(clickhouse, dry_run=True)
    assert any("CREATE TABLE IF NOT EXISTS alerts" in statement for step in steps for statement in step.statements)
    assert "INTERVAL 24 MONTH" in "".join(steps[0].statements)
    with ClickHouse(f"chdb://{chdb_directory}?database=default") as other:
        assert clickhouse.database not in {row["name"] for row in other.query("SELECT name FROM system.databases")}


def test_a_file_changed_after_it_was_applied_is_refused_and_says_what_to_do(clickhouse: ClickHouse, tmp_path: Path) -> None:
    migrate(clickhouse, directory=copy(tmp_path))
    (tmp_path / "0001_tables.sql").write_text((tmp_path / "0001_tables.sql").read_text() + "-- a second thought\n")
    with pytest.raises(MigrationError, match=r"0001_tables.sql was changed after it was applied .* in a new migration"):
        migrate(clickhouse, directory=tmp_path)


def test_a_new_file_is_applied_after_the_old(clickhouse: ClickHouse, tmp_path: Path) -> None:
    migrate(clickhouse, directory=copy(tmp_path))
    number = len(list(tmp_path.glob("*.sql"))) + 1
    (tmp_path / f"{number:04d}_more.sql").write_text("ALTER TABLE alerts ADD COLUMN IF NOT EXISTS more String;\n")
    assert [step.name for step in migrate(clickhouse, directory=tmp_path)] == ["more"]
    assert migrate(clickhouse, directory=tmp_path) == []


def test_a_run_cut_short_is_finished_by_the_next(clickhouse: ClickHouse, tmp_path: Path) -> None:
    copy(tmp_path)
    good = (tmp_path / "0001_tables.sql").read_text()
    (tmp_path / "0001_tables.sql").write_text(good + "\nCREATE TABLE IF NOT EXISTS nonsense (x Nothing2) ENGINE = Memory;\n")
    with pytest.raises(ClickHouseError, match="Nothing2"):
        migrate(clickhouse, directory=tmp_path)
    (tmp_path / "0001_tables.sql").write_text(good)
    assert migrate(clickhouse, directory=tmp_path)[0].number == 1


def test_another_retention_changes_the_tables_and_not_the_history(clickhouse: ClickHouse) -> None:
    migrate(clickhouse)
    (change,) = migrate(clickhouse, retention=Retention(sampled_days=7))
    assert change.statements == ("ALTER TABLE sampled_events MODIFY TTL toDateTime(at) + toIntervalDay(7)",)
    assert migrate(clickhouse, retention=Retention(sampled_days=7)) == []


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"0002_late.sql": "SELECT 1;"}, r"numbered \[2\]: expected 1 to 1"),
        ({"0001_a.sql": "SELECT 1;", "0001_b.sql": "SELECT 1;"}, r"numbered \[1, 1\]"),
        ({"first.sql": "SELECT 1;"}, r"first.sql: a migration is named like"),
        ({"0001_a.sql": "SELECT ${weeks};"}, r"0001_a.sql: unknown placeholder \$\{weeks\}, known are windows_months"),
    ],
)
def test_files_that_do_not_count_up_are_refused(clickhouse: ClickHouse, tmp_path: Path, files: dict[str, str], message: str) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(MigrationError, match=message):
        migrate(clickhouse, directory=tmp_path)


def test_every_statement_can_be_repeated() -> None:
    for file in MIGRATIONS.glob("*.sql"):
        for statement in re.findall(r"^(?:CREATE|ALTER|DROP)[^\n]*", file.read_text(), re.MULTILINE):
            assert "IF NOT EXISTS" in statement or "IF EXISTS" in statement or "MODIFY" in statement or "MATERIALIZE" in statement, (
                statement
            )


def test_retention_outside_its_range_is_refused() -> None:
    with pytest.raises(ValueError, match="retention sampled_days = 0: expected 1 to 3650"):
        Retention(sampled_days=0)
    with pytest.raises(ValueError, match="retention alerts_months = 121: expected 1 to 120"):
        Retention(alerts_months=121)
