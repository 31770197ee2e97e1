"""`inferwatch audit`: what was done to the table shows with chain, number and time; commands go on in one chain, two at once too."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from confluent_kafka import Producer

from schemas.rows import AuditRow
from streams import kafka
from streams.audit import Chain, Head, hash_of
from streams.audit_log import chain_of, local_heads, record
from streams.clickhouse import ClickHouse
from streams.migrate import migrate
from tests.commands.cli import NOWHERE, run
from tests.streams.events import NS
from tests.streams.events import START as LATER
from tests.topics import Topics

pytestmark = pytest.mark.clickhouse
START = LATER - 365 * 86_400 * NS
"""A year before: in the past by every clock."""


@pytest.fixture
def store(clickhouse: ClickHouse) -> ClickHouse:
    migrate(clickhouse)
    chain = Chain(prefix="judge-0")
    clickhouse.insert([chain.add("alert", START + k * NS, model="m", subject=f"a{k}", detail={"k": k}) for k in range(20)], "rows")
    other = Chain(prefix="judge-1")
    clickhouse.insert([other.add("settings", START, subject=f"{k}") for k in range(3)], "others")
    return clickhouse


def rows_of(store: ClickHouse) -> list[AuditRow]:
    (name,) = [row["chain"] for row in store.query("SELECT DISTINCT chain FROM audit WHERE startsWith(chain, 'judge-0')")]
    return list(chain_of(store, name))


def test_an_untouched_log_is_so_and_its_ends_are_printed(store: ClickHouse, clickhouse_dsn: str) -> None:
    done = run("audit", "verify", "--no-heads", INFERWATCH_CLICKHOUSE_DSN=clickhouse_dsn)
    assert done.exit_code == 0, done.output
    assert "23 rows in 2 chains" in done.output
    assert f"#19#{rows_of(store)[-1].hash}" in done.output


def insert(store: ClickHouse, row: AuditRow) -> None:
    store.insert([row], f"forged-{row.hash[:20]}-{row.revision}")


def forged(store: ClickHouse, row: AuditRow, **cells: object) -> None:
    """A row put in, with a hash that fits its contents."""
    changed = msgspec.structs.replace(row, **cells)
    insert(store, msgspec.structs.replace(changed, hash=hash_of(changed)))


SWAP = "detail = if(detail = '{\"k\":7}', '{\"k\":8}', '{\"k\":7}') WHERE number IN (7, 8)"


def removed(where: str) -> Callable[[ClickHouse], None]:
    return lambda store: store.command(f"ALTER TABLE audit DELETE WHERE model = 'm' AND {where}")


def updated(what: str) -> Callable[[ClickHouse], None]:
    return lambda store: store.command(f"ALTER TABLE audit UPDATE {what} AND model = 'm'")


DEEDS: dict[str, tuple[Callable[[ClickHouse], None], str]] = {
    "a changed cell": (updated("actor = 'eve' WHERE number = 7"), "row 7 .*was changed"),
    "a removed row": (removed("number = 7"), "row 7 .*: row 7 is missing"),
    "some removed": (removed("number BETWEEN 5 AND 9"), "row 5 .*rows 5 to 9 are missing"),
    "contents swapped": (updated(SWAP), "row 7 .*was changed"),
    "a row copied to the end": (lambda s: insert(s, msgspec.structs.replace(rows_of(s)[4], number=20)), "row 20 .*was row 4"),
    "a second row of a number": (lambda s: forged(s, rows_of(s)[4], subject="other"), "row 4 .*is there twice"),
    "replaced by a newer revision": (lambda s: insert(s, msgspec.structs.replace(rows_of(s)[4], subject="o", revision=9)), "row 4 .*twice"),
    "the beginning removed": (removed("number < 5"), "row 0 .*rows 0 to 4 are missing"),
}


@pytest.mark.parametrize("deed", DEEDS)
def test_what_was_done_to_the_table_shows_with_chain_number_and_time(store: ClickHouse, clickhouse_dsn: str, deed: str) -> None:
    does, expected = DEEDS[deed]
    store.command("SET mutations_sync = 2")
    does(store)
    done = run("audit", "verify", "--no-heads", INFERWATCH_CLICKHOUSE_DSN=clickhouse_dsn)
    assert done.exit_code == 1, done.output
    assert "the audit log is not what was written. Keep it as it is" in done.stderr
    assert re.search(rf"^judge-0-\d+, {expected}", done.output, re.MULTILINE), done.output
    assert "(2026-01-15 08:00:" in done.output
    assert "judge-1" not in done.output


def test_an_end_that_was_cut_off_shows_by_what_was_written_down(store: ClickHouse, clickhouse_dsn: str) -> None:
    last = rows_of(store)[-1]
    store.command("ALTER TABLE audit DELETE WHERE number > 12 AND model = 'm'")
    blind = run("audit", "verify", "--no-heads", INFERWATCH_CLICKHOUSE_DSN=clickhouse_dsn)
    assert blind.exit_code == 0, "nothing in the store says that it went on"
    head = f"{last.chain}#{last.number}#{last.hash}"
    done = run("audit", "verify", "--no-heads", "--head", head, INFERWATCH_CLICKHOUSE_DSN=clickhouse_dsn)
    assert done.exit_code == 1
    assert "rows 13 to 19 are missing at the end" in done.output


def test_a_row_that_is_stored_twice_alike_is_one(store: ClickHouse, clickhouse_dsn: str) -> None:
    for k in range(3):
        store.insert([rows_of(store)[4]], f"sent again after a restart {k}")
    assert run("audit", "verify", "--no-heads", INFERWATCH_CLICKHOUSE_DSN=clickhouse_dsn).exit_code == 0


def test_commands_go_on_in_a_chain_of_their_own_and_two_at_once_do_not_fork_it(
    store: ClickHouse, tmp_path: Path, clickhouse_dsn: str
) -> None:
    def several() -> None:
        for _ in range(5):
            record(store, "export", START, actor="ada", subject="a1", host="desk", folder=tmp_path)

    threads = [threading.Thread(target=several) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    rows = list(chain_of(store, "command:ada@desk"))
    assert [row.number for row in rows] == list(range(20))
    assert run("audit", "verify", "--no-heads", INFERWATCH_CLICKHOUSE_DSN=clickhouse_dsn).exit_code == 0
    assert [head.number for head in local_heads(store, tmp_path)] == [19]
    store.command("ALTER TABLE audit DELETE WHERE number > 17 AND actor = 'ada'")
    head = record(store, "export", START, actor="ada", host="desk", folder=tmp_path)
    assert head.number == 20, "the gap must show"
    record(store, "export", START, actor="ada", host="desk", folder=tmp_path / "another home")
    assert "rows 18 to 19 are missing" in run("audit", "verify", "--no-heads", INFERWATCH_CLICKHOUSE_DSN=clickhouse_dsn).output


def test_without_a_folder_each_command_begins_a_chain(store: ClickHouse, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    heads = [record(store, "export", START, actor="a b/c", host="h", folder=tmp_path / "file" / "x") for _ in range(2)]
    assert heads[0].chain != heads[1].chain
    assert all(head.chain.startswith("command:a_b_c@h:") for head in heads)


def test_acknowledging_and_exporting_are_written_and_listed(clickhouse: ClickHouse, clickhouse_dsn: str, tmp_path: Path) -> None:
    from tests.dashboards.rows import insert as insert_rows
    from tests.dashboards.rows import rows

    migrate(clickhouse)
    insert_rows(clickhouse, rows())
    env = {"INFERWATCH_CLICKHOUSE_DSN": clickhouse_dsn}
    assert run("alert", "ack", "a2", "--verdict", "true", "--note", "it was", **env).exit_code == 0
    done = run("incident", "export", "a2", "--out", tmp_path / "x.zip", **env)
    assert done.exit_code == 0, done.output
    assert "Audit log: command:" in done.output
    listed = run("audit", "list", "--since", "1h", **env).output.splitlines()
    assert ["export" in listed[0], "acknowledgement" in listed[1], len(listed)] == [True, True, 2]
    assert '"verdict":"true"' in listed[1]
    assert "it was" not in listed[1], "a note may name somebody"
    assert len(run("audit", "list", "--kind", "export", **env).output.splitlines()) == 1
    assert "Nothing since" in run("audit", "list", "--since", "2089-01-01", **env).output
    done = run("delete", "--client", "c0ffee", "--no-workers", **env)
    assert done.exit_code == 0, done.output
    (deleted,) = run("audit", "list", "--kind", "deletion", **env).output.splitlines()
    assert '"client_windows":60' in deleted
    assert "c0ffee" not in deleted
    assert run("audit", "verify", "--no-heads", **env).exit_code == 0


def test_what_makes_no_sense_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kafka, "_REACH_S", 0.5)
    for arguments, message in (
        (("list", "--since", "yesterday"), "expected 30m, 12h, 7d"),
        (("verify", "--no-heads", "--head", "x"), "expected CHAIN#NUMBER#HASH"),
    ):
        done = run("audit", *arguments, **NOWHERE)
        assert done.exit_code == 2
        assert message in done.output
    done = run("audit", "verify", **NOWHERE)
    assert done.exit_code == 1
    assert "--no-heads goes on" in done.output


def test_a_store_without_the_table_says_what_to_run(clickhouse: ClickHouse, clickhouse_dsn: str) -> None:
    clickhouse.create_database()
    done = run("audit", "verify", "--no-heads", INFERWATCH_CLICKHOUSE_DSN=clickhouse_dsn)
    assert done.exit_code == 1
    assert "inferwatch migrate" in done.output


@pytest.mark.kafka
def test_the_ends_on_kafka_find_a_cut(store: ClickHouse, clickhouse_dsn: str, topics: Topics) -> None:
    last = rows_of(store)[-1]
    topic = topics.create("audit", cleanup_policy="compact")
    producer = Producer({"bootstrap.servers": topics.bootstrap_servers})
    for row in rows_of(store):
        head = Head(chain=row.chain, number=row.number, hash=row.hash, at_ms=row.at // 10**6)
        producer.produce(topic, msgspec.json.encode(head), head.chain.encode(), 1)
    assert producer.flush(20) == 0
    env = {
        "INFERWATCH_CLICKHOUSE_DSN": clickhouse_dsn,
        "INFERWATCH_KAFKA_BOOTSTRAP_SERVERS": topics.bootstrap_servers,
        "INFERWATCH_KAFKA_TOPIC_PREFIX": topics.prefix.rstrip("."),
    }
    done = run("audit", "verify", **env)
    assert done.exit_code == 0, done.output
    assert "1 ends are known from elsewhere" in done.output
    store.command(f"ALTER TABLE audit DELETE WHERE chain = '{last.chain}' AND number = 19")
    done = run("audit", "verify", "--grace", "0", **env)
    assert done.exit_code == (1 if __import__("time").time_ns() > START else 0), done.output
