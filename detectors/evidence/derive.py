"""From a batch of raw rows to the few columns that the streaming kernel needs: scaled, projected, sampled, coded.

Compiled loops rather than BLAS calls: a BLAS result may depend on where in the batch a row stands, and then an exact repeat would no
longer be exact and a batch's cuts would matter.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from detectors.evidence import constants as c
from detectors.evidence.compiled import FINGERPRINT, STALE, call
from detectors.evidence.generated import judge
from detectors.evidence.hashing import hashed
from detectors.evidence.middle import from_middle
from detectors.evidence.reference import EvidenceReference
from detectors.evidence.sampled import code_of, steps_per_unit

RESIDUAL_STEPS = 256  # residuals are kept as int16 in steps of 1/256
_ZCLIP = np.float32(c.RESIDUAL_CLIP)
_PCLIP = np.float32(c.PROJECTION_CLIP)


class Columns(NamedTuple):
    """One batch, derived; n rows."""

    position: NDArray[np.float32]  # (n, projections) scaled, or projected to 16
    residual: NDArray[np.int16]  # (n, targets) joint residual in steps of 1/256
    value: NDArray[np.uint8]  # (n, fields) hash of each sampled value, to compare for equality
    code: NDArray[np.uint8]  # (n, fields) sampled value in steps of .012 of its range
    # (n, fields) bit 0: at the reference's minimum or maximum, or beyond; of a column of few values bit 1: not this one, bit 2: beyond
    limit: NDArray[np.uint8]
    remarkable: NDArray[np.int32]  # (n,) rare limit values in the row; JOINT_DEFAULT when it holds a rare default
    missing: NDArray[np.int32]  # (n,) values that were not numbers
    level: NDArray[np.uint8]  # (n,) how many of E12's limits the row is above
    away: NDArray[np.uint8]  # (n,) how many of E8's limits it is from the middle


def derive(reference: EvidenceReference, X: NDArray[np.float32]) -> Columns:
    """The kernel's columns of raw rows (n, d); .4 us a row at 20 columns, 4 us at 784. NaN counts as the reference's median."""
    n = len(X)
    r = reference
    targets, d = r.residual_weights.shape
    fields = len(r.sampled)
    out = Columns(
        np.empty((n, len(r.projection) or d), np.float32),
        np.empty((n, targets), np.int16),
        np.empty((n, fields), np.uint8),
        np.empty((n, fields), np.uint8),
        np.empty((n, fields), np.uint8),
        np.empty(n, np.int32),
        np.empty(n, np.int32),
        np.empty(n, np.uint8),
        np.empty(n, np.uint8),
    )
    call(
        _derive, np.ascontiguousarray(X),
        r.centre, r.inverse_scale, r.projection, r.residual_weights, r.residual_offset, r.remarkable, out.position,
        out.residual, out.remarkable, out.missing, r.curved_targets, r.curved_knots, r.curved_coefficients, r.curved_scale,
    )  # fmt: skip
    call(
        _sample,
        X,
        r.centre,
        r.sampled,
        r.sampled_low,
        r.sampled_high,
        r.sampled_anchor,
        steps_per_unit(r.sampled_range),
        r.coarse,
        r.occurring,
        out.value,
        out.code,
        out.limit,
    )
    call(judge, X, r.sampled, out.code, r.look, r.generated, out.level)
    call(from_middle, out.code, r.middle, out.away)
    return out


@njit(cache=True, fastmath={"contract", "nsz"})
def _derive(
    X: Any, centre: Any, inverse_scale: Any, projection: Any, weights: Any, offset: Any, remarkable: Any, position: Any, residual: Any,
    rare: Any, missing: Any, curved: Any, knots: Any, coefficients: Any, scale: Any, fingerprint: int,
) -> int:  # fmt: skip
    if fingerprint != FINGERPRINT:
        return STALE
    n, d = X.shape
    targets, projections = len(weights), len(projection)
    z = np.empty(d, np.float32)
    zc = np.empty(d, np.float32)
    r = np.empty(targets, np.float32)
    terms = np.empty(coefficients.shape[0], np.float32)
    predicted = np.empty(len(curved), np.float32)
    held = np.empty(7, np.int64)
    for i in range(n):
        x = X[i]
        bad = 0
        for j in range(d):
            v = np.float32((np.float64(x[j]) - centre[j]) * inverse_scale[j])
            v = np.float32(0) if x[j] != x[j] else v
            z[j] = min(max(v, -_PCLIP), _PCLIP)
            zc[j] = min(max(v, -_ZCLIP), _ZCLIP)
        for j in range(d):
            bad += x[j] != x[j]
        missing[i] = bad
        for k in range(7):
            times = 0
            for j in range(d):
                times += x[j] == remarkable[k, j]
            held[k] = times
        rare[i] = c.JOINT_DEFAULT if held[4] + held[5] + held[6] else held[:4].max()
        for t in range(targets):
            r[t] = _dot(zc, weights[t]) - offset[t]
        if projections:
            for t in range(projections):
                position[i, t] = _dot(z, projection[t])
        else:
            position[i] = z
        if len(curved):
            _predict(zc, knots, coefficients, terms, predicted)
            for k in range(len(curved)):
                r[curved[k]] = (zc[curved[k]] - predicted[k]) / scale[k]
        for t in range(targets):
            residual[i, t] = np.int16(min(max(np.rint(r[t] * np.float32(RESIDUAL_STEPS)), np.float32(-32767)), np.float32(32767)))
    return int(n)


@njit(fastmath={"contract", "nsz", "reassoc"})
def _dot(a: Any, b: Any) -> Any:
    """In the compiler's order of additions, which depends on the length alone."""
    total = np.float32(0)
    for j in range(len(a)):
        total += a[j] * b[j]
    return total


@njit(fastmath={"contract", "nsz"})
def _predict(z: Any, knots: Any, coefficients: Any, terms: Any, predicted: Any) -> None:
    """The curved columns from the others: the same terms, in the same order, as `detectors.evidence.residual.terms`."""
    d = len(z)
    terms[0] = 1
    m = 1 + 4 * d
    for a in range(d):
        za = min(max(z[a], np.float32(-4)), np.float32(4))
        terms[1 + a] = za
        for k in range(3):
            terms[1 + (k + 1) * d + a] = max(za - knots[k, a], np.float32(0))
        for b in range(a, d):
            terms[m] = za * min(max(z[b], np.float32(-4)), np.float32(4))
            m += 1
    predicted[:] = 0
    for t in range(m):
        for k in range(len(predicted)):
            predicted[k] += terms[t] * coefficients[t, k]


@njit(cache=True)
def _sample(
    X: Any, centre: Any, sampled: Any, low: Any, high: Any, anchor: Any, steps: Any, coarse: Any, occurring: Any, value: Any,
    code: Any, limit: Any, fingerprint: int,
) -> int:  # fmt: skip
    if fingerprint != FINGERPRINT:
        return STALE
    one = np.empty(1, np.float32)
    bits = one.view(np.uint32)
    for i in range(len(X)):
        for f in range(len(sampled)):
            x = X[i, sampled[f]]
            x = np.float32(centre[sampled[f]]) if x != x else x
            one[0] = x + np.float32(0)  # -0 is 0
            h = hashed(bits[0])
            value[i, f] = h
            code[i, f] = np.uint8(code_of(np.float64(x), anchor[f], steps[f]))
            limit[i, f] = (x <= low[f]) | (x >= high[f])
            if coarse[f]:
                limit[i, f] += 2 * (occurring[f, h] == 0) + 4 * ((x < low[f]) | (x > high[f]))
    return len(X)
