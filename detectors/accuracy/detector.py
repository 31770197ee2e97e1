"""Is the model wrong more often than it was, and does its confidence mean what it meant? From labels, in the order of their arrival."""

from __future__ import annotations

import math
from typing import Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from detectors.accuracy.reference import BINS, AccuracyReference
from detectors.e_process import Severity, ShiryaevRoberts, log_bernoulli, page_threshold, shift_odds
from detectors.state import StateError, pack, unpack

DELAYS = ("1m", "1h", "1d", "1w", "more")
"""How long after its event a label came, at most. A late label may be of another kind than an early one: each group has its evidence."""
DELAY_S = (60.0, 3_600.0, 86_400.0, 604_800.0)
ERROR_ODDS = (1.2, 1.6, 2.5)
CONCEPT_ODDS = (1.2, 1.6, 2.5, 1 / 1.2, 1 / 1.6, 1 / 2.5)
_EDGE = 1e-6
_Z = 3.3
"""Standard errors of the reference that the promise of a mix of confidences may be off: 1 in 2,000 for one mix, so some ten mixes are held
together by what the reference is allowed once (0.5 %)."""
_PRIOR_WINDOWS, _FADE, _MOST = 8.0, 0.99, 100.0
_LEAF, _KIND, _VERSION = "accuracy.counts", "accuracy.detector", 1


class AccuracyCounts:
    """Leaf: labels that came in one window, and what they said.

    Attributes:
        n: int64, shape (5,), labels by `DELAYS`.
        errors: those that said the answer was wrong.
        bin_n: int64, shape (32,), labels by the answer's confidence.
        bin_errors: those that said it was wrong.
    """

    def __init__(self) -> None:
        self.n, self.errors = np.zeros(len(DELAYS), np.int64), np.zeros(len(DELAYS), np.int64)
        self.bin_n, self.bin_errors = np.zeros(BINS, np.int64), np.zeros(BINS, np.int64)

    def update(self, delay: NDArray[np.int64], wrong: NDArray[np.bool_], bins: NDArray[np.int64]) -> None:
        """Add labels.

        Args:
            delay: (n,) index into `DELAYS`.
            wrong: (n,).
            bins: (n,) of the confidence, -1 for none.
        """
        self.n += np.bincount(delay, minlength=len(DELAYS))
        self.errors += np.bincount(delay[wrong], minlength=len(DELAYS))
        self.bin_n += np.bincount(bins[bins >= 0], minlength=BINS)
        self.bin_errors += np.bincount(bins[wrong & (bins >= 0)], minlength=BINS)

    def merge(self, other: AccuracyCounts) -> None:
        """Add another's labels."""
        for name in ("n", "errors", "bin_n", "bin_errors"):
            getattr(self, name).__iadd__(getattr(other, name))

    def clear(self) -> None:
        """Start the next window."""
        for name in ("n", "errors", "bin_n", "bin_errors"):
            getattr(self, name)[:] = 0

    def to_bytes(self) -> bytes:
        """The counts as bytes."""
        return pack(_LEAF, _VERSION, {"n": self.n, "errors": self.errors, "bin_n": self.bin_n, "bin_errors": self.bin_errors})

    @classmethod
    def from_bytes(cls, blob: bytes) -> AccuracyCounts:
        """Rebuild.

        Raises:
            StateError: when the bytes are no such counts.
        """
        body, counts = unpack(blob, _LEAF, _VERSION), cls()
        for name in ("n", "errors", "bin_n", "bin_errors"):
            mine, given = getattr(counts, name), body.get(name)
            if not (isinstance(given, np.ndarray) and given.shape == mine.shape and given.dtype == np.int64 and given.min() >= 0):
                raise StateError(f"damaged {_LEAF}: no good {name}")
            mine[:] = given
        if (counts.errors > counts.n).any() or (counts.bin_errors > counts.bin_n).any():
            raise StateError(f"damaged {_LEAF}: more errors than labels")
        return counts


