"""What the membership detectors know of one model version: its members behind a keyed filter, its gauge, its rates."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detectors.bloom import BloomFilter
from detectors.membership.gauge import MembershipGauge
from detectors.membership.neighbours import Neighbours, fit_neighbours, load_neighbours
from detectors.state import StateError, pack, reading, unpack

_KIND = "membership.reference"
_VERSION = 4
# Honest rates: a fixed null for clients that are odd from the start, a prior worth ten queries for those that change (recipe 2).
_U_FLOOR = 0.15
_U_CAP = 0.6
# Of what ordinary clients on simulated services asked changed copies of (repeated measurements, shifted pictures), 0 to 10 % passed for
# members; of those a seventh of whose records was trained on, 22 %: their evidence falls by .1 a record, and 1 in 400 would get a ticket.
_U_COPIES_FLOOR = 0.1
_PRIOR_MEAN_FLOOR = 0.01
_PRIOR_MEAN_CAP = 0.5
_PRIOR_WEIGHT = 10.0
# Evasion sends ten thousand rows and more: at one in ten thousand each such attack hit a member once (3.6 MB for 10^6 members, 2.4 then).
_FALSE_HITS = 1e-6


@dataclass(frozen=True)
class MembershipReference:
    """Fitted once per model version from training rows and held-out rows.

    The filter holds every member; who lacks the key can't test a row against it. `neighbours` does hold members, scaled and turned.

    Attributes:
        width: values in a row.
        members: distinct rows in the filter.
        base: share of the held-out rows that are byte for byte a member, or NaN when none were given.
        gauge: how leaky the model is (`MembershipGauge`).
        bloom: the members.
        neighbours: where at most 16,000 members lie, in 2 MB, or None below 50 distinct ones. Coordinates of training rows: whoever may
            read a reference may read training data.
        control: the same of the held-out rows: who is near members for being where all rows are is as near to these.

    Example:
        >>> import numpy as np
        >>> rng = np.random.default_rng(0)
        >>> X, y = rng.normal(size=(600, 4)).astype(np.float32), rng.integers(0, 2, 600)
        >>> scores = rng.dirichlet([1, 1], 600)
        >>> trained = np.arange(600) < 400
        >>> key = b"sixteen bytes or more"
        >>> reference = MembershipReference.fit(X, scores, y, trained, key=key, low=X.min(0), high=X.max(0))
        >>> reference.members, reference.base, reference.u
        (400, 0.0, 0.15)
    """

    width: int
    members: int
    base: float
    gauge: MembershipGauge
    bloom: BloomFilter
    neighbours: Neighbours | None
    control: Neighbours | None

    @property
    def u(self) -> float:
        """The fixed null rate of member hits: max(.15, 2 base + .02), at most .6."""
        return min(_U_CAP, max(_U_FLOOR, 2 * float(np.nan_to_num(self.base)) + 0.02))

    @property
    def u_copies(self) -> float:
        """The fixed null share of members among the records that a client asks changed copies of: max(.1, 1.5 base + .02), at most .6."""
        return min(_U_CAP, max(_U_COPIES_FLOOR, 1.5 * float(np.nan_to_num(self.base)) + 0.02))

    @property
    def prior(self) -> tuple[float, float]:
        """(a, b) of the Beta prior of a client's own rate: mean base within [.01, .5], worth ten queries (assumed, not fitted)."""
        mean = min(_PRIOR_MEAN_CAP, max(_PRIOR_MEAN_FLOOR, float(np.nan_to_num(self.base))))
        return _PRIOR_WEIGHT * mean, _PRIOR_WEIGHT * (1 - mean)

    @classmethod
    def fit(
        cls,
        X: NDArray[Any],
        scores: NDArray[Any],
        y: NDArray[Any],
        member: NDArray[Any],
        *,
        key: bytes,
        low: NDArray[Any],
        high: NDArray[Any],
        image: tuple[int, int] | None = None,
        seed: int = 0,
    ) -> MembershipReference:
        """Learn from the owner's rows.

        Args:
            X: (n, width) feature rows as the service sees them.
            scores: (n, classes) what the model answers to them.
            y: (n,) true class.
            member: (n,) whether the row was trained on; at least one must be.
            key: secret of the deployment, at least 16 random bytes.
            low: (width,) the schema's lower bounds.
            high: (width,) its upper bounds.
            image: (height, width) of the picture when rows are pictures.
            seed: of what is sampled.

        Raises:
            ValueError: when shapes do not fit, no row is a member, or the key is short.
        """
        if X.ndim != 2 or X.shape[1] < 1 or member.shape != (len(X),):
            raise ValueError(f"X {X.shape} and member {member.shape} must be (n, width) and (n,)")
        if low.shape != (X.shape[1],) or high.shape != low.shape or not np.all(low <= high):
            raise ValueError(f"low {low.shape} and high {high.shape} must be ({X.shape[1]},), low <= high, without NaN")
        if image is not None and image[0] * image[1] != X.shape[1]:
            raise ValueError(f"a picture of {image} has not {X.shape[1]} pixels")
        member = member.astype(bool)
        if not member.any():
            raise ValueError("no row is a member; membership can't be watched without training rows")
        bloom = BloomFilter(key, rows=int(member.sum()), width=X.shape[1], p=_FALSE_HITS)
        bloom.add(X[member])
        codes = bloom.hashes(X)
        inside = np.unique(codes[member])
        base = float(np.isin(codes[~member], inside).mean()) if not member.all() else float("nan")
        rows = X.astype(np.float32)
        neighbours = fit_neighbours(rows, member, low, high, image, seed)
        control = fit_neighbours(rows, ~member, low, high, image, seed, moves=False)
        return cls(X.shape[1], len(inside), base, MembershipGauge.fit(scores, y, member), bloom, neighbours, control)

    def identity(self) -> str:
        """Hex digest that changes with anything in the reference; snapshots of clients carry it."""
        return hashlib.blake2b(self.to_bytes(), digest_size=16).hexdigest()

    def to_bytes(self) -> bytes:
        """The reference without its key."""
        neighbours, control = (side._asdict() if side else None for side in (self.neighbours, self.control))
        body = {"width": self.width, "members": self.members, "base": self.base, "gauge": self.gauge.to_bytes()}
        return pack(_KIND, _VERSION, body | {"bloom": self.bloom.to_bytes(), "neighbours": neighbours, "control": control})

    @classmethod
    @reading(_KIND)
    def from_bytes(cls, blob: bytes, key: bytes) -> MembershipReference:
        """The reference of `to_bytes`, with the key it was fitted with.

        Raises:
            StateError: when the bytes are not a reference, or the key is another one.
        """
        body = unpack(blob, _KIND, _VERSION)
        try:
            width, members, base = int(body["width"]), int(body["members"]), float(body["base"])
            gauge, bloom = MembershipGauge.from_bytes(body["gauge"]), BloomFilter.from_bytes(body["bloom"], key)
        except (KeyError, TypeError) as error:
            raise StateError(f"a membership reference lacks a field or has a wrong one: {error}") from error
        if bloom.width != width or members < 1 or base < 0 or base > 1:
            raise StateError(f"a membership reference of {members} members {width} wide with base rate {base} makes no sense")
        sides = (load_neighbours(body.get(name), width) for name in ("neighbours", "control"))
        return cls(width, members, base, gauge, bloom, *sides)
