"""What a step says of a client's earlier ones: it is the opposite of one (antithetic noise), or two come again, shorter, in their order.

The last OPPOSITES steps are kept as 15 signs along fixed directions, 16 bits of their length's logarithm, and whether one was an opposite.
Rows x + u_1 .. x + u_m, x - u_1 .. x - u_m, rounded or not, have opposite steps m apart. Rows that all go the same share of the way to one
point, (1 - s) x_k + s t, keep the steps between them, shorter by that share: Boundary does that with each block of its rows (Brendel et al.
2018, as the Adversarial Robustness Toolbox has it), and searches along rays with theirs. Compiled, as `trials`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from detectors.evidence import constants as c
from detectors.evidence import layout as at

_PROBES = np.zeros((c.COORDINATES, 16), np.float32)  # a run of sixteen a field, so that all signs are taken at once
_PROBES[:, : c.OPPOSITE_BITS] = np.random.default_rng(0).normal(size=(c.OPPOSITE_BITS, c.COORDINATES)).astype(np.float32).T
_SIGNS = np.int32((1 << c.OPPOSITE_BITS) - 1)
_OPPOSED = np.int32(-1 << 31)  # the bit left beside 15 signs and 16 of length: this step was the opposite of another
_LIKE_LESS, _LIKE_WIDE = np.int32(c.BLOCK_OCTAVE - 2), np.int32(2 * c.BLOCK_OCTAVE)


@njit(inline="always")
def knows_block(count: Any) -> bool:
    """Whether it is known how far apart the client's blocks of opposite steps are."""
    return bool(count[at.BLOCK] >> 8 >= c.BLOCK_KNOWN)


@njit(inline="always")
def _like(remembered: Any, signs: Any, octave: int) -> bool:
    """Whether a remembered step has these signs, but one at most, and about this length."""
    x = np.int32(np.int32(remembered ^ signs) & _SIGNS)
    apart = (np.int32(np.int32(remembered >> np.int32(c.OPPOSITE_BITS)) - octave) + c.BLOCK_OCTAVE) & 0xFFFF
    return bool(x & np.int32(x - np.int32(1)) == 0 and apart <= _LIKE_WIDE)


@njit
def _signature(step: Any, length: float, along: Any) -> tuple[int, int]:
    """A step's 15 signs along the probes and its length, as it is remembered; ``along`` is overwritten."""
    for b in range(16):
        total = np.float32(0)
        for f in range(16):
            total += step[f] * _PROBES[f, b]
        along[b] = total
    signs = 0
    for b in range(c.OPPOSITE_BITS):
        signs |= int(along[b] > 0) << b
    return signs, int(np.floor(c.OPPOSITE_OCTAVE * np.log2(length))) & 0xFFFF


@njit
def _shrunk(count: Any, signs: int, octave: int) -> tuple[int, bool]:
    """How many steps ago the step and the one before it were made, both longer by about the same share; 0 where they were not.

    Rows that all go the same share of the way to one point keep the directions of the steps between them: (1 - s) x + s t for each x.
    Nothing that is measured does that at small distances, but for what goes on smoothly (it must turn), and nothing that is edited.

    Returns:
        That, and whether some such steps were longer by exactly the same share.
    """
    steps = count[at.INT_COUNT : at.INT_COUNT + c.OPPOSITES]
    place = count[at.LATTICE_TRIALS] % c.OPPOSITES
    before = steps[(place - 1) % c.OPPOSITES]
    own, middle = np.int32(signs), np.int32(octave)
    last = np.int32(before >> np.int32(c.OPPOSITE_BITS))
    lag, sharp = np.int32(c.OPPOSITES + 1), np.int32(0)
    for k in range(1, c.OPPOSITES):  # without a branch, as in `_opposite`; the first, whose own before is at the other end, is left out
        x = np.int32(np.int32(steps[k] ^ own) & _SIGNS)
        z = np.int32(np.int32(steps[k - 1] ^ before) & _SIGNS)
        x = np.int32(np.int32(x & np.int32(x - np.int32(1))) | np.int32(z & np.int32(z - np.int32(1))))
        less = np.int32(np.int32(np.int32(steps[k] >> np.int32(c.OPPOSITE_BITS)) - middle) & np.int32(0xFFFF))
        other = np.int32(np.int32(np.int32(steps[k - 1] >> np.int32(c.OPPOSITE_BITS)) - last) & np.int32(0xFFFF))
        apart = np.int32(abs(np.int32(other - less)))
        one = np.int32(np.int32(less >= np.int32(c.SHRUNK_LEAST)) & np.int32(less < np.int32(c.OPPOSITE_OCTAVE)))
        one = np.int32(one & np.int32(x == np.int32(0)))
        about = np.int32(np.int32(c.SHRUNK_ALIKE) + np.int32(less >> np.int32(c.SHRUNK_SHIFTS[0])))
        exact = np.int32(np.int32(c.SHRUNK_ALIKE) + np.int32(less >> np.int32(c.SHRUNK_SHIFTS[1])))
        back = np.int32(np.int32(np.int32(np.int32(place) - np.int32(k + 1)) & np.int32(c.OPPOSITES - 1)) + np.int32(1))
        found = np.int32(one & np.int32(apart <= about))
        lag = np.int32(min(lag, np.int32(back | np.int32(np.int32(np.int32(1) - found) << np.int32(16)))))
        sharp = np.int32(sharp | np.int32(one & np.int32(apart <= exact)))
    return int(lag) if lag <= c.OPPOSITES else 0, bool(sharp > 0)


