"""Input anomalies: do more requests than usual come malformed?

Counted per kind and window, compared with the model's *own history*: a service whose clients always leave one field empty is not news, a
service where they start to is.
"""

from __future__ import annotations

import math
from typing import Any

import msgspec
import numpy as np
from numpy.typing import ArrayLike, NDArray

from detectors.e_process import Severity, ShiryaevRoberts, log_polya, page_threshold
from detectors.state import StateError, pack, unpack

KINDS = (
    "missing",
    "wrong_type",
    "out_of_bounds",
    "unseen_category",
    "wrong_width",
    "non_finite",
    "unknown_feature",
    "clock",
    "duplicate",
)
"""What can be wrong with an event, in the order of `QualityCounts.hits`."""

QUALITY_ODDS = (2.0, 5.0, 20.0)
PRIOR_HITS, PRIOR_MISSES = 0.5, 200.0
CONCENTRATION = 500.0
FADE = 0.99
WARM_UP_WINDOWS = 12

_LEAF, _KIND, _VERSION = "quality.counts", "quality.detector", 1


class QualityCounts:
    """Leaf: events received in a window, and how many of them had each kind of fault.

    Attributes:
        received: accepted and rejected events.
        hits: int64, shape (9,), events per kind of `KINDS`; an event may have several.
    """

    def __init__(self) -> None:
        self.received = 0
        self.hits = np.zeros(len(KINDS), np.int64)

    def update(self, received: int, hits: ArrayLike) -> None:
        """Add a batch's totals.

        Raises:
            ValueError: on a negative count, a wrong number of kinds, or more faulty events than events.
        """
        hits = np.asarray(hits, np.int64)
        if hits.shape != (len(KINDS),):
            raise ValueError(f"hits must have one count per kind, shape ({len(KINDS)},), got {hits.shape}")
        if received < 0 or hits.min() < 0 or hits.max() > received:
            raise ValueError(f"counts must be between 0 and the {received} events received, got {hits.tolist()}")
        self.received += received
        self.hits += hits

    def merge(self, other: QualityCounts) -> None:
        """Add another partition's counts of the same window."""
        self.received += other.received
        self.hits += other.hits

    def clear(self) -> None:
        """Start the next window."""
        self.received = 0
        self.hits[:] = 0

    def to_bytes(self) -> bytes:
        """The counts as bytes."""
        return pack(_LEAF, _VERSION, {"received": self.received, "hits": self.hits})

    @classmethod
    def from_bytes(cls, blob: bytes) -> QualityCounts:
        """Rebuild.

        Raises:
            StateError: when the bytes are no such counts.
        """
        body, counts = unpack(blob, _LEAF, _VERSION), cls()
        try:
            counts.update(int(body["received"]), body["hits"])
        except (KeyError, TypeError, ValueError) as error:
            raise StateError(f"damaged {_LEAF}: {error}") from error
        return counts


class QualityReport(msgspec.Struct, frozen=True):
    """The verdict on one window; rates are faulty events per 10,000 received.

    Attributes:
        window: windows with events seen so far.
        received: events of this window.
        severity: "page" while an episode is open, "ticket" at A / 100.
        opened: a page episode opened with this window.
        log_evidence: ln M.
        rates: per kind, in this window.
        usual: per kind, own history before this window.
        leading: kinds with more evidence than the ticket level, strongest first; the strongest one at least when severity is not "none".
        since: window at which the strongest evidence started.
    """

    window: int
    received: int
    severity: Severity
    opened: bool
    log_evidence: float
    rates: dict[str, float]
    usual: dict[str, float]
    leading: tuple[str, ...]
    since: int


