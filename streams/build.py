"""Building a reference: from rows that the model's owner has to the frozen parts that the detectors judge by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from detectors.accuracy import AccuracyReference
from detectors.drift import DriftReference, WindowCounts
from detectors.drift.certificate import certify
from detectors.drift.reference import LATENCY
from detectors.drift.replayed import Certificate
from detectors.evidence import EvidenceReference
from detectors.exposure import CopyCurve
from detectors.membership import MembershipReference
from detectors.rare_cells import TriggerReference
from detectors.swarm import SwarmReference
from schemas.reference import TRAINING, Feature, Reference

_WIDEST_AT_ONCE = 1_000
"""Features up to which a provisional reference gets query patterns: it is built between two records, at a cost that grows as their cube
(1.7 s at 784, 94 s at 4,096), and a worker that stands still for so long is taken for dead."""

_MOST_REPLAYED = 100
"""Variables up to which a reference's own days are replayed; at so many it takes a minute."""


class BuildError(ValueError):
    """The rows make no reference; the message says what is wrong with them and what to do."""


@dataclass(frozen=True)
class Rows:
    """What the owner has, in columns.

    Attributes:
        features: schema of the columns of `X`.
        X: (n, d) float32; categorical columns hold codes into the feature's categories; NaN is missing.
        scores: (n, c) what the model answers to these rows, or None.
        classes: names of the scores' columns.
        y: (n,) true class as index into `classes`, -1 unknown; or None.
        member: (n,) whether the model was trained on the row; or None.
        value: (n,) answers of a regression, or None.
        latency_ms: (n,) how long the answers took, or None; NaN where nobody knows.
        image: (height, width) or (height, width, channels) when a row is a picture.
        at_s: (n,) when each row was seen, in seconds since the epoch; None when the rows are no recorded traffic.
    """

    features: tuple[Feature, ...]
    X: NDArray[np.float32]
    scores: NDArray[np.float32] | None = None
    classes: tuple[str, ...] = ()
    y: NDArray[np.int32] | None = None
    member: NDArray[np.bool_] | None = None
    value: NDArray[np.float64] | None = None
    latency_ms: NDArray[np.float64] | None = None
    image: tuple[int, ...] | None = None
    at_s: NDArray[np.float64] | None = None


@dataclass(frozen=True)
class Built:
    """A reference, and what it could not get from the rows."""

    reference: Reference
    notes: tuple[str, ...]


