"""One model version's labels at its owner: what they say about its answers, by delay and window, becomes rows, evidence and alerts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from detectors.accuracy import BINS, DELAYS, AccuracyCounts, AccuracyDetector, AccuracyReference, AccuracyReport, began, bins_of
from detectors.accuracy.detector import DELAY_S
from detectors.e_process import Severity
from schemas.outcomes import P_NONE, P_ONE, Columns, values_of
from schemas.rows import AccuracyEstimateRow, AccuracyWindowRow, Row
from streams import pages
from streams.alerts import AlertBook
from streams.feedback import Feedback
from streams.labels import Joined
from streams.leakage import Leakage
from streams.measures import MeasureCounts
from streams.outcome_store import Classes, OutcomeStore
from streams.owner import NS
from streams.references import Loaded
from streams.settings import Settings, windows_in_30d

OWN_LABELS = 1_000
"""The first labels of a model whose reference has no true classes: what comes later is compared with them, and opens tickets only."""
_MAX_CELLS = 20_000
_MAX_CODES = 200_000
_MAX_HISTORY = 1_024
_MAX_RECENT = 288
_MAX_ESTIMATES = 64
_STALE_NS = 2 * 86_400 * NS
"""Without labels for so long, an alert about them is over: nobody can say that it still stands."""
_MICRO = 1e6
_MOST_OFF = 1e290
"""What an answer is off at most, so that sums stay finite."""
_Cell = tuple[int, int, int]
"""Start of the window of the events, delay of the labels, number of classes."""
_N, _ERRORS, _LOSS_N, _LOSS, _EXPECTED_N, _EXPECTED = range(6)


class _Arrived(msgspec.Struct, array_like=True):
    """Labels of one window of arrival."""

    step: int
    n: int
    errors: int
    expected_n: int
    expected: int


class ModelAccuracy:
    """Answers that wait for labels, labels that came, and the verdict.

    Labels count in two ways. By the time of their *event*, for the rows: a window's accuracy fills up as its labels come, so it is told in
    parts that add up. By the time of their *arrival*, for the evidence: that is the order in which anything could be known.

    Sums are whole numbers (of millionths), so that no order changes them.

    Args:
        model: its name.
        version: its version.
        settings: window, budget, labels.
        alerts: takes what is found.
        emit: takes rows.
        counted: is told of each window of arrival: labels, errors, and when.
        lost: is told before of their losses: `mae` or `log_loss`, and of each label; NaN without scores.

    Attributes:
        store: the answers.
    """

    def __init__(
        self,
        model: str,
        version: str,
        settings: Settings,
        alerts: AlertBook,
        emit: Callable[[Row], None],
        counted: Callable[[int, int, int], None] = lambda _n, _errors, _now_ns: None,
        lost: Callable[[str, NDArray[np.float64]], None] = lambda _name, _losses: None,
    ) -> None:
        self._key: dict[str, Any] = {"model": model, "version": version}
        self._settings, self._alerts, self._emit, self._counted, self._lost = settings, alerts, emit, counted, lost
        self._length_ns = round(settings.window.length_s * NS)
        self.store = OutcomeStore(settings.labels)
        self._leakage = Leakage(model, version, emit, settings.membership, alerts)
        self.feedback = Feedback(model, version, settings, alerts)
        self._reference: AccuracyReference | None = None
        self._detector: AccuracyDetector | None = None
        self._own = False
        self._first = AccuracyCounts()
        self._counts = AccuracyCounts()
        self._cells: dict[_Cell, NDArray[np.int64]] = {}
        self._measures = MeasureCounts()
        self._values: dict[tuple[int, int], list[int]] = {}
        """Of a regression: labels, and millionths that its answers were off."""
        self._arrived = np.zeros(6, np.int64)
        self._open_ns = self._last_ns = 0
        self._part = 0
        self._history: dict[int, list[int]] = {}
        self._recent: list[_Arrived] = []
        self._estimates: dict[int, NDArray[np.int64]] = {}
        self._told: set[int] = set()
        self._severities: tuple[Severity, Severity] = ("none", "none")

    def use(self, loaded: Loaded | None) -> None:
        """Goes over to another reference: the evidence begins anew, the answers stay."""
        self._recent, self._severities, self._first, self._own = [], ("none", "none"), AccuracyCounts(), False
        self._leakage.use(loaded)
        self.feedback.use(loaded)
        self._judge_by(None if loaded is None else loaded.accuracy)

    def _judge_by(self, reference: AccuracyReference | None) -> None:
        budget, settings = self._settings.budget, self._settings
        self._reference, self._detector = reference, None
        if reference is not None:
            self._detector = AccuracyDetector(
                reference,
                false_pages=budget.false_pages_per_30d * budget.accuracy_share,
                windows=windows_in_30d(settings.window),
                materiality=settings.labels.materiality,
                may_page=not self._own,
            )

    # -- what comes in ------------------------------------------------------------------------------------------------------------------

    def answers(self, columns: Columns, classes: Classes) -> None:
        """Takes answers of one partition."""
        self.store.add(columns, classes)
        if not classes:
            return
        bins = bins_of(confidences(columns.answer, columns.scores))
        starts = columns.at_ns // self._length_ns * self._length_ns
        for start in np.unique(starts).tolist():
            counts = self._estimates.setdefault(start, np.zeros(BINS + 1, np.int64))
            counts += np.bincount(bins[starts == start] + 1, minlength=BINS + 1)
            self._told.discard(start)
        while len(self._estimates) > _MAX_ESTIMATES:
            self._tell_estimate(min(self._estimates))
            self._told.discard(min(self._estimates))
            del self._estimates[min(self._estimates)]

    def labelled(self, joined: Joined, now_ns: int) -> None:
        """Takes labels with their answers."""
        if not self._counts.n.any() and not self._values:
            self._open_ns = now_ns
        if not joined.classes:
            self._take_values(joined)
            return
        n = len(joined.answer)
        wrong = joined.answer != joined.truth
        confidence = confidences(joined.answer, joined.scores)
        bins = bins_of(confidence)
        delay = _delays(joined)
        self._counts.update(delay, wrong, bins)
        sums = np.zeros((n, 6), np.int64)
        sums[:, _N], sums[:, _ERRORS] = 1, wrong
        loss = losses(joined.truth, joined.scores, len(joined.classes))
        self._lost("log_loss", loss)
        sums[:, _LOSS_N], sums[:, _LOSS] = np.isfinite(loss), np.round(np.nan_to_num(loss) * _MICRO)
        if self._reference is not None:
            sums[:, _EXPECTED_N] = bins >= 0
            sums[:, _EXPECTED] = np.where(bins >= 0, np.round(self._reference.by_bin[bins] * _MICRO), 0)
        self._arrived += sums.sum(0)
        self._leakage.take(joined)
        self.feedback.take(joined, wrong)
        starts = joined.at_ns // self._length_ns * self._length_ns
        cells, index = np.unique(np.stack([starts, delay], 1), axis=0, return_inverse=True)
        added = np.zeros((len(cells), 6), np.int64)
        np.add.at(added, index.ravel(), sums)
        self._measures.take(joined, cells, index.ravel())
        for (start, late), row in zip(cells.tolist(), added, strict=True):
            cell = start, late, len(joined.classes)
            self._cells[cell] = self._cells.get(cell, 0) + row
            known = self._history.setdefault(start, [0, 0])
            known[0] += int(row[_N])
            known[1] += int(row[_ERRORS])
        while len(self._history) > _MAX_HISTORY:
            del self._history[min(self._history)]
        if len(self._cells) > _MAX_CELLS or self._measures.held > _MAX_CODES:
            self._tell(now_ns)

    def _take_values(self, joined: Joined) -> None:
        """Labels of a regression: how far its answers were off. No evidence is made of them."""
        with np.errstate(over="ignore"):
            off = np.minimum(np.abs(values_of(joined.scores) - joined.truth.view(np.float64)), _MOST_OFF)
        self._lost("mae", off)
        starts = joined.at_ns // self._length_ns * self._length_ns
        for start, delay, error in zip(starts.tolist(), _delays(joined).tolist(), np.rint(off * _MICRO).tolist(), strict=True):
            held = self._values.setdefault((start, delay), [0, 0])
            held[0] += 1
            held[1] += int(error)

    def tick(self, now_ns: int, settle_ns: int) -> None:
        """Judges the labels of a window of arrival when it is over, and tells what is new about the windows of their events."""
        self.store.expire(now_ns)
        self._leakage.renew(now_ns)
        for start in sorted(self._estimates.keys() - self._told):
            if now_ns >= start + self._length_ns + settle_ns:
                self._tell_estimate(start)
        if self._counts.n.any():
            if now_ns >= self._open_ns + self._length_ns:
                self._close(now_ns)
        elif self._values and now_ns >= self._open_ns + self._length_ns:
            self._tell(now_ns)
            self._counted(0, 0, now_ns)
        elif now_ns >= self._open_ns + self._length_ns and now_ns < self._last_ns + _STALE_NS:
            self._open_ns = now_ns
            self._renew(now_ns)

    def set_back(self, now_ns: int) -> None:
        """The clock was ahead: no time that is kept lies beyond now."""
        self._open_ns, self._last_ns = min(self._open_ns, now_ns), min(self._last_ns, now_ns)

    # -- verdicts -----------------------------------------------------------------------------------------------------------------------

    def _close(self, now_ns: int) -> None:
        self._tell(now_ns)
        self._leakage.tell(now_ns)
        self.feedback.close(now_ns)
        counts, arrived = self._counts, self._arrived
        self._counts, self._arrived = AccuracyCounts(), np.zeros(6, np.int64)
        self._open_ns = self._last_ns = now_ns
        self._counted(int(arrived[_N]), int(arrived[_ERRORS]), now_ns)
        if self._detector is None:
            self._learn(counts)
            return
        report = self._detector.update(counts)
        n, errors, _, _, expected_n, expected = arrived.tolist()
        self._recent = [*self._recent[1 - _MAX_RECENT :], _Arrived(report.window, n, errors, expected_n, expected)]
        self._severities = report.severity, report.concept
        self._raise(report, now_ns)

    def _learn(self, counts: AccuracyCounts) -> None:
        """A model without true classes in its reference: its first labels are what later ones are compared with."""
        self._first.merge(counts)
        n, errors = int(self._first.n.sum()), int(self._first.errors.sum())
        if n >= OWN_LABELS:
            self._own = True
            self._judge_by(self._own_reference(n, errors))

    def _own_reference(self, n: int, errors: int) -> AccuracyReference:
        first = self._first
        return AccuracyReference(first.bin_n, first.bin_errors, (n - int(first.bin_n.sum()), errors - int(first.bin_errors.sum())))

    def _raise(self, report: AccuracyReport, now_ns: int) -> None:
        status = f"uncalibrated: compared with its own first {OWN_LABELS:,} labels" if self._own else "calibrated"
        if report.severity != "none":
            n, errors, expected_n, expected = self._since(report.since)
            since = began([(start, n, wrong) for start, (n, wrong) in sorted(self._history.items())])
            figures = {"labels": n, "errors": errors, "rate": errors / max(n, 1), "usual": report.usual, "highest_no_news": report.highest}
            self._alerts.raise_(
                "accuracy",
                "",
                report.severity,
                now_ns,
                summary=pages.accuracy(report, n, errors, since, self._key["model"], self._key["version"]),
                log_evidence=report.log_evidence,
                evidence=figures | {"delay": report.delay, "adwin_since_ns": since, "status": status},
                n_events=n,
            )
        if report.concept != "none":
            n, errors, expected_n, expected = self._since(report.concept_since)
            promised = expected / _MICRO / max(expected_n, 1)
            self._alerts.raise_(
                "concept",
                "",
                report.concept,
                now_ns,
                summary=pages.concept(report, n, errors, promised, self._key["model"], self._key["version"]),
                log_evidence=report.concept_log_evidence,
                evidence={"labels": n, "rate": errors / max(n, 1), "promised": promised, "direction": report.direction, "status": status},
                n_events=n,
            )

    def _since(self, step: int) -> tuple[int, int, int, int]:
        """Labels, errors, answers with a promise, and promised errors, of the windows after this one."""
        some = [one for one in self._recent if one.step > step]
        return sum(o.n for o in some), sum(o.errors for o in some), sum(o.expected_n for o in some), sum(o.expected for o in some)

    def _renew(self, now_ns: int) -> None:
        """No labels: what stood still stands."""
        detectors: tuple[Literal["accuracy", "concept"], ...] = ("accuracy", "concept")
        for detector, severity in zip(detectors, self._severities, strict=True):
            if severity != "none":
                self._alerts.renew(detector, "", now_ns, 0.0)

    # -- rows ---------------------------------------------------------------------------------------------------------------------------

    def _tell(self, now_ns: int) -> None:
        cells, self._cells = self._cells, {}
        measures, self._measures = self._measures, MeasureCounts()
        for (start, delay, classes), sums in sorted(cells.items()):
            n, errors, loss_n, loss, expected_n, expected = sums.tolist()
            columns: dict[str, Any] = measures.columns((start, delay, classes))
            self._emit(
                AccuracyWindowRow(
                    **self._key,
                    start=start,
                    delay=DELAYS[delay],
                    part=self._part,
                    known_at=now_ns,
                    n=n,
                    errors=errors,
                    log_loss_n=loss_n,
                    log_loss=loss / _MICRO,
                    expected_n=expected_n,
                    expected_errors=expected / _MICRO,
                    classes=classes,
                    **columns,
                )
            )
            self._part += 1  # in one window and delay there may be answers in other classes too

        values, self._values = self._values, {}
        for (start, delay), (n, off) in sorted(values.items()):
            self._emit(
                AccuracyWindowRow(
                    **self._key, start=start, delay=DELAYS[delay], part=self._part, known_at=now_ns, n=0, errors=0,
                    value_n=n, abs_error=min(off / 10**6, _MOST_OFF),
                )
            )  # fmt: skip
            self._part += 1

    def _tell_estimate(self, start: int) -> None:
        counts = self._estimates[start]
        self._told.add(start)
        estimate = None if self._reference is None else self._reference.estimate(counts[1:])
        if estimate is None:
            return
        self._emit(
            AccuracyEstimateRow(
                **self._key,
                start=start,
                revision=int(counts.sum()),  # told again when more answers came
                n=int(counts.sum()),
                unscored=int(counts[0]),
                accuracy=estimate.accuracy,
                low=estimate.low,
                high=estimate.high,
            )
        )

    # -- snapshots ----------------------------------------------------------------------------------------------------------------------

    def dump(self, *, whole: bool) -> dict[str, Any]:
        """For a snapshot: the whole state, or all but the segments that are in pieces."""
        return {
            "store": self.store.dump(whole=whole),
            "detector": b"" if self._detector is None else self._detector.snapshot(),
            "own": self._own,
            "first": self._first.to_bytes(),
            "counts": self._counts.to_bytes(),
            "cells": [[*key, sums] for key, sums in sorted(self._cells.items())],
            "measures": self._measures.dump(),
            "values": [[*cell, n, str(off)] for cell, (n, off) in sorted(self._values.items())],  # may have more than 64 bits
            "arrived": self._arrived,
            "open_ns": self._open_ns,
            "last_ns": self._last_ns,
            "part": self._part,
            "history": [[start, *counts] for start, counts in sorted(self._history.items())],
            "recent": msgspec.msgpack.encode(self._recent),
            "estimates": [[start, start in self._told, counts] for start, counts in sorted(self._estimates.items())],
            "severities": list(self._severities),
            "leakage": self._leakage.dump(),
            "feedback": self.feedback.dump(),
        }

    def load(self, body: dict[str, Any], *, same_reference: bool) -> None:
        """From a snapshot, into a fresh object; with another reference than then the evidence begins anew."""
        self.store.load(body["store"])
        self._counts = AccuracyCounts.from_bytes(body["counts"])
        self._cells = {(start, delay, classes[0] if classes else 0): sums for start, delay, *classes, sums in body["cells"]}
        self._measures.load(body.get("measures", []))
        self._values = {(start, delay): [n, int(off)] for start, delay, n, off in body.get("values", [])}
        self._arrived = body["arrived"]
        self._open_ns, self._last_ns, self._part = body["open_ns"], body["last_ns"], body["part"]
        self._history = {start: [n, errors] for start, n, errors in body["history"]}
        self._estimates = {start: counts for start, _, counts in body["estimates"]}
        self._told = {start for start, told, _ in body["estimates"] if told}
        if not same_reference:
            return
        self._recent = msgspec.msgpack.decode(body["recent"], type=list[_Arrived])
        self._severities = tuple(body["severities"])
        self._leakage.load(body["leakage"])
        if "feedback" in body:
            self.feedback.load(body["feedback"])
        self._first, self._own = AccuracyCounts.from_bytes(body["first"]), body["own"]
        if self._own:
            self._judge_by(self._own_reference(int(self._first.n.sum()), int(self._first.errors.sum())))
        if self._detector is not None and body["detector"]:
            self._detector.restore(body["detector"])


def _delays(joined: Joined) -> NDArray[np.intp]:
    """(n,) index into `DELAYS`."""
    return np.asarray(np.searchsorted(np.array(DELAY_S) * NS, np.maximum(joined.received_ns - joined.at_ns, 0), side="right"))


def confidences(answer: NDArray[np.uint16], scores: NDArray[np.uint16]) -> NDArray[np.float64]:
    """(n,) probability of the answer, NaN for none; scores as in `schemas.outcomes`."""
    n, width = scores.shape
    if not width:
        return np.full(n, np.nan)
    p = scores[np.arange(n), np.minimum(answer, width - 1)]
    return np.where(p == P_NONE, np.nan, p / P_ONE)


def losses(truth: NDArray[np.int64], scores: NDArray[np.uint16], classes: int) -> NDArray[np.float64]:
    """(n,) log loss, -ln of the true class's probability, in nats; NaN where that did not travel. At most 11.8: half of the last digit."""
    n, width = scores.shape
    if width != classes:
        return np.full(n, np.nan)
    p = scores[np.arange(n), truth]
    return np.where(p == P_NONE, np.nan, -np.log(np.maximum(p, 0.5) / P_ONE))
