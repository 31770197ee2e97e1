"""The detectors that look at clients one by one: what speaks against whom, and what each was given. By slot: names are the caller's."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detectors.client_rate import ClientRates, Flood
from detectors.e_process import TICKET_FLOOR
from detectors.evidence import STATISTICS as EVIDENCE
from detectors.evidence import ClientEvidence
from detectors.evidence.explain import explain
from detectors.exposure import ExposureLedger
from detectors.membership import STATISTICS, ClientMembership
from schemas.windows import Family
from streams.canaries import hash_key
from streams.clients import FAMILIES
from streams.owner import NS
from streams.references import Loaded
from streams.settings import Settings, false_tickets

__all__ = ["OWN", "ClientDetectors", "Rise"]

TICKET_RATIO = math.log(100)
"""A ticket needs a hundredth of a page's evidence."""
_LN_FLOOR = -50.0
_EXPOSURE, _RATE = "exposure.", "rate."
OWN = (_EXPOSURE, _RATE)
"""Prefixes of columns that no reference changes."""
_FIRST_OF_EVASION = EVIDENCE.index("flips")
"""Statistics before it mostly speak for extraction, from it on for evasion, for tables; the detector itself decides by more than these."""


@dataclass(frozen=True)
class Rise:
    """A client's evidence for a family rose to a severity at one event of a batch."""

    index: int
    """Of the event, among those that were judged."""
    slot: int
    family: Family
    severity: int
    ln_evidence: float
    why: dict[str, Any]


