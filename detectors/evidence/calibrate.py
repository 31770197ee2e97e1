"""Null rates and yardsticks that the reference rows give: what ordinary rows do by themselves."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from detectors.evidence import constants as c
from detectors.evidence.residual import Floats, energy, find_curved, fit_residual

Indices = NDArray[np.int64]


def moved_pictures(X: Floats, image: tuple[int, ...], rng: np.random.Generator) -> Floats:
    """Five copies of every picture: itself and four one-pixel shifts, with other gain and noise; half of the originals untouched."""
    height, width = image[:2]
    n = len(X)
    pixels = X.reshape(n, height, width, -1)
    copies = [X]
    step = max(1, height // 16)
    for dy, dx in ((0, 1), (0, -1), (1, 0), (-1, 0)):
        moved = np.roll(pixels, (dy * step, dx * step), (1, 2)).copy()
        if dy:
            moved[:, slice(0, step) if dy > 0 else slice(-step, None)] = 0
        if dx:
            moved[:, :, slice(0, step) if dx > 0 else slice(-step, None)] = 0
        copies.append(moved.reshape(n, -1))
    out = np.concatenate(copies)
    top = np.quantile(X, 0.999)
    gain = rng.uniform(*c.PICTURE_GAIN, (len(out), 1))
    out = out * gain + c.PICTURE_NOISE * top * rng.uniform(0, 1, (len(out), 1)) * rng.normal(size=out.shape)
    out[:n:2] = X[::2]
    return out


def joint_rates(
    Z: Floats, X: Floats, targets: Indices, fold: Indices, curved: NDArray[np.bool_], knots: Floats | None, image: bool,
    rng: np.random.Generator,
) -> tuple[Floats, Floats]:  # fmt: skip
    """E1's limits and tolerated rates.

    Limits: quantiles of the energy of differences between cross-fitted reference rows. Tolerated rate of a limit: the 90 % quantile,
    over populations left out of the fit (the tails of each column), of that population's own exceedance rate.

    Returns:
        limits (4,) in log energy, rates (4,).
    """
    n, d = Z.shape
    R = np.empty((n, len(targets)))
    for k in range(5):
        out = fold == k
        if out.any():
            R[out] = fit_residual(Z[~out], targets, curved, knots)(Z[out])
    pairs = []
    for k in range(5):
        members = np.flatnonzero(fold == k)
        pairs += [energy((R[members] - R[rng.permutation(members)]) / np.sqrt(2)) for _ in range(4)]
    e = np.concatenate(pairs)
    e = e[e > -8]
    if not len(e):
        raise ValueError("evidence reference: no two reference rows differ in their joint residual; more distinct rows are needed")
    limits = np.quantile(e, c.JOINT_QUANTILES)

    tail, quantile = c.JOINT_LEFT_OUT
    populations = []
    for j in range(d) if d <= 40 else rng.choice(d, 40, replace=False):
        v = X[:, j]
        tails = (np.flatnonzero(v <= np.quantile(v, tail)), np.flatnonzero(v >= np.quantile(v, 1 - tail)))
        populations += [members for members in tails if max(10, 0.03 * n) <= len(members) <= 0.4 * n]
    left_out = []
    for members in populations[:12] if d > 100 else populations:
        kept = np.ones(n, bool)
        kept[members] = False
        r = fit_residual(Z[kept], targets, curved, knots)(Z[members])
        e = energy((r - r[rng.permutation(len(r))]) / np.sqrt(2))
        left_out.append((e[:, None] > limits).mean(0))
    tolerated = np.quantile(left_out, quantile, axis=0) if left_out else c.JOINT_FLOOR
    rates = np.clip(tolerated, c.JOINT_FLOOR, c.JOINT_CAP)
    return limits, np.maximum(rates, c.JOINT_FLOOR_PICTURES) if image else rates


def smooth_limit(
    Z: Floats, targets: Indices, fold: Indices, plain: Floats, plain_fold: Indices, curved: NDArray[np.bool_], knots: Floats | None,
    rng: np.random.Generator,
) -> tuple[float, float, float]:  # fmt: skip
    """E8's first limit, its tolerated rate, and the share of the reference's rows below it if their energy were halved.

    Limit: a low quantile of the energy of cross-fitted reference rows as they are (``plain``; moved pictures have more). Tolerated: what
    the quietest cluster of them does.

    Returns:
        The limit in log energy, the rate, and the share.
    """
    R = np.empty((len(plain), len(targets)))
    for k in range(5):
        out = plain_fold == k
        if out.any():
            R[out] = fit_residual(Z[fold != k], targets, curved, knots)(plain[out])
    e: Floats = np.log(np.minimum(R**2, c.JOINT_CAP_ENERGY).mean(1) + 1e-4)
    limit = float(np.quantile(e, c.SMOOTH_QUANTILES[0]))
    below = e < limit
    cluster = clusters(plain, c.SMOOTH_CLUSTERS, rng)
    groups = [below[cluster == k] for k in range(c.SMOOTH_CLUSTERS)]
    shrunk = [share_of_part(g, c.SMOOTH_QUANTILES[0]) for g in groups if len(g)]
    rate = float(np.clip(c.SMOOTH_MARGIN * np.max(shrunk), c.SMOOTH_FLOOR, c.SMOOTH_CAP))
    return limit, rate, float((e < limit + np.log(2)).mean())


def share_of_part(hits: NDArray[np.bool_], usual: float) -> float:
    """Share of hits among the rows (n,) of a part of the reference; a handful of rows says little beside the ``usual`` share."""
    return float((hits.sum() + c.PART_CAUTION * usual) / (len(hits) + c.PART_CAUTION))


def clusters(Z: Floats, number: int, rng: np.random.Generator) -> Indices:
    """Ten rounds of Lloyd's algorithm, in at most 16 random directions."""
    P = Z @ rng.normal(size=(Z.shape[1], c.COORDINATES)) if Z.shape[1] > c.COORDINATES else Z
    centres = P[rng.choice(len(P), number, replace=False)]
    nearest: Indices = np.zeros(len(P), np.int64)
    for _ in range(10):
        nearest = ((centres**2).sum(1) - 2 * P @ centres.T).argmin(1)
        for k in range(len(centres)):
            if (nearest == k).any():
                centres[k] = P[nearest == k].mean(0)
    return nearest


