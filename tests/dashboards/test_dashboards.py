"""Every committed dashboard is the one in the code, and every panel of it shows something, from the real engine."""

import json
import re
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pytest

from dashboards.attacks import FAMILIES
from dashboards.build import DIRECTORY, dashboards, text, views, write
from dashboards.grafana import DATASOURCE
from dashboards.macros import expand
from dashboards.panels import Panel
from dashboards.scope import Objectives
from schemas.rows import AlertRow, FeatureWindowRow, Row, SampledEventRow, WindowRow
from schemas.techniques import BY_DETECTOR
from streams.clickhouse import ClickHouse, ClickHouseError
from streams.migrate import migrate
from streams.objectives import objectives
from streams.settings import Settings
from tests.dashboards.rows import END, END_NS, HOSTILE, insert, rows
from tests.streams.events import settings

VIEWS = views()
ALL = dict.fromkeys(("model", "version", "service", "client", "feature"), "$__all") | {"budget": "1", "objective": "99.9", "slow": "24"}
CASES = [(name, panel.title) for name, view in VIEWS.items() for panel in view.panels if panel.kind != "row"]


def panel_of(name: str, title: str) -> Panel:
    return VIEWS[name].panel(title)


def run(store: ClickHouse, panel: Panel, end: datetime = END, **variables: Any) -> list[dict[str, Any]]:
    return store.query(expand(panel.sql, start=end - timedelta(hours=6), end=end, variables=ALL | variables))


def is_empty(found: list[dict[str, Any]]) -> bool:
    """No rows, or a column apart from time and names that never has a value."""
    return not found or any(all(row[name] is None for row in found) for name in found[0])


def test_the_committed_files_are_what_the_code_makes() -> None:
    assert {file.stem for file in DIRECTORY.glob("*.json")} == set(VIEWS)
    for name in VIEWS:
        assert (DIRECTORY / f"{name}.json").read_text(encoding="utf-8") == text(name), "run: python -m dashboards.build"


def test_writing_removes_what_is_no_dashboard_any_more(tmp_path: Any) -> None:
    (tmp_path / "gone.json").write_text("{}")
    write(tmp_path)
    assert {file.stem for file in tmp_path.iterdir()} == set(VIEWS)


@pytest.mark.clickhouse
@pytest.mark.parametrize(("name", "title"), CASES)
def test_a_panel_shows_something(store: ClickHouse, name: str, title: str) -> None:
    panel = panel_of(name, title)
    found = run(store, panel)
    assert not is_empty(found), "an empty panel tells on-call that nothing is wrong"
    if panel.kind == "timeseries":
        times = [row["time"] for row in found]
        assert times == sorted(times)
        assert len(set(times)) > 1


@pytest.mark.clickhouse
@pytest.mark.parametrize(("name", "title"), CASES)
def test_a_panel_obeys_its_variables_and_takes_hostile_names(store: ClickHouse, name: str, title: str) -> None:
    panel = panel_of(name, title)
    several = run(store, panel, model=["fraud", "other'"], version=["1", "2"], client=["c0ffee", "o'hara"])
    assert not is_empty(several)
    if panel.kind != "stat" and "FROM workers" not in panel.sql:  # a worker is of no model
        assert run(store, panel, model=["nobody"], version=["1"], client=["nobody"]) == []
        assert "${service" not in panel.sql or title == "Tables" or run(store, panel, service=["nobody"]) == []


@pytest.mark.clickhouse
@pytest.mark.parametrize("name", VIEWS)
def test_the_variables_list_what_there_is(store: ClickHouse, name: str) -> None:
    wanted = {"model": {"fraud", HOSTILE}, "version": {"1"}, "client": {"c0ffee", HOSTILE, "quiet"}, "feature": {"amount", "age"}}
    wanted["service"] = {"shop"}
    for variable in VIEWS[name].variables:
        if variable.sql:
            sql = expand(variable.sql, start=END - timedelta(hours=6), end=END, variables=ALL)
            assert {next(iter(row.values())) for row in store.query(sql)} == wanted[variable.name]


