"""Do a client's rows lie in one place of their own, away from the reference's, with a law like the reference's there?

What ordinary clients do differently they do in every row: another range, one segment, other units, a default. So their rows are off the
reference's middle in one direction. Of the residuals ``r`` (of unit variance each) of the remembered rows

    apart = (|mean r|^2 - S / n) / (1 - 1 / n) / S,    S = mean |r|^2,

is 0 when rows come from everywhere, and 1 when all of them are one row. Made rows have 0 to .05; but uniform draws from the bounds of
skewed columns .2 to .7, and a search around one row nearly 1. Once the place is taken out, a population of its own scatters as the
reference does:

- *scatter*, the variance of r within, is .5 to 1.6; uniform draws 2 to 12;
- *loose*, scatter over the variance of the columns themselves, is .6 to 3.3: what is scattered keeps to the law; a cloud of noise around
  one row is small, and breaks it, 4 to 13;
- and its columns tell of each other about as much as the reference's (`tied.py`), .65 to 1.6 of it; draws by column nothing, a search's
  steps along one line 2 and more.

Several instruments behind one account lie in a few such places, time and again (`in_few_places`).

A gate, not evidence.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from detectors.evidence import constants as c
from detectors.evidence.apart import to_neighbours
from detectors.evidence.second_look import TIED_ROWS, Look, complete, decoded, filled
from detectors.evidence.tied import told_by_others
from detectors.lean import allocating


@allocating
def displaced(z: Any, look: Look) -> Any:
    """How far apart rows z (n, F) lie from the reference, their scatter, and how loose it is; each capped at 5 standard deviations."""
    n, fields = z.shape
    known, v, r = np.ones(fields, np.bool_), np.empty(fields), np.empty(fields)
    mean, square, own, own_square = np.zeros(fields), np.zeros(fields), np.zeros(fields), np.zeros(fields)
    for i in range(n):
        complete(z[i], known, look.mean, look.precision, v, r)
        for f in range(fields):
            x = min(max(r[f], -c.PLACE_CLIP), c.PLACE_CLIP)
            mean[f] += x / n
            square[f] += x * x / n
            own[f] += v[f] / n
            own_square[f] += v[f] ** 2 / n
    total = square.sum()
    away, wide = (mean**2).sum(), 0.0
    for f in range(fields):
        wide += (own_square[f] - own[f] ** 2) / look.sd[f] ** 2 / fields
    scatter = (total - away) / fields
    apart = max(away - total / n, 0.0) / (1 - 1 / n) / total if total > 0 and n > 1 else 0.0
    return apart, scatter, scatter / max(wide, 1e-3)


@allocating
def within_tails(z: Any) -> None:
    """Sets the values of each column of z (n, F) beyond its own tenths to them: one absurd row hides how the columns hang together."""
    cut = int(c.PLACE_TAIL * len(z))
    for f in range(z.shape[1]):
        ordered = np.sort(z[:, f])
        low, high = ordered[cut], ordered[len(z) - 1 - cut]
        for i in range(len(z)):
            z[i, f] = min(max(z[i, f], low), high)


@allocating
def told_of_each_other(z: Any, look: Look) -> Any:
    """How much the columns of rows z (n, F) tell of each other, whole or `within_tails`, and those of as many reference rows; z is cut."""
    told = told_by_others(z)
    within_tails(z)
    return max(told, told_by_others(z)), np.interp(len(z), TIED_ROWS, look.tied)


@allocating
def lies_around(memory: Any, held: int, look: Look) -> bool:
    """Whether the remembered rows (field-major, `MEMORY` a field) are not apart from the reference, as made ones are not."""
    z = np.empty((held, len(look.step)))
    decoded(memory, held, look, z)
    return bool(displaced(z, look)[0] <= c.GENERATED_AROUND)


@allocating
def is_elsewhere(memory: Any, held: int, look: Look, either: bool) -> bool:
    """Whether the remembered rows (field-major, `MEMORY` a field) are a population with a place and a law of its own.

    Args:
        memory: the client's codes.
        held: rows in it.
        look: the reference's.
        either: that it scatters as the reference is enough; or else its columns must tell of each other.
    """
    z = np.empty((held, len(look.step)))
    decoded(memory, held, look, z)
    apart, scatter, loose = displaced(z, look)
    if apart <= c.PLACE_APART or loose >= c.PLACE_LOOSE:
        return False
    if either and scatter < c.PLACE_SCATTER:
        return True
    told, usual = told_of_each_other(z, look)
    return bool(usual >= c.LOOK_TIED_LEAST and c.PLACE_TIED[0] * usual <= told <= c.PLACE_TIED[1] * usual)


@allocating
def is_another_population(memory: Any, held: int, look: Look) -> bool:
    """Whether the columns of the remembered rows tell of each other as much as the reference's (`tied.py`): one that it has not.

    Not where they lie all around the reference, far from it: so does what a generator makes of a few numbers, by a law of its own.
    """
    z, kept = np.empty((held, len(look.step))), np.ones((held, len(look.step)), np.bool_)
    filled(memory, held, look, z, kept)
    if told_by_others(z) < max(c.LOOK_TIED * np.interp(held, TIED_ROWS, look.tied), c.LOOK_TIED_LEAST):
        return False
    decoded(memory, held, look, z)
    apart, scatter, _ = displaced(z, look)
    return bool(apart > c.PLACE_APART or scatter < c.PLACE_AROUND)


@allocating
def hangs_together(memory: Any, held: int, look: Look) -> bool:
    """Whether the remembered pictures' pixels tell of each other, and keep to the law in what they scatter: another camera's.

    A camera's noise, few levels, another resolution, turned or cut pictures break the law of smooth ones, but not much for what they vary.
    """
    z = np.empty((held, len(look.step)))
    decoded(memory, held, look, z)
    if displaced(z, look)[2] >= c.PLACE_PICTURES[1]:
        return False
    told, usual = told_of_each_other(z, look)
    return bool(usual >= c.LOOK_TIED_LEAST and told >= min(c.PLACE_PICTURES[0], held / c.MEMORY) * usual)


@allocating
def is_a_film(memory: Any, held: int, look: Look) -> bool:
    """Whether each remembered picture is like the one before: what moves in a film varies little beside a camera's noise."""
    z, along, total = np.empty((held, len(look.step))), 0.0, 0.0
    decoded(memory, held, look, z)
    for f in range(z.shape[1]):
        z[:, f] -= z[:, f].mean()
        for i in range(held):
            total += z[i, f] ** 2
            along += z[i, f] * z[i - 1, f] if i > 0 else 0.0
    return bool(along > c.PLACE_FILM * total)


