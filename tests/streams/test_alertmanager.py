"""Alertmanager is told what fires until it knows that it is over, whatever it answers and whenever it is away."""

import asyncio
import contextlib
import json
import time
import urllib.parse
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from schemas.alerts import Alert
from streams.alertmanager import AlertmanagerClient, labels_of, to_post
from streams.embedded.alertmanager import EmbeddedAlertmanager
from streams.metrics import Metrics
from streams.page_text import PageText
from streams.settings import Alertmanager, Settings
from tests.pager import Pager

NOW = 1_790_000_000_000_000_000


def alert(alert_id: str = "a1", state: str = "firing", severity: str = "page", **more: Any) -> Alert:
    fields: dict[str, Any] = {"model": "fraud", "version": "7", "detector": "drift", "at_ns": NOW, "opened_at_ns": NOW}
    return Alert(alert_id=alert_id, severity=severity, state=state, **(fields | more))  # type: ignore[arg-type]


class Peer:
    """What stands for an Alertmanager: keeps what it is sent, answers as told."""

    def __init__(self) -> None:
        self.posts: list[list[dict[str, Any]]] = []
        self.answers: list[int] = []
        self.date = ""
        self.port = 0
        self._runner: web.AppRunner | None = None

    async def take(self, request: web.Request) -> web.Response:
        self.posts.append(await request.json())
        status = self.answers.pop(0) if self.answers else 200
        return web.Response(status=status, text="because", headers={"Date": self.date})

    async def start(self) -> "Peer":
        app = web.Application()
        app.add_routes([web.post("/api/v2/alerts", self.take)])
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True)
        await site.start()
        self.port = self._runner.addresses[0][1]
        return self

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


class Clock:
    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds

    def wall_ns(self) -> int:
        return NOW + int(self.seconds * 1e9)


@pytest.fixture
async def peer() -> AsyncIterator[Peer]:
    made = await Peer().start()
    yield made
    await made.stop()


@asynccontextmanager
async def client(*urls: str, resend_s: float = 30.0, clock: Clock | None = None) -> AsyncIterator[AlertmanagerClient]:
    clock = clock or Clock()
    made = AlertmanagerClient(
        Settings(alertmanager=Alertmanager(urls=urls, resend_s=resend_s)), Metrics(), wall_ns=clock.wall_ns, clock=clock
    )
    task = asyncio.create_task(made.run())
    try:
        yield made
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def until(holds: Any) -> None:
    async with asyncio.timeout(8):
        while not holds():  # noqa: ASYNC110  # what is waited for sets no event
            await asyncio.sleep(0.005)


def seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp() - NOW / 1e9


async def test_an_alert_is_posted_at_once_with_an_end_four_intervals_ahead(peer: Peer) -> None:
    async with client(peer.url) as pager:
        pager.offer(0, alert())
        assert await pager.drain(5)
    (message,) = peer.posts[-1]
    assert message["labels"] == {"alertname": "InferwatchDrift", "severity": "page", "model": "fraud", "version": "7"}
    assert (seconds(message["startsAt"]), seconds(message["endsAt"])) == (0, 120)


async def test_all_open_alerts_are_said_again_every_interval_with_a_later_end(peer: Peer) -> None:
    clock = Clock()
    async with client(peer.url, resend_s=0.05, clock=clock) as pager:
        pager.adopt(0, [alert("a1"), alert("a2", client="c")])
        await until(lambda: len(peer.posts) >= 2)
        clock.seconds = 100
        n = len(peer.posts)
        await until(lambda: len(peer.posts) >= n + 2)
    assert len(peer.posts[-1]) == 2
    assert seconds(peer.posts[-1][0]["endsAt"]) == pytest.approx(100.2)