@pytest.mark.clickhouse
def test_what_was_loaded_in_the_time_range_is_shown_until_it_ended(store: ClickHouse) -> None:
    found = run(store, panel_of("oncall", "What is loaded"))
    assert [(row["instance"], row["signature"], row["digest"]) for row in found] == [
        ("shop-1", "valid", "sha256:1"),
        ("shop-0", "missing", "sha256:0"),
    ]
    assert [row["ended"] for row in found] == [None, END - timedelta(minutes=60)]
    assert [row["since"] for row in found] == [END - timedelta(minutes=25), END - timedelta(minutes=300)]
    assert run(store, panel_of("executive", "Signed artefacts")) == [{"signed": 0.5}]


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
    assert run(store, panel_of("oncall", "Pages against the budget, 30 days"), budget="2.5") == [{"Pages": 3, "False": 1, "Budget": 5.0}]


@pytest.mark.clickhouse
def test_figures_are_right(store: ClickHouse) -> None:
    rates = {row["rate"] for row in run(store, panel_of("oncall", "Request rate"))}
    assert rates == {10.0}  # 600 events a window of 60 s
    (burn,) = run(store, panel_of("oncall", "Error budget burn"))
    assert burn == pytest.approx(dict.fromkeys(("1 h", "6 h", "3 d"), 6 / 596 / 0.001) | {"security, 3 d": 2.5})
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
def test_leadership_sees_the_models_at_risk_first(store: ClickHouse) -> None:
    at_risk, other = run(store, panel_of("executive", "Models at risk"))
    assert (at_risk["model"], at_risk["pages"], at_risk["tickets"]) == ("fraud", 1, 1)
    assert (other["model"], other["pages"], other["tickets"]) == (HOSTILE, 0, 0)
    assert at_risk["requests"] == 30 * 600
    assert at_risk["availability"] == pytest.approx(590 / 596)
    assert (at_risk["security pages"], at_risk["budget left"]) == (1, pytest.approx(1 - 6 / 596 / 0.001 - 0.25))
    assert at_risk["clients"] == pytest.approx(0.2 * 29)
    assert run(store, panel_of("executive", "Models with an open page")) == [{"at risk": 1, "watched": 2}]
    assert run(store, panel_of("executive", "Availability"))[0]["answered"] == pytest.approx(590 / 596)
    assert run(store, panel_of("executive", "Telemetry completeness"))[0]["arrived"] == pytest.approx(599 / 601)
    assert {row["drift"] for row in run(store, panel_of("executive", "Drift by model and day"))} == {0}
    families = {
        row["detector"]: (row["pages"], row["tickets"]) for row in run(store, panel_of("executive", "Incidents in 90 days by family"))
    }
    assert families == {"drift": (1, 0), "evasion": (1, 0), "canary": (1, 0), "extraction": (0, 1)}  # pending completeness is none


@pytest.mark.clickhouse
def test_an_engineer_sees_what_moved_and_since_when(store: ClickHouse) -> None:
    first = run(store, panel_of("debug", "What moved"), model=["fraud"])[0]
    assert first["ln evidence most"] == pytest.approx(0.3 * 29)
    assert first["since"] == END - timedelta(minutes=30 - 21)
    assert (first["events"], first["severity"]) == (30 * 600, "ticket")
    cells = run(store, panel_of("debug", "Reference against current"), feature=["amount"], model=["fraud"])
    assert [row["bin"] for row in cells] == ["amount: low", "amount: high"]
    assert [row["reference"] for row in cells] == pytest.approx([1 / 4, 3 / 4])
    assert [row["whole_range"] for row in cells] == pytest.approx([1 / 6, 5 / 6])
    assert [row["newest_tenth"] for row in cells] == pytest.approx([1 / 6, 5 / 6])
    several = run(store, panel_of("debug", "Reference against current"))
    assert {row["bin"] for row in several} == {f"{model} 1 age: {end}" for model in ("fraud", HOSTILE) for end in ("low", "high")}
    shares = run(store, panel_of("debug", "Classes"), model=["fraud"])[:2]
    assert {row["series"]: row["share"] for row in shares} == pytest.approx({"fraud 1 a": 2 / 3, "fraud 1 b": 1 / 3})
    assert run(store, panel_of("debug", "Scores")) == [{"score": "0.7", "share": 1.0}]


