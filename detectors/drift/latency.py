"""Latency beside the mixture: its cells and tilts have a recursion of their own, which opens a ticket and never a page.

Latency moves with load, and whoever wants to be woken for it has promised a figure (an objective, with burn rates). So its evidence is kept
out of the mixture of features, scores and answers: a latency that has moved for good neither pages, nor keeps a page of theirs open, nor
raises what they must tell. Its weight is that of one of V variables: evidence is a ticket from A V / 100 on, and is held below A V / 2.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from detectors.e_process import Severity, ShiryaevRoberts

MATERIALITY = 0.05
"""Share of the answers that may be faster or slower than in the reference: load alone moves as many."""


class LatencyEvidence:
    """The recursion of the latency's components.

    Args:
        at: which of the detector's components they are, shape (L,).
        log_weights: natural logarithm of their weights, which sum to 1, shape (L,).
        threshold: A V.
    """

    def __init__(self, at: NDArray[np.intp], log_weights: NDArray[np.float64], threshold: float) -> None:
        self._at = at
        self.sr = ShiryaevRoberts(log_weights, threshold, np.float32)

    def take(self, log_e: NDArray[np.float32]) -> None:
        """One window. Its components of `log_e` (all of the detector's) become -inf, nothing to the mixture."""
        self.sr.update(log_e[self._at], may_page=False)
        log_e[self._at] = -np.inf

    @property
    def severity(self) -> Severity:
        """As of the last window."""
        return "ticket" if self.sr.log_mixture >= self.sr.log_ticket else "none"

    def show(self, weighted: NDArray[np.float64], since: NDArray[np.int32]) -> None:
        """Put ln(w R) of the latency's components, and when they began, in their places."""
        weighted[self._at], since[self._at] = self.sr.log_r + self.sr.log_weights, self.sr.since
