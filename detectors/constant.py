"""Constant columns: a feature that varies in the reference has one and the same value in all events of a window, from many clients.

No pass over the events: the drift counts hold what it takes. Whether all known values are one is in a feature's cells and in its sums of z
and z^2, which are whole numbers (`moments.py`); how many clients say so is in the groups.
"""

from __future__ import annotations

import math
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from detectors.drift import DriftReference, WindowCounts
from detectors.drift.moments import CLIP, SCALE
from detectors.e_process import Severity, ShiryaevRoberts, page_threshold
from detectors.state import StateError, arrays_like, pack, unpack

MOST_USUAL = 0.95
"""A cell that may hold more of the events than this is no news when it holds all: a rise of less than a twentieth."""
WARM_UP_WINDOWS = 12
OFTEN = 0.05
"""Share of the windows, beyond what the reference's shares explain, in which a feature may have had one value and still be news."""
FADE = 0.99
_HISTORY = ("seen", "stuck", "explained")
_KIND, _VERSION = "constant.detector", 1


class Stuck(msgspec.Struct, frozen=True):
    """A feature at one value.

    Attributes:
        feature: its name.
        value: the one value.
        usual: share of the events in the value's cell, by the reference.
        since: number of the window at which it began.
        log_evidence: ln R of its recursion.
    """

    feature: str
    value: str
    usual: float
    since: int
    log_evidence: float


class ConstantReport(msgspec.Struct, frozen=True):
    """The verdict on one window.

    Attributes:
        window: windows seen so far.
        severity: "page" while an episode is open, "ticket" at A / 100.
        opened: a page episode opened with this window.
        log_evidence: ln M.
        log_page: ln A.
        stuck: features at one value with enough evidence for a ticket, strongest first; none when severity is "none".
    """

    window: int
    severity: Severity
    opened: bool
    log_evidence: float
    log_page: float
    stuck: tuple[Stuck, ...]


