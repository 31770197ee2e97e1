"""Categories that the reference does not have: their share is Good-Turing's to say, not that of a cell that was fixed beforehand."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from detectors.drift import DriftDetector, DriftReference, WindowCounts


class Zipf:
    """Categories with shares in proportion to rank^-s, a reference of some rows, and a stream."""

    def __init__(self, s: float, categories: int, rows: int, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        shares = np.arange(1, categories + 1) ** -s
        self.p = shares / shares.sum()
        drawn = self.rng.choice(categories, rows, p=self.p)
        self.known = np.unique(drawn)
        self.code = np.full(categories + 1, self.known.size)
        self.code[self.known] = np.arange(self.known.size)
        names = {"c": [str(k) for k in self.known]}
        self.reference = DriftReference.fit(self.code[drawn][:, None].astype(np.float32), ["c"], ["categorical"], categories=names)

    @property
    def unseen(self) -> float:
        return float(1.0 - self.p[self.known].sum())

    def window(self, more: float = 0.0, n: int = 300) -> NDArray[np.float32]:
        drawn = self.rng.choice(self.p.size, n, p=self.p)
        drawn[self.rng.random(n) < more] = self.p.size
        return self.code[drawn][:, None].astype(np.float32)


def severities(traffic: Zipf, windows: int, more: float = 0.0, detector: DriftDetector | None = None) -> list[str]:
    detector = detector or DriftDetector(traffic.reference, false_pages=0.35, windows=8_640)
    out: list[str] = []
    for _ in range(windows):
        counts = WindowCounts(traffic.reference)
        counts.update(traffic.window(more), clients=traffic.rng.integers(1, 2**62, 300))
        out.append(detector.step(counts)[0])
    return out


@pytest.mark.parametrize(("s", "categories", "rows"), [(1.1, 3_000, 2_000), (1.5, 3_000, 2_000), (1.1, 300, 500), (2.5, 50, 2_000)])
def test_the_limit_holds_the_unseen_share_and_that_of_a_fixed_cell_does_not(s: float, categories: int, rows: int) -> None:
    made = [Zipf(s, categories, rows, seed) for seed in range(40)]
    assert all(one.unseen <= one.reference.unseen_bounds(60)[0] for one in made)
    if s < 2:
        none, n = np.array([0]), np.array([rows])
        assert all(one.unseen > one.reference.bounds(none, n, 60)[1][0] for one in made)


@pytest.mark.parametrize(("s", "rows"), [(1.1, 2_000), (1.5, 2_000), (1.1, 20_000)])
def test_a_long_tail_opens_no_ticket_and_without_good_and_turing_it_pages(s: float, rows: int) -> None:
    traffic = Zipf(s, 3_000, rows, 1)
    assert set(severities(traffic, 80)) == {"none"}
    blind = Zipf(s, 3_000, rows, 1)
    blind.reference.rare[:] = 0
    assert "page" in severities(blind, 80)


@pytest.mark.parametrize(("s", "rows"), [(1.1, 2_000), (2.5, 2_000)])
def test_more_unseen_categories_than_that_still_page(s: float, rows: int) -> None:
    traffic = Zipf(s, 3_000, rows, 2)
    detector = DriftDetector(traffic.reference, false_pages=0.35, windows=8_640)
    severities(traffic, 30, detector=detector)
    assert "page" in severities(traffic, 20, more=0.3, detector=detector)


def test_it_is_kept_with_the_reference_and_one_of_before_has_none() -> None:
    made = Zipf(1.5, 300, 1_000, 3).reference
    again = DriftReference.from_bytes(made.to_bytes())
    np.testing.assert_array_equal(again.rare, made.rare)
    assert made.rare[0, 0] > 0
    made.rare[:] = 0
    assert made.unseen_bounds(10)[0] == made.bounds(np.array([0]), np.array([1_000]), 10)[1][0]
