"""How badly a row breaks the joint distribution of its columns: each column against all others, linear or curved.

The residual of column t given the rest is ``r_t = (z - m) Omega_t / sqrt(Omega_tt)`` with Omega the inverse of the Ledoit-Wolf shrunk
covariance (Ledoit and Wolf, "A well-conditioned estimator for large-dimensional covariance matrices", J. Multivariate Analysis 2004):
variance one on the data it was fitted to. Columns that are curved functions of others get a ridge regression instead.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detectors.evidence import constants as c

Floats = NDArray[np.float64]


def ledoit_wolf(Z: Floats) -> tuple[Floats, Floats]:
    """The mean of the rows and their shrunk covariance (never singular).

    Example:
        >>> m, S = ledoit_wolf(np.random.default_rng(0).normal(size=(40, 60)))
        >>> bool(np.linalg.eigvalsh(S).min() > .1)     # although 40 rows span only 39 of the 60 dimensions
        True
    """
    n, d = Z.shape
    m = Z.mean(0)
    Y = Z - m
    S = Y.T @ Y / n
    mu = max(float(np.trace(S)) / d, 1e-6)
    spread = float(((S - mu * np.eye(d)) ** 2).sum())
    noise = min(spread, float(((Y**2).sum(1) ** 2).sum()) / n**2 - float((S**2).sum()) / n)
    weight = max(noise / spread, 0.01) if spread > 0 else 1.0
    return m, (1 - weight) * S + weight * mu * np.eye(d)


@dataclass(frozen=True)
class Curved:
    """Ridge regression of the curved columns on the other columns, their hinges and products."""

    columns: NDArray[np.int64]  # (k,) which residuals it replaces
    knots: Floats  # (3, d)
    coefficients: Floats  # (1 + 4 d + d (d + 1) / 2, k)
    scale: Floats  # (k,) rms residual


@dataclass(frozen=True)
class Residual:
    """``(Z - mean) @ weights``, some columns replaced by `Curved`."""

    mean: Floats  # (d,)
    weights: Floats  # (d, targets)
    curved: Curved | None

    def __call__(self, Z: Floats) -> Floats:
        """Residuals (n, targets), about unit variance, of clipped standardised rows (n, d)."""
        R: Floats = (Z - self.mean) @ self.weights
        if self.curved is not None:
            k = self.curved
            R[:, k.columns] = (Z[:, k.columns] - terms(Z, k.knots) @ k.coefficients) / k.scale
        return R


def terms(Z: Floats, knots: Floats) -> Floats:
    """Regression terms (n, 1 + 4 d + d (d + 1) / 2): one, z, hinges at the quartiles, products; z clipped at 4."""
    Z = np.clip(Z, -4, 4)
    a, b = np.triu_indices(Z.shape[1])
    return np.concatenate([np.ones((len(Z), 1)), Z, *[np.maximum(Z - k, 0) for k in knots], Z[:, a] * Z[:, b]], axis=1)


def _ridge(F: Floats, Z: Floats) -> tuple[Floats, Floats]:
    """Each column of Z on the terms it has no part in: coefficients (terms, d) and rms residual (d,)."""
    d = Z.shape[1]
    j = np.arange(d)
    a, b = np.triu_indices(d)
    first = np.concatenate([[-1], j, j, j, j, a])
    second = np.concatenate([[-1], j, j, j, j, b])
    gram, moments = F.T @ F, F.T @ Z
    B = np.zeros((F.shape[1], d))
    for t in range(d):
        free = np.flatnonzero((first != t) & (second != t))
        A = gram[np.ix_(free, free)]
        B[free, t] = np.linalg.solve(A + c.RIDGE * len(F) * np.diag(np.diag(A) / len(F) + 1e-3), moments[free, t])
    return B, np.maximum(np.sqrt(((Z - F @ B) ** 2).mean(0)), 0.02)


def fit_residual(Z: Floats, targets: NDArray[np.int64], curved: NDArray[np.bool_], knots: Floats | None) -> Residual:
    """The residual model of clipped standardised rows.

    Args:
        Z: (n, d).
        targets: columns that get a residual.
        curved: (d,) the columns judged by regression; needs ``knots`` (3, d) when any is set.
        knots: quartiles of the columns.
    """
    m, S = ledoit_wolf(Z)
    omega = np.linalg.inv(S)
    W = omega[:, targets] / np.sqrt(np.diag(omega))[targets]
    if knots is None or not curved.any():
        return Residual(m, W, None)
    columns = np.flatnonzero(curved)
    B, scale = _ridge(terms(Z, knots), Z)
    coefficients = np.ascontiguousarray(B[:, columns])  # numba would compile the kernel again for another order
    return Residual(m, W, Curved(columns, knots, coefficients, scale[columns]))


def find_curved(Z: Floats, fold: NDArray[np.int64], knots: Floats) -> NDArray[np.bool_]:
    """Which columns (d,) the regression predicts clearly better than the linear model, on rows left out of both fits."""
    n, d = Z.shape
    linear, curved = np.zeros((n, d)), np.zeros((n, d))
    F = terms(Z, knots)
    for k in range(5):
        left, out = fold != k, fold == k
        if not out.any():
            continue
        linear[out] = fit_residual(Z[left], np.arange(d), np.zeros(d, bool), None)(Z[out])
        B, scale = _ridge(F[left], Z[left])
        curved[out] = (Z[out] - F[out] @ B) / scale
    # both in units of z: a linear residual of unit variance stands for 1 / sqrt(Omega_tt)
    to_z = 1 / np.sqrt(np.diag(np.linalg.inv(ledoit_wolf(Z)[1])))
    _, scale = _ridge(F, Z)
    log_linear = np.log(np.abs(linear * to_z) + 1e-3).mean(0)
    log_curved = np.log(np.abs(curved * scale) + 1e-3).mean(0)
    found: NDArray[np.bool_] = log_curved < log_linear - c.CURVED_GAIN
    return found


def energy(D: Floats) -> Floats:
    """Log mean capped square over the targets (n,) of residual differences (n, targets)."""
    e: Floats = np.log(np.minimum(D**2, c.JOINT_CAP_ENERGY).mean(1) + 1e-4)
    return e
