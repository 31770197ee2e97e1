"""An alert reaches the pager once, its end once, and a lack of Alertmanager is explained."""

import json
import stat
import urllib.request
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from streams.embedded import MissingPartError
from streams.embedded.alertmanager import EmbeddedAlertmanager, find_alertmanager, render_config
from streams.embedded.process import StartError
from tests.pager import Notification, Pager


def post(alertmanager: EmbeddedAlertmanager, model: str, *, severity: str = "page", over: bool = False, **labels: str) -> None:
    now = datetime.now(UTC)
    alert = {
        "labels": {"alertname": "Drift", "model": model, "client": "c1", "severity": severity} | labels,
        "annotations": {"summary": f"{model} drifts"},
        "startsAt": (now - timedelta(minutes=1)).isoformat(),
        "endsAt": (now if over else now + timedelta(minutes=4)).isoformat(),
    }
    body = json.dumps([alert]).encode()
    request = urllib.request.Request(f"{alertmanager.url}/api/v2/alerts", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        assert answer.status == 200


def resolved(model: str, receiver: str) -> Any:
    return lambda n: n.receiver == receiver and n.is_resolved and n.mentions(model)


def firing(model: str, receiver: str) -> Any:
    return lambda n: n.receiver == receiver and not n.is_resolved and n.mentions(model)


@pytest.mark.alertmanager
def test_an_alert_that_is_sent_again_and_again_pages_once_and_resolves_once(alertmanager: EmbeddedAlertmanager, pager: Pager) -> None:
    for _ in range(5):
        post(alertmanager, "repeated-model")
    for receiver in ("pagerduty", "slack", "webhook"):
        pager.wait_for(firing("repeated-model", receiver))
    post(alertmanager, "repeated-model")
    post(alertmanager, "repeated-model", over=True)
    for receiver in ("pagerduty", "slack", "webhook"):
        pager.wait_for(resolved("repeated-model", receiver))
    post(alertmanager, "later-model")  # a whole notification of another model: anything still under way for it had its chance
    pager.wait_for(firing("later-model", "webhook"))

    for receiver in ("pagerduty", "slack", "webhook"):
        assert [n.is_resolved for n in pager.about("repeated-model", receiver)] == [False, True]
    trigger, resolve = (n.body for n in pager.about("repeated-model", "pagerduty"))
    assert (trigger["event_action"], resolve["event_action"]) == ("trigger", "resolve")
    assert trigger["dedup_key"] == resolve["dedup_key"]


@pytest.mark.alertmanager
def test_a_ticket_goes_to_slack_and_the_webhook_but_wakes_nobody(alertmanager: EmbeddedAlertmanager, pager: Pager) -> None:
    post(alertmanager, "ticketed", severity="ticket")
    pager.wait_for(firing("ticketed", "slack"))
    pager.wait_for(firing("ticketed", "webhook"))
    assert pager.about("ticketed", "pagerduty") == []


@pytest.mark.alertmanager
def test_two_features_of_a_model_are_one_page(alertmanager: EmbeddedAlertmanager, pager: Pager) -> None:
    for feature in ("age", "income"):
        post(alertmanager, "grouped", feature=feature)
    both: list[Notification] = pager.wait_for(lambda n: n.receiver == "webhook" and n.mentions("grouped") and n.mentions("income"))
    assert len(both[-1].body["alerts"]) == 2


@pytest.mark.alertmanager
def test_an_incident_is_one_page_and_another_service_another(alertmanager: EmbeddedAlertmanager, pager: Pager) -> None:
    post(alertmanager, "incident", alertname="InferwatchDrift", service="shop", client="")
    post(alertmanager, "incident", alertname="InferwatchEvasion", service="shop")
    post(alertmanager, "incident", alertname="InferwatchDrift", service="batch", client="")
    both: list[Notification] = pager.wait_for(lambda n: n.receiver == "webhook" and n.mentions("incident") and len(n.body["alerts"]) == 2)
    assert {one["labels"]["alertname"] for one in both[0].body["alerts"]} == {"InferwatchDrift", "InferwatchEvasion"}
    pager.wait_for(lambda n: n.receiver == "webhook" and n.mentions("incident") and n.body["groupLabels"].get("service") == "batch")
    one = pager.wait_for(firing("incident", "pagerduty"))[0].body["dedup_key"]  # each receiver is told in its own time
    pager.wait_for(lambda n: firing("incident", "pagerduty")(n) and n.body["dedup_key"] != one)
    assert len({n.body["dedup_key"] for n in pager.about("incident", "pagerduty")}) == 2


@pytest.mark.alertmanager
def test_a_provider_that_is_down_gets_the_page_later(alertmanager_binary: Path) -> None:
    with Pager() as pager, EmbeddedAlertmanager(render_config(webhook=pager.webhook_url, group_wait=0.05)) as alertmanager:
        pager.fail_next(1)
        post(alertmanager, "retried")
        assert len(pager.wait_for(firing("retried", "webhook"))) == 1


@pytest.mark.alertmanager
def test_a_wrong_configuration_is_told_in_alertmanagers_words(alertmanager_binary: Path) -> None:
    with pytest.raises(StartError, match="undefined receiver"), EmbeddedAlertmanager("route: {receiver: nobody}"):
        pass


@pytest.mark.alertmanager
def test_a_given_folder_and_configuration_file_stay_and_are_private(alertmanager_binary: Path, tmp_path: Path) -> None:
    file = tmp_path / "mine.yml"
    file.write_text(render_config(pagerduty="http://127.0.0.1:1/v2/enqueue", pagerduty_key="secret-key"))
    with EmbeddedAlertmanager(file, folder=tmp_path / "kept") as running:
        assert running.url.startswith("http://127.0.0.1:")
    assert running.url == ""
    copy = tmp_path / "kept" / "alertmanager.yml"
    assert copy.read_text() == file.read_text()
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600


def test_without_a_binary_the_error_says_how_to_get_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for variable in ("INFERWATCH_ALERTMANAGER", "GOBIN", "GOPATH"):
        monkeypatch.delenv(variable, raising=False)
    for variable in ("HOME", "PATH", "INFERWATCH_CACHE"):
        monkeypatch.setenv(variable, str(tmp_path))
    assert find_alertmanager() is None
    with pytest.raises(MissingPartError, match=r"make tools.*INFERWATCH_ALERTMANAGER"):
        EmbeddedAlertmanager(render_config()).start()


def test_the_binary_is_found_under_both_names_and_where_go_installs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def program(path: Path) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o755)
        return path

    for variable in ("INFERWATCH_ALERTMANAGER", "GOBIN", "GOPATH"):
        monkeypatch.delenv(variable, raising=False)
    for variable in ("HOME", "PATH", "INFERWATCH_CACHE"):
        monkeypatch.setenv(variable, str(tmp_path))
    for place in (tmp_path / "bin" / "alertmanager", tmp_path / "go" / "bin" / "alertmanager", tmp_path / "prometheus-alertmanager"):
        monkeypatch.setenv("PATH", str(place.parent) if place.parent == tmp_path else str(tmp_path / "nothing"))
        program(place)
        assert find_alertmanager() == place
        place.unlink()
    monkeypatch.setenv("GOPATH", str(tmp_path / "elsewhere"))
    assert find_alertmanager() is None
    there = program(tmp_path / "elsewhere" / "bin" / "alertmanager")
    assert find_alertmanager() == there


def test_a_wrong_path_in_the_variable_is_an_error_not_a_search(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("INFERWATCH_ALERTMANAGER", str(tmp_path / "absent"))
    with pytest.raises(MissingPartError, match="absent: not an executable file"):
        find_alertmanager()


def test_nonsense_is_refused_with_its_range() -> None:
    with pytest.raises(ValueError, match=r"group_wait must be 0\.001 to 1e9 seconds, got 0"):
        render_config(group_wait=0)
    with pytest.raises(ValueError, match=r"slack must be an http\(s\) URL, got 'hooks"):
        render_config(slack="hooks.example.com")
