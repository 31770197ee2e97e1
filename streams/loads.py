"""Which instances have loaded which artefact of a model version, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

import msgspec

from inferwatch import Lifecycle
from schemas.windows import Severity
from streams.settings import Integrity

__all__ = ["FORGET_NS", "Load", "Loads", "Problem"]

Kind = Literal["loaded", "unloaded"]

FORGET_NS = 3_600 * 10**9
"""An instance that is heard of no more has nothing loaded."""
_REMEMBERED_NS = 24 * FORGET_NS
"""For so long after it one that is heard of again has it loaded still."""


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
    beats: bool = False
    """Whether heartbeats came of it: only then its silence says anything."""
    away: bool = False
    """It was told to be gone, and may come back without loading anew."""


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

    def heard(self, service: str, instance: str, at_ns: int, *, closing: bool) -> tuple[Load, Kind] | None:
        """A heartbeat: what the instance has loaded is live still, or no more (closing), or again; None when that is no news."""
        key = f"{service}\0{instance}"
        load = self._live.get(key)
        if load is None:
            return None
        if closing:
            del self._live[key]
            return None if load.away else (load, "unloaded")
        back, load.away, load.beats, load.heard_ns = load.away, False, True, max(load.heard_ns, at_ns)
        return (load, "loaded") if back else None

    def silent(self, heard_ns: int) -> Iterator[Load]:
        """Those of whom nothing was heard for an hour until ``heard_ns``, until when all has been read; told once."""
        for key, load in list(self._live.items()):
            quiet_ns = heard_ns - load.heard_ns
            if quiet_ns > (_REMEMBERED_NS if load.beats else FORGET_NS):
                del self._live[key]
            if quiet_ns > FORGET_NS and load.beats and not load.away:
                load.away = True
                yield load

    def standing(self) -> Iterator[tuple[Load, Problem]]:
        """The live loads with something wrong."""
        for load in self._live.values():
            problem = None if load.away else self.problem(load.digest, load.signature, load.key_id)
            if problem is not None:
                yield load, problem

    def dump(self) -> dict[str, Any]:
        """For a snapshot."""
        return {"live": msgspec.msgpack.encode(self._live), "first_digest": self.first_digest}

    def load(self, body: dict[str, Any]) -> None:
        """From a snapshot."""
        self._live = msgspec.msgpack.decode(body["live"], type=dict[str, Load])
        self.first_digest = body["first_digest"]
