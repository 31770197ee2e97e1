"""Many clients that together run one attack: cohorts whose evidence began within half an hour of each other."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from detectors.membership.neighbours import Neighbours
from detectors.membership.slots import Layout, Slots
from detectors.state import StateError, pack, unpack
from detectors.swarm import cusum
from detectors.swarm import stream as s
from detectors.swarm.cohort import KINDS, Cohort
from detectors.swarm.groups import Groups
from detectors.swarm.reference import MEAN_TERMS, SwarmReference
from detectors.swarm.sides import apart_at_ends, unlike
from detectors.swarm.spots import PARTNERS, Spots, in_range, no_spots, places, room

_KIND = "swarm.clients"
_VERSION = 6
_GAP_S = 1800.0
_AFTER_S = 300.0
_FLAGS = 3
_PATIENCE, _MOST_PATIENCE = 4, 64
MAX_MEMBERS = 1024


def client_layout(fields: int, terms: int) -> Layout:
    """State of a client, about 410 bytes, 4 for each of at most 64 terms, and 3 for each field."""
    return {
        "whole": ("int64", (4,), 0),
        "hashes": ("uint64", (4,), 0),
        "recent": ("uint8", (2, fields), 0),
        "odd_codes": ("uint8", (fields,), 0),
        "equal": ("float64", (), 0),
        "mean": ("float32", (MEAN_TERMS,), 0),
        "link_ratio": ("float32", (s.LINKS,), 0),
        "partner": ("int32", (s.LINKS,), -1),
        "copy_partner": ("int32", (PARTNERS,), -1),
        "asked": ("float32", (2, 3), 0),
        "seen": ("float64", (), 0),
        "spot": ("int64", (), -1),
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

    Per event: *odd* = further from the reference than 99 % of its rows are from each other (pictures: over nine shifts, and none that is a
    moved one which is not odd). *Stepped* = the nearest earlier row of another client in 6 hours (or of the client itself) is nearer than
    the reference, and either all changed columns changed alike (coefficient of variation below the 4 % quantile of the reference, at most
    .5) or it is within a fifth with 5 such neighbours and nobody asked it before, or it lies in one spot with 12 rows of several clients
    and the last one of its own. CUSUMs a client: .08 against .45 stepped, .10 against .70 odd or stepped. A null is higher where more is
    usual, 2.5 times the median of 64 clients' rates (`detectors.swarm.cusum`); cohorts are tickets until 8 clients have shown theirs.

    Seeds have ln >= 5, candidates ln >= 2.5, both 3 flags within 400 events of their onset; in the first half hour 2 are enough for a
    client that sent no more before its onset than since. Five seeds whose onsets chain with gaps up to 30 minutes are a cohort, with the
    candidates whose onsets lie between or up to 5 minutes later. Of those who step, only who is linked to the others
    (`detectors.swarm.links`), or is sure of its own (`detectors.swarm.groups`). An odd cohort is of clients whose odd rows are a quarter of
    their flags or more, without those that fill fields with defaults and those that lie on one side together (`detectors.swarm.sides`), as
    waves of new customers do. The rest must surround the reference: |mean|^2 of the odd rows' directions < .18, tickets above .14. Whose
    rows are made up may lie on one side: they differ from each other by more than reference rows do, which no wave explains.

    *Copies* (when ``neighbours`` are given): rows that lie together with those of others, closer than rows do there
    (`detectors.swarm.spots`), .05 against .50; who came first is credited then. Such a cohort must have members in the middle of 8 of its
    spots and with odds of 10,000 more often than once in ten, and twice as often as held-out rows, per row of either: a company at home in
    a dense corner is near both. Parts of a cohort that share spots and ask others than members are left out, and clients who do.

    Clients beyond 400 rows without evidence are looked at every 8th row. It misses swarms that register slower than one onset in 30
    minutes, fresh ids before they have sent two or three such rows, and natural rows. No bound on false pages is proved: null rates are
    assumed.

    Cost: 10 to 20 us an event looked at on tables of 9 to 30 columns, 45 on pictures of 64 pixels, looks at the cohorts 5 to 25 us (where
    swarms send most of the rows); 1 to 4 MB for a model, 2 KB more for each pixel, and 410 to 710 bytes a client. It sees what it is
    given: clients of one swarm are spread over partitions, so it belongs where all events of a model come together.

    Args:
        reference: of the model version.
        neighbours: where the members lie (`MembershipReference.neighbours`), to see copies; without, none are seen.
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
        self._where = places(neighbours, control)
        self._scratch = room(reference.width, self._where)
        self._identity = reference.identity()
        map_, cells = reference.map, reference.cells
        self._layout = client_layout(len(map_.fields), map_.whiten.shape[1])
        self._clients = Slots(self._layout, capacity)
        self._unlike = np.inf if map_.picture.any() else unlike(cells.rows)
        members, held_out = (len(side.members) if side else 0 for side in (neighbours, control))
        self._groups = Groups(reference.equal, members, held_out, apart_at_ends(cells.rows, self._unlike))
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
        self._spots = no_spots(self._where, len(map_.fields))
        self._book: dict[str, NDArray[Any]] = {"book": np.tile([0, 0, 0, _PATIENCE], (3, 1)), "last": np.full(3, -np.inf)}
        self._looked: list[dict[float, tuple[bytes, int, int, bool]]] = [{} for _ in KINDS]
        u, q = cusum.RATES.T
        self._null: dict[str, NDArray[Any]] = {
            "steps": np.stack([np.log(q / u), np.log((1 - q) / (1 - u))], axis=1),
            "cast": np.array([0.0, -np.inf]),
            "votes": np.zeros((3, cusum.VOTES)),
        }

    @property
    def capacity(self) -> int:
        """Client slots there are."""
        return self._clients.capacity

    @property
    def calibrated(self) -> bool:
        """Whether enough clients have shown what is usual; before, cohorts are tickets."""
        return int(self._null["cast"][0]) >= cusum.CALIBRATED

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
        tables = (tuple(table.values()) for table in (self._clients.arrays, self._ring))
        state = (*tables, self._where, self._spots, self._scratch, *self._book.values())
        found, at = [], 0
        while at < n:
            at, due = s.stream(at, rows, slots, times, *fixed, *state)
            for kind in range(len(KINDS)):
                if due >> kind & 1:
                    found += self._look(kind, at - 1, float(times[at - 1]))
        return found

    def _look(self, kind: int, index: int, at_s: float) -> list[Cohort]:
        """The cohorts of one kind that have somebody new."""
        book, columns = self._book["book"], self._clients.arrays
        book[kind, [cusum.RAISED, cusum.WAITING]] = 0
        self._book["last"][kind] = at_s
        level, onset = columns["level"][:, kind], columns["onset"][:, kind]
        seeds = np.flatnonzero(level == cusum.SEED)
        seeds = seeds[np.argsort(onset[seeds], kind="stable")]
        candidates = np.flatnonzero(level >= cusum.CANDIDATE)
        flags, rows = columns["spell"][candidates, kind].T
        fresh = (2 * rows >= columns["whole"][candidates, s.ROWS]) & (at_s - onset[candidates] <= _GAP_S)
        candidates = candidates[(flags >= _FLAGS) | fresh]
        found, before, self._looked[kind] = [], self._looked[kind], {}
        for chain in np.split(seeds, np.flatnonzero(np.diff(onset[seeds]) > _GAP_S) + 1):
            if len(chain) < cusum.MIN_SEEDS:
                continue
            first, until = float(onset[chain[0]]), float(onset[chain[-1]]) + _AFTER_S
            since = first - _AFTER_S
            between = candidates[(onset[candidates] >= first) & (onset[candidates] <= until)]
            also = self._groups.also(columns, since, until) if kind == cusum.ITERATE else between[:0]
            # Old chains stay; one whose clients sent nothing since the last look can say nothing new.
            together = np.concatenate([between, also])
            now = (together.tobytes(), int(columns["spell"][together].sum()), int(columns["named"][:, kind].sum()), self.calibrated)
            self._looked[kind][first] = now
            if before.get(first) == now:
                continue
            for group in self._groups.of(columns, kind, between, also, since, until):
                members = group[:MAX_MEMBERS]
                strong = members[level[members] == cusum.SEED]
                if len(strong) < cusum.MIN_SEEDS or columns["named"][members, kind].all():
                    continue
                severity = self._groups.severity(columns, kind, members, self.calibrated)
                if not severity:
                    continue
                columns["named"][members, kind] = True
                ln, span = float(np.median(columns["ln"][members, kind])), (float(onset[strong].min()), float(onset[strong].max()))
                family = self._groups.family(columns, kind, members)
                found.append(Cohort(at_s, index, family, KINDS[kind], severity, members, len(strong), ln, span))
        # Clients who wait in vain, as a company that measures again does, are looked at ever more seldom.
        book[kind, cusum.PATIENCE] = _PATIENCE if found else min(2 * book[kind, cusum.PATIENCE], _MOST_PATIENCE)
        return found

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
        seeds = (self._clients.arrays["level"][np.unique(slots)] == cusum.SEED).sum(0)
        self._book["book"][:, cusum.SEEDS] -= seeds
        self._clients.clear(slots)
        partners = (self._clients.arrays[name] for name in ("partner", "copy_partner"))
        for remembered in (*partners, self._ring["client"], self._spots.client):
            remembered[np.isin(remembered, slots)] = -2

    def log_evidence(self, slots: NDArray[np.integer[Any]]) -> NDArray[np.float64]:
        """(len(slots), 3) ln evidence of each of `KINDS` since its onset."""
        ln: NDArray[np.float64] = np.maximum(self._clients.arrays["ln"][slots], 0)
        return ln

    def snapshot(self) -> bytes:
        """Everything that `restore` needs, without the reference."""
        body = {"reference": self._identity, "clients": self._clients.arrays, "ring": self._ring, "spots": self._spots._asdict()}
        return pack(_KIND, _VERSION, body | {"book": self._book, "null": self._null})

    def restore(self, blob: bytes) -> None:
        """Go on from a snapshot bit for bit, with its capacity.

        Raises:
            StateError: when the bytes are not such a snapshot or belong to another reference; nothing has changed then.
        """
        body = unpack(blob, _KIND, _VERSION)
        if body.get("reference") != self._identity:
            raise StateError("the snapshot belongs to another swarm reference; clients must start afresh")
        parts = (("ring", self._ring), ("spots", self._spots._asdict()), ("book", self._book), ("null", self._null))
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
        clients = Slots(self._layout, 1)
        clients.load(body.get("clients"))
        spots = Spots(**body["spots"])
        if not in_range(spots, clients.capacity):
            raise StateError("a swarm snapshot has spots out of range")
        self._clients, self._spots = clients, spots
        self._ring, self._book, self._null = ({key: body[name][key] for key in body[name]} for name in ("ring", "book", "null"))
