"""Many clients that together run one attack: cohorts whose evidence began within half an hour of each other."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from detectors.membership.neighbours import Neighbours, copied_members, index_of
from detectors.membership.slots import Layout, Slots
from detectors.state import StateError, pack, unpack
from detectors.swarm import stream as s
from detectors.swarm.cohort import KINDS, Cohort
from detectors.swarm.links import linked_groups
from detectors.swarm.reference import MEAN_TERMS, SwarmReference
from detectors.swarm.sides import bias, made, on_one_side, unlike

_KIND = "swarm.clients"
_VERSION = 3
_GAP_S = 1800.0
_AFTER_S = 300.0
_BIAS, _BIAS_PAGE = 0.18, 0.14
_DEFAULTS = 0.04
_EVASION_RATIO = 0.15
_HOT = 8
_FLAGS = 3
_NEARER = 2.0
MAX_MEMBERS = 1024


def client_layout(fields: int, terms: int) -> Layout:
    """State of a client, about 320 bytes and 4 for each of at most 64 terms."""
    return {
        "whole": ("int64", (7,), 0),
        "hashes": ("uint64", (4,), 0),
        "recent": ("uint8", (2, fields), 0),
        "odd_codes": ("uint8", (fields,), 0),
        "equal": ("float64", (), 0),
        "mean": ("float32", (MEAN_TERMS,), 0),
        "link_ratio": ("float32", (s.LINKS,), 0),
        "partner": ("int32", (s.LINKS,), -1),
        "hot_members": ("int32", (s.HOT_MEMBERS,), -1),
        "ln": ("float64", (3,), 0),
        "onset": ("float64", (3,), 0),
        "spell": ("int32", (3, 2), 0),
        "level": ("uint8", (3,), 0),
        "named": ("bool", (3,), 0),
        "poll": ("int32", (4,), 0),
        "polled": ("float64", (), -np.inf),
        "before": ("float32", (terms,), 0),
        "differ": ("int64", (2,), 0),
    }


class Swarm:
    """All clients of one model: pools evidence too weak to accuse one of them (recipe 3).

    Per event: *odd* = further from the reference than 99 % of its rows are from each other (pictures: over nine shifts). *Stepped* = the
    nearest earlier row of another client in 6 hours (or of the client itself) is nearer than the reference, and either all changed columns
    changed alike (coefficient of variation below the 4 % quantile of the reference, at most .5) or it is within a fifth with 5 such
    neighbours. CUSUMs a client: .08 against .45 stepped, .10 against .70 odd or stepped. A null is higher where more is usual, 2.5 times
    the median of 64 clients' rates (`detectors.swarm.stream`); cohorts are tickets until 8 clients have shown theirs.

    Seeds have ln >= 5, candidates ln >= 2.5, both 3 flags within 400 events of their onset; in the first half hour 2 are enough for a
    client that sent no more before its onset than since. Five seeds whose onsets chain with gaps up to 30 minutes are a cohort, with the
    candidates whose onsets lie between or up to 5 minutes later. Of those who step, only who is linked to the others
    (`detectors.swarm.links`). An odd cohort is of clients whose odd rows are a quarter of their flags or more, without those that fill
    fields with defaults and those that lie on one side together (`detectors.swarm.sides`), as waves of new customers do. The rest must
    surround the reference: |mean|^2 of the odd rows' directions < .18, tickets above .14. Whose rows are made up may lie on one side: they
    differ from each other by more than reference rows do, which no wave explains.

    *Copies* (when ``neighbours`` are given): changed copies of members that got 3 copies in 6 hours from anybody, .03 against .30; who
    asked first is credited when the third comes. Such a cohort must have touched more than 8 of them, and lie near
    members twice as often as near held-out rows, per row of either: a company at home in a dense corner is near both.

    Clients beyond 400 rows without evidence are looked at every 8th row. It misses swarms that register slower than one onset in 30
    minutes, fresh ids before they have sent two or three such rows, and natural rows. No bound on false pages is proved: null rates are
    assumed.

    Cost: about 5 us an event looked at, 1 to 4 MB for a model and 320 to 580 bytes a client. It sees what it is given: clients of one
    swarm are spread over partitions, so it belongs where all events of a model come together.

    Args:
        reference: of the model version.
        neighbours: where the members lie (`MembershipReference.neighbours`), to see copies of them; without, none are seen.
        control: the same of held-out rows (`MembershipReference.control`); without, cohorts of copies are tickets.
        capacity: client slots to begin with.

    Raises:
        ValueError: for a capacity below 1.

    Example:
        >>> import numpy as np
        >>> rng = np.random.default_rng(0)
        >>> X = (rng.normal(size=(2000, 3)) @ rng.normal(size=(3, 8)) + 0.1 * rng.normal(size=(2000, 8))).astype(np.float32)
        >>> swarm = Swarm(SwarmReference.fit(X[:1000], low=X.min(0), high=X.max(0)), capacity=40)
        >>> rows = np.concatenate([X[1000:1200], rng.permuted(X[1000:1200], axis=0)])       # 20 ordinary clients, 20 with shuffled rows
        >>> slot = np.concatenate([np.arange(200) % 20, 20 + np.arange(200) % 20]).astype(np.int32)
        >>> cohorts = swarm.update(slot, np.arange(400.0), rows, np.zeros(400, np.int32))
        >>> cohorts[-1].kind, set(cohorts[-1].members.tolist()) <= set(range(20, 40))
        ('synthetic', True)
    """

    def __init__(
        self,
        reference: SwarmReference,
        *,
        neighbours: Neighbours | None = None,
        control: Neighbours | None = None,
        capacity: int = 1024,
    ) -> None:
        self.reference = reference
        self._neighbours, self._control = neighbours, control
        radius = neighbours.radii[3] if neighbours else 0.0
        self._sides = [(near, index_of(near), radius) if near and radius else None for near in (neighbours, control)]
        self._identity = reference.identity()
        map_, cells = reference.map, reference.cells
        self._clients = Slots(client_layout(len(map_.fields), map_.whiten.shape[1]), capacity)
        self._unlike = np.inf if map_.picture.any() else unlike(cells.rows)
        entries = len(cells.centres) * s.RING + s.ODD_RING
        self._ring: dict[str, NDArray[Any]] = {
            "place": np.zeros((entries, map_.whiten.shape[1]), np.float32),
            "step": np.zeros((entries, len(map_.sampled)), np.float32),
            "codes": np.zeros((entries, len(map_.fields)), np.uint8),
            "client": np.full(entries, -1, np.int64),
            "at": np.zeros(entries),
            "hash": np.zeros(entries, np.uint64),
            "next": np.zeros(len(cells.centres) + 1, np.int64),
        }
        asked = s.ASKED if neighbours else 0
        self._asked: dict[str, NDArray[Any]] = {
            "member": np.full(asked, -1, np.int64),
            "times": np.zeros((asked, s.ASKED_BY)),
            "clients": np.full((asked, s.ASKED_BY), -1, np.int64),
            "count": np.zeros(asked, np.int64),
            "hot_at": np.full(asked, -np.inf),
        }
        self._book: dict[str, NDArray[Any]] = {"book": np.zeros((3, 3), np.int64), "last": np.full(3, -np.inf)}
        self._looked: list[dict[float, tuple[bytes, int, int, bool]]] = [{} for _ in KINDS]
        u, q = s.RATES.T
        self._null: dict[str, NDArray[Any]] = {
            "steps": np.stack([np.log(q / u), np.log((1 - q) / (1 - u))], axis=1),
            "cast": np.array([0.0, -np.inf]),
            "votes": np.zeros((3, s.VOTES)),
        }

    @property
    def capacity(self) -> int:
        """Client slots there are."""
        return self._clients.capacity

    @property
    def calibrated(self) -> bool:
        """Whether enough clients have shown what is usual; before, cohorts are tickets."""
        return int(self._null["cast"][0]) >= s.CALIBRATED

    @property
    def bytes_per_client(self) -> int:
        """Memory of one slot."""
        return self._clients.bytes_per_row

    def update(self, slot: NDArray[np.int32], at_s: NDArray[np.float64], X: NDArray[np.float32], label: NDArray[np.int32]) -> list[Cohort]:
        """Take a batch of events in order; how it is cut changes nothing.

        Args:
            slot: (n,) client slots, 0 <= slot < capacity.
            at_s: (n,) event time, s.
            X: (n, width) feature rows.
            label: (n,) predicted class; no statistic needs it.

        Returns:
            Cohorts that have somebody new, each with all of its members.

        Raises:
            ValueError: when shapes do not fit or a slot is out of range; nothing has changed then.
        """
        n = len(X)
        if X.ndim != 2 or X.shape[1] != self.reference.width:
            raise ValueError(f"X has shape {X.shape}; expected (n, {self.reference.width})")
        if not slot.shape == at_s.shape == label.shape == (n,):
            raise ValueError(f"slot {slot.shape}, at_s {at_s.shape} and label {label.shape} must be ({n},)")
        if n and not 0 <= slot.min() <= slot.max() < self.capacity:
            raise ValueError(f"slots run from {slot.min()} to {slot.max()}; capacity is {self.capacity}")
        # Copies: one compiled signature whatever the arrays. A time that is none is the beginning of time: no link, no cohort with others.
        slots, times = slot.astype(np.int64), np.where(np.isfinite(at_s), at_s, 0.0)
        rows = X.astype(np.float32, order="C")
        fixed: tuple[Any, ...] = (
            tuple(self.reference.map),
            tuple(self.reference.cells),
            self.reference.limits,
            self._unlike,
            *self._null.values(),
        )
        tables = (tuple(table.values()) for table in (self._clients.arrays, self._ring, self._asked))
        state = (*tables, *self._book.values())
        copied, control = (copied_members(rows, *side) if side else np.full(n, -1, np.int64) for side in self._sides)
        found, at = [], 0
        while at < n:
            at, due = s.stream(at, rows, slots, times, copied, control, *fixed, *state)
            for kind in range(len(KINDS)):
                if due >> kind & 1:
                    found += self._look(kind, at - 1, float(times[at - 1]))
        return found

    def _look(self, kind: int, index: int, at_s: float) -> list[Cohort]:
        """The cohorts of one kind that have somebody new."""
        book, columns = self._book["book"], self._clients.arrays
        book[kind, s.RAISED :] = 0
        self._book["last"][kind] = at_s
        level, onset = columns["level"][:, kind], columns["onset"][:, kind]
        seeds = np.flatnonzero(level == s.SEED)
        seeds = seeds[np.argsort(onset[seeds], kind="stable")]
        candidates = np.flatnonzero(level >= s.CANDIDATE)
        flags, rows = columns["spell"][candidates, kind].T
        fresh = (2 * rows >= columns["whole"][candidates, s.ROWS]) & (at_s - onset[candidates] <= _GAP_S)
        candidates = candidates[(flags >= _FLAGS) | fresh]
        found, before, self._looked[kind] = [], self._looked[kind], {}
        for chain in np.split(seeds, np.flatnonzero(np.diff(onset[seeds]) > _GAP_S) + 1):
            if len(chain) < s.MIN_SEEDS:
                continue
            between = candidates[(onset[candidates] >= onset[chain[0]]) & (onset[candidates] <= onset[chain[-1]] + _AFTER_S)]
            # Old chains stay; one whose clients sent nothing since the last look can say nothing new.
            now = (between.tobytes(), int(columns["spell"][between, kind].sum()), int(columns["named"][:, kind].sum()), self.calibrated)
            first = float(onset[chain[0]])
            self._looked[kind][first] = now
            if before.get(first) == now:
                continue
            for group in self._groups(kind, between):
                members = group[:MAX_MEMBERS]
                strong = members[level[members] == s.SEED]
                if len(strong) < s.MIN_SEEDS or columns["named"][members, kind].all():
                    continue
                severity = self._severity(kind, members)
                if not severity:
                    continue
                columns["named"][members, kind] = True
                ln, span = float(np.median(columns["ln"][members, kind])), (float(onset[strong].min()), float(onset[strong].max()))
                found.append(Cohort(at_s, index, self._family(kind, members), KINDS[kind], severity, members, len(strong), ln, span))
        return found

    def _groups(self, kind: int, between: NDArray[np.int64]) -> list[NDArray[np.int64]]:
        """Those of a chain who may belong together."""
        if kind == s.ITERATE:
            return linked_groups(between, self._clients.arrays["partner"], self._clients.arrays["named"][:, kind], s.MIN_SEEDS)
        if kind == s.SYNTHETIC:
            between = between[self._mostly_odd(between) & ~self._fills_defaults(between)]
            columns = self._clients.arrays
            aside = on_one_side(columns["mean"][between], columns["whole"][between, s.ODD])
            aside[aside] = ~self._made(between[aside])
            between = between[~aside]
            if self._bias(between) >= _BIAS:
                between = between[self._made(between)]
        return [between]

    def _severity(self, kind: int, members: NDArray[np.int64]) -> int:
        """0 where there is an innocent explanation, 1 where one is near, 2 else."""
        bias = self._bias(members) if kind == s.SYNTHETIC else 0.0
        if (bias >= _BIAS and not self._made(members).all()) or (kind == s.COPIES and not self._asks_members(members)):
            return 0
        return 2 if self.calibrated and bias < _BIAS_PAGE and (kind != s.COPIES or self._control is not None) else 1

    def _mostly_odd(self, members: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Whose odd rows are at least a quarter of the flags: who only steps belongs to those who step from each other, or to nobody."""
        columns = self._clients.arrays
        odd: NDArray[np.bool_] = 4 * columns["whole"][members, s.ODD] >= columns["spell"][members, s.SYNTHETIC, 0]
        return odd

    def _fills_defaults(self, members: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Who leaves fields at one value: more equal fields between its odd rows than between rows of the reference."""
        columns = self._clients.arrays
        pairs = columns["whole"][members, s.EQUAL_PAIRS]
        often: NDArray[np.bool_] = (pairs >= 2) & (columns["equal"][members] / np.maximum(pairs, 1) - self.reference.equal >= _DEFAULTS)
        return often

    def _made(self, members: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Who lies on one side because its rows are made up."""
        columns = self._clients.arrays
        return made(columns["differ"][members], columns["spell"][members, s.SYNTHETIC])

    def _bias(self, members: NDArray[np.int64]) -> float:
        """How far the odd rows lie in one direction: 0 around the reference, 1 all in one place, and below 8 rows."""
        columns = self._clients.arrays
        n = int(columns["whole"][members, s.ODD].sum())
        return float(bias(columns["mean"][members].astype(float).sum(0), n)) if n >= s.HURRY else 1.0

    def _asks_members(self, members: NDArray[np.int64]) -> bool:
        """Whether the cohort touched more than 8 hot members and is nearer to members than to held-out rows, per row of either."""
        columns = self._clients.arrays
        if self._neighbours is None or len(np.unique(columns["hot_members"][members])) <= _HOT:
            return False
        near, control = columns["whole"][members][:, [s.NEAR_MEMBER, s.NEAR_CONTROL]].sum(0)
        held_out = len(self._control.members) if self._control else 0
        return not held_out or bool(near / len(self._neighbours.members) > _NEARER * (control + 1) / held_out)

    def _family(self, kind: int, members: NDArray[np.int64]) -> str:
        if kind == s.COPIES:
            return "membership"
        columns = self._clients.arrays
        seen = np.minimum(columns["whole"][members, s.LINKED], s.LINKS)[:, None] > np.arange(s.LINKS)
        ratios = columns["link_ratio"][members][seen]
        return "evasion" if kind == s.ITERATE and len(ratios) and np.median(ratios) < _EVASION_RATIO else "extraction"

    def resize(self, capacity: int) -> None:
        """More client slots; the present ones keep what they hold.

        Raises:
            ValueError: when there would be fewer than now.
        """
        if capacity < self.capacity:
            raise ValueError(f"capacity is {capacity}; {self.capacity} slots can't shrink")
        self._clients.resize(capacity)

    def clear(self, slots: NDArray[np.integer[Any]]) -> None:
        """Forget these clients; their remembered rows stay, as somebody's."""
        seeds = (self._clients.arrays["level"][np.unique(slots)] == s.SEED).sum(0)
        self._book["book"][:, s.SEEDS] -= seeds
        self._clients.clear(slots)
        partner = self._clients.arrays["partner"]
        partner[np.isin(partner, slots)] = -2
        for remembered in (self._ring["client"], self._asked["clients"]):
            remembered[np.isin(remembered, slots)] = -2

    def log_evidence(self, slots: NDArray[np.integer[Any]]) -> NDArray[np.float64]:
        """(len(slots), 3) ln evidence of each of `KINDS` since its onset."""
        ln: NDArray[np.float64] = np.maximum(self._clients.arrays["ln"][slots], 0)
        return ln

    def snapshot(self) -> bytes:
        """Everything that `restore` needs, without the reference."""
        body = {"reference": self._identity, "clients": self._clients.arrays, "ring": self._ring, "asked": self._asked, "book": self._book}
        body["null"] = self._null
        return pack(_KIND, _VERSION, body)

    def restore(self, blob: bytes) -> None:
        """Go on from a snapshot bit for bit, with its capacity.

        Raises:
            StateError: when the bytes are not such a snapshot or belong to another reference; nothing has changed then.
        """
        body = unpack(blob, _KIND, _VERSION)
        if body.get("reference") != self._identity:
            raise StateError("the snapshot belongs to another swarm reference; clients must start afresh")
        parts = (("ring", self._ring), ("asked", self._asked), ("book", self._book), ("null", self._null))
        for name, mine in parts:
            theirs = body.get(name)
            if not isinstance(theirs, dict) or theirs.keys() != mine.keys():
                raise StateError(f"a swarm snapshot has no good {name}")
            for key, array in mine.items():
                if not (isinstance(theirs[key], np.ndarray) and (theirs[key].dtype, theirs[key].shape) == (array.dtype, array.shape)):
                    raise StateError(f"a swarm snapshot has no good {name} {key}")
        sizes = np.r_[np.full(len(self._ring["next"]) - 1, s.RING), s.ODD_RING]
        if np.any(body["ring"]["next"] < 0) or np.any(body["ring"]["next"] >= sizes):
            raise StateError("a swarm snapshot has ring positions out of range")
        self._clients.load(body.get("clients"))
        self._ring, self._asked, self._book, self._null = ({key: body[name][key] for key in mine} for name, mine in parts)
