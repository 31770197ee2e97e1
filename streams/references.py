"""References as the worker uses them: the detectors' parts unpacked once, looked up by model version.

One registry serves all shards and judges of a process. It is filled from the compacted topic (worker) or from a folder (replay), never in
the middle of a batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

from detectors.accuracy import AccuracyReference
from detectors.drift import DriftReference
from detectors.evidence import EvidenceReference
from detectors.exposure import CopyCurve
from detectors.membership import MembershipReference
from detectors.rare_cells import TriggerReference
from detectors.state import StateError
from detectors.swarm import SwarmReference
from schemas import canaries
from schemas.reference import (
    MAX_NAMES,
    TRAINING,
    Baseline,
    Reference,
    ReferenceFormatError,
    decode,
    decode_baseline,
    is_baseline,
    name_in,
)
from streams.align import Aligner
from streams.canaries import CanaryBook


@dataclass(frozen=True)
class Loaded:
    """A reference ready for use. A part that is missing (or locked: no membership key) is None, and `notes` say why.

    Attributes:
        reference: what all but drift is judged by.
        id: its id.
        drift: what drift is judged by: its own part, or that of another reference that was chosen as baseline.
        drift_id: id of the reference whose part that is.
        cells: its own drift part, in whose cells segments of labels are coded.
        baseline: who chose what, if somebody did.
        drift_name: name of the reference whose part `drift` is.
    """

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
    drift_id: str
    cells: DriftReference | None
    baseline: Baseline | None = None
    drift_name: str = TRAINING

    @property
    def ids(self) -> str:
        """What judges alike has the same; "ID", or "ID, drift ID"."""
        return self.id if self.drift_id == self.id else f"{self.id}, drift {self.drift_id}"

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
    parts_of = drift, evidence, membership, exposure, swarm, accuracy, triggers
    return Loaded(reference, reference.id, aligner, *parts_of, tuple(notes), drift_id=reference.id, cells=drift)


def same_columns(one: Reference, other: Reference) -> bool:
    """Whether an event's values have the same places in both: columns, categories and classes in the same order."""
    columns = ([(f.name, f.kind, f.categories) for f in reference.features] for reference in (one, other))
    return next(columns) == next(columns) and one.classes == other.classes


def leading(named: Mapping[str, Reference]) -> Reference:
    """The reference that all but drift is judged by: the training one, or else the newest."""
    return named.get(TRAINING) or max(named.values(), key=lambda one: (one.built_at_ns, one.name))


def judging_drift(named: Mapping[str, Reference], baseline: Baseline | None) -> Reference:
    """The reference that drift is judged by: the baseline, where it is there and has the columns of `leading` and a part for drift."""
    first = leading(named)
    chosen = named.get(baseline.name, first) if baseline is not None else first
    return chosen if chosen is first or (same_columns(first, chosen) and "drift" in chosen.parts) else first


def composed(named: Mapping[str, Reference], baseline: Baseline | None, membership_key: bytes) -> Loaded:
    """The references of a model version as one: drift by `judging_drift`, all else by `leading`.

    Raises:
        ReferenceFormatError: a part is damaged or of another release.
    """
    first = leading(named)
    loaded = replace(unpack(first, membership_key), drift_name=first.name)
    other = judging_drift(named, baseline)
    if other is first:
        if baseline is None or baseline.name not in named or baseline.name == first.name:
            return replace(loaded, baseline=baseline)
        why = f"drift is judged by {first.name}: the baseline {baseline.name} has other columns, categories or classes"
        return replace(loaded, notes=(*loaded.notes, why))
    try:
        drift = DriftReference.from_bytes(other.parts["drift"])
    except StateError as error:
        raise ReferenceFormatError(f"reference {other.name} of {other.model} {other.version}: {error}") from error
    return replace(loaded, drift=drift, drift_id=other.id, drift_name=other.name, baseline=baseline)


class References:
    """The references in force, by model version; who uses them is told of changes.

    Args:
        membership_key: opens the member fingerprints; empty leaves them locked.
    """

    def __init__(self, membership_key: bytes = b"") -> None:
        self._key = membership_key
        self.canaries = CanaryBook(membership_key.decode("utf-8", "surrogateescape"))
        self._named: dict[tuple[str, str], dict[str, Reference]] = {}
        self._baselines: dict[tuple[str, str], Baseline] = {}
        self._loaded: dict[tuple[str, str], Loaded] = {}
        self._watchers: list[Callable[[str, str], None]] = []

    def get(self, model: str, version: str) -> Loaded | None:
        """The reference of a model version, if there is one."""
        return self._loaded.get((model, version))

    def take(self, model: str, part: str, blob: bytes | None) -> None:
        """Takes a record of the topic.

        Args:
            model: of its key.
            part: the rest of its key.
            blob: its value; None where it was withdrawn.

        Raises:
            ReferenceFormatError, CanaryError: it can't be used; what was before stays in force.
        """
        if (canary := canaries.is_canary(part)) is not None:
            self.canaries.put(model, *canary, None if blob is None else canaries.decode(blob))
        elif (version := is_baseline(part)) is not None:
            self.use(model, version, None if blob is None else decode_baseline(blob))
        elif (place := name_in(part)) is None:
            raise ReferenceFormatError(f"a record of {model} with the key {part!r} is neither a reference nor a canary nor a baseline")
        elif blob is None:
            self.drop(model, *place)
        else:
            self.put(decode(blob))

    def put(self, reference: Reference) -> bool:
        """Takes a published reference; False when nothing is judged otherwise. A provisional one never replaces a published one.

        Raises:
            ReferenceFormatError: when it can't be used; what was before stays in force.
        """
        key, before = (reference.model, reference.version), self.get(reference.model, reference.version)
        named = self._named.get(key, {}) if before is not None and not before.provisional else {}
        held = named.get(reference.name)
        if (named and reference.source == "provisional") or (held is not None and held.id == reference.id):
            return False
        named = named | {reference.name: reference}
        if len(named) > MAX_NAMES:
            raise ReferenceFormatError(f"{reference.model} {reference.version} has {MAX_NAMES} references: {', '.join(named)} are too many")
        return self._settle(key, named, self._baselines.get(key))

    def drop(self, model: str, version: str, name: str = TRAINING) -> None:
        """Takes a reference out of force (a tombstone on the topic)."""
        key = model, version
        named = {other: one for other, one in self._named.get(key, {}).items() if other != name}
        self._settle(key, named, self._baselines.get(key))

    def use(self, model: str, version: str, baseline: Baseline | None) -> bool:
        """Judges drift by another of a model version's references, also of one that comes later; False when it is the same as before.

        Raises:
            ReferenceFormatError: when it can't be used; what was before stays in force.
        """
        return self._settle((model, version), self._named.get((model, version), {}), baseline)

    def _settle(self, key: tuple[str, str], named: dict[str, Reference], baseline: Baseline | None) -> bool:
        before, now = self._loaded.get(key), composed(named, baseline, self._key) if named else None
        self._named[key] = named
        self._baselines.pop(key, None)
        self._loaded.pop(key, None)
        if baseline is not None:
            self._baselines[key] = baseline
        if now is not None:
            self._loaded[key] = now
        changed = (now.ids if now else "") != (before.ids if before else "")
        if changed:
            self._tell(*key)
        return changed

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
