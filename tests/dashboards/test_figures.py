"""Rows become figures: lines by label, boxes by threshold, bars by column, and no stranger's text as markup."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from dashboards.build import views
from dashboards.figures import MAX_SERIES, figure
from dashboards.formats import shown
from dashboards.panels import Panel, bars, history, timeseries

START = datetime(2026, 1, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
LINES = timeseries("t", "d", "", (6, 6), name="${__field.labels.model}")


def made(panel: Panel, rows: list[dict[str, Any]]) -> Any:
    return json.loads(figure(panel, rows, START, START + timedelta(hours=1), MINUTE))


def test_each_label_gets_a_line_and_each_column_another() -> None:
    rows = [{"time": START + k * MINUTE, "model": m, "P50": 1.0 * k, "P95": None} for k in range(3) for m in ("a", "b")]
    found = made(timeseries("t", "d", "", (6, 6), name="${__field.name} ${__field.labels.model}"), rows)["data"]
    assert [trace["name"] for trace in found] == ["P50 a", "P95 a", "P50 b", "P95 b"]
    assert found[0]["y"] == [0.0, 1.0, 2.0]
    assert found[1]["y"] == [None, None, None]


def test_what_all_names_begin_with_is_left_out() -> None:
    rows = [{"time": START, "series": f"fraud 1 {feature}", "PSI": 0.1} for feature in ("age", "amount")]
    panel = timeseries("t", "d", "", (6, 6), name="${__field.labels.series}")
    assert [trace["name"] for trace in made(panel, rows)["data"]] == ["age", "amount"]


def test_a_pause_breaks_the_line() -> None:
    rows = [{"time": START + k * MINUTE, "model": "a", "rate": 1.0} for k in (0, 1, 30, 31)]
    assert made(LINES, rows)["data"][0]["y"] == [1.0, 1.0, None, 1.0, 1.0]


def test_a_strangers_name_is_no_markup() -> None:
    rows = [{"time": START, "model": "<a href='https://evil.example'>x</a>", "rate": 1.0}]
    (trace,) = made(LINES, rows)["data"]
    assert trace["name"] == "&lt;a href='https://evil.example'&gt;x&lt;/a&gt;"
    (trace,) = made(bars("t", "d", "", (6, 6)), [{"class": "<b>", "n": 1}])["data"]
    assert trace["x"] == ["&lt;b&gt;"]


def test_bins_of_a_feature_with_a_long_name_stay_apart() -> None:
    rows = [{"bin": f"{'long' * 20}: {k} to {k + 1}", "share": 0.5} for k in range(3)]
    (trace,) = made(bars("t", "d", "", (6, 6)), rows)["data"]
    assert len(set(trace["x"])) == 3
    assert max(map(len, trace["x"])) <= 60


def test_two_clients_whose_names_begin_alike_stay_two_lines() -> None:
    panel = timeseries("t", "d", "", (6, 6), name="${__field.labels.client}")
    rows = [{"time": START, "client": "c" * 30 + end, "n": n} for n, end in enumerate("ab")]
    assert [trace["y"] for trace in made(panel, rows)["data"]] == [[0], [1]]


def test_more_lines_than_can_be_told_apart_are_left_out_and_counted() -> None:
    rows = [{"time": START, "model": f"m{k}", "rate": 1.0} for k in range(MAX_SERIES + 5)]
    found = made(LINES, rows)
    assert len(found["data"]) == MAX_SERIES
    assert found["layout"]["annotations"][0]["text"] == f"{MAX_SERIES} of {MAX_SERIES + 5} lines"


def test_boxes_have_the_step_that_was_reached_and_gaps_where_nothing_was() -> None:
    panel = history("t", "d", "", (6, 6), name="${__field.labels.series}", steps=((None, "green"), (1, "orange"), (2, "red")))
    day = timedelta(days=1)
    rows = [
        {"time": START, "series": "a", "drift": 0},
        {"time": START + day, "series": "a", "drift": 2},
        {"time": START, "series": "b", "drift": 1},
    ]
    (trace,) = made(panel, rows)["data"]
    assert (trace["y"], trace["z"]) == (["b", "a"], [[1, None], [0, 2]])


def test_the_lines_of_the_settings_are_drawn() -> None:
    panel = views()["attacks"].panel("Evidence by family")
    rows = [{"time": START, "extraction": 13.0, "evasion": -50.0, "membership": 0.0}]
    layout = made(panel, rows)["layout"]
    assert [shape["y0"] for shape in layout["shapes"]] == [11.51, 16.12]
    low, high = layout["yaxis"]["range"]
    assert low < -50 < 16.12 < high


@pytest.mark.parametrize("value", [float("nan"), None])
def test_what_is_not_known_is_a_gap(value: float | None) -> None:
    assert made(LINES, [{"time": START, "model": "a", "rate": value}])["data"][0]["y"] == [None]


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.5, "percentunit", "50 %"), (1_234_567, "", "1,234,567"), (12.345678, "ms", "12.35 ms"), (3, "reqps", "3 /s"), (None, "s", ""),
        (float("nan"), "", ""), (float("inf"), "", "inf"), (1536, "bytes", "1.5 KiB"), (True, "", "yes"), (14.4, "suffix:x", "14.4 x"),
        (START, "", "2026-01-01 00:00:00"), (["a", 2], "", "a, 2"), (-0.0001234, "", "-0.0001234"), (1e300, "", f"{1e300:,.0f}"),
    ],
)  # fmt: skip
def test_values_are_shown_with_their_unit(value: Any, unit: str, text: str) -> None:
    assert shown(value, unit) == text
