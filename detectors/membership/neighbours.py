"""Where the members lie, coarsely: what it takes to see that a client asks for changed copies of them.

Tables are scaled by median and standard deviation; pictures become magnitudes of low frequencies, which a shift by a pixel leaves as they
are. Both are then turned onto at most 16 principal axes, where `detectors.membership.cells` searches.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from detectors.lean import allocating
from detectors.membership.cells import Cells, group, room_to_search, tiled, two_nearest
from detectors.membership.moved import MOVES, fit_limit, moved_by
from detectors.state import StateError
from detectors.tiles import AXES

MAX_MEMBERS = 16_000
_MAX_BYTES = 2_000_000
_FIELDS = 16
_FREQUENCIES = 5
_PICTURE_TERMS = _FREQUENCIES + (_FREQUENCIES - 1) * (2 * _FREQUENCIES - 1)
_CLIP = 10.0
_MIN_ROWS = 50
_PROBES = 1500
RATIO2 = np.float32(0.7**2)
SAME = np.float32(1e-8)  # squared distance up to which a row is the member itself
_INSIDE = np.float32(0.6)


class Neighbours(NamedTuple):
    """Arrays that the kernels read; all float32 unless said.

    Attributes:
        across: (2, w, 5) cosines and sines along a picture's rows; (2, 0, 5) for a table.
        down: (2, h, 9) the same along its columns.
        center: (width,) subtracted from a row.
        inverse: (width,) multiplied then; 0 for a constant column.
        origin: (terms,) mean of the descriptor.
        axes: (terms, axes) principal directions, widest first.
        fields: (f,) int64, columns compared to tell edits from copies; none for pictures.
        members: (m, axes) along the axes, cell by cell.
        starts: (cells + 1,) int64, first member of each cell.
        centres: (cells, axes) where the cells lie.
        codes: (m, f) uint8, hashes of the members' fields.
        moved: (8 k, axes) where k members lie as pictures moved by a pixel, cell by cell; empty for a table.
        moved_starts: (cells + 1,) int64 of those.
        moved_centres: (cells, axes) of those.
        radii: (4,) float64: near a member; the same for repeated copies; around a client's own row; `moved_apart` of pictures that are one.
    """

    across: NDArray[np.float32]
    down: NDArray[np.float32]
    center: NDArray[np.float32]
    inverse: NDArray[np.float32]
    origin: NDArray[np.float32]
    axes: NDArray[np.float32]
    fields: NDArray[np.int64]
    members: NDArray[np.float32]
    starts: NDArray[np.int64]
    centres: NDArray[np.float32]
    codes: NDArray[np.uint8]
    moved: NDArray[np.float32]
    moved_starts: NDArray[np.int64]
    moved_centres: NDArray[np.float32]
    radii: NDArray[np.float64]


@njit(cache=True)
def describe(row: Any, geometry: Any, z: Any, terms: Any, out: Any) -> None:
    """The place of one float32 row along the axes, into ``out`` (16,), zero beyond them; missing values count as the median."""
    across, down, center, inverse, origin, axes = geometry
    d = row.shape[0]
    for j in range(d):
        value = (row[j] - center[j]) * inverse[j]
        z[j] = min(max(value, np.float32(-_CLIP)), np.float32(_CLIP)) if value == value else np.float32(0)
    if down.shape[1] == 0:
        for j in range(d):
            terms[j] = z[j]
    else:
        _magnitudes(z, across, down, terms)
    out[:] = 0
    for j in range(terms.shape[0]):
        t = terms[j] - origin[j]
        for p in range(axes.shape[1]):
            out[p] += t * axes[j, p]


@allocating
def _magnitudes(z: Any, across: Any, down: Any, out: Any) -> None:
    """|DFT| of the picture padded to twice its size, at the frequencies 0..4 by -4..4 (half of them at 0), over sqrt(pixels)."""
    k, w, h = across.shape[2], across.shape[1], down.shape[1]
    re, im = np.zeros((h, k), np.float32), np.zeros((h, k), np.float32)
    for y in range(h):
        for x in range(w):
            value = z[y * w + x]
            for u in range(k):
                re[y, u] += value * across[0, x, u]
                im[y, u] -= value * across[1, x, u]
    at = 0
    for u in range(k):
        for v in range(0 if u else k - 1, down.shape[2]):
            a, b = np.float32(0), np.float32(0)
            for y in range(h):
                c, s = down[0, y, v], down[1, y, v]
                a += re[y, u] * c + im[y, u] * s
                b += im[y, u] * c - re[y, u] * s
            out[at] = np.sqrt((a * a + b * b) / np.float32(h * w))
            at += 1


def _waves(image: tuple[int, int] | None) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    h, w = image or (0, 0)
    k = _FREQUENCIES
    turns = [np.pi * np.outer(np.arange(n), f) / max(1, n) for n, f in ((w, np.arange(k)), (h, np.arange(1 - k, k)))]
    across, down = (np.stack([np.cos(t), np.sin(t)]).astype(np.float32) for t in turns)
    return across, down


@njit(cache=True)
def describe_all(rows: Any, geometry: Any) -> Any:
    """`describe` for every row (n, width): (n, axes)."""
    terms, out = np.empty(geometry[4].shape[0], np.float32), np.empty((rows.shape[0], geometry[5].shape[1]), np.float32)
    z = np.empty(rows.shape[1], np.float32)
    for i in range(rows.shape[0]):
        describe(rows[i], geometry, z, terms, out[i])
    return out


@njit(inline="always")
def edit_limit(fields: int) -> int:
    """How many fields an edit changes at most: a fifth of them, and two."""
    return max(2, fields // 5)


@njit(inline="always")
def field_code(bits: Any) -> Any:
    """Eight bits of one value, to tell whether it changed."""
    return np.uint8((bits * np.uint32(2654435761)) >> np.uint32(24))


@njit(inline="always")
def is_edit(a: Any, b: Any, limit: int) -> bool:
    """Whether at most ``limit`` of the fields' codes differ; never for pictures, which have no fields."""
    if a.shape[0] == 0:
        return False
    changed = 0
    for k in range(a.shape[0]):
        changed += a[k] != b[k]
    return changed <= limit


