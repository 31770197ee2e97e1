"""What ordinary rows look like, fitted once from the reference and then frozen."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from detectors.evidence import calibrate
from detectors.evidence import constants as c
from detectors.evidence.calm import Calm, fit_calm, no_calm
from detectors.evidence.generated import Generated, fit_generated
from detectors.evidence.hashing import occurring
from detectors.evidence.independence import Bond, fit_bond
from detectors.evidence.middle import Middle, averages, fit_middle
from detectors.evidence.residual import Floats, Residual, fit_residual
from detectors.evidence.sampled import Sampled
from detectors.evidence.second_look import Look, fit_look
from detectors.evidence.sound import check
from detectors.state import pack, reading, unpack

_KIND, _VERSION = "evidence.reference", 14
Float32s = NDArray[np.float32]


@dataclass(frozen=True)
class EvidenceReference:
    """Which rows are ordinary, and how often ordinary clients do what attackers do: everything `ClientEvidence` compares with.

    Scaling ``z = (x - median) / s``, ``s = max(IQR / 1.349, .3 sd, 1 % of the bounds)``, pictures one rms sd for all pixels. The other
    yardsticks are described where they are measured (`detectors.evidence.calibrate`) and the constants in `detectors.evidence.constants`.
    It misleads where the present population is not the reference's: then every client's rows look improbable together.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> X = rng.normal(size=(400, 3)).astype(np.float32)
        >>> reference = EvidenceReference.fit(X, np.empty((400, 0), np.float32), None, low=np.full(3, -9.), high=np.full(3, 9.))
        >>> EvidenceReference.from_bytes(reference.to_bytes()).width
        3
    """

    width: int
    image: bool
    rows: int  # reference rows used
    centre: Floats  # (d,) median
    inverse_scale: Floats  # (d,)
    residual_weights: Float32s  # (targets, d)
    residual_offset: Float32s  # (targets,)
    curved_targets: NDArray[np.int64]  # (k,) which residuals the regression replaces
    curved_knots: Float32s  # (3, d), or (0, d)
    curved_coefficients: Float32s  # (terms, k)
    curved_scale: Float32s  # (k,)
    projection: Float32s  # (16, d), or (0, d) where the row itself is kept (d <= 16)
    remarkable: Float32s  # (7, d) limits and defaults that are rare in the reference; NaN where they are not
    sampled: NDArray[np.int64]  # (fields,) columns whose values are remembered
    sampled_low: Floats  # (fields,) reference minimum
    sampled_high: Floats
    sampled_anchor: Floats  # (fields,) value of the code `CODE_ZERO`: the minimum, or nearer to the bulk where that is far away
    sampled_range: Floats  # (fields,) 5-95 %
    coarse: NDArray[np.bool_]  # (fields,) fewer than 34 values; of pictures, all pixels together
    occurring: NDArray[np.uint8]  # (fields, 256) 1 for hashes of values that occur
    nearest: float  # median nearest-neighbour distance
    far: float  # median distance of random pairs
    equal_share: float
    edit_share: float
    repeated_share: float
    fresh_share: float
    joint_limits: Floats  # (4,) log energy
    joint_rates: Floats  # (4,)
    smooth_limit: float  # log energy
    smooth_rate: float
    smooth_halved: float  # share of the reference's rows below the limit if their energy were halved
    flat_rates: Floats  # (3,)
    flip_rates: Floats  # (3,)
    symmetric_rate: float
    bisection_rate: float
    look: Look
    middle: Middle
    calm: Calm
    bond: Bond
    generated: Generated

    @classmethod
    def fit(
        cls,
        X: Float32s,
        scores: Float32s,
        member: NDArray[np.bool_] | None,
        *,
        low: ArrayLike,
        high: ArrayLike,
        image: tuple[int, ...] | None = None,
        seed: int = 0,
    ) -> Self:
        """Fits the reference; at most 4,000 rows are used, 1-3 s at 20 columns, a few seconds at 784.

        Args:
            X: (n, d) float32 in raw units and schema order, categories as codes; NaN becomes the column's median.
            scores: (n, classes) of the rows: how often ordinary neighbours are answered differently; or (n, 0), unknown.
            member: (n,) training rows, or None. Checked only.
            low: (d,) bounds of the schema; infinite or NaN where unknown, then the reference's own.
            high: (d,) likewise.
            image: (height, width[, channels]) where a row is a picture.
            seed: of the sampling and folds.

        Raises:
            ValueError: fewer than 50 rows, wrong widths, or rows that are all the same.
        """
        rows, lo, hi, centre = _checked(X, scores, member, low, high, image)
        rng = np.random.default_rng(seed)
        if len(rows) > c.MAX_REFERENCE_ROWS:
            some = rng.choice(len(rows), c.MAX_REFERENCE_ROWS, replace=False)
            rows, scores = rows[some], scores[some]
        n, d = rows.shape
        sd = rows.std(0)
        scale = _scale(rows, sd, lo, hi, image is not None)
        clipped = np.clip((rows - centre) / scale, -c.RESIDUAL_CLIP, c.RESIDUAL_CLIP)

        seen, group = rows, np.arange(n)  # rows as a service may see them
        if image is not None:
            seen, group = calibrate.moved_pictures(rows, image, rng), np.tile(group, 5)
            if len(seen) > c.MAX_REFERENCE_ROWS:
                kept = rng.choice(len(seen), c.MAX_REFERENCE_ROWS, replace=False)
                seen, group = seen[kept], group[kept]
        Z = np.clip((seen - centre) / scale, -c.RESIDUAL_CLIP, c.RESIDUAL_CLIP)
        targets = np.arange(d) if d <= c.TARGETS else np.sort(rng.choice(d, c.TARGETS, replace=False))
        per_row = np.asarray(rng.integers(0, 5, n))
        fold = per_row[group]
        curved, knots = calibrate.curved_columns(Z, fold, image is not None)
        residual = fit_residual(Z, targets, curved, knots)
        joint_limits, joint_rates = calibrate.joint_rates(Z, seen, targets, fold, curved, knots, image is not None, rng)
        smooth_limit, smooth_rate, smooth_halved = calibrate.smooth_limit(
            Z, targets, fold, clipped, per_row, curved, knots, np.random.default_rng(seed)
        )

        projection = rng.normal(size=(d, c.COORDINATES)) / np.sqrt(c.COORDINATES) if d > c.COORDINATES else np.empty((d, 0))
        nearest, far = calibrate.distances(clipped, rng)
        nearest = max(nearest, c.NEAR_LEAST * far)
        varied = np.flatnonzero(_live(sd))
        varied = varied if len(varied) >= 3 else np.arange(d)
        sampled = np.sort(rng.choice(varied, min(c.COORDINATES, len(varied)), replace=False))
        smallest, largest = rows.min(0), rows.max(0)
        fifth, spread = np.quantile(rows, 0.05, axis=0), np.quantile(rows, 0.95, axis=0) - np.quantile(rows, 0.05, axis=0)
        spread = np.full(d, np.median(hi - lo)) if image is not None else np.where(spread > 0, spread, hi - lo)
        spread = np.where(spread > 0, spread, 1.0)
        anchor = smallest if image is not None else np.maximum(smallest, fifth - c.CODE_ZERO * c.QUANTUM * spread)
        H = rows[:, sampled]
        equal_share = calibrate.equal_share(H, rows, rng)
        edit_share = c.EDIT_SHARE_NARROW if len(sampled) <= 5 else min(max(c.EDIT_SHARE, equal_share + 0.01), 0.99)
        repeated_share = calibrate.repeated_share(H, smallest[sampled], largest[sampled], rng)
        coarse, occur = _recurring(H, rows if image is not None else None)
        limit = (smallest[sampled] + 1e-9 >= H) | (largest[sampled] - 1e-9 <= H)
        flat_rates = calibrate.flat_rates(H / spread[sampled], limit, edit_share, rng)
        step = c.QUANTUM * spread[sampled] / scale[sampled]
        zero = (anchor[sampled] - centre[sampled]) / scale[sampled] - c.CODE_ZERO * step
        columns = Sampled(anchor[sampled], spread[sampled], lo[sampled], hi[sampled], step, zero)
        code = columns.coded(H)
        bent = curved if len(sampled) == d else np.zeros(len(sampled), bool)
        look = fit_look(clipped[:, sampled], code, columns, bent, np.random.default_rng(seed))
        parts = np.random.default_rng(seed)
        clusterings = [calibrate.clusters(clipped[:, sampled], k, parts) for k in c.INDEPENDENT_CLUSTERS]
        between = np.random.default_rng(seed)
        middle = fit_middle(code, columns.coded(averages(H, columns, c.MIDDLE_AVERAGES, between)), between)
        calm = no_calm(len(sampled)) if image is not None else fit_calm(H, clipped, columns, middle, look, between)
        bond = fit_bond(code, step, clusterings, image is not None, np.random.default_rng(seed))
        generated = fit_generated(H, columns, clusterings, image is not None, np.random.default_rng(seed))
        position = clipped @ projection if projection.size else clipped
        return cls(
            width=d,
            image=image is not None,
            rows=n,
            centre=centre,
            inverse_scale=1 / scale,
            sampled=sampled,
            sampled_low=smallest[sampled],
            sampled_high=largest[sampled],
            sampled_anchor=anchor[sampled],
            sampled_range=spread[sampled],
            coarse=coarse,
            occurring=occur,
            projection=np.ascontiguousarray(projection.T, np.float32),
            remarkable=_remarkable(rows, lo, hi, centre, defaults=image is None),
            nearest=nearest,
            far=far,
            equal_share=equal_share,
            edit_share=2.0 if image is not None else edit_share,  # pictures are not edited field by field
            repeated_share=repeated_share,
            fresh_share=calibrate.fresh_share(H, edit_share, np.random.default_rng(seed)),
            joint_limits=joint_limits,
            joint_rates=joint_rates,
            smooth_limit=smooth_limit,
            smooth_rate=smooth_rate,
            smooth_halved=smooth_halved,
            flat_rates=flat_rates,
            flip_rates=calibrate.flip_rates(position, clipped, scores, nearest),
            symmetric_rate=calibrate.symmetric_rate(position, rng),
            bisection_rate=calibrate.bisection_rate(position, np.random.default_rng(seed)),
            look=look,
            middle=middle,
            calm=calm,
            bond=bond,
            generated=generated,
            **_as_float32(residual, d),
        )

    def to_bytes(self) -> bytes:
        """A self-describing state; 50 KB at 20 columns, 270 KB at 784."""
        own = {field.name: getattr(self, field.name) for field in fields(self)}
        parts = {name: getattr(self, name)._asdict() for name in ("look", "middle", "calm", "bond")}
        return pack(_KIND, _VERSION, own | parts | {"generated": self.generated.to_dict()})

    @classmethod
    @reading(_KIND)
    def from_bytes(cls, blob: bytes) -> Self:
        """The reference that `to_bytes` wrote.

        Raises:
            detectors.state.StateError: damaged bytes, or of something else.
        """
        body = unpack(blob, _KIND, _VERSION)
        parts: dict[str, Any] = {"look": Look(**body["look"]), "middle": Middle(**body["middle"])}
        parts |= {"calm": Calm(**body["calm"]), "bond": Bond(**body["bond"])}
        parts |= {"generated": Generated.from_dict(body["generated"])}
        return cls(**check(body | parts))


def _recurring(H: Floats, pictures: Floats | None) -> tuple[NDArray[np.bool_], NDArray[np.uint8]]:
    """Which columns of H (n, F) have few values, and the hashes (F, 256) of those that occur.

    Of pictures, all pixels have the same levels: noise goes from one to the next, whether this pixel had that one or not.
    """
    if pictures is None:
        return np.array([_few_values(column) for column in H.T]), np.stack([occurring(column) for column in H.T])
    levels, fields = np.unique(pictures), H.shape[1]
    return np.full(fields, len(levels) < c.TWO_VALUED_DISTINCT), np.tile(occurring(levels), (fields, 1))


def _few_values(column: Floats) -> bool:
    """Whether values of the column (n,) recur by nature: there are few, or mostly the same few."""
    counts = np.unique(column, return_counts=True)[1]
    return bool(len(counts) < c.TWO_VALUED_DISTINCT or ((counts / len(column)) ** 2).sum() > c.TWO_VALUED_RECURRING)


def _checked(
    X: Float32s, scores: Float32s, member: NDArray[np.bool_] | None, low: ArrayLike, high: ArrayLike, image: tuple[int, ...] | None
) -> tuple[Floats, Floats, Floats, Floats]:
    """The rows without NaN, known bounds, medians; or a ValueError that says what is wrong."""
    if X.ndim != 2 or not X.shape[1]:
        raise ValueError(f"evidence reference: rows have shape {X.shape}, expected (n, d) with d >= 1")
    n, d = X.shape
    if n < c.MIN_REFERENCE_ROWS:
        raise ValueError(f"evidence reference: {n} rows, at least {c.MIN_REFERENCE_ROWS} are needed")
    if scores.ndim != 2 or len(scores) != n:
        raise ValueError(f"evidence reference: scores have shape {scores.shape}, expected ({n}, classes) or ({n}, 0)")
    if member is not None and member.shape != (n,):
        raise ValueError(f"evidence reference: member has shape {member.shape}, expected ({n},)")
    lo, hi = np.asarray(low, np.float64), np.asarray(high, np.float64)
    if lo.shape != (d,) or hi.shape != (d,):
        raise ValueError(f"evidence reference: bounds have shapes {lo.shape} and {hi.shape}, expected ({d},)")
    if image is not None and (len(image) not in (2, 3) or int(np.prod(image)) != d):
        raise ValueError(f"evidence reference: a picture of {image} has {int(np.prod(image))} values, rows have {d}")
    rows = np.where(np.isfinite(X), X, np.nan).astype(np.float64)
    known = np.isfinite(rows).any(0)
    centre = np.zeros(d)
    centre[known] = np.nanmedian(rows[:, known], axis=0)
    rows = np.where(np.isnan(rows), centre, rows)
    if (rows == rows[0]).all():
        raise ValueError("evidence reference: all rows are the same; there is nothing to compare a client's rows with")
    lo, hi = np.where(np.isfinite(lo), lo, rows.min(0)), np.where(np.isfinite(hi), hi, rows.max(0))
    return rows, lo, hi, centre


def _live(spread: Floats) -> NDArray[np.bool_]:
    """Columns (d,) that vary: those of a spread that is not as good as none beside the others'."""
    return np.asarray(spread > c.DEAD * np.median(spread))


