"""Before E1 speaks: are the client's remembered rows still implausible once the ordinary reasons are allowed for?

Four ordinary reasons make every row of a client jointly implausible: other units (an affine map a column), a column of the other sign,
fields filled with a default or a code for what is missing, and fields missing now and then. So the rows in memory (at most 96, 16 columns,
in steps of .012 of a range) are judged again: values that one column repeats far more than the reference does, or a handful of them
(profiles, to which other fields are put), are replaced by what the row's other values suggest and not judged; and once as they are, once
without each row's worst value (a gap, or one column that is new), once with each column mapped to the reference's mean and scatter, and
turned where it runs against the others. Shuffled, random and generated rows stay implausible every time, by more than a standard
deviation of their share.
It is a gate, not evidence: it can only keep a ticket or page back. Runs at a crossing only; about .2 ms.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from detectors.evidence import constants as c
from detectors.evidence import recent
from detectors.evidence.apart import to_neighbours
from detectors.evidence.habits import careless
from detectors.evidence.residual import Floats, fit_residual, ledoit_wolf
from detectors.evidence.sampled import Sampled, shares_of
from detectors.evidence.tied import told_by_others
from detectors.lean import allocating

_NOMINAL = 1 - c.LOOK_QUANTILE
TIED_ROWS = np.array(c.LOOK_TIED_ROWS, np.float64)


class Look(NamedTuple):
    """What the reference gives for it; F sampled columns."""

    step: NDArray[np.float64]  # (F,) z of one code step
    zero: NDArray[np.float64]  # (F,) z of code 0
    mean: NDArray[np.float64]  # (F,)
    sd: NDArray[np.float64]  # (F,)
    precision: NDArray[np.float64]  # (F, F) of the sampled columns
    curved: NDArray[np.int64]  # columns judged by regression (only where all columns are sampled)
    knots: NDArray[np.float64]  # (3, F), or (0, F)
    coefficients: NDArray[np.float64]  # (terms, k)
    scale: NDArray[np.float64]  # (k,)
    share: NDArray[np.float32]  # (F, 256) how often a code occurs
    limit: float  # 95 % of the reference's rows have less energy
    shuffled: float  # share of shuffled reference rows above it
    trimmed: NDArray[np.float64]  # (2,) that limit and share once each row's worst value is left out
    tied: NDArray[np.float64]  # how much its columns tell of each other, of `LOOK_TIED_ROWS` rows
    alone: NDArray[np.float64]  # how far apart they lie (`apart.py`)


def fit_look(z: Floats, code: NDArray[np.uint8], columns: Sampled, curved: NDArray[np.bool_], rng: np.random.Generator) -> Look:
    """From the reference's sampled columns.

    Args:
        z: (n, F) clipped standardised values.
        code: (n, F) as the client's memory would hold them.
        columns: what is known of them.
        curved: (F,) which columns are judged by regression.
        rng: draws folds and shuffles.
    """
    n, fields = z.shape
    share = shares_of(code)
    knots: Floats = np.quantile(z, [0.25, 0.5, 0.75], axis=0)
    step, zero, none = columns.step, columns.zero, np.empty(0, np.int64)

    def fitted(rows: Floats) -> Look:
        precision = np.asarray(np.linalg.inv(ledoit_wolf(rows)[1]), np.float64)
        k = fit_residual(rows, np.arange(fields), curved, knots).curved if curved.any() else None
        mean, sd = rows.mean(0), np.maximum(rows.std(0), 1e-3)
        bent = (none, np.empty((0, fields)), np.empty((0, 0)), np.empty(0)) if k is None else (k.columns, k.knots, k.coefficients, k.scale)
        return Look(step, zero, mean, sd, precision, *bent, share, 0.0, 0.0, np.zeros(2), *np.ones((2, len(c.LOOK_TIED_ROWS))))

    fold, back = rng.integers(0, 5, n), columns.decoded(code)
    shuffled = rng.permuted(back, axis=0)
    noisy = back + c.LOOK_NOISE * np.maximum(z.std(0), 1e-3) * rng.normal(size=z.shape)
    draws = [[back[rng.choice(n, min(rows, n), replace=False)] for _ in range(c.LOOK_TIED_DRAWS)] for rows in c.LOOK_TIED_ROWS]
    spoilt = noisy, *careless(back, share, rng)
    e = np.full((2, 5, n), np.nan)  # whole and trimmed, of rows as they are, shuffled, and spoilt
    for k in range(5):
        out = fold == k
        if out.any() and (~out).sum() > 10:
            part = fitted(z[~out])
            for rows, whole, trimmed in zip((back[out], shuffled[out], *(some[out] for some in spoilt)), *e, strict=True):
                known = np.ones(rows.shape, np.bool_)
                whole[out], trimmed[out] = _energies(rows, known, part), _trimmed(rows, known, part)
    limits = [max(np.nanquantile(own, c.LOOK_QUANTILE), *np.nanquantile(others, c.LOOK_NOISE_QUANTILE, axis=1)) for own, _, *others in e]
    shares = [float(np.nanmean(mixed > limit)) for (_, mixed, *_), limit in zip(e, limits, strict=True)]
    whole = fitted(z)._replace(limit=float(limits[0]), shuffled=shares[0], trimmed=np.array([limits[1], shares[1]]))
    return whole._replace(
        tied=np.array([np.mean([told_by_others(rows) for rows in some]) for some in draws]),
        alone=np.array([np.mean([to_neighbours(rows / whole.sd) for rows in some]) for some in draws]),
    )


@allocating
def confirms(memory: Any, held: int, look: Look) -> bool:
    """Whether the remembered rows (field-major, `MEMORY` a field) are implausible by more than units, defaults and gaps."""
    fields = len(look.step)
    z = np.empty((held, fields))
    kept = np.ones((held, fields), np.bool_)
    filled(memory, held, look, z, kept)
    if not _implausible(_energies(z, kept, look), look.limit, _needed(look.shuffled, c.LOOK_SHARE)):
        return False
    if not _implausible(_trimmed(z, kept, look), look.trimmed[0], _needed(look.trimmed[1], c.LOOK_SHARE)):
        return False
    mapped(z, kept, look)
    way = c.LOOK_REPAIRED[0] if held < c.LOOK_REPAIRED_ROWS else c.LOOK_REPAIRED[1]
    return bool(_implausible(_energies(z, kept, look), look.limit, _needed(look.shuffled, way)))


@allocating
def filled(memory: Any, held: int, look: Look, z: Any, kept: Any) -> None:
    """Standardised values z (held, F) of remembered rows, and which were not filled: of a value that its column repeats far too often.

    That is a column's most frequent value, or one beyond all of the reference's: a code for what is missing.
    Or all of a column with a handful of such values and next to no others: profiles and templates, with other fields put to them.
    """
    fields = len(look.step)
    times, template = np.empty(256, np.int64), np.zeros(fields, np.bool_)
    decoded(memory, held, look, z)
    for f in range(fields):
        value = recent.tally(memory, held, f, times)
        first, last = c.CODE_LAST, 0
        for k in range(256):
            first, last = (min(first, k), k) if look.share[f, k] > 0 else (first, last)
        first, last = max(first, 1), min(last, c.CODE_LAST - 1)  # at the ends of the codes anything may lie
        repeated = missing = 0
        for k in range(256):
            if times[k] >= c.LOOK_FILLED_LEAST and times[k] > 2 * look.share[f, k] * held + 3:
                repeated += times[k]
                if times[k] > missing and not first <= k <= last:
                    value, missing = k, times[k]
        template[f] = repeated >= c.LOOK_TEMPLATE[0] * held
        least = c.LOOK_FILLED_LEAST if missing else max(c.LOOK_FILLED_LEAST, c.LOOK_FILLED * held)
        often = times[value] >= least and times[value] > 2 * look.share[f, value] * held + 3
        for i in range(held):
            kept[i, f] = not (often and memory[f * c.MEMORY + i] == value)
    if template.sum() <= c.LOOK_TEMPLATE[1] * fields:  # not of rows that are combined of few values throughout
        for f in range(fields):
            if template[f]:
                kept[:, f] = False


@allocating
def decoded(memory: Any, held: int, look: Look, z: Any) -> None:
    """Clipped standardised values z (held, F) of remembered rows."""
    for f in range(len(look.step)):
        for i in range(held):
            z[i, f] = min(max(memory[f * c.MEMORY + i] * look.step[f] + look.zero[f], -c.RESIDUAL_CLIP), c.RESIDUAL_CLIP)


@allocating
def mapped(z: Any, kept: Any, look: Look) -> None:
    """Gives each column of z (held, F) the reference's mean and scatter, by the kept values, and its sign (`_turned`)."""
    held, fields = z.shape
    for f in range(fields):
        n, total, square = 0, 0.0, 0.0
        for i in range(held):
            if kept[i, f]:
                n += 1
                total += z[i, f]
                square += z[i, f] ** 2
        if n >= 8:
            mean = total / n
            sd = np.sqrt(max(square / n - mean**2, 0.0))
            if sd > 0:
                for i in range(held):
                    z[i, f] = look.mean[f] + (z[i, f] - mean) / sd * look.sd[f]
    _turned(z, kept, look)


