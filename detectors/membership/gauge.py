"""How far confidence alone gives training rows away: the LOSS attack (Yeom et al. 2018) measured on members and non-members.

The gauge is a floor. Attacks with shadow models find 50 to 80 times more members at low false-positive rates (CIFAR-10: 4.64 % against
0.06 % true positives at 0.1 % false positives, orientino/lira-pytorch), so no number here is "the risk".
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaincinv

from detectors.state import StateError, pack, unpack

_KIND = "membership.gauge"
_VERSION = 1
_BINS = 64
_P_MIN = 1e-6
_S_MAX = math.log((1 - _P_MIN) / _P_MIN)
_MIN_EACH = 50
_CONFIDENCE = 0.95
LOWER_BOUND = "A lower bound: attacks with shadow models found 50 to 80 times more members at low false-positive rates on CIFAR-10."


@dataclass(frozen=True)
class Share:
    """A binomial share with its Clopper-Pearson interval (95 %)."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class AtRate:
    """True-positive rate of the LOSS attack at a false-positive rate: None with the reason when it can't be measured.

    Its interval holds two errors together, each at 97.5 %: that of the threshold (which bins could be the first one with so few
    non-members above) and that of the members' share above it.
    """

    false_positive_rate: float
    true_positive_rate: Share | None
    reason: str


@dataclass(frozen=True)
class GaugeReport:
    """What `MembershipGauge.report` measured; None where `reason` says why not.

    Attributes:
        members: rows counted on the training side.
        non_members: rows counted on the held-out side.
        ignored: rows whose confidence or class could not be used.
        balanced_accuracy: of the LOSS attack, its threshold chosen on one half of the rows and measured on the other; 0.5 is chance.
        tnr: share of non-members with a higher loss than 99 % of the members have.
        at_1pct: true-positive rate at 1 % false positives.
        at_01pct: true-positive rate at 0.1 % false positives.
        generalisation_gap: accuracy on members less accuracy on non-members; .5 + gap/2 is what the label-only gap attack gets.
        reason: why nothing but the counts is measured, or empty.
    """

    members: int
    non_members: int
    ignored: int
    balanced_accuracy: Share | None
    tnr: Share | None
    at_1pct: AtRate
    at_01pct: AtRate
    generalisation_gap: float | None
    reason: str

    def lines(self) -> list[str]:
        """The report in sentences for a dashboard or a page; it never claims that a model is safe."""
        if self.reason:
            return [f"Membership leakage is not measurable: {self.reason}."]
        lines = [LOWER_BOUND]
        if self.balanced_accuracy and self.tnr:
            b, t = self.balanced_accuracy, self.tnr
            lines.append(
                f"Confidence alone tells members from others: balanced accuracy {b.value:.3f} ({b.low:.3f} to {b.high:.3f}; chance .500), "
                f"an advantage of {2 * b.value - 1:+.3f} ({2 * b.low - 1:+.3f} to {2 * b.high - 1:+.3f})."
            )
            lines.append(f"{t.value:.1%} of non-members ({t.low:.1%} to {t.high:.1%}) have a loss that 99 % of the members stay below.")
        for at in (self.at_1pct, self.at_01pct):
            share = at.true_positive_rate
            lines.append(
                f"Members found at {at.false_positive_rate:.1%} false positives: "
                + (f"{share.value:.2%} ({share.low:.2%} to {share.high:.2%})." if share else f"not measurable; {at.reason}.")
            )
        if self.generalisation_gap is not None:
            lines.append(f"Accuracy on members is {self.generalisation_gap:+.3f} above that on others.")
        return lines

    def text(self) -> str:
        """`lines`, as one paragraph."""
        return " ".join(self.lines())


def clopper_pearson(k: int, n: int, confidence: float = _CONFIDENCE) -> tuple[float, float]:
    """The exact interval of a binomial share: k successes in n trials.

    Example:
        >>> low, high = clopper_pearson(0, 100)
        >>> round(low, 3), round(high, 3)
        (0.0, 0.036)
    """
    if not 0 <= k <= n or n < 1:
        raise ValueError(f"{k} of {n} is no share; 0 <= k <= n and n >= 1")
    tail = (1 - confidence) / 2
    low = 0.0 if k == 0 else float(betaincinv(k, n - k + 1, tail))
    high = 1.0 if k == n else float(betaincinv(k + 1, n - k, 1 - tail))
    return low, high


