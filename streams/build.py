"""Building a reference: from rows that the model's owner has to the frozen parts that the detectors judge by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from detectors.accuracy import AccuracyReference
from detectors.drift import DriftReference
from detectors.evidence import EvidenceReference
from detectors.exposure import CopyCurve
from detectors.membership import MembershipReference
from detectors.swarm import SwarmReference
from schemas.reference import Feature, Reference

_WIDEST_AT_ONCE = 1_000
"""Features up to which a provisional reference gets query patterns: it is built between two records, at a cost that grows as their cube
(1.7 s at 784, 94 s at 4,096), and a worker that stands still for so long is taken for dead."""


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
    source: Literal["file", "provisional"] = "file",
    seed: int = 0,
) -> Built:
    """Fits every detector's part that the rows allow; what they don't allow is a note, not an error.

    The same rows, key and seed give the same reference, whatever the time and machine.

    Raises:
        BuildError: no rows, no features, widths that disagree, or a class out of range.
    """
    rows = _checked(rows)
    n = len(rows.X)
    notes: list[str] = []
    parts: dict[str, bytes] = {}
    member = np.zeros(n, bool) if rows.member is None else rows.member
    try:
        drift = _drift(rows, member, notes)
    except ValueError as error:
        raise BuildError(f"the rows make no reference: {error}") from error
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
    if source == "file":
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
    names = [feature.name for feature in rows.features]
    categories: dict[str, Sequence[str]] = {f.name: f.categories for f in rows.features if f.kind == "categorical"}
    label = None if rows.scores is None else np.argmax(np.nan_to_num(rows.scores), axis=1).astype(np.int32)
    return DriftReference.fit(
        rows.X,
        names,
        [feature.kind for feature in rows.features],
        categories=categories,
        scores=rows.scores,
        classes=rows.classes,
        label=label,
        value=rows.value,
        held_out=held_out,
        at_s=rows.at_s,
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
    for what, column in (("scores", rows.scores), ("y", rows.y), ("member", rows.member), ("value", rows.value), ("at_s", rows.at_s)):
        if column is not None and len(column) != n:
            raise BuildError(f"{what} has {len(column)} rows, the features have {n}")
    if rows.scores is not None and rows.scores.shape[1] != len(rows.classes):
        raise BuildError(f"probs have {rows.scores.shape[1]} columns, but {len(rows.classes)} classes are named")
    if rows.y is not None and rows.classes and len(rows.y) and int(rows.y.max()) >= len(rows.classes):
        raise BuildError(f"y says class {int(rows.y.max())}, but there are {len(rows.classes)} classes")
    if rows.image is not None and int(np.prod(rows.image)) != d:
        raise BuildError(f"a picture of {rows.image} has {int(np.prod(rows.image))} values, the rows have {d}")
    return rows
