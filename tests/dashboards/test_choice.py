"""What an address chooses: a range that ends with the newest row, values within bounds, and a sentence for what makes no sense."""

from datetime import UTC, datetime, timedelta

import pytest

from dashboards.build import views
from dashboards.choice import Choice, ChoiceError, Extent, choose
from dashboards.macros import ALL
from dashboards.panels import View

NEWEST = datetime(2026, 3, 1, 12, tzinfo=UTC)
NOW = NEWEST + timedelta(days=9)
EXTENT = Extent(NEWEST - timedelta(days=40), NEWEST, timedelta(minutes=5))
VIEW = views()["oncall"]


def chosen(*query: tuple[str, str], view: View = VIEW, extent: Extent = EXTENT) -> Choice:
    return choose(view, query, extent, NOW)


def test_without_a_choice_the_views_own_range_ends_with_the_newest_row() -> None:
    choice = chosen()
    assert (choice.start, choice.end) == (NEWEST - timedelta(hours=6), NEWEST)
    assert choice.values(VIEW) == {"model": ALL, "version": ALL, "service": ALL, "client": ALL, "budget": "1", "objective": "99.9"}


def test_a_young_store_is_shown_from_its_beginning() -> None:
    young = Extent(NEWEST - timedelta(minutes=2), NEWEST, timedelta(seconds=2))
    choice = chosen(extent=young)
    assert choice.start == young.oldest
    assert choice.step == timedelta(seconds=2)


def test_a_given_end_is_obeyed_in_each_form() -> None:
    assert chosen(("to", "now")).end == NOW
    assert chosen(("to", "2026-02-28T10:00")).end == datetime(2026, 2, 28, 10, tzinfo=UTC)
    assert chosen(("to", "2026-02-28T10:00+02:00")).end == datetime(2026, 2, 28, 8, tzinfo=UTC)
    assert chosen(("to", "1772280000000")).end == datetime(2026, 2, 28, 12, tzinfo=UTC)
    assert chosen(("to", "now"), ("span", "7d")).start == NOW - timedelta(days=7)
    assert chosen(("from", "1772280000000")).start == datetime(2026, 2, 28, 12, tzinfo=UTC)


@pytest.mark.parametrize(("span", "seconds"), [("1h", 300), ("24h", 600), ("7d", 3_600), ("30d", 10_800), ("90d", 43_200)])
def test_lines_have_a_few_hundred_points_and_none_between_windows(span: str, seconds: int) -> None:
    assert chosen(("span", span), ("to", "now")).step == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ([("span", "6 hours")], "span: '6 hours' is no length"),
        ([("span", "401d")], "longer than 400 days"),
        ([("span", "0h")], "no length"),
        ([("to", "soon")], "to: 'soon' is no time"),
        ([("to", "9" * 400)], "no time"),
        ([("to", "0001-01-01T00:00")], "outside of 1971 to 2100"),
        ([("from", "99999999999999999999")], "no time"),
        ([("from", "1772380000000"), ("to", "1772280000000")], "is empty or longer"),
        ([("budget", "1) FROM system.users --")], "no number from 0.001 to 1000"),
        ([("budget", "nan")], "no number"),
        ([("objective", "100")], "no number from 1 to 99.9999"),
        ([("model", "x" * 1_025)], "1025 characters"),
        ([("model", str(i)) for i in range(51)], "51 values"),
        ([("sql", "SELECT 1")], "'sql' is nothing to choose"),
    ],
)
def test_what_makes_no_sense_is_told(query: list[tuple[str, str]], told: str) -> None:
    with pytest.raises(ChoiceError, match=told):
        chosen(*query)


def test_links_keep_the_range_and_what_was_chosen() -> None:
    choice = chosen(("span", "24h"), ("model", "a&b"), ("model", "c"), ("client", "x"))
    assert choice.address("debug") == "/view/debug?span=24h&model=a%26b&model=c&client=x"
    assert choice.address("forensics", {"client": "o'brien <b>"}) == "/view/forensics?span=24h&model=a%26b&model=c&client=o%27brien+%3Cb%3E"
    assert choice.address("oncall", {"client": ""}, 17) == "/view/oncall?from=17&model=a%26b&model=c"


@pytest.mark.parametrize("view", views().values(), ids=lambda view: view.name)
def test_what_a_views_form_sends_is_taken(view: View) -> None:
    sent = {variable.name: variable.value or "x" for variable in view.variables}
    assert chosen(*sent.items(), view=view).values(view) == {name: value if name in _NUMBERS else [value] for name, value in sent.items()}


_NUMBERS = ("budget", "objective", "slow")
