"""The one way to Alertmanager: keeps telling it what fires, until it has been told that it is over.

Alertmanager forgets everything at a restart and resolves what is not repeated. So the open alerts live here (and in the judges' state), are
posted again every ``resend_s`` to every peer with an end a few intervals ahead, and a resolution is repeated for some minutes.

That end is Alertmanager's time, told by the ``Date`` of its last answer: by ours, a clock set back would end every page that is open.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import msgspec
import structlog

from schemas.alerts import Alert
from streams.metrics import Metrics
from streams.page_text import PageText, clean
from streams.settings import Settings, mask_url

__all__ = ["AlertmanagerClient", "labels_of", "to_post"]

RESOLVED_FOR_S = 300.0
"""How long a resolution is repeated."""
INTERVALS_AHEAD = 4
"""An alert that is not repeated for so many intervals resolves by itself."""
MAX_OPEN = 10_000
"""Alerts kept here; more are refused, and counted."""
_AT_ONCE = 500
_TEXT = 256
_ANNOTATION = 4_096
_FIRST_WAIT_S = 0.5
_GATHER_S = 0.1
_CLOCKS_AGREE_S = 30.0
_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")

Labels = tuple[tuple[str, str], ...]
log = structlog.get_logger(__name__)


def labels_of(alert: Alert) -> Labels:
    """The identity of an alert at Alertmanager: what groups, inhibits, silences and repeats by.

    No number and no text that changes while the alert is open. Empty values are left out, long ones cut at 256 characters.

    Raises:
        ValueError: a label name that Alertmanager would refuse.

    Example:
        >>> labels_of(Alert(alert_id="a1", model="m", version="7", detector="drift", severity="page", state="firing",
        ...                 at_ns=1, opened_at_ns=1))
        (('alertname', 'InferwatchDrift'), ('model', 'm'), ('severity', 'page'), ('version', '7'))
    """
    labels = {"alertname": alert.alertname, "severity": alert.severity, "model": alert.model, "version": alert.version}
    if alert.client:
        labels["client"] = alert.client
    elif alert.clients:
        labels["cohort"] = alert.alert_id  # members come and go
    if alert.part:
        labels["part"] = alert.part
    labels["service"] = alert.service or alert.served_by
    for name in labels:
        if not _NAME.fullmatch(name):
            raise ValueError(f"label name {name!r}: expected {_NAME.pattern}")
    return tuple(sorted((name, text) for name, value in labels.items() if (text := clean(value)[:_TEXT])))


def to_post(alert: Alert, now_ns: int, ends_ns: int, words: PageText) -> dict[str, Any]:
    """The alert as ``POST /api/v2/alerts`` takes it. ``ends_ns`` at or before Alertmanager's ``now_ns``: it is resolved."""
    starts_ns = min(alert.opened_at_ns, now_ns)
    annotations = {
        "summary": words.first_line(alert),
        "alert_id": alert.alert_id,
        "since": _time(alert.opened_at_ns),
        "log_evidence": f"{alert.log_evidence:.3g}",
        "n_events": str(alert.n_events),
        "feature": alert.feature or "",
        "clients": ", ".join(alert.clients[:20]),
        "evidence": msgspec.json.encode(alert.evidence, enc_hook=str).decode(),  # what is not finite becomes null
        "techniques": ", ".join(alert.techniques),
        "owasp": ", ".join(alert.owasp),
        "runbook": words.runbook(alert),
        "dashboard": words.dashboard(alert),
    }
    kept = {name: text for name, value in annotations.items() if (text := clean(value)[:_ANNOTATION])}
    added = {name: text for name, value in words.labels(alert).items() if (text := clean(value)[:_TEXT])}
    return {
        "labels": dict(labels_of(alert)) | added,
        "annotations": kept | {"description": words.text(alert)},  # of several lines, each of which is clean
        "startsAt": _time(starts_ns),
        "endsAt": _time(max(ends_ns, starts_ns)),
    }


@dataclass
class _Peer:
    """One URL and what it knows."""

    url: str
    changed: asyncio.Event
    told: int = -1
    """The version of our alerts that it took last."""
    trouble: str = "has not answered yet"
    is_met: bool = False
    """Whether it has answered, and so told its time, if it does."""
    ahead_s: float | None = None
    """Its time less our monotonic one, behind by at most a second and the answer's way; None: it does not tell."""
    differs: bool = False

    @property
    def name(self) -> str:
        parts = urlsplit(self.url)
        return f"{parts.hostname}:{parts.port or (443 if parts.scheme == 'https' else 80)}"


