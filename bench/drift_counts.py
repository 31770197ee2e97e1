"""Counting and judging drift: CPU microseconds per window, beside plain numpy doing PSI only and scouter-ml's PSI, in the same run.

    python -m bench.drift_counts

First whole windows of 10,000 rows of 20 features: counted, judged, and beside them PSI per window (numpy: the same deciles with
`searchsorted` and `bincount` per variable; scouter-ml: `Drifter.compute_drift` with a PSI profile, if it is installed, which it need not
be). PSI needs no clients, no evidence and no moments. Then the shard's setting: 20 features, 10 class scores and the predicted class in
batches of 500 events.

The windows are 40 of the reference's law, each with rows of its own, counted and judged one after the other, again and again, as a worker
in quiet times does; the run fails if one of them is as much as a ticket. A window that pages has a line of its own: the detector as it is
after quiet windows, and one feature moved by half a standard deviation.
"""

import functools
import importlib
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from detectors.drift import DriftDetector, DriftReference, WindowCounts
from detectors.drift.cells import Kind

FEATURES, CLASSES, BATCH, WINDOW = 20, 10, 500, 10_000
WINDOWS = 40
"""Distinct quiet windows."""
CYCLES = 20
"""Times that all of them are taken."""
MOVED_SD = 0.5


def spent_s(run: Callable[[], object], repeats: int) -> list[float]:
    """CPU seconds of each of several runs."""
    times = []
    for _ in range(repeats):
        start = time.process_time()
        run()
        times.append(time.process_time() - start)
    return times


def best_s(run: Callable[[], object], repeats: int = CYCLES) -> float:
    """CPU seconds of the fastest of several runs: the one with the least weather."""
    return min(spent_s(run, repeats))


@dataclass
class Setting:
    """Quiet windows of 10,000 events from 500 clients, to be counted and judged one after the other.

    Args:
        scored: also with class scores and the predicted class, and in batches.
    """

    scored: bool = False
    tables: list[tuple[NDArray[Any], ...]] = field(init=False)
    """Of each window what is counted: features, and scores and the class if there are any."""
    counts: list[WindowCounts] = field(init=False)

    def __post_init__(self) -> None:
        rng = np.random.default_rng(2)

        def table() -> tuple[NDArray[Any], ...]:
            X = rng.normal(size=(WINDOW, FEATURES)).astype(np.float32)
            if not self.scored:
                return (X,)
            scores = rng.dirichlet(np.ones(CLASSES), WINDOW).astype(np.float32)
            return X, scores, scores.argmax(axis=1)

        past = table()
        self.clients = rng.integers(0, 2**63, 500)[rng.integers(0, 500, WINDOW)].astype(np.uint64)
        names, kinds = [f"f{j}" for j in range(FEATURES)], cast("list[Kind]", ["numeric"] * FEATURES)
        answers: dict[str, Any] = {}
        if self.scored:
            answers = {"scores": past[1], "classes": [str(c) for c in range(CLASSES)], "label": past[2]}
        self.reference = DriftReference.fit(past[0], names, kinds, **answers)
        self.past = np.concatenate(past[:2], axis=1)
        self.tables = [table() for _ in range(WINDOWS)]
        self.counts = [WindowCounts(self.reference) for _ in range(WINDOWS)]
        self.detector = DriftDetector(self.reference, false_pages=1, windows=8640)
        for i in range(WINDOWS):
            self.count(i)
        self.each(self.judge)

    def count(self, i: int) -> None:
        """Window i, anew."""
        window = self.counts[i]
        window.clear()
        self.add(window, *self.tables[i])

    def add(self, window: WindowCounts, *table: NDArray[Any]) -> None:
        """Count the rows of a window."""
        size = BATCH if self.scored else WINDOW
        for begin in range(0, WINDOW, size):
            rows = slice(begin, begin + size)
            batch = {name: part[rows] for name, part in zip(("X", "scores", "label"), table, strict=False)}
            window.update(**batch, clients=self.clients[rows])

    def judge(self, i: int) -> None:
        """Window i, which is quiet."""
        if self.detector.step(self.counts[i]) != ("none", False):
            raise SystemExit(f"a window of the reference's own law was told of (window {i})")

    def describe(self, i: int) -> None:
        """The same with the report."""
        if self.detector.update(self.counts[i]).severity != "none":
            raise SystemExit(f"a window of the reference's own law was told of (window {i})")

    @staticmethod
    def each(do: Callable[[int], object]) -> None:
        """All windows, one after the other."""
        for i in range(WINDOWS):
            do(i)

    def paging_s(self, opens: Callable[[WindowCounts], bool]) -> list[float]:
        """CPU seconds of what judges a window that pages, again and again with the detector as it is after quiet windows."""
        quiet, moved, times = self.detector.snapshot(), WindowCounts(self.reference), []
        X, *answers = self.tables[0]
        self.add(moved, X + np.float32(MOVED_SD) * (np.arange(FEATURES) == 0), *answers)
        for _ in range(CYCLES):
            self.detector.restore(quiet)
            start = time.process_time()
            opened = opens(moved)
            times.append(time.process_time() - start)
            if not opened:
                raise SystemExit("a window that moved did not page")
        self.detector.restore(quiet)
        return times