def curved_columns(Z: Floats, fold: Indices, image: bool) -> tuple[NDArray[np.bool_], Floats | None]:
    """The columns that are curved functions of others, and the knots of their regression (None where the table is unfit for it)."""
    n, d = Z.shape
    if image or d > c.CURVED_WIDTH or n < c.CURVED_ROWS * d:
        return np.zeros(d, bool), None
    knots: Floats = np.quantile(Z, [0.25, 0.5, 0.75], axis=0)
    return find_curved(Z, fold, knots), knots


def distances(Z: Floats, rng: np.random.Generator) -> tuple[float, float]:
    """Median nearest-neighbour distance of distinct rows, and median distance of random pairs."""
    rows = np.unique(Z, axis=0)
    if len(rows) < 2:
        raise ValueError("evidence reference: all rows are the same; there is nothing to compare a client's rows with")
    rows = rows[rng.permutation(len(rows))]
    queries = rows[:400]
    squares = (queries**2).sum(1)[:, None] + (rows**2).sum(1) - 2 * queries @ rows.T
    i = np.arange(len(queries))
    squares[i, i] = np.inf
    nearest = float(np.median(np.sqrt(np.maximum(squares.min(1), 1e-12))))
    a, b = rng.integers(0, len(rows), (2, 2000))
    return nearest, float(np.median(np.linalg.norm(rows[a] - rows[b], axis=1)))


def equal_share(H: Floats, X: Floats, rng: np.random.Generator) -> float:
    """99 % quantile of the share of sampled values (n, fields) that two different reference rows have in common."""
    i, j = rng.integers(0, len(X), (2, 4000))
    different = (X[i] != X[j]).any(1)
    return float(np.quantile((H[i[different]] == H[j[different]]).mean(1), 0.99)) if different.any() else 1.0


