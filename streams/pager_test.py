"""One alert through the whole pager: posted, routed, delivered by Alertmanager to every receiver that it names, and ended again."""

from __future__ import annotations

import asyncio
import re
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp

from streams.page_text import PageText, clean
from streams.settings import Settings, mask_url

__all__ = ["Delivery", "PagerError", "PagerReport", "try_pager"]

_MODEL = "inferwatch-test"
_AWAY = "Alertmanager at {} does not answer: {}. Is alertmanager.urls right, and does it run there? `inferwatch check` tries every address"
_POLL_S = 0.25
_TWICE = 2
"""A request is counted a moment before it is counted as failed."""
_TOTAL = re.compile(r"^alertmanager_notification_requests(_failed)?_total\{([^}]*)\} (\S+)$", re.MULTILINE)
_INTEGRATION = re.compile(r'integration="([^"]+)"')


class PagerError(RuntimeError):
    """The test could not be made: Alertmanager is away, or refuses."""


@dataclass(frozen=True)
class Delivery:
    """What became of the test at one receiver.

    Attributes:
        receiver: its name in Alertmanager's configuration.
        kind: of integration, as `pagerduty`; "" for a receiver that tells nobody.
        delivered: the provider took it.
        failures: attempts that the provider refused, or that did not reach it.
    """

    receiver: str
    kind: str
    delivered: bool
    failures: int


@dataclass(frozen=True)
class PagerReport:
    """The outcome.

    Attributes:
        id: the test's own, which is in its text.
        deliveries: by receiver and kind.
        seconds: until the last of them.
        muted: why Alertmanager told nobody, as a silence; "" when it did.
    """

    id: str
    deliveries: tuple[Delivery, ...]
    seconds: float
    muted: str

    @property
    def passed(self) -> bool:
        """Whether somebody was told, and everybody who should be."""
        told = [one for one in self.deliveries if one.kind]
        return bool(told) and all(one.delivered for one in told)


async def try_pager(
    settings: Settings, alertname: str, severity: str, identity: str, timeout_s: float, *, model: str = _MODEL, who: str = ""
) -> PagerReport:
    """Posts a test to every configured Alertmanager and waits until each receiver's provider took it.

    What Alertmanager counts is the proof (`alertmanager_notification_requests_total` less the failed ones), by kind of integration: other
    notifications of that kind meanwhile cannot be told from the test.

    Raises:
        PagerError: no Alertmanager could be asked, or it refused the test.
    """
    urls = [url.rstrip("/") for url in settings.alertmanager.urls]
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10.0)) as session:
        kinds: dict[str, list[str]] = {}
        for url in urls:
            status = await _json(session, url, "/api/v2/status")
            kinds |= receivers(str(status.get("config", {}).get("original", "")))
        before = await _counts(session, urls)
        began = time.monotonic()
        alert = _alert(settings, alertname, severity, identity, model, who)
        for url in urls:
            await _post(session, url, alert | {"endsAt": _in(timeout_s + 60)})
        try:
            named, muted = await _routed(session, urls, identity, began + timeout_s)
            wanted = [(name, kind) for name in named for kind in kinds.get(name, []) or [""]]
            needed = Counter(kind for _, kind in wanted if kind)
            delivered, failed = await _delivered(session, urls, before, needed if not muted else Counter(), began + timeout_s)
            seconds = time.monotonic() - began
        finally:
            for url in urls:
                await _post(session, url, alert | {"endsAt": _in(0)})
    done = Counter(delivered)
    deliveries = []
    for name, kind in wanted:
        took = bool(kind) and done[kind] > 0
        done[kind] -= took
        deliveries.append(Delivery(name, kind, took, failed[kind]))
    return PagerReport(identity, tuple(deliveries), seconds, muted)


def receivers(config: str) -> dict[str, list[str]]:
    r"""The kinds of integration of each receiver, from the configuration as Alertmanager gives it back.

    Example:
        >>> receivers("route: {}\nreceivers:\n- name: duty\n  pagerduty_configs:\n  - url: x\n- name: nobody\n")
        {'duty': ['pagerduty'], 'nobody': []}
    """
    found: dict[str, list[str]] = {}
    inside, name, kind = False, "", ""
    for line in config.splitlines():
        if not line.startswith((" ", "-")):
            inside = line.rstrip() == "receivers:"
        elif inside and (match := re.match(r"- name: [\"']?(.*?)[\"']?$", line)):
            name, kind = match[1], ""
            found[name] = []
        elif inside and (match := re.match(r"  (\w+)_configs:", line)):
            kind = match[1]
        elif inside and kind and line.startswith("  - "):
            found[name].append(kind)
    return found