@pytest.mark.clickhouse
def test_an_engineer_sees_where_features_came_from_and_that_they_grow_old(store: ClickHouse) -> None:
    named, silent = sorted(
        run(store, panel_of("debug", "Where the features came from"), model=["fraud"]), key=lambda row: row["oldest"] is None
    )
    assert (named["feature_view"], named["events"], named["share"], named["oldest"]) == ("customers:3", 30, 0.5, 89.0)
    assert named["age P50"] == pytest.approx(74.5)
    assert (silent["feature_view"], silent["age P95"]) == ("", None)
    ages = run(store, panel_of("debug", "Age of the features"), model=["fraud"])
    assert {row["series"] for row in ages} == {"fraud customers:3"}
    assert ages[0]["age"] < ages[-1]["age"]


@pytest.mark.clickhouse
def test_the_reference_is_that_of_the_hours_shown_and_windows_of_other_bins_are_left_out(clickhouse: ClickHouse) -> None:
    migrate(clickhouse)

    def window(minutes: int, reference: str, n: int, cells: tuple[int, ...], **given: Any) -> list[Row]:
        start = int((END - timedelta(minutes=minutes)).timestamp()) * 10**9
        key: dict[str, Any] = {"model": "m", "version": "1", "start": start}
        of_model = WindowRow(**key, end=start + 6 * 10**10, reference=reference, n=n, judged_at=start + 6 * 10**10)
        return [of_model, FeatureWindowRow(**key, feature="f", kind="numeric", n=n, cells=cells, **given)]

    old = window(300, "r0", 100, (5, 90, 5))
    before = window(200, "r1", 100, (100, 0), expected=(0.9, 0.1), cell_names=("a", "b"))
    recent = [
        *window(20, "r1", 300, (150, 150), expected=(0.2, 0.8), cell_names=("a", "b")),
        *window(10, "r1", 100, (100, 0), expected=(0.6, 0.4), cell_names=("a", "b")),
    ]
    insert(clickhouse, [*old, *before, *recent])
    panel = panel_of("debug", "Reference against current")
    assert run(clickhouse, panel) == [
        {"bin": "f: a", "reference": pytest.approx(0.3), "newest_tenth": 250 / 400, "whole_range": 350 / 500},
        {"bin": "f: b", "reference": pytest.approx(0.7), "newest_tenth": 150 / 400, "whole_range": 150 / 500},
    ]
    # nothing came lately: the reference of all that did; of before the columns: numbers, and no reference
    earlier = run(clickhouse, panel, END - timedelta(minutes=100))
    assert [(row["reference"], row["newest_tenth"]) for row in earlier] == [(pytest.approx(0.9), None), (pytest.approx(0.1), None)]
    oldest = run(clickhouse, panel, END - timedelta(minutes=299))
    assert [(row["bin"], row["reference"], row["whole_range"]) for row in oldest] == [
        ("f: 1", None, 0.05), ("f: 2", None, 0.9), ("f: 3", None, 0.05),
    ]  # fmt: skip