@allocating
def is_one_place(memory: Any, held: int, look: Look) -> bool:
    """Whether the remembered rows lie around one row: a sensor's noise breaks the columns' law as a search does, so that says nothing.

    Not around the middle: there lie averages of many rows, and draws from a narrow law.
    """
    fields, around, away = len(look.step), 0.0, 0.0
    for f in range(fields):
        mean = square = 0.0
        for i in range(held):
            z = memory[f * c.MEMORY + i] * look.step[f] + look.zero[f]
            mean += z / held
            square += z * z / held
        around += (square - mean**2) / look.sd[f] ** 2
        away += ((mean - look.mean[f]) / look.sd[f]) ** 2
    return bool(around < c.PLACE_ONE[0] * fields and away > c.PLACE_ONE[1] * fields)


@allocating
def in_few_places(memory: Any, held: int, look: Look) -> bool:
    """Whether the remembered rows lie around a few rows, each time and again: instruments behind one account, whose noise says nothing.

    Of the distance to their fourth-nearest other, compared with as many rows of the reference. Not around the middle alone.
    """
    z, around = np.empty((held, len(look.step))), 0.0
    decoded(memory, held, look, z)
    for f in range(z.shape[1]):
        z[:, f] /= look.sd[f]
        around += z[:, f].var()
    return bool(around >= c.PLACE_ONE[0] * z.shape[1] and to_neighbours(z) < c.PLACE_FEW * np.interp(held, TIED_ROWS, look.alone))
