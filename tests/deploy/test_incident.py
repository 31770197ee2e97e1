"""An incident of many parts is one notification a receiver and one page, and its end is told once, whatever is restarted meanwhile."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from schemas.alerts import Alert
from streams.alertmanager import AlertmanagerClient
from streams.embedded.alertmanager import EmbeddedAlertmanager
from streams.metrics import Metrics
from streams.settings import Alertmanager, Routing, Settings
from tests.deploy.test_alertmanager import quick_config
from tests.pager import Pager

ROUTING = Routing(environment="production", cluster="eu-1", team="payments", runbooks_url="https://docs.example/runbooks")
WAIT = "2s"
"""A group waits this long: all of an incident's alerts are in before it, on a machine that does a hundred other things, too."""
RESEND_S = 1.0
"""An alert ends this often times four unless it is posted again: a pause of a busy machine is shorter."""
RECEIVERS = ("pagerduty", "slack", "webhook", "security", "datascience")


def incident(model: str, service: str = "shop") -> list[Alert]:
    """Drift of five features just after a deploy, and three clients who search for adversarial input."""
    now = time.time_ns()
    drift = Alert(
        alert_id=f"{model}-drift", model=model, version="8", detector="drift", severity="page", state="firing", at_ns=now,
        opened_at_ns=now, feature="amount", n_events=5_000, log_evidence=14.0,
        summary=f"amount and 4 more of {model} 8 moved up from the reference (PSI 0.21, W1 0.6 sd; evidence e^14.0, 5,000 events).",
        evidence={"deploy": {"version": "8", "loaded_at_ns": now}, "variables": [{"name": f"feature-{k}"} for k in range(5)]},
    )  # fmt: skip
    clients = [
        Alert(
            alert_id=f"{model}-{client}", model=model, version="8", detector="evasion", severity="page", state="firing", at_ns=now,
            opened_at_ns=now, client=client, n_events=240, log_evidence=18.0, techniques=("AML.T0015",), owasp=("ML01:2023",),
            summary=f"Client {client} searches for an input that the model gets wrong: evidence e^18.0 after 240 events on {model} 8.",
        )
        for client in ("c0ffee", "beef", "cafe")
    ]  # fmt: skip
    return [msgspec.structs.replace(alert, served_by=service) for alert in (drift, *clients)]


@asynccontextmanager
async def worker(url: str, routing: Routing = ROUTING) -> AsyncIterator[AlertmanagerClient]:
    """The worker's side of it."""
    made = AlertmanagerClient(Settings(alertmanager=Alertmanager(urls=(url,), resend_s=RESEND_S), routing=routing), Metrics())
    task = asyncio.create_task(made.run())
    try:
        yield made
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def said(pager: Pager, model: str) -> None:
    """Whatever is under way for a model has its chance: another one's whole notification arrives."""
    await asyncio.sleep(3.5)  # a group's wait, an interval of posts and one of the group: nothing tells that nothing will come


@pytest.mark.alertmanager
async def test_an_incident_is_one_page_and_one_end_across_restarts(tmp_path: Path, alertmanager_binary: Path) -> None:
    model = "incident-fraud"
    alerts = incident(model)
    with Pager() as pager, EmbeddedAlertmanager(quick_config(tmp_path / "run", pager, WAIT), folder=tmp_path / "kept") as alertmanager:
        async with worker(alertmanager.url) as client:
            for alert in alerts:
                client.offer(0, alert)
            for receiver in RECEIVERS:
                await asyncio.to_thread(pager.wait_for, lambda n, receiver=receiver: n.receiver == receiver)  # type: ignore[misc]  # bound early
            await said(pager, model)
            assert {receiver: len(pager.about(model, receiver)) for receiver in RECEIVERS} == dict.fromkeys(RECEIVERS, 1)

        async with worker(alertmanager.url) as client:  # another worker took the judge over
            client.adopt(0, alerts)
            assert await client.drain(5)
            await said(pager, model)
            await asyncio.to_thread(alertmanager.stop)
            await asyncio.to_thread(alertmanager.start)
            assert await client.drain(10)
            await said(pager, model)
            assert {receiver: len(pager.about(model, receiver)) for receiver in RECEIVERS} == dict.fromkeys(RECEIVERS, 1)

            over = time.time_ns()
            for alert in alerts:
                client.offer(0, msgspec.structs.replace(alert, state="resolved", at_ns=over, resolved_at_ns=over))
            for receiver in RECEIVERS:
                await asyncio.to_thread(pager.wait_for, lambda n, receiver=receiver: n.receiver == receiver and n.is_resolved)  # type: ignore[misc]  # bound early
            await said(pager, model)
        for receiver in RECEIVERS:
            assert [n.is_resolved for n in pager.about(model, receiver)] == [False, True], receiver
        page, end = (n.body for n in pager.about(model, "pagerduty"))
        assert page["dedup_key"] == end["dedup_key"]
        assert "New version 8: amount and 4 more" in page["payload"]["summary"]
        assert "(and 4 in all)" in page["payload"]["summary"]
        slack = pager.about(model, "slack")[0].body["attachments"][0]
        assert all(client in str(slack) for client in ("c0ffee", "beef", "cafe"))
        assert "Over after" in str(pager.about(model, "slack")[1].body)
        (webhook, _) = pager.about(model, "webhook")
        assert webhook.body["groupLabels"] == {
            "model": model, "version": "8", "service": "shop", "cluster": "eu-1", "environment": "production",
        }  # fmt: skip
        assert {alert["labels"]["team"] for alert in webhook.body["alerts"]} == {"payments"}
        assert len(pager.about(model, "security")[0].body["alerts"]) == 3
        assert len(pager.about(model, "datascience")[0].body["alerts"]) == 1


@pytest.mark.alertmanager
async def test_each_deployment_of_a_model_version_is_an_incident_of_its_own(tmp_path: Path, alertmanager_binary: Path) -> None:
    model = "incident-twice"
    elsewhere = msgspec.structs.replace(ROUTING, cluster="us-1")
    with Pager() as pager, EmbeddedAlertmanager(quick_config(tmp_path / "run", pager, WAIT)) as alertmanager:
        async with worker(alertmanager.url) as here, worker(alertmanager.url, elsewhere) as there:
            for alert in incident(model):
                here.offer(0, alert)
                there.offer(0, alert)
            for alert in incident(model, "batch"):
                here.offer(1, alert)
            await asyncio.to_thread(pager.wait_for, lambda n: n.receiver == "webhook", count=3)
            await said(pager, model)
        groups = [n.body["groupLabels"] for n in pager.about(model, "webhook")]
    assert sorted((group["service"], group["cluster"]) for group in groups) == [("batch", "eu-1"), ("shop", "eu-1"), ("shop", "us-1")]
