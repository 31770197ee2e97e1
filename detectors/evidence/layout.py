"""Where each part of a client's state lies: four rows of fixed width (float32, uint8, int16, int32), one per client and kind.

Rings are stored field by field (field-major), so that comparing one row with all remembered rows is one run over contiguous memory.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from detectors.evidence import constants as c
from detectors.evidence import stride
from detectors.evidence.reference import EvidenceReference

# Shiryaev-Roberts arms, in the float32 row: (first, number) of each statistic
STATISTICS = (
    "joint",
    "flat",
    "smooth",
    "stride",
    "independent",
    "generated",
    "composed",
    "flips",
    "closing",
    "symmetric",
    "lattice",
    "two_valued",
    "bisection",
    "stopping",
)
JOINT, FLAT, SMOOTH, STRIDE, INDEPENDENT, GENERATED, COMPOSED = range(7)
FLIPS, CLOSING, SYMMETRIC, LATTICE, TWO_VALUED, BISECTION, STOPPING = range(7, 14)
MADE = (JOINT, SMOOTH, INDEPENDENT, GENERATED, COMPOSED)  # that call single rows implausible or made
ARMS = (12, 9, 6, 3, 3, 9, 0, 12, 3, 3, 3, 3, 3, 2)  # E13 is reckoned from E12's counts
FIRST_ARM = (0, 12, 21, 27, 30, 33, 42, 42, 54, 57, 60, 63, 66, 69)
ARM_COUNT = 71

# float32 row: arms, then these, then D1, D2, ring
REPEATED = ARM_COUNT  # smoothed share of repeated inner values, above the reference's
NEAR_SHARE = REPEATED + 1  # smoothed share of rows close to a recent one
BOUND = NEAR_SHARE + 1  # forgetting sum of E11's b - a, and of its squares
BOUND_SQUARES = BOUND + 1
STEP_1 = BOUND_SQUARES + 1  # last difference of consecutive rows, then the one before, then the ring

# int32 row
QUERIES, DISTINCT, EXACT, NEAR, EDITS, FLIPPED, SCORED, ABOVE_1, ABOVE_2, ABOVE_3, ABOVE_4, BELOW_1, BELOW_2 = range(13)
MADE_1, MADE_2, MADE_3, STEPS, FLAT_STEPS, PAIRS, PAIR_HITS, LATTICE_TRIALS, LATTICE_FLIPS, TWO_TRIALS, TWO_HITS, MISSING = range(13, 25)
BISECTIONS, STRIDE_TRIALS, STRIDES, REMEMBERED, LAST, EDGED, BLOCK, SEVERITY, EPOCH = range(25, 34)
# BLOCK: whether there is a last residual (bit 0), how many steps ago E5's opposites were (seven bits), and how sure that is
BISECTED, LOOKED, INDEPENDENT_TRIALS, INDEPENDENT_HITS, GENERATED_TRIALS, GENERATED_LOOKED, COMPOSED_LOOKED = range(34, 41)
# BISECTED: octaves (bits 0 to 15) and fields (16 to 28) of E9's hits, how many rounded ones (29, 30), whether a sure one (31)
# LAST: slot of the previous row, whether it was a stranger (`constants.STRANGER`), how covered the client is (`recent.before`), its answer
# IN_ORDER: the octave of the last flip (bits 0 to 3), which coordinate E5's last tiny step changed most (4 to 7), flips at like distances
# SITTING: of E14 (`stopping.stopping`)
IN_ORDER, SITTING, SITTINGS, STOPPED = range(41, 45)
INT_COUNT = 45  # then the remembered steps
COUNTS = {
    "queries": QUERIES, "distinct_rows": DISTINCT, "exact_repeats": EXACT, "near": NEAR, "edits": EDITS, "near_flips": FLIPPED,
    "joint_scored": SCORED, "joint_above_75": ABOVE_1, "joint_above_95": ABOVE_2, "joint_above_99": ABOVE_3,
    "joint_above_999": ABOVE_4,
    "joint_below_5": BELOW_1, "joint_below_25": BELOW_2, "generated_rows": MADE_1, "generated_likely": MADE_2,
    "generated_sure": MADE_3, "generated_scored": GENERATED_TRIALS,
    "steps": STEPS,
    "flat_steps": FLAT_STEPS, "pairs": PAIRS, "symmetric_pairs": PAIR_HITS, "consecutive": LATTICE_TRIALS,
    "consecutive_edit_flips": LATTICE_FLIPS, "two_valued_scored": TWO_TRIALS, "two_valued": TWO_HITS, "missing_values": MISSING,
    "bisections": BISECTIONS, "stride_scored": STRIDE_TRIALS, "strides": STRIDES,
    "independent_scored": INDEPENDENT_TRIALS, "independent_rows": INDEPENDENT_HITS,
    "sittings": SITTINGS, "stopped_sittings": STOPPED,
}  # fmt: skip


class State(NamedTuple):
    """All clients; row = slot."""

    reals: NDArray[np.float32]
    codes: NDArray[np.uint8]  # hashes ring, codes ring, codes memory, last stride, answers ring, then two rows of distance bins
    words: NDArray[np.int16]  # last residual
    counts: NDArray[np.int32]


def bins_at(fields: int) -> int:
    """Where the distance bins begin; the answers of the ring's rows are before them."""
    return (2 * c.RING + c.MEMORY) * fields + stride.width(fields) + c.RING


def widths(reference: EvidenceReference) -> tuple[int, int, int, int]:
    """Columns of the four arrays for this reference: at most 4,096 bytes together."""
    positions = len(reference.projection) or reference.width
    fields = len(reference.sampled)
    return (
        STEP_1 + (2 + c.RING) * positions,
        bins_at(fields) + 2 * c.OCTAVES,
        len(reference.residual_weights),
        INT_COUNT + c.OPPOSITES,
    )


def bytes_per_client(reference: EvidenceReference) -> int:
    """Bytes of one client's state.

    Example:
        >>> # 16 projections, 16 fields, 48 targets; reals + codes + words + counts
        >>> 4 * (75 + 18 * 16) + (128 * 16 + 24 + 16 + 24) + 2 * 48 + 4 * 109
        4096
    """
    reals, codes, words, counts = widths(reference)
    return 4 * reals + codes + 2 * words + 4 * counts


def empty(reference: EvidenceReference, capacity: int) -> State:
    """State of ``capacity`` clients of whom nothing is known."""
    reals, codes, words, counts = widths(reference)
    return State(
        np.zeros((capacity, reals), np.float32),
        np.zeros((capacity, codes), np.uint8),
        np.zeros((capacity, words), np.int16),
        np.zeros((capacity, counts), np.int32),
    )