def psi(table: NDArray[np.float32], inner: NDArray[np.float32], batch: int) -> None:
    """PSI of every column, as numpy has it."""
    expected = np.full(10, 0.1)
    for j in range(table.shape[1]):
        counts = np.zeros(10, np.int64)
        for begin in range(0, WINDOW, batch):
            counts += np.bincount(np.searchsorted(inner[:, j], table[begin : begin + batch, j]), minlength=10)
        share = (counts + 0.5) / (counts.sum() + 5.0)
        ((share - expected) * np.log(share / expected)).sum()


def line(name: str, times: list[float], plain: float) -> None:
    """Of a window: the fastest cycle, the median one, rows per CPU-second of both, and how numpy's PSI compares."""
    least, middle = min(times), statistics.median(times)
    rates = f"{WINDOW / least / 1e6:5.1f} ({WINDOW / middle / 1e6:5.1f})"
    print(f"{name:40s} {least * 1e6:7.0f} ({middle * 1e6:6.0f}) {rates:>15s} {plain / least:6.1f}")


def table_of(given: Setting, batch: int, beside: dict[str, Callable[[int], object]]) -> None:
    """Print what a window costs, and what the peers in `beside` do for it."""

    def both(i: int) -> None:
        given.count(i)
        given.judge(i)

    def all_(i: int) -> None:
        given.count(i)
        given.describe(i)

    inner = np.quantile(given.past, np.arange(0.1, 0.95, 0.1), axis=0).astype(np.float32)
    tables = [np.concatenate(parts[:2], axis=1) for parts in given.tables]
    runs: dict[str, Callable[[int], object]] = {
        "counting": given.count,
        "quiet verdict": given.judge,
        "counting and quiet verdict": both,
        "counting, quiet verdict and report": all_,
        "numpy PSI": lambda i: psi(tables[i], inner, batch),
    } | beside
    for run in runs.values():
        given.each(run)  # compiles; one window thrice in a row would be news
    cycles = {name: spent_s(functools.partial(given.each, run), CYCLES) for name, run in runs.items()}
    times = {name: [cycle / WINDOWS for cycle in each] for name, each in cycles.items()}
    plain = min(times["numpy PSI"])
    head = f"us a window, least (median) of {CYCLES} cycles", "M rows per CPU-second", "x numpy PSI"
    print(" | ".join(head))
    for name, each in times.items():
        line(name, each, plain)
    line("verdict of a window that pages", given.paging_s(lambda window: given.detector.step(window)[1]), plain)
    line("its verdict and report", given.paging_s(lambda window: given.detector.update(window).opened), plain)


def main() -> None:
    """Print the tables."""
    given, beside = Setting(), {}
    try:
        scouter = importlib.import_module("scouter")
    except ImportError:
        print("scouter-ml is not installed: left out")
    else:
        drifter = scouter.Drifter()
        profile = drifter.create_drift_profile(given.past, scouter.PsiDriftConfig(name="bench", space="bench", version="0.1.0"))
        beside["scouter-ml PSI"] = lambda i: drifter.compute_drift(given.tables[i][0], profile)
    print(f"{FEATURES} features, {WINDOWS} windows of {WINDOW:,} rows at once")
    table_of(given, WINDOW, beside)
    print(f"\n{FEATURES} features, {CLASSES} scores and the class, in batches of {BATCH}")
    table_of(Setting(scored=True), BATCH, {})


if __name__ == "__main__":
    main()
