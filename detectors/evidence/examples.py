"""What E12 learns from: rows made from the reference, and rows met, which ordinary clients send."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from detectors.evidence.residual import Floats, ledoit_wolf
from detectors.evidence.sampled import Sampled, sendable


def made(rows: Floats, columns: Sampled, k: int, rng: np.random.Generator) -> Floats:
    """About ``k`` rows (., F) made from ``rows`` in eight ways, without the values that no caller of the service could send.

    Averages of two; Gaussian noise around one; columns shuffled, uniform, Gaussian each; Gaussian together; equal steps in all
    columns; noise around a place between two. Whole-number columns are rounded in three of four rows.
    """
    n, fields = rows.shape
    m, mean, sd = k // 8, rows.mean(0), np.maximum(rows.std(0), 1e-9)
    _, covariance = ledoit_wolf((rows - mean) / sd)
    spread = np.quantile(rows, 0.95, axis=0) - np.quantile(rows, 0.05, axis=0)

    def some() -> Floats:
        return rows[rng.integers(0, n, m)]

    weight, other = rng.uniform(0.2, 0.8, (2, m, 1))
    sphere = rng.normal(size=(m, fields))
    sphere /= np.linalg.norm(sphere, axis=1, keepdims=True)
    out = [
        weight * some() + (1 - weight) * some(),
        some() + rng.choice([0.2, 0.4], (m, 1)) * sd * rng.normal(size=(m, fields)),
        np.stack([rng.choice(column, m) for column in rows.T], axis=1),
        rng.uniform(rows.min(0), rows.max(0), (m, fields)),
        mean + sd * rng.normal(size=(m, fields)),
        mean + sd * (rng.normal(size=(m, fields)) @ np.linalg.cholesky(covariance).T),
        some() + rng.choice([0.05, 0.1, 0.2], (m, 1)) * spread * rng.choice([-1, 1], (m, fields)),
        other * some() + (1 - other) * some() + rng.choice([0.03, 0.1], (m, 1)) * np.sqrt(fields) * sphere * sd,
    ]
    return sendable(np.concatenate(out), rows, columns, rng)


def met(rows: Floats, columns: Sampled, k: int, rng: np.random.Generator) -> Floats:
    """About ``k`` rows (., F) of ordinary clients: four of ten as they are, the others changed in six ways.

    Some columns in other units; fields filled with 0, the median or the mean; rounded to coarse steps; a few fields of another row; an
    instrument's noise; some columns moved.
    """
    n, fields = rows.shape
    m, sd = k // 10, np.maximum(rows.std(0), 1e-9)

    def some(times: int = 1) -> Floats:
        return rows[rng.integers(0, n, times * m)]

    def mask(*shares: float) -> NDArray[np.bool_]:
        return np.asarray(rng.random((m, fields)) < rng.choice(shares, (m, 1)))

    default = np.stack([np.zeros(fields), np.median(rows, axis=0), rows.mean(0)])[rng.choice(3, m, p=[0.5, 0.25, 0.25])]
    coarse = sd * rng.choice([0.125, 0.25, 0.5], (m, 1))
    out = [
        some(4),
        some() * np.where(mask(0.1, 0.3), rng.uniform(0.7, 1.4, (m, fields)), 1),
        np.where(mask(0.1, 0.25), default, some()),
        np.round(some() / coarse) * coarse,
        np.where(mask(0.12), some(), some()),
        some() + rng.choice([0.03, 0.1], (m, 1)) * sd * rng.normal(size=(m, fields)),
        some() + rng.choice([0.3, 0.6], (m, 1)) * sd * rng.choice([-1, 0, 1], (m, fields), p=[0.15, 0.7, 0.15]),
    ]
    return sendable(np.concatenate(out), rows, columns, rng)
