"""Pictures that are averages of two (mixup): where a page is allowed of those that are quieter than ordinary ones (E8).

Cameras make quiet pictures, too: dimmed, hazy, out of focus. So by its first limit E8 opens a ticket; a page, and anything by its second,
only where the remembered pictures, by their sampled pixels, are what an average ``w a + (1 - w) b`` of two ordinary ones is and no
camera's picture was:

- *apart*, ``mean over pixels of (m - mu)^2 / var - scatter / n``: every pixel keeps its mean, apart is 0 to .02, and their sum stays within
  a twentieth. Dimmed by a fifth .05 to .18, haze on a dark background .1 and more;
- *scatter*, the variance of a pixel over the reference's, is ``w^2 + (1 - w)^2``, .44 to .75 for w of .2 to .5, and about the same in all
  pixels. Lenses leave .6 to 1.1 of it, mostly not the same of all pixels;
- *background*, the share of a pixel's commonest value, goes from p to about p^2: both pictures must have it. A lens smears the figure over
  it, and leaves less;
- and the residuals lose no more than the pixels do: as many lie below E8's limit as if the reference's were halved. Averages are at or
  below that share; of pictures out of focus, which lose their residuals first, twice as many lie there.

Natural photographs have no background, and haze over them is the same as averaging as far as means and variances tell: they stay tickets.
Blind to averages behind cover traffic. It misleads where pictures are averaged by trade (long exposures of different scenes).
Measured on digits of 8x8 and 28x28 pixels and on parts of photographs, each in 48 ways.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from detectors.evidence import constants as c
from detectors.evidence import layout as at
from detectors.lean import allocating


@allocating
def are_averages(memory: Any, held: int, count: Any, share: Any, halved: float) -> bool:
    """Whether the remembered pictures (field-major, `MEMORY` a field) are averages of two ordinary ones.

    Args:
        memory: the client's codes.
        held: rows in it.
        count: the client's, for the share of its rows below E8's first limit.
        share: (F, 256) of each code, of the reference.
        halved: share of the reference's rows below that limit if their energy were halved.
    """
    judged, quiet = count[at.SCORED], count[at.BELOW_1]
    if quiet > halved * judged + c.AVERAGED_SIGMAS * np.sqrt(halved * (1 - halved) * judged):
        return False
    fields = len(share)
    centre, spread, usual = np.zeros(fields), np.zeros(fields), np.zeros(fields)
    common = np.zeros(fields, np.int64)
    for f in range(fields):
        for code in range(256):
            centre[f] += share[f, code] * code
            spread[f] += share[f, code] * code**2
            common[f] = code if share[f, code] > usual[f] else common[f]
            usual[f] = max(usual[f], share[f, code])
        spread[f] -= centre[f] ** 2
    live, least = 0, c.AVERAGED_LIVE * np.median(spread)
    apart = scatter = square = background = one = two = light = lit = 0.0
    for f in range(fields):
        if spread[f] <= least:
            continue
        mean = power = same = 0.0
        for i in range(held):
            value = np.float64(memory[f * c.MEMORY + i])
            mean += value / held
            power += value * value / held
            same += (memory[f * c.MEMORY + i] == common[f]) / held
        left = (power - mean**2) / spread[f]
        apart += (mean - centre[f]) ** 2 / spread[f] - left / held
        light += mean - c.CODE_ZERO
        lit += centre[f] - c.CODE_ZERO
        scatter += left
        square += left**2
        background += same
        one += usual[f]
        two += usual[f] ** 2
        live += 1
    if live == 0 or one < c.AVERAGED_BACKGROUND * live:
        return False
    scatter, even = scatter / live, square / live - (scatter / live) ** 2
    return bool(
        apart <= c.AVERAGED_APART * live
        and abs(light - lit) <= c.AVERAGED_LIGHT * lit
        and c.AVERAGED_SCATTER[0] <= scatter <= c.AVERAGED_SCATTER[1]
        and even <= (c.AVERAGED_EVEN * scatter) ** 2
        and c.AVERAGED_LEFT[0] * (one - two) <= background - two <= c.AVERAGED_LEFT[1] * (one - two)
    )
