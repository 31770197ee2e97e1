"""When did the errors begin? River's ADWIN beside the e-detector: it has no budget and needs no reference, but it sees that they began."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import xlogy

MAX_LABELS = 20_000
"""The newest, of so many: ADWIN takes a microsecond a label."""


def began(windows: Sequence[tuple[int, int, int]]) -> int | None:
    """Begin of the window, by the events' time, at which the error rate rose; None when ADWIN sees no rise.

    ADWIN (Bifet and Gavaldà, 2007; river's, delta 0.002) says whether: two parts of its window differ. It then drops the oldest part only
    as far as it must, which was 500 to 1,500 labels before the change (3,000 labels at 10 % errors, then at 30 %), so where it was is the
    cut at which two binomial rates explain the labels best. Within a window the order of right and wrong is not known: they are spread.

    Args:
        windows: (begin, labels, errors) in order of time.

    Example:
        >>> before, after = [(k, 50, 5) for k in range(60)], [(k, 50, 15) for k in range(60, 80)]
        >>> began(before + after), began(before), began(after + before)
        (60, None, None)
    """
    from river.drift import ADWIN  # half a second and 40 MB, for an alert that most workers never raise

    table = np.array(windows, np.int64).reshape(-1, 3)
    table = table[table[:, 1] > 0]
    newer = np.cumsum(table[::-1, 1])[::-1] - table[:, 1]
    table = table[newer < MAX_LABELS]
    adwin: Any = ADWIN(delta=0.002)  # type: ignore[no-untyped-call]  # of river
    rises = False
    for _, n, errors in table.tolist():
        spread = np.floor(np.arange(min(n, MAX_LABELS) + 1) * (errors / n) + 0.5)
        for wrong in (np.diff(spread) > 0).tolist():
            before = adwin.estimation
            adwin.update(float(wrong))
            rises |= adwin.drift_detected and adwin.estimation > before
    if not rises:
        return None
    of, wrongs = np.cumsum(table[:, 1]), np.cumsum(table[:, 2])
    first, rest = (wrongs[:-1], of[:-1]), (wrongs[-1] - wrongs[:-1], of[-1] - of[:-1])
    higher = first[0] / first[1] < rest[0] / rest[1]
    return int(table[1 + int(np.argmax(np.where(higher, _fit(*first) + _fit(*rest), -np.inf))), 0]) if higher.any() else None


def _fit(errors: NDArray[np.int64], n: NDArray[np.int64]) -> NDArray[np.float64]:
    """Log-likelihood of the counts at their own rate."""
    return np.asarray(xlogy(errors, errors / n) + xlogy(n - errors, 1 - errors / n))
