"""The clients of one model version on one partition: who they are, what speaks against them, and what the judge is told of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detectors.arrays import plain
from detectors.state import StateError
from inferwatch import Strings
from schemas.windows import ClientLine, Family, Finding, Severity
from streams.client_detectors import OWN, ClientDetectors, Rise
from streams.clients import FAMILIES, ClientTable
from streams.duplicates import hash_of_client
from streams.journal import RowJournal
from streams.kernels import count_clients, used_codes, without_hash
from streams.references import Loaded
from streams.settings import Settings
from streams.window import OpenWindow

LINES_PER_WINDOW = 200
RENEWED_PER_WINDOW = 100
SEVERITIES: tuple[Severity, ...] = ("none", "ticket", "page")
PIECE_BYTES = 480_000
"""Of clients' rows that a snapshot copies at once and stores together."""
_NAME_BYTES = 32
_WITHOUT_REFERENCE = frozenset(["n", "last_ns", "hashes"])


class ClientWatch:
    """Slots and severities of clients, and the detectors that they are shown to.

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
        self._resized, self._evicted = resized, evicted
        self._provisional = False
        self._same = True
        self.detectors = ClientDetectors(model, version, settings)
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
        self._provisional = loaded is not None and loaded.provisional
        self.table.severity[:] = 0
        self.detectors.use(loaded, self.capacity)

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
        return [rise for rise in self.detectors.judge(slot, at_ns, X, scores, label, codes, self.table.names) if self._rose(rise)]

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

    def finding(self, rise: Rise, at_ns: int, n_events: int, event_id: str, chain: Sequence[dict[str, Any]] = ()) -> Finding:
        """What the judge is told of a rise, and the questions that led to it."""
        why = rise.why | {"chain": list(chain)} if chain else rise.why
        if self._provisional:
            why = {**why, "uncalibrated": "the reference is provisional, made from the first events: tickets only"}
        return self._finding(
            rise.slot, rise.family, self._capped(rise.severity), at_ns, n_events, rise.ln_evidence, why, event_id, renewed=False
        )

    def standing(self, at_ns: int, present: NDArray[np.intp]) -> list[Finding]:
        """Of the clients seen in a window, those under suspicion: their evidence still stands."""
        evidence = self.detectors.ln_evidence(present)
        out = []
        for k in np.flatnonzero(self.table.severity[present].any(axis=1))[:RENEWED_PER_WINDOW].tolist():
            slot = int(present[k])
            for family, values in evidence.items():
                severity = int(self.table.severity[slot, FAMILIES.index(family)])
                if severity:
                    n = int(self.table.n[slot])
                    out.append(self._finding(slot, family, severity, at_ns, n, float(values[k]), {}, "", renewed=True))
        for slot in present[self.detectors.over(present)][:RENEWED_PER_WINDOW].tolist():
            why = self.detectors.explain_exposure(slot)
            out.append(self._finding(slot, "cost", 1, at_ns, int(self.table.n[slot]), 0.0, why, "", renewed=True))
        return out

    def floods(self, window: OpenWindow, present: NDArray[np.intp], at_ns: int) -> list[Finding]:
        """Of the clients seen in a window that closes, those who ask far more than they ever did; their rates are learned."""
        if not len(present):
            return []
        self.journal.touch(present.astype(np.int32))
        found = self.detectors.floods(present, window.client_n[present])
        return [
            self._finding(
                one.slot, "cost", 1, at_ns, one.events, one.ln_evidence,
                {"statistic": "rate", "events_in_window": one.events, "usual_in_window": round(one.usual, 2), "share": round(one.share, 4)},
                "", renewed=not one.fresh,
            )
            for one in found
        ]  # fmt: skip

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

    def lines(self, window: OpenWindow, present: NDArray[np.intp]) -> list[ClientLine]:
        """The clients of a window that stand out: under suspicion first, then by evidence, then by volume."""
        if not len(present):
            return []
        evidence = self.detectors.ln_evidence(present)
        top = np.max([*evidence.values(), np.zeros(len(present))], axis=0)
        severity = self.table.severity[present].max(axis=1).astype(int)
        order = np.lexsort((-window.client_n[present], -np.round(top, 1), -severity))[:LINES_PER_WINDOW]
        shown = present[order]
        values = (
            {family: column[order] for family, column in evidence.items()} | self.detectors.exposure(shown) | self.detectors.likeness(shown)
        )
        repeats = self.detectors.repeats(shown)
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
        for family, values in self.detectors.ln_evidence(slots).items():
            rows[f"ln_{family}"] = values
        given = self.detectors.exposure(slots)
        rows["exposure"] = given.pop("copy_agreement")
        return rows | {name: values.astype(np.int64) for name, values in given.items()}

    def _resize(self, capacity: int) -> None:
        self.hashes = np.concatenate([self.hashes, np.zeros(capacity - len(self.hashes), np.uint64)])
        self.detectors.resize(capacity)
        self.journal.resize(capacity)
        self._resized(capacity)

    def _touch(self, slots: NDArray[np.int32]) -> None:
        self.journal.touch(slots)

    def _evict(self, slots: NDArray[np.int32]) -> None:
        self.journal.touch(slots)
        self.hashes[slots] = 0
        self.detectors.clear(slots)
        self._evicted(slots)

    # -- snapshots ----------------------------------------------------------------------------------------------------------------------

    def rest(self) -> dict[str, Any]:
        """For a snapshot: what is not in the clients' rows."""
        return {"table": self.table.rest()} | self.detectors.rest()

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
        if same_reference:
            self.detectors.load_rest(body)

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
            columns, mine = ({k: v for k, v in of.items() if k in _WITHOUT_REFERENCE or k.startswith(OWN)} for of in (columns, mine))
        for part in OWN:
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
        return self.table.columns() | {"hashes": self.hashes} | self.detectors.arrays()

    def _rows_per_piece(self) -> int:
        row = sum(array.itemsize * math.prod(array.shape[1:]) for array in self._columns().values())
        return max(1, PIECE_BYTES // (row + _NAME_BYTES))