class ConstantDetector:
    """Shiryaev-Roberts over all-or-nothing bets, one a feature, of equal weights.

    Null: the shares of a feature's cells among its known values are at most u_c, the upper edges of drift's tolerance (sampling error of
    the reference, mix of clients, wander, season, materiality), and the window's known values are worth w independent ones, without the
    one or two groups of clients with the most (`dependence.py`). Then all are in one cell with a probability of at most
    P = sum_c u_c^w, and

        e = 1 / min(P, 1) where all known values are one value, 0 where they are not

    has an expectation of at most 1. A window where they differ takes all evidence away; one without known values leaves it as it is.

    One value: all known values are in one cell, and of k of them sum z and sum z^2, in 1 / 65,536 sd and its square, are k times a whole
    number, and the second is the square of the first. What that lets through
    is values within 1/250 sd of each other, about once in k^2 times.
    Of categories: the cell is of one category.

    Gates, which only take bets away: a cell with u_c > 0.95, where less than a twentieth of the events changed; the first twelve windows;
    and the model's own history: where a feature was at one value in more than a twentieth of the (fading) windows beyond what P explains,
    it does so by itself, as the hour of the day does.

    Misleads: "unseen" and several categories that share a cell ("other") are never called constant, though each may be; nor is a feature
    beyond 16 sd. Of a window in whose middle it began, drift tells first. One client alone is nothing: without its group w is 0.

    Args:
        reference: whose cells the windows are counted in.
        false_pages: allowed in `windows` windows, this detector's share already taken.
        windows: T.

    Source: a likelihood ratio against a point; Shin et al., "E-detectors", NEJSDS 2023.
    """

    def __init__(self, reference: DriftReference, *, false_pages: float, windows: float) -> None:
        d = reference.n_features
        self.reference = reference
        self.sr = ShiryaevRoberts(np.full(d, -math.log(d)), page_threshold(windows, false_pages))
        self.seen, self.stuck, self.explained = np.zeros((3, d))
        self.learned = 0

    def update(
        self, counts: WindowCounts, most: NDArray[np.float64], worth: NDArray[np.float64], *, may_page: bool = True
    ) -> ConstantReport:
        """Judge one closed, merged window; one without events changes nothing.

        Args:
            counts: the window's.
            most: largest share that each cell may have, shape (n_cells,).
            worth: w of each variable, shape (V,).
            may_page: whether evidence of this window may open a page.
        """
        known, at, log_p, log_e = self._bets(counts, most, worth)
        severity: Severity = "page" if self.sr.open else "none"
        opened = False
        if counts.n:
            by_itself = self.stuck - self.explained > OFTEN * np.maximum(self.seen, 1.0)
            bets = np.where((by_itself | (self.learned < WARM_UP_WINDOWS)) & known, -np.inf, log_e)
            severity, opened = self.sr.update(bets, may_page=may_page)
            if severity == "none":
                self.learned += 1
                self.seen, self.stuck = FADE * self.seen + known, FADE * self.stuck + (at >= 0)
                self.explained = FADE * self.explained + known * np.exp(log_p)
        return ConstantReport(
            window=self.sr.steps,
            severity=severity,
            opened=opened,
            log_evidence=self.sr.log_mixture,
            log_page=self.sr.log_page,
            stuck=() if severity == "none" else self._told(counts, at),
        )

    def _bets(
        self, counts: WindowCounts, most: NDArray[np.float64], worth: NDArray[np.float64]
    ) -> tuple[NDArray[np.bool_], NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
        """Of each feature: whether it has known values, in which cell all of them are one value or -1, ln P, and ln e without gates."""
        reference, d = self.reference, self.reference.n_features
        first, missing, end = reference.starts[:d], reference.starts[1 : d + 1] - 1, int(reference.starts[d])
        sizes, cells = missing + 1 - first, counts.cells[:end]
        cells[missing] = 0
        k, largest = np.add.reduceat(cells, first), np.maximum.reduceat(cells, first)
        lacking = reference.counts[missing] / np.maximum(np.add.reduceat(reference.counts[:end], first), 1)
        shares = np.clip(most[:end] / np.repeat(np.maximum(1.0 - lacking, 1e-9), sizes), 1e-12, 1.0)
        powers = np.repeat(worth[:d], sizes) * np.log(shares)
        powers[missing] = -np.inf
        top = np.maximum.reduceat(powers, first)
        log_p = np.minimum(top + np.log(np.add.reduceat(np.exp(powers - np.repeat(top, sizes)), first)), 0.0)
        known, at = k > 0, np.full(d, -1)
        log_p[~known] = 0.0
        log_e = np.where(known, -np.inf, 0.0)
        for v in np.flatnonzero(known & (largest == k)).tolist():
            at[v] = self._one_value(counts, cells[first[v] : missing[v]], v, int(k[v]))
            if at[v] >= 0 and shares[first[v] + at[v]] <= MOST_USUAL:
                log_e[v] = -log_p[v]
        return known, at, log_p, log_e

    def _one_value(self, counts: WindowCounts, cells: NDArray[np.int64], v: int, k: int) -> int:
        """In which of the feature's cells all k known values are one value, or -1."""
        c = int(cells.argmax())
        if cells[c] < k:
            return -1
        if self.reference.kinds[v] == "categorical":
            return c if len(self._categories(v, c)) == 1 else -1
        total, squares = (int(x) for x in counts.moments[v])
        z, square = total // k, squares // k
        exact = total % k == 0 and squares % k == 0 and abs(square - z * z / SCALE) <= 2 * abs(z) / SCALE + 2
        return c if exact and abs(z) < CLIP * SCALE else -1

    def _categories(self, v: int, c: int) -> NDArray[np.intp]:
        """Categories that cell c of the feature is of."""
        starts = self.reference.lookup_starts
        return np.flatnonzero(self.reference.lookup[starts[v] : starts[v + 1]] == c)

    def _told(self, counts: WindowCounts, at: NDArray[np.int64]) -> tuple[Stuck, ...]:
        reference, since = self.reference, self.sr.since
        out = []
        for v in np.argsort(-self.sr.log_r, kind="stable").tolist():
            if at[v] < 0 or self.sr.log_r[v] < self.sr.log_ticket:
                continue
            mine = reference.counts[reference.starts[v] : reference.starts[v + 1]]
            if reference.kinds[v] == "categorical":
                value = reference.categories[v][self._categories(v, int(at[v]))[0]]
            else:
                k = int(counts.cells[reference.starts[v] : reference.starts[v + 1] - 1].sum())
                z = int(counts.moments[v, 0]) / (k * SCALE)
                digits = -math.floor(math.log10(2.0 * reference.sd[v] / SCALE)) - 1  # as exact as the sums are
                value = f"{round(float(reference.mean[v] + z * reference.sd[v]), digits) + 0.0:.4g}"
            usual = float(mine[at[v]] / max(int(mine.sum()), 1))
            out.append(Stuck(reference.variables[v], value, usual, int(since[v]), float(self.sr.log_r[v])))
        return tuple(out)

    def snapshot(self) -> bytes:
        """The state as bytes, without the reference."""
        history = {name: getattr(self, name) for name in _HISTORY}
        return pack(_KIND, _VERSION, {"sr": self.sr.state(), "learned": self.learned, **history})

    def restore(self, blob: bytes) -> None:
        """Continue a snapshot of a detector with the same reference, bit for bit.

        Raises:
            StateError: when it is damaged or of another reference's shape.
        """
        body: dict[str, Any] = unpack(blob, _KIND, _VERSION)
        try:
            history, learned = arrays_like(self, _HISTORY, body), int(body["learned"])
            self.sr.restore(body["sr"])
        except (KeyError, TypeError, ValueError) as error:
            raise StateError(f"damaged {_KIND}: {error}") from error
        for name, values in history.items():
            setattr(self, name, values)
        self.learned = learned