@allocating
def _turned(z: Any, kept: Any, look: Look) -> None:
    """Turns columns of z (held, F) about the reference's mean whose values go against what the others say: of another sign, two at most."""
    held, fields = z.shape
    for _ in range(c.LOOK_TURNED_COLUMNS):
        least, which = c.LOOK_TURNED, -1
        for f in range(fields):
            own = said = both = 0.0
            for i in range(held):
                if kept[i, f]:
                    x, others = z[i, f] - look.mean[f], 0.0
                    for t in range(fields):
                        if t != f and kept[i, t]:
                            others -= look.precision[f, t] * (z[i, t] - look.mean[t])
                    own += x * x
                    said += others * others
                    both += x * others
            if both < least * np.sqrt(own * said):
                least, which = both / np.sqrt(own * said), f
        if which < 0:
            return
        for i in range(held):
            z[i, which] = 2 * look.mean[which] - z[i, which]


@njit
def complete(z: Any, known: Any, mean: Any, precision: Any, v: Any, r: Any) -> None:
    """Of one row z (F,): v becomes its distance from the mean, unknown fields as the others suggest; r the residuals, of unit variance."""
    fields, unknown = len(z), 0
    for f in range(fields):
        unknown += not known[f]
        v[f] = z[f] - mean[f] if known[f] else 0.0
    for _ in range(c.LOOK_SWEEPS if unknown else 0):
        for f in range(fields):
            if not known[f]:
                v[f] -= _product(precision[f], v) / precision[f, f]
    for f in range(fields):
        r[f] = _product(precision[f], v) / np.sqrt(precision[f, f])


