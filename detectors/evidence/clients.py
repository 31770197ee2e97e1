"""All clients of one model on one partition: what their queries look like, and who asks like an attacker."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detectors.arrays import plain
from detectors.evidence import layout
from detectors.evidence.compiled import call
from detectors.evidence.composed import over_all
from detectors.evidence.constants import SR_CAP
from detectors.evidence.core import room, stream
from detectors.evidence.derive import derive
from detectors.evidence.explainer import mixes_one_row, turns_one_column
from detectors.evidence.layout import STATISTICS, State
from detectors.evidence.population import Population, factors_of, forget, nobody, stored
from detectors.evidence.recent import remembered
from detectors.evidence.reference import EvidenceReference
from detectors.evidence.yardsticks import gains, yardsticks
from detectors.state import StateError, pack, unpack

FAMILIES = ("extraction", "evasion")
Ints = NDArray[np.signedinteger]
_KIND, _VERSION = "evidence.clients", 10


@dataclass(frozen=True)
class Crossings:
    """One entry each time a client's family rises: none, ticket, page. Columns of equal length, in order of arrival."""

    index: Ints  # row of the batch that did it
    slot: Ints
    family: Ints  # into FAMILIES
    severity: Ints  # 1 ticket, 2 page
    statistic: Ints  # into STATISTICS
    ln_evidence: NDArray[np.float64]  # nats
    queries: Ints  # of that client so far, this one included

    def __len__(self) -> int:
        return len(self.index)


