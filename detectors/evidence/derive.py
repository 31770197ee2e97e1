"""From a batch of raw rows to the few columns that the streaming kernel needs: scaled, projected, sampled, coded.

Written as loops with a fixed order of additions rather than as BLAS calls: a BLAS result may depend on where in the batch a row stands,
and then an exact repeat would no longer be exact.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from detectors.evidence import constants as c
from detectors.evidence.reference import EvidenceReference

RESIDUAL_STEPS = 256  # residuals are kept as int16 in steps of 1/256
_ZCLIP = np.float32(c.RESIDUAL_CLIP)
_PCLIP = np.float32(c.PROJECTION_CLIP)
_LOW, _HIGH, _QUANTUM, _ZERO = c.CODE_LOW, c.CODE_HIGH, c.QUANTUM, c.CODE_ZERO
_DEFAULT = c.JOINT_DEFAULT


class Columns(NamedTuple):
    """One batch, derived; n rows."""

    position: NDArray[np.float32]  # (n, projections) scaled, or projected to 16
    residual: NDArray[np.int16]  # (n, targets) joint residual in steps of 1/256
    value: NDArray[np.uint8]  # (n, fields) hash of each sampled value, to compare for equality
    code: NDArray[np.uint8]  # (n, fields) sampled value in steps of .012 of its range
    limit: NDArray[np.uint8]  # (n, fields) 1 where the sampled value is at the reference's minimum or maximum, or beyond
    remarkable: NDArray[np.int32]  # (n,) rare limit values in the row; JOINT_DEFAULT when it holds a rare default
    missing: NDArray[np.int32]  # (n,) values that were not numbers


def derive(reference: EvidenceReference, X: NDArray[np.float32]) -> Columns:
    """The kernel's columns of raw rows (n, d); .4 us a row at 20 columns, 4 us at 784. NaN counts as the reference's median."""
    n = len(X)
    r = reference
    d, targets = r.residual_weights.shape
    fields = len(r.sampled)
    out = Columns(
        np.empty((n, r.projection.shape[1] or d), np.float32),
        np.empty((n, targets), np.int16),
        np.empty((n, fields), np.uint8),
        np.empty((n, fields), np.uint8),
        np.empty((n, fields), np.uint8),
        np.empty(n, np.int32),
        np.empty(n, np.int32),
    )
    _derive(
        np.ascontiguousarray(X), r.centre, r.inverse_scale, r.projection, r.residual_weights, r.residual_offset, r.remarkable, out.position,
        out.residual, out.remarkable, out.missing, r.curved_targets, r.curved_knots, r.curved_coefficients, r.curved_scale,
    )  # fmt: skip
    _sample(X, r.centre, r.sampled, r.sampled_low, r.sampled_high, 1 / r.sampled_range, out.value, out.code, out.limit)
    return out


@njit(cache=True, fastmath={"contract", "nsz"})
def _derive(
    X: Any, centre: Any, inverse_scale: Any, projection: Any, weights: Any, offset: Any, remarkable: Any, position: Any, residual: Any,
    rare: Any, missing: Any, curved: Any, knots: Any, coefficients: Any, scale: Any,
) -> None:  # fmt: skip
    n, d = X.shape
    targets = weights.shape[1]
    project = projection.shape[1] > 0
    z = np.empty(d, np.float32)
    zc = np.empty(d, np.float32)
    r = np.empty(targets, np.float32)
    g = np.empty(position.shape[1], np.float32)
    terms = np.empty(coefficients.shape[0], np.float32)
    predicted = np.empty(len(curved), np.float32)
    for i in range(n):
        bad = 0
        e0 = e1 = e2 = e3 = defaults = 0
        for j in range(d):
            x = X[i, j]
            bad += x != x
            e0 += x == remarkable[0, j]
            e1 += x == remarkable[1, j]
            e2 += x == remarkable[2, j]
            e3 += x == remarkable[3, j]
            defaults += (x == remarkable[4, j]) | (x == remarkable[5, j]) | (x == remarkable[6, j])
            v = np.float32((np.float64(x) - centre[j]) * inverse_scale[j])
            v = np.float32(0) if x != x else v
            z[j] = min(max(v, -_PCLIP), _PCLIP)
            zc[j] = min(max(v, -_ZCLIP), _ZCLIP)
        missing[i] = bad
        rare[i] = _DEFAULT if defaults else max(max(e0, e1), max(e2, e3))
        r[:] = -offset
        for j in range(d):
            zj = zc[j]
            for t in range(targets):
                r[t] += zj * weights[j, t]
        if project:
            g[:] = 0
            for j in range(d):
                zj = z[j]
                for t in range(g.shape[0]):
                    g[t] += zj * projection[j, t]
            position[i] = g
        else:
            position[i] = z
        if len(curved):
            _predict(zc, knots, coefficients, terms, predicted)
            for k in range(len(curved)):
                r[curved[k]] = (zc[curved[k]] - predicted[k]) / scale[k]
        for t in range(targets):
            residual[i, t] = np.int16(min(max(np.rint(r[t] * np.float32(RESIDUAL_STEPS)), np.float32(-32767)), np.float32(32767)))


@njit(cache=True, fastmath={"contract", "nsz"})
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
def _sample(X: Any, centre: Any, sampled: Any, low: Any, high: Any, inverse_range: Any, value: Any, code: Any, limit: Any) -> None:
    one = np.empty(1, np.float32)
    bits = one.view(np.uint32)
    for i in range(len(X)):
        for f in range(len(sampled)):
            x = X[i, sampled[f]]
            x = np.float32(centre[sampled[f]]) if x != x else x
            one[0] = x + np.float32(0)  # -0 is 0
            h = bits[0]
            h = (h ^ (h >> np.uint32(16))) * np.uint32(0x85EBCA6B)  # the finaliser of MurmurHash3
            h = (h ^ (h >> np.uint32(13))) * np.uint32(0xC2B2AE35)
            value[i, f] = np.uint8(h >> np.uint32(24))
            t = (np.float64(x) - low[f]) * inverse_range[f]
            code[i, f] = np.uint8(_ZERO + np.rint(min(max(t, _LOW), _HIGH) / _QUANTUM))
            limit[i, f] = (x <= low[f]) | (x >= high[f])