@pytest.mark.clickhouse
def test_accuracy_is_of_all_parts_of_a_window_beside_what_was_promised(store: ClickHouse) -> None:
    over_time = run(store, panel_of("debug", "Accuracy"), model=["fraud"])
    of = {row["series"]: row["value"] for row in over_time}
    assert of == {
        "fraud 1 measured": pytest.approx(1 - 11 / 100), "fraud 1 estimated": pytest.approx(0.92), "fraud 1 low": pytest.approx(0.9),
        "fraud 1 high": pytest.approx(0.94),
    }  # fmt: skip
    late, early = sorted(run(store, panel_of("debug", "Right and promised"), model=["fraud"]), key=lambda row: str(row["delay"]))
    assert (late["delay"], early["delay"]) == ("1d", "1h")
    assert (late["labels"], late["accuracy"], late["MAE"]) == (3_600, pytest.approx(0.89), "2.5")  # of a regression one in six
    assert (late["promised"], late["log loss"]) == (pytest.approx(0.92), pytest.approx(0.4))


@pytest.mark.clickhouse
def test_a_client_is_seen_beside_ordinary_ones(store: ClickHouse) -> None:
    figures = {
        row["figure"]: row for row in run(store, panel_of("forensics", "Beside ordinary clients"), model=["fraud"], client=["c0ffee"])
    }
    assert figures["requests in one window"]["chosen_client"] == 300
    assert figures["requests in one window"]["ordinary_clients"] == 1  # the quiet one: the other has a ticket
    assert figures["distinct answers so far"]["P50"] == 290.0 * 29
    linked = run(store, panel_of("forensics", "Linked clients"), client=["beef"])
    assert {row["client"] for row in linked} == {"c0ffee", "beef"}
    history = run(store, panel_of("forensics", "Alert history"), client=[HOSTILE])
    assert [(row["alert_id"], row["state"]) for row in history] == [("a2", "resolved"), ("a2", "firing")]
    queries = run(store, panel_of("forensics", "Kept queries"), client=[HOSTILE])
    assert {row["client"] for row in queries} == {HOSTILE}
    assert len(queries) == 60


@pytest.mark.clickhouse
def test_how_alike_a_clients_questions_were_is_shown_and_what_its_alert_rests_on(store: ClickHouse) -> None:
    alike = run(store, panel_of("forensics", "Repeats and near rows"), model=["fraud"], client=[HOSTILE])
    assert [{name: int(row[name]) for name in ("different", "repeats", "near", "edited", "flips")} for row in alike] == [
        {"different": 20 * 29, "repeats": 29, "near": 15 * 29, "edited": 2 * 29, "flips": 29}
    ]
    shares = run(store, panel_of("forensics", "Near rows"), model=["fraud"], client=[HOSTILE])
    assert {row["share"] for row in shares} == {0.75}
    chains = run(store, panel_of("forensics", "Chains that alerts rest on"), client=[HOSTILE])
    assert [(row["client"], row["statistic"], row["hits"], row["near"], row["event_id"], row["chain"]) for row in chains] == [
        (HOSTILE, "two_valued", 40, 60, "7-1", "7-0 a > 7-1 b (3)")
    ]


@pytest.mark.clickhouse
def test_where_an_alert_names_no_chain_the_kept_questions_nearest_in_time_stand_for_it(clickhouse: ClickHouse) -> None:
    migrate(clickhouse)
    minute, about = 60 * 10**9, {"model": "m", "version": "1"}
    told = AlertRow(alert_id="a", detector="evasion", alertname="E", severity="page", state="firing", opened_at=END_NS - 20 * minute,
                    at=END_NS - 20 * minute, client="c", evidence='{"near_rows":9}', **about)  # type: ignore[arg-type]  # fmt: skip
    kept: list[Row] = [
        SampledEventRow(at=END_NS - k * minute, event_id=f"e{k}", client="c", prediction="yes", reason="evidence", **about)  # type: ignore[arg-type]
        for k in range(1, 60)
    ]
    insert(clickhouse, [told, *kept])
    (row,) = run(clickhouse, panel_of("forensics", "Chains that alerts rest on"))
    named = [one.removesuffix(" yes") for one in row["chain"].split(" > ")]
    assert len(named) == 8
    assert set(named) > {f"e{k}" for k in range(17, 24)}, "the nearest"
    assert named == sorted(named, key=lambda name: -int(name[1:])), "oldest first"


