"""Input anomalies: do more requests than usual come malformed, from more than a client or two?

Counted per kind, window and group of clients, compared with the model's *own history*: a service whose clients always leave one field empty
is not news, a service where they start to is. One client who starts to is that client's affair, so the loudest groups are left out.
"""

from __future__ import annotations

import math
from typing import Any

import msgspec
import numpy as np
from numpy.typing import ArrayLike, NDArray

from detectors.e_process import Severity, ShiryaevRoberts, least_log_polya, page_threshold
from detectors.groups import GROUPS, count_groups
from detectors.state import StateError, arrays_like, pack, unpack

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
    "late",
)
"""What can be wrong with an event, in the order of `QualityCounts.hits`. "late": the window of its time was closed when it came."""
GAP = "gap"
"""Events that were sent and did not arrive: the only kind that no group of clients can be asked about."""
ALL_KINDS = (*KINDS, GAP)
"""What the detector judges."""

QUALITY_ODDS = (2.0, 5.0, 20.0)
PRIOR_HITS, PRIOR_MISSES = 1.0, 10.0
MOST_ALIKE = 500.0
"""Concentration of the beta-binomial at most: the relative sd of a rate m is then sqrt((1 - m) / (501 m)), 0.3 at m = 2 %."""
PRIOR_RHO, PRIOR_WINDOWS = 1.0 / 51.0, 20.0
"""How much rates of windows differ (the correlation of two events of a window) before it was seen, and how many windows that counts for."""
FADE = 0.99
WARM_UP_WINDOWS = 12
LOUDEST = 2
"""Groups of clients left out, a kind: one client is one group, and two may be noisy in one window."""
BY_CHANCE = 3.0
"""Standard deviations (and one event) above the usual that a group may have and still counts."""
MAIN_SHARE = 0.25
"""A group with more than this share of the traffic is never left out: with few clients each is the service itself."""

MATERIAL = 0.05
"""Share of the events beyond the usual from which on a rise is worth a page; below it is a ticket, however sure."""
_HISTORY = ("hits", "misses", "squares", "alone", "pairs")
"""By kind."""
_LEAF, _KIND, _VERSION = "quality.counts", "quality.detector", 2


class QualityCounts:
    """Leaf: events received in a window by group of clients, and how many of them had each kind of fault.

    Attributes:
        received: int64, shape (16,), accepted and rejected events by group (`detectors.groups`).
        hits: int64, shape (10, 16), events per kind of `KINDS` and group; an event may have several.
    """

    def __init__(self) -> None:
        self.received = np.zeros(GROUPS, np.int64)
        self.hits = np.zeros((len(KINDS), GROUPS), np.int64)

    def see(self, clients: NDArray[np.uint64]) -> None:
        """Events of these clients came; their 64-bit hashes, shape (n,)."""
        count_groups(clients, self.received)

    def fault(self, kind: str, clients: NDArray[np.uint64]) -> None:
        """Of the events seen, some of these clients had this fault; what is none of `KINDS` is not counted."""
        if kind in KINDS:
            count_groups(clients, self.hits[KINDS.index(kind)])

    def update(self, received: ArrayLike, hits: ArrayLike) -> None:
        """Add a batch's totals.

        Raises:
            ValueError: on a negative count, wrong shapes, or more faulty events than events.
        """
        received, hits = np.asarray(received, np.int64), np.asarray(hits, np.int64)
        if received.shape != self.received.shape or hits.shape != self.hits.shape:
            raise ValueError(f"counts must have shapes {self.received.shape} and {self.hits.shape}, got {received.shape} and {hits.shape}")
        if received.min() < 0 or hits.min() < 0 or (hits > received).any():
            raise ValueError(f"counts must be between 0 and the {received.tolist()} events received, got {hits.tolist()}")
        self.received += received
        self.hits += hits

    def merge(self, other: QualityCounts) -> None:
        """Add another partition's counts of the same window."""
        self.received += other.received
        self.hits += other.hits

    def clear(self) -> None:
        """Start the next window."""
        self.received[:], self.hits[:] = 0, 0

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
            counts.update(body["received"], _with_kinds(body["hits"], len(KINDS)))
        except (KeyError, TypeError, ValueError) as error:
            raise StateError(f"damaged {_LEAF}: {error}") from error
        return counts


