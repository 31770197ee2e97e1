"""Counting and judging drift: microseconds per row, beside plain numpy doing PSI only, in the same run.

    python -m bench.drift_counts

20 features, 10 class scores and the predicted class; batches of 500 events, windows of 10,000. The numpy side cuts the same deciles with
`searchsorted` and `bincount` per variable and computes PSI per window: no clients, no evidence, no moments.
"""

import time
from collections.abc import Callable

import numpy as np

from detectors.drift import DriftDetector, DriftReference, WindowCounts

FEATURES, CLASSES, BATCH, WINDOW = 20, 10, 500, 10_000


def best_s(run: Callable[[], None], repeats: int = 7) -> float:
    """Seconds of the fastest of several runs: the one with the least weather."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return min(times)


def main() -> None:
    """Print the table."""
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