class AccuracyReport(msgspec.Struct, frozen=True):
    """The verdict on the labels of one window.

    Attributes:
        window: windows with labels seen so far.
        labels: in this window.
        severity: "page" while an episode is open, "ticket" at A / 100.
        opened: a page episode opened with this window.
        log_evidence: ln M.
        delay: which labels say so most.
        rate: error rate of this window's labels.
        usual: error rate of the reference.
        highest: error rate up to which nothing is news: the usual one, its sampling error and the materiality.
        since: window at which the strongest evidence started.
        concept: "ticket" when labels disagree with what the confidence promised, by more than chance and the reference's error.
        concept_log_evidence: ln M of that.
        concept_since: window at which its strongest evidence started.
        expected: error rate that the confidence of this window's labelled answers promised; None where they have none.
        direction: "worse" or "better" than promised.
    """

    window: int
    labels: int
    severity: Severity
    opened: bool
    log_evidence: float
    delay: str
    rate: float
    usual: float
    highest: float
    since: int
    concept: Severity
    concept_log_evidence: float
    concept_since: int
    expected: float | None
    direction: Literal["worse", "better"]


class AccuracyDetector:
    """Shiryaev-Roberts over Bernoulli e-values of errors: one for each delay and odds in {1.2, 1.6, 2.5}, against the reference's rate.

    Null: each label says "wrong" with a probability of at most u = the reference's error rate, bounded from above (Clopper-Pearson, 99.5 %)
    + materiality. ln e = S ln(q / u) + (n - S) ln((1 - q) / (1 - u)), q the odds of u times 1.2, 1.6, 2.5. Labels are taken in the order of
    their arrival, whenever their events were. One window's e is at most A / 2: one burst of labels is a ticket, two are a page.

    Dependence: labels come in bunches (one customer, one row that many asked). phi = mean of z^2 over pairs of windows that follow each
    other, z^2 = (p1 - p2)^2 / (p (1 - p) (1/n1 + 1/n2)), fading by 1 % a window, with eight windows' worth of 1 before the first, from 1 to
    100; ln e is divided by the phi of the windows before. Labels that each come ten times have phi = 10.

    Concept shift: do answers of this confidence err as often as they did? With odds o in {1.2, 1.6, 2.5} and their inverses,
    ln e = S ln o - sum n_b (ln(1 + (o - 1) e_b) + d |c_b|) - z sqrt(sum (n_b c_b)^2 var e_b), c_b = (o - 1) / (1 + (o - 1) e_b): e_b and
    its variance are `AccuracyReference`'s, d the materiality, z = 3.3. At most 1 in expectation when the sum of promises is right within
    z standard errors and d a label; no bin has to be. It says that P(wrong | confidence) changed, which no view of inputs and answers can
    see. It never pages.

    Misleads: when the labels that come are no fair sample (only what was appealed, only the frauds that were reported). Then the rate by
    delay is another than the reference's from the first day on; the page says which delay it is. A client whose one row is asked and
    labelled a thousand times counts a thousand times.

    Args:
        reference: whose error rate.
        false_pages: allowed in `windows` windows, this detector's share already taken.
        windows: T.
        materiality: how much more often it may be wrong without being news, 0.005 is half a percentage point.
        may_page: False holds it at tickets.

    Example:
        >>> reference = AccuracyReference(np.r_[np.zeros(31, int), 10_000], np.r_[np.zeros(31, int), 1_000])
        >>> detector = AccuracyDetector(reference, false_pages=0.1, windows=8640, materiality=0.005)
        >>> window = AccuracyCounts()
        >>> window.n[0], window.errors[0] = 100, 10
        >>> [detector.update(window).severity for _ in range(30)][-1]
        'none'
        >>> window.errors[0] = 25
        >>> [detector.update(window).severity for _ in range(6)][-1]
        'page'
    """

    def __init__(
        self, reference: AccuracyReference, *, false_pages: float, windows: float, materiality: float = 0.005, may_page: bool = True
    ) -> None:
        if not 0 <= materiality < 0.5:
            raise ValueError(f"materiality must be at least 0 and below 0.5, got {materiality}")
        self.reference, self.may_page = reference, may_page
        threshold = page_threshold(windows, false_pages)
        odds = np.array(ERROR_ODDS)
        self.highest = min(max(reference.highest_rate + materiality, _EDGE), 1 - _EDGE)
        self._q = shift_odds(self.highest, odds)
        size = len(DELAYS) * len(odds)
        self.sr = ShiryaevRoberts(np.full(size, -math.log(size)), threshold)
        both = np.array(CONCEPT_ODDS)
        tilt = (both[:, None] - 1) / (1 + (both[:, None] - 1) * reference.by_bin)
        self._odds = np.log(both)
        self._promised = np.log1p((both[:, None] - 1) * reference.by_bin) + materiality * np.abs(tilt)
        self._noise = tilt**2 * reference.variance
        self.concept = ShiryaevRoberts(np.full(len(both), -math.log(len(both))), threshold)
        self._squares = self._pairs = 0.0
        self._before = (0, 0)
        self._report: AccuracyReport | None = None

    def update(self, counts: AccuracyCounts) -> AccuracyReport:
        """Judge the labels of one window; one without labels changes nothing."""
        n, errors = int(counts.n.sum()), int(counts.errors.sum())
        severity: Severity = "page" if self.sr.open else "none"
        concept: Severity = "none"
        opened = False
        if n:
            log_e = log_bernoulli(counts.errors[:, None], counts.n[:, None], self.highest, self._q[None]).ravel()
            phi = self.dispersion
            severity, opened = self.sr.update(np.minimum(log_e / phi, self.sr.log_page - math.log(2.0)), may_page=self.may_page)
            slack = _Z * np.sqrt(self._noise @ counts.bin_n.astype(np.float64) ** 2)
            log_c = int(counts.bin_errors.sum()) * self._odds - self._promised @ counts.bin_n - slack
            concept, _ = self.concept.update(np.minimum(log_c / phi, self.concept.log_page - math.log(2.0)), may_page=False)
            self._learn(n, errors)
        strongest, leading = int(self.sr.log_r.argmax()), int(self.concept.log_r.argmax())
        estimate = self.reference.estimate(counts.bin_n)
        self._report = AccuracyReport(
            window=self.sr.steps,
            labels=n,
            severity=severity,
            opened=opened,
            log_evidence=self.sr.log_mixture,
            delay=DELAYS[strongest // len(ERROR_ODDS)],
            rate=errors / n if n else 0.0,
            usual=self.reference.rate,
            highest=self.highest,
            since=int(self.sr.since[strongest]),
            concept=concept,
            concept_log_evidence=self.concept.log_mixture,
            concept_since=int(self.concept.since[leading]),
            expected=None if estimate is None else 1.0 - estimate.accuracy,
            direction="worse" if CONCEPT_ODDS[leading] > 1 else "better",
        )
        return self._report

    @property
    def dispersion(self) -> float:
        """phi, of the windows so far."""
        return min(max((_PRIOR_WINDOWS + self._squares) / (_PRIOR_WINDOWS + self._pairs), 1.0), _MOST)

    def _learn(self, n: int, errors: int) -> None:
        (n1, errors1), self._before = self._before, (n, errors)
        if not n1:
            return
        p = (errors + errors1 + 2 * self.reference.rate + _EDGE) / (n + n1 + 2 + 2 * _EDGE)
        square = (errors / n - errors1 / n1) ** 2 / (p * (1 - p) * (1 / n + 1 / n1))
        self._squares, self._pairs = _FADE * self._squares + square, _FADE * self._pairs + 1

    def report(self) -> AccuracyReport | None:
        """The verdict of the last window."""
        return self._report

    def reset(self) -> None:
        """Forget the evidence, and how labels are bunched."""
        self._squares = self._pairs = 0.0
        self._before = (0, 0)
        self.sr.reset()
        self.concept.reset()

    def snapshot(self) -> bytes:
        """The state as bytes."""
        bunched = {"squares": self._squares, "pairs": self._pairs, "before": list(self._before)}
        return pack(_KIND, _VERSION, {"sr": self.sr.state(), "concept": self.concept.state()} | bunched)

    def restore(self, blob: bytes) -> None:
        """Continue a snapshot bit for bit.

        Raises:
            StateError: when it is damaged.
        """
        body: dict[str, Any] = unpack(blob, _KIND, _VERSION)
        try:
            self.sr.restore(body["sr"])
            self.concept.restore(body["concept"])
            self._squares, self._pairs = float(body["squares"]), float(body["pairs"])
            n, errors = body["before"]
            self._before = int(n), int(errors)
        except (KeyError, TypeError, ValueError) as error:
            raise StateError(f"damaged {_KIND}: {error}") from error
        self._report = None