def counts(metrics: str) -> dict[str, Counter[str]]:
    r"""Notifications so far by kind, all (`""`) and failed (`"_failed"`), from the text of Alertmanager's `/metrics`.

    Example:
        >>> counts('alertmanager_notification_requests_total{integration="slack"} 3\n')[""]["slack"]
        3
    """
    found: dict[str, Counter[str]] = {"": Counter(), "_failed": Counter()}
    for failed, labels, value in _TOTAL.findall(metrics):
        if kind := _INTEGRATION.search(labels):
            found[failed][kind[1]] += round(float(value))
    return found


def _alert(settings: Settings, alertname: str, severity: str, identity: str, model: str, who: str) -> dict[str, Any]:
    from schemas.alerts import Alert

    words = PageText(settings)
    owned = words.labels(Alert(alert_id=identity, model=model, version=identity, detector="quality", severity="ticket", state="firing",
                               at_ns=0, opened_at_ns=0))  # fmt: skip
    labels = {"alertname": alertname, "severity": severity, "model": model, "version": identity} | owned
    first = f"TEST {identity} of the pager{f' by {who}' if who else ''}: nothing is wrong. Whoever reads this is reached."
    text = f"{first}\nDo: 1. Acknowledge it. 2. Tell whoever sent it. It ends by itself.\nSent by: inferwatch alert test"
    return {
        "labels": {name: clean(value)[:256] for name, value in labels.items() if value},
        "annotations": {"summary": clean(first), "description": text, "alert_id": identity, "runbook": "docs/howto/pages.md"},
        "startsAt": _in(0),
    }


async def _routed(session: aiohttp.ClientSession, urls: Sequence[str], identity: str, until: float) -> tuple[list[str], str]:
    """The receivers that Alertmanager chose, and what mutes the alert."""
    while time.monotonic() < until:
        for url in urls:
            for found in await _json(session, url, "/api/v2/alerts", {"filter": f'version="{identity}"'}):
                status = found["status"]
                muted = [f"silence {one}" for one in status["silencedBy"]] + [f"inhibited by {one}" for one in status["inhibitedBy"]]
                if status["state"] != "unprocessed":
                    return [one["name"] for one in found["receivers"]], ", ".join(muted)
        await asyncio.sleep(_POLL_S)
    raise PagerError("Alertmanager took the test, but does not show it")


async def _delivered(
    session: aiohttp.ClientSession, urls: Sequence[str], before: Mapping[str, Counter[str]], needed: Counter[str], until: float
) -> tuple[Counter[str], Counter[str]]:
    enough = 0
    while True:
        now = await _counts(session, urls)
        failed = now["_failed"] - before["_failed"]
        delivered = now[""] - before[""] - failed
        enough = enough + 1 if all(delivered[kind] >= n for kind, n in needed.items()) else 0
        if enough == _TWICE or time.monotonic() >= until:
            return delivered, failed
        await asyncio.sleep(_POLL_S)


async def _counts(session: aiohttp.ClientSession, urls: Sequence[str]) -> dict[str, Counter[str]]:
    total: dict[str, Counter[str]] = {"": Counter(), "_failed": Counter()}
    for url in urls:
        found = counts(await _text(session, url))
        total = {name: total[name] + found[name] for name in total}
    return total


async def _post(session: aiohttp.ClientSession, url: str, alert: dict[str, Any]) -> None:
    with _told(url):
        async with session.post(f"{url}/api/v2/alerts", json=[alert]) as answer:
            if answer.status != 200:
                raise PagerError(f"{mask_url(url)} refuses the test: {answer.status} {(await answer.text())[:300]}")


async def _json(session: aiohttp.ClientSession, url: str, path: str, query: Mapping[str, str] | None = None) -> Any:
    with _told(url):
        async with session.get(f"{url}{path}", params=query) as answer:
            answer.raise_for_status()
            return await answer.json()


async def _text(session: aiohttp.ClientSession, url: str) -> str:
    with _told(url):
        async with session.get(f"{url}/metrics") as answer:
            answer.raise_for_status()
            return await answer.text()


@contextmanager
def _told(url: str) -> Iterator[None]:
    """What went wrong with this Alertmanager, as a `PagerError`."""
    try:
        yield
    except aiohttp.ClientConnectorError as error:
        raise PagerError(_AWAY.format(mask_url(url), error.strerror or type(error.os_error).__name__)) from error
    except TimeoutError as error:
        raise PagerError(_AWAY.format(mask_url(url), "no answer in time")) from error
    except aiohttp.ClientResponseError as error:
        raise PagerError(f"{mask_url(url)} answers {error.status} {error.message}: is it an Alertmanager?") from error
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise PagerError(f"{mask_url(url)}: {mask_url(str(error)) or type(error).__name__}") from error


def _in(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + seconds))
