"""`inferwatch alert`: the pager is proven end to end or the reason is told; verdicts are recorded once an alert, and shown."""

import asyncio
import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from streams.acknowledge import UnknownAlertError, acknowledge, open_alerts
from streams.clickhouse import ClickHouse
from streams.embedded.alertmanager import EmbeddedAlertmanager, render_config
from streams.migrate import migrate
from streams.pager_test import counts, try_pager
from streams.settings import Alertmanager, Settings
from tests.commands.cli import NOWHERE, run
from tests.dashboards.rows import END, END_NS, insert, rows
from tests.dashboards.test_dashboards import panel_of
from tests.dashboards.test_dashboards import run as show
from tests.pager import Pager

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def sinks(alertmanager_binary: Path) -> Iterator[tuple[Pager, EmbeddedAlertmanager]]:
    with Pager() as pager:
        config = render_config(
            webhook=pager.webhook_url, pagerduty=pager.pagerduty_url, slack=pager.slack_url, group_wait=0.1, group_interval=0.3
        )
        with EmbeddedAlertmanager(config) as alertmanager:
            yield pager, alertmanager


@pytest.mark.alertmanager
def test_the_pager_is_proven_end_to_end(sinks: tuple[Pager, EmbeddedAlertmanager]) -> None:
    pager, alertmanager = sinks
    done = run("alert", "test", "--timeout", 20, INFERWATCH_ALERTMANAGER_URLS=alertmanager.url)
    assert done.exit_code == 0, done.output
    for line in ("pagerduty (pagerduty): delivered", "slack (slack): delivered", "webhook (webhook): delivered"):
        assert line in done.output
    (identity,) = {word.rstrip(".") for word in done.output.split() if word.startswith("T-")}
    assert {one.receiver for one in pager.about(identity)} == {"pagerduty", "slack", "webhook"}
    pager.wait_for(lambda n: n.receiver == "pagerduty" and n.is_resolved and n.mentions(identity))  # it ends by itself


@pytest.mark.alertmanager
def test_a_ticket_leaves_the_pager_out(sinks: tuple[Pager, EmbeddedAlertmanager]) -> None:
    pager, alertmanager = sinks
    done = run("alert", "test", "--severity", "ticket", "--timeout", 20, INFERWATCH_ALERTMANAGER_URLS=alertmanager.url)
    assert done.exit_code == 0, done.output
    assert "pagerduty" not in done.output
    assert {one.receiver for one in pager.notifications} == {"slack", "webhook"}


@pytest.mark.alertmanager
def test_a_provider_that_refuses_fails_the_test_by_name(alertmanager_binary: Path) -> None:
    with (
        Pager() as pager,
        EmbeddedAlertmanager(render_config(webhook=pager.webhook_url, slack="http://127.0.0.1:1/nobody", group_wait=0.1)) as alertmanager,
    ):
        done = run("alert", "test", "--timeout", 3, INFERWATCH_ALERTMANAGER_URLS=alertmanager.url)
    assert done.exit_code == 1
    assert "slack (slack): NOT DELIVERED" in done.output
    assert "webhook (webhook): delivered" in done.output
    assert "Not every receiver was reached in 3 s" in done.output


@pytest.mark.alertmanager
def test_nobody_to_tell_is_a_failure(alertmanager_binary: Path) -> None:
    with EmbeddedAlertmanager(render_config(group_wait=0.1)) as alertmanager:
        done = run("alert", "test", "--timeout", 3, INFERWATCH_ALERTMANAGER_URLS=alertmanager.url)
    assert done.exit_code == 1
    assert "nobody (no integration): tells nobody" in done.output
    assert "No receiver is set up" in done.output


@pytest.mark.alertmanager
def test_a_silence_is_named(sinks: tuple[Pager, EmbeddedAlertmanager]) -> None:
    from urllib.request import Request, urlopen

    _, alertmanager = sinks
    silence = {
        "matchers": [{"name": "model", "value": "inferwatch-test", "isRegex": False}],
        "startsAt": "2020-01-01T00:00:00Z", "endsAt": "2090-01-01T00:00:00Z", "createdBy": "ada", "comment": "quiet",
    }  # fmt: skip
    request = Request(f"{alertmanager.url}/api/v2/silences", json.dumps(silence).encode(), {"Content-Type": "application/json"})
    with urlopen(request, timeout=5) as answer:
        identity = json.loads(answer.read())["silenceID"]
    report = asyncio.run(try_pager(Settings(alertmanager=Alertmanager(urls=(alertmanager.url,))), "InferwatchTest", "page", "T-1", 10))
    assert not report.passed
    assert identity in report.muted


