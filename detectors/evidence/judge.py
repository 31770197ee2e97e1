"""What a client's evidence comes to: severities by family, behind the gates of each statistic."""

from __future__ import annotations

from typing import Any

from numba import njit

from detectors.evidence import constants as c
from detectors.evidence import layout as at
from detectors.evidence import recent, trials
from detectors.evidence.explainer import mixes_one_row
from detectors.evidence.gates import allowed, beside, postpone
from detectors.evidence.yardsticks import Yardsticks


@njit
def judge(
    real: Any, count: Any, code: Any, bins: Any, family: int, known: int, composed: float, distinct: bool, y: Yardsticks
) -> tuple[int, int, float]:  # fmt: skip
    """The family's severity (0, 1 ticket, 2 page) by its strongest statistic that passes its gate, which that is, and its evidence."""
    severity, which, evidence = 0, -1, 0.0
    reached = (count[at.SEVERITY] >> (2 * family)) & 3
    for statistic in range(len(at.ARMS)):
        local = statistic >= at.FLIPS or real[at.NEAR_SHARE] > 1 - c.LOCAL_SHARE
        if local != (family == 1):
            continue
        e = composed if statistic == at.COMPOSED else trials.mixture(real, statistic)
        if e <= y.ticket and not (statistic == at.STOPPING and beside(real, e) > y.page):
            continue
        s = allowed(statistic, e, max(severity, reached), real, count, code, bins, family, local, known, distinct, y)
        one = s == 2 and max(severity, reached) < 2 and statistic in at.MADE
        if one and mixes_one_row(*recent.remembered(code, count, len(y.look.step)), y.look.share):
            s = 1
            if reached == 1:  # or every further row would be looked through
                postpone(count, statistic)
        if s > severity:
            severity, which, evidence = s, statistic, e
    return severity, which, evidence