@pytest.mark.clickhouse
def test_attacks_are_counted_by_family_and_technique(store: ClickHouse) -> None:
    rates = run(store, panel_of("attacks", "Attack alerts per million requests"))
    per_alert = 1e6 / (2 * 30 * 600)
    found = {row["family"]: (row["pages"], row["tickets"]) for row in rates}
    assert found == dict.fromkeys(FAMILIES, (0, 0)) | {"evasion": (1, 0), "canary": (1, 0), "extraction": (0, 1)}
    assert [row["family"] for row in rates][:3] == ["canary", "evasion", "extraction"]
    assert [row["pages / M"] for row in rates][:3] == pytest.approx([per_alert, per_alert, 0])
    assert [row["tickets / M"] for row in rates][:3] == pytest.approx([0, 0, per_alert])
    techniques = {row["technique"]: row for row in run(store, panel_of("attacks", "MITRE ATLAS and OWASP"))}
    assert techniques["AML.T0021"]["name"] == "Establish Accounts"
    assert (techniques["AML.T0043"]["evasion"], techniques["AML.T0043"]["extraction"]) == (1, 0)
    with_techniques = {detector for detector, (atlas, owasp) in BY_DETECTOR.items() if atlas or owasp}
    assert {detector for detectors in FAMILIES.values() for detector in detectors} == with_techniques  # each has its column
    asked = {row["client"]: row for row in run(store, panel_of("attacks", "Members and canaries asked for"))}
    assert (asked["beef"]["canaries asked"], asked["beef"]["members touched"], asked["beef"]["severity"]) == (100, 0, "page")
    assert (asked["c0ffee"]["canaries asked"], asked["c0ffee"]["members touched"]) == (0, 29)
    assert next(iter(asked)) == "beef"
    (gauge,) = run(store, panel_of("attacks", "What the model gives away"))
    assert (gauge["TPR at 1 %"], gauge["TPR at 0.1 %"]) == ("0.03 (0.02 to 0.05)", "0.004 (0.001 to 0.01)")
    (swarm,) = run(store, panel_of("attacks", "Swarms"))
    assert (swarm["members"], swarm["names"]) == (2, "c0ffee, beef")


@pytest.mark.clickhouse
def test_the_pipeline_shows_what_reached_the_store(store: ClickHouse) -> None:
    tables = {row["table"]: row["rows"] for row in run(store, panel_of("pipeline", "Tables"))}
    assert tables == {
        "windows": 60, "feature_windows": 120, "client_windows": 180, "quality_windows": 60, "service_windows": 60, "alerts": 7,
        "sampled_events": 120, "producers": 360,
    }  # fmt: skip
    assert run(store, panel_of("pipeline", "Events in the time range")) == [{"accepted": 36_000, "refused": 180, "late": 0}]


@pytest.mark.clickhouse
@pytest.mark.parametrize(
    ("name", "title", "projection"),
    [
        ("oncall", "Riskiest clients", "client_days"),
        ("oncall", "Evidence of the riskiest", "client_days"),
        ("executive", "Models at risk", "client_days"),
        ("attacks", "Exposure", "client_days"),
        ("attacks", "Clients under suspicion", "suspects"),
        ("attacks", "Members and canaries asked for", "client_days"),
        ("attacks", "Refused", "client_days"),
    ],
)
def test_a_month_of_clients_is_not_scanned(store: ClickHouse, name: str, title: str, projection: str) -> None:
    asked = panel_of(name, title).sql
    inner = re.search(r"client IN \(\s*(SELECT client FROM .*?subcolumns = 0)\s*\)", asked, re.DOTALL)
    if inner:  # forcing does not see into the parts of a query, so the one that chooses clients is asked by itself
        asked = inner[1]
    divided = ", " if re.search(r"subcolumns = 0\s*$", asked) else "\nSETTINGS "
    forced = replace(panel_of(name, title), sql=f"{asked}{divided}force_optimize_projection_name = '{projection}'")
    assert run(store, forced)
    with pytest.raises(ClickHouseError, match="no_such"):
        run(store, replace(forced, sql=forced.sql.replace(projection, "no_such")))


