"""What each statistic must show beside its evidence before it opens a ticket or a page: one gate each, asked when the evidence is there.

A gate gives the severity it allows (0, 1 ticket, 2 page), ``s`` at most. What looks through a client's rows is asked only where the answer
would raise something (more than ``worth``), and never at a repeat (not ``distinct``): who repeats a row a million times would have them
looked through as often. Compiled, as `trials`; into `judge` itself, since passing the yardsticks on costs more than most questions.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from detectors.evidence import constants as c
from detectors.evidence import layout as at
from detectors.evidence import recent, trials
from detectors.evidence.anew import combines_anew
from detectors.evidence.averaged import are_averages
from detectors.evidence.bisection import bisects, halves
from detectors.evidence.calm import are_calm
from detectors.evidence.composed import confirms as looks_composed
from detectors.evidence.consecutive import in_order
from detectors.evidence.explainer import turns_one_column
from detectors.evidence.generated import comes_from_all_columns
from detectors.evidence.generated import confirms as looks_made
from detectors.evidence.habits import is_coarser
from detectors.evidence.independence import bound_without_one, could_be_bound, has_its_own_law
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
from detectors.evidence.rounding import is_rounded
from detectors.evidence.second_look import confirms
from detectors.evidence.untied import is_drawn_anywhere
from detectors.evidence.yardsticks import Yardsticks


@njit
def _looked(statistic: int) -> Any:
    """Where it is written from how many rows on the remembered ones are looked through again for a statistic; -1 where it is not."""
    if statistic == at.JOINT:
        return at.LOOKED
    if statistic == at.GENERATED:
        return at.GENERATED_LOOKED
    return at.COMPOSED_LOOKED if statistic == at.COMPOSED else -1


@njit
def postpone(count: Any, statistic: int) -> None:
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
        if sure and is_elsewhere(memory, held, y.look, statistic == at.GENERATED):
            sure = statistic == at.GENERATED and is_drawn_anywhere(memory, held, y.look)
        if statistic == at.GENERATED and family == 0:  # rows around one row share its values
            sure = sure and not is_coarser(memory, held, y.look.share) and comes_from_all_columns(memory, held, y.look, y.generated)
    if not sure:
        postpone(count, statistic)
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
    """Whether some of E6's flips lie further apart than a sensor's noise reaches, and all come in order; the surer the fewer those are."""
    far = _far(bins)
    for least, sigmas in c.LATTICE_ORDER:  # noqa: SIM110 - no `any` in compiled code
        if far >= least and in_order(count, bins, sigmas):
            return True
    return False


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
def _drawn(count: Any) -> int:
    """Distinct rows without those that were not judged for rare limits."""
    return int(count[at.DISTINCT] - min(count[at.EDGED], c.JOINT_EDGE_ROWS))


@njit(inline="always")
def _joint(s: int, worth: int, count: Any, code: Any, family: int, known: int, y: Yardsticks) -> int:
    """E1: enough rows judged, and they confirm it."""
    if count[at.DISTINCT] < c.JOINT_MIN_ROWS or (not y.image and c.JOINT_SCORED * count[at.SCORED] < y.fresh * _drawn(count)):
        return 0
    s = _alone(count, known, c.POPULATION_KNOWN, s)
    return s if s <= worth or _confirmed(count, code, y, at.JOINT, family) else 0


@njit(inline="always")
def _independent(s: int, worth: int, real: Any, count: Any, code: Any, known: int, distinct: bool, y: Yardsticks) -> int:
    """E11: what binds the columns is not there, in rows that could show it, and that no law of their own binds."""
    asked = distinct and count[at.INDEPENDENT_TRIALS] >= c.INDEPENDENT_LEAST and count[at.DISTINCT] % c.INDEPENDENT_EVERY == 0
    sigma = np.sqrt(1.5 * real[at.BOUND_SQUARES])
    if not asked or not c.INDEPENDENT_SIGMAS[0] * sigma <= real[at.BOUND] <= c.INDEPENDENT_SIGMAS[1] * sigma:
        return 0
    s = _alone(count, known, c.POPULATION_KNOWN, s)
    if s > worth:
        memory, held = recent.remembered(code, count, len(y.look.step))
        own = has_its_own_law(memory, held, y.look) or is_elsewhere(memory, held, y.look, False)
        own = own or bound_without_one(memory, held, y.look, y.bond)
        return s if could_be_bound(memory, held, y.look, y.bond) and not own else 0
    return s


@njit(inline="always")
def _made(statistic: int, s: int, worth: int, count: Any, code: Any, family: int, known: int, y: Yardsticks) -> int:
    """E12 and E13: enough rows judged, and they confirm it; E12 by its first limit alone pages only rows around the reference."""
    judged = count[at.GENERATED_TRIALS]
    if count[at.DISTINCT] < c.GENERATED_MIN_ROWS or (judged < c.GENERATED_FRESH and c.JOINT_SCORED * judged < _drawn(count)):
        return 0
    s = _alone(count, known, c.GENERATED_KNOWN, s)
    much = True
    if statistic == at.GENERATED:
        much = count[at.MADE_2] >= c.GENERATED_LITTLE[1] * judged or count[at.MADE_3] >= c.GENERATED_LITTLE[2] * judged
        s = s if much or count[at.MADE_1] >= c.GENERATED_LITTLE[0] * judged else min(s, 1)
    if s > worth:
        if not _confirmed(count, code, y, statistic, family):
            return 0
        if s == 2 and not much and not _around(count, code, y):
            postpone(count, statistic)
            return 1
    return s


@njit(inline="always")
def _smooth(s: int, worth: int, real: Any, count: Any, code: Any, local: bool, known: int, distinct: bool, y: Yardsticks) -> int:
    """E8: rows near the middle that are none of the exceptions; of pictures, averages."""
    if local or count[at.REMEMBERED] < c.SMOOTH_MIN_ROWS or real[at.REPEATED] > c.IMPUTED_EXCESS:
        return 0
    quiet = known >= c.SMOOTH_KNOWN and trials.quiet_alone(real) > (y.page if s == 2 else y.ticket)
    s = s if quiet else _alone(count, known, c.POPULATION_KNOWN, s)
    if s > worth:
        if not distinct or not _in_the_middle(count, code, y, quiet):
            return 0
        if y.image and (s == 2 or not quiet):  # dimmed pictures have less of everything, too
            memory, held = recent.remembered(code, count, len(y.look.step))
            if not are_averages(memory, held, count, y.look.share, y.halved):
                return 1 if trials.quiet_alone(real) > y.ticket else 0
    return s


@njit(inline="always")
def _symmetric(s: int, worth: int, real: Any, count: Any, code: Any, distinct: bool, y: Yardsticks) -> int:
    """E5: no page of a sensitivity study, which asks nothing twice."""
    if s == 2 and worth < 2 and count[at.EXACT] <= count[at.DISTINCT]:
        return 1 if not distinct or turns_one_column(real, count, code, len(y.look.step), y.far2) else 2
    return s


@njit
def _flips(statistic: int, s: int, count: Any, bins: Any, rough: bool) -> int:
    """E3 and E4: the answer flips at many distances; of edits, and on rough services, in order."""
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
    if s > 0 and (rough or (edits and statistic == at.CLOSING)):
        return s if in_order(count, bins, c.FLIP_ORDER) else 0
    return s


@njit(inline="always")
def _two_valued(s: int, worth: int, count: Any, code: Any, distinct: bool, y: Yardsticks) -> int:
    """E7: values that recur, and are combined anew."""
    if s > worth:
        ring, m = recent.latest(code, count, len(y.look.step))
        newest = (count[at.DISTINCT] - 1) % c.RING
        return s if distinct and combines_anew(ring, m, newest, y.look.share, count[at.DISTINCT], y.image) else 0
    return s


@njit
def beside(real: Any, e: float) -> float:
    """E14, whose evidence is ``e``, with E5 or E7, each with enough evidence of its own; else 0."""
    other = max(trials.mixture(real, at.SYMMETRIC), trials.mixture(real, at.TWO_VALUED))
    return e * other if min(e, other) >= c.STOPPING_BESIDE else 0.0


@njit(inline="always")
def _stopping(e: float, worth: int, real: Any, count: Any, code: Any, distinct: bool, y: Yardsticks) -> int:
    """E14: a ticket; a page with E5 or E7 beside it, where the rows are not rounded."""
    if beside(real, e) > y.page and distinct and worth < 2:
        ring, m = recent.latest(code, count, len(y.look.step))
        if not is_rounded(ring, m, y.look.share, count[at.DISTINCT]):
            return 2
    return 1 if e > y.ticket else 0


@njit(inline="always")
def allowed(
    statistic: int, e: float, worth: int, real: Any, count: Any, code: Any, bins: Any, family: int, local: bool, known: int,
    distinct: bool, y: Yardsticks,
) -> int:  # fmt: skip
    """The severity that the statistic's gate allows for evidence ``e``; E2 and E10 have none."""
    s = 2 if e > y.page else 1
    if statistic == at.JOINT:
        s = _joint(s, worth, count, code, family, known, y)
    elif statistic == at.INDEPENDENT:
        s = _independent(s, worth, real, count, code, known, distinct, y)
    elif statistic in (at.GENERATED, at.COMPOSED):
        s = _made(statistic, s, worth, count, code, family, known, y)
    elif statistic == at.SMOOTH:
        s = _smooth(s, worth, real, count, code, local, known, distinct, y)
    elif statistic == at.SYMMETRIC:
        s = _symmetric(s, worth, real, count, code, distinct, y)
    elif statistic == at.LATTICE:
        # On rough services, too: no ordinary client with E6's evidence has a halving.
        s = s if halves(count, False) or _adjusts_at_all_scales(count, bins) else 0
    elif statistic in (at.FLIPS, at.CLOSING):
        s = s if halves(count, y.rough) else _flips(statistic, s, count, bins, y.rough)
    elif statistic == at.TWO_VALUED:
        s = _two_valued(s, worth, count, code, distinct, y)
    elif statistic == at.STOPPING:
        s = _stopping(e, worth, real, count, code, distinct, y)
    elif statistic == at.BISECTION:
        s = s if bisects(count) else 0
    return s
