"""Promises about pictures: averages of two are paged, what a camera does to them is a ticket at most."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from sklearn.datasets import load_digits

from detectors.evidence import EvidenceReference
from detectors.evidence import constants as c
from detectors.evidence import layout as at
from detectors.evidence.averaged import are_averages
from tests.detectors.crowd import beside, fitted, remembered

Rows = NDArray[np.float64]
DIGITS = np.random.default_rng(0).permutation(load_digits().data)
MOST = DIGITS.max()


@pytest.fixture(scope="module")
def reference() -> EvidenceReference:
    return fitted(DIGITS[:900], (8, 8))


def averages(n: int, seed: int, weight: float = 0.5) -> Rows:
    a, b = np.random.default_rng(seed).integers(900, len(DIGITS), (2, n))
    return np.asarray(weight * DIGITS[a] + (1 - weight) * DIGITS[b])


def plain(n: int, seed: int) -> Rows:
    return np.asarray(DIGITS[np.random.default_rng(seed).integers(900, len(DIGITS), n)])


def blurred(rows: Rows, pixels: float) -> Rows:
    return np.stack([gaussian_filter(picture, pixels) for picture in rows.reshape(-1, 8, 8)]).reshape(len(rows), 64)


CAMERAS: dict[str, Callable[[Rows], Rows]] = {
    "as it should be": lambda x: x,
    **{f"dimmed to {k}": lambda x, k=k: k * x for k in (0.95, 0.9, 0.85, 0.8, 0.7, 0.5)},  # type: ignore[misc]
    **{f"out of focus by {s}": lambda x, s=s: blurred(x, s) for s in (0.3, 0.4, 0.5, 0.6, 0.8)},  # type: ignore[misc]
    **{f"out of focus by {s} and dimmed": lambda x, s=s: 0.9 * blurred(x, s) for s in (0.3, 0.4, 0.5)},  # type: ignore[misc]
    **{f"hazy, {k} left": lambda x, k=k: k * x + (1 - k) * MOST / 2 for k in (0.9, 0.7, 0.5)},  # type: ignore[misc]
    **{f"exposed, gamma {g}": lambda x, g=g: MOST * (x / MOST) ** g for g in (0.7, 1.5)},  # type: ignore[misc]
}


def client(reference: EvidenceReference, asked: list[Rows]) -> list[tuple[int, int, int]]:
    _, found = beside(reference, [plain(60, 100 + k) for k in range(20)], asked)
    assert {who for who, _, _ in found} <= set(range(len(asked))), "no ordinary client is named"
    return found


def test_averages_of_two_pictures_are_paged(reference: EvidenceReference) -> None:
    assert {0, 1} <= {who for who, severity, _ in client(reference, [averages(1200, 1), averages(1200, 2)]) if severity == 2}


def test_a_hundred_and_twenty_averages_with_a_weight_of_three_tenths_are_enough(reference: EvidenceReference) -> None:
    """By their distance from the middle: their residuals alone say nothing yet."""
    asked = [averages(120, 1, 0.3), averages(120, 2, 0.3)]
    assert {0, 1} <= {who for who, severity, _ in client(reference, asked) if severity == 2}


@pytest.mark.parametrize("name", CAMERAS)
def test_what_a_camera_does_is_a_ticket_at_most(reference: EvidenceReference, name: str) -> None:
    assert max((severity for _, severity, _ in client(reference, [CAMERAS[name](plain(500, 7))])), default=0) <= 1


@pytest.mark.parametrize("seed", range(4))
def test_the_remembered_pictures_tell_which(reference: EvidenceReference, seed: int) -> None:
    def said(rows: Rows, quiet: int) -> bool:
        count = np.zeros(at.INT_COUNT, np.int32)
        count[at.SCORED], count[at.BELOW_1] = 100, quiet
        return bool(are_averages(remembered(reference, rows), c.MEMORY, count, reference.look.share, reference.smooth_halved))

    assert all(said(averages(c.MEMORY, seed, weight), 30) for weight in (0.5, 0.4))
    assert not said(averages(c.MEMORY, seed), 95), "quieter than averages are"
    assert not any(said(change(plain(c.MEMORY, 20 + seed)), 30) for change in CAMERAS.values())
    assert not said(np.full((c.MEMORY, 64), 3.0), 30)


def test_photographs_without_a_background_stay_tickets() -> None:
    """Haze over them would be the same."""
    rng = np.random.default_rng(0)
    X = 128 + 30 * rng.normal(size=(600, 64)) @ np.linalg.cholesky(np.exp(-np.abs(np.subtract.outer(np.arange(64), np.arange(64))) / 9)).T
    reference, count = fitted(X, (8, 8)), np.zeros(at.INT_COUNT, np.int32)
    memory = remembered(reference, (X[: c.MEMORY] + X[c.MEMORY : 2 * c.MEMORY]) / 2)
    assert not are_averages(memory, c.MEMORY, count, reference.look.share, reference.smooth_halved)


@pytest.mark.parametrize("noise", [0.3, 0.4, 0.7, 1.0])
def test_the_noise_of_a_still_camera_with_sixteen_levels_is_no_search(reference: EvidenceReference, noise: float) -> None:
    """From one level to the next is its smallest step, and a dark pixel has two: those are no corners of a box."""
    rng = np.random.default_rng(0)
    scenes = [DIGITS[1000], np.zeros(64), np.full(64, 8.0), np.full(64, MOST)]
    assert client(reference, [np.clip(np.rint(scene + noise * rng.normal(size=(300, 64))), 0, MOST) for scene in scenes]) == []
    box = DIGITS[1000] + 0.13 * MOST * rng.choice([-1, 1], (300, 64))
    assert 2 in {severity for _, severity, _ in client(reference, [np.clip(box, 0, MOST)])}
