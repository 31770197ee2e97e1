"""A store for the tests of a file."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from streams.clickhouse import ClickHouse
from streams.migrate import migrate
from tests.dashboards.rows import HOSTILE, insert, rows


@pytest.fixture(scope="module")
def store(request: pytest.FixtureRequest, chdb_directory: Path) -> Iterator[ClickHouse]:
    """A file's own database with a day in the life of two models, one with a name that breaks naive quoting."""
    with ClickHouse(f"chdb://{chdb_directory}?database={request.module.__name__.rpartition('.')[2]}") as clickhouse:
        migrate(clickhouse)
        insert(clickhouse, rows(("fraud", HOSTILE)))
        yield clickhouse
