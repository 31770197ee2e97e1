"""What each client was given: distinct answers, and answers with a class that the owner flagged. Counted, not tested.

A client that asks natural rows at an ordinary rate is an ordinary client to every detector, and so is who asks about each record once.
What they were given is known all the same.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from detectors.arrays import plain
from detectors.bloom import float_bits
from detectors.exposure.curve import CopyCurve
from detectors.lean import lean
from detectors.membership.slots import Layout, Slots
from detectors.prefetch import prefetch_row

REGISTERS = 64
_LAYOUT: Layout = {"registers": ("uint8", (REGISTERS,), 0), "flagged": ("uint32", (), 0), "over": ("bool", (), 0)}
_MIX = (np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))
LIMITS = (
    "Answers are counted, not judged: a busy honest client has much, too.",
    "Rows that differ in anything are distinct answers, though a nearly equal row teaches a copy little.",
    "Accounts are not added up: who splits the questions over several has little on each.",
)


@dataclass(frozen=True)
class Crossed:
    """Clients that passed the limit, once each.

    Attributes:
        index: row of the batch at which it happened.
        slot: the client.
    """

    index: NDArray[np.int64]
    slot: NDArray[np.int64]


@njit(inline="always")
def _pair(low: Any, high: Any) -> Any:
    return np.uint64(low) | (np.uint64(high) << np.uint64(32))


@njit(inline="always")
def _mixed(h: Any) -> Any:
    h = (h ^ (h >> np.uint64(30))) * _MIX[1]
    h = (h ^ (h >> np.uint64(27))) * _MIX[2]
    return h ^ (h >> np.uint64(31))


@njit(cache=True)
def _estimate(registers: Any) -> float:
    """Distinct rows by HyperLogLog, the estimator without corrections by range (Ertl, arXiv 1702.01284, section 2.4).

    Of m registers m_0 are empty: m^2 / (2 ln 2 (sum of 2^-r over the others + m sigma(m_0 / m))), with sigma(x) = x + sum over k from 1 of
    x^(2^k) 2^(k-1).
    """
    total, empty = 0.0, 0
    for k in range(REGISTERS):
        total += 2.0 ** -float(registers[k]) if registers[k] else 0.0
        empty += registers[k] == 0
    if empty == REGISTERS:
        return 0.0
    x, weight = empty / REGISTERS, 1.0
    sigma, before = x, -1.0
    while sigma != before:
        before = sigma
        x *= x
        sigma += x * weight
        weight *= 2
    return REGISTERS * REGISTERS / (2 * math.log(2.0) * (total + REGISTERS * sigma))


@njit(cache=True)
def _estimates(registers: Any, out: Any) -> None:
    for k in range(len(registers)):
        out[k] = _estimate(registers[k])


@lean
def _hash(bits: Any, seed: Any, codes: Any) -> None:
    """Keyed 64-bit hashes of rows, given as the uint32 bits of their values, into ``codes``."""
    d = bits.shape[1]
    for i in range(bits.shape[0]):
        # Four chains of keyed products, two values a step each, independent of each other, so that they run side by side.
        a, b, c, e = seed[0], seed[1], seed[2], seed[3]
        j = 0
        while j + 8 <= d:
            a = (a ^ _pair(bits[i, j], bits[i, j + 1])) * _MIX[0]
            b = (b ^ _pair(bits[i, j + 2], bits[i, j + 3])) * _MIX[1]
            c = (c ^ _pair(bits[i, j + 4], bits[i, j + 5])) * _MIX[2]
            e = (e ^ _pair(bits[i, j + 6], bits[i, j + 7])) * _MIX[0]
            a ^= a >> np.uint64(32)
            b ^= b >> np.uint64(32)
            c ^= c >> np.uint64(32)
            e ^= e >> np.uint64(32)
            j += 8
        while j < d:
            a = (a ^ np.uint64(bits[i, j])) * _MIX[1]
            a ^= a >> np.uint64(32)
            j += 1
        codes[i] = _mixed(a + _mixed(b + _mixed(c + _mixed(e))))


@lean
def _count(codes: Any, slot: Any, flagged: Any, limit: float, arrays: Any, index: Any) -> int:
    """One pass over a batch in its order; writes the rows at which a client passed ``limit`` into ``index``, returns how many."""
    registers, seen, over = arrays
    found = 0
    for i in range(codes.shape[0]):
        s = slot[i]
        if i + 4 < codes.shape[0]:
            prefetch_row(registers, slot[i + 4])
        h = codes[i]
        at = np.int64(h & np.uint64(REGISTERS - 1))
        rest = h >> np.uint64(6)
        rank = np.uint8(1)
        while rank < 58 and not (rest & np.uint64(1)):
            rest >>= np.uint64(1)
            rank += np.uint8(1)
        if flagged[i]:
            seen[s] += np.uint32(1)
        if rank > registers[s, at]:
            registers[s, at] = rank
            if not over[s] and limit < np.inf and _estimate(registers[s]) >= limit:
                over[s] = True
                index[found] = i
                found += 1
    return found


class ExposureLedger:
    """Distinct answers of each client slot of one model version; 69 bytes a client.

    Distinct rows are counted by a HyperLogLog of 64 registers: 13 % standard error, which moves the agreement of a copy by about a fifth of
    what a doubling of its answers does. The hash is keyed, so that rows cannot be made to count as one. What was given stays given: nothing
    decays, and another reference of the same model version changes the curve only. A client that is evicted for lack of room begins anew;
    under another key a row counts again.

    Args:
        curve: how good a copy answers buy; None when the reference has none: answers are then counted, and no limit holds. See `use`.
        key: of the hash; secret, or an attacker may choose rows that count little.
        agreement_limit: agreement of a copy that no client's answers shall buy; None for no limit.
        capacity: client slots to begin with.

    Raises:
        ValueError: for a limit outside (0, 1] or a capacity below 1.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> X = rng.normal(size=(3000, 4)).astype(np.float32)
        >>> p = 1 / (1 + np.exp(-3 * X[:, 0]))
        >>> ledger = ExposureLedger(CopyCurve.fit(X, np.c_[1 - p, p]), b"key", agreement_limit=0.95, capacity=2)
        >>> crossed = ledger.update(np.repeat([0, 1], 1500).astype(np.int32), np.r_[X[:1500], np.repeat(X[:10], 150, axis=0)])
        >>> crossed.slot.tolist(), bool(1200 < ledger.distinct(np.array([0]))[0] < 1800), bool(7 <= ledger.distinct(np.array([1]))[0] < 13)
        ([0], True, True)
    """

    def __init__(self, curve: CopyCurve | None, key: bytes, *, agreement_limit: float | None = None, capacity: int = 1024) -> None:
        if agreement_limit is not None and not 0 < agreement_limit <= 1:
            raise ValueError(f"agreement_limit is {agreement_limit}; it must be in (0, 1]")
        self.agreement_limit = agreement_limit
        self._seed = np.frombuffer(hashlib.blake2b(key, digest_size=32, person=b"exposure").digest(), np.uint64).copy()
        self._slots = Slots(_LAYOUT, capacity)
        self.use(curve)

    def use(self, curve: CopyCurve | None) -> None:
        """Goes over to another curve; who is over the limit and was not comes up with their next new answer, who no longer is may again."""
        self.curve = curve
        limit = self.agreement_limit
        self.answers_limit = curve.needed(limit) if curve is not None and limit is not None else math.inf
        over = self._slots.arrays["over"]
        over[over] = self.distinct(np.flatnonzero(over)) >= self.answers_limit

    @property
    def capacity(self) -> int:
        """Client slots there are."""
        return self._slots.capacity

    @property
    def bytes_per_client(self) -> int:
        """Memory of one slot."""
        return self._slots.bytes_per_row

    def codes(self, X: NDArray[np.float32]) -> NDArray[np.uint64]:
        """The keyed hash of each row (n, d): equal rows have equal ones, and nobody without the key can make others collide."""
        codes = np.empty(len(X), np.uint64)
        _hash(float_bits(plain(X, np.float32)), self._seed, codes)
        return codes

    def update(
        self,
        slot: NDArray[np.int32],
        X: NDArray[np.float32],
        flagged: NDArray[np.bool_] | None = None,
        codes: NDArray[np.uint64] | None = None,
    ) -> Crossed:
        """Count a batch of answered events in order; how it is cut changes nothing.

        Args:
            slot: (n,) client slots, 0 <= slot < capacity.
            X: (n, d) rows.
            flagged: (n,) whether the answer was a class that the owner flagged; None for none.
            codes: (n,) of the rows, where they are known.

        Raises:
            ValueError: when shapes do not fit or a slot is out of range; nothing has changed then.
        """
        n = len(X)
        if X.ndim != 2 or slot.shape != (n,) or (flagged is not None and flagged.shape != (n,)):
            raise ValueError(f"X {X.shape}, slot {slot.shape} and flagged must be (n, d), (n,) and (n,)")
        if n and not 0 <= slot.min() <= slot.max() < self.capacity:
            raise ValueError(f"slots run from {slot.min()} to {slot.max()}; capacity is {self.capacity}")
        slots, known = slot.astype(np.int64), self.codes(X) if codes is None else plain(codes, np.uint64)
        marks = np.zeros(n, np.bool_) if flagged is None else plain(flagged, np.bool_)
        index = np.empty(n, np.int64)
        found = _count(known, slots, marks, self.answers_limit, tuple(self._slots.arrays[name] for name in _LAYOUT), index)
        return Crossed(index[:found], slots[index[:found]])

    def distinct(self, slots: NDArray[np.integer[Any]]) -> NDArray[np.float64]:
        """Distinct answers given to these clients, estimated."""
        out = np.empty(len(slots))
        _estimates(self._slots.arrays["registers"][slots], out)
        return out

    def flagged(self, slots: NDArray[np.integer[Any]]) -> NDArray[np.int64]:
        """Answers with a flagged class given to these clients."""
        return np.asarray(self._slots.arrays["flagged"][slots].astype(np.int64))

    def agreement(self, slots: NDArray[np.integer[Any]]) -> NDArray[np.float64]:
        """Agreement of the copy that each client's answers buy; NaN without a curve."""
        distinct = self.distinct(slots)
        return np.full(len(distinct), np.nan) if self.curve is None else self.curve.at(distinct)

    def over(self, slots: NDArray[np.integer[Any]]) -> NDArray[np.bool_]:
        """Which clients are over the limit."""
        return np.asarray(self._slots.arrays["over"][slots])

    def explain(self, slot: int) -> dict[str, Any]:
        """What a ticket shows of a client, in plain values, with what it cannot say."""
        one = np.array([slot])
        answers, curve = float(self.distinct(one)[0]), self.curve
        return {
            "statistic": "exposure",
            "distinct_answers": round(answers),
            "flagged_answers": int(self.flagged(one)[0]),
            "copy_agreement": None if curve is None else round(float(curve.at(np.array([answers]))[0]), 4),
            "copy_agreement_error": None if curve is None else round(float(_standard_error(curve, answers)), 4),
            "agreement_by_chance": None if curve is None else round(curve.chance, 4),
            "agreement_limit": self.agreement_limit,
            "answers_at_limit": self.answers_limit if math.isfinite(self.answers_limit) else None,
            "measured_to_answers": None if curve is None else curve.measured_to,
            "cannot_say": list(LIMITS),
        }

    def resize(self, capacity: int) -> None:
        """More or fewer client slots; the first ones keep what they hold.

        Raises:
            ValueError: for a capacity below 1.
        """
        self._slots.resize(capacity)

    def clear(self, slots: NDArray[np.integer[Any]]) -> None:
        """Forget these clients."""
        self._slots.clear(slots)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The state of the slots, by name: row = slot. To copy rows from, and to put them back; good until the next `resize`."""
        return self._slots.arrays


def _standard_error(curve: CopyCurve, answers: float) -> float:
    share = float(curve.at(np.array([answers]))[0])
    return math.sqrt(max(share * (1 - share), 0.25 / curve.tested) / curve.tested)
