"""A service as its clients find it: a trained model behind a schema, and who owns which rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.services.tables import Rows, Table
from streams.gameday.oracle import Space
from streams.gameday.service import Service

_UNSEEN = 0.92
_GROUPS = 5


@dataclass(frozen=True)
class Schema(Space):
    """Bounds and whole numbers, and the decimals that the service takes.

    Attributes:
        step: (d,) smallest difference of each column, 0 for any value.
    """

    step: NDArray[np.float64]

    def legal(self, X: NDArray[np.floating]) -> Rows:
        """The rows as the service would take them: in bounds, and rounded."""
        return self.rounded(np.clip(X, self.low, self.high))

    def rounded(self, X: NDArray[np.floating]) -> Rows:
        """Rounded only: an ordinary client may send what no row of the training data holds."""
        step = np.where(self.step > 0, self.step, 1.0)
        return np.where(self.step > 0, np.round(np.asarray(X, np.float64) / step) * step, X).astype(np.float32)


@dataclass(frozen=True)
class World:
    """One service.

    Attributes:
        name: of the service.
        table: its data.
        schema: bounds (of the reference's rows; 0 to 255 for pictures) and steps.
        service: answers rows with probabilities, rounded as the service rounds.
        members, held: rows trained on, and rows of the owner's that were not; with their classes.
        own: the attackers' rows.
        benign: the ordinary clients' rows, in the order of the source, and the group each belongs to.
        groups: (len(benign),) one of five clusters.
        unseen: a sub-population that is in no other part; empty for pictures.
        spread: (d,) standard deviation of each column; that of all pixels for pictures. Never 0.
        accuracy: on members, and on held rows.
    """

    name: str
    table: Table
    schema: Schema
    service: Service
    members: Rows
    member_y: NDArray[np.int64]
    held: Rows
    held_y: NDArray[np.int64]
    own: Rows
    benign: Rows
    groups: NDArray[np.int64]
    unseen: Rows
    spread: Rows
    accuracy: tuple[float, float]

    def pick(self, rng: np.random.Generator, n: int, rows: Rows | None = None) -> Rows:
        """Some of the ordinary clients' rows, or of those given; none twice while there are enough."""
        of = self.benign if rows is None else rows
        return of[rng.choice(len(of), n, replace=n > len(of))]

    def numbers(self, rows: Rows, changed: NDArray[np.floating]) -> Rows:
        """Rows with their numbers changed; codes stay."""
        return np.asarray(np.where(self.table.codes, rows, changed), np.float32)


def build(name: str, table: Table, model: Any, decimals: int, seed: int) -> World:
    """Splits the rows, trains the model, and puts the schema before it.

    Args:
        name: of the service.
        table: its data.
        model: an untrained scikit-learn classifier.
        decimals: to which the service rounds its probabilities.
        seed: of the split.
    """
    from sklearn.cluster import KMeans

    rng = np.random.default_rng(seed)
    X, (n, d) = table.X, table.X.shape
    left_out = np.zeros(n, bool)
    wide = [j for j in range(d) if not table.codes[j] and len(np.unique(X[:, j])) > 8]
    if table.image is None and wide:
        column = X[:, wide[int(rng.integers(len(wide)))]]
        left_out = column > np.quantile(column, _UNSEEN)
    order = rng.permutation(np.flatnonzero(~left_out))
    n_train, n_held, n_own = min(2_800, int(0.4 * len(order))), min(1_200, int(0.15 * len(order))), min(1_500, int(0.15 * len(order)))
    train, held, own, rest = np.split(order, np.cumsum([n_train, n_held, n_own]))
    rest = np.sort(rest)
    model.fit(X[train], table.y[train])
    classes = int(table.y.max()) + 1

    def answer(rows: Rows) -> Rows:
        full = np.zeros((len(rows), classes))
        full[:, model.classes_] = model.predict_proba(rows)
        return np.round(full, decimals).astype(np.float32)

    seen = X[np.r_[train, held]]
    low, high = (np.zeros(d, np.float32), np.full(d, 255, np.float32)) if table.image else (seen.min(axis=0), seen.max(axis=0))
    spread = np.full(d, np.sqrt(X[train].var(axis=0).mean())) if table.image else X[train].std(axis=0)
    spread = np.where(spread > 0, spread, 1e-6).astype(np.float32)
    centred = (X[rest] - X[rest].mean(axis=0)) / spread
    groups = KMeans(_GROUPS, n_init=1, random_state=seed).fit_predict(centred).astype(np.int64)
    accuracy = float(np.mean(model.predict(X[train]) == table.y[train])), float(np.mean(model.predict(X[held]) == table.y[held]))
    return World(
        name=name, table=table, service=Service(answer, tuple(str(k) for k in range(classes)), True), members=X[train],
        schema=Schema(low, high, table.step == 1, table.image, table.step), member_y=table.y[train], held=X[held], held_y=table.y[held],
        own=X[own], benign=X[rest], groups=groups, unseen=X[left_out], spread=spread, accuracy=accuracy,
    )  # fmt: skip
