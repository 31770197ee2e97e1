"""Whatever a document shows as code is run, or says in a comment before it why it cannot be: ``<!-- not run: REASON -->``."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from click.testing import CliRunner
from confluent_kafka import Producer
from numpy.typing import NDArray

import inferwatch
from inferwatch import CONTENT_TYPE_JSON, Client, MemoryTransport, decode
from schemas.erasure import FREE_TEXT, holders
from schemas.rows import AckRow, AlertRow, SampledEventRow
from streams.cli import main
from streams.clickhouse import ClickHouse, ClickHouseError
from streams.migrate import migrate
from streams.settings import load
from tests.docs.blocks import DOCUMENTS, ROOT, Block, blocks, runnable
from tests.docs.test_docs import command_lines
from tests.docs.test_howtos_on_kafka import PAGES

LANGUAGES = {"sh", "python", "toml", "yaml", "json", "sql", "promql", "text", "console"}
"""promql: `test_docs` shows it to promtool."""
SHOWN = {"text", "console"}
"""What a program printed: other tests compare it, where it can be."""
NOT_RUN = 1
"""Blocks that say that they cannot be run. More is a decision: look whether there is no other way."""
QUERY_LOG = """
    CREATE TABLE IF NOT EXISTS query_log (event_date Date, event_time DateTime, type Enum8('QueryStart' = 1, 'QueryFinish' = 2,
    'ExceptionBeforeStart' = 3, 'ExceptionWhileProcessing' = 4), query_kind LowCardinality(String), user String, address IPv6,
    http_user_agent String, tables Array(LowCardinality(String)), is_initial_query UInt8, result_rows UInt64, query String)
    ENGINE = MergeTree ORDER BY event_time
"""
"""What we ask of ClickHouse's own log, which an engine inside a process does not keep."""
TUTORIAL = ROOT / "docs/tutorial.md"


def test_every_block_says_what_it_is_written_in() -> None:
    assert [f"{block}: {block.language!r}" for block in blocks() if block.language not in LANGUAGES] == []


def test_what_is_not_run_says_why_and_is_counted(record_property: Callable[[str, object], None]) -> None:
    marked = [block for block in blocks() if block.not_run]
    record_property("blocks", len(blocks()))
    record_property("blocks not run", len(marked))
    assert len(marked) == NOT_RUN, "\n".join(f"{block}: {block.not_run}" for block in marked)
    markers = sum(block.document.read_text().count("<!-- not run:") for block in {block.document: block for block in blocks()}.values())
    assert markers == len(marked), "a marker stands before no block"


# -- Python ---------------------------------------------------------------------------------------------------------------------------


class Page:
    """The Python of one document, run from top to bottom with one set of names: no broker, no files of a production host."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.transport = MemoryTransport()
        self.clients: list[Client] = []
        read_text = Path.read_text

        def secret(path: Path, *args: Any, **given: Any) -> str:
            return "secret\n" if str(path).startswith("/run/") else read_text(path, *args, **given)

        monkeypatch.setattr(Path, "read_text", secret)
        monkeypatch.setattr(inferwatch, "Client", self.client)
        monkeypatch.setenv("INFERWATCH_PSEUDONYM_KEY", "a key of the tests, long enough")
        self.names: dict[str, Any] = {
            "__name__": "snippet",
            "Client": self.client,
            "Path": Path,
            "user_id": "u-1",
            "request": {"amount": 12.5},
            "handle": lambda request, watch: watch.record(model="m", version="1", features=request, prediction="ok"),
        }

    def client(self, *servers: str, **given: Any) -> Client:
        """The SDK's client on a transport in memory; options of Kafka are shown to librdkafka, files apart."""
        options = given.pop("kafka_options", {})
        if servers:
            plain = {name: value for name, value in options.items() if not name.endswith(".location")}
            Producer(plain | {"bootstrap.servers": servers[0]})  # refuses an option that it does not know
        ours: dict[str, Any] = {"transport": self.transport, "strict": True}
        made = Client(**ours | given)
        self.clients.append(made)
        return made

    def run(self, block: Block) -> None:
        exec(compile("\n" * block.line + block.text, str(block.document), "exec"), self.names)


python = [block for block in runnable("python") if block.document != TUTORIAL]