def repeated_share(H: Floats, low: Floats, high: Floats, rng: np.random.Generator) -> float:
    """Mean share of sampled values, not limits, that occur in three or more of 16 other random reference rows."""
    n = len(H)
    shares = []
    for _ in range(60):
        rows = H[rng.choice(n, min(c.RING + 1, n), replace=False)]
        limit = (rows[0] <= low) | (rows[0] >= high)
        shares.append((((rows[1:] == rows[0]).sum(0) >= c.IMPUTED_REPEATS) & ~limit).mean())
    return float(np.mean(shares))


def fresh_share(H: Floats, edit_share: float, rng: np.random.Generator) -> float:
    """Share of reference rows that are no edits of any of 16 other random ones: where few columns have few values, many are by chance.

    Args:
        H: (n, fields) sampled values.
        edit_share: of equal fields from which a row is an edit.
        rng: draws the rows.
    """
    n, fresh = len(H), 0
    for _ in range(c.FRESH_DRAWS):
        rows = H[rng.choice(n, min(c.RING + 1, n), replace=False)]
        fresh += bool((rows[1:] == rows[0]).mean(1).max() < edit_share)
    return fresh / c.FRESH_DRAWS


def flip_rates(G: Floats, Z: Floats, scores: NDArray[np.float32], nearest: float) -> Floats:
    """E3's tolerated rates (3,): how often two ordinary rows within each radius of each other are answered differently.

    A search flips the answer between neighbours; but a service that learnt its rows by heart, or whose answers jump from one whole number
    to the next, does so for everybody, and a sensor that hangs anywhere flips as often as a search. Each distinct row is compared with
    the nearest other one. Where fewer than `FLIP_KNOWN` are that near, the next larger radius tells: nearer rows flip no more often.
    Of many columns the projections of two rows are near by chance now and then, and such rows are answered as any two are: the rows
    themselves must be near, too.

    Args:
        G: (n, coordinates) positions, which keep distances on average.
        Z: (n, d) the scaled rows themselves.
        scores: (n, classes), or fewer than two classes where the answers are unknown.
        nearest: the unit of the radii.
    """
    least = np.array(c.FLIP_U)
    if scores.shape[1] < 2:
        return least
    known = np.isfinite(scores).all(1)
    rows, first = np.unique(G[known], axis=0, return_index=True)
    if len(rows) < c.FLIP_KNOWN:
        return least
    answer = scores[known][first].argmax(1)
    away, other = cKDTree(rows).query(rows, k=2)
    own = Z[known][first]
    apart = np.maximum(away[:, 1], np.linalg.norm(own - own[other[:, 1]], axis=1))
    flips, share = answer != answer[other[:, 1]], 0.0
    for k, radius in enumerate(c.FLIP_RADII):
        near = apart < radius * nearest
        share = float(flips[near].mean()) if near.sum() >= c.FLIP_KNOWN else share
        least[k] = max(least[k], c.FLIP_MARGIN * share)
    return np.asarray(np.minimum(least, 1.0), np.float64)


def symmetric_rate(G: Floats, rng: np.random.Generator) -> float:
    """E5's tolerated rate: how often ordinary rows, one after the other, look like probes in pairs by chance.

    Rare among rows of many values, ordinary where few fields with few values leave few steps to take. The larger of twice the rate of
    random reference rows, and one and a half times that of the worst of harder clients: tails of a column, and sorted exports.

    Args:
        G: (n, coordinates) positions.
        rng: draws the rows.
    """
    n = len(G)
    nominal = _pair_rate(G[rng.integers(0, n, c.SYMMETRIC_ROWS)])
    harder = []
    for column in G.T:
        order, size = np.argsort(column, kind="stable"), int(c.JOINT_LEFT_OUT[0] * n)
        harder += [rng.permutation(order[:size]), rng.permutation(order[n - size :])]
    for direction in rng.normal(size=(c.SYMMETRIC_SORTS, G.shape[1])) / np.maximum(G.std(0), 1e-9):
        harder.append(np.argsort(G @ direction))
    worst = max((_pair_rate(G[path[: c.SYMMETRIC_ROWS]]) for path in harder if len(path) >= c.SYMMETRIC_PATH), default=0.0)
    return float(max(c.SYMMETRIC_U, 2 * nominal, c.SYMMETRIC_MARGIN * worst))


