"""What a page says of a variable that moved: its quantiles, the cells that moved most, and what the whole looks like."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from detectors.drift.names import smallest
from detectors.drift.reference import DriftReference

PROBABILITIES = (0.05, 0.25, 0.5, 0.75, 0.95)
MOST_MOVES = 3
SEVERAL = 3
"""Features that move at once from which it looks like another population."""

Likeness = Literal["data fault", "population", "answers", "one feature", "together"]

Floats = NDArray[np.float64]


class Move(NamedTuple):
    """A cell of a variable that moved: its name, and its share of the events before and after."""

    what: str
    before: float
    after: float


class Quantile(NamedTuple):
    """A quantile of a numeric variable's known values, linear between the reference's edges."""

    probability: float
    before: float
    after: float


def quantiles(reference: DriftReference, v: int, before: Floats, after: Floats) -> tuple[Quantile, ...]:
    """Quantiles of numeric variable v; none where a side has no values.

    What lies below the reference's minimum or above its maximum is shown as that: it may be further out.

    Args:
        reference: whose edges the cells have.
        v: the variable.
        before: expected shares of all cells, shape (n_cells,).
        after: the window's counts, shape (n_cells,).
    """
    begin, last, m = int(reference.starts[v]), int(reference.starts[v + 1]) - 1, int(reference.n_edges[v])
    if reference.kinds[v] != "numeric" or m < 1 or not before[begin:last].sum() or not after[begin:last].sum():
        return ()
    edges = reference.edges[v, :m].astype(np.float64)
    sides = []
    for mass in (before[begin:last], after[begin:last]):
        cumulated = np.cumsum(mass)[:-1] / mass.sum()  # at the edges
        sides.append([_at(p, cumulated, edges) for p in PROBABILITIES])
    return tuple(Quantile(p, a, b) for p, a, b in zip(PROBABILITIES, *sides, strict=True))


def _at(p: float, cumulated: Floats, edges: Floats) -> float:
    k = int(np.searchsorted(cumulated, p))
    if k == 0 or k == cumulated.size:
        return float(edges[min(k, cumulated.size - 1)])
    rise = cumulated[k] - cumulated[k - 1]
    return float(edges[k - 1] + (edges[k] - edges[k - 1]) * (p - cumulated[k - 1]) / rise)


def moves(reference: DriftReference, v: int, before: Floats, after: Floats) -> tuple[Move, ...]:
    """The cells of variable v whose shares moved most, at most three; arguments as of `quantiles`."""
    begin, end = int(reference.starts[v]), int(reference.starts[v + 1])
    was, now = before[begin:end], after[begin:end] / max(float(after[begin:end].sum()), 1.0)
    order = np.argsort(-np.abs(now - was), kind="stable")[:MOST_MOVES]
    return tuple(Move(cell_name(reference, v, int(k), int(k) + 1), float(was[k]), float(now[k])) for k in order if now[k] != was[k])


def cell_name(reference: DriftReference, v: int, low: int, high: int) -> str:
    """Name of the cells [low, high) of variable v."""
    name = reference.variables[v]
    size = int(reference.starts[v + 1] - reference.starts[v])
    if low == size - 1:
        return f"{name} missing"
    if reference.kinds[v] == "categorical":
        if low == size - 2:
            return f"{name} unseen"
        members = np.flatnonzero(reference.lookup[reference.lookup_starts[v] : reference.lookup_starts[v + 1]] == low)
        return f"{name} = {reference.categories[v][members[0]] if members.size == 1 else 'other'}"
    edges, last = reference.edges[v], int(reference.n_edges[v])
    if high - low > 1:
        return f"{name} <= {edges[high - 1]:.4g}"
    if low == 0:
        return f"{name} below {smallest(edges):.4g}" if last > 1 else f"{name} low"
    if low == last:
        return f"{name} above {edges[last - 1]:.4g}"
    return f"{edges[low - 1]:.4g} < {name} <= {edges[low]:.4g}"


def likeness(reference: DriftReference, leading: tuple[str, ...], directions: dict[str, str], *, jointly: bool) -> Likeness:
    """What the leading variables look like; a guess to begin with, not evidence.

    "data fault": what leads is missing or takes unknown values; "answers": outputs move and no feature does; "population": several
    features do; "together": features no longer go together; "one feature": else.

    Args:
        reference: whose variables they are.
        leading: names, strongest first.
        directions: of the variables, by name.
        jointly: whether pairs tell more than variables.
    """
    features = set(reference.variables[: reference.n_features])
    moved = [name for name in leading if name in features]
    if directions.get(leading[0]) in ("missing", "unseen"):
        return "data fault"
    if jointly:
        return "together"
    if not moved:
        return "answers"
    return "population" if len(moved) >= SEVERAL else "one feature"