@pytest.mark.parametrize("document", sorted({block.document for block in python}), ids=lambda path: str(path.relative_to(ROOT)))
def test_the_python_of_a_document_runs(document: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = Page(monkeypatch)
    mine = [block for block in python if block.document == document]
    for block in mine:
        page.run(block)
    for client in page.clients:
        client.close(1.0)
    recorded = sum(block.text.count(".record(") for block in mine)
    assert bool(page.transport.events()) or not recorded or "MemoryTransport" in "".join(block.text for block in mine)


# -- settings, events, manifests, SQL -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("block", runnable("toml"), ids=str)
def test_settings_load(block: Block, tmp_path: Path) -> None:
    file = tmp_path / "inferwatch.toml"
    file.write_text(block.text)
    assert load(file, {}) != load(None, {}), "it sets nothing"


@pytest.mark.parametrize("block", runnable("json"), ids=str)
def test_events_are_accepted(block: Block) -> None:
    batches, bad = decode(json.dumps(json.loads(block.text)).encode(), CONTENT_TYPE_JSON)
    assert bad == []
    assert sum(map(len, batches)) >= 1


def test_manifests_fit_their_schemas() -> None:
    for block in runnable("yaml"):
        for one in yaml.safe_load_all(block.text):
            if ".kserve.io/" in one["apiVersion"]:  # kinds of its own
                continue
            kubernetes_validate.validate(one, kubernetes_validate.latest_version(), strict=True)


@pytest.mark.clickhouse
def test_sql_runs_on_the_tables(clickhouse: ClickHouse) -> None:
    migrate(clickhouse)
    queries = runnable("sql")
    assert len(queries) > 25
    clickhouse.command(QUERY_LOG)
    for block in queries:
        try:
            clickhouse.query(block.text.replace("system.query_log", "query_log"))
        except ClickHouseError as error:
            pytest.fail(f"{block}: {error}")


@pytest.mark.clickhouse
def test_reads_of_tables_that_name_clients_are_told_from_all_others(clickhouse: ClickHouse) -> None:
    migrate(clickhouse)
    (block,) = (block for block in runnable("sql") if "system.query_log" in block.text)
    clickhouse.command(QUERY_LOG)
    ours = [f"inferwatch.{table.table}" for table in (*holders("client"), *FREE_TEXT)]
    for user, kind, tables in [("ada", "Select", ours), ("grafana", "Select", ["inferwatch.windows"]), ("iw_writer", "Insert", ours)]:
        clickhouse.command(
            "INSERT INTO query_log (event_date, event_time, type, query_kind, user, tables, is_initial_query) "
            f"VALUES (today(), now(), 'QueryFinish', '{kind}', '{user}', {tables}, 1)"
        )
    (found,) = clickhouse.query(block.text.replace("system.query_log", "query_log"))
    assert (found["user"], sorted(found["read"])) == ("ada", sorted(ours))


# -- shell ----------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("block", runnable("sh"), ids=str)
def test_the_shell_can_read_it(block: Block) -> None:
    done = subprocess.run(["bash", "-n"], input=block.text, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def lines() -> Iterator[tuple[Block, list[str]]]:
    """The words of each line of shell, but for variables before the command."""
    for block in runnable("sh"):
        for line in block.text.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            while words and re.fullmatch(r"[A-Z0-9_]+=.*", words[0]):
                del words[0]
            if words and words[0] != "export":
                yield block, words


OURS = {"inferwatch", ".venv/bin/inferwatch"}
ELSEWHERE = {"curl", "docker", "kubectl", "kcat", "kafka-acls.sh", "uv"}
"""Programs of others: their files must exist, and `tests/deploy` looks at what they are given."""


def test_every_program_is_one_that_is_looked_at() -> None:
    known = OURS | ELSEWHERE | {"make", "cp", "mkdir", "printf", ".venv/bin/python"}
    assert {f"{block}: {words[0]}" for block, words in lines() if words[0] not in known} == set()


def test_files_that_are_copied_or_applied_exist_and_modules_too() -> None:
    for block, words in lines():
        if words[0] == "cp":
            assert (ROOT / words[1]).is_file(), f"{block}: {words[1]}"
        for option in ("-f", "-k"):
            if words[0] == "kubectl" and option in words and words[words.index(option) + 1].startswith("deploy/"):
                assert (ROOT / words[words.index(option) + 1]).exists(), f"{block}: {words}"
        if words[:2] == [".venv/bin/python", "-m"]:
            name = Path(words[2].replace(".", "/"))
            assert (ROOT / name.with_suffix(".py")).exists() or (ROOT / name / "__main__.py").exists(), f"{block}: {words[2]}"
        if words[:2] == ["uv", "sync"]:
            assert f"\n{words[3]} = [" in (ROOT / "pyproject.toml").read_text(), f"{block}: no extra {words[3]}"


def test_compose_knows_its_services_and_profiles() -> None:
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    profiles = {name for service in compose["services"].values() for name in service.get("profiles", [])}
    for block, words in lines():
        if words[:2] == ["docker", "compose"]:
            for option, names in (("--profile", profiles), ("--scale", {f"{name}=3" for name in compose["services"]})):
                assert option not in words or words[words.index(option) + 1] in names, f"{block}: {words}"


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clickhouse: ClickHouse, clickhouse_dsn: str) -> Path:
    """Somebody's working folder, with the files that the documents name, and a store in which the documents' alert is."""
    rng = np.random.default_rng(0)
    n = 2_400
    amount, age, country = rng.gamma(2, 20, n), rng.normal(40, 9, n), rng.choice(["NO", "SE", "DK"], n)
    columns: dict[str, NDArray[Any]] = {"amount": amount, "age": age, "country": country}
    p = 1 / (1 + np.exp(columns["amount"] / 40 - 1))
    columns |= {"prob_ok": p, "prob_fraud": 1 - p, "y": np.where(rng.random(n) < p, "ok", "fraud"), "member": np.arange(n) < n // 2}
    pq.write_table(pa.table(columns), tmp_path / "rows.parquet")
    (tmp_path / "inferwatch.toml").write_text("[budget]\nfalse_pages_per_30d = 2\n")
    (tmp_path / "id.txt").write_text("somebody\n")
    (tmp_path / "tests").symlink_to(ROOT / "tests")
    (tmp_path / "deploy").symlink_to(ROOT / "deploy")
    shutil.copytree(ROOT / "tests/traces/digits_mlp", tmp_path / "FOLDER")
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("INFERWATCH_") and "CACHE" not in name]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("INFERWATCH_CLICKHOUSE_DSN", clickhouse_dsn)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setenv("INFERWATCH_MEMBERSHIP_KEY", "a key of the tests'")
    monkeypatch.setenv("INFERWATCH_PSEUDONYM_KEY", "another key of the tests'")
    migrate(clickhouse)
    at = 1_795_000_000 * 10**9
    about = {"model": "fraud", "version": "8", "severity": "page", "opened_at": at}
    words = {"alertname": "InferwatchDrift", "state": "firing", "summary": "amount moved"}
    alert = AlertRow(alert_id="d78e9e8d8cfb", detector="drift", at=at, **words, **about)  # type: ignore[arg-type]
    ack = AckRow(alert_id="x", detector="drift", verdict="true", at=at, **about)  # type: ignore[arg-type]
    event = SampledEventRow(
        model="fraud", version="8", at=time.time_ns() // 10**9 * 10**9, event_id="order-17", client="c", reason="random"
    )
    for row in (alert, ack, event):
        clickhouse.insert([row], row.table)
    return tmp_path


RUN: list[tuple[str, int]] = [
    (r"check --no-connect( --settings deploy/\S+)?", 0),
    (r"reference build --model fraud .*", 0),
    (r"reference show \S+", 0),
    (r"migrate( --dry-run)?", 0),
    (r"replay FOLDER .*", 0),
    (r"alert list", 0),
    (r"alert ack [0-9a-f]{12} .*", 0),
    (r"gate --model fraud .*", 1),  # nothing is known of such a version here
    (r"incident export [0-9a-f]{12}.*", 0),
    (r"delete .*--dry-run", 1),
    (r"delete --event .*", 0),
]
"""Commands that are run for real, in this order, and how they end on the desk; the others are parsed (`test_docs`)."""


ELSEWHERE_RUN = {
    r"drill( .*)?": "tests/demo/test_drill.py",
    r"gameday .*": "tests/gameday/test_gameday.py",
    r"reference build --mlflow .*": "tests/streams/test_registry.py",
    r"replay tests/traces/\w+ .*": "tests/commands/test_replay.py",
    r"check": "tests/docs/test_howtos_on_kafka.py",
    r"reference publish \S+": "tests/docs/test_howtos_on_kafka.py",
}
"""Commands that other tests say, with this page's options or nearly so."""


def test_every_command_of_ours_is_run_by_a_test() -> None:
    pages = {TUTORIAL, *(ROOT / f"docs/{page}.md" for page in PAGES)}
    known = [*(pattern for pattern, _ in RUN), *ELSEWHERE_RUN]
    left = [
        f"{block}: {' '.join(words)}"
        for block, words in lines()
        if words[0] in OURS and block.document not in pages and not any(re.fullmatch(one, " ".join(words[1:])) for one in known)
    ]
    assert left == []
    assert all((ROOT / file).is_file() for file in ELSEWHERE_RUN.values())


@pytest.mark.clickhouse
def test_commands_that_need_no_broker_run(desk: Path) -> None:
    said = [line for document in DOCUMENTS if document != TUTORIAL for line in command_lines(document)]
    quoted = sorted({re.split(r" [<>#|] ", f"{line} ")[0].strip() for line in said})
    left = list(quoted)
    for pattern, code in RUN:
        mine = [line for line in left if re.fullmatch(pattern, line)]
        assert mine, f"no document says {pattern}"
        for line in mine:
            left.remove(line)
            words = shlex.split(line)
            if words[0] == "delete" and "--dry-run" not in words:
                words.append("--no-workers")
            done = CliRunner().invoke(main, words, input="somebody\n")
            assert done.exit_code == code, f"inferwatch {line}: {done.exit_code}\n{done.output[-2000:]}"
    assert (desk / "fraud-7.iwref").is_file()
    assert (desk / "OUT/summary.json").is_file()
    (made,) = desk.glob("incident-*.zip")
    verify = CliRunner().invoke(main, ["incident", "verify", made.name])
    assert verify.exit_code == 0, verify.output