class QualityDetector:
    """Shiryaev-Roberts over beta-binomial e-values, one per kind and odds in {2, 5, 20}.

    Null: the window's faulty events are beta-binomial(n, m c, (1 - m) c): m the mean rate of past windows (fading by 1 % a window; prior
    0.5 in 200), c = 500 the concentration, so that the rate may wander with a relative sd of sqrt((1 - m) / (501 m)), 0.3 at m = 2 %. The
    log e-value of one window is capped at ln(A) / 2: a single burst opens no page, two bad windows do. The first twelve windows are history
    only, and it does not learn from windows that are a ticket or a page; `reset` accepts the present level as normal.

    Misleads: what was wrong in the first windows is history, not news; look at the rates. One client with broken requests raises the
    rates like many: the page names kinds, the client table names clients.

    Args:
        false_pages: allowed in `windows` windows, this detector's share already taken.
        windows: T.

    Source: the Polya (beta-binomial) predictive as exact null of a rate with random effects; `e_process.log_polya`.

    Example:
        >>> detector, window = QualityDetector(false_pages=0.1, windows=8640), QualityCounts()
        >>> window.update(1000, [2, 0, 0, 0, 0, 0, 0, 0, 0])
        >>> [detector.update(window).severity for _ in range(30)][-1]
        'none'
        >>> window.update(1000, [400, 0, 0, 0, 0, 0, 0, 0, 0])
        >>> [detector.update(window).severity for _ in range(3)][-1], detector.report().leading
        ('page', ('missing',))
    """

    def __init__(self, *, false_pages: float, windows: float) -> None:
        size = len(KINDS) * len(QUALITY_ODDS)
        self.sr = ShiryaevRoberts(np.full(size, -math.log(size)), page_threshold(windows, false_pages))
        self.hits, self.misses = np.zeros(len(KINDS)), np.zeros(len(KINDS))
        self.learned = 0
        self._report: QualityReport | None = None

    def update(self, counts: QualityCounts) -> QualityReport:
        """Judge one closed, merged window; one without events changes nothing."""
        n, hits = counts.received, counts.hits.astype(np.float64)
        past = PRIOR_HITS + self.hits + PRIOR_MISSES + self.misses
        usual = (PRIOR_HITS + self.hits) / past
        size = np.minimum(past, CONCENTRATION)
        severity: Severity = "page" if self.sr.open else "none"
        opened = False
        if n:
            log_e = np.concatenate([log_polya(hits, n, usual * size, (1.0 - usual) * size, odds) for odds in QUALITY_ODDS])
            capped = np.minimum(log_e, self.sr.log_page / 2.0)
            if self.learned < WARM_UP_WINDOWS:
                capped[:] = -np.inf  # no evidence
            severity, opened = self.sr.update(capped)
            if severity == "none":
                self.learned += 1
                self.hits, self.misses = FADE * self.hits + hits, FADE * self.misses + n - hits
        by_kind = self._by_kind()
        order = np.argsort(-by_kind, kind="stable")
        leading = [KINDS[k] for i, k in enumerate(order) if severity != "none" and (i == 0 or by_kind[k] >= self.sr.log_ticket)]
        self._report = QualityReport(
            window=self.sr.steps,
            received=n,
            severity=severity,
            opened=opened,
            log_evidence=self.sr.log_mixture,
            rates={kind: 1e4 * float(h) / max(n, 1) for kind, h in zip(KINDS, hits, strict=True)},
            usual={kind: 1e4 * float(u) for kind, u in zip(KINDS, usual, strict=True)},
            leading=tuple(leading),
            since=int(self.sr.since[int(self.sr.log_r.argmax())]),
        )
        return self._report

    def _by_kind(self) -> NDArray[np.float64]:
        """Natural logarithm of the mean over odds, shape (9,)."""
        return np.asarray(np.logaddexp.reduce(self.sr.log_r.reshape(len(QUALITY_ODDS), -1), axis=0) - math.log(len(QUALITY_ODDS)))

    def report(self) -> QualityReport | None:
        """The verdict of the last window."""
        return self._report

    def reset(self) -> None:
        """Forget evidence and history: the present level becomes normal."""
        self.sr.reset()
        self.hits[:], self.misses[:], self.learned = 0.0, 0.0, 0

    def snapshot(self) -> bytes:
        """The state as bytes."""
        return pack(_KIND, _VERSION, {"sr": self.sr.state(), "hits": self.hits, "misses": self.misses, "learned": self.learned})

    def restore(self, blob: bytes) -> None:
        """Continue a snapshot bit for bit.

        Raises:
            StateError: when it is damaged.
        """
        body: dict[str, Any] = unpack(blob, _KIND, _VERSION)
        try:
            hits, misses = np.asarray(body["hits"], np.float64), np.asarray(body["misses"], np.float64)
            if hits.shape != self.hits.shape or misses.shape != hits.shape:
                raise ValueError(f"history of {hits.size} kinds, not {len(KINDS)}")
            learned = int(body["learned"])
            self.sr.restore(body["sr"])
        except (KeyError, TypeError, ValueError) as error:
            raise StateError(f"damaged {_KIND}: {error}") from error
        self.hits, self.misses, self.learned, self._report = hits, misses, learned, None