class AlertmanagerClient:
    """A `streams.delivery.Pager` that posts to every configured URL. Without URLs it keeps count only.

    Alerts with the same labels are one alert for Alertmanager: it fires while any of them does. An alert whose severity changed resolves
    under its old labels and fires under the new ones.

    Args:
        settings: URLs and interval, and what the text of pages says.
        metrics: Counts.
        may_post: Whether this judge's alerts are ours to tell. While it is not sure, they are neither repeated nor ended.
        wall_ns: UTC ns.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        settings: Settings,
        metrics: Metrics,
        *,
        may_post: Callable[[int], bool] = lambda owner: True,
        wall_ns: Callable[[], int] = time.time_ns,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._may_post = may_post
        self._settings, self._metrics, self._wall_ns, self._clock = settings.alertmanager, metrics, wall_ns, clock
        self._words = PageText(settings)
        self._open: dict[tuple[int, str], Alert] = {}
        self._over: dict[Labels, tuple[int, Alert, int, float]] = {}  # owner, alert, when it ended, until when we repeat it
        self._version = 0
        self._progress = asyncio.Event()
        self._peers = [_Peer(url, asyncio.Event()) for url in settings.alertmanager.urls]

    @property
    def open(self) -> tuple[Alert, ...]:
        """The alerts that fire now."""
        return tuple(self._open.values())

    def adopt(self, owner: int, alerts: Sequence[Alert]) -> None:
        """See `streams.delivery.Pager.adopt`."""
        for alert in alerts:
            self.offer(owner, alert)

    def offer(self, owner: int, alert: Alert) -> None:
        """See `streams.delivery.Pager.offer`. A pending alert, or one without severity, is nobody's page yet."""
        key = owner, alert.alert_id
        before = self._open.pop(key, None)
        if alert.state == "firing" and alert.severity != "none":
            self._over.pop(labels_of(alert), None)
            if len(self._open) >= MAX_OPEN:
                self._metrics.alerts_refused.inc()
                log.error("too many open alerts: this one is on its topic and in the store only", alert_id=alert.alert_id, limit=MAX_OPEN)
            else:
                self._open[key] = alert
        elif before is None and alert.state == "resolved":
            before = alert  # it fired before this worker started
        if before is not None:
            ended_ns = alert.resolved_at_ns or alert.at_ns
            if alert.state == "resolved":
                before = msgspec.structs.replace(before, resolved_at_ns=ended_ns)  # so that its text says for how long it lasted
            self._end(owner, before, ended_ns)
        self._change()

    def release(self, owner: int) -> None:
        """See `streams.delivery.Pager.release`."""
        for key in [key for key in self._open if key[0] == owner]:
            del self._open[key]
        self._change()

    async def run(self) -> None:
        """Posts until cancelled, each URL by itself: one that is away does not hold up the others."""
        if not self._peers:
            await asyncio.Event().wait()
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10.0)) as session:
            await asyncio.gather(*(self._serve(session, peer) for peer in self._peers))

    async def drain(self, budget_s: float) -> bool:
        """Waits until every URL took what is new, at most so long; needs `run` running."""

        async def told() -> None:
            while any(peer.told < self._version for peer in self._peers):
                self._progress.clear()
                await self._progress.wait()

        try:
            await asyncio.wait_for(told(), budget_s)
        except TimeoutError:
            return False
        return True

    def problems(self) -> list[str]:
        """The URLs that do not take our alerts, and why."""
        return [f"Alertmanager {peer.name}: {peer.trouble}" for peer in self._peers if peer.trouble]

    def _end(self, owner: int, alert: Alert, at_ns: int) -> None:
        labels = labels_of(alert)
        if any(labels_of(firing) == labels for firing in self._open.values()):
            return
        self._over[labels] = owner, alert, at_ns, self._clock() + RESOLVED_FOR_S
        while len(self._over) > MAX_OPEN:
            del self._over[next(iter(self._over))]

    def _change(self) -> None:
        self._version += 1
        self._metrics.alerts_open.set(len(self._open))
        for peer in self._peers:
            peer.changed.set()

    def _messages(self, peer: _Peer) -> list[dict[str, Any]]:
        now, wall_ns = self._clock(), self._wall_ns()
        now_ns = wall_ns if peer.ahead_s is None else int((now + peer.ahead_s) * 1e9)
        # Monotonic time stands still while a machine sleeps, the wall clock may be set back: the later of the two ends no alert too soon.
        until_ns = max(now_ns, wall_ns) + int(INTERVALS_AHEAD * self._settings.resend_s * 1e9)
        for labels in [labels for labels, (*_, until) in self._over.items() if until < now]:
            del self._over[labels]
        mine = {
            owner for owner in {owner for owner, _ in self._open} | {owner for owner, *_ in self._over.values()} if self._may_post(owner)
        }
        firing = {
            labels_of(alert): to_post(alert, now_ns, until_ns, self._words) for (owner, _), alert in self._open.items() if owner in mine
        }
        over = [to_post(alert, now_ns, min(at_ns, now_ns), self._words) for owner, alert, at_ns, _ in self._over.values() if owner in mine]
        return [*firing.values(), *over]

    async def _serve(self, session: aiohttp.ClientSession, peer: _Peer) -> None:
        wait = 0.0
        while True:
            version = self._version
            peer.changed.clear()
            messages = self._messages(peer) if peer.is_met else []  # the first answer tells the time, which the ends need
            done = True
            for i in range(0, max(1, len(messages)), _AT_ONCE):  # none is said too: an answer shows that it is there
                done = done and await self._post(session, peer, messages[i : i + _AT_ONCE])
            if done and not peer.is_met:
                peer.is_met = True
            elif done:
                peer.told, peer.trouble, wait = version, "", 0.0
                self._progress.set()
                try:
                    await asyncio.wait_for(peer.changed.wait(), self._settings.resend_s)
                    await asyncio.sleep(_GATHER_S)  # what belongs together comes together
                except TimeoutError:
                    continue
            else:
                wait = min(max(_FIRST_WAIT_S, 2 * wait), self._settings.resend_s)
                await asyncio.sleep(wait)

    async def _post(self, session: aiohttp.ClientSession, peer: _Peer, messages: list[dict[str, Any]]) -> bool:
        """Posts some; False when it must be tried again."""
        try:
            async with session.post(f"{peer.url.rstrip('/')}/api/v2/alerts", json=messages, allow_redirects=False) as answer:
                status, date = answer.status, answer.headers.get("Date", "")
                body = (await answer.content.read(500)).decode("utf-8", "replace")
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            self._metrics.alertmanager_posts.labels("away").inc()
            peer.trouble = f"is away ({type(error).__name__})"
            log.warning("Alertmanager is away; trying again", url=mask_url(peer.url), error=f"{type(error).__name__}: {error}")
            return False
        if 200 <= status < 300:
            self._metrics.alertmanager_posts.labels("ok").inc()
            self._metrics.alertmanager_last.labels(peer.name).set(self._wall_ns() / 1e9)
            self._set_time(peer, date)
            return True
        if status in (400, 413, 422):
            # Alertmanager took the valid ones of the batch all the same; the same bytes again would change nothing.
            self._metrics.alertmanager_posts.labels("refused").inc()
            self._metrics.alerts_refused.inc()
            log.error("Alertmanager refuses alerts", url=mask_url(peer.url), status=status, answer=body, alerts=len(messages))
            return True
        self._metrics.alertmanager_posts.labels("failed").inc()
        peer.trouble = f"answers {status}"
        log.warning("Alertmanager does not take alerts; trying again", url=mask_url(peer.url), status=status, answer=body)
        return False

    def _set_time(self, peer: _Peer, date: str) -> None:
        try:
            told_s = parsedate_to_datetime(date).timestamp()
        except ValueError:  # none, or no date
            peer.ahead_s = None
            return
        peer.ahead_s = told_s - self._clock()
        by_s = self._wall_ns() / 1e9 - told_s
        self._metrics.clock_ahead.labels(peer.name).set(round(by_s))
        if abs(by_s) > _CLOCKS_AGREE_S and not peer.differs:
            log.warning(
                "our clock and Alertmanager's differ: alerts go by its time; set both by NTP", url=mask_url(peer.url), ahead_s=round(by_s)
            )
        peer.differs = abs(by_s) > _CLOCKS_AGREE_S


def _time(ns: int) -> str:
    return datetime.fromtimestamp(ns / 1e9, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