def _share(k: int, n: int, confidence: float = _CONFIDENCE) -> Share:
    return Share(k / n, *clopper_pearson(k, n, confidence))


class MembershipGauge:
    """Mergeable histograms of the served confidence in the true class, of members and of non-members.

    s = ln(p_y / (1 - p_y)), p_y clipped to [1e-6, 1 - 1e-6], in 64 equal bins; rows of each side go to two halves in turn, so that the
    attack's threshold is never judged by the rows that chose it. 2 KB; adding two gauges adds their counts.

    It misleads when the non-members come from elsewhere than the members (later, another region): drift then looks like membership.

    Example:
        >>> import numpy as np
        >>> rng = np.random.default_rng(0)
        >>> p = np.r_[rng.beta(9, 1, 4000), rng.beta(2, 1, 4000)]
        >>> report = MembershipGauge.fit(np.c_[1 - p, p], np.ones(8000, int), np.arange(8000) < 4000).report()
        >>> 0.7 < report.balanced_accuracy.value < 0.8, 0 < report.at_1pct.true_positive_rate.low < report.at_1pct.true_positive_rate.high
        (True, True)
    """

    def __init__(self) -> None:
        self.counts: NDArray[np.int64] = np.zeros((2, 2, _BINS), np.int64)
        self.correct: NDArray[np.int64] = np.zeros(2, np.int64)
        self.ignored = 0

    @classmethod
    def fit(cls, scores: NDArray[Any], y: NDArray[Any], member: NDArray[Any]) -> MembershipGauge:
        """The gauge of one set of rows; see `add`."""
        gauge = cls()
        gauge.add(scores, y, member)
        return gauge

    def add(self, scores: NDArray[Any], y: NDArray[Any], member: NDArray[Any]) -> None:
        """Count rows, such as the reference, or delayed labels (all of them non-members).

        Args:
            scores: (n, classes) probabilities that the service answered.
            y: (n,) true class, 0 <= y < classes; others are counted as ignored, and so is a p_y outside [0, 1] or NaN.
            member: (n,) whether the row was trained on.

        Raises:
            ValueError: when the shapes do not fit.
        """
        if scores.ndim != 2 or y.shape != (len(scores),) or member.shape != (len(scores),):
            raise ValueError(f"scores {scores.shape}, y {y.shape} and member {member.shape} must be (n, classes), (n,) and (n,)")
        member = member.astype(bool)
        known = (y >= 0) & (y < scores.shape[1])
        p = np.full(len(y), np.nan)
        p[known] = scores[np.flatnonzero(known), y[known].astype(np.int64)]
        good = (p >= 0) & (p <= 1)
        self.ignored += int(np.sum(~good))
        p, member, right = np.clip(p[good], _P_MIN, 1 - _P_MIN), member[good], scores[good].argmax(1) == y[good]
        cell = np.minimum((np.log(p / (1 - p)) + _S_MAX) / (2 * _S_MAX) * _BINS, _BINS - 1).astype(np.int64)
        for side in (0, 1):
            mine = member == bool(side)
            half = (np.arange(int(mine.sum())) + int(self.counts[side].sum())) % 2
            np.add.at(self.counts[side], (half, cell[mine]), 1)
            self.correct[side] += int(right[mine].sum())

    def merge(self, other: MembershipGauge) -> None:
        """Add the counts of ``other``, such as of another partition."""
        self.counts += other.counts
        self.correct += other.correct
        self.ignored += other.ignored

    def report(self) -> GaugeReport:
        """What the counts say, with intervals, or why they say nothing."""
        others, members = (int(n) for n in self.counts.sum((1, 2)))
        sides = ((members, "members"), (others, "non-members"))
        lacking = [f"{n} {what}, at least {_MIN_EACH} are needed" for n, what in sides if n < _MIN_EACH]
        at = [self._at_rate(f, members, others) for f in (0.01, 0.001)]
        if lacking:
            return GaugeReport(members, others, self.ignored, None, None, at[0], at[1], None, "; ".join(lacking))
        gap = float(self.correct[1] / members - self.correct[0] / others)
        return GaugeReport(members, others, self.ignored, self._split_attack(), self._tnr(members, others), at[0], at[1], gap, "")

    def _split_attack(self) -> Share:
        """Mean of true-positive and true-negative rate, each half judged with the threshold that the other half likes best."""
        found = rejected = members = others = 0
        for half in (0, 1):
            other, member = self.counts[0, half], self.counts[1, half]
            # A row is called a member from the bin `start` up; start == bins calls nobody one.
            up = np.r_[np.cumsum(member[::-1])[::-1], 0] / max(1, member.sum())
            down = np.r_[0, np.cumsum(other)] / max(1, other.sum())
            start = int(np.argmax(up + down))
            judged = self.counts[:, 1 - half]
            found += int(judged[1, start:].sum())
            members += int(judged[1].sum())
            rejected += int(judged[0, :start].sum())
            others += int(judged[0].sum())
        # Both intervals at 97.5 %, so that their half-sum holds at 95 %.
        tpr, tnr = _share(found, members, (1 + _CONFIDENCE) / 2), _share(rejected, others, (1 + _CONFIDENCE) / 2)
        return Share((tpr.value + tnr.value) / 2, (tpr.low + tnr.low) / 2, (tpr.high + tnr.high) / 2)

    def _tnr(self, members: int, others: int) -> Share:
        other, member = self.counts.sum(1)
        kept = np.cumsum(member[::-1])[::-1]
        start = int(np.flatnonzero(kept >= 0.99 * members).max())
        return _share(int(other[:start].sum()), others)

    def _at_rate(self, rate: float, members: int, others: int) -> AtRate:
        needed = math.ceil(1 / rate)
        if others < needed or members < _MIN_EACH:
            lacking = f"{needed} non-members and there are {others}" if others < needed else f"{_MIN_EACH} members and there are {members}"
            return AtRate(rate, None, f"{rate:.1%} needs {lacking}")
        other, member = self.counts.sum(1)
        above = np.r_[np.cumsum(other[::-1])[::-1], 0]
        found = np.r_[np.cumsum(member[::-1])[::-1], 0]
        start = int(np.flatnonzero(above <= rate * others).min())
        if start == _BINS:
            return AtRate(rate, None, f"{above[-2] / others:.1%} of the non-members have the highest confidence there is")
        halved = (1 + _CONFIDENCE) / 2
        bounds = np.array([clopper_pearson(int(k), others, halved) for k in above])
        # The last entry calls nobody a member, so it always serves.
        first, last = (int(np.flatnonzero(np.r_[bounds[:-1, side] <= rate, True]).min()) for side in (0, 1))
        low, high = clopper_pearson(int(found[last]), members, halved)[0], clopper_pearson(int(found[first]), members, halved)[1]
        return AtRate(rate, Share(int(found[start]) / members, low, high), "")

    def to_bytes(self) -> bytes:
        """The gauge as bytes, without any row."""
        return pack(_KIND, _VERSION, {"counts": self.counts, "correct": self.correct, "ignored": self.ignored})

    @classmethod
    def from_bytes(cls, blob: bytes) -> MembershipGauge:
        """The gauge of `to_bytes`.

        Raises:
            StateError: when the bytes are not a gauge.
        """
        body = unpack(blob, _KIND, _VERSION)
        gauge = cls()
        ignored = body.get("ignored")
        for name, mine in (("counts", gauge.counts), ("correct", gauge.correct)):
            array = body.get(name)
            if not (isinstance(array, np.ndarray) and array.shape == mine.shape and array.dtype == np.int64 and array.min() >= 0):
                raise StateError(f"a membership gauge has no good {name}")
            mine[:] = array
        if not isinstance(ignored, int) or ignored < 0:
            raise StateError("a membership gauge has no good count of ignored rows")
        gauge.ignored = ignored
        return gauge
