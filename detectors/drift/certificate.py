"""What false pages to expect of a reference: its own days, replayed against what the other days say.

The days of a recorded reference are cut into four stretches. For each, a reference is fitted to the rest, and months of 30 days, drawn with
replacement from the stretch (a block bootstrap; every day keeps its hours and its day of the week), run through the live detector. So a
month is always of days that its reference has not seen. Windows are hours here, with the page level of the same budget: a twelfth of the
steps and a twelfth of the level, for an hour's e-value is the product of its windows'.

Misleads: hours hold as many rows as the recording had; more traffic sees smaller moves. Clients are not known, so nothing is left out and
no client tempers another: a service with few large clients differs. Three quarters of a reference know less than the whole (pessimistic),
and kinds of days that the recording does not have are in no month (optimistic). Months of one stretch share its few days, so the interval,
which takes them as independent, is too narrow.
Source: Künsch, "The jackknife and the bootstrap for general stationary observations", Ann. Stat. 1989 (blocks).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detectors.drift.counts import WindowCounts
from detectors.drift.detector import DriftDetector
from detectors.drift.reference import DriftReference
from detectors.drift.replayed import Certificate
from detectors.drift.season import DAY_H, HOUR_S

MIN_DAYS, STRETCHES = 4, 4
MAX_HOURS = 60 * DAY_H
"""Replayed at most, the latest: sixty days."""
MONTHS = 40
MONTH_H = 30 * DAY_H


def certify(
    at_s: NDArray[np.float64],
    fit: Callable[[NDArray[np.bool_]], DriftReference],
    count: Callable[[DriftReference, NDArray[np.int64]], WindowCounts],
    *,
    false_pages: float,
    materiality: float,
    seed: int = 0,
    months: int = MONTHS,
) -> Certificate | None:
    """Replay the days of a recorded reference.

    Args:
        at_s: time of each row, shape (n,).
        fit: a reference of the rows that a mask chooses.
        count: counts of some rows, by their numbers.
        false_pages: b, allowed in 30 days, the detector's share already taken.
        materiality: delta.
        seed: of the drawn days.
        months: how many in all.

    Returns:
        None when there are fewer than four days.

    Cost: fitting four references, and 0.2 s a month at 20 variables.
    """
    hour = np.floor(at_s / HOUR_S).astype(np.int64)
    latest = hour > hour.max() - MAX_HOURS
    day = hour // DAY_H
    days = np.unique(day[latest])
    if days.size < MIN_DAYS or np.ptp(at_s) < (MIN_DAYS - 1) * DAY_H * HOUR_S:
        return None
    rng = np.random.default_rng(seed)
    pages: list[int] = []
    worst = (-1, 0, 0, 0)
    rows = 0
    for stretch, mine in enumerate(np.array_split(days, STRETCHES)):
        held_out = np.isin(day, mine)
        reference = fit(~held_out)
        detector = DriftDetector(reference, false_pages=false_pages, windows=MONTH_H, materiality=materiality)
        if reference.status != "calibrated":
            return None
        fresh, windows = detector.snapshot(), {}
        order = np.argsort(np.where(held_out, hour, -1), kind="stable")[int((~held_out).sum()) :]
        for one in np.split(order, np.flatnonzero(np.diff(hour[order])) + 1):
            windows[int(hour[one[0]])] = count(reference, one)
        rows += sum(counts.n for counts in windows.values())
        here = []
        for _ in range(stretch, months, STRETCHES):
            detector.restore(fresh)
            here.append(_month(detector, windows, rng.choice(mine, MONTH_H // DAY_H)))
        pages += here
        worst = max(worst, (sum(some > 0 for some in here), len(here), int(mine[0]), int(mine[-1])))
    paged = sum(some > 0 for some in pages)
    return Certificate(len(pages), paged, sum(pages), float(false_pages), int(days.size), rows / (days.size * DAY_H), *worst)


def _month(detector: DriftDetector, windows: dict[int, WindowCounts], days: NDArray[Any]) -> int:
    pages = 0
    for day in days.tolist():
        for hour in range(day * DAY_H, (day + 1) * DAY_H):
            if hour in windows:
                pages += detector.step(windows[hour], (hour * HOUR_S, (hour + 1) * HOUR_S))[1]
    return pages
