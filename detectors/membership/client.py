"""Which clients test whether records were trained on: evidence per client, and what a page may say about it."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from detectors.arrays import plain
from detectors.bloom import float_bits
from detectors.membership import chains, hits, label_only
from detectors.membership.neighbours import holds_every, index_of
from detectors.membership.reference import MembershipReference
from detectors.membership.slots import Layout, Slots
from detectors.state import StateError, pack, unpack

_KIND = "membership.clients"
_VERSION = 4
STATISTICS = ("rate", "order", "copies", "chains")
TICKET, PAGE = 1, 2
_ORDER_FLOOR = math.log(1e4)
_COPIES_FLOOR = (math.log(150), math.log(1e4))
_LN_QUERIES_PER_CLUSTER = math.log(1000)
_LEVELS: Layout = {"levels": ("uint8", (len(STATISTICS),), 0), "now": ("float64", (len(STATISTICS),), -np.inf)}
LIMITS = (
    "Members asked once each in random order look like a customer whose own records were trained on.",
    "Records that the owner did not give as members leave no hit.",
    "Copies further from their record than records are from each other are not seen as copies.",
)


@dataclass(frozen=True)
class Crossings:
    """One entry each time a client rises to a severity that it had not.

    Attributes:
        index: row of the batch at which it rose.
        slot: the client.
        severity: 1 ticket, 2 page.
        statistic: position in `STATISTICS`.
        ln_evidence: natural log of the e-value.
        queries: what the client had sent in all.
    """

    index: NDArray[np.int64]
    slot: NDArray[np.int64]
    severity: NDArray[np.int64]
    statistic: NDArray[np.int64]
    ln_evidence: NDArray[np.float64]
    queries: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.index)


@njit(cache=True)
def _rise(slot: Any, evidence: Any, thresholds: Any, levels: Any, now: Any) -> Any:
    n, kinds = evidence.shape
    index, kind, severity = np.empty(n * kinds, np.int64), np.empty(n * kinds, np.int64), np.empty(n * kinds, np.int64)
    found = 0
    for i in range(n):
        s = slot[i]
        for k in range(kinds):
            ln_e = evidence[i, k]
            now[s, k] = ln_e
            level = 2 if ln_e >= thresholds[k, 1] else 1 if ln_e >= thresholds[k, 0] else 0
            if level > levels[s, k]:
                index[found], kind[found], severity[found] = i, k, level
                found += 1
                levels[s, k] = level
            elif ln_e <= 0:
                levels[s, k] = 0
    return index[:found], kind[:found], severity[:found]


class ClientMembership:
    """Who tests training rows, per client slot of one model version; about 2.8 KB a client, 0.7 us an event.

    Statistics, in the order of `STATISTICS` (`detectors.membership.hits`, `detectors.membership.label_only`):

    - *rate* of exact member hits: exposure that `explain` shows; it tickets only where no honest client sends training rows.
    - *order* of those hits within one sitting: tickets at max(ln_ticket, ln 1e4), never pages, because customers whose records were
      trained on and attackers who test records send the same rows.
    - *copies*: changed copies of members around which queries cluster; ticket at max(ln_ticket - ln 1000, ln 150), page at
      max(ln_page - ln 1000, ln 1e4), a cluster being at most a thousandth as frequent as a query.
    - *chains* of boundary probes after exact members: two ticket, three page; one, when many searches followed each other.

    A client whose evidence has fallen to ln e <= 0 can rise again.

    Args:
        reference: of the model version.
        ln_page: ln of the e-value that pages a client.
        ln_ticket: ln of the e-value that tickets one; 0 < ln_ticket <= ln_page <= 600.
        capacity: client slots to begin with.
        members_expected: whether honest clients send training rows (a bank scoring its own customers again).

    Raises:
        ValueError: for thresholds or a capacity out of range.

    Example:
        >>> import numpy as np
        >>> rng = np.random.default_rng(0)
        >>> X, y = rng.normal(size=(600, 4)).astype(np.float32), rng.integers(0, 2, 600)
        >>> scores = rng.dirichlet([1, 1], 600)
        >>> trained = np.arange(600) < 400
        >>> key = b"sixteen bytes or more"
        >>> reference = MembershipReference.fit(X, scores, y, trained, key=key, low=X.min(0), high=X.max(0))
        >>> clients = ClientMembership(reference, ln_page=16.1, ln_ticket=11.5)
        >>> asked = np.r_[X[:60], X[500:560]]                    # sixty members, then sixty others, in one sitting
        >>> crossings = clients.update(np.zeros(120, np.int32), np.arange(120.0), asked, np.zeros(120, np.int32))
        >>> [STATISTICS[k] for k in crossings.statistic], crossings.severity.tolist(), clients.explain(0)["hits"]
        (['order'], [1], 60)
    """

    def __init__(
        self, reference: MembershipReference, *, ln_page: float, ln_ticket: float, capacity: int = 1024, members_expected: bool = True
    ) -> None:
        if not 0 < ln_ticket <= ln_page <= 600:
            raise ValueError(f"ln_ticket {ln_ticket} and ln_page {ln_page} must satisfy 0 < ln_ticket <= ln_page <= 600")
        self.reference = reference
        # An ordinary client has less than one cluster in a thousand queries, so a cluster may cost less evidence than a query.
        ticket, page = (max(f, ln - _LN_QUERIES_PER_CLUSTER) for f, ln in zip(_COPIES_FLOOR, (ln_ticket, ln_page), strict=True))
        rate = np.inf if members_expected else ln_ticket
        self._thresholds = np.array([[rate, np.inf], [max(ln_ticket, _ORDER_FLOOR), np.inf], [ticket, page], [ticket, page]])
        every = reference.neighbours is not None and holds_every(reference.neighbours)
        self._rule = (reference.u_copies, ticket, page, every)
        # R beyond a thousand times the page only makes a client slower to forgive.
        self._nulls = (reference.u, *reference.prior, math.exp(ln_page) * 1e3)
        self._identity = reference.identity()
        near = reference.neighbours
        report = reference.gauge.report()
        self._gauge = report.balanced_accuracy and {name: round(value, 4) for name, value in asdict(report.balanced_accuracy).items()}
        self._index = index_of(near) if near else None
        self._copies = label_only.layout(len(near.fields)) if near else {}
        self._room = label_only.room(reference.width, len(near.origin), len(near.fields)) if near else ()
        self._slots = Slots({**hits.LAYOUT, **self._copies, **_LEVELS}, capacity)

    @property
    def capacity(self) -> int:
        """Client slots there are."""
        return self._slots.capacity

    @property
    def bytes_per_client(self) -> int:
        """Memory of one slot."""
        return self._slots.bytes_per_row

    def update(self, slot: NDArray[np.int32], at_s: NDArray[np.float64], X: NDArray[np.float32], label: NDArray[np.int32]) -> Crossings:
        """Take a batch of events in order; how it is cut changes nothing.

        Args:
            slot: (n,) client slots, 0 <= slot < capacity.
            at_s: (n,) event time, s.
            X: (n, width) feature rows; NaN equals NaN.
            label: (n,) predicted class; no statistic needs it yet, the interface is that of the other client detectors.

        Raises:
            ValueError: when shapes do not fit or a slot is out of range; nothing has changed then.
        """
        if X.ndim != 2 or X.shape[1] != self.reference.width:
            raise ValueError(f"X has shape {X.shape}; expected (n, {self.reference.width})")
        n = len(X)
        if not slot.shape == at_s.shape == label.shape == (n,):
            raise ValueError(f"slot {slot.shape}, at_s {at_s.shape} and label {label.shape} must be ({n},)")
        if n and not 0 <= slot.min() <= slot.max() < self.capacity:
            raise ValueError(f"slots run from {slot.min()} to {slot.max()}; capacity is {self.capacity}")
        columns = self._slots.arrays
        # Copies: one compiled signature whatever the arrays (read-only, strided, other integers).
        slots, times, rows = slot.astype(np.int64), at_s.astype(np.float64), plain(X, np.float32)
        bloom, near = self.reference.bloom, self.reference.neighbours
        queries, evidence = np.empty(n, np.int64), np.zeros((n, len(STATISTICS)))
        out = flags, _, row_hash = np.empty(n, np.uint8), queries, np.empty(n, np.uint64)
        state = tuple(columns[name] for name in hits.LAYOUT)
        shape = (bloom.bits, bloom.probes)
        bits = float_bits(rows)
        hits.update_hits(bits, slots, times, shape, bloom.seed, bloom.table, self._nulls, state, out, evidence)
        np.log(evidence[:, 0], out=evidence[:, 0])
        if near:
            state = tuple(columns[name] for name in self._copies)
            place = (near[:6], self._index, near.fields, near.radii)
            label_only.update_copies(rows, bits, slots, times, row_hash, flags, *place, self._rule, state, self._room, evidence)
        at, kind, severity = _rise(slots, evidence, self._thresholds, columns["levels"], columns["now"])
        return Crossings(at, slots[at], severity, kind, evidence[at, kind], queries[at])

    def resize(self, capacity: int) -> None:
        """More or fewer client slots; the first ones keep what they hold.

        Raises:
            ValueError: for a capacity below 1.
        """
        self._slots.resize(capacity)

    def clear(self, slots: NDArray[np.integer[Any]]) -> None:
        """Forget these clients."""
        self._slots.clear(slots)

    def log_evidence(self, slots: NDArray[np.integer[Any]]) -> NDArray[np.float64]:
        """(len(slots), 4) ln e of each of `STATISTICS` after the client's last event; -inf before its first."""
        now: NDArray[np.float64] = self._slots.arrays["now"][slots]
        return now

    def counts(self, slots: NDArray[np.integer[Any]]) -> dict[str, NDArray[np.int64]]:
        """Per client: ``queries``, ``trials`` (without near repeats), ``hits``, and an estimate of distinct ``members`` touched."""
        columns = self._slots.arrays
        whole = columns["whole"][slots]
        members = np.rint(hits.distinct_members(columns["registers"][slots])).astype(np.int64)
        return {"queries": whole[:, hits.QUERIES], "trials": whole[:, hits.TRIALS], "hits": whole[:, hits.HITS], "members": members}

    def explain(self, slot: int) -> dict[str, Any]:
        """What a page or the exposure ledger shows of a client, in plain values, with what it cannot say."""
        counts = {name: int(values[0]) for name, values in self.counts(np.array([slot])).items()}
        misses = counts["trials"] - counts["hits"]
        base = self.reference.base
        columns = [chains.MEMBERS, chains.OTHERS, chains.CHAINED]
        centres = self._slots.arrays["tally"][slot, columns].tolist() if self._copies else [0, 0, 0]
        return {
            **counts,
            "share": counts["hits"] / max(1, counts["trials"]),
            "share_of_all_members": min(1.0, counts["members"] / self.reference.members),
            "base_share": None if math.isnan(base) else base,
            "null_share": self.reference.u,
            "false_hits_expected": misses * self.reference.bloom.false_positive_rate(),
            "member_centres": centres[0],
            "other_centres": centres[1],
            "chains": centres[2],
            "ln_evidence": dict(zip(STATISTICS, self.log_evidence(np.array([slot]))[0].tolist(), strict=True)),
            "model_gauge": self._gauge,
            "cannot_say": list(LIMITS),
        }

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The state of the slots themselves, by name: row = slot. To copy rows from, and to put them back; good until the next `resize`."""
        return self._slots.arrays

    def rest(self) -> dict[str, Any]:
        """What else a state must say: whose it is."""
        return {"reference": self._identity}

    def load_rest(self, body: dict[str, Any]) -> None:
        """Checks that rows which come belong here.

        Raises:
            StateError: they belong to another reference.
        """
        if body.get("reference") != self._identity:
            raise StateError("the snapshot belongs to another membership reference; clients must start afresh")

    def snapshot(self) -> bytes:
        """Everything that `restore` needs, without key or reference."""
        return pack(_KIND, _VERSION, {"reference": self._identity, "columns": self._slots.arrays})

    def restore(self, blob: bytes) -> None:
        """Go on from a snapshot bit for bit, with its capacity.

        Raises:
            StateError: when the bytes are not such a snapshot or belong to another reference; nothing has changed then.
        """
        body = unpack(blob, _KIND, _VERSION)
        if body.get("reference") != self._identity:
            raise StateError("the snapshot belongs to another membership reference; clients must start afresh")
        self._slots.load(body.get("columns"))
