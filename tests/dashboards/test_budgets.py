"""Every indicator that has an objective has an error budget: the same one in the view, in the report and at the gate."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from dashboards.budgets import Rows, budgets
from dashboards.build import views
from dashboards.macros import expand
from dashboards.scope import Objectives
from streams.clickhouse import ClickHouse
from streams.objectives import objectives
from streams.settings import Settings
from streams.slo import NAMES
from tests.dashboards.rows import END, HOSTILE
from tests.dashboards.test_dashboards import ALL
from tests.streams.events import settings

EVERYTHING = {
    "accuracy": 92, "auc": 0.8, "f1": 0.9, "mae": 2, "log_loss": 0.5, "drift_free": 95, "authorised": 99, "signed": 100,
    "valid_input": 99.9, "by_model": ["fraud=accuracy:80 latency_ms:0.00102 signed:0", "fraud/1=mae:5"],
}  # fmt: skip


def rows(
    store: ClickHouse, given: Objectives, start: datetime = END - timedelta(hours=6), end: datetime = END, **variables: Any
) -> dict[tuple[str, str], dict[str, Any]]:
    sql = views(given)["executive"].panel("Objectives and error budgets, 30 days").sql
    found = store.query(expand(sql, start=start, end=end, variables=ALL | variables))
    return {(row["model"], row["indicator"]): row for row in found}


@pytest.mark.clickhouse
def test_each_indicator_with_an_objective_has_a_budget_of_its_own(store: ClickHouse) -> None:
    found = rows(store, objectives(settings(objectives=EVERYTHING)))
    other = {name: row for (model, name), row in found.items() if model == HOSTILE}
    left = {
        "availability": 1 - 6 / 596 / 0.001, "latency": 1.0, "accuracy": 1 - 0.11 / 0.08, "mae": 1 - 2.5 / 2, "log_loss": 1 - 0.4 / 0.5,
        "drift_free": 1.0, "authorised": 1 - 4 / 600 / 0.01, "valid_input": 1 - 3 / 603 / 0.001,
        "completeness": 1 - 2 / 601 / 0.001,  # of 600 sent and one dropped 599 arrived
    }  # fmt: skip
    assert {name: row["budget left"] for name, row in other.items() if name in left} == pytest.approx(left)
    assert {"auc", "f1"} < set(other)
    assert "signed" not in other  # nobody told of a load of it
    assert (other["accuracy"]["objective"], other["accuracy"]["measured"], other["accuracy"]["of"]) == ("92 %", "89 %", 6_000)
    assert (other["mae"]["objective"], other["mae"]["measured"]) == ("at most 2", "2.5")


@pytest.mark.clickhouse
def test_a_models_own_objective_is_what_its_budget_is_of(store: ClickHouse) -> None:
    found = rows(store, objectives(settings(objectives=EVERYTHING)))
    assert found["fraud", "accuracy"]["budget left"] == pytest.approx(1 - 0.11 / 0.2)
    assert found["fraud", "mae"]["budget left"] == pytest.approx(1 - 2.5 / 5)
    assert found["fraud", "latency"]["budget left"] == pytest.approx(1 - 90 / 590 / 0.05)  # only the last of its three bins is above
    assert ("fraud", "signed") not in found
    # of two pages about security one was judged false
    assert found["fraud", "availability"]["budget left"] == pytest.approx(1 - 6 / 596 / 0.001 - 0.25)
    changed = rows(store, objectives(settings(objectives=EVERYTHING)), objective="99")
    assert changed["fraud", "availability"]["budget left"] == pytest.approx(1 - 6 / 596 / 0.01 - 0.25)


@pytest.mark.clickhouse
def test_a_budget_is_of_thirty_days_whatever_range_is_looked_at(store: ClickHouse) -> None:
    given = objectives(settings(objectives=EVERYTHING))
    everything = rows(store, given)
    assert rows(store, given, start=END - timedelta(minutes=5)) == everything
    assert rows(store, given, start=END - timedelta(days=300)) == everything
    later = END + timedelta(days=29, hours=23)
    assert rows(store, given, start=later - timedelta(hours=1), end=later) == everything
    over = END + timedelta(days=30, minutes=1)
    assert rows(store, given, start=END - timedelta(days=9), end=over) == {}
    assert set(rows(store, Objectives(), end=over)) == {("fraud", "signed")}  # what is loaded still
    at_risk = views(given)["executive"].panel("Models at risk").sql
    short, long = (
        {row["model"]: row for row in store.query(expand(at_risk, start=END - timedelta(minutes=m), end=END, variables=ALL))}
        for m in (5, 360)
    )
    assert short.keys() == long.keys() == {"fraud", HOSTILE}
    for model, row in short.items():
        assert (row["budget left"], row["security pages"]) == (long[model]["budget left"], long[model]["security pages"])
        assert row["budget left"] == everything[model, "availability"]["budget left"]
        assert 0 < row["requests"] < long[model]["requests"]


@pytest.mark.clickhouse
def test_without_an_objective_there_is_no_row(store: ClickHouse) -> None:
    found = rows(store, Objectives())
    assert {name for model, name in found if model == "fraud"} == {"availability", "latency", "drift_free", "signed", "completeness"}
    assert (found["fraud", "signed"]["of"], found["fraud", "signed"]["budget left"]) == (3, -1.0)  # two without a signature, gone by now
    assert "accuracy" not in {name for _, name in rows(store, objectives(settings(objectives={"by_model": ["x=accuracy:90"]})))}


@pytest.mark.clickhouse
@pytest.mark.parametrize("name", ["availability", "accuracy", "auc", "valid_input", "signed", "completeness"])
def test_an_indicator_can_be_asked_for_alone_whatever_else_has_an_objective(store: ClickHouse, name: str) -> None:
    every = Rows(windows="1", labels="1", beats="1", loads="1", opened="1")
    given = Objectives(promised=dict.fromkeys(Objectives().promised, 0.0) | {name: 0.9})
    assert {row["indicator"] for row in store.query(budgets(given, every, only=(name,)))} == {name}
    assert store.query(budgets(given, every, only=("drift_free", "authorised"))) == []  # as the gate asks where nothing is promised


def test_what_the_views_promise_by_default_is_what_the_settings_do() -> None:
    assert dict(objectives(Settings()).promised) == dict(Objectives().promised)
    assert set(Objectives().promised) < set(NAMES)
    assert dict(objectives(Settings()).page_shares) == dict(Objectives().page_shares)
