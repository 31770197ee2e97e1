"""The verdicts of one judge: issued when a page opens, prolonged while it stays open, withdrawn when they end or the page was false."""

from __future__ import annotations

import hashlib
import re
from collections import Counter, OrderedDict
from collections.abc import Callable, Collection
from typing import Any

import msgspec

from inferwatch import Verdict, VerdictAction
from schemas.alerts import Alert
from schemas.operations import Acknowledged, ClearVerdict, Operation, SetVerdict
from streams.owner import NS
from streams.settings import Verdicts

__all__ = ["FAMILIES", "PERSON", "VerdictBook", "parse_action"]

FAMILIES = ("extraction", "evasion", "membership", "access")
"""Detectors whose pages name accounts that do something."""
PERSON = "person"
"""The reason of a verdict that somebody decided."""
_DISMISSED = 10_000
_STRENGTH: dict[str, int] = {"observe": 0, "round": 1, "throttle": 2, "block": 3}
_ACTION = re.compile(r"(observe|round|throttle|block)(?:\(([0-9]{1,9}(?:\.[0-9]{1,6})?)\))?")

Put = Callable[[str, str, Verdict | None, str, str], None]
"""``put(model, client, verdict, why, by)``; None: withdrawn."""


def parse_action(text: str) -> dict[str, Any]:
    """An action as settings and commands write it, as fields of `inferwatch.Verdict`.

    Raises:
        ValueError: it is none.

    Example:
        >>> parse_action("throttle(10)"), parse_action("block")
        ({'action': 'throttle', 'rate': 10.0}, {'action': 'block'})
        >>> parse_action("round")
        Traceback (most recent call last):
        ValueError: 'round': expected observe, round(DIGITS), throttle(REQUESTS A MINUTE) or block
    """
    found = _ACTION.fullmatch(text.strip())
    fields: dict[str, Any] = {}
    if found is not None:
        fields = {"action": found[1]}
        if found[2] is not None:
            whole = found[1] == "round" and found[2].isdecimal()
            fields[{"throttle": "rate", "round": "digits"}.get(found[1], "none")] = int(found[2]) if whole else float(found[2])
    try:
        msgspec.convert({"model": "m", **fields}, Verdict)
    except msgspec.ValidationError:
        fields = {}
    if not fields or "none" in fields:
        raise ValueError(f"{text[:40]!r}: expected observe, round(DIGITS), throttle(REQUESTS A MINUTE) or block")
    return fields


