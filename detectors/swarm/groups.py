"""Which clients whose evidence began in the same half hours belong together, and what is said of them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detectors.swarm.cusum import COPIES, HURRY, ITERATE, MIN_SEEDS, SEED, SYNTHETIC
from detectors.swarm.links import linked, linked_groups
from detectors.swarm.sides import bias, made, on_one_side
from detectors.swarm.spots import ALL, HELD_OUT, MEMBER, ln_members
from detectors.swarm.stream import EQUAL_PAIRS, LINKED, LINKS, ODD, ROWS

Slots = NDArray[np.int64]
_BIAS, _BIAS_PAGE = 0.18, 0.14
_DEFAULTS, _DEFAULTS_OF_PAIR = 0.04, 0.12
_EVASION_RATIO = 0.15
_MORE = 2.0
# On 74 simulated services 23 of 11,662 ordinary clients had such evidence of steps from half of all their rows.
_SURE = 5.0
_SOME_LINKS = 2
_AT_A_TIME = 2.0
# Of who asks copies: the share of flagged rows, of so many at least; what speaks against a part of a cohort, against that without its
# strongest client, and against one client; what speaks for all of it.
_OFTEN, _FEW_ROWS = 0.2, 8
_OTHERS_OF_PART, _OTHERS_OF_REST, _OTHERS_OF_ONE = -1.0, -3.0, -2.0
_LN_MEMBERS, _MEMBERS = math.log(1e4), 8.0


@dataclass(frozen=True)
class Groups:
    """Rules over the columns of the clients (`detectors.swarm.swarm.client_layout`).

    Attributes:
        equal: share of equal fields between rows of the reference.
        members: how many places of members are known; 0 for none.
        held_out: the same of held-out rows.
        apart: share of unlike pairs that rows of one end of the reference have at most (`detectors.swarm.sides.apart_at_ends`).
    """

    equal: float
    members: int
    held_out: int
    apart: float = 0.0

    def also(self, columns: dict[str, NDArray[Any]], since: float, until: float) -> Slots:
        """Who may belong to those who step without steps enough of its own: odd rows, begun in that time, some of which are steps.

        A search dealt out in blocks leaves whole accounts with rows on one straight line far out.
        """
        odd = (columns["level"][:, SYNTHETIC] == SEED) & (columns["whole"][:, LINKED] >= _SOME_LINKS)
        onset = columns["onset"][:, SYNTHETIC]
        found = np.flatnonzero(odd & (onset >= since) & (onset <= until))
        return found[~self._fills_defaults(columns, found)]

    def of(self, columns: dict[str, NDArray[Any]], kind: int, between: Slots, also: Slots, since: float, until: float) -> list[Slots]:
        """Those of a chain, of that time, who may belong together; ascending slots in each group."""
        if kind == ITERATE:
            partner, now = columns["partner"], (columns["onset"] >= since) & (columns["onset"] <= until)
            bridges = columns["named"][:, kind] & now[:, kind]
            groups = linked_groups(between, partner, bridges, MIN_SEEDS)
            if groups and self._surely(columns, groups[0]).sum() >= MIN_SEEDS:
                # Who works off a block alone may have few steps of its own, and no partner: evidence that ordinary clients never have is
                # enough beside such ones.
                bridges |= (columns["level"][:, SYNTHETIC] == SEED) & now[:, SYNTHETIC]
                in_turn = self._in_turn(columns, groups[0])
                groups = linked_groups(np.union1d(between, also), partner, bridges, MIN_SEEDS)
                if in_turn:
                    alone = np.setdiff1d(between[self._surely(columns, between)], np.concatenate(groups))
                    groups[0] = np.union1d(groups[0], alone)
            return groups
        if kind == SYNTHETIC:
            between = between[self._mostly_odd(columns, between) & ~self._fills_defaults(columns, between)]
            aside = on_one_side(columns["mean"][between], columns["whole"][between, ODD])
            aside[aside] = ~self._made(columns, between[aside])
            between = between[~aside]
            if self._bias(columns, between) >= _BIAS:
                between = between[self._made(columns, between)]
            return [between]
        flags, rows = columns["spell"][between, kind].T
        between = between[flags >= _OFTEN * np.where(rows >= _FEW_ROWS, rows, columns["whole"][between, ROWS])]
        parts = (self._asking_members(columns, part) for part in linked(between, columns["copy_partner"]))
        return [np.sort(np.concatenate([*parts, between[:0]]))]

    def severity(self, columns: dict[str, NDArray[Any]], kind: int, members: Slots, calibrated: bool) -> int:
        """0 where there is an innocent explanation, 1 where one is near, 2 else."""
        aside = self._bias(columns, members) if kind == SYNTHETIC else 0.0
        if (aside >= _BIAS and not self._made(columns, members).all()) or (kind == COPIES and not self._asks_members(columns, members)):
            return 0
        return 2 if calibrated and aside < _BIAS_PAGE and (kind != COPIES or self.held_out > 0) else 1

    def family(self, columns: dict[str, NDArray[Any]], kind: int, members: Slots) -> str:
        """What such a swarm is after."""
        if kind == COPIES:
            return "membership"
        seen = np.minimum(columns["whole"][members, LINKED], LINKS)[:, None] > np.arange(LINKS)
        ratios = columns["link_ratio"][members][seen]
        return "evasion" if kind == ITERATE and len(ratios) and np.median(ratios) < _EVASION_RATIO else "extraction"

    def _asking_members(self, columns: dict[str, NDArray[Any]], part: Slots) -> Slots:
        """Who of those who share spots is not told by these to ask others.

        A company whose accounts all measure again is left out as a whole, also where one beside it is an attacker of its own, or where it
        has just begun.
        """
        asked = columns["asked"][part]
        together, ln = asked.sum(0), ln_members(asked)
        others = ln_members(together) <= _OTHERS_OF_PART or ln_members(together - asked[ln.argmax()]) <= _OTHERS_OF_REST
        return part[:0] if others else part[ln > _OTHERS_OF_ONE]

    def _in_turn(self, columns: dict[str, NDArray[Any]], members: Slots) -> bool:
        """Whether one works off its share after the other, and not all of them at the same time."""
        begun, seen = columns["onset"][members, ITERATE], columns["seen"][members]
        return bool((seen - begun).sum() <= _AT_A_TIME * (seen.max() - begun.min()))

    def _surely(self, columns: dict[str, NDArray[Any]], members: Slots) -> NDArray[np.bool_]:
        """Whose own evidence is beyond doubt, from half of all its rows."""
        half = 2 * columns["spell"][members, ITERATE, 0] >= columns["whole"][members, ROWS]
        return np.asarray((columns["ln"][members, ITERATE] >= _SURE) & half)

    def _mostly_odd(self, columns: dict[str, NDArray[Any]], members: Slots) -> NDArray[np.bool_]:
        """Whose odd rows are at least a quarter of the flags: who only steps belongs to those who step from each other, or to nobody."""
        return np.asarray(4 * columns["whole"][members, ODD] >= columns["spell"][members, SYNTHETIC, 0])

    def _fills_defaults(self, columns: dict[str, NDArray[Any]], members: Slots) -> NDArray[np.bool_]:
        """Who leaves fields at one value: more equal fields between its odd rows than between rows of the reference."""
        pairs = columns["whole"][members, EQUAL_PAIRS]
        more = columns["equal"][members] / np.maximum(pairs, 1) - self.equal
        return np.asarray((pairs >= 1) & (more >= np.where(pairs < 2, _DEFAULTS_OF_PAIR, _DEFAULTS)))

    def _made(self, columns: dict[str, NDArray[Any]], members: Slots) -> NDArray[np.bool_]:
        """Who lies on one side because its rows are made up."""
        flags, rows = columns["spell"][members, SYNTHETIC].T
        odd = np.minimum(flags, columns["whole"][members, ODD])  # who measures again has steps enough, and few odd rows
        return made(columns["differ"][members], np.stack([odd, rows], axis=1), self.apart)

    def _bias(self, columns: dict[str, NDArray[Any]], members: Slots) -> float:
        """How far the odd rows lie in one direction: 0 around the reference, 1 all in one place, and below 8 rows."""
        n = int(columns["whole"][members, ODD].sum())
        return float(bias(columns["mean"][members].astype(float).sum(0), n)) if n >= HURRY else 1.0

    def _asks_members(self, columns: dict[str, NDArray[Any]], members: Slots) -> bool:
        """Whether members are in the middle of spots more often than by chance, and more often than held-out rows."""
        asked = columns["asked"][members].sum(0)
        if not self.members or asked[ALL, MEMBER] < _MEMBERS or ln_members(asked) < _LN_MEMBERS:
            return False
        spots, held_out = asked[ALL, MEMBER] / self.members, (asked[ALL, HELD_OUT] + 1) / max(1, self.held_out)
        return not self.held_out or bool(spots > _MORE * held_out)
