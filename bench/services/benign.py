"""Ordinary clients: what each kind sends, how often it asks, and how many of them a service has.

A maker gets the world and a generator and gives the rows that it means to send; the schema's rounding comes afterwards, its bounds do not.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from bench.services import pace
from bench.services.tables import Rows
from bench.services.world import World

Maker = Callable[[World, np.random.Generator], Rows]


@dataclass(frozen=True)
class Kind:
    """One kind of ordinary client.

    Attributes:
        name: after `benign:` in the truth; explainers begin with `explainer`.
        count: clients of it in a service.
        make: its rows.
        pace: when it asks.
        pictures: only for pictures, only for other rows (False), or for all (None).
        wave: its clients begin within the same hour.
    """

    name: str
    count: int
    make: Maker
    pace: pace.Pace
    pictures: bool | None = None
    wave: bool = False


def _volume(rng: np.random.Generator) -> int:
    return int(min(600, 8 + 12 * rng.pareto(1.1)))


def _plain(w: World, rng: np.random.Generator) -> Rows:
    return w.pick(rng, _volume(rng))


def _focused(w: World, rng: np.random.Generator) -> Rows:
    own = w.benign[w.groups == rng.integers(5)]
    return w.pick(rng, min(len(own), _volume(rng)), own) if len(own) > 9 else w.pick(rng, 20)


def _bulk(w: World, rng: np.random.Generator) -> Rows:
    return rng.permutation(w.benign)[:1_200]


def _bursts(w: World, rng: np.random.Generator) -> Rows:
    return w.pick(rng, 240)


def _again(w: World, rng: np.random.Generator) -> Rows:
    """Retries: each request up to eight times."""
    rows = w.pick(rng, 40)
    return np.repeat(rows, rng.integers(1, 9, len(rows)), axis=0)


def _health(w: World, rng: np.random.Generator) -> Rows:
    return np.repeat(w.pick(rng, 1), 300, axis=0)


def _polling(w: World, rng: np.random.Generator) -> Rows:
    """A dashboard asks for the same six rows, of which now and then one is another."""
    six, out = w.pick(rng, 6).copy(), []
    for _ in range(60):
        if rng.random() < 0.15:
            six[rng.integers(6)] = w.pick(rng, 1)[0]
        out.append(six.copy())
    return np.concatenate(out)


def _paging(w: World, rng: np.random.Generator) -> Rows:
    """Pages of 20 rows that overlap by five."""
    rows = rng.permutation(w.benign)[:300]
    return np.concatenate([rows[i : i + 20] for i in range(0, len(rows) - 19, 15)])


def _form(w: World, rng: np.random.Generator) -> Rows:
    """A person tries other values of one or two fields of a case, then takes the next case."""
    out = []
    for row in w.pick(rng, 25):
        case = row.copy()
        out.append(case.copy())
        for _ in range(8):
            for j in rng.choice(len(case), min(len(case), int(rng.integers(1, 3))), replace=False):
                case[j] = w.pick(rng, 1)[0, j]
            out.append(case.copy())
    return np.array(out)


def _slider(w: World, rng: np.random.Generator) -> Rows:
    """One field is drawn from one end of its range to the other."""
    rows = np.repeat(w.pick(rng, 5), 40, axis=0)
    for k in range(5):
        j = rng.integers(rows.shape[1])
        rows[40 * k : 40 * (k + 1), j] = np.linspace(w.schema.low[j], w.schema.high[j], 40)
    return rows


def _unseen(w: World, rng: np.random.Generator) -> Rows:
    return w.pick(rng, 150, w.unseen) if len(w.unseen) > 20 else _focused(w, rng)


def _unit(w: World, rng: np.random.Generator) -> Rows:
    """One or two columns in another unit: miles for kilometres, pounds, dozens, another currency."""
    rows = w.pick(rng, 150).copy()
    measures = np.flatnonzero(~w.table.codes)
    if len(measures):
        for j in rng.choice(measures, min(len(measures), int(rng.integers(1, 3))), replace=False):
            rows[:, j] *= rng.choice([0.4536, 0.6214, 1.609, 2.2046, 0.85, 1.25])
    return rows


def _defaults(w: World, rng: np.random.Generator) -> Rows:
    """A quarter of the fields always holds a default: the middle, or zero."""
    rows = w.pick(rng, 180).copy()
    j = rng.choice(rows.shape[1], max(1, rows.shape[1] // 4), replace=False)
    rows[:, j] = np.median(w.members[:, j], axis=0) if rng.random() < 0.6 else 0
    return rows


def _gaps(w: World, rng: np.random.Generator) -> Rows:
    """Values are missing here and there, and filled by the middle."""
    rows = w.pick(rng, 180)
    return np.asarray(np.where(rng.random(rows.shape) < rng.uniform(0.08, 0.3), np.median(w.members, axis=0), rows), np.float32)


def _rounded(w: World, rng: np.random.Generator) -> Rows:
    """Numbers are rounded to a fifth to a half of a standard deviation; names are not."""
    rows, step = w.pick(rng, 180), rng.choice([0.2, 0.5]) * w.spread
    return w.numbers(rows, np.round(rows / step) * step)


def _drifting(w: World, rng: np.random.Generator) -> Rows:
    """A sensor moves from one row to another within 400 readings."""
    a, b = w.pick(rng, 2)
    way = np.clip(np.cumsum(rng.normal(0.0025, 0.01, 400)), 0, 1)[:, None]
    rows = a * (1 - way) + b * way + 0.01 * w.spread * rng.normal(size=(400, len(a)))
    return w.numbers(a, rows)


def _still(w: World, rng: np.random.Generator) -> Rows:
    """A sensor that hangs near one row, a little noisy."""
    a = w.pick(rng, 1)[0]
    return w.numbers(a, a + 0.04 * w.spread * rng.normal(size=(300, len(a))))


def _sequence(w: World, rng: np.random.Generator) -> Rows:
    """Neighbours: pictures of a film, or each row followed by the nearest of 300 that was not asked yet."""
    if w.table.films:
        film = w.table.films[rng.integers(len(w.table.films))]
        return np.clip(film * rng.uniform(0.9, 1.1) + rng.normal(0, 2, film.shape), 0, 255)
    rows = rng.permutation(w.benign)[:300]
    left, order = np.ones(len(rows), bool), [0]
    z = rows / w.spread
    for _ in range(len(rows) - 1):
        left[order[-1]] = False
        order.append(int(np.where(left, ((z - z[order[-1]]) ** 2).sum(axis=1), np.inf).argmin()))
    return rows[order]


def in_order(w: World, rng: np.random.Generator) -> Rows:
    """Rows as they follow each other in the source."""
    begin = int(rng.integers(0, max(1, len(w.benign) - 250)))
    return w.benign[begin : begin + 250]


def _portfolio(w: World, rng: np.random.Generator) -> Rows:
    """The same rows once a day, some of their numbers a little changed."""
    rows, out = w.pick(rng, 45).astype(np.float64), []
    for _ in range(5):
        moved = rows + 0.05 * w.spread * rng.normal(size=rows.shape) * (rng.random(rows.shape) < 0.2)
        rows = np.where(w.table.codes, rows, moved)
        out.append(rows)
    return np.concatenate(out)


def _known(w: World, rng: np.random.Generator) -> Rows:
    """A third of the rows were trained on."""
    return rng.permutation(np.concatenate([w.pick(rng, 50, w.members), w.pick(rng, 100)]))


def _edges(w: World, rng: np.random.Generator) -> Rows:
    """An integrator tries zeros and limits."""
    rows = w.pick(rng, 40)
    limit = np.where(rng.random(rows.shape) < 0.5, w.schema.low, w.schema.high)
    rows = np.where(rng.random(rows.shape) < 0.2, limit, rows)
    rows[:4], rows[4], rows[5] = 0, w.schema.low, w.schema.high
    return rows


def _wrong_join(w: World, rng: np.random.Generator) -> Rows:
    """One column is that of another row."""
    rows = w.pick(rng, 150).copy()
    j = rng.integers(rows.shape[1])
    rows[:, j] = rng.permutation(rows[:, j])
    return rows


def _old_codes(w: World, rng: np.random.Generator) -> Rows:
    """One column's codes begin at another number than the service's."""
    rows = w.pick(rng, 120).copy()
    whole = np.flatnonzero(w.schema.integer)
    if len(whole):
        rows[:, rng.choice(whole)] += 1
    return rows


def _camera(w: World, rng: np.random.Generator) -> Rows:
    from scipy.ndimage import gaussian_filter

    rows, gain = w.pick(rng, 150).reshape(-1, *(w.table.image or ())), rng.uniform(0.6, 0.9)
    return np.stack([np.clip(gaussian_filter(r * gain + 15, 0.8) + rng.normal(0, 5, r.shape), 0, 255) for r in rows]).reshape(150, -1)


def _augmented(w: World, rng: np.random.Generator) -> Rows:
    """Test-time augmentation: each picture with four small moves."""
    pictures = w.pick(rng, 40).reshape(-1, *(w.table.image or ()))
    moves = [pictures, np.roll(pictures, 1, 1), np.roll(pictures, -1, 2), pictures[:, :, ::-1], np.clip(pictures * 0.85, 0, 255)]
    return np.stack(moves, axis=1).reshape(200, -1)


def _exposure(w: World, rng: np.random.Generator) -> Rows:
    pictures = w.pick(rng, 40)
    return np.stack([np.clip(pictures + 9.0 * k, 0, 255) for k in range(5)], axis=1).reshape(200, -1)


def _lime(w: World, rng: np.random.Generator) -> Rows:
    """LIME on numbers: normal rows around the middle of the training data, the explained row first."""
    explained = w.pick(rng, 1)
    around = w.members.mean(axis=0) + w.spread * rng.normal(size=(400, len(w.spread)))
    return np.concatenate([explained, around])


def _shap(w: World, rng: np.random.Generator) -> Rows:
    """Kernel SHAP: some fields of the explained row, the others of a background row."""
    row, background = w.pick(rng, 1)[0], w.pick(rng, 400)
    return np.where(rng.random(background.shape) < 0.5, row, background)


def _partial(w: World, rng: np.random.Generator) -> Rows:
    """Partial dependence: 40 rows, one column at ten of its quantiles."""
    rows, j = w.pick(rng, 40), int(rng.integers(len(w.spread)))
    out = np.repeat(rows[None], 10, axis=0)
    out[:, :, j] = np.quantile(w.members[:, j], np.linspace(0.05, 0.95, 10))[:, None]
    return out.reshape(400, -1)


KINDS = (
    Kind("plain", 20, _plain, pace.sessions),
    Kind("focused", 8, _focused, pace.sessions),
    Kind("bulk", 2, _bulk, pace.batch),
    Kind("bursts", 3, _bursts, pace.bursts),
    Kind("retry", 3, _again, pace.sessions),
    Kind("healthcheck", 2, _health, pace.clockwork(600.0)),
    Kind("polling", 2, _polling, pace.clockwork(300.0)),
    Kind("paging", 2, _paging, pace.sitting),
    Kind("form_edit", 3, _form, pace.sessions, pictures=False),
    Kind("slider", 2, _slider, pace.sitting, pictures=False),
    Kind("newcomer", 4, _plain, pace.spread_over(1.5 * pace.DAY), wave=True),
    Kind("unseen", 3, _unseen, pace.sessions),
    Kind("unit", 3, _unit, pace.sessions, pictures=False),
    Kind("defaults", 3, _defaults, pace.sessions, pictures=False),
    Kind("gaps", 2, _gaps, pace.sessions, pictures=False),
    Kind("rounded", 2, _rounded, pace.sessions),
    Kind("sensor_drift", 2, _drifting, pace.clockwork(60.0)),
    Kind("sensor_still", 2, _still, pace.clockwork(60.0)),
    Kind("sequence", 2, _sequence, pace.sitting),
    Kind("in_order", 2, in_order, pace.batch),
    Kind("portfolio", 2, _portfolio, pace.spread_over(4 * pace.DAY), pictures=False),
    Kind("known_customers", 2, _known, pace.sessions),
    Kind("edge_tester", 1, _edges, pace.sitting),
    Kind("wrong_join", 1, _wrong_join, pace.batch, pictures=False),
    Kind("old_codes", 1, _old_codes, pace.sessions, pictures=False),
    Kind("camera", 4, _camera, pace.sessions, pictures=True),
    Kind("augmented", 4, _augmented, pace.sitting, pictures=True),
    Kind("exposure", 4, _exposure, pace.sitting, pictures=True),
    Kind("explainer_lime", 2, _lime, pace.batch),
    Kind("explainer_shap", 2, _shap, pace.batch),
    Kind("explainer_partial", 1, _partial, pace.batch, pictures=False),
)
