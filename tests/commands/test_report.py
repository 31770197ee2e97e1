"""`inferwatch report`: one page that stands alone, each figure with its evidence, and clear words where there is nothing to report."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path

import msgspec
import pytest

from schemas.rows import AlertRow, LoadRow, ProducerRow, WindowRow
from streams.clickhouse import ClickHouse
from streams.migrate import migrate
from streams.report import Month, NoDataError, Report, make
from streams.report_controls import CONTROLS
from streams.report_figures import FIGURES
from streams.report_page import html_of, json_of
from streams.settings import Budget, Objectives, Settings
from tests.commands.cli import NOWHERE, run
from tests.dashboards.rows import HOSTILE, insert
from tests.reporting import ATTACKER, BEGIN_NS, HOUR, VERSIONS, month_of_rows

pytestmark = pytest.mark.clickhouse
OCTOBER = Month.parse("2026-10")
AFTER = datetime(2026, 11, 2, 9, tzinfo=UTC)


@pytest.fixture(scope="module")
def store(chdb_directory: Path) -> ClickHouse:
    connection = ClickHouse(f"chdb://{chdb_directory}?database=report")
    migrate(connection)
    insert(connection, month_of_rows())
    return connection


@pytest.fixture(scope="module")
def dsn(store: ClickHouse, chdb_directory: Path) -> str:
    return f"chdb://{chdb_directory}?database=report"


@pytest.fixture(scope="module")
def report(store: ClickHouse) -> Report:
    return make(store, OCTOBER, Settings(), AFTER, by="ada")


def test_its_figures_are_those_of_the_month(report: Report) -> None:
    rows = {name: {row.get("family"): row for row in answer.rows} for name, answer in report.answers.items()}
    assert report.total("alerts", "pages") == 4
    assert report.total("alerts", "tickets") == 3
    assert (rows["alerts"]["extraction"]["pages_true"], rows["alerts"]["evasion"]["pages_benign"]) == (1, 1)
    assert rows["alerts"]["availability"]["pages_not_judged"] == 1
    assert rows["resolve"]["extraction"]["median_s"] == 7.5 * 3600
    assert rows["detect_clients"]["extraction"]["median_s"] == pytest.approx(4.2 * 3600)
    assert [(row["model"], row["day"], row["worst"]) for row in report.answers["drift_days"].rows if row["worst"]] == [
        ("prices", 17, 1), *(("prices", day, 2) for day in range(18, 24)),
    ]  # fmt: skip
    assert {row["model"]: row["signed"] for row in report.answers["signed"].rows} == {"fraud": 1, "prices": 1, "churn": 0}
    assert {(row["auc"], row["f1"]) for row in report.answers["accuracy"].rows} == {(None, None)}  # these rows have neither
    assert report.answers["exposure"].rows[0]["client"] == ATTACKER
    assert report.budget == pytest.approx(3 * 31 / 30)
    assert report.total("acknowledged", "judged") == 3


def test_what_was_promised_is_set_beside_what_was_kept(store: ClickHouse) -> None:
    own = Settings(objectives=Objectives(by_model=("fraud=accuracy:95", "churn=accuracy:80")))
    made = make(store, OCTOBER, own, AFTER, by="ada")
    rows = {(row["model"], row["indicator"]): row for row in made.answers["objectives"].rows}
    accuracy = {row["model"]: row["accuracy"] for row in made.answers["accuracy"].rows}
    assert rows["fraud", "accuracy"]["budget_left"] == pytest.approx(1 - (1 - accuracy["fraud"]) / 0.05)
    assert rows["churn", "accuracy"]["budget_left"] == pytest.approx(1 - (1 - accuracy["churn"]) / 0.2)
    assert ("prices", "accuracy") not in rows
    assert rows["churn", "signed"]["budget_left"] == 0.0  # its one instance is not signed
    drifted = sum(1 for row in made.answers["drift_days"].rows if row["model"] == "prices" and row["worst"])
    assert rows["prices", "drift_free"]["budget_left"] == pytest.approx(1 - drifted / 31 / 0.05)
    (answered,) = (row["answered"] for row in made.answers["service"].rows if row["model"] == "fraud")
    assert rows["fraud", "availability"]["budget_left"] == pytest.approx(1 - (1 - answered) / 0.001 - 2 * 0.25)  # two pages about security
    page = html_of(made)
    assert "What was promised" in page
    assert "drift_free" in page


def test_what_was_loaded_during_the_month_counts_whatever_came_after(chdb_directory: Path) -> None:
    own = ClickHouse(f"chdb://{chdb_directory}?database=report_loads")
    migrate(own)
    day = 24 * HOUR
    loads = [
        *((name, -20, "loaded", "a", "missing", "") for name in ("replaced", "left-before", "reloaded", "stays")),
        ("left-before", -1, "unloaded", "a", "missing", ""),
        ("reloaded", -2, "loaded", "b", "valid", ""),  # the unsigned one was gone before the month began
        ("replaced", 3, "loaded", "b", "valid", ""),
        ("replaced", 5, "loaded", "b", "valid", ""),  # the same artefact after a restart
        ("replaced", 30, "unloaded", "b", "valid", ""),
        ("wrong", 4, "loaded", "c", "valid", "its digest is c"),
        ("wrong", 4.5, "unloaded", "c", "valid", ""),
        ("late", 31, "loaded", "d", "missing", ""),
    ]
    rows = [
        LoadRow(model="m", version="1", service="shop", instance=instance, at=BEGIN_NS + round(at * day), kind=kind, digest=digest,
                signature=signature, problem=problem)
        for instance, at, kind, digest, signature, problem in loads
    ]  # fmt: skip
    window = WindowRow(
        model="m", version="1", start=BEGIN_NS, end=BEGIN_NS + HOUR, n=10, accepted=10, status={"ok": 10}, judged_at=BEGIN_NS
    )
    insert(own, [window, *rows])
    made = make(own, OCTOBER, Settings(), AFTER)
    # replaced a, replaced b, reloaded b, stays a, wrong c; at the end reloaded b and stays a
    (row,) = made.answers["signed"].rows
    assert (row["loaded"], row["signed"], row["at_the_end"], row["not_signed"]) == (5, 2, 2, "a, c")
    (promised,) = (row for row in made.answers["objectives"].rows if row["indicator"] == "signed")
    assert (promised["counted"], promised["measured"], promised["budget_left"]) == (5, "40 %", -2.0)
    own.insert([msgspec.structs.replace(window, start=window.start + 31 * day)], "of the month after it")
    (after,) = make(own, Month.parse("2026-11"), Settings(), AFTER).answers["signed"].rows
    assert (after["loaded"], after["signed"]) == (3, 1)


def test_what_was_sent_before_the_month_is_not_of_it(chdb_directory: Path) -> None:
    own = ClickHouse(f"chdb://{chdb_directory}?database=report_beats")
    migrate(own)
    beats = [  # instance, hours since the month began, sent, dropped, received
        ("across", -2, 900, 100, 800), ("across", -1, 1_000, 100, 900), ("across", 5, 1_500, 110, 1_390),
        ("across", 31 * 24, 9_000, 0, 9_000),
        ("again", -1, 5_000, 0, 5_000), ("again", 3, 200, 0, 200),  # a new process of the same name
        ("within", 8, 10, 0, 4), ("before", -3, 7_000, 0, 1), ("weeks-ago", -600, 50, 0, 50), ("weeks-ago", 7, 60, 0, 60),
    ]  # fmt: skip
    rows = [
        ProducerRow(
            service="shop", instance=instance, model="m", version="1", at=BEGIN_NS + at * HOUR, sent=sent, dropped=lost, received=got
        )
        for instance, at, sent, lost, got in beats
    ]
    window = WindowRow(model="m", version="1", start=BEGIN_NS, end=BEGIN_NS + HOUR, n=1, accepted=1, status={"ok": 1}, judged_at=BEGIN_NS)
    insert(own, [window, *rows])
    made = make(own, OCTOBER, Settings(), AFTER)
    (row,) = made.answers["completeness"].rows
    # of across 500 sent, 10 dropped, 490 read; again 200, all; within 10, of which 4; weeks-ago 60: its past is forgotten
    assert (row["instances"], row["produced"], row["arrived"], row["lost_in_service"]) == (4, 780, 754, 10)
    (promised,) = (row for row in made.answers["objectives"].rows if row["indicator"] == "completeness")
    assert (promised["counted"], promised["budget_left"]) == (780, pytest.approx(1 - 26 / 780 / 0.001))


def test_behind_each_figure_are_table_filter_and_count_and_the_filter_can_be_asked_again(report: Report, store: ClickHouse) -> None:
    for name, answer in report.answers.items():
        (again,) = store.query(f"SELECT count() AS n FROM {answer.figure.table} FINAL WHERE {answer.filter}")
        assert again["n"] == answer.evidence, name
    assert all(answer.evidence > 0 for answer in report.answers.values())


def test_what_lies_outside_of_the_month_is_not_in_it(report: Report, store: ClickHouse) -> None:
    (first,) = [row for row in month_of_rows() if isinstance(row, WindowRow)][:1]
    late = [msgspec.structs.replace(first, model="late", start=BEGIN_NS + 31 * 24 * HOUR, end=BEGIN_NS + 31 * 24 * HOUR + 1)]
    store.insert(late, "after the month")
    assert make(store, OCTOBER, Settings(), AFTER).versions == len(VERSIONS)
    assert make(store, Month.parse("2026-11"), Settings(), AFTER).versions == 1


def test_of_one_model_only_its_rows_count(store: ClickHouse) -> None:
    one = make(store, OCTOBER, Settings(budget=Budget(false_pages_per_30d=2.0)), AFTER, model="fraud")
    assert {row["model"] for name in ("service", "exposure", "incidents", "signed") for row in one.answers[name].rows} == {"fraud"}
    assert one.versions == 1
    assert one.budget == pytest.approx(2 * 31 / 30)
    assert "model = 'fraud'" in one.answers["alerts"].filter


class _Reader(HTMLParser):
    """Fails on tags that are not closed in order; collects ids, links, and what comes from elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: set[str] = set()
        self.links: set[str] = set()
        self.text = ""

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = dict(attributes)
        assert tag not in ("script", "link", "img", "iframe"), tag
        assert not {"src", "onclick", "onload"} & set(given)
        self.ids |= {given["id"] or ""} if "id" in given else set()
        self.links |= {given["href"] or ""} if "href" in given else set()
        if tag not in ("meta", "rect"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag != "rect":
            assert self.open.pop() == tag, self.open

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_stands_alone_is_well_formed_and_its_links_lead_somewhere(report: Report) -> None:
    reader = _Reader()
    reader.feed(html_of(report))
    assert reader.open == []
    assert {link.removeprefix("#") for link in reader.links} <= reader.ids
    assert "url(" not in html_of(report)
    for words in ("October 2026", "99.95", "6.2 d", "Article 72(2)", "A.8.16", "MEASURE 2.7", "basket_value"):
        assert words in reader.text, words
    assert "The month is not over" not in reader.text


def test_a_month_that_is_not_over_is_marked(store: ClickHouse) -> None:
    early = make(store, OCTOBER, Settings(), datetime(2026, 10, 16, tzinfo=UTC))
    assert "The month is not over" in html_of(early)
    assert early.budget == pytest.approx(3 * 15 / 30)


def test_every_control_rests_on_figures_that_there_are(report: Report) -> None:
    assert {name for control in CONTROLS for name in control.figures} <= {figure.name for figure in FIGURES}
    assert {control.source for control in CONTROLS} == {"NIST AI RMF 1.0", "ISO/IEC 27001:2022", "EU AI Act"}
    tree = json.loads(json_of(report))
    assert tree["figures"]["alerts"]["evidence"]["rows"] == 13
    assert tree["controls"][0]["id"].startswith("MEASURE")


def test_names_of_strangers_stay_text(store: ClickHouse) -> None:
    name, bad = "<script>alert(1)</script>", '"><img src=x onerror=1>'
    (window,) = [row for row in month_of_rows() if isinstance(row, WindowRow)][:1]
    july = int(datetime(2026, 7, 1, tzinfo=UTC).timestamp()) * 10**9
    store.insert([msgspec.structs.replace(window, model=m, start=july, end=july + HOUR) for m in (name, HOSTILE)], "hostile")
    fields = {"severity": "page", "state": "firing", "opened_at": july, "at": july, "detector": bad, "alertname": bad, "client": bad}
    store.insert([AlertRow(alert_id="h", model=name, version="1", summary=bad, **fields)], "hostile alerts")  # type: ignore[arg-type]
    found = html_of(make(store, Month.parse("2026-07"), Settings(), AFTER))
    assert "<script" not in found
    assert "<img" not in found
    _Reader().feed(found)
    one = make(store, Month.parse("2026-07"), Settings(), AFTER, model=HOSTILE)
    (again,) = store.query(f"SELECT count() AS n FROM windows FINAL WHERE {one.answers['service'].filter}")
    assert again["n"] == 1


def test_where_there_is_nothing_it_says_what_there_is(store: ClickHouse) -> None:
    with pytest.raises(NoDataError, match=r"nothing was judged in 2020-02: the store has 2026-0[67].* to 2026-1[01]"):
        make(store, Month.parse("2020-02"), Settings(), AFTER)
    with pytest.raises(NoDataError, match=r"no model 'froud'; it has .*churn, fraud"):
        make(store, OCTOBER, Settings(), AFTER, model="froud")


def test_a_store_without_rows_says_so(clickhouse: ClickHouse) -> None:
    migrate(clickhouse)
    with pytest.raises(NoDataError, match="no judged window at all"):
        make(clickhouse, OCTOBER, Settings(), AFTER)


def test_the_command_writes_both_files_and_the_audit_log_says_who_asked(dsn: str, tmp_path: Path, store: ClickHouse) -> None:
    done = run("report", "--month", "2026-10", "--out", tmp_path / "x.html", INFERWATCH_CLICKHOUSE_DSN=dsn)
    assert done.exit_code == 0, done.output
    assert (tmp_path / "x.html").read_text().startswith("<!doctype html>")
    assert json.loads((tmp_path / "x.json").read_text())["month"] == "2026-10"
    assert store.query("SELECT subject FROM audit WHERE kind = 'report'") == [{"subject": "2026-10"}]
    none = run("report", "--month", "2024-01", "--out", tmp_path / "y.html", INFERWATCH_CLICKHOUSE_DSN=dsn)
    assert none.exit_code == 1
    assert "nothing was judged in 2024-01" in none.output
    assert not (tmp_path / "y.html").exists()


def test_nonsense_is_told() -> None:
    for arguments, message in (
        (("--month", "2026-13"), "'2026-13' is no month"),
        (("--month", "november"), "expected one as 2026-11"),
        (("--month", "2090-01"), "it has not begun"),
        (("--month", "2026-10", "--out", "x.json"), "the JSON goes beside it"),
    ):
        done = run("report", *arguments, **NOWHERE)
        assert done.exit_code == 2, done.output
        assert message in done.output
    away = run("report", "--month", "2026-10", **NOWHERE)
    assert away.exit_code == 1
    assert "127.0.0.1:1" in away.output


def test_months_end_where_the_next_begins() -> None:
    assert Month.parse("2026-12").end == Month.parse("2027-01").start
    assert re.fullmatch(r"2028-02-01.*", str(Month.parse("2028-02").start))
    assert Month.parse("2028-02").days == 29
