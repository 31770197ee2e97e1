"""Effect sizes from raw values, by scipy or written out; of a reference only its edges are used."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import jensenshannon
from scipy.stats import ks_2samp, wasserstein_distance

from detectors.drift import DriftReference

Floats = NDArray[np.float64]
Values = NDArray[np.float32]


def measures(reference: DriftReference, v: int, past: Values, now: Values) -> dict[str, float]:
    """PSI, JS, KS and W1 of numeric variable v: values of the reference and of a window, NaN where one is missing."""
    if not now.size:
        return dict.fromkeys(("psi", "js", "ks", "w1"), 0.0)
    edges = reference.edges[v, : int(reference.n_edges[v])]
    mine = slice(int(reference.tenth_starts[v]), int(reference.tenth_starts[v + 1]))
    firsts = reference.tenths[mine] - reference.starts[v]
    borders = edges[firsts[1:-1] - 1]  # the last bin is of missing values
    p, q = (
        np.append(np.bincount(np.searchsorted(borders, x[~np.isnan(x)]), minlength=borders.size + 1), np.isnan(x).sum()) + 0.5
        for x in (past, now)
    )
    p, q = p / p.sum(), q / q.sum()
    out = {"psi": sum((b - a) * np.log(b / a) for a, b in zip(p, q, strict=True)), "js": jensenshannon(p, q) ** 2, "ks": 0.0, "w1": 0.0}
    x, y = (values[~np.isnan(values)].astype(np.float64) for values in (past, now))
    if y.size:
        out["ks"] = _ks(np.searchsorted(edges, x), np.searchsorted(edges, y))
        sd = _sd(x)
        shift = np.clip((y - x.mean()) / sd, -16, 16).mean()
        out["w1"] = max(_area(edges.astype(np.float64), x, y, sd), abs(float(shift)))
    return out


def _sd(x: Floats) -> float:
    """Of the reference; 1 where it is as good as constant: by its own size, or in float32."""
    spread = float(x.std())
    return spread if spread > max(1e-12 * abs(float(x.mean())), float(np.finfo(np.float32).tiny)) else 1.0


def _area(edges: Floats, x: Floats, y: Floats, sd: float) -> float:
    """Integral of |F - G| between CDFs that are straight between edges, over sd; the outer two bins as wide as twice their mean excess."""
    widths = np.diff(edges) / sd
    if widths.size > 1:
        widths[0] = min(widths[0], 2 * (edges[1] - x[x <= edges[1]].mean()) / sd)
        widths[-1] = min(widths[-1], 2 * (x[x > edges[-2]].mean() - edges[-2]) / sd)
    gap = np.array([np.mean(x <= edge) - np.mean(y <= edge) for edge in edges])
    steps = zip(gap[:-1], gap[1:], widths, strict=True)
    return float(sum(np.trapezoid(np.abs(np.linspace(a, b, 20_001)), dx=w / 20_000) for a, b, w in steps))


def raw_w1(past: Values, now: Values) -> float:
    """Wasserstein-1 of the raw values in reference sd."""
    x, y = (values[~np.isnan(values)].astype(np.float64) for values in (past, now))
    return float(wasserstein_distance(x, y)) / _sd(x)


def raw_ks(past: Values, now: Values) -> float:
    """KS of the raw values."""
    return _ks(past[~np.isnan(past)], now[~np.isnan(now)])


def _ks(x: NDArray[Any], y: NDArray[Any]) -> float:
    with warnings.catch_warnings():  # of its p-value, which nobody asks for
        warnings.simplefilter("ignore")
        return float(ks_2samp(x.astype(np.float64), y.astype(np.float64), method="asymp").statistic)