def build(
    model: str,
    version: str,
    rows: Rows,
    *,
    membership_key: bytes = b"",
    built_at_ns: int,
    name: str = TRAINING,
    source: Literal["file", "stream", "provisional"] = "file",
    drift_pages: float = 0.0,
    materiality: float = 0.01,
    seed: int = 0,
) -> Built:
    """Fits every detector's part that the rows allow; what they don't allow is a note, not an error.

    With `drift_pages` (false drift pages allowed in 30 days) and rows that have times, the drift part carries a replay certificate for that
    budget and materiality. The same rows, key, budget and seed give the same reference, whatever the time and machine.

    Raises:
        BuildError: no rows, no features, widths that disagree, or a class out of range.
    """
    rows = _checked(rows)
    n = len(rows.X)
    notes: list[str] = []
    parts: dict[str, bytes] = {}
    member = np.zeros(n, bool) if rows.member is None else rows.member
    if rows.latency_ms is not None and (why := _no_latency(rows, member)):
        notes.append(f"latency is not compared: {why}")
        rows = replace(rows, latency_ms=None)
    try:
        drift = _drift(rows, member, notes)
    except ValueError as error:
        raise BuildError(f"the rows make no reference: {error}") from error
    if drift_pages and rows.at_s is not None and len(drift.variables) > _MOST_REPLAYED:
        notes.append(f"no replay certificate for drift: {len(drift.variables)} variables take too long, {_MOST_REPLAYED} are the most")
    elif drift_pages and rows.at_s is not None:
        certificate = _certificate(rows, member, drift_pages, materiality, seed)
        if certificate is None:
            notes.append("no replay certificate for drift: it needs four days of rows, and 200 in each three quarters of them")
        else:
            drift.certify(certificate)
    parts["drift"] = drift.to_bytes()
    if drift.status != "calibrated":
        notes.append(f"drift opens tickets, no pages: {drift.reason}")
    low, high = _bounds(rows)
    scores = np.empty((n, 0), np.float32) if rows.scores is None else rows.scores
    if source == "provisional" and len(rows.features) > _WIDEST_AT_ONCE:
        notes.append(
            f"no query patterns, no swarms: {len(rows.features)} features are too many for a provisional reference; build and publish one"
        )
    else:
        try:
            patterns = EvidenceReference.fit(rows.X, scores, rows.member, low=low, high=high, image=rows.image, seed=seed)
            parts["evidence"] = patterns.to_bytes()
        except ValueError as error:
            notes.append(f"no query patterns: {error}")
        try:
            parts["swarm"] = SwarmReference.fit(rows.X, low=low, high=high, image=_gray(rows.image), seed=seed).to_bytes()
        except ValueError as error:
            notes.append(f"no swarm detection: {error}")
    if source != "provisional":
        try:
            categorical = [j for j, feature in enumerate(rows.features) if feature.kind == "categorical"]
            parts["exposure"] = CopyCurve.fit(rows.X, scores, categorical=categorical, seed=seed).to_bytes()
        except ValueError as error:
            notes.append(f"no copy-quality curve, so answers are counted but not weighed: {error}")
    if rows.scores is not None and rows.y is not None:
        held_out = ~member
        try:
            parts["accuracy"] = AccuracyReference.fit(rows.scores[held_out], rows.y[held_out]).to_bytes()
        except ValueError as error:
            notes.append(f"accuracy is compared with the model's own first labels, tickets only: {error}")
    answers = _label(rows.scores)
    if source != "provisional" and answers is not None:
        try:
            kinds = [feature.kind for feature in rows.features]
            parts["triggers"] = TriggerReference.fit(rows.X, answers, len(rows.classes), kinds).to_bytes()
        except ValueError as error:
            notes.append(f"no search for triggers: {error}")
    gauge: dict[str, Any] = {}
    if rows.member is None or not member.any():
        notes.append("no membership risk: the rows do not say which were trained on (column member)")
    elif rows.scores is None or rows.y is None:
        notes.append("no membership risk: it needs the model's probabilities and the true class (columns probs and y)")
    elif len(membership_key) < 16:
        notes.append("no member fingerprints: INFERWATCH_MEMBERSHIP_KEY is not set, or shorter than 16 bytes")
    else:
        known = rows.y >= 0
        image = _gray(rows.image)
        columns = rows.X[known], rows.scores[known], rows.y[known], member[known]
        try:
            fitted = MembershipReference.fit(*columns, key=membership_key, low=low, high=high, image=image, seed=seed)
            parts["membership"] = fitted.to_bytes()
            gauge = asdict(fitted.gauge.report())
        except ValueError as error:
            notes.append(f"no membership risk: {error}")
    reference = Reference(
        model=model,
        version=version,
        name=name,
        built_at_ns=built_at_ns,
        source=source,
        rows=n,
        members=int(member.sum()),
        features=rows.features,
        classes=rows.classes,
        image=rows.image,
        parts=parts,
        gauge=gauge,
    )
    return Built(reference, tuple(notes))


def _drift(rows: Rows, member: NDArray[np.bool_], notes: list[str]) -> DriftReference:
    held_out = ~member
    if rows.member is not None and rows.scores is not None and not held_out.any():
        notes.append("scores are drift-checked against training rows, where a model is over-confident: add held-out rows")
        held_out[:] = True
    return _fitted(rows, held_out, np.ones(len(rows.X), bool))


def _certificate(rows: Rows, member: NDArray[np.bool_], false_pages: float, materiality: float, seed: int) -> Certificate | None:
    """The replay of the days, without the rows that the model was trained on where there are others: its scores differ on them."""
    usable = ~member if rows.scores is not None and not member.all() else np.ones(len(rows.X), bool)
    at_s = np.asarray(rows.at_s)[usable]
    X, scores = rows.X[usable], None if rows.scores is None else rows.scores[usable]
    label, value = _label(scores), None if rows.value is None else rows.value[usable]
    latency = None if rows.latency_ms is None else rows.latency_ms[usable]

    def fit(mask: NDArray[np.bool_]) -> DriftReference:
        chosen = np.zeros(len(rows.X), bool)
        chosen[np.flatnonzero(usable)[mask]] = True
        return _fitted(rows, chosen, chosen)

    def count(reference: DriftReference, at: NDArray[np.int64]) -> WindowCounts:
        counts = WindowCounts(reference)
        parts = (None if column is None else column[at] for column in (scores, label, value, latency))
        counts.update(X[at], **dict(zip(("scores", "label", "value", "latency"), parts, strict=True)))
        return counts

    return certify(at_s, fit, count, false_pages=false_pages, materiality=materiality, seed=seed)