class QualityReport(msgspec.Struct, frozen=True):
    """The verdict on one window; rates are faulty events per 10,000 received, without the loudest groups of clients of each kind.

    Attributes:
        window: windows with events seen so far.
        received: events of this window.
        severity: "page" while an episode is open, "ticket" at A / 100.
        opened: a page episode opened with this window.
        log_evidence: ln M.
        log_page: ln A.
        rates: per kind, in this window; of gaps, per 10,000 sent.
        usual: per kind, own history before this window.
        leading: kinds with more evidence than the ticket level, strongest first; the strongest one at least when severity is not "none".
        since: window at which the strongest evidence started.
    """

    window: int
    received: int
    severity: Severity
    opened: bool
    log_evidence: float
    log_page: float
    rates: dict[str, float]
    usual: dict[str, float]
    leading: tuple[str, ...]
    since: int


class QualityDetector:
    """Shiryaev-Roberts over beta-binomial e-values, one per kind and odds in {2, 5, 20}.

    Null: the window's faulty events are beta-binomial(n, m c, (1 - m) c): m the mean rate of past windows (fading by 1 % a window; prior
    1 in 11), c = 1 / rho - 1 (500 at most) the concentration, rho the correlation of two events of a window: which clients are there
    decides what comes. Moments after the warm-up give it, rho = (sum (h - n m)^2 - sum n m (1 - m)) / sum n (n - 1) m (1 - m), fading
    alike, together with a prior of 1/51 for 20 windows. The e-value is the least of this one and that of a rate that never differed (c =
    all past events): a small rate that stands still is not what windows that differ much would have, and is no news. The log e-value of
    one window is capped at ln(A) / 2: a single burst opens no page, two or three bad windows do. The first twelve windows are history
    only, and it does not learn from windows that are a ticket or a page or reach that cap, or a sharp rise would be usual before it is
    told; `reset` accepts the present level as normal.

    However sure, a rise of less than a twentieth of the events is a ticket: who is asked at the moment decides more than that.

    Per kind, at most two groups of clients (of 16) are left out of window and history alike: those with the most faults above the usual, if
    that is more than chance explains (h - n m > 3 sqrt(n m (1 - m)) + 1) and they have at most a quarter of the traffic so far. What many
    clients send wrong is a fault of the service; it loses an eighth of its events.

    Gaps are counted by the producers' running numbers (`completeness.py`): of so many sent since the window before, so many did not arrive,
    or were dropped in the service. They have no groups, and none is left out.

    Misleads: what was wrong in the first windows is history, not news; look at the rates. One client or two with broken requests are left
    out: the client table names them. Where a client is more than a quarter of the traffic, it raises the rates like many.

    Args:
        false_pages: allowed in `windows` windows, this detector's share already taken.
        windows: T.

    Source: the Polya (beta-binomial) predictive as exact null of a rate with random effects; `e_process.least_log_polya`.

    Example:
        >>> detector, window = QualityDetector(false_pages=0.1, windows=8640), QualityCounts()
        >>> clients = np.arange(1000, dtype=np.uint64) << np.uint64(32)
        >>> window.see(clients); window.fault("missing", clients[:2])
        >>> [detector.update(window).severity for _ in range(30)][-1]
        'none'
        >>> window.see(clients); window.fault("missing", clients[:400])
        >>> [detector.update(window).severity for _ in range(3)][-1], detector.report().leading
        ('page', ('missing',))
    """

    def __init__(self, *, false_pages: float, windows: float) -> None:
        size = len(ALL_KINDS) * len(QUALITY_ODDS)
        self.sr = ShiryaevRoberts(np.full(size, -math.log(size)), page_threshold(windows, false_pages))
        self.hits, self.misses, self.squares, self.alone, self.pairs = np.zeros((5, len(ALL_KINDS)))
        self.windows = 0.0
        self.traffic = np.zeros(GROUPS)
        self.learned = 0
        self.material = False
        self._report: QualityReport | None = None

    def update(self, counts: QualityCounts, *, lost: int = 0, sent: int = 0) -> QualityReport:
        """Judge one closed, merged window; one without events changes nothing.

        Args:
            counts: of its events.
            lost: of what was sent, events that did not arrive; known since the last window.
            sent: events of which that is known.

        Raises:
            ValueError: more were lost than sent.
        """
        if not 0 <= lost <= sent:
            raise ValueError(f"{lost} of {sent} events lost")
        received = int(counts.received.sum())
        past = PRIOR_HITS + self.hits + PRIOR_MISSES + self.misses
        usual = (PRIOR_HITS + self.hits) / past
        n, hits = self._without_the_loudest(counts, usual[:-1])
        n, hits = np.append(n, float(sent)), np.append(hits, float(lost))
        size = np.minimum(past, self._concentration())
        sure: Severity | None = None
        if received:
            log_e = np.concatenate([least_log_polya(hits, n, usual, (size, past), odds) for odds in QUALITY_ODDS])
            capped = np.minimum(log_e, self.sr.log_page / 2.0)
            if self.learned < WARM_UP_WINDOWS:
                capped[:] = -np.inf  # no evidence
            else:
                capped = np.where(np.tile(n > 0, len(QUALITY_ODDS)), capped, self.sr.idle)
            sure = self.sr.update(capped)[0]
        by_kind = self._by_kind()
        severity: Severity = "none" if not self.sr.open else "page" if self.material else "ticket"
        opened = False
        if sure is not None:
            material = (hits - usual * n >= MATERIAL * np.maximum(n, 1.0)) & (by_kind >= self.sr.log_ticket)
            severity, opened = self._weighed(sure, bool(material.any()))
            if severity == "none" and not (capped >= self.sr.log_page / 2.0).any():
                self.hits, self.misses = FADE * self.hits + hits, FADE * self.misses + n - hits
                self.traffic = FADE * self.traffic + counts.received
                if self.learned >= WARM_UP_WINDOWS:  # before, the mean is the prior's, and its error would pass for windows that differ
                    variance = usual * (1.0 - usual) * n
                    self.squares, self.alone = FADE * self.squares + (hits - n * usual) ** 2, FADE * self.alone + variance
                    self.pairs, self.windows = FADE * self.pairs + variance * np.maximum(n - 1.0, 0.0), FADE * self.windows + 1.0
                self.learned += 1
        order = np.argsort(-by_kind, kind="stable")
        leading = [ALL_KINDS[k] for i, k in enumerate(order) if severity != "none" and (i == 0 or by_kind[k] >= self.sr.log_ticket)]
        self._report = QualityReport(
            window=self.sr.steps,
            received=received,
            severity=severity,
            opened=opened,
            log_evidence=self.sr.log_mixture,
            log_page=self.sr.log_page,
            rates={kind: 1e4 * float(h) / max(float(k), 1.0) for kind, h, k in zip(ALL_KINDS, hits, n, strict=True)},
            usual={kind: 1e4 * float(u) for kind, u in zip(ALL_KINDS, usual, strict=True)},
            leading=tuple(leading),
            since=int(self.sr.since[int(self.sr.log_r.argmax())]),
        )
        return self._report

    def _weighed(self, severity: Severity, material: bool) -> tuple[Severity, bool]:
        """The severity, and whether a page opens: an episode pages from its first window on that is worth it."""
        if severity != "page":
            self.material = self.material and severity != "none"
            return severity, False
        opened, self.material = material and not self.material, self.material or material
        return "page" if self.material else "ticket", opened

    def _without_the_loudest(self, counts: QualityCounts, usual: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """By `KINDS`, events received and events at fault, shape (10,), of all groups but the loudest small ones that stand out."""
        traffic = self.traffic + counts.received
        expected = usual[:, None] * counts.received
        excess = counts.hits - expected - BY_CHANCE * np.sqrt(expected * (1.0 - usual[:, None])) - 1.0
        excess[:, traffic > MAIN_SHARE * traffic.sum()] = 0.0
        loudest = np.argsort(-excess, axis=1, kind="stable")[:, :LOUDEST]
        kept = np.ones(excess.shape, np.bool_)
        np.put_along_axis(kept, loudest, np.take_along_axis(excess, loudest, axis=1) <= 0.0, axis=1)
        return (kept * counts.received).sum(axis=1, dtype=np.float64), (kept * counts.hits).sum(axis=1, dtype=np.float64)

    def _concentration(self) -> NDArray[np.float64]:
        """Of the rate of each kind between windows, shape (11,)."""
        rho = np.maximum(self.squares - self.alone, 0.0) / np.maximum(self.pairs, 1e-9)
        rho = (self.windows * np.minimum(rho, 1.0) + PRIOR_WINDOWS * PRIOR_RHO) / (self.windows + PRIOR_WINDOWS)
        return np.minimum(1.0 / rho - 1.0, MOST_ALIKE)

    def _by_kind(self) -> NDArray[np.float64]:
        """Natural logarithm of the mean over odds, shape (11,)."""
        return np.asarray(np.logaddexp.reduce(self.sr.log_r.reshape(len(QUALITY_ODDS), -1), axis=0) - math.log(len(QUALITY_ODDS)))

    def report(self) -> QualityReport | None:
        """The verdict of the last window."""
        return self._report

    def reset(self) -> None:
        """Forget evidence and history: the present level becomes normal."""
        self.sr.reset()
        self.traffic[:] = 0.0
        for name in _HISTORY:
            getattr(self, name)[:] = 0.0
        self.windows, self.learned, self.material = 0.0, 0, False

    def snapshot(self) -> bytes:
        """The state as bytes."""
        history = {name: getattr(self, name) for name in ("traffic", *_HISTORY)}
        episode = {"windows": self.windows, "learned": self.learned, "material": self.material}
        return pack(_KIND, _VERSION, {"sr": self.sr.state(), **episode, **history})

    def restore(self, blob: bytes) -> None:
        """Continue a snapshot bit for bit.

        Raises:
            StateError: when it is damaged.
        """
        body: dict[str, Any] = unpack(blob, _KIND, _VERSION)
        try:
            body |= {name: _with_kinds(body[name], len(ALL_KINDS)) for name in _HISTORY}
            history = arrays_like(self, ("traffic", *_HISTORY), body)
            windows, learned, material = float(body["windows"]), int(body["learned"]), bool(body["material"])
            self.sr.restore(_with_components(body["sr"]))
        except (KeyError, TypeError, ValueError) as error:
            raise StateError(f"damaged {_KIND}: {error}") from error
        for name, values in history.items():
            setattr(self, name, values)
        self.windows, self.learned, self.material, self._report = windows, learned, material, None


def _with_kinds(counts: NDArray[Any], kinds: int, fill: float = 0.0) -> NDArray[Any]:
    """With rows for kinds that there were not when it was written."""
    return np.concatenate([counts, np.full((max(kinds - len(counts), 0), *counts.shape[1:]), fill, counts.dtype)])


def _with_components(state: dict[str, Any]) -> dict[str, Any]:
    """The state of a mixture, components of kinds that it had not without evidence."""
    out = dict(state)
    for name, fill in (("log_r", -np.inf), ("cusum", 0.0), ("since", state["steps"])):
        by_odds = np.asarray(state[name]).reshape(len(QUALITY_ODDS), -1).T
        out[name] = _with_kinds(by_odds, len(ALL_KINDS), fill).T.ravel()
    return out
