"""Did the demo show what it promises? From the alerts that were seen and the causes that were made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from schemas.alerts import Alert
from streams.demo.observer import Seen


@dataclass
class Causes:
    """What the demo did, and when: time.monotonic(), None as long as it has not."""

    attacker: str = ""
    """Pseudonym."""
    attacked_at: float | None = None
    feature: str = ""
    drifted_at: float | None = None


@dataclass(frozen=True)
class Verdict:
    """What the alerts were about."""

    attack: Seen | None
    """The first page that names the attacker."""
    drift: Seen | None
    """The first page that names the drifted feature after it drifted."""
    false_pages: tuple[Alert, ...] = ()
    """Pages without a cause: about ordinary clients, or drift before there was any."""
    tickets_on_ordinary: tuple[Alert, ...] = ()
    missing_events: int = 0
    """Events that were sent but neither judged nor refused by the worker."""

    @property
    def good(self) -> bool:
        """Both causes were found, and nobody was paged for nothing."""
        return self.attack is not None and self.drift is not None and not self.false_pages and not self.missing_events


def judge(alerts: Sequence[Seen], causes: Causes, missing_events: int = 0) -> Verdict:
    """Sorts the alerts by cause.

    Args:
        alerts: as they were seen, resolved ones too.
        causes: what was done.
        missing_events: sent but not accounted for by the worker.
    """
    attack = drift = None
    false_pages: dict[str, Alert] = {}
    tickets: dict[str, Alert] = {}
    for seen in alerts:
        alert = seen.alert
        if alert.state != "firing":
            continue
        about_attacker = bool(causes.attacker) and alert.client == causes.attacker
        if alert.detector == "drift":
            named = {alert.feature, *(variable.get("name") for variable in alert.evidence.get("variables", []))}
            caused = causes.drifted_at is not None and seen.at >= causes.drifted_at and causes.feature in named
        else:
            caused = about_attacker
        if alert.severity == "ticket":
            if not caused:
                tickets[alert.alert_id] = alert
        elif not caused:
            false_pages[alert.alert_id] = alert
        elif alert.detector == "drift":
            drift = drift or seen
        elif alert.detector in ("evasion", "extraction"):
            attack = attack or seen
    return Verdict(attack, drift, tuple(false_pages.values()), tuple(tickets.values()), missing_events)