@pytest.mark.clickhouse
def test_a_row_told_twice_is_shown_once(clickhouse: ClickHouse) -> None:
    migrate(clickhouse)
    for revision in (1, 2):
        insert(clickhouse, [type(row)(**{n: getattr(row, n) for n in row.__struct_fields__} | {"revision": revision}) for row in rows()])
    assert {row["rate"] for row in run(clickhouse, panel_of("oncall", "Request rate"))} == {10.0}
    assert run(clickhouse, panel_of("oncall", "Open now")) == [{"Pages": 1, "Tickets": 1}]
    assert {row["requests"] for row in run(clickhouse, panel_of("oncall", "Riskiest clients"))} == {30 * 300}


@pytest.mark.clickhouse
def test_an_empty_panel_is_noticed(clickhouse: ClickHouse) -> None:
    migrate(clickhouse)
    assert is_empty(run(clickhouse, panel_of("oncall", "Request rate")))
    with pytest.raises(ClickHouseError):
        run(clickhouse, Panel(kind="table", title="", sql="SELECT nothing FROM windows WHERE $__timeFilter(start)"))


@pytest.mark.parametrize("name", VIEWS)
def test_a_dashboard_is_well_formed(name: str) -> None:
    board = dashboards()[name]
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
            assert target["format"] == (0 if panel["type"] in ("timeseries", "status-history") else 1)
            asked = target["rawSql"]
            once = any(
                word in asked
                for word in ("FINAL", "LIMIT 1 BY model, version, start, client", "LIMIT 1 BY model, version, start, feature", "uniqExact")
            )
            largest = panel["title"] in ("Beside ordinary clients", "Exposure")  # a row that is there twice changes no largest value
            stored = panel["title"] == "Tables"  # which says what is stored, twice or not
            assert once or largest or stored, f"{panel['title']} would count a row twice before a merge"


@pytest.mark.clickhouse
@pytest.mark.parametrize("name", VIEWS)
def test_columns_with_a_dress_exist(store: ClickHouse, name: str) -> None:
    for panel in VIEWS[name].panels:
        if panel.columns:
            found = set(run(store, panel)[0])
            assert {column.name for column in panel.columns} <= found
            for link in (column.link for column in panel.columns if column.link):
                assert {*link.values.values(), *filter(None, (link.since, link.address))} <= found
                assert link.address or set(link.values) <= {variable.name for variable in VIEWS[link.view].variables}


def test_the_lines_are_where_the_default_settings_page() -> None:
    given, default = objectives(Settings()), Objectives()
    assert given.false_pages_per_30d == default.false_pages_per_30d
    assert given.ln_page_client == pytest.approx(default.ln_page_client, abs=0.005)
    assert given.ln_page_drift == pytest.approx(default.ln_page_drift, abs=0.005)
    stricter = settings(budget={"false_pages_per_30d": 0.1})
    assert objectives(stricter).ln_page_client == pytest.approx(given.ln_page_client + np.log(10))
    board = dashboards(objectives(stricter))["attacks"]
    (panel,) = (panel for panel in board["panels"] if panel["title"] == "Evidence by family")
    assert panel["fieldConfig"]["defaults"]["thresholds"]["steps"][-1] == {"color": "red", "value": 18.42}


def test_the_budget_has_a_range() -> None:
    with pytest.raises(ValueError, match=r"false_pages_per_30d = 0: expected 0\.001 to 1000"):
        Objectives(false_pages_per_30d=0)
    board = dashboards(Objectives(false_pages_per_30d=0.5))["oncall"]
    (budget,) = (v for v in board["templating"]["list"] if v["name"] == "budget")
    assert budget["query"] == "0.5"
