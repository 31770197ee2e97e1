"""The sampled columns of a row, as a client's memory holds them: each value one byte, a step of .012 of its column's range."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from detectors.evidence import constants as c
from detectors.evidence.residual import Floats


@njit
def code_of(value: Any, anchor: Any, steps_per_unit: Any) -> Any:
    """Code of a value, as a number; one expression for the fit's arrays and the kernel, or a value between two codes would have both."""
    return np.minimum(np.maximum(c.CODE_ZERO + np.rint((value - anchor) * steps_per_unit), 0.0), c.CODE_LAST)


class Sampled(NamedTuple):
    """What is known of the sampled columns; F of them."""

    anchor: Floats  # (F,) value of the code `CODE_ZERO`: about the reference's minimum
    spread: Floats  # (F,) its 5-95 % range
    least: Floats  # (F,) the schema's limits
    most: Floats
    step: Floats  # (F,) z of one code step
    zero: Floats  # (F,) z of code 0

    def coded(self, rows: Floats) -> NDArray[np.uint8]:
        """Codes (n, F) of raw values; `detectors.evidence.derive` does the same in its pass over a batch."""
        code = code_of.py_func(np.asarray(rows, np.float64), self.anchor, steps_per_unit(self.spread))
        return np.asarray(code, np.uint8)

    def decoded(self, code: NDArray[np.uint8]) -> Floats:
        """Clipped standardised values (n, F) of codes."""
        return np.clip(code * self.step + self.zero, -c.RESIDUAL_CLIP, c.RESIDUAL_CLIP)


def steps_per_unit(spread: Floats) -> Floats:
    """Code steps (F,) in one unit of a column, of its 5-95 % range."""
    return np.asarray(1 / (c.QUANTUM * spread))


def shares_of(code: NDArray[np.uint8]) -> NDArray[np.float32]:
    """How often each column has each code, shape (F, 256); of codes (n, F)."""
    return np.stack([np.bincount(column, minlength=256) / len(code) for column in code.T]).astype(np.float32)


def least_steps(share: NDArray[np.float32]) -> NDArray[np.int64]:
    """Code steps (F,) from which a column has passed over one of its values: a sensor that flickers moves from one to the next.

    Of ``share`` (F, 256): more than half as far again as neighbouring values in use lie apart, gaps in the tails left out;
    `TWO_VALUED_BIG` at least.
    """
    out = np.full(len(share), c.TWO_VALUED_BIG)
    for f, column in enumerate(share):
        gaps = np.diff(np.flatnonzero(column >= c.ROUNDED_LEAST))
        if len(gaps):
            apart = gaps[gaps <= c.TWO_VALUED_NEXT * np.median(gaps)].mean()
            out[f] = max(out[f], int(c.TWO_VALUED_NEXT * apart) + 1)
    return out


def parts(code: NDArray[np.uint8], clusterings: list[NDArray[np.int64]]) -> list[NDArray[np.bool_]]:
    """Parts of the reference that may be somebody's whole population: its clusters, and the tails of each column; (n,) each."""
    out = [cluster == k for cluster in clusterings for k in np.unique(cluster)]
    for column in code.T:
        low, high = np.quantile(column, [c.JOINT_LEFT_OUT[0], 1 - c.JOINT_LEFT_OUT[0]])
        out += [column <= low, column >= high]
    return out


def sendable(made: Floats, rows: Floats, columns: Sampled, rng: np.random.Generator) -> Floats:
    """Rows ``made`` (m, F) of the reference's ``rows`` (n, F), as a caller sends them.

    Within the schema's limits; columns of whole numbers are rounded in three of four rows.
    """
    whole = (rows == np.round(rows)).all(0)
    inside: Floats = np.clip(made, columns.least, columns.most)
    return np.where(whole & (rng.random((len(made), 1)) < c.GENERATED_ROUNDED), np.round(inside), inside)
