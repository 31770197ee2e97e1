"""What on-call has been told of: one cause is one page, however often it comes and goes, and what is new pages at the same level.

A population can have moved at some hours only, or about the edge of the tolerance: evidence falls each night and rises each day, and an
episode that ends with it would page each day anew. So variables that a page was about stay *told* until they have been quiet for a week,
the season's length: what shows on Mondays only must have had its Monday. The page level is then asked of the rest of the mixture,

    M_new = sum of w_k R_k over the variables that are not told, the pairs of which neither is, and, when nothing is told, whole rows,

which is a part of M and has its bound: at most T / A false pages, and what is left of the untold after a page is less than A / 100. What
crosses the ticket level by itself within `ONSET` windows of a page belongs to it. A told variable that comes back after its episode ended
is a ticket; it pages when its largest gap of cumulated shares, less its own noise, is twice what it was.

Misleads: whole rows that move while something is told, and what begins within `ONSET` windows of a page, are told by that page.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from detectors.e_process import TICKET_FRACTION, Severity

QUIET_DAYS = 7.0
"""Without evidence, after which a variable is told of anew."""
ONSET = 12
"""Windows after a page in which what crosses the ticket level is part of it."""
LARGER = 2.0
"""Times the size that was told."""
NOISE = 1.95
"""Times 1 / sqrt(n): a window's gap exceeds the population's by more once in a thousand (Dvoretzky, Kiefer, Wolfowitz; Massart)."""

Floats = NDArray[np.float64]


class Parts(NamedTuple):
    """Contributions w R / A to the mixture."""

    variables: Floats
    """Shape (V,)."""
    pairs: Floats
    """Shape (P,)."""
    whole: float


class Told:
    """Which variables on-call knows of.

    Args:
        variables: V.
        first, second: variables of each pair, shape (P,).
        windows: in 30 days.

    Attributes:
        until: step until which each variable is told, int64, shape (V,).
        again: whether the last window's evidence is of what was told, after its episode had ended.

    Memory: 16 bytes a variable.
    """

    def __init__(self, variables: int, first: NDArray[np.int32], second: NDArray[np.int32], windows: float) -> None:
        self._first, self._second = first, second
        self._quiet = max(math.ceil(windows * QUIET_DAYS / 30.0), 1)
        self.until, self._size = np.zeros(variables, np.int64), np.zeros(variables)
        self._onset, self._paged, self.again = 0, False, False

    def judge(
        self, step: int, severity: Severity, parts: Callable[[], Parts], sizes: Callable[[], tuple[Floats, float]]
    ) -> tuple[Severity, NDArray[np.bool_] | None]:
        """What a window's severity is to on-call, and what was told before, if a page opens.

        Args:
            step: the window's number.
            severity: of the whole mixture.
            parts: its parts; only asked for where something is told, or pages.
            sizes: the largest gap of cumulated shares of each variable, and what the window's events are worth.
        """
        told = self.until > step
        self.again, self._paged = False, self._paged and severity == "page"
        if severity == "none" or (severity == "ticket" and not told.any()):
            return severity, None
        part = parts()
        each = part.variables + np.bincount(self._first, part.pairs, told.size) + np.bincount(self._second, part.pairs, told.size)
        standing = told & (each >= TICKET_FRACTION)
        self.until[standing] = step + self._quiet
        if severity == "ticket":
            self.again = bool(standing.any()) and self._rest(part, told) < TICKET_FRACTION
            return severity, None
        gap, worth = sizes()
        if not self._paged:
            told = told & (gap - NOISE / math.sqrt(max(worth, 1.0)) <= LARGER * self._size)
        opened = self._rest(part, told) >= 1.0 if told.any() else not self._paged
        before = told.copy()
        if opened:
            self._onset, self._paged = step + ONSET, True
        if opened or step < self._onset:
            self._tell(part, each, told, step)
        if self._paged:
            self._size[told] = np.maximum(self._size, gap)[told]
        self.again = not self._paged
        return "page" if self._paged else "ticket", before if opened else None

    def _tell(self, part: Parts, each: Floats, told: NDArray[np.bool_], step: int) -> None:
        """Tell of the variables of strong pairs, and of those that contribute most, until the rest is below the ticket level."""
        before = told.copy()
        strong = (part.pairs >= TICKET_FRACTION) & ~(told[self._first] | told[self._second])
        told[self._first[strong]] = told[self._second[strong]] = True
        for v in np.argsort(-each * ~told, kind="stable").tolist():
            if self._rest(part, told) < TICKET_FRACTION:
                break
            told[v] = True
        new = told & ~before
        self.until[new], self._size[new] = step + self._quiet, 0.0

    def _rest(self, part: Parts, told: NDArray[np.bool_]) -> float:
        """M_new / A."""
        new = part.pairs[~(told[self._first] | told[self._second])].sum()
        return float(part.variables[~told].sum() + new + (0.0 if told.any() else part.whole))

    @property
    def severity(self) -> Severity:
        """Of an open episode."""
        return "page" if self._paged else "ticket"

    def adopt(self, step: int) -> None:
        """An episode is open that paged before anybody kept what was told."""
        self._onset, self._paged = step + ONSET, True

    def state(self) -> dict[str, object]:
        """What `restore` needs, for `detectors.state.pack`."""
        return {"until": self.until.copy(), "size": self._size.copy(), "onset": self._onset, "paged": self._paged}

    def restore(self, state: dict[str, object]) -> None:
        """Continue from `state`.

        Raises:
            ValueError: it is of another reference.
        """
        until, size = np.asarray(state["until"], np.int64), np.asarray(state["size"], np.float64)
        if not until.shape == size.shape == self.until.shape:
            raise ValueError(f"{until.size} variables were told of, the reference has {self.until.size}")
        self.until, self._size = until.copy(), size.copy()
        self._onset, self._paged = int(str(state["onset"])), bool(state["paged"])
