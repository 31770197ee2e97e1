"""Each of the five ClickHouse users can do its work and no more, on the real engine with the grants that we hand out."""

from __future__ import annotations

import multiprocessing
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.deploy.as_clickhouse_user import do
from tests.deploy.files import ROOT

FOLDER = ROOT / "deploy" / "clickhouse"
USERS = ("iw_migrator", "iw_writer", "grafana", "iw_oncall", "iw_eraser", "iw_analyst")
DOES = {
    "iw_migrator": "migrate", "iw_writer": "insert", "grafana": "read", "iw_oncall": "judge", "iw_eraser": "erase", "iw_analyst": "analyse",
}  # fmt: skip


def in_sql() -> dict[str, list[str]]:
    """The GRANT statements of users.sql by user, without the user."""
    text = re.sub(r"--.*", "", (FOLDER / "users.sql").read_text())
    found: dict[str, list[str]] = {}
    for grant, user in re.findall(r"(GRANT [^;]+?) TO (\w+);", text):
        found.setdefault(user, []).append(grant)
    return found


Run = Callable[..., dict[tuple[str, str], str]]


@pytest.fixture(scope="module")
def run(chdb_directory: Path) -> Iterator[Run]:
    """`do` in a process of its own each time: a fork of one that has imported everything but the engine, whose threads no fork survives."""
    assert chdb_directory
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.deploy.as_clickhouse_user"])
    with ProcessPoolExecutor(1, context, max_tasks_per_child=1) as processes:
        yield lambda *arguments, **named: processes.submit(do, *arguments, **named).result(120)


def test_the_users_of_compose_have_the_grants_of_the_sql_file() -> None:
    in_xml: dict[str, list[str]] = {}
    for file in sorted((FOLDER / "users.d").glob("*.xml")):
        users = ElementTree.parse(file).find("users")
        assert users is not None
        for user in users:
            in_xml[user.tag] = [grant.text or "" for grant in user.findall("grants/query")]
            password = user.find("password")
            assert password is not None
            assert password.get("from_env"), "a password in a file"
    assert in_xml == in_sql()
    assert set(in_xml) == set(USERS)


@pytest.mark.clickhouse
def test_each_user_does_its_work_and_nothing_else(run: Run, tmp_path: Path) -> None:
    for user in USERS:  # in this order: tables, rows, panels
        outcome = run(tmp_path, in_sql()[user], (DOES[user], "harm"))
        refused = {name: error for (kind, name), error in outcome.items() if kind == DOES[user] and error}
        assert refused == {}, f"{user} lacks a right that it needs"
        outcome_names = [name for kind, name in outcome if kind == "harm"]
        done = [name for (kind, name), error in outcome.items() if kind == "harm" and "ACCESS_DENIED" not in error]
        mine = [text for text in outcome_names if text.startswith("ALTER")] if user == "iw_migrator" else []
        assert done == mine, f"{user} can do harm"
    others = run(tmp_path, in_sql()["iw_writer"], ("read", "migrate"))
    assert all("ACCESS_DENIED" in error for error in others.values()), "the writer reads or migrates"
    others = run(tmp_path, in_sql()["grafana"], ("insert", "migrate"))
    assert all("ACCESS_DENIED" in error for (_, name), error in others.items() if name != "x"), "the reader writes"


@pytest.mark.clickhouse
def test_the_user_of_the_nightly_check_reads_the_audit_log_and_no_more(run: Run, tmp_path: Path) -> None:
    head = (ROOT / "deploy/kubernetes/optional/audit.yaml").read_text()
    (grant,) = re.findall(r"(GRANT [^;]+?) TO iw_auditor;", head)
    run(tmp_path, in_sql()["iw_migrator"], ["migrate"])
    outcome = run(tmp_path, [grant], ("verify", "harm", "read"))
    assert outcome["verify", "audit"] == ""
    assert all("ACCESS_DENIED" in error for (kind, name), error in outcome.items() if kind != "verify" and name != "x"), "it can do more"


@pytest.mark.clickhouse
@pytest.mark.parametrize("user", USERS)
def test_no_grant_is_there_that_is_not_needed(run: Run, tmp_path: Path, user: str) -> None:
    if user != "iw_migrator":
        run(tmp_path, in_sql()["iw_migrator"], ["migrate"])
        run(tmp_path, in_sql()["iw_writer"], ["insert"])
    grants = in_sql()[user]
    rights = [(at, right) for at, grant in enumerate(grants) for right in re.sub(r"GRANT (.*) ON .*", r"\1", grant).split(", ")]
    for at, right in rights:
        fewer = list(grants)
        left = [one for place, one in rights if place == at and one != right]
        where = grants[at].partition(" ON ")[2]
        fewer[at : at + 1] = [f"GRANT {', '.join(left)} ON {where}"] if left else []
        folder = tmp_path
        if user == "iw_migrator":
            folder = tmp_path / f"{at}-{right.replace(' ', '-')}"
            folder.mkdir()
        outcome = run(folder, fewer, [DOES[user]], until_denied=True)
        assert any("ACCESS_DENIED" in error for error in outcome.values()), f"{user} needs no {right}"
