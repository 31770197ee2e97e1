"""How the flags of a client's rows add up to evidence, against null rates that follow the population."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numba import njit

ITERATE, SYNTHETIC, COPIES = 0, 1, 2
CANDIDATE, SEED = 1, 2
LN_SEED, LN_JOIN, MIN_FLAGS = 5.0, 2.5, 2
MIN_SEEDS, HURRY = 5, 8
YOUNG = 400
# Null rate and attack rate of the flags, as the steps of ln likelihood ratio for a hit and a miss.
RATES = np.array([[0.08, 0.45], [0.10, 0.70], [0.05, 0.50]])
# The null follows the population: the rate of a flag among 16 to 64 rows of a client is a vote, and the latest 64 votes count. A client
# has one an hour, and all have one in 5 minutes: a swarm that is most of the traffic for two hours must not become what is usual. Nor must
# one that comes first: votes that are not cast yet are noughts while they are fewer than 5.
# Who was named has none, but before there are 8: where ordinary clients look like a swarm, the first ones are named.
VOTES, CALIBRATED, VOTE_ROWS, VOTE_EVERY_S, VOTES_EVERY_S = 64, 8, 16, 3600.0, 300.0
_OVER, _NULL_MOST, _ATTACK_MOST = 2.5, 0.6, 0.95
# Columns of `book`, one row a kind of cohort.
SEEDS, RAISED, WAITING, PATIENCE = range(4)


class Evidence(NamedTuple):
    """Arrays that the kernels change: by kind of cohort, and by client and kind.

    Attributes:
        steps: (3, 2) float64 ln likelihood ratio of a hit and of a miss.
        ln: (capacity, 3) float64 evidence since the onset.
        onset: (capacity, 3) float64 event time of the first flag, s.
        spell: (capacity, 3, 2) int32 flags and rows since the onset.
        level: (capacity, 3) uint8: neither, candidate, seed.
        named: (capacity, 3) bool: was told.
        book: (3, 4) int64 seeds; clients that rose and rows of those who wait since the last look; how many of these are worth a look.
    """

    steps: Any
    ln: Any
    onset: Any
    spell: Any
    level: Any
    named: Any
    book: Any


@njit(cache=True)
def vote(of: Any, at: float, cast: Any, votes: Any, steps: Any) -> None:
    """A client's share of flagged rows enters the population's, and the null rates are 2.5 times its median, at least `RATES`.

    Above .6 the flag says nothing about anybody.
    """
    number = int(cast[0])
    for kind in range(3):
        votes[kind, number % VOTES] = of[kind + 1] / of[0]
    cast[0], cast[1] = number + 1, at
    n = max(min(number + 1, VOTES), MIN_SEEDS)
    for kind in range(3):
        ordered = np.sort(votes[kind, :n])
        u = max(RATES[kind, 0], _OVER * ordered[n // 2])
        if u > _NULL_MOST:
            steps[kind, 0], steps[kind, 1] = 0.0, -1.0
        else:
            q = max(RATES[kind, 1], min(_ATTACK_MOST, _OVER * u))
            steps[kind, 0], steps[kind, 1] = math.log(q / u), math.log((1 - q) / (1 - u))


@njit(cache=True)
def _judge(s: int, kind: int, of: Evidence) -> None:
    """Candidate, seed or neither, and the books of how many wait to be looked at."""
    was = of.level[s, kind]
    if of.spell[s, kind, 1] > YOUNG:
        now = 0
    elif of.spell[s, kind, 0] < MIN_FLAGS:
        now = was
    elif was == SEED or of.ln[s, kind] >= LN_SEED:
        now = SEED
    else:
        now = CANDIDATE if of.ln[s, kind] >= LN_JOIN else 0
    of.level[s, kind] = now
    of.book[kind, SEEDS] += (now == SEED) - (was == SEED)
    if now and not of.named[s, kind]:
        of.book[kind, WAITING] += 1
        if now > was:
            first = now == SEED and of.book[kind, SEEDS] == MIN_SEEDS
            of.book[kind, RAISED] = HURRY if first else of.book[kind, RAISED] + 1


@njit(inline="always")
def _begins(s: Any, kind: int, of: Evidence) -> bool:
    """Whether the next flag of a client is the first one of a spell. Who was a seed once stays one for the spell: steps come in rounds."""
    return bool(of.ln[s, kind] <= 0 and of.level[s, kind] != SEED)


@njit(cache=True)
def cusum(s: int, kind: int, flag: bool, at: float, of: Evidence) -> None:
    """CUSUM of one flag: ln evidence since its onset; who passes becomes candidate and seed until 400 events later or evidence gone."""
    if _begins(s, kind, of):
        of.ln[s, kind], of.level[s, kind] = 0.0, 0
        if not flag:
            return
        of.onset[s, kind], of.spell[s, kind] = at, 0
    of.ln[s, kind] = max(of.ln[s, kind], 0.0) + (of.steps[kind, 0] if flag else of.steps[kind, 1])
    of.spell[s, kind, 0] += flag
    of.spell[s, kind, 1] += 1
    _judge(s, kind, of)


@njit(cache=True)
def credit(s: int, kind: int, at: float, of: Evidence) -> None:
    """Make a flag of an earlier row, of time ``at``, that was taken for none then."""
    if _begins(s, kind, of):
        of.ln[s, kind] = of.steps[kind, 0]
        of.onset[s, kind], of.spell[s, kind] = at, 0
    elif of.ln[s, kind] <= 0:
        of.ln[s, kind] = of.steps[kind, 0]
    else:
        of.ln[s, kind] += of.steps[kind, 0] - of.steps[kind, 1]
    of.spell[s, kind, 0] += 1
    _judge(s, kind, of)
