"""Unauthorised access: are more requests refused (unauthenticated, forbidden) than this model's own history explains?"""

from __future__ import annotations

import math
from typing import Any

import msgspec
import numpy as np

from detectors.e_process import Severity, ShiryaevRoberts, least_log_polya, page_threshold
from detectors.state import StateError, pack, unpack

__all__ = ["AccessDetector", "AccessReport"]

ACCESS_ODDS = (2.0, 5.0, 20.0, 100.0)
PRIOR_DENIED, PRIOR_OTHER = 1.0, 10.0
"""Few: where a service has twenty requests a window, a prior of many would call its own usual rate news for months."""
CONCENTRATION = 500.0
FADE = 0.99
WARM_UP_WINDOWS = 12
_KIND, _VERSION = "access.detector", 1


class AccessReport(msgspec.Struct, frozen=True):
    """The verdict on one window.

    Attributes:
        severity: "page" while an episode is open, "ticket" at A / 100.
        log_evidence: ln of the mixture.
        denied: refused requests of this window.
        requests: of this window.
        usual_per_10k: refused requests per 10,000 in the windows before.
        opened: a page episode opened with this window.
    """

    severity: Severity
    log_evidence: float
    denied: int
    requests: int
    usual_per_10k: float
    opened: bool


class AccessDetector:
    """Shiryaev-Roberts over beta-binomial e-values, one per odds in {2, 5, 20, 100}.

    Null: the refused requests of a window are beta-binomial(n, m c, (1 - m) c): m the mean rate of past windows (fading by 1 % a window;
    prior 1 in 11), c = max(500, 1 / m) the concentration: a rare rate may wander with a relative sd of 1, a common one less. The e-value is
    the least of this one and that of a rate that never differed (c = all past requests). Its logarithm is capped at what one alternative
    alone needs for a ticket, 0.6 to 0.8 ln(A), so that one bad window opens a ticket and two a page; the first twelve windows are history
    only. It does not learn from windows that are a ticket or a page or reach the cap.

    Measured, at 0.1 pages a month and so ten tickets: services of 5 to 10,000 requests a window that refuse none to a tenth, always alike,
    twelve months each: no page, at most one ticket a month. With a prior of 500 and the first e-value alone, 51 pages in six months.

    Misleads: a service whose clients' tokens all expire at once looks like an attack; the client table tells the two apart. Who is refused
    before it reaches the model's service is not seen here.

    Args:
        false_pages: allowed in `windows` windows, this detector's share already taken.
        windows: T.

    Source: as `detectors.quality`; `e_process.least_log_polya`.

    Example:
        >>> detector = AccessDetector(false_pages=0.1, windows=8640)
        >>> [detector.update(1000, 1).severity for _ in range(20)][-1]
        'none'
        >>> [detector.update(1000, 300).severity for _ in range(3)]
        ['ticket', 'page', 'page']
    """

    def __init__(self, *, false_pages: float, windows: float) -> None:
        size = len(ACCESS_ODDS)
        self.sr = ShiryaevRoberts(np.full(size, -math.log(size)), page_threshold(windows, false_pages))
        self._cap = min(max(0.6 * self.sr.log_page, self.sr.log_ticket + math.log(size) + 0.01), 0.8 * self.sr.log_page)
        self.denied = self.other = 0.0
        self.learned = 0
        self._report: AccessReport | None = None

    def update(self, requests: int, denied: int) -> AccessReport:
        """Judge one closed, merged window; one without requests changes nothing.

        Raises:
            ValueError: denied is negative, or more than requests.
        """
        if not 0 <= denied <= requests:
            raise ValueError(f"denied must be between 0 and the {requests} requests, got {denied}")
        past = PRIOR_DENIED + self.denied + PRIOR_OTHER + self.other
        usual = (PRIOR_DENIED + self.denied) / past
        size = min(past, max(CONCENTRATION, 1.0 / usual))
        severity: Severity = "page" if self.sr.open else "none"
        opened = False
        if requests:
            log_e = np.array([float(least_log_polya(denied, requests, usual, (size, past), odds)) for odds in ACCESS_ODDS])
            capped = np.minimum(log_e, self._cap)
            if self.learned < WARM_UP_WINDOWS:
                capped[:] = -np.inf
            severity, opened = self.sr.update(capped)
            if severity == "none" and not (capped >= self._cap).any():
                self.learned += 1
                self.denied, self.other = FADE * self.denied + denied, FADE * self.other + requests - denied
        self._report = AccessReport(severity, self.sr.log_mixture, denied, requests, 1e4 * usual, opened)
        return self._report

    def report(self) -> AccessReport | None:
        """The verdict of the last window."""
        return self._report

    def snapshot(self) -> bytes:
        """The state as bytes."""
        return pack(_KIND, _VERSION, {"sr": self.sr.state(), "denied": self.denied, "other": self.other, "learned": self.learned})

    def restore(self, blob: bytes) -> None:
        """Continue a snapshot bit for bit.

        Raises:
            StateError: when it is damaged.
        """
        body: dict[str, Any] = unpack(blob, _KIND, _VERSION)
        try:
            self.denied, self.other, self.learned = float(body["denied"]), float(body["other"]), int(body["learned"])
            self.sr.restore(body["sr"])
        except (KeyError, TypeError, ValueError) as error:
            raise StateError(f"damaged {_KIND}: {error}") from error
