"""What one of our ClickHouse users does, on the real engine with that user's grants and no others.

In a process of its own, for the engine reads its users at the start.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import timedelta
from pathlib import Path

import msgspec

from dashboards.macros import expand
from schemas.retention import Retention
from schemas.rows import AlertRow, Row
from streams.acknowledge import acknowledge, open_alerts
from streams.audit_log import chain_names, chain_of, record
from streams.clickhouse import ClickHouse, ClickHouseError
from streams.erase import count, erase, open_alerts_of, steps
from streams.migrate import migrate
from tests.dashboards.rows import END, END_NS, HOSTILE, rows
from tests.dashboards.test_dashboards import ALL, CASES, panel_of

_USERS = """<clickhouse><profiles><default/></profiles><quotas><default/></quotas><users><default><password></password>
<networks><ip>::/0</ip></networks><profile>default</profile><quota>default</quota><grants>{}</grants></default></users></clickhouse>"""
_CONFIG = """<clickhouse><users_config>{0}</users_config><user_directories><users_xml><path>{0}</path></users_xml></user_directories>
<access_control_improvements><select_from_system_db_requires_grant>true</select_from_system_db_requires_grant>
<select_from_information_schema_requires_grant>true</select_from_information_schema_requires_grant></access_control_improvements>
</clickhouse>"""


def connect(folder: Path, grants: list[str]) -> ClickHouse:
    """The engine, whose only user has these grants."""
    users, config = folder / "users.xml", folder / "config.xml"
    users.write_text(_USERS.format("".join(f"<query>{grant}</query>" for grant in grants)))
    config.write_text(_CONFIG.format(users))
    clickhouse = ClickHouse(f"chdb://{folder}/data?database=inferwatch")
    clickhouse._options["path"] += f"?config-file={config}"
    return clickhouse


def deeds(clickhouse: ClickHouse, folder: Path) -> dict[str, dict[str, Callable[[], object]]]:
    """By what a user does: each single thing."""
    longer = msgspec.structs.replace(Retention(), windows_months=Retention().windows_months + 1)
    by_table: dict[str, list[Row]] = {}
    for row in rows():
        by_table.setdefault(row.table, []).append(row)

    def insert(table: str) -> Callable[[], object]:
        return lambda: clickhouse.insert(by_table[table], f"rows of {table}")

    def panel(name: str, title: str) -> Callable[[], object]:
        text = panel_of(name, title).sql
        return lambda: clickhouse.query(expand(text, start=END - timedelta(hours=6), end=END, variables=ALL))

    def sql(text: str) -> Callable[[], object]:
        return lambda: clickhouse.command(text)

    names = [HOSTILE, "a-client-with-a-long-name"]
    plan = steps(names)
    assert CASES
    return {
        "migrate": {"first": lambda: migrate(clickhouse), "again": lambda: migrate(clickhouse),
                    "retention": lambda: migrate(clickhouse, retention=longer)},
        "insert": {table: insert(table) for table in by_table},
        "judge": {"ack": lambda: acknowledge(clickhouse, "a2", "true", END_NS, by="ada"), "list": lambda: open_alerts(clickhouse),
                  "audit": lambda: record(clickhouse, "acknowledgement", END_NS, actor="ada", folder=folder / "state")},
        "erase": {"audit": lambda: record(clickhouse, "deletion", END_NS, actor="eve", folder=folder / "state"),
                  "all": lambda: erase(clickhouse, plan, open_alerts_of(clickhouse, names), END_NS),
                  "last words": lambda: erase(clickhouse, [], [row for row in by_table["alerts"] if isinstance(row, AlertRow)], END_NS),
                  "count": lambda: count(clickhouse, plan)},
        "verify": {"audit": lambda: [list(chain_of(clickhouse, name)) for name in [*chain_names(clickhouse), "x"]]},
        "analyse": {"audit": lambda: record(clickhouse, "export", END_NS, actor="bob", folder=folder / "state"),
                    "chains": lambda: [list(chain_of(clickhouse, name)) for name in chain_names(clickhouse)],
                    "windows": lambda: clickhouse.query("SELECT count() FROM windows FINAL")},
        "read": {f"{name}: {title}": panel(name, title) for name, title in CASES},
        "harm": {
            text: sql(text)
            for text in (
                "DROP TABLE inferwatch.windows", "TRUNCATE TABLE inferwatch.windows", "ALTER TABLE inferwatch.windows DELETE WHERE 1",
                "ALTER TABLE inferwatch.audit DELETE WHERE 1", "ALTER TABLE inferwatch.audit UPDATE actor = 'x' WHERE 1",
                "TRUNCATE TABLE inferwatch.audit",
                "DROP DATABASE inferwatch", "CREATE DATABASE other", "CREATE USER another",
                "SELECT * FROM file('/etc/passwd', LineAsString)",
                "SELECT * FROM url('http://127.0.0.1:1/', CSV, 'a String')", "INSERT INTO FUNCTION file('x.csv', CSV, 'a UInt8') SELECT 1",
            )
        },
    }  # fmt: skip


def do(folder: Path, grants: list[str], kinds: Iterable[str], *, until_denied: bool = False) -> dict[tuple[str, str], str]:
    """Does these things, or those up to the first that is denied: "" or the error, by their kind and name."""
    found: dict[tuple[str, str], str] = {}
    with connect(folder, grants) as clickhouse:
        for kind in kinds:
            for name, does in deeds(clickhouse, folder)[kind].items():
                found[kind, name] = ""
                try:
                    does()
                except ClickHouseError as refused:
                    found[kind, name] = str(refused)
                if until_denied and "ACCESS_DENIED" in found[kind, name]:
                    return found
    return found