@njit
def _opposite(count: Any, signs: int, octave: int, turns: bool, returns: bool) -> tuple[bool, bool, bool]:
    """Whether the step is the opposite of one of the client's last OPPOSITES; then remembers it.

    Of exactly the same length; or of about the same, and as many steps before as the last such pairs: rounding and limits bend a block of
    antithetic noise. What comes round again (the step of twice as many before is the same) or does not turn (``turns``) is a sensor's, and
    to a row that was asked before (``returns``) a step is remembered only.

    Returns:
        Whether it is one of exactly the same length; one in a known block; and whether it is in the first half of such a block: the step as
        many before, or one beside that, was the opposite of another, and so this one is none.
    """
    opposed, middle = np.int32(~signs), np.int32(octave)
    steps = count[at.INT_COUNT : at.INT_COUNT + c.OPPOSITES]
    others, found, where = np.int32(0), np.int32(0), np.int32(0)
    for k in range(c.OPPOSITES):  # without a branch, and cut to 32 bits at every turn: sixteen at once
        x = np.int32(np.int32(steps[k] ^ opposed) & _SIGNS)
        x = np.int32(x & np.int32(x - np.int32(1)))  # what is left beside one bit
        apart = np.int32(np.int32(np.int32(steps[k] >> np.int32(c.OPPOSITE_BITS)) - middle) + np.int32(2))
        exactly = np.int32(apart & np.int32(0xFFFF))
        others = np.int32(others + np.int32(np.int32(exactly > np.int32(4)) | np.int32(x != np.int32(0))))
        about = np.int32(np.int32(apart + _LIKE_LESS) & np.int32(0xFFFF))
        one = np.int32(np.int32(about <= _LIKE_WIDE) & np.int32(x == np.int32(0)))
        found = np.int32(found + one)
        where = np.int32(where + np.int32(one * np.int32(k)))
    place = count[at.LATTICE_TRIALS] % c.OPPOSITES
    lag, sure = (count[at.BLOCK] >> 1) & 127, count[at.BLOCK] >> 8
    first = False
    if knows_block(count):
        for k in range(place - lag - 1, place - lag + 2):
            first = first or steps[k % c.OPPOSITES] < 0
    again = turns and lag > 0 and found <= c.BLOCK_FOUND and _like(steps[(place - lag) % c.OPPOSITES], opposed, octave)
    hit = again and not (2 * lag <= c.OPPOSITES and _like(steps[(place - 2 * lag) % c.OPPOSITES], signs, octave))
    if returns:
        hit = False
    elif again:
        sure = min(sure + c.BLOCK_SURE[0], c.BLOCK_SURE[1])
    elif found > 0:
        sure = max(sure - 1, 0)
        if sure == 0 and found == 1:
            lag = (place - where) % c.OPPOSITES
            lag, sure = (lag, c.BLOCK_SURE[0]) if lag >= 2 else (0, 0)
    count[at.BLOCK] = (count[at.BLOCK] & 1) | (lag << 1) | (sure << 8)
    steps[place] = np.int32(signs | (octave << c.OPPOSITE_BITS)) | (_OPPOSED if hit else np.int32(0))
    return bool(others < c.OPPOSITES and not returns), bool(hit), bool(first)


@njit
def _to_one_side(code: Any, x: Any, distinct: int, lag: int, image: bool) -> bool:
    """Whether all fields went up, or all down, from the row as many before: brightness or prices, and the point they go to is nought.

    Of rows that the ring has no more it is not known: in pictures taken for granted, elsewhere not.
    """
    if lag >= c.RING or distinct < lag:
        return image
    n, k = len(x), (distinct - lag) % c.RING
    up: Any = 0
    down: Any = 0
    for f in range(n):
        v = np.int64(x[f]) - np.int64(code[(n + f) * c.RING + k])
        up += v > 0
        down += v < 0
    return bool(min(up, down) == 0 and (image or max(up, down) >= c.BLOCK_FIELDS))


@njit
def against_earlier(
    count: Any, step: Any, along: Any, d2: float, turns: bool, equal: float, moved: int, repeat: bool, far2: float, code: Any, x: Any,
    image: bool,
) -> tuple[int, bool]:  # fmt: skip
    """What a step (n,) in ``moved`` fields, ``d2`` its square, says of the client's last OPPOSITES; it is remembered then.

    Args:
        count: the client's counts.
        step: the difference from the row before.
        along: (16,) is overwritten.
        d2: its squared length.
        turns: whether it turns from the step before.
        equal: share of the fields that are equal to that row's.
        moved: number of the others.
        repeat: whether the row has been asked before.
        far2: the squared length of the median step between two rows.
        code: the client's bytes; the ring's codes.
        x: (F,) codes of the row.
        image: whether rows are pictures.

    Returns:
        How many times it counts as one of a pair, and whether it is none because it is in the first half of a known block.
    """
    returns = bool(repeat and not knows_block(count))
    signs, octave = _signature(step, np.sqrt(d2), along)
    in_many = turns and moved >= c.BLOCK_FIELDS
    shrunk = sharp = False
    if in_many and not repeat and d2 < c.LOCAL_STEP**2 * far2:
        lag, sharp = _shrunk(count, signs, octave)
        shrunk = lag > 0 and not _to_one_side(code, x, count[at.DISTINCT], lag, image)
    exactly, in_block, first = _opposite(count, signs, octave, bool(in_many and d2 < c.BLOCK_STEP**2 * far2), returns)
    exactly = exactly and count[at.EXACT] <= count[at.DISTINCT]  # who comes back to the same few rows goes there and back
    if (in_block and exactly) or (shrunk and sharp):
        return 2, first
    return int(in_block or shrunk or (exactly and turns and equal <= c.OPPOSITE_EQUAL)), first