def _no_latency(rows: Rows, member: NDArray[np.bool_]) -> str:
    """Why latency cannot be compared; "" when it can."""
    if any(feature.name == LATENCY for feature in rows.features):
        return f"a feature is named {LATENCY}"
    latency = np.asarray(rows.latency_ms)
    held_out = latency if member.all() else latency[~member]
    return "" if np.isfinite(held_out).any() else "none of the rows has one that the model was not trained on"


def _label(scores: NDArray[Any] | None) -> NDArray[np.int32] | None:
    return None if scores is None else np.argmax(np.nan_to_num(scores), axis=1).astype(np.int32)


def _fitted(rows: Rows, held_out: NDArray[np.bool_], chosen: NDArray[np.bool_]) -> DriftReference:
    """A reference of the chosen rows; scores and answers of those that were held out."""
    names = [feature.name for feature in rows.features]
    categories: dict[str, Sequence[str]] = {f.name: f.categories for f in rows.features if f.kind == "categorical"}
    given = rows.scores, rows.value, rows.latency_ms, rows.at_s
    scores, value, latency, at_s = (None if column is None else column[chosen] for column in given)
    return DriftReference.fit(
        rows.X[chosen],
        names,
        [feature.kind for feature in rows.features],
        categories=categories,
        scores=scores,
        classes=rows.classes,
        label=_label(scores),
        value=value,
        latency=latency,
        held_out=held_out[chosen],
        at_s=at_s,
    )


def _bounds(rows: Rows) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The schema's bounds; where it has none, the rows' own range."""
    X = np.where(np.isfinite(rows.X), rows.X, np.nan)
    empty = np.isnan(X).all(axis=0)
    lowest = np.where(empty, 0.0, np.nanmin(np.where(empty, 0.0, X), axis=0))
    highest = np.where(empty, 0.0, np.nanmax(np.where(empty, 0.0, X), axis=0))
    low = np.array([lowest[j] if f.low is None else f.low for j, f in enumerate(rows.features)], np.float64)
    high = np.array([highest[j] if f.high is None else f.high for j, f in enumerate(rows.features)], np.float64)
    return low, np.maximum(low, high)


def _gray(image: tuple[int, ...] | None) -> tuple[int, int] | None:
    """Height and width of a picture of one channel; of several, a row is a table to those who compare pixels."""
    return (image[0], image[1]) if image is not None and len(image) == 2 else None


def _checked(rows: Rows) -> Rows:
    n, d = rows.X.shape if rows.X.ndim == 2 else (0, 0)
    if n == 0:
        raise BuildError("the reference has no rows; give it a sample of the training and held-out data, 2,000 rows or more")
    if d != len(rows.features) or d == 0:
        raise BuildError(f"rows have {d} columns, but {len(rows.features)} features are named")
    names = [feature.name for feature in rows.features]
    if len(set(names)) != d:
        raise BuildError(f"a feature is named twice: {sorted({name for name in names if names.count(name) > 1})}")
    columns = {"scores": rows.scores, "y": rows.y, "member": rows.member, "value": rows.value, "latency_ms": rows.latency_ms}
    for what, column in (columns | {"at_s": rows.at_s}).items():
        if column is not None and len(column) != n:
            raise BuildError(f"{what} has {len(column)} rows, the features have {n}")
    if rows.scores is not None and rows.scores.shape[1] != len(rows.classes):
        raise BuildError(f"probs have {rows.scores.shape[1]} columns, but {len(rows.classes)} classes are named")
    if rows.y is not None and rows.classes and len(rows.y) and int(rows.y.max()) >= len(rows.classes):
        raise BuildError(f"y says class {int(rows.y.max())}, but there are {len(rows.classes)} classes")
    if rows.image is not None and int(np.prod(rows.image)) != d:
        raise BuildError(f"a picture of {rows.image} has {int(np.prod(rows.image))} values, the rows have {d}")
    return rows
