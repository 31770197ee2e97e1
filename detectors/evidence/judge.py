"""What a client's evidence comes to: severities by family, behind the gates of each statistic."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from detectors.evidence import constants as c
from detectors.evidence import layout as at
from detectors.evidence import recent, trials
from detectors.evidence.averaged import are_averages
from detectors.evidence.calm import Calm, are_calm
from detectors.evidence.composed import confirms as looks_composed
from detectors.evidence.consecutive import in_order
from detectors.evidence.explainer import mixes_one_row, turns_one_column
from detectors.evidence.generated import Generated, comes_from_all_columns
from detectors.evidence.generated import confirms as looks_made
from detectors.evidence.habits import is_coarser
from detectors.evidence.independence import Bond, bound_without_one, could_be_bound, has_its_own_law
from detectors.evidence.middle import Middle
from detectors.evidence.middle import confirms as lies_in_the_middle
from detectors.evidence.place import (
    hangs_together,
    in_few_places,
    is_a_film,
    is_another_population,
    is_elsewhere,
    is_one_place,
    lies_around,
)
from detectors.evidence.population import Ordinary
from detectors.evidence.rounding import is_rounded
from detectors.evidence.second_look import Look, confirms


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


@njit
def _looked(statistic: int) -> Any:
    """Where it is written from how many rows on the remembered ones are looked through again for a statistic; -1 where it is not."""
    if statistic == at.JOINT:
        return at.LOOKED
    if statistic == at.GENERATED:
        return at.GENERATED_LOOKED
    return at.COMPOSED_LOOKED if statistic == at.COMPOSED else -1


@njit
def _postpone(count: Any, statistic: int) -> None:
    """The rows are not looked through again for E1, E12 or E13 before a quarter more have come."""
    looked = _looked(statistic)
    if looked >= 0:
        count[looked] = int(c.LOOK_AGAIN[1] * count[at.DISTINCT]) + c.LOOK_AGAIN[0]


@njit
def _confirmed(count: Any, code: Any, y: Yardsticks, statistic: int, family: int) -> bool:
    """Whether the remembered rows confirm E1, E12, or E13; not asked again soon after they did not."""
    fields = len(y.look.step)
    if statistic == at.JOINT and fields < 3:
        return True
    if count[at.DISTINCT] < count[_looked(statistic)] or count[at.REMEMBERED] < c.LOOK_LEAST:
        return False
    memory, held = recent.remembered(code, count, fields)
    if is_one_place(memory, held, y.look) or (family == 0 and in_few_places(memory, held, y.look)):
        sure = False
    elif statistic == at.JOINT and y.image:  # pictures have no units and defaults
        sure = not hangs_together(memory, held, y.look) and (family == 1 or not is_a_film(memory, held, y.look))
    elif statistic == at.COMPOSED:
        sure = looks_composed(memory, held, y.look, y.generated)
    else:
        if statistic == at.JOINT:
            sure = confirms(memory, held, y.look) and not is_another_population(memory, held, y.look)
        else:
            sure = looks_made(memory, held, y.look, y.generated)
        sure = sure and not is_elsewhere(memory, held, y.look, statistic == at.GENERATED)
        if statistic == at.GENERATED and family == 0:  # rows around one row share its values
            sure = sure and not is_coarser(memory, held, y.look.share) and comes_from_all_columns(memory, held, y.look, y.generated)
    if not sure:
        _postpone(count, statistic)
    return bool(sure)


@njit
def _around(count: Any, code: Any, y: Yardsticks) -> bool:
    """Whether the remembered rows lie around the reference."""
    memory, held = recent.remembered(code, count, len(y.look.step))
    return bool(lies_around(memory, held, y.look))


@njit
def _far(bins: Any) -> int:
    """How many flips of consecutive rows lie further apart than a sensor's noise reaches."""
    far = 0
    for k in range(c.LAG_WIDE):
        far += bins[c.OCTAVES + k]
    return far


@njit
def _wide(bins: Any) -> int:
    """The severity that so many of them allow."""
    far = _far(bins)
    return 0 if far < c.LAG_WIDE_TICKET else (1 if far < c.LAG_WIDE_PAGE else 2)


@njit
def _adjusts_at_all_scales(count: Any, bins: Any) -> bool:
    """Whether some of E6's flips lie further apart than a sensor's noise reaches, and all come in order; the surer where they are few."""
    far = _far(bins)
    well, often = c.LATTICE_ORDER
    return bool((far >= c.LATTICE_WIDE[0] and in_order(count, bins, well)) or (far >= c.LATTICE_WIDE[1] and in_order(count, bins, often)))


