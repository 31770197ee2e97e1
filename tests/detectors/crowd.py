"""A service with ordinary clients, and some whose rows are in question."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from detectors.evidence import ClientEvidence, EvidenceReference
from detectors.evidence import constants as c
from detectors.evidence.derive import derive

Answer = Callable[[NDArray[np.float32]], NDArray[np.bool_] | NDArray[np.int64]]


def fitted(X: NDArray[np.float64] | NDArray[np.float32], image: tuple[int, ...] | None = None) -> EvidenceReference:
    """A reference of these rows (n, d), without answers and limits."""
    n, d = X.shape
    none = np.empty((n, 0), np.float32)
    return EvidenceReference.fit(X.astype(np.float32), none, None, low=np.full(d, -np.inf), high=np.full(d, np.inf), image=image)


def remembered(reference: EvidenceReference, X: NDArray[np.float64] | NDArray[np.float32]) -> NDArray[np.uint8]:
    """The memory of a client that sent these rows, `MEMORY` of them at most: codes, field-major."""
    memory = np.zeros((len(reference.sampled), c.MEMORY), np.uint8)
    memory[:, : len(X)] = derive(reference, X.astype(np.float32)).code.T
    return memory.ravel()


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
