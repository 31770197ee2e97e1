"""Feedback by segment: do labels of one part of the traffic say "wrong" far more than they did, while the others' do not?

Labels that somebody flips for one segment teach the next model a backdoor. In the accuracy of all they drown.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
from numba import njit
from numpy.typing import NDArray

from detectors.arrays import plain
from detectors.drift import DriftReference
from detectors.rates import RateMonitor, RateReport
from detectors.state import StateError, pack, unpack

__all__ = ["BINS", "CLIENTS", "SERVICE", "FeedbackMonitor", "FeedbackReport", "SegmentCodes"]

BINS = 16
"""Cells of a field at most; the last one is for a missing value."""
CLIENTS, SERVICE = "client", "service"
"""The fields that every event has: a group of clients, and of services, by hash. The others are features."""
_FEATURES = 6
_QUARTERS = 3
LATELY = 0.8
"""Fading, a window, of what is looked at beside the evidence."""
LEAST_LABELS = 10
"""Of a cell lately."""
MATERIAL = 0.10
"""Rise of a cell's error rate that is worth a ticket, ..."""
OTHERS = 0.4
"""... if the rate of all others rose by less than this part of it."""
_KIND, _VERSION = "feedback.monitor", 1


class SegmentCodes:
    """To which cell of every followed field a row belongs: groups of clients and services, quarters or categories of features.

    Args:
        reference: where the quarters are.
        chosen: features to follow, six at most; empty: those with few categories first, then numbers, as they come.

    Attributes:
        fields: names: ``client``, ``service``, then the features.
    """

    def __init__(self, reference: DriftReference, chosen: Sequence[str] = ()) -> None:
        names, kinds = reference.variables[: reference.n_features], reference.kinds[: reference.n_features]
        order = sorted(range(len(names)), key=lambda j: (kinds[j] != "categorical", j))
        few = [j for j in order if kinds[j] != "categorical" or len(reference.categories[j]) < BINS]
        columns = [j for j in range(len(names)) if names[j] in chosen][:_FEATURES] if chosen else few[:_FEATURES]
        self._columns = np.array(columns, np.int64)
        self._edges = np.full((len(columns), _QUARTERS), np.nan, np.float32)
        self.categories: dict[str, tuple[str, ...]] = {}
        for k, j in enumerate(columns):
            if kinds[j] == "categorical":
                self.categories[names[j]] = tuple(reference.categories[j])
                continue
            m = int(reference.n_edges[j])
            counts = reference.counts[int(reference.starts[j]) : int(reference.starts[j]) + m + 1].astype(np.float64)
            below = np.cumsum(counts)[:-1] / max(counts.sum(), 1.0)
            for q in range(_QUARTERS if m else 0):
                self._edges[k, q] = reference.edges[j, int(np.abs(below - (q + 1) / 4).argmin())]
        self.fields = (CLIENTS, SERVICE, *(names[j] for j in columns))

    def of(self, X: NDArray[np.float32], clients: NDArray[np.uint64], service: int) -> NDArray[np.uint8]:
        """Cells (n, fields) of rows.

        Args:
            X: (n, d) in the reference's columns.
            clients: (n,) 64-bit hashes.
            service: hash of the service, 0 to 15.
        """
        out = np.empty((len(X), len(self.fields)), np.uint8)
        _code(plain(X), plain(clients), service, self._columns, self._edges, out)
        return out

    def describe(self, field: str, cell: int, services: Mapping[int, str]) -> str:
        """A cell in words."""
        if field == CLIENTS:
            return f"group {cell + 1} of {BINS} of clients"
        if field == SERVICE:
            return f"service {services.get(cell, f'group {cell + 1}')}"
        if cell == BINS - 1:
            return f"{field} missing"
        if field in self.categories:
            names = self.categories[field]
            return f"{field} = {names[cell]}" if cell < len(names) else f"{field} of an unseen category"
        edges = self._edges[self.fields.index(field) - 2] if field in self.fields else np.full(_QUARTERS, np.nan)
        low, high = (
            ([*map(float, edges)][cell - 1] if cell else -math.inf),
            ([*map(float, edges), math.inf][cell] if cell < 4 else math.inf),
        )
        return f"{field} from {low:.4g} to {high:.4g}" if cell else f"{field} up to {high:.4g}"


@njit(cache=True)
def _code(X: Any, clients: Any, service: int, columns: Any, edges: Any, out: Any) -> None:
    for i in range(len(X)):
        out[i, 0], out[i, 1] = clients[i] >> np.uint64(60), service
        for k in range(len(columns)):
            x = X[i, columns[k]]
            cell = 15
            if x == x:
                if edges[k, 0] == edges[k, 0]:
                    cell = 0
                    for q in range(edges.shape[1]):
                        cell += x > edges[k, q]
                else:
                    cell = min(max(int(x), 0), 14)
            out[i, 2 + k] = cell


class FeedbackReport(msgspec.Struct, frozen=True):
    """The verdict on the labels of a window of arrival.

    Attributes:
        rate: of the cell with the most evidence of those that stand apart: hits are labels that say "wrong".
        field: its field.
        cell: of it.
        others: error rate of all other labels of the window.
    """

    rate: RateReport
    field: str
    cell: int
    others: float


