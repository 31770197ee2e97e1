"""E5 and E6: what the step from a client's previous row says, or, behind cover, from the newest row near by.

Probes in pairs go to and fro around a centre; a walk along the boundary changes the answer at small steps. Compiled, as `trials`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from detectors.evidence import constants as c
from detectors.evidence import layout as at
from detectors.evidence.trials import add, tried

_LOG2 = np.log(2.0)
_PROBES = np.zeros((c.COORDINATES, 16), np.float32)  # a run of sixteen a field, so that all signs are taken at once
_PROBES[:, : c.OPPOSITE_BITS] = np.random.default_rng(0).normal(size=(c.OPPOSITE_BITS, c.COORDINATES)).astype(np.float32).T
_SIGNS = np.int32((1 << c.OPPOSITE_BITS) - 1)
_OPPOSED = np.int32(-1 << 31)  # the bit left beside 15 signs and 16 of length: this step was the opposite of another
_LIKE_LESS, _LIKE_WIDE = np.int32(c.BLOCK_OCTAVE - 2), np.int32(2 * c.BLOCK_OCTAVE)


@njit(inline="always")
def _like(remembered: Any, signs: Any, octave: int) -> bool:
    """Whether a remembered step has these signs, but one at most, and about this length."""
    x = np.int32(np.int32(remembered ^ signs) & _SIGNS)
    apart = (np.int32(np.int32(remembered >> np.int32(c.OPPOSITE_BITS)) - octave) + c.BLOCK_OCTAVE) & 0xFFFF
    return bool(x & np.int32(x - np.int32(1)) == 0 and apart <= _LIKE_WIDE)


@njit
def _opposite(count: Any, step: Any, length: float, along: Any, turns: bool, returns: bool) -> tuple[bool, bool, bool]:
    """Whether the step is the opposite of one of the client's last OPPOSITES; then remembers it as 15 signs and its length.

    Of exactly the same length; or of about the same, and as many steps before as the last such pairs: rounding and limits bend a block of
    antithetic noise. What comes round again (the step of twice as many before is the same) or does not turn (``turns``) is a sensor's, and
    to a row that was asked before (``returns``) a step is remembered only.

    Returns:
        Whether it is one of exactly the same length; one in a known block; and whether it is in the first half of such a block: the step as
        many before, or one beside that, was the opposite of another, and so this one is none.
    """
    for b in range(16):
        total = np.float32(0)
        for f in range(16):
            total += step[f] * _PROBES[f, b]
        along[b] = total
    signs = 0
    for b in range(c.OPPOSITE_BITS):
        signs |= int(along[b] > 0) << b
    octave = int(np.floor(c.OPPOSITE_OCTAVE * np.log2(length))) & 0xFFFF
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
    if sure >= c.BLOCK_KNOWN:
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
def adjusts(code: Any, x: Any, k: int, below: Any) -> bool:
    """Whether the step from the ring's row k turns its columns a little: of each column's other values few lie nearer (E6).

    With F the share of the reference's rows below a value, and the step of a column from a to b: the rows with |value - a| <= |b - a| and
    another value than a are at most `LATTICE_NEAR` of those with another value. Who puts another value into a form takes one so near in
    at most that share of the cases, and in fewer if several are changed; a search ends with the smallest steps there are. Columns of two
    values have no near one.

    Args:
        code: the client's bytes; the ring's codes follow its values, field-major, `RING` a field.
        x: (F,) codes of the row.
        k: slot of the row it continues.
        below: (F, 257) share of the reference's rows below each code.
    """
    n = len(x)
    for f in range(n):
        old = np.int64(code[(n + f) * c.RING + k])
        step = abs(np.int64(x[f]) - old)
        if step > 0:
            own = below[f, old + 1] - below[f, old]
            first: Any = max(old - step, 0)
            last: Any = min(old + step, c.CODE_LAST)
            near = below[f, last + 1] - below[f, first] - own
            if near > c.LATTICE_NEAR * (1 - own):
                return False
    return True


@njit
def _elsewhere(count: Any, step: Any) -> bool:
    """Whether a tiny step is of another column than the last one of which this was asked: by the coordinate that it changes most."""
    most = 0
    for f in range(len(step)):
        if abs(step[f]) > abs(step[most]):
            most = f
    last = (count[at.IN_ORDER] >> 4) & 15
    count[at.IN_ORDER] += (most - last) << 4
    return bool(most != last)


@njit
def consecutive(
    real: Any, count: Any, bins: Any, gain: Any, g: Any, ring: int, k: int, d2: float, best: float, flip: bool, equal: float, moved: int,
    repeat: bool, scratch: Any, equal_share: float, far2: float, covered: bool, covered_gain: Any, code: Any, x: Any, below: Any,
) -> None:  # fmt: skip
    """E5 and E6: what the step from the row in slot k, d2 its square, in ``moved`` fields, says; ``scratch`` (2, 16) is overwritten.

    That is the previous row; or, behind cover (``covered``), the newest near one, whose flips have factors of their own (3, 2). A step that
    ends much nearer to some recent row, ``best`` the square of that, has come back: several instruments behind one account. A tiny step of
    one field that goes back by half ends in the centre of two probes. It counts twice, if it is of another field than the last one (ZOO):
    one field alone may tick up and down by whole numbers.
    """
    n = len(g)
    one, two = at.STEP_1, at.STEP_1 + n
    v2 = n2 = vd = dd = dn = db = back2 = 0.0
    step = scratch[0, :n]
    for f in range(n):
        step[f] = g[f] - real[ring + f * c.RING + k]
        before, earlier = real[one + f], real[two + f]
        v = before + 0.5 * step[f]
        v2 += v * v
        back2 += (step[f] + 0.5 * before) ** 2
        n2 += earlier * earlier
        vd += v * earlier
        dd += step[f] * earlier
        dn += before * before
        db += step[f] * before
        real[two + f] = before
        real[one + f] = step[f]
    again = repeat and count[at.EXACT] > c.POLLED * count[at.DISTINCT]  # what one round of a health check shows each shows
    opposite = twice = False
    known = count[at.BLOCK] >> 8 >= c.BLOCK_KNOWN
    first = known and moved < c.BLOCK_FIELDS
    if n >= c.OPPOSITE_DIMENSIONS and not again and (equal <= c.OPPOSITE_EQUAL or moved >= c.BLOCK_FIELDS):  # polling goes to and fro
        turns = bool(db < c.BLOCK_TURN * np.sqrt(d2 * dn))
        in_turn = turns and moved >= c.BLOCK_FIELDS and d2 < c.BLOCK_STEP**2 * far2
        exactly, in_block, first = _opposite(count, step, np.sqrt(d2), scratch[1], bool(in_turn), bool(repeat and not known))
        exactly = exactly and count[at.EXACT] <= count[at.DISTINCT]  # who comes back to the same few rows goes there and back
        opposite = bool(in_block or (exactly and turns and equal <= c.OPPOSITE_EQUAL))
        twice = bool(in_block and exactly)
    if n2 > 0 and dn > 0 and not again and not first:
        hit = (
            opposite
            or v2 < c.SYMMETRIC_CENTRE**2 * d2
            or (abs(vd) > c.SYMMETRIC_COSINE * np.sqrt(v2 * n2) and abs(dd) < c.SYMMETRIC_TURN * np.sqrt(n2 * d2))
        )
        back = moved <= 1 and not repeat and dn < c.SYMMETRIC_PROBE**2 * far2 and back2 < c.SYMMETRIC_CENTRE**2 * dn
        back = back and _elsewhere(count, step)
        hit = hit or back
        if not hit or best >= c.SYMMETRIC_RETURN**2 * d2:
            tried(real, at.SYMMETRIC, gain, 2 if back or twice else (1 if hit else 0))
            count[at.PAIRS] += 1
            count[at.PAIR_HITS] += hit
    count[at.LATTICE_TRIALS] += 1
    if again:
        return
    hit = flip and equal >= c.LATTICE_EQUAL and equal > equal_share + c.LATTICE_EXCESS and adjusts(code, x, k, below)
    if covered:
        for a in range(at.ARMS[at.LATTICE]):
            arm = at.FIRST_ARM[at.LATTICE] + a
            if covered_gain[a, 0] > 0 and gain[arm, 0] > 0:  # without power an arm keeps what it has
                real[arm] = min((real[arm] + np.float32(1)) * covered_gain[a, 1 if hit else 0], c.SR_CAP)
    else:
        tried(real, at.LATTICE, gain, int(hit))
    count[at.LATTICE_FLIPS] += hit
    if flip:
        octave = min(int(np.log(max(2 * np.sqrt(far2 / d2), 1.0)) / _LOG2), c.OCTAVES - 1)
        octave = octave if moved >= c.LATTICE_FIELDS else max(octave, c.LAG_WIDE)  # one noisy column is never far
        before = bins[c.OCTAVES + octave]
        add(bins[c.OCTAVES :], octave)
        like, last = count[at.IN_ORDER] >> 8, count[at.IN_ORDER] & 15
        like = like // 2 if bins[c.OCTAVES + octave] < before else like + (abs(octave - last) <= 1)
        count[at.IN_ORDER] = (like << 8) | (count[at.IN_ORDER] & 240) | octave


@njit
def in_order(count: Any, bins: Any, sigmas: float) -> bool:
    """Whether consecutive flips come at like distances, as a search's do: it halves a step, or keeps a radius for a while.

    A sensor's noise is the same at all times. Whether its rows are close depends on which columns happened to move, so the distances of its
    flips come in random order. Of n pairs of flips, independent ones with the client's own octaves are alike (an octave apart at most) with
    probability p; the number is compared with n p + ``sigmas`` sqrt(n p (1 - p)).
    """
    total = alike = 0.0
    for a in range(c.OCTAVES):
        total += bins[c.OCTAVES + a]
        for b in range(max(a - 1, 0), min(a + 2, c.OCTAVES)):
            alike += np.float64(bins[c.OCTAVES + a]) * bins[c.OCTAVES + b]
    if total < c.FLIP_ORDER_LEAST:
        return False
    p, n = alike / total**2, total - 1
    return bool((count[at.IN_ORDER] >> 8) > n * p + sigmas * np.sqrt(n * p * (1 - p)))