@njit(cache=True)
def in_middle(middle: Any, spread: Any, rows: int, cells: Any, search: Any) -> int:
    """Which member is in the middle of a few rows, or -1: within .6 of their spread (sum of squares about it), and the second is not near.

    Rows around a record that lies near a member are near it, too; only their middle is not.
    """
    inside = _INSIDE * spread / np.float32(rows)
    index, away, second = two_nearest(middle, cells, inside / RATIO2, -1, search)
    return index if index >= 0 and away <= RATIO2 * second and away <= inside else -1


def _room_for_members(axes: int, fields: int) -> int:
    """How many members an index holds at most."""
    return min(MAX_MEMBERS, _MAX_BYTES // (4 * axes + fields))


def holds_every(near: Neighbours) -> bool:
    """Whether all members' places are in the index: it is not full."""
    return len(near.members) < _room_for_members(near.axes.shape[1], len(near.fields))


def index_of(near: Neighbours) -> tuple[Cells, NDArray[np.uint8]]:
    """What the kernels search: the members' cells and field codes."""
    return tiled(near.members, near.starts, near.centres), near.codes


def moved_index_of(near: Neighbours) -> Cells:
    """What the kernels search: the cells of moved members."""
    return tiled(near.moved, near.moved_starts, near.moved_centres)


@njit(cache=True)
def _nearest_distances(points: Any, cells: Any, own: bool) -> Any:
    place, out, room = np.zeros(AXES, np.float32), np.empty(points.shape[0]), room_to_search()
    for i in range(points.shape[0]):
        place[: points.shape[1]] = points[i]
        out[i] = np.sqrt(two_nearest(place, cells, np.float32(np.inf), i if own else -1, room)[1])
    return out


def _quantile(distances: NDArray[Any], q: float) -> float:
    """Of the distances that are not zero."""
    distances = distances[np.isfinite(distances) & (distances > 1e-4)]
    return float(np.quantile(distances, q)) if len(distances) else 1e-4


def fit_neighbours(
    X: NDArray[np.float32],
    member: NDArray[np.bool_],
    low: NDArray[Any],
    high: NDArray[Any],
    image: tuple[int, int] | None,
    seed: int,
    moves: bool = True,
) -> Neighbours | None:
    """The geometry of a reference, or None when there are too few members (50) to know what near means.

    Of more members than 16,000, or than 2 MB hold, a random part is kept; copies of the others are then not seen. Of pictures, with
    ``moves``, up to 3,906 members are known moved by a pixel, too, in 2 MB more.
    """
    rng = np.random.default_rng(seed)
    d = X.shape[1]
    X = np.where(np.isfinite(X), X, np.nan)
    X = np.where(np.isfinite(X).any(0), X, 0)
    center = np.nanmedian(X.astype(np.float64), 0) if image is None else np.zeros(d)  # the middle of two halves of float32's range
    spread = np.nanstd(X.astype(np.float64), 0) if image is None else np.full(d, np.nanstd(X, dtype=np.float64))
    usable = spread > np.maximum(np.finfo(np.float32).tiny, 1e-6 * (high - low))  # its inverse must be a float32 too
    inverse = np.divide(1.0, spread, out=np.zeros(d), where=usable)
    across, down = _waves(image)
    terms = _PICTURE_TERMS if image else d
    identity = np.eye(terms, dtype=np.float32)
    raw = (across, down, center.astype(np.float32), inverse.astype(np.float32), np.zeros(terms, np.float32), identity)
    bits = np.ascontiguousarray(X, np.float32)
    T = describe_all(bits, raw)
    origin = T.mean(0)
    _, _, V = np.linalg.svd((T - origin) / np.sqrt(len(T)), full_matrices=False)
    axes = np.ascontiguousarray(V[:AXES].T, np.float32)
    place = np.ascontiguousarray((T - origin) @ axes)
    varied = np.flatnonzero(usable) if image is None else np.empty(0, np.int64)
    fields = np.sort(rng.choice(varied, min(_FIELDS, len(varied)), replace=False)).astype(np.int64)

    M, first = np.unique(place[member], axis=0, return_index=True)
    first = np.flatnonzero(member)[first]
    keep = min(len(M), _room_for_members(axes.shape[1], len(fields)))
    if len(M) < _MIN_ROWS:
        return None
    chosen = np.sort(rng.choice(len(M), keep, replace=False))
    M, first = M[chosen], first[chosen]
    order, starts, centres = group(M, rng)
    M, first = np.ascontiguousarray(M[order]), first[order]
    codes = ((bits[first][:, fields].view(np.uint32) * np.uint32(2654435761)) >> np.uint32(24)).astype(np.uint8)
    geometry = (across, down, raw[2], raw[3], origin.astype(np.float32), axes)
    moved, moved_starts, one = np.zeros((0, axes.shape[1]), np.float32), np.zeros(1, np.int64), 0.0
    moved_centres = moved
    if image is not None and moves:
        some = bits[first[: _MAX_BYTES // (4 * AXES * len(MOVES))]]
        moved = np.concatenate([describe_all(moved_by(some, image, *move), geometry) for move in MOVES])
        order, moved_starts, moved_centres = group(moved, rng)
        moved, one = np.ascontiguousarray(moved[order]), fit_limit(bits, place, raw[3], image)

    others = place[~member]
    own = len(others) < _MIN_ROWS
    probe = M if own else rng.permutation(others)
    to_member = _nearest_distances(np.ascontiguousarray(probe[:_PROBES]), tiled(M, starts, centres), own)
    if image is None:
        # Natural rows hit some member three times less than once among 800 queries, within reason.
        near = _quantile(to_member, 0.03)
        share = (3 / len(M)) ** (1 / 3) * len(M)
        repeated = max(near, _quantile(to_member, float(np.clip(share / 800, 0.01, 0.3))))
        around = []
        for i in rng.integers(0, len(place), 300):
            r = ((place[:4000] - place[i]) ** 2).sum(1)
            similar = np.argsort(r)[1 : max(25, len(r) // 10)]
            around.append(np.sqrt(r[rng.choice(similar, min(24, len(similar)))].min()))
        own_radius = max(_quantile(np.array(around), 0.2), near)
    else:
        near = repeated = _quantile(to_member, 0.005)
        a, b = rng.integers(0, len(place), (2, 2000))
        own_radius = _quantile(np.sqrt(((place[a] - place[b]) ** 2).sum(1)), 0.01)
    radii = np.array([near, repeated, own_radius, one])
    return Neighbours(*geometry, fields, M, starts, centres, codes, moved, moved_starts, moved_centres, radii)


def load_neighbours(body: Any, width: int) -> Neighbours | None:
    """The geometry out of a stored reference; None stays None.

    Raises:
        StateError: when an array is missing, has another dtype or a shape that does not fit the others.
    """
    if body is None:
        return None
    try:
        n = Neighbours(**body)
        terms, axes, m, f = n.axes.shape[0], n.axes.shape[1], len(n.members), len(n.fields)
        h, w, k = n.down.shape[1], n.across.shape[1], _FREQUENCIES
        expected = {
            "across": ("<f4", (2, w, k)), "down": ("<f4", (2, h, 2 * k - 1)), "center": ("<f4", (width,)), "inverse": ("<f4", (width,)),
            "origin": ("<f4", (terms,)), "axes": ("<f4", (terms, axes)), "fields": ("<i8", (f,)), "members": ("<f4", (m, axes)),
            "starts": ("<i8", (len(n.centres) + 1,)), "centres": ("<f4", (len(n.centres), axes)),
            "codes": ("|u1", (m, f)), "moved": ("<f4", (len(n.moved), axes)), "moved_starts": ("<i8", (len(n.moved_centres) + 1,)),
            "moved_centres": ("<f4", (len(n.moved_centres), axes)), "radii": ("<f8", (4,)),
        }  # fmt: skip
        wrong = [name for name, (dtype, shape) in expected.items() if (body[name].dtype.str, body[name].shape) != (dtype, shape)]
    except (TypeError, AttributeError, IndexError, ValueError) as error:
        raise StateError(f"the members' places lack an array or have a wrong one: {error}") from error
    fits = not wrong and h * w in (0, width) and terms == (_PICTURE_TERMS if h * w else width) and 1 <= axes <= AXES and m > 0
    # The kernels index with these and check nothing.
    cells = (n.starts, m), (n.moved_starts, len(n.moved))
    fits = fits and not any(np.any(np.diff(starts) < 0) or starts[0] != 0 or starts[-1] != count for starts, count in cells)
    if not fits or np.any((n.fields < 0) | (n.fields >= width)):
        raise StateError(f"the members' places do not fit each other or rows {width} wide: {wrong}")
    return n
