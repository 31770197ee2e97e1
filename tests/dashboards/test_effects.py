"""Figures of a slow window are those of one window with all the counts: the store adds up what the judge wrote for the fast ones."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from dashboards.build import views
from dashboards.effects import effects
from dashboards.macros import expand
from detectors.drift import DriftDetector, DriftReference, WindowCounts
from detectors.drift.effect import EffectSizer, js, psi
from schemas.rows import Row, WindowRow
from streams.clickhouse import ClickHouse
from streams.migrate import migrate
from streams.window_rows import rows_of
from tests.dashboards.test_dashboards import ALL
from tests.detectors.definitions import measures
from tests.streams.events import NS, START
from tests.streams.messages import partial

NAMES, KINDS = ["x", "tied", "city"], ["numeric", "numeric", "categorical"]
MEASURES = ("psi", "w1", "js", "ks")
WHEN = "start >= toDateTime64('2020-01-01', 3)"
HOUR = 3_600


def columns(seed: Any, n: int, shift: float = 0.0) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    X = np.column_stack([rng.normal(shift, 1, n), rng.integers(0, 4, n) + 1.0 * (rng.random(n) < shift), rng.integers(0, 5, n)])
    X[rng.random(n) < 0.05 + 0.1 * shift, 0] = np.nan
    return {"X": X.astype(np.float32), "latency": (1 + shift) * np.exp(rng.normal(size=n))}


def fitted(**given: Any) -> DriftReference:
    rows = columns(1, 6_000)
    return DriftReference.fit(rows.pop("X"), NAMES, KINDS, categories={"city": list("abcde")}, **rows, **given)  # type: ignore[arg-type]


def written(reference: DriftReference, windows: int, shift: float, model: str = "m") -> tuple[list[Row], list[WindowCounts]]:
    """Rows of windows of five minutes, and their counts."""
    detector, all_counts = DriftDetector(reference, false_pages=1, windows=8_640), []
    rows: list[Row] = []
    for k in range(windows):
        counts = WindowCounts(reference)
        counts.update(**columns([2, k], 40, shift * k / windows), clients=np.arange(40))
        span = START // NS + 300 * k, START // NS + 300 * (k + 1)
        window = partial(
            n=40,
            start_ns=span[0] * NS,
            end_ns=span[1] * NS,
            counts=counts.to_bytes(),
            reference="r",
            model=model,
            latency=partial().latency,
        )
        rows += rows_of(window, detector.update(counts, span), reference, span[1] * NS)
        all_counts.append(counts)
    return rows, all_counts


def put(clickhouse: ClickHouse, rows: list[Row]) -> None:
    for kind in {type(row) for row in rows}:
        for _ in range(2):  # told twice, as after a restart
            clickhouse.insert([row for row in rows if type(row) is kind], f"rows {kind.table} {len(rows)}")


@pytest.mark.clickhouse
@pytest.mark.parametrize("shift", [0.0, 1.0])
def test_they_are_those_of_one_window_with_all_the_counts(clickhouse: ClickHouse, shift: float) -> None:
    migrate(clickhouse)
    model = f"slow-{shift}"
    reference = fitted()
    rows, counts = written(reference, 50, shift, model)
    put(clickhouse, rows)
    whole = WindowCounts(reference)
    for one in counts:
        whole.merge(one)
    sizes = EffectSizer(reference)(whole)
    text = effects(f"{WHEN} AND model = '{model}'", WHEN).replace("@scope", f"model = '{model}'")
    found = {line["feature"]: line for line in clickhouse.query(text)}
    assert set(found) == {*NAMES, "latency"}
    for v, name in enumerate(reference.variables):
        assert found[name]["events"] == 2_000
        for measure in MEASURES:
            assert found[name][measure] == pytest.approx(getattr(sizes, measure)[v], rel=1e-5, abs=1e-7), (name, measure)


@pytest.mark.clickhouse
def test_they_are_those_of_the_raw_values_of_all_windows_ties_missing_and_empty_windows_included(clickhouse: ClickHouse) -> None:
    migrate(clickhouse)
    made: dict[str, tuple[DriftReference, Any, Any]] = {}
    for k in range(10):
        rng = np.random.default_rng([9, k])
        past, now = (_odd(rng, n, move) for n, move in ((400, 0.0), (150, 0.4 * k)))
        reference, model = DriftReference.fit(past, ["smooth", "tied"], ["numeric", "numeric"]), f"raw-{k}"
        rows: list[Row] = []
        detector = DriftDetector(reference, false_pages=1, windows=8_640)
        for at, part in enumerate(np.split(now, np.sort(rng.integers(0, 150, 4)))):  # some may be empty
            counts = WindowCounts(reference)
            counts.update(part)
            span = START // NS + 300 * at, START // NS + 300 * (at + 1)
            window = partial(n=len(part), start_ns=span[0] * NS, end_ns=span[1] * NS, counts=counts.to_bytes(), reference="r", model=model)
            rows += rows_of(window, detector.update(counts, span), reference, span[1] * NS)
        put(clickhouse, rows)
        made[model] = reference, past, now
    text = effects(f"{WHEN} AND startsWith(model, 'raw-')", WHEN).replace("@scope", "startsWith(model, 'raw-')")
    found = clickhouse.query(text)
    assert len(found) == 20
    for line in found:
        reference, past, now = made[line["model"]]
        v = reference.variables.index(line["feature"])
        for measure, expected in measures(reference, v, past[:, v], now[:, v]).items():
            close = 2e-4 if measure == "w1" else 1e-6
            assert line[measure] == pytest.approx(expected, rel=1e-5, abs=close), (line["model"], line["feature"], measure)


def _odd(rng: np.random.Generator, n: int, move: float) -> Any:
    """A skewed column and a tied one; some values are missing, and in the last of the moved ones all of a column."""
    X = np.column_stack([rng.lognormal(move / 4, 1, n), rng.integers(0, 4, n) + (rng.random(n) < move / 4)]).astype(np.float32)
    X[rng.random((n, 2)) < 0.1] = np.nan
    X[:, 1] = np.nan if move > 3.5 else X[:, 1]
    return X


@pytest.mark.clickhouse
def test_with_a_season_hours_are_carried_before_they_are_added(clickhouse: ClickHouse) -> None:
    migrate(clickhouse)
    rng = np.random.default_rng(4)
    at = rng.uniform(0, 14 * 24 * HOUR, 30_000)
    X = rng.normal(2.0 * np.sin(2 * np.pi * at / (24 * HOUR)))[:, None]
    reference = DriftReference.fit(X, ["x"], ["numeric"], at_s=at)
    assert reference.season is not None
    detector, carried = DriftDetector(reference, false_pages=1, windows=8_640), np.zeros(reference.n_cells)
    rows: list[Row] = []
    plain = np.zeros(reference.n_cells)
    for k in range(24):  # of a day only the half in which x is large
        begin = START // NS // (24 * HOUR) * 24 * HOUR + k * 1_800
        counts = WindowCounts(reference)
        counts.update(rng.normal(2.0 * np.sin(2 * np.pi * (begin + 900) / (24 * HOUR)), 1.0, (200, 1)), clients=np.arange(200))
        span = begin, begin + 1_800
        carried += reference.season.carry(counts.table, reference.season.expected(span)).sum(axis=0)
        plain += counts.cells
        window = partial(n=200, start_ns=begin * NS, end_ns=span[1] * NS, counts=counts.to_bytes(), reference="r", model="season")
        rows += rows_of(window, detector.update(counts, span), reference, span[1] * NS)
    put(clickhouse, rows)
    text = effects(f"{WHEN} AND model = 'season'", WHEN).replace("@scope", "model = 'season'")
    found = clickhouse.query(text)[0]
    folded = [np.add.reduceat(cells, reference.tenths) for cells in (reference.counts, carried, plain)]
    assert found["psi"] == pytest.approx(psi(folded[0], folded[1])[0], rel=1e-5)
    assert found["js"] == pytest.approx(js(folded[0], folded[1])[0], rel=1e-5)
    assert found["psi"] < 0.05 < psi(folded[0], folded[2])[0]
    assert found["w1"] < 0.2


@pytest.mark.clickhouse
def test_the_debug_view_shows_them_for_the_length_that_is_asked_for(clickhouse: ClickHouse) -> None:
    migrate(clickhouse)
    reference = fitted()
    rows, counts = written(reference, 48, 1.0, "view")
    earlier = [row for row in written(fitted(), 2, 0.0, "view")[0] if isinstance(row, WindowRow)]
    assert len(earlier) == 2
    put(clickhouse, rows)
    end = datetime.fromtimestamp(START / NS, UTC) + timedelta(hours=4)
    chosen = ALL | {"model": ["view"], "slow": "2"}
    last = WindowCounts(reference)
    for one in counts[24:]:
        last.merge(one)
    sizes = EffectSizer(reference)(last)
    what = views()["debug"].panel("What moved")
    shown = {
        line["feature"]: line for line in clickhouse.query(expand(what.sql, start=end - timedelta(hours=1), end=end, variables=chosen))
    }
    assert shown["x"]["PSI slow"] == pytest.approx(sizes.psi[0], rel=1e-5)
    assert shown["x"]["W1 slow"] == pytest.approx(sizes.w1[0], rel=1e-5)
    over_time = views()["debug"].panel("PSI, slow window")
    lines = clickhouse.query(expand(over_time.sql, start=end - timedelta(hours=4), end=end, variables=chosen))
    mine = {line["time"]: line["value"] for line in lines if line["series"].endswith(" x")}
    assert len(mine) == 13  # every twenty minutes
    assert mine[end - timedelta(minutes=20)] == pytest.approx(sizes.psi[0], rel=1e-5)  # of two hours, the last twenty minutes included
    lines = clickhouse.query(expand(over_time.sql, start=end - timedelta(minutes=5), end=end, variables=chosen))
    mine = {line["time"]: line["value"] for line in lines if line["series"].endswith(" x")}
    assert set(mine) == {end - timedelta(minutes=5), end}  # the step began before so short a range
    assert mine[end - timedelta(minutes=5)] == pytest.approx(sizes.psi[0], rel=1e-5)