class FeedbackMonitor:
    """Error rates of every cell of every field against their own history (`detectors.rates`): tickets, no pages.

    A ticket needs the evidence, and a cell with evidence whose error rate of the last five windows (fading by 0.8) is 0.1 above its
    usual, while that of all others rose by less than 0.4 of that: where all are wrong it is the model, and `detectors.accuracy` says so.

    Misleads: a model that gets worse for one segment looks as labels that were flipped for it; who looks at rows can tell. Clients are
    followed in 16 groups, and a client that flips its own labels is diluted by its group. Features beyond six are not followed.

    Args:
        fields: names.
        false_tickets: allowed in `windows` windows.
        windows: T.

    Example:
        >>> rng, monitor = np.random.default_rng(0), FeedbackMonitor(("client", "age"), false_tickets=1, windows=8640)
        >>> for k in range(30):
        ...     cells = rng.integers(0, 4, (200, 2)).astype(np.uint8)
        ...     flipped = (cells[:, 1] == 2) & (k >= 20)
        ...     report = monitor.update(cells, (rng.random(200) < 0.05) ^ flipped)
        >>> report.rate.severity, report.field, report.cell
        ('ticket', 'age', 2)
    """

    def __init__(self, fields: tuple[str, ...], *, false_tickets: float, windows: float) -> None:
        self.fields = fields
        self._rates = RateMonitor(len(fields) * BINS, false_tickets=false_tickets, windows=windows)
        self._lately, self._lately_all = np.zeros((2, len(fields) * BINS)), np.zeros(2)
        """Errors and labels of about the last five windows, by cell and in all."""
        self._all = np.zeros(2)
        """Errors and labels in all, fading."""

    def update(self, cells: NDArray[np.uint8], wrong: NDArray[np.bool_]) -> FeedbackReport:
        """Judges the labels of a window.

        Args:
            cells: (n, fields), below 16.
            wrong: (n,) the answer was not the truth.
        """
        n = len(wrong)
        places = cells.astype(np.int64) + BINS * np.arange(len(self.fields))
        trials = np.bincount(places.ravel(), minlength=len(self.fields) * BINS).astype(np.float64)
        hits = np.bincount(places[wrong].ravel(), minlength=len(self.fields) * BINS).astype(np.float64)
        usual, usual_all = self._rates.usual(), (self._all[0] + 0.5) / (self._all[1] + 10.5)
        self._lately = LATELY * self._lately + np.stack([hits, trials])
        self._lately_all = LATELY * self._lately_all + [float(wrong.sum()), float(n)]
        s, t = self._lately
        rise = s / np.maximum(t, 1.0) - usual
        others = (self._lately_all[0] - s) / np.maximum(self._lately_all[1] - t, 1.0)
        apart = (rise >= MATERIAL) & (others - usual_all < OTHERS * rise) & (t >= LEAST_LABELS) & (t < 0.95 * self._lately_all[1])
        report = self._rates.update(hits, trials)
        if report.severity == "none":
            self._all = 0.99 * self._all + [float(wrong.sum()), float(n)]
        evidence = np.where(apart, self._rates.evidence(), -np.inf)
        k = int(evidence.argmax())
        told = report.severity == "ticket" and evidence[k] >= self._rates.sr.log_ticket
        field, cell = divmod(k, BINS)
        rate = RateReport(
            severity="ticket" if told else "none", log_evidence=report.log_evidence, leading=k, rate=float(hits[k] / max(trials[k], 1.0)),
            usual=float(usual[k]), hits=int(hits[k]), trials=int(trials[k]),
        )  # fmt: skip
        return FeedbackReport(rate, self.fields[field], cell, float(others[k]))

    def snapshot(self) -> bytes:
        """The state as bytes."""
        sums = {"all": self._all, "lately": self._lately, "lately_all": self._lately_all}
        return pack(_KIND, _VERSION, {"fields": list(self.fields), "rates": self._rates.snapshot()} | sums)

    @classmethod
    def restored(cls, blob: bytes, *, false_tickets: float, windows: float) -> FeedbackMonitor:
        """Continue a snapshot bit for bit.

        Raises:
            StateError: when it is damaged.
        """
        body = unpack(blob, _KIND, _VERSION)
        try:
            made = cls(tuple(map(str, body["fields"])), false_tickets=false_tickets, windows=windows)
            made._rates.restore(body["rates"])
            whole, lately = np.asarray(body["all"], np.float64), np.asarray(body["lately"], np.float64)
            lately_all = np.asarray(body["lately_all"], np.float64)
            if not whole.shape == lately_all.shape == (2,) or lately.shape != made._lately.shape:
                raise ValueError(f"sums of shapes {whole.shape}, {lately.shape}")
        except (KeyError, TypeError, ValueError) as error:
            raise StateError(f"damaged {_KIND}: {error}") from error
        made._all, made._lately, made._lately_all = whole.copy(), lately.copy(), lately_all.copy()
        return made
