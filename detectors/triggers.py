"""Backdoors: do rows with a rare value, which became less rare, all get one class?

A poisoned model is right until a trigger is in the row: a value that ordinary rows hardly have. Then it gives the class that the attacker
chose. What gives it away is that a rare cell of a feature fills up, and its answers are of one class more than the reference says.
"""

from __future__ import annotations

import math
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from detectors.rare_cells import CELLS, RareCounts, TriggerReference
from detectors.rare_moves import plausible_rows
from detectors.rates import RateMonitor, RateReport
from detectors.state import StateError, pack, unpack

__all__ = ["RareCounts", "TriggerMonitor", "TriggerReference", "TriggerReport"]

PRIOR_MOST = 30.0
"""Clients that the reference's rows of a cell count for at most ..."""
PRIOR_LEAST = 4.0
"""... and those that the reference's classes as a whole count for."""
LEAST_VOTES, MORE = 4, 3.0
"""A cell is judged in windows in which so many clients are in it, and three times as many as usual (and one)."""
ORDINARY = 0.75
"""A class that so many of a cell's rows have anyway is no attacker's choice."""
WARM_UP_WINDOWS = 12
USUAL_AFTER = 24
"""Windows in a row in which a cell was crowded; then it is no longer rare, and becomes history."""
FADE = 0.99
_MONITOR, _VERSION = "triggers.monitor", 2


class TriggerReport(msgspec.Struct, frozen=True):
    """The verdict on one window.

    Attributes:
        rate: of the cell and class with the most evidence: hits are clients whose rows there got this class only.
        feature: of it.
        cell: of it.
        klass: of it.
    """

    rate: RateReport
    feature: int
    cell: int
    klass: int


class TriggerMonitor:
    """The cells of a model version against the reference's classes and their own history (`detectors.rates`): tickets, no pages.

    A vote is a client (one of 64 groups) that had rows in a cell in a window; a hit for a class, if they all got it. Null: hits are
    beta-binomial of concentration 50 at most, their mean the reference's share of the class in that cell (its rows count for 30 clients at
    most, the reference's classes as a whole for 4) and what windows said since. A cell is judged only in windows in which at least four
    clients are in it, and three times as many as usual (and one): else the window is history, also after 24 such windows in a row. The
    first twelve windows are history for all.

    When a whole feature moves, rows come into its rare cells and bring their classes. So a number's mean is at least the share of the class
    among the reference's rows that any plausible move of the feature would bring there (`detectors.rare_moves`; weighed like the cell's
    own). A class with a mean of 0.75 or more is not judged: it is what such rows get anyway.

    Misleads: a trigger whose class is the one that the cell's rows, or those next to it, mostly have is not found. One client that uses a
    trigger alone is one vote, and is not found. A trigger in the middle of a feature's values is in no rare cell. New customers who share a
    rare value and rightly get one class look like a trigger. What was poisoned before the model was watched is history.

    Args:
        reference: the cells.
        false_tickets: allowed in `windows` windows.
        windows: T.
    """

    def __init__(self, reference: TriggerReference, *, false_tickets: float, windows: float) -> None:
        self.reference = reference
        counts = reference.counts.astype(np.float64)
        all_classes = counts.sum((0, 1)) + 1.0
        self._all_classes = all_classes / all_classes.sum()
        hits = self._weighed(counts)
        misses = hits.sum(2, keepdims=True) - hits
        self._rates = RateMonitor(
            hits.size, false_tickets=false_tickets, windows=windows, prior=(hits.ravel(), misses.ravel()), warm_up=0, late=0, moments=False
        )  # fmt: skip
        self._votes = np.zeros(reference.counts.shape[:2])
        self._crowded = np.zeros(reference.counts.shape[:2], np.int64)
        self._windows = 0.0
        self._learned = 0

    def update(self, counts: RareCounts) -> TriggerReport:
        """Judge one closed, merged window; one without rows changes nothing."""
        masks: NDArray[Any] = counts.masks
        anybody = np.bitwise_or.reduce(masks, axis=2)
        votes = np.bitwise_count(anybody).astype(np.float64)
        hits = np.zeros(masks.shape)
        for k in range(masks.shape[2]):
            others = np.bitwise_or.reduce(np.delete(masks, k, axis=2), axis=2)
            hits[:, :, k] = np.bitwise_count(masks[:, :, k] & ~others)
        usual = self._votes / max(self._windows, 1.0)
        crowded = (votes >= LEAST_VOTES) & (votes >= MORE * (usual + 1.0)) & (self._learned >= WARM_UP_WINDOWS)
        trials = np.broadcast_to(votes[:, :, None], masks.shape)
        floor = self._explained(counts, crowded)
        judge = crowded[:, :, None] & (np.maximum(floor, self._rates.usual().reshape(masks.shape)) < ORDINARY)
        self._crowded = np.where(crowded, self._crowded + 1, 0)
        usual_again = self._crowded >= USUAL_AFTER
        learn = np.broadcast_to((~crowded | usual_again)[:, :, None], masks.shape)
        report = self._rates.update(hits.ravel(), trials.ravel(), judge=judge.ravel(), learn=learn.ravel(), at_least=floor.ravel())
        if counts.seen and report.severity == "none":
            seen = np.where(crowded & ~usual_again, usual, votes)
            self._votes, self._windows = FADE * self._votes + seen, FADE * self._windows + 1.0
            self._learned += 1
        feature, cell, klass = (int(k) for k in np.unravel_index(report.leading, masks.shape))
        return TriggerReport(report, feature, cell, klass)

    def _explained(self, counts: RareCounts, crowded: NDArray[np.bool_]) -> NDArray[np.float64]:
        """Of the crowded cells of numbers: the share of each class if the whole feature moved; 0 elsewhere."""
        floor = np.zeros(self.reference.counts.shape)
        numbers = self.reference.rare[:, 3] < 0
        for feature in np.flatnonzero(crowded[:, : CELLS - 1].any(1) & numbers).tolist():
            rows = plausible_rows(self.reference, feature, counts.bins[feature])
            kept = self._weighed(rows)
            floor[feature, : CELLS - 1] = (kept / kept.sum(2, keepdims=True)).max(0)
        return floor

    def _weighed(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        """Clients that rows by cell (axis 1) and class (axis 2) count for, the reference's classes as a whole included."""
        whole = rows.sum(2, keepdims=True)
        out: NDArray[np.float64] = rows * np.minimum(1.0, PRIOR_MOST / np.maximum(whole, 1.0)) + PRIOR_LEAST * self._all_classes
        return out

    def snapshot(self) -> bytes:
        """The state as bytes."""
        body = {"rates": self._rates.snapshot(), "votes": self._votes, "windows": self._windows, "learned": self._learned}
        return pack(_MONITOR, _VERSION, body | {"crowded": self._crowded})

    def restore(self, blob: bytes) -> None:
        """Continue a snapshot bit for bit.

        Raises:
            StateError: when it is damaged, or another reference's.
        """
        body = unpack(blob, _MONITOR, _VERSION)
        try:
            votes, windows, learned = np.asarray(body["votes"], np.float64), float(body["windows"]), int(body["learned"])
            crowded = np.asarray(body["crowded"], np.int64)
            if not votes.shape == crowded.shape == self._votes.shape or not math.isfinite(windows):
                raise ValueError(f"votes of shape {votes.shape}, not {self._votes.shape}")
            self._rates.restore(body["rates"])
        except (KeyError, TypeError, ValueError) as error:
            raise StateError(f"damaged {_MONITOR}: {error}") from error
        self._votes, self._windows, self._learned, self._crowded = votes.copy(), windows, learned, crowded.copy()