@njit
def _in_the_middle(count: Any, code: Any, y: Yardsticks, quiet: bool) -> bool:
    """Whether the remembered rows confirm E8, by its first limit or (not ``quiet``) its second; asked eight times a doubling of rows."""
    if count[at.DISTINCT] % (1 << max(int(np.log2(count[at.DISTINCT])) - c.MIDDLE_LOOKS, 0)) != 0:
        return False
    memory, held = recent.remembered(code, count, len(y.look.step))
    if not lies_in_the_middle(memory, held, y.look, y.middle, quiet):
        return False
    return bool(y.image or not are_calm(memory, held, y.look, y.middle, y.calm))


@njit
def _alone(count: Any, known: int, needed: int, s: int) -> int:
    """The severity allowed while so few clients are known that "everybody has moved" cannot be told from "this one is odd"."""
    if known < needed and count[at.DISTINCT] < c.POPULATION_ALONE[1]:
        return 0 if count[at.DISTINCT] < c.POPULATION_ALONE[0] else min(s, 1)
    return s


@njit
def _beside(real: Any, e: float) -> float:
    """E14 with E5 or E7, each with enough evidence of its own; else 0."""
    other = max(trials.mixture(real, at.SYMMETRIC), trials.mixture(real, at.TWO_VALUED))
    return e * other if min(e, other) >= c.STOPPING_BESIDE else 0.0


