"""The value that a replay of a reference's own days leaves (`certificate.py`)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.special import betaincinv


class Certificate(NamedTuple):
    """What a replay of the reference's own days gave."""

    months: int
    paged: int
    """Months with a page."""
    pages: int
    budget: float
    """False pages allowed in a month."""
    days: int
    """Recorded days that were replayed."""
    rows_per_hour: float
    worst_paged: int
    """Months with a page among those of the stretch with the most."""
    worst_months: int
    worst_first: int
    """First day of that stretch, since 1970."""
    worst_last: int

    @property
    def interval(self) -> tuple[float, float]:
        """Share of months with a page, Clopper-Pearson at 95 %."""
        hits, n = self.paged, self.months
        low = float(betaincinv(hits, n - hits + 1, 0.025)) if hits else 0.0
        return low, float(betaincinv(hits + 1, n - hits, 0.975)) if hits < n else 1.0

    @property
    def reason(self) -> str:
        """Why the reference must not page, or ""."""
        if self.pages > self.budget * self.months:
            return f"its own days open {self.pages} pages in {self.months} replayed months, the budget is {self.budget:g} a month"
        if self.worst_paged > max(0.5, self.budget) * self.worst_months:
            first, last = (np.datetime64(day, "D") for day in (self.worst_first, self.worst_last))
            return f"its days {first} to {last} page against the others, in {self.worst_paged} of {self.worst_months} replayed months"
        return ""

    def __str__(self) -> str:
        """One line for people."""
        low, high = self.interval
        return (
            f"{self.pages} pages in {self.months} months of 30 days drawn from {self.days} recorded days, {self.rows_per_hour:,.0f} rows "
            f"an hour; months with a page: {low:.1%} to {high:.1%} (95 %), budget {self.budget:g} a month"
        )
