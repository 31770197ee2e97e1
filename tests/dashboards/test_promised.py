"""What is promised for one model is what its panels show, on the real engine; the others keep the installation's."""

from __future__ import annotations

from datetime import timedelta
from fnmatch import fnmatchcase
from typing import Any

import pytest

from dashboards.build import dashboards, views
from dashboards.macros import bind, expand
from dashboards.promised import literal_pattern
from dashboards.scope import Objectives
from streams.clickhouse import ClickHouse
from streams.objectives import objectives
from streams.slo import objectives_for
from tests.dashboards.rows import END, HOSTILE
from tests.dashboards.test_dashboards import ALL
from tests.streams.events import settings

GIVEN = settings(
    objectives={
        "completeness": 99.0,
        "by_model": ["*=latency_ms:300", "fr?ud=availability:98 latency_ms:50", "fraud/1=completeness:99.9", "fraud/2=availability:90"],
    }
)
OWN = objectives(GIVEN)
VIEWS = views(OWN)


def run(store: ClickHouse, name: str, title: str, **variables: Any) -> list[dict[str, Any]]:
    sql = VIEWS[name].panel(title).sql
    return store.query(expand(sql, start=END - timedelta(hours=6), end=END, variables=ALL | variables))


@pytest.mark.clickhouse
def test_a_models_panels_show_what_is_promised_for_it(store: ClickHouse) -> None:
    at_risk, other = run(store, "executive", "Models at risk")
    mine, everybodys = objectives_for(GIVEN.objectives, "fraud", "1"), objectives_for(GIVEN.objectives, HOSTILE, "1")
    assert (at_risk["objective"], at_risk["P95 objective"]) == (pytest.approx(mine.availability / 100), mine.latency_ms)
    # of its two pages about security one was judged false
    assert at_risk["budget left"] == pytest.approx(1 - 6 / 596 / 0.02 - GIVEN.objectives.incident_share)
    assert at_risk["security pages"] == 1
    assert (other["objective"], other["P95 objective"]) == (pytest.approx(everybodys.availability / 100), everybodys.latency_ms)
    assert other["budget left"] == pytest.approx(1 - 6 / 596 / 0.001)
    latency = run(store, "oncall", "Latency")
    assert {(row["model"], row["objective"]) for row in latency} == {("fraud", 50.0), (HOSTILE, 300.0)}
    (availability,) = run(store, "executive", "Availability")
    assert availability["objective"] == pytest.approx((0.98 + 0.999) / 2)
    enough = {(row["model"], round(row["objective"], 6), row["enough"]) for row in run(store, "oncall", "Completeness by instance")}
    assert enough == {("fraud", 0.999, "no"), (HOSTILE, 0.99, "yes")}  # 0.995 arrived of each


@pytest.mark.clickhouse
def test_the_burn_of_several_models_spends_each_ones_own_budget(store: ClickHouse) -> None:
    (alone,) = run(store, "oncall", "Error budget burn", model=["fraud"])
    assert alone == pytest.approx(dict.fromkeys(("1 h", "6 h", "3 d"), 6 / 596 / 0.02) | {"security, 3 d": 0.25 * 30 / 3})
    (both,) = run(store, "oncall", "Error budget burn")
    assert both["3 d"] == pytest.approx(12 / (596 * 0.02 + 596 * 0.001))
    (changed,) = run(store, "oncall", "Error budget burn", objective="99")  # the viewer's number is for models without one of their own
    assert changed["3 d"] == pytest.approx(12 / (596 * 0.02 + 596 * 0.01))
    (of_the_other,) = run(store, "oncall", "Error budget burn", model=[HOSTILE])
    assert of_the_other["security, 3 d"] == 0


@pytest.mark.clickhouse
@pytest.mark.parametrize(
    "pattern", ["fraud", "fr*d", "*", "a.b", "a[!b-d]?", "[ab]*[cd]*x", "a[", "a]b", "o'b*", "[]x]", "[!]x]", "$model", "a\\b", "@scope"]
)
def test_a_pattern_fits_the_same_models_as_in_the_settings(store: ClickHouse, pattern: str) -> None:
    names = ["fraud", "fried", "frd", "a.b", "aXb", "abc", "aac", "ac!", "bcdx", "adx", "a[", "a]b", "o'brien", "]", "x", "y", "", "a\nb",
             "$model", "a\\b", "@scope", pattern]  # fmt: skip
    text = literal_pattern(pattern).replace("\\", "\\\\")
    found = [store.query(f"SELECT match({{name:String}}, '{text}') AS fits", {"name": name})[0]["fits"] for name in names]
    assert [bool(fits) for fits in found] == [fnmatchcase(name, pattern) for name in names]


@pytest.mark.parametrize(
    "entry", ["$model/${objective:raw}=availability:98", "x'); DROP TABLE windows --=latency_ms:9", "@scope/@model=completeness:98"]
)
def test_a_hostile_pattern_becomes_neither_sql_nor_a_variable(entry: str) -> None:
    hostile = objectives(settings(objectives={"by_model": [entry]}))
    for name, view in views(hostile).items():
        for panel in view.panels:
            if panel.sql:
                plain = views()[name].panel(panel.title).sql
                bound, values = bind(panel.sql, start=END, end=END, variables=ALL)
                assert "DROP TABLE" not in bound
                assert values == bind(plain, start=END, end=END, variables=ALL)[1]


def test_without_a_models_own_the_lines_are_drawn_as_before() -> None:
    assert not Objectives().differ("latency_ms")
    assert views(Objectives())["oncall"].panel("Latency").steps == ((None, "green"), (200.0, "orange"))
    assert VIEWS["oncall"].panel("Latency").steps == ()
    assert dashboards(OWN)["executive"] != dashboards()["executive"]
