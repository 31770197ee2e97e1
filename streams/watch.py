"""The clients of one model version on one partition: who they are, what speaks against them, and what the judge is told of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detectors.arrays import plain
from detectors.client_rate import ClientRates
from detectors.e_process import TICKET_FLOOR
from detectors.evidence import STATISTICS as EVIDENCE
from detectors.evidence import ClientEvidence
from detectors.evidence.explain import explain
from detectors.exposure import ExposureLedger
from detectors.membership import STATISTICS, ClientMembership
from detectors.state import StateError
from inferwatch import Strings
from schemas.windows import ClientLine, Family, Finding, Severity
from streams.canaries import hash_key
from streams.clients import FAMILIES, ClientTable
from streams.duplicates import hash_of_client
from streams.journal import RowJournal
from streams.kernels import count_clients, used_codes, without_hash
from streams.owner import NS
from streams.references import Loaded
from streams.settings import Settings, false_tickets
from streams.window import OpenWindow

LINES_PER_WINDOW = 200
RENEWED_PER_WINDOW = 100
TICKET_RATIO = math.log(100)
"""A ticket needs a hundredth of a page's evidence."""
SEVERITIES: tuple[Severity, ...] = ("none", "ticket", "page")
PIECE_BYTES = 480_000
"""Of clients' rows that a snapshot copies at once and stores together."""
_LN_FLOOR = -50.0
_NAME_BYTES = 32
_EXPOSURE, _RATE = "exposure.", "rate."
_OWN = (_EXPOSURE, _RATE)
"""Prefixes of columns that no reference changes."""
_WITHOUT_REFERENCE = frozenset(["n", "last_ns", "hashes"])
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


