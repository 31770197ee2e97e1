"""Laws of one feature, before and after a change, and what the change is worth: the Kullback-Leibler divergence.

Each law is a transform of a latent variable, so that a change of it stays within its kind: positive amounts stay positive, rounded numbers
stay rounded.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Floats = NDArray[np.float64]

MODES = 0.799906138506069
"""a of "two modes": 0.5 N(-a, 1 - a^2) + 0.5 N(a, 1 - a^2) has mean 0 and variance 1, and KL 0.0383 from N(0, 1)."""

STEP = 0.5
"""What the tied law rounds to, in standard deviations."""


class Change(NamedTuple):
    """x -> scale x + shift sd, after the latent variable got two modes or not."""

    name: str
    shift: float = 0.0
    scale: float = 1.0
    modes: bool = False


NONE = Change("none")
CHANGES = (
    Change("+0.1 sd", shift=0.1),
    Change("+0.25 sd", shift=0.25),
    Change("+0.5 sd", shift=0.5),
    Change("x1.25", scale=1.25),
    Change("two modes", modes=True),
)


class Law(NamedTuple):
    """x = out(latent), latent of density `density` symmetric about 0 with standard deviation `width`."""

    name: str
    draw: Callable[[np.random.Generator, tuple[int, ...]], Floats]
    log_density: Callable[[Floats], Floats]
    width: float
    sd: float
    """Of x."""
    skewed: bool = False
    tied: bool = False

    def sample(
        self, rng: np.random.Generator, shape: tuple[int, ...], change: Change = NONE, means: Floats | float = 0.0
    ) -> NDArray[np.float32]:
        """Rows of the changed law, float32; `means` of the latent variable are in its standard deviations."""
        latent = self.draw(rng, shape) + self.width * means
        if change.modes:
            latent = np.sqrt(1 - MODES**2) * latent + MODES * self.width * np.where(rng.random(shape) < 0.5, -1.0, 1.0)
        x = np.exp(latent) if self.skewed else latent
        x = change.scale * x + change.shift * self.sd
        return (STEP * np.round(x / STEP) if self.tied else x).astype(np.float32)

    def latent_log_density(self, z: Floats, change: Change) -> Floats:
        """Of the latent variable, with one or two modes."""
        if not change.modes:
            return self.log_density(z)
        narrow, apart = np.sqrt(1 - MODES**2), MODES * self.width
        sides = self.log_density((z - apart) / narrow), self.log_density((z + apart) / narrow)
        return np.asarray(np.logaddexp(*sides) - np.log(2 * narrow), np.float64)

    def divergence(self, change: Change) -> float:
        """KL of the changed from the unchanged law in nats per row, by quadrature."""
        z = np.sinh(np.linspace(-14, 14, 400_001)) if self.log_density is _log_t3 else np.linspace(-20, 20, 400_001)
        if self.tied:
            # the masses of the rounded values
            q, p = (
                np.histogram(z * c.scale + c.shift, STEP * (np.arange(-30, 31) - 0.5), weights=np.exp(self.latent_log_density(z, c)))[0]
                for c in (change, NONE)
            )
            q, p = q / q.sum(), p / p.sum()
            return float((q * np.log(np.maximum(q, 1e-300) / np.maximum(p, 1e-300)))[p > 0].sum())
        # as an integral over the changed law's own latent variable
        q = np.exp(self.latent_log_density(z, change)) * np.gradient(z)
        x = change.scale * (np.exp(z) if self.skewed else z) + change.shift * self.sd
        before = np.log(x) if self.skewed else x
        log_p = self.log_density(before) - (before if self.skewed else 0.0)
        log_q = self.latent_log_density(z, change) - (z if self.skewed else 0.0) - np.log(change.scale)
        busy = q > 1e-300
        return float((q * (log_q - log_p))[busy].sum())


def _log_normal(z: Floats) -> Floats:
    return np.asarray(stats.norm.logpdf(z), np.float64)


def _log_t3(z: Floats) -> Floats:
    return np.asarray(stats.t.logpdf(z, 3), np.float64)


def _normal(rng: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    return rng.standard_normal(shape)


def _t3(rng: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    return rng.standard_t(3, shape)


LAWS = (
    Law("normal", _normal, _log_normal, 1.0, 1.0),
    Law("skewed", _normal, _log_normal, 1.0, float(np.sqrt((np.e - 1) * np.e)), skewed=True),
    Law("heavy tails", _t3, _log_t3, float(np.sqrt(3.0)), float(np.sqrt(3.0))),
    Law("tied", _normal, _log_normal, 1.0, 1.0, tied=True),
)
"""Normal; lognormal with sigma 1; Student with 3 degrees of freedom; normal rounded to half standard deviations (about 13 values)."""