class VerdictBook:
    """All verdicts of the models of one judge. Only this judge writes them, so none is overwritten by chance.

    Args:
        settings: Which action for which family, delays, length.
        put: Takes each verdict, and each withdrawal.

    Attributes:
        counted: What became of verdicts: issued, prolonged, withdrawn, expired, no_room, off; too_late: an order that
            had expired when it came.
    """

    def __init__(self, settings: Verdicts, put: Put) -> None:
        self.counted: Counter[str] = Counter()
        self._settings, self._put = settings, put
        self._actions = {family: parse_action(action) for family, action in (one.split("=", 1) for one in settings.actions)}
        self._held: dict[tuple[str, str], Verdict] = {}
        self._dismissed: OrderedDict[str, None] = OrderedDict()
        self._due_ns = 0
        """None of them ends before."""

    def __len__(self) -> int:
        return len(self._held)

    def alert(self, alert: Alert, now_ns: int) -> None:
        """An alert changed its state. A page of an attack asks for a verdict on each client that it names."""
        if not self._settings.enabled or alert.severity != "page" or alert.state != "firing" or alert.detector not in FAMILIES:
            return
        if alert.alert_id in self._dismissed:
            return
        for client in [alert.client] if alert.client else alert.clients:
            if not client or f"{alert.alert_id}\0{client}" in self._dismissed:
                continue
            held = self._held.get((alert.model, client))
            action: dict[str, Any] = self._actions.get(alert.detector, {"action": "observe"})
            if held is not None and held.expires_ns > now_ns and (held.reason == PERSON or not _stronger(action["action"], held.action)):
                continue
            delay_s = _delay_s(self._settings, alert.alert_id, client)
            starts_ns = now_ns + round(delay_s * NS)
            verdict = Verdict(
                model=alert.model,
                client=client,
                **action,
                reason=alert.alert_id,
                evidence={
                    "detector": alert.detector,
                    "version": alert.version,
                    "log_evidence": round(min(max(alert.log_evidence, -1e9), 1e9), 2),
                    "events": float(alert.n_events),
                },
                issued_ns=now_ns,
                not_before_ns=starts_ns,
                expires_ns=starts_ns + round(self._settings.length_s * NS),
            )
            self._issue(verdict, now_ns, "issued")

    def operate(self, operation: Operation, at_ns: int) -> None:
        """Somebody said something; `at_ns` is Kafka's time of it, so a message that waited for a judge is not news."""
        if isinstance(operation, SetVerdict):
            verdict = operation.verdict
            if not self._settings.enabled:
                self.counted["off"] += 1
            elif verdict.expires_ns > at_ns:
                self._issue(msgspec.structs.replace(verdict, reason=PERSON), at_ns, "issued")
            else:
                self.counted["too_late"] += 1
        elif isinstance(operation, ClearVerdict):
            held = self._held.get((operation.model, operation.client))
            if held is not None:
                self._dismiss(f"{held.reason}\0{held.client}")
            self._withdraw(operation.model, operation.client, "withdrawn", operation.by, always=True)
        elif isinstance(operation, Acknowledged) and operation.verdict == "false":
            self._dismiss(operation.alert_id)
            for (model, client), one in list(self._held.items()):
                if one.reason == operation.alert_id and model == operation.model:
                    self._withdraw(model, client, "withdrawn", operation.by)

    def forget(self, model: str, client: str) -> bool:
        """Forgets a client without a word; whether there was a verdict, which whoever asks has to withdraw."""
        for what in [what for what in self._dismissed if what.endswith(f"\0{client}")]:
            del self._dismissed[what]
        return self._held.pop((model, client), None) is not None

    def tick(self, now_ns: int, open_pages: Callable[[], Collection[str]]) -> None:
        """Withdraws what has ended, or prolongs it when its page is still open; all of it, when verdicts were switched off.

        Args:
            now_ns: UTC ns.
            open_pages: Ids of the pages that fire; asked only when a verdict ends.
        """
        if not self._settings.enabled:
            for model, client in list(self._held):
                self._withdraw(model, client, "off")
            return
        if not self._held or now_ns < self._due_ns:
            return
        pages = open_pages()
        for (model, client), one in list(self._held.items()):
            if one.expires_ns > now_ns:
                continue
            if one.reason in pages:
                until_ns = now_ns + round(self._settings.length_s * NS)
                self._issue(msgspec.structs.replace(one, issued_ns=now_ns, not_before_ns=now_ns, expires_ns=until_ns), now_ns, "prolonged")
            else:
                self._withdraw(model, client, "expired")
        self._due_ns = min((one.expires_ns for one in self._held.values()), default=0)

    def dump(self) -> bytes:
        """For a snapshot."""
        return msgspec.msgpack.encode((list(self._held.values()), list(self._dismissed), dict(self.counted)))

    def load(self, body: bytes) -> None:
        """From a snapshot."""
        held, dismissed, counted = msgspec.msgpack.decode(body, type=tuple[list[Verdict], list[str], dict[str, int]])
        self._held = {(one.model, one.client): one for one in held}
        self._dismissed = OrderedDict.fromkeys(dismissed)
        self.counted = Counter(counted)
        self._due_ns = 0

    def _issue(self, verdict: Verdict, now_ns: int, what: str) -> None:
        key = verdict.model, verdict.client
        if key not in self._held and len(self._held) >= self._settings.clients:
            self.counted["no_room"] += 1
            return
        self._held[key] = verdict
        self._due_ns = min(self._due_ns, verdict.expires_ns)
        self.counted[what] += 1
        self._put(verdict.model, verdict.client, verdict, what, str(verdict.evidence.get("by", "")))

    def _withdraw(self, model: str, client: str, why: str, by: str = "", *, always: bool = False) -> None:
        if self._held.pop((model, client), None) is not None or always:
            self.counted[why] += 1
            self._put(model, client, None, why, by)

    def _dismiss(self, what: str) -> None:
        self._dismissed[what] = None
        if len(self._dismissed) > _DISMISSED:
            self._dismissed.popitem(last=False)


def _stronger(action: VerdictAction, than: VerdictAction) -> bool:
    return _STRENGTH[action] > _STRENGTH[than]


def _delay_s(settings: Verdicts, alert_id: str, client: str) -> float:
    """Uniform between the two delays: a hash of what a client cannot know, so that a restarted judge draws the same.

    The alert's id depends on the nanosecond of its opening and on the pseudonym, which is keyed.
    """
    drawn = int.from_bytes(hashlib.blake2b(f"delay\0{alert_id}\0{client}".encode(), digest_size=8).digest(), "big") / 2**64
    return settings.delay_min_s + drawn * (settings.delay_max_s - settings.delay_min_s)
