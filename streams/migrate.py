"""Bring a ClickHouse database to the tables that this version expects: numbered SQL files, each applied once.

Every statement of a migration says ``IF NOT EXISTS`` or the like, so a run that was cut short, or two at once, end in the
same tables. A file that was applied is history: its checksum is kept, and changing it afterwards is refused.
"""

import hashlib
import re
from datetime import UTC, datetime
from importlib.resources import files
from importlib.resources.abc import Traversable

import msgspec

from schemas.retention import Retention
from streams.clickhouse import ClickHouse, ClickHouseError

__all__ = ["Applied", "MigrationError", "migrate"]

_UNKNOWN_DATABASE, _UNKNOWN_TABLE = 81, 60
_FILE = re.compile(r"(\d{4})_([a-z0-9_]+)\.sql")
_LEDGER = """CREATE TABLE IF NOT EXISTS migrations
(
    number UInt32,
    name String,
    sha256 String,
    at DateTime64(3, 'UTC')
)
ENGINE = ReplacingMergeTree(at)
ORDER BY number"""


class MigrationError(Exception):
    """The files and the database do not agree. Says which migration, and what to do."""


class Applied(msgspec.Struct, frozen=True, kw_only=True):
    """One step that was done, or in a dry run would be.

    Attributes:
        number: Number of the migration; 0 for a change of retention.
        name: Its name.
        sha256: Checksum of the file, "" for a change of retention.
        statements: The SQL, in order.
    """

    number: int
    name: str
    sha256: str
    statements: tuple[str, ...]


def migrate(
    clickhouse: ClickHouse, *, retention: Retention | None = None, dry_run: bool = False, directory: Traversable | None = None
) -> list[Applied]:
    """Apply what is missing, in order; then set the tables' retention where it differs. Run it before every new version.

    Args:
        clickhouse: Where to. Its database is created when missing.
        retention: How long tables keep their rows; ``None`` is the default of `Retention`.
        dry_run: Change nothing, only tell. Print ``statements`` of what comes back.
        directory: Where the SQL files are; ``None`` is ``schemas/migrations``.

    Returns:
        What was done, in order; an empty list when the database was up to date.

    Raises:
        MigrationError: A file was changed after it had been applied, or numbers are missing or double.
        ClickHouseError: A statement failed. Those before it stay; run again once the cause is gone.
    """
    retention = retention or Retention()
    found = _files(directory or files("schemas") / "migrations", retention)
    if not dry_run:
        clickhouse.create_database()
        clickhouse.command(_LEDGER)
    known = _ledger(clickhouse)
    for step in found:
        if step.number in known and known[step.number] != step.sha256:
            raise MigrationError(
                f"migration {step.number:04d}_{step.name}.sql was changed after it was applied to {clickhouse.target} "
                f"(applied {known[step.number][:12]}, now {step.sha256[:12]}). Put the file back, and make the change in a new migration."
            )
    done = [step for step in found if step.number not in known]
    for step in [] if dry_run else done:
        for statement in step.statements:
            clickhouse.command(statement)
        clickhouse.command(
            f"INSERT INTO migrations VALUES ({step.number}, '{step.name}', '{step.sha256}', "  # noqa: S608  # names match _FILE
            f"'{datetime.now(UTC):%Y-%m-%d %H:%M:%S.%f}')"
        )
    changes = _retention_changes(clickhouse, retention)
    for statement in () if dry_run else changes:
        clickhouse.command(statement)
    if changes:
        done.append(Applied(number=0, name="retention", sha256="", statements=changes))
    return done


def _files(directory: Traversable, retention: Retention) -> list[Applied]:
    steps = []
    for file in sorted(directory.iterdir(), key=lambda f: f.name):
        if not file.name.endswith(".sql"):
            continue
        match = _FILE.fullmatch(file.name)
        if match is None:
            raise MigrationError(f"{file.name}: a migration is named like 0001_what_it_does.sql")
        text = file.read_text(encoding="utf-8")
        # The checksum is of the file as it is written, so another retention is no change of history.
        sha256 = hashlib.sha256(text.encode()).hexdigest()
        steps.append(Applied(number=int(match[1]), name=match[2], sha256=sha256, statements=_statements(file.name, text, retention)))
    numbers = [step.number for step in steps]
    if numbers != list(range(1, len(steps) + 1)):
        raise MigrationError(f"migrations are numbered {numbers}: expected 1 to {len(steps)}, each once")
    return steps


def _statements(name: str, text: str, retention: Retention) -> tuple[str, ...]:
    """Split at semicolons that end a line, without comment lines, with ``${...}`` filled in."""

    def fill(match: re.Match[str]) -> str:
        try:
            return str(retention.placeholders[match[1]])
        except KeyError:
            raise MigrationError(f"{name}: unknown placeholder {match[0]}, known are {', '.join(retention.placeholders)}") from None

    bare = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("--"))
    parts = (part.strip() for part in re.split(r";[ \t]*$", bare, flags=re.MULTILINE))
    return tuple(re.sub(r"\$\{(\w+)\}", fill, part) for part in parts if part)


def _ledger(clickhouse: ClickHouse) -> dict[int, str]:
    try:
        rows = clickhouse.query("SELECT number, argMax(sha256, at) AS sha256 FROM migrations GROUP BY number")
    except ClickHouseError as error:
        if error.code in (_UNKNOWN_DATABASE, _UNKNOWN_TABLE):  # a dry run on a new database
            return {}
        raise
    return {row["number"]: row["sha256"] for row in rows}


def _retention_changes(clickhouse: ClickHouse, retention: Retention) -> tuple[str, ...]:
    try:
        rows = clickhouse.query(
            "SELECT name, create_table_query AS ddl FROM system.tables"
            " WHERE database = {database:String} AND has({tables:Array(String)}, name)",
            {"database": clickhouse.database, "tables": list(retention.ttl)},
        )
    except ClickHouseError as error:
        if error.code == _UNKNOWN_DATABASE:  # a dry run on a new database: its tables will be right from the start
            return ()
        raise
    return tuple(
        f"ALTER TABLE {row['name']} MODIFY TTL {retention.ttl[row['name']]}"
        for row in sorted(rows, key=lambda row: str(row["name"]))
        if f"TTL {retention.ttl[row['name']]} " not in f"{row['ddl']} "
    )
