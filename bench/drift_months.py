"""Simulated months of unchanged traffic: how often the drift detector pages although nothing is wrong.

A window's rows are independent given its latent means, and the features of a row are, too.
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaincinv

from bench.drift_laws import LAWS
from detectors.drift import DriftDetector, DriftReference, WindowCounts

FEATURES, ROWS, WINDOW, MONTH, DAY = 20, 100_000, 100, 8_640, 288
REFERENCE_DAYS = 14
NAMES = [f"f{j}" for j in range(FEATURES)]
LAW_OF = [LAWS[j % len(LAWS)] for j in range(FEATURES)]

Floats = NDArray[np.float64]
Traffic = Literal["iid", "season", "season + AR(1)"]
TRAFFIC: tuple[Traffic, ...] = ("iid", "season", "season + AR(1)")


class Swing:
    """Latent means in units of sd: a day (0.3), a week (0.15) and, if asked for, an AR(1) of sd 0.1 that forgets half within an hour."""

    def __init__(self, rng: np.random.Generator, traffic: Traffic) -> None:
        self._rng, self._traffic = rng, traffic
        self._phase = rng.uniform(0, 2 * np.pi, (2, FEATURES))

    def means(self, first: int, windows: int) -> Floats:
        """Of consecutive windows of five minutes from number `first` on, shape (windows, FEATURES)."""
        if self._traffic == "iid":
            return np.zeros((windows, FEATURES))
        t = (first + np.arange(windows))[:, None] / DAY
        out = 0.3 * np.sin(2 * np.pi * t + self._phase[0]) + 0.15 * np.sin(2 * np.pi * t / 7 + self._phase[1])
        if self._traffic == "season + AR(1)":
            forget = 0.5 ** (1 / 12)
            noise = self._rng.normal(0, 0.1 * math.sqrt(1 - forget**2), (windows, FEATURES))
            drift = self._rng.normal(0, 0.1, FEATURES)
            for k in range(windows):
                drift = forget * drift + noise[k]
                out[k] += drift
        return np.asarray(out, np.float64)


class Month(NamedTuple):
    """What one month with one materiality gave."""

    pages: int
    ticketed: int
    """Windows."""


def rows(rng: np.random.Generator, means: Floats) -> NDArray[np.float32]:
    """One row for each row of `means`."""
    return np.column_stack([law.sample(rng, (len(means),), means=means[:, j]) for j, law in enumerate(LAW_OF)])


def recorded(rng: np.random.Generator, traffic: Traffic) -> tuple[Swing, DriftReference]:
    """A stream and the reference recorded before it: two weeks of rows with times of the same swing; rows without times for iid."""
    swing = Swing(rng, traffic)
    if traffic == "iid":
        return swing, DriftReference.fit(rows(rng, np.zeros((ROWS, FEATURES))), NAMES, ["numeric"] * FEATURES)
    at = np.sort(rng.integers(0, REFERENCE_DAYS * DAY, ROWS))
    past = rows(rng, swing.means(0, REFERENCE_DAYS * DAY)[at])
    return swing, DriftReference.fit(past, NAMES, ["numeric"] * FEATURES, at_s=300.0 * at)


def month(traffic: Traffic, seed: int, materialities: list[float]) -> list[Month]:
    """Pages and ticketed windows of one month, for each materiality on the same counts."""
    rng = np.random.default_rng(seed)
    swing, reference = recorded(rng, traffic)
    detectors = [DriftDetector(reference, false_pages=1, windows=MONTH, materiality=delta) for delta in materialities]
    pages, ticketed = [0] * len(detectors), [0] * len(detectors)
    means = swing.means(REFERENCE_DAYS * DAY, MONTH)
    counts = WindowCounts(reference)
    for begin in range(0, MONTH, DAY):
        day = rows(rng, np.repeat(means[begin : begin + DAY], WINDOW, axis=0))
        for k in range(DAY):
            counts.clear()
            counts.update(day[k * WINDOW : (k + 1) * WINDOW])
            start = 300.0 * (REFERENCE_DAYS * DAY + begin + k)
            span = start, start + 300.0
            for i, detector in enumerate(detectors):
                severity, opened = detector.step(counts, span)
                pages[i] += opened
                ticketed[i] += severity == "ticket"
    return [Month(p, t) for p, t in zip(pages, ticketed, strict=True)]


SHIFTS = (0.25, 0.5, 1.0)
WARM, LIMIT, SHARED = 24, 576, 5
"""Windows before the shift, windows within which it must be found, and repetitions that share a reference."""


def delays(traffic: Traffic, materiality: float, repetitions: int) -> dict[float, list[float]]:
    """Rows from a shift of the first feature (normal, in sd) to the page, inf where there is none within two days; by shift."""
    found: dict[float, list[float]] = {shift: [] for shift in SHIFTS}
    for r in range(repetitions):
        if r % SHARED == 0:
            rng = np.random.default_rng(5_000 + r)
            swing, reference = recorded(rng, traffic)
            detector = DriftDetector(reference, false_pages=1, windows=MONTH, materiality=materiality)
            fresh, counts = detector.snapshot(), WindowCounts(reference)
        first = REFERENCE_DAYS * DAY + int(rng.integers(0, 7 * DAY))
        means = swing.means(first, WARM + LIMIT)
        for shift in SHIFTS:
            detector.restore(fresh)
            moved = means.copy()
            moved[WARM:, 0] += shift
            days = rows(rng, np.repeat(moved, WINDOW, axis=0))
            delay = math.inf
            for k in range(len(moved)):
                counts.clear()
                counts.update(days[k * WINDOW : (k + 1) * WINDOW])
                start = 300.0 * (first + k)
                if detector.step(counts, (start, start + 300.0))[0] == "page" and k >= WARM:
                    delay = WINDOW * (k - WARM + 1.0)
                    break
            found[shift].append(delay)
    return found


def delays_table(repetitions: int, materialities: list[float]) -> None:
    """Print what the season and the wander cost."""
    print(f"\n| traffic | materiality | {' | '.join(f'+{shift} sd' for shift in SHIFTS)} |")
    print("|---|---|---|---|---|")
    for traffic in TRAFFIC:
        for materiality in materialities:
            cells = []
            for found in delays(traffic, materiality, repetitions).values():
                median, share = float(np.median(found)), float(np.isfinite(found).mean())
                cells.append(f"{median:,.0f}, {share:.0%} paged" if math.isfinite(median) else f"{share:.0%} paged")
            print(f"| {traffic} | {materiality} | {' | '.join(cells)} |", flush=True)


def clopper_pearson(hits: int, trials: int) -> tuple[float, float]:
    """95 % limits of a share."""
    low = float(betaincinv(hits, trials - hits + 1, 0.025)) if hits else 0.0
    high = float(betaincinv(hits + 1, trials - hits, 0.975)) if hits < trials else 1.0
    return low, high


def months_table(months: int, materialities: list[float]) -> None:
    """Print pages in simulated months."""
    print("| traffic | materiality | months | pages | months with a page | share of months, 95 % | budget | windows ticketed |")
    print("|---|---|---|---|---|---|---|---|")
    for traffic in TRAFFIC:
        seen = [month(traffic, 1000 + m, materialities) for m in range(months)]
        for i, materiality in enumerate(materialities):
            bad = sum(one[i].pages > 0 for one in seen)
            low, high = clopper_pearson(bad, months)
            print(
                f"| {traffic} | {materiality} | {months} | {sum(one[i].pages for one in seen)} | {bad} | {low:.3f}-{high:.3f} | 1 a month "
                f"| {sum(one[i].ticketed for one in seen) / months / MONTH:.5f} |",
                flush=True,
            )
