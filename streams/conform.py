"""Rows in the columns of another reference: a baseline for drift has those of the reference that it stands beside."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from inferwatch import EventColumns, Strings
from schemas.reference import Reference
from streams.align import Aligner
from streams.build import BuildError, Rows

_UNSEEN = "\0unseen"


def conform(rows: Rows, like: Reference) -> Rows:
    """The rows as a worker with that reference sees them: its features, categories and classes, in its order.

    Raises:
        BuildError: a feature is missing, or the classes are others.
    """
    named = {feature.name: j for j, feature in enumerate(rows.features)}
    absent = [feature.name for feature in like.features if feature.name not in named]
    what = f"reference {like.name} of {like.model} {like.version}"
    if absent:
        raise BuildError(f"the rows have no feature {', '.join(absent[:8])}, which {what} has; they have {', '.join([*named][:20])}")
    if set(rows.classes) != set(like.classes):
        raise BuildError(f"the rows have the classes {list(rows.classes)[:20]}, {what} has {list(like.classes)[:20]}")
    n, numbers = len(rows.X), [j for j, feature in enumerate(rows.features) if feature.kind == "numeric"]
    texts = [j for j, feature in enumerate(rows.features) if feature.kind == "categorical"]
    codes = np.where(np.isnan(rows.X), -1, rows.X)
    columns = EventColumns(
        model=like.model, version=like.version, service="", instance="", client=Strings([], np.full(n, -1, np.int32)),
        at_ns=np.zeros(n, np.int64), number=np.full(n, -1), status=np.zeros(n, np.uint8), latency_ms=np.zeros(n, np.float32),
        names=tuple(rows.features[j].name for j in numbers), numeric=rows.X[:, numbers],
        category_names=tuple(rows.features[j].name for j in texts),
        categories=tuple(Strings([*rows.features[j].categories, _UNSEEN], codes[:, j].astype(np.int32)) for j in texts),
    )  # fmt: skip
    X = Aligner(like.features, ()).align(columns).X
    place = {name: k for k, name in enumerate(rows.classes)}
    order = [place[name] for name in like.classes]
    y = rows.y
    if y is not None and order:
        y = np.where(y >= 0, np.argsort(order).astype(np.int32)[np.maximum(y, 0)], -1).astype(np.int32)
    scores = rows.scores[:, order] if rows.scores is not None else None
    return replace(rows, features=like.features, X=X, scores=scores, classes=like.classes, y=y, image=like.image)
