"""The life of alerts: one per cause, opened once, rising from ticket to page, resolved once."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from schemas import techniques
from schemas.alerts import Alert, Detector, State, alert_id
from schemas.windows import Severity
from streams.burn import BUDGET_S

MAX_OPEN = 1_000
"""Open alerts of one model version; a storm beyond is counted, not kept."""
_REMEMBERED = 10_000
_GROWTH = 4.605170185988092
"""Ln 100: how much a resolved cause's evidence must have grown before it opens again without a fresh crossing."""
RANK: dict[Severity, int] = {"none": 0, "ticket": 1, "page": 2}
_MAX_PAGES = 1_000
_KIND = dict[str, Any]


class _Open(msgspec.Struct):
    alert: Alert
    renewed_ns: int
    log_evidence: float
    """The most that was ever said for it."""
    patience_ns: int = 0
    """How long it stays without renewal, if longer than others."""
    page: int = 0
    """The how manieth page of the model version in 30 days it was when it became one."""


class AlertBook:
    """The alerts of one model version.

    Args:
        model: its name.
        version: its version.
        emit: takes each transition: opened, risen, grown, resolved.
        resolve_after_ns: a cause that nothing renews for so long is over.
        served_by: the service that serves the version now, asked when an alert opens.
    """

    def __init__(
        self,
        model: str,
        version: str,
        emit: Callable[[Alert], None],
        resolve_after_ns: int,
        served_by: Callable[[], str] = lambda: "",
    ) -> None:
        self.model, self.version, self.resolve_after_ns = model, version, resolve_after_ns
        self._served_by = served_by
        self.suppressed = self.grown = 0
        self._emit = emit
        self._open: dict[tuple[Detector, str], _Open] = {}
        self._past: OrderedDict[tuple[Detector, str], float] = OrderedDict()
        self._paged: list[int] = []
        """When there were pages, of the last 30 days."""

    @property
    def open(self) -> list[Alert]:
        """Alerts that are not resolved."""
        return [one.alert for one in self._open.values()]

    def is_open(self, detector: Detector) -> bool:
        """Whether an alert of this detector is open, whatever its cause."""
        return any(held == detector for held, _ in self._open)

    def of(self, detector: Detector) -> dict[str, Alert]:
        """Open alerts of a detector, by cause."""
        return {cause: held.alert for (one, cause), held in self._open.items() if one == detector}

    def was_told(self, detector: Detector, cause: str) -> bool:
        """Whether an alert of this cause has ended."""
        return (detector, cause) in self._past

    def raise_(
        self,
        detector: Detector,
        cause: str,
        severity: Severity,
        at_ns: int,
        *,
        summary: str,
        log_evidence: float = 0.0,
        evidence: _KIND | None = None,
        client: str | None = None,
        clients: Iterable[str] = (),
        feature: str | None = None,
        service: str = "",
        n_events: int = 0,
        pending: bool = False,
        grown: bool = False,
        continues: bool = False,
        part: str = "",
        patience_ns: int = 0,
    ) -> None:
        """Evidence for a cause at this severity: opens its alert, lets it rise or grow, or renews it; it never falls.

        Args:
            detector: who says so.
            cause: what makes two alerts of a detector the same: the client, the members, the feature, the instance; empty: the model.
            severity: "ticket" or "page"; "none" does nothing.
            at_ns: event time.
            summary: one sentence.
            log_evidence: nats.
            evidence: figures behind it.
            client: whom it names alone.
            clients: members, for a pooled alert.
            feature: what it is about.
            service: whose instances, where only they are meant.
            n_events: events behind it.
            pending: it must be raised once more before it fires.
            grown: it has members who were not told: an open alert is told again, under its identity and severity.
            patience_ns: how long it stays without renewal, where it comes and goes.
            part: what of the model it is about, where others of the detector may be open.
            continues: an episode that was told before: after a pause in the traffic it is no second alert, unless it has grown (`renew`).
        """
        if severity == "none":
            return
        key = detector, cause
        held = self._open.get(key)
        if held is None and continues and self.renew(detector, cause, at_ns, log_evidence):
            return
        state: State = "pending" if pending and held is None else "firing"
        if held is not None:
            held.renewed_ns, held.log_evidence = max(held.renewed_ns, at_ns), max(held.log_evidence, log_evidence)
            held.patience_ns = max(held.patience_ns, patience_ns)
            rises = RANK[severity] > RANK[held.alert.severity] or (held.alert.state == "pending" and state == "firing")
            if not rises and not grown:
                return
            self.grown += not rises
            severity = severity if RANK[severity] > RANK[held.alert.severity] else held.alert.severity
        elif len(self._open) >= MAX_OPEN:
            self.suppressed += 1
            return
        opened_ns = held.alert.opened_at_ns if held is not None else at_ns
        members = tuple(clients)
        page = 0 if held is None else held.page
        if severity == "page" and not page:
            self._paged = [*(before for before in self._paged if before > at_ns - BUDGET_S * 10**9), at_ns][-_MAX_PAGES:]
            page = len(self._paged)
        ids, owasp = techniques.BY_DETECTOR[detector]
        alert = Alert(
            alert_id=alert_id(self.model, self.version, detector, cause, opened_ns),
            model=self.model,
            version=self.version,
            detector=detector,
            severity=severity,
            state=state,
            at_ns=at_ns,
            opened_at_ns=opened_ns,
            client=client,
            clients=members,
            feature=feature,
            part=part,
            service=service,
            served_by=held.alert.served_by if held is not None else self._served_by(),  # identity: it stays as it was
            n_events=n_events,
            log_evidence=log_evidence,
            summary=summary,
            evidence=(evidence or {}) | ({"page_of_30d": page} if page > 1 else {}),
            techniques=(*ids, *techniques.OF_SEVERAL) if members else ids,
            owasp=owasp,
        )
        self._open[key] = held = held or _Open(alert, at_ns, log_evidence, patience_ns)
        held.alert, held.page = alert, page
        self._emit(alert)

    def renew(self, detector: Detector, cause: str, at_ns: int, log_evidence: float) -> bool:
        """The cause still stands; False when no alert of it is open and its evidence has grown enough to open one."""
        held = self._open.get((detector, cause))
        if held is not None:
            held.renewed_ns, held.log_evidence = max(held.renewed_ns, at_ns), max(held.log_evidence, log_evidence)
            return True
        return log_evidence < self._past.get((detector, cause), float("inf")) + _GROWTH

    def settle(self, now_ns: int) -> None:
        """Resolves what nothing has renewed for `resolve_after_ns`; a pending alert that never fired goes without a word."""
        for key, held in list(self._open.items()):
            if now_ns - held.renewed_ns < max(self.resolve_after_ns, held.patience_ns):
                continue
            del self._open[key]
            self._past[key] = held.log_evidence
            if len(self._past) > _REMEMBERED:
                self._past.popitem(last=False)
            if held.alert.state == "firing":
                self._emit(msgspec.structs.replace(held.alert, state="resolved", at_ns=now_ns, resolved_at_ns=now_ns))

    def forget(self, client: str, event_id: str) -> None:
        """Forgets a client or an event. An alert about the client alone ends without a word: nothing posts it any more."""
        for key, held in list(self._open.items()):
            alert = held.alert
            if client and (alert.client == client or client in key[1].split(",")):
                del self._open[key]
            elif client and client in alert.clients:
                held.alert = msgspec.structs.replace(alert, clients=tuple(name for name in alert.clients if name != client))
            elif event_id:
                held.alert = msgspec.structs.replace(alert, evidence=_without_event(alert.evidence, event_id))
        if client:
            for past in [past for past in self._past if client in past[1].split(",")]:
                del self._past[past]

    def dump(self) -> _KIND:
        """For a snapshot."""
        held = [(detector, cause, one) for (detector, cause), one in self._open.items()]
        past = [(detector, cause, value) for (detector, cause), value in self._past.items()]
        return {
            "open": msgspec.msgpack.encode(held),
            "past": msgspec.msgpack.encode(past),
            "paged": self._paged,
            "suppressed": self.suppressed,
            "grown": self.grown,
        }

    def load(self, body: _KIND) -> None:
        """From a snapshot."""
        held = msgspec.msgpack.decode(body["open"], type=list[tuple[Detector, str, _Open]])
        self._open = {(detector, cause): one for detector, cause, one in held}
        past = msgspec.msgpack.decode(body["past"], type=list[tuple[Detector, str, float]])
        self._past = OrderedDict(((detector, cause), value) for detector, cause, value in past)
        self.suppressed, self.grown, self._paged = body["suppressed"], body.get("grown", 0), list(body.get("paged", []))


def _without_event(evidence: dict[str, Any], event_id: str) -> dict[str, Any]:
    """Evidence that no longer names this event."""
    out = evidence | ({"event_id": ""} if evidence.get("event_id") == event_id else {})
    if "chain" in out:
        out["chain"] = [one | ({"event_id": ""} if one.get("event_id") == event_id else {}) for one in out["chain"]]
    return out
