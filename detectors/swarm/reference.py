"""What ordinary rows of a model look like, whitened, so that a row's distance to them and to other clients' rows means something."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from detectors.bloom import float_bits
from detectors.state import StateError, pack, unpack

_KIND = "swarm.reference"
_VERSION = 1
MAX_ROWS = 4000
MAX_TERMS = 64
MAX_CELLS = 64
MAX_FIELDS = 16
MAX_WIDTH = 4096
PROBES = 6
MEAN_TERMS = 16
_MIN_ROWS = 50
_CLIP = 10.0
_RIDGE = 0.02
_EVEN_ROWS = 1500
_EVEN, _EVEN_SHARE = 0.5, 0.04


class Map(NamedTuple):
    """From a raw row to its whitened place; arrays that the kernels read.

    Attributes:
        center: (width,) float32.
        inverse: (width,) float32, 0 for constant columns.
        whiten: (width, terms) float32.
        picture: (2,) int64 height and width, or zeros.
        sampled: (steps,) int64 columns whose differences are compared.
        fields: (f,) int64 columns that tell edits; none for pictures.
        mixing: (terms, 16) float32, orthonormal in expectation, for means of places.
        seed: (2,) uint64 of the row hash.
    """

    center: NDArray[np.float32]
    inverse: NDArray[np.float32]
    whiten: NDArray[np.float32]
    picture: NDArray[np.int64]
    sampled: NDArray[np.int64]
    fields: NDArray[np.int64]
    mixing: NDArray[np.float32]
    seed: NDArray[np.uint64]


class Cells(NamedTuple):
    """Reference rows by cell: centres (c, terms), starts (c + 1,) int64, rows (n, terms) in the order of their cells."""

    centres: NDArray[np.float32]
    starts: NDArray[np.int64]
    rows: NDArray[np.float32]


@dataclass(frozen=True)
class SwarmReference:
    """Fitted once per model version from ordinary rows (training or held-out ones).

    Attributes:
        width: values in a row.
        map: to whitened places.
        cells: the reference rows, at most 4,000.
        limits: (4,) 99 %, 90 % and 5 % quantile of the distance between neighbours in the reference, and how even their difference may be
            over columns (coefficient of variation: its 4 % quantile, at most .5).
        equal: share of equal fields between random pairs of rows.

    Example:
        >>> import numpy as np
        >>> X = np.random.default_rng(0).normal(size=(500, 6)).astype(np.float32)
        >>> reference = SwarmReference.fit(X, low=np.full(6, -5.0), high=np.full(6, 5.0))
        >>> len(reference.cells.rows), len(reference.cells.centres)
        (500, 22)
    """

    width: int
    map: Map
    cells: Cells
    limits: NDArray[np.float64]
    equal: float

    @classmethod
    def fit(
        cls, X: NDArray[Any], *, low: NDArray[Any], high: NDArray[Any], image: tuple[int, int] | None = None, seed: int = 0
    ) -> SwarmReference:
        """Learn from ordinary rows.

        Args:
            X: (n, width) feature rows, n >= 50, width <= 4096.
            low: (width,) the schema's lower bounds.
            high: (width,) its upper bounds.
            image: (height, width) when rows are pictures.
            seed: of what is sampled.

        Raises:
            ValueError: when shapes do not fit or there are too few rows.
        """
        if X.ndim != 2 or len(X) < _MIN_ROWS or not 1 <= X.shape[1] <= MAX_WIDTH:
            raise ValueError(f"X is {X.shape}; at least {_MIN_ROWS} rows of 1 to {MAX_WIDTH} values are needed")
        d = X.shape[1]
        if low.shape != (d,) or high.shape != (d,) or not np.all(low <= high):
            raise ValueError(f"low {low.shape} and high {high.shape} must be ({d},), low <= high, without NaN")
        if image is not None and image[0] * image[1] != d:
            raise ValueError(f"a picture of {image} has not {d} pixels")
        rng = np.random.default_rng(seed)
        X = X[np.sort(rng.choice(len(X), min(len(X), MAX_ROWS), replace=False))]
        X = np.where(np.isfinite(X), X, np.nan).astype(np.float64)  # the middle of two halves of float32's range has no float32
        X = np.where(np.isfinite(X).any(0), X, 0)
        center = np.nanmedian(X, 0) if image is None else np.zeros(d)
        spread = np.nanstd(X, 0) if image is None else np.full(d, np.nanstd(X))
        usable = spread > np.maximum(np.finfo(np.float32).tiny, 1e-6 * (high - low))  # its inverse must be a float32 too
        inverse = np.divide(1.0, spread, out=np.zeros(d), where=usable)
        Z = np.clip((np.where(np.isnan(X), center, X) - center) * inverse, -_CLIP, _CLIP)
        variance, V = np.linalg.eigh(np.atleast_2d(np.cov(Z.T)) + 1e-9 * np.eye(d))
        # Rows put together by hand differ along narrow directions; wide rows keep the widest 64, as their narrow ones are noise.
        kept = slice(-MAX_TERMS, None)
        whiten = V[:, kept] / np.sqrt(np.maximum(variance[kept], 0) + _RIDGE * variance.mean())
        terms = whiten.shape[1]
        varied = np.flatnonzero(usable)
        sampled = np.sort(rng.choice(varied, min(MAX_TERMS, len(varied)), replace=False))
        fields = np.sort(rng.choice(varied, min(MAX_FIELDS, len(varied)), replace=False)) if image is None else np.empty(0)
        mixing = np.eye(terms) if terms <= MEAN_TERMS else rng.normal(size=(terms, MEAN_TERMS)) / np.sqrt(MEAN_TERMS)
        words = np.frombuffer(hashlib.blake2b(X.astype(np.float32).tobytes(), digest_size=16).digest(), "<u8")
        map_ = Map(
            center.astype(np.float32),
            inverse.astype(np.float32),
            np.ascontiguousarray(whiten, np.float32),
            np.array(image or (0, 0), np.int64),
            sampled.astype(np.int64),
            fields.astype(np.int64),
            np.ascontiguousarray(mixing, np.float32),
            words.astype(np.uint64),
        )
        Y = np.ascontiguousarray(places(float_bits(X).view(np.float32), map_))
        cells = _cells(Y, rng)
        between = nearest_other(cells)
        between = between[between > 1e-6] if (between > 1e-6).any() else np.array([1e-6])
        pairs = rng.integers(0, len(X), (2, 2000))
        equal = float(np.mean(X[pairs[0]][:, fields.astype(int)] == X[pairs[1]][:, fields.astype(int)])) if len(fields) else 0.0
        limits = np.r_[np.quantile(between, [0.99, 0.9, 0.05]), _evenness(Y[:_EVEN_ROWS], Z[:, sampled])]
        return cls(d, map_, cells, limits, equal)

    def identity(self) -> str:
        """Hex digest that changes with anything in the reference."""
        return hashlib.blake2b(self.to_bytes(), digest_size=16).hexdigest()

    def to_bytes(self) -> bytes:
        """The reference as bytes; it holds whitened rows."""
        body = {"width": self.width, "map": self.map._asdict(), "cells": self.cells._asdict()}
        return pack(_KIND, _VERSION, body | {"limits": self.limits, "equal": self.equal})

    @classmethod
    def from_bytes(cls, blob: bytes) -> SwarmReference:
        """The reference of `to_bytes`.

        Raises:
            StateError: when the bytes are not a reference or its arrays do not fit each other.
        """
        body = unpack(blob, _KIND, _VERSION)
        try:
            back = cls(int(body["width"]), Map(**body["map"]), Cells(**body["cells"]), body["limits"], float(body["equal"]))
            m, c, d = back.map, back.cells, back.width
            terms, f4, i8 = m.whiten.shape[1], "<f4", "<i8"
            expected: list[tuple[Any, str, tuple[int, ...]]] = [
                (m.center, f4, (d,)), (m.inverse, f4, (d,)), (m.whiten, f4, (d, terms)), (m.picture, i8, (2,)), (m.seed, "<u8", (2,)),
                (m.sampled, i8, m.sampled.shape[:1]), (m.fields, i8, m.fields.shape[:1]), (back.limits, "<f8", (4,)),
                (m.mixing, f4, (terms, m.mixing.shape[1])), (c.centres, f4, (len(c.starts) - 1, terms)), (c.starts, i8, c.starts.shape[:1]),
                (c.rows, f4, (int(c.starts[-1]), terms)),
            ]  # fmt: skip
            fits = all((a.dtype.str, a.shape) == (dtype, shape) for a, dtype, shape in expected)
        except (KeyError, TypeError, AttributeError, IndexError, ValueError) as error:
            raise StateError(f"a swarm reference lacks an array or has a wrong one: {error}") from error
        within = all(bool(np.all((a >= 0) & (a < d))) for a in (m.sampled, m.fields)) and m.picture.min() >= 0
        # The kernels index with these and check nothing.
        if not fits or not within or m.picture.prod() not in (0, d) or np.any(np.diff(c.starts) < 0) or c.starts[0] != 0:
            raise StateError("the arrays of a swarm reference do not fit each other")
        return back


@njit(cache=True)
def place(row: Any, center: Any, inverse: Any, whiten: Any, z: Any, y: Any) -> None:
    """Scaled row into ``z`` (missing values are the median), whitened place into ``y``."""
    y[:] = 0
    for j in range(row.shape[0]):
        value = (row[j] - center[j]) * inverse[j]
        z[j] = min(max(value, np.float32(-_CLIP)), np.float32(_CLIP)) if value == value else np.float32(0)
        if z[j] != 0:
            for p in range(y.shape[0]):
                y[p] += z[j] * whiten[j, p]


@njit(cache=True)
def _places(rows: Any, center: Any, inverse: Any, whiten: Any) -> Any:
    z, out = np.empty(rows.shape[1], np.float32), np.empty((rows.shape[0], whiten.shape[1]), np.float32)
    for i in range(rows.shape[0]):
        place(rows[i], center, inverse, whiten, z, out[i])
    return out


def places(rows: NDArray[np.float32], map_: Map) -> NDArray[np.float32]:
    """The whitened places (n, terms) of float32 rows (n, width)."""
    out: NDArray[np.float32] = _places(rows, map_.center, map_.inverse, map_.whiten)
    return out


@njit(cache=True, fastmath={"reassoc", "contract"})
def apart(a: Any, b: Any, cap: Any) -> Any:
    """Squared distance, or a number not below ``cap`` once it is known not to be below; eight terms at a time fill a SIMD register."""
    total, d = np.float32(0), a.shape[0]
    for block in range(0, d - 7, 8):
        for k in range(block, block + 8):
            total += (a[k] - b[k]) * (a[k] - b[k])
        if total >= cap:
            return total
    for k in range(d - d % 8, d):
        total += (a[k] - b[k]) * (a[k] - b[k])
    return total


@njit(cache=True)
def probe(y: Any, centres: Any, cells: Any, away: Any) -> int:
    """The nearest cells of a place into ``cells``, nearest first; returns how many."""
    found = 0
    for c in range(centres.shape[0]):
        limit = np.float32(np.inf) if found < PROBES else away[PROBES - 1]
        s = apart(y, centres[c], limit)
        if found < PROBES or s < limit:
            at = found if found < PROBES else PROBES - 1
            found = min(PROBES, found + 1)
            while at > 0 and away[at - 1] > s:
                away[at], cells[at] = away[at - 1], cells[at - 1]
                at -= 1
            away[at], cells[at] = s, c
    return found


@njit(cache=True)
def to_reference(y: Any, cells: Any, number: int, starts: Any, rows: Any, skip: int, enough: Any) -> Any:
    """Squared distance to the nearest reference row of the probed cells, or to the first one within ``enough``."""
    best = np.float32(1e30)
    for k in range(number):
        for j in range(starts[cells[k]], starts[cells[k] + 1]):
            if j != skip:
                best = min(best, apart(y, rows[j], best))
        if best <= enough:
            break
    return best


@njit(cache=True)
def _nearest_other(centres: Any, starts: Any, rows: Any) -> Any:
    cells, away = np.empty(PROBES, np.int64), np.empty(PROBES, np.float32)
    out = np.empty(rows.shape[0])
    for i in range(rows.shape[0]):
        number = probe(rows[i], centres, cells, away)
        out[i] = np.sqrt(to_reference(rows[i], cells, number, starts, rows, i, np.float32(0)))
    return out


def nearest_other(cells: Cells) -> NDArray[np.float64]:
    """Distance of every reference row to its nearest other one."""
    out: NDArray[np.float64] = _nearest_other(cells.centres, cells.starts, cells.rows)
    return out


def _evenness(Y: NDArray[np.float32], steps: NDArray[Any]) -> float:
    """Which coefficient of variation of the changed columns 4 % of neighbours in the reference stay below; at most .5.

    Few columns change alike by chance often enough to matter, and more so where clients are all far from the reference.
    """
    squares = (Y**2).sum(1)
    away = squares[:, None] + squares[None] - 2 * Y @ Y.T
    np.fill_diagonal(away, np.inf)
    away[away < 1e-6] = np.inf
    change = np.abs(steps[: len(Y)] - steps[away.argmin(1)])
    change = np.where(change > 1e-3, change, np.nan)
    change = change[np.isfinite(change).sum(1) >= 4]
    if not len(change):
        return _EVEN
    return float(min(_EVEN, np.quantile(np.nanstd(change, 1) / np.nanmean(change, 1), _EVEN_SHARE)))


def _nearest(Y: NDArray[np.float32], centres: NDArray[np.float64]) -> NDArray[np.int64]:
    """Number of the centre next to each row."""
    return np.asarray(((centres**2).sum(1)[None] - 2 * Y @ centres.T).argmin(1))


def _cells(Y: NDArray[np.float32], rng: np.random.Generator) -> Cells:
    """Sqrt(n) cells by two rounds of Lloyd's algorithm."""
    number = max(1, min(MAX_CELLS, int(np.sqrt(len(Y)))))
    centres = Y[rng.choice(len(Y), number, replace=False)].astype(np.float64)
    for _ in range(3):
        owner = _nearest(Y, centres)
        for c in range(number):
            if (owner == c).any():
                centres[c] = Y[owner == c].mean(0)
    owner = _nearest(Y, centres)
    order = np.argsort(owner, kind="stable")
    starts = np.searchsorted(owner[order], np.arange(number + 1)).astype(np.int64)
    return Cells(centres.astype(np.float32), starts, np.ascontiguousarray(Y[order]))
