"""What the accuracy detector costs in false pages, how many labels it needs, and how good the estimate without labels is.

    OMP_NUM_THREADS=1 python -m bench.accuracy

Quiet: a month is 8,640 windows of arrival; each run has its own reference of 2,000 labelled rows. "swing": the true error rate moves by a
quarter of itself over the day, around the reference's; "repeats": every label comes ten times, as one row asked and labelled by ten.
Delay: one page per 30 days at the default share; the error rate steps up after 200 windows; 50 labels a window; labels until the page.
Estimate: a logistic world in two dimensions, a model that knows it, covariate shift of 1 sd; then a world whose truth turned.
"""

from __future__ import annotations

import argparse

import numpy as np

from detectors.accuracy import AccuracyCounts, AccuracyDetector, AccuracyReference, bins_of
from detectors.membership.gauge import clopper_pearson

WINDOWS = 8_640
SHARE = 0.10
ERROR = 0.10


def world(rng: np.random.Generator, n: int, shift: float = 0.0, turn: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Scores (n, 2) of a model that knows the world's law, and the truth; ``turn`` radians later the law is another."""
    X = rng.normal(size=(n, 2)) + np.array([shift, 0.0])
    p = 1 / (1 + np.exp(-2.5 * X[:, 0] - 1.0))
    law = 1 / (1 + np.exp(-2.5 * (np.cos(turn) * X[:, 0] + np.sin(turn) * X[:, 1]) - 1.0))
    return np.c_[1 - p, p], (rng.random(n) < law).astype(int)


def counts_of(scores: np.ndarray, y: np.ndarray, delay: np.ndarray | None = None) -> AccuracyCounts:
    """The counts of labels that came together."""
    counts = AccuracyCounts()
    counts.update(np.zeros(len(y), int) if delay is None else delay, scores.argmax(1) != y, bins_of(scores.max(1)))
    return counts


def detector(reference: AccuracyReference, materiality: float = 0.005, may_page: bool = True) -> AccuracyDetector:
    """With the default budget."""
    return AccuracyDetector(reference, false_pages=SHARE, windows=WINDOWS, materiality=materiality, may_page=may_page)


def quiet(rng: np.random.Generator, months: int, labels: int, kind: str, materiality: float) -> tuple[int, int, int]:
    """Pages, windows at ticket level or above, and windows with a concept ticket, in so many months."""
    pages = tickets = concepts = 0
    pool_scores, pool_y = world(rng, 400_000)
    for _ in range(months):
        watch = detector(AccuracyReference.fit(*world(rng, 2_000)), materiality)
        opened = open_before = concept_before = False
        for window in range(WINDOWS):
            n = labels // 10 if kind == "repeats" else labels
            rows = rng.integers(0, len(pool_y), n)
            if kind == "swing":  # wrong rows are drawn more often by day than by night
                wrong = pool_scores.argmax(1)[rows] != pool_y[rows]
                keep = rng.random(n) < np.where(wrong, 1 + 0.25 * np.sin(2 * np.pi * window / 288), 1.0) / 1.25
                rows = rows[keep]
            if kind == "repeats":
                rows = np.repeat(rows, 10)
            report = watch.update(counts_of(pool_scores[rows], pool_y[rows], rng.integers(0, 5, len(rows))))
            opened |= report.opened
            pages += report.opened
            tickets += report.severity != "none" and not open_before
            concepts += report.concept != "none" and not concept_before
            open_before, concept_before = report.severity != "none", report.concept != "none"
    return pages, tickets, concepts


def delay(rng: np.random.Generator, rate: float, n_ref: int, labels: int, materiality: float) -> float:
    """Labels from the step until the page; inf when none came within 20,000."""
    errors = rng.binomial(n_ref, ERROR)
    bins = np.zeros(32, int)
    bins[28] = n_ref
    wrong = np.zeros(32, int)
    wrong[28] = errors
    watch = detector(AccuracyReference(bins, wrong), materiality)
    counts = AccuracyCounts()
    for window in range(200 + 20_000 // labels):
        counts.clear()
        counts.n[2], counts.errors[2] = labels, rng.binomial(labels, ERROR if window < 200 else rate)
        if watch.update(counts).severity == "page" and window >= 200:
            return float((window - 199) * labels)
    return float("inf")


def coverage(rng: np.random.Generator, runs: int, shift: float, turn: float) -> tuple[float, float, float]:
    """Share of windows of 1,000 answers whose accuracy the 95 % interval holds; mean error of the estimate; share of concept tickets."""
    inside = found = 0
    off = []
    for _ in range(runs):
        reference = AccuracyReference.fit(*world(rng, 5_000))
        watch = detector(reference)
        tickets = False
        for _ in range(10):
            scores, y = world(rng, 1_000, shift, turn)
            estimate = reference.estimate(np.bincount(bins_of(scores.max(1)), minlength=32))
            assert estimate is not None
            right = float((scores.argmax(1) == y).mean())
            inside += estimate.low <= right <= estimate.high
            off.append(estimate.accuracy - right)
            tickets |= watch.update(counts_of(scores, y)).concept != "none"
        found += tickets
    return inside / (10 * runs), float(np.mean(off)), found / runs


def main() -> None:
    """Run all of it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seed", type=int, default=11)
    parser.add_argument("--months", type=int, default=12)
    parser.add_argument("--runs", type=int, default=60)
    given = parser.parse_args()
    rng = np.random.default_rng(given.seed)
    print(f"quiet, {given.months} months each: pages, tickets, concept tickets")
    for kind, materiality in (("iid", 0.005), ("iid", 0.0), ("swing", 0.005), ("repeats", 0.005)):
        pages, tickets, concepts = quiet(rng, given.months, 100, kind, materiality)
        high = clopper_pearson(pages, given.months * WINDOWS)[1] * WINDOWS
        print(
            f"  {kind:8} materiality {materiality:5}: {pages:3} {tickets:4} {concepts:4}   "
            f"at most {high:.2f} pages a month (95 %), budget {SHARE}"
        )
    print(f"delay in labels, error rate {ERROR} to q, {given.runs} runs: median (10 % to 90 %), found")
    for materiality in (0.005, 0.0):
        for n_ref in (2_000, 100_000):
            line = []
            for q in (0.12, 0.15, 0.20, 0.30):
                d = np.array([delay(rng, q, n_ref, 50, materiality) for _ in range(given.runs)])
                low, mid, high = np.quantile(d, [0.1, 0.5, 0.9], method="nearest")
                line.append(f"{q}: {mid:,.0f} ({low:,.0f} to {high:,.0f}), {np.isfinite(d).mean():.0%}")
            print(f"  materiality {materiality:5}, {n_ref:7,} reference rows   " + "; ".join(line))
    print(
        f"estimate without labels, {given.runs} references of 5,000 rows, 10 windows of 1,000 answers: held by 95 %, bias, concept tickets"
    )
    for name, shift, turn in (("same world", 0.0, 0.0), ("shift of 1 sd", 1.0, 0.0), ("truth turned by 30 degrees", 0.0, np.pi / 6)):
        held, bias, tickets_ = coverage(rng, given.runs, shift, turn)
        print(f"  {name:28} {held:.1%}  {bias:+.4f}  {tickets_:.0%}")


if __name__ == "__main__":
    main()
