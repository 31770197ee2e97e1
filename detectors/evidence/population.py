"""What everybody's rows look like at present, so that a population that has moved does not look like an attack by each of its clients.

A table of the clients that were judged most recently holds, for each, the share of its latest rows above E1's four limits. The tolerated
rate of a limit is ``u = u_ref + 1.25 max(0, median over clients - nominal)``: the reference's tolerance is kept as a distance from what
is usual now. A median over clients, not rows: a bulk job or an attacker counts once. It is deceived by a swarm that is the majority of the
table's clients, which `E2`-`E7` do not need. For E12's limits it is the lower third instead of the median: rows look made to it by much, so
that where two of five clients are attackers' the median is that of those among the others whose rows look made most, and E12 was silent
(on nine services up to half of the time; by the lower third never). When everybody's rows change, the lower third changes as well.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from detectors.evidence import constants as c
from detectors.evidence import layout as at
from detectors.evidence.middle import Middle, set_factors
from detectors.lean import allocating

WRITES, REFRESHED, EPOCH, KNOWN = range(4)
MOVING = 9
"""Rates that follow the population: above E1's four limits, below E8's two, above E12's three; counted from `layout.ABOVE_1` on."""
MADE_RATES = MOVING - len(c.GENERATED_LIMITS)
"""The first of E12's."""
_LIMITS = len(c.JOINT_QUANTILES)
_MIDDLE = _LIMITS + 1
_MOST = 0.98
_FIRST = tuple(
    at.FIRST_ARM[statistic] + 3 * k for statistic, limits in ((at.JOINT, _LIMITS), (at.SMOOTH, 2), (at.GENERATED, 3)) for k in range(limits)
)
_ALTERNATIVES = np.array([*(c.JOINT_Q,) * _LIMITS, *c.SMOOTH_Q, *c.GENERATED_Q])


class Ordinary(NamedTuple):
    """What the reference says of the moving rates."""

    rates: NDArray[np.float64]  # (9,) tolerated
    nominal: NDArray[np.float64]  # (9,) of its own rows
    middle: Middle


class Population(NamedTuple):
    """One per model and partition, about 5 KB."""

    owner: NDArray[np.int32]  # (entries,) slot, -1 where free
    seen: NDArray[np.int32]  # (entries, 10) the owner's counts when it last reported: rows judged, above or below each limit
    rate: NDArray[np.float32]  # (entries, 9) share of its latest rows above E1's, below E8's, above E12's limits
    stamp: NDArray[np.int64]  # (entries,) when, in reports
    usual: NDArray[np.float64]  # (9,) excess of the tolerated rates over the reference's
    clock: NDArray[np.int64]  # (4,) WRITES, REFRESHED, EPOCH, KNOWN
    gain: NDArray[np.float32]  # (arms, 2) factors of every arm: on a miss, on a hit
    factors: NDArray[np.float32]  # (12, 3) of E8's second limit, by how far a row is from the middle


def nobody(gain: NDArray[np.float32], middle: Middle) -> Population:
    """No client judged yet: the reference's rates hold."""
    n = c.POPULATION
    usual = np.zeros(MOVING)
    return Population(
        np.full(n, -1, np.int32), np.zeros((n, 1 + MOVING), np.int32), np.zeros((n, MOVING), np.float32), np.zeros(n, np.int64),
        usual, np.zeros(4, np.int64), gain, factors_of(middle, usual),
    )  # fmt: skip


def stored(population: Population) -> dict[str, Any]:
    """What a snapshot holds of it: all but the factors, which follow from `usual`."""
    return {name: array for name, array in population._asdict().items() if name != "factors"}


@allocating
def factors_of(middle: Middle, usual: Any) -> Any:
    """The factors (12, 3) of E8's second limit where the rates are in excess of the reference's by ``usual`` (9,)."""
    out = np.empty((len(middle.ordinary), len(c.MIDDLE_WAYS)), np.float32)
    set_factors(out, middle, min(c.MIDDLE_RATE + usual[_MIDDLE], _MOST))
    return out


def forget(population: Population, slots: NDArray[np.signedinteger]) -> None:
    """Cleared slots may soon belong to other clients."""
    population.owner[np.isin(population.owner, slots)] = -1


@njit
def set_arms(gain: Any, first: int, u: float, qs: Any) -> None:
    """Factors of a statistic's arms at tolerated rate u; both 0 where the alternative has no power: such an arm stays at 0."""
    for k in range(len(qs)):
        q = qs[k]
        alive = q > c.ARM_MARGIN * u
        gain[first + k, 0] = (1 - q) / (1 - u) if alive else 0.0
        gain[first + k, 1] = q / u if alive else 0.0


