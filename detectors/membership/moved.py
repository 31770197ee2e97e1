"""Whether two pictures are one, moved by a pixel or two: what test-time augmentation and its misuse send.

Magnitudes of frequencies (`detectors.membership.neighbours`) do not tell where a picture lies, but a move cuts a line of pixels off, and in
a picture of 8x8 pixels that is an eighth: moved copies of a digit are as far from it there as other digits. What both pictures still have
is the same pixel by pixel.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

MOVES = tuple((down, across) for down in (-1, 0, 1) for across in (-1, 0, 1) if down or across)
FURTHEST = 2
_LEVELS, _MOST_LEVEL = 12.0, 120  # ten standard deviations, where pixels are cut anyway, fit into eight bits
_CLOSER, _RARE = 0.5, 0.02
_CANDIDATES, _PROBES = 24, 300  # pictures whose nearest is looked for, among so many whose magnitudes are nearest


def moved_by(X: NDArray[np.float32], image: tuple[int, int], down: int, across: int) -> NDArray[np.float32]:
    """Pictures (n, d) moved by so many pixels; what comes in is 0.

    Example:
        >>> moved_by(np.arange(1, 7, dtype=np.float32)[None], (2, 3), 1, -1).tolist()
        [[0.0, 0.0, 0.0, 2.0, 3.0, 0.0]]
    """
    h, w = image
    out = np.zeros((len(X), h, w), np.float32)
    of = X.reshape(-1, h, w)
    out[:, max(0, down) : h + min(0, down), max(0, across) : w + min(0, across)] = of[
        :, max(0, -down) : h + min(0, -down), max(0, -across) : w + min(0, -across)
    ]
    return out.reshape(len(X), -1)


@njit(cache=True)
def to_levels(z: Any, out: Any) -> None:
    """Pixels z (d,) in the pictures' standard deviation to ``out`` (d,) int8, in twelfths of it, at most 120."""
    for j in range(z.shape[0]):
        out[j] = np.int8(np.round(min(max(z[j] * np.float32(_LEVELS), np.float32(-_MOST_LEVEL)), np.float32(_MOST_LEVEL))))


@njit(cache=True)
def moved_apart(a: Any, b: Any, height: int, width: int, limit: float, furthest: int = FURTHEST) -> float:
    """Smallest mean squared difference of what two pictures (d,) int8 both have, over moves by up to ``furthest`` pixels each way.

    Args:
        a: of `to_levels`.
        b: the same of the other.
        height: lines.
        width: pixels of a line.
        limit: differences from here on are not told apart.
        furthest: 0 for the pictures as they are.

    Returns:
        Levels squared, or ``limit`` when no move has less.

    Example:
        >>> a = np.arange(36, dtype=np.int8).reshape(6, 6)
        >>> moved_apart(a.ravel(), np.roll(a, (1, -1), (0, 1)).ravel(), 6, 6, 50.0)
        0.0
        >>> moved_apart(a.ravel(), a[::-1].ravel(), 6, 6, 50.0)
        50.0
    """
    best = limit
    for down in range(-furthest, furthest + 1):
        for across in range(-furthest, furthest + 1):
            left, right = max(0, across), width + min(0, across)
            first, end = max(0, down), height + min(0, down)
            if first >= end or left >= right:
                continue
            pixels = (end - first) * (right - left)
            cap, total = best * pixels, 0.0
            middle = (first + end) // 2
            for k in range(end - first):  # from the middle outwards: edges are dark in most pictures
                y = middle + (k + 1) // 2 * (-1 if k % 2 else 1)
                line = np.int32(0)
                for x in range(left, right):
                    t = np.int32(a[y * width + x]) - np.int32(b[(y - down) * width + x - across])
                    line += t * t
                total += line
                if total >= cap:
                    break
            if total < cap:
                best = total / pixels
    return best


def fit_limit(X: NDArray[np.float32], place: NDArray[np.float32], inverse: NDArray[np.float32], image: tuple[int, int]) -> float:
    """Below which `moved_apart` says that two pictures are one: half of the distance that 2 % of the reference's have to another.

    Args:
        X: (n, d) pictures; a missing pixel counts as 0.
        place: (n, axes) where `detectors.membership.neighbours` puts them.
        inverse: (d,) multiplied to a row.
        image: height and width.
    """
    levels, nearest = np.empty(X.shape, np.int8), []
    for z, out in zip(np.nan_to_num(X * inverse), levels, strict=True):
        to_levels(z, out)
    for i in np.random.default_rng(0).permutation(len(X))[:_PROBES]:
        away = ((place - place[i]) ** 2).sum(1)
        others = np.argsort(away)[1 : 1 + _CANDIDATES]
        apart = [moved_apart(levels[i], levels[j], *image, 1e9) for j in others if away[j] > 0]
        nearest += [min(apart)] if apart else []
    known = [one for one in nearest if one > 0]
    return float(_CLOSER**2 * np.quantile(known, _RARE)) if known else 0.0
