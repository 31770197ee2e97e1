"""What is said of a swarm."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

KINDS = ("iterate", "synthetic", "copies")


@dataclass(frozen=True)
class Cohort:
    """A swarm as a page shows it.

    Attributes:
        at_s: event time at which it was named.
        index: row of the batch that did it.
        family: ``extraction``, ``evasion`` or ``membership``.
        kind: what gave it away, of `KINDS`.
        severity: 1 ticket, 2 page.
        members: slots, ascending; those named before are among them.
        seeds: how many of them had strong evidence of their own.
        ln_evidence: median over the members.
        onset_s: first and last onset among the seeds.
    """

    at_s: float
    index: int
    family: str
    kind: str
    severity: int
    members: NDArray[np.int64]
    seeds: int
    ln_evidence: float
    onset_s: tuple[float, float]
