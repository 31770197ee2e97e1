"""A service with ordinary clients, and some whose rows are in question."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from detectors.evidence import ClientEvidence, EvidenceReference

Answer = Callable[[NDArray[np.float32]], NDArray[np.bool_] | NDArray[np.int64]]


def beside(
    reference: EvidenceReference, ordinary: Sequence[NDArray[np.float64] | NDArray[np.float32]],
    asked: Sequence[NDArray[np.float64] | NDArray[np.float32]], answer: Answer | None = None,
) -> tuple[ClientEvidence, list[tuple[int, int, int]]]:  # fmt: skip
    """All clients, the ordinary ones first, and of each that is raised its number, its severity and the statistic.

    Numbers are from 0 for those in question, and below 0 for the ordinary ones. Without ``answer`` the model says nothing.
    """
    everybody = [*ordinary, *asked]
    slot = np.concatenate([np.full(len(X), k, np.int32) for k, X in enumerate(everybody)])
    clients = ClientEvidence(reference, ln_page=float(np.log(1e7)), ln_ticket=float(np.log(1e5)), capacity=len(everybody))
    X = np.concatenate(everybody).astype(np.float32)
    label = np.full(len(X), -1, np.int32) if answer is None else answer(X).astype(np.int32)
    found = clients.update(slot, X, np.empty((len(X), 0), np.float32), label)
    return clients, list(zip((found.slot - len(ordinary)).tolist(), found.severity.tolist(), found.statistic.tolist(), strict=True))
