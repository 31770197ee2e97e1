"""Counting and judging drift: CPU microseconds per row, beside plain numpy doing PSI only and scouter-ml's PSI, in the same run.

    python -m bench.drift_counts

First whole windows of 10,000 rows of 20 features: counted, judged, and beside them PSI per window (numpy: the same deciles with
`searchsorted` and `bincount` per variable; scouter-ml: `Drifter.compute_drift` with a PSI profile, if it is installed, which it need not
be). PSI needs no clients, no evidence and no moments. Then the shard's setting: 20 features, 10 class scores and the predicted class in
batches of 500 events.
"""

import importlib
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detectors.drift import DriftDetector, DriftReference, WindowCounts

FEATURES, CLASSES, BATCH, WINDOW = 20, 10, 500, 10_000


def best_s(run: Callable[[], object], repeats: int = 20) -> float:
    """CPU seconds of the fastest of several runs: the one with the least weather."""
    times = []
    for _ in range(repeats):
        start = time.process_time()
        run()
        times.append(time.process_time() - start)
    return min(times)


@dataclass(frozen=True)
class Setting:
    """One window of 10,000 rows of 20 features from 500 clients, to be counted and judged again and again."""

    X: NDArray[np.float32]
    count: Callable[[], None]
    judge: Callable[[], None]
    describe: Callable[[], None]


def setting() -> Setting:
    """The same one whenever it is asked for."""
    rng = np.random.default_rng(2)
    X = rng.normal(size=(WINDOW, FEATURES)).astype(np.float32)
    clients = rng.integers(0, 2**63, 500)[rng.integers(0, 500, WINDOW)].astype(np.uint64)
    reference = DriftReference.fit(X, [f"f{j}" for j in range(FEATURES)], ["numeric"] * FEATURES)
    window, detector = WindowCounts(reference), DriftDetector(reference, false_pages=1, windows=8640)

    def count() -> None:
        window.clear()
        window.update(X, clients=clients)

    def judge() -> None:
        detector.step(window)

    def describe() -> None:
        detector.update(window)

    return Setting(X, count, judge, describe)


def whole_windows() -> None:
    """Print rows per CPU-second of 20 features in windows of 10,000."""
    given = setting()
    X = given.X
    inner, expected = np.quantile(X, np.arange(0.1, 0.95, 0.1), axis=0).astype(np.float32), np.full(10, 0.1)

    def psi() -> None:
        for j in range(FEATURES):
            counts = np.bincount(np.searchsorted(inner[:, j], X[:, j]), minlength=10)
            share = (counts + 0.5) / (counts.sum() + 5.0)
            ((share - expected) * np.log(share / expected)).sum()

    runs: dict[str, list[Callable[[], None]]] = {
        "counting": [given.count],
        "verdict": [given.judge],
        "counting and verdict": [given.count, given.judge],
        "counting, verdict and report": [given.count, given.describe],
        "numpy PSI": [psi],
    }
    try:
        scouter = importlib.import_module("scouter")
    except ImportError:
        print("scouter-ml is not installed: left out")
    else:
        drifter = scouter.Drifter()
        profile = drifter.create_drift_profile(X, scouter.PsiDriftConfig(name="bench", space="bench", version="0.1.0"))
        runs["scouter-ml PSI"] = [lambda: drifter.compute_drift(X, profile)]
    for parts in runs.values():
        parts[0]()  # compiles
    plain = best_s(psi)
    for name, parts in runs.items():
        spent = sum(best_s(part) for part in parts)
        rate = WINDOW / spent / 1e6
        print(f"{name:30s} {spent * 1e6:7.0f} us a window  {rate:6.1f} M rows per CPU-second  {plain / spent:5.1f} x numpy PSI")


def main() -> None:
    """Print the tables."""
    whole_windows()
    rng = np.random.default_rng(1)
    X = rng.normal(size=(WINDOW, FEATURES)).astype(np.float32)
    scores = rng.dirichlet(np.ones(CLASSES), WINDOW).astype(np.float32)
    label, clients = scores.argmax(axis=1), rng.integers(0, 500, WINDOW).astype(np.uint64)
    names = [f"f{j}" for j in range(FEATURES)]
    classes = [str(c) for c in range(CLASSES)]
    reference = DriftReference.fit(X, names, ["numeric"] * FEATURES, scores=scores, classes=classes, label=label)
    detector, window = DriftDetector(reference, false_pages=1, windows=8640), WindowCounts(reference)

    def count() -> None:
        window.clear()
        for i in range(0, WINDOW, BATCH):
            rows = slice(i, i + BATCH)
            window.update(X[rows], scores[rows], label[rows], clients=clients[rows])

    def judge() -> None:
        detector.update(window)

    table = np.concatenate([X, scores], axis=1)
    inner = np.quantile(table, np.arange(0.1, 0.95, 0.1), axis=0).astype(np.float32)
    expected = np.full(10, 0.1)

    def plain() -> None:
        for j in range(table.shape[1]):
            counts = np.zeros(10, np.int64)
            for i in range(0, WINDOW, BATCH):
                counts += np.bincount(np.searchsorted(inner[:, j], table[i : i + BATCH, j]), minlength=10)
            share = (counts + 0.5) / (counts.sum() + 5.0)
            ((share - expected) * np.log(share / expected)).sum()

    count()  # compiles
    counting, judging, numpy_psi = (best_s(run) / WINDOW * 1e6 for run in (count, judge, plain))
    print(f"counting            {counting:6.3f} us/row   {counting / numpy_psi:5.2f} of numpy PSI")
    print(f"verdict per window  {judging * WINDOW / 1e3:6.2f} ms")
    print(f"both, {WINDOW:,} rows {counting + judging:6.3f} us/row   {(counting + judging) / numpy_psi:5.2f} of numpy PSI")
    print(f"plain numpy PSI     {numpy_psi:6.3f} us/row")


if __name__ == "__main__":
    main()
