"""How long the drift detector takes against what is possible, and whether it keeps its budget of pages.

    python -m bench drift delay [--repetitions 200] [--materiality 0 0.01] [--clients N]
    python -m bench drift months [--months 12]

**delay**: 20 features of one law, reference of 100,000 rows, windows of 100 rows, one page per 30 days (8,640 windows), one of the 20
changes for good at the beginning of a window. Beside the median delay in rows stands the information bound ln(8,640 x 20) / KL: what a
detector needs on average that knows the change, but not whose it is. Windows have 100 rows, so nothing is found before 100, and the target,
twice the bound, is rounded up to whole windows. A repetition has its own traffic; each reference is used by ten of them.

**months**: unchanged traffic, pages counted. *iid*: independent rows of the four laws. *season*: each feature's latent mean swings by the
day (0.3 sd) and the week (0.15 sd) and drifts as an AR(1) of sd 0.1 that forgets half within an hour; the reference is two recorded
weeks with times. The interval is Clopper-Pearson at 95 % for the share of months with a page, and the budget is one page a month.
"""

from __future__ import annotations

import argparse
import functools
import math
import time
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaincinv

from bench.drift_laws import CHANGES, LAWS, Change, Law
from detectors.drift import DriftDetector, DriftReference, WindowCounts

FEATURES, ROWS, WINDOW, MONTH = 20, 100_000, 100, 8_640
WARM, LIMIT = 15, 150
"""Quiet windows before the change, and windows after it within which it must be found."""
SHARED = 10
"""Repetitions that use one reference."""
NAMES = [f"f{j}" for j in range(FEATURES)]

Rows = NDArray[np.float32]


class Delays(NamedTuple):
    """Rows from the change to the close of the window that told, inf where none did, one a repetition."""

    page: NDArray[np.float64]
    ticket: NDArray[np.float64]
    false: int
    """Pages before the change."""


@functools.cache
def references(law: Law, count: int) -> tuple[DriftReference, ...]:
    """Of 20 features of one law, each of its own rows."""
    rng = np.random.default_rng(99)
    return tuple(DriftReference.fit(law.sample(rng, (ROWS, FEATURES)), NAMES, ["numeric"] * FEATURES) for _ in range(count))


def delays(law: Law, change: Change, materiality: float, repetitions: int, clients: int, seed: int) -> Delays:
    """Detect one change `repetitions` times."""
    rng = np.random.default_rng(seed)
    page, ticket, false = np.full(repetitions, np.inf), np.full(repetitions, np.inf), 0
    for shared, reference in enumerate(references(law, math.ceil(repetitions / SHARED))):
        detector = DriftDetector(reference, false_pages=1, windows=MONTH, materiality=materiality)
        fresh = detector.snapshot()
        for r in range(SHARED * shared, min(SHARED * (shared + 1), repetitions)):
            detector.restore(fresh)
            hashes = rng.integers(0, 2**63, max(clients, 1))
            for t in range(-WARM, LIMIT):
                rows = law.sample(rng, (WINDOW, FEATURES))
                if t >= 0:
                    rows[:, 0] = law.sample(rng, (WINDOW,), change)
                counts = WindowCounts(reference)
                counts.update(rows, clients=rng.choice(hashes, WINDOW) if clients else None)
                severity, opened = detector.step(counts)
                if t < 0:
                    false += opened
                    continue
                if severity != "none" and not math.isfinite(ticket[r]):
                    ticket[r] = WINDOW * (t + 1)
                if severity == "page":
                    page[r] = WINDOW * (t + 1)
                    break
    return Delays(page, ticket, false)


def delay_table(materialities: list[float], repetitions: int, clients: int) -> None:
    """Print the table of delays."""
    met = cells = 0
    for materiality in materialities:
        print(f"\nmateriality {materiality}, {repetitions} repetitions, " + (f"{clients} clients" if clients else "independent rows"))
        print("| law | change | bound, rows | target | median delay | of bound | quartiles | paged | ticketed | false |")
        print("|---|---|---|---|---|---|---|---|---|---|")
        for law in LAWS:
            for c, change in enumerate(CHANGES):
                bound = math.log(MONTH * FEATURES) / law.divergence(change)
                target = WINDOW * math.ceil(2 * bound / WINDOW)
                found = delays(law, change, materiality, repetitions, clients, seed=1 + c)
                low, median, high = np.quantile(found.page, [0.25, 0.5, 0.75], method="inverted_cdf")
                cells, met = cells + 1, met + bool(median <= target)
                shown = f"{median:,.0f} | {median / bound:.2f}" if math.isfinite(median) else "not found | -"
                print(
                    f"| {law.name} | {change.name} | {bound:,.0f} | {target:,} | {shown} | {low:,.0f}-{high:,.0f} "
                    f"| {np.isfinite(found.page).mean():.0%} | {np.isfinite(found.ticket).mean():.0%} | {found.false} |",
                    flush=True,
                )
    print(f"\n{met} of {cells} medians within the target")


