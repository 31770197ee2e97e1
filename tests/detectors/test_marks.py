"""Promises about pictures changed in one place after the other: a search by squares is paged early, marks and cursors are nothing."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from sklearn.datasets import load_digits

from detectors.evidence import STATISTICS, ClientEvidence, EvidenceReference
from tests.detectors.crowd import fitted

SIDE, MOST = 24, 16.0
LN_PAGE, LN_TICKET = float(np.log(1e7)), float(np.log(1e5))
E7 = STATISTICS.index("two_valued")
_SMALL = np.random.default_rng(0).permutation(load_digits().data).reshape(-1, 8, 8)
PICTURES = np.stack([gaussian_filter(np.kron(picture, np.ones((3, 3))), 1.0) for picture in _SMALL])
Pictures = NDArray[np.float64]


@pytest.fixture(scope="module")
def reference() -> EvidenceReference:
    return fitted(PICTURES[:900].reshape(900, -1), (SIDE, SIDE))


def most_evidence(reference: EvidenceReference, asked: Pictures) -> float:
    """The most that E7 ever has, ln."""
    clients, most = ClientEvidence(reference, ln_page=LN_PAGE, ln_ticket=LN_TICKET, capacity=1), 0.0
    for row in asked.reshape(len(asked), 1, -1).astype(np.float32):
        clients.update(np.zeros(1, np.int32), row, np.empty((1, 0), np.float32), np.zeros(1, np.int32))
        most = max(most, float(clients.log_evidence(np.arange(1))[0, E7]))
    return most


def marked(seed: int) -> Pictures:
    """Ten pictures, each thirty times with a light or dark mark somewhere."""
    rng, out = np.random.default_rng(seed), []
    for _ in range(10):
        picture = PICTURES[900 + rng.integers(800)]
        for _ in range(30):
            (i, j), wide = rng.integers(0, SIDE - 2, 2), int(rng.integers(2, SIDE // 3))
            one = picture.copy()
            one[i : i + 2, j : j + wide] += 5 * rng.choice([-1, 1])
            out.append(np.clip(one, 0, MOST))
    return np.array(out)


def squares(seed: int, n: int, amount: float) -> Pictures:
    """What Square asks, for a model that likes a third of its proposals."""
    rng = np.random.default_rng(seed)
    picture = PICTURES[900 + rng.integers(800)]
    best = np.clip(picture + amount * rng.choice([-1, 1], SIDE), 0, MOST)
    out = [picture, best]
    for k in range(n - 2):
        side = max(1, int(np.sqrt(max(0.3 * 0.985**k, 1.5 / SIDE**2)) * SIDE))
        (i, j), one = rng.integers(0, SIDE - side + 1, 2), best.copy()
        where = slice(i, i + side), slice(j, j + side)
        one[where] = np.clip(picture[where] + amount * rng.choice([-1, 1]), 0, MOST)
        out.append(one)
        best = one if rng.random() < 1 / 3 else best
    return np.array(out)


def test_marks_put_on_pictures_here_and_there_are_no_search(reference: EvidenceReference) -> None:
    assert max(most_evidence(reference, marked(seed)) for seed in range(8)) < np.log(1e3)


def test_searches_by_squares_are_paged_within_sixty_pictures(reference: EvidenceReference) -> None:
    assert all(most_evidence(reference, squares(seed, 60, amount)) > LN_PAGE for seed in range(6) for amount in (0.8, 3.2))
