"""`inferwatch check`: shows the settings without secrets, says what they mean, and names what can't be reached."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from streams import kafka
from streams.commands.check import _runbooks
from tests.commands.cli import NOWHERE, environment, run

_SECRETS = {
    "INFERWATCH_KAFKA_SASL_PASSWORD": "hunter2-kafka",
    "INFERWATCH_MEMBERSHIP_KEY": "hunter2-membership",
    "INFERWATCH_CLICKHOUSE_PASSWORD": "hunter2-clickhouse",
}


def test_it_shows_the_whole_tree_and_what_the_budget_means() -> None:
    said = run("check", "--no-connect")
    assert said.exit_code == 0
    tree = json.loads(said.output[: said.output.rindex("}") + 1])
    assert tree["budget"]["false_pages_per_30d"] == 1.0
    assert "1 false pages a model in 30 days: drift pages at evidence 24,686 to 1 (ln 10.1)" in said.output


def test_no_broker_no_store_and_no_pager_are_told_by_name_with_exit_code_1(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kafka, "_REACH_S", 0.5)
    said = run("check", **NOWHERE)
    assert said.exit_code == 1
    failed = [line for line in said.output.splitlines() if line.startswith("FAILED")]
    assert [line.split()[1] for line in failed] == ["Kafka", "ClickHouse", "Alertmanager"]
    assert all("127.0.0.1:1" in line for line in failed)


@pytest.mark.clickhouse
def test_a_store_without_our_database_is_told_what_makes_it(clickhouse_dsn: str) -> None:
    for command in ("check", "alert list"):
        said = run(*command.split(), **(NOWHERE | {"INFERWATCH_CLICKHOUSE_DSN": clickhouse_dsn}))
        assert said.exit_code == 1
        assert "inferwatch migrate" in said.output + said.stderr


def test_no_secret_is_in_anything_that_it_says_wherever_it_was_given() -> None:
    urls = {
        "INFERWATCH_CLICKHOUSE_DSN": "http://writer:hunter2-dsn@127.0.0.1:1/inferwatch",
        "INFERWATCH_ALERTMANAGER_URLS": "http://u:hunter2-url@127.0.0.1:1,http://u:hunter2-port@host:nonsense,http://127.0.0.1:1?token=hunter2-q",
    }
    process = subprocess.run(
        [sys.executable, "-m", "streams.cli", "check"],
        env=environment(**(NOWHERE | _SECRETS | urls)),
        timeout=120,
        capture_output=True,
        text=True,
    )
    assert process.returncode == 1
    assert "***" in process.stdout
    assert "hunter2" not in process.stdout + process.stderr


@pytest.mark.parametrize(
    ("text", "told"),
    [("[window]\nlenght_s = 1", "lenght_s"), ("[membership]\nkey = 'hunter2'", "INFERWATCH_MEMBERSHIP_KEY_FILE"), ("[kafka\n", "line 1")],
)
def test_a_mistake_in_the_file_is_exit_code_2_and_names_file_and_setting(text: str, told: str, tmp_path: Path) -> None:
    file = tmp_path / "inferwatch.toml"
    file.write_text(text)
    said = run("check", "--no-connect", "--settings", file)
    assert said.exit_code == 2
    assert said.stderr.startswith(f"Error: {file}")
    assert told in said.stderr
    assert "hunter2" not in said.output


def test_a_settings_file_that_is_not_there_is_exit_code_2(tmp_path: Path) -> None:
    for given in ({"INFERWATCH_SETTINGS": str(tmp_path / "absent.toml")}, {}):
        said = run("check", "--no-connect", *([] if given else ["--settings", tmp_path / "absent.toml"]), **given)
        assert said.exit_code == 2
        assert "absent.toml: No such file or directory" in said.stderr


async def test_a_runbook_that_is_not_there_is_named_and_one_behind_a_login_is_there() -> None:
    async def page(request: web.Request) -> web.Response:
        return web.Response(status={"InferwatchDrift.md": 404, "InferwatchAccess.md": 302}.get(request.match_info["name"], 200))

    app = web.Application()
    app.router.add_get("/wiki/{name}", page)
    async with TestServer(app) as server:
        told = await _runbooks(str(server.make_url("/wiki/")))
    assert told == "no page InferwatchDrift.md: alerts link there; routing.runbooks_url"
    assert "Cannot connect" in (await _runbooks("http://127.0.0.1:1") or "")
