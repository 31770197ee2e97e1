"""The benchmark of the views asks every panel of rows that are there: an empty table answers at once."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from bench.views import Size, fill, measure
from schemas.rows import TABLES, AuditRow
from streams.clickhouse import ClickHouse


@pytest.mark.clickhouse
def test_no_panel_is_empty_and_no_table_without_rows(chdb_directory: Path) -> None:
    end = datetime.now(UTC).replace(second=0, microsecond=0)
    with ClickHouse(f"chdb://{chdb_directory}?database=day") as clickhouse:
        fill(clickhouse, Size(days=1, clients=200, sampled=20), end)
        assert [timing for timing in measure(clickhouse, end, days=1, runs=1) if not timing.rows] == []
        tables = [table.table for table in TABLES if table is not AuditRow]  # which no view shows
        assert [name for name in tables if not clickhouse.query(f"SELECT count() AS n FROM {name}")[0]["n"]] == []
        clickhouse.command("DROP DATABASE day")