@njit
def judge(
    real: Any, count: Any, code: Any, bins: Any, family: int, known: int, composed: float, distinct: bool, y: Yardsticks
) -> tuple[int, int, float]:  # fmt: skip
    """The family's severity (0, 1 ticket, 2 page) by its strongest statistic that passes its gate.

    What looks through the client's rows is never asked at a repeat (not ``distinct``): who repeats a row a million times would have them
    looked through as often.
    """
    severity, which, evidence = 0, -1, 0.0
    fields, reached = len(y.look.step), (count[at.SEVERITY] >> (2 * family)) & 3
    drawn = count[at.DISTINCT] - min(count[at.EDGED], c.JOINT_EDGE_ROWS)  # rows with rare limits were not judged
    for statistic in range(len(at.ARMS)):
        local = statistic >= at.FLIPS or real[at.NEAR_SHARE] > 1 - c.LOCAL_SHARE
        if local != (family == 1):
            continue
        e = composed if statistic == at.COMPOSED else trials.mixture(real, statistic)
        both = statistic == at.STOPPING and _beside(real, e) > y.page
        if e <= y.ticket and not both:
            continue
        s = 2 if e > y.page else 1
        if statistic == at.JOINT:
            if count[at.DISTINCT] < c.JOINT_MIN_ROWS or (not y.image and c.JOINT_SCORED * count[at.SCORED] < y.fresh * drawn):
                s = 0
            s = _alone(count, known, c.POPULATION_KNOWN, s)
            if s > max(severity, reached):  # what raises nothing need not be looked at again
                s = s if _confirmed(count, code, y, statistic, family) else 0
        elif statistic == at.INDEPENDENT:
            asked = distinct and count[at.INDEPENDENT_TRIALS] >= c.INDEPENDENT_LEAST and count[at.DISTINCT] % c.INDEPENDENT_EVERY == 0
            sigma = np.sqrt(1.5 * real[at.BOUND_SQUARES])
            unbound = c.INDEPENDENT_SIGMAS[0] * sigma <= real[at.BOUND] <= c.INDEPENDENT_SIGMAS[1] * sigma
            s = _alone(count, known, c.POPULATION_KNOWN, s) if asked and unbound else 0
            if s > max(severity, reached):
                memory, held = recent.remembered(code, count, fields)
                own = has_its_own_law(memory, held, y.look) or is_elsewhere(memory, held, y.look, False)
                own = own or bound_without_one(memory, held, y.look, y.bond)
                s = s if could_be_bound(memory, held, y.look, y.bond) and not own else 0
        elif statistic in (at.GENERATED, at.COMPOSED):
            judged = count[at.GENERATED_TRIALS]
            much = True
            few = count[at.DISTINCT] < c.GENERATED_MIN_ROWS or (judged < c.GENERATED_FRESH and c.JOINT_SCORED * judged < drawn)
            s = 0 if few else _alone(count, known, c.GENERATED_KNOWN, s)
            if statistic == at.GENERATED:
                much = count[at.MADE_2] >= c.GENERATED_LITTLE[1] * judged or count[at.MADE_3] >= c.GENERATED_LITTLE[2] * judged
                s = s if much or count[at.MADE_1] >= c.GENERATED_LITTLE[0] * judged else min(s, 1)
            if s > max(severity, reached):
                s = s if _confirmed(count, code, y, statistic, family) else 0
                if s == 2 and statistic == at.GENERATED and not much and not _around(count, code, y):
                    s = 1
                    _postpone(count, statistic)
        elif statistic == at.SMOOTH:
            s = 0 if local or count[at.REMEMBERED] < c.SMOOTH_MIN_ROWS or real[at.REPEATED] > c.IMPUTED_EXCESS else s
            quiet = known >= c.SMOOTH_KNOWN and trials.quiet_alone(real) > (y.page if s == 2 else y.ticket)
            s = s if quiet else _alone(count, known, c.POPULATION_KNOWN, s)
            if s > max(severity, reached):
                s = s if distinct and _in_the_middle(count, code, y, quiet) else 0
                if y.image and (s == 2 or (s == 1 and not quiet)):  # dimmed pictures have less of everything, too
                    memory, held = recent.remembered(code, count, fields)
                    if not are_averages(memory, held, count, y.look.share, y.halved):
                        s = 1 if trials.quiet_alone(real) > y.ticket else 0
        elif statistic == at.SYMMETRIC:
            once = s == 2 and max(severity, reached) < 2 and count[at.EXACT] <= count[at.DISTINCT]  # a study asks nothing twice
            if once and (not distinct or turns_one_column(real, count, code, fields, y.far2)):
                s = 1
        elif statistic == at.LATTICE:
            s = s if _adjusts_at_all_scales(count, bins) else 0
        elif statistic in (at.FLIPS, at.CLOSING):
            edits = count[at.EDITS] > c.FLIP_EDITS * count[at.DISTINCT]
            filled = touched = total = lagged = largest = octaves = two = 0
            for k in range(c.OCTAVES):
                total += bins[k]
                lagged += bins[c.OCTAVES + k]
            least = c.FLIP_BIN_LEAST * total
            for k in range(c.OCTAVES):
                two = max(two, bins[k] + (bins[k + 1] if k + 1 < c.OCTAVES else 0))
                filled += bins[k] >= max(c.FLIP_BIN_MIN, least)
                touched += bins[k] >= max(1, least)
                largest = max(largest, bins[k])
                octaves += bins[c.OCTAVES + k] >= max(c.LAG_BIN_MIN, (c.LAG_BIN_EDITS if edits else c.FLIP_BIN_LEAST) * lagged)
            if statistic == at.CLOSING:
                wide = filled >= c.CLOSING_BINS[0] or touched >= c.CLOSING_BINS[1]
                s = s if wide and total - two >= max(c.CLOSING_OUTSIDE, 2 * least) else 0
            elif edits or filled < c.FLIP_BINS or largest > c.FLIP_BIN_SHARE * total:
                allowed = 0 if octaves < c.LAG_TICKET else (1 if octaves < c.LAG_PAGE else 2)
                s = min(s, max(allowed, _wide(bins)) if edits else allowed)
            if s > 0 and (y.rough or (edits and statistic == at.CLOSING)):
                s = s if in_order(count, bins, c.FLIP_ORDER) else 0
        elif statistic == at.TWO_VALUED:
            if s > max(severity, reached):
                ring, m = recent.latest(code, count, fields)
                s = s if distinct and not is_rounded(ring, m, y.look.share, count[at.DISTINCT]) else 0
        elif statistic == at.STOPPING:
            s = 1 if e > y.ticket else 0
            if both and distinct and max(severity, reached) < 2:
                ring, m = recent.latest(code, count, fields)
                s = s if is_rounded(ring, m, y.look.share, count[at.DISTINCT]) else 2
        elif statistic == at.BISECTION:
            octaves = halved = 0
            for k in range(16):
                octaves += (count[at.BISECTED] >> k) & 1
                halved += (count[at.BISECTED] >> 16 + k) & 1
            s = s if octaves >= c.BISECTION_OCTAVES and halved >= c.BISECTION_FIELDS else 0
        one = s == 2 and max(severity, reached) < 2 and statistic in at.MADE
        if one and mixes_one_row(*recent.remembered(code, count, fields), y.look.share):
            s = 1
            if reached == 1:  # or every further row would be looked through
                _postpone(count, statistic)
        if s > severity:
            severity, which, evidence = s, statistic, e
    return severity, which, evidence
