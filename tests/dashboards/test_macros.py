"""Macros and variables become what the plugin and Grafana make of them."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dashboards.macros import ALL, MacroError, bind, expand

# The times of the plugin's own tests, so the expected texts can be compared with them.
START = datetime(2014, 11, 12, 11, 45, 26, 371_000, UTC)
END = datetime(2015, 11, 12, 11, 45, 26, 371_000, UTC)


def expanded(sql: str, **more: Any) -> str:
    return expand(sql, start=START, end=END, **more)


@pytest.mark.parametrize(
    ("sql", "wanted"),
    [
        ("$__fromTime", "toDateTime(1415792726)"),
        ("$__toTime", "toDateTime(1447328726)"),
        ("$__fromTime_ms", "fromUnixTimestamp64Milli(1415792726371)"),
        ("$__toTime_ms", "fromUnixTimestamp64Milli(1447328726371)"),
        ("$__timeFilter(col)", "col >= toDateTime(1415792726) AND col <= toDateTime(1447328726)"),
        (
            "$__timeFilter(cast(sth as timestamp))",
            "cast(sth as timestamp) >= toDateTime(1415792726) AND cast(sth as timestamp) <= toDateTime(1447328726)",
        ),
        ("$__timeFilter_ms(col)", "col >= fromUnixTimestamp64Milli(1415792726371) AND col <= fromUnixTimestamp64Milli(1447328726371)"),
        ("$__dateFilter(d)", "d >= toDate('2014-11-12') AND d <= toDate('2015-11-12')"),
        (
            "$__dateTimeFilter(d, t)",
            "(d >= toDate('2014-11-12') AND d <= toDate('2015-11-12')) AND (t >= toDateTime(1415792726) AND t <= toDateTime(1447328726))",
        ),
        ("$__timeFrom(col)", "col >= toDateTime(1415792726)"),
        ("$__timeTo(col)", "col <= toDateTime(1447328726)"),
        ("$__timeInterval(col)", "toStartOfInterval(toDateTime(col), INTERVAL 20 second)"),
        ("$__timeInterval($__fromTime)", "toStartOfInterval(toDateTime(toDateTime(1415792726)), INTERVAL 20 second)"),
        ("$__timeInterval_ms(col)", "toStartOfInterval(toDateTime64(col, 3), INTERVAL 20000 millisecond)"),
        ("$__timeGroup(col, 5m)", "toStartOfInterval(toDateTime(col), INTERVAL 300 second)"),
        ("$__timeGroup(col, '1h30m')", "toStartOfInterval(toDateTime(col), INTERVAL 5400 second)"),
        ("$__interval_s", "20"),
        ("nothing", "nothing"),
        ("f(')', $__interval_s)", "f(')', 20)"),
        ("$__timeFrom(if(a = ')', b, c))", "if(a = ')', b, c) >= toDateTime(1415792726)"),
    ],
)
def test_a_macro_becomes_what_the_plugin_makes_of_it(sql: str, wanted: str) -> None:
    assert expanded(sql, interval_ms=20_000) == wanted


def test_dt_is_short_for_the_date_and_time_filter() -> None:
    assert expanded("$__dt(d, t)") == expanded("$__dateTimeFilter(d, t)")


def test_an_interval_is_at_least_a_second() -> None:
    assert expanded("$__interval_s $__timeInterval(c)", interval_ms=50) == "1 toStartOfInterval(toDateTime(c), INTERVAL 1 second)"


@pytest.mark.parametrize(
    ("sql", "value", "wanted"),
    [
        ("$x", "a", "a"),
        ("${x}", "a", "a"),
        ("${x}", ["a", "b'c"], "'a','b'c'"),  # the plugin does not escape: panels ask for singlequote
        ("${x:singlequote}", "a", "'a'"),
        ("${x:singlequote}", ["a", "b'c"], "'a','b\\'c'"),
        ("${x:sqlstring}", ["b'c"], "'b''c'"),
        ("${x:csv}", ["a", "b"], "a,b"),
        ("${x:raw}", "99.9", "99.9"),
    ],
)
def test_a_variable_is_written_as_its_format_says(sql: str, value: str | list[str], wanted: str) -> None:
    assert expanded(sql, variables={"x": value}) == wanted


def test_the_time_range_is_a_variable_too() -> None:
    assert expanded("$__from ${__to}") == "1415792726371 1447328726371"


@pytest.mark.parametrize(
    ("value", "wanted"),
    [("$__all", "1=1"), (["$__all"], "1=1"), ("", "1=1"), ("a", "f(m, 1) IN ('a')"), (["a", "b"], "f(m, 1) IN ('a','b')")],
)
def test_a_condition_falls_away_when_its_variable_is_all(value: str | list[str], wanted: str) -> None:
    sql = "$__conditionalAll(f(m, 1) IN (${m:singlequote}), $m)"
    assert expanded(sql, variables={"m": value}) == wanted
    assert expanded(sql.replace("$m)", "${m})"), variables={"m": value}) == wanted


def test_conditions_can_stand_side_by_side() -> None:
    sql = "$__conditionalAll(a = $a, $a) AND $__conditionalAll(b = $b, $b)"
    assert expanded(sql, variables={"a": "$__all", "b": "2"}) == "1=1 AND b = 2"


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("$__nonsense(x)", r"unknown macro \$__nonsense: expected one of .*timeFilter"),
        ("$__columns(a, b, c)", "unknown macro"),
        ("$__timeFilter(a, b)", r"\$__timeFilter does not take 2 arguments"),
        ("$__timeFilter", r"does not take 0 arguments"),
        ("$__timeFilter(a", "brackets do not close"),
        ("$__timeGroup(a, soon)", "soon is no duration"),
        ("$nobody", r"unknown variable \$nobody: the dashboard has .*__from"),
        ("${m:lucene}", "unknown format"),
        ("$__conditionalAll(a)", "takes a condition and a variable, got 1"),
        ("$__conditionalAll(a, $nobody)", r"no variable \$nobody"),
    ],
)
def test_what_cannot_be_expanded_is_named(sql: str, message: str) -> None:
    with pytest.raises(MacroError, match=message):
        expanded(sql, variables={"m": "x"})


@given(st.text(alphabet="$_{}():,'\"\\ amfromTie", max_size=40))
def test_any_text_is_expanded_or_refused(sql: str) -> None:
    try:
        expanded(sql)
    except MacroError as error:
        assert str(error)


def bound(sql: str, **variables: Any) -> tuple[str, dict[str, str]]:
    return bind(sql, start=START, end=END, variables=variables)


def test_bound_values_are_beside_the_text() -> None:
    sql = "$__conditionalAll(model IN (${model:singlequote}), $model) AND client IN (${client:singlequote}) AND x > ${budget:raw}"
    text, values = bound(sql, model=["a", r"\' OR 1=1 -- $__fromTime ${budget:raw}"], client="c", budget="2.5")
    assert text == "model IN ({v0:String},{v1:String}) AND client IN ({v2:String}) AND x > 2.5"
    assert values == {"v0": "a", "v1": r"\' OR 1=1 -- $__fromTime ${budget:raw}", "v2": "c"}
    assert bound("$__conditionalAll(model IN (${model:singlequote}), $model)", model=ALL) == ("1=1", {})
    assert bound("$__timeFilter(t)")[0] == "t >= toDateTime(1415792726) AND t <= toDateTime(1447328726)"


@pytest.mark.parametrize("value", ["1) FROM x --", "nan", "inf", "", "0x10"])
def test_what_is_written_into_the_text_is_a_number(value: str) -> None:
    with pytest.raises(MacroError, match=r"\$\{budget:raw\}: .* is no"):
        bound("${budget:raw}", budget=value)


@pytest.mark.parametrize("sql", ["$model", "${model}", "${model:csv}", "${model:sqlstring}"])
def test_no_other_format_is_bound(sql: str) -> None:
    with pytest.raises(MacroError, match="only singlequote"):
        bound(sql, model=["a"])
