"""The pager's configuration, as start.sh makes it of the environment: valid in every combination, and pages arrive."""

import itertools
import json
import os
import stat
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from schemas.alerts import ALERTNAMES
from streams.embedded.alertmanager import EmbeddedAlertmanager
from tests.deploy.files import ROOT
from tests.pager import Pager

FOLDER = ROOT / "deploy" / "alertmanager"
WAYS = {
    "PAGERDUTY_KEY": "pagerduty",
    "SLACK_URL": "slack",
    "WEBHOOK_URL": "webhook",
    "SECURITY_WEBHOOK_URL": "security",
    "DATASCIENCE_WEBHOOK_URL": "datascience",
}


def rendered(run: Path, secrets: dict[str, str]) -> dict[str, Any]:
    """What start.sh gives Alertmanager, for which ``echo`` stands in."""
    run.mkdir(exist_ok=True)
    environment = {"PATH": os.environ["PATH"], "ALERTMANAGER": "echo", "ALERTMANAGER_RUN": str(run)} | secrets
    environment["ALERTMANAGER_SOURCE"] = str(FOLDER / "alertmanager.yml")
    said = subprocess.run(["sh", FOLDER / "start.sh"], env=environment, capture_output=True, text=True, check=True)
    assert f"--config.file={run}/alertmanager.yml" in said.stdout
    assert not any(secret in said.stdout + said.stderr for secret in secrets.values())
    loaded: dict[str, Any] = yaml.safe_load((run / "alertmanager.yml").read_text())
    return loaded


@pytest.mark.parametrize("given", [c for n in range(6) for c in itertools.combinations(WAYS, n)], ids=lambda c: "+".join(c) or "none")
def test_a_way_is_there_when_its_secret_is(tmp_path: Path, given: tuple[str, ...]) -> None:
    config = rendered(tmp_path / "run", {name: f"http://secret-{name}.invalid/" for name in given})
    wanted = {WAYS[name] for name in given}
    assert {receiver["name"] for receiver in config["receivers"]} == wanted | {"nobody"}
    assert {route["receiver"] for route in config["route"]["routes"] or []} == wanted
    assert all(route["continue"] for route in config["route"]["routes"] or [])
    assert "secret-" not in (tmp_path / "run" / "alertmanager.yml").read_text()


def test_secrets_are_files_that_only_alertmanager_reads(tmp_path: Path) -> None:
    rendered(tmp_path / "run", {"PAGERDUTY_KEY": "R0UT1NG$KEY#/&"})
    file = tmp_path / "run" / "pagerduty"
    assert file.read_text() == "R0UT1NG$KEY#/&"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_alert_names_in_the_routes_are_ours() -> None:
    text = (FOLDER / "alertmanager.yml").read_text()
    config = yaml.safe_load(text)
    matchers = [m for r in config["route"]["routes"] for m in r.get("matchers", [])]
    matchers += [m for r in config["inhibit_rules"] for m in r["source_matchers"] + r["target_matchers"]]
    for matcher in matchers:
        name, _, value = matcher.partition("=")
        assert name in ("alertname", "severity")
        known = set(ALERTNAMES.values()) if name == "alertname" else {"page", "ticket"}
        assert set(value.strip('~"').split("|")) <= known


def quick_config(run: Path, pager: Pager, wait: str = "300ms") -> str:
    """What start.sh made, only quicker: a group waits this long. PagerDuty's address is the one thing that is put in."""
    secrets = {"PAGERDUTY_KEY": "key", "SLACK_URL": pager.slack_url, "WEBHOOK_URL": pager.webhook_url}
    rendered(run, secrets | {"SECURITY_WEBHOOK_URL": f"{pager.url}/security", "DATASCIENCE_WEBHOOK_URL": f"{pager.url}/datascience"})
    text = (run / "alertmanager.yml").read_text()
    for slow, quick in (
        ("group_wait: 30s", f"group_wait: {wait}"),
        ("group_wait: 5s", f"group_wait: {wait}"),
        ("group_interval: 2m", "group_interval: 300ms"),
    ):
        assert slow in text
        text = text.replace(slow, quick)
    return text.replace("      - routing_key_file:", f"      - url: {pager.pagerduty_url}\n        routing_key_file:")


@contextmanager
def running(run: Path, pager: Pager) -> Iterator[str]:
    """The real Alertmanager with that configuration."""
    with EmbeddedAlertmanager(quick_config(run, pager)) as alertmanager:
        yield alertmanager.url


def post(url: str, name: str, severity: str, model: str, **labels: str) -> None:
    now = datetime.now(UTC)
    alert = {
        "labels": {"alertname": name, "severity": severity, "model": model, "version": "1"} | labels,
        "annotations": {"summary": f"{name} of {model} happened", "since": now.isoformat(), "runbook": "docs/runbooks/x.md"},
        "startsAt": now.isoformat(),
        "endsAt": (now + timedelta(minutes=5)).isoformat(),
    }
    request = urllib.request.Request(f"{url}/api/v2/alerts", json.dumps([alert]).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=5) as answer:
        assert answer.status == 200


@pytest.mark.alertmanager
def test_a_page_reaches_everybody_and_a_ticket_wakes_nobody(tmp_path: Path, pager: Pager, alertmanager_binary: Path) -> None:
    with running(tmp_path / "run", pager) as url:
        post(url, "InferwatchEvasion", "page", "deploy-evasion", client="c0ffee")
        post(url, "InferwatchDrift", "ticket", "deploy-ticket")
        for receiver in ("pagerduty", "slack", "webhook", "security"):
            pager.wait_for(lambda n, receiver=receiver: n.receiver == receiver and n.mentions("deploy-evasion"))  # type: ignore[misc]  # bound early
        for receiver in ("slack", "webhook"):
            pager.wait_for(lambda n, receiver=receiver: n.receiver == receiver and n.mentions("deploy-ticket"))  # type: ignore[misc]  # bound early
        (page,) = pager.about("deploy-evasion", "pagerduty")
        assert page.body["payload"]["summary"] == "InferwatchEvasion of deploy-evasion happened"
        assert page.body["payload"]["severity"] == "critical"
        assert page.body["payload"]["custom_details"]["runbook"] == "docs/runbooks/x.md"
        assert "c0ffee" in page.body["payload"]["custom_details"]["alerts"]
        assert pager.about("deploy-ticket", "pagerduty") == []
        assert pager.about("deploy-ticket", "security") == []


@pytest.mark.alertmanager
def test_what_is_silent_does_not_drift(tmp_path: Path, pager: Pager, alertmanager_binary: Path) -> None:
    with running(tmp_path / "run", pager) as url:
        post(url, "InferwatchTelemetryGap", "page", "deploy-silent")
        pager.wait_for(lambda n: n.receiver == "pagerduty" and n.mentions("deploy-silent"))
        post(url, "InferwatchDrift", "page", "deploy-silent")
        post(url, "InferwatchDrift", "page", "deploy-loud")
        pager.wait_for(lambda n: n.receiver == "pagerduty" and n.mentions("deploy-loud"))
        assert not any(n.mentions("InferwatchDrift") for n in pager.about("deploy-silent"))