class ClientEvidence:
    """Evidence per client that its queries are made by an extraction or evasion program, in at most 4 KB a client.

    Fourteen statistics of the order, spacing and joint plausibility of a client's rows (`detectors.evidence.core`), each a mixture of
    Shiryaev-Roberts recursions, so that false crossings of threshold A are at most one per A rows at the tolerated rates. A family
    rises when its strongest statistic passes its gate; it never falls: `clear` starts a client anew.

    Bulk jobs, form edits, retries, sensors, new populations and integrators stay below. Explainers that mix one row with others (SHAP)
    open tickets only; those that draw around the data (LIME) can page, since they send what extraction sends. Blind to plausible
    independent rows at an ordinary pace, whatever their purpose.

    The joint statistic follows the present population (`detectors.evidence.population`): where everybody has moved since the reference
    was taken, being unlike the reference says nothing about one client. Until four clients are known (twelve for E12 and E13) it opens
    no ticket before 96 and no page before 300 distinct rows.

    Cost: 0.9 us a row at 20 columns, 4.2 us at 784. Same rows in the same order give the same bits whatever the batches.

    Args:
        reference: fitted rows of the model's owner.
        ln_page: threshold in nats, such as ln 1e7.
        ln_ticket: lower threshold, such as ln 1e5.
        capacity: number of slots.

    Raises:
        ValueError: thresholds or capacity out of range.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> X = (rng.normal(size=(600, 4)) @ rng.normal(size=(4, 6)) + .1 * rng.normal(size=(600, 6))).astype(np.float32)
        >>> none = np.empty((600, 0), np.float32)
        >>> reference = EvidenceReference.fit(X, none, None, low=np.full(6, -12.), high=np.full(6, 12.))
        >>> clients = ClientEvidence(reference, ln_page=np.log(1e7), ln_ticket=np.log(1e5), capacity=2)
        >>> shuffled = rng.permuted(X, axis=0)                            # slot 1 asks rows whose columns do not belong together
        >>> both, slot = np.concatenate([X, shuffled]), np.repeat([0, 1], 600).astype(np.int32)
        >>> crossings = clients.update(slot, both, np.empty((1200, 0), np.float32), np.full(1200, -1, np.int32))
        >>> crossings.slot.tolist(), crossings.severity.tolist(), crossings.queries.tolist()
        ([1, 1], [1, 2], [96, 300])
    """

    def __init__(self, reference: EvidenceReference, *, ln_page: float, ln_ticket: float, capacity: int = 1024) -> None:
        if not 0 < ln_ticket <= ln_page < np.log(SR_CAP):
            raise ValueError(f"need 0 < ln_ticket <= ln_page < {np.log(SR_CAP):.1f}, got {ln_ticket} and {ln_page}")
        if capacity < 1:
            raise ValueError(f"capacity must be at least 1, got {capacity}")
        self.reference = reference
        self._yardsticks = yardsticks(reference, ln_page, ln_ticket)
        self._population = nobody(gains(reference), reference.middle)
        self._room = room()
        self._state = layout.empty(reference, capacity)

    @property
    def capacity(self) -> int:
        """Number of slots."""
        return int(self._state.counts.shape[0])

    @property
    def bytes_per_client(self) -> int:
        """Bytes of state a slot takes; at most 4,096."""
        return layout.bytes_per_client(self.reference)

    def update(self, slot: Ints, X: NDArray[np.float32], scores: NDArray[np.float32], label: Ints) -> Crossings:
        """Applies a batch in arrival order; any number of rows of one client.

        Args:
            slot: (n,) whose row it is.
            X: (n, d) raw feature values; NaN counts as the reference's median, other values are clipped.
            scores: (n, classes) or (n, 0); stands in for missing labels (the largest).
            label: (n,) predicted class, -1 where unknown. Without either, label flips are not seen.

        Raises:
            ValueError: wrong widths or lengths, or a slot beyond the capacity.
        """
        n = len(slot)
        if X.shape != (n, self.reference.width):
            raise ValueError(f"evidence: rows have shape {X.shape}, expected ({n}, {self.reference.width})")
        if scores.ndim != 2 or len(scores) != n or label.shape != (n,):
            raise ValueError(f"evidence: scores {scores.shape} and label {label.shape} do not belong to {n} rows")
        if n and not 0 <= int(slot.min()) <= int(slot.max()) < self.capacity:
            raise ValueError(f"evidence: slots {slot.min()} to {slot.max()}, but there are {self.capacity}")
        if scores.shape[1] and n and label.min() < 0:
            known = np.isfinite(scores).all(1)
            label = np.where((label < 0) & known, scores.argmax(1), label)
        columns = derive(self.reference, plain(X, np.float32))  # one compiled signature, whatever the array
        out, evidence = np.empty((2 * n, 6), np.int64), np.empty(2 * n)
        k = call(
            stream, slot.astype(np.int64), columns, label.astype(np.int32), self._state, self._population, self._yardsticks, self._room,
            out, evidence,
        )  # fmt: skip
        index, slots, family, severity, statistic, queries = out[:k].T
        return Crossings(index, slots, family, severity, statistic, np.log(evidence[:k]), queries)

    def resize(self, capacity: int) -> None:
        """More slots; the present ones keep their numbers.

        Raises:
            ValueError: fewer than now.
        """
        if capacity < self.capacity:
            raise ValueError(f"evidence: cannot shrink from {self.capacity} to {capacity} slots")
        grown = layout.empty(self.reference, capacity)
        for name in State._fields:
            getattr(grown, name)[: self.capacity] = getattr(self._state, name)
        self._state = grown

    def clear(self, slots: Ints) -> None:
        """Evicted clients' slots start anew."""
        for name in State._fields:
            getattr(self._state, name)[slots] = 0
        forget(self._population, slots)

    def log_evidence(self, slots: Ints) -> NDArray[np.float32]:
        """Log evidence (len(slots), len(STATISTICS)) in nats, before the gates; -inf where nothing was judged yet."""
        out = np.empty((len(slots), len(STATISTICS)), np.float32)
        for k, (first, number) in enumerate(zip(layout.FIRST_ARM, layout.ARMS, strict=True)):
            with np.errstate(divide="ignore"):
                if number:
                    out[:, k] = np.log(self._state.reals[slots, first : first + number].mean(1, dtype=np.float64))
                else:
                    rates, usual = self.reference.generated.composed, self._population.usual
                    out[:, k] = np.log([over_all(count, rates, usual) for count in self._state.counts[slots]])
        return out

    def counts(self, slots: Ints) -> dict[str, NDArray[np.int32]]:
        """What the evidence was made of, by name, each (len(slots),); halved together every 2^30 rows of a client."""
        return {name: self._state.counts[slots, column] for name, column in layout.COUNTS.items()}

    def severity(self, slots: Ints) -> NDArray[np.int32]:
        """Highest severity reached so far (len(slots), families): 0 none, 1 ticket, 2 page."""
        packed = self._state.counts[slots, layout.SEVERITY]
        return np.stack([packed & 3, packed >> 2 & 3], axis=1)

    def mixes_one_row(self, slot: int) -> bool:
        """Whether a client's remembered rows look like an explainer's: one row mixed with others."""
        memory, held = remembered.py_func(self._state.codes[slot], self._state.counts[slot], len(self.reference.sampled))
        return bool(mixes_one_row(memory, held, self.reference.look.share))

    def turns_one_column(self, slot: int) -> bool:
        """Whether a client's latest rows look like a sensitivity study's: single columns of a still row turned up and down."""
        real, count, code = self._state.reals[slot], self._state.counts[slot], self._state.codes[slot]
        return bool(turns_one_column(real, count, code, len(self.reference.sampled), float(self.reference.far**2)))

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The state of the slots themselves, by name: row = slot. To copy rows from, and to put them back; good until the next `resize`."""
        return dict(self._state._asdict())

    def rest(self) -> dict[str, Any]:
        """What else the state holds; small."""
        return stored(self._population)

    def load_rest(self, body: dict[str, Any]) -> None:
        """Goes on from `rest` of another object with the same reference and thresholds.

        Raises:
            detectors.state.StateError: the body is none of this reference's; nothing has changed then.
        """
        self._population = self._going_on(body)

    def snapshot(self) -> bytes:
        """The state of all slots."""
        return pack(_KIND, _VERSION, {"clients": self._state._asdict(), "population": self.rest()})

    def restore(self, blob: bytes) -> None:
        """Continues bit for bit where the snapshot was taken (same reference and thresholds).

        Raises:
            detectors.state.StateError: damaged bytes, or a state made with another reference layout.
        """
        body = unpack(blob, _KIND, _VERSION)
        state = State(**body["clients"])
        _check(state, layout.empty(self.reference, len(state.counts)))
        self._state, self._population = state, self._going_on(body["population"])

    def _going_on(self, body: dict[str, Any]) -> Population:
        expected = stored(self._population)
        if body.keys() != expected.keys():
            raise StateError(f"evidence: expected {sorted(expected)}, got {sorted(map(str, body))[:20]}")
        population = self._population._replace(**body)
        _check(population, self._population)
        return population._replace(factors=factors_of(self.reference.middle, population.usual))


def _check(new: State | Population, expected: State | Population) -> None:
    for name in expected._fields:
        a, b = getattr(new, name), getattr(expected, name)
        if not isinstance(a, np.ndarray):
            raise StateError(f"evidence: {name} is no array")
        if a.shape != b.shape or a.dtype != b.dtype:
            raise StateError(f"evidence: {name} is {a.dtype} {a.shape}, this reference needs {b.dtype} {b.shape}")