@njit
def knows_made(usual: Any) -> bool:
    """Whether E12's trees know the present population: it looks as little made as the reference does."""
    moved = False
    for k in range(MADE_RATES, MOVING):
        moved |= usual[k] > c.GENERATED_MOVED
    return not moved


@njit
def report(population: Population, slot: int, count: Any, ordinary: Ordinary, room: Any) -> None:
    """A client with enough new judged rows enters the table; now and then the tolerated rates are taken anew."""
    clock = population.clock
    clock[WRITES] += 1
    entry, oldest = -1, 0
    for k in range(len(population.owner)):
        if population.owner[k] == slot:
            entry = k
        if population.owner[k] < 0 or (population.owner[oldest] >= 0 and population.stamp[k] < population.stamp[oldest]):
            oldest = k
    blend = 0.5
    if entry < 0:
        entry, blend = oldest, 1.0
        population.owner[entry] = slot
        population.seen[entry] = 0
    seen = population.seen[entry]
    rows = count[at.SCORED] - seen[0]
    if rows > 0:
        for k in range(MOVING):
            population.rate[entry, k] += blend * ((count[at.ABOVE_1 + k] - seen[1 + k]) / rows - population.rate[entry, k])
    for k in range(1 + MOVING):
        seen[k] = count[at.SCORED + k]
    population.stamp[entry] = clock[WRITES]
    if clock[WRITES] - clock[REFRESHED] >= max(2, clock[KNOWN] // 4):
        _refresh(population, ordinary, room)


@njit
def _refresh(population: Population, ordinary: Ordinary, room: Any) -> None:
    clock = population.clock
    clock[REFRESHED] = clock[WRITES]
    for k in range(len(population.owner)):
        if population.owner[k] >= 0 and population.stamp[k] + c.POPULATION_AGE < clock[WRITES]:
            population.owner[k] = -1
    clock[KNOWN] = 0
    for owner in population.owner:
        clock[KNOWN] += owner >= 0
    moved = rose = False
    excess = room[c.POPULATION :]
    for k in range(MOVING):
        excess[k] = 0.0
        if clock[KNOWN] >= c.POPULATION_KNOWN:
            excess[k] = c.POPULATION_SPREAD * max(_usual(population, k, room) - ordinary.nominal[k], 0.0)
        moved |= abs(excess[k] - population.usual[k]) > c.POPULATION_STEP
        rose |= excess[k] > population.usual[k] + c.POPULATION_STEP
    if moved:
        for k in range(MOVING):
            population.usual[k] = excess[k]
            set_arms(population.gain, _FIRST[k], min(ordinary.rates[k] + excess[k], _MOST), _ALTERNATIVES[k])
        set_factors(population.factors, ordinary.middle, min(c.MIDDLE_RATE + excess[_MIDDLE], _MOST))
    if rose:
        clock[EPOCH] += 1


@njit
def _usual(population: Population, k: int, room: Any) -> float:
    """Median of the known clients' rates above limit k, for E12 their lower third; by insertion, since `core.stream` may not allocate."""
    n = 0
    for entry in range(len(population.owner)):
        if population.owner[entry] >= 0:
            rate = np.float64(population.rate[entry, k])
            place = n
            while place > 0 and room[place - 1] > rate:
                room[place] = room[place - 1]
                place -= 1
            room[place] = rate
            n += 1
    if k >= MADE_RATES:
        return float(room[(n - 1) // 3])
    return float((room[(n - 1) // 2] + room[n // 2]) / 2)


@njit
def reconsider(real: Any, count: Any, population: Population) -> None:
    """After the tolerated rates rose: a client's evidence is at most the likelihood ratio of all its rows at the present rates.

    Of E8's second limit by the rows within its 25 % quantile alone, since no more of them is counted.
    """
    count[at.EPOCH] = population.clock[EPOCH]
    n = count[at.SCORED]
    for k in range(MOVING):
        h = count[at.ABOVE_1 + k]
        for a in range(_FIRST[k], _FIRST[k] + 3):
            if population.gain[a, 1] == 0:
                real[a] = 0
            else:
                ln = h * np.log(population.gain[a, 1]) + (n - h) * np.log(population.gain[a, 0])
                real[a] = min(real[a], np.exp(min(ln, 80.0)))
