"""Which instances have loaded which artefact of a model version, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec

from inferwatch import Lifecycle
from schemas.windows import Severity
from streams.settings import Integrity

__all__ = ["Loads", "Problem"]

FORGET_NS = 3_600 * 10**9
"""An instance that is heard of no more has nothing loaded."""


class Problem(NamedTuple):
    """What is wrong with a load: a page or a ticket, and why, as the end of a sentence."""

    severity: Severity
    why: str


class Load(msgspec.Struct):
    """What an instance said it loaded."""

    service: str
    instance: str
    digest: str
    signature: str
    key_id: str
    heard_ns: int


class Loads:
    """The live loads of one model version.

    Args:
        model: Its name.
        version: Its version.
        settings: Which keys and digests are trusted, and whether a signature must be there.
        most: Instances that are followed; later ones are judged once and not kept.
    """

    def __init__(self, model: str, version: str, settings: Integrity, most: int) -> None:
        self._settings, self._most = settings, most
        self._digests = {entry.rpartition("=")[2] for entry in settings.digests if entry.rpartition("=")[0] == f"{model}/{version}"}
        self._live: dict[str, Load] = {}
        self.first_digest = ""
        """Of the first load: another one under the same version is news."""

    def take(self, message: Lifecycle, at_ns: int) -> Problem | None:
        """Takes a load or unload; what is wrong with it."""
        key = f"{message.service}\0{message.instance}"
        if message.kind == "unloaded":
            self._live.pop(key, None)
            return None
        if key in self._live or len(self._live) < self._most:
            self._live[key] = Load(message.service, message.instance, message.digest, message.signature, message.key_id, at_ns)
        problem = self.problem(message.digest, message.signature, message.key_id)
        self.first_digest = self.first_digest or message.digest
        return problem

    def problem(self, digest: str, signature: str, key_id: str) -> Problem | None:
        """What is wrong with such a load, the worst first."""
        if signature == "invalid":
            return Problem("page", "its signature is not valid")
        if self._settings.key_ids and signature == "valid" and key_id not in self._settings.key_ids:
            return Problem("page", f"it is signed with key {key_id[:64] or '(none named)'!r}, which integrity.key_ids does not name")
        if self._digests and digest not in self._digests:
            return Problem("page", f"its digest {digest[:80] or '(none named)'} is not registered in integrity.digests")
        if not self._digests and self.first_digest and digest and digest != self.first_digest:
            return Problem("page", f"its digest is {digest[:80]}, and {self.first_digest[:80]} was loaded under the same version before")
        if signature == "missing" and self._settings.require_signature:
            return Problem("ticket", "it has no signature, and integrity.require_signature asks for one")
        return None

    def heard(self, service: str, instance: str, at_ns: int, *, closing: bool) -> None:
        """A heartbeat: what the instance has loaded is live still, or no more."""
        key = f"{service}\0{instance}"
        if closing:
            self._live.pop(key, None)
        elif key in self._live:
            self._live[key].heard_ns = max(self._live[key].heard_ns, at_ns)

    def standing(self, now_ns: int) -> Iterator[tuple[Load, Problem]]:
        """The live loads with something wrong."""
        for key in [key for key, load in self._live.items() if now_ns - load.heard_ns > FORGET_NS]:
            del self._live[key]
        for load in self._live.values():
            problem = self.problem(load.digest, load.signature, load.key_id)
            if problem is not None:
                yield load, problem

    def dump(self) -> dict[str, Any]:
        """For a snapshot."""
        return {"live": msgspec.msgpack.encode(self._live), "first_digest": self.first_digest}

    def load(self, body: dict[str, Any]) -> None:
        """From a snapshot."""
        self._live = msgspec.msgpack.decode(body["live"], type=dict[str, Load])
        self.first_digest = body["first_digest"]