def _pair_rate(path: Floats) -> float:
    """Share of the steps of a path (n, coordinates) that `consecutive` takes for probes in pairs."""
    steps = np.diff(path, axis=0)
    steps = steps[(steps != 0).any(1)]
    if len(steps) < 3:
        return 0.0
    length = np.linalg.norm(steps, axis=1)
    opposite = np.zeros(len(steps), bool)
    if path.shape[1] >= c.OPPOSITE_DIMENSIONS:
        octave, unit = np.floor(c.OPPOSITE_OCTAVE * np.log2(length)), steps / length[:, None]
        for lag in range(1, min(c.OPPOSITES, len(steps) - 1) + 1):
            alike = np.abs(octave[lag:] - octave[:-lag]) <= 2
            opposite[lag:] |= alike & ((unit[lag:] * unit[:-lag]).sum(1) < -c.OPPOSITE_COSINE)
        opposite &= (steps == 0).mean(1) <= c.OPPOSITE_EQUAL
    step, before, earlier = steps[2:], steps[1:-1], steps[:-2]
    centre = before + step / 2
    v2 = (centre**2).sum(1)
    along = np.abs((centre * earlier).sum(1)) > c.SYMMETRIC_COSINE * np.sqrt(v2) * length[:-2]
    turned = np.abs((step * earlier).sum(1)) < c.SYMMETRIC_TURN * length[:-2] * length[2:]
    hit = opposite[2:] | (v2 < c.SYMMETRIC_CENTRE**2 * length[2:] ** 2) | (along & turned)
    return float(hit.mean())


def bisection_rate(G: Floats, rng: np.random.Generator) -> float:
    """E9's tolerated rate: twice how often a random reference row halves the way between the two nearest of RING others.

    Args:
        G: (n, coordinates) positions.
        rng: draws the rows.
    """
    hits = 0
    for _ in range(c.BISECTION_ROWS):
        row, *others = G[rng.integers(0, len(G), c.RING + 1)]
        away = np.array(others) - row
        d2 = (away**2).sum(1)
        a, b = np.argsort(np.where(d2 > 0, d2, np.inf))[:2]
        if d2[a] > 0 and d2[b] > 0:
            hits += bool(d2[b] <= (1 + c.BISECTION_EQUAL) * d2[a] and ((away[a] + away[b]) ** 2).sum() <= c.BISECTION_CENTRE**2 * d2[a])
    return float(max(c.BISECTION_U, 2 * hits / c.BISECTION_ROWS))


def flat_rates(Y: Floats, limit: NDArray[np.bool_], edit_share: float, rng: np.random.Generator) -> Floats:
    """E2's tolerated rates (3,): how often the step from a reference row to the nearest of FLAT_LEAST or MEMORY others is that flat.

    Args:
        Y: (n, fields) sampled values in units of their range.
        limit: (n, fields) where the value is the column's minimum or maximum.
        edit_share: rows that share so much with one of the last RING are no trials: where few fields have few values those are most,
            and the others are flat far more often.
        rng: draws the rows.
    """
    n, fields = Y.shape
    least = 3 if fields < 8 else fields // 2
    found = []
    for k in range(80):
        others = Y[rng.choice(n, min((c.FLAT_LEAST, c.MEMORY)[k % 2], n - 1), replace=False)]
        for a in rng.integers(0, n, 8):
            if (others[: c.RING] == Y[a]).mean(1).max() >= edit_share:
                continue
            step = np.abs(others - Y[a])
            step = step[step.sum(1) > 0]
            if not len(step):
                continue
            nearest = step[(step**2).sum(1).argmin()]
            moved = nearest[(nearest > 1e-4) | ~limit[a]]
            found.append(moved.mean() / np.sqrt((moved**2).mean()) if len(moved) >= least else 0.0)
    rates = (np.array(found)[:, None] > c.FLATNESS).mean(0) if found else np.ones(3)
    return np.maximum(c.FLAT_U, 2 * rates + c.FLAT_UNSURE / max(len(found), 1))
