"""Promises about pictures of another camera: they break the law of smooth ones, and are no page; what is drawn or put together is."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import zoom
from sklearn.datasets import load_digits

from detectors.evidence import EvidenceReference
from detectors.evidence.constants import MEMORY
from detectors.evidence.place import hangs_together, is_a_film
from tests.detectors.crowd import beside, fitted, remembered

Rows = NDArray[np.float64]
Camera = Callable[[Rows, np.random.Generator], Rows]
SIDE, MOST = 24, 255.0
DIGITS = np.stack([zoom(digit, SIDE / 8, order=1) for digit in np.random.default_rng(0).permutation(load_digits().images)])
PICTURES = np.clip(DIGITS * 16, 0, MOST).round()
CAMERAS: dict[str, Camera] = {
    "grain": lambda x, rng: x + 0.05 * MOST * rng.normal(size=x.shape),
    "eight levels": lambda x, _: np.round(x / MOST * 7) / 7 * MOST,
    "half the resolution": lambda x, _: x[:, ::2, ::2].repeat(2, axis=1).repeat(2, axis=2),
    "held in four ways": lambda x, _: np.concatenate([np.rot90(x[k::4], k, axes=(1, 2)) for k in range(4)]),
    "dead and hot pixels": lambda x, rng: np.where(rng.random(x.shape) < 0.03, rng.choice([0, MOST], x.shape), x),
}
MADE: dict[str, Camera] = {
    "shuffled": lambda x, rng: rng.permuted(x, axis=0),
    "uniform": lambda x, rng: rng.uniform(0, MOST, x.shape),
    "each pixel of one of two": lambda x, rng: np.where(rng.random(x.shape) < 0.5, x, x[rng.permutation(len(x))]),
}


@pytest.fixture(scope="module")
def reference() -> EvidenceReference:
    return fitted(PICTURES[:900].reshape(900, -1), (SIDE, SIDE))


def asked(way: Camera, seed: int, n: int = 200) -> Rows:
    rng = np.random.default_rng(seed)
    x = way(PICTURES[rng.choice(np.arange(900, len(PICTURES)), n, replace=False)], rng)
    return rng.permutation(np.clip(x, 0, MOST).round()).reshape(n, -1)


def paged(reference: EvidenceReference, clients: list[Rows]) -> set[int]:
    ordinary = [asked(lambda x, _: x, 100 + k, 60) for k in range(20)]
    _, found = beside(reference, ordinary, clients)
    assert {who for who, _, _ in found} <= set(range(len(clients))), "no ordinary client is named"
    return {who for who, severity, _ in found if severity == 2}


@pytest.mark.parametrize("name", CAMERAS)
def test_another_camera_is_no_page(reference: EvidenceReference, name: str) -> None:
    assert paged(reference, [asked(CAMERAS[name], seed) for seed in range(4)]) == set()


@pytest.mark.parametrize("name", MADE)
def test_made_pictures_are_paged(reference: EvidenceReference, name: str) -> None:
    assert paged(reference, [asked(MADE[name], seed) for seed in range(4)]) == set(range(4))


@pytest.mark.parametrize("seed", range(3))
def test_the_remembered_pixels_tell_which(reference: EvidenceReference, seed: int) -> None:
    def together(way: Camera) -> bool:
        return bool(hangs_together(remembered(reference, asked(way, 40 + seed, MEMORY)), MEMORY, reference.look))

    assert all(together(way) for way in CAMERAS.values())
    assert not any(together(MADE[name]) for name in ("shuffled", "uniform"))


def film(seed: int, n: int = 160) -> Rows:
    """One picture after another, each dissolved into the next in six steps, by a noisy camera."""
    rng = np.random.default_rng(seed)
    scenes = PICTURES[rng.choice(np.arange(900, len(PICTURES)), n // 6 + 2, replace=False)]
    share = (np.arange(n) % 6 / 6)[:, None, None]
    frames = (1 - share) * scenes[np.arange(n) // 6] + share * scenes[np.arange(n) // 6 + 1]
    return np.asarray(np.clip(frames + 0.08 * MOST * rng.normal(size=frames.shape), 0, MOST).round().reshape(n, -1))


@pytest.mark.parametrize("seed", range(3))
def test_each_picture_of_a_film_is_like_the_one_before_and_made_ones_are_not(reference: EvidenceReference, seed: int) -> None:
    def like(X: Rows) -> bool:
        return bool(is_a_film(remembered(reference, X[:MEMORY]), MEMORY, reference.look))

    assert like(film(50 + seed))
    assert not like(np.random.default_rng(seed).permutation(film(50 + seed)))
    assert not any(like(asked(way, 60 + seed)) for way in MADE.values())
