"""Every committed dashboard is the one in the code, and every panel of it shows something, from the real engine."""

import json
import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest

from dashboards.build import DASHBOARDS, DIRECTORY, text, write
from dashboards.macros import expand
from dashboards.oncall import oncall
from dashboards.panels import DATASOURCE
from schemas.rows import Row
from streams.clickhouse import ClickHouse, ClickHouseError
from streams.migrate import migrate
from tests.dashboards.rows import END, HOSTILE, rows

ALL = {"model": "$__all", "version": "$__all", "client": "$__all", "budget": "1", "objective": "99.9"}
CASES = [(name, panel["title"]) for name, make in DASHBOARDS.items() for panel in make()["panels"] if panel["type"] != "row"]


def insert(clickhouse: ClickHouse, given: list[Row]) -> None:
    by_table: dict[str, list[Row]] = {}
    for row in given:
        by_table.setdefault(row.table, []).append(row)
    for table, part in by_table.items():
        clickhouse.insert(part, f"rows of {table}")


@pytest.fixture(scope="module")
def store(chdb_directory: Any) -> Iterator[ClickHouse]:
    """A database with a day in the life of two models, one with a name that breaks naive quoting."""
    with ClickHouse(f"chdb://{chdb_directory}?database=dashboards") as clickhouse:
        migrate(clickhouse)
        insert(clickhouse, rows(("fraud", HOSTILE)))
        yield clickhouse


def panel_of(name: str, title: str) -> dict[str, Any]:
    return next(panel for panel in DASHBOARDS[name]()["panels"] if panel["title"] == title)


def run(store: ClickHouse, panel: dict[str, Any], end: datetime = END, **variables: Any) -> list[dict[str, Any]]:
    (target,) = panel["targets"]
    return store.query(expand(target["rawSql"], start=end - timedelta(hours=6), end=end, variables=ALL | variables))


def is_empty(found: list[dict[str, Any]]) -> bool:
    """No rows, or a column apart from time and names that never has a value."""
    return not found or any(all(row[name] is None for row in found) for name in found[0])


def test_the_committed_files_are_what_the_code_makes() -> None:
    assert {file.stem for file in DIRECTORY.glob("*.json")} == set(DASHBOARDS)
    for name in DASHBOARDS:
        assert (DIRECTORY / f"{name}.json").read_text(encoding="utf-8") == text(name), "run: python -m dashboards.build"


def test_writing_removes_what_is_no_dashboard_any_more(tmp_path: Any) -> None:
    (tmp_path / "gone.json").write_text("{}")
    write(tmp_path)
    assert {file.stem for file in tmp_path.iterdir()} == set(DASHBOARDS)


@pytest.mark.clickhouse
@pytest.mark.parametrize(("name", "title"), CASES)
def test_a_panel_shows_something(store: ClickHouse, name: str, title: str) -> None:
    panel = panel_of(name, title)
    found = run(store, panel)
    assert not is_empty(found), "an empty panel tells on-call that nothing is wrong"
    if panel["type"] == "timeseries":
        times = [row["time"] for row in found]
        assert times == sorted(times)
        assert len(set(times)) > 1


@pytest.mark.clickhouse
@pytest.mark.parametrize(("name", "title"), CASES)
def test_a_panel_obeys_its_variables_and_takes_hostile_names(store: ClickHouse, name: str, title: str) -> None:
    panel = panel_of(name, title)
    several = run(store, panel, model=["fraud", "other'"], version=["1", "2"], client=["c0ffee", "o'hara"])
    assert not is_empty(several)
    if panel["type"] != "stat":
        assert run(store, panel, model=["nobody"], version=["1"], client=["nobody"]) == []


@pytest.mark.clickhouse
@pytest.mark.parametrize("name", DASHBOARDS)
def test_the_variables_list_what_there_is(store: ClickHouse, name: str) -> None:
    wanted = {"model": {"fraud", HOSTILE}, "version": {"1"}, "client": {"c0ffee", HOSTILE}}
    for variable in DASHBOARDS[name]()["templating"]["list"]:
        if variable["type"] == "query":
            sql = expand(variable["query"]["rawSql"], start=END - timedelta(hours=6), end=END, variables=ALL)
            assert {next(iter(row.values())) for row in store.query(sql)} == wanted[variable["name"]]


@pytest.mark.clickhouse
def test_open_alerts_are_the_newest_word_on_each(store: ClickHouse) -> None:
    found = {row["alert_id"]: row for row in run(store, panel_of("oncall", "Open alerts"))}
    assert {key: (row["severity"], row["state"]) for key, row in found.items()} == {
        "a1": ("page", "firing"),
        "a3": ("ticket", "firing"),
        "a4": ("ticket", "pending"),
    }
    assert found["a1"]["opened_ms"] == (END - timedelta(minutes=20)).timestamp() * 1000
    assert run(store, panel_of("oncall", "Open now")) == [{"Pages": 1, "Tickets": 1}]


@pytest.mark.clickhouse
def test_an_older_time_range_shows_what_was_open_then(store: ClickHouse) -> None:
    found = run(store, panel_of("oncall", "Open alerts"), END - timedelta(minutes=14))
    assert {row["alert_id"]: row["severity"] for row in found} == {"a1": "ticket", "a2": "page"}


