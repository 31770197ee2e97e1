"""Settings, refused with the range when they make no sense."""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field

from inferwatch._contract import MAX_EVENTS, MAX_RECORD_BYTES, MAX_TEXT
from inferwatch._log import RateLimited


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the sender needs to know. Raises ValueError on nonsense."""

    service: str
    instance: str
    key: bytes = field(repr=False)
    key_id: str
    topic_prefix: str
    partitions: int | None
    allow: frozenset[str] | None
    redact: frozenset[str]
    flush_age_s: float
    flush_events: int
    flush_bytes: int
    heartbeat_s: float

    def __post_init__(self) -> None:
        for name in ("service", "instance"):
            value = getattr(self, name)
            if not isinstance(value, str) or not 0 < len(value) <= MAX_TEXT:
                raise ValueError(f"{name} must be text of 1 to {MAX_TEXT} characters, got {value!r:.80}")
        if not isinstance(self.topic_prefix, str) or not re.fullmatch(r"[a-zA-Z0-9._-]{1,200}", self.topic_prefix):
            raise ValueError(f"topic_prefix must be 1 to 200 of a-z A-Z 0-9 . _ -, got {self.topic_prefix!r:.80}")
        if self.partitions is not None:
            between("partitions", self.partitions, 1, 1_000)
        between("flush_age_s", self.flush_age_s, 0.001, 60)
        between("flush_events", self.flush_events, 1, MAX_EVENTS)
        between("flush_bytes", self.flush_bytes, 1_000, MAX_RECORD_BYTES // 2)
        between("heartbeat_s", self.heartbeat_s, 0.01, 3_600)


def between(name: str, value: float, low: float, high: float) -> None:
    """Raises ValueError with the range unless ``low <= value <= high``."""
    if not low <= value <= high:
        raise ValueError(f"{name} must be {low} to {high}, got {value}")


def names_of(name: str, values: object) -> frozenset[str]:
    """A set of names; one bare string is a frequent slip, and would mean its letters."""
    if isinstance(values, str) or not isinstance(values, (list, tuple, set, frozenset)) or not all(isinstance(one, str) for one in values):
        raise ValueError(f"{name} must be a list of feature names, for example {name}=['amount']")
    return frozenset(values)


def key_of(given: str | bytes | None, environment: Mapping[str, str], log: RateLimited) -> bytes:
    """The pseudonym key: given, of the environment, or random with one warning."""
    key = given or environment.get("INFERWATCH_PSEUDONYM_KEY")
    if not key:
        log.line(
            "key",
            "no pseudonym key: a random one is used, and clients' pseudonyms will not match across restarts or processes. Set "
            "INFERWATCH_PSEUDONYM_KEY to one secret everywhere; make it with python -c 'import secrets; print(secrets.token_hex(32))'",
        )
        return secrets.token_bytes(32)
    return _checked("pseudonym_key", key)


def previous_key_of(given: str | bytes | None, environment: Mapping[str, str], current: bytes) -> bytes | None:
    """The key before this one: given, of the environment, or none."""
    key = given or environment.get("INFERWATCH_PSEUDONYM_KEY_PREVIOUS")
    if not key:
        return None
    raw = _checked("previous_pseudonym_key", key)
    if raw == current:
        raise ValueError("previous_pseudonym_key is the pseudonym_key: give the key that was used before, or leave it out")
    return raw


def _checked(name: str, key: str | bytes) -> bytes:
    raw = key.encode() if isinstance(key, str) else bytes(key)
    if len(raw) < 16:
        raise ValueError(
            f"{name} must have at least 16 bytes, got {len(raw)}; make one: python -c 'import secrets; print(secrets.token_hex(32))'"
        )
    return raw