@njit
def _product(a: Any, b: Any) -> Any:
    total = 0.0
    for f in range(len(a)):
        total += a[f] * b[f]
    return total


@allocating
def _needed(shuffled: float, way: float) -> float:
    """The share of rows above the limit that is so far on the way from ordinary to shuffled rows; twice the ordinary at least."""
    return max(_NOMINAL + way * (shuffled - _NOMINAL), 2 * _NOMINAL)


@allocating
def _implausible(energy: Any, limit: float, needed: float) -> bool:
    """Whether more of the rows than needed are above the limit, by a standard deviation of that share; NaN are not judged."""
    judged = above = 0
    for e in energy:
        judged += e == e
        above += e > limit
    return judged >= c.LOOK_ROWS and above / judged > needed + np.sqrt(needed * (1 - needed) / judged)


@allocating
def _energies(z: Any, kept: Any, look: Look) -> Any:
    """Mean capped squared residual (n,), unknown fields set to what the others suggest; NaN where less than half of a row is known."""
    held, fields = z.shape
    v, r = np.empty(fields), np.empty(fields)
    term, out = np.empty(len(look.coefficients)), np.full(held, np.nan)
    for i in range(held):
        own = kept[i].sum()
        if 2 * own < fields:
            continue
        complete(z[i], kept[i], look.mean, look.precision, v, r)
        if len(look.curved) and own == fields:  # a regression on what was filled in errs by more than its scale
            for f in range(fields):
                v[f] += look.mean[f]
            _terms(v, look.knots, term)
            for k in range(len(look.curved)):
                r[look.curved[k]] = (v[look.curved[k]] - np.dot(term, look.coefficients[:, k].copy())) / look.scale[k]
        out[i] = _mean(r, kept[i])
    return out


@allocating
def _trimmed(z: Any, kept: Any, look: Look) -> Any:
    """The same (n,), linear residuals only, once each row's largest is left out."""
    held, fields = z.shape
    v, r = np.empty(fields), np.empty(fields)
    out = np.full(held, np.nan)
    for i in range(held):
        known = kept[i].copy()
        if 2 * known.sum() < fields:
            continue
        complete(z[i], known, look.mean, look.precision, v, r)
        worst = -1
        for f in range(fields):
            if known[f] and (worst < 0 or abs(r[f]) > abs(r[worst])):
                worst = f
        known[worst] = False
        complete(z[i], known, look.mean, look.precision, v, r)
        out[i] = _mean(r, known)
    return out


@njit
def _mean(r: Any, known: Any) -> float:
    total, own = 0.0, 0
    for f in range(len(r)):
        if known[f]:
            total += min(r[f] ** 2, c.JOINT_CAP_ENERGY)
            own += 1
    return total / max(own, 1)


@allocating
def _terms(z: Any, knots: Any, out: Any) -> None:
    """One row of `detectors.evidence.residual.terms`."""
    d = len(z)
    out[0] = 1
    m = 1 + 4 * d
    for a in range(d):
        za = min(max(z[a], -4.0), 4.0)
        out[1 + a] = za
        for k in range(3):
            out[1 + (k + 1) * d + a] = max(za - knots[k, a], 0.0)
        for b in range(a, d):
            out[m] = za * min(max(z[b], -4.0), 4.0)
            m += 1
