"""What a judge writes into the audit log: alerts, verdicts, and what it is judging with: references, settings, keys."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from inferwatch import Heartbeat, Verdict, key_id_of, partition_of_key
from schemas.alerts import Alert
from schemas.rows import AuditRow
from streams.audit import Chain, Head, token_of
from streams.references import Loaded
from streams.settings import Settings, masked

__all__ = ["JudgeAudit", "described"]

_KEYS = 16
"""Pseudonym keys of one model that are remembered: a key that was forgotten is news again."""
_MODELS = 1_000
_NEWS_A_DAY = 20
"""Key changes of one model that are written a day: heartbeats come from services, and are not trusted."""
_DAY_NS = 86_400 * 10**9


def described(settings: Settings) -> dict[str, str]:
    """Every setting by its path, secrets masked; of a key there is the id, so that its change shows.

    Example:
        >>> described(Settings())["budget.false_pages_per_30d"]
        '1.0'
    """
    flat = {f"{section}.{name}": value for section, tree in masked(settings).items() for name, value in tree.items()}
    text = {path: value if isinstance(value, str) else msgspec.json.encode(value).decode() for path, value in flat.items()}
    if settings.membership.key:
        text["membership.key"] += f" (id {key_id_of(settings.membership.key.encode())})"
    return text


class JudgeAudit:
    """One judge's chain, and what was last written into it.

    Args:
        partition: The judge's.
        settings: In force.
        emit: Takes each row, and the chain's new end.
    """

    def __init__(self, partition: int, settings: Settings, emit: Callable[[AuditRow, Head], None]) -> None:
        self.chain = Chain(prefix=f"judge-{partition}")
        self.references_changed = True
        self._partition, self._settings, self._emit = partition, settings, emit
        self._described: dict[str, str] | None = None
        self._was: dict[str, str] = {}
        self._started = False
        self._references: dict[str, str] = {}
        self._keys: dict[str, list[str]] = {}
        self._news: dict[str, tuple[int, int]] = {}

    def alert(self, alert: Alert, now_ns: int) -> None:
        """An alert opened, rose, grew or is over. Whom it names is in the alert itself, which can be erased."""
        if alert.state == "pending":
            return
        detail = {
            "state": alert.state, "severity": alert.severity, "detector": alert.detector, "opened_at_ns": alert.opened_at_ns,
            "log_evidence": alert.log_evidence, "n_events": alert.n_events, "feature": alert.feature,
            "clients": len(alert.clients) or int(alert.client is not None),
        }  # fmt: skip
        self._add("alert", now_ns, alert.model, alert.version, alert.alert_id, detail)

    def verdict(self, model: str, client: str, verdict: Verdict | None, why: str, by: str, now_ns: int) -> None:
        """A verdict was issued, prolonged or withdrawn."""
        detail: dict[str, Any] = {"what": why}
        if verdict is not None:
            detail |= {
                "action": verdict.text, "reason": verdict.reason, "evidence": verdict.evidence,
                "not_before_ns": verdict.not_before_ns, "expires_ns": verdict.expires_ns,
            }  # fmt: skip
        self._add("verdict", now_ns, model, "", token_of(client) or "whole model", detail, by)

    def heartbeat(self, beat: Heartbeat, now_ns: int) -> None:
        """A service says which pseudonym key it uses: a key that is new for the model is a change."""
        known = self._keys.get(beat.model)
        if not beat.model or not beat.pseudonym_key_id or (known is not None and beat.pseudonym_key_id in known):
            return
        if known is None and len(self._keys) >= _MODELS:
            return
        day, told = self._news.get(beat.model, (0, 0))
        today = now_ns // _DAY_NS
        told = told if day == today else 0
        if told >= _NEWS_A_DAY:
            return
        self._news[beat.model] = today, told + 1
        detail = {"key_id": beat.pseudonym_key_id, "before": (known or [])[-1:], "service": beat.service, "instance": beat.instance}
        self._keys[beat.model] = [*(known or []), beat.pseudonym_key_id][-_KEYS:]
        self._add("key", now_ns, beat.model, beat.version, beat.pseudonym_key_id, detail)

    def tick(self, now_ns: int, references: Iterable[Loaded]) -> None:
        """What changed since the last row of its kind, also while no judge ran: settings at the start, references whenever they do."""
        if not self._started:
            self._started = True
            self._compare_settings(now_ns)
        if self.references_changed:
            self.references_changed = False
            self._compare_references(now_ns, references)

    def dump(self) -> dict[str, Any]:
        """For a snapshot."""
        was = self._was if self._described is None else self._described
        return {"chain": self.chain.dump(), "settings": was, "references": self._references, "keys": self._keys, "news": self._news}

    def load(self, body: dict[str, Any]) -> None:
        """From a snapshot, in a fresh object."""
        self.chain.load(body["chain"])
        self._was, self._references, self._keys = body["settings"], body["references"], body["keys"]
        self._news = {model: (day, told) for model, (day, told) in body["news"].items()}

    def _compare_settings(self, now_ns: int) -> None:
        self._described = now = described(self._settings)
        if now == self._was:
            return
        paths = sorted(path for path in now.keys() | self._was.keys() if now.get(path) != self._was.get(path)) if self._was else []
        changed = {path: [self._was.get(path), now.get(path)] for path in paths[:100]}
        digest = hashlib.sha256(msgspec.json.encode(sorted(now.items()))).hexdigest()
        self._add("settings", now_ns, "", "", digest[:16], {"sha256": digest, "first": not self._was, "changed": changed})

    def _compare_references(self, now_ns: int, references: Iterable[Loaded]) -> None:
        partitions = self._settings.kafka.partitions
        mine = {
            f"{one.reference.model}\0{one.reference.version}": one
            for one in references
            if partition_of_key(one.reference.model, partitions) == self._partition
        }
        for key in sorted(mine.keys() | self._references.keys()):
            before, one = self._references.get(key, ""), mine.get(key)
            now = one.ids if one is not None else ""
            if before == now:
                continue
            model, _, version = key.partition("\0")
            detail = {"id": now, "before": before, "source": one.reference.source if one is not None else "withdrawn"}
            if one is not None and one.baseline is not None:
                detail |= {"baseline": one.baseline.name, "by": one.baseline.by}
            self._add("reference", now_ns, model, version, now or before, detail)
        self._references = {key: one.ids for key, one in sorted(mine.items())}

    def _add(self, kind: Any, now_ns: int, model: str, version: str, subject: str, detail: dict[str, Any], actor: str = "") -> None:
        actor = actor or f"judge {self._partition}"
        row = self.chain.add(kind, now_ns, model=model, version=version, subject=subject, actor=actor, detail=detail)
        self._emit(row, self.chain.head)