async def test_a_resolution_is_repeated_for_some_minutes_and_then_no_more(peer: Peer) -> None:
    clock = Clock()
    async with client(peer.url, resend_s=0.05, clock=clock) as pager:
        pager.offer(0, alert())
        clock.seconds = 50
        pager.offer(0, alert(state="resolved", resolved_at_ns=NOW + 40 * 10**9))
        await pager.drain(5)
        n = len(peer.posts)
        await until(lambda: len(peer.posts) >= n + 2)
        assert seconds(peer.posts[-1][0]["endsAt"]) == 40
        clock.seconds = 50 + 301
        await until(lambda: peer.posts[-1] == [])


async def test_an_alert_that_fires_again_is_not_called_over_any_more(peer: Peer) -> None:
    async with client(peer.url) as pager:
        for state in "firing", "resolved", "firing":
            pager.offer(0, alert(state=state))
        await pager.drain(5)
    assert [seconds(m["endsAt"]) for m in peer.posts[-1]] == [120]


async def test_an_alert_that_fired_before_this_worker_is_resolved_too(peer: Peer) -> None:
    async with client(peer.url) as pager:
        pager.offer(0, alert(state="resolved", resolved_at_ns=NOW))
        await pager.drain(5)
    assert seconds(peer.posts[-1][0]["endsAt"]) == 0


async def test_an_alert_that_becomes_a_page_resolves_as_a_ticket(peer: Peer) -> None:
    async with client(peer.url) as pager:
        pager.offer(0, alert(severity="ticket"))
        pager.offer(0, alert(severity="page"))
        await pager.drain(5)
    assert {m["labels"]["severity"]: seconds(m["endsAt"]) for m in peer.posts[-1]} == {"page": 120, "ticket": 0}


async def test_two_alerts_with_the_same_labels_fire_until_both_are_over(peer: Peer) -> None:
    async with client(peer.url) as pager:
        pager.offer(0, alert("a1", feature="x"))
        pager.offer(0, alert("a2", feature="y"))
        pager.offer(0, alert("a1", state="resolved"))
        await pager.drain(5)
        assert [seconds(m["endsAt"]) for m in peer.posts[-1]] == [120]
        pager.offer(0, alert("a2", state="resolved"))
        await pager.drain(5)
        assert [seconds(m["endsAt"]) for m in peer.posts[-1]] == [0]


async def test_a_pending_alert_is_nobodys_page(peer: Peer) -> None:
    async with client(peer.url) as pager:
        pager.offer(0, alert(state="pending"))
        pager.offer(0, alert("a2", severity="none"))
        await pager.drain(5)
    assert peer.posts[-1] == []


async def test_alerts_of_a_judge_that_was_given_up_are_neither_repeated_nor_resolved(peer: Peer) -> None:
    async with client(peer.url) as pager:
        pager.offer(0, alert("a1"))
        pager.offer(1, alert("a2", model="other"))
        pager.release(0)
        await pager.drain(5)
    assert [m["labels"]["model"] for m in peer.posts[-1]] == ["other"]


