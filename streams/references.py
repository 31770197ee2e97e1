"""References as the worker uses them: the detectors' parts unpacked once, looked up by model version.

One registry serves all shards and judges of a process. It is filled from the compacted topic (worker) or from a folder (replay), never in
the middle of a batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from detectors.accuracy import AccuracyReference
from detectors.drift import DriftReference
from detectors.evidence import EvidenceReference
from detectors.exposure import CopyCurve
from detectors.membership import MembershipReference
from detectors.rare_cells import TriggerReference
from detectors.state import StateError
from detectors.swarm import SwarmReference
from schemas.reference import Reference, ReferenceFormatError
from streams.align import Aligner
from streams.canaries import CanaryBook


@dataclass(frozen=True)
class Loaded:
    """A reference ready for use. A part that is missing (or locked: no membership key) is None, and `notes` say why."""

    reference: Reference
    id: str
    aligner: Aligner
    drift: DriftReference | None
    evidence: EvidenceReference | None
    membership: MembershipReference | None
    exposure: CopyCurve | None
    swarm: SwarmReference | None
    accuracy: AccuracyReference | None
    triggers: TriggerReference | None
    notes: tuple[str, ...]

    @property
    def provisional(self) -> bool:
        """Made from the first events seen: good for tickets only."""
        return self.reference.source == "provisional"


def unpack(reference: Reference, membership_key: bytes) -> Loaded:
    """The reference with its parts as objects.

    Raises:
        ReferenceFormatError: when a part is damaged or of another release. A membership part without its key is no error but a note.
    """
    notes = []
    parts = reference.parts
    try:
        drift = DriftReference.from_bytes(parts["drift"]) if "drift" in parts else None
        evidence = EvidenceReference.from_bytes(parts["evidence"]) if "evidence" in parts else None
        exposure = CopyCurve.from_bytes(parts["exposure"]) if "exposure" in parts else None
        swarm = SwarmReference.from_bytes(parts["swarm"]) if "swarm" in parts else None
        accuracy = AccuracyReference.from_bytes(parts["accuracy"]) if "accuracy" in parts else None
        triggers = TriggerReference.from_bytes(parts["triggers"]) if "triggers" in parts else None
    except StateError as error:
        raise ReferenceFormatError(f"reference of {reference.model} {reference.version}: {error}") from error
    if swarm is None:
        notes.append("no swarm detection: the reference has no part for it; one that is built anew gets it, if its rows allow it")
    membership = None
    if "membership" in parts:
        if not membership_key:
            notes.append("member fingerprints are locked: INFERWATCH_MEMBERSHIP_KEY is not set")
        else:
            try:
                membership = MembershipReference.from_bytes(parts["membership"], membership_key)
            except StateError as error:
                notes.append(f"member fingerprints are locked: {error}")
    for name, part, width in (
        ("drift", drift, drift.n_features if drift else 0),
        ("evidence", evidence, evidence.width if evidence else 0),
        ("membership", membership, membership.width if membership else 0),
        ("swarm", swarm, swarm.width if swarm else 0),
        ("triggers", triggers, len(triggers.edges) if triggers else 0),
    ):
        if part is not None and width != len(reference.features):
            whose = f"reference of {reference.model} {reference.version}"
            raise ReferenceFormatError(f"{whose}: its {name} part has {width} features, its schema {len(reference.features)}")
    aligner = Aligner(reference.features, reference.classes)
    return Loaded(reference, reference.id, aligner, drift, evidence, membership, exposure, swarm, accuracy, triggers, tuple(notes))


class References:
    """The references in force, by model version; who uses them is told of changes.

    Args:
        membership_key: opens the member fingerprints; empty leaves them locked.
    """

    def __init__(self, membership_key: bytes = b"") -> None:
        self._key = membership_key
        self.canaries = CanaryBook(membership_key.decode("utf-8", "surrogateescape"))
        self._loaded: dict[tuple[str, str], Loaded] = {}
        self._watchers: list[Callable[[str, str], None]] = []

    def get(self, model: str, version: str) -> Loaded | None:
        """The reference of a model version, if there is one."""
        return self._loaded.get((model, version))

    def put(self, reference: Reference) -> bool:
        """Takes a published reference into force; False when it changes nothing. A provisional one never replaces a published one.

        Raises:
            ReferenceFormatError: when it can't be used; the one before stays in force.
        """
        before = self.get(reference.model, reference.version)
        if before is not None and (before.id == reference.id or (reference.source == "provisional" and not before.provisional)):
            return False
        self._loaded[reference.model, reference.version] = unpack(reference, self._key)
        self._tell(reference.model, reference.version)
        return True

    def drop(self, model: str, version: str) -> None:
        """Takes a model version's reference out of force (a tombstone on the topic)."""
        if self._loaded.pop((model, version), None) is not None:
            self._tell(model, version)

    def watch(self, watcher: Callable[[str, str], None]) -> None:
        """Calls ``watcher(model, version)`` after each change."""
        self._watchers.append(watcher)

    def unwatch(self, watcher: Callable[[str, str], None]) -> None:
        """Ends a `watch`."""
        self._watchers.remove(watcher)

    def __len__(self) -> int:
        return len(self._loaded)

    def __iter__(self) -> Iterator[Loaded]:
        return iter(list(self._loaded.values()))

    def _tell(self, model: str, version: str) -> None:
        for watcher in list(self._watchers):
            watcher(model, version)
