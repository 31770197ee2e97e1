"""E5 and E6: what the step from a client's previous row says, or, behind cover, from the newest row near by.

Probes in pairs go to and fro around a centre; a walk along the boundary changes the answer at small steps. Compiled, as `trials`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from detectors.evidence import constants as c
from detectors.evidence import layout as at
from detectors.evidence.earlier_steps import against_earlier, knows_block
from detectors.evidence.trials import add, tried

_LOG2 = np.log(2.0)


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
    image: bool,
) -> None:  # fmt: skip
    """E5 and E6: what the step from the row in slot k, d2 its square, in ``moved`` fields, says; ``scratch`` (2, 16) is overwritten.

    That is the previous row; or, behind cover (``covered``), the newest near one, whose flips have factors of their own (3, 2). A step that
    ends much nearer to some recent row, ``best`` the square of that, has come back: several instruments behind one account. A tiny step of
    one field that goes back by half ends in the centre of two probes, or has gone as far to the other side of it. That counts twice, if it
    is of another field than the last one (ZOO): one field alone may tick up and down by whole numbers.
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
    times, first = 0, knows_block(count) and moved < c.BLOCK_FIELDS
    if n >= c.OPPOSITE_DIMENSIONS and not again and (equal <= c.OPPOSITE_EQUAL or moved >= c.BLOCK_FIELDS):  # polling goes to and fro
        turns = bool(db < c.BLOCK_TURN * np.sqrt(d2 * dn))
        times, first = against_earlier(count, step, scratch[1], d2, turns, equal, moved, repeat, far2, code, x, image)
    if n2 > 0 and dn > 0 and not again and not first:
        hit = (
            times > 0
            or v2 < c.SYMMETRIC_CENTRE**2 * d2
            or (abs(vd) > c.SYMMETRIC_COSINE * np.sqrt(v2 * n2) and abs(dd) < c.SYMMETRIC_TURN * np.sqrt(n2 * d2))
        )
        tiny = moved <= 1 and not repeat and dn < c.SYMMETRIC_PROBE**2 * far2
        back = tiny and (back2 < c.SYMMETRIC_CENTRE**2 * dn or v2 < c.SYMMETRIC_CENTRE**2 * d2) and _elsewhere(count, step)
        hit = hit or back
        if not hit or best >= c.SYMMETRIC_RETURN**2 * d2:
            tried(real, at.SYMMETRIC, gain, 2 if back else max(times, 1 if hit else 0))
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