class ClientDetectors:
    """Evidence for extraction, evasion and membership inference, where the reference in force has their parts; exposure and rates always.

    Args:
        model: its name.
        version: its version.
        settings: budget, known customers, flagged classes.
    """

    def __init__(self, model: str, version: str, settings: Settings) -> None:
        self._budget = settings.budget
        self._evidence: ClientEvidence | None = None
        self._membership: ClientMembership | None = None
        key = hash_key(settings.membership.key, model, version)
        self._exposure = ExposureLedger(None, key, agreement_limit=settings.exposure.agreement_limit or None, capacity=1)
        level = settings.budget.client_events_per_30d / false_tickets(settings.budget)
        self._rates = ClientRates(ln_level=math.log(max(level, TICKET_FLOOR)), capacity=1)
        self._known_customers = frozenset(settings.membership.known_customers)
        self._flagged_classes = settings.exposure.flagged_classes
        self._flagged = np.zeros(1, bool)

    def use(self, loaded: Loaded | None, capacity: int) -> None:
        """Goes over to another reference: evidence begins anew, with room for so many slots."""
        self._evidence = self._membership = None
        self._exposure.use(loaded.exposure if loaded is not None else None)
        classes = loaded.aligner.classes if loaded is not None else ()
        self._flagged = np.array([*(name in self._flagged_classes for name in classes), False])  # the last is that of no class, -1
        if loaded is not None and loaded.evidence is not None:
            ln_page = self._ln_page(self._budget.client_share)
            self._evidence = ClientEvidence(loaded.evidence, ln_page=ln_page, ln_ticket=ln_page - TICKET_RATIO, capacity=capacity)
        if loaded is not None and loaded.membership is not None:
            ln_page = self._ln_page(self._budget.membership_share)
            self._membership = ClientMembership(
                loaded.membership,
                ln_page=ln_page,
                ln_ticket=ln_page - TICKET_RATIO,
                capacity=capacity,
                members_expected=not self._known_customers,
            )

    def _ln_page(self, share: float) -> float:
        """Ln A of `A = T / (b w)`: T client events in 30 days, b false pages, w the family's share."""
        return math.log(self._budget.client_events_per_30d / (self._budget.false_pages_per_30d * share))

    def codes(self, X: NDArray[np.float32]) -> NDArray[np.uint64]:
        """The rows' keyed hashes, (n,)."""
        return self._exposure.codes(X)

    def judge(
        self,
        slot: NDArray[np.int32],
        at_ns: NDArray[np.int64],
        X: NDArray[np.float32],
        scores: NDArray[np.float32],
        label: NDArray[np.int32],
        codes: NDArray[np.uint64],
        names: Sequence[str],
    ) -> list[Rise]:
        """Answered events of known clients, in order of arrival, their names by slot; whose evidence rose, in that order."""
        rises: list[Rise] = []
        if self._evidence is not None:
            found = self._evidence.update(slot, X, scores, label)
            for k in range(len(found.index)):
                why = explain(self._evidence, found, k)
                family, severity = FAMILIES[found.family[k]], int(found.severity[k])
                rises.append(Rise(int(found.index[k]), int(found.slot[k]), family, severity, float(found.ln_evidence[k]), why))
        if self._membership is not None:
            hits = self._membership.update(slot, at_ns / NS, X, label)
            for k in range(len(hits.index)):
                if STATISTICS[hits.statistic[k]] == "rate" and names[hits.slot[k]] in self._known_customers:
                    continue
                why = self._membership.explain(int(hits.slot[k]))
                rises.append(
                    Rise(int(hits.index[k]), int(hits.slot[k]), "membership", int(hits.severity[k]), float(hits.ln_evidence[k]), why)
                )
        given = self._exposure.update(slot, X, self._flagged[label] if self._flagged.any() else None, codes)
        for index, one in zip(given.index.tolist(), given.slot.tolist(), strict=True):
            rises.append(Rise(index, one, "cost", 1, 0.0, self.explain_exposure(one)))
        return sorted(rises, key=lambda r: (r.index, r.family, r.severity))

    def floods(self, slots: NDArray[np.intp], events: NDArray[np.int32]) -> list[Flood]:
        """Of clients with so many events each in a window that closes, those who ask far more than they ever did; rates are learned."""
        return self._rates.update(slots, events)

    # -- what is known of clients -------------------------------------------------------------------------------------------------------

    def ln_evidence(self, slots: NDArray[np.intp]) -> dict[Family, NDArray[np.float64]]:
        """Evidence of these clients by family, ln in nats, at least `_LN_FLOOR` (a client that nothing is known of)."""
        out: dict[Family, NDArray[np.float64]] = {}
        if self._evidence is not None and len(slots):
            by_statistic = np.maximum(self._evidence.log_evidence(slots), _LN_FLOOR).astype(np.float64)
            out["extraction"] = by_statistic[:, :_FIRST_OF_EVASION].max(axis=1)
            out["evasion"] = by_statistic[:, _FIRST_OF_EVASION:].max(axis=1)
        if self._membership is not None and len(slots):
            out["membership"] = np.maximum(self._membership.log_evidence(slots).max(axis=1), _LN_FLOOR)
        return out

    def repeats(self, slots: NDArray[np.intp]) -> NDArray[np.integer]:
        """How many of these clients' rows were ones that they had just asked about."""
        return np.zeros(len(slots), np.int64) if self._evidence is None else self._evidence.counts(slots)["exact_repeats"]

    def likeness(self, slots: NDArray[np.intp]) -> dict[str, NDArray[np.float64]]:
        """How alike these clients' rows were so far; empty without a reference's part for it.

        Different ones, of these those near an earlier one or with most of its fields, and how often the answer flipped between near ones.
        """
        if self._evidence is None:
            return {}
        counts = self._evidence.counts(slots)
        named = {"distinct_rows": "distinct_rows", "near_rows": "near", "edited_rows": "edits", "near_flips": "near_flips"}
        return {name: counts[column].astype(np.float64) for name, column in named.items()}

    def exposure(self, slots: NDArray[np.intp]) -> dict[str, NDArray[np.float64]]:
        """What these clients were given; see `detectors.exposure`. `copy_agreement` is NaN without a curve."""
        members = np.zeros(len(slots)) if self._membership is None else self._membership.counts(slots)["members"].astype(np.float64)
        return {
            "copy_agreement": self._exposure.agreement(slots),
            "distinct_answers": np.rint(self._exposure.distinct(slots)),
            "members_touched": members,
            "flagged_answers": self._exposure.flagged(slots).astype(np.float64),
        }

    def over(self, slots: NDArray[np.intp]) -> NDArray[np.bool_]:
        """Which of these clients were given more than the limit."""
        return self._exposure.over(slots)

    def explain_exposure(self, slot: int) -> dict[str, Any]:
        """What one client was given, for a finding."""
        given = self.exposure(np.array([slot]))
        return self._exposure.explain(slot) | {"members_touched": int(given["members_touched"][0])}

    # -- slots, snapshots ---------------------------------------------------------------------------------------------------------------

    def resize(self, capacity: int) -> None:
        """Room for more slots."""
        if self._evidence is not None:
            self._evidence.resize(capacity)
        if self._membership is not None:
            self._membership.resize(capacity)
        self._exposure.resize(max(capacity, 1))
        self._rates.resize(max(capacity, 1))

    def clear(self, slots: NDArray[np.int32]) -> None:
        """These slots are nobody's."""
        if self._evidence is not None:
            self._evidence.clear(slots.astype(np.int64))
        if self._membership is not None:
            self._membership.clear(slots)
        self._exposure.clear(slots)
        self._rates.clear(slots)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Columns by slot, for a snapshot."""
        columns: dict[str, NDArray[Any]] = {}
        for prefix, part in ("evidence", self._evidence), ("membership", self._membership):
            if part is not None:
                columns |= {f"{prefix}.{name}": array for name, array in part.arrays().items()}
        columns |= {f"{_EXPOSURE}{name}": array for name, array in self._exposure.arrays().items()}
        return columns | {f"{_RATE}{name}": array for name, array in self._rates.arrays().items()}

    def rest(self) -> dict[str, Any]:
        """For a snapshot: what is not in the columns."""
        return {
            "evidence": None if self._evidence is None else self._evidence.rest(),
            "membership": None if self._membership is None else self._membership.rest(),
        }

    def load_rest(self, body: dict[str, Any]) -> None:
        """From a snapshot taken with the same reference."""
        for part, saved in (self._evidence, body["evidence"]), (self._membership, body["membership"]):
            if part is not None and saved is not None:
                part.load_rest(saved)
