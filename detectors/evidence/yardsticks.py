"""What the kernel needs of the reference and of the budget: yardsticks, and what every hit and miss is worth."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from detectors.evidence import constants as c
from detectors.evidence import layout as at
from detectors.evidence.calm import Calm
from detectors.evidence.generated import Generated
from detectors.evidence.independence import Bond
from detectors.evidence.middle import Middle
from detectors.evidence.population import Ordinary, set_arms
from detectors.evidence.reference import EvidenceReference
from detectors.evidence.sampled import least_steps
from detectors.evidence.second_look import Look


class Yardsticks(NamedTuple):
    """What the kernel needs of the reference and of the budget."""

    image: bool
    nearest: float
    near2: float  # square of the distance of neighbours
    far2: float  # square of the median random-pair distance
    like: float  # share of equal fields of the edits that E6 counts
    covered: NDArray[np.float32]  # (3, 2) factors of E6's arms behind cover
    equal_share: float
    edit_share: float
    repeated_share: float
    energy: NDArray[np.float64]  # (4,) limits of the mean capped square
    quiet: float  # limit below which it is small
    halved: float  # share of the reference's rows below it if their energy were halved
    coarse: NDArray[np.bool_]
    least: NDArray[np.int64]  # (F,) code steps from which a column has passed over one of its values
    fresh: float  # share of ordinary rows that are no edits by chance
    ordinary: Ordinary
    page: float  # thresholds of the evidence itself, not of its logarithm
    ticket: float
    look: Look
    middle: Middle
    calm: Calm
    bond: Bond
    generated: Generated
    rough: bool  # ordinary neighbours are answered differently, too
    below: NDArray[np.float32]  # (F, 257) share of the reference's rows below each code
    keeps: bool  # edits are told by the rare values that they keep, not by the number of equal fields


def yardsticks(reference: EvidenceReference, ln_page: float, ln_ticket: float) -> Yardsticks:
    """Plain numbers for the kernel."""
    r = reference
    return Yardsticks(
        r.image, r.nearest, (c.FLIP_RADII[0] * r.nearest) ** 2, r.far**2,
        max(c.LATTICE_EQUAL, r.equal_share + c.LATTICE_EXCESS), _covered(r), r.equal_share, r.edit_share, r.repeated_share,
        np.exp(r.joint_limits) - 1e-4,
        float(np.exp(r.smooth_limit)) - 1e-4, r.smooth_halved, r.coarse,
        np.full(len(r.coarse), c.TWO_VALUED_BIG) if r.image else least_steps(r.look.share), r.fresh_share, _ordinary(r),
        float(np.exp(ln_page)), float(np.exp(ln_ticket)),
        r.look, r.middle, r.calm, r.bond, r.generated, bool(r.flip_rates[0] > c.FLIP_U[0]),
        np.concatenate([np.zeros((len(r.look.share), 1), np.float32), r.look.share.cumsum(1)], axis=1), _keeps(r),
    )  # fmt: skip


def _keeps(reference: EvidenceReference) -> bool:
    """Whether rows share most fields with each other here and there (some have noughts only), and yet most values are rare ones."""
    share = reference.look.share
    rare = np.where(share < c.KEPT_RARE, share, 0).sum(1).mean()
    return bool(c.EDIT_SHARE < reference.edit_share <= 1 and rare >= c.KEPT_USUAL)


def _covered(reference: EvidenceReference) -> NDArray[np.float32]:
    """E6's factors behind cover, where only neighbours are trials: as often as they flip is tolerated."""
    out = np.zeros((len(c.LATTICE_Q), 2), np.float32)
    set_arms.py_func(out, 0, max(c.LATTICE_U, float(reference.flip_rates[0])), c.LATTICE_Q)
    return out


def _ordinary(reference: EvidenceReference) -> Ordinary:
    nominal = np.concatenate([1 - np.array(c.JOINT_QUANTILES), np.array(c.SMOOTH_QUANTILES), reference.generated.nominal])
    return Ordinary(np.concatenate([reference.joint_rates, _smooth(reference), reference.generated.rates]), nominal, reference.middle)


def _smooth(reference: EvidenceReference) -> tuple[float, float]:
    return reference.smooth_rate, c.MIDDLE_RATE


def gains(reference: EvidenceReference) -> NDArray[np.float32]:
    """Factors of every arm (71, 2): on a miss, on a hit."""
    out = np.zeros((at.ARM_COUNT, 2), np.float32)
    for k in range(len(c.JOINT_QUANTILES)):
        set_arms.py_func(out, at.FIRST_ARM[at.JOINT] + 3 * k, float(reference.joint_rates[k]), c.JOINT_Q)
    for k in range(3):
        if reference.flat_rates[k] < c.FLAT_OFF:
            set_arms.py_func(out, at.FIRST_ARM[at.FLAT] + 3 * k, float(reference.flat_rates[k]), c.FLAT_Q)
        set_arms.py_func(out, at.FIRST_ARM[at.FLIPS] + 4 * k, float(reference.flip_rates[k]), c.FLIP_Q)
    for k in range(2):
        set_arms.py_func(out, at.FIRST_ARM[at.SMOOTH] + 3 * k, _smooth(reference)[k], c.SMOOTH_Q[k])
    if len(reference.generated.trees.feature):
        for k in range(len(c.GENERATED_LIMITS)):
            set_arms.py_func(out, at.FIRST_ARM[at.GENERATED] + 3 * k, float(reference.generated.rates[k]), c.GENERATED_Q[k])
    set_arms.py_func(out, at.FIRST_ARM[at.CLOSING], c.CLOSING_U, c.CLOSING_Q)
    set_arms.py_func(out, at.FIRST_ARM[at.STRIDE], c.STRIDE_U, c.STRIDE_Q)
    if reference.bond.factor > 0:
        set_arms.py_func(out, at.FIRST_ARM[at.INDEPENDENT], reference.bond.rate, c.INDEPENDENT_Q)
    if reference.bisection_rate < c.BISECTION_OFF:
        set_arms.py_func(out, at.FIRST_ARM[at.BISECTION], reference.bisection_rate, c.BISECTION_Q)
    if reference.symmetric_rate < c.SYMMETRIC_OFF:
        set_arms.py_func(out, at.FIRST_ARM[at.SYMMETRIC], reference.symmetric_rate, c.SYMMETRIC_Q)
    if not reference.image and len(reference.sampled) >= c.LATTICE_FIELDS:
        set_arms.py_func(out, at.FIRST_ARM[at.LATTICE], c.LATTICE_U, c.LATTICE_Q)
    set_arms.py_func(out, at.FIRST_ARM[at.TWO_VALUED], c.TWO_VALUED_U[bool(reference.image)], c.TWO_VALUED_Q)
    return out