def clopper_pearson(hits: int, trials: int) -> tuple[float, float]:
    """95 % limits of a share."""
    low = float(betaincinv(hits, trials - hits + 1, 0.025)) if hits else 0.0
    high = float(betaincinv(hits + 1, trials - hits, 0.975)) if hits < trials else 1.0
    return low, high


class Swing:
    """Means that swing by the day and the week and drift as an AR(1), shape (windows, FEATURES) in units of sd."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        self._phase = rng.uniform(0, 2 * np.pi, (2, FEATURES))

    def means(self, windows: int) -> NDArray[np.float64]:
        """Of consecutive windows of five minutes."""
        t = np.arange(windows)[:, None] / 288
        out = 0.3 * np.sin(2 * np.pi * t + self._phase[0]) + 0.15 * np.sin(2 * np.pi * t / 7 + self._phase[1])
        forget = 0.5 ** (1 / 12)
        noise = self._rng.normal(0, 0.1 * math.sqrt(1 - forget**2), (windows, FEATURES))
        drift = self._rng.normal(0, 0.1, FEATURES)
        for k in range(windows):
            drift = forget * drift + noise[k]
            out[k] += drift
        return np.asarray(out, np.float64)


def month(kind: str, seed: int, materiality: float) -> tuple[int, int]:
    """Pages and ticketed windows of one month."""
    rng = np.random.default_rng(seed)
    laws = [LAWS[j % len(LAWS)] for j in range(FEATURES)]

    def rows(n: int, means: NDArray[np.float64]) -> Rows:
        return np.column_stack([law.sample(rng, (n,), means=means[:, j]) for j, law in enumerate(laws)])

    swing = Swing(rng)
    if kind == "iid":
        reference = DriftReference.fit(rows(ROWS, np.zeros((ROWS, FEATURES))), NAMES, ["numeric"] * FEATURES)
    else:
        at = np.sort(rng.integers(0, 14 * 288, ROWS))
        past = rows(ROWS, swing.means(14 * 288)[at])
        reference = DriftReference.fit(past, NAMES, ["numeric"] * FEATURES, at_s=300.0 * at)
    detector = DriftDetector(reference, false_pages=1, windows=MONTH, materiality=materiality)
    means = swing.means(MONTH) if kind != "iid" else np.zeros((MONTH, FEATURES))
    pages = tickets = 0
    day = 288
    for begin in range(0, MONTH, day):
        batch = rows(day * WINDOW, np.repeat(means[begin : begin + day], WINDOW, axis=0)).reshape(day, WINDOW, FEATURES)
        for k in range(day):
            counts = WindowCounts(reference)
            counts.update(batch[k])
            severity, opened = detector.step(counts)
            pages, tickets = pages + opened, tickets + (severity == "ticket")
    return pages, tickets


def months_table(months: int, materialities: list[float]) -> None:
    """Print pages in simulated months."""
    print("| traffic | materiality | months | pages | months with a page | share of months, 95 % | budget | windows ticketed |")
    print("|---|---|---|---|---|---|---|---|")
    for kind in ("iid", "season"):
        for materiality in materialities:
            seen = [month(kind, 1000 + m, materiality) for m in range(months)]
            bad = sum(pages > 0 for pages, _ in seen)
            low, high = clopper_pearson(bad, months)
            print(
                f"| {kind} | {materiality} | {months} | {sum(p for p, _ in seen)} | {bad} | {low:.3f}-{high:.3f} | 1 a month "
                f"| {sum(t for _, t in seen) / months / MONTH:.5f} |",
                flush=True,
            )


def main() -> None:
    """Run the parts asked for."""
    parser = argparse.ArgumentParser(prog="python -m bench drift")
    parser.add_argument("part", nargs="*", choices=["delay", "months"])
    parser.add_argument("--repetitions", type=int, default=200)
    parser.add_argument("--months", type=int, default=12)
    parser.add_argument("--materiality", type=float, nargs="+", default=[0.0, 0.01])
    parser.add_argument("--clients", type=int, default=0)
    given = parser.parse_args()
    begun = time.process_time()
    if not given.part or "delay" in given.part:
        delay_table(given.materiality, given.repetitions, given.clients)
    if not given.part or "months" in given.part:
        months_table(given.months, given.materiality)
    print(f"{time.process_time() - begun:.0f} s of CPU")


if __name__ == "__main__":
    main()