class ClientWatch:
    """Slots, evidence and severities of clients.

    Args:
        model: its name.
        version: its version.
        partition: where it is.
        settings: budget and bounds.
        resized: called with the new number of slots.
        evicted: called with slots that are free again.
        cut: puts rows (`rows`) into a new piece of the state; returns its id.
    """

    def __init__(
        self,
        model: str,
        version: str,
        partition: int,
        settings: Settings,
        resized: Callable[[int], None],
        evicted: Callable[[NDArray[np.int32]], None],
        cut: Callable[[dict[str, Any]], int] = lambda rows: 0,
    ) -> None:
        self._model, self._version, self._partition = model, version, partition
        self._budget = settings.budget
        self._resized, self._evicted = resized, evicted
        self._provisional = False
        self._same = True
        self._evidence: ClientEvidence | None = None
        self._membership: ClientMembership | None = None
        key = hash_key(settings.membership.key, model, version)
        self._exposure = ExposureLedger(None, key, agreement_limit=settings.exposure.agreement_limit or None, capacity=1)
        level = settings.budget.client_events_per_30d / false_tickets(settings.budget)
        self._rates = ClientRates(ln_level=math.log(max(level, TICKET_FLOOR)), capacity=1)
        self._known_customers = frozenset(settings.membership.known_customers)
        self._flagged_classes = settings.exposure.flagged_classes
        self._flagged = np.zeros(1, bool)
        self.hashes = np.zeros(0, np.uint64)
        """64-bit hash of each slot's client, the same in every process."""
        self.journal = RowJournal(lambda slots: cut(self.rows(slots)), self._rows_per_piece)
        self.table = ClientTable(settings.limits.clients, self._resize, self._evict, self._touch)

    @property
    def capacity(self) -> int:
        """Slots for which there is room; at least one."""
        return max(self.table.capacity, 1)

    def use(self, loaded: Loaded | None) -> None:
        """Goes over to another reference: evidence begins anew."""
        self.journal.touch_first(len(self.table.names))
        self._evidence = self._membership = None
        self._provisional = loaded is not None and loaded.provisional
        self.table.severity[:] = 0
        self._exposure.use(loaded.exposure if loaded is not None else None)
        classes = loaded.aligner.classes if loaded is not None else ()
        self._flagged = np.array([*(name in self._flagged_classes for name in classes), False])  # the last is that of no class, -1
        if loaded is not None and loaded.evidence is not None:
            ln_page = self._ln_page(self._budget.client_share)
            self._evidence = ClientEvidence(loaded.evidence, ln_page=ln_page, ln_ticket=ln_page - TICKET_RATIO, capacity=self.capacity)
        if loaded is not None and loaded.membership is not None:
            ln_page = self._ln_page(self._budget.membership_share)
            self._membership = ClientMembership(
                loaded.membership,
                ln_page=ln_page,
                ln_ticket=ln_page - TICKET_RATIO,
                capacity=self.capacity,
                members_expected=not self._known_customers,
            )

    def _ln_page(self, share: float) -> float:
        """Ln A of `A = T / (b w)`: T client events in 30 days, b false pages, w the family's share."""
        return math.log(self._budget.client_events_per_30d / (self._budget.false_pages_per_30d * share))

    def slots(self, client: Strings) -> NDArray[np.int32]:
        """The slot of each row's client, who is about to change; -1 for rows without one."""
        slots = np.full(len(client.values) + 1, -1, np.int32)  # -1, no client, takes the last entry
        codes = used_codes(plain(client.codes), len(client.values))
        names = client.values if len(codes) == len(client.values) else [client.values[code] for code in codes.tolist()]
        slots[codes] = self.table.slots(names)
        self.journal.touch(slots)
        for code in without_hash(slots, self.hashes).tolist():
            self.hashes[slots[code]] = hash_of_client(client.values[code])
        return slots[client.codes]

    def count(self, slot: NDArray[np.int32], at_ns: NDArray[np.int64]) -> tuple[NDArray[np.bool_], int]:
        """Counts events of clients; which rows are of a client under suspicion, and how many of them there are."""
        suspect = np.empty(len(slot), np.bool_)
        table = self.table
        return suspect, count_clients(slot, at_ns, table.severity, table.n, table.last_ns, suspect)

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
    ) -> list[Rise]:
        """Shows the detectors answered events of known clients, in order of arrival; who rose, in that order."""
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
                if STATISTICS[hits.statistic[k]] == "rate" and self.table.names[hits.slot[k]] in self._known_customers:
                    continue
                why = self._membership.explain(int(hits.slot[k]))
                rises.append(
                    Rise(int(hits.index[k]), int(hits.slot[k]), "membership", int(hits.severity[k]), float(hits.ln_evidence[k]), why)
                )
        given = self._exposure.update(slot, X, self._flagged[label] if self._flagged.any() else None, codes)
        for index, one in zip(given.index.tolist(), given.slot.tolist(), strict=True):
            rises.append(Rise(index, one, "cost", 1, 0.0, self._explain_exposure(one)))
        return [rise for rise in sorted(rises, key=lambda r: (r.index, r.family, r.severity)) if self._rose(rise)]

    def _rose(self, rise: Rise) -> bool:
        """Notes the severity; False when the client had it already."""
        if rise.family == "cost":
            return True  # the ledger says it once; having much is no suspicion, so the client's severity stays
        severity = self._capped(rise.severity)
        column = FAMILIES.index(rise.family)
        if severity <= self.table.severity[rise.slot, column]:
            return False
        self.table.severity[rise.slot, column] = severity
        return True

    def _capped(self, severity: int) -> int:
        return min(severity, 1) if self._provisional else severity

    def finding(self, rise: Rise, at_ns: int, n_events: int, event_id: str) -> Finding:
        """What the judge is told of a rise."""
        why = rise.why
        if self._provisional:
            why = {**why, "uncalibrated": "the reference is provisional, made from the first events: tickets only"}
        return self._finding(
            rise.slot, rise.family, self._capped(rise.severity), at_ns, n_events, rise.ln_evidence, why, event_id, renewed=False
        )

    def standing(self, at_ns: int, present: NDArray[np.intp]) -> list[Finding]:
        """Of the clients seen in a window, those under suspicion: their evidence still stands."""
        evidence = self.ln_evidence(present)
        out = []
        for k in np.flatnonzero(self.table.severity[present].any(axis=1))[:RENEWED_PER_WINDOW].tolist():
            slot = int(present[k])
            for family, values in evidence.items():
                severity = int(self.table.severity[slot, FAMILIES.index(family)])
                if severity:
                    n = int(self.table.n[slot])
                    out.append(self._finding(slot, family, severity, at_ns, n, float(values[k]), {}, "", renewed=True))
        for slot in present[self._exposure.over(present)][:RENEWED_PER_WINDOW].tolist():
            why = self._explain_exposure(slot)
            out.append(self._finding(slot, "cost", 1, at_ns, int(self.table.n[slot]), 0.0, why, "", renewed=True))
        return out

    def floods(self, window: OpenWindow, present: NDArray[np.intp], at_ns: int) -> list[Finding]:
        """Of the clients seen in a window that closes, those who ask far more than they ever did; their rates are learned."""
        if not len(present):
            return []
        self.journal.touch(present.astype(np.int32))
        found = self._rates.update(present, window.client_n[present])
        return [
            self._finding(
                one.slot, "cost", 1, at_ns, one.events, one.ln_evidence,
                {"statistic": "rate", "events_in_window": one.events, "usual_in_window": round(one.usual, 2), "share": round(one.share, 4)},
                "", renewed=not one.fresh,
            )
            for one in found
        ]  # fmt: skip

    def _explain_exposure(self, slot: int) -> dict[str, Any]:
        given = self.exposure(np.array([slot]))
        return self._exposure.explain(slot) | {"members_touched": int(given["members_touched"][0])}

    def exposure(self, slots: NDArray[np.intp]) -> dict[str, NDArray[np.float64]]:
        """What these clients were given; see `detectors.exposure`. `copy_agreement` is NaN without a curve."""
        members = np.zeros(len(slots)) if self._membership is None else self._membership.counts(slots)["members"].astype(np.float64)
        return {
            "copy_agreement": self._exposure.agreement(slots),
            "distinct_answers": np.rint(self._exposure.distinct(slots)),
            "members_touched": members,
            "flagged_answers": self._exposure.flagged(slots).astype(np.float64),
        }

    def _finding(
        self,
        slot: int,
        family: Family,
        severity: int,
        at_ns: int,
        n_events: int,
        ln_evidence: float,
        why: dict[str, Any],
        event_id: str,
        *,
        renewed: bool,
    ) -> Finding:
        return Finding(
            model=self._model,
            version=self._version,
            partition=self._partition,
            epoch=0,
            sequence=0,
            at_ns=at_ns,
            family=family,
            severity=SEVERITIES[severity],
            client=self.table.names[slot],
            clients=[],
            n_events=n_events,
            log_evidence=ln_evidence,
            statistic=str(why.get("statistic", "")),
            evidence=why,
            event_id=event_id,
            renewed=renewed,
        )

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

    def lines(self, window: OpenWindow, present: NDArray[np.intp]) -> list[ClientLine]:
        """The clients of a window that stand out: under suspicion first, then by evidence, then by volume."""
        if not len(present):
            return []
        evidence = self.ln_evidence(present)
        top = np.max([*evidence.values(), np.zeros(len(present))], axis=0)
        severity = self.table.severity[present].max(axis=1).astype(int)
        order = np.lexsort((-window.client_n[present], -np.round(top, 1), -severity))[:LINES_PER_WINDOW]
        shown = present[order]
        values = {family: column[order] for family, column in evidence.items()} | self.exposure(shown)
        repeats = np.zeros(len(shown), np.int64) if self._evidence is None else self._evidence.counts(shown)["exact_repeats"]
        by_client = zip(*(np.round(column, 4).tolist() for column in values.values()), strict=True)
        return [
            ClientLine(
                client=self.table.names[slot],
                n=int(window.client_n[slot]),
                errors=int(window.client_errors[slot]),
                denied=int(window.client_denied[slot]),
                repeats=int(repeats[k]),
                severity=SEVERITIES[severity[order[k]]],
                evidence={name: value for name, value in zip(values, row, strict=True) if not math.isnan(value)},
            )
            for k, (slot, row) in enumerate(zip(shown.tolist(), by_client, strict=True))
        ]

    def forget(self, client: str) -> bool:
        """Forgets a client; False when there is none of this name.

        Everybody's rows are written anew with the next snapshot: older pieces, which others share, would hold the name.
        """
        slot = self.table.find(client)
        if slot is None:
            return False
        self.journal.touch_first(len(self.table.names))
        self.table.release(np.array([slot], np.int32))
        return True

    def everybody(self) -> dict[str, Any]:
        """All clients at this moment, as columns: client, n, severity, ln evidence by family."""
        slots = np.array([slot for slot, name in enumerate(self.table.names) if name], np.intp)
        severity = self.table.severity[slots].max(axis=1) if len(slots) else np.zeros(0, np.uint8)
        rows: dict[str, Any] = {"client": [self.table.names[s] for s in slots], "n": self.table.n[slots], "severity": severity}
        for family, values in self.ln_evidence(slots).items():
            rows[f"ln_{family}"] = values
        given = self.exposure(slots)
        rows["exposure"] = given.pop("copy_agreement")
        return rows | {name: values.astype(np.int64) for name, values in given.items()}

    def _resize(self, capacity: int) -> None:
        self.hashes = np.concatenate([self.hashes, np.zeros(capacity - len(self.hashes), np.uint64)])
        if self._evidence is not None:
            self._evidence.resize(capacity)
        if self._membership is not None:
            self._membership.resize(capacity)
        self._exposure.resize(max(capacity, 1))
        self._rates.resize(max(capacity, 1))
        self.journal.resize(capacity)
        self._resized(capacity)

    def _touch(self, slots: NDArray[np.int32]) -> None:
        self.journal.touch(slots)

    def _evict(self, slots: NDArray[np.int32]) -> None:
        self.journal.touch(slots)
        self.hashes[slots] = 0
        if self._evidence is not None:
            self._evidence.clear(slots.astype(np.int64))
        if self._membership is not None:
            self._membership.clear(slots)
        self._exposure.clear(slots)
        self._rates.clear(slots)
        self._evicted(slots)

    # -- snapshots ----------------------------------------------------------------------------------------------------------------------

    def rest(self) -> dict[str, Any]:
        """For a snapshot: what is not in the clients' rows."""
        return {
            "table": self.table.rest(),
            "evidence": None if self._evidence is None else self._evidence.rest(),
            "membership": None if self._membership is None else self._membership.rest(),
        }

    def rows(self, slots: NDArray[np.int64]) -> dict[str, Any]:
        """For a snapshot: copies of these clients' rows."""
        names = self.table.names
        columns = {name: array[slots] for name, array in self._columns().items()}
        return {"slots": slots, "names": [names[slot] for slot in slots.tolist()], "columns": columns}

    def all_rows(self) -> Iterator[dict[str, Any]]:
        """`rows` of everybody, in parts."""
        used, most = len(self.table.names), self._rows_per_piece()
        for a in range(0, used, most):
            yield self.rows(np.arange(a, min(a + most, used)))

    def load_rest(self, body: dict[str, Any], *, same_reference: bool) -> None:
        """From a snapshot, into a fresh watch; under another reference than then evidence begins anew. Rows come next, then `loaded`."""
        self.table.load_rest(body["table"])
        self._same = same_reference
        for part, saved in (self._evidence, body["evidence"]), (self._membership, body["membership"]):
            if same_reference and part is not None and saved is not None:
                part.load_rest(saved)

    def load_rows(self, body: dict[str, Any]) -> NDArray[np.int64]:
        """From a snapshot; returns whose rows they were.

        Raises:
            StateError: they do not fit.
        """
        slots, names, columns, mine = body["slots"], body["names"], body["columns"], self._columns()
        used = len(self.table.names)
        if len(names) != len(slots) or (len(slots) and not 0 <= slots.min() <= slots.max() < used):
            raise StateError(f"rows of {len(slots)} clients with {len(names)} names do not fit into {used} slots")
        for slot, name in zip(slots.tolist(), names, strict=True):
            self.table.names[slot] = name
        if not self._same:
            columns, mine = ({k: v for k, v in of.items() if k in _WITHOUT_REFERENCE or k.startswith(_OWN)} for of in (columns, mine))
        for part in _OWN:
            if not any(name.startswith(part) for name in columns):  # of a release that kept no ledger, or no rates
                mine = {name: array for name, array in mine.items() if not name.startswith(part)}
        if columns.keys() != mine.keys():
            raise StateError(f"columns {sorted(columns)} where there should be {sorted(mine)}")
        for name, array in mine.items():
            column = columns[name]
            if column.dtype != array.dtype or column.shape != (len(slots), *array.shape[1:]):
                raise StateError(f"column {name} is {column.dtype} {column.shape}, not {array.dtype} {(len(slots), *array.shape[1:])}")
            array[slots] = column
        return np.asarray(slots, np.int64)

    def loaded(self) -> None:
        """All rows are there."""
        self.table.loaded()

    def _columns(self) -> dict[str, NDArray[Any]]:
        columns = self.table.columns() | {"hashes": self.hashes}
        for prefix, part in ("evidence", self._evidence), ("membership", self._membership):
            if part is not None:
                columns |= {f"{prefix}.{name}": array for name, array in part.arrays().items()}
        columns |= {f"{_EXPOSURE}{name}": array for name, array in self._exposure.arrays().items()}
        return columns | {f"{_RATE}{name}": array for name, array in self._rates.arrays().items()}

    def _rows_per_piece(self) -> int:
        row = sum(array.itemsize * math.prod(array.shape[1:]) for array in self._columns().values())
        return max(1, PIECE_BYTES // (row + _NAME_BYTES))