async def test_a_peer_that_fails_gets_it_again_and_says_so_meanwhile(peer: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streams.alertmanager._FIRST_WAIT_S", 0.01)
    peer.answers = [500, 503]
    async with client(peer.url) as pager:
        pager.offer(0, alert())
        await until(lambda: pager.problems() == [f"Alertmanager 127.0.0.1:{peer.port}: answers 503"])
        await pager.drain(5)
        assert pager.problems() == []
    assert len(peer.posts) == 4  # the first that it took told its time


async def test_a_refusal_is_counted_and_not_repeated_in_a_hurry(peer: Peer) -> None:
    peer.answers = [200, 400]
    async with client(peer.url) as pager:
        pager.offer(0, alert())
        assert await pager.drain(5)
        assert pager._metrics.registry.get_sample_value("inferwatch_alertmanager_posts_total", {"outcome": "refused"}) == 1
    assert len(peer.posts) == 2


async def test_every_url_gets_every_alert_though_one_is_away(peer: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streams.alertmanager._FIRST_WAIT_S", 0.01)
    other = await Peer().start()
    await other.stop()
    async with client(other.url, peer.url) as pager:
        pager.offer(0, alert())
        await until(lambda: len(peer.posts) > 0 and len(peer.posts[-1]) == 1)
        await until(lambda: any("is away" in problem for problem in pager.problems()))
        assert not await pager.drain(0.01)
        await other.start()  # and comes back
        assert await pager.drain(5)
        assert other.posts[-1] == peer.posts[-1]
    await other.stop()


def says_its_time(peer: Peer, clock: Clock, ahead_s: float) -> None:
    peer.date = format_datetime(datetime.fromtimestamp(NOW / 1e9 + clock.seconds + ahead_s, UTC), usegmt=True)


@pytest.mark.parametrize("ahead_s", [-7_200.0, 7_200.0])
async def test_alerts_begin_and_end_by_the_time_of_alertmanager_not_by_ours(peer: Peer, ahead_s: float) -> None:
    clock = Clock()
    says_its_time(peer, clock, ahead_s)
    async with client(peer.url, clock=clock) as pager:
        pager.offer(0, alert())
        await pager.drain(5)
        first = peer.posts[-1][0]
        ahead = pager._metrics.registry.get_sample_value("inferwatch_clock_ahead_seconds", {"target": pager._peers[0].name})
        assert ahead == -ahead_s
        pager.offer(0, alert(state="resolved", resolved_at_ns=NOW))
        await pager.drain(5)
    assert seconds(first["startsAt"]) == min(ahead_s, 0)  # it refuses what begins after it ends
    assert seconds(first["endsAt"]) == max(ahead_s, 0) + 120  # never too early
    assert seconds(peer.posts[-1][0]["endsAt"]) <= ahead_s if ahead_s < 0 else seconds(peer.posts[-1][0]["endsAt"]) == 0


async def test_a_clock_set_back_ends_nothing(peer: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    says_its_time(peer, clock, 0.0)
    async with client(peer.url, resend_s=1.0, clock=clock) as pager:
        pager.offer(0, alert())
        await pager.drain(5)
        monkeypatch.setattr(pager, "_wall_ns", lambda: NOW - 7_200 * 10**9)
        clock.seconds = 10.0
        pager.offer(0, alert(severity="ticket"))
        await pager.drain(5)
    assert {m["labels"]["severity"]: seconds(m["endsAt"]) for m in peer.posts[-1]} == {"ticket": 14, "page": 0}


async def test_a_machine_that_slept_ends_nothing(peer: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    says_its_time(peer, clock, 0.0)
    async with client(peer.url, resend_s=1.0, clock=clock) as pager:
        pager.offer(0, alert())
        await pager.drain(5)
        monkeypatch.setattr(pager, "_wall_ns", lambda: NOW + 3_600 * 10**9)  # monotonic time stood still
        pager.offer(0, alert("a2", client="c"))
        await pager.drain(5)
    assert {seconds(m["endsAt"]) for m in peer.posts[-1]} == {3_604}


async def test_without_a_url_alerts_stay_where_they_are() -> None:
    async with client() as pager:
        pager.offer(0, alert())
        assert len(pager.open) == 1
        assert await pager.drain(0.1)


async def test_the_number_of_open_alerts_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streams.alertmanager.MAX_OPEN", 3)
    async with client() as pager:
        for i in range(5):
            pager.offer(0, alert(f"a{i}"))
        assert len(pager.open) == 3
        assert pager._metrics.registry.get_sample_value("inferwatch_alerts_refused_total") == 2


def test_numbers_and_text_are_annotations_and_never_labels() -> None:
    first = alert(detector="extraction", client="c", n_events=3, log_evidence=9.5, summary="one", evidence={"x": 1})
    later = alert(detector="extraction", client="c", n_events=99, log_evidence=30.0, summary="two", evidence={"x": 2})
    assert labels_of(first) == labels_of(later)
    annotations = to_post(later, NOW, NOW, PageText(Settings()))["annotations"]
    assert (annotations["n_events"], annotations["log_evidence"], annotations["summary"]) == ("99", "30", "two")
    assert json.loads(annotations["evidence"]) == {"x": 2}
    assert dict(labels_of(alert(clients=("a", "b"))))["cohort"] == "a1"
    unknown = to_post(alert(evidence={"ln": float("-inf"), "rate": float("nan")}), NOW, NOW, PageText(Settings()))["annotations"][
        "evidence"
    ]
    assert json.loads(unknown, parse_constant=pytest.fail) == {"ln": None, "rate": None}


@given(st.text(), st.text(), st.text(max_size=600))
def test_whatever_a_producer_calls_its_model_the_post_is_valid(model: str, version: str, client: str) -> None:
    message = to_post(alert(model=model, version=version, client=client, summary=client), NOW, NOW - 5, PageText(Settings()))
    lines = message["annotations"].pop("description").splitlines()
    for values in message["labels"].values(), message["annotations"].values(), lines:
        assert all(value and value.isprintable() for value in values)
    assert all(len(value) <= 256 for value in message["labels"].values())
    json.dumps(message).encode()
    assert datetime.fromisoformat(message["endsAt"]).astimezone(UTC) >= datetime.fromisoformat(message["startsAt"])


@pytest.mark.alertmanager
@pytest.mark.parametrize("ahead_s", [-7_200.0, 7_200.0])
async def test_the_real_one_pages_once_whatever_our_clock_says(alertmanager: EmbeddedAlertmanager, pager: Pager, ahead_s: float) -> None:
    name = f"clock{ahead_s:.0f}"

    def wall_ns() -> int:
        return time.time_ns() + int(ahead_s * 1e9)

    made = AlertmanagerClient(Settings(alertmanager=Alertmanager(urls=(alertmanager.url,), resend_s=0.5)), Metrics(), wall_ns=wall_ns)
    task = asyncio.create_task(made.run())
    made.offer(0, alert(name, model=name, opened_at_ns=wall_ns()))
    await asyncio.to_thread(pager.wait_for, lambda n: n.receiver == "pagerduty" and n.mentions(name))
    await asyncio.sleep(2.0)  # intervals in which it would resolve
    assert [n.is_resolved for n in pager.about(name, "pagerduty")] == [False]
    made.offer(0, alert(name, model=name, state="resolved", resolved_at_ns=wall_ns(), opened_at_ns=wall_ns()))
    await asyncio.to_thread(pager.wait_for, lambda n: n.receiver == "pagerduty" and n.mentions(name) and n.is_resolved)
    task.cancel()


@pytest.mark.alertmanager
async def test_the_real_one_pages_and_resolves(alertmanager: EmbeddedAlertmanager, pager: Pager) -> None:
    fires = alert("real", model="really-fraud", opened_at_ns=int(datetime.now(UTC).timestamp() * 1e9))
    made = AlertmanagerClient(Settings(alertmanager=Alertmanager(urls=(alertmanager.url,), resend_s=1.0)), Metrics())
    task = asyncio.create_task(made.run())
    made.offer(0, fires)
    assert await made.drain(5)
    paged = await asyncio.to_thread(
        pager.wait_for, lambda n: n.receiver == "pagerduty" and n.mentions("really-fraud") and not n.is_resolved
    )
    assert len(paged) == 1
    over = int(datetime.now(UTC).timestamp() * 1e9)
    made.offer(0, alert("real", model="really-fraud", state="resolved", resolved_at_ns=over, opened_at_ns=fires.opened_at_ns))
    await asyncio.to_thread(pager.wait_for, lambda n: n.receiver == "pagerduty" and n.mentions("really-fraud") and n.is_resolved)
    assert made.problems() == []
    query = urllib.parse.quote('model="really-fraud"')
    async with aiohttp.ClientSession() as client, client.get(f"{alertmanager.url}/api/v2/alerts?filter={query}") as answer:
        assert await answer.json() == []
    task.cancel()
