"""What the drift detector says about one window."""

from __future__ import annotations

import math

import msgspec

from detectors.drift.joint import PairDrift
from detectors.drift.moves import Likeness, Move, Quantile
from detectors.drift.witness import JointShift
from detectors.e_process import Severity


class VariableDrift(msgspec.Struct, frozen=True):
    """One variable in one window. Shares are of all its events; distances are effect sizes, `log_evidence` says how sure we are.

    Attributes:
        name: variable.
        n: events, missing values included.
        psi, js: in nats, from bins (outer cells folded into the outer bins) and missing, +0.5 smoothed.
        w1: Wasserstein-1 in reference standard deviations; 0 for categories.
        ks: largest difference of the binned CDFs; for categories, half the L1 distance.
        missing, unseen, below, above: shares.
        log_evidence: ln of the variable's Shiryaev-Roberts mixture; pages at ln A + ln V when alone.
        since: index of the window at which the evidence of the strongest component started to grow.
        direction: of that component: "missing", "unseen" or "mix" (categories); else "up" or "down" when the mean moved by 0.1 sd, else
            "shape".
        mean_shift: (window mean - reference mean) / reference sd, values clipped at +-16 sd; 0 for categories.
        reference_center, center: reference and window median (numeric) or the share of the cell that moved most (categorical).
        detail: one line for people, such as "share of x <= 3.1: 0.30 -> 0.52".
        rho: intra-client correlation used.
        quantiles: of a leading numeric variable, before and after.
        moves: cells of a leading variable that moved most.
    """

    name: str
    n: int
    psi: float
    w1: float
    js: float
    ks: float
    missing: float
    unseen: float
    below: float
    above: float
    log_evidence: float
    since: int
    direction: str
    mean_shift: float
    reference_center: float
    center: float
    detail: str
    rho: float
    quantiles: tuple[Quantile, ...] = ()
    moves: tuple[Move, ...] = ()


class DriftReport(msgspec.Struct, frozen=True):
    """The verdict on one closed window.

    Attributes:
        window: windows seen since the detector was made, this one included.
        n: events of the window.
        n_effective: what they are worth, median over variables.
        severity: "page" while an episode that paged is open, "ticket" at A / 100, or while what was told before is back.
        opened: whether a page opened with this window, of a cause that is new; count these against the budget.
        log_evidence: ln M, the mixture over all variables.
        log_page, log_ticket: the levels it is compared with.
        variables: one entry per tracked variable, in the reference's order.
        leading: names to show, strongest first (e-BH at 5 %, at most 10), those of pairs after those that moved alone; empty when severity
            is "none".
        since: window index at which the strongest evidence started.
        clients: effective number of clients lately.
        status, reason: "calibrated", or why only tickets are possible.
        pairs: of features that no longer go together as in the reference, strongest first (e-BH at 5 %, at most 5).
        looks_like: what the leading variables look like (`moves.likeness`); None when severity is "none".
        jointly: whether the pairs tell more than the variables alone.
        shift: columns that together moved, if that tells more than variables and pairs (`witness.py`).
        again: whether the ticket is of what a page was about before, which is back within a week (`told.py`).
        latency: "ticket" while latency's own evidence is enough for one (`latency.py`); never in `severity`, `leading`, `since`.
    """

    window: int
    n: int
    n_effective: float
    severity: Severity
    opened: bool
    log_evidence: float
    log_page: float
    log_ticket: float
    variables: tuple[VariableDrift, ...]
    leading: tuple[str, ...]
    since: int
    clients: float
    status: str
    reason: str
    pairs: tuple[PairDrift, ...] = ()
    jointly: bool = False
    shift: JointShift | None = None
    looks_like: Likeness | None = None
    latency: Severity = "none"
    again: bool = False

    @property
    def beyond(self) -> tuple[bool, ...]:
        """By variable: whether its own evidence of lying beyond the materiality is a ticket's, ln M_v >= ln(A / 100) + ln V.

        By size alone sampling noise would count: of 300 events in ten bins a few points of probability are elsewhere by chance.
        """
        enough = self.log_ticket + math.log(max(len(self.variables), 1))
        return tuple(one.log_evidence >= enough for one in self.variables)