def _scale(X: Floats, sd: Floats, lo: Floats, hi: Floats, image: bool) -> Floats:
    q1, q3 = np.quantile(X, [0.25, 0.75], axis=0)
    s = np.full(len(sd), np.sqrt((sd**2).mean())) if image else np.maximum((q3 - q1) / 1.349, 0.3 * sd)
    s = np.maximum(s, 0.01 * (hi - lo))
    return np.where(_live(s), s, 1.0)


def _remarkable(X: Floats, lo: Floats, hi: Floats, centre: Floats, *, defaults: bool) -> Float32s:
    """Four limits and three defaults (7, d), NaN where ordinary rows hold them too (or, for defaults, where they are a limit)."""
    out = np.full((7, X.shape[1]), np.nan, np.float32)
    for k, value in enumerate((lo, hi, X.min(0), X.max(0))):
        v = value.astype(np.float32)
        rare = (v == X).mean(0) < c.EDGE_RARE
        out[k, rare] = v[rare]
    for k, value in enumerate((centre, X.mean(0), np.zeros(X.shape[1])) if defaults else ()):
        v = value.astype(np.float32)
        rare = ((v == X).mean(0) < c.DEFAULT_RARE) & (v > lo) & (v < hi)
        out[4 + k, rare] = v[rare]
    return out


def _as_float32(residual: Residual, d: int) -> dict[str, Any]:
    k = residual.curved
    return {
        "residual_weights": np.ascontiguousarray(residual.weights.T, np.float32),
        "residual_offset": (residual.mean @ residual.weights).astype(np.float32),
        "curved_targets": np.empty(0, np.int64) if k is None else k.columns,
        "curved_knots": np.empty((0, d), np.float32) if k is None else np.ascontiguousarray(k.knots).astype(np.float32),
        "curved_coefficients": np.empty((0, 0), np.float32) if k is None else k.coefficients.astype(np.float32),
        "curved_scale": np.empty(0, np.float32) if k is None else k.scale.astype(np.float32),
    }
