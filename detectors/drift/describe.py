"""A window in numbers and words, for rows, pages and dashboards."""

from __future__ import annotations

import msgspec
import numpy as np
from numpy.typing import NDArray

from detectors.drift.effect import EffectSizes
from detectors.drift.moves import cell_name, moves, quantiles
from detectors.drift.reference import DriftReference
from detectors.drift.report import VariableDrift

SHIFTED_SD = 0.1
"""Mean shift in reference sd from which a drift has a direction."""

TABLES = 5
"""Leading variables that are shown in detail."""


class Strongest:
    """The strongest component of a variable: ln M of the variable, when it began, and its cells."""

    __slots__ = ("high", "log_evidence", "low", "since")

    def __init__(self, log_evidence: float, since: int, low: int, high: int) -> None:
        self.log_evidence, self.since, self.low, self.high = log_evidence, since, low, high


def describe(
    reference: DriftReference, sizes: EffectSizes, cells: NDArray[np.int64], strongest: list[Strongest], rho: NDArray[np.float64]
) -> tuple[VariableDrift, ...]:
    """One entry per variable, in the reference's order; `cells` are the window's counts."""
    ends = np.array([(best.low, best.high) for best in strongest]).ravel()
    before, events = (np.add.reduceat(np.append(mass, 0), ends)[::2] for mass in (sizes.expected, cells))
    after, numeric = events / np.maximum(sizes.n, 1), np.array([kind == "numeric" for kind in reference.kinds])
    columns = {
        "n": sizes.n,
        "psi": sizes.psi,
        "w1": sizes.w1,
        "js": sizes.js,
        "ks": sizes.ks,
        "missing": sizes.missing,
        "unseen": sizes.unseen,
        "below": sizes.below,
        "above": sizes.above,
        "mean_shift": sizes.shift,
        "reference_center": np.where(numeric, sizes.reference_center, before),
        "center": np.where(numeric, sizes.center, after),
        "rho": rho,
    }
    rows = zip(*(column.tolist() for column in columns.values()), strict=True)
    entries = []
    for v, (best, row, was, now) in enumerate(zip(strongest, rows, before.tolist(), after.tolist(), strict=True)):
        begin, numbers = int(reference.starts[v]), dict(zip(columns, row, strict=True))
        what, direction = cell_name(reference, v, best.low - begin, best.high - begin), _direction(reference, v, best.low - begin)
        if direction == "shape" and abs(numbers["mean_shift"]) >= SHIFTED_SD:
            direction = "up" if numbers["mean_shift"] > 0 else "down"
        entries.append(
            VariableDrift(
                name=reference.variables[v],
                log_evidence=best.log_evidence,
                since=best.since,
                direction=direction,
                detail=f"share of {what}: {was:.3f} -> {now:.3f}",
                **numbers,
            )
        )
    return tuple(entries)


def with_tables(
    reference: DriftReference, sizes: EffectSizes, cells: NDArray[np.int64], entries: tuple[VariableDrift, ...], shown: tuple[str, ...]
) -> tuple[VariableDrift, ...]:
    """The entries, those of the variables to show with their quantiles and the cells that moved most."""
    out = list(entries)
    after = cells.astype(np.float64)
    for v, entry in enumerate(entries):
        if entry.name in shown:
            table = quantiles(reference, v, sizes.expected, after), moves(reference, v, sizes.expected, after)
            out[v] = msgspec.structs.replace(entry, quantiles=table[0], moves=table[1])
    return tuple(out)


def _direction(reference: DriftReference, v: int, low: int) -> str:
    """Of a move of the cells of variable v from `low` on ("shape": ask the mean)."""
    size = int(reference.starts[v + 1] - reference.starts[v])
    if low == size - 1:
        return "missing"
    if reference.kinds[v] == "categorical":
        return "unseen" if low == size - 2 else "mix"
    return "shape"