@pytest.mark.clickhouse
def test_a_client_sees_alerts_about_its_group(store: ClickHouse) -> None:
    found = run(store, panel_of("oncall", "Open alerts"), client=["c0ffee"])
    assert [row["alert_id"] for row in found] == ["a3"]


@pytest.mark.clickhouse
def test_pages_are_counted_once_however_often_they_changed(store: ClickHouse) -> None:
    assert run(store, panel_of("oncall", "Pages against the budget, 30 days"), budget="2.5") == [{"Pages": 2, "Budget": 2.5}]


@pytest.mark.clickhouse
def test_figures_are_right(store: ClickHouse) -> None:
    rates = {row["rate"] for row in run(store, panel_of("oncall", "Request rate"))}
    assert rates == {10.0}  # 600 events a window of 60 s
    (burn,) = run(store, panel_of("oncall", "Error budget burn"))
    assert burn == pytest.approx(dict.fromkeys(("1 h", "6 h", "3 d"), 6 / 596 / 0.001))
    shares = run(store, panel_of("oncall", "Errors and denials"))[0]
    assert (shares["failed"], shares["refused"]) == (0.01, pytest.approx(4 / 600))
    assert {row["quiet"] for row in run(store, panel_of("oncall", "Completeness by instance"))} == {10}
    assert run(store, panel_of("oncall", "CPU by instance"))[0]["cores"] == pytest.approx(0.1)
    assert {row["delay"] for row in run(store, panel_of("oncall", "Time to judge"))} == {2.0}
    now = run(store, panel_of("oncall", "Drift now"))
    assert len(now) == 4  # two features of two models
    assert {row["window"] for row in now} == {END - timedelta(minutes=1)}
    assert now[0]["ln evidence"] == pytest.approx(0.3 * 29)
    reasons = {row["reason"] for row in run(store, panel_of("oncall", "Rejected by reason"))}
    assert reasons == {"unknown_model", "not_finite"}


@pytest.mark.clickhouse
def test_a_row_told_twice_is_shown_once(clickhouse: ClickHouse) -> None:
    migrate(clickhouse)
    for revision in (1, 2):
        insert(clickhouse, [type(row)(**{n: getattr(row, n) for n in row.__struct_fields__} | {"revision": revision}) for row in rows()])
    assert {row["rate"] for row in run(clickhouse, panel_of("oncall", "Request rate"))} == {10.0}
    assert run(clickhouse, panel_of("oncall", "Open now")) == [{"Pages": 1, "Tickets": 1}]


@pytest.mark.clickhouse
def test_an_empty_panel_is_noticed(clickhouse: ClickHouse) -> None:
    migrate(clickhouse)
    assert is_empty(run(clickhouse, panel_of("oncall", "Request rate")))
    with pytest.raises(ClickHouseError):
        run(clickhouse, {"targets": [{"rawSql": "SELECT nothing FROM windows WHERE $__timeFilter(start)"}]})


@pytest.mark.parametrize("name", DASHBOARDS)
def test_a_dashboard_is_well_formed(name: str) -> None:
    board = DASHBOARDS[name]()
    assert json.loads(text(name)) == board
    assert re.fullmatch(r"[a-z0-9-]{1,40}", board["uid"])
    assert [panel["id"] for panel in board["panels"]] == list(range(1, len(board["panels"]) + 1))
    assert board["links"]
    taken: set[tuple[int, int]] = set()
    for panel in board["panels"]:
        grid = panel["gridPos"]
        assert grid["x"] >= 0
        assert grid["x"] + grid["w"] <= 24
        cells = {(x, y) for x in range(grid["x"], grid["x"] + grid["w"]) for y in range(grid["y"], grid["y"] + grid["h"])}
        assert not cells & taken, f"{panel['title']} lies over another panel"
        taken |= cells
    for panel in board["panels"]:
        if panel["type"] != "row":
            assert len(panel["description"]) > 30, f"{panel['title']} is not explained"
            assert panel["datasource"] == DATASOURCE
            (target,) = panel["targets"]
            assert target["format"] == (0 if panel["type"] == "timeseries" else 1)
            if "uniqExact" not in target["rawSql"]:
                assert "FINAL" in target["rawSql"], f"{panel['title']} would count a row twice before a merge"


@pytest.mark.clickhouse
@pytest.mark.parametrize("name", DASHBOARDS)
def test_columns_with_a_dress_exist(store: ClickHouse, name: str) -> None:
    for panel in DASHBOARDS[name]()["panels"]:
        dressed = {override["matcher"]["options"] for override in panel.get("fieldConfig", {}).get("overrides", [])}
        if dressed:
            found = run(store, panel)[0]
            assert dressed <= set(found)
            fields = re.findall(r"__data\.fields\.(\w+)", json.dumps(panel["fieldConfig"]))
            assert set(fields) <= set(found)


def test_the_budget_has_a_range() -> None:
    with pytest.raises(ValueError, match=r"false_pages_per_30d = 0: expected 0\.001 to 1000"):
        oncall(0)
    (budget,) = (v for v in oncall(0.5)["templating"]["list"] if v["name"] == "budget")
    assert budget["query"] == "0.5"