def test_without_an_alertmanager_it_says_what_to_set() -> None:
    done = run("alert", "test")
    assert done.exit_code == 2
    assert "alertmanager.urls is empty" in done.output
    done = run("alert", "test", **NOWHERE)
    assert done.exit_code == 1
    assert "Alertmanager at http://127.0.0.1:1 does not answer: Connect" in done.stderr
    assert "Is alertmanager.urls right" in done.stderr


def test_failed_notifications_are_counted_apart() -> None:
    text = (
        'alertmanager_notification_requests_total{integration="webhook",receiver_name="a"} 3\n'
        'alertmanager_notification_requests_total{integration="webhook",receiver_name="b"} 2\n'
        'alertmanager_notification_requests_failed_total{integration="webhook",reason="other"} 1\n'
    )
    assert counts(text) == {"": {"webhook": 5}, "_failed": {"webhook": 1}}


@pytest.fixture
def store(clickhouse: ClickHouse) -> ClickHouse:
    migrate(clickhouse)
    insert(clickhouse, rows())
    return clickhouse


@pytest.mark.clickhouse
def test_a_verdict_is_recorded_once_and_shown_against_the_budget(store: ClickHouse) -> None:
    for k, verdict in enumerate(("true", "benign-cause", "false")):
        row = acknowledge(store, "a1", verdict, END_NS + k, by="ada\x07", note="nothing")  # type: ignore[arg-type]  # a verdict
        assert (row.severity, row.judged_by) == ("page", "ada")
    assert store.query("SELECT alert_id, verdict FROM acknowledgements FINAL ORDER BY alert_id") == [
        {"alert_id": "a1", "verdict": "false"},
        {"alert_id": "a2", "verdict": "false"},
    ]
    end = END + timedelta(hours=1)
    assert show(store, panel_of("oncall", "Pages against the budget, 30 days"), end) == [{"Pages": 3, "False": 2, "Budget": 2.0}]
    turned_out = {row["detector"]: row for row in show(store, panel_of("executive", "How alerts turned out, 30 days"), end)}
    assert turned_out["drift"]["false"] == turned_out["evasion"]["false"] == 1
    assert turned_out["extraction"]["not judged"] == 1
    allowed = {name: row["false allowed"] for name, row in turned_out.items()}
    assert allowed == {"drift": 0.7, "evasion": 0.5, "extraction": None, "canary": None}  # of two models; a ticket and a rule have none
    assert "completeness" not in turned_out  # pending is nobody's alert yet


@pytest.mark.clickhouse
def test_an_unknown_alert_is_told_with_those_there_are(store: ClickHouse) -> None:
    with pytest.raises(UnknownAlertError, match=r"no alert 'nope' is in the store.*a2 \(page, InputDrift on fraud\)"):
        acknowledge(store, "nope", "true", END_NS, by="ada")
    with pytest.raises(UnknownAlertError):  # it is pending: nobody was told
        acknowledge(store, "a4", "true", END_NS, by="ada")


@pytest.mark.clickhouse
def test_open_alerts_are_listed_pages_first(store: ClickHouse) -> None:
    assert [row["alert_id"] for row in open_alerts(store)] == ["a1", "a3"]
    assert open_alerts(store, "churn") == []


@pytest.mark.clickhouse
def test_a_model_that_nobody_knows_is_told_beside_the_answer(store: ClickHouse, clickhouse_dsn: str) -> None:
    done = run("alert", "list", "--model", "chrun", INFERWATCH_CLICKHOUSE_DSN=clickhouse_dsn)
    assert done.stdout == "No alert of chrun fires.\n"
    assert "no model 'chrun'; it has churn, fraud" in done.stderr


def test_a_store_that_is_away_is_told_and_a_verdict_must_be_one() -> None:
    done = run("alert", "ack", "a1", "--verdict", "true", **NOWHERE)
    assert done.exit_code == 1
    assert "127.0.0.1:1" in done.output
    assert run("alert", "ack", "a1", "--verdict", "maybe").exit_code == 2
