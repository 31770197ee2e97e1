"""E12: rows that look made rather than met: averages of rows, noise around them, draws from a fitted distribution.

Where a table is made of counts, codes and few values, no formula says what a made row looks like: it has a number of children that nobody
has, an airport that is that far from no other, a year between two campaigns. So a classifier learns it from the reference alone, before
anything is judged: its rows, and the changes that ordinary clients make to them (other units, defaults, rounding, edits, noise of an
instrument), against rows made from it in the eight ways of `made`. It sees the sampled columns only, each as its byte of memory (steps of
.012 of its range) and as its residual given the others, so that the rows a client left in memory can be judged again.

A hit is a fresh row, and no continuation of the last one (a sensor's), whose log odds are above 0, 1, or 2. The tolerated rates are those
of the reference's own rows, each scored by trees that never saw it, in the part of the reference that has most (tails, clusters); like E1's
they follow the present population, and while everybody's rows look made it is silent and begins anew; until twelve clients are known it is
as careful as E1 is until four are. Before it speaks, the remembered rows are judged again with filled fields taken for unknown; and where
values repeat as often as they should, once more with every column mapped to the reference's mean and scatter, onto the values that it has,
without and with the filled fields (`confirms`): wrong units, other codes and defaults then pass, made rows do not. They must look made by
more than an instrument's noise makes the reference look, and whichever column is left out. Where most rows are edits of others (a walk on
codes, a form), the few that are not are judged.

It misleads where the reference is a poor sample: fewer than 500 rows, and it is off. Rows of a table of two columns, or of nearly
independent ones, look the same made or met: its tolerated rates are high there and it stays silent.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from detectors.evidence import constants as c
from detectors.evidence.boosting import BLOCK, Trees, fit_trees, no_trees, score_block, scores
from detectors.evidence.compiled import FINGERPRINT, STALE
from detectors.evidence.examples import made, met
from detectors.evidence.habits import careless, habits, measured, shows
from detectors.evidence.residual import Floats, ledoit_wolf
from detectors.evidence.sampled import Sampled, parts, shares_of
from detectors.evidence.second_look import Look, complete, decoded, filled, mapped
from detectors.evidence.untied import repeat_less
from detectors.lean import allocating

Bytes = NDArray[np.uint8]


class Generated(NamedTuple):
    """The classifier, and how many ordinary rows it takes for made ones."""

    trees: Trees
    rates: Floats  # (3,) tolerated shares of rows above the limits; 1: off
    nominal: Floats  # (3,) the reference's own shares
    composed: Floats  # (3,) E13's tolerated shares over all of a client's rows
    hidden: Floats  # (F, 3) the reference's own shares when one column is unknown
    usual: Floats  # (3,) what remembered rows with an instrument's noise, or filled or edited unseen, stay below

    def to_dict(self) -> dict[str, Any]:
        """Its arrays by name."""
        return {**self.trees._asdict(), **{name: getattr(self, name) for name in ("rates", "nominal", "composed", "hidden", "usual")}}

    @classmethod
    def from_dict(cls, body: dict[str, Any]) -> Generated:
        """From `to_dict`; TypeError or KeyError where something is missing or too much."""
        trees = dict(body)
        own = {name: trees.pop(name) for name in ("rates", "nominal", "composed", "hidden", "usual")}
        return cls(trees=Trees(**trees), **own)


def untaught(fields: int) -> Generated:
    """Where nothing can be learnt: E12 and E13 are off."""
    return Generated(no_trees(c.GENERATED_DEPTH), np.ones(3), np.zeros(3), np.ones(3), np.ones((fields, 3)), np.ones(3))


def fit_generated(rows: Floats, columns: Sampled, clusterings: list[NDArray[np.int64]], image: bool, rng: np.random.Generator) -> Generated:
    """Learns what made rows look like; 1 to 2 s of CPU at 16 columns.

    Args:
        rows: (n, F) the reference's sampled values in raw units.
        columns: of them.
        clusterings: (n,) each, which cluster a row belongs to.
        image: pictures have their own statistics: off.
        rng: draws the made rows.
    """
    n, fields = rows.shape
    if image or fields < c.GENERATED_FIELDS or n < c.GENERATED_ROWS:
        return untaught(fields)
    code, fold = columns.coded(rows), rng.integers(0, c.GENERATED_FOLDS, n)
    share = shares_of(code)
    above, changed, hidden, spoilt = np.zeros((n, 3), np.bool_), [], np.zeros((fields, 3)), np.zeros((3, 3))
    for k in range(c.GENERATED_FOLDS):
        out, model = fold == k, _model(code[fold != k], columns)
        trees = _learn(rows[fold != k], columns, c.GENERATED_LEARNT // 2, rng)

        def hits(some: Bytes, known: NDArray[np.bool_] | None, model: Any = model, trees: Trees = trees) -> NDArray[np.bool_]:
            return np.asarray(scores(_seen(some, known, columns, *model), trees)[:, None] > c.GENERATED_LIMITS)

        above[out] = hits(code[out], None)
        chance = np.random.default_rng(k)
        codes = [columns.coded(some) for some in habits(rows[out], chance)]
        shown = [shows(some, share, chance) for some in codes]
        changed.append([hits(some, None).mean(0) * out.mean() * (not seen) for some, seen in zip(codes, shown, strict=True)])
        for kind, some in enumerate((measured(rows[out], chance), *careless(rows[out], share, chance))):
            spoilt[kind] += hits(columns.coded(some), None).mean(0) * out.mean()
        for f in range(fields):
            hidden[f] += hits(code[out], np.broadcast_to(np.arange(fields) != f, code[out].shape).copy()).mean(0) * out.mean()
    nominal: Floats = above.mean(0)
    habit: Floats = np.sum(changed, axis=0).max(0)
    composed = np.maximum(c.COMPOSED_MARGIN[0] * habit + c.COMPOSED_MARGIN[1], _with_luck(nominal))
    usual = np.minimum(_with_luck(spoilt.max(0)), 1.0)
    least = max(c.INDEPENDENT_PART_ROWS, c.INDEPENDENT_PART * n)
    worst = np.max([nominal, *(above[part].mean(0) for part in parts(code, clusterings) if part.sum() >= least)], axis=0)
    rates = np.clip(c.GENERATED_MARGIN * worst, c.GENERATED_FLOOR, 1.0)
    return Generated(_learn(rows, columns, c.GENERATED_LEARNT, rng), rates, nominal, np.minimum(composed, 1.0), hidden, usual)


def _with_luck(share: Floats) -> Floats:
    """What a share comes to among so many rows as are remembered, by luck."""
    return np.asarray(share + np.maximum(c.COMPOSED_LUCK[0], c.COMPOSED_LUCK[1] * np.sqrt(share * (1 - share) / c.MEMORY)), np.float64)


def _model(code: Bytes, columns: Sampled) -> tuple[Floats, Floats]:
    """Mean and precision of rows as memory holds them."""
    mean, covariance = ledoit_wolf(columns.decoded(code))
    precision: Floats = np.linalg.inv(covariance).astype(np.float64)
    return mean, precision


def _learn(rows: Floats, columns: Sampled, k: int, rng: np.random.Generator) -> Trees:
    """Trees that tell rows made from one half from rows met in the other, and the other way round.

    With one half for both, the very rows would be learnt by heart: a made row of few values may be one of them.
    """
    order = rng.permutation(len(rows))
    halves = rows[order[::2]], rows[order[1::2]]
    seen, truth = [], []
    for a, b in (halves, halves[::-1]):
        mean, precision = _model(columns.coded(a), columns)
        for is_made, some in ((False, met(b, columns, k // 2, rng)), (True, made(a, columns, k // 2, rng))):
            code = columns.coded(some)
            known = np.ones(code.shape, np.bool_)
            gaps = rng.random(len(code)) < c.GENERATED_GAPS
            known[gaps] = rng.random((int(gaps.sum()), code.shape[1])) > rng.choice([0.1, 0.3, 0.5], (int(gaps.sum()), 1))
            seen.append(_seen(code, known, columns, mean, precision))
            truth.append(np.full(len(code), is_made))
    return fit_trees(
        np.concatenate(seen), np.concatenate(truth), trees=c.GENERATED_TREES, depth=c.GENERATED_DEPTH, rate=c.GENERATED_RATE,
        l2=c.GENERATED_CAUTION,
    )  # fmt: skip


def _seen(code: Bytes, known: NDArray[np.bool_] | None, columns: Sampled, mean: Floats, precision: Floats) -> Bytes:
    """What the trees see (n, 2 F) of rows (n, F)."""
    known = np.ones(code.shape, np.bool_) if known is None else known
    out = np.empty((len(code), 2 * code.shape[1]), np.uint8)
    _see_all(code, columns.decoded(code), known, mean, precision, out)
    return out


@njit(cache=True)
def _see_all(code: Any, z: Any, known: Any, mean: Any, precision: Any, out: Any) -> None:
    v, r = np.empty(code.shape[1]), np.empty(code.shape[1])
    for i in range(len(code)):
        see(code[i], z[i], known[i], mean, precision, v, r, out[i])


@njit
def see(code: Any, z: Any, known: Any, mean: Any, precision: Any, v: Any, r: Any, out: Any) -> None:
    """The bytes of one row: codes, then residuals in steps of 1/16 around 128; 255 where unknown. ``v`` and ``r`` (F,) are overwritten."""
    complete(z, known, mean, precision, v, r)
    fields = len(code)
    for f in range(fields):
        steps = 128 + np.rint(r[f] * c.GENERATED_STEPS)
        out[f] = min(code[f], 254) if known[f] else 255
        out[fields + f] = np.uint8(min(max(steps, 0.0), 254.0)) if known[f] else 255


@njit(cache=True, fastmath={"contract", "nsz"})
def judge(X: Any, sampled: Any, code: Any, look: Look, generated: Generated, level: Any, fingerprint: int) -> int:
    """How many of the three limits each row is above (n,) uint8; values of X (n, d) that are no numbers are unknown."""
    if fingerprint != FINGERPRINT:
        return STALE
    n, fields = code.shape
    level[:] = 0
    if len(generated.trees.feature) == 0:
        return int(n)
    weights = np.empty((fields, fields), np.float32)
    for f in range(fields):
        root = np.sqrt(look.precision[f, f])
        for t in range(fields):
            weights[t, f] = look.precision[f, t] / root * c.GENERATED_STEPS
    offset, r = np.full(fields, np.float32(128.5)), np.empty(fields, np.float32)
    step = look.step.astype(np.float32)
    for f in range(fields):
        for t in range(fields):
            offset[f] += weights[t, f] * np.float32(look.zero[t] - look.mean[t])
    clip_low, clip_high = np.empty(fields, np.float32), np.empty(fields, np.float32)
    for f in range(fields):
        clip_low[f], clip_high[f] = (-c.RESIDUAL_CLIP - look.zero[f]) / step[f], (c.RESIDUAL_CLIP - look.zero[f]) / step[f]
    block, leaf, score = np.zeros((2 * fields, BLOCK), np.uint8), np.zeros(BLOCK, np.uint8), np.zeros(BLOCK, np.float32)
    known, row = np.ones(fields, np.bool_), np.empty(2 * fields, np.uint8)
    z, v, exact = np.empty(fields), np.empty(fields), np.empty(fields)
    for first in range(0, n, BLOCK):
        m = min(BLOCK, n - first)
        for i in range(m):
            gaps = 0
            for f in range(fields):
                known[f] = X[first + i, sampled[f]] == X[first + i, sampled[f]]
                gaps += not known[f]
            if gaps:
                for f in range(fields):
                    z[f] = min(max(code[first + i, f] * look.step[f] + look.zero[f], -c.RESIDUAL_CLIP), c.RESIDUAL_CLIP)
                see(code[first + i], z, known, look.mean, look.precision, v, exact, row)
                for f in range(2 * fields):
                    block[f, i] = row[f]
                continue
            for f in range(fields):
                r[f] = offset[f]
            for t in range(fields):
                a = min(max(np.float32(code[first + i, t]), clip_low[t]), clip_high[t]) * step[t]
                for f in range(fields):
                    r[f] += a * weights[t, f]
            for f in range(fields):
                block[f, i] = min(code[first + i, f], np.uint8(254))
                block[fields + f, i] = np.uint8(min(max(r[f], np.float32(0)), np.float32(254)))
        score_block(block, generated.trees, leaf, score)
        for i in range(m):
            level[first + i] = (score[i] > c.GENERATED_LIMITS[0]) + (score[i] > c.GENERATED_LIMITS[1]) + (score[i] > c.GENERATED_LIMITS[2])
    return int(n)


@allocating
def confirms(memory: Any, held: int, look: Look, generated: Generated) -> bool:
    """Whether the remembered rows (field-major, `MEMORY` a field) look made by more than units and defaults."""
    fields = len(look.step)
    z, kept = np.empty((held, fields)), np.ones((held, fields), np.bool_)
    filled(memory, held, look, z, kept)
    share, rates = shares(z, kept, look, generated), generated.rates
    if share[1] < c.GENERATED_SURE or not (share > np.maximum(rates + c.GENERATED_WAY * (1 - rates), generated.usual)).any():
        return False
    if (share[:2] >= c.GENERATED_UNTIED).any() and repeat_less(memory, held, look, kept):
        return True
    least = np.maximum(rates, c.GENERATED_MAPPED[0 if held < c.LOOK_REPAIRED_ROWS else 1])
    if held < c.LOOK_REPAIRED_ROWS or len(look.curved):  # maps of curves err, whatever the number of rows
        least += np.sqrt(least * (1 - least) / held)
    for _ in range(2):
        mapped(z, kept, look)
        _snap(z, look)
        if not (shares(z, kept, look, generated) > least).any():
            return False
        if kept.all():
            return True
        kept[:] = True  # what repeats too often may be a code in other units, and no default
        decoded(memory, held, look, z)
    return True


@allocating
def without_any_column(z: Any, kept: Any, look: Look, generated: Generated) -> bool:
    """Whether rows z (held, F) look made whichever column is left out: one joined to the wrong rows, or coded otherwise, is no attack."""
    for f in range(z.shape[1]):
        known = kept[:, f].copy()
        kept[:, f] = False
        own = generated.hidden[f]
        least = own + np.maximum(c.COMPOSED_MORE, c.COMPOSED_SIGMAS * np.sqrt(own * (1 - own) / len(z)))
        if not (shares(z, kept, look, generated) > least).any():
            return False
        kept[:, f] = known
    return True


@allocating
def comes_from_all_columns(memory: Any, held: int, look: Look, generated: Generated) -> bool:
    """The same of remembered rows, without what a default has filled."""
    z, kept = np.empty((held, len(look.step))), np.ones((held, len(look.step)), np.bool_)
    filled(memory, held, look, z, kept)
    return bool(without_any_column(z, kept, look, generated))


@allocating
def _snap(z: Any, look: Look) -> None:
    """Puts each value (held, F) on the nearest that its column has in the reference: a map of units misses whole numbers by a little."""
    held, fields = z.shape
    nearest = np.empty(256)
    for f in range(fields):
        below = -1
        for code in range(256):
            below = code if look.share[f, code] > 0 else below
            nearest[code] = below
        above = -1
        for code in range(255, -1, -1):
            above = code if look.share[f, code] > 0 else above
            if nearest[code] < 0 or (above >= 0 and above - code < code - nearest[code]):
                nearest[code] = above
        for i in range(held):
            code = int(min(max(np.rint((z[i, f] - look.zero[f]) / look.step[f]), 0.0), 255.0))
            z[i, f] = min(max(nearest[code] * look.step[f] + look.zero[f], -c.RESIDUAL_CLIP), c.RESIDUAL_CLIP)


@allocating
def shares(z: Any, kept: Any, look: Look, generated: Generated) -> Any:
    """Shares (3,) of the rows with half of their fields known that are above the limits; 0 where there are few."""
    held, fields = z.shape
    block, leaf, score = np.zeros((2 * fields, BLOCK), np.uint8), np.zeros(BLOCK, np.uint8), np.zeros(BLOCK, np.float32)
    code, row, v, r = np.empty(fields, np.uint8), np.empty(2 * fields, np.uint8), np.empty(fields), np.empty(fields)
    above, judged, waiting = np.zeros(3), 0, 0
    for i in range(held + 1):
        if i < held:
            known = 0
            for f in range(fields):
                known += kept[i, f]
                code[f] = np.uint8(min(max(np.rint((z[i, f] - look.zero[f]) / look.step[f]), 0.0), 254.0))
            if 2 * known < fields:
                continue
            see(code, z[i], kept[i], look.mean, look.precision, v, r, row)
            for f in range(2 * fields):
                block[f, waiting] = row[f]
            waiting += 1
        if waiting == BLOCK or (i == held and waiting):
            score_block(block, generated.trees, leaf, score)
            for k in range(waiting):
                for limit in range(3):
                    above[limit] += score[k] > c.GENERATED_LIMITS[limit]
            judged += waiting
            waiting = 0
    return above / judged if judged >= c.LOOK_ROWS else np.zeros(3)
